"""Explanations: for each obstacle, removing what it names makes the offer appear."""

from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from cluster.core.allocator import (
    GENERAL,
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentTraits,
    AgentUpdated,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkTraits,
    FrameworkUpdated,
    HoldingOptions,
    Miss,
    Obstacle,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    RecoveryBegun,
    RecoveryEnded,
    ResourcesRecovered,
    ResourcesRequested,
    WeightsUpdated,
    WhitelistUpdated,
)
from cluster.core.allocator.sorters import SORTERS
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
from cluster.model.quotas import Quota
from cluster.model.resources import Reservation, ReservationType, Resource, Resources
from tests.unit.allocator.harness import Harness

F1, F2, S1 = FrameworkId("f1"), FrameworkId("f2"), AgentId("s1")
FULL = "cpus:4;mem:4096"
EVERYTHING = frozenset(AgentCapability)
PLAIN_AGENT = AgentTraits()
PLAIN_FRAMEWORK = FrameworkTraits()


@dataclass
class Case:
    """Framework f1 in a role, one agent s1, and something in between.

    Attributes:
        events: told before anything runs.
        clear: told afterwards; it takes away what the obstacle names.
        options: of the allocator.
        role: of the framework.
    """

    obstacle: Obstacle
    agent: str = FULL
    traits: AgentTraits = PLAIN_AGENT
    framework: FrameworkTraits = PLAIN_FRAMEWORK
    events: tuple = ()
    clear: tuple = ()
    options: dict = field(default_factory=dict)
    role: str = "a/x"


def able(*capabilities: FrameworkCapability) -> FrameworkTraits:
    return FrameworkTraits(frozenset(capabilities))


def lacking(capability: AgentCapability) -> AgentTraits:
    return AgentTraits(capabilities=EVERYTHING - {capability})


def on_host(hostname: str) -> OfferConstraints:
    wanted = AttributeConstraint(PseudoAttribute.HOSTNAME, Predicate.TEXT_EQUALS, hostname)
    return OfferConstraints({"a/x": ((wanted,),)})


def framework_becomes(traits: FrameworkTraits, role: str = "a/x") -> FrameworkUpdated:
    return FrameworkUpdated(F1, (role,), frozenset(), traits)


def at(hostname: str = "", region: str | None = None) -> AgentTraits:
    domain = None if region is None else FaultDomain(region, "z1")
    return AgentTraits(facts=AgentFacts(hostname=hostname, domain=domain))


