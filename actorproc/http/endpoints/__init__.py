"""The built-in endpoints, each a process: help, processes, logging, profilers, system.

``install_endpoints`` spawns them; further ones (``/metrics``, for example) are plugged in with
``more``. Source: actor-runtime.md §8.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actorproc.http.endpoints.help import HelpProcess, HelpText
from actorproc.http.endpoints.logs import LoggingProcess
from actorproc.http.endpoints.memory_profiler import MemoryProfilerProcess
from actorproc.http.endpoints.processes import ProcessesProcess
from actorproc.http.endpoints.profiler import ProfilerProcess
from actorproc.http.endpoints.system import SystemProcess
from actorproc.pid import PID
from actorproc.process import Process

if TYPE_CHECKING:
    from actorproc.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """How the built-in endpoints are served.

    Attributes:
        read_only_realm: of endpoints that show something; None asks nobody.
        read_write_realm: of endpoints that change something.
        logger_name: what ``/logging/toggle`` sets; the root logger when empty.
        enable_profiler: whether ``/profiler`` works (``LIBPROCESS_ENABLE_PROFILER``).
        enable_memory_profiling: likewise ``/memory-profiler`` (``LIBPROCESS_MEMORY_PROFILING``).
    """

    read_only_realm: str | None = None
    read_write_realm: str | None = None
    logger_name: str = ""
    enable_profiler: bool = False
    enable_memory_profiling: bool = False


EndpointFactory = Callable[["Runtime", EndpointOptions], Process]


def install_endpoints(
    runtime: Runtime,
    options: EndpointOptions | None = None,
    *,
    more: Sequence[EndpointFactory] = (),
) -> list[PID]:
    """Spawn the built-in endpoints of a runtime that has been started.

    Args:
        runtime: where.
        options: realms, and what is enabled.
        more: makers of further endpoint processes, given the runtime and the options.

    Returns:
        Their PIDs, in the order in which they were spawned.

    Raises:
        IdTaken: they are there already.
    """
    options = options or EndpointOptions()
    writing = options.read_write_realm
    processes = [
        HelpProcess(runtime),
        ProcessesProcess(runtime, options.read_only_realm),
        LoggingProcess(options.logger_name, writing),
        ProfilerProcess(options.enable_profiler, writing),
        MemoryProfilerProcess(options.enable_memory_profiling, writing),
        SystemProcess(options.read_only_realm),
        *(make(runtime, options) for make in more),
    ]
    return [runtime.spawn(process) for process in processes]


__all__ = ["EndpointFactory", "EndpointOptions", "HelpText", "install_endpoints"]
