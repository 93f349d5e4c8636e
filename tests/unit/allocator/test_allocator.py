"""The allocator's rules, one by one (allocator.md §2 to §4)."""

from collections import Counter
from fractions import Fraction

import pytest

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    ResourcesRecovered,
    WeightsUpdated,
    parse_min_allocatable,
)
from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources
from tests.unit.allocator.harness import Harness, summary, takers

F1, F2 = FrameworkId("f1"), FrameworkId("f2")
S1, S2 = AgentId("s1"), AgentId("s2")
FULL = "cpus:4;mem:4096"


def test_a_whole_agent_goes_to_the_neediest():
    h = Harness()
    h.framework("f1", "a")
    h.framework("f2", "b")
    h.agents(FULL, "s1", "s2")
    assert takers(h.run()) in ({"s1": "f1", "s2": "f2"}, {"s1": "f2", "s2": "f1"})
    assert h.allocator.role_share("a") == h.allocator.role_share("b") == Fraction(1, 2)
    assert not h.allocator.free(S1)
    assert not h.allocator.has_candidates
    assert h.run() == []


def test_an_allocation_names_role_and_unmarked_resources():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (allocation,) = h.run()
    assert allocation == Allocation(F1, "a", S1, Resources.parse(FULL))


def test_roles_come_before_frameworks():
    """Two frameworks of role a do not get more than the one of role b."""
    h = Harness()
    h.framework("f1", "a")
    h.framework("f2", "a")
    h.framework("f3", "b")
    h.agents("cpus:1;mem:32", *(f"s{n}" for n in range(8)))
    assert Counter(takers(h.run()).values()) == {"f1": 2, "f2": 2, "f3": 4}


@pytest.mark.parametrize(
    ("weights", "agents"),
    [
        ({}, {"fx": 3, "fy": 3, "fb": 6}),
        ({"b": 2.0}, {"fx": 2, "fy": 2, "fb": 8}),
    ],
)
def test_hierarchy_vector(weights, agents):
    h = Harness()
    h.tell(WeightsUpdated(weights))
    h.framework("fx", "a/x")
    h.framework("fy", "a/y")
    h.framework("fb", "b")
    h.agents("cpus:1;mem:32", *(f"s{n}" for n in range(12)))
    assert Counter(takers(h.run()).values()) == agents


def test_drf_vector_through_offers():
    """<900 CPU, 1800 GB> on one agent: who is offered it launches one task and returns the rest."""
    h = Harness(min_allocatable=())
    h.framework("A", "ra")
    h.framework("B", "rb")
    h.agents("cpus:900;mem:1800", "s1")
    demands = {"A": Resources.parse("cpus:1;mem:4"), "B": Resources.parse("cpus:3;mem:1")}
    tasks: Counter[str] = Counter()
    offers = h.run()
    while offers:
        (offer,) = offers
        demand = demands[offer.framework_id]
        if offer.resources.unallocated().contains(demand):
            tasks[offer.framework_id] += 1
            h.give_back(offer, keep=demand)
            offers = h.run()
        else:
            h.give_back(offer, refuse_s=1e9)
            offers = h.run()
    assert tasks == {"A": 300, "B": 200}
    assert h.allocator.role_share("ra") == h.allocator.role_share("rb") == Fraction(2, 3)


# Reservations


def test_reserved_resources_go_to_their_role_and_those_below():
    h = Harness()
    h.framework("f1", "a/x")
    h.framework("f2", "b")
    h.agents("cpus(a):4;mem(a):64", "s1")
    assert summary(h.run()) == {("f1", "a/x", "s1", "cpus(a):4;mem(a):64")}


def test_the_rest_of_an_agent_goes_on_to_the_next_role():
    h = Harness()
    h.framework("f1", "a")
    h.framework("f2", "b")
    h.agents("cpus(b):4;cpus:2;mem:64", "s1")
    assert summary(h.run()) == {
        ("f1", "a", "s1", "cpus:2;mem:64"),
        ("f2", "b", "s1", "cpus(b):4"),
    }


def test_nobody_is_offered_what_others_reserved():
    h = Harness()
    h.framework("f1", "a")
    h.agents("cpus(a/x):4;mem(b):64", "s1")
    assert h.run() == []


# Worth an offer


