"""Operations on resources: what each asks for, and how it stands.

A *change* (reserve, create a volume, ...) takes some resources away and puts others in their
place. For most changes both sides are known beforehand (``cluster.model.conversions``): they are
*speculative*, that is, the master counts on them before the agent has answered. What becomes of a
disk that a resource provider makes or destroys only the provider can say.

All resources here are in unallocated form. Source: master.md §6.2, messages.md §5.1
(``Offer.Operation``, ``OperationState``).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, DiskSourceType, Resources

OperationId = NewType("OperationId", str)
"""Chosen by a framework that wants to hear what becomes of an operation."""

OperationUuid = NewType("OperationUuid", bytes)
"""16 bytes, chosen by the master; every operation has one."""


class OperationState(IntEnum):
    """Numbers of ``mesos.OperationState``."""

    UNSUPPORTED = 0
    PENDING = 1
    FINISHED = 2
    FAILED = 3
    ERROR = 4
    DROPPED = 5
    UNREACHABLE = 6
    GONE_BY_OPERATOR = 7
    RECOVERING = 8
    UNKNOWN = 9

    @property
    def is_terminal(self) -> bool:
        """True when no later state can follow."""
        return self in TERMINAL_OPERATION_STATES


TERMINAL_OPERATION_STATES = frozenset(
    {
        OperationState.FINISHED,
        OperationState.FAILED,
        OperationState.ERROR,
        OperationState.DROPPED,
        OperationState.GONE_BY_OPERATOR,
    }
)

# Changes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserve:
    """``resources`` as they are to be; ``source`` as they are now, when they are reserved already.

    Without a source they are the same resources without the last level of the reservation.
    """

    resources: Resources
    source: Resources = EMPTY


@dataclass(frozen=True, slots=True)
class Unreserve:
    """Take away the last level of the reservation."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class Create:
    """Make persistent volumes of reserved disk."""

    volumes: Resources


@dataclass(frozen=True, slots=True)
class Destroy:
    volumes: Resources


@dataclass(frozen=True, slots=True)
class Grow:
    volume: Resources
    addition: Resources


@dataclass(frozen=True, slots=True)
class Shrink:
    """``subtract_milli``: by how many thousandths of a megabyte."""

    volume: Resources
    subtract_milli: int


@dataclass(frozen=True, slots=True)
class CreateDisk:
    """Have a resource provider make a MOUNT or BLOCK disk of a RAW one."""

    source: Resources
    target: DiskSourceType
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class DestroyDisk:
    source: Resources


Change = Reserve | Unreserve | Create | Destroy | Grow | Shrink | CreateDisk | DestroyDisk

CHANGE_NAMES: dict[type[Change], str] = {
    Reserve: "RESERVE",
    Unreserve: "UNRESERVE",
    Create: "CREATE",
    Destroy: "DESTROY",
    Grow: "GROW_VOLUME",
    Shrink: "SHRINK_VOLUME",
    CreateDisk: "CREATE_DISK",
    DestroyDisk: "DESTROY_DISK",
}
"""How the messages call them."""


def change_name(change: Change) -> str:
    return CHANGE_NAMES[type(change)]


def is_speculative(change: Change) -> bool:
    """Whether the master counts on the change before the agent has answered."""
    return not isinstance(change, CreateDisk | DestroyDisk)


def asked_for(change: Change) -> Resources:
    """The resources that the change names first: what is reserved, made, taken back."""
    match change:
        case Reserve(resources) | Unreserve(resources):
            return resources
        case Create(volumes) | Destroy(volumes):
            return volumes
        case Grow(volume) | Shrink(volume):
            return volume
        case CreateDisk(source) | DestroyDisk(source):
            return source


def provider_of(change: Change) -> str | None:
    """The resource provider that owns the resources; None for the agent itself."""
    return next((entry.identity.provider_id for entry in asked_for(change)), None)


# How operations stand -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """What is said about an operation at one time.

    ``converted`` is what became of the resources, where only the answer tells. ``uuid`` is set
    when an acknowledgement is wanted.
    """

    state: OperationState
    operation_id: OperationId | None = None
    message: str = ""
    converted: Resources = EMPTY
    uuid: bytes | None = None
    agent_id: AgentId | None = None
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class OperationUpdate:
    """News of one operation from its agent.

    ``latest`` is what the agent knows by now, when that is more than ``status``. ``framework_id``
    is None for an operation that an operator ordered.
    """

    agent_id: AgentId
    uuid: OperationUuid
    status: OperationStatus
    framework_id: FrameworkId | None = None
    latest: OperationStatus | None = None


@dataclass(frozen=True, slots=True)
class OperationReport:
    """An operation that an agent says it has. ``role``: what its resources are allocated to."""

    uuid: OperationUuid
    change: Change
    status: OperationStatus
    framework_id: FrameworkId | None = None
    operation_id: OperationId | None = None
    role: str | None = None


__all__ = [
    "CHANGE_NAMES",
    "TERMINAL_OPERATION_STATES",
    "Change",
    "Create",
    "CreateDisk",
    "Destroy",
    "DestroyDisk",
    "Grow",
    "OperationId",
    "OperationReport",
    "OperationState",
    "OperationStatus",
    "OperationUpdate",
    "OperationUuid",
    "Reserve",
    "Shrink",
    "Unreserve",
    "asked_for",
    "change_name",
    "is_speculative",
    "provider_of",
]
