"""Launching, killing and ending tasks through a whole agent: in one thread, under virtual time."""

import os

import pytest

from actorproc import PID, Process, Runtime
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.agent_fakes import framework_info, run_task, task_info, world

pytestmark = pytest.mark.asyncio

FW = mesos.FrameworkID(value="fw")


def kill(task_id, grace_s=None):
    message = internal.KillTaskMessage(framework_id=FW, task_id=mesos.TaskID(value=task_id))
    if grace_s is not None:
        message.kill_policy.grace_period.nanoseconds = int(grace_s * 1e9)
    return message


async def test_a_task_of_a_custom_executor_from_launch_to_acknowledgement(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex", command="./run"), launch_executor=True)
        executor = await w.executor("ex")
        assert executor.names() == ["ExecutorRegisteredMessage", "RunTaskMessage"]
        registered, delivered = executor.heard
        assert registered.executor_info.executor_id.value == "ex"
        assert registered.slave_info.id.value == "M-S0"
        assert not any(r.HasField("role") for r in registered.slave_info.resources)
        assert delivered.task.task_id.value == "t1"
        assert delivered.pid == "scheduler(1)@10.0.0.3:6000"
        assert not delivered.resource_version_uuids
        assert not delivered.HasField("launch_executor")

        executor.report("t1", mesos.TASK_RUNNING, uuid=b"r" * 16)
        await w.clock.settle()
        assert executor.names()[-1] == "StatusUpdateAcknowledgementMessage"
        assert executor.heard[-1].uuid == b"r" * 16
        (running,) = w.master.all(internal.StatusUpdateMessage)
        assert running.pid == str(w.agent.pid)
        assert running.update.latest_state == mesos.TASK_RUNNING
        status = running.update.status
        assert status.source == mesos.TaskStatus.SOURCE_EXECUTOR
        assert status.uuid == b"r" * 16
        container = status.container_status
        assert container.network_infos[0].ip_addresses[0].ip_address == "10.0.0.2"
        assert container.executor_pid == w.containers.last.os_pid
        assert container.container_id.value in w.containers.launched

        # The next update waits until the first one is acknowledged.
        executor.report("t1", mesos.TASK_FINISHED, uuid=b"f" * 16)
        await w.clock.settle()
        assert len(w.master.all(internal.StatusUpdateMessage)) == 1
        w.master.acknowledge(running)
        await w.clock.settle()
        finished = w.master.all(internal.StatusUpdateMessage)[-1]
        assert finished.update.status.state == mesos.TASK_FINISHED
        w.master.acknowledge(finished)
        await w.clock.advance(1000.0)
        assert len(w.master.all(internal.StatusUpdateMessage)) == 2


async def test_updates_are_repeated_until_acknowledged(tmp_path):
    async with world(tmp_path, executor_registration_timeout_s=10_000.0) as w:
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        executor.report("t1", mesos.TASK_RUNNING, uuid=b"r" * 16)
        await w.clock.settle()
        for seconds, want in ((9.0, 1), (2.0, 2), (18.0, 2), (2.0, 3)):
            w.master.say(internal.PingSlaveMessage(connected=True))
            await w.clock.advance(seconds)
            assert len(w.master.all(internal.StatusUpdateMessage)) == want


async def test_the_executor_repeating_an_update_is_only_acknowledged(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        for _ in range(3):
            executor.report("t1", mesos.TASK_RUNNING, uuid=b"r" * 16)
        await w.clock.settle()
        assert executor.names().count("StatusUpdateAcknowledgementMessage") == 3
        assert len(w.master.all(internal.StatusUpdateMessage)) == 1


@pytest.mark.parametrize(
    ("uuid", "agent_id"), [(b"", "M-S0"), (b"short", "M-S0"), (b"r" * 16, "another")]
)
async def test_unusable_updates_are_dropped(tmp_path, uuid, agent_id):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        executor.report("t1", mesos.TASK_RUNNING, uuid=uuid, agent_id=agent_id)
        await w.clock.settle()
        assert not w.master.all(internal.StatusUpdateMessage)
        assert "StatusUpdateAcknowledgementMessage" not in executor.names()


async def test_a_command_task_gets_a_generated_executor(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", command="echo out; sleep 5"))
        config = w.containers.last.config
        assert not config.command.shell
        assert "cluster.command_executor" in config.command.arguments[-1]
        assert config.environment["MESOS_EXECUTOR_ID"] == "t1"
        executor = await w.executor("t1")
        info = executor.heard[0].executor_info
        assert info.name == "Command Executor (Task: t1) (Command: sh -c 'echo out; sl...')"
        assert info.source == "t1"
        assert [(r.name, r.scalar.value) for r in info.resources] == [("cpus", 0.1), ("mem", 32.0)]
        assert {r.allocation_info.role for r in info.resources} == {"*"}
        # Its end is not told to the master, which never heard of it.
        w.containers.last.end(256)
        await w.clock.settle()
        assert not w.master.all(internal.ExitedExecutorMessage)
        assert w.master.updates() == [("t1", "TASK_FAILED", "REASON_EXECUTOR_TERMINATED")]


async def test_the_sandbox_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_THE_AGENT", "yes")
    monkeypatch.setenv("MESOS_WORK_DIR", "not for executors")
    task = task_info("t1", executor_id="ex")
    task.executor.command.environment.variables.add(name="WANTED", value="1")
    async with world(tmp_path) as w:
        await w.run(task, framework=framework_info(checkpoint=True, user="somebody"))
        config = w.containers.last.config
        runs = tmp_path / "slaves/M-S0/frameworks/fw/executors/ex/runs"
        assert config.directory == runs / config.container_id
        assert config.directory.stat().st_mode & 0o7777 == 0o750
        assert os.readlink(runs / "latest") == str(config.directory)
        assert config.user == "somebody"
        mesos_variables = {
            name: value
            for name, value in config.environment.items()
            if name.startswith(("MESOS_", "LIBPROCESS_"))
        }
        assert mesos_variables == {
            "MESOS_FRAMEWORK_ID": "fw",
            "MESOS_EXECUTOR_ID": "ex",
            "MESOS_SLAVE_ID": "M-S0",
            "MESOS_SLAVE_PID": "slave(1)@10.0.0.2:5051",
            "MESOS_AGENT_ENDPOINT": "10.0.0.2:5051",
            "MESOS_DIRECTORY": str(config.directory),
            "MESOS_SANDBOX": str(config.directory),
            "MESOS_CHECKPOINT": "1",
            "MESOS_HTTP_COMMAND_EXECUTOR": "0",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
            "MESOS_RECOVERY_TIMEOUT": "15mins",
            "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
            "LIBPROCESS_PORT": "0",
            "LIBPROCESS_IP": "10.0.0.2",
        }
        assert config.environment["FROM_THE_AGENT"] == "yes"
        assert config.environment["WANTED"] == "1"


async def test_an_executor_that_exits_fails_its_tasks_and_is_reported_first(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex", command="exit 7"), launch_executor=True)
        exited, update = w.master.heard[-2:]
        assert (exited.executor_id.value, exited.status) == ("ex", 1792)
        status = update.update.status
        assert status.state == mesos.TASK_FAILED
        assert status.message == "Executor terminated"
        assert status.source == mesos.TaskStatus.SOURCE_SLAVE
        assert status.reason == mesos.TaskStatus.REASON_EXECUTOR_TERMINATED
        assert not status.HasField("container_status")
        assert len(status.uuid) == 16
        assert update.update.uuid == status.uuid


async def test_a_launch_that_fails_says_why(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex", command="missing"))
        (update,) = w.master.all(internal.StatusUpdateMessage)
        assert w.master.updates() == [("t1", "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")]
        assert "'missing' was not found" in update.update.status.message
        assert w.master.all(internal.ExitedExecutorMessage)[0].status == -1


def _with_docker(task):
    task.container.type = mesos.ContainerInfo.DOCKER


def _with_image(task):
    task.container.type = mesos.ContainerInfo.MESOS
    task.container.mesos.image.type = mesos.Image.DOCKER
    task.container.mesos.image.docker.name = "alpine"


def _with_volume(task):
    task.container.type = mesos.ContainerInfo.MESOS
    task.container.volumes.add(container_path="data", mode=mesos.Volume.RW)


@pytest.mark.parametrize("change", [_with_docker, _with_image, _with_volume])
async def test_what_cannot_be_provided_is_refused_not_left_out(tmp_path, change):
    task = task_info("t1")
    change(task)
    async with world(tmp_path) as w:
        await w.run(task)
        assert not w.containers.launched
        assert w.master.updates() == [("t1", "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")]


@pytest.mark.parametrize("name", ["..", "a/b", "a\0b", "x" * 256, ""])
async def test_ids_that_cannot_name_a_directory_are_errors(tmp_path, name):
    async with world(tmp_path) as w:
        await w.run(task_info(name))
        await w.run(task_info("ok", executor_id=name))
        assert not w.containers.launched
        assert {update[1:] for update in w.master.updates()} == {
            ("TASK_ERROR", "REASON_TASK_INVALID")
        }


async def test_a_launch_computed_on_old_resources_is_dropped(tmp_path):
    async with world(tmp_path) as w:
        message = run_task(task_info("t1"))
        message.resource_version_uuids.add().uuid.value = b"0" * 16
        w.master.say(message)
        await w.clock.settle()
        assert w.master.updates() == [("t1", "TASK_DROPPED", "REASON_INVALID_OFFERS")]


@pytest.mark.parametrize(("is_aware", "state"), [(True, "TASK_DROPPED"), (False, "TASK_LOST")])
async def test_a_master_that_believes_in_a_missing_executor_is_corrected(tmp_path, is_aware, state):
    async with world(tmp_path) as w:
        await w.run(
            task_info("t1", executor_id="ex"),
            launch_executor=False,
            framework=framework_info(is_aware=is_aware),
        )
        assert w.master.updates() == [("t1", state, "REASON_EXECUTOR_TERMINATED")]
        assert w.master.all(internal.ExitedExecutorMessage)[0].executor_id.value == "ex"


async def test_a_launch_with_a_default_executor_is_refused(tmp_path):
    async with world(tmp_path) as w:
        task = task_info("t1", executor_id="ex")
        task.executor.type = mesos.ExecutorInfo.DEFAULT
        await w.run(task, launch_executor=True)
        assert w.master.updates() == [("t1", "TASK_ERROR", "REASON_TASK_INVALID")]
        (exited,) = w.master.all(internal.ExitedExecutorMessage)
        assert exited.executor_id.value == "ex"


@pytest.mark.parametrize("kind", [mesos.ExecutorInfo.CUSTOM, mesos.ExecutorInfo.DEFAULT])
async def test_task_groups_are_refused(tmp_path, kind):
    async with world(tmp_path) as w:
        group = mesos.TaskGroupInfo(tasks=[task_info("a"), task_info("b")])
        executor = task_info("x", executor_id="ex").executor
        executor.type = kind
        if kind == mesos.ExecutorInfo.DEFAULT:
            executor.ClearField("command")
        w.master.say(
            internal.RunTaskGroupMessage(
                framework=framework_info(), executor=executor, task_group=group
            )
        )
        await w.clock.settle()
        assert w.master.updates() == [
            ("a", "TASK_ERROR", "REASON_TASK_GROUP_INVALID"),
            ("b", "TASK_ERROR", "REASON_TASK_GROUP_INVALID"),
        ]
        # The master has booked the executor; it hears that it is not here.
        exited = w.master.all(internal.ExitedExecutorMessage)
        assert {message.executor_id.value for message in exited} == {"ex"}


async def test_an_executor_that_never_registers_is_destroyed(tmp_path):
    async with world(tmp_path, executor_registration_timeout_s=30.0) as w:
        await w.run(task_info("t1", executor_id="ex"))
        await w.clock.advance(29.0)
        assert not w.master.updates()
        await w.clock.advance(2.0)
        assert w.master.updates() == [("t1", "TASK_FAILED", "REASON_EXECUTOR_REGISTRATION_TIMEOUT")]
        message = w.master.all(internal.StatusUpdateMessage)[0].update.status.message
        assert message == "executor did not register within 30secs"


async def test_kill_goes_to_the_executor_with_its_policy(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        w.master.say(kill("t1", grace_s=2))
        await w.clock.settle()
        assert executor.heard[-1].task_id.value == "t1"
        assert executor.heard[-1].kill_policy.grace_period.nanoseconds == 2_000_000_000


async def test_killing_a_task_that_was_not_given_yet_ends_its_executor(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex"))
        w.master.say(kill("t1"))
        await w.clock.settle()
        assert w.master.updates() == [("t1", "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH")]
        executor = await w.executor("ex")
        assert executor.names() == ["ShutdownExecutorMessage"]
        await w.clock.advance(5.0)
        assert w.containers.last.ended.is_set()


async def test_a_framework_that_is_shut_down_gets_no_more_news(tmp_path):
    async with world(tmp_path) as w:
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        w.master.say(internal.ShutdownFrameworkMessage(framework_id=FW))
        await w.clock.settle()
        assert executor.names()[-1] == "ShutdownExecutorMessage"
        executor.report("t1", mesos.TASK_KILLED, uuid=b"k" * 16)
        await w.clock.advance(4.0)
        assert not w.containers.last.ended.is_set()
        await w.clock.advance(1.5)
        assert w.containers.last.wait_status == 9
        assert not w.master.updates()
        assert w.master.all(internal.ExitedExecutorMessage)[0].status == 9


async def test_messages_both_ways(tmp_path):
    class Scheduler(Process):
        def initialize(self):
            self.heard: list[bytes] = []
            self.install(
                internal.ExecutorToFrameworkMessage,
                lambda sender, message: self.heard.append(message.data),
            )

    def addressed(message_type, data):
        return message_type(
            slave_id=mesos.SlaveID(value="M-S0"),
            framework_id=FW,
            executor_id=mesos.ExecutorID(value="ex"),
            data=data,
        )

    async with world(tmp_path) as w:
        runtime = Runtime(w.network.transport("10.0.0.3", 6000), clock=w.clock)
        await runtime.start()
        w.runtimes.append(runtime)
        scheduler = Scheduler("scheduler(1)")
        runtime.spawn(scheduler)
        await w.run(task_info("t1", executor_id="ex"))
        hello = addressed(internal.FrameworkToExecutorMessage, b"\xff hello")
        scheduler.send(w.agent.pid, hello)  # not running yet: lost
        await w.clock.settle()
        executor = await w.executor("ex")
        assert "FrameworkToExecutorMessage" not in executor.names()
        scheduler.send(w.agent.pid, hello)
        await w.clock.settle()
        assert executor.heard[-1] == hello
        executor.send(w.agent.pid, addressed(internal.ExecutorToFrameworkMessage, b"back"))
        await w.clock.settle()
        assert scheduler.heard == [b"back"]

        # An HTTP framework has no address: the master passes its messages on.
        w.master.say(internal.UpdateFrameworkMessage(framework_id=FW, pid=""))
        await w.clock.settle()
        executor.send(w.agent.pid, addressed(internal.ExecutorToFrameworkMessage, b"2"))
        await w.clock.settle()
        assert w.master.all(internal.ExecutorToFrameworkMessage)[0].data == b"2"


async def test_garbage_does_not_harm_the_agent(tmp_path):
    async with world(tmp_path) as w:
        runtime = w.runtimes[0]
        stranger = PID("x", "10.0.0.9", 1)
        for name in ("RegisterExecutorMessage", "StatusUpdateMessage", "PingSlaveMessage"):
            runtime.post(w.agent.pid, f"mesos.internal.{name}", b"\xff\xff", sender=stranger)
        runtime.post(
            w.agent.pid,
            internal.RegisterExecutorMessage(
                framework_id=FW, executor_id=mesos.ExecutorID(value="ex")
            ),
        )
        runtime.post(w.agent.pid, internal.PingSlaveMessage(connected=False), sender=stranger)
        await w.run(task_info("t0", executor_id="ex"))
        register = internal.RegisterExecutorMessage(
            framework_id=FW, executor_id=mesos.ExecutorID(value="ex")
        )
        runtime.post(w.agent.pid, register, sender=w.agent.pid)  # itself: cannot be linked
        for timeout_s in (0.0, -1.0, float("nan")):
            w.master.say(
                internal.SlaveReregisteredMessage(
                    slave_id=mesos.SlaveID(value="M-S0"),
                    connection=internal.MasterSlaveConnection(total_ping_timeout_seconds=timeout_s),
                )
            )
        await w.run(task_info("t1"), framework=framework_info(""))
        assert not await w.agent_is_gone()
        assert not w.master.all(internal.ReregisterSlaveMessage)


async def test_sandboxes_are_deleted_when_their_time_is_over(tmp_path):
    async with world(tmp_path, gc_delay_s=300.0, disk_watch_interval_s=10.0) as w:
        await w.run(task_info("t1", executor_id="ex", command="exit 0"))
        sandbox = w.containers.last.config.directory
        w.master.acknowledge(w.master.all(internal.StatusUpdateMessage)[0])
        await w.clock.advance(1.0)
        assert sandbox.is_dir()
        await w.clock.advance(310.0)
        assert not (tmp_path / "slaves/M-S0/frameworks/fw").exists()
