"""Holding for big tasks: what is too large for what is free anywhere is collected for."""

import pytest

from cluster.core.allocator import (
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    FrameworkAdded,
    FrameworkTraits,
    HoldingOptions,
    Miss,
    Obstacle,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesRecovered,
    ResourcesRequested,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import Resources
from tests.unit.allocator.harness import Harness, takers

BIG, SMALL = FrameworkId("big"), FrameworkId("small")
FULL = "cpus:4;mem:4096"
TASK = Resources.parse("cpus:1;mem:1024")
HOLDING = HoldingOptions(agents_fraction_max=0.25, hold_s_max=60.0)
WHOLE_AGENT = ({"cpus": 4000, "mem": 4_096_000},)


class Stream:
    """Four agents full of small tasks; each second one ends, and its framework starts another.

    Task ``n`` ends at second ``n``, then one that was started meanwhile, and so on: agents never
    get empty by themselves.
    """

    def __init__(self, holding: HoldingOptions | None, agents: int = 4) -> None:
        self.h = Harness(holding=holding)
        self.h.framework("small", "s")
        self.h.framework("big", "b")
        self.names = [AgentId(f"s{n}") for n in range(agents)]
        used = ((SMALL, "s", Resources.parse(FULL)),)
        for name in self.names:
            self.h.tell(AgentAdded(name, Resources.parse(FULL), used))
        self.running = [name for _ in range(4) for name in self.names]
        self.h.run()

    def ask(self, wanted=WHOLE_AGENT) -> None:
        self.h.tell(ResourcesRequested(BIG, wanted))

    def second(self) -> bool:
        """One task ends; what small is offered it uses up. Whether big was offered enough."""
        offers = []
        if self.running:
            name = self.running.pop(0)
            self.h.tell(ResourcesRecovered(SMALL, "s", name, TASK))
            offers += self.h.run()
        offers += self.h.tick()
        for offer in offers:
            if offer.framework_id == "small":
                tasks = offer.resources.scalar_milli("cpus") // 1000
                self.running += [offer.agent_id] * tasks
            elif offer.resources.contains(Resources.parse(FULL)):
                return True
            else:
                self.h.give_back(offer, refuse_s=0.0)
        return False

    def seconds_until_served(self, most: int = 60) -> int | None:
        return next((n for n in range(most) if self.second()), None)

    def held(self) -> list[str]:
        return list(self.h.allocator.held_agents)

    def explained(self, framework=BIG, role="b"):
        why = self.h.allocator.explain(framework, role, self.h.now_s)
        assert why is not None
        return why


def test_without_holding_a_big_task_starves_under_a_stream_of_small_ones():
    stream = Stream(None)
    stream.ask()
    assert stream.seconds_until_served(most=200) is None


def test_with_holding_it_gets_its_offer():
    stream = Stream(HOLDING)
    stream.ask()
    waited = stream.seconds_until_served()
    assert waited is not None
    assert waited <= 4 * 4


def test_a_minimum_of_its_own_is_a_demand_as_well():
    stream = Stream(HOLDING)
    other = FrameworkTraits(min_allocatable={"c": WHOLE_AGENT})
    stream.h.tell(FrameworkAdded(FrameworkId("third"), ("c",), frozenset(), True, other))
    stream.h.tick()
    assert len(stream.held()) == 1


def test_the_agent_where_least_is_missing_is_held_and_small_ones_are_kept_off():
    stream = Stream(HOLDING)
    stream.h.tell(OffersSuppressed(SMALL))
    for n in (2, 2, 1):
        stream.h.tell(ResourcesRecovered(SMALL, "s", stream.names[n], TASK))
    for offer in stream.h.run():
        stream.h.give_back(offer, refuse_s=600.0)
    stream.ask()
    stream.h.tell(ResourcesRecovered(SMALL, "s", stream.names[0], TASK))
    for offer in stream.h.run():
        stream.h.give_back(offer)
    stream.h.tick()
    # s1 and s2 were refused by big itself; of the others s0 is the emptiest.
    assert stream.held() == ["s0"]


def test_what_is_held_shows_in_explanations_and_is_free_again_when_the_demand_goes():
    stream = Stream(HOLDING)
    stream.ask()
    stream.h.tick()
    (held,) = stream.held()
    stream.h.tell(ResourcesRecovered(SMALL, "s", AgentId(held), TASK))
    assert stream.h.run() == []
    missing = {"cpus": 3000, "mem": 3_072_000}
    assert stream.explained().nearest == Miss(AgentId(held), Obstacle.COLLECTING, missing)
    kept_off = stream.explained(SMALL, "s").nearest
    assert kept_off == Miss(AgentId(held), Obstacle.HELD, taker=(BIG, "b"))
    assert "held for framework big in role b" in str(kept_off)
    stream.ask(())
    stream.h.tell(OffersSuppressed(BIG))
    assert takers(stream.h.tick()) == {held: "small"}
    assert stream.held() == []


def test_when_the_demand_fits_the_whole_agent_is_offered():
    stream = Stream(HOLDING)
    stream.ask()
    stream.h.tick()
    (held,) = stream.held()
    for _ in range(3):
        stream.h.tell(ResourcesRecovered(SMALL, "s", AgentId(held), TASK))
        assert stream.h.run() == []
    stream.h.tell(ResourcesRecovered(SMALL, "s", AgentId(held), TASK))
    assert takers(stream.h.run()) == {held: "big"}
    assert stream.held() == []


def test_at_most_a_fraction_of_the_agents_is_held():
    stream = Stream(HOLDING, agents=8)
    for n in range(5):
        name = FrameworkId(f"big{n}")
        stream.h.framework(name, "b")
        stream.h.tell(ResourcesRequested(name, WHOLE_AGENT))
    stream.h.tick()
    assert len(stream.held()) == 2


def test_one_agent_at_a_time_for_each():
    stream = Stream(HoldingOptions(agents_fraction_max=1.0))
    stream.ask()
    for _ in range(3):
        stream.h.tick()
    assert len(stream.held()) == 1


def test_a_hold_ends_after_a_time_and_another_must_wait_as_long():
    stream = Stream(HOLDING)
    stream.ask()
    stream.h.tick()
    (held,) = stream.held()
    stream.h.tell(ResourcesRecovered(SMALL, "s", AgentId(held), TASK))
    assert stream.h.tick(59.0) == []
    stream.h.tell(OffersSuppressed(BIG))
    assert takers(stream.h.tick()) == {held: "small"}
    stream.ask()
    stream.h.framework("other", "b")
    stream.h.tick(59.0)
    assert stream.held() == []


def test_nothing_is_held_for_who_has_his_share():
    stream = Stream(HOLDING)
    stream.h.tell(ResourcesRequested(SMALL, WHOLE_AGENT))
    stream.h.tick()
    assert stream.held() == []


@pytest.mark.parametrize("wanted", [({"cpus": 5000},), ({"gpus": 1000},)])
def test_nothing_is_held_where_no_agent_suffices(wanted):
    stream = Stream(HOLDING)
    stream.ask(wanted)
    stream.h.tick()
    assert stream.held() == []


def test_nothing_is_held_while_some_agent_has_enough_free():
    stream = Stream(HOLDING)
    stream.h.tell(AgentAdded(AgentId("s9"), Resources.parse(FULL)))
    stream.ask()
    stream.h.tell(OffersSuppressed(SMALL), OffersSuppressed(BIG))
    stream.h.tick()
    assert stream.held() == []


def test_reserved_resources_of_a_held_agent_go_to_their_role():
    h = Harness(holding=HOLDING)
    h.framework("small", "s")
    h.framework("big", "b")
    used = ((SMALL, "s", Resources.parse("cpus:4;cpus(s):2")),)
    h.tell(AgentAdded(AgentId("s0"), Resources.parse("cpus:4;mem:4096;cpus(s):2"), used))
    for offer in h.run():
        h.give_back(offer, refuse_s=1.0)
    h.tell(ResourcesRequested(BIG, ({"cpus": 4000},)))
    for offer in h.tick(0.5):
        h.give_back(offer)
    h.tick(600.0)
    assert h.allocator.held_agents == {"s0": (BIG, "b")}
    back = Resources.parse("cpus:1;cpus(s):1")
    h.tell(ResourcesRecovered(SMALL, "s", AgentId("s0"), back))
    made = h.run()
    assert [(o.framework_id, str(o.resources)) for o in made] == [("small", "cpus(s):1")]


def test_a_guarantee_comes_before_a_hold():
    stream = Stream(HOLDING)
    stream.h.framework("prod", "p")
    stream.ask()
    stream.h.tick()
    (held,) = stream.held()
    stream.h.tell(QuotasUpdated({"p": Quota(guarantees={"cpus": 1000})}))
    stream.h.tell(ResourcesRecovered(SMALL, "s", AgentId(held), TASK))
    assert takers(stream.h.run()) == {held: "prod"}


@pytest.mark.parametrize("event", [AgentDeactivated, AgentRemoved])
def test_an_agent_that_goes_is_not_held(event):
    stream = Stream(HOLDING)
    stream.ask()
    stream.h.tick()
    (held,) = stream.held()
    stream.h.tell(event(AgentId(held)))
    stream.h.tick()
    assert held not in stream.held()
