"""``/system/stats.json``: processors, load and memory. Source: actor-runtime.md §8.4."""

from __future__ import annotations

import os

from aiohttp import web

from actorproc.http.responses import json_response
from actorproc.process import Process


class SystemProcess(Process):
    """Serves ``/system/stats.json``."""

    def __init__(self, realm: str | None = None) -> None:
        super().__init__("system")
        self._realm = realm

    def initialize(self) -> None:
        text = "Number of processors, average loads, total and free memory, as JSON."
        self.route("/stats.json", self._show, help=text, realm=self._realm)

    async def _show(self, request: web.Request) -> web.Response:
        return json_response(request, system_stats())


def system_stats() -> dict[str, float]:
    """Number of processors, load over 1, 5 and 15 minutes, bytes of memory; left out if unknown."""
    import psutil

    stats: dict[str, float] = {"cpus_total": os.cpu_count() or 1}
    try:
        loads = os.getloadavg()
    except OSError:
        loads = None
    if loads is not None:
        names = ("avg_load_1min", "avg_load_5min", "avg_load_15min")
        stats.update(zip(names, loads, strict=True))
    memory = psutil.virtual_memory()
    stats["mem_total_bytes"] = memory.total
    stats["mem_free_bytes"] = memory.free
    return stats


__all__ = ["SystemProcess", "system_stats"]
