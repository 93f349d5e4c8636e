"""Codecs: how a message body becomes bytes and back.

On the wire a message is only a name and bytes: no content type travels with it, so both ends must
know the codec from the message name. Protobuf messages carry their full type name as message name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from actorproc.errors import PeerProtocolError


class ProtobufMessage(Protocol):
    """What is used of a generated protobuf message."""

    DESCRIPTOR: Any

    def SerializeToString(self) -> bytes: ...


class Codec(NamedTuple):
    """A pair of functions with a name; ``decode`` raises any exception on bad bytes."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _identity(body: bytes) -> bytes:
    return body


def _encode_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _encode_msgpack(value: object) -> bytes:
    import msgpack  # late: only programs that use it pay for the import

    packed: bytes = msgpack.packb(value)
    return packed


def _decode_msgpack(body: bytes) -> object:
    import msgpack

    value: object = msgpack.unpackb(body)
    return value


def protobuf_codec(message_type: type[Any]) -> Codec:
    """Codec for one generated message class; the name is its full protobuf name.

    Decoding raises the protobuf library's error for truncated bytes, and ``PeerProtocolError``
    naming the missing required fields.
    """

    def decode(body: bytes) -> object:
        message = message_type()
        message.MergeFromString(body)  # unlike ParseFromString, says nothing of required fields
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())
            raise PeerProtocolError(f"missing required fields: {missing}")
        return message

    return Codec(message_type.DESCRIPTOR.full_name, _encode_protobuf, decode)


def _encode_protobuf(message: ProtobufMessage) -> bytes:
    return message.SerializeToString()


RAW = Codec("raw", _identity, _identity)
JSON = Codec("json", _encode_json, json.loads)
MSGPACK = Codec("msgpack", _encode_msgpack, _decode_msgpack)

__all__ = ["JSON", "MSGPACK", "RAW", "Codec", "ProtobufMessage", "protobuf_codec"]
