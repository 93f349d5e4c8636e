"""Process: an actor with a PID and one mailbox, serving one event at a time.

    constructed ── spawn ──> initialize ──> serving events ──> finalize ──> gone
                                  └────── exception ──────────────┘

A subclass sets itself up in ``initialize``; handlers are plain functions, or coroutines when they
must wait: then the next event is served only when they finish. An exception that leaves a handler
ends the process: it is logged once and linked processes hear ``exited``.
Source: actor-runtime.md §3. Differs: libprocess aborts the whole OS process on an exception.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, overload

from actorproc.clock import Clock, Timer
from actorproc.codec import RAW, Codec, ProtobufMessage, protobuf_codec
from actorproc.errors import ProtocolMisuse
from actorproc.events import Dispatch, Event
from actorproc.pid import PID, Address

if TYPE_CHECKING:
    from random import Random

    from actorproc.routes import HttpHandler, Routes

MessageHandler = Callable[[PID, Any], Any]
Decoder = Callable[[bytes], Any]


class ProcessState(Enum):
    """Where a process stands in its one life."""

    CONSTRUCTED = "constructed"
    LIVE = "live"
    TERMINATING = "terminating"
    GONE = "gone"


class Home(Protocol):
    """What a process asks of the runtime it lives in; see ``Runtime`` for what each call does."""

    clock: Clock

    @property
    def address(self) -> Address: ...

    def spawn(self, process: Process) -> PID: ...

    def terminate(self, pid: PID, *, inject: bool = True) -> None: ...

    async def wait(self, pid: PID, timeout_s: float | None = None) -> bool: ...

    def send(
        self,
        sender: PID,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        codec: Codec | None = None,
    ) -> None: ...

    def dispatch(self, pid: PID, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]: ...

    def link(self, linker: Process, pid: PID, *, reconnect: bool = False) -> None: ...

    def start_task(
        self, process: Process, coroutine: Coroutine[Any, Any, Any]
    ) -> asyncio.Task[Any]: ...

    def enqueue(self, process: Process, event: Event) -> None: ...

    def rng(self, purpose: str) -> Random: ...

    async def settle(self) -> None: ...


class Process:
    """Base class of actors.

    Args:
        id: the id inside the PID; unique in its runtime.
        prefix: used instead of ``id`` for a generated one: ``prefix(1)``, ``prefix(2)``, ...
    """

    # Slots for what the runtime uses; subclasses may add attributes of their own freely.
    __slots__ = (
        "__dict__",
        "_busy",
        "_handlers",
        "_is_queued",
        "_mailbox",
        "_pid",
        "_prefix",
        "_requested_id",
        "_routes",
        "_runtime",
        "_state",
        "_tasks",
        "_timers",
    )

    def __init__(self, id: str | None = None, *, prefix: str = "") -> None:
        self._requested_id = id
        self._prefix = prefix
        self._pid = PID.EMPTY
        self._runtime: Home | None = None
        self._state = ProcessState.CONSTRUCTED
        self._mailbox: deque[Event] | None = None  # made with the first event: a deque is 760 bytes
        self._is_queued = False
        self._busy: asyncio.Task[Any] | None = None
        self._handlers: dict[str, tuple[MessageHandler, Decoder | None]] | None = None
        self._routes: Routes | None = None
        self._tasks: dict[asyncio.Task[Any], None] | None = None
        self._timers: dict[Timer, None] | None = None

    # What a subclass overrides.

    def initialize(self) -> None:
        """First code run in the process, before any event."""

    def finalize(self) -> None:
        """Last code run in the process."""

    def exited(self, pid: PID) -> None:
        """A linked process is gone, or the connection to its runtime is lost: it may still live."""

    # What it is and where it lives.

    @property
    def pid(self) -> PID:
        """The address of this process; the empty PID before ``spawn``."""
        return self._pid

    @property
    def runtime(self) -> Home:
        """The runtime this process lives in.

        Raises:
            ProtocolMisuse: before ``spawn``.
        """
        if self._runtime is None:
            raise ProtocolMisuse(f"{type(self).__name__} has not been spawned")
        return self._runtime

    @property
    def clock(self) -> Clock:
        return self.runtime.clock

    # What it receives.

    @overload
    def install(
        self, message: str, handler: Callable[[PID, bytes], Any], *, codec: None = None
    ) -> None: ...
    @overload
    def install(
        self, message: str, handler: Callable[[PID, Any], Any], *, codec: Codec
    ) -> None: ...
    @overload
    def install(
        self, message: type[Any], handler: Callable[[PID, Any], Any], *, codec: None = None
    ) -> None: ...
    def install(
        self,
        message: str | type[Any],
        handler: Callable[[PID, Any], Any],
        *,
        codec: Codec | None = None,
    ) -> None:
        """Serve messages of one name with ``handler(sender, body)``; a later call replaces it.

        Args:
            message: a message name, or a generated protobuf class (its full name is used and the
                handler gets the parsed message).
            handler: a function, or a coroutine function if it must wait.
            codec: how the body is decoded when ``message`` is a name; raw bytes by default.
        """
        if isinstance(message, str):
            name, codec = message, codec or RAW
        else:
            codec = protobuf_codec(message)
            name = codec.name
        if self._handlers is None:
            self._handlers = {}
        self._handlers[name] = (handler, None if codec is RAW else codec.decode)

    def route(
        self,
        path: str,
        handler: HttpHandler,
        *,
        methods: tuple[str, ...] = ("GET",),
        help: str = "",
    ) -> None:
        """Serve HTTP requests for ``/<process id><path>``.

        Args:
            path: as aiohttp's router takes it, for example ``/books/{isbn}``; a request for a
                longer path is served by the longest route that is a prefix of it.
            handler: a coroutine function from ``aiohttp.web.Request`` to a response.
            methods: HTTP methods served; ``("*",)`` for all.
            help: one or more lines of text for ``/help``.
        """
        if self._routes is None:
            from actorproc.routes import Routes  # brings in aiohttp

            self._routes = Routes()
        self._routes.add(path, handler, methods, help)

    # What it does to others.

    def link(self, pid: PID, *, reconnect: bool = False) -> None:
        """Ask for one ``exited(pid)``; with ``reconnect`` over a new connection."""
        self.runtime.link(self, pid, reconnect=reconnect)

    def send(
        self,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        *,
        codec: Codec | None = None,
    ) -> None:
        """Send at most once: ``send(pid, "name", b"...")`` or ``send(pid, protobuf_message)``."""
        self.runtime.send(self._pid, to, message, body, codec)

    def dispatch(self, to: PID, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run ``fn(*args)`` in another local process, in its turn.

        Returns:
            A future of the result; ``ProcessTerminated`` if that process ends first.
        """
        return self.runtime.dispatch(to, fn, *args)

    def delay(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        """Run ``fn(*args)`` in this process after ``delay_s`` seconds, unless it ends before."""
        if self._timers is None:
            self._timers = {}
        timers = self._timers
        runtime = self.runtime

        def fire() -> None:
            timers.pop(timer, None)
            runtime.enqueue(self, Dispatch(fn, args, None))

        timer = _OwnedTimer(timers)
        timers[timer] = None
        timer.scheduled = runtime.clock.call_later(delay_s, fire)
        return timer

    def start_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine that belongs to this process.

        It is cancelled when the process ends; an exception that leaves it ends the process.
        """
        return self.runtime.start_task(self, coroutine)

    def terminate(self) -> None:
        """End this process after the event in hand; what is queued is dropped."""
        self.runtime.terminate(self._pid)


class _OwnedTimer:
    """A timer that its process forgets when it fires or is cancelled."""

    __slots__ = ("_owner", "scheduled")

    def __init__(self, owner: dict[Timer, None]) -> None:
        self._owner = owner
        self.scheduled: Timer | None = None

    def cancel(self) -> bool:
        self._owner.pop(self, None)
        return self.scheduled is not None and self.scheduled.cancel()


__all__ = ["Home", "MessageHandler", "Process", "ProcessState"]