REFINED = Resources(
    Resource(
        entry.identity.__class__(
            entry.identity.name,
            entry.identity.type,
            (Reservation("a"), Reservation("a/x", ReservationType.DYNAMIC, "p")),
        ),
        entry.value,
    )
    for entry in Resources.parse(FULL)
)
HERE = FaultDomain("here", "z1")
CASES = [
    Case(
        Obstacle.FRAMEWORK_INACTIVE,
        events=(FrameworkDeactivated(F1),),
        clear=(FrameworkActivated(F1),),
    ),
    Case(
        Obstacle.ROLE_SUPPRESSED,
        events=(OffersSuppressed(F1, ("a/x",)),),
        clear=(OffersRevived(F1),),
    ),
    Case(
        Obstacle.RECOVERING,
        events=(RecoveryBegun(expected_agents=5),),
        clear=(RecoveryEnded(),),
    ),
    Case(
        Obstacle.AGENT_DEACTIVATED,
        events=(AgentDeactivated(S1),),
        clear=(AgentActivated(S1),),
    ),
    Case(
        Obstacle.NOT_WHITELISTED,
        traits=at("here"),
        events=(WhitelistUpdated(frozenset({"there"})),),
        clear=(WhitelistUpdated(frozenset({"there", "here"})),),
    ),
    Case(
        Obstacle.OFFER_CONSTRAINTS,
        traits=at("here"),
        framework=FrameworkTraits(constraints=on_host("there")),
        clear=(framework_becomes(FrameworkTraits(constraints=on_host("here"))),),
    ),
    Case(
        Obstacle.GPU_AGENT,
        agent="cpus:4;mem:4096;gpus:1",
        clear=(framework_becomes(able(FrameworkCapability.GPU_RESOURCES)),),
    ),
    Case(
        Obstacle.OTHER_REGION,
        traits=at(region="there"),
        options={"domain": HERE},
        clear=(framework_becomes(able(FrameworkCapability.REGION_AWARE)),),
    ),
    Case(
        Obstacle.AGENT_LACKS_MULTI_ROLE,
        traits=lacking(AgentCapability.MULTI_ROLE),
        framework=able(FrameworkCapability.MULTI_ROLE),
        clear=(AgentUpdated(S1, Resources.parse(FULL), AgentTraits()),),
    ),
    Case(
        Obstacle.AGENT_LACKS_HIERARCHICAL_ROLE,
        traits=lacking(AgentCapability.HIERARCHICAL_ROLE),
        clear=(AgentUpdated(S1, Resources.parse(FULL), AgentTraits()),),
    ),
    Case(
        Obstacle.AGENT_TOO_SMALL,
        framework=FrameworkTraits(min_allocatable={"a/x": ({"cpus": 8000},)}),
        clear=(AgentUpdated(S1, Resources.parse("cpus:8;mem:1")),),
    ),
    Case(
        Obstacle.RESERVED_FOR_OTHERS,
        agent="cpus(b):4;mem(b):4096;disk:9",
        clear=(AgentUpdated(S1, Resources.parse("cpus(a):4;mem(b):4096;disk:9")),),
    ),
    Case(
        Obstacle.QUOTA_LIMIT,
        events=(QuotasUpdated({"a": Quota(limits={"cpus": 0, "mem": 0})}),),
        clear=(QuotasUpdated({"a": Quota(limits={"cpus": 10, "mem": 0})}),),
    ),
    Case(
        Obstacle.HEADROOM,
        events=(QuotasUpdated({"b": Quota(guarantees={"cpus": 4000, "mem": 4_096_000})}),),
        clear=(QuotasUpdated({"b": Quota(guarantees={"cpus": 3000, "mem": 4_096_000})}),),
    ),
]


def start(case: Case) -> Harness:
    h = Harness(**case.options)
    h.tell(FrameworkAdded(F1, (case.role,), frozenset(), True, case.framework))
    h.tell(AgentAdded(S1, Resources.parse(case.agent), (), case.traits))
    h.tell(*case.events)
    return h


def explained(h: Harness, role: str = "a/x"):
    why = h.allocator.explain(F1, role, h.now_s)
    assert why is not None
    return why


def is_offered_to_f1(h: Harness) -> bool:
    made = h.run() or h.tick()
    return any((o.framework_id, o.agent_id) == (F1, S1) for o in made)


def obstacles(h: Harness, role: str = "a/x") -> set[Obstacle]:
    why = explained(h, role)
    return set(why.summary.general) or set(why.counts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.obstacle.name)
def test_without_the_obstacle_the_offer_appears(case):
    h = start(case)
    assert obstacles(h) == {case.obstacle}
    assert not is_offered_to_f1(h)
    assert obstacles(h) == {case.obstacle}, "after a run in vain it is still the same"
    h.tell(*case.clear)
    assert case.obstacle not in obstacles(h)
    assert is_offered_to_f1(h)


def test_what_is_not_understood():
    h = Harness()
    h.framework("f1", "a/x")
    h.tell(AgentAdded(S1, REFINED))
    assert not is_offered_to_f1(h)
    assert obstacles(h) == {Obstacle.NOT_UNDERSTOOD}
    h.tell(framework_becomes(able(FrameworkCapability.RESERVATION_REFINEMENT)))
    assert is_offered_to_f1(h)


