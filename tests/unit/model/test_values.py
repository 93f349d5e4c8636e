import math

import pytest

from cluster.errors import InvalidInput
from cluster.model.values import (
    SCALAR_MILLI_MAX,
    Items,
    Ranges,
    format_milli,
    milli_from_float,
    milli_to_float,
    parse_ranges,
    parse_scalar,
    parse_set,
)


@pytest.mark.parametrize(
    ("value", "milli"),
    [
        (0.0, 0),
        (1.0, 1000),
        (0.1, 100),
        (0.001, 1),
        (0.0004, 0),
        (0.0005, 1),  # a half goes away from zero
        (1.2345, 1235),
        (0.1 + 0.2, 300),
        (2.675, 2675),
        (2251799813685.247, SCALAR_MILLI_MAX),
    ],
)
def test_doubles_become_the_nearest_thousandths(value, milli):
    assert milli_from_float(value, field="cpus") == milli


def test_negative_scalars_round_away_from_zero_where_they_are_allowed():
    assert milli_from_float(-0.0005, field="n", allow_negative=True) == -1
    assert milli_from_float(-0.0, field="n") == 0


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (math.nan, "NaN"),
        (math.inf, "infinite"),
        (-math.inf, "infinite"),
        (-0.001, "negative"),
        (1e13, "at most 2251799813685.247"),
        (1e300, "at most"),
    ],
)
def test_doubles_that_are_no_amount_are_refused(value, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        milli_from_float(value, field="cpus")
    assert caught.value.field == "cpus"


@pytest.mark.parametrize(
    "milli", [0, 1, 999, 1000, 123_456_789, SCALAR_MILLI_MAX - 1, SCALAR_MILLI_MAX]
)
def test_thousandths_survive_the_way_through_a_double(milli):
    assert milli_from_float(milli_to_float(milli), field="x") == milli


@pytest.mark.parametrize(
    ("milli", "text"),
    [(0, "0"), (1500, "1.5"), (100_000, "100"), (1, "0.001"), (-2500, "-2.5"), (-10, "-0.01")],
)
def test_thousandths_print_without_needless_zeros(milli, text):
    assert format_milli(milli) == text


@pytest.mark.parametrize("text", ["4", "4.", "0.5", ".5", "1e3", "+2"])
def test_numbers(text):
    assert parse_scalar(text, field="cpus") == float(text) * 1000


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "0x10", "4,5", "1_000", "٣", "--1"])
def test_texts_that_are_no_finite_number_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_scalar(text, field="cpus")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("[1-5]", ((1, 5),)),
        ("[7-9,1-5]", ((1, 5), (7, 9))),
        ("[1-5,6-9]", ((1, 9),)),
        ("[1-9,3-4]", ((1, 9),)),
        ("[5-5]", ((5, 5),)),
        ("[0-18446744073709551615]", ((0, 2**64 - 1),)),
    ],
)
def test_ranges_are_sorted_and_merged(text, pairs):
    assert parse_ranges(text, field="ports") == pairs


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[5]",
        "[5-1]",
        "[a-b]",
        "[1-2",
        "1-2]",
        "[1-2][3-4]",
        "[-1-2]",
        "[1-18446744073709551616]",
    ],
)
def test_texts_that_are_no_ranges_are_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse_ranges(text, field="ports")
    assert caught.value.field == "ports"


@pytest.mark.parametrize(
    ("left", "right", "rest"),
    [
        ([(1, 10)], [(3, 4)], [(1, 2), (5, 10)]),
        ([(1, 10)], [(1, 10)], []),
        ([(1, 10)], [(0, 20)], []),
        ([(1, 10)], [(20, 30)], [(1, 10)]),
        ([(1, 3), (5, 7)], [(2, 6)], [(1, 1), (7, 7)]),
        ([(1, 10)], [(2, 2), (4, 4), (10, 10)], [(1, 1), (3, 3), (5, 9)]),
        ([(1, 2), (8, 9)], [(1, 1), (9, 9)], [(2, 2), (8, 8)]),
    ],
)
def test_ranges_minus(left, right, rest):
    assert Ranges.of(left).minus(Ranges.of(right)) == tuple(rest)


def test_ranges_count_their_numbers():
    assert Ranges.of([(1, 5), (10, 10)]).size() == 6


@pytest.mark.parametrize(("text", "words"), [("{b,a}", ("a", "b")), ("{}", ()), ("{a,a}", ("a",))])
def test_sets_are_sorted_words(text, words):
    assert parse_set(text, field="tags") == words


@pytest.mark.parametrize("text", ["{a", "a}", "{a,}", "{,}", "{{a}}"])
def test_texts_that_are_no_set_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_set(text, field="tags")


def test_set_arithmetic():
    left, right = Items.of("abc"), Items.of("bd")
    assert left.union(right) == ("a", "b", "c", "d")
    assert left.minus(right) == ("a", "c")
    assert left.contains(Items.of("ac"))
    assert not left.contains(right)
