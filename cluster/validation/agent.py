"""Rules for agents that (re-)register. Source: master.md §3.1."""

import re
from collections.abc import Iterable

from cluster.errors import InvalidInput
from cluster.model.resources import check_types_agree
from cluster.validation.framework import offer_filters_error, roles_error
from cluster.validation.identifiers import id_error
from cluster.wire.master_intake import agent_total
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import attributes_from_pb, resources_from_pb

AGENT_VERSION_MIN = (1, 0, 0)
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)


def registration_error(message: internal.RegisterSlaveMessage) -> str | None:
    """The first rule that a first registration breaks, or None."""
    if message.slave.HasField("id"):
        return "slave.id: must not be set in a first registration"
    return _common_error(message)


def reregistration_error(message: internal.ReregisterSlaveMessage) -> str | None:
    """The first rule that a returning agent's report breaks, or None."""
    return (
        id_error(message.slave.id.value, "slave.id")
        or _common_error(message)
        or _frameworks_error(message.frameworks)
        or _executors_error(message)
        or _tasks_error(message)
    )


def version_error(version: str) -> str | None:
    match = _VERSION.fullmatch(version)
    if match is None:
        return f"version: must be written major.minor.patch, not {version!r}"
    if tuple(int(part) for part in match.groups()) < AGENT_VERSION_MIN:
        least = ".".join(map(str, AGENT_VERSION_MIN))
        return f"version: must be at least {least}, not {version}"
    return None


def _common_error(
    message: internal.RegisterSlaveMessage | internal.ReregisterSlaveMessage,
) -> str | None:
    try:
        check_types_agree(resources_from_pb(message.slave.resources, field="slave.resources"))
        total = agent_total(message)
        attributes_from_pb(message.slave.attributes, field="slave.attributes")
    except InvalidInput as error:
        return str(error)
    for entry in total:
        if entry.identity.is_revocable or entry.identity.provider_id is not None:
            return (
                f"slave.resources: {entry.name} must be neither revocable nor of a resource "
                "provider; both are told by updates"
            )
    if message.checkpointed_resources and not message.slave.checkpoint:
        return "checkpointed_resources: need an agent with checkpoint=true"
    if message.slave.HasField("domain") and not _is_complete(message.slave.domain):
        return "slave.domain: must name fault_domain.region and fault_domain.zone"
    return version_error(message.version)


def _is_complete(domain: mesos.DomainInfo) -> bool:
    return bool(domain.fault_domain.region.name and domain.fault_domain.zone.name)


def _frameworks_error(frameworks: Iterable[mesos.FrameworkInfo]) -> str | None:
    seen: set[str] = set()
    for info in frameworks:
        framework_id = info.id.value
        if (error := id_error(framework_id, "frameworks.id")) is not None:
            return error
        if framework_id in seen:
            return f"frameworks: {framework_id} is listed twice"
        if (error := roles_error(info) or offer_filters_error(info)) is not None:
            return f"frameworks: {framework_id}: {error}"
        seen.add(framework_id)
    return None


def _executors_error(message: internal.ReregisterSlaveMessage) -> str | None:
    frameworks = {info.id.value for info in message.frameworks}
    seen: set[tuple[str, str]] = set()
    for executor in message.executor_infos:
        key = (executor.framework_id.value, executor.executor_id.value)
        if (error := id_error(key[1], "executor_infos.executor_id")) is not None:
            return error
        if key[0] not in frameworks:
            return f"executor_infos: framework '{key[0]}' of executor {key[1]} is not listed"
        if key in seen:
            return f"executor_infos: executor {key[1]} is listed twice"
        seen.add(key)
        try:
            resources_from_pb(executor.resources, field=f"executor {key[1]}.resources")
        except InvalidInput as error:
            return str(error)
    return None


def _tasks_error(message: internal.ReregisterSlaveMessage) -> str | None:
    frameworks = {info.id.value for info in message.frameworks}
    executors = {(e.framework_id.value, e.executor_id.value) for e in message.executor_infos}
    seen: set[tuple[str, str]] = set()
    for task in message.tasks:
        key = (task.framework_id.value, task.task_id.value)
        error = id_error(key[1], "tasks.task_id") or _task_error(
            task, message.slave.id.value, frameworks, executors
        )
        if error is not None:
            return error
        if key in seen:
            return f"tasks: task {key[1]} is listed twice"
        seen.add(key)
    return None


def _task_error(
    task: mesos.Task,
    agent_id: str,
    frameworks: set[str],
    executors: set[tuple[str, str]],
) -> str | None:
    where = f"tasks: task {task.task_id.value}"
    framework_id, executor_id = task.framework_id.value, task.executor_id.value
    if task.slave_id.value != agent_id:
        return f"{where} is of agent '{task.slave_id.value}'"
    if framework_id not in frameworks:
        return f"{where}: framework '{framework_id}' is not listed"
    if executor_id and (framework_id, executor_id) not in executors:
        return f"{where}: executor '{executor_id}' is not listed"
    for state in (task.state, task.status_update_state):
        if state in (mesos.TASK_UNKNOWN, mesos.TASK_UNREACHABLE):
            return f"{where}: {mesos.TaskState.Name(state)} is no state that an agent can report"
    try:
        resources_from_pb(task.resources, field=where)
    except InvalidInput as error:
        return str(error)
    return None


__all__ = ["AGENT_VERSION_MIN", "registration_error", "reregistration_error", "version_error"]
