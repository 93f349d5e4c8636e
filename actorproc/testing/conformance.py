"""What every transport promises: a suite of pytest tests to run over one's own.

A subclass says how a scenario runs, and gives each a ``ConformanceNetwork``::

    class TestMine(TransportConformance):
        def run(self, play):
            async def main():
                async with MyNetwork() as network:
                    await play(network)

            asyncio.run(main())

So the same scenarios run on any event loop, in real time or simulated. Needs pytest.
Source: actor-runtime.md §1.8 to 1.10.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pytest

from actorproc.errors import BrokenTransport
from actorproc.introspection import Reason
from actorproc.pid import PID, Address
from actorproc.process import Process
from actorproc.runtime import Runtime
from actorproc.testing.waiting import WITHIN_S, eventually
from actorproc.transport.base import Transport

LARGE_BYTES: Final = 5 * 1024 * 1024

T = TypeVar("T")


class ConformanceNetwork:
    """Starts runtimes that reach each other, and stops them at its end.

    A subclass gives ``unreachable``, an address where nobody listens, and ``transport``.
    """

    unreachable: Address

    def __init__(self) -> None:
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stack.aclose()

    def transport(self, at: Address | None = None) -> Transport:
        """A transport for a further runtime: at an address used before, or at a free one."""
        raise NotImplementedError

    def make_runtime(self, transport: Transport) -> Runtime:
        """A runtime over the transport; with another clock where that is needed."""
        return Runtime(transport)

    async def runtime(self, at: Address | None = None) -> Runtime:
        """Start a further runtime."""
        return await self.stack.enter_async_context(self.make_runtime(self.transport(at)))


class Collector(Process):
    """Writes down every message of the given names, and whose end it hears of."""

    def __init__(self, id: str = "collector", names: tuple[str, ...] = ("m",)) -> None:
        super().__init__(id)
        self.names = names
        self.messages: list[tuple[str, PID, bytes]] = []
        self.exits: list[PID] = []

    def initialize(self) -> None:
        for name in self.names:
            self.install(name, functools.partial(self._collect, name))

    def _collect(self, name: str, sender: PID, body: bytes) -> None:
        self.messages.append((name, sender, body))

    def exited(self, pid: PID) -> None:
        self.exits.append(pid)

    def has(self, count: int) -> bool:
        """Whether ``count`` messages have come."""
        return len(self.messages) == count

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of all messages, in order."""
        return [body for _, _, body in self.messages]


class Echo(Process):
    """Sends every message ``m`` back as ``echo``."""

    def __init__(self, id: str = "echo") -> None:
        super().__init__(id)

    def initialize(self) -> None:
        self.install("m", lambda sender, body: self.send(sender, "echo", body))


async def call(runtime: Runtime, process: Process, fn: Callable[..., T], *args: Any) -> T:
    """Run ``fn(*args)`` in the process and return what it returns."""
    async with asyncio.timeout(WITHIN_S):
        result: T = await runtime.dispatch(process.pid, fn, *args)
    return result


Play = Callable[[ConformanceNetwork], Awaitable[None]]


