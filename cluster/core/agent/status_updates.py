"""Status-update streams: every update of a task reaches the master, in order, until acknowledged.

One stream per (framework, task). Only its oldest unacknowledged update, the head, is under way:

    executor ── update ──► [head, next, ...] ── head ──► master ──► scheduler
             ◄── ack at once ──┘                ◄───────── acknowledgement ──┘

    idle ──update──► head sent ──retry elapsed──► sent again (10 s, 20 s, ... 10 min)
     ▲                  │
     └──acknowledged────┘     a terminal head acknowledged closes the stream

While the agent has no master forwarding is paused: updates queue up, and all heads are sent when
it resumes. The executor is acknowledged as soon as the update is safe here, by the agent itself.

Not decided here: where records are written. `Checkpoint(record, then=...)` orders the write and
carries what is allowed only once it is durable.

Source: agent.md §8.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from cluster.errors import InvariantBroken
from cluster.model.ids import FrameworkId, TaskId
from cluster.model.task_states import TaskState

RETRY_DELAY_S = 10.0
RETRY_DELAY_S_MAX = 600.0

# An executor that reports faster than its framework acknowledges must not fill the agent's memory.
# Further updates are not acknowledged to it, so it keeps them itself.
QUEUED_UPDATES_MAX = 1_000

# Acknowledged uuids remembered per stream, to recognise updates that an executor sends again.
ACKNOWLEDGED_UUIDS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Update:
    """One status update on its way to the master.

    Attributes:
        uuid: 16 bytes that name this update.
        acknowledge_to: address of the executor that waits for the agent's word, "" for none.
        is_checkpointed: the framework asked for its updates to survive the agent.
        payload: the peer's message, passed through unread.
    """

    framework_id: FrameworkId
    task_id: TaskId
    uuid: bytes
    state: TaskState
    acknowledge_to: str
    is_checkpointed: bool
    payload: object


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """An executor, or the agent itself, has news of a task."""

    update: Update


@dataclass(frozen=True, slots=True)
class UpdateAcknowledged:
    """The framework has seen an update (its word comes through the master)."""

    framework_id: FrameworkId
    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class RetryElapsed:
    """The time to wait for an acknowledgement is over."""

    framework_id: FrameworkId
    task_id: TaskId
    generation: int


@dataclass(frozen=True, slots=True)
class ForwardingPaused:
    """There is no master to forward to."""


@dataclass(frozen=True, slots=True)
class ForwardingResumed:
    """There is a master again."""


@dataclass(frozen=True, slots=True)
class FrameworkStreamsDropped:
    """A framework is gone: nobody will acknowledge its updates."""

    framework_id: FrameworkId


Event = (
    UpdateReceived
    | UpdateAcknowledged
    | RetryElapsed
    | ForwardingPaused
    | ForwardingResumed
    | FrameworkStreamsDropped
)


class RecordKind(Enum):
    """What a record of the update log says."""

    UPDATE = "update"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a task's update log."""

    kind: RecordKind
    update: Update


@dataclass(frozen=True, slots=True)
class AcknowledgeExecutor:
    """Tell the executor that its update is safe."""

    update: Update


@dataclass(frozen=True, slots=True)
class ForwardUpdate:
    """Send an update to the master. `latest_state` is that of the newest update received."""

    update: Update
    latest_state: TaskState


@dataclass(frozen=True, slots=True)
class StartRetry:
    """Report `RetryElapsed` with this generation after `delay_s`; replaces the stream's timer."""

    framework_id: FrameworkId
    task_id: TaskId
    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class CancelRetry:
    """The stream waits for nothing any more."""

    framework_id: FrameworkId
    task_id: TaskId


@dataclass(frozen=True, slots=True)
class UpdateSettled:
    """An update was acknowledged; with `is_stream_closed` it was the task's last."""

    update: Update
    is_stream_closed: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event changed nothing; `why` is for the log."""

    framework_id: FrameworkId
    task_id: TaskId
    why: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Make a record durable, then perform `then`."""

    record: Record
    then: "tuple[Effect, ...]"


Effect = (
    AcknowledgeExecutor
    | ForwardUpdate
    | StartRetry
    | CancelRetry
    | UpdateSettled
    | Ignored
    | Checkpoint
)

_Key = tuple[FrameworkId, TaskId]


@dataclass(slots=True)
class _Stream:
    """Updates of one task: `queue` holds the unacknowledged ones, its first is the head."""

    queue: deque[Update] = field(default_factory=deque)
    acknowledged: dict[bytes, None] = field(default_factory=dict)
    latest_state: TaskState = TaskState.STAGING
    delay_s: float = RETRY_DELAY_S

    def has_seen(self, uuid: bytes) -> bool:
        return uuid in self.acknowledged or any(update.uuid == uuid for update in self.queue)

    def remember_acknowledged(self, uuid: bytes) -> None:
        self.acknowledged[uuid] = None
        if len(self.acknowledged) > ACKNOWLEDGED_UUIDS_MAX:
            del self.acknowledged[next(iter(self.acknowledged))]


