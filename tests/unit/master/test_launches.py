"""Launches: rules that need the master's books (master.md §6.1, §6.3), groups, what is booked."""

import pytest

from cluster.core.master.effects import SendReport, SendRunTask, SendRunTaskGroup, Warn
from cluster.core.master.events import AgentPingsMissed, AllocationIntervalElapsed, PeerLost
from cluster.model.agents import AgentCapability
from cluster.model.calls import Accept, Launch, LaunchGroup, UnsupportedOperation
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId
from cluster.model.offers import Offer
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import Defect, ExecutorSpec
from tests.unit.master.core_harness import (
    AGENT,
    Harness,
    framework_spec,
    task_spec,
)


def executor(name="e", text="cpus:0.5;mem:64;disk:0", payload="p", **how):
    values = {"framework_id": None, "role": None, **how}
    return ExecutorSpec(
        executor_id=ExecutorId(name), resources=Resources.parse(text), payload=payload, **values
    )


class Cluster:
    def __init__(self, *, aware=False, **agent):
        self.harness = Harness()
        self.harness.subscribe(framework_spec(aware=aware))
        self.harness.register(**agent)
        self.harness.write()

    @property
    def agent(self):
        return self.harness.state.agents.get("m-S0")

    def accept(self, *operations):
        self.harness.now_s += 10.0
        self.harness.feed(AllocationIntervalElapsed())
        self.harness.allocate()
        offers = self.harness.state.offers.of_agent("m-S0")
        return self.harness.call(Accept(tuple(o.offer_id for o in offers), operations, 1.0))

    def launch(self, *tasks):
        return self.accept(Launch(tasks))

    def group(self, *tasks, by=None, defect=None):
        return self.accept(LaunchGroup(tasks, by or executor(), defect))

    @property
    def held(self):
        return self.harness.state.allocator.booked("m-0000", "*", "m-S0")


def of(effects, effect_type):
    return [effect for effect in effects if isinstance(effect, effect_type)]


def reports(effects):
    return [effect.report for effect in of(effects, SendReport)]


def refusal(effects, reason=UpdateReason.TASK_INVALID):
    """The text of the only answer, which is an error for this reason."""
    [report] = reports(effects)
    assert (report.state, report.reason) == (TaskState.ERROR, reason)
    assert not of(effects, SendRunTask | SendRunTaskGroup)
    return report.message


# LAUNCH -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (task_spec("running"), "task_id: 'running' is already in use"),
        (task_spec(agent_id="m-S9"), "agent_id: the offers are of agent m-S0, not of 'm-S9'"),
        (task_spec(role="x"), "resources: must be allocated to the offers' role '*', not 'x'"),
        (task_spec(has_limits=True), "limits: agent m-S0 cannot enforce resource limits"),
        (
            task_spec(executor=executor(framework_id=FrameworkId("f"))),
            "executor.framework_id: must be m-0000, not 'f'",
        ),
        (
            task_spec(executor=executor(role="x")),
            "executor.resources: must be allocated to the offers' role '*', not 'x'",
        ),
        (
            task_spec(executor=executor("running-e", payload="other")),
            "executor: executor 'running-e' runs on agent m-S0 with another description",
        ),
        (task_spec(text="cpus:9"), "resources of task and executor: [cpus:9] is more than"),
        (task_spec(text="cpus:2.5", executor=executor()), "executor: [cpus:3;mem:64] is more than"),
    ],
)
def test_rules_that_need_the_books(task, words):
    capabilities = frozenset(AgentCapability) - {AgentCapability.TASK_RESOURCE_LIMITS}
    cluster = Cluster(capabilities=capabilities)
    cluster.launch(task_spec("running", executor=executor("running-e")))
    assert words in refusal(cluster.launch(task))


def test_an_unreachable_task_keeps_its_id():
    cluster = Cluster(aware=True)
    cluster.launch(task_spec())
    cluster.harness.feed(AgentPingsMissed("m-S0"))
    cluster.harness.write()
    cluster.harness.register(peer="slave(1)@10.0.0.11:5051", ip="10.0.0.11")
    cluster.harness.write()
    cluster.harness.allocate()
    [offer] = cluster.harness.state.offers.of_agent("m-S1")
    call = Accept((offer.offer_id,), (Launch((task_spec(agent_id="m-S1"),)),), 1.0)
    assert "already in use" in refusal(cluster.harness.call(call))


