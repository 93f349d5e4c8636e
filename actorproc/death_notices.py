"""Death notices: an extension by which the end of one remote process reaches its linkers.

In libprocess a link hears of a remote process only when the connection to its whole runtime breaks.
Two runtimes that both have this extension tell each other: each runs one process ``__links__``, and
a link to a remote process also asks its runtime's ``__links__`` for a notice. A runtime without the
extension answers that request 404, which changes nothing.

    A: link(x@B) ──"actorproc.watch" x──> __links__@B, which links x
    B: x ends ────"actorproc.ended" x───> __links__@A, which ends A's links to x@B
"""

from __future__ import annotations

from typing import Final, Protocol, cast

from actorproc.pid import PID
from actorproc.process import Home, Process

ID: Final = "__links__"
WATCH: Final = "actorproc.watch"
ENDED: Final = "actorproc.ended"
WATCHED_MAX: Final = 100_000  # processes of ours that others may watch; more are refused silently


class LinkTable(Home, Protocol):
    """The part of a runtime that ends links."""

    def process_ended(self, pid: PID) -> None: ...


class DeathNotices(Process):
    """Asks other runtimes for notices, and gives them to those who ask us."""

    def __init__(self) -> None:
        super().__init__(ID)
        self._watchers: dict[PID, dict[PID, None]] = {}  # process of ours → who asked

    def initialize(self) -> None:
        self.install(WATCH, self._on_watch)
        self.install(ENDED, self._on_ended)

    def ask_for(self, pid: PID) -> None:
        """Ask the runtime of ``pid`` for a notice of its end."""
        self.send(PID(ID, pid.ip, pid.port), WATCH, pid.id.encode(errors="surrogateescape"))

    def _on_watch(self, sender: PID, body: bytes) -> None:
        watched = PID(body.decode(errors="surrogateescape"), self.pid.ip, self.pid.port)
        if sender.id != ID or (watched not in self._watchers and self._is_crowded()):
            return
        self._watchers.setdefault(watched, {})[sender] = None
        self.link(watched)

    def _is_crowded(self) -> bool:
        return len(self._watchers) >= WATCHED_MAX

    def _on_ended(self, sender: PID, body: bytes) -> None:
        if sender.id == ID:
            id = body.decode(errors="surrogateescape")
            cast(LinkTable, self.runtime).process_ended(PID(id, sender.ip, sender.port))

    def exited(self, pid: PID) -> None:
        for watcher in self._watchers.pop(pid, ()):
            self.send(watcher, ENDED, pid.id.encode(errors="surrogateescape"))


__all__ = ["DeathNotices"]
