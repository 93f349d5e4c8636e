"""The agent's ``/state``: who it is, what it offers, what runs on it.

Keys, their order and their types follow the recorded answer (``http/agent-5051/state.json``).
Source: http-api.md §7.
"""

from collections.abc import Iterable, Mapping

from google.protobuf import json_format
from google.protobuf.message import Message

from cluster import VERSION
from cluster.core.agent.executor_state import Drain, Executor, Framework, Task
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState
from cluster.model.values import Items, Ranges, ValueType, milli_to_float
from cluster.wire.agent import AgentDescription
from cluster.wire.agent_operations import portable_resources
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import resources_to_pb

Json = dict[str, object]

# Scalars that are shown even when there are none.
_USUAL_SCALARS = ("disk", "mem", "gpus", "cpus")


def version_json() -> Json:
    """Answer ``/version``. There is no build: its fields are there because clients expect them."""
    return {"build_date": "", "build_time": 0.0, "build_user": "", "version": VERSION}


def agent_state_json(
    agent: AgentDescription,
    *,
    pid: str,
    start_time_s: float,
    flags: Mapping[str, str],
    frameworks: Iterable[Framework],
    completed: Iterable[Framework],
    directories: Mapping[str, str],
    total: Resources,
    drain: Drain | None,
) -> Json:
    """Answer ``/state``.

    Args:
        start_time_s: when the agent started, seconds since 1970.
        total: what the agent has, reservations and volumes in their place.
        drain: how it is being drained.
        flags: as given or by default, text form.
        directories: container id → sandbox.
    """
    state: Json = version_json()
    state |= {
        "start_time": start_time_s,
        "id": agent.agent_id or "",
        "pid": pid,
        "hostname": agent.hostname,
        "capabilities": [
            mesos.SlaveInfo.Capability.Type.Name(capability) for capability in agent.capabilities
        ],
        "resources": resources_json(total),
    }
    state |= _reservations_json(total, _allocated(frameworks))
    state |= {
        "attributes": {
            attribute.name: _value_json(attribute.value) for attribute in agent.attributes
        },
    }
    state |= {
        "flags": dict(flags),
        "frameworks": [_framework_json(agent, one, directories) for one in frameworks],
        "completed_frameworks": [_framework_json(agent, one, directories) for one in completed],
    }
    if drain is not None and isinstance(drain.payload, mesos.DrainConfig):
        state["drain_config"] = _drain_json(drain.payload)
        state["estimated_drain_start_time_seconds"] = int(drain.started_s)
    return state


def _reservations_json(total: Resources, allocated: Resources) -> Json:
    """Show what is reserved for whom and what for nobody, in short and in full."""
    return {
        "reserved_resources": {
            role: resources_json(total.reserved_to(role)) for role in total.reserved_roles()
        },
        "unreserved_resources": resources_json(total.unreserved()),
        "reserved_resources_full": {
            role: resources_full_json(total.reserved_to(role)) for role in total.reserved_roles()
        },
        "unreserved_resources_full": resources_full_json(total.unreserved()),
        "reserved_resources_allocated": {
            role: resources_json(allocated.reserved_to(role)) for role in allocated.reserved_roles()
        },
        "unreserved_resources_allocated": resources_json(allocated.unreserved()),
        "resource_providers": [],
    }


def _allocated(frameworks: Iterable[Framework]) -> Resources:
    total = EMPTY
    for framework in frameworks:
        for executor in framework.executors.values():
            total = total + executor.allocated().unallocated()
    return total


def resources_full_json(resources: Resources) -> list[Json]:
    """Show every resource with its reservations: in both spellings, as far as there are two."""
    shown: list[Json] = []
    for old, new in zip(
        portable_resources(resources), resources_to_pb(resources, refined=True), strict=True
    ):
        one = _message_json(old)
        if old.HasField("ranges"):
            # The general form writes such numbers as texts.
            pairs = [{"begin": pair.begin, "end": pair.end} for pair in old.ranges.range]
            one["ranges"] = {"range": pairs}
        if new.reservations:
            one["reservations"] = [_message_json(level) for level in new.reservations]
        shown.append(one)
    return shown


