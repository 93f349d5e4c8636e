"""A real master and a real agent carry out operations together; only scheduler and containers are
fakes."""

from contextlib import asynccontextmanager

import pytest

from actorproc import Runtime
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.model.operator_calls import (
    CreateVolumes,
    DestroyVolumes,
    ReserveResources,
    UnreserveResources,
)
from cluster.model.resources import Resources
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import resources_to_pb
from tests.sim.agent_fakes import world
from tests.sim.master_world import FakeScheduler, check_books, framework_info, task_info
from tests.sim.test_master_operations import MODERN, accept, create, launch, offered, reserve
from tests.unit.master.operation_values import reserved, volume

pytestmark = pytest.mark.asyncio

TOTAL = "cpus:4;mem:4096;disk:1000;ports:[5-9]"


@asynccontextmanager
async def cluster(tmp_path):
    master = Master(MasterConfig(work_dir="/nowhere", hostname="host"), master_id="m")
    async with world(tmp_path, master=master, resources=TOTAL) as w:
        runtime = Runtime(w.network.transport("10.0.0.9", 6000), clock=w.clock)
        await runtime.start()
        w.runtimes.append(runtime)
        w.scheduler = FakeScheduler("scheduler-1", master.pid)
        runtime.spawn(w.scheduler)
        await w.clock.settle()
        w.scheduler.subscribe(framework_info(capabilities=MODERN, roles=["a"], checkpoint=True))
        await w.clock.advance(2.0)
        yield w


def record(w):
    [agent] = w.master.core.state.agents.registered
    check_books(w.master.core)
    return agent


async def test_reserve_create_and_launch_in_one_call(tmp_path):
    async with cluster(tmp_path) as w:
        agent = record(w)
        task = task_info("t", agent.agent_id, "mem:64")
        task.resources.extend(resources_to_pb(reserved("cpus:1") + volume(100), refined=True))
        accept(
            w.scheduler,
            w.scheduler.offers,
            reserve("cpus:1;disk:300"),
            create(volume(100)),
            launch(task),
        )
        await w.clock.advance(2.0)
        assert w.scheduler.states == []
        assert len(w.containers.launched) == 1
        total = Resources.parse("cpus:3;mem:4096;disk:700;ports:[5-9]") + reserved(
            "cpus:1;disk:200"
        )
        assert record(w).total == total + volume(100)
        assert not len(w.master.core.state.operations)
        assert (tmp_path / "volumes" / "roles" / "a" / "v").is_dir()
        assert offered(w.scheduler.offers[1:]) == (
            Resources.parse("cpus:3;mem:4032;disk:700;ports:[5-9]") + reserved("disk:200")
        )


async def test_an_agent_tells_the_next_master_what_it_has_reserved(tmp_path):
    async with cluster(tmp_path) as w:
        accept(w.scheduler, w.scheduler.offers, reserve("cpus:1;disk:300"), create(volume(100)))
        await w.clock.advance(2.0)
        total = record(w).total
        assert total.contains(volume(100))
        await w.master_runtime.stop()
        await w.clock.advance(1.0)
        await w.replace_master(
            Master(MasterConfig(work_dir="/nowhere", hostname="host"), master_id="n")
        )
        w.detector.tell(w.master.pid)
        await w.clock.advance(100.0)
        assert record(w).total == total


async def test_operators_change_what_an_agent_has(tmp_path):
    async with cluster(tmp_path) as w:
        agent_id = record(w).agent_id
        mine, made = reserved("cpus:1;disk:300"), volume(100)
        for call, total in [
            (
                ReserveResources(agent_id, mine),
                Resources.parse("cpus:3;mem:4096;disk:700;ports:[5-9]") + mine,
            ),
            (
                CreateVolumes(agent_id, made),
                Resources.parse("cpus:3;mem:4096;disk:700;ports:[5-9]")
                + reserved("cpus:1;disk:200")
                + made,
            ),
            (
                DestroyVolumes(agent_id, made),
                Resources.parse("cpus:3;mem:4096;disk:700;ports:[5-9]") + mine,
            ),
            (UnreserveResources(agent_id, mine), Resources.parse(TOTAL)),
        ]:
            answer = await w.master.operate(call)
            assert (answer.status, answer.text) == (202, "")
            await w.clock.advance(2.0)
            assert record(w).total == total
            assert not len(w.master.core.state.operations)
            assert offered(w.scheduler.offers[-1:]) == total
        assert not (tmp_path / "volumes" / "roles" / "a" / "v").exists()
        states = [o.state.name for o in w.master.core.state.operations.completed]
        assert states == ["FINISHED"] * 4


async def test_a_group_that_the_agent_cannot_run_leaves_nothing_behind(tmp_path):
    async with cluster(tmp_path) as w:
        agent_id = record(w).agent_id
        operation = mesos.Offer.Operation(type=mesos.Offer.Operation.LAUNCH_GROUP)
        group = operation.launch_group
        group.executor.type = mesos.ExecutorInfo.CUSTOM
        group.executor.executor_id.value = "e"
        group.executor.command.value = "run"
        text = "cpus:0.1;mem:32;disk:10"
        group.executor.resources.extend(resources_to_pb(Resources.parse(text), refined=True))
        group.task_group.tasks.extend(task_info(name, agent_id) for name in "tu")
        accept(w.scheduler, w.scheduler.offers, operation)
        await w.clock.advance(2.0)
        assert w.scheduler.states == [("t", "TASK_ERROR"), ("u", "TASK_ERROR")]
        assert not record(w).executors
        assert offered(w.scheduler.offers[-1:]) == Resources.parse(TOTAL)