class StatusUpdateStreams:
    """All status-update streams of an agent. Starts paused: there is no master yet."""

    def __init__(self) -> None:
        self._streams: dict[_Key, _Stream] = {}
        self._is_paused = True
        # One count for all streams: the stream of a task id that is used again must not take the
        # timer of its predecessor for its own.
        self._generation = 0
        self._generations: dict[_Key, int] = {}

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def pending(self, framework_id: FrameworkId, task_id: TaskId) -> int:
        """How many updates of a task wait for acknowledgement."""
        stream = self._streams.get((framework_id, task_id))
        return 0 if stream is None else len(stream.queue)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event and return what must be done, in order."""
        match event:
            case UpdateReceived(update=update):
                return self._on_update(update)
            case UpdateAcknowledged():
                return self._on_acknowledged(event)
            case RetryElapsed():
                return self._on_retry(event)
            case ForwardingPaused():
                return self._on_paused()
            case ForwardingResumed():
                return self._on_resumed()
            case FrameworkStreamsDropped(framework_id=framework_id):
                return self._on_dropped(framework_id)

    def check_invariants(self) -> None:
        """Raise `InvariantBroken` when the books contradict themselves."""
        for key, stream in self._streams.items():
            if not stream.queue and stream.latest_state.is_terminal:
                raise InvariantBroken(f"stream {key} is closed but was kept")
            if any(update.uuid in stream.acknowledged for update in stream.queue):
                raise InvariantBroken(f"stream {key} still sends an acknowledged update")
        waiting = {key for key, stream in self._streams.items() if stream.queue}
        timed = set(self._generations)
        if timed != (set() if self._is_paused else waiting):
            raise InvariantBroken(f"retry timers {timed} do not match waiting streams {waiting}")

    def _on_update(self, update: Update) -> list[Effect]:
        key = (update.framework_id, update.task_id)
        stream = self._streams.setdefault(key, _Stream())
        if stream.has_seen(update.uuid):
            # Its first acknowledgement was lost on the way, or the executor reconnected.
            return _acknowledge(update)
        if len(stream.queue) >= QUEUED_UPDATES_MAX:
            return [Ignored(*key, f"{QUEUED_UPDATES_MAX} updates wait for acknowledgement")]
        stream.queue.append(update)
        stream.latest_state = update.state
        effects = _acknowledge(update)
        if len(stream.queue) == 1:
            stream.delay_s = RETRY_DELAY_S
            effects += self._send_head(key, stream)
        return _durably(RecordKind.UPDATE, update, effects)

    def _on_acknowledged(self, event: UpdateAcknowledged) -> list[Effect]:
        key = (event.framework_id, event.task_id)
        stream = self._streams.get(key)
        if stream is None or not stream.queue:
            return [Ignored(*key, "acknowledgement of a task that waits for none")]
        head = stream.queue[0]
        if head.uuid != event.uuid:
            return [Ignored(*key, "acknowledgement of another update than the one sent")]
        stream.queue.popleft()
        stream.remember_acknowledged(head.uuid)
        stream.delay_s = RETRY_DELAY_S
        is_closed = head.state.is_terminal
        effects: list[Effect] = [UpdateSettled(head, is_closed)]
        if is_closed:
            # What an executor reported after the end of its task interests nobody.
            del self._streams[key]
            effects += self._forget_timer(key)
        elif stream.queue:
            effects += self._send_head(key, stream)
        else:
            effects += self._forget_timer(key)
        return _durably(RecordKind.ACKNOWLEDGED, head, effects)

    def _on_retry(self, event: RetryElapsed) -> list[Effect]:
        key = (event.framework_id, event.task_id)
        if self._generations.get(key) != event.generation:
            return []  # a timer that was replaced or cancelled while it fired
        stream = self._streams[key]
        stream.delay_s = min(stream.delay_s * 2, RETRY_DELAY_S_MAX)
        return self._send_head(key, stream)

    def _on_paused(self) -> list[Effect]:
        if self._is_paused:
            return []
        self._is_paused = True
        timed = list(self._generations)
        return [effect for key in timed for effect in self._forget_timer(key)]

    def _on_resumed(self) -> list[Effect]:
        if not self._is_paused:
            return []
        self._is_paused = False
        effects: list[Effect] = []
        for key, stream in self._streams.items():
            if stream.queue:
                stream.delay_s = RETRY_DELAY_S
                effects += self._send_head(key, stream)
        return effects

    def _on_dropped(self, framework_id: FrameworkId) -> list[Effect]:
        effects: list[Effect] = []
        for key in [key for key in self._streams if key[0] == framework_id]:
            del self._streams[key]
            effects += self._forget_timer(key)
        return effects

    def _send_head(self, key: _Key, stream: _Stream) -> list[Effect]:
        if self._is_paused:
            return []
        self._generation += 1
        self._generations[key] = self._generation
        return [
            ForwardUpdate(stream.queue[0], stream.latest_state),
            StartRetry(*key, self._generation, stream.delay_s),
        ]

    def _forget_timer(self, key: _Key) -> list[Effect]:
        if self._generations.pop(key, None) is None:
            return []
        return [CancelRetry(*key)]


def _acknowledge(update: Update) -> list[Effect]:
    return [AcknowledgeExecutor(update)] if update.acknowledge_to else []


def _durably(kind: RecordKind, update: Update, effects: list[Effect]) -> list[Effect]:
    if not update.is_checkpointed:
        return effects
    return [Checkpoint(Record(kind, update), tuple(effects))]


__all__ = [
    "ACKNOWLEDGED_UUIDS_MAX",
    "QUEUED_UPDATES_MAX",
    "RETRY_DELAY_S",
    "RETRY_DELAY_S_MAX",
    "AcknowledgeExecutor",
    "CancelRetry",
    "Checkpoint",
    "Effect",
    "Event",
    "ForwardUpdate",
    "ForwardingPaused",
    "ForwardingResumed",
    "FrameworkStreamsDropped",
    "Ignored",
    "Record",
    "RecordKind",
    "RetryElapsed",
    "StartRetry",
    "StatusUpdateStreams",
    "Update",
    "UpdateAcknowledged",
    "UpdateReceived",
    "UpdateSettled",
]
