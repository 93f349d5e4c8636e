"""The listening side of TCP, spoken to by raw sockets. Source: actor-runtime.md §1.3-1.10, 2.1."""

import asyncio
import gzip
import re
import socket

import pytest
import pytest_asyncio

from actorproc import PID, Process, Reason, TcpLimits
from actorproc.core.wire import encode_message
from tests.runtime.raw import (
    AGENT,
    FROM,
    RawPeer,
    connected,
    get,
    post,
    read_answer,
    read_answers,
    read_to_end,
    reset_on_close,
)
from tests.runtime.support import Collector, eventually, over_tcp, within
from tests.unit.actorproc.sink import chunked

pytestmark = pytest.mark.asyncio

CLIENT = PID("client", "127.0.0.1", 5051)
ACCEPTED = re.compile(
    rb"HTTP/1\.1 202 Accepted\r\n"
    rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n"
    rb"Content-Length: 0\r\n\r\n"
)


class Server(Collector):
    """Takes messages, and answers a GET for /slow when told to."""

    def __init__(self, id="server"):
        super().__init__(id)
        self.may_answer = asyncio.Event()

    def initialize(self):
        super().initialize()
        self.route("/slow", self.slow)
        self.route("/fast", self.fast)

    async def slow(self, request):
        from aiohttp import web

        await self.may_answer.wait()
        return web.Response(text="slow")

    async def fast(self, request):
        from aiohttp import web

        return web.Response(text="fast")


@pytest_asyncio.fixture
async def runtime():
    async with over_tcp(TcpLimits(message_bytes_max=1024 * 1024)) as runtime:
        yield runtime


@pytest_asyncio.fixture
async def server(runtime):
    server = Server()
    runtime.spawn(server)
    await runtime.settle()
    return server


def message(runtime, body=b"", *, id="server", name="m"):
    """As libprocess sends it."""
    return encode_message(CLIENT, PID(id, *runtime.address), name, body)


# Messages and their answers.


async def test_018_a_raw_message_is_handled_and_answered_202_exactly(runtime, server):
    async with connected(runtime) as (reader, writer):
        writer.write(message(runtime, b"hello"))
        assert ACCEPTED.fullmatch(await within(reader.readuntil(b"\r\n\r\n")))
    assert server.messages == [("m", CLIENT, b"hello")]


@pytest.mark.parametrize("headers", [FROM, AGENT, AGENT + FROM], ids=["from", "agent", "both"])
async def test_019_each_kind_of_sender_is_answered(runtime, server, headers):
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"x", headers=headers))
        assert (await read_answer(reader)).status == 202
    assert server.messages == [("m", PID("raw", "127.0.0.1", 1), b"x")]


