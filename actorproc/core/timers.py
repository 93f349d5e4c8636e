"""Timers in order of their deadlines, without a clock of their own.

Equal deadlines fire in the order in which they were set. Source: actor-runtime.md §6.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class ScheduledCall:
    """One call that is due at ``deadline_s``."""

    __slots__ = ("args", "deadline_s", "fn", "is_pending", "order")

    def __init__(
        self, deadline_s: float, order: int, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.deadline_s = deadline_s
        self.order = order
        self.fn = fn
        self.args = args
        self.is_pending = True

    def __lt__(self, other: ScheduledCall) -> bool:
        return (self.deadline_s, self.order) < (other.deadline_s, other.order)

    def cancel(self) -> bool:
        """Forget the call; True when it was in time: neither fired nor cancelled before."""
        was_pending, self.is_pending = self.is_pending, False
        return was_pending


class TimerQueue:
    """A heap of scheduled calls; cancelled ones are dropped when they come to the top."""

    def __init__(self) -> None:
        self._heap: list[ScheduledCall] = []
        self._next_order = 0

    def add(
        self, deadline_s: float, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> ScheduledCall:
        call = ScheduledCall(deadline_s, self._next_order, fn, args)
        self._next_order += 1
        heapq.heappush(self._heap, call)
        return call

    def next_deadline_s(self) -> float | None:
        """Deadline of the first pending call, or None when there is none."""
        while self._heap and not self._heap[0].is_pending:
            heapq.heappop(self._heap)
        return self._heap[0].deadline_s if self._heap else None

    def pop_due(self, now_s: float) -> ScheduledCall | None:
        """Mark the first pending call whose deadline has come as fired; None without one."""
        deadline_s = self.next_deadline_s()
        if deadline_s is None or deadline_s > now_s:
            return None
        call = heapq.heappop(self._heap)
        call.is_pending = False
        return call


__all__ = ["ScheduledCall", "TimerQueue"]
