"""Calls of schedulers: checked, then converted to the model.

The legacy messages that some drivers still send become the same values. Source: messages.md §2.1.
"""

from collections.abc import Iterable, Sequence

from cluster.errors import InvalidInput
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperation,
    BrokenOperation,
    Call,
    ChangeResources,
    Decline,
    DeclineInverseOffers,
    Kill,
    Launch,
    LaunchGroup,
    MessageExecutor,
    Operation,
    Reconcile,
    ReconcileOperations,
    RequestResources,
    ResourceRequest,
    Revive,
    ShutdownExecutor,
    Subscribe,
    Suppress,
    Teardown,
    UnsupportedCall,
    UnsupportedOperation,
    UpdateFramework,
    UpdateRefused,
)
from cluster.model.ids import AgentId, ExecutorId, OfferId, TaskId
from cluster.model.operations import OperationId
from cluster.model.tasks import Defect, TaskSpec
from cluster.validation.framework import framework_error
from cluster.validation.offer_constraints import (
    DEFAULT_LIMITS,
    RegexLimits,
    read_offer_constraints,
)
from cluster.validation.task import group_executor_defect, group_task_defect, task_defect
from cluster.wire.framework_info import framework_spec
from cluster.wire.master_intake import executor_spec, task_spec
from cluster.wire.operations import CHANGE_PARTS, operation_id, read_change
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler
from cluster.wire.resources import resources_from_pb

REQUESTS_MAX = 100
"""Requests that one REQUEST may list; the allocator keeps them all."""

_CALL = scheduler.Call
_OPERATION = mesos.Offer.Operation


def read_subscribe(
    subscribe: scheduler.Call.Subscribe,
    call_id: str = "",
    limits: RegexLimits = DEFAULT_LIMITS,
) -> Subscribe | str:
    """The subscription, or the first rule it breaks.

    Args:
        subscribe: the call's own part.
        call_id: the framework id beside it, which must not contradict; empty for none.
        limits: of the patterns in offer constraints.
    """
    info = subscribe.framework_info
    if call_id and call_id != info.id.value:
        return f"framework_id: '{call_id}' differs from framework_info.id '{info.id.value}'"
    error = framework_error(info, subscribe.suppressed_roles, subscribe.offer_constraints)
    if error is not None:
        return error
    constraints = read_offer_constraints(subscribe.offer_constraints, limits)
    if isinstance(constraints, str):
        return constraints
    suppressed = frozenset(subscribe.suppressed_roles)
    return Subscribe(framework_spec(info), subscribe.force, suppressed, constraints)


def read_call(call: scheduler.Call, limits: RegexLimits = DEFAULT_LIMITS) -> Call | str:
    """Any call but SUBSCRIBE, or the first rule that it breaks."""
    field = _PARTS.get(call.type)
    if field is not None and not call.HasField(field):  # type: ignore[arg-type] # a literal of it
        return f"{field}: must be set in a call of type {_CALL.Type.Name(call.type)}"
    match call.type:
        case _CALL.TEARDOWN:
            return Teardown()
        case _CALL.ACCEPT:
            return read_accept(call.accept)
        case _CALL.DECLINE:
            return Decline(offer_ids(call.decline.offer_ids), call.decline.filters.refuse_seconds)
        case _CALL.REVIVE:
            return Revive(tuple(call.revive.roles))
        case _CALL.SUPPRESS:
            return Suppress(tuple(call.suppress.roles))
        case _CALL.KILL:
            return read_kill(call.kill)
        case _CALL.SHUTDOWN:
            return ShutdownExecutor(
                ExecutorId(call.shutdown.executor_id.value), AgentId(call.shutdown.slave_id.value)
            )
        case _CALL.ACKNOWLEDGE:
            return Acknowledge(
                AgentId(call.acknowledge.slave_id.value),
                TaskId(call.acknowledge.task_id.value),
                call.acknowledge.uuid,
            )
        case _CALL.RECONCILE:
            return Reconcile(
                tuple(
                    (TaskId(task.task_id.value), _agent_id(task.slave_id))
                    for task in call.reconcile.tasks
                )
            )
        case _CALL.ACKNOWLEDGE_OPERATION_STATUS:
            part = call.acknowledge_operation_status
            return AcknowledgeOperation(
                OperationId(part.operation_id.value), part.uuid, _agent_id(part.slave_id)
            )
        case _CALL.RECONCILE_OPERATIONS:
            return ReconcileOperations(
                tuple(
                    (OperationId(entry.operation_id.value), _agent_id(entry.slave_id))
                    for entry in call.reconcile_operations.operations
                )
            )
        case _CALL.MESSAGE:
            return MessageExecutor(
                AgentId(call.message.slave_id.value),
                ExecutorId(call.message.executor_id.value),
                call.message.data,
            )
        case _CALL.REQUEST:
            return read_request(call.request.requests)
        case _CALL.ACCEPT_INVERSE_OFFERS:
            inverse = call.accept_inverse_offers
            return AcceptInverseOffers(
                offer_ids(inverse.inverse_offer_ids), inverse.filters.refuse_seconds
            )
        case _CALL.DECLINE_INVERSE_OFFERS:
            unwanted = call.decline_inverse_offers
            return DeclineInverseOffers(
                offer_ids(unwanted.inverse_offer_ids), unwanted.filters.refuse_seconds
            )
        case _CALL.UPDATE_FRAMEWORK:
            return read_update(call.update_framework, limits)
        case _:
            return UnsupportedCall(_CALL.Type.Name(call.type))


