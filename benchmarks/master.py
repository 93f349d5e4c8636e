"""A real master under load: returning agents, status updates; and its cores in virtual time.

``python -m benchmarks.master [--full] [--json]``. A master in an OS process of its own, as it is
started by an operator; its peers are in other processes and speak to it over TCP, each over a
connection of its own (see ``benchmarks.master_peers``).

- Re-registration: all agents come back at once with their running tasks, to a master that never
  heard of them, to one that was killed and restarted, and again and again to the same one, whose
  memory must not grow. Then the frameworks subscribe and ask for all of their tasks.
- Status updates: from agents through the master to the framework, and the acknowledgements back;
  many in flight, and one at a time.
- Virtual time: see ``benchmarks.master_simulation``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from functools import partial
from urllib.error import URLError

import psutil

from benchmarks.harness import Case, parser_for, run_benchmark
from benchmarks.master_peers import PeersProcess, raise_descriptor_limit
from cluster.testing.local_cluster import LocalCluster

MIB = 2**20
CONNECTIONS_PER_AGENT = 2  # of the master: one from the agent and one to it
DESCRIPTORS_SPARE = 40  # it listens, logs, keeps a database, and speaks to frameworks
SERVING_TIMEOUT_S = 60.0  # after it listens: for reading its registry
POLL_S = 0.05
AGENTS_FULL = 10_000
SIMULATED_FULL = 50_000
UNITS = {
    "re-registration: agents": "agents",
    "re-registration: tasks": "tasks",
    "re-registration: unknown master": "s",
    "re-registration: after failover": "s",
    "re-registration: processor time of an agent": "ms",
    "re-registration: again": "s",
    "re-registration: rate after failover": "agents/s",
    "re-registration: memory of a connected agent": "KiB",
    "re-registration: memory of a task": "KiB",
    "re-registration: memory grown by coming again": "%",
    "reconciliation of all tasks": "tasks/s",
    "updates: rate": "updates/s",
    "updates: p50": "ms",
    "updates: p99": "ms",
    "updates: one at a time p50": "ms",
    "updates: one at a time p99": "ms",
    "updates: processor time": "µs/update",
    "virtual time: agents": "agents",
    "virtual time: tasks": "tasks",
    "virtual time: tasks a second": "tasks/s",
    "virtual time: acknowledgements": "messages",
    "virtual time: places waiting at the end": "places",
    "virtual time: launch overhead p50": "ms",
    "virtual time: launch overhead p99": "ms",
    "virtual time: launch overhead max": "ms",
    "virtual time: events": "events/s",
    "virtual time: allocation run p50": "ms",
    "virtual time: allocation run p99": "ms",
    "virtual time: allocation run max": "ms",
    "virtual time: load": "%",
    "virtual time: memory of an agent": "KiB",
}


class Peers:
    """Some processes of peers that do the same thing at the same time."""

    def __init__(self, processes: list[PeersProcess]) -> None:
        self._processes = processes

    def make_agents(self, agents: int, tasks: int, frameworks: int) -> None:
        """Spread the agents over the processes, each of which has an address of its own."""
        share = -(-agents // len(self._processes))
        for number, process in enumerate(self._processes):
            first = min(number * share, agents)
            count = min(share, agents - first)
            process.begin("make_agents", first, count, tasks, frameworks, f"127.0.0.{number + 2}")
        self._finish()

    def connect(self, master: str) -> None:
        for process in self._processes:
            process.begin("connect", master)
        self._finish()

    def reregister(self) -> float:
        """Seconds from the first byte of the first agent to the last agent's answer."""
        for process in self._processes:
            process.begin("reregister")
        moments = self._finish()
        return max(end_s for _, end_s in moments) - min(start_s for start_s, _ in moments)

    def _finish(self) -> list[tuple[float, float]]:
        return [process.finish() for process in self._processes]


def measure_reregistration(
    agents: int, tasks: int, frameworks: int, processes: int, repeats: int
) -> dict[str, float]:
    agents = _affordable(agents)
    with ExitStack() as stack:
        peers = Peers([stack.enter_context(PeersProcess()) for _ in range(processes)])
        schedulers = stack.enter_context(PeersProcess())
        peers.make_agents(agents, tasks, frameworks)
        schedulers.call("make_schedulers", min(frameworks, tasks), "127.0.0.1")
        cluster = stack.enter_context(LocalCluster(agents=[]))

        _wait_until_serving(cluster)
        peers.connect(cluster.master)
        unknown_s = peers.reregister()
        cluster.kill_master()
        cluster.restart_master()
        _wait_until_serving(cluster)
        idle = _memory(cluster)
        peers.connect(cluster.master)
        connected = _memory(cluster)
        before_s = _processor_s(cluster)
        failover_s = peers.reregister()
        used_s = _processor_s(cluster) - before_s
        registered = _memory(cluster)
        again_s, levels = [], []
        for _ in range(repeats):
            again_s.append(peers.reregister())
            levels.append(_memory(cluster))
        schedulers.call("connect", cluster.master)
        schedulers.call("subscribe")
        asked_s, answered_s = schedulers.call("reconcile", agents * tasks)
    return {
        "re-registration: agents": agents,
        "re-registration: tasks": agents * tasks,
        "re-registration: unknown master": unknown_s,
        "re-registration: after failover": failover_s,
        "re-registration: processor time of an agent": used_s / agents * 1e3,
        "re-registration: again": statistics.median(again_s),
        "re-registration: rate after failover": agents / failover_s,
        "re-registration: memory of a connected agent": (connected - idle) / agents / 1024,
        "re-registration: memory of a task": (registered - connected) / agents / tasks / 1024,
        # The first repetition replaces what was read with the first report: it is warm-up.
        "re-registration: memory grown by coming again": (levels[-1] / levels[0] - 1) * 100,
        "reconciliation of all tasks": agents * tasks / (answered_s - asked_s),
    }


