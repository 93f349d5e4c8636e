"""The benchmark of the master, tiny: it runs, and what it counts is what went through."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks.master import UNITS
from benchmarks.master_simulation import NETWORK_S, Simulation

ROOT = Path(__file__).parents[2]
DEADLINE_S = 180.0
AGENTS, TASKS = 6, 4


@pytest.mark.asyncio
@pytest.mark.process
@pytest.mark.slow
async def test_a_tiny_run_reports_every_figure():
    sizes = {
        "repetitions": 1,
        "agents": AGENTS,
        "tasks": TASKS,
        "frameworks": 2,
        "processes": 2,
        "returns": 2,
        "updating_agents": 3,
        "updates": 100,
        "in_flight": 8,
        "sequential": 10,
        "simulated_agents": 30,
        "simulated_frameworks": 4,
        "simulated_seconds": 40,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.master",
        "--json",
        *(f"--{name}={value}" for name, value in sizes.items()),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0
    figures = {name: figure["median"] for name, figure in json.loads(said)["figures"].items()}
    assert figures.keys() >= UNITS.keys()
    assert figures["re-registration: agents"] == AGENTS
    assert figures["re-registration: tasks"] == AGENTS * TASKS
    positive = ["re-registration: after failover", "reconciliation of all tasks", "updates: rate"]
    assert min(figures[name] for name in positive) > 0
    assert figures["updates: p50"] <= figures["updates: p99"]
    # Each of the 30 places ends one or two tasks in 40 s, and another follows.
    assert 30 <= figures["virtual time: tasks"] <= 60
    assert figures["virtual time: acknowledgements"] >= 60
    # ACCEPT, launch, and the way of the update before them: the network alone takes so long.
    assert figures["virtual time: launch overhead p50"] >= 4e3 * NETWORK_S


def test_the_simulated_cluster_fills_up_and_nothing_waits():
    simulation = Simulation(agents=10, frameworks=3, tasks_per_agent=2, seed=1)
    simulation.is_measuring = True
    simulation.begin()
    simulation.run_until(29.0)
    # Two tasks on each of ten agents; none has ended, so none follows another.
    assert simulation.acknowledged == 20
    assert simulation.overheads_s == []
    simulation.run_until(100.0)
    assert simulation.warnings == []
    assert simulation.waiting_places() == 0
    assert len(simulation.overheads_s) >= 20
    simulation.check()


def test_a_slow_core_shows_as_overhead(monkeypatch):
    """Processor time that the core takes is time in which the cluster waits."""
    clock = iter(range(10**9))

    def overheads(step_s):
        monkeypatch.setattr(
            "benchmarks.master_simulation.time.thread_time", lambda: next(clock) * step_s
        )
        simulation = Simulation(agents=10, frameworks=2, tasks_per_agent=1, seed=1)
        simulation.is_measuring = True
        simulation.begin()
        simulation.run_until(100.0)
        return simulation.overheads_s

    fast, slow = overheads(0.0), overheads(0.010)
    assert max(fast) == pytest.approx(4 * NETWORK_S)
    # Resources that come back, the run, and ACCEPT: three events of 10 ms each, at least.
    assert min(slow) >= 4 * NETWORK_S + 0.030 - 1e-9
