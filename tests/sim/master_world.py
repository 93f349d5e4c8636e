"""A master with fake agents and schedulers on one simulated network, in virtual time.

The fakes speak the real messages and remember everything they receive; they decide nothing.
"""

import asyncio
from contextlib import asynccontextmanager

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.model.resources import Resources
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from cluster.wire.resources import resources_to_pb

MASTER_IP = "10.0.0.1"
START_S = 1_800_000_000.0
PARTITION_AWARE = mesos.FrameworkInfo.Capability.PARTITION_AWARE
MULTI_ROLE = mesos.FrameworkInfo.Capability.MULTI_ROLE
AGENT_CAPABILITIES = range(1, 9)


def resources(text, role="*"):
    """Resources as an agent or driver writes them (pre-refinement)."""
    return resources_to_pb(Resources.parse(text), refined=False)


def framework_info(name="test", *, capabilities=(), roles=(), **fields):
    info = mesos.FrameworkInfo(name=name, user="somebody", hostname="localhost", **fields)
    for capability in capabilities:
        info.capabilities.add(type=capability)
    info.roles.extend(roles)
    return info


def task_info(task_id, agent_id, text="cpus:1;mem:64", *, executor=None):
    info = mesos.TaskInfo(
        name=task_id,
        task_id=mesos.TaskID(value=task_id),
        slave_id=mesos.SlaveID(value=agent_id),
        resources=resources(text),
    )
    if executor is None:
        info.command.value = "true"
    else:
        info.executor.executor_id.value = executor
        info.executor.command.value = "run"
        info.executor.resources.extend(resources("cpus:0.1;mem:32"))
    return info


class Recorder(Process):
    """Keeps every message of the given types, in order of arrival."""

    received_types = ()

    def __init__(self, id, master):
        super().__init__(id)
        self.master = master
        self.received = []
        self.lost = []

    def initialize(self):
        for message_type in self.received_types:
            self.install(message_type, self._keep)

    def _keep(self, sender, message):
        self.received.append(message)

    def exited(self, pid):
        self.lost.append(pid)

    def of(self, message_type):
        return [message for message in self.received if isinstance(message, message_type)]

    def forget(self):
        self.received.clear()


class FakeScheduler(Recorder):
    received_types = (
        internal.FrameworkRegisteredMessage,
        internal.FrameworkReregisteredMessage,
        internal.FrameworkErrorMessage,
        internal.ResourceOffersMessage,
        internal.RescindResourceOfferMessage,
        internal.InverseOffersMessage,
        internal.RescindInverseOfferMessage,
        internal.StatusUpdateMessage,
        internal.LostSlaveMessage,
        internal.ExitedExecutorMessage,
        internal.ExecutorToFrameworkMessage,
        internal.SubmitSchedulerResponse,
    )

    def __init__(self, id, master):
        super().__init__(id, master)
        self.framework_id = ""

    def subscribe(self, info=None, *, force=False, suppressed=(), constraints=None):
        call = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
        call.subscribe.framework_info.CopyFrom(info or framework_info())
        if self.framework_id:
            call.framework_id.value = self.framework_id
            call.subscribe.framework_info.id.value = self.framework_id
        if force:
            call.subscribe.force = True
        call.subscribe.suppressed_roles.extend(suppressed)
        if constraints is not None:
            call.subscribe.offer_constraints.CopyFrom(constraints)
        self.send(self.master, call)

    def _keep(self, sender, message):
        super()._keep(sender, message)
        if isinstance(message, internal.FrameworkRegisteredMessage):
            self.framework_id = message.framework_id.value

    def call(self, call_type, **parts):
        call = scheduler.Call(type=scheduler.Call.Type.Value(call_type), **parts)
        call.framework_id.value = self.framework_id
        self.send(self.master, call)

    def accept(self, offers, tasks, *, refuse_s=None, capabilities=()):
        accept = scheduler.Call.Accept(offer_ids=[offer.id for offer in offers])
        if tasks:
            operation = accept.operations.add(type=mesos.Offer.Operation.LAUNCH)
            operation.launch.task_infos.extend(tasks)
        if refuse_s is not None:
            accept.filters.refuse_seconds = refuse_s
        self.call("ACCEPT", accept=accept)

    def decline(self, offers, refuse_s=None):
        decline = scheduler.Call.Decline(offer_ids=[offer.id for offer in offers])
        if refuse_s is not None:
            decline.filters.refuse_seconds = refuse_s
        self.call("DECLINE", decline=decline)

    def acknowledge(self, update):
        self.call(
            "ACKNOWLEDGE",
            acknowledge=scheduler.Call.Acknowledge(
                slave_id=update.slave_id, task_id=update.status.task_id, uuid=update.uuid
            ),
        )

    def reconcile(self, *tasks):
        """Each task is an id or a pair of task and agent id."""
        reconcile = scheduler.Call.Reconcile()
        for task in tasks:
            task_id, agent_id = task if isinstance(task, tuple) else (task, None)
            entry = reconcile.tasks.add(task_id=mesos.TaskID(value=task_id))
            if agent_id is not None:
                entry.slave_id.value = agent_id
        self.call("RECONCILE", reconcile=reconcile)

    @property
    def offers(self):
        """All offers ever received."""
        return [o for m in self.of(internal.ResourceOffersMessage) for o in m.offers]

    @property
    def rescinded(self):
        return [m.offer_id.value for m in self.of(internal.RescindResourceOfferMessage)]

    @property
    def updates(self):
        return [m.update for m in self.of(internal.StatusUpdateMessage)]

    @property
    def states(self):
        """``(task id, state name)`` of every update."""
        return [
            (u.status.task_id.value, mesos.TaskState.Name(u.status.state)) for u in self.updates
        ]

    @property
    def errors(self):
        return [m.message for m in self.of(internal.FrameworkErrorMessage)]


