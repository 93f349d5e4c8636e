"""Message throughput and latency, local and between two OS processes, beside raw code.

``python -m benchmarks.messages [--json] [--loop asyncio|uvloop]``. Remote figures: one-way messages
a second (every message answered 202), sequential and concurrent asks (a POST there, a POST back on
the other connection). Local figures beside a bare deque drained by a loop.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from actorproc import PID, InProcessNetwork, Process, Runtime
from benchmarks.harness import Case, Ratio, parser_for, run_benchmark
from benchmarks.peers import PeerProcess
from benchmarks.raw import MIB

T = TypeVar("T")

KINDS = ("product", "raw", "raw_predicted", "frames", "aiohttp")
BULK = 500  # messages of 1 MiB
SLOW = {"aiohttp": 20}  # these get a fraction of the messages
BATCH = 1000  # local messages sent before the receiver's turn

UNITS = {
    **{f"{kind} one-way": "messages/s" for kind in KINDS},
    **{f"{kind} ask p50": "µs" for kind in KINDS},
    **{f"{kind} asks 64 in flight": "asks/s" for kind in KINDS},
    "product 1 MiB bodies": "MiB/s",
    "stream 1 MiB bodies": "MiB/s",
    "local tell": "messages/s",
    "deque tell": "messages/s",
    "local ask": "asks/s",
    "deque + future ask": "asks/s",
    "spawn + terminate": "actors/s",
}
RATIOS = (
    Ratio("one-way / raw", "product one-way", "raw one-way"),
    Ratio("one-way / raw predicted", "product one-way", "raw_predicted one-way"),
    Ratio("ask p50 / raw", "product ask p50", "raw ask p50"),
    Ratio("asks 64 in flight / raw", "product asks 64 in flight", "raw asks 64 in flight"),
    Ratio("asks 64 in flight / aiohttp", "product asks 64 in flight", "aiohttp asks 64 in flight"),
    Ratio("1 MiB bodies / stream", "product 1 MiB bodies", "stream 1 MiB bodies"),
    Ratio("local tell / deque", "local tell", "deque tell"),
    Ratio("local ask / deque + future", "local ask", "deque + future ask"),
)


def measure_bulk(kind: str, loop: str) -> dict[str, float]:
    with PeerProcess(kind, loop) as a, PeerProcess(kind, loop) as b:
        b.call("expect", BULK)
        b.begin("received")
        a.call("send", b.address, BULK, MIB)
        return {f"{kind} 1 MiB bodies": BULK / b.finish()}


def measure_remote(kind: str, loop: str, messages: int, size: int) -> dict[str, float]:
    messages //= SLOW.get(kind, 1)
    with PeerProcess(kind, loop) as a, PeerProcess(kind, loop) as b:
        one_way = []
        for count in (messages // 10, messages):  # the first warms up
            b.call("expect", count)
            b.begin("received")
            a.call("send", b.address, count, size)
            one_way.append(count / b.finish())
    with PeerProcess(kind, loop) as a, PeerProcess(kind, loop) as b:
        b.call("answer_asks_from", a.address)
        a.call("ask", b.address, 200, 1, size)
        sequential = a.call("ask", b.address, 2000, 1, size)
        start_s = time.perf_counter()
        asks = a.call("ask", b.address, 20_000 // SLOW.get(kind, 1), 64, size)
        asks_s = time.perf_counter() - start_s
    return {
        f"{kind} one-way": one_way[-1],
        f"{kind} ask p50": statistics.median(sequential) * 1e6,
        f"{kind} asks 64 in flight": len(asks) / asks_s,
    }


class _Counter(Process):
    def __init__(self, expected: int, done: asyncio.Future[None]) -> None:
        super().__init__("counter")
        self._left = expected
        self._done = done

    def initialize(self) -> None:
        self.install("m", self._count)

    def _count(self, sender: PID, body: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set_result(None)


class _Echo(Process):
    def __init__(self) -> None:
        super().__init__("echo")

    def echo(self, value: int) -> int:
        return value


async def _local(messages: int) -> dict[str, float]:
    runtime = Runtime(InProcessNetwork().transport("127.0.0.1", 1))
    async with runtime:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pid = runtime.spawn(_Counter(messages, done))
        send, body = runtime.post, b"x" * 100
        start_s = time.perf_counter()
        for number in range(messages):
            send(pid, "m", body)
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)
        await done
        tell_s = time.perf_counter() - start_s

        echo = _Echo()
        pid = runtime.spawn(echo)
        asks = messages // 10
        start_s = time.perf_counter()
        for number in range(asks):
            await runtime.dispatch(pid, echo.echo, number)
        ask_s = time.perf_counter() - start_s

        actors = 5000
        start_s = time.perf_counter()
        pids = [runtime.spawn(Process(prefix="p")) for _ in range(actors)]
        for pid in pids:
            runtime.terminate(pid, inject=False)
        await runtime.settle()
        spawn_s = time.perf_counter() - start_s
    return {
        "local tell": messages / tell_s,
        "local ask": asks / ask_s,
        "spawn + terminate": actors / spawn_s,
    }


def _bare_deque_tell(messages: int) -> float:
    """Enqueue, look up, bound call: what a mailbox cannot do without."""
    handlers: dict[str, Callable[[bytes], None]] = {}
    count = 0

    class Actor:
        def on_message(self, body: bytes) -> None:
            nonlocal count
            count += 1

    handlers["m"] = Actor().on_message
    mailbox: deque[tuple[str, bytes]] = deque()
    body = b"x" * 100
    start_s = time.perf_counter()
    for _ in range(messages // BATCH):
        for _ in range(BATCH):
            mailbox.append(("m", body))
        while mailbox:
            name, body = mailbox.popleft()
            handlers[name](body)
    return messages / (time.perf_counter() - start_s)


async def _bare_deque_ask(asks: int) -> float:
    loop = asyncio.get_running_loop()
    mailbox: deque[tuple[int, asyncio.Future[int]]] = deque()

    def drain() -> None:
        while mailbox:
            value, future = mailbox.popleft()
            future.set_result(value)

    start_s = time.perf_counter()
    for number in range(asks):
        future: asyncio.Future[int] = loop.create_future()
        mailbox.append((number, future))
        loop.call_soon(drain)
        await future
    return asks / (time.perf_counter() - start_s)


def measure_local(loop: str, messages: int) -> dict[str, float]:
    figures = _run(loop, _local(messages))
    figures["deque tell"] = _bare_deque_tell(messages)
    figures["deque + future ask"] = _run(loop, _bare_deque_ask(messages // 10))
    return figures


def _run(loop: str, coroutine: Coroutine[Any, Any, T]) -> T:
    if loop == "uvloop":
        import uvloop

        return uvloop.run(coroutine)
    return asyncio.run(coroutine)


def main() -> None:
    parser = parser_for("messages", repetitions=3)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=100, help="bytes in a body")
    arguments = parser.parse_args()
    cases = [
        Case(
            kind, partial(measure_remote, kind, arguments.loop, arguments.messages, arguments.size)
        )
        for kind in KINDS
    ]
    cases += [
        Case(f"{kind} bulk", partial(measure_bulk, kind, arguments.loop))
        for kind in ("product", "stream")
    ]
    cases.append(Case("local", partial(measure_local, arguments.loop, arguments.messages)))
    run_benchmark("messages", cases, arguments, units=UNITS, ratios=RATIOS)


if __name__ == "__main__":
    main()
