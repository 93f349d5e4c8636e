"""Resources and attributes on the wire: ``mesos.Resource`` to and from the model, and JSON.

Two spellings exist for reservations (messages.md §7). *Pre-refinement*: the deprecated ``role``,
plus ``reservation`` when it is dynamic. *Post-refinement*: the ``reservations`` stack, ``role``
unset. Reading accepts either, entry by entry; writing is told which one the peer understands.

Not kept: an empty ``DiskInfo.Source.path`` or ``.mount`` message, entries of size zero, and the
split of one identity over several entries (they arrive added up).
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf import json_format

from cluster.errors import InvalidInput
from cluster.model.attributes import Attribute, Attributes, AttributeValue
from cluster.model.resources import (
    Amount,
    Disk,
    DiskSource,
    DiskSourceType,
    Labels,
    Persistence,
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
    Volume,
    check_types_agree,
    check_whole_gpus,
)
from cluster.model.roles import ANY_ROLE, check_role, is_strict_descendant
from cluster.model.values import (
    Items,
    Ranges,
    ValueType,
    milli_from_float,
    milli_to_float,
)
from cluster.model.volumes import is_dynamically_reserved, is_persistent_volume
from cluster.wire.pb import mesos_pb2 as mesos

RESERVATIONS_MAX = 64
"""Depth of a reservation stack that is read; real ones are as deep as the role tree."""
CACHED_LISTS_MAX = 4096
CACHED_BYTES_MAX = 1024
"""How many lists of resources are remembered as read, and how long such a list may be."""


# Reading ------------------------------------------------------------------------------------------


def resources_from_pb(messages: Iterable[mesos.Resource], *, field: str = "resources") -> Resources:
    """Convert protocol messages; either spelling of reservations, even mixed.

    Args:
        messages: as received, not validated.
        field: how errors call the list.

    Raises:
        InvalidInput: names the entry, the field and the rule it breaks.
    """
    listed = list(messages)
    encoded = tuple([message.SerializePartialToString() for message in listed])
    if sum(map(len, encoded)) <= CACHED_BYTES_MAX:
        try:
            return _known_resources(encoded)
        except InvalidInput:
            pass  # once more, in the words of the caller
    return Resources(
        resource_from_pb(message, field=f"{field}[{index}]") for index, message in enumerate(listed)
    )


@lru_cache(maxsize=CACHED_LISTS_MAX)
def _known_resources(encoded: tuple[bytes, ...]) -> Resources:
    """A bundle that was read before: thousands of tasks and agents describe the same few."""
    return Resources(map(resource_from_pb, map(_reparsed, encoded)))


def _reparsed(encoded: bytes) -> mesos.Resource:
    message = mesos.Resource()
    message.MergeFromString(encoded)
    return message


def resource_from_pb(message: mesos.Resource, *, field: str = "resource") -> Resource:
    """Convert one entry; see :func:`resources_from_pb`."""
    if not message.name:
        raise InvalidInput(f"{field}.name", "must not be empty")
    field = f"{field} ({message.name})"
    value_type, value = _amount_from_pb(message, field)
    identity = ResourceIdentity(
        name=message.name,
        type=value_type,
        reservations=_reservations_from_pb(message, field),
        disk=_disk_from_pb(message.disk, f"{field}.disk") if message.HasField("disk") else None,
        is_revocable=message.HasField("revocable"),
        is_shared=message.HasField("shared"),
        provider_id=message.provider_id.value if message.HasField("provider_id") else None,
        allocation_role=_allocation_role(message, field),
    )
    entry = Resource(identity, value)
    check_whole_gpus(entry)
    return entry


def _amount_from_pb(message: mesos.Resource, field: str) -> tuple[ValueType, Amount]:
    match message.type:
        case mesos.Value.SCALAR:
            _require(message.HasField("scalar"), f"{field}.scalar", "must be set for a scalar")
            value = message.scalar.value
            return ValueType.SCALAR, milli_from_float(value, field=f"{field}.scalar.value")
        case mesos.Value.RANGES:
            _require(message.HasField("ranges"), f"{field}.ranges", "must be set for ranges")
            return ValueType.RANGES, _ranges_from_pb(message.ranges, f"{field}.ranges")
        case mesos.Value.SET:
            _require(message.HasField("set"), f"{field}.set", "must be set for a set")
            return ValueType.SET, Items.of(message.set.item)
        case _:
            raise InvalidInput(f"{field}.type", "must be SCALAR, RANGES or SET")


def _ranges_from_pb(message: mesos.Value.Ranges, field: str) -> Ranges:
    return Ranges.of(((pair.begin, pair.end) for pair in message.range), field=field)


def _reservations_from_pb(message: mesos.Resource, field: str) -> tuple[Reservation, ...]:
    if not message.reservations:
        return _pre_refinement_from_pb(message, field)
    is_pre = message.HasField("reservation") or message.HasField("role")
    _require(not is_pre, field, "must not set role or reservation beside reservations")
    depth_rule = f"must have at most {RESERVATIONS_MAX} levels"
    _require(len(message.reservations) <= RESERVATIONS_MAX, f"{field}.reservations", depth_rule)
    stack: list[Reservation] = []
    for index, level in enumerate(message.reservations):
        stack.append(_level_from_pb(level, stack, f"{field}.reservations[{index}]"))
    return tuple(stack)


def _level_from_pb(
    level: mesos.Resource.ReservationInfo, below: Sequence[Reservation], field: str
) -> Reservation:
    _require(level.HasField("role"), f"{field}.role", "must be set")
    check_role(level.role, field=f"{field}.role")
    _require(level.role != ANY_ROLE, f"{field}.role", "must not be *, which means unreserved")
    is_known = level.type in (mesos.Resource.ReservationInfo.STATIC, _DYNAMIC)
    _require(is_known, f"{field}.type", "must be STATIC or DYNAMIC")
    if below:
        rule = f"must lie below the role it refines, {below[-1].role!r}"
        _require(is_strict_descendant(level.role, below[-1].role), f"{field}.role", rule)
        _require(level.type == _DYNAMIC, f"{field}.type", "a refinement must be DYNAMIC")
    return _reservation(level, level.role, ReservationType(level.type))


def _pre_refinement_from_pb(message: mesos.Resource, field: str) -> tuple[Reservation, ...]:
    role = check_role(message.role, field=f"{field}.role")
    if not message.HasField("reservation"):
        return () if role == ANY_ROLE else (Reservation(role),)
    old = message.reservation
    _require(role != ANY_ROLE, f"{field}.reservation", "must not be set for the role *")
    is_post = old.HasField("role") or old.HasField("type")
    _require(not is_post, f"{field}.reservation", "must not name role or type itself")
    return (_reservation(old, role, ReservationType.DYNAMIC),)


def _reservation(
    message: mesos.Resource.ReservationInfo, role: str, reservation_type: ReservationType
) -> Reservation:
    return Reservation(
        role=role,
        type=reservation_type,
        principal=message.principal if message.HasField("principal") else None,
        labels=_labels_from_pb(message.labels) if message.HasField("labels") else None,
    )


def _labels_from_pb(message: mesos.Labels) -> Labels:
    pairs = ((p.key, p.value if p.HasField("value") else None) for p in message.labels)
    return tuple(sorted(pairs, key=lambda pair: (pair[0], pair[1] is not None, pair[1] or "")))


def _allocation_role(message: mesos.Resource, field: str) -> str | None:
    if not message.allocation_info.HasField("role"):
        return None
    return check_role(message.allocation_info.role, field=f"{field}.allocation_info.role")


def _disk_from_pb(message: mesos.Resource.DiskInfo, field: str) -> Disk:
    persistence, volume, source = None, None, None
    if message.HasField("persistence"):
        owner = message.persistence
        _require(bool(owner.id), f"{field}.persistence.id", "must not be empty")
        persistence = Persistence(
            owner.id, owner.principal if owner.HasField("principal") else None
        )
    if message.HasField("volume"):
        volume = _volume_from_pb(message.volume)
    if message.HasField("source"):
        source = _source_from_pb(message.source, f"{field}.source")
    return Disk(persistence, volume, source)


def _volume_from_pb(message: mesos.Volume) -> Volume:
    rest = mesos.Volume()
    rest.CopyFrom(message)
    for known in ("container_path", "host_path", "mode"):
        rest.ClearField(known)
    return Volume(
        container_path=message.container_path,
        read_only=message.mode == mesos.Volume.RO,
        host_path=message.host_path if message.HasField("host_path") else None,
        rest=rest.SerializePartialToString(deterministic=True),
    )


def _source_from_pb(message: mesos.Resource.DiskInfo.Source, field: str) -> DiskSource:
    source_type = _SOURCE_TYPE.get(message.type)
    if source_type is None:
        raise InvalidInput(f"{field}.type", "must be PATH, MOUNT, BLOCK or RAW")
    root = None
    if message.path.HasField("root"):
        root = message.path.root
    elif message.mount.HasField("root"):
        root = message.mount.root
    return DiskSource(
        type=source_type,
        root=root,
        id=message.id if message.HasField("id") else None,
        metadata=_labels_from_pb(message.metadata) if message.HasField("metadata") else None,
        profile=message.profile if message.HasField("profile") else None,
        vendor=message.vendor if message.HasField("vendor") else None,
    )


# Writing ------------------------------------------------------------------------------------------


def resources_to_pb(resources: Resources, *, refined: bool) -> list[mesos.Resource]:
    """Convert to protocol messages, one per entry (and per copy of an entry without parts).

    Args:
        refined: True writes the ``reservations`` stack, for peers with RESERVATION_REFINEMENT;
            False writes ``role`` and ``reservation``.

    Raises:
        InvalidInput: a refined reservation (a stack deeper than one) and ``refined`` is False.
    """
    messages = []
    for entry in resources:
        message = _resource_to_pb(entry, refined=refined)
        messages.append(message)
        for _ in range(entry.copies - 1):
            copy = mesos.Resource()
            copy.CopyFrom(message)
            messages.append(copy)
    return messages


def _resource_to_pb(entry: Resource, *, refined: bool) -> mesos.Resource:
    identity = entry.identity
    message = mesos.Resource(name=identity.name, type=_PB_TYPE[identity.type])
    _write_amount(message, entry.value)
    if refined:
        _write_stack(message, identity.reservations)
    else:
        _write_pre_refinement(message, identity)
    if identity.disk is not None:
        _write_disk(message.disk, identity.disk)
    if identity.is_revocable:
        message.revocable.SetInParent()
    if identity.is_shared:
        message.shared.SetInParent()
    if identity.provider_id is not None:
        message.provider_id.value = identity.provider_id
    if identity.allocation_role is not None:
        message.allocation_info.role = identity.allocation_role
    return message


def _write_amount(message: mesos.Resource | mesos.Attribute, value: Amount) -> None:
    match value:
        case int():
            message.scalar.value = milli_to_float(value)
        case Ranges():
            for begin, end in value:
                message.ranges.range.add(begin=begin, end=end)
            message.ranges.SetInParent()
        case Items():
            message.set.item.extend(value)
            message.set.SetInParent()


def _write_stack(message: mesos.Resource, stack: Iterable[Reservation]) -> None:
    for reservation in stack:
        level = message.reservations.add(role=reservation.role)
        level.type = _PB_RESERVATION_TYPE[reservation.type]
        _write_owner(level, reservation)


def _write_pre_refinement(message: mesos.Resource, identity: ResourceIdentity) -> None:
    message.role = ANY_ROLE
    match identity.reservations:
        case ():
            pass
        case (reservation,):
            message.role = reservation.role
            if reservation.type is ReservationType.DYNAMIC:
                message.reservation.SetInParent()
                _write_owner(message.reservation, reservation)
        case _:
            rule = "a refined reservation needs a peer with RESERVATION_REFINEMENT"
            raise InvalidInput(f"{identity.name}.reservations", rule)


def _write_owner(message: mesos.Resource.ReservationInfo, reservation: Reservation) -> None:
    if reservation.principal is not None:
        message.principal = reservation.principal
    if reservation.labels is not None:
        _write_labels(message.labels, reservation.labels)


def _write_labels(message: mesos.Labels, labels: Labels) -> None:
    message.SetInParent()
    for key, value in labels:
        label = message.labels.add(key=key)
        if value is not None:
            label.value = value


def _write_disk(message: mesos.Resource.DiskInfo, disk: Disk) -> None:
    message.SetInParent()
    if disk.persistence is not None:
        message.persistence.id = disk.persistence.id
        if disk.persistence.principal is not None:
            message.persistence.principal = disk.persistence.principal
    if disk.volume is not None:
        _write_volume(message.volume, disk.volume)
    if disk.source is not None:
        _write_source(message.source, disk.source)


def _write_volume(message: mesos.Volume, volume: Volume) -> None:
    message.MergeFromString(volume.rest)
    message.container_path = volume.container_path
    message.mode = mesos.Volume.RO if volume.read_only else mesos.Volume.RW
    if volume.host_path is not None:
        message.host_path = volume.host_path


def _write_source(message: mesos.Resource.DiskInfo.Source, source: DiskSource) -> None:
    message.type = _PB_SOURCE_TYPE[source.type]
    if source.root is not None:
        target = message.mount if source.type is DiskSourceType.MOUNT else message.path
        target.root = source.root
    if source.id is not None:
        message.id = source.id
    if source.metadata is not None:
        _write_labels(message.metadata, source.metadata)
    if source.profile is not None:
        message.profile = source.profile
    if source.vendor is not None:
        message.vendor = source.vendor


# The --resources flag -----------------------------------------------------------------------------


def parse_resources(text: str, default_role: str = ANY_ROLE) -> Resources:
    """Read the value of ``--resources``: the text form, or a JSON array of Resource objects.

    Only what an operator may declare is accepted: unreserved or statically reserved resources.

    Raises:
        InvalidInput: names the entry and the rule it breaks.
    """
    if not text.lstrip().startswith("["):
        return Resources.parse(text, default_role)
    check_role(default_role, field="default_role")
    entries = []
    for index, message in enumerate(_messages_from_json(text)):
        field = f"resources[{index}]"
        _apply_default_role(message, default_role)
        entry = resource_from_pb(message, field=field)
        _refuse_what_no_flag_may_hold(entry, field)
        entries.append(entry)
    check_types_agree(entries)
    return Resources(entries)


def _messages_from_json(text: str) -> list[mesos.Resource]:
    try:
        objects = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("resources", f"must be a JSON array: {_one_line(error)}") from error
    if not isinstance(objects, list):
        raise InvalidInput("resources", "must be a JSON array")
    return [_message_from_json(item, f"resources[{index}]") for index, item in enumerate(objects)]


def _message_from_json(item: object, field: str) -> mesos.Resource:
    if not isinstance(item, dict):
        raise InvalidInput(field, "must be a JSON object")
    try:
        message = json_format.ParseDict(item, mesos.Resource())
    except (json_format.ParseError, RecursionError) as error:
        raise InvalidInput(field, f"must be a Resource object: {_one_line(error)}") from error
    if not message.IsInitialized():
        raise InvalidInput(field, "must set every required key, such as name, type and value")
    return message


def _one_line(error: Exception) -> str:
    """The first line: the parsers' texts go on to list every field of the message type."""
    return str(error).partition("\n")[0].strip()


