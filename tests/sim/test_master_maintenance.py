"""Maintenance from the schedule to the machine that is up again, message by message."""

import pytest

from cluster.core.master.maintenance import maintenance_status
from cluster.model.maintenance import (
    InverseOfferStatus,
    MachineId,
    MaintenanceWindow,
    Unavailability,
)
from cluster.model.operator_calls import (
    StartMaintenance,
    StopMaintenance,
    UpdateMaintenanceSchedule,
)
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import START_S, FakeAgent, framework_info, master_world

pytestmark = pytest.mark.asyncio

START = Unavailability(START_S + 3600.0, 600.0)


def machine_of(agent):
    return MachineId(agent.hostname, agent.pid.ip)


def schedule(unavailability, *agents):
    machines = tuple(machine_of(agent) for agent in agents)
    windows = (MaintenanceWindow(machines, unavailability),) if machines else ()
    return UpdateMaintenanceSchedule(windows)


def window_of(message):
    """When the agent of an offer or an inverse offer will be away, or None."""
    if not message.HasField("unavailability"):
        return None
    window = message.unavailability
    return window.start.nanoseconds / 1e9, window.duration.nanoseconds / 1e9


def answers(world):
    """machine -> framework -> last answer."""
    return {
        machine.hostname: {framework_id: answer.status.name for framework_id, answer in given}
        for machine, given in maintenance_status(world.state).draining.items()
    }


async def test_from_the_schedule_until_the_machine_is_up_again():
    async with master_world() as world:
        agent = await world.agent(hostname="here")
        other = await world.agent(hostname="there")
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        here, there = scheduler_.offers
        assert (here.slave_id.value, there.slave_id.value) == (agent.agent_id, other.agent_id)
        scheduler_.forget()
        # The schedule: only the offer of that agent is made anew, now with the window.
        assert await world.operate(schedule(START, agent)) == (200, "")
        assert scheduler_.rescinded == [here.id.value]
        (again,) = scheduler_.offers
        assert again.slave_id.value == agent.agent_id
        assert window_of(again) == (START.start_s, START.duration_s)
        (asked,) = [
            offer
            for message in scheduler_.of(internal.InverseOffersMessage)
            for offer in message.inverse_offers
        ]
        assert asked.slave_id.value == agent.agent_id
        assert window_of(asked) == (START.start_s, START.duration_s)
        assert answers(world) == {"here": {scheduler_.framework_id: "UNKNOWN"}}
        # The answer.
        scheduler_.call(
            "ACCEPT_INVERSE_OFFERS",
            accept_inverse_offers=scheduler.Call.AcceptInverseOffers(inverse_offer_ids=[asked.id]),
        )
        await world.settle()
        assert answers(world) == {"here": {scheduler_.framework_id: "ACCEPT"}}
        assert not maintenance_status(world.state).down
        # Down: the agent has to go, and may not come back.
        scheduler_.forget()
        assert await world.operate(StartMaintenance((machine_of(agent),))) == (200, "")
        assert [m.message for m in agent.of(internal.ShutdownMessage)] == ["Machine is `DOWN`"]
        assert scheduler_.rescinded == [again.id.value]
        assert [m.slave_id.value for m in scheduler_.of(internal.LostSlaveMessage)] == [
            agent.agent_id
        ]
        status = maintenance_status(world.state)
        assert (dict(status.draining), status.down) == ({}, (machine_of(agent),))
        agent.forget()
        agent.register()
        await world.settle()
        assert agent.of(internal.ShutdownMessage)
        assert not agent.of(internal.SlaveRegisteredMessage)
        # Up: it is an agent like others.
        assert await world.operate(StopMaintenance((machine_of(agent),))) == (200, "")
        scheduler_.forget()
        agent.register()
        await world.settle()
        (offer,) = scheduler_.offers
        assert offer.slave_id.value == agent.agent_id
        assert window_of(offer) is None
        assert maintenance_status(world.state).down == ()


async def test_another_time_voids_what_was_said_and_asked():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.operate(schedule(START, agent))
        (message,) = scheduler_.of(internal.InverseOffersMessage)
        scheduler_.call(
            "DECLINE_INVERSE_OFFERS",
            decline_inverse_offers=scheduler.Call.DeclineInverseOffers(
                inverse_offer_ids=[message.inverse_offers[0].id]
            ),
        )
        await world.settle()
        assert answers(world) == {agent.hostname: {scheduler_.framework_id: "DECLINE"}}
        scheduler_.forget()
        later = Unavailability(START.start_s + 86_400.0)
        await world.operate(schedule(later, agent))
        assert window_of(scheduler_.offers[-1]) == (later.start_s, 0.0)
        (message,) = scheduler_.of(internal.InverseOffersMessage)
        assert answers(world) == {agent.hostname: {scheduler_.framework_id: "UNKNOWN"}}
        # Taken out of the schedule: the question is void, and the offers are as before.
        scheduler_.forget()
        await world.operate(schedule(later))
        (rescind,) = scheduler_.of(internal.RescindInverseOfferMessage)
        assert rescind.inverse_offer_id == message.inverse_offers[0].id
        assert window_of(scheduler_.offers[-1]) is None
        assert answers(world) == {}


async def test_the_same_schedule_again_disturbs_nobody():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.operate(schedule(START, agent))
        scheduler_.forget()
        assert await world.operate(schedule(START, agent)) == (200, "")
        await world.advance(5.0)
        assert not scheduler_.received


async def test_who_registers_on_a_scheduled_machine_is_offered_with_the_window():
    async with master_world() as world:
        first = await world.agent(hostname="host")
        await world.operate(schedule(START, first))
        fresh = FakeAgent("slave(1)", world.master.pid, hostname="host")
        fresh.agent_id = first.agent_id
        await world.restart(first, fresh)
        scheduler_ = await world.scheduler()
        assert not scheduler_.offers
        fresh.reregister()
        await world.settle()
        assert window_of(scheduler_.offers[-1]) == (START.start_s, START.duration_s)
        (answer,) = world.state.inverse_offers.answers_of(fresh.agent_id).values()
        assert answer.status is InverseOfferStatus.UNKNOWN
