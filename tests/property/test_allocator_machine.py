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
    FrameworkUpdated,
    FreeResourcesConverted,
    HierarchicalAllocator,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesConverted,
    ResourcesRecovered,
    WeightsUpdated,
    WhitelistUpdated,
)
from cluster.model.constraints import AgentFacts
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY, Resources
from cluster.model.roles import is_strict_descendant

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
QUOTAS = [
    Quota(),
    Quota({"cpus": 2000}),
    Quota({"cpus": 3000, "mem": 64_000}, {"cpus": 4000}),
    Quota(limits={"cpus": 1500}),
    Quota(limits={"cpus": 0, "mem": 100_000}),
]
HALF = Resources.parse("cpus:0.5")
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
        self.quotas: dict[str, Quota] = {}
        self.listed: frozenset[str] | None = None
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

    # Quotas, counted in the simplest way

    @rule(role=st.sampled_from(ROLES), quota=st.sampled_from(QUOTAS))
    def set_quota(self, role, quota):
        self.quotas.pop(role, None)
        if not quota.is_default:
            self.quotas[role] = quota
        self.tell(QuotasUpdated({role: quota}))

    def consumed(self, path: str, name: str) -> int:
        below = [role for role in ROLES if role == path or is_strict_descendant(role, path)]
        held = sum(
            a.resources.unreserved().scalar_milli(name) for a in self.held if a.role in below
        )
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
            self.free(agent).unreserved().scalar_milli(name)
            for agent in self.totals
            if self.may_be_offered(agent)
        )
        return free - self.unmet("", name)

    def room(self, role: str) -> dict[str, int]:
        room: dict[str, int] = {}
        for name in ("cpus", "mem"):
            if self.unmet("", name):
                room[name] = max(0, self.surplus(name))
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
                    if made.resources.unreserved().scalar_milli(name):
                        assert self.consumed(path, name) <= limit

    # Operations

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def reserve_held(self, data):
        held = data.draw(st.sampled_from(self.held))
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
        before = {name: self.surplus(name) for name in ("cpus", "mem")}
        for made in self.allocator.allocate(self.now_s):
            self.check_and_hold(made)
        for name, surplus in before.items():
            if self.unmet("", name):
                assert self.surplus(name) >= min(0, surplus)
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
        assert self.may_be_offered(made.agent_id)
        assert self.wants(made.framework_id, made.role)
        assert not self.is_filtered(made.framework_id, made.role, made.agent_id, offer)
        assert self.free(made.agent_id).usable_by(made.role).contains(offer)
        self.no_decline_spins(made, offer)
        self.held.append(Allocation(made.framework_id, made.role, made.agent_id, offer))
        self.no_limit_is_exceeded(made)

    def no_decline_spins(self, made: Allocation, offer: Resources) -> None:
        key = (made.framework_id, made.role, made.agent_id)
        if key in self.declined_s:
            declined, at_s = self.declined_s[key]
            assert not declined.contains(offer) or self.now_s >= at_s + INTERVAL_S

    def nothing_wanted_stays_free(self) -> None:
        """After an interval, whatever is free and worth an offer was refused by all who could."""
        for agent in self.totals:
            if not self.may_be_offered(agent):
                continue
            for framework in self.roles:
                for role in self.roles[framework]:
                    rest = self.free(agent).usable_by(role).chopped(self.room(role))
                    is_worth = rest.scalar_milli("cpus") >= 10 or rest.scalar_milli("mem") >= 32_000
                    if is_worth and self.wants(framework, role):
                        assert self.is_filtered(framework, role, agent, rest), (framework, rest)

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


AllocatorMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
TestAllocator = AllocatorMachine.TestCase


@pytest.mark.parametrize("seed", range(40))
def test_what_quotas_keep_back_is_offered_once_they_leave_room(seed):
    """Few kinds of events, so that room grows far from the agent on which something was kept."""
    rng = random.Random(seed)
    machine = AllocatorMachine()
    served = (["a"], ["b"], ["a", "a/x"])[seed % 3]
    for framework, role in zip(FRAMEWORKS, served, strict=False):
        machine.add_framework(framework, (role,), (role,), is_active=True)
    for agent in AGENTS:
        machine.add_agent(agent, Resources.parse("cpus:2;mem:64"), uses=False, framework="f0")
    for role in ROLES:
        machine.set_quota(role, rng.choice(QUOTAS))
    for _ in range(80):
        chance = rng.random()
        if chance < 0.4 and machine.held:
            held = machine.held.pop(rng.randrange(len(machine.held)))
            machine.tell(
                ResourcesRecovered(held.framework_id, held.role, held.agent_id, held.resources)
            )
        elif chance < 0.7:
            machine.switch_agent(rng.choice(AGENTS), is_active=rng.random() < 0.5)
        elif chance < 0.72:
            machine.set_quota(rng.choice(ROLES), rng.choice(QUOTAS))
        elif chance < 0.8:
            machine.run()
        else:
            machine.tick(1.0)
        machine.books_agree()
