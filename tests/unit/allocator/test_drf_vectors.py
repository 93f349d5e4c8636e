"""The worked examples of allocator.md §8 against the production sorter."""

from collections import Counter
from fractions import Fraction

import pytest

from cluster.core.allocator import ClusterTotals, DrfSorter
from cluster.errors import InvalidInput, InvariantBroken
from tests.unit.allocator.filling import fill, thousandths

A = thousandths(cpus=1, mem=4)
B = thousandths(cpus=3, mem=1)


def test_the_worked_example_step_by_step():
    sorter, steps = fill(thousandths(cpus=9, mem=18), {"A": A, "B": B})
    table = [
        (step.client, step.used["cpus"], step.used["mem"], sorter.share("A"), sorter.share("B"))
        for step in steps
    ]
    assert table == [
        ("A", 1000, 4000, Fraction(2, 9), Fraction(0)),
        ("B", 4000, 5000, Fraction(2, 9), Fraction(1, 3)),
        ("A", 5000, 9000, Fraction(4, 9), Fraction(1, 3)),
        ("B", 8000, 10000, Fraction(4, 9), Fraction(2, 3)),
        ("A", 9000, 14000, Fraction(2, 3), Fraction(2, 3)),
    ]


@pytest.mark.parametrize(
    ("capacity", "weights", "demands", "tasks", "used"),
    [
        ((90, 180), {}, {"A": A, "B": B}, {"A": 30, "B": 20}, (90, 140)),
        ((90, 180), {"A": 2.0, "B": 1.0}, {"A": A, "B": B}, {"A": 41, "B": 16}, (89, 180)),
        (
            (25, 100),
            {},
            {"A": thousandths(cpus=1, mem=1), "B": thousandths(cpus=1, mem=5)},
            {"A": 14, "B": 11},
            (25, 69),
        ),
    ],
)
def test_more_vectors(capacity, weights, demands, tasks, used):
    _, steps = fill(thousandths(cpus=capacity[0], mem=capacity[1]), demands, weights)
    done = list(steps)
    assert Counter(step.client for step in done) == tasks
    assert done[-1].used == thousandths(cpus=used[0], mem=used[1])


def test_three_clients_with_two_resources_each_use_everything():
    capacity = thousandths(x=100, y=100, z=100)
    demands = {
        "A": thousandths(x=1, y=1),
        "B": thousandths(y=1, z=1),
        "C": thousandths(x=1, z=1),
    }
    _, steps = fill(capacity, demands)
    done = list(steps)
    assert Counter(step.client for step in done) == {"A": 50, "B": 50, "C": 50}
    assert done[-1].used == capacity


@pytest.mark.parametrize(
    ("weights", "units"),
    [
        ({}, {"b": 6, "a/x": 3, "a/y": 3}),
        ({"b": 2.0}, {"b": 8, "a/x": 2, "a/y": 2}),
        ({"a/x": 2.0}, {"b": 6, "a/x": 4, "a/y": 2}),
        # Weights count between siblings only: a leaf's weight does not help its parent.
        ({"a/x": 100.0, "a/y": 100.0}, {"b": 6, "a/x": 3, "a/y": 3}),
        ({"a": 3.0}, {"b": 3, "a/x": 5, "a/y": 4}),
    ],
)
def test_hierarchy_of_twelve_equal_units(weights, units):
    unit = thousandths(cpus=1)
    demands = dict.fromkeys(("a/x", "a/y", "b"), unit)
    _, steps = fill(thousandths(cpus=12), demands, weights)
    assert Counter(step.client for step in steps) == units


def test_a_role_with_roles_below_it_competes_with_them_as_one_of_them():
    demands = dict.fromkeys(("a", "a/x", "a/y", "b"), thousandths(cpus=1))
    _, steps = fill(thousandths(cpus=12), demands, {"a": 2.0, "a/x": 2.0})
    # a : b = 2 : 1, and inside a the client "a" has weight 1 (path a/.), a/x 2, a/y 1.
    assert Counter(step.client for step in steps) == {"b": 4, "a": 2, "a/x": 4, "a/y": 2}


def test_one_resource_is_max_min_fair():
    limits = {"A": 2000, "B": 2600, "C": 4000, "D": 5000}
    totals = ClusterTotals()
    totals.add({"cpus": 10_000})
    sorter = DrfSorter(totals)
    for client in limits:
        sorter.add(client)
        sorter.activate(client)
    got: Counter[str] = Counter()
    for _ in range(10_000):
        client = next(sorter.order())
        sorter.allocated(client, {"cpus": 1})
        got[client] += 1
        if got[client] == limits[client]:
            sorter.deactivate(client)
    assert got == {"A": 2000, "B": 2600, "C": 2700, "D": 2700}


# Rules between siblings


def sorter_of(*clients: str, **milli: int) -> tuple[ClusterTotals, DrfSorter]:
    totals = ClusterTotals()
    totals.add(milli or {"cpus": 100})
    sorter = DrfSorter(totals)
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
    return totals, sorter


def test_ties_go_to_fewer_allocations_then_to_the_name():
    _, sorter = sorter_of("b", "a", "c")
    assert list(sorter.order()) == ["a", "b", "c"]
    sorter.allocated("a", {"cpus": 1})
    sorter.unallocated("a", {"cpus": 1})
    assert list(sorter.order()) == ["b", "c", "a"]


