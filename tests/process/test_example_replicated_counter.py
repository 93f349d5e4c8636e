"""The replicated counter as a program: right under loss, and a verdict that can be wrong."""

import re
import subprocess
import sys

import pytest

TIMEOUT_S = 120.0
COUNTS = re.compile(r"^(\d+) messages were lost, clients tried again (\d+) times$", re.MULTILINE)

pytestmark = pytest.mark.process


def run_counter(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "examples.replicated_counter", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_all_replicas_are_right_although_messages_are_lost():
    done = run_counter("--loss", "0.2", "--increments", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "replicated_counter: 3 of 3 replicas are right"
    lost, retries = map(int, COUNTS.search(done.stdout).groups())
    assert lost > 20
    assert retries > 0


def test_without_deduplication_the_verdict_is_wrong():
    done = run_counter("--loss", "0.2", "--increments", "40", "--without-dedup")
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"replicated_counter: [012] of 3 replicas are right", last)


def test_without_loss_nothing_is_repeated():
    done = run_counter("--loss", "0", "--increments", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 messages were lost, clients tried again 0 times" in done.stdout


def test_a_loss_that_means_nothing_is_refused():
    done = run_counter("--loss", "1")
    assert done.returncode == 2
    assert "must be between 0 and 0.9" in done.stderr
