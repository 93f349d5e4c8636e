"""Pipes. Source: actor-runtime.md §9, behaviour 96."""

import asyncio

import pytest

from actorproc.http import BrokenPipe, ClosedPipe, Pipe
from actorproc.http.pipe import DRAINED_BYTES
from tests.runtime.support import within

pytestmark = pytest.mark.asyncio


async def test_b096_pieces_come_as_written_then_the_end_for_ever():
    pipe = Pipe()
    assert pipe.writer.write(b"one")
    assert pipe.writer.write(b"")  # ignored
    assert pipe.writer.write(bytearray(b"two"))
    assert pipe.writer.close()
    assert [await pipe.reader.read() for _ in range(4)] == [b"one", b"two", b"", b""]


async def test_b096_after_close_nothing_more_can_be_written():
    pipe = Pipe()
    assert pipe.writer.close()
    assert not pipe.writer.write(b"late")
    assert not pipe.writer.close()
    assert not pipe.writer.fail("late")
    assert await pipe.reader.read() == b""


async def test_b096_a_reader_waits_for_what_is_written():
    pipe = Pipe()
    reads = [asyncio.create_task(pipe.reader.read()) for _ in range(4)]
    await asyncio.sleep(0)
    pipe.writer.write(b"one")
    pipe.writer.write(b"two")
    pipe.writer.close()
    assert await within(asyncio.gather(*reads)) == [b"one", b"two", b"", b""]


async def test_b096_failing_gives_the_data_first_and_then_the_failure():
    pipe = Pipe()
    pipe.writer.write(b"half")
    assert pipe.writer.fail("no more")
    assert not pipe.writer.close()
    assert await pipe.reader.read() == b"half"
    for _ in range(2):
        with pytest.raises(BrokenPipe, match="no more"):
            await pipe.reader.read()


async def test_b096_failing_reaches_waiting_readers():
    pipe = Pipe()
    read = asyncio.create_task(pipe.reader.read())
    await asyncio.sleep(0)
    pipe.writer.fail("no more")
    with pytest.raises(BrokenPipe, match="no more"):
        await within(read)


async def test_b096_closing_the_reader_drops_what_is_unread_and_tells_the_writer():
    pipe = Pipe()
    pipe.writer.write(b"unread")
    assert not pipe.writer.reader_closed.done()
    assert pipe.reader.close()
    assert not pipe.reader.close()
    await within(pipe.writer.reader_closed)
    assert pipe.writer.unread_bytes == 0
    assert not pipe.writer.write(b"more")
    with pytest.raises(ClosedPipe):
        await pipe.reader.read()


async def test_b096_the_writer_is_not_told_when_it_ended_first():
    for end in (lambda writer: writer.close(), lambda writer: writer.fail("x")):
        pipe = Pipe()
        end(pipe.writer)
        pipe.reader.close()
        assert pipe.writer.reader_closed.cancelled()
        with pytest.raises(ClosedPipe):
            await pipe.reader.read()


async def test_b096_closing_reaches_waiting_readers():
    pipe = Pipe()
    read = asyncio.create_task(pipe.reader.read())
    await asyncio.sleep(0)
    pipe.reader.close()
    with pytest.raises(ClosedPipe):
        await within(read)


async def test_read_all_and_iteration():
    for collect in (lambda reader: reader.read_all(), _joined):
        pipe = Pipe()
        pipe.writer.write(b"one")
        pipe.writer.write(b"two")
        pipe.writer.close()
        assert await collect(pipe.reader) == b"onetwo"


async def _joined(reader):
    return b"".join([piece async for piece in reader])


async def test_a_reader_that_gives_up_loses_nothing():
    pipe = Pipe()
    given_up = asyncio.create_task(pipe.reader.read())
    await asyncio.sleep(0)
    pipe.writer.write(b"one")  # handed over to it
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    pipe.writer.write(b"two")
    assert [await within(pipe.reader.read()) for _ in range(2)] == [b"one", b"two"]


async def test_a_pipe_whose_reader_falls_behind_fails():
    pipe = Pipe(bytes_max=10)
    assert pipe.writer.write(b"x" * 10)
    assert not pipe.writer.write(b"y")
    assert not pipe.writer.is_open
    assert await pipe.reader.read() == b"x" * 10
    with pytest.raises(BrokenPipe, match="more than 10 bytes behind"):
        await pipe.reader.read()


async def test_drain_waits_for_the_reader():
    pipe = Pipe()
    assert pipe.writer.drain().done()
    pipe.writer.write(b"x" * DRAINED_BYTES)
    pipe.writer.write(b"y")
    drained = pipe.writer.drain()
    assert not drained.done()
    await pipe.reader.read()
    await within(drained)
    pipe.writer.write(b"x" * (DRAINED_BYTES + 1))
    drained = pipe.writer.drain()
    pipe.reader.close()
    await within(drained)
