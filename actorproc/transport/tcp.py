"""TCP transport speaking the libprocess wire protocol.

    listening socket ─> InboundConnection ─┬─ message ─> host.deliver, answer owed
                                           └─ request ─> HttpSlot ─> aiohttp (one per request)
    send ─> OutboundConnection per peer (temporary, or persistent once linked) ─> corked writes

Two rules keep bursts whole that a sender writes and closes without reading answers (spec §1.10):
answers to libprocess peers are written when the connection has been quiet for a moment or at its
end, because a failed write would throw away bytes already received; and a temporary connection is
kept for an idle period, then half-closed and read to its end.
Source: actor-runtime.md §1.8 to 1.11, §2.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, cast

from actorproc.core.answers import AnswerQueue
from actorproc.core.wire import (
    ACCEPTED,
    NOT_FOUND,
    HeadMemory,
    MessageEncoder,
    RequestHead,
    RequestReader,
)
from actorproc.errors import BrokenTransport, PeerProtocolError, UnreachableId
from actorproc.pid import PID, Address
from actorproc.transport.base import TransportHost

logger = logging.getLogger(__name__)

LISTEN_BACKLOG: Final = 4096
QUIET_S: Final = 0.03  # answers to libprocess peers wait for this much silence
ANSWERS_WRITE_MAX: Final = 512  # short answers joined into one write, before looking for a pause
SLOT_BUFFER_BYTES_MAX: Final = 256 * 1024  # an answer that waits its turn pauses its writer here
PIPELINED_REQUESTS_MAX: Final = 64  # ordinary requests in progress; reading pauses beyond
CLOSE_S: Final = 5.0  # how long a half-closed connection waits for the peer's end
UNANSWERED_S: Final = 30.0  # how long handlers may take to begin an answer once the client ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLimits:
    """Limits of a TCP transport; libprocess has none of them.

    Attributes:
        message_bytes_max: longest message body accepted; longer is answered 413.
        outgoing_messages_max: messages queued to one peer; further ones are dropped and counted.
        outgoing_bytes_max: the same in bytes.
        idle_s: how long an unused temporary connection is kept.
        connect_s: how long connecting may take.
    """

    message_bytes_max: int = 1024 * 1024 * 1024
    outgoing_messages_max: int = 1_000_000
    outgoing_bytes_max: int = 1024 * 1024 * 1024
    idle_s: float = 5.0
    connect_s: float = 30.0


@dataclass(slots=True)
class TcpCounters:
    """What a transport carried and dropped."""

    received: int = 0
    sent: int = 0
    dropped_queue_full: int = 0
    dropped_not_connected: int = 0
    dropped_unreachable_id: int = 0
    refused_connections: int = 0


class TcpTransport:
    """One listening socket, and one outgoing connection per peer.

    Args:
        ip: numeric address to bind; ``0.0.0.0`` for all.
        port: port to bind; 0 for a free one.
        advertise_ip: what PIDs show; by default what was bound (for ``0.0.0.0`` the address of the
            host name).
        advertise_port: likewise for the port.
        limits: see ``TcpLimits``.
    """

    def __init__(
        self,
        ip: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise_ip: str | None = None,
        advertise_port: int | None = None,
        limits: TcpLimits | None = None,
    ) -> None:
        self.limits = limits or TcpLimits()
        self.counters = TcpCounters()
        self.heads = HeadMemory()
        self._bind = Address(ip, port)
        self._advertise_ip = advertise_ip
        self._advertise_port = advertise_port
        self._address = Address("", 0)
        self._host: TransportHost | None = None
        self._server: asyncio.Server | None = None
        self._encoder = MessageEncoder()
        self._peers: dict[Address, OutboundConnection] = {}
        self._inbound: dict[InboundConnection, None] = {}
        self._is_stopping = False

    @property
    def address(self) -> Address:
        return self._address

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    @property
    def host(self) -> TransportHost:
        if self._host is None:
            raise BrokenTransport("the transport has not been started")
        return self._host

    @property
    def activity(self) -> int:
        return self.counters.received + self.counters.sent

    @property
    def is_idle(self) -> bool:
        return all(peer.is_idle for peer in self._peers.values())

    async def start(self, host: TransportHost) -> None:
        self._host = host
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: InboundConnection(self),
                self._bind.ip,
                self._bind.port,
                family=socket.AF_INET,
                backlog=LISTEN_BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            reason = "address in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise BrokenTransport(f"cannot listen on {self._bind}: {reason}") from error
        ip, port = self._server.sockets[0].getsockname()[:2]
        if self._advertise_ip is not None:
            ip = self._advertise_ip
        elif ip == "0.0.0.0":
            ip = await _ip_of_host_name(loop)
        self._address = Address(ip, port if self._advertise_port is None else self._advertise_port)

    async def stop(self) -> None:
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        closing = [peer.shut() for peer in list(self._peers.values())]
        for inbound in list(self._inbound):
            inbound.abort()
        closing += [inbound.closed for inbound in self._inbound]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)
        self._peers.clear()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def send(self, sender: PID, to: PID, name: str, body: bytes) -> None:
        try:
            data = self._encoder.encode(sender, to, name, body)
        except UnreachableId as error:
            # The PID may have come from a peer: it must not be able to end whoever answers it.
            self.counters.dropped_unreachable_id += 1
            logger.warning("message %s from %s dropped: %s", name, sender, error)
            return
        address = Address(to.ip, to.port)
        peer = self._peers.get(address)
        if peer is None:
            if self._is_stopping:
                self.counters.dropped_not_connected += 1
                return
            peer = self._dial(address)
        peer.send(data)

    def link(self, address: Address, *, reconnect: bool = False) -> None:
        peer = self._peers.get(address)
        if self._is_stopping:
            self.host.link_broken(address)
        elif peer is None:
            self._dial(address).is_persistent = True
        elif reconnect:
            replacement = OutboundConnection(self, address)
            replacement.is_persistent = True
            self._peers[address] = replacement
            replacement.take_over(peer)
            replacement.connect()
        else:
            # Differs: libprocess opens a second, persistent connection beside the temporary one,
            # and messages may overtake each other; here the one in use becomes persistent.
            peer.is_persistent = True

    def _dial(self, address: Address) -> OutboundConnection:
        peer = OutboundConnection(self, address)
        self._peers[address] = peer
        peer.connect()
        return peer

    def connection_gone(self, peer: OutboundConnection, dropped_messages: int) -> None:
        """An outgoing connection ended; called once by it, unless another took its place."""
        self.counters.dropped_not_connected += dropped_messages
        if self._peers.get(peer.address) is not peer:
            return
        del self._peers[peer.address]
        if peer.is_persistent and self._host is not None:
            self._host.link_broken(peer.address)

    def add_inbound(self, connection: InboundConnection) -> None:
        self._inbound[connection] = None

    def remove_inbound(self, connection: InboundConnection) -> None:
        self._inbound.pop(connection, None)


async def _ip_of_host_name(loop: asyncio.AbstractEventLoop) -> str:
    """The IPv4 address of this host's name, else the loopback address."""
    try:
        found = await loop.getaddrinfo(socket.gethostname(), None, family=socket.AF_INET)
    except OSError:
        return "127.0.0.1"
    return str(found[0][4][0])


