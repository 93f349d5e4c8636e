"""Futures as libprocess knows them, in asyncio's terms. Source: actor-runtime.md §4, §15."""

import asyncio
import gc
import weakref

import pytest
import pytest_asyncio

from actorproc import Process, ProcessTerminated, VirtualClock
from actorproc.patterns import (
    associate,
    describe,
    discard_requested,
    recover,
    select,
    then,
    undiscardable,
    within,
)
from tests.runtime.patterns.work import Stubborn, started, turns
from tests.runtime.support import in_process
from tests.runtime.support import within as in_time

pytestmark = pytest.mark.asyncio

HOUR_S = 3600.0


@pytest.fixture
def clock():
    return VirtualClock()


@pytest_asyncio.fixture
async def runtime():
    async with in_process() as runtime:
        yield runtime


class Worker(Process):
    """A process whose calls end in every way."""

    def __init__(self, id="worker"):
        super().__init__(id)
        self.stubborn = None

    def ready(self):
        return 7

    def failed(self):
        raise ValueError("no luck")

    def discarded(self):
        raise asyncio.CancelledError

    def start_stubborn(self):
        self.stubborn = Stubborn()
        return self.stubborn.task


async def calls(runtime):
    """One call of each outcome, by its name in libprocess."""
    worker = Worker()
    pid = runtime.spawn(worker)
    gone = runtime.spawn(Process("gone"))
    runtime.terminate(gone)
    await in_time(runtime.wait(gone))
    return {
        "READY": runtime.dispatch(pid, worker.ready),
        "FAILED": runtime.dispatch(pid, worker.failed),
        "DISCARDED": runtime.dispatch(pid, worker.discarded),
        "ABANDONED": runtime.dispatch(gone, worker.ready),
    }


@pytest.mark.parametrize("is_requested", [False, True])
@pytest.mark.parametrize("end", ["Pending", "Ready", "Failed: why", "Discarded", "Abandoned"])
async def test_b046_the_ten_texts(end, is_requested):
    work = Stubborn()
    await turns()
    if is_requested:
        work.task.cancel()
        await turns()
    match end:
        case "Ready":
            work.decided.set_result(1)
        case "Failed: why":
            work.decided.set_exception(ValueError("why"))
        case "Discarded":
            work.decided.cancel()
        case "Abandoned":
            work.decided.set_exception(ProcessTerminated("x@1.2.3.4:5 is gone"))
    await turns()
    kind, colon, why = end.partition(":")
    request = " (with discard)" if is_requested else ""
    assert describe(work.task) == f"{kind}{request}{colon}{why}"
    assert discard_requested(work.task) is is_requested
    work.decided.cancel()


async def test_an_error_without_text_is_described_by_its_kind():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(TimeoutError())
    assert describe(future) == "Failed: TimeoutError"


async def test_b047_an_associated_future_ends_as_its_source(runtime):
    loop = asyncio.get_running_loop()
    for name, source in (await calls(runtime)).items():
        target = loop.create_future()
        associate(target, source)
        await asyncio.wait([source, target])
        await turns()
        assert describe(target) == describe(source), name


async def test_b047_discarding_an_associated_future_only_asks_its_source():
    source, target = Stubborn(), asyncio.get_running_loop().create_future()
    await turns()
    associate(target, source.task)
    target.cancel()
    await turns()
    assert describe(source.task) == "Pending (with discard)"
    source.decided.set_result(None)
    await source.task


async def test_b047_returned_work_is_associated_with_the_call(runtime):
    worker = Worker()
    call = runtime.dispatch(runtime.spawn(worker), worker.start_stubborn)
    await runtime.settle()
    call.cancel()
    await turns()
    assert describe(worker.stubborn.task) == "Pending (with discard)"
    worker.stubborn.decided.set_result(None)
    await worker.stubborn.task


async def test_b048_a_ready_future_runs_what_follows_ready_and_any_at_once(runtime):
    ready = (await calls(runtime))["READY"]
    await runtime.settle()
    ran = []

    async def observer():
        try:
            value = await ready
            ran.append(("ready", value))
        except asyncio.CancelledError:
            ran.append("discarded")
        except ProcessTerminated:
            ran.append("abandoned")
        except Exception:
            ran.append("failed")
        finally:
            ran.append("any")

    coroutine = observer()
    with pytest.raises(StopIteration):
        coroutine.send(None)  # one step is enough: nothing waits
    assert ran == [("ready", 7), "any"]


async def repaired(call):
    try:
        return await call
    except Exception:
        return -1


async def test_b049_repair_is_except(runtime):
    outcomes = await calls(runtime)
    assert await repaired(outcomes["READY"]) == 7
    assert await repaired(outcomes["FAILED"]) == -1
    with pytest.raises(asyncio.CancelledError):
        await repaired(outcomes["DISCARDED"])


async def test_b050_a_discard_does_not_end_what_waits_for_its_time(clock):
    work = Stubborn()
    seen = []

    async def guarded():
        try:
            return await within(clock, 42 * HOUR_S, undiscardable(work.task))
        except TimeoutError:
            seen.append(describe(work.task))
            raise ValueError("took too long") from None

    result = await started(guarded())
    await clock.advance(21 * HOUR_S)
    work.task.cancel()
    await clock.settle()
    assert describe(result) == "Pending"
    await clock.advance(21 * HOUR_S - 1)
    assert describe(result) == "Pending"
    await clock.advance(1)
    assert seen == ["Pending (with discard)"]
    assert describe(result) == "Failed: took too long"
    work.decided.cancel()


