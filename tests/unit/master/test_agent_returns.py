"""An agent that was never given up comes back with another report (master.md §3.2)."""

import pytest

from cluster.core.allocator.events import AgentUpdated
from cluster.core.master.effects import (
    SendAgentReregistered,
    SendAgentShutdown,
    SendReport,
    SendRescind,
)
from cluster.core.master.events import (
    AllocationIntervalElapsed,
    OperatorCallReceived,
    PeerLost,
)
from cluster.model.attributes import Attributes
from cluster.model.calls import Accept, Decline, Launch
from cluster.model.constraints import AgentFacts
from cluster.model.domains import FaultDomain
from cluster.model.ids import AgentId, ExecutorId, FrameworkId
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import StartMaintenance, UpdateMaintenanceSchedule
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec
from tests.unit.master.core_harness import (
    AGENT,
    Harness,
    framework_spec,
    task_report,
    task_spec,
)

A, B = AgentId("m-S0"), AgentId("m-S1")
FRAMEWORK = FrameworkId("m-0000")
RACK = Attributes.parse("rack:r2")
ELSEWHERE = PeerId("slave(1)@10.0.0.11:5051")
EXECUTOR = ExecutorSpec(
    ExecutorId("e"), FRAMEWORK, Resources.parse("cpus:0.5;mem:64"), "*", payload="e"
)


def with_tasks(*tasks, **options):
    """One agent, one framework with these tasks, the rest of the agent offered."""
    harness = Harness(**options)
    harness.recover()
    harness.register()
    harness.write()
    harness.subscribe()
    (offer,) = harness.allocate()
    if tasks:
        harness.call(Accept((offer.offer_id,), (Launch(tasks),), 0.0))
        for task in tasks:
            harness.update(task.task_id)
        harness.now_s += 10.0
        harness.feed(AllocationIntervalElapsed())
        harness.allocate()
    harness.effects.clear()
    return harness


def come_back(harness, tasks=(), executors=(), **changes):
    known = [framework_spec(FRAMEWORK)]
    harness.reregister(tasks, known, executors, **changes)
    harness.write_all()


def booked(harness):
    return harness.state.allocator.booked(FRAMEWORK, "*", A)


def test_an_executor_that_ended_meanwhile_is_forgotten_and_what_it_held_is_free():
    harness = with_tasks(task_spec(executor=EXECUTOR), task_spec("u"))
    record = harness.state.agents.get(A)
    assert list(record.executors) == [(FRAMEWORK, "e")]
    harness.feed(PeerLost(AGENT))
    assert booked(harness) == Resources.parse("cpus:2.5;mem:192")
    come_back(harness, [task_report("t"), task_report("u")])
    assert not record.executors
    assert booked(harness) == Resources.parse("cpus:2;mem:128")


def test_an_executor_that_still_runs_is_kept():
    harness = with_tasks(task_spec(executor=EXECUTOR))
    harness.feed(PeerLost(AGENT))
    come_back(harness, [task_report()], [EXECUTOR])
    assert list(harness.state.agents.get(A).executors) == [(FRAMEWORK, "e")]
    assert booked(harness) == Resources.parse("cpus:1.5;mem:128")


def test_a_task_that_the_master_did_not_know_is_told_and_booked():
    harness = with_tasks(task_spec())
    (offer,) = harness.state.offers.of_agent(A)
    come_back(harness, [task_report("t"), task_report("new", text="cpus:2;mem:64")])
    (report,) = [effect.report for effect in harness.of(SendReport)]
    assert (report.task_id, report.state.name) == ("new", "RUNNING")
    assert report.reason.name == "AGENT_REREGISTERED"
    assert [effect.offer_id for effect in harness.of(SendRescind)] == [offer.offer_id]
    (again,) = harness.allocate()
    assert again.resources.unallocated() == Resources.parse("cpus:1;mem:3968")


@pytest.mark.parametrize(
    "facts",
    [AgentFacts("host", RACK), AgentFacts("host", domain=FaultDomain("r", "z2"))],
    ids=["attributes", "domain"],
)
def test_an_agent_that_describes_itself_anew_is_offered_anew(facts):
    """What was refused on it was refused of the agent as it was."""
    harness = with_tasks(domain=FaultDomain("r", "z1"))
    (offer,) = harness.state.offers.of_agent(A)
    harness.call(Decline((offer.offer_id,), 3600.0))
    harness.now_s += 100.0
    come_back(harness)
    assert not harness.allocate(), "the same agent stays refused"
    harness.told()
    come_back(harness, facts=facts)
    (told,) = harness.told(AgentUpdated)
    assert told.traits.facts == facts
    (again,) = harness.allocate()
    come_back(harness, facts=AgentFacts("other"))
    assert [effect.offer_id for effect in harness.of(SendRescind)] == [again.offer_id]


def test_an_agent_that_comes_back_at_the_address_of_another_ends_that_one():
    harness = with_tasks()
    harness.register(peer=ELSEWHERE, ip="10.0.0.10")
    harness.write()
    assert harness.state.agents.at_peer(ELSEWHERE).agent_id == B
    harness.feed(PeerLost(ELSEWHERE))
    come_back(harness, peer=ELSEWHERE)
    assert harness.state.agents.get(B) is None
    assert harness.state.agents.at_peer(ELSEWHERE).agent_id == A
    assert [effect.agent_id for effect in harness.of(SendAgentReregistered)] == [A]


def test_an_agent_whose_machine_goes_down_while_it_is_taken_back_is_turned_away():
    harness = Harness()
    harness.recover(admitted=["m-S0"])
    machine = MachineId("host", "10.0.0.10")
    window = MaintenanceWindow((machine,), Unavailability(2000.0, 60.0))
    assert harness.operate(UpdateMaintenanceSchedule((window,))).status == 200
    harness.feed(OperatorCallReceived(99, StartMaintenance((machine,))))
    harness.reregister()
    harness.write_all()
    assert [effect.message for effect in harness.of(SendAgentShutdown)] == ["Machine is `DOWN`"]
    assert harness.state.agents.get(A) is None