_PARTS: dict[int, str] = {
    _CALL.ACCEPT: "accept",
    _CALL.DECLINE: "decline",
    _CALL.KILL: "kill",
    _CALL.SHUTDOWN: "shutdown",
    _CALL.ACKNOWLEDGE: "acknowledge",
    _CALL.RECONCILE: "reconcile",
    _CALL.ACKNOWLEDGE_OPERATION_STATUS: "acknowledge_operation_status",
    _CALL.RECONCILE_OPERATIONS: "reconcile_operations",
    _CALL.MESSAGE: "message",
    _CALL.REQUEST: "request",
    _CALL.ACCEPT_INVERSE_OFFERS: "accept_inverse_offers",
    _CALL.DECLINE_INVERSE_OFFERS: "decline_inverse_offers",
    _CALL.UPDATE_FRAMEWORK: "update_framework",
}


def read_accept(accept: scheduler.Call.Accept) -> Accept:
    return Accept(
        offer_ids(accept.offer_ids),
        tuple(_read_operation(operation) for operation in accept.operations),
        accept.filters.refuse_seconds,
    )


def read_kill(kill: scheduler.Call.Kill) -> Kill:
    return Kill(
        TaskId(kill.task_id.value),
        _agent_id(kill.slave_id),
        kill.kill_policy if kill.HasField("kill_policy") else None,
    )


def read_update(
    update: scheduler.Call.UpdateFramework, limits: RegexLimits = DEFAULT_LIMITS
) -> UpdateFramework | UpdateRefused:
    info = update.framework_info
    error = framework_error(info, update.suppressed_roles, update.offer_constraints)
    if error is not None:
        return UpdateRefused(error)
    constraints = read_offer_constraints(update.offer_constraints, limits)
    if isinstance(constraints, str):
        return UpdateRefused(constraints)
    suppressed = frozenset(update.suppressed_roles)
    return UpdateFramework(framework_spec(info), suppressed, constraints)


def read_request(requests: Sequence[mesos.Request]) -> RequestResources | str:
    """What a framework waits for; only amounts of scalars can be waited for."""
    if len(requests) > REQUESTS_MAX:
        return f"requests: must not list more than {REQUESTS_MAX}"
    read: list[ResourceRequest] = []
    for index, request in enumerate(requests):
        field = f"requests[{index}].resources"
        try:
            resources = resources_from_pb(request.resources, field=field)
        except InvalidInput as error:
            return str(error)
        wanted = dict(resources.quantities())
        if not wanted:
            return f"{field}: must hold an amount of at least one scalar resource"
        roles = sorted(
            {r.allocation_info.role for r in request.resources if r.allocation_info.role}
        )
        if len(roles) > 1:
            return f"{field}: must be of one role, not of {', '.join(roles)}"
        read.append(
            ResourceRequest(wanted, _agent_id(request.slave_id), roles[0] if roles else None)
        )
    return RequestResources(tuple(read))


def read_task(info: mesos.TaskInfo) -> TaskSpec:
    """A task to launch; what is wrong with it is noted in it."""
    return task_spec(info, task_defect(info))


def _read_group(operation: mesos.Offer.Operation) -> LaunchGroup:
    """A group to launch; what is wrong with it is noted in its tasks or in it."""
    group = operation.launch_group
    infos = group.task_group.tasks
    if operation.HasField("id"):
        no_id = Defect(0, "operation.id: is not allowed for a LAUNCH_GROUP")
        return LaunchGroup(tuple(task_spec(info, no_id) for info in infos), None, no_id)
    tasks = tuple(task_spec(info, group_task_defect(info, group.executor)) for info in infos)
    defect = group_executor_defect(group)
    executor = None if defect is not None else executor_spec(group.executor)
    return LaunchGroup(tasks, executor, defect)


def _read_change(operation: mesos.Offer.Operation) -> ChangeResources | BrokenOperation:
    name = operation_id(operation)
    try:
        change, role = read_change(operation)
    except InvalidInput as error:
        return BrokenOperation(_OPERATION.Type.Name(operation.type), str(error), name)
    return ChangeResources(change, name, role)


def offer_ids(ids: Iterable[mesos.OfferID]) -> tuple[OfferId, ...]:
    return tuple(OfferId(offer_id.value) for offer_id in ids)


def _agent_id(message: mesos.SlaveID) -> AgentId | None:
    """An empty id counts as none."""
    return AgentId(message.value) if message.value else None


def _read_operation(operation: mesos.Offer.Operation) -> Operation:
    match operation.type:
        case _OPERATION.LAUNCH if operation.HasField("id"):
            defect = Defect(0, "operation.id: is not allowed for a LAUNCH")
            return Launch(tuple(task_spec(info, defect) for info in operation.launch.task_infos))
        case _OPERATION.LAUNCH:
            return Launch(tuple(read_task(info) for info in operation.launch.task_infos))
        case _OPERATION.LAUNCH_GROUP:
            return _read_group(operation)
        case known if known in CHANGE_PARTS:
            return _read_change(operation)
        case _:
            return UnsupportedOperation(
                _OPERATION.Type.Name(operation.type), operation.id.value or None
            )


__all__ = [
    "REQUESTS_MAX",
    "offer_ids",
    "read_accept",
    "read_call",
    "read_kill",
    "read_request",
    "read_subscribe",
    "read_task",
    "read_update",
]
