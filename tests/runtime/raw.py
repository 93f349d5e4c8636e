"""The other end of the wire without our library: raw sockets that say and write down bytes."""

import asyncio
import contextlib
import re
import socket
import struct

from actorproc import Address
from tests.runtime.support import eventually, within

FROM = "Libprocess-From: raw@127.0.0.1:1\r\n"
AGENT = "User-Agent: libprocess/raw@127.0.0.1:1\r\n"


def post(path, body=b"", *, headers=FROM, version="1.1"):
    """A message with a Content-Length, as foreign clients send it."""
    return (
        f"POST {path} HTTP/{version}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def get(path, *, headers="Host: x\r\n", version="1.1"):
    return f"GET {path} HTTP/{version}\r\n{headers}\r\n".encode()


_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) ([^\r\n]+)\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Answer:
    """One HTTP answer: `status`, `reason`, `headers` (names in lower case), `body`."""

    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def __repr__(self):
        return f"<{self.status} {self.body!r}>"


async def read_answer(reader):
    """Read one answer; None at the end of the connection."""
    try:
        head = await within(reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise AssertionError(f"half an answer: {error.partial!r}") from error
        return None
    match = _ANSWER.fullmatch(head)
    assert match, head
    lines = [line.split(": ", 1) for line in match[3].decode().splitlines()]
    headers = {name.lower(): value for name, value in lines}
    if headers.get("transfer-encoding") == "chunked":
        body = await read_chunks(reader)
    else:
        body = await within(reader.readexactly(int(headers.get("content-length", 0))))
    return Answer(int(match[1]), match[2].decode(), headers, body)


async def read_chunks(reader):
    body = b""
    while size := int(await within(reader.readuntil(b"\r\n")), 16):
        body += await within(reader.readexactly(size))
        assert await within(reader.readexactly(2)) == b"\r\n"
    assert await within(reader.readexactly(2)) == b"\r\n"
    return body


async def read_answers(reader, count):
    return [await read_answer(reader) for _ in range(count)]


async def read_to_end(reader):
    """Everything until the peer closes."""
    return await within(reader.read())


def reset_on_close(writer):
    """Make closing send RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection(asyncio.Protocol):
    """One connection that a `RawPeer` accepted."""

    def __init__(self, peer):
        self.peer = peer
        self.data = bytearray()
        self.has_ended = False  # the other side sent its end
        self.is_lost = False
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        if not self.peer.reads_at_once:
            # Not here: some versions of asyncio begin to read only after this callback.
            asyncio.get_running_loop().call_soon(transport.pause_reading)
        self.peer.connections.append(self)

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.has_ended = True
        return not self.peer.closes_at_end

    def connection_lost(self, exc):
        self.is_lost = True

    @property
    def names(self):
        """Paths of the messages that came over this connection."""
        return re.findall(r"^POST (\S+) HTTP", self.data.decode(errors="replace"), re.MULTILINE)


class RawPeer:
    """A listening socket at a PID's address that never answers."""

    def __init__(self, *, reads_at_once=True, closes_at_end=True):
        self.reads_at_once = reads_at_once
        self.closes_at_end = closes_at_end
        self.connections = []
        self.address = Address("", 0)

    async def __aenter__(self):
        await self.listen(0)
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def listen(self, port):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port)
        self.address = Address(*self.server.sockets[0].getsockname())

    async def close(self):
        """Stop listening and break every connection, as when the peer is killed."""
        self.server.close()
        for connection in self.connections:
            connection.transport.abort()
        await eventually(lambda: all(connection.is_lost for connection in self.connections))

    async def wait_connections(self, count):
        await eventually(lambda: len(self.connections) >= count)
        return self.connections


@contextlib.asynccontextmanager
async def connected(runtime):
    """Asyncio streams to a runtime."""
    reader, writer = await asyncio.open_connection(
        runtime.address.ip, runtime.address.port, limit=2**22
    )
    try:
        yield reader, writer
    except BaseException:
        writer.transport.abort()  # what is not written may never be read
        raise
    writer.close()
    with contextlib.suppress(OSError):
        await within(writer.wait_closed())
