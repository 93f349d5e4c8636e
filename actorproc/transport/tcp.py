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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    encode_message,
)
from actorproc.environment import naming_variables, read_environment
from actorproc.errors import BrokenTransport, PeerProtocolError, UnreachableId
from actorproc.events import Headers
from actorproc.mailbox import Delivery
from actorproc.pid import PID, Address
from actorproc.transport.base import TransportHost
from actorproc.transport.hardened import Guard, Guests, HardenedLimits
from actorproc.transport.tls import OwedAnswers, RefusedPeer, Tls, TlsListener, TlsSettings

logger = logging.getLogger(__name__)

UNAVAILABLE: Final = 503
_ACCEPTED: Final = Delivery.ACCEPTED  # compared for every message

LISTEN_BACKLOG: Final = 4096
QUIET_S: Final = 0.03  # answers to libprocess peers wait for this much silence
ANSWERS_WRITE_MAX: Final = 512  # short answers joined into one write, before looking for a pause
SLOT_BUFFER_BYTES_MAX: Final = 256 * 1024  # an answer that waits its turn pauses its writer here
PIPELINED_REQUESTS_MAX: Final = 64  # ordinary requests in progress; reading pauses beyond
CLOSE_S: Final = 5.0  # how long a half-closed connection waits for the peer's end
LINGER_S: Final = 1.0  # without half-close: how long to read on behind a refusal, unheeded
UNANSWERED_S: Final = 30.0  # how long handlers may take to begin an answer once the client ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLimits:
    """Limits of a TCP transport; libprocess has none of them.

    Attributes:
        message_bytes_max: longest message body accepted; longer is answered 413.
        outgoing_messages_max: messages queued to one peer; further ones are dropped and counted.
        outgoing_bytes_max: the same in bytes.
        flow_messages: an awaitable send waits while this many messages are queued to the peer.
        flow_bytes: the same in bytes.
        idle_s: how long an unused temporary connection is kept.
        connect_s: how long connecting may take, TLS included.
        handshake_s: how long a TLS handshake may take, either side.
        hardened: apply ``hardened_limits`` to every connection that is accepted.
        hardened_limits: see ``HardenedLimits``.
    """

    message_bytes_max: int = 1024 * 1024 * 1024
    outgoing_messages_max: int = 1_000_000
    outgoing_bytes_max: int = 1024 * 1024 * 1024
    flow_messages: int = 10_000
    flow_bytes: int = 1024 * 1024
    idle_s: float = 5.0
    connect_s: float = 30.0
    handshake_s: float = 10.0
    hardened: bool = False
    hardened_limits: HardenedLimits = field(default_factory=HardenedLimits)


@dataclass(slots=True)
class TcpCounters:
    """What a transport carried and dropped."""

    received: int = 0
    sent: int = 0
    dropped_queue_full: int = 0
    dropped_not_connected: int = 0
    dropped_unreachable_id: int = 0
    refused_connections: int = 0
    refused_senders: int = 0


