"""``cluster run``: the decisions it takes, without a cluster."""

import signal

import pytest

from cluster.run_command import (
    Job,
    agent_url,
    exit_status_of,
    framework_for,
    is_terminal,
    take_scalars,
    task_for,
)
from cluster.wire.pb import mesos_pb2 as mesos


def job(**changed):
    given = {
        "command": ("sh", "-c", "echo hi"),
        "name": "sh",
        "needs_milli": {"cpus": 1000, "mem": 128000},
        "role": "ops",
        "environment": {"A": "1"},
    }
    return Job(**(given | changed))


def scalar(name, value, **reserved):
    resource = mesos.Resource(name=name, type=mesos.Value.SCALAR, **reserved)
    resource.scalar.value = value
    return resource


def offer(*resources):
    made = mesos.Offer(resources=resources, hostname="h")
    made.id.value, made.framework_id.value, made.slave_id.value = "O1", "F1", "S1"
    return made


def amounts(resources):
    return [(each.name, each.role, each.scalar.value) for each in resources]


def test_takes_just_what_is_needed_in_the_order_offered():
    taken = take_scalars(
        [
            scalar("cpus", 0.7, role="ops"),
            scalar("mem", 4096),
            scalar("cpus", 4),
            scalar("disk", 99),
        ],
        {"cpus": 1000, "mem": 128000},
    )
    assert amounts(taken) == [("cpus", "ops", 0.7), ("mem", "*", 128.0), ("cpus", "*", 0.3)]


@pytest.mark.parametrize(
    "offered",
    [
        [],
        [scalar("cpus", 4)],
        [scalar("cpus", 0.999), scalar("mem", 4096)],
        [scalar("cpus", 4), mesos.Resource(name="mem", type=mesos.Value.SET)],
    ],
)
def test_an_offer_that_is_too_small_is_not_taken(offered):
    assert take_scalars(offered, {"cpus": 1000, "mem": 128000}) is None


def test_a_volume_is_left_alone():
    volume = scalar("disk", 100)
    volume.disk.persistence.id = "v"
    assert take_scalars([volume], {"disk": 10000}) is None
    assert amounts(take_scalars([volume, scalar("disk", 50)], {"disk": 10000})) == [
        ("disk", "*", 10.0)
    ]


def test_the_task_says_what_was_asked_for():
    allocated = mesos.Resource.AllocationInfo(role="ops")
    task = task_for(
        job(),
        offer(
            scalar("cpus", 4, allocation_info=allocated),
            scalar("mem", 999, allocation_info=allocated),
        ),
        "t1",
    )
    assert task is not None
    assert (task.task_id.value, task.slave_id.value, task.name) == ("t1", "S1", "sh")
    assert amounts(task.resources) == [("cpus", "*", 1.0), ("mem", "*", 128.0)]
    assert {each.allocation_info.role for each in task.resources} == {"ops"}
    assert not task.command.shell
    assert task.command.value == "sh"
    assert list(task.command.arguments) == ["sh", "-c", "echo hi"]
    assert [(v.name, v.value) for v in task.command.environment.variables] == [("A", "1")]


def test_no_task_for_a_small_offer():
    assert task_for(job(), offer(scalar("cpus", 4)), "t1") is None


def test_the_framework_asks_for_the_role():
    framework = framework_for(job())
    assert list(framework.roles) == ["ops"]
    assert [each.type for each in framework.capabilities] == [
        mesos.FrameworkInfo.Capability.MULTI_ROLE
    ]


@pytest.mark.parametrize(
    ("state", "message", "status"),
    [
        (mesos.TASK_FINISHED, "Command exited with status 0", 0),
        (mesos.TASK_FAILED, "Command exited with status 1", 1),
        (mesos.TASK_FAILED, "Command exited with status 127", 127),
        (mesos.TASK_FAILED, "Command exited with status 0", 1),
        (mesos.TASK_FAILED, "Command terminated with signal Killed", 128 + signal.SIGKILL),
        (mesos.TASK_FAILED, "Command terminated with signal Segmentation fault", 139),
        (mesos.TASK_KILLED, "Command terminated with signal Terminated", 128 + signal.SIGTERM),
        (mesos.TASK_FAILED, "Command terminated with signal SIGHUP", 129),
        (mesos.TASK_FAILED, "Command terminated with signal Whatever", 1),
        (mesos.TASK_LOST, "", 1),
        (mesos.TASK_ERROR, "task uses more than offered", 1),
    ],
)
def test_exit_status_as_a_shell_has_it(state, message, status):
    assert exit_status_of(mesos.TaskStatus(state=state, message=message)) == status


@pytest.mark.parametrize(
    ("state", "terminal"),
    [
        (mesos.TASK_RUNNING, False),
        (mesos.TASK_UNREACHABLE, False),
        (mesos.TASK_FAILED, True),
        (mesos.TASK_LOST, True),
    ],
)
def test_what_ends_a_run(state, terminal):
    assert is_terminal(mesos.TaskStatus(state=state)) is terminal


def test_where_the_agent_is():
    made = offer()
    assert agent_url(made) is None
    made.url.scheme = "http"
    made.url.address.ip, made.url.address.port = "10.0.0.7", 5051
    assert agent_url(made) == "http://10.0.0.7:5051"
    made.url.address.ip, made.url.address.hostname = "", "h7"
    assert agent_url(made) == "http://h7:5051"
