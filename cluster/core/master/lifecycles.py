"""The lifecycles of the master as tables: of a task, a framework, an agent and a machine.

Framework (master.md §2.2, §2.3)::

    (new) ──────────── SUBSCRIBED ──────────► ACTIVE ◄── SUBSCRIBED ── DISCONNECTED
    (an agent's word) ─► RECOVERED ─ SUBSCRIBED ─▲ │                        ▲  │
                                                 │ └─ DEACTIVATED ► INACTIVE │  │ FAILOVER_TIMED_OUT
                                                 └── SUBSCRIBED ───────┘ │   │  ▼
                              LINK_LOST from ACTIVE or INACTIVE ─────────┴───┘ COMPLETED
    TORN_DOWN from any state leads to COMPLETED.

Agent (master.md §3; a write to the registry lies between asking and the arrow's end)::

    (new) ► ADMITTING ─ADMITTED► CONNECTED ⇄ DISCONNECTED      (LINK_LOST / RETURNED)
                                    │ GIVEN_UP (also of RECOVERED)       │ REMOVAL_BEGUN
                                    ▼                                    ▼
                            MARKING_UNREACHABLE                       REMOVING
                                    │ MARKED_UNREACHABLE                 │ REMOVED
                                    ▼                                    ▼
              READMITTING ◄─RETURNED─ UNREACHABLE                     DEPARTED
                    └─ READMITTED ► CONNECTED

    GONE_BEGUN from RECOVERED, CONNECTED, DISCONNECTED or UNREACHABLE leads to MARKING_GONE, and
    MARKED_GONE from there to GONE.

Service of an agent, beside the above and kept while the agent is away (master.md §3.3, §3.4)::

    ACTIVE ─DEACTIVATE► DEACTIVATED ─DRAIN► DRAINING ─EMPTIED► DRAINED     (DRAIN also of ACTIVE)
       ▲─────── REACTIVATE ─┴──────────────────────────────────────┘

Machine (master.md §3.5)::

    UP ─SCHEDULED► DRAINING ─STARTED► DOWN ─STOPPED► UP       (UNSCHEDULED: DRAINING ► UP)

Task: the state that the master records when an agent (or the master itself) reports one. What a
framework is told does not depend on this table: updates are passed on as they come.

An absent pair is our own fault and raises InvalidTransition with the story of the entity.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeVar

from cluster.core.master.story import Story
from cluster.errors import InvalidTransition
from cluster.model.maintenance import MachineMode
from cluster.model.task_states import TaskState


class FrameworkState(Enum):
    """``RECOVERED``: known only from agents' reports. ``INACTIVE``: connected, wants no offers."""

    RECOVERED = auto()
    ACTIVE = auto()
    INACTIVE = auto()
    DISCONNECTED = auto()
    COMPLETED = auto()

    @property
    def is_connected(self) -> bool:
        return self in (FrameworkState.ACTIVE, FrameworkState.INACTIVE)


class FrameworkStep(Enum):
    SUBSCRIBED = auto()
    DEACTIVATED = auto()
    LINK_LOST = auto()
    FAILOVER_TIMED_OUT = auto()
    TORN_DOWN = auto()
    REPORTED_BY_AGENT = auto()


class AgentState(Enum):
    """``RECOVERED``: in the registry, but not back since the master started."""

    RECOVERED = auto()
    ADMITTING = auto()
    CONNECTED = auto()
    DISCONNECTED = auto()
    MARKING_UNREACHABLE = auto()
    UNREACHABLE = auto()
    READMITTING = auto()
    REMOVING = auto()
    DEPARTED = auto()
    MARKING_GONE = auto()
    GONE = auto()

    @property
    def is_registered(self) -> bool:
        """True while the agent's tasks and resources are in the books."""
        return self in _REGISTERED


_REGISTERED = frozenset(
    {
        AgentState.CONNECTED,
        AgentState.DISCONNECTED,
        AgentState.MARKING_UNREACHABLE,
        AgentState.REMOVING,
        AgentState.MARKING_GONE,
    }
)


class AgentStep(Enum):
    """``GIVEN_UP``: too many pings unanswered, or not back in time."""

    ADMITTED = auto()
    LINK_LOST = auto()
    RETURNED = auto()
    READMITTED = auto()
    GIVEN_UP = auto()
    MARKED_UNREACHABLE = auto()
    REMOVAL_BEGUN = auto()
    REMOVED = auto()
    GONE_BEGUN = auto()
    MARKED_GONE = auto()


