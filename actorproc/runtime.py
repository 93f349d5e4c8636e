"""Runtime: where processes live. It owns mailboxes, the run queue, links and one transport.

One run queue serves all processes: a process with events stands in it once, and one callback of the
event loop drains it with a budget. So an actor costs no task of its own; only a handler that really
waits gets one. A runtime is an object: several may live in one program, on one loop.

    send ─┬─ own address ──> mailbox ──> run queue ──> handler
          └─ any other ────> transport ──> network
    network ──> transport ──> deliver ──> mailbox

Source: actor-runtime.md §1.8 (locality), §2.2 (why a run queue), §3 (process model).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from actorproc.asking import ASK_TIMEOUT_S, Ask, CallFuture, OpenAsks, busy_process
from actorproc.clock import Clock, RealClock, wait_until_settled
from actorproc.codec import Codec, ProtobufMessage, encode_protobuf, name_and_codec
from actorproc.core.links import Links
from actorproc.death_notices import DeathNotices
from actorproc.errors import (
    ClosedRuntime,
    IdTaken,
    PeerProtocolError,
    ProcessTerminated,
    ProtocolMisuse,
)
from actorproc.events import (
    Dispatch,
    Event,
    Exited,
    Headers,
    Http,
    Message,
    Terminate,
)
from actorproc.introspection import (
    DeadLetter,
    DeadLetters,
    Observer,
    ProcessView,
    Reason,
    current_headers,
)
from actorproc.mailbox import Delivery, WhenFull
from actorproc.pid import PID, Address
from actorproc.process import InstalledHandler, Process, ProcessState
from actorproc.transport.base import Transport

if TYPE_CHECKING:
    from aiohttp import web

    from actorproc.http_front import HttpFront

logger = logging.getLogger(__name__)

DRAIN_EVENTS_MAX: Final = 1024  # events served before the loop gets a turn for its sockets
PROCESS_EVENTS_MAX: Final = 128  # events of one process before the next one's turn
TASK_CANCEL_S: Final = 5.0  # how long a process that ends waits for its cancelled tasks
STOP_S: Final = 10.0  # how long stop() waits for all processes


class Runtime:
    """A home for processes, with one address.

    Args:
        transport: how messages travel to other runtimes (``TcpTransport``, or one of an
            ``InProcessNetwork``).
        clock: real time by default.
        seed: source of every random stream; ``None`` takes one from the operating system.
        delegate: id of the process that also serves HTTP paths which name no process.
        observer: times handlers and keeps stories (see ``actorproc.introspection``).
        death_notices: an extension: peers that have it too tell of the end of single processes, so
            that a link to one of them hears of its end, not only of its runtime's.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        delegate: str = "",
        observer: Observer | None = None,
        death_notices: bool = False,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.delegate = delegate
        self.dead_letters = DeadLetters()
        # Asked before an event is served; False drops it. For tests (actorproc.testing).
        self.event_filter: Callable[[Process, Event], bool] | None = None
        self._transport = transport
        self._seed = random.SystemRandom().getrandbits(64) if seed is None else seed
        self._address = Address("", 0)
        self._ip, self._port = self._address  # compared with the receiver of every message
        self._processes: dict[str, Process] = {}
        self._ready: deque[Process] = deque()
        self._is_drain_scheduled = False
        self._served = 0
        self._links = Links()
        self._asks = OpenAsks()
        self._room_waiters: dict[str, list[Callable[[], None]]] = {}
        self._observer = observer
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._id_counters: dict[str, int] = {}
        self._finishing: dict[asyncio.Task[None], None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._death_notices = DeathNotices() if death_notices else None
        self._http_front: HttpFront | None = None

    # Life of the runtime.

    async def start(self) -> None:
        """Begin to listen; PIDs are valid from here on.

        Raises:
            BrokenTransport: the address cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._transport.start(self)
        except BaseException:
            self._loop = None  # nothing to stop
            raise
        self._address = self._transport.address
        self._ip, self._port = self._address
        self.clock.attach(self)
        if self._observer is not None:
            self._observer.attach(str(self._address), self.clock.now_s)
        if self._death_notices is not None:
            self.spawn(self._death_notices)

    async def stop(self) -> None:
        """End every process (``finalize`` runs), then close the transport."""
        if self._loop is None:
            return
        self._is_stopping = True
        for process in list(self._processes.values()):
            self.terminate(process.pid)
        gone = [self._wait_gone(id) for id in list(self._processes)]
        if gone:
            await asyncio.wait(gone, timeout=STOP_S)
        for id in self._processes:
            logger.error("process %s did not end within %s s", id, STOP_S)
        await self._transport.stop()
        if self._http_front is not None:
            await self._http_front.stop()
        self.clock.detach(self)
        self._loop = None

    def kill(self) -> list[asyncio.Task[Any]]:
        """End at once, as an OS process killed by a signal: no ``finalize``, no farewell.

        For tests (actorproc.testing). The transport is left as it is; calls and waits from outside
        are released.

        Returns:
            The unfinished tasks of all processes; the caller decides what becomes of them.
        """
        tasks: list[asyncio.Task[Any]] = list(self._finishing)
        for process in self._processes.values():
            tasks += [*(process._tasks or ()), *([process._busy] if process._busy else ())]
            process._state = ProcessState.GONE
            _cancel_all(process._timers)
            mailbox = process._mailbox
            self._abandon_queued(process)
            if mailbox is not None:
                mailbox.clear()  # it may be in the middle of being served
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            _complete(waiter)
        self._waiters.clear()
        self._processes.clear()
        self._ready.clear()
        self._is_stopping = True
        self.clock.detach(self)
        self._loop = None
        return [task for task in tasks if not task.done()]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def address(self) -> Address:
        """The advertised ip and port; valid after ``start``."""
        return self._address

    def rng(self, purpose: str) -> random.Random:
        """A random stream of its own for one purpose; the same seed gives the same stream."""
        return random.Random(f"{self._seed}/{purpose}")

    async def settle(self) -> None:
        """Wait until no process has anything left to do at the present time of the clock."""
        await wait_until_settled([self])

    def processes(self) -> list[Process]:
        """The processes that live here, oldest first."""
        return list(self._processes.values())

    def inspect(self) -> list[ProcessView]:
        """Every process with its state and how much waits in its mailbox, in order of spawning."""
        return [
            ProcessView(
                id, process._state.value, len(process._mailbox or ()), process._busy is not None
            )
            for id, process in self._processes.items()
        ]

    @property
    def activity(self) -> int:
        return self._served + self._transport.activity

    @property
    def is_idle(self) -> bool:
        return not self._ready and self._transport.is_idle

    # Life of processes.

    def spawn(self, process: Process) -> PID:
        """Give a process its PID and start it; ``initialize`` runs before its first event.

        Raises:
            IdTaken: the id is in use. (Differs: libprocess returns an empty PID.)
            ProtocolMisuse: the object was spawned before, or the runtime has not been started.
            ClosedRuntime: the runtime is shutting down.
        """
        if self._is_stopping:
            raise ClosedRuntime("the runtime is shutting down")
        if self._loop is None:
            raise ProtocolMisuse("start the runtime before spawning processes")
        if process._state is not ProcessState.CONSTRUCTED:
            raise ProtocolMisuse(f"{process.pid} was spawned before: a process lives once")
        id = process._requested_id
        if id is None:
            id = self._generate_id(process._prefix)
        if id in self._processes:
            raise IdTaken(f"a process with id {id!r} already lives here")
        process._pid = PID(id, self._address.ip, self._address.port)
        process._runtime = self
        process._state = ProcessState.LIVE
        self._processes[id] = process
        self._make_ready(process)
        return process._pid

    def _generate_id(self, prefix: str) -> str:
        number = self._id_counters.get(prefix, 0) + 1
        while f"{prefix}({number})" in self._processes:
            number += 1  # somebody chose it
        self._id_counters[prefix] = number
        return f"{prefix}({number})"

    def terminate(self, pid: PID, *, inject: bool = True) -> None:
        """End a local process; unknown PIDs are ignored.

        Args:
            pid: the process.
            inject: True ends it after the event in hand and drops what is queued; False lets it
                serve what is queued first.
        """
        process = self._find(pid)
        if process is None:
            return
        mailbox = process._mailbox
        if mailbox is None:
            process._mailbox = mailbox = deque()
        if not inject:
            mailbox.append(_TERMINATE)
        else:
            mailbox.appendleft(_TERMINATE)
            busy = process._busy
            if busy is not None and busy is not asyncio.current_task():
                busy.cancel()
        self._make_ready(process)

    async def wait(self, pid: PID, timeout_s: float | None = None) -> bool:
        """Wait until a local process is gone.

        Args:
            pid: the process.
            timeout_s: seconds on the runtime's clock; ``None`` waits for ever.

        Returns:
            True once it is gone; False at the deadline, or when no such process exists.
        """
        if self._find(pid) is None or (timeout_s is not None and timeout_s <= 0):
            return False
        gone = self._wait_gone(pid.id)
        timer = None
        if timeout_s is not None:
            timer = self.clock.call_later(timeout_s, gone.cancel)
        try:
            await gone
        except asyncio.CancelledError:
            if not gone.cancelled() or _is_being_cancelled():
                raise
            return False
        finally:
            if timer is not None:
                timer.cancel()
            waiters = self._waiters.get(pid.id, [])
            if gone in waiters:
                waiters.remove(gone)
        return True

    def _wait_gone(self, id: str) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._running_loop().create_future()
        self._waiters.setdefault(id, []).append(waiter)
        return waiter

    def _find(self, pid: PID) -> Process | None:
        if pid.port != self._address.port or pid.ip != self._address.ip:
            return None
        return self._processes.get(pid.id)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise ProtocolMisuse("the runtime has not been started")
        return self._loop

    # Messages, calls and links.

    def post(
        self,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        *,
        sender: PID = PID.EMPTY,
        codec: Codec | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Send from outside any process."""
        self.send(sender, to, message, body, codec, headers)

    def send(
        self,
        sender: PID,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        codec: Codec | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Send at most once; what cannot be delivered is dropped and counted.

        Raises:
            ProtocolMisuse: a message name that cannot stand on a request line, to a remote process.
            TypeError: a body that is not bytes, without a codec.
        """
        if type(message) is str:
            name = message
            if codec is not None:
                body = codec.encode(body)
            elif type(body) is not bytes:
                body = bytes(memoryview(body))  # a copy of what it is now; TypeError if no bytes
        else:
            name, body = _encode_protobuf(message)
        if self._observer is not None:
            headers = self._observer.sending(sender, to, name, headers)
        if to.port == self._port and to.ip == self._ip:
            process = self._processes.get(to.id)
            if process is not None and process._state is _LIVE:
                # As ``deliver``, inlined: this is the path of every local message.
                mailbox = process._mailbox
                if mailbox is not None and len(mailbox) < process._events_max:
                    mailbox.append((name, sender, body, headers))
                    if not process._is_queued:
                        self._make_ready(process)
                    return
            self.deliver(to.id, name, sender, body, headers)
        elif not to.is_empty:
            self._transport.send(sender, to, name, body, headers)

    async def flow(self, to: PID) -> None:
        """Wait while too much is queued to ``to``: in its mailbox, or on the way to its runtime."""
        if to.port == self._port and to.ip == self._ip:
            process = self._processes.get(to.id)
            if process is not None and _is_full(process):
                emptied: asyncio.Future[None] = self._running_loop().create_future()
                self.call_when_room(to.id, lambda: _complete(emptied))
                await emptied
        else:
            while (written := self._transport.flow(to.address)) is not None:
                await asyncio.shield(written)  # others wait for the same

    def deliver(
        self, to_id: str, name: str, sender: PID, body: bytes, headers: Headers | None = None
    ) -> Delivery:
        """Put a message into the mailbox of a local process, or complete the ask it answers."""
        process = self._processes.get(to_id)
        if process is None or process._state is not _LIVE:
            if self._asks.answer(to_id, name, body):
                return _ACCEPTED
            self._bury(Reason.NO_PROCESS, to_id, name, sender)
            return Delivery.NO_PROCESS
        mailbox = process._mailbox
        if mailbox is None:
            process._mailbox = mailbox = deque()
        elif len(mailbox) >= process._events_max:
            return self._deliver_to_full(process, mailbox, (name, sender, body, headers))
        mailbox.append((name, sender, body, headers))
        if not process._is_queued:
            self._make_ready(process)
        return _ACCEPTED

    def _deliver_to_full(
        self, process: Process, mailbox: deque[Event], message: Message
    ) -> Delivery:
        name, sender, _, _ = message
        match process._when_full:
            case WhenFull.WAIT:
                mailbox.append(message)
                return Delivery.ACCEPTED_FULL
            case WhenFull.DROP:
                self._bury(Reason.MAILBOX_FULL, process._pid.id, name, sender)
                return _ACCEPTED  # at most once: accepted is not handled
            case WhenFull.REFUSE:
                self._bury(Reason.MAILBOX_FULL, process._pid.id, name, sender)
                return Delivery.REFUSED

    def call_when_room(self, to_id: str, resume: Callable[[], None]) -> None:
        """Call ``resume`` once the mailbox of ``to_id`` is half empty, or the process gone."""
        process = self._processes.get(to_id)
        if process is None or not _is_full(process):
            resume()
        else:
            self._room_waiters.setdefault(to_id, []).append(resume)

    def _tell_room(self, process_id: str) -> None:
        for resume in self._room_waiters.pop(process_id, ()):
            resume()

    def _bury(self, reason: Reason, to_id: str, name: str, sender: PID, detail: str = "") -> None:
        letter = DeadLetter(self.clock.now_s(), reason, to_id, name, sender, detail)
        self.dead_letters.add(letter)

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
        """Send a message and wait for its answer (see ``Process.ask``)."""
        if to.address == self._address and to.id not in self._processes:
            raise ProcessTerminated(f"{to} is gone: nobody can answer")
        name, reply_codec = name_and_codec(reply, codec)
        answer: asyncio.Future[Any] = self._running_loop().create_future()
        id = self._asks.open(Ask(name, reply_codec, answer))
        timer = self.clock.call_later(timeout_s, _time_out, answer, to, timeout_s)
        try:
            self.send(PID(id, self._ip, self._port), to, message, body, codec, headers)
            return await answer
        finally:
            timer.cancel()
            answer.cancel()

    def dispatch(self, pid: PID, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run ``fn(*args)`` in a local process, in its turn.

        Returns:
            A future of the result (of a coroutine function: of what it returns).
            ``ProcessTerminated`` when the process is gone, or ends first. ``Deadlock`` is raised
            where a handler awaits it that the call itself would have to wait for.
        """
        loop = self._running_loop()
        process = self._processes.get(pid.id)
        if (
            process is None
            or process._state is not _LIVE
            or pid.port != self._port
            or pid.ip != self._ip
        ):
            gone: asyncio.Future[Any] = loop.create_future()
            _fail(gone, ProcessTerminated(f"{pid} is gone: {_name_of(fn)} was not run"))
            return gone
        future: asyncio.Future[Any]
        if busy_process.get() is None:
            future = loop.create_future()
        else:  # only who holds up a process can wait in a circle
            future = CallFuture(process, loop=loop)
        mailbox = process._mailbox
        if mailbox is None:
            process._mailbox = mailbox = deque()
        mailbox.append(Dispatch(fn, args, future))
        if not process._is_queued:
            self._make_ready(process)
        return future

    def link(self, linker: Process, pid: PID, *, reconnect: bool = False) -> None:
        """Make ``linker`` hear of the end of ``pid`` once (see ``Process.link``).

        A PID without an address cannot be reached: ``exited`` comes at once. A link to oneself is
        refused with a log record, not an exception: both may come from a peer that claims to be
        somebody else, and must not be able to end the process.
        """
        if pid == linker._pid:
            logger.warning("%s cannot link itself", pid)
            return
        self._links.add(linker._pid.id, pid)
        if not pid.port:
            self._tell_exited(pid)
        elif pid.address != self._address:
            self._transport.link(pid.address, reconnect=reconnect)
            if self._death_notices is not None:
                self._death_notices.ask_for(pid)
        elif pid.id not in self._processes:
            self._tell_exited(pid)

    def link_broken(self, address: Address) -> None:
        """Tell every linker of a PID at ``address``; called by the transport."""
        for linker_id, pid in self._links.take_address(address):
            self._enqueue_exited(linker_id, pid)

    def process_ended(self, pid: PID) -> None:
        """A remote process has ended, as its runtime tells (see ``actorproc.death_notices``)."""
        self._tell_exited(pid)

    def _tell_exited(self, pid: PID) -> None:
        for linker_id in self._links.take_linkers(pid):
            self._enqueue_exited(linker_id, pid)

    def _enqueue_exited(self, linker_id: str, pid: PID) -> None:
        linker = self._processes.get(linker_id)
        if linker is not None and linker._state is ProcessState.LIVE:
            self.enqueue(linker, Exited(pid))

    def start_task(
        self, process: Process, coroutine: Coroutine[Any, Any, Any]
    ) -> asyncio.Task[Any]:
        """Run a coroutine on behalf of a process (see ``Process.start_task``)."""
        if process._state is ProcessState.GONE:
            coroutine.close()
            raise ProcessTerminated(f"{process._pid} is gone: it starts nothing more")
        context = copy_context()
        context.run(busy_process.set, None)  # it goes on beside the handler that starts it
        task = self._running_loop().create_task(coroutine, context=context)
        if process._tasks is None:
            process._tasks = {}
        process._tasks[task] = None

        def done(task: asyncio.Task[Any]) -> None:
            if process._tasks is not None:
                process._tasks.pop(task, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._crash(process, error, "a task")

        task.add_done_callback(done)
        return task

    # Ordinary HTTP.

    def open_http(self, connection: asyncio.Transport) -> asyncio.Protocol:
        """Serve one HTTP request on ``connection``; called by the transport."""
        return self.http.connect(connection)

    @property
    def http(self) -> HttpFront:
        """The HTTP side: realms, firewall and limits of ordinary requests."""
        if self._http_front is None:
            from actorproc.http_front import HttpFront  # brings in aiohttp

            self._http_front = HttpFront(self)
        return self._http_front

    def request_http(
        self, id: str, path: str, request: web.Request
    ) -> asyncio.Future[web.StreamResponse] | None:
        """Queue an HTTP request for a process; None when no process has this id."""
        process = self._processes.get(id)
        if process is None or process._state is not ProcessState.LIVE:
            return None
        future: asyncio.Future[web.StreamResponse] = self._running_loop().create_future()
        self.enqueue(process, Http(request, path, future))
        return future

    # The run queue.

    def enqueue(self, process: Process, event: Event) -> None:
        """Append an event to a mailbox and make its process ready to run."""
        mailbox = process._mailbox
        if mailbox is None:
            process._mailbox = mailbox = deque()
        mailbox.append(event)
        if not process._is_queued:
            self._make_ready(process)

    def _make_ready(self, process: Process) -> None:
        if process._is_queued or process._busy is not None:
            return
        process._is_queued = True
        self._ready.append(process)
        if not self._is_drain_scheduled and self._loop is not None:
            self._is_drain_scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        budget = DRAIN_EVENTS_MAX
        ready = self._ready
        try:
            while ready and budget > 0:
                process = ready.popleft()
                process._is_queued = False
                budget -= self._run(process)
        finally:  # also when a handler exits the program: its processes must still end
            if ready and self._loop is not None:
                self._loop.call_soon(self._drain)
            else:
                self._is_drain_scheduled = False

    def _run(self, process: Process) -> int:
        """Serve some events of one process; returns how many."""
        if not process._is_initialized:
            self._initialize(process)
        mailbox = process._mailbox
        if mailbox is None or not _may_serve(process):
            return 1
        served = 0
        event: Event = _TERMINATE
        event_filter, observer = self.event_filter, self._observer
        try:
            while mailbox and served < PROCESS_EVENTS_MAX:
                served += 1
                event = mailbox.popleft()
                if event_filter is not None and not event_filter(process, event):
                    continue
                if type(event) is tuple:
                    # Inlined, not a method: this is the path of every message.
                    name, sender, body, headers = event
                    handlers = process._handlers
                    installed = handlers.get(name) if handlers is not None else None
                    if installed is None:
                        self._hand_on(process, event)
                        continue
                    handler, decode, is_reentrant = installed
                    if decode is not None or headers is not None or observer is not None:
                        self._serve_message(process, event, installed)
                    else:
                        result = handler(sender, body)
                        if result is not None:
                            self._after(process, result, is_reentrant)
                    if process._busy is not None:
                        break
                else:
                    if type(event) is Dispatch:
                        self._serve_dispatch(process, event)
                    else:
                        self._serve_other(process, event)
                    if process._busy is not None or process._state is not _LIVE:
                        break
        except (Exception, asyncio.CancelledError) as error:
            self._crash(process, error, _kind_of(event))
        self._served += served
        if self._room_waiters and len(mailbox) <= process._events_max // 2:
            self._tell_room(process._pid.id)
        if mailbox and process._state is _LIVE:
            self._make_ready(process)
        return served

    def _initialize(self, process: Process) -> None:
        # Not an event: an idle process has no mailbox yet.
        process._is_initialized = True
        self._served += 1
        try:
            self._after(process, process.initialize())  # type: ignore[func-returns-value]
        except (Exception, asyncio.CancelledError) as error:
            self._crash(process, error, "initialize")

    def _serve_message(
        self, process: Process, message: Message, installed: InstalledHandler
    ) -> None:
        """Serve a message that has to be decoded, carries headers, or is observed."""
        name, sender, body, headers = message
        handler, decode, is_reentrant = installed
        value: Any = body
        if decode is not None:
            try:
                value = decode(body)
            except Exception as error:
                self._drop_unparseable(process, message, error)
                return
        token = current_headers.set(headers)
        try:
            if self._observer is None:
                self._after(process, handler(sender, value), is_reentrant)
            else:
                with self._observer.handling(process._pid, sender, name, headers):
                    self._after(process, handler(sender, value), is_reentrant)
        finally:
            current_headers.reset(token)

    def _hand_on(self, process: Process, message: Message) -> None:
        """Give a message without handler to the delegate for its name, if there is one."""
        name, sender, body, headers = message
        to = process._delegates.get(name) if process._delegates is not None else None
        if to is not None:
            self.send(sender, to, name, body, None, headers)
        else:
            self._bury(Reason.NO_HANDLER, process._pid.id, name, sender)

    def _drop_unparseable(self, process: Process, message: Message, error: Exception) -> None:
        name, sender, _, _ = message
        reason = error.reason if isinstance(error, PeerProtocolError) else str(error) or repr(error)
        self._bury(Reason.UNPARSEABLE, process._pid.id, name, sender, reason)
        logger.warning(
            "%s dropped message %s from %s: its body is not valid: %s",
            process._pid,
            name,
            sender,
            reason,
        )

    def _serve_other(self, process: Process, event: Event) -> None:
        match event:
            case Exited(pid=pid):
                self._after(process, process.exited(pid))  # type: ignore[func-returns-value]
            case Http():
                self._serve_http(process, event)
            case Terminate():
                self._begin_termination(process)
            case tuple() | Dispatch():
                pass  # served by _run itself

    def _serve_dispatch(self, process: Process, event: Dispatch) -> None:
        future = event.future
        if future is None:
            self._after(process, event.fn(*event.args))
            return
        if future.cancelled():
            return
        try:
            result = event.fn(*event.args)
        except (Exception, asyncio.CancelledError) as error:
            # The caller gets the exception; it is the caller's to handle, the process lives on.
            _fail(future, error)
            return
        if result is None:  # what most calls return; the checks below cost
            future.set_result(None)
        elif type(result) is CoroutineType:
            self._wait_for(process, result, future)
        elif isinstance(result, asyncio.Future):
            # As in libprocess, a returned future is linked to the caller's, and the next event
            # does not wait for it.
            result.add_done_callback(lambda done: _forward(done, future))
            future.add_done_callback(lambda done: done.cancelled() and result.cancel())
        else:
            future.set_result(result)

    def _serve_http(self, process: Process, event: Http) -> None:
        # As with a returned future in libprocess, the next event does not wait for the response.
        if event.future.done():
            return  # the client is gone

        async def respond() -> None:
            from aiohttp import web

            try:
                if process._routes is None:
                    raise web.HTTPNotFound(text="404 Not Found.")
                response = await process._routes.respond(event.request, event.path)
            except Exception as error:
                if not isinstance(error, web.HTTPException):
                    logger.exception("%s failed to serve %s", process._pid, event.path)
                _fail(event.future, error)
            else:
                if not event.future.done():
                    event.future.set_result(response)

        def ended(_: asyncio.Task[Any]) -> None:
            # Also when it was cancelled before its first step.
            _fail(event.future, ProcessTerminated(f"{process._pid} ended"))

        task = self.start_task(process, respond())
        task.add_done_callback(ended)
        event.future.add_done_callback(lambda _: task.cancel())

    def _after(self, process: Process, result: object, is_reentrant: bool = False) -> None:
        """Give a handler that must wait a task; unless reentrant, its process waits with it."""
        if type(result) is not CoroutineType:
            return
        if is_reentrant:
            _ = self.start_task(process, result)
        else:
            self._wait_for(process, result)

    def _wait_for(
        self,
        process: Process,
        coroutine: Coroutine[Any, Any, Any],
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        context = copy_context()
        context.run(busy_process.set, process)
        task = self._running_loop().create_task(coroutine, context=context)
        process._busy = task

        def done(task: asyncio.Task[Any]) -> None:
            process._busy = None
            if future is not None:
                if task.cancelled():
                    _fail(future, ProcessTerminated(f"{process._pid} ended while it served a call"))
                _forward(task, future)
            elif not task.cancelled() and (error := task.exception()) is not None:
                self._crash(process, error, "a handler")
            if process._mailbox and process._state is ProcessState.LIVE:
                self._make_ready(process)

        task.add_done_callback(done)

    # The end of a process.

    def _crash(self, process: Process, error: BaseException, where: str) -> None:
        if process._state is not ProcessState.LIVE:
            logger.error("%s failed in %s while it ended", process._pid, where, exc_info=error)
            return
        logger.error("process %s ended by an exception in %s", process._pid, where, exc_info=error)
        process.failure = error
        self._begin_termination(process)

    def _begin_termination(self, process: Process) -> None:
        process._state = ProcessState.TERMINATING
        _cancel_all(process._timers)
        tasks: list[asyncio.Task[Any]] = list(process._tasks or ())
        if process._busy is not None:
            tasks.append(process._busy)
        current = asyncio.current_task() if tasks else None
        tasks = [task for task in tasks if task is not current and not task.done()]
        for task in tasks:
            task.cancel()
        if not tasks:
            self._finish(process)
            return

        async def finish_later() -> None:
            _, late = await asyncio.wait(tasks, timeout=TASK_CANCEL_S)
            if late:
                logger.error("%s left %d tasks that refuse to end", process._pid, len(late))
            self._finish(process)

        finishing = self._running_loop().create_task(finish_later())
        self._finishing[finishing] = None
        finishing.add_done_callback(lambda task: self._finishing.pop(task))

    def _finish(self, process: Process) -> None:
        try:
            process.finalize()
        except Exception:
            logger.exception("finalize of %s failed", process._pid)
        process._state = ProcessState.GONE
        _cancel_all(process._timers)  # what finalize started has nobody to belong to
        _cancel_all(process._tasks)
        self._abandon_queued(process)
        id = process._pid.id
        del self._processes[id]
        self._links.forget_linker(id)
        self._tell_exited(process._pid)
        for waiter in self._waiters.pop(id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _abandon_queued(self, process: Process) -> None:
        self._tell_room(process._pid.id)
        for event in process._mailbox or ():
            if isinstance(event, tuple):
                self._bury(Reason.PROCESS_ENDED, process._pid.id, event[0], event[1])
            elif isinstance(event, Dispatch | Http) and event.future is not None:
                _fail(event.future, ProcessTerminated(f"{process._pid} ended"))
        process._mailbox = None


def _encode_protobuf(message: Any) -> tuple[str, bytes]:
    return message.DESCRIPTOR.full_name, encode_protobuf(message)


def _may_serve(process: Process) -> bool:
    return process._state is _LIVE and process._busy is None


def _is_full(process: Process) -> bool:
    return process._mailbox is not None and len(process._mailbox) >= process._events_max


def _kind_of(event: Event) -> str:
    return f"message {event[0]}" if isinstance(event, tuple) else type(event).__name__


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _time_out(answer: asyncio.Future[Any], to: PID, timeout_s: float) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError(f"no answer from {to} within {timeout_s:g} s"))


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
        return
    if isinstance(error, StopIteration):  # asyncio refuses it
        error = RuntimeError(f"the call raised {error!r}")
    future.set_exception(error)
    future.exception()  # whoever does not look at the answer is not warned about it


def _forward(done: asyncio.Future[Any], future: asyncio.Future[Any]) -> None:
    """Give ``future`` the outcome of ``done``."""
    if done.cancelled():
        future.cancel()
    elif (error := done.exception()) is not None:
        _fail(future, error)
    elif not future.done():
        future.set_result(done.result())


def _cancel_all(started: Mapping[Any, None] | None) -> None:
    for timer_or_task in list(started or ()):
        timer_or_task.cancel()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _name_of(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__qualname__", repr(fn))


_LIVE: Final = ProcessState.LIVE  # looked up for every message
_ACCEPTED: Final = Delivery.ACCEPTED
_TERMINATE: Final = Terminate()

__all__ = ["Runtime"]