class OutboundConnection(asyncio.Protocol):
    """The connection to one peer, with the queue of messages for it.

    connecting ──> open ──> (idle) half-closed ──> gone
    """

    def __init__(self, owner: TcpTransport, address: Address) -> None:
        self.address = address
        self.is_persistent = False
        self._owner = owner
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_flush_scheduled = False
        self._is_paused = False
        self._is_closing = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._last_used_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._is_gone = False  # no longer in the owner's table
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_idle(self) -> bool:
        return not self._queue

    def connect(self) -> None:
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        ip, port = self.address
        try:
            async with asyncio.timeout(self._owner.limits.connect_s):
                await self._loop.create_connection(lambda: self, ip, port, family=socket.AF_INET)
        except (OSError, UnicodeError) as error:  # the latter: a name that DNS does not allow
            logger.debug("cannot connect to %s: %s", self.address, error)
            self._note_closed()
            self._be_gone()
        finally:
            self._connecting = None

    def take_over(self, old: OutboundConnection) -> None:
        """Continue in place of ``old``: its queue moves here, its socket closes without a word."""
        self._queue, old._queue = old._queue, []
        self._queued_bytes = old._queued_bytes
        old.abandon()

    def abandon(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()
        else:
            self._note_closed()
        self._be_gone()

    def send(self, data: bytes) -> None:
        limits = self._owner.limits
        if (
            len(self._queue) >= limits.outgoing_messages_max
            or self._queued_bytes + len(data) > limits.outgoing_bytes_max
        ):
            self._owner.counters.dropped_queue_full += 1
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        if not self._is_flush_scheduled and self._transport is not None and not self._is_paused:
            # One write for all messages of this turn of the loop.
            self._is_flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        queue = self._queue
        if self._transport is None or self._is_paused or not queue:
            return
        self._owner.counters.sent += len(queue)
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        self._queue = []
        self._queued_bytes = 0
        self._last_used_s = self._loop.time()
        self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._transport = stream
        if self._is_gone:  # given up meanwhile
            stream.abort()
            return
        self._last_used_s = self._loop.time()
        self._flush()
        if self._is_closing:
            self._half_close(stream.abort)
        else:
            self._watch_idle()

    def data_received(self, data: bytes) -> None:
        pass  # answers are not read: a sender is told nothing (spec §1.7)

    def eof_received(self) -> bool:
        return False  # closes

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._note_closed()
        self._be_gone()
        if self._close_timer is not None:
            self._close_timer.cancel()

    def _note_closed(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _be_gone(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        dropped = len(self._queue)
        self._queue = []
        self._owner.connection_gone(self, dropped)

    def _watch_idle(self) -> None:
        if self.is_persistent or self._transport is None:
            return
        idle_s = self._owner.limits.idle_s
        due_s = self._last_used_s + idle_s - self._loop.time()
        if due_s > 0 or self._queue or self._transport.get_write_buffer_size():
            self._idle_timer = self._loop.call_later(max(due_s, idle_s / 2), self._watch_idle)
        else:
            # After CLOSE_S without the peer's end: close, so that the kernel still delivers.
            self._half_close(self._transport.close)

    def shut(self) -> asyncio.Future[None]:
        """Send what is queued, then close; the future is done when the socket is closed."""
        self._is_closing = True
        if self._transport is not None:
            self._flush()
            self._half_close(self._transport.abort)
        elif self._queue and self._connecting is not None:
            self._close_timer = self._loop.call_later(CLOSE_S, self.abandon)
        else:
            self.abandon()
        return self._closed

    def _half_close(self, give_up: Callable[[], None]) -> None:
        """End our side, then wait for the peer's: closing at once could destroy what it has unread.

        The peer leaves the table of its owner, so that a later send dials anew. ``give_up`` ends
        the wait after ``CLOSE_S``.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if transport.can_write_eof():
            transport.write_eof()
            self._close_timer = self._loop.call_later(CLOSE_S, give_up)
        else:
            transport.close()
        self._be_gone()


class InboundConnection(asyncio.Protocol):
    """One accepted connection: messages and ordinary requests, answered in order."""

    def __init__(self, owner: TcpTransport) -> None:
        self._owner = owner
        self._host = owner.host
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self, owner.heads, owner.limits.message_bytes_max)
        self._answers = AnswerQueue()
        self._transport: asyncio.Transport | None = None
        self._slot: HttpSlot | None = None  # of the request being read
        self._slots: dict[HttpSlot, None] = {}  # of requests that are not answered
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._last_read_s = 0.0
        self._is_write_paused = False
        self._is_at_eof = False
        self._is_closing = False  # close once all answers are written
        self._has_sent_eof = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._transport = stream
        self._owner.add_inbound(self)
        if self._owner.is_stopping:
            stream.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        try:
            self._reader.feed(data)
        except PeerProtocolError as error:
            self._refuse(error)
        self._last_read_s = self._loop.time()  # after the work: silence is measured from here

    def eof_received(self) -> bool:
        if self._has_sent_eof:
            return False  # both sides have ended
        self._is_at_eof = True
        self._is_closing = True
        if self._slot is not None:
            self._slot.lose(None)  # cut off in the middle of a request
            self._slot = None
        self._write_answers()
        if self._slots:
            self._end_timer = self._loop.call_later(UNANSWERED_S, self._lose_unanswered)
        return True  # asyncio keeps our side open until all answers are written

    def _lose_unanswered(self) -> None:
        # A client that is gone looks like one that only ended its side, until we write.
        for slot in list(self._slots):
            if not slot.has_begun:
                slot.lose(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.remove_inbound(self)
        for timer in (self._quiet_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        for slot in list(self._slots):
            slot.lose(exc)
        self._slots.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        for slot in self._slots:
            slot.regulate()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        for slot in list(self._slots):
            slot.regulate()
        # Not here: asyncio calls this in the middle of a write, and must not be closed meanwhile.
        self._loop.call_soon(self._write_answers)

    # What the reader calls.

    def on_message(self, head: RequestHead, body: bytes) -> None:
        self._owner.counters.received += 1
        if head.refused is not None:
            self._answers.add(*head.refused)
        elif self._host.deliver(head.to_id, head.name, head.sender, body):
            self._answers.add(ACCEPTED)
        else:
            self._answers.add(NOT_FOUND, "404 Not Found.")
        if not head.keep_alive:
            self._serve_no_more()
            self._write_answers()
        elif head.wants_answer_now:
            self._write_answers()
        elif self._quiet_timer is None:
            self._quiet_timer = self._loop.call_later(QUIET_S, self._write_when_quiet)

    def on_request(self, head: RequestHead) -> None:
        slot = HttpSlot(self, head.keep_alive)
        self._slot = slot
        self._slots[slot] = None
        self._answers.add_slow(slot)
        slot.begin(self._host, self._with_host(head))
        self.regulate_reading()
        self._write_answers()

    def on_request_bytes(self, data: bytes) -> None:
        if self._slot is not None:
            self._slot.feed(data)

    def on_request_end(self) -> None:
        if self._slot is not None and not self._slot.keeps_connection:
            self._serve_no_more()
        self._slot = None

    def _serve_no_more(self) -> None:
        """Close after the answers owed; what follows on this connection is not served."""
        self._is_closing = True
        self._reader.stop()

    def _with_host(self, head: RequestHead) -> bytes:
        # Differs from aiohttp, as libprocess: HTTP/1.1 without Host is accepted.
        if head.has_host:
            return head.raw
        return head.raw[:-2] + f"Host: {self._owner.address}\r\n\r\n".encode()

    # Answers.

    def _write_when_quiet(self) -> None:
        silence_s = self._loop.time() - self._last_read_s
        if silence_s < QUIET_S:
            self._quiet_timer = self._loop.call_later(QUIET_S - silence_s, self._write_when_quiet)
        else:
            self._quiet_timer = None
            self._write_answers()

    def _write_answers(self) -> None:
        transport = self._transport
        if transport is None or self._has_sent_eof:
            return
        while not self._is_write_paused and not transport.is_closing():
            short = self._answers.take_short(ANSWERS_WRITE_MAX)
            if short is not None:
                status, text, count = short
                transport.write(_short_answer(status, text) * count)
            elif not self._answers.pass_slow():
                break
        if self._is_closing and not self._answers:
            self._close(transport)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close; while the peer may still be sending, end our side first.

        Closing with bytes unread would reset the connection, and destroy the answers on their way.
        """
        if self._has_sent_eof or transport.is_closing():
            return
        if self._is_at_eof or not transport.can_write_eof():
            transport.close()
        else:
            self._has_sent_eof = True
            transport.write_eof()
            self._end_timer = self._loop.call_later(CLOSE_S, transport.close)
        for slot in list(self._slots):  # requests behind the last one that is answered
            slot.lose(None)
        self.resume_reading()

    def slot_done(self, slot: HttpSlot) -> None:
        """An ordinary request's answer is complete; called by its slot."""
        self._slots.pop(slot, None)
        if not slot.keeps_connection:
            self._serve_no_more()
        self.regulate_reading()
        self._write_answers()

    def _refuse(self, error: PeerProtocolError) -> None:
        logger.warning("closing connection from %s: %s", self.peer_name, error.reason)
        self._owner.counters.refused_connections += 1
        self._is_closing = True
        if self._slot is not None:
            # Its request is cut off: aiohttp cannot finish it.
            self._slot.lose(None)
            self._slot = None
        if error.status is not None:
            self._answers.add(error.status, error.reason)
        self._write_answers()

    @property
    def peer_name(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return f"{peer[0]}:{peer[1]}" if peer else "a closed connection"

    # What slots need of the socket.

    @property
    def is_write_paused(self) -> bool:
        return self._is_write_paused

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default) if self._transport else default

    def regulate_reading(self) -> None:
        """Read on unless the request being read, or the number of unanswered ones, forbids it."""
        slot = self._slot
        must_pause = slot is not None and slot.wants_pause
        if must_pause or len(self._slots) >= PIPELINED_REQUESTS_MAX:
            if self._transport is not None and self._transport.is_reading():
                self._transport.pause_reading()
        else:
            self.resume_reading()

    def resume_reading(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class HttpSlot(asyncio.Transport):
    """The place of one ordinary request among the answers of its connection.

    To aiohttp it is a connection of its own which carries a single request. What aiohttp writes
    goes straight to the socket when every earlier answer is written, and waits here until then;
    closing means that the answer is complete.
    """

    def __init__(self, connection: InboundConnection, keeps_connection: bool) -> None:
        super().__init__()
        self._connection = connection
        self._protocol: asyncio.Protocol | None = None
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._is_released = False
        self._is_closed = False
        self._is_protocol_paused = False
        self._is_whole: Callable[[], bool] = lambda: False
        self.keeps_connection = keeps_connection
        self.has_begun = False  # to answer
        self.wants_pause = False  # of the bytes of its request

    def begin(self, host: TransportHost, head: bytes) -> None:
        """Hand the request's head to a protocol that serves it."""
        protocol = host.open_http(self)
        self._protocol = protocol
        protocol.connection_made(self)
        protocol.data_received(head)

    def feed(self, data: bytes) -> None:
        if self._protocol is not None and not self._is_closed:
            self._protocol.data_received(data)

    def lose(self, exc: Exception | None) -> None:
        """The connection is gone, or the request cut off: nobody waits for the answer."""
        if self._is_closed:
            return
        self._is_closed = True
        self.wants_pause = False
        if self.has_begun:
            self.keeps_connection = False  # half an answer: the next one cannot follow it
        self._buffer.clear()
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        self._connection.slot_done(self)

    def begin_answer(self, *, closes: bool, is_whole: Callable[[], bool]) -> None:
        """Tell of the answer that is about to be written.

        Args:
            closes: it says that the connection closes after it.
            is_whole: asked when it ends; after half an answer the connection must close too.
        """
        self.has_begun = True
        self._is_whole = is_whole
        if closes:
            self.keeps_connection = False

    # Its turn among the answers.

    def release(self) -> None:
        self._is_released = True
        while self._buffer:
            self._connection.write(self._buffer.popleft())
        self._buffered_bytes = 0
        self.regulate()

    @property
    def is_complete(self) -> bool:
        return self._is_closed

    def regulate(self) -> None:
        """Pause or resume whoever writes the answer, by what its bytes have to wait for."""
        if self._protocol is None:
            return
        if self._is_released:
            must_pause = self._connection.is_write_paused
        else:
            must_pause = self._buffered_bytes > SLOT_BUFFER_BYTES_MAX
        if must_pause and not self._is_protocol_paused:
            self._protocol.pause_writing()
        elif self._is_protocol_paused and not must_pause:
            self._protocol.resume_writing()
        self._is_protocol_paused = must_pause

    # The transport that aiohttp sees.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closed:
            return
        if self._is_released:
            self._connection.write(bytes(data))
        else:
            self._buffer.append(bytes(data))
            self._buffered_bytes += len(data)
            self.regulate()

    def get_write_buffer_size(self) -> int:
        return self._buffered_bytes

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.wants_pause = False
        if not self._is_whole():
            self.keeps_connection = False
        if self._protocol is not None:
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
        self._connection.slot_done(self)

    def abort(self) -> None:
        self.keeps_connection = False
        self.close()

    def is_closing(self) -> bool:
        return self._is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, asyncio.Protocol):
            self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        if self._protocol is None:
            raise BrokenTransport("the request is not being served")
        return self._protocol

    def is_reading(self) -> bool:
        return not self.wants_pause

    def pause_reading(self) -> None:
        self.wants_pause = not self._is_closed
        self._connection.regulate_reading()

    def resume_reading(self) -> None:
        self.wants_pause = False
        self._connection.regulate_reading()

    def can_write_eof(self) -> bool:
        return False

    @property
    def _sendfile_compatible(self) -> object:
        # loop.sendfile() asks for this; aiohttp then sends a file by ordinary writes.
        raise NotImplementedError("an answer that waits its turn cannot use sendfile")


_dates: dict[int, str] = {}


def _date() -> str:
    """The Date header's value, made once a second."""
    second = int(time.time())
    if second not in _dates:
        _dates.clear()
        _dates[second] = formatdate(second, usegmt=True)
    return _dates[second]


def _short_answer(status: int, text: str) -> bytes:
    if status == ACCEPTED:
        return f"HTTP/1.1 202 Accepted\r\nDate: {_date()}\r\nContent-Length: 0\r\n\r\n".encode()
    body = text.encode(errors="backslashreplace")
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {_date()}\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    return head.encode() + body


__all__ = ["TcpCounters", "TcpLimits", "TcpTransport"]
