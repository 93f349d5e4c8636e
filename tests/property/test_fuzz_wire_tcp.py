"""The corpus over a real TCP runtime: it answers as written, lives on, leaks nothing."""

import asyncio
import contextlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from actorproc import Process, Runtime, TcpLimits, TcpTransport
from actorproc.core.wire import HeadMemory, RequestReader
from actorproc.errors import PeerProtocolError
from actorproc.transport.hardened import HardenedLimits
from actorproc.transport.tls import TlsSettings
from tests.property.test_fuzz_wire import CORPUS, SHORT, mutated, split
from tests.unit.actorproc.sink import LIMIT
from tests.waiting import until

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) [A-Z]")
PROBE = (
    b"POST /server/m HTTP/1.1\r\nLibprocess-From: probe@127.0.0.1:1\r\nConnection: close\r\n\r\n"
)
ANSWER_S = 20.0


class Server(Process):
    """Writes down what it gets for `m`."""

    def __init__(self):
        super().__init__("server")
        self.bodies = []

    def initialize(self):
        self.install("m", lambda sender, body: self.bodies.append(body))


class World:
    """A runtime on a loop of its own, through all the cases or examples of one test."""

    def __init__(self, new_loop, *, ssl=None, hardened=False):
        self._runner = asyncio.Runner(loop_factory=new_loop)
        self._ssl = ssl
        self.limits = TcpLimits(
            message_bytes_max=LIMIT,
            hardened=hardened,
            hardened_limits=HardenedLimits(connections_per_ip_max=10_000),
        )
        self.failures = []  # of callbacks and tasks that nobody awaits

    def __enter__(self):
        self._runner.__enter__()
        self._runner.get_loop().set_exception_handler(
            lambda _, context: self.failures.append(context["message"])
        )
        self._runner.run(self._start())
        return self

    async def _start(self):
        self.transport = TcpTransport(ssl=self._ssl, limits=self.limits)
        self.runtime = Runtime(self.transport)
        await self.runtime.start()
        self.server = Server()
        self.runtime.spawn(self.server)
        await self.say([b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"])  # HTTP is up
        await self._until_quiet()
        self._descriptors = descriptors()
        self._tasks = len(asyncio.all_tasks())

    def __exit__(self, *exc):
        try:
            if exc[0] is None:
                self._runner.run(self._check())
                assert self.failures == []
            self._runner.run(self.runtime.stop())
        finally:
            self._runner.__exit__(*exc)

    async def _check(self):
        """The runtime lives, and everything that came is gone."""
        assert await self.say([PROBE]) == [202]
        await self._until_quiet()
        await until(lambda: descriptors() <= self._descriptors, "descriptors are closed")
        await until(lambda: len(asyncio.all_tasks()) <= self._tasks, "tasks have ended")

    async def _until_quiet(self):
        await until(lambda: not self.transport._inbound, "connections are closed")

    def run(self, coroutine):
        return self._runner.run(coroutine)

    async def say(self, pieces):
        """Send pieces, read apart if that can be, then end; returns the statuses answered."""
        self.server.bodies.clear()
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(*self.runtime.address, limit=2**22)
            try:
                with contextlib.suppress(ConnectionError):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)
                    if writer.can_write_eof():
                        writer.write_eof()
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = await reader.read()
            finally:
                writer.transport.abort()
        await self.runtime.settle()
        return [int(status) for status in STATUS.findall(data)]


def descriptors():
    return set(os.listdir("/proc/self/fd"))


@dataclass
class Wanted:
    """`statuses`: None for the answer of an ordinary request, which aiohttp decides."""

    statuses: list = field(default_factory=list)
    bodies: list = field(default_factory=list)
    has_requests: bool = False


class Oracle:
    """What a connection must come to, from the reader alone."""

    def __init__(self, data):
        self.wanted = Wanted()
        self._reader = RequestReader(self, HeadMemory(), LIMIT)
        try:
            self._reader.feed(data)
        except PeerProtocolError as error:
            if error.status is not None:
                self.wanted.statuses.append(error.status)

    def on_message(self, head, body):
        if head.refused is not None:
            self.wanted.statuses.append(head.refused[0])
        else:
            self.wanted.statuses.append(202 if head.to_id == "server" else 404)
            if (head.to_id, head.name) == ("server", "m"):
                self.wanted.bodies.append(body)
        if not head.keep_alive:
            self._reader.stop()

    def on_request(self, head):
        self.wanted.has_requests = True
        self._head = head

    def on_request_bytes(self, data):
        pass

    def on_request_end(self):
        self.wanted.statuses.append(None)
        if not self._head.keep_alive:
            self._reader.stop()


def wanted_of(case):
    """The same from the text of the corpus."""
    wanted = Wanted()
    following = [*case.outcomes[1:], ("end of case",)]
    for outcome, next_one in zip(case.outcomes, following, strict=True):
        match outcome:
            case ("message", id, name, _, body):
                wanted.statuses.append(202 if id == "server" else 404)
                if (id, name) == ("server", "m"):
                    wanted.bodies.append(body)
            case ("misaddressed" | "refused", status):
                wanted.statuses.append(status)
            case ("request", _):
                wanted.has_requests = True
                if next_one[0] not in ("refused", "waits"):  # else it is cut off
                    wanted.statuses.append(None)
            case ("ends",):
                break
    return wanted


def agree(got, wanted):
    return len(got) == len(wanted) and all(
        want is None or have == want for have, want in zip(got, wanted, strict=True)
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_the_corpus_is_answered_as_written(loop):
    with World(LOOPS[loop]) as world:
        for case in CORPUS:
            wanted = wanted_of(case)
            for pieces in ([case.data], split(case.data, [7, 61, 149])):
                got = world.run(world.say(pieces))
                assert agree(got, wanted.statuses), (case.name, got, wanted.statuses)
                assert world.server.bodies == wanted.bodies, case.name


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("hardened", [False, True])
def test_mutated_streams_are_answered_as_the_reader_says_and_never_end_the_runtime(loop, hardened):
    pieces = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\r\n", b"\n", b"0"]))
    kinds = st.sampled_from(["replace", "insert", "delete", "copy"])

    @settings(max_examples=150)
    @given(
        st.lists(st.sampled_from(SHORT), min_size=1, max_size=4).map(b"".join),
        st.lists(st.tuples(kinds, st.integers(0), pieces), max_size=4),
        st.lists(st.integers(0, 4000), max_size=3),
    )
    def fuzz(data, mutations, cuts):
        data = mutated(data, mutations)
        got = world.run(world.say(split(data, cuts)))
        wanted = Oracle(data).wanted
        if wanted.has_requests or hardened:
            # The answer of a request may close the connection before what follows was read.
            assert world.server.bodies == wanted.bodies[: len(world.server.bodies)]
        else:
            assert agree(got, wanted.statuses)
            assert world.server.bodies == wanted.bodies
        assert not world.failures

    with World(LOOPS[loop], hardened=hardened) as world:
        fuzz()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("downgrade", [False, True])
def test_any_bytes_on_a_tls_port_never_end_the_runtime(loop, downgrade):
    greeting = b"\x16\x03\x01\x00\x10\x01\x00\x00\x0c\x03\x03"

    @settings(max_examples=60)
    @given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(greeting.__add__)))
    def fuzz(data):
        world.run(world.say([data]))
        assert not world.failures

    with tempfile.TemporaryDirectory() as folder:
        issued = trustme.CA().issue_cert("127.0.0.1")
        cert, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        ssl = TlsSettings(cert_file=cert, key_file=key, support_downgrade=downgrade)
        with PlainlyProbed(LOOPS[loop], ssl=ssl) as world:
            fuzz()


class PlainlyProbed(World):
    """A world whose port speaks TLS: it is probed with a handshake that fails."""

    async def _check(self):
        assert isinstance(await self.say([b"\x16\x03\x01\x00\x00\x01"]), list)
        await self._until_quiet()
        await until(lambda: descriptors() <= self._descriptors, "descriptors are closed")

    async def _until_quiet(self):
        await super()._until_quiet()
        listener = self.transport._tls_listener
        await until(lambda: not listener._welcoming, "handshakes have ended")
