"""Hardened mode: what strangers may not do, and what peers still may. Source: reliability.md §4."""

import asyncio
import contextlib

import pytest
import trustme

from actorproc import PID, TcpLimits
from actorproc.core.wire import encode_message
from actorproc.transport.hardened import Guests, HardenedLimits
from tests.runtime.raw import FROM, RawPeer, connected, get, post, read_answer, read_answers
from tests.runtime.support import Collector, Echo, call, eventually, over_tcp, within
from tests.runtime.tls.support import Authority, over_tls

pytestmark = pytest.mark.asyncio

SOON_S = 0.1


def hardened(**limits):
    return over_tcp(TcpLimits(hardened=True, hardened_limits=HardenedLimits(**limits)))


async def server_on(runtime):
    server = Collector("server")
    runtime.spawn(server)
    await runtime.settle()
    return server


async def is_served(runtime):
    async with connected(runtime) as (reader, writer):
        writer.write(post("/server/m", b"x"))
        return (await read_answer(reader)).status == 202


# Slowness.


@pytest.mark.parametrize("begun", [b"P", b"POST /server/m HTTP/1.1\r\nX: "])
async def test_headers_that_do_not_end_in_time_are_answered_408(begun):
    async with hardened(header_s=SOON_S) as runtime:
        await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(begun)
            answer = await read_answer(reader)
            assert answer.status == 408
            assert b"headers took longer than 0.1 s" in answer.body
            assert await read_answer(reader) is None
        assert await is_served(runtime)


async def test_a_byte_now_and_then_does_not_help():
    async with hardened(header_s=SOON_S) as runtime, connected(runtime) as (reader, writer):

        async def trickle():
            writer.write(b"POST /server/m HTTP/1.1\r\n")
            while True:
                writer.write(b"X: y\r\n")
                await asyncio.sleep(SOON_S / 20)

        trickling = asyncio.create_task(trickle())
        assert (await read_answer(reader)).status == 408
        trickling.cancel()


@pytest.mark.parametrize(
    "head",
    [
        f"POST /server/m HTTP/1.1\r\n{FROM}Content-Length: 100000\r\n\r\n",
        f"POST /server/m HTTP/1.1\r\n{FROM}Transfer-Encoding: chunked\r\n\r\n64000\r\n",
    ],
)
async def test_a_body_that_trickles_is_answered_408(head):
    async with hardened(header_s=SOON_S) as runtime:
        server = await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(head.encode() + b"x")
            answer = await read_answer(reader)
            assert answer.status == 408
            assert b"slower than 1024 bytes a second" in answer.body
        assert not server.messages


async def test_a_body_that_keeps_its_pace_may_take_its_time():
    async with hardened(header_s=SOON_S, body_bytes_per_s_min=100) as runtime:
        server = await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(f"POST /server/m HTTP/1.1\r\n{FROM}Content-Length: 2000\r\n\r\n".encode())
            for _ in range(20):
                writer.write(b"x" * 100)
                await asyncio.sleep(SOON_S / 5)  # four times as long as headers may take
            assert (await read_answer(reader)).status == 202
        assert server.bodies == [b"x" * 2000]


async def test_a_peer_s_idle_link_stays_open():
    async with hardened(header_s=SOON_S) as runtime, over_tcp() as peer:
        server = await server_on(runtime)
        linker = Collector("linker")
        peer.spawn(linker)
        await peer.settle()
        await call(peer, linker, linker.link, server.pid)
        await eventually(lambda: runtime._transport._inbound)
        with pytest.raises(AssertionError):  # five times the deadline of who has begun
            await eventually(lambda: linker.exits, 5 * SOON_S)
        await call(peer, linker, linker.send, server.pid, "m", b"at last")
        await eventually(lambda: server.messages)
        assert linker.exits == []


async def test_between_messages_there_is_no_deadline():
    async with hardened(header_s=SOON_S) as runtime:
        server = await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            one = encode_message(PID("a", "127.0.0.1", 1), server.pid, "m", b"x" * 50)
            for _ in range(2):
                # In pieces: a request begins, and ends in time.
                for piece in (one[:30], one[30:190], one[190:] + one):
                    writer.write(piece)
                    await writer.drain()
                    await runtime.settle()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 408"), 3 * SOON_S)
        assert len(server.messages) == 4


async def test_who_does_not_read_answers_is_cut_off():
    async with hardened(write_stall_s=SOON_S) as runtime:
        await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            reader._transport.pause_reading()
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    writer.write(post("/server/m", b"x") * 1000)
                    await writer.drain()
            await eventually(lambda: not runtime._transport._inbound)


# Sizes.


@pytest.mark.parametrize(
    ("headers", "limits", "text"),
    [
        ("X: " + "x" * 9000 + "\r\n", {}, b"line longer than 8192"),
        ("".join(f"X-{n}: y\r\n" for n in range(101)), {}, b"more than 100 header lines"),
        ("".join(f"X-{n}: {'y' * 1000}\r\n" for n in range(40)), {}, b"larger than 32768"),
        ("", {"head_bytes_max": 40}, b"larger than 40"),
    ],
)
async def test_heads_above_a_limit_are_answered_431(headers, limits, text):
    async with hardened(**limits) as runtime:
        server = await server_on(runtime)
        for request in (
            post("/server/m", b"x", headers=FROM + headers),
            get("/server/x", headers=f"Host: h.example.org\r\n{headers}"),
        ):
            async with connected(runtime) as (reader, writer):
                writer.write(request)
                answer = await read_answer(reader)
                assert answer.status == 431
                assert text in answer.body
        assert not server.messages


