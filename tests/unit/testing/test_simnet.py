"""The simulated network: latency, order, loss, partitions, crashes, notices, records."""

import asyncio
import random

import pytest

from actorproc import (
    PID,
    Address,
    BrokenTransport,
    MailboxLimit,
    Process,
    ProcessTerminated,
    ProtocolMisuse,
    Runtime,
    VirtualClock,
    WhenFull,
)
from actorproc.testing import (
    Clog,
    Conditions,
    Constant,
    Crash,
    FaultPlan,
    HealAll,
    LongTail,
    Partition,
    Reset,
    Restart,
    SimulatedNetwork,
    Trace,
    TraceEvent,
    Uniform,
    delivery_violations,
    run_simulation,
    simnet,
)
from actorproc.testing.conformance import Collector, call

A, B, C = (Address(f"10.0.0.{number}", 5050) for number in (1, 2, 3))
CALM = Conditions(latency_s=Constant(0.1), detect_s=Constant(2.0))


class World:
    """One collector per runtime, on a simulated network."""

    def __init__(self, sim):
        self.sim, self.network = sim, sim.network
        self.at = {}
        self.runtimes = {}

    async def start(self, *addresses, make=Runtime):
        for address in addresses:
            self.runtimes[address] = await self.sim.boot(*address, self.populate, make=make)
        await self.sim.clock.settle()

    def populate(self, runtime):
        self.at[runtime.address] = Collector("c")
        runtime.spawn(self.at[runtime.address])

    def send(self, here, there, *bodies):
        for body in bodies:
            self.at[here].send(PID("c", *there), "m", body)

    def link(self, here, there, **options):
        self.at[here].link(PID("c", *there), **options)


def play(scenario, *addresses, seed=1, conditions=CALM):
    async def main(sim):
        world = World(sim)
        await world.start(*addresses)
        await scenario(world)
        assert delivery_violations(sim.network.trace.events) == []
        return world

    return run_simulation(main, seed, conditions=conditions)


def kinds(world, *wanted):
    return [event.kind for event in world.network.trace.events if event.kind in wanted]


# Order and time.


def test_a_message_needs_a_handshake_and_its_latency():
    async def scenario(world):
        world.send(A, B, b"1")
        await asyncio.sleep(0.29)
        assert world.at[B].bodies == []
        await asyncio.sleep(0.011)
        assert world.at[B].bodies == [b"1"]
        world.send(A, B, b"2")
        await asyncio.sleep(0.101)
        assert world.at[B].bodies == [b"1", b"2"]

    play(scenario, A, B)


def test_one_connection_keeps_order_and_two_do_not():
    async def scenario(world):
        for number in range(50):
            body = b"%d" % number
            world.send(A, C, b"a" + body)
            world.send(B, C, b"b" + body)
            await asyncio.sleep(0.01)
        await asyncio.sleep(100.0)
        bodies = world.at[C].bodies
        for name in (b"a", b"b"):
            assert [each for each in bodies if each[:1] == name] == [
                name + b"%d" % number for number in range(50)
            ]
        return bodies

    results = []

    async def keep(world):
        results.append(await scenario(world))

    for seed in range(3):
        play(keep, A, B, C, seed=seed, conditions=Conditions(latency_s=LongTail(0.05, 1.0)))
    assert len({tuple(each) for each in results}) == 3
    sent_in_turns = [name + b"%d" % number for number in range(50) for name in (b"a", b"b")]
    assert sent_in_turns not in results


def test_an_actor_more_does_not_change_what_befalls_the_others():
    def deliveries(with_third):
        async def scenario(world):
            for number in range(20):
                world.send(A, B, b"%d" % number)
                if with_third:
                    world.send(A, C, b"%d" % number)
                await asyncio.sleep(0.01)
            await asyncio.sleep(10.0)

        world = play(scenario, A, B, C, conditions=Conditions(latency_s=Uniform(0.1, 1.0)))
        events = world.network.trace.events
        return [e.at_s for e in events if e.kind == "deliver" and e.there == str(B)]

    assert deliveries(False) == deliveries(True)


# Loss.


