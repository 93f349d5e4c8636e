"""collect, await_all, loop. Source: actor-runtime.md §5, §15 (61-67)."""

import asyncio

import pytest

from actorproc import ProcessTerminated
from actorproc.patterns import (
    Break,
    CollectFailed,
    NoneReady,
    Queue,
    await_all,
    collect,
    describe,
    loop,
    recover,
    select,
)
from tests.runtime.patterns.work import Stubborn, started, turns

pytestmark = pytest.mark.asyncio


def promises(count):
    return [asyncio.get_running_loop().create_future() for _ in range(count)]


async def test_b061_collect_of_none_is_empty():
    with pytest.raises(StopIteration) as done:
        collect([]).send(None)  # at once
    assert done.value.value == []


async def test_b061_collect_keeps_the_order_of_its_arguments():
    first, second, third = promises(3)
    result = await started(collect([first, second, third]))
    third.set_result(3)
    first.set_result(1)
    await turns()
    assert not result.done()
    second.set_result(2)
    assert await result == [1, 2, 3]


async def test_b061_one_failure_fails_the_whole():
    first, second = promises(2)
    result = await started(collect([first, second]))
    second.set_exception(ValueError("why"))
    with pytest.raises(CollectFailed, match=r"^Collect failed: why$") as failed:
        await result
    assert isinstance(failed.value.__cause__, ValueError)
    assert describe(first) == "Pending"


async def test_b061_a_discarded_member_fails_the_whole():
    first, second = promises(2)
    result = await started(collect([first, second]))
    second.cancel()
    with pytest.raises(CollectFailed, match=r"^Collect failed: .*discarded"):
        await result


async def test_collect_stops_the_coroutines_it_started_when_one_fails():
    ended = []

    async def endless():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def failing():
        await turns()
        raise ValueError

    with pytest.raises(CollectFailed):
        await collect([endless(), failing()])
    await turns()
    assert ended == [True]


async def test_b062_discarding_a_collect_asks_its_members():
    stubborn, plain = Stubborn(), promises(1)[0]
    result = await started(collect([stubborn.task, plain]))
    result.cancel()
    await asyncio.wait([result])
    await turns()
    assert describe(result) == "Discarded (with discard)"
    assert describe(stubborn.task) == "Pending (with discard)"
    assert describe(plain) == "Discarded"
    stubborn.decided.cancel()


async def test_b062_an_abandoned_member_abandons_the_whole():
    first, second = promises(2)
    second.set_exception(ProcessTerminated("gone"))
    seen = []
    await recover(collect([first, second]), lambda source: seen.append(describe(source)))
    assert seen == ["Abandoned"]


async def test_b063_await_all_gives_every_member_in_its_own_state():
    members = promises(4)
    result = await started(await_all(members))
    members[3].set_result(4)
    members[1].set_exception(ValueError("why"))
    members[0].cancel()
    await turns()
    assert not result.done()
    members[2].set_exception(ProcessTerminated("gone"))
    assert await result == members
    assert [describe(each) for each in members] == [
        "Discarded",
        "Failed: why",
        "Abandoned",
        "Ready",
    ]


async def test_b063_discarding_await_all_asks_its_members():
    members = promises(2)
    result = await started(await_all(members))
    result.cancel()
    await asyncio.wait([result])
    assert [describe(each) for each in members] == ["Discarded"] * 2


async def test_b064_await_of_one_passes_a_discard_to_it_and_its_end_back():
    stubborn = Stubborn()
    result = await started(await_all([stubborn.task]))
    result.cancel()
    await turns()
    assert describe(stubborn.task) == "Pending (with discard)"
    stubborn.decided.cancel()

    gone = promises(1)[0]
    result = await started(await_all([gone]))
    gone.set_exception(ProcessTerminated("gone"))
    (inner,) = await result
    assert describe(inner) == "Abandoned"


async def test_select_of_nothing_but_failures_says_so():
    failed = promises(1)[0]
    failed.set_exception(ValueError())
    with pytest.raises(NoneReady):
        await select([failed])


async def test_collect_of_many_needs_no_quadratic_time():
    members = promises(20_000)
    result = await started(collect(members))
    for number, member in enumerate(members):
        member.set_result(number)
    assert await result == list(range(20_000))


async def test_b065_a_loop_ends_when_its_condition_flips():
    numbers = iter(range(10))
    assert await loop(lambda: next(numbers), lambda n: Break(n) if n == 3 else None) == 3
    assert next(numbers) == 4


async def test_b065_a_million_turns_need_no_stack():
    turn = 0
    others = 0

    async def beside():
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    def body(_):
        nonlocal turn
        turn += 1
        return Break(turn) if turn == 1_000_000 else None

    neighbour = asyncio.ensure_future(beside())
    assert await loop(lambda: None, body) == 1_000_000
    assert others > 100  # the loop lets others run
    neighbour.cancel()


async def test_b066_a_loop_over_a_queue_with_a_waiting_body():
    queue, seen = Queue(), []

    async def body(item):
        await turns(1)
        seen.append(item)
        return Break("enough") if item == 2 else None

    result = await started(loop(queue.get, body))
    assert seen == []
    queue.put(1)
    await turns()
    assert seen == [1]
    queue.put(2)
    assert await result == "enough"


@pytest.mark.parametrize("place", ["iterate", "body"])
async def test_b067_a_discard_reaches_what_the_loop_waits_for(place):
    work = Stubborn()
    if place == "iterate":
        result = await started(loop(lambda: work.task, lambda _: None))
    else:
        result = await started(loop(lambda: 1, lambda _: work.task))
    result.cancel()
    await turns()
    assert describe(work.task) == "Pending (with discard)"
    assert describe(result) == "Pending (with discard)"
    work.decided.set_result(None)  # it refuses: the loop still ends
    await asyncio.wait([result])
    assert describe(result) == "Discarded (with discard)"


async def test_b067_a_body_may_answer_a_discard_with_break():
    work = Stubborn()
    result = await started(loop(lambda: 1, lambda _: work.task))
    result.cancel()
    await turns()
    work.decided.set_result(Break("last words"))
    assert await result == "last words"
