"""REQUEST: what is read of it, and what the allocator is told."""

import pytest

from cluster.core.allocator.events import ResourcesRequested
from cluster.core.master.effects import Warn
from cluster.model.calls import RequestResources, ResourceRequest
from cluster.model.ids import AgentId, FrameworkId
from cluster.validation.calls import REQUESTS_MAX, read_call
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import resources
from tests.unit.master.core_harness import Harness

ID = FrameworkId("m-0000")


def request(text, *, agent_id=None, roles=()):
    message = mesos.Request(resources=resources(text))
    if agent_id is not None:
        message.slave_id.value = agent_id
    for resource, role in zip(message.resources, roles, strict=False):
        resource.allocation_info.role = role
    return message


def read(*requests):
    call = scheduler.Call(type=scheduler.Call.REQUEST)
    call.request.SetInParent()
    call.request.requests.extend(requests)
    return read_call(call)


def test_amounts_agents_and_roles_are_read():
    assert read(
        request("cpus:4;mem:1024;ports:[1-9]"),
        request("gpus:1", agent_id="S1", roles=["dev"]),
    ) == RequestResources(
        (
            ResourceRequest({"cpus": 4000, "mem": 1_024_000}),
            ResourceRequest({"gpus": 1000}, AgentId("S1"), "dev"),
        )
    )


@pytest.mark.parametrize(
    ("requests", "error"),
    [
        ([request("ports:[1-9]")], "requests[0].resources: must hold an amount"),
        ([request("cpus:1"), mesos.Request()], "requests[1].resources: must hold an amount"),
        ([request("cpus:1;mem:1", roles=["a", "b"])], "must be of one role, not of a, b"),
        ([request("cpus:1")] * (REQUESTS_MAX + 1), f"must not list more than {REQUESTS_MAX}"),
        (
            [mesos.Request(resources=[mesos.Resource(name="cpus", type=mesos.Value.SCALAR)])],
            "requests[0].resources",
        ),
    ],
)
def test_errors_name_the_request(requests, error):
    assert error in read(*requests)


def test_each_request_replaces_the_one_before():
    world = Harness()
    world.subscribe()
    world.told()
    four, big = {"cpus": 4000}, {"mem": 9_000_000}
    agent = AgentId("m-S3")
    world.call(
        RequestResources((ResourceRequest(four), ResourceRequest(big, agent), ResourceRequest(big)))
    )
    assert world.told() == [
        ResourcesRequested(ID, (four, big)),
        ResourcesRequested(ID, (big,), agent_id=agent),
    ]
    world.call(RequestResources((ResourceRequest(four, role="*"), ResourceRequest(four))))
    assert world.told() == [
        ResourcesRequested(ID, (four,)),
        ResourcesRequested(ID, (), agent_id=agent),
        ResourcesRequested(ID, (four,), role="*"),
    ]
    world.call(RequestResources(()))
    assert world.told() == [ResourcesRequested(ID, ()), ResourcesRequested(ID, (), role="*")]
    world.call(RequestResources(()))
    assert world.told() == []


def test_a_request_for_a_foreign_role_is_ignored():
    world = Harness()
    world.subscribe()
    world.told()
    effects = world.call(RequestResources((ResourceRequest({"cpus": 1}, role="ops"),)))
    assert [type(effect) for effect in effects] == [Warn]
    assert world.told() == []
