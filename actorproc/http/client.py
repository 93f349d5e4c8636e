"""HTTP client: one-shot requests, connections that pipeline, and a pool that reuses them.

    connect(url) ─> Connection ─ send(request) ─> future of a Response, answers in order
                      open ── disconnect, the peer closes, ``Connection: close`` ──> disconnected

Answers are whole (``Response.body``) or streamed (``Response.reader``, given out as soon as the
head is there). There are no redirects, cookies or retries. aiohttp's client is not used because it
sends the next request of a connection only after the last answer; whoever needs what it offers
beyond this module can use it directly against any route.
Source: actor-runtime.md §9. Differs: bodies, heads, waiting requests and the time to connect have
limits (``ClientLimits``); a timeout can be given for each request.
"""

from __future__ import annotations

import asyncio
import re
import weakref
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

from multidict import CIMultiDict, CIMultiDictProxy

from actorproc.clock import Clock, RealClock
from actorproc.errors import PeerProtocolError, ProtocolMisuse
from actorproc.http.errors import (
    BrokenConnection,
    BrokenPipe,
    ClosedConnection,
    ClosedPipe,
    ResponseTimeout,
)
from actorproc.http.pipe import DRAINED_BYTES, Pipe, PipeReader
from actorproc.http.response_reader import ResponseHead, ResponseReader
from actorproc.http.url import UNIX_SCHEME, Url
from actorproc.patterns.timing import within

