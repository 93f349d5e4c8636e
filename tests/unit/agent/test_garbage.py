"""When sandboxes are deleted."""

import pytest

from cluster.core.agent.garbage import Garbage, age_allowed_s

WEEK_S = 604_800.0


@pytest.mark.parametrize(
    ("headroom", "used", "want_s"),
    [(0.1, 0.0, 0.9 * WEEK_S), (0.1, 0.4, 0.5 * WEEK_S), (0.1, 0.9, 0.0), (0.1, 1.0, 0.0)],
)
def test_the_fuller_the_disk_the_sooner(headroom, used, want_s):
    assert age_allowed_s(WEEK_S, headroom, used) == pytest.approx(want_s, abs=1e-6)


def test_only_what_is_old_enough_is_taken_and_only_once():
    garbage = Garbage()
    garbage.add("a", 0.0)
    garbage.add("b", 50.0)
    garbage.add("a", 60.0)  # booked already
    assert garbage.take_due(100.0, 60.0) == ["a"]
    assert garbage.take_due(100.0, 60.0) == []
    assert len(garbage) == 1
    assert garbage.take_due(110.0, 60.0) == ["b"]
