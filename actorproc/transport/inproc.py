"""In-process transport: runtimes of one program exchange messages without sockets.

The same promises as TCP: bytes, at most once, in order between two runtimes, a link that breaks
when the other runtime stops or the pair is cut apart. Used with a virtual clock it makes whole
clusters run in one thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from actorproc.core.wire import MessageEncoder
from actorproc.errors import BrokenTransport, UnreachableId
from actorproc.events import Headers
from actorproc.pid import PID, Address
from actorproc.transport.base import TransportHost

logger = logging.getLogger(__name__)


class Envelope(NamedTuple):
    """One message on its way."""

    sender: PID
    to: PID
    name: str
    body: bytes
    headers: Headers | None = None


MessageFilter = Callable[[Envelope], bool]


class InProcessNetwork:
    """Connects the runtimes whose transports it made."""

    def __init__(self) -> None:
        self.carried = 0
        self._transports: dict[Address, InProcessTransport] = {}
        self._on_its_way: deque[tuple[Address, Envelope]] = deque()
        self._is_scheduled = False
        self._cut: dict[frozenset[Address], None] = {}
        self._filters: list[MessageFilter] = []

    def transport(self, ip: str, port: int) -> InProcessTransport:
        """A transport whose runtime lives at ``ip:port`` of this network."""
        return InProcessTransport(self, Address(ip, port))

    def add_filter(self, drops: MessageFilter) -> Callable[[], None]:
        """Drop messages for which ``drops(envelope)`` is true; returns what undoes it."""
        self._filters.append(drops)
        return lambda: self._filters.remove(drops)

    def cut(self, one: Address, other: Address) -> None:
        """Break the links between two runtimes and drop their messages until ``heal``."""
        self._cut[frozenset((one, other))] = None
        for here, there in ((one, other), (other, one)):
            if (transport := self._transports.get(here)) is not None:
                transport.lose(there)

    def heal(self, one: Address, other: Address) -> None:
        """Undo ``cut``; links stay broken until made again."""
        self._cut.pop(frozenset((one, other)), None)

    # What its transports call.

    def open(self, transport: InProcessTransport) -> None:
        if transport.address in self._transports:
            raise BrokenTransport(f"cannot listen on {transport.address}: address in use")
        self._transports[transport.address] = transport

    def close(self, transport: InProcessTransport) -> None:
        del self._transports[transport.address]
        for other in list(self._transports.values()):
            other.lose(transport.address)

    def can_reach(self, here: Address, there: Address) -> bool:
        return there in self._transports and frozenset((here, there)) not in self._cut

    def carry(self, here: Address, envelope: Envelope) -> None:
        self._on_its_way.append((here, envelope))
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    @property
    def is_idle(self) -> bool:
        return not self._on_its_way

    def _deliver(self) -> None:
        self._is_scheduled = False
        batch, self._on_its_way = self._on_its_way, deque()
        for here, envelope in batch:
            self.carried += 1
            there = envelope.to.address
            if not self.can_reach(here, there) or any(drops(envelope) for drops in self._filters):
                continue
            self._transports[there].receive(envelope)


class InProcessTransport:
    """One runtime's end of an ``InProcessNetwork``."""

    def __init__(self, network: InProcessNetwork, address: Address) -> None:
        self._network = network
        self._address = address
        self._host: TransportHost | None = None
        self._encoder = MessageEncoder()
        self._links: dict[Address, None] = {}

    @property
    def address(self) -> Address:
        return self._address

    @property
    def activity(self) -> int:
        return self._network.carried

    @property
    def is_idle(self) -> bool:
        return self._network.is_idle

    async def start(self, host: TransportHost) -> None:
        self._network.open(self)
        self._host = host

    async def stop(self) -> None:
        if self._host is not None:
            self._host = None
            self._network.close(self)

    def send(
        self, sender: PID, to: PID, name: str, body: bytes, headers: Headers | None = None
    ) -> None:
        try:
            self._encoder.encode(sender, to, name, b"")  # what TCP cannot send is not sent here
        except UnreachableId as error:
            logger.warning("message %s from %s dropped: %s", name, sender, error)
            return
        self._network.carry(self._address, Envelope(sender, to, name, body, headers))

    def flow(self, address: Address) -> asyncio.Future[None] | None:
        return None  # nothing is queued for longer than a turn of the loop

    def link(self, address: Address, *, reconnect: bool = False) -> None:
        self._links[address] = None
        if not self._network.can_reach(self._address, address):
            asyncio.get_running_loop().call_soon(self.lose, address)

    def lose(self, address: Address) -> None:
        """The connection to ``address`` is gone."""
        if address in self._links and self._host is not None:
            del self._links[address]
            self._host.link_broken(address)

    def receive(self, envelope: Envelope) -> None:
        if self._host is not None:
            sender, to, name, body, headers = envelope
            self._host.deliver(to.id, name, sender, body, headers)


__all__ = ["Envelope", "InProcessNetwork", "InProcessTransport"]