def _wait_until_serving(cluster: LocalCluster) -> None:
    """A master drops what it is told before it has read its registry; peers here tell it once."""
    deadline_s = time.monotonic() + SERVING_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(f"{cluster.master_process.url}/counts", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(POLL_S)
    raise RuntimeError(f"the master does not serve after {SERVING_TIMEOUT_S:g} s")


def _affordable(agents: int) -> int:
    """Not more agents than the master may have connections for."""
    limit = raise_descriptor_limit(agents * CONNECTIONS_PER_AGENT + DESCRIPTORS_SPARE)
    most = (limit - DESCRIPTORS_SPARE) // CONNECTIONS_PER_AGENT
    if agents > most:
        print(
            f"the limit of {limit} file descriptors allows {most} of {agents} agents",
            file=sys.stderr,
        )
    return min(agents, most)


def _memory(cluster: LocalCluster) -> int:
    rss: int = psutil.Process(cluster.master_process.process.pid).memory_info().rss
    return rss


def _processor_s(cluster: LocalCluster) -> float:
    """Processor time that the master has used so far, in seconds."""
    times = psutil.Process(cluster.master_process.process.pid).cpu_times()
    return float(times.user + times.system)


def measure_updates(
    agents: int, tasks: int, updates: int, in_flight: int, sequential: int
) -> dict[str, float]:
    with ExitStack() as stack:
        crowd = stack.enter_context(PeersProcess())
        schedulers = stack.enter_context(PeersProcess())
        crowd.call("make_agents", 0, agents, tasks, 1, "127.0.0.2")
        schedulers.call("make_schedulers", 1, "127.0.0.1")
        cluster = stack.enter_context(LocalCluster(agents=[]))
        _wait_until_serving(cluster)
        for peers in (crowd, schedulers):
            peers.call("connect", cluster.master)
        crowd.call("reregister")
        schedulers.call("subscribe")
        crowd.call("update", updates // 10, in_flight)  # warms up
        before_s = _processor_s(cluster)
        start_s, end_s, latencies = crowd.call("update", updates, in_flight)
        used_s = _processor_s(cluster) - before_s
        *_, alone = crowd.call("update", sequential, 1)
    return {
        "updates: rate": len(latencies) / (end_s - start_s),
        "updates: p50": statistics.median(latencies) * 1e3,
        "updates: p99": _p99(latencies) * 1e3,
        "updates: one at a time p50": statistics.median(alone) * 1e3,
        "updates: one at a time p99": _p99(alone) * 1e3,
        "updates: processor time": used_s / len(latencies) * 1e6,
    }


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def measure_simulation(
    agents: int, frameworks: int, tasks_per_agent: int, seconds: float
) -> dict[str, float]:
    """In a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.master_simulation",
            f"--agents={agents}",
            f"--frameworks={frameworks}",
            f"--tasks_per_agent={tasks_per_agent}",
            f"--seconds={seconds}",
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return {f"virtual time: {name}": value for name, value in figures.items()}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = parser_for("master", repetitions=3)
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"{AGENTS_FULL:,} agents come back, {SIMULATED_FULL:,} are simulated",
    )
    parser.add_argument("--agents", type=int, default=2000, help="agents that come back")
    parser.add_argument("--tasks", type=int, default=10, help="running tasks of each")
    parser.add_argument("--frameworks", type=int, default=5, help="whose tasks they are")
    parser.add_argument("--processes", type=int, default=4, help="processes of agents")
    parser.add_argument("--returns", type=int, default=3, help="times they come back again")
    parser.add_argument("--updating_agents", type=int, default=100, help="agents sending updates")
    parser.add_argument("--updates", type=int, default=20_000, help="status updates")
    parser.add_argument("--in_flight", type=int, default=256, help="of them at a time")
    parser.add_argument("--sequential", type=int, default=1000, help="updates one at a time")
    parser.add_argument("--simulated_agents", type=int, default=5000, help="in virtual time")
    parser.add_argument("--simulated_frameworks", type=int, default=200)
    parser.add_argument("--simulated_tasks_per_agent", type=int, default=1)
    parser.add_argument("--simulated_seconds", type=float, default=60.0, help="measured")
    arguments = parser.parse_args(argv)
    if arguments.full:
        arguments.agents, arguments.simulated_agents = AGENTS_FULL, SIMULATED_FULL
    return arguments


def main() -> None:
    arguments = parse()
    cases = [
        Case(
            "re-registration",
            partial(
                measure_reregistration,
                arguments.agents,
                arguments.tasks,
                arguments.frameworks,
                arguments.processes,
                arguments.returns,
            ),
        ),
        Case(
            "status updates",
            partial(
                measure_updates,
                arguments.updating_agents,
                arguments.tasks,
                arguments.updates,
                arguments.in_flight,
                arguments.sequential,
            ),
        ),
        Case(
            "virtual time",
            partial(
                measure_simulation,
                arguments.simulated_agents,
                arguments.simulated_frameworks,
                arguments.simulated_tasks_per_agent,
                arguments.simulated_seconds,
            ),
        ),
    ]
    run_benchmark("master", cases, arguments, units=UNITS)


if __name__ == "__main__":
    main()
