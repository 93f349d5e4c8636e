"""Offers, what becomes of them, and launches (master.md §5, §6)."""

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import (
    MULTI_ROLE,
    PARTITION_AWARE,
    framework_info,
    master_world,
    resources,
    task_info,
)

pytestmark = pytest.mark.asyncio


def scalars(offer):
    return {r.name: r.scalar.value for r in offer.resources}


async def test_an_offer_in_full():
    async with master_world() as world:
        agent = await world.agent(total="cpus:4;mem:4096;ports:[31000-32000]")
        scheduler_ = await world.scheduler()
        (message,) = scheduler_.of(internal.ResourceOffersMessage)
        (offer,) = message.offers
        assert list(message.pids) == [str(agent.pid)]
        assert offer.id.value == "m-O0"
        assert offer.framework_id.value == "m-0000"
        assert (offer.slave_id.value, offer.hostname) == ("m-S0", "agent-host")
        assert offer.url == mesos.URL(
            scheme="http",
            address=mesos.Address(hostname="agent-host", ip=agent.pid.ip, port=5051),
            path="/slave(1)",
        )
        assert not offer.HasField("allocation_info")
        assert not any(r.HasField("allocation_info") for r in offer.resources)
        assert all(r.role == "*" for r in offer.resources)


async def test_limits_beside_the_request_reach_the_agent_and_book_nothing_more():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        task = task_info("t", agent.agent_id)
        task.limits["cpus"].value = 3.0
        task.limits["mem"].value = float("inf")
        low = task_info("low", agent.agent_id)
        low.limits["mem"].value = 1.0
        scheduler_.accept(scheduler_.offers, [task, low], refuse_s=0.0)
        await world.advance(2.0)
        (launch,) = agent.of(internal.RunTaskMessage)
        assert dict(launch.task.limits) == dict(task.limits)
        assert scalars(scheduler_.offers[-1]) == {"cpus": 3.0, "mem": 4032.0}
        assert scheduler_.updates[-1].status.message == (
            "task 'low': limits: mem must be at least the request of 64"
        )


async def test_executors_of_the_framework_are_listed_and_started_once():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(
            scheduler_.offers,
            [
                task_info("t1", agent.agent_id, executor="e"),
                task_info("t2", agent.agent_id, executor="e"),
            ],
            refuse_s=0.0,
        )
        await world.advance(2.0)
        launches = agent.of(internal.RunTaskMessage)
        assert [launch.launch_executor for launch in launches] == [True, False]
        assert {x.task.executor.framework_id.value for x in launches} == {scheduler_.framework_id}
        offer = scheduler_.offers[-1]
        assert [executor.value for executor in offer.executor_ids] == ["e"]
        assert scalars(offer) == {"cpus": 1.9, "mem": 4096.0 - 160.0}
        # When the executor is gone, what it held is offered again.
        scheduler_.decline([offer], refuse_s=0.0)
        exited = internal.ExitedExecutorMessage(
            slave_id=mesos.SlaveID(value=agent.agent_id),
            framework_id=mesos.FrameworkID(value=scheduler_.framework_id),
            executor_id=mesos.ExecutorID(value="e"),
            status=256,
        )
        agent.send(world.master.pid, exited)
        await world.advance(2.0)
        assert scheduler_.of(internal.ExitedExecutorMessage) == [exited]
        assert scalars(scheduler_.offers[-1]) == {"cpus": 2.0, "mem": 4096.0 - 128.0}


async def test_an_offer_held_too_long_goes_to_others_first():
    async with master_world(offer_timeout_s=10.0) as world:
        await world.agent()
        hoarder = await world.scheduler()
        patient = await world.scheduler("scheduler-2")
        await world.advance(9.5)
        assert not hoarder.rescinded
        await world.advance(1.0)
        assert hoarder.rescinded == ["m-O0"]
        assert [offer.id.value for offer in patient.offers] == ["m-O1"]
        await world.advance(10.0)
        assert patient.rescinded == ["m-O1"]
        assert [offer.id.value for offer in hoarder.offers] == ["m-O0", "m-O2"]


async def test_an_offer_may_be_declined_just_before_its_time_is_up():
    """Both wait in the mailbox at once: the timer has run out, but the decline comes first."""
    async with master_world(offer_timeout_s=10.0) as world:
        await world.agent()
        declines = []
        world.clock.call_later(10.0, lambda: declines[0]())
        scheduler_ = await world.scheduler()
        call = scheduler.Call(
            type=scheduler.Call.DECLINE,
            framework_id=mesos.FrameworkID(value=scheduler_.framework_id),
        )
        call.decline.offer_ids.add(value="m-O0")
        declines.append(
            lambda: world.runtime.post(
                world.master.pid,
                call.DESCRIPTOR.full_name,
                call.SerializeToString(),
                sender=scheduler_.pid,
            )
        )
        await world.advance(10.0)
        assert not scheduler_.rescinded
        await world.advance(20.0)
        # The offer made after that runs out in its turn.
        assert scheduler_.rescinded == ["m-O1"]


