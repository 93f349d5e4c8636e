"""The agent's edge of the protocol: its messages built, and what it is sent turned into events.

Which fields are set follows the recorded messages of a real agent (``wire/a-registration``,
``b-executor-crash``, ``g-driver-calls``, ``i-ping-timeout``). Resources go out to the master in the
old spelling (``role``), which every master reads, and to executors in the new one.

Source: messages.md §2.2, §2.3, §4.1; agent.md §1.3, §2, §3, §8.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cluster.errors import InvalidInput
from cluster.model.agent_operations import OperationRecord
from cluster.model.attributes import Attributes
from cluster.model.executors import (
    AgentContents,
    DrainRequested,
    ExecutorDescription,
    ExecutorReported,
    MakeUpdate,
    TaskArrived,
    TaskDescription,
    TaskSnapshot,
    TasksReconciled,
    TaskUnacceptable,
)
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason, UpdateSource
from cluster.model.volumes import persistent_volumes
from cluster.wire.agent_operations import UUID_BYTES, operation_to_pb, portable_resources
from cluster.wire.checked_ids import check_id
from cluster.wire.framework_info import framework_spec
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import attributes_to_pb, resources_from_pb, resources_to_pb

# What the container of a command task takes on top of the task (agent.md §1.3).
GENERATED_EXECUTOR_RESOURCES: Final = Resources.parse("cpus:0.1;mem:32")

# A generated executor needs this much longer than the kill policy of its task allows (recorded).
GENERATED_EXECUTOR_GRACE_MARGIN_S = 2.0

# Commands longer than this are cut in the name of their executor, to so many characters (recorded).
_COMMAND_NAME_CHARACTERS_MAX = 15
_COMMAND_NAME_CHARACTERS_CUT = 12

_NANOSECONDS_PER_S = 1_000_000_000

CAPABILITIES: Final = (
    mesos.SlaveInfo.Capability.MULTI_ROLE,
    mesos.SlaveInfo.Capability.HIERARCHICAL_ROLE,
    mesos.SlaveInfo.Capability.RESERVATION_REFINEMENT,
    mesos.SlaveInfo.Capability.RESOURCE_PROVIDER,
    mesos.SlaveInfo.Capability.RESIZE_VOLUME,
    mesos.SlaveInfo.Capability.AGENT_OPERATION_FEEDBACK,
    mesos.SlaveInfo.Capability.AGENT_DRAINING,
    mesos.SlaveInfo.Capability.TASK_RESOURCE_LIMITS,
)


@dataclass(frozen=True, slots=True)
class AgentDescription:
    """What an agent says of itself; `agent_id` is None before its first registration.

    `resources` are what its operator declared, `checkpointed` the reservations and volumes made of
    a part of them.
    """

    agent_id: AgentId | None
    hostname: str
    port: int
    resources: Resources
    attributes: Attributes
    domain: mesos.DomainInfo | None
    version: str
    resource_version: bytes
    capabilities: tuple["mesos.SlaveInfo.Capability.Type.ValueType", ...] = field(
        default=CAPABILITIES
    )
    checkpointed: Resources = EMPTY


# ---- what comes in ------------------------------------------------------------------------------


def framework_from_pb(info: mesos.FrameworkInfo) -> FrameworkSpec:
    """Read a framework's description as a master sends it.

    Raises:
        InvalidInput: it has no id, or one that cannot name a directory.
    """
    check_id(info.id.value, "framework.id")
    return framework_spec(info)


def launch_from_pb(
    message: internal.RunTaskMessage,
    *,
    resource_version: bytes,
    command_executor: Sequence[str],
    unknown_part: Callable[[Resources], Resources] = lambda wanted: EMPTY,
) -> TaskArrived | TaskUnacceptable:
    """Read the order to run a task.

    Args:
        message: as received from the master.
        resource_version: of this agent; a launch that names another one is out of date.
        command_executor: argv of the program that runs command tasks.
        unknown_part: tells which of some resources the agent does not have.

    Raises:
        InvalidInput: it cannot even be told whose task this is.
    """
    framework = framework_from_pb(message.framework)
    info = message.task
    task_id = TaskId(info.task_id.value)
    executor: ExecutorDescription | None = None
    try:
        check_id(info.task_id.value, "task.task_id")
        executor = _executor_of(info, framework, command_executor)
        resources = resources_from_pb(info.resources, field="task.resources")
        _check_volume_ids(resources, "task.resources")
        kill_grace_s = _grace_s(info.kill_policy, "task.kill_policy.grace_period")
    except InvalidInput as error:
        if executor is None and info.HasField("executor"):
            executor = _booked_executor(info.executor)
        return TaskUnacceptable(framework, executor, task_id, str(error))
    return TaskArrived(
        framework,
        message.pid,
        executor,
        TaskDescription(task_id, info.name, resources, info, kill_grace_s),
        message.launch_executor if message.HasField("launch_executor") else None,
        _is_current(message.resource_version_uuids, resource_version),
        unknown_part(executor.resources + resources),
    )


def refused_group_from_pb(message: internal.RunTaskGroupMessage) -> list[TaskUnacceptable]:
    """Refuse a task group, task by task: only HTTP executors can be given groups.

    Raises:
        InvalidInput: it cannot even be told whose tasks these are.
    """
    framework = framework_from_pb(message.framework)
    text = "task groups need an executor that uses the HTTP interface, which is not served here"
    executor = _booked_executor(message.executor)
    return [
        TaskUnacceptable(framework, executor, TaskId(task.task_id.value), text, is_of_group=True)
        for task in message.task_group.tasks
    ]


def report_from_pb(message: internal.StatusUpdateMessage, agent_id: AgentId) -> ExecutorReported:
    """Read an executor's status update.

    Raises:
        InvalidInput: no usable uuid, or it is meant for another agent.
    """
    update = message.update
    if len(update.uuid) != UUID_BYTES:
        raise InvalidInput("update.uuid", f"must have {UUID_BYTES} bytes, not {len(update.uuid)}")
    if update.slave_id.value != agent_id:
        rule = f"must be {agent_id}, not {update.slave_id.value!r}"
        raise InvalidInput("update.slave_id", rule)
    has_executor = update.HasField("executor_id")
    return ExecutorReported(
        FrameworkId(update.framework_id.value),
        ExecutorId(update.executor_id.value) if has_executor else None,
        TaskId(update.status.task_id.value),
        TaskState(update.status.state),
        message.pid,
        update,
    )


def reconciliation_from_pb(message: internal.ReconcileTasksMessage) -> TasksReconciled:
    """Read which tasks of a framework the master believes to run here."""
    is_aware: bool | None = None
    if message.HasField("framework"):
        is_aware = any(
            capability.type == mesos.FrameworkInfo.Capability.PARTITION_AWARE
            for capability in message.framework.capabilities
        )
    return TasksReconciled(
        FrameworkId(message.framework_id.value),
        tuple(TaskId(status.task_id.value) for status in message.statuses),
        is_aware,
    )


def _is_current(versions: Iterable[internal.ResourceVersionUUID], own: bytes) -> bool:
    """Whether a launch names the agent's own version; old masters name none."""
    named = [
        version.uuid.value for version in versions if not version.HasField("resource_provider_id")
    ]
    return all(version == own for version in named)


