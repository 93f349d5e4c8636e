"""Rules for operations on resources, one small function each. Source: master.md §6.2.

Whether the resources are there, and nobody else uses them, is decided where the books are: see
``cluster.core.master.changes``.
"""

from dataclasses import dataclass, replace

from cluster.errors import InvalidInput
from cluster.model.agents import AgentCapability
from cluster.model.conversions import without_volume
from cluster.model.frameworks import FrameworkCapability
from cluster.model.operations import (
    Change,
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationId,
    Reserve,
    Shrink,
    Unreserve,
    asked_for,
    provider_of,
)
from cluster.model.resources import (
    EMPTY,
    DiskSourceType,
    Resource,
    ResourceIdentity,
    Resources,
    check_types_agree,
)
from cluster.model.volumes import (
    can_be_unreserved,
    is_dynamically_reserved,
    is_persistent_volume,
)
from cluster.validation.identifiers import id_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks for a change.

    Attributes:
        principal: as whom it is known; None for an unknown one, to whom no principal is foreign.
        allocation_role: the role of the offers used; None for an operator.
        roles: of a framework; None for an operator, who may act for every role.
        capabilities: of a framework.
        has_feedback: can be told what becomes of an operation.
    """

    principal: str | None = None
    allocation_role: str | None = None
    roles: tuple[str, ...] | None = None
    capabilities: frozenset[FrameworkCapability] = frozenset()
    has_feedback: bool = False

    @property
    def is_operator(self) -> bool:
        return self.roles is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The agent to be changed.

    Attributes:
        total: all it has, reservations and volumes included.
        used: what tasks and executors hold there.
        capabilities: what it says it can do.
    """

    total: Resources
    used: Resources = EMPTY
    capabilities: frozenset[AgentCapability] = frozenset(AgentCapability)


def change_error(change: Change, asker: Asker, place: Place) -> str | None:
    """The first rule that a change breaks, or None."""
    resources, field = asked_for(change), _FIELDS[type(change)]
    error = _resources_error(resources, field) or _capability_error(resources, field, place)
    if error is not None:
        return error
    match change:
        case Reserve():
            return _reserve_error(change, asker)
        case Unreserve():
            return _unreserve_error(change)
        case Create():
            return _create_error(change, asker, place)
        case Destroy():
            return _destroy_error(change, place)
        case Grow():
            return _grow_error(change, place)
        case Shrink():
            return _shrink_error(change, place)
        case CreateDisk():
            return _create_disk_error(change)
        case DestroyDisk():
            return _destroy_disk_error(change)


_FIELDS: dict[type[Change], str] = {
    Reserve: "reserve.resources",
    Unreserve: "unreserve.resources",
    Create: "create.volumes",
    Destroy: "destroy.volumes",
    Grow: "grow_volume.volume",
    Shrink: "shrink_volume.volume",
    CreateDisk: "create_disk.source",
    DestroyDisk: "destroy_disk.source",
}


def operation_id_error(
    operation_id: OperationId | None,
    change: Change,
    asker: Asker,
    place: Place,
    *,
    is_taken: bool,
) -> str | None:
    """Why nobody can be told what becomes of the operation, or None. ``is_taken``: id in use."""
    if operation_id is None:
        return None
    if (error := id_error(operation_id, "operation.id")) is not None:
        return error
    if not asker.has_feedback:
        return "operation.id: needs a framework with the HTTP API, which alone has feedback"
    wanted = (
        AgentCapability.AGENT_OPERATION_FEEDBACK
        if provider_of(change) is None
        else AgentCapability.RESOURCE_PROVIDER
    )
    if wanted not in place.capabilities:
        return f"operation.id: the agent lacks {wanted.name}"
    if is_taken:
        return f"operation.id: '{operation_id}' is already in use by this framework"
    return None


# What holds for all -------------------------------------------------------------------------------