async def test_b051_what_comes_in_time_stops_the_timer(clock):
    promise = asyncio.get_running_loop().create_future()
    result = await started(within(clock, 5.0, promise))
    await clock.advance(2.5)
    promise.set_result("in time")
    assert await result == "in time"
    await clock.advance(5.0)
    assert describe(result) == "Ready"


async def test_b052_a_timeout_leaves_no_cycle_and_no_request(clock):
    gc.disable()
    try:
        promise = asyncio.get_running_loop().create_future()
        original = weakref.ref(promise)

        async def guarded(future):
            try:
                return await within(clock, 1.0, future)
            except TimeoutError:
                future.cancel()
                return "late"

        result = await started(guarded(promise))
        del promise
        await clock.advance(1.0)
        assert describe(result) == "Ready"
        assert original() is None
    finally:
        gc.enable()


async def test_b053_a_chain_ends_as_its_source(runtime):
    texts = {
        name: await in_time(outcome_of(then(then(call, lambda x: x + 1), lambda x: x * 2)))
        for name, call in (await calls(runtime)).items()
    }
    assert texts == {
        "READY": 16,
        "FAILED": "Failed: no luck",
        "DISCARDED": "Discarded",
        "ABANDONED": "Abandoned",
    }


async def outcome_of(coroutine):
    task = asyncio.ensure_future(coroutine)
    await asyncio.wait([task])
    return task.result() if describe(task) == "Ready" else describe(task)


class Chain:
    """Two steps, the first of which refuses to be discarded."""

    def __init__(self):
        self.first, self.second = Stubborn(), []
        source = asyncio.get_running_loop().create_future()
        source.set_result(None)
        inner = then(source, lambda _: self.first.task)
        self.result = asyncio.ensure_future(then(inner, self.second.append))


async def test_b054_a_discard_reaches_the_step_in_hand_and_no_other():
    chain = Chain()
    await turns()
    chain.result.cancel()
    await turns()
    assert describe(chain.result) == "Pending (with discard)"
    assert describe(chain.first.task) == "Pending (with discard)"
    assert chain.second == []
    chain.first.decided.cancel()
    await asyncio.wait([chain.result])


@pytest.mark.parametrize(
    ("decide", "want"),
    [
        (lambda future: future.cancel(), "Discarded (with discard)"),
        (lambda future: future.set_result(1), "Discarded (with discard)"),
        (lambda future: future.set_exception(ValueError("why")), "Failed (with discard): why"),
    ],
    ids=["discarded", "set", "failed"],
)
async def test_b055_after_a_discard_the_next_step_never_runs(decide, want):
    chain = Chain()
    await turns()
    chain.result.cancel()
    await turns()
    decide(chain.first.decided)
    await asyncio.wait([chain.result])
    assert describe(chain.result) == want
    assert chain.second == []


async def test_b056_select_gives_the_one_that_is_ready():
    members = [asyncio.get_running_loop().create_future() for _ in range(4)]
    members[2].set_result("third")
    assert await select(members) is members[2]


async def test_b056_select_passes_over_what_fails():
    loop = asyncio.get_running_loop()
    failed, discarded, late = (loop.create_future() for _ in range(3))
    result = await started(select([failed, discarded, late]))
    failed.set_exception(ValueError())
    discarded.cancel()
    await turns()
    assert not result.done()
    late.set_result(1)
    assert await result is late


async def test_b056_discarding_a_select_leaves_its_members():
    members = [asyncio.get_running_loop().create_future() for _ in range(4)]
    result = await started(select(members))
    result.cancel()
    await asyncio.wait([result])
    assert describe(result) == "Discarded (with discard)"
    assert [describe(member) for member in members] == ["Pending"] * 4


async def test_b057_an_error_becomes_a_failure_with_its_text():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("the disk is full"))
    assert describe(future) == "Failed: the disk is full"


@pytest.mark.parametrize("form", ["future", "function"])
async def test_b058_an_undiscardable_source_hears_of_no_request(form):
    work = Stubborn()
    if form == "future":
        waiter = undiscardable(work.task)
    else:
        waiter = undiscardable(lambda: work.task)()
    await turns()
    waiter.cancel()
    await turns()
    assert describe(work.task) == "Pending"
    work.decided.set_result("value")
    assert await work.task == "value"


async def test_b059_recovery_follows_every_bad_end(runtime):
    for name, call in (await calls(runtime)).items():
        seen = []

        def recovered(source, seen=seen):
            seen.append(describe(source))
            return "recovered"

        value = await in_time(recover(then(call, lambda x: x), recovered))
        assert value == (7 if name == "READY" else "recovered"), name
        assert len(seen) == (name != "READY"), name


async def test_b060_a_recovery_begins_without_the_request_that_led_to_it():
    source = asyncio.get_running_loop().create_future()
    inner = []

    def start(_):
        inner.append(Stubborn())
        return inner[0].task

    result = await started(recover(source, start))
    result.cancel()
    await turns()
    assert source.cancelled()
    assert describe(result) == "Pending"
    assert describe(inner[0].task) == "Pending"
    result.cancel()
    await turns()
    assert describe(inner[0].task) == "Pending (with discard)"
    inner[0].decided.cancel()
    await asyncio.wait([result])
    assert result.cancelled()
