"""What users hand in is read safely, and the messages look like those of the original driver."""

import json

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from cluster.errors import InvalidInput
from cluster.wire import driver as wire
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.fixtures_dir import fixtures

TASK = {
    "name": "t",
    "task_id": {"value": "1"},
    "agent_id": {"value": "S0"},
    "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}],
    "data": "aGVsbG8=",
}


def test_dictionaries_may_use_the_names_of_either_version():
    v1 = wire.message_from(mesos.TaskInfo, TASK, "task")
    v0_names = {**TASK, "slave_id": TASK["agent_id"]}
    del v0_names["agent_id"]

    assert v1 == wire.message_from(mesos.TaskInfo, v0_names, "task")
    assert v1.slave_id.value == "S0"
    assert v1.data == b"hello"


def test_enum_values_of_v1_are_understood():
    status = wire.message_from(
        mesos.TaskStatus,
        {
            "task_id": {"value": "t"},
            "state": "TASK_LOST",
            "source": "SOURCE_AGENT",
            "reason": "REASON_AGENT_REMOVED",
        },
        "status",
    )

    assert status.source == mesos.TaskStatus.SOURCE_SLAVE
    assert status.reason == mesos.TaskStatus.REASON_SLAVE_REMOVED


def test_messages_are_copied():
    given = mesos.OfferID(value="O1")
    taken = wire.message_from(mesos.OfferID, given, "offer_id")
    given.value = "changed"

    assert taken.value == "O1"


def test_the_same_protocol_generated_elsewhere_is_taken_over():
    file = FileDescriptorProto()
    mesos.DESCRIPTOR.CopyToProto(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    foreign = message_factory.GetMessageClass(pool.FindMessageTypeByName("mesos.OfferID"))

    assert wire.message_from(mesos.OfferID, foreign(value="O1"), "id") == mesos.OfferID(value="O1")


@pytest.mark.parametrize(
    ("value", "field", "rule"),
    [
        ({"name": "t"}, "task.task_id", "required"),
        ({**TASK, "nme": 1}, "task", 'no field named "nme"'),
        ({**TASK, "name": 3}, "task", "name"),
        ({**TASK, "resources": [{"name": "cpus", "type": "SCALE"}]}, "task", "SCALE"),
        (5, "task", "not int"),
        (mesos.OfferID(value="O1"), "task", "not OfferID"),
        (mesos.TaskInfo(name="t"), "task.task_id", "required"),
    ],
)
def test_what_cannot_be_read_is_named(value, field, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        wire.message_from(mesos.TaskInfo, value, "task")
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_endless_nesting_is_refused():
    nested: dict[str, object] = {}
    nested["labels"] = nested
    with pytest.raises(InvalidInput, match="nested"):
        wire.message_from(mesos.TaskInfo, nested, "task")


def test_one_or_many_and_the_index_in_the_error():
    assert wire.messages_from(mesos.OfferID, "O1", "ids") == [mesos.OfferID(value="O1")]
    assert len(wire.messages_from(mesos.OfferID, ["O1", {"value": "O2"}], "ids")) == 2
    with pytest.raises(InvalidInput, match=r"ids\[1\]"):
        wire.messages_from(mesos.OfferID, ["O1", 2], "ids")
    with pytest.raises(InvalidInput, match="ids"):
        wire.messages_from(mesos.OfferID, 5, "ids")


@pytest.mark.parametrize("roles", ["dev", 5, [1]])
def test_role_names_are_checked(roles):
    with pytest.raises(InvalidInput, match="roles"):
        wire.role_names(roles, "roles")


@pytest.mark.parametrize(
    "value", [{"name": "n"}, mesos.FrameworkInfo(name="n"), mesos.FrameworkInfo(user="", name="n")]
)
def test_user_and_host_name_are_filled_in(value):
    framework = wire.framework_from(value, user="me", hostname="here")
    assert (framework.user, framework.hostname) == ("me", "here")

    kept = mesos.FrameworkInfo(user="you", name="n", hostname="there")
    assert wire.framework_from(kept, user="me", hostname="here") == kept


def test_the_roles_of_a_framework():
    single = mesos.FrameworkInfo(user="u", name="n", role="dev")
    assert wire.framework_roles(single) == ("dev",)
    several = mesos.FrameworkInfo(user="u", name="n", roles=["a", "b"])
    several.capabilities.add(type=mesos.FrameworkInfo.Capability.MULTI_ROLE)
    assert wire.framework_roles(several) == ("a", "b")


@pytest.mark.parametrize(
    ("uuid", "has_receipt_address", "want"),
    [(b"u", True, b"u"), (b"u", False, b""), (b"", True, b"")],
)
def test_the_uuid_shows_whether_an_acknowledgement_is_wanted(uuid, has_receipt_address, want):
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value="t"), state=mesos.TASK_RUNNING, uuid=b"old"
    )
    update = internal.StatusUpdate(
        framework_id=mesos.FrameworkID(value="f"), status=status, timestamp=1.0, uuid=uuid
    )
    message = internal.StatusUpdateMessage(update=update)

    shown = wire.status_of(message, has_receipt_address=has_receipt_address)

    assert shown.uuid == want
    assert shown.HasField("uuid") is bool(want)


