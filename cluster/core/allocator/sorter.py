"""What an allocator asks of a sorter, and the cluster total that all sorters divide by.

A sorter keeps clients (roles, or the frameworks of one role) in the order in which they are
served. The DRF sorter is in :mod:`cluster.core.allocator.drf`; others may take its place.
"""

import math
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Protocol

from cluster.model.values import Quantities


class Sorter(Protocol):
    """Clients in serving order. A client is added inactive; only active ones are served."""

    def add(self, client: str) -> None: ...
    def remove(self, client: str) -> None: ...
    def activate(self, client: str) -> None: ...
    def deactivate(self, client: str) -> None: ...

    def allocated(self, client: str, quantities: Quantities) -> None:
        """The client got one more allocation of so much."""

    def unallocated(self, client: str, quantities: Quantities) -> None:
        """So much of what the client held came back."""

    def update_weights(self, weights: Mapping[str, float]) -> None:
        """Set weights by client path; others keep theirs."""

    def order(self) -> Iterator[str]:
        """Active clients, most deserving first.

        Bookings made while iterating take effect at the next call, not in this iteration. Adding
        and removing clients while iterating is not allowed.
        """

    def share(self, client: str) -> Fraction:
        """Exact dominant share of the client, before weighing: 0 to 1."""

    def allocation(self, client: str) -> Quantities:
        """What the client holds, in thousandths."""

    @property
    def clients(self) -> Iterator[str]:
        """All clients, active or not, in the order they were added."""

    @property
    def is_drawn(self) -> bool:
        """Whether each call of ``order`` draws lots, so that nobody has a place of his own."""

    @property
    def has_clients(self) -> bool: ...

    @property
    def has_active(self) -> bool: ...

    def __contains__(self, client: str) -> bool: ...
    def is_active(self, client: str) -> bool: ...

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when the books contradict themselves."""


class SorterFactory(Protocol):
    """Makes a sorter: how one kind takes the place of another."""

    def __call__(
        self, totals: "ClusterTotals", *, is_hierarchical: bool, rng: random.Random
    ) -> Sorter:
        """An empty sorter.

        Args:
            totals: what shares are fractions of; shared by all sorters of an allocator.
            is_hierarchical: whether ``/`` in a client's name separates levels.
            rng: for sorters that draw; shared by all sorters of an allocator.
        """


class ClusterTotals:
    """Scalars of the whole cluster, and whole-number scales that make shares comparable.

    The share of a client is the maximum of ``allocated[r] / total[r]``. With ``unit`` the least
    common multiple of all totals, ``allocated[r] * scale[r]`` where ``scale[r] = unit / total[r]``
    is that share counted in units of ``1 / unit``: a whole number, exact, and comparable across
    resources. Names without total, and excluded ones, have no scale and count for nothing.

    ``version`` grows with every change; sorters compare it to see that their shares are stale.
    """

    __slots__ = ("_excluded", "_milli", "_scales", "_unit", "version")

    def __init__(self, excluded: frozenset[str] = frozenset()) -> None:
        self._excluded = excluded
        self._milli: dict[str, int] = {}
        self._scales: dict[str, int] | None = None
        self._unit = 1
        self.version = 0

    def add(self, quantities: Quantities) -> None:
        for name, milli in quantities.items():
            self._milli[name] = self._milli.get(name, 0) + milli
        self._changed()

    def subtract(self, quantities: Quantities) -> None:
        for name, milli in quantities.items():
            self._milli[name] -= milli
            if not self._milli[name]:
                del self._milli[name]
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._scales = None

    @property
    def milli(self) -> Quantities:
        """Totals by name, in thousandths."""
        return self._milli

    @property
    def scales(self) -> Mapping[str, int]:
        """Name to scale; see the class."""
        if self._scales is None:
            counted = {n: milli for n, milli in self._milli.items() if n not in self._excluded}
            self._unit = math.lcm(*counted.values())
            self._scales = {name: self._unit // milli for name, milli in counted.items()}
        return self._scales

    def share(self, quantities: Quantities) -> Fraction:
        """Dominant share of so much: the largest fraction of any one counted resource."""
        scales = self.scales
        counted = (milli * scales.get(name, 0) for name, milli in quantities.items())
        return Fraction(max(counted, default=0), self._unit)


__all__ = ["ClusterTotals", "Sorter", "SorterFactory"]