def _apply_default_role(message: mesos.Resource, default_role: str) -> None:
    if not message.HasField("role") and not message.reservations:
        message.role = default_role


def _refuse_what_no_flag_may_hold(entry: Resource, field: str) -> None:
    field = f"{field} ({entry.name})"
    is_dynamic = is_dynamically_reserved(entry.identity)
    _require(not is_dynamic, field, "must not be dynamically reserved")
    is_volume = is_persistent_volume(entry.identity)
    _require(not is_volume, field, "must not be a persistent volume")
    _require(not entry.identity.is_revocable, field, "must not be revocable")
    _require(not entry.identity.is_shared, field, "must not be shared")
    _require(entry.allocation_role is None, field, "must not be allocated")


# Attributes ---------------------------------------------------------------------------------------


def attributes_from_pb(
    messages: Iterable[mesos.Attribute], *, field: str = "attributes"
) -> Attributes:
    """Convert protocol messages.

    Raises:
        InvalidInput: names the entry, the field and the rule it breaks.
    """
    return Attributes.of(
        _attribute_from_pb(message, f"{field}[{index}]") for index, message in enumerate(messages)
    )


def _attribute_from_pb(message: mesos.Attribute, field: str) -> Attribute:
    if not message.name:
        raise InvalidInput(f"{field}.name", "must not be empty")
    return Attribute(message.name, _attribute_value(message, f"{field} ({message.name})"))


