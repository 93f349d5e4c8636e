"""Operations on resources on the wire: what frameworks and agents send, what the master sends.

The master writes the operation anew from what it understood, in the post-refinement form and
marked with the role of the offers, as a real master does. Source: messages.md §4.1, §5.1 and the
recorded exchanges.
"""

from collections.abc import Iterable

from cluster.errors import InvalidInput
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.operations import (
    Change,
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationId,
    OperationReport,
    OperationState,
    OperationStatus,
    OperationUpdate,
    OperationUuid,
    Reserve,
    Shrink,
    Unreserve,
    asked_for,
    change_name,
)
from cluster.model.resources import EMPTY, DiskSourceType, Resources
from cluster.model.values import milli_from_float, milli_to_float
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import resources_from_pb, resources_to_pb

_OPERATION = mesos.Offer.Operation
_STATES = {int(state): state for state in OperationState}
_SOURCE = mesos.Resource.DiskInfo.Source
_TARGETS = {
    _SOURCE.PATH: DiskSourceType.PATH,
    _SOURCE.MOUNT: DiskSourceType.MOUNT,
    _SOURCE.BLOCK: DiskSourceType.BLOCK,
    _SOURCE.RAW: DiskSourceType.RAW,
}
_PB_TARGETS = {target: number for number, target in _TARGETS.items()}

CHANGE_PARTS: dict[int, str] = {
    _OPERATION.RESERVE: "reserve",
    _OPERATION.UNRESERVE: "unreserve",
    _OPERATION.CREATE: "create",
    _OPERATION.DESTROY: "destroy",
    _OPERATION.GROW_VOLUME: "grow_volume",
    _OPERATION.SHRINK_VOLUME: "shrink_volume",
    _OPERATION.CREATE_DISK: "create_disk",
    _OPERATION.DESTROY_DISK: "destroy_disk",
}
"""Types of operations that change resources, and the field that each uses."""


# Reading ------------------------------------------------------------------------------------------


def read_change(operation: mesos.Offer.Operation) -> tuple[Change, str | None]:
    """A change, in unallocated form, and the role that its resources are marked with, if any.

    Raises:
        InvalidInput: names the field and the rule it breaks.
    """
    part = CHANGE_PARTS[operation.type]
    if not operation.HasField(part):  # type: ignore[arg-type] # one of the literals
        name = _OPERATION.Type.Name(operation.type)
        raise InvalidInput(part, f"must be set in an operation of type {name}")
    change = _read_part(operation)
    marks = sorted({entry.allocation_role or "" for entry in asked_for(change)} - {""})
    if len(marks) > 1:
        raise InvalidInput(part, f"all must be allocated to one role, not to {', '.join(marks)}")
    return _unallocated(change), marks[0] if marks else None


def _read_part(operation: mesos.Offer.Operation) -> Change:
    match operation.type:
        case _OPERATION.RESERVE:
            return Reserve(
                _resources(operation.reserve.resources, "reserve.resources"),
                _resources(operation.reserve.source, "reserve.source"),
            )
        case _OPERATION.UNRESERVE:
            return Unreserve(_resources(operation.unreserve.resources, "unreserve.resources"))
        case _OPERATION.CREATE:
            return Create(_resources(operation.create.volumes, "create.volumes"))
        case _OPERATION.DESTROY:
            return Destroy(_resources(operation.destroy.volumes, "destroy.volumes"))
        case _OPERATION.GROW_VOLUME:
            return Grow(
                _resources([operation.grow_volume.volume], "grow_volume.volume"),
                _resources([operation.grow_volume.addition], "grow_volume.addition"),
            )
        case _OPERATION.SHRINK_VOLUME:
            return Shrink(
                _resources([operation.shrink_volume.volume], "shrink_volume.volume"),
                milli_from_float(
                    operation.shrink_volume.subtract.value,
                    field="shrink_volume.subtract",
                    allow_negative=True,
                ),
            )
        case _OPERATION.CREATE_DISK:
            part = operation.create_disk
            if part.target_type not in _TARGETS:
                raise InvalidInput("create_disk.target_type", "must be MOUNT or BLOCK")
            return CreateDisk(
                _resources([part.source], "create_disk.source"),
                _TARGETS[part.target_type],
                part.target_profile if part.HasField("target_profile") else None,
            )
        case _:
            source = [operation.destroy_disk.source]
            return DestroyDisk(_resources(source, "destroy_disk.source"))


