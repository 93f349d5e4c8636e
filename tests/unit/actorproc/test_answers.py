"""Answers leave in the order of the requests. Source: actor-runtime.md §1.7, 2.1."""

from actorproc.core.answers import AnswerQueue


class Slow:
    def __init__(self):
        self.is_released = False
        self.is_complete = False
        self.keeps_connection = True

    def release(self):
        self.is_released = True


def drain(queue):
    """What can be written now."""
    written = []
    while True:
        if (short := queue.take_short(1000)) is not None:
            written.append(short)
        elif not queue.pass_slow():
            return written
        else:
            written.append("slow")


def test_equal_answers_are_counted_together():
    queue = AnswerQueue()
    for status in (202, 202, 404, 202, 202, 202):
        queue.add(status)
    assert queue
    assert drain(queue) == [(202, "", 2), (404, "", 1), (202, "", 3)]
    assert not queue
    assert queue.take_short(10) is None
    assert not queue.pass_slow()


def test_texts_that_differ_are_different_answers():
    queue = AnswerQueue()
    for text in ("a", "a", "b"):
        queue.add(400, text)
    assert drain(queue) == [(400, "a", 2), (400, "b", 1)]


def test_a_slow_answer_holds_back_what_is_behind_it():
    queue = AnswerQueue()
    slow = Slow()
    queue.add(202)
    queue.add_slow(slow)
    queue.add(202)
    assert drain(queue) == [(202, "", 1)]
    assert slow.is_released
    queue.add(202)
    assert drain(queue) == []
    slow.is_complete = True
    assert drain(queue) == ["slow", (202, "", 2)]


def test_slow_answers_are_released_one_after_the_other():
    queue = AnswerQueue()
    first, second = Slow(), Slow()
    queue.add_slow(first)
    queue.add_slow(second)
    second.is_complete = True
    assert drain(queue) == []
    assert first.is_released
    assert not second.is_released
    first.is_complete = True
    assert drain(queue) == ["slow", "slow"]


def test_what_stands_behind_the_last_answer_of_a_connection_is_lost():
    queue = AnswerQueue()
    last = Slow()
    last.keeps_connection = False
    queue.add(202)
    queue.add_slow(last)
    queue.add(404)
    queue.add_slow(Slow())
    assert drain(queue) == [(202, "", 1)]
    last.is_complete = True
    assert drain(queue) == ["slow"]
    assert not queue
    queue.add(404)
    assert drain(queue) == [(404, "", 1)]


def test_at_most_so_many_are_taken_at_once():
    queue = AnswerQueue()
    for _ in range(5):
        queue.add(202)
    assert queue.take_short(2) == (202, "", 2)
    queue.add(202)
    assert queue.take_short(3) == (202, "", 3)
    assert queue.take_short(3) == (202, "", 1)
    queue.add(202)  # the entry before is gone: this is a new one
    assert drain(queue) == [(202, "", 1)]


def test_a_million_owed_answers_are_one_entry():
    queue = AnswerQueue()
    for _ in range(1_000_000 // 100):
        queue.add(202)
    assert len(queue._queue) == 1
