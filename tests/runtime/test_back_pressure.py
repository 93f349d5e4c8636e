"""Bounded mailboxes, and sends that wait."""

import asyncio

import pytest

from actorproc import (
    InProcessNetwork,
    MailboxLimit,
    Process,
    Reason,
    Runtime,
    TcpLimits,
    TcpTransport,
    WhenFull,
)
from tests.waiting import until

pytestmark = pytest.mark.asyncio


class Gated(Process):
    """Serves messages only while its gate is open."""

    def __init__(self, limit):
        super().__init__("gated", mailbox=limit)
        self.gate = asyncio.Event()
        self.bodies = []

    def initialize(self):
        self.install("m", self._on_message)

    async def _on_message(self, sender, body):
        await self.gate.wait()
        self.bodies.append(int(body))

    @property
    def queued(self):
        return len(self._mailbox or ())


def numbers(count):
    return list(range(count))


async def test_refused_messages_are_answered_503():
    async with Runtime(TcpTransport()) as runtime:
        gated = Gated(MailboxLimit(3, WhenFull.REFUSE))
        runtime.spawn(gated)
        await runtime.settle()
        reader, writer = await asyncio.open_connection(*runtime.address)
        request = "POST /gated/m HTTP/1.1\r\nLibprocess-From: \r\nContent-Length: 1\r\n\r\n{}"
        statuses = []
        for number in numbers(6):
            writer.write(request.format(number).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(int(head.split()[1]))
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
        writer.close()
        gated.gate.set()
        await until(lambda: not gated.queued, "the mailbox is served")
        # One is being served, three wait, two are refused.
        assert statuses == [202, 202, 202, 202, 503, 503]
        assert gated.bodies == [0, 1, 2, 3]
        assert runtime.dead_letters.counts[Reason.MAILBOX_FULL] == 2


async def test_a_waiting_mailbox_stops_the_reading_and_loses_nothing():
    count = 20_000
    async with Runtime(TcpTransport()) as receiver, Runtime(TcpTransport()) as sender:
        gated = Gated(MailboxLimit(100, WhenFull.WAIT))
        receiver.spawn(gated)
        source = Process("source")
        sender.spawn(source)
        await sender.settle()
        sent = 0

        async def send_all():
            nonlocal sent
            for number in numbers(count):
                body = b"%d" % number + b" " * 1000
                await source.send_patiently(gated.pid, "m", body)
                sent += 1

        sending = asyncio.ensure_future(send_all())
        await until(lambda: gated.queued >= 100, "the mailbox is full")
        before = -1
        while before != sent:  # until the sender stands still
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < count, "back-pressure must reach the sender"
        assert gated.queued < 2000, "one read's worth at most lies beyond the limit"
        gated.gate.set()
        await sending
        await until(lambda: len(gated.bodies) == count, "everything arrives")
        assert gated.bodies == numbers(count)


async def test_a_patient_send_within_one_runtime_waits_for_room():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        gated = Gated(MailboxLimit(10, WhenFull.WAIT))
        runtime.spawn(gated)
        source = Process("source")
        runtime.spawn(source)
        await runtime.settle()

        async def send_all():
            for number in numbers(100):
                await source.send_patiently(gated.pid, "m", b"%d" % number)

        sending = asyncio.ensure_future(send_all())
        await runtime.settle()
        assert gated.queued == 9  # ten were let in, one of them is being served
        gated.gate.set()
        await sending
        await runtime.settle()
        assert gated.bodies == numbers(100)


async def test_a_patient_sender_goes_on_when_the_peer_is_gone():
    limits = TcpLimits(flow_bytes=10)
    async with Runtime(TcpTransport(limits=limits)) as sender:
        async with Runtime(TcpTransport()) as receiver:
            gated = Gated(MailboxLimit())
            pid = receiver.spawn(gated)
        source = Process("source")
        sender.spawn(source)
        await sender.settle()
        async with asyncio.timeout(30):
            for _ in range(10):
                await source.send_patiently(pid, "m", b"x" * 100)


async def test_a_process_that_ends_releases_who_waits_for_its_mailbox():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        gated = Gated(MailboxLimit(1, WhenFull.WAIT))
        runtime.spawn(gated)
        await runtime.settle()
        for number in numbers(3):
            runtime.post(gated.pid, "m", b"%d" % number)
        await runtime.settle()
        waiting = asyncio.ensure_future(runtime.flow(gated.pid))
        await runtime.settle()
        assert not waiting.done()
        runtime.terminate(gated.pid)
        await asyncio.wait_for(waiting, 5)
        assert runtime.dead_letters.counts[Reason.PROCESS_ENDED] == 2