class FakeAgent(Recorder):
    """Answers pings while ``answers_pings``; everything else only on request."""

    received_types = (
        internal.SlaveRegisteredMessage,
        internal.SlaveReregisteredMessage,
        internal.ShutdownMessage,
        internal.RunTaskMessage,
        internal.RunTaskGroupMessage,
        internal.ApplyOperationMessage,
        internal.CheckpointResourcesMessage,
        internal.AcknowledgeOperationStatusMessage,
        internal.ReconcileOperationsMessage,
        internal.KillTaskMessage,
        internal.StatusUpdateAcknowledgementMessage,
        internal.ShutdownFrameworkMessage,
        internal.ShutdownExecutorMessage,
        internal.UpdateFrameworkMessage,
        internal.FrameworkToExecutorMessage,
        internal.DrainSlaveMessage,
    )

    def __init__(self, id, master, *, total="cpus:4;mem:4096", hostname="agent-host"):
        super().__init__(id, master)
        self.agent_id = ""
        self.total = total
        self.hostname = hostname
        self.answers_pings = True
        self.pings = []

    def initialize(self):
        super().initialize()
        self.install(internal.PingSlaveMessage, self._on_ping)

    def _on_ping(self, sender, message):
        self.pings.append((sender.id, message.connected))
        if self.answers_pings:
            self.send(sender, internal.PongSlaveMessage())

    def _keep(self, sender, message):
        super()._keep(sender, message)
        if isinstance(message, internal.SlaveRegisteredMessage):
            self.agent_id = message.slave_id.value

    def slave_info(self):
        info = mesos.SlaveInfo(
            hostname=self.hostname, resources=resources(self.total), checkpoint=True, port=5051
        )
        if self.agent_id:
            info.id.value = self.agent_id
        return info

    def register(self, version="1.11.0"):
        message = internal.RegisterSlaveMessage(slave=self.slave_info(), version=version)
        message.slave.ClearField("id")
        message.resource_version_uuid.value = b"v" * 16
        for capability in AGENT_CAPABILITIES:
            message.agent_capabilities.add(type=capability)
        self.send(self.master, message)

    def reregister(self, tasks=(), frameworks=(), executors=()):
        message = internal.ReregisterSlaveMessage(
            slave=self.slave_info(),
            version="1.11.0",
            tasks=tasks,
            frameworks=frameworks,
            executor_infos=executors,
        )
        message.resource_version_uuid.value = b"w" * 16
        for capability in AGENT_CAPABILITIES:
            message.agent_capabilities.add(type=capability)
        self.send(self.master, message)

    def run(self, index=-1):
        """The task of a received launch, as the agent would report it."""
        launch = self.of(internal.RunTaskMessage)[index]
        task = mesos.Task(
            name=launch.task.name,
            task_id=launch.task.task_id,
            framework_id=launch.framework.id,
            slave_id=mesos.SlaveID(value=self.agent_id),
            state=mesos.TASK_RUNNING,
            resources=launch.task.resources,
        )
        if launch.task.HasField("executor"):
            task.executor_id.CopyFrom(launch.task.executor.executor_id)
        return task

    def update(self, framework_id, task_id, state, *, uuid=None, latest=None, executor_id=None):
        """Send a status update; returns its uuid."""
        value = mesos.TaskState.Value(state)
        uuid = (task_id + state).encode()[:16].ljust(16, b"-") if uuid is None else uuid
        message = internal.StatusUpdateMessage(pid=str(self.pid))
        update = message.update
        update.framework_id.value = framework_id
        update.slave_id.value = self.agent_id
        update.status.task_id.value = task_id
        update.status.slave_id.value = self.agent_id
        update.status.state = value
        update.status.source = mesos.TaskStatus.SOURCE_EXECUTOR
        update.status.timestamp = update.timestamp = self.clock.now_s()
        update.latest_state = value if latest is None else mesos.TaskState.Value(latest)
        update.status.container_status.executor_pid = 77
        if executor_id is not None:
            update.executor_id.value = executor_id
        if uuid:
            update.uuid = uuid
        self.send(self.master, message)
        return uuid


