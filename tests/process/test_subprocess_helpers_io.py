"""Descriptors and watched files. Source: actor-runtime.md §11, behaviours 115 to 117."""

import asyncio
import contextlib
import os
import socket

import pytest

from actorproc import ProtocolMisuse, RealClock, VirtualClock
from actorproc.io import (
    READ,
    WRITE,
    CannotWatch,
    ClosedWatcher,
    FileEvent,
    FileEventKind,
    InvalidDescriptor,
    TooMuchData,
    Watcher,
    poll,
    read,
    read_all,
    redirect,
    write,
    write_some,
)
from actorproc.io import descriptors as descriptors_module
from actorproc.io import watcher as watcher_module
from tests.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


async def within(awaitable, within_s=30):
    async with asyncio.timeout(within_s):
        return await awaitable


class Pipe:
    """A pipe with non-blocking ends."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self.writing, False)

    def close(self):
        for fd in (self.reading, self.writing):
            with contextlib.suppress(OSError):  # the test has closed it
                os.close(fd)


@pytest.fixture
def pipe(_no_descriptor_left):
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def other_pipe(_no_descriptor_left):
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture(autouse=True)
def _no_descriptor_left():
    before = set(os.listdir("/proc/self/fd"))
    yield
    left = set(os.listdir("/proc/self/fd")) - before
    assert not {fd for fd in left if os.path.lexists(f"/proc/self/fd/{fd}")}


async def started(awaitable):
    """A task that has taken its first steps, up to where it waits."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Reading.


async def test_b115_a_cancelled_read_swallows_nothing(pipe):
    reading = await started(read(pipe.reading, 100))
    await cancelled(reading)
    os.write(pipe.writing, b"hello")
    assert await within(read(pipe.reading, 3)) == b"hel"
    assert await within(read(pipe.reading, 100)) == b"lo"


async def test_b115_a_read_cancelled_when_bytes_have_come_swallows_nothing(pipe):
    for _ in range(20):
        reading = await started(read(pipe.reading, 100))
        os.write(pipe.writing, b"hello")
        await cancelled(reading)
        assert await within(read(pipe.reading, 100)) == b"hello"


async def test_b115_a_cancelled_read_to_the_end_leaves_what_it_gathered(pipe):
    gathered = bytearray()
    os.write(pipe.writing, b"one ")
    reading = await started(read_all(pipe.reading, into=gathered))
    await until(lambda: gathered, "the first bytes are read")
    await cancelled(reading)
    os.write(pipe.writing, b"two")
    os.close(pipe.writing)
    assert await within(read_all(pipe.reading, into=gathered)) == b"two"
    assert gathered == b"one two"


@pytest.mark.parametrize(
    "call",
    [
        lambda fd: read(fd, 1),
        read_all,
        lambda fd: write(fd, b"x"),
        lambda fd: write_some(fd, b"x"),
        lambda fd: redirect(fd, None),
    ],
)
async def test_b115_blocking_and_closed_descriptors_are_refused(call):
    fds = os.pipe()
    for fd in fds:
        with pytest.raises(InvalidDescriptor, match=f"descriptor {fd} is blocking"):
            await call(fd)
        os.close(fd)
        with pytest.raises(InvalidDescriptor, match=f"descriptor {fd} is not open"):
            await call(fd)
    with pytest.raises(InvalidDescriptor):
        await call(-1)


async def test_b116_both_descriptors_of_a_redirection_are_checked(pipe):
    fds = os.pipe()
    with pytest.raises(InvalidDescriptor, match="blocking"):
        await redirect(pipe.reading, fds[1])
    for fd in fds:
        os.close(fd)
    with pytest.raises(InvalidDescriptor, match="not open"):
        await redirect(pipe.reading, fds[1])


async def test_a_closed_descriptor_cannot_be_polled():
    fds = os.pipe()
    for fd in fds:
        os.close(fd)
    with pytest.raises(InvalidDescriptor):
        await poll(fds[0], READ)


async def test_two_may_wait_on_one_descriptor(pipe):
    readers = [await started(read(pipe.reading, 2)) for _ in range(2)]
    os.write(pipe.writing, b"abcd")
    assert sorted(await within(asyncio.gather(*readers))) == [b"ab", b"cd"]


async def test_a_descriptor_closed_under_a_reader_is_not_mistaken_for_its_successor(pipe):
    reading = await started(read(pipe.reading, 100))
    os.close(pipe.reading)
    successor, successor_writing = os.pipe()
    assert successor == pipe.reading  # numbers are given out again
    os.write(successor_writing, b"not yours")
    os.write(pipe.writing, b"yours")
    assert await within(reading) == b"yours"
    os.close(successor_writing)


async def test_b117_the_end_of_a_stream_reads_as_nothing(pipe):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reading = await started(read(ours.fileno(), 10))
        theirs.close()
        assert await within(reading) == b""
        assert await within(read(ours.fileno(), 10)) == b""
        with pytest.raises(OSError):  # no endless retry
            await within(write(ours.fileno(), b"x" * 1_000_000))


