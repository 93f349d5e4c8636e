"""Maintenance and inverse offers (allocator.md §4, §6), and the wait after a failover (§2)."""

import pytest

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AllocatorEvent,
    FrameworkActivated,
    FrameworkDeactivated,
    FrameworkRemoved,
    IntervalElapsed,
    InverseAllocation,
    InverseOfferAnswered,
    InverseOfferWithdrawn,
    OffersRevived,
    OffersSuppressed,
    RecoveryBegun,
    RecoveryEnded,
    ResourcesRequested,
    UnavailabilityChanged,
)
from cluster.core.allocator.clients import REQUESTS_PER_FRAMEWORK_MAX
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.model.resources import Resources
from tests.unit.allocator.harness import Harness, takers

F1, F2 = FrameworkId("f1"), FrameworkId("f2")
S1, S2 = AgentId("s1"), AgentId("s2")
FULL = "cpus:4;mem:4096"
SOON, LATER = Unavailability(1000.0, 60.0), Unavailability(5000.0)


def holding() -> Harness:
    """f1 holds all of s1."""
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.run()
    return h


def asked(h: Harness) -> list[tuple[str, str]]:
    inverse = h.allocator.inverse_offers(h.now_s)
    h.allocator.check_invariants()
    return [(i.framework_id, i.agent_id) for i in inverse]


def test_holders_are_asked_once():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    assert h.allocator.has_candidates
    h.run()
    assert h.allocator.inverse_offers(h.now_s) == [InverseAllocation(F1, S1, SOON)]
    assert not h.allocator.has_candidates
    h.tick()
    assert asked(h) == []


def test_who_holds_nothing_is_not_asked():
    h = holding()
    h.framework("f2", "b")
    h.agents(FULL, "s2")
    h.run()
    h.tell(UnavailabilityChanged(S1, SOON))
    assert asked(h) == [("f1", "s1")]


def test_who_is_offered_a_part_later_is_asked_then():
    h = Harness()
    h.tell(AgentAdded(S1, Resources.parse(FULL), unavailability=SOON))
    h.run()
    assert asked(h) == []
    h.framework("f1", "a")
    assert takers(h.run()) == {"s1": "f1"}
    assert asked(h) == [("f1", "s1")]


def test_use_told_by_a_returning_agent_counts():
    h = Harness()
    h.framework("f1", "a")
    used = ((F1, "a", Resources.parse("cpus:4;mem:4096")),)
    h.tell(AgentAdded(S1, Resources.parse(FULL), used, unavailability=SOON))
    assert asked(h) == [("f1", "s1")]


def test_answers_are_remembered():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    asked(h)
    assert h.allocator.inverse_status(S1) == {}
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.ACCEPT, 1000.0))
    assert h.allocator.inverse_status(S1) == {F1: InverseOfferStatus.ACCEPT}
    h.tell(UnavailabilityChanged(S1, LATER))
    assert h.allocator.inverse_status(S1) == {}


@pytest.mark.parametrize(
    ("refuse_s", "lasts_s"),
    [(10.0, 10.0), (0.0, 1.0), (None, 1.0), (-1.0, 5.0), (1e12, 31_536_000)],
)
def test_after_an_answer_the_question_comes_again_when_its_filter_ends(refuse_s, lasts_s):
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    asked(h)
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.DECLINE, refuse_s))
    h.tick(lasts_s - 0.001)
    assert asked(h) == []
    h.tick(0.001)
    assert asked(h) == [("f1", "s1")]


def test_news_of_others_do_not_repeat_a_question_that_was_answered():
    h = Harness()
    h.framework("f1", "a")
    used = ((F1, "a", Resources.parse("cpus:2")),)
    h.tell(AgentAdded(S1, Resources.parse(FULL), used, unavailability=SOON))
    h.tell(OffersSuppressed(F1))
    assert asked(h) == [("f1", "s1")]
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.ACCEPT, 10.0))
    h.framework("f2", "b")
    assert takers(h.run()) == {"s1": "f2"}
    assert asked(h) == [("f2", "s1")]
    h.tick(10.0)
    assert asked(h) == [("f1", "s1")]


def test_while_agents_are_awaited_nobody_is_asked():
    h = holding()
    h.tell(RecoveryBegun(expected_agents=5), UnavailabilityChanged(S1, SOON))
    assert asked(h) == []
    h.tell(RecoveryEnded())
    assert asked(h) == [("f1", "s1")]


