"""Message bodies as bytes and back."""

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import StringValue

from actorproc import JSON, MSGPACK, RAW, PeerProtocolError, protobuf_codec
from cluster.wire.pb import mesos_pb2 as mesos

VALUE = {"a": [1, 2.5, None, True, "é"], "b": {}}


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
def test_round_trip(codec):
    body = codec.encode(VALUE)
    assert isinstance(body, bytes)
    assert codec.decode(body) == VALUE


def test_raw_is_the_bytes_themselves():
    body = b"\x00\xff"
    assert RAW.encode(body) is body
    assert RAW.decode(body) is body


@pytest.mark.parametrize(
    ("codec", "body"), [(JSON, b"{"), (JSON, b"\xff"), (MSGPACK, b"\xc1"), (MSGPACK, b"")]
)
def test_bad_bytes_raise(codec, body):
    with pytest.raises(ValueError):
        codec.decode(body)


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        JSON.encode(float("nan"))


def test_protobuf_is_named_by_its_full_name():
    codec = protobuf_codec(StringValue)
    assert codec.name == "google.protobuf.StringValue"
    assert codec.decode(codec.encode(StringValue(value="x"))).value == "x"
    assert protobuf_codec(Empty).decode(b"") == Empty()


def test_a_codec_is_made_once_per_class():
    assert protobuf_codec(StringValue) is protobuf_codec(StringValue)
    assert protobuf_codec(StringValue) is not protobuf_codec(Value)


def test_protobuf_cut_short():
    with pytest.raises(DecodeError):
        protobuf_codec(Value).decode(b"\x1a\x05ab")


def test_protobuf_names_missing_required_fields():
    with pytest.raises(PeerProtocolError, match=r"missing required fields: id, ip"):
        protobuf_codec(mesos.MasterInfo).decode(b"")
