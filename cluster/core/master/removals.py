"""Who may be given up when: at most one agent per interval (``--agent_removal_rate_limit``).

When a network fails, all agents behind it fall silent at once. Giving them up one by one leaves
time to notice, and an agent that answers before its turn stays. Source: master.md §3.3.
"""

from cluster.core.master.effects import RemovalTimer, StartTimer
from cluster.core.master.events import RemovalDue
from cluster.core.master.state import MasterState
from cluster.model.ids import AgentId


class Removals:
    """The queue of agents to give up, with the reason for each; the first to ask goes first."""

    def __init__(self, state: MasterState) -> None:
        self._state = state
        self._waiting: dict[AgentId, str] = {}
        self._free_at_s = 0.0
        self._is_timer_running = False

    def __contains__(self, agent_id: AgentId) -> bool:
        return agent_id in self._waiting

    def ask(self, agent_id: AgentId, reason: str) -> bool:
        """Whether the agent may be given up now; otherwise its turn comes with ``RemovalDue``."""
        counts = self._state.tally.counts
        interval_s = self._state.options.removal_interval_s
        if interval_s <= 0:
            counts["slave_unreachable_scheduled"] += 1
            return True
        if agent_id not in self._waiting:
            counts["slave_unreachable_scheduled"] += 1
            if not self._waiting and self._state.now_s >= self._free_at_s:
                self._free_at_s = self._state.now_s + interval_s
                return True
            self._waiting[agent_id] = reason
            self._start_timer()
        return False

    def cancel(self, agent_id: AgentId, reason: str | None = None) -> None:
        """The agent stays; with a ``reason`` only if that was why it should go."""
        waiting_for = self._waiting.get(agent_id)
        if waiting_for is not None and reason in (None, waiting_for):
            del self._waiting[agent_id]
            self._state.tally.counts["slave_unreachable_canceled"] += 1

    def next_due(self) -> tuple[AgentId, str] | None:
        """The timer ran out: who is to go, and why; None when everybody has come back."""
        self._is_timer_running = False
        if not self._waiting:
            return None
        agent_id = next(iter(self._waiting))
        reason = self._waiting.pop(agent_id)
        self._free_at_s = self._state.now_s + self._state.options.removal_interval_s
        self._start_timer()
        return agent_id, reason

    def _start_timer(self) -> None:
        if self._waiting and not self._is_timer_running:
            self._is_timer_running = True
            wait_s = max(0.0, self._free_at_s - self._state.now_s)
            self._state.emit(StartTimer(RemovalTimer(), wait_s, RemovalDue()))


__all__ = ["Removals"]
