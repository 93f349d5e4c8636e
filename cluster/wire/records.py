"""Files that hold protobuf messages one after the other, as agents lay them out.

    record ::= length of the message, 4 bytes little-endian, then the message

Source: agent.md §5; the recorded work directory of a real agent.
"""

import struct
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, EncodeError, Message

from cluster.errors import InvalidInput

M = TypeVar("M", bound=Message)

_LENGTH = struct.Struct("<I")

RECORD_BYTES_MAX = 64 * 1024 * 1024


def records_to_bytes(messages: Iterable[Message]) -> bytes:
    """Write messages one after the other."""
    parts: list[bytes] = []
    for message in messages:
        body = message.SerializeToString()
        parts += [_LENGTH.pack(len(body)), body]
    return b"".join(parts)


def records_from_bytes(data: bytes, message_type: type[M], *, field: str) -> list[M]:
    """Read messages that stand one after the other.

    Args:
        field: how errors call the file.

    Raises:
        InvalidInput: the file ends within a record, or one is not of that type.
    """
    messages: list[M] = []
    at = 0
    while at < len(data):
        name = f"{field} (record {len(messages)})"
        if len(data) - at < _LENGTH.size:
            raise InvalidInput(name, "ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > RECORD_BYTES_MAX or length > len(data) - at:
            raise InvalidInput(name, f"must have {length} bytes, not {len(data) - at}")
        messages.append(_parsed(data[at : at + length], message_type, name))
        at += length
    return messages


def _parsed(body: bytes, message_type: type[M], name: str) -> M:
    message = message_type()
    try:
        message.ParseFromString(body)
        message.SerializeToString()  # refuses a message that lacks required fields
    except (DecodeError, EncodeError) as error:
        full_name = message_type.DESCRIPTOR.full_name
        raise InvalidInput(name, f"must be a {full_name}") from error
    return message


__all__ = ["RECORD_BYTES_MAX", "records_from_bytes", "records_to_bytes"]
