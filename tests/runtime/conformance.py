"""What every transport promises; each one runs these tests over its own kind of network.

A subclass gives `Network`: an async context manager whose `runtime(...)` starts a runtime that the
others can reach, and whose `unreachable` is an address where nobody listens.
"""

import pytest

from actorproc import PID, Process, Runtime
from tests.runtime.support import Collector, Echo, call, eventually

LARGE_BYTES = 5 * 1024 * 1024


class TransportConformance:
    """Mixed into one test class per transport."""

    async def pair(self, network):
        return await network.runtime(), await network.runtime()

    async def collect_on(self, runtime, id="collector"):
        collector = Collector(id)
        runtime.spawn(collector)
        await runtime.settle()
        return collector

    @pytest.mark.asyncio
    async def test_messages_go_both_ways(self, network):
        one, other = await self.pair(network)
        asking = Collector("asking", names=("echo",))
        one.spawn(asking)
        echo = other.spawn(Echo())
        await call(one, asking, asking.send, echo, "m", b"hello")
        await eventually(lambda: asking.messages)
        assert asking.messages == [("echo", echo, b"hello")]

    @pytest.mark.asyncio
    async def test_addresses_are_those_of_the_pids(self, network):
        one, other = await self.pair(network)
        assert one.address != other.address
        assert one.spawn(Process("x")).address == one.address

    @pytest.mark.asyncio
    @pytest.mark.parametrize("body", [b"", b"\0\xff\r\n0\r\n\r\n", b"x" * LARGE_BYTES], ids=len)
    async def test_bodies_arrive_unchanged(self, network, body):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        one.post(collector.pid, "m", body, sender=PID("s", "10.1.1.1", 1))
        one.post(collector.pid, "m", b"after")
        await eventually(lambda: len(collector.messages) == 2)
        assert collector.messages[0] == ("m", PID("s", "10.1.1.1", 1), body)
        assert collector.messages[1] == ("m", PID.EMPTY, b"after")
        assert type(collector.bodies[0]) is bytes

    @pytest.mark.asyncio
    async def test_a_mutable_body_is_sent_as_it_was(self, network):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        body = bytearray(b"before")
        one.post(collector.pid, "m", body)
        body[:] = b"after!"
        await eventually(lambda: collector.messages)
        assert collector.bodies == [b"before"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("linked", [False, True])
    async def test_order_from_one_sender_to_one_receiver(self, network, linked):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        sender = await self.collect_on(one, "sender")
        if linked:
            await call(one, sender, sender.link, collector.pid)
        for number in range(500):
            sender.send(collector.pid, "m", b"%d" % number)
        await eventually(lambda: len(collector.messages) == 500)
        for number in range(500, 505):
            sender.send(collector.pid, "m", b"%d" % number)
            await eventually(lambda wanted=number: len(collector.messages) == wanted + 1)
        assert collector.bodies == [b"%d" % number for number in range(505)]

    @pytest.mark.asyncio
    async def test_a_link_made_between_messages_keeps_their_order(self, network):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        sender = await self.collect_on(one, "sender")

        def burst():
            for number in range(90):
                if number == 30:
                    sender.link(collector.pid)
                if number == 60:
                    sender.link(collector.pid, reconnect=False)
                sender.send(collector.pid, "m", b"%d" % number)

        await call(one, sender, burst)
        await eventually(lambda: len(collector.messages) == 90)
        assert collector.bodies == [b"%d" % number for number in range(90)]

    @pytest.mark.asyncio
    async def test_reconnect_loses_nothing_queued_and_tells_nobody(self, network):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        sender = await self.collect_on(one, "sender")
        await call(one, sender, sender.link, collector.pid)

        def swap():
            sender.send(collector.pid, "m", b"1")
            sender.link(collector.pid, reconnect=True)
            sender.send(collector.pid, "m", b"2")

        await call(one, sender, swap)
        await eventually(lambda: len(collector.messages) == 2)
        assert sender.exits == []
        await other.stop()
        await eventually(lambda: sender.exits)
        assert sender.exits == [collector.pid]

    @pytest.mark.asyncio
    async def test_each_message_arrives_at_most_once(self, network):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        for number in range(200):
            one.post(collector.pid, "m", b"%d" % number)
        await eventually(lambda: len(collector.messages) >= 200)
        one.post(collector.pid, "m", b"last")
        await eventually(lambda: b"last" in collector.bodies)
        assert len(collector.messages) == len(set(collector.bodies)) == 201

    @pytest.mark.asyncio
    async def test_041_a_link_covers_every_pid_at_the_peer(self, network):
        one, other = await self.pair(network)
        targets = [await self.collect_on(other, id) for id in ("x", "y")]
        linker = await self.collect_on(one, "linker")
        for target in targets:
            await call(one, linker, linker.link, target.pid)
            await call(one, linker, linker.send, target.pid, "m", b"linked")
        await eventually(lambda: all(target.messages for target in targets))
        assert linker.exits == []

    @pytest.mark.asyncio
    async def test_the_end_of_a_peer_is_heard_once_per_linked_pid(self, network):
        one, other = await self.pair(network)
        targets = [await self.collect_on(other, id) for id in ("x", "y")]
        linkers = [await self.collect_on(one, f"linker{number}") for number in range(2)]
        for linker in linkers:
            for target in [*targets, targets[0]]:
                await call(one, linker, linker.link, target.pid)
        # A message has passed: the connection stands.
        await call(one, linkers[0], linkers[0].send, targets[0].pid, "m", b"")
        await eventually(lambda: targets[0].messages)
        await other.stop()
        await eventually(lambda: all(len(linker.exits) >= 2 for linker in linkers))
        await one.settle()
        for linker in linkers:
            assert sorted(linker.exits) == [target.pid for target in targets]

    @pytest.mark.asyncio
    async def test_a_peer_that_cannot_be_reached_is_heard_of(self, network):
        one = await network.runtime()
        linker = await self.collect_on(one, "linker")
        nobody = PID("nobody", *network.unreachable)
        await call(one, linker, linker.link, nobody)
        await eventually(lambda: linker.exits)
        assert linker.exits == [nobody]
        await call(one, linker, linker.link, nobody)
        await eventually(lambda: len(linker.exits) == 2)

    @pytest.mark.asyncio
    async def test_044_the_end_of_one_remote_process_is_not_heard(self, network):
        one, other = await self.pair(network)
        target, rest = await self.collect_on(other, "x"), await self.collect_on(other, "rest")
        linker = await self.collect_on(one, "linker")
        unknown = PID("unknown", *other.address)
        await call(one, linker, linker.link, target.pid)
        await call(one, linker, linker.link, unknown)
        other.terminate(target.pid)
        await other.settle()
        for pid in (target.pid, unknown, rest.pid):
            await call(one, linker, linker.send, pid, "m", b"")
        await eventually(lambda: rest.messages)
        await one.settle()
        assert linker.exits == []
        assert other.dropped.no_process == 2

    @pytest.mark.asyncio
    async def test_sends_to_a_peer_that_is_gone_are_dropped_quietly(self, network, caplog):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        local = await self.collect_on(one, "local")
        one.post(collector.pid, "m", b"1")
        await eventually(lambda: collector.messages)
        await other.stop()
        for _ in range(10):
            await call(one, local, local.send, collector.pid, "m", b"lost")
            await call(one, local, local.send, PID("x", *network.unreachable), "m", b"lost")
        await one.settle()
        one.post(local.pid, "m", b"alive")
        await eventually(lambda: local.messages)
        assert collector.bodies == [b"1"]
        assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]

    @pytest.mark.asyncio
    async def test_after_the_end_of_a_peer_its_successor_gets_what_is_sent_next(self, network):
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        linker = await self.collect_on(one, "linker")
        await call(one, linker, linker.link, collector.pid)
        await call(one, linker, linker.send, collector.pid, "m", b"1")
        await eventually(lambda: collector.messages)
        address = other.address
        await other.stop()
        await eventually(lambda: linker.exits)
        successor = await self.collect_on(await network.runtime(at=address))
        assert successor.pid == collector.pid
        await call(one, linker, linker.send, collector.pid, "m", b"2")
        await eventually(lambda: successor.messages)
        assert successor.bodies == [b"2"]
        assert linker.exits == [collector.pid]

    @pytest.mark.asyncio
    async def test_runtimes_with_the_same_ids_are_told_apart(self, network):
        one, other = await self.pair(network)
        here, there = await self.collect_on(one), await self.collect_on(other)
        assert here.pid.id == there.pid.id
        for number in range(10):
            here.send((here if number % 2 else there).pid, "m", b"%d" % number)
        await eventually(lambda: len(here.messages) == len(there.messages) == 5)
        assert here.bodies == [b"%d" % number for number in range(1, 10, 2)]
        assert there.bodies == [b"%d" % number for number in range(0, 10, 2)]

    @pytest.mark.asyncio
    async def test_an_id_that_cannot_be_sent_to_is_dropped_and_logged(self, network, caplog):
        # It may be the claimed sender of a message: answering must not end a process.
        one, other = await self.pair(network)
        local = await self.collect_on(one, "local")
        await call(one, local, local.send, PID("a b\r\n", *other.address), "m", b"")
        one.post(local.pid, "m", b"alive")
        await eventually(lambda: local.messages)
        assert "id has a space or control character" in caplog.text

    @pytest.mark.asyncio
    async def test_finalize_may_say_farewell(self, network):
        class Parting(Process):
            def finalize(self):
                self.send(collector.pid, "m", b"farewell")

        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        one.spawn(Parting("parting"))
        await one.settle()
        await one.stop()
        await eventually(lambda: collector.messages)
        assert collector.bodies == [b"farewell"]

    @pytest.mark.asyncio
    async def test_an_address_in_use_is_refused_by_name(self, network):
        from actorproc import BrokenTransport

        one = await network.runtime()
        with pytest.raises(BrokenTransport, match=f"{one.address}: address in use"):
            await Runtime(network.transport(at=one.address)).start()
