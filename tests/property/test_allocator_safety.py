"""What must never happen, whatever frameworks, agents and operators do.

A cluster of small agents lives for a while in virtual time: frameworks take the tasks that fit and
refuse the rest, tasks end, agents get lost and come, frameworks fall silent and return, quotas and
weights change. A ledger of plain whole numbers, kept apart from the allocator's own books, is
compared after every event.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import example, given, settings

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    Allocation,
    AllocatorOptions,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    HierarchicalAllocator,
    HoldingOptions,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesRecovered,
    ResourcesRequested,
    WeightsUpdated,
)
from cluster.core.allocator.sorters import SORTERS
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import Resources
from cluster.model.values import Ranges

INTERVAL_S = 1.0
EVENTS = 120
AGENTS = (
    "cpus:2;mem:64;ports:[1-4]",
    "cpus:1.3;mem:100",
    "cpus:1;cpus(a):1;mem:50;mem(a/x):20",
    "cpus(b):0.7;cpus:0.3;mem:10.001",
)
DEMANDS = ("cpus:0.1;mem:3", "cpus:0.7;mem:1", "cpus:0.333;mem:10.001", "mem:7", "cpus:1;mem:30")
FRAMEWORKS = {"f1": ("a",), "f2": ("a/x", "b"), "f3": ("b",), "f4": ("c",), "f5": ("c", "a")}
ROLES = ("a", "a/x", "b", "c")
QUOTAS = (
    Quota(),
    Quota(guarantees={"cpus": 3000}),
    Quota(guarantees={"cpus": 1500, "mem": 80_000}, limits={"cpus": 2500}),
    Quota(limits={"cpus": 1234, "mem": 60_000}),
    Quota(limits={"cpus": 0}),
)
REFUSALS = (None, 0.0, 0.5, 2.0, 5.0, 60.0, -1.0)

Client = tuple[str, str]
Key = tuple[str, str]
"""Name, and the role it is reserved for (empty: for nobody)."""


def amounts(resources: Resources) -> Counter[Key]:
    """Whole numbers: thousandths, or how many ports."""
    return Counter({(r.name, r.role.replace("*", "")): r.size() for r in resources})


def is_at_or_below(role: str, top: str) -> bool:
    return role == top or role.startswith(f"{top}/")


@dataclass
class Ledger:
    """Who has what, by agent."""

    totals: dict[str, Counter[Key]] = field(default_factory=dict)
    ports: dict[str, set[int]] = field(default_factory=dict)
    """Ports in somebody's hands."""
    held: dict[str, dict[Client, Counter[Key]]] = field(default_factory=dict)

    def add(self, client: Client, agent: str, resources: Resources, sign: int = 1) -> None:
        held = self.held[agent].setdefault(client, Counter())
        for key, amount in amounts(resources).items():
            held[key] += sign * amount
            assert held[key] >= 0
        ports = {
            port
            for entry in resources
            if isinstance(entry.value, Ranges)
            for begin, end in entry.value
            for port in range(begin, end + 1)
        }
        if sign > 0:
            assert not ports & self.ports[agent], "a port is in two hands"
            self.ports[agent] |= ports
        else:
            assert ports <= self.ports[agent]
            self.ports[agent] -= ports

    def free(self, agent: str) -> Counter[Key]:
        free = Counter(self.totals[agent])
        for held in self.held[agent].values():
            free.subtract(held)
        return free

    def consumed(self, role: str) -> Counter[str]:
        """Unreserved in use at or below the role, and what is reserved there."""
        consumed: Counter[str] = Counter()
        for total in self.totals.values():
            for (name, reserved_for), amount in total.items():
                if reserved_for and is_at_or_below(reserved_for, role):
                    consumed[name] += amount
        for bookings in self.held.values():
            for (_, client_role), held in bookings.items():
                if is_at_or_below(client_role, role):
                    for (name, reserved_for), amount in held.items():
                        consumed[name] += 0 if reserved_for else amount
        return consumed


