"""What the master does while the registry is still being written, and after it has been read."""

import pytest

from cluster.core.master.effects import (
    EndMaster,
    RecoveryTimer,
    SendAgentLost,
    SendAgentRegistered,
    SendAgentReregistered,
    SendAgentShutdown,
    SendReport,
    StartTimer,
    Warn,
    WriteRegistry,
)
from cluster.core.master.events import (
    AgentPingsMissed,
    AgentRecoveryTimedOut,
    PeerLost,
    UnregistrationReceived,
)
from cluster.core.master.registry import AdmitAgent, MarkAgentUnreachable
from cluster.model.calls import Accept, Launch, Reconcile, Teardown
from cluster.model.ids import AgentId, TaskId
from cluster.model.peers import PeerId
from tests.unit.master.core_harness import (
    AGENT,
    SCHEDULER,
    Harness,
    framework_spec,
    slave_info,
    task_report,
    task_spec,
)

A, B = AgentId("m-S0"), AgentId("m-S1")
OTHER = PeerId("slave(1)@10.0.0.11:5051")


def running_task(**options):
    """A harness with one agent, one framework and one running task."""
    harness = Harness(**options)
    harness.register()
    harness.write()
    harness.subscribe()
    (offer,) = harness.allocate()
    harness.call(Accept((offer.offer_id,), (Launch((task_spec(),)),), 0.0))
    harness.update()
    return harness


def test_nobody_is_answered_before_the_registry_knows():
    harness = Harness()
    harness.register()
    assert harness.pending_operations == [AdmitAgent(A, slave_info(A))]
    harness.register()
    assert len(harness.pending_writes) == 1, "one registration of a pid at a time"
    assert not harness.of(SendAgentRegistered)
    harness.write()
    assert [e.agent_id for e in harness.of(SendAgentRegistered)] == [A]


def test_link_loss_while_admitting_is_found_out_by_pings_later():
    harness = Harness()
    harness.register()
    harness.feed(PeerLost(AGENT))
    harness.write()
    assert harness.state.agents.get(A).is_connected


def test_agent_being_marked_unreachable_gets_no_offers_and_cannot_return_yet():
    harness = running_task()
    harness.allocate()
    harness.feed(AgentPingsMissed(A))
    assert not len(harness.state.offers)
    assert not harness.allocate()
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.feed(UnregistrationReceived(AGENT, A))
    harness.feed(AgentPingsMissed(A))
    assert harness.pending_operations == [MarkAgentUnreachable(A, harness.now_s)]
    assert not harness.of(SendAgentLost)
    harness.write()
    assert [e.agent_id for e in harness.of(SendAgentLost)] == [A]
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.reregister([task_report()], [framework_spec("m-0000")])
    assert len(harness.pending_writes) == 1, "one return at a time"
    harness.write()
    assert len(harness.of(SendAgentReregistered)) == 1
    assert harness.state.tasks.get("m-0000", "t") is not None


def test_an_agent_that_loses_its_address_while_it_is_admitted_is_removed():
    harness = Harness()
    harness.register()
    harness.reregister(agent_id="m-S1")
    harness.write_all()
    assert [agent.agent_id for agent in harness.state.agents] == [B]
    assert not harness.of(SendAgentRegistered), "nobody by that name listens there any more"
    assert [e.agent_id for e in harness.of(SendAgentReregistered)] == [B]
    assert harness.state.registry.admitted_ids == (B,)


def test_an_agent_that_loses_its_address_while_it_returns_is_removed():
    harness = running_task()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.reregister(agent_id="m-S1")
    harness.write_all()
    assert [agent.agent_id for agent in harness.state.agents] == [B]
    assert not len(harness.state.tasks)
    assert harness.of(SendReport)[-1].report.state.name == "LOST"


def test_framework_removed_while_its_agent_returns():
    harness = running_task()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.call(Teardown())
    harness.write()
    assert not len(harness.state.tasks)


def test_gone_agent_is_shut_down():
    harness = Harness()
    harness.recover(gone=["lost"])
    harness.reregister(agent_id="lost")
    (shutdown,) = harness.of(SendAgentShutdown)
    assert shutdown.message == "Agent has been marked gone"


