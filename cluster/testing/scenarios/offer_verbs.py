"""What frameworks do with offers."""

from cluster.errors import InvalidInput
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    Decline,
    DeclineInverseOffers,
    Launch,
    Operation,
)
from cluster.model.ids import AgentId, ExecutorId, OfferId, TaskId
from cluster.model.tasks import ExecutorSpec, TaskSpec
from cluster.testing.scenarios.cast import PretendedFramework
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play
from cluster.testing.scenarios.words import Words

_OPERATIONS = frozenset({"launch"})


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

    ``accept OFFER ... [launch TASK RESOURCES [executor=e1(cpus:0.1)] [on=AGENT]] ...``
    ``[refuse=5s] [by=FRAMEWORK]``; the rest of the offers is refused, for 5 seconds unless
    said otherwise
    """
    refuse_s, by = given.duration("refuse"), given.option("by")
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
    match kind:
        case "launch":
            operation: Operation = Launch((_task(play, framework, offer_ids, given),))
        case _:
            raise InvalidInput(kind, "is no operation")
    given.end()
    return operation


def _task(
    play: Play, framework: PretendedFramework, offer_ids: tuple[OfferId, ...], given: Words
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
        executor=None if executor is None else _executor(executor, framework),
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
