"""Operations through real messages: agents that apply them, frameworks and operators that order."""

import pytest

from cluster.core.master.effects import AnswerOperator
from cluster.model.operator_calls import (
    CreateVolumes,
    DestroyVolumes,
    ReserveResources,
    UnreserveResources,
)
from cluster.model.resources import Volume
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from cluster.wire.resources import resources_from_pb, resources_to_pb
from tests.sim.master_world import (
    MULTI_ROLE,
    FakeAgent,
    framework_info,
    master_world,
    task_info,
)
from tests.sim.master_world import resources as plain
from tests.unit.master.operation_values import marked, reserved, volume
from tests.unit.wire.test_operations_wire import recorded

pytestmark = pytest.mark.asyncio

CAPABILITY = mesos.FrameworkInfo.Capability
MODERN = (
    CAPABILITY.MULTI_ROLE,
    CAPABILITY.RESERVATION_REFINEMENT,
    CAPABILITY.SHARED_RESOURCES,
    CAPABILITY.REVOCABLE_RESOURCES,
)
TOTAL = "cpus:4;mem:4096;disk:1000"


class ApplyingAgent(FakeAgent):
    """Says of every operation that it is done, and keeps what it has been told to reserve."""

    outcome = mesos.OPERATION_FINISHED
    is_silent = False
    kept = ()
    capabilities = tuple(range(1, 9))

    def initialize(self):
        super().initialize()
        self.install(internal.ApplyOperationMessage, self._apply)

    def _apply(self, sender, message):
        self._keep(sender, message)
        if not self.is_silent:
            self.report(message.operation_uuid.value, self.outcome, message.framework_id.value)

    def report(self, uuid, state, framework_id=""):
        message = internal.UpdateOperationStatusMessage()
        message.slave_id.value = self.agent_id
        if framework_id:
            message.framework_id.value = framework_id
        message.operation_uuid.value = uuid
        message.status.state = state
        message.status.uuid.value = b"s" * 16
        message.latest_status.CopyFrom(message.status)
        self.send(self.master, message)

    def register(self, version="1.11.0"):
        self._introduce(internal.RegisterSlaveMessage(slave=self.slave_info(), version=version))

    def reregister(self, tasks=(), frameworks=(), executors=()):
        self._introduce(
            internal.ReregisterSlaveMessage(
                slave=self.slave_info(),
                version="1.11.0",
                tasks=tasks,
                frameworks=frameworks,
                executor_infos=executors,
            )
        )

    def _introduce(self, message):
        message.resource_version_uuid.value = b"v" * 16
        message.checkpointed_resources.extend(resources_to_pb(self.kept_now(), refined=True))
        for capability in self.capabilities:
            message.agent_capabilities.add(type=capability)
        self.send(self.master, message)

    def kept_now(self):
        return sum(self.kept, start=resources_from_pb([]))

    def tell(self, **fields):
        message = internal.UpdateSlaveMessage(**fields)
        message.slave_id.value = self.agent_id
        message.resource_version_uuid.value = b"v" * 16
        message.operations.SetInParent()
        self.send(self.master, message)

    @property
    def orders(self):
        return self.of(internal.ApplyOperationMessage)


async def agent_in(world, *, kept=(), capabilities=tuple(range(1, 9)), total=TOTAL):
    fake = ApplyingAgent("slave(1)", world.master.pid, total=total)
    fake.kept, fake.capabilities = kept, capabilities
    await world.add(fake)
    fake.register()
    await world.settle()
    assert fake.agent_id
    return fake


def order(kind, **parts):
    return mesos.Offer.Operation(type=mesos.Offer.Operation.Type.Value(kind), **parts)


def reserve(text, role="a"):
    """As a driver would write it: without marks of allocation."""
    return order(
        "RESERVE", reserve={"resources": resources_to_pb(reserved(text, role), refined=True)}
    )


def create(value):
    return order("CREATE", create={"volumes": resources_to_pb(value, refined=True)})


def launch(*tasks):
    return order("LAUNCH", launch={"task_infos": tasks})


def accept(scheduler_, offers, *orders, refuse_s=1.0):
    call = scheduler.Call.Accept(offer_ids=[offer.id for offer in offers], operations=orders)
    call.filters.refuse_seconds = refuse_s
    scheduler_.call("ACCEPT", accept=call)


