"""The executor driver against a scripted agent: in one thread, under virtual time."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.core.driver_status import Status
from cluster.errors import InvalidInput
from cluster.executor import (
    Acknowledged,
    Disconnected,
    ExecutorDriver,
    FrameworkMessage,
    Kill,
    Launch,
    Shutdown,
)
from cluster.model.ids import TaskId
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

AGENT = PID("slave(1)", "10.0.0.2", 5051)
FRAMEWORK_ID = mesos.FrameworkID(value="fw")
EXECUTOR_ID = mesos.ExecutorID(value="ex")
AGENT_ID = mesos.SlaveID(value="S0")
AGENT_INFO = mesos.SlaveInfo(hostname="h")
FRAMEWORK = mesos.FrameworkInfo(user="u", name="n")
TASK = mesos.TaskInfo(name="t", task_id=mesos.TaskID(value="t"), slave_id=AGENT_ID)
ENVIRON = {
    "MESOS_FRAMEWORK_ID": "fw",
    "MESOS_EXECUTOR_ID": "ex",
    "MESOS_SLAVE_ID": "S0",
    "MESOS_SLAVE_PID": str(AGENT),
    "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "4secs",
}


class FakeAgent(Process):
    """Registers executors; keeps what it hears; acknowledges when told to."""

    def __init__(self):
        super().__init__("slave(1)")
        self.executor = PID.EMPTY
        self.updates = []
        self.messages = []
        self.reregistrations = []

    def initialize(self):
        self.install(internal.RegisterExecutorMessage, self._on_register)
        self.install(internal.ReregisterExecutorMessage, self._on_reregister)
        self.install(
            internal.StatusUpdateMessage, lambda sender, message: self.updates.append(message)
        )
        self.install(
            internal.ExecutorToFrameworkMessage,
            lambda sender, message: self.messages.append(message),
        )

    def _on_register(self, sender, message):
        assert (message.framework_id, message.executor_id) == (FRAMEWORK_ID, EXECUTOR_ID)
        self.executor = sender
        self.say(
            internal.ExecutorRegisteredMessage(
                executor_info=mesos.ExecutorInfo(executor_id=message.executor_id),
                framework_id=message.framework_id,
                framework_info=FRAMEWORK,
                slave_id=AGENT_ID,
                slave_info=AGENT_INFO,
            )
        )

    def _on_reregister(self, sender, message):
        self.reregistrations.append(message)
        self.say(internal.ExecutorReregisteredMessage(slave_id=AGENT_ID, slave_info=AGENT_INFO))

    def say(self, message):
        self.send(self.executor, message)

    def launch(self, task=TASK):
        self.say(internal.RunTaskMessage(framework=FRAMEWORK, task=task))

    def acknowledge(self, message):
        self.say(
            internal.StatusUpdateAcknowledgementMessage(
                slave_id=AGENT_ID,
                framework_id=FRAMEWORK_ID,
                task_id=message.update.status.task_id,
                uuid=message.update.uuid,
            )
        )


class World:
    def __init__(self):
        self.clock = VirtualClock(1000.0)
        self.network = InProcessNetwork()
        self.runtimes = []
        self.events = []
        self.watchdogs = []
        self.agent = FakeAgent()

    async def host(self, ip, port, process=None):
        runtime = Runtime(self.network.transport(ip, port), clock=self.clock, seed=1)
        await runtime.start()
        self.runtimes.append(runtime)
        if process is not None:
            runtime.spawn(process)
        return runtime

    async def start_agent(self):
        executor = self.agent.executor
        self.agent = FakeAgent()
        self.agent.executor = executor
        self.agent_host = await self.host(AGENT.ip, AGENT.port, self.agent)

    async def stop_agent(self):
        self.runtimes.remove(self.agent_host)
        await self.agent_host.stop()
        await self.settle()

    async def settle(self):
        await self.clock.advance(0.0)

    async def say(self, message):
        self.agent.say(message)
        await self.settle()

    @asynccontextmanager
    async def driver(self, **variables):
        runtime = await self.host("10.0.0.9", 9000)
        driver = ExecutorDriver(
            ENVIRON | variables, runtime=runtime, watchdog=self.watchdogs.append
        )
        async with driver:
            collecting = asyncio.create_task(self._collect(driver))
            await self.settle()
            yield driver
        await collecting

    async def _collect(self, driver):
        async for event in driver.events():
            self.events.append(event)

    def kinds(self):
        return [type(event).__name__ for event in self.events]


@asynccontextmanager
async def new_world():
    world = World()
    await world.start_agent()
    try:
        yield world
    finally:
        for runtime in world.runtimes:
            await runtime.stop()


@pytest.mark.asyncio
async def test_register_run_report_acknowledge():
    async with new_world() as world, world.driver() as driver:
        world.agent.launch()
        await world.settle()
        assert world.kinds() == ["Registered", "Launch"]
        assert world.events[1] == Launch(TASK)

        assert (
            driver.send_status_update({"task_id": {"value": "t"}, "state": "TASK_RUNNING"})
            is Status.DRIVER_RUNNING
        )
        await world.settle()
        (message,) = world.agent.updates
        update = message.update
        assert PID.parse(message.pid) == world.agent.executor
        assert (update.framework_id, update.executor_id) == (FRAMEWORK_ID, EXECUTOR_ID)
        assert update.slave_id == update.status.slave_id == AGENT_ID
        assert update.status.state == mesos.TASK_RUNNING
        assert update.uuid == update.status.uuid
        assert len(update.uuid) == 16
        assert update.timestamp == update.status.timestamp == 1000.0
        assert not update.status.HasField("source")

        world.agent.acknowledge(message)
        await world.settle()
        assert world.events[-1] == Acknowledged(TaskId("t"), update.uuid)


@pytest.mark.asyncio
async def test_kill_with_its_grace_and_messages_both_ways():
    async with new_world() as world, world.driver() as driver:
        policy = mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=2_500_000_000))
        await world.say(
            internal.KillTaskMessage(
                framework_id=FRAMEWORK_ID, task_id=TASK.task_id, kill_policy=policy
            )
        )
        assert world.events[-1] == Kill(TASK.task_id, 2.5)

        await world.say(
            internal.FrameworkToExecutorMessage(
                framework_id=FRAMEWORK_ID, executor_id=EXECUTOR_ID, slave_id=AGENT_ID, data=b"hello"
            )
        )
        assert world.events[-1] == FrameworkMessage(b"hello")
        driver.send_framework_message(b"back")
        await world.settle()
        (message,) = world.agent.messages
        assert message == internal.ExecutorToFrameworkMessage(
            framework_id=FRAMEWORK_ID, executor_id=EXECUTOR_ID, slave_id=AGENT_ID, data=b"back"
        )


@pytest.mark.asyncio
async def test_a_restarted_agent_gets_everything_it_has_not_acknowledged():
    async with new_world() as world, world.driver(MESOS_CHECKPOINT="1") as driver:
        world.agent.launch()
        await world.settle()
        await world.stop_agent()
        assert world.events[-1] == Disconnected()
        driver.send_status_update({"task_id": {"value": "t"}, "state": "TASK_FINISHED"})
        await world.clock.advance(60.0)

        await world.start_agent()
        await world.say(internal.ReconnectExecutorMessage(slave_id=AGENT_ID))
        (again,) = world.agent.reregistrations
        assert list(again.tasks) == [TASK]
        assert [update.status.state for update in again.updates] == [mesos.TASK_FINISHED]
        assert world.kinds()[-1] == "Reregistered"
        assert world.watchdogs == []

        await world.clock.advance(3600.0)
        assert driver.status is Status.DRIVER_RUNNING


@pytest.mark.asyncio
async def test_an_agent_that_does_not_return_in_time_ends_a_checkpointing_executor():
    async with new_world() as world:
        variables = {"MESOS_CHECKPOINT": "1", "MESOS_RECOVERY_TIMEOUT": "15mins"}
        async with world.driver(**variables) as driver:
            await world.stop_agent()
            await world.clock.advance(15 * 60.0 - 1)
            assert Shutdown() not in world.events
            await world.clock.advance(1.0)
            assert world.events[-1] == Shutdown()
            assert world.watchdogs == [4.0]
            assert driver.status is Status.DRIVER_RUNNING


@pytest.mark.asyncio
async def test_without_checkpointing_the_loss_of_the_agent_is_a_shutdown():
    async with new_world() as world, world.driver():
        await world.stop_agent()
        assert world.events[-1] == Shutdown()
        assert world.watchdogs == [4.0]


@pytest.mark.asyncio
async def test_after_a_shutdown_the_last_updates_can_still_be_sent():
    async with new_world() as world, world.driver() as driver:
        world.agent.launch()
        await world.say(internal.ShutdownExecutorMessage())
        assert world.events[-1] == Shutdown()

        driver.send_status_update({"task_id": {"value": "t"}, "state": "TASK_KILLED"})
        await world.settle()
        assert world.agent.updates[-1].update.status.state == mesos.TASK_KILLED


@pytest.mark.asyncio
async def test_calls_after_the_end_answer_the_state():
    async with new_world() as world:
        async with world.driver() as driver:
            assert driver.stop() is Status.DRIVER_STOPPED
            assert driver.send_framework_message(b"x") is Status.DRIVER_STOPPED
            await world.settle()
        assert world.agent.messages == []


@pytest.mark.asyncio
async def test_bad_arguments_are_named():
    async with new_world() as world, world.driver() as driver:
        with pytest.raises(InvalidInput, match=r"status\.task_id"):
            driver.send_status_update({"state": "TASK_RUNNING"})
        with pytest.raises(InvalidInput, match=r"status\.state"):
            driver.send_status_update({"task_id": {"value": "t"}, "state": "TASK_STAGING"})
        with pytest.raises(InvalidInput, match="data"):
            driver.send_framework_message("text")


@pytest.mark.parametrize("value", ["nonsense", "slave(1)@10.0.0.2:99999", "@0.0.0.0:0"])
def test_an_agent_address_that_is_none_is_named(value):
    with pytest.raises(InvalidInput, match="MESOS_SLAVE_PID"):
        ExecutorDriver(ENVIRON | {"MESOS_SLAVE_PID": value})
