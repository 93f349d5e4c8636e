"""Operations at the agent's edge: what the master asks for, what it is answered, what is kept.

Which fields are set follows the recorded messages and files of a real agent (``j-operator``,
``l-handmade-v0``, the recorded work directory): the status of an operation always has a uuid, and
the resources it made are not repeated in it.

Source: messages.md §2.2, §4.1; agent.md §5, §13.
"""

from collections.abc import Iterable

from cluster.errors import InvalidInput
from cluster.model.agent_operations import (
    CheckpointedState,
    OperationArrived,
    OperationName,
    OperationRecord,
    OperationsReconciled,
)
from cluster.model.conversions import Conversion, own_conversion
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources
from cluster.model.volumes import persistent_volumes
from cluster.wire.checked_ids import check_id
from cluster.wire.operations import CHANGE_PARTS, read_change
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import resource_state_pb2 as resource_state
from cluster.wire.records import records_from_bytes, records_to_bytes
from cluster.wire.resources import resources_from_pb, resources_to_pb

UUID_BYTES = 16


# What comes in ------------------------------------------------------------------------------------


def operation_from_pb(
    message: internal.ApplyOperationMessage, *, resource_version: bytes, in_use: Resources
) -> OperationArrived:
    """Read the order to carry out an operation.

    Args:
        message: as received from the master.
        resource_version: of this agent; an order that names another one is out of date.
        in_use: what tasks and executors hold at the moment.

    Raises:
        InvalidInput: it cannot even be told which operation this is.
    """
    info = message.operation_info
    framework_id = None
    if message.HasField("framework_id"):
        framework_id = FrameworkId(message.framework_id.value)
    name = OperationName(
        _uuid(message.operation_uuid, "operation_uuid"),
        info.id.value if info.HasField("id") else None,
        framework_id,
    )
    conversion: Conversion | None = None
    error = ""
    try:
        _check_provider(message.resource_version_uuid)
        conversion = own_conversion_from_pb(info)
    except InvalidInput as broken:
        error = str(broken)
    version = message.resource_version_uuid.uuid.value
    return OperationArrived(name, conversion, error, version == resource_version, in_use, info)


def own_conversion_from_pb(info: mesos.Offer.Operation) -> Conversion:
    """Work out what an operation does to the agent's own resources.

    Raises:
        InvalidInput: it is none of those operations, or one of its resources breaks a rule.
    """
    if info.type not in CHANGE_PARTS:
        kind = mesos.Offer.Operation.Type.Name(info.type)
        raise InvalidInput("operation_info.type", f"{kind} is not for an agent's own resources")
    change, _ = read_change(info)
    made = own_conversion(change)
    for resources in (made.before, made.after):
        _check_own(resources, CHANGE_PARTS[info.type])
    return made


def reconciled_operations_from_pb(
    message: internal.ReconcileOperationsMessage,
) -> OperationsReconciled:
    """Read which operations the master believes to be known here.

    Raises:
        InvalidInput: one of them has no usable uuid.
    """
    framework_id = None
    if message.HasField("framework_id"):
        framework_id = FrameworkId(message.framework_id.value)
    return OperationsReconciled(
        tuple(
            OperationName(
                _uuid(one.operation_uuid, f"operations[{index}].operation_uuid"),
                one.operation_id.value if one.HasField("operation_id") else None,
                framework_id,
            )
            for index, one in enumerate(message.operations)
        )
    )


def checkpointed_resources_from_pb(messages: Iterable[mesos.Resource], *, field: str) -> Resources:
    """Read reservations and volumes that the agent is to remember.

    Raises:
        InvalidInput: names the entry, the field and the rule it breaks.
    """
    resources = resources_from_pb(messages, field=field).unallocated()
    _check_own(resources, field)
    return resources


def _check_own(resources: Resources, field: str) -> None:
    """Resources that are the agent's own, and volumes whose ids can be names of directories."""
    for volume in persistent_volumes(resources):
        check_id(volume.volume_id, f"{field}: disk.persistence.id")
    for entry in resources:
        if entry.identity.provider_id is not None:
            raise InvalidInput(f"{field}: provider_id ({entry.name})", "must not be set")


def _check_provider(version: internal.ResourceVersionUUID) -> None:
    if version.HasField("resource_provider_id"):
        rule = f"this agent has no resource provider {version.resource_provider_id.value!r}"
        raise InvalidInput("resource_version_uuid.resource_provider_id", rule)


