"""Churn: peers connect, are killed and come back, strangers misbehave; nothing may grow.

    python -m benchmarks.soak --minutes 10        # make soak

One runtime is kept alive while, round after round in an order drawn from ``--seed``,
- a peer in another OS process is started, linked, asked 200 questions, and killed with SIGKILL;
- a second runtime of this process is linked both ways, asked, relinked, and stopped;
- raw clients send bursts without reading answers, break off in the middle of a message, reset, say
  nothing, or say what is not HTTP.
After each round the runtime is left to become quiet; then memory, descriptors and tasks are
counted. The first quarter of the time is warm-up. Status 1, and what grew, unless the last quarter
is flat against the second one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import signal
import socket
import statistics
import struct
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil

from actorproc import PID, Process, Runtime, TcpLimits, TcpTransport
from benchmarks.harness import describe_machine

IP: Final = "127.0.0.1"
ASKS: Final = 200  # questions to a peer in a round
BURST: Final = 500  # messages of a raw client that reads no answer
RAW_CLIENTS: Final = 20
IDLE_S: Final = 0.2  # unused temporary connections go this soon: more churn
ROUND_S: Final = 30.0  # a round that takes longer hangs
POLL_S: Final = 0.005  # between two looks at something that cannot tell of itself
QUIET_S: Final = 10.0  # how long descriptors and tasks may take to go away after a round
SAMPLES_MIN: Final = 8
MEMORY_GROWTH_MAX: Final = 0.03  # of the second quarter's median
MEMORY_SLACK_BYTES: Final = 4 * 1024 * 1024  # what allocators and caches keep


class Echo(Process):
    def __init__(self) -> None:
        super().__init__("echo")

    def initialize(self) -> None:
        self.install("ask", lambda sender, body: self.send(sender, "answer", body))


class Asking(Process):
    """Links whom it asks; counts answers and ends."""

    def __init__(self) -> None:
        super().__init__("asking")
        self.answers = 0
        self.exits: list[PID] = []
        self.received = 0

    def initialize(self) -> None:
        self.install("answer", lambda sender, body: self._count_answer())
        self.install("m", lambda sender, body: self._count_message())

    def _count_answer(self) -> None:
        self.answers += 1

    def _count_message(self) -> None:
        self.received += 1

    def exited(self, pid: PID) -> None:
        self.exits.append(pid)

    def link_and_ask(self, pid: PID) -> None:
        self.link(pid)
        for number in range(ASKS):
            self.send(pid, "ask", b"%d" % number)


@dataclass(frozen=True, slots=True)
class Sample:
    """The process after a round. Units: seconds since the start, bytes, counts."""

    at_s: float
    memory_bytes: int
    descriptors: int
    tasks: int


class Soak:
    """One runtime and what is done to it."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.rounds: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self._asking = Asking()
        self._runtime = Runtime(TcpTransport(IP, limits=TcpLimits(idle_s=IDLE_S)))
        self._process = psutil.Process()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "killed peer": self._kill_a_peer,
            "stopped runtime": self._stop_a_runtime,
            "raw clients": self._misbehave,
        }

    async def run(self, seconds: float) -> None:
        began_s = time.monotonic()
        async with self._runtime:
            self._runtime.spawn(self._asking)
            await self._runtime.settle()
            baseline = (self._process.num_fds() + 2, len(asyncio.all_tasks()))  # + selector slack
            while time.monotonic() - began_s < seconds or len(self.samples) < SAMPLES_MIN:
                kind = self._rng.choice(list(self._kinds))
                async with asyncio.timeout(ROUND_S):
                    await self._kinds[kind]()
                self.rounds[kind] += 1
                await self._become_quiet(*baseline)
                self.samples.append(self._sample(time.monotonic() - began_s))

    async def _become_quiet(self, descriptors: int, tasks: int) -> None:
        """Wait for what the round left behind; what stays is found in the samples."""
        await self._runtime.settle()
        end_s = time.monotonic() + QUIET_S
        while time.monotonic() < end_s:
            if self._process.num_fds() <= descriptors and len(asyncio.all_tasks()) <= tasks:
                return
            await asyncio.sleep(POLL_S)

    def _sample(self, at_s: float) -> Sample:
        gc.collect()
        memory_bytes = self._process.memory_info().rss
        tasks = len(asyncio.all_tasks())
        return Sample(at_s, memory_bytes, self._process.num_fds(), tasks)

    # What happens in a round.

    async def _kill_a_peer(self) -> None:
        peer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.soak", "--peer", stdin=PIPE, stdout=PIPE
        )
        try:
            if peer.stdout is None:
                raise RuntimeError("the peer has no output")
            pid = PID.parse((await peer.stdout.readline()).decode().strip())
            await self._ask(pid)
        finally:
            peer.send_signal(signal.SIGKILL)
            await peer.wait()
            if peer.stdin is not None:
                peer.stdin.close()
        await self._until(lambda: pid in self._asking.exits)
        self._asking.exits.clear()

    async def _stop_a_runtime(self) -> None:
        async with Runtime(TcpTransport(IP, limits=TcpLimits(idle_s=IDLE_S))) as other:
            linker = Asking()
            other.spawn(linker)
            pid = other.spawn(Echo())
            await other.settle()
            await other.dispatch(linker.pid, linker.link, self._asking.pid)
            await self._ask(pid)
            relink = self._asking.link
            await self._runtime.dispatch(self._asking.pid, lambda: relink(pid, reconnect=True))
            await self._ask(pid)
        await self._until(lambda: self._asking.exits)
        self._asking.exits.clear()

    async def _ask(self, pid: PID) -> None:
        wanted = self._asking.answers + ASKS
        await self._runtime.dispatch(self._asking.pid, self._asking.link_and_ask, pid)
        await self._until(lambda: self._asking.answers >= wanted)

    async def _misbehave(self) -> None:
        address = self._runtime.address
        before = self._asking.received
        ends = [self._rng.choice(list(_RAW_ENDS)) for _ in range(RAW_CLIENTS)]
        await asyncio.to_thread(lambda: [_RAW_ENDS[end](address) for end in ends])
        # Bursts arrive whole, however their sender went away.
        wanted = before + BURST * ends.count("burst")
        await self._until(lambda: self._asking.received >= wanted)

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - what is waited for is plain counters
            await asyncio.sleep(POLL_S)


