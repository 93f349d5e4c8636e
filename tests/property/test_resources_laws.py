"""Laws of resource arithmetic, for any resources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InvalidInput
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
from cluster.model.values import Items, Ranges, ValueType
from cluster.wire.resources import parse_resources, resources_from_pb, resources_to_pb

roles = st.sampled_from(["a", "a/b", "c"])
stacks = st.one_of(
    st.just(()),
    st.tuples(st.builds(Reservation, roles)),
    st.tuples(
        st.builds(
            Reservation,
            roles,
            st.just(ReservationType.DYNAMIC),
            st.sampled_from([None, "p"]),
            st.sampled_from([None, (("k", "v"),)]),
        )
    ),
    st.just((Reservation("a"), Reservation("a/b", ReservationType.DYNAMIC))),
)
disks = st.sampled_from(
    [
        None,
        Disk(persistence=Persistence("v")),
        Disk(source=DiskSource(DiskSourceType.MOUNT, "/m")),
        Disk(source=DiskSource(DiskSourceType.PATH, "/p")),
    ]
)
ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=4).map(
    lambda pairs: Ranges.of((begin, begin + length) for begin, length in pairs)
)
scalar_entries = st.builds(
    Resource,
    st.builds(
        ResourceIdentity,
        name=st.sampled_from(["cpus", "mem"]),
        type=st.just(ValueType.SCALAR),
        reservations=stacks,
        is_revocable=st.booleans(),
        allocation_role=st.sampled_from([None, "a"]),
    ),
    st.integers(0, 5000),
)
disk_entries = st.builds(
    Resource,
    st.builds(
        ResourceIdentity,
        name=st.just("disk"),
        type=st.just(ValueType.SCALAR),
        disk=disks,
        is_shared=st.booleans(),
    ),
    st.sampled_from([1000, 2000]),
)
range_entries = st.builds(Resource, st.just(ResourceIdentity("ports", ValueType.RANGES)), ranges)
set_entries = st.builds(
    Resource,
    st.just(ResourceIdentity("tags", ValueType.SET)),
    st.sets(st.sampled_from("abcde")).map(Items.of),
)
additive = st.lists(st.one_of(scalar_entries, disk_entries), max_size=6).map(Resources)
"""Bundles whose amounts add up; ranges and sets do not, they unite."""
anything = st.lists(
    st.one_of(scalar_entries, disk_entries, range_entries, set_entries), max_size=6
).map(Resources)


@given(anything, anything, anything)
def test_addition_is_commutative_and_associative(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + EMPTY == a
    assert hash(a + b) == hash(b + a)


@given(anything, anything)
def test_a_sum_contains_its_parts(a, b):
    assert (a + b).contains(a)
    assert (a + b).contains(b)
    assert a.contains(EMPTY)


@given(additive, additive)
def test_subtraction_undoes_addition(a, b):
    assert (a + b) - b == a


@given(anything, anything)
def test_what_is_contained_can_be_taken_and_put_back(a, b):
    if a.contains(b):
        assert (a - b) + b == a
    else:
        with pytest.raises(ResourcesNotContained):
            _ = a - b


@given(anything, anything)
def test_containing_each_other_means_being_equal(a, b):
    assert (a.contains(b) and b.contains(a)) == (a == b)


@given(anything, anything)
def test_saturating_subtraction_takes_what_is_there(a, b):
    rest = a.minus_up_to(b)
    assert a.contains(rest)
    assert (rest == a - b) if a.contains(b) else True
    assert not (a - rest).minus_up_to(b)


@given(additive.filter(lambda r: all(not e.identity.is_shared for e in r)), additive)
def test_quantities_add_up(a, b):
    for name in ("cpus", "mem"):
        assert (a + b).scalar_milli(name) == a.scalar_milli(name) + b.scalar_milli(name)
    assert all(milli > 0 for milli in (a + b).quantities().values())


@given(anything)
def test_reservation_views_split_the_whole(a):
    parts = [a.unreserved(), *(a.reserved_to(role) for role in a.reserved_roles())]
    assert sum(parts, EMPTY) == a
    assert a.contains(a.usable_by("a/b"))
    assert a.usable_by("a/b").contains(a.usable_by("a"))


@given(anything)
def test_allocation_marks_come_and_go(a):
    plain = a.unallocated()
    assert plain.allocated_to("r").unallocated() == plain
    assert plain.allocated_to("r").quantities() == plain.quantities()
    assert plain.unallocated() == plain


@given(anything)
def test_the_wire_keeps_everything(a):
    assert resources_from_pb(resources_to_pb(a, refined=True)) == a


@given(st.lists(st.one_of(scalar_entries, range_entries, set_entries), max_size=6))
def test_plain_resources_print_as_the_flag_reads_them(entries):
    plain = Resources(
        Resource(ResourceIdentity(e.name, e.type, e.reservations[:1]), e.value)
        for e in entries
        if all(r == Reservation(r.role) for r in e.reservations[:1])
    )
    assert Resources.parse(str(plain)) == plain


@given(st.text(alphabet='cpusmem:;()[]{}*/-., 0123456789eE"\\ näé\n\x00', max_size=40))
def test_any_text_is_read_or_refused_with_one_line(text):
    refusal = None
    try:
        parse_resources(text)
    except InvalidInput as error:
        refusal = error
    assert refusal is None or (refusal.field and "\n" not in str(refusal))
