"""A master with rate limits, on the network (master.md §2.4)."""

import pytest

from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import framework_info, master_world

pytestmark = pytest.mark.asyncio
LIMITS = {"limits": [{"principal": "slow", "qps": 1, "capacity": 3}]}


async def test_messages_are_worked_on_at_the_rate_of_their_principal():
    async with master_world(rate_limits=LIMITS) as world:
        slow = await world.scheduler("s-1", framework_info(principal="slow"))
        free = await world.scheduler("s-2", framework_info(principal="free"))
        for fake in (slow, free):
            for task in ("t1", "t2", "t3"):
                fake.reconcile(task)
        await world.settle()
        assert [task for task, _ in free.states] == ["t1", "t2", "t3"]
        assert [task for task, _ in slow.states] == ["t1"]
        await world.advance(1.0)
        assert [task for task, _ in slow.states] == ["t1", "t2"]
        await world.advance(1.0)
        assert [task for task, _ in slow.states] == ["t1", "t2", "t3"]


async def test_beyond_the_capacity_the_framework_gets_an_error():
    async with master_world(rate_limits=LIMITS) as world:
        slow = await world.scheduler(info=framework_info(principal="slow"))
        for _ in range(5):
            slow.call("REVIVE")
        await world.settle()
        assert slow.errors == ["Message mesos.scheduler.Call dropped: capacity(3) exceeded"]


async def test_a_scheduler_that_ends_does_not_overtake_its_own_messages():
    info = framework_info(principal="slow", failover_timeout=60.0)
    async with master_world(rate_limits=LIMITS) as world:
        slow = await world.scheduler(info=info)
        slow.call("REVIVE")
        slow.call("SUPPRESS", suppress=scheduler.Call.Suppress())
        await world.settle()
        await world.stop(slow)
        record = world.state.frameworks.get(slow.framework_id)
        assert record.is_connected
        assert not record.suppressed_roles
        await world.advance(1.0)
        assert record.suppressed_roles == {"*"}
        assert record.is_connected
        await world.advance(1.0)
        assert not record.is_connected
