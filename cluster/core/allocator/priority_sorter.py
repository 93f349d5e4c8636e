"""Strict priority: among siblings the higher weight is served first, whatever it holds already.

Weights are priorities here. Equal ones (all clients are equal at first, and the frameworks of one
role always are) are served by dominant share, then by name. A client of low priority gets what
those above it refuse or do not want, which can be nothing for ever: limits on those above, or a
guarantee for it, are the way to bound that.

Differs from Mesos, which has no such sorter.
"""

import random
from collections.abc import Iterator

from cluster.core.allocator.sorter import ClusterTotals
from cluster.core.allocator.tree_sorter import Node, TreeSorter

_Rank = tuple[float, int, str]
"""Priority (negated), share in whole units, name."""


class PrioritySorter(TreeSorter[Node]):
    """A :class:`~cluster.core.allocator.sorter.Sorter` by priority; ties by dominant share.

    The order of siblings is remembered; a change among them costs a sort of an almost sorted list
    when next asked for.
    """

    def __init__(self, totals: ClusterTotals, *, is_hierarchical: bool = True) -> None:
        super().__init__(totals, Node, is_hierarchical=is_hierarchical)
        self._ranks: dict[str, _Rank] = {}
        """By path; one that is missing is computed when asked for."""
        self._sorted: dict[str, tuple[Node, ...]] = {}
        """By path of the parent, its active children."""
        self._version = totals.version
        """Version of the totals for which the ranks were computed."""

    def _siblings(self, parent: Node) -> Iterator[Node]:
        if self._version != self._totals.version:
            self._forget_ranks()
        known = self._sorted.get(parent.path)
        if known is None:
            known = tuple(sorted(parent.active.values(), key=self._rank))
            self._sorted[parent.path] = known
        return iter(known)

    def _rank(self, node: Node) -> _Rank:
        rank = self._ranks.get(node.path)
        if rank is None:
            scales = self._totals.scales
            counted = (milli * scales.get(name, 0) for name, milli in node.allocated.items())
            rank = (-self.weight(node.path), max(counted, default=0), node.name)
            self._ranks[node.path] = rank
        return rank

    def _changed(self, node: Node) -> None:
        self._ranks.pop(node.path, None)
        self._sorted.pop(node.path, None)
        if node.parent is not None:
            self._sorted.pop(node.parent.path, None)

    def _weights_changed(self) -> None:
        self._forget_ranks()

    def _forget_ranks(self) -> None:
        self._ranks.clear()
        self._sorted.clear()
        self._version = self._totals.version


def priority_sorter(
    totals: ClusterTotals, *, is_hierarchical: bool, rng: random.Random
) -> PrioritySorter:
    """A ``SorterFactory``."""
    return PrioritySorter(totals, is_hierarchical=is_hierarchical)


__all__ = ["PrioritySorter", "priority_sorter"]
