"""What can stand in a mailbox. Source: actor-runtime.md §3.2 (libprocess ``event.hpp``).

A message is a plain tuple and the others are plain classes with slots: one is built for every
delivery, where a frozen dataclass costs ten times as much as a tuple, and three times as much as a
class with slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from actorproc.pid import PID

if TYPE_CHECKING:
    from aiohttp import web

Headers = Mapping[str, str]  # what travels with a message beside its body; lower-case names

Message = tuple[str, PID, bytes, Headers | None]  # name, sender, body, headers


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


class Terminate:
    """Last event a process serves."""

    __slots__ = ()


Event = Message | Dispatch | Http | Exited | Terminate

__all__ = [
    "Dispatch",
    "Event",
    "Exited",
    "Headers",
    "Http",
    "Message",
    "Terminate",
]
