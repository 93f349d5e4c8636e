"""Clocks: the only source of time for everything above.

``RealClock`` follows the event loop; a step of the system's clock does not move it.
``VirtualClock`` stands still until told to advance, and fires timers in order while it does; every
runtime that uses it settles in between, so that a test of hours takes milliseconds.
Source: actor-runtime.md §6. Differs: one time for all processes of a clock (libprocess keeps one
per process while paused).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from actorproc.core.timers import TimerQueue

DELAY_S_MAX = 10 * 365 * 86400.0  # longer delays saturate: they must not overflow and fire at once
SETTLED_TURNS = 5  # loop turns without any event after which nothing more is expected to happen


class Timer(Protocol):
    """A call that has been scheduled."""

    def cancel(self) -> bool:
        """Forget the call; True when it was in time."""
        ...


class Settles(Protocol):
    """Something whose activity a virtual clock waits for (a runtime, a simulated network)."""

    @property
    def activity(self) -> int:
        """A number that changes with everything that happens."""
        ...

    @property
    def is_idle(self) -> bool:
        """True when nothing is queued."""
        ...


class Clock(Protocol):
    """Time and timers."""

    def now_s(self) -> float:
        """Seconds since the epoch; never moves backwards."""
        ...

    def call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        """Call ``fn(*args)`` once after ``delay_s`` seconds (negative counts as 0)."""
        ...

    def attach(self, member: Settles) -> None:
        """Tell the clock whose activity it must wait for (only virtual clocks care)."""
        ...

    def detach(self, member: Settles) -> None:
        """Undo ``attach``."""
        ...


class _LoopTimer:
    __slots__ = ("_args", "_fn", "_handle")

    def __init__(self, delay_s: float, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args
        loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = loop.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._fn(*self._args)

    def cancel(self) -> bool:
        if self._handle is None:
            return False
        self._handle.cancel()
        self._handle = None
        return True


class RealClock:
    """The event loop's time, anchored to the epoch once at construction."""

    def __init__(self) -> None:
        self._epoch_offset_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() + self._epoch_offset_s

    def call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        return _LoopTimer(min(max(delay_s, 0.0), DELAY_S_MAX), fn, args)

    def attach(self, member: Settles) -> None:
        pass  # real time waits for nobody

    def detach(self, member: Settles) -> None:
        pass


class VirtualClock:
    """Time that moves only by ``advance``; starts at ``start_s`` seconds since the epoch."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        self._timers = TimerQueue()
        self._members: list[Settles] = []

    def now_s(self) -> float:
        return self._now_s

    def call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        deadline_s = self._now_s + min(max(delay_s, 0.0), DELAY_S_MAX)
        return self._timers.add(deadline_s, fn, args)

    def attach(self, member: Settles) -> None:
        self._members.append(member)

    def detach(self, member: Settles) -> None:
        if member in self._members:
            self._members.remove(member)

    async def advance(self, delta_s: float) -> None:
        """Move forward by ``delta_s`` seconds; fires every timer that comes due, in order."""
        target_s = self._now_s + delta_s
        await self.settle()
        while (deadline_s := self._timers.next_deadline_s()) is not None and deadline_s <= target_s:
            self._now_s = max(self._now_s, deadline_s)
            self._fire_due()
            await self.settle()
        self._now_s = target_s

    async def settle(self) -> None:
        """Wait until no member has anything left to do at the present time, and no timer is due."""
        await wait_until_settled(self._members)
        while self._fire_due():
            await wait_until_settled(self._members)

    def _fire_due(self) -> bool:
        """Fire every timer that is due now, in order; True when there was one."""
        has_fired = False
        while (call := self._timers.pop_due(self._now_s)) is not None:
            call.fn(*call.args)
            has_fired = True
        return has_fired


async def wait_until_settled(members: list[Settles]) -> None:
    """Return once ``SETTLED_TURNS`` turns of the loop passed without activity of any member.

    Does not wait for sockets, other OS processes or timers. A handler that awaits something is
    idle; a chain of more than ``SETTLED_TURNS`` awaits without any event may be cut short.
    """
    wait_quiet = getattr(asyncio.get_running_loop(), "wait_quiet", None)
    if wait_quiet is not None:  # a simulated loop knows for certain
        await wait_quiet()
        return
    quiet_turns = 0
    last_activity = -1
    while quiet_turns < SETTLED_TURNS:
        activity = sum(member.activity for member in members)
        if activity == last_activity and all(member.is_idle for member in members):
            quiet_turns += 1
        else:
            quiet_turns = 0
        last_activity = activity
        await asyncio.sleep(0)


__all__ = [
    "DELAY_S_MAX",
    "Clock",
    "RealClock",
    "Settles",
    "Timer",
    "VirtualClock",
    "wait_until_settled",
]
