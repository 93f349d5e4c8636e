"""Back-off, jitter and the retry budget."""

import random

import pytest

from actorproc.patterns import Jitter, RetryBudget, RetryPolicy


def test_ceilings_grow_up_to_their_limit():
    policy = RetryPolicy(base_s=0.1, factor=2.0, backoff_s_max=1.0)
    ceilings = [policy.ceiling_s(failures) for failures in range(1, 7)]
    assert ceilings == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_ceiling_beyond_all_numbers_is_the_limit():
    assert RetryPolicy(factor=1e10, backoff_s_max=7.0).ceiling_s(1000) == 7.0


def test_full_jitter_spreads_evenly_below_the_ceiling():
    policy, rng = RetryPolicy(base_s=1.0), random.Random(1)
    waits = [policy.backoff_s(1, rng) for _ in range(2000)]
    assert all(0.0 <= wait <= 1.0 for wait in waits)
    assert sum(wait < 0.25 for wait in waits) == pytest.approx(500, abs=75)
    assert sum(waits) / len(waits) == pytest.approx(0.5, abs=0.03)


def test_the_same_seed_gives_the_same_waits():
    policy = RetryPolicy()
    first, second = (
        [policy.backoff_s(failures, rng) for failures in range(1, 6)]
        for rng in (random.Random(7), random.Random(7))
    )
    assert first == second


def test_without_jitter_the_wait_is_the_ceiling():
    policy = RetryPolicy(base_s=1.0, jitter=Jitter.NONE)
    assert policy.backoff_s(3, random.Random(1)) == 4.0


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("attempts_max", 0, "must be 1 or more"),
        ("base_s", -0.1, "must be 0 or more"),
        ("factor", 0.5, "must be 1 or more"),
        ("backoff_s_max", -1, "must be 0 or more"),
        ("total_s", 0, "must be above 0"),
        ("attempt_timeout_s", 0, "must be above 0"),
        ("base_s", float("nan"), "must be 0 or more"),
    ],
)
def test_a_policy_that_means_nothing_names_field_and_rule(field, value, rule):
    with pytest.raises(ValueError, match=f"^{field} {rule}$"):
        RetryPolicy(**{field: value})


def test_retries_stay_below_their_share_of_requests():
    budget, retries = RetryBudget(ratio=0.1, reserve=10), 0
    for _ in range(10_000):
        budget.record_request()
        while budget.take():  # everything fails, everybody wants to retry
            retries += 1
    assert 1000 <= retries <= 1000 + 10


def test_a_quiet_time_saves_up_no_more_than_the_reserve():
    budget = RetryBudget(ratio=1.0, reserve=3)
    for _ in range(100):
        budget.record_request()
    assert budget.tokens == 3.0
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_a_budget_without_reserve_still_earns():
    budget = RetryBudget(ratio=0.5, reserve=0)
    taken = []
    for _ in range(6):
        budget.record_request()
        taken.append(budget.take())
    assert taken == [False, True, False, True, False, True]


@pytest.mark.parametrize("options", [{"ratio": -1}, {"ratio": float("nan")}, {"reserve": -1}])
def test_a_budget_that_means_nothing_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RetryBudget(**options)