def test_nothing_free():
    h = Harness()
    h.framework("f1", "a/x")
    h.tell(AgentAdded(S1, Resources.parse(FULL), ((F2, "b", Resources.parse(FULL)),)))
    assert not is_offered_to_f1(h)
    assert obstacles(h) == {Obstacle.NOTHING_FREE}
    h.tell(AgentUpdated(S1, Resources.parse("cpus:5;mem:4096")))
    assert obstacles(h) == {Obstacle.NONE}
    assert is_offered_to_f1(h)


def test_below_the_minimum():
    h = Harness()
    minimum = FrameworkTraits(min_allocatable={"a/x": ({"cpus": 2000, "mem": 1_000_000},)})
    h.tell(FrameworkAdded(F1, ("a/x",), frozenset(), True, minimum))
    used = Resources.parse("cpus:2.5;mem:96")
    h.tell(AgentAdded(S1, Resources.parse(FULL), ((F2, "b", used),)))
    assert not is_offered_to_f1(h)
    why = explained(h)
    assert why.counts == {Obstacle.BELOW_MINIMUM: 1}
    assert why.nearest == Miss(S1, Obstacle.BELOW_MINIMUM, {"cpus": 500})
    assert "cpus: 0.5 more" in str(why.nearest)
    h.tell(AgentUpdated(S1, Resources.parse("cpus:4.5;mem:4096")))
    assert is_offered_to_f1(h)


def test_refused():
    h = Harness()
    h.framework("f1", "a/x")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=30.0)
    h.now_s += 10
    assert not is_offered_to_f1(h)
    why = explained(h)
    assert why.counts == {Obstacle.REFUSED: 1}
    assert why.filters_end_in_s == (19.0, 19.0)
    assert str(why.nearest) == "the framework refused it; filter ends in 19.0 s"
    assert [offer.framework_id for offer in h.tick(19.0)] == ["f1"]


def test_more_than_was_refused_is_not_kept_away():
    h = Harness()
    h.quota("a", limits="cpus:2")
    h.framework("f1", "a/x")
    h.agents(FULL, "s1")
    (offer,) = h.run()
    h.give_back(offer, refuse_s=60.0)
    assert not is_offered_to_f1(h)
    assert obstacles(h) == {Obstacle.REFUSED}
    h.quota("a", limits="cpus:3")
    assert obstacles(h) == {Obstacle.NONE}
    assert is_offered_to_f1(h)


def test_what_is_promised_to_the_role_itself_is_no_obstacle():
    """Guarantees leave no surplus here, but some of what they keep back is this role's own."""
    h = Harness()
    h.quota("a", guarantees="cpus:4;mem:4096")
    h.quota("b", guarantees="cpus:4;mem:4096")
    h.framework("f1", "a/x")
    h.framework("f2", "c")
    h.agents(FULL, "s1")
    assert obstacles(h) == {Obstacle.NONE}
    other = h.allocator.explain(F2, "c", h.now_s)
    assert other.counts == {Obstacle.HEADROOM: 1}
    assert is_offered_to_f1(h)


def test_others_first():
    h = Harness()
    h.framework("f1", "a/x")
    h.framework("f2", "b")
    h.agents(FULL, "s0")
    (first,) = h.run()
    h.agents(FULL, "s1")
    (second,) = h.run()
    assert [first.framework_id, second.framework_id] == ["f1", "f2"]
    why = explained(h)
    assert why.counts == {Obstacle.NOTHING_FREE: 1, Obstacle.OTHERS_FIRST: 1}
    assert why.nearest == Miss(S1, Obstacle.OTHERS_FIRST, taker=(F2, "b"))
    h.tell(OffersSuppressed(F2))
    h.give_back(second)
    assert is_offered_to_f1(h)


