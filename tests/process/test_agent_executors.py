"""An agent with real executors, real processes and a scripted master, over TCP."""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil
import pytest

from actorproc import PID, Process, Runtime, TcpTransport
from cluster.testing.daemon_process import DaemonProcess
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.agent_fakes import framework_info, run_task, task_info

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

DEADLINE_S = 60.0
AGENT_ID = "M-S0"


class Master(Process):
    """Admits one agent, acknowledges every update and keeps what it hears."""

    def __init__(self):
        super().__init__("master")
        self.agent = PID.EMPTY
        self.heard = []
        self.states = {}

    def initialize(self):
        self.install(internal.RegisterSlaveMessage, self._on_register)
        self.install(internal.StatusUpdateMessage, self._on_update)
        for message_type in (
            internal.UnregisterSlaveMessage,
            internal.UpdateSlaveMessage,
            internal.ExitedExecutorMessage,
        ):
            self.install(message_type, lambda sender, message: self.heard.append(message))

    def _on_register(self, sender, message):
        self.agent = sender
        self.say(internal.SlaveRegisteredMessage(slave_id=mesos.SlaveID(value=AGENT_ID)))

    def _on_update(self, sender, message):
        update = message.update
        states = self.states.setdefault(update.status.task_id.value, [])
        states.append((mesos.TaskState.Name(update.status.state), update.status.message))
        self.say(
            internal.StatusUpdateAcknowledgementMessage(
                slave_id=update.slave_id,
                framework_id=update.framework_id,
                task_id=update.status.task_id,
                uuid=update.uuid,
            )
        )

    def say(self, message):
        self.send(self.agent, message)

    def run(self, task, **more):
        self.say(run_task(task, framework=framework_info(user=_me(), **more)))

    def state_names(self, task_id):
        return [name for name, _ in self.states.get(task_id, [])]


class World:
    """A scripted master and an agent daemon."""

    def __init__(self, master, daemon, work_dir):
        self.master, self.daemon, self.work_dir = master, daemon, work_dir

    async def until_ended(self, task_id):
        """Wait for the terminal state of a task and return its state and message."""
        ended = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_DROPPED")
        await until(lambda: any(n in ended for n in self.master.state_names(task_id)))
        return self.master.states[task_id][-1]

    async def until_running(self, task_id):
        await until(lambda: "TASK_RUNNING" in self.master.state_names(task_id))

    def sandbox(self, executor_id):
        runs = f"slaves/{AGENT_ID}/frameworks/fw/executors/{executor_id}/runs/latest"
        return Path(os.path.realpath(self.work_dir / runs))

    async def state(self):
        url = f"{self.daemon.url}/state"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.json()


def _me():
    return psutil.Process().username()


async def until(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "waited too long"
        await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def world(tmp_path, *, master=None, **flags):
    master = master or Master()
    work_dir = tmp_path / "work"
    async with Runtime(TcpTransport(ip="127.0.0.1", port=0)) as runtime:
        runtime.spawn(master)
        daemon = DaemonProcess(
            "agent",
            "cluster.agent",
            {
                "master": str(runtime.address),
                "work_dir": str(work_dir),
                "resources": "cpus:4;mem:4096;disk:4096",
                "registration_backoff_factor": "1ms",
                "port": "0",
                **flags,
            },
            tmp_path / "agent.log",
            {},
        )
        try:
            await until(lambda: master.heard or daemon.process.poll() is not None)
            assert daemon.process.poll() is None, (tmp_path / "agent.log").read_text()
            daemon.address = str(master.agent.address)
            yield World(master, daemon, work_dir)
        finally:
            await asyncio.to_thread(end, daemon)


def end(daemon):
    """End an agent and all that it started."""
    if daemon.process.poll() is None:
        family = psutil.Process(daemon.process.pid).children(recursive=True)
        daemon.process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    daemon.process.wait(DEADLINE_S)
    daemon._supervision.close()


async def test_commands_run_to_their_end(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("good", command="echo out; echo err >&2"))
        w.master.run(task_info("bad", command="exit 3"))
        argv = task_info("argv", command="printf")
        argv.command.shell = False
        argv.command.arguments.extend(["printf", "%s|", "$HOME"])
        w.master.run(argv)
        assert await w.until_ended("good") == ("TASK_FINISHED", "Command exited with status 0")
        assert await w.until_ended("bad") == ("TASK_FAILED", "Command exited with status 3")
        assert (await w.until_ended("argv"))[0] == "TASK_FINISHED"
        assert w.master.state_names("good") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
        assert (w.sandbox("good") / "stdout").read_text() == "out\n"
        assert "err\n" in (w.sandbox("good") / "stderr").read_text()
        assert (w.sandbox("argv") / "stdout").read_text() == "$HOME|"


async def test_state_and_files_show_a_running_task(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="echo seen; sleep 1000"))
        await w.until_running("t1")
        state = await w.state()
        assert (state["id"], state["pid"]) == (AGENT_ID, str(w.master.agent))
        assert state["resources"]["cpus"] == 4.0
        (framework,) = state["frameworks"]
        (executor,) = framework["executors"]
        assert executor["directory"] == str(w.sandbox("t1"))
        assert executor["resources"]["cpus"] == 0.6
        assert [task["state"] for task in executor["tasks"]] == ["TASK_RUNNING"]
        await until(lambda: (w.sandbox("t1") / "stdout").read_text())
        async with aiohttp.ClientSession() as session:
            for path in (
                executor["directory"],
                "/frameworks/fw/executors/t1/runs/latest",
                f"/frameworks/fw/executors/t1/runs/{executor['container']}",
            ):
                url = f"{w.daemon.url}/files/read?path={path}/stdout&offset=0"
                async with session.get(url) as answer:
                    assert json.loads(await answer.read()) == {"data": "seen\n", "offset": 0}
            for path in ("/health", "/slave(1)/health"):
                async with session.get(w.daemon.url + path) as answer:
                    assert (answer.status, await answer.read()) == (200, b"")
            async with session.get(w.daemon.url + "/version") as answer:
                assert (await answer.json())["version"] == "1.11.0"


