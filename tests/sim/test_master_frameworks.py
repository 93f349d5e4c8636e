"""How frameworks subscribe, fail over, fall silent and end (master.md §2)."""

import json

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import (
    MULTI_ROLE,
    FakeScheduler,
    framework_info,
    master_world,
)

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("info", "suppressed", "rule"),
    [
        (framework_info(role="a//b"), (), "two slashes in a row"),
        (framework_info(role="/a"), (), "slash"),
        (framework_info(role="a/../b"), (), "component"),
        (framework_info(role="-a"), (), "dash"),
        (framework_info(role="a b"), (), "whitespace"),
        (framework_info(role=""), (), "must not be empty"),
        (framework_info(roles=["a"]), (), "roles: must be empty without MULTI_ROLE"),
        (framework_info(capabilities=[MULTI_ROLE], role="a"), (), "role: must not be set"),
        (framework_info(capabilities=[MULTI_ROLE], roles=["a", "a"]), (), "'a' is listed twice"),
        (framework_info(failover_timeout=1e12), (), "failover_timeout (1e+12) is invalid"),
        (framework_info(failover_timeout=float("nan")), (), "failover_timeout (nan) is invalid"),
        (framework_info(id={"value": "a/b"}), (), "framework_id: must not contain slashes"),
        (framework_info(), ("dev",), "suppressed_roles: 'dev' is not a role"),
    ],
)
async def test_wrong_description_is_refused_with_field_and_rule(info, suppressed, rule):
    async with master_world() as world:
        scheduler_ = await world.scheduler(info=info, suppressed=suppressed)
        (error,) = scheduler_.errors
        assert rule in error
        assert not len(world.state.frameworks)


async def test_roles_and_root_may_be_forbidden_by_flags():
    async with master_world(roles="dev", root_submissions=False) as world:
        allowed = await world.scheduler("s-1", framework_info(role="dev"))
        default = await world.scheduler("s-2")
        foreign = await world.scheduler("s-3", framework_info(role="ops"))
        root = framework_info()
        root.user = "root"
        as_root = await world.scheduler("s-4", root)
        assert not allowed.errors
        assert not default.errors
        assert "'ops'" in foreign.errors[0]
        assert "root" in as_root.errors[0]


async def test_slightly_negative_failover_timeout_is_accepted_and_means_none():
    async with master_world() as world:
        scheduler_ = await world.scheduler(info=framework_info(failover_timeout=-1.0))
        assert not scheduler_.errors
        await world.stop(scheduler_)
        assert world.state.frameworks.is_completed(scheduler_.framework_id)


async def test_scheduler_that_returns_in_time_keeps_its_tasks():
    async with master_world() as world:
        agent = await world.agent()
        info = framework_info(failover_timeout=60.0, checkpoint=True)
        first = await world.scheduler(info=info)
        await world.launch(first, agent, "t")
        await world.stop(first)
        await world.advance(59.0)
        assert not agent.of(internal.ShutdownFrameworkMessage)
        second = await world.scheduler("scheduler-2", subscribe=False)
        second.framework_id = first.framework_id
        second.subscribe(info)
        await world.advance(120.0)
        assert second.of(internal.FrameworkReregisteredMessage)
        assert not agent.of(internal.ShutdownFrameworkMessage)
        second.reconcile()
        await world.settle()
        assert second.states[-1] == ("t", "TASK_RUNNING")


async def test_scheduler_that_stays_away_is_removed_after_its_timeout():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(failover_timeout=60.0))
        await world.launch(scheduler_, agent, "t")
        await world.stop(scheduler_)
        assert not len(world.state.offers)
        await world.advance(61.0)
        assert agent.of(internal.ShutdownFrameworkMessage)
        assert world.state.frameworks.is_completed(scheduler_.framework_id)


async def test_aborted_driver_gets_no_offers_but_stays():
    async with master_world() as world:
        await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(failover_timeout=60.0))
        scheduler_.send(
            world.master.pid,
            internal.DeactivateFrameworkMessage(
                framework_id=mesos.FrameworkID(value=scheduler_.framework_id)
            ),
        )
        await world.advance(20.0)
        assert len(scheduler_.offers) == 1
        assert not scheduler_.rescinded
        assert not len(world.state.offers)
        other = await world.scheduler("scheduler-2")
        assert len(other.offers) == 1, "the resources are free for others"