class ServiceState(Enum):
    """Whether an agent may be offered; it keeps this while it is unreachable."""

    ACTIVE = auto()
    DEACTIVATED = auto()
    DRAINING = auto()
    DRAINED = auto()


class ServiceStep(Enum):
    """``EMPTIED``: nothing runs on a draining agent any more."""

    DRAIN = auto()
    EMPTIED = auto()
    DEACTIVATE = auto()
    REACTIVATE = auto()


class MachineStep(Enum):
    """``SCHEDULED``: (still) part of the maintenance schedule when that is replaced."""

    SCHEDULED = auto()
    UNSCHEDULED = auto()
    STARTED = auto()
    STOPPED = auto()


FRAMEWORK_TRANSITIONS: Mapping[tuple[FrameworkState, FrameworkStep], FrameworkState] = {
    (FrameworkState.RECOVERED, FrameworkStep.SUBSCRIBED): FrameworkState.ACTIVE,
    (FrameworkState.RECOVERED, FrameworkStep.TORN_DOWN): FrameworkState.COMPLETED,
    (FrameworkState.RECOVERED, FrameworkStep.REPORTED_BY_AGENT): FrameworkState.RECOVERED,
    (FrameworkState.ACTIVE, FrameworkStep.SUBSCRIBED): FrameworkState.ACTIVE,
    (FrameworkState.ACTIVE, FrameworkStep.DEACTIVATED): FrameworkState.INACTIVE,
    (FrameworkState.ACTIVE, FrameworkStep.LINK_LOST): FrameworkState.DISCONNECTED,
    (FrameworkState.ACTIVE, FrameworkStep.TORN_DOWN): FrameworkState.COMPLETED,
    (FrameworkState.ACTIVE, FrameworkStep.REPORTED_BY_AGENT): FrameworkState.ACTIVE,
    (FrameworkState.INACTIVE, FrameworkStep.SUBSCRIBED): FrameworkState.ACTIVE,
    (FrameworkState.INACTIVE, FrameworkStep.DEACTIVATED): FrameworkState.INACTIVE,
    (FrameworkState.INACTIVE, FrameworkStep.LINK_LOST): FrameworkState.DISCONNECTED,
    (FrameworkState.INACTIVE, FrameworkStep.TORN_DOWN): FrameworkState.COMPLETED,
    (FrameworkState.INACTIVE, FrameworkStep.REPORTED_BY_AGENT): FrameworkState.INACTIVE,
    (FrameworkState.DISCONNECTED, FrameworkStep.SUBSCRIBED): FrameworkState.ACTIVE,
    (FrameworkState.DISCONNECTED, FrameworkStep.FAILOVER_TIMED_OUT): FrameworkState.COMPLETED,
    (FrameworkState.DISCONNECTED, FrameworkStep.TORN_DOWN): FrameworkState.COMPLETED,
    (FrameworkState.DISCONNECTED, FrameworkStep.REPORTED_BY_AGENT): FrameworkState.DISCONNECTED,
}

AGENT_TRANSITIONS: Mapping[tuple[AgentState, AgentStep], AgentState] = {
    (AgentState.RECOVERED, AgentStep.RETURNED): AgentState.READMITTING,
    (AgentState.RECOVERED, AgentStep.GIVEN_UP): AgentState.MARKING_UNREACHABLE,
    (AgentState.ADMITTING, AgentStep.ADMITTED): AgentState.CONNECTED,
    (AgentState.CONNECTED, AgentStep.LINK_LOST): AgentState.DISCONNECTED,
    (AgentState.CONNECTED, AgentStep.RETURNED): AgentState.CONNECTED,
    (AgentState.CONNECTED, AgentStep.GIVEN_UP): AgentState.MARKING_UNREACHABLE,
    (AgentState.CONNECTED, AgentStep.REMOVAL_BEGUN): AgentState.REMOVING,
    (AgentState.DISCONNECTED, AgentStep.RETURNED): AgentState.CONNECTED,
    (AgentState.DISCONNECTED, AgentStep.GIVEN_UP): AgentState.MARKING_UNREACHABLE,
    (AgentState.DISCONNECTED, AgentStep.REMOVAL_BEGUN): AgentState.REMOVING,
    (AgentState.MARKING_UNREACHABLE, AgentStep.MARKED_UNREACHABLE): AgentState.UNREACHABLE,
    (AgentState.UNREACHABLE, AgentStep.RETURNED): AgentState.READMITTING,
    (AgentState.READMITTING, AgentStep.READMITTED): AgentState.CONNECTED,
    (AgentState.REMOVING, AgentStep.REMOVED): AgentState.DEPARTED,
    (AgentState.RECOVERED, AgentStep.GONE_BEGUN): AgentState.MARKING_GONE,
    (AgentState.CONNECTED, AgentStep.GONE_BEGUN): AgentState.MARKING_GONE,
    (AgentState.DISCONNECTED, AgentStep.GONE_BEGUN): AgentState.MARKING_GONE,
    (AgentState.UNREACHABLE, AgentStep.GONE_BEGUN): AgentState.MARKING_GONE,
    (AgentState.MARKING_GONE, AgentStep.MARKED_GONE): AgentState.GONE,
}

