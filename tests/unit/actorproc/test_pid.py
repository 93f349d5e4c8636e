"""PIDs: parse, print, compare, order, hash, refuse. Source: actor-runtime.md §1.1."""

import pickle

import pytest

from actorproc import PID, Address, InvalidPID

GOOD = [
    ("slave(1)@10.0.0.7:5051", ("slave(1)", "10.0.0.7", 5051)),
    ("@10.0.0.7:5051", ("", "10.0.0.7", 5051)),
    ("a b/c%d+e@1.2.3.4:1", ("a b/c%d+e", "1.2.3.4", 1)),
    ("zürich@1.2.3.4:65535", ("zürich", "1.2.3.4", 65535)),
    ("scheduler-6f1e@host-1.example.org:0", ("scheduler-6f1e", "host-1.example.org", 0)),
    ("id@localhost:00080", ("id", "localhost", 80)),
    ("id@[::1]:5051", ("id", "::1", 5051)),
    ("@[2001:db8::7]:1", ("", "2001:db8::7", 1)),
]


@pytest.mark.parametrize(("text", "parts"), GOOD, ids=[text for text, _ in GOOD])
def test_parse(text, parts):
    pid = PID.parse(text)
    assert (pid.id, pid.ip, pid.port) == parts


@pytest.mark.parametrize("text", [text for text, _ in GOOD if ":00080" not in text])
def test_prints_what_it_was_parsed_from(text):
    assert str(PID.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "field", "rule"),
    [
        ("", "form", "id@ip:port"),
        ("master", "form", "id@ip:port"),
        ("master@", "address", "host:port"),
        ("master@10.0.0.1", "address", "host:port"),
        ("x@::1:1", "host", "IPv4 address or a host name"),
        ("x@[::1:1", "address", "host:port"),
        ("x@[::1]1", "address", "host:port"),
        ("x@[::g]:1", "host", "IPv6 address inside its brackets"),
        ("x@[1.2.3.4]:1", "host", "IPv6 address inside its brackets"),
        ("x@[fe80::1%eth0]:1", "host", "no zone"),
        ("x@[::ffff:1.2.3.4]:1", "host", "written as IPv4: 1.2.3.4"),
        ("x@[::1]:65536", "port", "0 to 65535"),
        ("x@:1", "host", "IPv4 address or a host name"),
        ("x@a b:1", "host", "IPv4 address or a host name"),
        ("x@y@1.2.3.4:1", "host", "IPv4 address or a host name"),
        ("x@1.2.3.4\n:1", "host", "IPv4 address or a host name"),
        ("x@1.2.3.4:", "port", "0 to 65535"),
        ("x@1.2.3.4:12abc", "port", "0 to 65535"),
        ("x@1.2.3.4:1:2", "port", "0 to 65535"),
        ("x@1.2.3.4:65536", "port", "0 to 65535"),
        ("x@1.2.3.4:99999", "port", "0 to 65535"),
        ("x@1.2.3.4:-1", "port", "0 to 65535"),
        ("x@1.2.3.4: 1", "port", "0 to 65535"),
        ("x@1.2.3.4:1\n", "port", "0 to 65535"),
        ("x@1.2.3.4:١", "port", "0 to 65535"),  # a digit, but not an ASCII one
    ],
)
def test_refusal_names_the_part_and_the_rule(text, field, rule):
    with pytest.raises(InvalidPID) as refused:
        PID.parse(text)
    assert refused.value.field == field
    assert rule in refused.value.rule
    assert text.rpartition("@")[2][:5] in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_id_is_the_text_before_the_first_at():
    with pytest.raises(InvalidPID):
        PID.parse("a@b@1.2.3.4:5")


@pytest.mark.parametrize(
    ("pid", "is_usable", "is_empty"),
    [
        (PID.EMPTY, False, True),
        (PID("", "", 0), False, True),
        (PID("a", "1.2.3.4", 5), True, False),
        (PID("", "1.2.3.4", 5), False, False),
        (PID("a", "1.2.3.4", 0), False, False),
        (PID("a", "0.0.0.0", 5), False, False),
        (PID("a", "::1", 5), True, False),
        (PID("a", "::", 5), False, False),
    ],
)
def test_truth_and_emptiness(pid, is_usable, is_empty):
    assert bool(pid) is is_usable
    assert pid.is_empty is is_empty


def test_one_ip6_address_has_one_text():
    # PIDs are compared as text.
    pid = PID.parse("x@[0:0:0::0001]:7")
    assert pid == PID("x", "::1", 7)
    assert str(pid) == "x@[::1]:7"
    assert str(pid.address) == "[::1]:7"
    assert Address.parse("[::1]:7") == pid.address


def test_the_empty_pid_prints_and_parses():
    assert str(PID.EMPTY) == "@0.0.0.0:0"
    assert PID.parse("@0.0.0.0:0") is PID.EMPTY
    assert PID.parse("@[::]:0") is PID.EMPTY


def test_equality_and_hash_use_id_ip_and_port():
    pid = PID("a", "1.2.3.4", 5)
    assert pid == PID("a", "1.2.3.4", 5)
    assert hash(pid) == hash(PID("a", "1.2.3.4", 5))
    others = [PID("b", "1.2.3.4", 5), PID("a", "1.2.3.5", 5), PID("a", "1.2.3.4", 6)]
    assert all(pid != other for other in others)
    assert pid != "a@1.2.3.4:5"
    assert len({pid, PID("a", "1.2.3.4", 5), *others}) == 4


def test_order_is_by_address_then_port_then_id():
    in_order = [
        PID("z", "9.0.0.1", 1),
        PID("z", "10.0.0.9", 9),
        PID("a", "10.0.0.10", 2),
        PID("b", "10.0.0.10", 2),
        PID("a", "10.0.0.10", 10),
        PID("a", "::9", 1),
        PID("a", "::10", 1),
        PID("a", "2001:db8::1", 1),
        PID("a", "a.example", 1),
    ]
    backwards = in_order[::-1]
    assert sorted(backwards) == in_order
    assert in_order[0] < in_order[1]
    assert in_order[1] >= in_order[0]


def test_order_with_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        _ = PID("a", "1.2.3.4", 5) < "a@1.2.3.4:5"


def test_is_immutable_and_survives_pickle():
    pid = PID("a", "1.2.3.4", 5)
    with pytest.raises(AttributeError, match="immutable"):
        pid.port = 6
    assert pickle.loads(pickle.dumps(pid)) == pid


def test_address():
    assert PID("a", "1.2.3.4", 5).address == Address("1.2.3.4", 5)
    assert str(Address("1.2.3.4", 5)) == "1.2.3.4:5"
    assert Address.parse("h:5") == Address("h", 5)