def _attribute_value(message: mesos.Attribute, field: str) -> AttributeValue:
    match message.type:
        case mesos.Value.SCALAR:
            _require(message.HasField("scalar"), f"{field}.scalar", "must be set for a scalar")
            value = message.scalar.value
            return milli_from_float(value, field=f"{field}.scalar.value", allow_negative=True)
        case mesos.Value.RANGES:
            return _ranges_from_pb(message.ranges, f"{field}.ranges")
        case mesos.Value.SET:
            return Items.of(message.set.item)
        case mesos.Value.TEXT:
            _require(message.HasField("text"), f"{field}.text", "must be set for a text")
            return message.text.value
        case _:
            raise InvalidInput(f"{field}.type", "must be SCALAR, RANGES, SET or TEXT")


def attributes_to_pb(attributes: Attributes) -> list[mesos.Attribute]:
    """Convert to protocol messages, in order."""
    messages = []
    for attribute in attributes:
        message = mesos.Attribute(name=attribute.name, type=_PB_TYPE[attribute.type])
        if isinstance(attribute.value, str):
            message.text.value = attribute.value
        else:
            _write_amount(message, attribute.value)
        messages.append(message)
    return messages


def _require(holds: bool, field: str, rule: str) -> None:
    if not holds:
        raise InvalidInput(field, rule)