async def test_resubscribing_from_the_same_pid_rescinds_and_reregisters():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler(info=framework_info(failover_timeout=60.0))
        await world.settle()
        agent.forget()
        scheduler_.subscribe(framework_info("renamed", failover_timeout=60.0))
        await world.settle()
        kinds = [type(message).__name__ for message in scheduler_.received]
        assert kinds[:4] == [
            "FrameworkRegisteredMessage",
            "ResourceOffersMessage",
            "RescindResourceOfferMessage",
            "FrameworkReregisteredMessage",
        ]
        assert agent.of(internal.UpdateFrameworkMessage)[0].framework_info.name == "renamed"


async def test_user_and_checkpoint_keep_their_first_value_and_principal_may_not_change():
    async with master_world() as world:
        agent = await world.agent()
        info = framework_info(checkpoint=True, principal="p", failover_timeout=60.0)
        scheduler_ = await world.scheduler(info=info)
        changed = framework_info(checkpoint=False, principal="p", failover_timeout=60.0)
        changed.user = "other"
        scheduler_.subscribe(changed)
        await world.settle()
        told = agent.of(internal.UpdateFrameworkMessage)[-1].framework_info
        assert (told.user, told.checkpoint) == ("somebody", True)
        scheduler_.subscribe(framework_info(checkpoint=True, principal="q"))
        await world.settle()
        assert "principal" in scheduler_.errors[-1]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"checkpoint": True}, "checkpoint: must stay false"),
        ({"principal": "p"}, "principal: must stay None, not become 'p'"),
        ({"user": "other"}, "user: must stay 'somebody', not become 'other'"),
        ({"id": {"value": "other"}}, "framework_info.id: must be m-0000, not other"),
    ],
)
async def test_update_framework_may_not_change_what_agents_rely_on(fields, rule):
    async with master_world() as world:
        scheduler_ = await world.scheduler()
        info = framework_info(id={"value": scheduler_.framework_id})
        info.MergeFrom(mesos.FrameworkInfo(**{"user": info.user, "name": info.name, **fields}))
        update = scheduler.Call.UpdateFramework(framework_info=info)
        scheduler_.call("UPDATE_FRAMEWORK", update_framework=update)
        await world.settle()
        assert scheduler_.errors[-1].startswith(rule)


async def test_one_scheduler_is_one_framework():
    async with master_world() as world:
        scheduler_ = await world.scheduler()
        scheduler_.framework_id = "another"
        scheduler_.subscribe()
        await world.settle()
        assert scheduler_.errors == ["this scheduler is already subscribed as framework m-0000"]
        assert [record.framework_id for record in world.state.frameworks] == ["m-0000"]


def rack_matches(pattern, role="*"):
    constraints = scheduler.OfferConstraints()
    constraint = constraints.role_constraints[role].groups.add().attribute_constraints.add()
    constraint.selector.attribute_name = "rack"
    constraint.predicate.text_matches.regex = pattern
    return constraints


async def test_offer_constraints_are_kept_or_refused_when_subscribing():
    async with master_world(offer_constraints_re2_max_program_size=20) as world:
        right = await world.scheduler("s-1", constraints=rack_matches("r[0-9]+"))
        broken = await world.scheduler("s-2", constraints=rack_matches("("))
        large = await world.scheduler("s-3", constraints=rack_matches("[a-z]{30}"))
        foreign = await world.scheduler("s-4", constraints=rack_matches("r", role="dev"))
        assert not right.errors
        (constraint,) = world.state.frameworks.get(right.framework_id).constraints.groups["*"][0]
        assert constraint.matches("r17")
        assert "text_matches.regex: '('" in broken.errors[0]
        assert "at most 20 instructions" in large.errors[0]
        assert foreign.errors == ["offer_constraints: 'dev' is not a role of the framework"]


@pytest.mark.parametrize(("pattern", "error"), [("r2", None), ("(", "no usable pattern")])
async def test_update_framework_replaces_offer_constraints(pattern, error):
    async with master_world() as world:
        scheduler_ = await world.scheduler(constraints=rack_matches("r1"))
        info = framework_info(id={"value": scheduler_.framework_id})
        update = scheduler.Call.UpdateFramework(
            framework_info=info, offer_constraints=rack_matches(pattern)
        )
        scheduler_.call("UPDATE_FRAMEWORK", update_framework=update)
        await world.settle()
        groups = world.state.frameworks.get(scheduler_.framework_id).constraints.groups
        assert groups["*"][0][0].text == ("r1" if error else "r2")
        assert [error in text for text in scheduler_.errors] == ([True] if error else [])


