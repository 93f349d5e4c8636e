"""Peers of an agent under test: a scripted master, executors and a containerizer without processes.

The containerizer passes the conformance tests of the real one
(``tests/process/test_posix_conformance.py``).
"""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from actorproc import PID, InProcessNetwork, Process, ProcessTerminated, Runtime, VirtualClock
from cluster.agent import Agent
from cluster.agent_flags import AgentConfig
from cluster.containers.base import ContainerTermination, LaunchFailed, UnknownContainer
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

MASTER = PID("master", "10.0.0.1", 5050)
AGENT = PID("slave(1)", "10.0.0.2", 5051)
SIGKILL = 9


@dataclass
class FakeContainer:
    config: object
    os_pid: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    wait_status: int = 0
    is_claimed: bool = False

    def end(self, wait_status=0):
        if not self.ended.is_set():
            self.wait_status = wait_status
            self.ended.set()


class FakeContainerizer:
    """Containers are entries in a table. A command of "missing" cannot be launched."""

    def __init__(self):
        self.launched = {}  # every container ever, by id
        self._live = {}

    async def launch(self, config):
        if config.container_id in self._live:
            raise LaunchFailed("exists already")
        if config.command.value == "missing":
            raise LaunchFailed("command 'missing' was not found")
        container = FakeContainer(config, 1000 + len(self.launched))
        self.launched[config.container_id] = self._live[config.container_id] = container
        for word in config.command.value.split(";"):
            if word.strip().startswith("exit "):
                container.end(int(word.split()[1]) << 8)
        return container.os_pid

    async def wait(self, container_id):
        container = self._live.get(container_id)
        if container is None or container.is_claimed:
            raise UnknownContainer(container_id)
        container.is_claimed = True
        try:
            await container.ended.wait()
        finally:
            container.is_claimed = False
        del self._live[container_id]
        return ContainerTermination(container.wait_status)

    async def destroy(self, container_id):
        if container_id in self._live:
            self._live[container_id].end(SIGKILL)

    async def destroy_orphans(self, work_dir):
        return 0  # what is not in the table does not exist

    def containers(self):
        return tuple(self._live)

    @property
    def last(self):
        """The container launched last."""
        return next(reversed(self.launched.values()))


class FakeMaster(Process):
    """Keeps what it hears; admits agents unless told not to."""

    def __init__(self, *, is_admitting=True):
        super().__init__("master")
        self.is_admitting = is_admitting
        self.heard = []
        self.agent = PID.EMPTY
        self.agent_id = "M-S0"

    def initialize(self):
        for message_type in (
            internal.RegisterSlaveMessage,
            internal.ReregisterSlaveMessage,
            internal.UpdateSlaveMessage,
            internal.UnregisterSlaveMessage,
            internal.StatusUpdateMessage,
            internal.ExitedExecutorMessage,
            internal.ExecutorToFrameworkMessage,
            internal.PongSlaveMessage,
        ):
            self.install(message_type, self._on_message)

    def _on_message(self, sender, message):
        self.heard.append(message)
        self.agent = sender
        if not self.is_admitting:
            return
        connection = internal.MasterSlaveConnection(total_ping_timeout_seconds=75)
        agent_id = mesos.SlaveID(value=self.agent_id)
        if isinstance(message, internal.RegisterSlaveMessage):
            self.say(internal.SlaveRegisteredMessage(slave_id=agent_id, connection=connection))
        if isinstance(message, internal.ReregisterSlaveMessage):
            self.say(internal.SlaveReregisteredMessage(slave_id=agent_id, connection=connection))

    def say(self, message):
        self.send(AGENT, message)

    def all(self, message_type):
        return [message for message in self.heard if isinstance(message, message_type)]

    def updates(self):
        """(task id, state name, reason name or "") of every update heard, repeats included."""
        return [
            (
                message.update.status.task_id.value,
                mesos.TaskState.Name(message.update.status.state),
                mesos.TaskStatus.Reason.Name(message.update.status.reason)
                if message.update.status.HasField("reason")
                else "",
            )
            for message in self.all(internal.StatusUpdateMessage)
        ]

    def acknowledge(self, message):
        update = message.update
        self.say(
            internal.StatusUpdateAcknowledgementMessage(
                slave_id=update.slave_id,
                framework_id=update.framework_id,
                task_id=update.status.task_id,
                uuid=update.uuid,
            )
        )


class FakeExecutor(Process):
    """An executor driver that keeps what it hears."""

    def __init__(self, executor_id="ex", framework_id="fw"):
        super().__init__("executor(1)")
        self.heard = []
        self.framework_id = mesos.FrameworkID(value=framework_id)
        self.executor_id = mesos.ExecutorID(value=executor_id)

    def initialize(self):
        for message_type in (
            internal.ExecutorRegisteredMessage,
            internal.RunTaskMessage,
            internal.KillTaskMessage,
            internal.ShutdownExecutorMessage,
            internal.StatusUpdateAcknowledgementMessage,
            internal.FrameworkToExecutorMessage,
        ):
            self.install(message_type, lambda sender, message: self.heard.append(message))
        self.register()

    def register(self):
        self.send(
            AGENT,
            internal.RegisterExecutorMessage(
                framework_id=self.framework_id, executor_id=self.executor_id
            ),
        )

    def report(self, task_id, state, *, uuid, agent_id="M-S0"):
        update = internal.StatusUpdate(
            framework_id=self.framework_id,
            executor_id=self.executor_id,
            slave_id=mesos.SlaveID(value=agent_id),
            status=mesos.TaskStatus(task_id=mesos.TaskID(value=task_id), state=state),
            timestamp=1.0,
            uuid=uuid,
        )
        self.send(AGENT, internal.StatusUpdateMessage(update=update, pid=str(self.pid)))

    def names(self):
        return [type(message).__name__ for message in self.heard]