@pytest.mark.parametrize(
    ("agent", "minimum", "is_offered"),
    [
        ("cpus:0.01", "cpus:0.01|mem:32", True),
        ("mem:32", "cpus:0.01|mem:32", True),
        ("cpus:0.009;mem:31.999;disk:1000", "cpus:0.01|mem:32", False),
        ("ports:[1-5]", "", True),
        ("cpus:1;mem:31", "cpus:1;mem:32", False),
        ("cpus:1;mem:32", "cpus:1;mem:32", True),
    ],
)
def test_small_offers_are_not_made(agent, minimum, is_offered):
    h = Harness(min_allocatable=parse_min_allocatable(minimum))
    h.framework("f1", "a")
    h.agents(agent, "s1")
    assert bool(h.run()) is is_offered


@pytest.mark.parametrize("text", ["cpus:1|", "ports:[1-2]", "cpus(a):1", "cpus"])
def test_bad_minimum_texts_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_min_allocatable(text)


# Refusals


def test_a_refusal_keeps_the_agent_away_until_it_ends():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=4.0)
    assert h.run() == []
    assert h.tick(3.9) == []
    assert h.allocator.next_filter_end_s == pytest.approx(104.0)
    assert takers(h.tick(0.1)) == {"s1": "f1"}


def test_others_are_offered_at_once_what_one_refused():
    """Differs from Mesos, which waits for the interval."""
    h = Harness()
    h.framework("f1", "a")
    h.framework("f2", "b")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=5.0)
    assert h.allocator.has_candidates
    assert takers(h.run()) == {"s1": "f2"}


@pytest.mark.parametrize("refuse_s", [0.0, 0.001, 1.0])
def test_short_refusals_last_for_the_interval(refuse_s):
    h = Harness(allocation_interval_s=2.0)
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=refuse_s)
    assert h.run() == []
    assert h.tick(1.99) == []
    assert takers(h.tick(0.01)) == {"s1": "f1"}


@pytest.mark.parametrize("refuse_s", [-1.0, float("nan"), float("-inf")])
def test_senseless_refusals_last_for_five_seconds(refuse_s):
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=refuse_s)
    assert h.tick(4.99) == []
    assert takers(h.tick(0.01)) == {"s1": "f1"}


@pytest.mark.parametrize("refuse_s", [1e12, float("inf")])
def test_refusals_last_for_a_year_at_most(refuse_s):
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=refuse_s)
    assert h.tick(365 * 86400.0 - 1) == []
    assert takers(h.tick()) == {"s1": "f1"}


def test_nobody_refuses_when_resources_come_back_by_themselves():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=None)
    assert takers(h.run()) == {"s1": "f1"}


def test_more_than_was_refused_comes_through():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1000.0, keep=Resources.parse("cpus:1"))
    assert h.run() == []
    h.tell(ResourcesRecovered(F1, "a", S1, Resources.parse("cpus:1")))
    (offer,) = h.run()
    assert offer.resources.unallocated() == Resources.parse(FULL)


def test_a_refusal_of_less_does_not_hide_more_and_of_more_hides_less():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1000.0)
    h.tell(AgentUpdated(S1, Resources.parse("cpus:2;mem:4096")))
    assert h.run() == []
    h.tell(AgentUpdated(S1, Resources.parse("cpus:4.001;mem:64")))
    assert takers(h.run()) == {"s1": "f1"}


def test_a_refusal_is_for_one_role_and_one_agent():
    h = Harness()
    h.framework("f1", "a", "b")
    h.agents(FULL, "s1", "s2")
    (refused,) = [offer for offer in h.run() if offer.agent_id == S1]
    h.give_back(refused, refuse_s=100.0)
    (again,) = h.run()
    assert again.agent_id == S1
    assert again.role != refused.role


def test_an_accepted_offer_without_a_rest_refuses_nothing():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.tell(ResourcesRecovered(F1, "a", S1, EMPTY, refuse_s=5.0))
    assert not h.allocator.has_candidates
    assert h.allocator.booked(F1, "a", S1) == offer.resources.unallocated()


def test_revive_forgets_refusals_of_its_roles():
    h = Harness()
    h.framework("f1", "a", "b")
    h.agents(FULL, "s1", "s2")
    for offer in h.run():
        h.give_back(offer, refuse_s=1000.0)
    for offer in h.run():
        h.give_back(offer, refuse_s=1000.0)
    assert h.tick() == []
    h.tell(OffersRevived(F1, ("a",)))
    assert {(a.agent_id, a.role) for a in h.run()} == {("s1", "a"), ("s2", "a")}


def test_the_original_lets_recovered_resources_wait_for_the_interval():
    h = Harness(allocate_on_recovery=False)
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=0.0)
    assert not h.allocator.has_candidates
    assert takers(h.tick(0.1)) == {"s1": "f1"}


# Suppress, revive, activation


