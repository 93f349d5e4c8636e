"""Rules for tasks that need nothing but the description. Source: master.md §6.3.

Rules 2, 3, the stateful half of 10 and 12, and 14 need the master's books: see
``cluster.core.master.launches``.
"""

import math
from collections.abc import Callable

from cluster.errors import InvalidInput
from cluster.model.tasks import Defect
from cluster.validation.command import check_error, command_error, health_check_error
from cluster.validation.container import container_error
from cluster.validation.identifiers import id_error
from cluster.validation.resources import allocation_roles, overlap_error, resources_error
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import resources_from_pb

_LIMITED_RESOURCES = ("cpus", "mem")


def task_defect(info: mesos.TaskInfo) -> Defect | None:
    """The first broken rule of a task to be launched, or None."""
    for number, rule in _RULES:
        error = rule(info)
        if error is not None:
            return Defect(number, f"task '{info.task_id.value}': {error}")
    return None


def group_task_defect(info: mesos.TaskInfo, executor: mesos.ExecutorInfo) -> Defect | None:
    """The first rule that a task of a group breaks, or None; ``executor`` is the group's."""
    for number, rule in _GROUP_RULES:
        error = rule(info)
        if error is not None:
            return Defect(number, f"task '{info.task_id.value}': {error}")
    if info.HasField("executor") and info.executor != executor:
        text = "executor: must be unset or the executor of the group"
        return Defect(12, f"task '{info.task_id.value}': {text}")
    return None


def group_executor_defect(group: mesos.Offer.Operation.LaunchGroup) -> Defect | None:
    """The first rule that the executor of a group breaks, or None."""
    if not group.task_group.tasks:
        return Defect(12, "launch_group.task_group.tasks: must not be empty")
    executor = group.executor
    error = (
        _group_executor_type(executor)
        or id_error(executor.executor_id.value, "executor.executor_id")
        or _grace_period(executor)
        or (
            command_error(executor.command, "executor.command")
            if executor.HasField("command")
            else None
        )
        or (container_error(executor.container) if executor.HasField("container") else None)
        or _executor_resources(executor)
        or _group_executor_size(executor)
        or _executor_cgroups(executor)
    )
    for info in group.task_group.tasks:
        error = error or _overlap_error(info, executor)
    return None if error is None else Defect(12, error)


def _id(info: mesos.TaskInfo) -> str | None:
    return id_error(info.task_id.value, "task_id")


def _durations(info: mesos.TaskInfo) -> str | None:
    if info.kill_policy.grace_period.nanoseconds < 0:
        return "kill_policy.grace_period: must not be negative"
    if info.max_completion_time.nanoseconds < 0:
        return "max_completion_time: must not be negative"
    return None


def _check(info: mesos.TaskInfo) -> str | None:
    return check_error(info.check) if info.HasField("check") else None


def _health_check(info: mesos.TaskInfo) -> str | None:
    return health_check_error(info.health_check) if info.HasField("health_check") else None


def _resources(info: mesos.TaskInfo) -> str | None:
    error = resources_error(info.resources, "resources")
    if error is None and not resources_from_pb(info.resources):
        return "resources: must not be empty"
    return error


def _command(info: mesos.TaskInfo) -> str | None:
    return command_error(info.command, "command") if info.HasField("command") else None


def _container(info: mesos.TaskInfo) -> str | None:
    return container_error(info.container) if info.HasField("container") else None


def _limits(info: mesos.TaskInfo) -> str | None:
    requested: dict[str, float] = {}
    for resource in info.resources:
        if resource.type == mesos.Value.SCALAR:
            requested[resource.name] = requested.get(resource.name, 0.0) + resource.scalar.value
    for name in sorted(info.limits):
        limit = info.limits[name].value
        if name not in _LIMITED_RESOURCES:
            return f"limits: only cpus and mem can be limited, not '{name}'"
        if name not in requested:
            return f"limits: {name} is limited but not requested"
        if math.isnan(limit) or limit < requested[name]:
            return f"limits: {name} must be at least the request of {requested[name]:g}"
    return None


def _command_or_executor(info: mesos.TaskInfo) -> str | None:
    if info.HasField("command") == info.HasField("executor"):
        return "must have exactly one of command and executor"
    return None


def _executor(info: mesos.TaskInfo) -> str | None:
    if not info.HasField("executor"):
        return None
    executor = info.executor
    if executor.type not in (mesos.ExecutorInfo.UNKNOWN, mesos.ExecutorInfo.CUSTOM):
        return "executor.type: must be CUSTOM or unset in a LAUNCH"
    if not executor.HasField("command"):
        return "executor.command: must be set"
    return (
        _grace_period(executor)
        or id_error(executor.executor_id.value, "executor.executor_id")
        or command_error(executor.command, "executor.command")
        or (container_error(executor.container) if executor.HasField("container") else None)
        or _executor_resources(executor)
        or _executor_cgroups(executor)
    )


