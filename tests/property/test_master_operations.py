"""Random operations of frameworks and operators, and agents that follow, refuse or forget them.

After each event the books of master and allocator are compared (``check_books``), and no operation
makes or loses a single thousandth of anything: reserving and making volumes only renames.
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.master.effects import AnswerOperator, SendApplyOperation, SendRunTask
from cluster.core.master.events import (
    AgentPingsMissed,
    AgentUpdateReceived,
    AllocationIntervalElapsed,
    OperationStatusReceived,
    OperatorCallReceived,
    PeerLost,
    SubscribeReceived,
)
from cluster.model.agents import AgentNews
from cluster.model.calls import (
    Accept,
    AcknowledgeOperation,
    ChangeResources,
    Launch,
    ReconcileOperations,
    Subscribe,
    Teardown,
)
from cluster.model.conversions import taken
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.operations import (
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationReport,
    OperationState,
    OperationStatus,
    OperationUpdate,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.operator_calls import (
    CreateVolumes,
    DestroyVolumes,
    GrowVolume,
    ReserveResources,
    ShrinkVolume,
    UnreserveResources,
)
from cluster.model.peers import PeerId
from cluster.model.resources import DiskSourceType, Resources
from tests.unit.master.core_harness import AGENT, Harness, framework_spec, task_spec
from tests.unit.master.ledger_allocator import LedgerAllocator
from tests.unit.master.operation_values import marked, provided, reserved, volume

SCHEDULERS = [PeerId(f"scheduler-{n}@10.0.0.20:{n}") for n in (1, 2)]
DECLARED = (
    Resources.parse("cpus:4;mem:64;disk:40;ports:[1-9]")
    + reserved("disk:30")
    + volume(10, "z")
    + volume(5, "s", shared=True)
)
DISKS = provided(5, profile="x") + provided(7, kind=DiskSourceType.MOUNT, id="made")
NAMES = ("v", "w")
RESERVED = ("cpus:1", "disk:10", "cpus:0.3;disk:3", "ports:[2-4]", "mem:1;ports:[4-6]")
AGENT_ID = AgentId("m-S0")
CAPABILITIES = frozenset(FrameworkCapability) - {FrameworkCapability.PARTITION_AWARE}


def quantities(resources):
    """How much there is of each, whatever it is called; a shared volume is there once."""
    return {
        **resources.quantities(),
        "ports": sum(entry.size() for entry in resources if entry.name == "ports"),
    }


class Story:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        allocator = self.rng.choice((None, LedgerAllocator()))
        self.harness = Harness(allocator)
        self.tasks = 0
        self.ended = {}
        for peer in SCHEDULERS:
            self._subscribe(peer)
        self.harness.register(total=DECLARED + DISKS)
        self.harness.write()
        self.expected = quantities(DECLARED + DISKS)

    @property
    def agent(self):
        return self.harness.state.agents.registered_or_none(AGENT_ID)

    def step(self):
        self.harness.now_s += self.rng.choice((0.0, 0.1, 1.0, 6.0))
        self.rng.choice(
            (
                self._accept,
                self._accept,
                self._accept,
                self._answer,
                self._answer,
                self._operate,
                self._allocate,
                self._allocate,
                self._finish_task,
                self._ask,
                self._tell,
                self._lose,
            )
        )()
        if self.agent is not None:
            # Oversubscribed resources come on top.
            firm = self.agent.total.where(lambda identity: not identity.is_revocable)
            assert quantities(firm) == self.expected

    def _subscribe(self, peer, framework_id=None):
        spec = framework_spec(
            framework_id, roles=self.rng.choice((("a",), ("a", "b"))), capabilities=CAPABILITIES
        )
        self.harness.feed(
            SubscribeReceived(
                peer, Subscribe(spec, True, frozenset(), has_feedback=self.rng.random() < 0.7)
            )
        )

    def _allocate(self):
        self.harness.feed(AllocationIntervalElapsed())
        self.harness.allocate()

    # What is ordered -----------------------------------------------------------------------------

    def _some(self, whole, wanted):
        """One of the entries that fit, or something that is not there at all."""
        found = [Resources([entry]) for entry in whole if wanted(entry)]
        return self.rng.choice(found) if found and self.rng.random() < 0.9 else volume(3)

    def _change(self, around, role):
        """A change that may fit what is there, or not."""
        pick = self.rng.choice

        def is_volume(entry):
            return entry.disk is not None and entry.disk.persistence is not None

        def is_reserved(entry):
            return bool(entry.reservations) and not is_volume(entry)

        some_volume = self._some(around, is_volume)
        match pick(
            ("reserve", "reserve", "unreserve", "create", "create", "destroy", "size", "disk")
        ):
            case "reserve":
                return Reserve(reserved(pick(RESERVED), role))
            case "unreserve":
                return Unreserve(self._some(around, is_reserved))
            case "create":
                shared = self.rng.random() < 0.5
                return Create(volume(pick((1, 2, 10)), pick(NAMES), role=role, shared=shared))
            case "destroy":
                return Destroy(some_volume)
            case "size":
                one = self._some(around, lambda e: is_volume(e) and not e.identity.is_shared)
                grow = Grow(one, reserved(pick(("disk:1", "disk:2")), role))
                return pick((grow, Shrink(one, pick((500, 1000)))))
            case _:
                source = self._some(around, lambda entry: entry.identity.provider_id is not None)
                return pick((CreateDisk(source, DiskSourceType.MOUNT), DestroyDisk(source)))

    def _task(self, around):
        self.tasks += 1
        used = Resources.parse(self.rng.choice(("cpus:0.5", "cpus:1;ports:[3-3]")))
        if self.rng.random() < 0.6:
            used = used + self._some(around, lambda entry: entry.name == "disk")
        return task_spec(f"t{self.tasks}", AGENT_ID, resources=used)

    def _accept(self):
        offers = list(self.harness.state.offers.of_agent(AGENT_ID))
        if not offers:
            return
        first = self.rng.choice(offers)
        mine = [o for o in offers if (o.framework_id, o.role) == (first.framework_id, first.role)]
        around = self.agent.total
        orders = []
        for _ in range(self.rng.randint(1, 4)):
            if self.rng.random() < 0.4:
                orders.append(
                    Launch(tuple(self._task(around) for _ in range(self.rng.randint(1, 2))))
                )
            else:
                name = self.rng.choice((None, None, "x", "y"))
                orders.append(ChangeResources(self._change(around, first.role), name))
        ids = [o.offer_id for o in mine]
        if self.rng.random() < 0.05:
            ids.append(OfferId("no"))
        self._call(
            first.framework_id,
            Accept(tuple(ids), tuple(orders), self.rng.choice((0.0, 5.0, -1.0))),
        )

    def _call(self, framework_id, call):
        framework = self.harness.state.frameworks.get(framework_id)
        if framework is not None and framework.peer is not None:
            self.harness.call(call, framework_id, framework.peer)

    def _operate(self):
        if self.agent is None:
            return
        change = self._change(self.agent.total, self.rng.choice(("a", "c")))
        match change:
            case Reserve(resources, source):
                call = ReserveResources(AGENT_ID, resources, source)
            case Unreserve(resources):
                call = UnreserveResources(AGENT_ID, resources)
            case Create(volumes):
                call = CreateVolumes(AGENT_ID, volumes)
            case Destroy(volumes):
                call = DestroyVolumes(AGENT_ID, volumes)
            case Grow(value, addition):
                call = GrowVolume(AGENT_ID, value, addition)
            case Shrink(value, subtract_milli):
                call = ShrinkVolume(AGENT_ID, value, subtract_milli)
            case _:
                return
        effects = self.harness.feed(OperatorCallReceived(1, call))
        [answer] = [e for e in effects if isinstance(e, AnswerOperator)]
        assert answer.status in (202, 400, 409)

    # What becomes of it --------------------------------------------------------------------------

    def _answer(self):
        """The agent says something of an operation: true, false or for the second time."""
        orders = self.harness.of(SendApplyOperation)
        if not orders:
            return
        order = self.rng.choice(orders[-6:])
        state = self.rng.choice((OperationState.FINISHED, OperationState.FINISHED, *OperationState))
        converted = Resources()
        if isinstance(order.change, CreateDisk | DestroyDisk):
            converted = taken(order.change)  # a provider renames what it has, too
        status = OperationStatus(
            state,
            operation_id=order.operation_id,
            converted=converted,
            uuid=self.rng.choice((None, b"s")),
        )
        self.harness.feed(
            OperationStatusReceived(
                AGENT, OperationUpdate(AGENT_ID, order.uuid, status, order.framework_id)
            )
        )

    def _finish_task(self):
        tasks = self.harness.state.tasks.of_agent(AGENT_ID)
        if tasks:
            task = self.rng.choice(tasks)
            self.harness.update(task.task_id, "FINISHED", framework_id=task.framework_id, uuid=None)

    def _ask(self):
        framework_id = self.rng.choice(
            [f.framework_id for f in self.harness.state.frameworks] or ["-"]
        )
        name = self.rng.choice(("x", "y"))
        self._call(
            FrameworkId(framework_id),
            self.rng.choice(
                (
                    AcknowledgeOperation(name, b"s"),
                    AcknowledgeOperation(name, b"s"),
                    ReconcileOperations(()),
                    ReconcileOperations(((name, AGENT_ID), ("no", None))),
                )
            ),
        )

    def _tell(self):
        """The agent lists its operations, some of which nobody ever ordered."""
        known = [
            OperationReport(
                record.uuid,
                record.change,
                record.status,
                record.framework_id,
                record.operation_id,
                record.role,
            )
            for record in self.harness.state.operations.of_agent(AGENT_ID)
            if self.rng.random() < 0.7
        ]
        if self.rng.random() < 0.3:
            status = OperationStatus(
                self.rng.choice((OperationState.PENDING, OperationState.FAILED))
            )
            source = self.rng.choice(list(DISKS))
            change = DestroyDisk(Resources([source]))
            uuid = self.rng.randbytes(16)
            known.append(OperationReport(uuid, change, status, FrameworkId("m-0000"), "x", "a"))
        oversubscribed = self.rng.choice(
            (None, None, Resources(), marked(Resources.parse("cpus:2"), is_revocable=True))
        )
        self.harness.feed(
            AgentUpdateReceived(
                AGENT,
                AGENT_ID,
                AgentNews(operations=tuple(known), oversubscribed=oversubscribed),
            )
        )

    def _lose(self):
        rare = self.rng.random()
        if rare < 0.5:
            framework = self.rng.choice(list(self.harness.state.frameworks) or [None])
            if framework is not None and rare < 0.1:
                self._call(framework.framework_id, Teardown())
            elif framework is not None and framework.peer is not None:
                self.harness.feed(PeerLost(framework.peer))
                self._subscribe(framework.peer, framework.framework_id)
        elif rare < 0.7 and self.agent is not None:
            self._return()
        elif len(list(self.harness.state.frameworks)) < 2:
            self._subscribe(self.rng.choice(SCHEDULERS))

    def _return(self):
        """The agent comes back with what the books say it has, or as it was at the beginning."""
        total = self.agent.total.where(lambda identity: not identity.is_revocable)
        if self.rng.random() < 0.3:
            self.harness.feed(AgentPingsMissed(AGENT_ID))
            self.harness.write()
            total = DECLARED + DISKS
        firm = total.where(lambda identity: identity.provider_id is None)
        providers = total.where(lambda identity: identity.provider_id is not None)
        known = self.harness.state.agents.registered_or_none(AGENT_ID)
        self.harness.reregister(agent_id=AGENT_ID, total=firm if known else firm + providers)
        while self.harness.pending_writes:
            self.harness.write()


@settings(max_examples=80, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_operations_only_rename(seed):
    story = Story(seed)
    for _ in range(60):
        story.step()


def test_the_stories_reach_what_they_are_about():
    """Every kind of change is carried out at least once, and launched upon."""
    kinds, launched, statuses = set(), 0, set()
    for seed in range(30):
        story = Story(seed)
        for _ in range(80):
            story.step()
        kinds |= {type(e.change) for e in story.harness.of(SendApplyOperation)}
        launched += sum(
            any(r.disk is not None for r in e.task.resources) for e in story.harness.of(SendRunTask)
        )
        statuses |= {o.state for o in story.harness.state.operations.completed}
    assert kinds == {Reserve, Unreserve, Create, Destroy, Grow, Shrink, CreateDisk, DestroyDisk}
    assert launched > 20
    assert len(statuses) >= 5