def test_held_and_collecting():
    h = Harness(holding=HoldingOptions())
    h.framework("f1", "a/x")
    h.framework("f2", "b")
    task = Resources.parse("cpus:2;mem:2048")
    h.tell(AgentAdded(S1, Resources.parse(FULL), ((FrameworkId("f3"), "c", task + task),)))
    h.tell(ResourcesRequested(F2, ({"cpus": 4000},)))
    h.tick()
    h.tell(ResourcesRecovered(FrameworkId("f3"), "c", S1, task))
    assert not is_offered_to_f1(h)
    assert explained(h).nearest == Miss(S1, Obstacle.HELD, taker=(F2, "b"))
    collecting = h.allocator.explain(F2, "b", h.now_s)
    assert collecting.nearest == Miss(S1, Obstacle.COLLECTING, {"cpus": 2000})
    h.tell(ResourcesRecovered(FrameworkId("f3"), "c", S1, task))
    (offer,) = h.run()
    assert offer.framework_id == "f2"
    h.give_back(offer, refuse_s=60.0)
    h.tell(ResourcesRequested(F2, ()))
    assert is_offered_to_f1(h)


def test_a_hold_that_is_given_up_makes_the_offer_appear():
    h = Harness(holding=HoldingOptions())
    h.framework("f1", "a/x")
    h.framework("f2", "b")
    task = Resources.parse("cpus:2;mem:2048")
    h.tell(AgentAdded(S1, Resources.parse(FULL), ((FrameworkId("f3"), "c", task + task),)))
    h.tell(ResourcesRequested(F2, ({"cpus": 4000},)))
    h.tick()
    h.tell(ResourcesRecovered(FrameworkId("f3"), "c", S1, task))
    assert obstacles(h) == {Obstacle.HELD}
    h.tell(ResourcesRequested(F2, ()))
    assert is_offered_to_f1(h)


def test_every_obstacle_is_tested():
    alone = {
        Obstacle.NOT_UNDERSTOOD,
        Obstacle.NOTHING_FREE,
        Obstacle.BELOW_MINIMUM,
        Obstacle.REFUSED,
        Obstacle.OTHERS_FIRST,
        Obstacle.HELD,
        Obstacle.COLLECTING,
        Obstacle.NONE,
    }
    assert {case.obstacle for case in CASES} | alone == set(Obstacle)


# The rest of an explanation


def test_agents_are_counted_by_what_keeps_them_away_first():
    h = Harness()
    h.framework("f1", "a/x")
    h.agents("cpus:4;mem:4096;gpus:1", "g1", "g2")
    h.agents(FULL, "s1", "s2", "s3")
    h.tell(AgentDeactivated(AgentId("g2")), AgentDeactivated(AgentId("s3")))
    for offer in h.run():
        h.give_back(offer, refuse_s=5.0 if offer.agent_id == "s1" else 9.0)
    h.now_s += 2
    why = explained(h)
    assert why.counts == {
        Obstacle.AGENT_DEACTIVATED: 2,
        Obstacle.GPU_AGENT: 1,
        Obstacle.REFUSED: 2,
    }
    assert why.filters_end_in_s == (3.0, 7.0)
    assert why.nearest == Miss(S1, Obstacle.REFUSED, ends_in_s=3.0)
    assert why.summary.general == ()
    assert (why.summary.offers_made, why.summary.last_offer_s) == (2, 100.0)


def test_of_agents_that_fail_alike_the_one_with_least_missing_is_the_nearest():
    h = Harness()
    minimum = FrameworkTraits(min_allocatable={"a/x": ({"cpus": 3000}, {"mem": 4_000_000})})
    h.tell(FrameworkAdded(F1, ("a/x",), frozenset(), True, minimum))
    for name, used in (("s1", "cpus:2;mem:3000"), ("s2", "cpus:3;mem:200"), ("s3", "cpus:3")):
        booked = ((F2, "b", Resources.parse(used)),)
        h.tell(AgentAdded(AgentId(name), Resources.parse("cpus:4;mem:4096"), booked))
    made = h.run()
    assert [offer.agent_id for offer in made] == ["s3"]
    assert explained(h).nearest == Miss(AgentId("s2"), Obstacle.BELOW_MINIMUM, {"mem": 104_000})


