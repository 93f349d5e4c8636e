"""That every string in a protobuf message is UTF-8 text.

The protobuf library checks this itself for proto3, and not for proto2: a string that is not UTF-8
is found when somebody reads it. Walking through every message in Python to find out costs many
times what parsing it does. So the bytes are parsed once more, by the library, as a proto3 message
made up for this purpose: it has the same fields with the same numbers, but only those that are
strings or lead to strings. Only when that fails is the real message walked through: to name the
field, and because a bad string may have been replaced by a later, good one.

Differs: Mesos (C++) lets such strings pass, as it never needs to decode them.
"""

from __future__ import annotations

from typing import Any

from actorproc.errors import PeerProtocolError

# Numbers of google.protobuf.FieldDescriptorProto, written out to keep the import light.
_TYPE_STRING = 9
_TYPE_GROUP = 10
_TYPE_MESSAGE = 11
_LABEL_OPTIONAL = 1
_LABEL_REPEATED = 3


class TextRule:
    """The rule for one type of messages.

    Args:
        descriptor: of the generated class.
    """

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        self._has_shape = False
        self._shape: Any = None

    def require(self, message: Any, body: bytes) -> None:
        """Check one message.

        Args:
            message: as it was read.
            body: what it was read from.

        Raises:
            PeerProtocolError: names the first field that is not UTF-8.
        """
        if not self._has_shape:
            self._shape = _shape_of(self._descriptor)
            self._has_shape = True
        if self._shape is not None:
            try:
                self._shape.FromString(body)
            except Exception:  # whatever this library calls it: the walk has the last word
                _require_text(message)
        else:
            _require_text(message)


def _shape_of(root: Any) -> Any:
    """A proto3 class with the strings of a type; None when the type cannot be imitated."""
    # Late: only programs that use protobuf have it.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    found = _messages_with_text(root)
    if any(_is_beyond_imitation(message) for message in found):
        return None
    names = {message.full_name: f"M{number}" for number, message in enumerate(found)}
    file = descriptor_pb2.FileDescriptorProto(name="shape.proto", syntax="proto3")
    for message in found:
        shape = file.message_type.add(name=names[message.full_name])
        for field in message.fields:
            label = _LABEL_REPEATED if field.is_repeated else _LABEL_OPTIONAL
            leads_to = field.message_type.full_name if field.type == _TYPE_MESSAGE else None
            if field.type == _TYPE_STRING:
                kind: dict[str, Any] = {"type": _TYPE_STRING}
            elif leads_to in names:
                kind = {"type": _TYPE_MESSAGE, "type_name": f".{names[leads_to]}"}
            else:
                continue
            shape.field.add(name=f"f{field.number}", number=field.number, label=label, **kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("M0"))


def _messages_with_text(root: Any) -> list[Any]:
    """The type itself, and every type below it that has or leads to a string (or might)."""
    below: dict[str, Any] = {root.full_name: root}
    queue = [root]
    while queue:
        for field in queue.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in below:
                below[inner.full_name] = inner
                queue.append(inner)
    wanted = {name for name, message in below.items() if _has_text(message)}
    while more := {
        name
        for name, message in below.items()
        if name not in wanted
        and any(
            field.message_type and field.message_type.full_name in wanted
            for field in message.fields
        )
    }:
        wanted |= more
    return [message for name, message in below.items() if name == root.full_name or name in wanted]


def _has_text(message: Any) -> bool:
    return _is_beyond_imitation(message) or any(f.type == _TYPE_STRING for f in message.fields)


def _is_beyond_imitation(message: Any) -> bool:
    """Groups look different on the wire, and extensions are not known here."""
    return bool(message.is_extendable) or any(f.type == _TYPE_GROUP for f in message.fields)


def _require_text(message: Any) -> None:
    """Raise for the first string, at any depth, that is not UTF-8."""
    for field, value in message.ListFields():
        if field.type == _TYPE_STRING:
            values = value if field.is_repeated else (value,)
            if not all(isinstance(text, str) for text in values):
                raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")
        elif field.type in (_TYPE_MESSAGE, _TYPE_GROUP):
            if hasattr(value, "ListFields"):
                _require_text(value)
            elif hasattr(value, "items"):
                _require_text_in_map(field, value)
            else:
                for part in value:
                    _require_text(part)


def _require_text_in_map(field: Any, entries: Any) -> None:
    value_type = field.message_type.fields_by_name["value"].type
    for key in entries:  # items() would fail on a key that is not UTF-8
        if isinstance(key, bytes):
            raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")
    for value in entries.values():
        if value_type == _TYPE_MESSAGE:
            _require_text(value)
        elif value_type == _TYPE_STRING and isinstance(value, bytes):
            raise PeerProtocolError(f"{field.full_name} must be UTF-8 text")


__all__ = ["TextRule"]