_MESSAGE: Final = (
    b"POST /asking/m HTTP/1.1\r\nUser-Agent: libprocess/raw@127.0.0.1:1\r\n"
    b"Libprocess-From: raw@127.0.0.1:1\r\nConnection: Keep-Alive\r\nHost: \r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)


def _burst(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(_MESSAGE * BURST)


def _break_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(_MESSAGE[:-20])


def _reset(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(_MESSAGE[:100])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _say_nothing(address: tuple[str, int]) -> None:
    with socket.create_connection(address):
        pass


def _talk_nonsense(address: tuple[str, int]) -> None:
    with contextlib.suppress(ConnectionError), socket.create_connection(address) as client:
        client.sendall(b"EHLO mail.example\r\n\r\n" + os.urandom(200))
        client.recv(100)


def _ask_http(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(b"GET /asking/none HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
        client.recv(100)


_RAW_ENDS: Final[dict[str, Callable[[tuple[str, int]], None]]] = {
    "burst": _burst,
    "broken off": _break_off,
    "reset": _reset,
    "silent": _say_nothing,
    "nonsense": _talk_nonsense,
    "http": _ask_http,
}


# The verdict.


def _quarters(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The second and the last quarter of the time."""
    end_s = samples[-1].at_s
    second = [each for each in samples if end_s / 4 <= each.at_s < end_s / 2]
    last = [each for each in samples if each.at_s >= end_s * 3 / 4]
    return second or samples[:1], last


def growth(samples: list[Sample]) -> list[str]:
    """What grew from the second to the last quarter, in words; empty when all is flat."""
    second, last = _quarters(samples)

    def medians(name: str) -> tuple[float, float]:
        early = statistics.median(getattr(each, name) for each in second)
        return early, statistics.median(getattr(each, name) for each in last)

    grown = []
    early, late = medians("memory_bytes")
    if late > early * (1 + MEMORY_GROWTH_MAX) + MEMORY_SLACK_BYTES:
        grown.append(f"memory grew from {early / 2**20:.1f} to {late / 2**20:.1f} MiB")
    for name in ("descriptors", "tasks"):
        early, late = medians(name)
        if late > early:
            grown.append(f"{name} grew from {early:g} to {late:g}")
    return grown


def _report(soak: Soak, seed: int, grown: list[str], *, as_json: bool) -> None:
    second, last = _quarters(soak.samples)
    if as_json:
        found: dict[str, Any] = {
            "benchmark": "soak",
            "machine": describe_machine(),
            "seed": seed,
            "rounds": dict(soak.rounds),
            "second_quarter": asdict(second[-1]),
            "last_quarter": asdict(last[-1]),
            "grown": grown,
        }
        print(json.dumps(found))
        return
    rounds = ", ".join(f"{count} × {kind}" for kind, count in sorted(soak.rounds.items()))
    print(f"{last[-1].at_s:.0f} s, seed {seed}: {rounds}")
    for name, samples in (("second quarter", second), ("last quarter", last)):
        memory_mb = statistics.median(each.memory_bytes for each in samples) / 2**20
        descriptors = statistics.median(each.descriptors for each in samples)
        tasks = statistics.median(each.tasks for each in samples)
        print(f"{name:>15}: {memory_mb:.1f} MiB, {descriptors:g} descriptors, {tasks:g} tasks")
    print("; ".join(grown) if grown else "flat")


async def _be_a_peer() -> None:
    """Runs until it is killed, or until its parent goes away."""
    async with Runtime(TcpTransport(IP)) as runtime:
        print(runtime.spawn(Echo()), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peer:
        asyncio.run(_be_a_peer())
        return 0
    # Thousands of strangers are warned of otherwise.
    logging.getLogger("actorproc").setLevel(logging.ERROR)
    soak = Soak(options.seed)
    asyncio.run(soak.run(options.minutes * 60))
    grown = growth(soak.samples)
    _report(soak, options.seed, grown, as_json=options.json)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
