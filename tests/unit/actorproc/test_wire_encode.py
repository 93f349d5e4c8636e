"""Messages to bytes, byte for byte. Source: actor-runtime.md §1.2, behaviour 29."""

import pytest

from actorproc import PID, ProtocolMisuse, UnreachableId
from actorproc.core.wire import MessageEncoder, encode_message
from tests.unit.actorproc.sink import parse

CLIENT = PID.parse("client@127.0.0.1:5051")
MASTER = PID.parse("master@127.0.0.1:5050")

HELLO = (
    b"POST /master/ping HTTP/1.1\r\n"
    b"User-Agent: libprocess/client@127.0.0.1:5051\r\n"
    b"Libprocess-From: client@127.0.0.1:5051\r\n"
    b"Connection: Keep-Alive\r\n"
    b"Host: 127.0.0.1:5050\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"\r\n"
    b"5\r\nhello\r\n0\r\n\r\n"
)
EMPTY = HELLO[: HELLO.index(b"Transfer-Encoding")] + b"\r\n"


@pytest.fixture(params=["function", "encoder", "encoder again"])
def encode(request):
    if request.param == "function":
        return encode_message
    encoder = MessageEncoder()
    if request.param == "encoder again":  # from its memory
        encoder.encode(CLIENT, MASTER, "ping", b"before")
    return encoder.encode


def test_vector_of_205_bytes(encode):
    assert encode(CLIENT, MASTER, "ping", b"hello") == HELLO
    assert len(HELLO) == 205


def test_vector_of_162_bytes(encode):
    assert encode(CLIENT, MASTER, "ping", b"") == EMPTY
    assert len(EMPTY) == 162


def test_029_empty_body_has_no_length_and_300_bytes_are_one_chunk(encode):
    empty = encode(CLIENT, MASTER, "ping", b"")
    assert b"Content-Length" not in empty
    assert b"Transfer-Encoding" not in empty
    long = encode(CLIENT, MASTER, "ping", b"x" * 300)
    assert long.endswith(b"\r\n\r\n12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n")


def test_empty_id_has_one_slash(encode):
    data = encode(CLIENT, PID("", "10.0.0.1", 80), "reply", b"")
    assert data.startswith(b"POST /reply HTTP/1.1\r\n")


def test_no_sender_is_the_empty_pid(encode):
    data = encode(PID.EMPTY, MASTER, "ping", b"")
    assert b"User-Agent: libprocess/@0.0.0.0:0\r\nLibprocess-From: @0.0.0.0:0\r\n" in data


def test_id_and_name_stand_raw(encode):
    to = PID("slave(1)", "10.0.0.1", 5051)
    data = encode(CLIENT, to, "mesos.internal.PingSlaveMessage", b"")
    assert data.startswith(b"POST /slave(1)/mesos.internal.PingSlaveMessage HTTP/1.1\r\n")


def test_text_outside_ascii_is_utf8(encode):
    data = encode(CLIENT, PID("zürich", "10.0.0.1", 1), "é", b"")
    assert data.startswith("POST /zürich/é HTTP/1.1\r\n".encode())


def test_bytes_received_as_no_text_leave_as_the_same_bytes(encode):
    [event] = parse(b"POST /m\xff/n\xfe HTTP/1.1\r\nLibprocess-From: a@1.2.3.4:5\r\n\r\n")
    _, to_id, name, *_ = event
    data = encode(CLIENT, PID(to_id, "1.2.3.4", 5), name, b"")
    assert data.startswith(b"POST /m\xff/n\xfe HTTP/1.1\r\n")


@pytest.mark.parametrize("id", ["a b", "a\r\nHost: evil", "a\tb", "\x7f", "\ud800"])
def test_ids_that_cannot_stand_on_a_request_line(encode, id):
    with pytest.raises(UnreachableId, match="receiver"):
        encode(CLIENT, PID(id, "10.0.0.1", 1), "ping", b"")


@pytest.mark.parametrize("name", ["a b", "a\nb", "\x00"])
def test_names_that_cannot_be_sent(encode, name):
    with pytest.raises(ProtocolMisuse, match="message name") as refused:
        encode(CLIENT, MASTER, name, b"")
    assert not isinstance(refused.value, UnreachableId)


def test_a_sender_cannot_smuggle_a_header(encode):
    with pytest.raises(ProtocolMisuse, match="sender"):
        encode(PID("a\r\nX: y", "10.0.0.1", 1), MASTER, "ping", b"")


def test_what_is_remembered_depends_on_sender_receiver_and_name():
    encoder = MessageEncoder()
    pids = [CLIENT, MASTER, PID.EMPTY]
    for _ in range(2):
        for sender in pids:
            for to in pids:
                for name in ("a", "b"):
                    for body in (b"", b"x"):
                        want = encode_message(sender, to, name, body)
                        assert encoder.encode(sender, to, name, body) == want


def test_memory_of_heads_is_bounded(monkeypatch):
    monkeypatch.setattr("actorproc.core.wire.REMEMBERED_HEADS_MAX", 10)
    encoder = MessageEncoder()
    for number in range(100):
        name = f"name{number}"
        assert encoder.encode(CLIENT, MASTER, name, b"x") == encode_message(
            CLIENT, MASTER, name, b"x"
        )
    assert len(encoder._heads) <= 10
