"""How agents come, fall silent, come back and go (master.md §3)."""

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.master_world import (
    PARTITION_AWARE,
    FakeAgent,
    framework_info,
    master_world,
    resources,
    task_info,
)

pytestmark = pytest.mark.asyncio


def info_of(scheduler_, **fields):
    return framework_info(id={"value": scheduler_.framework_id}, **fields)


async def test_registration_answers_with_id_and_ping_timeout_and_pings_at_once():
    async with master_world(agent_ping_timeout_s=2.0) as world:
        agent = await world.agent()
        (answer,) = agent.of(internal.SlaveRegisteredMessage)
        assert answer.slave_id.value == "m-S0"
        assert answer.connection.total_ping_timeout_seconds == 10.0
        assert agent.pings == [("slave-observer(1)", True)]
        agent.register()
        await world.settle()
        assert [a.slave_id.value for a in agent.of(internal.SlaveRegisteredMessage)] == ["m-S0"] * 2
        await world.advance(4.0)
        assert len(agent.pings) == 3


@pytest.mark.parametrize("version", ["0.28.1", "", "one", "1.0"])
async def test_an_agent_of_an_old_or_unreadable_version_is_ignored(version):
    async with master_world() as world:
        agent = await world.add(FakeAgent("slave(1)", world.master.pid))
        agent.register(version)
        await world.advance(5.0)
        assert not agent.received
        assert not len(world.state.agents)


async def test_silent_agent_becomes_unreachable_and_its_tasks_return_with_it():
    async with master_world(agent_ping_timeout_s=1.0, max_agent_ping_timeouts=2) as world:
        agent = await world.agent()
        plain = await world.scheduler("scheduler-1")
        await world.launch(plain, agent, "plain")
        aware_info = framework_info(capabilities=[PARTITION_AWARE], checkpoint=True)
        aware = await world.scheduler("scheduler-2", aware_info)
        await world.advance(1.0)
        await world.launch(aware, agent, "aware")
        plain.forget()
        aware.forget()
        agent.answers_pings = False
        await world.advance(3.0)
        assert plain.states == [("plain", "TASK_LOST")]
        assert aware.states == [("aware", "TASK_UNREACHABLE")]
        for scheduler_ in (plain, aware):
            status = scheduler_.updates[0].status
            assert status.reason == mesos.TaskStatus.REASON_SLAVE_REMOVED
            assert status.HasField("unreachable_time")
            assert not status.HasField("uuid")
            assert len(scheduler_.of(internal.LostSlaveMessage)) == 1
        assert not agent.of(internal.ShutdownMessage), "the agent is not told"
        assert not len(world.state.agents)
        assert world.state.standing(agent.agent_id).name == "UNREACHABLE"
        # Ids of unreachable tasks stay taken, questions are answered.
        aware.reconcile("aware", ("aware", agent.agent_id))
        plain.reconcile(("plain", agent.agent_id))
        await world.settle()
        assert aware.states[1:] == [("aware", "TASK_UNKNOWN"), ("aware", "TASK_UNREACHABLE")]
        assert plain.states[1:] == [("plain", "TASK_LOST")]
        assert aware.updates[-1].status.HasField("unreachable_time")

        agent.answers_pings = True
        plain.forget()
        aware.forget()
        agent.pings.clear()
        reports = [agent.run(0), agent.run(1)]
        reports[0].statuses.add(
            task_id=reports[0].task_id, state=mesos.TASK_RUNNING
        ).container_status.executor_pid = 77
        agent.reregister(
            reports,
            [info_of(plain), info_of(aware, checkpoint=True, capabilities=[PARTITION_AWARE])],
        )
        await world.settle()
        assert plain.states == [("plain", "TASK_RUNNING")]
        assert aware.states == [("aware", "TASK_RUNNING")]
        status = plain.updates[0].status
        assert status.reason == mesos.TaskStatus.REASON_SLAVE_REREGISTERED
        assert status.container_status.executor_pid == 77
        assert agent.of(internal.SlaveReregisteredMessage)
        assert [m.framework_id.value for m in agent.of(internal.UpdateFrameworkMessage)] == [
            plain.framework_id,
            aware.framework_id,
        ]
        assert agent.pings == [("slave-observer(2)", True)]
        assert not world.state.tasks.unreachable_of(plain.framework_id)
        await world.advance(2.0)
        offered = (
            {r.name: r.scalar.value for r in aware.offers[-1].resources}
            if aware.offers
            else {r.name: r.scalar.value for r in plain.offers[-1].resources}
        )
        assert offered == {"cpus": 2.0, "mem": 4096.0 - 128.0}