class FixedDetector:
    """Says what it is told: first the master, then whatever is put into `next`."""

    def __init__(self, master=MASTER):
        self._answers: asyncio.Queue[PID | None] = asyncio.Queue()
        self._answers.put_nowait(master)

    async def detect(self, previous):
        return await self._answers.get()

    def tell(self, master):
        self._answers.put_nowait(master)


async def at_once(fn, *args):
    """Run what blocks right here: virtual time waits for no thread."""
    return fn(*args)


@dataclass
class World:
    """A master and an agent on a simulated network."""

    clock: VirtualClock
    network: InProcessNetwork
    master_runtime: Runtime
    master: FakeMaster
    agent: Agent
    containers: FakeContainerizer
    detector: FixedDetector
    runtimes: list[Runtime]

    async def executor(self, executor_id="ex", port=40000, framework_id="fw"):
        """Start an executor driver, as the last container would."""
        runtime = Runtime(self.network.transport("10.0.0.2", port), clock=self.clock)
        await runtime.start()
        self.runtimes.append(runtime)
        executor = FakeExecutor(executor_id, framework_id)
        runtime.spawn(executor)
        await self.clock.settle()
        return executor

    async def replace_master(self, master):
        """Start another master where the first one was."""
        self.master_runtime = Runtime(
            self.network.transport(MASTER.ip, MASTER.port), clock=self.clock
        )
        await self.master_runtime.start()
        self.runtimes.append(self.master_runtime)
        self.master = master
        self.master_runtime.spawn(master)

    async def agent_is_gone(self):
        await self.clock.settle()
        try:
            await self.runtimes[0].dispatch(self.agent.pid, lambda: None)
        except ProcessTerminated:
            return True
        return False

    async def run(self, *tasks, **more):
        for task in tasks:
            self.master.say(run_task(task, **more))
        await self.clock.settle()


@asynccontextmanager
async def world(
    work_dir,
    *,
    master=None,
    resources="cpus:4;mem:4096;disk:8192;ports:[31000-32000]",
    **flags,
):
    """A registered agent, unless the master is told not to admit it."""
    clock, network = VirtualClock(1000.0), InProcessNetwork()
    containers, detector = FakeContainerizer(), FixedDetector()
    config = AgentConfig(
        master=str(MASTER.address),
        work_dir=str(work_dir),
        hostname="host",
        resources=resources,
        ip=AGENT.ip,
        port=AGENT.port,
        **flags,
    )
    agent = Agent(config, containerizer=containers, detector=detector, run_blocking=at_once)
    master_runtime = Runtime(network.transport(MASTER.ip, MASTER.port), clock=clock)
    agent_runtime = Runtime(network.transport(AGENT.ip, AGENT.port), clock=clock, seed=1)
    runtimes = [agent_runtime]
    await master_runtime.start()
    await agent_runtime.start()
    master = master or FakeMaster()
    master_runtime.spawn(master)
    agent_runtime.spawn(agent)
    try:
        await clock.advance(1.0)
        yield World(clock, network, master_runtime, master, agent, containers, detector, runtimes)
    finally:
        for container in containers.launched.values():
            container.end()
        for runtime in (*runtimes, master_runtime):
            await runtime.stop()


def framework_info(framework_id="fw", *, is_aware=True, **more):
    info = mesos.FrameworkInfo(user="root", name="f", id=mesos.FrameworkID(value=framework_id))
    if is_aware:
        info.capabilities.add(type=mesos.FrameworkInfo.Capability.PARTITION_AWARE)
    for name, value in more.items():
        setattr(info, name, value)
    return info


def task_info(task_id, *, executor_id=None, command="sleep 1000", cpus=0.5):
    task = mesos.TaskInfo(
        name=task_id,
        task_id=mesos.TaskID(value=task_id),
        slave_id=mesos.SlaveID(value="M-S0"),
    )
    resource = task.resources.add(name="cpus", type=mesos.Value.SCALAR)
    resource.scalar.value = cpus
    resource.allocation_info.role = "*"
    if executor_id is None:
        task.command.value = command
    else:
        task.executor.executor_id.value = executor_id
        task.executor.framework_id.value = "fw"
        task.executor.command.value = command
    return task


def run_task(task, *, framework=None, pid="scheduler(1)@10.0.0.3:6000", launch_executor=None):
    message = internal.RunTaskMessage(framework=framework or framework_info(), pid=pid, task=task)
    if launch_executor is not None:
        message.launch_executor = launch_executor
    return message
