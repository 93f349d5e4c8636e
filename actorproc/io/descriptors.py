"""Reading, writing and waiting on file descriptors: pipes, sockets, terminals, files.

Pipes and sockets must be non-blocking (``os.set_blocking(fd, False)``): a blocking one would stop
every actor of the program. Regular files are taken as they are; disks are not waited for.

While a call waits it holds a duplicate of the descriptor. So several may wait on one descriptor,
and one that the caller closes meanwhile cannot turn into another's under the same number.

Cancelling loses no bytes: a call takes bytes only in the step in which it also hands them over.

Source: actor-runtime.md §11 (libprocess ``io.hpp``).
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Flag, auto
from typing import Final

from actorproc.errors import ActorprocError, ProtocolMisuse

CHUNK_BYTES: Final = 4096  # of redirect: what a ready pipe always takes in one piece
READ_BYTES_MAX: Final = 64 * 1024  # taken at once by read_all
READ_ALL_BYTES_MAX: Final = 1024 * 1024 * 1024
TURN_BYTES_MAX: Final = 1024 * 1024  # moved without waiting before others get a turn of the loop

Hook = Callable[[bytes], None]
"""Sees every chunk that is redirected."""


class Ready(Flag):
    """What a descriptor can be ready for."""

    READ = auto()
    WRITE = auto()


READ: Final = Ready.READ
WRITE: Final = Ready.WRITE


class InvalidDescriptor(ProtocolMisuse):
    """A descriptor that is closed, or blocking where it must not be."""


class TooMuchData(ActorprocError):
    """More bytes than the named limit allows."""


async def poll(fd: int, ready: Ready) -> Ready:
    """Wait until a descriptor can be read (also at its end) or written (also when that fails).

    Args:
        fd: may be a blocking one; it stays as it is. A regular file is always ready.
        ready: ``READ``, ``WRITE`` or both.

    Returns:
        What of ``ready`` it is ready for, at least one.

    Raises:
        InvalidDescriptor: it is closed.
    """
    with _duplicate(fd) as own_fd:
        return await _poll(own_fd, ready)


async def read(fd: int, bytes_max: int) -> bytes:
    """Read what is there, as soon as there is something.

    Args:
        fd: non-blocking.
        bytes_max: at most so many, at least 1.

    Returns:
        1 to ``bytes_max`` bytes; none at the end of the file.

    Raises:
        InvalidDescriptor: it is closed or blocking.
        OSError: reading failed.
    """
    if bytes_max < 1:
        raise ProtocolMisuse(f"bytes_max: {bytes_max} must be at least 1")
    _check(fd)
    try:
        return os.read(fd, bytes_max)
    except BlockingIOError:
        pass
    with _duplicate(fd) as own_fd:
        return await _read(own_fd, bytes_max)


async def read_all(
    fd: int, *, into: bytearray | None = None, bytes_max: int = READ_ALL_BYTES_MAX
) -> bytes:
    """Read to the end of the file.

    Args:
        fd: non-blocking.
        into: gets the bytes as they come; what came before a cancellation stays there.
        bytes_max: fail beyond so many.

    Raises:
        InvalidDescriptor: it is closed or blocking.
        TooMuchData: there are more than ``bytes_max``.
        OSError: reading failed.
    """
    _check(fd)
    gathered = bytearray() if into is None else into
    start = len(gathered)
    with _duplicate(fd) as own_fd:
        turn = _Turn()
        while chunk := await _read(own_fd, READ_BYTES_MAX):
            gathered += chunk
            if len(gathered) - start > bytes_max:
                raise TooMuchData(f"descriptor {fd} gave more than bytes_max = {bytes_max}")
            if turn.is_over(len(chunk)):
                await asyncio.sleep(0)
    return bytes(gathered[start:])


async def write(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``. Cancelled, it has written a part; see `write_some`.

    Raises:
        InvalidDescriptor: it is closed or blocking.
        OSError: writing failed (``BrokenPipeError`` when nobody reads).
    """
    _check(fd)
    rest = memoryview(data).cast("B")
    with _duplicate(fd) as own_fd:
        await _write_all(own_fd, rest)


async def write_some(fd: int, data: bytes | bytearray | memoryview) -> int:
    """Write as much as goes in one piece, as soon as something does.

    Returns:
        How many bytes were written, at least 1 unless ``data`` is empty. A cancelled call has
        written none.

    Raises:
        InvalidDescriptor: it is closed or blocking.
        OSError: writing failed.
    """
    _check(fd)
    with _duplicate(fd) as own_fd:
        return await _write_some(own_fd, memoryview(data).cast("B"))