def scenario(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an ordinary test of a coroutine ``test(self, network, ...)``, played by ``self.run``."""

    @functools.wraps(test)
    def played(self: TransportConformance, **fixtures: Any) -> None:
        self.run(lambda network: test(self, network, **fixtures))

    signature = inspect.signature(test)
    kept = [each for name, each in signature.parameters.items() if name != "network"]
    vars(played)["__signature__"] = signature.replace(parameters=kept)
    return played


class TransportConformance:
    """The suite; a subclass gives ``run``."""

    def run(self, play: Play) -> None:
        """Play one scenario: ``await play(network)`` on a network of its own."""
        raise NotImplementedError

    async def pair(self, network: ConformanceNetwork) -> tuple[Runtime, Runtime]:
        """Two runtimes that reach each other."""
        return await network.runtime(), await network.runtime()

    async def collect_on(self, runtime: Runtime, id: str = "collector") -> Collector:
        """Spawn a collector that is ready when this returns."""
        collector = Collector(id)
        runtime.spawn(collector)
        await runtime.settle()
        return collector

    @scenario
    async def test_messages_go_both_ways(self, network: ConformanceNetwork) -> None:
        one, other = await self.pair(network)
        asking = Collector("asking", names=("echo",))
        one.spawn(asking)
        echo = other.spawn(Echo())
        await call(one, asking, asking.send, echo, "m", b"hello")
        await eventually(lambda: asking.messages)
        assert asking.messages == [("echo", echo, b"hello")]

    @scenario
    async def test_addresses_are_those_of_the_pids(self, network: ConformanceNetwork) -> None:
        one, other = await self.pair(network)
        assert one.address != other.address
        assert one.spawn(Process("x")).address == one.address

    @pytest.mark.parametrize("body", [b"", b"\0\xff\r\n0\r\n\r\n", b"x" * LARGE_BYTES], ids=len)
    @scenario
    async def test_bodies_arrive_unchanged(self, network: ConformanceNetwork, body: bytes) -> None:
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        one.post(collector.pid, "m", body, sender=PID("s", "10.1.1.1", 1))
        one.post(collector.pid, "m", b"after")
        await eventually(lambda: len(collector.messages) == 2)
        assert collector.messages[0] == ("m", PID("s", "10.1.1.1", 1), body)
        assert collector.messages[1] == ("m", PID.EMPTY, b"after")
        assert type(collector.bodies[0]) is bytes

    @scenario
    async def test_a_mutable_body_is_sent_as_it_was(self, network: ConformanceNetwork) -> None:
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        body = bytearray(b"before")
        one.post(collector.pid, "m", body)
        body[:] = b"after!"
        await eventually(lambda: collector.messages)
        assert collector.bodies == [b"before"]

    @pytest.mark.parametrize("linked", [False, True])
    @scenario
    async def test_order_from_one_sender_to_one_receiver(
        self, network: ConformanceNetwork, linked: bool
    ) -> None:
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
            await eventually(functools.partial(collector.has, number + 1))
        assert collector.bodies == [b"%d" % number for number in range(505)]

    @scenario
    async def test_a_link_made_between_messages_keeps_their_order(
        self, network: ConformanceNetwork
    ) -> None:
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        sender = await self.collect_on(one, "sender")

        def burst() -> None:
            for number in range(90):
                if number == 30:
                    sender.link(collector.pid)
                if number == 60:
                    sender.link(collector.pid, reconnect=False)
                sender.send(collector.pid, "m", b"%d" % number)

        await call(one, sender, burst)
        await eventually(lambda: len(collector.messages) == 90)
        assert collector.bodies == [b"%d" % number for number in range(90)]

    @scenario
    async def test_reconnect_loses_nothing_queued_and_tells_nobody(
        self, network: ConformanceNetwork
    ) -> None:
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        sender = await self.collect_on(one, "sender")
        await call(one, sender, sender.link, collector.pid)

        def swap() -> None:
            sender.send(collector.pid, "m", b"1")
            sender.link(collector.pid, reconnect=True)
            sender.send(collector.pid, "m", b"2")

        await call(one, sender, swap)
        await eventually(lambda: len(collector.messages) == 2)
        assert sender.exits == []
        await other.stop()
        await eventually(lambda: sender.exits)
        assert sender.exits == [collector.pid]

    @scenario
    async def test_each_message_arrives_at_most_once(self, network: ConformanceNetwork) -> None:
        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        for number in range(200):
            one.post(collector.pid, "m", b"%d" % number)
        await eventually(lambda: len(collector.messages) >= 200)
        one.post(collector.pid, "m", b"last")
        await eventually(lambda: b"last" in collector.bodies)
        assert len(collector.messages) == len(set(collector.bodies)) == 201

    @scenario
    async def test_b041_a_link_covers_every_pid_at_the_peer(
        self, network: ConformanceNetwork
    ) -> None:
        one, other = await self.pair(network)
        targets = [await self.collect_on(other, id) for id in ("x", "y")]
        linker = await self.collect_on(one, "linker")
        for target in targets:
            await call(one, linker, linker.link, target.pid)
            await call(one, linker, linker.send, target.pid, "m", b"linked")
        await eventually(lambda: all(target.messages for target in targets))
        assert linker.exits == []

    @scenario
    async def test_the_end_of_a_peer_is_heard_once_per_linked_pid(
        self, network: ConformanceNetwork
    ) -> None:
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

    @scenario
    async def test_a_peer_that_cannot_be_reached_is_heard_of(
        self, network: ConformanceNetwork
    ) -> None:
        one = await network.runtime()
        linker = await self.collect_on(one, "linker")
        nobody = PID("nobody", *network.unreachable)
        await call(one, linker, linker.link, nobody)
        await eventually(lambda: linker.exits)
        assert linker.exits == [nobody]
        await call(one, linker, linker.link, nobody)
        await eventually(lambda: len(linker.exits) == 2)

    @scenario
    async def test_b044_the_end_of_one_remote_process_is_not_heard(
        self, network: ConformanceNetwork
    ) -> None:
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
        assert other.dead_letters.counts[Reason.NO_PROCESS] == 2

    @scenario
    async def test_sends_to_a_peer_that_is_gone_are_dropped_quietly(
        self, network: ConformanceNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
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

    @scenario
    async def test_after_the_end_of_a_peer_its_successor_gets_what_is_sent_next(
        self, network: ConformanceNetwork
    ) -> None:
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

    @scenario
    async def test_runtimes_with_the_same_ids_are_told_apart(
        self, network: ConformanceNetwork
    ) -> None:
        one, other = await self.pair(network)
        here, there = await self.collect_on(one), await self.collect_on(other)
        assert here.pid.id == there.pid.id
        for number in range(10):
            here.send((here if number % 2 else there).pid, "m", b"%d" % number)
        await eventually(lambda: len(here.messages) == len(there.messages) == 5)
        assert here.bodies == [b"%d" % number for number in range(1, 10, 2)]
        assert there.bodies == [b"%d" % number for number in range(0, 10, 2)]

    @scenario
    async def test_an_id_that_cannot_be_sent_to_is_dropped_and_logged(
        self, network: ConformanceNetwork, caplog: pytest.LogCaptureFixture
    ) -> None:
        # It may be the claimed sender of a message: answering must not end a process.
        one, other = await self.pair(network)
        local = await self.collect_on(one, "local")
        await call(one, local, local.send, PID("a b\r\n", *other.address), "m", b"")
        one.post(local.pid, "m", b"alive")
        await eventually(lambda: local.messages)
        assert "id has a space or control character" in caplog.text

    @scenario
    async def test_finalize_may_say_farewell(self, network: ConformanceNetwork) -> None:
        class Parting(Process):
            def finalize(self) -> None:
                self.send(collector.pid, "m", b"farewell")

        one, other = await self.pair(network)
        collector = await self.collect_on(other)
        one.spawn(Parting("parting"))
        await one.settle()
        await one.stop()
        await eventually(lambda: collector.messages)
        assert collector.bodies == [b"farewell"]

    @scenario
    async def test_an_address_in_use_is_refused_by_name(self, network: ConformanceNetwork) -> None:
        one = await network.runtime()
        with pytest.raises(BrokenTransport, match=f"{one.address}: address in use"):
            await Runtime(network.transport(at=one.address)).start()


__all__ = [
    "Collector",
    "ConformanceNetwork",
    "Echo",
    "Play",
    "TransportConformance",
    "call",
    "scenario",
]
