"""``/memory-profiler``: where the memory was asked for, by ``tracemalloc``.

    idle ── start ──> running ── stop, or its duration is over ──> idle, with a result
                                                                     └─ download/raw, download/text

Tracing costs time and memory, so it must be enabled. Source: actor-runtime.md §8.4. Differs:
tracemalloc instead of jemalloc, so the raw form is a snapshot for ``tracemalloc.Snapshot.load``,
and there is no graph.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import tracemalloc
from typing import Final

from aiohttp import web

from actorproc.clock import Timer
from actorproc.http.responses import json_response
from actorproc.process import Process
from actorproc.times import Duration, InvalidTime

FRAMES: Final = 16  # of a traceback that are kept
DURATION_S_DEFAULT: Final = 300.0
DURATION_S_MIN: Final = 1.0
DURATION_S_MAX: Final = 3 * 86400.0
LINES_SHOWN_MAX: Final = 200


class MemoryProfilerProcess(Process):
    """Serves ``/memory-profiler``.

    Args:
        is_enabled: False refuses every request but ``state`` with 400.
        realm: who may.
    """

    def __init__(self, is_enabled: bool, realm: str | None = None) -> None:
        super().__init__("memory-profiler")
        self._is_enabled = is_enabled
        self._realm = realm
        self._runs = 0
        self._is_running = False
        self._timer: Timer | None = None
        self._result: tracemalloc.Snapshot | None = None

    def initialize(self) -> None:
        routes = {
            "/start": (self._start, "Starts to trace; query parameter: duration (5mins)."),
            "/stop": (self._stop, "Stops to trace, and keeps the result for the downloads."),
            "/download/raw": (self._raw, "The result for tracemalloc.Snapshot.load."),
            "/download/text": (self._text, "The lines of code that hold most memory."),
            "/download/graph": (self._graph, "Not available."),
            "/statistics": (self._statistics, "Memory that is traced now, as JSON."),
            "/state": (self._state_of_run, "Whether it is enabled, runs, and has a result."),
        }
        for path, (handler, text) in routes.items():
            methods = ("GET", "POST")
            self.route(path, handler, methods=methods, help=text, realm=self._realm)

    def finalize(self) -> None:
        if self._is_running:
            tracemalloc.stop()

    async def _start(self, request: web.Request) -> web.Response:
        self._check_enabled()
        duration_s = _duration_s(request.query.get("duration"))
        if self._is_running or tracemalloc.is_tracing():
            raise web.HTTPBadRequest(text="memory profiler: it runs already")
        tracemalloc.start(FRAMES)
        self._is_running = True
        self._runs += 1
        self._timer = self.delay(duration_s, self._end_run)
        return json_response(request, {"id": self._runs, "duration_s": duration_s})

    async def _stop(self, request: web.Request) -> web.Response:
        self._check_enabled()
        if not self._is_running:
            raise web.HTTPBadRequest(text="memory profiler: it does not run")
        self._end_run()
        return json_response(request, {"id": self._runs})

    def _end_run(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._is_running = False
        self._result = tracemalloc.take_snapshot()
        tracemalloc.stop()

    async def _raw(self, request: web.Request) -> web.Response:
        body = await asyncio.to_thread(pickle.dumps, self._result_of_run(), pickle.HIGHEST_PROTOCOL)
        return web.Response(
            body=body,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="memory-{self._runs}.pickle"'},
        )

    async def _text(self, request: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(_as_text, self._result_of_run()))

    async def _graph(self, request: web.Request) -> web.Response:
        self._check_enabled()
        raise web.HTTPNotImplemented(text="memory profiler: there is no graph; see download/text")

    async def _statistics(self, request: web.Request) -> web.Response:
        self._check_enabled()
        if not self._is_running:
            raise web.HTTPBadRequest(text="memory profiler: it does not run")
        now, peak = tracemalloc.get_traced_memory()
        own = tracemalloc.get_tracemalloc_memory()
        statistics = {"traced_bytes": now, "traced_bytes_peak": peak, "profiler_bytes": own}
        return json_response(request, statistics)

    async def _state_of_run(self, request: web.Request) -> web.Response:
        state = {
            "enabled": self._is_enabled,
            "running": self._is_running,
            "runs": self._runs,
            "has_result": self._result is not None,
            "pid": os.getpid(),
        }
        return json_response(request, state)

    def _result_of_run(self) -> tracemalloc.Snapshot:
        self._check_enabled()
        if self._is_running:
            raise web.HTTPBadRequest(text="memory profiler: it still runs; stop it first")
        if self._result is None:
            raise web.HTTPBadRequest(text="memory profiler: there is no result; start it first")
        return self._result

    def _check_enabled(self) -> None:
        if not self._is_enabled:
            raise web.HTTPBadRequest(
                text="memory profiler: not enabled; set LIBPROCESS_MEMORY_PROFILING=1 at start"
            )


def _duration_s(text: str | None) -> float:
    if text is None:
        return DURATION_S_DEFAULT
    try:
        duration_s = Duration.parse(text).s
    except InvalidTime as error:
        raise web.HTTPBadRequest(text=f"duration: {error}") from error
    if not DURATION_S_MIN <= duration_s <= DURATION_S_MAX:
        rule = f"must be from {DURATION_S_MIN:g} to {DURATION_S_MAX:g} seconds"
        raise web.HTTPBadRequest(text=f"duration: {rule}")
    return duration_s


def _as_text(snapshot: tracemalloc.Snapshot) -> str:
    statistics = snapshot.statistics("lineno")
    total = sum(each.size for each in statistics)
    lines = [f"{total} bytes in {sum(each.count for each in statistics)} blocks"]
    lines += [
        f"{each.size:>12} bytes {each.count:>9} blocks  {each.traceback[0]}"
        for each in statistics[:LINES_SHOWN_MAX]
    ]
    return "\n".join(lines) + "\n"


__all__ = ["MemoryProfilerProcess"]