def test_loss_takes_a_tail_and_the_link_hears_of_it():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.send(A, B, *(b"%d" % number for number in range(200)))
        await asyncio.sleep(10.0)
        got = world.at[B].bodies
        assert got == [b"%d" % number for number in range(len(got))]
        assert world.at[A].exits == ([PID("c", *B)] if len(got) < 200 else [])
        arrived.append(len(got))
        world.network.set_conditions(A, B, CALM)
        world.send(A, B, b"again")
        await asyncio.sleep(10.0)
        assert world.at[B].bodies[-1] == b"again"

    arrived = []
    for seed in range(20):
        conditions = Conditions(latency_s=Uniform(0.0, 0.1), break_chance=0.02)
        play(scenario, A, B, seed=seed, conditions=conditions)
    assert sum(0 < count < 200 for count in arrived) > 10


def test_a_reset_loses_a_tail_of_what_is_on_its_way_in_both_directions():
    async def scenario(world):
        world.link(A, B)
        world.link(B, A)
        await asyncio.sleep(1.0)
        world.send(A, B, b"1", b"2", b"3")
        world.send(B, A, b"1", b"2", b"3")
        world.network.reset(A, B)
        await asyncio.sleep(1.0)
        assert len(world.at[A].bodies) < 3
        assert len(world.at[B].bodies) < 3
        assert world.at[A].exits == [PID("c", *B)]
        assert world.at[B].exits == [PID("c", *A)]

    for seed in range(10):
        play(scenario, A, B, seed=seed)


def test_what_is_sent_before_the_loss_is_noticed_is_lost_as_well():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.reset(A, B)
        world.send(A, B, b"into the void")
        await asyncio.sleep(0.05)
        assert world.at[A].exits == []
        await asyncio.sleep(1.0)
        assert world.at[A].exits == [PID("c", *B)]
        assert world.at[B].bodies == []
        assert kinds(world, "lost") == ["lost"]

    play(scenario, A, B)


def test_connecting_may_be_refused_by_chance():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B, conditions=Conditions(refuse_chance=1.0))


# Partitions and clogs.


def test_a_partition_is_noticed_after_a_while_and_what_waited_is_lost():
    async def scenario(world):
        world.link(A, B)
        world.send(A, B, b"1")
        await asyncio.sleep(1.0)
        world.network.partition(A, B)
        world.send(A, B, b"2")
        await asyncio.sleep(1.9)
        assert world.at[A].exits == []
        await asyncio.sleep(0.2)
        assert world.at[A].exits == [PID("c", *B)]
        world.network.heal(A, B)
        await asyncio.sleep(10.0)
        assert world.at[B].bodies == [b"1"]
        world.send(A, B, b"3")
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == [b"1", b"3"]

    play(scenario, A, B)


def test_a_partition_that_heals_in_time_loses_nothing():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.partition(A, B)
        world.send(A, B, b"1", b"2")
        await asyncio.sleep(1.5)
        assert world.at[B].bodies == []
        world.network.heal(A, B)
        await asyncio.sleep(10.0)
        assert world.at[B].bodies == [b"1", b"2"]
        assert world.at[A].exits == []

    play(scenario, A, B)


def test_one_way_messages_arrive_but_neither_side_can_know():
    async def scenario(world):
        world.link(A, B)
        world.link(B, A)
        await asyncio.sleep(1.0)
        world.network.partition(B, A, one_way=True)
        world.send(A, B, b"there")
        world.send(B, A, b"back")
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == [b"there"]
        assert world.at[A].bodies == []
        await asyncio.sleep(10.0)
        assert world.at[A].exits == [PID("c", *B)]  # no acknowledgement came
        assert world.at[B].exits == [PID("c", *A)]
        assert world.at[A].bodies == []

    play(scenario, A, B)


def test_half_open_connections_are_never_noticed_without_detection():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.partition(A, B)
        world.send(A, B, b"1")
        await asyncio.sleep(100_000.0)
        assert world.at[A].exits == []
        world.network.heal_all()
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == [b"1"]

    play(scenario, A, B, conditions=Conditions(detect_s=None))


