"""Limits and counters of TCP transports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from actorproc.transport.hardened import HardenedLimits

CLOSE_S: Final = 5.0  # how long a half-closed connection waits for the peer's end


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


__all__ = ["CLOSE_S", "TcpCounters", "TcpLimits"]
