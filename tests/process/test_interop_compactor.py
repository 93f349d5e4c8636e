"""Messages both ways with an independent implementation: the pure-Python `compactor` 0.3.0.

It runs in a process of its own (threads, an old tornado), told what to do by lines on its standard
input. How it differs from libprocess: actor-runtime.md §18. Where it is not installed, its exact
bytes are spoken by raw sockets in `test_the_bytes_of_compactor_...`, which always runs.
"""

import asyncio
import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from actorproc import PID, Process, Runtime, TcpTransport
from tests.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
needs_compactor = pytest.mark.skipif(
    importlib.util.find_spec("compactor") is None, reason="compactor is not installed"
)

PROGRAM = """
import sys
from compactor.context import Context
from compactor.pid import PID
from compactor.process import Process

def say(*words):
    print(*words, flush=True)

class Peer(Process):
    @Process.install("ask")
    def ask(self, sender, body):
        self.send(sender, "answer", body[::-1])

    @Process.install("tell")
    def tell(self, sender, body):
        say("told", sender, len(body))

    def exited(self, pid):
        say("exited", pid)

context = Context(ip="127.0.0.1", port=0)
context.start()
peer = Peer("peer(1)")
say(context.spawn(peer))
for line in sys.stdin:
    verb, to, *rest = line.split()
    if verb == "send":
        name, count = rest[0], int(rest[1])
        for number in range(count):
            peer.send(PID.from_string(to), name, b"%d" % number)
    elif verb == "empty":
        peer.send(PID.from_string(to), rest[0])
    elif verb == "link":
        peer.link(PID.from_string(to))
"""


class Ours(Process):
    """Writes down what it gets; answers `ask`."""

    def __init__(self):
        super().__init__("ours")
        self.got = []
        self.exits = []

    def initialize(self):
        self.install("answer", lambda sender, body: self.got.append((sender, body)))
        self.install("number", lambda sender, body: self.got.append((sender, body)))
        self.install("ask", lambda sender, body: self.send(sender, "tell", body))

    def exited(self, pid):
        self.exits.append(pid)


class Peer:
    """The other process."""

    def __init__(self, process):
        self.process = process
        self.pid = PID.EMPTY

    async def hear(self):
        """The next line that it says."""
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode().strip()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")


@pytest_asyncio.fixture
async def peer():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PROGRAM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    peer = Peer(process)
    try:
        peer.pid = PID.parse(await peer.hear())
        yield peer
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        await process.wait()


@pytest_asyncio.fixture
async def runtime():
    async with Runtime(TcpTransport()) as runtime:
        yield runtime


@pytest_asyncio.fixture
async def ours(runtime):
    ours = Ours()
    runtime.spawn(ours)
    await runtime.settle()
    return ours


@needs_compactor
async def test_ours_asks_and_compactor_answers(runtime, ours, peer):
    for number in range(100):
        runtime.post(peer.pid, "ask", b"%03d" % number, sender=ours.pid)
    await until(lambda: len(ours.got) == 100, "a hundred answers", DEADLINE_S)
    assert ours.got == [(peer.pid, (b"%03d" % number)[::-1]) for number in range(100)]


@needs_compactor
async def test_compactor_asks_and_ours_answers(ours, peer):
    peer.tell("send", ours.pid, "ask", 1)
    assert await peer.hear() == f"told {ours.pid} 1"
    peer.tell("empty", ours.pid, "ask")
    assert await peer.hear() == f"told {ours.pid} 0"


@needs_compactor
async def test_a_burst_of_compactor_arrives_in_order(ours, peer):
    peer.tell("send", ours.pid, "number", 2000)
    await until(lambda: len(ours.got) == 2000, "2,000 messages", DEADLINE_S)
    assert ours.got == [(peer.pid, b"%d" % number) for number in range(2000)]


@needs_compactor
async def test_our_large_body_arrives_in_compactor(runtime, ours, peer):
    runtime.post(peer.pid, "tell", b"x" * 1_000_000, sender=ours.pid)
    assert await peer.hear() == f"told {ours.pid} 1000000"


@needs_compactor
async def test_ours_hears_of_the_end_of_compactor(runtime, ours, peer):
    await runtime.dispatch(ours.pid, ours.link, peer.pid)
    runtime.post(peer.pid, "ask", b"ab", sender=ours.pid)
    await until(lambda: ours.got, "an answer over the link", DEADLINE_S)
    assert ours.exits == []
    peer.process.kill()
    await until(lambda: ours.exits, "the end of the peer", DEADLINE_S)
    assert ours.exits == [peer.pid]


@needs_compactor
async def test_compactor_hears_of_our_end_and_its_idle_link_stays_open(peer):
    transport = TcpTransport()
    async with Runtime(transport) as runtime:
        ours = Ours()
        pid = runtime.spawn(ours)
        peer.tell("link", pid)
        peer.tell("send", pid, "ask", 1)
        assert await peer.hear() == f"told {pid} 1"
        # A link and a connection of its own for messages may be one or two: both stay open.
        assert transport._inbound
    assert await peer.hear() == f"exited {pid}"


async def test_the_bytes_of_compactor_are_taken_and_its_many_connections_stay(runtime, ours):
    """§18: HTTP/1.0, Keep-Alive, Content-Length always, one sender header, no Host."""
    connections = [await asyncio.open_connection(*runtime.address) for _ in range(20)]
    for number, (_, writer) in enumerate(connections):
        agent = (
            b"User-Agent: libprocess/c@127.0.0.1:9"
            if number % 2
            else b"Libprocess-From: c@127.0.0.1:9"
        )
        for body in (b"", b"hello"):
            writer.write(
                b"POST /ours/number HTTP/1.0\r\nConnection: Keep-Alive\r\n"
                b"Content-Length: %d\r\n%b\r\n\r\n%b" % (len(body), agent, body)
            )
    sender = PID("c", "127.0.0.1", 9)
    await until(lambda: len(ours.got) == 40, "forty messages")
    assert ours.got.count((sender, b"")) == ours.got.count((sender, b"hello")) == 20
    for reader, writer in connections:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(2):
                assert b"202 Accepted" in await reader.readuntil(b"\r\n\r\n")
        assert not reader.at_eof()
        writer.close()
