"""Deduplicator: at the receiver, does the work of a request once and remembers the answer.

    unknown ──> in progress ──> answered ──> forgotten (after keep_s, or when there are too many)
       ^             │ failed
       └─────────────┘

A request is known by an id that its sender keeps for all attempts (with the sender in the key when
ids may clash). Repeated while in progress, it waits for the same answer. A failure is not
remembered: the next attempt works anew. Forgotten answers are the limit of the promise: let
``keep_s`` exceed the time for which senders retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from actorproc.errors import ProtocolMisuse
from actorproc.patterns.errors import LimitReached
from actorproc.patterns.futures import resolve
from actorproc.patterns.timing import ClockSource, clock_of

T = TypeVar("T")

ENTRIES_MAX: Final = 10_000
KEEP_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    value: T
    forget_at_s: float


class Deduplicator(Generic[T]):
    """Answers by request id.

    Args:
        clock: a clock, or what has one.
        entries_max: answers that are kept; the oldest go first. As many may be in progress.
        keep_s: how long an answer is kept.
    """

    def __init__(
        self, clock: ClockSource, *, entries_max: int = ENTRIES_MAX, keep_s: float = KEEP_S
    ) -> None:
        if entries_max < 1 or keep_s <= 0:
            raise ValueError(
                f"entries_max must be 1 or more and keep_s above 0, not {entries_max}, {keep_s:g}"
            )
        self._clock = clock_of(clock)
        self._entries_max = entries_max
        self._keep_s = keep_s
        self._answers: dict[Hashable, _Answer[T]] = {}  # in the order of answering
        self._in_progress: dict[Hashable, asyncio.Future[None] | None] = {}
        self.repeated = 0  # requests that were not worked on again

    def __len__(self) -> int:
        """Answers that are remembered."""
        return len(self._answers)

    def once(self, request_id: Hashable, work: Callable[[], T]) -> T:
        """For handlers that do not wait: the answer of ``work``, run at the first request only.

        Raises:
            ProtocolMisuse: the request is in progress (``answer`` can wait for it).
            Exception: what ``work`` raises.
        """
        if request_id in self._in_progress:
            raise ProtocolMisuse(f"request {request_id!r} is in progress: use answer()")
        known = self._recall(request_id)
        if known is not None:
            self.repeated += 1
            return known.value
        return self._remember(request_id, work())

    async def answer(self, request_id: Hashable, work: Callable[[], Awaitable[T] | T]) -> T:
        """The answer of ``work``; a request repeated meanwhile waits for the same answer.

        When the work fails, all that wait for it get the failure; when its caller is cancelled,
        the next one that waits does the work.

        Raises:
            LimitReached: ``entries_max`` requests are in progress.
            Exception: what ``work`` raises.
        """
        if request_id in self._in_progress or self._recall(request_id) is not None:
            self.repeated += 1
        while request_id in self._in_progress:
            await self._wait_for(request_id)
        known = self._recall(request_id)
        if known is not None:
            return known.value
        return await self._work(request_id, work)

    async def _work(self, request_id: Hashable, work: Callable[[], Awaitable[T] | T]) -> T:
        if len(self._in_progress) >= self._entries_max:
            raise LimitReached(f"deduplicator: entries_max is {self._entries_max}")
        self._in_progress[request_id] = None
        error: Exception | None = None
        try:
            return self._remember(request_id, await resolve(work()))
        except Exception as raised:
            error = raised
            raise
        finally:
            self._finish(request_id, error)

    def _finish(self, request_id: Hashable, error: Exception | None) -> None:
        ended = self._in_progress.pop(request_id)
        if ended is None or ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
            ended.exception()  # nobody may be waiting any more

    async def _wait_for(self, request_id: Hashable) -> None:
        ended = self._in_progress[request_id]
        if ended is None:  # most requests are never repeated: made for the first that is
            ended = asyncio.get_running_loop().create_future()
            self._in_progress[request_id] = ended
        await asyncio.shield(ended)  # one that stops waiting must not stop the others

    def _recall(self, request_id: Hashable) -> _Answer[T] | None:
        self._forget_old()
        return self._answers.get(request_id)

    def _remember(self, request_id: Hashable, value: T) -> T:
        self._answers[request_id] = _Answer(value, self._clock.now_s() + self._keep_s)
        if len(self._answers) > self._entries_max:
            del self._answers[next(iter(self._answers))]
        return value

    def _forget_old(self) -> None:
        now_s = self._clock.now_s()
        while self._answers:
            oldest = next(iter(self._answers))
            if self._answers[oldest].forget_at_s > now_s:
                return
            del self._answers[oldest]


__all__ = ["ENTRIES_MAX", "KEEP_S", "Deduplicator"]
