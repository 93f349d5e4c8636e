"""The kinds of metrics: counters, gauges that are set, gauges that are asked, and timers.

A metric is an object that its owner keeps and changes; a ``MetricsRegistry`` shows it to others.
Changing one is a plain call without any message: all actors of a runtime share one thread.

A *history* is optional: with a window, a metric keeps its values over time, and a snapshot shows
statistics of them.

Source: actor-runtime.md §7 (libprocess ``metrics/``).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final, TypeVar

from actorproc.errors import ActorprocError, ProtocolMisuse
from actorproc.metrics.series import (
    CAPACITY_DEFAULT,
    Statistics,
    TimeSeries,
    TimeSource,
)
from actorproc.times import NS_PER_S, NS_PER_UNIT

T = TypeVar("T")
Sample = float | Awaitable[float]

TIMER_UNIT_DEFAULT: Final = "ms"


class MetricFailed(ActorprocError):
    """A metric that cannot tell its value now."""


class MetricKind(Enum):
    """What a metric means to those who read it."""

    COUNTER = "counter"  # only rises, except when it is reset
    GAUGE = "gauge"  # goes up and down
    TIMER = "timer"  # how long something took, each time


class Metric:
    """What all kinds have in common.

    Args:
        name: words separated by slashes, for example ``master/tasks_running``.
        clock: needed for a history.
        window_s: keep a history of this many seconds; None keeps none.
        capacity: how many values the history keeps at most.

    Raises:
        ProtocolMisuse: no name; a window without a clock; a window or capacity out of range.
    """

    kind: MetricKind

    def __init__(
        self,
        name: str,
        *,
        clock: TimeSource | None = None,
        window_s: float | None = None,
        capacity: int = CAPACITY_DEFAULT,
    ) -> None:
        if not name:
            raise ProtocolMisuse("metric name: must not be empty")
        if window_s is not None and clock is None:
            raise ProtocolMisuse(f"metric {name!r}: a history needs a clock")
        self.name = name
        self._history = (
            TimeSeries(clock, window_s, capacity)
            if clock is not None and window_s is not None
            else None
        )

    def sample(self) -> Sample:
        """The value now, or an awaitable of it.

        Raises:
            MetricFailed: it has none; a gauge may raise anything.
        """
        raise NotImplementedError

    async def value(self) -> float:
        """The value now; for gauges that are asked, whenever the answer comes.

        Raises:
            MetricFailed: it has none, or the gauge failed (see its cause).
        """
        try:
            sample = self.sample()
            return float(sample if isinstance(sample, int | float) else await sample)
        except MetricFailed:
            raise
        except Exception as error:
            raise MetricFailed(f"metric {self.name!r} failed: {error!r}") from error

    def statistics(self) -> Statistics | None:
        """Statistics of the history; None without one, or with fewer than two values in it."""
        if self._history is None:
            return None
        self._history.truncate()
        return Statistics.of(self._history.values())

    def _remember(self, value: float) -> None:
        if self._history is not None:
            self._history.set(value)


class _Pushed(Metric):
    """A metric whose owner keeps its value up to date; it starts at 0."""

    def __init__(
        self,
        name: str,
        *,
        clock: TimeSource | None = None,
        window_s: float | None = None,
        capacity: int = CAPACITY_DEFAULT,
    ) -> None:
        super().__init__(name, clock=clock, window_s=window_s, capacity=capacity)
        self._value = 0.0
        self._remember(self._value)

    @property
    def current(self) -> float:
        return self._value

    def sample(self) -> float:
        return self._value

    def _become(self, value: float) -> None:
        self._value = value
        if self._history is not None:
            self._history.set(value)


class Counter(_Pushed):
    """Counts what happened: ``increment()``, or ``counter += 42``."""

    kind = MetricKind.COUNTER

    def increment(self, by: float = 1) -> None:
        """Count ``by`` more.

        Raises:
            ProtocolMisuse: ``by`` is negative or no number: a counter never falls.
        """
        if not by >= 0:
            raise ProtocolMisuse(f"counter {self.name!r}: {by} must not be below 0")
        self._become(self._value + by)

    def __iadd__(self, by: float) -> Counter:
        self.increment(by)
        return self

    def reset(self) -> None:
        """Begin again at 0."""
        self._become(0.0)


class PushGauge(_Pushed):
    """A value that its owner sets, or moves with ``+=`` and ``-=``."""

    kind = MetricKind.GAUGE

    def set(self, value: float) -> None:
        self._become(float(value))

    def increment(self, by: float = 1) -> None:
        self._become(self._value + by)

    def decrement(self, by: float = 1) -> None:
        self._become(self._value - by)

    def __iadd__(self, by: float) -> PushGauge:
        self.increment(by)
        return self

    def __isub__(self, by: float) -> PushGauge:
        self.decrement(by)
        return self


class PullGauge(Metric):
    """A value that is asked for whenever somebody looks.

    Args:
        name: see `Metric`.
        read: a function, or a coroutine function; may return an awaitable, for example
            ``lambda: process.dispatch(process.pid, process.queue_length)``.
    """

    kind = MetricKind.GAUGE

    def __init__(self, name: str, read: Callable[[], Sample]) -> None:
        super().__init__(name)
        self._read = read

    def sample(self) -> Sample:
        return self._read()


class Timer(Metric):
    """How long something took; its name ends with its unit: ``Timer("a/b")`` is ``a/b_ms``.

    Args:
        name: without the unit.
        clock: the runtime's clock. Differences are as fine as its ``now_s`` is: a real clock counts
            from the epoch, where doubles are a quarter of a microsecond apart.
        unit: one of ``ns us ms secs mins hrs days weeks``.
        window_s: keep a history of this many seconds; None keeps none.
        capacity: how many values the history keeps at most.

    Raises:
        ProtocolMisuse: an unknown unit, or as `Metric`.
    """

    kind = MetricKind.TIMER

    def __init__(
        self,
        name: str,
        clock: TimeSource,
        *,
        unit: str = TIMER_UNIT_DEFAULT,
        window_s: float | None = None,
        capacity: int = CAPACITY_DEFAULT,
    ) -> None:
        if unit not in NS_PER_UNIT:
            raise ProtocolMisuse(
                f"timer {name!r}: unit {unit!r} must be one of {' '.join(NS_PER_UNIT)}"
            )
        full_name = f"{name}_{unit}" if name else ""
        super().__init__(full_name, clock=clock, window_s=window_s, capacity=capacity)
        self.unit = unit
        self.count = 0  # how often something was timed
        self.total_s = 0.0  # how long it took, all in all
        self._clock = clock
        self._started_s: float | None = None
        self._latest: float | None = None

    def start(self) -> None:
        """Start, or start again."""
        self._started_s = self._clock.now_s()

    def stop(self) -> float:
        """Stop, and take the time since ``start``; without one nothing happens.

        Returns:
            The time taken in the timer's unit; 0 when it was not running.
        """
        if self._started_s is None:
            return 0.0
        started_s, self._started_s = self._started_s, None
        return self._take(started_s)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Take the time of a ``with`` block, also when it fails; several may run at once."""
        started_s = self._clock.now_s()
        try:
            yield
        finally:
            self._take(started_s)

    async def time(self, awaitable: Awaitable[T]) -> T:
        """Await something and take the time until it is done, in whatever way."""
        with self.timing():
            return await awaitable

    def sample(self) -> float:
        if self._latest is None:
            raise MetricFailed(f"timer {self.name!r} has timed nothing yet")
        return self._latest

    def in_seconds(self, value: float) -> float:
        """A value of this timer, in its unit, as seconds."""
        return value * NS_PER_UNIT[self.unit] / NS_PER_S

    def _take(self, started_s: float) -> float:
        taken_ns = round((self._clock.now_s() - started_s) * NS_PER_S)
        self._latest = taken_ns / NS_PER_UNIT[self.unit]
        self.count += 1
        self.total_s += taken_ns / NS_PER_S
        self._remember(self._latest)
        return self._latest


def is_number(value: object) -> bool:
    """True for what may stand in JSON: infinities and NaN may not."""
    return isinstance(value, int | float) and math.isfinite(value)


__all__ = [
    "TIMER_UNIT_DEFAULT",
    "Counter",
    "Metric",
    "MetricFailed",
    "MetricKind",
    "PullGauge",
    "PushGauge",
    "Sample",
    "Timer",
    "is_number",
]
