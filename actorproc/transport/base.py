"""What a runtime and its transport ask of each other.

A transport carries messages to other runtimes, at most once, and tells of broken links. It is
injected into the runtime by its maker. Order holds between two PIDs as long as one connection is
used; nothing is resent. Source: actor-runtime.md §1.8 to 1.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from actorproc.events import Headers
from actorproc.mailbox import Delivery
from actorproc.pid import PID, Address

if TYPE_CHECKING:
    import asyncio


class TransportHost(Protocol):
    """The runtime as its transport sees it. Calls are synchronous and return at once."""

    def deliver(
        self, to_id: str, name: str, sender: PID, body: bytes, headers: Headers | None = None
    ) -> Delivery:
        """Put a message into a local mailbox; the result says what the sender should do."""
        ...

    def call_when_room(self, to_id: str, resume: Callable[[], None]) -> None:
        """Call ``resume`` once the mailbox of ``to_id`` has room again, or is gone."""
        ...

    def link_broken(self, address: Address) -> None:
        """The persistent connection to ``address`` is lost, or could not be made."""
        ...

    def open_http(self, connection: asyncio.Transport) -> asyncio.Protocol:
        """A protocol that serves exactly one ordinary HTTP request and closes ``connection``."""
        ...


class Transport(Protocol):
    """Carries messages between runtimes."""

    @property
    def address(self) -> Address:
        """The advertised address, valid after ``start``: the one inside PIDs."""
        ...

    async def start(self, host: TransportHost) -> None:
        """Begin to receive.

        Raises:
            BrokenTransport: the address cannot be used.
        """
        ...

    async def stop(self) -> None:
        """Send what is queued as far as that is possible at once, then close everything."""
        ...

    def send(
        self, sender: PID, to: PID, name: str, body: bytes, headers: Headers | None = None
    ) -> None:
        """Send at most once; never fails visibly."""
        ...

    def link(self, address: Address, *, reconnect: bool = False) -> None:
        """Keep a connection to ``address`` and report its loss once."""
        ...

    def flow(self, address: Address) -> asyncio.Future[None] | None:
        """What to wait for before sending more to ``address``; None when there is room."""
        ...

    @property
    def activity(self) -> int:
        """A number that changes with everything carried (for settling under virtual time)."""
        ...

    @property
    def is_idle(self) -> bool:
        """True when nothing is on its way inside this transport."""
        ...


__all__ = ["Transport", "TransportHost"]
