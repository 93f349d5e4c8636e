"""Answers of an HTTP server, from the bytes of one connection. Sans-IO.

    feed(bytes) ──┬─ head ───────> sink.on_head(ResponseHead); it says what was asked
                  ├─ body ───────> sink.on_body(bytes)
                  └─ end ────────> sink.on_end()
    feed_eof() ──── the end of a body without a length, else PeerProtocolError

httptools checks the head. Bodies are framed here, because the answer to HEAD announces a length and
has none, and an answer without a length ends with the connection. Source: behaviours 93, 102, 111.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

import httptools

from actorproc.errors import PeerProtocolError

HEAD_BYTES_MAX: Final = 80 * 1024
CHUNK_LINE_BYTES_MAX: Final = 4096
TRAILER_BYTES_MAX: Final = 8 * 1024
STATUS_MAX: Final = 599

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """Head of an answer.

    Attributes:
        status: 200 to 599; interim answers (1xx) are skipped.
        reason: what follows the status.
        headers: (name, value) in their order, names as they came.
        keeps_connection: False when the connection closes after this answer.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    keeps_connection: bool

    def header(self, name: str) -> str | None:
        """The last value of a header, whatever the case of its name."""
        wanted = name.lower()
        values = [value for given, value in self.headers if given.lower() == wanted]
        return values[-1] if values else None


class ResponseSink(Protocol):
    """What a ``ResponseReader`` reports to."""

    def is_bodiless(self) -> bool | None:
        """Whether the next answer has no body (HEAD was asked); None when none is expected."""
        ...

    def on_head(self, head: ResponseHead) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...


class _Head:
    """Callbacks of httptools for one head."""

    def __init__(self) -> None:
        self.reason = b""
        self.headers: list[tuple[str, str]] = []
        self.is_complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


class ResponseReader:
    """Turns the bytes of one connection into answers.

    Args:
        sink: is told of them, in order.
    """

    def __init__(self, sink: ResponseSink) -> None:
        self._sink = sink
        self._held = b""
        self._state = "head"  # head, sized, chunk size, chunk, chunk end, trailer, until eof
        self._left = 0
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            PeerProtocolError: they are not an answer that is accepted.
        """
        data = self._held + data
        self._held = b""
        position = 0
        while position < len(data):
            before = (position, self._state)
            if self._state == "head":
                position = self._feed_head(data, position)
            elif self._state in ("sized", "chunk"):
                position = self._feed_piece(data, position)
            elif self._state == "until eof":
                self._sink.on_body(data[position:])
                return
            else:
                position = self._feed_line(data, position)
            if before == (position, self._state):
                self._held = data[position:]
                return

    def feed_eof(self) -> None:
        """The connection has ended.

        Raises:
            PeerProtocolError: in the middle of an answer.
        """
        if self._state == "until eof":
            self._end()
        elif self._state != "head":
            raise PeerProtocolError("the connection ended in the middle of a body")
        elif self._held:
            raise PeerProtocolError("the connection ended in the middle of a head")

    def _feed_head(self, data: bytes, position: int) -> int:
        end = data.find(b"\r\n\r\n", position)
        length = (len(data) if end < 0 else end + 4) - position
        if length > HEAD_BYTES_MAX:
            raise PeerProtocolError(f"answer: its head is larger than {HEAD_BYTES_MAX} bytes")
        if end < 0:
            return position
        is_bodiless = self._sink.is_bodiless()
        if is_bodiless is None:
            raise PeerProtocolError("answer: nothing was asked")
        head = parse_response_head(data[position : end + 4])
        if head.status >= 200:
            self._begin_body(head, is_bodiless)
        return end + 4

    def _begin_body(self, head: ResponseHead, is_bodiless: bool) -> None:
        coding, length = head.header("Transfer-Encoding"), head.header("Content-Length")
        if coding is not None and coding.strip().lower() != "chunked":
            raise PeerProtocolError(f"answer: transfer-encoding {coding[:80]!r} is not 'chunked'")
        if coding is not None and length is not None:
            raise PeerProtocolError("answer: content-length and transfer-encoding exclude another")
        size = _content_length(length)
        self._sink.on_head(head)
        if is_bodiless or head.status in (204, 304):
            self._end()
        elif coding is not None:
            self._state = "chunk size"
        elif size is None:
            self._state = "until eof"
        elif size == 0:
            self._end()
        else:
            self._state, self._left = "sized", size

    def _feed_piece(self, data: bytes, position: int) -> int:
        piece = data[position : position + self._left]
        self._left -= len(piece)
        self._sink.on_body(piece)
        if self._left == 0:
            if self._state == "sized":
                self._end()
            else:
                self._state = "chunk end"
        return position + len(piece)

    def _feed_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\r\n", position)
        if end < 0 or end - position > CHUNK_LINE_BYTES_MAX:
            if len(data) - position > CHUNK_LINE_BYTES_MAX:
                raise PeerProtocolError(f"answer: chunk line longer than {CHUNK_LINE_BYTES_MAX}")
            return position
        line = data[position:end]
        if self._state == "chunk size":
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise PeerProtocolError(f"answer: chunk size {line[:40]!r} is not hexadecimal")
            self._left = int(match[1], 16)
            self._state = "chunk" if self._left else "trailer"
            self._trailer_bytes = 0
        elif self._state == "chunk end":
            if line:
                raise PeerProtocolError(f"answer: {line[:40]!r} after a chunk")
            self._state = "chunk size"
        elif line:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_BYTES_MAX:
                raise PeerProtocolError(f"answer: trailers larger than {TRAILER_BYTES_MAX} bytes")
        else:
            self._end()
        return end + 2

    def _end(self) -> None:
        self._state = "head"
        self._sink.on_end()


def parse_response_head(raw: bytes) -> ResponseHead:
    """Parse the head of an answer, which ends with an empty line.

    Raises:
        PeerProtocolError: it is not HTTP/1, or has a status that HTTP does not know.
    """
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # nobody asked for it: the next bytes tell
    except httptools.HttpParserError as error:
        raise PeerProtocolError(f"answer is not HTTP: {error}") from error
    status = parser.get_status_code()
    if not head.is_complete or not 100 <= status <= STATUS_MAX:
        raise PeerProtocolError(f"answer: status {status} is not one of HTTP")
    headers = tuple(head.headers)
    options = ",".join(value for name, value in headers if name.lower() == "connection").lower()
    named = {option.strip() for option in options.split(",")}
    is_new = parser.get_http_version() == "1.1"
    keeps = "close" not in named if is_new else "keep-alive" in named
    return ResponseHead(status, head.reason.decode("latin-1"), headers, keeps)


def _content_length(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise PeerProtocolError(f"answer: content-length {text[:80]!r} is not a number")
    return int(text)


__all__ = [
    "HEAD_BYTES_MAX",
    "ResponseHead",
    "ResponseReader",
    "ResponseSink",
    "parse_response_head",
]