def _resources(messages: Iterable[mesos.Resource], field: str) -> Resources:
    return resources_from_pb(messages, field=field)


def _unallocated(change: Change) -> Change:
    """The same without the marks of allocation."""
    match change:
        case Reserve(resources, source):
            return Reserve(resources.unallocated(), source.unallocated())
        case Unreserve(resources):
            return Unreserve(resources.unallocated())
        case Create(volumes):
            return Create(volumes.unallocated())
        case Destroy(volumes):
            return Destroy(volumes.unallocated())
        case Grow(volume, addition):
            return Grow(volume.unallocated(), addition.unallocated())
        case Shrink(volume, subtract_milli):
            return Shrink(volume.unallocated(), subtract_milli)
        case CreateDisk(source, target, profile):
            return CreateDisk(source.unallocated(), target, profile)
        case DestroyDisk(source):
            return DestroyDisk(source.unallocated())


def operation_id(operation: mesos.Offer.Operation) -> OperationId | None:
    """None when the framework gave none; an empty one is still one, and against the rules."""
    return OperationId(operation.id.value) if operation.HasField("id") else None


def read_status(message: mesos.OperationStatus) -> OperationStatus:
    """Convert a status.

    Raises:
        InvalidInput: resources that cannot be read, or a state that no version knows.
    """
    state = _STATES.get(message.state)
    if state is None:
        raise InvalidInput("status.state", f"{message.state} is no state of an operation")
    return OperationStatus(
        state,
        operation_id=(
            OperationId(message.operation_id.value) if message.HasField("operation_id") else None
        ),
        message=message.message,
        converted=_resources(message.converted_resources, "status.converted_resources"),
        uuid=message.uuid.value if message.HasField("uuid") else None,
        agent_id=AgentId(message.slave_id.value) if message.HasField("slave_id") else None,
        provider_id=(
            message.resource_provider_id.value if message.HasField("resource_provider_id") else None
        ),
    )


def read_update(message: internal.UpdateOperationStatusMessage) -> OperationUpdate:
    """Convert an agent's news of an operation.

    Raises:
        InvalidInput: names the field and the rule it breaks.
    """
    latest = read_status(message.latest_status) if message.HasField("latest_status") else None
    return OperationUpdate(
        agent_id=AgentId(message.slave_id.value),
        uuid=OperationUuid(message.operation_uuid.value),
        status=read_status(message.status),
        framework_id=_framework_id(message),
        latest=latest,
    )


def read_report(message: mesos.Operation) -> OperationReport:
    """Convert an operation that an agent says it has.

    Raises:
        InvalidInput: names the field and the rule it breaks.
    """
    if message.info.type not in CHANGE_PARTS:
        raise InvalidInput("operations.info.type", "must change resources")
    change, role = read_change(message.info)
    return OperationReport(
        uuid=OperationUuid(message.uuid.value),
        change=change,
        status=read_status(message.latest_status),
        framework_id=_framework_id(message),
        operation_id=operation_id(message.info),
        role=role,
    )


def _framework_id(
    message: internal.UpdateOperationStatusMessage | mesos.Operation,
) -> FrameworkId | None:
    return FrameworkId(message.framework_id.value) if message.framework_id.value else None


# Writing ------------------------------------------------------------------------------------------


