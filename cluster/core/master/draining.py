"""Taking agents out of service and back: deactivate, drain, reactivate, mark as gone.

    ACTIVE ─► DRAINING ─(nothing left on the agent)─► DRAINED, or gone when the operator asked so
       └────► DEACTIVATED

A deactivated or draining agent is not offered; its tasks stay, unless it drains: then the agent
itself kills them. All of it is kept in the registry, also while the agent is away.

Source: master.md §3.3 (DEACTIVATE, REACTIVATE, MARK_AGENT_GONE), §3.4; the recorded refusals of a
real master (which statuses).
"""

import math

from cluster.core.allocator.events import AgentActivated, AgentDeactivated
from cluster.core.master import registry
from cluster.core.master.admission import Admission
from cluster.core.master.agents import AgentRecord
from cluster.core.master.answers import BAD_REQUEST, CONFLICT, NOT_FOUND, OK, Answer
from cluster.core.master.effects import SendDrain, WriteRegistry
from cluster.core.master.lifecycles import ServiceState
from cluster.core.master.registry import RegistryOperation
from cluster.core.master.state import MasterState
from cluster.model.agents import AgentCapability
from cluster.model.draining import DrainConfig
from cluster.model.ids import AgentId
from cluster.model.operator_calls import (
    DeactivateAgent,
    DrainAgent,
    MarkAgentAsGone,
    ReactivateAgent,
)

GRACE_S_MAX = 9_223_372_036.0
"""The longest grace period that nanoseconds in 64 bits can hold."""