async def test_a_pipe_that_nobody_reads_breaks(pipe):
    os.close(pipe.reading)
    with pytest.raises(BrokenPipeError):
        await within(write(pipe.writing, b"x"))


async def test_a_limit_for_reading_to_the_end(pipe):
    os.write(pipe.writing, b"12345")
    with pytest.raises(TooMuchData, match="bytes_max = 4"):
        await within(read_all(pipe.reading, bytes_max=4))


@pytest.mark.parametrize(
    "call", [lambda fd: read(fd, 0), lambda fd: redirect(fd, None, chunk_bytes=0)]
)
async def test_sizes_out_of_range_are_refused(call, pipe):
    with pytest.raises(ProtocolMisuse, match="must be at least 1"):
        await call(pipe.reading)


# Writing, polling.


async def test_more_than_a_pipe_holds_is_written_as_it_is_read(pipe):
    sent = bytes(range(256)) * 4_000
    writing = await started(write(pipe.writing, sent))
    assert not writing.done()
    received = bytearray()
    while len(received) < len(sent):
        received += await within(read(pipe.reading, 50_000))
    await within(writing)
    assert received == sent


async def test_a_cancelled_write_of_some_has_written_nothing(pipe):
    filled = await write_some(pipe.writing, b"x" * 10_000_000)
    assert 0 < filled < 10_000_000
    await cancelled(await started(write_some(pipe.writing, b"y" * 100)))
    os.close(pipe.writing)
    assert await within(read_all(pipe.reading)) == b"x" * filled


async def test_polling_tells_what_is_ready(pipe):
    assert await within(poll(pipe.writing, WRITE)) == WRITE
    assert await within(poll(pipe.writing, READ | WRITE)) == WRITE
    waiting = await started(poll(pipe.reading, READ))
    assert not waiting.done()
    os.write(pipe.writing, b"x")
    assert await within(waiting) == READ
    assert os.read(pipe.reading, 10) == b"x"  # nothing was taken
    await cancelled(await started(poll(pipe.reading, READ)))


async def test_polling_leaves_a_blocking_descriptor_blocking():
    reading, writing = os.pipe()
    waiting = await started(poll(reading, READ))
    assert os.get_blocking(reading)
    os.write(writing, b"x")
    assert await within(waiting) == READ
    assert os.get_blocking(reading)
    os.close(reading)
    os.close(writing)


