"""What every sorter must do, and what each one adds: random chances, strict priorities."""

import itertools
import random
from collections import Counter
from fractions import Fraction

import pytest

from cluster.core.allocator import ClusterTotals, Sorter, WeightsUpdated
from cluster.core.allocator.sorters import SORTERS
from cluster.errors import InvalidInput, InvariantBroken
from tests.unit.allocator.harness import Harness, takers

DRAWS = 4000
# Three standard deviations of a share drawn so often are at most 3 * 0.5 / sqrt(4000) = 0.024.
TOLERANCE = 0.025

every_sorter = pytest.mark.parametrize("name", SORTERS)


def sorter_of(name: str, *clients: str, is_hierarchical: bool = True, seed: int = 1, **milli: int):
    totals = ClusterTotals()
    totals.add(milli or {"cpus": 100})
    sorter: Sorter = SORTERS[name](totals, is_hierarchical=is_hierarchical, rng=random.Random(seed))
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
    return totals, sorter


# The contract


@every_sorter
def test_every_active_client_is_served_once(name):
    clients = ["a", "a/x", "a/y", "a/x/p", "b/z", "c"]
    _, sorter = sorter_of(name, *clients)
    assert sorted(sorter.order()) == sorted(clients)
    sorter.deactivate("a/x")
    sorter.deactivate("c")
    assert sorted(sorter.order()) == ["a", "a/x/p", "a/y", "b/z"]
    assert list(sorter.clients) == clients
    assert not sorter.is_active("c")
    sorter.check_invariants()


@every_sorter
def test_subtrees_keep_together(name):
    _, sorter = sorter_of(name, "a", "a/x", "a/y", "b/x", "b/y", "c")
    sorter.update_weights({"a/x": 5.0, "b": 2.0})
    for _ in range(50):
        tops = [client.partition("/")[0] for client in sorter.order()]
        changes = sum(one != other for one, other in itertools.pairwise(tops))
        assert changes == 2, tops


@every_sorter
def test_bookings_while_iterating_count_from_the_next_time_on(name):
    clients = ["a/x", "a/y", "b/x", "b/y"]
    _, sorter = sorter_of(name, *clients)
    seen = []
    for client in sorter.order():
        seen.append(client)
        sorter.allocated(client, {"cpus": 1})
        sorter.unallocated(client, {"cpus": 1})
        sorter.allocated(client, {"cpus": 2})
    assert sorted(seen) == clients
    sorter.check_invariants()


@every_sorter
def test_shares_are_exact_whatever_the_order(name):
    totals, sorter = sorter_of(name, "a", "b", cpus=10, mem=100)
    sorter.allocated("a", {"cpus": 3, "mem": 40})
    assert sorter.share("a") == Fraction(2, 5)
    assert sorter.allocation("a") == {"cpus": 3, "mem": 40}
    totals.add({"mem": 100})
    assert sorter.share("a") == Fraction(3, 10)
    sorter.unallocated("a", {"cpus": 3})
    assert sorter.allocation("a") == {"mem": 40}


@every_sorter
def test_a_leaf_becomes_inner_and_a_leaf_again(name):
    _, sorter = sorter_of(name, "a", "z")
    sorter.allocated("a", {"cpus": 10})
    sorter.add("a/b")
    sorter.check_invariants()
    assert sorted(sorter.order()) == ["a", "z"]
    sorter.activate("a/b")
    assert sorted(sorter.order()) == ["a", "a/b", "z"]
    sorter.deactivate("a")
    assert sorted(sorter.order()) == ["a/b", "z"]
    sorter.remove("a/b")
    sorter.check_invariants()
    assert list(sorter.order()) == ["z"]
    sorter.activate("a")
    assert sorter.share("a") == Fraction(1, 10)
    assert sorted(sorter.order()) == ["a", "z"]
    sorter.remove("a")
    sorter.remove("z")
    assert not sorter.has_clients
    assert not sorter.has_active
    sorter.check_invariants()


@every_sorter
def test_flat_sorters_do_not_read_slashes(name):
    _, sorter = sorter_of(name, "a/b", "a", is_hierarchical=False)
    assert sorted(sorter.order()) == ["a", "a/b"]
    sorter.check_invariants()


@every_sorter
def test_deep_trees_need_no_deep_stack(name):
    deep = "/".join("r" * 2000)
    _, sorter = sorter_of(name, deep)
    sorter.allocated(deep, {"cpus": 1})
    assert list(sorter.order()) == [deep]
    sorter.check_invariants()


@every_sorter
def test_misuse_is_reported(name):
    _, sorter = sorter_of(name, "a")
    with pytest.raises(InvariantBroken, match="twice"):
        sorter.add("a")
    with pytest.raises(InvariantBroken, match="unknown"):
        sorter.activate("b")
    with pytest.raises(InvariantBroken, match="does not hold"):
        sorter.unallocated("a", {"cpus": 1})
    with pytest.raises(InvalidInput, match="weight of a"):
        sorter.update_weights({"a": float("nan")})


@every_sorter
def test_the_allocator_serves_by_any_sorter(name):
    h = Harness(role_sorter=SORTERS[name], framework_sorter=SORTERS[name])
    for framework, role in (("f1", "a"), ("f2", "a"), ("f3", "b")):
        h.framework(framework, role)
    h.agents("cpus:1;mem:32", *(f"s{n}" for n in range(9)))
    made = h.run()
    assert len(takers(made)) == 9
    h.give_back(made[0], refuse_s=5.0)
    assert takers(h.run())[made[0].agent_id] != made[0].framework_id


# Random


