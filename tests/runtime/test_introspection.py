"""Dead letters, process views, slow handlers, stories, headers and death notices."""

import asyncio

import pytest
import pytest_asyncio

from actorproc import (
    PID,
    InProcessNetwork,
    Observer,
    Process,
    ProtocolMisuse,
    Reason,
    Runtime,
    TcpTransport,
    VirtualClock,
    current_headers,
)
from tests.waiting import until

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def runtime():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1), clock=VirtualClock(7)) as it:
        yield it


async def test_dead_letters_name_what_was_lost_and_why(runtime):
    heard = []
    stop = runtime.dead_letters.listen(heard.append)
    pid = runtime.spawn(Process("p"))
    sender = PID("s", "1.2.3.4", 5)
    runtime.post(pid, "unknown", b"x", sender=sender)
    runtime.post(PID("nobody", *pid.address), "m", b"x")
    await runtime.settle()
    letters = list(runtime.dead_letters)
    assert [(letter.reason, letter.to_id, letter.name) for letter in letters] == [
        (Reason.NO_PROCESS, "nobody", "m"),
        (Reason.NO_HANDLER, "p", "unknown"),
    ]
    assert letters[1].sender == sender
    assert letters[1].at_s == 7
    assert heard == letters
    stop()
    runtime.post(pid, "unknown")
    await runtime.settle()
    assert len(heard) == 2
    assert runtime.dead_letters.counts[Reason.NO_HANDLER] == 2


async def test_processes_can_be_inspected(runtime):
    gate = asyncio.Event()
    process = Process("busy")

    async def wait(sender, body):
        await gate.wait()

    process.install("m", wait)
    pid = runtime.spawn(process)
    for _ in range(3):
        runtime.post(pid, "m")
    await runtime.settle()
    (view,) = runtime.inspect()
    assert (view.id, view.state, view.queued, view.is_waiting) == ("busy", "live", 2, True)
    gate.set()


class Chain(Process):
    """Passes a message on."""

    def __init__(self, id, to=None):
        super().__init__(id)
        self.to = to

    def initialize(self):
        self.install("m", self._on_message)

    def _on_message(self, sender, body):
        if self.to is not None:
            self.send(self.to, "m", body)


async def test_the_story_of_a_message_spans_runtimes_and_names_causes():
    async with (
        Runtime(TcpTransport(), observer=(one := Observer())) as first,
        Runtime(TcpTransport(), observer=(two := Observer())) as second,
    ):
        third = second.spawn(Chain("c"))
        middle = second.spawn(Chain("b", third))
        start = first.spawn(Chain("a", middle))
        first.post(start, "m", b"x")
        await until(lambda: len(list(two.slowest_handlers())) == 2, "all are served")
        started = f"{first.address}/1"
        here = [(step.what, step.name, step.receiver) for step in one.story(started)]
        assert here == [
            ("sent", "m", str(start)),
            ("received", "m", str(start)),
            ("sent", "m", str(middle)),
        ]
        passed_on = one.story(started)[-1]
        assert passed_on.cause_id == started
        there = two.story(passed_on.message_id)
        assert [(step.what, step.receiver) for step in there] == [
            ("received", str(middle)),
            ("sent", str(third)),
            ("received", str(third)),
        ]
        assert there[1].cause_id == passed_on.message_id


async def test_handlers_that_hold_the_loop_are_reported(caplog):
    ticks = iter(range(1000))
    observer = Observer(slow_handler_s=0.5, timer_s=lambda: float(next(ticks)))
    network = InProcessNetwork()
    async with Runtime(network.transport("10.0.0.1", 1), observer=observer) as runtime:
        pid = runtime.spawn(Chain("slow"))
        runtime.post(pid, "m")
        await runtime.settle()
    assert "slow@10.0.0.1:1 held the event loop for 1000.0 ms serving m" in caplog.text
    (times,) = observer.slowest_handlers()
    assert (times.process_id, times.name, times.count, times.longest_s) == ("slow", "m", 1, 1.0)


@pytest.mark.parametrize("kind", ["tcp", "in-process", "local"])
async def test_headers_travel_with_a_message(kind):
    network = InProcessNetwork()
    if kind == "tcp":
        transports = (TcpTransport(), TcpTransport())
    else:
        transports = (network.transport("10.0.0.1", 1), network.transport("10.0.0.2", 1))
    seen = []
    async with Runtime(transports[0]) as one, Runtime(transports[1]) as two:
        process = Process("p")
        process.install("m", lambda sender, body: seen.append((body, current_headers.get())))
        pid = (one if kind == "local" else two).spawn(process)
        headers = {"traceparent": "00-aa-bb-01", "actorproc-request": "r 1"}
        one.post(pid, "m", b"1", headers=headers)
        one.post(pid, "m", b"2")
        one.post(pid, "m", b"", headers={"actorproc-deadline": "5"})
        await until(lambda: len(seen) == 3, "all arrive")
    assert seen == [(b"1", headers), (b"2", None), (b"", {"actorproc-deadline": "5"})]
    assert current_headers.get() is None


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        ({"host": "x"}, "travel with messages"),
        ({"actorproc-a": "line\r\nbreak"}, "printable ASCII"),
        ({"actorproc-ä": "x"}, "travel with messages"),
        ({"actorproc-a": "x" * 2000}, "printable ASCII"),
        ({f"actorproc-{n}": "x" for n in range(17)}, "more than 16 headers"),
    ],
)
async def test_headers_that_cannot_travel_are_refused(headers, rule):
    async with Runtime(TcpTransport()) as runtime:
        with pytest.raises(ProtocolMisuse, match=rule):
            runtime.post(PID("x", "127.0.0.1", 9), "m", b"", headers=headers)


class Linker(Process):
    def __init__(self):
        super().__init__("linker")
        self.exits = []

    def exited(self, pid):
        self.exits.append(pid)


@pytest.mark.parametrize("kind", ["tcp", "in-process"])
async def test_death_notices_tell_of_the_end_of_one_remote_process(kind):
    network = InProcessNetwork()
    if kind == "tcp":
        transports = (TcpTransport(), TcpTransport())
    else:
        transports = (network.transport("10.0.0.1", 1), network.transport("10.0.0.2", 1))
    async with (
        Runtime(transports[0], death_notices=True) as one,
        Runtime(transports[1], death_notices=True) as two,
    ):
        mortal, other = two.spawn(Process("mortal")), two.spawn(Process("other"))
        unknown = PID("unknown", *two.address)
        linker = Linker()
        one.spawn(linker)
        await one.settle()
        for pid in (mortal, other, unknown):
            linker.link(pid)
        await until(lambda: linker.exits == [unknown], "an unknown process is told of at once")
        two.terminate(mortal)
        await until(lambda: linker.exits == [unknown, mortal], "its end is told")
    assert linker.exits.count(mortal) == 1


async def test_without_the_extension_at_the_peer_nothing_changes():
    async with Runtime(TcpTransport(), death_notices=True) as one:
        linker = Linker()
        one.spawn(linker)
        await one.settle()
        async with Runtime(TcpTransport()) as two:
            mortal = two.spawn(Process("mortal"))
            linker.link(mortal)
            await until(lambda: two.dead_letters.counts[Reason.NO_PROCESS] == 1, "asked in vain")
            two.terminate(mortal)
            await two.settle()
            assert linker.exits == []
        await until(lambda: linker.exits == [mortal], "the end of its runtime is heard")
