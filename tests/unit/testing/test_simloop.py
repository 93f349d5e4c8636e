"""The simulated loop: time, order, settling, refusals, and what stands still after a kill."""

import asyncio
import contextlib
import gc
import random
import threading

import pytest

from actorproc.errors import ProtocolMisuse
from actorproc.testing import (
    Constant,
    LeakedTasks,
    RealIoRefused,
    SimulatedLoop,
    SimulationDeadlock,
    SimulationLivelock,
    SimulationTooLong,
    Uniform,
    run_simulation,
    simloop,
)


def play(main, seed=1, **options):
    """Run `main(loop)` on a loop of its own."""
    loop = SimulatedLoop(seed, **options)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))


def test_hours_of_sleep_pass_in_virtual_time():
    async def main(loop):
        await asyncio.gather(asyncio.sleep(3600.0), asyncio.sleep(7200.0))
        return loop.time(), loop.clock.now_s()

    assert play(main, start_s=10.0) == (7210.0, 7210.0)


def test_timers_of_one_deadline_fire_in_the_order_they_were_set():
    async def main(loop):
        fired = []
        for number in range(50):
            loop.call_at(5.0, fired.append, number)
        await asyncio.sleep(5.0)
        return fired

    assert play(main) == list(range(50))


def test_a_timeout_fires_at_its_virtual_time():
    async def main(loop):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30.0):
                await asyncio.Event().wait()
        return loop.time()

    assert play(main) == 30.0


def test_cancelled_timers_neither_fire_nor_pile_up(monkeypatch):
    monkeypatch.setattr(simloop, "CANCELLED_TIMERS_MAX", 10)

    async def main(loop):
        fired = []
        kept = loop.call_later(2.0, fired.append, "kept")
        for number in range(1000):
            loop.call_later(1.0, fired.append, number).cancel()
        assert len(loop._timers) < 30
        assert not kept.cancelled()
        await asyncio.sleep(3.0)
        return fired

    assert play(main) == ["kept"]


def test_waiting_for_quiet_is_exact():
    # A chain far longer than any number of turns one could guess.
    async def main(loop):
        done = []

        async def chain():
            for _ in range(500):
                await asyncio.sleep(0)
            loop.call_later(0.0, done.append, "timer due now")
            loop.call_later(0.001, done.append, "later")
            await loop.run_in_executor(None, done.append, "work")

        task = asyncio.create_task(chain())
        await loop.clock.settle()
        assert task.done()
        assert sorted(done) == ["timer due now", "work"]
        assert loop.time() == 0.0

    play(main)


def test_several_wait_for_quiet_one_after_the_other():
    async def main(loop):
        story = []

        async def settler(name):
            await loop.wait_quiet()
            story.append(f"{name} sees quiet")
            for _ in range(5):
                await asyncio.sleep(0)
            story.append(f"{name} is done")

        await asyncio.gather(settler("one"), settler("other"))
        return story

    assert play(main) == ["one sees quiet", "one is done", "other sees quiet", "other is done"]


def test_a_paused_clock_moves_by_advance_only():
    async def main(loop):
        clock, fired = loop.clock, []
        clock.pause()
        for second in (1, 2, 3):
            clock.call_later(float(second), fired.append, second)
        await clock.settle()
        assert fired == []
        await clock.advance(2.0)
        assert (fired, clock.now_s()) == ([1, 2], 2.0)
        with pytest.raises(ProtocolMisuse, match="delta_s must be 0 or more"):
            await clock.advance(-1.0)
        clock.resume()
        await asyncio.sleep(5.0)
        assert (fired, clock.now_s()) == ([1, 2, 3], 7.0)

    play(main)


def test_waiting_on_a_paused_clock_is_a_deadlock_that_says_so():
    async def main(loop):
        loop.clock.pause()
        await asyncio.sleep(1.0)

    with pytest.raises(SimulationDeadlock, match="the clock is paused"):
        play(main)


