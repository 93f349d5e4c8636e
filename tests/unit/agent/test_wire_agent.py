"""The agent's messages against those of a real agent: same bytes from the same facts."""

import json

import pytest

from cluster.errors import InvalidInput
from cluster.model.attributes import Attributes
from cluster.model.executors import (
    AgentContents,
    MakeUpdate,
    TaskArrived,
    TaskDescription,
    TaskSnapshot,
    TaskUnacceptable,
)
from cluster.model.ids import FrameworkId, TaskId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.wire import agent as wire
from cluster.wire import relayed
from cluster.wire.checked_ids import check_id
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.fixtures_dir import fixtures

AGENT = "slave(1)"
REAL_COMMAND_EXECUTOR = ("/usr/libexec/mesos/mesos-executor",)


def recorded(scenario, name, *, sender=None):
    """Messages of that name, parsed, in order; `sender` is the start of who sent them."""
    message_type = getattr(internal, name)
    lines = (fixtures() / "wire" / f"{scenario}.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [
        message_type.FromString(bytes.fromhex(record["body_hex"]))
        for record in records
        if record["kind"] == "message"
        and record["name"] == f"mesos.internal.{name}"
        and (sender is None or record["from"].startswith(sender))
    ]


def described(slave, version_uuid, *, agent_id=None, attributes="", resources):
    return wire.AgentDescription(
        agent_id=agent_id,
        hostname=slave.hostname,
        port=slave.port,
        resources=Resources.parse(resources),
        attributes=Attributes.parse(attributes),
        domain=None,
        version="1.12.0",
        resource_version=version_uuid,
    )


FIRST = "cpus:4;mem:4096;disk:8192;ports:[31000-32000]"


def arrived(message, **changes):
    """Read a recorded launch as this agent would."""
    version = message.resource_version_uuids[0].uuid.value
    launch = wire.launch_from_pb(
        message, resource_version=version, command_executor=REAL_COMMAND_EXECUTOR
    )
    assert isinstance(launch, TaskArrived)
    return launch


def test_registration():
    first, second = recorded("a-registration", "RegisterSlaveMessage")
    agent = described(first.slave, first.resource_version_uuid.value, resources=FIRST)
    assert wire.register_message(agent).SerializeToString() == first.SerializeToString()
    agent = described(
        second.slave,
        second.resource_version_uuid.value,
        resources="cpus:2;cpus(ads):1;mem:1024;disk:2048;ports:[31000-31999,32005-32005];tags:{x,y}",
        attributes="rack:r1;zone:a;n:5;p:[1-3]",
    )
    assert wire.register_message(agent) == second


def test_totals_and_unregistration():
    (want, *_) = recorded("a-registration", "UpdateSlaveMessage")
    (register, *_) = recorded("a-registration", "RegisterSlaveMessage")
    agent = described(
        register.slave,
        want.resource_version_uuid.value,
        agent_id=want.slave_id.value,
        resources=FIRST,
    )
    assert wire.update_agent_message(agent).SerializeToString() == want.SerializeToString()
    (gone,) = recorded("a-registration", "UnregisterSlaveMessage")
    assert wire.unregister_message(gone.slave_id.value) == gone


@pytest.mark.parametrize("scenario", ["b-executor-crash", "g-driver-calls", "i-ping-timeout"])
def test_what_an_executor_is_told_when_it_registers_and_gets_its_task(scenario):
    launches = {
        message.task.task_id.value: arrived(message)
        for message in recorded(scenario, "RunTaskMessage", sender="master")
    }
    delivered = recorded(scenario, "RunTaskMessage", sender=AGENT)
    assert delivered
    for want in delivered:
        launch = launches[want.task.task_id.value]
        made = wire.run_task_message(launch.framework, launch.framework_address, launch.task)
        assert made.SerializeToString() == want.SerializeToString()
    by_executor = {launch.executor.executor_id: launch for launch in launches.values()}
    for registered in recorded(scenario, "ExecutorRegisteredMessage"):
        launch = by_executor[registered.executor_info.executor_id.value]
        info = wire.executor_info(launch.executor)
        if launch.executor.is_generated:
            # What ours runs is ours to choose; all the rest is as recorded.
            info.command.CopyFrom(registered.executor_info.command)
        agent = described(
            registered.slave_info, b"", agent_id=registered.slave_id.value, resources=FIRST
        )
        told = wire.executor_registered_message(agent, launch.framework, launch.executor)
        assert told == registered


