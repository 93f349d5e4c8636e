"""What happened in a simulated network, in order: the last events, and a hash over all of them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

TRACE_EVENTS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a trace.

    Attributes:
        at_s: virtual time.
        kind: one word: ``send``, ``deliver``, ``lost``, ``connect``, ``open``, ``refused``,
            ``break``, ``notice``, ``partition``, ``crash``, ...
        here: where it began, ``ip:port``; empty when it concerns no address.
        there: where it leads.
        connection: number of the connection; 0 for none.
        number: place of the message on its connection, from 1; 0 for none.
        detail: for a message its name, ids, length and checksum.
    """

    at_s: float
    kind: str
    here: str = ""
    there: str = ""
    connection: int = 0
    number: int = 0
    detail: str = ""

    def __str__(self) -> str:
        where = f" {self.here}->{self.there}" if self.there else f" {self.here}".rstrip()
        which = f" #{self.connection}" if self.connection else ""
        place = f".{self.number}" if self.number else ""
        return f"{self.at_s:.9f} {self.kind}{where}{which}{place} {self.detail}".rstrip()


class Trace:
    """Keeps the last ``events_max`` events; the hash covers every one there ever was."""

    def __init__(self, events_max: int = TRACE_EVENTS_MAX) -> None:
        self.count = 0
        self._events: deque[TraceEvent] = deque(maxlen=events_max)
        self._hash = hashlib.sha256()

    def add(self, event: TraceEvent) -> None:
        self.count += 1
        self._events.append(event)
        self._hash.update(f"{event.at_s!r} {event}\n".encode())

    @property
    def events(self) -> tuple[TraceEvent, ...]:
        """The events kept, oldest first."""
        return tuple(self._events)

    @property
    def forgotten(self) -> int:
        """How many events are no longer kept."""
        return self.count - len(self._events)

    def last(self, count: int) -> list[TraceEvent]:
        """The last ``count`` events, oldest first."""
        return list(self._events)[-count:]

    def hash(self) -> str:
        """Equal for equal histories, in every OS process."""
        return self._hash.hexdigest()


def delivery_violations(events: Iterable[TraceEvent]) -> list[str]:
    """What breaks the promise of a transport: at most once, a prefix, in order, per connection.

    Args:
        events: a whole trace, from its beginning.

    Returns:
        One sentence per violation; empty for a sound trace.
    """
    sent: dict[int, int] = {}
    delivered: dict[int, int] = {}
    found: list[str] = []
    for event in events:
        if event.kind == "send":
            sent[event.connection] = event.number
        elif event.kind == "deliver":
            wanted = delivered.get(event.connection, 0) + 1
            if event.number != wanted:
                found.append(f"connection {event.connection}: {event} where {wanted} was next")
            if event.number > sent.get(event.connection, 0):
                found.append(f"connection {event.connection}: {event} was never sent")
            delivered[event.connection] = event.number
    return found


__all__ = ["TRACE_EVENTS_MAX", "Trace", "TraceEvent", "delivery_violations"]
