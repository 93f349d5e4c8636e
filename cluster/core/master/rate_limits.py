"""How fast the messages of frameworks are taken in, by principal.

Each principal with a rate has a queue of its own; all others share the default queue, if there is a
default rate. A message passes at once when its queue is empty and a permit is free; otherwise it
waits, in order. A permit comes every 1/qps seconds and is not saved up.

    MessageArrived ──> passes ──> Pass
                   └─> waits  ──> WaitForPermit ──> PermitDue ──> Pass ...
                   └─> queue full ──> Refuse (its driver aborts)

The end of a link waits behind the messages of its framework, or it would overtake them; it needs a
permit, but no room in the queue.

Source: master.md §2.4.

Differs: a queue without a capacity holds ``WAITING_MAX`` messages at most, not any number.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, assert_never

from cluster.errors import InvariantBroken
from cluster.model.peers import PeerId

T = TypeVar("T")

WAITING_MAX = 100_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Messages per second (> 0; None: unlimited), and how many may wait (None: no own limit)."""

    qps: float | None
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """``default`` is for all principals without an entry together; None leaves them unlimited."""

    by_principal: Mapping[str, RateLimit] = field(default_factory=dict)
    default: RateLimit | None = None

    def queue_of(self, principal: str | None) -> tuple[str | None, RateLimit] | None:
        """Which queue a framework's messages go through, and its limit; None: through none."""
        own = self.by_principal.get(principal) if principal is not None else None
        limit = own if own is not None else self.default
        if limit is None or limit.qps is None:
            return None
        return (principal if own is not None else None), limit


# Events -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageArrived(Generic[T]):
    """A message of a subscribed framework; ``name`` is how it is called when it is refused."""

    sender: PeerId
    principal: str | None
    name: str
    message: T


@dataclass(frozen=True, slots=True)
class LinkBroken(Generic[T]):
    """The peer of a subscribed framework cannot be reached any more; ``message`` tells so."""

    sender: PeerId
    principal: str | None
    message: T


@dataclass(frozen=True, slots=True)
class PermitDue:
    """The time asked for by ``WaitForPermit`` is over."""

    queue: str | None


ThrottleEvent = MessageArrived[T] | LinkBroken[T] | PermitDue

# Effects ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pass(Generic[T]):
    """Work on the message now."""

    message: T


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message is dropped; its sender is told so, and its driver aborts."""

    sender: PeerId
    text: str


@dataclass(frozen=True, slots=True)
class WaitForPermit:
    """Feed back ``PermitDue`` for the queue after so many seconds."""

    queue: str | None
    delay_s: float


ThrottleEffect = Pass[T] | Refuse | WaitForPermit


class _Queue(Generic[T]):
    """What waits behind one limit."""

    __slots__ = ("broken", "free_s", "limit", "waiting")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.waiting: deque[tuple[PeerId, bool, T]] = deque()
        self.broken: dict[PeerId, None] = {}
        """Peers whose end waits; it is told once."""
        self.free_s = 0.0
        """From when on the next message may pass."""

    @property
    def room(self) -> int:
        capacity = self.limit.capacity
        allowed = WAITING_MAX if capacity is None else min(capacity, WAITING_MAX)
        return allowed - (len(self.waiting) - len(self.broken))

    @property
    def pause_s(self) -> float:
        assert self.limit.qps is not None  # others have no queue
        return 1.0 / self.limit.qps


class MessageThrottle(Generic[T]):
    """The queues of all principals."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._queues: dict[str | None, _Queue[T]] = {}

    def handle(self, event: ThrottleEvent[T], now_s: float) -> list[ThrottleEffect[T]]:
        """Take in one fact; returns what to do, in order."""
        match event:
            case MessageArrived(sender, principal, name, message):
                return self._arrived(sender, principal, name, message, now_s)
            case LinkBroken(sender, principal, message):
                return self._link_broken(sender, principal, message)
            case PermitDue(name):
                return self._permit_due(name, now_s)
            case _:
                assert_never(event)

    def waiting(self, principal: str | None) -> int:
        """How much waits in the queue that this principal uses."""
        found = self._limits.queue_of(principal)
        queue = None if found is None else self._queues.get(found[0])
        return 0 if queue is None else len(queue.waiting)

    def _arrived(
        self, sender: PeerId, principal: str | None, name: str, message: T, now_s: float
    ) -> list[ThrottleEffect[T]]:
        found = self._limits.queue_of(principal)
        if found is None:
            return [Pass(message)]
        key, limit = found
        queue = self._queues.setdefault(key, _Queue(limit))
        if not queue.waiting and now_s >= queue.free_s:
            queue.free_s = now_s + queue.pause_s
            return [Pass(message)]
        if queue.room <= 0:
            capacity = WAITING_MAX if limit.capacity is None else limit.capacity
            return [Refuse(sender, f"Message {name} dropped: capacity({capacity}) exceeded")]
        return self._append(key, queue, (sender, False, message), now_s)

    def _link_broken(
        self, sender: PeerId, principal: str | None, message: T
    ) -> list[ThrottleEffect[T]]:
        found = self._limits.queue_of(principal)
        queue = None if found is None else self._queues.get(found[0])
        if queue is None or not any(waits[0] == sender for waits in queue.waiting):
            return [Pass(message)]
        if sender not in queue.broken:
            queue.broken[sender] = None
            queue.waiting.append((sender, True, message))
        return []

    def _append(
        self, key: str | None, queue: _Queue[T], item: tuple[PeerId, bool, T], now_s: float
    ) -> list[ThrottleEffect[T]]:
        queue.waiting.append(item)
        if len(queue.waiting) > 1:
            return []  # the first that waits has asked for a permit
        return [WaitForPermit(key, queue.free_s - now_s)]

    def _permit_due(self, key: str | None, now_s: float) -> list[ThrottleEffect[T]]:
        """Let pass what may by now: a late timer does not lower the rate."""
        queue = self._queues[key]
        effects: list[ThrottleEffect[T]] = []
        while queue.waiting and now_s >= queue.free_s:
            sender, is_end, message = queue.waiting.popleft()
            if is_end:
                del queue.broken[sender]
            queue.free_s += queue.pause_s
            effects.append(Pass(message))
        if queue.waiting:
            effects.append(WaitForPermit(key, queue.free_s - now_s))
        return effects

    def check_invariants(self) -> None:
        """Raises InvariantBroken when a queue is longer than it may be or miscounts."""
        for key, queue in self._queues.items():
            ends = [sender for sender, is_end, _ in queue.waiting if is_end]
            if sorted(ends) != sorted(queue.broken):
                raise InvariantBroken(f"the queue of {key} miscounts broken links")
            if queue.room < 0:
                raise InvariantBroken(f"the queue of {key} is too long")


__all__ = [
    "WAITING_MAX",
    "LinkBroken",
    "MessageArrived",
    "MessageThrottle",
    "Pass",
    "PermitDue",
    "RateLimit",
    "RateLimits",
    "Refuse",
    "ThrottleEffect",
    "ThrottleEvent",
    "WaitForPermit",
]
