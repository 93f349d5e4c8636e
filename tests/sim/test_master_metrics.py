"""The metrics of a master: the keys of a real one, and what shows hoarding and starvation."""

import json
import re

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from tests.fixtures_dir import fixtures
from tests.sim.master_world import MULTI_ROLE, framework_info, master_world

pytestmark = pytest.mark.asyncio

# Keys of a real master that ours does not show yet, and why.
ABSENT = (
    r"allocator/.*event_queue_dispatches",  # the allocator has no queue of its own here
    r"allocator/mesos/quota/.*",  # no quota is set in this world
    r"allocator/mesos/offer_filters/.*",  # counted by the allocator
    r"master/event_queue_.*",  # queues are counted by the runtime
    r"master/http_cache_hits",  # no cache
    r"master/operator_event_stream_subscribers",  # no event stream
    r"master/(frameworks/.*/)?operations.*",  # offer operations
    r"registrar/.*",  # the registrar
    r"master/frameworks/.*/tasks/active/task_unknown",  # no task is ever in it
)


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
        await world.agent(total="cpus:4;mem:4096;disk:100")
        info = framework_info(
            capabilities=[MULTI_ROLE], roles=["*", "ads", "web/x"], principal="golden"
        )
        scheduler_ = await world.scheduler(info=info)
        snapshot = await world.master.metrics.snapshot()
        name = f"frameworks/test/{scheduler_.framework_id}/"
        ours = {key.replace(name, "frameworks/F/") for key in snapshot}
        # Roles and shares are those of this world.
        wanted = {re.sub(r"roles/(\*|ads|web/x)/", "roles/*/", key) for key in recorded_keys()}
        ours = {re.sub(r"roles/(\*|ads|web/x)/", "roles/*/", key) for key in ours}
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
