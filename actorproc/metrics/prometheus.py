"""Metrics in the text format of Prometheus, written by its reference client library.

Nothing is registered with that library: its families are made anew from every reading.

| here | there |
|---|---|
| counter ``a/b`` | counter ``a_b_total`` |
| gauge ``a/b`` | gauge ``a_b`` |
| timer ``a/b_ms`` | summary ``a_b_seconds``: count and sum of all, quantiles of the history |
| history of ``a/b`` | gauge ``a_b_history{statistic="p50"}`` and so on |

Source: the Prometheus documents "Exposition formats" and "Metric and label naming" (base units).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from actorproc.metrics.kinds import Metric, MetricKind, Timer
from actorproc.metrics.registry import Reading, shown_statistics
from actorproc.metrics.series import Statistics

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_]")  # colons are for rules of the Prometheus server
_SAMPLE_SUFFIXES: Final = {
    MetricKind.COUNTER: ("", "_total", "_created"),
    MetricKind.GAUGE: ("",),
    MetricKind.TIMER: ("", "_count", "_sum", "_created"),
}


def exposition(readings: Iterable[Reading]) -> bytes:
    """The readings as a page of format version 0.0.4, in their order."""
    return generate_latest(_Page(families(readings)))


def families(readings: Iterable[Reading]) -> list[Family]:
    """One family per reading, plus one per history that is not a timer's."""
    names = _Names()
    made: list[Family] = []
    for reading in readings:
        made.append(_family(reading, names))
        if reading.statistics is not None and reading.metric.kind is not MetricKind.TIMER:
            made.append(_history(reading.metric, reading.statistics, names))
    return made


def _family(reading: Reading, names: _Names) -> Family:
    metric = reading.metric
    help = f"{metric.kind.value} {metric.name}"
    if isinstance(metric, Timer):
        base = metric.name.removesuffix(f"_{metric.unit}")
        name = names.take(f"{base}_seconds", MetricKind.TIMER)
        return _summary(name, help, metric, reading.statistics)
    if metric.kind is MetricKind.COUNTER:
        name = names.take(metric.name.removesuffix("_total"), MetricKind.COUNTER)
        return CounterMetricFamily(name, help, value=reading.value)
    name = names.take(metric.name, MetricKind.GAUGE)
    return GaugeMetricFamily(name, help, value=reading.value)


def _summary(name: str, help: str, timer: Timer, statistics: Statistics | None) -> Family:
    family = SummaryMetricFamily(name, help, count_value=timer.count, sum_value=timer.total_s)
    if statistics is not None:
        for quantile, value in (
            ("0.5", statistics.p50),
            ("0.9", statistics.p90),
            ("0.95", statistics.p95),
            ("0.99", statistics.p99),
            ("0.999", statistics.p999),
            ("0.9999", statistics.p9999),
        ):
            family.add_sample(name, {"quantile": quantile}, timer.in_seconds(value))
    return family


def _history(metric: Metric, statistics: Statistics, names: _Names) -> Family:
    name = names.take(f"{metric.name}_history", MetricKind.GAUGE)
    family = GaugeMetricFamily(name, f"history of {metric.name}", labels=["statistic"])
    for statistic, value in shown_statistics(statistics):
        family.add_metric([statistic], value)
    return family


class _Names:
    """Makes valid names, and different ones where two metrics would become one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str, kind: MetricKind) -> str:
        """Name a family so that none of its samples has the name of another's."""
        wanted = _FORBIDDEN.sub("_", name)
        if wanted[:1].isdigit() or not wanted:
            wanted = f"_{wanted}"
        chosen, number = wanted, 1
        while not self._taken.isdisjoint(_sample_names(chosen, kind)):
            number += 1
            chosen = f"{wanted}_{number}"
        self._taken.update(_sample_names(chosen, kind))
        return chosen


def _sample_names(name: str, kind: MetricKind) -> list[str]:
    return [name + suffix for suffix in _SAMPLE_SUFFIXES[kind]]


class _Page(Collector):
    """What the client library wants to be handed: something to collect families from."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


__all__ = ["exposition", "families"]
