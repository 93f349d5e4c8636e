"""The hierarchical allocator: decides which framework is offered which agent next.

Decided here: which facts make which agents worth another look, and when a run may happen. The rest
is in rooms of their own, each of which imports only those after it:

====================  ============================================================================
``run``               the two stages: who is asked in which order, and what goes into an offer
``explanation``       why somebody was offered what he was offered
``inverse``           maintenance: who is asked to give an agent up
``holding``           which agents are kept for demands that do not fit yet
``candidates``        what happened since the last run, and who must be asked because of it
``suitability``       who can take which agent at all
``books``             who has what, and every sum that follows: shares, totals, quotas
``quotas``            what is promised and not yet had, and what may be given to whom
``filters``           refusals and when they end
``agents, clients``   one agent; one framework, and one of its roles
``sorter, drf``       in which order clients are served
====================  ============================================================================

Not here: making, sending and taking back offers (the master), time (``now_s`` comes with every
call).

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
- What quotas keep back is looked at again at the interval after they left more room.

Source: mesos ``hierarchical.cpp`` ``__generateOffers``; allocator.md §2 to §5.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Protocol, assert_never

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.books import Books
from cluster.core.allocator.candidates import Candidates
from cluster.core.allocator.clients import Client, Framework
from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    AllocatorEvent,
    AllocatorStatistics,
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
from cluster.core.allocator.explanation import Explainer, RoleExplanation, Summary
from cluster.core.allocator.filters import RefusalFilters, refusal_s
from cluster.core.allocator.holding import Holding
from cluster.core.allocator.inverse import InverseOffers
from cluster.core.allocator.options import AllocatorOptions
from cluster.core.allocator.quotas import consumption_of
from cluster.core.allocator.run import Offers, Run
from cluster.core.allocator.suitability import Suitability
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import InverseOfferStatus
from cluster.model.resources import EMPTY, Resources
from cluster.model.values import Quantities

Bookings = Mapping[AgentId, Mapping[tuple[FrameworkId, str], Resources]]
"""Agent -> framework and role -> what is theirs there, unallocated form; nothing is left out."""


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
        """Whom to ask to give agents up; to be called after each run."""

    def inverse_status(self, agent_id: AgentId) -> Mapping[FrameworkId, InverseOfferStatus]:
        """What frameworks answered last about an agent under maintenance."""

    def quota_consumption(self, role: str) -> Quantities:
        """What counts against the quota of a role, whether it has one or not."""

    @property
    def statistics(self) -> AllocatorStatistics:
        """What is counted for operators; may look at every role."""

    def bookings(self) -> Bookings:
        """What is offered or used, agent by agent; for checks."""

    def explain(self, framework_id: FrameworkId, role: str, now_s: float) -> RoleExplanation | None:
        """Why a framework is offered what it is offered; None when it is not in that role."""

    def overview(self, now_s: float) -> list[Summary]:
        """How every framework stands in each of its roles."""

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when the books contradict themselves."""


