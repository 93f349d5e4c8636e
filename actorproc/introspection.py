"""What happens inside a runtime: dead letters, full mailboxes, slow handlers, stories.

libprocess drops messages without a trace. Here the last dead letters are always kept; an
``Observer``, given to the runtime, also times handlers, reports those that block the loop, keeps
the causal story of messages, and is where tracing hooks in. Without one, messages pay nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from actorproc.events import Headers
from actorproc.pid import PID

logger = logging.getLogger(__name__)

DEAD_LETTERS_MAX: Final = 1000
HANDLERS_MAX: Final = 10_000  # (process, message) pairs that are timed
STORIES_MAX: Final = 10_000  # messages whose story is remembered
SLOW_HANDLER_S: Final = 0.01

ID_HEADER: Final = "actorproc-id"
CAUSE_HEADER: Final = "actorproc-cause"


class Reason(Enum):
    """Why a message reached no handler."""

    NO_PROCESS = "no process has this id"
    NO_HANDLER = "the process has no handler for this name"
    UNPARSEABLE = "the body is not valid"
    MAILBOX_FULL = "the mailbox is full"
    PROCESS_ENDED = "the process ended before it came to it"


class DeadLetter(NamedTuple):
    """One message that reached no handler; ``to_id`` is a process of this runtime."""

    at_s: float
    reason: Reason
    to_id: str
    name: str
    sender: PID
    detail: str = ""


class DeadLetters:
    """The last ones, and who wants to hear of each."""

    def __init__(self) -> None:
        self.counts: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self._last: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_MAX)
        self._listeners: list[Callable[[DeadLetter], None]] = []

    def add(self, letter: DeadLetter) -> None:
        self.counts[letter.reason] += 1
        self._last.append(letter)
        for listener in list(self._listeners):
            listener(letter)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield the last ones, oldest first."""
        return iter(tuple(self._last))

    def listen(self, listener: Callable[[DeadLetter], None]) -> Callable[[], None]:
        """Call ``listener`` for each dead letter from now on; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class ProcessView(NamedTuple):
    """One process as an operator sees it."""

    id: str
    state: str
    queued: int  # events in its mailbox
    is_waiting: bool  # a handler waits and holds up the process


@dataclass(slots=True)
class HandlerTimes:
    """How long the handler of one message took, summed up."""

    process_id: str
    name: str
    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0

    def add(self, took_s: float) -> None:
        self.count += 1
        self.total_s += took_s
        self.longest_s = max(self.longest_s, took_s)


class Step(NamedTuple):
    """One thing that happened to a message."""

    at_s: float
    what: str  # sent, received
    message_id: str
    cause_id: str  # id of the message whose handler sent this one; empty at the start of a story
    sender: PID
    receiver: str
    name: str


class Observer:
    """Watches the messages of one runtime.

    Args:
        slow_handler_s: a handler that holds the event loop longer is reported.
        now_s: time for the steps of stories; the runtime's clock once it has started.
        timer_s: how handlers are timed; the processor's time, not the clock of actors.
    """

    def __init__(
        self,
        *,
        slow_handler_s: float = SLOW_HANDLER_S,
        now_s: Callable[[], float] = time.time,
        timer_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.slow_handler_s = slow_handler_s
        self.now_s = now_s
        self._timer_s = timer_s
        self._times: dict[tuple[str, str], HandlerTimes] = {}
        self._steps: dict[str, list[Step]] = {}
        self._effects: dict[str, list[str]] = {}
        self._count = 0
        self._origin = ""

    def attach(self, address: str, now_s: Callable[[], float]) -> None:
        """Learn where it watches; called by the runtime."""
        self._origin = address
        self.now_s = now_s

    # What the runtime calls.

    def sending(self, sender: PID, to: PID, name: str, headers: Headers | None) -> Headers:
        """Give a message an id and the id of what caused it; returns the headers to send."""
        if headers is not None and ID_HEADER in headers:
            return headers  # handed on
        self._count += 1
        message_id = f"{self._origin}/{self._count}"
        cause_id = current_message_id.get()
        self._note(Step(self.now_s(), "sent", message_id, cause_id, sender, str(to), name))
        added = {ID_HEADER: message_id} | ({CAUSE_HEADER: cause_id} if cause_id else {})
        return {**headers, **added} if headers else added

    @contextmanager
    def handling(
        self, process: PID, sender: PID, name: str, headers: Headers | None
    ) -> Iterator[None]:
        """Surround the run of a handler up to its first wait."""
        message_id = headers.get(ID_HEADER, "") if headers else ""
        cause_id = headers.get(CAUSE_HEADER, "") if headers else ""
        if message_id:
            step = Step(self.now_s(), "received", message_id, cause_id, sender, str(process), name)
            self._note(step)
        token = current_message_id.set(message_id)
        start_s = self._timer_s()
        try:
            yield
        finally:
            self._timed(process, name, self._timer_s() - start_s)
            current_message_id.reset(token)

    def _timed(self, process: PID, name: str, took_s: float) -> None:
        key = (process.id, name)
        times = self._times.get(key)
        if times is None:
            if len(self._times) >= HANDLERS_MAX:
                self._times.pop(next(iter(self._times)))
            times = self._times[key] = HandlerTimes(*key)
        times.add(took_s)
        if took_s > self.slow_handler_s:
            logger.warning(
                "%s held the event loop for %.1f ms serving %s", process, took_s * 1e3, name
            )

    def _note(self, step: Step) -> None:
        if step.message_id not in self._steps:
            if len(self._steps) >= STORIES_MAX:
                oldest = next(iter(self._steps))
                del self._steps[oldest]
                self._effects.pop(oldest, None)
            self._steps[step.message_id] = []
            if step.cause_id in self._steps:
                self._effects.setdefault(step.cause_id, []).append(step.message_id)
        self._steps[step.message_id].append(step)

    # What users ask.

    def slowest_handlers(self, count: int = 10) -> list[HandlerTimes]:
        """Handlers by the longest time that one run took, longest first."""
        return sorted(self._times.values(), key=lambda times: -times.longest_s)[:count]

    def story(self, message_id: str) -> list[Step]:
        """All that is known of a message: what led to it, itself, and what it led to, in order."""
        first = message_id
        while (cause := self._cause_of(first)) in self._steps and cause != first:
            first = cause
        found: list[Step] = []
        waiting = [first]
        while waiting:
            current = waiting.pop()
            found += self._steps.get(current, [])
            waiting += self._effects.get(current, [])
        return sorted(found, key=lambda step: step.at_s)

    def _cause_of(self, message_id: str) -> str:
        steps = self._steps.get(message_id)
        return steps[0].cause_id if steps else ""


# The id of the message whose handler is running; tasks that it starts inherit it.
current_message_id: ContextVar[str] = ContextVar("current_message_id", default="")
# The headers of the message whose handler is running.
current_headers: ContextVar[Headers | None] = ContextVar("current_headers", default=None)

__all__ = [
    "DeadLetter",
    "DeadLetters",
    "HandlerTimes",
    "Observer",
    "ProcessView",
    "Reason",
    "Step",
    "current_headers",
    "current_message_id",
]
