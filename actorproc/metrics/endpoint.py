"""The process ``metrics``: shows a registry over HTTP.

``/metrics/snapshot`` answers as libprocess does, ``/metrics/prometheus`` for Prometheus servers
(needs the package ``prometheus_client``). Both share one rate limit, which delays instead of
refusing: asking every gauge costs each of their actors a turn.

Source: actor-runtime.md §7, §14. Differs: a JSONP callback must be a JavaScript name, the rest
would be a way to put foreign script on our pages; the number of requests in hand, and how long
each waits for silent gauges, are limited.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from actorproc.environment import RateLimit
from actorproc.metrics.kinds import is_number
from actorproc.metrics.registry import MetricsRegistry
from actorproc.patterns.errors import LimitReached
from actorproc.patterns.queues import RateLimiter
from actorproc.process import Process
from actorproc.times import Duration, InvalidTime

if TYPE_CHECKING:
    from aiohttp import web

REQUESTS_WAITING_MAX: Final = 1_000  # for their turn; more are refused with 503
REQUESTS_READING_MAX: Final = 100  # waiting for gauges; more are refused with 503
SNAPSHOT_TIMEOUT_S_MAX: Final = 60.0  # also when none was asked for: clients leave unnoticed
PROMETHEUS_TIMEOUT_S: Final = 10.0  # one silent gauge must not cost a server all other metrics
CALLBACK_CHARS_MAX: Final = 128

_CALLBACK = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*", re.ASCII)
_HEADERS = {"X-Content-Type-Options": "nosniff"}
_PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


RATE_LIMIT_DEFAULT: Final = RateLimit(2, 1.0)


class MetricsEndpoint(Process):
    """Serves ``/metrics/snapshot`` and ``/metrics/prometheus``.

    Args:
        registry: what to show.
        rate_limit: of both paths together; None for no limit. What the variable
            ``LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT`` says is in ``read_environment()``.
        realm: who asks is found out by the authenticator of this realm; None asks nobody.
    """

    def __init__(
        self,
        registry: MetricsRegistry,
        *,
        rate_limit: RateLimit | None = RATE_LIMIT_DEFAULT,
        realm: str | None = None,
    ) -> None:
        super().__init__("metrics")
        self._realm = realm
        self._registry = registry
        self._rate_limit = rate_limit
        self._limiter: RateLimiter | None = None
        self._reading = 0

    def initialize(self) -> None:
        if self._rate_limit is not None:
            self._limiter = RateLimiter(*self._rate_limit, self, waiting_max=REQUESTS_WAITING_MAX)
        self.route("/snapshot", self._snapshot, help=SNAPSHOT_HELP, realm=self._realm)
        self.route("/prometheus", self._prometheus, help=PROMETHEUS_HELP, realm=self._realm)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        timeout_s = _timeout_s(request, SNAPSHOT_TIMEOUT_S_MAX)
        callback = _callback(request)
        async with self._turn():
            numbers = await self._registry.snapshot(timeout_s)
        # JSON knows neither infinities nor NaN.
        text = json.dumps({name: value for name, value in numbers.items() if is_number(value)})
        if callback is None:
            return web.Response(text=text, content_type="application/json", headers=_HEADERS)
        text = f"{callback}({text});"
        return web.Response(text=text, content_type="text/javascript", headers=_HEADERS)

    async def _prometheus(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        try:
            from actorproc.metrics.prometheus import exposition
        except ImportError as error:
            raise web.HTTPNotImplemented(
                text="the package prometheus_client is not installed here"
            ) from error
        timeout_s = _timeout_s(request, PROMETHEUS_TIMEOUT_S)
        async with self._turn():
            readings = await self._registry.read(timeout_s)
        headers = {**_HEADERS, "Content-Type": _PROMETHEUS_TYPE}
        return web.Response(body=exposition(readings), headers=headers)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for the rate limit, then keep one of the places for reading."""
        try:
            if self._limiter is not None:
                await self._limiter.acquire()
            if self._reading >= REQUESTS_READING_MAX:
                raise LimitReached(f"metrics: {REQUESTS_READING_MAX} requests wait for gauges")
        except LimitReached as error:
            from aiohttp import web

            raise web.HTTPServiceUnavailable(text=str(error)) from error
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1


def _timeout_s(request: web.Request, default_s: float) -> float:
    """What ``?timeout=`` says, in seconds, at most ``SNAPSHOT_TIMEOUT_S_MAX``.

    Raises:
        web.HTTPBadRequest: it is no duration, or a negative one.
    """
    text = request.query.get("timeout")
    if text is None:
        return default_s
    from aiohttp import web

    try:
        duration = Duration.parse(text)
    except InvalidTime as error:
        raise web.HTTPBadRequest(text=f"timeout: {error}") from error
    if duration.ns < 0:
        raise web.HTTPBadRequest(text=f"timeout: {duration} must not be negative")
    return min(duration.s, SNAPSHOT_TIMEOUT_S_MAX)


def _callback(request: web.Request) -> str | None:
    """What ``?jsonp=`` says.

    Raises:
        web.HTTPBadRequest: it is no JavaScript name.
    """
    text = request.query.get("jsonp")
    if text is None:
        return None
    if len(text) > CALLBACK_CHARS_MAX or not _CALLBACK.fullmatch(text):
        from aiohttp import web

        raise web.HTTPBadRequest(text="jsonp: must be a JavaScript name, dots allowed")
    return text


SNAPSHOT_HELP: Final = """All metrics as one JSON object, name → number.
?timeout=2secs leaves out what has not answered by then (60secs without it);
?jsonp=f wraps the answer in f(...).
Metrics that fail are left out. Requests beyond the rate limit are delayed."""

PROMETHEUS_HELP: Final = """All metrics in the text format of Prometheus.
?timeout=2secs leaves out what has not answered by then. Shares the rate limit of /snapshot."""

__all__ = [
    "PROMETHEUS_TIMEOUT_S",
    "RATE_LIMIT_DEFAULT",
    "REQUESTS_READING_MAX",
    "REQUESTS_WAITING_MAX",
    "SNAPSHOT_TIMEOUT_S_MAX",
    "MetricsEndpoint",
]
