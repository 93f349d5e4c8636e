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
from dataclasses import dataclass
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from actorproc.clock import Clock, RealClock, wait_until_settled
from actorproc.codec import Codec, ProtobufMessage, encode_protobuf
from actorproc.core.links import Links
from actorproc.errors import (
    ClosedRuntime,
    IdTaken,
    PeerProtocolError,
    ProcessTerminated,
    ProtocolMisuse,
)
from actorproc.events import Dispatch, Event, Exited, Http, Initialize, Message, Terminate
from actorproc.pid import PID, Address
from actorproc.process import MessageHandler, Process, ProcessState
from actorproc.transport.base import Transport

if TYPE_CHECKING:
    from aiohttp import web

    from actorproc.http_front import HttpFront

logger = logging.getLogger(__name__)

DRAIN_EVENTS_MAX: Final = 1024  # events served before the loop gets a turn for its sockets
PROCESS_EVENTS_MAX: Final = 128  # events of one process before the next one's turn
MAILBOX_EVENTS_MAX: Final = 1_000_000  # beyond it messages are dropped and counted
TASK_CANCEL_S: Final = 5.0  # how long a process that ends waits for its cancelled tasks
STOP_S: Final = 10.0  # how long stop() waits for all processes


@dataclass(slots=True)
class Dropped:
    """Messages that reached no handler, by reason; libprocess drops them without a trace."""

    no_process: int = 0
    no_handler: int = 0
    unparseable: int = 0
    mailbox_full: int = 0


