"""What operations make of resources: reserved and unreserved, volumes created, resized, destroyed.

A conversion takes some resources away and puts others in their place; a list of them is applied in
order, all or nothing. Decided here: what each operation consumes and yields, and which resources
outlive an agent because somebody made them so (*checkpointed*). Not here: who may ask for what.

Source: master.md §6.2 (operations) and §9 (reservations, volumes); agent.md §13.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cluster.errors import InvalidInput
from cluster.model.resources import (
    Disk,
    DiskSource,
    DiskSourceType,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)
from cluster.model.values import format_milli


@dataclass(frozen=True, slots=True)
class Conversion:
    """`consumed` becomes `converted`; neither is marked as allocated."""

    consumed: Resources
    converted: Resources


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


# What operations do -------------------------------------------------------------------------------


def reserve(resources: Resources, source: Resources) -> tuple[Conversion, ...]:
    """Reserve; `source` is what is reserved anew, empty for "the same less one reservation".

    Raises:
        InvalidInput: a resource is not dynamically reserved.
    """
    for index, entry in enumerate(resources):
        _check_dynamic(entry, f"reserve.resources[{index}]")
    if source:
        return (Conversion(source, resources),)
    return (Conversion(_popped(resources), resources),)


def unreserve(resources: Resources) -> tuple[Conversion, ...]:
    """Take the most refined reservation off.

    Raises:
        InvalidInput: a resource is not dynamically reserved, or is a persistent volume.
    """
    for index, entry in enumerate(resources):
        field = f"unreserve.resources[{index}]"
        _check_dynamic(entry, field)
        if is_persistent_volume(entry.identity):
            raise InvalidInput(field, "a persistent volume must be destroyed first")
    return (Conversion(resources, _popped(resources)),)


def create_volumes(volumes: Resources) -> tuple[Conversion, ...]:
    """Make persistent volumes of disk.

    Raises:
        InvalidInput: something is not a persistent volume.
    """
    _check_volumes(volumes, "create.volumes")
    return (Conversion(_plain(volumes), volumes),)


def destroy_volumes(volumes: Resources) -> tuple[Conversion, ...]:
    """Make plain disk of persistent volumes.

    Raises:
        InvalidInput: something is not a persistent volume.
    """
    _check_volumes(volumes, "destroy.volumes")
    return (Conversion(volumes, _plain(volumes)),)


def grow_volume(volume: Resource, addition: Resource) -> tuple[Conversion, ...]:
    """Add disk of the same kind to a persistent volume.

    Raises:
        InvalidInput: not such a volume, or not such a disk.
    """
    size_milli = _volume_milli(volume, "grow_volume.volume")
    kind = replace(_plain_entry(volume).identity, whole=None)
    if replace(addition.identity, whole=None) != kind or not isinstance(addition.value, int):
        rule = "must be disk of the kind that the volume is made of"
        raise InvalidInput("grow_volume.addition", rule)
    if addition.value <= 0:
        raise InvalidInput("grow_volume.addition", "must be more than nothing")
    grown = _resized(volume, size_milli + addition.value)
    return (Conversion(Resources((volume, addition)), Resources((grown,))),)


def shrink_volume(volume: Resource, subtract_milli: int) -> tuple[Conversion, ...]:
    """Take some disk off a persistent volume; `subtract_milli` in thousandths of a megabyte.

    Raises:
        InvalidInput: not such a volume, or nothing would be left of it.
    """
    size_milli = _volume_milli(volume, "shrink_volume.volume")
    if not 0 < subtract_milli < size_milli:
        rule = f"must be more than 0 and less than the volume's {format_milli(size_milli)}"
        raise InvalidInput("shrink_volume.subtract", rule)
    left = _resized(volume, size_milli - subtract_milli)
    freed = _plain_entry(_resized(volume, subtract_milli))
    return (Conversion(Resources((volume,)), Resources((left, freed))),)


def convert(total: Resources, conversions: Iterable[Conversion]) -> Resources:
    """Apply conversions in order.

    Raises:
        ResourcesNotContained: `total` does not hold what one of them consumes.
    """
    for one in conversions:
        total = (total - one.consumed) + one.converted
    return total


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


def with_checkpointed(declared: Resources, checkpointed: Resources) -> Resources:
    """What an agent has that was given `declared` and remembers `checkpointed`.

    Raises:
        ResourcesNotContained: the remembered resources cannot have been made of the declared ones.
    """
    return (declared - Resources(map(_as_declared, _singly(checkpointed)))) + checkpointed


def holds_all(whole: Resources, part: Resources) -> bool:
    """Whether each entry of `part` is in `whole`; copies of shared entries are not counted."""
    shared = [entry.identity for entry in whole if entry.identity.is_shared]
    wanted = part.where(lambda identity: not identity.is_shared)
    if not whole.contains(wanted):
        return False
    return all(one.identity in shared for one in part if one.identity.is_shared)


def persistent_volumes(resources: Resources) -> tuple[PersistentVolume, ...]:
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


def _as_declared(entry: Resource) -> Resource:
    """What an operator declared of which this was made."""
    plain = _plain_entry(entry)
    static = tuple(r for r in plain.reservations if r.type is ReservationType.STATIC)
    return _remade(plain, replace(plain.identity, reservations=static))


# Small things -------------------------------------------------------------------------------------


def _popped(resources: Resources) -> Resources:
    return Resources(
        _remade(entry, replace(entry.identity, reservations=entry.reservations[:-1]))
        for entry in _singly(resources)
    )


def _singly(resources: Resources) -> Iterator[Resource]:
    """The entries, copies apart: two equal volumes make twice the disk."""
    for entry in resources:
        for _ in range(entry.copies):
            yield replace(entry, copies=1)


def _plain(volumes: Resources) -> Resources:
    return Resources(map(_plain_entry, _singly(volumes)))


def _plain_entry(entry: Resource) -> Resource:
    """The disk that a persistent volume is made of; anything else stays as it is."""
    disk = entry.disk
    if disk is None or disk.persistence is None:
        return entry
    bare = None if disk.source is None else Disk(source=disk.source)
    return _remade(entry, replace(entry.identity, disk=bare, is_shared=False))


def _remade(entry: Resource, identity: ResourceIdentity) -> Resource:
    """The entry under another identity; the bundle works out anew whether it has parts."""
    return Resource(replace(identity, whole=None), entry.value)


def _resized(volume: Resource, milli: int) -> Resource:
    return Resource(replace(volume.identity, whole=None), milli)


def _volume_milli(volume: Resource, field: str) -> int:
    """Size of a volume that may be resized, in thousandths."""
    if not is_persistent_volume(volume.identity) or not isinstance(volume.value, int):
        raise InvalidInput(field, "must be a persistent volume")
    if volume.identity.is_shared:
        raise InvalidInput(field, "must not be shared")
    source = None if volume.disk is None else volume.disk.source
    if source is not None and source.type is not DiskSourceType.PATH:
        raise InvalidInput(field, "must not be on a disk that is handed out whole")
    return volume.value


def _check_volumes(volumes: Resources, field: str) -> None:
    for index, entry in enumerate(volumes):
        if not is_persistent_volume(entry.identity):
            raise InvalidInput(f"{field}[{index}]", "must be a persistent volume")


def _check_dynamic(entry: Resource, field: str) -> None:
    if not entry.reservations or entry.reservations[-1].type is not ReservationType.DYNAMIC:
        raise InvalidInput(field, "must be dynamically reserved")


__all__ = [
    "Conversion",
    "PersistentVolume",
    "VolumeMount",
    "checkpointed_part",
    "convert",
    "create_volumes",
    "destroy_volumes",
    "grow_volume",
    "holds_all",
    "is_checkpointed",
    "is_persistent_volume",
    "persistent_volumes",
    "reserve",
    "shrink_volume",
    "unreserve",
    "volume_mounts",
    "with_checkpointed",
]
