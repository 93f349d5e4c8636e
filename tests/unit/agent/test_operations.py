"""Operations on an agent's resources: single decisions, then laws over random stories."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.core.agent import operations as ops
from cluster.core.agent.operations import AgentOperations
from cluster.errors import InvalidInput
from cluster.model.agent_operations import (
    OperationArrived,
    OperationName,
    OperationsReconciled,
)
from cluster.model.conversions import own_conversion
from cluster.model.operations import (
    Create,
    Destroy,
    Grow,
    OperationState,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.resources import EMPTY, Resources
from cluster.model.volumes import PersistentVolume
from tests.unit.model.test_conversions import ADS, bundle, scalar, volume


def made(kind, *arguments):
    return own_conversion(kind(*arguments))


DECLARED = Resources.parse("cpus:4;disk:1000")
RESERVED = bundle(scalar("cpus", 1, ADS), scalar("disk", 300, ADS))
RESERVE = made(Reserve, RESERVED, EMPTY)
UNRESERVE = made(Unreserve, RESERVED)
CREATE = made(Create, bundle(volume(100)))
DESTROY = made(Destroy, bundle(volume(100)))
GROW = made(Grow, bundle(volume(100)), bundle(scalar("disk", 50, ADS)))
V = PersistentVolume("ads", "v", None)


def uuid(number):
    return bytes([number]) * 16


def arrived(number, conversion, *, error="", is_current=True, in_use=EMPTY, operation_id=None):
    name = OperationName(uuid(number), operation_id, None)
    return OperationArrived(name, conversion, error, is_current, in_use, f"payload {number}")


def new(*events, checkpointed=EMPTY, is_connected=True):
    numbers = itertools.count(100)
    core = AgentOperations(
        declared=DECLARED, checkpointed=checkpointed, new_uuid=lambda: uuid(next(numbers))
    )
    if is_connected:
        feed(core, ops.ForwardingResumed())
    feed(core, *events)
    return core


def feed(core, *events):
    effects = []
    for event in events:
        effects = core.handle(event, 0.0)
        core.check_invariants()
    return effects


def carry_out(core, event):
    """Feed an operation and its checkpoint; return the record told and the state written."""
    (order,) = feed(core, event)
    sent, retry = feed(core, order.then)
    assert retry == ops.StartRetry(event.name.uuid, retry.generation, ops.RETRY_DELAY_S)
    return sent.record, order.state


def test_nothing_is_told_before_it_is_durable():
    core = new()
    (order,) = feed(core, arrived(1, RESERVE))
    assert isinstance(order, ops.Checkpoint)
    assert order.state.resources == RESERVED
    assert [record.name.uuid for record in order.state.operations] == [uuid(1)]
    assert core.total == RESERVE.of(DECLARED)
    sent, _ = feed(core, order.then)
    assert sent.record.state is OperationState.FINISHED
    assert sent.record.status_uuid == uuid(100)
    assert sent.record.payload == "payload 1"


def test_volumes_are_made_and_deleted_with_the_checkpoint():
    core = new()
    _, reserved = carry_out(core, arrived(1, RESERVE))
    _, created = carry_out(core, arrived(2, CREATE))
    _, grown = carry_out(core, arrived(3, GROW))
    shrunk = carry_out(core, arrived(4, made(Shrink, bundle(volume(150)), 50_000)))[1]
    _, destroyed = carry_out(core, arrived(5, DESTROY))
    changes = [
        (state.created, state.removed) for state in (reserved, created, grown, shrunk, destroyed)
    ]
    assert changes == [((), ()), ((V,), ()), ((), ()), ((), ()), ((), (V,))]
    assert carry_out(core, arrived(6, UNRESERVE))[1].resources == EMPTY
    assert core.total == DECLARED


FAILURES = [
    ("out of date", arrived(2, RESERVE, is_current=False), "DROPPED", "changed since"),
    ("broken", arrived(2, None, error="create.volumes[0]: no"), "FAILED", "create.volumes[0]: no"),
    ("not there", arrived(2, UNRESERVE), "FAILED", "do not contain"),
    (
        "volume in use",
        arrived(2, DESTROY, in_use=bundle(volume(100)).allocated_to("ads")),
        "FAILED",
        "hold",
    ),
    ("grown in use", arrived(2, GROW, in_use=bundle(volume(100))), "FAILED", "hold"),
    (
        "same id",
        arrived(2, made(Create, bundle(volume(20)))),
        "FAILED",
        "another one of its role has this id",
    ),
]


@pytest.mark.parametrize(
    ("event", "state", "text"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES]
)
def test_what_cannot_be_done_changes_nothing(event, state, text):
    kept_before = bundle(scalar("disk", 200, ADS), volume(100))
    core = new(checkpointed=kept_before)
    record, kept = carry_out(core, event)
    assert record.state.name == state
    assert text in record.text
    assert kept.resources == core.checkpointed == kept_before
    assert (kept.created, kept.removed) == ((), ())


def test_other_things_in_use_do_not_stand_in_the_way():
    core = new(checkpointed=bundle(scalar("disk", 200, ADS), volume(100)))
    # More cpus than there are: generated executors take theirs on top.
    in_use = Resources.parse("cpus:9") + bundle(scalar("disk", 50, ADS))
    record, _ = carry_out(core, arrived(1, DESTROY, in_use=in_use))
    assert record.state is OperationState.FINISHED


def test_told_again_and_again_until_acknowledged():
    core = new()
    (order,) = feed(core, arrived(1, RESERVE))
    _, retry = feed(core, order.then)
    delays = [retry.delay_s]
    for _ in range(8):
        sent, retry = feed(core, ops.RetryElapsed(uuid(1), retry.generation))
        assert sent.record.name.uuid == uuid(1)
        delays.append(retry.delay_s)
    assert delays == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert isinstance(feed(core, ops.StatusAcknowledged(uuid(1), b"x"))[0], ops.Ignored)
    cancel, order = feed(core, ops.StatusAcknowledged(uuid(1), uuid(100)))
    assert cancel == ops.CancelRetry(uuid(1))
    assert order.state.operations == ()
    assert order.state.resources == RESERVED
    assert order.then is None
    assert core.unacknowledged == ()
    assert feed(core, ops.RetryElapsed(uuid(1), retry.generation)) == []
    assert isinstance(feed(core, ops.StatusAcknowledged(uuid(1), uuid(100)))[0], ops.Ignored)


def test_without_a_master_everything_waits():
    core = new(is_connected=False)
    (order,) = feed(core, arrived(1, RESERVE))
    assert feed(core, order.then) == []
    sent, _ = feed(core, ops.ForwardingResumed())
    assert sent.record.name.uuid == uuid(1)
    assert feed(core, ops.ForwardingPaused()) == [ops.CancelRetry(uuid(1))]
    (order,) = feed(core, arrived(2, UNRESERVE))
    sent, _ = feed(core, ops.ForwardingResumed())  # the second is not durable yet
    assert sent.record.name.uuid == uuid(1)
    sent, _ = feed(core, order.then)
    assert sent.record.name.uuid == uuid(2)


def test_a_repeated_operation_is_carried_out_once():
    core = new(arrived(1, RESERVE))
    assert isinstance(feed(core, arrived(1, RESERVE))[0], ops.Ignored)
    assert core.checkpointed == RESERVED


def test_unknown_operations_are_told_to_be_dropped():
    core = new(arrived(1, RESERVE))
    names = (OperationName(uuid(1), None, None), OperationName(uuid(2), "mine", "fw"))
    (answer,) = feed(core, OperationsReconciled(names))
    assert answer.record.state is OperationState.DROPPED
    assert answer.record.name == names[1]
    assert answer.record.status_uuid is None
    assert len(core.unacknowledged) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(ops, "UNACKNOWLEDGED_MAX", 2)
    core = new(arrived(1, RESERVE), arrived(2, UNRESERVE))
    (answer,) = feed(core, arrived(3, RESERVE))
    assert answer.record.state is OperationState.DROPPED
    assert answer.record.status_uuid is None
    assert core.total == DECLARED


def test_a_legacy_master_tells_everything_at_once():
    core = new()
    (order,) = feed(core, ops.ResourcesReplaced(bundle(volume(100)), EMPTY))
    assert order.state.created == (V,)
    assert order.then is None
    (ignored,) = feed(core, ops.ResourcesReplaced(EMPTY, bundle(volume(100))))
    assert "in use" in ignored.why
    (ignored,) = feed(core, ops.ResourcesReplaced(bundle(volume(5000)), EMPTY))
    assert "cannot be made" in ignored.why
    (order,) = feed(core, ops.ResourcesReplaced(EMPTY, EMPTY))
    assert order.state.removed == (V,)
    assert core.total == DECLARED


def test_remembered_resources_must_fit():
    with pytest.raises(InvalidInput, match="cannot be made of what the agent declares"):
        new(checkpointed=bundle(scalar("cpus", 5, ADS)))


def test_what_a_launch_needs_and_is_not_here():
    core = new(checkpointed=bundle(scalar("cpus", 1, ADS), volume(100)))
    wanted = bundle(scalar("cpus", 2), scalar("cpus", 1, ADS), volume(100)).allocated_to("ads")
    assert core.unknown_part(wanted) == EMPTY
    assert core.unknown_part(bundle(scalar("cpus", 2, ADS))) == bundle(scalar("cpus", 2, ADS))
    assert core.unknown_part(bundle(volume(99))) == bundle(volume(99))


class Stories(RuleBasedStateMachine):
    """Operations, acknowledgements, losses of the master in any order."""

    def __init__(self):
        super().__init__()
        self.core = new()
        self.numbers = itertools.count(1)
        self.orders = []
        self.timers = {}
        self.written = EMPTY

    def take(self, effects):
        for effect in effects:
            match effect:
                case ops.Checkpoint():
                    self.orders.append(effect)
                case ops.StartRetry():
                    self.timers[effect.uuid] = effect.generation
                case ops.CancelRetry():
                    self.timers.pop(effect.uuid)
                case ops.SendStatus(record=record):
                    assert record.name.uuid in self.durable

    @property
    def durable(self):
        waiting = {order.then.uuid for order in self.orders if order.then is not None}
        return {r.name.uuid for r in self.core.unacknowledged} - waiting

    @rule(which=st.sampled_from([RESERVE, UNRESERVE, CREATE, DESTROY, GROW]), uses=st.booleans())
    def operate(self, which, uses):
        in_use = bundle(volume(100)) if uses else EMPTY
        event = replace(arrived(0, which, in_use=in_use))
        name = OperationName(next(self.numbers).to_bytes(16, "big"), None, None)
        self.take(self.core.handle(replace(event, name=name), 0.0))

    @rule()
    def write(self):
        if self.orders:
            order = self.orders.pop(0)
            self.written = order.state.resources
            if order.then is not None:
                self.take(self.core.handle(order.then, 0.0))

    @rule()
    def acknowledge(self):
        for record in self.core.unacknowledged[:1]:
            event = ops.StatusAcknowledged(record.name.uuid, record.status_uuid)
            self.take(self.core.handle(event, 0.0))

    @rule()
    def retry(self):
        for name, generation in list(self.timers.items())[:1]:
            self.take(self.core.handle(ops.RetryElapsed(name, generation), 0.0))

    @rule(is_there=st.booleans())
    def master(self, is_there):
        event = ops.ForwardingResumed() if is_there else ops.ForwardingPaused()
        self.take(self.core.handle(event, 0.0))

    @invariant()
    def nothing_is_lost(self):
        self.core.check_invariants()
        assert self.core.total.quantities() == DECLARED.quantities()
        if not self.orders:
            assert self.written == self.core.checkpointed


TestStories = Stories.TestCase
TestStories.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
