"""The allocator under any sequence of events: what must hold after each of them."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentTraits,
    AgentUpdated,
    Allocation,
    AllocatorOptions,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkTraits,
    FrameworkUpdated,
    FreeResourcesConverted,
    HierarchicalAllocator,
    HoldingOptions,
    IntervalElapsed,
    InverseOfferAnswered,
    InverseOfferWithdrawn,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesConverted,
    ResourcesRecovered,
    ResourcesRequested,
    UnavailabilityChanged,
    WeightsUpdated,
    WhitelistUpdated,
)
from cluster.model.constraints import (
    AgentFacts,
    AttributeConstraint,
    OfferConstraints,
    Predicate,
    PseudoAttribute,
)
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.model.quotas import Quota
from cluster.model.resources import (
    EMPTY,
    Disk,
    Persistence,
    Reservation,
    Resource,
    ResourceIdentity,
    Resources,
    Volume,
)
from cluster.model.roles import is_strict_descendant
from cluster.model.values import ValueType

INTERVAL_S = 1.0
AGENTS = [AgentId(f"s{n}") for n in range(4)]
FRAMEWORKS = [FrameworkId(f"f{n}") for n in range(4)]
ROLES = ["a", "a/x", "b"]
REVOCABLE = Resources(
    [Resource(ResourceIdentity("cpus", ValueType.SCALAR, is_revocable=True), 3000)]
)
REFINED = Resources(
    [
        Resource(
            ResourceIdentity("mem", ValueType.SCALAR, (Reservation("a"), Reservation("a/x"))),
            40_000,
        )
    ]
)
SHARED = Resources(
    [
        Resource(
            ResourceIdentity(
                "disk",
                ValueType.SCALAR,
                (Reservation("a"),),
                Disk(Persistence("v"), Volume("data")),
                is_shared=True,
            ),
            64_000,
        )
    ]
)
TOTALS = [
    Resources.parse("cpus:4;mem:128;ports:[1-9]"),
    Resources.parse("cpus:1;mem:16"),
    Resources.parse("cpus(a):2;cpus:1;mem:64;ports:[5-7]") + SHARED,
    Resources.parse("cpus(b):2;mem(a/x):64;disk:10"),
    Resources.parse("disk:100") + SHARED,
    Resources.parse("cpus:1;mem:64") + REVOCABLE + REFINED,
    Resources.parse("cpus(a):1;mem:64") + REVOCABLE + SHARED,
    Resources.parse("cpus:3;mem:64;gpus:1"),
]
QUOTAS = [
    Quota(),
    Quota({"cpus": 2000}),
    Quota({"cpus": 3000, "mem": 64_000}, {"cpus": 4000}),
    Quota(limits={"cpus": 1500}),
    Quota(limits={"cpus": 0, "mem": 100_000}),
]
CAPABILITIES = {
    "shared": FrameworkCapability.SHARED_RESOURCES,
    "revocable": FrameworkCapability.REVOCABLE_RESOURCES,
    "refined": FrameworkCapability.RESERVATION_REFINEMENT,
    "gpus": FrameworkCapability.GPU_RESOURCES,
}
EVERYTHING = frozenset(CAPABILITIES.values())
CONSTRAINTS = OfferConstraints(
    {
        "a": (
            (AttributeConstraint(PseudoAttribute.HOSTNAME, Predicate.TEXT_EQUALS, "s0"),),
            (AttributeConstraint(PseudoAttribute.HOSTNAME, Predicate.TEXT_EQUALS, "s2"),),
        ),
        "b": (),
    }
)
TRAITS = [
    FrameworkTraits(),
    FrameworkTraits(EVERYTHING),
    FrameworkTraits(EVERYTHING, {"a": ({"cpus": 2000},), "b": ()}),
    FrameworkTraits(EVERYTHING, constraints=CONSTRAINTS),
    *(FrameworkTraits(EVERYTHING - {capability}) for capability in CAPABILITIES.values()),
]
MIN_ALLOCATABLE = ({"cpus": 10}, {"mem": 32_000})
WINDOWS = [None, Unavailability(10.0), Unavailability(20.0, 5.0)]
DEMANDS = [(), ({"cpus": 3000},), ({"cpus": 1500, "mem": 60_000}, {"cpus": 4000})]
HALF = Resources.parse("cpus:0.5")
picks = st.integers(0, 999)
agents = st.sampled_from(AGENTS)
frameworks = st.sampled_from(FRAMEWORKS)
role_sets = st.lists(st.sampled_from(ROLES), min_size=1, unique=True).map(tuple)
refusals = st.sampled_from([None, 0.0, 0.5, 1.0, 3.0, 1000.0, -1.0])


def lasts_s(refuse_s: float) -> float:
    return 5.0 if refuse_s < 0 else max(INTERVAL_S, refuse_s)


def open_milli(resources: Resources, name: str) -> int:
    """What quotas are about: neither reserved nor revocable."""
    return sum(
        entry.size()
        for entry in resources
        if entry.name == name and not entry.reservations and not entry.identity.is_revocable
    )


def holds_one_of(offer: Resources, alternatives) -> bool:
    return any(
        all(offer.scalar_milli(name) >= milli for name, milli in wanted.items())
        for wanted in alternatives
    )


class AllocatorMachine(RuleBasedStateMachine):
    """Keeps books of its own, as simple as possible, and compares."""

    HOLDING: HoldingOptions | None = None

    def __init__(self) -> None:
        super().__init__()
        options = AllocatorOptions(allocation_interval_s=INTERVAL_S, holding=self.HOLDING)
        self.allocator = HierarchicalAllocator(options, random.Random(1))
        self.now_s = 0.0
        self.totals: dict[AgentId, Resources] = {}
        self.inactive_agents: set[AgentId] = set()
        self.roles: dict[FrameworkId, tuple[str, ...]] = {}
        self.suppressed: dict[FrameworkId, set[str]] = {}
        self.inactive: set[FrameworkId] = set()
        self.held: list[Allocation] = []
        """Offers and what was kept of them, in unallocated form."""
        self.filters: list[tuple[FrameworkId, str, AgentId, Resources, float]] = []
        self.quotas: dict[str, Quota] = {}
        self.listed: frozenset[str] | None = None
        self.declined_s: dict[tuple[FrameworkId, str, AgentId], tuple[Resources, float]] = {}
        self.traits: dict[FrameworkId, FrameworkTraits] = {}
        self.wishes: dict[FrameworkId, dict] = {}
        self.held_since_s: dict[tuple, float] = {}
        """By agent, for whom, and the demand: another demand is another hold."""
        self.unavailable: dict[AgentId, Unavailability] = {}
        self.asked_back: set[tuple[FrameworkId, AgentId]] = set()
        self.answers: dict[tuple[FrameworkId, AgentId], InverseOfferStatus] = {}
        self.not_asked_until_s: dict[tuple[FrameworkId, AgentId], float] = {}

    def tell(self, event) -> None:
        self.allocator.handle(event, self.now_s)

    def wants(self, framework: FrameworkId, role: str) -> bool:
        return (
            framework in self.roles
            and role in self.roles[framework]
            and role not in self.suppressed[framework]
            and framework not in self.inactive
        )

    def is_filtered(self, framework, role, agent, offer) -> bool:
        return any(
            f[:3] == (framework, role, agent) and f[4] > self.now_s and f[3].contains(offer)
            for f in self.filters
        )

    def free(self, agent: AgentId) -> Resources:
        held = (a.resources.unshared() for a in self.held if a.agent_id == agent)
        return self.totals[agent].minus_up_to(sum(held, EMPTY))

    def may_take(self, framework: FrameworkId, role: str, agent: AgentId) -> bool:
        traits = self.traits[framework]
        if self.totals[agent].scalar_milli("gpus"):
            if CAPABILITIES["gpus"] not in traits.capabilities:
                return False
        return traits.constraints is None or traits.constraints.allow(role, AgentFacts(agent))

    def understood(self, framework: FrameworkId, resources: Resources) -> Resources:
        lacks = {
            word: capability not in self.traits[framework].capabilities
            for word, capability in CAPABILITIES.items()
        }
        return Resources(
            entry
            for entry in resources
            if not (entry.identity.is_shared and lacks["shared"])
            and not (entry.identity.is_revocable and lacks["revocable"])
            and not (len(entry.reservations) > 1 and lacks["refined"])
        )

    def is_worth(self, framework: FrameworkId, role: str, offer: Resources) -> bool:
        alternatives = self.traits[framework].min_allocatable.get(role, MIN_ALLOCATABLE)
        return bool(offer) and (not alternatives or holds_one_of(offer, alternatives))

    # Agents

    @rule(agent=agents, total=st.sampled_from(TOTALS), uses=st.booleans(), framework=frameworks)
    def add_agent(self, agent, total, uses, framework):
        if agent in self.totals:
            return
        used = ()
        if uses and total.scalar_milli("cpus") >= 1000:
            part = Resources.parse("cpus:1")
            used = ((framework, "b", part),)
            self.held.append(Allocation(framework, "b", agent, part))
        self.totals[agent] = total
        self.tell(AgentAdded(agent, total, used, AgentTraits(AgentFacts(agent))))

    @rule(listed=st.none() | st.frozensets(agents))
    def list_agents(self, listed):
        self.listed = listed
        self.tell(WhitelistUpdated(listed))

    def may_be_offered(self, agent: AgentId) -> bool:
        return agent not in self.inactive_agents and (self.listed is None or agent in self.listed)

    @rule(agent=agents, total=st.sampled_from(TOTALS))
    def resize_agent(self, agent, total):
        if agent in self.totals:
            self.totals[agent] = total
            self.tell(AgentUpdated(agent, total))

    @rule(agent=agents)
    def remove_agent(self, agent):
        if agent in self.totals:
            del self.totals[agent]
            self.inactive_agents.discard(agent)
            self.held = [a for a in self.held if a.agent_id != agent]
            self.filters = [f for f in self.filters if f[2] != agent]
            self.declined_s = {k: v for k, v in self.declined_s.items() if k[2] != agent}
            self.forget_maintenance(agent)
            self.tell(AgentRemoved(agent))

    @rule(agent=agents, is_active=st.booleans())
    def switch_agent(self, agent, is_active):
        if agent in self.totals:
            (self.inactive_agents.discard if is_active else self.inactive_agents.add)(agent)
            self.tell(AgentActivated(agent) if is_active else AgentDeactivated(agent))

    # Frameworks

    @rule(
        framework=frameworks,
        roles=role_sets,
        suppressed=role_sets,
        is_active=st.booleans(),
        traits=st.sampled_from(TRAITS),
    )
    def add_framework(self, framework, roles, suppressed, is_active, traits):
        if framework in self.roles:
            return
        self.roles[framework] = roles
        self.suppressed[framework] = set(suppressed[1:])
        if not is_active:
            self.inactive.add(framework)
        self.traits[framework] = traits
        self.wishes[framework] = {}
        event = FrameworkAdded(framework, roles, frozenset(suppressed[1:]), is_active, traits)
        self.tell(event)

    @rule(
        framework=frameworks,
        roles=role_sets,
        suppressed=role_sets,
        traits=st.none() | st.sampled_from(TRAITS),
    )
    def update_framework(self, framework, roles, suppressed, traits):
        if framework in self.roles:
            self.forget_filters(framework, [r for r in self.roles[framework] if r not in roles])
            self.roles[framework] = roles
            self.suppressed[framework] = set(suppressed[1:])
            self.traits[framework] = traits = traits or self.traits[framework]
            self.tell(FrameworkUpdated(framework, roles, frozenset(suppressed[1:]), traits))

    @rule(framework=frameworks)
    def remove_framework(self, framework):
        if framework in self.roles:
            self.forget_filters(framework, ROLES)
            del self.roles[framework], self.suppressed[framework]
            self.forget_questions(framework)
            self.inactive.discard(framework)
            self.tell(FrameworkRemoved(framework))

    @rule(framework=frameworks, is_active=st.booleans())
    def switch_framework(self, framework, is_active):
        if framework in self.roles:
            if is_active:
                self.inactive.discard(framework)
                self.tell(FrameworkActivated(framework))
            else:
                self.inactive.add(framework)
                self.forget_filters(framework, ROLES)
                self.forget_questions(framework)
                self.tell(FrameworkDeactivated(framework))

    @rule(framework=frameworks, roles=st.one_of(st.just(()), role_sets))
    def suppress(self, framework, roles):
        if framework in self.roles:
            self.suppressed[framework] |= set(roles or self.roles[framework])
            self.tell(OffersSuppressed(framework, roles))

    @rule(framework=frameworks, roles=st.one_of(st.just(()), role_sets))
    def revive(self, framework, roles):
        if framework in self.roles:
            revived = [r for r in roles or self.roles[framework] if r in self.roles[framework]]
            self.suppressed[framework] -= set(revived)
            self.forget_filters(framework, revived)
            for key in [key for key in self.not_asked_until_s if key[0] == framework]:
                del self.not_asked_until_s[key]
            self.tell(OffersRevived(framework, roles))

    def forget_filters(self, framework, roles):
        self.filters = [f for f in self.filters if not (f[0] == framework and f[1] in roles)]
        self.declined_s = {
            k: v for k, v in self.declined_s.items() if not (k[0] == framework and k[1] in roles)
        }

    @rule(role=st.sampled_from(ROLES), weight=st.sampled_from([0.5, 1.0, 2.0]))
    def weigh(self, role, weight):
        self.tell(WeightsUpdated({role: weight}))

    # Quotas, counted in the simplest way

    @rule(role=st.sampled_from(ROLES), quota=st.sampled_from(QUOTAS))
    def set_quota(self, role, quota):
        self.quotas.pop(role, None)
        if not quota.is_default:
            self.quotas[role] = quota
        self.tell(QuotasUpdated({role: quota}))

    def consumed(self, path: str, name: str) -> int:
        below = [role for role in ROLES if role == path or is_strict_descendant(role, path)]
        held = sum(open_milli(a.resources, name) for a in self.held if a.role in below)
        reserved = sum(
            total.reserved_to(role).scalar_milli(name)
            for total in self.totals.values()
            for role in below
        )
        return held + reserved

    def unmet(self, path: str, name: str) -> int:
        mine = 0
        if path in self.quotas:
            mine = self.quotas[path].guarantees.get(name, 0) - self.consumed(path, name)
        children = [r for r in ROLES if r.rpartition("/")[0] == path]
        return max(mine, sum(self.unmet(child, name) for child in children))

    def surplus(self, name: str) -> int:
        free = sum(
            open_milli(self.free(agent), name)
            for agent in self.totals
            if self.may_be_offered(agent)
        )
        return free - self.unmet("", name)

    def claim(self, role: str) -> dict[str, int]:
        """What is promised to the role or to one above it, and not to others below that one."""
        claim: dict[str, int] = {}
        for path, quota in self.quotas.items():
            if role == path or is_strict_descendant(role, path):
                for name, milli in quota.guarantees.items():
                    below = sum(self.unmet(r, name) for r in ROLES if r.rpartition("/")[0] == path)
                    own = milli - self.consumed(path, name) - below
                    claim[name] = claim.get(name, 0) + max(0, own)
        return {name: milli for name, milli in claim.items() if milli}

    def room(self, role: str, claim: dict[str, int]) -> dict[str, int]:
        """What may be given: what nobody else is promised, up to the limits."""
        room: dict[str, int] = {}
        for name in ("cpus", "mem"):
            if self.unmet("", name):
                room[name] = max(0, self.surplus(name)) + claim.get(name, 0)
            for path, quota in self.quotas.items():
                if role == path or is_strict_descendant(role, path):
                    limit = quota.limits.get(name)
                    if limit is not None:
                        kept = self.promised_to_others(role, path, name)
                        left = max(0, limit - self.consumed(path, name) - kept)
                        room[name] = min(room.get(name, left), left)
        return room

    def promised_to_others(self, role: str, path: str, name: str) -> int:
        """What of the limit of a path is kept for those below it that the role is not among.

        The roles here have two levels: what is unmet of a child is all promised to itself.
        """
        children = [r for r in ROLES if r.rpartition("/")[0] == path and r != role]
        return sum(self.unmet(child, name) for child in children)

    def no_limit_is_exceeded(self, made: Allocation) -> None:
        for path, quota in self.quotas.items():
            if made.role == path or is_strict_descendant(made.role, path):
                for name, limit in quota.limits.items():
                    if open_milli(made.resources, name):
                        assert self.consumed(path, name) <= limit

    # Operations

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def reserve_held(self, pick):
        held = self.held[pick % len(self.held)]
        if not held.resources.contains(HALF):
            return
        after = Resources.parse("cpus:0.5", default_role=held.role)
        self.held.remove(held)
        converted = held.resources - HALF + after
        self.held.append(Allocation(held.framework_id, held.role, held.agent_id, converted))
        total = self.totals[held.agent_id]
        if total.contains(HALF):
            self.totals[held.agent_id] = total - HALF + after
        self.tell(ResourcesConverted(held.framework_id, held.role, held.agent_id, HALF, after))

    @rule(agent=agents, role=st.sampled_from(ROLES), back=st.booleans())
    def reserve_free(self, agent, role, back):
        before, after = HALF, Resources.parse("cpus:0.5", default_role=role)
        if back:
            before, after = after, before
        if agent in self.totals and self.free(agent).contains(before):
            self.totals[agent] = self.totals[agent] - before + after
            self.tell(FreeResourcesConverted(agent, before, after))

    # Offers

    @precondition(lambda self: self.held)
    @rule(pick=picks, refuse_s=refusals, keeps=st.booleans())
    def give_back(self, pick, refuse_s, keeps):
        held = self.held[pick % len(self.held)]
        kept = Resources.parse("cpus:0.5") if keeps else EMPTY
        kept = kept if held.resources.contains(kept) else EMPTY
        back = held.resources - kept
        self.held.remove(held)
        if kept:
            self.held.append(Allocation(held.framework_id, held.role, held.agent_id, kept))
        if not back:
            return
        key = (held.framework_id, held.role, held.agent_id)
        if refuse_s is not None and held.role in self.roles.get(held.framework_id, ()):
            self.filters.append((*key, back, self.now_s + lasts_s(refuse_s)))
            self.declined_s[key] = (back, self.now_s)
        form = back.allocated_to(held.role) if keeps else back
        self.tell(ResourcesRecovered(held.framework_id, held.role, held.agent_id, form, refuse_s))

    @rule()
    def run(self):
        before = {name: self.surplus(name) for name in ("cpus", "mem")}
        held_for = dict(self.allocator.held_agents)
        promised = {role for role in ROLES if self.claim(role)}
        offers = self.allocator.allocate(self.now_s)
        for made in offers:
            self.check_and_hold(made)
        self.shared_copies_go_to_one(offers)
        held_now = self.allocator.held_agents
        self.held_since_s = {k: s for k, s in self.held_since_s.items() if k[0] in held_now}
        for made in offers:
            if made.agent_id in held_for and made.agent_id in self.allocator.held_agents:
                assert made.role in promised or not made.resources.unreserved()
        for name, surplus in before.items():
            if self.unmet("", name):
                assert self.surplus(name) >= min(0, surplus)
        self.ask_back()
        assert not self.allocator.has_candidates

    @rule(after_s=st.sampled_from([0.3, 1.0, 5.0]))
    def tick(self, after_s):
        self.now_s += after_s
        self.tell(IntervalElapsed())
        self.run()
        self.nothing_wanted_stays_free()
        self.everybody_is_asked_back()
        self.holds_are_bounded()

    def check_and_hold(self, made: Allocation) -> None:
        offer = made.resources
        assert offer == offer.unallocated()
        assert made.agent_id in self.totals
        assert self.may_take(made.framework_id, made.role, made.agent_id)
        assert self.understood(made.framework_id, offer) == offer
        assert self.is_worth(made.framework_id, made.role, offer)
        assert self.may_be_offered(made.agent_id)
        assert self.wants(made.framework_id, made.role)
        assert not self.is_filtered(made.framework_id, made.role, made.agent_id, offer)
        assert self.free(made.agent_id).usable_by(made.role).contains(offer)
        self.no_decline_spins(made, offer)
        self.held.append(Allocation(made.framework_id, made.role, made.agent_id, offer))
        self.no_limit_is_exceeded(made)

    def shared_copies_go_to_one(self, offers: list[Allocation]) -> None:
        """In one run; later others may get a copy too."""
        for agent in AGENTS:
            copies = sum((a.resources.shared() for a in offers if a.agent_id == agent), EMPTY)
            assert all(entry.copies == 1 for entry in copies)

    def no_decline_spins(self, made: Allocation, offer: Resources) -> None:
        key = (made.framework_id, made.role, made.agent_id)
        if key in self.declined_s:
            declined, at_s = self.declined_s[key]
            assert not declined.contains(offer) or self.now_s >= at_s + INTERVAL_S

    def nothing_wanted_stays_free(self) -> None:
        """After an interval, whatever is free and worth an offer was refused by all who could.

        Of what is shared somebody else may have had the copy of this run.
        """
        for agent in self.totals:
            if not self.may_be_offered(agent):
                continue
            for framework in self.roles:
                for role in self.roles[framework]:
                    if self.wants(framework, role) and self.may_take(framework, role, agent):
                        for offer in self.possible_offers(framework, role, agent):
                            is_worth = self.is_worth(framework, role, offer)
                            is_due = is_worth and not self.is_filtered(
                                framework, role, agent, offer
                            )
                            assert not is_due, (framework, role, agent, offer)

    def possible_offers(self, framework: FrameworkId, role: str, agent: AgentId):
        """What the client might have now: by what it is promised, and of what nobody is."""
        free = self.understood(framework, self.free(agent).usable_by(role).unshared())
        claim = self.claim(role)
        promised = free.chopped(self.room(role, claim))
        if any(open_milli(promised, name) for name in claim):
            yield promised
        if agent in self.allocator.held_agents:
            free = free.reserved()
        yield free.chopped(self.room(role, {}))

    # Maintenance

    @rule(agent=agents, window=st.sampled_from(WINDOWS))
    def plan_maintenance(self, agent, window):
        if agent in self.totals:
            self.forget_maintenance(agent)
            if window is not None:
                self.unavailable[agent] = window
            self.tell(UnavailabilityChanged(agent, window))

    def forget_maintenance(self, agent):
        self.unavailable.pop(agent, None)
        self.asked_back = {key for key in self.asked_back if key[1] != agent}
        for known in (self.answers, self.not_asked_until_s):
            for key in [key for key in known if key[1] == agent]:
                del known[key]

    def forget_questions(self, framework):
        self.asked_back = {key for key in self.asked_back if key[0] != framework}
        for key in [key for key in self.not_asked_until_s if key[0] == framework]:
            del self.not_asked_until_s[key]

    @precondition(lambda self: self.asked_back)
    @rule(pick=picks, status=st.sampled_from(InverseOfferStatus), refuse_s=refusals)
    def answer_question(self, pick, status, refuse_s):
        key = sorted(self.asked_back)[pick % len(self.asked_back)]
        self.asked_back.remove(key)
        self.answers[key] = status
        self.not_asked_until_s[key] = self.now_s + lasts_s(refuse_s or 0.0)
        self.tell(InverseOfferAnswered(key[0], key[1], status, refuse_s))

    @precondition(lambda self: self.asked_back)
    @rule(pick=picks)
    def withdraw_question(self, pick):
        key = sorted(self.asked_back)[pick % len(self.asked_back)]
        self.asked_back.remove(key)
        self.tell(InverseOfferWithdrawn(*key))

    def can_be_asked(self, framework: FrameworkId, agent: AgentId) -> bool:
        return (
            framework in self.roles
            and framework not in self.inactive
            and agent in self.unavailable
            and self.may_be_offered(agent)
            and self.not_asked_until_s.get((framework, agent), self.now_s) <= self.now_s
            and (framework, agent) not in self.asked_back
        )

    def ask_back(self) -> None:
        holders = {(held.framework_id, held.agent_id) for held in self.held}
        for asked in self.allocator.inverse_offers(self.now_s):
            key = (asked.framework_id, asked.agent_id)
            assert key in holders
            assert self.can_be_asked(*key)
            assert asked.unavailability == self.unavailable[asked.agent_id]
            self.asked_back.add(key)

    def everybody_is_asked_back(self) -> None:
        for held in self.held:
            assert not self.can_be_asked(held.framework_id, held.agent_id)

    # Holding

    def demand(self, framework: FrameworkId, role: str, agent: AgentId):
        wishes = self.wishes[framework]
        keys = [(role, agent), (role, None), (None, agent), (None, None)]
        wanted = next((wishes[key] for key in keys if wishes.get(key)), None)
        return wanted or self.traits[framework].min_allocatable.get(role, ())

    def holds_are_bounded(self) -> None:
        """Few agents, one for each, for a while, and only while the demand does not fit."""
        held = self.allocator.held_agents
        if self.HOLDING is None:
            assert not held
            return
        most = max(1, int(self.HOLDING.agents_fraction_max * len(self.totals)))
        assert len(held) <= max(most, len(self.held_since_s))
        assert len(set(held.values())) == len(held)
        since_s = {}
        for agent, (framework, role) in held.items():
            key = (agent, framework, role, str(self.demand(framework, role, agent)))
            since_s[key] = self.held_since_s.get(key, self.now_s)
            assert self.now_s < since_s[key] + self.HOLDING.hold_s_max
            assert self.wants(framework, role)
            free = self.understood(framework, self.free(agent).usable_by(role))
            demand = self.demand(framework, role, agent)
            assert demand
            if self.may_be_offered(agent):
                assert not holds_one_of(free.chopped(self.room(role, {})), demand)
        self.held_since_s = since_s

    @invariant()
    def books_agree(self):
        self.allocator.check_invariants()
        for role in self.quotas:
            consumed = self.allocator.quota_consumption(role)
            for name in ("cpus", "mem"):
                assert consumed.get(name, 0) == self.consumed(role, name)
        for agent in self.totals:
            assert self.allocator.free(agent) == self.free(agent)
            for framework in FRAMEWORKS:
                for role in ROLES:
                    held = [
                        a.resources
                        for a in self.held
                        if (a.framework_id, a.role, a.agent_id) == (framework, role, agent)
                    ]
                    booked = self.allocator.booked(framework, role, agent)
                    assert booked == sum(held, EMPTY)
            answers = {f: status for (f, a), status in self.answers.items() if a == agent}
            assert self.allocator.inverse_status(agent) == answers


class HoldingMachine(AllocatorMachine):
    """The same with agents held for large demands."""

    HOLDING = HoldingOptions(0.5, hold_s_max=6.0)

    @rule(
        framework=frameworks,
        role=st.none() | st.sampled_from(ROLES),
        agent=st.none() | agents,
        wanted=st.sampled_from(DEMANDS),
    )
    def request(self, framework, role, agent, wanted):
        if framework in self.roles:
            self.wishes[framework][role, agent] = wanted
            self.tell(ResourcesRequested(framework, wanted, role, agent))


AllocatorMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None
)
HoldingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestAllocator = AllocatorMachine.TestCase
TestHolding = HoldingMachine.TestCase


# Worlds of few kinds of events, in which more comes together than by all kinds at random


def populated(machine: AllocatorMachine, roles: list[str], total: str, traits: FrameworkTraits):
    for framework, role in zip(FRAMEWORKS, roles, strict=False):
        machine.add_framework(framework, (role,), (role,), is_active=True, traits=traits)
    for agent in AGENTS:
        machine.add_agent(agent, Resources.parse(total), uses=False, framework="f0")
    return machine


def play(machine: AllocatorMachine, rng: random.Random, acts: dict, steps: int) -> None:
    """Let acts happen in proportion to their weights; checks after each."""
    for _ in range(steps):
        (act,) = rng.choices(list(acts), list(acts.values()))
        act()
        machine.books_agree()


@pytest.mark.parametrize("seed", range(40))
def test_what_quotas_keep_back_is_offered_once_they_leave_room(seed):
    """Room grows far from the agent on which something was kept."""
    rng = random.Random(seed)
    roles = (["a"], ["b"], ["a", "a/x"])[seed % 3]
    machine = populated(AllocatorMachine(), roles, "cpus:2;mem:64", TRAITS[0])
    for role in ROLES:
        machine.set_quota(role, rng.choice(QUOTAS))
    live_with_quotas(machine, rng)


@pytest.mark.parametrize("seed", range(24))
def test_what_is_kept_for_one_is_given_to_another_that_is_promised_it_again(seed):
    """The surplus stays what it is: what grows is what the role may claim."""
    rng = random.Random(seed)
    machine = populated(AllocatorMachine(), ["a"], "cpus:2;mem:64", TRAITS[0])
    machine.set_quota("a", Quota({"cpus": 2000}))
    machine.set_quota("b", Quota({"cpus": 4000}))
    live_with_quotas(machine, rng, changes=0)


def live_with_quotas(machine: AllocatorMachine, rng: random.Random, changes: int = 2) -> None:
    def return_something():
        if machine.held:
            machine.give_back(rng.randrange(1000), None, keeps=False)

    acts = {
        return_something: 40,
        lambda: machine.switch_agent(rng.choice(AGENTS), is_active=rng.random() < 0.5): 30,
        lambda: machine.set_quota(rng.choice(ROLES), rng.choice(QUOTAS)): changes,
        machine.run: 8,
        lambda: machine.tick(1.0): 20,
    }
    play(machine, rng, acts, 80)


@pytest.mark.parametrize("seed", range(12))
def test_whoever_holds_something_under_maintenance_is_asked_back(seed):
    rng = random.Random(seed)
    machine = populated(AllocatorMachine(), ["a", "b", "a"], "cpus:2;mem:64", TRAITS[0])
    refusals_s, answered = (None, 0.0, 2.0, 5.0), []

    def return_something():
        if machine.held:
            is_kept = rng.random() < 0.6
            machine.give_back(rng.randrange(1000), rng.choice(refusals_s), keeps=is_kept)

    def answer():
        if machine.asked_back and rng.random() < 0.8:
            status = rng.choice(list(InverseOfferStatus))
            machine.answer_question(rng.randrange(1000), status, rng.choice(refusals_s))
            answered.append(status)
        elif machine.asked_back:
            machine.withdraw_question(rng.randrange(1000))

    acts = {
        return_something: 30,
        answer: 15,
        lambda: machine.plan_maintenance(rng.choice(AGENTS), rng.choice(WINDOWS)): 3,
        lambda: machine.switch_framework(rng.choice(FRAMEWORKS), is_active=rng.random() < 0.6): 12,
        lambda: machine.revive(rng.choice(FRAMEWORKS), ()): 3,
        lambda: machine.switch_agent(rng.choice(AGENTS), is_active=rng.random() < 0.7): 3,
        machine.run: 10,
        lambda: machine.tick(1.0): 15,
    }
    play(machine, rng, acts, 150)
    assert answered


@pytest.mark.parametrize("seed", range(12))
def test_held_agents_wait_for_whom_they_are_held(seed):
    """Small tasks come and go everywhere; the last framework waits for more than they leave."""
    rng = random.Random(seed)
    roles = ["a", "b", "a", "a/x"]
    machine = populated(HoldingMachine(), roles, "cpus:4;mem:128", TRAITS[1])
    waiting, held_agents = FRAMEWORKS[3], set()
    patient = FrameworkTraits(EVERYTHING, {"a/x": ({"cpus": 3000},)})
    machine.update_framework(waiting, ("a/x",), ("a/x",), TRAITS[1] if seed % 2 else patient)
    machine.request(waiting, None, None, DEMANDS[1])

    def answer():
        offers = [n for n, held in enumerate(machine.held) if held.resources != HALF]
        if offers:
            pick = rng.choice(offers)
            is_waiting = machine.held[pick].framework_id == waiting
            refuse_s = 0.0 if is_waiting else rng.choice((0.0, 2.0))
            machine.give_back(pick, refuse_s, keeps=not is_waiting)

    def end_task():
        tasks = [n for n, held in enumerate(machine.held) if held.resources == HALF]
        if tasks:
            machine.give_back(rng.choice(tasks), None, keeps=False)

    def tick():
        machine.tick(1.0)
        held_agents.update(machine.allocator.held_agents)

    acts = {
        answer: 40,
        end_task: 6,
        tick: 15,
        lambda: machine.request(waiting, None, None, rng.choice(DEMANDS[1:])): 3,
        lambda: machine.suppress(waiting, ()): 1,
        lambda: machine.revive(waiting, ()): 2,
        lambda: machine.set_quota("b", rng.choice(QUOTAS)): 1,
    }
    play(machine, rng, acts, 200)
    assert held_agents


@pytest.mark.parametrize("seed", range(30))
def test_whatever_agents_have_and_frameworks_understand(seed):
    """Descriptions change while offers go round."""
    rng = random.Random(seed)
    machine = AllocatorMachine()
    for agent in AGENTS:
        machine.add_agent(agent, rng.choice(TOTALS), uses=False, framework="f0")
    for framework in FRAMEWORKS:
        roles = tuple(rng.sample(ROLES, 2))
        traits = rng.choice(TRAITS)
        machine.add_framework(framework, roles, roles[:1], is_active=True, traits=traits)

    def return_something():
        if machine.held:
            is_kept = rng.random() < 0.2
            refuse_s = rng.choice((None, 0.0, 2.0, 1000.0))
            machine.give_back(rng.randrange(1000), refuse_s, keeps=is_kept)

    def describe():
        roles = tuple(rng.sample(ROLES, 2))
        traits = rng.choice(TRAITS)
        machine.update_framework(rng.choice(FRAMEWORKS), roles, roles[:1], traits)

    def describe_otherwise():
        framework = rng.choice(FRAMEWORKS)
        roles, suppressed = machine.roles[framework], machine.suppressed[framework]
        traits = rng.choice(TRAITS)
        machine.update_framework(framework, roles, ("", *sorted(suppressed)), traits)

    acts = {
        return_something: 40,
        describe: 2,
        describe_otherwise: 5,
        lambda: machine.resize_agent(rng.choice(AGENTS), rng.choice(TOTALS)): 5,
        machine.run: 25,
        lambda: machine.tick(1.0): 20,
    }
    play(machine, rng, acts, 120)
