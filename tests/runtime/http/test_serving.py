"""What a process answers over HTTP. Source: actor-runtime.md §8.1, 8.2; reliability.md §4."""

import asyncio
import gzip
import json

import pytest
import pytest_asyncio
from aiohttp import web

from actorproc import Process, ProtocolMisuse, Runtime, TcpTransport, VirtualClock
from actorproc.http import HARDENED, HttpLimits, Pipe, PipeResponse, json_response
from tests.runtime.raw import connected, get, post, read_answer, read_answers, read_to_end
from tests.runtime.raw import reset_on_close as reset
from tests.runtime.support import eventually, over_tcp, within

pytestmark = pytest.mark.asyncio


class Shop(Process):
    """Routes of every kind."""

    def __init__(self, id="shop"):
        super().__init__(id)
        self.pipes = []
        self.gate = asyncio.Event()
        self.pieces = []

    def initialize(self):
        self.route("/", self.named("root"))
        for path in ("/h1", "/h2", "/h2/nested", "/a", "/a/b/c"):
            self.route(path, self.named(path))
        self.route("/fails", self.fail)
        self.route("/pipe", self.pipe)
        self.route("/body", self.body, methods=("POST",))
        self.route("/small", self.body, methods=("POST",), body_bytes_max=10)
        self.route("/pieces", self.read_pieces, methods=("POST",), stream=True)
        self.route("/large/{size}", self.large)
        self.route("/json", self.json)

    def named(self, text):
        async def handler(request):
            return web.Response(text=text)

        return handler

    async def fail(self, request):
        raise ValueError("out of stock")

    async def pipe(self, request):
        pipe = Pipe()
        self.pipes.append(pipe)
        return PipeResponse(pipe.reader, content_type="text/plain")

    async def body(self, request):
        return web.Response(body=await request.read())

    async def read_pieces(self, request):
        async for piece in request.content.iter_any():
            self.pieces.append(piece)
        return web.Response(text="done")

    async def large(self, request):
        return web.Response(text="x" * int(request.match_info["size"]))

    async def json(self, request):
        return json_response(request, {"a": "<\u2028>"})


@pytest_asyncio.fixture
async def runtime():
    async with over_tcp(delegate="shop") as runtime:
        yield runtime


@pytest_asyncio.fixture
async def shop(runtime):
    shop = Shop()
    runtime.spawn(shop)
    await runtime.settle()
    return shop


async def ask(runtime, data):
    """The answers to the requests in `data`, whose last one closes the connection."""
    async with connected(runtime) as (reader, writer):
        writer.write(data)
        return await read_answer(reader)


# Disabled endpoints.


@pytest.mark.parametrize(
    ("rules", "path", "status"),
    [
        (["/shop/h1"], "/shop/h1", 403),
        (["/shop/h1"], "/shop/h1/", 403),
        (["/shop/h1/"], "/shop/h1", 403),
        (["/shop/h1"], "/shop/h1?x", 403),
        (["/shop/h1"], "/%73hop/h1", 403),
        (["/shop/h1"], "/h1", 403),  # by the delegate
        (["/shop/h1"], "/shop/h2", 200),
        (["/shop/h2/nested"], "/shop/h2", 200),
        (["/shop/h2/nested"], "/shop/h2/nested", 403),
        (["/shop/h2/nested"], "/shop/h2/nested/path", 200),
        (["/shop/*"], "/shop/h1", 200),
        (["/shop/*"], "/shop/*", 403),
        (["/shop"], "/shop", 403),
        (["/shop"], "/shop/h1", 200),
        (["/nobody/x"], "/nobody/y", 404),
        ([], "/shop/h1", 200),
    ],
)
async def test_b022_disabled_endpoints(runtime, shop, rules, path, status):
    runtime.http.firewall.install(["/shop/h1", "/shop/h2"])
    runtime.http.firewall.install(rules)  # in place of all before
    answer = await ask(runtime, get(path))
    assert answer.status == status
    if status == 403:
        assert answer.body.decode().startswith("Endpoint '/shop")
        assert answer.body.decode().endswith("' is disabled")


