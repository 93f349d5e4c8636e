"""Refusing for a short time does not keep others from their turn (allocator.md §10)."""

import itertools
from collections import defaultdict

import pytest

from cluster.core.allocator import (
    AgentAdded,
    Allocation,
    FrameworkUpdated,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesRecovered,
)
from cluster.core.allocator.clients import Client
from cluster.core.allocator.filters import TURN_KEPT_S, RefusalFilters
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY, Resources
from tests.unit.allocator.harness import Harness, takers

FULL = "cpus:4;mem:4096"
PICKY = 20
INTERVAL_S = 1.0
DEFAULT_FILTER_S = 5.0
HOLDING_BACK = AgentId("s-held")


class PickyCluster:
    """Twenty frameworks with different shares, each of which takes a second to refuse.

    Framework ``fN`` holds a little more than ``f(N-1)``, so that shares alone would ask those of
    small numbers first. ``wanted`` is the agent that a framework takes when it is offered it.
    """

    def __init__(self, agents: int, **options: object) -> None:
        self.h = Harness(**options)
        used = []
        for n in range(PICKY):
            self.h.framework(f"f{n:02}", f"r{n:02}")
            used.append((FrameworkId(f"f{n:02}"), f"r{n:02}", Resources.parse(f"cpus:{n + 1}")))
        self.h.tell(AgentAdded(HOLDING_BACK, Resources.parse("cpus:210"), tuple(used)))
        self.agents = [f"s{n}" for n in range(agents)]
        self.h.agents(FULL, *self.agents)
        self.seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        """Agent to framework to the times at which it was offered it."""
        self.taken: dict[str, str] = {}
        self.open: list[tuple[float, Allocation]] = []

    def live(self, seconds: int, wanted: dict[str, str] | None = None) -> None:
        """Each offer is answered after a second, at the next interval."""
        self.note(self.h.run())
        for _ in range(seconds):
            self.h.now_s += INTERVAL_S
            answered, self.open = self.open, []
            for _, offer in answered:
                if (wanted or {}).get(offer.framework_id) == offer.agent_id:
                    self.taken[offer.framework_id] = offer.agent_id
                    self.h.tell(OffersSuppressed(offer.framework_id))
                else:
                    self.h.give_back(offer, refuse_s=DEFAULT_FILTER_S)
            self.note(self.h.tick(0.0))

    def note(self, offers: list[Allocation]) -> None:
        for offer in offers:
            self.seen[offer.agent_id][offer.framework_id].append(self.h.now_s)
            self.open.append((self.h.now_s, offer))


def test_twenty_picky_frameworks_are_each_offered_every_agent_in_twenty_intervals():
    cluster = PickyCluster(agents=3)
    cluster.live(seconds=PICKY)
    for agent in cluster.agents:
        assert len(cluster.seen[agent]) == PICKY, sorted(cluster.seen[agent])
    cluster.live(seconds=4 * PICKY)
    for agent in cluster.agents:
        for times in cluster.seen[agent].values():
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert max(gaps) <= PICKY * INTERVAL_S, gaps


def test_each_of_twenty_picky_frameworks_gets_the_one_agent_that_it_wants():
    cluster = PickyCluster(agents=PICKY)
    wanted = {f"f{n:02}": f"s{(7 * n) % PICKY}" for n in range(PICKY)}
    cluster.live(seconds=2 * PICKY, wanted=wanted)
    assert cluster.taken == wanted


def test_by_the_rule_of_mesos_the_last_ones_never_see_an_agent():
    cluster = PickyCluster(agents=1, allocate_on_recovery=False)
    cluster.live(seconds=5 * PICKY)
    assert set(cluster.seen["s0"]) == {f"f{n:02}" for n in range(6)}


# The rule in small


def two(**options: object) -> Harness:
    """f1 has less than f2, so shares alone ask it first."""
    h = Harness(**options)
    h.framework("f1", "a")
    h.framework("f2", "b")
    used = ((FrameworkId("f2"), "b", Resources.parse("cpus:1")),)
    h.tell(AgentAdded(HOLDING_BACK, Resources.parse("cpus:1"), used))
    h.agents(FULL, "s1")
    return h


def test_a_refusal_that_ended_lets_the_others_come_first():
    h = two()
    (offer,) = h.run()
    assert offer.framework_id == "f1"
    h.give_back(offer, refuse_s=1.0)
    (offer,) = h.run()
    assert offer.framework_id == "f2"
    h.now_s += 2.0
    h.give_back(offer)  # taken back by the master: f2 did not refuse
    assert takers(h.tick(0.0)) == {"s1": "f2"}


