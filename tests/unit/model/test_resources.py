import copy
from dataclasses import replace

import pytest

from cluster.errors import ClusterError, InvalidInput
from cluster.model.resources import (
    EMPTY,
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
)
from cluster.model.values import ValueType


def parse(text: str) -> Resources:
    return Resources.parse(text)


def disk(mb: int, detail: Disk, **more: object) -> Resources:
    identity = ResourceIdentity("disk", ValueType.SCALAR, disk=detail, **more)
    return Resources([Resource(identity, mb * 1000)])


MOUNT = Disk(source=DiskSource(DiskSourceType.MOUNT, root="/mnt/1"))
VOLUME = Disk(persistence=Persistence("vol-1"))


# Text form


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("cpus:4;mem:4096;ports:[31000-32000]", "cpus:4;mem:4096;ports:[31000-32000]"),
        (" cpus : 4 ; mem : 1 024 ", "cpus:4;mem:1024"),
        ("cpus:1;cpus:2", "cpus:3"),
        ("cpus(ads):8;cpus:2", "cpus(ads):8;cpus:2"),
        ("cpus(*):2", "cpus:2"),
        ("cpus(a/b):2", "cpus(a/b):2"),
        ("ports:[3-4,1-2]", "ports:[1-4]"),
        ("tags:{b,a}", "tags:{a,b}"),
        ("cpus:0;mem:1", "mem:1"),
        ("cpus:0.0004", ""),
        ("cpus:1.2345", "cpus:1.235"),
        ("", ""),
        (";cpus:1;;", "cpus:1"),
        ("gpus:2", "gpus:2"),
    ],
)
def test_text(text, printed):
    resources = parse(text)
    assert str(resources) == printed
    assert parse(str(resources)) == resources


def test_the_default_role_reserves_what_names_no_role():
    resources = Resources.parse("cpus:4;mem(*):1;disk(b):2", default_role="a")
    assert str(resources) == "cpus(a):4;mem:1;disk(b):2"


