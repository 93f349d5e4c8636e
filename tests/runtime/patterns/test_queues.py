"""RateLimiter, Sequence, Queue. Source: actor-runtime.md §5, §15 (69-74)."""

import asyncio

import pytest

from actorproc import Process, ProtocolMisuse, VirtualClock
from actorproc.patterns import LimitReached, Queue, RateLimiter, Sequence, describe
from tests.runtime.patterns.work import Stubborn, started, turns
from tests.runtime.support import in_process, within

pytestmark = pytest.mark.asyncio

MS = 0.001


@pytest.fixture
def clock():
    return VirtualClock()


def states(futures):
    return [describe(future) for future in futures]


async def test_b069_two_permits_in_five_milliseconds(clock):
    limiter = RateLimiter(2, 5 * MS, clock)
    moments = []
    for _ in range(3):
        limiter.acquire().add_done_callback(lambda _: moments.append(clock.now_s()))
    await clock.advance(2.4 * MS)
    assert moments == [0.0]
    await clock.advance(10 * MS)
    assert moments == pytest.approx([0.0, 2.5 * MS, 5 * MS])


async def test_b070_the_slot_of_one_that_leaves_goes_to_the_next_in_line(clock):
    limiter = RateLimiter(1, 1.0, clock)
    first, second, third = (limiter.acquire() for _ in range(3))
    second.cancel()
    await clock.advance(1.0)
    assert states([first, second, third]) == ["Ready", "Discarded", "Ready"]


async def test_b070_the_slot_of_one_that_leaves_goes_to_a_newcomer(clock):
    limiter = RateLimiter(1, 1.0, clock)
    _, second = limiter.acquire(), limiter.acquire()
    second.cancel()
    newcomer = limiter.acquire()
    await clock.advance(1.0)
    assert describe(newcomer) == "Ready"


async def test_idle_time_saves_up_no_burst(clock):
    limiter = RateLimiter(1, 1.0, clock)
    await clock.advance(100.0)
    assert states([limiter.acquire(), limiter.acquire()]) == ["Ready", "Pending"]


async def test_a_slot_that_nobody_wanted_is_free_at_once(clock):
    limiter = RateLimiter(1, 1.0, clock)
    _, second = limiter.acquire(), limiter.acquire()
    second.cancel()
    await clock.advance(1.0)
    assert describe(limiter.acquire()) == "Ready"


async def test_a_line_has_a_limit_that_counts_only_who_still_waits(clock):
    limiter = RateLimiter(1, 1.0, clock, waiting_max=2)
    _, second, _ = (limiter.acquire() for _ in range(3))
    with pytest.raises(LimitReached, match="waiting_max is 2"):
        limiter.acquire()
    second.cancel()
    assert describe(limiter.acquire()) == "Pending"


@pytest.mark.parametrize(("permits", "per_s"), [(0, 1.0), (1, 0.0), (-1, 1.0), (1, float("nan"))])
async def test_a_rate_that_means_nothing_is_refused(clock, permits, per_s):
    with pytest.raises(ValueError, match="permits and per_s must be above 0"):
        RateLimiter(permits, per_s, clock)


class Steps:
    """Functions of a sequence that write down when they run."""

    def __init__(self, count):
        self.ran = []
        self.works = [asyncio.get_running_loop().create_future() for _ in range(count)]

    def step(self, number):
        def run():
            self.ran.append(number)
            return self.works[number]

        return run


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
async def test_b071_one_starts_when_the_one_before_is_over(end):
    steps, sequence = Steps(2), Sequence()
    first, second = (sequence.add(steps.step(number)) for number in range(2))
    await turns()
    assert steps.ran == [0]
    arguments = {"set_result": (1,), "set_exception": (ValueError("why"),), "cancel": ()}[end]
    getattr(steps.works[0], end)(*arguments)
    await turns()
    want = {"set_result": "Ready", "set_exception": "Failed: why", "cancel": "Discarded"}[end]
    assert describe(first) == want
    assert steps.ran == [0, 1]
    steps.works[1].set_result(2)
    assert await second == 2


async def test_b072_one_that_is_discarded_while_it_waits_is_skipped():
    steps, sequence = Steps(4), Sequence()
    futures = [sequence.add(steps.step(number)) for number in range(4)]
    await turns()
    futures[2].cancel()
    for work in steps.works:
        work.set_result(None)
    await asyncio.wait(futures)
    assert steps.ran == [0, 1, 3]


async def test_a_discard_of_one_that_runs_is_a_request_and_the_next_waits_for_its_end():
    sequence, work, ran = Sequence(), Stubborn(), []
    first = sequence.add(lambda: work.task)
    second = sequence.add(lambda: ran.append(2))
    await turns()
    first.cancel()
    await turns()
    assert describe(work.task) == "Pending (with discard)"
    assert ran == []
    work.decided.set_result(None)
    await second
    assert ran == [2]


async def test_b073_a_closed_sequence_lets_the_first_finish_and_discards_the_rest():
    steps, sequence = Steps(3), Sequence()
    futures = [sequence.add(steps.step(number)) for number in range(3)]
    await turns()
    sequence.close()
    assert states(futures) == ["Pending", "Discarded", "Discarded"]
    steps.works[0].set_result("done")
    assert await futures[0] == "done"
    assert steps.ran == [0]
    with pytest.raises(ProtocolMisuse):
        sequence.add(steps.step(0))


async def test_a_sequence_used_by_a_handler_may_call_back_into_its_process():
    # The handler does not wait for the sequence, so this is no deadlock.
    class Caller(Process):
        async def serve(self):
            self.called = sequence.add(lambda: self.dispatch(self.pid, lambda: "back"))
            await turns()

    sequence, caller = Sequence(), Caller("caller")
    async with in_process() as runtime:
        await within(runtime.dispatch(runtime.spawn(caller), caller.serve))
        assert await within(caller.called) == "back"


async def test_a_sequence_has_a_limit():
    sequence = Sequence(waiting_max=1)
    work = Stubborn()
    sequence.add(lambda: work.task)
    waiting = sequence.add(lambda: None)
    with pytest.raises(LimitReached, match="waiting_max is 1"):
        sequence.add(lambda: None)
    work.decided.set_result(None)
    await waiting


async def test_b074_a_get_is_completed_by_a_put_at_once():
    queue = Queue()
    getter = queue.get()
    queue.put("item")
    assert describe(getter) == "Ready"
    assert getter.result() == "item"


async def test_b074_getters_are_served_in_order_and_leavers_skipped():
    queue = Queue()
    first, leaver, second = (queue.get() for _ in range(3))
    leaver.cancel()
    queue.put(1)
    queue.put(2)
    assert (first.result(), second.result()) == (1, 2)
    queue.put(3)
    assert queue.get().result() == 3


async def test_a_queue_has_a_limit():
    queue = Queue(items_max=1)
    queue.put(1)
    with pytest.raises(LimitReached, match="items_max is 1"):
        queue.put(2)
    assert len(queue) == 1


async def test_iterating_loses_no_item_when_cancelled_in_the_turn_of_its_arrival():
    queue = Queue()

    async def consume():
        async for item in queue:
            raise AssertionError(f"{item} was consumed")

    consumer = await started(consume())
    queue.put("precious")
    consumer.cancel()
    await asyncio.wait([consumer])
    assert queue.get().result() == "precious"
