"""A master ends, another one starts on the same file: what it must still know, it knows."""

import asyncio

import pytest

from actorproc import InProcessNetwork, Runtime, VirtualClock
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.model.ids import AgentId
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import (
    DeactivateAgent,
    DrainAgent,
    MarkAgentAsGone,
    StartMaintenance,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)
from cluster.model.quotas import Quota
from cluster.state import SqliteStorage
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.master_world import START_S, FakeAgent, FakeScheduler, framework_info
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.asyncio

ADDRESS = ("10.0.0.1", 5050)


class Cluster:
    """A network with one master at a time, whose registry is in a real file."""

    def __init__(self, path, **flags):
        self.path = path
        self.config = MasterConfig(work_dir="/nowhere", hostname="master-host", **flags)
        self.network, self.clock = InProcessNetwork(), VirtualClock(START_S)
        self.runtimes = []
        self.master = self.runtime = self.ended = None

    async def start(self, name):
        """Start a master; returns when it has read the registry."""
        self.runtime = Runtime(self.network.transport(*ADDRESS), clock=self.clock, seed=7)
        await self.runtime.start()
        self.master = Master(self.config, master_id=name, storage=SqliteStorage(self.path))
        self.runtime.spawn(self.master)
        self.ended = asyncio.ensure_future(self.runtime.wait(self.master.pid))
        await self.until(lambda: self.master.is_serving)

    async def stop(self):
        await self.runtime.stop()
        await self.clock.settle()

    async def until(self, condition):
        """The disk is real: virtual time stands still while a store is under way."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await self.clock.settle()
                await asyncio.sleep(0.001)

    async def add(self, peer):
        host = f"10.0.0.{10 + len(self.runtimes)}"
        runtime = Runtime(self.network.transport(host, 5051), clock=self.clock, seed=1)
        self.runtimes.append(runtime)
        await runtime.start()
        runtime.spawn(peer)
        return peer

    async def agent(self, **how):
        agent = await self.add(FakeAgent("slave(1)", self.master.pid, **how))
        agent.register()
        await self.until(lambda: agent.agent_id)
        return agent

    async def end(self):
        for runtime in [self.runtime, *self.runtimes]:
            await runtime.stop()


async def operate(cluster, call):
    answer = await asyncio.wait_for(cluster.master.operate(call), DEADLINE_S)
    assert answer.status == 200, answer


async def test_a_restarted_master_knows_what_the_first_one_did(tmp_path):
    cluster = Cluster(tmp_path / "registry")
    await cluster.start("m1")
    agents = [await cluster.agent(hostname=f"host-{n}") for n in range(4)]
    idle, drained, gone, lost = (AgentId(agent.agent_id) for agent in agents)
    window = MaintenanceWindow((MachineId("other", "10.9.9.9"),), Unavailability(START_S + 50, 60))
    await operate(cluster, UpdateWeights({"a": 2.5}))
    await operate(cluster, UpdateQuotas({"a": Quota({"cpus": 1000}, {"cpus": 3000})}))
    await operate(cluster, UpdateMaintenanceSchedule((window,)))
    await operate(cluster, StartMaintenance(window.machines))
    await operate(cluster, DeactivateAgent(idle))
    await operate(cluster, DrainAgent(drained, max_grace_s=5.0))
    await operate(cluster, MarkAgentAsGone(gone))
    agents[3].answers_pings = False
    await cluster.clock.advance(100.0)
    await cluster.until(lambda: cluster.master.core.state.standing(lost).name == "UNREACHABLE")
    before = cluster.master.core.state.registry.value()
    await cluster.stop()

    await cluster.start("m2")
    state = cluster.master.core.state
    after = state.registry.value()
    assert after.master.info.id == "m2"
    after.master.CopyFrom(before.master)
    assert after == before
    assert state.agents.recovered == (idle, drained)
    assert [state.standing(a).name for a in (gone, lost)] == ["GONE", "UNREACHABLE"]
    assert dict(state.registry.weights) == {"a": 2.5}
    # The agents come back with their ids, and stay what they were.
    for agent in agents:
        agent.forget()
        agent.answers_pings = True
        agent.reregister()
    await cluster.until(lambda: all(a.received for a in agents))
    assert agents[2].of(internal.ShutdownMessage), "gone for good"
    for agent in (agents[0], agents[1], agents[3]):
        assert agent.of(internal.SlaveReregisteredMessage)
    assert not state.may_serve(idle)
    assert state.registry.admitted(drained).drain.state.name == "DRAINED"
    scheduler = await cluster.add(FakeScheduler("scheduler-1", cluster.master.pid))
    scheduler.subscribe(framework_info(roles=["a"], capabilities=[6]))
    await cluster.until(lambda: scheduler.offers)
    assert {offer.slave_id.value for offer in scheduler.offers} == {lost}
    await cluster.end()


async def test_messages_before_the_registry_is_read_are_dropped_and_counted(tmp_path):
    cluster = Cluster(tmp_path / "registry")
    cluster.runtime = Runtime(cluster.network.transport(*ADDRESS), clock=cluster.clock, seed=7)
    await cluster.runtime.start()
    master = Master(cluster.config, master_id="m", storage=NeverRead())
    cluster.master = master
    cluster.runtime.spawn(master)
    cluster.ended = asyncio.ensure_future(cluster.runtime.wait(master.pid))
    agent = await cluster.add(FakeAgent("slave(1)", master.pid))
    agent.register()
    await cluster.clock.advance(1.0)
    assert not agent.received
    assert master.dropped_messages == 1
    answer = await master.operate(UpdateWeights({"a": 1.0}))
    assert answer.status == 503
    # Reading takes too long: the master ends.
    await cluster.clock.advance(60.0)
    assert await asyncio.wait_for(cluster.ended, DEADLINE_S)
    await cluster.end()


class NeverRead:
    """A store that hangs."""

    async def fetch(self, name):
        await asyncio.get_running_loop().create_future()

    async def store(self, variable, value):
        raise AssertionError("not read yet")

    def close(self):
        pass


async def test_a_master_that_cannot_write_ends(tmp_path, caplog):
    cluster = Cluster(tmp_path / "registry")
    await cluster.start("m1")
    other = SqliteStorage(tmp_path / "registry")
    variable = await other.fetch("registry")
    assert await other.store(variable, variable.value) is not None
    other.close()
    agent = await cluster.add(FakeAgent("slave(1)", cluster.master.pid))
    agent.register()
    assert await asyncio.wait_for(cluster.ended, DEADLINE_S)
    assert "the master ends: the registry was changed by another master" in caplog.text
    assert not agent.agent_id
    await cluster.end()


async def test_too_many_missing_agents_end_the_master(tmp_path, caplog):
    cluster = Cluster(tmp_path / "registry", recovery_agent_removal_limit=0.4)
    await cluster.start("m1")
    agents = [await cluster.agent(hostname=f"host-{n}") for n in range(2)]
    await cluster.stop()
    await cluster.start("m2")
    agents[0].reregister()
    await cluster.until(lambda: agents[0].of(internal.SlaveReregisteredMessage))
    await cluster.clock.advance(601.0)
    assert await asyncio.wait_for(cluster.ended, DEADLINE_S)
    assert "the master ends: 1 of 2 agents did not come back" in caplog.text
    await cluster.end()
