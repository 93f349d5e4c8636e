"""Raw baselines: the same HTTP messages with asyncio and httptools alone, written from scratch.

No actors, no limits, no error handling: the ceiling that the product is divided by, on the same
event loop and with the same parser.

- "raw": every request goes through httptools; messages of one turn of the loop leave in one write.
- "raw predicted": per connection the next head is guessed to equal the last one; httptools parses
  only what differs.
- "frames": a four-byte length before each body, no HTTP at all.
- "stream": bytes alone, for bandwidth.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from typing import Any

import httptools

ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
)
MIB = 1024 * 1024
END = b"\r\n0\r\n\r\n"


def head_of(name: str, sender: str, to: str) -> bytes:
    return (
        f"POST /{to.partition('@')[0]}/{name} HTTP/1.1\r\n"
        f"User-Agent: libprocess/{sender}\r\nLibprocess-From: {sender}\r\n"
        f"Connection: Keep-Alive\r\nHost: {to.partition('@')[2]}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()


class CorkedConnection(asyncio.Protocol):
    """Outgoing: joins the messages of one turn of the loop into one write."""

    def __init__(self) -> None:
        self._queue: list[bytes] = []
        self._is_paused = False
        self._is_scheduled = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        pass

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def send(self, data: bytes) -> None:
        self._queue.append(data)
        if not self._is_scheduled and not self._is_paused:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        if not self._is_paused and self._queue:
            queue, self._queue = self._queue, []
            self._transport.write(b"".join(queue))


class ParsedReceiver(asyncio.Protocol):
    """Incoming: every byte through httptools; one write of 202s a read."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._owed = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0]
        self._body.clear()
        self._owed += 1
        self._peer.on_message(body)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._transport.write(ACCEPTED * self._owed)
        self._owed = 0


class PredictedReceiver(asyncio.Protocol):
    """Incoming: a head equal to the last one is not parsed."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._head = b""
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        pos, end, owed = 0, len(data), 0
        on_message = self._peer.on_message
        head = self._head
        while pos < end:
            if not head or not data.startswith(head, pos):
                stop = data.find(b"\r\n\r\n", pos)
                if stop < 0:
                    break
                head = data[pos : stop + 4]
                httptools.HttpRequestParser(self).feed_data(head)
                self._head = head
            start = pos + len(head)
            line_end = data.find(b"\r\n", start)
            if line_end < 0:
                break
            body_end = line_end + 2 + int(data[start:line_end], 16)
            if end < body_end + 7:
                break
            on_message(data[line_end + 2 : body_end])
            owed += 1
            pos = body_end + 7
        self._rest = data[pos:]
        self._transport.write(ACCEPTED * owed)


class FramedReceiver(asyncio.Protocol):
    """Incoming: length-prefixed frames, no answers."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        pos, end = 0, len(data)
        while pos + 4 <= end:
            (size,) = struct.unpack_from(">I", data, pos)
            if pos + 4 + size > end:
                break
            self._peer.on_message(data[pos + 4 : pos + 4 + size])
            pos += 4 + size
        self._rest = data[pos:]


class StreamReceiver(asyncio.Protocol):
    """Incoming: nothing but bytes; every MiB counts as one message."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        while self._bytes >= MIB:
            self._bytes -= MIB
            self._peer.on_message(b"")


RECEIVERS: dict[str, type[Any]] = {
    "raw": ParsedReceiver,
    "raw_predicted": PredictedReceiver,
    "frames": FramedReceiver,
    "stream": StreamReceiver,
}


class RawPeer:
    """One side of a raw benchmark; the interface of ``benchmarks.peers``."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._expected = 0
        self._received = 0
        self._first_s = 0.0
        self._answer_to: CorkedConnection | None = None
        self._connections: dict[str, CorkedConnection] = {}

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        receiver = RECEIVERS[self._kind]
        self._server = await loop.create_server(lambda: receiver(self), "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.address

    async def _connect(self, address: str) -> CorkedConnection:
        if address not in self._connections:
            ip, _, port = address.partition(":")
            _, connection = await asyncio.get_running_loop().create_connection(
                CorkedConnection, ip, int(port)
            )
            self._connections[address] = connection
        return self._connections[address]

    def _encode(self, head: bytes, body: bytes) -> bytes:
        if self._kind == "stream":
            return body
        if self._kind == "frames":
            return struct.pack(">I", len(body)) + body
        return b"%b%x\r\n%b%b" % (head, len(body), body, END)

    # What is measured.

    def expect(self, count: int) -> None:
        self._expected, self._received = count, 0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def received(self) -> float:
        return await self._done

    async def answer_asks_from(self, address: str) -> None:
        self._answer_to = await self._connect(address)
        self._answer_head = head_of("answer", f"b@{self.address}", f"a@{address}")

    async def send(self, to: str, count: int, size: int) -> None:
        connection = await self._connect(to)
        head, body = head_of("m", f"a@{self.address}", f"b@{to}"), b"x" * size
        for number in range(count):
            connection.send(self._encode(head, body))
            if number % 1000 == 999 or size >= MIB:
                await asyncio.sleep(0)

    async def ask(self, to: str, count: int, in_flight: int, size: int) -> list[float]:
        connection = await self._connect(to)
        head, body = head_of("ask", f"a@{self.address}", f"b@{to}"), b"x" * size
        loop = asyncio.get_running_loop()
        latencies: list[float] = []

        async def asker() -> None:
            for _ in range(count // in_flight):
                answer: asyncio.Future[None] = loop.create_future()
                self._waiting.append(answer)
                start_s = time.perf_counter()
                connection.send(self._encode(head, body))
                await answer
                latencies.append(time.perf_counter() - start_s)

        await asyncio.gather(*(asker() for _ in range(in_flight)))
        return latencies

    def on_message(self, body: bytes) -> None:
        if self._waiting:
            self._waiting.popleft().set_result(None)
        elif self._answer_to is not None:
            self._answer_to.send(self._encode(self._answer_head, body))
        else:
            if self._received == 0:
                self._first_s = time.perf_counter()
            self._received += 1
            if self._received == self._expected:
                self._done.set_result(time.perf_counter() - self._first_s)


__all__ = ["CorkedConnection", "RawPeer"]