def test_suppressed_roles_get_nothing_until_revived():
    h = Harness()
    h.framework("f1", "a", "b", suppressed=["a"])
    h.agents(FULL, "s1")
    (offer,) = h.run()
    assert offer.role == "b"
    h.tell(OffersSuppressed(F1))
    h.give_back(offer)
    assert h.run() == []
    assert h.tick() == []
    h.tell(OffersRevived(F1, ("a",)))
    assert [a.role for a in h.run()] == ["a"]


def test_no_roles_mean_all_roles():
    h = Harness()
    h.framework("f1", "a", "b")
    h.tell(OffersSuppressed(F1))
    h.agents(FULL, "s1", "s2")
    assert h.run() == []
    h.tell(OffersRevived(F1))
    assert {a.role for a in h.run()} == {"a", "b"}


def test_suppressing_and_reviving_roles_one_does_not_have_changes_nothing():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.tell(OffersSuppressed(F1, ("zzz",)))
    assert takers(h.run()) == {"s1": "f1"}
    h.tell(OffersRevived(F1, ("zzz",)))
    assert not h.allocator.has_candidates


def test_an_inactive_framework_gets_nothing_and_loses_its_filters():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1000.0)
    h.tell(FrameworkDeactivated(F1))
    assert h.tick() == []
    h.tell(FrameworkActivated(F1))
    assert takers(h.run()) == {"s1": "f1"}


def test_a_framework_can_join_inactive():
    h = Harness()
    h.tell(FrameworkAdded(F1, ("a",), active=False))
    h.agents(FULL, "s1")
    assert h.run() == []
    h.tell(FrameworkActivated(F1))
    assert takers(h.run()) == {"s1": "f1"}


def test_reviving_does_not_wake_an_inactive_framework():
    h = Harness()
    h.tell(FrameworkAdded(F1, ("a",), frozenset({"a"}), active=False))
    h.agents(FULL, "s1")
    h.run()
    h.tell(OffersRevived(F1))
    assert h.run() == []
    h.tell(FrameworkActivated(F1))
    assert takers(h.run()) == {"s1": "f1"}


def test_a_later_framework_is_shown_every_free_agent():
    h = Harness()
    h.agents(FULL, "s1", "s2")
    assert h.run() == []
    h.framework("f1", "a")
    assert takers(h.run()) == {"s1": "f1", "s2": "f1"}


# Changing frameworks


def test_a_new_role_is_served_and_an_old_one_no_more():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1", "s2")
    used, free = h.run()
    h.give_back(free, refuse_s=1000.0)
    h.tell(FrameworkUpdated(F1, ("b",)))
    assert [(a.role, a.agent_id) for a in h.run()] == [("b", free.agent_id)]
    assert h.allocator.role_share("a") == Fraction(1, 2)
    h.give_back(used)
    assert h.allocator.role_share("a") == 0
    assert [a.role for a in h.run()] == ["b"]


def test_an_update_can_suppress_and_unsuppress():
    h = Harness()
    h.framework("f1", "a")
    h.tell(FrameworkUpdated(F1, ("a",), frozenset({"a"})))
    h.agents(FULL, "s1")
    assert h.run() == []
    h.tell(FrameworkUpdated(F1, ("a",)))
    assert takers(h.run()) == {"s1": "f1"}


def test_an_update_that_wants_nothing_new_starts_no_run():
    h = Harness()
    h.framework("f1", "a", "b")
    h.agents(FULL, "s1")
    h.run()
    h.tell(FrameworkUpdated(F1, ("a",)))
    assert not h.allocator.has_candidates


def test_a_removed_framework_gets_nothing_and_may_return_things_late():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.tell(FrameworkRemoved(F1))
    assert h.allocator.role_share("a") == 1
    h.give_back(offer, refuse_s=5.0)
    assert h.allocator.role_share("a") == 0
    assert h.run() == []
    h.framework("f1", "a")
    assert takers(h.run()) == {"s1": "f1"}


# Changing agents


def test_use_by_frameworks_still_unknown_counts():
    h = Harness()
    h.tell(AgentAdded(S1, Resources.parse(FULL), ((F1, "a", Resources.parse("cpus:1")),)))
    assert h.allocator.free(S1) == Resources.parse("cpus:3;mem:4096")
    assert h.allocator.role_share("a") == Fraction(1, 4)
    h.framework("f2", "b")
    h.framework("f1", "a")
    assert takers(h.run()) == {"s1": "f2"}
    assert h.allocator.framework_share(F1, "a") == Fraction(1, 4)


