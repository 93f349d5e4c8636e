"""What the allocator is told of frameworks: roles, silenced roles, wishes for offers."""

from typing import get_args

from cluster.core.allocator.events import (
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkTraits,
    FrameworkUpdated,
    ResourcesRecovered,
)
from cluster.core.master.agents import RunningExecutor
from cluster.core.master.effects import (
    SendFrameworkError,
    SendRescind,
    SendUpdateFramework,
    StartTimer,
)
from cluster.core.master.events import AllocationIntervalElapsed, FailoverTimedOut, PeerLost
from cluster.core.master.offering import FULL_AGENT_REFUSE_S
from cluster.core.master.tallies import CALL_NAMES
from cluster.model.calls import (
    Call,
    Deactivate,
    Decline,
    Teardown,
    UnsupportedCall,
    UpdateFramework,
    UpdateRefused,
)
from cluster.model.constraints import OfferConstraints
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, ExecutorId, FrameworkId
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec
from tests.unit.master.core_harness import SCHEDULER, Harness, framework_spec

MULTI = frozenset({FrameworkCapability.MULTI_ROLE})
NOWHERE = OfferConstraints({"a": ()})
NO_SMALL = {"a": ({"cpus": 4000},)}
ID = FrameworkId("m-0000")


def multi_role(*roles, **changes):
    return framework_spec(**{"roles": roles, "capabilities": MULTI, **changes})


def test_the_allocator_learns_what_a_framework_can_take():
    world = Harness()
    spec = multi_role("a", "b", min_allocatable=NO_SMALL)
    world.subscribe(spec, suppressed=["b"], constraints=NOWHERE)
    assert world.told(FrameworkAdded) == [
        FrameworkAdded(
            ID,
            ("a", "b"),
            frozenset({"b"}),
            active=True,
            traits=FrameworkTraits(MULTI, NO_SMALL, NOWHERE),
        )
    ]


def test_an_update_replaces_every_wish():
    world = Harness()
    world.subscribe(multi_role("a", "b", min_allocatable=NO_SMALL), constraints=NOWHERE)
    world.told()
    world.call(UpdateFramework(multi_role("a", framework_id=ID), frozenset({"a"})))
    assert world.told(FrameworkUpdated) == [
        FrameworkUpdated(ID, ("a",), frozenset({"a"}), FrameworkTraits(MULTI, {}, None))
    ]
    assert world.state.frameworks.get(ID).constraints is None


def test_so_does_a_new_subscription():
    world = Harness()
    world.subscribe(multi_role("a"))
    world.told()
    spec = multi_role("a", framework_id=ID, min_allocatable=NO_SMALL)
    world.subscribe(spec, constraints=NOWHERE)
    told = world.told(FrameworkUpdated, FrameworkActivated)
    assert told == [
        FrameworkUpdated(ID, ("a",), frozenset(), FrameworkTraits(MULTI, NO_SMALL, NOWHERE)),
        FrameworkActivated(ID),
    ]


def test_a_broken_update_changes_nothing_and_ends_the_driver():
    world = Harness()
    world.subscribe(multi_role("a"), constraints=NOWHERE)
    world.told()
    effects = world.call(UpdateRefused("offer_constraints[a]: no"))
    assert SendFrameworkError(SCHEDULER, "offer_constraints[a]: no") in effects
    assert world.told(FrameworkUpdated) == []
    assert world.state.frameworks.get(ID).constraints is NOWHERE


