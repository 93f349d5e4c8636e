"""Starting a child process: its descriptors, its environment, and who outlives whom.

``subprocess.Popen`` of the standard library makes the child. What must happen when the child has a
process id and its program does not run yet (parent hooks, dying with the parent) needs a program
that waits there: `launcher` is executed first and becomes the real one when told. Running our own
Python code between fork and exec would deadlock now and then in a program with threads.

The end of the child is watched by descriptor (see `reaper`); no signal handler is involved, so this
works on asyncio's and on uvloop's loop, in any thread.

Source: actor-runtime.md §11, §14. Differs: no hooks written by users run in the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from actorproc.environment import child_environment
from actorproc.errors import ActorprocError, ProtocolMisuse
from actorproc.io.descriptors import read_all
from actorproc.os_processes.reaper import Reaper, child_exit
from actorproc.os_processes.tree import kill_session, kill_tree

FILE_MODE: Final = 0o644  # of files that output creates
REPORT_BYTES_MAX: Final = 16  # of the launcher: a letter and an error number
_LAUNCHER: Final = str(Path(__file__).with_name("launcher.py"))

ParentHook = Callable[[int], Awaitable[None] | None]
"""Gets the child's pid while the child is held back; a failure ends the child."""


class Standard(Enum):
    """Where a standard stream of a child leads, besides files and descriptors."""

    PIPE = "pipe"  # to us
    NULL = "null"  # to nothing
    INHERIT = "inherit"  # to where ours leads


PIPE: Final = Standard.PIPE
NULL: Final = Standard.NULL
INHERIT: Final = Standard.INHERIT

Stream = Standard | int | str | Path
"""A way to connect a stream; an ``int`` is a descriptor of ours, which the child gets a copy of."""


