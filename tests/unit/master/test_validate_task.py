"""Every rule for tasks that needs nothing but the description (master.md §6.3)."""

import pytest

from cluster.model.ids import TaskId
from cluster.validation.calls import read_call, read_task
from cluster.validation.task import task_defect
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import resources, task_info


def task(change=None, *, executor=None, text="cpus:1;mem:64"):
    info = task_info("t", "agent", text, executor=executor)
    if change is not None:
        change(info)
    return info


def edit(path, value):
    """A change that sets one field, named by a dotted path."""

    def change(info):
        *parents, last = path.split(".")
        target = info
        for parent in parents:
            target = getattr(target, parent)
        if isinstance(value, int | float | str | bytes):
            setattr(target, last, value)
        else:
            getattr(target, last).CopyFrom(value)

    return change


def clear(name):
    return lambda info: info.ClearField(name)


def variable(**fields):
    return lambda info: info.command.environment.variables.add(name="V", **fields)


def volume(**fields):
    def change(info):
        info.container.type = mesos.ContainerInfo.MESOS
        info.container.volumes.add(container_path="/v", mode=mesos.Volume.RW, **fields)

    return change


def disk(role="ads", revocable=False, **parts):
    def change(info):
        resource = info.resources.add(name="disk", type=mesos.Value.SCALAR, role=role)
        resource.scalar.value = 10
        resource.disk.CopyFrom(mesos.Resource.DiskInfo(**parts))
        if revocable:
            resource.revocable.SetInParent()

    return change


def reserved(*, revocable=False):
    def change(info):
        resource = info.resources.add(name="disk", type=mesos.Value.SCALAR)
        resource.scalar.value = 1.0
        resource.reservations.add(type=mesos.Resource.ReservationInfo.DYNAMIC, role="ads")
        if revocable:
            resource.revocable.SetInParent()

    return change


def also(text, **marks):
    def change(info):
        for resource in resources(text):
            if marks.get("revocable"):
                resource.revocable.SetInParent()
            if marks.get("role"):
                resource.allocation_info.role = marks["role"]
            info.resources.append(resource)

    return change


def limit(name, value):
    def change(info):
        info.limits[name].value = value

    return change


def container(**linux_info):
    return mesos.ContainerInfo(type=mesos.ContainerInfo.MESOS, linux_info=linux_info)


CHECK, HEALTH = mesos.CheckInfo, mesos.HealthCheck
PERSISTENT = {"id": "p"}
VOLUME = {"container_path": "v", "mode": mesos.Volume.RW}
SECRET = mesos.Secret(type=mesos.Secret.VALUE, value=mesos.Secret.Value(data=b"s"))
DOCKER = mesos.ContainerInfo.DOCKER