async def test_who_waits_for_the_answer_gets_it_at_once_and_libprocess_at_the_end(
    runtime, server, monkeypatch
):
    monkeypatch.setattr("actorproc.transport.inbound.QUIET_S", 3600.0)
    async with connected(runtime) as (reader, writer):
        writer.write(message(runtime, b"1") * 3)
        await eventually(lambda: len(server.messages) == 3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.write(post("/server/m", b"2"))
        assert [answer.status for answer in await read_answers(reader, 4)] == [202] * 4
        writer.write(message(runtime, b"3") * 2)
        writer.write_eof()
        assert [answer.status for answer in await read_answers(reader, 2)] == [202] * 2
        assert await read_answer(reader) is None


async def test_020_an_answer_to_a_sender_without_id(runtime):
    class Replying(Process):
        def initialize(self):
            self.install("ask", lambda sender, body: self.send(sender, "reply", body))

    runtime.spawn(Replying("replying"))
    async with RawPeer() as peer:
        async with connected(runtime) as (reader, writer):
            writer.write(
                post("/replying/ask", b"x", headers=f"Libprocess-From: @{peer.address}\r\n")
            )
            assert (await read_answer(reader)).status == 202
        [connection] = await peer.wait_connections(1)
        await eventually(lambda: connection.data.endswith(b"0\r\n\r\n"))
        assert connection.data.startswith(b"POST /reply HTTP/1.1\r\n")


async def test_021_a_percent_encoded_id_is_reached_by_message_and_get(runtime):
    server = Server("id(42)")
    runtime.spawn(server)
    async with connected(runtime) as (reader, writer):
        writer.write(post("/id%2842%29/m", b"x") + get("/id%2842%29/fast"))
        assert [answer.status for answer in await read_answers(reader, 2)] == [202, 200]
    assert server.bodies == [b"x"]


async def test_033_unknown_id_is_404_unknown_name_is_202_and_the_connection_stays(runtime, server):
    async with connected(runtime) as (reader, writer):
        writer.write(post("/nobody/m", b"x"))
        answer = await read_answer(reader)
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert answer.body == b"404 Not Found."
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert len(answer.body) == 14
        writer.write(post("/server/unknown"))
        assert (await read_answer(reader)).status == 202
        writer.write(post("/server/m", b"y"))
        assert (await read_answer(reader)).status == 202
    assert server.bodies == [b"y"]
    counts = runtime.dead_letters.counts
    assert (counts[Reason.NO_PROCESS], counts[Reason.NO_HANDLER]) == (1, 1)


@pytest.mark.parametrize("sender", ["nonsense", "", "a@999999:1", "a b@127.0.0.1:1", "server@self"])
async def test_034_a_malformed_or_impossible_sender_is_answered_and_a_reply_ends_nobody(
    runtime, sender
):
    class Replying(Collector):
        def collect(self, name, sender, body):
            super().collect(name, sender, body)
            self.send(sender, "reply", b"")
            self.link(sender)

    replying = Replying("server")
    pid = runtime.spawn(replying)
    sender = str(pid) if sender == "server@self" else sender
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"x", headers=f"Libprocess-From: {sender}\r\n") * 2)
        assert [answer.status for answer in await read_answers(reader, 2)] == [202, 202]
    assert replying.bodies == [b"x", b"x"]
    assert await runtime.wait(pid, 0) is False
    assert "finalize" not in replying.story


REFUSED_IN_TURN = {  # the connection lives on
    "bad escape": ("/a%zz/m", 500, "malformed % escape in receiver id b'a%zz'"),
    "star": ("*", 400, "request path must begin with '/', not b'*'"),
    "no path": ("http://h:1", 400, "request path must begin with '/', not b'http://h:1'"),
}


@pytest.mark.parametrize("case", REFUSED_IN_TURN)
async def test_a_message_without_an_address_is_refused_in_its_turn(runtime, server, case):
    path, status, text = REFUSED_IN_TURN[case]
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"1") + post(path, b"x") + post("/server/m", b"2"))
        answers = await read_answers(reader, 3)
    assert [answer.status for answer in answers] == [202, status, 202]
    assert answers[1].body.decode() == text
    assert server.bodies == [b"1", b"2"]


