"""Refusal filters: who must not be offered what on which agent, and until when.

A filter belongs to a client (a framework in a role) and to an agent. It keeps away every offer that
lies within what was refused; more than that comes through. Filters end by time, by revive, or with
their framework or agent.

Filters are kept by agent, because a run visits agents: there, a client has one :class:`Refusal`,
followed by its older ones that it does not cover. There may be millions, so equal ones are one
object, and the calendar has one entry for all that a client refused at once.

Source: allocator.md §4.
"""

from collections import Counter
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from cluster.core.allocator.clients import Client
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId
from cluster.model.resources import Resources

REFUSE_S_DEFAULT: Final = 5.0
REFUSE_S_MAX: Final = 365 * 86400.0
FILTERS_PER_CLIENT_AND_AGENT_MAX: Final = 16
"""Differing refusals that are remembered for one agent; beyond, the oldest gives way."""

# Outdated plans are dropped when they outnumber the filters by this many.
_PLANS_SLACK = 64
# Equal refused bundles become one object as long as they are among so many.
_BUNDLES_MAX = 4096


def refusal_s(refuse_s: float) -> float:
    """How long a framework means to refuse: 5 s when the value makes no sense, a year at most."""
    if not refuse_s >= 0:  # also true for NaN
        return REFUSE_S_DEFAULT
    return min(refuse_s, REFUSE_S_MAX)


class Refusal:
    """One filter, and the client's older ones on that agent. Never changed: it may be shared.

    ``resources`` are in unallocated form; it holds while now < ``until_s``.
    """

    __slots__ = ("older", "resources", "until_s")

    def __init__(self, resources: Resources, until_s: float, older: "Refusal | None") -> None:
        self.resources = resources
        self.until_s = until_s
        self.older = older

    def __iter__(self) -> "Iterator[Refusal]":
        refusal: Refusal | None = self
        while refusal is not None:
            yield refusal
            refusal = refusal.older

    def forbids(self, offer: Resources, now_s: float) -> bool:
        """Whether it, or an older one, forbids this offer (unallocated form)."""
        refusal: Refusal | None = self
        while refusal is not None:
            if refusal.until_s > now_s and refusal.resources.contains(offer):
                return True
            refusal = refusal.older
        return False


Refusals = dict[Client, Refusal]


_Plan = tuple[float, int, Client, list[AgentId]]
"""When, a number that makes the order total, whose, and where: filters that end together."""


