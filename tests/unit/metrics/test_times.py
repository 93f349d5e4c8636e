"""Text forms of times and durations. Source: actor-runtime.md §6, behaviour 80."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorproc.times import (
    EPOCH,
    NS_MAX,
    NS_MIN,
    NS_PER_UNIT,
    TIME_MAX,
    Duration,
    InvalidTime,
    Time,
)

THOUSAND_WEEKS = EPOCH + Duration.parse("1000weeks")


@pytest.mark.parametrize(
    ("time", "rfc1123", "rfc3339"),
    [
        (EPOCH, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01 00:00:00+00:00"),
        (THOUSAND_WEEKS, "Thu, 02 Mar 1989 00:00:00 GMT", "1989-03-02 00:00:00+00:00"),
        (
            THOUSAND_WEEKS + Duration(1),
            "Thu, 02 Mar 1989 00:00:00 GMT",
            "1989-03-02 00:00:00.000000001+00:00",
        ),
        (
            THOUSAND_WEEKS + Duration.from_s(1),
            "Thu, 02 Mar 1989 00:00:01 GMT",
            "1989-03-02 00:00:01+00:00",
        ),
        (TIME_MAX, "Fri, 11 Apr 2262 23:47:16 GMT", "2262-04-11 23:47:16.854775807+00:00"),
    ],
)
def test_b080_times_as_text(time, rfc1123, rfc3339):
    assert time.rfc1123() == rfc1123
    assert time.rfc3339() == str(time) == rfc3339


def test_b080_sums_saturate_at_both_ends_of_time():
    assert TIME_MAX + Duration(1) == TIME_MAX
    assert EPOCH + Duration(-1) == EPOCH
    assert Duration(NS_MAX) + Duration(1) == Duration(NS_MAX)
    assert Duration(NS_MIN) - Duration(1) == Duration(NS_MIN)
    assert -Duration(NS_MIN) == Duration(NS_MAX)
    assert Duration.from_s(1e300) == Duration(NS_MAX)


@pytest.mark.parametrize("seconds", [-1, 1e10, float("inf"), float("nan")])
def test_a_time_out_of_range_is_refused(seconds):
    with pytest.raises(InvalidTime, match="time: "):
        Time.from_s(seconds)


def test_a_time_of_a_clock():
    assert Time.from_s(1.5) == Time(1_500_000_000)
    assert Time.from_s(1.5).s == 1.5
    assert Time(1_500_000_000) - Time(500_000_000) == Duration.parse("1secs")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ns", 1),
        ("1.5us", 1_500),
        ("20ms", 20_000_000),
        ("1secs", 10**9),
        ("2mins", 120 * 10**9),
        ("1.5hrs", 5_400 * 10**9),
        ("1days", 86_400 * 10**9),
        ("1weeks", 604_800 * 10**9),
        ("-1secs", -(10**9)),
        ("0.1secs", 10**8),
        (f"{NS_MAX}ns", NS_MAX),
    ],
)
def test_durations_are_read(text, ns):
    assert Duration.parse(text).ns == ns


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "secs", "foobar", "1 secs", "1sec", "1e3secs", ".5secs", "1secs ", "١secs"),
        *("0" * 100 + "1secs", f"{NS_MAX + 1}ns", "99999999999weeks", "nanns", "1SECS"),
    ],
)
def test_other_text_is_no_duration(text):
    with pytest.raises(InvalidTime, match="duration: "):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1_500, "1500ns"),
        (5_400 * 10**9, "90mins"),
        (10 * 86_400 * 10**9, "10days"),
        (14 * 86_400 * 10**9, "2weeks"),
        (-1_500_000_000, "-1500ms"),
        (1_000_000_001, "1000000001ns"),
    ],
)
def test_durations_are_written(ns, text):
    assert str(Duration(ns)) == text


@given(
    st.integers(NS_MIN, NS_MAX)
    | st.builds(int.__mul__, st.integers(-9_999, 9_999), st.sampled_from([*NS_PER_UNIT.values()]))
)
def test_durations_survive_their_text(ns):
    duration = Duration(ns)
    assert Duration.parse(str(duration)) == duration
