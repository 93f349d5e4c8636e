"""Asks, calls, delegates, reentrant handlers, and handlers that would wait for themselves."""

import asyncio

import pytest
import pytest_asyncio

from actorproc import (
    JSON,
    PID,
    Deadlock,
    InProcessNetwork,
    PeerProtocolError,
    Process,
    ProcessTerminated,
    Runtime,
    TcpTransport,
    VirtualClock,
)
from cluster.wire.pb import mesos_pb2 as mesos
from tests.waiting import until

pytestmark = pytest.mark.asyncio


class Clerk(Process):
    """Answers questions; forgets some."""

    def __init__(self, id="clerk"):
        super().__init__(id)
        self.senders = []

    def initialize(self):
        self.install("double", self._double, codec=JSON)
        self.install("forget", lambda sender, body: self.senders.append(sender))
        self.install("babble", lambda sender, body: self.send(sender, "answer", b"{"))
        self.install(mesos.TaskID, self._on_task)

    def _on_task(self, sender, task):
        self.send(sender, mesos.SlaveID(value=task.value))

    def _double(self, sender, number):
        self.senders.append(sender)
        self.send(sender, "unrelated", b"7")  # not the answer that was asked for
        self.send(sender, "answer", number * 2, codec=JSON)


class Asker(Process):
    pass


@pytest_asyncio.fixture(params=["tcp", "in-process"])
async def pair(request):
    """Two runtimes that reach each other, and the clock of both."""
    clock = VirtualClock()
    network = InProcessNetwork()
    if request.param == "tcp":
        transports = (TcpTransport(), TcpTransport())
    else:
        transports = (network.transport("10.0.0.1", 1), network.transport("10.0.0.2", 1))
    async with (
        Runtime(transports[0], clock=clock) as one,
        Runtime(transports[1], clock=clock) as two,
    ):
        yield one, two, clock


async def test_an_ask_gets_the_answer_of_a_remote_process(pair):
    one, two, _ = pair
    clerk = two.spawn(Clerk())
    asker = Asker("asker")
    one.spawn(asker)
    await one.settle()
    assert await asker.ask(clerk, "double", 21, reply="answer", codec=JSON) == 42
    assert await one.ask(clerk, "double", 4, reply="answer", codec=JSON) == 8


async def test_an_ask_with_protobuf_messages(pair):
    one, two, _ = pair
    clerk = two.spawn(Clerk())
    answer = await one.ask(clerk, mesos.TaskID(value="t"), reply=mesos.SlaveID)
    assert answer == mesos.SlaveID(value="t")


async def test_an_ask_within_one_runtime():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        clerk = Clerk()
        runtime.spawn(clerk)
        assert await runtime.ask(clerk.pid, "double", 5, reply="answer", codec=JSON) == 10
        assert clerk.senders[0].id.startswith("__req_res__(")
        gone = PID("gone", *clerk.pid.address)
        with pytest.raises(ProcessTerminated, match="gone@"):
            await runtime.ask(gone, "double", 5, reply="answer", codec=JSON)


async def test_an_ask_without_an_answer_times_out_and_leaves_nothing_open(pair):
    one, two, clock = pair
    clerk = Clerk()
    two.spawn(clerk)
    waiting = asyncio.ensure_future(one.ask(clerk.pid, "forget", reply="answer", timeout_s=5))
    await until(lambda: clerk.senders, "the question arrives")
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    with pytest.raises(TimeoutError, match="within 5 s"):
        await waiting
    assert len(one._asks) == 0
    two.post(clerk.senders[0], "answer", b"late")  # reaches nobody, breaks nothing
    await clock.settle()


async def test_an_answer_that_does_not_parse_is_an_error(pair):
    one, two, _ = pair
    clerk = two.spawn(Clerk())
    with pytest.raises(PeerProtocolError, match="answer answer is not valid"):
        await one.ask(clerk, "babble", None, reply="answer", codec=JSON)


async def test_a_cancelled_ask_is_forgotten(pair):
    one, two, _ = pair
    clerk = Clerk()
    two.spawn(clerk)
    waiting = asyncio.ensure_future(one.ask(clerk.pid, "forget", reply="answer"))
    await until(lambda: clerk.senders, "the question arrives")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(one._asks) == 0