async def test_a_killed_task_ends_and_leaves_no_process(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="sleep 1000 & sleep 1000"))
        await w.until_running("t1")
        family = psutil.Process(w.daemon.process.pid).children(recursive=True)
        w.master.say(
            internal.KillTaskMessage(
                framework_id=mesos.FrameworkID(value="fw"), task_id=mesos.TaskID(value="t1")
            )
        )
        assert (await w.until_ended("t1"))[0] == "TASK_KILLED"
        await until(lambda: not any(_is_alive(process) for process in family))
        await until_no_zombies(w)


async def test_kill_9_of_an_executor_fails_its_task(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="sleep 1000"))
        await w.until_running("t1")
        family = psutil.Process(w.daemon.process.pid).children(recursive=True)
        (executor,) = psutil.Process(w.daemon.process.pid).children()
        os.kill(executor.pid, signal.SIGKILL)
        assert await w.until_ended("t1") == ("TASK_FAILED", "Executor terminated")
        await until(lambda: not any(_is_alive(process) for process in family))
        await until_no_zombies(w)


async def test_a_custom_executor_that_cannot_start_or_exits(tmp_path):
    async with world(tmp_path, switch_user="true") as w:
        w.master.run(task_info("exits", executor_id="a", command="exit 7"))
        missing = task_info("missing", executor_id="b", command="/no/such/executor")
        missing.executor.command.shell = False
        w.master.run(missing)
        assert await w.until_ended("exits") == ("TASK_FAILED", "Executor terminated")
        state, message = await w.until_ended("missing")
        assert state == "TASK_FAILED"
        assert "/no/such/executor does not exist" in message
        exited = [m for m in w.master.heard if isinstance(m, internal.ExitedExecutorMessage)]
        assert {(m.executor_id.value, m.status) for m in exited} == {("a", 1792), ("b", -1)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users")
async def test_a_user_that_does_not_exist_fails_the_task(tmp_path):
    async with world(tmp_path) as w:
        task = task_info("t1")
        task.command.user = "no-such-user"
        w.master.run(task)
        state, message = await w.until_ended("t1")
        assert state == "TASK_FAILED"
        assert "user 'no-such-user' does not exist" in message


async def test_kill_9_of_the_agent_ends_executors_of_frameworks_without_checkpoint(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="sleep 1000"))
        await w.until_running("t1")
        family = psutil.Process(w.daemon.process.pid).children(recursive=True)
        w.daemon.process.kill()
        await until(lambda: not any(_is_alive(process) for process in family))


async def test_a_restarted_agent_kills_what_it_cannot_take_back(tmp_path):
    """Executors of checkpointing frameworks wait for the agent, which cannot recover them yet."""
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="sleep 1000"), checkpoint=True)
        await w.until_running("t1")
        family = psutil.Process(w.daemon.process.pid).children(recursive=True)
        w.daemon.process.kill()
        await asyncio.to_thread(w.daemon.process.wait, DEADLINE_S)
        assert all(_is_alive(process) for process in family)
        async with world(tmp_path):
            await until(lambda: not any(_is_alive(process) for process in family))


async def test_sigusr1_unregisters_ends_everything_and_exits(tmp_path):
    async with world(tmp_path) as w:
        w.master.run(task_info("t1", command="sleep 1000"))
        await w.until_running("t1")
        family = psutil.Process(w.daemon.process.pid).children(recursive=True)
        w.daemon.process.send_signal(signal.SIGUSR1)
        status = await asyncio.to_thread(w.daemon.process.wait, DEADLINE_S)
        assert status == 0
        assert [m for m in w.master.heard if isinstance(m, internal.UnregisterSlaveMessage)]
        assert not any(_is_alive(process) for process in family)


async def test_a_stubborn_executor_is_killed_after_its_grace(tmp_path):
    """It ignores SIGTERM, never registers, and has a daemon in a session of its own."""
    stubborn = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('daemon', 'w').write(str(os.getpid()))\n"
        "time.sleep(1000)\n"
    )
    task = task_info("t1", executor_id="ex", command=sys.executable)
    task.executor.command.shell = False
    task.executor.command.arguments.extend(["python", "-c", stubborn])
    task.executor.shutdown_grace_period.nanoseconds = 100_000_000
    async with world(tmp_path) as w:
        w.master.run(task)
        note = await until(
            lambda: (file := w.sandbox("ex") / "daemon").exists() and file.read_text()
        )
        family = [*psutil.Process(w.daemon.process.pid).children(), psutil.Process(int(note))]
        w.master.say(internal.ShutdownFrameworkMessage(framework_id=mesos.FrameworkID(value="fw")))
        await until(lambda: not any(_is_alive(process) for process in family))
        await until_no_zombies(w)


async def until_no_zombies(w):
    agent = psutil.Process(w.daemon.process.pid)
    await until(lambda: not agent.children())


def _is_alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