@pytest.mark.parametrize(
    ("scenario", "count"), [("b-executor-crash", 5), ("j-operator", 2)], ids=["crash", "drain"]
)
def test_updates_are_completed_as_recorded(scenario, count):
    sent = recorded(scenario, "StatusUpdateMessage", sender="executor")
    forwarded = {
        message.update.uuid: message
        for message in recorded(scenario, "StatusUpdateMessage", sender=AGENT)
    }
    if scenario == "j-operator":
        drained = mesos.TaskStatus.REASON_SLAVE_DRAINING
        reasons = {uuid: message.update.status.reason for uuid, message in forwarded.items()}
        sent = [message for message in sent if reasons.get(message.update.uuid) == drained]
    assert len(sent) >= count
    for message in sent:
        want = forwarded[message.update.uuid]
        container = want.update.status.container_status
        report = wire.report_from_pb(message, message.update.slave_id.value)
        update = wire.completed_update(
            report,
            agent_id=message.update.slave_id.value,
            executor_id=message.update.executor_id.value,
            container_id=container.container_id.value,
            os_pid=container.executor_pid,
            ip="127.0.0.1",
            state=report.state,
            reason=UpdateReason.AGENT_DRAINING if scenario == "j-operator" else None,
        )
        made = wire.forwarded_update(update, TaskState(want.update.latest_state), want.pid)
        assert made.SerializeToString() == want.SerializeToString()


def test_the_agents_own_update_is_as_recorded():
    want = next(
        message
        for message in recorded("b-executor-crash", "StatusUpdateMessage", sender=AGENT)
        if message.update.status.source == mesos.TaskStatus.SOURCE_SLAVE
    )
    order = MakeUpdate(
        want.update.framework_id.value,
        want.update.executor_id.value,
        want.update.status.task_id.value,
        TaskState.FAILED,
        UpdateReason.EXECUTOR_TERMINATED,
        "Executor terminated",
        is_checkpointed=False,
    )
    update = wire.made_update(
        order,
        agent_id=want.update.slave_id.value,
        uuid=want.update.uuid,
        now_s=want.update.timestamp,
    )
    made = wire.forwarded_update(update, TaskState.FAILED, want.pid)
    assert made.SerializeToString() == want.SerializeToString()


def test_exits_and_acknowledgements():
    for want in recorded("b-executor-crash", "ExitedExecutorMessage"):
        ids = (want.slave_id.value, want.framework_id.value, want.executor_id.value)
        assert wire.exited_executor_message(*ids, want.status) == want
    for want in recorded("b-executor-crash", "StatusUpdateAcknowledgementMessage", sender=AGENT):
        ids = (want.slave_id.value, want.framework_id.value, want.task_id.value)
        assert relayed.acknowledgement(*ids, want.uuid) == want


def test_reregistration():
    (want,) = recorded("i-ping-timeout", "ReregisterSlaveMessage")
    launches = {
        message.task.task_id.value: arrived(message)
        for message in recorded("i-ping-timeout", "RunTaskMessage", sender="master")
    }
    snapshots = [
        TaskSnapshot(
            task.framework_id.value,
            None,
            launches[task.task_id.value].task,
            TaskState(task.state),
            tuple(task.statuses),
            TaskState(task.status_update_state),
            task.status_update_uuid,
        )
        for task in want.tasks
    ]
    frameworks = [launches[task.task_id.value].framework for task in want.tasks]
    agent = described(
        want.slave,
        want.resource_version_uuid.value,
        agent_id=want.slave.id.value,
        resources=FIRST,
    )
    contents = AgentContents(tuple(frameworks), (), tuple(snapshots))
    made = wire.reregister_message(agent, contents)
    assert made.SerializeToString() == want.SerializeToString()


def test_reregistration_names_custom_executors_in_the_old_spelling():
    (want,) = recorded("d-agent-restart", "ReregisterSlaveMessage")
    launches = recorded("d-agent-restart", "RunTaskMessage", sender="master")
    (launch,) = [arrived(one) for one in launches if one.task.HasField("executor")]
    agent = described(want.slave, b"v" * 16, agent_id="S0", resources=FIRST)
    contents = AgentContents((launch.framework,), (launch.executor,), ())
    made = wire.reregister_message(agent, contents)
    assert list(made.executor_infos) == list(want.executor_infos)


# What is refused ----------------------------------------------------------------------------------


def a_launch():
    message = internal.RunTaskMessage(
        framework=mesos.FrameworkInfo(user="u", name="n", id=mesos.FrameworkID(value="f")),
        task=mesos.TaskInfo(
            name="t", task_id=mesos.TaskID(value="t"), slave_id=mesos.SlaveID(value="S0")
        ),
    )
    message.task.command.value = "true"
    return message


