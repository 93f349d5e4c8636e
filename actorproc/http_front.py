"""Ordinary HTTP on the port of a runtime: aiohttp serves each request and finds its process.

The transport opens one ``connection`` per request (see ``transport/tcp.py``), so that pipelined
requests run side by side while their answers leave in order. Here aiohttp parses the request, and
its first path segment names the process. Source: actor-runtime.md §8.1.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import web

logger = logging.getLogger(__name__)

HEADER_BYTES_MAX: Final = 81920  # as libprocess
REQUEST_BYTES_MAX: Final = 64 * 1024 * 1024  # body that request.read() will gather
QUEUED_BYTES_MAX: Final = 1024 * 1024  # request bytes held while aiohttp starts up


class HttpHost(Protocol):
    """What the front asks of its runtime."""

    delegate: str

    def request_http(
        self, id: str, path: str, request: web.Request
    ) -> asyncio.Future[web.StreamResponse] | None:
        """Queue a request for a process; None when no process has this id."""
        ...


class HttpFront:
    """The HTTP side of one runtime."""

    def __init__(self, runtime: HttpHost) -> None:
        self._runtime = runtime
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_route("*", "/{tail:.*}", self._dispatch)
        app.on_response_prepare.append(_announce)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=0,  # one request a connection: aiohttp closes it after the answer
            lingering_time=0,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        self._starting: asyncio.Task[None] | None = None
        self._waiting: list[_StartingConnection] = []

    def connect(self, connection: asyncio.Transport) -> asyncio.Protocol:
        """A protocol for one request; it closes ``connection`` when the answer is written."""
        if self._runner.server is not None:
            return self._runner.server()
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        waiting = _StartingConnection(connection)
        self._waiting.append(waiting)
        return waiting

    async def _start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        if server is not None:
            for connection in self._waiting:
                connection.go_on_with(server())
        self._waiting.clear()

    async def stop(self) -> None:
        if self._starting is not None:
            await self._starting
            await self._runner.cleanup()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if "/.." in path:
            raise web.HTTPNotFound(text="404 Not Found.")
        first, _, rest = path[1:].partition("/")
        try:
            id = unquote(first.replace("+", " "), errors="strict")
        except UnicodeDecodeError as error:
            raise web.HTTPBadRequest(text=f"path: {first!r} is not UTF-8") from error
        future = self._runtime.request_http(id, "/" + rest, request) if id else None
        if future is None and self._runtime.delegate:
            future = self._runtime.request_http(self._runtime.delegate, path, request)
        if future is None:
            raise web.HTTPNotFound(text="404 Not Found.")
        try:
            return await future
        except Exception as error:
            slot = request.transport
            if slot is not None and getattr(slot, "has_begun", False):
                slot.abort()  # no other answer can follow half of one: the connection breaks
                return web.Response()
            if isinstance(error, web.HTTPException):
                raise
            # As libprocess: the text of a failure is the body. It was logged already.
            raise web.HTTPInternalServerError(text=str(error)) from error


async def _announce(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the slot of the real connection what follows this answer, whole or broken off."""
    begin_answer = getattr(request.transport, "begin_answer", None)
    if begin_answer is not None:
        begin_answer(
            closes=response.headers.get("Connection", "").lower() == "close",
            is_whole=lambda: response.body_length > 0,  # 0 until its end is written
        )


class _StartingConnection(asyncio.Protocol):
    """Holds the bytes of a request until aiohttp's server is set up."""

    def __init__(self, connection: asyncio.Transport) -> None:
        self._connection = connection
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > QUEUED_BYTES_MAX:
            self._connection.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True

    def go_on_with(self, protocol: asyncio.Protocol) -> None:
        if self._is_lost:
            return
        self._connection.set_protocol(protocol)
        protocol.connection_made(self._connection)
        if self._held_bytes > QUEUED_BYTES_MAX:
            self._connection.resume_reading()  # before aiohttp may pause it again
        for data in self._held:
            protocol.data_received(data)


__all__ = ["HttpFront", "HttpHost"]
