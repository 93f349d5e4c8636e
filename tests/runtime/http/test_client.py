"""The HTTP client. Source: actor-runtime.md §9, behaviours 93, 100, 102, 103, 111."""

import asyncio
import contextlib
import gc
import gzip
import ssl

import pytest
import pytest_asyncio
import trustme
from aiohttp import web

from actorproc import Process, ProtocolMisuse, VirtualClock
from actorproc.http import (
    BrokenConnection,
    BrokenPipe,
    Client,
    ClientLimits,
    ClosedConnection,
    InvalidHttpText,
    Pipe,
    PipeResponse,
    Request,
    ResponseTimeout,
    Url,
    connect,
    encode,
    get,
    post,
    request,
    request_delete,
)
from tests.runtime.raw import RawPeer
from tests.runtime.support import eventually, over_tcp, within

pytestmark = pytest.mark.asyncio


class Waiting(Process):
    """Answers when it is told to."""

    def __init__(self, id):
        super().__init__(id)
        self.begun = []
        self.gates = {}
        self.pipes = []
        self.pieces = []

    def initialize(self):
        self.route("/wait/{gate}", self.wait)
        self.route("/echo", self.echo, methods=("POST", "PUT", "DELETE"))
        self.route("/pieces", self.read_pieces, methods=("POST",), stream=True)
        self.route("/pipe", self.pipe)
        self.route("/close", self.close)
        self.route("/gzip", self.gzip)

    async def wait(self, request):
        gate = request.match_info["gate"]
        self.begun.append(gate)
        await self.gates.setdefault(gate, asyncio.Event()).wait()
        return web.Response(text=gate)

    def open(self, gate):
        self.gates.setdefault(gate, asyncio.Event()).set()

    async def echo(self, request):
        headers = {
            "X-Type": request.headers.get("Content-Type", "none"),
            "X-Length": request.headers.get("Content-Length", "none"),
            "X-Connection": request.headers.get("Connection", "none"),
            "X-Query": str(dict(request.query)),
            "X-Path": request.rel_url.raw_path,
        }
        return web.Response(body=await request.read(), headers=headers)

    async def read_pieces(self, request):
        async for piece in request.content.iter_any():
            self.pieces.append(piece)
        return web.Response(body=b"".join(self.pieces))

    async def pipe(self, request):
        self.pipes.append(Pipe())
        return PipeResponse(self.pipes[-1].reader)

    async def close(self, request):
        return web.Response(text="bye", headers={"Connection": "close"})

    async def gzip(self, request):
        return web.Response(body=gzip.compress(b"x" * 100), headers={"Content-Encoding": "gzip"})


@pytest_asyncio.fixture
async def runtime():
    async with over_tcp() as runtime:
        yield runtime


@pytest_asyncio.fixture
async def one(runtime):
    process = Waiting("one")
    runtime.spawn(process)
    return process


@pytest_asyncio.fixture
async def two(runtime):
    process = Waiting("two")
    runtime.spawn(process)
    return process


@pytest.fixture
def base(runtime):
    return f"http://{runtime.address}"


def asking(base, path, **options):
    return Request(url=Url.parse(base + path), **options)


@contextlib.asynccontextmanager
async def answering(*answers, ends=True, **options):
    """A server that answers each connection with the next bytes, whatever it is asked."""
    left = list(answers)
    heads = []
    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        if ends:
            writer.close()
        else:
            await reader.read()
            writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if options else 'http'}://127.0.0.1:{port}", heads
    finally:
        server.close()
        await within(asyncio.gather(*serving))


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


# One-shot requests.


async def test_a_request_byte_by_byte():
    async with answering(SIZED, SIZED) as (base, heads):
        answer = await within(get(f"{base}/a/(b)?k=1%202&d", headers={"X": "y"}))
        assert (answer.status, answer.reason, answer.text) == (200, "OK", "hello")
        answer = await within(post(f"{base}/", "body", "text/plain"))
        await eventually(lambda: len(heads) == 2)
    host = base.removeprefix("http://")
    first, *headers = heads[0].decode().splitlines()
    assert first == "GET /a/(b)?k=1%202&d HTTP/1.1"
    assert sorted(headers) == [
        "",
        "Connection: close",
        "Content-Length: 0",
        f"Host: {host}",
        "X: y",
    ]
    assert heads[1].startswith(b"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n")


