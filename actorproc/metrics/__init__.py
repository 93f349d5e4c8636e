"""Metrics of a runtime: counters, gauges and timers, and their page over HTTP.

Example::

    metrics = MetricsRegistry(runtime.clock)
    runtime.spawn(MetricsEndpoint(metrics))
    launched = metrics.counter("scheduler/tasks_launched", window_s=3600)
    launched.increment()

``actorproc.metrics.prometheus`` stays out until it is asked for: it needs an extra package.
"""

from actorproc.metrics.endpoint import RATE_LIMIT_DEFAULT, MetricsEndpoint
from actorproc.metrics.kinds import (
    Counter,
    Metric,
    MetricFailed,
    MetricKind,
    PullGauge,
    PushGauge,
    Timer,
)
from actorproc.metrics.registry import (
    MetricNameTaken,
    MetricsRegistry,
    Reading,
    UnknownMetric,
)
from actorproc.metrics.series import CAPACITY_DEFAULT, WINDOW_S_DEFAULT, Statistics, TimeSeries

__all__ = [
    "CAPACITY_DEFAULT",
    "RATE_LIMIT_DEFAULT",
    "WINDOW_S_DEFAULT",
    "Counter",
    "Metric",
    "MetricFailed",
    "MetricKind",
    "MetricNameTaken",
    "MetricsEndpoint",
    "MetricsRegistry",
    "PullGauge",
    "PushGauge",
    "Reading",
    "Statistics",
    "TimeSeries",
    "Timer",
    "UnknownMetric",
]