async def test_a_regular_file_is_always_ready(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        assert await within(poll(file.fileno(), READ)) == READ
        await within(write(file.fileno(), b"text"))
        file.seek(0)
        assert await within(read_all(file.fileno())) == b"text"


# Redirecting.


async def test_b116_a_redirection_ends_at_the_end_with_file_and_hook_complete(pipe, tmp_path):
    sent = os.urandom(1024 * 1024)
    seen = []
    target = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    redirecting = await started(redirect(pipe.reading, target, hooks=[seen.append]))
    os.close(pipe.reading)
    os.close(target)
    writing = asyncio.ensure_future(write(pipe.writing, sent))
    await within(writing)
    assert not redirecting.done()
    os.close(pipe.writing)
    assert await within(redirecting) == len(sent)
    assert (tmp_path / "out").read_bytes() == b"".join(seen) == sent
    assert max(map(len, seen)) <= 4096


async def test_a_redirection_to_nowhere_still_shows_its_chunks(pipe):
    seen = []
    redirecting = await started(redirect(pipe.reading, None, chunk_bytes=2, hooks=[seen.append]))
    os.write(pipe.writing, b"abcde")
    os.close(pipe.writing)
    assert await within(redirecting) == 5
    assert seen == [b"ab", b"cd", b"e"]


async def test_a_cancelled_redirection_has_moved_whole_chunks(pipe, other_pipe):
    filled = await write_some(other_pipe.writing, b"-" * 10_000_000)
    os.write(pipe.writing, b"a" * 4096)
    redirecting = await started(redirect(pipe.reading, other_pipe.writing))
    await cancelled(redirecting)
    assert os.read(pipe.reading, 10_000) == b"a" * 4096  # not taken: it could not be written
    os.close(other_pipe.writing)
    assert await within(read_all(other_pipe.reading)) == b"-" * filled


async def test_a_failing_hook_or_target_ends_a_redirection(pipe, other_pipe):
    def fail(chunk):
        raise ValueError("full")

    os.write(pipe.writing, b"x")
    with pytest.raises(ValueError, match="full"):
        await within(redirect(pipe.reading, None, hooks=[fail]))
    os.write(pipe.writing, b"x")
    os.close(other_pipe.reading)
    with pytest.raises(BrokenPipeError):
        await within(redirect(pipe.reading, other_pipe.writing))


async def test_a_source_that_never_waits_leaves_others_their_turns(monkeypatch):
    monkeypatch.setattr(descriptors_module, "TURN_BYTES_MAX", 10_000)
    source = os.open("/dev/zero", os.O_RDONLY | os.O_NONBLOCK)
    seen = []
    redirecting = await started(redirect(source, None, hooks=[lambda chunk: seen.append(1)]))
    os.close(source)
    assert seen
    await cancelled(redirecting)


# Watching files.


@pytest.fixture(params=["inotify", "polling", "no inotify"])
def watching(request, monkeypatch):
    """A maker of watchers: as the kernel tells them, and by looking on a virtual clock."""
    if request.param == "no inotify":

        def refuse(tell):
            raise OSError("no inotify")

        monkeypatch.setattr(watcher_module, "_Inotify", refuse)
    return Watching(request.param == "polling")


class Watching:
    def __init__(self, polls):
        self.clock = VirtualClock()
        self.polls = polls
        self.watcher = None

    async def __aenter__(self):
        self.watcher = Watcher(self.clock, polls=self.polls)
        return self

    async def __aexit__(self, *exc):
        self.watcher.close()

    async def next(self):
        waiting = await started(self.watcher.next())
        await self.clock.advance(1)
        return await within(waiting)


def event(kind, path):
    return FileEvent(FileEventKind(kind), path)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    return path


async def test_a_write_is_told(watching, file):
    async with watching:
        watching.watcher.add(file)
        for text in ("three", "fifteen"):
            with file.open("a") as opened:
                opened.write(text)
            assert await watching.next() == event("write", file)


async def test_a_removal_is_told_and_ends_the_watch(watching, file):
    async with watching:
        watching.watcher.add(str(file))
        file.unlink()
        assert await watching.next() == event("remove", file)
        with pytest.raises(ProtocolMisuse, match="is not watched"):
            watching.watcher.remove(file)
        file.write_text("again")
        watching.watcher.add(file)
        with file.open("a") as opened:
            opened.write("more")
        assert await watching.next() == event("write", file)


async def test_the_removal_of_an_open_file_is_told(watching, file):
    async with watching:
        watching.watcher.add(file)
        with file.open():
            file.unlink()
            assert await watching.next() == event("remove", file)


async def test_a_replaced_file_is_a_removed_one(watching, file, tmp_path):
    async with watching:
        watching.watcher.add(file)
        (tmp_path / "new").write_text("new")
        with file.open():
            (tmp_path / "new").replace(file)
            assert await watching.next() == event("remove", file)


async def test_a_renaming_is_told(watching, file, tmp_path):
    async with watching:
        watching.watcher.add(file)
        file.rename(tmp_path / "other")
        assert await watching.next() == event("rename", file)


async def test_each_file_has_its_own_events(watching, file, tmp_path):
    other = tmp_path / "other"
    other.write_text("")
    async with watching:
        watching.watcher.add(file)
        watching.watcher.add(other)
        other.write_text("x")
        assert await watching.next() == event("write", other)
        watching.watcher.remove(other)
        other.write_text("y" * 10)
        file.unlink()
        assert await watching.next() == event("remove", file)


async def test_what_happens_often_is_told_once(watching, file):
    async with watching:
        watching.watcher.add(file)
        for number in range(50):
            file.write_text("x" * number)
        file.unlink()
        assert await watching.next() == event("write", file)
        assert await watching.next() == event("remove", file)


async def test_what_cannot_be_watched(watching, file, tmp_path):
    async with watching:
        with pytest.raises(CannotWatch, match="directory"):
            watching.watcher.add(tmp_path)
        with pytest.raises(CannotWatch, match="none"):
            watching.watcher.add(tmp_path / "none")
        watching.watcher.add(file)
        with pytest.raises(ProtocolMisuse, match="watched already"):
            watching.watcher.add(file)
        with pytest.raises(ProtocolMisuse, match="not watched"):
            watching.watcher.remove(tmp_path / "none")


async def test_a_cancelled_waiter_loses_no_event(watching, file):
    async with watching:
        watching.watcher.add(file)
        await cancelled(await started(watching.watcher.next()))
        file.unlink()
        assert await watching.next() == event("remove", file)


async def test_one_waiter_at_a_time(watching):
    async with watching:
        waiting = await started(watching.watcher.next())
        with pytest.raises(ProtocolMisuse, match="already"):
            await watching.watcher.next()
        await cancelled(waiting)


async def test_a_closed_watcher(file):
    watcher = Watcher(RealClock())
    watcher.add(file)
    events = []

    async def gather():
        events.extend([each async for each in watcher])

    gathering = await started(gather())
    file.write_text("more")
    await until(lambda: watcher._arrival is not None or gathering.done(), "the event is taken")
    watcher.close()
    watcher.close()
    await within(gathering)
    with pytest.raises(ClosedWatcher):
        watcher.add(file)
    with pytest.raises(ClosedWatcher):
        await watcher.next()


async def test_a_limit_for_watched_files(file, tmp_path, monkeypatch):
    monkeypatch.setattr(watcher_module, "FILES_MAX", 1)
    watcher = Watcher(RealClock())
    watcher.add(file)
    other = tmp_path / "other"
    other.touch()
    with pytest.raises(ProtocolMisuse, match="1 files"):
        watcher.add(other)
    watcher.close()
