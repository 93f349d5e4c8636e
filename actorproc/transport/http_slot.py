"""The place of one ordinary HTTP request among the answers of its connection.

See docs/decisions/0002: to aiohttp a slot is a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from actorproc.errors import BrokenTransport
from actorproc.transport.base import TransportHost

SLOT_BUFFER_BYTES_MAX: Final = 256 * 1024  # an answer that waits its turn pauses its writer here


class SlotConnection(Protocol):
    """What a slot asks of the real connection."""

    @property
    def is_write_paused(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

    def regulate_reading(self) -> None: ...

    def slot_done(self, slot: HttpSlot) -> None:
        """The answer is complete, or given up."""
        ...


class HttpSlot(asyncio.Transport):
    """The place of one ordinary request among the answers of its connection.

    To aiohttp it is a connection of its own which carries a single request. What aiohttp writes
    goes straight to the socket when every earlier answer is written, and waits here until then;
    closing means that the answer is complete.
    """

    def __init__(self, connection: SlotConnection, keeps_connection: bool) -> None:
        super().__init__()
        self._connection = connection
        self._protocol: asyncio.Protocol | None = None
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._is_released = False
        self._is_closed = False
        self._is_protocol_paused = False
        self._is_whole: Callable[[], bool] = lambda: False
        self.keeps_connection = keeps_connection
        self.has_begun = False  # to answer
        self._has_written = False
        self.wants_pause = False  # of the bytes of its request

    def begin(self, host: TransportHost, head: bytes) -> None:
        """Hand the request's head to a protocol that serves it."""
        protocol = host.open_http(self)
        self._protocol = protocol
        protocol.connection_made(self)
        protocol.data_received(head)

    def feed(self, data: bytes) -> None:
        if self._protocol is not None and not self._is_closed:
            self._protocol.data_received(data)

    def lose(self, exc: Exception | None) -> None:
        """The connection is gone, or the request cut off: nobody waits for the answer."""
        if self._is_closed:
            return
        self._is_closed = True
        self.wants_pause = False
        if self.has_begun:
            self.keeps_connection = False  # half an answer: the next one cannot follow it
        self._buffer.clear()
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        self._connection.slot_done(self)

    def begin_answer(self, *, closes: bool, is_whole: Callable[[], bool]) -> None:
        """Tell of the answer that is about to be written.

        Args:
            closes: it says that the connection closes after it.
            is_whole: asked when it ends; after half an answer the connection must close too.
        """
        self.has_begun = True
        self._is_whole = is_whole
        if closes:
            self.keeps_connection = False

    # Its turn among the answers.

    def release(self) -> None:
        self._is_released = True
        while self._buffer:
            self._connection.write(self._buffer.popleft())
        self._buffered_bytes = 0
        self.regulate()

    @property
    def is_complete(self) -> bool:
        return self._is_closed

    def regulate(self) -> None:
        """Pause or resume whoever writes the answer, by what its bytes have to wait for."""
        if self._protocol is None:
            return
        if self._is_released:
            must_pause = self._connection.is_write_paused
        else:
            must_pause = self._buffered_bytes > SLOT_BUFFER_BYTES_MAX
        if must_pause and not self._is_protocol_paused:
            self._protocol.pause_writing()
        elif self._is_protocol_paused and not must_pause:
            self._protocol.resume_writing()
        self._is_protocol_paused = must_pause

    # The transport that aiohttp sees.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closed:
            return
        data = bytes(data)
        if not self._has_written:
            self._has_written = True
            if data.startswith(b"HTTP/1.0 "):  # aiohttp repeats the version of the request
                data = b"HTTP/1.1 " + data[9:]
        if self._is_released:
            self._connection.write(data)
        else:
            self._buffer.append(data)
            self._buffered_bytes += len(data)
            self.regulate()

    def get_write_buffer_size(self) -> int:
        return self._buffered_bytes

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.wants_pause = False
        if not self._is_whole():
            self.keeps_connection = False
        if self._protocol is not None:
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
        self._connection.slot_done(self)

    def abort(self) -> None:
        self.keeps_connection = False
        self.close()

    def is_closing(self) -> bool:
        return self._is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, asyncio.Protocol):
            self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        if self._protocol is None:
            raise BrokenTransport("the request is not being served")
        return self._protocol

    def is_reading(self) -> bool:
        return not self.wants_pause

    def pause_reading(self) -> None:
        self.wants_pause = not self._is_closed
        self._connection.regulate_reading()

    def resume_reading(self) -> None:
        self.wants_pause = False
        self._connection.regulate_reading()

    def can_write_eof(self) -> bool:
        return False

    @property
    def _sendfile_compatible(self) -> object:
        # loop.sendfile() asks for this; aiohttp then sends a file by ordinary writes.
        raise NotImplementedError("an answer that waits its turn cannot use sendfile")


__all__ = ["HttpSlot", "SlotConnection"]