def test_general_obstacles_do_not_hide_the_others():
    h = Harness()
    h.framework("f1", "a/x", suppressed=("a/x",))
    h.agents(FULL, "s1")
    h.tell(AgentDeactivated(S1))
    why = explained(h)
    assert why.summary.general == (Obstacle.ROLE_SUPPRESSED,)
    assert why.counts == {Obstacle.AGENT_DEACTIVATED: 1}
    assert set(GENERAL).isdisjoint(why.counts)


def test_shares_and_places():
    h = Harness()
    h.tell(WeightsUpdated({"a": 2.0, "b": 0.1}))
    for framework, role in (("f1", "a"), ("f2", "a"), ("f3", "b")):
        h.framework(framework, role)
    h.tell(
        AgentAdded(
            S1,
            Resources.parse("cpus:9;mem:18"),
            (
                (F1, "a", Resources.parse("cpus:1;mem:4")),
                (F2, "a", Resources.parse("cpus:3;mem:1")),
            ),
        )
    )
    why = explained(h, "a")
    in_role, in_cluster = why.summary.in_role, why.summary.in_cluster
    assert (in_role.dominant, in_role.share) == ("mem", Fraction(2, 9))
    assert (in_role.position, in_role.of) == (1, 2)
    assert (in_cluster.dominant, in_cluster.share) == ("cpus", Fraction(4, 9))
    assert in_cluster.weighted_share == Fraction(2, 9)
    assert (in_cluster.position, in_cluster.of) == (2, 2)
    assert [(row.framework_id, row.role) for row in h.allocator.overview(h.now_s)] == [
        ("f1", "a"),
        ("f2", "a"),
        ("f3", "b"),
    ]
    assert why.summary in h.allocator.overview(h.now_s)


def test_explaining_changes_nothing_not_even_lots():
    def offers(*, explains):
        h = Harness(seed=3, role_sorter=SORTERS["random"], framework_sorter=SORTERS["random"])
        for n in range(5):
            h.framework(f"f{n}", "a" if n % 2 else "b")
        h.agents(FULL, "s1", "s2", "s3")
        made = []
        for _ in range(10):
            if explains:
                why = h.allocator.explain(FrameworkId("f1"), "a", h.now_s)
                assert why.summary.in_role.position is None
                h.allocator.overview(h.now_s)
            run = h.run()
            made += run
            for offer in run:
                h.give_back(offer)
        return made

    assert offers(explains=True) == offers(explains=False)


CHOOSY = [
    FrameworkTraits(constraints=on_host("there")),
    FrameworkTraits(min_allocatable={"a/x": ({"cpus": 8000},)}),
]


@pytest.mark.parametrize("comes", ["framework", "agent"])
@pytest.mark.parametrize("traits", CHOOSY, ids=["constraints", "minimum"])
def test_offers_that_a_wish_saved_are_counted_once_and_not_by_asking(traits, comes):
    h = Harness(holding=HoldingOptions())
    choosy = FrameworkAdded(F1, ("a/x",), traits=traits)
    agent = AgentAdded(S1, Resources.parse(FULL), traits=at("here"))
    for event in (choosy, agent) if comes == "agent" else (agent, choosy):
        h.tell(event)
        assert h.run() == []
    h.framework("f2", "b")
    assert is_offered_to_f1(h) is False
    for _ in range(3):
        assert explained(h).summary.offers_saved == 1
        assert h.allocator.explain(F2, "b", h.now_s).summary.offers_saved == 0
        assert h.allocator.statistics.filtered_offers == 1
        h.tick()


def test_who_is_not_there_has_no_explanation():
    h = Harness()
    h.framework("f1", "a")
    assert h.allocator.explain(F1, "b", h.now_s) is None
    assert h.allocator.explain(F2, "a", h.now_s) is None


def test_without_agents_there_is_no_nearest_miss():
    h = Harness()
    h.framework("f1", "a")
    why = explained(h, "a")
    assert (why.counts, why.nearest, why.filters_end_in_s) == ({}, None, None)
