"""Waiting in line: ``Queue``, ``Sequence``, ``RateLimiter``.

Each hands out plain futures at the moment of the call, so places in line are decided by the order
of calls. A future that was cancelled before its turn is passed over. Every line has a limit.
Source: actor-runtime.md §5. Differs: libprocess has no limits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, Final, Generic, Self, TypeVar, overload

from actorproc.asking import busy_process
from actorproc.clock import Timer
from actorproc.errors import ProtocolMisuse
from actorproc.patterns.errors import LimitReached
from actorproc.patterns.futures import associate, resolve
from actorproc.patterns.timing import ClockSource, clock_of

T = TypeVar("T")

ITEMS_MAX: Final = 1_000_000
WAITING_MAX: Final = 100_000


class WaitingLine(Generic[T]):
    """Futures in the order of their making; cancelled ones are as good as gone.

    Args:
        what: who waits, for the text of the error.
        waiting_max: how many may stand in line.
    """

    def __init__(self, what: str, waiting_max: int) -> None:
        self._what = what
        self._waiting_max = waiting_max
        self._line: deque[asyncio.Future[T]] = deque()

    def join(self) -> asyncio.Future[T]:
        """Take the last place.

        Raises:
            LimitReached: ``waiting_max`` stand in line already.
        """
        self._forget_leavers_in_front()  # who polls with a timeout must not make the line grow
        if len(self._line) >= self._waiting_max:
            self._forget_leavers()
        if len(self._line) >= self._waiting_max:
            raise LimitReached(f"{self._what}: waiting_max is {self._waiting_max}")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._line.append(future)
        return future

    def _forget_leavers_in_front(self) -> None:
        while self._line and self._line[0].done():
            del self._line[0]

    def _forget_leavers(self) -> None:
        self._line = deque(future for future in self._line if not future.done())

    def first(self) -> asyncio.Future[T] | None:
        """Who is next, without giving up the place."""
        self._forget_leavers_in_front()
        return self._line[0] if self._line else None

    def serve(self, value: T) -> bool:
        """Complete the first future; False when nobody waits."""
        future = self.first()
        if future is None:
            return False
        del self._line[0]
        future.set_result(value)
        return True


class Queue(Generic[T]):
    """Items in, futures of items out; getters are served in order.

    Args:
        items_max: items that may lie in the queue.
        waiting_max: getters that may wait.
    """

    def __init__(self, *, items_max: int = ITEMS_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._items_max = items_max
        self._items: deque[T] = deque()
        self._getters: WaitingLine[T] = WaitingLine("queue", waiting_max)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Hand an item to the first getter, or keep it.

        Raises:
            LimitReached: ``items_max`` items lie in the queue.
        """
        if self._getters.serve(item):
            return
        if len(self._items) >= self._items_max:
            raise LimitReached(f"queue: items_max is {self._items_max}")
        self._items.append(item)

    def get(self) -> asyncio.Future[T]:
        """A future of the next item; cancel it to leave the line."""
        future = self._getters.join()
        if self._items:
            self._getters.serve(self._items.popleft())
        return future

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        getter = self.get()
        try:
            return await getter
        except asyncio.CancelledError:
            if not getter.cancelled():  # served in the very turn in which we were cancelled
                self._items.appendleft(getter.result())
            raise


class _Step:
    __slots__ = ("fn", "future")

    def __init__(self, fn: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.fn = fn
        self.future = future


class Sequence:
    """Runs functions one after the other: each starts when the one before is over, well or not.

    Args:
        waiting_max: functions that may wait for their turn.
    """

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._waiting: deque[_Step] = deque()
        self._running: asyncio.Future[Any] | None = None
        self._is_closed = False

    @overload
    def add(self, fn: Callable[[], Awaitable[T]]) -> asyncio.Future[T]: ...
    @overload
    def add(self, fn: Callable[[], T]) -> asyncio.Future[T]: ...
    def add(self, fn: Callable[[], Any]) -> asyncio.Future[Any]:
        """A future of what ``fn`` returns; cancelled before its start, ``fn`` never runs.

        Raises:
            LimitReached: ``waiting_max`` functions wait already.
            ProtocolMisuse: the sequence was closed.
        """
        if self._is_closed:
            raise ProtocolMisuse("the sequence is closed")
        if len(self._waiting) >= self._waiting_max:
            self._waiting = deque(step for step in self._waiting if not step.future.done())
        if len(self._waiting) >= self._waiting_max:
            raise LimitReached(f"sequence: waiting_max is {self._waiting_max}")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Step(fn, future))
        self._start_next()
        return future

    def close(self) -> None:
        """Discard what has not started; what runs may finish."""
        self._is_closed = True
        while self._waiting:
            self._waiting.popleft().future.cancel()

    def _start_next(self) -> None:
        while self._running is None and self._waiting:
            step = self._waiting.popleft()
            if step.future.done():
                continue
            # Nobody's handler waits for it just because it was added there.
            context = copy_context()
            context.run(busy_process.set, None)
            loop = asyncio.get_running_loop()
            self._running = loop.create_task(_call(step.fn), context=context)
            associate(step.future, self._running)
            self._running.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Future[Any]) -> None:
        self._running = None
        self._start_next()


async def _call(fn: Callable[[], Any]) -> Any:
    return await resolve(fn())


class RateLimiter:
    """One permit every ``per_s / permits`` seconds: the first at once, none saved up.

    Args:
        permits: how many, above 0.
        per_s: in how many seconds, above 0.
        clock: the clock that is meant.
        waiting_max: acquirers that may wait.
    """

    def __init__(
        self, permits: float, per_s: float, clock: ClockSource, *, waiting_max: int = WAITING_MAX
    ) -> None:
        if not (permits > 0 and per_s > 0):
            raise ValueError(f"permits and per_s must be above 0, not {permits:g} and {per_s:g}")
        self._interval_s = per_s / permits
        self._clock = clock_of(clock)
        self._line: WaitingLine[None] = WaitingLine("rate limiter", waiting_max)
        self._free_at_s = self._clock.now_s()
        self._timer: Timer | None = None

    def acquire(self) -> asyncio.Future[None]:
        """A future of a permit, in the order of calls; cancelled, its slot goes to the next."""
        future = self._line.join()
        if self._timer is None:
            wait_s = self._free_at_s - self._clock.now_s()
            if wait_s <= 0:
                self._grant()
            else:
                self._timer = self._clock.call_later(wait_s, self._slot)
        return future

    def _slot(self) -> None:
        self._timer = None
        self._grant()

    def _grant(self) -> None:
        if not self._line.serve(None):
            return
        self._free_at_s = self._clock.now_s() + self._interval_s
        if self._line.first() is not None:
            self._timer = self._clock.call_later(self._interval_s, self._slot)


__all__ = ["ITEMS_MAX", "WAITING_MAX", "Queue", "RateLimiter", "Sequence", "WaitingLine"]
