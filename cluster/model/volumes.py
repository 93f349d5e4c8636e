"""What of an agent's resources outlives it because somebody made it so: reservations, volumes.

Dynamic reservations and persistent volumes are *checkpointed*: an agent writes them down, and a
volume has a directory on it.

Source: master.md §9 (reservations, volumes); agent.md §13.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.model.resources import (
    DiskSource,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)


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


def is_persistent_volume(identity: ResourceIdentity) -> bool:
    return identity.disk is not None and identity.disk.persistence is not None


def is_dynamically_reserved(identity: ResourceIdentity) -> bool:
    """Whether some level of its reservation was made while the agent ran."""
    return any(one.type is ReservationType.DYNAMIC for one in identity.reservations)


def can_be_unreserved(identity: ResourceIdentity) -> bool:
    """Whether the last level of its reservation can be taken away."""
    levels = identity.reservations
    return bool(levels) and levels[-1].type is ReservationType.DYNAMIC


def is_checkpointed(identity: ResourceIdentity) -> bool:
    """Whether an agent must remember this: a dynamic reservation or a persistent volume."""
    return is_dynamically_reserved(identity) or is_persistent_volume(identity)


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
    "can_be_unreserved",
    "checkpointed_part",
    "holds_all",
    "is_checkpointed",
    "is_dynamically_reserved",
    "is_persistent_volume",
    "persistent_volumes",
    "volume_mounts",
]
