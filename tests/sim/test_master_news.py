"""Updates, acknowledgements, kills, questions and messages on their way through the master."""

import pytest

from cluster.wire.pb import authentication_pb2 as authentication
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import (
    PARTITION_AWARE,
    FakeScheduler,
    Recorder,
    framework_info,
    master_world,
    task_info,
)

pytestmark = pytest.mark.asyncio


async def test_update_travels_unchanged_and_its_acknowledgement_returns():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers, [task_info("t", agent.agent_id)])
        await world.settle()
        uuid = agent.update(scheduler_.framework_id, "t", "TASK_STARTING", latest="TASK_RUNNING")
        await world.settle()
        (message,) = scheduler_.of(internal.StatusUpdateMessage)
        assert message.pid == str(agent.pid)
        assert message.update.uuid == message.update.status.uuid == uuid
        assert message.update.latest_state == mesos.TASK_RUNNING
        task = world.state.tasks.get(scheduler_.framework_id, "t")
        assert (task.state.name, task.forwarded_state.name) == ("RUNNING", "STARTING")
        # A question is answered with what was forwarded, not with what the master knows.
        scheduler_.reconcile("t")
        await world.settle()
        assert scheduler_.states[-1] == ("t", "TASK_STARTING")
        assert scheduler_.updates[-1].status.container_status.executor_pid == 77
        scheduler_.acknowledge(message.update)
        await world.settle()
        (acknowledgement,) = agent.of(internal.StatusUpdateAcknowledgementMessage)
        assert acknowledgement.uuid == uuid
        assert acknowledgement.framework_id.value == scheduler_.framework_id


async def test_update_for_an_unreachable_scheduler_is_recorded_but_not_sent():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(failover_timeout=60.0))
        await world.launch(scheduler_, agent, "t")
        await world.stop(scheduler_)
        agent.update(scheduler_.framework_id, "t", "TASK_FINISHED")
        await world.settle()
        assert world.state.tasks.get(scheduler_.framework_id, "t").state.name == "FINISHED"
        assert not agent.of(internal.StatusUpdateAcknowledgementMessage)[1:]


async def test_first_terminal_state_stays():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        agent.update(scheduler_.framework_id, "t", "TASK_FINISHED")
        agent.update(scheduler_.framework_id, "t", "TASK_FAILED")
        await world.settle()
        assert scheduler_.states[-2:] == [("t", "TASK_FINISHED"), ("t", "TASK_FAILED")]
        assert world.state.tasks.get(scheduler_.framework_id, "t").state.name == "FINISHED"


async def test_terminal_update_without_uuid_ends_the_record_at_once():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        agent.update(scheduler_.framework_id, "t", "TASK_FAILED", uuid=b"")
        await world.settle()
        assert not scheduler_.updates[-1].status.HasField("uuid")
        assert not len(world.state.tasks)


async def test_acknowledgements_that_mean_nothing_are_dropped():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers, [task_info("t", agent.agent_id)])
        await world.settle()

        def acknowledge(agent_id):
            scheduler_.call(
                "ACKNOWLEDGE",
                acknowledge=scheduler.Call.Acknowledge(
                    slave_id=mesos.SlaveID(value=agent_id),
                    task_id=mesos.TaskID(value="t"),
                    uuid=b"u" * 16,
                ),
            )

        acknowledge(agent.agent_id)  # no update was ever sent
        acknowledge("no-such-agent")
        await world.settle()
        assert not agent.of(internal.StatusUpdateAcknowledgementMessage)
        # The acknowledgement of another update does not end a terminal task.
        agent.update(scheduler_.framework_id, "t", "TASK_FINISHED")
        await world.settle()
        acknowledge(agent.agent_id)
        await world.settle()
        assert len(world.state.tasks) == 1


