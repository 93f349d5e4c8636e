"""Addresses: IPv6 (an extension), what is advertised, and who may claim which."""

import asyncio
import socket

import pytest

from actorproc import PID, BrokenTransport, Process, Runtime, TcpTransport
from actorproc.errors import InvalidSetting
from tests.runtime.raw import post, read_answer, read_answers
from tests.runtime.support import Collector, Echo, call, eventually, over_tcp, within

pytestmark = pytest.mark.asyncio


def has_ip6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ip6 = pytest.mark.skipif(not has_ip6(), reason="this machine has no IPv6 loopback address")


def transport_of(runtime):
    return runtime._transport


class Asking(Collector):
    def __init__(self, id="asking"):
        super().__init__(id, ("echo",))

    def say(self, pid):
        self.send(pid, "m", b"over")


# IPv6.


@needs_ip6
async def test_ip6_runtimes_exchange_messages_and_link():
    async with Runtime(TcpTransport("::1")) as one:
        asking = Asking()
        one.spawn(asking)
        await one.settle()
        assert str(asking.pid) == f"asking@[::1]:{one.address.port}"
        async with Runtime(TcpTransport("::1")) as other:
            pid = other.spawn(Echo())
            await call(one, asking, asking.say, PID.parse(str(pid)))
            await eventually(lambda: asking.messages)
            assert asking.messages == [("echo", pid, b"over")]
            await call(one, asking, asking.link, pid)
        await eventually(lambda: asking.exits)
        assert asking.exits == [pid]


@needs_ip6
async def test_ip4_and_ip6_runtimes_reach_each_other():
    async with over_tcp() as one, Runtime(TcpTransport("::1")) as other:
        asking = Asking()
        one.spawn(asking)
        pid = other.spawn(Echo())
        await one.settle()
        await call(one, asking, asking.say, pid)
        await eventually(lambda: asking.messages)
        assert asking.bodies == [b"over"]


@needs_ip6
async def test_ip6_stands_in_brackets_in_the_host_header():
    async with over_tcp() as runtime:
        got = asyncio.get_running_loop().create_future()

        async def listen(reader, writer):
            got.set_result(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_server(listen, "::1", 0)
        port = server.sockets[0].getsockname()[1]
        runtime.post(PID("x", "::1", port), "m")
        assert f"\r\nHost: [::1]:{port}\r\n".encode() in await within(got)
        server.close()


@needs_ip6
async def test_all_ip6_addresses_leave_the_port_to_ip4():
    # No dual stack: a transport has one kind of address, so senders compare with peers exactly.
    async with Runtime(TcpTransport("::", advertise_ip="::1")) as runtime:
        port = runtime.address.port
        with socket.create_server(("0.0.0.0", port)):
            pass
        assert runtime.address.ip == "::1"


@needs_ip6
async def test_all_ip6_addresses_are_advertised_as_the_host_s():
    async with Runtime(TcpTransport("::")) as runtime:
        assert ":" in runtime.address.ip
        assert runtime.address.ip != "::"


@needs_ip6
async def test_an_ip6_bind_conflict_names_the_address():
    async with Runtime(TcpTransport("::1")) as runtime:
        second = Runtime(TcpTransport("::1", runtime.address.port))
        with pytest.raises(BrokenTransport) as refused:
            await second.start()
        assert f"[::1]:{runtime.address.port}: address in use" in str(refused.value)


# Senders must speak from where they claim to be.


@pytest.mark.parametrize("ip", ["127.0.0.1", pytest.param("::1", marks=needs_ip6)])
async def test_b038_a_sender_that_claims_another_ip_is_answered_400_and_not_delivered(ip):
    async with Runtime(TcpTransport(ip, require_peer_ip_match=True)) as runtime:
        server = Collector("server")
        runtime.spawn(server)
        await runtime.settle()
        own = f"[{ip}]" if ":" in ip else ip
        claims = [f"a@{own}:1", "a@10.9.8.7:1", "nonsense", "a@localhost:1", f"b@{own}:2"]
        reader, writer = await asyncio.open_connection(*runtime.address)
        for claim in claims:
            writer.write(post("/server/m", b"x", headers=f"Libprocess-From: {claim}\r\n"))
        answers = await read_answers(reader, len(claims))
        assert [answer.status for answer in answers] == [202, 400, 400, 400, 202]
        text = answers[1].body.decode()
        assert "10.9.8.7" in text
        assert ip in text
        assert [str(sender) for _, sender, _ in server.messages] == [claims[0], claims[-1]]
        assert transport_of(runtime).counters.refused_senders == 3
        # The same head is remembered: it must be looked at every time all the same.
        writer.write(post("/server/m", b"x", headers=f"Libprocess-From: {claims[1]}\r\n") * 2)
        assert [answer.status for answer in await read_answers(reader, 2)] == [400, 400]
        writer.close()


async def test_b038_without_the_flag_any_claim_is_believed():
    async with over_tcp() as runtime:
        server = Collector("server")
        runtime.spawn(server)
        reader, writer = await asyncio.open_connection(*runtime.address)
        writer.write(post("/server/m", headers="Libprocess-From: a@10.9.8.7:1\r\n"))
        assert (await read_answer(reader)).status == 202
        assert [str(sender) for _, sender, _ in server.messages] == ["a@10.9.8.7:1"]
        writer.close()


async def test_b038_runtimes_that_demand_it_speak_with_each_other():
    async with (
        Runtime(TcpTransport(require_peer_ip_match=True)) as one,
        Runtime(TcpTransport(require_peer_ip_match=True)) as other,
    ):
        asking = Asking()
        one.spawn(asking)
        pid = other.spawn(Echo())
        await one.settle()
        await call(one, asking, asking.say, pid)
        await eventually(lambda: asking.messages)


# From the environment.


async def test_a_transport_as_the_environment_says():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "LIBPROCESS_IP": "127.0.0.1",
        "LIBPROCESS_PORT": str(port),
        "LIBPROCESS_ADVERTISE_IP": "10.1.2.3",
        "LIBPROCESS_ADVERTISE_PORT": "4321",
        "LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH": "1",
        "LIBPROCESS_SOMETHING_ELSE": "ignored",
    }
    async with Runtime(TcpTransport.from_environment(environ)) as runtime:
        assert str(runtime.spawn(Process("x"))) == "x@10.1.2.3:4321"
        assert transport_of(runtime).requires_peer_ip_match
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/x/m", headers="Libprocess-From: a@10.9.8.7:1\r\n"))
        assert (await read_answer(reader)).status == 400
        writer.close()


async def test_an_empty_environment_listens_everywhere_and_advertises_one_address():
    async with Runtime(TcpTransport.from_environment({})) as runtime:
        assert transport_of(runtime)._server.sockets[0].getsockname()[0] == "0.0.0.0"
        assert runtime.address.ip != "0.0.0.0"
        assert runtime.address.port != 0


async def test_files_that_cannot_be_used_are_reported_by_their_variable(tmp_path):
    environ = {
        "LIBPROCESS_SSL_ENABLED": "1",
        "LIBPROCESS_SSL_CERT_FILE": str(tmp_path / "absent.pem"),
        "LIBPROCESS_SSL_KEY_FILE": str(tmp_path / "absent.key"),
    }
    with pytest.raises(InvalidSetting, match=r"LIBPROCESS_SSL_CERT_FILE: .*absent\.pem"):
        TcpTransport.from_environment(environ)
