"""Ordinary HTTP beside messages on one port. Source: actor-runtime.md §8.1, 8.2."""

import asyncio
import gzip
import io

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from actorproc import Process, ProtocolMisuse
from tests.runtime.raw import (
    connected,
    get,
    post,
    read_answer,
    read_answers,
    read_to_end,
    reset_on_close,
)
from tests.runtime.support import eventually, over_tcp, within

pytestmark = pytest.mark.asyncio


class Library(Process):
    """Routes of every kind."""

    def __init__(self, id="library"):
        super().__init__(id)
        self.begun = []
        self.ended = []
        self.gates = {}
        self.messages = []

    def initialize(self):
        self.install("m", lambda sender, body: self.messages.append(body))
        self.route("/", self.name_of("/"))
        self.route("/a", self.name_of("/a"), help="The first.")
        self.route("/a/b/c", self.name_of("/a/b/c"))
        self.route("/books/{isbn}/chapters/{chapter}", self.chapter)
        self.route("/both", self.name_of("get"))
        self.route("/both", self.name_of("post"), methods=("POST", "PUT"))
        self.route("/any", self.method, methods=("*",))
        self.route("/fails", self.fails)
        self.route("/forbidden", self.forbidden)
        self.route("/wait/{gate}", self.wait)
        self.route("/length", self.length, methods=("POST",))
        self.route("/stream", self.stream)
        self.route("/breaks", self.breaks)
        self.route("/large", self.large)
        self.route("/ignores", self.ignores, methods=("POST",), stream=True)
        self.route("/close", self.close)
        self.route("/streamed-body", self.streamed_body, methods=("POST",), stream=True)

    def name_of(self, text):
        async def handler(request):
            return web.Response(text=text)

        return handler

    async def chapter(self, request):
        return web.json_response(dict(request.match_info))

    async def method(self, request):
        return web.Response(text=request.method)

    async def fails(self, request):
        raise ValueError("no such book")

    async def forbidden(self, request):
        raise web.HTTPForbidden(text="not for you")

    async def wait(self, request):
        gate = request.match_info["gate"]
        self.begun.append(gate)
        try:
            await self.gates.setdefault(gate, asyncio.Event()).wait()
            return web.Response(text=gate)
        finally:
            self.ended.append(gate)

    def open(self, gate):
        self.gates[gate].set()

    async def length(self, request):
        return web.Response(text=str(len(await request.read())))

    async def stream(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(3):
            await response.write(b"%d" % number)
            self.begun.append(number)
            await self.gates.setdefault(number, asyncio.Event()).wait()
        return response

    async def breaks(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise ValueError("the other half is lost")

    async def large(self, request):
        response = web.Response(text="x" * 5000)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def ignores(self, request):
        return web.Response(text="did not look")

    async def close(self, request):
        return web.Response(text="bye", headers={"Connection": "close"})

    async def streamed_body(self, request):
        async for piece in request.content.iter_any():
            self.begun.append(piece)
        return web.Response(text="done")


@pytest_asyncio.fixture
async def runtime():
    async with over_tcp(delegate="library") as runtime:
        yield runtime


@pytest_asyncio.fixture
async def library(runtime):
    library = Library()
    runtime.spawn(library)
    await runtime.settle()
    return library


@pytest_asyncio.fixture
async def client(runtime):
    async with aiohttp.ClientSession(f"http://{runtime.address}") as session:
        yield session


# Routes.


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/library/a", 200, "/a"),
        ("/library/a/", 200, "/a"),
        ("/library/a/b", 200, "/a"),
        ("/library/a/b/c", 200, "/a/b/c"),
        ("/library/a/b/c/d", 200, "/a/b/c"),
        ("/library/a?x=%20", 200, "/a"),
        ("/library", 200, "/"),
        ("/library/", 200, "/"),
        ("/library/ab", 404, None),
        ("/library/nothing", 404, None),  # the root route serves only itself
        ("/%6Cibrary/a", 200, "/a"),
        ("/a", 200, "/a"),  # by the delegate
        ("/a/b/c/d", 200, "/a/b/c"),
        ("/", 200, "/"),
        ("/nobody/x", 404, None),
        ("//a", 404, None),
        ("/library/../library/a", 404, None),
        ("/%ff/a", 400, None),
    ],
)
async def test_094_the_longest_registered_prefix_serves(runtime, library, path, status, text):
    async with connected(runtime) as (reader, writer):
        writer.write(get(path) * 2)  # the connection stays
        answers = await read_answers(reader, 2)
    assert [answer.status for answer in answers] == [status, status]
    if text is not None:
        assert answers[0].body.decode() == text


