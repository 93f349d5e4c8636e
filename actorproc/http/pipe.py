"""Pipe: bytes from one writer to one reader, for bodies that are made while they are sent.

    writer: open ── close ──> closed       (the reader gets what was written, then b"" for ever)
                 └─ fail ───> failed       (what was written, then BrokenPipe)
    reader: open ── close ──> closed       (what was written is dropped; the writer is told)

Source: actor-runtime.md §9 row Pipe, behaviour 96. Differs: libprocess pipes grow without limit;
here a pipe whose reader falls behind by ``bytes_max`` fails, so that one slow client of an event
stream cannot fill the memory. A writer that prefers to wait awaits ``drain`` after each write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from actorproc.http.errors import BrokenPipe, ClosedPipe

PIPE_BYTES_MAX: Final = 64 * 1024 * 1024  # unread bytes, beyond which a pipe fails
DRAINED_BYTES: Final = 256 * 1024  # ``drain`` returns when no more than this is unread


class Pipe:
    """A writer and a reader that belong together; made while the event loop runs.

    Args:
        bytes_max: unread bytes the pipe holds at most.
    """

    def __init__(self, bytes_max: int = PIPE_BYTES_MAX) -> None:
        state = _State(bytes_max)
        self.writer = PipeWriter(state)
        self.reader = PipeReader(state)


class _State:
    """What both ends share."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.pieces: deque[bytes] = deque()
        self.bytes = 0
        self.is_writer_open = True
        self.failure: str | None = None
        self.is_reader_open = True
        self.reads: deque[asyncio.Future[bytes]] = deque()  # only while there are no pieces
        self.drains: list[asyncio.Future[None]] = []
        self.reader_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hand_over(self, piece: bytes) -> bool:
        """Give a piece to the reader that has waited longest; False when none waits."""
        while self.reads:
            waiting = self.reads.popleft()
            if not waiting.done():
                waiting.set_result(piece)
                return True
        return False

    def end_reads(self, error: BaseException | None) -> None:
        """Tell every waiting reader that nothing more comes."""
        for waiting in self.reads:
            if waiting.done():
                continue
            if error is None:
                waiting.set_result(b"")
            else:
                waiting.set_exception(error)
        self.reads.clear()

    def wake_drained(self) -> None:
        if self.bytes > DRAINED_BYTES and self.is_reader_open and self.is_writer_open:
            return
        for waiting in self.drains:
            if not waiting.done():
                waiting.set_result(None)
        self.drains.clear()


class PipeWriter:
    """The end that is written to."""

    def __init__(self, state: _State) -> None:
        self._state = state

    def write(self, data: bytes) -> bool:
        """Write; nothing happens for empty data.

        Returns:
            False when either end is closed, or when this write overflowed (and failed) the pipe.
        """
        state = self._state
        if not (state.is_writer_open and state.is_reader_open):
            return False
        if not data:
            return True
        if state.bytes + len(data) > state.bytes_max:
            self.fail(f"the reader is more than {state.bytes_max} bytes behind")
            return False
        data = bytes(data)
        if not state.hand_over(data):
            state.pieces.append(data)
            state.bytes += len(data)
        return True

    def drain(self) -> asyncio.Future[None]:
        """A future that is done when the reader has caught up, or either end is closed."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._state.drains.append(waiting)
        self._state.wake_drained()
        return waiting

    def close(self) -> bool:
        """End: the reader gets what was written, then ``b""``. False when ended before."""
        return self._end(None)

    def fail(self, reason: str) -> bool:
        """Break off: the reader gets what was written, then ``BrokenPipe(reason)``.

        False when ended before.
        """
        return self._end(reason)

    def _end(self, failure: str | None) -> bool:
        state = self._state
        if not state.is_writer_open:
            return False
        state.is_writer_open = False
        state.failure = failure
        if state.is_reader_open:
            state.reader_closed.cancel()  # nobody can learn anything from it any more
        state.end_reads(None if failure is None else BrokenPipe(failure))
        state.wake_drained()
        return True

    @property
    def is_open(self) -> bool:
        """True while writes are taken."""
        return self._state.is_writer_open and self._state.is_reader_open

    @property
    def unread_bytes(self) -> int:
        return self._state.bytes

    @property
    def reader_closed(self) -> asyncio.Future[None]:
        """Done when the reader was closed first; cancelled when the writer ended first."""
        return self._state.reader_closed


class PipeReader:
    """The end that is read from; ``async for piece in reader`` reads to the end."""

    def __init__(self, state: _State) -> None:
        self._state = state

    async def read(self) -> bytes:
        """The next piece as it was written; ``b""`` at the end, for ever.

        Raises:
            BrokenPipe: the writer failed the pipe, and everything before has been read.
            ClosedPipe: this reader was closed.
        """
        state = self._state
        if not state.is_reader_open:
            raise ClosedPipe("the reader of the pipe is closed")
        if state.pieces:
            piece = state.pieces.popleft()
            state.bytes -= len(piece)
            state.wake_drained()
            return piece
        if state.failure is not None:
            raise BrokenPipe(state.failure)
        if not state.is_writer_open:
            return b""
        return await self._wait()

    async def _wait(self) -> bytes:
        state = self._state
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        state.reads.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            has_piece = waiting.done() and not waiting.cancelled() and not waiting.exception()
            if has_piece and (piece := waiting.result()) and not state.hand_over(piece):
                state.pieces.appendleft(piece)  # it is not lost with this reader
                state.bytes += len(piece)
            raise

    async def read_all(self) -> bytes:
        """Everything to the end; raises as ``read``."""
        return b"".join([piece async for piece in self])

    def close(self) -> bool:
        """Read no more: what is unread is dropped, the writer is told. False when closed before."""
        state = self._state
        if not state.is_reader_open:
            return False
        state.is_reader_open = False
        state.pieces.clear()
        state.bytes = 0
        if state.is_writer_open and not state.reader_closed.done():
            state.reader_closed.set_result(None)
        state.end_reads(ClosedPipe("the reader of the pipe is closed"))
        state.wake_drained()
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece


__all__ = ["DRAINED_BYTES", "PIPE_BYTES_MAX", "Pipe", "PipeReader", "PipeWriter"]
