"""The metrics of a master: the keys of a real one, and what shows hoarding and starvation."""

import json
import re

import pytest

from cluster.model.ids import AgentId
from cluster.model.operator_calls import (
    DeactivateAgent,
    ReserveResources,
    UpdateQuotas,
)
from cluster.model.quotas import Quota
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from tests.fixtures_dir import fixtures
from tests.sim.master_world import (
    MULTI_ROLE,
    FakeAgent,
    framework_info,
    master_world,
    task_info,
)
from tests.unit.master.operation_values import reserved

pytestmark = pytest.mark.asyncio

# Keys of a real master that ours does not show yet, and why.
ABSENT = (
    r"allocator/.*event_queue_dispatches",  # the allocator has no queue of its own here
    r"master/event_queue_.*",  # queues are counted by the runtime
    r"master/http_cache_hits",  # no cache
    r"master/operator_event_stream_subscribers",  # no event stream
    r"master/frameworks/.*/tasks/active/task_unknown",  # no task is ever in it
)

ROLE = re.compile(r"roles/(\*|ads|web/x|web|)/")


def recorded_keys():
    """Keys of a real master, with one name for every framework."""
    recorded = json.loads((fixtures() / "http/master/metrics_snapshot.json").read_text())
    for key in recorded["response"]["json"]:
        if re.search(r"/(count|max|min|p\d+)$", key):
            continue
        if not any(re.fullmatch(pattern, key) for pattern in ABSENT):
            yield re.sub(r"(frameworks/)[^/]+/[0-9a-f-]{36}-\d{4}/", r"\1F/", key)


async def test_keys_of_a_real_master_are_there():
    async with master_world() as world:
        await world.agent(total="cpus:4;mem:4096;disk:100;cpus(ads):1;mem(ads):64;disk(ads):10")
        amounts = {"cpus": 1000, "mem": 64_000}
        await world.operate(UpdateQuotas({"ads": Quota(amounts, amounts)}))
        info = framework_info(
            capabilities=[MULTI_ROLE], roles=["*", "ads", "web/x"], principal="golden"
        )
        scheduler_ = await world.scheduler(info=info)
        snapshot = await world.master.metrics.snapshot()
        name = f"frameworks/test/{scheduler_.framework_id}/"
        ours = {key.replace(name, "frameworks/F/") for key in snapshot}
        # Roles and shares are those of this world.
        wanted = {ROLE.sub("roles/*/", key) for key in recorded_keys()}
        ours = {ROLE.sub("roles/*/", key) for key in ours}
        assert not sorted(wanted - ours)


async def test_counts_follow_what_happens():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info("a b", principal="p"))
        await world.launch(scheduler_, agent, "t")
        agent.update(scheduler_.framework_id, "t", "TASK_FAILED")
        await world.settle()
        scheduler_.acknowledge(scheduler_.updates[-1])
        await world.settle()
        values = await world.master.metrics.snapshot()
        prefix = f"master/frameworks/a%20b/{scheduler_.framework_id}/"
        want = {
            "master/messages_register_framework": 1.0,
            "master/messages_register_slave": 1.0,
            "master/messages_launch_tasks": 1.0,
            "master/messages_status_update": 2.0,
            "master/messages_status_update_acknowledgement": 2.0,
            "master/valid_status_updates": 2.0,
            "master/slave_registrations": 1.0,
            "master/slaves_active": 1.0,
            "master/frameworks_active": 1.0,
            "master/tasks_failed": 1.0,
            "master/tasks_running": 0.0,
            "master/cpus_total": 4.0,
            "master/outstanding_offers": 1.0,
            "frameworks/p/messages_received": 3.0,
            "frameworks/p/messages_processed": 3.0,
            f"{prefix}subscribed": 1.0,
            f"{prefix}calls": 3.0,
            f"{prefix}calls/accept": 1.0,
            f"{prefix}calls/acknowledge": 2.0,
            f"{prefix}events/subscribed": 1.0,
            f"{prefix}events/offers": 2.0,  # the rest of the agent came at once
            f"{prefix}events/update": 2.0,
            f"{prefix}offers/accepted": 1.0,
            f"{prefix}tasks/terminal/task_failed": 1.0,
        }
        assert {key: values.get(key) for key in want} == want


async def test_a_refused_launch_is_counted_with_its_reason():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "first", "cpus:64")
        values = await world.master.metrics.snapshot()
        assert values["master/tasks_error"] == 1.0
        assert values["master/task_error/source_master/reason_task_invalid"] == 1.0