async def test_a_target_that_is_no_path_is_404(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).status == 404


async def test_an_absolute_form_target_is_its_path(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("http://elsewhere:1/library/a"))
        assert (await read_answer(reader)).body == b"/a"


async def test_path_parameters(client, library):
    async with client.get("/library/books/12-34/chapters/5%2F6") as answer:
        assert await answer.json() == {"isbn": "12-34", "chapter": "5/6"}
    async with client.get("/library/books/12-34") as answer:
        assert answer.status == 404


async def test_methods(client, library):
    async with client.get("/library/both") as answer:
        assert (answer.status, await answer.text()) == (200, "get")
    for method in ("POST", "PUT"):
        async with client.request(method, "/library/both") as answer:
            assert (answer.status, await answer.text()) == (200, "post")
    async with client.delete("/library/both") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD,POST,PUT"
    async with client.delete("/library/any") as answer:
        assert await answer.text() == "DELETE"


@pytest.mark.parametrize("path", ["a", "", "/a/", "//"])
async def test_route_paths_are_checked(library, path):
    with pytest.raises(ProtocolMisuse, match="must start with '/' and must not end with it"):
        library.route(path, library.fails)


async def test_help_text_is_kept(library):
    assert library._routes.help["/a"] == "The first."


async def test_without_a_delegate_unknown_paths_are_404():
    async with over_tcp() as runtime:
        runtime.spawn(Library())
        runtime.spawn(Process("plain"))
        async with connected(runtime) as (reader, writer):
            for path in ("/", "/a", "/plain/a", "/plain"):
                writer.write(get(path))
                assert (await read_answer(reader)).status == 404
            writer.write(get("/library/a"))
            assert (await read_answer(reader)).status == 200


# Failures.


async def test_092_a_failing_handler_is_500_with_its_text_and_the_process_lives_on(
    client, library, caplog
):
    async with client.get("/library/fails") as answer:
        assert (answer.status, await answer.text()) == (500, "no such book")
    assert caplog.text.count("library@") == 1
    async with client.get("/library/forbidden") as answer:
        assert (answer.status, await answer.text()) == (403, "not for you")
    async with client.get("/library/a") as answer:
        assert answer.status == 200
    assert library.pid


async def test_a_streamed_answer_that_breaks_closes_the_connection_without_a_last_chunk(
    runtime, library
):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/breaks") + get("/library/a"))
        data = await read_to_end(reader)
    assert data.count(b"HTTP/1.1") == 1
    assert data.endswith(b"\r\n\r\n4\r\nhalf\r\n")


