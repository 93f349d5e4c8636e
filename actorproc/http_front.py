"""Ordinary HTTP on the port of a runtime: aiohttp serves each request and finds its process.

The transport opens one ``connection`` per request (see ``transport/tcp.py``), so that pipelined
requests run side by side while their answers leave in order. Here aiohttp parses the request, and
its first path segment names the process; ``routes.py`` takes it from there. What a whole runtime
has in common stands here too: realms, disabled endpoints and limits. Source: actor-runtime.md §8.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import HttpVersion11, web

from actorproc.clock import Clock
from actorproc.errors import ProtocolMisuse
from actorproc.http.auth import Forbidden, Principal, Realms, Unauthorized
from actorproc.http.firewall import Firewall
from actorproc.http.limits import HttpLimits
from actorproc.http.responses import PipeResponse, compress
from actorproc.patterns.timing import within
from actorproc.routes import GATE

logger = logging.getLogger(__name__)

HEADER_BYTES_MAX: Final = 81920  # as libprocess: more than the limits, which have an answer
HEADERS_MAX: Final = 40_000  # as many as fit into them
QUEUED_BYTES_MAX: Final = 1024 * 1024  # request bytes held while aiohttp starts up


class HttpHost(Protocol):
    """What the front asks of its runtime."""

    clock: Clock
    delegate: str

    def request_http(
        self, id: str, path: str, request: web.Request
    ) -> asyncio.Future[web.StreamResponse] | None:
        """Queue a request for a process; None when no process has this id."""
        ...


class HttpFront:
    """The HTTP side of one runtime.

    Attributes:
        realms: who asks, and whether they may.
        firewall: disabled endpoints.
        limits: what one request may take; replace it before the first request comes.
    """

    def __init__(self, runtime: HttpHost, limits: HttpLimits | None = None) -> None:
        self._runtime = runtime
        self._limits = limits or HttpLimits()
        self.realms = Realms()
        self.firewall = Firewall()
        self._starting: asyncio.Task[None] | None = None
        self._waiting: list[_StartingConnection] = []
        self._runner = self._make_runner()

    @property
    def clock(self) -> Clock:
        return self._runtime.clock

    @property
    def limits(self) -> HttpLimits:
        return self._limits

    @limits.setter
    def limits(self, limits: HttpLimits) -> None:
        if self._starting is not None:
            raise ProtocolMisuse("limits must be set before the first request comes")
        self._limits = limits
        self._runner = self._make_runner()

    def _make_runner(self) -> web.AppRunner:
        app = web.Application(client_max_size=self._limits.body_bytes_max)
        app.router.add_route("*", "/{tail:.*}", self._dispatch)
        app.on_response_prepare.append(_announce)
        return web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=0,  # one request a connection: aiohttp closes it after the answer
            lingering_time=0,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )

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
        self._check_head(request)
        future = self._queue_for_process(request)
        if future is None:
            raise web.HTTPNotFound(text="404 Not Found.")
        try:
            response = await future
            if isinstance(response, PipeResponse):
                await response.send(request)
            else:
                await compress(request, response)
            return response
        except Exception as error:
            slot = request.transport
            if slot is not None and getattr(slot, "has_begun", False):
                slot.abort()  # no other answer can follow half of one: the connection breaks
                return web.Response()
            if isinstance(error, web.HTTPException):
                raise
            # As libprocess: the text of a failure is the body. It was logged already.
            raise web.HTTPInternalServerError(text=str(error)) from error

    def _queue_for_process(self, request: web.Request) -> asyncio.Future[web.StreamResponse] | None:
        """Hand the request to the process that its path names, else to the delegate."""
        path = request.rel_url.raw_path
        if "/.." in path:
            return None
        first, _, rest = path[1:].partition("/")
        try:
            id = unquote(first.replace("+", " "), errors="strict")
        except UnicodeDecodeError as error:
            raise web.HTTPBadRequest(text=f"path: {first!r} is not UTF-8") from error
        future = self._queue(id, "/" + rest, request) if id else None
        if future is None and self._runtime.delegate:
            future = self._queue(self._runtime.delegate, path, request)
        return future

    def _queue(
        self, id: str, path: str, request: web.Request
    ) -> asyncio.Future[web.StreamResponse] | None:
        request[GATE] = _ProcessGate(self, id)
        return self._runtime.request_http(id, path, request)

    def _check_head(self, request: web.Request) -> None:
        """Refuse what is larger than ``limits``, before anything is done for it."""
        limits = self._limits
        if len(request.path_qs) > limits.target_bytes_max:
            raise web.HTTPRequestURITooLong(
                text=f"path and query are larger than {limits.target_bytes_max} bytes"
            )
        fields = request.raw_headers
        sizes = [len(name) + len(value) for name, value in fields]
        if len(fields) > limits.headers_max:
            rule = f"more than {limits.headers_max} header fields"
        elif max(sizes, default=0) > limits.header_field_bytes_max:
            rule = f"a header field is larger than {limits.header_field_bytes_max} bytes"
        elif sum(sizes) > limits.head_bytes_max:
            rule = f"the header fields are larger than {limits.head_bytes_max} bytes"
        else:
            return
        raise web.HTTPRequestHeaderFieldsTooLarge(text=rule)


class _ProcessGate:
    """What one process asks of the front while it serves a request; see ``routes.Gate``."""

    def __init__(self, front: HttpFront, id: str) -> None:
        self._front = front
        self._id = id
        self.clock = front.clock
        self.limits = front.limits

    def check_firewall(self, path: str) -> None:
        endpoint = f"/{self._id}{path}"
        if self._front.firewall.refuses(endpoint):
            raise web.HTTPForbidden(text=f"Endpoint '{endpoint}' is disabled")

    async def authenticate(self, realm: str | None, request: web.Request) -> Principal | None:
        authenticator = self._front.realms.authenticator_of(realm)
        if authenticator is None:
            return None
        try:
            asking = authenticator.authenticate(request)
            outcome = await within(self.clock, self.limits.authentication_s, asking)
        except TimeoutError as error:
            text = f"authentication in realm {realm} took too long"
            raise web.HTTPServiceUnavailable(text=text) from error
        match outcome:
            case Principal() if outcome.value or outcome.claims:
                return outcome
            case Unauthorized() if outcome.challenges:
                refusal = web.HTTPUnauthorized(text=outcome.text or None)
                for challenge in outcome.challenges:
                    refusal.headers.add("WWW-Authenticate", str(challenge))
                raise refusal
            case Forbidden():
                raise web.HTTPForbidden(text=outcome.text or None)
            case _:
                pass  # also what is none of these: authenticators are not ours
        rule = "must give a principal with a name or claims, or a refusal"
        raise web.HTTPInternalServerError(text=f"the authenticator of realm {realm} {rule}")

    async def authorize(
        self, route: str, request: web.Request, principal: Principal | None
    ) -> None:
        endpoint = f"/{self._id}{route if route != '/' else ''}"
        if not await self._front.realms.is_allowed(endpoint, request, principal):
            raise web.HTTPForbidden


async def _announce(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the slot of the real connection what follows this answer, whole or broken off."""
    begin_answer = getattr(request.transport, "begin_answer", None)
    if begin_answer is not None:
        # HTTP/1.0 knows no chunks: a body without a length ends with the connection.
        has_end = request.version >= HttpVersion11 or "Content-Length" in response.headers
        says_close = response.headers.get("Connection", "").lower() == "close"
        begin_answer(
            closes=says_close or not has_end,
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
