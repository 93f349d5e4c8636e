"""Resources for tests of operations."""

from dataclasses import replace

from cluster.model.resources import (
    Disk,
    DiskSource,
    DiskSourceType,
    Persistence,
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
    Volume,
)
from cluster.model.values import ValueType


def marked(resources, **marks):
    """The same resources with other marks."""
    return Resources(
        replace(entry, identity=replace(entry.identity, whole=None, **marks)) for entry in resources
    )


def reserved(text, *roles, principal=None):
    """The same resources, dynamically reserved for one role, or refined down several."""
    stack = tuple(Reservation(role, ReservationType.DYNAMIC, principal) for role in roles or ("a",))
    return marked(Resources.parse(text), reservations=stack)


def volume(size=100, name="v", *, role="a", shared=False, principal=None, **parts):
    """A persistent volume of so many megabytes."""
    disk = Disk(Persistence(name, principal), parts.pop("volume", Volume("data")), **parts)
    stack = (Reservation(role, ReservationType.DYNAMIC, principal),) if role else ()
    identity = ResourceIdentity("disk", ValueType.SCALAR, stack, disk, is_shared=shared)
    return Resources([Resource(identity, size * 1000)])


def provided(size=500, *, kind=DiskSourceType.RAW, provider="p", role=None, **source):
    """A disk of a resource provider."""
    disk = Disk(source=DiskSource(kind, **source))
    stack = () if role is None else (Reservation(role, ReservationType.DYNAMIC),)
    identity = ResourceIdentity("disk", ValueType.SCALAR, stack, disk, provider_id=provider)
    return Resources([Resource(identity, size * 1000)])