def _executor_of(
    info: mesos.TaskInfo, framework: FrameworkSpec, command_executor: Sequence[str]
) -> ExecutorDescription:
    """Describe the executor of a task: its own, or one generated for its command."""
    if info.HasField("executor") and info.HasField("command"):
        raise InvalidInput("task", "must not have both a command and an executor")
    if info.HasField("executor"):
        return _custom_executor(info.executor)
    if info.HasField("command"):
        return _describe(generated_executor(info, framework, command_executor), is_generated=True)
    raise InvalidInput("task", "must have a command or an executor")


def _custom_executor(info: mesos.ExecutorInfo) -> ExecutorDescription:
    check_id(info.executor_id.value, "executor.executor_id")
    if info.type == mesos.ExecutorInfo.DEFAULT:
        raise InvalidInput("executor.type", "DEFAULT needs the HTTP interface, not served here")
    if not info.command.value:
        raise InvalidInput("executor.command.value", "must not be empty")
    return _describe(info, is_generated=False)


def _booked_executor(info: mesos.ExecutorInfo) -> ExecutorDescription | None:
    """Describe an executor that cannot be started here; None when it has no usable description.

    The master has booked it with its task and must hear that it is not here.
    """
    try:
        check_id(info.executor_id.value, "executor.executor_id")
        return _describe(info, is_generated=False)
    except InvalidInput:
        return None


