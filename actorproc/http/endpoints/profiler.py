"""``/profiler/start`` and ``/profiler/stop``: where the time of the event loop goes.

    idle ── start ──> running ── stop ──> idle, the profile is the answer

The profile is what ``pstats`` and most viewers read. It counts the thread of the event loop only,
and slows it down while it runs; so it must be enabled. Source: actor-runtime.md §8.4. Differs:
cProfile instead of gperftools.
"""

from __future__ import annotations

import cProfile
import marshal

from aiohttp import web

from actorproc.process import Process


class ProfilerProcess(Process):
    """Serves ``/profiler``.

    Args:
        is_enabled: False refuses every request with 400.
        realm: who may.
    """

    def __init__(self, is_enabled: bool, realm: str | None = None) -> None:
        super().__init__("profiler")
        self._is_enabled = is_enabled
        self._realm = realm
        self._running: cProfile.Profile | None = None

    def initialize(self) -> None:
        start = "Starts to profile the event loop."
        stop = "Stops profiling; the answer is the profile, as pstats reads it."
        methods = ("GET", "POST")
        self.route("/start", self._start, methods=methods, help=start, realm=self._realm)
        self.route("/stop", self._stop, methods=methods, help=stop, realm=self._realm)

    def finalize(self) -> None:
        if self._running is not None:
            self._running.disable()

    async def _start(self, request: web.Request) -> web.Response:
        self._check_enabled()
        if self._running is not None:
            raise web.HTTPBadRequest(text="profiler: it runs already")
        profile = cProfile.Profile()
        try:
            profile.enable()
        except ValueError as error:  # another profiler has the interpreter
            raise web.HTTPBadRequest(text=f"profiler: {error}") from error
        self._running = profile
        return web.Response(text="Profiler started.\n")

    async def _stop(self, request: web.Request) -> web.Response:
        self._check_enabled()
        profile, self._running = self._running, None
        if profile is None:
            raise web.HTTPBadRequest(text="profiler: it does not run")
        profile.disable()
        profile.create_stats()
        return web.Response(
            body=marshal.dumps(profile.stats),  # as pstats.Stats.dump_stats does
            content_type="application/octet-stream",
            headers={"Content-Disposition": 'attachment; filename="profile.pstats"'},
        )

    def _check_enabled(self) -> None:
        if not self._is_enabled:
            raise web.HTTPBadRequest(
                text="profiler: not enabled; set LIBPROCESS_ENABLE_PROFILER=1 at start"
            )


__all__ = ["ProfilerProcess"]
