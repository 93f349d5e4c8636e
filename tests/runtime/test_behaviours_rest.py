"""Numbered behaviours that have no other home. Source: actor-runtime.md §15."""

import asyncio

import pytest

from actorproc import PID, Process
from actorproc.core.wire import encode_message
from actorproc.http import install_endpoints
from tests.runtime.raw import FROM, connected, get, post, read_answer, read_answers
from tests.runtime.support import Collector, Echo, call, eventually, in_process, over_tcp

pytestmark = pytest.mark.asyncio

CLAIMED = PID("claimed", "127.0.0.1", 5051)


class Shape(Process):
    def area(self):
        raise NotImplementedError


class Moves:
    def move(self):
        raise NotImplementedError


class Speaks:
    def speak(self):
        raise NotImplementedError


class Square(Shape, Moves, Speaks):
    def area(self):
        return 4

    def move(self):
        return "moved"

    async def speak(self):
        return f"I am {self.pid.id}"


async def test_b007_a_call_through_a_base_class_or_an_interface_runs_the_override():
    async with in_process() as runtime:
        square = Square("square")
        pid = runtime.spawn(square)
        as_shape: Shape = square
        as_moves: Moves = square
        as_speaks: Speaks = square
        assert await call(runtime, square, as_shape.area) == 4
        assert await call(runtime, square, as_moves.move) == "moved"
        assert await call(runtime, square, as_speaks.speak) == "I am square"
        assert as_shape.pid == pid == PID("square", *runtime.address)
        assert hash(as_shape.pid) == hash(pid)


async def test_b025_what_is_queued_can_be_counted_by_kind_during_a_handler():
    async with over_tcp() as runtime:
        install_endpoints(runtime)
        worker = Process("worker")
        runtime.spawn(worker)
        may_end = asyncio.Event()
        running = runtime.dispatch(worker.pid, may_end.wait)
        await runtime.settle()
        runtime.dispatch(worker.pid, may_end.wait)
        runtime.terminate(worker.pid, inject=False)
        (view,) = [each for each in runtime.inspect() if each.id == "worker"]
        assert (view.queued, view.is_waiting) == (2, True)
        async with connected(runtime) as (reader, writer):
            writer.write(get("/__processes__"))
            answer = await read_answer(reader)
        assert answer.body.count(b'"DISPATCH"') == 1
        assert answer.body.count(b'"TERMINATE"') == 1
        may_end.set()
        assert await running


async def test_b030_libprocess_from_goes_before_the_user_agent():
    async with over_tcp() as runtime:
        collector = Collector()
        runtime.spawn(collector)
        headers = f"User-Agent: libprocess/agent@127.0.0.1:1\r\nLibprocess-From: {CLAIMED}\r\n"
        swapped = "".join(reversed(headers.splitlines(keepends=True)))
        async with connected(runtime) as (reader, writer):
            writer.write(post("/collector/m", headers=headers))
            writer.write(post("/collector/m", headers=swapped))
            answers = await read_answers(reader, 2)
        assert [answer.status for answer in answers] == [202, 202]
        assert [sender for _, sender, _ in collector.messages] == [CLAIMED, CLAIMED]


@pytest.mark.parametrize("name", ["a/b/c", "a%20b"])
async def test_b032_the_name_of_a_message_is_the_rest_of_its_path_as_it_is(name):
    async with over_tcp() as runtime:
        collector = Collector(names=(name, "a", "a b"))
        runtime.spawn(collector)
        async with connected(runtime) as (reader, writer):
            writer.write(post(f"/collector/{name}", b"x", headers=FROM))
            assert (await read_answer(reader)).status == 202
        await eventually(lambda: collector.messages)
        assert [name for name, _, _ in collector.messages] == [name]


async def test_b044_the_end_of_one_remote_actor_is_not_heard():
    async with over_tcp() as here, over_tcp() as there:
        watcher, echo = Collector(names=("echo",)), Echo()
        here.spawn(watcher)
        remote = there.spawn(echo)
        there.spawn(Echo("other"))
        other = PID("other", *there.address)
        await call(here, watcher, watcher.link, remote)
        await call(here, watcher, watcher.send, remote, "m", b"1")
        await eventually(lambda: watcher.bodies == [b"1"])

        there.terminate(remote)
        await eventually(lambda: "echo" not in [each.id for each in there.inspect()])
        await call(here, watcher, watcher.send, remote, "m", b"2")
        await call(here, watcher, watcher.send, other, "m", b"3")
        await eventually(lambda: b"3" in watcher.bodies)  # came after, on the same connection

        assert watcher.bodies == [b"1", b"3"]
        assert watcher.exits == []
        letters = [(letter.to_id, letter.name) for letter in there.dead_letters]
        assert letters == [("echo", "m")]


async def test_b044_who_sends_to_an_actor_that_ended_is_answered_404():
    async with over_tcp() as runtime:
        echo = Echo()
        pid = runtime.spawn(echo)
        runtime.terminate(pid)
        await eventually(lambda: not runtime.inspect())
        async with connected(runtime) as (reader, writer):
            writer.write(encode_message(CLAIMED, pid, "m", b""))
            assert (await read_answer(reader)).status == 404