async def test_updates_from_strangers_and_for_strangers_are_dropped():
    async with master_world() as world:
        agent = await world.agent()
        other = await world.agent(hostname="other")
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers[:1], [task_info("t", agent.agent_id)])
        await world.settle()
        other.agent_id = agent.agent_id  # pretends to be the first one
        other.update(scheduler_.framework_id, "t", "TASK_FAILED")
        agent.update("no-such-framework", "t", "TASK_FAILED")
        agent.update(scheduler_.framework_id, "t", "TASK_UNKNOWN")
        await world.settle()
        assert not scheduler_.updates
        assert world.state.tasks.get(scheduler_.framework_id, "t").state.name == "STAGING"


async def test_kill_is_passed_on_with_its_policy_each_time():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        policy = mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=5))
        kill = scheduler.Call.Kill(task_id=mesos.TaskID(value="t"), kill_policy=policy)
        scheduler_.call("KILL", kill=kill)
        scheduler_.call("KILL", kill=scheduler.Call.Kill(task_id=mesos.TaskID(value="t")))
        kill.slave_id.value = "wrong"
        scheduler_.call("KILL", kill=kill)
        await world.settle()
        first, second = agent.of(internal.KillTaskMessage)
        assert first.kill_policy == policy
        assert not second.HasField("kill_policy")


async def test_implicit_question_names_every_live_task():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        tasks = [task_info(name, agent.agent_id, "cpus:0.5;mem:32") for name in "abc"]
        scheduler_.accept(scheduler_.offers, tasks)
        await world.settle()
        agent.update(scheduler_.framework_id, "b", "TASK_RUNNING")
        await world.settle()
        scheduler_.forget()
        scheduler_.reconcile()
        await world.settle()
        assert scheduler_.states == [
            ("a", "TASK_STAGING"),
            ("b", "TASK_RUNNING"),
            ("c", "TASK_STAGING"),
        ]


@pytest.mark.parametrize(
    ("capabilities", "on_agent", "elsewhere"),
    [((), "TASK_LOST", "TASK_LOST"), ((PARTITION_AWARE,), "TASK_GONE", "TASK_UNKNOWN")],
)
async def test_explicit_question_about_tasks_nobody_has(capabilities, on_agent, elsewhere):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(capabilities=capabilities))
        scheduler_.reconcile(("x", agent.agent_id), ("y", "no-such-agent"), "z")
        await world.settle()
        assert scheduler_.states == [("x", on_agent), ("y", elsewhere), ("z", elsewhere)]
        assert [u.HasField("slave_id") for u in scheduler_.updates] == [True, True, False]


async def test_messages_between_framework_and_executor():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.call(
            "MESSAGE",
            message=scheduler.Call.Message(
                slave_id=mesos.SlaveID(value=agent.agent_id),
                executor_id=mesos.ExecutorID(value="e"),
                data=b"\x00down",
            ),
        )
        shutdown = scheduler.Call.Shutdown(
            executor_id=mesos.ExecutorID(value="e"), slave_id=mesos.SlaveID(value=agent.agent_id)
        )
        scheduler_.call("SHUTDOWN", shutdown=shutdown)
        up = internal.ExecutorToFrameworkMessage(
            slave_id=mesos.SlaveID(value=agent.agent_id),
            framework_id=mesos.FrameworkID(value=scheduler_.framework_id),
            executor_id=mesos.ExecutorID(value="e"),
            data=b"\x00up",
        )
        agent.send(world.master.pid, up)
        await world.settle()
        (down,) = agent.of(internal.FrameworkToExecutorMessage)
        assert (down.data, down.executor_id.value) == (b"\x00down", "e")
        assert agent.of(internal.ShutdownExecutorMessage)[0].executor_id.value == "e"
        assert scheduler_.of(internal.ExecutorToFrameworkMessage) == [up]


