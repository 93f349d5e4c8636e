"""Bodies that are not what they should be: refused with two error types, whatever the bytes."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from actorproc import PeerProtocolError, protobuf_codec
from cluster.wire.pb import executor_pb2, mesos_pb2, messages_pb2, registry_pb2, scheduler_pb2
from tests.unit.wire.live_types import message_classes


def _offers() -> messages_pb2.ResourceOffersMessage:
    """A message with strings, doubles, nesting and repeated fields."""
    message = messages_pb2.ResourceOffersMessage(pids=["slave(1)@127.0.0.1:5051"])
    offer = message.offers.add(hostname="localhost")
    offer.id.value, offer.framework_id.value, offer.slave_id.value = "O1", "F1", "S1"
    cpus = offer.resources.add(name="cpus", type=mesos_pb2.Value.SCALAR)
    cpus.scalar.value = 1.5
    ports = offer.resources.add(name="ports", type=mesos_pb2.Value.RANGES)
    ports.ranges.range.add(begin=31000, end=32000)
    return message


_BODY = _offers().SerializeToString()
_TYPES: tuple[type[Message], ...] = (
    messages_pb2.ResourceOffersMessage,
    messages_pb2.StatusUpdateMessage,
    messages_pb2.ReregisterSlaveMessage,
    scheduler_pb2.Call,
    executor_pb2.Event,
    registry_pb2.Registry,
)


def _decode(message_type: type[Message], body: bytes) -> Any:
    return protobuf_codec(message_type).decode(body)


def _encode(message: Message) -> bytes:
    return protobuf_codec(type(message)).encode(message)


def _refusal(message_type: type[Message], body: bytes) -> Exception | None:
    """The error of decoding `body`, or None; any other exception fails the test."""
    try:
        _decode(message_type, body)
    except (PeerProtocolError, DecodeError) as error:
        return error
    return None


def _only_refused(message_type: type[Message], body: bytes) -> None:
    """Decoding raises nothing but the two errors, and what it takes can be sent on."""
    if _refusal(message_type, body) is None:
        message = _decode(message_type, body)
        assert message_type.FromString(_encode(message)).IsInitialized()


@given(st.sampled_from(_TYPES), st.binary(max_size=200))
def test_garbage_is_refused(message_type: type[Message], body: bytes) -> None:
    _only_refused(message_type, body)


@given(
    st.sampled_from(_TYPES),
    st.lists(st.tuples(st.integers(0, len(_BODY) - 1), st.integers(0, 255)), max_size=5),
)
@settings(max_examples=200)
def test_changed_bytes_are_refused(
    message_type: type[Message], changes: list[tuple[int, int]]
) -> None:
    body = bytearray(_BODY)
    for position, byte in changes:
        body[position] = byte
    _only_refused(message_type, bytes(body))


def test_every_truncation_is_refused_or_incomplete() -> None:
    """A cut between two fields leaves a valid, shorter body; any other cut is an error."""
    message_type = messages_pb2.ResourceOffersMessage
    whole = [n for n in range(len(_BODY)) if _refusal(message_type, _BODY[:n]) is None]
    pid = b"\x12\x18slave(1)@127.0.0.1:5051"
    assert whole == [0, len(_BODY) - len(pid)]  # nothing at all; the offer without the pid


def test_empty_body_of_every_type_decodes_or_names_what_is_missing() -> None:
    refused = 0
    for message_type in message_classes():
        refusal = _refusal(message_type, b"")
        if refusal is not None:
            refused += 1
            assert "missing required fields: " in str(refusal)
    assert 400 < refused < 902


def test_missing_required_field_is_named_with_its_path() -> None:
    body = messages_pb2.StatusUpdateMessage(pid="x")
    body.update.framework_id.SetInParent()
    with pytest.raises(PeerProtocolError) as refusal:
        _decode(messages_pb2.StatusUpdateMessage, body.SerializePartialToString())
    assert "update.framework_id.value" in refusal.value.reason
    assert "update.status" in refusal.value.reason


_BAD_TEXT = b"\xff\xfe"
_VOLUME = b"\x0a\x01v\x12\x04\x1a\x02\x08\x01"  # the required fields of a StaticProvisioning


@pytest.mark.parametrize(
    ("message_type", "body", "field"),
    [
        (mesos_pb2.FrameworkID, b"\x0a\x02" + _BAD_TEXT, "mesos.FrameworkID.value"),
        (
            mesos_pb2.CommandInfo,
            b"\x3a\x02" + _BAD_TEXT,  # arguments, repeated
            "mesos.CommandInfo.arguments",
        ),
        (
            scheduler_pb2.Call.Decline,
            b"\x0a\x03\x0a\x01a" + b"\x0a\x04\x0a\x02" + _BAD_TEXT,  # the second offer id
            "mesos.OfferID.value",
        ),
        (
            mesos_pb2.OfferFilters.ResourceQuantities,
            b"\x0a\x0f\x0a\x02" + _BAD_TEXT + b"\x12\x09\x09" + bytes(8),  # key of a map
            "mesos.OfferFilters.ResourceQuantities.quantities",
        ),
        (
            mesos_pb2.Volume.Source.CSIVolume.StaticProvisioning,
            _VOLUME + b"\x2a\x07\x0a\x01k\x12\x02" + _BAD_TEXT,  # value of a map
            "mesos.Volume.Source.CSIVolume.StaticProvisioning.volume_context",
        ),
        (
            mesos_pb2.Volume.Source.CSIVolume.StaticProvisioning,
            _VOLUME + b"\x2a\x07\x0a\x02" + _BAD_TEXT + b"\x12\x01v",  # key of a map
            "mesos.Volume.Source.CSIVolume.StaticProvisioning.volume_context",
        ),
    ],
)
def test_text_that_is_not_utf8_is_refused(
    message_type: type[Message], body: bytes, field: str
) -> None:
    with pytest.raises(PeerProtocolError) as refusal:
        _decode(message_type, body)
    assert refusal.value.reason == f"{field} must be UTF-8 text"


def test_nesting_is_limited() -> None:
    """The library stops at 100 levels; a deeper body is an error, not a crash."""

    def nested(levels: int) -> bytes:
        body = b"\x0a\x01x"
        for _ in range(levels - 1):
            parent = mesos_pb2.ContainerID(value="x").SerializeToString() + b"\x12"
            body = parent + _varint(len(body)) + body
        return body

    assert _decode(mesos_pb2.ContainerID, nested(100)).HasField("parent")
    with pytest.raises(DecodeError):
        _decode(mesos_pb2.ContainerID, nested(110))
    with pytest.raises(DecodeError):
        _decode(mesos_pb2.ContainerID, nested(20_000))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def test_unknown_fields_and_enum_values_are_kept() -> None:
    """A newer peer's additions are not an error, and survive being sent on."""
    body = mesos_pb2.FrameworkID(value="F").SerializeToString() + b"\xfa\x3e\x02hi"
    assert _encode(_decode(mesos_pb2.FrameworkID, body)) == body
    from_the_future = b"\x08\x63"  # type = 99
    event = _decode(scheduler_pb2.Event, from_the_future)
    assert not event.HasField("type")
    assert event.type == scheduler_pb2.Event.UNKNOWN
    assert _encode(event) == from_the_future


def test_equal_messages_encode_to_equal_bytes() -> None:
    def with_limits(names: list[str]) -> mesos_pb2.OfferFilters.ResourceQuantities:
        message = mesos_pb2.OfferFilters.ResourceQuantities()
        for name in names:
            message.quantities[name].value = 1
        return message

    names = [f"resource-{number}" for number in range(50)]
    assert _encode(with_limits(names)) == _encode(with_limits(names[::-1]))
