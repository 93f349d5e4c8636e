"""How a simulated network treats what it carries: durations drawn from a seed, chances, notices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from actorproc.errors import ProtocolMisuse

Duration = Callable[[Random], float]
"""Draws seconds, 0 or more, from the stream it is given."""


def _require_seconds(field: str, value_s: float) -> None:
    if not 0.0 <= value_s < math.inf:
        raise ProtocolMisuse(f"{field} must be 0 or more and finite: {value_s}")


@dataclass(frozen=True, slots=True)
class Constant:
    """Always ``value_s`` seconds."""

    value_s: float

    def __post_init__(self) -> None:
        _require_seconds("value_s", self.value_s)

    def __call__(self, rng: Random) -> float:
        return self.value_s


@dataclass(frozen=True, slots=True)
class Uniform:
    """Between ``low_s`` and ``high_s`` seconds, all alike."""

    low_s: float
    high_s: float

    def __post_init__(self) -> None:
        _require_seconds("low_s", self.low_s)
        _require_seconds("high_s", self.high_s)
        if self.low_s > self.high_s:
            raise ProtocolMisuse(f"low_s must not be above high_s: {self.low_s} > {self.high_s}")

    def __call__(self, rng: Random) -> float:
        return rng.uniform(self.low_s, self.high_s)


@dataclass(frozen=True, slots=True)
class LongTail:
    """Mostly near ``median_s``, now and then many times as long (log-normal, as real networks).

    Attributes:
        median_s: half of all are shorter.
        spread: standard deviation of the logarithm; 0.5 gives one in a hundred 3.2 times the
            median, 1.0 gives one in a hundred 10 times.
        max_s: none is longer.
    """

    median_s: float
    spread: float = 0.5
    max_s: float = 60.0

    def __post_init__(self) -> None:
        _require_seconds("median_s", self.median_s)
        _require_seconds("max_s", self.max_s)
        if not 0.0 <= self.spread < math.inf:
            raise ProtocolMisuse(f"spread must be 0 or more: {self.spread}")

    def __call__(self, rng: Random) -> float:
        return min(self.median_s * rng.lognormvariate(0.0, self.spread), self.max_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What happens on the way from one runtime to another.

    A connection either carries a message or breaks: nothing in the middle is lost, as on TCP. So
    loss is a chance to break, and takes with it everything behind.

    Attributes:
        latency_s: one way, drawn for each message. Order on one connection holds nevertheless.
        break_chance: chance per message, 0 to 1, that the connection breaks while it is on its way.
        refuse_chance: chance, 0 to 1, that an attempt to connect fails.
        connect_s: how long connecting may take before it is given up.
        detect_s: how long the sender takes to notice a peer it cannot reach; None: it never does
            (a half-open connection).
        keeps_alive: whether a connection without traffic notices as well. False is TCP without
            keep-alive: half-open until something is sent.
    """

    latency_s: Duration = Uniform(0.0005, 0.005)
    break_chance: float = 0.0
    refuse_chance: float = 0.0
    connect_s: Duration = Constant(30.0)
    detect_s: Duration | None = Uniform(1.0, 5.0)
    keeps_alive: bool = True

    def __post_init__(self) -> None:
        for field in ("break_chance", "refuse_chance"):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise ProtocolMisuse(f"{field} must be from 0 to 1: {getattr(self, field)}")


__all__ = ["Conditions", "Constant", "Duration", "LongTail", "Uniform"]
