"""Inverse offers: whom the allocator wants asked is asked once; answers and ends go back to it."""

import pytest

from cluster.core.allocator.events import (
    InverseAllocation,
    InverseOfferAnswered,
    InverseOfferWithdrawn,
)
from cluster.core.master.effects import SendInverseOffers, SendRescindInverse, Warn
from cluster.core.master.events import AllocationDue, PeerLost
from cluster.core.master.inverse_offers import InverseOfferAnswer
from cluster.model.calls import AcceptInverseOffers, Deactivate, DeclineInverseOffers, Teardown
from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.model.offers import InverseOffer
from cluster.model.peers import PeerId
from tests.unit.master.core_harness import AGENT, SCHEDULER, Harness, framework_spec

ID = FrameworkId("m-0000")
AGENT_ID = AgentId("m-S0")
FIRST = OfferId("m-O1")  # O0 is the offer of the agent: both kinds share one counter
WINDOW = Unavailability(5000.0, 60.0)
ASKED = InverseAllocation(ID, AGENT_ID, WINDOW)
WITHDRAWN = InverseOfferWithdrawn(ID, AGENT_ID)


def ask(world, *allocations):
    """One run in which the allocator wants these asked; returns the inverse offers sent."""
    world.allocator.inverse = list(allocations)
    effects = world.feed(AllocationDue())
    return [d.offer for e in effects if isinstance(e, SendInverseOffers) for d in e.offers]


@pytest.fixture
def world():
    """One framework that has been asked to leave one agent."""
    harness = Harness()
    harness.subscribe()
    harness.register()
    harness.write()
    harness.allocate()
    assert ask(harness, ASKED) == [InverseOffer(FIRST, ID, AGENT_ID, WINDOW)]
    harness.told()
    return harness


def answers(world):
    return world.state.inverse_offers.answers_of(AGENT_ID)


def test_nobody_has_answered_at_first(world):
    assert answers(world) == {ID: InverseOfferAnswer(InverseOfferStatus.UNKNOWN, 1000.0)}


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (AcceptInverseOffers((FIRST,), 7.0), InverseOfferStatus.ACCEPT),
        (DeclineInverseOffers((FIRST,), 7.0), InverseOfferStatus.DECLINE),
    ],
)
def test_an_answer_goes_to_the_allocator_and_is_remembered(world, call, status):
    world.now_s += 3.0
    world.call(call)
    assert world.told(InverseOfferAnswered, InverseOfferWithdrawn) == [
        InverseOfferAnswered(ID, AGENT_ID, status, 7.0)
    ]
    assert answers(world) == {ID: InverseOfferAnswer(status, 1003.0)}
    assert not len(world.state.inverse_offers)


def test_the_last_answer_counts_until_the_next_one(world):
    world.call(AcceptInverseOffers((FIRST,), 0.0))
    (again,) = ask(world, ASKED)
    assert answers(world)[ID].status is InverseOfferStatus.ACCEPT
    world.call(DeclineInverseOffers((again.offer_id,), 0.0))
    assert answers(world)[ID].status is InverseOfferStatus.DECLINE


def test_what_is_outstanding_is_not_asked_twice(world):
    assert ask(world, ASKED) == []


@pytest.mark.parametrize("offer_id", ["m-O7", "m-O0"])
def test_answers_to_anything_else_are_ignored(world, offer_id):
    effects = world.call(AcceptInverseOffers((OfferId(offer_id),), 5.0))
    assert [type(effect) for effect in effects] == [Warn]
    assert offer_id in effects[0].text
    assert len(world.state.inverse_offers) == 1


def test_answers_of_another_framework_are_ignored(world):
    other = PeerId("scheduler-2@10.0.0.21:1")
    world.subscribe(framework_spec(), other)
    world.call(DeclineInverseOffers((FIRST,), 5.0), "m-0001", other)
    assert answers(world)[ID].status is InverseOfferStatus.UNKNOWN
    assert len(world.state.inverse_offers) == 1


def test_an_agent_that_goes_takes_the_question_and_the_answers_along(world):
    effects = world.feed(PeerLost(AGENT))
    assert SendRescindInverse(SCHEDULER, FIRST) in effects
    assert world.told(InverseOfferWithdrawn) == [WITHDRAWN]
    assert answers(world) == {}


def test_so_does_a_schedule_that_changes(world):
    world.call(AcceptInverseOffers((FIRST,), 0.0))
    (again,) = ask(world, ASKED)
    world.told()
    world.state.withdraw_inverse_offers_on(AGENT_ID)
    assert world.state.take_effects() == [SendRescindInverse(SCHEDULER, again.offer_id)]
    assert world.told(InverseOfferWithdrawn) == [WITHDRAWN]
    assert answers(world) == {}


def test_a_silent_framework_is_not_told_but_its_answers_stay(world):
    effects = world.feed(PeerLost(SCHEDULER))
    assert not [e for e in effects if isinstance(e, SendRescindInverse)]
    assert world.told(InverseOfferWithdrawn) == [WITHDRAWN]
    assert answers(world) == {ID: InverseOfferAnswer(InverseOfferStatus.UNKNOWN, 1000.0)}
    assert not len(world.state.inverse_offers)


def test_a_framework_that_ends_is_forgotten(world):
    world.call(Teardown())
    assert world.told(InverseOfferWithdrawn) == [WITHDRAWN]
    assert answers(world) == {}
    assert not len(world.state.inverse_offers)


def test_a_scheduler_that_subscribes_again_is_told_that_the_question_is_void(world):
    world.subscribe(framework_spec(ID))
    assert [e.offer_id for e in world.of(SendRescindInverse)] == [FIRST]


def test_who_cannot_be_asked_any_more_is_given_back(world):
    world.call(Deactivate())
    world.told()
    unknown = InverseAllocation(FrameworkId("gone"), AGENT_ID, WINDOW)
    assert ask(world, ASKED, unknown) == []
    assert world.told(InverseOfferWithdrawn) == [
        WITHDRAWN,
        InverseOfferWithdrawn(FrameworkId("gone"), AGENT_ID),
    ]
