"""Start and end of master and agent as programs: what they say and with which status they end."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request

import psutil
import pytest

from cluster.testing import DaemonFailed, DaemonProcess

pytestmark = pytest.mark.process

TIMEOUT_S = 30.0


def run(module, *arguments, **environment):
    """Run a program that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    """Start a daemon on a free port and wait until it listens; it is ended with the test."""
    started = []

    def start(module, **flags):
        flags = {"work_dir": str(tmp_path / "work"), "port": "0", **flags}
        name = module.rpartition(".")[2]
        daemon = DaemonProcess(name, module, flags, tmp_path / f"{name}.log", {})
        started.append(daemon)
        daemon.wait_until_listening(TIMEOUT_S)
        return daemon

    yield start
    for daemon in started:
        daemon.ask_to_stop()
        daemon.wait_stopped(TIMEOUT_S)


def get(url):
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("cluster.master", [], "cluster master: --work_dir: is required"),
        ("cluster.master", ["--work_dir=/tmp/x", "--prot=1"], "did you mean --port?"),
        ("cluster.master", ["--work_dir=/tmp/x", "--port=x"], "--port: must be a whole number"),
        ("cluster.master", ["--work_dir=/proc/none/x"], "--work_dir: cannot make /proc/none/x"),
        ("cluster.master", ["--work_dir=/tmp/x", "--acls={}"], "--acls: is not available yet"),
        ("cluster.agent", ["--work_dir=/tmp/x"], "cluster agent: --master: is required"),
        ("cluster.agent", ["--work_dir=/tmp/x", "--master=nobody"], "--master: must be host:port"),
        (
            "cluster.agent",
            ["--work_dir=/tmp/x", "--master=a:1", "--resources=cpus:x"],
            "--resources: cpus",
        ),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(module, arguments, says):
    done = run(module, *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("module", ["cluster.master", "cluster.agent"])
def test_help_and_version_end_well(module):
    shown = run(module, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--work_dir=PATH" in shown.stdout
    assert "MESOS_WORK_DIR" in shown.stdout
    version = run(module, "--version")
    assert (version.returncode, version.stdout) == (0, f"{module.replace('.', ' ')} 1.11.0\n")


@pytest.mark.parametrize("module", ["cluster.master", "cluster.agent"])
def test_a_port_in_use_is_one_line_and_status_1(module, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = [f"--work_dir={tmp_path}", f"--port={port}", "--quiet"]
        if module == "cluster.agent":
            arguments.append("--master=127.0.0.1:1")
        done = run(module, *arguments)
    assert done.returncode == 1, done.stderr
    assert f"cannot listen on 127.0.0.1:{port}: address in use" in done.stderr
    assert done.stderr.count("\n") == 1


def test_flags_come_from_the_environment(tmp_path):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        variables = {"MESOS_WORK_DIR": str(tmp_path), "MESOS_PORT": str(port), "MESOS_QUIET": "1"}
        done = run("cluster.master", **variables)
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_master_with_status_0(start, number):
    master = start("cluster.master")
    assert get(f"{master.url}/health")[0] == 200
    assert json.loads(get(f"{master.url}/metrics/snapshot")[1])["master/elected"] == 1.0
    master.process.send_signal(number)
    assert master.process.wait(TIMEOUT_S) == 0
    assert f"stops on {number.name}" in master.log_path.read_text()


def test_a_daemon_ends_with_its_supervisor(start):
    master = start("cluster.master")
    master.ask_to_stop()
    assert master.process.wait(TIMEOUT_S) == 0
    assert "its supervisor is gone" in master.log_path.read_text()


def test_a_master_may_have_as_many_peers_as_the_system_allows(start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        master = start("cluster.master")
        agent = start("cluster.agent", master=master.address)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = [psutil.Process(d.process.pid).rlimit(psutil.RLIMIT_NOFILE) for d in (master, agent)]
    assert limits == [(hard, hard), (256, hard)], "what an agent starts must not inherit it"


def test_an_agent_without_a_master_keeps_trying_and_serves(start):
    agent = start("cluster.agent", master=f"127.0.0.1:{free_port()}")
    assert get(f"{agent.url}/health")[0] == 200
    assert json.loads(get(f"{agent.url}/version")[1])["version"] == "1.11.0"
    agent.process.terminate()
    assert agent.process.wait(TIMEOUT_S) == 0


def test_logs_as_json_and_in_a_file(start, tmp_path):
    master = start("cluster.master", log_format="json", log_dir=str(tmp_path / "logs"))
    master.process.terminate()
    assert master.process.wait(TIMEOUT_S) == 0
    printed = [json.loads(line) for line in master.log_path.read_text().splitlines()]
    kept = (tmp_path / "logs" / "mesos-master.INFO").read_text().splitlines()
    assert printed == [json.loads(line) for line in kept]
    assert any(f"master@{master.address}" in entry["message"] for entry in printed)


def test_what_the_operator_may_not_expect_is_said_once(start):
    master = start("cluster.master", slave_ping_timeout="3secs", quorum="1")
    said = master.log_path.read_text()
    assert said.count("--slave_ping_timeout is deprecated, use --agent_ping_timeout") == 1
    assert len(re.findall(r"accepted, but without effect so far: --quorum$", said, re.M)) == 1


def test_listening_to_the_world_is_warned_about(start):
    master = start("cluster.master", ip="0.0.0.0", advertise_ip="127.0.0.1")
    assert "peers are not authenticated" in master.log_path.read_text()
    assert master.address.startswith("127.0.0.1:")


def test_the_work_directory_is_made(start, tmp_path):
    start("cluster.master", work_dir=str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_a_failed_start_shows_the_log(start):
    with pytest.raises(DaemonFailed) as caught:
        start("cluster.master", port="none")
    assert "master ended before it listened (exit status 2)" in str(caught.value)
    assert "--port: must be a whole number, not 'none'" in str(caught.value)


def test_a_module_run_with_python_m_is_the_daemon_of_the_command():
    same = [run("cluster", "master", "--help").stdout, run("cluster.master", "--help").stdout]
    assert same[0] == same[1]
