"""Operations on resources: what each asks for, what it turns into what, and how it stands.

A *change* (reserve, create a volume, ...) takes some resources away and puts others in their
place. For most changes both sides are known beforehand (``conversion``): they are *speculative*,
that is, the master counts on them before the agent has answered. What becomes of a disk that a
resource provider makes or destroys only the provider can say.

All resources here are in unallocated form. Source: master.md §6.2, messages.md §5.1
(``Offer.Operation``, ``OperationState``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NewType

from cluster.errors import InvalidInput
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import (
    EMPTY,
    Disk,
    DiskSource,
    DiskSourceType,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)

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


@dataclass(frozen=True, slots=True)
class Conversion:
    """``after`` takes the place of ``before``."""

    before: Resources
    after: Resources

    def of(self, whole: Resources) -> Resources:
        """What becomes of a bundle that contains ``before``.

        Raises:
            ResourcesNotContained: it does not.
        """
        return whole - self.before + self.after

    def of_total(self, total: Resources) -> Resources:
        """What becomes of all that an agent has.

        A shared volume is there once, however many copies of it are in use.

        Raises:
            ResourcesNotContained: the total does not contain ``before``.
        """
        rest = total - single(self.before)
        fresh = (
            entry
            for entry in single(self.after)
            if not (entry.identity.is_shared and rest.contains(Resources([entry])))
        )
        return rest + Resources(fresh)


def conversion(change: Change) -> Conversion | None:
    """What the change turns into what; None where only the resource provider knows."""
    match change:
        case Reserve(resources, source):
            return Conversion(source or unreserved_once(resources), resources)
        case Unreserve(resources):
            return Conversion(resources, unreserved_once(resources))
        case Create(volumes):
            return Conversion(without_volume(volumes), volumes)
        case Destroy(volumes):
            return Conversion(volumes, without_volume(volumes))
        case Grow(volume, addition):
            grown = _resized(volume, addition.scalar_milli("disk"))
            return Conversion(volume + addition, grown)
        case Shrink(volume, subtract_milli):
            kept = _resized(volume, -subtract_milli)
            cut = _resized(without_volume(volume), subtract_milli, is_new=True)
            return Conversion(volume, kept + cut)
        case CreateDisk() | DestroyDisk():
            return None


def is_speculative(change: Change) -> bool:
    """Whether the master counts on the change before the agent has answered."""
    return not isinstance(change, CreateDisk | DestroyDisk)


def taken(change: Change) -> Resources:
    """What the change needs of an offer."""
    match change:
        case CreateDisk(source) | DestroyDisk(source):
            return source
        case _:
            known = conversion(change)
            assert known is not None
            return known.before


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


# Steps --------------------------------------------------------------------------------------------


def unreserved_once(resources: Resources) -> Resources:
    """The same resources without the last level of their reservations."""
    return _mapped(
        resources, lambda identity: replace(identity, reservations=identity.reservations[:-1])
    )


def without_volume(volumes: Resources) -> Resources:
    """The disk that persistent volumes are made of; a shared one is there once."""
    return _mapped(single(volumes), _stripped)


def _stripped(identity: ResourceIdentity) -> ResourceIdentity:
    source: DiskSource | None = None if identity.disk is None else identity.disk.source
    disk = None if source is None else Disk(source=source)
    return replace(identity, disk=disk, is_shared=False)


def with_checkpointed(declared: Resources, checkpointed: Resources) -> Resources:
    """All that an agent has: what its operator declared, as reserved and made into volumes since.

    Raises:
        InvalidInput: something is reserved or a volume that was never declared.
    """
    total = declared
    for entry in single(checkpointed):
        kept = Resources([entry])
        raw = _mapped(kept, lambda identity: _declared(_stripped(identity)))
        if kept == raw:
            continue
        if not total.contains(raw):
            rule = f"[{kept}] cannot be made of what the agent declares, [{declared}]"
            raise InvalidInput("checkpointed_resources", rule)
        total = total - raw + kept
    return total


def _declared(identity: ResourceIdentity) -> ResourceIdentity:
    """Without the reservations made at run time; static ones are declared."""
    static = (r for r in identity.reservations if r.type is ReservationType.STATIC)
    return replace(identity, reservations=tuple(static))


def single(resources: Resources) -> Resources:
    """The same resources with one copy of everything shared."""
    if not any(entry.copies > 1 and entry.identity.is_shared for entry in resources):
        return resources
    return Resources(
        replace(entry, copies=1) if entry.identity.is_shared else entry for entry in resources
    )


def _mapped(
    resources: Resources, change: Callable[[ResourceIdentity], ResourceIdentity]
) -> Resources:
    # Copies apart: two equal volumes are made of twice the disk.
    return Resources(
        replace(entry, identity=change(replace(entry.identity, whole=None)), copies=1)
        for entry in resources
        for _ in range(entry.copies)
    )


def _resized(volume: Resources, by_milli: int, *, is_new: bool = False) -> Resources:
    """A volume that is larger by so much, or another disk of its kind with just this size."""
    return Resources(_resized_entry(entry, by_milli, is_new) for entry in volume)


def _resized_entry(entry: Resource, by_milli: int, is_new: bool) -> Resource:
    assert isinstance(entry.value, int)
    value = by_milli if is_new else entry.value + by_milli
    return replace(entry, identity=replace(entry.identity, whole=None), value=value)


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
    "Conversion",
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
    "conversion",
    "is_speculative",
    "provider_of",
    "single",
    "taken",
    "unreserved_once",
    "with_checkpointed",
    "without_volume",
]
