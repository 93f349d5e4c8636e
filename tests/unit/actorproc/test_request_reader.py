"""Bytes to messages and requests. Source: actor-runtime.md §1.3 to 1.7, 1.11."""

import gzip

import pytest

from actorproc.core.wire import HEAD_BYTES_MAX, HeadMemory, RequestHead, RequestReader, parse_head
from tests.unit.actorproc.sink import Feeding, chunked, parse

FROM = b"Libprocess-From: a@1.2.3.4:5\r\n"
AGENT = b"User-Agent: libprocess/a@1.2.3.4:5\r\n"


def message(line=b"POST /m/n HTTP/1.1", headers=FROM, body=b""):
    return line + b"\r\n" + headers + b"\r\n" + body


def got(body=b"", *, id="m", name="n", sender="a@1.2.3.4:5", refused=None):
    return ("message", id, name, sender, body, refused)


BOTH = (
    b"User-Agent: libprocess/old@9.9.9.9:9\r\nLibprocess-From: a@1.2.3.4:5\r\n"
    b"Connection: Keep-Alive\r\nHost: 1.1.1.1:1\r\n"
)

# §1.3: what a receiver must accept, and §1.4 to 1.6: what it makes of it.
ACCEPTED = {
    "content-length": (
        message(headers=FROM + b"Content-Length: 5\r\n", body=b"hello"),
        got(b"hello"),
    ),
    "content-length 0": (message(headers=FROM + b"Content-Length: 0\r\n"), got()),
    "no framing": (message(), got()),
    "chunked": (
        message(headers=FROM + b"Transfer-Encoding: chunked\r\n", body=chunked(b"hello")),
        got(b"hello"),
    ),
    "chunked in capitals": (
        message(
            headers=FROM + b"TRANSFER-ENCODING: Chunked\r\n", body=b"A\r\n0123456789\r\n0\r\n\r\n"
        ),
        got(b"0123456789"),
    ),
    "chunked but empty": (
        message(headers=FROM + b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
        got(),
    ),
    "many chunks and extensions": (
        message(
            headers=FROM + b"Transfer-Encoding: chunked\r\n",
            body=b'2;a=b\r\nhe\r\n0003 ;x="y z"\r\nllo\r\n000;last\r\n\r\n',
        ),
        got(b"hello"),
    ),
    "http 1.0": (message(b"POST /m/n HTTP/1.0"), got()),
    "user-agent only": (message(headers=AGENT), got()),
    "from only": (message(headers=FROM), got()),
    "030 both, from wins": (message(headers=BOTH), got()),
    "blanks around the sender": (message(headers=b"Libprocess-From: \t a@1.2.3.4:5 \t\r\n"), got()),
    "blanks around the agent": (
        message(headers=b"User-Agent: libprocess/a@1.2.3.4:5  \r\n"),
        got(),
    ),
    "repeated header, last wins": (
        message(headers=b"Libprocess-From: x@9.9.9.9:9\r\nLIBPROCESS-FROM: a@1.2.3.4:5\r\n"),
        got(),
    ),
    "header names in any case": (message(headers=b"libPROCESS-from: a@1.2.3.4:5\r\n"), got()),
    "no host": (message(), got()),
    "empty host, then framing": (
        message(headers=AGENT + b"Host: \r\nTransfer-Encoding: chunked\r\n", body=chunked(b"x")),
        got(b"x"),
    ),
    "absolute form": (message(b"POST http://h:1/m/n HTTP/1.1"), got()),
    "absolute form with a query": (message(b"POST http://h:1/m/n?q HTTP/1.1"), got()),
    "query": (message(b"POST /m/n?a=b&c=%20 HTTP/1.1"), got()),
    "gzip": (
        message(
            headers=FROM + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            body=chunked(gzip.compress(b"hello" * 100)),
        ),
        got(b"hello" * 100),
    ),
    "021 percent-encoded id": (message(b"POST /slave%281%29/n HTTP/1.1"), got(id="slave(1)")),
    "plus in an id": (message(b"POST /a+b/n HTTP/1.1"), got(id="a b")),
    "slash in an id": (message(b"POST /a%2Fb/n HTTP/1.1"), got(id="a/b")),
    "non-ascii path": (message("POST /zürich/ñ HTTP/1.1".encode()), got(id="zürich", name="ñ")),
    "path that is no text": (message(b"POST /\xff/\xfe HTTP/1.1"), got(id="\udcff", name="\udcfe")),
    "032 name with slashes": (message(b"POST /m/a/b/c HTTP/1.1"), got(name="a/b/c")),
    "032 name stays raw": (message(b"POST /m/a%20b+c HTTP/1.1"), got(name="a%20b+c")),
    "empty name": (message(b"POST /m/ HTTP/1.1"), got(name="")),
    "no second slash": (message(b"POST /m HTTP/1.1"), got(name="")),
    "empty id": (message(b"POST //me/x HTTP/1.1"), got(id="", name="me/x")),
    "034 malformed sender": (
        message(headers=b"Libprocess-From: nobody\r\n"),
        got(sender="@0.0.0.0:0"),
    ),
    "empty sender header": (
        message(headers=b"Libprocess-From:\r\nHost: h\r\n"),
        got(sender="@0.0.0.0:0"),
    ),
    "sender that is no text": (
        message(headers=b"Libprocess-From: \xff@1.2.3.4:5\r\n"),
        got(sender="@0.0.0.0:0"),
    ),
    "020 sender without id": (
        message(headers=b"Libprocess-From: @1.2.3.4:5\r\n"),
        got(sender="@1.2.3.4:5"),
    ),
    "empty lines before": (b"\r\n\r\n" + message(), got()),
    "expect": (
        message(headers=FROM + b"Expect: 100-continue\r\nContent-Length: 1\r\n", body=b"x"),
        got(b"x"),
    ),
    "bad escape in the id": (
        message(b"POST /a%zz/n HTTP/1.1"),
        got(id="", name="", refused=(500, "malformed % escape in receiver id b'a%zz'")),
    ),
    "star": (
        message(b"POST * HTTP/1.1"),
        got(id="", name="", refused=(400, "request path must begin with '/', not b'*'")),
    ),
    "absolute form without path": (
        message(b"POST http://h:1 HTTP/1.1"),
        got(id="", name="", refused=(400, "request path must begin with '/', not b'http://h:1'")),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts(case):
    data, want = ACCEPTED[case]
    assert parse(data) == [want]


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts_bytewise(case):
    data, want = ACCEPTED[case]
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == [want]


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_second_one_gives_the_same(case):
    data, want = ACCEPTED[case]
    connection = Feeding()
    connection.feed(data)
    assert connection.feed(data, data + message()) == [want, want, want, got()]


# §1.4: what is not a message.
REQUESTS = {
    "031 get with from": b"GET /m/n HTTP/1.1\r\n" + FROM + b"\r\n",
    "031 put with from": b"PUT /m/n HTTP/1.1\r\n" + FROM + b"Content-Length: 0\r\n\r\n",
    "post of a browser": b"POST /m/n HTTP/1.1\r\nUser-Agent: Mozilla\r\n\r\n",
    "agent in another case": b"POST /m/n HTTP/1.1\r\nUser-Agent: Libprocess/a@1.2.3.4:5\r\n\r\n",
    "agent that contains it": b"POST /m HTTP/1.1\r\nUser-Agent: x libprocess/a@1.2.3.4:5\r\n\r\n",
}


@pytest.mark.parametrize("case", REQUESTS)
def test_ordinary_requests(case):
    assert parse(REQUESTS[case]) == [("request", REQUESTS[case]), ("end",)]


def test_body_of_an_ordinary_request_is_passed_on_with_its_framing():
    head = b"POST /m/n HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    want = [("request", head), ("bytes", body), ("end",), got()]
    assert parse(head + body + message()) == want
    assert parse(*(bytes([byte]) for byte in head + body + message())) == want


def test_ordinary_bodies_have_no_limit_here():
    head = b"POST /m/n HTTP/1.1\r\nContent-Length: 500\r\n\r\n"
    assert parse(head, b"x" * 500, limit=10)[-1] == ("end",)


CHUNKED = FROM + b"Transfer-Encoding: chunked\r\n"

# §1.7, and everything that is not HTTP: closed, after an answer where there is a status.
REFUSED = {
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", None),
    "text": (b"hello\r\n\r\n", None),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    "no version": (b"POST /m/n\r\n" + FROM + b"\r\n", None),
    "other version": (message(b"POST /m/n HTTP/2.0"), None),
    "bad query escape": (message(b"POST /m/n?a=%zz HTTP/1.1"), None),
    "bad header": (message(headers=b"Libprocess-From\r\n"), None),
    "folded header": (message(headers=b"Libprocess-From: a\r\n b\r\n"), None),
    "zero byte": (message(headers=b"Libprocess-From: a\0@1.2.3.4:5\r\n"), None),
    "lines without return": (message().replace(b"\r\n", b"\n") + b"\r\n\r\n", None),
    "lengths that differ": (
        message(headers=FROM + b"Content-Length: 1\r\nContent-Length: 2\r\n"),
        None,
    ),
    "length and chunks": (message(headers=CHUNKED + b"Content-Length: 1\r\n"), None),
    "negative length": (message(headers=FROM + b"Content-Length: -1\r\n"), None),
    "length with a sign": (message(headers=FROM + b"Content-Length: +1\r\n"), None),
    "other transfer coding": (message(headers=FROM + b"Transfer-Encoding: gzip, chunked\r\n"), 400),
    "chunk size not a number": (message(headers=CHUNKED, body=b"5x\r\n"), 400),
    "chunk size empty": (message(headers=CHUNKED, body=b"\r\n"), 400),
    "chunk size negative": (message(headers=CHUNKED, body=b"-5\r\n"), 400),
    "chunk size with prefix": (message(headers=CHUNKED, body=b"0x5\r\n"), 400),
    "chunk size with underscore": (message(headers=CHUNKED, body=b"1_0\r\n"), 400),
    "chunk size of 16 digits": (message(headers=CHUNKED, body=b"1000000000000000\r\n"), 400),
    "chunk line without return": (message(headers=CHUNKED, body=b"5\nhello"), 400),
    "chunk line without end": (message(headers=CHUNKED, body=b"5;" + b"x" * 5000), 400),
    "chunk too long for its size": (message(headers=CHUNKED, body=b"2\r\nhello\r\n"), 500),
    "trailer": (message(headers=CHUNKED, body=b"1\r\nx\r\n0\r\nX: y\r\n\r\n"), 500),
    "broken gzip": (
        message(headers=FROM + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n", body=b"xyz"),
        500,
    ),
    "gzip cut short": (
        message(
            headers=FROM + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            body=chunked(gzip.compress(b"hello" * 100)[:-5]),
        ),
        500,
    ),
    "gzip of nothing": (message(headers=FROM + b"Content-Encoding: gzip\r\n"), 500),
    "gzip bomb": (
        message(
            headers=FROM + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            body=chunked(gzip.compress(bytes(100_001))),
        ),
        413,
    ),
    "announced length above the limit": (
        message(headers=FROM + b"Content-Length: 100001\r\n"),
        413,
    ),
    "chunk above the limit": (message(headers=CHUNKED, body=b"186a1\r\n"), 413),
    "chunks above the limit": (
        message(headers=CHUNKED, body=b"186a0\r\n" + b"x" * 100_000 + b"\r\n1\r\n"),
        413,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    data, status = REFUSED[case]
    assert parse(data) == [("refused", status)]


@pytest.mark.parametrize("case", [case for case in REFUSED if "limit" not in case])
def test_refuses_bytewise(case):
    data, status = REFUSED[case]
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == [("refused", status)]


@pytest.mark.parametrize("case", REFUSED)
def test_what_came_before_a_refusal_is_delivered(case):
    data, status = REFUSED[case]
    assert parse(message() + data) == [got(), ("refused", status)]


def test_the_limit_itself_is_accepted():
    body = b"x" * 100_000
    assert parse(message(headers=FROM + b"Content-Length: 100000\r\n", body=body)) == [got(body)]
    assert parse(message(headers=CHUNKED, body=chunked(body))) == [got(body)]
    packed = gzip.compress(body)
    headers = CHUNKED + b"Content-Encoding: gzip\r\n"
    assert parse(message(headers=headers, body=chunked(packed))) == [got(body)]


def test_a_remembered_chunk_size_does_not_pass_the_limit():
    # The limit belongs to the reader: a size another connection was allowed says nothing here.
    memory = HeadMemory()
    big = message(headers=CHUNKED, body=chunked(b"x" * 500))
    assert Feeding(memory, limit=500).feed(big, big) == [got(b"x" * 500)] * 2
    small = Feeding(memory, limit=100)
    small.feed(message(headers=CHUNKED, body=chunked(b"y")))
    assert small.feed(big)[1:] == [("refused", 413)]


def test_045_headers_of_70_kb_are_accepted_and_of_90_kb_not():
    many = [b"X-%d: %s\r\n" % (number, b"x" * 990) for number in range(90)]
    assert parse(message(headers=FROM + b"".join(many[:70]))) == [got()]
    assert parse(message(headers=FROM + b"".join(many))) == [("refused", None)]
    assert parse(message(headers=FROM + b"X: " + b"x" * 70_000 + b"\r\n")) == [got()]


def test_head_limit_is_exact_and_holds_before_the_end_has_come():
    room = HEAD_BYTES_MAX - len(message(headers=FROM + b"X: \r\n"))
    assert parse(message(headers=FROM + b"X: " + b"x" * room + b"\r\n")) == [got()]
    assert parse(message(headers=FROM + b"X: " + b"x" * (room + 1) + b"\r\n")) == [
        ("refused", None)
    ]
    assert parse(message(headers=FROM) + b"GET /" + b"x" * HEAD_BYTES_MAX) == [
        got(),
        ("refused", None),
    ]


def test_pipelined_messages_of_several_senders_and_kinds_stay_in_order():
    get = b"GET /x HTTP/1.1\r\n\r\n"
    one = message(headers=CHUNKED, body=chunked(b"1"))
    two = message(b"POST /q/r HTTP/1.1", AGENT + b"Content-Length: 1\r\n", b"2")
    want = [got(b"1"), ("request", get), ("end",), got(b"2", id="q", name="r"), got(b"1"), got()]
    assert parse(one + get + two + one + message()) == want


def test_035_a_thousand_in_one_piece():
    data = b"".join(
        message(headers=CHUNKED, body=chunked(b"%d" % number)) for number in range(1000)
    )
    assert parse(data) == [got(b"%d" % number) for number in range(1000)]


@pytest.mark.parametrize("shared", [False, True])
def test_prediction_only_applies_to_equal_heads(shared):
    memory = HeadMemory()
    connection = Feeding(memory)
    one = message(headers=CHUNKED, body=chunked(b"1"))
    connection.feed(one, one)
    if shared:
        connection = Feeding(memory)
    # The same head with another framing of the body, then heads that differ late.
    assert connection.feed(message(headers=CHUNKED, body=b"1\r\nx\r\n1\r\ny\r\n0\r\n\r\n"))[
        -1
    ] == got(b"xy")
    other = message(headers=CHUNKED + b"X: y\r\n", body=chunked(b"2"))
    assert connection.feed(other)[-1] == got(b"2")
    to_other = message(b"POST /m/o HTTP/1.1", CHUNKED, chunked(b"3"))
    assert connection.feed(one[:-1], one[-1:] + to_other)[-2:] == [got(b"1"), got(b"3", name="o")]


@pytest.mark.parametrize(
    "bad",
    [
        b"1\r\nxx\r\n0\r\n\r\n",  # too long for its size
        b"1\r\nx\r\n0\r\nT: x\r\n\r\n",  # trailer
        b"1\nx\r\n0\r\n\r\n",
        b"z\r\nx\r\n0\r\n\r\n",
    ],
)
def test_prediction_never_accepts_what_the_parser_refuses(bad):
    connection = Feeding()
    one = message(headers=CHUNKED, body=chunked(b"1"))
    connection.feed(one, one)
    assert connection.feed(one[: -len(chunked(b"1"))] + bad)[-1][0] == "refused"
    assert parse(one[: -len(chunked(b"1"))] + bad)[-1] == connection.sink.events[-1]


@pytest.mark.parametrize("cut", [5, 20, 35])
def test_a_head_predicted_over_a_split_does_not_hide_a_shorter_one_behind_it(cut):
    connection = Feeding()
    connection.feed(message(), message())
    get = b"GET / HTTP/1.1\r\n\r\n"
    data = message() + get + message()
    assert connection.feed(data[:cut], data[cut:])[2:] == [got(), ("request", get), ("end",), got()]


def test_memory_of_heads_and_sizes_is_bounded(monkeypatch):
    monkeypatch.setattr("actorproc.core.wire.REMEMBERED_HEADS_MAX", 8)
    monkeypatch.setattr("actorproc.core.wire.REMEMBERED_SIZES_MAX", 8)
    memory = HeadMemory()
    connection = Feeding(memory)
    for number in range(1, 50):
        body = b"x" * number
        connection.feed(message(b"POST /m/n%d HTTP/1.1" % number, CHUNKED, chunked(body)))
        assert connection.sink.events[-1] == got(body, name=f"n{number}")
    assert len(memory.heads) <= 8
    assert len(memory.sizes) <= 8


def test_long_heads_are_not_remembered():
    memory = HeadMemory()
    Feeding(memory).feed(message(headers=FROM + b"X: " + b"x" * 3000 + b"\r\n"))
    assert memory.heads == {}


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Keep-Alive\r\n", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: Close, x\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: x, keep-alive\r\n", True),
        (b"1.0", b"Connection: close\r\n", False),
    ],
)
@pytest.mark.parametrize(
    "framing", [b"", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_036_keep_alive(version, connection, keeps, framing):
    raw = b"POST /m/n HTTP/" + version + b"\r\n" + FROM + connection + framing + b"\r\n"
    assert parse_head(raw).keep_alive is keeps


@pytest.mark.parametrize(("headers", "now"), [(FROM, True), (AGENT, False), (BOTH, False)])
def test_who_waits_for_its_answer(headers, now):
    assert parse_head(message(headers=headers)).wants_answer_now is now


@pytest.mark.parametrize(
    ("headers", "has"), [(b"", False), (b"Host: x\r\n", True), (b"host:\r\n", True)]
)
def test_host_is_noted(headers, has):
    assert parse_head(message(headers=FROM + headers)).has_host is has


def test_upgrade_is_left_to_the_http_side():
    raw = b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert parse(raw) == [("request", raw), ("end",)]


def test_stop_ends_it_within_the_piece():
    class StopsAtTwo:
        def __init__(self):
            self.reader = RequestReader(self, HeadMemory(), 100)
            self.bodies = []

        def on_message(self, head: RequestHead, body):
            self.bodies.append(body)
            if not head.keep_alive:
                self.reader.stop()

    sink = StopsAtTwo()
    closing = CHUNKED + b"Connection: close\r\n"
    stay = message(headers=CHUNKED, body=chunked(b"1"))
    sink.reader.feed(stay + message(headers=closing, body=chunked(b"2")) * 3 + stay)
    sink.reader.feed(stay)
    assert sink.bodies == [b"1", b"2"]
