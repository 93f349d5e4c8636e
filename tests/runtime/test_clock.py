"""Clocks, settling, and what one seed decides. Source: actor-runtime.md §6."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from actorproc import InProcessNetwork, Process, RealClock, Runtime, VirtualClock
from actorproc.clock import DELAY_S_MAX
from tests.runtime.support import Collector, call, eventually, in_process

pytestmark = pytest.mark.asyncio


class Alarm(Process):
    """Writes down when its timers fire."""

    def __init__(self, delays_s=()):
        super().__init__("alarm")
        self.delays_s = delays_s
        self.fired = []

    def initialize(self):
        for name, delay_s in self.delays_s:
            self.delay(delay_s, self.ring, name)

    def ring(self, name):
        self.fired.append((name, self.clock.now_s()))


async def test_009_a_delay_fires_once_and_not_before():
    clock = VirtualClock(start_s=1000.0)
    async with in_process(clock=clock) as runtime:
        alarm = Alarm([("five", 5.0)])
        runtime.spawn(alarm)
        await clock.settle()
        await clock.advance(4.999)
        assert alarm.fired == []
        await clock.advance(0.001)
        assert alarm.fired == [("five", 1005.0)]
        await clock.advance(100.0)
        assert len(alarm.fired) == 1


async def test_timers_fire_in_order_each_at_its_time():
    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        alarm = Alarm(
            [("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0), ("now", 0.0), ("past", -1.0)]
        )
        runtime.spawn(alarm)
        await clock.advance(10.0)
        assert alarm.fired == [
            ("now", 0.0), ("past", 0.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0), ("c", 3.0),
        ]  # fmt: skip
        assert clock.now_s() == 10.0


async def test_timers_set_by_timers_fire_in_the_same_advance():
    class Ticking(Alarm):
        def initialize(self):
            self.tick()

        def tick(self):
            self.ring("tick")
            self.delay(1.0, self.tick)

    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        ticking = Ticking()
        runtime.spawn(ticking)
        await clock.advance(3600.0)
        assert [at_s for _, at_s in ticking.fired] == [float(second) for second in range(3601)]


async def test_a_far_delay_saturates():
    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        alarm = Alarm([("far", 1e300)])
        runtime.spawn(alarm)
        await clock.advance(DELAY_S_MAX - 1)
        assert alarm.fired == []
        await clock.advance(1)
        assert [name for name, _ in alarm.fired] == ["far"]


async def test_a_cancelled_timer_does_not_fire():
    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        alarm = Alarm()
        runtime.spawn(alarm)
        timer = await call(runtime, alarm, alarm.delay, 1.0, alarm.ring, "x")
        assert timer.cancel()
        await clock.advance(2.0)
        assert alarm.fired == []


async def test_advance_settles_every_runtime_on_the_clock_between_timers():
    # A timer here causes a message there, whose answer must be back before the next timer.
    clock = VirtualClock()
    network = InProcessNetwork()
    one = Runtime(network.transport("10.0.0.1", 1), clock=clock)
    other = Runtime(network.transport("10.0.0.2", 1), clock=clock)
    async with one, other:
        story = []

        class Asking(Process):
            def initialize(self):
                self.install("answer", lambda sender, body: story.append(body))
                for second in (1, 2, 3):
                    self.delay(float(second), self.ask_for, second)

            def ask_for(self, second):
                story.append(second)
                self.send(answering.pid, "ask", b"%d" % second)

        class Answering(Process):
            def initialize(self):
                self.install("ask", self.on_ask)

            async def on_ask(self, sender, body):
                await asyncio.sleep(0)
                self.send(sender, "answer", body)

        answering = Answering("answering")
        other.spawn(answering)
        one.spawn(Asking("asking"))
        await clock.advance(3.0)
        assert story == [1, b"1", 2, b"2", 3, b"3"]


async def test_017_settle_returns_when_everything_has_happened():
    class Busy(Collector):
        def initialize(self):
            super().initialize()
            self.child = self.runtime.spawn(Collector("child"))
            self.link(self.child)
            self.delay(0.0, self.story.append, "delayed")
            self.dispatch(self.pid, self.count, 100)
            self.runtime.terminate(self.child)

        def count(self, left):
            if left:
                self.dispatch(self.pid, self.count, left - 1)
            else:
                self.story.append("counted")

    clock = VirtualClock()
    async with in_process(clock=clock) as runtime:
        busy = Busy()
        runtime.spawn(busy)
        await clock.advance(0.0)
        assert sorted(busy.story) == ["counted", "delayed", "initialize"]
        assert busy.exits == [busy.child]


async def test_settle_with_nothing_to_do_returns():
    clock = VirtualClock()
    await clock.settle()
    async with in_process(clock=clock) as runtime:
        await runtime.settle()
    await clock.advance(1.0)  # the runtime is detached


async def test_the_real_clock_follows_the_wall_clock():
    clock = RealClock()
    assert abs(clock.now_s() - time.time()) < 1.0
    fired = []
    before_s = clock.now_s()
    clock.call_later(0.02, lambda: fired.append(clock.now_s()))
    cancelled = clock.call_later(0.01, fired.append, "never")
    assert cancelled.cancel() is True
    await eventually(lambda: fired)
    assert fired[0] - before_s >= 0.019
    assert len(fired) == 1
    timer = clock.call_later(-5.0, fired.append, "at once")
    await eventually(lambda: len(fired) == 2)
    assert timer.cancel() is False


# One seed decides everything.

_TRACE = """
import asyncio
from actorproc import *

class Node(Process):
    def initialize(self):
        self.rng = self.runtime.rng(self.pid.id)
        self.install("gossip", self.on_gossip)
        self.delay(self.rng.random(), self.speak)
    def speak(self):
        print(f"{self.clock.now_s():.6f} {self.pid} speaks")
        for peer in self.rng.sample(peers, 2):
            self.link(peer)
            self.send(peer, "gossip", self.rng.randbytes(4))
        self.delay(self.rng.expovariate(1.0), self.speak)
    def on_gossip(self, sender, body):
        print(f"{self.clock.now_s():.6f} {self.pid} heard {body.hex()} from {sender}")
    def exited(self, pid):
        print(f"{self.clock.now_s():.6f} {self.pid} exited {pid}")

peers = []
async def main():
    clock, network = VirtualClock(), InProcessNetwork()
    runtimes = [
        Runtime(network.transport(f"10.0.0.{n}", 1), clock=clock, seed=7) for n in range(4)
    ]
    for runtime in runtimes:
        await runtime.start()
        for name in "abc":
            peers.append(runtime.spawn(Node(name)))
    await clock.advance(5.0)
    await runtimes[0].stop()
    await clock.advance(1.0)
    for runtime in runtimes[1:]:
        await runtime.stop()
asyncio.run(main())
"""


async def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed():
    def trace(hash_seed):
        return subprocess.run(
            [sys.executable, "-c", _TRACE],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    one, other = await asyncio.gather(
        asyncio.to_thread(trace, "1"), asyncio.to_thread(trace, "4242")
    )
    assert one == other
    assert one.count("speaks") > 30
    assert "exited a@10.0.0.0:1" in one


async def test_random_streams_are_one_per_purpose():
    def draw(seed, purpose):
        return in_process(seed=seed).rng(purpose).random()

    assert draw(1, "a") == draw(1, "a")
    assert len({draw(1, "a"), draw(1, "b"), draw(2, "a")}) == 3
    assert draw(None, "a") != draw(None, "a")
