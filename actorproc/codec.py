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
    """

    def decode(body: bytes) -> object:
        message = message_type()
        message.MergeFromString(body)
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())
            raise PeerProtocolError(f"missing required fields: {missing}")
        _require_text(message)
        return message

    return Codec(message_type.DESCRIPTOR.full_name, encode_protobuf, decode)


def encode_protobuf(message: ProtobufMessage) -> bytes:
    """The bytes of a message, maps sorted by key."""
    return message.SerializeToString(deterministic=True)


def _require_text(message: Any) -> None:
    """Raise for the first string, at any depth, that is not UTF-8.

    Differs: Mesos (C++) lets such strings pass, as it never needs to decode them.
    """
    for field, value in message.ListFields():
        check = _CHECKS.get(field)
        if check is None:
            check = _CHECKS[field] = _check_of(field)
        if check is not _pass:
            check(field, value)


_Check = Callable[[Any, Any], None]


def _check_of(field: Any) -> _Check:
    """What a field of this descriptor needs, worked out once for all messages."""
    if field.type == _TYPE_STRING:
        return _check_texts if field.is_repeated else _check_text
    if field.type != _TYPE_MESSAGE or not _may_hold_text(field.message_type, set()):
        return _pass
    if field.message_type.GetOptions().map_entry:
        return _check_map
    return _check_messages if field.is_repeated else _check_message


def _may_hold_text(descriptor: Any, seen: set[str]) -> bool:
    """Whether a message has a string, at any depth."""
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return bool(descriptor.is_extendable) or any(
        field.type == _TYPE_STRING
        or (field.type == _TYPE_MESSAGE and _may_hold_text(field.message_type, seen))
        for field in descriptor.fields
    )


def _pass(field: Any, value: Any) -> None:
    pass


def _check_text(field: Any, value: Any) -> None:
    if type(value) is not str:
        raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")


def _check_texts(field: Any, values: Any) -> None:
    for value in values:
        _check_text(field, value)


def _check_message(field: Any, value: Any) -> None:
    _require_text(value)


def _check_messages(field: Any, values: Any) -> None:
    for value in values:
        _require_text(value)


def _check_map(field: Any, entries: Any) -> None:
    value_type = field.message_type.fields_by_name["value"].type
    for key in entries:  # items() would fail on a key that is not UTF-8
        if isinstance(key, bytes):
            raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")
    for value in entries.values():
        if value_type == _TYPE_MESSAGE:
            _require_text(value)
        elif value_type == _TYPE_STRING and isinstance(value, bytes):
            raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")


# As many as the program's protocols have fields.
_CHECKS: dict[Any, _Check] = {}
# Numbers of google.protobuf.FieldDescriptorProto.Type, written out to keep the import light.
_TYPE_STRING = 9
_TYPE_MESSAGE = 11


def name_and_codec(message: str | type[Any], codec: Codec | None) -> tuple[str, Codec]:
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