_DYNAMIC = mesos.Resource.ReservationInfo.DYNAMIC

_PB_TYPE = {
    ValueType.SCALAR: mesos.Value.SCALAR,
    ValueType.RANGES: mesos.Value.RANGES,
    ValueType.SET: mesos.Value.SET,
    ValueType.TEXT: mesos.Value.TEXT,
}
_PB_RESERVATION_TYPE = {
    ReservationType.STATIC: mesos.Resource.ReservationInfo.STATIC,
    ReservationType.DYNAMIC: _DYNAMIC,
}
_PB_SOURCE_TYPE = {
    DiskSourceType.PATH: mesos.Resource.DiskInfo.Source.PATH,
    DiskSourceType.MOUNT: mesos.Resource.DiskInfo.Source.MOUNT,
    DiskSourceType.BLOCK: mesos.Resource.DiskInfo.Source.BLOCK,
    DiskSourceType.RAW: mesos.Resource.DiskInfo.Source.RAW,
}
_SOURCE_TYPE = {message_type: known for known, message_type in _PB_SOURCE_TYPE.items()}

__all__ = [
    "RESERVATIONS_MAX",
    "attributes_from_pb",
    "attributes_to_pb",
    "parse_resources",
    "resource_from_pb",
    "resources_from_pb",
    "resources_to_pb",
]
