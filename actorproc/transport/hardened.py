"""Hardened mode: what a listening transport asks of strangers, beyond what libprocess asks.

libprocess takes any number of connections, silent or slow for as long as they like, and a peer's
idle link must indeed stay open: closing it means "exited" to the peer. So only what a stranger can
abuse is limited: how many connections come from one address, and how slowly a request that has
begun goes on. A connection between two requests may be silent for ever. Addresses known to be peers
are exempt.
Source: reliability.md §4 (slow-loris, link storms, header bombs, chunk extensions).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from actorproc.core.wire import RequestHead
from actorproc.errors import PeerProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class HardenedLimits:
    """Limits for every connection that does not come from one of ``peer_ips``.

    Attributes:
        peer_ips: numeric addresses without these limits.
        connections_per_ip_max: open connections from one address; further ones are closed.
        header_s: seconds from the first byte of a request to the end of its headers.
        body_bytes_per_s_min: what a request must bring on average once ``header_s`` have passed.
        write_stall_s: how long a client may leave its answers unread.
        head_bytes_max: request line and headers together; longer is answered 431.
        header_lines_max: header lines; more are answered 431.
        header_line_bytes_max: one header line, or the request line; longer is answered 431.
        chunk_line_bytes_max: a chunk size with its extensions and line end; the default leaves no
            room for an extension.
        requests_in_progress_max: ordinary requests of one connection; reading pauses beyond.
    """

    peer_ips: frozenset[str] = frozenset()
    connections_per_ip_max: int = 256
    header_s: float = 10.0
    body_bytes_per_s_min: int = 1024
    write_stall_s: float = 30.0
    head_bytes_max: int = 32 * 1024
    header_lines_max: int = 100
    header_line_bytes_max: int = 8 * 1024
    chunk_line_bytes_max: int = 17
    requests_in_progress_max: int = 16


class Guests:
    """Counts open connections per address. Entering and leaving come in pairs."""

    def __init__(self, limits: HardenedLimits) -> None:
        self._limits = limits
        self._counts: dict[str, int] = {}

    def enter(self, ip: str) -> bool:
        """Count one more; False when there are too many (leave all the same)."""
        count = self._counts.get(ip, 0) + 1
        self._counts[ip] = count
        return count <= self._limits.connections_per_ip_max or ip in self._limits.peer_ips

    def leave(self, ip: str) -> None:
        count = self._counts.get(ip, 0) - 1
        if count > 0:
            self._counts[ip] = count
        else:
            self._counts.pop(ip, None)

    def count(self, ip: str) -> int:
        return self._counts.get(ip, 0)


class GuardedConnection(Protocol):
    """What a guard asks of its connection."""

    def refuse(self, error: PeerProtocolError) -> None:
        """Answer the error and close."""
        ...

    def abort(self) -> None: ...

    @property
    def is_reading(self) -> bool:
        """False while we do not read: then the client cannot go on."""
        ...

    @property
    def is_in_head(self) -> bool:
        """A request has begun whose headers are not complete."""
        ...


class Guard:
    """Watches over one connection of a stranger."""

    def __init__(self, limits: HardenedLimits, connection: GuardedConnection) -> None:
        self.limits = limits
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._begun_s: float | None = None  # loop time; None between two requests
        self._bytes = 0  # of the request, since then
        self._progress_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._approved: bytes | None = None  # the last head that passed: heads repeat

    def check_head(self, head: RequestHead) -> None:
        """
        Raises:
            PeerProtocolError: 431, and which limit the head exceeds.
        """  # noqa: D212 - the error is all there is to say
        raw, limits = head.raw, self.limits
        if raw is self._approved:
            return
        if len(raw) > limits.head_bytes_max:
            raise PeerProtocolError(f"request head is larger than {limits.head_bytes_max}", 431)
        lines = raw.split(b"\r\n")
        if len(lines) - 3 > limits.header_lines_max:  # the request line, and the end, twice empty
            raise PeerProtocolError(f"more than {limits.header_lines_max} header lines", 431)
        if max(map(len, lines)) > limits.header_line_bytes_max:
            raise PeerProtocolError(f"line longer than {limits.header_line_bytes_max} bytes", 431)
        self._approved = raw

    def request_done(self) -> None:
        """A request was read to its end."""
        self._begun_s = None

    def fed(self, size: int, *, is_between_requests: bool) -> None:
        """Bytes were read; ``is_between_requests`` tells how they ended."""
        if is_between_requests:
            self._begun_s = None
        elif self._begun_s is None:
            self._begin()
        else:
            self._bytes += size

    def _begin(self) -> None:
        self._begun_s = self._loop.time()
        self._bytes = 0
        if self._progress_timer is None:
            self._progress_timer = self._loop.call_later(self.limits.header_s, self._look)

    def _look(self) -> None:
        self._progress_timer = None
        if self._begun_s is None:
            return
        limits = self.limits
        if not self._connection.is_reading:
            self._begin()  # it waits for us
            return
        age_s = self._loop.time() - self._begun_s
        if age_s < limits.header_s:  # another request than the one the timer was set for
            self._progress_timer = self._loop.call_later(limits.header_s - age_s, self._look)
        elif self._connection.is_in_head:
            self._give_up(f"headers took longer than {limits.header_s:g} s")
        elif self._bytes < limits.body_bytes_per_s_min * age_s:
            self._give_up(f"body is slower than {limits.body_bytes_per_s_min} bytes a second")
        else:
            self._progress_timer = self._loop.call_later(limits.header_s, self._look)

    def _give_up(self, reason: str) -> None:
        self._begun_s = None
        self._connection.refuse(PeerProtocolError(reason, 408))

    def writing_paused(self) -> None:
        if self._stall_timer is None:
            stall_s = self.limits.write_stall_s
            self._stall_timer = self._loop.call_later(stall_s, self._connection.abort)

    def writing_resumed(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def close(self) -> None:
        """The connection is gone."""
        self._begun_s = None
        if self._progress_timer is not None:
            self._progress_timer.cancel()
        self.writing_resumed()


__all__ = ["Guard", "GuardedConnection", "Guests", "HardenedLimits"]
