"""Quotas in numbers: what is promised and not yet had, and what may be given to whom.

A quota belongs to a role and everything below it. Roles with a quota form a tree of their own
(others are left out); its root is the whole cluster::

    cluster ── prod  guarantee cpus 12
            └─ dev   limit cpus 20
                 └─ dev/ci  guarantee cpus 4

*consumed* of a node: unreserved and not revocable scalars offered to or used by its subtree, and
everything reserved for its subtree, used or not.

*unmet* of a node: ``max(guarantee - consumed, sum of unmet of its children)``. What the children
are still promised is part of what the node is promised, so it is not counted twice.

*needed headroom*: the unmet of all topmost nodes. *Free headroom*: what is free, unreserved and not
revocable on agents that may be offered. Their difference, the *surplus*, may be given to anybody;
where nothing is needed there is no bound. Below a limit it is the same in the small: what the
children of a limited node are still promised is kept free under its limit for them.

Differs from Mesos: quotas may be nested; and what is free on an inactive or unlisted agent is no
headroom, because it could not serve a guarantee.

Source: mesos ``hierarchical.cpp`` ``__generateOffers``; allocator.md §3, §7; master.md §9.
"""

from collections.abc import Iterable, Mapping

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.candidates import Room
from cluster.errors import InvariantBroken
from cluster.model.quotas import Quota, Quotas
from cluster.model.roles import ancestors
from cluster.model.values import Quantities


class _Node:
    """A role with a quota; names absent from a map count 0."""

    __slots__ = ("consumed", "guarantees", "limits", "needed_below", "parent", "path", "unmet")

    def __init__(self, path: str, quota: Quota, parent: "_Node | None") -> None:
        self.path = path
        self.parent = parent
        self.guarantees = {name: milli for name, milli in quota.guarantees.items() if milli}
        self.limits = dict(quota.limits)
        self.consumed: dict[str, int] = {}
        self.needed_below: dict[str, int] = {}
        """Sum of the unmet of the children."""
        self.unmet: dict[str, int] = {}

    def own_promise(self, name: str) -> int:
        """What is promised to the node and to nobody below it; below 0 when it has more."""
        promised = self.guarantees.get(name, 0) - self.consumed.get(name, 0)
        return promised - self.needed_below.get(name, 0)