CHUNKED = FROM + "Transfer-Encoding: chunked\r\n"
REFUSED = {  # and closed
    "trailer": (CHUNKED, b"1\r\nx\r\n0\r\nT: x\r\n\r\n", 500, "failed to decode body"),
    "chunk size": (CHUNKED, b"zz\r\n", 400, "chunk size: b'zz' is not a hexadecimal number"),
    "gzip": (CHUNKED + "Content-Encoding: gzip\r\n", chunked(b"xyz"), 500, "failed to decode body"),
    "chunk above the limit": (CHUNKED, b"100001\r\n", 413, "body is larger than 1048576 bytes"),
    "announced above the limit": (FROM + "Content-Length: 1048577\r\n", b"", 413, "body is larger"),
    "gzip bomb": (
        CHUNKED + "Content-Encoding: gzip\r\n",
        chunked(gzip.compress(bytes(1024 * 1024 + 1))),
        413,
        "body is larger than 1048576 bytes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_body_that_cannot_be_read_is_refused_and_the_connection_closed(
    runtime, server, case
):
    headers, body, status, text = REFUSED[case]
    async with connected(runtime) as (reader, writer):
        writer.write(message(runtime, b"before"))
        writer.write(f"POST /server/m HTTP/1.1\r\n{headers}\r\n".encode() + body)
        answers = await read_answers(reader, 2)
        assert [answer.status for answer in answers] == [202, status]
        assert answers[1].body.decode().startswith(text)
        writer.write(message(runtime, b"after"))
        assert await read_answer(reader) is None
    assert server.bodies == [b"before"]
    assert runtime._transport.counters.refused_connections == 1


async def test_the_answer_413_reaches_a_client_that_is_still_sending(runtime, server):
    def send():
        with socket.create_connection(runtime.address) as client:
            client.settimeout(10)
            client.sendall(
                f"POST /server/m HTTP/1.1\r\n{FROM}Content-Length: 8000000\r\n\r\n".encode()
            )
            for _ in range(8):
                client.sendall(b"x" * 1_000_000)
            return client.recv(1000)

    assert (await asyncio.to_thread(send)).startswith(b"HTTP/1.1 413 ")


CLOSED_IN_SILENCE = {
    "not http": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "045 headers of 90 kB": post("/server/m", headers=FROM + "X: " + "x" * 90_000 + "\r\n"),
    "90 kB without an end": b"POST /server/m HTTP/1.1\r\nX: " + b"x" * 90_000,
    "bad query escape": post("/server/m?a=%zz"),
    "header without colon": b"POST /server/m HTTP/1.1\r\nfoo\r\n\r\n",
}


@pytest.mark.parametrize("case", CLOSED_IN_SILENCE)
async def test_what_is_not_http_is_closed_with_nothing_written(runtime, server, case):
    async with connected(runtime) as (reader, writer):
        writer.write(CLOSED_IN_SILENCE[case])
        assert await read_to_end(reader) == b""
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"others are served"))
        assert (await read_answer(reader)).status == 202


async def test_045_headers_of_70_kb_are_accepted(runtime, server):
    headers = FROM + "".join(f"X-{number}: {'x' * 990}\r\n" for number in range(70))
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"x", headers=headers))
        assert (await read_answer(reader)).status == 202
    assert server.bodies == [b"x"]


async def test_expect_continue_gets_no_interim_answer(runtime, server):
    async with connected(runtime) as (reader, writer):
        headers = FROM + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        writer.write(f"POST /server/m HTTP/1.1\r\n{headers}".encode())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.write(b"x")
        assert (await read_answer(reader)).status == 202


# How connections end.


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive\r\n", True),
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
    ],
)
@pytest.mark.parametrize("sender", [FROM, AGENT], ids=["from", "agent"])
async def test_036_keep_alive(runtime, server, version, connection, stays, sender):
    one = post("/server/m", b"1", headers=sender + connection, version=version)
    async with connected(runtime) as (reader, writer):
        writer.write(one + one)
        assert (await read_answer(reader)).status == 202
        if stays:
            assert (await read_answer(reader)).status == 202
            writer.write(one)
            assert (await read_answer(reader)).status == 202
            assert len(server.messages) == 3
        else:
            assert await read_answer(reader) is None
            assert len(server.messages) == 1  # what follows a close is not served


async def test_035_three_in_one_segment_then_close(runtime, server):
    async with connected(runtime) as (_, writer):
        writer.write(b"".join(message(runtime, b"%d" % number) for number in range(3)))
    await eventually(lambda: len(server.messages) == 3)
    assert server.bodies == [b"0", b"1", b"2"]


async def test_035_fifty_then_half_close(runtime, server):
    async with connected(runtime) as (reader, writer):
        writer.write(b"".join(message(runtime, b"%d" % number) for number in range(50)))
        writer.write_eof()
        assert len(ACCEPTED.findall(await read_to_end(reader))) == 50
    assert server.bodies == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("end", ["close", "shutdown"])
@pytest.mark.parametrize("count", [2, 500, 20_000])
async def test_bursts_of_a_sender_that_never_reads_an_answer_arrive_whole(
    runtime, server, count, end
):
    def burst():
        with socket.create_connection(runtime.address) as sender:
            sender.settimeout(20)
            sender.sendall(b"".join(message(runtime, b"%d" % number) for number in range(count)))
            if end == "shutdown":
                sender.shutdown(socket.SHUT_WR)
                while sender.recv(65536):
                    pass

    await asyncio.to_thread(burst)
    await eventually(lambda: len(server.messages) == count, 20.0)
    assert server.bodies == [b"%d" % number for number in range(count)]


