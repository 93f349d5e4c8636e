"""The master's core with its real allocator and no shell: events in, effects out.

Registry writes stay pending until ``write``; allocation runs until ``allocate``.
"""

import random

from cluster.core.allocator import AllocatorOptions, HierarchicalAllocator
from cluster.core.master.core import MasterCore
from cluster.core.master.effects import (
    AnswerOperator,
    RequestAllocationRun,
    SendOffers,
    WriteRegistry,
)
from cluster.core.master.events import (
    AllocationDue,
    CallReceived,
    OperatorCallReceived,
    RegistrationReceived,
    RegistryRecovered,
    RegistryWritten,
    ReregistrationReceived,
    StatusUpdateReceived,
    SubscribeReceived,
)
from cluster.core.master.state import MasterOptions
from cluster.model.agents import AgentCapability, AgentReport, AgentSpec
from cluster.model.calls import Subscribe
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import AgentId, FrameworkId, MasterId, TaskId
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState
from cluster.model.tasks import StatusUpdate, TaskReport, TaskSpec, TaskStatusNote
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import registry_pb2
from cluster.wire.resources import resources_to_pb
from tests.sim.master_world import check_books

AGENT = PeerId("slave(1)@10.0.0.10:5051")
SCHEDULER = PeerId("scheduler-1@10.0.0.20:1")


def agent_spec(text="cpus:4;mem:4096", **changes):
    parsed = Resources.parse(text)
    values = {
        "hostname": "host",
        "ip": "10.0.0.10",
        "checkpoint": True,
        "total": parsed,
        "version": "1.11.0",
        "capabilities": frozenset(AgentCapability),
        "resource_version": b"v",
        "payload": mesos.SlaveInfo(
            hostname="host", resources=resources_to_pb(parsed, refined=False)
        ),
    }
    return AgentSpec(**{**values, **changes})


def slave_info(agent_id, text="cpus:4;mem:4096"):
    """What the registry keeps of an agent with that id."""
    info = agent_spec(text).payload
    info.id.value = agent_id
    return info


def framework_spec(framework_id=None, *, aware=False, **changes):
    values = {
        "framework_id": framework_id,
        "name": "f",
        "user": "u",
        "roles": ("*",),
        "capabilities": frozenset({FrameworkCapability.PARTITION_AWARE} if aware else ()),
        "failover_timeout_s": 60.0,
        "checkpoint": True,
        "principal": None,
        "payload": None,
    }
    return FrameworkSpec(**{**values, **changes})


def task_spec(task_id="t", agent_id="m-S0", text="cpus:1;mem:64", **changes):
    values = {
        "task_id": TaskId(task_id),
        "agent_id": AgentId(agent_id),
        "resources": Resources.parse(text),
        "role": None,
        "executor": None,
        "has_limits": False,
        "defect": None,
        "info": task_id,
    }
    return TaskSpec(**{**values, **changes})


def task_report(task_id="t", framework_id="m-0000", state="RUNNING", text="cpus:1;mem:64"):
    return TaskReport(
        task_id=TaskId(task_id),
        framework_id=FrameworkId(framework_id),
        executor_id=None,
        state=TaskState[state],
        role="*",
        resources=Resources.parse(text),
        forwarded_state=None,
        forwarded_uuid=None,
        statuses=(),
        payload=None,
    )


def status_update(task_id="t", state="RUNNING", *, framework_id="m-0000", uuid=b"u"):
    return StatusUpdate(
        framework_id=FrameworkId(framework_id),
        agent_id=AgentId("m-S0"),
        task_id=TaskId(task_id),
        executor_id=None,
        state=TaskState[state],
        latest_state=None,
        uuid=uuid,
        note=TaskStatusNote(TaskState[state], None),
        payload="update",
    )


class RecordingAllocator(HierarchicalAllocator):
    """The real allocator, which also keeps what the master told it."""

    def __init__(self, options, rng):
        super().__init__(options, rng)
        self.told = []
        self.inverse = []

    def handle(self, event, now_s):
        self.told.append(event)
        super().handle(event, now_s)

    def inverse_offers(self, now_s):
        """What a test put into ``inverse``, once, before what the allocator decides itself."""
        given, self.inverse = self.inverse, []
        return [*given, *super().inverse_offers(now_s)]


