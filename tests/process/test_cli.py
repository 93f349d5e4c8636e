"""``cluster dev`` and ``cluster run`` as people use them, in processes of their own."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

from cluster.testing import LocalCluster

pytestmark = pytest.mark.process

TIMEOUT_S = 60.0


def command(*arguments):
    return [sys.executable, "-m", "cluster", *arguments]


class Started(subprocess.Popen):
    """A process that does not outlive a failed test: leaving by an exception kills it."""

    def __exit__(self, exc_type, value, traceback):
        if exc_type is not None:
            self.kill()
        super().__exit__(exc_type, value, traceback)


def start(*arguments, **environment):
    return Started(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def read_until(stream, wanted, timeout_s=TIMEOUT_S):
    """Read from a pipe, as it comes, until ``wanted`` matches; returns everything read."""
    deadline_s = time.monotonic() + timeout_s
    text = b""
    while re.search(wanted, text) is None:
        ready, _, _ = select.select([stream], [], [], max(deadline_s - time.monotonic(), 0))
        assert ready, f"{wanted!r} did not come: {text!r}"
        part = os.read(stream.fileno(), 65536)
        assert part, f"{wanted!r} did not come before the end: {text!r}"
        text += part
    return text


@pytest.fixture(scope="module")
def master():
    """The address of a cluster that all tests of this module share."""
    with LocalCluster(agents=[{"resources": "cpus:4;mem:2048"}] * 2) as cluster:
        yield cluster.master


def run(master, *arguments):
    return subprocess.run(
        command("run", *arguments),
        env={**os.environ, "MESOS_MASTER": master},
        capture_output=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )


def test_prints_what_the_command_prints(master):
    done = run(master, "--", "sh", "-c", "echo hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")


def test_both_outputs_are_kept_apart(master):
    done = run(master, "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -9 $$"], 128 + signal.SIGKILL),
    ],
)
def test_exits_as_the_command_did(master, arguments, status):
    assert run(master, "--", *arguments).returncode == status


def test_a_program_that_is_not_there_fails_with_a_word(master):
    done = run(master, "--", "no-such-program-anywhere")
    assert done.returncode != 0
    assert done.stderr


def test_options_reach_the_task(master):
    done = run(
        master,
        *("--cpus=0.5", "--mem=64", "--name=mine", "--env", "GREETING=a b", "--role=ops"),
        *("--", "sh", "-c", 'echo "$GREETING $MESOS_ALLOCATION_ROLE"'),
    )
    assert (done.returncode, done.stdout) == (0, b"a b ops\n")


def test_arguments_are_not_read_by_a_shell(master):
    done = run(master, "--", "echo", "$HOME", "a  b", "*")
    assert done.stdout == b"$HOME a  b *\n"


def test_any_bytes_and_much_of_them(master):
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 2000)"
    done = run(master, "--", sys.executable, "-c", program)
    assert done.returncode == 0
    assert done.stdout == bytes(range(256)) * 2000


def test_output_appears_while_the_command_runs(master, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    running = start("run", "--", "sh", "-c", f"echo one; cat {gate}", MESOS_MASTER=master)
    with running:
        assert read_until(running.stdout, b"one\n") == b"one\n"
        assert running.poll() is None
        with open_for_writing(gate) as writer:
            writer.write(b"two\n")
        assert read_until(running.stdout, b"two\n") == b"two\n"
        assert running.wait(TIMEOUT_S) == 0


def open_for_writing(fifo):
    """Open a named pipe once somebody reads from it; a plain open would wait for ever."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return open(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "wb")
        except OSError:
            assert time.monotonic() < deadline_s
            os.sched_yield()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_kills_the_task(master, number):
    running = start("run", "--", "sh", "-c", "echo $$; exec sleep 1000", MESOS_MASTER=master)
    with running:
        task = int(read_until(running.stdout, rb"\d+\n"))
        os.kill(task, 0)
        running.send_signal(number)
        assert running.wait(TIMEOUT_S) == 130
        assert b"killing the task" in running.stderr.read()
    deadline_s = time.monotonic() + TIMEOUT_S
    while os.path.exists(f"/proc/{task}"):
        assert time.monotonic() < deadline_s
        os.sched_yield()


def test_a_reader_that_leaves_ends_the_run(master):
    running = start("run", "--", "sh", "-c", "yes", MESOS_MASTER=master)
    with running:
        read_until(running.stdout, b"y\n")
        running.stdout.close()
        assert running.wait(TIMEOUT_S) == 128 + signal.SIGPIPE
        assert b"Traceback" not in running.stderr.read()


def test_an_offer_that_never_fits_is_said(master):
    running = start("run", "--cpus=99", "--", "true", MESOS_MASTER=master)
    with running:
        said = read_until(running.stderr, rb"so far: .*\n")
        assert b"cluster run: waiting for an offer of cpus:99;mem:128; largest so far" in said
        assert b"cpus:4;mem:2048" in said
        running.send_signal(signal.SIGINT)
        assert running.wait(TIMEOUT_S) == 130


def test_a_master_that_is_not_there_is_said_and_tried_again():
    running = start("run", "--master=127.0.0.1:1", "--", "true")
    with running:
        said = read_until(running.stderr, rb"still trying\n")
        assert said == (
            b"cluster run: no answer from a master at 127.0.0.1:1 so far, still trying\n"
        )
        running.send_signal(signal.SIGINT)
        assert running.wait(TIMEOUT_S) == 130


def found(pattern, text):
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def test_dev_is_ready_soon_runs_work_and_leaves_nothing():
    dev = start("dev", "--port=0", "--agents=2")
    with dev:
        welcome = read_until(dev.stdout, b"Ctrl-C stops everything").decode()
        assert float(found(r"ready after ([\d.]+) s", welcome)) > 0
        assert welcome.count("  agent-") == 2
        address = found(r"MESOS_MASTER=(\S+) cluster run", welcome)
        assert run(address, "--", "sh", "-c", "echo hi").stdout == b"hi\n"
        logs = found(r"logs +(\S+)/\*", welcome)
        assert os.path.isdir(logs)
        dev.send_signal(signal.SIGINT)
        assert dev.wait(TIMEOUT_S) == 0
        assert dev.stderr.read() == b""
    assert not os.path.exists(logs)


def test_dev_says_that_its_port_is_taken(master):
    port = master.rpartition(":")[2]
    done = subprocess.run(command("dev", f"--port={port}"), capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: address in use".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_dev_reports_an_agent_that_dies_and_goes_on():
    dev = start("dev", "--port=0", "--agents=1")
    with dev:
        read_until(dev.stdout, b"Ctrl-C stops everything")
        agent = child_running("cluster.agent", dev.pid)
        os.kill(agent, signal.SIGKILL)
        assert b"agent-1 ended (exit status -9)" in read_until(dev.stderr, rb"ended.*\n")
        assert dev.poll() is None
        os.kill(child_running("cluster.master", dev.pid), signal.SIGKILL)
        assert dev.wait(TIMEOUT_S) == 1


def child_running(module, parent):
    return next(each.pid for each in psutil.Process(parent).children() if module in each.cmdline())