async def redirect(
    from_fd: int,
    to_fd: int | None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    hooks: Sequence[Hook] = (),
) -> int:
    """Move everything from one descriptor to another, until the end of the first.

    The caller may close both once this has begun. Of two pipes, nothing is read before it can be
    written: a cancelled call has moved whole chunks.

    Args:
        from_fd: non-blocking.
        to_fd: non-blocking, or a regular file; None throws the bytes away.
        chunk_bytes: read at most so many at once, at least 1.
        hooks: each is called with each chunk, before it is written; one that fails ends it all.

    Returns:
        How many bytes were moved.

    Raises:
        InvalidDescriptor: one of them is closed or blocking.
        OSError: reading or writing failed.
    """
    if chunk_bytes < 1:
        raise ProtocolMisuse(f"chunk_bytes: {chunk_bytes} must be at least 1")
    _check(from_fd)
    if to_fd is None:
        with _duplicate(from_fd) as source:
            return await _redirect(source, None, chunk_bytes, hooks)
    _check(to_fd)
    with _duplicate(from_fd) as source, _duplicate(to_fd) as target:
        return await _redirect(source, target, chunk_bytes, hooks)


async def _redirect(
    source: int, target: int | None, chunk_bytes: int, hooks: Sequence[Hook]
) -> int:
    moved = 0
    turn = _Turn()
    while True:
        if target is not None:
            await _poll(target, WRITE)
        chunk = await _read(source, chunk_bytes)
        if not chunk:
            return moved
        for hook in hooks:
            hook(chunk)
        if target is not None:
            await _write_all(target, memoryview(chunk))
        moved += len(chunk)
        if turn.is_over(len(chunk)):
            await asyncio.sleep(0)


# The steps. They work on duplicates of their own.


async def _read(fd: int, bytes_max: int) -> bytes:
    while True:
        try:
            return os.read(fd, bytes_max)
        except BlockingIOError:
            await _poll(fd, READ)


async def _write_some(fd: int, data: memoryview) -> int:
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            await _poll(fd, WRITE)


async def _write_all(fd: int, data: memoryview) -> None:
    turn = _Turn()
    while data:
        written = await _write_some(fd, data)
        data = data[written:]
        if turn.is_over(written):
            await asyncio.sleep(0)


async def _poll(fd: int, ready: Ready) -> Ready:
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Ready] = loop.create_future()
    was_blocking = os.get_blocking(fd)
    try:
        if READ in ready:
            loop.add_reader(fd, _complete, found, READ)
        if WRITE in ready:
            loop.add_writer(fd, _complete, found, WRITE)
    except PermissionError:
        return ready  # epoll takes no regular files: they never block
    finally:
        if was_blocking:  # uvloop makes what it watches non-blocking, for everyone who has it open
            os.set_blocking(fd, True)
    try:
        return await found
    finally:
        if READ in ready:
            loop.remove_reader(fd)
        if WRITE in ready:
            loop.remove_writer(fd)


def _complete(found: asyncio.Future[Ready], ready: Ready) -> None:
    if not found.done():
        found.set_result(ready)


def _check(fd: int) -> None:
    try:
        if not os.get_blocking(fd) or stat.S_ISREG(os.fstat(fd).st_mode):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidDescriptor(f"descriptor {fd} is not open") from error
    raise InvalidDescriptor(f"descriptor {fd} is blocking: os.set_blocking({fd}, False)")


@contextmanager
def _duplicate(fd: int) -> Iterator[int]:
    try:
        own_fd = os.dup(fd)
    except (OSError, OverflowError) as error:
        raise InvalidDescriptor(f"descriptor {fd} cannot be duplicated: {error}") from error
    try:
        yield own_fd
    finally:
        os.close(own_fd)


class _Turn:
    """Counts bytes moved, to tell when others should get a turn of the loop."""

    def __init__(self) -> None:
        self._left_bytes = TURN_BYTES_MAX

    def is_over(self, moved_bytes: int) -> bool:
        self._left_bytes -= moved_bytes
        if self._left_bytes > 0:
            return False
        self._left_bytes = TURN_BYTES_MAX
        return True


__all__ = [
    "CHUNK_BYTES",
    "READ",
    "READ_ALL_BYTES_MAX",
    "READ_BYTES_MAX",
    "TURN_BYTES_MAX",
    "WRITE",
    "Hook",
    "InvalidDescriptor",
    "Ready",
    "TooMuchData",
    "poll",
    "read",
    "read_all",
    "redirect",
    "write",
    "write_some",
]
