"""Who can take which agent: capabilities, regions, constraints, minimal offers, the whitelist."""

import pytest

from cluster.core.allocator import (
    AgentAdded,
    AgentTraits,
    AgentUpdated,
    FrameworkAdded,
    FrameworkTraits,
    FrameworkUpdated,
    WhitelistUpdated,
    parse_min_allocatable,
)
from cluster.model.agents import AgentCapability
from cluster.model.constraints import (
    AgentFacts,
    AttributeConstraint,
    OfferConstraints,
    Predicate,
    PseudoAttribute,
)
from cluster.model.domains import FaultDomain
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import (
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)
from cluster.model.values import ValueType
from tests.unit.allocator.harness import Harness, takers

F1 = FrameworkId("f1")
S1, S2 = AgentId("s1"), AgentId("s2")
FULL = Resources.parse("cpus:4;mem:4096")
ALL_AGENT = frozenset(AgentCapability)


def with_capability(*capabilities: FrameworkCapability) -> FrameworkTraits:
    return FrameworkTraits(frozenset(capabilities))


def host(name: str, **facts) -> AgentTraits:
    return AgentTraits(AgentFacts(name, **facts))


def on_host(role: str, name: str) -> OfferConstraints:
    rule = AttributeConstraint(PseudoAttribute.HOSTNAME, Predicate.TEXT_EQUALS, name)
    return OfferConstraints({role: ((rule,),)})


@pytest.mark.parametrize(
    ("capabilities", "filters", "is_offered"),
    [
        ((), True, False),
        ((), False, True),
        ((FrameworkCapability.GPU_RESOURCES,), True, True),
    ],
)
def test_agents_with_gpus_are_for_those_who_ask_for_gpus(capabilities, filters, is_offered):
    h = Harness(filter_gpu_resources=filters)
    h.framework("f1", "a", traits=with_capability(*capabilities))
    h.agents("cpus:4;gpus:1", "s1")
    assert bool(h.run()) is is_offered


def test_an_agent_that_loses_its_gpus_is_for_everybody():
    h = Harness()
    h.framework("f1", "a")
    h.agents("cpus:4;gpus:1", "s1")
    assert h.run() == []
    h.tell(AgentUpdated(S1, Resources.parse("cpus:4")))
    assert takers(h.run()) == {"s1": "f1"}


@pytest.mark.parametrize(
    ("master", "agent", "capabilities", "is_offered"),
    [
        (FaultDomain("r1", "z1"), FaultDomain("r2", "z1"), (), False),
        (
            FaultDomain("r1", "z1"),
            FaultDomain("r2", "z1"),
            (FrameworkCapability.REGION_AWARE,),
            True,
        ),
        (FaultDomain("r1", "z1"), FaultDomain("r1", "z2"), (), True),
        (FaultDomain("r1", "z1"), None, (), True),
        (None, FaultDomain("r2", "z1"), (), True),
    ],
)
def test_other_regions_are_for_those_who_know_of_regions(master, agent, capabilities, is_offered):
    h = Harness(domain=master)
    h.framework("f1", "a", traits=with_capability(*capabilities))
    h.tell(AgentAdded(S1, FULL, traits=host("h", domain=agent)))
    assert bool(h.run()) is is_offered


@pytest.mark.parametrize(
    ("role", "capabilities", "missing", "is_offered"),
    [
        ("a", (FrameworkCapability.MULTI_ROLE,), AgentCapability.MULTI_ROLE, False),
        ("a", (), AgentCapability.MULTI_ROLE, True),
        ("a/b", (), AgentCapability.HIERARCHICAL_ROLE, False),
        ("a", (), AgentCapability.HIERARCHICAL_ROLE, True),
    ],
)
def test_old_agents_are_not_for_new_ways(role, capabilities, missing, is_offered):
    h = Harness()
    h.framework("f1", role, traits=with_capability(*capabilities))
    h.tell(AgentAdded(S1, FULL, traits=AgentTraits(capabilities=ALL_AGENT - {missing})))
    assert bool(h.run()) is is_offered


# What a framework does not understand


def entry(milli: int, *roles: str, **marks) -> Resource:
    stack = tuple(Reservation(role, ReservationType.DYNAMIC) for role in roles)
    return Resource(ResourceIdentity("cpus", ValueType.SCALAR, stack, **marks), milli)


@pytest.mark.parametrize(
    ("special", "capability"),
    [
        (entry(1000, is_revocable=True), FrameworkCapability.REVOCABLE_RESOURCES),
        (entry(1000, "a", "a/x"), FrameworkCapability.RESERVATION_REFINEMENT),
        (entry(1000, "a/x", is_shared=True), FrameworkCapability.SHARED_RESOURCES),
    ],
)
def test_resources_that_a_framework_does_not_understand_are_left_out(special, capability):
    plain = Resources.parse("cpus:2;mem:64")
    h = Harness()
    h.framework("f1", "a/x")
    h.tell(AgentAdded(S1, plain + Resources([special])))
    (offer,) = h.run()
    assert offer.resources == plain
    h.framework("f2", "a/x", traits=with_capability(capability))
    assert [(a.framework_id, a.resources) for a in h.run()] == [("f2", Resources([special]))]