def _uuid(message: mesos.UUID, field: str) -> bytes:
    if len(message.value) != UUID_BYTES:
        raise InvalidInput(field, f"must have {UUID_BYTES} bytes, not {len(message.value)}")
    return message.value


# What goes out ------------------------------------------------------------------------------------


def operation_status_message(
    agent_id: AgentId, record: OperationRecord
) -> internal.UpdateOperationStatusMessage:
    """Tell the master how an operation ended."""
    message = internal.UpdateOperationStatusMessage()
    if record.name.framework_id is not None:
        message.framework_id.value = record.name.framework_id
    message.slave_id.value = agent_id
    message.status.CopyFrom(_status(agent_id, record))
    if record.status_uuid is not None:
        message.latest_status.CopyFrom(message.status)
    message.operation_uuid.value = record.name.uuid
    return message


def operation_to_pb(agent_id: AgentId, record: OperationRecord) -> mesos.Operation:
    """Write down an operation that the master has not acknowledged."""
    operation = mesos.Operation(info=operation_info(record))
    if record.name.framework_id is not None:
        operation.framework_id.value = record.name.framework_id
    operation.slave_id.value = agent_id
    operation.latest_status.CopyFrom(_status(agent_id, record))
    operation.statuses.add().CopyFrom(operation.latest_status)
    operation.uuid.value = record.name.uuid
    return operation


def operation_info(record: OperationRecord) -> mesos.Offer.Operation:
    """Return the ``Offer.Operation`` that a record carries."""
    if not isinstance(record.payload, mesos.Offer.Operation):
        raise TypeError(f"operation {record.name.uuid.hex()} carries no Offer.Operation")
    return record.payload


def _status(agent_id: AgentId, record: OperationRecord) -> mesos.OperationStatus:
    status = mesos.OperationStatus(state=mesos.OperationState.ValueType(record.state))
    if record.name.operation_id is not None:
        status.operation_id.value = record.name.operation_id
    if record.text:
        status.message = record.text
    if record.status_uuid is not None:
        status.uuid.value = record.status_uuid
    status.slave_id.value = agent_id
    return status


# What is kept -------------------------------------------------------------------------------------


def portable_resources(resources: Resources) -> list[mesos.Resource]:
    """Write resources for peers of any age: the old spelling, where a reservation is not refined.

    Who cannot read a stack of reservations cannot have made one.
    """
    return [
        message
        for entry in resources
        for message in resources_to_pb(Resources((entry,)), refined=len(entry.reservations) > 1)
    ]


def old_state_to_bytes(state: CheckpointedState) -> bytes:
    """Write ``resources.info``, which agents of every age read."""
    return records_to_bytes(portable_resources(state.resources))


def state_to_bytes(state: CheckpointedState, agent_id: AgentId) -> bytes:
    """Write ``resources_and_operations.state``."""
    message = resource_state.ResourceState()
    message.operations.extend(operation_to_pb(agent_id, one) for one in state.operations)
    message.resources.extend(resources_to_pb(state.resources, refined=True))
    return records_to_bytes([message])


def resources_from_old_state(data: bytes, *, field: str) -> Resources:
    """Read ``resources.info``; see :func:`records_from_bytes` for errors."""
    records = records_from_bytes(data, mesos.Resource, field=field)
    return checkpointed_resources_from_pb(records, field=field)


def resources_from_state(data: bytes, *, field: str) -> tuple[Resources, int]:
    """Read ``resources_and_operations.state``: the resources, and how many operations it lists.

    Raises:
        InvalidInput: it does not hold one such record, or its resources break a rule.
    """
    records = records_from_bytes(data, resource_state.ResourceState, field=field)
    if len(records) != 1:
        raise InvalidInput(field, f"must hold one record, not {len(records)}")
    resources = checkpointed_resources_from_pb(records[0].resources, field=field)
    return resources, len(records[0].operations)


__all__ = [
    "UUID_BYTES",
    "checkpointed_resources_from_pb",
    "old_state_to_bytes",
    "operation_from_pb",
    "operation_info",
    "operation_status_message",
    "operation_to_pb",
    "own_conversion_from_pb",
    "portable_resources",
    "reconciled_operations_from_pb",
    "resources_from_old_state",
    "resources_from_state",
    "state_to_bytes",
]