async def test_broken_link_keeps_checkpointed_tasks_and_loses_the_others():
    async with master_world() as world:
        agent = await world.agent()
        kept = await world.scheduler("scheduler-1", framework_info(checkpoint=True))
        await world.launch(kept, agent, "kept")
        lost = await world.scheduler("scheduler-2")
        await world.advance(1.0)
        await world.launch(lost, agent, "lost", executor="e")
        kept.forget()
        lost.forget()
        world.network.cut(agent.pid.address, world.master.pid.address)
        await world.settle()
        assert lost.states == [("lost", "TASK_LOST")]
        assert lost.updates[0].status.reason == mesos.TaskStatus.REASON_SLAVE_DISCONNECTED
        assert lost.updates[0].executor_id.value == "e"
        assert not kept.updates
        # Pings go on and say that the agent is not connected.
        world.network.heal(agent.pid.address, world.master.pid.address)
        await world.advance(15.0)
        assert agent.pings[-1] == ("slave-observer(1)", False)
        # It registers again; what the master forgot and the agent still has comes back.
        agent.reregister([agent.run(0)], [info_of(kept, checkpoint=True), info_of(lost)])
        await world.advance(16.0)
        assert agent.pings[-1] == ("slave-observer(1)", True)
        assert not kept.updates
        assert world.state.tasks.get(kept.framework_id, "kept") is not None


async def test_disconnected_agent_is_given_up_after_the_reregistration_timeout():
    async with master_world(max_agent_ping_timeouts=1000) as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(
            info=framework_info(checkpoint=True, failover_timeout=1e6)
        )
        await world.launch(scheduler_, agent, "t")
        await world.stop(agent)
        await world.advance(599.0)
        assert not scheduler_.of(internal.LostSlaveMessage)
        await world.advance(2.0)
        assert scheduler_.of(internal.LostSlaveMessage)
        assert scheduler_.states[-1] == ("t", "TASK_LOST")


async def test_tasks_that_the_agent_does_not_report_are_named_in_the_answer():
    async with master_world() as world:
        agent = await world.agent()
        info = framework_info(checkpoint=True, capabilities=[PARTITION_AWARE])
        scheduler_ = await world.scheduler(info=info)
        scheduler_.accept(
            scheduler_.offers,
            [task_info("here", agent.agent_id), task_info("missing", agent.agent_id)],
        )
        await world.settle()
        agent.reregister(
            [agent.run(0)],
            [info_of(scheduler_, checkpoint=True, capabilities=[PARTITION_AWARE])],
        )
        await world.settle()
        (answer,) = agent.of(internal.SlaveReregisteredMessage)
        (question,) = answer.reconciliations
        assert question.framework_id.value == scheduler_.framework_id
        assert [s.task_id.value for s in question.statuses] == ["missing"]
        assert question.statuses[0].state == mesos.TASK_DROPPED
        assert question.framework.name == "test"
        # The task stays until the agent says what became of it.
        agent.update(scheduler_.framework_id, "missing", "TASK_DROPPED")
        await world.settle()
        assert scheduler_.states == [("missing", "TASK_DROPPED")]


async def test_ended_task_that_the_agent_forgot_needs_no_acknowledgement_any_more():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t")
        agent.update(scheduler_.framework_id, "t", "TASK_FINISHED")
        await world.settle()
        agent.reregister([], [])
        await world.settle()
        (answer,) = agent.of(internal.SlaveReregisteredMessage)
        assert not answer.reconciliations
        assert not len(world.state.tasks)


async def test_unregistering_loses_everything_and_tells_everybody():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(
            info=framework_info(checkpoint=True, capabilities=[PARTITION_AWARE])
        )
        await world.launch(scheduler_, agent, "t")
        message = internal.UnregisterSlaveMessage(slave_id=mesos.SlaveID(value=agent.agent_id))
        agent.send(world.master.pid, message)
        await world.settle()
        assert scheduler_.states[-1] == ("t", "TASK_LOST")
        assert scheduler_.updates[-1].status.reason == mesos.TaskStatus.REASON_SLAVE_REMOVED
        assert scheduler_.of(internal.LostSlaveMessage)
        assert not world.state.registry.admitted_ids
        agent.pings.clear()
        await world.advance(60.0)
        assert not agent.pings


async def test_only_the_agent_itself_unregisters_it():
    async with master_world() as world:
        agent = await world.agent()
        other = await world.agent(hostname="other")
        message = internal.UnregisterSlaveMessage(slave_id=mesos.SlaveID(value=agent.agent_id))
        other.send(world.master.pid, message)
        await world.settle()
        assert len(world.state.agents) == 2


async def test_a_new_agent_at_a_disconnected_address_replaces_the_old_one():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t")
        fresh = await world.restart(agent, FakeAgent("slave(1)", world.master.pid))
        fresh.register()
        await world.settle()
        assert fresh.agent_id == "m-S1"
        assert scheduler_.states[-1] == ("t", "TASK_LOST")
        assert [m.slave_id.value for m in scheduler_.of(internal.LostSlaveMessage)] == ["m-S0"]


