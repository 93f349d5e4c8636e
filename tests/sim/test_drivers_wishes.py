"""Wishes and inverse offers through the scheduler driver, at a real master."""

import asyncio

import pytest

from actorproc import Runtime
from cluster.core.allocator.events import InverseAllocation
from cluster.core.master.events import AllocationDue
from cluster.election.detector import StaticDetector
from cluster.errors import InvalidInput
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.scheduler import (
    Disconnected,
    Error,
    InverseOfferRescinded,
    InverseOffers,
    Offers,
    OfferWish,
    Registered,
    SchedulerDriver,
)
from cluster.wire.pb import mesos_pb2 as mesos
from tests.sim.master_world import MULTI_ROLE, FakeAgent, framework_info, master_world

pytestmark = pytest.mark.asyncio
FRAMEWORK = framework_info(capabilities=[MULTI_ROLE], roles=["a", "b"], failover_timeout=60.0)


class Driven:
    """A driver on a host of its own, and what it heard."""

    def __init__(self, world, **options):
        self.world = world
        self.options = options
        self.events = []

    async def __aenter__(self):
        self.runtime = Runtime(
            self.world.network.transport("10.0.0.99", 1), clock=self.world.clock, seed=1
        )
        await self.runtime.start()
        self.driver = SchedulerDriver(
            FRAMEWORK,
            runtime=self.runtime,
            detector=StaticDetector(self.world.master.pid),
            **self.options,
        )
        await self.driver.__aenter__()
        self.listening = asyncio.create_task(self._listen())
        await self.world.settle()
        return self

    async def _listen(self):
        async for event in self.driver.events():
            self.events.append(event)

    async def __aexit__(self, *exc):
        await self.driver.__aexit__(*exc)
        await self.listening
        await self.runtime.stop()

    def of(self, event_type):
        return [event for event in self.events if isinstance(event, event_type)]

    @property
    def record(self):
        return self.world.state.frameworks.get(self.driver.framework.id.value)


async def test_wishes_reach_the_master_with_the_subscription():
    wish = OfferWish(min_resources="cpus:4;mem:8192", hosts=("h1", "h2"), attributes={"rack": "r"})
    async with master_world() as world, Driven(world, wishes={"a": wish}) as driven:
        assert driven.of(Registered)
        assert driven.record.spec.min_allocatable == {"a": ({"cpus": 4000, "mem": 8_192_000},)}
        groups = driven.record.constraints.groups["a"]
        assert [[str(constraint) for constraint in group] for group in groups] == [
            ["HOSTNAME text_equals 'h1'", "rack text_equals 'r'"],
            ["HOSTNAME text_equals 'h2'", "rack text_equals 'r'"],
        ]


async def test_wishes_change_while_the_framework_runs_and_suppressed_roles_stay():
    wishes = {"a": OfferWish(hosts=("h1",))}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        driven.driver.suppress_offers(["b"])
        driven.driver.update_offer_wishes({"b": OfferWish(min_resources="mem:64")})
        await world.settle()
        assert driven.record.constraints is None
        assert driven.record.spec.min_allocatable == {"b": ({"mem": 64_000},)}
        assert driven.record.suppressed_roles == {"b"}
        assert not driven.of(Error)


async def test_an_update_of_the_framework_keeps_the_wishes_of_the_roles_that_stay():
    wishes = {"a": OfferWish(hosts=("h1",)), "b": OfferWish(min_resources="mem:64")}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        renamed = framework_info("new", capabilities=[MULTI_ROLE], roles=["b", "c"])
        renamed.failover_timeout = 60.0
        driven.driver.update_framework(renamed)
        await world.settle()
        assert driven.record.spec.name == "new"
        assert driven.record.spec.min_allocatable == {"b": ({"mem": 64_000},)}
        assert driven.record.constraints is None
        constraints = {"role_constraints": {"c": {"groups": []}}}
        driven.driver.update_framework(renamed, (), constraints)
        await world.settle()
        record = world.state.frameworks.get(driven.driver.framework.id.value)
        assert record.constraints.groups == {"c": ()}
        assert record.spec.min_allocatable == {}


async def test_wishes_are_repeated_when_the_driver_subscribes_again():
    async with master_world() as world, Driven(world) as driven:
        driven.driver.update_offer_wishes({"a": OfferWish(hosts=("h1",))})
        await world.settle()
        world.network.cut(world.runtime.address, driven.runtime.address)
        await world.settle()
        assert driven.of(Disconnected)
        world.network.heal(world.runtime.address, driven.runtime.address)
        await world.advance(10.0)
        assert driven.record.is_connected
        assert driven.record.reregistered_s is not None
        assert list(driven.record.constraints.groups) == ["a"]


async def test_a_wrong_wish_is_an_error_of_the_program_and_changes_nothing():
    async with master_world() as world, Driven(world) as driven:
        with pytest.raises(InvalidInput, match=r"wishes\[ops\]"):
            driven.driver.update_offer_wishes({"ops": OfferWish()})
        await world.settle()
        assert driven.record.is_connected


async def test_inverse_offers_are_events_and_can_be_answered(monkeypatch):
    async with master_world() as world, Driven(world) as driven:
        agent = await world.agent()
        assert driven.of(Offers)
        for answer, status in (
            (driven.driver.accept_inverse_offers, InverseOfferStatus.ACCEPT),
            (driven.driver.decline_inverse_offer, InverseOfferStatus.DECLINE),
        ):
            await ask_to_leave(world, driven, agent, monkeypatch)
            (offer,) = driven.of(InverseOffers)[-1].offers
            assert offer.slave_id.value == agent.agent_id
            answer(offer.id)
            await world.settle()
            (given,) = world.state.inverse_offers.answers_of(agent.agent_id).values()
            assert given.status is status


