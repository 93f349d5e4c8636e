"""Finds and kills all processes of a container without help from the kernel's cgroups.

A process belongs to a container when it descends from the root process, when it is in the root's
session, or when its environment names the container's sandbox: the last catches daemons that
forked twice and made a session of their own. What escapes is a process that did all three: forked
away from its parents, changed session and replaced its environment; cgroups catch that one.

Everything here blocks for some milliseconds (it reads the process table): call it in a thread.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection

import psutil

# A member may fork between two looks at the process table. Members are stopped as they are found,
# so each round can only find children that were born before their parent was stopped.
ROUNDS_MAX = 20

# SIGKILL takes effect at once unless a process hangs in the kernel (a dead network disk).
GONE_TIMEOUT_S = 5.0

LOOK_AGAIN_S = 0.001
LOOK_AGAIN_S_MAX = 0.1

MARKER_VARIABLE = "MESOS_DIRECTORY"


def kill_tree(root_pid: int, *, marker: str, spare_root: bool = False) -> int:
    """Stop, then SIGKILL, all processes of the container rooted at `root_pid`; wait for their end.

    Args:
        root_pid: leader of the container's session. It must not have been reaped yet: as long as it
            is a zombie at least, its number cannot belong to another process.
        marker: value of ``MESOS_DIRECTORY`` in the environment of members; "" to not look at it.
        spare_root: leave the root alone, kill the rest.

    Returns:
        How many processes were sent SIGKILL.
    """
    spared = root_pid if spare_root else None

    def find() -> list[psutil.Process]:
        return [process for process in members(root_pid, marker) if process.pid != spared]

    return _kill_all(find)


def kill_marked(work_dir: str, *, spare: Collection[str]) -> int:
    """SIGKILL all processes whose environment names a sandbox below `work_dir`.

    Args:
        spare: sandboxes whose processes are left alone.

    Returns:
        How many processes were sent SIGKILL.
    """
    prefix = work_dir.rstrip(os.sep) + os.sep

    def find() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid()
            and (marker := _sandbox(process)) is not None
            and marker.startswith(prefix)
            and marker not in spare
            and _is_alive(process)
        ]

    return _kill_all(find)


def _kill_all(find: Callable[[], list[psutil.Process]]) -> int:
    """Stop processes until no more are found, kill them, wait until they run no more."""
    doomed: dict[int, psutil.Process] = {}
    for _ in range(ROUNDS_MAX):
        found = [process for process in find() if process.pid not in doomed]
        if not found:
            break
        for process in found:
            doomed[process.pid] = process
            _signal(process, signal.SIGSTOP)
    for process in doomed.values():
        _signal(process, signal.SIGKILL)
    _wait_dead(doomed.values())
    return len(doomed)


def _wait_dead(processes: Collection[psutil.Process]) -> None:
    """Wait until processes run no more. Zombies do not count: their parents may take their time."""
    deadline_s = time.monotonic() + GONE_TIMEOUT_S
    pause_s = LOOK_AGAIN_S
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline_s:
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LOOK_AGAIN_S_MAX)


def members(root_pid: int, marker: str) -> list[psutil.Process]:
    """List the living processes of the container, ordered by process id."""
    table = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    family = _descendants(root_pid, {process.pid: _parent(process) for process in table})
    return [
        process
        for process in table
        if (
            process.pid in family
            or _session(process.pid) == root_pid
            or (marker and _sandbox(process) == marker)
        )
        and _is_alive(process)
    ]


def _descendants(root_pid: int, parents: dict[int, int | None]) -> set[int]:
    """Collect the root and everybody below it, from a child → parent map."""
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)
    family: set[int] = set()
    waiting = [root_pid]
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting.extend(children.get(pid, ()))
    return family


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.Error:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _sandbox(process: psutil.Process) -> str | None:
    try:
        environment: dict[str, str] = process.environ()
    except (psutil.Error, OSError):
        return None  # another user's process, or gone
    return environment.get(MARKER_VARIABLE)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; psutil refuses when the number has passed to another process since."""
    with contextlib.suppress(psutil.Error):  # gone already
        process.send_signal(number)


__all__ = ["GONE_TIMEOUT_S", "MARKER_VARIABLE", "ROUNDS_MAX", "kill_marked", "kill_tree", "members"]
