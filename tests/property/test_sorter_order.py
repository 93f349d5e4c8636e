"""Every sorter against a sort from scratch, after any sequence of changes."""

import random
from fractions import Fraction

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.core.allocator import ClusterTotals, Sorter
from cluster.core.allocator.sorters import SORTERS

CLIENTS = ["a", "a/x", "a/y", "a/x/p", "b", "b/z", "c"]
PATHS = [*CLIENTS, "a/.", "b/."]
quantities = st.dictionaries(
    st.sampled_from(["cpus", "mem", "gpus"]), st.integers(1, 7), min_size=1, max_size=2
)


class SortFromScratch:
    """The rules of allocator.md §5.1 written down directly, without any state but the facts."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}
        self.weights: dict[str, Fraction] = {}
        self.held: dict[str, dict[str, int]] = {}
        self.active: set[str] = set()
        self.allocations: dict[str, int] = {}
        """By node path, the virtual leaf ``a/.`` apart from ``a``."""

    def leaf_path(self, client: str) -> str:
        below = any(other.startswith(f"{client}/") for other in self.held)
        return f"{client}/." if below else client

    def paths(self, client: str) -> list[str]:
        """Nodes on the way to the client, top first."""
        parts = self.leaf_path(client).split("/")
        return ["/".join(parts[: n + 1]) for n in range(len(parts))]

    def nodes(self) -> set[str]:
        return {path for client in self.held for path in self.paths(client)}

    def reshape(self, before: set[str], added: str | None = None) -> None:
        """New nodes have no allocations, but a leaf pushed below itself keeps its count."""
        nodes = self.nodes()
        for path in nodes - before:
            is_pushed_down = path.endswith("/.") and path[:-2] != added
            self.allocations[path] = self.allocations[path[:-2]] if is_pushed_down else 0
        for path in before - nodes:
            del self.allocations[path]

    def share(self, path: str) -> Fraction:
        held: dict[str, int] = {}
        for client in self.held:
            if path in self.paths(client):
                for name, milli in self.held[client].items():
                    held[name] = held.get(name, 0) + milli
        shares = [Fraction(milli, self.total[n]) for n, milli in held.items() if n in self.total]
        return max(shares, default=Fraction(0)) / self.weights.get(path, Fraction(1))

    def order(self) -> list[str]:
        return sorted(
            self.active, key=lambda client: [self.rank(path) for path in self.paths(client)]
        )

    def rank(self, path: str) -> tuple[Fraction, Fraction | int, str]:
        return (self.share(path), self.allocations[path], path.rpartition("/")[2])


class PriorityFromScratch(SortFromScratch):
    def rank(self, path: str) -> tuple[Fraction, Fraction | int, str]:
        weight = self.weights.get(path, Fraction(1))
        return (-weight, self.share(path) * weight, path.rpartition("/")[2])


class SorterMachine(RuleBasedStateMachine):
    name = "drf"
    new_oracle: type[SortFromScratch] = SortFromScratch

    def __init__(self) -> None:
        super().__init__()
        self.totals = ClusterTotals(excluded=frozenset({"gpus"}))
        self.sorter: Sorter = SORTERS[self.name](
            self.totals, is_hierarchical=True, rng=random.Random(1)
        )
        self.oracle = self.new_oracle()

    @rule(amount=quantities)
    def grow(self, amount):
        self.totals.add(amount)
        for name, milli in amount.items():
            if name != "gpus":
                self.oracle.total[name] = self.oracle.total.get(name, 0) + milli

    @precondition(lambda self: self.oracle.total)
    @rule(data=st.data())
    def shrink(self, data):
        name = data.draw(st.sampled_from(sorted(self.oracle.total)))
        milli = data.draw(st.integers(1, self.oracle.total[name]))
        self.totals.subtract({name: milli})
        self.oracle.total[name] -= milli
        if not self.oracle.total[name]:
            del self.oracle.total[name]

    @rule(client=st.sampled_from(CLIENTS), is_active=st.booleans())
    def add(self, client, is_active):
        if client in self.oracle.held:
            return
        before = self.oracle.nodes()
        self.sorter.add(client)
        self.oracle.held[client] = {}
        self.oracle.reshape(before, added=client)
        if is_active:
            self.activate(client)

    @rule(client=st.sampled_from(CLIENTS))
    def remove(self, client):
        if client not in self.oracle.held:
            return
        before = self.oracle.nodes()
        self.sorter.remove(client)
        del self.oracle.held[client]
        self.oracle.active.discard(client)
        self.oracle.reshape(before)

    @rule(client=st.sampled_from(CLIENTS))
    def activate(self, client):
        if client in self.oracle.held:
            self.sorter.activate(client)
            self.oracle.active.add(client)

    @rule(client=st.sampled_from(CLIENTS))
    def deactivate(self, client):
        if client in self.oracle.held:
            self.sorter.deactivate(client)
            self.oracle.active.discard(client)

    @rule(client=st.sampled_from(CLIENTS), amount=quantities)
    def allocate(self, client, amount):
        if client not in self.oracle.held:
            return
        self.sorter.allocated(client, amount)
        held = self.oracle.held[client]
        for name, milli in amount.items():
            held[name] = held.get(name, 0) + milli
        for path in self.oracle.paths(client):
            self.oracle.allocations[path] += 1

    @rule(client=st.sampled_from(CLIENTS), data=st.data())
    def unallocate(self, client, data):
        held = self.oracle.held.get(client)
        if not held:
            return
        name = data.draw(st.sampled_from(sorted(held)))
        milli = data.draw(st.integers(1, held[name]))
        self.sorter.unallocated(client, {name: milli})
        held[name] -= milli
        if not held[name]:
            del held[name]

    @rule(path=st.sampled_from(PATHS), weight=st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0, 3.0]))
    def weigh(self, path, weight):
        self.sorter.update_weights({path: weight})
        self.oracle.weights[path] = Fraction(str(weight))

    @rule()
    def serve(self):
        """Asking now and then leaves stretches in which changes pile up unasked."""
        self.check_order(list(self.sorter.order()))
        for client in self.oracle.held:
            path = self.oracle.leaf_path(client)
            weight = self.oracle.weights.get(path, Fraction(1))
            assert self.sorter.share(client) == self.oracle.share(path) * weight

    def check_order(self, order):
        assert order == self.oracle.order()

    @invariant()
    def books_are_consistent(self):
        self.sorter.check_invariants()
        assert set(self.sorter.clients) == set(self.oracle.held)
        assert self.sorter.has_active == bool(self.oracle.active)

    def teardown(self):
        self.serve()


class PriorityMachine(SorterMachine):
    name = "priority"
    new_oracle = PriorityFromScratch


class RandomMachine(SorterMachine):
    name = "random"

    def check_order(self, order):
        """Any order that serves everybody once and keeps subtrees together."""
        assert sorted(order) == sorted(self.oracle.active)
        for path in self.oracle.nodes():
            served = [path in self.oracle.paths(client) for client in order]
            runs = "".join("x" if below else " " for below in served).split()
            assert len(runs) <= 1, (path, order)


SorterMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
PriorityMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
RandomMachine.TestCase.settings = PriorityMachine.TestCase.settings
TestDrfOrder = SorterMachine.TestCase
TestPriorityOrder = PriorityMachine.TestCase
TestRandomOrder = RandomMachine.TestCase
