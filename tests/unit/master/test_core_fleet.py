"""What operators ask about agents, machines, weights and quotas: answers and what follows."""

import pytest

from cluster.core.master.effects import (
    AnswerOperator,
    EndMaster,
    RegistryGcTimer,
    RemovalTimer,
    SendAgentLost,
    SendAgentShutdown,
    SendDrain,
    SendReport,
    SendRescind,
    StartTimer,
    WriteRegistry,
)
from cluster.core.master.events import (
    AgentAnswered,
    AgentPingsMissed,
    AllocationIntervalElapsed,
    OperatorCallReceived,
    PeerLost,
    RegistryGcDue,
    RegistryRecovered,
    RemovalDue,
    UnregistrationReceived,
)
from cluster.core.master.registry import MarkAgentDrained, MarkAgentUnreachable, PruneAgents
from cluster.model.agents import AgentCapability
from cluster.model.calls import Accept, Acknowledge, Launch
from cluster.model.constraints import AgentFacts
from cluster.model.domains import FaultDomain
from cluster.model.draining import DrainConfig
from cluster.model.ids import AgentId, ExecutorId, TaskId
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import (
    DeactivateAgent,
    DrainAgent,
    MarkAgentAsGone,
    ReactivateAgent,
    StartMaintenance,
    StopMaintenance,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)
from cluster.model.quotas import Quota
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec
from tests.unit.master.core_harness import (
    AGENT,
    Harness,
    framework_spec,
    task_report,
    task_spec,
)

A, B, NOBODY = AgentId("m-S0"), AgentId("m-S1"), AgentId("nobody")
MACHINE = MachineId("host", "10.0.0.10")
SOON = Unavailability(2000.0, 60.0)


def with_agent(**options):
    harness = Harness(**options)
    harness.recover()
    harness.register()
    harness.write()
    return harness


def with_task(*, aware=False, executor=None, **options):
    """One agent, one framework, one running task, the rest of the agent offered."""
    harness = with_agent(**options)
    harness.subscribe(framework_spec(aware=aware))
    (offer,) = harness.allocate()
    tasks = (task_spec(executor=executor),)
    harness.call(Accept((offer.offer_id,), (Launch(tasks),), 0.0))
    harness.update()
    harness.now_s += 10.0
    harness.feed(AllocationIntervalElapsed())
    assert harness.allocate()
    harness.effects.clear()
    return harness


def offered(harness):
    """Whether anything of the agent is offered when the allocator has had its chance."""
    harness.now_s += 10.0
    harness.feed(AllocationIntervalElapsed())
    harness.allocate()
    return bool(len(harness.state.offers))


def finish(harness, task_id="t"):
    harness.update(task_id, "FINISHED")
    harness.call(Acknowledge(A, TaskId(task_id), b"u"))


# Refusals ----------------------------------------------------------------------------------------

