"""The dialling side of TCP: connections and links. Source: actor-runtime.md §1.8 to 1.10, 2.3."""

import asyncio
import os
import resource
import socket
import sys

import pytest
import pytest_asyncio

from actorproc import PID, BrokenTransport, Process, Runtime, TcpLimits, TcpTransport
from actorproc.core.wire import encode_message
from tests.runtime.raw import RawPeer, connected, post, read_answer
from tests.runtime.support import Collector, call, eventually, over_tcp, within

pytestmark = pytest.mark.asyncio

IDLE_S = 0.05


@pytest_asyncio.fixture
async def runtime():
    async with over_tcp() as runtime:
        yield runtime


@pytest_asyncio.fixture
async def hasty():
    """A runtime that keeps unused temporary connections for a moment only."""
    async with over_tcp(TcpLimits(idle_s=IDLE_S)) as runtime:
        yield runtime


@pytest_asyncio.fixture
async def peer():
    async with RawPeer() as peer:
        yield peer


async def collector_on(runtime, id="linker"):
    collector = Collector(id)
    runtime.spawn(collector)
    await runtime.settle()
    return collector


def counters(runtime):
    return runtime._transport.counters


# Bytes and connections.


async def test_the_bytes_on_the_wire_are_those_of_libprocess(runtime, peer):
    sender, to = PID("client", "127.0.0.1", 5051), PID("master", *peer.address)
    runtime.post(to, "ping", b"hello", sender=sender)
    runtime.post(to, "ping", sender=sender)
    [connection] = await peer.wait_connections(1)
    want = encode_message(sender, to, "ping", b"hello") + encode_message(sender, to, "ping", b"")
    await eventually(lambda: len(connection.data) >= len(want))
    assert connection.data == want


async def test_040_five_sends_in_one_handler_use_one_connection(hasty, peer):
    sender = await collector_on(hasty)
    to = PID("x", *peer.address)

    def five():
        for number in range(5):
            sender.send(to, f"n{number}")

    await call(hasty, sender, five)
    [connection] = await peer.wait_connections(1)
    await eventually(lambda: connection.is_lost)
    assert connection.names == [f"/x/n{number}" for number in range(5)]
    assert len(peer.connections) == 1


async def test_040_an_unused_temporary_connection_is_half_closed_and_the_next_send_dials_anew(
    hasty, peer
):
    to = PID("x", *peer.address)
    for number in range(3):
        hasty.post(to, f"n{number}")
        connections = await peer.wait_connections(number + 1)
        await eventually(lambda connection=connections[number]: connection.has_ended)
    assert [connection.names for connection in peer.connections] == [
        ["/x/n0"],
        ["/x/n1"],
        ["/x/n2"],
    ]
    await eventually(lambda: all(connection.is_lost for connection in peer.connections))
    assert hasty._transport._peers == {}


async def test_a_message_sent_while_the_old_connection_is_half_closed_is_not_lost(hasty):
    async with RawPeer(closes_at_end=False) as peer:
        to = PID("x", *peer.address)
        hasty.post(to, "n0")
        [connection] = await peer.wait_connections(1)
        await eventually(lambda: connection.has_ended)
        hasty.post(to, "n1")
        connections = await peer.wait_connections(2)
        await eventually(lambda: connections[1].names)
        assert [connection.names for connection in connections] == [["/x/n0"], ["/x/n1"]]


async def test_what_a_slow_peer_has_not_read_yet_survives_the_idle_period(hasty, monkeypatch):
    monkeypatch.setattr("actorproc.transport.outbound.CLOSE_S", IDLE_S)
    body = b"x" * 20_000_000
    async with RawPeer(reads_at_once=False) as slow, RawPeer() as other:
        hasty.post(PID("x", *slow.address), "n", body)
        [connection] = await slow.wait_connections(1)
        for number in range(5):  # several idle periods pass
            hasty.post(PID("y", *other.address), "n")
            connections = await other.wait_connections(number + 1)
            await eventually(lambda last=connections[number]: last.is_lost)
        assert len(connection.data) < len(body) / 2
        connection.transport.resume_reading()
        await eventually(lambda: connection.has_ended)
        assert len(connection.data) > len(body)
        assert connection.data.endswith(b"x\r\n0\r\n\r\n")


async def test_answers_are_read_and_thrown_away(runtime, peer):
    to = PID("x", *peer.address)
    runtime.post(to, "n0")
    [connection] = await peer.wait_connections(1)
    connection.transport.write(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + b"\0" * 500_000
    )
    runtime.post(to, "n1")
    await eventually(lambda: len(connection.names) == 2)


