"""Timers in order. Source: actor-runtime.md §6."""

from actorproc.core.timers import TimerQueue


def pop_all(queue, now_s):
    called = []
    while (call := queue.pop_due(now_s)) is not None:
        called.append(call.args[0])
    return called


def add(queue, *deadlines_and_names):
    return [queue.add(deadline_s, print, (name,)) for deadline_s, name in deadlines_and_names]


def test_fires_in_order_of_deadline_then_of_setting():
    queue = TimerQueue()
    add(queue, (2.0, "d"), (1.0, "a"), (1.0, "b"), (1.5, "c"), (1.0, "b2"))
    assert queue.next_deadline_s() == 1.0
    assert pop_all(queue, 2.0) == ["a", "b", "b2", "c", "d"]
    assert queue.next_deadline_s() is None


def test_only_what_is_due():
    queue = TimerQueue()
    add(queue, (1.0, "a"), (2.0, "b"))
    assert pop_all(queue, 0.999) == []
    assert pop_all(queue, 1.0) == ["a"]
    assert queue.next_deadline_s() == 2.0


def test_cancel_tells_whether_it_was_in_time():
    queue = TimerQueue()
    a, b, c = add(queue, (1.0, "a"), (2.0, "b"), (3.0, "c"))
    assert a.cancel()
    assert not a.cancel()
    assert queue.next_deadline_s() == 2.0
    assert pop_all(queue, 2.0) == ["b"]
    assert not b.cancel()
    assert c.cancel()
    assert queue.next_deadline_s() is None
