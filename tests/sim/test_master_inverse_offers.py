"""Inverse offers on the wire, against what a real master sent."""

import json

import pytest

from cluster.core.allocator.events import InverseAllocation
from cluster.core.master.events import AllocationDue
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.fixtures_dir import fixtures
from tests.sim.master_world import master_world

pytestmark = pytest.mark.asyncio


def recorded():
    """The first message with inverse offers that a real master sent to a driver."""
    lines = (fixtures() / "wire" / "l-handmade-v0.jsonl").read_text().splitlines()
    (body,) = [
        json.loads(line)["body_hex"]
        for line in lines
        if json.loads(line).get("name") == "mesos.internal.InverseOffersMessage"
    ][:1]
    return internal.InverseOffersMessage.FromString(bytes.fromhex(body))


async def ask_to_leave(world, scheduler_, agent, window, monkeypatch):
    """Have the master ask, as if its allocator had decided so."""
    wanted = [InverseAllocation(scheduler_.framework_id, agent.agent_id, window)]
    monkeypatch.setattr(
        world.state.allocator, "inverse_offers", lambda now_s: [wanted.pop()] if wanted else []
    )
    world.master._feed(AllocationDue())
    await world.settle()


async def test_an_inverse_offer_has_the_fields_of_a_recorded_one(monkeypatch):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await ask_to_leave(world, scheduler_, agent, Unavailability(5000.0), monkeypatch)
        (sent,) = scheduler_.of(internal.InverseOffersMessage)
        want = recorded()
        (offer,) = want.inverse_offers
        assert [f.name for f, _ in sent.ListFields()] == [f.name for f, _ in want.ListFields()]
        assert [f.name for f, _ in sent.inverse_offers[0].ListFields()] == [
            f.name for f, _ in offer.ListFields()
        ]
        assert sent.pids == [str(agent.pid)]
        assert sent.inverse_offers[0].url.path == offer.url.path
        assert sent.inverse_offers[0].unavailability == mesos.Unavailability(
            start=mesos.TimeInfo(nanoseconds=5_000_000_000_000)
        )


@pytest.mark.parametrize(
    ("name", "part", "status"),
    [
        ("ACCEPT_INVERSE_OFFERS", scheduler.Call.AcceptInverseOffers, InverseOfferStatus.ACCEPT),
        ("DECLINE_INVERSE_OFFERS", scheduler.Call.DeclineInverseOffers, InverseOfferStatus.DECLINE),
    ],
)
async def test_both_answers_are_understood(name, part, status, monkeypatch):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await ask_to_leave(world, scheduler_, agent, Unavailability(5000.0, 60.0), monkeypatch)
        (message,) = scheduler_.of(internal.InverseOffersMessage)
        assert message.inverse_offers[0].unavailability.duration.nanoseconds == 60_000_000_000
        answer = part(inverse_offer_ids=[message.inverse_offers[0].id])
        scheduler_.call(name, **{name.lower(): answer})
        await world.settle()
        (given,) = world.state.inverse_offers.answers_of(agent.agent_id).values()
        assert given.status is status


async def test_an_agent_that_goes_takes_the_inverse_offer_back(monkeypatch):
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await ask_to_leave(world, scheduler_, agent, Unavailability(5000.0), monkeypatch)
        (message,) = scheduler_.of(internal.InverseOffersMessage)
        await world.stop(agent)
        (rescind,) = scheduler_.of(internal.RescindInverseOfferMessage)
        assert rescind.inverse_offer_id == message.inverse_offers[0].id
