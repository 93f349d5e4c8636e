import pytest

from cluster.errors import InvalidInput
from cluster.model.attributes import Attribute, Attributes
from cluster.model.values import Ranges, ValueType
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import attributes_from_pb, attributes_to_pb


def test_types_follow_the_values():
    parsed = Attributes.parse("rack:r1;zone:us-1;n:5;p:[1-3]")
    assert parsed.entries == (
        Attribute("rack", "r1"),
        Attribute("zone", "us-1"),
        Attribute("n", 5000),
        Attribute("p", Ranges.of([(1, 3)])),
    )
    assert [a.type for a in parsed] == [
        ValueType.TEXT,
        ValueType.TEXT,
        ValueType.SCALAR,
        ValueType.RANGES,
    ]


def test_only_the_first_colon_separates():
    assert Attributes.parse("url:http://x:80").get("url") == "http://x:80"


def test_spaces_around_and_empty_entries_do_not_matter():
    assert str(Attributes.parse(" a : b ;; n : -1.5 ;\n")) == "a:b;n:-1.5"
    assert len(Attributes.parse("")) == 0


def test_a_name_may_occur_twice_and_the_first_counts():
    assert Attributes.parse("a:x;a:y").get("a") == "x"
    assert Attributes.parse("a:x").get("b") is None


def test_words_that_look_like_floats_are_text():
    assert Attributes.parse("a:nan;b:infinity").get("a") == "nan"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("rack", "attributes"),
        (":x", "attributes"),
        ("rack:", "attributes"),
        ("s:{a,b}", "s"),
        ("p:[3-1]", "p"),
        ("p:[1", "p"),
        ("n:1e300", "n"),
    ],
)
def test_refusals_name_the_field(text, field):
    with pytest.raises(InvalidInput) as caught:
        Attributes.parse(text)
    assert caught.value.field == field


def test_wire_round_trip():
    attributes = Attributes.parse("rack:r1;n:5.5;p:[1-3,7-7]")
    messages = attributes_to_pb(attributes)
    assert [m.type for m in messages] == [mesos.Value.TEXT, mesos.Value.SCALAR, mesos.Value.RANGES]
    assert attributes_from_pb(messages) == attributes
    as_set = mesos.Attribute(name="s", type=mesos.Value.SET)
    as_set.set.item.extend(["a", "b"])
    assert attributes_to_pb(attributes_from_pb([as_set])) == [as_set]


def test_wire_refusals_name_the_entry():
    nameless = mesos.Attribute(name="", type=mesos.Value.TEXT)
    with pytest.raises(InvalidInput, match=r"attributes\[0\]\.name: must not be empty"):
        attributes_from_pb([nameless])
    textless = mesos.Attribute(name="a", type=mesos.Value.TEXT)
    with pytest.raises(InvalidInput, match=r"attributes\[0\] \(a\)\.text: must be set"):
        attributes_from_pb([textless])
    not_a_number = mesos.Attribute(name="n", type=mesos.Value.SCALAR)
    not_a_number.scalar.value = float("nan")
    with pytest.raises(InvalidInput, match="NaN"):
        attributes_from_pb([not_a_number])
