"""One accepted TCP connection: messages and ordinary requests, answered in order.

Answers to libprocess peers are written when the connection has been quiet for a moment, or at its
end: a failed write would throw away bytes that have arrived (spec §1.10).
Source: actor-runtime.md §1.3 to 1.7, §2.1.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from actorproc.core.answers import AnswerQueue
from actorproc.core.wire import ACCEPTED, NOT_FOUND, HeadMemory, RequestHead, RequestReader
from actorproc.errors import PeerProtocolError
from actorproc.mailbox import Delivery
from actorproc.pid import Address
from actorproc.transport.base import TransportHost
from actorproc.transport.hardened import Guard, Guests
from actorproc.transport.http_slot import HttpSlot
from actorproc.transport.limits import CLOSE_S, TcpCounters, TcpLimits
from actorproc.transport.sockets import close_once

logger = logging.getLogger(__name__)

UNAVAILABLE: Final = 503
_ACCEPTED: Final = Delivery.ACCEPTED  # compared for every message

QUIET_S: Final = 0.03  # answers to libprocess peers wait for this much silence
ANSWERS_WRITE_MAX: Final = 512  # short answers joined into one write, before looking for a pause
PIPELINED_REQUESTS_MAX: Final = 64  # ordinary requests in progress; reading pauses beyond
LINGER_S: Final = 1.0  # without half-close: how long to read on behind a refusal, unheeded
UNANSWERED_S: Final = 30.0  # how long handlers may take to begin an answer once the client ended


class InboundOwner(Protocol):
    """What a connection asks of the transport it belongs to."""

    limits: TcpLimits
    counters: TcpCounters
    heads: HeadMemory
    guests: Guests | None
    requires_peer_ip_match: bool

    @property
    def address(self) -> Address: ...

    @property
    def host(self) -> TransportHost: ...

    @property
    def is_stopping(self) -> bool: ...

    def add_inbound(self, connection: InboundConnection) -> None: ...

    def remove_inbound(self, connection: InboundConnection) -> None: ...


class InboundConnection(asyncio.Protocol):
    """One accepted connection: messages and ordinary requests, answered in order."""

    def __init__(self, owner: InboundOwner) -> None:
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
            self._end_timer = self._loop.call_later(LINGER_S, close_once, transport)
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


__all__ = ["InboundConnection", "InboundOwner"]
