"""Values over time, bounded by a window and by a number, and what can be said about them.

A full series is thinned, not cut: its older half loses every second element, so that old times stay
visible in less detail. One element goes per addition; the next one to go is the *cursor*, which
starts behind the oldest element and starts again there when it has passed the older half.

Source: actor-runtime.md §7 (libprocess ``timeseries.hpp``, ``statistics.hpp``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from actorproc.errors import ProtocolMisuse

WINDOW_S_DEFAULT: Final = 14 * 86_400.0
CAPACITY_DEFAULT: Final = 1_000
VALUES_MIN_FOR_STATISTICS: Final = 2
_TEN_THOUSANDTHS: Final = 10_000  # ranks are exact down to p9999


class TimeSource(Protocol):
    """Whatever tells the time; every clock does."""

    def now_s(self) -> float: ...


class TimeSeries:
    """Numbers in order of their times; always keeps the latest one.

    Args:
        clock: tells the present time, from which the window reaches back.
        window_s: seconds after which a value is dropped, > 0.
        capacity: how many values are kept, at least 1; beyond it the older half is thinned.

    Raises:
        ProtocolMisuse: a window or a capacity out of range.
    """

    def __init__(
        self,
        clock: TimeSource,
        window_s: float = WINDOW_S_DEFAULT,
        capacity: int = CAPACITY_DEFAULT,
    ) -> None:
        if not window_s > 0:
            raise ProtocolMisuse(f"window_s: {window_s} must be above 0")
        if capacity < 1:
            raise ProtocolMisuse(f"capacity: {capacity} must be at least 1")
        self.window_s = window_s
        self.capacity = capacity
        self._clock = clock
        self._times_s: list[float] = []
        self._values: list[float] = []
        self._cursor_s: float | None = None  # time of the next value to be thinned out

    def __len__(self) -> int:
        return len(self._times_s)

    def set(self, value: float, at_s: float | None = None) -> None:
        """Add a value at the present time or ``at_s``; one of the same time is replaced."""
        if at_s is None:
            at_s = self._clock.now_s()
        if not self._times_s or at_s > self._times_s[-1]:
            self._times_s.append(at_s)
            self._values.append(value)
        else:
            self._insert(value, at_s)
        self.truncate()
        self._thin()

    def _insert(self, value: float, at_s: float) -> None:
        i = bisect_left(self._times_s, at_s)
        if self._times_s[i] == at_s:
            self._values[i] = value
            return
        self._times_s.insert(i, at_s)
        self._values.insert(i, value)
        self._cursor_s = None  # what is every second element has changed

    def get(
        self, from_s: float | None = None, to_s: float | None = None
    ) -> list[tuple[float, float]]:
        """Pairs ``(time_s, value)``, oldest first, from ``from_s`` up to ``to_s`` inclusive."""
        start = 0 if from_s is None else bisect_left(self._times_s, from_s)
        end = len(self) if to_s is None else bisect_right(self._times_s, to_s)
        return list(zip(self._times_s[start:end], self._values[start:end], strict=True))

    def values(self) -> list[float]:
        """The values, oldest first."""
        return list(self._values)

    def latest(self) -> tuple[float, float] | None:
        """The pair ``(time_s, value)`` of the highest time; None for an empty series."""
        return (self._times_s[-1], self._values[-1]) if self._times_s else None

    def truncate(self) -> None:
        """Drop what the window has left behind, but never the latest value."""
        expired = bisect_right(self._times_s, self._clock.now_s() - self.window_s)
        expired = min(expired, len(self) - 1)
        if expired <= 0:
            return
        if self._cursor_s is not None and self._cursor_s <= self._times_s[expired - 1]:
            self._cursor_s = None
        del self._times_s[:expired]
        del self._values[:expired]

    def _thin(self) -> None:
        while len(self) > self.capacity:
            i = 1 if self._cursor_s is None else bisect_left(self._times_s, self._cursor_s)
            i = min(i, len(self) - 2)  # a capacity of one leaves the latest
            del self._times_s[i]
            del self._values[i]
            following = i + 1  # its neighbour has moved to i, and stays
            is_in_older_half = following < len(self) and following <= len(self) // 2
            self._cursor_s = self._times_s[following] if is_in_older_half else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Count, extremes and percentiles of at least two values."""

    count: int
    min: float
    max: float
    p25: float
    p50: float
    p75: float
    p90: float
    p95: float
    p99: float
    p999: float
    p9999: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self | None:
        """Statistics of ``values`` in any order; None for fewer than two."""
        ranked = sorted(values)
        if len(ranked) < VALUES_MIN_FOR_STATISTICS:
            return None
        return cls(
            count=len(ranked),
            min=ranked[0],
            max=ranked[-1],
            p25=_percentile(ranked, 2_500),
            p50=_percentile(ranked, 5_000),
            p75=_percentile(ranked, 7_500),
            p90=_percentile(ranked, 9_000),
            p95=_percentile(ranked, 9_500),
            p99=_percentile(ranked, 9_900),
            p999=_percentile(ranked, 9_990),
            p9999=_percentile(ranked, 9_999),
        )


def _percentile(ranked: list[float], ten_thousandths: int) -> float:
    """Interpolate linearly between the two ranks around a percentile; ``ranked`` is sorted."""
    below, rest = divmod(ten_thousandths * (len(ranked) - 1), _TEN_THOUSANDTHS)
    if rest == 0:
        return ranked[below]
    low, high = ranked[below], ranked[below + 1]
    return low + (high - low) * (rest / _TEN_THOUSANDTHS)


__all__ = [
    "CAPACITY_DEFAULT",
    "VALUES_MIN_FOR_STATISTICS",
    "WINDOW_S_DEFAULT",
    "Statistics",
    "TimeSeries",
    "TimeSource",
]
