"""What operators order about an agent's resources: reservations and volumes, on what nobody uses.

Offers stand in the way of nobody: as many are rescinded as it takes. Source: master.md §9.
"""

from cluster.core.master.agents import AgentRecord
from cluster.core.master.answers import ACCEPTED, BAD_REQUEST, CONFLICT, Answer
from cluster.core.master.changes import Changes, operator_asker
from cluster.core.master.state import MasterState
from cluster.model.conversions import conversion
from cluster.model.operations import (
    Change,
    Create,
    Destroy,
    Grow,
    Reserve,
    Shrink,
    Unreserve,
    change_name,
)
from cluster.model.operator_calls import (
    CreateVolumes,
    DestroyVolumes,
    GrowVolume,
    ReserveResources,
    ResourceCall,
    ShrinkVolume,
    UnreserveResources,
)
from cluster.validation.operations import change_error


class ResourceCalls:
    """Carrying out operators' changes, acting on the shared books."""

    def __init__(self, state: MasterState, changes: Changes) -> None:
        self._state = state
        self._changes = changes

    def call(self, call: ResourceCall, principal: str | None) -> Answer:
        """Order the change, or say why not; it is not awaited."""
        agent = self._state.agents.registered_or_none(call.agent_id)
        if agent is None:
            return Answer(BAD_REQUEST, "agent_id: No agent found with specified ID")
        change = _change(call)
        error = self._changes.limit_error(None) or change_error(
            change, operator_asker(principal), self._changes.place(agent)
        )
        if error is not None:
            return Answer(BAD_REQUEST, _invalid(change, agent, error))
        return self._order(agent, change)

    def _order(self, agent: AgentRecord, change: Change) -> Answer:
        if not agent.is_connected:
            return Answer(CONFLICT, f"agent_id: agent {agent.agent_id} is not connected")
        known = conversion(change)
        assert known is not None  # operators cannot make or destroy disks
        if (lack := self._changes.free_up(agent, known.before)) is not None:
            return Answer(CONFLICT, lack)
        self._state.convert_free(agent, known)
        self._changes.order(agent, change)
        return Answer(ACCEPTED)


def _change(call: ResourceCall) -> Change:
    """The same in the words of operations."""
    match call:
        case ReserveResources(_, resources, source):
            return Reserve(resources.unallocated(), source.unallocated())
        case UnreserveResources(_, resources):
            return Unreserve(resources.unallocated())
        case CreateVolumes(_, volumes):
            return Create(volumes.unallocated())
        case DestroyVolumes(_, volumes):
            return Destroy(volumes.unallocated())
        case GrowVolume(_, volume, addition):
            return Grow(volume.unallocated(), addition.unallocated())
        case ShrinkVolume(_, volume, subtract_milli):
            return Shrink(volume.unallocated(), subtract_milli)


def _invalid(change: Change, agent: AgentRecord, error: str) -> str:
    return (
        f"Invalid {change_name(change)} operation on agent {agent.agent_id} at {agent.peer} "
        f"({agent.spec.hostname}): {error}"
    )


__all__ = ["ResourceCalls"]