@pytest.mark.parametrize(
    ("rule", "task", "words"),
    [
        (1, {"task_id": "running", "agent_id": "m-S9"}, "broken"),
        (3, {"task_id": "running", "agent_id": "m-S9"}, "already in use"),
        (2, {"agent_id": "m-S9"}, "broken"),
        (4, {"agent_id": "m-S9"}, "agent_id"),
        (15, {"role": "x"}, "broken"),
    ],
)
def test_of_several_broken_rules_the_first_counts(rule, task, words):
    cluster = Cluster()
    cluster.launch(task_spec("running"))
    assert words in refusal(cluster.launch(task_spec(defect=Defect(rule, "broken"), **task)))


def test_one_wrong_task_does_not_hinder_the_others():
    cluster = Cluster()
    effects = cluster.launch(task_spec("a"), task_spec("b", text="cpus:9"), task_spec("c"))
    assert [effect.task.task_id for effect in of(effects, SendRunTask)] == ["a", "c"]
    assert [report.task_id for report in reports(effects)] == ["b"]
    assert cluster.held == Resources.parse("cpus:2;mem:128")


def test_an_executor_is_booked_once():
    cluster = Cluster()
    effects = cluster.launch(*(task_spec(name, executor=executor()) for name in "ab"))
    assert [effect.launch_executor for effect in of(effects, SendRunTask)] == [True, False]
    assert cluster.held == Resources.parse("cpus:2.5;mem:192")


@pytest.mark.parametrize(
    ("text", "words"), [("mem:64", "less than cpus:0.01"), ("cpus:1;mem:31", "less than mem:32")]
)
def test_a_small_executor_is_only_warned_of(text, words):
    effects = Cluster().launch(task_spec(executor=executor(text=text)))
    assert of(effects, SendRunTask)
    [warning] = of(effects, Warn)
    assert words in warning.text


def test_an_operation_of_an_unknown_type_is_ignored_with_a_warning():
    effects = Cluster().accept(UnsupportedOperation("UNKNOWN", None), Launch((task_spec(),)))
    [warning] = of(effects, Warn)
    assert "UNKNOWN" in warning.text
    assert of(effects, SendRunTask)


# Offers that are no good --------------------------------------------------------------------------


@pytest.mark.parametrize(("aware", "state"), [(True, TaskState.DROPPED), (False, TaskState.LOST)])
def test_invalid_offers(aware, state):
    cluster = Cluster(aware=aware)
    cluster.harness.allocate()
    [offer] = cluster.harness.state.offers.of_agent("m-S0")
    group = LaunchGroup((task_spec("g"), task_spec("h")), executor())
    call = Accept((offer.offer_id, OfferId("no")), (Launch((task_spec("t"),)), group), 1.0)
    answers = reports(cluster.harness.call(call))
    assert [(a.task_id, a.state, a.reason) for a in answers] == [
        (name, state, UpdateReason.INVALID_OFFERS) for name in "tgh"
    ]
    assert {a.message for a in answers} == {
        "Task launched with invalid offers: offer no is no longer valid"
    }
    assert cluster.held == Resources()


def test_of_invalid_offers_unknown_operations_are_only_logged():
    cluster = Cluster()
    call = Accept((OfferId("no"),), (UnsupportedOperation("UNKNOWN", None),), 1.0)
    effects = cluster.harness.call(call)
    [warning] = of(effects, Warn)
    assert "UNKNOWN of framework m-0000: Task launched with invalid offers" in warning.text
    assert not reports(effects)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [(None, UpdateReason.AGENT_REMOVED), ("away", UpdateReason.AGENT_DISCONNECTED)],
)
@pytest.mark.parametrize(("aware", "state"), [(True, TaskState.DROPPED), (False, TaskState.LOST)])
def test_offers_of_an_agent_that_is_away(standing, reason, aware, state):
    """No offer outlives its agent's connection; should one ever do so, nothing is launched."""
    cluster = Cluster(aware=aware)
    books = cluster.harness.state
    agent_id = AgentId("m-S0" if standing else "m-S9")
    if standing:
        cluster.harness.feed(PeerLost(AGENT))
    books.offers.add(Offer(OfferId("late"), FrameworkId("m-0000"), agent_id, "*", Resources()))
    call = Accept((OfferId("late"),), (Launch((task_spec(agent_id=agent_id),)),), 1.0)
    [report] = reports(cluster.harness.call(call))
    assert (report.state, report.reason) == (state, reason)
    assert books.offers.get(OfferId("late")) is None


