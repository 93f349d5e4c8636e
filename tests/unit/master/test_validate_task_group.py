"""Every rule for task groups that needs nothing but the description (master.md §6.3)."""

import pytest

from cluster.validation.calls import read_accept
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import resources, task_info
from tests.unit.master.test_validate_task import (
    CHECK,
    DOCKER,
    HEALTH,
    also,
    clear,
    container,
    edit,
    limit,
    variable,
    volume,
)

LEAST = "cpus:0.1;mem:32;disk:10"


def operation(change_task=None, change_executor=None, *, tasks=2):
    """A right group, with one of its tasks or its executor changed."""
    message = mesos.Offer.Operation(type=mesos.Offer.Operation.LAUNCH_GROUP)
    group = message.launch_group
    group.executor.executor_id.value = "e"
    group.executor.type = mesos.ExecutorInfo.DEFAULT
    group.executor.resources.extend(resources(LEAST))
    group.task_group.tasks.extend(task_info(f"t{n}", "agent") for n in range(tasks))
    if change_executor is not None:
        change_executor(group.executor)
    if change_task is not None:
        change_task(group.task_group.tasks[-1])
    return message


def read(message):
    [launch] = read_accept(scheduler.Call.Accept(operations=[message])).operations
    return launch


OWN_NETWORK = mesos.ContainerInfo(type=mesos.ContainerInfo.MESOS, network_infos=[{"name": "net"}])


def with_network(change):
    return lambda info: edit("container", OWN_NETWORK)(info) or change(info)


def own_limits(info):
    edit("container", container(share_cgroups=False))(info)
    limit("mem", float("inf"))(info)


# Rules 1 to 10 hold as for a LAUNCH: one example of each, and where a group differs.
WRONG_TASK = [
    (1, edit("task_id.value", "a/b"), "slashes"),
    (4, edit("max_completion_time.nanoseconds", -1), "max_completion_time"),
    (5, edit("check", CHECK()), "check.type"),
    (6, edit("health_check", HEALTH()), "health_check.type"),
    (
        6,
        with_network(edit("health_check", HEALTH(type=HEALTH.HTTP, http={"port": 1}))),
        "health_check: must be a COMMAND check",
    ),
    (
        6,
        with_network(edit("health_check", HEALTH(type=HEALTH.TCP, tcp={"port": 1}))),
        "health_check: must be a COMMAND check",
    ),
    (
        6,
        with_network(edit("check", CHECK(type=CHECK.TCP, tcp={"port": 1}))),
        "check: must be a COMMAND check",
    ),
    (7, clear("resources"), "resources: must not be empty"),
    (8, variable(), "must have a value"),
    (9, volume(), "exactly one of"),
    (
        9,
        edit("container", mesos.ContainerInfo(type=DOCKER, docker={"image": "i"})),
        "must not be a DOCKER container in a group",
    ),
    (10, limit("mem", 100.0), "limits: need container.linux_info.share_cgroups=false"),
    (10, lambda info: own_limits(info) or limit("disk", 1.0)(info), "only cpus and mem"),
    (12, edit("executor.executor_id.value", "other"), "executor: must be unset or the executor"),
]

RIGHT_TASK = [
    clear("command"),  # an image may say what to run
    own_limits,
    edit("container", container(share_cgroups=False)),
    with_network(edit("health_check", HEALTH(command={"value": "true"}))),
    edit("health_check", HEALTH(http={"port": 1})),
    lambda info: info.executor.CopyFrom(operation().launch_group.executor),
]

MESOS = mesos.ContainerInfo.MESOS
WRONG_EXECUTOR = [
    (clear("type"), "executor.type: must be DEFAULT or CUSTOM"),
    (edit("type", mesos.ExecutorInfo.UNKNOWN), "executor.type: must be DEFAULT or CUSTOM"),
    (edit("command.value", "x"), "executor.command: must not be set for the DEFAULT"),
    (edit("type", mesos.ExecutorInfo.CUSTOM), "executor.command: must be set for a CUSTOM"),
    (
        edit("container", mesos.ContainerInfo(type=MESOS, mesos={"image": {"type": 2}})),
        "executor.container.mesos: must not be set",
    ),
    (
        edit("container", mesos.ContainerInfo(type=DOCKER, docker={"image": "i"})),
        "must not be a DOCKER container",
    ),
    (edit("container", container(share_cgroups=True)), "share_cgroups: must not be true"),
    (edit("executor_id.value", ".."), "executor.executor_id: must not be '..'"),
    (edit("shutdown_grace_period.nanoseconds", -1), "shutdown_grace_period"),
    (lambda e: e.resources[0].shared.SetInParent(), "must not be shared"),
    (lambda e: e.resources.add(name="x", type=mesos.Value.SCALAR), "scalar"),
    (lambda e: setattr(e.resources[0].scalar, "value", 0.009), "must have at least cpus:0.01"),
    (lambda e: setattr(e.resources[1].scalar, "value", 31.0), "must have at least mem:32"),
    (lambda e: e.resources.pop(), "must have at least some disk"),
    (
        lambda e: (edit("type", mesos.ExecutorInfo.CUSTOM)(e), e.command.SetInParent()),
        "executor.command.value",
    ),
]


@pytest.mark.parametrize(("rule", "change", "words"), WRONG_TASK)
def test_wrong_task(rule, change, words):
    launch = read(operation(change))
    first, last = launch.tasks
    assert first.defect is None
    assert last.defect.rule == rule
    assert words in last.defect.text
    assert last.defect.text.startswith(f"task '{last.task_id}': ")


@pytest.mark.parametrize("change", RIGHT_TASK)
def test_right_task(change):
    launch = read(operation(change))
    assert [task.defect for task in launch.tasks] == [None, None]
    assert launch.defect is None


@pytest.mark.parametrize(("change", "words"), WRONG_EXECUTOR)
def test_wrong_executor(change, words):
    launch = read(operation(None, change))
    assert words in launch.defect.text
    assert launch.executor is None
    assert [task.task_id for task in launch.tasks] == ["t0", "t1"]


def test_right_executors():
    launch = read(operation())
    assert (launch.executor.executor_id, launch.defect) == ("e", None)

    def custom(executor):
        executor.type = mesos.ExecutorInfo.CUSTOM
        executor.command.value = "run"
        executor.container.type = MESOS

    assert read(operation(None, custom)).defect is None


def test_a_group_is_not_empty():
    assert "tasks: must not be empty" in read(operation(tasks=0)).defect.text


def test_task_and_executor_do_not_overlap():
    launch = read(operation(also("ports:[5-7]"), also("ports:[7-9]")))
    assert "ports of task and executor must not overlap" in launch.defect.text


def test_a_group_has_no_operation_id():
    message = operation()
    message.id.value = "op"
    launch = read(message)
    assert "operation.id" in launch.defect.text
    assert [task.defect for task in launch.tasks] == [launch.defect, launch.defect]


def test_how_tasks_are_limited_is_known():
    launch = read(operation(edit("container", container(share_cgroups=False))))
    assert [task.shares_cgroups for task in launch.tasks] == [True, False]
