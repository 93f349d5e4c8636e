"""Protobuf bodies from and to the network: one way in that refuses everything malformed.

What the protobuf library itself refuses: truncated or garbled bodies, and messages nested deeper
than 100 (see `cluster.wire.pb._pool`). What it lets pass, and this module refuses:

- a missing required field, which parsing leaves for the reader to notice;
- a string field that is not UTF-8. The types are proto2, where that is not checked: the field would
  read as ``bytes``, and the first use of it as ``str`` would raise far from here, in a daemon that
  serves others.

Unknown fields are kept and sent on (they come from newer peers).

Differs: Mesos (C++) lets strings pass that are not UTF-8, as it never needs to decode them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from cluster.errors import InvalidInput

_TEXT_RULE = "must be UTF-8 text"

MessageT = TypeVar("MessageT", bound=Message)


def decode(message_type: type[MessageT], body: bytes) -> MessageT:
    """Parse `body` as one message of the given type.

    Raises:
        InvalidInput: the body is malformed; the text names the message, and the field where known.
    """
    message = message_type()
    name = message_type.DESCRIPTOR.full_name
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise InvalidInput(
            name, f"{len(body)} bytes are not a protobuf body of this type"
        ) from error
    if not message.IsInitialized():
        # Defined by every message class, but not in the type stubs of the library.
        missing = ", ".join(message.FindInitializationErrors())  # type: ignore[attr-defined]
        raise InvalidInput(name, f"required fields are missing: {missing}")
    _require_text(message)
    return message


def encode(message: Message) -> bytes:
    """The bytes of `message`, maps sorted by key, so that equal messages have equal bytes.

    Raises:
        google.protobuf.message.EncodeError: a required field is not set; our own mistake.
    """
    return message.SerializeToString(deterministic=True)


def _require_text(message: Message) -> None:
    """Raise `InvalidInput` for the first string, at any depth, that is not UTF-8."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            texts = value if field.is_repeated else (value,)
            if not all(isinstance(text, str) for text in texts):
                raise InvalidInput(field.full_name, _TEXT_RULE)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in _messages_in(field, value):
                _require_text(part)


def _messages_in(field: FieldDescriptor, value: Any) -> Iterable[Message]:
    """The messages of a message field's value: one, those of a list, or the values of a map."""
    if isinstance(value, Message):
        return (value,)
    if not isinstance(value, Mapping):
        messages: Iterable[Message] = value
        return messages
    try:
        items = list(value.items())
    except UnicodeDecodeError as error:  # a map of strings raises when it is read, others do not
        raise InvalidInput(field.full_name, _TEXT_RULE) from error
    if not all(isinstance(key, str) for key, _ in items):
        raise InvalidInput(field.full_name, _TEXT_RULE)
    return [part for _, part in items if isinstance(part, Message)]


__all__ = ["decode", "encode"]
