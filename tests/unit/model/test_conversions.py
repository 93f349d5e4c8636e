"""What operations make of resources: every operation, what it refuses, and that nothing is lost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InvalidInput
from cluster.model import conversions as conv
from cluster.model import volumes
from cluster.model.conversions import with_checkpointed
from cluster.model.operations import Create, CreateDisk, Destroy, Grow, Reserve, Shrink, Unreserve
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
    ResourcesNotContained,
    Volume,
)
from cluster.model.values import ValueType

ADS = (Reservation("ads", ReservationType.DYNAMIC, "boss"),)
REFINED = (*ADS, Reservation("ads/web", ReservationType.DYNAMIC))
STATIC = (Reservation("ads"),)
PATH = DiskSource(DiskSourceType.PATH, root="/disk1")
MOUNT = DiskSource(DiskSourceType.MOUNT, root="/disk2")


def scalar(name, amount, reservations=(), disk=None, *, is_shared=False):
    identity = ResourceIdentity(
        name, ValueType.SCALAR, reservations, disk=disk, is_shared=is_shared
    )
    return Resource(identity, int(amount * 1000))


def volume(amount, name="v", *, reservations=ADS, source=None, is_shared=False, path="data"):
    disk = Disk(Persistence(name, "boss"), Volume(path), source)
    return scalar("disk", amount, reservations, disk, is_shared=is_shared)


def own(kind, *arguments):
    return conv.own_conversion(kind(*arguments))


def bundle(*entries):
    return Resources(entries)


def only(resources):
    (entry,) = resources
    return entry


FREE = bundle(scalar("cpus", 4), scalar("disk", 1000))

RESERVED = bundle(scalar("cpus", 1, ADS), scalar("disk", 300, ADS))

CASES = [
    (
        "reserve",
        FREE,
        own(Reserve, RESERVED, bundle()),
        bundle(scalar("cpus", 3), scalar("disk", 700), *RESERVED),
    ),
    (
        "refine a reservation",
        bundle(scalar("cpus", 2, ADS)),
        own(Reserve, bundle(scalar("cpus", 1, REFINED)), bundle()),
        bundle(scalar("cpus", 1, ADS), scalar("cpus", 1, REFINED)),
    ),
    (
        "reserve anew",
        bundle(scalar("cpus", 2, ADS)),
        own(
            Reserve,
            bundle(scalar("cpus", 2, (Reservation("ops", ReservationType.DYNAMIC),))),
            bundle(scalar("cpus", 2, ADS)),
        ),
        bundle(scalar("cpus", 2, (Reservation("ops", ReservationType.DYNAMIC),))),
    ),
    (
        "unreserve",
        RESERVED,
        own(Unreserve, RESERVED),
        bundle(scalar("cpus", 1), scalar("disk", 300)),
    ),
    (
        "unreserve a refinement",
        bundle(scalar("cpus", 1, REFINED)),
        own(Unreserve, bundle(scalar("cpus", 1, REFINED))),
        bundle(scalar("cpus", 1, ADS)),
    ),
    (
        "create",
        RESERVED,
        own(Create, bundle(volume(100))),
        bundle(scalar("cpus", 1, ADS), scalar("disk", 200, ADS), volume(100)),
    ),
    (
        "create on a disk of its own",
        bundle(scalar("disk", 300, ADS, Disk(source=PATH))),
        own(Create, bundle(volume(100, source=PATH))),
        bundle(scalar("disk", 200, ADS, Disk(source=PATH)), volume(100, source=PATH)),
    ),
    (
        "create shared",
        RESERVED,
        own(Create, bundle(volume(100, is_shared=True))),
        bundle(scalar("cpus", 1, ADS), scalar("disk", 200, ADS), volume(100, is_shared=True)),
    ),
    (
        "destroy",
        bundle(scalar("disk", 200, ADS), volume(100)),
        own(Destroy, bundle(volume(100))),
        bundle(scalar("disk", 300, ADS)),
    ),
    (
        "destroy on a mounted disk",
        bundle(volume(300, source=MOUNT)),
        own(Destroy, bundle(volume(300, source=MOUNT))),
        bundle(scalar("disk", 300, ADS, Disk(source=MOUNT))),
    ),
    (
        "grow",
        bundle(scalar("disk", 200, ADS), volume(100)),
        own(Grow, bundle(volume(100)), bundle(scalar("disk", 50, ADS))),
        bundle(scalar("disk", 150, ADS), volume(150)),
    ),
    (
        "shrink",
        bundle(scalar("disk", 200, ADS), volume(100)),
        own(Shrink, bundle(volume(100)), 40_000),
        bundle(scalar("disk", 240, ADS), volume(60)),
    ),
]


@pytest.mark.parametrize(
    ("given", "conversion", "want"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_conversions(given, conversion, want):
    assert conversion.of_total(given) == want
    assert conversion.of_total(given).quantities() == given.quantities()


REFUSALS = [
    (
        "operation_info.type",
        lambda: own(CreateDisk, bundle(scalar("disk", 1)), DiskSourceType.MOUNT),
    ),
    ("grow_volume.volume", lambda: own(Grow, bundle(), bundle(scalar("disk", 1, ADS)))),
    ("reserve.resources[0]", lambda: own(Reserve, bundle(scalar("cpus", 1)), bundle())),
    ("reserve.resources[0]", lambda: own(Reserve, bundle(scalar("cpus", 1, STATIC)), bundle())),
    ("unreserve.resources[0]", lambda: own(Unreserve, bundle(scalar("cpus", 1, STATIC)))),
    ("unreserve.resources[0]", lambda: own(Unreserve, bundle(volume(1)))),
    ("create.volumes[0]", lambda: own(Create, bundle(scalar("disk", 1, ADS)))),
    ("destroy.volumes[0]", lambda: own(Destroy, bundle(scalar("disk", 1, ADS)))),
    (
        "grow_volume.volume",
        lambda: own(Grow, bundle(scalar("disk", 1, ADS)), bundle(scalar("disk", 1, ADS))),
    ),
    (
        "grow_volume.volume",
        lambda: own(Grow, bundle(volume(1, is_shared=True)), bundle(scalar("disk", 1, ADS))),
    ),
    (
        "grow_volume.volume",
        lambda: own(Grow, bundle(volume(1, source=MOUNT)), bundle(scalar("disk", 1, ADS))),
    ),
    ("grow_volume.addition", lambda: own(Grow, bundle(volume(1)), bundle(scalar("cpus", 1, ADS)))),
    ("grow_volume.addition", lambda: own(Grow, bundle(volume(1)), bundle(scalar("disk", 1)))),
    ("grow_volume.addition", lambda: own(Grow, bundle(volume(1)), bundle(scalar("disk", 0, ADS)))),
    ("shrink_volume.subtract", lambda: own(Shrink, bundle(volume(1)), 1000)),
    ("shrink_volume.subtract", lambda: own(Shrink, bundle(volume(1)), 0)),
]


@pytest.mark.parametrize(("field", "ask"), REFUSALS)
def test_what_cannot_be_is_refused_with_its_field(field, ask):
    with pytest.raises(InvalidInput) as caught:
        ask()
    assert field in str(caught.value)


def test_all_or_nothing():
    with pytest.raises(ResourcesNotContained):
        own(Reserve, bundle(scalar("cpus", 5, ADS)), bundle()).of_total(FREE)


def test_what_is_checkpointed():
    total = bundle(
        scalar("cpus", 1),
        scalar("cpus", 1, STATIC),
        scalar("mem", 1, ADS),
        volume(5, reservations=STATIC),
    )
    kept = volumes.checkpointed_part(total.allocated_to("ads"))
    assert kept == bundle(scalar("mem", 1, ADS), volume(5, reservations=STATIC))


@pytest.mark.parametrize(
    "made",
    [
        [scalar("cpus", 1, ADS)],
        [scalar("cpus", 1, REFINED), volume(5), volume(6, "w", is_shared=True)],
        [volume(7, reservations=STATIC)],
        [volume(8, source=PATH)],
        [volume(9, source=MOUNT)],
    ],
)
def test_what_is_remembered_finds_its_place_again(made):
    declared = bundle(
        scalar("cpus", 2),
        scalar("disk", 20),
        scalar("disk", 20, STATIC),
        scalar("disk", 20, (), Disk(source=PATH)),
        scalar("disk", 9, (), Disk(source=MOUNT)),
    )
    total = with_checkpointed(declared, bundle(*made))
    assert volumes.checkpointed_part(total) == bundle(*made)
    assert total.quantities() == declared.quantities()
    with pytest.raises(InvalidInput, match="checkpointed_resources"):
        with_checkpointed(bundle(scalar("cpus", 0.5)), bundle(*made))


def test_copies_of_shared_volumes_are_not_counted():
    one = volume(5, is_shared=True)
    assert volumes.holds_all(bundle(one), bundle(one, one))
    assert not volumes.holds_all(bundle(), bundle(one))
    assert not volumes.holds_all(bundle(volume(5)), bundle(volume(5), volume(5)))


def test_volumes_are_told_apart_by_role_and_id_not_by_size():
    assert volumes.persistent_volumes(bundle(volume(5), volume(6), volume(5, "w"))) == (
        volumes.PersistentVolume("ads", "v", None),
        volumes.PersistentVolume("ads", "w", None),
    )
    (mount,) = volumes.volume_mounts(bundle(volume(5, path="here")))
    assert mount.container_path == "here"


@given(st.lists(st.sampled_from(["reserve", "unreserve", "create", "destroy", "grow", "shrink"])))
def test_any_story_keeps_what_there_is_and_can_be_remembered(story):
    declared = FREE
    total = declared
    steps = {
        "reserve": lambda: own(Reserve, bundle(scalar("disk", 100, ADS)), bundle()),
        "unreserve": lambda: own(Unreserve, bundle(scalar("disk", 60, ADS))),
        "create": lambda: own(Create, bundle(volume(50))),
        "destroy": lambda: own(Destroy, bundle(volume(50))),
        "grow": lambda: own(Grow, bundle(volume(50)), bundle(scalar("disk", 10, ADS))),
        "shrink": lambda: own(Shrink, bundle(volume(60)), 10_000),
    }
    for name in story:
        try:
            total = steps[name]().of_total(total)
        except ResourcesNotContained:
            continue
        assert total.quantities() == declared.quantities()
        assert with_checkpointed(declared, volumes.checkpointed_part(total)) == total


def test_a_volume_entry_read_back_from_a_bundle_can_be_resized():
    entry = only(bundle(volume(10)))
    assert entry.identity.whole is not None
    change = own(Shrink, bundle(entry), 4_000)
    sizes = [one.value for one in change.after]
    assert sizes == [6_000, 4_000]
    assert replace(only(bundle(volume(10))).identity, whole=None) == volume(10).identity
