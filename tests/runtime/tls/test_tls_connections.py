"""Connections over TLS keep what plain ones keep: bursts, order, links. Source: §1.8-1.10, §2.3."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form

from actorproc import PID, BrokenTransport, Runtime, TcpLimits, TcpTransport
from actorproc.core.wire import encode_message
from actorproc.errors import InvalidSetting
from actorproc.transport.tls import OwedAnswers, TlsSettings, is_tls_greeting
from tests.runtime.raw import get, post, read_answer, read_answers
from tests.runtime.support import Collector, Echo, call, eventually, within
from tests.runtime.tls.support import (
    IP,
    client_context,
    collector_on,
    connected,
    over_tls,
)

pytestmark = pytest.mark.asyncio

CLIENT = PID("client", IP, 5051)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def messages(runtime, count):
    to = PID("collector", *runtime.address)
    return b"".join(encode_message(CLIENT, to, "m", b"%d" % number) for number in range(count))


def secured_socket(runtime):
    """A blocking socket to a runtime."""
    plain = socket.create_connection(runtime.address, timeout=20)
    return client_context().wrap_socket(plain)


class RawTlsPeer:
    """Listens with TLS at a PID's address, writes down what it reads, answers when told to."""

    def __init__(self, authority):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.files(IP))
        self.connections = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _RawTlsConnection(self), IP, 0, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
        await eventually(lambda: all(connection.is_lost for connection in self.connections))


class _RawTlsConnection(asyncio.Protocol):
    def __init__(self, peer):
        self.peer = peer
        self.data = b""
        self.is_lost = False

    def connection_made(self, transport):
        self.transport = transport
        self.peer.connections.append(self)

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.is_lost = True


# Receiving.


@pytest.mark.parametrize("end", ["farewell", "none"])
@pytest.mark.parametrize("count", [2, 500, 20_000])
async def test_bursts_of_a_sender_that_never_reads_an_answer_arrive_whole(authority, count, end):
    async with over_tls(authority.settings()) as runtime:
        server = await collector_on(runtime)

        def burst():
            with secured_socket(runtime) as secured:
                secured.sendall(messages(runtime, count))
                if end == "farewell":
                    with contextlib.suppress(ssl.SSLError):  # answers came instead of one
                        secured.unwrap()

        done = threading.Thread(target=burst)
        done.start()
        await eventually(lambda: len(server.messages) == count, 20.0)
        assert server.bodies == [b"%d" % number for number in range(count)]
        await asyncio.to_thread(done.join)
        await eventually(lambda: not runtime._transport._inbound)


async def test_messages_and_requests_are_answered_in_order(authority):
    async with over_tls(authority.settings()) as runtime:
        await collector_on(runtime)
        async with connected(runtime, client_context()) as (reader, writer):
            writer.write(post("/collector/m", b"x") + get("/collector/no") + post("/nobody/m"))
            statuses = [answer.status for answer in await read_answers(reader, 3)]
            assert statuses == [202, 404, 404]


async def test_an_answer_that_closes_reaches_the_client(authority):
    async with over_tls(authority.settings()) as runtime:
        await collector_on(runtime)
        async with connected(runtime, client_context()) as (reader, writer):
            writer.write(get("/collector/no", headers="Host: x\r\nConnection: close\r\n"))
            assert (await read_answer(reader)).status == 404
            assert await read_answer(reader) is None
        await eventually(lambda: not runtime._transport._inbound)


async def test_a_refusal_reaches_a_client_that_is_still_sending(authority):
    limits = TcpLimits(message_bytes_max=1000)
    async with over_tls(authority.settings(), limits=limits) as runtime:
        await collector_on(runtime)

        def send():
            with secured_socket(runtime) as secured:
                head = "POST /collector/m HTTP/1.1\r\nLibprocess-From: a@127.0.0.1:1\r\n"
                secured.sendall(f"{head}Content-Length: 8000000\r\n\r\n".encode())
                for _ in range(8):
                    secured.sendall(b"x" * 1_000_000)
                return secured.recv(1000)

        assert (await asyncio.to_thread(send)).startswith(b"HTTP/1.1 413 ")