class World:
    """Everybody acts at random; every offer and event is checked."""

    def __init__(self, seed: int, sorter: str, *, holds: bool = False) -> None:
        self.rng = random.Random(seed)
        self.holds = holds
        options = AllocatorOptions(
            allocation_interval_s=INTERVAL_S,
            min_allocatable=(),
            role_sorter=SORTERS[sorter],
            holding=HoldingOptions(0.5, hold_s_max=20.0) if holds else None,
        )
        self.allocator = HierarchicalAllocator(options, random.Random(seed))
        self.now_s = 0.0
        self.ledger = Ledger()
        self.offers: list[Allocation] = []
        self.tasks: list[tuple[Allocation, Resources]] = []
        self.inactive_agents: set[str] = set()
        self.silent: set[str] = set()
        self.suppressed: set[Client] = set()
        self.filters: dict[tuple[str, str, str], list[tuple[Resources, float]]] = {}
        self.quotas: dict[str, Quota] = {}
        self.demands = {name: self.rng.choice(DEMANDS) for name in FRAMEWORKS}
        self.agents_made = 0
        for name, roles in FRAMEWORKS.items():
            self.tell(FrameworkAdded(FrameworkId(name), roles))
        for _ in range(6):
            self.agent_comes()

    def tell(self, event) -> None:
        self.allocator.handle(event, self.now_s)

    def live(self, events: int) -> None:
        acts = [self.answer] * 8 + [self.tick] * 4 + [self.task_ends] * 3
        acts += [self.agent_comes, self.agent_goes, self.agent_rests, self.framework_rests]
        acts += [self.suppress, self.revive, self.set_quota, self.weigh, self.take_back]
        acts += [self.request] * 2 if self.holds else []
        for _ in range(events):
            self.rng.choice(acts)()
            self.run()
            self.check()
        self.tick()
        self.run()

    # What happens

    def tick(self) -> None:
        self.now_s += self.rng.choice((INTERVAL_S, INTERVAL_S, 5.0))
        self.tell(IntervalElapsed())
        self.run()
        self.nothing_promised_stays_free()

    def agent_comes(self) -> None:
        if len(self.ledger.totals) >= 10:
            return
        self.agents_made += 1
        agent = f"s{self.agents_made}"
        total = Resources.parse(self.rng.choice(AGENTS))
        self.ledger.totals[agent] = amounts(total)
        self.ledger.ports[agent] = set()
        self.ledger.held[agent] = {}
        self.tell(AgentAdded(AgentId(agent), total))

    def agent_goes(self) -> None:
        agent = self.any_agent()
        if agent is None:
            return
        del self.ledger.totals[agent], self.ledger.ports[agent], self.ledger.held[agent]
        self.inactive_agents.discard(agent)
        self.offers = [offer for offer in self.offers if offer.agent_id != agent]
        self.tasks = [task for task in self.tasks if task[0].agent_id != agent]
        self.filters = {key: known for key, known in self.filters.items() if key[2] != agent}
        self.tell(AgentRemoved(AgentId(agent)))

    def agent_rests(self) -> None:
        agent = self.any_agent()
        if agent in self.inactive_agents:
            self.inactive_agents.remove(agent)
            self.tell(AgentActivated(AgentId(agent)))
        elif agent is not None:
            self.inactive_agents.add(agent)
            self.tell(AgentDeactivated(AgentId(agent)))

    def any_agent(self) -> str | None:
        return self.rng.choice(list(self.ledger.totals)) if self.ledger.totals else None

    def framework_rests(self) -> None:
        name = self.rng.choice(list(FRAMEWORKS))
        if name in self.silent:
            self.silent.remove(name)
            self.tell(FrameworkActivated(FrameworkId(name)))
            return
        self.silent.add(name)
        self.tell(FrameworkDeactivated(FrameworkId(name)))
        self.forget_filters(name, FRAMEWORKS[name])
        for offer in [o for o in self.offers if o.framework_id == name]:
            self.give_back(offer, offer.resources, None)

    def suppress(self) -> None:
        name = self.rng.choice(list(FRAMEWORKS))
        role = self.rng.choice(FRAMEWORKS[name])
        self.suppressed.add((name, role))
        self.tell(OffersSuppressed(FrameworkId(name), (role,)))

    def revive(self) -> None:
        name = self.rng.choice(list(FRAMEWORKS))
        for role in FRAMEWORKS[name]:
            self.suppressed.discard((name, role))
        self.forget_filters(name, FRAMEWORKS[name])
        self.tell(OffersRevived(FrameworkId(name)))

    def forget_filters(self, name: str, roles: tuple[str, ...]) -> None:
        for key in [key for key in self.filters if key[0] == name and key[1] in roles]:
            del self.filters[key]

    def set_quota(self) -> None:
        role, quota = self.rng.choice("abc"), self.rng.choice(QUOTAS)
        self.quotas[role] = quota
        self.tell(QuotasUpdated({role: quota}))

    def weigh(self) -> None:
        self.tell(WeightsUpdated({self.rng.choice(ROLES): self.rng.choice((0.1, 1.0, 3.0))}))

    def request(self) -> None:
        """A framework says what it waits for; only who holds agents for it cares."""
        name = self.rng.choice(list(FRAMEWORKS))
        wanted = self.rng.choice(((), ({"cpus": 1300},), ({"cpus": 1000, "mem": 50_000},)))
        self.tell(ResourcesRequested(FrameworkId(name), wanted))

    def take_back(self) -> None:
        """The master rescinds an offer."""
        if self.offers:
            offer = self.rng.choice(self.offers)
            self.give_back(offer, offer.resources, None)

    def answer(self) -> None:
        """A framework takes as many tasks as fit, or none, and refuses the rest."""
        if not self.offers:
            return
        offer = self.rng.choice(self.offers)
        demand = Resources.parse(self.demands[offer.framework_id])
        rest = offer.resources
        for _ in range(self.rng.choice((0, 1, 1, 5))):
            part = rest.unreserved() if self.rng.random() < 0.5 else rest
            if not part.contains(demand):
                break
            rest = rest - demand
            self.tasks.append((offer, demand))
        self.give_back(offer, rest, self.rng.choice(REFUSALS))

    def task_ends(self) -> None:
        if self.tasks:
            task = self.tasks.pop(self.rng.randrange(len(self.tasks)))
            self.give_back(task[0], task[1], None)

    def give_back(self, offer: Allocation, resources: Resources, refuse_s: float | None) -> None:
        self.offers = [other for other in self.offers if other is not offer]
        client = (offer.framework_id, offer.role)
        self.ledger.add(client, offer.agent_id, resources, -1)
        if refuse_s is not None and resources:
            lasts_s = 5.0 if refuse_s < 0 else max(INTERVAL_S, refuse_s)
            key = (*client, offer.agent_id)
            self.filters.setdefault(key, []).append((resources, self.now_s + lasts_s))
        self.tell(
            ResourcesRecovered(offer.framework_id, offer.role, offer.agent_id, resources, refuse_s)
        )

    # Laws

    def run(self) -> None:
        before = self.shortage()
        for made in self.allocator.allocate(self.now_s):
            self.check_offer(made)
            self.ledger.add((made.framework_id, made.role), made.agent_id, made.resources)
            self.offers.append(made)
            self.check_limits(made)
        after = self.shortage()
        for name in after:
            assert after[name] <= before[name], f"promised {name} went to others"

    def check_offer(self, made: Allocation) -> None:
        assert made.resources
        assert made.agent_id not in self.inactive_agents
        assert made.framework_id not in self.silent
        assert (made.framework_id, made.role) not in self.suppressed
        assert not self.is_refused(made.framework_id, made.role, made.agent_id, made.resources)
        for entry in made.resources:
            assert entry.role == "*" or is_at_or_below(made.role, entry.role)

    def is_refused(self, name: str, role: str, agent: str, offer: Resources) -> bool:
        return any(
            until_s > self.now_s and refused.contains(offer)
            for refused, until_s in self.filters.get((name, role, agent), ())
        )

    def check_limits(self, made: Allocation) -> None:
        """A limit may be lowered below what is in use, but then nothing more is given."""
        given = {name for (name, reserved_for) in amounts(made.resources) if not reserved_for}
        for top, quota in self.quotas.items():
            if is_at_or_below(made.role, top):
                consumed = self.ledger.consumed(top)
                for name in given & quota.limits.keys():
                    assert consumed[name] <= quota.limits[name], f"{top} exceeds its limit"

    def unmet(self) -> dict[str, Counter[str]]:
        """What is promised and not had, by role."""
        missing = {}
        for top, quota in self.quotas.items():
            consumed = self.ledger.consumed(top)
            missing[top] = Counter(
                {n: max(0, milli - consumed[n]) for n, milli in quota.guarantees.items()}
            )
        return missing

    def shortage(self) -> Counter[str]:
        """How much more is promised than is there to keep the promise."""
        needed: Counter[str] = Counter()
        for missing in self.unmet().values():
            needed.update(missing)
        for agent in self.ledger.totals:
            if agent not in self.inactive_agents:
                for (name, reserved_for), amount in self.ledger.free(agent).items():
                    needed[name] -= 0 if reserved_for else amount
        return Counter({name: max(0, amount) for name, amount in needed.items()})

    def nothing_promised_stays_free(self) -> None:
        """Whoever is promised something, wants it and refused nothing has it or nobody does."""
        for top, missing in self.unmet().items():
            if not self.has_taker(top):
                continue
            for agent in self.ledger.totals.keys() - self.inactive_agents:
                free = self.ledger.free(agent)
                for name, milli in missing.items():
                    assert not milli or not free[name, ""], (top, agent, name)

    def has_taker(self, top: str) -> bool:
        return any(
            name not in self.silent
            and (name, role) not in self.suppressed
            and is_at_or_below(role, top)
            and not any(key[:2] == (name, role) for key in self.filters)
            for name, roles in FRAMEWORKS.items()
            for role in roles
        )

    def check(self) -> None:
        self.allocator.check_invariants()
        for agent in self.ledger.totals:
            free = self.ledger.free(agent)
            assert min(free.values()) >= 0, f"more than all of {agent} is given out"
            kept = self.allocator.free(AgentId(agent))
            assert amounts(kept) == Counter({k: n for k, n in free.items() if n})
        self.check_exactness()

    def check_exactness(self) -> None:
        """After any number of bookings of a third or a tenth, not a thousandth is missing."""
        if not self.offers and not self.tasks:
            for agent in self.ledger.totals:
                assert amounts(self.allocator.free(AgentId(agent))) == self.ledger.totals[agent]


@settings(max_examples=25, deadline=None)
@example(seed=332, sorter="drf", holds=False)  # a guarantee grew between two runs and was forgotten
@given(seed=st.integers(0, 2**32 - 1), sorter=st.sampled_from(sorted(SORTERS)), holds=st.booleans())
def test_what_must_never_happen(seed, sorter, holds):
    World(seed, sorter, holds=holds).live(EVENTS)


def test_the_ledger_sees_everything_come_back():
    """The world really moves: offers, tasks, refusals and quotas all occur, and all ends well."""
    world = World(7, "drf")
    world.live(400)
    assert world.tasks
    assert world.filters
    assert any(not quota.is_default for quota in world.quotas.values())
    world.quotas = {}
    world.tell(QuotasUpdated(dict.fromkeys("abc", Quota())))
    for offer in list(world.offers):
        world.give_back(offer, offer.resources, None)
    for offer, used in world.tasks:
        world.give_back(offer, used, None)
    for agent, total in world.ledger.totals.items():
        assert amounts(world.allocator.free(AgentId(agent))) == total
    assert world.allocator.framework_share(FrameworkId("f1"), "a") == 0
