"""A framework with a persistent volume on a cluster of ours: real daemons, executors and files.

master.md §6.2 (operations in an ACCEPT), §9 (reservations, volumes); agent.md §13.
"""

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from cluster.scheduler import Offers, SchedulerDriver, Update
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos
from tests.sim.test_agent_operations import (
    DISK,
    VOLUME,
    create,
    destroy,
    reserve,
    unreserve,
)
from tests.waiting import DEADLINE_S, until

pytestmark = [pytest.mark.process, pytest.mark.asyncio]

AGENT = {"resources": "cpus:4;mem:4096;disk:4096"}
MASTER = {"allocation_interval": "100ms"}


def framework() -> mesos.FrameworkInfo:
    info = mesos.FrameworkInfo(user="", name="keeper", roles=["ads"])
    info.capabilities.add(type=mesos.FrameworkInfo.Capability.MULTI_ROLE)
    info.capabilities.add(type=mesos.FrameworkInfo.Capability.RESERVATION_REFINEMENT)
    return info


def launch(offer: mesos.Offer, name: str, command: str) -> mesos.Offer.Operation:
    """Run a command that has the volume."""
    task = mesos.TaskInfo(name=name, slave_id=offer.slave_id)
    task.task_id.value = name
    task.command.value = command
    for resource, amount in (("cpus", 1), ("mem", 64)):
        task.resources.add(name=resource, type=mesos.Value.SCALAR).scalar.value = amount
    task.resources.append(VOLUME)
    return mesos.Offer.Operation(
        type=mesos.Offer.Operation.LAUNCH, launch=mesos.Offer.Operation.Launch(task_infos=[task])
    )


def has_volume(offer: mesos.Offer) -> bool:
    return any(one.disk.persistence.id == "v" for one in offer.resources)


def has_all_reserved(offer: mesos.Offer) -> bool:
    """Whether the volume and the rest of the reserved disk come in one offer."""
    reserved_mb = sum(one.scalar.value for one in offer.resources if one.reservations)
    return has_volume(offer) and reserved_mb == DISK.scalar.value


def has_no_reservation(offer: mesos.Offer) -> bool:
    return not any(one.reservations for one in offer.resources)


class Keeper:
    """A framework that waits for certain offers and for the ends of its tasks."""

    def __init__(self, driver: SchedulerDriver) -> None:
        self.driver = driver
        self._events = driver.events()
        self._filters = mesos.Filters(refuse_seconds=0.1)

    async def use_offer(
        self,
        wanted: Callable[[mesos.Offer], bool],
        operations: Callable[[mesos.Offer], Iterable[mesos.Offer.Operation]],
    ) -> None:
        """Accept the first offer that is as wanted; decline the others for a moment."""
        async with asyncio.timeout(DEADLINE_S):
            async for event in self._events:
                for offer in event.offers if isinstance(event, Offers) else ():
                    if wanted(offer):
                        self.driver.accept_offers(
                            [offer.id], list(operations(offer)), self._filters
                        )
                        return
                    self.driver.decline_offer(offer.id, self._filters)

    async def until_ended(self, name: str) -> str:
        async with asyncio.timeout(DEADLINE_S):
            async for event in self._events:
                for offer in event.offers if isinstance(event, Offers) else ():
                    self.driver.decline_offer(offer.id, self._filters)
                if not isinstance(event, Update) or event.status.task_id.value != name:
                    continue
                if event.status.state not in (mesos.TASK_STARTING, mesos.TASK_RUNNING):
                    return mesos.TaskState.Name(event.status.state)
        raise AssertionError("the driver ended")


def _agent_state(cluster: LocalCluster) -> dict[str, object]:
    with urllib.request.urlopen(f"{cluster.agents[0].url}/state", timeout=DEADLINE_S) as answer:
        state: dict[str, object] = json.load(answer)
    return state


async def test_reserve_create_use_destroy_unreserve() -> None:
    with LocalCluster(agents=[AGENT], master_flags=MASTER) as cluster:
        volumes = Path(cluster.agents[0].flags["work_dir"]) / "volumes/roles/ads"
        async with SchedulerDriver(framework(), master=cluster.master) as driver:
            keeper = Keeper(driver)
            await keeper.use_offer(
                has_no_reservation,
                lambda offer: [
                    reserve(DISK),
                    create(VOLUME),
                    launch(offer, "writer", "echo hello > data/file"),
                ],
            )
            assert await keeper.until_ended("writer") == "TASK_FINISHED"
            assert (volumes / "v/file").read_text() == "hello\n"

            await keeper.use_offer(
                has_volume, lambda offer: [launch(offer, "reader", "grep hello data/file")]
            )
            assert await keeper.until_ended("reader") == "TASK_FINISHED"

            # The agent forgets who it was, but not what was made of its resources.
            former_id = (await asyncio.to_thread(_agent_state, cluster))["id"]
            await asyncio.to_thread(cluster.kill_agent, 0)
            await asyncio.to_thread(cluster.restart_agent, 0)
            await keeper.use_offer(
                lambda offer: offer.slave_id.value != former_id and has_volume(offer),
                lambda offer: [launch(offer, "later", "grep hello data/file")],
            )
            assert await keeper.until_ended("later") == "TASK_FINISHED"

            await keeper.use_offer(
                has_all_reserved, lambda offer: [destroy(VOLUME), unreserve(DISK)]
            )
            await until(lambda: not (volumes / "v").exists(), "the volume must be deleted")
            await keeper.use_offer(has_no_reservation, lambda offer: [])
            state = await asyncio.to_thread(_agent_state, cluster)
            assert state["reserved_resources"] == {}