if TYPE_CHECKING:
    from ssl import SSLContext

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Limits of a client.

    Attributes:
        connect_s: how long connecting may take.
        body_bytes_max: body of an answer that is not streamed, after decompression.
        pipelined_max: requests of one connection that wait for their answers.
        idle_connections_max: unused connections a ``Client`` keeps, all servers together.
    """

    connect_s: float = 30.0
    body_bytes_max: int = 64 * 1024 * 1024
    pipelined_max: int = 1000
    idle_connections_max: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask.

    Attributes:
        method: for example ``GET``.
        url: where; its path is sent as given, its query percent-encoded.
        headers: further headers; Host, Content-Length and Transfer-Encoding are made here.
        body: bytes, or a reader whose pieces are sent in chunks as they come.
        keep_alive: False ends the connection after the answer.
    """

    method: str = "GET"
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | PipeReader = b""
    keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP status.
        reason: what follows it.
        headers: names in any case.
        body: the whole body, decompressed; empty when streamed.
        reader: the body as it comes, when streamed.
    """

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes = b""
    reader: PipeReader | None = None

    @property
    def text(self) -> str:
        """The body as UTF-8; bytes that are none are replaced."""
        return self.body.decode(errors="replace")


class Connection:
    """An open connection; see ``connect``. It closes when the last reference to it is dropped."""

    def __init__(self, protocol: _ClientProtocol) -> None:
        self._protocol = protocol
        self._drop = weakref.finalize(self, protocol.close)
        self._drop.atexit = False

    def send(self, request: Request, *, streamed: bool = False) -> asyncio.Future[Response]:
        """Send a request, without waiting for the answers to those before.

        Args:
            request: its URL must lead to the server of this connection.
            streamed: give out the answer when its head is there.

        Returns:
            A future of the answer. ``ClosedConnection``: the connection is closed, or the request
            before was its last. ``BrokenConnection``: the server closed it, said that it would, or
            sent no HTTP.

        Raises:
            ProtocolMisuse: a method, header or path that cannot be sent.
        """
        return self._protocol.send(request, streamed, self)

    def disconnect(self) -> None:
        """Close; answers that have not come fail."""
        self._drop()

    @property
    def disconnected(self) -> asyncio.Future[None]:
        """Done when the connection is closed, by whichever side."""
        return self._protocol.disconnected

    @property
    def is_usable(self) -> bool:
        """True while further requests are taken."""
        return self._protocol.is_usable

    @property
    def is_idle(self) -> bool:
        """True when every answer has come."""
        return self._protocol.is_idle

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()


async def connect(
    url: Url | str,
    *,
    ssl: SSLContext | None = None,
    limits: ClientLimits | None = None,
    clock: Clock | None = None,
) -> Connection:
    """Open a connection to the server of a URL.

    Args:
        url: ``http``, ``https`` or ``http+unix``.
        ssl: for ``https``; by default the system's certificates are trusted.
        limits: see ``ClientLimits``.
        clock: measures them; real time by default.

    Raises:
        BrokenConnection: the server cannot be reached, or not in time.
        InvalidHttpText: the URL is wrong.
        ProtocolMisuse: another scheme.
    """
    url = Url.parse(url) if isinstance(url, str) else url
    limits = limits or ClientLimits()
    clock = clock or RealClock()
    protocol = _ClientProtocol(limits)
    try:
        await within(clock, limits.connect_s, _open(protocol, url, ssl))
    except (OSError, UnicodeError, TimeoutError) as error:
        raise BrokenConnection(f"cannot connect to {url.authority}: {error}") from error
    return Connection(protocol)


async def _open(protocol: _ClientProtocol, url: Url, ssl: SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if url.scheme == UNIX_SCHEME:
        await loop.create_unix_connection(lambda: protocol, url.host)
        return
    if url.scheme == "https":
        from ssl import create_default_context

        ssl = ssl or create_default_context()
    elif url.scheme != "http":
        raise ProtocolMisuse(f"URL scheme {url.scheme!r} must be http, https or {UNIX_SCHEME}")
    else:
        ssl = None
    name = url.host if ssl is not None else None
    await loop.create_connection(
        lambda: protocol, url.host, url.port, ssl=ssl, server_hostname=name
    )


# One connection.


class _Asked:
    """A request that waits for its answer."""

    def __init__(
        self, request: Request, streamed: bool, connection: Connection, body_bytes_max: int
    ) -> None:
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.is_head = request.method == "HEAD"
        self._streamed = streamed
        self._connection: Connection | None = connection  # lives until the answer is whole
        self._body_bytes_max = body_bytes_max
        self._head: ResponseHead | None = None
        self._parts: list[bytes] = []
        self._gathered = 0
        self.pipe: Pipe | None = None

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if not self._streamed:
            return
        if (coding := head.header("Content-Encoding") or "identity").lower() != "identity":
            raise PeerProtocolError(f"answer: a streamed body must be plain, not {coding[:40]}")
        self.pipe = Pipe(bytes_max=2**62)  # the socket is not read while it is full
        if self.answer.done():
            self.pipe.reader.close()
        else:
            self.answer.set_result(_response(head, reader=self.pipe.reader))

    def on_body(self, data: bytes) -> None:
        if self.pipe is not None:
            self.pipe.writer.write(data)
            return
        self._gathered += len(data)
        if self._gathered > self._body_bytes_max:
            raise PeerProtocolError(f"answer: its body is larger than {self._body_bytes_max} bytes")
        if not self.answer.done():  # else nobody wants it
            self._parts.append(data)

    def on_end(self) -> None:
        if self.pipe is not None:
            self.pipe.writer.close()
        elif self._head is not None and not self.answer.done():
            body = b"".join(self._parts)
            if (self._head.header("Content-Encoding") or "").strip().lower() == "gzip" and body:
                body = _gunzip(body, self._body_bytes_max)
            self.answer.set_result(_response(self._head, body))

    def fail(self, error: Exception) -> None:
        if self.pipe is not None:
            self.pipe.writer.fail(str(error))
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # whoever does not look at the answer is not warned about it
        self.release()

    def release(self) -> None:
        """The answer is over: the connection closes if nobody else refers to it."""
        self._connection = None


def _response(head: ResponseHead, body: bytes = b"", reader: PipeReader | None = None) -> Response:
    headers = CIMultiDictProxy(CIMultiDict(head.headers))
    return Response(head.status, head.reason, headers, body, reader)


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise PeerProtocolError(f"answer: its body is not gzip: {error}") from error
    if len(plain) > bytes_max:
        raise PeerProtocolError(f"answer: its body is larger than {bytes_max} bytes")
    if not decompressor.eof:
        raise PeerProtocolError("answer: its gzip body is cut short")
    return plain


class _ClientProtocol(asyncio.Protocol):
    """Writes requests in order, and gives each the answer in its turn."""

    def __init__(self, limits: ClientLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self.disconnected: asyncio.Future[None] = self._loop.create_future()
        self._limits = limits
        self._reader = ResponseReader(self)
        self._transport: asyncio.Transport | None = None
        self._asked: deque[_Asked] = deque()
        self._current: ResponseHead | None = None  # of the answer being read
        self._unsent: deque[tuple[bytes, PipeReader | None]] = deque()
        self._sending: asyncio.Task[None] | None = None  # while a body comes in pieces
        self._writable: asyncio.Future[None] | None = None  # while the socket is full
        self._closed_because: Exception | None = None
        self._has_sent_last = False

    @property
    def is_usable(self) -> bool:
        return self._closed_because is None and not self._has_sent_last

    @property
    def is_idle(self) -> bool:
        return not self._asked and self._sending is None

    def send(
        self, request: Request, streamed: bool, connection: Connection
    ) -> asyncio.Future[Response]:
        head = encode_request_head(request)
        asked = _Asked(request, streamed, connection, self._limits.body_bytes_max)
        if self._closed_because is not None:
            asked.fail(self._closed_because)
        elif self._has_sent_last:
            asked.fail(ClosedConnection("the request before was the last of the connection"))
        elif len(self._asked) >= self._limits.pipelined_max:
            asked.fail(ClosedConnection(f"{len(self._asked)} requests wait for their answers"))
        else:
            self._has_sent_last = not request.keep_alive
            self._asked.append(asked)
            if isinstance(request.body, PipeReader):
                self._write_in_turn(head, request.body)
            else:
                self._write_in_turn(head + request.body, None)
        return asked.answer

    # Writing.

    def _write_in_turn(self, data: bytes, pieces: PipeReader | None) -> None:
        if pieces is None and self._sending is None:
            self._write(data)
            return
        self._unsent.append((data, pieces))
        if self._sending is None:
            self._sending = self._loop.create_task(self._write_unsent())

    async def _write_unsent(self) -> None:
        try:
            while self._unsent:
                data, pieces = self._unsent[0]
                self._write(data)
                if pieces is not None:
                    await self._write_pieces(pieces)
                self._unsent.popleft()
        except (BrokenPipe, ClosedPipe) as error:
            self._end(ClosedConnection(f"the body of a request failed: {error}"))
        finally:
            self._sending = None

    async def _write_pieces(self, pieces: PipeReader) -> None:
        async for piece in pieces:
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if self._writable is not None:
                await self._writable
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # Reading.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        if self._closed_because is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except PeerProtocolError as error:
            self._end(BrokenConnection(error.reason))

    def eof_received(self) -> None:
        try:
            self._reader.feed_eof()
        except PeerProtocolError as error:
            self._end(BrokenConnection(error.reason))
        else:
            self._end(BrokenConnection("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f": {exc}" if exc is not None else ""
        self._end(BrokenConnection(f"the connection is lost{reason}"))
        if not self.disconnected.done():
            self.disconnected.set_result(None)

    def is_bodiless(self) -> bool | None:
        return self._asked[0].is_head if self._asked else None

    def on_head(self, head: ResponseHead) -> None:
        asked = self._asked[0]
        self._current = head
        if not head.keeps_connection:
            self._has_sent_last = True  # what was sent behind it is not answered
        asked.on_head(head)
        if asked.pipe is not None:
            asked.pipe.writer.reader_closed.add_done_callback(self._when_unwanted)

    def on_body(self, data: bytes) -> None:
        asked = self._asked[0]
        asked.on_body(data)
        if asked.pipe is not None and asked.pipe.writer.unread_bytes > DRAINED_BYTES:
            self._wait_for(asked.pipe)

    def on_end(self) -> None:
        asked = self._asked[0]
        asked.on_end()
        self._asked.popleft()
        asked.release()
        if self._current is not None and not self._current.keeps_connection:
            self._end(BrokenConnection("the server closes the connection after an answer"))
        elif self._has_sent_last and not self._asked:
            self._end(ClosedConnection("the last answer of the connection has come"))

    def _when_unwanted(self, reader_closed: asyncio.Future[None]) -> None:
        if not reader_closed.cancelled():
            self._end(ClosedConnection("the reader of an answer was closed"))

    def _wait_for(self, pipe: Pipe) -> None:
        """Read on when who reads the pipe has caught up."""
        transport = self._transport
        if transport is None or transport.is_closing() or not transport.is_reading():
            return
        transport.pause_reading()
        pipe.writer.drain().add_done_callback(self._read_on)

    def _read_on(self, _: asyncio.Future[None]) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()

    # The end.

    def close(self) -> None:
        """Close from this side; also called when the last reference to the connection is gone."""
        if not self._loop.is_closed():
            self._end(ClosedConnection("the connection was closed"))

    def _end(self, reason: Exception) -> None:
        if self._closed_because is not None:
            return
        self._closed_because = reason
        if self._sending is not None and self._sending is not asyncio.current_task(self._loop):
            self._sending.cancel()
        for _, pieces in self._unsent:
            if pieces is not None:
                pieces.close()
        self._unsent.clear()
        while self._asked:
            self._asked.popleft().fail(reason)
        if self._transport is not None:
            self._transport.abort()


def encode_request_head(request: Request) -> bytes:
    """The bytes of a request up to its body.

    Raises:
        ProtocolMisuse: a method, header or path that cannot stand in a head.
    """
    if not _TOKEN.fullmatch(request.method):
        raise ProtocolMisuse(f"method {request.method!r} must be a word")
    target = request.url.target
    if _UNSENDABLE.search(target) or not target.startswith("/"):
        raise ProtocolMisuse(f"path {target[:200]!r} must begin with '/' and have no blanks")
    headers = CIMultiDict(request.headers)
    headers["Host"] = request.url.authority
    headers.popall("Content-Length", None)
    headers.popall("Transfer-Encoding", None)
    if isinstance(request.body, PipeReader):
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers["Content-Length"] = str(len(request.body))
    headers.setdefault("Connection", "keep-alive" if request.keep_alive else "close")
    lines = [f"{request.method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise ProtocolMisuse(f"header {name[:80]!r} or its value has a character it cannot")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()


# One request at a time.

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class Client:
    """Requests that reuse connections: ``async with Client() as client: await client.get(url)``.

    One connection carries one request at a time. A request that fails on a connection which was
    idle before, where the server may have closed it meanwhile, is sent once more on a new one if
    its method may be repeated. Streamed answers have connections of their own.

    Args:
        ssl: for ``https``; by default the system's certificates are trusted.
        limits: see ``ClientLimits``.
        clock: measures them, and timeouts; real time by default.
    """

    def __init__(
        self,
        *,
        ssl: SSLContext | None = None,
        limits: ClientLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._ssl = ssl
        self._limits = limits or ClientLimits()
        self._clock = clock or RealClock()
        self._idle: deque[tuple[tuple[str, str, int], Connection]] = deque()  # oldest first
        self._is_closed = False

    async def get(
        self,
        url: Url | str,
        *,
        headers: Mapping[str, str] | None = None,
        streamed: bool = False,
        timeout_s: float | None = None,
    ) -> Response:
        """Ask for a URL; see ``request``."""
        request = Request(url=_parsed(url), headers=headers or {})
        return await self.request(request, streamed=streamed, timeout_s=timeout_s)

    async def post(
        self,
        url: Url | str,
        body: bytes | str | PipeReader | None = None,
        content_type: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        streamed: bool = False,
        timeout_s: float | None = None,
    ) -> Response:
        """Post a body; see ``request``.

        Raises:
            ProtocolMisuse: a content type without a body.
        """
        request = _post_request(url, body, content_type, headers)
        return await self.request(request, streamed=streamed, timeout_s=timeout_s)

    async def request_delete(
        self,
        url: Url | str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Ask to delete what a URL names; see ``request``."""
        request = Request(method="DELETE", url=_parsed(url), headers=headers or {})
        return await self.request(request, timeout_s=timeout_s)

    async def request(
        self, request: Request, *, streamed: bool = False, timeout_s: float | None = None
    ) -> Response:
        """Send a request and wait for its answer.

        Args:
            request: what to ask.
            streamed: return when the head is there, with a reader that must be read to its end or
                closed; closing it closes the connection.
            timeout_s: seconds until the answer is whole (streamed: until its head is there).

        Raises:
            BrokenConnection: the server cannot be reached, breaks off, or sends no HTTP.
            ResponseTimeout: the time is over.
            ProtocolMisuse: the request cannot be sent, or the client is closed.
        """
        if self._is_closed:
            raise ProtocolMisuse("the client is closed")
        encode_request_head(request)  # what cannot be sent needs no connection
        try:
            return await within(self._clock, timeout_s, self._ask(request, streamed))
        except TimeoutError as error:
            raise ResponseTimeout(f"no answer from {request.url.authority}: {error}") from error

    async def _ask(self, request: Request, streamed: bool) -> Response:
        key = (request.url.scheme, request.url.host, request.url.port)
        if streamed:
            return await self._ask_on(await self._connect(request.url), request, key, streamed)
        idle = self._take_idle(key)
        if idle is not None:
            try:
                return await self._ask_on(idle, request, key, streamed)
            except BrokenConnection:
                if request.method not in _IDEMPOTENT or isinstance(request.body, PipeReader):
                    raise
        return await self._ask_on(await self._connect(request.url), request, key, streamed)

    async def _ask_on(
        self, connection: Connection, request: Request, key: tuple[str, str, int], streamed: bool
    ) -> Response:
        if streamed:
            request = replace(request, keep_alive=False)
        try:
            response = await connection.send(request, streamed=streamed)
        except BaseException:  # also a timeout: the answer may come later, and nobody wants it
            connection.disconnect()
            raise
        if not streamed:
            self._keep(connection, key)
        return response

    async def _connect(self, url: Url) -> Connection:
        return await connect(url, ssl=self._ssl, limits=self._limits, clock=self._clock)

    def _take_idle(self, key: tuple[str, str, int]) -> Connection | None:
        for each in reversed(self._idle):
            if each[0] == key and each[1].is_usable:
                self._idle.remove(each)
                return each[1]
        return None

    def _keep(self, connection: Connection, key: tuple[str, str, int]) -> None:
        if self._is_closed or not connection.is_usable or not connection.is_idle:
            connection.disconnect()
            return
        self._idle.append((key, connection))
        while len(self._idle) > self._limits.idle_connections_max:
            self._idle.popleft()[1].disconnect()

    def close(self) -> None:
        """Close the connections that are not in use; those in use close after their answers."""
        self._is_closed = True
        while self._idle:
            self._idle.popleft()[1].disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _parsed(url: Url | str) -> Url:
    return Url.parse(url) if isinstance(url, str) else url


