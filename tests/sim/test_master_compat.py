"""The behaviours that schedulers rely on: the numbered list of master.md §12."""

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import (
    MULTI_ROLE,
    PARTITION_AWARE,
    FakeAgent,
    FakeScheduler,
    framework_info,
    master_world,
    task_info,
)

pytestmark = pytest.mark.asyncio


async def test_1_a_retry_from_the_same_pid_gets_the_same_id():
    async with master_world() as world:
        scheduler_ = await world.scheduler(subscribe=False)
        for _ in range(3):
            scheduler_.framework_id = ""  # the driver has not seen an answer yet
            scheduler_.subscribe()
            await world.settle()
        answers = scheduler_.of(internal.FrameworkRegisteredMessage)
        assert [answer.framework_id.value for answer in answers] == ["m-0000"] * 3
        assert len(world.state.frameworks) == 1


async def test_2_a_second_instance_with_failover_ends_the_first():
    async with master_world() as world:
        agent = await world.agent()
        first = await world.scheduler(info=framework_info(failover_timeout=60.0))
        await world.launch(first, agent, "t")
        second = await world.scheduler("scheduler-2", subscribe=False)
        second.framework_id = first.framework_id
        agent.forget()
        second.subscribe(framework_info("renamed", failover_timeout=60.0), force=True)
        await world.settle()
        assert first.errors == ["Framework failed over"]
        assert second.of(internal.FrameworkRegisteredMessage)
        (told,) = agent.of(internal.UpdateFrameworkMessage)
        assert (told.pid, told.framework_info.name) == (str(second.pid), "renamed")
        assert told.framework_info.id.value == first.framework_id
        # The first one has no say any more; its task belongs to the second.
        first.call("TEARDOWN")
        await world.settle()
        second.reconcile()
        await world.settle()
        assert second.states == [("t", "TASK_RUNNING")]


async def test_3_offers_never_outlive_the_connection_of_their_agent():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        (offer,) = scheduler_.offers
        await world.stop(agent)
        assert scheduler_.rescinded == [offer.id.value]
        assert not len(world.state.offers)
        scheduler_.accept([offer], [task_info("t", agent.agent_id)])
        await world.settle()
        assert scheduler_.states == [("t", "TASK_LOST")]
        assert scheduler_.updates[0].status.reason == mesos.TaskStatus.REASON_INVALID_OFFERS


async def test_4_a_decline_for_0_seconds_comes_back_next_cycle_and_a_default_one_after_5_s():
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.decline(scheduler_.offers, refuse_s=0.0)
        await world.advance(2.0)
        assert len(scheduler_.offers) == 2
        scheduler_.decline(scheduler_.offers[1:])
        await world.advance(4.0)
        assert len(scheduler_.offers) == 2
        await world.advance(2.5)
        assert len(scheduler_.offers) == 3


async def test_5_an_error_update_wants_no_acknowledgement():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers, [task_info("t", agent.agent_id, "cpus:1000")])
        await world.settle()
        (message,) = scheduler_.of(internal.StatusUpdateMessage)
        assert message.pid == "@0.0.0.0:0"
        assert not message.update.HasField("uuid")
        status = message.update.status
        assert not status.HasField("uuid")
        assert status.state == mesos.TASK_ERROR
        assert status.reason == mesos.TaskStatus.REASON_TASK_INVALID
        assert status.source == mesos.TaskStatus.SOURCE_MASTER
        assert "cpus:1000" in status.message
        assert not agent.of(internal.RunTaskMessage)


async def test_6_resources_of_an_ended_task_reappear_before_the_acknowledgement():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(
            scheduler_.offers, [task_info("t", agent.agent_id, "cpus:4;mem:4096")], refuse_s=0.0
        )
        await world.advance(3.0)
        assert len(scheduler_.offers) == 1, "nothing is left to offer"
        agent.update(scheduler_.framework_id, "t", "TASK_FINISHED")
        await world.advance(2.0)
        assert len(scheduler_.offers) == 2
        assert len(world.state.tasks) == 1, "the record waits for the acknowledgement"
        scheduler_.acknowledge(scheduler_.updates[-1])
        await world.settle()
        assert not len(world.state.tasks)
        assert len(world.state.tasks.completed_of(scheduler_.framework_id)) == 1


