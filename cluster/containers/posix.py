"""Containers as plain process trees: a session of its own per container, nothing confined.

Decided here: how the root process is started, how its end is noticed without blocking the event
loop and without SIGCHLD (a pidfd, so it works in any thread and under any loop), and that a
container ends as a whole: when the root process is gone the rest is killed before `wait` answers.

    launch: sandbox files, user → Popen(own session) ──► watched
    watched ──root is a zombie──► kill what is left ──► reap root ──► wait() answers
    destroy: SIGKILL the whole tree, the watcher does the rest

Source: agent.md §9 (launcher `posix`).
"""

import asyncio
import contextlib
import errno
import logging
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cluster.containers.base import (
    ContainerConfig,
    ContainerTermination,
    Fetcher,
    LaunchFailed,
    UnknownContainer,
)
from cluster.containers.environment import DEFAULT_PATH
from cluster.containers.process_tree import MARKER_VARIABLE, kill_marked, kill_tree
from cluster.model.ids import ContainerId

logger = logging.getLogger(__name__)

SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class _Account:
    """The OS account a container runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(slots=True)
class _Container:
    """A launched container that nobody has seen the end of yet."""

    root_pid: int
    marker: str
    reaped: bool = False
    claimed: bool = False
    reaping: asyncio.Lock = field(default_factory=asyncio.Lock)


class PosixContainerizer:
    """A `Containerizer` for any POSIX system; root is needed only to switch users.

    Args:
        switch_user: run each container as the user its config names. Takes effect only when this
            process is root; otherwise everything runs as the user this process has.
        fetcher: brings URIs into the sandbox. Without one, a command with URIs fails to launch.
    """

    def __init__(self, *, switch_user: bool = True, fetcher: Fetcher | None = None) -> None:
        self._switch_user = switch_user and os.geteuid() == 0
        self._fetcher = fetcher
        self._containers: dict[ContainerId, _Container] = {}

    def containers(self) -> tuple[ContainerId, ...]:
        """Return the ids of all containers launched and not yet waited for, oldest first."""
        return tuple(self._containers)

    async def launch(self, config: ContainerConfig) -> int:
        """Start the container; see `Containerizer.launch`."""
        if config.container_id in self._containers:
            raise LaunchFailed(f"container {config.container_id} exists already")
        await self._fetch(config)
        # Forking blocks for milliseconds when this process is large, so it is done in a thread.
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, config))
        try:
            root_pid = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_unwanted)
            raise
        marker = config.environment.get(MARKER_VARIABLE, "")
        self._containers[config.container_id] = _Container(root_pid, marker)
        logger.debug("container %s runs as process %d", config.container_id, root_pid)
        return root_pid

    async def wait(self, container_id: ContainerId) -> ContainerTermination:
        """Wait for the end of a container; see `Containerizer.wait`."""
        container = self._containers.get(container_id)
        if container is None or container.claimed:
            raise UnknownContainer(f"no container {container_id} to wait for")
        container.claimed = True
        try:
            await _root_ended(container.root_pid)
            wait_status = await self._reap(container)
        finally:
            # A cancelled waiter gives the container back: somebody may wait again.
            container.claimed = False
        del self._containers[container_id]
        return ContainerTermination(wait_status)

    async def destroy(self, container_id: ContainerId) -> None:
        """Kill every process of a container; see `Containerizer.destroy`."""
        container = self._containers.get(container_id)
        if container is None:
            return
        async with container.reaping:
            if not container.reaped:
                await asyncio.to_thread(kill_tree, container.root_pid, marker=container.marker)

    async def destroy_orphans(self, work_dir: Path) -> int:
        """Kill what earlier agents left; see `Containerizer.destroy_orphans`."""
        own = {container.marker for container in self._containers.values()}
        return await asyncio.to_thread(kill_marked, str(work_dir), spare=own)

    async def _reap(self, container: _Container) -> int:
        """Kill what outlived the root process, then take the root's status (and its zombie)."""
        async with container.reaping:
            pid = container.root_pid
            killed = await asyncio.to_thread(
                kill_tree, pid, marker=container.marker, spare_root=True
            )
            if killed:
                logger.info("killed %d processes that outlived process %d", killed, pid)
            # It is a zombie already, so this call does not block.
            _, wait_status = os.waitpid(pid, 0)  # noqa: ASYNC222
            container.reaped = True
            return wait_status

    async def _fetch(self, config: ContainerConfig) -> None:
        uris = config.command.uris
        if not uris:
            return
        if self._fetcher is None:
            raise LaunchFailed(f"command.uris: this agent cannot fetch {uris[0].value!r}")
        await self._fetcher.fetch(uris, config.directory, config.user)

    def _start(self, config: ContainerConfig) -> int:
        """Start the root process (blocking) and return its id.

        Raises:
            LaunchFailed: the text names what is missing.
        """
        account = self._account(config.user)
        argv = _argv(config)
        try:
            with _sandbox_files(config.directory, account) as (stdout, stderr):
                process = subprocess.Popen(
                    argv,
                    executable=_program(config),
                    cwd=config.directory,
                    env=dict(config.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else account.groups,
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise LaunchFailed(_explain(config, error)) from error
        # From here on only the process id counts. Popen must neither reap the process behind our
        # back nor complain when the agent leaves while its containers live on.
        process.returncode = 0
        return process.pid

    def _account(self, user: str | None) -> _Account | None:
        """Look up whom to run as; None to stay whoever this process is."""
        if user is None or not self._switch_user:
            return None
        try:
            entry = pwd.getpwnam(user)
        except (KeyError, ValueError):
            raise LaunchFailed(f"user {user!r} does not exist on this agent") from None
        if entry.pw_uid == os.geteuid():
            return None
        groups = tuple(os.getgrouplist(user, entry.pw_gid))
        return _Account(entry.pw_uid, entry.pw_gid, groups)


def _argv(config: ContainerConfig) -> list[str]:
    command = config.command
    if not command.value:
        raise LaunchFailed("command.value: must not be empty")
    if command.shell:
        return ["sh", "-c", command.value]
    return list(command.arguments or (command.value,))


def _program(config: ContainerConfig) -> str:
    """Return the file to execute: argv[0] may be any text, so the two are kept apart.

    Raises:
        LaunchFailed: there is no such program in the container's PATH or sandbox.
    """
    command = config.command
    if command.shell:
        return SHELL
    if os.sep in command.value:
        # Relative paths are meant relative to the sandbox, which is the working directory.
        return str(config.directory / command.value)
    path = config.environment.get("PATH", DEFAULT_PATH)
    program = shutil.which(command.value, path=path)
    if program is None:
        raise LaunchFailed(f"command {command.value!r} was not found in PATH={path}")
    return program


@contextlib.contextmanager
def _sandbox_files(
    directory: Path, account: _Account | None
) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open ``stdout`` and ``stderr`` of a sandbox, owned by whom the container runs as."""
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    with (
        _open_output(directory / "stdout", account) as stdout,
        _open_output(directory / "stderr", account) as stderr,
    ):
        yield stdout, stderr


def _open_output(path: Path, account: _Account | None) -> IO[bytes]:
    # No link is followed: the fetcher may have put anything into the sandbox already.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    return os.fdopen(descriptor, "ab", buffering=0)


def _explain(config: ContainerConfig, error: Exception) -> str:
    """Say in one line why the process could not be started."""
    command = config.command.value
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        missing = error.filename or config.directory
        return f"command {command!r} could not be started: {missing} does not exist"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"command {command!r} could not be started: {error.filename} is not accessible"
    return f"command {command!r} could not be started: {error}"


async def _root_ended(pid: int) -> None:
    """Wait until a child is a zombie, without reaping it and without blocking the loop."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        # Not Linux, or a kernel that forbids it: a thread waits instead.
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _kill_unwanted(starting: "asyncio.Future[int]") -> None:
    """End a process whose launch was given up while a thread was still starting it."""
    if starting.cancelled() or starting.exception() is not None:
        return
    pid = starting.result()
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


__all__ = ["SHELL", "PosixContainerizer"]
