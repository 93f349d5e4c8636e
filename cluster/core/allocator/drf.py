"""Dominant resource fairness over a tree of clients, kept sorted as it changes.

Each component of a client's name is a node; a client that is also inner (``a`` when ``a/b``
exists) sits below itself in a virtual leaf named ``.``::

    root ── a ── .        client "a"
         │    ├─ b        client "a/b"
         │    └─ c        client "a/c"
         └─ z             client "z"

A node sums the allocations below it. Siblings are served by share divided by weight, then by the
number of allocations made so far, then by name; a weight belongs to a path, and the virtual leaf
``a/.`` has weight 1.

Every node keeps its servable children in a sorted list. A booking moves only the nodes on the path
from its leaf to the root, each by a binary search in its own list. All shares change together when
the cluster's total or a weight changes: then the lists are rebuilt, once, when next asked for.

Shares are compared as whole numbers (see ``ClusterTotals``); weights are exact fractions, read as
the decimals they print as, and brought to whole numbers by the least common multiple of their
numerators among siblings. No rounding can swap two clients or break a tie.

Source: mesos ``sorter/drf``; Ghodsi et al., Dominant Resource Fairness, NSDI 2011, §4;
allocator.md §5.1.
"""

import math
import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from fractions import Fraction

from cluster.core.allocator.sorter import ClusterTotals
from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.values import Quantities

VIRTUAL_LEAF = "."
"""Name of the leaf that stands for a client which also has clients below it; no role has it."""

_NO_WEIGHT = Fraction(1)
_NO_SCALES: Mapping[str, int] = {}

_Entry = tuple[int, int, str]
"""What siblings are sorted by: weighted share, allocations so far, name."""


class _Node:
    """A path component: a leaf when ``client`` is set, else inner (or the root)."""

    __slots__ = (
        "active_leaves",
        "allocated",
        "allocations",
        "children",
        "client",
        "entry",
        "factor",
        "multiple",
        "name",
        "order",
        "parent",
        "path",
    )

    def __init__(self, name: str, parent: "_Node | None") -> None:
        self.name = name
        self.parent = parent
        self.path: str = f"{parent.path}/{name}" if parent is not None and parent.path else name
        self.children: dict[str, _Node] = {}
        self.order: list[_Entry] = []
        """Entries of the children that have an active leaf, sorted."""
        self.client: str | None = None
        self.active_leaves = 0
        self.allocated: dict[str, int] = {}
        self.allocations = 0
        self.entry: _Entry | None = None
        """Where this node stands in its parent's order; None when it is not in there."""
        self.factor = 1
        """``parent.multiple / weight``, a whole number."""
        self.multiple = 1
        """Least common multiple of the numerators of the children's weights."""


