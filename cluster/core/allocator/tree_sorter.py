"""The books of a sorter over a tree of clients: who is below whom, who holds what, who is served.

Each component of a client's name is a node; a client that is also inner (``a`` when ``a/b``
exists) sits below itself in a virtual leaf named ``.``::

    root ── a ── .        client "a"
         │    ├─ b        client "a/b"
         │    └─ c        client "a/c"
         └─ z             client "z"

A node below the root sums what is held at and below it. Decided here: that subtrees keep together
and that only active clients are served. Not here: in which order siblings are, which is what a
sorter adds (``_siblings``).

Source: allocator.md §5.1 (tree, traversal).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final, Generic, Self, TypeVar

from cluster.core.allocator.sorter import ClusterTotals
from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.values import Quantities

VIRTUAL_LEAF: Final = "."
"""Name of the leaf that stands for a client which also has clients below it; no role has it."""

WEIGHT_DEFAULT: Final = 1.0


class Node:
    """A path component: a leaf when ``client`` is set, else inner (or the root)."""

    __slots__ = (
        "active",
        "allocated",
        "allocations",
        "children",
        "client",
        "is_active",
        "name",
        "parent",
        "path",
    )

    parent: Self | None
    children: dict[str, Self]
    active: dict[str, Self]
    """The children at or below which somebody is to be served."""

    def __init__(self, name: str, parent: Self | None) -> None:
        self.name = name
        self.parent = parent
        self.path: str = f"{parent.path}/{name}" if parent is not None and parent.path else name
        self.children = {}
        self.active = {}
        self.client: str | None = None
        self.is_active = False
        """Of a leaf: whether its client is to be served."""
        self.allocated: dict[str, int] = {}
        self.allocations = 0
        """How many were made so far."""

    @property
    def is_served(self) -> bool:
        return self.is_active or bool(self.active)


N = TypeVar("N", bound=Node)


class TreeSorter(ABC, Generic[N]):
    """A :class:`~cluster.core.allocator.sorter.Sorter` without an order of its own.

    Args:
        totals: what shares are fractions of; may be shared among sorters.
        node_type: makes a node of a name and a parent.
        is_hierarchical: whether ``/`` in a client's name separates levels (roles) or not
            (framework ids).
    """

    def __init__(self, totals: ClusterTotals, node_type: type[N], *, is_hierarchical: bool) -> None:
        self._totals = totals
        self._node_type = node_type
        self._is_hierarchical = is_hierarchical
        self._root = node_type("", None)
        self._leaves: dict[str, N] = {}
        self._weights: dict[str, float] = {}

    @abstractmethod
    def _siblings(self, parent: N) -> Iterator[N]:
        """The active children of a node in serving order, fixed when first asked for one."""

    @abstractmethod
    def _changed(self, node: N) -> None:
        """To be told: what is held below a node changed, or whether it is served.

        Of the root nobody needs to know.
        """

    @abstractmethod
    def _weights_changed(self) -> None:
        """To be told: some weights changed."""

    # Clients ------------------------------------------------------------------------------------

    def add(self, client: str) -> None:
        """Add an inactive client without allocations.

        Raises:
            InvariantBroken: it is there already.
        """
        if client in self._leaves:
            raise InvariantBroken(f"sorter client {client} is added twice")
        node = self._root
        for name in client.split("/") if self._is_hierarchical else (client,):
            if node.client is not None:
                self._split(node)
            node = node.children.get(name) or self._new_child(node, name)
        if node.children:
            node = self._new_child(node, VIRTUAL_LEAF)
        node.client = client
        self._leaves[client] = node

    def remove(self, client: str) -> None:
        """Forget a client; what it still holds is taken off the sums above it."""
        leaf = self._leaf(client)
        self.deactivate(client)
        self._subtract(leaf, dict(leaf.allocated))
        del self._leaves[client]
        leaf.client = None
        self._prune(leaf)

    def activate(self, client: str) -> None:
        leaf = self._leaf(client)
        leaf.is_active = True
        node = leaf
        while node.parent is not None:
            node.parent.active[node.name] = node
            self._changed(node)
            node = node.parent

    def deactivate(self, client: str) -> None:
        leaf = self._leaf(client)
        leaf.is_active = False
        node = leaf
        while node.parent is not None and not node.active:
            node.parent.active.pop(node.name, None)
            self._changed(node)
            node = node.parent

    def __contains__(self, client: str) -> bool:
        return client in self._leaves

    def is_active(self, client: str) -> bool:
        return self._leaf(client).is_active

    @property
    def clients(self) -> Iterator[str]:
        return iter(self._leaves)

    @property
    def is_drawn(self) -> bool:
        return False

    @property
    def has_clients(self) -> bool:
        return bool(self._leaves)

    @property
    def has_active(self) -> bool:
        return bool(self._root.active)

    # Bookings -----------------------------------------------------------------------------------

    def allocated(self, client: str, quantities: Quantities) -> None:
        node = self._leaf(client)
        parent = node.parent
        while parent is not None:
            held = node.allocated
            for name, milli in quantities.items():
                held[name] = held.get(name, 0) + milli
            node.allocations += 1
            self._changed(node)
            node, parent = parent, parent.parent

    def unallocated(self, client: str, quantities: Quantities) -> None:
        """Raises ``InvariantBroken`` when the client does not hold so much."""
        leaf = self._leaf(client)
        for name, milli in quantities.items():
            if leaf.allocated.get(name, 0) < milli:
                raise InvariantBroken(f"sorter client {client} does not hold {milli} of {name}")
        self._subtract(leaf, quantities)

    def update_weights(self, weights: Mapping[str, float]) -> None:
        """Set weights by path; 1.0 is the default of every path.

        Raises:
            InvalidInput: a weight is not a finite number above 0; nothing is changed then.
        """
        for path, weight in weights.items():
            if not math.isfinite(weight) or weight <= 0:
                rule = f"must be a finite number above 0, not {weight}"
                raise InvalidInput(f"weight of {path}", rule)
        for path, weight in weights.items():
            if weight == WEIGHT_DEFAULT:
                self._weights.pop(path, None)
            else:
                self._weights[path] = weight
        self._weights_changed()

    # Answers ------------------------------------------------------------------------------------

    def order(self) -> Iterator[str]:
        pending = [self._siblings(self._root)]
        while pending:
            for node in pending[-1]:
                if node.client is None:
                    pending.append(self._siblings(node))
                    break
                yield node.client
            else:
                pending.pop()

    def share(self, client: str) -> Fraction:
        return self._totals.share(self._leaf(client).allocated)

    def path_share(self, path: str) -> Fraction:
        """Dominant share of everything at and below a path, before weighing."""
        node = self._root
        for name in path.split("/") if self._is_hierarchical else (path,):
            node = node.children[name]
        return self._totals.share(node.allocated)

    def allocation(self, client: str) -> Quantities:
        """What the client holds, in thousandths."""
        return dict(self._leaf(client).allocated)

    def weight(self, path: str) -> float:
        return self._weights.get(path, WEIGHT_DEFAULT)

    # Tree ---------------------------------------------------------------------------------------

    def _leaf(self, client: str) -> N:
        leaf = self._leaves.get(client)
        if leaf is None:
            raise InvariantBroken(f"sorter client {client} is unknown")
        return leaf

    def _new_child(self, parent: N, name: str) -> N:
        child = parent.children[name] = self._node_type(name, parent)
        return child

    def _drop_child(self, parent: N, child: N) -> None:
        del parent.children[child.name]

    def _split(self, node: N) -> None:
        """Turn a leaf into an inner node above a virtual leaf that takes the client over."""
        leaf = self._new_child(node, VIRTUAL_LEAF)
        leaf.client, node.client = node.client, None
        assert leaf.client is not None
        self._leaves[leaf.client] = leaf
        leaf.allocated = dict(node.allocated)
        leaf.allocations = node.allocations
        leaf.is_active, node.is_active = node.is_active, False
        if leaf.is_active:
            node.active[leaf.name] = leaf
        self._changed(leaf)

    def _prune(self, node: N) -> None:
        """Remove a node without client and children, and what becomes pointless above it."""
        while node.parent is not None and node.client is None and not node.children:
            parent = node.parent
            self._drop_child(parent, node)
            node = parent
        if node.parent is not None and list(node.children) == [VIRTUAL_LEAF]:
            self._collapse(node)

    def _collapse(self, node: N) -> None:
        """Undo :meth:`_split`: the virtual leaf is alone, so its parent becomes the leaf again."""
        leaf = node.children[VIRTUAL_LEAF]
        self._drop_child(node, leaf)
        assert leaf.client is not None
        node.client = leaf.client
        node.is_active = leaf.is_active
        node.active.clear()
        self._leaves[leaf.client] = node

    def _subtract(self, leaf: N, quantities: Quantities) -> None:
        node, parent = leaf, leaf.parent
        while parent is not None:
            held = node.allocated
            for name, milli in quantities.items():
                left = held.get(name, 0) - milli
                if left:
                    held[name] = left
                else:
                    held.pop(name, None)
            self._changed(node)
            node, parent = parent, parent.parent

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when sums or marks contradict the leaves."""
        pending = [self._root]
        while pending:
            node = pending.pop()
            if node.client is None:
                self._check_inner(node)
            elif node.children or node.active or self._leaves.get(node.client) is not node:
                raise InvariantBroken(f"sorter leaf {node.path} has children or another client")
            pending.extend(node.children.values())

    def _check_inner(self, node: N) -> None:
        if node is not self._root and not node.children:
            raise InvariantBroken(f"sorter node {node.path} has neither client nor children")
        sums: dict[str, int] = {}
        for child in node.children.values():
            for name, milli in child.allocated.items():
                sums[name] = sums.get(name, 0) + milli
        if node is not self._root and sums != node.allocated:
            raise InvariantBroken(f"sorter node {node.path} does not hold the sum of its children")
        for name, child in node.children.items():
            if (node.active.get(name) is child) != child.is_served:
                raise InvariantBroken(f"sorter node {child.path} is served wrongly")
        if not node.active.keys() <= node.children.keys():
            raise InvariantBroken(f"sorter node {node.path} serves somebody who is gone")


__all__ = ["VIRTUAL_LEAF", "WEIGHT_DEFAULT", "Node", "TreeSorter"]