async def test_bursts_of_many_connections_that_close_at_once(runtime, server):
    def burst(sender):
        for number in range(25):
            with socket.create_connection(runtime.address) as client:
                client.sendall(message(runtime, b"%d/%d" % (sender, number)) * 3)

    await asyncio.gather(*(asyncio.to_thread(burst, sender) for sender in range(4)))
    await eventually(lambda: len(server.messages) == 300)
    assert len(set(server.bodies)) == 100


async def test_a_client_that_does_not_read_is_not_answered_into_memory(runtime, server):
    count = 100_000
    one = post("/server/m", headers=FROM)

    async with connected(runtime) as (reader, writer):
        reader._transport.pause_reading()
        writer.write(one * count)
        await eventually(lambda: len(server.messages) == count, 20.0)
        [inbound] = runtime._transport._inbound
        assert inbound._transport.get_write_buffer_size() < 1_000_000
        reader._transport.resume_reading()
        writer.write_eof()
        assert len(ACCEPTED.findall(await read_to_end(reader))) == count


async def test_an_idle_inbound_connection_stays_open(runtime, server):
    async with connected(runtime) as (idle_reader, idle_writer):
        for number in range(3):  # other connections come and go meanwhile
            async with connected(runtime) as (reader, writer):
                writer.write(message(runtime, b"%d" % number))
                assert (await read_answer(reader)).status == 202
        assert not idle_reader.at_eof()
        idle_writer.write(message(runtime, b"at last"))
        assert (await read_answer(idle_reader)).status == 202
    assert server.bodies == [b"0", b"1", b"2", b"at last"]


async def test_a_connection_cut_in_the_middle_of_a_message_delivers_what_was_whole(runtime, server):
    for cut in (1, 30, 150, 200):
        async with connected(runtime) as (_, writer):
            writer.write(message(runtime, b"whole") + message(runtime, b"x" * 50)[:cut])
            if cut % 100:
                reset_on_close(writer)
                await writer.drain()
                await eventually(lambda cut=cut: runtime._transport.counters.received > 0)
    await eventually(lambda: not runtime._transport._inbound)
    assert set(server.bodies) == {b"whole"}


# Messages beside ordinary requests.


async def test_037_a_message_behind_a_slow_get_is_handled_at_once_and_answered_after_it(
    runtime, server
):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/server/slow") + post("/server/m", b"x") + get("/server/fast"))
        await eventually(lambda: server.messages)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        server.may_answer.set()
        answers = await read_answers(reader, 3)
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, b"slow"), (202, b""), (200, b"fast"),
    ]  # fmt: skip


async def test_a_refusal_waits_for_the_answers_before_it(runtime, server):
    async with connected(runtime) as (reader, writer):
        writer.write(
            get("/server/slow") + post("/nobody/m") + b"garbage\r\n\r\n" + post("/server/m")
        )
        await eventually(lambda: runtime._transport.counters.refused_connections)
        server.may_answer.set()
        answers = await read_answers(reader, 2)
        assert [answer.status for answer in answers] == [200, 404]
        assert await read_answer(reader) is None
    assert server.messages == []


async def test_031_put_and_get_with_a_sender_are_ordinary_requests(runtime, server):
    async with connected(runtime) as (reader, writer):
        for method in ("PUT", "GET"):
            writer.write(f"{method} /server/m HTTP/1.1\r\n{FROM}Content-Length: 0\r\n\r\n".encode())
            assert (await read_answer(reader)).status == 404
    assert server.messages == []


async def test_a_process_that_ended_is_404_to_a_remote_sender(runtime, server):
    runtime.terminate(server.pid)
    await runtime.settle()
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m") + get("/server/fast"))
        assert [answer.status for answer in await read_answers(reader, 2)] == [404, 404]