async def test_b022_messages_pass_every_firewall(runtime, shop):
    runtime.http.firewall.install(["/shop/m"])
    received = []
    shop.install("m", lambda sender, body: received.append(body))
    assert (await ask(runtime, post("/shop/m", b"hello"))).status == 202
    assert received == [b"hello"]


async def test_b022_a_rule_that_can_never_match(runtime):
    with pytest.raises(ProtocolMisuse, match="begin with '/'"):
        runtime.http.firewall.install(["shop"])


# Routes.


async def test_b091_http_1_0_is_answered_with_1_1(runtime, shop):
    async with connected(runtime) as (reader, writer):
        request = get("/shop/a", headers="Connection: Keep-Alive\r\n", version="1.0")
        for _ in range(2):
            writer.write(request)
            line = await within(reader.readline())
            assert line == b"HTTP/1.1 200 OK\r\n"
            head = await within(reader.readuntil(b"\r\n\r\n"))
            assert b"Content-Length: 2" in head
            await within(reader.readexactly(2))


async def test_b092_a_slash_at_the_end_does_not_count(runtime, shop):
    for path in ("/shop/a", "/shop/a/"):
        assert (await ask(runtime, get(path))).body == b"/a"


async def test_b092_a_failing_handler_is_500_with_its_text(runtime, shop, caplog):
    answer = await ask(runtime, get("/shop/fails"))
    assert (answer.status, answer.body) == (500, b"out of stock")


@pytest.mark.parametrize(
    ("path", "served_by"),
    [("/a", "/a"), ("/a/b", "/a"), ("/a/b/c", "/a/b/c"), ("/a/b/c/d", "/a/b/c")],
)
async def test_b094_the_longest_prefix_serves(runtime, shop, path, served_by):
    assert (await ask(runtime, get(f"/shop{path}"))).body.decode() == served_by


async def test_a_later_route_replaces_the_earlier_one(runtime, shop):
    shop.route("/a", shop.named("new"))
    shop.route("/a", shop.named("posted"), methods=("POST",))
    assert (await ask(runtime, get("/shop/a"))).body == b"new"
    assert (await ask(runtime, post_http("/shop/a", b""))).body == b"posted"


