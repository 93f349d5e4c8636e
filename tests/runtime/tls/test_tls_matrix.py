"""Who may speak with whom, by what both sides configure. Source: actor-runtime.md §10, §15."""

import asyncio
import contextlib
import socket
import ssl

import pytest
import trustme

from actorproc import PID, TcpLimits
from tests.runtime.raw import get, post, read_answer
from tests.runtime.support import call, eventually, within
from tests.runtime.tls.support import (
    IP,
    Authority,
    client_context,
    collector_on,
    connected,
    over_tls,
)

pytestmark = pytest.mark.asyncio


async def arrives(sending, receiving, host=IP):
    """Whether a message from one runtime is delivered in another; if not, its linker hears."""
    receiver = await collector_on(receiving, "receiver")
    linker = await collector_on(sending, "linker")
    pid = PID("receiver", host, receiving.address.port)

    def speak():
        linker.link(pid)
        linker.send(pid, "m", b"hello")

    await call(sending, linker, speak)
    await eventually(lambda: receiver.messages or linker.exits)
    assert bool(receiver.messages) != bool(linker.exits)
    return bool(receiver.messages)


# What both sides have beside a trusted certificate that names the address.
@pytest.mark.parametrize(
    ("sender", "receiver", "want"),
    [
        ("plain", "plain", True),
        ("tls", "tls", True),
        ("tls", "plain", False),
        ("plain", "tls", False),
        ("downgrade", "plain", True),
        ("plain", "downgrade", True),
        ("downgrade", "tls", True),
        ("tls", "downgrade", True),
        ("downgrade", "downgrade", True),
    ],
)
async def test_b119_tls_and_downgrade_on_and_off(authority, sender, receiver, want):
    settings = {
        "plain": None,
        "tls": authority.settings(),
        "downgrade": authority.settings(support_downgrade=True),
    }
    async with over_tls(settings[sender]) as one, over_tls(settings[receiver]) as other:
        assert await arrives(one, other) is want


@pytest.mark.parametrize("scheme", ["openssl", "legacy"])
@pytest.mark.parametrize("downgrade", [False, True])
async def test_b119_a_server_of_a_wrong_authority_is_not_spoken_to(
    authority, stranger, scheme, downgrade
):
    checking = authority.settings(
        verify_server_cert=True,
        verify_ipadd=True,
        hostname_validation_scheme=scheme,
        support_downgrade=downgrade,
    )
    # The wrong server would take plain text too: a refused certificate must not lead there.
    wrong = stranger.settings(support_downgrade=True)
    async with over_tls(checking) as one, over_tls(wrong) as other:
        assert await arrives(one, other) is False
    async with over_tls(checking) as one, over_tls(authority.settings()) as other:
        assert await arrives(one, other) is True


@pytest.mark.parametrize(
    ("named", "dialled", "verify_ipadd", "want"),
    [
        (("localhost",), "localhost", False, True),
        (("*.example.org",), "localhost", False, False),
        (("elsewhere.example",), "localhost", False, False),
        ((IP,), IP, True, True),
        (("127.0.0.9",), IP, True, False),
        ((IP,), IP, False, False),  # no name to check
        ((IP,), "localhost", True, False),
    ],
)
async def test_b119_scheme_openssl_checks_the_name_in_the_pid(
    authority, named, dialled, verify_ipadd, want
):
    checking = authority.settings(
        verify_server_cert=True, verify_ipadd=verify_ipadd, hostname_validation_scheme="openssl"
    )
    async with over_tls(checking) as one, over_tls(authority.settings(*named)) as other:
        assert await arrives(one, other, dialled) is want


@pytest.mark.parametrize(
    ("named", "looked_up", "verify_ipadd", "want"),
    [
        (("node-1.example.org",), "node-1.example.org", False, True),
        (("*.example.org",), "node-1.example.org", False, True),
        (("*.example.org",), "a.node-1.example.org", False, False),
        (("*.org",), "example.org", False, False),
        (("node-2.example.org",), "node-1.example.org", False, False),
        (("node-2.example.org",), "", False, False),
        ((IP,), "", True, True),
        ((IP,), "node-1.example.org", True, True),
        ((IP,), "node-1.example.org", False, False),
        (("127.0.0.9",), "node-1.example.org", True, False),
    ],
)
async def test_b119_scheme_legacy_checks_the_looked_up_name(
    authority, monkeypatch, named, looked_up, verify_ipadd, want
):
    async def name_of(self, ip):
        assert ip == IP
        return looked_up

    monkeypatch.setattr("actorproc.transport.tls.Tls._name_of", name_of)
    checking = authority.settings(verify_server_cert=True, verify_ipadd=verify_ipadd)
    async with over_tls(checking) as one, over_tls(authority.settings(*named)) as other:
        assert await arrives(one, other) is want


async def test_b119_the_look_up_is_the_system_s_and_is_remembered(authority):
    name, _ = socket.getnameinfo((IP, 0), 0)
    if name == IP:
        pytest.skip("the loopback address has no name here")
    checking = authority.settings(verify_server_cert=True)
    async with over_tls(checking) as one, over_tls(authority.settings(name)) as other:
        assert await arrives(one, other) is True
        assert one._transport.tls._names[IP][0] == name


@pytest.mark.parametrize(
    ("client", "scheme", "want"),
    [
        ("trusted", "openssl", True),
        ("trusted, other name", "openssl", True),  # names of clients are not checked
        ("trusted, other name", "legacy", False),
        ("stranger", "openssl", False),
        ("plain", "openssl", False),
    ],
)
async def test_b119_clients_must_show_a_certificate(authority, stranger, client, scheme, want):
    demanding = authority.settings(
        require_client_cert=True, verify_ipadd=True, hostname_validation_scheme=scheme
    )
    settings = {
        "trusted": authority.settings(),
        "trusted, other name": authority.settings("elsewhere.example"),
        "stranger": stranger.settings(trusts=authority),
        "plain": None,
    }[client]
    async with over_tls(settings) as one, over_tls(demanding) as other:
        assert await arrives(one, other) is want


