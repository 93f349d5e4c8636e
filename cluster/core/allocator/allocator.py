"""The hierarchical allocator: decides which framework is offered which agent next.

Decided here: the order of roles and frameworks (by its sorters), which agents a run looks at, what
of an agent goes into one offer, who is kept away by a filter. Not here: making, sending and taking
back offers (the master), time (``now_s`` comes with every call).

One run, stage 2 of the original (unreserved resources, and reserved ones the role may use)::

    for agent in shuffled candidates:
        for role in role order:                   only roles with somebody to serve
            offer = free part of the agent that the role may use
            for framework in its role's order:    only active, unsuppressed ones
                first one without a filter against it takes the offer whole
            stop when nothing worth offering is left

Work is done for what changed only. An agent is a *candidate* when something happened that can
make an offer of it possible: it came, grew or was activated, resources came back, a filter on it
ended, or somebody new wants offers. An agent which nobody wanted stays untouched until then; the
original visits every agent at every interval to find the same.

Differs from Mesos:
- Resources that come back make their agent a candidate at once (Mesos waits for the interval). In
  return every refusal, even one for 0 seconds, keeps the agent from the same framework and role
  for at least the allocation interval, so that a decline cannot spin.
- What an unknown framework uses on an agent (it has not re-registered yet) counts in the share of
  its role from the start; Mesos counts it when the framework appears.

Source: mesos ``hierarchical.cpp`` ``__generateOffers``; allocator.md §2 to §5.
"""

import random
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Protocol, assert_never

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    AllocatorEvent,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
    FreeResourcesConverted,
    IntervalElapsed,
    InverseAllocation,
    InverseOfferAnswered,
    InverseOfferWithdrawn,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    RecoveryBegun,
    RecoveryEnded,
    ResourcesConverted,
    ResourcesRecovered,
    ResourcesRequested,
    UnavailabilityChanged,
    WeightsUpdated,
    WhitelistUpdated,
)
from cluster.core.allocator.filters import (
    ClientKey,
    RefusalFilters,
    Refusals,
    is_refused,
    refusal_s,
)
from cluster.core.allocator.options import AllocatorOptions
from cluster.core.allocator.sorter import ClusterTotals, Sorter
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources


class Allocator(Protocol):
    """What a master needs of an allocator."""

    def handle(self, event: AllocatorEvent, now_s: float) -> None:
        """Take note of a fact."""

    @property
    def has_candidates(self) -> bool:
        """Whether a run is due."""

    def allocate(self, now_s: float) -> list[Allocation]:
        """One run over the candidates. What is returned is booked until it is recovered."""

    def inverse_offers(self, now_s: float) -> list[InverseAllocation]:
        """Whom to ask to leave which agent; not repeated until answered or withdrawn."""

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when the books contradict themselves."""


class _Framework:
    """What the allocator knows of a subscribed framework."""

    __slots__ = ("is_active", "roles", "suppressed")

    def __init__(self, roles: Iterable[str], suppressed: Iterable[str], *, is_active: bool) -> None:
        self.roles = tuple(dict.fromkeys(roles))
        self.suppressed = set(suppressed)
        self.is_active = is_active

    def wants_offers(self, role: str) -> bool:
        return self.is_active and role in self.roles and role not in self.suppressed


class HierarchicalAllocator:
    """An :class:`Allocator` that serves roles, and frameworks inside a role, by dominant share.

    Args:
        options: settings.
        rng: decides the order of agents inside a run, and what sorters draw.
    """

    def __init__(self, options: AllocatorOptions, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self._totals = ClusterTotals(options.fair_sharing_excluded)
        self._role_sorter = options.role_sorter(self._totals, is_hierarchical=True, rng=rng)
        self._framework_sorters: dict[str, Sorter] = {}
        self._frameworks: dict[FrameworkId, _Framework] = {}
        self._agents: dict[AgentId, AgentBook] = {}
        self._filters = RefusalFilters()
        self._bookings: Counter[ClientKey] = Counter()
        """On how many agents a client holds something."""
        self._candidates: dict[AgentId, None] = {}
        self._returned: dict[AgentId, None] = {}
        """Agents that wait for the interval, without ``allocate_on_recovery``."""

    # Facts --------------------------------------------------------------------------------------

    def handle(self, event: AllocatorEvent, now_s: float) -> None:
        """Take note of a fact; it may make agents candidates of the next run.

        Raises:
            InvariantBroken: the fact contradicts earlier ones (an agent added twice, more given
                back than held); nothing is changed then.
            InvalidInput: a weight is not a finite number above 0; nothing is changed then.
        """
        match event:
            case ResourcesRecovered():
                self._recover(event, now_s)
            case IntervalElapsed():
                self._end_interval(now_s)
            case AgentAdded(agent_id, total, used):
                self._add_agent(agent_id, total, used)
            case AgentUpdated(agent_id, total):
                self._resize_agent(self._agent(agent_id), total)
            case AgentRemoved(agent_id):
                self._remove_agent(self._agent(agent_id))
            case AgentActivated(agent_id):
                self._agent(agent_id).is_active = True
                self._candidates[agent_id] = None
            case AgentDeactivated(agent_id):
                self._agent(agent_id).is_active = False
            case FrameworkAdded(framework_id, roles, suppressed, active):
                self._add_framework(framework_id, _Framework(roles, suppressed, is_active=active))
            case FrameworkUpdated(framework_id, roles, suppressed):
                self._update_framework(framework_id, roles, suppressed)
            case FrameworkRemoved(framework_id):
                self._remove_framework(framework_id)
            case FrameworkActivated(framework_id):
                self._activate_framework(framework_id)
            case FrameworkDeactivated(framework_id):
                self._deactivate_framework(framework_id)
            case OffersSuppressed(framework_id, roles):
                self._suppress(framework_id, roles)
            case OffersRevived(framework_id, roles):
                self._revive(framework_id, roles)
            case WeightsUpdated(weights):
                self._role_sorter.update_weights(weights)
            case (
                UnavailabilityChanged()
                | WhitelistUpdated()
                | RecoveryBegun()
                | RecoveryEnded()
                | ResourcesConverted()
                | FreeResourcesConverted()
                | ResourcesRequested()
                | InverseOfferAnswered()
                | InverseOfferWithdrawn()
                | QuotasUpdated()
            ):
                pass
            case _:
                assert_never(event)

    # Agents -------------------------------------------------------------------------------------

    def _agent(self, agent_id: AgentId) -> AgentBook:
        agent = self._agents.get(agent_id)
        if agent is None:
            raise InvariantBroken(f"allocator does not know agent {agent_id}")
        return agent

    def _add_agent(
        self,
        agent_id: AgentId,
        total: Resources,
        used: Iterable[tuple[FrameworkId, str, Resources]],
    ) -> None:
        if agent_id in self._agents:
            raise InvariantBroken(f"allocator is told twice of agent {agent_id}")
        agent = self._agents[agent_id] = AgentBook(agent_id, total.unallocated())
        self._totals.add(agent.total.quantities())
        for framework_id, role, resources in used:
            self._adopt(agent, (framework_id, role), resources.unallocated())
        self._candidates[agent_id] = None

    def _adopt(self, agent: AgentBook, client: ClientKey, resources: Resources) -> None:
        if resources:
            self._count_booking(agent, client)
            agent.adopt(client, resources)
            self._charge(client, resources)

    def _resize_agent(self, agent: AgentBook, total: Resources) -> None:
        total = total.unallocated()
        if total == agent.total:
            return
        self._totals.subtract(agent.total.quantities())
        self._totals.add(total.quantities())
        agent.resize(total)
        self._candidates[agent.agent_id] = None

    def _remove_agent(self, agent: AgentBook) -> None:
        for client, resources in agent.booked.items():
            self._discharge(client, resources)
            self._uncount_booking(client)
        self._totals.subtract(agent.total.quantities())
        self._filters.clear_agent(agent.agent_id)
        self._candidates.pop(agent.agent_id, None)
        self._returned.pop(agent.agent_id, None)
        del self._agents[agent.agent_id]

    def _recover(self, event: ResourcesRecovered, now_s: float) -> None:
        """Take resources back; of an agent that is gone meanwhile there is nothing to take."""
        agent = self._agents.get(event.agent_id)
        resources = event.resources.unallocated()
        if agent is None or not resources:
            return
        client = (event.framework_id, event.role)
        agent.release(client, resources)
        self._discharge(client, resources)
        if client not in agent.booked:
            self._uncount_booking(client)
        if event.refuse_s is not None:
            self._install_filter(agent, client, resources, event.refuse_s, now_s)
        waiting = self._candidates if self._options.allocate_on_recovery else self._returned
        waiting[agent.agent_id] = None

    def _install_filter(
        self,
        agent: AgentBook,
        client: ClientKey,
        resources: Resources,
        refuse_s: float,
        now_s: float,
    ) -> None:
        framework = self._frameworks.get(client[0])
        if framework is None or client[1] not in framework.roles:
            return
        if refuse_s == 0 and not self._options.allocate_on_recovery:
            return
        timeout_s = max(self._options.allocation_interval_s, refusal_s(refuse_s))
        self._filters.install(agent.agent_id, client, resources, now_s + timeout_s)

    def _end_interval(self, now_s: float) -> None:
        self._candidates.update(self._returned)
        self._returned.clear()
        for agent_id in self._filters.end_expired(now_s):
            self._candidates[agent_id] = None

    # Frameworks ---------------------------------------------------------------------------------

    def _framework(self, framework_id: FrameworkId) -> _Framework:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            raise InvariantBroken(f"allocator does not know framework {framework_id}")
        return framework

    def _add_framework(self, framework_id: FrameworkId, framework: _Framework) -> None:
        if framework_id in self._frameworks:
            raise InvariantBroken(f"allocator is told twice of framework {framework_id}")
        self._frameworks[framework_id] = framework
        for role in framework.roles:
            self._ensure_client((framework_id, role))
        self._apply_wants(framework_id, framework.roles)

    def _update_framework(
        self, framework_id: FrameworkId, roles: tuple[str, ...], suppressed: frozenset[str]
    ) -> None:
        old = self._framework(framework_id)
        new = _Framework(roles, suppressed, is_active=old.is_active)
        self._frameworks[framework_id] = new
        for role in new.roles:
            self._ensure_client((framework_id, role))
        self._apply_wants(framework_id, (*old.roles, *new.roles))
        for role in old.roles:
            if role not in new.roles:
                self._filters.clear_client((framework_id, role))
                self._drop_client_if_unused((framework_id, role))

    def _remove_framework(self, framework_id: FrameworkId) -> None:
        framework = self._framework(framework_id)
        framework.is_active = False
        self._apply_wants(framework_id, framework.roles)
        del self._frameworks[framework_id]
        for role in framework.roles:
            self._filters.clear_client((framework_id, role))
            self._drop_client_if_unused((framework_id, role))

    def _activate_framework(self, framework_id: FrameworkId) -> None:
        framework = self._framework(framework_id)
        framework.is_active = True
        self._apply_wants(framework_id, framework.roles)

    def _deactivate_framework(self, framework_id: FrameworkId) -> None:
        framework = self._framework(framework_id)
        framework.is_active = False
        self._apply_wants(framework_id, framework.roles)
        for role in framework.roles:
            self._filters.clear_client((framework_id, role))

    def _suppress(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        framework = self._framework(framework_id)
        framework.suppressed.update(roles or framework.roles)
        self._apply_wants(framework_id, framework.roles)

    def _revive(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        framework = self._framework(framework_id)
        revived = [role for role in roles or framework.roles if role in framework.roles]
        framework.suppressed.difference_update(revived)
        for role in revived:
            self._filters.clear_client((framework_id, role))
        self._apply_wants(framework_id, revived)
        if any(framework.wants_offers(role) for role in revived):
            self._make_all_candidates()

    def _apply_wants(self, framework_id: FrameworkId, roles: Iterable[str]) -> None:
        """Let the sorters serve the framework where it wants offers, and only there.

        A role is served while one of its frameworks is. Whoever starts to want offers must be
        shown every agent.
        """
        framework = self._frameworks[framework_id]
        is_new_want = False
        for role in roles:
            sorter = self._framework_sorters[role]
            if framework.wants_offers(role):
                is_new_want = is_new_want or not sorter.is_active(framework_id)
                sorter.activate(framework_id)
                self._role_sorter.activate(role)
            else:
                sorter.deactivate(framework_id)
                if not sorter.has_active:
                    self._role_sorter.deactivate(role)
        if is_new_want:
            self._make_all_candidates()

    def _make_all_candidates(self) -> None:
        self._candidates.update(dict.fromkeys(self._agents))

    # Books --------------------------------------------------------------------------------------

    def _ensure_client(self, client: ClientKey) -> None:
        framework_id, role = client
        if role not in self._framework_sorters:
            self._framework_sorters[role] = self._options.framework_sorter(
                self._totals, is_hierarchical=False, rng=self._rng
            )
            self._role_sorter.add(role)
        if framework_id not in self._framework_sorters[role]:
            self._framework_sorters[role].add(framework_id)

    def _drop_client_if_unused(self, client: ClientKey) -> None:
        """Forget a client that neither subscribes to its role nor holds anything in it."""
        framework_id, role = client
        framework = self._frameworks.get(framework_id)
        if self._bookings[client] or (framework is not None and role in framework.roles):
            return
        self._framework_sorters[role].remove(framework_id)
        if not self._framework_sorters[role].has_clients:
            del self._framework_sorters[role]
            self._role_sorter.remove(role)

    def _count_booking(self, agent: AgentBook, client: ClientKey) -> None:
        """To be called before the booking is made."""
        if client not in agent.booked:
            self._ensure_client(client)
            self._bookings[client] += 1

    def _uncount_booking(self, client: ClientKey) -> None:
        """To be called when the client's booking on some agent is gone."""
        self._bookings[client] -= 1
        if not self._bookings[client]:
            del self._bookings[client]
            self._drop_client_if_unused(client)

    def _charge(self, client: ClientKey, resources: Resources) -> None:
        framework_id, role = client
        quantities = resources.quantities()
        self._role_sorter.allocated(role, quantities)
        self._framework_sorters[role].allocated(framework_id, quantities)

    def _discharge(self, client: ClientKey, resources: Resources) -> None:
        framework_id, role = client
        quantities = resources.quantities()
        self._role_sorter.unallocated(role, quantities)
        self._framework_sorters[role].unallocated(framework_id, quantities)

    # Runs ---------------------------------------------------------------------------------------

    @property
    def has_candidates(self) -> bool:
        """Whether a run is due: some agent may have become worth offering."""
        return bool(self._candidates)

    @property
    def next_filter_end_s(self) -> float | None:
        """When the next filter ends; an ``IntervalElapsed`` then gives the soonest next offer."""
        return self._filters.next_end_s

    def allocate(self, now_s: float) -> list[Allocation]:
        """One run over the candidates, which are none afterwards.

        Args:
            now_s: filters that end by this time do not count any more.

        Returns:
            Offers to make, in the order they were decided, at most one per framework, role and
            agent. They are booked until ``ResourcesRecovered`` gives them back; accepting an offer
            means not to give back what is used.
        """
        known = (self._agents.get(agent_id) for agent_id in self._candidates)
        agents = [a for a in known if a is not None and a.is_active and a.free]
        self._candidates.clear()
        if not self._role_sorter.has_active:
            return []
        self._rng.shuffle(agents)
        allocations: list[Allocation] = []
        for agent in agents:
            self._offer_agent(agent, now_s, allocations)
        return allocations

    def inverse_offers(self, now_s: float) -> list[InverseAllocation]:
        """Whom to ask to leave which agent."""
        return []

    def _offer_agent(self, agent: AgentBook, now_s: float, allocations: list[Allocation]) -> None:
        """Offer what is free on one agent, role by role, while there is something to offer."""
        if not self._is_allocatable(agent.free):
            return
        refusals = self._filters.on_agent(agent.agent_id)
        for role in self._role_sorter.order():
            offer = agent.free.usable_by(role)
            if not self._is_allocatable(offer):
                continue
            taker = self._first_taker(role, offer, refusals, now_s)
            if taker is None:
                continue
            self._book(agent, (taker, role), offer)
            allocations.append(Allocation(taker, role, agent.agent_id, offer))
            if not self._is_allocatable(agent.free):
                return

    def _first_taker(
        self, role: str, offer: Resources, refusals: Refusals | None, now_s: float
    ) -> FrameworkId | None:
        """The neediest framework of a role that did not refuse such an offer."""
        for client in self._framework_sorters[role].order():
            framework_id = FrameworkId(client)
            if refusals:
                against = refusals.get((framework_id, role))
                if against is not None and is_refused(against, offer, now_s):
                    continue
            return framework_id
        return None

    def _book(self, agent: AgentBook, client: ClientKey, offer: Resources) -> None:
        self._count_booking(agent, client)
        agent.offer(client, offer)
        self._charge(client, offer)

    def _is_allocatable(self, resources: Resources) -> bool:
        """Whether resources are worth an offer: see ``AllocatorOptions.min_allocatable``."""
        if not resources:
            return False
        alternatives = self._options.min_allocatable
        if not alternatives:
            return True
        have = resources.quantities()
        for wanted in alternatives:
            for name, milli in wanted.items():
                if have.get(name, 0) < milli:
                    break
            else:
                return True
        return False

    # Answers ------------------------------------------------------------------------------------

    def role_share(self, role: str) -> Fraction:
        """Exact dominant share of a role, without the roles below it; 0 when unknown."""
        return self._role_sorter.share(role) if role in self._role_sorter else Fraction(0)

    def framework_share(self, framework_id: FrameworkId, role: str) -> Fraction:
        """Exact dominant share of a framework in a role; 0 when it holds nothing there."""
        sorter = self._framework_sorters.get(role)
        if sorter is None or framework_id not in sorter:
            return Fraction(0)
        return sorter.share(framework_id)

    def free(self, agent_id: AgentId) -> Resources:
        """What nobody was offered or uses on an agent, unallocated form; empty when unknown."""
        agent = self._agents.get(agent_id)
        return EMPTY if agent is None else agent.free

    def booked(self, framework_id: FrameworkId, role: str, agent_id: AgentId) -> Resources:
        """What a framework was offered or uses on an agent, unallocated form."""
        agent = self._agents.get(agent_id)
        return EMPTY if agent is None else agent.booked.get((framework_id, role), EMPTY)

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when agents, sorters and filters tell different stories."""
        self._role_sorter.check_invariants()
        for sorter in self._framework_sorters.values():
            sorter.check_invariants()
        for agent in self._agents.values():
            agent.check_invariants()
        self._filters.check_invariants()
        self._check_totals()
        self._check_charges()
        self._check_wants()

    def _check_totals(self) -> None:
        totals: Counter[str] = Counter()
        for agent in self._agents.values():
            totals.update(agent.total.quantities())
        if totals != Counter(self._totals.milli):
            raise InvariantBroken("allocator miscounts the cluster's total")

    def _check_charges(self) -> None:
        """Each client's share is what the agents have booked for it."""
        held: dict[ClientKey, Counter[str]] = {}
        holders: Counter[ClientKey] = Counter()
        for agent in self._agents.values():
            for client, resources in agent.booked.items():
                held.setdefault(client, Counter()).update(resources.quantities())
                holders[client] += 1
        if holders != self._bookings:
            raise InvariantBroken("allocator miscounts the agents on which clients hold something")
        for role, sorter in self._framework_sorters.items():
            expected_of_role: Counter[str] = Counter()
            for framework_id in sorter.clients:
                expected = held.pop((FrameworkId(framework_id), role), Counter())
                expected_of_role.update(expected)
                if Counter(sorter.allocation(framework_id)) != expected:
                    raise InvariantBroken(f"framework {framework_id} in {role} is charged wrongly")
            if Counter(self._role_sorter.allocation(role)) != expected_of_role:
                raise InvariantBroken(f"role {role} is charged wrongly")
        if held:
            raise InvariantBroken(f"clients hold resources uncharged: {sorted(held)}")

    def _check_wants(self) -> None:
        for role, sorter in self._framework_sorters.items():
            for client in sorter.clients:
                framework = self._frameworks.get(FrameworkId(client))
                wants = framework is not None and framework.wants_offers(role)
                if sorter.is_active(client) != wants:
                    raise InvariantBroken(f"framework {client} is served wrongly in role {role}")
            if self._role_sorter.is_active(role) != sorter.has_active:
                raise InvariantBroken(f"role {role} is served without anybody in it, or not at all")


__all__ = ["Allocator", "HierarchicalAllocator"]
