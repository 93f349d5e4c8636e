"""Descriptors and files for actors: reading, writing and watching without blocking the loop.

Example::

    await write(child.stdin, b"hello")
    text = await read_all(child.stdout)
    await redirect(child.stderr, log_fd, hooks=[count_bytes])
"""

from actorproc.io.descriptors import (
    CHUNK_BYTES,
    READ,
    READ_ALL_BYTES_MAX,
    WRITE,
    Hook,
    InvalidDescriptor,
    Ready,
    TooMuchData,
    poll,
    read,
    read_all,
    redirect,
    write,
    write_some,
)
from actorproc.io.watcher import (
    CannotWatch,
    ClosedWatcher,
    FileEvent,
    FileEventKind,
    Watcher,
)

__all__ = [
    "CHUNK_BYTES",
    "READ",
    "READ_ALL_BYTES_MAX",
    "WRITE",
    "CannotWatch",
    "ClosedWatcher",
    "FileEvent",
    "FileEventKind",
    "Hook",
    "InvalidDescriptor",
    "Ready",
    "TooMuchData",
    "Watcher",
    "poll",
    "read",
    "read_all",
    "redirect",
    "write",
    "write_some",
]