REFUSED = [
    (DrainAgent(NOBODY), 400, "agent_id: agent 'nobody' is not known"),
    (DrainAgent(A, max_grace_s=-1.0), 400, "max_grace_period: must be 0 to"),
    (DrainAgent(A, max_grace_s=float("nan")), 400, "max_grace_period: must be 0 to"),
    (DeactivateAgent(NOBODY), 400, "agent_id: agent 'nobody' is not known"),
    (ReactivateAgent(NOBODY), 400, "agent_id: agent 'nobody' is not deactivated"),
    (ReactivateAgent(A), 400, "agent_id: agent 'm-S0' is not deactivated"),
    (MarkAgentAsGone(NOBODY), 404, "agent_id: agent 'nobody' is not known"),
    (UpdateWeights({"a": 0.0}), 400, "weight_infos.weight: must be above 0, not 0 (role 'a')"),
    (UpdateWeights({"a": -1.0}), 400, "must be above 0"),
    (UpdateWeights({"a": float("inf")}), 400, "must be above 0"),
    (UpdateWeights({"a b": 1.0}), 400, "weight_infos.role: role 'a b' must not contain"),
    (StartMaintenance(()), 400, "machines: must name at least one machine"),
    (StartMaintenance((MACHINE,)), 400, "machines: machine host is not part of the maintenance"),
    (StopMaintenance((MACHINE,)), 400, "machines: machine host is not part of the maintenance"),
    (StopMaintenance((MachineId("", ""),)), 400, "a machine must have a host name or an IP"),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((), SOON),)),
        400,
        "schedule.windows[0].machine_ids: must name at least one machine",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE, MACHINE), SOON),)),
        400,
        "schedule.windows[0].machine_ids: machine host is listed twice",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), SOON),) * 2),
        400,
        "schedule.windows[1].machine_ids: machine host is in the schedule twice",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MachineId("h", "::1"),), SOON),)),
        400,
        "ip must be an IPv4 address, not '::1'",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), Unavailability(1.0, -1.0)),)),
        400,
        "schedule.windows[0].unavailability.duration: must not be negative",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), Unavailability(1e300)),)),
        400,
        "schedule.windows[0].unavailability.start: must fit",
    ),
    (
        UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), Unavailability(1.0, 1e300)),)),
        400,
        "schedule.windows[0].unavailability.duration: must fit",
    ),
    (UpdateQuotas({"*": Quota()}), 400, "quota_configs: role '*' cannot have a quota"),
    (UpdateQuotas({"a//b": Quota()}), 400, "two slashes"),
    (
        UpdateQuotas({"a": Quota({"cpus": 2000}, {"cpus": 1000})}),
        400,
        "quota_configs: role 'a': the guarantee of cpus 2 exceeds its limit 1",
    ),
    (UpdateQuotas({"a": Quota({"cpus": -1})}), 400, "guarantees.cpus must be 0 to 1000000000000"),
    (UpdateQuotas({"a": Quota({}, {"mem": 10**16})}), 400, "limits.mem must be 0 to"),
    (
        UpdateQuotas({"a": Quota({"cpus": 5000})}),
        400,
        "the guarantees of cpus add up to 5, but the cluster has only 4 (use 'force'",
    ),
]


@pytest.mark.parametrize(("call", "status", "text"), REFUSED)
def test_refused(call, status, text):
    harness = with_agent()
    answer = harness.operate(call)
    assert answer.status == status
    assert text in answer.text
    assert not harness.pending_writes


# Deactivate and reactivate -----------------------------------------------------------------------


def test_a_deactivated_agent_is_not_offered_but_keeps_its_tasks():
    harness = with_task()
    assert harness.operate(DeactivateAgent(A)).status == 200
    assert harness.of(SendRescind)
    assert not harness.of(SendReport)
    assert not offered(harness)
    assert harness.operate(DeactivateAgent(A)).status == 200, "again"
    harness.feed(PeerLost(AGENT))
    harness.reregister([task_report()], [framework_spec("m-0000")])
    assert not offered(harness), "coming back does not activate it"
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.write()
    assert not offered(harness), "nor does having been unreachable"
    assert harness.operate(ReactivateAgent(A)).status == 200
    assert offered(harness)


# Draining ----------------------------------------------------------------------------------------


def test_draining_ends_when_the_last_task_is_acknowledged():
    harness = with_task()
    assert harness.operate(DrainAgent(A, max_grace_s=5.0)).status == 200
    (order,) = harness.of(SendDrain)
    assert order == SendDrain(AGENT, DrainConfig(5_000_000_000, mark_gone=False))
    assert harness.state.agents.get(A).drain_started_s == harness.now_s
    assert harness.of(SendRescind)
    refused = harness.operate(ReactivateAgent(A))
    assert (refused.status, refused.text) == (400, "agent_id: agent m-S0 is still DRAINING")
    harness.update("t", "KILLED")
    assert not harness.pending_writes, "the framework has not acknowledged it"
    harness.call(Acknowledge(A, TaskId("t"), b"u"))
    assert harness.pending_operations == [MarkAgentDrained(A)]
    harness.write_all()
    assert not offered(harness)
    assert harness.operate(ReactivateAgent(A)).status == 200
    assert harness.state.agents.get(A).drain_started_s is None
    assert offered(harness)


def test_an_empty_agent_is_drained_at_once():
    harness = with_agent()
    harness.operate(DrainAgent(A))
    entry = harness.state.registry.admitted(A)
    assert entry.drain.state.name == "DRAINED"
    assert harness.operate(DrainAgent(A)).status == 200, "once more"
    assert harness.state.registry.admitted(A).drain.state.name == "DRAINED"


def test_an_executor_keeps_a_draining_agent_from_being_drained():
    executor = ExecutorSpec(ExecutorId("e"), None, Resources.parse("cpus:0.1;mem:32"), None, "e")
    harness = with_task(executor=executor)
    harness.operate(DrainAgent(A))
    finish(harness)
    assert not harness.pending_writes
    harness.state.drop_executors(harness.state.agents.get(A))
    harness.feed(AllocationIntervalElapsed())
    assert harness.pending_operations == [MarkAgentDrained(A)]


