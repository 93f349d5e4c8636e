"""Metrics, their registry and its snapshot. Source: actor-runtime.md §7, behaviours 84 to 89."""

import asyncio

import pytest

from actorproc import Process, ProtocolMisuse, VirtualClock
from actorproc.metrics import (
    Counter,
    MetricFailed,
    MetricNameTaken,
    MetricsRegistry,
    PullGauge,
    PushGauge,
    Timer,
    UnknownMetric,
)
from tests.runtime.support import in_process, within

pytestmark = pytest.mark.asyncio

STATISTICS = ["count", "max", "min", "p50", "p90", "p95", "p99", "p999", "p9999"]


async def settled(clock):
    """Let tasks that were just made take their first steps."""
    await clock.advance(0)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_b084_a_counter_counts_and_is_reset():
    counter = Counter("test/counter")
    assert await counter.value() == 0.0
    counter.increment()
    counter += 42
    assert await counter.value() == 43.0
    assert isinstance(await counter.value(), float)
    assert counter.statistics() is None
    counter.reset()
    assert await counter.value() == 0.0


async def test_a_counter_never_falls():
    counter = Counter("test/counter")
    with pytest.raises(ProtocolMisuse, match="test/counter"):
        counter += -1
    with pytest.raises(ProtocolMisuse, match="test/counter"):
        counter.increment(float("nan"))
    assert counter.current == 0


async def test_a_push_gauge_goes_up_and_down():
    gauge = PushGauge("test/gauge")
    assert await gauge.value() == 0.0
    gauge.set(42)
    gauge += 2
    gauge -= 1
    gauge.increment()
    gauge.decrement(4)
    assert await gauge.value() == 40.0


async def test_b085_a_snapshot_shows_the_statistics_of_a_history():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    counter = metrics.counter("test/counter", window_s=14 * 86_400)
    for _ in range(10):
        await clock.advance(1)
        counter.increment()
    snapshot = await metrics.snapshot()
    assert list(snapshot) == ["test/counter", *(f"test/counter/{each}" for each in STATISTICS)]
    assert snapshot["test/counter"] == 10.0
    assert snapshot["test/counter/count"] == 11.0
    assert snapshot["test/counter/min"] == 0.0
    assert snapshot["test/counter/max"] == 10.0
    assert snapshot["test/counter/p50"] == 5.0
    assert snapshot["test/counter/p90"] == 9.0
    assert snapshot["test/counter/p95"] == 9.5
    assert snapshot["test/counter/p99"] == pytest.approx(9.9)
    assert snapshot["test/counter/p999"] == pytest.approx(9.99)
    assert snapshot["test/counter/p9999"] == pytest.approx(9.999)


async def test_a_history_forgets_what_its_window_left_behind():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    counter = metrics.counter("c", window_s=10)
    counter.increment()
    await clock.advance(1)
    counter.increment()
    assert counter.statistics().count == 2  # the value of the start was replaced at the same time
    await clock.advance(11)
    assert list(await metrics.snapshot()) == ["c"]


async def raises():
    raise ValueError("broken")


@pytest.mark.parametrize("read", [raises, lambda: 1 / 0, lambda: "text", lambda: None])
async def test_b086_a_failing_gauge_is_left_out(read):
    metrics = MetricsRegistry(VirtualClock())
    gauge = metrics.pull_gauge("test/bad", read)
    metrics.pull_gauge("test/good", lambda: 42)
    assert await metrics.snapshot() == {"test/good": 42.0}
    with pytest.raises(MetricFailed, match="test/bad"):
        await gauge.value()


async def test_a_pull_gauge_asks_a_function_a_coroutine_or_an_actor():
    class Librarian(Process):
        books = 3

        def count(self):
            return self.books

    async def answer():
        return 2

    async with in_process() as runtime:
        librarian = Librarian()
        runtime.spawn(librarian)
        metrics = MetricsRegistry(runtime.clock)
        metrics.pull_gauge("function", lambda: 1)
        metrics.pull_gauge("coroutine", answer)
        metrics.pull_gauge("actor", lambda: runtime.dispatch(librarian.pid, librarian.count))
        snapshot = await within(metrics.snapshot())
        assert snapshot == {"actor": 3.0, "coroutine": 2.0, "function": 1.0}
        runtime.terminate(librarian.pid)
        await runtime.wait(librarian.pid)
        assert "actor" not in await within(metrics.snapshot())


async def test_b087_a_snapshot_leaves_out_what_is_late():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    was_cancelled = []

    async def never():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled.append(True)
            raise

    metrics.pull_gauge("test/never", never)
    metrics.pull_gauge("test/good", lambda: 1)
    snapshot = asyncio.ensure_future(metrics.snapshot(timeout_s=2))
    await settled(clock)
    await clock.advance(1.9)
    await settled(clock)
    assert not snapshot.done()
    await clock.advance(0.1)
    assert await within(snapshot) == {"test/good": 1.0}
    await settled(clock)
    assert was_cancelled == [True]


