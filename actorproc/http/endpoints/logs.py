"""``/logging/toggle?level=N&duration=D``: more log records for a while.

    quiet ── level above the original, for D ──> verbose ── D is over ──> quiet
                                                    └─ another toggle ──> verbose, for its D

Level 0 is INFO, 1 is DEBUG, 2 and more are below it; a negative one is above INFO (WARNING is -1).
Source: actor-runtime.md §8.4. Differs: it sets the level of one named logger of ``logging``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from actorproc.clock import Timer
from actorproc.process import Process
from actorproc.times import Duration, InvalidTime

LEVEL_MAX: Final = 9
_STEP: Final = 10  # between two levels of ``logging``


@dataclass(frozen=True, slots=True)
class _Level:
    """Levels of ``logging``: the logger's own (0 when it has none), and the one that counts."""

    own: int
    effective: int


class LoggingProcess(Process):
    """Serves ``/logging/toggle``.

    Args:
        logger_name: the logger whose level is set; the root logger by default.
        realm: who may.
    """

    def __init__(self, logger_name: str = "", realm: str | None = None) -> None:
        super().__init__("logging")
        self._logger = logging.getLogger(logger_name or None)
        self._realm = realm
        self._original: _Level | None = None  # while another one is set
        self._timer: Timer | None = None

    def initialize(self) -> None:
        text = (
            "Sets the level of logging for a while.\n\n"
            "Query parameters: level (0 is INFO, 1 DEBUG; not below the original) and duration "
            "(for example 10secs, 5mins); without both the level is shown."
        )
        methods = ("GET", "POST")
        self.route("/toggle", self._toggle, methods=methods, help=text, realm=self._realm)

    def finalize(self) -> None:
        self._restore()

    async def _toggle(self, request: web.Request) -> web.Response:
        level, duration = request.query.get("level"), request.query.get("duration")
        if level is None and duration is None:
            return web.Response(text=f"{_verbosity(self._logger.getEffectiveLevel())}\n")
        if level is None or duration is None:
            missing = "level" if level is None else "duration"
            raise web.HTTPBadRequest(text=f"{missing}: must be given together with the other one")
        wanted = _parse_level(level)
        duration_s = _parse_duration_s(duration)
        original = self._original or _Level(self._logger.level, self._logger.getEffectiveLevel())
        if wanted < (lowest := _verbosity(original.effective)):
            raise web.HTTPBadRequest(text=f"level: must not be below the original level {lowest}")
        self._original = original
        self._set(max(1, min(original.effective, logging.INFO - _STEP * wanted)), duration_s)
        return web.Response(text=f"{wanted}\n")

    def _set(self, level: int, duration_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._logger.setLevel(level)
        self._timer = self.delay(duration_s, self._restore)

    def _restore(self) -> None:
        if self._original is not None:
            self._logger.setLevel(self._original.own)
        self._original = None
        self._timer = None


def _verbosity(level: int) -> int:
    return (logging.INFO - level) // _STEP


def _parse_level(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text) or int(text) > LEVEL_MAX:
        raise web.HTTPBadRequest(text=f"level: must be a whole number up to {LEVEL_MAX}")
    return int(text)


def _parse_duration_s(text: str) -> float:
    try:
        duration_s = Duration.parse(text).s
    except InvalidTime as error:
        raise web.HTTPBadRequest(text=f"duration: {error}") from error
    if duration_s <= 0:
        raise web.HTTPBadRequest(text="duration: must be above 0")
    return duration_s


__all__ = ["LEVEL_MAX", "LoggingProcess"]
