"""Rules for agents that register or come back (master.md §3.1)."""

import pytest

from cluster.errors import InvalidInput
from cluster.model.task_states import TaskState
from cluster.validation.agent import read_registration, read_reregistration, version_error
from cluster.wire.master_intake import agent_update
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import resources_to_pb
from tests.sim.master_world import framework_info, resources
from tests.unit.master.operation_values import reserved

IP = "10.0.0.7"


def registration(**fields):
    message = internal.RegisterSlaveMessage(version="1.11.0", **fields)
    message.slave.hostname = "h"
    message.slave.resources.extend(resources("cpus:1"))
    return message


def report(**fields):
    message = internal.ReregisterSlaveMessage(version="1.11.0", **fields)
    message.slave.hostname = "h"
    message.slave.id.value = "a"
    message.slave.resources.extend(resources("cpus:1"))
    return message


def framework(framework_id="f", **fields):
    return framework_info(id={"value": framework_id}, **fields)


def executor(framework_id="f", executor_id="e", text="cpus:1"):
    return mesos.ExecutorInfo(
        executor_id={"value": executor_id},
        framework_id={"value": framework_id},
        resources=resources(text),
    )


def task(task_id="t", **fields):
    values = {
        "framework_id": {"value": "f"},
        "slave_id": {"value": "a"},
        "state": mesos.TASK_RUNNING,
    }
    return mesos.Task(name="t", task_id={"value": task_id}, **{**values, **fields})


BAD_RESOURCE = mesos.Resource(name="cpus", type=mesos.Value.SCALAR)


def test_right_messages():
    spec = read_registration(registration(), IP)
    assert (spec.hostname, spec.ip, str(spec.total)) == ("h", IP, "cpus:1")
    full = report(frameworks=[framework()], tasks=[task()], executor_infos=[executor()])
    full.tasks[0].executor_id.value = "e"
    read = read_reregistration(full, IP)
    assert read.agent_id == "a"
    assert [spec.framework_id for spec in read.frameworks] == ["f"]
    assert [(t.task_id, t.executor_id, t.state) for t in read.tasks] == [
        ("t", "e", TaskState.RUNNING)
    ]
    assert [(e.executor_id, str(e.resources)) for e in read.executors] == [("e", "cpus:1")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.slave.id.SetInParent(), "slave.id: must not be set"),
        (lambda m: m.slave.resources.append(BAD_RESOURCE), "slave.resources[1] (cpus).scalar"),
        (lambda m: m.slave.resources.add(name="mem", type=2).set.item.append("x"), "mem: must be"),
        (lambda m: m.checkpointed_resources.append(BAD_RESOURCE), "checkpointed_resources[0]"),
        (lambda m: m.checkpointed_resources.extend(resources("cpus:1")), "checkpoint=true"),
        (
            lambda m: m.checkpointed_resources.extend(
                resources_to_pb(reserved("cpus:2"), refined=True)
            ),
            "checkpointed_resources: [cpus(reservations: [(DYNAMIC,a)]):2] cannot be made of",
        ),
        (lambda m: m.slave.resources[0].revocable.SetInParent(), "must be neither revocable nor"),
        (lambda m: setattr(m.slave.resources[0].provider_id, "value", "p"), "told by updates"),
        (
            lambda m: m.slave.domain.fault_domain.region.MergeFrom(
                mesos.DomainInfo.FaultDomain.RegionInfo(name="r")
            ),
            "slave.domain: must name fault_domain.region",
        ),
        (lambda m: setattr(m, "version", "0.9.9"), "at least 1.0.0"),
    ],
)
def test_wrong_registration(change, words):
    message = registration()
    change(message)
    assert words in read_registration(message, IP)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frameworks": [framework(), framework()]}, "f is listed twice"),
        ({"frameworks": [framework_info()]}, "frameworks.id: must not be empty"),
        ({"frameworks": [framework(role="a//b")]}, "two slashes"),
        ({"executor_infos": [executor()]}, "framework 'f' of executor e is not listed"),
        (
            {"frameworks": [framework()], "executor_infos": [executor(), executor()]},
            "executor e is listed twice",
        ),
        (
            {"frameworks": [framework()], "executor_infos": [executor(executor_id="a/b")]},
            "executor_infos.executor_id",
        ),
        ({"tasks": [task()]}, "framework 'f' is not listed"),
        ({"frameworks": [framework()], "tasks": [task(), task()]}, "t is listed twice"),
        ({"frameworks": [framework()], "tasks": [task("..")]}, "tasks.task_id"),
        (
            {"frameworks": [framework()], "tasks": [task(slave_id={"value": "b"})]},
            "is of agent 'b'",
        ),
        (
            {"frameworks": [framework()], "tasks": [task(executor_id={"value": "e"})]},
            "executor 'e' is not listed",
        ),
        (
            {"frameworks": [framework()], "tasks": [task(state=mesos.TASK_UNKNOWN)]},
            "TASK_UNKNOWN",
        ),
        (
            {"frameworks": [framework()], "tasks": [task(resources=[BAD_RESOURCE])]},
            "task t[0] (cpus).scalar",
        ),
    ],
)
def test_wrong_report(fields, words):
    assert words in read_reregistration(report(**fields), IP)


def test_wrong_executor_resources():
    message = report(frameworks=[framework()], executor_infos=[executor()])
    message.executor_infos[0].resources.append(BAD_RESOURCE)
    assert "executor e.resources[1]" in read_reregistration(message, IP)


@pytest.mark.parametrize("version", ["1.0.0", "1.12.0", "2.3.4-rc1", "1.11.0+build"])
def test_good_version(version):
    assert version_error(version) is None


@pytest.mark.parametrize("version", ["", "1", "1.0", "one.two.three", "0.99.99", "-1.0.0"])
def test_bad_version(version):
    assert version_error(version).startswith("version: ")


def test_a_resource_provider_is_listed_once():
    message = internal.UpdateSlaveMessage(slave_id={"value": "a"})
    for _ in range(2):
        provider = message.resource_providers.providers.add()
        provider.info.id.value = "p"
        provider.total_resources.extend(resources("disk:5"))
        provider.total_resources[0].provider_id.value = "p"
    with pytest.raises(InvalidInput, match="p is listed twice"):
        agent_update(message)