def _post_request(
    url: Url | str,
    body: bytes | str | PipeReader | None,
    content_type: str | None,
    headers: Mapping[str, str] | None,
) -> Request:
    if content_type is not None and body is None:
        raise ProtocolMisuse("a content type needs a body")
    sent = CIMultiDict(headers or {})
    if content_type is not None:
        sent["Content-Type"] = content_type
    data = body.encode() if isinstance(body, str) else body or b""
    return Request(method="POST", url=_parsed(url), headers=sent, body=data)


async def get(
    url: Url | str,
    *,
    headers: Mapping[str, str] | None = None,
    streamed: bool = False,
    timeout_s: float | None = None,
) -> Response:
    """``Client.get`` on a connection of its own."""
    request_ = Request(url=_parsed(url), headers=headers or {})
    return await request(request_, streamed=streamed, timeout_s=timeout_s)


async def post(
    url: Url | str,
    body: bytes | str | PipeReader | None = None,
    content_type: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    streamed: bool = False,
    timeout_s: float | None = None,
) -> Response:
    """``Client.post`` on a connection of its own."""
    request_ = _post_request(url, body, content_type, headers)
    return await request(request_, streamed=streamed, timeout_s=timeout_s)


async def request_delete(
    url: Url | str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Response:
    """``Client.request_delete`` on a connection of its own."""
    request_ = Request(method="DELETE", url=_parsed(url), headers=headers or {})
    return await request(request_, timeout_s=timeout_s)


async def request(
    request: Request, *, streamed: bool = False, timeout_s: float | None = None
) -> Response:
    """``Client.request`` on a connection of its own, which ends with the answer."""
    async with Client() as client:
        request = replace(request, keep_alive=False)
        return await client.request(request, streamed=streamed, timeout_s=timeout_s)


__all__ = [
    "Client",
    "ClientLimits",
    "Connection",
    "Request",
    "Response",
    "connect",
    "encode_request_head",
    "get",
    "post",
    "request",
    "request_delete",
]
