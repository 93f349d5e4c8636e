"""One outgoing TCP connection: the queue of messages to one peer, and the life of its socket.

A temporary connection is kept for an idle period, then half-closed and read to its end: closing at
once could destroy what the peer has not read. Source: actor-runtime.md §1.8, §2.3.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Protocol, cast

from actorproc.pid import Address
from actorproc.transport.limits import CLOSE_S, TcpCounters, TcpLimits
from actorproc.transport.sockets import close_once, family_of
from actorproc.transport.tls import OwedAnswers, RefusedPeer, Tls

logger = logging.getLogger(__name__)


class OutboundOwner(Protocol):
    """What a connection asks of the transport it belongs to."""

    limits: TcpLimits
    counters: TcpCounters
    tls: Tls | None

    def connection_gone(self, peer: OutboundConnection, dropped_messages: int) -> None:
        """The connection ended, with so many messages unsent."""
        ...


class OutboundConnection(asyncio.Protocol):
    """The connection to one peer, with the queue of messages for it.

    connecting ──> open ──> (idle) half-closed ──> gone
    """

    def __init__(self, owner: OutboundOwner, address: Address) -> None:
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
                lambda: self, *self.address, family=family_of(self.address.ip)
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
            *self.address, family=family_of(self.address.ip), type=socket.SOCK_STREAM
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
            close_once(self._transport)
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
            close_once(self._transport)

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


__all__ = ["OutboundConnection", "OutboundOwner"]
