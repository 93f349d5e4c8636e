"""Waiting for the end of operating system processes, without signal handlers.

On Linux a *pidfd* becomes readable when its process ends, so the event loop watches it like a
socket. Elsewhere, or when descriptors run out, a reaper polls on the runtime's clock: every 100 ms
for up to 50 processes, growing to every second for 500 and more. SIGCHLD is never touched: it
belongs to the program, and both event loops have their own ideas of it.

Source: actor-runtime.md §11 (libprocess ``reap.cpp``). Differs: pidfds tell at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final

from actorproc.clock import Clock, Timer
from actorproc.errors import ProtocolMisuse

POLL_S_MIN: Final = 0.1
POLL_S_MAX: Final = 1.0
POLLED_AT_MIN: Final = 50  # up to so many processes are polled every POLL_S_MIN
POLLED_AT_MAX: Final = 500  # from so many on every POLL_S_MAX

HAS_PIDFD: Final = hasattr(os, "pidfd_open")  # a kernel may still refuse


class ClosedReaper(ProtocolMisuse):
    """The reaper was closed: it watches nothing more."""


class Reaper:
    """Tells of the end of processes, own children and others.

    Args:
        clock: the runtime's clock, for polling.
        polls: True to poll always, as libprocess does; else only where pidfds are missing.
    """

    def __init__(self, clock: Clock, *, polls: bool = False) -> None:
        self._clock = clock
        self._polls = polls or not HAS_PIDFD
        self._watched: dict[int, asyncio.Future[int | None]] = {}
        self._polled: dict[int, None] = {}
        self._pidfds: dict[int, int] = {}  # pid → descriptor
        self._timer: Timer | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._watched)

    async def reap(self, pid: int) -> int | None:
        """Wait until a process is gone. Cancelling the waiter changes nothing for other waiters.

        Args:
            pid: its number, > 0.

        Returns:
            The wait status (see ``os.WEXITSTATUS``) of a child of ours, which is reaped by that;
            None for any other process, and for a child that somebody else has reaped.

        Raises:
            ProtocolMisuse: ``pid`` is not above 0.
            ClosedReaper: the reaper is closed, or was while the process lived.
        """
        return await asyncio.shield(self.watch(pid))

    def watch(self, pid: int) -> asyncio.Future[int | None]:
        """The future behind `reap`, shared by all who wait for ``pid``: not to be cancelled."""
        if pid <= 0:
            raise ProtocolMisuse(f"pid: {pid} must be above 0")
        if self._is_closed:
            raise ClosedReaper("the reaper is closed")
        return self._watched.get(pid) or self._watch(pid)

    def close(self) -> None:
        """Stop watching; whoever waits gets `ClosedReaper`."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for pid in list(self._pidfds):
            self._unwatch_pidfd(pid)
        for ended in self._watched.values():
            if not ended.done():
                ended.set_exception(ClosedReaper("the reaper was closed"))
                ended.exception()  # nobody has to look
        self._watched.clear()
        self._polled.clear()

    def _watch(self, pid: int) -> asyncio.Future[int | None]:
        ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._watched[pid] = ended
        try:
            if self._polls or not self._watch_pidfd(pid):
                self._poll_from_now_on(pid)
        except ProcessLookupError:
            self._end(pid, None)
        return ended

    def _end(self, pid: int, status: int | None) -> None:
        _complete(self._watched.pop(pid), status)

    # By descriptor.

    def _watch_pidfd(self, pid: int) -> bool:
        """Have the loop watch a process; False when that cannot be done."""
        pidfd = open_pidfd(pid)
        if pidfd is None:
            return False
        self._pidfds[pid] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._pidfd_readable, pid)
        return True

    def _pidfd_readable(self, pid: int) -> None:
        status = _status_of(pid, self._pidfds[pid])
        self._unwatch_pidfd(pid)
        self._end(pid, status)

    def _unwatch_pidfd(self, pid: int) -> None:
        pidfd = self._pidfds.pop(pid)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)

    # By polling.

    def _poll_from_now_on(self, pid: int) -> None:
        self._polled[pid] = None
        if self._timer is None:
            self._timer = self._clock.call_later(poll_interval_s(len(self._polled)), self._poll)

    def _poll(self) -> None:
        self._timer = None
        for pid in list(self._polled):
            has_ended, status = look(pid)
            if has_ended:
                del self._polled[pid]
                self._end(pid, status)
        if self._polled:
            self._timer = self._clock.call_later(poll_interval_s(len(self._polled)), self._poll)


def poll_interval_s(watched: int) -> float:
    """How long to wait between two looks at ``watched`` processes, in seconds."""
    share = (watched - POLLED_AT_MIN) / (POLLED_AT_MAX - POLLED_AT_MIN)
    return POLL_S_MIN + (POLL_S_MAX - POLL_S_MIN) * min(max(share, 0.0), 1.0)


def look(pid: int) -> tuple[bool, int | None]:
    """Whether a process has ended and its wait status if it was a child of ours: reaped by this."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return not _exists(pid), None
    return reaped == pid, status if reaped == pid else None


def _status_of(pid: int, pidfd: int) -> int | None:
    """Reap the process behind ``pidfd``, which has ended; None when it is no child of ours.

    Asked by descriptor first: the number may have passed to another process since.
    """
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return look(pid)[1]


def _complete(future: asyncio.Future[int | None], status: int | None) -> None:
    if not future.done():
        future.set_result(status)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when ``pid`` ends; None where there is none to have.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not HAS_PIDFD:
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None  # an old kernel, a sandbox that forbids it, or too many open files


def child_exit(pid: int) -> asyncio.Future[int | None]:
    """A future of the wait status of a child of ours: by pidfd, else from a thread of its own.

    Needs no clock and no reaper. None when somebody else has reaped the child.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int | None] = loop.create_future()

    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        ended.set_result(None)
        return ended
    if pidfd is None:
        _start_waiting_thread(loop, pid, lambda: _complete(ended, look(pid)[1]))
        return ended

    def readable() -> None:
        loop.remove_reader(pidfd)
        status = _status_of(pid, pidfd)
        os.close(pidfd)
        _complete(ended, status)

    loop.add_reader(pidfd, readable)
    return ended


def _start_waiting_thread(
    loop: asyncio.AbstractEventLoop, pid: int, ended: Callable[[], None]
) -> None:
    """Call ``ended`` in the loop once a child has ended; it is left to be reaped there."""

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(ended)

    threading.Thread(target=wait, name=f"wait-for-{pid}", daemon=True).start()


__all__ = [
    "HAS_PIDFD",
    "POLLED_AT_MAX",
    "POLLED_AT_MIN",
    "POLL_S_MAX",
    "POLL_S_MIN",
    "ClosedReaper",
    "Reaper",
    "child_exit",
    "look",
    "open_pidfd",
    "poll_interval_s",
]
