"""retry: what turns "at most once" into "as good as certain", without making an overload worse.

    attempt ──ok──> value
       └─error──> retried kind? attempts, time, budget left? ─┬─ yes ──> back off ──> attempt
                                                              └─ no ──> the error, with a note

Back-off grows exponentially; with full jitter each wait is drawn evenly from zero to its ceiling,
so that callers which failed together do not come back together. A ``RetryBudget`` shared by the
callers of one service keeps retries to a fraction of requests when that service is down.
The receiver must be able to take a request twice: see ``Deduplicator``.
Source: M. Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015); gRFC A6 (retry
throttling of gRPC).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final, TypeVar

from actorproc.errors import ProcessTerminated
from actorproc.patterns.deadlines import Deadline
from actorproc.patterns.timing import ClockSource, after, clock_of, within

T = TypeVar("T")

_MILLI: Final = 1000


class Jitter(Enum):
    """How a wait is drawn from its ceiling."""

    FULL = "full"  # evenly from 0 to the ceiling
    NONE = "none"  # the ceiling itself


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long and why to try again.

    Attributes:
        attempts_max: attempts in all, the first included; 1 or more.
        base_s: ceiling of the first wait, 0 or more.
        factor: growth of the ceiling from wait to wait, 1 or more.
        backoff_s_max: the ceiling's own ceiling.
        jitter: how a wait is drawn.
        total_s: time for everything, attempts and waits; None for no limit.
        attempt_timeout_s: time for one attempt, after which it is cancelled and counts as
            ``TimeoutError``; None for no limit. A lost message shows in no other way.
        retry_on: kinds of errors that are worth another attempt; all others are raised at once.
    """

    attempts_max: int = 5
    base_s: float = 0.1
    factor: float = 2.0
    backoff_s_max: float = 10.0
    jitter: Jitter = Jitter.FULL
    total_s: float | None = 30.0
    attempt_timeout_s: float | None = 5.0
    retry_on: tuple[type[Exception], ...] = (TimeoutError, ProcessTerminated)

    def __post_init__(self) -> None:
        _require("attempts_max", self.attempts_max >= 1, "must be 1 or more")
        _require("base_s", self.base_s >= 0, "must be 0 or more")
        _require("factor", self.factor >= 1, "must be 1 or more")
        _require("backoff_s_max", self.backoff_s_max >= 0, "must be 0 or more")
        _require("total_s", self.total_s is None or self.total_s > 0, "must be above 0")
        _require(
            "attempt_timeout_s",
            self.attempt_timeout_s is None or self.attempt_timeout_s > 0,
            "must be above 0",
        )

    def ceiling_s(self, failures: int) -> float:
        """The longest wait after so many failures in a row (1 or more)."""
        try:
            return min(self.base_s * self.factor ** (failures - 1), self.backoff_s_max)
        except OverflowError:
            return self.backoff_s_max

    def backoff_s(self, failures: int, rng: Random) -> float:
        """The wait after so many failures in a row, drawn from ``rng``."""
        ceiling_s = self.ceiling_s(failures)
        return rng.uniform(0.0, ceiling_s) if self.jitter is Jitter.FULL else ceiling_s


def _require(field: str, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{field} {rule}")


class RetryBudget:
    """Tokens for retries, shared by the callers of one service.

    Every request puts in ``ratio`` of a token, every retry takes one: retries stay below ``ratio``
    of the requests, plus ``reserve`` for quiet times.

    Args:
        ratio: retries per request that are allowed in the long run, in thousandths exactly.
        reserve: tokens at the start and, above 0, at most; 0 or more.
    """

    def __init__(self, *, ratio: float = 0.1, reserve: int = 10) -> None:
        _require("ratio", 0 <= ratio <= 100, "must be between 0 and 100")
        _require("reserve", reserve >= 0, "must be 0 or more")
        self._deposit_milli = round(ratio * _MILLI)
        self._full_milli = max(reserve, 1) * _MILLI
        self._milli = reserve * _MILLI

    @property
    def tokens(self) -> float:
        """Retries that are allowed now."""
        return self._milli / _MILLI

    def record_request(self) -> None:
        """A request was made (its first attempt)."""
        self._milli = min(self._milli + self._deposit_milli, self._full_milli)

    def take(self) -> bool:
        """Take the token for one retry; False when there is none."""
        if self._milli < _MILLI:
            return False
        self._milli -= _MILLI
        return True


@dataclass(frozen=True, slots=True)
class Retrying:
    """Told to ``on_retry`` before each wait.

    Attributes:
        failures: attempts that failed so far.
        wait_s: how long the wait will be.
        error: of the last attempt.
    """

    failures: int
    wait_s: float
    error: Exception


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    clock: ClockSource,
    rng: Random,
    policy: RetryPolicy = RetryPolicy(),
    budget: RetryBudget | None = None,
    deadline: Deadline | None = None,
    on_retry: Callable[[Retrying], None] | None = None,
) -> T:
    """Make a call until it succeeds, or is not worth another attempt.

    Args:
        call: makes one attempt; each gets a fresh awaitable, and is cancelled when it takes longer
            than it may. Use one request id for all attempts.
        clock: a clock, or what has one.
        rng: source of the jitter, for example ``runtime.rng("retry")``.
        policy: see ``RetryPolicy``.
        budget: shared with the other callers of the same service.
        deadline: a limit from outside, beside ``policy.total_s``.
        on_retry: hears of each failure that leads to another attempt (for counters and logs).

    Returns:
        What the first successful attempt returns.

    Raises:
        TimeoutError: no time was left.
        Exception: what the last attempt raised; a note says why there was no further one.
    """
    clock = clock_of(clock)
    if policy.total_s is not None:
        deadline = Deadline.after(clock.now_s(), policy.total_s).earlier(deadline)
    if deadline is not None and deadline.is_expired(clock.now_s()):
        raise TimeoutError("the deadline had passed before the first attempt")
    if budget is not None:
        budget.record_request()
    failures = 0
    while True:
        try:
            return await within(clock, _attempt_s(policy, deadline, clock.now_s()), call())
        except policy.retry_on as error:
            failures += 1
            wait_s = policy.backoff_s(failures, rng)
            refusal = _refusal(policy, budget, deadline, failures, clock.now_s() + wait_s)
            if refusal is not None:
                error.add_note(f"gave up after attempt {failures}: {refusal}")
                raise
            if on_retry is not None:
                on_retry(Retrying(failures, wait_s, error))
        await after(clock, wait_s)


def _attempt_s(policy: RetryPolicy, deadline: Deadline | None, now_s: float) -> float | None:
    if deadline is None:
        return policy.attempt_timeout_s
    remaining_s = deadline.remaining_s(now_s)
    return min(remaining_s, policy.attempt_timeout_s or remaining_s)


def _refusal(
    policy: RetryPolicy,
    budget: RetryBudget | None,
    deadline: Deadline | None,
    failures: int,
    next_s: float,
) -> str | None:
    """Why there must be no attempt at ``next_s``; None when there may be one."""
    if failures >= policy.attempts_max:
        return f"attempts_max is {policy.attempts_max}"
    if deadline is not None and deadline.is_expired(next_s):
        return "no time is left"
    if budget is not None and not budget.take():
        return "the retry budget is spent"
    return None


__all__ = ["Jitter", "RetryBudget", "RetryPolicy", "Retrying", "retry"]
