"""Rules for the resources of a task or executor. Source: master.md §6.3 rules 7 and 13."""

from collections.abc import Iterable

from cluster.errors import InvalidInput
from cluster.model.resources import Resource, Resources, check_types_agree
from cluster.validation.identifiers import id_error
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import resources_from_pb


def resources_error(messages: Iterable[mesos.Resource], field: str) -> str | None:
    """The first rule that a list of resources breaks, or None; an empty list is fine."""
    messages = list(messages)
    for message in messages:
        if (error := _disk_error(message, f"{field} ({message.name})")) is not None:
            return error
    try:
        resources = resources_from_pb(messages, field=field)
    except InvalidInput as error:
        return str(error)
    try:
        check_types_agree(resources)
    except InvalidInput as error:
        return f"{field}: {error}"
    return (
        _roles_error(resources, field)
        or _revocable_error(resources, field)
        or _persistence_error(resources, field)
    )


def _disk_error(message: mesos.Resource, field: str) -> str | None:
    """What a disk resource may be in a launch."""
    if not message.HasField("disk"):
        return None
    disk = message.disk
    if disk.HasField("persistence"):
        return _volume_error(message, f"{field}.disk")
    if disk.HasField("volume"):
        return f"{field}.disk.volume: needs a persistence"
    if not disk.HasField("source"):
        return f"{field}.disk: must not be empty"
    return None


def _volume_error(message: mesos.Resource, field: str) -> str | None:
    """Rules of persistent volumes."""
    disk = message.disk
    if message.HasField("revocable"):
        return f"{field}: a persistent volume must not be revocable"
    if not message.reservations and message.role == "*":
        return f"{field}: a persistent volume must be reserved"
    if not disk.HasField("volume"):
        return f"{field}.volume: must be set for a persistent volume"
    if disk.volume.HasField("host_path"):
        return f"{field}.volume.host_path: must not be set for a persistent volume"
    return id_error(disk.persistence.id, f"{field}.persistence.id")


def _roles_error(resources: Resources, field: str) -> str | None:
    if len(allocation_roles(resources)) > 1:
        return f"{field}: all must be allocated to one role"
    return None


def allocation_roles(resources: Resources) -> set[str]:
    """The roles that entries are marked with; the master marks the others itself."""
    return {entry.allocation_role for entry in resources if entry.allocation_role is not None}


def _revocable_error(resources: Resources, field: str) -> str | None:
    revocable = {entry.name for entry in resources if entry.identity.is_revocable}
    firm = {entry.name for entry in resources if not entry.identity.is_revocable}
    for entry in resources:
        if entry.name in revocable and entry.name in firm:
            return f"{field}: {entry.name} must be either revocable or not, not both"
        if entry.identity.is_revocable and any(r.type == 2 for r in entry.reservations):
            return f"{field}: {entry.name} is dynamically reserved and must not be revocable"
    return None


def _persistence_error(resources: Resources, field: str) -> str | None:
    seen: set[tuple[str, str]] = set()
    for entry in resources:
        key = _volume_key(entry)
        if key is None:
            continue
        if key in seen or entry.copies > 1:
            return f"{field}: persistence id '{key[1]}' occurs twice"
        seen.add(key)
    return None


def _volume_key(entry: Resource) -> tuple[str, str] | None:
    """A persistent volume is identified by role and id."""
    if entry.disk is None or entry.disk.persistence is None:
        return None
    return (entry.role, entry.disk.persistence.id)


def overlap_error(task: Resources, executor: Resources) -> str | None:
    """Ports, sets and volumes belong to the task or to its executor (rule 13)."""
    for mine in task.unallocated():
        for theirs in executor.unallocated():
            if mine.name != theirs.name:
                continue
            if not isinstance(mine.value, int) and mine.identity == theirs.identity:
                taken = Resources([theirs])
                if Resources([mine]).minus_up_to(taken) != Resources([mine]):
                    return f"resources: {mine.name} of task and executor must not overlap"
            key = _volume_key(mine)
            if key is not None and key == _volume_key(theirs):
                return f"resources: persistence id '{key[1]}' occurs in task and executor"
    return None


__all__ = ["allocation_roles", "overlap_error", "resources_error"]