def drain_from_pb(config: mesos.DrainConfig) -> DrainRequested:
    """Read the order to drain this agent.

    Raises:
        InvalidInput: the grace period is negative.
    """
    max_grace_s: float | None = None
    if config.HasField("max_grace_period"):
        max_grace_s = config.max_grace_period.nanoseconds / _NANOSECONDS_PER_S
        if max_grace_s < 0:
            raise InvalidInput("config.max_grace_period", "must not be negative")
    return DrainRequested(max_grace_s, config.mark_gone, config)


def _check_volume_ids(resources: Resources, field: str) -> None:
    """Persistence ids become names of directories."""
    for volume in persistent_volumes(resources):
        check_id(volume.volume_id, f"{field}: disk.persistence.id")


def _grace_s(policy: mesos.KillPolicy, field: str) -> float | None:
    if not policy.HasField("grace_period"):
        return None
    grace_s = policy.grace_period.nanoseconds / _NANOSECONDS_PER_S
    if grace_s < 0:
        raise InvalidInput(field, "must not be negative")
    return grace_s


def _describe(info: mesos.ExecutorInfo, *, is_generated: bool) -> ExecutorDescription:
    grace_s: float | None = None
    if info.HasField("shutdown_grace_period"):
        grace_s = info.shutdown_grace_period.nanoseconds / _NANOSECONDS_PER_S
        if grace_s < 0:
            raise InvalidInput("executor.shutdown_grace_period", "must not be negative")
    resources = resources_from_pb(info.resources, field="executor.resources")
    _check_volume_ids(resources, "executor.resources")
    return ExecutorDescription(
        ExecutorId(info.executor_id.value),
        info.name,
        info.source,
        is_generated,
        resources,
        grace_s,
        info,
    )


def generated_executor(
    task: mesos.TaskInfo, framework: FrameworkSpec, command_executor: Sequence[str]
) -> mesos.ExecutorInfo:
    """Make the executor that runs the command of one task.

    It is named after the task, takes its own small resources from the agent's, and runs as the
    task's user, who may differ from the framework's.
    """
    info = mesos.ExecutorInfo()
    info.executor_id.value = task.task_id.value
    resources = GENERATED_EXECUTOR_RESOURCES
    if (role := allocation_role(task)) is not None:
        resources = resources.allocated_to(role)
    info.resources.extend(resources_to_pb(resources, refined=True))
    info.command.value = command_executor[0]
    info.command.shell = False
    info.command.arguments.extend(command_executor)
    info.command.uris.extend(task.command.uris)
    if task.command.HasField("user"):
        info.command.user = task.command.user
    if task.HasField("container"):
        info.container.CopyFrom(task.container)
    info.framework_id.value = str(framework.framework_id)
    info.name = f"Command Executor (Task: {task.task_id.value}) (Command: {_shown(task.command)})"
    info.source = task.task_id.value
    if task.kill_policy.HasField("grace_period"):
        margin_ns = int(GENERATED_EXECUTOR_GRACE_MARGIN_S * _NANOSECONDS_PER_S)
        grace_ns = task.kill_policy.grace_period.nanoseconds
        info.shutdown_grace_period.nanoseconds = grace_ns + margin_ns
    return info


