"""``/__processes__``: every process with the events in its mailbox, as JSON.

``[{"id": "master", "events": [{"type": "MESSAGE", "name": ...}, ...]}, ...]``. The mailboxes are
looked at from outside, so a process that is busy or dying cannot hold up the answer; one that is
about to end is left out. Source: actor-runtime.md §8.4, behaviour 23.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from aiohttp import web

from actorproc.events import Dispatch, Event, Exited, Http, Terminate
from actorproc.http.responses import json_response
from actorproc.process import Process, ProcessState

if TYPE_CHECKING:
    from actorproc.runtime import Runtime

EVENTS_SHOWN_MAX: Final = 100  # of one process, the next ones first
BODY_BYTES_SHOWN_MAX: Final = 1024  # of one message

Shown = dict[str, str | int]


class ProcessesProcess(Process):
    """Serves ``/__processes__``."""

    def __init__(self, runtime: Runtime, realm: str | None = None) -> None:
        super().__init__("__processes__")
        self._site = runtime
        self._realm = realm

    def initialize(self) -> None:
        text = f"Every process with its next {EVENTS_SHOWN_MAX} events, as JSON."
        self.route("/", self._show, help=text, realm=self._realm)

    async def _show(self, request: web.Request) -> web.Response:
        shown = [
            {"id": process.pid.id, "events": _events_of(process)}
            for process in self._site.processes()
            if not _is_dying(process)
        ]
        return json_response(request, shown)


def _is_dying(process: Process) -> bool:
    if process._state is not ProcessState.LIVE:
        return True
    return isinstance(next(iter(process._mailbox or ()), None), Terminate)


def _events_of(process: Process) -> list[Shown]:
    mailbox = process._mailbox or ()
    return [_show_event(event) for event in itertools.islice(mailbox, EVENTS_SHOWN_MAX)]


def _show_event(event: Event) -> Shown:
    match event:
        case (name, sender, body, _):
            text = body[:BODY_BYTES_SHOWN_MAX].decode(errors="replace")
            return {"type": "MESSAGE", "name": name, "from": str(sender), "body": text}
        case Dispatch():
            return {"type": "DISPATCH", "name": getattr(event.fn, "__qualname__", "?")}
        case Http():
            return {"type": "HTTP", "method": event.request.method, "url": event.path}
        case Exited():
            return {"type": "EXITED", "pid": str(event.pid)}
        case Terminate():
            return {"type": "TERMINATE"}


__all__ = ["BODY_BYTES_SHOWN_MAX", "EVENTS_SHOWN_MAX", "ProcessesProcess"]