async def test_a_hoarder_and_who_starves_behind_it_are_seen():
    async with master_world(offer_timeout_s=None) as world:
        await world.agent(total="cpus:4;mem:4096")
        hoarder = await world.scheduler("s-1", framework_info("hoarder"))
        starving = await world.scheduler("s-2", framework_info("starving"))
        await world.advance(100.0)
        values = await world.master.metrics.snapshot()
        mine = f"master/frameworks/hoarder/{hoarder.framework_id}/"
        other = f"master/frameworks/starving/{starving.framework_id}/"
        want = {
            f"{mine}offers/outstanding": 1.0,
            f"{mine}offers/oldest_secs": 100.0,
            f"{mine}offers/held/cpus_secs": 400.0,
            f"{mine}roles/*/waiting_secs": 100.0,
            f"{other}offers/outstanding": 0.0,
            f"{other}offers/oldest_secs": 0.0,
            f"{other}roles/*/waiting_secs": 100.0,
            "master/roles/*/waiting_secs": 100.0,
            "master/offers/oldest_secs": 100.0,
        }
        assert {key: values[key] for key in want} == want
        hoarder.decline(hoarder.offers, refuse_s=1000.0)
        await world.advance(20.0)
        values = await world.master.metrics.snapshot()
        want = {
            f"{mine}offers/outstanding": 0.0,
            f"{mine}offers/held/cpus_secs": 400.0,
            f"{mine}offers/declined": 1.0,
            f"{other}roles/*/waiting_secs": 20.0,
            f"{other}offers/held/cpus_secs": 80.0,
            "master/offers/held/cpus_secs": 480.0,
        }
        assert {key: pytest.approx(values[key], abs=1e-6) for key in want} == want


async def test_a_framework_that_wants_nothing_does_not_wait():
    async with master_world() as world:
        info = framework_info(capabilities=[MULTI_ROLE], roles=["a", "b"])
        scheduler_ = await world.scheduler(info=info, suppressed=["b"])
        await world.advance(5.0)
        prefix = f"master/frameworks/test/{scheduler_.framework_id}/roles"
        values = await world.master.metrics.snapshot()
        assert values[f"{prefix}/a/waiting_secs"] == 5.0
        assert f"{prefix}/b/waiting_secs" not in values
        assert (values[f"{prefix}/a/suppressed"], values[f"{prefix}/b/suppressed"]) == (0.0, 1.0)
        scheduler_.call("SUPPRESS")
        await world.settle()
        values = await world.master.metrics.snapshot()
        assert f"{prefix}/a/waiting_secs" not in values
        scheduler_.call("REVIVE")
        await world.advance(2.0)
        values = await world.master.metrics.snapshot()
        assert values[f"{prefix}/a/waiting_secs"] == 2.0


async def test_metrics_of_a_framework_end_with_it():
    async with master_world() as world:
        scheduler_ = await world.scheduler(info=framework_info(principal="p"))
        before = await world.master.metrics.snapshot()
        assert any(scheduler_.framework_id in key for key in before)
        scheduler_.call("TEARDOWN")
        await world.settle()
        after = await world.master.metrics.snapshot()
        assert not [key for key in after if scheduler_.framework_id in key]
        assert not [key for key in after if key.startswith("frameworks/p/")]
        assert "master/roles/*/waiting_secs" not in after


async def test_without_the_flag_there_are_none_of_single_frameworks():
    async with master_world(publish_per_framework_metrics=False) as world:
        scheduler_ = await world.scheduler()
        values = await world.master.metrics.snapshot()
        assert not [key for key in values if scheduler_.framework_id in key]
        assert "master/roles/*/waiting_secs" in values


async def test_an_agent_that_is_lost_counts_as_removed():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        agent.answers_pings = False
        await world.advance(100.0)
        values = await world.master.metrics.snapshot()
        assert values["master/slave_removals/reason_unhealthy"] == 1.0
        assert values["master/slaves_unreachable"] == 1.0
        assert values["master/tasks_lost"] == 1.0
        assert values["master/task_lost/source_master/reason_slave_removed"] == 1.0
        assert mesos.TaskState.Name(scheduler_.updates[-1].status.state) == "TASK_LOST"


async def test_runs_of_the_allocator_are_counted():
    async with master_world() as world:
        await world.agent()
        await world.scheduler()
        values = await world.master.metrics.snapshot()
        assert values["allocator/mesos/allocation_runs"] >= 1.0
        assert "allocator/mesos/allocation_run_ms" in values
        assert "allocator/mesos/allocation_run_latency_ms" in values
        assert values["allocator/mesos/resources/cpus/offered_or_allocated"] == 4.0


async def test_what_roles_consume_of_their_quotas():
    async with master_world() as world:
        agent = await world.agent(total="cpus:8;mem:4096;cpus(ads):2")
        quota = Quota({"cpus": 3000}, {"cpus": 5000, "mem": 2_000_000})
        assert await world.operate(UpdateQuotas({"ads": quota})) == (200, "")
        info = framework_info(capabilities=[MULTI_ROLE], roles=["ads/x"])
        scheduler_ = await world.scheduler(info=info)
        offer = scheduler_.offers[-1]
        scheduler_.accept([offer], [task_info("t", agent.agent_id)], refuse_s=1000.0)
        await world.settle()
        values = await world.master.metrics.snapshot()
        prefix = "allocator/mesos/quota/roles"
        assert {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix)
        } == {
            "/ads/resources/cpus/guarantee": 3.0,
            "/ads/resources/cpus/limit": 5.0,
            "/ads/resources/mem/limit": 2000.0,
            # The task has one of the cpus that are not reserved.
            "/ads/resources/cpus/offered_or_allocated": 1.0,
            "/ads/resources/mem/offered_or_allocated": 64.0,
            "/ads/resources/cpus/consumed": 3.0,
            "/ads/resources/mem/consumed": 64.0,
            "/ads/x/resources/cpus/consumed": 1.0,
            "/ads/x/resources/mem/consumed": 64.0,
            "//resources/cpus/consumed": 3.0,
            "//resources/mem/consumed": 64.0,
        }


