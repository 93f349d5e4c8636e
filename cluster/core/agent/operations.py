"""Operations on the agent's own resources, and telling the master how they ended.

Decided here: whether an operation can be carried out, what the agent has afterwards, what must be
written down before anything is said, and how long the master is told. Not decided here: how it is
written (the shell carries out `Checkpoint`), who may ask for what (the master).

    OperationArrived ─► totals change ─► Checkpoint ─► Checkpointed ─► SendStatus ◄─retry elapsed─┐
                                                                           └──────────────────────┘
                                          Checkpoint ◄── StatusAcknowledged: forgotten

An operation changes the totals at once, so a launch that follows it may use what it made; the
version of the agent's resources stays, as recorded (j-operator). While there is no master nothing
is sent; all that wait are sent when there is one again.

Differs: an operation whose resources are not there, or still in use, fails; the original aborts.

Source: agent.md §8, §13; messages.md §2.2; recordings j-operator, l-handmade-v0.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.agent_operations import (
    CheckpointedState,
    OperationArrived,
    OperationName,
    OperationRecord,
    OperationsReconciled,
)
from cluster.model.conversions import Conversion, with_checkpointed
from cluster.model.operations import OperationState
from cluster.model.resources import Resources, ResourcesNotContained
from cluster.model.volumes import (
    checkpointed_part,
    holds_all,
    is_persistent_volume,
    persistent_volumes,
)

RETRY_DELAY_S = 10.0
RETRY_DELAY_S_MAX = 600.0

# Operations that nobody acknowledges must not fill the agent's memory and its checkpoint.
UNACKNOWLEDGED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ResourcesReplaced:
    """A master that knows no operations tells all that the agent must remember."""

    resources: Resources
    in_use: Resources


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A checkpoint is durable; what it says of this operation may be told."""

    uuid: bytes


@dataclass(frozen=True, slots=True)
class StatusAcknowledged:
    """The master, or the framework through it, knows how an operation ended."""

    uuid: bytes
    status_uuid: bytes


@dataclass(frozen=True, slots=True)
class RetryElapsed:
    """The time to wait for an acknowledgement is over."""

    uuid: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class ForwardingPaused:
    """There is no master to send to."""


@dataclass(frozen=True, slots=True)
class ForwardingResumed:
    """There is a master again."""