@pytest.mark.parametrize(
    ("text", "field", "rule"),
    [
        ("cpus", "resources", "name:value"),
        ("cpus:", "cpus", "finite number"),
        (":4", "resources", "name"),
        ("cpus:4:5", "resources", "name:value"),
        ("cpus(a:4", "resources", "name or name"),
        ("cpus)a(:4", "resources", "name or name"),
        ("(a):4", "resources", "name or name"),
        ("cpus():4", "cpus", "empty"),
        ("cpus(-a):4", "cpus", "dash"),
        ("cpus:-1", "cpus", "negative"),
        ("cpus:nan", "cpus", "finite"),
        ("cpus:inf", "cpus", "finite"),
        ("cpus:1e999", "cpus", "finite"),
        ("cpus:1e20", "cpus", "at most"),
        ("cpus:four", "cpus", "finite number"),
        ("cpus:[1-2]", "cpus", "type scalar"),
        ("ports:4", "ports", "type ranges"),
        ("x:4;x(a):[1-2]", "x", "type scalar, not ranges"),
        ("ports:[5-1]", "ports", "end before it begins"),
        ("ports:[]", "ports", "ranges"),
        ("ports:[1-2", "ports", "end with"),
        ("tags:{a", "tags", "end with"),
        ("gpus:0.5", "gpus", "whole number"),
    ],
)
def test_refused_text_names_field_and_rule(text, field, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        parse(text)
    assert caught.value.field == field


def test_a_bad_default_role_is_refused():
    with pytest.raises(InvalidInput, match="default_role"):
        Resources.parse("cpus:1", default_role="a//b")


# Arithmetic


def test_sums_are_exact():
    tenth = parse("cpus:0.1")
    assert sum([tenth] * 10, EMPTY) == parse("cpus:1")
    assert parse("cpus:1") - sum([tenth] * 10, EMPTY) == EMPTY


def test_identities_stay_apart():
    both = parse("cpus:1;cpus(a):2")
    assert not both.contains(parse("cpus:2"))
    assert both.contains(parse("cpus(a):2"))
    assert both.scalar_milli("cpus") == 3000
    assert both - parse("cpus:1") == parse("cpus(a):2")


def test_taking_away_what_is_not_there_is_an_error():
    with pytest.raises(ResourcesNotContained, match="cpus:1") as caught:
        _ = parse("cpus:1") - parse("cpus:1.001")
    assert isinstance(caught.value, ClusterError)


def test_saturating_subtraction_leaves_nothing_below_zero():
    assert parse("cpus:1;mem:5").minus_up_to(parse("cpus:3;disk:1;mem:2")) == parse("mem:3")


def test_ranges_and_sets():
    whole = parse("ports:[1-10];tags:{a,b}")
    part = parse("ports:[3-4];tags:{b}")
    assert whole.contains(part)
    assert whole - part == parse("ports:[1-2,5-10];tags:{a}")
    assert (whole - part) + part == whole
    assert whole.ranges("ports") == ((1, 10),)
    assert whole.ranges("none") == ()


def test_equality_hash_and_emptiness_ignore_order_and_zeros():
    left, right = parse("cpus:1;mem:2"), parse("mem:2;cpus:1;disk:0")
    assert left == right
    assert hash(left) == hash(right)
    assert left != parse("cpus:1")
    assert left != "cpus:1;mem:2"
    assert not EMPTY
    assert len(left) == 2


def test_arithmetic_leaves_operands_alone():
    left, right = parse("cpus:1;ports:[1-5]"), parse("cpus:1;ports:[2-2]")
    _ = left + right, left - right, left.minus_up_to(right), left.allocated_to("a")
    assert (str(left), str(right)) == ("cpus:1;ports:[1-5]", "cpus:1;ports:[2-2]")


def test_quantities_are_scalars_in_thousandths():
    resources = parse("cpus:1.5;cpus(a):1;ports:[1-5];tags:{a}")
    assert resources.quantities() == {"cpus": 2500}
    assert resources.scalar_milli("mem") == 0


# Entries without parts


def test_a_mount_disk_is_there_or_not():
    mount = disk(100, MOUNT)
    assert not mount.contains(disk(50, MOUNT))
    assert mount.contains(mount)
    assert mount - mount == EMPTY
    assert mount.quantities() == {"disk": 100_000}
    assert (mount + disk(50, MOUNT)).quantities() == {"disk": 150_000}


def test_a_persistent_volume_is_there_or_not():
    volume = disk(100, VOLUME)
    assert not volume.contains(disk(99, VOLUME))
    assert [entry.value for entry in volume] == [100_000]


@pytest.mark.parametrize(
    ("source", "is_indivisible"),
    [
        (DiskSource(DiskSourceType.PATH, root="/x"), False),
        (DiskSource(DiskSourceType.MOUNT), True),
        (DiskSource(DiskSourceType.BLOCK), True),
        (DiskSource(DiskSourceType.RAW, profile="fast"), False),
        (DiskSource(DiskSourceType.RAW, id="7"), True),
    ],
)
def test_which_disks_have_parts(source, is_indivisible):
    assert Disk(source=source).is_indivisible is is_indivisible


def test_shared_copies_count_once():
    shared = disk(100, VOLUME, is_shared=True)
    twice = shared + shared
    assert twice.quantities() == {"disk": 100_000}
    assert twice != shared
    assert twice - shared == shared
    assert [entry.copies for entry in twice] == [2]


def test_unallocating_merges_what_only_the_allocation_kept_apart():
    mixed = parse("cpus:1").allocated_to("a") + parse("cpus:2").allocated_to("b")
    assert len(mixed) == 2
    assert mixed.unallocated() == parse("cpus:3")


# Views


def test_allocation_marks():
    allocated = parse("cpus:1;cpus(a):2").allocated_to("a/b")
    assert all(entry.allocation_role == "a/b" for entry in allocated)
    assert allocated.unallocated() == parse("cpus:1;cpus(a):2")
    assert allocated.quantities() == {"cpus": 3000}
    assert allocated.allocated_to("c").unallocated() == parse("cpus:1;cpus(a):2")


def test_reservation_views():
    resources = parse("cpus:1;cpus(a):2;cpus(a/b):4;cpus(c):8")
    assert resources.unreserved() == parse("cpus:1")
    assert resources.reserved_to("a") == parse("cpus(a):2")
    assert resources.reserved_roles() == ("a", "a/b", "c")
    assert resources.usable_by("a/b") == parse("cpus:1;cpus(a):2;cpus(a/b):4")
    assert resources.usable_by("a") == parse("cpus:1;cpus(a):2")
    assert resources.usable_by("x") == parse("cpus:1")
    assert parse("cpus:1").usable_by("x") == parse("cpus:1")


def test_the_most_refined_reservation_counts():
    stack = (Reservation("a"), Reservation("a/b", ReservationType.DYNAMIC))
    refined = Resources([Resource(ResourceIdentity("cpus", ValueType.SCALAR, stack), 1000)])
    assert refined.reserved_to("a/b") == refined
    assert not refined.usable_by("a")
    assert [entry.role for entry in refined] == ["a/b"]


def test_text_of_marked_entries_is_for_readers():
    dynamic = Reservation("a", ReservationType.DYNAMIC, "p", (("k", "v"),))
    identity = ResourceIdentity("disk", ValueType.SCALAR, (dynamic,), disk=VOLUME)
    identity = replace(identity, allocation_role="a")
    text = str(Resources([Resource(identity, 1000)]))
    assert text == "disk(allocated: a)(reservations: [(DYNAMIC,a,p,{k: v})])[vol-1]:1"


def test_values_can_be_copied():
    resources = parse("cpus:1;cpus(a):2;ports:[1-5]")
    assert copy.deepcopy(resources) == resources
