"""The libprocess wire protocol without I/O: messages to bytes, and bytes to messages.

A message is an HTTP POST to ``/<receiver id>/<name>`` with the sender in its headers; every other
request on the port is ordinary HTTP. ``RequestReader`` takes the bytes of one connection, in any
pieces, and calls its sink:

    feed(bytes) ──┬─ a message ─────────> sink.on_message(head, body)
                  ├─ another request ───> sink.on_request(head) / on_request_bytes / on_request_end
                  └─ a refused request ─> PeerProtocolError (with the status to answer, or none)

Speed: libprocess keeps the length out of the head, so one sender's heads repeat byte for byte. A
head that was parsed and validated once is remembered, and the next request is compared with it
before anything is parsed. The shortcut only ever applies to bytes seen before.
Source: actor-runtime.md §1.2 to 1.7, 1.11, 2.2.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

import httptools

from actorproc.errors import InvalidPID, PeerProtocolError, ProtocolMisuse, UnreachableId
from actorproc.pid import PID

ACCEPTED: Final = 202
NOT_FOUND: Final = 404

HEAD_BYTES_MAX: Final = 80 * 1024  # request line and headers, as libprocess
CHUNK_LINE_BYTES_MAX: Final = 4096  # a chunk size with its extensions
# Per transport; forgotten all at once when full. Ten thousand peers send three kinds of messages.
REMEMBERED_HEADS_MAX: Final = 32_768
REMEMBERED_HEAD_BYTES_MAX: Final = 1024  # longer heads are parsed every time
REMEMBERED_SIZES_MAX: Final = 4096

# Headers that travel with a message: an extension, which libprocess ignores.
TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")
EXTENSION_PREFIX: Final = "actorproc-"
MESSAGE_HEADERS_MAX: Final = 16
HEADER_VALUE_CHARS_MAX: Final = 1024

_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?", re.ASCII)
_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f]")  # on the request line
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")  # in a header
_ASCII_ONLY: Final = bytes(range(128)) + b"x" * 128
_HEADER_NAME: Final = re.compile(r"[a-z0-9-]+", re.ASCII)
_TLS_HELLO: Final = b"\x16\x03"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


# Sending.


def encode_head(sender: PID, to: PID, name: str) -> tuple[bytes, bytes]:
    """The head of a message, as (head when a body follows, head of an empty message).

    Raises:
        UnreachableId: a space or control character in the receiver's id: it stands raw on the
            request line.
        ProtocolMisuse: the same in the name, or a control character in the sender's id.
    """
    if _UNSENDABLE.search(to.id) or _CONTROL.search(to.ip):
        raise UnreachableId(f"receiver {str(to)!r}: id has a space or control character")
    if _UNSENDABLE.search(name):
        raise ProtocolMisuse(f"message name {name!r} has a space or control character")
    if _CONTROL.search(str(sender)):
        raise ProtocolMisuse(f"sender {str(sender)!r}: id has a control character")
    path = f"/{to.id}/{name}" if to.id else f"/{name}"
    text = (
        f"POST {path} HTTP/1.1\r\n"
        f"User-Agent: libprocess/{sender}\r\n"
        f"Libprocess-From: {sender}\r\n"
        "Connection: Keep-Alive\r\n"
        f"Host: {to.address}\r\n"
    )
    try:
        # What was received as bytes that are not UTF-8 leaves as the same bytes.
        head = text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise UnreachableId(f"receiver {str(to)!r} or name {name!r} is not text") from error
    return head + b"Transfer-Encoding: chunked\r\n\r\n", head + b"\r\n"


def encode_message(
    sender: PID, to: PID, name: str, body: bytes, headers: Mapping[str, str] | None = None
) -> bytes:
    """One message as libprocess sends it, byte for byte; ``headers`` are an extension.

    Raises:
        UnreachableId, ProtocolMisuse: as ``encode_head``; a header that may not travel.
    """
    chunked_head, empty_head = encode_head(sender, to, name)
    if headers:
        extension = _encode_headers(headers)
        chunked_head = chunked_head[:-2] + extension + b"\r\n"
        empty_head = empty_head[:-2] + extension + b"\r\n"
    if not body:
        return empty_head
    return b"%b%x\r\n%b%b" % (chunked_head, len(body), body, _CHUNKED_END)


def travels(name: str) -> bool:
    """Whether a header of this (lower-case) name is carried with messages."""
    return name in TRACE_HEADERS or name.startswith(EXTENSION_PREFIX)


def _encode_headers(headers: Mapping[str, str]) -> bytes:
    if len(headers) > MESSAGE_HEADERS_MAX:
        raise ProtocolMisuse(f"more than {MESSAGE_HEADERS_MAX} headers on one message")
    lines = []
    for name, value in headers.items():
        if not travels(name) or not _HEADER_NAME.fullmatch(name):
            raise ProtocolMisuse(
                f"header {name!r}: only {', '.join(TRACE_HEADERS)} and names that begin with "
                f"{EXTENSION_PREFIX!r} travel with messages"
            )
        if _CONTROL.search(value) or not value.isascii() or len(value) > HEADER_VALUE_CHARS_MAX:
            raise ProtocolMisuse(f"header {name}: value must be short printable ASCII")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


class MessageEncoder:
    """Encodes messages, remembering their heads."""

    def __init__(self) -> None:
        # By identity, which hashes faster than PIDs do; each entry keeps its PIDs alive, so that
        # no other object can come to have their identity.
        self._heads: dict[tuple[int, int, str], tuple[bytes, bytes, PID, PID]] = {}

    def encode(self, sender: PID, to: PID, name: str, body: bytes) -> bytes:
        """As ``encode_message``."""
        key = (id(sender), id(to), name)
        heads = self._heads.get(key)
        if heads is None:
            heads = (*encode_head(sender, to, name), sender, to)
            if len(self._heads) >= REMEMBERED_HEADS_MAX:
                self._heads.clear()
            self._heads[key] = heads
        if not body:
            return heads[1]
        return b"%b%x\r\n%b%b" % (heads[0], len(body), body, _CHUNKED_END)


# Receiving.


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A parsed request head; for messages with everything needed to deliver them.

    Attributes:
        raw: its bytes, from the request line through the empty line.
        is_message: a libprocess message; otherwise ordinary HTTP.
        to_id: id of the receiver (messages).
        name: message name (messages).
        sender: sender's PID; empty when malformed (messages).
        refused: status and text that answer a message which cannot be addressed, else None.
        wants_answer_now: the sender waits for the answer (it did not name itself libprocess).
        keep_alive: the connection stays open after the answer.
        is_chunked: the body comes in chunks.
        body_bytes: announced length of the body; 0 when none or chunked.
        is_gzipped: the body of a message must be decompressed.
        has_host: a Host header is present.
        headers: what travels with a message beside its body, or None.
        is_plain: a message that can be addressed and whose answer is in no hurry.
    """

    raw: bytes
    is_message: bool
    to_id: str
    name: str
    sender: PID
    refused: tuple[int, str] | None
    wants_answer_now: bool
    keep_alive: bool
    is_chunked: bool
    body_bytes: int
    is_gzipped: bool
    has_host: bool
    headers: Mapping[str, str] | None = None
    is_plain: bool = False


