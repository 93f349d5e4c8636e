"""Each recorded state meets each update, and each reason that a master gives is given.

What is expected is written from master.md §7, row by row, not read off the transition table.
"""

import itertools
from dataclasses import replace

import pytest

from cluster.core.master.effects import Forward, SendAcknowledgement, SendReport, Warn
from cluster.core.master.events import (
    AgentPingsMissed,
    FailoverTimedOut,
    PeerLost,
    StatusUpdateReceived,
)
from cluster.model.calls import Accept, Acknowledge, Launch, LaunchGroup, Reconcile, Teardown
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.operator_calls import MarkAgentAsGone
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason, UpdateSource
from cluster.model.tasks import ExecutorSpec
from cluster.wire import master as wire
from tests.unit.master.core_harness import (
    AGENT,
    SCHEDULER,
    Harness,
    framework_spec,
    status_update,
    task_report,
    task_spec,
)

FRAMEWORK = FrameworkId("m-0000")
TASK = TaskId("t")
A = AgentId("m-S0")

# master.md §7, column "terminal": what an agent or executor can report, and whether it ends.
OPEN = ("STAGING", "STARTING", "RUNNING", "KILLING")
ENDS = ("FINISHED", "FAILED", "KILLED", "ERROR", "LOST", "DROPPED", "GONE", "GONE_BY_OPERATOR")
MASTERS_OWN = ("UNREACHABLE", "UNKNOWN")


def launched(*, aware=False, checkpoint=True):
    """A framework with one task, of which nothing has been heard yet."""
    harness = Harness()
    harness.register()
    harness.write()
    harness.subscribe(framework_spec(aware=aware, checkpoint=checkpoint))
    (offer,) = harness.allocate()
    harness.call(Accept((offer.offer_id,), (Launch((task_spec(),)),), 3600.0))
    return harness


def with_state(recorded):
    """As above; the task is recorded in a state. STAGING is where every task begins."""
    harness = launched()
    if recorded != "STAGING":
        harness.update(state=recorded, uuid=b"before")
    assert task_of(harness).state.name == recorded
    return harness


def task_of(harness):
    return harness.state.tasks.get(FRAMEWORK, TASK)


def free(harness):
    return harness.state.allocator.free(A)