def allocation_role(task: mesos.TaskInfo) -> str | None:
    """Return the role that the task's resources were allocated to, None when nobody said."""
    for resource in task.resources:
        if resource.allocation_info.HasField("role"):
            return resource.allocation_info.role
    return None


def _shown(command: mesos.CommandInfo) -> str:
    """Write a command as it is shown in the name of its executor."""
    if command.shell:
        return f"sh -c '{_cut(command.value)}'"
    return f"[{_cut(', '.join([command.value, *command.arguments]))}]"


def _cut(text: str) -> str:
    if len(text) <= _COMMAND_NAME_CHARACTERS_MAX:
        return text
    return text[:_COMMAND_NAME_CHARACTERS_CUT] + "..."


# ---- what goes out to the master ----------------------------------------------------------------


def agent_info(agent: AgentDescription, *, refined: bool) -> mesos.SlaveInfo:
    """Write the agent's description; `refined` chooses the spelling of its resources."""
    info = mesos.SlaveInfo(hostname=agent.hostname, port=agent.port, checkpoint=True)
    info.resources.extend(
        resources_to_pb(agent.resources, refined=True)
        if refined
        else portable_resources(agent.resources)
    )
    info.attributes.extend(attributes_to_pb(agent.attributes))
    if agent.agent_id is not None:
        info.id.value = agent.agent_id
    if agent.domain is not None:
        info.domain.CopyFrom(agent.domain)
    return info


def register_message(agent: AgentDescription) -> internal.RegisterSlaveMessage:
    message = internal.RegisterSlaveMessage(
        slave=agent_info(agent, refined=False), version=agent.version
    )
    message.checkpointed_resources.extend(portable_resources(agent.checkpointed))
    for capability in agent.capabilities:
        message.agent_capabilities.add(type=capability)
    message.resource_version_uuid.value = agent.resource_version
    return message


def reregister_message(
    agent: AgentDescription, contents: AgentContents
) -> internal.ReregisterSlaveMessage:
    """Tell a master everything it must know to take this agent back.

    Tasks are listed until their last update is acknowledged; generated executors are not listed.
    """
    message = internal.ReregisterSlaveMessage(
        slave=agent_info(agent, refined=False), version=agent.version
    )
    message.checkpointed_resources.extend(portable_resources(agent.checkpointed))
    for capability in agent.capabilities:
        message.agent_capabilities.add(type=capability)
    message.resource_version_uuid.value = agent.resource_version
    message.frameworks.extend(framework_payload(framework) for framework in contents.frameworks)
    message.executor_infos.extend(
        _with_old_spelling(executor_info(executor)) for executor in contents.executors
    )
    message.tasks.extend(task_record(agent, task) for task in contents.tasks)
    return message


def task_record(agent: AgentDescription, task: TaskSnapshot) -> mesos.Task:
    """Write what the agent knows of a task."""
    info = task_info(task.description)
    record = mesos.Task(name=info.name, task_id=info.task_id, state=_pb_state(task.state))
    record.framework_id.value = task.framework_id
    if task.executor_id is not None:
        record.executor_id.value = task.executor_id
    record.slave_id.value = str(agent.agent_id)
    record.resources.extend(portable_resources(task.description.resources))
    record.statuses.extend(s for s in task.statuses if isinstance(s, mesos.TaskStatus))
    if task.forwarded_state is not None and task.forwarded_uuid is not None:
        record.status_update_state = _pb_state(task.forwarded_state)
        record.status_update_uuid = task.forwarded_uuid
    for name in ("labels", "discovery", "container", "health_check", "kill_policy"):
        if info.HasField(name):
            getattr(record, name).CopyFrom(getattr(info, name))
    if (user := _user_of(info)) is not None:
        record.user = user
    for resource, limit in info.limits.items():
        record.limits[resource].CopyFrom(limit)
    return record