def offered(offers):
    return resources_from_pb([r for offer in offers for r in offer.resources]).unallocated()


async def framework_in(world, *roles, **how):
    info = framework_info(capabilities=MODERN, roles=roles or ("a",), **how)
    return await world.scheduler(f"scheduler-{len(world.peers)}", info)


async def test_reserve_create_and_launch_in_one_call():
    async with master_world() as world:
        agent = await agent_in(world)
        fake = await framework_in(world)
        task = task_info("t", agent.agent_id, "mem:64")
        task.resources.extend(resources_to_pb(reserved("cpus:1") + volume(100), refined=True))
        accept(fake, fake.offers, reserve("cpus:2;disk:300"), create(volume(100)), launch(task))
        await world.settle()
        first, second = agent.orders
        assert first.framework_id.value == fake.framework_id
        assert {r.allocation_info.role for r in first.operation_info.reserve.resources} == {"a"}
        assert first.resource_version_uuid.uuid.value == b"v" * 16
        assert first.operation_uuid.value != second.operation_uuid.value
        assert second.operation_info.type == mesos.Offer.Operation.CREATE
        [run] = agent.of(internal.RunTaskMessage)
        assert volume(100).allocated_to("a") == resources_from_pb(
            [r for r in run.task.resources if r.HasField("disk")]
        )
        answers = agent.of(internal.AcknowledgeOperationStatusMessage)
        assert [a.operation_uuid for a in answers] == [o.operation_uuid for o in agent.orders]
        await world.advance(2.0)
        assert offered(fake.offers[1:]) == (
            resources_from_pb(plain("cpus:2;mem:4032;disk:700")) + reserved("cpus:1;disk:200")
        )
        assert not len(world.state.operations)


async def test_what_was_converted_is_offered_before_the_filter_ends():
    async with master_world() as world:
        await agent_in(world)
        fake = await framework_in(world)
        accept(fake, fake.offers, reserve("cpus:1"), refuse_s=1000.0)
        await world.advance(2.0)
        assert offered(fake.offers[1:]).contains(reserved("cpus:1"))


async def test_an_agent_that_drops_an_operation_is_believed():
    async with master_world() as world:
        agent = await agent_in(world)
        agent.outcome = mesos.OPERATION_DROPPED
        fake = await framework_in(world)
        accept(fake, fake.offers, reserve("cpus:1"), refuse_s=0.0)
        await world.advance(2.0)
        assert agent.of(internal.AcknowledgeOperationStatusMessage)
        assert world.state.agents.get(agent.agent_id).total == resources_from_pb(plain(TOTAL))
        assert not offered(fake.offers[-1:]).reserved_roles()


async def test_a_driver_that_wants_feedback_is_refused(caplog):
    async with master_world() as world:
        agent = await agent_in(world)
        fake = await framework_in(world)
        accept(
            fake,
            fake.offers,
            order("RESERVE", id={"value": "op"}, reserve=reserve("cpus:1").reserve),
        )
        await world.settle()
        assert not agent.orders
        assert "operation.id: needs a framework with the HTTP API" in caplog.text


async def test_what_cannot_be_read_is_refused_and_the_rest_happens(caplog):
    async with master_world() as world:
        agent = await agent_in(world)
        fake = await framework_in(world)
        broken = reserve("cpus:1")
        broken.reserve.resources[0].scalar.value = float("nan")
        accept(fake, fake.offers, broken, reserve("cpus:2"))
        await world.settle()
        assert len(agent.orders) == 1
        assert "RESERVE: reserve.resources[0] (cpus)" in caplog.text


