"""Codecs: how a message body becomes bytes and back.

On the wire a message is only a name and bytes: no content type travels with it, so both ends must
know the codec from the message name. Protobuf messages carry their full type name as message name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from actorproc.errors import PeerProtocolError
from actorproc.text_rule import TextRule

CODECS_CACHED_MAX: Final = 1024
"""How many types of messages keep their codec; each knows what the text in its type looks like."""


class ProtobufMessage(Protocol):
    """What is used of a generated protobuf message."""

    DESCRIPTOR: Any

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


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

    Encoding sorts maps by key, so that equal messages have equal bytes. Decoding refuses what the
    protobuf library lets pass and what would surprise a handler later: missing required fields, and
    in proto2 messages strings that are not UTF-8 (they would read as ``bytes``).

    Decoding raises the library's ``DecodeError`` for garbled bytes and ``PeerProtocolError`` naming
    the field otherwise.

    A codec is made once per class: thousands of processes may install the same message.
    """
    key: Any = message_type  # classes are hashable, but not known to be
    return _codec_of(key)


@lru_cache(maxsize=CODECS_CACHED_MAX)
def _codec_of(message_type: Any) -> Codec:
    require_text = TextRule(message_type.DESCRIPTOR).require

    def decode(body: bytes) -> object:
        message = message_type()
        message.MergeFromString(body)
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())
            raise PeerProtocolError(f"missing required fields: {missing}")
        require_text(message, body)
        return message

    return Codec(message_type.DESCRIPTOR.full_name, encode_protobuf, decode)


def encode_protobuf(message: ProtobufMessage) -> bytes:
    """The bytes of a message, maps sorted by key."""
    return message.SerializeToString(deterministic=True)


def name_and_codec(message: str | type[ProtobufMessage], codec: Codec | None) -> tuple[str, Codec]:
    """The name and codec of messages given by name, or by their protobuf class."""
    if isinstance(message, str):
        return message, codec or RAW
    codec = protobuf_codec(message)
    return codec.name, codec


RAW = Codec("raw", _identity, _identity)
JSON = Codec("json", _encode_json, json.loads)
MSGPACK = Codec("msgpack", _encode_msgpack, _decode_msgpack)

__all__ = [
    "JSON",
    "MSGPACK",
    "RAW",
    "Codec",
    "ProtobufMessage",
    "encode_protobuf",
    "name_and_codec",
    "protobuf_codec",
]