def update_agent_message(
    agent: AgentDescription, operations: Iterable[OperationRecord] = ()
) -> internal.UpdateSlaveMessage:
    """Tell the operations the master has not acknowledged; empty parts are recorded to be there."""
    message = internal.UpdateSlaveMessage(update_oversubscribed_resources=False)
    message.slave_id.value = str(agent.agent_id)
    message.operations.SetInParent()
    agent_id = AgentId(message.slave_id.value)
    message.operations.operations.extend(operation_to_pb(agent_id, one) for one in operations)
    message.resource_version_uuid.value = agent.resource_version
    message.resource_providers.SetInParent()
    return message


def unregister_message(agent_id: AgentId) -> internal.UnregisterSlaveMessage:
    return internal.UnregisterSlaveMessage(slave_id=mesos.SlaveID(value=agent_id))


def exited_executor_message(
    agent_id: AgentId, framework_id: FrameworkId, executor_id: ExecutorId, wait_status: int
) -> internal.ExitedExecutorMessage:
    return internal.ExitedExecutorMessage(
        slave_id=mesos.SlaveID(value=agent_id),
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=mesos.ExecutorID(value=executor_id),
        status=wait_status,
    )


# ---- status updates -----------------------------------------------------------------------------


def made_update(
    order: MakeUpdate, *, agent_id: AgentId, uuid: bytes, now_s: float
) -> internal.StatusUpdate:
    """Write an update that the agent makes itself."""
    update = internal.StatusUpdate(timestamp=now_s, uuid=uuid)
    update.framework_id.value = order.framework_id
    update.slave_id.value = agent_id
    status = update.status
    status.task_id.value = order.task_id
    status.state = _pb_state(order.state)
    status.message = order.message
    status.slave_id.value = agent_id
    status.timestamp = now_s
    status.source = mesos.TaskStatus.Source.ValueType(UpdateSource.AGENT)
    status.reason = mesos.TaskStatus.Reason.ValueType(order.reason)
    status.uuid = uuid
    if order.executor_id is not None:
        update.executor_id.value = order.executor_id
        status.executor_id.value = order.executor_id
    return update


def completed_update(
    report: ExecutorReported,
    *,
    agent_id: AgentId,
    executor_id: ExecutorId | None,
    container_id: ContainerId | None,
    os_pid: int | None,
    ip: str,
    state: TaskState,
    reason: UpdateReason | None,
) -> internal.StatusUpdate:
    """Copy an executor's update and fill in what only the agent knows, where it is missing.

    `state` and, unless None, `reason` take the place of what the executor said.
    """
    update = internal.StatusUpdate()
    update.CopyFrom(status_update(report.payload))
    status = update.status
    status.state = _pb_state(state)
    if reason is not None:
        status.reason = mesos.TaskStatus.Reason.ValueType(reason)
    status.uuid = update.uuid
    status.source = mesos.TaskStatus.Source.ValueType(UpdateSource.EXECUTOR)
    status.slave_id.value = agent_id
    if executor_id is not None:
        update.executor_id.value = executor_id
        status.executor_id.value = executor_id
    if container_id is not None:
        _complete_container_status(status.container_status, container_id, os_pid, ip)
    return update


def _complete_container_status(
    status: mesos.ContainerStatus, container_id: ContainerId, os_pid: int | None, ip: str
) -> None:
    if not status.network_infos:
        status.network_infos.add().ip_addresses.add(ip_address=ip)
    if not status.HasField("executor_pid") and os_pid is not None:
        status.executor_pid = os_pid
    if not status.HasField("container_id"):
        status.container_id.value = container_id


def forwarded_update(
    update: internal.StatusUpdate, latest_state: TaskState, agent_pid: str
) -> internal.StatusUpdateMessage:
    """Address an update to the master; `agent_pid` is who wants the acknowledgement."""
    message = internal.StatusUpdateMessage(update=update, pid=agent_pid)
    message.update.latest_state = _pb_state(latest_state)
    return message


# ---- what goes out to executors -----------------------------------------------------------------


