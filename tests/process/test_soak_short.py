"""A short run of the soak benchmark; and that its verdict would find a leak."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Sample, growth

ROOT = Path(__file__).parents[2]
MINUTES = 0.12
DEADLINE_S = 180.0
MIB = 2**20


@pytest.mark.asyncio
@pytest.mark.process
@pytest.mark.slow
async def test_churn_leaves_memory_descriptors_and_tasks_flat():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.soak",
        f"--minutes={MINUTES}",
        "--json",
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
    found = json.loads(said)
    assert found["grown"] == []
    assert process.returncode == 0
    assert min(found["rounds"].values()) >= 1
    assert set(found["rounds"]) == {"killed peer", "stopped runtime", "raw clients"}


def samples(**grows):
    """A minute of samples, flat but for what grows by so much a sample."""
    flat = {"memory_bytes": 50 * MIB, "descriptors": 10, "tasks": 1}
    return [
        Sample(
            at_s=number,
            **{name: value + number * grows.get(name, 0) for name, value in flat.items()},
        )
        for number in range(60)
    ]


def test_a_flat_run_is_flat():
    assert growth(samples()) == []
    warming_up = [*samples(memory_bytes=2 * MIB)[:15], *samples()[15:]]
    assert growth(warming_up) == []


@pytest.mark.parametrize(
    ("name", "by", "text"),
    [
        ("memory_bytes", MIB // 4, "memory grew from"),
        ("descriptors", 1, "descriptors grew from"),
        ("tasks", 1, "tasks grew from"),
    ],
)
def test_what_grows_is_named(name, by, text):
    [said] = growth(samples(**{name: by}))
    assert said.startswith(text)