class QuotaBook:
    """Consumption and headroom, kept up to date with every booking while there are quotas.

    ``version`` grows with every change of what the answers depend on.
    """

    def __init__(self) -> None:
        self._quotas: dict[str, Quota] = {}
        self._nodes: dict[str, _Node] = {}
        self.needed: dict[str, int] = {}
        """Needed headroom: name to thousandths; only what is above 0."""
        self.free: dict[str, int] = {}
        """Free headroom."""
        self.version = 0
        self.is_used = False
        """Whether any role has a quota; without, nothing is counted and nothing is bounded."""

    @property
    def quotas(self) -> Quotas:
        return self._quotas

    # Setting ------------------------------------------------------------------------------------

    def update(self, quotas: Quotas, agents: Iterable[AgentBook]) -> None:
        """Replace the quotas of these roles and count everything anew."""
        for role, quota in quotas.items():
            if quota.is_default:
                self._quotas.pop(role, None)
            else:
                self._quotas[role] = quota
        self._nodes = {}
        for role in sorted(self._quotas):  # a role comes before those below it
            parent = next((self._nodes[a] for a in ancestors(role) if a in self._nodes), None)
            self._nodes[role] = _Node(role, self._quotas[role], parent)
        self.is_used = bool(self._nodes)
        self._recount(agents)

    def _recount(self, agents: Iterable[AgentBook]) -> None:
        self.needed = {}
        self.free = {}
        self.version += 1
        if not self._nodes:
            return
        for node in reversed(self._nodes.values()):  # children first
            for name in {**node.guarantees, **node.needed_below}:
                self._reckon(node, name)
        for agent in agents:
            self.free_changed({}, agent.open_free())
            for role, quantities in agent.total.reserved_quantities().items():
                self.consume(role, quantities)
            for client, resources in agent.booked.items():
                self.consume(client.role, resources.open_quantities())

    # Counting -----------------------------------------------------------------------------------

    def _chain(self, role: str) -> list[_Node]:
        """The nodes that a role counts for, nearest first."""
        node = self._nodes.get(role)
        if node is None and "/" in role:
            node = next((self._nodes[a] for a in ancestors(role) if a in self._nodes), None)
        chain = []
        while node is not None:
            chain.append(node)
            node = node.parent
        return chain

    def consume(self, role: str, quantities: Quantities, sign: int = 1) -> None:
        """Count what a role got (or gave back, with -1), or what was reserved for it."""
        chain = self._chain(role)
        if not chain:
            return
        self.version += 1
        for name, milli in quantities.items():
            for node in chain:
                node.consumed[name] = node.consumed.get(name, 0) + sign * milli
                self._reckon(node, name)

    def _reckon(self, node: _Node, name: str) -> None:
        """Find what is unmet at a node now, and tell the node above."""
        promised = node.guarantees.get(name, 0) - node.consumed.get(name, 0)
        unmet = max(promised, node.needed_below.get(name, 0), 0)
        change = unmet - node.unmet.get(name, 0)
        if not change:
            return
        _add(node.unmet, name, change)
        _add(self.needed if node.parent is None else node.parent.needed_below, name, change)

    def free_changed(self, before: Quantities, after: Quantities) -> None:
        """The open and free scalars of one agent changed."""
        if before is after:
            return
        self.version += 1
        for name, milli in before.items():
            _add(self.free, name, -milli)
        for name, milli in after.items():
            _add(self.free, name, milli)

    # Answers ------------------------------------------------------------------------------------

    def claim(self, role: str) -> dict[str, int]:
        """What the role may take of what is promised to it and the roles above it.

        What other roles below the same node are promised is not in it.
        """
        claim: dict[str, int] = {}
        for node in self._chain(role):
            for name in node.guarantees:
                own = node.own_promise(name)
                if own > 0:
                    claim[name] = claim.get(name, 0) + own
        return claim

    def room(self, role: str, claim: Quantities | None = None) -> Quantities:
        """How much more of each name the role may be given; a name without entry has no bound.

        Args:
            role: who would get it.
            claim: what is promised to it, which needs no surplus; none in the second stage.
        """
        room: dict[str, int] = {}
        for name, needed in self.needed.items():
            room[name] = max(0, self.free.get(name, 0) - needed)
            if claim is not None:
                room[name] += claim.get(name, 0)
        for name, left in self.limits(role).items():
            room[name] = min(room.get(name, left), left)
        return room

    def limits(self, role: str) -> Quantities:
        """How much more of each name the limits of the role and those above it leave.

        Below a limit, too, there is headroom: what other roles there are promised and have not got
        is kept for them.
        """
        left: dict[str, int] = {}
        claimed: dict[str, int] = {}
        """What of the promises below a node the role itself may have."""
        for node in self._chain(role):
            for name, limit in node.limits.items():
                kept = node.needed_below.get(name, 0) - claimed.get(name, 0)
                rest = max(0, limit - node.consumed.get(name, 0) - kept)
                left[name] = min(left.get(name, rest), rest)
            for name in node.guarantees:
                claimed[name] = claimed.get(name, 0) + max(0, node.own_promise(name))
        return left

    def rooms(self) -> Room:
        """All that bounds offers, by what it is and name: when none grew, no offer can grow."""
        rooms: Room = {
            ("surplus", name): self.free.get(name, 0) - needed
            for name, needed in self.needed.items()
        }
        for path, node in self._nodes.items():
            for name in node.guarantees:
                rooms[f"claim of {path}", name] = node.own_promise(name)
            for name, limit in node.limits.items():
                kept = node.needed_below.get(name, 0)
                rooms[f"limit of {path}", name] = limit - node.consumed.get(name, 0) - kept
        return rooms

    def consumed(self, role: str) -> Quantities:
        """What a role with a quota consumes, with those below it; empty for others."""
        node = self._nodes.get(role)
        return {} if node is None else {n: milli for n, milli in node.consumed.items() if milli}

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self, agents: Iterable[AgentBook]) -> None:
        """Raise ``InvariantBroken`` unless counting everything anew gives the same."""
        other = QuotaBook()
        other.update(self._quotas, agents)
        if (other.needed, other.free) != (self.needed, self.free):
            raise InvariantBroken(
                f"headroom is {self.free} of {self.needed}, not {other.free} of {other.needed}"
            )
        for path, node in other._nodes.items():
            if other.consumed(path) != self.consumed(path):
                raise InvariantBroken(f"role {path} consumes {node.consumed}, not as counted")
            if node.unmet != self._nodes[path].unmet:
                raise InvariantBroken(f"role {path} has {node.unmet} unmet, not as counted")


def _add(counts: dict[str, int], name: str, change: int) -> None:
    """Add, and keep no zeros."""
    left = counts.get(name, 0) + change
    if left:
        counts[name] = left
    else:
        counts.pop(name, None)


def consumption_of(role: str, agents: Iterable[AgentBook]) -> Mapping[str, int]:
    """What a role and those below it consume, whether it has a quota or not."""
    probe = QuotaBook()
    probe.update({role: Quota(limits={"": 0})}, agents)
    return probe.consumed(role)


__all__ = ["QuotaBook", "consumption_of"]
