"""Deduplicator: the work of a request is done once."""

import asyncio

import pytest

from actorproc import ProtocolMisuse, VirtualClock
from actorproc.patterns import Deduplicator, LimitReached, describe
from tests.runtime.patterns.work import started, turns

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock():
    return VirtualClock()


class Work:
    """Counts how often it is done; its answer comes when told."""

    def __init__(self):
        self.begun = 0
        self.answer = asyncio.get_running_loop().create_future()

    async def __call__(self):
        self.begun += 1
        return await self.answer


async def test_a_repeated_request_gets_the_remembered_answer(clock):
    dedup, done = Deduplicator(clock), []

    def work():
        done.append(1)
        return len(done)

    assert [dedup.once("r1", work), dedup.once("r1", work), dedup.once("r2", work)] == [1, 1, 2]
    assert await dedup.answer("r1", work) == 1
    assert dedup.repeated == 2


async def test_requests_repeated_meanwhile_wait_for_the_same_answer(clock):
    dedup, work = Deduplicator(clock), Work()
    callers = [await started(dedup.answer("r", work)) for _ in range(3)]
    work.answer.set_result("once")
    assert await asyncio.gather(*callers) == ["once"] * 3
    assert work.begun == 1
    assert dedup.repeated == 2


async def test_a_failure_reaches_all_that_wait_and_is_not_remembered(clock):
    dedup, work = Deduplicator(clock), Work()
    callers = [await started(dedup.answer("r", work)) for _ in range(2)]
    work.answer.set_exception(ValueError("why"))
    await turns()
    assert [describe(caller) for caller in callers] == ["Failed: why"] * 2
    assert await dedup.answer("r", lambda: "second try") == "second try"


async def test_the_next_in_line_works_when_the_first_is_cancelled(clock):
    dedup, first, second, third = Deduplicator(clock), Work(), Work(), Work()
    works = (first, second, third)
    callers = [await started(dedup.answer("r", work)) for work in works]
    callers[0].cancel()
    await turns()
    assert [work.begun for work in works] == [1, 1, 0]
    second.answer.set_result("second")
    assert await asyncio.gather(*callers[1:]) == ["second"] * 2


async def test_one_that_stops_waiting_stops_nobody_else(clock):
    dedup, work = Deduplicator(clock), Work()
    _, leaver, other = [await started(dedup.answer("r", work)) for _ in range(3)]
    leaver.cancel()
    await turns()
    work.answer.set_result("answer")
    assert await other == "answer"
    assert leaver.cancelled()


async def test_a_handler_that_cannot_wait_is_told_of_work_in_progress(clock):
    dedup, work = Deduplicator(clock), Work()
    caller = await started(dedup.answer("r", work))
    with pytest.raises(ProtocolMisuse, match="request 'r' is in progress"):
        dedup.once("r", lambda: "other")
    work.answer.set_result("answer")
    await caller


async def test_answers_are_forgotten_after_their_time(clock):
    dedup = Deduplicator(clock, keep_s=10.0)
    dedup.once("r", lambda: "first")
    await clock.advance(9.9)
    assert dedup.once("r", lambda: "second") == "first"
    await clock.advance(0.1)
    assert dedup.once("r", lambda: "second") == "second"


async def test_the_oldest_answers_make_room(clock):
    dedup = Deduplicator(clock, entries_max=2)
    for name in ("a", "b", "c"):
        dedup.once(name, lambda name=name: name)
    assert len(dedup) == 2
    assert [dedup.once(name, lambda: "again") for name in ("b", "c", "a")] == ["b", "c", "again"]


async def test_work_in_progress_is_limited_and_never_forgotten(clock):
    dedup, work = Deduplicator(clock, entries_max=1, keep_s=1.0), Work()
    caller = await started(dedup.answer("r", work))
    with pytest.raises(LimitReached, match="entries_max is 1"):
        await dedup.answer("other", work)
    dedup.once("another", lambda: 1)
    await clock.advance(5.0)
    again = await started(dedup.answer("r", work))
    work.answer.set_result("answer")
    assert await asyncio.gather(caller, again) == ["answer"] * 2
    assert work.begun == 1


@pytest.mark.parametrize("options", [{"entries_max": 0}, {"keep_s": 0.0}])
async def test_limits_that_mean_nothing_are_refused(clock, options):
    with pytest.raises(ValueError, match="entries_max must be 1 or more and keep_s above 0"):
        Deduplicator(clock, **options)