def check_books(core):
    """The master and its allocator agree on who holds what, and on what is left."""
    core.check_invariants()
    state = core.state
    for agent in state.agents.registered:
        assert state.allocator.free(agent.agent_id) == state.free_on(agent)


class World:
    """One master, and what the test adds to it; every peer has a runtime of its own."""

    def __init__(self, network, clock, runtime, master):
        self.network = network
        self.clock = clock
        self.runtime = runtime
        self.master = master
        self.peers = {}
        self._next_host = 10

    @property
    def core(self):
        return self.master.core

    @property
    def state(self):
        return self.core.state

    async def settle(self):
        """Let everything happen that can happen now, then look at the master."""
        await self.advance(0.0)

    async def operate(self, call):
        """Carry out an operator's call; returns its status and text."""
        future = asyncio.ensure_future(self.master.operate(call))
        await self.settle()
        answer = future.result()
        return answer.status, answer.text

    async def advance(self, delta_s):
        await self.clock.advance(delta_s)
        self.check()

    def check(self):
        """The master is still there, and its books are right."""
        assert self.master in self.runtime.processes(), "the master has ended"
        check_books(self.core)

    async def add(self, peer):
        """Give a fake its own runtime and start it."""
        runtime = Runtime(
            self.network.transport(f"10.0.0.{self._next_host}", 5051), clock=self.clock, seed=1
        )
        self._next_host += 1
        await runtime.start()
        runtime.spawn(peer)
        self.peers[peer] = runtime
        await self.settle()
        return peer

    async def restart(self, peer, replacement):
        """End a fake and put another one at the same address."""
        address = self.peers[peer].address
        await self.stop(peer)
        ip, _, port = str(address).partition(":")
        runtime = Runtime(self.network.transport(ip, int(port)), clock=self.clock, seed=1)
        await runtime.start()
        runtime.spawn(replacement)
        self.peers[replacement] = runtime
        await self.settle()
        return replacement

    async def stop(self, peer):
        """The peer's host disappears: its links break."""
        await self.peers.pop(peer).stop()
        await self.settle()

    async def scheduler(self, name="scheduler-1", info=None, *, subscribe=True, **how):
        fake = await self.add(FakeScheduler(name, self.master.pid))
        if subscribe:
            fake.subscribe(info, **how)
            await self.settle()
        return fake

    async def agent(self, **how):
        fake = await self.add(FakeAgent("slave(1)", self.master.pid, **how))
        fake.register()
        await self.settle()
        assert fake.agent_id
        return fake

    async def launch(self, scheduler_, agent, task_id, text="cpus:1;mem:64", *, executor=None):
        """Accept the last offer with one task, and have the agent report it as running."""
        offer = scheduler_.offers[-1]
        scheduler_.accept([offer], [task_info(task_id, agent.agent_id, text, executor=executor)])
        await self.settle()
        agent.update(scheduler_.framework_id, task_id, "TASK_RUNNING", executor_id=executor)
        await self.settle()
        scheduler_.acknowledge(scheduler_.updates[-1])
        await self.settle()


@asynccontextmanager
async def master_world(**flags):
    """A running master with nothing around it yet."""
    network, clock = InProcessNetwork(), VirtualClock(START_S)
    config = MasterConfig(work_dir="/nowhere", hostname="master-host", **flags)
    runtime = Runtime(network.transport(MASTER_IP, 5050), clock=clock, seed=7)
    await runtime.start()
    master = Master(config, master_id="m")
    runtime.spawn(master)
    world = World(network, clock, runtime, master)
    await clock.settle()
    try:
        yield world
        world.check()
    finally:
        for peer in list(world.peers):
            await world.peers[peer].stop()
        await runtime.stop()


def pid_of(world, fake):
    return PID(fake.pid.id, fake.pid.ip, fake.pid.port)