async def test_an_offer_held_too_long_comes_back_when_nobody_else_wants_it():
    async with master_world(offer_timeout_s=10.0) as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        await world.advance(12.0)
        assert [offer.id.value for offer in scheduler_.offers] == ["m-O0", "m-O1"]


async def test_offers_are_held_for_five_minutes_by_default():
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        await world.advance(299.0)
        assert not scheduler_.rescinded
        await world.advance(1.5)
        assert scheduler_.rescinded == ["m-O0"]


async def test_without_offer_timeout_an_offer_stays():
    async with master_world(offer_timeout_s=None) as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        await world.advance(100_000.0)
        assert not scheduler_.rescinded


async def test_suppress_and_revive():
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.call("SUPPRESS")
        scheduler_.decline(scheduler_.offers, refuse_s=0.0)
        await world.advance(20.0)
        assert len(scheduler_.offers) == 1
        scheduler_.call("REVIVE")
        await world.settle()
        assert len(scheduler_.offers) == 2
        # Revive also clears filters.
        scheduler_.decline(scheduler_.offers[1:], refuse_s=3600.0)
        await world.advance(20.0)
        assert len(scheduler_.offers) == 2
        scheduler_.call("REVIVE")
        await world.advance(1.0)
        assert len(scheduler_.offers) == 3


async def test_what_is_left_of_accepted_offers_is_refused_with_the_calls_filter():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers, [task_info("t", agent.agent_id)], refuse_s=30.0)
        await world.advance(25.0)
        assert len(scheduler_.offers) == 1
        await world.advance(10.0)
        assert scalars(scheduler_.offers[-1]) == {"cpus": 3.0, "mem": 4032.0}


async def test_accept_without_operations_is_a_decline():
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler()
        scheduler_.accept(scheduler_.offers, [], refuse_s=30.0)
        await world.advance(25.0)
        assert len(scheduler_.offers) == 1
        assert not scheduler_.updates
        await world.advance(10.0)
        assert len(scheduler_.offers) == 2


async def test_offers_of_one_agent_and_role_can_be_combined():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "first", "cpus:3;mem:64")
        await world.advance(6.0)
        agent.update(scheduler_.framework_id, "first", "TASK_FINISHED")
        await world.advance(2.0)
        parts = scheduler_.offers[1:]
        assert len(parts) == 2
        scheduler_.accept(parts, [task_info("big", agent.agent_id, "cpus:4;mem:4096")])
        await world.settle()
        assert agent.of(internal.RunTaskMessage)[-1].task.task_id.value == "big"


UNKNOWN_OFFER = mesos.Offer(id=mesos.OfferID(value="m-O99"))


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (lambda one, two: [], "no offers specified"),
        (lambda one, two: [one, one], "duplicate offer m-O0"),
        (lambda one, two: [one, UNKNOWN_OFFER, two], "m-O99 is no longer valid"),
        (lambda one, two: [one, two], "different agents"),
    ],
)
@pytest.mark.parametrize(
    ("capabilities", "state"), [((), "TASK_LOST"), ((PARTITION_AWARE,), "TASK_DROPPED")]
)
async def test_invalid_offers_lose_the_tasks_and_end_the_valid_offers(
    chosen, reason, capabilities, state
):
    async with master_world() as world:
        one, two = await world.agent(), await world.agent(hostname="two")
        scheduler_ = await world.scheduler(info=framework_info(capabilities=capabilities))
        scheduler_.accept(chosen(*scheduler_.offers), [task_info("t", one.agent_id)])
        await world.settle()
        (update,) = scheduler_.updates
        assert scheduler_.states == [("t", state)]
        assert update.status.reason == mesos.TaskStatus.REASON_INVALID_OFFERS
        assert update.status.message.startswith("Task launched with invalid offers: ")
        assert reason in update.status.message
        assert not one.of(internal.RunTaskMessage)
        assert not two.of(internal.RunTaskMessage)
        assert not scheduler_.rescinded
        await world.advance(1.5)
        assert len(world.state.offers) == 2, "the offers came back without a filter"


async def test_offers_of_two_roles_cannot_be_combined():
    async with master_world() as world:
        agent = await world.agent(total="cpus(a):2;mem(a):64;cpus(b):2;mem(b):64")
        info = framework_info(capabilities=[MULTI_ROLE], roles=["a", "b"])
        scheduler_ = await world.scheduler(info=info)
        assert sorted(o.allocation_info.role for o in scheduler_.offers) == ["a", "b"]
        scheduler_.accept(scheduler_.offers, [task_info("t", agent.agent_id)])
        await world.settle()
        assert "different roles" in scheduler_.updates[-1].status.message


