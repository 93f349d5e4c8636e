"""Answers of one connection, in the order of the requests. Source: actor-runtime.md §1.7, §2.1.

Messages are answered 202 or 404 without waiting for their handlers; ordinary requests answer when
they are done. Equal answers in a row are kept as one entry with a count, so that a burst of a
million messages owes one number.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class SlowAnswer(Protocol):
    """An answer that is still being made; it writes itself once it is at the head."""

    def release(self) -> None:
        """The answer is at the head: everything before it is written."""
        ...

    @property
    def is_complete(self) -> bool:
        """True when all of the answer has been handed over."""
        ...

    @property
    def keeps_connection(self) -> bool:
        """False when the connection closes after it: what is owed behind it is lost."""
        ...


class _Repeated:
    __slots__ = ("count", "status", "text")

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        self.count = 1


class AnswerQueue:
    """What is owed to the client, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[_Repeated | SlowAnswer] = deque()
        self._last: _Repeated | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, status: int, text: str = "", count: int = 1) -> None:
        """Owe short answers: a status, a text that says why, and how many of them."""
        last = self._last
        if last is not None and last.status == status and last.text == text:
            last.count += count
            return
        self._last = _Repeated(status, text)
        self._last.count = count
        self._queue.append(self._last)

    def add_slow(self, answer: SlowAnswer) -> None:
        """Owe an answer that is being made; see ``pass_slow``."""
        self._queue.append(answer)
        self._last = None

    def take_short(self, count_max: int) -> tuple[int, str, int] | None:
        """Take equal short answers at the head, at most ``count_max``; None when there are none.

        Returns:
            (status, text, how many of them to write).
        """
        first = self._queue[0] if self._queue else None
        if not isinstance(first, _Repeated):
            return None
        count = min(first.count, count_max)
        first.count -= count
        if not first.count:
            self._queue.popleft()
            if first is self._last:
                self._last = None
        return first.status, first.text, count

    def pass_slow(self) -> bool:
        """Release the slow answer at the head; True when it is complete and was removed.

        When it is the last of its connection, everything behind it is removed too.
        """
        if not self._queue:
            return False
        first = self._queue[0]
        if isinstance(first, _Repeated):
            return False
        first.release()
        if not first.is_complete:
            return False
        self._queue.popleft()
        if not first.keeps_connection:
            self._queue.clear()
            self._last = None
        return True


__all__ = ["AnswerQueue", "SlowAnswer"]
