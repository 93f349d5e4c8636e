"""defer, Executor, spawn_function. Source: actor-runtime.md §3.3, §15 (3, 4)."""

import asyncio

import pytest
import pytest_asyncio

from actorproc import Process, ProcessTerminated, ProtocolMisuse
from actorproc.patterns import HOLE, Executor, defer, spawn_function, then
from tests.runtime.patterns.work import turns
from tests.runtime.support import eventually, in_process, within

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def runtime():
    async with in_process() as runtime:
        yield runtime


class Adder(Process):
    def __init__(self):
        super().__init__("adder")
        self.story = []

    def add(self, *numbers):
        self.story.append(numbers)
        return numbers


async def test_b003_an_open_argument_fills_its_hole(runtime):
    adder = Adder()
    runtime.spawn(adder)
    deferred = defer(adder, adder.add, 1, HOLE, 3)
    assert await within(deferred(2)) == (1, 2, 3)
    assert await within(deferred(2, 4)) == (1, 2, 3, 4)
    with pytest.raises(ProtocolMisuse, match="1 arguments were left open, 0 are given"):
        deferred()


async def test_b003_a_deferred_call_runs_in_its_actor_also_after_a_future(runtime):
    adder, source = Adder(), asyncio.get_running_loop().create_future()
    runtime.spawn(adder)
    chained = asyncio.ensure_future(then(source, defer(adder, adder.add, HOLE, "end")))
    await turns()
    source.set_result("begin")
    await source
    assert await within(chained) == ("begin", "end")
    assert adder.story == [("begin", "end")]


async def test_a_deferred_call_into_a_process_that_is_gone_fails(runtime):
    adder = Adder()
    deferred = defer(adder, adder.add)
    runtime.terminate(runtime.spawn(adder))
    await runtime.settle()
    with pytest.raises(ProcessTerminated):
        await within(deferred(1))


async def test_b004_an_executor_runs_one_at_a_time(runtime):
    executor, running, most = Executor(runtime), 0, 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns()
        running -= 1
        return number

    futures = [executor.execute(work, 1), executor.execute(work, 2), executor.defer(work, HOLE)(3)]
    assert await within(asyncio.gather(*futures)) == [1, 2, 3]
    assert most == 1


async def test_b004_a_future_result_arrives_as_its_value(runtime):
    executor, promise = Executor(runtime), asyncio.get_running_loop().create_future()
    future = executor.execute(lambda: promise)
    promise.set_result("value")
    assert await within(future) == "value"


async def test_b004_a_stopped_executor_runs_nothing_more(runtime):
    executor = Executor(runtime)
    queued = executor.execute(lambda: "ran")
    executor.stop(inject=False)
    assert await within(queued) == "ran"
    await within(runtime.wait(executor.pid))
    with pytest.raises(ProcessTerminated):
        await within(executor.execute(lambda: None))


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)])
async def test_b004_a_function_in_an_actor_of_its_own(runtime, arguments):
    async def work(*args):
        await turns()
        return args

    before = len(runtime._processes)
    assert await within(spawn_function(runtime, work, *arguments)) == arguments
    await eventually(lambda: len(runtime._processes) == before)


async def test_b004_a_failing_function_fails_its_future_and_ends_its_actor(runtime):
    def work():
        raise ValueError("why")

    before = len(runtime._processes)
    with pytest.raises(ValueError, match="why"):
        await within(spawn_function(runtime, work))
    await eventually(lambda: len(runtime._processes) == before)


async def test_cancelling_the_future_of_a_function_ends_its_work(runtime):
    ended = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    future = spawn_function(runtime, work)
    await runtime.settle()
    future.cancel()
    await eventually(lambda: ended)
