"""Supervisor: children start, fail, come back and stop, in virtual time."""

import pytest
import pytest_asyncio

from actorproc import Process, VirtualClock
from actorproc.patterns import (
    ChildSpec,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Supervisor,
    SupervisorOptions,
    after,
)
from tests.runtime.support import Collector, in_process

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock():
    return VirtualClock()


@pytest_asyncio.fixture
async def runtime(clock):
    async with in_process(clock=clock) as runtime:
        yield runtime


class Child(Process):
    """Tells when it lives and dies; fails, ends or hangs when told."""

    def __init__(self, id, story, crash_at_start=False):
        super().__init__(id)
        self.story = story
        self.crash_at_start = crash_at_start

    def initialize(self):
        self.install("fail", self.fail)
        self.install("end", lambda sender, body: self.terminate())
        self.install("hang", self.hang)
        self.story.append(f"+{self.pid.id}")
        if self.crash_at_start:
            raise ValueError("cannot start")

    def finalize(self):
        self.story.append(f"-{self.pid.id}")

    def fail(self, sender, body):
        raise ValueError("told to fail")

    async def hang(self, sender, body):
        await after(self, 1e6)


def family(story, strategy=Strategy.ONE_FOR_ONE, restart=Restart.PERMANENT, **options):
    specs = [
        ChildSpec(name, lambda name=name: Child(name, story), restart=restart, shutdown_s=5.0)
        for name in ("a", "b", "c")
    ]
    return Supervisor(specs, SupervisorOptions(strategy, **options), id="boss")


async def begin(runtime, supervisor, story):
    runtime.spawn(supervisor)
    await runtime.settle()
    assert story == ["+a", "+b", "+c"]
    story.clear()


async def test_a_child_that_fails_comes_back_after_its_back_off(runtime, clock):
    story = []
    supervisor = family(story, backoff_s=0.5)
    await begin(runtime, supervisor, story)
    before = supervisor.child("b").pid
    runtime.post(before, "fail")
    await runtime.settle()
    assert story == ["-b"]
    assert supervisor.child("b") is None
    await clock.advance(0.5)
    assert story == ["-b", "+b"]
    assert supervisor.child("b").pid == before  # a fixed id survives


async def test_one_for_all_restarts_the_family(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story, Strategy.ONE_FOR_ALL), story)
    runtime.post(supervisor.child("b").pid, "fail")
    await clock.advance(1.0)
    assert story == ["-b", "-c", "-a", "+a", "+b", "+c"]


async def test_rest_for_one_restarts_those_after(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story, Strategy.REST_FOR_ONE), story)
    runtime.post(supervisor.child("b").pid, "fail")
    await clock.advance(1.0)
    assert story == ["-b", "-c", "+b", "+c"]


@pytest.mark.parametrize(
    ("restart", "message", "comes_back"),
    [
        (Restart.PERMANENT, "end", True),
        (Restart.TRANSIENT, "end", False),
        (Restart.TRANSIENT, "fail", True),
        (Restart.TEMPORARY, "fail", False),
    ],
)
async def test_failing_and_ending_are_told_apart(runtime, clock, restart, message, comes_back):
    story = []
    await begin(runtime, supervisor := family(story, restart=restart), story)
    runtime.post(supervisor.child("a").pid, message)
    await clock.advance(1.0)
    assert story == (["-a", "+a"] if comes_back else ["-a"])


async def test_too_many_restarts_end_the_supervisor_and_reach_its_linkers(runtime, clock):
    story, watcher = [], Collector("watcher")
    await begin(runtime, supervisor := family(story, intensity=2, backoff_s=0.0), story)
    runtime.spawn(watcher)
    runtime.dispatch(watcher.pid, watcher.link, supervisor.pid)
    for _ in range(3):
        runtime.post(supervisor.child("a").pid, "fail")
        await clock.advance(0.1)
    assert story == ["-a", "+a", "-a", "+a", "-a", "-c", "-b"]
    assert watcher.exits == [supervisor.pid]
    assert isinstance(supervisor.failure, RestartIntensityExceeded)
    assert await runtime.wait(supervisor.pid, 1.0) is False  # gone


async def test_a_supervisor_above_restarts_one_that_gave_up(runtime, clock):
    story, families = [], []

    def make_family():
        families.append(family(story, intensity=0, backoff_s=0.0))
        return families[-1]

    top = Supervisor([ChildSpec("family", make_family)], id="top")
    runtime.spawn(top)
    await runtime.settle()
    runtime.post(families[0].child("a").pid, "fail")
    await clock.advance(1.0)
    assert len(families) == 2
    assert story[-3:] == ["+a", "+b", "+c"]
    assert top.child("family") is families[1]


async def test_a_child_that_cannot_start_uses_up_the_intensity(runtime, clock):
    story = []
    spec = ChildSpec("a", lambda: Child("a", story, crash_at_start=True))
    supervisor = Supervisor([spec], SupervisorOptions(intensity=2, backoff_s=0.1), id="boss")
    runtime.spawn(supervisor)
    await clock.advance(10.0)
    assert story == ["+a", "-a"] * 3
    assert isinstance(supervisor.failure, RestartIntensityExceeded)


async def test_a_factory_that_fails_uses_up_the_intensity(runtime, clock):
    made = []

    def broken():
        made.append(None)
        raise OSError("no more files")

    supervisor = Supervisor(
        [ChildSpec("a", broken)], SupervisorOptions(intensity=1, backoff_s=0.1), id="boss"
    )
    runtime.spawn(supervisor)
    await clock.advance(10.0)
    assert isinstance(supervisor.failure, RestartIntensityExceeded)
    assert len(made) == 2


async def test_stop_lets_children_finish_in_reverse_order(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story), story)
    runtime.dispatch(supervisor.pid, supervisor.stop)
    await runtime.settle()
    assert story == ["-c", "-b", "-a"]
    assert supervisor.failure is None
    assert supervisor.pid.id not in runtime._processes


async def test_a_child_that_hangs_is_ended_after_its_shutdown_time(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story), story)
    runtime.post(supervisor.child("b").pid, "hang")
    await runtime.settle()
    runtime.dispatch(supervisor.pid, supervisor.stop)
    await clock.advance(4.9)
    assert story == ["-c"]
    await clock.advance(0.1)
    assert story == ["-c", "-b", "-a"]


async def test_a_supervisor_that_is_terminated_takes_its_children_along(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story), story)
    runtime.terminate(supervisor.pid)
    await runtime.settle()
    assert story == ["-c", "-b", "-a"]
    await clock.advance(100.0)
    assert not any(entry.startswith("+") for entry in story)


async def test_a_runtime_that_stops_is_not_disturbed_by_restarts(clock, caplog):
    story = []
    async with in_process(clock=clock) as runtime:
        await begin(runtime, family(story, backoff_s=0.0), story)
    assert sorted(story) == ["-a", "-b", "-c"]
    assert "Traceback" not in caplog.text


async def test_the_shutdown_time_of_one_life_does_not_shorten_the_next(runtime, clock):
    story = []
    await begin(runtime, supervisor := family(story, Strategy.ONE_FOR_ALL), story)
    runtime.post(supervisor.child("a").pid, "fail")
    await clock.advance(3.0)  # all were stopped and are back; the first timers would fire at 5 s
    story.clear()
    runtime.post(supervisor.child("b").pid, "hang")
    runtime.post(supervisor.child("a").pid, "fail")
    await clock.advance(4.9)
    assert story == ["-a", "-c"]
    await clock.advance(0.1)
    assert story == ["-a", "-c", "-b"]