def read(message):
    return wire.launch_from_pb(message, resource_version=b"v", command_executor=("x",))


def _no_command(message):
    message.task.ClearField("command")


def _both(message):
    message.task.executor.executor_id.value = "e"
    message.task.executor.command.value = "true"


def _empty_executor_command(message):
    _both(message)
    message.task.ClearField("command")
    message.task.executor.command.value = ""


def _default_executor(message):
    _both(message)
    message.task.ClearField("command")
    message.task.executor.type = mesos.ExecutorInfo.DEFAULT


def _negative_grace(message):
    _both(message)
    message.task.ClearField("command")
    message.task.executor.shutdown_grace_period.nanoseconds = -1


def _bad_resource(message):
    message.task.resources.add(name="cpus", type=mesos.Value.SCALAR).scalar.value = float("nan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_command, "task: must have a command or an executor"),
        (_both, "task: must not have both"),
        (_empty_executor_command, "executor.command.value: must not be empty"),
        (_default_executor, "executor.type: DEFAULT"),
        (_negative_grace, "executor.shutdown_grace_period: must not be negative"),
        (_bad_resource, "task.resources"),
    ],
)
def test_a_launch_that_breaks_a_rule(change, words):
    message = a_launch()
    change(message)
    refused = read(message)
    assert isinstance(refused, TaskUnacceptable)
    assert words in refused.text


def test_a_launch_of_nobody_cannot_even_be_refused():
    message = a_launch()
    message.framework.ClearField("id")
    with pytest.raises(InvalidInput, match=r"framework\.id: must not be empty"):
        read(message)


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ("a-b_C.1", True),
        ("..a", True),
        ("häßlich", True),
        ("x" * 255, True),
        ("", False),
        (".", False),
        ("..", False),
        ("a/b", False),
        ("a\nb", False),
        ("a\0", False),
        ("\x7f", False),
        ("ä" * 128, False),
    ],
)
def test_ids_name_directories(value, is_good):
    if is_good:
        assert check_id(value, "id") == value
    else:
        with pytest.raises(InvalidInput, match="id: must"):
            check_id(value, "id")


@pytest.mark.parametrize(
    ("shell", "value", "arguments", "shown"),
    [
        (True, "echo hi", [], "sh -c 'echo hi'"),
        (True, "x" * 15, [], f"sh -c '{'x' * 15}'"),
        (True, "x" * 16, [], f"sh -c '{'x' * 12}...'"),
        (False, "ls", ["ls", "-l"], "[ls, ls, -l]"),
    ],
)
def test_the_name_of_a_generated_executor_shows_the_command(shell, value, arguments, shown):
    message = a_launch()
    message.task.command.shell = shell
    message.task.command.value = value
    message.task.command.arguments.extend(arguments)
    launch = read(message)
    assert launch.executor.name == f"Command Executor (Task: t) (Command: {shown})"


def test_a_generated_executor_takes_user_files_and_grace_from_its_task():
    message = a_launch()
    message.task.command.user = "somebody"
    message.task.command.uris.add(value="http://x/y")
    message.task.kill_policy.grace_period.nanoseconds = 2_000_000_000
    launch = read(message)
    info = wire.executor_info(launch.executor)
    assert (info.command.user, info.command.uris[0].value) == ("somebody", "http://x/y")
    assert launch.executor.shutdown_grace_s == 4.0
    assert launch.executor.resources == Resources.parse("cpus:0.1;mem:32")


def test_versions_of_resource_providers_are_not_ours():
    message = a_launch()
    provider = message.resource_version_uuids.add()
    provider.uuid.value = b"another"
    provider.resource_provider_id.value = "p"
    assert read(message).is_version_current
    message.resource_version_uuids.add().uuid.value = b"old"
    assert not read(message).is_version_current


def test_a_task_that_no_executor_has_yet_is_described_from_its_info():
    info = a_launch().task
    info.labels.labels.add(key="k", value="v")
    info.command.user = "somebody"
    snapshot = TaskSnapshot(
        FrameworkId("f"),
        None,
        TaskDescription(TaskId("t"), "t", Resources(), info),
        TaskState.STAGING,
        (),
        None,
        None,
    )
    agent = described(mesos.SlaveInfo(hostname="h"), b"", agent_id="S0", resources=FIRST)
    record = wire.task_record(agent, snapshot)
    assert (record.user, record.labels.labels[0].key) == ("somebody", "k")
    assert not record.HasField("executor_id")
    assert not record.HasField("status_update_uuid")
