"""``/explain`` of the master, asked over HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from actorproc import Runtime, TcpTransport, VirtualClock
from actorproc.http import Client
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.state import InMemoryStorage
from tests.sim.master_world import (
    MULTI_ROLE,
    START_S,
    FakeAgent,
    FakeScheduler,
    framework_info,
)

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def site():
    """A master, two agents and two frameworks behind one listening socket."""
    clock = VirtualClock(START_S)
    async with Runtime(TcpTransport(), clock=clock, seed=7) as runtime, Client() as client:
        master = Master(MasterConfig(work_dir="/nowhere", hostname="h"), master_id="m")
        runtime.spawn(master)
        await clock.advance(0.0)  # it serves once it has read its registry
        for n, total in enumerate(("cpus:4;mem:4096", "cpus:1;mem:64;gpus:1"), start=1):
            agent = FakeAgent(f"slave({n})", master.pid, total=total)
            runtime.spawn(agent)
            agent.register()
        await runtime.settle()
        picky = FakeScheduler("picky", master.pid)
        other = FakeScheduler("other", master.pid)
        of_two_roles = framework_info(roles=("a", "b"), capabilities=(MULTI_ROLE,))
        for fake, info in ((picky, None), (other, of_two_roles)):
            runtime.spawn(fake)
            fake.subscribe(info)
            await clock.advance(0.0)

        async def get(query=""):
            answer = await client.get(f"http://{runtime.address}/master/explain{query}")
            return answer.status, json.loads(answer.text)

        yield clock, (picky, other), get


class NeverRead(InMemoryStorage):
    """A store that hangs."""

    async def fetch(self, name):
        await asyncio.get_running_loop().create_future()


async def test_before_the_registry_is_read_nothing_is_told():
    clock = VirtualClock(START_S)
    async with Runtime(TcpTransport(), clock=clock, seed=7) as runtime, Client() as client:
        config = MasterConfig(work_dir="/nowhere", hostname="h")
        runtime.spawn(Master(config, master_id="m", storage=NeverRead()))
        await clock.settle()
        for endpoint in ("explain", "explain?framework_id=x", "state"):
            answer = await client.get(f"http://{runtime.address}/master/{endpoint}")
            assert answer.status == 503, endpoint


async def test_a_row_for_every_framework_and_role():
    async with site() as (_, _, get):
        status, answer = await get()
        assert status == 200
        rows = {(row["framework_id"], row["role"]) for row in answer["frameworks"]}
        assert rows == {("m-0000", "*"), ("m-0001", "a"), ("m-0001", "b")}
        assert answer["frameworks"][0] == {
            "framework_id": "m-0000",
            "role": "*",
            "share_of_framework": {
                "dominant_resource": "mem",
                "dominant_share": 64 / 65,
                "exact_share": "64/65",
                "weight": 1.0,
                "weighted_share": 64 / 65,
                "position": 1,
                "served": 1,
            },
            "share_of_role": {
                "dominant_resource": "mem",
                "dominant_share": 64 / 65,
                "exact_share": "64/65",
                "weight": 1.0,
                "weighted_share": 64 / 65,
                "position": 3,
                "served": 3,
            },
            "offers": 1,
            "offers_saved": 0,
            "seconds_since_last_offer": 0.0,
            "blocked_by": [],
        }


async def test_why_a_framework_waits_in_a_role():
    async with site() as (clock, (picky, _), get):
        picky.decline(picky.offers, refuse_s=30.0)
        await clock.advance(10.0)
        status, answer = await get("?framework_id=m-0000&role=*")
        assert status == 200
        assert answer["agents"] == 2
        assert answer["reasons"] == [
            {
                "reason": "GPU_AGENT",
                "text": "the agent has GPUs and the framework lacks GPU_RESOURCES",
                "agents": 1,
            },
            {
                "reason": "OTHERS_FIRST",
                "text": "others came first in the last run",
                "agents": 1,
            },
        ]
        assert answer["nearest_miss"]["agent_id"] == "m-S0"
        assert answer["nearest_miss"]["taken_by"] == {"framework_id": "m-0001", "role": "a"}
        assert answer["seconds_since_last_offer"] == 10.0


async def test_when_a_filter_ends():
    async with site() as (clock, (picky, other), get):
        other.call("SUPPRESS")
        picky.decline(picky.offers, refuse_s=30.0)
        await clock.advance(10.0)
        status, answer = await get("?framework_id=m-0000&role=*")
        assert status == 200
        assert [reason["reason"] for reason in answer["reasons"]] == ["GPU_AGENT", "REFUSED"]
        assert answer["filters_end_in_seconds"] == {"first": 20.0, "last": 20.0}
        assert answer["nearest_miss"] == {
            "agent_id": "m-S0",
            "reason": "REFUSED",
            "text": "the framework refused it; filter ends in 20.0 s",
            "missing": {},
            "filter_ends_in_seconds": 20.0,
            "taken_by": None,
        }
        _, answer = await get("?framework_id=m-0001")
        blocked = [reason["reason"] for row in answer["frameworks"] for reason in row["blocked_by"]]
        assert blocked == ["ROLE_SUPPRESSED", "ROLE_SUPPRESSED"]


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("?role=a", "framework_id", "must be given together with role"),
        ("?framework_id=x", "framework_id", "no framework with a role is called x"),
        ("?framework_id=x&role=a", "framework_id", "no framework with a role is called x"),
        ("?framework_id=m-0001&role=c", "role", "must be a role of the framework (a, b), not c"),
        ("?framework_id=m-0001&role=", "role", "must be a role of the framework (a, b), not "),
        ("?framework=m-0001", "framework", "must be one of framework_id, role"),
    ],
)
async def test_what_is_asked_wrongly_is_named(query, field, rule):
    async with site() as (_, _, get):
        assert await get(query) == (400, {"field": field, "rule": rule})
