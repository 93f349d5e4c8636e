"""What changes of resources turn into what.

For most changes both sides are known beforehand: a *conversion* takes some resources away and puts
others in their place, in a bundle or in all that an agent has. Decided here too: which changes an
agent can carry out by itself, and what it has when it comes back with what it remembers. Not here:
who may ask for what (the master's validation).

Source: master.md §6.2 (operations) and §9 (reservations, volumes); agent.md §13.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster.errors import InvalidInput
from cluster.model.operations import (
    Change,
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    Reserve,
    Shrink,
    Unreserve,
    change_name,
)
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
from cluster.model.volumes import can_be_unreserved, is_persistent_volume


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


def taken(change: Change) -> Resources:
    """What the change needs of an offer."""
    match change:
        case CreateDisk(source) | DestroyDisk(source):
            return source
        case _:
            known = conversion(change)
            assert known is not None
            return known.before


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
        if not can_be_unreserved(entry.identity):
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


__all__ = [
    "Conversion",
    "conversion",
    "own_conversion",
    "single",
    "taken",
    "unreserved_once",
    "with_checkpointed",
    "without_volume",
]