@pytest.mark.parametrize(
    ("capabilities", "state"), [((), "TASK_LOST"), ((PARTITION_AWARE,), "TASK_UNKNOWN")]
)
async def test_7_a_question_about_an_unknown_task_is_answered_at_once(capabilities, state):
    async with master_world() as world:
        scheduler_ = await world.scheduler(info=framework_info(capabilities=capabilities))
        scheduler_.reconcile("never-heard-of")
        await world.settle()
        assert scheduler_.states == [("never-heard-of", state)]
        (message,) = scheduler_.of(internal.StatusUpdateMessage)
        assert not message.HasField("pid")
        assert message.update.status.reason == mesos.TaskStatus.REASON_RECONCILIATION


async def test_8_without_failover_timeout_a_framework_ends_with_its_connection():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        await world.stop(scheduler_)
        (told,) = agent.of(internal.ShutdownFrameworkMessage)
        assert told.framework_id.value == scheduler_.framework_id
        assert world.state.frameworks.is_completed(scheduler_.framework_id)
        (task,) = world.state.tasks.completed_of(scheduler_.framework_id)
        assert task.state.name == "KILLED"
        # 13. Removed frameworks appear as completed, and their id cannot come back.
        again = await world.scheduler("scheduler-2", subscribe=False)
        again.framework_id = scheduler_.framework_id
        again.subscribe(force=True)
        await world.settle()
        assert again.errors == ["Framework has been removed"]


async def test_9_an_agent_that_restarts_within_75_s_loses_no_task():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t")
        report, agent_id = agent.run(), agent.agent_id
        await world.advance(3.0)
        replacement = FakeAgent("slave(1)", world.master.pid)
        replacement.agent_id = agent_id
        await world.restart(agent, replacement)
        await world.advance(70.0)
        replacement.reregister(
            [report], [framework_info(checkpoint=True, id={"value": scheduler_.framework_id})]
        )
        await world.advance(30.0)
        assert replacement.of(internal.SlaveReregisteredMessage)
        assert scheduler_.states == [("t", "TASK_RUNNING")], "nothing was lost, nothing was told"
        assert not scheduler_.of(internal.LostSlaveMessage)
        assert world.state.tasks.get(scheduler_.framework_id, "t").state.name == "RUNNING"


@pytest.mark.parametrize("agent_id", [None, "m-S0", "elsewhere"])
async def test_11_killing_an_unknown_task_yields_an_update(agent_id):
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        kill = scheduler.Call.Kill(task_id=mesos.TaskID(value="nosuch"))
        if agent_id is not None:
            kill.slave_id.value = agent_id
        scheduler_.call("KILL", kill=kill)
        await world.settle()
        assert scheduler_.states == [("nosuch", "TASK_LOST")]


async def test_12_leaving_a_role_rescinds_its_offers():
    async with master_world() as world:
        await world.agent()

        def info(*roles):
            return framework_info(
                capabilities=[MULTI_ROLE], roles=roles, id={"value": scheduler_.framework_id}
            )

        scheduler_ = await world.scheduler(
            info=framework_info(capabilities=[MULTI_ROLE], roles=["dev"])
        )
        (offer,) = scheduler_.offers
        assert offer.allocation_info.role == "dev"
        assert {r.allocation_info.role for r in offer.resources} == {"dev"}
        update = scheduler.Call.UpdateFramework(framework_info=info("ops"))
        scheduler_.call("UPDATE_FRAMEWORK", update_framework=update)
        await world.advance(1.0)
        assert scheduler_.rescinded == [offer.id.value]
        assert scheduler_.offers[-1].allocation_info.role == "ops"
        # Subscribing again with yet another role does the same.
        scheduler_.subscribe(info("qa"))
        await world.advance(1.0)
        assert len(scheduler_.rescinded) == 2
        assert scheduler_.of(internal.FrameworkReregisteredMessage)
        assert scheduler_.offers[-1].allocation_info.role == "qa"


async def test_a_foreign_pid_without_force_is_told_that_the_framework_is_taken():
    async with master_world() as world:
        first = await world.scheduler()
        other = await world.scheduler("scheduler-2", subscribe=False)
        other.framework_id = first.framework_id
        other.subscribe()
        await world.settle()
        assert other.errors == ["Framework failed over"]
        assert not first.errors


async def test_a_stranger_speaks_for_nobody():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        stranger = await world.add(FakeScheduler("scheduler-9", world.master.pid))
        stranger.framework_id = scheduler_.framework_id
        stranger.accept(scheduler_.offers, [task_info("t", agent.agent_id)])
        stranger.call("TEARDOWN")
        await world.settle()
        assert not stranger.received
        assert world.state.frameworks.get(scheduler_.framework_id) is not None
        assert len(world.state.offers) == 1
