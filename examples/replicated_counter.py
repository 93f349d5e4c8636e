"""A counter on three runtimes that survives the loss of messages.

``python -m examples.replicated_counter [--loss 0.2] [--increments 60] [--seed 1]``. Clients add
numbers through any replica; the replica applies each to itself and to the other two, and answers
when all have it. Every message, request or answer, may be lost on its way over TCP. ``retry`` sends
what was not answered again, and a ``Deduplicator`` at every replica makes sure that what arrived
twice is counted once. ``--without-dedup`` shows what happens otherwise.

The last line is the verdict; the exit status is 0 only when all replicas hold the right sum.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any, NamedTuple

from actorproc import JSON, PID, Codec, Process, ProcessTerminated, Runtime, TcpTransport
from actorproc.patterns import CollectFailed, Deduplicator, Retrying, RetryPolicy, collect, retry

REPLICAS = 3
CLIENTS = 12  # requests that are under way at once

# A client's attempt lasts longer than one between replicas: those are part of it.
CLIENT_RETRIES = RetryPolicy(
    attempts_max=100, base_s=0.02, backoff_s_max=0.2, total_s=60.0, attempt_timeout_s=0.5
)
REPLICA_RETRIES = RetryPolicy(
    attempts_max=100, base_s=0.01, backoff_s_max=0.1, total_s=30.0, attempt_timeout_s=0.1
)


class Request(NamedTuple):
    """To add ``by``; all attempts share the ``id``."""

    id: str
    by: int


def decode_request(body: bytes) -> Request:
    """Bytes from a peer, who may send anything: what this refuses is dropped with a warning."""
    match JSON.decode(body):
        case {"id": str(id), "by": int(by)}:
            return Request(id, by)
        case _:
            raise ValueError("a request has an id (text) and by (whole number)")


REQUEST = Codec("request", JSON.encode, decode_request)


class LossyTransport(TcpTransport):
    """TCP that loses messages before they leave."""

    def __init__(self, loss: float, rng: Random) -> None:
        super().__init__("127.0.0.1", 0)
        self.lost = 0
        self._loss = loss
        self._rng = rng

    def send(self, *message: Any, **options: Any) -> None:
        if self._rng.random() < self._loss:
            self.lost += 1
        else:
            super().send(*message, **options)


class Replica(Process):
    """Holds one copy of the counter."""

    def __init__(self, has_dedup: bool) -> None:
        super().__init__("replica")
        self.value = 0
        self.peers: list[PID] = []
        self.has_dedup = has_dedup

    def initialize(self) -> None:
        self.rng = self.runtime.rng("retry")
        self.accepted = Deduplicator[int](self)  # requests of clients, by id
        self.applied = Deduplicator[int](self)  # changes of our copy, by the same id
        # Reentrant: while one request waits for the peers, the next is let in.
        self.install("increment", self.on_increment, codec=REQUEST, reentrant=True)
        self.install("apply", self.on_apply, codec=REQUEST)
        self.install("read", self.on_read, codec=JSON)

    async def on_increment(self, sender: PID, request: Request) -> None:
        try:
            if self.has_dedup:
                value = await self.accepted.answer(request.id, lambda: self.replicate(request))
            else:
                value = await self.replicate(request)
        except (CollectFailed, ProcessTerminated):
            return  # a peer is out of reach; no answer: the client will come again
        self.send(sender, "incremented", value, codec=JSON)

    async def replicate(self, request: Request) -> int:
        """Apply a request here and at all peers."""
        value = self.apply(request)
        await collect([self.apply_at(peer, request) for peer in self.peers])
        return value

    async def apply_at(self, peer: PID, request: Request) -> None:
        await retry(
            lambda: self.ask(peer, "apply", request._asdict(), reply="applied", codec=JSON),
            policy=REPLICA_RETRIES,
            clock=self,
            rng=self.rng,
        )

    def on_apply(self, sender: PID, request: Request) -> None:
        self.send(sender, "applied", self.apply(request), codec=JSON)

    def apply(self, request: Request) -> int:
        """Change our copy, at the first arrival of a request only."""
        if self.has_dedup:
            return self.applied.once(request.id, lambda: self.add(request.by))
        return self.add(request.by)

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    def on_read(self, sender: PID, _: object) -> None:
        self.send(sender, "value", self.value, codec=JSON)


class Clients:
    """What asks the replicas, from a runtime of its own."""

    def __init__(self, runtime: Runtime, replicas: list[PID]) -> None:
        self.runtime = runtime
        self.replicas = replicas
        self.retries = 0
        self._rng = runtime.rng("clients")

    async def add_all(self, numbers: list[int]) -> None:
        """Add every number, ``CLIENTS`` at a time."""
        slots = asyncio.Semaphore(CLIENTS)

        async def add(place: int, number: int) -> None:
            async with slots:
                await self.insist(lambda: self.increment(f"request-{place}", number))

        await collect([add(place, number) for place, number in enumerate(numbers)])

    def increment(self, id: str, number: int) -> Awaitable[int]:
        """One attempt, through any replica: the id tells them that it is the same request."""
        replica = self._rng.choice(self.replicas)
        body = Request(id, number)._asdict()
        return self.runtime.ask(replica, "increment", body, reply="incremented", codec=JSON)

    async def read(self, replica: PID) -> int:
        return await self.insist(
            lambda: self.runtime.ask(replica, "read", None, reply="value", codec=JSON)
        )

    async def insist(self, call: Callable[[], Awaitable[int]]) -> int:
        return await retry(
            call,
            policy=CLIENT_RETRIES,
            clock=self.runtime,
            rng=self._rng,
            on_retry=self._count,
        )

    def _count(self, _: Retrying) -> None:
        self.retries += 1


async def run(options: argparse.Namespace) -> bool:
    """Run replicas and clients; prints the verdict and returns it."""
    numbers = list(range(1, options.increments + 1))
    transports = [
        LossyTransport(options.loss, Random(f"{options.seed}/loss/{place}"))
        for place in range(REPLICAS + 1)
    ]
    async with AsyncExitStack() as stack:
        runtimes = [
            await stack.enter_async_context(Runtime(transport, seed=options.seed + place))
            for place, transport in enumerate(transports)
        ]
        replicas = [Replica(not options.without_dedup) for _ in range(REPLICAS)]
        for runtime, replica in zip(runtimes, replicas, strict=False):
            runtime.spawn(replica)
        for replica in replicas:
            replica.peers = [other.pid for other in replicas if other is not replica]

        clients = Clients(runtimes[-1], [replica.pid for replica in replicas])
        await clients.add_all(numbers)
        values = [await clients.read(replica.pid) for replica in replicas]

    right = values.count(sum(numbers))
    lost = sum(transport.lost for transport in transports)
    repeated = sum(each.accepted.repeated + each.applied.repeated for each in replicas)
    print(f"{lost} messages were lost, clients tried again {clients.retries} times")
    print(f"{repeated} requests arrived again and were not counted twice")
    print(f"the replicas hold {values}, the sum is {sum(numbers)}")
    print(f"replicated_counter: {right} of {REPLICAS} replicas are right")
    return right == REPLICAS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loss", type=_fraction, default=0.2, help="share of messages lost")
    parser.add_argument("--increments", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="decides which messages are lost")
    parser.add_argument("--without-dedup", action="store_true", help="count what arrives twice")
    return 0 if asyncio.run(run(parser.parse_args())) else 1


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 0.9:
        raise argparse.ArgumentTypeError(f"must be between 0 and 0.9, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
