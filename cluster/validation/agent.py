"""Rules for agents that (re-)register. Source: master.md §3.1."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from cluster.errors import InvalidInput
from cluster.model.agents import AgentReport, AgentSpec
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId
from cluster.model.resources import Resources, check_types_agree
from cluster.model.task_states import TaskState
from cluster.model.tasks import ExecutorSpec, TaskReport
from cluster.validation.framework import offer_filters_error, roles_error
from cluster.validation.identifiers import id_error
from cluster.wire.framework_info import framework_spec
from cluster.wire.master_intake import agent_spec, executor_spec, task_report
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

AGENT_VERSION_MIN = (1, 0, 0)
FRAMEWORKS_CACHED_MAX = 1024
TOTALS_CACHED_MAX = 4096
"""How many different parts of reports are remembered as read: agents repeat one another's."""
_NOT_OF_AGENTS = (TaskState.UNKNOWN, TaskState.UNREACHABLE)
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)


def read_registration(message: internal.RegisterSlaveMessage, ip: str) -> AgentSpec | str:
    """The description of a new agent, or the first rule that it breaks.

    Args:
        message: as received.
        ip: where it came from.
    """
    if message.slave.HasField("id"):
        return "slave.id: must not be set in a first registration"
    return _read_spec(message, ip)


def read_reregistration(message: internal.ReregisterSlaveMessage, ip: str) -> AgentReport | str:
    """A returning agent's report, or the first rule that it breaks; ``ip`` as above.

    Each part is checked as it is read: after a failover, reports are most of a master's work.
    """
    agent_id = message.slave.id.value
    if (error := id_error(agent_id, "slave.id")) is not None:
        return error
    spec = _read_spec(message, ip)
    if isinstance(spec, str):
        return spec
    frameworks = _read_frameworks(message.frameworks)
    if isinstance(frameworks, str):
        return frameworks
    executors = _read_executors(message.executor_infos, frameworks)
    if isinstance(executors, str):
        return executors
    tasks = _read_tasks(message.tasks, agent_id, frameworks, executors)
    if isinstance(tasks, str):
        return tasks
    return AgentReport(
        agent_id=AgentId(agent_id),
        spec=spec,
        frameworks=tuple(frameworks.values()),
        tasks=tasks,
        executors=tuple(executors.values()),
    )


def version_error(version: str) -> str | None:
    match = _VERSION.fullmatch(version)
    if match is None:
        return f"version: must be written major.minor.patch, not {version!r}"
    if tuple(int(part) for part in match.groups()) < AGENT_VERSION_MIN:
        least = ".".join(map(str, AGENT_VERSION_MIN))
        return f"version: must be at least {least}, not {version}"
    return None


def _read_spec(
    message: internal.RegisterSlaveMessage | internal.ReregisterSlaveMessage, ip: str
) -> AgentSpec | str:
    try:
        spec = agent_spec(message, ip)
    except InvalidInput as error:
        return str(error)
    if (error_or_none := _total_error(spec.total)) is not None:
        return error_or_none
    if message.checkpointed_resources and not spec.checkpoint:
        return "checkpointed_resources: need an agent with checkpoint=true"
    if message.slave.HasField("domain") and not _is_complete(message.slave.domain):
        return "slave.domain: must name fault_domain.region and fault_domain.zone"
    return version_error(spec.version) or spec


@lru_cache(maxsize=TOTALS_CACHED_MAX)
def _total_error(total: Resources) -> str | None:
    try:
        check_types_agree(total)
    except InvalidInput as error:
        return str(error)
    for entry in total:
        if entry.identity.is_revocable or entry.identity.provider_id is not None:
            return (
                f"slave.resources: {entry.name} must be neither revocable nor of a resource "
                "provider; both are told by updates"
            )
    return None


def _is_complete(domain: mesos.DomainInfo) -> bool:
    return bool(domain.fault_domain.region.name and domain.fault_domain.zone.name)


def _read_frameworks(infos: Iterable[mesos.FrameworkInfo]) -> dict[str, FrameworkSpec] | str:
    """By id, in the agent's order."""
    frameworks: dict[str, FrameworkSpec] = {}
    for info in infos:
        spec = _read_framework(info.SerializeToString())
        if isinstance(spec, str):
            return spec
        framework_id = str(spec.framework_id)
        if framework_id in frameworks:
            return f"frameworks: {framework_id} is listed twice"
        frameworks[framework_id] = spec
    return frameworks


@lru_cache(maxsize=FRAMEWORKS_CACHED_MAX)
def _read_framework(encoded: bytes) -> FrameworkSpec | str:
    """A framework as some agent described it before; all of its agents do so in the same words."""
    info = mesos.FrameworkInfo.FromString(encoded)
    framework_id = info.id.value
    if (error := id_error(framework_id, "frameworks.id")) is not None:
        return error
    if (error := roles_error(info) or offer_filters_error(info)) is not None:
        return f"frameworks: {framework_id}: {error}"
    return framework_spec(info)


_Executors = Mapping[tuple[str, str | None], ExecutorSpec]


def _read_executors(
    infos: Iterable[mesos.ExecutorInfo], frameworks: Mapping[str, FrameworkSpec]
) -> _Executors | str:
    """By the ids of framework and executor, in the agent's order."""
    executors: dict[tuple[str, str | None], ExecutorSpec] = {}
    for info in infos:
        framework_id, executor_id = info.framework_id.value, info.executor_id.value
        if (error := id_error(executor_id, "executor_infos.executor_id")) is not None:
            return error
        if framework_id not in frameworks:
            of = f"framework '{framework_id}' of executor {executor_id}"
            return f"executor_infos: {of} is not listed"
        if (framework_id, executor_id) in executors:
            return f"executor_infos: executor {executor_id} is listed twice"
        try:
            spec = executor_spec(info, field=f"executor {executor_id}.resources")
        except InvalidInput as invalid:
            return str(invalid)
        executors[framework_id, executor_id] = spec
    return executors


def _read_tasks(
    tasks: Iterable[mesos.Task],
    agent_id: str,
    frameworks: Mapping[str, FrameworkSpec],
    executors: _Executors,
) -> tuple[TaskReport, ...] | str:
    roles = {name: spec.roles[0] for name, spec in frameworks.items() if spec.roles}
    reports: dict[tuple[str, str], TaskReport] = {}
    for task in tasks:
        try:
            report = task_report(task, roles)
        except InvalidInput as invalid:
            return str(invalid)
        error = id_error(report.task_id, "tasks.task_id")
        if error is None and task.slave_id.value != agent_id:
            error = f"tasks: task {report.task_id} is of agent '{task.slave_id.value}'"
        if error is None:
            error = _task_error(report, frameworks, executors)
        if error is not None:
            return error
        key = (report.framework_id, report.task_id)
        if key in reports:
            return f"tasks: task {report.task_id} is listed twice"
        reports[key] = report
    return tuple(reports.values())


def _task_error(
    report: TaskReport, frameworks: Mapping[str, FrameworkSpec], executors: _Executors
) -> str | None:
    where = f"tasks: task {report.task_id}"
    framework_id, executor_id = report.framework_id, report.executor_id
    if framework_id not in frameworks:
        return f"{where}: framework '{framework_id}' is not listed"
    if executor_id is not None and (framework_id, executor_id) not in executors:
        return f"{where}: executor '{executor_id}' is not listed"
    for state in (report.state, report.forwarded_state):
        if state in _NOT_OF_AGENTS:
            return f"{where}: TASK_{state.name} is no state that an agent can report"
    return None


__all__ = ["AGENT_VERSION_MIN", "read_registration", "read_reregistration", "version_error"]
