"""One OS process of a message benchmark, driven by JSON lines on standard input.

``python -m benchmarks.peers KIND LOOP`` with KIND one of product, aiohttp, or a kind of
``benchmarks.raw``, and LOOP asyncio or uvloop. ``PeerProcess`` is its handle in the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from actorproc import PID, Process, Runtime, TcpTransport
from benchmarks.raw import MIB, RawPeer


class _Endpoint(Process):
    """Counts messages, answers asks, and hands answers to those who wait."""

    def __init__(self) -> None:
        super().__init__("endpoint")
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.expected = 0
        self.count = 0
        self.first_s = 0.0
        self.done: asyncio.Future[float] | None = None

    def initialize(self) -> None:
        self.install("m", self._on_message)
        self.install("ask", lambda sender, body: self.send(sender, "answer", body))
        self.install("answer", lambda sender, body: self.waiting.popleft().set_result(None))

    def _on_message(self, sender: PID, body: bytes) -> None:
        if self.count == 0:
            self.first_s = time.perf_counter()
        self.count += 1
        if self.count == self.expected and self.done is not None:
            self.done.set_result(time.perf_counter() - self.first_s)


class ProductPeer:
    """The product itself."""

    async def start(self) -> str:
        self._runtime = Runtime(TcpTransport())
        await self._runtime.start()
        self._endpoint = _Endpoint()
        self._runtime.spawn(self._endpoint)
        return str(self._runtime.address)

    def expect(self, count: int) -> None:
        self._endpoint.expected, self._endpoint.count = count, 0
        self._endpoint.done = asyncio.get_running_loop().create_future()

    async def received(self) -> float:
        if self._endpoint.done is None:
            raise RuntimeError("expect() comes first")
        return await self._endpoint.done

    async def answer_asks_from(self, address: str) -> None:
        pass  # an actor answers its sender

    async def send(self, to: str, count: int, size: int) -> None:
        target, body = PID.parse(f"endpoint@{to}"), b"x" * size
        self._endpoint.link(target)
        for number in range(count):
            self._endpoint.send(target, "m", body)
            if number % 1000 == 999 or size >= MIB:
                await asyncio.sleep(0)

    async def ask(self, to: str, count: int, in_flight: int, size: int) -> list[float]:
        target, body = PID.parse(f"endpoint@{to}"), b"x" * size
        loop = asyncio.get_running_loop()
        latencies: list[float] = []

        async def asker() -> None:
            for _ in range(count // in_flight):
                answer: asyncio.Future[None] = loop.create_future()
                self._endpoint.waiting.append(answer)
                start_s = time.perf_counter()
                self._endpoint.send(target, "ask", body)
                await answer
                latencies.append(time.perf_counter() - start_s)

        await asyncio.gather(*(asker() for _ in range(in_flight)))
        return latencies


def make_peer(kind: str) -> Any:
    if kind == "product":
        return ProductPeer()
    if kind == "aiohttp":
        from benchmarks.aiohttp_peer import AiohttpPeer

        return AiohttpPeer()
    return RawPeer(kind)


async def _serve(kind: str) -> None:
    peer = make_peer(kind)
    address = await peer.start()
    print(json.dumps(address), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        name, arguments = command["do"], command["with"]
        result = getattr(peer, name)(*arguments)
        if asyncio.iscoroutine(result):
            result = await result
        print(json.dumps(result), flush=True)


class PeerProcess:
    """Handle of one peer process."""

    def __init__(self, kind: str, loop: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", kind, loop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._read()

    def _read(self) -> Any:
        if self._process.stdout is None:
            raise RuntimeError("the peer has no output")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the peer process ended")
        return json.loads(line)

    def begin(self, name: str, *arguments: Any) -> None:
        """Give a command; ``finish`` waits for its result."""
        if self._process.stdin is None:
            raise RuntimeError("the peer has no input")
        self._process.stdin.write(json.dumps({"do": name, "with": arguments}) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Any:
        return self._read()

    def call(self, name: str, *arguments: Any) -> Any:
        self.begin(name, *arguments)
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    kind, loop = sys.argv[1:]
    # The benchmark kills its peers; that the other one notices is no news.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if loop == "uvloop":
        import uvloop

        uvloop.run(_serve(kind))
    else:
        asyncio.run(_serve(kind))


if __name__ == "__main__":
    main()