def _resources_error(resources: Resources, field: str) -> str | None:
    if not resources:
        return f"{field}: must not be empty"
    try:
        check_types_agree(resources)
    except InvalidInput as error:
        return f"{field}: {error}"
    if len({entry.identity.provider_id for entry in resources}) > 1:
        return f"{field}: must be of one resource provider"
    return _marks_error(resources, field)


def _marks_error(resources: Resources, field: str) -> str | None:
    for entry in resources:
        if entry.identity.is_revocable and is_dynamically_reserved(entry.identity):
            return f"{field}: {entry.name} is dynamically reserved and must not be revocable"
        if entry.identity.is_shared and not is_persistent_volume(entry.identity):
            return f"{field}: {entry.name} must not be shared, only a persistent volume can be"
        if entry.copies > 1 and is_persistent_volume(entry.identity):
            return f"{field}: persistence id '{_persistence_id(entry)}' occurs twice"
    return None


def _capability_error(resources: Resources, field: str, place: Place) -> str | None:
    """Old agents know neither roles with slashes nor refined reservations."""
    for entry in resources:
        if len(entry.reservations) > 1 and (
            AgentCapability.RESERVATION_REFINEMENT not in place.capabilities
        ):
            return f"{field}: {entry.name} needs an agent with RESERVATION_REFINEMENT"
        if "/" in entry.role and AgentCapability.HIERARCHICAL_ROLE not in place.capabilities:
            return f"{field}: role '{entry.role}' needs an agent with HIERARCHICAL_ROLE"
    return None


def _persistence_id(entry: Resource) -> str:
    assert entry.disk is not None
    assert entry.disk.persistence is not None
    return entry.disk.persistence.id


# Reservations -------------------------------------------------------------------------------------


def _reserve_error(change: Reserve, asker: Asker) -> str | None:
    for entry in change.resources:
        error = (
            _reserved_entry_error(entry)
            or _reserving_role_error(entry, asker)
            or _principal_error(entry.reservations[-1].principal, asker, "reserve.resources", entry)
        )
        if error is not None:
            return error
    return _source_error(change, asker)


def _reserved_entry_error(entry: Resource) -> str | None:
    if not can_be_unreserved(entry.identity):
        return f"reserve.resources: {entry.name} is not dynamically reserved"
    if is_persistent_volume(entry.identity):
        return f"reserve.resources: {entry.name} is a persistent volume, which is reserved already"
    return None


def _reserving_role_error(entry: Resource, asker: Asker) -> str | None:
    if asker.roles is None:
        return None
    if entry.role not in asker.roles:
        return f"reserve.resources: '{entry.role}' is not a role of the framework"
    if entry.role != asker.allocation_role:
        return (
            f"reserve.resources: {entry.name} must be reserved for the offers' role "
            f"'{asker.allocation_role}', not for '{entry.role}'"
        )
    if len(entry.reservations) > 1 and (
        FrameworkCapability.RESERVATION_REFINEMENT not in asker.capabilities
    ):
        return (
            f"reserve.resources: refining the reservation of {entry.name} needs a framework with "
            "RESERVATION_REFINEMENT"
        )
    return None


def _principal_error(
    principal: str | None, asker: Asker, field: str, entry: Resource
) -> str | None:
    if asker.principal is None or principal == asker.principal:
        return None
    told = "no principal" if principal is None else f"'{principal}'"
    return f"{field}: {entry.name} must name the principal '{asker.principal}', not {told}"


def _source_error(change: Reserve, asker: Asker) -> str | None:
    """A re-reservation swaps the reservations of the very same resources."""
    if not change.source:
        return None
    if not asker.is_operator:
        return "reserve.source: only operators may replace one reservation by another"
    if (error := _resources_error(change.source, "reserve.source")) is not None:
        return error
    for entry in change.source:
        if not can_be_unreserved(entry.identity):
            return f"reserve.source: {entry.name} is not dynamically reserved"
        if is_persistent_volume(entry.identity):
            return f"reserve.source: {entry.name} is a persistent volume"
    if _without_reservations(change.source) != _without_reservations(change.resources):
        return (
            f"reserve.source: [{change.source}] and reserve.resources [{change.resources}] must "
            "differ in their reservations alone"
        )
    return None


