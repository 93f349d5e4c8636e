"""Ping-pong over two operating system processes, as a program with a verdict that can be wrong."""

import subprocess
import sys

import pytest

TIMEOUT_S = 120.0

pytestmark = pytest.mark.process


def run_ping_pong(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "examples.ping_pong", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_every_ping_comes_back_and_the_end_of_pong_is_heard():
    done = run_ping_pong("--rounds", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "200 of 200 pings came back, in order",
        "pong was killed, and ping heard of it",
        "ping_pong: right",
    ]


def test_an_unanswered_ping_makes_the_verdict_wrong():
    done = run_ping_pong("--rounds", "5", "--skip", "3", "--timeout", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "2 of 5 pings came back, in order"
    assert done.stdout.splitlines()[-1] == "ping_pong: wrong"


def test_rounds_that_mean_nothing_are_refused():
    done = run_ping_pong("--rounds", "0")
    assert done.returncode == 2
    assert "must be 1 or more" in done.stderr
