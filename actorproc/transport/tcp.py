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
from collections.abc import Mapping
from typing import Final

from actorproc.core.wire import (
    HeadMemory,
    MessageEncoder,
    encode_message,
)
from actorproc.environment import naming_variables, read_environment
from actorproc.errors import BrokenTransport, UnreachableId
from actorproc.events import Headers
from actorproc.pid import PID, Address
from actorproc.transport.base import TransportHost
from actorproc.transport.hardened import Guests
from actorproc.transport.inbound import InboundConnection
from actorproc.transport.limits import CLOSE_S, TcpCounters, TcpLimits
from actorproc.transport.outbound import OutboundConnection
from actorproc.transport.sockets import family_of
from actorproc.transport.tls import Tls, TlsListener, TlsSettings

logger = logging.getLogger(__name__)

LISTEN_BACKLOG: Final = 4096


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
            ip = await _ip_of_host_name(family_of(ip), _ANY_IP[ip])
        self._address = Address(ip, port if self._advertise_port is None else self._advertise_port)

    async def _listen(self) -> tuple[str, int]:
        """Begin to accept; returns the ip and port that were bound."""
        loop = asyncio.get_running_loop()
        if self.tls is None:
            self._server = await loop.create_server(
                lambda: InboundConnection(self),
                self._bind.ip,
                self._bind.port,
                family=family_of(self._bind.ip),
                backlog=LISTEN_BACKLOG,
                reuse_address=True,
            )
            bound = self._server.sockets[0].getsockname()
        else:
            sock = socket.create_server(
                tuple(self._bind), family=family_of(self._bind.ip), backlog=LISTEN_BACKLOG
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


async def _ip_of_host_name(family: socket.AddressFamily, otherwise: str) -> str:
    """The address of this host's name, else the loopback address."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(socket.gethostname(), None, family=family)
    except OSError:
        return otherwise
    return str(found[0][4][0])


__all__ = ["TcpCounters", "TcpLimits", "TcpTransport"]