def test_a_drained_agent_can_be_marked_gone_by_the_same_call():
    harness = with_task()
    harness.operate(DrainAgent(A, mark_gone=True))
    finish(harness)
    harness.write_all()
    assert harness.state.registry.is_gone(A)
    assert harness.of(SendAgentShutdown)[-1].message == "Agent has been marked gone"
    assert harness.operate(DrainAgent(A)).text == "agent_id: agent m-S0 has been marked gone"


def test_an_agent_that_was_away_is_told_again_to_drain():
    harness = with_task()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    assert harness.operate(DrainAgent(A)).status == 200, "unreachable agents too"
    assert not harness.of(SendDrain)
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.write()
    assert len(harness.of(SendDrain)) == 1
    assert not offered(harness)
    harness.feed(PeerLost(AGENT))
    harness.reregister([], [framework_spec("m-0000")])
    assert len(harness.of(SendDrain)) == 2


def test_draining_needs_the_capability_and_no_maintenance():
    harness = Harness()
    harness.register(capabilities=frozenset(AgentCapability) - {AgentCapability.AGENT_DRAINING})
    harness.write()
    answer = harness.operate(DrainAgent(A))
    assert (answer.status, "AGENT_DRAINING" in answer.text) == (400, True)
    harness = with_agent()
    harness.operate(UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), SOON),)))
    answer = harness.operate(DrainAgent(A))
    assert answer.status == 400
    assert "maintenance schedule" in answer.text


# Gone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aware", "state"), [(True, "GONE_BY_OPERATOR"), (False, "LOST")])
def test_gone_for_good(aware, state):
    harness = with_task(aware=aware)
    assert harness.operate(MarkAgentAsGone(A)).status == 200
    (report,) = [e.report for e in harness.of(SendReport)]
    assert report.state.name == state
    assert report.reason.name == "AGENT_REMOVED_BY_OPERATOR"
    assert [e.agent_id for e in harness.of(SendAgentLost)] == [A]
    assert [e.message for e in harness.of(SendAgentShutdown)] == ["Agent has been marked gone"]
    assert harness.state.agents.get(A) is None
    assert harness.operate(MarkAgentAsGone(A)).status == 200, "again"
    harness.reregister()
    assert len(harness.of(SendAgentShutdown)) == 2, "it never comes back"


def test_an_unreachable_agent_goes_for_good():
    harness = with_task()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.effects.clear()
    assert harness.operate(MarkAgentAsGone(A)).status == 200
    assert harness.state.standing(A).name == "GONE"
    assert not harness.of(SendAgentLost), "the frameworks know already"


def test_gone_while_something_else_is_being_written():
    harness = with_agent()
    harness.feed(AgentPingsMissed(A))
    effects = harness.feed(OperatorCallReceived(1, MarkAgentAsGone(A)))
    (answer,) = [e for e in effects if isinstance(e, AnswerOperator)]
    assert answer.status == 409
    assert "MARKING_UNREACHABLE, try again later" in answer.text


# Maintenance -------------------------------------------------------------------------------------


def test_a_machine_is_taken_down_and_up():
    harness = with_task()
    window = MaintenanceWindow((MACHINE,), SOON)
    assert harness.operate(UpdateMaintenanceSchedule((window,))).status == 200
    assert len(harness.of(SendRescind)) == 1, "offered anew with its unavailability"
    assert offered(harness)
    harness.effects.clear()
    assert harness.operate(UpdateMaintenanceSchedule((window,))).status == 200
    assert not harness.of(SendRescind), "nothing has changed"
    assert harness.operate(StopMaintenance((MACHINE,))).text == (
        "machines: machine host must be DOWN, not DRAINING"
    )
    assert harness.operate(StartMaintenance((MACHINE,))).status == 200
    assert harness.of(SendAgentShutdown)[-1].message == "Machine is `DOWN`"
    (report,) = [e.report for e in harness.of(SendReport)]
    assert (report.state.name, report.reason.name) == ("LOST", "AGENT_REMOVED")
    assert harness.state.agents.get(A) is None
    assert harness.operate(UpdateMaintenanceSchedule(())).text == (
        "schedule.windows: machine host is DOWN and must stay in the schedule"
    )
    harness.effects.clear()
    harness.register()
    assert [e.message for e in harness.of(SendAgentShutdown)] == ["Machine is `DOWN`"]
    assert not harness.pending_writes
    assert harness.operate(StopMaintenance((MACHINE,))).status == 200
    harness.register()
    harness.write()
    assert harness.state.agents.get(B).is_connected


