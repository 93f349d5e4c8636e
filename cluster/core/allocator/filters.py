"""Refusal filters: who must not be offered what on which agent, and until when.

A filter belongs to a client (a framework in a role) and to an agent. It keeps away every offer that
lies within what was refused; more than that comes through. Filters end by time, by revive, or with
their framework or agent.

Filters are kept by agent, because a run visits agents: there, a client has one :class:`Refusal`,
followed by its older ones that it does not cover. There may be millions, so equal ones are one
object, and the calendar has one entry for all that a client refused at once.

A refusal of a whole offer does not just end: for a while it still says that its client had its turn
on the agent, and others come before it (``defers``), until it is offered the agent again
(``turn_given``). Otherwise a few needy frameworks that refuse for a short time would be asked again
and again, and those behind them never.

Source: allocator.md §4; for turns §10 (starvation).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
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

TURN_KEPT_S: Final = 600.0
"""How long after its end a refused offer lets others come first, at most."""

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

    ``resources`` are in unallocated form; it holds while now < ``until_s``. ``turn_s``: when a
    whole offer was refused, after which others come first; None for what was left of an offer.
    """

    __slots__ = ("older", "resources", "turn_s", "until_s")

    def __init__(
        self,
        resources: Resources,
        until_s: float,
        older: "Refusal | None",
        *,
        turn_s: float | None = None,
    ) -> None:
        self.resources = resources
        self.until_s = until_s
        self.older = older
        self.turn_s = turn_s

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

    def defers(self, offer: Resources, now_s: float) -> float | None:
        """When the client last had its turn with such an offer; None when it has had none.

        Only if the refusal has ended by now.
        """
        turns = [
            refusal.turn_s
            for refusal in self
            if refusal.turn_s is not None
            and refusal.until_s <= now_s
            and refusal.resources.contains(offer)
        ]
        return max(turns, default=None)


Refusals = dict[Client, Refusal]


_Plan = tuple[float, int, Client, list[AgentId]]
"""When, a number that makes the order total, whose, and where: filters that end together."""