def test_a_removed_agent_takes_its_bookings_along():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1", "s2")
    offers = h.run()
    h.tell(AgentRemoved(S1))
    assert h.allocator.role_share("a") == 1
    for offer in offers:
        h.give_back(offer)  # that of s1 comes too late and is nobody's any more
    assert takers(h.run()) == {"s2": "f1"}
    h.agents(FULL, "s1")
    assert takers(h.run()) == {"s1": "f1"}


def test_an_inactive_agent_is_not_offered():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.tell(AgentDeactivated(S1))
    assert h.run() == []
    assert h.tick() == []
    h.tell(AgentActivated(S1))
    assert takers(h.run()) == {"s1": "f1"}


def test_a_grown_agent_offers_what_is_new():
    h = Harness()
    h.framework("f1", "a")
    h.agents("cpus:1;mem:32", "s1")
    h.run()
    h.tell(AgentUpdated(S1, Resources.parse("cpus:3;mem:32")))
    assert summary(h.run()) == {("f1", "a", "s1", "cpus:2")}


def test_an_unchanged_total_starts_no_run():
    h = Harness()
    h.agents(FULL, "s1")
    h.run()
    h.tell(AgentUpdated(S1, Resources.parse(FULL)))
    assert not h.allocator.has_candidates


def test_a_shrunken_agent_is_overcommitted_until_enough_came_back():
    h = Harness()
    h.framework("f1", "a")
    h.agents("cpus:4", "s1")
    (offer,) = h.run()
    h.tell(AgentUpdated(S1, Resources.parse("cpus:3")))
    assert h.allocator.free(S1) == EMPTY
    h.tell(ResourcesRecovered(F1, "a", S1, Resources.parse("cpus:2")))
    assert h.allocator.free(S1) == Resources.parse("cpus:1")
    h.tell(ResourcesRecovered(F1, "a", S1, Resources.parse("cpus:2")))
    assert h.allocator.free(S1) == Resources.parse("cpus:3")
    assert offer.resources.scalar_milli("cpus") == 4000


def test_filters_end_with_their_agent():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1000.0)
    h.tell(AgentRemoved(S1))
    h.agents(FULL, "s1")
    assert takers(h.run()) == {"s1": "f1"}


# Weights, order of agents, misuse


def test_weights_take_effect_at_the_next_run():
    h = Harness()
    h.tell(WeightsUpdated({"heavy": 2.0}))
    h.framework("f1", "heavy")
    h.framework("f2", "light")
    h.agents("cpus:1;mem:256", *(f"s{n}" for n in range(9)))
    assert Counter(takers(h.run()).values()) == {"f1": 6, "f2": 3}


def test_agents_are_shuffled_by_the_given_generator():
    def order(seed):
        h = Harness(seed=seed)
        h.framework("f1", "a")
        h.agents(FULL, *(f"s{n}" for n in range(20)))
        return [a.agent_id for a in h.run()]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (FrameworkAdded(F1, ("a",)), "told twice of framework f1"),
        (AgentAdded(S1, EMPTY), "told twice of agent s1"),
        (AgentRemoved(S2), "does not know agent s2"),
        (AgentUpdated(S2, EMPTY), "does not know agent s2"),
        (AgentActivated(S2), "does not know agent s2"),
        (FrameworkRemoved(F2), "does not know framework f2"),
        (OffersRevived(F2), "does not know framework f2"),
        (
            ResourcesRecovered(F1, "a", S1, Resources.parse("cpus:5")),
            r"f1 in role a gives back \[cpus:5\] on agent s1, where it holds \[cpus:4;mem:4096\]",
        ),
        (ResourcesRecovered(F2, "a", S1, Resources.parse("cpus:1")), r"where it holds \[\]"),
    ],
)
def test_contradictions_are_reported_and_change_nothing(event, text):
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    with pytest.raises(InvariantBroken, match=text):
        h.tell(event)
    h.allocator.check_invariants()
    assert h.allocator.booked(F1, "a", S1) == offer.resources.unallocated()


# Work is done for what changed only


def test_agents_that_nobody_wants_are_left_alone():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, *(f"s{n}" for n in range(50)))
    offers = h.run()
    for offer in offers:
        h.give_back(offer, refuse_s=1000.0)
    assert h.run() == []
    before = h.allocator.agents_looked_at
    for _ in range(10):
        h.tick()
    assert h.allocator.agents_looked_at == before
    h.tell(AgentUpdated(AgentId("s7"), Resources.parse("cpus:5")))
    h.run()
    assert h.allocator.agents_looked_at == before + 1


def test_an_interval_without_news_is_no_run():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.run()
    h.tell(IntervalElapsed())
    assert not h.allocator.has_candidates
