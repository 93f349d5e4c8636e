"""The operations that a master has ordered or heard of, and how each stands.

::

    (ordered, or told by an agent) ► PENDING ─ FINISHED | FAILED | ERROR | DROPPED (agent's word)
                                        │ AGENT_LOST ► UNREACHABLE    AGENT_GONE ► GONE_BY_OPERATOR
    A terminal state stays whatever is reported: an agent repeats what is not acknowledged.

An operation stays in the book until its last status is acknowledged: by the framework when that
asked for news (the operation has an id), else by the master itself; or until its agent is lost. An
agent that comes back tells of it anew. An *orphan* has a framework that the master does not know
(any more). Source: master.md §6.2 (states), §8.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from enum import Enum, auto

from cluster.core.master.lifecycles import advance
from cluster.core.master.story import Story
from cluster.errors import InvariantBroken
from cluster.model.conversions import taken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.operations import (
    Change,
    OperationId,
    OperationState,
    OperationStatus,
    OperationUuid,
    change_name,
    is_speculative,
)
from cluster.model.resources import EMPTY

# What a framework (or all operators together) may have under way, or finished and not acknowledged.
OUTSTANDING_PER_OWNER_MAX = 10_000
COMPLETED_OPERATIONS_MAX = 1_000
# Whom the operations belong to that an agent reports, it can make up.
OUTSTANDING_PER_AGENT_MAX = 20_000


class OperationStep(Enum):
    """What an agent says of an operation, or what becomes of the agent."""

    REPORTED_PENDING = auto()
    REPORTED_FINISHED = auto()
    REPORTED_FAILED = auto()
    REPORTED_ERROR = auto()
    REPORTED_DROPPED = auto()
    AGENT_LOST = auto()
    AGENT_GONE = auto()


REPORTED_STEPS: Mapping[OperationState, OperationStep] = {
    OperationState.PENDING: OperationStep.REPORTED_PENDING,
    OperationState.FINISHED: OperationStep.REPORTED_FINISHED,
    OperationState.FAILED: OperationStep.REPORTED_FAILED,
    OperationState.ERROR: OperationStep.REPORTED_ERROR,
    OperationState.DROPPED: OperationStep.REPORTED_DROPPED,
}
"""The states that an agent can report; the others are a master's words."""


def _transitions() -> dict[tuple[OperationState, OperationStep], OperationState]:
    table: dict[tuple[OperationState, OperationStep], OperationState] = {}
    outcomes = {step: state for state, step in REPORTED_STEPS.items()}
    outcomes[OperationStep.AGENT_LOST] = OperationState.UNREACHABLE
    outcomes[OperationStep.AGENT_GONE] = OperationState.GONE_BY_OPERATOR
    for step, outcome in outcomes.items():
        table[OperationState.PENDING, step] = outcome
        for state in REPORTED_STEPS:
            if state.is_terminal:
                table[state, step] = state
    return table


OPERATION_TRANSITIONS: Mapping[tuple[OperationState, OperationStep], OperationState] = (
    _transitions()
)


class OperationRecord:
    """One operation.

    Attributes:
        framework_id: None for an operator's.
        role: what its resources are allocated to; None for an operator's.
        held: resources that stay allocated to the framework until the operation ends.
        is_counted_on: the books hold its result already, although the agent has not answered.
        status: the latest word about it.
    """

    __slots__ = (
        "agent_id",
        "change",
        "framework_id",
        "held",
        "is_counted_on",
        "operation_id",
        "role",
        "state",
        "status",
        "story",
        "uuid",
    )

    def __init__(
        self,
        uuid: OperationUuid,
        agent_id: AgentId,
        change: Change,
        *,
        framework_id: FrameworkId | None,
        role: str | None,
        operation_id: OperationId | None,
    ) -> None:
        self.uuid = uuid
        self.agent_id = agent_id
        self.change = change
        self.framework_id = framework_id
        self.role = role
        self.operation_id = operation_id
        self.state = OperationState.PENDING
        self.status = OperationStatus(
            OperationState.PENDING, operation_id=operation_id, agent_id=agent_id
        )
        # What an operator changes belongs to nobody while the change is under way.
        self.held = EMPTY if self.is_speculative or framework_id is None else taken(change)
        self.is_counted_on = self.is_speculative
        self.story = Story()

    @property
    def is_speculative(self) -> bool:
        return is_speculative(self.change)

    @property
    def wants_feedback(self) -> bool:
        """Whether its framework asked to be told about it."""
        return self.operation_id is not None

    def advance(self, step: OperationStep, now_s: float) -> bool:
        """Take one step; returns whether the operation has just come to its end.

        Raises:
            InvalidTransition: the lifecycle has no such step from here.
        """
        before = self.state
        self.state = advance(
            OPERATION_TRANSITIONS, before, step, f"operation {self.uuid.hex()}", self.story
        )
        self.story.add(now_s, step.name, f"{before.name} -> {self.state.name}")
        return self.state.is_terminal and not before.is_terminal