def test_a_withdrawn_question_may_be_asked_again():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    asked(h)
    h.tell(InverseOfferWithdrawn(F1, S1))
    assert asked(h) == [("f1", "s1")]


@pytest.mark.parametrize(
    "event", [UnavailabilityChanged(S1, LATER), OffersRevived(F1)], ids=["another time", "revive"]
)
def test_what_makes_the_question_come_back(event: AllocatorEvent):
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    asked(h)
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.DECLINE, 5.0))
    h.tell(event, IntervalElapsed())
    assert asked(h) == [("f1", "s1")]
    h.tick(5.0)
    assert asked(h) == []


def test_an_inactive_framework_is_not_asked_until_it_is_back():
    h = holding()
    h.tell(FrameworkDeactivated(F1), UnavailabilityChanged(S1, SOON))
    assert asked(h) == []
    h.tell(FrameworkActivated(F1))
    assert asked(h) == [("f1", "s1")]


def test_an_inactive_agent_is_not_asked_about():
    h = holding()
    h.tell(AgentDeactivated(S1), UnavailabilityChanged(S1, SOON))
    assert asked(h) == []
    h.tell(AgentActivated(S1))
    assert asked(h) == [("f1", "s1")]


def test_maintenance_can_be_called_off():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON), UnavailabilityChanged(S1, None))
    assert asked(h) == []


def test_nothing_is_left_of_who_or_what_is_gone():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    asked(h)
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.DECLINE, 5.0))
    h.tell(FrameworkRemoved(F1))
    h.tell(AgentRemoved(S1))
    h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.ACCEPT, 5.0))
    h.tell(InverseOfferWithdrawn(F1, S1))
    h.tick(10.0)
    assert asked(h) == []
    assert h.allocator.inverse_status(S1) == {}


def test_the_calendar_of_answers_does_not_grow_for_ever():
    h = holding()
    h.tell(UnavailabilityChanged(S1, SOON))
    for _ in range(500):
        asked(h)
        h.tell(InverseOfferAnswered(F1, S1, InverseOfferStatus.DECLINE, 1e9), OffersRevived(F1))
    assert len(h.allocator._inverse._calendar) < 200


# After a failover


def test_no_run_until_enough_agents_are_back():
    h = Harness()
    h.framework("f1", "a")
    h.tell(RecoveryBegun(5))
    h.agents(FULL, "s1", "s2", "s3")
    assert h.allocator.is_recovering
    assert not h.allocator.has_candidates
    assert h.run() == []
    assert h.tick() == []
    h.agents(FULL, "s4")  # 4 of 5 are 80 %
    assert takers(h.run()) == dict.fromkeys(["s1", "s2", "s3", "s4"], "f1")


@pytest.mark.parametrize(("factor", "enough"), [(0.8, 8), (0.5, 5), (1.0, 10), (0.29, 2)])
def test_how_many_are_enough(factor, enough):
    h = Harness(recovery_factor=factor)
    h.tell(RecoveryBegun(10))
    for n in range(enough):
        assert h.allocator.is_recovering
        h.agents(FULL, f"s{n}")
    assert not h.allocator.is_recovering


def test_the_wait_can_end_without_them():
    h = Harness()
    h.framework("f1", "a")
    h.tell(RecoveryBegun(100))
    h.agents(FULL, "s1")
    assert h.run() == []
    h.tell(RecoveryEnded())
    assert h.allocator.has_candidates
    assert takers(h.run()) == {"s1": "f1"}


def test_nothing_to_wait_for_is_no_wait():
    h = Harness()
    h.tell(RecoveryBegun(0))
    assert not h.allocator.is_recovering


# Wishes


def test_requests_are_kept_and_bounded():
    h = Harness()
    h.framework("f1", "a")
    for n in range(REQUESTS_PER_FRAMEWORK_MAX + 5):
        h.tell(ResourcesRequested(F1, ({"cpus": 1000},), agent_id=AgentId(f"s{n}")))
    wishes = h.allocator._books.frameworks[F1].wishes
    assert len(wishes) == REQUESTS_PER_FRAMEWORK_MAX
    assert (None, AgentId("s0")) not in wishes
    h.tell(ResourcesRequested(F1, (), agent_id=AgentId("s50")))
    assert (None, AgentId("s50")) not in wishes
    with pytest.raises(InvariantBroken, match="does not know framework f2"):
        h.tell(ResourcesRequested(F2, ()))
