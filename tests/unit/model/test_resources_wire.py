"""``mesos.Resource`` to and from the model, with what real daemons sent and with bad input."""

import json
from collections.abc import Iterator

import pytest
from google.protobuf import json_format

from cluster.errors import InvalidInput
from cluster.model.resources import (
    Disk,
    DiskSource,
    DiskSourceType,
    Persistence,
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
    Volume,
)
from cluster.model.values import ValueType
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import parse_resources, resources_from_pb, resources_to_pb
from tests.fixtures_dir import fixtures


def scalar(name: str = "cpus", value: float = 1.0, **more: object) -> mesos.Resource:
    message = mesos.Resource(name=name, type=mesos.Value.SCALAR, **more)
    message.scalar.value = value
    return message


def level(role: str, kind: str = "DYNAMIC") -> mesos.Resource.ReservationInfo:
    return json_format.ParseDict({"role": role, "type": kind}, mesos.Resource.ReservationInfo())


# Recordings


def recorded_lists(node: object) -> Iterator[list[dict]]:
    """Every list of resources anywhere inside a decoded message."""
    if isinstance(node, dict):
        for value in node.values():
            yield from recorded_lists(value)
    elif isinstance(node, list):
        if node and all(is_resource(item) for item in node):
            yield node
        for item in node:
            yield from recorded_lists(item)


def is_resource(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type") in ("SCALAR", "RANGES", "SET")
        and not {"text", "hostname"} & item.keys()
    )