def test_alone_a_decliner_is_asked_as_soon_as_its_refusal_ends():
    h = two()
    h.tell(OffersSuppressed(FrameworkId("f2")))
    for _ in range(3):
        offers = h.run() or h.tick()
        assert takers(offers) == {"s1": "f1"}
        h.give_back(offers[0], refuse_s=1.0)
        assert h.run() == []


def test_others_that_still_refuse_do_not_keep_a_decliner_waiting():
    h = two()
    (first,) = h.run()
    h.give_back(first, refuse_s=1.0)
    (second,) = h.run()
    h.give_back(second, refuse_s=60.0)
    assert takers(h.tick()) == {"s1": "f1"}


def test_who_takes_something_has_not_refused_though_he_refuses_the_rest():
    """Else frameworks that take one task after the other would go round instead of by share."""
    h = two()
    for _ in range(3):
        (offer,) = h.run() or h.tick()
        assert offer.framework_id == "f1"
        h.give_back(offer, refuse_s=0.0, keep=Resources.parse("cpus:0.1"))
        (other,) = h.run()
        assert other.framework_id == "f2"
        h.give_back(other, refuse_s=0.0, keep=Resources.parse("cpus:0.1"))


def test_who_runs_something_there_can_refuse_as_well():
    h = two()
    (offer,) = h.run()
    h.give_back(offer, refuse_s=0.0, keep=Resources.parse("cpus:0.1"))
    (other,) = h.run()
    h.give_back(other)
    h.tell(OffersSuppressed(FrameworkId("f2")))
    (offer,) = h.tick()
    assert offer.framework_id == "f1"
    h.give_back(offer, refuse_s=1.0)
    h.now_s += 1.0
    h.tell(FrameworkUpdated(FrameworkId("f2"), ("b",)))
    assert takers(h.tick(0.0)) == {"s1": "f2"}


def test_more_than_was_refused_is_not_waited_for():
    h = two()
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1.0)
    (offer,) = h.run()
    h.give_back(offer)
    h.now_s += 1.0
    used = (FrameworkId("f2"), "b", Resources.parse("cpus:1"))
    h.tell(ResourcesRecovered(used[0], used[1], HOLDING_BACK, used[2]))
    h.tell(OffersSuppressed(FrameworkId("f2")))
    assert takers(h.tick(0.0)) == {"s1": "f1", HOLDING_BACK: "f1"}


def test_a_guarantee_comes_before_the_turn_of_others():
    h = two()
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1.0)
    (offer,) = h.run()
    h.give_back(offer)
    h.tell(QuotasUpdated({"a": Quota(guarantees={"cpus": 4000})}))
    assert takers(h.tick()) == {"s1": "f1"}


def test_a_turn_is_forgotten_after_a_while():
    filters = RefusalFilters()
    client = Client(FrameworkId("f1"), "a")
    s1, s2 = AgentId("s1"), AgentId("s2")
    filters.install(s1, client, Resources.parse(FULL), 5.0, turn_s=2.0)
    filters.install(s2, client, Resources.parse(FULL), 5.0)
    assert filters.end_expired(5.0) == [(s1, client), (s2, client)]
    filters.check_invariants()
    assert len(filters) == 1
    assert filters.on_agent(s2) is None
    turn = (filters.on_agent(s1) or {})[client]
    assert turn.defers(Resources.parse("cpus:1"), 5.0) == 2.0
    assert turn.defers(Resources.parse("cpus:5"), 5.0) is None
    assert not turn.forbids(EMPTY, 5.0)
    assert filters.end_expired(4.0 + TURN_KEPT_S) == []
    assert len(filters) == 1
    assert filters.end_expired(5.0 + TURN_KEPT_S) == []
    assert len(filters) == 0
    assert filters.next_end_s is None
    filters.check_invariants()


def test_plans_for_turns_that_were_given_do_not_pile_up():
    filters = RefusalFilters()
    client, s1 = Client(FrameworkId("f1"), "a"), AgentId("s1")
    for second in range(1, 500):
        filters.install(s1, client, Resources.parse(FULL), float(second), turn_s=float(second - 1))
        filters.end_expired(float(second))
        filters.turn_given(s1, client, float(second))
        filters.check_invariants()
    assert len(filters) == 0
    assert len(filters._turns) < 100


@pytest.mark.parametrize("ends_s", [5.0, 50.0])
def test_a_turn_given_is_forgotten_but_running_refusals_stay(ends_s):
    filters = RefusalFilters()
    client, s1 = Client(FrameworkId("f1"), "a"), AgentId("s1")
    filters.install(s1, client, Resources.parse("cpus:1"), ends_s)
    filters.install(s1, client, Resources.parse("cpus:1;mem:1"), 3.0, turn_s=2.0)
    filters.end_expired(6.0)
    filters.turn_given(s1, client, 6.0)
    assert len(filters) == (ends_s > 6.0)
    filters.check_invariants()