async def test_b008_a_delegate_gets_the_message_with_its_original_sender(pair):
    one, two, _ = pair
    behind = Clerk("behind")
    two.spawn(behind)
    front = Process("front")
    front.delegate("double", behind.pid)
    front.install("own", lambda sender, body: two.post(sender, "answer", b"own"))
    front.delegate("own", behind.pid)  # what is installed goes first
    two.spawn(front)
    assert await one.ask(front.pid, "double", 3, reply="answer", codec=JSON) == 6
    assert await one.ask(front.pid, "own", reply="answer") == b"own"


class Slow(Process):
    """One handler that holds up the process, one that lets others in."""

    def __init__(self):
        super().__init__("slow")
        self.story = []
        self.gate = asyncio.Event()

    def initialize(self):
        self.install("exclusive", self._wait)
        self.install("reentrant", self._wait, reentrant=True)
        self.install("quick", lambda sender, body: self.story.append("quick"))

    async def _wait(self, sender, body):
        self.story.append("begin")
        await self.gate.wait()
        self.story.append("end")


@pytest.mark.parametrize(("name", "last"), [("exclusive", "quick"), ("reentrant", "end")])
async def test_reentrant_handlers_let_the_next_event_in(name, last):
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        slow = Slow()
        runtime.spawn(slow)
        runtime.post(slow.pid, name)
        runtime.post(slow.pid, "quick")
        await runtime.settle()
        slow.gate.set()
        await runtime.settle()
        assert sorted(slow.story) == ["begin", "end", "quick"]
        assert slow.story[-1] == last


async def test_a_failing_reentrant_handler_ends_its_process():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        process = Process("p")

        async def fail(sender, body):
            raise ValueError("no")

        process.install("m", fail, reentrant=True)
        pid = runtime.spawn(process)
        runtime.post(pid, "m")
        assert await runtime.wait(pid, 5)


class Caller(Process):
    """Calls others from a handler that waits."""

    def __init__(self, id):
        super().__init__(id)
        self.next = None

    async def call_next(self, *rest):
        """Call the next one, which calls the one after it, and so on."""
        if self.next is None:
            return "end"
        return await self.dispatch(self.next.pid, self.next.call_next)

    async def start_beside(self):
        """Start a call to itself, but do not wait for it."""
        return self.start_task(self._later())

    async def _later(self):
        return await self.dispatch(self.pid, lambda: "served")


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_circle_of_waiting_handlers_raises(length):
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        callers = [Caller(f"c{number}") for number in range(length)]
        for caller, following in zip(callers, callers[1:] + callers[:1], strict=True):
            runtime.spawn(caller)
            caller.next = following
        with pytest.raises(Deadlock, match=r"waits for itself: c0@.* -> c0@|c\d@"):
            await asyncio.wait_for(runtime.dispatch(callers[0].pid, callers[0].call_next), 5)


async def test_a_chain_of_waiting_handlers_is_fine():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        callers = [Caller(f"c{number}") for number in range(4)]
        for caller, following in zip(callers, [*callers[1:], None], strict=True):
            runtime.spawn(caller)
            caller.next = following
        assert await runtime.dispatch(callers[0].pid, callers[0].call_next) == "end"


async def test_a_task_beside_the_handler_may_wait_for_its_own_process():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        caller = Caller("c")
        runtime.spawn(caller)
        task = await runtime.dispatch(caller.pid, caller.start_beside)
        assert await asyncio.wait_for(task, 5) == "served"


async def test_b003_a_deferred_function_runs_in_its_process_with_bound_and_open_arguments():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        order = []
        process = Process("p")
        process.install("m", lambda sender, body: order.append("message"))
        pid = runtime.spawn(process)
        deferred = process.defer(lambda bound, given: order.append((bound, given)), "bound")
        runtime.post(pid, "m")
        future = deferred("given")
        assert order == []  # nothing runs before its turn
        await future
        assert order == ["message", ("bound", "given")]


async def test_calls_take_keyword_arguments():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        caller = Caller("c")
        pid = runtime.spawn(caller)
        await runtime.settle()
        assert await caller.dispatch(pid, lambda a, *, b: (a, b), 1, b=2) == (1, 2)
