"""A cluster of real processes: it comes up, it can be hurt, and it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cluster.testing import DaemonFailed, LocalCluster
from cluster.testing.local_cluster import MARK_VARIABLE, _marked

pytestmark = pytest.mark.process


def slaves(cluster):
    with urllib.request.urlopen(f"http://{cluster.master}/state", timeout=10) as answer:
        return json.load(answer)["slaves"]


def test_agents_are_registered_inside_and_gone_outside():
    agents = [{"resources": "cpus:2;mem:512"}, {"attributes": "rack:r1"}]
    with LocalCluster(agents=agents) as cluster:
        by_pid = {agent["pid"]: agent for agent in slaves(cluster)}
        first, second = cluster.agents
        assert set(by_pid) == {f"slave(1)@{each.address}" for each in (first, second)}
        assert by_pid[f"slave(1)@{first.address}"]["resources"]["cpus"] == 2.0
        assert by_pid[f"slave(1)@{second.address}"]["resources"]["cpus"] == 4.0
        pids = [each.process.pid for each in (cluster.master_process, *cluster.agents)]
        assert _marked(cluster._mark).keys() == set(pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not cluster.work_dir.exists()


def test_a_directory_that_was_named_is_kept(tmp_path):
    with LocalCluster(work_dir=tmp_path / "kept") as cluster:
        assert cluster.work_dir == tmp_path / "kept"
    assert {"master", "agent-1", "master.log", "agent-1.log"} <= {
        each.name for each in (tmp_path / "kept").iterdir()
    }


@pytest.mark.asyncio
async def test_async_form():
    async with LocalCluster(agents=[]) as cluster:
        assert cluster.master.startswith("127.0.0.1:")


def test_a_killed_agent_comes_back_as_itself():
    with LocalCluster(agents=[{}, {}], master_flags={"agent_ping_timeout": "1secs"}) as cluster:
        address = cluster.agents[1].address
        cluster.kill_agent(1)
        cluster.restart_agent(1)
        assert cluster.agents[1].address == address
        cluster.wait_for_agents(2)


def until_said(daemon, text, deadline_s=60.0):
    end_s = time.monotonic() + deadline_s
    while text not in daemon.log_path.read_text():
        assert time.monotonic() < end_s, daemon.story(f"has not said {text!r}")
        time.sleep(0.02)


def test_agents_keep_their_ids_when_the_master_is_killed():
    flags = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}
    with LocalCluster(agents=[{}, {}], master_flags=flags) as cluster:
        before = {agent["id"]: agent["pid"] for agent in slaves(cluster)}
        cluster.kill_master()
        cluster.restart_master()
        until_said(cluster.master_process, "registry read: 2 agents, 0 unreachable, 0 gone")
        cluster.wait_for_agents(2)
        assert {agent["id"]: agent["pid"] for agent in slaves(cluster)} == before
        # One that has been given up comes back as itself, too.
        cluster.agents[1].process.send_signal(signal.SIGSTOP)
        cluster.wait_for_agents(1)
        cluster.kill_master()
        cluster.restart_master()
        until_said(cluster.master_process, "registry read: 1 agents, 1 unreachable, 0 gone")
        cluster.agents[1].process.send_signal(signal.SIGCONT)
        cluster.wait_for_agents(2)
        assert {agent["id"]: agent["pid"] for agent in slaves(cluster)} == before


def test_a_master_without_a_registry_file_forgets(tmp_path):
    with LocalCluster(agents=[{}], master_flags={"registry": "in_memory"}) as cluster:
        assert not (cluster.master_process.work_dir / "registry.sqlite").exists()
    with LocalCluster(agents=[{}]) as cluster:
        assert (cluster.master_process.work_dir / "registry.sqlite").exists()


def test_a_damaged_registry_is_said_in_one_line(tmp_path):
    (tmp_path / "master").mkdir(parents=True)
    (tmp_path / "master" / "registry.sqlite").write_bytes(b"damaged" * 1000)
    with LocalCluster(agents=[], work_dir=tmp_path) as cluster:
        assert cluster.master_process.process.wait(20) == 1
        said = (tmp_path / "master.log").read_text()
        assert said.count("the master ends: the registry cannot be read") == 1
        assert "file is not a database" in said


def test_a_wrong_flag_is_shown_with_the_log():
    with pytest.raises(DaemonFailed) as caught, LocalCluster(agents=[{"resources": "cpus:x"}]):
        pass
    assert "agent-1 ended before it listened (exit status 2)" in str(caught.value)
    assert "--resources: cpus" in str(caught.value)


def test_a_failing_block_shows_what_the_daemons_said():
    with pytest.raises(ValueError, match="mine") as caught, LocalCluster(agents=[{}]):
        raise ValueError("mine")
    notes = "\n".join(caught.value.__notes__)
    assert "master at the end" in notes
    assert "agent-1 at the end" in notes


OWNER = """
import sys, time
from cluster.testing import LocalCluster
with LocalCluster(agents=[{}]) as cluster:
    print(cluster._mark, cluster.work_dir, flush=True)
    sys.stdin.read()
"""


def test_the_daemons_die_with_an_owner_that_is_killed():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        mark, work_dir = owner.stdout.readline().split()
        try:
            assert len(_marked(mark)) == 2
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            deadline_s = time.monotonic() + 20
            while _marked(mark) and time.monotonic() < deadline_s:
                os.sched_yield()
            assert _marked(mark) == {}
        finally:
            for pid in _marked(mark):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["rm", "-rf", work_dir], check=True)


def test_the_mark_is_for_children_only():
    assert MARK_VARIABLE not in os.environ