def test_a_deadlock_names_who_waits_and_where():
    async def never_comes():
        await asyncio.get_running_loop().create_future()

    async def main(loop):
        await asyncio.create_task(never_comes(), name="stuck")

    with pytest.raises(SimulationDeadlock) as caught:
        play(main)
    assert "stuck test_a_deadlock" in str(caught.value)
    assert "never_comes at " in str(caught.value)
    assert f"{__file__}:" in str(caught.value)


def test_the_end_of_a_deadlock_still_runs_the_finally_of_what_waited():
    story = []

    async def main(loop):
        try:
            await loop.create_future()
        finally:
            story.append("cleaned up")

    with pytest.raises(SimulationDeadlock):
        play(main)
    assert story == ["cleaned up"]


def test_a_busy_circle_is_reported(monkeypatch):
    monkeypatch.setattr(simloop, "TURNS_AT_ONE_TIME_MAX", 1000)

    async def main(loop):
        while True:  # noqa: ASYNC110  # nobody would set an event
            await asyncio.sleep(0)

    with pytest.raises(SimulationLivelock, match="1000 turns"):
        play(main)


def test_the_limit_of_virtual_time_holds():
    async def main(loop):
        while True:  # noqa: ASYNC110  # nobody would set an event
            await asyncio.sleep(10.0)

    with pytest.raises(SimulationTooLong, match="limit, 3600"):
        play(main, limit_s=3600.0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda loop: asyncio.open_connection("127.0.0.1", 1),
        lambda loop: asyncio.start_server(print, "127.0.0.1", 0),
        lambda loop: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.getaddrinfo("localhost", 80),
        lambda loop: loop.sock_recv(None, 1),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_signal_handler(1, print),
    ],
)
def test_real_io_is_refused_by_name(ask):
    async def main(loop):
        with pytest.raises(RealIoRefused, match="is not possible in a simulation"):
            await ask(loop)

    play(main)


def test_a_thread_cannot_call_into_the_loop():
    async def main(loop):
        errors = []

        def elsewhere():
            try:
                loop.call_soon_threadsafe(print)
            except RealIoRefused as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "threads are not simulated" in str(errors[0])

    play(main)


def test_work_for_an_executor_takes_virtual_time():
    async def main(loop):
        assert await asyncio.to_thread(lambda: threading.get_ident()) == threading.get_ident()
        assert loop.time() == 2.0
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.run_in_executor(None, next, iter(()))
        future = loop.run_in_executor(None, pytest.fail, "cancelled work must not run")
        future.cancel()
        await asyncio.sleep(10.0)

    play(main, work_s=Constant(2.0))


def orders(seed, shuffle=True):
    """In which order five tasks take their ten steps."""

    async def main(loop):
        story = []

        async def walk(name):
            for step in range(10):
                story.append((name, step))
                await asyncio.sleep(0)

        await asyncio.gather(*(walk(name) for name in "abcde"))
        return story

    return play(main, seed, shuffle=shuffle)


def test_the_seed_decides_the_order_of_tasks_and_each_keeps_its_own():
    assert orders(1) == orders(1)
    assert len({tuple(orders(seed)) for seed in range(10)}) == 10
    for seed in range(10):
        for name in "abcde":
            assert [step for each, step in orders(seed) if each == name] == list(range(10))


def test_without_shuffling_the_order_is_that_of_asyncio():
    async def main():
        story = []

        async def walk(name):
            for step in range(10):
                story.append((name, step))
                await asyncio.sleep(0)

        await asyncio.gather(*(walk(name) for name in "abcde"))
        return story

    assert orders(1, shuffle=False) == asyncio.run(main())


def test_callbacks_of_one_object_keep_their_order_when_shuffled():
    class Writer:
        def __init__(self):
            self.written = []

        def write(self, number):
            self.written.append(number)

    async def main(loop):
        writers = [Writer() for _ in range(5)]
        for number in range(100):
            for writer in writers:
                loop.call_soon(writer.write, number)
        await loop.wait_quiet()
        assert all(writer.written == list(range(100)) for writer in writers)

    play(main, shuffle=True)