SERVICE_TRANSITIONS: Mapping[tuple[ServiceState, ServiceStep], ServiceState] = {
    (ServiceState.ACTIVE, ServiceStep.DRAIN): ServiceState.DRAINING,
    (ServiceState.ACTIVE, ServiceStep.DEACTIVATE): ServiceState.DEACTIVATED,
    (ServiceState.DEACTIVATED, ServiceStep.DRAIN): ServiceState.DRAINING,
    (ServiceState.DEACTIVATED, ServiceStep.DEACTIVATE): ServiceState.DEACTIVATED,
    (ServiceState.DEACTIVATED, ServiceStep.REACTIVATE): ServiceState.ACTIVE,
    (ServiceState.DRAINING, ServiceStep.DRAIN): ServiceState.DRAINING,
    (ServiceState.DRAINING, ServiceStep.EMPTIED): ServiceState.DRAINED,
    (ServiceState.DRAINING, ServiceStep.DEACTIVATE): ServiceState.DRAINING,
    (ServiceState.DRAINED, ServiceStep.DRAIN): ServiceState.DRAINING,
    (ServiceState.DRAINED, ServiceStep.DEACTIVATE): ServiceState.DRAINED,
    (ServiceState.DRAINED, ServiceStep.REACTIVATE): ServiceState.ACTIVE,
}

MACHINE_TRANSITIONS: Mapping[tuple[MachineMode, MachineStep], MachineMode] = {
    (MachineMode.UP, MachineStep.SCHEDULED): MachineMode.DRAINING,
    (MachineMode.UP, MachineStep.UNSCHEDULED): MachineMode.UP,
    (MachineMode.DRAINING, MachineStep.SCHEDULED): MachineMode.DRAINING,
    (MachineMode.DRAINING, MachineStep.UNSCHEDULED): MachineMode.UP,
    (MachineMode.DRAINING, MachineStep.STARTED): MachineMode.DOWN,
    (MachineMode.DOWN, MachineStep.SCHEDULED): MachineMode.DOWN,
    (MachineMode.DOWN, MachineStep.STOPPED): MachineMode.UP,
}


def _task_transitions() -> dict[tuple[TaskState, TaskState], TaskState]:
    """A terminal state stays; otherwise the report counts, except that nothing reports STAGING.

    UNKNOWN is an answer to a question and never recorded, so no pair has it.
    """
    storable = [state for state in TaskState if state is not TaskState.UNKNOWN]
    table: dict[tuple[TaskState, TaskState], TaskState] = {}
    for recorded in storable:
        for reported in storable:
            stays = recorded.is_terminal or reported is TaskState.STAGING
            table[recorded, reported] = recorded if stays else reported
    return table


TASK_TRANSITIONS: Mapping[tuple[TaskState, TaskState], TaskState] = _task_transitions()

_State = TypeVar("_State", bound=Enum)
_Step = TypeVar("_Step", bound=Enum)


def advance(
    table: Mapping[tuple[_State, _Step], _State], state: _State, step: _Step, who: str, story: Story
) -> _State:
    """The state after ``step``.

    Raises:
        InvalidTransition: the table has no such pair; the text holds the story of ``who``.
    """
    after = table.get((state, step))
    if after is None:
        raise InvalidTransition(f"{who}: no step {step.name} from {state.name}; story: {story}")
    return after


__all__ = [
    "AGENT_TRANSITIONS",
    "FRAMEWORK_TRANSITIONS",
    "MACHINE_TRANSITIONS",
    "SERVICE_TRANSITIONS",
    "TASK_TRANSITIONS",
    "AgentState",
    "AgentStep",
    "FrameworkState",
    "FrameworkStep",
    "MachineStep",
    "ServiceState",
    "ServiceStep",
    "advance",
]