async def test_a_pipe_for_http_1_0_ends_with_the_connection(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/pipe", headers="Connection: Keep-Alive\r\n", version="1.0"))
        await eventually(lambda: shop.pipes)
        shop.pipes[0].writer.write(b"all of it")
        shop.pipes[0].writer.close()
        assert (await read_to_end(reader)).endswith(b"\r\n\r\nall of it")


@pytest.mark.parametrize("path", ["a", "/a/", "/{", "/{a}{a}"])
async def test_route_paths_are_checked(shop, path):
    with pytest.raises(ProtocolMisuse, match="route"):
        shop.route(path, shop.fail)


@pytest.mark.parametrize("path", ["/shop/a", "/shop/large/5000", "/shop/pipe", "/shop/file.txt"])
async def test_head_is_answered_as_get_without_a_body(runtime, shop, path, tmp_path):
    (tmp_path / "file.txt").write_text("text")
    shop.provide("file.txt", tmp_path / "file.txt")
    async with connected(runtime) as (reader, writer):
        writer.write(get(path).replace(b"GET", b"HEAD") + get("/shop/h1"))
        head = await within(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await read_answer(reader)).body == b"/h1"
    if path == "/shop/pipe":
        await within(shop.pipes[0].writer.reader_closed)
    else:
        assert b"Content-Length: 0" not in head


# Pipes.


async def test_b093_a_pipe_is_sent_in_chunks_as_it_is_written(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/pipe", headers="Host: x\r\nAccept-Encoding: gzip\r\n"))
        head = await within(reader.readuntil(b"\r\n\r\n"))
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Encoding" not in head
        pipe = shop.pipes[0]
        for text in (b"Hello", b" World"):
            pipe.writer.write(text)
            assert await within(reader.readuntil(text + b"\r\n")) == b"%x\r\n%b\r\n" % (
                len(text),
                text,
            )
        pipe.writer.close()
        assert await within(reader.readexactly(5)) == b"0\r\n\r\n"
        writer.write(get("/shop/a"))
        assert (await read_answer(reader)).body == b"/a"


async def test_b093_a_pipe_that_fails_breaks_the_connection_without_a_last_chunk(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/pipe") + get("/shop/a"))
        await eventually(lambda: shop.pipes)
        shop.pipes[0].writer.write(b"half")
        shop.pipes[0].writer.fail("the other half is lost")
        data = await read_to_end(reader)
    assert data.endswith(b"\r\n\r\n4\r\nhalf\r\n")
    assert data.count(b"HTTP/1.1") == 1


async def test_b096_a_client_that_goes_away_closes_the_reader(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/pipe"))
        await within(reader.readuntil(b"\r\n\r\n"))
        reset(writer)
    await within(shop.pipes[0].writer.reader_closed)
    assert not shop.pipes[0].writer.write(b"more")


async def test_a_slow_client_holds_back_the_pipe(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/pipe"))
        await eventually(lambda: shop.pipes)
        pipe = shop.pipes[0]
        for _ in range(300):
            pipe.writer.write(b"x" * 100_000)
        await asyncio.sleep(0)
        drained = pipe.writer.drain()
        await runtime.settle()
        assert not drained.done()
        pipe.writer.close()
        answer = await read_answer(reader)
        assert len(answer.body) == 30_000_000
        assert drained.done()


# Files.


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site" / "deep").mkdir(parents=True)
    (tmp_path / "site" / "index.html").write_text("<p>hello")
    (tmp_path / "site" / "deep" / "a b.bin").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "site" / "link").symlink_to(tmp_path / "secret")
    return tmp_path / "site"


async def test_b097_whole_files_of_any_size_as_assets(runtime, shop, site):
    shop.provide("static", site)
    shop.provide("start", site / "index.html")
    async with connected(runtime) as (reader, writer):
        for path in ("/shop/start", "/shop/static/index.html", "/static/index.html"):
            writer.write(get(path))
            answer = await read_answer(reader)
            assert (answer.status, answer.body) == (200, b"<p>hello")
            assert answer.headers["content-type"] == "text/html"
            assert answer.headers["x-content-type-options"] == "nosniff"
        writer.write(
            get("/shop/static/deep/a%20b.bin", headers="Host: x\r\nAccept-Encoding: gzip\r\n")
        )
        answer = await read_answer(reader)
        assert answer.body == bytes(range(256)) * 1000
        assert "content-encoding" not in answer.headers


async def test_b097_ranges_of_a_file(runtime, shop, site):
    shop.provide("static", site)
    path = "/shop/static/deep/a%20b.bin"
    async with connected(runtime) as (reader, writer):
        for wanted, status, body in [
            ("0-3", 206, b"\0\1\2\3"),
            ("255998-", 206, b"\xfe\xff"),
            ("-1", 206, b"\xff"),
            ("256000-", 416, None),
        ]:
            writer.write(get(path, headers=f"Host: x\r\nRange: bytes={wanted}\r\n"))
            answer = await read_answer(reader)
            assert answer.status == status
            assert body is None or answer.body == body


@pytest.mark.parametrize(
    "path",
    [
        "static",
        "static/",
        "static/deep",
        "static/nothing",
        "static/link",
        "static/../secret",
        "static/%2e%2e/secret",
        "static/..%2fsecret",
        "static/%00",
        "static/%ff",
        "static/index.html/x",
        "static//etc/passwd",
        "other",
    ],
)
async def test_b097_what_lies_elsewhere_is_not_served(runtime, shop, site, path):
    shop.provide("static", site)
    answer = await ask(runtime, get(f"/shop/{path}"))
    assert answer.status == 404, answer


async def test_b097_a_route_goes_before_an_asset(runtime, shop, site):
    shop.provide("a", site / "index.html")
    assert (await ask(runtime, get("/shop/a"))).body == b"/a"


@pytest.mark.parametrize("name", ["", "/a", "a/"])
async def test_asset_names_are_checked(shop, name):
    with pytest.raises(ProtocolMisuse, match="asset"):
        shop.provide(name, "x")


# Bodies.


def post_http(path, body, headers=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


async def test_b101_a_gzip_request_body_is_seen_plain(runtime, shop):
    body = gzip.compress(b"plain text" * 100)
    answer = await ask(runtime, post_http("/shop/body", body, "Content-Encoding: gzip\r\n"))
    assert answer.body == b"plain text" * 100


async def test_b101_a_bomb_is_413(runtime, shop):
    body = gzip.compress(b"\0" * 1000)
    answer = await ask(runtime, post_http("/shop/small", body, "Content-Encoding: gzip\r\n"))
    assert answer.status == 413


async def test_b104_a_streaming_route_reads_the_body_while_it_comes(runtime, shop):
    async with connected(runtime) as (reader, writer):
        writer.write(b"POST /shop/pieces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two"):
            writer.write(b"3\r\n%b\r\n" % piece)
            await eventually(lambda piece=piece: shop.pieces[-1:] == [piece])
        writer.write(b"0\r\n\r\n")
        assert (await read_answer(reader)).body == b"done"


async def test_b104_other_routes_run_when_the_body_is_complete(runtime, shop):
    begun = []

    async def handler(request):
        begun.append(request.content.is_eof())
        return web.Response(body=await request.read())

    shop.route("/whole", handler, methods=("POST",))
    async with connected(runtime) as (reader, writer):
        writer.write(b"POST /shop/whole HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\none")
        await eventually(lambda: runtime._transport._inbound)
        # Nobody waits for it.
        assert (await ask(runtime, get("/shop/a"))).body == b"/a"
        assert begun == []
        writer.write(b"two")
        assert (await read_answer(reader)).body == b"onetwo"
        assert begun == [True]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_of_its_route_is_413_and_closes(runtime, shop, chunked):
    async with connected(runtime) as (reader, writer):
        if chunked:
            head = b"POST /shop/small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n")
        else:  # refused before any of it came
            writer.write(b"POST /shop/small HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n")
        assert (await read_answer(reader)).status == 413
        assert await read_to_end(reader) == b""
    assert (await ask(runtime, post_http("/shop/small", b"x" * 10))).body == b"x" * 10


@pytest.mark.parametrize(
    ("accepts", "size", "is_compressed"),
    [
        ("gzip", 1024, True),
        ("gzip", 1023, False),
        ("gzip;q=0,*", 5000, False),
        ("*", 500_000, True),
    ],
)
async def test_large_answers_are_compressed_when_accepted(
    runtime, shop, accepts, size, is_compressed
):
    headers = f"Host: x\r\nAccept-Encoding: {accepts}\r\n"
    answer = await ask(runtime, get(f"/shop/large/{size}", headers=headers))
    assert (answer.headers.get("content-encoding") == "gzip") is is_compressed
    body = gzip.decompress(answer.body) if is_compressed else answer.body
    assert body == b"x" * size
    assert ("vary" in answer.headers) is (size >= 1024)


@pytest.mark.parametrize("name", ["f", "a.b", "$._x1"])
async def test_jsonp(runtime, shop, name):
    plain = await ask(runtime, get("/shop/json"))
    assert plain.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(plain.body) == {"a": "<\u2028>"}
    answer = await ask(runtime, get(f"/shop/json?jsonp={name}"))
    assert answer.body == f"{name}(".encode() + plain.body + b");"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["", "1", "a-b", "alert(1)//", "a.", "x" * 200, "a%0d%0ab"])
async def test_jsonp_takes_only_names(runtime, shop, name):
    answer = await ask(runtime, get(f"/shop/json?jsonp={name}"))
    assert answer.status == 400
    assert b"jsonp" in answer.body


# Limits.


@pytest.mark.parametrize(
    ("limits", "request_bytes", "status"),
    [
        (HttpLimits(), get("/shop/a", headers="Host: x\r\n" + "A: b\r\n" * 99), 200),
        (HttpLimits(), get("/shop/a", headers="Host: x\r\n" + "A: b\r\n" * 100), 431),
        (HttpLimits(), get("/shop/a", headers="Host: x\r\n" + "A: b\r\n" * 10_000), 431),
        (HttpLimits(), get("/shop/a", headers=f"Host: x\r\nA: {'b' * 70_000}\r\n"), 200),
        (HARDENED, get("/shop/a", headers=f"Host: x\r\nA: {'b' * 8000}\r\n"), 200),
        (HARDENED, get("/shop/a", headers=f"Host: x\r\nA: {'b' * 8192}\r\n"), 431),
        (HARDENED, get("/shop/a", headers="Host: x\r\n" + f"A: {'b' * 8000}\r\n" * 5), 431),
        (HARDENED, get(f"/shop/a?{'x' * 8200}"), 414),
        (HARDENED, post_http("/shop/body", b"", "").replace(b"h: 0", b"h: 8388609"), 413),
        (HttpLimits(body_bytes_max=5), post_http("/shop/body", b"123456"), 413),
        (HttpLimits(body_bytes_max=5), post_http("/shop/body", b"12345"), 200),
    ],
)
async def test_limits(runtime, shop, limits, request_bytes, status):
    runtime.http.limits = limits
    assert (await ask(runtime, request_bytes)).status == status


async def test_limits_are_set_before_the_first_request(runtime, shop):
    await ask(runtime, get("/shop/a"))
    with pytest.raises(ProtocolMisuse, match="before the first request"):
        runtime.http.limits = HARDENED


async def test_a_body_that_comes_too_slowly_is_408():
    clock = VirtualClock()
    async with Runtime(TcpTransport(), clock=clock) as runtime:
        shop = Shop()
        runtime.spawn(shop)
        async with connected(runtime) as (reader, writer):
            writer.write(b"POST /shop/body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            await eventually(lambda: clock._timers.next_deadline_s() == 10.0)
            writer.write(b"x" * 50_000)  # fast enough for ten seconds
            await eventually(lambda: _body_bytes(shop) == 50_000)
            await clock.advance(10.0)
            writer.write(b"x" * 10_000)  # too slow for ten more
            await eventually(lambda: _body_bytes(shop) == 60_000)
            await clock.advance(10.0)
            answer = await read_answer(reader)
            assert (answer.status, answer.body) == (408, b"body: slower than 1024 bytes/s")
            assert await read_to_end(reader) == b""


def _body_bytes(process):
    """How much of the only request's body has come."""
    (task,) = process._tasks
    frame = task.get_coro().cr_await
    while frame.cr_code.co_name != "_read_body":
        frame = frame.cr_await
    return frame.cr_frame.f_locals["request"].content.total_bytes


async def test_requests_of_one_connection_run_side_by_side(runtime, shop):
    async def wait(request):
        shop.pieces.append("begun")
        await shop.gate.wait()
        return web.Response(text="waited")

    shop.route("/wait", wait)
    async with connected(runtime) as (reader, writer):
        writer.write(get("/shop/wait") * 3)
        await eventually(lambda: len(shop.pieces) == 3)
        shop.gate.set()
        assert [answer.body for answer in await read_answers(reader, 3)] == [b"waited"] * 3