class TcpTransport:
    """One listening socket, and one outgoing connection per peer.

    Args:
        ip: numeric address to bind; ``0.0.0.0`` for all of IPv4. Differs: an IPv6 address (``::``
            for all of them) makes a runtime with IPv6 PIDs, which listens on IPv6 alone and dials
            both kinds.
        port: port to bind; 0 for a free one.
        advertise_ip: what PIDs show; by default what was bound (for ``0.0.0.0`` and ``::`` the
            address of the host name).
        advertise_port: likewise for the port.
        limits: see ``TcpLimits``.
        ssl: speak TLS, accepting and dialling; None is plain text.
        require_peer_ip_match: a message whose sender claims another address than the connection
            comes from is answered 400 and not delivered.

    Raises:
        InvalidSetting: ``ssl`` names a file, cipher or curve that cannot be used.
    """

    def __init__(
        self,
        ip: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise_ip: str | None = None,
        advertise_port: int | None = None,
        limits: TcpLimits | None = None,
        ssl: TlsSettings | None = None,
        require_peer_ip_match: bool = False,
    ) -> None:
        self.limits = limits or TcpLimits()
        self.tls = Tls(ssl) if ssl is not None else None
        self.guests = Guests(self.limits.hardened_limits) if self.limits.hardened else None
        self.requires_peer_ip_match = require_peer_ip_match
        self.counters = TcpCounters()
        self.heads = HeadMemory()
        self._bind = Address(ip, port)
        self._advertise_ip = advertise_ip
        self._advertise_port = advertise_port
        self._address = Address("", 0)
        self._host: TransportHost | None = None
        self._server: asyncio.Server | None = None
        self._tls_listener: TlsListener | None = None
        self._encoder = MessageEncoder()
        self._peers: dict[Address, OutboundConnection] = {}
        self._inbound: dict[InboundConnection, None] = {}
        self._is_stopping = False

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, limits: TcpLimits | None = None
    ) -> TcpTransport:
        """A transport as ``LIBPROCESS_*`` variables say (docs/howto/environment.md).

        Raises:
            InvalidSetting: naming the variable and the rule it breaks.
        """
        settings = read_environment(environ)
        with naming_variables():
            return cls(
                settings.ip,
                settings.port,
                advertise_ip=settings.advertise_ip,
                advertise_port=settings.advertise_port,
                limits=limits,
                ssl=settings.ssl,
                require_peer_ip_match=settings.require_peer_address_ip_match,
            )

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
        try:
            ip, port = await self._listen()
        except OSError as error:
            reason = "address in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise BrokenTransport(f"cannot listen on {self._bind}: {reason}") from error
        if self._advertise_ip is not None:
            ip = self._advertise_ip
        elif ip in _ANY_IP:
            ip = await _ip_of_host_name(_family_of(ip), _ANY_IP[ip])
        self._address = Address(ip, port if self._advertise_port is None else self._advertise_port)

    async def _listen(self) -> tuple[str, int]:
        """Begin to accept; returns the ip and port that were bound."""
        loop = asyncio.get_running_loop()
        if self.tls is None:
            self._server = await loop.create_server(
                lambda: InboundConnection(self),
                self._bind.ip,
                self._bind.port,
                family=_family_of(self._bind.ip),
                backlog=LISTEN_BACKLOG,
                reuse_address=True,
            )
            bound = self._server.sockets[0].getsockname()
        else:
            sock = socket.create_server(
                tuple(self._bind), family=_family_of(self._bind.ip), backlog=LISTEN_BACKLOG
            )
            sock.setblocking(False)
            self._tls_listener = TlsListener(
                sock,
                self.tls,
                lambda: InboundConnection(self),
                handshake_s=self.limits.handshake_s,
                guests=self.guests,
            )
            bound = sock.getsockname()
        return bound[0], bound[1]

    async def stop(self) -> None:
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        if self._tls_listener is not None:
            await self._tls_listener.close()
            self._tls_listener = None
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

    def send(
        self, sender: PID, to: PID, name: str, body: bytes, headers: Headers | None = None
    ) -> None:
        try:
            if headers is None:
                data = self._encoder.encode(sender, to, name, body)
            else:
                data = encode_message(sender, to, name, body, headers)
        except UnreachableId as error:
            # The PID may have come from a peer: it must not be able to end whoever answers it.
            self.counters.dropped_unreachable_id += 1
            logger.warning("message %s from %s dropped: %s", name, sender, error)
            return
        peer = self._peers.get((to.ip, to.port))  # type: ignore[call-overload] # equal to an Address
        if peer is None:
            if self._is_stopping:
                self.counters.dropped_not_connected += 1
                return
            peer = self._dial(to.address)
        peer.send(data)

    def flow(self, address: Address) -> asyncio.Future[None] | None:
        peer = self._peers.get(address)
        return peer.flow() if peer is not None else None

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


_ANY_IP: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses → the loopback of that kind