def test_an_idle_connection_without_keep_alive_notices_only_when_it_sends():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.partition(A, B)
        await asyncio.sleep(100_000.0)
        assert world.at[A].exits == []
        world.send(A, B, b"1")
        await asyncio.sleep(3.0)
        assert world.at[A].exits == [PID("c", *B)]

    conditions = Conditions(detect_s=Constant(2.0), keeps_alive=False)
    play(scenario, A, B, conditions=conditions)


def test_connecting_across_a_partition_takes_too_long():
    async def scenario(world):
        world.network.isolate(A)
        world.link(A, B)
        await asyncio.sleep(29.0)
        assert world.at[A].exits == []
        await asyncio.sleep(2.0)
        assert world.at[A].exits == [PID("c", *B)]
        assert "connecting took too long" in str(world.network.trace.last(1)[0])

    play(scenario, A, B, C)


def test_connecting_goes_on_when_a_partition_heals():
    async def scenario(world):
        world.network.partition(A, B)
        world.send(A, B, b"1")
        await asyncio.sleep(20.0)
        world.network.heal(B, A)
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == [b"1"]

    play(scenario, A, B)


def test_a_clog_delays_and_loses_nothing():
    async def scenario(world):
        world.link(A, B)
        world.link(B, A)
        await asyncio.sleep(1.0)
        world.network.clog(A, B)
        world.send(A, B, b"1", b"2")
        world.send(B, A, b"other way")
        await asyncio.sleep(1000.0)
        assert world.at[B].bodies == []
        world.network.unclog(A, B)
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == [b"1", b"2"]
        assert world.at[A].exits == []
        assert world.at[A].bodies == [b"other way"]

    play(scenario, A, B)


# Ends: stop, crash, restart.


def test_an_orderly_end_is_heard_and_its_last_words_arrive():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.send(B, A, b"last words")
        await world.runtimes[B].stop()
        await asyncio.sleep(1.0)
        assert world.at[A].bodies == [b"last words"]
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B)


def test_nothing_runs_in_a_crashed_runtime():
    class Busy(Process):
        async def initialize(self):  # type: ignore[override]
            self.delay(2.0, story.append, "timer")
            self.runtime.clock.call_later(2.0, story.append, "bare timer")
            self.start_task(self.work())
            self.loose = asyncio.create_task(self.work())
            self.install("m", lambda *_: story.append("message"))
            story.append("begun")
            await asyncio.sleep(2.0)
            story.append("woken")

        async def work(self):
            try:
                await asyncio.sleep(2.0)
                story.append("worked")
            finally:
                story.append("finally")

        def finalize(self):
            story.append("finalize")

    story = []

    async def scenario(world):
        busy = Busy("busy")
        world.runtimes[B].spawn(busy)
        await asyncio.sleep(1.0)
        world.at[A].send(busy.pid, "m", b"")
        call_to_the_dead = world.runtimes[B].dispatch(busy.pid, print)
        waiting = asyncio.create_task(world.runtimes[B].wait(busy.pid))
        await asyncio.sleep(0)
        world.network.crash(B)
        with pytest.raises(ProcessTerminated):
            await call_to_the_dead
        assert await waiting
        await asyncio.sleep(100.0)
        assert story == ["begun"]
        assert world.network.runtime_at(B) is None
        await world.runtimes[B].stop()  # nothing to stop

    play(scenario, A, B)
    assert "finalize" not in story


def test_a_runtime_may_crash_itself_in_a_handler():
    async def scenario(world):
        bodies = []

        def fall(sender, body):
            bodies.append(body)
            world.network.crash(B)
            world.at[B].send(sender, "m", b"too late")

        await call(world.runtimes[B], world.at[B], world.at[B].install, "m", fall)
        world.send(A, B, b"1", b"2", b"3")
        await asyncio.sleep(10.0)
        assert bodies == [b"1"]
        assert world.at[A].bodies == []

    play(scenario, A, B)


def test_a_killed_process_is_heard_of_at_once_and_its_successor_gets_what_comes():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.crash(B)
        await asyncio.sleep(0.15)
        assert world.at[A].exits == [PID("c", *B)]
        old = world.at[B]
        await world.network.restart(B)
        assert world.at[B] is not old
        world.send(A, B, b"1")
        await asyncio.sleep(1.0)
        assert (old.bodies, world.at[B].bodies) == ([], [b"1"])

    play(scenario, A, B)