def told(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


ALL = Resources.parse("cpus:4;mem:4096")
REST = Resources.parse("cpus:3;mem:4032")

PAIRS = list(itertools.product((*OPEN, *ENDS), (*OPEN, *ENDS, *MASTERS_OWN)))


def recorded_after(recorded, reported):
    """Once terminal, always that; STAGING is recorded by the master alone."""
    if recorded in ENDS or reported == "STAGING" or reported in MASTERS_OWN:
        return recorded
    return reported


@pytest.mark.parametrize(("recorded", "reported"), PAIRS)
def test_update(recorded, reported):
    harness = with_state(recorded)
    was_free = free(harness)
    effects = harness.update(state=reported, uuid=b"now")

    task = task_of(harness)
    assert task.state.name == recorded_after(recorded, reported)
    if reported in MASTERS_OWN:  # an agent cannot say this: nothing happens
        assert [type(effect) for effect in effects] == [Warn]
        assert free(harness) == was_free
        return
    # Passed on as it came, whatever is recorded.
    assert told(effects, Forward) == [Forward(SCHEDULER, "update")]
    # Resources are free from the first terminal state on, and only once.
    assert free(harness) == (ALL if recorded in ENDS or reported in ENDS else REST)
    assert was_free == (ALL if recorded in ENDS else REST)
    # The history has it; the framework is answered with what it was told last.
    assert task.last_note.state.name == reported
    (answer,) = told(harness.call(Reconcile(())), SendReport)
    assert answer.report.state.name == reported


@pytest.mark.parametrize(("recorded", "reported"), [p for p in PAIRS if p[1] not in MASTERS_OWN])
def test_acknowledged_update(recorded, reported):
    """The acknowledgement goes to the agent; that of a terminal update ends the record."""
    harness = with_state(recorded)
    harness.update(state=reported, uuid=b"now")
    effects = harness.call(Acknowledge(A, TASK, b"now"))
    assert effects[0] == SendAcknowledgement(AGENT, A, FRAMEWORK, TASK, b"now")
    ended = reported in ENDS
    assert (task_of(harness) is None) == ended
    completed = [task.state.name for task in harness.state.tasks.completed_of(FRAMEWORK)]
    assert completed == ([recorded_after(recorded, reported)] if ended else [])


@pytest.mark.parametrize("reported", [*OPEN, *ENDS])
def test_acknowledging_an_older_update_ends_nothing(reported):
    harness = with_state("RUNNING")
    harness.update(state=reported, uuid=b"now")
    harness.call(Acknowledge(A, TASK, b"before"))
    assert task_of(harness) is not None


@pytest.mark.parametrize(("state", "latest"), list(itertools.product(OPEN, (*OPEN, *ENDS))))
def test_latest_state_ahead_of_the_update(state, latest):
    """Recorded is what the agent knows by now, told is what the update says."""
    harness = launched()
    update = replace(status_update(state=state), latest_state=TaskState[latest])
    harness.feed(StatusUpdateReceived(AGENT, update))
    task = task_of(harness)
    assert task.state.name == recorded_after("STAGING", latest)
    assert task.known_state.name == state
    assert free(harness) == (ALL if latest in ENDS else REST)


@pytest.mark.parametrize("reported", [*OPEN, *ENDS])
def test_update_while_nobody_speaks_for_the_framework(reported):
    """It is recorded and not passed on: the agent will repeat it."""
    harness = launched()
    harness.feed(PeerLost(SCHEDULER))
    effects = harness.update(state=reported)
    assert told(effects, Forward) == []
    assert task_of(harness).state.name == recorded_after("STAGING", reported)


@pytest.mark.parametrize("reported", [*OPEN, *ENDS])
def test_update_without_uuid(reported):
    """Nobody will acknowledge it: a terminal one ends the record."""
    harness = launched()
    harness.update(state=reported, uuid=None)
    assert (task_of(harness) is None) == (reported in ENDS)


@pytest.mark.parametrize("reported", [*OPEN, *ENDS])
def test_task_of_an_unreachable_agent_comes_back_in_any_state(reported):
    """UNREACHABLE is not terminal; what others were told is LOST comes back as well."""
    for aware in (True, False):
        harness = launched(aware=aware)
        harness.update()
        harness.feed(AgentPingsMissed(A))
        harness.write()
        (lost,) = harness.state.tasks.unreachable_of(FRAMEWORK)
        assert lost.task.state is (TaskState.UNREACHABLE if aware else TaskState.LOST)
        harness.reregister([task_report(state=reported)], [framework_spec(FRAMEWORK, aware=aware)])
        harness.write()
        assert task_of(harness).state.name == reported
        assert harness.state.tasks.unreachable_of(FRAMEWORK) == []
        assert free(harness) == (ALL if reported in ENDS else REST)


@pytest.mark.parametrize("reported", [*OPEN, *ENDS])
def test_update_from_an_agent_that_was_given_up(reported):
    harness = launched()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    assert [type(effect) for effect in harness.update(state=reported)] == [Warn]


# Runs of equal states --------------------------------------------------------------------------


def test_history_keeps_the_last_status_of_each_run_of_equal_states():
    harness = launched()
    for state in ("STARTING", "RUNNING", "RUNNING", "RUNNING", "KILLING", "RUNNING", "KILLED"):
        harness.update(state=state)
    notes = [note.state.name for note in task_of(harness).notes]
    assert notes == ["STARTING", "RUNNING", "KILLING", "RUNNING", "KILLED"]


# Reasons of the master ---------------------------------------------------------------------------


def invalid_offers(harness):
    harness.call(Accept((OfferId("m-O9"),), (Launch((task_spec("u"),)),), 0.0))


def reconciliation(harness):
    harness.call(Reconcile(((TaskId("u"), A),)))


def agent_disconnected(harness):
    harness.feed(PeerLost(AGENT))


def agent_removed(harness):
    harness.feed(AgentPingsMissed(A))
    harness.write()


def agent_reregistered(harness):
    agent_removed(harness)
    harness.effects.clear()
    harness.reregister([task_report()], [framework_spec(FRAMEWORK)])
    harness.write()


def task_invalid(harness):
    harness.update(state="FINISHED")
    harness.call(Acknowledge(A, TASK, b"u"))
    (offer,) = harness.allocate()
    harness.call(Accept((offer.offer_id,), (Launch((task_spec("u", text="cpus:9"),)),), 0.0))


def removed_by_operator(harness):
    assert harness.operate(MarkAgentAsGone(A)).status == 200


def group_invalid(harness):
    harness.update(state="FINISHED")
    harness.call(Acknowledge(A, TASK, b"u"))
    (offer,) = harness.allocate()
    executor = ExecutorSpec(ExecutorId("e"), None, Resources.parse("cpus:0.1;mem:32"), None, "e")
    group = LaunchGroup((task_spec("u", text="cpus:9", executor=executor),), executor)
    harness.call(Accept((offer.offer_id,), (group,), 0.0))


# Reason, what leads to it, the state for a PARTITION_AWARE framework and for any other.
REASONS = [
    (UpdateReason.INVALID_OFFERS, invalid_offers, "DROPPED", "LOST"),
    (UpdateReason.RECONCILIATION, reconciliation, "GONE", "LOST"),
    (UpdateReason.AGENT_DISCONNECTED, agent_disconnected, "LOST", "LOST"),
    (UpdateReason.AGENT_REMOVED, agent_removed, "UNREACHABLE", "LOST"),
    (UpdateReason.AGENT_REREGISTERED, agent_reregistered, "RUNNING", "RUNNING"),
    (UpdateReason.AGENT_REMOVED_BY_OPERATOR, removed_by_operator, "GONE_BY_OPERATOR", "LOST"),
    (UpdateReason.TASK_INVALID, task_invalid, "ERROR", "ERROR"),
    (UpdateReason.TASK_GROUP_INVALID, group_invalid, "ERROR", "ERROR"),
]


@pytest.mark.parametrize("aware", [True, False], ids=["aware", "other"])
@pytest.mark.parametrize(("reason", "cause", "to_aware", "to_other"), REASONS)
def test_reason(reason, cause, to_aware, to_other, aware):
    """Made by the master: source MASTER, and no uuid, so that nobody acknowledges it."""
    checkpoint = reason is not UpdateReason.AGENT_DISCONNECTED  # what is checkpointed lives on
    harness = launched(aware=aware, checkpoint=checkpoint)
    harness.update()
    harness.effects.clear()
    cause(harness)
    (effect,) = told(harness.effects, SendReport)
    assert effect.report.reason is reason
    assert effect.report.state.name == (to_aware if aware else to_other)
    status = wire.status_report(effect.report, effect.at_s).update.status
    assert status.source == UpdateSource.MASTER
    assert status.reason == reason
    assert not status.uuid


def test_every_reason_of_the_master_is_among_them():
    """Those of authorization come with authorization; FRAMEWORK_REMOVED is told to nobody."""
    assert {reason for reason, *_ in REASONS} == {
        UpdateReason.INVALID_OFFERS,
        UpdateReason.RECONCILIATION,
        UpdateReason.AGENT_DISCONNECTED,
        UpdateReason.AGENT_REMOVED,
        UpdateReason.AGENT_REMOVED_BY_OPERATOR,
        UpdateReason.AGENT_REREGISTERED,
        UpdateReason.TASK_INVALID,
        UpdateReason.TASK_GROUP_INVALID,
    }


def framework_removed(harness):
    harness.call(Teardown())


def failover_timed_out(harness):
    harness.feed(PeerLost(SCHEDULER))
    generation = harness.state.frameworks.get(FRAMEWORK).generation
    harness.feed(FailoverTimedOut(FRAMEWORK, generation))


@pytest.mark.parametrize("cause", [framework_removed, failover_timed_out])
def test_framework_removed_is_recorded_and_told_to_nobody(cause):
    harness = launched()
    harness.update()
    harness.effects.clear()
    cause(harness)
    assert harness.of(SendReport) == []
    assert [task.state.name for task in harness.state.tasks.completed_of(FRAMEWORK)] == ["KILLED"]