def test_an_agent_that_registers_while_its_machine_goes_down_is_turned_away():
    harness = Harness()
    harness.operate(UpdateMaintenanceSchedule((MaintenanceWindow((MACHINE,), SOON),)))
    harness.register()
    harness.operate(StartMaintenance((MACHINE,)))
    harness.write_all()
    assert harness.of(SendAgentShutdown)[-1].message == "Machine is `DOWN`"
    assert not len(harness.state.agents)


# Giving up at a limited rate ---------------------------------------------------------------------


def test_agents_are_given_up_one_after_another_and_may_answer_meanwhile():
    harness = Harness(removal_interval_s=600.0)
    peers = {AgentId(f"m-S{n}"): f"slave(1)@10.0.0.{n + 10}:5051" for n in range(4)}
    for peer in peers.values():
        harness.register(peer=peer, ip=peer[9:18])
        harness.write()
    for agent_id in peers:
        harness.feed(AgentPingsMissed(agent_id))
    assert harness.pending_operations == [MarkAgentUnreachable(AgentId("m-S0"), harness.now_s)]
    (timer,) = [e for e in harness.of(StartTimer) if e.key == RemovalTimer()]
    assert timer.delay_s == 600.0
    harness.feed(AgentPingsMissed(AgentId("m-S1")))
    harness.feed(AgentAnswered(AgentId("m-S1")))
    harness.now_s += 600.0
    harness.feed(RemovalDue())
    assert [o.agent_id for o in harness.pending_operations] == ["m-S0", "m-S2"]
    harness.feed(PeerLost(peers[AgentId("m-S3")]))
    harness.reregister(agent_id="m-S3", peer=peers[AgentId("m-S3")], ip="10.0.0.13")
    harness.now_s += 600.0
    harness.feed(RemovalDue())
    harness.feed(RemovalDue())
    assert len(harness.pending_writes) == 2, "both others are back"
    # Long after the last one there is no wait.
    harness.now_s += 600.0
    harness.feed(AgentPingsMissed(AgentId("m-S1")))
    assert [o.agent_id for o in harness.pending_operations] == ["m-S0", "m-S2", "m-S1"]


# The registry ------------------------------------------------------------------------------------


def test_the_master_s_registry_is_pruned_by_age_and_number():
    harness = Harness(registry_max_agent_age_s=100.0, registry_max_agent_count=2)
    harness.recover()
    assert any(e.key == RegistryGcTimer() for e in harness.of(StartTimer))
    for n in range(4):
        peer = f"slave(1)@10.0.0.{n + 10}:5051"
        harness.register(peer=peer, ip=peer[9:18])
        harness.write()
        harness.feed(AgentPingsMissed(AgentId(f"m-S{n}")))
        harness.write()
    harness.operate(MarkAgentAsGone(AgentId("m-S3")))
    harness.feed(RegistryGcDue())
    assert harness.pending_operations == [PruneAgents(unreachable=(AgentId("m-S0"),))]
    harness.write()
    harness.now_s += 101.0
    harness.feed(RegistryGcDue())
    assert harness.pending_operations == [
        PruneAgents((AgentId("m-S1"), AgentId("m-S2")), (AgentId("m-S3"),))
    ]
    harness.write()
    assert harness.state.standing(AgentId("m-S3")).name == "UNKNOWN"
    harness.feed(RegistryGcDue())
    assert not harness.pending_writes


def long_unreachable():
    """An agent that the next cleaning of the registry forgets."""
    harness = Harness(registry_max_agent_age_s=100.0)
    harness.recover()
    harness.register()
    harness.write()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.now_s += 101.0
    return harness


def test_an_agent_that_is_pruned_before_it_is_marked_gone_can_come_anew():
    harness = long_unreachable()
    harness.feed(RegistryGcDue())
    answer = harness.operate(MarkAgentAsGone(A))
    assert (answer.status, answer.text) == (409, f"agent {A} is unknown")
    harness.reregister(agent_id=A)
    harness.write_all()
    assert harness.state.agents.get(A).is_connected


