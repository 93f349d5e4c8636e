"""The HTTP routes of one process, resolved by aiohttp's router, and the way to a handler.

    find the route ─> authenticate ─> read the body ─> wait its turn ─> authorize ─> handler

A request for ``/a/b/c`` is served by the route ``/a/b/c``, else ``/a/b``, else ``/a``: the longest
registered prefix. A trailing slash is ignored. Where no route fits, the assets of ``provide`` are
looked at. Handlers start in the order in which the requests arrived, however long their
authentications take; a request whose body is still arriving takes its turn when that is complete.
Source: actor-runtime.md §8.1 to 8.3.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote

from aiohttp import web
from yarl import URL

from actorproc.clock import Clock, RealClock, Timer
from actorproc.errors import ProtocolMisuse
from actorproc.http.auth import PRINCIPAL, Principal
from actorproc.http.limits import HttpLimits

HttpHandler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class Gate(Protocol):
    """What stands between the requests of a process and its handlers; the runtime's HTTP side."""

    clock: Clock
    limits: HttpLimits

    def check_firewall(self, path: str) -> None:
        """Raise 403 when the process-relative ``path`` is disabled."""
        ...

    async def authenticate(self, realm: str | None, request: web.Request) -> Principal | None:
        """Who asks; raises the answer that refuses them."""
        ...

    async def authorize(
        self, route: str, request: web.Request, principal: Principal | None
    ) -> None:
        """Raise 403 when the principal may not ask for the route."""
        ...


GATE: Final = web.RequestKey("actorproc.gate", Gate)


@dataclass(frozen=True, slots=True)
class Route:
    """How the requests of one path are served.

    Attributes:
        path: as registered.
        handler: makes the response.
        help: text for ``/help``.
        streams: the handler runs when the head is there and reads ``request.content`` itself.
        realm: who asks is found out by the authenticator of this realm; None asks nobody.
        body_bytes_max: instead of the limit of the runtime; None keeps that.
    """

    path: str
    handler: HttpHandler
    help: str = ""
    streams: bool = False
    realm: str | None = None
    body_bytes_max: int | None = None


class Routes:
    """Routes of one process; paths are relative to the process id."""

    def __init__(self) -> None:
        self._router = web.UrlDispatcher()
        self._registered: set[tuple[str, str]] = set()
        self._routes: dict[tuple[str, str], Route] = {}  # by method and path
        self._assets: dict[str, Path] = {}
        self._turns = _Turns()
        self.help: dict[str, str] = {}  # path → help text

    def add(
        self,
        path: str,
        handler: HttpHandler,
        methods: tuple[str, ...],
        help: str,
        *,
        streams: bool = False,
        realm: str | None = None,
        body_bytes_max: int | None = None,
    ) -> None:
        """Register a route; see ``Route``. GET is answered for HEAD too, without its body.

        A later route of the same method and path replaces the earlier one.

        Raises:
            ProtocolMisuse: the path does not start with ``/`` or ends with one, or path or method
                are not what aiohttp's router takes.
        """
        if not path.startswith("/") or (path.endswith("/") and path != "/"):
            raise ProtocolMisuse(f"route {path!r} must start with '/' and must not end with it")
        route = Route(path, handler, help, streams, realm, body_bytes_max)
        for method in methods:
            self._register(method, path)
            self._routes[method, path] = route
        if "GET" in methods:
            self._register("HEAD", path)
        self.help[path] = help

    def _register(self, method: str, path: str) -> None:
        if (method, path) in self._registered:
            return

        async def serve(request: web.Request) -> web.StreamResponse:
            route = self._routes.get((method, path)) or self._routes["GET", path]
            return await self._serve(route, request)

        try:
            self._router.add_route(method, path, serve)
        except ValueError as error:
            raise ProtocolMisuse(f"route {method} {path}: {error}") from error
        self._registered.add((method, path))

    def provide(self, name: str, path: str | PathLike[str]) -> None:
        """Serve a file, or the files below a directory, as ``/<process id>/<name>``.

        Raises:
            ProtocolMisuse: the name begins or ends with ``/``.
        """
        if not name or name.startswith("/") or name.endswith("/"):
            raise ProtocolMisuse(f"asset {name!r} must have a name without '/' at its ends")
        self._assets[name] = Path(path)

    async def respond(self, request: web.Request, path: str) -> web.StreamResponse:
        """Find the route for the process-relative ``path`` and run its handler.

        Raises:
            web.HTTPException: disabled (403), nothing found (404), a route that does not take the
                method (405), or refused on the way to the handler.
        """
        _gate_of(request).check_firewall(path)
        refused: web.HTTPException | None = None
        for prefix in _prefixes(path):
            probe = request.clone(rel_url=URL(prefix, encoded=True))
            match = await self._router.resolve(probe)
            if match.http_exception is None:
                request.match_info.clear()
                request.match_info.update(match)
                return await match.handler(request)
            if refused is None and isinstance(match.http_exception, web.HTTPMethodNotAllowed):
                refused = match.http_exception
        asset = None if refused else await self._find_asset(request, path)
        if asset is not None:
            return asset
        raise refused or web.HTTPNotFound(text="404 Not Found.")

    async def _serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        gate = _gate_of(request)
        if route.body_bytes_max is not None:
            request = request.clone(client_max_size=route.body_bytes_max)
        turn = self._turns.take()
        try:
            principal = await gate.authenticate(route.realm, request)
            if principal is not None:
                request[PRINCIPAL] = principal
            if not route.streams and request.body_exists:
                if not request.content.is_eof():
                    turn.leave()  # nobody waits for a body that is still on its way
                body_bytes_max = route.body_bytes_max or gate.limits.body_bytes_max
                await _read_body(request, body_bytes_max, gate)
                turn = turn if turn.is_taken else self._turns.take()
            await turn.wait()
            await gate.authorize(route.path, request, principal)
        finally:
            turn.leave()
        # Nothing may wait between leaving the turn and the first step of the handler.
        return await route.handler(request)

    async def _find_asset(self, request: web.Request, path: str) -> web.StreamResponse | None:
        if request.method not in ("GET", "HEAD") or not self._assets:
            return None
        try:
            wanted = unquote(path.strip("/"), errors="strict")
        except UnicodeDecodeError:
            return None
        for prefix in _prefixes("/" + wanted):
            root = self._assets.get(prefix[1:])
            if root is not None:
                found = await asyncio.to_thread(_file_below, root, wanted[len(prefix) :])
                return None if found is None else _file_response(found)
        return None


