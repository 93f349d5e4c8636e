"""A whole cluster on this machine: one master and some agents as processes of their own.

    with LocalCluster(agents=[{"resources": "cpus:4;mem:4096"}, {}]) as cluster:
        cluster.master                      # "127.0.0.1:41235"
        cluster.agents[0].address           # "127.0.0.1:39401"
        cluster.kill_agent(0)               # kill -9
        cluster.restart_agent(0)            # same flags, same work directory, same port

Everything is on a loopback port chosen by the system and below one directory. Inside the ``with``
all agents are registered. At its end everything is stopped, executors too: every process of the
cluster carries a mark in its environment, by which leftovers are found.
"""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError

from cluster.testing.daemon_process import DaemonFailed, DaemonProcess

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
LEFTOVER_TIMEOUT_S = 5.0
POLL_S = 0.02
MARK_VARIABLE = "CLUSTER_INSTANCE"
AGENT_DEFAULTS = {
    "resources": "cpus:4;mem:4096;disk:8192;ports:[31000-32000]",
    # A random wait protects a master from a thousand agents that start together, not from two.
    "registration_backoff_factor": "10ms",
}


class ProcessesLeft(Exception):
    """Processes of the cluster outlived it; they have been killed."""


class LocalCluster:
    """A context manager (plain and async) around one running cluster.

    Args:
        agents: flags of each agent, name -> text; only what differs from the defaults.
        master_flags: likewise for the master.
        work_dir: directory for work directories and logs, kept at the end; by default a temporary
            one, removed at the end.
        timeout_s: how long the start may take, in seconds.

    Attributes:
        master: address of the master, ``ip:port``.
        master_process: the master.
        agents: the agents, in the order given.
        work_dir: the directory everything is in.

    Raises:
        DaemonFailed: on entry, when a daemon does not come up or does not register.
        ProcessesLeft: at the end, when something it started kept running (not after
            ``kill_agent`` or ``kill_master``, which orphan executors on purpose).
    """

    def __init__(
        self,
        agents: Sequence[Mapping[str, str]] = ({},),
        *,
        master_flags: Mapping[str, str] | None = None,
        work_dir: Path | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.agents: list[DaemonProcess] = []
        self._agent_flags = [dict(flags) for flags in agents]
        self._master_flags = dict(master_flags or {})
        self._is_temporary = work_dir is None
        self.work_dir = work_dir or Path(tempfile.mkdtemp(prefix="cluster-"))
        self._timeout_s = timeout_s
        self._mark = str(uuid.uuid4())
        self._killed_by_us = False
        self._master_process: DaemonProcess | None = None

    @property
    def master_process(self) -> DaemonProcess:
        if self._master_process is None:
            raise DaemonFailed("the cluster has not been started")
        return self._master_process

    @property
    def master(self) -> str:
        return self.master_process.address

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            for daemon in self._daemons():
                exc.add_note(daemon.story("at the end"))
        left = self._stop()
        if left and exc is None and not self._killed_by_us:
            raise ProcessesLeft("still running after the end of the cluster: " + "; ".join(left))

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, exc_type, exc, traceback)

    def kill_agent(self, index: int) -> None:
        """``kill -9`` of one agent; its executors are left as orphans."""
        self._killed_by_us = True
        self.agents[index].kill()

    def kill_master(self) -> None:
        """``kill -9`` of the master."""
        self._killed_by_us = True
        self.master_process.kill()

    def restart_agent(self, index: int) -> None:
        """Start an agent that ended again, as it was, and wait until it listens."""
        old = self.agents[index]
        self.agents[index] = self._restarted(old)

    def restart_master(self) -> None:
        """Start a master that ended again, as it was, and wait until it listens."""
        self._master_process = self._restarted(self.master_process)

    def wait_for_agents(self, count: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until exactly ``count`` agents are registered and active at the master.

        Raises:
            DaemonFailed: the master ended, or the deadline passed.
        """
        deadline_s = time.monotonic() + timeout_s
        while (seen := self._active_agents()) != count:
            for daemon in self._daemons():
                if not daemon.is_running and not self._killed_by_us:
                    raise DaemonFailed(daemon.story("ended"))
            if time.monotonic() > deadline_s:
                what = f"sees {seen} active agents instead of {count} after {timeout_s:g} s"
                raise DaemonFailed(self.master_process.story(what))
            time.sleep(POLL_S)

    def _start(self) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        master_flags = {"ip": "127.0.0.1", "port": "0", **self._master_flags}
        self._master_process = self._launch("master", "cluster.master", master_flags)
        self._master_process.wait_until_listening(self._timeout_s)
        for number, flags in enumerate(self._agent_flags, start=1):
            defaults = {"ip": "127.0.0.1", "port": "0", "master": self.master, **AGENT_DEFAULTS}
            name = f"agent-{number}"
            self.agents.append(self._launch(name, "cluster.agent", {**defaults, **flags}))
        for agent in self.agents:
            agent.wait_until_listening(max(deadline_s - time.monotonic(), POLL_S))
        self.wait_for_agents(len(self.agents), max(deadline_s - time.monotonic(), POLL_S))

    def _launch(self, name: str, module: str, flags: Mapping[str, str]) -> DaemonProcess:
        own = {"work_dir": str(self.work_dir / name)}
        if module == "cluster.agent":
            own["runtime_dir"] = str(self.work_dir / f"{name}-run")
        self.work_dir.mkdir(parents=True, exist_ok=True)
        log_path = self.work_dir / f"{name}.log"
        return DaemonProcess(name, module, {**own, **flags}, log_path, {MARK_VARIABLE: self._mark})

    def _restarted(self, old: DaemonProcess) -> DaemonProcess:
        flags = {**old.flags, "port": old.address.rpartition(":")[2]}
        new = DaemonProcess(old.name, old.module, flags, old.log_path, {MARK_VARIABLE: self._mark})
        new.wait_until_listening(self._timeout_s)
        return new

    def _daemons(self) -> list[DaemonProcess]:
        return [*self.agents, *([self._master_process] if self._master_process else [])]

    def _active_agents(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.master_process.url}/counts", timeout=5) as answer:
                return int(json.load(answer)["activated_slaves"])
        except (URLError, OSError, ValueError, KeyError):
            return 0

    def _stop(self) -> list[str]:
        """Agents first: they say goodbye to the master. Returns what had to be killed."""
        for group in (self.agents, self._daemons()):
            for daemon in group:
                daemon.ask_to_stop()
            for daemon in group:
                daemon.wait_stopped(STOP_TIMEOUT_S)
        left = _end_marked(self._mark)
        if self._is_temporary:
            shutil.rmtree(self.work_dir, ignore_errors=True)
        return left


def _end_marked(mark: str) -> list[str]:
    """Wait until no process carries the mark, then kill the rest; returns their command lines."""
    deadline_s = time.monotonic() + LEFTOVER_TIMEOUT_S
    while (left := _marked(mark)) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return [f"{pid} {command}" for pid, command in left.items()]


def _marked(mark: str) -> dict[int, str]:
    """Process id -> command line of each live process with the mark in its environment."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            # A zombie has an empty environment: it has ended already.
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = command.decode(errors="replace").strip()
        except OSError:
            continue
    return found


__all__ = ["LocalCluster", "ProcessesLeft"]