class RequestSink(Protocol):
    """What a ``RequestReader`` reports to; calls come in the order of the requests."""

    def on_message(self, head: RequestHead, body: bytes) -> None: ...

    def on_request(self, head: RequestHead) -> None: ...

    def on_request_bytes(self, data: bytes) -> None:
        """Bytes of the body as they came, chunked framing included."""
        ...

    def on_request_end(self) -> None: ...


class HeadMemory:
    """Heads and chunk sizes validated before; shared by the connections of a transport."""

    def __init__(self) -> None:
        self.heads: dict[bytes, RequestHead] = {}
        self.sizes: dict[bytes, int] = {}

    def parse(self, raw: bytes) -> RequestHead:
        """Parse a head, or recall it.

        Raises:
            PeerProtocolError: the bytes are not an acceptable HTTP request head.
        """
        head = self.heads.get(raw)
        if head is None:
            head = parse_head(raw)
            # Only what is likely to come again: heads of messages without headers of their own.
            if head.is_message and head.headers is None and len(raw) <= REMEMBERED_HEAD_BYTES_MAX:
                if len(self.heads) >= REMEMBERED_HEADS_MAX:
                    self.heads.clear()
                self.heads[raw] = head
        return head

    def remember_size(self, line: bytes, size: int) -> None:
        if len(self.sizes) >= REMEMBERED_SIZES_MAX:
            self.sizes.clear()
        self.sizes[line] = size


