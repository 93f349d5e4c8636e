"""Every rule for operations on resources (master.md §6.2), and what keeps all of them."""

import pytest

from cluster.model.agents import AgentCapability
from cluster.model.frameworks import FrameworkCapability
from cluster.model.operations import (
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.resources import (
    EMPTY,
    DiskSource,
    DiskSourceType,
    Reservation,
    ReservationType,
    Resources,
    Volume,
)
from cluster.validation.operations import Asker, Place, change_error, operation_id_error
from tests.unit.master.operation_values import marked, provided, reserved, volume

ASKER = Asker(
    allocation_role="a",
    roles=("a", "b"),
    capabilities=frozenset(FrameworkCapability),
    has_feedback=True,
)
KNOWN = Asker(principal="p", allocation_role="a", roles=("a",), capabilities=ASKER.capabilities)
PLAIN = Asker(allocation_role="a", roles=("a",))
OPERATOR = Asker()
OLD = Place(total=Resources.parse("cpus:4"), capabilities=frozenset())
PLACE = Place(
    total=Resources.parse("cpus:4;disk:1000") + volume(100) + volume(50, "s", shared=True)
)
IN_USE = Place(total=PLACE.total, used=volume(100))

RAW, BLOCK, MOUNT, PATH = (
    DiskSourceType.RAW,
    DiskSourceType.BLOCK,
    DiskSourceType.MOUNT,
    DiskSourceType.PATH,
)
CPUS = Resources.parse("cpus:1")
STATIC = Resources.parse("cpus(a):1")
REVOCABLE = marked(reserved("cpus:1"), is_revocable=True)
REFINED = marked(CPUS, reservations=(Reservation("r"), Reservation("r/a", ReservationType.DYNAMIC)))
STATIC_REVOCABLE = marked(volume(), reservations=(Reservation("a"),), is_revocable=True)
NESTED = Asker(allocation_role="r/a", roles=("r/a",))

# What is wrong, who asks where, words of the answer.
WRONG = [
    # Any operation
    (Reserve(EMPTY), ASKER, PLACE, "reserve.resources: must not be empty"),
    (Unreserve(EMPTY), ASKER, PLACE, "unreserve.resources: must not be empty"),
    (Create(EMPTY), ASKER, PLACE, "create.volumes: must not be empty"),
    (Destroy(EMPTY), ASKER, PLACE, "destroy.volumes: must not be empty"),
    (Grow(EMPTY, CPUS), ASKER, PLACE, "grow_volume.volume: must not be empty"),
    (Shrink(EMPTY, 1), ASKER, PLACE, "shrink_volume.volume: must not be empty"),
    (CreateDisk(EMPTY, MOUNT), ASKER, PLACE, "create_disk.source: must not be empty"),
    (DestroyDisk(EMPTY), ASKER, PLACE, "destroy_disk.source: must not be empty"),
    (
        Reserve(reserved("cpus:1") + marked(reserved("mem:1"), provider_id="p")),
        ASKER,
        PLACE,
        "must be of one resource provider",
    ),
    (
        Reserve(marked(reserved("cpus:1"), name="ports")),
        ASKER,
        PLACE,
        "ports: must be of type ranges",
    ),
    (Reserve(marked(reserved("cpus:1"), is_shared=True)), ASKER, PLACE, "must not be shared"),
    (Reserve(REVOCABLE), ASKER, PLACE, "must not be revocable"),
    (Create(volume() + volume()), ASKER, PLACE, "persistence id 'v' occurs twice"),
    (Reserve(REFINED), NESTED, OLD, "needs an agent with RESERVATION_REFINEMENT"),
    (
        Reserve(reserved("cpus:1", "r/a")),
        NESTED,
        OLD,
        "role 'r/a' needs an agent with HIERARCHICAL_ROLE",
    ),
    # RESERVE
    (Reserve(CPUS), ASKER, PLACE, "cpus is not dynamically reserved"),
    (Reserve(STATIC), ASKER, PLACE, "cpus is not dynamically reserved"),
    (Reserve(volume()), ASKER, PLACE, "disk is a persistent volume"),
    (Reserve(reserved("cpus:1", "c")), ASKER, PLACE, "'c' is not a role of the framework"),
    (
        Reserve(reserved("cpus:1", "b")),
        ASKER,
        PLACE,
        "must be reserved for the offers' role 'a', not for 'b'",
    ),
    (Reserve(REFINED), NESTED, PLACE, "needs a framework with RESERVATION_REFINEMENT"),
    (Reserve(reserved("cpus:1")), KNOWN, PLACE, "must name the principal 'p', not no principal"),
    (Reserve(reserved("cpus:1", principal="q")), KNOWN, PLACE, "the principal 'p', not 'q'"),
    (
        Reserve(reserved("cpus:1"), reserved("cpus:1", "b")),
        ASKER,
        PLACE,
        "reserve.source: only operators",
    ),
    (Reserve(reserved("cpus:1"), STATIC), OPERATOR, PLACE, "source: cpus is not dynamically"),
    (Reserve(reserved("disk:1"), volume(1)), OPERATOR, PLACE, "source: disk is a persistent"),
    (
        Reserve(
            reserved("disk:1"), reserved("disk:1") + marked(reserved("mem:1"), provider_id="p")
        ),
        OPERATOR,
        PLACE,
        "reserve.source: must be of one resource provider",
    ),
    (
        Reserve(reserved("cpus:1"), reserved("cpus:2", "b")),
        OPERATOR,
        PLACE,
        "must differ in their reservations alone",
    ),
    # UNRESERVE
    (Unreserve(CPUS), ASKER, PLACE, "cpus is not dynamically reserved"),
    (Unreserve(STATIC), ASKER, PLACE, "cpus is not dynamically reserved"),
    (Unreserve(volume()), ASKER, PLACE, "persistent volume 'v' must be destroyed first"),
    # CREATE
    (Create(reserved("disk:100")), ASKER, PLACE, "disk is no persistent volume"),
    (Create(volume(name="a/b")), ASKER, PLACE, "disk.persistence.id: must not contain slashes"),
    (Create(volume(role=None)), ASKER, PLACE, "'v' must be reserved"),
    (Create(STATIC_REVOCABLE), ASKER, PLACE, "'v' must not be revocable"),
    (Create(volume(volume=None)), ASKER, PLACE, "'v' must have disk.volume"),
    (Create(volume(volume=Volume("d", host_path="/h"))), ASKER, PLACE, "disk.volume.host_path"),
    (Create(volume(volume=Volume("d", rest=b"x"))), ASKER, PLACE, "nothing but container_path"),
    (Create(volume(volume=Volume(""))), ASKER, PLACE, "must have disk.volume.container_path"),
    (Create(volume(volume=Volume("d", True))), ASKER, PLACE, "must have the disk.volume.mode RW"),
    (Create(volume(source=DiskSource(RAW))), ASKER, PLACE, "a RAW disk cannot hold"),
    (Create(volume(source=DiskSource(BLOCK))), ASKER, PLACE, "a BLOCK disk cannot hold"),
    (Create(volume(name="n")), KNOWN, PLACE, "must name the principal 'p', not no principal"),
    (Create(volume(name="n", shared=True)), PLAIN, PLACE, "a framework with SHARED_RESOURCES"),
    (Create(volume(7)), ASKER, PLACE, "role 'a' already has a persistent volume 'v'"),
    (Create(volume(7, "n") + volume(8, "n")), ASKER, PLACE, "already has a persistent volume 'n'"),
    # DESTROY
    (Destroy(reserved("disk:100")), ASKER, PLACE, "disk is no persistent volume"),
    (Destroy(volume(7)), ASKER, PLACE, "the agent has no persistent volume 'v' like this"),
    (Destroy(volume(100)), ASKER, IN_USE, "persistent volume 'v' is in use"),
    # GROW_VOLUME and SHRINK_VOLUME
    (Grow(volume(), reserved("disk:1")), ASKER, OLD, "needs an agent with RESIZE_VOLUME"),
    (Shrink(volume(), 1), ASKER, OLD, "needs an agent with RESIZE_VOLUME"),
    (Grow(volume() + volume(1, "w"), CPUS), ASKER, PLACE, "must be one volume"),
    (Grow(reserved("disk:1"), CPUS), ASKER, PLACE, "disk is no persistent volume"),
    (Grow(volume(50, "s", shared=True), CPUS), ASKER, PLACE, "a shared volume cannot be resized"),
    (Shrink(volume(50, "s", shared=True), 1), ASKER, PLACE, "a shared volume cannot be resized"),
    (Grow(marked(volume(), provider_id="p"), CPUS), ASKER, PLACE, "of a resource provider cannot"),
    (Shrink(volume(source=DiskSource(MOUNT, "/m")), 1), ASKER, PLACE, "on a MOUNT disk cannot"),
    (Grow(volume(7), reserved("disk:1")), ASKER, PLACE, "the agent has no persistent volume 'v'"),
    (Grow(volume(), EMPTY), ASKER, PLACE, "grow_volume.addition: must be more than nothing"),
    (Grow(volume(), Resources.parse("disk:1")), ASKER, PLACE, "grow_volume.addition: must be disk"),
    (Grow(volume(), reserved("mem:1")), ASKER, PLACE, "grow_volume.addition: must be disk of"),
    (Grow(volume(), reserved("disk:1", "b")), ASKER, PLACE, "grow_volume.addition: must be disk"),
    (Shrink(volume(), 0), ASKER, PLACE, "shrink_volume.subtract: must be more than nothing"),
    (Shrink(volume(), -5), ASKER, PLACE, "shrink_volume.subtract: must be more than nothing"),
    (Shrink(volume(), 100_000), ASKER, PLACE, "must be less than the size of the volume"),
    # CREATE_DISK
    (CreateDisk(CPUS, MOUNT), ASKER, PLACE, "create_disk.source: must be one disk"),
    (CreateDisk(provided(provider=None), MOUNT), ASKER, PLACE, "must be of a resource provider"),
    (
        CreateDisk(marked(Resources.parse("disk:1"), provider_id="p"), MOUNT),
        ASKER,
        PLACE,
        "create_disk.source.disk.source: must be set",
    ),
    (CreateDisk(provided(kind=PATH), MOUNT), ASKER, PLACE, "must be a RAW disk, not PATH"),
    (CreateDisk(provided(profile="x"), PATH), ASKER, PLACE, "must be MOUNT or BLOCK, not PATH"),
    (CreateDisk(provided(profile="x"), RAW), ASKER, PLACE, "must be MOUNT or BLOCK, not RAW"),
    (CreateDisk(provided(profile="x"), MOUNT, "y"), ASKER, PLACE, "target_profile: must not be"),
    (CreateDisk(provided(id="d"), BLOCK), ASKER, PLACE, "target_profile: must be set"),
    (CreateDisk(marked(volume(), provider_id="p"), MOUNT), ASKER, PLACE, "disk.source: must be"),
    # DESTROY_DISK
    (DestroyDisk(CPUS), ASKER, PLACE, "destroy_disk.source: must be one disk"),
    (DestroyDisk(provided(provider=None)), ASKER, PLACE, "must be of a resource provider"),
    (DestroyDisk(provided(kind=PATH, id="d")), ASKER, PLACE, "MOUNT, BLOCK or RAW disk, not PATH"),
    (DestroyDisk(provided(kind=BLOCK)), ASKER, PLACE, "disk.source.id: must be set"),
    (
        DestroyDisk(marked(volume(source=DiskSource(MOUNT, id="d")), provider_id="p")),
        ASKER,
        PLACE,
        "destroy_disk.source: must not be a persistent volume",
    ),
]

RIGHT = [
    (Reserve(reserved("cpus:1;mem:5")), ASKER),
    (Reserve(reserved("cpus:1", principal="anybody")), ASKER),
    (Reserve(reserved("cpus:1", principal="p")), KNOWN),
    (Reserve(reserved("cpus:1", "elsewhere")), OPERATOR),
    (Reserve(reserved("cpus:1", "b"), reserved("cpus:1")), OPERATOR),
    (
        Reserve(REFINED),
        Asker(allocation_role="r/a", roles=("r/a",), capabilities=ASKER.capabilities),
    ),
    (Unreserve(reserved("cpus:1")), ASKER),
    (Unreserve(REFINED), ASKER),
    (Create(volume(7, "n")), ASKER),
    (Create(volume(7, role="b")), ASKER),  # another role may use the same id
    (Create(volume(7, "n", shared=True)), ASKER),
    (Create(volume(7, "n", shared=True)), OPERATOR),
    (Create(volume(7, "n", principal="p")), KNOWN),
    (Destroy(volume()), ASKER),
    (Destroy(volume(50, "s", shared=True)), PLAIN),
    (Grow(volume(), reserved("disk:1")), ASKER),
    (Shrink(volume(), 99_999), ASKER),
    (CreateDisk(provided(profile="x"), MOUNT), ASKER),
    (CreateDisk(provided(id="d"), BLOCK, "x"), ASKER),
    (DestroyDisk(provided(kind=MOUNT, id="d")), ASKER),
    (DestroyDisk(provided(kind=RAW, id="d", profile="x")), ASKER),
]


@pytest.mark.parametrize(("change", "asker", "place", "words"), WRONG)
def test_wrong(change, asker, place, words):
    assert words in change_error(change, asker, place)


@pytest.mark.parametrize(("change", "asker"), RIGHT)
def test_right(change, asker):
    assert change_error(change, asker, PLACE) is None


WITHOUT_FEEDBACK = Place(
    total=EMPTY,
    capabilities=frozenset(AgentCapability) - {AgentCapability.AGENT_OPERATION_FEEDBACK},
)
WITHOUT_PROVIDERS = Place(
    total=EMPTY, capabilities=frozenset(AgentCapability) - {AgentCapability.RESOURCE_PROVIDER}
)
OWN, OF_PROVIDER = Reserve(reserved("cpus:1")), DestroyDisk(provided(id="d"))


@pytest.mark.parametrize(
    ("name", "change", "asker", "place", "is_taken", "words"),
    [
        ("", OWN, ASKER, PLACE, False, "operation.id: must not be empty"),
        ("a/b", OWN, ASKER, PLACE, False, "operation.id: must not contain slashes"),
        ("x", OWN, PLAIN, PLACE, False, "operation.id: needs a framework with the HTTP API"),
        ("x", OWN, ASKER, WITHOUT_FEEDBACK, False, "agent lacks AGENT_OPERATION_FEEDBACK"),
        ("x", OF_PROVIDER, ASKER, WITHOUT_PROVIDERS, False, "agent lacks RESOURCE_PROVIDER"),
        ("x", OWN, ASKER, PLACE, True, "operation.id: 'x' is already in use"),
        ("x", OF_PROVIDER, ASKER, WITHOUT_FEEDBACK, False, None),
        ("x", OWN, ASKER, WITHOUT_PROVIDERS, False, None),
        (None, OWN, PLAIN, OLD, False, None),
    ],
)
def test_operation_id(name, change, asker, place, is_taken, words):
    error = operation_id_error(name, change, asker, place, is_taken=is_taken)
    assert error is None if words is None else words in error
