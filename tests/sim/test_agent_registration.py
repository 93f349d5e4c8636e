"""Registration of an agent with a scripted master: in one thread, under virtual time."""

import logging

import pytest

from actorproc import PID
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.agent_fakes import MASTER, FakeMaster, run_task, task_info, world

pytestmark = pytest.mark.asyncio


async def test_registers_and_tells_its_totals(tmp_path):
    async with world(tmp_path) as w:
        assert [type(message).__name__ for message in w.master.heard] == [
            "RegisterSlaveMessage",
            "UpdateSlaveMessage",
        ]
        registered, update = w.master.heard
        assert not registered.slave.HasField("id")
        assert registered.slave.hostname == "host"
        assert registered.slave.port == 5051
        assert registered.slave.checkpoint
        assert {resource.role for resource in registered.slave.resources} == {"*"}
        assert len(registered.agent_capabilities) == 8
        assert len(registered.resource_version_uuid.value) == 16
        assert update.slave_id.value == "M-S0"
        assert update.resource_version_uuid == registered.resource_version_uuid
        assert update.HasField("operations")
        assert update.HasField("resource_providers")
        assert not update.update_oversubscribed_resources


async def test_keeps_asking_with_growing_pauses_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        async with world(tmp_path, master=FakeMaster(is_admitting=False)) as w:
            await w.clock.advance(600.0)
            asked = len(w.master.all(internal.RegisterSlaveMessage))
            said = [r for r in caplog.records if "no answer from master" in r.getMessage()]
            # Random pauses of at most a minute: 10 or more in ten minutes, far fewer than 600.
            assert 10 <= asked <= 60
            assert len(said) == asked - 1
            w.master.is_admitting = True
            await w.clock.advance(61.0)
            assert w.master.all(internal.UpdateSlaveMessage)


async def test_answers_pings_and_reregisters_when_told_it_is_disconnected(tmp_path):
    async with world(tmp_path) as w:
        w.master.say(internal.PingSlaveMessage(connected=True))
        await w.clock.settle()
        assert len(w.master.all(internal.PongSlaveMessage)) == 1
        assert not w.master.all(internal.ReregisterSlaveMessage)
        w.master.say(internal.PingSlaveMessage(connected=False))
        await w.clock.advance(1.0)
        assert len(w.master.all(internal.PongSlaveMessage)) == 2
        (message,) = w.master.all(internal.ReregisterSlaveMessage)
        assert message.slave.id.value == "M-S0"
        assert len(w.master.all(internal.UpdateSlaveMessage)) == 2


async def test_reregisters_when_pings_stop(tmp_path):
    async with world(tmp_path) as w:
        await w.clock.advance(60.0)
        w.master.say(internal.PingSlaveMessage(connected=True))
        await w.clock.advance(74.0)
        assert not w.master.all(internal.ReregisterSlaveMessage)
        await w.clock.advance(2.5)
        assert len(w.master.all(internal.ReregisterSlaveMessage)) == 1