def test_a_lost_machine_is_noticed_late():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.crash(B, silent=True)
        await asyncio.sleep(1.9)
        assert world.at[A].exits == []
        await asyncio.sleep(0.2)
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B)


def test_a_connection_to_a_lost_machine_meets_the_successor_and_breaks():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.crash(B, silent=True)
        world.send(A, B, b"1")
        await world.network.restart(B)
        await asyncio.sleep(1.0)
        assert world.at[B].bodies == []
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B)
    play(scenario, A, B, conditions=Conditions(latency_s=Constant(0.1), detect_s=None))


def test_of_what_a_crashed_runtime_had_sent_a_part_arrives():
    async def scenario(world):
        world.send(B, A, b"0")
        await asyncio.sleep(1.0)
        world.send(B, A, *(b"%d" % number for number in range(1, 10)))
        world.network.crash(B)
        await asyncio.sleep(1.0)
        bodies = world.at[A].bodies
        assert bodies == [b"%d" % number for number in range(len(bodies))]
        arrived.append(len(bodies))

    arrived = []
    for seed in range(20):
        play(scenario, A, B, seed=seed)
    assert len(set(arrived)) > 5


def test_what_a_process_had_sent_is_on_its_way_when_its_runtime_crashes():
    class Talker(Process):
        def initialize(self):
            self.delay(1.0, self.talk)
            self.delay(2.0, self.talk)

        def talk(self):
            for number in range(5):
                self.send(PID("c", *A), "m", b"%d" % number)

    async def scenario(world):
        world.runtimes[B].spawn(Talker("talker"))
        await asyncio.sleep(2.05)
        world.network.crash(B)
        await asyncio.sleep(10.0)
        arrived.append(len(world.at[A].bodies))

    arrived = []
    for seed in range(20):
        play(scenario, A, B, seed=seed)
    assert min(arrived) >= 5  # the first talk had come
    assert len(set(arrived)) > 3


def test_an_idle_link_to_a_lost_machine_meets_its_successor():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.crash(B, silent=True)
        await asyncio.sleep(1.0)
        await world.network.restart(B)
        await asyncio.sleep(1.0)
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B)


@pytest.mark.parametrize(
    "cut", [lambda network: network.partition(A, B), lambda network: network.clog(B, A)]
)
def test_news_of_a_crash_waits_behind_a_partition_and_a_clog(cut):
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        cut(world.network)
        world.network.crash(B)
        await asyncio.sleep(1.0)
        assert world.at[A].exits == []
        world.network.heal(A, B)
        await asyncio.sleep(0.2)
        assert world.at[A].exits == [PID("c", *B)]

    play(scenario, A, B)


def test_processes_that_are_ready_together_are_served_in_an_order_of_the_seed():
    class Early(Process):
        def initialize(self):
            order.append(self.pid.id)

    def orders(shuffle):
        found = []
        for seed in range(10):

            async def main(sim):
                runtime = await sim.boot(*A)
                for name in "abcde":
                    runtime.spawn(Early(name))
                await asyncio.sleep(2.0)

            order.clear()
            run_simulation(main, seed, shuffle=shuffle)
            found.append("".join(order))
        return found

    order = []
    assert len(set(orders(shuffle=True))) > 5
    assert orders(shuffle=True) == orders(shuffle=True)
    assert set(orders(shuffle=False)) == {"abcde"}


def test_crashing_nobody_and_restarting_a_stranger():
    async def scenario(world):
        world.network.crash(C)
        with pytest.raises(ProtocolMisuse, match=f"no runtime was booted at {C}"):
            await world.network.restart(C)
        with pytest.raises(BrokenTransport, match="address in use"):
            await world.sim.boot(*B)

    play(scenario, A, B)


