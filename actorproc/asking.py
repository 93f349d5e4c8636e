"""Asking: a request with its answer, over messages that promise neither.

``ask`` sends a message from an id of its own (``__req_res__(N)``) and completes with the first
message of the right name that arrives there. No retry: see ``actorproc.patterns``. A handler that
waits for a call into itself, directly or through others, would wait for ever: ``CallFuture`` raises
``Deadlock`` instead. Source: actor-runtime.md §12 (``Protocol<Req, Res>``), §16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from actorproc.codec import Codec
from actorproc.errors import Deadlock, PeerProtocolError, ProtocolMisuse

if TYPE_CHECKING:
    from actorproc.pid import PID


ASK_TIMEOUT_S: Final = 30.0
OPEN_ASKS_MAX: Final = 1_000_000
ASK_PREFIX: Final = "__req_res__"


class Waiting(Protocol):
    """What the search for circles looks at: a process."""

    _busy: asyncio.Task[Any] | None
    _waits_for: Waiting | None

    @property
    def pid(self) -> PID: ...


class Ask(NamedTuple):
    """One open request and the name and codec of its answer."""

    name: str
    codec: Codec
    future: asyncio.Future[Any]


class OpenAsks:
    """Requests whose answers have not come, by the id that they are answered to."""

    def __init__(self) -> None:
        self._asks: dict[str, Ask] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._asks)

    def open(self, ask: Ask) -> str:
        """Register a request; returns the id to send it from. It closes with its future.

        Raises:
            ProtocolMisuse: more than ``OPEN_ASKS_MAX`` are open.
        """
        if len(self._asks) >= OPEN_ASKS_MAX:
            raise ProtocolMisuse(f"more than {OPEN_ASKS_MAX} requests are open")
        self._count += 1
        id = f"{ASK_PREFIX}({self._count})"
        self._asks[id] = ask
        ask.future.add_done_callback(lambda _: self._asks.pop(id, None))
        return id

    def answer(self, id: str, name: str, body: bytes) -> bool:
        """Complete a request; False when this is not the answer to an open one."""
        ask = self._asks.get(id)
        if ask is None or ask.future.done() or name != ask.name:
            return False
        try:
            ask.future.set_result(ask.codec.decode(body))
        except Exception as error:
            ask.future.set_exception(PeerProtocolError(f"the answer {name} is not valid: {error}"))
        return True


class CallFuture(asyncio.Future[Any]):
    """The outcome of a call into a process; awaiting it in a circle raises ``Deadlock``.

    Only handlers that hold up their process count: while ``process`` serves one, its
    ``_waits_for`` names the process whose answer that handler awaits.
    """

    __slots__ = ("callee",)

    def __init__(self, callee: Waiting, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.callee = callee

    def __await__(self) -> Generator[Any, None, Any]:
        if self.done():
            return super().__await__()
        waiting = busy_process.get()
        if waiting is None:
            return super().__await__()
        check_for_deadlock(waiting, self.callee)
        return self._await_noted(waiting)

    def _await_noted(self, waiting: Waiting) -> Generator[Any, None, Any]:
        waiting._waits_for = self.callee
        try:
            return (yield from super().__await__())
        finally:
            waiting._waits_for = None


# The process that the running handler holds up: set for handlers that wait, not for tasks which
# they start to go on beside them.
busy_process: ContextVar[Waiting | None] = ContextVar("busy_process", default=None)


def check_for_deadlock(waiting: Waiting, callee: Waiting) -> None:
    """Raise if ``callee`` can only answer after ``waiting`` has its answer.

    Raises:
        Deadlock: naming the circle.
    """
    circle = [waiting]
    step: Waiting | None = callee
    while step is not None and step._busy is not None:
        circle.append(step)
        if step is waiting:
            path = " -> ".join(str(process.pid) for process in circle)
            raise Deadlock(f"a handler waits for itself: {path}")
        step = step._waits_for


__all__ = [
    "ASK_TIMEOUT_S",
    "OPEN_ASKS_MAX",
    "Ask",
    "CallFuture",
    "OpenAsks",
    "Waiting",
    "busy_process",
    "check_for_deadlock",
]