def test_recorded_resources_convert_and_convert_back_equal():
    count = 0
    for path in sorted((fixtures() / "wire").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            for items in recorded_lists(json.loads(line).get("decoded")):
                messages = [json_format.ParseDict(item, mesos.Resource()) for item in items]
                again = convert_and_back(messages)
                assert again == messages, path.name
                count += len(messages)
    assert count > 900


def convert_and_back(messages: list[mesos.Resource]) -> list[mesos.Resource]:
    """Each list was recorded in one of the two spellings; so is it written back."""
    is_pre_refinement = any(message.HasField("role") for message in messages)
    return resources_to_pb(resources_from_pb(messages), refined=not is_pre_refinement)


# Spellings of reservations


def test_both_spellings_mean_the_same():
    old = scalar(role="a")
    old.reservation.principal = "p"
    new = scalar()
    new.reservations.add(role="a", type=mesos.Resource.ReservationInfo.DYNAMIC, principal="p")
    assert resources_from_pb([old]) == resources_from_pb([new])
    assert resources_to_pb(resources_from_pb([new]), refined=False) == [old]
    assert resources_to_pb(resources_from_pb([old]), refined=True) == [new]


def test_static_and_unreserved():
    assert resources_from_pb([scalar(role="a")]) == Resources.parse("cpus(a):1")
    assert resources_from_pb([scalar(role="*")]) == resources_from_pb([scalar()])
    unreserved = Resources.parse("cpus:1")
    assert resources_to_pb(unreserved, refined=True) == [scalar()]
    assert resources_to_pb(unreserved, refined=False) == [scalar(role="*")]


def test_a_stack_has_no_old_spelling():
    refined = scalar(reservations=[level("a", "STATIC"), level("a/b")])
    resources = resources_from_pb([refined])
    assert resources_to_pb(resources, refined=True) == [refined]
    with pytest.raises(InvalidInput, match="RESERVATION_REFINEMENT"):
        resources_to_pb(resources, refined=False)


def test_everything_a_resource_can_carry_survives():
    identity = ResourceIdentity(
        name="disk",
        type=ValueType.SCALAR,
        reservations=(Reservation("a", ReservationType.DYNAMIC, "p", (("k", None), ("k", "v"))),),
        disk=Disk(
            Persistence("id", "owner"),
            Volume("data", read_only=True, host_path="/h"),
            DiskSource(DiskSourceType.MOUNT, "/m", "id", (("k", "v"),), "profile", "vendor"),
        ),
        is_shared=True,
        provider_id="provider",
        allocation_role="a",
    )
    revocable = ResourceIdentity("cpus", ValueType.SCALAR, is_revocable=True)
    resources = Resources([Resource(identity, 5000, copies=2), Resource(revocable, 1)])
    messages = resources_to_pb(resources, refined=True)
    assert len(messages) == 3
    assert resources_from_pb(messages) == resources


def test_rare_volume_fields_ride_along_unread():
    message = scalar("disk")
    message.disk.volume.container_path = "c"
    message.disk.volume.mode = mesos.Volume.RW
    message.disk.volume.source.type = mesos.Volume.Source.DOCKER_VOLUME
    message.disk.volume.source.docker_volume.name = "n"
    assert resources_to_pb(resources_from_pb([message]), refined=True) == [message]


# Bad input


def with_(message: mesos.Resource, change: dict) -> mesos.Resource:
    changed = mesos.Resource()
    changed.CopyFrom(message)
    return json_format.ParseDict(change, changed)


@pytest.mark.parametrize(
    ("message", "field", "rule"),
    [
        (scalar(""), "resources[0].name", "empty"),
        (scalar(value=float("nan")), "resources[0] (cpus).scalar.value", "NaN"),
        (scalar(value=float("inf")), "resources[0] (cpus).scalar.value", "infinite"),
        (scalar(value=-1), "resources[0] (cpus).scalar.value", "negative"),
        (scalar(value=1e300), "resources[0] (cpus).scalar.value", "at most"),
        (scalar("gpus", 0.5), "gpus", "whole"),
        (with_(scalar(), {"type": "TEXT"}), "resources[0] (cpus).type", "SCALAR, RANGES or SET"),
        (with_(scalar(), {"type": "RANGES"}), "resources[0] (cpus).ranges", "must be set"),
        (with_(scalar(), {"type": "SET"}), "resources[0] (cpus).set", "must be set"),
        (scalar(role="a//b"), "resources[0] (cpus).role", "two slashes"),
        (scalar(role="a", reservations=[level("a")]), "resources[0] (cpus)", "beside"),
        (scalar(reservations=[level("*")]), "resources[0] (cpus).reservations[0].role", "unres"),
        (
            scalar(reservations=[level("a"), level("b")]),
            "resources[0] (cpus).reservations[1].role",
            "below the role it refines",
        ),
        (
            scalar(reservations=[level("a"), level("a/b", "STATIC")]),
            "resources[0] (cpus).reservations[1].type",
            "DYNAMIC",
        ),
        (
            scalar(reservations=[level("a", "UNKNOWN")]),
            "resources[0] (cpus).reservations[0].type",
            "STATIC or DYNAMIC",
        ),
        (
            scalar(reservations=[level("/".join("a" * n)) for n in range(1, 70)]),
            "resources[0] (cpus).reservations",
            "at most 64",
        ),
        (
            with_(scalar(), {"reservation": {"principal": "p"}}),
            "resources[0] (cpus).reservation",
            "role \\*",
        ),
        (
            with_(scalar(role="a"), {"reservation": {"role": "a"}}),
            "resources[0] (cpus).reservation",
            "role or type",
        ),
        (
            with_(scalar(), {"allocation_info": {"role": ""}}),
            "resources[0] (cpus).allocation_info.role",
            "empty",
        ),
        (
            with_(scalar(), {"disk": {"source": {"type": "UNKNOWN"}}}),
            "resources[0] (cpus).disk.source.type",
            "PATH",
        ),
        (
            with_(scalar(), {"disk": {"persistence": {"id": ""}}}),
            "resources[0] (cpus).disk.persistence.id",
            "empty",
        ),
    ],
)
def test_refusals_name_field_and_rule(message, field, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        resources_from_pb([message])
    assert caught.value.field == field


def test_a_reversed_range_is_refused():
    message = mesos.Resource(name="ports", type=mesos.Value.RANGES)
    message.ranges.range.add(begin=5, end=1)
    with pytest.raises(InvalidInput, match="end before it begins"):
        resources_from_pb([message])


# The flag


def test_the_flag_takes_text_or_json():
    text = parse_resources("cpus:4;mem(a):10", "b")
    as_json = parse_resources(
        """[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 10}, "role": "a"}]""",
        "b",
    )
    assert str(text) == "cpus(b):4;mem(a):10"
    assert as_json == text


def test_json_may_name_disks_and_labelled_static_reservations():
    resources = parse_resources(
        json.dumps(
            [
                {
                    "name": "disk",
                    "type": "SCALAR",
                    "scalar": {"value": 10},
                    "disk": {"source": {"type": "MOUNT", "mount": {"root": "/mnt"}}},
                    "reservations": [
                        {
                            "type": "STATIC",
                            "role": "a",
                            "labels": {"labels": [{"key": "k", "value": "v"}]},
                        }
                    ],
                }
            ]
        )
    )
    (entry,) = resources
    assert entry.disk == Disk(source=DiskSource(DiskSourceType.MOUNT, "/mnt"))
    assert entry.reservations == (Reservation("a", labels=(("k", "v"),)),)


CPU = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[", "JSON array"),
        ("[" * 100_000, "JSON array"),
        ("[1]", "JSON object"),
        ('[{"name": "cpus"}]', "required key"),
        ('[{"nam": "cpus"}]', 'no field named "nam"'),
        (json.dumps([CPU | {"scalar": {"value": -1}}]), "negative"),
        (json.dumps([CPU | {"scalar": {"value": "NaN"}}]), "NaN"),
        (json.dumps([CPU | {"type": "RANGES"}]), "must be set"),
        (json.dumps([CPU | {"name": "ports"}]), "type ranges"),
        (json.dumps([CPU | {"revocable": {}}]), "revocable"),
        (json.dumps([CPU | {"shared": {}}]), "shared"),
        (json.dumps([CPU | {"allocation_info": {"role": "a"}}]), "allocated"),
        (json.dumps([CPU | {"role": "a", "reservation": {}}]), "dynamically reserved"),
        (json.dumps([CPU | {"reservations": [{"type": "DYNAMIC", "role": "a"}]}]), "dynamically"),
        (
            json.dumps([CPU | {"name": "disk", "disk": {"persistence": {"id": "v"}}, "role": "a"}]),
            "persistent volume",
        ),
    ],
)
def test_what_the_flag_refuses(text, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        parse_resources(text)
    assert "\n" not in str(caught.value)
