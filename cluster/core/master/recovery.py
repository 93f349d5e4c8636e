"""What a master takes over from an earlier one, and how the registry is kept short.

    registry read ─► weights, quotas ─► allocator
                  └► agents: awaited ─► back (``admission``)
                                   └─── time is up ─► too many missing: the master ends
                                                   └► else each is given up, one after another

Source: master.md §4 (recovery, GC), §3.6 (whitelist).
Differs: the allocator waits for the awaited agents only when there are quotas, which is what the
wait protects: without quotas nobody is deprived by a partial view, and offers may begin at once.
"""

from collections.abc import Iterable

from cluster.core.allocator.events import (
    QuotasUpdated,
    RecoveryBegun,
    RecoveryEnded,
    WeightsUpdated,
    WhitelistUpdated,
)
from cluster.core.master.admission import REREGISTRATION_TIMED_OUT, Admission
from cluster.core.master.effects import (
    AllocatorRecoveryTimer,
    EndMaster,
    RecoveryTimer,
    RegistryGcTimer,
    StartTimer,
    WriteRegistry,
)
from cluster.core.master.events import (
    AgentRecoveryTimedOut,
    AllocatorRecoveryTimedOut,
    RegistryGcDue,
)
from cluster.core.master.registry import PruneAgents, Registry, UpdateWeights
from cluster.core.master.state import MasterState
from cluster.model.ids import AgentId
from cluster.wire.pb import registry_pb2


class Recovery:
    """Taking over from the registry, acting on the shared books."""

    def __init__(self, state: MasterState, admission: Admission) -> None:
        self._state = state
        self._admission = admission
        self._recovered_count = 0

    def recovered(self, value: registry_pb2.Registry) -> None:
        """Take the registry over; comes before everything else."""
        state = self._state
        state.registry = Registry.of(value)
        self._recover_shares()
        agent_ids = state.registry.admitted_ids
        self._recovered_count = len(agent_ids)
        for agent_id in agent_ids:
            state.agents.recover(agent_id)
        if agent_ids:
            wait_s = state.options.agent_reregister_timeout_s
            state.emit(StartTimer(RecoveryTimer(), wait_s, AgentRecoveryTimedOut()))
        if agent_ids and state.registry.quotas:
            state.allocator.handle(RecoveryBegun(len(agent_ids)), state.now_s)
            wait_s = state.options.allocator_recovery_timeout_s
            state.emit(StartTimer(AllocatorRecoveryTimer(), wait_s, AllocatorRecoveryTimedOut()))
        self._start_gc_timer()

    def _recover_shares(self) -> None:
        state = self._state
        weights = state.registry.weights or state.options.seed_weights
        if weights:
            state.allocator.handle(WeightsUpdated(dict(weights)), state.now_s)
        if weights and not state.registry.weights:
            state.emit(WriteRegistry(UpdateWeights(dict(weights))))
        if state.registry.weights and state.options.seed_weights:
            state.warn("weights", "--weights is ignored: the registry has weights already")
        if state.registry.quotas:
            state.allocator.handle(QuotasUpdated(dict(state.registry.quotas)), state.now_s)

    def allocator_timed_out(self) -> None:
        self._state.allocator.handle(RecoveryEnded(), self._state.now_s)

    def timed_out(self) -> None:
        """Give up the agents that are not back, unless they are suspiciously many."""
        state = self._state
        missing = state.agents.recovered
        limit = state.options.recovery_removal_limit
        if len(missing) > limit * self._recovered_count:
            return state.emit(
                EndMaster(
                    f"{len(missing)} of {self._recovered_count} agents did not come back, which is "
                    f"more than --recovery_agent_removal_limit allows ({limit:.0%})"
                )
            )
        for agent_id in missing:
            self._admission.give_up(agent_id, REREGISTRATION_TIMED_OUT)
        return None

    # Garbage -------------------------------------------------------------------------------------

    def collect_garbage(self) -> None:
        """Forget unreachable and gone agents that are old or too many, the oldest first."""
        state = self._state
        self._start_gc_timer()
        operation = PruneAgents(
            self._old(state.registry.unreachable_times, state.registry.unreachable_count),
            self._old(state.registry.gone_times, state.registry.gone_count),
        )
        if operation.unreachable or operation.gone:
            state.emit(WriteRegistry(operation))

    def _old(self, times: Iterable[tuple[AgentId, float]], count: int) -> tuple[AgentId, ...]:
        options = self._state.options
        too_many = count - options.registry_max_agent_count
        oldest_s = self._state.now_s - options.registry_max_agent_age_s
        return tuple(
            agent_id
            for index, (agent_id, since_s) in enumerate(times)
            if index < too_many or since_s < oldest_s
        )

    def _start_gc_timer(self) -> None:
        wait_s = self._state.options.registry_gc_interval_s
        self._state.emit(StartTimer(RegistryGcTimer(), wait_s, RegistryGcDue()))

    # Whitelist -----------------------------------------------------------------------------------

    def whitelist_read(self, hostnames: frozenset[str] | None) -> None:
        """Limit the offers to some hosts; the file is read again and again, changes are rare."""
        if hostnames != self._state.whitelist:
            self._state.whitelist = hostnames
            self._state.allocator.handle(WhitelistUpdated(hostnames), self._state.now_s)


__all__ = ["Recovery"]
