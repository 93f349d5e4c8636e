"""Watcher: writes to, removal of and renaming of single files.

On Linux the kernel tells (inotify); elsewhere, and where that is refused, files are looked at every
``POLL_S`` on the runtime's clock.

inotify is three calls and one record. Libraries that wrap it do more and less than is needed here:
watchfiles watches trees from a thread and knows no renaming, watchdog brings threads of its own.

Source: actor-runtime.md §11 (libprocess ``io.hpp``, ``Watcher``).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import stat
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from actorproc.clock import Clock, Timer
from actorproc.errors import ActorprocError, ProtocolMisuse

POLL_S: Final = 0.1
FILES_MAX: Final = 10_000  # watched by one watcher; so its queue cannot hold more than three each
_INOTIFY_READ_BYTES: Final = 64 * 1024

_IN_MODIFY: Final = 0x0000_0002
_IN_ATTRIB: Final = 0x0000_0004
_IN_DELETE_SELF: Final = 0x0000_0400
_IN_MOVE_SELF: Final = 0x0000_0800
_IN_Q_OVERFLOW: Final = 0x0000_4000
_IN_IGNORED: Final = 0x0000_8000
_IN_NONBLOCK: Final = os.O_NONBLOCK
_IN_CLOEXEC: Final = os.O_CLOEXEC
_EVENT: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class FileEventKind(Enum):
    """What happened to a file."""

    WRITE = "write"
    REMOVE = "remove"
    RENAME = "rename"


@dataclass(frozen=True, slots=True)
class FileEvent:
    """One or more things of one kind that happened to a file, since the last such event."""

    kind: FileEventKind
    path: Path


class CannotWatch(ActorprocError):
    """A path that is not there, not a file, or cannot be watched."""


class ClosedWatcher(ProtocolMisuse):
    """The watcher was closed."""


class _Source(Protocol):
    """Where events come from; it calls ``tell`` with each and may repeat itself."""

    def add(self, path: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def close(self) -> None: ...


class Watcher:
    """Tells what happens to files.

    A file that was removed or renamed is watched no longer. Events of one kind of one file are told
    once, however often it happened before somebody took the event. Made inside a running loop.

    Args:
        clock: the runtime's clock, for looking at files where the kernel does not tell.
        polls: True to look always.
    """

    def __init__(self, clock: Clock, *, polls: bool = False) -> None:
        self._paths: dict[Path, None] = {}
        self._events: dict[FileEvent, None] = {}  # a queue without doubles
        self._arrival: asyncio.Future[None] | None = None
        self._is_closed = False
        self._source: _Source = _Polling(clock, self._tell) if polls else _source(clock, self._tell)

    def add(self, path: str | Path) -> None:
        """Watch a file.

        Raises:
            ProtocolMisuse: it is watched already, or ``FILES_MAX`` files are.
            CannotWatch: it is a directory, or nothing at all, or may not be looked at.
            ClosedWatcher: the watcher is closed.
        """
        path = Path(path)
        self._check_open()
        if path in self._paths:
            raise ProtocolMisuse(f"{path} is watched already")
        if len(self._paths) >= FILES_MAX:
            raise ProtocolMisuse(f"{FILES_MAX} files are watched already")
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                raise CannotWatch(f"{path} is a directory, only files can be watched")
            self._source.add(path)
        except (OSError, ValueError) as error:
            raise CannotWatch(f"cannot watch {path}: {error}") from error
        self._paths[path] = None

    def remove(self, path: str | Path) -> None:
        """Watch a file no longer; events that have been told stay.

        Raises:
            ProtocolMisuse: it is not watched.
        """
        path = Path(path)
        if path not in self._paths:
            raise ProtocolMisuse(f"{path} is not watched")
        del self._paths[path]
        self._source.remove(path)

    async def next(self) -> FileEvent:
        """Wait for the next event. Cancelling loses none; one waiter at a time.

        Raises:
            ClosedWatcher: the watcher is closed.
            ProtocolMisuse: somebody waits already.
        """
        if self._arrival is not None:
            raise ProtocolMisuse("somebody waits for events of this watcher already")
        while not self._events:
            self._check_open()
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        event = next(iter(self._events))
        del self._events[event]
        return event

    async def __aiter__(self) -> AsyncIterator[FileEvent]:
        """All events, until the watcher is closed."""
        while True:
            try:
                event = await self.next()
            except ClosedWatcher:
                return
            yield event

    def close(self) -> None:
        """Stop watching; whoever waits gets `ClosedWatcher`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._paths.clear()
        self._source.close()
        self._wake()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedWatcher("the watcher is closed")

    def _tell(self, kind: FileEventKind, path: Path) -> None:
        if path not in self._paths:
            return  # removed meanwhile
        self._events[FileEvent(kind, path)] = None
        if kind is not FileEventKind.WRITE:
            self.remove(path)
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class _Tell(Protocol):
    def __call__(self, kind: FileEventKind, path: Path) -> None: ...


