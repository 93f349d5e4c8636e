"""The frameworks a master knows, by id and by peer, and the bounded list of those that are gone."""

from collections import OrderedDict
from collections.abc import Iterator

from cluster.core.allocator.events import FrameworkTraits
from cluster.core.master.lifecycles import (
    FRAMEWORK_TRANSITIONS,
    FrameworkState,
    FrameworkStep,
    advance,
)
from cluster.core.master.story import Story
from cluster.core.master.tallies import FrameworkTally
from cluster.errors import InvariantBroken
from cluster.model.constraints import OfferConstraints
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.peers import PeerId

RequestKey = tuple[str | None, AgentId | None]
"""What one of a framework's requests is about: a role or all, an agent or any."""


class FrameworkRecord:
    """One framework.

    Attributes:
        peer: where it subscribed from last; None while only agents have told of it.
        constraints: which agents it wants to be offered; None for all.
        requested: what its last REQUEST was about.
        generation: counts subscriptions and disconnections, so that an old timer is recognised.
        has_feedback: its scheduler can be told what becomes of operations.
    """

    __slots__ = (
        "constraints",
        "framework_id",
        "generation",
        "has_feedback",
        "peer",
        "registered_s",
        "requested",
        "reregistered_s",
        "spec",
        "state",
        "story",
        "suppressed_roles",
        "tally",
        "unregistered_s",
    )

    def __init__(
        self,
        framework_id: FrameworkId,
        spec: FrameworkSpec,
        *,
        state: FrameworkState,
        peer: PeerId | None,
        now_s: float,
    ) -> None:
        self.framework_id = framework_id
        self.spec = spec
        self.state = state
        self.peer = peer
        self.suppressed_roles: frozenset[str] = frozenset()
        self.constraints: OfferConstraints | None = None
        self.requested: tuple[RequestKey, ...] = ()
        self.generation = 0
        self.has_feedback = False
        self.registered_s = now_s
        self.reregistered_s: float | None = None
        self.unregistered_s: float | None = None
        self.tally = FrameworkTally()
        self.story = Story()

    @property
    def is_connected(self) -> bool:
        return self.state.is_connected

    @property
    def is_active(self) -> bool:
        return self.state is FrameworkState.ACTIVE

    @property
    def traits(self) -> FrameworkTraits:
        """What the allocator must know of it."""
        return FrameworkTraits(self.spec.capabilities, self.spec.min_allocatable, self.constraints)

    def note_wants(self, now_s: float) -> None:
        """To be called whenever the roles in which it wants offers may have changed."""
        wanted = (role for role in self.spec.roles if role not in self.suppressed_roles)
        self.tally.waits.want(wanted if self.is_active else (), now_s)

    def advance(self, step: FrameworkStep, now_s: float) -> None:
        """Take one step of the lifecycle.

        Raises:
            InvalidTransition: the lifecycle has no such step from here.
        """
        before = self.state
        self.state = advance(
            FRAMEWORK_TRANSITIONS, before, step, f"framework {self.framework_id}", self.story
        )
        self.story.add(now_s, step.name, f"{before.name} -> {self.state.name}")


class FrameworkBook:
    """All frameworks; completed ones are kept until ``completed_max`` newer ones have ended."""

    def __init__(self, completed_max: int) -> None:
        self._completed_max = completed_max
        self._known: dict[FrameworkId, FrameworkRecord] = {}
        self._by_peer: dict[PeerId, FrameworkId] = {}
        self._completed: OrderedDict[FrameworkId, FrameworkRecord] = OrderedDict()

    def __iter__(self) -> Iterator[FrameworkRecord]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    @property
    def completed(self) -> list[FrameworkRecord]:
        """Frameworks that are gone, oldest first."""
        return list(self._completed.values())

    def get(self, framework_id: FrameworkId) -> FrameworkRecord | None:
        return self._known.get(framework_id)

    def at_peer(self, peer: PeerId) -> FrameworkRecord | None:
        """The connected framework that subscribed from ``peer``."""
        framework_id = self._by_peer.get(peer)
        return None if framework_id is None else self._known[framework_id]

    def is_completed(self, framework_id: FrameworkId) -> bool:
        return framework_id in self._completed

    def add(self, record: FrameworkRecord) -> None:
        self._known[record.framework_id] = record
        if record.peer is not None and record.is_connected:
            self._by_peer[record.peer] = record.framework_id

    def move(self, record: FrameworkRecord, peer: PeerId) -> None:
        """The framework subscribed again, perhaps from another peer."""
        self.unlink(record)
        record.peer = peer
        self._by_peer[peer] = record.framework_id

    def unlink(self, record: FrameworkRecord) -> None:
        """Nothing that its peer says counts as the framework's word any more."""
        if record.peer is not None and self._by_peer.get(record.peer) == record.framework_id:
            del self._by_peer[record.peer]

    def complete(self, record: FrameworkRecord, now_s: float) -> list[FrameworkId]:
        """Move to the list of completed ones; returns the ids forgotten to make room."""
        self.unlink(record)
        del self._known[record.framework_id]
        record.unregistered_s = now_s
        self._completed[record.framework_id] = record
        forgotten = []
        while len(self._completed) > self._completed_max:
            forgotten.append(self._completed.popitem(last=False)[0])
        return forgotten

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the two indexes disagree or a list is too long."""
        for peer, framework_id in self._by_peer.items():
            record = self._known.get(framework_id)
            if record is None or record.peer != peer or not record.is_connected:
                raise InvariantBroken(f"peer {peer} points to framework {framework_id} in vain")
        for record in self._known.values():
            if record.is_connected and (
                record.peer is None or self._by_peer.get(record.peer) != record.framework_id
            ):
                raise InvariantBroken(f"connected framework {record.framework_id} has no peer")
            if record.state is FrameworkState.COMPLETED:
                raise InvariantBroken(f"completed framework {record.framework_id} is still known")
        if len(self._completed) > self._completed_max:
            raise InvariantBroken("too many completed frameworks")


__all__ = ["FrameworkBook", "FrameworkRecord", "RequestKey"]
