"""after, timeout, within on a virtual clock. Source: actor-runtime.md §5, §15 (68)."""

import asyncio

import pytest

from actorproc import Process, VirtualClock
from actorproc.patterns import after, clock_of, describe, timeout, within
from tests.runtime.patterns.work import started, turns
from tests.runtime.support import in_process

pytestmark = pytest.mark.asyncio

DAY_S = 86400.0


@pytest.fixture
def clock():
    return VirtualClock()


async def test_b068_after_a_day(clock):
    day = after(clock, DAY_S)
    await clock.advance(DAY_S - 1)
    assert describe(day) == "Pending"
    await clock.advance(1)
    assert describe(day) == "Ready"


async def test_b068_discarded_before(clock):
    day = after(clock, DAY_S)
    day.cancel()
    await clock.advance(DAY_S)
    assert describe(day) == "Discarded"


async def test_a_process_and_a_runtime_are_clocks_too(clock):
    async with in_process(clock=clock) as runtime:
        process = Process()
        runtime.spawn(process)
        assert clock_of(process) is clock_of(runtime) is clock_of(clock) is clock


async def test_a_block_in_time_is_left_alone(clock):
    async def block():
        async with timeout(clock, 2.0) as limit:
            await after(clock, 1.0)
        await after(clock, 5.0)
        return limit.has_expired

    result = await started(block())
    await clock.advance(10.0)
    assert await result is False


async def test_a_block_out_of_time_raises(clock):
    async def block():
        async with timeout(clock, 2.0):
            await after(clock, 3.0)

    result = await started(block())
    await clock.advance(1.9)
    assert not result.done()
    await clock.advance(0.1)
    assert describe(result) == "Failed: not within 2 s"
    assert isinstance(result.exception(), TimeoutError)


async def test_no_time_at_all_still_raises_without_an_advance(clock):
    with pytest.raises(TimeoutError):
        await within(clock, 0.0, after(clock, 1.0))


async def test_none_is_no_limit(clock):
    result = await started(within(clock, None, after(clock, DAY_S)))
    await clock.advance(DAY_S)
    assert describe(result) == "Ready"


async def test_a_cancellation_from_outside_is_no_timeout(clock):
    result = await started(within(clock, 1.0, after(clock, 2.0)))
    result.cancel()
    await asyncio.wait([result])
    assert result.cancelled()


async def test_both_at_once_is_a_cancellation(clock):
    async def block():
        async with timeout(clock, 1.0):
            await after(clock, 2.0)

    result = await started(block())
    clock.call_later(1.0, result.cancel)  # in the same turn as the timeout
    await clock.advance(1.0)
    assert result.cancelled()


async def test_the_outer_of_two_nested_blocks(clock):
    caught = []

    async def block():
        try:
            async with timeout(clock, 1.0):
                try:
                    async with timeout(clock, 5.0):
                        await after(clock, 9.0)
                except TimeoutError:
                    caught.append("inner")
        except TimeoutError:
            caught.append("outer")

    await started(block())
    await clock.advance(1.0)
    assert caught == ["outer"]


async def test_what_is_awaited_is_cancelled_when_the_time_runs_out(clock):
    promise = asyncio.get_running_loop().create_future()
    result = await started(within(clock, 1.0, promise))
    await clock.advance(1.0)
    await turns()
    assert promise.cancelled()
    assert isinstance(result.exception(), TimeoutError)
