"""Deadline as a value and as text."""

import pytest

from actorproc.clock import DELAY_S_MAX
from actorproc.patterns import Deadline, InvalidDeadline

NOW_S = 1_700_000_000.0


def test_time_left_shrinks_to_zero_and_not_below():
    deadline = Deadline.after(NOW_S, 5.0)
    assert [deadline.remaining_s(NOW_S + passed) for passed in (0, 2, 5, 9)] == [5, 3, 0, 0]
    assert [deadline.is_expired(NOW_S + passed) for passed in (4.9, 5, 6)] == [False, True, True]


def test_it_saturates_at_both_ends():
    assert Deadline.after(NOW_S, -5.0) == Deadline(NOW_S)
    assert Deadline.after(NOW_S, float("inf")) == Deadline(NOW_S + DELAY_S_MAX)


def test_the_earlier_of_two():
    soon, late = Deadline(1.0), Deadline(2.0)
    assert soon.earlier(late) == late.earlier(soon) == soon
    assert late.earlier(None) == late


def test_text_is_what_is_left_so_that_clocks_may_differ():
    text = Deadline.after(NOW_S, 1.5).to_text(NOW_S)
    assert text == "1500000us"
    assert Deadline.from_text(text, 50.0) == Deadline(51.5)
    assert Deadline(NOW_S).to_text(NOW_S + 9) == "0us"


def test_text_from_afar_saturates():
    assert Deadline.from_text("9" * 18 + "us", 0.0) == Deadline(DELAY_S_MAX)


@pytest.mark.parametrize(
    "text", ["", "us", "5", "5s", "-5us", "+5us", "1.5us", " 5us", "5us\n", "9" * 19 + "us", "٣us"]
)
def test_other_text_is_refused(text):
    with pytest.raises(InvalidDeadline, match="must be digits and 'us'"):
        Deadline.from_text(text, 0.0)
