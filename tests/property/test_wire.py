"""The wire format under any bytes, split anywhere; and what real Mesos daemons said."""

import itertools
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorproc import PID
from actorproc.core.wire import HeadMemory, MessageEncoder, encode_message
from tests.fixtures_dir import fixtures
from tests.unit.actorproc.sink import LIMIT, Feeding, chunked, parse

# Building blocks.

_RAW_ID = st.text(
    st.characters(exclude_characters="/?%+ \x7f", exclude_categories=["Cs", "Cc"]), max_size=20
)
_RAW_NAME = st.text(
    st.characters(exclude_characters="? \x7f", exclude_categories=["Cs", "Cc"]), max_size=20
)
_ADDRESS = st.tuples(
    st.ip_addresses(v=4).map(str).filter(lambda ip: ip != "0.0.0.0"), st.integers(1, 65535)
)
_RECEIVER = st.builds(lambda id, address: PID(id, *address), _RAW_ID, _ADDRESS)
_SENDER_ID = st.text(
    st.characters(exclude_characters="@\x7f", exclude_categories=["Cs", "Cc", "Zs"]), max_size=20
)
_SENDER = st.builds(lambda id, address: PID(id, *address), _SENDER_ID, _ADDRESS)
_BODY = st.one_of(st.binary(max_size=300), st.integers(1, 70_000).map(lambda size: b"\r\n0" * size))


@st.composite
def _requests(draw):
    """One request: of libprocess, of another sender of messages, or ordinary HTTP."""
    body = draw(st.binary(max_size=60))
    kind = draw(st.sampled_from(["libprocess", "sized", "chunks", "get", "post"]))
    to = PID(draw(st.sampled_from(["master", "slave(1)", ""])), "10.0.0.1", 5050)
    if kind == "libprocess":
        return encode_message(PID("a", "10.0.0.2", 1), to, draw(st.sampled_from("xy")), body)
    head = b"POST /m/n HTTP/1.1\r\nLibprocess-From: b@10.0.0.3:2\r\n"
    if kind == "sized":
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if kind == "get":
        return b"GET /master/state?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    if kind == "post":
        head = b"POST /m/upload HTTP/1.1\r\nHost: h\r\n"
    middle = len(body) // 2
    pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
    chunks = b"".join(b"%X;e=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


_STREAM = st.lists(_requests(), max_size=8).map(b"".join)


def split(data, cuts):
    positions = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(positions)]


@settings(max_examples=300)
@given(_STREAM, st.lists(st.integers(0, 5000), max_size=6))
def test_whole_split_and_bytewise_are_the_same(data, cuts):
    whole = parse(data)
    assert ("refused", None) not in whole
    assert parse(*split(data, cuts)) == whole
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == whole


_MUTATION = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "copy"]),
    st.integers(0, 10_000),
    st.one_of(
        st.binary(min_size=1, max_size=4), st.sampled_from([b"\r\n", b"\r\n\r\n", b"\n", b"0"])
    ),
)


def mutate(data, mutations):
    for kind, at, piece in mutations:
        at %= len(data) + 1
        if kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(piece) :]
        else:
            data = data[:at] + data[at : at + 50] + data[at:]
    return data


@given(
    _STREAM, st.lists(_MUTATION, min_size=1, max_size=4), st.lists(st.integers(0, 5000), max_size=3)
)
def test_mutated_bytes_are_accepted_or_refused_and_it_never_matters_where_they_split(
    data, mutations, cuts
):
    # Anything else than PeerProtocolError would leave `parse`.
    data = mutate(data, mutations)
    whole = parse(data)
    assert settled(parse(*split(data, cuts))) == settled(whole)
    assert settled(parse(*(data[i : i + 1] for i in range(len(data))))) == settled(whole)


def settled(events):
    """Events without the body bytes of a request that was cut off.

    How many of them came before a refusal depends on where the bytes split.
    """
    if events and events[-1][0] == "refused" and len(events) > 1 and events[-2][0] == "bytes":
        return [*events[:-2], events[-1]]
    return events


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=3))
def test_any_bytes_are_accepted_or_refused(data, cuts):
    assert settled(parse(*split(data, cuts))) == settled(parse(data))


@settings(max_examples=300)
@given(
    _STREAM, _STREAM, st.lists(_MUTATION, max_size=2), st.lists(st.integers(0, 5000), max_size=3)
)
def test_what_was_seen_before_changes_nothing(warm_up, data, mutations, cuts):
    # Memory and prediction: the same bytes on a connection that has seen others mean the same.
    data = mutate(data, mutations)
    memory = HeadMemory()
    Feeding(memory).feed(warm_up)
    connection = Feeding(memory)
    before = len(connection.feed(warm_up, warm_up))
    got = connection.feed(*split(data, cuts))[before:]
    assert settled(got) == settled(parse(data))


@given(_SENDER, _RECEIVER, _RAW_NAME, _BODY)
def test_what_is_encoded_parses_back(sender, to, name, body):
    want = ("message", to.id, name, str(sender), body, None)
    if not to.id and not name:
        name_only = encode_message(sender, to, name, body)
        assert name_only.startswith(b"POST / HTTP/1.1\r\n")
    elif to.id:
        data = encode_message(sender, to, name, body)
        if len(body) > LIMIT:
            assert parse(data) == [("refused", 413)]
        else:
            assert parse(data, data) == [want, want]
        assert MessageEncoder().encode(sender, to, name, body) == data


@given(st.text(alphabet=string.printable, max_size=30))
def test_pid_text_parses_or_is_refused_and_prints_back(text):
    try:
        pid = PID.parse(text)
    except ValueError:
        return
    assert PID.parse(str(pid)) == pid


# The recordings.


def recorded_messages():
    for path in sorted((fixtures() / "wire").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "message":
                yield record


def bytes_of(record):
    """A recorded message as it was on the wire."""
    lines = [record["request_line"], *(f"{name}: {value}" for name, value in record["headers"])]
    head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    body = bytes.fromhex(record["body_hex"])
    return head + (chunked(body) if "Transfer-Encoding" in dict(record["headers"]) else b"")


@pytest.fixture(scope="module")
def records():
    return list(recorded_messages())


def test_recorded_messages_parse_to_what_was_recorded(records):
    assert len(records) > 1000
    for record in records:
        to_id = record["to"].partition("@")[0]
        body = bytes.fromhex(record["body_hex"])
        want = ("message", to_id, record["name"], record["from"], body, None)
        assert parse(bytes_of(record)) == [want], record


def test_recorded_messages_on_one_connection_split_anywhere(records):
    data = b"".join(bytes_of(record) for record in records)
    wanted = [(record["name"], bytes.fromhex(record["body_hex"])) for record in records]
    for size in (len(data), 65_536, 997, 31):
        events = parse(*(data[at : at + size] for at in range(0, len(data), size)))
        assert [(event[2], event[4]) for event in events] == wanted


def test_our_bytes_are_those_of_libprocess(records):
    # Messages with an empty Host come from the driver of 1.11, which differs from libprocess there.
    compared = [record for record in records if dict(record["headers"])["Host"]]
    assert len(compared) > 900
    encoder = MessageEncoder()
    for record in compared:
        sender, to = PID.parse(record["from"]), PID.parse(record["to"])
        body = bytes.fromhex(record["body_hex"])
        assert encode_message(sender, to, record["name"], body) == bytes_of(record)
        assert encoder.encode(sender, to, record["name"], body) == bytes_of(record)