# LAUNCH_GROUP -------------------------------------------------------------------------------------


def test_a_group_runs_under_one_executor():
    cluster = Cluster()
    effects = cluster.group(task_spec("a"), task_spec("b"))
    [run] = of(effects, SendRunTaskGroup)
    assert [task.task_id for task in run.tasks] == ["a", "b"]
    assert (run.executor.executor_id, run.role, run.launch_executor) == ("e", "*", True)
    assert cluster.held == Resources.parse("cpus:2.5;mem:192")
    tasks = cluster.harness.state.tasks.of_agent("m-S0")
    assert {task.executor_id for task in tasks} == {"e"}
    # A second group may join.
    [run] = of(cluster.group(task_spec("c")), SendRunTaskGroup)
    assert not run.launch_executor
    assert cluster.held == Resources.parse("cpus:3.5;mem:256")


@pytest.mark.parametrize(
    ("last", "how", "words"),
    [
        (task_spec("a"), {}, "task_id: 'a' is already in use"),
        (task_spec("running"), {}, "task_id: 'running' is already in use"),
        (task_spec("b", agent_id="m-S9"), {}, "agent_id"),
        (task_spec("b", role="x"), {}, "must be allocated to the offers' role"),
        (task_spec("b", defect=Defect(7, "task 'b': broken")), {}, "task 'b': broken"),
        (task_spec("b"), {"defect": Defect(12, "no executor")}, "no executor"),
        (task_spec("b"), {"by": executor("running-e", payload="x")}, "another description"),
        (task_spec("b"), {"by": executor(framework_id="f")}, "executor.framework_id"),
        (task_spec("b"), {"by": executor(role="x")}, "executor.resources: must be allocated"),
        (task_spec("b", text="cpus:2"), {}, "task group and its executor: [cpus:3.5;mem:128]"),
        (task_spec("b", shares_cgroups=False), {}, "share_cgroups: must be the same for all"),
    ],
)
def test_a_group_is_launched_whole_or_not_at_all(last, how, words):
    cluster = Cluster()
    cluster.launch(task_spec("running", executor=executor("running-e")))
    held = cluster.held
    effects = cluster.group(task_spec("a"), last, **how)
    answers = reports(effects)
    assert [a.task_id for a in answers] == ["a", last.task_id]
    assert {(a.state, a.reason) for a in answers} == {
        (TaskState.ERROR, UpdateReason.TASK_GROUP_INVALID)
    }
    assert len({a.message for a in answers}) == 1
    assert words in answers[0].message
    assert not of(effects, SendRunTaskGroup)
    assert cluster.held == held


def test_a_port_goes_to_one_task_of_a_group():
    cluster = Cluster(text="cpus:4;mem:4096;ports:[1-9]")
    effects = cluster.group(
        task_spec("a", text="cpus:1;ports:[2-4]"), task_spec("b", text="cpus:1;ports:[4-5]")
    )
    assert not of(effects, SendRunTaskGroup)
    assert "ports:[4-4]] of task 'b' is another task's" in reports(effects)[0].message
    effects = cluster.group(
        task_spec("a", text="cpus:1;ports:[2-4]"), task_spec("b", text="cpus:1;ports:[5-5]")
    )
    assert of(effects, SendRunTaskGroup)


def test_all_groups_of_an_executor_are_limited_in_one_way():
    cluster = Cluster()
    cluster.group(task_spec("a", shares_cgroups=False))
    assert "share_cgroups" in reports(cluster.group(task_spec("b")))[0].message
    assert of(cluster.group(task_spec("c", shares_cgroups=False)), SendRunTaskGroup)
