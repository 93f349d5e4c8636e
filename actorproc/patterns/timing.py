"""Waiting and timeouts on the runtime's clock, so that virtual time reaches them.

These are the forms of asyncio (``sleep``, ``timeout``, ``wait_for``) bound to a ``Clock``. Each
takes a clock or anything that has one: a ``Process``, a ``Runtime``.
Source: actor-runtime.md §5 (``after``), §6 (``Timeout``), §16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

from actorproc.clock import Clock, Timer
from actorproc.errors import ProtocolMisuse

T = TypeVar("T")


@runtime_checkable
class HasClock(Protocol):
    """Something that lives on a clock."""

    @property
    def clock(self) -> Clock: ...


ClockSource = Clock | HasClock


def clock_of(source: ClockSource) -> Clock:
    """The clock itself, or that of a process or runtime."""
    return source.clock if isinstance(source, HasClock) else source


def after(clock: ClockSource, delay_s: float) -> asyncio.Future[None]:
    """A future that is ready after ``delay_s`` seconds; cancelling it cancels the timer."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock_of(clock).call_later(delay_s, _complete, future)
    future.add_done_callback(lambda done: done.cancelled() and timer.cancel())
    return future


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Timeout:
    """``async with timeout(clock, 5.0):`` raises ``TimeoutError`` when the block takes longer.

    The block is cancelled at its ``await``; like ``asyncio.timeout``, it tells its own cancellation
    from one that comes from outside, and blocks may be nested. ``None`` seconds means no limit.
    """

    def __init__(self, clock: ClockSource, seconds: float | None) -> None:
        self._clock = clock_of(clock)
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._cancels_before = 0
        self._timer: Timer | asyncio.Handle | None = None
        self._has_fired = False

    @property
    def has_expired(self) -> bool:
        """True once the time ran out while the block was running."""
        return self._has_fired

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise ProtocolMisuse("a timeout needs a task to cancel")
        self._task = task
        self._cancels_before = task.cancelling()
        if self._seconds is None:
            pass
        elif self._seconds <= 0:  # a virtual clock would fire only when it is next advanced
            self._timer = asyncio.get_running_loop().call_soon(self._fire, task)
        else:
            self._timer = self._clock.call_later(self._seconds, self._fire, task)
        return self

    def _fire(self, task: asyncio.Task[object]) -> None:
        self._has_fired = True
        task.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if not self._has_fired or task is None:
            return
        ours_alone = task.uncancel() <= self._cancels_before
        if ours_alone and exc_type is asyncio.CancelledError:
            raise TimeoutError(f"not within {self._seconds:g} s") from exc


def timeout(clock: ClockSource, seconds: float | None) -> Timeout:
    """Limit a block to some seconds of the clock (``asyncio.timeout`` in runtime time).

    Example::

        async with timeout(self, 5.0):
            reply = await self.dispatch(pid, other.compute)
    """
    return Timeout(clock, seconds)


async def within(clock: ClockSource, seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Await with a limit; what is awaited is cancelled when the time runs out.

    Wrap it in ``undiscardable`` to let it go on instead.

    Raises:
        TimeoutError: it took longer than ``seconds``.
    """
    async with timeout(clock, seconds):
        return await awaitable


__all__ = ["ClockSource", "HasClock", "Timeout", "after", "clock_of", "timeout", "within"]
