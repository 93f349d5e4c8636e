"""The drivers' edge of the protocol: messages built for them, and what users hand in read safely.

Users may give protocol messages of this package, of any other generated copy of the same protocol
(they are serialised and parsed again), or plain dictionaries in the JSON form, with the v0 names
or the v1 names (``agent_id``) that PyMesos writes. Everything is copied, so that the caller may
go on changing its objects.

Which fields are set follows the recorded messages of the 1.11 scheduler driver and the 1.12
executor driver. Source: drivers.md §4, §5; messages.md §2, §6.1.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from cluster.errors import InvalidInput
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

M = TypeVar("M", bound=Message)

_V0_NAMES = {"agent_id": "slave_id", "agent_info": "slave_info"}
_WITH_AGENT_IN_VALUE = ("source", "reason")  # SOURCE_AGENT, REASON_AGENT_REMOVED, ...
_NESTING_MAX = 100  # as deep as the binary parser goes


# ---- what users hand in -------------------------------------------------------------------------


def message_from(message_type: type[M], value: object, field: str) -> M:
    """Copy ``value`` into a message of ``message_type``.

    Args:
        value: a message of the same protobuf name, a mapping in JSON form, or for the id types
            (``OfferID`` ...) also the id as a string.
        field: what the error calls the value.

    Raises:
        InvalidInput: not such a value, an unknown or wrongly typed field, or a required field is
            missing; the error names it.
    """
    message = message_type()
    match value:
        case message_type():
            message.CopyFrom(value)
        case Message() if value.DESCRIPTOR.full_name == message.DESCRIPTOR.full_name:
            _parse_foreign(message, value, field)
        case Mapping():
            _parse_mapping(message, value, field)
        case str() if list(message.DESCRIPTOR.fields_by_name) == ["value"]:
            _parse_mapping(message, {"value": value}, field)
        case _:
            wanted = f"a {message.DESCRIPTOR.full_name} message or a mapping"
            raise InvalidInput(field, f"must be {wanted}, not {type(value).__name__}")
    if not message.IsInitialized():
        missing = message.FindInitializationErrors()[0]  # type: ignore[attr-defined] # not in stubs
        raise InvalidInput(f"{field}.{missing}", "is required")
    return message


def framework_from(value: object, *, user: str, hostname: str) -> mesos.FrameworkInfo:
    """As `message_from`; an empty user or host name is filled in (drivers.md §4)."""
    framework = message_from(mesos.FrameworkInfo, _with_user(value), "framework")
    if not framework.user:
        framework.user = user
    if not framework.hostname:
        framework.hostname = hostname
    return framework


def _with_user(value: object) -> object:
    """The field ``user`` is required in the message, but not of the caller."""
    match value:
        case Mapping():
            return {"user": "", **value}
        case mesos.FrameworkInfo() if not value.HasField("user"):
            filled = mesos.FrameworkInfo()
            filled.CopyFrom(value)
            filled.user = ""
            return filled
        case _:
            return value


def framework_roles(framework: mesos.FrameworkInfo) -> tuple[str, ...]:
    """The roles a framework subscribes to: the list with MULTI_ROLE, else the single one."""
    if has_capability(framework, mesos.FrameworkInfo.Capability.MULTI_ROLE):
        return tuple(framework.roles)
    return (framework.role,)


def has_capability(
    framework: mesos.FrameworkInfo, capability: mesos.FrameworkInfo.Capability.Type.ValueType
) -> bool:
    return any(each.type == capability for each in framework.capabilities)


def messages_from(message_type: type[M], values: object, field: str) -> list[M]:
    """As `message_from`, for one value or an iterable of values."""
    if isinstance(values, Message | Mapping | str):
        return [message_from(message_type, values, field)]
    if not isinstance(values, Iterable):
        raise InvalidInput(field, f"must be a list, not {type(values).__name__}")
    return [
        message_from(message_type, value, f"{field}[{index}]") for index, value in enumerate(values)
    ]


def role_names(roles: object, field: str) -> tuple[str, ...]:
    """Check a list of role names.

    Raises:
        InvalidInput: a single string (a likely slip), or an entry that is not a string.
    """
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise InvalidInput(field, "must be a list of role names")
    names = tuple(roles)
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidInput(f"{field}[{index}]", f"must be text, not {type(name).__name__}")
    return names


def _parse_foreign(message: Message, value: Message, field: str) -> None:
    try:
        message.MergeFromString(value.SerializePartialToString())
    except DecodeError as error:
        raise InvalidInput(field, f"cannot be read: {error}") from error


def _parse_mapping(message: Message, value: Mapping[object, object], field: str) -> None:
    from google.protobuf import json_format  # only programs that use dictionaries pay for it

    try:
        json_format.ParseDict(_mapping_with_v0_names(value, field, 0), message)
    except json_format.ParseError as error:
        reason = str(error).partition("\n")[0]  # a list of all fields follows
        raise InvalidInput(field, f"cannot be read: {reason}") from error


def _mapping_with_v0_names(
    value: Mapping[object, object], field: str, depth: int
) -> dict[str, object]:
    """A copy in which v1 field names and enum values are written the v0 way."""
    if depth > _NESTING_MAX:
        raise InvalidInput(field, f"must not be nested deeper than {_NESTING_MAX}")
    copied: dict[str, object] = {}
    for key, item in value.items():
        name = str(key)
        copied[_V0_NAMES.get(name, name)] = _v0_enum(name, _with_v0_names(item, field, depth + 1))
    return copied


def _with_v0_names(value: object, field: str, depth: int) -> object:
    if isinstance(value, Mapping):
        return _mapping_with_v0_names(value, field, depth)
    if isinstance(value, list | tuple):
        return [_with_v0_names(item, field, depth + 1) for item in value]
    return value


def _v0_enum(key: str, value: object) -> object:
    if key in _WITH_AGENT_IN_VALUE and isinstance(value, str):
        return value.replace("_AGENT", "_SLAVE")
    return value


# ---- scheduler calls ----------------------------------------------------------------------------
# None of them has a framework id: the driver adds it when it sends (`with_framework_id`).


def with_framework_id(call: scheduler.Call, framework_id: str) -> scheduler.Call:
    """The same call, with the id wherever it belongs."""
    call.framework_id.value = framework_id
    if call.HasField("update_framework"):
        call.update_framework.framework_info.id.value = framework_id
    return call


def subscribe_call(
    framework: mesos.FrameworkInfo,
    framework_id: str | None,
    force: bool | None,
    suppressed_roles: Iterable[str],
    constraints: scheduler.OfferConstraints | None = None,
) -> scheduler.Call:
    call = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
    subscribe = call.subscribe
    subscribe.framework_info.CopyFrom(framework)
    subscribe.suppressed_roles.extend(suppressed_roles)
    # Always there, even empty (recorded).
    subscribe.offer_constraints.CopyFrom(constraints or scheduler.OfferConstraints())
    if framework_id is not None:
        call.framework_id.value = framework_id
        subscribe.framework_info.id.value = framework_id
    if force is not None:
        subscribe.force = force
    return call


def update_framework_call(
    framework: mesos.FrameworkInfo,
    suppressed_roles: Iterable[str],
    constraints: scheduler.OfferConstraints | None = None,
) -> scheduler.Call:
    call = scheduler.Call(type=scheduler.Call.UPDATE_FRAMEWORK)
    call.update_framework.framework_info.CopyFrom(framework)
    call.update_framework.suppressed_roles.extend(suppressed_roles)
    call.update_framework.offer_constraints.CopyFrom(constraints or scheduler.OfferConstraints())
    return call


def accept_call(
    offer_ids: Iterable[mesos.OfferID],
    operations: Iterable[mesos.Offer.Operation],
    filters: mesos.Filters,
) -> scheduler.Call:
    accept = scheduler.Call.Accept(offer_ids=offer_ids, operations=operations, filters=filters)
    return scheduler.Call(type=scheduler.Call.ACCEPT, accept=accept)


def launch_operation(tasks: Iterable[mesos.TaskInfo]) -> mesos.Offer.Operation:
    launch = mesos.Offer.Operation.Launch(task_infos=tasks)
    return mesos.Offer.Operation(type=mesos.Offer.Operation.LAUNCH, launch=launch)


def tasks_of(operations: Iterable[mesos.Offer.Operation]) -> list[mesos.TaskInfo]:
    """Every task that these operations launch, alone or in a group."""
    tasks: list[mesos.TaskInfo] = []
    for operation in operations:
        tasks += operation.launch.task_infos
        tasks += operation.launch_group.task_group.tasks
    return tasks


def decline_call(offer_ids: Iterable[mesos.OfferID], filters: mesos.Filters) -> scheduler.Call:
    decline = scheduler.Call.Decline(offer_ids=offer_ids, filters=filters)
    return scheduler.Call(type=scheduler.Call.DECLINE, decline=decline)


def accept_inverse_call(
    offer_ids: Iterable[mesos.OfferID], filters: mesos.Filters
) -> scheduler.Call:
    accept = scheduler.Call.AcceptInverseOffers(inverse_offer_ids=offer_ids, filters=filters)
    return scheduler.Call(type=scheduler.Call.ACCEPT_INVERSE_OFFERS, accept_inverse_offers=accept)


def decline_inverse_call(
    offer_ids: Iterable[mesos.OfferID], filters: mesos.Filters
) -> scheduler.Call:
    decline = scheduler.Call.DeclineInverseOffers(inverse_offer_ids=offer_ids, filters=filters)
    return scheduler.Call(
        type=scheduler.Call.DECLINE_INVERSE_OFFERS, decline_inverse_offers=decline
    )


def kill_call(task_id: mesos.TaskID) -> scheduler.Call:
    return scheduler.Call(type=scheduler.Call.KILL, kill=scheduler.Call.Kill(task_id=task_id))


def revive_call(roles: Iterable[str]) -> scheduler.Call:
    """``roles`` empty: all of them (the call then has no body, as recorded)."""
    call = scheduler.Call(type=scheduler.Call.REVIVE)
    if names := list(roles):
        call.revive.roles.extend(names)
    return call


def suppress_call(roles: Iterable[str]) -> scheduler.Call:
    """``roles`` empty: all of them (the call then has no body, as recorded)."""
    call = scheduler.Call(type=scheduler.Call.SUPPRESS)
    if names := list(roles):
        call.suppress.roles.extend(names)
    return call


def reconcile_call(statuses: Iterable[mesos.TaskStatus]) -> scheduler.Call:
    """Of each status only the task id and, when set, the agent id are used."""
    call = scheduler.Call(type=scheduler.Call.RECONCILE)
    call.reconcile.SetInParent()
    for status in statuses:
        task = call.reconcile.tasks.add(task_id=status.task_id)
        if status.HasField("slave_id"):
            task.slave_id.CopyFrom(status.slave_id)
    return call


def request_call(requests: Iterable[mesos.Request]) -> scheduler.Call:
    request = scheduler.Call.Request(requests=requests)
    return scheduler.Call(type=scheduler.Call.REQUEST, request=request)


def acknowledge_call(agent_id: str, task_id: str, uuid: bytes) -> scheduler.Call:
    call = scheduler.Call(type=scheduler.Call.ACKNOWLEDGE)
    call.acknowledge.slave_id.value = agent_id
    call.acknowledge.task_id.value = task_id
    call.acknowledge.uuid = uuid
    return call


def message_call(executor_id: str, agent_id: str, data: bytes) -> scheduler.Call:
    call = scheduler.Call(type=scheduler.Call.MESSAGE)
    call.message.executor_id.value = executor_id
    call.message.slave_id.value = agent_id
    call.message.data = data
    return call


def teardown_call() -> scheduler.Call:
    return scheduler.Call(type=scheduler.Call.TEARDOWN)


def status_of(
    message: internal.StatusUpdateMessage, *, has_receipt_address: bool
) -> mesos.TaskStatus:
    """The status a scheduler sees: with ``uuid`` exactly when an acknowledgement is wanted.

    Args:
        has_receipt_address: the ``pid`` of the message is a usable address. Updates that the
            master made itself have none and want no acknowledgement.
    """
    status = mesos.TaskStatus()
    status.CopyFrom(message.update.status)
    if has_receipt_address and message.update.uuid:
        status.uuid = message.update.uuid
    else:
        status.ClearField("uuid")
    return status


def not_launched_status(task: mesos.TaskInfo, state: int, now_s: float) -> mesos.TaskStatus:
    """What the driver itself says of a task it could not send (drivers.md §4)."""
    return mesos.TaskStatus(
        task_id=task.task_id,
        slave_id=task.slave_id,
        state=mesos.TaskState.ValueType(state),
        message="Master disconnected",
        source=mesos.TaskStatus.SOURCE_MASTER,
        reason=mesos.TaskStatus.REASON_MASTER_DISCONNECTED,
        timestamp=now_s,
    )


# ---- executor messages --------------------------------------------------------------------------


def completed_update(
    status: mesos.TaskStatus,
    *,
    framework_id: str,
    executor_id: str,
    agent_id: str,
    uuid: bytes,
    now_s: float,
) -> internal.StatusUpdate:
    """Wrap a status for the agent; its uuid, time and agent id are set here.

    ``executor_id`` and ``source`` inside the status stay as given: the agent completes them.
    """
    update = internal.StatusUpdate(timestamp=now_s, uuid=uuid)
    update.framework_id.value = framework_id
    update.executor_id.value = executor_id
    update.slave_id.value = agent_id
    update.status.CopyFrom(status)
    update.status.slave_id.value = agent_id
    update.status.timestamp = now_s
    update.status.uuid = uuid
    return update


def register_executor(framework_id: str, executor_id: str) -> internal.RegisterExecutorMessage:
    return internal.RegisterExecutorMessage(
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=mesos.ExecutorID(value=executor_id),
    )


def reregister_executor(
    framework_id: str,
    executor_id: str,
    tasks: Iterable[mesos.TaskInfo],
    updates: Iterable[internal.StatusUpdate],
) -> internal.ReregisterExecutorMessage:
    return internal.ReregisterExecutorMessage(
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=mesos.ExecutorID(value=executor_id),
        tasks=tasks,
        updates=updates,
    )


def kill_grace_s(policy: mesos.KillPolicy) -> float | None:
    """The grace period of a kill policy in seconds, None when it says nothing."""
    if not policy.HasField("grace_period"):
        return None
    return max(0.0, policy.grace_period.nanoseconds / 1e9)


__all__ = [
    "accept_call",
    "accept_inverse_call",
    "acknowledge_call",
    "completed_update",
    "decline_call",
    "decline_inverse_call",
    "framework_from",
    "framework_roles",
    "has_capability",
    "kill_call",
    "kill_grace_s",
    "launch_operation",
    "message_call",
    "message_from",
    "messages_from",
    "not_launched_status",
    "reconcile_call",
    "register_executor",
    "request_call",
    "reregister_executor",
    "revive_call",
    "role_names",
    "status_of",
    "subscribe_call",
    "suppress_call",
    "tasks_of",
    "teardown_call",
    "update_framework_call",
    "with_framework_id",
]
