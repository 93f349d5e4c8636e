"""Values of flags: what is read, what is refused, and that printing reads back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import flag_kinds as kinds
from cluster.errors import InvalidInput

READ: list[tuple[kinds.Kind[Any], str, object]] = [
    (kinds.switch(), "true", True),
    (kinds.switch(), "0", False),
    (kinds.integer(at_least=-5), "-5", -5),
    (kinds.number(at_least=0), "1e3", 1000.0),
    (kinds.percentage(), "12.5%", 0.125),
    (kinds.duration(), "1.5mins", 90.0),
    (kinds.duration(at_least_s=1, at_most_s=900), "15mins", 900.0),
    (kinds.size(), "2GB", 2 << 30),
    (kinds.size(), "0B", 0),
    (kinds.ip_address(), "10.0.0.7", "10.0.0.7"),
    (kinds.ip_address(6), "::1", "::1"),
    (kinds.port(), "0", 0),
    (kinds.port(), "65535", 65535),
    (kinds.path(), "file:///etc/x", "/etc/x"),
    (kinds.json_value(), '{"a":[1,null]}', {"a": [1, None]}),
    (kinds.rate(), "1/10mins", "1/10mins"),
    (kinds.choice("drf", "random"), "random", "random"),
    (kinds.master_address(), "localhost:5050", "localhost:5050"),
    (kinds.master_address(), "master@10.0.0.1:1", "master@10.0.0.1:1"),
    (kinds.master_address(), "zk://u:p@a:1,b:2/mesos", "zk://u:p@a:1,b:2/mesos"),
    (kinds.zookeeper_url(), "zk://a:2181/x/y", "zk://a:2181/x/y"),
    (kinds.checked_text("N", int), "12", "12"),
]

REFUSED: list[tuple[kinds.Kind[Any], str, str]] = [
    (kinds.switch(), "yes", "true, false, 1 or 0"),
    (kinds.integer(), "-1", "at least 0, not -1"),
    (kinds.integer(), "1.5", "whole number"),
    (kinds.integer(), "٣", "whole number"),
    (kinds.number(at_least=0, at_most=1), "1.1", "at most 1, not 1.1"),
    (kinds.number(at_least=0), "nan", "must be a number"),
    (kinds.number(at_least=0), "inf", "must be a number"),
    (kinds.percentage(), "101%", "0% to 100%"),
    (kinds.percentage(), "50", "0% to 100%"),
    (kinds.duration(), "5", "number and a unit"),
    (kinds.duration(), "5 mins", "number and a unit"),
    (kinds.duration(at_least_s=1, at_most_s=900), "999ms", "at least 1secs, not 999ms"),
    (kinds.duration(at_least_s=1, at_most_s=900), "16mins", "at most 15mins, not 16mins"),
    (kinds.size(), "1.5GB", "whole number and a unit"),
    (kinds.size(), "2gb", "whole number and a unit"),
    (kinds.ip_address(), "10.0.0.256", "IPv4 address"),
    (kinds.ip_address(), "::1", "IPv4 address"),
    (kinds.port(), "65536", "at most 65535"),
    (kinds.port(at_least=1), "0", "at least 1"),
    (kinds.path(), "", "must be a path"),
    (kinds.path(), "a\0b", "must be a path"),
    (kinds.json_value(), "{", "must be JSON"),
    (kinds.json_value(), "[" * 200 + "]" * 200, "deeper than 100"),
    (kinds.json_value(), "[" * 100_000, "must be JSON"),
    (kinds.rate(), "10mins", "count and a duration"),
    (kinds.rate(), "0/1secs", "count and a duration"),
    (kinds.rate(), "1/0secs", "above zero"),
    (kinds.choice("drf", "random"), "DRF", "one of drf, random"),
    (kinds.master_address(), "localhost", "host:port"),
    (kinds.master_address(), "localhost:0", "host:port"),
    (kinds.master_address(), "local host:5050", "host:port"),
    (kinds.master_address(), "zk://a:1/", "other than /"),
    (kinds.zookeeper_url(), "a:1/x", "zk://"),
    (kinds.zookeeper_url(), "zk://a/x", "ZooKeeper servers"),
]


@pytest.mark.parametrize(
    ("kind", "text", "value"), READ, ids=[f"{k.placeholder}-{t}" for k, t, _ in READ]
)
def test_reads(kind, text, value):
    assert kind.parse(text, "--x") == value
    assert kind.parse(kind.format(value), "--x") == value


@pytest.mark.parametrize(
    ("kind", "text", "rule"), REFUSED, ids=[f"{k.placeholder}-{t[:20]!r}" for k, t, _ in REFUSED]
)
def test_refuses_with_the_flag_and_the_rule(kind, text, rule):
    with pytest.raises(InvalidInput) as caught:
        kind.parse(text, "--x")
    assert caught.value.field == "--x"
    assert rule in caught.value.rule
    assert "\n" not in str(caught.value)


def test_a_zookeeper_password_is_never_repeated():
    for kind in (kinds.master_address(), kinds.zookeeper_url()):
        with pytest.raises(InvalidInput) as caught:
            kind.parse("zk://user:hunter2@host/path", "--zk")
        assert "hunter2" not in str(caught.value)


@given(st.integers(0, 1 << 50))
def test_sizes_read_back(size_bytes):
    assert kinds.parse_size(kinds.format_size(size_bytes)) == size_bytes


JSON_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(JSON_DOCUMENTS)
def test_json_reads_back(document):
    kind = kinds.json_value()
    assert kind.parse(kind.format(document), "--x") == json.loads(json.dumps(document))


ALL_KINDS = [
    kinds.switch(),
    kinds.integer(),
    kinds.number(at_least=0),
    kinds.percentage(),
    kinds.duration(),
    kinds.size(),
    kinds.ip_address(),
    kinds.port(),
    kinds.path(),
    kinds.json_value(),
    kinds.rate(),
    kinds.master_address(),
    kinds.zookeeper_url(),
]


@given(st.sampled_from(ALL_KINDS), st.text(max_size=40))
def test_any_text_is_read_or_refused(kind, text):
    """Nothing but InvalidInput comes out of a parser, whatever goes in."""
    try:
        value = kind.parse(text, "--x")
    except InvalidInput:
        return
    assert kind.parse(kind.format(value), "--x") == value