async def test_a_task_group_reaches_its_agent():
    async with master_world() as world:
        agent = await agent_in(world)
        fake = await framework_in(world)
        group = order("LAUNCH_GROUP")
        group.launch_group.executor.type = mesos.ExecutorInfo.DEFAULT
        group.launch_group.executor.executor_id.value = "e"
        group.launch_group.executor.resources.extend(plain("cpus:0.1;mem:32;disk:10"))
        tasks = [task_info(name, agent.agent_id) for name in "tu"]
        group.launch_group.task_group.tasks.extend(tasks)
        accept(fake, fake.offers, group)
        await world.settle()
        [run] = agent.of(internal.RunTaskGroupMessage)
        assert run.launch_executor
        assert run.executor.framework_id.value == fake.framework_id
        assert [t.executor for t in run.task_group.tasks] == [run.executor, run.executor]
        everything = [
            *run.executor.resources,
            *(r for t in run.task_group.tasks for r in t.resources),
        ]
        assert {r.allocation_info.role for r in everything} == {"a"}
        await world.advance(2.0)
        assert offered(fake.offers[-1:]) == resources_from_pb(plain("cpus:1.9;mem:3936;disk:990"))
        # One of them is wrong: neither is launched.
        group.launch_group.task_group.tasks[0].task_id.value = "new"
        accept(fake, fake.offers[-1:], group)
        await world.settle()
        assert [state for _, state in fake.states] == ["TASK_ERROR", "TASK_ERROR"]
        assert len(agent.of(internal.RunTaskGroupMessage)) == 1


async def test_reservations_come_back_with_their_agent():
    async with master_world() as world:
        kept = (reserved("cpus:1;disk:100"), volume(50))
        agent = await agent_in(world, kept=kept)
        fake = await framework_in(world)
        assert offered(fake.offers) == (
            resources_from_pb(plain("cpus:3;mem:4096;disk:850"))
            + reserved("cpus:1;disk:100")
            + volume(50)
        )
        agent.kept = (reserved("cpus:1"),)
        agent.reregister()
        await world.advance(1.0)
        assert fake.rescinded
        assert offered(fake.offers[-1:]) == (
            resources_from_pb(plain("cpus:3;mem:4096;disk:1000")) + reserved("cpus:1")
        )


async def test_reservations_of_what_an_agent_lacks_are_not_believed(caplog):
    async with master_world() as world:
        agent = ApplyingAgent("slave(1)", world.master.pid, total=TOTAL)
        agent.kept = (reserved("cpus:40"),)
        await world.add(agent)
        agent.register()
        await world.settle()
        assert not agent.agent_id
        assert (
            "checkpointed_resources: [cpus(reservations: [(DYNAMIC,a)]):40] cannot" in caplog.text
        )


async def test_oversubscribed_resources_are_added_to_the_total():
    async with master_world() as world:
        agent = await agent_in(world)
        fake = await framework_in(world)
        revocable = marked(resources_from_pb(plain("cpus:2")), is_revocable=True)
        agent.tell(
            update_oversubscribed_resources=True,
            oversubscribed_resources=resources_to_pb(revocable, refined=True),
        )
        await world.advance(1.0)
        assert fake.rescinded
        # The books of master and allocator are compared after every step.
        assert world.state.agents.get(agent.agent_id).total == (
            resources_from_pb(plain(TOTAL)) + revocable
        )
        agent.tell(update_oversubscribed_resources=False)
        await world.advance(1.0)
        assert world.state.agents.get(agent.agent_id).total.contains(revocable)
        agent.tell(update_oversubscribed_resources=True)
        await world.advance(1.0)
        assert offered(fake.offers[-1:]) == resources_from_pb(plain(TOTAL))


def oversubscribed(text):
    """As an agent tells what it can spare for a while."""
    revocable = marked(resources_from_pb(plain(text)), is_revocable=True)
    return {
        "update_oversubscribed_resources": True,
        "oversubscribed_resources": resources_to_pb(revocable, refined=True),
    }