def test_equal_seeds_give_equal_orders():
    def orders(seed):
        _, sorter = sorter_of("random", "a/x", "a/y", "b", "c", seed=seed)
        plain = [tuple(sorter.order()) for _ in range(20)]
        sorter.update_weights({"b": 2.0})
        return plain + [tuple(sorter.order()) for _ in range(20)]

    assert orders(3) == orders(3)
    assert orders(3) != orders(4)


def first_places(sorter) -> dict[str, float]:
    counts = Counter(next(sorter.order()) for _ in range(DRAWS))
    return {client: count / DRAWS for client, count in counts.items()}


@pytest.mark.parametrize("weights", [{}, {"a": 5.0}, {"a": 0.5, "b": 2.0}])
def test_the_chance_of_the_first_place_is_by_weight(weights):
    _, sorter = sorter_of("random", "a", "b", "c", "d")
    sorter.update_weights(weights)
    total = sum(weights.get(client, 1.0) for client in "abcd")
    for client, part in first_places(sorter).items():
        assert part == pytest.approx(weights.get(client, 1.0) / total, abs=TOLERANCE)


def test_the_second_place_is_drawn_among_the_rest_by_weight():
    _, sorter = sorter_of("random", "a", "b", "c")
    sorter.update_weights({"a": 2.0, "b": 3.0})
    seconds: Counter[str] = Counter()
    for _ in range(DRAWS):
        order = list(sorter.order())
        seconds[order[1]] += order[0] == "c"
    assert seconds["b"] / (seconds["a"] + seconds["b"]) == pytest.approx(3 / 5, abs=2 * TOLERANCE)


def test_weights_count_between_siblings_only():
    _, sorter = sorter_of("random", "a", "a/x", "a/y", "b")
    sorter.update_weights({"a": 3.0, "a/x": 2.0})
    got = first_places(sorter)
    want = {"b": 1 / 4, "a": 3 / 16, "a/x": 3 / 8, "a/y": 3 / 16}
    assert got == pytest.approx(want, abs=TOLERANCE)


def test_every_order_of_equal_clients_is_equally_likely():
    _, sorter = sorter_of("random", "a", "b", "c")
    counts = Counter(tuple(sorter.order()) for _ in range(DRAWS))
    assert len(counts) == 6
    for count in counts.values():
        assert count / DRAWS == pytest.approx(1 / 6, abs=TOLERANCE)


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e300, 1.7e308])
def test_extreme_weights_still_give_an_order(weight):
    _, sorter = sorter_of("random", "a", "b", "c")
    sorter.update_weights({"a": weight})
    firsts = {next(sorter.order()) for _ in range(200)}
    assert firsts == ({"a"} if weight > 1 else {"b", "c"})
    assert sorted(sorter.order()) == ["a", "b", "c"]


def test_bookings_do_not_change_the_chances():
    _, sorter = sorter_of("random", "a", "b")
    sorter.allocated("a", {"cpus": 90})
    assert first_places(sorter)["a"] == pytest.approx(1 / 2, abs=TOLERANCE)


def test_random_spreads_agents_over_frameworks_that_take_nothing():
    """With shares the framework with the smallest name is asked first for ever."""
    h = Harness(seed=5, framework_sorter=SORTERS["random"])
    for n in range(5):
        h.framework(f"f{n}", "a")
    h.agents("cpus:1;mem:32", "s1")
    seen: Counter[str] = Counter()
    offers = h.run()
    for _ in range(200):
        for offer in offers:
            seen[offer.framework_id] += 1
            h.give_back(offer)  # taken back: nobody refused
        offers = h.run()
    assert len(seen) == 5
    assert min(seen.values()) > 20, seen


# Priority


def test_the_higher_priority_is_served_first_whatever_it_holds():
    _, sorter = sorter_of("priority", "high", "low", "mid")
    sorter.update_weights({"high": 10.0, "mid": 1.5})
    sorter.allocated("high", {"cpus": 99})
    assert list(sorter.order()) == ["high", "mid", "low"]
    sorter.update_weights({"low": 11.0})
    assert list(sorter.order()) == ["low", "high", "mid"]
    sorter.update_weights({"low": 1.0})
    assert list(sorter.order()) == ["high", "mid", "low"]


def test_equal_priorities_go_by_share_then_by_name():
    totals, sorter = sorter_of("priority", "c", "b", "a", cpus=10, mem=100)
    assert list(sorter.order()) == ["a", "b", "c"]
    sorter.allocated("a", {"cpus": 2})
    sorter.allocated("b", {"mem": 30})
    assert list(sorter.order()) == ["c", "a", "b"]
    totals.add({"mem": 900})
    assert list(sorter.order()) == ["c", "b", "a"]
    sorter.unallocated("a", {"cpus": 2})
    assert list(sorter.order()) == ["a", "c", "b"]


def test_priorities_count_between_siblings_only():
    _, sorter = sorter_of("priority", "a/x", "a/y", "b", "a")
    sorter.update_weights({"b": 2.0, "a/y": 100.0})
    assert list(sorter.order()) == ["b", "a/y", "a", "a/x"]


def test_a_low_priority_gets_what_the_high_one_refuses():
    h = Harness(role_sorter=SORTERS["priority"])
    h.tell(WeightsUpdated({"high": 2.0}))
    h.framework("f1", "low")
    h.framework("f2", "high")
    h.agents("cpus:1;mem:32", *(f"s{n}" for n in range(4)))
    made = h.run()
    assert set(takers(made).values()) == {"f2"}
    for offer in made:
        h.give_back(offer, refuse_s=60.0)
    assert set(takers(h.run()).values()) == {"f1"}
