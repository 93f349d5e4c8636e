"""The examples ``minimal`` and ``two_tasks`` as programs."""

import subprocess
import sys

import pytest

from cluster.testing.local_cluster import LocalCluster

TIMEOUT_S = 120.0

pytestmark = pytest.mark.process


def run_example(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_minimal_on_a_cluster_of_its_own():
    done = run_example("examples.minimal")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "minimal: 8 of 8 tasks finished"
    assert "5 squared is 25" in done.stdout


def test_minimal_on_a_running_cluster():
    with LocalCluster(agents=[{}, {}]) as cluster:
        done = run_example("examples.minimal", "--master", cluster.master)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "minimal: 8 of 8 tasks finished"


def test_minimal_with_a_master_string_that_means_nothing():
    done = run_example("examples.minimal", "--master", "nonsense")
    assert done.returncode == 1
    assert "master: " in done.stderr
    assert "Traceback" not in done.stderr


def test_two_tasks_offers_the_remainder_to_the_second_framework():
    done = run_example("examples.two_tasks")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.strip() for line in done.stdout.splitlines()]
    assert "framework 1 is offered: <4 CPU, 4 GB>" in steps
    assert {"task-1 is running", "task-2 is running"} <= set(steps)
    assert steps[-2:] == [
        "framework 2 is offered: <1 CPU, 1 GB>",
        "two_tasks: framework 2 was offered the remaining <1 CPU, 1 GB>",
    ]