def _without_reservations(resources: Resources) -> Resources:
    return Resources(
        replace(entry, identity=replace(entry.identity, reservations=(), whole=None))
        for entry in resources
    )


def _unreserve_error(change: Unreserve) -> str | None:
    for entry in change.resources:
        if not can_be_unreserved(entry.identity):
            return f"unreserve.resources: {entry.name} is not dynamically reserved"
        if is_persistent_volume(entry.identity):
            return (
                f"unreserve.resources: persistent volume '{_persistence_id(entry)}' must be "
                "destroyed first"
            )
    return None


# Volumes ------------------------------------------------------------------------------------------


def _volume_error(entry: Resource, field: str) -> str | None:
    """What makes a good persistent volume."""
    disk = entry.disk
    if entry.name != "disk" or disk is None or disk.persistence is None:
        return f"{field}: {entry.name} is no persistent volume"
    if (error := id_error(disk.persistence.id, f"{field}.disk.persistence.id")) is not None:
        return error
    where = f"{field}: persistent volume '{disk.persistence.id}'"
    if entry.identity.is_revocable:
        return f"{where} must not be revocable"
    if not entry.reservations:
        return f"{where} must be reserved"
    if disk.volume is None:
        return f"{where} must have disk.volume"
    if disk.volume.host_path is not None:
        return f"{where} must not have disk.volume.host_path"
    if disk.volume.rest:
        return f"{where} must have nothing but container_path and mode in disk.volume"
    if not disk.volume.container_path:
        return f"{where} must have disk.volume.container_path"
    if disk.volume.read_only:
        return f"{where} must have the disk.volume.mode RW"
    return None


def _create_error(change: Create, asker: Asker, place: Place) -> str | None:
    field = "create.volumes"
    for entry in change.volumes:
        if (error := _volume_error(entry, field)) is not None:
            return error
        disk = entry.disk
        assert disk is not None
        assert disk.persistence is not None
        if disk.source is not None and disk.source.type in _NO_FILE_SYSTEM:
            return f"{field}: a {disk.source.type.name} disk cannot hold a persistent volume"
        error = _principal_error(disk.persistence.principal, asker, field, entry)
        if error is not None:
            return error
        if entry.identity.is_shared and not (
            asker.is_operator or FrameworkCapability.SHARED_RESOURCES in asker.capabilities
        ):
            return f"{field}: {entry.name} can be shared only by a framework with SHARED_RESOURCES"
    return _unique_error(change, place)


_NO_FILE_SYSTEM = frozenset({DiskSourceType.RAW, DiskSourceType.BLOCK})


def _unique_error(change: Create, place: Place) -> str | None:
    """On one agent, role and persistence id name one volume."""
    seen = {_volume_key(entry) for entry in place.total if is_persistent_volume(entry.identity)}
    for entry in change.volumes:
        key = _volume_key(entry)
        if key in seen:
            return f"create.volumes: role '{key[0]}' already has a persistent volume '{key[1]}'"
        seen.add(key)
    return None


def _volume_key(entry: Resource) -> tuple[str, str]:
    return (entry.role, _persistence_id(entry))


def _destroy_error(change: Destroy, place: Place) -> str | None:
    for entry in change.volumes:
        error = _volume_error(entry, "destroy.volumes") or _existing_error(
            entry, "destroy.volumes", place
        )
        if error is not None:
            return error
        if place.used.contains(Resources([entry])):
            return f"destroy.volumes: persistent volume '{_persistence_id(entry)}' is in use"
    return None


def _existing_error(entry: Resource, field: str, place: Place) -> str | None:
    if place.total.contains(Resources([entry])):
        return None
    return f"{field}: the agent has no persistent volume '{_persistence_id(entry)}' like this"