def test_thirds_tie_exactly():
    """With floats 0.1 + 0.1 + 0.1 exceeds 0.3; whole numbers know it is the same share."""
    _, sorter = sorter_of("a", "b", cpus=1000)
    for _ in range(3):
        sorter.allocated("b", {"cpus": 100})
    sorter.allocated("a", {"cpus": 300})
    assert sorter.share("a") == sorter.share("b") == Fraction(3, 10)
    assert list(sorter.order()) == ["a", "b"]  # the tie goes to the single allocation


def test_decimal_weights_tie_exactly():
    _, sorter = sorter_of("a", "b", cpus=1000)
    sorter.update_weights({"a": 0.1, "b": 0.3})
    sorter.allocated("a", {"cpus": 100})
    sorter.allocated("b", {"cpus": 300})
    sorter.allocated("b", {"mem": 1})  # counts as an allocation, not as share
    assert list(sorter.order()) == ["a", "b"]
    sorter.update_weights({"a": 0.1000001})
    assert list(sorter.order()) == ["a", "b"]
    sorter.update_weights({"a": 0.0999999})
    assert list(sorter.order()) == ["b", "a"]


def test_only_active_clients_are_served():
    _, sorter = sorter_of("a", "b/c", "b/d")
    sorter.deactivate("b/c")
    assert list(sorter.order()) == ["a", "b/d"]
    sorter.deactivate("b/d")
    assert list(sorter.order()) == ["a"]
    sorter.activate("b/c")
    assert list(sorter.order()) == ["a", "b/c"]
    assert sorter.has_active
    sorter.check_invariants()


def test_inactive_clients_still_weigh_on_their_parents():
    _, sorter = sorter_of("a/x", "a/y", "b")
    sorter.allocated("a/x", {"cpus": 10})
    sorter.deactivate("a/x")
    assert list(sorter.order()) == ["b", "a/y"]
    assert sorter.path_share("a") == Fraction(1, 10)


def test_bookings_while_iterating_count_from_the_next_time_on():
    _, sorter = sorter_of("a/x", "a/y", "b/x", "b/y")
    seen = []
    for client in sorter.order():
        seen.append(client)
        sorter.allocated(client, {"cpus": 1})
    assert seen == ["a/x", "a/y", "b/x", "b/y"]


def test_a_grown_cluster_reorders():
    totals, sorter = sorter_of("a", "b", cpus=10, mem=100)
    sorter.allocated("a", {"cpus": 5})
    sorter.allocated("b", {"mem": 60})
    assert list(sorter.order()) == ["a", "b"]
    totals.add({"mem": 100})
    assert list(sorter.order()) == ["b", "a"]
    totals.subtract({"mem": 100})
    assert list(sorter.order()) == ["a", "b"]


def test_excluded_and_absent_resources_count_for_nothing():
    totals = ClusterTotals(excluded=frozenset({"gpus"}))
    totals.add({"cpus": 10, "gpus": 1})
    sorter = DrfSorter(totals)
    sorter.add("a")
    sorter.allocated("a", {"gpus": 1, "unknown": 7, "cpus": 1})
    assert sorter.share("a") == Fraction(1, 10)


def test_an_empty_cluster_has_no_shares():
    sorter = DrfSorter(ClusterTotals())
    sorter.add("a")
    sorter.activate("a")
    assert sorter.share("a") == 0
    assert list(sorter.order()) == ["a"]


# The tree


def test_a_leaf_becomes_inner_and_a_leaf_again():
    _, sorter = sorter_of("a")
    sorter.allocated("a", {"cpus": 10})
    sorter.add("a/b")
    sorter.activate("a/b")
    sorter.check_invariants()
    assert list(sorter.order()) == ["a/b", "a"]
    assert sorter.share("a") == Fraction(1, 10)
    sorter.remove("a/b")
    sorter.check_invariants()
    assert list(sorter.order()) == ["a"]
    assert sorter.share("a") == Fraction(1, 10)


def test_removing_a_deep_client_removes_the_way_to_it():
    _, sorter = sorter_of("a/b/c/d", "x")
    sorter.allocated("a/b/c/d", {"cpus": 1})
    sorter.remove("a/b/c/d")
    sorter.check_invariants()
    assert list(sorter.order()) == ["x"]
    assert list(sorter.clients) == ["x"]
    sorter.add("a")
    sorter.activate("a")
    assert list(sorter.order()) == ["a", "x"]


def test_flat_sorters_do_not_read_slashes():
    totals = ClusterTotals()
    sorter = DrfSorter(totals, is_hierarchical=False)
    for client in ("a/b", "a"):
        sorter.add(client)
        sorter.activate(client)
    assert list(sorter.order()) == ["a", "a/b"]


def test_deep_trees_need_no_deep_stack():
    deep = "/".join("r" * 2000)
    _, sorter = sorter_of(deep)
    sorter.allocated(deep, {"cpus": 1})
    assert list(sorter.order()) == [deep]
    sorter.check_invariants()


def test_misuse_is_reported():
    _, sorter = sorter_of("a")
    with pytest.raises(InvariantBroken, match="twice"):
        sorter.add("a")
    with pytest.raises(InvariantBroken, match="unknown"):
        sorter.activate("b")
    with pytest.raises(InvariantBroken, match="does not hold"):
        sorter.unallocated("a", {"cpus": 1})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_weights_are_refused_as_a_whole(weight):
    _, sorter = sorter_of("a", "b")
    sorter.allocated("a", {"cpus": 1})
    with pytest.raises(InvalidInput, match="weight of b"):
        sorter.update_weights({"a": 0.001, "b": weight})
    sorter.allocated("b", {"cpus": 2})
    assert list(sorter.order()) == ["a", "b"]