class HierarchicalAllocator:
    """An :class:`Allocator` that serves roles, and frameworks inside a role, by dominant share.

    Args:
        options: settings.
        rng: decides the order of agents inside a run, and what sorters draw.
    """

    def __init__(self, options: AllocatorOptions, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self._books = Books(options, rng)
        self._filters = RefusalFilters()
        self._candidates = Candidates()
        self._suitability = Suitability(options)
        self._inverse = InverseOffers()
        self._holding = Holding(self._books, self._filters, self._suitability, options.holding)
        self._awaited_agents: int | None = None
        """No run before so many agents are there; None when nothing is awaited."""
        self._agents_looked_at = 0
        self._last_offers: Offers = {}
        """Made by the last run that made any; for explanations."""

    # Facts --------------------------------------------------------------------------------------

    def handle(self, event: AllocatorEvent, now_s: float) -> None:
        """Take note of a fact; it may make agents candidates of the next run.

        Raises:
            InvariantBroken: the fact contradicts earlier ones (an agent added twice, more given
                back than held); nothing is changed then.
            ResourcesNotContained: what is to be converted is not free; nothing is changed then.
            InvalidInput: a weight is not a finite number above 0; nothing is changed then.
        """
        match event:
            case ResourcesRecovered():
                self._recover(event, now_s)
            case IntervalElapsed():
                self._end_interval(now_s)
            case (
                AgentAdded()
                | AgentUpdated()
                | AgentRemoved()
                | AgentActivated()
                | AgentDeactivated()
                | UnavailabilityChanged()
                | WhitelistUpdated()
                | RecoveryBegun()
                | RecoveryEnded()
            ):
                self._handle_agents(event)
            case (
                FrameworkAdded()
                | FrameworkUpdated()
                | FrameworkRemoved()
                | FrameworkActivated()
                | FrameworkDeactivated()
                | OffersSuppressed()
                | OffersRevived()
                | ResourcesRequested()
            ):
                self._handle_frameworks(event)
            case ResourcesConverted():
                self._convert(event)
            case FreeResourcesConverted():
                self._convert_free(event)
            case InverseOfferAnswered():
                self._answer_inverse(event, now_s)
            case InverseOfferWithdrawn(framework_id, agent_id):
                self._inverse.withdraw(agent_id, framework_id)
            case QuotasUpdated(quotas):
                self._books.update_quotas(quotas)
                self._candidates.release_withheld()
            case WeightsUpdated(weights):
                self._books.update_weights(weights)
            case _:
                assert_never(event)

    # Agents -------------------------------------------------------------------------------------

    def _handle_agents(
        self,
        event: AgentAdded
        | AgentUpdated
        | AgentRemoved
        | AgentActivated
        | AgentDeactivated
        | UnavailabilityChanged
        | WhitelistUpdated
        | RecoveryBegun
        | RecoveryEnded,
    ) -> None:
        match event:
            case AgentAdded():
                self._add_agent(event)
            case AgentUpdated():
                self._update_agent(event)
            case AgentRemoved(agent_id):
                self._books.remove_agent(self._books.agent(agent_id))
                self._filters.clear_agent(agent_id)
                self._candidates.forget_agent(agent_id)
                self._holding.end(agent_id)
                self._inverse.forget_agent(agent_id)
            case AgentActivated(agent_id):
                self._books.set_active(self._books.agent(agent_id), is_active=True)
                self._agent_changed(agent_id)
            case AgentDeactivated(agent_id):
                self._books.set_active(self._books.agent(agent_id), is_active=False)
            case UnavailabilityChanged(agent_id, unavailability):
                self._books.agent(agent_id).unavailability = unavailability
                self._inverse.plan(agent_id, is_unavailable=unavailability is not None)
                self._candidates.changed[agent_id] = None
            case WhitelistUpdated(hostnames):
                for agent in self._books.list_hosts(hostnames):
                    self._agent_changed(agent.agent_id)
            case RecoveryBegun(expected_agents):
                factor = Fraction(repr(self._options.recovery_factor))
                self._awaited_agents = math.floor(expected_agents * factor)
                self._end_recovery_if_enough()
            case RecoveryEnded():
                self._awaited_agents = None
            case _:
                assert_never(event)

    def _agent_changed(self, agent_id: AgentId) -> None:
        self._candidates.changed[agent_id] = None
        self._inverse.touch(agent_id)

    def _add_agent(self, event: AgentAdded) -> None:
        agent = self._books.add_agent(
            event.agent_id, event.total, event.used, event.traits, is_active=event.is_active
        )
        if event.unavailability is not None:
            agent.unavailability = event.unavailability
            self._inverse.plan(event.agent_id, is_unavailable=True)
        self._candidates.changed[event.agent_id] = None
        self._end_recovery_if_enough()

    def _end_recovery_if_enough(self) -> None:
        if self._awaited_agents is not None and len(self._books.agents) >= self._awaited_agents:
            self._awaited_agents = None

    def _update_agent(self, event: AgentUpdated) -> None:
        agent = self._books.agent(event.agent_id)
        total = event.total.unallocated()
        if event.traits is not None and event.traits != agent.traits:
            self._books.describe_agent(agent, event.traits)
            self._filters.clear_agent(event.agent_id)
            self._agent_changed(event.agent_id)
        if total != agent.total:
            self._books.resize(agent, total)
            self._agent_changed(event.agent_id)

    # Resources ----------------------------------------------------------------------------------

    def _recover(self, event: ResourcesRecovered, now_s: float) -> None:
        """Take resources back; of an agent that is gone meanwhile there is nothing to take."""
        agent = self._books.agents.get(event.agent_id)
        resources = event.resources.unallocated()
        if agent is None or not resources:
            return
        client = self._holder(event.framework_id, event.role)
        is_whole = bool(agent.offers) and agent.offers.get(client) == resources
        self._books.release(agent, client, resources)
        if event.refuse_s is not None:
            is_turn = is_whole or client not in agent.booked
            self._install_filter(agent, client, resources, event.refuse_s, now_s, is_turn=is_turn)
        candidates = self._candidates
        is_now = self._options.allocate_on_recovery
        (candidates.changed if is_now else candidates.returned)[agent.agent_id] = None

    def _holder(self, framework_id: FrameworkId, role: str) -> Client:
        """The client; a passing one that holds nothing when there is none."""
        return self._books.client(framework_id, role) or Client(framework_id, role)

    def _install_filter(
        self,
        agent: AgentBook,
        client: Client,
        resources: Resources,
        refuse_s: float,
        now_s: float,
        *,
        is_turn: bool,
    ) -> None:
        """``is_turn``: the client gives back all that it was offered, so others come first."""
        if client.framework is None:
            return
        if not self._options.allocate_on_recovery:
            if refuse_s == 0:
                return
            is_turn = False
        if resources == agent.free:
            resources = agent.free
        until_s = now_s + self._refusal_s(refuse_s)
        turn_s = now_s if is_turn else None
        self._filters.install(agent.agent_id, client, resources, until_s, turn_s=turn_s)

    def _refusal_s(self, refuse_s: float) -> float:
        return max(self._options.allocation_interval_s, refusal_s(refuse_s))

    def _convert(self, event: ResourcesConverted) -> None:
        """Of an agent that is gone meanwhile there is nothing to convert."""
        agent = self._books.agents.get(event.agent_id)
        if agent is None:
            return
        client = self._holder(event.framework_id, event.role)
        free = agent.free
        self._books.convert(agent, client, event.before.unallocated(), event.after.unallocated())
        if agent.free != free:
            self._candidates.changed[agent.agent_id] = None

    def _convert_free(self, event: FreeResourcesConverted) -> None:
        agent = self._books.agent(event.agent_id)
        before, after = event.before.unallocated(), event.after.unallocated()
        self._books.convert_free(agent, before, after)
        self._candidates.changed[agent.agent_id] = None

    def _end_interval(self, now_s: float) -> None:
        for agent_id, client in self._filters.end_expired(now_s):
            self._candidates.wake(agent_id, client)
        for agent_id in self._holding.review(now_s):
            self._candidates.changed[agent_id] = None
        self._candidates.end_interval()
        if self._candidates.withheld:
            self._candidates.release_if_grown(self._books.quotas.rooms())
        self._inverse.end_expired(now_s)

    # Frameworks ---------------------------------------------------------------------------------

    def _handle_frameworks(
        self,
        event: FrameworkAdded
        | FrameworkUpdated
        | FrameworkRemoved
        | FrameworkActivated
        | FrameworkDeactivated
        | OffersSuppressed
        | OffersRevived
        | ResourcesRequested,
    ) -> None:
        match event:
            case FrameworkAdded(framework_id, roles, suppressed, active, traits):
                framework = Framework(framework_id, roles, suppressed, traits, is_active=active)
                self._books.add_framework(framework)
                self._apply_wants(framework)
                self._framework_arrived(framework)
            case FrameworkUpdated():
                self._update_framework(event)
            case FrameworkRemoved(framework_id):
                framework = self._books.framework(framework_id)
                self._silence(framework)
                self._books.remove_framework(framework)
            case FrameworkActivated(framework_id):
                framework = self._books.framework(framework_id)
                framework.is_active = True
                self._apply_wants(framework)
                self._framework_arrived(framework)
            case FrameworkDeactivated(framework_id):
                framework = self._books.framework(framework_id)
                framework.is_active = False
                self._silence(framework)
            case OffersSuppressed(framework_id, roles):
                framework = self._books.framework(framework_id)
                framework.suppressed.update(roles or framework.roles)
                self._apply_wants(framework)
            case OffersRevived(framework_id, roles):
                self._revive(self._books.framework(framework_id), roles)
            case ResourcesRequested(framework_id, wanted, role, agent_id):
                self._books.framework(framework_id).wish((role, agent_id), wanted)
            case _:
                assert_never(event)

    def _framework_arrived(self, framework: Framework) -> None:
        """It may hold something on agents under maintenance, and can be asked now."""
        if framework.is_active:
            self._inverse.touch_all()

    def _update_framework(self, event: FrameworkUpdated) -> None:
        framework = self._books.framework(event.framework_id)
        traits_changed = event.traits != framework.traits
        for client in self._books.clients(framework):
            if client.role not in event.roles:
                self._forget_refusals(client)
        self._books.update_framework(framework, event.roles, event.suppressed_roles, event.traits)
        self._apply_wants(framework)
        if traits_changed:
            for client in self._books.clients(framework):
                if client.is_served:
                    self._candidates.fresh[client] = None

    def _silence(self, framework: Framework) -> None:
        """No offers for it any more, and nothing that it refused."""
        for client in self._books.clients(framework):
            self._books.stop_serving(client)
            self._forget_refusals(client)
        self._inverse.forget_framework(framework.framework_id)

    def _forget_refusals(self, client: Client) -> None:
        self._filters.clear_client(client)
        self._candidates.forget_client(client)

    def _revive(self, framework: Framework, roles: Iterable[str]) -> None:
        revived = [role for role in roles or framework.roles if role in framework.roles]
        framework.suppressed.difference_update(revived)
        self._apply_wants(framework)
        for client in self._books.clients(framework):
            if client.role in revived:
                self._filters.clear_client(client)
                if client.is_served:
                    self._candidates.fresh[client] = None
        self._inverse.revive(framework.framework_id)

    def _apply_wants(self, framework: Framework) -> None:
        """Serve the framework where it wants offers, and only there.

        Whoever starts to want offers must be shown every agent.
        """
        for client in self._books.clients(framework):
            if not framework.wants_offers(client.role):
                self._books.stop_serving(client)
                self._candidates.forget_client(client)
            elif not client.is_served:
                self._books.serve(client)
                self._candidates.fresh[client] = None

    # Maintenance --------------------------------------------------------------------------------

    def _answer_inverse(self, event: InverseOfferAnswered, now_s: float) -> None:
        refuse_s = 0.0 if event.refuse_s is None else event.refuse_s
        until_s = now_s + self._refusal_s(refuse_s)
        self._inverse.answer(event.agent_id, event.framework_id, event.status, until_s)

    # Runs ---------------------------------------------------------------------------------------

    @property
    def has_candidates(self) -> bool:
        """Whether a run is due: something may have become worth offering, or worth asking back."""
        if self._awaited_agents is not None:
            return False
        return bool(self._candidates) or self._inverse.is_due

    @property
    def is_recovering(self) -> bool:
        """Whether runs wait for agents of an earlier master."""
        return self._awaited_agents is not None

    @property
    def next_filter_end_s(self) -> float | None:
        """When the next filter ends; an ``IntervalElapsed`` then gives the soonest next offer."""
        return self._filters.next_end_s

    @property
    def agents_looked_at(self) -> int:
        """On how many agents runs have asked anybody so far: the work done, in all."""
        return self._agents_looked_at

    def allocate(self, now_s: float) -> list[Allocation]:
        """One run over the candidates, which are none afterwards.

        Args:
            now_s: filters that end by this time do not count any more.

        Returns:
            Offers to make, in the order they were decided, at most one per framework, role and
            agent. They are booked until ``ResourcesRecovered`` gives them back; accepting an offer
            means not to give back what is used. None while agents of an earlier master are awaited.
        """
        if self._awaited_agents is not None:
            return []
        quotas = self._books.quotas
        self._candidates.begin_run(quotas.rooms())
        run = Run(
            self._books,
            self._filters,
            self._candidates,
            self._suitability,
            self._holding,
            self._options,
            now_s,
        )
        allocations = run.decide(self._rng)
        self._candidates.finish_run(quotas.rooms())
        self._agents_looked_at += run.looked_at
        if run.made:
            self._last_offers = run.made
        for allocation in allocations:
            self._inverse.touch(allocation.agent_id)
        return allocations

    def inverse_offers(self, now_s: float) -> list[InverseAllocation]:
        """Whom to ask to give which agent up; to be called after each run.

        Each is outstanding until ``InverseOfferAnswered`` or ``InverseOfferWithdrawn``.
        """
        if self._awaited_agents is not None:
            return []
        return self._inverse.decide(self._books, now_s)

    # Answers ------------------------------------------------------------------------------------

    def explain(self, framework_id: FrameworkId, role: str, now_s: float) -> RoleExplanation | None:
        """Why a framework is offered what it is offered; None when it is not in that role.

        Costs a look at every agent.
        """
        client = self._books.client(framework_id, role)
        if client is None or client.framework is None:
            return None
        return self._explainer(now_s).explain(client)

    def overview(self, now_s: float) -> list[Summary]:
        """How every framework stands in each of its roles. Costs no look at agents."""
        return self._explainer(now_s).overview()

    def _explainer(self, now_s: float) -> Explainer:
        takers: dict[AgentId, list[Client]] = {}
        for client, agent in self._last_offers:
            takers.setdefault(agent.agent_id, []).append(client)
        return Explainer(
            self._books,
            self._filters,
            self._suitability,
            self._options,
            weights=self._books.weights,
            takers=takers,
            holding=self._holding,
            is_recovering=self.is_recovering,
            now_s=now_s,
        )

    def inverse_status(self, agent_id: AgentId) -> Mapping[FrameworkId, InverseOfferStatus]:
        """What frameworks answered last about an agent under maintenance; else empty."""
        return self._inverse.status(agent_id)

    def quota_consumption(self, role: str) -> Quantities:
        """What counts against the quota of a role and those below it, in thousandths.

        Costs a look at every agent when the role has no quota.
        """
        quotas = self._books.quotas
        if role in quotas.quotas:
            return quotas.consumed(role)
        return consumption_of(role, self._books.agents.values())

    @property
    def statistics(self) -> AllocatorStatistics:
        """What is counted for operators."""
        roles = sorted(self._books.clients_of)
        filtered_of: Counter[FrameworkId] = Counter()
        for clients in self._books.clients_of.values():
            for client in clients.values():
                filtered_of[client.framework_id] += client.offers_saved
        return AllocatorStatistics(
            filtered_offers=self._suitability.filtered_offers,
            active_filters={role: self._filters.count_of_role(role) for role in roles},
            dominant_shares={role: float(self.role_share(role)) for role in roles},
            filtered_of=filtered_of,
        )

    @property
    def held_agents(self) -> Mapping[AgentId, tuple[FrameworkId, str]]:
        """Which agents are kept for whose large demand."""
        return self._holding.held

    def role_share(self, role: str) -> Fraction:
        """Exact dominant share of a role, without the roles below it; 0 when unknown."""
        return self._books.role_share(role)

    def framework_share(self, framework_id: FrameworkId, role: str) -> Fraction:
        """Exact dominant share of a framework in a role; 0 when it holds nothing there."""
        return self._books.framework_share(framework_id, role)

    def free(self, agent_id: AgentId) -> Resources:
        """What nobody was offered or uses on an agent, unallocated form; empty when unknown.

        Shared resources are free however many use them.
        """
        agent = self._books.agents.get(agent_id)
        return EMPTY if agent is None else agent.free

    def booked(self, framework_id: FrameworkId, role: str, agent_id: AgentId) -> Resources:
        """What a framework was offered or uses on an agent, unallocated form."""
        agent = self._books.agents.get(agent_id)
        client = self._books.client(framework_id, role)
        return EMPTY if agent is None or client is None else agent.booked.get(client, EMPTY)

    def bookings(self) -> Bookings:
        return {
            agent_id: {
                (client.framework_id, client.role): resources
                for client, resources in agent.booked.items()
            }
            for agent_id, agent in self._books.agents.items()
        }

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when agents, sorters and filters tell different stories."""
        self._books.check_invariants()
        self._filters.check_invariants()
        self._inverse.check_invariants(self._books)
        self._check_references()
        self._holding.check_invariants()

    def _check_references(self) -> None:
        """Nothing waits for an agent or a client that is gone."""
        candidates = self._candidates
        waiting = {**candidates.changed, **candidates.awake, **candidates.returned}
        for agent_id in {**waiting, **candidates.withheld}:
            if agent_id not in self._books.agents:
                raise InvariantBroken(f"agent {agent_id} is a candidate but unknown")
        for client in candidates.fresh:
            if not client.is_served:
                raise InvariantBroken(f"{client} is fresh but wants no offers")
        for agent_id, client, _ in self._filters:
            known = self._books.client(client.framework_id, client.role)
            if known is not client or client.framework is None:
                raise InvariantBroken(f"{client} has filters but no subscription")
            if agent_id not in self._books.agents:
                raise InvariantBroken(f"agent {agent_id} has filters but is unknown")


__all__ = ["Allocator", "Bookings", "HierarchicalAllocator"]