async def test_a_connection_that_breaks_during_the_handshake_leaves_nothing(authority):
    for downgrade in (False, True):
        async with over_tls(authority.settings(support_downgrade=downgrade)) as runtime:
            for begun in (
                b"",
                b"\x16",
                b"\x16\x03\x01\x00\x05\x01garbage",
                b"\x16\x03\x01\x00\x05",
            ):
                async with connected(runtime) as (_, writer):
                    writer.write(begun)
                    await writer.drain()
            await eventually(lambda runtime=runtime: counters_are_clean(runtime))


def counters_are_clean(runtime):
    transport = runtime._transport
    return not transport._tls_listener._welcoming and not transport._inbound


# Sending.


async def test_both_ways_and_large(authority):
    async with over_tls(authority.settings()) as one, over_tls(authority.settings()) as other:
        asking = Collector("asking", ("echo",))
        one.spawn(asking)
        other.spawn(Echo())
        body = os.urandom(3_000_000)
        one.post(PID("echo", *other.address), "m", body, sender=asking.pid)
        await eventually(lambda: asking.messages)
        assert asking.bodies == [body]


async def test_an_unlinked_burst_then_stop_arrives_whole(authority):
    count = 20_000
    async with over_tls(authority.settings()) as receiving:
        server = await collector_on(receiving)
        async with over_tls(authority.settings()) as sending:
            for number in range(count):
                sending.post(server.pid, "m", b"%d" % number)
            await eventually(lambda: server.messages)
        await eventually(lambda: len(server.messages) == count)
        assert server.bodies == [b"%d" % number for number in range(count)]


async def test_a_temporary_connection_waits_for_its_answers_before_it_closes(authority):
    limits = TcpLimits(idle_s=0.02)
    async with RawTlsPeer(authority) as peer, over_tls(authority.settings(), limits=limits) as one:
        one.post(PID("x", IP, peer.port), "m", b"1")
        one.post(PID("x", IP, peer.port), "m", b"2")
        await eventually(lambda: peer.connections and peer.connections[0].data.count(b"POST") == 2)
        [connection] = peer.connections
        connection.transport.write(ACCEPTED + ACCEPTED[:20])
        [outbound] = one._transport._peers.values()
        await eventually(lambda: outbound._owed.count == 1)
        await eventually(lambda: one._transport._peers)
        with pytest.raises(AssertionError):  # ten idle periods
            await eventually(lambda: connection.is_lost, 0.2)
        connection.transport.write(ACCEPTED[20:])
        await eventually(lambda: connection.is_lost)
        assert not one._transport._peers


async def test_stop_waits_for_owed_answers_but_not_for_ever(authority, monkeypatch):
    for module in ("tcp", "outbound"):
        monkeypatch.setattr(f"actorproc.transport.{module}.CLOSE_S", 0.2)
    async with RawTlsPeer(authority) as peer:
        async with over_tls(authority.settings()) as one:
            one.post(PID("x", IP, peer.port), "m", b"1")
            await eventually(lambda: peer.connections and peer.connections[0].data)
        await eventually(lambda: peer.connections[0].is_lost)


async def test_a_link_is_one_connection_without_a_byte_that_stays_open(authority):
    limits = TcpLimits(idle_s=0.02)
    async with RawTlsPeer(authority) as peer, over_tls(authority.settings(), limits=limits) as one:
        linker = await collector_on(one)
        pid = PID("x", IP, peer.port)
        await call(one, linker, linker.link, pid)
        await eventually(lambda: peer.connections)
        with pytest.raises(AssertionError):  # ten idle periods
            await eventually(lambda: peer.connections[0].is_lost or linker.exits, 0.2)
        assert peer.connections[0].data == b""
        await call(one, linker, linker.send, pid, "m")
        await eventually(lambda: peer.connections[0].data)
        peer.connections[0].transport.abort()
        await eventually(lambda: linker.exits)
        assert linker.exits == [pid]
        assert len(peer.connections) == 1