def test_on_an_ordinary_loop_a_crash_cancels_tasks():
    class Busy(Process):
        async def initialize(self):  # type: ignore[override]
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                story.append("cancelled")
                raise

        def finalize(self):
            story.append("finalize")

    story = []

    async def main():
        clock = VirtualClock()
        network = SimulatedNetwork(1, clock, conditions=CALM)
        linker = Collector("linker")
        one = await network.boot(*A, lambda runtime: runtime.spawn(linker))
        await network.boot(*B, lambda runtime: runtime.spawn(Busy("busy")))
        await clock.advance(0.0)
        await call(one, linker, linker.link, PID("busy", *B))
        await clock.advance(1.0)
        network.crash(B)
        await clock.advance(1.0)
        assert story == ["cancelled"]
        assert linker.exits == [PID("busy", *B)]
        await network.close()

    asyncio.run(main())


# Relink, back-pressure, limits.


def test_reconnecting_over_a_half_open_connection_helps():
    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.network.crash(B, silent=True)
        await world.network.restart(B)
        world.link(A, B, reconnect=True)
        world.send(A, B, b"1")
        await asyncio.sleep(10.0)
        assert world.at[A].exits == []
        assert world.at[B].bodies == [b"1"]

    conditions = Conditions(detect_s=None, keeps_alive=False)
    play(scenario, A, B, conditions=conditions)


def test_a_full_mailbox_that_waits_holds_up_its_connection():
    class Slow(Collector):
        def __init__(self):
            Process.__init__(self, "slow", mailbox=MailboxLimit(10, WhenFull.WAIT))
            self.names, self.messages, self.exits = ("m",), [], []
            self.go_on = asyncio.Event()
            self.most = 0

        def initialize(self):
            self.install("m", self.take)

        async def take(self, sender, body):
            self.most = max(self.most, len(self._mailbox))
            self.messages.append(("m", sender, body))
            await self.go_on.wait()

    async def scenario(world):
        slow = Slow()
        world.runtimes[B].spawn(slow)
        for number in range(100):
            world.at[A].send(slow.pid, "m", b"%d" % number)
        await asyncio.sleep(10.0)
        assert len(slow.messages) == 1
        slow.go_on.set()
        await asyncio.sleep(100.0)
        assert slow.bodies == [b"%d" % number for number in range(100)]
        assert slow.most <= 11

    play(scenario, A, B)


def test_a_patient_sender_waits_while_too_much_is_on_its_way(monkeypatch):
    monkeypatch.setattr(simnet, "FLOW_MESSAGES", 10)

    async def scenario(world):
        to = PID("c", *B)

        async def flood():
            for number in range(100):
                await world.at[A].send_patiently(to, "m", b"%d" % number)

        world.network.clog(A, B)
        task = asyncio.create_task(flood())
        await asyncio.sleep(10.0)
        assert kinds(world, "send").count("send") == 10
        world.network.unclog(A, B)
        await task
        await asyncio.sleep(10.0)
        assert len(world.at[B].bodies) == 100

    play(scenario, A, B)


def test_what_is_on_its_way_has_a_limit(monkeypatch):
    monkeypatch.setattr(simnet, "PIPE_MESSAGES_MAX", 5)

    async def scenario(world):
        world.link(A, B)
        await asyncio.sleep(1.0)
        world.send(A, B, *(b"%d" % number for number in range(10)))
        await asyncio.sleep(10.0)
        assert world.at[A].exits == [PID("c", *B)]
        assert kinds(world, "lost").count("lost") >= 5

    play(scenario, A, B)


# Plans and records.


def test_a_plan_happens_at_its_times():
    async def scenario(world):
        world.network.schedule(
            FaultPlan((HealAll(9.0), Partition(1.0, A, B), Crash(5.0, C), Restart(7.0, C)))
        )
        world.network.schedule([Clog(2.0, B, A), Reset(3.0, A, C)])
        await asyncio.sleep(10.0)
        wanted = ("partition", "clog", "reset", "crash", "listen", "heal")
        found = [e for e in world.network.trace.events if e.kind in wanted and e.at_s > 0]
        assert [(e.at_s, e.kind) for e in found] == [
            (1.0, "partition"), (2.0, "clog"), (3.0, "reset"), (5.0, "crash"), (7.0, "listen"),
            (9.0, "heal"),
        ]  # fmt: skip
        assert world.network.runtime_at(C) is not None

    play(scenario, A, B, C)