async def test_026_requests_of_a_process_that_ends_are_500(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/wait/x") + get("/library/wait/y"))
        await eventually(lambda: library.begun == ["x", "y"])
        runtime.terminate(library.pid)
        answers = await read_answers(reader, 2)
        assert [answer.status for answer in answers] == [500, 500]
        assert answers[0].body.decode() == f"{library.pid} ended"
        assert sorted(library.ended) == ["x", "y"]
        writer.write(get("/library/a"))
        assert (await read_answer(reader)).status == 404


async def test_023_a_request_that_waits_behind_a_busy_handler_is_500_too(runtime, library):
    busy = runtime.dispatch(library.pid, asyncio.Event().wait)
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/a"))
        await eventually(lambda: library._mailbox)
        runtime.terminate(library.pid)
        assert (await read_answer(reader)).status == 500
    assert isinstance(busy.exception(), Exception)


# Clients that go away.


async def test_a_handler_is_cancelled_when_its_client_is_gone(runtime, library):
    async with connected(runtime) as (_, writer):
        writer.write(get("/library/wait/x") + get("/library/wait/y"))
        await eventually(lambda: library.begun == ["x", "y"])
        reset_on_close(writer)
    await eventually(lambda: sorted(library.ended) == ["x", "y"])
    await eventually(lambda: not runtime._transport._inbound)
    assert not library._tasks


async def test_a_client_that_only_ended_its_side_is_still_answered(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/wait/x"))
        writer.write_eof()
        await eventually(lambda: library.begun)
        library.open("x")
        assert (await read_answer(reader)).body == b"x"
        assert await read_to_end(reader) == b""


async def test_a_handler_that_never_begins_to_answer_a_client_that_ended_is_cancelled(
    runtime, library, monkeypatch
):
    monkeypatch.setattr("actorproc.transport.inbound.UNANSWERED_S", 0.02)
    async with connected(runtime) as (_, writer):
        writer.write(get("/library/wait/x"))
        await eventually(lambda: library.begun)
    await eventually(lambda: library.ended == ["x"])
    await eventually(lambda: not runtime._transport._inbound)


async def test_a_request_cut_off_in_its_body_reaches_no_answer(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(
            b"POST /library/streamed-body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
        )
        await eventually(lambda: library.begun == [b"abc"])
        writer.write_eof()
        assert await read_to_end(reader) == b""
    await eventually(lambda: not library._tasks)


# Order and pipelining.


async def test_102_pipelined_requests_run_side_by_side_and_are_answered_in_order(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(b"".join(get(f"/library/wait/{gate}") for gate in "xyz"))
        await eventually(lambda: library.begun == ["x", "y", "z"])
        for gate in "zyx":
            library.open(gate)
        assert [answer.body for answer in await read_answers(reader, 3)] == [b"x", b"y", b"z"]
    assert library.ended == ["z", "y", "x"]


async def test_more_pipelined_requests_than_are_read_at_once(runtime, library, monkeypatch):
    monkeypatch.setattr("actorproc.transport.inbound.PIPELINED_REQUESTS_MAX", 4)
    async with connected(runtime) as (reader, writer):
        for number in range(20):
            writer.write(get(f"/library/wait/{number}"))
            await writer.drain()
            await runtime.settle()
        await eventually(lambda: len(library.begun) >= 4)
        for number in range(20):
            await eventually(lambda gate=str(number): gate in library.gates)
            library.open(str(number))
            assert (await read_answer(reader)).body == b"%d" % number


async def test_a_large_answer_waits_its_turn_without_filling_memory(runtime, library):
    async def huge(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(100):
            await response.write(b"x" * 100_000)
            library.ended.append(number)
        return response

    library.route("/huge", huge)
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/wait/x") + get("/library/huge"))
        await eventually(lambda: len(library.ended) >= 2)
        await runtime.settle()
        assert len(library.ended) < 50
        library.open("x")
        assert (await read_answer(reader)).body == b"x"
        assert len((await read_answer(reader)).body) == 10_000_000


# Requests and answers.


async def test_a_streamed_answer_arrives_as_it_is_written(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/stream"))
        head = await within(reader.readuntil(b"\r\n\r\n"))
        assert b"Transfer-Encoding: chunked" in head
        for number in range(3):
            assert await within(reader.readexactly(6)) == b"1\r\n%d\r\n" % number
            library.open(number)
        assert await within(reader.readexactly(5)) == b"0\r\n\r\n"
        writer.write(get("/library/a"))
        assert (await read_answer(reader)).status == 200


@pytest.mark.parametrize("large", [False, True])
async def test_097_a_file_as_answer(runtime, client, library, tmp_path, large):
    content = bytes(range(256)) * (4000 if large else 4)
    path = tmp_path / "file.bin"
    path.write_bytes(content)

    async def send_file(request):
        return web.FileResponse(path)

    library.route("/file", send_file)
    async with client.get("/library/file") as answer:
        assert await answer.read() == content
    async with client.get("/library/file", headers={"Range": "bytes=10-19"}) as answer:
        assert answer.status == 206
        assert await answer.read() == content[10:20]
        assert answer.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/file") + get("/library/a") + get("/library/file"))
        answers = await read_answers(reader, 3)
        assert [answer.body for answer in answers] == [content, b"/a", content]
    path.unlink()
    async with client.get("/library/file") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("body", [b"", b"x" * 10, b"x" * 3_000_000], ids=len)
async def test_request_bodies(client, library, body):
    async def pieces():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for data in (io.BytesIO(body), pieces()):
        async with client.post("/library/length", data=data) as answer:
            assert (answer.status, await answer.text()) == (200, str(len(body)))


async def test_101_a_gzip_body_is_seen_plain(client, library):
    body = gzip.compress(b"x" * 1000)
    async with client.post(
        "/library/length", data=body, headers={"Content-Encoding": "gzip"}
    ) as answer:
        assert await answer.text() == "1000"


async def test_104_a_body_is_read_while_it_arrives(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(
            b"POST /library/streamed-body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for piece in (b"one", b"two"):
            writer.write(b"3\r\n%b\r\n" % piece)
            await eventually(lambda piece=piece: library.begun[-1:] == [piece])
        writer.write(b"0\r\n\r\n")
        assert (await read_answer(reader)).body == b"done"


async def test_a_large_body_that_the_handler_ignores_does_not_stall_the_connection(
    runtime, library
):
    body = b"x" * 5_000_000
    async with connected(runtime) as (reader, writer):
        writer.write(
            b"POST /library/ignores HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
        )
        writer.write(body)
        writer.write(get("/library/a") + post("/library/m", b"behind it"))
        answers = await read_answers(reader, 3)
    assert [answer.status for answer in answers] == [200, 200, 202]
    assert library.messages == [b"behind it"]


async def test_a_body_that_is_read_slowly_holds_the_sender_back(runtime, library):
    gate = asyncio.Event()

    async def slow(request):
        await gate.wait()
        return web.Response(text=str(len(await request.read())))

    library.route("/slow", slow, methods=("POST",), stream=True)
    async with connected(runtime) as (reader, writer):
        writer.write(b"POST /library/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
        writer.write(b"x" * 30_000_000 + get("/library/a"))
        [inbound] = await eventually(lambda: list(runtime._transport._inbound))
        await eventually(lambda: not inbound._transport.is_reading())
        assert writer.transport.get_write_buffer_size() > 10_000_000
        gate.set()
        answers = await read_answers(reader, 2)
    assert [answer.body for answer in answers] == [b"30000000", b"/a"]


async def test_gzip_answers(client, runtime, library):
    async with client.get("/library/large") as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert await answer.text() == "x" * 5000
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/large"))
        answer = await read_answer(reader)
        assert "content-encoding" not in answer.headers
        assert len(answer.body) == 5000


async def test_http_1_1_without_host_is_accepted(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/a", headers="") + get("/library/a", headers="X: y\r\n"))
        assert [answer.status for answer in await read_answers(reader, 2)] == [200, 200]


async def test_045_long_headers_of_an_ordinary_request(runtime, library):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/a", headers=f"X: {'x' * 70_000}\r\n"))
        assert (await read_answer(reader)).status == 200


@pytest.mark.parametrize(
    ("version", "headers", "path", "stays"),
    [
        ("1.1", "", "/library/a", True),
        ("1.1", "Connection: close\r\n", "/library/a", False),
        ("1.0", "", "/library/a", False),
        ("1.0", "Connection: keep-alive\r\n", "/library/a", True),
        ("1.1", "", "/library/close", False),
        ("1.1", "", "/library/nothing", True),
        ("1.1", "", "/library/fails", True),
    ],
)
async def test_103_keep_alive(runtime, library, version, headers, path, stays):
    async with connected(runtime) as (reader, writer):
        writer.write(
            get(path, headers="Host: x\r\n" + headers, version=version) + get("/library/a")
        )
        assert (await read_answer(reader)).status in (200, 404, 500)
        if stays:
            assert (await read_answer(reader)).body == b"/a"
        else:
            assert await read_to_end(reader) == b""


async def test_a_head_that_only_we_accept_is_refused_and_closed(runtime, library):
    # Bytes above 127 in the target of an ordinary request are too much for aiohttp.
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/\xff") + get("/library/a"))
        assert (await within(reader.readline())).split()[1] == b"400"
        assert not (await read_to_end(reader)).endswith(b"/a")


async def test_the_first_requests_of_many_connections_at_once(library, runtime):
    # aiohttp's server is being set up meanwhile.
    async def ask(number):
        async with connected(runtime) as (reader, writer):
            body = b"x" * number * 1000
            writer.write(
                b"POST /library/length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                % len(body)
            )
            writer.write(body)
            return (await read_answer(reader)).body

    sizes = await asyncio.gather(*(ask(number) for number in range(0, 2000, 200)))
    assert sizes == [b"%d" % (number * 1000) for number in range(0, 2000, 200)]


async def test_stop_with_requests_in_progress_is_prompt(library, runtime):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/library/wait/x"))
        await eventually(lambda: library.begun)
        async with asyncio.timeout(3):
            await runtime.stop()
        assert library.ended == ["x"]
        await within(reader.read())