def _one_volume_error(volume: Resources, field: str, place: Place) -> str | None:
    """Whether a volume can be resized at all."""
    entries = list(volume)
    if len(entries) != 1:
        return f"{field}: must be one volume"
    entry = entries[0]
    if AgentCapability.RESIZE_VOLUME not in place.capabilities:
        return f"{field}: needs an agent with RESIZE_VOLUME"
    if (error := _volume_error(entry, field)) is not None:
        return error
    if entry.identity.is_shared:
        return f"{field}: a shared volume cannot be resized"
    if entry.identity.provider_id is not None:
        return f"{field}: a volume of a resource provider cannot be resized"
    if _source_type(entry) is DiskSourceType.MOUNT:
        return f"{field}: a volume on a MOUNT disk cannot be resized"
    return _existing_error(entry, field, place)


def _grow_error(change: Grow, place: Place) -> str | None:
    if (error := _one_volume_error(change.volume, "grow_volume.volume", place)) is not None:
        return error
    field = "grow_volume.addition"
    if not change.addition:
        return f"{field}: must be more than nothing"
    kinds = {_kind(entry) for entry in without_volume(change.volume)}
    if {_kind(entry) for entry in change.addition} != kinds:
        return f"{field}: must be disk of the kind and reservation that the volume is made of"
    return None


def _kind(entry: Resource) -> ResourceIdentity:
    """Everything of an entry but its amount."""
    return replace(entry.identity, whole=None)


def _shrink_error(change: Shrink, place: Place) -> str | None:
    if (error := _one_volume_error(change.volume, "shrink_volume.volume", place)) is not None:
        return error
    if change.subtract_milli <= 0:
        return "shrink_volume.subtract: must be more than nothing"
    if change.subtract_milli >= change.volume.scalar_milli("disk"):
        return "shrink_volume.subtract: must be less than the size of the volume"
    return None


def _source_type(entry: Resource) -> DiskSourceType | None:
    disk = entry.disk
    return None if disk is None or disk.source is None else disk.source.type


# Disks of resource providers ----------------------------------------------------------------------


def _provided_disk_error(source: Resources, field: str) -> str | None:
    entries = list(source)
    if len(entries) != 1 or entries[0].name != "disk":
        return f"{field}: must be one disk"
    entry = entries[0]
    if entry.identity.provider_id is None:
        return f"{field}: must be of a resource provider"
    if entry.disk is None or entry.disk.source is None:
        return f"{field}.disk.source: must be set"
    if is_persistent_volume(entry.identity):
        return f"{field}: must not be a persistent volume"
    return None


def _create_disk_error(change: CreateDisk) -> str | None:
    field = "create_disk.source"
    if (error := _provided_disk_error(change.source, field)) is not None:
        return error
    disk = next(iter(change.source)).disk
    assert disk is not None
    assert disk.source is not None
    if disk.source.type is not DiskSourceType.RAW:
        return f"{field}: must be a RAW disk, not {disk.source.type.name}"
    if change.target not in (DiskSourceType.MOUNT, DiskSourceType.BLOCK):
        return f"create_disk.target_type: must be MOUNT or BLOCK, not {change.target.name}"
    if disk.source.profile is not None and change.profile is not None:
        return "create_disk.target_profile: must not be set for a disk that has a profile"
    if disk.source.profile is None and change.profile is None:
        return "create_disk.target_profile: must be set for a disk without a profile"
    return None


def _destroy_disk_error(change: DestroyDisk) -> str | None:
    field = "destroy_disk.source"
    if (error := _provided_disk_error(change.source, field)) is not None:
        return error
    disk = next(iter(change.source)).disk
    assert disk is not None
    assert disk.source is not None
    if disk.source.type is DiskSourceType.PATH:
        return f"{field}: must be a MOUNT, BLOCK or RAW disk, not PATH"
    if disk.source.id is None:
        return f"{field}.disk.source.id: must be set"
    return None


__all__ = ["Asker", "Place", "change_error", "operation_id_error"]
