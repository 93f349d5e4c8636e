"""Operating system processes: starting children, waiting for the end of any process.

Example::

    async with await start_shell("echo hello", StartOptions(stdout=PIPE)) as child:
        print(await read_all(child.stdout))
        print(os.waitstatus_to_exitcode(await child.status()))
"""

from actorproc.os_processes.reaper import ClosedReaper, Reaper
from actorproc.os_processes.start import (
    INHERIT,
    NULL,
    PIPE,
    ParentHook,
    Standard,
    StartFailed,
    StartOptions,
    Stream,
    Subprocess,
    start,
    start_shell,
)
from actorproc.os_processes.tree import kill_tree

__all__ = [
    "INHERIT",
    "NULL",
    "PIPE",
    "ClosedReaper",
    "ParentHook",
    "Reaper",
    "Standard",
    "StartFailed",
    "StartOptions",
    "Stream",
    "Subprocess",
    "kill_tree",
    "start",
    "start_shell",
]
