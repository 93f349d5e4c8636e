"""retry on a virtual clock."""

import asyncio
import random

import pytest

from actorproc import ProcessTerminated, VirtualClock
from actorproc.patterns import Deadline, Jitter, RetryBudget, RetryPolicy, after, describe, retry
from tests.runtime.patterns.work import started

pytestmark = pytest.mark.asyncio

STEADY = RetryPolicy(base_s=1.0, factor=2.0, jitter=Jitter.NONE, total_s=None)


@pytest.fixture
def clock():
    return VirtualClock()


class Service:
    """Fails as told, then answers; notes when it was called."""

    def __init__(self, clock, *errors):
        self.clock = clock
        self.errors = list(errors)
        self.called_s = []

    async def __call__(self):
        self.called_s.append(self.clock.now_s())
        error = self.errors.pop(0) if self.errors else None
        if error == "lost":
            await after(self.clock, 1e6)
        elif error is not None:
            raise error
        return "answer"


def begin(service, **options):
    options.setdefault("policy", STEADY)
    return started(retry(service, clock=service.clock, rng=random.Random(1), **options))


async def test_success_at_once_waits_for_nothing(clock):
    service = Service(clock)
    assert await (await begin(service)) == "answer"
    assert service.called_s == [0.0]


async def test_failures_are_repeated_with_growing_waits(clock):
    service = Service(clock, ProcessTerminated("gone"), TimeoutError(), TimeoutError())
    result = await begin(service)
    await clock.advance(100.0)
    assert await result == "answer"
    assert service.called_s == [0.0, 1.0, 3.0, 7.0]


async def test_a_lost_message_shows_as_an_attempt_that_takes_too_long(clock):
    service = Service(clock, "lost")
    policy = RetryPolicy(base_s=1.0, jitter=Jitter.NONE, attempt_timeout_s=2.0)
    result = await begin(service, policy=policy)
    await clock.advance(100.0)
    assert await result == "answer"
    assert service.called_s == [0.0, 3.0]


async def test_an_error_of_another_kind_is_raised_at_once(clock):
    service = Service(clock, ValueError("why"))
    result = await begin(service)
    assert describe(result) == "Failed: why"
    assert service.called_s == [0.0]


async def test_attempts_come_to_an_end_with_a_note(clock):
    service = Service(clock, *(TimeoutError(f"no {number}") for number in range(9)))
    result = await begin(service, policy=RetryPolicy(attempts_max=3, jitter=Jitter.NONE))
    await clock.advance(100.0)
    assert str(result.exception()) == "no 2"
    assert result.exception().__notes__ == ["gave up after attempt 3: attempts_max is 3"]
    assert len(service.called_s) == 3


async def test_the_total_time_limits_attempts_and_waits(clock):
    service = Service(clock, *["lost"] * 9)
    policy = RetryPolicy(
        attempts_max=99, base_s=1.0, jitter=Jitter.NONE, attempt_timeout_s=4.0, total_s=10.0
    )
    result = await begin(service, policy=policy)
    await clock.advance(9.0)  # 4 s, a wait of 1 s, 4 s; after a wait of 2 s it would be too late
    assert service.called_s == [0.0, 5.0]
    assert result.exception().__notes__ == ["gave up after attempt 2: no time is left"]


async def test_the_last_attempt_gets_only_the_time_that_is_left(clock):
    service = Service(clock, *["lost"] * 9)
    policy = RetryPolicy(base_s=1.0, jitter=Jitter.NONE, attempt_timeout_s=4.0, total_s=7.0)
    result = await begin(service, policy=policy)
    await clock.advance(6.9)
    assert not result.done()
    await clock.advance(0.1)
    assert isinstance(result.exception(), TimeoutError)


async def test_it_does_not_wait_for_an_attempt_that_could_not_be_made(clock):
    service = Service(clock, TimeoutError(), TimeoutError())
    policy = RetryPolicy(base_s=3.0, factor=3.0, jitter=Jitter.NONE, total_s=10.0)
    result = await begin(service, policy=policy)
    await clock.advance(3.0)  # the next wait would be 9 s
    assert result.exception().__notes__ == ["gave up after attempt 2: no time is left"]


async def test_a_deadline_from_outside_counts_too(clock):
    service = Service(clock, *["lost"] * 9)
    result = await begin(service, deadline=Deadline.after(clock.now_s(), 2.0))
    await clock.advance(2.0)
    assert isinstance(result.exception(), TimeoutError)
    late = await begin(Service(clock), deadline=Deadline(clock.now_s()))
    assert describe(late) == "Failed: the deadline had passed before the first attempt"


async def test_a_spent_budget_stops_retries_not_requests(clock):
    budget = RetryBudget(ratio=0.5, reserve=1)
    notes = []
    for _ in range(4):
        service = Service(clock, *[TimeoutError()] * 9)
        result = await begin(
            service, policy=RetryPolicy(attempts_max=2, jitter=Jitter.NONE), budget=budget
        )
        await clock.advance(60.0)
        notes.append((len(service.called_s), result.exception().__notes__[0].partition(": ")[2]))
    spent, tried = (1, "the retry budget is spent"), (2, "attempts_max is 2")
    assert notes == [tried, spent, tried, spent]


async def test_each_failure_that_is_retried_is_told(clock):
    told = []
    service = Service(clock, TimeoutError("first"), TimeoutError("second"))
    result = await begin(service, on_retry=told.append)
    await clock.advance(10.0)
    await result
    assert [(each.failures, each.wait_s, str(each.error)) for each in told] == [
        (1, 1.0, "first"),
        (2, 2.0, "second"),
    ]


@pytest.mark.parametrize("moment_s", [0.5, 1.5], ids=["while it waits", "in an attempt"])
async def test_a_cancellation_is_not_retried(clock, moment_s):
    service = Service(clock, TimeoutError(), "lost")
    result = await begin(service)
    await clock.advance(moment_s)
    result.cancel()
    await asyncio.wait([result])
    assert result.cancelled()


async def test_the_same_seed_retries_at_the_same_moments(clock):
    histories = []
    for _ in range(2):
        begun_s = clock.now_s()
        service = Service(clock, *[TimeoutError()] * 4)
        result = await begin(service, policy=RetryPolicy())
        await clock.advance(64.0)
        assert await result == "answer"
        histories.append([round(called_s - begun_s, 9) for called_s in service.called_s])
    assert histories[0] == histories[1]
    assert histories[0] != sorted({round(each, 1) for each in histories[0]})  # drawn, not fixed