class OperationBook:
    """All operations by uuid, agent and framework, and the bounded list of those that are over."""

    def __init__(
        self,
        completed_max: int = COMPLETED_OPERATIONS_MAX,
        outstanding_per_owner_max: int = OUTSTANDING_PER_OWNER_MAX,
        outstanding_per_agent_max: int = OUTSTANDING_PER_AGENT_MAX,
    ) -> None:
        self.outstanding_per_owner_max = outstanding_per_owner_max
        self.outstanding_per_agent_max = outstanding_per_agent_max
        self._known: dict[OperationUuid, OperationRecord] = {}
        self._by_agent: dict[AgentId, dict[OperationUuid, None]] = {}
        self._by_owner: dict[FrameworkId | None, dict[OperationUuid, None]] = {}
        self._by_name: dict[tuple[FrameworkId, OperationId], OperationUuid] = {}
        self._completed: deque[OperationRecord] = deque(maxlen=completed_max)
        self._ends: Counter[tuple[str, OperationState]] = Counter()

    def __iter__(self) -> Iterator[OperationRecord]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    @property
    def completed(self) -> list[OperationRecord]:
        """Operations that are over, oldest first."""
        return list(self._completed)

    @property
    def states(self) -> Mapping[tuple[str, OperationState], int]:
        """Name of the change and state -> how many stand so now, or have ever ended so."""
        states = Counter(self._ends)
        for record in self._known.values():
            states[change_name(record.change), record.state] += 1
        return states

    def get(self, uuid: OperationUuid) -> OperationRecord | None:
        return self._known.get(uuid)

    def named(self, framework_id: FrameworkId, operation_id: OperationId) -> OperationRecord | None:
        uuid = self._by_name.get((framework_id, operation_id))
        return None if uuid is None else self._known[uuid]

    def of_agent(self, agent_id: AgentId) -> list[OperationRecord]:
        return [self._known[uuid] for uuid in self._by_agent.get(agent_id, ())]

    def of_framework(self, framework_id: FrameworkId) -> list[OperationRecord]:
        return [self._known[uuid] for uuid in self._by_owner.get(framework_id, ())]

    def is_full(self, owner: FrameworkId | None) -> bool:
        """Whether the framework (or all operators together, None) has too many under way."""
        return len(self._by_owner.get(owner, ())) >= self.outstanding_per_owner_max

    def has_room_on(self, agent_id: AgentId) -> bool:
        """Whether one more may be learnt of from an agent."""
        return len(self._by_agent.get(agent_id, ())) < self.outstanding_per_agent_max

    def add(self, record: OperationRecord) -> None:
        self._known[record.uuid] = record
        self._by_agent.setdefault(record.agent_id, {})[record.uuid] = None
        self._by_owner.setdefault(record.framework_id, {})[record.uuid] = None
        if record.framework_id is not None and record.operation_id is not None:
            self._by_name[record.framework_id, record.operation_id] = record.uuid

    def believe(self, agent_id: AgentId) -> None:
        """The agent has said what it has: whatever it has not answered yet is in there or not."""
        for record in self.of_agent(agent_id):
            record.is_counted_on = False

    def complete(self, record: OperationRecord) -> None:
        """Nothing more is to be said about it: move it to the history."""
        del self._known[record.uuid]
        on_agent = self._by_agent[record.agent_id]
        del on_agent[record.uuid]
        if not on_agent:
            del self._by_agent[record.agent_id]
        owned = self._by_owner[record.framework_id]
        del owned[record.uuid]
        if not owned:
            del self._by_owner[record.framework_id]
        if record.framework_id is not None and record.operation_id is not None:
            name = (record.framework_id, record.operation_id)
            if self._by_name.get(name) == record.uuid:
                del self._by_name[name]
        self._completed.append(record)
        if record.state.is_terminal:
            self._ends[change_name(record.change), record.state] += 1

    def check_invariants(self) -> None:
        """Raises InvariantBroken when an index disagrees or an ended operation holds resources."""
        known = set(self._known)
        by_agent = [uuid for uuids in self._by_agent.values() for uuid in uuids]
        by_owner = [uuid for uuids in self._by_owner.values() for uuid in uuids]
        for listed in (by_agent, by_owner):
            if len(listed) != len(known) or set(listed) != known:
                raise InvariantBroken("an index of operations differs from the operations")
        for uuid in self._by_name.values():
            if uuid not in known:
                raise InvariantBroken("an operation id points to no operation")
        for record in self._known.values():
            if record.state.is_terminal and record.held:
                raise InvariantBroken(f"ended operation {record.uuid.hex()} holds resources")


__all__ = [
    "COMPLETED_OPERATIONS_MAX",
    "OPERATION_TRANSITIONS",
    "OUTSTANDING_PER_AGENT_MAX",
    "OUTSTANDING_PER_OWNER_MAX",
    "REPORTED_STEPS",
    "OperationBook",
    "OperationRecord",
    "OperationStep",
]
