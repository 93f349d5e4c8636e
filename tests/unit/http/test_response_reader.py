"""Answers out of bytes. Source: behaviours 93, 102, 111."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorproc import PeerProtocolError
from actorproc.http.response_reader import ResponseReader


class Sink:
    """Writes down what a reader tells; `methods` were asked."""

    def __init__(self, *methods):
        self.methods = list(methods)
        self.answers = []

    def is_bodiless(self):
        return self.methods[0] == "HEAD" if self.methods else None

    def on_head(self, head):
        self.answers.append([head.status, b"", False])
        self.head = head

    def on_body(self, data):
        self.answers[-1][1] += data

    def on_end(self):
        self.answers[-1][2] = True
        self.methods.pop(0)


def read(data, *methods, sizes=(), at_end=False):
    sink = Sink(*methods)
    reader = ResponseReader(sink)
    for size in sizes:
        reader.feed(data[:size])
        data = data[size:]
    if data:
        reader.feed(data)
    if at_end:
        reader.feed_eof()
    return [tuple(answer) for answer in sink.answers]


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"

WHOLE = SIZED + CHUNKED + EMPTY + HEAD + INTERIM + SIZED
ASKED = ("GET", "GET", "GET", "HEAD", "POST")
WANT = [
    (200, b"hello", True),
    (404, b"abcde", True),
    (204, b"", True),
    (200, b"", True),
    (200, b"hello", True),
]


def test_b102_pipelined_answers():
    assert read(WHOLE, *ASKED, at_end=True) == WANT


def test_b102_answers_byte_by_byte():
    assert read(WHOLE, *ASKED, sizes=[1] * len(WHOLE), at_end=True) == WANT


@given(st.lists(st.integers(1, 40)))
def test_b102_answers_in_any_pieces(sizes):
    assert read(WHOLE, *ASKED, sizes=sizes, at_end=True) == WANT


def test_b111_a_body_shorter_than_its_length():
    with pytest.raises(PeerProtocolError, match="middle of a body"):
        read(SIZED[:-1], "GET", at_end=True)
    with pytest.raises(PeerProtocolError, match="middle of a body"):
        read(CHUNKED[:-2], "GET", at_end=True)
    with pytest.raises(PeerProtocolError, match="middle of a head"):
        read(SIZED[:10], "GET", at_end=True)


@pytest.mark.parametrize("status", ["999", "600", "099", "20", "OK", "2000"])
def test_b111_a_status_that_is_none(status):
    with pytest.raises(PeerProtocolError, match="answer"):
        read(f"HTTP/1.1 {status} What\r\nContent-Length: 0\r\n\r\n".encode(), "GET")


def test_b111_a_body_without_a_length_ends_with_the_connection():
    data = b"HTTP/1.1 200 OK\r\n\r\nall of it\r\n\r\n"
    assert read(data, "GET", at_end=True) == [(200, b"all of it\r\n\r\n", True)]
    assert read(data, "GET") == [(200, b"all of it\r\n\r\n", False)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "answer",
        ),
        (CHUNKED.replace(b"\r\n3\r\n", b"\r\nx\r\n"), "chunk size"),
        (CHUNKED.replace(b"abc\r\n", b"abcd\r\n"), "after a chunk"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 90_000, "head is larger"),
        (CHUNKED.replace(b"\r\n3\r\n", b"\r\n3;" + b"x" * 5000), "chunk line"),
        (CHUNKED[:-2] + b"T: x\r\n" * 3000, "trailers"),
    ],
)
def test_what_is_no_answer(data, reason):
    with pytest.raises(PeerProtocolError, match=reason):
        read(data, "GET")


def test_an_answer_that_nobody_asked_for():
    with pytest.raises(PeerProtocolError, match="nothing was asked"):
        read(SIZED * 2, "GET")


@given(st.binary(), st.integers(0, len(WHOLE)))
def test_any_bytes_give_answers_or_the_one_error(noise, position):
    with contextlib.suppress(PeerProtocolError):
        read(WHOLE[:position] + noise + WHOLE[position:], *ASKED, at_end=True)


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_stays(head, keeps):
    sink = Sink("GET")
    ResponseReader(sink).feed(head + b"Content-Length: 0\r\n\r\n")
    assert sink.head.keeps_connection is keeps
