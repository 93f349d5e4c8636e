"""The canonical walk-through of resource offers, with two frameworks and one agent.

``python -m examples.two_tasks``. Starts a cluster with one agent of 4 CPUs and 4 GB. Framework 1 is
offered all of it and launches <2 CPU, 1 GB> and <1 CPU, 2 GB>; framework 2 is then offered the
<1 CPU, 1 GB> that remain. Every step is printed and checked; the last line is the verdict.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

from cluster.scheduler import Error, Offers, SchedulerDriver, SchedulerEvent, Update
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos

STEP_TIMEOUT_S = 60.0


class Amount(NamedTuple):
    """So many CPUs and so much memory."""

    cpus: float
    mem_mb: float

    def __str__(self) -> str:
        return f"<{self.cpus:g} CPU, {self.mem_mb / 1024:g} GB>"


AGENT = Amount(4, 4096)
TASKS = [Amount(2, 1024), Amount(1, 2048)]
REMAINDER = Amount(1, 1024)


class StepFailed(Exception):
    """The cluster did something else than the walk-through says."""


def amount_of(offer: mesos.Offer) -> Amount:
    """What an offer holds, other resources left aside."""
    scalars = {each.name: each.scalar.value for each in offer.resources}
    return Amount(scalars.get("cpus", 0.0), scalars.get("mem", 0.0))


def task(number: int, amount: Amount, agent_id: mesos.SlaveID) -> dict[str, object]:
    """A task that holds its resources until it is killed; dictionaries do as well as messages."""
    return {
        "name": f"task {number}",
        "task_id": {"value": f"task-{number}"},
        "slave_id": {"value": agent_id.value},
        "command": {"value": "sleep 3600"},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": amount.cpus}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": amount.mem_mb}},
        ],
    }


async def next_offer(events: AsyncIterator[SchedulerEvent]) -> mesos.Offer:
    """Wait for the next offer."""
    async for event in events:
        match event:
            case Offers((offer, *_)):
                return offer
            case Error(message):
                raise StepFailed(message)
            case _:
                pass
    raise StepFailed("the driver ended before an offer came")


async def wait_running(events: AsyncIterator[SchedulerEvent], count: int) -> None:
    """Wait until ``count`` tasks run."""
    running: set[str] = set()
    async for event in events:
        match event:
            case Update(status) if status.state == mesos.TASK_RUNNING:
                running.add(status.task_id.value)
                print(f"    {status.task_id.value} is running")
                if len(running) == count:
                    return
            case Update(status) if status.state not in (mesos.TASK_STAGING, mesos.TASK_STARTING):
                raise StepFailed(f"{status.task_id.value} does not run: {status.message}")
            case Error(message):
                raise StepFailed(message)
            case _:
                pass
    raise StepFailed("the driver ended before the tasks ran")


def check(what: str, got: Amount, want: Amount) -> None:
    """Print one step; fails when it is not the one foreseen."""
    print(f"    {what}: {got}")
    if got != want:
        raise StepFailed(f"{what}: {got} instead of {want}")


async def walk_through(master: str) -> None:
    """Both frameworks, step by step.

    Raises:
        StepFailed: a step went another way.
        TimeoutError: a step did not happen.
    """
    async with SchedulerDriver({"name": "framework 1"}, master) as first:
        events = first.events()
        async with asyncio.timeout(STEP_TIMEOUT_S):
            print("1. the agent tells the master what it has; the master offers it to framework 1")
            offer = await next_offer(events)
            check("framework 1 is offered", amount_of(offer), AGENT)

        async with asyncio.timeout(STEP_TIMEOUT_S):
            print("2. framework 1 answers with two tasks, " + " and ".join(map(str, TASKS)))
            numbered = enumerate(TASKS, start=1)
            first.launch_tasks(
                offer.id, [task(number, amount, offer.slave_id) for number, amount in numbered]
            )
            await wait_running(events, len(TASKS))
            first.suppress_offers()  # it has all it wants

        async with (
            SchedulerDriver({"name": "framework 2"}, master) as second,
            asyncio.timeout(STEP_TIMEOUT_S),
        ):
            print("3. the master offers what remains to framework 2")
            remainder = await next_offer(second.events())
            check("framework 2 is offered", amount_of(remainder), REMAINDER)
            second.decline_offer(remainder.id)


def main() -> int:
    resources = f"cpus:{AGENT.cpus:g};mem:{AGENT.mem_mb:g}"
    with LocalCluster(agents=[{"resources": resources}]) as cluster:
        try:
            asyncio.run(walk_through(cluster.master))
        except StepFailed as error:
            print(f"two_tasks: failed: {error}")
            return 1
        except TimeoutError:
            print(f"two_tasks: failed: nothing happened within {STEP_TIMEOUT_S:g} s")
            return 1
    print(f"two_tasks: framework 2 was offered the remaining {REMAINDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
