"""A weighted random order instead of shares.

Every call of ``order`` draws anew, on each level of the tree by itself: among siblings, the chance
of the first place is proportional to weight, then the same among the rest. Shares are known but
decide nothing. It takes away that the same client is always asked first, at the price of fairness
in the small: over many offers each gets its weight's part.

The draw is a race: everybody runs for an exponentially distributed time with the weight as rate,
the first to arrive is served first (the same as ordering by ``u ** (1 / weight)``, largest first,
and exact for weights far apart). It is made lazily, because mostly the first few are enough.

Source: mesos ``sorter/random``; Efraimidis and Spirakis, Weighted random sampling with a reservoir,
2006; allocator.md §5.2.
"""

import random
from collections.abc import Iterator
from heapq import heapify, heappop

from cluster.core.allocator.sorter import ClusterTotals
from cluster.core.allocator.tree_sorter import Node, TreeSorter


class RandomSorter(TreeSorter[Node]):
    """A :class:`~cluster.core.allocator.sorter.Sorter` that draws lots.

    Args:
        totals: what shares are fractions of.
        rng: draws the lots; equal seeds and equal calls give equal orders.
        is_hierarchical: whether ``/`` in a client's name separates levels.
    """

    def __init__(
        self, totals: ClusterTotals, rng: random.Random, *, is_hierarchical: bool = True
    ) -> None:
        super().__init__(totals, Node, is_hierarchical=is_hierarchical)
        self._rng = rng

    def _siblings(self, parent: Node) -> Iterator[Node]:
        if len(parent.active) == 1:
            yield from tuple(parent.active.values())
        elif self._weights:
            yield from self._race(parent)
        else:
            yield from self._shuffled(list(parent.active.values()))

    @property
    def is_drawn(self) -> bool:
        return True

    def _changed(self, node: Node) -> None:
        """Nothing is remembered from one draw to the next."""

    def _weights_changed(self) -> None:
        """Nothing is remembered from one draw to the next."""

    def _race(self, parent: Node) -> Iterator[Node]:
        racers = dict(parent.active)
        arrivals = [(self._rng.expovariate(self.weight(n.path)), n.name) for n in racers.values()]
        heapify(arrivals)
        while arrivals:
            yield racers[heappop(arrivals)[1]]

    def _shuffled(self, nodes: list[Node]) -> Iterator[Node]:
        """All weights are equal: a shuffle, of which only what is asked for is done."""
        for left in range(len(nodes), 0, -1):
            index = int(self._rng.random() * left)
            yield nodes[index]
            nodes[index] = nodes[left - 1]


def random_sorter(
    totals: ClusterTotals, *, is_hierarchical: bool, rng: random.Random
) -> RandomSorter:
    """A ``SorterFactory``."""
    return RandomSorter(totals, rng, is_hierarchical=is_hierarchical)


__all__ = ["RandomSorter", "random_sorter"]