# Constraints


def test_constraints_decide_per_agent():
    h = Harness()
    h.framework("f1", "a", traits=FrameworkTraits(constraints=on_host("a", "good")))
    h.tell(AgentAdded(S1, FULL, traits=host("good")), AgentAdded(S2, FULL, traits=host("bad")))
    assert takers(h.run()) == {"s1": "f1"}


def test_constraints_of_one_role_leave_the_others_alone_and_no_groups_mean_no_agent():
    h = Harness()
    h.framework("f1", "a", "b", traits=FrameworkTraits(constraints=OfferConstraints({"a": ()})))
    h.tell(AgentAdded(S1, FULL, traits=host("h")))
    assert [a.role for a in h.run()] == ["b"]


def test_changed_constraints_show_every_agent_again():
    h = Harness()
    h.framework("f1", "a", traits=FrameworkTraits(constraints=on_host("a", "other")))
    h.tell(AgentAdded(S1, FULL, traits=host("good")))
    assert h.run() == []
    h.tell(FrameworkUpdated(F1, ("a",), traits=FrameworkTraits(constraints=on_host("a", "good"))))
    assert takers(h.run()) == {"s1": "f1"}


def test_an_agent_with_changed_traits_is_judged_anew_and_loses_its_filters():
    h = Harness()
    h.framework("f1", "a", traits=FrameworkTraits(constraints=on_host("a", "good")))
    h.tell(AgentAdded(S1, FULL, traits=host("bad")))
    assert h.run() == []
    h.tell(AgentUpdated(S1, FULL, host("good")))
    (offer,) = h.run()
    h.give_back(offer, refuse_s=1000.0)
    h.tell(AgentUpdated(S1, FULL, host("good")))
    assert h.run() == []
    h.tell(AgentUpdated(S1, FULL, host("good", domain=FaultDomain("r", "z"))))
    assert takers(h.run()) == {"s1": "f1"}


# Minimal offers of a role


@pytest.mark.parametrize(
    ("minimum", "agent", "is_offered"),
    [
        ("cpus:2", "cpus:1;mem:4096", False),
        ("cpus:2", "cpus:2", True),
        ("cpus:8|mem:64", "cpus:1;mem:64", True),
        ("", "ports:[1-2]", True),
    ],
)
def test_a_role_may_set_its_own_minimum(minimum, agent, is_offered):
    h = Harness()
    traits = FrameworkTraits(min_allocatable={"a": parse_min_allocatable(minimum)})
    h.framework("f1", "a", traits=traits)
    h.framework("f2", "b")
    h.agents(agent, "s1")
    assert any(a.framework_id == "f1" for a in h.run()) is is_offered


def test_the_minimum_of_one_role_is_not_that_of_another():
    h = Harness()
    h.framework("f1", "a", traits=FrameworkTraits(min_allocatable={"b": ({"cpus": 99_000},)}))
    h.agents("cpus:1;mem:64", "s1")
    assert takers(h.run()) == {"s1": "f1"}


# Whitelist


def test_only_listed_hosts_are_offered():
    h = Harness()
    h.framework("f1", "a")
    h.tell(WhitelistUpdated(frozenset({"h1"})))
    h.tell(AgentAdded(S1, FULL, traits=host("h1")), AgentAdded(S2, FULL, traits=host("h2")))
    assert takers(h.run()) == {"s1": "f1"}
    h.tell(WhitelistUpdated(frozenset({"h1", "h2"})))
    assert takers(h.run()) == {"s2": "f1"}


def test_no_list_lists_everything_and_an_empty_one_nothing():
    h = Harness()
    h.framework("f1", "a")
    h.tell(WhitelistUpdated(frozenset()), AgentAdded(S1, FULL, traits=host("h1")))
    assert h.run() == []
    h.tell(WhitelistUpdated(None))
    assert takers(h.run()) == {"s1": "f1"}


def test_a_list_that_frees_nothing_makes_no_candidates():
    h = Harness()
    h.tell(AgentAdded(S1, FULL, traits=host("h1")))
    h.run()
    h.tell(WhitelistUpdated(frozenset({"h1"})))
    assert not h.allocator.has_candidates


def test_an_agent_can_join_inactive():
    h = Harness()
    h.tell(FrameworkAdded(F1, ("a",)), AgentAdded(S1, FULL, is_active=False))
    assert h.run() == []