def test_leaving_a_role_rescinds_its_offers_and_no_others():
    world = Harness()
    world.subscribe(multi_role("a"))
    world.register()
    world.write()
    (offer,) = world.allocate()
    world.register(PeerId("slave(1)@10.0.0.11:5051"), hostname="other")
    world.call(UpdateFramework(multi_role("a", "b", framework_id=ID), frozenset()))
    assert world.of(SendRescind) == []
    effects = world.call(UpdateFramework(multi_role("b", framework_id=ID), frozenset()))
    assert [e for e in effects if isinstance(e, SendRescind)] == [
        SendRescind(SCHEDULER, offer.offer_id)
    ]
    assert [type(e) for e in effects if isinstance(e, SendRescind | SendUpdateFramework)] == [
        SendRescind,
        SendUpdateFramework,
    ]
    world.write()
    assert {each.role for each in world.allocate()} == {"b"}


def test_a_new_subscription_with_fewer_roles_rescinds_too():
    world = Harness()
    world.subscribe(multi_role("a", "b"))
    world.register()
    world.write()
    (offer,) = world.allocate()
    world.subscribe(multi_role("b", framework_id=ID))
    assert [e.offer_id for e in world.of(SendRescind)] == [offer.offer_id]
    assert {each.role for each in world.allocate()} == {"b"}


def test_silence_waits_for_the_failover_timeout_and_then_ends_the_framework():
    world = Harness()
    world.subscribe(framework_spec(failover_timeout_s=30.0))
    world.told()
    effects = world.feed(PeerLost(SCHEDULER))
    (timer,) = [e for e in effects if isinstance(e, StartTimer)]
    assert timer.delay_s == 30.0
    assert world.told(FrameworkDeactivated, FrameworkRemoved) == [FrameworkDeactivated(ID)]
    world.feed(timer.event)
    assert world.told(FrameworkRemoved) == [FrameworkRemoved(ID)]
    assert world.state.frameworks.is_completed(ID)


def test_a_timer_of_an_earlier_silence_means_nothing():
    world = Harness()
    world.subscribe()
    world.feed(PeerLost(SCHEDULER))
    stale = world.state.frameworks.get(ID).generation
    world.subscribe(framework_spec(ID))
    world.feed(PeerLost(SCHEDULER))
    world.feed(FailoverTimedOut(ID, stale))
    assert not world.state.frameworks.is_completed(ID)


def test_completed_frameworks_are_remembered_up_to_the_limit_and_may_come_back_beyond_it():
    world = Harness(completed_frameworks_max=1)
    for number in range(2):
        peer = PeerId(f"scheduler-{number}@10.0.0.20:1")
        world.subscribe(peer=peer)
        world.call(Teardown(), f"m-000{number}", peer)
    assert [f.framework_id for f in world.state.frameworks.completed] == ["m-0001"]
    world.subscribe(framework_spec(FrameworkId("m-0001")))
    assert "has been removed" in world.of(SendFrameworkError)[-1].message
    world.subscribe(framework_spec(ID))
    assert world.state.frameworks.get(ID) is not None


def test_every_call_has_a_name_to_be_counted_by():
    counted = {kind for kind in get_args(Call) if kind not in (UnsupportedCall, Deactivate)}
    assert set(CALL_NAMES) == counted


def test_an_agent_with_as_many_executors_as_it_may_have_is_not_offered():
    world = Harness(executors_per_agent_max=1)
    world.subscribe()
    world.register()
    world.write()
    agent = world.state.agents.get(AgentId("m-S0"))
    (offer,) = world.allocate()
    world.call(Decline((offer.offer_id,), 0.0))
    executor = ExecutorSpec(ExecutorId("e"), None, Resources.parse(""), None, "e")
    agent.executors[ID, ExecutorId("e")] = RunningExecutor(executor, "*")
    world.now_s += 2.0
    world.feed(AllocationIntervalElapsed())
    world.told()
    assert world.allocate() == []
    (back,) = world.told(ResourcesRecovered)
    assert (back.resources, back.refuse_s) == (offer.resources, FULL_AGENT_REFUSE_S)
    del agent.executors[ID, ExecutorId("e")]
    world.now_s += FULL_AGENT_REFUSE_S
    world.feed(AllocationIntervalElapsed())
    assert len(world.allocate()) == 1