async def test_a_gauge_that_refuses_to_end_does_not_hold_the_snapshot():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    release = asyncio.Event()

    async def stubborn():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return 1

    metrics.pull_gauge("stubborn", stubborn)
    snapshot = asyncio.ensure_future(metrics.snapshot(timeout_s=1))
    await settled(clock)
    await clock.advance(1)
    assert await within(snapshot) == {}
    release.set()
    await settled(clock)


async def test_a_cancelled_snapshot_cancels_its_questions():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    asked = asyncio.get_running_loop().create_future()
    metrics.pull_gauge("waits", lambda: asked)
    snapshot = asyncio.ensure_future(metrics.snapshot())
    await settled(clock)
    snapshot.cancel()
    with pytest.raises(asyncio.CancelledError):
        await snapshot
    await settled(clock)
    assert asked.cancelled()


async def test_b088_a_snapshot_is_sorted_and_forgets_what_was_removed():
    metrics = MetricsRegistry(VirtualClock())
    gauges = [PushGauge(f"test/gauge{number}") for number in range(5)]
    for gauge in reversed(gauges):
        metrics.add(gauge)
    assert list(await metrics.snapshot()) == [gauge.name for gauge in gauges]
    metrics.remove(gauges[2])
    metrics.remove("test/gauge0")
    assert list(await metrics.snapshot()) == ["test/gauge1", "test/gauge3", "test/gauge4"]


async def test_a_name_is_taken_once_and_removed_once():
    metrics = MetricsRegistry(VirtualClock())
    counter = metrics.counter("a")
    with pytest.raises(MetricNameTaken, match="'a'"):
        metrics.push_gauge("a")
    metrics.remove(counter)
    with pytest.raises(UnknownMetric, match="'a'"):
        metrics.remove(counter)
    metrics.push_gauge("a")
    assert "a" in metrics
    assert len(metrics) == 1


async def test_two_registries_share_nothing():
    one, other = MetricsRegistry(VirtualClock()), MetricsRegistry(VirtualClock())
    one.counter("a")
    other.counter("a").increment()
    assert await one.snapshot() == {"a": 0.0}


async def test_b089_a_timer_tells_its_time_in_its_unit():
    clock = VirtualClock()
    metrics = MetricsRegistry(clock)
    timer = metrics.timer("test/timer", unit="ns")
    assert timer.name == "test/timer_ns"
    assert await metrics.snapshot() == {}  # it has timed nothing yet
    with pytest.raises(MetricFailed, match="test/timer_ns"):
        await timer.value()
    timer.start()
    await clock.advance(1e-6)
    assert timer.stop() == 1000.0
    assert await metrics.snapshot() == {"test/timer_ns": 1000.0}


async def test_b089_stop_without_start_does_no_harm():
    clock = VirtualClock()
    timer = Timer("test/timer", clock)
    assert timer.stop() == 0
    assert timer.count == 0
    timer.start()
    await clock.advance(2)
    timer.stop()
    timer.stop()
    assert await timer.value() == 2000.0


async def test_b089_timing_something_ready_gives_zero():
    clock = VirtualClock()
    timer = Timer("test/timer", clock)
    ready = asyncio.get_running_loop().create_future()
    ready.set_result("done")
    assert await timer.time(ready) == "done"
    assert await timer.value() == 0.0


async def test_timings_overlap_and_count_when_they_fail():
    clock = VirtualClock()
    timer = Timer("t", clock, unit="secs", window_s=100)
    long = asyncio.get_running_loop().create_future()
    timing = asyncio.ensure_future(timer.time(long))
    await settled(clock)
    await clock.advance(1)
    with pytest.raises(KeyError), timer.timing():
        raise KeyError("missing")
    await clock.advance(2)
    long.set_result(None)
    await timing
    assert await timer.value() == 3.0
    assert (timer.count, timer.total_s) == (2, 3.0)
    assert timer.statistics().max == 3.0


@pytest.mark.parametrize(
    ("unit", "value"),
    [("us", 9e7), ("ms", 9e4), ("secs", 90), ("mins", 1.5), ("hrs", 0.025)],
)
async def test_units_of_timers(unit, value):
    clock = VirtualClock()
    timer = Timer("t", clock, unit=unit)
    timer.start()
    await clock.advance(90)
    assert timer.stop() == value
    assert timer.name == f"t_{unit}"


async def test_bad_definitions_are_refused():
    clock = VirtualClock()
    with pytest.raises(ProtocolMisuse, match="name"):
        Counter("")
    with pytest.raises(ProtocolMisuse, match="name"):
        Timer("", clock)
    with pytest.raises(ProtocolMisuse, match="unit 'hours'"):
        Timer("t", clock, unit="hours")
    with pytest.raises(ProtocolMisuse, match="needs a clock"):
        PushGauge("g", window_s=1)
    with pytest.raises(ProtocolMisuse, match="capacity"):
        Counter("c", clock=clock, window_s=1, capacity=0)
    PullGauge("p", lambda: 0)
