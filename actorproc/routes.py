"""The HTTP routes of one process, resolved by aiohttp's router.

A request for ``/a/b/c`` is served by the route ``/a/b/c``, else ``/a/b``, else ``/a``: the longest
registered prefix. A trailing slash is ignored. Source: actor-runtime.md §8.1.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from aiohttp import web
from yarl import URL

from actorproc.errors import ProtocolMisuse

HttpHandler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class Routes:
    """Routes of one process; paths are relative to the process id."""

    def __init__(self) -> None:
        self._router = web.UrlDispatcher()
        self.help: dict[str, str] = {}  # path → help text

    def add(self, path: str, handler: HttpHandler, methods: tuple[str, ...], help: str) -> None:
        """Register a route.

        Raises:
            ProtocolMisuse: the path does not start with ``/`` or ends with one.
        """
        if not path.startswith("/") or (path.endswith("/") and path != "/"):
            raise ProtocolMisuse(f"route {path!r} must start with '/' and must not end with it")
        for method in methods:
            self._router.add_route(method, path, handler)
        self.help[path] = help

    async def respond(self, request: web.Request, path: str) -> web.StreamResponse:
        """Find the route for the process-relative ``path`` and run its handler.

        Raises:
            web.HTTPException: nothing found (404), or a route that does not take the method (405).
        """
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
        raise refused or web.HTTPNotFound(text="404 Not Found.")


def _prefixes(path: str) -> Iterator[str]:
    """Yield the path, then the path with its last segments cut off; the root only for itself."""
    path = path.rstrip("/")
    if not path:
        yield "/"
    while path.strip("/"):
        yield path
        path = path[: path.rindex("/")]


__all__ = ["HttpHandler", "Routes"]