Event = (
    OperationArrived
    | OperationsReconciled
    | ResourcesReplaced
    | Checkpointed
    | StatusAcknowledged
    | RetryElapsed
    | ForwardingPaused
    | ForwardingResumed
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Make a state and its directories durable, in the order ordered; then report `then`."""

    state: CheckpointedState
    then: Checkpointed | None


@dataclass(frozen=True, slots=True)
class SendStatus:
    """Tell the master how an operation ended."""

    record: OperationRecord


@dataclass(frozen=True, slots=True)
class StartRetry:
    """Report `RetryElapsed` with this generation after `delay_s`; replaces the one before."""

    uuid: bytes
    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class CancelRetry:
    """The operation waits for nothing any more."""

    uuid: bytes


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event changed nothing; `why` is for the log."""

    why: str


Effect = Checkpoint | SendStatus | StartRetry | CancelRetry | Ignored


@dataclass(slots=True)
class _Waiting:
    """An operation that the master has not acknowledged."""

    record: OperationRecord
    is_durable: bool = False
    delay_s: float = RETRY_DELAY_S
    generation: int | None = None


class AgentOperations:
    """The agent's resources and the operations on them. Starts paused: there is no master yet.

    Args:
        declared: what the agent was given by its operator.
        checkpointed: what it remembers of earlier lives: reservations and volumes.
        new_uuid: makes 16 bytes never used before.

    Raises:
        InvalidInput: what is remembered cannot have been made of what is declared.
    """

    def __init__(
        self, *, declared: Resources, checkpointed: Resources, new_uuid: Callable[[], bytes]
    ) -> None:
        self._declared = declared
        self._total = with_checkpointed(declared, checkpointed)
        self._new_uuid = new_uuid
        self._waiting: dict[bytes, _Waiting] = {}
        self._is_paused = True
        self._generation = 0

    @property
    def total(self) -> Resources:
        """What the agent has, reservations and volumes in their place."""
        return self._total

    @property
    def checkpointed(self) -> Resources:
        """Reservations and volumes that somebody made."""
        return checkpointed_part(self._total)

    @property
    def unacknowledged(self) -> tuple[OperationRecord, ...]:
        """Operations that the master must be told of, oldest first."""
        return tuple(waiting.record for waiting in self._waiting.values())

    def unknown_part(self, wanted: Resources) -> Resources:
        """What of the reservations and volumes that a launch names is not here."""
        needed = checkpointed_part(wanted)
        here = self.checkpointed
        return Resources(one for one in needed if not holds_all(here, Resources((one,))))

    def check_invariants(self) -> None:
        """Raise `InvariantBroken` when the books contradict themselves."""
        if with_checkpointed(self._declared, self.checkpointed) != self._total:
            raise InvariantBroken("the totals are not what was declared and checkpointed")
        for uuid, waiting in self._waiting.items():
            is_due = waiting.is_durable and not self._is_paused
            if (waiting.generation is not None) != is_due:
                raise InvariantBroken(f"operation {uuid.hex()}: its timer does not fit its state")

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event and return what must be done, in order."""
        match event:
            case OperationArrived():
                return self._on_operation(event)
            case OperationsReconciled(names=names):
                return [one for name in names for one in self._on_reconciled(name)]
            case ResourcesReplaced(resources=resources, in_use=in_use):
                return self._on_replaced(resources, in_use)
            case Checkpointed(uuid=uuid):
                return self._on_checkpointed(uuid)
            case StatusAcknowledged():
                return self._on_acknowledged(event)
            case RetryElapsed(uuid=uuid, generation=generation):
                return self._on_retry(uuid, generation)
            case ForwardingPaused():
                return self._on_paused()
            case ForwardingResumed():
                return self._on_resumed()

    # Operations ---------------------------------------------------------------------------------

    def _on_operation(self, event: OperationArrived) -> list[Effect]:
        uuid = event.name.uuid
        if uuid in self._waiting:
            return [Ignored(f"operation {uuid.hex()} is here already")]
        if len(self._waiting) >= UNACKNOWLEDGED_MAX:
            text = f"{UNACKNOWLEDGED_MAX} operations wait for acknowledgement already"
            return [SendStatus(_unacknowledgeable(event.name, text))]
        before = self._total
        state, text = self._carry_out(event)
        record = OperationRecord(event.name, state, text, self._new_uuid(), event.payload)
        self._waiting[uuid] = _Waiting(record)
        return [self._checkpoint(before, Checkpointed(uuid))]

    def _carry_out(self, event: OperationArrived) -> tuple[OperationState, str]:
        """Change the totals, or say why not."""
        if not event.is_version_current:
            text = "the resources of the agent changed since they were offered"
            return OperationState.DROPPED, text
        if event.conversion is None:
            return OperationState.FAILED, event.error
        try:
            total = event.conversion.of_total(self._total)
        except ResourcesNotContained as error:
            return OperationState.FAILED, str(error)
        if text := _conflict(total, event.conversion, event.in_use):
            return OperationState.FAILED, text
        self._total = total
        return OperationState.FINISHED, ""

    def _on_replaced(self, resources: Resources, in_use: Resources) -> list[Effect]:
        before = self._total
        wanted = checkpointed_part(resources)
        try:
            total = with_checkpointed(self._declared, wanted)
        except InvalidInput as error:
            return [Ignored(f"the master's list of checkpointed resources: {error}")]
        if not holds_all(wanted, checkpointed_part(in_use)):
            return [Ignored("the master's list of checkpointed resources lacks some in use")]
        self._total = total
        return [self._checkpoint(before, None)]

    def _checkpoint(self, before: Resources, then: Checkpointed | None) -> Checkpoint:
        old, new = persistent_volumes(before), persistent_volumes(self._total)
        state = CheckpointedState(
            self.checkpointed,
            self.unacknowledged,
            created=tuple(volume for volume in new if volume not in old),
            removed=tuple(volume for volume in old if volume not in new),
        )
        return Checkpoint(state, then)

    # Telling the master -------------------------------------------------------------------------

    def _on_checkpointed(self, uuid: bytes) -> list[Effect]:
        waiting = self._waiting.get(uuid)
        if waiting is None:
            return []
        waiting.is_durable = True
        return self._send(waiting)

    def _on_acknowledged(self, event: StatusAcknowledged) -> list[Effect]:
        waiting = self._waiting.get(event.uuid)
        if waiting is None or not waiting.is_durable:
            return [Ignored(f"acknowledgement of operation {event.uuid.hex()}, which waits not")]
        if waiting.record.status_uuid != event.status_uuid:
            return [Ignored(f"acknowledgement of another status of operation {event.uuid.hex()}")]
        del self._waiting[event.uuid]
        effects: list[Effect] = []
        if waiting.generation is not None:
            effects.append(CancelRetry(event.uuid))
        return [*effects, self._checkpoint(self._total, None)]

    def _on_retry(self, uuid: bytes, generation: int) -> list[Effect]:
        waiting = self._waiting.get(uuid)
        if waiting is None or waiting.generation != generation:
            return []  # a timer that was replaced or cancelled while it fired
        waiting.delay_s = min(waiting.delay_s * 2, RETRY_DELAY_S_MAX)
        return self._send(waiting)

    def _on_paused(self) -> list[Effect]:
        self._is_paused = True
        effects: list[Effect] = []
        for uuid, waiting in self._waiting.items():
            if waiting.generation is not None:
                waiting.generation = None
                effects.append(CancelRetry(uuid))
        return effects

    def _on_resumed(self) -> list[Effect]:
        if not self._is_paused:
            return []
        self._is_paused = False
        effects: list[Effect] = []
        for waiting in self._waiting.values():
            waiting.delay_s = RETRY_DELAY_S
            effects += self._send(waiting)
        return effects

    def _send(self, waiting: _Waiting) -> list[Effect]:
        if self._is_paused or not waiting.is_durable:
            return []
        self._generation += 1
        waiting.generation = self._generation
        uuid = waiting.record.name.uuid
        return [SendStatus(waiting.record), StartRetry(uuid, self._generation, waiting.delay_s)]

    def _on_reconciled(self, name: OperationName) -> list[Effect]:
        if name.uuid in self._waiting:
            return []  # its status is on its way, again and again
        return [SendStatus(_unacknowledgeable(name, "the agent does not know this operation"))]


def _conflict(total: Resources, conversion: Conversion, in_use: Resources) -> str:
    """Say what forbids that these be the new totals, "" for nothing."""
    kept = checkpointed_part(total)
    held = checkpointed_part(in_use)
    if not holds_all(kept, held):
        lost = Resources(one for one in held if not holds_all(kept, Resources((one,))))
        return f"tasks or executors of this agent hold [{lost}]"
    volumes = total.where(is_persistent_volume)
    copies = sum(entry.copies for entry in volumes)
    if copies != len(persistent_volumes(volumes)):
        names = [one.volume_id for one in persistent_volumes(conversion.after)]
        return f"volume {', '.join(names)}: another one of its role has this id"
    return ""


def _unacknowledgeable(name: OperationName, text: str) -> OperationRecord:
    return OperationRecord(name, OperationState.DROPPED, text, None, None)


__all__ = [
    "RETRY_DELAY_S",
    "RETRY_DELAY_S_MAX",
    "UNACKNOWLEDGED_MAX",
    "AgentOperations",
    "CancelRetry",
    "Checkpoint",
    "Checkpointed",
    "Effect",
    "Event",
    "ForwardingPaused",
    "ForwardingResumed",
    "Ignored",
    "ResourcesReplaced",
    "RetryElapsed",
    "SendStatus",
    "StartRetry",
    "StatusAcknowledged",
]