async def test_039_a_link_alone_is_one_connection_without_a_byte_that_stays_open(hasty, peer):
    linker = await collector_on(hasty)
    for id in ("x", "y"):
        await call(hasty, linker, linker.link, PID(id, *peer.address))
    [connection] = await peer.wait_connections(1)
    async with RawPeer() as other:
        for number in range(3):  # as long as temporary connections live
            hasty.post(PID("z", *other.address), "n")
            connections = await other.wait_connections(number + 1)
            await eventually(lambda last=connections[number]: last.is_lost)
    assert len(peer.connections) == 1
    assert connection.data == b""
    assert not connection.has_ended
    assert linker.exits == []


async def test_041_messages_use_the_connection_of_the_link(hasty, peer):
    linker = await collector_on(hasty)
    await call(hasty, linker, linker.link, PID("x", *peer.address))
    [connection] = await peer.wait_connections(1)
    for id in ("x", "y", "x"):
        await call(hasty, linker, linker.send, PID(id, *peer.address), "m")
    await eventually(lambda: len(connection.names) == 3)
    assert connection.names == ["/x/m", "/y/m", "/x/m"]
    assert len(peer.connections) == 1


async def test_a_link_after_a_send_makes_that_connection_persistent(hasty, peer):
    linker = await collector_on(hasty)
    pid = PID("x", *peer.address)
    await call(hasty, linker, linker.send, pid, "m")
    [connection] = await peer.wait_connections(1)
    await call(hasty, linker, linker.link, pid)
    async with RawPeer() as other:
        hasty.post(PID("z", *other.address), "n")
        [temporary] = await other.wait_connections(1)
        await eventually(lambda: temporary.is_lost)
    assert not connection.has_ended
    connection.transport.close()
    await eventually(lambda: linker.exits)
    assert linker.exits == [pid]


# Loss.


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_042_a_lost_connection_is_heard_once_per_linked_pid_and_the_next_send_dials(
    runtime, peer, how
):
    linkers = [await collector_on(runtime, f"linker{number}") for number in range(3)]
    pids = [PID(id, *peer.address) for id in ("x", "y")]
    for linker in linkers:
        for pid in pids * 2:
            await call(runtime, linker, linker.link, pid)
    [connection] = await peer.wait_connections(1)
    getattr(connection.transport, how)()
    await eventually(lambda: all(len(linker.exits) >= 2 for linker in linkers))
    await call(runtime, linkers[0], linkers[0].send, pids[0], "again")
    connections = await peer.wait_connections(2)
    await eventually(lambda: connections[1].names == ["/x/again"])
    connections[1].transport.close()  # temporary: nobody hears of it
    await eventually(lambda: not runtime._transport._peers)
    await runtime.settle()
    assert [linker.exits for linker in linkers] == [pids] * 3


@pytest.mark.parametrize("host", ["127.0.0.1", "host.invalid", "a..b", "x" * 70 + ".example"])
async def test_043_a_connection_that_cannot_be_made_is_heard_of(runtime, host):
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        linker = await collector_on(runtime)
        pid = PID("x", host, bound.getsockname()[1])
        await call(runtime, linker, linker.send, pid, "lost")
        await call(runtime, linker, linker.link, pid)
        await eventually(lambda: linker.exits)
    assert linker.exits == [pid]
    assert counters(runtime).dropped_not_connected == 1
    assert runtime._transport._peers == {}


async def test_connecting_that_takes_too_long_is_given_up(monkeypatch):
    async def never(*args, **kwargs):
        await asyncio.Event().wait()

    async with over_tcp(TcpLimits(connect_s=0.02)) as runtime:
        linker = await collector_on(runtime)
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        pid = PID("x", "10.255.255.1", 1)
        await call(runtime, linker, linker.link, pid)
        await eventually(lambda: linker.exits)
        assert linker.exits == [pid]


