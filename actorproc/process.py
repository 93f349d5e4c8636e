"""Process: an actor with a PID and one mailbox, serving one event at a time.

    constructed ── spawn ──> initialize ──> serving events ──> finalize ──> gone
                                  └────── exception ──────────────┘

A subclass sets itself up in ``initialize``; handlers are plain functions, or coroutines when they
must wait: then the next event is served only when they finish. An exception that leaves a handler
ends the process: it is logged once and linked processes hear ``exited``. (One that leaves a call
made by ``dispatch`` goes to the caller instead.)
Source: actor-runtime.md §3. Differs: libprocess aborts the whole OS process on an exception.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from actorproc.asking import ASK_TIMEOUT_S, Waiting
from actorproc.clock import Clock, Timer
from actorproc.codec import RAW, Codec, ProtobufMessage, name_and_codec
from actorproc.errors import ProtocolMisuse
from actorproc.events import Dispatch, Event, Headers
from actorproc.mailbox import DEFAULT_LIMIT, MailboxLimit
from actorproc.pid import PID, Address

if TYPE_CHECKING:
    from os import PathLike
    from random import Random

    from actorproc.routes import HttpHandler, Routes

MessageHandler = Callable[[PID, Any], Any]
Decoder = Callable[[bytes], Any]
InstalledHandler = tuple[MessageHandler, Decoder | None, bool]  # the last: reentrant

P = ParamSpec("P")
T = TypeVar("T")


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
        headers: Headers | None = None,
    ) -> None: ...

    async def flow(self, to: PID) -> None: ...

    async def ask(
        self,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        *,
        reply: str | type[Any],
        codec: Codec | None = None,
        headers: Headers | None = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Any: ...

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
        mailbox: how many events may wait, and what happens to messages beyond.
    """

    # Slots for what the runtime uses; subclasses may add attributes of their own freely.
    __slots__ = (
        "__dict__",
        "_busy",
        "_delegates",
        "_events_max",
        "_handlers",
        "_is_initialized",
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
        "_waits_for",
        "_when_full",
    )

    def __init__(
        self,
        id: str | None = None,
        *,
        prefix: str = "",
        mailbox: MailboxLimit = DEFAULT_LIMIT,
    ) -> None:
        self._requested_id = id
        self._prefix = prefix
        self._pid = PID.EMPTY
        self._runtime: Home | None = None
        self._state = ProcessState.CONSTRUCTED
        self._mailbox: deque[Event] | None = None  # made with the first event: a deque is 760 bytes
        self._events_max = mailbox.events_max
        self._when_full = mailbox.when_full
        self._is_initialized = False
        self._is_queued = False
        self._busy: asyncio.Task[Any] | None = None  # of a handler that holds up the process
        self._waits_for: Waiting | None = None  # whose answer that handler awaits
        self._handlers: dict[str, InstalledHandler] | None = None
        self._delegates: dict[str, PID] | None = None
        self._routes: Routes | None = None
        self._tasks: dict[asyncio.Task[Any], None] | None = None
        self._timers: dict[Timer, None] | None = None

    # What ended this process, when an exception did; here once, as hardly any process has one.
    failure: BaseException | None = None

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
        self,
        message: str,
        handler: Callable[[PID, bytes], Any],
        *,
        codec: None = None,
        reentrant: bool = False,
    ) -> None: ...
    @overload
    def install(
        self,
        message: str,
        handler: Callable[[PID, Any], Any],
        *,
        codec: Codec,
        reentrant: bool = False,
    ) -> None: ...
    @overload
    def install(
        self,
        message: type[Any],
        handler: Callable[[PID, Any], Any],
        *,
        codec: None = None,
        reentrant: bool = False,
    ) -> None: ...
    def install(
        self,
        message: str | type[Any],
        handler: Callable[[PID, Any], Any],
        *,
        codec: Codec | None = None,
        reentrant: bool = False,
    ) -> None:
        """Serve messages of one name with ``handler(sender, body)``; a later call replaces it.

        Args:
            message: a message name, or a generated protobuf class (its full name is used and the
                handler gets the parsed message).
            handler: a function, or a coroutine function if it must wait.
            codec: how the body is decoded when ``message`` is a name; raw bytes by default.
            reentrant: a coroutine handler lets the next event in while it waits (as a libprocess
                handler does that returns a future), instead of holding up the process.
        """
        name, codec = name_and_codec(message, codec)
        if self._handlers is None:
            self._handlers = {}
        self._handlers[name] = (handler, None if codec is RAW else codec.decode, reentrant)

    def delegate(self, name: str, to: PID) -> None:
        """Hand on messages of one name, with their sender; an installed handler goes first."""
        if self._delegates is None:
            self._delegates = {}
        self._delegates[name] = to

    def route(
        self,
        path: str,
        handler: HttpHandler,
        *,
        methods: tuple[str, ...] = ("GET",),
        help: str = "",
        stream: bool = False,
        realm: str | None = None,
        body_bytes_max: int | None = None,
    ) -> None:
        """Serve HTTP requests for ``/<process id><path>``.

        Args:
            path: as aiohttp's router takes it, for example ``/books/{isbn}``; a request for a
                longer path is served by the longest route that is a prefix of it.
            handler: a coroutine function from ``aiohttp.web.Request`` to a response.
            methods: HTTP methods served; ``("*",)`` for all.
            help: one or more lines of text for ``/help``.
            stream: run the handler when the head is there, to read ``request.content`` itself;
                otherwise the body is complete first.
            realm: who asks is found out by the authenticator of this realm (see
                ``actorproc.http.principal_of``).
            body_bytes_max: a larger body is answered 413; ``None`` takes the runtime's limit.
        """
        self._made_routes().add(
            path,
            handler,
            methods,
            help,
            streams=stream,
            realm=realm,
            body_bytes_max=body_bytes_max,
        )

    def provide(self, name: str, path: str | PathLike[str]) -> None:
        """Serve a file, or the files below a directory, as ``/<process id>/<name>``."""
        self._made_routes().provide(name, path)

    def _made_routes(self) -> Routes:
        if self._routes is None:
            from actorproc.routes import Routes  # brings in aiohttp

            self._routes = Routes()
        return self._routes

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
        headers: Headers | None = None,
    ) -> None:
        """Send at most once: ``send(pid, "name", b"...")`` or ``send(pid, protobuf_message)``.

        Args:
            to: the receiver.
            message: a message name, or a protobuf message.
            body: bytes, or what ``codec`` encodes.
            codec: see ``install``.
            headers: short texts that travel beside the body: ``traceparent``, ``tracestate``,
                ``baggage`` and names beginning with ``actorproc-``. libprocess ignores them.
        """
        self.runtime.send(self._pid, to, message, body, codec, headers)

    async def send_patiently(
        self,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        *,
        codec: Codec | None = None,
        headers: Headers | None = None,
    ) -> None:
        """As ``send``, but wait first while too much is queued to the receiver (back-pressure)."""
        await self.runtime.flow(to)
        self.runtime.send(self._pid, to, message, body, codec, headers)

    async def ask(
        self,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        *,
        reply: str | type[Any],
        codec: Codec | None = None,
        headers: Headers | None = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Any:
        """Send a message and wait for the first answer of the right name.

        The receiver answers the sender of the message, as it would answer any. Nothing is repeated:
        see ``actorproc.patterns`` for that. A remote receiver that is not there is only noticed by
        the time that passes: messages are sent at most once, and a sender is told nothing.

        Args:
            to: the receiver.
            message: a message name, or a protobuf message.
            body: bytes, or what ``codec`` encodes.
            reply: name of the answer, or its protobuf class.
            codec: of request and answer, when they are named.
            headers: see ``send``.
            timeout_s: seconds on the runtime's clock.

        Raises:
            TimeoutError: no answer in time.
            ProcessTerminated: the receiver is local and not there.
            PeerProtocolError: the answer's body is not valid.
        """
        return await self.runtime.ask(
            to,
            message,
            body,
            reply=reply,
            codec=codec,
            headers=headers,
            timeout_s=timeout_s,
        )

    @overload
    def dispatch(
        self, to: PID, fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]: ...
    @overload
    def dispatch(
        self, to: PID, fn: Callable[P, asyncio.Future[T]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]: ...
    @overload
    def dispatch(
        self, to: PID, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]: ...
    def dispatch(
        self, to: PID, fn: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.Future[Any]:
        """Run ``fn(*args)`` in a local process, in its turn.

        A coroutine function holds up that process until it ends, as a handler does: what takes long
        belongs in ``start_task``. A function that returns a future does not; its outcome is passed
        on. An exception goes to the caller, and the process lives on.

        Returns:
            A future of the result; ``ProcessTerminated`` if that process ends first, ``Deadlock``
            when awaited by a handler that the call itself would have to wait for.
        """
        return self.runtime.dispatch(to, partial(fn, **kwargs) if kwargs else fn, *args)

    def defer(self, fn: Callable[P, T], *bound: Any) -> Callable[..., asyncio.Future[Any]]:
        """A function that runs ``fn(*bound, *args)`` in this process when it is called.

        ``actorproc.patterns.defer`` can leave holes between the bound arguments.
        """
        return partial(self.runtime.dispatch, self._pid, fn, *bound)

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


__all__ = ["Home", "InstalledHandler", "MessageHandler", "Process", "ProcessState"]
