"""What reaches the master, message by message, as values of the model.

Nothing is checked here beyond what conversion needs; ``cluster.validation`` does that first.
Source: messages.md §4.1, §5.1.
"""

from collections.abc import Iterable
from functools import lru_cache

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from cluster.errors import InvalidInput
from cluster.model.agents import (
    AgentCapability,
    AgentNews,
    AgentSpec,
    ProviderReport,
)
from cluster.model.constraints import AgentFacts
from cluster.model.conversions import with_checkpointed
from cluster.model.domains import FaultDomain
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import EMPTY, Resources
from cluster.model.roles import ANY_ROLE
from cluster.model.task_states import TaskState
from cluster.model.tasks import (
    Defect,
    ExecutorSpec,
    StatusUpdate,
    TaskReport,
    TaskSpec,
    TaskStatusNote,
)
from cluster.wire.operations import read_report
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import attributes_from_pb, resources_from_pb

RESOURCES_CACHED_MAX = 4096
"""How many different bundles of reports are remembered as read: agents repeat one another's."""

_AGENT_CAPABILITIES = {int(capability): capability for capability in AgentCapability}
_TASK_STATES = {int(state): state for state in TaskState}  # a look-up costs less than a call


# Tasks and executors ------------------------------------------------------------------------------


def task_spec(info: mesos.TaskInfo, defect: Defect | None) -> TaskSpec:
    """Convert a task that a framework wants to launch.

    Args:
        info: the framework's description; not changed.
        defect: what validation found; then only the ids are converted.

    Raises:
        InvalidInput: resources that validation would have refused.
    """
    resources, executor = EMPTY, None
    if defect is None:
        resources = resources_from_pb(info.resources)
        executor = executor_spec(info.executor) if info.HasField("executor") else None
    return TaskSpec(
        task_id=TaskId(info.task_id.value),
        agent_id=AgentId(info.slave_id.value),
        resources=resources.unallocated(),
        role=_allocation_role(resources) or (executor.role if executor else None),
        executor=executor,
        has_limits=bool(info.limits),
        defect=defect,
        info=info,
        shares_cgroups=_shares_cgroups(info),
    )


def _shares_cgroups(info: mesos.TaskInfo) -> bool:
    """Whether a task is limited together with its executor, as most are."""
    linux = info.container.linux_info
    return not linux.HasField("share_cgroups") or linux.share_cgroups


def executor_spec(info: mesos.ExecutorInfo, *, field: str = "executor.resources") -> ExecutorSpec:
    """Convert a custom executor; ``field`` is how errors call its resources.

    Raises:
        InvalidInput: resources that validation would have refused.
    """
    resources = resources_from_pb(info.resources, field=field)
    canonical = mesos.ExecutorInfo()
    canonical.CopyFrom(info)
    # A framework may leave these out, the master fills them in, an agent reports them back.
    canonical.ClearField("framework_id")
    for resource in canonical.resources:
        resource.ClearField("allocation_info")
        to_post_refinement(resource)
    return ExecutorSpec(
        executor_id=ExecutorId(info.executor_id.value),
        framework_id=FrameworkId(info.framework_id.value) if info.framework_id.value else None,
        resources=resources.unallocated(),
        role=_allocation_role(resources),
        payload=canonical,
    )


def _allocation_role(resources: Resources) -> str | None:
    """The first role that a list of resources is marked with."""
    return next((e.allocation_role for e in resources if e.allocation_role is not None), None)


def to_post_refinement(resource: mesos.Resource) -> None:
    """Rewrite one resource in place with the reservation stack (messages.md §7)."""
    if not resource.reservations and resource.role != ANY_ROLE:
        level = resource.reservations.add()
        if resource.HasField("reservation"):
            level.CopyFrom(resource.reservation)
            level.type = mesos.Resource.ReservationInfo.DYNAMIC
        else:
            level.type = mesos.Resource.ReservationInfo.STATIC
        level.role = resource.role
    resource.ClearField("role")
    resource.ClearField("reservation")


def allocate_resources(
    resources: RepeatedCompositeFieldContainer[mesos.Resource], role: str
) -> None:
    """Rewrite resources in place to the post-refinement form, allocated to ``role``."""
    for resource in resources:
        to_post_refinement(resource)
        resource.allocation_info.role = role


def task_report(task: mesos.Task, framework_roles: dict[str, str]) -> TaskReport:
    """Convert a task that an agent says it has.

    Args:
        task: the agent's record.
        framework_roles: framework id -> role, for agents that do not mark allocated resources.

    Raises:
        InvalidInput: resources that validation would have refused.
    """
    task_id, framework_id = task.task_id.value, task.framework_id.value
    executor_id = task.executor_id.value
    role, resources = _role_and_resources(
        resources_from_pb(task.resources, field=f"tasks: task {task_id}")
    )
    return TaskReport(
        task_id=TaskId(task_id),
        framework_id=FrameworkId(framework_id),
        executor_id=ExecutorId(executor_id) if executor_id else None,
        state=_TASK_STATES[task.state],
        role=role or framework_roles.get(framework_id, ANY_ROLE),
        resources=resources,
        forwarded_state=(
            _TASK_STATES[task.status_update_state] if task.HasField("status_update_state") else None
        ),
        forwarded_uuid=task.status_update_uuid if task.HasField("status_update_uuid") else None,
        statuses=tuple([status_note(status) for status in task.statuses]),
        payload=task,
    )


@lru_cache(maxsize=RESOURCES_CACHED_MAX)
def _role_and_resources(marked: Resources) -> tuple[str | None, Resources]:
    """The role that resources are marked with, and the resources without marks."""
    return _allocation_role(marked), marked.unallocated()