async def test_reregisters_with_its_tasks_when_the_master_comes_back(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1"), task_info("t2", executor_id="ex"))
        executor = await w.executor("ex")
        executor.report("t2", mesos.TASK_RUNNING, uuid=b"u" * 16)
        await w.clock.settle()
        await w.master_runtime.stop()
        await w.clock.advance(5.0)
        second = FakeMaster()
        await w.replace_master(second)
        await w.clock.advance(20.0)
        message = second.all(internal.ReregisterSlaveMessage)[-1]
        assert message.slave.id.value == "M-S0"
        assert [(task.task_id.value, task.executor_id.value) for task in message.tasks] == [
            ("t1", ""),
            ("t2", "ex"),
        ]
        assert message.tasks[0].state == mesos.TASK_STAGING
        assert not message.tasks[0].HasField("status_update_state")
        assert message.tasks[1].state == mesos.TASK_RUNNING
        assert message.tasks[1].status_update_state == mesos.TASK_RUNNING
        assert message.tasks[1].status_update_uuid == b"u" * 16
        assert [status.state for status in message.tasks[1].statuses] == [mesos.TASK_RUNNING]
        assert {resource.role for resource in message.tasks[0].resources} == {"*"}
        assert [executor.executor_id.value for executor in message.executor_infos] == ["ex"]
        assert [framework.id.value for framework in message.frameworks] == ["fw"]
        # Forwarding paused meanwhile; the unacknowledged update is sent to the new master.
        assert second.updates()[-1] == ("t2", "TASK_RUNNING", "")


async def test_tasks_that_only_the_master_knows_are_reported_dropped(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("here"))
        reconciliation = internal.ReconcileTasksMessage(
            framework_id=mesos.FrameworkID(value="fw"),
            statuses=[
                mesos.TaskStatus(task_id=mesos.TaskID(value=name), state=mesos.TASK_RUNNING)
                for name in ("here", "gone")
            ],
        )
        w.master.say(
            internal.SlaveReregisteredMessage(
                slave_id=mesos.SlaveID(value="M-S0"), reconciliations=[reconciliation]
            )
        )
        await w.clock.settle()
        assert w.master.updates() == [("gone", "TASK_DROPPED", "REASON_RECONCILIATION")]


async def test_another_id_than_its_own_ends_the_agent(tmp_path):
    async with world(tmp_path) as w:
        w.master.say(internal.SlaveRegisteredMessage(slave_id=mesos.SlaveID(value="M-S9")))
        await w.clock.settle()
        assert await w.agent_is_gone()
        assert w.agent.exit_status == 1


async def test_launches_are_dropped_while_disconnected(tmp_path):
    async with world(tmp_path) as w:
        w.master.is_admitting = False
        w.master.say(internal.PingSlaveMessage(connected=False))
        await w.run(task_info("t1"))
        assert not w.containers.launched


async def test_only_the_leading_master_is_obeyed(tmp_path):
    async with world(tmp_path) as w:
        stranger = PID("master", "10.0.0.9", 5050)
        w.runtimes[0].post(w.agent.pid, run_task(task_info("t1")), sender=stranger)
        w.runtimes[0].post(w.agent.pid, internal.ShutdownMessage(message="x"), sender=stranger)
        await w.clock.settle()
        assert not w.containers.launched
        assert w.agent.exit_status == 1  # still running: only an orderly end changes it


async def test_a_new_leader_is_registered_with_and_no_leader_pauses(tmp_path):
    async with world(tmp_path) as w:
        w.detector.tell(None)
        await w.clock.advance(100.0)
        assert not w.master.all(internal.ReregisterSlaveMessage)
        w.detector.tell(MASTER)
        await w.clock.advance(1.0)
        assert len(w.master.all(internal.ReregisterSlaveMessage)) == 1


@pytest.mark.parametrize("has_task", [False, True])
async def test_shutdown_by_the_master_ends_executors_then_the_agent(tmp_path, has_task):
    async with world(tmp_path) as w:
        executors = []
        if has_task:
            await w.run(task_info("t1", executor_id="ex"))
            executors.append(await w.executor("ex"))
        w.master.say(internal.ShutdownMessage(message="gone"))
        await w.clock.settle()
        for executor in executors:
            assert executor.names()[-1] == "ShutdownExecutorMessage"
            assert not await w.agent_is_gone()
            w.containers.last.end()
            await w.clock.settle()
        assert await w.agent_is_gone()
        assert w.agent.exit_status == 0


async def test_leaving_unregisters_first(tmp_path):
    async with world(tmp_path) as w:
        w.agent.leave("bye")
        await w.clock.settle()
        (message,) = w.master.all(internal.UnregisterSlaveMessage)
        assert message.slave_id.value == "M-S0"
        assert await w.agent_is_gone()
