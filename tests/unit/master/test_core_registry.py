"""What the master does while the registry is still being written, and after it has been read."""

from cluster.core.master.effects import (
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
    AgentsRecovered,
    PeerLost,
    RegistryWritten,
    ReregistrationTimedOut,
    UnregistrationReceived,
)
from cluster.core.master.registry import AdmitAgent, MarkAgentGone, MarkAgentUnreachable
from cluster.model.calls import Accept, Launch, Reconcile, Teardown
from cluster.model.ids import AgentId, TaskId
from tests.unit.master.core_harness import (
    AGENT,
    SCHEDULER,
    Harness,
    framework_spec,
    task_report,
    task_spec,
)

A = AgentId("m-S0")


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
    assert harness.pending_writes == [AdmitAgent(A)]
    harness.register()
    assert harness.pending_writes == [AdmitAgent(A)], "one registration of a pid at a time"
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
    assert harness.pending_writes == [MarkAgentUnreachable(A, harness.now_s)]
    assert not harness.of(SendAgentLost)
    harness.write()
    assert [e.agent_id for e in harness.of(SendAgentLost)] == [A]
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.reregister([task_report()], [framework_spec("m-0000")])
    assert len(harness.pending_writes) == 1, "one return at a time"
    harness.write()
    assert len(harness.of(SendAgentReregistered)) == 1
    assert harness.state.tasks.get("m-0000", "t") is not None


def test_framework_removed_while_its_agent_returns():
    harness = running_task()
    harness.feed(AgentPingsMissed(A))
    harness.write()
    harness.reregister([task_report()], [framework_spec("m-0000")])
    harness.call(Teardown())
    harness.write()
    assert not len(harness.state.tasks)


def test_gone_agent_is_shut_down():
    harness = running_task()
    harness.feed(RegistryWritten(MarkAgentGone(AgentId("lost"), 1.0)))
    harness.reregister(agent_id="lost")
    (shutdown,) = harness.of(SendAgentShutdown)
    assert shutdown.message == "Agent has been marked gone"


def test_recovered_agents_are_awaited_and_then_given_up():
    harness = Harness(agent_reregister_timeout_s=600.0)
    harness.subscribe()
    harness.feed(AgentsRecovered((A, AgentId("m-S1"))))
    assert {e.delay_s for e in harness.of(StartTimer)} == {600.0}
    # While any agent is awaited, a question without an agent cannot be answered.
    question = Reconcile(((TaskId("t"), None), (TaskId("t"), A)))
    harness.call(question)
    assert not harness.of(SendReport)
    harness.reregister([task_report(framework_id="m-0000")], [framework_spec("m-0000")])
    harness.write()
    assert not harness.state.agents.is_recovered(A)
    harness.feed(ReregistrationTimedOut(A, -1))
    assert not harness.pending_writes, "it is back"
    harness.feed(ReregistrationTimedOut(AgentId("m-S1"), -1))
    harness.write()
    assert [e.agent_id for e in harness.of(SendAgentLost)] == ["m-S1"]
    assert harness.state.standing(AgentId("m-S1")).name == "UNREACHABLE"


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
