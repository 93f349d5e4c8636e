"""MetricsRegistry: the metrics of one runtime, by name, and what they say at one moment.

A registry is an object like any other; two runtimes of one program have two. Nothing is global.

Source: actor-runtime.md §7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from actorproc.clock import Clock
from actorproc.errors import ProtocolMisuse
from actorproc.metrics.kinds import (
    TIMER_UNIT_DEFAULT,
    Counter,
    Metric,
    MetricFailed,
    PullGauge,
    PushGauge,
    Sample,
    Timer,
)
from actorproc.metrics.series import CAPACITY_DEFAULT, Statistics

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Metric)


class MetricNameTaken(ProtocolMisuse):
    """A metric of this name has been added already."""


class UnknownMetric(ProtocolMisuse):
    """No metric of this name has been added."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metric said: its value, and statistics when it keeps a history."""

    metric: Metric
    value: float
    statistics: Statistics | None


class MetricsRegistry:
    """Metrics by name.

    Args:
        clock: the runtime's clock; histories, timers and time limits go by it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._metrics: dict[str, Metric] = {}
        self._stragglers: set[asyncio.Future[float]] = set()  # given up, not yet ended

    def __len__(self) -> int:
        return len(self._metrics)

    def __contains__(self, name: object) -> bool:
        return name in self._metrics

    def __iter__(self) -> Iterator[Metric]:
        """The metrics in order of their names."""
        return iter([self._metrics[name] for name in sorted(self._metrics)])

    def add(self, metric: M) -> M:
        """Show a metric from now on; returns it.

        Raises:
            MetricNameTaken: another one has this name.
        """
        if metric.name in self._metrics:
            raise MetricNameTaken(f"metric {metric.name!r} was added before")
        self._metrics[metric.name] = metric
        return metric

    def remove(self, metric: Metric | str) -> None:
        """Show a metric no longer.

        Raises:
            UnknownMetric: none of this name is here.
        """
        name = metric if isinstance(metric, str) else metric.name
        if self._metrics.pop(name, None) is None:
            raise UnknownMetric(f"metric {name!r} has not been added")

    # Short forms that make a metric with the registry's clock and add it.

    def counter(
        self, name: str, *, window_s: float | None = None, capacity: int = CAPACITY_DEFAULT
    ) -> Counter:
        return self.add(Counter(name, clock=self._clock, window_s=window_s, capacity=capacity))

    def push_gauge(
        self, name: str, *, window_s: float | None = None, capacity: int = CAPACITY_DEFAULT
    ) -> PushGauge:
        return self.add(PushGauge(name, clock=self._clock, window_s=window_s, capacity=capacity))

    def pull_gauge(self, name: str, read: Callable[[], Sample]) -> PullGauge:
        return self.add(PullGauge(name, read))

    def timer(
        self,
        name: str,
        *,
        unit: str = TIMER_UNIT_DEFAULT,
        window_s: float | None = None,
        capacity: int = CAPACITY_DEFAULT,
    ) -> Timer:
        return self.add(Timer(name, self._clock, unit=unit, window_s=window_s, capacity=capacity))

    # Reading.

    async def read(self, timeout_s: float | None = None) -> list[Reading]:
        """Ask every metric.

        Args:
            timeout_s: seconds on the clock after which those that have not answered are left out;
                None waits for all.

        Returns:
            Readings in order of the names, without the metrics that failed.
        """
        metrics = list(self)
        samples = [_sampled(metric) for metric in metrics]
        await self._wait(
            [sample for sample in samples if isinstance(sample, asyncio.Future)], timeout_s
        )
        readings = []
        for metric, sample in zip(metrics, samples, strict=True):
            value = _outcome(sample)
            if value is not None:
                readings.append(Reading(metric, value, metric.statistics()))
        return readings

    async def snapshot(self, timeout_s: float | None = None) -> dict[str, float]:
        """Ask every metric (see `read`).

        Returns:
            Name → value in order of the names. A metric with a history of two values or more also
            has ``<name>/count``, ``/max``, ``/min``, ``/p50``, ``/p90``, ``/p95``, ``/p99``,
            ``/p999`` and ``/p9999``.
        """
        numbers: dict[str, float] = {}
        for reading in await self.read(timeout_s):
            name = reading.metric.name
            numbers[name] = reading.value
            for statistic, value in shown_statistics(reading.statistics):
                numbers[f"{name}/{statistic}"] = value
        return dict(sorted(numbers.items()))

    async def _wait(self, pending: list[asyncio.Future[float]], timeout_s: float | None) -> None:
        """Wait for all, but no longer than ``timeout_s``; what is late then is cancelled."""
        if not pending:
            return
        everything = asyncio.ensure_future(asyncio.wait(pending))
        timer = None
        if timeout_s is not None:
            timer = self._clock.call_later(timeout_s, everything.cancel)
        try:
            await asyncio.wait([everything])  # for its end only: the timer may have cancelled it
        finally:
            if timer is not None:
                timer.cancel()
            everything.cancel()
            for each in pending:
                self._give_up(each)

    def _give_up(self, sample: asyncio.Future[float]) -> None:
        if sample.done():
            return
        sample.cancel()
        self._stragglers.add(sample)
        sample.add_done_callback(self._forget)

    def _forget(self, sample: asyncio.Future[float]) -> None:
        self._stragglers.discard(sample)
        _outcome(sample)  # its failure has been looked at


def shown_statistics(statistics: Statistics | None) -> list[tuple[str, float]]:
    """The statistics that are published, as pairs of name and number."""
    if statistics is None:
        return []
    return [
        ("count", float(statistics.count)),
        ("max", statistics.max),
        ("min", statistics.min),
        ("p50", statistics.p50),
        ("p90", statistics.p90),
        ("p95", statistics.p95),
        ("p99", statistics.p99),
        ("p999", statistics.p999),
        ("p9999", statistics.p9999),
    ]


def _sampled(metric: Metric) -> float | asyncio.Future[float] | None:
    """Ask a metric: its value, a future of it, or None when it failed at once."""
    try:
        sample = metric.sample()
        if isinstance(sample, int | float):
            return float(sample)
        return asyncio.ensure_future(_number(sample))
    except MetricFailed:
        return None  # an ordinary case: a timer that has timed nothing yet
    except Exception as error:
        logger.debug("metric %s failed: %r", metric.name, error)
        return None


async def _number(sample: object) -> float:
    return float(await sample)  # type: ignore[misc]


def _outcome(sample: float | asyncio.Future[float] | None) -> float | None:
    """The value of a sample that has one by now."""
    if not isinstance(sample, asyncio.Future):
        return sample
    if not sample.done() or sample.cancelled():
        return None
    if (error := sample.exception()) is not None:
        logger.debug("a gauge failed: %r", error)
        return None
    return sample.result()


__all__ = [
    "MetricNameTaken",
    "MetricsRegistry",
    "Reading",
    "UnknownMetric",
    "shown_statistics",
]