class DrfSorter:
    """A :class:`~cluster.core.allocator.sorter.Sorter` by weighted dominant share.

    Args:
        totals: what shares are fractions of; may be shared among sorters.
        is_hierarchical: whether ``/`` in a client's name separates levels (roles) or not
            (framework ids).
    """

    def __init__(self, totals: ClusterTotals, *, is_hierarchical: bool = True) -> None:
        self._totals = totals
        self._is_hierarchical = is_hierarchical
        self._root = _Node("", None)
        self._leaves: dict[str, _Node] = {}
        self._weights: dict[str, Fraction] = {}
        self._version = totals.version
        """Version of the totals for which the orders were computed."""
        self._weights_changed = False

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
        if not leaf.active_leaves:
            self._count_active(leaf, 1)

    def deactivate(self, client: str) -> None:
        leaf = self._leaf(client)
        if leaf.active_leaves:
            self._count_active(leaf, -1)

    def __contains__(self, client: str) -> bool:
        return client in self._leaves

    def is_active(self, client: str) -> bool:
        return bool(self._leaf(client).active_leaves)

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
        return bool(self._root.active_leaves)

    # Bookings -----------------------------------------------------------------------------------

    def allocated(self, client: str, quantities: Quantities) -> None:
        is_fresh = self._is_fresh
        scales = self._totals.scales if is_fresh else _NO_SCALES
        node: _Node | None = self._leaf(client)
        while node is not None:
            held = node.allocated
            share = 0
            for name, milli in quantities.items():
                milli += held.get(name, 0)
                held[name] = milli
                scaled = milli * scales.get(name, 0)
                if scaled > share:
                    share = scaled
            node.allocations += 1
            if is_fresh and node.entry is not None:
                # Only what grew can have raised the share: the other names need no look.
                self._move_back(node, max(share * node.factor, node.entry[0]))
            node = node.parent

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
        exact = {path: _exact_weight(path, weight) for path, weight in weights.items()}
        for path, weight in exact.items():
            if weight == _NO_WEIGHT:
                self._weights.pop(path, None)
            else:
                self._weights[path] = weight
        self._weights_changed = True

    # Answers ------------------------------------------------------------------------------------

    def order(self) -> Iterator[str]:
        self._refresh()
        # Each level is copied when it is entered: bookings made meanwhile only move nodes on
        # levels entered already, so this is the order as of the start.
        pending = [(self._root, iter(tuple(self._root.order)))]
        while pending:
            parent, entries = pending[-1]
            for _, _, name in entries:
                node = parent.children[name]
                if node.client is None:
                    pending.append((node, iter(tuple(node.order))))
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

    # Tree ---------------------------------------------------------------------------------------

    def _leaf(self, client: str) -> _Node:
        leaf = self._leaves.get(client)
        if leaf is None:
            raise InvariantBroken(f"sorter client {client} is unknown")
        return leaf

    def _new_child(self, parent: _Node, name: str) -> _Node:
        child = _Node(name, parent)
        parent.children[name] = child
        weight = self._weights.get(child.path, _NO_WEIGHT)
        if parent.multiple % weight.numerator:
            self._weights_changed = True
        else:
            child.factor = parent.multiple // weight.numerator * weight.denominator
        return child

    def _split(self, node: _Node) -> None:
        """Turn a leaf into an inner node above a virtual leaf that takes the client over."""
        leaf = self._new_child(node, VIRTUAL_LEAF)
        leaf.client, node.client = node.client, None
        assert leaf.client is not None
        self._leaves[leaf.client] = leaf
        leaf.allocated = dict(node.allocated)
        leaf.allocations = node.allocations
        leaf.active_leaves = node.active_leaves
        if self._is_fresh:
            self._reposition(leaf)

    def _prune(self, node: _Node) -> None:
        """Remove a node without client and children, and what becomes pointless above it."""
        while node.parent is not None and node.client is None and not node.children:
            del node.parent.children[node.name]
            node = node.parent
        if node.parent is not None and list(node.children) == [VIRTUAL_LEAF]:
            self._collapse(node)

    def _collapse(self, node: _Node) -> None:
        """Undo :meth:`_split`: the virtual leaf is alone, so its parent becomes the leaf again."""
        leaf = node.children.pop(VIRTUAL_LEAF)
        assert leaf.client is not None
        node.client = leaf.client
        node.order.clear()
        self._leaves[leaf.client] = node

    def _count_active(self, leaf: _Node, change: int) -> None:
        is_fresh = self._is_fresh
        node: _Node | None = leaf
        while node is not None:
            node.active_leaves += change
            if is_fresh:
                self._reposition(node)
            elif not node.active_leaves:
                self._take_out(node)
            node = node.parent

    def _subtract(self, leaf: _Node, quantities: Quantities) -> None:
        is_fresh = self._is_fresh
        node: _Node | None = leaf
        while node is not None:
            held = node.allocated
            for name, milli in quantities.items():
                left = held.get(name, 0) - milli
                if left:
                    held[name] = left
                else:
                    held.pop(name, None)
            if is_fresh:
                self._reposition(node)
            node = node.parent

    # Order --------------------------------------------------------------------------------------

    @property
    def _is_fresh(self) -> bool:
        return not self._weights_changed and self._version == self._totals.version

    def _entry_of(self, node: _Node) -> _Entry:
        scales = self._totals.scales
        share = 0
        for name, milli in node.allocated.items():
            share = max(share, milli * scales.get(name, 0))
        return (share * node.factor, node.allocations, node.name)

    def _reposition(self, node: _Node) -> None:
        """Put one node where it now belongs among its siblings."""
        parent = node.parent
        if parent is None:
            return
        entry = self._entry_of(node) if node.active_leaves else None
        if entry == node.entry:
            return
        self._take_out(node)
        if entry is not None:
            insort(parent.order, entry)
            node.entry = entry

    def _move_back(self, node: _Node, weighted_share: int) -> None:
        """A booking never brings a node forward."""
        assert node.parent is not None
        assert node.entry is not None
        order = node.parent.order
        entry = (weighted_share, node.allocations, node.name)
        place = 0
        if len(order) > 1:
            place = bisect_left(order, node.entry)
        del order[place]
        insort(order, entry, place)
        node.entry = entry

    def _take_out(self, node: _Node) -> None:
        if node.entry is not None and node.parent is not None:
            order = node.parent.order
            del order[bisect_left(order, node.entry)]
            node.entry = None

    def _refresh(self) -> None:
        """Bring every order up to date after the totals or the weights changed."""
        if self._is_fresh:
            return
        pending = [self._root]
        while pending:
            parent = pending.pop()
            if self._weights_changed:
                self._weigh_children(parent)
            for node in parent.children.values():
                node.entry = self._entry_of(node) if node.active_leaves else None
                if node.children:
                    pending.append(node)
            entries = (node.entry for node in parent.children.values())
            parent.order = sorted(entry for entry in entries if entry is not None)
        self._version = self._totals.version
        self._weights_changed = False

    def _weigh_children(self, parent: _Node) -> None:
        children = list(parent.children.values())
        weights = [self._weights.get(child.path, _NO_WEIGHT) for child in children]
        parent.multiple = math.lcm(*(weight.numerator for weight in weights))
        for child, weight in zip(children, weights, strict=True):
            child.factor = parent.multiple // weight.numerator * weight.denominator

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when sums, counts or orders contradict the leaves."""
        pending = [self._root]
        while pending:
            node = pending.pop()
            if node.client is None:
                self._check_inner(node)
            elif node.children or node.order or self._leaves.get(node.client) is not node:
                raise InvariantBroken(f"sorter leaf {node.path} has children or another client")
            pending.extend(node.children.values())

    def _check_inner(self, node: _Node) -> None:
        if node is not self._root and not node.children:
            raise InvariantBroken(f"sorter node {node.path} has neither client nor children")
        sums: dict[str, int] = {}
        for child in node.children.values():
            for name, milli in child.allocated.items():
                sums[name] = sums.get(name, 0) + milli
        if sums != node.allocated:
            raise InvariantBroken(f"sorter node {node.path} does not hold the sum of its children")
        if node.active_leaves != sum(child.active_leaves for child in node.children.values()):
            raise InvariantBroken(f"sorter node {node.path} miscounts its active leaves")
        active = [child for child in node.children.values() if child.active_leaves]
        if self._is_fresh and node.order != sorted(self._entry_of(child) for child in active):
            raise InvariantBroken(f"sorter node {node.path} has its children in a wrong order")


def drf_sorter(totals: ClusterTotals, *, is_hierarchical: bool, rng: random.Random) -> DrfSorter:
    """The default :class:`~cluster.core.allocator.sorter.SorterFactory`; nothing is drawn."""
    del rng
    return DrfSorter(totals, is_hierarchical=is_hierarchical)


def _exact_weight(path: str, weight: float) -> Fraction:
    if not math.isfinite(weight) or weight <= 0:
        raise InvalidInput(f"weight of {path}", f"must be a finite number above 0, not {weight}")
    return Fraction(repr(float(weight)))


__all__ = ["VIRTUAL_LEAF", "DrfSorter", "drf_sorter"]