def recorded_calls(name):
    """(call type, parsed call) of every recorded message of a real scheduler driver."""
    calls = []
    for line in (fixtures() / "wire" / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "message" and record["name"] == "mesos.scheduler.Call":
            call = scheduler.Call()
            call.ParseFromString(bytes.fromhex(record["body_hex"]))
            calls.append(call)
    return calls


def rebuilt(call):
    """The same call, built by our functions from what a program would have handed in."""
    kinds = scheduler.Call
    match call.type:
        case kinds.SUBSCRIBE:
            force = call.subscribe.force if call.subscribe.HasField("force") else None
            framework_id = call.framework_id.value if call.HasField("framework_id") else None
            return wire.subscribe_call(call.subscribe.framework_info, framework_id, force, ())
        case kinds.ACCEPT:
            accept = call.accept
            made = wire.accept_call(accept.offer_ids, accept.operations, accept.filters)
        case kinds.DECLINE:
            made = wire.decline_call(call.decline.offer_ids, call.decline.filters)
        case kinds.ACKNOWLEDGE:
            one = call.acknowledge
            made = wire.acknowledge_call(one.slave_id.value, one.task_id.value, one.uuid)
        case kinds.RECONCILE:
            made = wire.reconcile_call(
                mesos.TaskStatus(
                    task_id=task.task_id,
                    state=mesos.TASK_RUNNING,
                    slave_id=task.slave_id if task.HasField("slave_id") else None,
                )
                for task in call.reconcile.tasks
            )
        case kinds.KILL:
            made = wire.kill_call(call.kill.task_id)
        case kinds.REQUEST:
            made = wire.request_call(call.request.requests)
        case kinds.SUPPRESS:
            made = wire.suppress_call(call.suppress.roles)
        case kinds.REVIVE:
            made = wire.revive_call(call.revive.roles)
        case kinds.TEARDOWN:
            made = wire.teardown_call()
        case other:
            raise AssertionError(f"no builder for {other}")
    return wire.with_framework_id(made, call.framework_id.value)


@pytest.mark.parametrize(
    "name",
    ["b-test-framework", "d-agent-restart", "e-master-restart", "f-scheduler-failover",
     "g-driver-calls"],
)  # fmt: skip
def test_every_recorded_call_of_a_real_driver_comes_out_byte_for_byte(name):
    calls = recorded_calls(name)
    assert calls
    for call in calls:
        made = rebuilt(call)
        assert made == call, json_format.MessageToJson(call)
        assert made.SerializeToString() == call.SerializeToString()


def test_the_updates_of_a_real_executor_come_out_byte_for_byte():
    found = 0
    for line in (fixtures() / "wire" / "b-test-framework.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] != "message" or not record["from"].startswith("executor(1)"):
            continue
        if record["name"] != "mesos.internal.StatusUpdateMessage":
            continue
        found += 1
        message = internal.StatusUpdateMessage()
        message.ParseFromString(bytes.fromhex(record["body_hex"]))
        update = message.update
        given = mesos.TaskStatus()
        given.CopyFrom(update.status)
        for field in ("slave_id", "timestamp", "uuid"):
            given.ClearField(field)

        made = wire.completed_update(
            given,
            framework_id=update.framework_id.value,
            executor_id=update.executor_id.value,
            agent_id=update.slave_id.value,
            uuid=update.uuid,
            now_s=update.timestamp,
        )

        assert made.SerializeToString() == update.SerializeToString()
    assert found >= 10