async def test_b100_a_type_without_a_body_fails_locally(base, one):
    with pytest.raises(ProtocolMisuse, match="content type needs a body"):
        await post(f"{base}/one/echo", content_type="text/plain")
    answer = await within(post(f"{base}/one/echo", "a body", "text/plain"))
    assert (answer.text, answer.headers["x-type"]) == ("a body", "text/plain")
    answer = await within(post(f"{base}/one/echo", b"", "text/plain"))
    assert (answer.text, answer.headers["X-Length"]) == ("", "0")
    answer = await within(post(f"{base}/one/echo"))
    assert answer.text == ""


async def test_methods_and_the_query(base, one):
    answer = await within(request_delete(f"{base}/one/echo?a=%3D%20&b"))
    assert answer.headers["X-Query"] == "{'a': '= ', 'b': ''}"
    answer = await within(request(asking(base, "/one/echo", method="PUT", body=b"put")))
    assert (answer.text, answer.headers["X-Connection"]) == ("put", "close")
    answer = await within(request(asking(base, "/one/echo/a%2Fb()", method="PUT")))
    assert answer.headers["X-Path"] == "/one/echo/a%2Fb()"


async def test_a_gzip_answer_is_given_plain(base, one):
    assert (await within(get(f"{base}/one/gzip"))).text == "x" * 100
    with pytest.raises(BrokenConnection, match="streamed body must be plain"):
        await within(get(f"{base}/one/gzip", streamed=True))
    limits = ClientLimits(body_bytes_max=99)
    async with Client(limits=limits) as client:
        with pytest.raises(BrokenConnection, match="larger than 99"):
            await within(client.get(f"{base}/one/gzip"))


async def test_a_timeout_on_the_clock_of_the_client(runtime, base, one):
    clock = VirtualClock()
    async with Client(clock=clock) as client:
        waiting = asyncio.create_task(client.get(f"{base}/one/wait/x", timeout_s=30.0))
        await eventually(lambda: one.begun)
        await clock.advance(30.0)
        with pytest.raises(ResponseTimeout, match="30 s"):
            await within(waiting)


async def test_a_server_that_cannot_be_reached():
    async with answering() as (base, _):
        pass
    with pytest.raises(BrokenConnection, match="cannot connect to 127"):
        await within(get(base))


@pytest.mark.parametrize("url", ["nothing", "http://", "http://h:99999/"])
async def test_what_is_no_url(url):
    with pytest.raises(InvalidHttpText):
        await get(url)


async def test_an_unknown_scheme():
    with pytest.raises(ProtocolMisuse, match="must be http, https or http\\+unix"):
        await get("gopher://127.0.0.1:70/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "GET /"},
        {"method": ""},
        {"headers": {"A b": "c"}},
        {"headers": {"A": "b\r\nC: d"}},
        {"headers": {"A": "b\0"}},
    ],
)
async def test_what_cannot_stand_in_a_request(base, one, wrong):
    with pytest.raises(ProtocolMisuse):
        await within(request(asking(base, "/one/echo", **wrong)))


async def test_no_path_splits_the_request(base, one):
    with pytest.raises(ProtocolMisuse, match="no blanks"):
        await within(request(Request(url=Url("http", "127.0.0.1", 1, "/a HTTP/1.1\r\nX: y"))))


async def test_unix_sockets(tmp_path):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SIZED)
        writer.close()

    path = tmp_path / "a socket"
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        answer = await within(get(f"http+unix://{encode(str(path))}/x"))
        assert answer.text == "hello"