class RefusalFilters:
    """All refusal filters of the cluster."""

    def __init__(self) -> None:
        self._agents: dict[AgentId, Refusals] = {}
        self._count = 0
        self._running: Counter[str] = Counter()
        """By role, those that had not ended when ended ones were dropped last."""
        self._calendar: list[_Plan] = []
        """A heap of plans; entries of a plan whose filter is gone or replaced mean nothing."""
        self._turns: list[_Plan] = []
        """The same for what has ended and is kept as a turn, until it is forgotten."""
        self._turns_planned = 0
        self._ended_s = -math.inf
        """Until when ended filters were dropped."""
        self._planned = 0
        """Entries of all plans together."""
        self._last_plan: _Plan | None = None
        self._plans_made = 0
        self._last: Refusal | None = None
        self._bundles: dict[Resources, Resources] = {}

    def install(
        self,
        agent_id: AgentId,
        client: Client,
        resources: Resources,
        until_s: float,
        *,
        turn_s: float | None = None,
    ) -> None:
        """Remember a refusal; earlier ones that it makes pointless are dropped."""
        refusals = self._agents.get(agent_id)
        if refusals is None:
            refusals = self._agents[agent_id] = {}
        found = refusals.get(client)
        if found is None:
            refusals[client] = self._refusal(resources, until_s, turn_s=turn_s)
        else:
            kept = [
                old
                for old in found
                if old.until_s > until_s or not resources.contains(old.resources)
            ]
            kept = kept[: FILTERS_PER_CLIENT_AND_AGENT_MAX - 1]
            self._uncount(client, [old for old in found if old not in kept])
            refusals[client] = (
                Refusal(resources, until_s, _chain(kept), turn_s=turn_s)
                if kept
                else self._refusal(resources, until_s, turn_s=turn_s)
            )
        self._count += 1
        self._running[client.role] += 1
        self._plan(agent_id, client, until_s)

    def _refusal(self, resources: Resources, until_s: float, *, turn_s: float | None) -> Refusal:
        """The last one made if it is equal, as when many like agents are refused at once."""
        last = self._last
        if last is not None and last.until_s == until_s and last.turn_s == turn_s:
            if last.resources is resources or last.resources == resources:
                return last
        if len(self._bundles) >= _BUNDLES_MAX:
            self._bundles = {}
        resources = self._bundles.setdefault(resources, resources)
        self._last = Refusal(resources, until_s, None, turn_s=turn_s)
        return self._last

    def on_agent(self, agent_id: AgentId) -> Refusals | None:
        """The refusals on an agent by client, ended ones included; None when there are none."""
        return self._agents.get(agent_id)

    def end_expired(self, now_s: float) -> list[tuple[AgentId, Client]]:
        """Drop filters that ended by now; returns whose they were, earliest end first."""
        woken = []
        counted: set[tuple[AgentId, Client]] = set()
        """Whose turns are counted as ended already: several plans may name them."""
        while self._calendar and self._calendar[0][0] <= now_s:
            until_s, number, client, agent_ids = self._pop_plan()
            has_turns = False
            for agent_id in agent_ids:
                ended, turns = self._drop_expired(agent_id, client, now_s)
                if ended:
                    woken.append((agent_id, client))
                if turns:
                    has_turns = True
                    if (agent_id, client) not in counted:
                        counted.add((agent_id, client))
                        self._count_ended(client, turns)
            if has_turns:
                heappush(self._turns, (until_s, number, client, agent_ids))
                self._turns_planned += len(agent_ids)
        self._ended_s = now_s
        self._forget_turns(now_s)
        return woken

    def _forget_turns(self, now_s: float) -> None:
        """Drop turns that were kept long enough; plan anew when most entries are outdated."""
        while self._turns and self._turns[0][0] + TURN_KEPT_S <= now_s:
            until_s, _, client, agent_ids = heappop(self._turns)
            self._turns_planned -= len(agent_ids)
            for agent_id in agent_ids:
                self._drop_expired(agent_id, client, now_s, keeps_turns_since_s=until_s)
        if self._turns_planned > 2 * self._count + _PLANS_SLACK:
            kept = [r for r in self if r[2].turn_s is not None and r[2].until_s <= self._ended_s]
            self._turns = self._plans_of(kept)
            self._turns_planned = len(kept)

    def turn_given(self, agent_id: AgentId, client: Client, now_s: float) -> None:
        """The client is offered the agent: what it refused there and has ended is forgotten."""
        refusals = self._agents.get(agent_id)
        if refusals is not None and client in refusals:
            self._drop_expired(agent_id, client, now_s, keeps_turns_since_s=now_s)

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
                self._uncount(client, found)
                if not refusals:
                    emptied.append(agent_id)
        for agent_id in emptied:
            del self._agents[agent_id]
        self._tidy()

    def clear_agent(self, agent_id: AgentId) -> None:
        """Forget every filter on an agent."""
        for client, found in self._agents.pop(agent_id, {}).items():
            self._uncount(client, found)
        self._tidy()

    def _uncount(self, client: Client, gone: Iterable[Refusal]) -> None:
        dropped = list(gone)
        self._count -= len(dropped)
        self._count_ended(client, dropped)

    def _count_ended(self, client: Client, refusals: Iterable[Refusal]) -> None:
        """To be called once for each, when it ends or is dropped before."""
        ended = sum(refusal.until_s > self._ended_s for refusal in refusals)
        if ended:
            self._running[client.role] -= ended
            if not self._running[client.role]:
                del self._running[client.role]

    def count_of_role(self, role: str) -> int:
        """How many filters hold for the frameworks of a role, as of the last interval."""
        return self._running.get(role, 0)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[AgentId, Client, Refusal]]:
        for agent_id, refusals in self._agents.items():
            for client, found in refusals.items():
                for refusal in found:
                    yield agent_id, client, refusal

    def _drop_expired(
        self,
        agent_id: AgentId,
        client: Client,
        now_s: float,
        *,
        keeps_turns_since_s: float | None = None,
    ) -> tuple[bool, list[Refusal]]:
        """Drop a client's refusals on an agent that ended, but for its turns.

        Args:
            keeps_turns_since_s: turns that ended by then are dropped too.

        Returns:
            Whether any had ended, and those of these that are kept as turns.
        """
        refusals = self._agents.get(agent_id)
        found = None if refusals is None else refusals.get(client)
        if refusals is None or found is None:
            return False, []
        forgotten_s = -math.inf if keeps_turns_since_s is None else keeps_turns_since_s
        if found.older is None:
            if found.until_s > now_s:
                return False, []
            if found.turn_s is not None and found.until_s > forgotten_s:
                return True, [found]
        elif all(refusal.until_s > now_s for refusal in found):
            return False, []
        kept = [
            refusal
            for refusal in found
            if refusal.until_s > now_s
            or (refusal.turn_s is not None and refusal.until_s > forgotten_s)
        ]
        dropped = [refusal for refusal in found if refusal not in kept]
        if dropped:
            self._uncount(client, dropped)
            left = _chain(kept)
            if left is not None:
                refusals[client] = left
            else:
                del refusals[client]
                if not refusals:
                    del self._agents[agent_id]
        return True, [refusal for refusal in kept if refusal.until_s <= now_s]

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
        running = [r for r in self if r[2].until_s > self._ended_s]
        self._calendar = self._plans_of(running)
        self._planned = len(running)
        self._last_plan = None

    def _plans_of(self, refusals: list[tuple[AgentId, Client, Refusal]]) -> list[_Plan]:
        """A heap of plans for these."""
        plans: dict[tuple[Client, float], _Plan] = {}
        for agent_id, client, refusal in refusals:
            key = (client, refusal.until_s)
            plan = plans.get(key)
            if plan is None:
                plan = plans[key] = (refusal.until_s, self._plans_made, client, [])
                self._plans_made += 1
            plan[3].append(agent_id)
        heap = list(plans.values())
        heapify(heap)
        return heap

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when a filter could end without anybody noticing."""
        planned = {
            (agent_id, client, until_s)
            for until_s, _, client, agent_ids in self._calendar
            for agent_id in agent_ids
        }
        turns = {
            (agent_id, client, until_s)
            for until_s, _, client, agent_ids in self._turns
            for agent_id in agent_ids
        }
        count = 0
        running: Counter[str] = Counter()
        for agent_id, client, refusal in self:
            count += 1
            running[client.role] += refusal.until_s > self._ended_s
            has_ended = refusal.turn_s is not None and refusal.until_s <= self._ended_s
            if (agent_id, client, refusal.until_s) not in (turns if has_ended else planned):
                raise InvariantBroken(f"agent {agent_id} has a filter that ends unnoticed")
        if count != self._count:
            raise InvariantBroken(f"{count} filters are counted as {self._count}")
        if running != self._running:
            raise InvariantBroken("the running filters of roles are miscounted")
        if self._planned != sum(len(plan[3]) for plan in self._calendar):
            raise InvariantBroken("the calendar of filters is miscounted")
        if self._turns_planned != sum(len(plan[3]) for plan in self._turns):
            raise InvariantBroken("the calendar of turns is miscounted")
        if not all(self._agents.values()):
            raise InvariantBroken("an agent keeps an empty list of filters")


def _chain(refusals: list[Refusal]) -> Refusal | None:
    """One after the other, newest first; what is unchanged at the end is kept as it is."""
    chain: Refusal | None = None
    for refusal in reversed(refusals):
        is_same = refusal.older is chain
        if is_same:
            chain = refusal
        else:
            chain = Refusal(refusal.resources, refusal.until_s, chain, turn_s=refusal.turn_s)
    return chain


__all__ = [
    "FILTERS_PER_CLIENT_AND_AGENT_MAX",
    "REFUSE_S_DEFAULT",
    "REFUSE_S_MAX",
    "TURN_KEPT_S",
    "Refusal",
    "RefusalFilters",
    "Refusals",
    "refusal_s",
]
