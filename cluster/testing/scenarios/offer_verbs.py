"""What frameworks do with offers."""

from cluster.errors import InvalidInput
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    ChangeResources,
    Decline,
    DeclineInverseOffers,
    Launch,
    LaunchGroup,
    Operation,
)
from cluster.model.ids import AgentId, ExecutorId, OfferId, TaskId
from cluster.model.operations import (
    Change,
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationId,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.resources import DiskSourceType
from cluster.model.tasks import ExecutorSpec, TaskSpec
from cluster.testing.scenarios.cast import PretendedFramework
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play, named
from cluster.testing.scenarios.words import Words

_OPERATIONS = frozenset(
    {
        "launch",
        "group",
        "reserve",
        "unreserve",
        "create",
        "destroy",
        "grow",
        "shrink",
        "create-disk",
        "destroy-disk",
    }
)


def decline(play: Play, given: Words) -> None:
    """Refuse offers, for 5 seconds unless said otherwise.

    ``decline OFFER ... [refuse=5s]``; an offer is ``O3``, or ``f1@a1`` for the last one of a1
    to f1
    """
    refuse_s = given.duration("refuse")
    offers = given.take_all()
    given.end()
    framework, offer_ids = play.offers(offers)
    play.call(framework, Decline(offer_ids, 5.0 if refuse_s is None else refuse_s))


def accept(play: Play, given: Words) -> None:
    """Use offers for operations, in order.

    ``accept OFFER ... [OPERATION ...] [refuse=5s] [as=FRAMEWORK]``; the rest of the offers is
    refused, for 5 seconds unless said otherwise. Operations are ``launch TASK RESOURCES
    [executor=e1(cpus:0.1)] [on=AGENT]``, ``group e1(cpus:0.1) TASK RESOURCES ...``, ``reserve``,
    ``unreserve``, ``create`` or ``destroy RESOURCES``, ``grow VOLUME ADDITION``, ``shrink VOLUME
    by=MB``, ``create-disk RAW [target=mount|block] [profile=p]``, ``destroy-disk DISK``; all but
    the first two may have an ``id=``
    """
    refuse_s, by = given.duration("refuse"), given.option("as")
    parts = given.split(_OPERATIONS)
    framework, offer_ids = play.offers(given.take_all(), by)
    given.end()
    operations = tuple(_operation(play, kind, framework, offer_ids, words) for kind, words in parts)
    play.call(framework, Accept(offer_ids, operations, 5.0 if refuse_s is None else refuse_s))


def accept_inverse(play: Play, given: Words) -> None:
    """A framework will have left the agents in time.

    ``accept-inverse INVERSE_OFFER ... [refuse=5s]``
    """
    framework, offer_ids, refuse_s = _inverse_offers(play, given)
    play.call(framework, AcceptInverseOffers(offer_ids, refuse_s))


def decline_inverse(play: Play, given: Words) -> None:
    """A framework wants to stay on the agents.

    ``decline-inverse INVERSE_OFFER ... [refuse=5s]``
    """
    framework, offer_ids, refuse_s = _inverse_offers(play, given)
    play.call(framework, DeclineInverseOffers(offer_ids, refuse_s))


def _inverse_offers(
    play: Play, given: Words
) -> tuple[PretendedFramework, tuple[OfferId, ...], float]:
    refuse_s = given.duration("refuse")
    names = [given.take("inverse offer"), *given.take_all()]
    given.end()
    offers = []
    for name in names:
        offer = play.cast.inverse_offers.get(name)
        if offer is None:
            raise InvalidInput(name, "no such inverse offer was made")
        offers.append(offer)
    framework = play.framework(play.cast.name_of(offers[0].framework_id))
    offer_ids = tuple(offer.offer_id for offer in offers)
    return framework, offer_ids, 5.0 if refuse_s is None else refuse_s


def _operation(
    play: Play,
    kind: str,
    framework: PretendedFramework,
    offer_ids: tuple[OfferId, ...],
    given: Words,
) -> Operation:
    operation: Operation
    match kind:
        case "launch":
            operation = Launch((_task(play, framework, offer_ids, given),))
        case "group":
            executor = _executor(given.take("executor"), framework)
            tasks = [_task(play, framework, offer_ids, given, executor)]
            while not given.is_empty:
                tasks.append(_task(play, framework, offer_ids, given, executor))
            operation = LaunchGroup(tuple(tasks), executor)
        case _:
            operation_id = given.option("id")
            operation = ChangeResources(
                _change(kind, given), None if operation_id is None else OperationId(operation_id)
            )
    given.end()
    return operation


def _change(kind: str, given: Words) -> Change:
    resources = parse_resources(given.take("resources"))
    match kind:
        case "reserve":
            return Reserve(resources)
        case "unreserve":
            return Unreserve(resources)
        case "create":
            return Create(resources)
        case "destroy":
            return Destroy(resources)
        case "grow":
            return Grow(resources, parse_resources(given.take("addition")))
        case "shrink":
            return Shrink(resources, round((given.number("by") or 0.0) * 1000))
        case "create-disk":
            target = named(DiskSourceType, (given.option("target") or "mount").upper())
            return CreateDisk(resources, target, given.option("profile"))
        case _:
            return DestroyDisk(resources)


def _task(
    play: Play,
    framework: PretendedFramework,
    offer_ids: tuple[OfferId, ...],
    given: Words,
    group_executor: ExecutorSpec | None = None,
) -> TaskSpec:
    task_id, resources = given.take("task"), parse_resources(given.take("resources"))
    on = given.option("on")
    if on is None:
        offers = (o for o in play.cast.offers.values() if o.offer_id in offer_ids)
        agent_id = next((offer.agent_id for offer in offers), AgentId("nobody"))
    else:
        agent_id = play.agent_id(on)
    executor = given.option("executor")
    return TaskSpec(
        task_id=TaskId(task_id),
        agent_id=agent_id,
        resources=resources,
        role=None,
        executor=group_executor if executor is None else _executor(executor, framework),
        has_limits=False,
        defect=None,
        info=task_id,
    )


def _executor(text: str, framework: PretendedFramework) -> ExecutorSpec:
    """``e1`` or ``e1(cpus:0.1;mem:32)``."""
    name, _, resources = text.removesuffix(")").partition("(")
    return ExecutorSpec(
        ExecutorId(name), framework.framework_id, parse_resources(resources), None, name
    )


__all__ = ["accept", "accept_inverse", "decline", "decline_inverse"]