class Harness:
    """Feeds events and collects effects; the books are checked after each event."""

    def __init__(self, allocator=None, **options):
        self.allocator = allocator or RecordingAllocator(AllocatorOptions(), random.Random(1))
        self.core = MasterCore(MasterId("m"), MasterOptions(**options), self.allocator)
        self.effects = []
        self.pending_writes = []
        self.is_run_due = False
        self.now_s = 1000.0
        self.requests = 0

    @property
    def state(self):
        return self.core.state

    def feed(self, event):
        """Returns the effects of this event alone."""
        effects = self.core.handle(event, self.now_s)
        for effect in effects:
            if isinstance(effect, WriteRegistry):
                self.pending_writes.append(effect)
            elif isinstance(effect, RequestAllocationRun):
                self.is_run_due = True
        self.effects += effects
        check_books(self.core)
        return effects

    def write(self):
        """Complete the oldest registry write."""
        write = self.pending_writes.pop(0)
        return self.feed(RegistryWritten(write.operation, write.request))

    def write_all(self):
        """Complete all registry writes, those that follow from others too."""
        effects = []
        while self.pending_writes:
            effects += self.write()
        return effects

    @property
    def pending_operations(self):
        return [write.operation for write in self.pending_writes]

    def recover(self, value=None, *, admitted=(), gone=()):
        """Start from a registry; ``admitted`` and ``gone`` are agent ids to put in."""
        value = value or registry_pb2.Registry()
        for agent_id in admitted:
            value.slaves.slaves.add().info.CopyFrom(slave_info(agent_id))
        for agent_id in gone:
            entry = value.gone.slaves.add()
            entry.id.value = agent_id
            entry.timestamp.nanoseconds = 1
        return self.feed(RegistryRecovered(value))

    def operate(self, call):
        """An operator's call, with the registry written; returns its one answer."""
        self.requests += 1
        effects = self.feed(OperatorCallReceived(self.requests, call))
        effects += self.write_all()
        (answer,) = [
            e for e in effects if isinstance(e, AnswerOperator) and e.request == self.requests
        ]
        return answer

    def allocate(self):
        """Carry out the run that is due; returns the offers made."""
        if not self.is_run_due:
            return []
        self.is_run_due = False
        effects = self.feed(AllocationDue())
        return [d.offer for e in effects if isinstance(e, SendOffers) for d in e.offers]

    def call(self, call, framework_id="m-0000", peer=SCHEDULER):
        return self.feed(CallReceived(peer, FrameworkId(framework_id), call))

    def subscribe(self, spec=None, peer=SCHEDULER, *, force=False, suppressed=(), constraints=None):
        subscribe = Subscribe(
            spec or framework_spec(), force, frozenset(suppressed), constraints=constraints
        )
        return self.feed(SubscribeReceived(peer, subscribe))

    def register(self, peer=AGENT, **changes):
        self.feed(RegistrationReceived(peer, agent_spec(**changes)))

    def reregister(
        self, tasks=(), frameworks=(), executors=(), *, agent_id="m-S0", peer=AGENT, **changes
    ):
        report = AgentReport(
            AgentId(agent_id),
            agent_spec(**changes),
            tuple(frameworks),
            tuple(tasks),
            tuple(executors),
        )
        return self.feed(ReregistrationReceived(peer, report))

    def update(self, *args, peer=AGENT, **kwargs):
        return self.feed(StatusUpdateReceived(peer, status_update(*args, **kwargs)))

    def told(self, *event_types):
        """What the allocator was told, of these kinds (or all); everything is forgotten then."""
        told = [event for event in self.allocator.told if isinstance(event, event_types or object)]
        self.allocator.told.clear()
        return told

    def of(self, effect_type):
        return [effect for effect in self.effects if isinstance(effect, effect_type)]
