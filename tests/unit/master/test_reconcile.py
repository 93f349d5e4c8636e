"""Each row of the table of answers (master.md §8), for both kinds of frameworks."""

import pytest

from cluster.core.master.effects import SendReport
from cluster.core.master.events import AgentPingsMissed
from cluster.model.calls import Accept, Launch, Reconcile
from cluster.model.ids import AgentId, TaskId
from cluster.model.task_states import UpdateReason
from tests.unit.master.core_harness import Harness, framework_spec, task_spec

# Situation, task, agent asked about, answer to a partition-aware framework, answer to any other.
ROWS = [
    ("live task", "t", None, "RUNNING", "RUNNING"),
    ("live task, wrong agent", "t", "gone", "RUNNING", "RUNNING"),
    ("registered agent", "x", "m-S0", "GONE", "LOST"),
    ("unreachable agent", "x", "unreachable", "UNREACHABLE", "LOST"),
    ("gone agent", "x", "gone", "GONE_BY_OPERATOR", "LOST"),
    ("agent nobody knows", "x", "nobody", "UNKNOWN", "LOST"),
    ("no agent named", "x", None, "UNKNOWN", "LOST"),
]


def world(aware, awaited=()):
    harness = Harness()
    harness.recover(admitted=awaited, gone=["gone"])
    harness.register()
    harness.write()
    harness.reregister(agent_id="unreachable", peer="slave(1)@10.0.0.11:1", ip="10.0.0.11")
    harness.write()
    harness.feed(AgentPingsMissed(AgentId("unreachable")))
    harness.write()
    harness.subscribe(framework_spec(aware=aware))
    (offer,) = harness.allocate()
    harness.call(Accept((offer.offer_id,), (Launch((task_spec(),)),), 0.0))
    harness.update()
    return harness


def ask(harness, task_id, agent_id):
    effects = harness.call(Reconcile(((TaskId(task_id), agent_id and AgentId(agent_id)),)))
    return [effect.report for effect in effects if isinstance(effect, SendReport)]


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize(("situation", "task_id", "agent_id", "to_aware", "to_other"), ROWS)
def test_answer(situation, task_id, agent_id, to_aware, to_other, aware):
    (report,) = ask(world(aware), task_id, agent_id)
    assert report.state.name == (to_aware if aware else to_other), situation
    assert report.reason is UpdateReason.RECONCILIATION
    assert report.is_answer
    assert (report.unreachable_time_s is not None) == (agent_id == "unreachable")


@pytest.mark.parametrize(
    ("agent_id", "is_answered"), [("awaited", False), (None, False), ("m-S0", True), ("x", True)]
)
def test_no_answer_while_the_agent_may_still_come_back(agent_id, is_answered):
    harness = world(True, ["awaited"])
    assert bool(ask(harness, "x", agent_id)) == is_answered
    assert ask(harness, "t", None), "a live task is always known"