# Number of the rule, what is wrong, words of the answer.
WRONG = [
    (1, edit("task_id.value", ""), "task_id: must not be empty"),
    (1, edit("task_id.value", "a" * 256), "at most 255 bytes"),
    (1, edit("task_id.value", "é" * 128), "at most 255 bytes"),
    (1, edit("task_id.value", ".."), "must not be '..'"),
    (1, edit("task_id.value", "a/b"), "slashes"),
    (1, edit("task_id.value", "a\\b"), "slashes"),
    (1, edit("task_id.value", "a\x1fb"), "control characters"),
    (4, edit("kill_policy.grace_period.nanoseconds", -1), "kill_policy.grace_period"),
    (4, edit("max_completion_time.nanoseconds", -1), "max_completion_time"),
    (5, edit("check", CHECK()), "check.type"),
    (5, edit("check", CHECK(type=CHECK.COMMAND)), "check.command: must be set"),
    (5, edit("check", CHECK(type=CHECK.HTTP)), "check.http: must be set"),
    (5, edit("check", CHECK(type=CHECK.TCP)), "check.tcp: must be set"),
    (5, edit("check", CHECK(type=CHECK.HTTP, http={"port": 1, "path": "x"})), "check.http.path"),
    (5, edit("check", CHECK(type=CHECK.TCP, tcp={"port": 1}, delay_seconds=-1)), "delay_seconds"),
    (
        5,
        edit("check", CHECK(type=CHECK.COMMAND, command={"command": {"shell": True}})),
        "check.command.value",
    ),
    (6, edit("health_check", HEALTH()), "health_check.type"),
    (6, edit("health_check", HEALTH(type=HEALTH.COMMAND)), "health_check.command: must be set"),
    (6, edit("health_check", HEALTH(type=HEALTH.TCP)), "health_check.tcp: must be set"),
    (6, edit("health_check", HEALTH(type=HEALTH.HTTP)), "health_check.http: must be set"),
    (6, edit("health_check", HEALTH(http={"port": 1, "path": "x"})), "http.path"),
    (6, edit("health_check", HEALTH(http={"port": 1, "scheme": "ftp"})), "http.scheme"),
    (6, edit("health_check", HEALTH(http={"port": 1, "statuses": [200]})), "http.statuses"),
    (6, edit("health_check", HEALTH(command={})), "health_check.command.value"),
    (
        6,
        edit("health_check", HEALTH(http={"port": 1}, grace_period_seconds=float("nan"))),
        "grace_period_seconds",
    ),
    (7, clear("resources"), "resources: must not be empty"),
    (7, lambda info: info.resources.add(name="", type=mesos.Value.SCALAR), "name"),
    (7, lambda info: info.resources.add(name="x", type=mesos.Value.SCALAR), "scalar"),
    (7, lambda info: info.resources.add(name="x", type=mesos.Value.TEXT), "type"),
    (7, lambda info: also("cpus:1", role="a")(info) or also("mem:1", role="b")(info), "one role"),
    (7, also("cpus:1", revocable=True), "revocable or not, not both"),
    (7, disk(), "must not be empty"),
    (7, disk(volume=VOLUME), "needs a persistence"),
    (7, disk(persistence=PERSISTENT), "volume: must be set"),
    (7, disk(persistence=PERSISTENT, volume={**VOLUME, "host_path": "/h"}), "host_path"),
    (7, disk(persistence={"id": "a/b"}, volume=VOLUME), "persistence.id"),
    (7, disk("*", persistence=PERSISTENT, volume=VOLUME), "must be reserved"),
    (7, disk(revocable=True, persistence=PERSISTENT, volume=VOLUME), "must not be revocable"),
    (
        7,
        lambda info: [disk(persistence=PERSISTENT, volume=VOLUME)(info) for _ in range(2)],
        "persistence id 'p' occurs twice",
    ),
    (
        7,
        lambda info: [setattr(r.scalar, "value", 0.0) for r in info.resources],
        "resources: must not be empty",
    ),
    (7, lambda info: setattr(info.resources[0], "name", "ports"), "ports: must be of type ranges"),
    (7, reserved(revocable=True), "dynamically reserved and must not be revocable"),
    (8, variable(), "must have a value"),
    (8, variable(value="v", secret=SECRET), "must not have a secret"),
    (8, variable(type=mesos.Environment.Variable.SECRET), "must have a secret"),
    (
        8,
        variable(type=mesos.Environment.Variable.SECRET, value="v", secret=SECRET),
        "must not have a value",
    ),
    (8, variable(type=mesos.Environment.Variable.UNKNOWN, value="v"), "VALUE or SECRET"),
    (8, lambda info: info.command.ClearField("value"), "command.value"),
    (9, volume(), "exactly one of"),
    (9, volume(host_path="/h", source={"type": mesos.Volume.Source.SECRET}), "exactly one of"),
    (9, volume(source={}), "source.type"),
    (9, volume(source={"type": mesos.Volume.Source.SANDBOX_PATH}), "source.sandbox_path"),
    (9, volume(image={"type": mesos.Image.DOCKER}), "must have docker"),
    (9, edit("container", mesos.ContainerInfo(type=DOCKER)), "container.docker"),
    (
        9,
        edit(
            "container",
            mesos.ContainerInfo(
                type=DOCKER,
                docker={"image": "i", "parameters": [{"key": "name", "value": "v"}]},
            ),
        ),
        "'name' is chosen by the agent",
    ),
    (
        9,
        edit(
            "container",
            mesos.ContainerInfo(
                type=mesos.ContainerInfo.MESOS,
                network_infos=[{"port_mappings": [{"host_port": 70000, "container_port": 1}]}],
            ),
        ),
        "70000 is no port",
    ),
    (
        9,
        edit(
            "container",
            mesos.ContainerInfo(
                type=mesos.ContainerInfo.MESOS,
                mesos={"image": {"type": mesos.Image.APPC, "docker": {"name": "n"}}},
            ),
        ),
        "must have appc",
    ),
    (10, limit("disk", 1000.0), "only cpus and mem"),
    (10, limit("mem", 63.0), "at least the request of 64"),
    (10, limit("cpus", float("nan")), "at least the request"),
    (10, limit("cpus", -1.0), "at least the request"),
    (
        10,
        lambda info: (
            info.ClearField("resources") or also("mem:64")(info) or limit("cpus", 1.0)(info)
        ),
        "cpus is limited but not requested",
    ),
    (10, lambda info: also("cpus(ads):1")(info) or limit("cpus", 1.5)(info), "request of 2"),
    (11, clear("command"), "exactly one of command and executor"),
    (15, edit("container", container(share_cgroups=False)), "task groups only"),
]
WRONG_EXECUTOR = [
    (11, edit("command.value", "true"), "exactly one of command and executor"),
    (12, edit("executor.type", mesos.ExecutorInfo.DEFAULT), "executor.type"),
    (12, lambda info: info.executor.ClearField("command"), "executor.command: must be set"),
    (12, edit("executor.shutdown_grace_period.nanoseconds", -1), "shutdown_grace_period"),
    (12, edit("executor.executor_id.value", ""), "executor.executor_id"),
    (12, lambda info: info.executor.resources[0].shared.SetInParent(), "must not be shared"),
    (12, edit("executor.container", container(share_cgroups=True)), "share_cgroups"),
    (12, lambda info: info.executor.command.ClearField("value"), "executor.command.value"),
    (12, lambda info: info.executor.resources.add(name="x", type=mesos.Value.SCALAR), "scalar"),
    (12, edit("executor.container", mesos.ContainerInfo(type=DOCKER)), "container.docker"),
    (
        13,
        lambda info: [
            disk(persistence=PERSISTENT, volume=VOLUME)(target) for target in (info, info.executor)
        ],
        "persistence id 'p' occurs in task and executor",
    ),
    (
        13,
        lambda info: [
            target.resources.extend(resources("ports:[5-7]")) for target in (info, info.executor)
        ],
        "ports of task and executor must not overlap",
    ),
    (
        13,
        lambda info: [
            setattr(info.resources[0].allocation_info, "role", "a"),
            setattr(info.executor.resources[0].allocation_info, "role", "b"),
        ],
        "allocated to one role",
    ),
]


