"""Maintenance: which frameworks are asked to give agents up, and what they said.

An agent whose machine is to be worked on has an *unavailability*. Each active framework that holds
something there is asked once; while that inverse offer is outstanding, or its refusal lasts, it is
not asked again. Answers are advice: nothing here takes resources away.

Only agents for which something changed are looked at: their unavailability, who holds something
there, an answer, the end of a refusal.

Differs from Mesos: an answer keeps the next question away for the allocation interval at least,
even when it came without a filter.

Source: allocator.md §4 (inverse filter), §6.
"""

from collections.abc import Mapping
from heapq import heappop, heappush

from cluster.core.allocator.books import Books
from cluster.core.allocator.events import InverseAllocation
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import InverseOfferStatus

# Outdated entries of the calendar are dropped when it has grown so much.
_CALENDAR_SLACK = 64

_NO_STATUS: Mapping[FrameworkId, InverseOfferStatus] = {}


class _Window:
    """One agent's maintenance: who was asked and what they said."""

    __slots__ = ("outstanding", "statuses")

    def __init__(self) -> None:
        self.outstanding: dict[FrameworkId, None] = {}
        self.statuses: dict[FrameworkId, InverseOfferStatus] = {}


class InverseOffers:
    """Questions, answers and refusals about agents under maintenance."""

    def __init__(self) -> None:
        self._windows: dict[AgentId, _Window] = {}
        self._refused: dict[FrameworkId, dict[AgentId, float]] = {}
        """Until when a framework refuses to be asked about an agent."""
        self._calendar: list[tuple[float, AgentId, FrameworkId]] = []
        self._calendar_max = _CALENDAR_SLACK
        self._due: dict[AgentId, None] = {}

    @property
    def is_due(self) -> bool:
        return bool(self._due)

    # Facts --------------------------------------------------------------------------------------

    def plan(self, agent_id: AgentId, *, is_unavailable: bool) -> None:
        """Another time, or none: what was asked, said and refused means nothing now."""
        self.forget_agent(agent_id)
        if is_unavailable:
            self._windows[agent_id] = _Window()
            self._due[agent_id] = None

    def touch(self, agent_id: AgentId) -> None:
        """Somebody new may have to be asked about the agent."""
        if agent_id in self._windows:
            self._due[agent_id] = None

    def touch_all(self) -> None:
        self._due.update(dict.fromkeys(self._windows))

    def answer(
        self,
        agent_id: AgentId,
        framework_id: FrameworkId,
        status: InverseOfferStatus,
        until_s: float,
    ) -> None:
        """A framework answered, and is not to be asked again before ``until_s``."""
        window = self._windows.get(agent_id)
        if window is None:
            return
        window.outstanding.pop(framework_id, None)
        window.statuses[framework_id] = status
        self._refused.setdefault(framework_id, {})[agent_id] = until_s
        heappush(self._calendar, (until_s, agent_id, framework_id))
        if len(self._calendar) > self._calendar_max:
            self._tidy()

    def _tidy(self) -> None:
        self._calendar = sorted(
            (until_s, agent_id, framework_id)
            for framework_id, refused in self._refused.items()
            for agent_id, until_s in refused.items()
        )
        self._calendar_max = 2 * len(self._calendar) + _CALENDAR_SLACK

    def withdraw(self, agent_id: AgentId, framework_id: FrameworkId) -> None:
        """A question ended without an answer."""
        window = self._windows.get(agent_id)
        if window is not None and framework_id in window.outstanding:
            del window.outstanding[framework_id]
            self._due[agent_id] = None

    def end_expired(self, now_s: float) -> None:
        while self._calendar and self._calendar[0][0] <= now_s:
            until_s, agent_id, framework_id = heappop(self._calendar)
            refused = self._refused.get(framework_id, {})
            if refused.get(agent_id) == until_s:
                del refused[agent_id]
                self.touch(agent_id)

    def revive(self, framework_id: FrameworkId) -> None:
        """Forget what a framework refused to be asked."""
        for agent_id in self._refused.pop(framework_id, {}):
            self.touch(agent_id)

    def forget_framework(self, framework_id: FrameworkId) -> None:
        """A framework left or disconnected: nothing is outstanding with it any more."""
        self._refused.pop(framework_id, None)
        for window in self._windows.values():
            window.outstanding.pop(framework_id, None)

    def forget_agent(self, agent_id: AgentId) -> None:
        self._windows.pop(agent_id, None)
        self._due.pop(agent_id, None)
        for refused in self._refused.values():
            refused.pop(agent_id, None)

    # Questions ----------------------------------------------------------------------------------

    def decide(self, books: Books, now_s: float) -> list[InverseAllocation]:
        """Whom to ask about which agent, among what changed since the last time."""
        due, self._due = self._due, {}
        asked = []
        for agent_id in due:
            agent = books.agents[agent_id]
            if not agent.is_offerable or agent.unavailability is None:
                continue
            outstanding = self._windows[agent_id].outstanding
            for framework_id in dict.fromkeys(client.framework_id for client in agent.booked):
                framework = books.frameworks.get(framework_id)
                if framework is None or not framework.is_active or framework_id in outstanding:
                    continue
                if self._refused.get(framework_id, {}).get(agent_id, now_s) > now_s:
                    continue
                outstanding[framework_id] = None
                asked.append(InverseAllocation(framework_id, agent_id, agent.unavailability))
        return asked

    def status(self, agent_id: AgentId) -> Mapping[FrameworkId, InverseOfferStatus]:
        """The last answers about an agent; empty without maintenance."""
        window = self._windows.get(agent_id)
        return _NO_STATUS if window is None else window.statuses

    def check_invariants(self, books: Books) -> None:
        """Raise ``InvariantBroken`` unless exactly the agents under maintenance have a window."""
        planned = {agent_id for agent_id, a in books.agents.items() if a.unavailability is not None}
        if planned != set(self._windows) or not planned.issuperset(self._due):
            raise InvariantBroken("allocator asks about agents that are not under maintenance")
        for framework_id, refused in self._refused.items():
            for agent_id, until_s in refused.items():
                if (until_s, agent_id, framework_id) not in self._calendar:
                    raise InvariantBroken(f"an inverse refusal of {framework_id} ends unnoticed")


__all__ = ["InverseOffers"]
