"""The scheduler driver against a scripted master: in one thread, under virtual time."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.core.driver_status import DriverMisuse, Status
from cluster.election.detector import StaticDetector
from cluster.errors import InvalidInput
from cluster.scheduler import (
    Disconnected,
    Error,
    FrameworkMessage,
    OfferRescinded,
    Offers,
    Registered,
    Reregistered,
    SchedulerDriver,
    Update,
)
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

MASTER = PID("master", "10.0.0.1", 5050)
AGENT = PID("slave(1)", "10.0.0.2", 5051)
FRAMEWORK = {"name": "test", "user": "me", "hostname": "here"}
FRAMEWORK_ID = mesos.FrameworkID(value="fw-0000")
MASTER_INFO = mesos.MasterInfo(id="m", ip=1, port=5050)
TASK = {"name": "t", "task_id": {"value": "t"}, "slave_id": {"value": "S0"}}


class FakeMaster(Process):
    """Keeps what it hears; says only what a test tells it to."""

    def __init__(self):
        super().__init__("master")
        self.calls = []
        self.farewells = []
        self.framework = PID.EMPTY
        self.answers_as = None

    def initialize(self):
        self.install(scheduler.Call, self._on_call)
        self.install(internal.DeactivateFrameworkMessage, self._on_farewell)

    def _on_call(self, sender, call):
        self.calls.append(call)
        if call.type == scheduler.Call.SUBSCRIBE:
            self.framework = sender
            if self.answers_as is not None:
                self.say(self.answers_as(framework_id=FRAMEWORK_ID, master_info=MASTER_INFO))

    def _on_farewell(self, sender, message):
        self.farewells.append(message)

    def say(self, message):
        self.send(self.framework, message)

    def heard(self):
        """Types of the calls, oldest first."""
        return [scheduler.Call.Type.Name(call.type) for call in self.calls]

    def last(self):
        return self.calls[-1]


class FakeAgent(Process):
    def __init__(self):
        super().__init__("slave(1)")
        self.heard = []

    def initialize(self):
        self.install(
            internal.FrameworkToExecutorMessage, lambda sender, message: self.heard.append(message)
        )


class World:
    """A network with a master, and one driver on a host of its own."""

    def __init__(self):
        self.clock = VirtualClock(1000.0)
        self.network = InProcessNetwork()
        self.runtimes = []
        self.master = FakeMaster()
        self.events = []

    async def host(self, ip, port, process=None):
        runtime = Runtime(self.network.transport(ip, port), clock=self.clock, seed=1)
        await runtime.start()
        self.runtimes.append(runtime)
        if process is not None:
            runtime.spawn(process)
        return runtime

    async def start_master(self, answers_as=internal.FrameworkRegisteredMessage):
        self.master = FakeMaster()
        self.master.answers_as = answers_as
        self.master_host = await self.host(MASTER.ip, MASTER.port, self.master)

    async def stop_master(self):
        self.runtimes.remove(self.master_host)
        await self.master_host.stop()

    async def settle(self):
        await self.clock.advance(0.0)

    async def advance(self, seconds):
        await self.clock.advance(seconds)

    async def say(self, message):
        self.master.say(message)
        await self.settle()

    @asynccontextmanager
    async def driver(self, framework=None, **options):
        """A started driver whose events are collected in ``events``."""
        runtime = await self.host("10.0.0.9", 9000)
        driver = SchedulerDriver(
            framework or FRAMEWORK, runtime=runtime, detector=StaticDetector(MASTER), **options
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

    async def stop(self):
        for runtime in self.runtimes:
            await runtime.stop()


@asynccontextmanager
async def new_world():
    world = World()
    try:
        yield world
    finally:
        await world.stop()


def offers_message(offer_id="O1"):
    offer = mesos.Offer(
        id=mesos.OfferID(value=offer_id),
        framework_id=FRAMEWORK_ID,
        slave_id=mesos.SlaveID(value="S0"),
        hostname="h",
    )
    return internal.ResourceOffersMessage(offers=[offer], pids=[str(AGENT)])


def update_message(uuid=b"u" * 16, pid=str(AGENT)):
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value="t"),
        state=mesos.TASK_RUNNING,
        slave_id=mesos.SlaveID(value="S0"),
        uuid=uuid,
    )
    update = internal.StatusUpdate(
        framework_id=FRAMEWORK_ID, status=status, timestamp=1.0, uuid=uuid
    )
    return internal.StatusUpdateMessage(update=update, pid=pid)


@pytest.mark.asyncio
async def test_register_offer_launch_update_acknowledge_stop():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            await world.say(offers_message())
            assert driver.launch_tasks("O1", [TASK]) is Status.DRIVER_RUNNING
            await world.settle()
            assert world.master.last().accept.operations[0].launch.task_infos[0].name == "t"

            await world.say(update_message())
            assert world.master.last().acknowledge.uuid == b"u" * 16
            assert driver.framework.id == FRAMEWORK_ID
        assert world.kinds() == ["Registered", "Offers", "Update"]
        assert world.master.heard() == ["SUBSCRIBE", "ACCEPT", "ACKNOWLEDGE", "TEARDOWN"]
        assert driver.status is Status.DRIVER_STOPPED


@pytest.mark.asyncio
async def test_without_a_master_it_keeps_asking_with_pauses_and_says_so(caplog):
    async with new_world() as world, world.driver() as driver:
        await world.advance(300.0)
        assert not driver.is_connected
        attempts = [text for text in caplog.messages if "no answer from" in text]
        assert 5 <= len(attempts) <= 25  # 300 s, pauses from [0, 2] s doubling to [0, 60] s

        await world.start_master()
        await world.advance(60.0)
        assert driver.is_connected
        assert world.events == [Registered(FRAMEWORK_ID, MASTER_INFO)]
        assert world.master.heard() == ["SUBSCRIBE"]
        said = len(caplog.messages)
        await world.advance(600.0)
        assert len(caplog.messages) == said


@pytest.mark.asyncio
async def test_a_master_that_restarts_is_noticed_and_asked_again():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            await world.stop_master()
            await world.settle()
            assert world.events[-1] == Disconnected()

            driver.launch_tasks("O1", [TASK])
            await world.settle()
            (status,) = [event.status for event in world.events if isinstance(event, Update)]
            assert status.state == mesos.TASK_LOST
            assert status.reason == mesos.TaskStatus.REASON_MASTER_DISCONNECTED
            assert not status.HasField("uuid")
            driver.suppress_offers()

            await world.start_master(internal.FrameworkReregisteredMessage)
            await world.advance(10.0)
            assert world.events[-1] == Reregistered(MASTER_INFO)
            call = world.master.calls[0]
            assert call.framework_id == call.subscribe.framework_info.id == FRAMEWORK_ID
            assert call.subscribe.force is False
            assert list(call.subscribe.suppressed_roles) == ["*"]


@pytest.mark.asyncio
async def test_nothing_is_believed_before_the_registration_or_from_another_process():
    async with new_world() as world:
        await world.start_master(answers_as=None)
        async with world.driver():
            await world.say(offers_message())
            await world.say(update_message())
            assert world.events == []

            stranger = await world.host("10.0.0.66", 5050)
            registered = internal.FrameworkRegisteredMessage(
                framework_id=FRAMEWORK_ID, master_info=MASTER_INFO
            )
            stranger.post(
                world.master.framework, registered, sender=PID("master", "10.0.0.66", 5050)
            )
            await world.settle()
            assert world.events == []


@pytest.mark.asyncio
async def test_an_id_given_by_the_user_is_taken_over():
    async with new_world() as world:
        await world.start_master()
        async with world.driver({**FRAMEWORK, "id": {"value": "fw-0000"}}) as driver:
            call = world.master.calls[0]
            assert call.framework_id == FRAMEWORK_ID
            assert call.subscribe.force is True
            driver.stop(failover=True)
        assert world.master.heard() == ["SUBSCRIBE"]


@pytest.mark.asyncio
async def test_a_refusal_aborts_and_is_the_last_event():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            world.master.say(internal.FrameworkErrorMessage(message="Framework failed over"))
            world.master.say(offers_message())
            await world.settle()
            assert driver.status is Status.DRIVER_ABORTED
            assert driver.kill_task("t") is Status.DRIVER_ABORTED
        assert world.events[-1] == Error("Framework failed over")
        assert [each.framework_id for each in world.master.farewells] == [FRAMEWORK_ID]
        assert world.master.heard() == ["SUBSCRIBE"]


@pytest.mark.asyncio
async def test_an_exception_in_the_program_aborts_but_leaves_the_framework_registered():
    async with new_world() as world:
        await world.start_master()
        with pytest.raises(RuntimeError, match="of the program"):
            async with world.driver():
                raise RuntimeError("of the program")
        await world.settle()
        assert len(world.master.farewells) == 1
        assert "TEARDOWN" not in world.master.heard()


@pytest.mark.asyncio
async def test_explicit_acknowledgements_are_the_programs_own():
    async with new_world() as world:
        await world.start_master()
        async with world.driver(implicit_acknowledgements=False) as driver:
            await world.say(update_message())
            assert world.master.heard() == ["SUBSCRIBE"]

            driver.acknowledge_status_update(world.events[-1].status)
            await world.settle()
            assert world.master.last().acknowledge.uuid == b"u" * 16

            await world.say(update_message(pid=""))
            driver.acknowledge_status_update(world.events[-1].status)
            await world.settle()
            assert world.master.heard() == ["SUBSCRIBE", "ACKNOWLEDGE"]


@pytest.mark.asyncio
async def test_acknowledging_by_hand_what_is_acknowledged_implicitly_is_a_mistake():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            await world.say(update_message())
            with pytest.raises(DriverMisuse, match="implicitly"):
                driver.acknowledge_status_update(world.events[-1].status)


@pytest.mark.asyncio
async def test_an_update_counts_as_handled_only_when_the_program_asks_for_more():
    async with new_world() as world:
        await world.start_master()
        runtime = await world.host("10.0.0.9", 9000)
        driver = SchedulerDriver(FRAMEWORK, runtime=runtime, detector=StaticDetector(MASTER))
        async with driver:
            events = driver.events()
            await world.settle()
            assert isinstance(await anext(events), Registered)
            await world.say(update_message())
            assert isinstance(await anext(events), Update)
            await world.settle()
            assert world.master.heard() == ["SUBSCRIBE"]

            await world.say(offers_message())
            assert isinstance(await anext(events), Offers)
            await world.settle()
            assert world.master.heard() == ["SUBSCRIBE", "ACKNOWLEDGE"]
            await events.aclose()


@pytest.mark.asyncio
async def test_messages_to_executors_go_direct_when_the_agent_is_known():
    async with new_world() as world:
        await world.start_master()
        agent = FakeAgent()
        await world.host(AGENT.ip, AGENT.port, agent)
        async with world.driver() as driver:
            driver.send_framework_message("ex", "S0", b"through the master")
            await world.settle()
            assert world.master.last().message.data == b"through the master"

            await world.say(offers_message())
            driver.launch_tasks("O1", [TASK])
            driver.send_framework_message("ex", "S0", b"direct")
            await world.settle()
            (message,) = agent.heard
            assert (message.data, message.executor_id.value) == (b"direct", "ex")

            reply = internal.ExecutorToFrameworkMessage(
                slave_id=message.slave_id,
                framework_id=FRAMEWORK_ID,
                executor_id=message.executor_id,
                data=b"back",
            )
            agent.send(world.master.framework, reply)
            await world.settle()
            assert world.events[-1] == FrameworkMessage(
                message.executor_id, message.slave_id, b"back"
            )


@pytest.mark.asyncio
async def test_every_call_reaches_the_master_in_order():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            await world.say(offers_message())
            await world.say(
                internal.RescindResourceOfferMessage(offer_id=mesos.OfferID(value="O1"))
            )
            assert world.events[-1] == OfferRescinded(mesos.OfferID(value="O1"))

            driver.decline_offer(["O2", "O3"], {"refuse_seconds": 0.2})
            driver.launch_tasks("O4", [])
            driver.kill_task("t")
            driver.suppress_offers(["*"])
            driver.revive_offers()
            driver.revive_offers([])
            driver.reconcile_tasks([])
            driver.request_resources([{"resources": []}])
            driver.update_framework({**FRAMEWORK, "name": "renamed"}, ["*"])
            await world.settle()

            assert world.master.heard()[1:] == [
                "DECLINE", "DECLINE", "KILL", "SUPPRESS", "REVIVE", "RECONCILE", "REQUEST",
                "UPDATE_FRAMEWORK",
            ]  # fmt: skip
            assert all(call.framework_id == FRAMEWORK_ID for call in world.master.calls[1:])
            decline = world.master.calls[1].decline
            assert [each.value for each in decline.offer_ids] == ["O2", "O3"]
            assert decline.filters.refuse_seconds == 0.2
            update = world.master.last().update_framework
            assert (update.framework_info.name, update.framework_info.id) == (
                "renamed",
                FRAMEWORK_ID,
            )
            assert driver.framework.name == "renamed"


@pytest.mark.asyncio
async def test_bad_arguments_are_named_and_leave_the_driver_running():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            bad = [
                (lambda: driver.launch_tasks("O1", [{"name": "t"}]), r"tasks\[0\]\.task_id"),
                (lambda: driver.decline_offer(5), "offer_ids"),
                (lambda: driver.kill_task({"val": "t"}), "task_id"),
                (lambda: driver.revive_offers("dev"), "roles"),
                (lambda: driver.send_framework_message("e", "S0", "text"), "data"),
                (lambda: driver.decline_offer("O1", {"refuse": 1}), "filters"),
            ]
            for call, field in bad:
                with pytest.raises(InvalidInput, match=field):
                    call()
            assert driver.status is Status.DRIVER_RUNNING


@pytest.mark.asyncio
async def test_operation_ids_abort():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            operation = {
                "type": "LAUNCH",
                "id": {"value": "op"},
                "launch": {"task_infos": [TASK]},
            }
            driver.accept_offers("O1", [operation])
            await world.settle()
            assert driver.status is Status.DRIVER_ABORTED
        assert "operation" in world.events[-1].message


@pytest.mark.asyncio
async def test_bytes_that_are_no_message_are_dropped():
    async with new_world() as world:
        await world.start_master()
        async with world.driver() as driver:
            for name in ("ResourceOffersMessage", "StatusUpdateMessage", "FrameworkErrorMessage"):
                world.master.send(world.master.framework, f"mesos.internal.{name}", b"\xff\xff")
            await world.settle()
            assert world.kinds() == ["Registered"]
            assert driver.status is Status.DRIVER_RUNNING


@pytest.mark.asyncio
async def test_a_program_that_takes_no_events_is_given_up(monkeypatch):
    monkeypatch.setattr("cluster.scheduler.EVENTS_MAX", 3)
    async with new_world() as world:
        await world.start_master()
        runtime = await world.host("10.0.0.9", 9000)
        driver = SchedulerDriver(FRAMEWORK, runtime=runtime, detector=StaticDetector(MASTER))
        async with driver:
            await world.settle()
            for number in range(5):
                await world.say(offers_message(f"O{number}"))
            assert driver.status is Status.DRIVER_ABORTED
            assert [event async for event in driver.events()] == [
                Error("the program leaves 3 events waiting")
            ]
