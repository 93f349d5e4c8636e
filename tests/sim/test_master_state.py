"""What ``/state`` and ``/counts`` tell of a running master."""

from typing import Any

import pytest

from cluster.master_summary import state_counts, state_summary
from cluster.model.ids import AgentId
from cluster.model.operator_calls import DeactivateAgent, DrainAgent
from tests.sim.master_world import START_S, framework_info, master_world, task_info

pytestmark = pytest.mark.asyncio

WHO = {"pid": "master@10.0.0.1:5050", "hostname": "h", "started_s": START_S}


def summary(world) -> Any:
    return state_summary(world.core, **WHO)


def counted(world) -> Any:
    return state_counts(world.core, **WHO)


async def test_used_offered_and_reserved_resources():
    async with master_world() as world:
        agent = await world.agent(total="cpus:4;mem:512;cpus(ads):2")
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t", "cpus:1;mem:64")
        await world.advance(10.0)  # the rest of the agent is offered again
        told = summary(world)
        (shown,) = told["slaves"]
        assert shown["resources"] == {"cpus": 6.0, "mem": 512.0}
        assert shown["used_resources"] == {"cpus": 1.0, "mem": 64.0}
        assert shown["offered_resources"] == {"cpus": 3.0, "mem": 448.0}
        assert shown["reserved_resources"] == {"ads": {"cpus": 2.0}}
        assert shown["unreserved_resources"] == {"cpus": 4.0, "mem": 512.0}
        (framework,) = told["frameworks"]
        assert framework["used_resources"] == {"cpus": 1.0, "mem": 64.0}
        assert framework["offered_resources"] == {"cpus": 3.0, "mem": 448.0}
        assert framework["tasks"] == told["tasks"] == {"TASK_RUNNING": 1}
        # The second task uses the offer that the first one left.
        scheduler_.accept([scheduler_.offers[-1]], [task_info("u", agent.agent_id)], refuse_s=99.0)
        await world.settle()
        (shown,) = summary(world)["slaves"]
        assert (shown["used_resources"], shown["offered_resources"]) == (
            {"cpus": 2.0, "mem": 128.0},
            {},
        )


async def test_agents_out_of_service():
    async with master_world() as world:
        agent = await world.agent()
        other = await world.agent()
        counts = counted(world)
        assert (counts["activated_slaves"], counts["deactivated_slaves"]) == (2, 0)
        assert "drain_info" not in summary(world)["slaves"][0]
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, other, "t")
        await world.operate(DeactivateAgent(AgentId(agent.agent_id)))
        await world.operate(DrainAgent(AgentId(other.agent_id), max_grace_s=5.0))
        told = summary(world)
        assert (told["activated_slaves"], told["deactivated_slaves"]) == (0, 2)
        first, second = told["slaves"]
        assert (first["active"], first["deactivated"], "drain_info" in first) == (
            False,
            True,
            False,
        )
        assert second["drain_info"] == {
            "state": "DRAINING",
            "config": {"mark_gone": False, "max_grace_period": {"nanoseconds": 5_000_000_000}},
        }
        assert second["estimated_drain_start_time_seconds"] == world.clock.now_s()
        assert second["deactivated"]


async def test_counts_are_the_head_of_the_state():
    async with master_world() as world:
        await world.agent()
        await world.scheduler()
        counts, told = counted(world), summary(world)
        assert {key: told[key] for key in counts} == counts
        assert counts["outstanding_offers"] == 1