async def test_a_hundred_headers_are_accepted():
    headers = "".join(f"X-{number}: y\r\n" for number in range(98)) + FROM
    async with hardened() as runtime:
        await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(post("/server/m", b"x", headers=headers) * 2)
            assert [answer.status for answer in await read_answers(reader, 2)] == [202, 202]


async def test_chunk_extensions_are_refused():
    head = f"POST /server/m HTTP/1.1\r\n{FROM}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"1;a=%b\r\nx\r\n0\r\n\r\n" % (b"y" * 20)
    async with hardened() as runtime, over_tcp() as ordinary:
        for each, status in ((runtime, 400), (ordinary, 202)):
            await server_on(each)
            async with connected(each) as (reader, writer):
                writer.write(head + chunks)
                assert (await read_answer(reader)).status == status


# Numbers.


async def test_more_connections_than_allowed_from_one_address_are_closed():
    async with hardened(connections_per_ip_max=3) as runtime:
        await server_on(runtime)
        allowed = [await asyncio.open_connection(*runtime.address) for _ in range(3)]
        await eventually(lambda: len(runtime._transport._inbound) == 3)
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*runtime.address)
            with contextlib.suppress(ConnectionError):
                assert await within(reader.read()) == b""
            writer.close()
        for reader, writer in allowed:  # they are not disturbed
            writer.write(post("/server/m"))
            assert (await read_answer(reader)).status == 202
            writer.close()
        await eventually(lambda: not runtime._transport._inbound)
        assert runtime._transport.guests.count("127.0.0.1") == 0
        assert await is_served(runtime)


async def test_named_peers_are_exempt():
    limits = HardenedLimits(
        connections_per_ip_max=1, header_s=SOON_S, peer_ips=frozenset({"127.0.0.1"})
    )
    async with over_tcp(TcpLimits(hardened=True, hardened_limits=limits)) as runtime:
        await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(b"POST /server/m HTTP/1.1\r\n" + FROM.encode())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 3 * SOON_S)
            assert await is_served(runtime)  # a second connection
            writer.write(b"Content-Length: 0\r\n\r\n")
            assert (await read_answer(reader)).status == 202


async def test_pipelined_requests_beyond_the_limit_wait_and_are_answered():
    async with hardened(requests_in_progress_max=2) as runtime:
        await server_on(runtime)
        async with connected(runtime) as (reader, writer):
            writer.write(get("/server/none") * 50)
            statuses = [answer.status for answer in await read_answers(reader, 50)]
            assert statuses == [404] * 50


async def test_guests_are_counted_per_address():
    guests = Guests(HardenedLimits(connections_per_ip_max=2))
    assert [guests.enter("a"), guests.enter("a"), guests.enter("b")] == [True] * 3
    assert guests.enter("a") is False
    guests.leave("a")
    guests.leave("a")
    assert guests.enter("a") is True
    for ip in ("a", "a", "b"):
        guests.leave(ip)
    assert guests._counts == {}


# Both ways with an ordinary runtime.


async def test_hardened_runtimes_exchange_messages():
    async with hardened() as one, hardened() as other:
        asking = Collector("asking", ("echo",))
        one.spawn(asking)
        pid = other.spawn(Echo())
        await one.settle()
        for number in range(1000):
            one.post(pid, "m", b"%d" % number, sender=asking.pid)
        await eventually(lambda: len(asking.messages) == 1000)
        assert asking.bodies == [b"%d" % number for number in range(1000)]


async def test_outgoing_connections_have_no_such_limits():
    async with hardened(header_s=SOON_S) as runtime, RawPeer() as peer:
        linker = await server_on(runtime)
        await call(runtime, linker, linker.link, PID("x", *peer.address))
        await peer.wait_connections(1)
        with pytest.raises(AssertionError):
            await eventually(lambda: linker.exits, 3 * SOON_S)


async def test_hardened_over_tls_counts_the_undecided(tmp_path):
    settings = Authority(trustme.CA(), tmp_path).settings(support_downgrade=True)
    limits = TcpLimits(hardened=True, hardened_limits=HardenedLimits(connections_per_ip_max=2))
    async with over_tls(settings, limits=limits) as runtime:
        await server_on(runtime)
        silent = [await asyncio.open_connection(*runtime.address) for _ in range(2)]
        await eventually(lambda: len(runtime._transport._tls_listener._welcoming) == 2)
        reader, writer = await asyncio.open_connection(*runtime.address)
        with contextlib.suppress(ConnectionError):
            assert await within(reader.read()) == b""
        for _, each in [*silent, (reader, writer)]:
            each.transport.abort()
        await eventually(lambda: runtime._transport.guests.count("127.0.0.1") == 0)
        assert await is_served(runtime)
