"""``kill -9`` of an executor, an agent and a scheduler while the ``hello`` framework works.

What must be reported: master.md §3.3 (loss of an agent), §2.3 (loss of a framework), agent.md §3
("Container end"). Real daemons, real executors, real signals.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.scheduler import AgentLost, Offers, SchedulerDriver, SchedulerEvent, Update
from cluster.testing.local_cluster import LocalCluster
from cluster.wire.pb import mesos_pb2 as mesos
from tests.waiting import DEADLINE_S, until

pytestmark = [pytest.mark.process, pytest.mark.asyncio]

AGENT = {"resources": "cpus:4;mem:4096;disk:4096"}
# Two missed pings of a second each, instead of five of 15 s.
QUICK_MASTER = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}


class Watched:
    """A framework with one sleeping task; remembers all that it hears."""

    def __init__(self, driver: SchedulerDriver, *, name: str = "sleeper") -> None:
        self.driver = driver
        self.heard: list[SchedulerEvent] = []
        self._events = driver.events()
        self._name = name

    async def launch(self, command: str = "sleep 1000") -> mesos.SlaveID:
        event = await self.until(lambda event: isinstance(event, Offers))
        offer = event.offers[0]
        task = mesos.TaskInfo(name=self._name, slave_id=offer.slave_id)
        task.task_id.value = self._name
        task.command.value = command
        for name, amount in (("cpus", 1), ("mem", 64)):
            task.resources.add(name=name, type=mesos.Value.SCALAR).scalar.value = amount
        self.driver.launch_tasks([offer.id], [task])
        return offer.slave_id

    async def until(self, condition: Callable[[SchedulerEvent], bool]) -> SchedulerEvent:
        async with asyncio.timeout(DEADLINE_S):
            async for event in self._events:
                self.heard.append(event)
                if condition(event):
                    return event
        raise AssertionError("the driver ended")

    async def until_state(self, state: int) -> mesos.TaskStatus:
        event = await self.until(lambda event: _is_terminal_or(event, state))
        assert isinstance(event, Update)
        assert mesos.TaskState.Name(event.status.state) == mesos.TaskState.Name(state)
        return event.status


def _is_terminal_or(event: SchedulerEvent, state: int) -> bool:
    passing = (mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING)
    return isinstance(event, Update) and (
        event.status.state == state or event.status.state not in passing
    )


def _framework(name: str, **more: object) -> mesos.FrameworkInfo:
    return mesos.FrameworkInfo(user="", name=name, **more)


def _processes_below(pid: int, command: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if command in _command_line(process)
    ]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


async def test_killed_executor_fails_its_task() -> None:
    with LocalCluster(agents=[AGENT]) as cluster:
        async with SchedulerDriver(_framework("e"), master=cluster.master) as driver:
            watched = Watched(driver)
            await watched.launch()
            await watched.until_state(mesos.TASK_RUNNING)
            executors = _processes_below(cluster.agents[0].process.pid, "command_executor")
            assert len(executors) == 1
            sleepers = _processes_below(cluster.agents[0].process.pid, "sleep 1000")
            executors[0].send_signal(signal.SIGKILL)
            status = await watched.until_state(mesos.TASK_FAILED)
            assert status.reason == mesos.TaskStatus.REASON_EXECUTOR_TERMINATED
            assert status.source == mesos.TaskStatus.SOURCE_SLAVE
            assert status.uuid
            await until(
                lambda: not any(sleeper.is_running() for sleeper in sleepers),
                "the killed executor's command must not outlive it",
            )


@pytest.mark.parametrize(
    ("capabilities", "state"),
    [((), mesos.TASK_LOST), (("PARTITION_AWARE",), mesos.TASK_UNREACHABLE)],
)
async def test_killed_agent_of_a_checkpointing_framework(
    capabilities: tuple[str, ...], state: int
) -> None:
    """Not lost at once: the agent may come back; after missed pings it is unreachable."""
    framework = _framework("a", checkpoint=True)
    for capability in capabilities:
        framework.capabilities.add(type=capability)
    with LocalCluster(agents=[AGENT, AGENT], master_flags=QUICK_MASTER) as cluster:
        async with SchedulerDriver(framework, master=cluster.master) as driver:
            watched = Watched(driver)
            agent_id = await watched.launch()
            running = await watched.until_state(mesos.TASK_RUNNING)
            assert running.slave_id == agent_id
            cluster.kill_agent(_index_of_agent_with(cluster, "command_executor"))
            status = await watched.until_state(state)
            assert status.reason == mesos.TaskStatus.REASON_SLAVE_REMOVED
            assert status.source == mesos.TaskStatus.SOURCE_MASTER
            assert not status.uuid
            assert status.HasField("unreachable_time")
            lost = await watched.until(lambda event: isinstance(event, AgentLost))
            assert lost.agent_id == agent_id


async def test_killed_agent_of_a_framework_without_checkpoints_loses_tasks_at_once() -> None:
    with LocalCluster(agents=[AGENT]) as cluster:
        async with SchedulerDriver(_framework("b"), master=cluster.master) as driver:
            watched = Watched(driver)
            await watched.launch()
            await watched.until_state(mesos.TASK_RUNNING)
            agent = cluster.agents[0].process.pid
            orphans = _processes_below(agent, "command_executor")
            cluster.kill_agent(0)
            status = await watched.until_state(mesos.TASK_LOST)
            assert status.reason == mesos.TaskStatus.REASON_SLAVE_DISCONNECTED
            await until(
                lambda: not any(orphan.is_running() for orphan in orphans),
                "executors of a framework without checkpoints end with their agent",
            )


def _index_of_agent_with(cluster: LocalCluster, command: str) -> int:
    for index, agent in enumerate(cluster.agents):
        if _processes_below(agent.process.pid, command):
            return index
    raise AssertionError(f"no agent runs {command}")


async def test_killed_scheduler_is_removed_and_its_tasks_are_killed(tmp_path: Path) -> None:
    """With a failover timeout of 0 the framework goes when its connection breaks."""
    with LocalCluster(agents=[AGENT]) as cluster:
        agent = cluster.agents[0].process.pid
        log = tmp_path / "hello.log"
        with log.open("wb") as output:
            hello = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "examples.hello", "--master", cluster.master),
                stdout=output,
                stderr=output,
            )
        await until(lambda: _processes_below(agent, "command_executor"), "tasks must run")
        os.kill(hello.pid, signal.SIGKILL)
        await hello.wait()
        await until(
            lambda: not _processes_below(agent, "command_executor"),
            "the executors of a removed framework are shut down",
        )
        # Everything it held is offered to the next framework.
        async with SchedulerDriver(_framework("next"), master=cluster.master) as driver:
            watched = Watched(driver)
            event = await watched.until(lambda event: isinstance(event, Offers))
            cpus = [r.scalar.value for r in event.offers[0].resources if r.name == "cpus"]
            assert sum(cpus) == 4


async def test_hello_survives_the_kill_of_an_agent(tmp_path: Path) -> None:
    """The framework launches what it lost again, elsewhere, and still finishes everything."""
    with LocalCluster(agents=[AGENT, AGENT]) as cluster:
        hello = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.hello",
            "--master",
            cluster.master,
            stdout=asyncio.subprocess.PIPE,
        )
        await until(
            lambda: _processes_below(cluster.agents[0].process.pid, "command_executor"),
            "tasks must run on the first agent",
        )
        cluster.kill_agent(0)
        output, _ = await asyncio.wait_for(hello.communicate(), DEADLINE_S)
        text = output.decode()
        assert "tasks finished" in text
        assert "TASK_LOST" in text, "the kill must have hit running tasks"
