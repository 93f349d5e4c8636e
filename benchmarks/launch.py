"""From offer to running task, and tasks a second through one agent.

``python -m benchmarks.launch [--json]``. A real master and a real agent as OS processes; the
framework uses the async driver. Command tasks start a process of their own (an executor and the
command); tasks of a custom executor share one process that is already running.
"""

from __future__ import annotations

import asyncio
import pathlib
import statistics
import sys
import time
from collections import deque
from functools import partial

from benchmarks.harness import Case, parser_for, run_benchmark
from cluster.scheduler import Offers, SchedulerDriver, Update
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos

UNITS = {
    "command: launch to running p50": "ms",
    "command: launch to running p99": "ms",
    "command: tasks": "tasks/s",
    "reused executor: launch to running p50": "ms",
    "reused executor: launch to running p99": "ms",
    "reused executor: tasks": "tasks/s",
}

# What is left of an offer is offered again with the next allocation, not 5 s later.
SOON = mesos.Filters(refuse_seconds=0)

PASSING = (mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_FINISHED)


class Launcher:
    """Launches tasks of one kind and notes when they run and end."""

    def __init__(self, driver: SchedulerDriver, kind: str) -> None:
        self._driver = driver
        self._events = driver.events()
        self._kind = kind
        self._number = 0
        self._offers: deque[mesos.Offer] = deque()

    async def one_by_one(self, count: int) -> list[float]:
        """Seconds from each launch to TASK_RUNNING."""
        latencies = []
        for _ in range(count):
            offer = await self._next_offer()
            launched_s = time.perf_counter()
            self._driver.launch_tasks([offer.id], [self._task(offer)], SOON)
            await self._wait_for(mesos.TASK_RUNNING, 1)
            latencies.append(time.perf_counter() - launched_s)
            await self._wait_for(mesos.TASK_FINISHED, 1)
        return latencies

    async def all_at_once(self, count: int) -> float:
        """Tasks a second, from one launch of all to the last TASK_FINISHED."""
        offer = await self._next_offer()
        tasks = [self._task(offer) for _ in range(count)]
        launched_s = time.perf_counter()
        self._driver.launch_tasks([offer.id], tasks, SOON)
        await self._wait_for(mesos.TASK_FINISHED, count)
        return count / (time.perf_counter() - launched_s)

    async def _next_offer(self) -> mesos.Offer:
        while not self._offers:
            await self._next_update()
        return self._offers.popleft()

    async def _wait_for(self, state: int, count: int) -> None:
        while count:
            update = await self._next_update()
            if update is None:
                continue
            if update.status.state == state:
                count -= 1
            elif update.status.state not in PASSING:
                raise RuntimeError(f"unexpected status: {update.status}")

    async def _next_update(self) -> Update | None:
        """The next event if it is an update; offers are put aside, the rest means nothing here."""
        event = await anext(self._events)
        if isinstance(event, Offers):
            self._offers.extend(event.offers)
        return event if isinstance(event, Update) else None

    def _task(self, offer: mesos.Offer) -> mesos.TaskInfo:
        self._number += 1
        task = mesos.TaskInfo(name="t", slave_id=offer.slave_id)
        task.task_id.value = f"{self._kind}-{self._number}"
        _add_resources(task.resources, cpus=0.01, mem=1)
        if self._kind == "command":
            task.command.shell = False
            task.command.value = "/bin/true"
            task.command.arguments.append("true")
        else:
            executor = task.executor
            executor.executor_id.value = "instant"
            executor.framework_id.CopyFrom(offer.framework_id)
            executor.command.shell = False
            executor.command.value = sys.executable
            executor.command.arguments.extend([sys.executable, "-m", "benchmarks.launch_executor"])
            root = str(pathlib.Path(__file__).parent.parent)
            executor.command.environment.variables.add(name="PYTHONPATH", value=root)
            _add_resources(executor.resources, cpus=0.1, mem=32)
        return task


def _add_resources(resources: object, **amounts: float) -> None:
    for name, amount in amounts.items():
        resource = resources.add(name=name, type=mesos.Value.SCALAR)  # type: ignore[attr-defined]
        resource.scalar.value = amount


async def _measure(master: str, kind: str, sequential: int, burst: int) -> dict[str, float]:
    framework = mesos.FrameworkInfo(user="", name=f"benchmark {kind}")
    async with SchedulerDriver(framework, master=master) as driver:
        launcher = Launcher(driver, kind)
        await launcher.one_by_one(1)  # starts the executor that is reused
        latencies = await launcher.one_by_one(sequential)
        rate = await launcher.all_at_once(burst)
    p99 = statistics.quantiles(latencies, n=100, method="inclusive")[98]
    return {
        f"{kind}: launch to running p50": statistics.median(latencies) * 1e3,
        f"{kind}: launch to running p99": p99 * 1e3,
        f"{kind}: tasks": rate,
    }


def main() -> None:
    parser = parser_for("launch", repetitions=3)
    parser.add_argument("--sequential", type=int, default=5, help="tasks launched one by one")
    parser.add_argument("--burst", type=int, default=50, help="command tasks launched at once")
    parser.add_argument("--reused_burst", type=int, default=1000)
    arguments = parser.parse_args()
    with LocalCluster(agents=[{"resources": "cpus:64;mem:65536;disk:65536"}]) as cluster:

        def measure(kind: str, burst: int) -> dict[str, float]:
            return asyncio.run(_measure(cluster.master, kind, arguments.sequential, burst))

        cases = [
            Case("command", partial(measure, "command", arguments.burst)),
            Case("reused executor", partial(measure, "reused executor", arguments.reused_burst)),
        ]
        run_benchmark("launch", cases, arguments, units=UNITS)


if __name__ == "__main__":
    main()