def test_recovered_agents_are_awaited_and_then_given_up():
    harness = Harness(agent_reregister_timeout_s=600.0)
    harness.recover(admitted=["m-S0", "m-S1"])
    harness.subscribe()
    (timer,) = [e for e in harness.of(StartTimer) if e.key == RecoveryTimer()]
    assert timer.delay_s == 600.0
    # While any agent is awaited, a question without an agent cannot be answered.
    question = Reconcile(((TaskId("t"), None), (TaskId("t"), A)))
    harness.call(question)
    assert not harness.of(SendReport)
    harness.reregister([task_report(framework_id="m-0000")], [framework_spec("m-0000")])
    harness.write()
    assert not harness.state.agents.is_recovered(A)
    harness.feed(timer.event)
    assert harness.pending_operations == [MarkAgentUnreachable(B, harness.now_s)]
    harness.reregister(agent_id=B, peer=OTHER)
    assert len(harness.pending_writes) == 1, "it is being given up"
    harness.write()
    assert [e.agent_id for e in harness.of(SendAgentLost)] == [B]
    assert harness.state.standing(B).name == "UNREACHABLE"
    harness.reregister(agent_id=B, peer=OTHER)
    harness.write()
    assert harness.state.agents.get(B).is_connected


@pytest.mark.parametrize(("limit", "ends"), [(0.49, True), (0.5, False)])
def test_too_many_missing_agents_end_the_master(limit, ends):
    harness = Harness(recovery_removal_limit=limit)
    harness.recover(admitted=["m-S0", "m-S1"])
    harness.reregister()
    harness.write()
    harness.feed(AgentRecoveryTimedOut())
    assert bool(harness.of(EndMaster)) is ends
    assert bool(harness.pending_writes) is not ends
    assert harness.state.tally.counts["recovery_slave_removals"] == (0 if ends else 1)
    if ends:
        (end,) = harness.of(EndMaster)
        assert end.text == (
            "1 of 2 agents did not come back, which is more than "
            "--recovery_agent_removal_limit allows (49%)"
        )


def test_an_agent_that_another_replaces_is_counted_as_such():
    harness = Harness()
    harness.register()
    harness.write()
    harness.feed(PeerLost(AGENT))
    harness.register()
    harness.write_all()
    counts = harness.state.tally.counts
    assert counts["slave_removals"] == counts["slave_removals/reason_registered"] == 1
    assert counts["slave_removals/reason_unregistered"] == 0


def test_new_agents_never_get_the_id_of_a_known_one():
    harness = Harness()
    harness.recover(admitted=["m-S0"], gone=["m-S1"])
    harness.register()
    assert harness.pending_operations == [AdmitAgent(AgentId("m-S2"), slave_info("m-S2"))]


def test_old_reregistration_timer_means_nothing():
    harness = running_task()
    harness.feed(PeerLost(AGENT))
    (timer,) = harness.of(StartTimer)
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.feed(timer.event)
    harness.feed(PeerLost(AGENT))
    harness.feed(timer.event)
    assert not harness.pending_writes


def test_calls_of_a_stranger_are_named_in_the_warning():
    harness = running_task()
    effects = harness.call(Reconcile(()), peer="scheduler-9@10.0.0.99:1")
    (warning,) = effects
    assert isinstance(warning, Warn)
    assert "Reconcile for framework m-0000 from scheduler-9@10.0.0.99:1" in warning.text
    assert harness.call(Reconcile(()), peer=SCHEDULER)


def test_changed_description_is_written_to_the_registry():
    harness = running_task()
    harness.reregister([task_report()], [framework_spec("m-0000")], text="cpus:8;mem:4096")
    assert [type(e.operation).__name__ for e in harness.of(WriteRegistry)][-1] == "UpdateAgent"
    harness.write()


def test_ports_reported_by_two_tasks_are_counted_once():
    harness = Harness()
    reports = [task_report("t", text="cpus:1;ports:[5-9]"), task_report("u", text="ports:[8-12]")]
    harness.reregister(reports, [framework_spec("m-0000")], text="cpus:2;ports:[1-20]")
    harness.write()
    harness.subscribe(framework_spec("m-0000"))
    (offer,) = harness.allocate()
    assert offer.resources.ranges("ports") == ((1, 4), (13, 20))
    harness.update("t", "FINISHED")
    harness.update("u", "FINISHED")
    assert any("used twice" in warning.text for warning in harness.of(Warn))