def executor_registered_message(
    agent: AgentDescription, framework: FrameworkSpec, executor: ExecutorDescription
) -> internal.ExecutorRegisteredMessage:
    return internal.ExecutorRegisteredMessage(
        executor_info=executor_info(executor),
        framework_id=mesos.FrameworkID(value=str(framework.framework_id)),
        framework_info=framework_payload(framework),
        slave_id=mesos.SlaveID(value=str(agent.agent_id)),
        slave_info=agent_info(agent, refined=True),
    )


def run_task_message(
    framework: FrameworkSpec, framework_address: str, task: TaskDescription
) -> internal.RunTaskMessage:
    return internal.RunTaskMessage(
        framework=framework_payload(framework), pid=framework_address, task=task_info(task)
    )


def kill_task_message(
    framework_id: FrameworkId, task_id: TaskId, policy: object | None, grace_s: float | None = None
) -> internal.KillTaskMessage:
    """Tell an executor to kill a task; `grace_s`, when not None, takes the place of the policy."""
    message = internal.KillTaskMessage(
        framework_id=mesos.FrameworkID(value=framework_id), task_id=mesos.TaskID(value=task_id)
    )
    if grace_s is not None:
        message.kill_policy.grace_period.nanoseconds = int(grace_s * _NANOSECONDS_PER_S)
    elif isinstance(policy, mesos.KillPolicy):
        message.kill_policy.CopyFrom(policy)
    return message


# ---- payloads, which cores pass through as plain objects ----------------------------------------


def task_info(task: TaskDescription) -> mesos.TaskInfo:
    """Return the ``TaskInfo`` that a description carries."""
    if not isinstance(task.payload, mesos.TaskInfo):
        raise TypeError(f"task {task.task_id} carries no TaskInfo")
    return task.payload


def executor_info(executor: ExecutorDescription) -> mesos.ExecutorInfo:
    """Return the ``ExecutorInfo`` that a description carries."""
    if not isinstance(executor.payload, mesos.ExecutorInfo):
        raise TypeError(f"executor {executor.executor_id} carries no ExecutorInfo")
    return executor.payload


def status_update(payload: object) -> internal.StatusUpdate:
    """Return the ``StatusUpdate`` that an update in a stream carries."""
    if not isinstance(payload, internal.StatusUpdate):
        raise TypeError("an update carries no StatusUpdate")
    return payload


def framework_payload(framework: FrameworkSpec) -> mesos.FrameworkInfo:
    """Return the ``FrameworkInfo`` that a framework's description carries."""
    if not isinstance(framework.payload, mesos.FrameworkInfo):
        raise TypeError(f"framework {framework.framework_id} carries no FrameworkInfo")
    return framework.payload


def _with_old_spelling(info: mesos.ExecutorInfo) -> mesos.ExecutorInfo:
    """Copy an executor's description with its resources spelled for any master."""
    copy = mesos.ExecutorInfo()
    copy.CopyFrom(info)
    resources = resources_from_pb(info.resources, field="executor.resources")
    del copy.resources[:]
    copy.resources.extend(portable_resources(resources))
    return copy


def _user_of(info: mesos.TaskInfo) -> str | None:
    command = info.executor.command if info.HasField("executor") else info.command
    return command.user if command.HasField("user") else None


def _pb_state(state: TaskState) -> "mesos.TaskState.ValueType":
    return mesos.TaskState.ValueType(state)


__all__ = [
    "CAPABILITIES",
    "GENERATED_EXECUTOR_RESOURCES",
    "AgentDescription",
    "agent_info",
    "allocation_role",
    "completed_update",
    "drain_from_pb",
    "executor_info",
    "executor_registered_message",
    "exited_executor_message",
    "forwarded_update",
    "framework_from_pb",
    "framework_payload",
    "generated_executor",
    "kill_task_message",
    "launch_from_pb",
    "made_update",
    "reconciliation_from_pb",
    "refused_group_from_pb",
    "register_message",
    "report_from_pb",
    "reregister_message",
    "run_task_message",
    "status_update",
    "task_info",
    "task_record",
    "unregister_message",
    "update_agent_message",
]