class Draining:
    """Service of agents; calls return their answer, or None when it comes later."""

    def __init__(self, state: MasterState, admission: Admission) -> None:
        self._state = state
        self._admission = admission
        self._ending: dict[AgentId, None] = {}

    # Calls ---------------------------------------------------------------------------------------

    def drain(self, call: DrainAgent, request: int) -> Answer | None:
        """Empty an agent; answered once the registry knows, long before the agent is empty."""
        agent_id = call.agent_id
        if (error := self._unknown(agent_id) or self._drain_error(call)) is not None:
            return Answer(BAD_REQUEST, error)
        grace_s = call.max_grace_s
        grace_ns = None if grace_s is None else registry.to_ns(grace_s)
        config = DrainConfig(grace_ns, call.mark_gone)
        self._state.emit(WriteRegistry(registry.DrainAgent(agent_id, config), request))
        return None

    def _drain_error(self, call: DrainAgent) -> str | None:
        grace_s = call.max_grace_s
        if grace_s is not None and not (math.isfinite(grace_s) and 0 <= grace_s <= GRACE_S_MAX):
            return f"max_grace_period: must be 0 to {GRACE_S_MAX:.0f} seconds, not {grace_s:g}"
        record = self._state.agents.get(call.agent_id)
        if record is None:
            return None
        if AgentCapability.AGENT_DRAINING not in record.spec.capabilities:
            return f"agent_id: agent {call.agent_id} is not capable of AGENT_DRAINING"
        if record.machine in self._state.registry.machines:
            return (
                f"agent_id: the machine {record.machine} of agent {call.agent_id} is part of the "
                "maintenance schedule"
            )
        return None

    def deactivate(self, call: DeactivateAgent, request: int) -> Answer | None:
        if (error := self._unknown(call.agent_id)) is not None:
            return Answer(BAD_REQUEST, error)
        self._state.emit(WriteRegistry(registry.DeactivateAgent(call.agent_id), request))
        return None

    def reactivate(self, call: ReactivateAgent, request: int) -> Answer | None:
        """Offer an agent again, and forget that it was drained."""
        entry = self._state.registry.serving(call.agent_id)
        service = ServiceState.ACTIVE if entry is None else registry.service_state(entry)
        if service is ServiceState.ACTIVE:
            return Answer(BAD_REQUEST, f"agent_id: agent '{call.agent_id}' is not deactivated")
        if service is ServiceState.DRAINING:
            return Answer(BAD_REQUEST, f"agent_id: agent {call.agent_id} is still DRAINING")
        self._state.emit(WriteRegistry(registry.ReactivateAgent(call.agent_id), request))
        return None

    def mark_gone(self, call: MarkAgentAsGone, request: int) -> Answer | None:
        """Give an agent up for good, wherever it is."""
        agent_id = call.agent_id
        if self._state.registry.is_gone(agent_id):
            return Answer(OK)
        if self._state.registry.serving(agent_id) is None:
            return Answer(NOT_FOUND, f"agent_id: agent '{agent_id}' is not known")
        error = self._admission.mark_gone(agent_id, request)
        return None if error is None else Answer(CONFLICT, f"agent_id: {error}, try again later")

    def _unknown(self, agent_id: AgentId) -> str | None:
        if self._state.registry.is_gone(agent_id):
            return f"agent_id: agent {agent_id} has been marked gone"
        if self._state.registry.serving(agent_id) is None:
            return f"agent_id: agent '{agent_id}' is not known"
        return None

    # After the registry --------------------------------------------------------------------------

    def recovered(self) -> None:
        """Learn from the registry which agents were draining."""
        recovered = self._state.registry
        for agent_id in recovered.draining_ids:
            self._state.draining[agent_id] = None

    def written(self, operation: RegistryOperation) -> None:
        state = self._state
        match operation:
            case registry.DrainAgent(agent_id, config):
                state.draining[agent_id] = None
                record = self._stop_offering(agent_id)
                if record is not None:
                    record.drain_started_s = state.now_s
                    state.emit(SendDrain(record.peer, config))
                state.touch(agent_id)
            case registry.DeactivateAgent(agent_id):
                self._stop_offering(agent_id)
            case registry.ReactivateAgent(agent_id):
                record = state.agents.get(agent_id)
                if record is not None:
                    record.drain_started_s = None
                    if record.is_connected:
                        state.allocator.handle(AgentActivated(agent_id), state.now_s)
            case registry.MarkAgentDrained(agent_id):
                self._forget(agent_id)
                entry = state.registry.serving(agent_id)
                if entry is not None and registry.service_state(entry) is ServiceState.DRAINING:
                    state.draining[agent_id] = None
            case registry.MarkAgentGone(agent_id) | registry.RemoveAgent(agent_id):
                self._forget(agent_id)
            case registry.PruneAgents(agent_ids):
                for agent_id in agent_ids:
                    if state.registry.serving(agent_id) is None:
                        self._forget(agent_id)
            case _:
                pass

    def _stop_offering(self, agent_id: AgentId) -> AgentRecord | None:
        """The agent if it is connected; no offer of it is left."""
        record = self._state.agents.get(agent_id)
        if record is None or not record.is_connected:
            return None
        self._state.allocator.handle(AgentDeactivated(agent_id), self._state.now_s)
        for offer in self._state.offers.of_agent(agent_id):
            self._state.withdraw(offer, tell=True)
        self._state.withdraw_inverse_offers_on(agent_id)
        return record

    def _forget(self, agent_id: AgentId) -> None:
        self._state.draining.pop(agent_id, None)
        self._ending.pop(agent_id, None)

    # Emptied -------------------------------------------------------------------------------------

    def end_what_is_empty(self) -> None:
        """Comes last with every event: agents on which something ended may be empty now."""
        for agent_id in self._state.take_touched():
            record = self._state.agents.get(agent_id)
            if record is None or not record.is_connected or agent_id in self._ending:
                continue  # one that is away is looked at when it comes back
            entry = self._state.registry.admitted(agent_id)
            if entry is None or entry.drain is None or not self._state.is_empty(record):
                continue
            self._ending[agent_id] = None
            if entry.drain.config.mark_gone:
                self._admission.mark_gone(agent_id)
            else:
                self._state.emit(WriteRegistry(registry.MarkAgentDrained(agent_id)))


__all__ = ["Draining"]