def _family_of(host: str) -> socket.AddressFamily:
    """IPv6 for its numeric addresses; names are looked up in IPv4, as libprocess does."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _ip_of_host_name(family: socket.AddressFamily, otherwise: str) -> str:
    """The address of this host's name, else the loopback address."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(socket.gethostname(), None, family=family)
    except OSError:
        return otherwise
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
        self._owed: OwedAnswers | None = None  # over TLS: answers to wait for before closing
        self._room: asyncio.Future[None] | None = None  # done when the queue has been written
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_idle(self) -> bool:
        return not self._queue

    def connect(self) -> None:
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._owner.limits.connect_s):
                await self._open(self._owner.tls)
        except (OSError, UnicodeError, RefusedPeer) as error:
            # UnicodeError: a name that DNS does not allow.
            level = logging.WARNING if isinstance(error, RefusedPeer) else logging.DEBUG
            logger.log(level, "cannot connect to %s: %s", self.address, error)
            self._note_closed()
            self._be_gone()
        finally:
            self._connecting = None

    async def _open(self, tls: Tls | None) -> None:
        if tls is None:
            await self._loop.create_connection(
                lambda: self, *self.address, family=_family_of(self.address.ip)
            )
            return
        sock = await self._connected_socket()
        try:
            held = await tls.dial(sock, self.address, self._owner.limits.handshake_s)
        except OSError as error:
            if not tls.allows_plain:
                raise
            # Differs: never after a certificate was refused (RefusedPeer): who can show a wrong
            # one could then read in plain text what was meant for the right one.
            logger.info("%s speaks no TLS (%s): once more in plain text", self.address, error)
            await self._open(None)
        else:
            self._owed = OwedAnswers()
            held.hand_over(self)

    async def _connected_socket(self) -> socket.socket:
        found = await self._loop.getaddrinfo(
            *self.address, family=_family_of(self.address.ip), type=socket.SOCK_STREAM
        )
        family, kind, _, _, where = found[0]
        sock = socket.socket(family, kind)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        return sock

    def take_over(self, old: OutboundConnection) -> None:
        """Continue in place of ``old``: its queue moves here, its socket closes without a word."""
        self._queue, old._queue = old._queue, []
        self._queued_bytes = old._queued_bytes
        old.abandon()

    def abandon(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            _close_once(self._transport)
        else:
            self._note_closed()
        self._be_gone()

    def flow(self) -> asyncio.Future[None] | None:
        """What a patient sender waits for: the queue to be written; None when it is short."""
        limits = self._owner.limits
        if (
            self._queued_bytes < limits.flow_bytes
            and len(self._queue) < limits.flow_messages
            and not self._is_paused
        ) or self._is_gone:
            return None
        if self._room is None or self._room.done():
            self._room = self._loop.create_future()
        return self._room

    def _tell_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

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
        if self._owed is not None:
            self._owed.add(len(queue))
        self._transport.write(data)
        if not self._is_paused:  # the write itself may have paused us
            self._tell_room()

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
        # Answers tell a sender nothing (spec §1.7); over TLS they tell when it is safe to close.
        if self._owed is None:
            return
        self._owed.feed(data)
        if self._is_gone and not self._owed.count and self._transport is not None:
            _close_once(self._transport)

    def eof_received(self) -> bool:
        return False  # closes

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()
        if not self._is_paused:
            self._tell_room()

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
        self._tell_room()
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
        owes = self._owed is not None and self._owed.count > 0
        if due_s > 0 or owes or self._queue or self._transport.get_write_buffer_size():
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
        elif self._owed is not None and self._owed.count:
            self._close_timer = self._loop.call_later(CLOSE_S, give_up)  # see data_received
        else:
            transport.close()
        self._be_gone()


def _close_once(transport: asyncio.Transport) -> None:
    """Close; asyncio's TLS transports do not stand it twice."""
    if not transport.is_closing():
        transport.close()


class InboundConnection(asyncio.Protocol):
    """One accepted connection: messages and ordinary requests, answered in order."""

    def __init__(self, owner: TcpTransport) -> None:
        self._owner = owner
        self._host = owner.host
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self, owner.heads, owner.limits.message_bytes_max)
        self._answers = AnswerQueue()
        self._deliver = owner.host.deliver
        self._accepted = 0  # messages of the read in hand whose 202 is not owed yet
        self._transport: asyncio.Transport | None = None
        self._slot: HttpSlot | None = None  # of the request being read
        self._slots: dict[HttpSlot, None] = {}  # of requests that are not answered
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._last_read_s = 0.0
        self._guard: Guard | None = None  # in hardened mode
        self._is_trusting = not owner.requires_peer_ip_match and not owner.limits.hardened
        self._peer_ip = ""
        self._pipelined_max = PIPELINED_REQUESTS_MAX
        self._full_mailboxes = 0  # that messages from here went to and have no room yet
        self._is_write_paused = False
        self._is_at_eof = False
        self._is_refused = False  # bytes follow that nobody reads
        self._is_closing = False  # close once all answers are written
        self._has_sent_eof = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._transport = stream
        self._owner.add_inbound(self)
        peer = stream.get_extra_info("peername")
        self._peer_ip = peer[0].partition("%")[0] if peer else ""  # without an IPv6 zone
        if self._owner.is_stopping or not self._may_enter():
            stream.abort()

    def _may_enter(self) -> bool:
        """Begin to guard the connection, in hardened mode; False when it is one too many."""
        guests = self._owner.guests
        if guests is None:
            return True
        limits = self._owner.limits.hardened_limits
        if self._peer_ip not in limits.peer_ips:
            self._guard = Guard(limits, self)
            self._pipelined_max = limits.requests_in_progress_max
            self._reader.chunk_line_bytes_max = limits.chunk_line_bytes_max
        if guests.enter(self._peer_ip):
            return True
        logger.warning("too many connections from %s: one is closed", self._peer_ip)
        self._owner.counters.refused_connections += 1
        return False

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        try:
            self._reader.feed(data)
        except PeerProtocolError as error:
            self._owe_accepted()
            self.refuse(error)
        else:
            self._owe_accepted()
        if self._guard is not None:
            self._guard.fed(len(data), is_between_requests=self._reader.is_between_requests)
        self._last_read_s = self._loop.time()  # after the work: silence is measured from here

    def eof_received(self) -> bool:
        if self._has_sent_eof:
            return False  # both sides have ended
        self._is_at_eof = True
        self._is_closing = True
        if self._slot is not None:
            self._slot.lose(None)  # cut off in the middle of a request
            self._slot = None
        if self._transport is not None and not self._transport.can_write_eof():
            return False  # TLS ends for both sides at once: answers still owed are lost
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
        if self._owner.guests is not None:
            self._owner.guests.leave(self._peer_ip)
        if self._guard is not None:
            self._guard.close()
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
        if self._guard is not None:
            self._guard.writing_paused()
        for slot in self._slots:
            slot.regulate()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._guard is not None:
            self._guard.writing_resumed()
        for slot in list(self._slots):
            slot.regulate()
        # Not here: asyncio calls this in the middle of a write, and must not be closed meanwhile.
        self._loop.call_soon(self._write_answers)

    # What the reader calls.

    def on_message(self, head: RequestHead, body: bytes) -> None:
        if not (self._is_trusting and head.is_plain):
            self._on_unusual_message(head, body)
            return
        # The path of almost every message: its 202 is only counted, and owed after the read.
        delivery = self._deliver(head.to_id, head.name, head.sender, body, head.headers)
        if delivery is _ACCEPTED:
            self._accepted += 1
        else:
            self._owe_accepted()
            self._owner.counters.received += 1
            self._answer_unusual(head.to_id, delivery)
            self._answer_when_quiet()

    def _owe_accepted(self) -> None:
        if self._accepted:
            self._owner.counters.received += self._accepted
            self._answers.add(ACCEPTED, count=self._accepted)
            self._accepted = 0
            self._answer_when_quiet()

    def _answer_when_quiet(self) -> None:
        if self._quiet_timer is None:
            self._quiet_timer = self._loop.call_later(QUIET_S, self._write_when_quiet)

    def _on_unusual_message(self, head: RequestHead, body: bytes) -> None:
        self._owe_accepted()
        if self._guard is not None:
            self._guard.check_head(head)
            self._guard.request_done()
        self._owner.counters.received += 1
        if head.refused is not None:
            self._answers.add(*head.refused)
        elif self._owner.requires_peer_ip_match and head.sender.ip != self._peer_ip:
            self._owner.counters.refused_senders += 1
            self._answers.add(400, f"sender {head.sender} does not speak from {self._peer_ip}")
        else:
            delivery = self._deliver(head.to_id, head.name, head.sender, body, head.headers)
            self._answer_unusual(head.to_id, delivery)
        if not head.keep_alive:
            self._serve_no_more()
            self._write_answers()
        elif head.wants_answer_now:
            self._write_answers()
        else:
            self._answer_when_quiet()

    def _answer_unusual(self, to_id: str, delivery: Delivery) -> None:
        match delivery:
            case Delivery.NO_PROCESS:
                self._answers.add(NOT_FOUND, "404 Not Found.")
            case Delivery.REFUSED:
                self._answers.add(UNAVAILABLE, f"the mailbox of {to_id} is full")
            case Delivery.ACCEPTED | Delivery.ACCEPTED_FULL:
                self._answers.add(ACCEPTED)
        if delivery is Delivery.ACCEPTED_FULL:
            self._full_mailboxes += 1
            self.regulate_reading()
            self._host.call_when_room(to_id, self._on_room)

    def _on_room(self) -> None:
        self._full_mailboxes -= 1
        self.regulate_reading()

    def on_request(self, head: RequestHead) -> None:
        self._owe_accepted()
        if self._guard is not None:
            self._guard.check_head(head)
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
        if self._guard is not None:
            self._guard.request_done()
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
        if self._is_at_eof:
            transport.close()
        elif transport.can_write_eof():
            self._has_sent_eof = True
            transport.write_eof()
            self._end_timer = self._loop.call_later(CLOSE_S, transport.close)
        elif not self._is_refused:
            transport.close()
        elif self._end_timer is None:
            # Over TLS, who was cut off in the middle of a request is read a while longer.
            self._end_timer = self._loop.call_later(LINGER_S, _close_once, transport)
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

    def refuse(self, error: PeerProtocolError) -> None:
        """Answer the error, when it has a status, and close."""
        if self._is_closing:
            return
        logger.warning("closing connection from %s: %s", self.peer_name, error.reason)
        self._owner.counters.refused_connections += 1
        self._is_refused = True
        self._is_closing = True
        if error.status is not None:
            self._answers.add(error.status, error.reason)
        if self._slot is not None:
            # Its request is cut off: aiohttp cannot finish it.
            self._slot.lose(None)
            self._slot = None
        self._write_answers()

    @property
    def peer_name(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return str(Address(*peer[:2])) if peer else "a closed connection"

    # What a guard asks.

    @property
    def is_reading(self) -> bool:
        return self._transport is not None and self._transport.is_reading()

    @property
    def is_in_head(self) -> bool:
        return self._reader.is_in_head

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
        """Read on unless the request being read, unanswered ones or full mailboxes forbid it."""
        slot = self._slot
        must_pause = (
            (slot is not None and slot.wants_pause)
            or len(self._slots) >= self._pipelined_max
            or self._full_mailboxes > 0
        )
        if must_pause:
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
        self._has_written = False
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
        data = bytes(data)
        if not self._has_written:
            self._has_written = True
            if data.startswith(b"HTTP/1.0 "):  # aiohttp repeats the version of the request
                data = b"HTTP/1.1 " + data[9:]
        if self._is_released:
            self._connection.write(data)
        else:
            self._buffer.append(data)
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