def check(info, rule, words):
    defect = task_defect(info)
    assert defect is not None
    assert defect.rule == rule
    assert words in defect.text
    spec = read_task(info)
    assert spec.defect == defect, "a defect travels with the task instead of raising"
    assert spec.task_id == info.task_id.value


@pytest.mark.parametrize(("rule", "change", "words"), WRONG)
def test_wrong_task(rule, change, words):
    check(task(change), rule, words)


@pytest.mark.parametrize(("rule", "change", "words"), WRONG_EXECUTOR)
def test_wrong_executor(rule, change, words):
    check(task(change, executor="e"), rule, words)


def test_gpus_are_whole():
    info = task()
    gpus = info.resources.add(name="gpus", type=mesos.Value.SCALAR)
    gpus.scalar.value = 0.5
    check(info, 7, "gpus")


@pytest.mark.parametrize(
    "change",
    [
        None,
        edit("check", CHECK(type=CHECK.HTTP, http={"port": 1, "path": "/x"})),
        edit("check", CHECK(type=CHECK.COMMAND, command={"command": {"value": "true"}})),
        edit("health_check", HEALTH(http={"port": 1, "scheme": "https"})),
        edit("health_check", HEALTH(command={"value": "true"})),
        variable(value=""),
        variable(type=mesos.Environment.Variable.SECRET, secret=SECRET),
        volume(host_path="/h"),
        limit("mem", float("inf")),
        limit("cpus", 1.0),
        edit("kill_policy.grace_period.nanoseconds", 0),
        also("ports:[1-3]"),
        disk(persistence=PERSISTENT, volume=VOLUME),
        reserved(),
        lambda info: also("cpus(ads):1")(info) or limit("cpus", 2.0)(info),
    ],
)
def test_right_task(change):
    assert task_defect(task(change)) is None


def test_marks_may_be_on_some_resources_only():
    info = task(executor="e")
    info.resources[0].allocation_info.role = "dev"
    spec = read_task(info)
    assert spec.defect is None
    assert spec.role == "dev"


def test_of_several_broken_rules_the_first_counts():
    info = task(clear("resources"))
    info.ClearField("command")
    assert task_defect(info).rule == 7


def test_launch_may_not_carry_an_operation_id():
    call = scheduler.Call(type=scheduler.Call.ACCEPT)
    operation = call.accept.operations.add(type=mesos.Offer.Operation.LAUNCH)
    operation.id.value = "op"
    operation.launch.task_infos.append(task())
    (launch,) = read_call(call).operations
    assert [t.task_id for t in launch.tasks] == [TaskId("t")]
    assert "operation.id" in launch.tasks[0].defect.text
