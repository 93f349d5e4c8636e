"""What changes of resources mean to the agent whose resources they are.

Decided here: which changes an agent can carry out by itself and what they turn into what, which
resources outlive an agent because somebody made them so (*checkpointed*), and which of them are
volumes with a directory. Not here: who may ask for what (the master's validation).

Source: master.md §6.2 (operations) and §9 (reservations, volumes); agent.md §13.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.errors import InvalidInput
from cluster.model.operations import (
    Change,
    Conversion,
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    Reserve,
    Shrink,
    Unreserve,
    change_name,
    conversion,
    without_volume,
)
from cluster.model.resources import (
    DiskSource,
    DiskSourceType,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)
from cluster.model.values import format_milli


@dataclass(frozen=True, slots=True)
class PersistentVolume:
    """What makes a persistent volume of an agent the one it is, whatever its size."""

    role: str
    volume_id: str
    source: DiskSource | None


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """Where a task or executor wants to see a persistent volume."""

    volume: PersistentVolume
    container_path: str


# What an agent can do by itself -------------------------------------------------------------------


def own_conversion(change: Change) -> Conversion:
    """What a change turns into what, checked as far as a conversion cannot go wrong by it.

    Raises:
        InvalidInput: only a resource provider could do it, or a resource is not of the right kind.
    """
    match change:
        case Reserve(resources):
            _check_dynamic(resources, "reserve.resources")
        case Unreserve(resources):
            _check_dynamic(resources, "unreserve.resources")
            _check_no_volumes(resources, "unreserve.resources")
        case Create(volumes):
            _check_volumes(volumes, "create.volumes")
        case Destroy(volumes):
            _check_volumes(volumes, "destroy.volumes")
        case Grow(volume, addition):
            _check_grow(_resizable(volume, "grow_volume.volume"), addition)
        case Shrink(volume, subtract_milli):
            _check_shrink(_resizable(volume, "shrink_volume.volume"), subtract_milli)
        case CreateDisk() | DestroyDisk():
            pass
    known = conversion(change)
    if known is None:
        rule = f"{change_name(change)} is for the resources of a resource provider"
        raise InvalidInput("operation_info.type", rule)
    return known


def _check_dynamic(resources: Resources, field: str) -> None:
    for index, entry in enumerate(resources):
        if not entry.reservations or entry.reservations[-1].type is not ReservationType.DYNAMIC:
            raise InvalidInput(f"{field}[{index}]", "must be dynamically reserved")


def _check_volumes(volumes: Resources, field: str) -> None:
    for index, entry in enumerate(volumes):
        if not is_persistent_volume(entry.identity):
            raise InvalidInput(f"{field}[{index}]", "must be a persistent volume")


def _check_no_volumes(resources: Resources, field: str) -> None:
    for index, entry in enumerate(resources):
        if is_persistent_volume(entry.identity):
            raise InvalidInput(f"{field}[{index}]", "a persistent volume must be destroyed first")


def _resizable(volume: Resources, field: str) -> Resource:
    entry = _only(volume, field)
    if not is_persistent_volume(entry.identity) or not isinstance(entry.value, int):
        raise InvalidInput(field, "must be a persistent volume")
    if entry.identity.is_shared:
        raise InvalidInput(field, "must not be shared")
    source = None if entry.disk is None else entry.disk.source
    if source is not None and source.type is not DiskSourceType.PATH:
        raise InvalidInput(field, "must not be on a disk that is handed out whole")
    return entry


def _check_grow(volume: Resource, addition: Resources) -> None:
    field = "grow_volume.addition"
    kind = _only(without_volume(Resources((volume,))), field).identity
    if replace(_only(addition, field).identity, whole=None) != replace(kind, whole=None):
        raise InvalidInput(field, "must be disk of the kind that the volume is made of")


def _check_shrink(volume: Resource, subtract_milli: int) -> None:
    size_milli = volume.size()
    if not 0 < subtract_milli < size_milli:
        rule = f"must be more than 0 and less than the volume's {format_milli(size_milli)}"
        raise InvalidInput("shrink_volume.subtract", rule)


def _only(resources: Resources, field: str) -> Resource:
    entries = tuple(resources)
    if len(entries) != 1 or entries[0].copies != 1:
        raise InvalidInput(field, "must be one resource, of more than nothing")
    return entries[0]


# What outlives an agent ---------------------------------------------------------------------------


def is_persistent_volume(identity: ResourceIdentity) -> bool:
    return identity.disk is not None and identity.disk.persistence is not None


def is_checkpointed(identity: ResourceIdentity) -> bool:
    """Whether an agent must remember this: a dynamic reservation or a persistent volume."""
    is_dynamic = any(one.type is ReservationType.DYNAMIC for one in identity.reservations)
    return is_dynamic or is_persistent_volume(identity)


def checkpointed_part(resources: Resources) -> Resources:
    """What must be remembered, without marks of allocation."""
    return resources.unallocated().where(is_checkpointed)


def holds_all(whole: Resources, part: Resources) -> bool:
    """Whether each entry of `part` is in `whole`; copies of shared entries are not counted."""
    shared = [entry.identity for entry in whole if entry.identity.is_shared]
    wanted = part.where(lambda identity: not identity.is_shared)
    if not whole.contains(wanted):
        return False
    return all(one.identity in shared for one in part if one.identity.is_shared)


def persistent_volumes(resources: Iterable[Resource]) -> tuple[PersistentVolume, ...]:
    """The persistent volumes among resources, each once, in order."""
    volumes = (_volume_of(entry) for entry in resources if is_persistent_volume(entry.identity))
    return tuple(dict.fromkeys(volumes))


def volume_mounts(resources: Resources) -> tuple[VolumeMount, ...]:
    """Where the persistent volumes among resources are to be seen, each once, in order."""
    mounts: dict[VolumeMount, None] = {}
    for entry in resources:
        if entry.disk is None or entry.disk.persistence is None or entry.disk.volume is None:
            continue
        mounts[VolumeMount(_volume_of(entry), entry.disk.volume.container_path)] = None
    return tuple(mounts)


def _volume_of(entry: Resource) -> PersistentVolume:
    disk = entry.disk
    assert disk is not None
    assert disk.persistence is not None
    return PersistentVolume(entry.role, disk.persistence.id, disk.source)


__all__ = [
    "PersistentVolume",
    "VolumeMount",
    "checkpointed_part",
    "holds_all",
    "is_checkpointed",
    "is_persistent_volume",
    "own_conversion",
    "persistent_volumes",
    "volume_mounts",
]
