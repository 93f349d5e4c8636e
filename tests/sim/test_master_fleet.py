"""Operator calls and limits as agents and schedulers see them, message by message."""

import asyncio

import pytest

from cluster.model.ids import AgentId
from cluster.model.operator_calls import DrainAgent, MarkAgentAsGone, ReactivateAgent
from cluster.wire.pb import messages_pb2 as internal
from tests.sim.master_world import framework_info, master_world
from tests.waiting import until

pytestmark = pytest.mark.asyncio


async def test_an_agent_is_drained_and_taken_back():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(checkpoint=True))
        await world.launch(scheduler_, agent, "t")
        call = DrainAgent(AgentId(agent.agent_id), max_grace_s=2.5)
        assert await world.operate(call) == (200, "")
        (order,) = agent.of(internal.DrainSlaveMessage)
        assert order.config.max_grace_period.nanoseconds == 2_500_000_000
        assert order.config.HasField("mark_gone")
        assert not order.config.mark_gone
        agent.update(scheduler_.framework_id, "t", "TASK_KILLED")
        await world.settle()
        scheduler_.acknowledge(scheduler_.updates[-1])
        await world.advance(10.0)
        entry = world.state.registry.admitted(AgentId(agent.agent_id))
        assert entry.drain.state.name == "DRAINED"
        assert not len(world.state.offers)
        assert (await world.operate(ReactivateAgent(AgentId(agent.agent_id))))[0] == 200
        await world.advance(1.0)
        assert len(world.state.offers) == 1


async def test_an_agent_marked_gone_is_told():
    async with master_world() as world:
        agent = await world.agent()
        assert (await world.operate(MarkAgentAsGone(AgentId(agent.agent_id))))[0] == 200
        assert [m.message for m in agent.of(internal.ShutdownMessage)] == [
            "Agent has been marked gone"
        ]
        agent.reregister()
        await world.settle()
        assert len(agent.of(internal.ShutdownMessage)) == 2


async def test_an_operator_may_hang_up_before_the_answer():
    async with master_world() as world:
        agent = await world.agent()
        call = asyncio.ensure_future(world.master.operate(MarkAgentAsGone(AgentId(agent.agent_id))))
        await asyncio.sleep(0)
        call.cancel()
        await world.settle()
        assert call.cancelled()
        assert world.state.registry.is_gone(AgentId(agent.agent_id))


async def test_an_agent_that_answers_before_its_turn_stays():
    async with master_world(
        agent_ping_timeout_s=1.0, max_agent_ping_timeouts=2, agent_removal_rate_limit="1/1mins"
    ) as world:
        agents = [await world.agent(hostname=f"host-{n}") for n in range(3)]
        for agent in agents:
            agent.answers_pings = False
        await world.advance(10.0)
        assert len(world.state.agents) == 2, "one at once, the others after a minute each"
        (back,) = [a for a in agents if a.agent_id == "m-S1"]
        back.answers_pings = True
        await world.advance(60.0)
        assert [a.agent_id for a in world.state.agents] == ["m-S1"]
        await world.advance(200.0)
        assert [a.agent_id for a in world.state.agents] == ["m-S1"]


async def test_hosts_that_may_be_offered_come_from_a_file_that_may_change(tmp_path):
    file = tmp_path / "hosts"
    async with master_world(whitelist=str(file)) as world:
        assert world.state.whitelist == set(), "the file is not there: nobody, to be safe"
        for text, want in (("one\ntwo\n\n", {"one", "two"}), ("", set()), ("*\n", None)):
            file.write_text(text)
            await world.advance(5.0)
            await until(lambda want=want: world.state.whitelist == want, f"{want} is read")
        file.unlink()
        await world.advance(5.0)
        assert world.state.whitelist is None, "what it said last stays"