async def test_tls():
    authority = trustme.CA()
    there, here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(there)
    async with answering(SIZED, ssl=there) as (base, _):
        with pytest.raises(BrokenConnection, match="certificate verify failed"):
            await within(get(base))
        authority.configure_trust(here)
        async with Client(ssl=here) as client:
            assert (await within(client.get(base))).text == "hello"


# Streams.


async def test_b093_a_streamed_answer_gives_each_write_and_then_the_end(base, one):
    answer = await within(get(f"{base}/one/pipe", streamed=True))
    assert answer.status == 200
    for text in (b"Hello", b" World"):
        one.pipes[0].writer.write(text)
        assert await within(answer.reader.read()) == text
    one.pipes[0].writer.close()
    assert [await within(answer.reader.read()) for _ in range(2)] == [b"", b""]


async def test_b093_a_whole_answer_from_a_pipe(base, one):
    waiting = asyncio.create_task(get(f"{base}/one/pipe"))
    await eventually(lambda: one.pipes)
    for text in (b"Hello", b" World"):
        one.pipes[0].writer.write(text)
    one.pipes[0].writer.close()
    assert (await within(waiting)).body == b"Hello World"


async def test_b093_when_the_writer_fails_the_reader_fails(base, one):
    answer = await within(get(f"{base}/one/pipe", streamed=True))
    one.pipes[0].writer.write(b"half")
    one.pipes[0].writer.fail("no more")
    assert await within(answer.reader.read()) == b"half"
    with pytest.raises(BrokenPipe):
        await within(answer.reader.read())
    waiting = asyncio.create_task(get(f"{base}/one/pipe"))
    await eventually(lambda: len(one.pipes) == 2)
    one.pipes[1].writer.fail("no more")
    with pytest.raises(BrokenConnection):
        await within(waiting)


async def test_b096_closing_the_reader_of_an_answer_reaches_the_writer(base, one):
    answer = await within(get(f"{base}/one/pipe", streamed=True))
    answer.reader.close()
    writer = one.pipes[0].writer
    await eventually(lambda: not writer.write(b"x" * 1000))
    await within(writer.reader_closed)


async def test_a_streamed_answer_that_nobody_reads_holds_the_server_back(base, one):
    connection = await connect(base)
    answer = await within(connection.send(asking(base, "/one/pipe"), streamed=True))
    writer = one.pipes[0].writer
    for _ in range(60):
        writer.write(b"x" * 1_000_000)
    drained = writer.drain()
    await eventually(lambda: not connection._protocol._transport.is_reading())
    assert not drained.done()
    writer.close()
    assert len(await within(answer.reader.read_all())) == 60_000_000


async def test_b104_a_request_body_from_a_pipe(base, one):
    pipe = Pipe()
    waiting = asyncio.create_task(post(f"{base}/one/pieces", pipe.reader))
    for text in (b"one", b"two"):
        pipe.writer.write(text)
        await eventually(lambda text=text: one.pieces[-1:] == [text])
    pipe.writer.close()
    assert (await within(waiting)).text == "onetwo"


async def test_a_request_body_that_fails_ends_the_connection(base, one):
    pipe = Pipe()
    waiting = asyncio.create_task(post(f"{base}/one/pieces", pipe.reader))
    pipe.writer.write(b"one")
    await eventually(lambda: one.pieces)
    pipe.writer.fail("the source is gone")
    with pytest.raises(ClosedConnection, match="the source is gone"):
        await within(waiting)
    await eventually(lambda: not one._tasks)


# Connections.


async def test_b102_serial_requests_on_one_connection(runtime, base, one):
    async with await connect(base) as connection:
        for number in range(3):
            one.open(str(number))
            answer = await within(connection.send(asking(base, f"/one/wait/{number}")))
            assert answer.text == str(number)
            assert len(runtime._transport._inbound) == 1
        assert connection.is_idle


async def test_b102_streamed_answers_on_one_connection(runtime, base, one):
    async with await connect(base) as connection:
        for number in range(2):
            answer = await within(connection.send(asking(base, "/one/pipe"), streamed=True))
            one.pipes[number].writer.write(b"text")
            assert await within(answer.reader.read()) == b"text"
            one.pipes[number].writer.close()
            assert await within(answer.reader.read()) == b""
        assert len(runtime._transport._inbound) == 1


