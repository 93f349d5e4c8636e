"""Ready-made ways of working together: waiting, combining, retrying, taking turns, supervising.

Everything runs on the clock of the runtime, so virtual time reaches it; everything that queues has
a limit with a name. Import from here::

    from actorproc.patterns import RetryPolicy, retry, within

Source: actor-runtime.md §3.3, §4, §5, §16.
"""

from actorproc.patterns.calling import HOLE, Executor, defer, spawn_function
from actorproc.patterns.combine import Break, await_all, collect, loop, select
from actorproc.patterns.deadlines import DEADLINE_HEADER, Deadline
from actorproc.patterns.deduplication import Deduplicator
from actorproc.patterns.errors import (
    CollectFailed,
    InvalidDeadline,
    LimitReached,
    NoneReady,
    RestartIntensityExceeded,
    WrongState,
)
from actorproc.patterns.futures import (
    associate,
    describe,
    discard_requested,
    recover,
    then,
    undiscardable,
)
from actorproc.patterns.locks import CountDownLatch, Latch, Mutex, ReadWriteLock, StateMachine
from actorproc.patterns.queues import Queue, RateLimiter, Sequence
from actorproc.patterns.retrying import Jitter, RetryBudget, Retrying, RetryPolicy, retry
from actorproc.patterns.supervision_core import Restart, Strategy, SupervisorOptions
from actorproc.patterns.supervisor import ChildSpec, Supervisor
from actorproc.patterns.timing import ClockSource, HasClock, after, clock_of, timeout, within

__all__ = [
    "DEADLINE_HEADER",
    "HOLE",
    "Break",
    "ChildSpec",
    "ClockSource",
    "CollectFailed",
    "CountDownLatch",
    "Deadline",
    "Deduplicator",
    "Executor",
    "HasClock",
    "InvalidDeadline",
    "Jitter",
    "Latch",
    "LimitReached",
    "Mutex",
    "NoneReady",
    "Queue",
    "RateLimiter",
    "ReadWriteLock",
    "Restart",
    "RestartIntensityExceeded",
    "RetryBudget",
    "RetryPolicy",
    "Retrying",
    "Sequence",
    "StateMachine",
    "Strategy",
    "Supervisor",
    "SupervisorOptions",
    "WrongState",
    "after",
    "associate",
    "await_all",
    "clock_of",
    "collect",
    "defer",
    "describe",
    "discard_requested",
    "loop",
    "recover",
    "retry",
    "select",
    "spawn_function",
    "then",
    "timeout",
    "undiscardable",
    "within",
]
