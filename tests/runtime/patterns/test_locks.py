"""Mutex, ReadWriteLock, latches, StateMachine. Source: actor-runtime.md §5, §15 (75-78)."""

import asyncio

import pytest

from actorproc import ProtocolMisuse
from actorproc.patterns import (
    CountDownLatch,
    Latch,
    LimitReached,
    Mutex,
    ReadWriteLock,
    StateMachine,
    WrongState,
    describe,
)
from tests.runtime.patterns.work import started, turns

pytestmark = pytest.mark.asyncio


def ready(futures):
    return [name for name, future in futures.items() if describe(future) == "Ready"]


async def test_b075_a_mutex_is_granted_in_order():
    mutex = Mutex()
    locks = {name: mutex.lock() for name in ("holder", "first", "second")}
    assert ready(locks) == ["holder"]
    mutex.unlock()
    assert ready(locks) == ["holder", "first"]
    mutex.unlock()
    assert ready(locks) == ["holder", "first", "second"]
    mutex.unlock()
    assert not mutex.is_locked
    with pytest.raises(ProtocolMisuse):
        mutex.unlock()


async def test_a_mutex_passes_over_who_no_longer_waits():
    mutex = Mutex()
    _, leaver, next_one = (mutex.lock() for _ in range(3))
    leaver.cancel()
    mutex.unlock()
    assert describe(next_one) == "Ready"


async def test_a_block_that_is_cancelled_as_it_gets_the_mutex_gives_it_back():
    mutex = Mutex()
    await mutex.lock()

    async def block():
        async with mutex:
            raise AssertionError("entered")

    waiting = await started(block())
    mutex.unlock()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not mutex.is_locked


async def test_a_block_gives_the_mutex_back_when_it_fails():
    mutex = Mutex()
    with pytest.raises(ValueError, match="why"):
        async with mutex:
            raise ValueError("why")
    assert not mutex.is_locked


async def test_b076_readers_between_writers():
    lock = ReadWriteLock()
    await lock.read_lock()
    order = ("W1", "R1", "R2", "W2", "R3", "R4")
    queued = {
        name: lock.write_lock() if name.startswith("W") else lock.read_lock() for name in order
    }
    assert ready(queued) == []
    lock.read_unlock()
    assert ready(queued) == ["W1"]
    lock.write_unlock()
    assert ready(queued) == ["W1", "R1", "R2"]
    lock.read_unlock()
    assert ready(queued) == ["W1", "R1", "R2"]
    lock.read_unlock()
    assert ready(queued) == ["W1", "R1", "R2", "W2"]
    lock.write_unlock()
    assert ready(queued) == list(order)


async def test_readers_are_free_once_the_writer_before_them_gives_up():
    lock = ReadWriteLock()
    await lock.read_lock()
    writer, reader = lock.write_lock(), lock.read_lock()
    assert describe(reader) == "Pending"
    writer.cancel()
    await turns()
    assert describe(reader) == "Ready"


async def test_reading_and_writing_blocks():
    lock = ReadWriteLock()
    async with lock.reading(), lock.reading():
        writer = lock.write_lock()
        assert not writer.done()
    await writer
    lock.write_unlock()
    async with lock.writing():
        assert not lock.read_lock().done()


async def test_unlocking_what_is_not_locked_is_refused():
    lock = ReadWriteLock()
    for unlock in (lock.read_unlock, lock.write_unlock):
        with pytest.raises(ProtocolMisuse):
            unlock()


async def test_a_read_write_lock_has_a_limit():
    lock = ReadWriteLock(waiting_max=1)
    await lock.write_lock()
    waiting = lock.read_lock()
    with pytest.raises(LimitReached, match="waiting_max is 1"):
        lock.read_lock()
    waiting.cancel()
    assert describe(lock.read_lock()) == "Pending"


async def test_b077_the_fifth_decrement_opens_a_latch_of_five():
    latch = CountDownLatch(5)
    waiting = latch.triggered()
    assert [latch.decrement() for _ in range(4)] == [False] * 4
    assert describe(waiting) == "Pending"
    assert latch.decrement() is True
    assert describe(waiting) == "Ready"
    assert describe(latch.triggered()) == "Ready"
    assert latch.decrement() is False
    assert latch.is_triggered


async def test_one_that_stops_waiting_for_a_latch_does_not_stop_the_others():
    latch = Latch()
    leaver, other = latch.triggered(), latch.triggered()
    leaver.cancel()
    assert latch.trigger() is True
    assert latch.trigger() is False
    assert describe(other) == "Ready"


async def test_b078_a_transition_from_a_wrong_state_changes_nothing():
    machine = StateMachine("idle")
    with pytest.raises(WrongState, match="cannot go from running to done: the state is idle"):
        machine.transition("running", "done")
    assert machine.is_in("idle")


async def test_b078_when_is_ready_once_the_machine_gets_there():
    machine = StateMachine("idle")
    done = machine.when("done")
    machine.transition("idle", "running")
    assert describe(done) == "Pending"
    machine.transition("running", "done")
    assert describe(done) == "Ready"
    assert describe(machine.when("done")) == "Ready"
    assert machine.state == "done"
