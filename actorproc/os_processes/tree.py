"""Killing a process with everything below it.

Processes are stopped before they are killed: a tree that goes on forking while it is listed would
always be one child ahead. These functions block while they read the process table.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psutil

ROUNDS_MAX: Final = 20  # of listing and stopping; each catches what was forked during the last


def kill_tree(root_pid: int, session: int | None = None) -> int:
    """Kill a process, its descendants, and the members of a session.

    Returns:
        How many processes were sent the signal.
    """
    stopped: dict[psutil.Process, None] = {}
    for _ in range(ROUNDS_MAX):
        found = [each for each in _members(root_pid, session) if each not in stopped]
        if not found:
            break
        for each in found:
            _signal(each, signal.SIGSTOP)
            stopped[each] = None
    for each in stopped:
        _signal(each, signal.SIGKILL)
    return len(stopped)


def kill_session(session: int) -> int:
    """Kill what is left of a session whose leader has ended; returns how many that were.

    A living process with the leader's number is another one's: then the session has been over, and
    nothing is killed.
    """
    try:
        os.kill(session, 0)
    except ProcessLookupError:
        return kill_tree(session, session)
    except PermissionError:
        pass
    return 0


def _members(root_pid: int, session: int | None) -> list[psutil.Process]:
    """The root, its descendants and the session's members, as far as they live."""
    import psutil  # costs 20 ms: not before it is needed

    found: dict[psutil.Process, None] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(root_pid)
        found.update(dict.fromkeys([root, *root.children(recursive=True)]))
    if session is not None:
        found.update(
            (each, None) for each in psutil.process_iter() if _session_of(each.pid) == session
        )
    return list(found)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; psutil refuses when the number has passed to another process since."""
    import psutil

    with contextlib.suppress(psutil.Error):  # gone already
        process.send_signal(number)


__all__ = ["ROUNDS_MAX", "kill_session", "kill_tree"]
