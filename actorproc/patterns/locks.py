"""Taking turns: ``Mutex``, ``ReadWriteLock``, ``Latch``, ``CountDownLatch``, ``StateMachine``.

An actor needs no lock for what happens inside one handler; these are for what spans several events
or several actors of one program. ``lock()`` returns a future at once, so places are decided by the
order of calls; prefer ``async with``, which gives a lock back whatever happens.
Source: actor-runtime.md §5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from types import TracebackType
from typing import Generic, TypeVar

from actorproc.errors import ProtocolMisuse
from actorproc.patterns.errors import LimitReached, WrongState
from actorproc.patterns.queues import WAITING_MAX, WaitingLine

S = TypeVar("S")


class Mutex:
    """A lock whose waiters are granted it in order; ``waiting_max`` may wait."""

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._is_locked = False
        self._line: WaitingLine[None] = WaitingLine("mutex", waiting_max)

    @property
    def is_locked(self) -> bool:
        return self._is_locked

    def lock(self) -> asyncio.Future[None]:
        """A future that is ready once the lock is ours."""
        future = self._line.join()
        if not self._is_locked:
            self._is_locked = self._line.serve(None)
        return future

    def unlock(self) -> None:
        """Give the lock to the next in line.

        Raises:
            ProtocolMisuse: it is not locked.
        """
        if not self._is_locked:
            raise ProtocolMisuse("unlock of a mutex that is not locked")
        self._is_locked = self._line.serve(None)

    async def __aenter__(self) -> None:
        await _granted(self.lock(), self.unlock)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unlock()


async def _granted(lock: asyncio.Future[None], give_back: Callable[[], None]) -> None:
    """Wait for a lock; one granted in the very turn in which we are cancelled goes back."""
    try:
        await lock
    except asyncio.CancelledError:
        if not lock.cancelled():
            give_back()
        raise


class _Access(Enum):
    READ = "read"
    WRITE = "write"


class ReadWriteLock:
    """Readers share, a writer is alone; a waiting writer stops the readers that come after it.

    Whoever waits is served in order, readers in a row together; ``waiting_max`` may wait.
    """

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._readers = 0
        self._is_written = False
        self._line: deque[tuple[_Access, asyncio.Future[None]]] = deque()

    def read_lock(self) -> asyncio.Future[None]:
        """A future that is ready once reading is allowed."""
        return self._join(_Access.READ)

    def write_lock(self) -> asyncio.Future[None]:
        """A future that is ready once nobody else reads or writes."""
        return self._join(_Access.WRITE)

    def read_unlock(self) -> None:
        """One reader is finished.

        Raises:
            ProtocolMisuse: nobody reads.
        """
        if not self._readers:
            raise ProtocolMisuse("read_unlock of a lock that nobody reads under")
        self._readers -= 1
        self._serve()

    def write_unlock(self) -> None:
        """The writer is finished.

        Raises:
            ProtocolMisuse: nobody writes.
        """
        if not self._is_written:
            raise ProtocolMisuse("write_unlock of a lock that nobody writes under")
        self._is_written = False
        self._serve()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Hold the lock for reading during a block."""
        await _granted(self.read_lock(), self.read_unlock)
        try:
            yield
        finally:
            self.read_unlock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Hold the lock for writing during a block."""
        await _granted(self.write_lock(), self.write_unlock)
        try:
            yield
        finally:
            self.write_unlock()

    def _join(self, access: _Access) -> asyncio.Future[None]:
        if len(self._line) >= self._waiting_max:
            self._line = deque(place for place in self._line if not place[1].done())
        if len(self._line) >= self._waiting_max:
            raise LimitReached(f"read-write lock: waiting_max is {self._waiting_max}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((access, future))
        self._serve()
        # A writer that gives up may have been all that kept the readers behind it waiting.
        future.add_done_callback(self._serve_after)
        return future

    def _serve_after(self, done: asyncio.Future[None]) -> None:
        if done.cancelled():
            self._serve()

    def _serve(self) -> None:
        while self._line:
            access, future = self._line[0]
            if future.done():
                self._line.popleft()
            elif self._is_written or (access is _Access.WRITE and self._readers):
                return
            else:
                self._line.popleft()
                self._take(access)
                future.set_result(None)

    def _take(self, access: _Access) -> None:
        if access is _Access.READ:
            self._readers += 1
        else:
            self._is_written = True


class CountDownLatch:
    """Opens once, when ``count`` (0 or more) has been counted down."""

    def __init__(self, count: int) -> None:
        if count < 0:
            raise ValueError(f"count must be 0 or more, not {count}")
        self._count = count
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def count(self) -> int:
        """How many decrements are still missing."""
        return self._count

    @property
    def is_triggered(self) -> bool:
        return self._count == 0

    def decrement(self) -> bool:
        """Count one down; True when this one opened the latch. An open latch stays open."""
        if self._count == 0:
            return False
        self._count -= 1
        if self._count:
            return False
        for future in list(self._waiting):
            if not future.done():
                future.set_result(None)
        return True

    def triggered(self) -> asyncio.Future[None]:
        """A future of one's own that is ready once the latch is open.

        Raises:
            LimitReached: ``WAITING_MAX`` futures wait already.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise LimitReached(f"latch: WAITING_MAX is {WAITING_MAX}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._count == 0:
            future.set_result(None)
        else:
            self._waiting[future] = None
            future.add_done_callback(self._waiting.pop)
        return future


class Latch(CountDownLatch):
    """Opens once, at the first ``trigger``."""

    def __init__(self) -> None:
        super().__init__(1)

    def trigger(self) -> bool:
        """Open the latch; True the first time."""
        return self.decrement()


class StateMachine(Generic[S]):
    """A state that changes only by checked transitions, and futures of states to come."""

    def __init__(self, initial: S) -> None:
        self._state = initial
        self._waiting: dict[asyncio.Future[None], S] = {}

    @property
    def state(self) -> S:
        return self._state

    def is_in(self, state: S) -> bool:
        return self._state == state

    def transition(self, source: S, target: S) -> None:
        """Go from ``source`` to ``target``.

        Raises:
            WrongState: the machine is not in ``source``; nothing changes.
        """
        if self._state != source:
            raise WrongState(f"cannot go from {source} to {target}: the state is {self._state}")
        self._state = target
        for future, state in list(self._waiting.items()):
            if state == target and not future.done():
                future.set_result(None)

    def when(self, state: S) -> asyncio.Future[None]:
        """A future that is ready once the machine is, or comes to be, in ``state``.

        Raises:
            LimitReached: ``WAITING_MAX`` futures wait already.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise LimitReached(f"state machine: WAITING_MAX is {WAITING_MAX}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._state == state:
            future.set_result(None)
        else:
            self._waiting[future] = state
            future.add_done_callback(self._waiting.pop)
        return future


__all__ = ["CountDownLatch", "Latch", "Mutex", "ReadWriteLock", "StateMachine"]
