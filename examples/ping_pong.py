"""Ping-pong between two operating system processes, which checks itself.

``python -m examples.ping_pong [--rounds 1000]``. The program starts itself a second time as the
other player, sends it numbered pings one after the other, and expects each back. Then it ends the
other player by force and expects to hear of that through its link. ``--skip 3`` lets the other
player leave ping 3 unanswered, to see the verdict go wrong.

The last line is the verdict; the exit status is 0 only when everything happened as expected.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from asyncio.subprocess import Process as OsProcess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actorproc import PID, Process, Runtime, TcpTransport
from actorproc.patterns import within

STARTED_S = 30.0  # how long the other player may take to start, and to be missed at its end


class Pong(Process):
    """Sends every ping back, except number ``skip``."""

    def __init__(self, skip: int) -> None:
        super().__init__("pong")
        self.skip = str(skip).encode()

    def initialize(self) -> None:
        self.install("ping", self.on_ping)

    def on_ping(self, sender: PID, body: bytes) -> None:
        if body != self.skip:
            self.send(sender, "pong", body)


class Ping(Process):
    """Sends ping 1, 2, 3 ..., each when the one before has come back."""

    def __init__(self, pong: PID, rounds: int) -> None:
        super().__init__("ping")
        self.pong = pong
        self.rounds = rounds
        self.answered = 0
        self.has_answers = asyncio.Event()
        self.has_lost_pong = asyncio.Event()

    def initialize(self) -> None:
        self.link(self.pong)
        self.install("pong", self.on_pong)
        self.send_next()

    def send_next(self) -> None:
        self.send(self.pong, "ping", b"%d" % (self.answered + 1))

    def on_pong(self, sender: PID, body: bytes) -> None:
        if sender != self.pong or body != b"%d" % (self.answered + 1):
            return  # not what was asked for: the round stays open, and the verdict is "wrong"
        self.answered += 1
        if self.answered == self.rounds:
            self.has_answers.set()
        else:
            self.send_next()

    def exited(self, pid: PID) -> None:
        self.has_lost_pong.set()


async def play_pong(skip: int) -> None:
    """The other player: tells its PID on standard output and plays until it is killed."""
    async with Runtime(TcpTransport("127.0.0.1", 0)) as runtime:
        pid = runtime.spawn(Pong(skip))
        print(pid, flush=True)
        await runtime.wait(pid)


@asynccontextmanager
async def other_player(skip: int) -> AsyncIterator[tuple[OsProcess, PID]]:
    """The second operating system process, and where its actor lives."""
    command = (sys.executable, "-m", "examples.ping_pong", "--play-pong", "--skip", str(skip))
    child = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), STARTED_S)
        yield child, PID.parse(line.decode().strip())
    finally:
        if child.returncode is None:
            # By number: asyncio's own kill() may reap the child before its watcher does.
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()


async def play_ping(rounds: int, skip: int, timeout_s: float) -> bool:
    """Play against a second process; prints the verdict and returns it."""
    async with (
        other_player(skip) as (child, pong),
        Runtime(TcpTransport("127.0.0.1", 0)) as runtime,
    ):
        ping = Ping(pong, rounds)
        runtime.spawn(ping)
        await _happens(runtime, ping.has_answers, timeout_s)
        print(f"{ping.answered} of {rounds} pings came back, in order")

        heard_too_early = ping.has_lost_pong.is_set()
        os.kill(child.pid, signal.SIGKILL)
        heard = await _happens(runtime, ping.has_lost_pong, STARTED_S) and not heard_too_early
        print("pong was killed, and ping", "heard of it" if heard else "did not hear of it")

        is_right = ping.answered == rounds and heard
        print("ping_pong:", "right" if is_right else "wrong")
        return is_right


async def _happens(runtime: Runtime, event: asyncio.Event, seconds: float) -> bool:
    try:
        return await within(runtime, seconds, event.wait())
    except TimeoutError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=_positive, default=1000)
    parser.add_argument("--skip", type=int, default=0, help="number of a ping not to answer")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for all rounds")
    parser.add_argument("--play-pong", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play_pong:
        asyncio.run(play_pong(options.skip))
        return 0
    return 0 if asyncio.run(play_ping(options.rounds, options.skip, options.timeout)) else 1


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
