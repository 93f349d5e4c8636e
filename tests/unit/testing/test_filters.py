"""Message filters, over real sockets, in process and within one runtime."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from actorproc import (
    InProcessNetwork,
    Process,
    ProcessTerminated,
    ProtocolMisuse,
    Runtime,
    TcpTransport,
)
from actorproc.testing import (
    CallPattern,
    DroppedByFilter,
    ExitPattern,
    MessageFilters,
    MessagePattern,
    SeenExit,
    SeenMessage,
    eventually,
    filters,
    inject_exited,
)
from actorproc.testing.conformance import Collector, call

pytestmark = pytest.mark.asyncio


class Pair:
    """A sender and a receiver, in one runtime or in two."""

    def __init__(self, here, there):
        self.here, self.there = here, there
        self.sender, self.receiver = Collector("sender"), Collector("receiver", ("m", "n"))
        here.spawn(self.sender)
        there.spawn(self.receiver)

    def send(self, *bodies, name="m"):
        for body in bodies:
            self.sender.send(self.receiver.pid, name, body)

    async def quiet(self):
        """Everything sent so far has come, or been dropped: one more message passes."""
        self.receiver.names += ("last",)
        self.receiver.install("last", lambda *_: self.sender.send(self.sender.pid, "done"))
        done = asyncio.Event()
        self.sender.install("done", lambda *_: done.set())
        self.send(b"", name="last")
        async with asyncio.timeout(10.0):
            await done.wait()


@pytest_asyncio.fixture(params=["tcp", "in process", "one runtime"])
async def make_pair(request):
    async with AsyncExitStack() as stack:

        async def make():
            if request.param == "tcp":
                transports = [TcpTransport(), TcpTransport()]
            else:
                network = InProcessNetwork()
                count = 1 if request.param == "one runtime" else 2
                transports = [network.transport(f"10.0.0.{n}", 1) for n in range(count)]
            runtimes = [await stack.enter_async_context(Runtime(each)) for each in transports]
            pair = Pair(runtimes[0], runtimes[-1])
            await pair.here.settle()
            await pair.there.settle()
            return pair

        yield make


async def started(make_pair):
    # Built inside the test: with a fixture of its own it would live in another task's context.
    return await make_pair()


async def test_b006_a_dropped_message_never_reaches_its_handler_and_the_next_one_does(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        dropped = rules.drop(MessagePattern("m", pair.sender.pid, pair.receiver.pid), times=1)
        pair.send(b"1", b"2")
        assert await dropped == SeenMessage("m", pair.sender.pid, pair.receiver.pid, b"1")
        await eventually(lambda: pair.receiver.messages)
        await pair.quiet()
        assert pair.receiver.bodies == [b"2"]


async def test_b006_a_dropped_call_is_never_run_and_its_caller_hears_of_it(make_pair):
    pair = await started(make_pair)
    receiver, ran = pair.receiver, []
    with MessageFilters(pair.there) as rules:
        dropped = rules.drop(CallPattern(receiver.pid, ran.append), times=1)
        first = pair.there.dispatch(receiver.pid, ran.append, 1)
        second = pair.there.dispatch(receiver.pid, ran.append, 2)
        assert (await dropped).args == (1,)
        await second
        with pytest.raises(ProcessTerminated) as caught:
            await first
        assert type(caught.value) is DroppedByFilter
    assert ran == [2]


async def test_b006_a_dropped_exit_is_never_heard_and_the_next_one_is(make_pair):
    pair = await started(make_pair)
    there, receiver = pair.there, pair.receiver
    children = [there.spawn(Process(f"child{n}")) for n in range(2)]
    with MessageFilters(there) as rules:
        dropped = rules.drop(ExitPattern(receiver.pid, children[0]), times=1)
        for child in children:
            await call(there, receiver, receiver.link, child)
            there.terminate(child)
        assert await dropped == SeenExit(receiver.pid, children[0])
        await eventually(lambda: receiver.exits)
        assert receiver.exits == [children[1]]


async def test_b012_an_injected_exit_is_heard_exactly_once(make_pair):
    pair = await started(make_pair)
    there, receiver, sender = pair.there, pair.receiver, pair.sender
    with MessageFilters(there) as rules:
        heard = rules.expect_exited(receiver.pid, sender.pid)
        inject_exited(there, receiver.pid, sender.pid)
        assert await heard == SeenExit(receiver.pid, sender.pid)
    await pair.quiet()
    assert receiver.exits == [sender.pid]
    stranger = Process("x")
    with pytest.raises(ProtocolMisuse, match=r"linker: @0\.0\.0\.0:0 does not live in"):
        inject_exited(there, stranger.pid, sender.pid)


async def test_an_expected_message_is_seen_and_delivered(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        any_message = rules.expect_message()
        named = rules.expect_message("n", sender=pair.sender.pid, to=pair.receiver.pid)
        second = rules.expect(MessagePattern("m", where=lambda seen: seen.body == b"2"))
        call_seen = rules.expect_call(pair.receiver.pid, "bound")
        pair.send(b"1", b"2")
        pair.send(b"3", name="n")
        assert (await any_message).body == b"1"
        assert (await second).body == b"2"
        assert (await named).body == b"3"

        def bound():
            return 1

        await pair.there.dispatch(pair.receiver.pid, bound)
        assert (await call_seen).fn is bound
        await pair.quiet()
    assert pair.receiver.bodies == [b"1", b"2", b"3"]


async def test_held_messages_go_on_in_order_and_are_seen_once(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        seen = rules.observe(MessagePattern("m"))
        held = rules.hold(MessagePattern("m", where=lambda message: message.body < b"4"))
        pair.send(b"1", b"2", b"3", b"4")
        assert (await held).body == b"1"
        await eventually(lambda: pair.receiver.messages)
        await pair.quiet()
        assert pair.receiver.bodies == [b"4"]
        assert len(held) == 3
        held.release(1)
        await pair.quiet()
        assert pair.receiver.bodies == [b"4", b"1"]
        pair.send(b"0")
        await pair.quiet()
        assert len(held) == 3  # a partial release goes on holding
        held.release()
        pair.send(b"1")
        await pair.quiet()
        assert pair.receiver.bodies == [b"4", b"1", b"2", b"3", b"0", b"1"]
        assert [each.body for each in seen.seen] == [b"1", b"2", b"3", b"4", b"0", b"1"]


async def test_what_is_held_at_the_end_is_let_go(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        held = rules.hold(MessagePattern("m"))
        pair.send(b"1")
        await held
    await eventually(lambda: pair.receiver.messages)
    assert pair.there.event_filter is None


async def test_all_of_a_kind_are_dropped_without_times(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        dropped = rules.drop(MessagePattern("m"))
        pair.send(b"1", b"2")
        pair.send(b"3", name="n")
        await pair.quiet()
        assert len(dropped.seen) == 2
        assert pair.receiver.bodies == [b"3"]


async def test_the_end_names_what_did_not_happen_and_what_must_not(make_pair):
    pair = await started(make_pair)
    rules = MessageFilters(pair.there)
    rules.forbid(MessagePattern("m"))
    rules.forbid(MessagePattern("n"))
    rules.expect_message("never")
    rules.drop(MessagePattern("also never"), times=2)
    pair.send(b"1")
    await pair.quiet()
    rules.remove()
    with pytest.raises(AssertionError) as caught:
        rules.verify()
    text = str(caught.value)
    assert "never happened: MessagePattern(name='never'" in text
    assert "never happened: MessagePattern(name='also never'" in text
    assert "happened: SeenMessage(name='m'" in text
    assert "name='n'" not in text


async def test_a_failing_test_is_not_covered_up_by_the_filters(make_pair):
    pair = await started(make_pair)
    rules = MessageFilters(pair.there)
    rules.expect_message("never")
    with pytest.raises(ZeroDivisionError), rules:
        raise ZeroDivisionError


async def test_an_expectation_gives_up(make_pair):
    pair = await started(make_pair)
    rules = MessageFilters(pair.there)
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: MessagePattern"):
        await rules.expect_message("never").within(0.01)
    rules.remove()


async def test_a_runtime_has_one_set_of_filters_at_a_time(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there), pytest.raises(ProtocolMisuse, match="has filters already"):
        MessageFilters(pair.there)


async def test_processes_begin_and_end_whatever_is_dropped(make_pair):
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        for pattern in (MessagePattern(), CallPattern(), ExitPattern()):
            rules.drop(pattern)
        child = pair.there.spawn(Process("child"))
        pair.there.terminate(child)
        assert await pair.there.wait(child, 10.0)


async def test_holding_has_a_limit(make_pair, monkeypatch, caplog):
    monkeypatch.setattr(filters, "HELD_MAX", 2)
    pair = await started(make_pair)
    with MessageFilters(pair.there) as rules:
        rules.hold(MessagePattern("m"))
        pair.send(b"1", b"2", b"3")
        await eventually(lambda: "held: more than 2 events" in caplog.text)