class _HeadCollector:
    """Callbacks of httptools for one head; header names come in any case, the last value wins."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.heads = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.heads += 1


def parse_head(raw: bytes) -> RequestHead:
    """Parse a request head, which ends with an empty line.

    Raises:
        PeerProtocolError: not HTTP (closed in silence), or framing that is not accepted (400).
    """
    collector = _HeadCollector()
    parser = httptools.HttpRequestParser(collector)
    line, line_end, rest = raw.partition(b"\r\n")
    try:
        # httptools refuses bytes above 127 in the target, libprocess takes them.
        parser.feed_data(line.translate(_ASCII_ONLY) + line_end + rest)
    except httptools.HttpParserUpgrade:
        pass  # an upgrade is asked for, not demanded: aiohttp decides
    except httptools.HttpParserError as error:
        raise PeerProtocolError(f"request is not HTTP: {error}") from error
    if collector.heads != 1:
        raise PeerProtocolError("request is not HTTP: its head does not end where it should")
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise PeerProtocolError(f"request is not HTTP/1.1 but HTTP/{version}")
    target = collector.target if line.isascii() else line.split()[1]
    headers = collector.headers
    is_chunked = _is_chunked(headers)
    from_header = headers.get(b"libprocess-from")
    agent = headers.get(b"user-agent", b"")
    is_libprocess_agent = agent.startswith(b"libprocess/")
    is_message = parser.get_method() == b"POST" and (is_libprocess_agent or from_header is not None)
    to_id, name, refused = "", "", None
    sender = PID.EMPTY
    if is_message:
        to_id, name, refused = _parse_message_target(target)
        claimed = from_header if from_header is not None else agent.removeprefix(b"libprocess/")
        sender = _parse_sender(claimed)
    keep_alive = _keeps_alive(version, headers)
    return RequestHead(
        raw=raw,
        is_message=is_message,
        to_id=to_id,
        name=name,
        sender=sender,
        refused=refused,
        wants_answer_now=not is_libprocess_agent,
        keep_alive=keep_alive,
        is_chunked=is_chunked,
        body_bytes=0 if is_chunked else _content_length(headers),
        is_gzipped=headers.get(b"content-encoding", b"").strip().lower() == b"gzip",
        has_host=b"host" in headers,
        headers=_message_headers(headers) if is_message else None,
        is_plain=is_message and refused is None and keep_alive and is_libprocess_agent,
    )


def _message_headers(headers: dict[bytes, bytes]) -> Mapping[str, str] | None:
    """The headers that travel with a message; too many or too long ones are left out."""
    found = {
        name.decode(): value.decode()
        for name, value in headers.items()
        if name.isascii()
        and travels(name.decode())
        and value.isascii()
        and len(value) <= HEADER_VALUE_CHARS_MAX
    }
    return dict(islice(found.items(), MESSAGE_HEADERS_MAX)) if found else None


def _keeps_alive(version: str, headers: dict[bytes, bytes]) -> bool:
    # The parser's own answer is only valid inside its callback.
    options = [option.strip() for option in headers.get(b"connection", b"").lower().split(b",")]
    return b"keep-alive" in options if version == "1.0" else b"close" not in options


def _is_chunked(headers: dict[bytes, bytes]) -> bool:
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return False
    if coding.strip().lower() != b"chunked":
        raise PeerProtocolError(f"transfer-encoding: {coding!r} is not 'chunked'", 400)
    if b"content-length" in headers:
        raise PeerProtocolError("content-length and transfer-encoding exclude each other", 400)
    return True


def _content_length(headers: dict[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"0").strip()
    if not text.isdigit() or len(text) > 18:
        raise PeerProtocolError(f"content-length: {text!r} is not a number", 400)
    return int(text)


def _parse_message_target(target: bytes) -> tuple[str, str, tuple[int, str] | None]:
    """Receiver id and message name; source: actor-runtime.md §1.5."""
    path, _, query = target.partition(b"?")
    if _BAD_ESCAPE.search(query):
        raise PeerProtocolError(f"query: {query!r} has a bad % escape")
    if not path.startswith(b"/"):
        _, scheme_end, rest = path.partition(b"://")
        _, slash, path = rest.partition(b"/")
        if not scheme_end or not slash:
            return "", "", (400, f"request path must begin with '/', not {target[:80]!r}")
        path = b"/" + path
    id, _, name = path[1:].partition(b"/")
    if _BAD_ESCAPE.search(id):
        return "", "", (500, f"malformed % escape in receiver id {id[:80]!r}")
    to_id = unquote_to_bytes(id.replace(b"+", b" ")).decode(errors="surrogateescape")
    return to_id, name.decode(errors="surrogateescape"), None


def _parse_sender(text: bytes) -> PID:
    """The claimed sender; a malformed one is the empty PID, so that a reply goes nowhere."""
    try:
        return PID.parse(text.strip().decode("utf-8"))
    except (InvalidPID, UnicodeDecodeError):
        return PID.EMPTY


class _Body:
    """Collects or forwards the body of one request; knows where it ends."""

    __slots__ = ("gathered", "limit", "parts")

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self.gathered = 0
        self.limit = limit

    def feed(self, data: bytes, pos: int) -> tuple[int, bool]:
        """Take bytes from ``pos``; returns where it stopped, and whether the body is complete."""
        raise AssertionError("a subclass decides")

    def take(self, piece: bytes) -> None:
        self.gathered += len(piece)
        if self.gathered > self.limit:
            raise PeerProtocolError(f"body is larger than {self.limit} bytes", 413)
        self.parts.append(piece)


class _SizedBody(_Body):
    """A body whose length was announced."""

    __slots__ = ("_left",)

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(limit)
        self._left = size

    def feed(self, data: bytes, pos: int) -> tuple[int, bool]:
        piece = data[pos : pos + self._left]
        self._left -= len(piece)
        self.take(piece)
        return pos + len(piece), self._left == 0


class _ChunkedBody(_Body):
    """A body in chunks: extensions are skipped, trailers refused (as libprocess)."""

    __slots__ = ("_left", "_line", "_line_bytes_max", "_memory", "_state")

    def __init__(self, memory: HeadMemory, limit: int, line_bytes_max: int) -> None:
        super().__init__(limit)
        self._memory = memory
        self._line_bytes_max = line_bytes_max
        self._state = "size"
        self._line = b""
        self._left = 0

    def feed(self, data: bytes, pos: int) -> tuple[int, bool]:
        end = len(data)
        while pos < end:
            if self._state == "data":
                piece = data[pos : pos + self._left]
                self.take(piece)
                pos += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = "after data"
                continue
            line, pos = self._read_line(data, pos)
            if line is None:
                break
            if self._state == "size":
                self._left = self._chunk_size(line)
                self._state = "data" if self._left else "last"
            elif line:
                where = "after a chunk" if self._state == "after data" else "in a trailer"
                raise PeerProtocolError(f"failed to decode body: {line[:40]!r} {where}", 500)
            elif self._state == "after data":
                self._state = "size"
            else:
                return pos, True
        return pos, False

    def _read_line(self, data: bytes, pos: int) -> tuple[bytes | None, int]:
        """The next whole line without its end, or None when it is not complete yet."""
        stop = data.find(b"\n", pos)
        if stop < 0:
            self._line += data[pos:]
            if len(self._line) > self._line_bytes_max:
                raise PeerProtocolError(f"chunk line longer than {self._line_bytes_max}", 400)
            return None, len(data)
        line = self._line + data[pos : stop + 1]
        self._line = b""
        if not line.endswith(b"\r\n") or len(line) > self._line_bytes_max:
            raise PeerProtocolError("failed to decode body: bad end of a chunk line", 400)
        return line[:-2], stop + 1

    def _chunk_size(self, line: bytes) -> int:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise PeerProtocolError(f"chunk size: {line[:40]!r} is not a hexadecimal number", 400)
        size = int(match[1], 16)
        if self.gathered + size > self.limit:
            raise PeerProtocolError(f"body is larger than {self.limit} bytes", 413)
        if match[1] == line:
            self._memory.remember_size(line, size)
        return size


class RequestReader:
    """Turns the bytes of one connection into messages and requests.

    Args:
        sink: gets them, in order.
        memory: heads seen before, shared between connections.
        message_bytes_max: a longer message body is refused with 413.
    """

    def __init__(self, sink: RequestSink, memory: HeadMemory, message_bytes_max: int) -> None:
        self._sink = sink
        self._memory = memory
        self._message_bytes_max = message_bytes_max
        self.chunk_line_bytes_max = CHUNK_LINE_BYTES_MAX
        self._held = b""  # an incomplete head
        self._scanned = 0  # how much of it holds no end
        self._predicted: RequestHead | None = None  # the last message's head
        self._head: RequestHead | None = None  # of the request whose body is being read
        self._body: _Body | None = None
        self._is_stopped = False

    @property
    def is_between_requests(self) -> bool:
        """True when no request is half read."""
        return self._body is None and not self._held

    @property
    def is_in_head(self) -> bool:
        """True when a head is half read."""
        return self._body is None and bool(self._held)

    def stop(self) -> None:
        """Take nothing more; the sink may call this while it is told of a request."""
        self._is_stopped = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            PeerProtocolError: the connection must be closed, after an answer if it has a status.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        pos, end = 0, len(data)
        while pos < end and not self._is_stopped:
            if self._body is not None:
                pos = self._feed_body(self._body, data, pos)
                continue
            pos = self._feed_predicted(data, pos)
            if pos < end:
                pos = self._feed_head(data, pos)

    def _feed_predicted(self, data: bytes, pos: int) -> int:
        """Deliver the messages whose head equals the last one's and whose body is all there."""
        predicted = self._predicted
        if predicted is None:
            return pos
        raw = predicted.raw
        length = len(raw)
        deliver = self._sink.on_message
        if not predicted.is_chunked:
            while data.startswith(raw, pos):
                pos += length
                deliver(predicted, b"")
            return pos
        sizes = self._memory.sizes
        size_max = self._message_bytes_max
        while data.startswith(raw, pos):
            start = pos + length
            line_end = data.find(b"\r\n", start, start + 17)
            size = sizes.get(data[start:line_end]) if line_end > 0 else None
            if not size or size > size_max:
                break
            body_end = line_end + 2 + size
            if data[body_end : body_end + 7] != _CHUNKED_END:
                break
            pos = body_end + 7
            deliver(predicted, data[line_end + 2 : body_end])
        return pos

    def _feed_head(self, data: bytes, pos: int) -> int:
        """Parse the head at ``pos``, or hold what is there of it; returns where it stopped."""
        scanned = self._scanned if pos == 0 else 0  # a predicted head may have come before
        while data.startswith(b"\r\n", pos):
            pos += 2  # some clients end a body with an empty line more
            scanned = 0
        end = data.find(b"\r\n\r\n", pos + max(scanned - 3, 0))
        length = (len(data) if end < 0 else end + 4) - pos
        if length > HEAD_BYTES_MAX:
            raise PeerProtocolError(f"request head is larger than {HEAD_BYTES_MAX} bytes")
        if end < 0:
            if data.startswith(_TLS_HELLO, pos):
                # Who expects TLS here waits for an answer to its greeting, not for the end of it.
                raise PeerProtocolError("request is not HTTP: it is TLS, this port is plain")
            self._held = data[pos:]
            self._scanned = length
            return len(data)
        self._scanned = 0
        self._begin(self._memory.parse(data[pos : end + 4]))
        return end + 4

    def _begin(self, head: RequestHead) -> None:
        limit = self._message_bytes_max if head.is_message else sys.maxsize
        if head.body_bytes > limit:
            raise PeerProtocolError(f"body is larger than {limit} bytes", 413)
        self._head = head
        if not head.is_message:
            self._sink.on_request(head)
        if head.is_chunked:
            self._body = _ChunkedBody(self._memory, limit, self.chunk_line_bytes_max)
        elif head.body_bytes:
            self._body = _SizedBody(head.body_bytes, limit)
        else:
            self._end(head, b"")

    def _feed_body(self, body: _Body, data: bytes, pos: int) -> int:
        head = self._head
        if head is None:  # a body is only read for a head
            raise PeerProtocolError("body without a request")
        start = pos
        pos, is_complete = body.feed(data, pos)
        if not head.is_message:
            body.parts.clear()
            self._sink.on_request_bytes(data[start:pos])
        if is_complete:
            self._body = None
            parts = body.parts
            self._end(head, parts[0] if len(parts) == 1 else b"".join(parts))
        return pos

    def _end(self, head: RequestHead, body: bytes) -> None:
        self._head = None
        if not head.is_message:
            self._sink.on_request_end()
            return
        if head.is_gzipped:
            body = _gunzip(body, self._message_bytes_max)
        elif (head.is_chunked or not head.body_bytes) and head.keep_alive and not head.headers:
            self._predicted = head
        self._sink.on_message(head, body)


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    """Decompress a message body.

    Raises:
        PeerProtocolError: not gzip, cut short, or larger than ``bytes_max`` when unpacked.
    """
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise PeerProtocolError(f"failed to decode body: {error}", 500) from error
    if len(plain) > bytes_max:
        raise PeerProtocolError(f"body is larger than {bytes_max} bytes", 413)
    if not decompressor.eof:
        raise PeerProtocolError("failed to decode body: gzip data is cut short", 500)
    return plain


__all__ = [
    "ACCEPTED",
    "HEAD_BYTES_MAX",
    "NOT_FOUND",
    "TRACE_HEADERS",
    "HeadMemory",
    "MessageEncoder",
    "RequestHead",
    "RequestReader",
    "RequestSink",
    "encode_head",
    "encode_message",
    "parse_head",
    "travels",
]
