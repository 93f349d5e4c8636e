"""ACCEPT with operations on resources: what is converted, returned, told and refused.

The allocator is a ledger without a policy: after every event the master's books are compared with
it (``check_books``).
"""

from dataclasses import replace

import pytest

from cluster.core.allocator.events import ResourcesConverted, ResourcesRecovered
from cluster.core.master.effects import (
    SendApplyOperation,
    SendCheckpointResources,
    SendOperationStatus,
    SendReport,
    SendRescind,
    SendRunTask,
    Warn,
)
from cluster.core.master.events import AllocationIntervalElapsed, SubscribeReceived
from cluster.model.agents import AgentCapability
from cluster.model.calls import Accept, ChangeResources, Launch, Subscribe
from cluster.model.conversions import unreserved_once, without_volume
from cluster.model.frameworks import FrameworkCapability
from cluster.model.operations import (
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationState,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.resources import (
    DiskSource,
    DiskSourceType,
    Reservation,
    ReservationType,
    Resources,
)
from tests.unit.master.core_harness import SCHEDULER, Harness, framework_spec, task_spec
from tests.unit.master.ledger_allocator import LedgerAllocator
from tests.unit.master.operation_values import provided, reserved, volume

ALL_CAPABILITIES = frozenset(FrameworkCapability) - {FrameworkCapability.PARTITION_AWARE}


def change(what, **how):
    return ChangeResources(what, **how)


class Cluster:
    """One agent, one framework in role ``a`` with feedback, and what is on offer to it."""

    def __init__(self, text="cpus:4;mem:4096;disk:1000", *, feedback=True, agent=None, **spec):
        self.ledger = LedgerAllocator()
        self.harness = Harness(self.ledger)
        spec = {"roles": ("a",), "capabilities": ALL_CAPABILITIES, **spec}
        self.harness.feed(
            SubscribeReceived(
                SCHEDULER,
                Subscribe(framework_spec(**spec), False, frozenset(), has_feedback=feedback),
            )
        )
        self.harness.register(text=text, **(agent or {}))
        self.harness.write()

    @property
    def agent(self):
        return self.harness.state.agents.get("m-S0")

    @property
    def total(self):
        return self.agent.total

    def offers(self):
        self.harness.feed(AllocationIntervalElapsed())
        self.harness.allocate()
        return self.harness.state.offers.of_agent("m-S0")

    def accept(self, *operations, refuse_s=5.0):
        """Use everything on offer; returns the effects of the call alone."""
        offers = self.offers()
        assert offers
        calls = tuple(
            operation if isinstance(operation, ChangeResources | Launch) else change(operation)
            for operation in operations
        )
        self.ledger.events.clear()
        return self.harness.call(Accept(tuple(o.offer_id for o in offers), calls, refuse_s))

    def recovered(self):
        return [
            (e.resources, e.refuse_s)
            for e in self.ledger.events
            if isinstance(e, ResourcesRecovered)
        ]

    def have(self, *changes):
        """Make a state by operations that succeed."""
        for one in changes:
            effects = self.accept(one)
            assert of(effects, SendApplyOperation), effects


def of(effects, effect_type):
    return [effect for effect in effects if isinstance(effect, effect_type)]


def states(effects):
    return [effect.status.state for effect in of(effects, SendOperationStatus)]


TEXT = "cpus:4;mem:4096;disk:1000"


def test_a_reservation_is_counted_on_at_once():
    cluster = Cluster()
    effects = cluster.accept(Reserve(reserved("cpus:1")))
    [order] = of(effects, SendApplyOperation)
    assert (order.framework_id, order.role, order.resource_version) == ("m-0000", "a", b"v")
    assert order.change == Reserve(reserved("cpus:1"))
    assert len(order.uuid) == 16
    assert order.uuid[6] >> 4 == 4  # a random uuid says so
    assert cluster.total == Resources.parse("cpus:3;mem:4096;disk:1000") + reserved("cpus:1")
    # What was converted comes back unrefused, the rest with the filter of the call.
    assert cluster.recovered() == [
        (reserved("cpus:1"), None),
        (Resources.parse("cpus:3;mem:4096;disk:1000"), 5.0),
    ]
    [offer] = cluster.offers()
    assert offer.resources == cluster.total


def test_later_operations_use_what_earlier_ones_made():
    cluster = Cluster()
    task = task_spec("t", text="mem:64", resources=reserved("cpus:1") + volume(100))
    effects = cluster.accept(
        Reserve(reserved("cpus:1;disk:300")),
        Create(volume(100)),
        Launch((task,)),
        Unreserve(reserved("disk:150")),
        refuse_s=1.0,
    )
    assert [type(o.change) for o in of(effects, SendApplyOperation)] == [Reserve, Create, Unreserve]
    assert of(effects, SendRunTask)
    assert cluster.recovered() == [
        (reserved("disk:50"), None),
        (Resources.parse("cpus:3;mem:4096;disk:850"), 1.0),
    ]
    assert cluster.total == (
        Resources.parse("cpus:3;mem:4096;disk:850") + reserved("cpus:1;disk:50") + volume(100)
    )


def test_the_order_of_operations_counts():
    cluster = Cluster()
    effects = cluster.accept(
        change(Create(volume(100)), operation_id="early"), Reserve(reserved("disk:100"))
    )
    [status] = [effect.status for effect in of(effects, SendOperationStatus)]
    assert (status.state, status.operation_id) == (OperationState.ERROR, "early")
    assert "is more than the available" in status.message
    assert [type(o.change) for o in of(effects, SendApplyOperation)] == [Reserve]


def test_every_speculative_change_and_back():
    cluster = Cluster()
    before = cluster.total
    steps = [
        (Reserve(reserved("disk:400")), Resources.parse("disk:600") + reserved("disk:400")),
        (Create(volume(100)), Resources.parse("disk:600") + reserved("disk:300") + volume(100)),
        (
            Grow(volume(100), reserved("disk:50")),
            Resources.parse("disk:600") + reserved("disk:250") + volume(150),
        ),
        (
            Shrink(volume(150), 30_000),
            Resources.parse("disk:600") + reserved("disk:280") + volume(120),
        ),
        (Destroy(volume(120)), Resources.parse("disk:600") + reserved("disk:400")),
        (Unreserve(reserved("disk:400")), Resources.parse("disk:1000")),
    ]
    for step, disks in steps:
        [order] = of(cluster.accept(step), SendApplyOperation)
        assert order.change == step
        assert cluster.total == Resources.parse("cpus:4;mem:4096") + disks
    assert cluster.total == before


def test_refinement_lies_on_the_reservation_below():
    cluster = Cluster("cpus(a):4", roles=("a/b",))
    refined = Resources(
        replace(
            e,
            identity=replace(
                e.identity,
                reservations=(Reservation("a"), Reservation("a/b", ReservationType.DYNAMIC)),
            ),
        )
        for e in Resources.parse("cpus:1")
    )
    cluster.have(Reserve(refined))
    assert cluster.total == Resources.parse("cpus(a):3") + refined
    cluster.have(Unreserve(refined))
    assert cluster.total == Resources.parse("cpus(a):4")


def test_a_mount_disk_becomes_a_volume_whole_and_keeps_its_source():
    source = DiskSource(DiskSourceType.MOUNT, "/mnt/1")
    made = volume(1000, source=source)
    disk = without_volume(made)
    cluster = Cluster("cpus:1", agent={"total": unreserved_once(disk) + Resources.parse("cpus:1")})
    cluster.have(Reserve(disk), Create(made))
    assert cluster.total == Resources.parse("cpus:1") + made
    cluster.have(Destroy(made))
    assert cluster.total == Resources.parse("cpus:1") + disk


def test_a_resized_volume_rests_until_the_end_of_the_call():
    cluster = Cluster()
    cluster.have(Reserve(reserved("disk:400")), Create(volume(100)))
    effects = cluster.accept(
        Grow(volume(100), reserved("disk:50")),
        Launch((task_spec("t", resources=Resources.parse("cpus:1;mem:64") + volume(150)),)),
        Destroy(volume(150)),
    )
    [report] = of(effects, SendReport)
    assert "was resized by the same call" in report.report.message
    assert [type(o.change) for o in of(effects, SendApplyOperation)] == [Grow]
    assert volume(150) in [Resources([entry]) for entry in cluster.total]


def test_a_used_volume_cannot_be_destroyed():
    cluster = Cluster()
    shared = volume(100, shared=True)
    cluster.have(Reserve(reserved("disk:400")), Create(shared))
    task = task_spec("t", resources=Resources.parse("cpus:1;mem:64") + shared)
    cluster.accept(Launch((task,)))
    effects = cluster.accept(change(Destroy(shared), operation_id="d"))
    [status] = [effect.status for effect in of(effects, SendOperationStatus)]
    assert status.message == ("DESTROY: destroy.volumes: persistent volume 'v' is in use")
    cluster.harness.update("t", "FINISHED")
    assert of(cluster.accept(Destroy(shared)), SendApplyOperation)
    assert cluster.total == Resources.parse("cpus:4;mem:4096;disk:600") + reserved("disk:400")


def test_a_shared_volume_is_used_as_often_as_one_likes():
    cluster = Cluster()
    shared = volume(100, shared=True)
    cluster.have(Reserve(reserved("disk:400")), Create(shared))
    tasks = tuple(
        task_spec(name, resources=Resources.parse("cpus:1;mem:64") + shared) for name in "tuv"
    )
    effects = cluster.accept(Launch(tasks))
    assert len(of(effects, SendRunTask)) == 3
    held = cluster.ledger.booked("m-0000", "a", "m-S0")
    assert held == sum([task.resources for task in tasks], start=Resources())
    assert cluster.total.minus_up_to(shared).contains(reserved("disk:300"))
    assert shared in [Resources([entry]) for entry in cluster.total]  # one copy, however often used


def test_destroying_a_shared_volume_rescinds_the_offers_of_others():
    cluster = Cluster()
    cluster.have(Reserve(reserved("disk:400")), Create(volume(100, shared=True)))
    spec = framework_spec(roles=("a",), capabilities=ALL_CAPABILITIES, name="other")
    cluster.harness.subscribe(spec, "scheduler-2@10.0.0.21:1")
    mine, theirs = cluster.offers()
    assert theirs.framework_id == "m-0001"
    effects = cluster.harness.call(
        Accept((mine.offer_id,), (change(Destroy(volume(100, shared=True))),), 5.0)
    )
    assert [r.offer_id for r in of(effects, SendRescind)] == [theirs.offer_id]
    assert of(effects, SendApplyOperation)


def test_without_feedback_a_refusal_is_only_logged():
    cluster = Cluster(feedback=False)
    effects = cluster.accept(change(Reserve(reserved("cpus:1")), operation_id="x"))
    assert not of(effects, SendApplyOperation)
    [warning] = of(effects, Warn)
    assert "operation.id: needs a framework with the HTTP API" in warning.text
    assert cluster.recovered() == [(Resources.parse(TEXT), 5.0)]


def test_operations_on_invalid_offers_are_answered():
    cluster = Cluster()
    effects = cluster.harness.call(
        Accept(
            ("nosuch",),
            (
                change(Reserve(reserved("cpus:1")), operation_id="x"),
                change(Reserve(reserved("cpus:1"))),
            ),
            5.0,
        )
    )
    assert states(effects) == [OperationState.ERROR]
    assert of(effects, SendOperationStatus)[0].status.message == (
        "Task launched with invalid offers: offer nosuch is no longer valid"
    )


def test_an_old_agent_gets_the_whole_list():
    cluster = Cluster(
        agent={"capabilities": frozenset(AgentCapability) - {AgentCapability.RESOURCE_PROVIDER}}
    )
    cluster.accept(Reserve(reserved("disk:300")))
    effects = cluster.accept(Create(volume(100)))
    [order] = of(effects, SendCheckpointResources)
    assert order.resources == reserved("disk:200") + volume(100)
    assert not of(effects, SendApplyOperation)
    assert not len(cluster.harness.state.operations)


@pytest.mark.parametrize(
    "change_",
    [
        CreateDisk(provided(id="d", profile="fast"), DiskSourceType.MOUNT),
        DestroyDisk(provided(id="d", profile="fast", kind=DiskSourceType.MOUNT)),
    ],
)
def test_disks_of_providers_stay_taken_until_the_provider_answers(change_):
    cluster = Cluster(agent={"total": Resources.parse("cpus:4;mem:64") + change_.source})
    effects = cluster.accept(change_, refuse_s=2.0)
    assert of(effects, SendApplyOperation)
    assert not [e for e in cluster.ledger.events if isinstance(e, ResourcesConverted)]
    assert cluster.recovered() == [(Resources.parse("cpus:4;mem:64"), 2.0)]
    assert cluster.ledger.booked("m-0000", "a", "m-S0") == change_.source


@pytest.mark.parametrize(
    ("operation", "lacks", "words"),
    [
        (change(Reserve(reserved("cpus:1")), role="b"), (), "the offers' role 'a', not to 'b'"),
        (
            change(CreateDisk(provided(id="d", profile="fast"), DiskSourceType.MOUNT)),
            (AgentCapability.RESOURCE_PROVIDER,),
            "agent m-S0 lacks RESOURCE_PROVIDER",
        ),
    ],
)
def test_what_the_order_itself_must_fulfil(operation, lacks, words):
    source = provided(id="d", profile="fast")
    total = Resources.parse("cpus:4;mem:64") + source
    capabilities = frozenset(AgentCapability).difference(lacks)
    cluster = Cluster(feedback=False, agent={"total": total, "capabilities": capabilities})
    effects = cluster.accept(operation)
    [warning] = of(effects, Warn)
    assert words in warning.text
    assert not of(effects, SendApplyOperation)
    assert cluster.recovered() == [(total, 5.0)]
