"""The pytest plugin, as a user's test file gets it."""

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import asyncio
import pytest
from actorproc import Process, Runtime, InProcessNetwork
pytest_plugins = ["actorproc.testing.plugin"]
"""


@pytest.fixture
def run(pytester):
    def run(body, *options):
        pytester.makepyfile(HEAD + body)
        return pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "ignore", *options
        )

    return run


def test_simulate_runs_with_a_seed_per_test_that_stays(run):
    body = """
seeds = []
@pytest.mark.parametrize("n", range(2))
def test_one(simulate, simulation_seed, n):
    async def main(sim):
        await asyncio.sleep(3600.0)
        assert sim.seed == simulation_seed
        seeds.append(sim.seed)
    simulate(main)

def test_seeds():
    print("SEEDS", *seeds)
    assert len(set(seeds)) == 2
"""
    first, second = run(body, "-s"), run(body, "-s")
    first.assert_outcomes(passed=3)
    lines = [[line for line in result.outlines if "SEEDS" in line] for result in (first, second)]
    assert lines[0] == lines[1] != []


def test_a_failure_says_how_to_repeat_it(run):
    body = """
def test_one(simulate):
    async def main(sim):
        assert sim.rng("x").random() < 0
    simulate(main)
"""
    result = run(body, "-p", "actorproc.testing.plugin", "--simulation-seed=42")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*to repeat: pytest *test_one*--simulation-seed=42"])


def test_a_runtime_left_running_fails_the_test(run):
    result = run(
        """
@pytest.mark.asyncio
async def test_one():
    runtime = Runtime(InProcessNetwork().transport("10.0.0.1", 1))
    await runtime.start()
    runtime.spawn(Process("left"))

@pytest.mark.asyncio
async def test_two():
    async with Runtime(InProcessNetwork().transport("10.0.0.1", 1)) as runtime:
        runtime.spawn(Process("stopped"))
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*10.0.0.1:1, processes: left"])


def test_runtimes_are_stopped_and_tasks_left_fail(run):
    result = run(
        """
class Ping(Process):
    def initialize(self):
        self.delay(60.0, fired.append, "rang")
fired = []

@pytest.mark.asyncio
async def test_one(runtimes, virtual_clock):
    runtime = await runtimes.start()
    other = await runtimes.start()
    assert runtime.address != other.address
    runtime.spawn(Ping("ping"))
    await virtual_clock.advance(60.0)
    assert fired == ["rang"]

@pytest.mark.asyncio
async def test_two(runtimes):
    global kept
    kept = asyncio.create_task(asyncio.sleep(60.0), name="forgotten")

def test_three(simulated_network, virtual_clock):
    assert simulated_network.clock is virtual_clock
"""
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*forgotten sleep at*"])