async def test_operations_are_counted_by_what_they_are_and_how_they_stand():
    async with master_world() as world:
        agent = await world.agent(total="cpus:4;mem:512")
        await world.scheduler()
        call = ReserveResources(AgentId(agent.agent_id), reserved("cpus:1", "ads"))
        assert (await world.operate(call))[0] == 202
        values = await world.master.metrics.snapshot()
        assert (values["master/operations/total"], values["master/operations/pending"]) == (1, 1)
        assert values["master/operations/reserve/pending"] == 1
        (order,) = agent.of(internal.ApplyOperationMessage)
        update = internal.UpdateOperationStatusMessage()
        update.operation_uuid.CopyFrom(order.operation_uuid)
        update.slave_id.value = agent.agent_id
        update.status.state = mesos.OPERATION_FINISHED
        update.status.uuid.value = b"u" * 16
        agent.send(world.master.pid, update)
        await world.settle()
        values = await world.master.metrics.snapshot()
        assert {
            key: value
            for key, value in values.items()
            if key.startswith("master/operations/") and value
        } == {
            "master/operations/total": 1.0,
            "master/operations/finished": 1.0,
            "master/operations/reserve/total": 1.0,
            "master/operations/reserve/finished": 1.0,
        }


async def test_what_a_framework_ordered_is_counted():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        values = await world.master.metrics.snapshot()
        prefix = f"master/frameworks/test/{scheduler_.framework_id}/operations"
        assert (values[prefix], values[f"{prefix}/launch"]) == (1.0, 1.0)
        assert values[f"{prefix}/launch_group"] == 0.0


async def test_an_agent_out_of_service_is_inactive():
    async with master_world() as world:
        agent = await world.agent()
        await world.operate(DeactivateAgent(AgentId(agent.agent_id)))
        values = await world.master.metrics.snapshot()
        assert [
            values[f"master/slaves_{word}"] for word in ("connected", "active", "inactive")
        ] == [
            1.0,
            0.0,
            1.0,
        ]


async def test_removals_are_counted_with_their_reason():
    async with master_world(
        agent_ping_timeout_s=1.0, max_agent_ping_timeouts=2, agent_removal_rate_limit="1/1mins"
    ) as world:
        agents = [await world.agent(hostname=f"host-{n}") for n in range(4)]
        for agent in agents[:3]:
            agent.answers_pings = False
        await world.advance(10.0)
        names = [f"slave_unreachable_{word}" for word in ("scheduled", "completed", "canceled")]
        values = await world.master.metrics.snapshot()
        assert [values[f"master/{name}"] for name in names] == [3.0, 1.0, 0.0]
        (back, *_) = [a for a in agents[:3] if world.state.agents.get(a.agent_id) is not None]
        back.answers_pings = True
        leaving = internal.UnregisterSlaveMessage()
        leaving.slave_id.value = agents[3].agent_id
        agents[3].send(world.master.pid, leaving)
        await world.advance(100.0)
        values = await world.master.metrics.snapshot()
        assert [values[f"master/{name}"] for name in names] == [3.0, 2.0, 1.0]
        assert values["master/slave_removals"] == 3.0
        assert values["master/slave_removals/reason_unhealthy"] == 2.0
        assert values["master/slave_removals/reason_unregistered"] == 1.0
        assert values["master/slave_removals/reason_registered"] == 0.0


async def test_what_the_registrar_does():
    async with master_world() as world:
        before = (await world.master.metrics.snapshot())["registrar/registry_size_bytes"]
        assert before > 0
        await world.advance(1.0)
        await world.agent()
        values = await world.master.metrics.snapshot()
        assert values["registrar/registry_size_bytes"] > before
        assert values["registrar/queued_operations"] == 0.0
        assert values["registrar/log/recovered"] == 1.0
        assert values["registrar/state_store_ms/count"] == 2.0


async def test_messages_that_nobody_looks_at_are_counted():
    async with master_world() as world:
        world.master._is_recovered = False
        agent = await world.add(FakeAgent("slave(1)", world.master.pid))
        agent.register()
        await world.settle()
        values = await world.master.metrics.snapshot()
        assert values["master/dropped_messages"] == world.master.dropped_messages == 1.0
        assert values["registrar/log/recovered"] == 0.0