async def test_b102_pipelined_requests_are_answered_in_their_order(base, one, two):
    async with await connect(base) as connection:
        answers = [
            connection.send(asking(base, path))
            for path in ("/one/wait/1", "/two/wait/2", "/one/wait/3")
        ]
        await eventually(lambda: one.begun == ["1", "3"] and two.begun == ["2"])
        order = []
        for number, answer in enumerate(answers, 1):
            answer.add_done_callback(lambda _, number=number: order.append(number))
        one.open("3")
        two.open("2")
        await one.runtime.settle()
        assert order == []
        one.open("1")
        assert [each.text for each in await within(asyncio.gather(*answers))] == ["1", "2", "3"]
        assert order == [1, 2, 3]


async def test_b102_a_body_in_pieces_keeps_its_place(base, one):
    pipe = Pipe()
    one.open("x")
    async with await connect(base) as connection:
        first = connection.send(asking(base, "/one/pieces", method="POST", body=pipe.reader))
        second = connection.send(asking(base, "/one/wait/x"))
        pipe.writer.write(b"slowly")
        await eventually(lambda: one.pieces)
        assert one.begun == []
        pipe.writer.close()
        assert (await within(first)).text == "slowly"
        assert (await within(second)).text == "x"


async def test_b103_after_the_last_request_nothing_can_be_sent(base, one):
    connection = await connect(base)
    first = connection.send(asking(base, "/one/wait/1"))
    last = connection.send(asking(base, "/one/wait/2", keep_alive=False))
    late = connection.send(asking(base, "/one/wait/3"))
    with pytest.raises(ClosedConnection, match="was the last"):
        await within(late)
    assert not connection.is_usable
    one.open("1")
    one.open("2")
    assert (await within(first)).text == "1"
    assert (await within(last)).text == "2"
    await within(connection.disconnected)


async def test_b103_an_answer_that_closes_fails_the_ones_behind_it(base, one):
    connection = await connect(base)
    answers = [connection.send(asking(base, path)) for path in ("/one/close", "/one/wait/x")]
    assert (await within(answers[0])).text == "bye"
    with pytest.raises(BrokenConnection, match="closes"):
        await within(answers[1])
    await within(connection.disconnected)
    with pytest.raises(BrokenConnection):
        await within(connection.send(asking(base, "/one/wait/x")))


async def test_b103_nothing_is_sent_behind_an_answer_that_closes():
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with answering(head, ends=False) as (base, heads):
        connection = await connect(base)
        await within(connection.send(asking(base, "/"), streamed=True))
        assert not connection.is_usable
        with pytest.raises(ClosedConnection, match="the last"):
            await within(connection.send(asking(base, "/")))
        assert len(heads) == 1
        connection.disconnect()


async def test_b103_disconnecting_fails_what_is_outstanding(base, one):
    connection = await connect(base)
    answer = connection.send(asking(base, "/one/wait/x"))
    await eventually(lambda: one.begun)
    connection.disconnect()
    with pytest.raises(ClosedConnection):
        await within(answer)
    await within(connection.disconnected)


async def test_b103_dropping_the_last_reference_disconnects(runtime, base, one):
    connection = await connect(base)
    one.open("x")
    answer = await within(connection.send(asking(base, "/one/wait/x")))
    disconnected = connection.disconnected
    assert not disconnected.done()
    del connection
    gc.collect()
    await within(disconnected)
    await eventually(lambda: not runtime._transport._inbound)
    assert answer.text == "x"


async def test_b103_but_not_while_an_answer_is_outstanding(base, one):
    connection = await connect(base)
    answer = connection.send(asking(base, "/one/wait/x"))
    del connection
    gc.collect()
    await eventually(lambda: one.begun)
    one.open("x")
    assert (await within(answer)).text == "x"


