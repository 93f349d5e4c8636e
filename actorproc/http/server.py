"""A stand-alone HTTP server, and one connection served by a function; no actors are involved.

    Server: made ── run ──> running ── stop, or run is cancelled ──> stopped (for good)

aiohttp speaks HTTP here. Source: actor-runtime.md §8.5. Differs: the requests of one connection are
served one after another; a handler that is cancelled from inside answers 503, as an abandoned
future does in libprocess.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from actorproc.clock import Clock, RealClock
from actorproc.errors import BrokenTransport, ProtocolMisuse
from actorproc.http.responses import PipeResponse, compress
from actorproc.pid import Address

LISTEN_BACKLOG: Final = 16384  # as libprocess; the system may allow less
SHUTDOWN_S: Final = 1.0  # how long cancelled handlers may take to end

ServeHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Server:
    """Serves a TCP address or a Unix socket.

    Args:
        address: where to listen (port 0 for a free one), or the path of a Unix socket.
        handler: a coroutine function from a request to its answer.
        clock: measures the grace period; real time by default.
    """

    def __init__(
        self, address: Address | str, handler: ServeHandler, *, clock: Clock | None = None
    ) -> None:
        self._where = address
        self._clock = clock or RealClock()
        self._requests = _Requests(handler)
        self._listening: asyncio.Server | None = None
        self._has_run = False
        self._stopping: asyncio.Future[None] | None = None  # done when ``run`` shall end
        self._ended: asyncio.Future[None] | None = None  # done when it has

    @property
    def address(self) -> Address | str:
        """Where it listens; a port of 0 is replaced once it does."""
        return self._where

    @property
    def is_running(self) -> bool:
        """True while connections are accepted."""
        return self._listening is not None

    async def run(self) -> None:
        """Serve until ``stop`` is called; cancelling closes every connection at once.

        Raises:
            BrokenTransport: the address cannot be used.
            ProtocolMisuse: it runs, or has been stopped.
        """
        if self._has_run:
            raise ProtocolMisuse("a server runs once")
        self._has_run = True
        loop = asyncio.get_running_loop()
        self._stopping, self._ended = loop.create_future(), loop.create_future()
        server = self._requests.make_server()
        try:
            self._listening = await self._listen(server)
            await self._stopping
        finally:
            self._stop_listening()
            await self._requests.end(server)
            self._ended.set_result(None)

    async def _listen(self, server: web.Server) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._where, str):
                return await loop.create_unix_server(server, self._where, backlog=LISTEN_BACKLOG)
            ip, port = self._where
            listening = await loop.create_server(server, ip, port, backlog=LISTEN_BACKLOG)
        except OSError as error:
            raise BrokenTransport(f"cannot listen on {self._where}: {error.strerror}") from error
        self._where = Address(*listening.sockets[0].getsockname()[:2])
        return listening

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def stop(self, grace_s: float = 0.0) -> None:
        """Accept nothing more, let the requests in progress end, then close everything.

        Args:
            grace_s: how long they may take.

        Raises:
            ProtocolMisuse: it does not run.
        """
        if self._listening is None or self._stopping is None or self._ended is None:
            raise ProtocolMisuse("the server does not run")
        self._stop_listening()
        timer = self._clock.call_later(grace_s, self._requests.none_left.set)
        try:
            await self._requests.none_left.wait()
        finally:
            timer.cancel()
            if not self._stopping.done():
                self._stopping.set_result(None)
        await asyncio.shield(self._ended)


async def serve(sock: socket.socket, handler: ServeHandler) -> None:
    """Serve one connected socket until it closes; cancelling closes it.

    Args:
        sock: a connected stream socket, which is closed at the end.
        handler: a coroutine function from a request to its answer; it is cancelled when the client
            goes away, or serving is.
    """
    requests = _Requests(handler)
    server = requests.make_server()
    watched = _Watched(server())
    sock.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: watched, sock)
    try:
        await watched.lost
    finally:
        await requests.end(server)


class _Requests:
    """The requests in progress of one server."""

    def __init__(self, handler: ServeHandler) -> None:
        self._handler = handler
        self._tasks: dict[asyncio.Task[object], None] = {}
        self._is_ending = False
        self.none_left = asyncio.Event()  # no request is in progress, or nobody waits for them
        self.none_left.set()

    def make_server(self) -> web.Server:
        return web.Server(self._serve, handler_cancellation=True, access_log=None)

    async def end(self, server: web.Server) -> None:
        """Cancel what is in progress, and close every connection."""
        self._is_ending = True
        for task in list(self._tasks):
            task.cancel()
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN_S)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is None or self._is_ending:
            raise web.HTTPServiceUnavailable
        self._tasks[task] = None
        self.none_left.clear()
        try:
            return await self._respond(request)
        finally:
            del self._tasks[task]
            if not self._tasks:
                self.none_left.set()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._handler(request)
            if isinstance(response, PipeResponse):
                await response.send(request)
            else:
                await compress(request, response)
        except web.HTTPException:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise web.HTTPServiceUnavailable(text="the request was given up") from None
        except Exception as error:
            if request.transport is not None and request.writer.output_size:
                request.transport.abort()  # no other answer can follow half of one
            raise web.HTTPInternalServerError(text=str(error)) from error
        return response


class _Watched(asyncio.Protocol):
    """Passes everything on, and tells when the connection is lost."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)


__all__ = ["LISTEN_BACKLOG", "SHUTDOWN_S", "ServeHandler", "Server", "serve"]
