"""The allocator under any sequence of events: what must hold after each of them."""

import random

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    AllocatorOptions,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
    HierarchicalAllocator,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    ResourcesRecovered,
    WeightsUpdated,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources

INTERVAL_S = 1.0
AGENTS = [AgentId(f"s{n}") for n in range(4)]
FRAMEWORKS = [FrameworkId(f"f{n}") for n in range(4)]
ROLES = ["a", "a/x", "b"]
TOTALS = [
    Resources.parse(text)
    for text in (
        "cpus:4;mem:128;ports:[1-9]",
        "cpus:1;mem:16",
        "cpus(a):2;cpus:1;mem:64;ports:[5-7]",
        "cpus(b):2;mem(a/x):64;disk:10",
        "disk:100",
    )
]
agents = st.sampled_from(AGENTS)
frameworks = st.sampled_from(FRAMEWORKS)
role_sets = st.lists(st.sampled_from(ROLES), min_size=1, unique=True).map(tuple)
refusals = st.sampled_from([None, 0.0, 0.5, 1.0, 3.0, 1000.0, -1.0])


class AllocatorMachine(RuleBasedStateMachine):
    """Keeps books of its own, as simple as possible, and compares."""

    def __init__(self) -> None:
        super().__init__()
        options = AllocatorOptions(allocation_interval_s=INTERVAL_S)
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
        self.declined_s: dict[tuple[FrameworkId, str, AgentId], tuple[Resources, float]] = {}

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
        held = (a.resources for a in self.held if a.agent_id == agent)
        return self.totals[agent].minus_up_to(sum(held, EMPTY))

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
        self.tell(AgentAdded(agent, total, used))

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
            self.tell(AgentRemoved(agent))

    @rule(agent=agents, is_active=st.booleans())
    def switch_agent(self, agent, is_active):
        if agent in self.totals:
            (self.inactive_agents.discard if is_active else self.inactive_agents.add)(agent)
            self.tell(AgentActivated(agent) if is_active else AgentDeactivated(agent))

    # Frameworks

    @rule(framework=frameworks, roles=role_sets, suppressed=role_sets, is_active=st.booleans())
    def add_framework(self, framework, roles, suppressed, is_active):
        if framework in self.roles:
            return
        self.roles[framework] = roles
        self.suppressed[framework] = set(suppressed[1:])
        if not is_active:
            self.inactive.add(framework)
        event = FrameworkAdded(framework, roles, frozenset(suppressed[1:]), is_active)
        self.tell(event)

    @rule(framework=frameworks, roles=role_sets, suppressed=role_sets)
    def update_framework(self, framework, roles, suppressed):
        if framework in self.roles:
            self.forget_filters(framework, [r for r in self.roles[framework] if r not in roles])
            self.roles[framework] = roles
            self.suppressed[framework] = set(suppressed[1:])
            self.tell(FrameworkUpdated(framework, roles, frozenset(suppressed[1:])))

    @rule(framework=frameworks)
    def remove_framework(self, framework):
        if framework in self.roles:
            self.forget_filters(framework, ROLES)
            del self.roles[framework], self.suppressed[framework]
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
            self.tell(OffersRevived(framework, roles))

    def forget_filters(self, framework, roles):
        self.filters = [f for f in self.filters if not (f[0] == framework and f[1] in roles)]
        self.declined_s = {
            k: v for k, v in self.declined_s.items() if not (k[0] == framework and k[1] in roles)
        }

    @rule(role=st.sampled_from(ROLES), weight=st.sampled_from([0.5, 1.0, 2.0]))
    def weigh(self, role, weight):
        self.tell(WeightsUpdated({role: weight}))

    # Offers

    @precondition(lambda self: self.held)
    @rule(data=st.data(), refuse_s=refusals, keeps=st.booleans())
    def give_back(self, data, refuse_s, keeps):
        held = data.draw(st.sampled_from(self.held))
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
            lasts_s = 5.0 if refuse_s < 0 else max(INTERVAL_S, refuse_s)
            self.filters.append((*key, back, self.now_s + lasts_s))
            self.declined_s[key] = (back, self.now_s)
        form = back.allocated_to(held.role) if keeps else back
        self.tell(ResourcesRecovered(held.framework_id, held.role, held.agent_id, form, refuse_s))

    @rule()
    def run(self):
        for made in self.allocator.allocate(self.now_s):
            self.check_and_hold(made)
        assert not self.allocator.has_candidates

    @rule(after_s=st.sampled_from([0.3, 1.0, 5.0]))
    def tick(self, after_s):
        self.now_s += after_s
        self.tell(IntervalElapsed())
        self.run()
        self.nothing_wanted_stays_free()

    def check_and_hold(self, made: Allocation) -> None:
        offer = made.resources
        assert offer == offer.unallocated()
        assert offer.scalar_milli("cpus") >= 10 or offer.scalar_milli("mem") >= 32_000
        assert made.agent_id in self.totals
        assert made.agent_id not in self.inactive_agents
        assert self.wants(made.framework_id, made.role)
        assert not self.is_filtered(made.framework_id, made.role, made.agent_id, offer)
        assert self.free(made.agent_id).usable_by(made.role).contains(offer)
        self.no_decline_spins(made, offer)
        self.held.append(Allocation(made.framework_id, made.role, made.agent_id, offer))

    def no_decline_spins(self, made: Allocation, offer: Resources) -> None:
        key = (made.framework_id, made.role, made.agent_id)
        if key in self.declined_s:
            declined, at_s = self.declined_s[key]
            assert not declined.contains(offer) or self.now_s >= at_s + INTERVAL_S

    def nothing_wanted_stays_free(self) -> None:
        """After an interval, whatever is free and worth an offer was refused by all who could."""
        for agent in self.totals:
            if agent in self.inactive_agents:
                continue
            for framework in self.roles:
                for role in self.roles[framework]:
                    rest = self.free(agent).usable_by(role)
                    is_worth = rest.scalar_milli("cpus") >= 10 or rest.scalar_milli("mem") >= 32_000
                    if is_worth and self.wants(framework, role):
                        assert self.is_filtered(framework, role, agent, rest), (framework, rest)

    @invariant()
    def books_agree(self):
        self.allocator.check_invariants()
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


AllocatorMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
TestAllocator = AllocatorMachine.TestCase