def status_note(status: mesos.TaskStatus) -> TaskStatusNote:
    """What is remembered of a status; the framework's own data is not."""
    if not status.HasField("data"):
        return TaskStatusNote(_TASK_STATES[status.state], status)
    remembered = mesos.TaskStatus()
    remembered.CopyFrom(status)
    remembered.ClearField("data")
    return TaskStatusNote(_TASK_STATES[status.state], remembered)


def status_update(message: internal.StatusUpdateMessage) -> StatusUpdate:
    """Convert an agent's update; the message itself is made ready to be passed on.

    ``status.uuid`` is set equal to ``update.uuid`` (master.md §7).
    """
    update = message.update
    if update.uuid:
        update.status.uuid = update.uuid
    else:
        update.status.ClearField("uuid")
    executor_id = update.executor_id.value
    return StatusUpdate(
        framework_id=FrameworkId(update.framework_id.value),
        agent_id=AgentId(update.slave_id.value),
        task_id=TaskId(update.status.task_id.value),
        executor_id=ExecutorId(executor_id) if executor_id else None,
        state=_TASK_STATES[update.status.state],
        latest_state=_TASK_STATES[update.latest_state] if update.HasField("latest_state") else None,
        uuid=update.uuid or None,
        note=status_note(update.status),
        payload=message,
        why=(
            (update.status.source, update.status.reason)
            if update.status.HasField("reason")
            else None
        ),
    )


# Agents -------------------------------------------------------------------------------------------


def agent_spec(
    message: internal.RegisterSlaveMessage | internal.ReregisterSlaveMessage, ip: str
) -> AgentSpec:
    """Convert an agent's description of itself; ``ip`` is where the message came from.

    Raises:
        InvalidInput: resources that validation would have refused.
    """
    version = message.resource_version_uuid
    return AgentSpec(
        hostname=message.slave.hostname,
        ip=ip,
        checkpoint=message.slave.checkpoint,
        total=agent_total(message),
        version=message.version,
        capabilities=_agent_capabilities(message.agent_capabilities),
        resource_version=version.value if message.HasField("resource_version_uuid") else None,
        payload=message.slave,
        facts=AgentFacts(
            hostname=message.slave.hostname,
            attributes=attributes_from_pb(message.slave.attributes, field="slave.attributes"),
            domain=_fault_domain(message.slave),
        ),
    )


def _fault_domain(info: mesos.SlaveInfo) -> FaultDomain | None:
    if not info.HasField("domain") or not info.domain.HasField("fault_domain"):
        return None
    domain = info.domain.fault_domain
    return FaultDomain(domain.region.name, domain.zone.name)


def agent_total(
    message: internal.RegisterSlaveMessage | internal.ReregisterSlaveMessage,
) -> Resources:
    """What the agent was started with, with the reservations and volumes that it has kept.

    Raises:
        InvalidInput: resources that validation would have refused.
    """
    declared = resources_from_pb(message.slave.resources, field="slave.resources")
    kept = resources_from_pb(message.checkpointed_resources, field="checkpointed_resources")
    return with_checkpointed(declared.unallocated(), kept.unallocated())


def agent_update(message: internal.UpdateSlaveMessage) -> AgentNews:
    """Convert what an agent says has changed.

    Raises:
        InvalidInput: names the field and the rule it breaks.
    """
    providers = message.resource_providers.providers
    operations = [*message.operations.operations]
    seen: set[str] = set()
    for provider in providers:
        provider_id = provider.info.id.value
        if provider_id in seen:  # else all that it has would be counted twice
            raise InvalidInput("resource_providers", f"{provider_id} is listed twice")
        seen.add(provider_id)
        operations += provider.operations.operations
    has_version = message.HasField("resource_version_uuid")
    return AgentNews(
        resource_version=message.resource_version_uuid.value if has_version else None,
        oversubscribed=_oversubscribed(message),
        operations=(
            tuple(read_report(operation) for operation in operations)
            if message.HasField("operations")
            else None
        ),
        providers=(
            tuple(_provider(provider) for provider in providers)
            if message.HasField("resource_providers")
            else None
        ),
    )


def _oversubscribed(message: internal.UpdateSlaveMessage) -> Resources | None:
    """Older agents send nothing but this; newer ones say whether they mean it."""
    means_it = not message.HasField("update_oversubscribed_resources") and not (
        message.HasField("operations") or message.HasField("resource_providers")
    )
    if not (means_it or message.update_oversubscribed_resources):
        return None
    field = "oversubscribed_resources"
    resources = resources_from_pb(message.oversubscribed_resources, field=field).unallocated()
    if any(not entry.identity.is_revocable for entry in resources):
        raise InvalidInput(field, "must be revocable, every one")
    return resources


def _provider(message: internal.UpdateSlaveMessage.ResourceProvider) -> ProviderReport:
    provider_id = message.info.id.value
    if not provider_id:
        raise InvalidInput("resource_providers.info.id", "must be set")
    field = f"resource_providers.{provider_id}.total_resources"
    resources = resources_from_pb(message.total_resources, field=field).unallocated()
    if any(entry.identity.provider_id != provider_id for entry in resources):
        raise InvalidInput(field, f"must all have the provider_id {provider_id}")
    return ProviderReport(provider_id, resources, message.resource_version_uuid.value)


def _agent_capabilities(
    capabilities: Iterable[mesos.SlaveInfo.Capability],
) -> frozenset[AgentCapability]:
    return frozenset(
        _AGENT_CAPABILITIES[capability.type]
        for capability in capabilities
        if capability.type in _AGENT_CAPABILITIES
    )


__all__ = [
    "agent_spec",
    "agent_total",
    "agent_update",
    "allocate_resources",
    "executor_spec",
    "status_note",
    "status_update",
    "task_report",
    "task_spec",
    "to_post_refinement",
]