def _grace_period(executor: mesos.ExecutorInfo) -> str | None:
    if executor.shutdown_grace_period.nanoseconds < 0:
        return "executor.shutdown_grace_period: must not be negative"
    return None


def _executor_resources(executor: mesos.ExecutorInfo) -> str | None:
    for resource in executor.resources:
        if resource.HasField("shared"):
            return f"executor.resources: {resource.name} must not be shared"
    return resources_error(executor.resources, "executor.resources")


def _executor_cgroups(executor: mesos.ExecutorInfo) -> str | None:
    linux = executor.container.linux_info
    if linux.HasField("share_cgroups") and linux.share_cgroups:
        return "executor.container.linux_info.share_cgroups: must not be true"
    return None


def _group_executor_type(executor: mesos.ExecutorInfo) -> str | None:
    """A group needs an executor that can run one: the agent's own or one made for groups."""
    if executor.container.type == mesos.ContainerInfo.DOCKER and executor.HasField("container"):
        return "executor.container: must not be a DOCKER container in a LAUNCH_GROUP"
    match executor.type:
        case mesos.ExecutorInfo.DEFAULT:
            if executor.HasField("command"):
                return "executor.command: must not be set for the DEFAULT executor"
            if executor.container.HasField("mesos"):
                return "executor.container.mesos: must not be set for the DEFAULT executor"
            return None
        case mesos.ExecutorInfo.CUSTOM:
            if not executor.HasField("command"):
                return "executor.command: must be set for a CUSTOM executor"
            return None
        case _:
            return "executor.type: must be DEFAULT or CUSTOM in a LAUNCH_GROUP"


def _group_executor_size(executor: mesos.ExecutorInfo) -> str | None:
    """Unlike that of a LAUNCH, a group's executor must ask for enough to start with."""
    asked = resources_from_pb(executor.resources)
    for name, least_milli, text in _GROUP_EXECUTOR_LEAST:
        if asked.scalar_milli(name) < least_milli:
            return f"executor.resources: must have at least {text}"
    return None


_GROUP_EXECUTOR_LEAST = (
    ("cpus", 10, "cpus:0.01"),
    ("mem", 32_000, "mem:32"),
    ("disk", 1, "some disk"),
)


def _group_container(info: mesos.TaskInfo) -> str | None:
    if info.HasField("container") and info.container.type == mesos.ContainerInfo.DOCKER:
        return "container: must not be a DOCKER container in a group"
    return _container(info)


def _group_checks(info: mesos.TaskInfo) -> str | None:
    """The executor makes the checks, from outside a network that is the task's own."""
    if not info.container.network_infos:
        return None
    if info.health_check.type in (mesos.HealthCheck.HTTP, mesos.HealthCheck.TCP):
        return "health_check: must be a COMMAND check when the task has its own network"
    if info.check.type in (mesos.CheckInfo.HTTP, mesos.CheckInfo.TCP):
        return "check: must be a COMMAND check when the task has its own network"
    return None


def _group_limits(info: mesos.TaskInfo) -> str | None:
    if info.limits and not _task_cgroups(info):
        return "limits: need container.linux_info.share_cgroups=false in a group"
    return _limits(info)


def _overlap(info: mesos.TaskInfo) -> str | None:
    return _overlap_error(info, info.executor) if info.HasField("executor") else None


def _overlap_error(info: mesos.TaskInfo, with_executor: mesos.ExecutorInfo) -> str | None:
    """Task and executor live side by side: in one role, and each with its own ports and volumes."""
    try:
        task = resources_from_pb(info.resources)
        executor = resources_from_pb(with_executor.resources, field="executor.resources")
    except InvalidInput as error:
        return str(error)
    if len(allocation_roles(task) | allocation_roles(executor)) > 1:
        return "resources: task and executor must be allocated to one role"
    return overlap_error(task, executor)


def _task_cgroups(info: mesos.TaskInfo) -> str | None:
    linux = info.container.linux_info
    if linux.HasField("share_cgroups") and not linux.share_cgroups:
        return "container.linux_info.share_cgroups: false is for task groups only"
    return None


_RULES: tuple[tuple[int, Callable[[mesos.TaskInfo], str | None]], ...] = (
    (1, _id),
    (4, _durations),
    (5, _check),
    (6, _health_check),
    (7, _resources),
    (8, _command),
    (9, _container),
    (10, _limits),
    (11, _command_or_executor),
    (12, _executor),
    (13, _overlap),
    (15, _task_cgroups),
)

_GROUP_RULES: tuple[tuple[int, Callable[[mesos.TaskInfo], str | None]], ...] = (
    (1, _id),
    (4, _durations),
    (5, _check),
    (6, _health_check),
    (6, _group_checks),
    (7, _resources),
    (8, _command),
    (9, _group_container),
    (10, _group_limits),
)

__all__ = ["group_executor_defect", "group_task_defect", "task_defect"]
