"""Behaviours of the clock (spec section 6), on the virtual clock and on the simulated one."""

import asyncio

import pytest

from actorproc import InProcessNetwork, Process, Runtime, VirtualClock
from actorproc.testing import SimulatedLoop
from actorproc.testing.conformance import Collector


@pytest.fixture(params=["virtual clock", "virtual clock on a simulated loop", "simulated clock"])
def play(request):
    """Runs `main(clock)` with one of the clocks, standing still."""

    def run(main):
        if request.param == "virtual clock":
            return asyncio.run(main(VirtualClock()))
        loop = SimulatedLoop(1, shuffle=True)
        clock = VirtualClock() if "virtual" in request.param else loop.clock
        if clock is loop.clock:
            clock.pause()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(main(clock))

    return run


def runtime_on(clock, network=None):
    return Runtime((network or InProcessNetwork()).transport("10.0.0.1", 1), clock=clock, seed=1)


class Alarm(Process):
    def __init__(self, *delays_s):
        super().__init__("alarm")
        self.delays_s = delays_s
        self.fired_at_s = []

    def initialize(self):
        for delay_s in self.delays_s:
            self.delay(delay_s, self.ring)

    def ring(self):
        self.fired_at_s.append(self.clock.now_s())


def test_b009_a_delay_fires_once_when_its_time_has_come_and_not_before(play):
    async def main(clock):
        async with runtime_on(clock) as runtime:
            alarm = Alarm(5.0)
            runtime.spawn(alarm)
            await clock.settle()
            await clock.advance(4.999)
            assert alarm.fired_at_s == []
            await clock.advance(0.001)
            assert alarm.fired_at_s == [pytest.approx(5.0)]
            await clock.advance(100.0)
            assert len(alarm.fired_at_s) == 1

    play(main)


def test_all_processes_of_a_clock_see_one_time(play):
    # Differs from libprocess, where an idle process keeps its old time (behaviour 10).
    async def main(clock):
        async with runtime_on(clock) as runtime:
            idle = Collector("idle")
            runtime.spawn(idle)
            await clock.advance(1.0)
            assert idle.clock.now_s() == 1.0
            younger = Collector("younger")
            runtime.spawn(younger)
            await clock.settle()
            seen = await runtime.dispatch(younger.pid, younger.dispatch, idle.pid, clock.now_s)
            assert seen == 1.0

    play(main)


def test_b017_settle_returns_when_everything_has_happened(play):
    class Busy(Collector):
        story: list[str]

        async def initialize(self):  # type: ignore[override]
            self.story = []
            await asyncio.sleep(0)
            self.story.append("slept in initialize")
            self.delay(0.0, self.story.append, "delay of nothing")
            call = self.dispatch(self.pid, self.count, 200)
            call.add_done_callback(lambda _: None)
            self.start_task(self.wait_for_child())

        async def wait_for_child(self):
            child = self.runtime.spawn(Collector("child"))
            self.link(child)
            self.runtime.terminate(child)
            assert await self.runtime.wait(child)
            self.story.append("child ended")

        def count(self, left):
            if left:
                self.dispatch(self.pid, self.count, left - 1)
            else:
                self.story.append("dispatched to itself")

    async def main(clock):
        async with runtime_on(clock) as runtime:
            busy = Busy("busy")
            runtime.spawn(busy)
            await clock.settle()
            assert sorted(busy.story) == [
                "child ended",
                "delay of nothing",
                "dispatched to itself",
                "slept in initialize",
            ]
            assert [pid.id for pid in busy.exits] == ["child"]
            assert clock.now_s() == 0.0

    play(main)


def test_settle_on_a_simulated_loop_waits_for_any_chain_of_awaits():
    class Slow(Process):
        is_done = False

        async def initialize(self):  # type: ignore[override]
            for _ in range(300):  # far beyond the turns that an ordinary loop is watched for
                await asyncio.sleep(0)
            self.is_done = True

    async def main():
        for clock in (VirtualClock(), loop.clock):
            async with runtime_on(clock) as runtime:
                slow = Slow("slow")
                runtime.spawn(slow)
                await runtime.settle()
                assert slow.is_done

    loop = SimulatedLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_b024_a_delay_fires_after_the_runtime_was_made_anew(play):
    async def main(clock):
        network = InProcessNetwork()
        forgotten = Alarm(5.0)
        async with runtime_on(clock, network) as runtime:
            runtime.spawn(forgotten)
            await clock.advance(1.0)
        async with runtime_on(clock, network) as runtime:
            alarm = Alarm(5.0)
            runtime.spawn(alarm)
            await clock.advance(4.5)
            assert alarm.fired_at_s == []
            await clock.advance(0.5)
            assert alarm.fired_at_s == [pytest.approx(6.0)]
        assert forgotten.fired_at_s == []

    play(main)


def test_settle_fires_what_is_due_in_order(play):
    async def main(clock):
        fired = []
        clock.call_later(0.0, fired.append, 1)
        clock.call_later(-5.0, fired.append, 2)
        clock.call_later(0.0, clock.call_later, 0.0, fired.append, 3)
        clock.call_later(0.5, fired.append, "later")
        await clock.settle()
        assert fired == [1, 2, 3]

    play(main)


def test_a_cancelled_call_tells_whether_it_was_in_time(play):
    async def main(clock):
        fired = []
        timer = clock.call_later(1.0, fired.append, 1)
        other = clock.call_later(1.0, fired.append, 2)
        assert other.cancel()
        assert not other.cancel()
        await clock.advance(2.0)
        assert not timer.cancel()
        assert fired == [1]

    play(main)