def _gate_of(request: web.Request) -> Gate:
    return request.get(GATE) or _OPEN


def _prefixes(path: str) -> Iterator[str]:
    """Yield the path, then the path with its last segments cut off; the root only for itself."""
    path = path.rstrip("/")
    if not path:
        yield "/"
    while path.strip("/"):
        yield path
        path = path[: path.rindex("/")]


def _file_below(root: Path, rest: str) -> Path | None:
    """The file that ``rest`` names below ``root``; None when there is none or it lies elsewhere."""
    try:
        root = root.resolve(strict=True)
        found = (root / rest.lstrip("/")).resolve(strict=True) if rest else root
    except (OSError, ValueError, RuntimeError):  # also a NUL character, and a circle of links
        return None
    return found if found.is_relative_to(root) and found.is_file() else None


def _file_response(path: Path) -> web.FileResponse:
    """A file with its type, ranges and validators; see aiohttp's ``FileResponse``."""
    content_type, _ = mimetypes.guess_type(path.name)
    headers = {
        "Content-Type": content_type or "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
    }
    return web.FileResponse(path, headers=headers)


# Bodies.


async def _read_body(request: web.Request, bytes_max: int, gate: Gate) -> None:
    """Read the body, which the request then keeps.

    Raises:
        web.HTTPException: it is too large (413), or comes too slowly (408).
    """
    # The rest of a refused body is not worth reading: the connection closes after the answer.
    close = {"Connection": "close"}
    announced = request.content_length
    if announced is not None and announced > bytes_max:
        raise web.HTTPRequestEntityTooLarge(bytes_max, announced, headers=close)
    watch = _SpeedWatch(request, gate)
    reading = asyncio.ensure_future(request.read())
    watch.start(reading)
    try:
        await reading
    except asyncio.CancelledError:
        if not watch.is_too_slow:
            raise
        rule = f"body: slower than {gate.limits.body_bytes_per_s_min} bytes/s"
        raise web.HTTPRequestTimeout(text=rule, headers=close) from None
    except web.HTTPRequestEntityTooLarge as error:
        error.headers.update(close)
        raise
    finally:
        reading.cancel()
        watch.stop()


class _SpeedWatch:
    """Cancels the reading of a body that comes too slowly."""

    def __init__(self, request: web.Request, gate: Gate) -> None:
        self._content = request.content
        self._gate = gate
        self._reading: asyncio.Future[bytes] | None = None
        self._timer: Timer | None = None
        self._seen_bytes = 0
        self.is_too_slow = False

    def start(self, reading: asyncio.Future[bytes]) -> None:
        self._reading = reading
        self._look_later()

    def _look_later(self) -> None:
        self._seen_bytes = self._content.total_bytes
        self._timer = self._gate.clock.call_later(self._gate.limits.body_grace_s, self._look)

    def _look(self) -> None:
        limits = self._gate.limits
        came_bytes = self._content.total_bytes - self._seen_bytes
        if came_bytes >= limits.body_bytes_per_s_min * limits.body_grace_s:
            self._look_later()
        elif self._reading is not None and not self._reading.done():
            self.is_too_slow = True
            self._reading.cancel()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


# The order of requests.


class _Turns:
    """Lets the requests of one process reach their handlers in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: deque[_Turn] = deque()

    def take(self) -> _Turn:
        turn = _Turn(self)
        self._waiting.append(turn)
        return turn

    def is_first(self, turn: _Turn) -> bool:
        return bool(self._waiting) and self._waiting[0] is turn

    def remove(self, turn: _Turn) -> None:
        was_first = self.is_first(turn)
        self._waiting.remove(turn)
        if was_first and self._waiting:
            self._waiting[0].come()


class _Turn:
    __slots__ = ("_come", "_turns", "is_taken")

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._come: asyncio.Future[None] | None = None
        self.is_taken = True

    async def wait(self) -> None:
        """Return when every request before has reached its handler, or was refused."""
        if not self._turns.is_first(self):
            self._come = asyncio.get_running_loop().create_future()
            await self._come

    def come(self) -> None:
        if self._come is not None and not self._come.done():
            self._come.set_result(None)

    def leave(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self._turns.remove(self)


class _OpenGate:
    """Refuses nobody: for requests that did not come through the HTTP side of a runtime."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()
        self.limits = HttpLimits()

    def check_firewall(self, path: str) -> None:
        pass

    async def authenticate(self, realm: str | None, request: web.Request) -> Principal | None:
        return None

    async def authorize(
        self, route: str, request: web.Request, principal: Principal | None
    ) -> None:
        pass


_OPEN: Final = _OpenGate()

__all__ = ["GATE", "Gate", "HttpHandler", "Route", "Routes"]