async def test_smallest_wanted_offers_are_read_for_each_role():
    info = framework_info(capabilities=[MULTI_ROLE], roles=["a", "b", "c"])
    wanted = info.offer_filters["a"].min_allocatable_resources
    wanted.quantities.add().quantities["cpus"].value = 1.5
    wanted.quantities.add().quantities["mem"].value = 64
    info.offer_filters["b"].min_allocatable_resources.SetInParent()
    info.offer_filters["c"].SetInParent()
    async with master_world() as world:
        scheduler_ = await world.scheduler(info=info)
        spec = world.state.frameworks.get(scheduler_.framework_id).spec
        assert spec.min_allocatable == {"a": ({"cpus": 1500}, {"mem": 64_000}), "b": ()}


async def test_unknown_id_is_accepted_as_it_is():
    async with master_world() as world:
        scheduler_ = await world.scheduler(subscribe=False)
        scheduler_.framework_id = "from-an-earlier-master-0003"
        scheduler_.subscribe()
        await world.settle()
        (answer,) = scheduler_.of(internal.FrameworkRegisteredMessage)
        assert answer.framework_id.value == "from-an-earlier-master-0003"


async def test_two_ids_in_one_call_must_agree():
    async with master_world() as world:
        scheduler_ = await world.scheduler(subscribe=False)
        call = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
        call.framework_id.value = "one"
        call.subscribe.framework_info.CopyFrom(framework_info(id={"value": "two"}))
        scheduler_.send(world.master.pid, call)
        await world.settle()
        assert "differs" in scheduler_.errors[0]


async def test_teardown_removes_the_framework_and_its_history_is_bounded():
    async with master_world(max_completed_frameworks=2) as world:
        agent = await world.agent()
        for number in range(3):
            scheduler_ = await world.scheduler(f"s-{number}")
            await world.launch(scheduler_, agent, "t")
            scheduler_.call("TEARDOWN")
            await world.advance(1.0)
        completed = [f.framework_id for f in world.state.frameworks.completed]
        assert completed == ["m-0001", "m-0002"]
        assert not world.state.tasks.completed_of("m-0000")
        assert len(world.state.tasks.completed_of("m-0002")) == 1


async def test_completed_tasks_are_bounded():
    async with master_world(max_completed_tasks_per_framework=2) as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        for number in range(4):
            await world.launch(scheduler_, agent, f"t{number}")
            agent.update(scheduler_.framework_id, f"t{number}", "TASK_FINISHED")
            await world.settle()
            scheduler_.acknowledge(scheduler_.updates[-1])
            await world.advance(7.0)
        tasks = world.state.tasks.completed_of(scheduler_.framework_id)
        assert [task.task_id for task in tasks] == ["t2", "t3"]


async def test_legacy_registration_messages():
    async with master_world() as world:
        scheduler_ = await world.scheduler(subscribe=False)
        send = scheduler_.send
        send(world.master.pid, internal.RegisterFrameworkMessage(framework=framework_info()))
        await world.settle()
        assert scheduler_.framework_id == "m-0000"
        second = await world.add(FakeScheduler("scheduler-2", world.master.pid))
        info = framework_info(id={"value": "m-0000"})
        second.send(
            world.master.pid, internal.ReregisterFrameworkMessage(framework=info, failover=True)
        )
        await world.settle()
        assert scheduler_.errors == ["Framework failed over"]
        assert second.of(internal.FrameworkRegisteredMessage)
        second.send(world.master.pid, internal.RegisterFrameworkMessage(framework=info))
        second.send(
            world.master.pid,
            internal.ReregisterFrameworkMessage(framework=framework_info(), failover=True),
        )
        await world.settle()
        assert ["framework.id" in error for error in second.errors] == [True, True]
        second.send(
            world.master.pid,
            internal.UnregisterFrameworkMessage(framework_id=mesos.FrameworkID(value="m-0000")),
        )
        await world.settle()
        assert world.state.frameworks.is_completed("m-0000")


async def test_state_endpoint_counts_what_there_is():
    async with master_world() as world:
        agent = await world.agent()
        scheduler_ = await world.scheduler()
        await world.launch(scheduler_, agent, "t")
        response = await world.master._serve_state(None)
        state = json.loads(response.body)
        assert state["id"] == "m"
        assert state["pid"] == "master@10.0.0.1:5050"
        assert state["tasks"] == {"TASK_RUNNING": 1}
        assert state["activated_slaves"] == 1
        (framework,) = state["frameworks"]
        assert (framework["id"], framework["tasks"]) == ("m-0000", {"TASK_RUNNING": 1})
        (agent_,) = state["slaves"]
        assert agent_["used_resources"] == {"cpus": 1.0, "mem": 64.0}
