"""Time series and statistics. Source: actor-runtime.md §7, behaviours 81 to 83."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorproc.errors import ProtocolMisuse
from actorproc.metrics import Statistics, TimeSeries


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now_s=0.0):
        self.time_s = now_s

    def now_s(self):
        return self.time_s


def filled(count, capacity):
    clock = Hands()
    series = TimeSeries(clock, window_s=1e6, capacity=capacity)
    for number in range(count):
        clock.time_s = number
        series.set(number)
    return series, clock


def vanished(series, clock, numbers):
    """Add numbers at their own times; what each addition removed, in order."""
    gone = []
    for number in numbers:
        before = series.values()
        clock.time_s = number
        series.set(number)
        gone += [each for each in before if each not in series.values()]
    return gone


def test_b081_a_full_series_thins_its_older_half_in_rounds():
    series, clock = filled(10, capacity=10)
    assert series.values() == list(range(10))
    assert vanished(series, clock, range(10, 15)) == [1, 3, 5, 7, 9]
    assert vanished(series, clock, range(15, 20)) == [2, 6, 10, 12, 14]
    assert vanished(series, clock, [20]) == [4]  # a third round begins
    assert series.values()[0] == 0
    assert len(series) == 10


def test_b082_the_window_drops_what_it_has_left_behind():
    clock = Hands(100.0)
    series = TimeSeries(clock, window_s=10)
    for number in range(10):
        series.set(number, at_s=100.0 + number)
    clock.time_s += 16
    series.set(10)
    assert series.values() == [7, 8, 9, 10]


def test_b082_the_latest_value_stays_however_old():
    series, clock = filled(10, capacity=10)
    clock.time_s = 1e9
    series.truncate()
    assert series.values() == [9]


def test_b082_truncation_past_the_cursor_restarts_thinning_at_the_oldest():
    clock = Hands()
    series = TimeSeries(clock, window_s=20, capacity=10)
    for number in range(10):
        series.set(number, at_s=number)
    assert vanished(series, Hands(), []) == []
    for number in (10, 11):  # 1 and 3 go, the cursor stands on 5
        series.set(number, at_s=number)
    clock.time_s = 26.5  # up to 6 all are too old
    series.truncate()
    assert series.values() == [7, 8, 9, 10, 11]
    for number in range(12, 17):
        series.set(number, at_s=number)
    series.set(17, at_s=17)
    assert 8 not in series.values()  # the second oldest, not one after the old cursor
    assert series.values()[0] == 7


def test_a_truncation_before_the_cursor_leaves_it():
    clock = Hands()
    series = TimeSeries(clock, window_s=20, capacity=10)
    for number in range(12):  # 1 and 3 go, the cursor stands on 5
        series.set(number, at_s=number)
    clock.time_s = 20.5  # 0 is too old
    series.truncate()
    series.set(12, at_s=12)
    series.set(13, at_s=13)
    assert 5 not in series.values()
    assert 4 in series.values()


def test_a_value_in_between_is_put_in_its_place():
    series, _ = filled(3, capacity=10)
    series.set(0.5, at_s=0.5)
    series.set(9.0, at_s=1)
    assert series.get() == [(0, 0), (0.5, 0.5), (1, 9.0), (2, 2)]
    assert series.get(0.5, 1) == [(0.5, 0.5), (1, 9.0)]
    assert series.latest() == (2, 2)


def test_an_empty_series():
    series = TimeSeries(Hands())
    series.truncate()
    assert series.latest() is None
    assert series.get() == []


def test_a_capacity_of_one_keeps_the_latest():
    series, _ = filled(5, capacity=1)
    assert series.values() == [4]


@pytest.mark.parametrize("options", [{"window_s": 0}, {"window_s": float("nan")}, {"capacity": 0}])
def test_limits_out_of_range_are_refused(options):
    with pytest.raises(ProtocolMisuse, match=next(iter(options))):
        TimeSeries(Hands(), **options)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=80), st.integers(1, 8))
def test_a_series_is_ordered_bounded_and_keeps_the_latest(steps, capacity):
    clock = Hands()
    series = TimeSeries(clock, window_s=30, capacity=capacity)
    for at_s, later_s in steps:
        clock.time_s += later_s / 10
        series.set(at_s, at_s=at_s)
        times_s = [each for each, _ in series.get()]
        assert times_s == sorted(set(times_s))
        assert 1 <= len(series) <= capacity


def test_b083_percentiles_are_interpolated():
    statistics = Statistics.of(range(5, -6, -1))
    assert statistics.count == 11
    assert (statistics.min, statistics.max) == (-5, 5)
    assert statistics.p25 == -2.5
    assert statistics.p50 == 0
    assert statistics.p75 == 2.5
    assert statistics.p90 == 4
    assert statistics.p95 == 4.5
    assert statistics.p99 == pytest.approx(4.9)
    assert statistics.p999 == pytest.approx(4.99)
    assert statistics.p9999 == pytest.approx(4.999)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_b083_one_value_makes_no_statistics(values):
    assert Statistics.of(values) is None