async def test_offer_of_another_framework_cannot_be_used_nor_declined():
    async with master_world() as world:
        agent = await world.agent()
        owner = await world.scheduler("scheduler-1")
        thief = await world.scheduler("scheduler-2")
        thief.decline(owner.offers)
        thief.accept(owner.offers, [task_info("t", agent.agent_id)])
        await world.settle()
        assert "another framework" in thief.updates[-1].status.message
        assert len(world.state.offers.of_framework(owner.framework_id)) == 1


async def test_one_bad_task_does_not_stop_the_good_ones_of_a_launch():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        bad = task_info("no/slashes", agent.agent_id)
        twice = task_info("good", agent.agent_id)
        elsewhere = task_info("elsewhere", "other-agent")
        good = task_info("good", agent.agent_id)
        scheduler_.accept(scheduler_.offers, [bad, good, twice, elsewhere])
        await world.settle()
        assert [x.task.task_id.value for x in agent.of(internal.RunTaskMessage)] == ["good"]
        assert scheduler_.states == [
            ("no/slashes", "TASK_ERROR"),
            ("good", "TASK_ERROR"),
            ("elsewhere", "TASK_ERROR"),
        ]
        messages = [update.status.message for update in scheduler_.updates]
        assert "slashes" in messages[0]
        assert "already in use" in messages[1]
        assert "other-agent" in messages[2]


async def test_an_executor_id_means_one_description_on_an_agent():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        other = task_info("t2", agent.agent_id, executor="e")
        other.executor.command.value = "something else"
        foreign = task_info("t3", agent.agent_id, executor="f")
        foreign.executor.framework_id.value = "another"
        scheduler_.accept(
            scheduler_.offers, [task_info("t1", agent.agent_id, executor="e"), other, foreign]
        )
        await world.settle()
        assert scheduler_.states == [("t2", "TASK_ERROR"), ("t3", "TASK_ERROR")]
        assert "another description" in scheduler_.updates[0].status.message
        assert "executor.framework_id" in scheduler_.updates[1].status.message


async def test_refused_operations_are_answered_and_their_resources_return(caplog):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        accept = scheduler.Call.Accept(offer_ids=[o.id for o in scheduler_.offers])
        group = accept.operations.add(type=mesos.Offer.Operation.LAUNCH_GROUP).launch_group
        group.executor.executor_id.value = "g"
        group.task_group.tasks.append(task_info("in-group", agent.agent_id))
        reserve = accept.operations.add(type=mesos.Offer.Operation.RESERVE).reserve
        reserve.resources.extend(resources("cpus:1"))
        accept.filters.refuse_seconds = 0.0
        scheduler_.call("ACCEPT", accept=accept)
        await world.advance(2.0)
        assert scheduler_.states == [("in-group", "TASK_ERROR")]
        status = scheduler_.updates[0].status
        assert status.reason == mesos.TaskStatus.REASON_TASK_GROUP_INVALID
        assert status.message == "executor.type: must be DEFAULT or CUSTOM in a LAUNCH_GROUP"
        assert "RESERVE" in caplog.text
        assert scalars(scheduler_.offers[-1]) == {"cpus": 4.0, "mem": 4096.0}


async def test_reserved_resources_go_to_their_role_in_either_spelling():
    async with master_world() as world:
        agent = await world.agent(total="cpus:2;mem:2048;cpus(ads):1")
        refinement = mesos.FrameworkInfo.Capability.RESERVATION_REFINEMENT
        new = await world.scheduler(
            "scheduler-1",
            framework_info(capabilities=[MULTI_ROLE, refinement], roles=["ads"]),
        )
        reserved = [r for r in new.offers[0].resources if r.reservations]
        assert [(r.name, r.reservations[0].role) for r in reserved] == [("cpus", "ads")]
        new.decline(new.offers, refuse_s=1e6)
        old = await world.scheduler("scheduler-2", framework_info(role="ads"))
        await world.advance(1.0)
        assert sorted((r.name, r.role) for r in old.offers[0].resources) == [
            ("cpus", "*"),
            ("cpus", "ads"),
            ("mem", "*"),
        ]
        task = task_info("t", agent.agent_id, "cpus(ads):1;mem:64")
        old.accept(old.offers, [task])
        await world.settle()
        (launch,) = agent.of(internal.RunTaskMessage)
        cpus = launch.task.resources[0]
        assert not cpus.HasField("role")
        assert [(r.role, r.type) for r in cpus.reservations] == [
            ("ads", mesos.Resource.ReservationInfo.STATIC)
        ]
        assert cpus.allocation_info.role == "ads"


async def test_weights_of_the_flag_reach_the_allocator():
    async with master_world(weights="heavy=3") as world:
        heavy = await world.scheduler("scheduler-1", framework_info(role="heavy"))
        light = await world.scheduler("scheduler-2", framework_info(role="light"))
        for number in range(8):
            await world.agent(hostname=f"host-{number}")
        assert (len(heavy.offers), len(light.offers)) == (6, 2)