class StartFailed(ActorprocError):
    """A child process that could not be started; nothing of it is left."""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How a child is started.

    Attributes:
        stdin: read from here; a path is opened for reading.
        stdout: written to here; a path is opened for appending, and created.
        stderr: as ``stdout``.
        env: the whole environment of the child; None for ours, but with a libprocess port
            of its own (see ``actorproc.environment.child_environment``).
        directory: working directory; None for ours.
        new_session: make the child leader of a session of its own (setsid).
        keep_fds: descriptors that stay open in the child, with the same numbers; all others of ours
            are closed there.
        dies_with_parent: have the kernel kill the child (not its children) when we end, or when the
            thread ends that started it. Linux only.
        parent_hooks: called one after the other before the child's program runs.
    """

    stdin: Stream = INHERIT
    stdout: Stream = INHERIT
    stderr: Stream = INHERIT
    env: Mapping[str, str] | None = None
    directory: str | Path | None = None
    new_session: bool = False
    keep_fds: Collection[int] = ()
    dies_with_parent: bool = False
    parent_hooks: Sequence[ParentHook] = ()


class Subprocess:
    """A child process that was started.

    Attributes:
        pid: its process id.
        stdin: our end of its standard input when that is a pipe, for `actorproc.io.write`; else
            None. Close it by `close_stdin` to give the child its end of file.
        stdout: our end of its standard output when that is a pipe, for `actorproc.io.read`; else
            None.
        stderr: as ``stdout``.
    """

    def __init__(
        self,
        pid: int,
        ends: tuple[int | None, int | None, int | None],
        ended: asyncio.Future[int | None],
        session: int | None,
    ) -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = ends
        self._ended = ended
        self._session = session

    @property
    def has_ended(self) -> bool:
        """True once the end is known here."""
        return self._ended.done()

    async def status(self) -> int | None:
        """Wait for the end; cancelling the waiter leaves child and other waiters alone.

        Returns:
            The wait status (see ``os.waitstatus_to_exitcode``); None when somebody else reaped it.
        """
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> bool:
        """Send a signal; False when the child has ended and its number may be another's."""
        if self._ended.done():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    async def kill_tree(self) -> None:
        """Kill the child and all its descendants, and its session if it has one of its own.

        Returns when all signals are sent. Descendants that made a session of their own *and* lost
        their parent before are not found.
        """
        if not self._ended.done():
            await asyncio.to_thread(kill_tree, self.pid, self._session)
        elif self._session is not None:
            await asyncio.to_thread(kill_session, self._session)

    def close_stdin(self) -> None:
        """Close our end of the child's input."""
        end, self.stdin = self.stdin, None
        _close(end)

    def close(self) -> None:
        """Close our ends of all pipes; the child lives on, and is still reaped."""
        ends = (self.stdin, self.stdout, self.stderr)
        self.stdin = self.stdout = self.stderr = None
        for end in ends:
            _close(end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pipes and kill what is left of the child's tree."""
        self.close()
        await self.kill_tree()
        await self.status()

    def __del__(self) -> None:
        if any(end is not None for end in (self.stdin, self.stdout, self.stderr)):
            warnings.warn(f"pipes of child {self.pid} were not closed", ResourceWarning, 2, self)
            self.close()


async def start(
    argv: Sequence[str],
    options: StartOptions = StartOptions(),
    *,
    executable: str | None = None,
    reaper: Reaper | None = None,
) -> Subprocess:
    """Start a program.

    Args:
        argv: its arguments, the first one its name.
        options: see `StartOptions`.
        executable: the file to run when it is not ``argv[0]``; without a slash it is looked for in
            PATH of the child's environment.
        reaper: watches for the child's end; needed only where the same child is also reaped by
            number, since a wait status is given out once.

    Raises:
        StartFailed: no such program, directory or file; a parent hook failed (it is the cause).
        ProtocolMisuse: arguments that no program can be started with.
    """
    _check(argv, options)
    executable = executable or argv[0]
    with _Descriptors() as descriptors:
        streams = _Streams(descriptors, options)
        if options.parent_hooks or options.dies_with_parent:
            launch = _Launch(descriptors, executable, argv, options)
            pid = _spawn(launch.argv, sys.executable, options, streams, launch.child_fds)
            ended = _watch(pid, reaper)
            await _let_go(launch, pid, ended, options)
        else:
            pid = _spawn(argv, executable, options, streams)
            ended = _watch(pid, reaper)
        return Subprocess(
            pid, streams.taken_over(), ended, session=pid if options.new_session else None
        )


async def start_shell(
    command: str,
    options: StartOptions = StartOptions(),
    *,
    reaper: Reaper | None = None,
) -> Subprocess:
    """Start ``sh -c command`` (see `start`)."""
    return await start(["sh", "-c", command], options, executable="/bin/sh", reaper=reaper)


class _Descriptors:
    """Descriptors that are closed on the way out, except those that somebody took over."""

    def __init__(self) -> None:
        self._fds: dict[int, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(*self._fds)

    def own(self, fd: int) -> int:
        self._fds[fd] = None
        return fd

    def pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        return self.own(reading), self.own(writing)

    def release(self, fd: int) -> None:
        del self._fds[fd]

    def close(self, *fds: int) -> None:
        for fd in fds:
            self.release(fd)
            os.close(fd)


class _Streams:
    """The ends of the three standard streams; ``given`` is what the child gets for each."""

    def __init__(self, descriptors: _Descriptors, options: StartOptions) -> None:
        self._descriptors = descriptors
        self.given: list[int | None] = []
        self._ours: list[int | None] = []
        for stream in (options.stdin, options.stdout, options.stderr):
            given, ours = self._connect(stream, is_input=not self.given)
            self.given.append(given)
            self._ours.append(ours)

    def taken_over(self) -> tuple[int | None, int | None, int | None]:
        """Our end of each that is a pipe; they are the caller's from here on."""
        for fd in self._ours:
            if fd is not None:
                self._descriptors.release(fd)
        stdin, stdout, stderr = self._ours
        return stdin, stdout, stderr

    def _connect(self, stream: Stream, *, is_input: bool) -> tuple[int | None, int | None]:
        match stream:
            case Standard.PIPE:
                reading, writing = self._descriptors.pipe()
                childs, ours = (reading, writing) if is_input else (writing, reading)
                os.set_blocking(ours, False)
                return childs, ours
            case Standard.NULL:
                return subprocess.DEVNULL, None
            case Standard.INHERIT:
                return None, None
            case int():
                return stream, None
            case _:
                return self._descriptors.own(_open_file(stream, is_input=is_input)), None


def _open_file(path: str | Path, *, is_input: bool) -> int:
    flags = os.O_RDONLY if is_input else os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise StartFailed(f"cannot open {path}: {error.strerror}") from error


def _check(argv: Sequence[str], options: StartOptions) -> None:
    if isinstance(argv, str) or not argv:
        raise ProtocolMisuse(f"argv: {argv!r} must be a list of one text or more")
    texts: Iterable[str] = argv
    if options.env is not None:
        texts = [*argv, *options.env, *options.env.values()]
    if any("\0" in text for text in texts):
        raise ProtocolMisuse("argv and env: must not contain a null character")
    if options.dies_with_parent and not sys.platform.startswith("linux"):
        raise ProtocolMisuse("dies_with_parent: needs Linux")


def _spawn(
    argv: Sequence[str],
    executable: str,
    options: StartOptions,
    streams: _Streams,
    extra_fds: Sequence[int] = (),
) -> int:
    try:
        process = subprocess.Popen(
            argv,
            executable=executable,
            stdin=streams.given[0],
            stdout=streams.given[1],
            stderr=streams.given[2],
            env=_environment(options),
            cwd=options.directory,
            close_fds=True,
            pass_fds=[*options.keep_fds, *extra_fds],
            start_new_session=options.new_session,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartFailed(f"cannot start {executable}: {error}") from error
    # Popen must forget the child: it would reap it in passing, and its status would be lost.
    process.returncode = 0
    return process.pid


def _environment(options: StartOptions) -> dict[str, str]:
    return child_environment(os.environ) if options.env is None else dict(options.env)


def _watch(pid: int, reaper: Reaper | None) -> asyncio.Future[int | None]:
    return child_exit(pid) if reaper is None else reaper.watch(pid)


class _Launch:
    """The launcher's command line, and two pipes to talk to it."""

    def __init__(
        self,
        descriptors: _Descriptors,
        executable: str,
        argv: Sequence[str],
        options: StartOptions,
    ) -> None:
        self.executable = executable
        self.descriptors = descriptors
        go_fd, self.go_fd = descriptors.pipe()
        self.report_fd, report_fd = descriptors.pipe()
        os.set_blocking(self.report_fd, False)
        self.child_fds = (go_fd, report_fd)
        wanted = {
            "go_fd": go_fd,
            "report_fd": report_fd,
            "parent_pid": os.getpid() if options.dies_with_parent else 0,
            "lc_ctype": _environment(options).get("LC_CTYPE"),
        }
        python = [sys.executable, "-I", "-S", "-X", "utf8", _LAUNCHER]
        self.argv = [*python, json.dumps(wanted), executable, *argv]


async def _let_go(
    launch: _Launch, pid: int, ended: asyncio.Future[int | None], options: StartOptions
) -> None:
    """Run the hooks, then have the launcher become the program; on failure the child is killed."""
    launch.descriptors.close(*launch.child_fds)
    try:
        await _run_hooks(options.parent_hooks, pid)
        with contextlib.suppress(BrokenPipeError):  # the launcher is gone: its report tells
            os.write(launch.go_fd, b"g")
        report = await read_all(launch.report_fd, bytes_max=REPORT_BYTES_MAX)
        if report != b"e":
            raise StartFailed(f"cannot start {launch.executable}: {_reason(report)}")
    except BaseException as error:
        if not ended.done():
            os.kill(pid, signal.SIGKILL)  # not reaped yet: the number is still the child's
        if isinstance(error, Exception):
            await asyncio.shield(ended)
        raise


async def _run_hooks(hooks: Sequence[ParentHook], pid: int) -> None:
    for hook in hooks:
        try:
            result = hook(pid)
            if result is not None:
                await result
        except Exception as error:
            raise StartFailed(f"a parent hook of child {pid} failed: {error}") from error


def _reason(report: bytes) -> str:
    """What went wrong, from what the launcher reported."""
    number = report.removeprefix(b"e")
    if not number.isdigit():
        return "it ended before its program ran"
    return os.strerror(int(number))


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


__all__ = [
    "INHERIT",
    "NULL",
    "PIPE",
    "ParentHook",
    "Standard",
    "StartFailed",
    "StartOptions",
    "Stream",
    "Subprocess",
    "start",
    "start_shell",
]
