"""What real Mesos daemons sent and stored decodes completely, and re-encodes to the same bytes.

The numbers of bodies are part of the tests: a reader of the recordings that finds less than before
would otherwise pass by testing nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.fixtures_dir import fixtures
from tests.unit.wire import recordings
from tests.unit.wire.live_types import message_class
from tests.unit.wire.recordings import Recorded

_Source = Callable[[Path], Iterable[Recorded]]

# Mesos makes a v1 body by serialising the v0 message and parsing it as the v1 type. The agent's
# description then carries the one field that v1 does not have, `checkpoint`; every other field of
# every recorded body is known.
_LEFTOVERS_OF_V0 = {("mesos.v1.AgentInfo", 7)}

# These answers of the master were not even parsed as v1: `checkpoint` stands in its v0 place
# between its neighbours, where a v1 type would write it last.
_WRITTEN_AS_V0 = {
    "api/operator-calls.json#55",
    "api/operator-calls.json#56",
    "api/operator-subscribe-protobuf.json#0",
}

# The registry's only map with two entries (limits of a role, cpus and mem) is written in the order
# of a hash table, which is not the same in every write. These have mem first; the others have the
# order that `deterministic` asks for, sorted by key.
_MAP_NOT_SORTED = {
    "zk/registry-log-writes.json@7",
    "zk/registry-log-writes.json@9",
    "zk/registry-log-writes.json@19",
}


def _messages_within(message: Message) -> Iterator[Message]:
    """The message and every message it contains, at any depth."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            parts = [part for part in value.values() if isinstance(part, Message)]
        else:
            parts = value if field.is_repeated else [value]
        for part in parts:
            yield from _messages_within(part)


def _unknown_fields(message: Message) -> set[tuple[str, int]]:
    """(message type, field number) of every field, at any depth, that the type does not define."""
    found = set()
    for part in _messages_within(message):
        unknown = UnknownFieldSet(part)
        for index in range(len(unknown)):
            found.add((part.DESCRIPTOR.full_name, unknown[index].field_number))
    return found


def _problem(recorded: Recorded) -> str | None:
    """What is wrong with our decoding of a recorded body, or None."""
    message = _decode(recorded.type_name, recorded.body)
    if not message.IsInitialized():
        return "lacks required fields"
    if unknown := _unknown_fields(message) - _LEFTOVERS_OF_V0:
        return f"has unknown fields {unknown}"
    if not _is_exception(recorded) and _encode(message) != recorded.body:
        return "re-encodes to other bytes"
    if recorded.decoded is not None and not _is_decoding(message, recorded):
        return f"decodes to {_to_json(message)}, recorded was {recorded.decoded}"
    return None


def _is_exception(recorded: Recorded) -> bool:
    if recorded.place in _MAP_NOT_SORTED:
        return recorded.type_name == "mesos.internal.Registry"
    return recorded.place in _WRITTEN_AS_V0 and bool(
        _unknown_fields(_decode(recorded.type_name, recorded.body))
    )


def _decode(type_name: str, body: bytes) -> Message:
    message = message_class(type_name)()
    message.ParseFromString(body)
    return message


def _encode(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _is_decoding(message: Message, recorded: Recorded) -> bool:
    if recorded.is_source:
        return bool(json_format.ParseDict(recorded.decoded, type(message)()) == message)
    return bool(_to_json(message) == recorded.decoded)


def _to_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (recordings.libprocess_messages, 1308),
        (recordings.captured_http, 77),
        (recordings.api_conversations, 159),
        (recordings.registry_writes, 20),
        (recordings.agent_checkpoints, 56),
    ],
)
def test_recorded_bodies_decode_and_encode_unchanged(source: _Source, count: int) -> None:
    bodies = list(source(fixtures()))
    problems = [
        f"{each.place} {each.type_name}: {problem}"
        for each in bodies
        if (problem := _problem(each)) is not None
    ]
    assert problems == []
    assert len(bodies) == count


def test_the_leftover_of_v0_is_known_to_the_v0_type() -> None:
    """The v1 bodies with an unknown field have none when read as the v0 message they were."""
    count = 0
    for each in (*recordings.captured_http(fixtures()), *recordings.api_conversations(fixtures())):
        if not _unknown_fields(_decode(each.type_name, each.body)):
            continue
        count += 1
        as_v0 = _decode(each.type_name.replace("mesos.v1.", "mesos."), each.body)
        assert not _unknown_fields(as_v0), each.place
        assert (_encode(as_v0) == each.body) == (each.place in _WRITTEN_AS_V0), each.place
    assert count == 9


def test_registry_writes_that_differ_do_so_in_the_order_of_a_map_only() -> None:
    count = 0
    for each in recordings.registry_writes(fixtures()):
        if each.place in _MAP_NOT_SORTED and each.type_name == "mesos.internal.Registry":
            count += 1
            ours = _encode(_decode(each.type_name, each.body))
            assert ours != each.body
            assert _decode(each.type_name, ours) == _decode(each.type_name, each.body)
            assert sorted(ours) == sorted(each.body)
    assert count == len(_MAP_NOT_SORTED)


def test_recorded_json_of_the_v1_api_parses() -> None:
    """No name in the JSON that daemons write or accept is unknown to our v1 types."""
    bodies = list(recordings.api_json(fixtures()))
    for each in bodies:
        value = _as_protobuf_json(each.value)
        message = json_format.ParseDict(value, message_class(each.type_name)())
        assert message.IsInitialized(), each.place
    assert len(bodies) == 328


def _as_protobuf_json(value: Any) -> Any:
    """Undo the two ways in which the JSON of Mesos differs from protobuf's own.

    A ``google.protobuf.Duration`` is printed like any message (``{"seconds": 1}``), and the agent's
    description has `checkpoint`, as in the binary form.
    """
    if isinstance(value, list):
        return [_as_protobuf_json(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _as_protobuf_json(part) for name, part in value.items()}
    grace_period = parts.get("max_grace_period")
    if isinstance(grace_period, dict) and "seconds" in grace_period:
        parts["max_grace_period"] = f"{grace_period['seconds']}s"
    is_agent = "hostname" in parts and "resources" in parts
    return {name: part for name, part in parts.items() if not (is_agent and name == "checkpoint")}


def test_recorded_messages_cover_the_protocol() -> None:
    """The recordings contain 52 kinds of message; each is one we know by its full name."""
    names = {each.type_name for each in recordings.libprocess_messages(fixtures())}
    assert len(names) == 52
    assert {"mesos.scheduler.Call", "mesos.internal.StatusUpdateMessage"} < names
