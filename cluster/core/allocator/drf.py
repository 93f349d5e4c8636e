"""Dominant resource fairness over a tree of clients, kept sorted as it changes.

Siblings are served by share divided by weight, then by the number of allocations made so far, then
by name; a weight belongs to a path, and the virtual leaf ``a/.`` has weight 1.

Every node keeps its active children in a sorted list. What a booking changes on the path from its
leaf to the root is noted, and moved by a binary search in its own list when the order is next asked
for; so many bookings of one client cost one move, and a list nobody asks for costs nothing. All
shares change together when the cluster's total or a weight changes: then each list is rebuilt once,
when next asked for.

Shares are compared as whole numbers (see ``ClusterTotals``); weights are exact fractions, read as
the decimals they print as, and brought to whole numbers by the least common multiple of their
numerators among siblings. No rounding can swap two clients or break a tie.

Source: mesos ``sorter/drf``; Ghodsi et al., Dominant Resource Fairness, NSDI 2011, §4;
allocator.md §5.1.
"""

import math
import random
from bisect import bisect_left, insort
from collections.abc import Iterator
from fractions import Fraction
from typing import Self

from cluster.core.allocator.sorter import ClusterTotals
from cluster.core.allocator.tree_sorter import Node, TreeSorter
from cluster.errors import InvariantBroken

_NO_WEIGHT = Fraction(1)
_NEVER = -1

_Entry = tuple[int, int, str]
"""What siblings are sorted by: weighted share, allocations so far, name."""


class _DrfNode(Node):
    """A node with its place among its siblings, and the order of its children."""

    __slots__ = ("entry", "factor", "order", "outdated", "version", "weighed")

    def __init__(self, name: str, parent: Self | None) -> None:
        super().__init__(name, parent)
        self.entry: _Entry | None = None
        """Where this node stands in its parent's order; None when it is not in there."""
        self.factor = 1
        """Least common multiple of the numerators of the siblings' weights, by this weight."""
        self.order: list[_Entry] = []
        """Entries of the active children, sorted."""
        self.outdated: dict[_DrfNode, None] = {}
        """Children whose entry is not what it should be."""
        self.version = _NEVER
        """Version of the totals for which the order was computed."""
        self.weighed = _NEVER
        """Version of the weights for which the factors of the children were."""


class DrfSorter(TreeSorter[_DrfNode]):
    """A :class:`~cluster.core.allocator.sorter.Sorter` by weighted dominant share.

    Args:
        totals: what shares are fractions of; may be shared among sorters.
        is_hierarchical: whether ``/`` in a client's name separates levels (roles) or not
            (framework ids).
    """

    def __init__(self, totals: ClusterTotals, *, is_hierarchical: bool = True) -> None:
        super().__init__(totals, _DrfNode, is_hierarchical=is_hierarchical)
        self._exact_weights: dict[str, Fraction] = {}
        self._weights_version = 0

    # Told by the tree ---------------------------------------------------------------------------

    def _changed(self, node: _DrfNode) -> None:
        if node.parent is not None:
            node.parent.outdated[node] = None

    def _weights_changed(self) -> None:
        self._exact_weights = {p: Fraction(repr(float(w))) for p, w in self._weights.items()}
        self._weights_version += 1

    def _new_child(self, parent: _DrfNode, name: str) -> _DrfNode:
        parent.weighed = _NEVER
        return super()._new_child(parent, name)

    def _drop_child(self, parent: _DrfNode, child: _DrfNode) -> None:
        super()._drop_child(parent, child)
        self._take_out(child, parent.order)
        parent.outdated.pop(child, None)

    # Order --------------------------------------------------------------------------------------

    def _siblings(self, parent: _DrfNode) -> Iterator[_DrfNode]:
        if len(parent.active) < 2:
            yield from tuple(parent.active.values())
            return
        self._settle(parent)
        children = parent.children
        # Bookings made meanwhile only move nodes on levels entered already.
        for _, _, name in tuple(parent.order):
            yield children[name]

    def _settle(self, parent: _DrfNode) -> None:
        """Bring the order of the children up to date."""
        if not self._is_current(parent):
            self._rebuild(parent)
        elif parent.outdated:
            for node in parent.outdated:
                self._move(node, parent.order)
        parent.outdated.clear()

    def _is_current(self, parent: _DrfNode) -> bool:
        """Whether the order is right but for children that are known to be outdated."""
        return parent.version == self._totals.version and parent.weighed == self._weights_version

    def _move(self, node: _DrfNode, order: list[_Entry]) -> None:
        """Put one node where it now belongs among its siblings."""
        self._take_out(node, order)
        if node.is_served:
            node.entry = self._entry_of(node)
            insort(order, node.entry)

    def _take_out(self, node: _DrfNode, order: list[_Entry]) -> None:
        if node.entry is not None:
            del order[bisect_left(order, node.entry)]
            node.entry = None

    def _entry_of(self, node: _DrfNode) -> _Entry:
        scales = self._totals.scales
        share = 0
        for name, milli in node.allocated.items():
            scaled = milli * scales.get(name, 0)
            if scaled > share:
                share = scaled
        return (share * node.factor, node.allocations, node.name)

    def _rebuild(self, parent: _DrfNode) -> None:
        """Sort anew after the totals, the weights or the children changed."""
        if parent.weighed != self._weights_version:
            self._weigh_children(parent)
        parent.order = []
        for node in parent.children.values():
            node.entry = self._entry_of(node) if node.is_served else None
            if node.entry is not None:
                parent.order.append(node.entry)
        parent.order.sort()
        parent.version = self._totals.version

    def _weigh_children(self, parent: _DrfNode) -> None:
        weights = [self._exact_weights.get(n.path, _NO_WEIGHT) for n in parent.children.values()]
        multiple = math.lcm(*(weight.numerator for weight in weights))
        for child, weight in zip(parent.children.values(), weights, strict=True):
            child.factor = multiple // weight.numerator * weight.denominator
        parent.weighed = self._weights_version

    # Invariants ---------------------------------------------------------------------------------

    def _check_inner(self, node: _DrfNode) -> None:
        super()._check_inner(node)
        if not self._is_current(node):
            return
        for child in node.children.values():
            entry = self._entry_of(child) if child.is_served else None
            if child.entry != entry and child not in node.outdated:
                raise InvariantBroken(f"sorter node {child.path} is outdated and nobody knows")
        entries = (child.entry for child in node.children.values())
        if node.order != sorted(entry for entry in entries if entry is not None):
            raise InvariantBroken(f"sorter node {node.path} has its children in a wrong order")


def drf_sorter(totals: ClusterTotals, *, is_hierarchical: bool, rng: random.Random) -> DrfSorter:
    """The default :class:`~cluster.core.allocator.sorter.SorterFactory`; nothing is drawn."""
    del rng
    return DrfSorter(totals, is_hierarchical=is_hierarchical)


__all__ = ["DrfSorter", "drf_sorter"]