async def test_legacy_calls():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        framework_id = mesos.FrameworkID(value=scheduler_.framework_id)
        agent_id = mesos.SlaveID(value=agent.agent_id)
        master = world.master.pid
        scheduler_.send(
            master,
            internal.LaunchTasksMessage(
                framework_id=framework_id,
                tasks=[task_info("t", agent.agent_id)],
                filters=mesos.Filters(refuse_seconds=0.0),
                offer_ids=[scheduler_.offers[0].id],
            ),
        )
        await world.settle()
        agent.update(scheduler_.framework_id, "t", "TASK_RUNNING")
        await world.advance(2.0)
        assert len(scheduler_.offers) == 2
        task_id = mesos.TaskID(value="t")
        scheduler_.send(
            master,
            internal.StatusUpdateAcknowledgementMessage(
                slave_id=agent_id,
                framework_id=framework_id,
                task_id=task_id,
                uuid=scheduler_.updates[-1].uuid,
            ),
        )
        scheduler_.send(
            master, internal.KillTaskMessage(framework_id=framework_id, task_id=task_id)
        )
        scheduler_.send(master, internal.ReconcileTasksMessage(framework_id=framework_id))
        scheduler_.send(
            master,
            internal.FrameworkToExecutorMessage(
                slave_id=agent_id,
                framework_id=framework_id,
                executor_id=mesos.ExecutorID(value="e"),
                data=b"d",
            ),
        )
        # An empty launch is a decline, and a revive takes it back.
        scheduler_.send(
            master,
            internal.LaunchTasksMessage(
                framework_id=framework_id,
                filters=mesos.Filters(refuse_seconds=1000.0),
                offer_ids=[scheduler_.offers[1].id],
            ),
        )
        await world.advance(3.0)
        assert len(scheduler_.offers) == 2
        scheduler_.send(master, internal.ReviveOffersMessage(framework_id=framework_id))
        await world.advance(1.0)
        assert len(scheduler_.offers) == 3
        assert agent.of(internal.StatusUpdateAcknowledgementMessage)
        assert agent.of(internal.KillTaskMessage)
        assert agent.of(internal.FrameworkToExecutorMessage)[0].data == b"d"
        assert scheduler_.states == [("t", "TASK_RUNNING"), ("t", "TASK_RUNNING")]


async def test_unreadable_calls_are_logged_not_lost_in_silence(caplog):
    async with master_world() as world:
        scheduler_ = await world.scheduler()
        scheduler_.call("ACCEPT")
        await world.settle()
        assert "accept: must be set in a call of type ACCEPT" in caplog.text


async def test_a_request_that_asks_for_nothing_is_logged(caplog):
    async with master_world() as world:
        scheduler_ = await world.scheduler()
        scheduler_.call("REQUEST", request=scheduler.Call.Request(requests=[mesos.Request()]))
        await world.settle()
        assert "requests[0].resources: must hold an amount" in caplog.text


async def test_repeated_complaints_make_one_line_per_interval(caplog):
    async with master_world() as world:
        stranger = await world.add(FakeScheduler("scheduler-9", world.master.pid))
        stranger.framework_id = "nobody"
        for _ in range(50):
            stranger.call("REVIVE")
        await world.advance(1.0)
        assert caplog.text.count("where it is not subscribed") == 1
        await world.advance(60.0)
        stranger.call("REVIVE")
        await world.settle()
        assert "and 49 more like it before" in caplog.text


async def test_peers_that_want_what_this_master_has_not_are_told():
    class Asking(Recorder):
        received_types = (
            internal.SubmitSchedulerResponse,
            authentication.AuthenticationErrorMessage,
        )

    async with master_world() as world:
        asking = await world.add(Asking("asking", world.master.pid))
        asking.send(world.master.pid, internal.SubmitSchedulerRequest(name="x"))
        asking.send(world.master.pid, authentication.AuthenticateMessage(pid=str(asking.pid)))
        await world.settle()
        assert [m.okay for m in asking.of(internal.SubmitSchedulerResponse)] == [False]
        assert asking.of(authentication.AuthenticationErrorMessage)