class RefusalFilters:
    """All refusal filters of the cluster."""

    def __init__(self) -> None:
        self._agents: dict[AgentId, Refusals] = {}
        self._count = 0
        self._by_role: Counter[str] = Counter()
        self._calendar: list[_Plan] = []
        """A heap of plans; entries of a plan whose filter is gone or replaced mean nothing."""
        self._planned = 0
        """Entries of all plans together."""
        self._last_plan: _Plan | None = None
        self._plans_made = 0
        self._last: Refusal | None = None
        self._bundles: dict[Resources, Resources] = {}

    def install(
        self, agent_id: AgentId, client: Client, resources: Resources, until_s: float
    ) -> None:
        """Remember a refusal; earlier ones that it makes pointless are dropped."""
        refusals = self._agents.get(agent_id)
        if refusals is None:
            refusals = self._agents[agent_id] = {}
        found = refusals.get(client)
        if found is None:
            refusals[client] = self._refusal(resources, until_s)
            self._count += 1
            self._by_role[client.role] += 1
        else:
            kept = [
                old
                for old in found
                if old.until_s > until_s or not resources.contains(old.resources)
            ]
            kept = kept[: FILTERS_PER_CLIENT_AND_AGENT_MAX - 1]
            self._uncount(client, _length(found) - len(kept) - 1)
            newest = Refusal(resources, until_s, _chain(kept))
            refusals[client] = newest if kept else self._refusal(resources, until_s)
        self._plan(agent_id, client, until_s)

    def _refusal(self, resources: Resources, until_s: float) -> Refusal:
        """The last one made if it is equal, as when many like agents are refused at once."""
        last = self._last
        if last is not None and last.until_s == until_s:
            if last.resources is resources or last.resources == resources:
                return last
        if len(self._bundles) >= _BUNDLES_MAX:
            self._bundles = {}
        resources = self._bundles.setdefault(resources, resources)
        self._last = Refusal(resources, until_s, None)
        return self._last

    def on_agent(self, agent_id: AgentId) -> Refusals | None:
        """The refusals on an agent by client, ended ones included; None when there are none."""
        return self._agents.get(agent_id)

    def end_expired(self, now_s: float) -> list[tuple[AgentId, Client]]:
        """Drop filters that ended by now; returns whose they were, earliest end first."""
        woken = []
        while self._calendar and self._calendar[0][0] <= now_s:
            _, _, client, agent_ids = self._pop_plan()
            for agent_id in agent_ids:
                if self._drop_expired(agent_id, client, now_s):
                    woken.append((agent_id, client))
        return woken

    @property
    def next_end_s(self) -> float | None:
        """When the next filter ends; None without filters."""
        while self._calendar:
            until_s, _, client, agent_ids = self._calendar[0]
            if any(self._is_valid(agent_id, client, until_s) for agent_id in agent_ids):
                return until_s
            self._pop_plan()
        return None

    def clear_client(self, client: Client) -> None:
        """Forget every filter of a framework in a role."""
        emptied = []
        for agent_id, refusals in self._agents.items():
            found = refusals.pop(client, None)
            if found is not None:
                gone = 1 if found.older is None else _length(found)
                self._uncount(client, gone)
                if not refusals:
                    emptied.append(agent_id)
        for agent_id in emptied:
            del self._agents[agent_id]
        self._tidy()

    def clear_agent(self, agent_id: AgentId) -> None:
        """Forget every filter on an agent."""
        for client, found in self._agents.pop(agent_id, {}).items():
            self._uncount(client, _length(found))
        self._tidy()

    def _uncount(self, client: Client, gone: int) -> None:
        self._count -= gone
        self._by_role[client.role] -= gone
        if not self._by_role[client.role]:
            del self._by_role[client.role]

    def count_of_role(self, role: str) -> int:
        """How many filters the frameworks of a role have; ended ones until they are dropped."""
        return self._by_role.get(role, 0)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[AgentId, Client, Refusal]]:
        for agent_id, refusals in self._agents.items():
            for client, found in refusals.items():
                for refusal in found:
                    yield agent_id, client, refusal

    def _drop_expired(self, agent_id: AgentId, client: Client, now_s: float) -> bool:
        """Whether any of a client's refusals on an agent had ended."""
        refusals = self._agents.get(agent_id)
        found = None if refusals is None else refusals.get(client)
        if refusals is None or found is None:
            return False
        if found.older is None:
            if found.until_s > now_s:
                return False
            kept = []
            ended = 1
        else:
            kept = [refusal for refusal in found if refusal.until_s > now_s]
            ended = _length(found) - len(kept)
            if not ended:
                return False
        self._uncount(client, ended)
        left = _chain(kept)
        if left is not None:
            refusals[client] = left
        else:
            del refusals[client]
            if not refusals:
                del self._agents[agent_id]
        return True

    # Calendar -----------------------------------------------------------------------------------

    def _plan(self, agent_id: AgentId, client: Client, until_s: float) -> None:
        plan = self._last_plan
        if plan is None or plan[2] is not client or plan[0] != until_s:
            plan = self._last_plan = (until_s, self._plans_made, client, [])
            self._plans_made += 1
            heappush(self._calendar, plan)
        plan[3].append(agent_id)
        self._planned += 1
        self._tidy()

    def _pop_plan(self) -> _Plan:
        plan = heappop(self._calendar)
        self._planned -= len(plan[3])
        if plan is self._last_plan:
            self._last_plan = None
        return plan

    def _is_valid(self, agent_id: AgentId, client: Client, until_s: float) -> bool:
        found = self._agents.get(agent_id, {}).get(client)
        return found is not None and any(refusal.until_s == until_s for refusal in found)

    def _tidy(self) -> None:
        """Plan anew when most entries are outdated."""
        if self._planned <= 2 * self._count + _PLANS_SLACK:
            return
        plans: dict[tuple[Client, float], _Plan] = {}
        for agent_id, client, refusal in self:
            key = (client, refusal.until_s)
            plan = plans.get(key)
            if plan is None:
                plan = plans[key] = (refusal.until_s, self._plans_made, client, [])
                self._plans_made += 1
            plan[3].append(agent_id)
        self._calendar = list(plans.values())
        heapify(self._calendar)
        self._planned = self._count
        self._last_plan = None

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when a filter could end without anybody noticing."""
        planned = {
            (agent_id, client, until_s)
            for until_s, _, client, agent_ids in self._calendar
            for agent_id in agent_ids
        }
        count = 0
        by_role: Counter[str] = Counter()
        for agent_id, client, refusal in self:
            count += 1
            by_role[client.role] += 1
            if (agent_id, client, refusal.until_s) not in planned:
                raise InvariantBroken(f"agent {agent_id} has a filter that ends unnoticed")
        if count != self._count:
            raise InvariantBroken(f"{count} filters are counted as {self._count}")
        if by_role.keys() != self._by_role.keys() or by_role != self._by_role:
            raise InvariantBroken("the filters of roles are miscounted")
        if self._planned != sum(len(plan[3]) for plan in self._calendar):
            raise InvariantBroken("the calendar of filters is miscounted")
        if not all(self._agents.values()):
            raise InvariantBroken("an agent keeps an empty list of filters")


def _length(refusal: Refusal) -> int:
    return sum(1 for _ in refusal)


def _chain(refusals: list[Refusal]) -> Refusal | None:
    """One after the other, newest first; what is unchanged at the end is kept as it is."""
    chain: Refusal | None = None
    for refusal in reversed(refusals):
        is_same = refusal.older is chain
        chain = refusal if is_same else Refusal(refusal.resources, refusal.until_s, chain)
    return chain


__all__ = [
    "FILTERS_PER_CLIENT_AND_AGENT_MAX",
    "REFUSE_S_DEFAULT",
    "REFUSE_S_MAX",
    "Refusal",
    "RefusalFilters",
    "Refusals",
    "refusal_s",
]
