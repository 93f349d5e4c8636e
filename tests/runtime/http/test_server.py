"""Servers without actors. Source: actor-runtime.md §8.5, behaviour 110."""

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web

from actorproc import Address, BrokenTransport, ProtocolMisuse, VirtualClock
from actorproc.http import BrokenPipe, Client, Pipe, PipeResponse, Server, encode, get, serve
from tests.runtime.support import eventually, within

pytestmark = pytest.mark.asyncio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Handlers are cancelled, and not only given up after a while."""
    monkeypatch.setattr("actorproc.http.server.SHUTDOWN_S", 1000.0)


class Handler:
    """Waits for its gate, and writes down what happens to it."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.begun = 0
        self.cancelled = 0

    async def __call__(self, request):
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return web.Response(text="served")


@contextlib.asynccontextmanager
async def running(handler, address=None, **options):
    server = Server(address or Address("127.0.0.1", 0), handler, **options)
    run = asyncio.create_task(server.run())
    await eventually(lambda: server.is_running or run.done())
    try:
        yield server, run
    finally:
        run.cancel()
        await asyncio.wait([run])


def url(server):
    return f"http://{server.address}/"


# One connection.


async def test_b110_serving_one_socket_ends_with_it():
    there, here = socket.socketpair()
    handler = Handler()
    handler.gate.set()
    serving = asyncio.create_task(serve(there, handler))
    reader, writer = await asyncio.open_connection(sock=here)
    for _ in range(2):
        writer.write(GET)
        assert (await within(reader.readuntil(b"served"))).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await within(serving)
    assert handler.begun == 2


async def test_b110_cancelling_reaches_handler_and_client():
    there, here = socket.socketpair()
    handler = Handler()
    serving = asyncio.create_task(serve(there, handler))
    reader, writer = await asyncio.open_connection(sock=here)
    writer.write(GET)
    await eventually(lambda: handler.begun)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)
    assert handler.cancelled == 1
    assert await within(reader.read()) == b""
    writer.close()


async def test_b110_a_client_that_goes_away_reaches_the_handler():
    there, here = socket.socketpair()
    handler = Handler()
    serving = asyncio.create_task(serve(there, handler))
    _, writer = await asyncio.open_connection(sock=here)
    writer.write(GET)
    await eventually(lambda: handler.begun)
    writer.close()
    await within(serving)
    assert handler.cancelled == 1


# A server.


async def test_b110_stop_fails_when_it_does_not_run():
    server = Server(Address("127.0.0.1", 0), Handler())
    with pytest.raises(ProtocolMisuse, match="does not run"):
        await server.stop()
    async with running(Handler()) as (server, run):
        await within(server.stop())
        await within(run)
        with pytest.raises(ProtocolMisuse, match="does not run"):
            await server.stop()
        with pytest.raises(ProtocolMisuse, match="runs once"):
            await server.run()


async def test_b110_cancelling_run_closes_the_clients():
    handler = Handler()
    async with running(handler) as (server, run):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(GET)
        await eventually(lambda: handler.begun)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(run)
        assert handler.cancelled == 1
        assert await within(reader.read()) == b""
        writer.close()


async def test_a_client_of_a_server_that_goes_away_reaches_its_handler():
    handler = Handler()
    async with running(handler) as (server, _):
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(GET)
        await eventually(lambda: handler.begun)
        writer.close()
        await eventually(lambda: handler.cancelled)
        handler.gate.set()
        assert (await within(get(url(server)))).text == "served"


async def test_stop_lets_requests_end_within_the_grace_period():
    handler = Handler()
    clock = VirtualClock()
    async with running(handler, clock=clock) as (server, run), Client() as client:
        answer = asyncio.create_task(client.get(url(server)))
        await eventually(lambda: handler.begun)
        idle_reader, idle_writer = await asyncio.open_connection(*server.address)
        stopping = asyncio.create_task(server.stop(grace_s=10.0))
        await eventually(lambda: not server.is_running)
        assert not stopping.done()
        handler.gate.set()
        assert (await within(answer)).text == "served"
        await within(stopping)
        await within(run)
        assert await within(idle_reader.read()) == b""
        idle_writer.close()


async def test_stop_cancels_what_takes_longer():
    handler = Handler()
    clock = VirtualClock()
    async with running(handler, clock=clock) as (server, run):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(GET)
        await eventually(lambda: handler.begun)
        stopping = asyncio.create_task(server.stop(grace_s=10.0))
        await eventually(lambda: not server.is_running)
        await clock.advance(9.9)
        assert not handler.cancelled
        await clock.advance(0.1)
        await within(stopping)
        assert handler.cancelled == 1
        assert await within(reader.read()) == b""
        writer.close()
        await within(run)


async def test_a_unix_socket(tmp_path):
    handler = Handler()
    handler.gate.set()
    path = str(tmp_path / "socket")
    async with running(handler, path):
        assert (await within(get(f"http+unix://{encode(path)}/"))).text == "served"


async def test_an_address_in_use():
    async with running(Handler()) as (server, _):
        with pytest.raises(BrokenTransport, match="cannot listen"):
            await within(Server(server.address, Handler()).run())


async def test_failures_of_handlers():
    async def fail(request):
        raise ValueError("out of order")

    async def give_up(request):
        raise asyncio.CancelledError

    async def missing(request):
        raise web.HTTPNotFound(text="nothing here")

    for handler, status, text in [
        (fail, 500, "out of order"),
        (give_up, 503, "given up"),
        (missing, 404, "nothing here"),
    ]:
        async with running(handler) as (server, _):
            answer = await within(get(url(server)))
            assert (answer.status, text in answer.text) == (status, True)


async def test_pipes_and_compression():
    pipes = []

    async def stream(request):
        if request.path == "/large":
            return web.Response(text="x" * 2000)
        pipes.append(Pipe())
        return PipeResponse(pipes[-1].reader)

    async with running(stream) as (server, _):
        answer = await within(get(url(server), streamed=True))
        pipes[0].writer.write(b"one")
        assert await within(answer.reader.read()) == b"one"
        pipes[0].writer.close()
        assert await within(answer.reader.read()) == b""
        large = await within(get(url(server) + "large", headers={"Accept-Encoding": "gzip"}))
        assert large.headers["Content-Encoding"] == "gzip"
        assert large.text == "x" * 2000
        # A pipe that fails breaks the connection.
        answer = await within(get(url(server), streamed=True))
        pipes[1].writer.write(b"half")
        pipes[1].writer.fail("gone")
        assert await within(answer.reader.read()) == b"half"
        with pytest.raises(BrokenPipe):
            await within(answer.reader.read())
