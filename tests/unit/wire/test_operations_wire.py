"""Operations on the wire: what is read is written as it was; recorded messages are the truth."""

import json

import pytest

from cluster.errors import InvalidInput
from cluster.model.operations import (
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationState,
    OperationStatus,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.resources import DiskSource, DiskSourceType, Resources
from cluster.validation.calls import read_accept
from cluster.wire import master as wire
from cluster.wire import operations
from cluster.wire.framework_info import framework_spec
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.fixtures_dir import fixtures
from tests.unit.master.operation_values import provided, reserved, volume

OPERATION = mesos.Offer.Operation
MOUNT = DiskSourceType.MOUNT


def recorded(scenario, name, message_type):
    lines = (fixtures() / "wire" / f"{scenario}.jsonl").read_text().splitlines()
    records = (json.loads(line) for line in lines)
    return [
        message_type.FromString(bytes.fromhex(record["body_hex"]))
        for record in records
        if record["kind"] == "message"
        and record["name"] == name
        and record["from"].startswith(("master@", "slave(", "scheduler-"))
    ]


@pytest.mark.parametrize("scenario", ["j-operator", "l-handmade-v0"])
def test_recorded_orders_are_written_as_they_were_read(scenario):
    orders = recorded(
        scenario, "mesos.internal.ApplyOperationMessage", internal.ApplyOperationMessage
    )
    assert orders
    for order in orders:
        change, role = operations.read_change(order.operation_info)
        written = operations.apply_operation(
            order.framework_id.value or None,
            order.operation_uuid.value,
            operations.write_change(change, role),
            order.resource_version_uuid.uuid.value,
            None,
        )
        assert written == order


@pytest.mark.parametrize("scenario", ["j-operator", "l-handmade-v0"])
def test_recorded_news_and_acknowledgements(scenario):
    news = recorded(
        scenario,
        "mesos.internal.UpdateOperationStatusMessage",
        internal.UpdateOperationStatusMessage,
    )
    updates = [operations.read_update(message) for message in news]
    assert {update.status.state for update in updates} == {OperationState.FINISHED}
    assert all(update.latest == update.status for update in updates)
    name = "mesos.internal.AcknowledgeOperationStatusMessage"
    answers = recorded(scenario, name, internal.AcknowledgeOperationStatusMessage)
    assert answers == [operations.acknowledge(u.uuid, u.status.uuid, None) for u in updates]


def test_a_recorded_group_is_ordered_as_a_real_master_does():
    [order] = recorded(
        "c-mesos-execute-task-group",
        "mesos.internal.RunTaskGroupMessage",
        internal.RunTaskGroupMessage,
    )
    accept = scheduler.Call.Accept()
    group = accept.operations.add(type=OPERATION.LAUNCH_GROUP).launch_group
    group.executor.CopyFrom(order.executor)
    for task in order.task_group.tasks:
        asked = group.task_group.tasks.add()
        asked.CopyFrom(task)
        asked.ClearField("executor")
    [launch] = read_accept(accept).operations
    assert launch.defect is None
    assert [task.defect for task in launch.tasks] == [None, None]
    assert launch.executor is not None
    written = wire.run_task_group(
        order.framework.id.value,
        framework_spec(order.framework),
        launch.executor,
        launch.tasks,
        "*",
        order.resource_version_uuids[0].uuid.value,
        launch_executor=True,
    )
    assert written == order


CHANGES = [
    Reserve(reserved("cpus:1;mem:5", principal="p")),
    Reserve(reserved("cpus:1", "b"), reserved("cpus:1")),
    Unreserve(reserved("cpus:1", "a", "a/b")),
    Create(volume(7, "n", shared=True) + volume(8, "m")),
    Destroy(volume()),
    Grow(volume(), reserved("disk:1")),
    Shrink(volume(source=DiskSource(DiskSourceType.PATH, "/p")), 1500),
    CreateDisk(provided(id="d"), MOUNT, "fast"),
    CreateDisk(provided(profile="fast"), DiskSourceType.BLOCK),
    DestroyDisk(provided(kind=MOUNT, id="d")),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", [None, "a"])
def test_there_and_back(change, role):
    written = operations.write_change(change, role, "name")
    assert operations.operation_id(written) == "name"
    assert operations.read_change(OPERATION.FromString(written.SerializeToString())) == (
        change,
        role,
    )


def operation(kind, part=None, **fields):
    message = OPERATION(type=OPERATION.Type.Value(kind))
    if part is not None:
        getattr(message, part).SetInParent()
    for name, value in fields.items():
        getattr(message, part).MergeFrom(type(getattr(message, part))(**{name: value}))
    return message


CPUS = mesos.Resource(name="cpus", type=mesos.Value.SCALAR, scalar={"value": 1.0})


def allocated(role):
    message = mesos.Resource()
    message.CopyFrom(CPUS)
    message.allocation_info.role = role
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (operation("RESERVE"), "reserve: must be set in an operation of type RESERVE"),
        (operation("DESTROY_DISK"), "destroy_disk: must be set"),
        (
            operation("RESERVE", "reserve", resources=[mesos.Resource(name="x")]),
            r"reserve.resources\[0\] \(x\).scalar: must be set",
        ),
        (
            operation("CREATE", "create", volumes=[allocated("a"), allocated("b")]),
            "create: all must be allocated to one role, not to a, b",
        ),
        (
            operation(
                "SHRINK_VOLUME", "shrink_volume", volume=CPUS, subtract={"value": float("nan")}
            ),
            "shrink_volume.subtract",
        ),
        (operation("CREATE_DISK", "create_disk", source=CPUS), "create_disk.target_type"),
    ],
)
def test_what_cannot_be_read(message, words):
    with pytest.raises(InvalidInput, match=words):
        operations.read_change(message)
    # In an ACCEPT it is noted, with the name by which its framework can be told.
    message.id.value = "op"
    [broken] = read_accept(scheduler.Call.Accept(operations=[message])).operations
    assert (broken.name, broken.operation_id) == (OPERATION.Type.Name(message.type), "op")


def test_a_status_there_and_back():
    status = OperationStatus(
        OperationState.FAILED,
        operation_id="op",
        message="why",
        converted=Resources.parse("cpus:1"),
        uuid=b"u" * 16,
        agent_id="m-S0",
        provider_id="p",
    )
    assert operations.read_status(operations.write_status(status)) == status


def test_questions():
    message = operations.reconcile_operations("f", [(b"u", "op", "p"), (None, "op-2", None)])
    first, second = message.operations
    assert message.framework_id.value == "f"
    assert (first.operation_uuid.value, first.operation_id.value) == (b"u", "op")
    assert first.resource_provider_id.value == "p"
    assert not second.HasField("operation_uuid")
    assert not second.HasField("resource_provider_id")