def write_change(
    change: Change, role: str | None = None, name: OperationId | None = None
) -> mesos.Offer.Operation:
    """The operation as a message; ``role`` is what its resources are marked as allocated to."""
    operation = _OPERATION(type=_OPERATION.Type.Value(change_name(change)))
    if name is not None:
        operation.id.value = name
    match change:
        case Reserve(resources, source):
            operation.reserve.resources.extend(_messages(resources, role))
            operation.reserve.source.extend(_messages(source, role))
        case Unreserve(resources):
            operation.unreserve.resources.extend(_messages(resources, role))
        case Create(volumes):
            operation.create.volumes.extend(_messages(volumes, role))
        case Destroy(volumes):
            operation.destroy.volumes.extend(_messages(volumes, role))
        case Grow(volume, addition):
            operation.grow_volume.volume.CopyFrom(_message(volume, role))
            operation.grow_volume.addition.CopyFrom(_message(addition, role))
        case Shrink(volume, subtract_milli):
            operation.shrink_volume.volume.CopyFrom(_message(volume, role))
            operation.shrink_volume.subtract.value = milli_to_float(subtract_milli)
        case CreateDisk(source, target, profile):
            operation.create_disk.source.CopyFrom(_message(source, role))
            operation.create_disk.target_type = _PB_TARGETS[target]
            if profile is not None:
                operation.create_disk.target_profile = profile
        case DestroyDisk(source):
            operation.destroy_disk.source.CopyFrom(_message(source, role))
    return operation


def _messages(resources: Resources, role: str | None) -> list[mesos.Resource]:
    marked = resources if role is None else resources.allocated_to(role)
    return resources_to_pb(marked, refined=True)


def _message(resources: Resources, role: str | None) -> mesos.Resource:
    [message] = _messages(resources, role)
    return message


def apply_operation(
    framework_id: FrameworkId | None,
    uuid: OperationUuid,
    operation: mesos.Offer.Operation,
    resource_version: bytes | None,
    provider_id: str | None,
) -> internal.ApplyOperationMessage:
    message = internal.ApplyOperationMessage(operation_info=operation)
    if framework_id is not None:
        message.framework_id.value = framework_id
    message.operation_uuid.value = uuid
    message.resource_version_uuid.uuid.value = resource_version or b""
    if provider_id is not None:
        message.resource_version_uuid.resource_provider_id.value = provider_id
    return message


def checkpoint_resources(resources: Resources) -> internal.CheckpointResourcesMessage:
    return internal.CheckpointResourcesMessage(resources=resources_to_pb(resources, refined=True))


def acknowledge(
    operation: OperationUuid, status_uuid: bytes, provider_id: str | None
) -> internal.AcknowledgeOperationStatusMessage:
    message = internal.AcknowledgeOperationStatusMessage()
    message.status_uuid.value = status_uuid
    message.operation_uuid.value = operation
    if provider_id is not None:
        message.resource_provider_id.value = provider_id
    return message


def reconcile_operations(
    framework_id: FrameworkId | None,
    operations: Iterable[tuple[OperationUuid | None, OperationId | None, str | None]],
) -> internal.ReconcileOperationsMessage:
    """Each operation: its uuid, its id, its resource provider; None where there is none."""
    message = internal.ReconcileOperationsMessage()
    if framework_id is not None:
        message.framework_id.value = framework_id
    for uuid, name, provider_id in operations:
        entry = message.operations.add()
        if uuid is not None:
            entry.operation_uuid.value = uuid
        if name is not None:
            entry.operation_id.value = name
        if provider_id is not None:
            entry.resource_provider_id.value = provider_id
    return message


def write_status(status: OperationStatus) -> mesos.OperationStatus:
    """A status as a scheduler sees it."""
    message = mesos.OperationStatus(state=mesos.OperationState.ValueType(status.state))
    if status.operation_id is not None:
        message.operation_id.value = status.operation_id
    if status.message:
        message.message = status.message
    if status.converted != EMPTY:
        message.converted_resources.extend(resources_to_pb(status.converted, refined=True))
    if status.uuid is not None:
        message.uuid.value = status.uuid
    if status.agent_id is not None:
        message.slave_id.value = status.agent_id
    if status.provider_id is not None:
        message.resource_provider_id.value = status.provider_id
    return message


__all__ = [
    "CHANGE_PARTS",
    "acknowledge",
    "apply_operation",
    "checkpoint_resources",
    "operation_id",
    "read_change",
    "read_report",
    "read_status",
    "read_update",
    "reconcile_operations",
    "write_change",
    "write_status",
]