async def test_agent_unknown_to_a_fresh_master_is_admitted_with_its_tasks():
    """A restarted master knows nothing: frameworks and tasks come from agents' reports."""
    async with master_world() as world:
        agent = await world.add(FakeAgent("slave(1)", world.master.pid))
        agent.agent_id = "old-S7"
        task = mesos.Task(
            name="t",
            task_id=mesos.TaskID(value="t"),
            framework_id=mesos.FrameworkID(value="old-0000"),
            slave_id=mesos.SlaveID(value="old-S7"),
            state=mesos.TASK_RUNNING,
            resources=resources("cpus:1;mem:64"),
        )
        info = framework_info(id={"value": "old-0000"}, checkpoint=True, failover_timeout=60.0)
        agent.reregister([task], [info])
        await world.settle()
        assert agent.of(internal.SlaveReregisteredMessage)
        assert not agent.of(internal.UpdateFrameworkMessage), "its scheduler is not back yet"
        assert world.state.frameworks.get("old-0000").state.name == "RECOVERED"
        scheduler_ = await world.scheduler(subscribe=False)
        scheduler_.framework_id = "old-0000"
        scheduler_.subscribe(framework_info(checkpoint=True, failover_timeout=60.0))
        await world.advance(1.0)
        assert scheduler_.of(internal.FrameworkRegisteredMessage), "recorded: not reregistered"
        assert agent.of(internal.UpdateFrameworkMessage)
        assert {r.name: r.scalar.value for r in scheduler_.offers[0].resources} == {
            "cpus": 3.0,
            "mem": 4032.0,
        }
        scheduler_.reconcile("t")
        await world.settle()
        assert scheduler_.states == [("t", "TASK_RUNNING")]


async def test_tasks_of_a_removed_framework_are_stopped_when_their_agent_returns():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        report, framework = agent.run(), info_of(scheduler_)
        world.network.cut(agent.pid.address, world.master.pid.address)
        await world.settle()
        scheduler_.call("TEARDOWN")
        await world.settle()
        world.network.heal(agent.pid.address, world.master.pid.address)
        agent.forget()
        agent.reregister([report], [framework])
        await world.settle()
        assert [m.framework_id.value for m in agent.of(internal.ShutdownFrameworkMessage)] == [
            scheduler_.framework_id
        ]
        assert not len(world.state.tasks)


async def test_kill_is_repeated_when_the_agent_returns():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t")
        world.network.cut(agent.pid.address, world.master.pid.address)
        await world.settle()
        scheduler_.call("KILL", kill={"task_id": {"value": "t"}})
        await world.settle()
        world.network.heal(agent.pid.address, world.master.pid.address)
        assert not agent.of(internal.KillTaskMessage)
        agent.reregister([agent.run()], [info_of(scheduler_, checkpoint=True)])
        await world.settle()
        assert [m.task_id.value for m in agent.of(internal.KillTaskMessage)] == ["t"]
        agent.update(scheduler_.framework_id, "t", "TASK_KILLED")
        await world.settle()
        scheduler_.acknowledge(scheduler_.updates[-1])
        await world.settle()
        assert not world.state.agents.get(agent.agent_id).pending_kills


async def test_an_id_belongs_to_one_machine():
    async with master_world() as world:
        agent = await world.agent()
        impostor = await world.add(FakeAgent("slave(1)", world.master.pid))
        impostor.agent_id = agent.agent_id
        impostor.reregister()
        await world.settle()
        assert "IP address" in impostor.of(internal.ShutdownMessage)[0].message
        agent.hostname = "renamed"
        agent.reregister()
        await world.settle()
        assert "host name" in agent.of(internal.ShutdownMessage)[0].message


async def test_shrunken_agent_gets_its_offers_rescinded():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        (offer,) = scheduler_.offers
        agent.total = "cpus:1;mem:64"
        agent.reregister()
        await world.advance(1.0)
        assert scheduler_.rescinded == [offer.id.value]
        assert {r.name: r.scalar.value for r in scheduler_.offers[-1].resources} == {
            "cpus": 1.0,
            "mem": 64.0,
        }


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("framework_id", "other", "framework 'other' is not listed"),
        ("slave_id", "other", "is of agent 'other'"),
        ("executor_id", "other", "executor 'other' is not listed"),
    ],
)
async def test_contradictory_report_is_ignored_with_a_reason(field, value, rule, caplog):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        task = agent.run()
        getattr(task, field).value = value
        agent.reregister([task], [info_of(scheduler_)])
        await world.settle()
        assert not agent.of(internal.SlaveReregisteredMessage)
        assert rule in caplog.text


async def test_resource_version_follows_the_agents_updates():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        message = internal.UpdateSlaveMessage(slave_id=mesos.SlaveID(value=agent.agent_id))
        message.resource_version_uuid.value = b"n" * 16
        agent.send(world.master.pid, message)
        await world.settle()
        await world.launch(scheduler_, agent, "t")
        (launch,) = agent.of(internal.RunTaskMessage)
        assert [v.uuid.value for v in launch.resource_version_uuids] == [b"n" * 16]
