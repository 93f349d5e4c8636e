"""Small helpers around sockets and asyncio's transports."""

from __future__ import annotations

import asyncio
import socket


def family_of(host: str) -> socket.AddressFamily:
    """IPv6 for its numeric addresses; names are looked up in IPv4, as libprocess does."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def close_once(transport: asyncio.Transport) -> None:
    """Close; asyncio's TLS transports do not stand it twice."""
    if not transport.is_closing():
        transport.close()


__all__ = ["close_once", "family_of"]