def _drain_json(config: mesos.DrainConfig) -> Json:
    shown: Json = {}
    if config.HasField("max_grace_period"):
        shown["max_grace_period"] = {"nanoseconds": config.max_grace_period.nanoseconds}
    return shown | {"mark_gone": config.mark_gone}


def _message_json(message: Message) -> Json:
    shown: Json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return shown


def resources_json(resources: Resources) -> Json:
    """Show scalars as numbers, ranges and sets as text; the usual scalars always."""
    shown: Json = dict.fromkeys(_USUAL_SCALARS, 0.0)
    for name, milli in resources.quantities().items():
        shown[name] = milli_to_float(milli)
    for name in dict.fromkeys(one.name for one in resources if one.type is ValueType.RANGES):
        shown[name] = str(resources.ranges(name))
    for one in resources:
        if one.type is ValueType.SET:
            shown[one.name] = str(one.value)
    return shown


def _value_json(value: int | Ranges | Items | str) -> object:
    return milli_to_float(value) if isinstance(value, int) else str(value)


def _framework_json(
    agent: AgentDescription, framework: Framework, directories: Mapping[str, str]
) -> Json:
    spec = framework.spec
    shown: Json = {
        "id": framework.framework_id,
        "name": spec.name,
        "user": spec.user,
        "failover_timeout": spec.failover_timeout_s,
        "checkpoint": spec.checkpoint,
    }
    if isinstance(spec.payload, mesos.FrameworkInfo):
        shown["hostname"] = spec.payload.hostname
    if spec.principal is not None:
        shown["principal"] = spec.principal
    if spec.is_multi_role:
        shown["roles"] = list(spec.roles)
    else:
        shown["role"] = spec.roles[0]
    shown["executors"] = [
        _executor_json(agent, one, directories) for one in framework.executors.values()
    ]
    shown["completed_executors"] = [
        _executor_json(agent, one, directories) for one in framework.completed
    ]
    return shown


def _executor_json(
    agent: AgentDescription, executor: Executor, directories: Mapping[str, str]
) -> Json:
    return {
        "id": executor.executor_id,
        "name": executor.description.name,
        "source": executor.description.source,
        "container": executor.container_id,
        "directory": directories.get(executor.container_id, ""),
        "resources": resources_json(executor.allocated()),
        "role": _role_of(executor),
        "tasks": [
            _task_json(agent, executor, one)
            for one in executor.tasks.values()
            if not one.state.is_terminal
        ],
        "queued_tasks": [_task_json(agent, executor, one) for one in executor.queued.values()],
        "completed_tasks": [
            _task_json(agent, executor, one)
            for one in (*executor.completed, *executor.tasks.values())
            if one.state.is_terminal
        ],
    }


def _role_of(executor: Executor) -> str:
    roles = (one.allocation_role for one in executor.description.resources)
    return next((role for role in roles if role is not None), "*")


def _task_json(agent: AgentDescription, executor: Executor, task: Task) -> Json:
    description = task.description
    return {
        "id": description.task_id,
        "name": description.name,
        "framework_id": executor.framework_id,
        "executor_id": "" if executor.description.is_generated else executor.executor_id,
        "slave_id": agent.agent_id or "",
        "state": _state_name(task.state),
        "resources": resources_json(description.resources),
        "role": next((r.allocation_role for r in description.resources if r.allocation_role), "*"),
        "statuses": [_status_json(payload) for _, payload in task.statuses],
    }


def _status_json(payload: object) -> Json:
    if not isinstance(payload, mesos.TaskStatus):
        return {}
    shown: Json = {
        "state": mesos.TaskState.Name(payload.state),
        "timestamp": payload.timestamp,
    }
    if payload.HasField("container_status"):
        shown["container_status"] = json_format.MessageToDict(
            payload.container_status, preserving_proto_field_name=True
        )
    if payload.HasField("healthy"):
        shown["healthy"] = payload.healthy
    return shown


def _state_name(state: TaskState) -> str:
    return mesos.TaskState.Name(mesos.TaskState.ValueType(state))


__all__ = ["Json", "agent_state_json", "resources_full_json", "resources_json", "version_json"]