def test_a_draining_agent_that_is_pruned_is_forgotten():
    harness = long_unreachable()
    harness.operate(DrainAgent(A))
    assert list(harness.state.draining) == [A]
    harness.feed(RegistryGcDue())
    harness.write()
    assert not harness.state.draining


def test_everything_is_there_after_a_restart():
    first = Harness(seed_weights={"seed": 7.0})
    first.recover()
    first.write_all()
    peers = [f"slave(1)@10.0.0.{n + 10}:5051" for n in range(4)]
    for peer in peers:
        first.register(peer=peer, ip=peer[9:18])
        first.write()
    first.operate(UpdateWeights({"a": 3.0}))
    first.operate(UpdateQuotas({"a": Quota({"cpus": 1000}, {"cpus": 2000})}))
    window = MaintenanceWindow((MachineId("other", "10.9.9.9"),), SOON)
    first.operate(UpdateMaintenanceSchedule((window,)))
    first.operate(StartMaintenance(window.machines))
    first.operate(DeactivateAgent(AgentId("m-S0")))
    first.feed(AgentPingsMissed(AgentId("m-S1")))
    first.write()
    first.operate(MarkAgentAsGone(AgentId("m-S2")))
    first.operate(DrainAgent(AgentId("m-S1"), mark_gone=True))

    second = Harness(seed_weights={"other": 9.0})
    second.feed(RegistryRecovered(first.state.registry.value()))
    state = second.state
    assert dict(state.registry.weights) == {"seed": 7.0, "a": 3.0}
    assert state.registry.quotas == {"a": Quota({"cpus": 1000}, {"cpus": 2000})}
    assert state.registry.windows == (window,)
    assert [m.mode.name for m in state.registry.machines.values()] == ["DOWN"]
    assert state.agents.recovered == ("m-S0", "m-S3")
    assert state.standing(AgentId("m-S1")).name == "UNREACHABLE"
    assert state.standing(AgentId("m-S2")).name == "GONE"
    second.reregister(agent_id="m-S0", peer=peers[0])
    second.write()
    assert not state.may_serve(AgentId("m-S0"))
    second.reregister(agent_id="m-S1", peer=peers[1], ip="10.0.0.11")
    second.write()
    assert len(second.of(SendDrain)) == 1
    second.write_all()
    assert state.standing(AgentId("m-S1")).name == "GONE", "empty: drained, and gone as asked"


# Weights and quotas ------------------------------------------------------------------------------


def test_weights_of_the_flag_only_seed_an_empty_registry():
    harness = Harness(seed_weights={"a": 2.0})
    harness.recover()
    harness.write_all()
    assert harness.state.registry.weights == {"a": 2.0}
    assert harness.operate(UpdateWeights({"b": 2.5})).status == 200
    assert harness.state.registry.weights == {"a": 2.0, "b": 2.5}


def test_limits_below_what_is_used_need_force():
    harness = with_task()
    harness.subscribe(framework_spec(roles=("r",)), peer="scheduler-2@10.0.0.20:2")
    (offer,) = [o for o in harness.state.offers if o.role == "*"]
    harness.call(Accept((offer.offer_id,), (), 1000.0))
    harness.now_s += 10.0
    harness.feed(AllocationIntervalElapsed())
    (offer,) = harness.allocate()
    assert offer.role == "r"
    harness.call(
        Accept((offer.offer_id,), (Launch((task_spec("u", text="cpus:2;mem:64"),)),), 0.0),
        "m-0001",
        "scheduler-2@10.0.0.20:2",
    )
    call = UpdateQuotas({"r": Quota({}, {"cpus": 1000})})
    answer = harness.operate(call)
    assert answer.status == 400
    assert answer.text == (
        "quota_configs: role 'r' uses 2 of cpus, more than its new limit 1 (use 'force' to skip "
        "this check)"
    )
    assert harness.operate(UpdateQuotas(call.quotas, force=True)).status == 200


def test_offers_above_a_new_limit_are_rescinded():
    harness = with_agent()
    harness.subscribe(framework_spec(roles=("r",)))
    (offer,) = harness.allocate()
    assert harness.operate(UpdateQuotas({"r": Quota({}, {"cpus": 1000})})).status == 200
    assert [e.offer_id for e in harness.of(SendRescind)] == [offer.offer_id]


def test_offers_of_others_are_rescinded_as_far_as_a_guarantee_needs_it():
    harness = with_agent()
    harness.subscribe(framework_spec(roles=("hoarder",)))
    (offer,) = harness.allocate()
    assert harness.operate(UpdateQuotas({"r": Quota({"cpus": 1000})})).status == 200
    assert [e.offer_id for e in harness.of(SendRescind)] == [offer.offer_id]


