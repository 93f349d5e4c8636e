"""Refusal filters: who must not be offered what on which agent, and until when.

A filter belongs to a framework in a role and to an agent. It keeps away every offer that lies
within what was refused; more than that comes through. Filters end by time, by revive, or with
their framework or agent.

Filters are kept by agent, because a run visits agents. One calendar entry per agent, for the
filter that ends first, is enough to know which agents an interval must look at again.

Source: allocator.md §4.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources

ClientKey = tuple[FrameworkId, str]
"""A framework in one of its roles."""

REFUSE_S_DEFAULT = 5.0
REFUSE_S_MAX = 365 * 86400.0
FILTERS_PER_CLIENT_AND_AGENT_MAX = 16
"""Differing refusals that are remembered for one agent; beyond, the oldest gives way."""

# Outdated calendar entries are dropped when they outnumber the valid ones by this many.
_CALENDAR_SLACK = 64


def refusal_s(refuse_s: float) -> float:
    """How long a framework means to refuse: 5 s when the value makes no sense, a year at most."""
    if not refuse_s >= 0:  # also true for NaN
        return REFUSE_S_DEFAULT
    return min(refuse_s, REFUSE_S_MAX)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One filter. ``resources`` are in unallocated form; it holds while now < ``until_s``."""

    resources: Resources
    until_s: float


Refusals = dict[ClientKey, tuple[Refusal, ...]]


class _AgentFilters:
    """All filters on one agent; ``wake_s`` is when the first of them ends (or earlier)."""

    __slots__ = ("refusals", "wake_s")

    def __init__(self, wake_s: float) -> None:
        self.refusals: Refusals = {}
        self.wake_s = wake_s


class RefusalFilters:
    """All refusal filters of the cluster."""

    def __init__(self) -> None:
        self._agents: dict[AgentId, _AgentFilters] = {}
        self._calendar: list[tuple[float, AgentId]] = []
        """A heap; an entry is valid while it says the agent's ``wake_s``."""

    def install(
        self, agent_id: AgentId, client: ClientKey, resources: Resources, until_s: float
    ) -> None:
        """Remember a refusal; earlier ones that it makes pointless are dropped."""
        filters = self._agents.get(agent_id)
        if filters is None:
            filters = self._agents[agent_id] = _AgentFilters(until_s)
            self._plan(agent_id, filters, until_s)
        kept = [
            old
            for old in filters.refusals.get(client, ())
            if old.until_s > until_s or not resources.contains(old.resources)
        ]
        kept.append(Refusal(resources, until_s))
        filters.refusals[client] = tuple(kept[-FILTERS_PER_CLIENT_AND_AGENT_MAX:])
        if until_s < filters.wake_s:
            self._plan(agent_id, filters, until_s)

    def on_agent(self, agent_id: AgentId) -> Refusals | None:
        """The refusals on an agent by client, ended ones included; None when there are none."""
        filters = self._agents.get(agent_id)
        return None if filters is None else filters.refusals

    def end_expired(self, now_s: float) -> list[AgentId]:
        """Drop filters that ended by now; returns their agents, earliest end first."""
        woken = []
        while self._calendar and self._calendar[0][0] <= now_s:
            wake_s, agent_id = heappop(self._calendar)
            filters = self._agents.get(agent_id)
            if filters is not None and filters.wake_s == wake_s:
                self._drop_expired(agent_id, filters, now_s)
                woken.append(agent_id)
        return woken

    @property
    def next_end_s(self) -> float | None:
        """When the next filter ends; None without filters. May be early after a revive."""
        while self._calendar:
            wake_s, agent_id = self._calendar[0]
            filters = self._agents.get(agent_id)
            if filters is not None and filters.wake_s == wake_s:
                return wake_s
            heappop(self._calendar)
        return None

    def clear_client(self, client: ClientKey) -> None:
        """Forget every filter of a framework in a role."""
        for agent_id in list(self._agents):
            filters = self._agents[agent_id]
            if filters.refusals.pop(client, None) is not None and not filters.refusals:
                del self._agents[agent_id]

    def clear_agent(self, agent_id: AgentId) -> None:
        """Forget every filter on an agent."""
        self._agents.pop(agent_id, None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[tuple[AgentId, ClientKey, Refusal]]:
        for agent_id, filters in self._agents.items():
            for client, refusals in filters.refusals.items():
                for refusal in refusals:
                    yield agent_id, client, refusal

    def _drop_expired(self, agent_id: AgentId, filters: _AgentFilters, now_s: float) -> None:
        left = {
            client: kept
            for client, refusals in filters.refusals.items()
            if (kept := tuple(refusal for refusal in refusals if refusal.until_s > now_s))
        }
        filters.refusals = left
        if left:
            self._plan(agent_id, filters, min(r.until_s for kept in left.values() for r in kept))
        else:
            del self._agents[agent_id]

    def _plan(self, agent_id: AgentId, filters: _AgentFilters, wake_s: float) -> None:
        filters.wake_s = wake_s
        heappush(self._calendar, (wake_s, agent_id))
        if len(self._calendar) > 2 * len(self._agents) + _CALENDAR_SLACK:
            self._calendar = [(known.wake_s, agent) for agent, known in self._agents.items()]
            heapify(self._calendar)

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when a filter could end without anybody noticing."""
        planned = set(self._calendar)
        for agent_id, filters in self._agents.items():
            if not filters.refusals or not all(filters.refusals.values()):
                raise InvariantBroken(f"agent {agent_id} keeps an empty list of filters")
            first_s = min(r.until_s for kept in filters.refusals.values() for r in kept)
            if first_s < filters.wake_s or (filters.wake_s, agent_id) not in planned:
                raise InvariantBroken(f"agent {agent_id} has a filter that ends unnoticed")


def is_refused(refusals: Iterable[Refusal], offer: Resources, now_s: float) -> bool:
    """Whether one of a client's refusals on an agent forbids this offer (unallocated form)."""
    for refusal in refusals:
        if refusal.until_s > now_s and refusal.resources.contains(offer):
            return True
    return False


__all__ = [
    "FILTERS_PER_CLIENT_AND_AGENT_MAX",
    "REFUSE_S_DEFAULT",
    "REFUSE_S_MAX",
    "ClientKey",
    "Refusal",
    "RefusalFilters",
    "Refusals",
    "is_refused",
    "refusal_s",
]