async def test_an_inverse_offer_that_is_void_is_an_event(monkeypatch):
    async with master_world() as world, Driven(world) as driven:
        agent = await world.agent()
        await ask_to_leave(world, driven, agent, monkeypatch)
        (offer,) = driven.of(InverseOffers)[-1].offers
        await world.stop(agent)
        assert driven.of(InverseOfferRescinded) == [InverseOfferRescinded(offer.id)]


async def ask_to_leave(world, driven, agent, monkeypatch):
    """Have the master ask, as if its allocator had decided so."""
    window = Unavailability(world.clock.now_s() + 3600.0)
    wanted = [InverseAllocation(driven.record.framework_id, agent.agent_id, window)]
    monkeypatch.setattr(
        world.state.allocator, "inverse_offers", lambda now_s: [wanted.pop()] if wanted else []
    )
    world.master._feed(AllocationDue())
    await world.settle()


async def test_offers_that_are_too_small_are_not_made_and_counted():
    wishes = {role: OfferWish(min_resources="cpus:4;mem:1024") for role in ("a", "b")}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        await world.agent(total="cpus:2;mem:4096")
        await world.advance(5.0)
        assert not driven.of(Offers)
        values = await world.master.metrics.snapshot()
        assert values["master/offers/filtered"] >= 1.0
        large = await world.agent(total="cpus:8;mem:4096")
        assert [offer.slave_id.value for e in driven.of(Offers) for offer in e.offers] == [
            large.agent_id
        ]


async def test_a_wish_that_is_taken_back_brings_the_offers():
    wishes = {role: OfferWish(min_resources="cpus:4") for role in ("a", "b")}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        await world.agent(total="cpus:2;mem:4096")
        assert not driven.of(Offers)
        driven.driver.update_offer_wishes({})
        await world.advance(2.0)
        assert driven.of(Offers)


class RackAgent(FakeAgent):
    """An agent that says in which rack it stands."""

    rack = ""

    def slave_info(self):
        info = super().slave_info()
        rack = info.attributes.add(name="rack", type=mesos.Value.TEXT)
        rack.text.value = self.rack
        return info


async def add_agent(world, hostname, rack, **how):
    agent = RackAgent("slave(1)", world.master.pid, hostname=hostname, **how)
    agent.rack = rack
    await world.add(agent)
    agent.register()
    await world.settle()
    return agent


def offered(driven):
    """agent id -> roles it is or was offered in."""
    roles = {}
    for event in driven.of(Offers):
        for offer in event.offers:
            roles.setdefault(offer.slave_id.value, set()).add(offer.allocation_info.role)
    return roles


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (OfferWish(hosts=("h1", "h3")), {"h1"}),
        (OfferWish(hosts=("nobody",)), set()),
        (OfferWish(attributes={"rack": "r2"}), {"h2"}),
        (OfferWish(hosts=("h1",), attributes={"rack": "r2"}), set()),
        (OfferWish(hosts=("h2",), attributes={"rack": "r2"}), {"h2"}),
        (OfferWish(min_resources="cpus:4;mem:1024"), {"h2"}),
        (OfferWish(min_resources="cpus:16|mem:2048", attributes={"rack": "r1"}), {"h1"}),
        (OfferWish(), {"h1", "h2"}),
    ],
)
async def test_only_what_is_wished_for_is_offered(wish, wanted):
    wishes = {"a": wish, "b": wish}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        agents = {
            "h1": await add_agent(world, "h1", "r1", total="cpus:2;mem:4096"),
            "h2": await add_agent(world, "h2", "r2", total="cpus:8;mem:1024"),
        }
        await world.advance(5.0)
        names = {agent.agent_id: host for host, agent in agents.items()}
        assert {names[agent_id] for agent_id in offered(driven)} == wanted
        values = await world.master.metrics.snapshot()
        assert (values["master/offers/filtered"] > 0) is (wanted != {"h1", "h2"})
        record = driven.record
        mine = f"master/frameworks/{record.spec.name}/{record.framework_id}/offers/filtered"
        assert values[mine] == values["master/offers/filtered"]


async def test_what_one_does_not_wish_for_goes_to_another():
    wishes = {role: OfferWish(hosts=("h1",)) for role in ("a", "b")}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        other = await world.scheduler()
        second = await add_agent(world, "h2", "r1")
        first = await add_agent(world, "h1", "r1")
        assert [offer.slave_id.value for offer in other.offers] == [second.agent_id]
        # Nobody wants the third: only who said so is spared an offer of it.
        other.call("SUPPRESS")
        await add_agent(world, "h3", "r1")
        values = await world.master.metrics.snapshot()
        spared = {k.split("/")[-3]: v for k, v in values.items() if k.endswith("/offers/filtered")}
        assert spared[other.framework_id] == 0
        assert spared[driven.record.framework_id] > 0
        assert set(offered(driven)) == {first.agent_id}


async def test_a_wish_of_one_role_is_not_that_of_another():
    wishes = {"a": OfferWish(attributes={"rack": "r1"}), "b": OfferWish(hosts=("h2",))}
    async with master_world() as world, Driven(world, wishes=wishes) as driven:
        first = await add_agent(world, "h1", "r1")
        second = await add_agent(world, "h2", "r2")
        await world.advance(5.0)
        assert offered(driven) == {first.agent_id: {"a"}, second.agent_id: {"b"}}