async def test_b119_a_client_without_certificate_is_turned_away_where_one_is_demanded(authority):
    demanding = authority.settings(require_client_cert=True, hostname_validation_scheme="openssl")
    async with over_tls(demanding) as runtime:
        server = await collector_on(runtime)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(runtime, client_context(authority)):
                pass
        context = client_context(authority, names=("elsewhere.example",))
        async with connected(runtime, context) as (reader, writer):
            writer.write(post("/collector/m", b"x"))
            assert (await read_answer(reader)).status == 202
        assert server.bodies == [b"x"]


async def test_b119_demanding_certificates_implies_verifying_servers(authority, stranger):
    demanding = authority.settings(
        require_client_cert=True, verify_ipadd=True, hostname_validation_scheme="openssl"
    )
    async with over_tls(demanding) as one, over_tls(stranger.settings()) as other:
        assert await arrives(one, other) is False


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_b119_the_chain_may_not_be_longer_than_allowed(authority, tmp_path, depth):
    long = Authority(authority.ca.create_child_ca().create_child_ca(), tmp_path)
    checking = authority.settings(
        verify_server_cert=True, verify_ipadd=True, verification_depth=depth
    )
    async with over_tls(checking) as one, over_tls(long.settings(trusts=authority)) as other:
        assert await arrives(one, other) is (depth == 2)


async def test_b119_plain_http_to_a_downgrade_server_works(authority):
    async with over_tls(authority.settings(support_downgrade=True)) as runtime:
        await collector_on(runtime)
        for context in (None, client_context()):
            async with connected(runtime, context) as (reader, writer):
                writer.write(get("/collector/nothing"))
                assert (await read_answer(reader)).status == 404


@pytest.mark.parametrize(
    ("enabled", "offered", "want"),
    [
        ({}, ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ({}, ssl.TLSVersion.TLSv1_3, None),
        ({"enable_tls_v1_3": True}, ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ({"enable_tls_v1_3": True, "enable_tls_v1_2": False}, ssl.TLSVersion.TLSv1_2, None),
    ],
)
async def test_b119_versions(authority, enabled, offered, want):
    async with over_tls(authority.settings(**enabled)) as runtime:
        context = client_context(version=offered)
        if want is None:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(runtime, context):
                    pass
        else:
            async with connected(runtime, context) as (_, writer):
                assert writer.get_extra_info("ssl_object").version() == want


async def test_b119_ciphers_of_libprocess_by_default_are_common_ground(tmp_path):
    rsa = Authority(trustme.CA(key_type=trustme.KeyType.RSA), tmp_path, trustme.KeyType.RSA)
    old = client_context()
    old.set_ciphers("AES128-SHA:AES256-SHA:DHE-RSA-AES128-SHA")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with over_tls(rsa.settings()) as runtime:
        async with connected(runtime, old) as (_, writer):
            assert writer.get_extra_info("cipher")[0] == "AES128-SHA"
        async with connected(runtime, client_context()) as (_, writer):
            assert "GCM" in writer.get_extra_info("cipher")[0]


# Nobody waits for the silent.


@pytest.mark.parametrize("downgrade", [False, True])
async def test_b118_silent_clients_on_a_tls_port_delay_nobody(authority, downgrade):
    async with over_tls(authority.settings(support_downgrade=downgrade)) as runtime:
        server = await collector_on(runtime)
        silent = [await asyncio.open_connection(*runtime.address) for _ in range(50)]
        for number, (_, writer) in enumerate(silent):
            writer.write(b"\x16\x03\x01"[: number % 4])  # some have begun to greet
        async with asyncio.timeout(5.0):  # far below any deadline of the server
            async with connected(runtime, client_context()) as (reader, writer):
                writer.write(post("/collector/m", b"x"))
                assert (await read_answer(reader)).status == 202
        assert server.bodies == [b"x"]
        for _, writer in silent:
            writer.transport.abort()


async def test_b118_a_silent_plain_link_to_a_downgrade_server_stays_open(authority, monkeypatch):
    monkeypatch.setattr("actorproc.transport.tls.GREETING_S", 0.02)
    async with over_tls(authority.settings(support_downgrade=True)) as runtime:
        server = await collector_on(runtime)
        async with connected(runtime) as (reader, writer):
            with pytest.raises(TimeoutError):  # many times the deadline of those who have begun
                await asyncio.wait_for(reader.read(1), 0.3)
            writer.write(post("/collector/m", b"at last"))
            assert (await read_answer(reader)).status == 202
        assert server.bodies == [b"at last"]


@pytest.mark.parametrize("begun", [b"\x16", b"\x16\x03\x01", b"PO"])
async def test_b118_who_begins_to_speak_and_stops_is_turned_away(authority, monkeypatch, begun):
    monkeypatch.setattr("actorproc.transport.tls.GREETING_S", 0.05)
    async with over_tls(authority.settings(support_downgrade=True)) as runtime:
        async with connected(runtime) as (reader, writer):
            writer.write(begun)
            with contextlib.suppress(ConnectionResetError):
                assert await within(reader.read()) == b""
        await eventually(lambda: not runtime._transport._tls_listener._welcoming)


async def test_b118_a_handshake_has_a_deadline(authority):
    limits = TcpLimits(handshake_s=0.05)
    async with over_tls(authority.settings(), limits=limits) as runtime:
        async with connected(runtime) as (reader, _):
            assert await within(reader.read()) == b""
        await eventually(lambda: not runtime._transport._tls_listener._welcoming)