TREES = [
    ({"a": Quota({"cpus": 2000}), "a/b": Quota({"cpus": 1000}), "a/c": Quota({"cpus": 1000})}, ""),
    (
        {"a": Quota({"cpus": 2000}), "a/b": Quota({"cpus": 1500}), "a/c/d": Quota({"cpus": 1000})},
        "role 'a': the guarantees of cpus below it add up to 2.5, more than its own 2",
    ),
    (
        {
            "a": Quota({"cpus": 2000}),
            "a/b": Quota({"cpus": 2000}),
            "a/b/c": Quota({"cpus": 2000}),
        },
        "",
    ),
    ({"a": Quota({"mem": 1000}), "a/b": Quota({"cpus": 1000})}, ""),
    (
        {"a": Quota({}, {"cpus": 1000}), "a/b/c": Quota({}, {"cpus": 2000})},
        "role 'a/b/c': the limit of cpus 2 exceeds the limit 1 of role 'a'",
    ),
    (
        {"a": Quota({}, {"cpus": 1000}), "a/b": Quota({"cpus": 2000})},
        "role 'a/b': the guarantee of cpus 2 exceeds the limit 1 of role 'a'",
    ),
    ({"a": Quota({}, {"cpus": 1000}), "ab": Quota({}, {"cpus": 2000})}, ""),
    (
        {"a": Quota({"cpus": 3000}), "b": Quota({"cpus": 2000})},
        "the guarantees of cpus add up to 5, but the cluster has only 4",
    ),
    ({"a": Quota({"cpus": 3000}), "a/b": Quota({"cpus": 3000})}, ""),
]


@pytest.mark.parametrize(("quotas", "error"), TREES)
def test_quotas_of_nested_roles(quotas, error):
    harness = with_agent()
    answer = harness.operate(UpdateQuotas(quotas))
    assert answer.status == (400 if error else 200)
    assert error in answer.text
    one_by_one = with_agent()
    answers = [one_by_one.operate(UpdateQuotas({r: q})).status for r, q in quotas.items()]
    assert (400 in answers) == bool(error), "the order of the calls does not matter"


@pytest.mark.parametrize(("quotas", "error"), TREES)
def test_a_call_about_quotas_counts_on_those_that_are_being_written(quotas, error):
    harness = with_agent()
    for number, (role, quota) in enumerate(quotas.items(), start=1):
        harness.feed(OperatorCallReceived(number, UpdateQuotas({role: quota})))
    harness.write_all()
    statuses = {answer.request: answer.status for answer in harness.of(AnswerOperator)}
    assert len(statuses) == len(quotas)
    assert (400 in statuses.values()) == bool(error)


# Domains -----------------------------------------------------------------------------------------

HERE = FaultDomain("region", "zone")


@pytest.mark.parametrize(
    ("ours", "theirs", "is_required", "error"),
    [
        (None, None, False, None),
        (None, HERE, False, "slave.domain: must not be set, because this master has no domain"),
        (HERE, HERE, False, None),
        (HERE, None, False, None),
        (HERE, None, True, "slave.domain: must be set (--require_agent_domain)"),
        (HERE, FaultDomain("other", "zone"), True, None),
    ],
)
def test_domains(ours, theirs, is_required, error):
    harness = Harness(domain=ours, require_agent_domain=is_required)
    facts = AgentFacts("host", domain=theirs)
    harness.register(facts=facts)
    assert bool(harness.of(WriteRegistry)) is (error is None)
    harness.reregister(agent_id="x", peer="slave(1)@10.0.0.12:5051", facts=facts)
    assert len(harness.of(WriteRegistry)) == (2 if error is None else 0)
    if error is not None:
        assert error in harness.effects[-1].text


def test_a_master_that_ends_says_so_once():
    harness = Harness(recovery_removal_limit=0.0)
    harness.recover(admitted=["m-S0"])
    (timer,) = [e for e in harness.of(StartTimer) if "Recovered" in repr(e) or e.delay_s == 600.0]
    harness.feed(timer.event)
    assert len(harness.of(EndMaster)) == 1


def test_unregistering_ends_draining():
    harness = with_task()
    harness.operate(DrainAgent(A))
    harness.feed(UnregistrationReceived(AGENT, A))
    harness.write_all()
    assert not harness.state.draining