async def test_reconnect_over_tls_is_not_heard_of(authority):
    async with RawTlsPeer(authority) as peer, over_tls(authority.settings()) as one:
        linker = await collector_on(one)
        pid = PID("x", IP, peer.port)
        await call(one, linker, linker.link, pid)
        await eventually(lambda: peer.connections)
        await call(one, linker, lambda: linker.link(pid, reconnect=True))
        await eventually(lambda: len(peer.connections) == 2 and peer.connections[0].is_lost)
        assert linker.exits == []


async def test_a_server_that_never_shakes_hands_is_given_up(authority):
    limits = TcpLimits(handshake_s=0.05)
    accepted = []
    silent = await asyncio.start_server(lambda _, writer: accepted.append(writer), IP, 0)
    port = silent.sockets[0].getsockname()[1]
    async with over_tls(authority.settings(), limits=limits) as one:
        linker = await collector_on(one)
        await call(one, linker, linker.link, PID("x", IP, port))
        await eventually(lambda: linker.exits)
    silent.close()
    for writer in accepted:
        writer.transport.abort()


async def test_downgrade_dials_twice_and_no_more(authority):
    dialled = []

    async def hang_up(reader, writer):
        dialled.append(await reader.read(3))
        writer.close()

    server = await asyncio.start_server(hang_up, IP, 0)
    port = server.sockets[0].getsockname()[1]
    async with over_tls(authority.settings(support_downgrade=True)) as one:
        linker = await collector_on(one)
        pid = PID("x", IP, port)
        await call(one, linker, lambda: (linker.link(pid), linker.send(pid, "m")))
        await eventually(lambda: linker.exits)
        assert dialled == [b"\x16\x03\x01", b"POS"]
        assert linker.exits == [pid]
    server.close()


async def test_stop_while_clients_are_undecided_leaves_no_task_or_descriptor(authority):
    async with over_tls(authority.settings()) as runtime, connected(runtime):
        pass  # descriptors that belong to the loop
    before = set(os.listdir("/proc/self/fd"))
    clients = []
    runtime = over_tls(authority.settings(support_downgrade=True))
    await runtime.start()
    for begun in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
        _, writer = await asyncio.open_connection(*runtime.address)
        writer.write(begun)
        clients.append(writer)
    await eventually(lambda: len(runtime._transport._tls_listener._welcoming) == 3)
    await within(runtime.stop())
    for writer in clients:
        writer.transport.abort()
    await eventually(lambda: set(os.listdir("/proc/self/fd")) <= before)
    assert len(asyncio.all_tasks()) == 1


async def test_an_accepting_socket_survives_a_lack_of_descriptors(authority, monkeypatch, caplog):
    monkeypatch.setattr("actorproc.transport.tls.ACCEPT_PAUSE_S", 0.05)
    async with over_tls(authority.settings()) as runtime:
        server = await collector_on(runtime)
        listener = runtime._transport._tls_listener

        class NoMoreDescriptors:
            def __init__(self, sock):
                self.sock = sock
                self.refused = 0

            def accept(self):
                if self.refused < 2:
                    self.refused += 1
                    raise OSError(24, "Too many open files")
                return self.sock.accept()

            def __getattr__(self, name):
                return getattr(self.sock, name)

        listener._sock = NoMoreDescriptors(listener._sock)
        async with connected(runtime, client_context()) as (reader, writer):
            writer.write(post("/collector/m", b"x"))
            assert (await read_answer(reader)).status == 202
        assert server.bodies == [b"x"]
        assert "cannot accept connections for a moment" in caplog.text


async def test_b117_a_send_after_the_peer_shut_down_fails_once_and_is_not_retried(authority):
    async with RawTlsPeer(authority) as peer, over_tls(authority.settings()) as one:
        linker = await collector_on(one)
        pid = PID("x", IP, peer.port)
        await call(one, linker, linker.link, pid)
        await eventually(lambda: peer.connections)
        peer._server.close()
        peer.connections[0].transport.close()
        await eventually(lambda: linker.exits)
        await call(one, linker, linker.send, pid, "m")  # dials anew, in vain
        await eventually(lambda: one._transport.counters.dropped_not_connected == 1)
        assert linker.exits == [pid]
        assert one._transport.is_idle
        assert not one._transport._peers


