"""Holding for big tasks: an agent is kept from small ones until a large demand fits on it.

Off unless ``AllocatorOptions.holding`` is set. A *demand* is what a framework says its offers must
hold at least: what it requested for the role (``ResourcesRequested``), else the minimum that it set
for it (``FrameworkTraits.min_allocatable``). When no agent has so much free, one whose total
suffices is held: what comes back there is not offered to anybody until the demand fits, then all of
it goes to the framework as one offer. Chosen is the agent where least is missing.

Bounds, each with a name in :class:`HoldingOptions`: a part of the agents is held at a time, a hold
ends after a while, and the same framework then waits as long before the next. Only those below an
even share of the cluster are held for; one agent at a time for each. What is reserved is offered to
whom it is reserved for as ever, and guarantees come first: the first stage of a run does not look
at holds.

Source: allocator.md §10 (big tasks starve); there is no such thing in Mesos.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.books import Books
from cluster.core.allocator.clients import Client
from cluster.core.allocator.filters import RefusalFilters
from cluster.core.allocator.options import HoldingOptions
from cluster.core.allocator.suitability import Suitability, is_worth, missing_of, usable_part
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.values import Quantities

Demand = tuple[Quantities, ...]
"""Alternatives, each of scalars that must all be there."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One agent that is kept for a client until its demand fits; until ``until_s`` at most."""

    client: Client
    demand: Demand
    until_s: float


class Holding:
    """Which agents are held for whom."""

    def __init__(
        self,
        books: Books,
        filters: RefusalFilters,
        suitability: Suitability,
        options: HoldingOptions | None,
    ) -> None:
        self._books = books
        self._filters = filters
        self._suitability = suitability
        self._options = options
        self._holds: dict[AgentId, Hold] = {}
        self._rests_until_s: dict[Client, float] = {}
        """Whose hold ended in vain, and when there may be another."""

    @property
    def held(self) -> Mapping[AgentId, tuple[FrameworkId, str]]:
        """Agent to whom it is held for."""
        return {
            agent_id: (hold.client.framework_id, hold.client.role)
            for agent_id, hold in self._holds.items()
        }

    def on_agent(self, agent_id: AgentId) -> Hold | None:
        return self._holds.get(agent_id)

    def end(self, agent_id: AgentId) -> None:
        """The agent was offered to whom it was held for, or it is gone."""
        self._holds.pop(agent_id, None)

    # Time ---------------------------------------------------------------------------------------

    def review(self, now_s: float) -> list[AgentId]:
        """End holds that are over and begin new ones; returns agents that are free for all again.

        To be called at every interval.
        """
        if self._options is None:
            return []
        self._rests_until_s = {
            client: until_s for client, until_s in self._rests_until_s.items() if until_s > now_s
        }
        released = []
        for agent_id, hold in list(self._holds.items()):
            if now_s >= hold.until_s:
                self._rests_until_s[hold.client] = now_s + self._options.hold_s_max
            elif self._is_still_wanted(agent_id, hold):
                continue
            del self._holds[agent_id]
            released.append(agent_id)
        self._begin(self._options, now_s)
        return released

    def _is_still_wanted(self, agent_id: AgentId, hold: Hold) -> bool:
        agent = self._books.agents.get(agent_id)
        return (
            agent is not None
            and hold.client.is_served
            and demand_of(hold.client, agent_id) == hold.demand
            and self._could_serve(hold.client, agent, hold.demand)
        )

    def _begin(self, options: HoldingOptions, now_s: float) -> None:
        most = max(1, int(options.agents_fraction_max * len(self._books.agents)))
        if len(self._holds) >= most:
            return
        for client in islice(self._candidates(), options.clients_per_interval_max):
            if len(self._holds) >= most:
                return
            agent = self._choose(client, now_s)
            if agent is not None:
                demand = demand_of(client, agent.agent_id)
                until_s = now_s + options.hold_s_max
                self._holds[agent.agent_id] = Hold(client, demand, until_s)

    def _candidates(self) -> Iterator[Client]:
        """Who has a demand and may be held for, the neediest first."""
        books = self._books
        held_for = {hold.client for hold in self._holds.values()}
        even_share = Fraction(1, max(books.served, 1))
        for role in list(books.roles.order()):
            for framework_id in list(books.frameworks_of[role].order()):
                client = books.clients_of[role][framework_id]
                if client in held_for or client in self._rests_until_s:
                    continue
                if has_demand(client) and books.framework_share(client.framework_id, role) < (
                    even_share
                ):
                    yield client

    # Choice -------------------------------------------------------------------------------------

    def _choose(self, client: Client, now_s: float) -> AgentBook | None:
        """The agent where least is missing; none if some agent has enough free already."""
        best: tuple[Fraction, AgentId] | None = None
        for agent in self._books.agents.values():
            demand = demand_of(client, agent.agent_id)
            if not demand or not self._could_serve(client, agent, demand):
                continue
            refusals = self._filters.on_agent(agent.agent_id)
            refusal = refusals.get(client) if refusals else None
            if refusal is not None and any(r.until_s > now_s for r in refusal):
                continue
            free = usable_part(client, agent.free)
            if is_worth(free, demand):
                return None
            if agent.agent_id not in self._holds:
                rank = (missing_of(free, demand)[1], agent.agent_id)
                if best is None or rank < best:
                    best = rank
        return None if best is None else self._books.agents[best[1]]

    def _could_serve(self, client: Client, agent: AgentBook, demand: Demand) -> bool:
        return (
            agent.is_offerable
            and self._suitability.could_take(client, agent)
            and is_worth(usable_part(client, agent.total), demand)
        )

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when a hold is one too many, or on an agent that is gone."""
        clients = [hold.client for hold in self._holds.values()]
        if len(set(clients)) != len(clients):
            raise InvariantBroken("two agents are held for one client")
        for agent_id in self._holds:
            if agent_id not in self._books.agents:
                raise InvariantBroken(f"agent {agent_id} is held but unknown")


def has_demand(client: Client) -> bool:
    framework = client.framework
    if framework is None:
        return False
    return bool(client.min_allocatable) or any(
        role in (None, client.role) for role, _ in framework.wishes
    )


def demand_of(client: Client, agent_id: AgentId) -> Demand:
    """What an offer of this agent must hold for the client; empty when it named nothing.

    The closest wish counts: for the role before all roles, for the agent before any agent. What
    holds for other agents only is no demand here.
    """
    framework = client.framework
    if framework is None:
        return ()
    for role in (client.role, None):
        for agent in (agent_id, None):
            if wanted := framework.wishes.get((role, agent)):
                return wanted
    return client.min_allocatable or ()


__all__ = ["Demand", "Hold", "Holding", "demand_of", "has_demand"]
