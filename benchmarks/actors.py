"""Local actors beside other Python libraries; memory per actor, links, and the time to import.

``python -m benchmarks.actors [--json]``. Peers are measured when installed
(``pip install -e .[peers]``).
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from functools import partial

from actorproc import PID, InProcessNetwork, Process, Runtime
from benchmarks.harness import Case, Ratio, parser_for, run_benchmark
from benchmarks.python_peers import PEERS, RING, is_installed

UNITS = {
    "ask": "asks/s",
    "tell": "messages/s",
    "ring": "hops/s",
    "spawn + terminate": "actors/s",
    "idle actor": "bytes",
    "tell with 100,000 actors / with one": "ratio",
    "import actorproc": "ms",
    **dict.fromkeys(PEERS, "1/s"),
}


class _Echo(Process):
    def __init__(self) -> None:
        super().__init__("echo")

    def echo(self, value: int) -> int:
        return value


class _Counter(Process):
    def __init__(self, left: int, done: asyncio.Future[None]) -> None:
        super().__init__("counter")
        self._left = left
        self._done = done

    def initialize(self) -> None:
        self.install("m", self._count)

    def _count(self, sender: PID, body: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set_result(None)


class _Node(Process):
    """Passes a token on; counts on its way through the ring."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        super().__init__(prefix="node")
        self.following = PID.EMPTY
        self.left = 0
        self._done = done

    def initialize(self) -> None:
        self.install("token", self._pass_on)

    def _pass_on(self, sender: PID, body: bytes) -> None:
        if self.left == 0:
            if not self._done.done():
                self._done.set_result(None)
            return
        self.left -= 1
        self.send(self.following, "token", body)


def _runtime() -> Runtime:
    return Runtime(InProcessNetwork().transport("127.0.0.1", 1))


async def _asks(count: int) -> float:
    async with _runtime() as runtime:
        echo = _Echo()
        pid = runtime.spawn(echo)
        await runtime.settle()
        start_s = time.perf_counter()
        for number in range(count):
            await runtime.dispatch(pid, echo.echo, number)
        return count / (time.perf_counter() - start_s)


async def _tells(count: int, others: int = 0) -> float:
    async with _runtime() as runtime:
        for _ in range(others):
            runtime.spawn(Process(prefix="idle"))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pid = runtime.spawn(_Counter(count, done))
        await runtime.settle()
        start_s = time.perf_counter()
        for number in range(count):
            runtime.post(pid, "m", b"x")
            if number % 1000 == 999:
                await asyncio.sleep(0)
        await done
        return count / (time.perf_counter() - start_s)


async def _ring(hops: int) -> float:
    async with _runtime() as runtime:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nodes = [_Node(done) for _ in range(RING)]
        pids = [runtime.spawn(node) for node in nodes]
        for node, following in zip(nodes, pids[1:] + pids[:1], strict=True):
            node.following = following
            node.left = hops // RING
        await runtime.settle()
        start_s = time.perf_counter()
        runtime.post(pids[0], "token", b"x")
        await done
        return hops / (time.perf_counter() - start_s)


async def _spawns(count: int) -> float:
    async with _runtime() as runtime:
        start_s = time.perf_counter()
        pids = [runtime.spawn(Process(prefix="p")) for _ in range(count)]
        for pid in pids:
            runtime.terminate(pid, inject=False)
        await runtime.settle()
        return count / (time.perf_counter() - start_s)


_MEMORY_PROGRAM = """
import asyncio, gc
from actorproc import InProcessNetwork, Process, Runtime

def resident():
    with open("/proc/self/statm") as fields:
        return int(fields.read().split()[1]) * 4096

async def main(count):
    async with Runtime(InProcessNetwork().transport("127.0.0.1", 1)) as runtime:
        gc.collect()
        before = resident()
        for number in range(count):
            runtime.spawn(Process(prefix="p"))
            if number % 1000 == 999:
                await runtime.settle()
        await runtime.settle()
        gc.collect()
        print((resident() - before) / count)

asyncio.run(main(100_000))
"""


def _memory_per_actor() -> float:
    return float(_output_of("-c", _MEMORY_PROGRAM))


def _import_ms() -> float:
    program = "import time; t = time.time(); import actorproc; print(time.time() - t)"
    return statistics.median(float(_output_of("-c", program)) for _ in range(5)) * 1e3


def _output_of(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def measure_product() -> dict[str, float]:
    alone = asyncio.run(_tells(200_000))
    return {
        "ask": asyncio.run(_asks(30_000)),
        "tell": alone,
        "ring": asyncio.run(_ring(200_000)),
        "spawn + terminate": asyncio.run(_spawns(5_000)),
        "tell with 100,000 actors / with one": asyncio.run(_tells(200_000, 100_000)) / alone,
    }


def measure_footprint() -> dict[str, float]:
    return {"idle actor": _memory_per_actor(), "import actorproc": _import_ms()}


def measure_peer(name: str) -> dict[str, float]:
    _, measure, count = PEERS[name]
    return {name: measure(count)}


def main() -> None:
    arguments = parser_for("actors", repetitions=3).parse_args()
    peers = [name for name, (package, _, _) in PEERS.items() if is_installed(package)]
    cases = [Case("actorproc", measure_product), Case("footprint", measure_footprint)]
    cases += [Case(name, partial(measure_peer, name)) for name in peers]
    ratios = []
    for name in peers:
        own = name.partition(" ")[2]
        ratios.append(Ratio(f"{own} / {name}", own, name))
    run_benchmark("actors", cases, arguments, units=UNITS, ratios=ratios)


if __name__ == "__main__":
    main()