def test_an_exception_in_a_callback_does_not_lose_the_ones_behind_it(caplog):
    async def main(loop):
        done = []
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(done.append, "next")
        await loop.wait_quiet()
        return done

    assert play(main) == ["next"]
    assert "ZeroDivisionError" in caplog.text


def test_nothing_of_a_killed_node_runs_any_more():
    class Owner:
        """Its methods run in the node, whoever calls for them."""

        def begin(self):
            asyncio.get_running_loop().call_later(5.0, story.append, "timer")
            self.task = asyncio.get_running_loop().create_task(self.work())

        async def work(self):
            child = asyncio.create_task(self.child())
            try:
                story.append("begun")
                await asyncio.sleep(10.0)
                story.append("woken")
            except asyncio.CancelledError:
                story.append("cancelled")
                raise
            finally:
                story.append("finally")
                child.cancel()

        async def child(self):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3.0)
            story.append("child")

    story = []

    async def main(loop):
        owner = Owner()
        node = loop.new_node("node", owner)
        loop.call_soon(owner.begin)
        await asyncio.sleep(1.0)
        loop.kill(node)
        del owner
        gc.collect()
        await asyncio.sleep(100.0)
        assert story == ["begun"]
        assert len(asyncio.all_tasks()) == 1

    play(main, shuffle=True)


def test_a_killed_node_is_not_woken_from_outside():
    class Owner:
        def begin(self):
            self.task = asyncio.create_task(self.work())

        async def work(self):
            await event.wait()
            story.append("woken")

        def ready(self):
            story.append("was ready")

    story, event = [], asyncio.Event()

    async def main(loop):
        owner = Owner()
        node = loop.new_node("node", owner)
        loop.call_soon(owner.begin)
        await asyncio.sleep(1.0)
        event.set()  # the task is about to run
        loop.call_soon(owner.ready)
        loop.kill(node)
        await loop.wait_quiet()
        assert story == []

    play(main)


def test_what_a_dead_node_waits_for_does_not_hide_a_deadlock():
    class Owner:
        def begin(self):
            asyncio.get_running_loop().call_later(5.0, print)

    async def main(loop):
        owner = Owner()
        node = loop.new_node("node", owner)
        loop.call_soon(owner.begin)
        await asyncio.sleep(1.0)
        loop.kill(node)
        await loop.create_future()

    with pytest.raises(SimulationDeadlock, match=r"at 1\.0 s"):
        play(main)


def test_run_simulation_returns_and_its_failures_carry_the_seed():
    async def good(sim):
        await asyncio.sleep(1.0)
        return sim.rng("x").random(), sim.rng("x").random(), sim.clock.now_s()

    assert run_simulation(good, 5) == run_simulation(good, 5)
    assert run_simulation(good, 5) != run_simulation(good, 6)

    async def bad(sim):
        sim.note("about to fail")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom") as caught:
        run_simulation(bad, 77)
    notes = "\n".join(caught.value.__notes__)
    assert "seed 77" in notes
    assert "about to fail" in notes


def test_run_simulation_reports_tasks_left_behind():
    async def main(sim):
        task = asyncio.create_task(asyncio.sleep(100.0), name="left-over")
        await asyncio.sleep(0)
        sim.task = task

    with pytest.raises(LeakedTasks, match="left-over"):
        run_simulation(main, 1)


def test_work_times_are_drawn_from_the_seed():
    async def main(sim):
        await asyncio.to_thread(random.Random, 1)
        return sim.clock.now_s()

    options = {"work_s": Uniform(1.0, 2.0)}
    assert 1.0 <= run_simulation(main, 1, **options) <= 2.0
    assert run_simulation(main, 1, **options) == run_simulation(main, 1, **options)
    assert run_simulation(main, 1, **options) != run_simulation(main, 2, **options)