async def test_b117_a_client_that_ended_before_it_spoke_is_let_go(authority):
    for downgrade in (False, True):
        async with over_tls(authority.settings(support_downgrade=downgrade)) as runtime:
            for context in (None, client_context()):
                async with connected(runtime, context) as (reader, writer):
                    if writer.can_write_eof():
                        writer.write_eof()
                        with contextlib.suppress(ConnectionResetError):
                            assert await within(reader.read()) == b""
            await eventually(lambda runtime=runtime: counters_are_clean(runtime))


# What cannot be used is said at once.


async def test_settings_that_cannot_be_used_are_refused_with_their_name(authority, tmp_path):
    (tmp_path / "junk.pem").write_text("junk")
    junk = str(tmp_path / "junk.pem")
    cases = {
        "cert_file": {"cert_file": str(tmp_path / "absent")},
        "key_file": {"key_file": str(tmp_path / "absent")},
        "ca_file": {"ca_file": junk},
        "ca_dir": {"ca_dir": junk},
        "ciphers": {"ciphers": "NO-SUCH-CIPHER"},
        "ecdh_curves": {"ecdh_curves": "no-such-curve"},
        "verification_depth": {"verification_depth": -1},
        "hostname_validation_scheme": {"hostname_validation_scheme": "dns"},
        "enable_tls_v1_2": {"enable_tls_v1_2": False},
        "enable_ssl_v3": {"enable_ssl_v3": True},
    }
    for name, change in cases.items():
        with pytest.raises(InvalidSetting) as refused:
            TcpTransport(ssl=replace(authority.settings(), **change))
        assert refused.value.name == name, change
    for change in ({"cert_file": junk}, {"ecdh_curves": "P-256:P-384"}):
        with pytest.raises(InvalidSetting):
            TcpTransport(ssl=replace(authority.settings(), **change))
    with pytest.raises(InvalidSetting, match="gap"):
        TcpTransport(
            ssl=authority.settings(
                enable_tls_v1_1=True, enable_tls_v1_2=False, enable_tls_v1_3=True
            )
        )
    TcpTransport(ssl=authority.settings(ecdh_curves="P-384"))


async def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(authority, tmp_path):
    cert_file, key_file = authority.files(IP)
    blob = await asyncio.to_thread(Path(key_file).read_bytes)
    key = form.load_pem_private_key(blob, None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(InvalidSetting, match=r"key_file.*passphrase"):
        TcpTransport(ssl=TlsSettings(cert_file=cert_file, key_file=str(locked)))


async def test_verified_certificates_beside_plain_text_are_warned_of(authority, caplog):
    TcpTransport(ssl=authority.settings(verify_server_cert=True, support_downgrade=True))
    assert "support_downgrade" in caplog.text


async def test_bind_conflict_over_tls_names_the_address(authority):
    async with over_tls(authority.settings()) as runtime:
        second = TcpTransport(IP, runtime.address.port, ssl=authority.settings())
        with pytest.raises(BrokenTransport, match=f"{runtime.address}: address in use"):
            await Runtime(second).start()


# Parts.


@pytest.mark.parametrize(
    ("data", "is_tls"),
    [
        (b"\x16\x03\x01\x02\x00\x01", True),
        (b"\x16\x03\x03\x00\x05\x01", True),
        (b"\x16\x03\x01\x02\x00\x02", False),
        (b"\x16\x04\x01\x02\x00\x01", False),
        (b"\x16", True),
        (b"\x16\x03\x01", True),
        (b"\x16P", False),
        (b"POST /", False),
        (b"", False),
    ],
)
async def test_a_tls_greeting_is_told_by_its_first_bytes(data, is_tls):
    assert is_tls_greeting(data) is is_tls


async def test_owed_answers_are_counted_whatever_their_pieces():
    owed = OwedAnswers()
    owed.add(3)
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nHTTP/1.1 202 A"
    for byte in ACCEPTED + missing:
        owed.feed(bytes([byte]))
    assert owed.count == 1
    owed.feed(ACCEPTED + ACCEPTED)
    assert owed.count == 0
    owed.add(1)
    owed.feed(b"not http at all\r\n\r\n")
    owed.feed(ACCEPTED)
    assert owed.count == 1