class Runtime:
    """A home for processes, with one address.

    Args:
        transport: how messages travel to other runtimes (``TcpTransport``, or one of an
            ``InProcessNetwork``).
        clock: real time by default.
        seed: source of every random stream; ``None`` takes one from the operating system.
        delegate: id of the process that also serves HTTP paths which name no process.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        delegate: str = "",
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.delegate = delegate
        self.dropped = Dropped()
        self._transport = transport
        self._seed = random.SystemRandom().getrandbits(64) if seed is None else seed
        self._address = Address("", 0)
        self._ip, self._port = self._address  # compared with the receiver of every message
        self._processes: dict[str, Process] = {}
        self._ready: deque[Process] = deque()
        self._is_drain_scheduled = False
        self._served = 0
        self._links = Links()
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._id_counters: dict[str, int] = {}
        self._finishing: dict[asyncio.Task[None], None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
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
        self.enqueue(process, _INITIALIZE)
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
        elif mailbox and mailbox[0] is _INITIALIZE:
            mailbox.insert(1, _TERMINATE)  # finalize may rely on initialize
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
    ) -> None:
        """Send from outside any process."""
        self.send(sender, to, message, body, codec)

    def send(
        self,
        sender: PID,
        to: PID,
        message: str | ProtobufMessage,
        body: Any = b"",
        codec: Codec | None = None,
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
        if to.port == self._port and to.ip == self._ip:
            self.deliver(to.id, name, sender, body)
        elif not to.is_empty:
            self._transport.send(sender, to, name, body)

    def deliver(self, to_id: str, name: str, sender: PID, body: bytes) -> bool:
        """Put a message into the mailbox of a local process; False when there is none."""
        process = self._processes.get(to_id)
        if process is None or process._state is not _LIVE:
            self.dropped.no_process += 1
            return False
        mailbox = process._mailbox
        if mailbox is None:
            process._mailbox = mailbox = deque()
        elif len(mailbox) >= MAILBOX_EVENTS_MAX:
            self.dropped.mailbox_full += 1
            return True  # at most once: accepted is not handled
        mailbox.append(Message(name, sender, body))
        if not process._is_queued:
            self._make_ready(process)
        return True

    def dispatch(self, pid: PID, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run ``fn(*args)`` in a local process, in its turn.

        Returns:
            A future of the result (of a coroutine function: of what it returns).
            ``ProcessTerminated`` when the process is gone, or ends first.
        """
        future: asyncio.Future[Any] = self._running_loop().create_future()
        process = self._find(pid)
        if process is None or process._state is not ProcessState.LIVE:
            _fail(future, ProcessTerminated(f"{pid} is gone: {_name_of(fn)} was not run"))
        else:
            self.enqueue(process, Dispatch(fn, args, future))
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
        elif pid.id not in self._processes:
            self._tell_exited(pid)

    def link_broken(self, address: Address) -> None:
        """Tell every linker of a PID at ``address``; called by the transport."""
        for linker_id, pid in self._links.take_address(address):
            self._enqueue_exited(linker_id, pid)

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
        task = self._running_loop().create_task(coroutine)
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
        if self._http_front is None:
            from actorproc.http_front import HttpFront  # brings in aiohttp

            self._http_front = HttpFront(self)
        return self._http_front.connect(connection)

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
        mailbox = process._mailbox
        if mailbox is None or process._state is not _LIVE:
            return 0
        served = 0
        event: Event = _INITIALIZE
        try:
            while mailbox and served < PROCESS_EVENTS_MAX:
                served += 1
                event = mailbox.popleft()
                if type(event) is Message:
                    # Inlined, not a method: this is the path of every message.
                    handlers = process._handlers
                    installed = handlers.get(event.name) if handlers is not None else None
                    if installed is None:
                        self._drop_unhandled(process, event)
                        continue
                    handler, decode = installed
                    if decode is None:
                        result = handler(event.sender, event.body)
                    else:
                        result = self._decode_and_handle(process, event, handler, decode)
                    if result is not None:
                        self._after(process, result)
                        if process._busy is not None:
                            break
                else:
                    self._serve_other(process, event)
                    if process._busy is not None or process._state is not _LIVE:
                        break
        except (Exception, asyncio.CancelledError) as error:
            self._crash(process, error, type(event).__name__)
        self._served += served
        if mailbox and process._state is _LIVE:
            self._make_ready(process)
        return served

    def _serve_other(self, process: Process, event: Event) -> None:
        match event:
            case Dispatch():
                self._serve_dispatch(process, event)
            case Exited(pid=pid):
                self._after(process, process.exited(pid))  # type: ignore[func-returns-value]
            case Http():
                self._serve_http(process, event)
            case Initialize():
                self._after(process, process.initialize())  # type: ignore[func-returns-value]
            case Terminate():
                self._begin_termination(process)
            case Message():
                pass  # served by _run itself

    def _decode_and_handle(
        self,
        process: Process,
        message: Message,
        handler: MessageHandler,
        decode: Callable[[bytes], Any],
    ) -> object:
        try:
            body = decode(message.body)
        except Exception as error:
            self._drop_unparseable(process, message, error)
            return None
        return handler(message.sender, body)

    def _drop_unhandled(self, process: Process, message: Message) -> None:
        self.dropped.no_handler += 1
        logger.debug("%s has no handler for %s", process._pid, message.name)

    def _drop_unparseable(self, process: Process, message: Message, error: Exception) -> None:
        self.dropped.unparseable += 1
        reason = error.reason if isinstance(error, PeerProtocolError) else str(error) or repr(error)
        logger.warning(
            "%s dropped message %s from %s: its body is not valid: %s",
            process._pid,
            message.name,
            message.sender,
            reason,
        )

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
        if type(result) is CoroutineType:
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

    def _after(self, process: Process, result: object) -> None:
        """Give a handler that must wait a task of its own; its process serves nothing meanwhile."""
        if type(result) is CoroutineType:
            self._wait_for(process, result)

    def _wait_for(
        self,
        process: Process,
        coroutine: Coroutine[Any, Any, Any],
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        task = self._running_loop().create_task(coroutine)
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
        for event in process._mailbox or ():
            if isinstance(event, Dispatch | Http) and event.future is not None:
                _fail(event.future, ProcessTerminated(f"{process._pid} ended"))
        process._mailbox = None


def _encode_protobuf(message: Any) -> tuple[str, bytes]:
    return message.DESCRIPTOR.full_name, encode_protobuf(message)


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
_INITIALIZE: Final = Initialize()
_TERMINATE: Final = Terminate()

__all__ = ["MAILBOX_EVENTS_MAX", "Dropped", "Runtime"]