# The kernel tells.


class _Inotify:
    """Events from the kernel.

    Raises:
        OSError: there is no inotify here, or no more of it.
    """

    def __init__(self, tell: _Tell) -> None:
        self._tell = tell
        self._library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._library, "inotify_init1"):
            raise OSError(errno.ENOSYS, "no inotify")
        self._fd = self._checked(self._library.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        self._paths: dict[int, dict[Path, None]] = {}  # watch → its paths: two may be one file
        self._watches: dict[Path, int] = {}
        self._identities: dict[Path, tuple[int, int] | None] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def add(self, path: Path) -> None:
        mask = _IN_MODIFY | _IN_ATTRIB | _IN_DELETE_SELF | _IN_MOVE_SELF
        watch = self._checked(self._library.inotify_add_watch(self._fd, os.fsencode(path), mask))
        self._paths.setdefault(watch, {})[path] = None
        self._watches[path] = watch
        self._identities[path] = _identity_at(path)

    def remove(self, path: Path) -> None:
        watch = self._watches.pop(path)
        del self._identities[path]
        paths = self._paths.get(watch, {})
        paths.pop(path, None)
        if not paths and self._paths.pop(watch, None) is not None:
            self._library.inotify_rm_watch(self._fd, watch)  # fails when the file is gone: fine

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _INOTIFY_READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, name_bytes = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_bytes
            if mask & _IN_Q_OVERFLOW:
                self._suspect_all()
            for path in list(self._paths.get(watch, ())):
                self._tell_of(path, mask)
            if mask & _IN_IGNORED:
                self._paths.pop(watch, None)

    def _tell_of(self, path: Path, mask: int) -> None:
        if mask & _IN_MODIFY:
            self._tell(FileEventKind.WRITE, path)
        if mask & _IN_MOVE_SELF:
            self._tell(FileEventKind.RENAME, path)
        elif mask & _IN_DELETE_SELF or (mask & _IN_ATTRIB and self._has_lost_its_name(path)):
            self._tell(FileEventKind.REMOVE, path)

    def _has_lost_its_name(self, path: Path) -> bool:
        """Removal of a file that somebody has open shows as a change of its attributes only."""
        return path in self._identities and _identity_at(path) != self._identities[path]

    def _suspect_all(self) -> None:
        """The kernel has dropped events: anything may have been written or removed."""
        for path in list(self._watches):
            self._tell_of(path, _IN_MODIFY | _IN_ATTRIB)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


# We look.


@dataclass(slots=True)
class _Seen:
    """What a file looked like; ``fd`` keeps the file itself in view when its name goes."""

    fd: int
    identity: tuple[int, int]
    content: tuple[int, int]


class _Polling:
    """Events from looking at every file once in ``POLL_S``."""

    def __init__(self, clock: Clock, tell: _Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._seen: dict[Path, _Seen] = {}
        self._timer: Timer | None = None

    def add(self, path: Path) -> None:
        fd = os.open(path, getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC)
        status = os.fstat(fd)
        self._seen[path] = _Seen(fd, _identity(status), _content(status))
        self._look_later()

    def remove(self, path: Path) -> None:
        os.close(self._seen.pop(path).fd)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for path in list(self._seen):
            self.remove(path)

    def _look_later(self) -> None:
        if self._timer is None and self._seen:
            self._timer = self._clock.call_later(POLL_S, self._look)

    def _look(self) -> None:
        self._timer = None
        for path, seen in list(self._seen.items()):
            self._look_at(path, seen)
        self._look_later()

    def _look_at(self, path: Path, seen: _Seen) -> None:
        status = os.fstat(seen.fd)
        if (content := _content(status)) != seen.content:
            seen.content = content
            self._tell(FileEventKind.WRITE, path)
        if _identity_at(path) != seen.identity:
            # The file goes on under another name, or under none.
            is_removed = status.st_nlink == 0
            self._tell(FileEventKind.REMOVE if is_removed else FileEventKind.RENAME, path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.stat())
    except OSError:
        return None


def _content(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


def _source(clock: Clock, tell: _Tell) -> _Source:
    try:
        return _Inotify(tell)
    except OSError:
        return _Polling(clock, tell)


__all__ = [
    "FILES_MAX",
    "POLL_S",
    "CannotWatch",
    "ClosedWatcher",
    "FileEvent",
    "FileEventKind",
    "Watcher",
]
