"""How scenarios write resources: everything that an entry can be, in one word without spaces.

=========================  ==========================================================
``cpus:4``                 unreserved
``cpus(prod):4``           statically reserved
``cpus(+prod):4``          dynamically reserved; ``+prod@alice`` with a principal
``cpus(prod,+prod/web):4`` a refined reservation, most refined last
``disk(+prod)[v1=/d]:64``  a persistent volume ``v1`` to be mounted at ``/d``
``disk[mount=/m]:64``      a disk of its own (``path``, ``mount``, ``block``, ``raw``)
``cpus{revocable}:4``      also ``{shared}`` and ``{provider=rp1}``, joined by commas
=========================  ==========================================================

Entries are joined by ``;``.
"""

import re

from cluster.errors import InvalidInput
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
from cluster.model.values import format_milli

_ENTRY = re.compile(r"([\w.-]+)(?:\(([^)]*)\))?(?:\[([^\]]*)\])?(?:\{([^}]*)\})?:(.+)")
_SOURCES = {kind.name.lower(): kind for kind in DiskSourceType}


def parse_resources(text: str) -> Resources:
    """Read the notation above.

    Raises:
        InvalidInput: an entry is not written so.
    """
    return Resources(_parse_entry(part) for part in text.split(";") if part)


def format_resources(resources: Resources) -> str:
    """Print so that :func:`parse_resources` reads it; allocation marks are left out."""
    return ";".join(map(_format_entry, resources.unallocated())) or "nothing"


def _parse_entry(text: str) -> Resource:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise InvalidInput("resources", f"must be name(role)[disk]{{marks}}:value, not {text!r}")
    name, stack, disk, marks, value = match.groups()
    (plain,) = Resources.parse(f"{name}:{value}") or (None,)
    if plain is None:
        raise InvalidInput("resources", f"{name} must not be nothing")
    words = [] if marks is None else marks.split(",")
    provider = next((w.partition("=")[2] for w in words if w.startswith("provider=")), None)
    for word in words:
        if word not in ("revocable", "shared") and not word.startswith("provider="):
            raise InvalidInput("resources", f"unknown mark {word!r} in {text!r}")
    identity = ResourceIdentity(
        name,
        plain.type,
        reservations=() if stack is None else tuple(map(_parse_level, stack.split(","))),
        disk=None if disk is None else _parse_disk(disk),
        is_revocable="revocable" in words,
        is_shared="shared" in words,
        provider_id=provider,
    )
    return Resource(identity, plain.value)


def _parse_level(text: str) -> Reservation:
    role, _, principal = text.removeprefix("+").partition("@")
    kind = ReservationType.DYNAMIC if text.startswith("+") else ReservationType.STATIC
    return Reservation(role, kind, principal or None)


def _parse_disk(text: str) -> Disk:
    disk: dict[str, Persistence | Volume | DiskSource] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key in _SOURCES:
            kind = _SOURCES[key]
            is_place = kind in (DiskSourceType.PATH, DiskSourceType.MOUNT)
            disk["source"] = DiskSource(
                kind,
                root=value if is_place and value else None,
                id=None if is_place or not value else value,
            )
        else:
            disk["persistence"] = Persistence(key)
            disk["volume"] = Volume(value)
    return Disk(**disk)  # type: ignore[arg-type] # each key has its type


def _format_entry(entry: Resource) -> str:
    identity = entry.identity
    text = identity.name
    if identity.reservations:
        text += f"({','.join(map(_format_level, identity.reservations))})"
    if identity.disk is not None:
        text += f"[{_format_disk(identity.disk)}]"
    marks = [
        *(["revocable"] if identity.is_revocable else []),
        *(["shared"] if identity.is_shared else []),
        *([] if identity.provider_id is None else [f"provider={identity.provider_id}"]),
    ]
    if marks:
        text += f"{{{','.join(marks)}}}"
    value = format_milli(entry.value) if isinstance(entry.value, int) else str(entry.value)
    return f"{text}:{value}" + (f" x{entry.copies}" if entry.copies > 1 else "")


def _format_level(reservation: Reservation) -> str:
    mark = "+" if reservation.type is ReservationType.DYNAMIC else ""
    principal = "" if reservation.principal is None else f"@{reservation.principal}"
    return f"{mark}{reservation.role}{principal}"


def _format_disk(disk: Disk) -> str:
    parts = []
    if disk.source is not None:
        place = disk.source.root or disk.source.id or ""
        parts.append(f"{disk.source.type.name.lower()}={place}")
    if disk.persistence is not None:
        path = "" if disk.volume is None else disk.volume.container_path
        parts.append(f"{disk.persistence.id}={path}")
    return ",".join(parts)


__all__ = ["format_resources", "parse_resources"]