async def test_013_a_killed_peer_is_heard_of(runtime):
    program = (
        "import asyncio; from actorproc import *\n"
        "async def main():\n"
        "    async with Runtime(TcpTransport()) as runtime:\n"
        "        print(runtime.spawn(Process('x')), flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    try:
        pid = PID.parse((await within(child.stdout.readline())).decode().strip())
        linker = await collector_on(runtime)
        await call(runtime, linker, linker.link, pid)
        [outbound] = runtime._transport._peers.values()
        await eventually(lambda: outbound._transport)
        assert linker.exits == []
    finally:
        child.kill()
    await eventually(lambda: linker.exits)
    assert linker.exits == [pid]
    await within(child.wait())


async def test_015_without_descriptors_a_link_is_heard_at_once_and_nothing_leaks(runtime, peer):
    linker = await collector_on(runtime)
    pid = PID("x", *peer.address)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before), hard))
    hoard = []
    try:
        while True:  # holes below the limit
            hoard.append(os.dup(0))
    except OSError:
        pass
    try:
        await call(runtime, linker, linker.link, pid)
        await eventually(lambda: linker.exits)
    finally:
        for descriptor in hoard:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert linker.exits == [pid]
    assert open_descriptors() == before
    await call(runtime, linker, linker.link, pid)
    await peer.wait_connections(1)


# Relink.


def make_unwritable(outbound):
    """End the sending side of a connection behind the back of its owner."""
    descriptor = outbound._transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("before", ["nothing", "link", "temporary"])
async def test_014_reconnect_then_loss_is_heard_once(runtime, peer, before):
    linker, beside = await collector_on(runtime), await collector_on(runtime, "beside")
    pid = PID("x", *peer.address)
    if before == "link":
        await call(runtime, linker, linker.link, pid)
        await call(runtime, beside, beside.link, pid)
    elif before == "temporary":
        await call(runtime, linker, linker.send, pid, "m")
    if before != "nothing":
        await peer.wait_connections(1)
    await call(runtime, linker, lambda: linker.link(pid, reconnect=True))
    connections = await peer.wait_connections(1 if before == "nothing" else 2)
    if before != "nothing":
        await eventually(lambda: connections[0].is_lost)
    await runtime.settle()
    assert linker.exits == beside.exits == []
    connections[-1].transport.abort()
    await eventually(lambda: linker.exits)
    await runtime.settle()
    assert linker.exits == [pid]
    assert beside.exits == ([pid] if before == "link" else [])


async def test_016_reconnect_sends_over_the_new_socket_when_the_old_one_is_dead(runtime, peer):
    linker = await collector_on(runtime)
    pid = PID("x", *peer.address)
    await call(runtime, linker, linker.link, pid)
    await peer.wait_connections(1)
    [outbound] = runtime._transport._peers.values()
    await eventually(lambda: outbound._transport)
    make_unwritable(outbound)

    def relink_and_send():
        linker.link(pid, reconnect=True)
        linker.send(pid, "m")

    await call(runtime, linker, relink_and_send)
    connections = await peer.wait_connections(2)
    await eventually(lambda: connections[1].names == ["/x/m"])
    assert linker.exits == []


async def test_016_a_write_that_fails_is_heard(runtime, peer):
    linker = await collector_on(runtime)
    pid = PID("x", *peer.address)
    await call(runtime, linker, linker.link, pid)
    await peer.wait_connections(1)
    [outbound] = runtime._transport._peers.values()
    await eventually(lambda: outbound._transport)
    make_unwritable(outbound)
    await call(runtime, linker, linker.send, pid, "m")
    await eventually(lambda: linker.exits)
    assert linker.exits == [pid]


async def test_reconnect_while_connecting_keeps_the_queue(runtime, peer):
    linker = await collector_on(runtime)
    pid = PID("x", *peer.address)

    def burst():
        linker.link(pid)
        for number in range(3):
            linker.send(pid, f"n{number}")
            linker.link(pid, reconnect=True)

    await call(runtime, linker, burst)
    await eventually(lambda: any(len(each.names) == 3 for each in peer.connections))
    used = [each.names for each in peer.connections if each.names]
    assert used == [["/x/n0", "/x/n1", "/x/n2"]]
    assert linker.exits == []


# Limits.


@pytest.mark.parametrize(
    "limits",
    [
        TcpLimits(outgoing_messages_max=10),
        TcpLimits(
            outgoing_bytes_max=10
            * len(encode_message(PID.EMPTY, PID("x", "127.0.0.1", 10_000), "n0", b""))
        ),
    ],
    ids=["messages", "bytes"],
)
async def test_a_full_queue_drops_and_counts(limits, peer):
    async with over_tcp(limits) as runtime:
        to = PID("x", *peer.address)
        for number in range(15):  # nothing leaves before the loop turns
            runtime.post(to, f"n{number % 10}")
        assert counters(runtime).dropped_queue_full == 5
        [connection] = await peer.wait_connections(1)
        await eventually(lambda: len(connection.names) == 10)
        runtime.post(to, "n10")
        await eventually(lambda: len(connection.names) == 11)
        assert connection.names == [f"/x/n{number}" for number in range(11)]
        assert counters(runtime).sent == 11


