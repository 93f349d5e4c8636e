"""The examples, and the first framework of the README, as programs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.testing.local_cluster import LocalCluster
from examples.hello import stdlib_packages

ROOT = Path(__file__).parents[2]
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


def test_hello_compiles_the_standard_library_on_a_cluster_of_its_own():
    done = run_example("examples.hello")
    assert done.returncode == 0, done.stdout + done.stderr
    packages = len(stdlib_packages())
    assert packages >= 25
    lines = done.stdout.splitlines()
    assert lines[-1] == f"demo: {packages} of {packages} tasks finished"
    assert lines[-2].endswith("different from a local run: none")
    agents = [line for line in lines if re.match(r"http://.*: \d+ tasks", line)]
    assert len(agents) == 2, "both agents must have worked"


def test_hello_says_so_when_a_task_cannot_finish():
    done = run_example("examples.hello", "json", "no_such_package")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "demo: 1 of 2 tasks finished"


def test_fairness():
    done = run_example("examples.fairness")
    assert done.returncode == 0, done.stdout
    assert "A runs 3 tasks, B runs 2" in done.stdout.splitlines()[-1]


def test_the_first_framework_of_the_readme_runs_as_written(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (code,) = [block for block in blocks if "SchedulerDriver" in block]
    with LocalCluster() as cluster:
        program = tmp_path / "first.py"
        program.write_text(code.replace("127.0.0.1:5050", cluster.master), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(program)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={"PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["TASK_STARTING", "TASK_RUNNING"]
    assert "TASK_FINISHED" in done.stdout
