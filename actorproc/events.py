"""What can stand in a mailbox. Source: actor-runtime.md §3.2 (libprocess ``event.hpp``).

Plain classes with slots: a message is built for every delivery, and a frozen dataclass costs three
times as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

    from actorproc.pid import PID


class Message:
    """A named message with its sender (the empty PID when unknown) and body."""

    __slots__ = ("body", "name", "sender")

    def __init__(self, name: str, sender: PID, body: bytes) -> None:
        self.name = name
        self.sender = sender
        self.body = body


class Dispatch:
    """A call to run in the process; ``future`` is None when nobody waits for the result."""

    __slots__ = ("args", "fn", "future")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], future: asyncio.Future[Any] | None
    ) -> None:
        self.fn = fn
        self.args = args
        self.future = future


class Http:
    """An ordinary HTTP request for a route of the process; ``future`` gets the response."""

    __slots__ = ("future", "path", "request")

    def __init__(
        self, request: web.Request, path: str, future: asyncio.Future[web.StreamResponse]
    ) -> None:
        self.request = request
        self.path = path
        self.future = future


class Exited:
    """A linked process is gone, or the connection to its runtime broke."""

    __slots__ = ("pid",)

    def __init__(self, pid: PID) -> None:
        self.pid = pid


class Initialize:
    """First event of every process."""

    __slots__ = ()


class Terminate:
    """Last event a process serves."""

    __slots__ = ()


Event = Message | Dispatch | Http | Exited | Initialize | Terminate

__all__ = ["Dispatch", "Event", "Exited", "Http", "Initialize", "Message", "Terminate"]