async def test_an_answer_that_nobody_waits_for_keeps_its_place(base, one):
    async with await connect(base) as connection:
        answers = [connection.send(asking(base, f"/one/wait/{number}")) for number in "12"]
        await eventually(lambda: one.begun == ["1", "2"])
        answers[0].cancel()
        one.open("1")
        one.open("2")
        assert (await within(answers[1])).text == "2"


async def test_pipelined_requests_have_a_limit(base, one):
    async with await connect(base, limits=ClientLimits(pipelined_max=2)) as connection:
        answers = [connection.send(asking(base, "/one/wait/x")) for _ in range(3)]
        with pytest.raises(ClosedConnection, match="2 requests wait"):
            await within(answers[2])
        one.open("x")
        assert [(await within(each)).text for each in answers[:2]] == ["x", "x"]


async def test_connecting_has_a_limit():
    clock = VirtualClock()
    async with RawPeer() as silent:  # TLS with somebody who says nothing
        connecting = asyncio.create_task(connect(f"https://{silent.address}", clock=clock))
        await eventually(lambda: silent.connections and silent.connections[0].data)
        await clock.advance(30.0)
        with pytest.raises(BrokenConnection, match="30 s"):
            await within(connecting)


# Answers that are wrong.


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "middle of a body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "middle of a body"),
        (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", "999"),
        (b"", "closed the connection"),
        (b"220 mail ready\r\n\r\n", "not HTTP"),
    ],
)
async def test_b111_broken_answers(answer, reason):
    async with answering(answer) as (base, _):
        with pytest.raises(BrokenConnection, match=reason):
            await within(get(base))


async def test_b111_a_streamed_body_cut_short_fails_its_reader():
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort") as (base, _):
        answer = await within(get(base, streamed=True))
        assert await within(answer.reader.read()) == b"short"
        with pytest.raises(BrokenPipe, match="middle of a body"):
            await within(answer.reader.read())


async def test_b111_a_body_without_a_length_ends_with_the_connection():
    async with answering(b"HTTP/1.0 200 OK\r\n\r\nall of it") as (base, _):
        assert (await within(get(base))).body == b"all of it"


async def test_an_answer_that_is_too_large():
    async with (
        answering(SIZED) as (base, _),
        Client(limits=ClientLimits(body_bytes_max=4)) as client,
    ):
        with pytest.raises(BrokenConnection, match="larger than 4 bytes"):
            await within(client.get(base))


# The pool.


async def test_a_client_reuses_its_connections(runtime, base, one):
    async with Client() as client:
        for number in range(3):
            one.open(str(number))
            assert (await within(client.get(f"{base}/one/wait/{number}"))).text == str(number)
            assert len(runtime._transport._inbound) == 1
        waiting = [asyncio.create_task(client.get(f"{base}/one/wait/y")) for _ in range(2)]
        await eventually(lambda: len(runtime._transport._inbound) == 2)
        await eventually(lambda: one.begun[-2:] == ["y", "y"])
        one.open("y")
        await within(asyncio.gather(*waiting))
    await eventually(lambda: not runtime._transport._inbound)
    with pytest.raises(ProtocolMisuse, match="closed"):
        await client.get(f"{base}/one/wait/1")


async def test_a_client_keeps_a_limited_number_of_idle_connections(runtime, base, one):
    async with Client(limits=ClientLimits(idle_connections_max=1)) as client:
        waiting = [asyncio.create_task(client.get(f"{base}/one/wait/y")) for _ in range(3)]
        await eventually(lambda: len(one.begun) == 3)
        one.open("y")
        await within(asyncio.gather(*waiting))
        await eventually(lambda: len(runtime._transport._inbound) == 1)


async def test_a_connection_that_went_stale_is_replaced(runtime, base, one):
    one.open("x")
    async with Client() as client:
        await within(client.get(f"{base}/one/wait/x"))
        ((_, idle),) = client._idle
        idle._protocol._transport.write(b"GET")  # the server now waits for the rest of it
        for inbound in list(runtime._transport._inbound):
            inbound.abort()
        assert (await within(client.get(f"{base}/one/wait/x"))).text == "x"