async def test_a_peer_that_does_not_read_fills_its_queue_only(peer):
    async with (
        over_tcp(TcpLimits(outgoing_bytes_max=5_000_000)) as runtime,
        RawPeer(reads_at_once=False) as stuck,
    ):
        for _ in range(100):
            runtime.post(PID("x", *stuck.address), "m", b"x" * 1_000_000)
            runtime.post(PID("y", *peer.address), "m", b"y" * 10)
            await asyncio.sleep(0)
        [connection] = await peer.wait_connections(1)
        await eventually(lambda: len(connection.names) == 100)
        assert counters(runtime).dropped_queue_full > 50
        stuck.connections[0].transport.abort()


# Start and stop.


async def test_bind_conflict_names_the_address(runtime):
    transport = TcpTransport(runtime.address.ip, runtime.address.port)
    with pytest.raises(
        BrokenTransport, match=f"cannot listen on {runtime.address}: address in use"
    ):
        await Runtime(transport).start()


async def test_an_address_that_is_not_ours():
    with pytest.raises(BrokenTransport, match=r"cannot listen on 192\.0\.2\.1:0: "):
        await Runtime(TcpTransport("192.0.2.1", 0)).start()


async def test_the_advertised_address_is_the_one_in_pids():
    transport = TcpTransport("127.0.0.1", 0, advertise_ip="192.0.2.7", advertise_port=99)
    async with Runtime(transport) as runtime:
        assert str(runtime.spawn(Process("x"))) == "x@192.0.2.7:99"
    async with Runtime(TcpTransport("0.0.0.0", 0)) as runtime:
        assert runtime.address.ip not in ("", "0.0.0.0")
        assert runtime.address.port != 0


def open_descriptors():
    descriptors = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of the listing itself
        descriptors.add((name, target))
    return descriptors


async def test_stop_leaves_no_connection_task_or_descriptor(peer):
    before = open_descriptors(), asyncio.all_tasks()
    for _ in range(3):
        async with over_tcp() as runtime, over_tcp() as other:
            collector = await collector_on(other, "collector")
            linker = await collector_on(runtime)
            await call(runtime, linker, linker.link, collector.pid)
            await call(runtime, linker, linker.link, PID("x", *peer.address))
            await call(other, collector, collector.send, linker.pid, "m")
            await call(runtime, linker, linker.send, PID("y", *peer.address), "m")
            async with connected(runtime) as (reader, writer):
                writer.write(post("/linker/m"))
                assert (await read_answer(reader)).status == 202
                await eventually(lambda linker=linker: len(linker.messages) == 2)
                writer.write(post("/linker/m")[:20])
                await runtime.stop()
                assert await within(reader.read()) == b""
    await eventually(lambda: all(connection.is_lost for connection in peer.connections))
    peer.connections.clear()
    await eventually(lambda: (open_descriptors(), asyncio.all_tasks()) == before)


async def test_stop_delivers_what_was_queued_and_does_not_wait_for_the_dead(monkeypatch, peer):
    for module in ("tcp", "outbound"):
        monkeypatch.setattr(f"actorproc.transport.{module}.CLOSE_S", 0.05)
    async with RawPeer(reads_at_once=False, closes_at_end=False) as stuck:
        runtime = over_tcp()
        await runtime.start()
        runtime.post(PID("x", *stuck.address), "m", b"x" * 20_000_000)
        await stuck.wait_connections(1)
        runtime.post(PID("y", *peer.address), "m", b"y" * 1_000_000)
        await within(runtime.stop())
        [connection] = await peer.wait_connections(1)
        await eventually(lambda: connection.has_ended)
        assert len(connection.data) > 1_000_000
        runtime.post(PID("y", *peer.address), "late")
        assert counters(runtime).dropped_not_connected >= 1
        assert len(peer.connections) == 1


async def test_links_made_while_stopping_are_heard_of():
    class Clinging(Collector):
        def finalize(self):
            self.link(PID("x", "127.0.0.1", 1))

    async with over_tcp() as runtime:
        await collector_on(runtime)
        runtime.spawn(Clinging())
    assert runtime._transport._peers == {}
