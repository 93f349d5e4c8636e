"""Which strings are found not to be text: whatever the library's parser says, the walk decides."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from actorproc.codec import protobuf_codec
from actorproc.errors import PeerProtocolError
from cluster.wire.pb import mesos_pb2, messages_pb2, scheduler_pb2

_GOOD, _BAD = b"ok", b"\xff\xfe"


def field(number, content):
    """One length-delimited field, numbered below 16 and shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def group(number, content):
    return bytes([number << 3 | 3]) + content + bytes([number << 3 | 4])


def refusal_of(message_type, body):
    try:
        protobuf_codec(message_type).decode(body)
    except PeerProtocolError as error:
        return error.reason
    return None


def test_a_bad_string_that_a_good_one_replaces_does_no_harm():
    body = field(1, _BAD) + field(1, _GOOD)
    assert refusal_of(mesos_pb2.TaskID, body) is None
    assert refusal_of(mesos_pb2.TaskID, field(1, _GOOD) + field(1, _BAD)) is not None


def test_bytes_and_unknown_fields_may_hold_anything():
    task_id = field(1, field(1, _GOOD))
    status = task_id + b"\x10\x01" + field(3, _BAD)  # data
    assert refusal_of(mesos_pb2.TaskStatus, status) is None
    assert refusal_of(mesos_pb2.TaskID, field(1, _GOOD) + field(15, _BAD)) is None


def test_text_deep_inside_is_found():
    # ReregisterSlaveMessage.tasks[0].statuses[0].container_status.container_id.value
    container = field(4, field(1, _BAD))
    status = field(1, field(1, _GOOD)) + b"\x10\x01" + field(13, container)
    assert mesos_pb2.TaskStatus.DESCRIPTOR.fields_by_number[13].name == "container_status"
    reason = refusal_of(mesos_pb2.TaskStatus, status)
    assert reason == "mesos.ContainerID.value must be UTF-8 text"


@pytest.fixture
def odd_type():
    """A type with a group, which holds a string: ``message Odd { optional group G = 1 {...} }``."""
    file = descriptor_pb2.FileDescriptorProto(name="odd.proto", syntax="proto2")
    odd = file.message_type.add(name="Odd")
    inner = odd.nested_type.add(name="G")
    inner.field.add(name="text", number=2, label=1, type=9)
    odd.field.add(name="g", number=1, label=1, type=10, type_name=".Odd.G")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Odd"))


def test_a_string_in_a_group_is_found(odd_type):
    assert refusal_of(odd_type, group(1, field(2, _GOOD))) is None
    assert refusal_of(odd_type, group(1, field(2, _BAD))) == "Odd.G.text must be UTF-8 text"


def test_all_messages_of_the_protocol_are_checked_by_the_parser():
    """A type that had to be walked through would cost twenty times as much."""
    from actorproc.text_rule import _shape_of

    for module in (messages_pb2, scheduler_pb2):
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            assert _shape_of(descriptor) is not None, name