async def test_revocable_resources_are_for_those_who_can_take_them_and_can_be_used():
    async with master_world() as world:
        agent = await agent_in(world, total="cpus:1;mem:64")
        firm = await world.scheduler("firm", framework_info(roles=["b"], capabilities=[MULTI_ROLE]))
        held = firm.offers[-1]
        firm.accept([held], [task_info("firm", agent.agent_id, "cpus:1;mem:64")])
        await world.settle()
        agent.tell(**oversubscribed("cpus:2;mem:32"))
        await world.advance(5.0)
        assert len(firm.offers) == 1, "who may not take them sees nothing of them"
        # Who may take them is offered them, and they arrive with their mark.
        taker = await framework_in(world)
        (offer,) = taker.offers
        assert {r.name: r.scalar.value for r in offer.resources} == {"cpus": 2.0, "mem": 32.0}
        assert all(r.HasField("revocable") for r in offer.resources)
        # A task can run on them; a task that wants the same amounts for good cannot.
        task = task_info("spare", agent.agent_id)
        del task.resources[:]
        task.resources.extend(offer.resources)
        greedy = task_info("greedy", agent.agent_id, "cpus:1;mem:32")
        taker.accept([offer], [task, greedy])
        await world.settle()
        assert taker.states == [("greedy", "TASK_ERROR")]
        launched = agent.of(internal.RunTaskMessage)[-1].task
        assert launched.task_id.value == "spare"
        assert all(r.HasField("revocable") for r in launched.resources)
        values = await world.master.metrics.snapshot()
        assert values["master/cpus_revocable_total"] == values["master/cpus_revocable_used"] == 2.0
        assert values["master/cpus_used"] == 1.0
        # The agent needs them itself: nothing of them is offered when the task has ended.
        agent.tell(update_oversubscribed_resources=True)
        agent.update(taker.framework_id, "spare", "TASK_FINISHED")
        await world.advance(5.0)
        assert len(taker.offers) == 1


async def test_what_an_agent_cannot_have_is_refused(caplog):
    async with master_world() as world:
        agent = await agent_in(world)
        agent.tell(update_oversubscribed_resources=True, oversubscribed_resources=plain("cpus:1"))
        await world.settle()
        assert "oversubscribed_resources: must be revocable" in caplog.text


async def test_an_agent_is_asked_about_operations_it_does_not_list():
    async with master_world() as world:
        agent = await agent_in(world)
        agent.is_silent = True
        fake = await framework_in(world)
        accept(fake, fake.offers, reserve("cpus:1"))
        await world.settle()
        agent.tell()
        await world.settle()
        [question] = agent.of(internal.ReconcileOperationsMessage)
        uuid = agent.orders[0].operation_uuid
        assert [o.operation_uuid for o in question.operations] == [uuid]
        agent.report(uuid.value, mesos.OPERATION_DROPPED, fake.framework_id)
        await world.settle()
        assert world.state.agents.get(agent.agent_id).total == resources_from_pb(plain(TOTAL))


async def test_an_old_agent_gets_the_list_of_what_it_shall_have():
    async with master_world() as world:
        agent = await agent_in(world, capabilities=(1, 2, 3))
        fake = await framework_in(world)
        accept(fake, fake.offers, reserve("disk:300"), create(volume(100)))
        await world.settle()
        assert not agent.orders
        messages = agent.of(internal.CheckpointResourcesMessage)
        assert resources_from_pb(messages[-1].resources) == reserved("disk:200") + volume(100)
        agent.kept, agent.received = (volume(100),), []
        agent.reregister()
        await world.settle()
        [message] = agent.of(internal.CheckpointResourcesMessage)
        assert resources_from_pb(message.resources) == volume(100)


async def test_an_operator_orders_as_recorded():
    """The four calls of the recording, on the same agent: the same orders go out."""
    name = "mesos.internal.ApplyOperationMessage"
    expected = recorded("j-operator", name, internal.ApplyOperationMessage)
    async with master_world() as world:
        agent = await agent_in(world, total="cpus:4;mem:4096;disk:8192;ports:[31000-32000]")
        fake = await framework_in(world, "b")
        mine = reserved("cpus:1;disk:256", "ads", principal="golden")
        made = volume(128, role="ads", principal="golden", volume=Volume("d"))
        for call in (
            ReserveResources(agent.agent_id, mine),
            CreateVolumes(agent.agent_id, made),
            DestroyVolumes(agent.agent_id, made),
            UnreserveResources(agent.agent_id, mine),
        ):
            answer = await world.master.operate(call)
            assert (answer.status, answer.text) == (202, "")
            await world.advance(2.0)
        assert fake.rescinded
        for sent, wanted in zip(agent.orders, expected, strict=True):
            wanted.operation_uuid.CopyFrom(sent.operation_uuid)
            wanted.resource_version_uuid.uuid.value = b"v" * 16
            assert sent == wanted
        again = await world.master.operate(UnreserveResources(agent.agent_id, mine))
        assert isinstance(again, AnswerOperator)
        assert again.status == 409
        assert len(agent.of(internal.AcknowledgeOperationStatusMessage)) == 4