def test_a_scheduled_restart_that_fails_is_not_lost():
    async def main(sim):
        runs = []

        def setup(runtime):
            if runs:
                raise ValueError("the disk is broken")
            runs.append(runtime)

        await sim.boot(*A, setup)
        sim.network.schedule([Crash(1.0, A), Restart(2.0, A), Restart(2.0, A)])
        await asyncio.sleep(3.0)

    with pytest.raises(ValueError, match="the disk is broken"):
        run_simulation(main, 1)


def test_a_random_plan_ends_with_all_well():
    for seed in range(50):
        plan = FaultPlan.random(
            random.Random(seed), [A, B, C], duration_s=10.0, faults=8, crashes=True
        )
        times = [fault.at_s for fault in plan]
        assert times == sorted(times)
        assert max(times) == 10.0
        crashed = [fault.address for fault in plan if isinstance(fault, Crash)]
        restarted = [fault.address for fault in plan if isinstance(fault, Restart)]
        assert set(crashed) <= set(restarted)
        assert HealAll(10.0) in plan.faults
        assert str(plan).count("\n") == len(plan.faults) - 1
    with pytest.raises(ProtocolMisuse, match="addresses must be two or more"):
        FaultPlan.random(random.Random(1), [A], duration_s=1.0, faults=1)
    with pytest.raises(ProtocolMisuse, match="at_s must be 0 or more"):
        FaultPlan((HealAll(-1.0),))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(-1.0), "value_s must be 0 or more"),
        (lambda: Constant(float("nan")), "value_s must be 0 or more"),
        (lambda: Uniform(2.0, 1.0), "low_s must not be above high_s"),
        (lambda: Uniform(0.0, float("inf")), "high_s must be 0 or more and finite"),
        (lambda: LongTail(1.0, -1.0), "spread must be 0 or more"),
        (lambda: Conditions(break_chance=1.5), "break_chance must be from 0 to 1"),
        (lambda: Conditions(refuse_chance=-0.1), "refuse_chance must be from 0 to 1"),
    ],
)
def test_bad_conditions_name_the_field_and_the_rule(make, text):
    with pytest.raises(ProtocolMisuse, match=text):
        make()


def test_durations_stay_in_their_bounds():
    rng = random.Random(1)
    assert {Constant(2.0)(rng) for _ in range(10)} == {2.0}
    assert all(1.0 <= Uniform(1.0, 2.0)(rng) <= 2.0 for _ in range(1000))
    drawn = sorted(LongTail(1.0, 1.0, max_s=5.0)(rng) for _ in range(1001))
    assert 0.8 < drawn[500] < 1.25
    assert drawn[-1] == 5.0


def test_a_trace_keeps_the_last_events_and_hashes_all():
    short, long, other = Trace(2), Trace(), Trace()
    for number in range(5):
        for trace in (short, long):
            trace.add(TraceEvent(float(number), "note", detail=str(number)))
        other.add(TraceEvent(float(number), "note", detail="x"))
    assert [event.detail for event in short.events] == ["3", "4"]
    assert (short.forgotten, long.forgotten) == (3, 0)
    assert short.hash() == long.hash() != other.hash()


@pytest.mark.parametrize(
    ("story", "violations"),
    [
        ([("send", 1), ("send", 2), ("deliver", 1), ("deliver", 2)], 0),
        ([("send", 1), ("send", 2), ("deliver", 1)], 0),
        ([("send", 1), ("deliver", 1), ("deliver", 1)], 1),
        ([("send", 1), ("send", 2), ("deliver", 2), ("deliver", 1)], 2),
        ([("send", 1), ("send", 2), ("send", 3), ("deliver", 1), ("deliver", 3)], 1),
        ([("deliver", 1)], 1),
    ],
)
def test_violations_of_the_promise_are_found(story, violations):
    events = [
        TraceEvent(0.0, kind, "a", "b", connection=1, number=number) for kind, number in story
    ]
    assert len(delivery_violations(events)) == violations


def test_a_network_takes_a_stream_instead_of_a_seed():
    assert SimulatedNetwork(random.Random(3), VirtualClock()).seed == (
        SimulatedNetwork(random.Random(3), VirtualClock()).seed
    )
