"""Message filters: watch, drop or hold back events on their way to a process.

A filter is asked for each message, call and exit just before it is served, in whatever way it came:
over any transport, or from a process of the same runtime. So it sees what the process would see.
Start and end of a process, its timers and HTTP requests are never filtered; answers to ``ask`` go
to their request without passing a mailbox, and are not seen.

    event ──> every watcher (expect, observe, forbid) ──> first drop or hold that matches ──> served

Source: actor-runtime.md §13 (``FUTURE_``, ``DROP_``, ``EXPECT_NO_``, ``inject::exited``). Differs:
an object for chosen runtimes, not one global filter; messages can also be held and let go later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from actorproc.errors import ProcessTerminated, ProtocolMisuse
from actorproc.events import Dispatch, Event, Exited
from actorproc.pid import PID
from actorproc.process import Process
from actorproc.runtime import Runtime

EXPECT_S: Final = 15.0  # how long an expectation is waited for, on the time of the loop
SEEN_MAX: Final = 10_000  # events one rule remembers; older ones are forgotten
HELD_MAX: Final = 100_000  # events one rule holds back


class DroppedByFilter(ProcessTerminated):
    """The call was dropped by a message filter: what a caller sees when the callee has ended."""


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """A message on its way to a process."""

    name: str
    sender: PID
    to: PID
    body: bytes


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A call (``dispatch`` or a deferred function) on its way to a process."""

    to: PID
    fn: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SeenExit:
    """News of the end of ``pid`` on its way to ``linker``."""

    linker: PID
    pid: PID


Seen = SeenMessage | SeenCall | SeenExit
S_co = TypeVar("S_co", bound=Seen, covariant=True)
S = TypeVar("S", bound=Seen)


class Pattern(Protocol[S_co]):
    """Which events a rule is about."""

    def match(self, process: Process, event: Event) -> S_co | None:
        """What is seen of the event, or None when it is another kind or does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class MessagePattern:
    """Messages; None fits anything.

    Attributes:
        name: the message name, or a generated protobuf class.
        sender: who sent it.
        to: who gets it.
        where: a further condition.
    """

    name: str | type[Any] | None = None
    sender: PID | None = None
    to: PID | None = None
    where: Callable[[SeenMessage], bool] | None = None

    def match(self, process: Process, event: Event) -> SeenMessage | None:
        if not isinstance(event, tuple):
            return None
        name, sender, body, _ = event
        if not (
            _fits(self._wanted_name(), name)
            and _fits(self.sender, sender)
            and _fits(self.to, process.pid)
        ):
            return None
        seen = SeenMessage(name, sender, process.pid, body)
        return seen if self.where is None or self.where(seen) else None

    def _wanted_name(self) -> str | None:
        if self.name is None or isinstance(self.name, str):
            return self.name
        full_name: str = self.name.DESCRIPTOR.full_name
        return full_name


@dataclass(frozen=True, slots=True)
class CallPattern:
    """Calls into a process; None fits anything.

    Attributes:
        to: who gets it.
        fn: the function or bound method that is called, or its name.
        where: a further condition.
    """

    to: PID | None = None
    fn: Callable[..., Any] | str | None = None
    where: Callable[[SeenCall], bool] | None = None

    def match(self, process: Process, event: Event) -> SeenCall | None:
        if not isinstance(event, Dispatch) or not _fits(self.to, process.pid):
            return None
        if not self._fits_function(event.fn):
            return None
        seen = SeenCall(process.pid, event.fn, event.args)
        return seen if self.where is None or self.where(seen) else None

    def _fits_function(self, called: Callable[..., Any]) -> bool:
        called = getattr(called, "func", called)  # of a functools.partial
        if isinstance(self.fn, str):
            return getattr(called, "__name__", None) == self.fn
        return _fits(self.fn, called)


@dataclass(frozen=True, slots=True)
class ExitPattern:
    """News of ends; None fits anything.

    Attributes:
        linker: who hears it.
        pid: whose end.
    """

    linker: PID | None = None
    pid: PID | None = None

    def match(self, process: Process, event: Event) -> SeenExit | None:
        if not isinstance(event, Exited):
            return None
        if not _fits(self.linker, process.pid) or not _fits(self.pid, event.pid):
            return None
        return SeenExit(process.pid, event.pid)


def _fits(wanted: object, found: object) -> bool:
    return wanted is None or wanted == found


class Observed(Generic[S]):
    """A rule that matches events of one pattern; ``seen`` has the last of them, oldest first."""

    def __init__(self, pattern: Pattern[S], times: int | None = None) -> None:
        self.pattern = pattern
        self.seen: deque[S] = deque(maxlen=SEEN_MAX)
        self._left = times

    @property
    def is_spent(self) -> bool:
        """True when the rule has matched as often as it was made for."""
        return self._left == 0

    def offer(self, process: Process, event: Event) -> S | None:
        """Note the event if it fits; what was seen, or None."""
        if self.is_spent:
            return None
        seen = self.pattern.match(process, event)
        if seen is not None:
            if self._left is not None:
                self._left -= 1
            self.note(seen)
        return seen

    def note(self, seen: S) -> None:
        """One more was seen."""
        self.seen.append(seen)


class Expectation(Observed[S]):
    """A rule whose first match can be awaited: ``seen = await filters.expect(...)``."""

    def __init__(self, pattern: Pattern[S], times: int | None = 1) -> None:
        super().__init__(pattern, times)
        self._met = asyncio.Event()

    def note(self, seen: S) -> None:
        super().note(seen)
        self._met.set()

    @property
    def is_met(self) -> bool:
        """True once it has happened."""
        return self._met.is_set()

    def __await__(self) -> Generator[Any, None, S]:
        return self.within(EXPECT_S).__await__()

    async def within(self, timeout_s: float) -> S:
        """Wait for the first match; returns what was seen.

        Raises:
            AssertionError: it did not happen within ``timeout_s`` seconds on the loop's time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._met.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s:g} s: {self.pattern}") from None
        return self.seen[0]


class Held(Expectation[S]):
    """A rule that holds back what matches, in order, until it is released."""

    def __init__(self, pattern: Pattern[S], let_go: Callable[[Process, Event], None]) -> None:
        super().__init__(pattern, None)
        self._events: deque[tuple[Process, Event]] = deque()
        self._is_holding = True
        self._let_go = let_go

    def __len__(self) -> int:
        """How many are held back now."""
        return len(self._events)

    @property
    def is_spent(self) -> bool:
        return not self._is_holding

    def keep(self, process: Process, event: Event) -> None:
        """Hold one back.

        Raises:
            ProtocolMisuse: more than ``HELD_MAX`` are held.
        """
        if len(self._events) >= HELD_MAX:
            raise ProtocolMisuse(f"held: more than {HELD_MAX} events: {self.pattern}")
        self._events.append((process, event))

    def release(self, count: int | None = None) -> None:
        """Let the oldest ``count`` go on, in order, behind what is queued; None: all, for good."""
        if count is None:
            self._is_holding = False
            count = len(self._events)
        for _ in range(min(count, len(self._events))):
            self._let_go(*self._events.popleft())


class MessageFilters:
    """The filters of some runtimes, from ``with`` to its end.

    Example::

        with MessageFilters(runtime) as filters:
            asked = filters.expect(MessagePattern("ask", to=server))
            filters.drop(MessagePattern("answer"), times=1)
            ...
            await asked

    At the end what is held is let go. An expectation that was not met, a drop with ``times`` that
    did not happen so often, and something forbidden that happened, raise ``AssertionError`` there.
    """

    def __init__(self, *runtimes: Runtime) -> None:
        self._runtimes: list[Runtime] = []
        self._watchers: list[Observed[Any]] = []
        self._blockers: list[Observed[Any]] = []
        self._required: list[Observed[Any]] = []
        self._forbidden: list[Observed[Any]] = []
        self._let_go: list[Event] = []  # held before; they come by once more and pass
        for runtime in runtimes:
            self.add_runtime(runtime)

    def add_runtime(self, runtime: Runtime) -> None:
        """Filter one more runtime, for example one that was restarted.

        Raises:
            ProtocolMisuse: other filters are in force there.
        """
        if runtime.event_filter is not None:
            raise ProtocolMisuse(f"runtime: {runtime.address} has filters already")
        runtime.event_filter = self._passes
        self._runtimes.append(runtime)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()
        if exc is None:
            self.verify()

    def remove(self) -> None:
        """Filter nothing any more; what is held goes on."""
        for runtime in self._runtimes:
            runtime.event_filter = None
        self._runtimes.clear()
        for rule in self._blockers:
            if isinstance(rule, Held):
                rule.release()

    def verify(self) -> None:
        """Check what was expected and forbidden.

        Raises:
            AssertionError: naming each pattern that was not met or was hit.
        """
        wrong = [f"never happened: {rule.pattern}" for rule in self._required if not rule.is_spent]
        wrong += [f"happened: {rule.seen[0]}" for rule in self._forbidden if rule.seen]
        if wrong:
            raise AssertionError("; ".join(wrong))

    # Rules.

    def expect(self, pattern: Pattern[S]) -> Expectation[S]:
        """The next event that fits; it is served as well."""
        rule: Expectation[S] = Expectation(pattern)
        self._watchers.append(rule)
        self._required.append(rule)
        return rule

    def observe(self, pattern: Pattern[S]) -> Observed[S]:
        """Every event that fits, in ``seen``; all are served."""
        rule: Observed[S] = Observed(pattern)
        self._watchers.append(rule)
        return rule

    def forbid(self, pattern: Pattern[S]) -> Observed[S]:
        """No event may fit (checked at the end)."""
        rule = self.observe(pattern)
        self._forbidden.append(rule)
        return rule

    def drop(self, pattern: Pattern[S], *, times: int | None = None) -> Expectation[S]:
        """Swallow what fits: ``times`` of them, or all. The first can be awaited."""
        rule: Expectation[S] = Expectation(pattern, times)
        self._blockers.append(rule)
        if times is not None:
            self._required.append(rule)
        return rule

    def hold(self, pattern: Pattern[S]) -> Held[S]:
        """Hold back what fits until ``release``. The first can be awaited."""
        rule: Held[S] = Held(pattern, self._send_on)
        self._blockers.append(rule)
        return rule

    def expect_message(
        self,
        name: str | type[Any] | None = None,
        *,
        sender: PID | None = None,
        to: PID | None = None,
    ) -> Expectation[SeenMessage]:
        """``expect`` for messages."""
        return self.expect(MessagePattern(name, sender, to))

    def expect_call(
        self, to: PID | None = None, fn: Callable[..., Any] | str | None = None
    ) -> Expectation[SeenCall]:
        """``expect`` for calls."""
        return self.expect(CallPattern(to, fn))

    def expect_exited(
        self, linker: PID | None = None, pid: PID | None = None
    ) -> Expectation[SeenExit]:
        """``expect`` for news of an end."""
        return self.expect(ExitPattern(linker, pid))

    # The hook of the runtimes.

    def _send_on(self, process: Process, event: Event) -> None:
        if self._runtimes:
            self._let_go.append(event)
        process.runtime.enqueue(process, event)

    def _was_let_go(self, event: Event) -> bool:
        for position, each in enumerate(self._let_go):
            if each is event:
                del self._let_go[position]
                return True
        return False

    def _passes(self, process: Process, event: Event) -> bool:
        if self._let_go and self._was_let_go(event):
            return True
        for watcher in self._watchers:
            watcher.offer(process, event)
        for rule in self._blockers:
            if rule.offer(process, event) is not None:
                if isinstance(rule, Held):
                    rule.keep(process, event)
                else:
                    _refuse_caller(process, event)
                return False
        return True


def _refuse_caller(process: Process, event: Event) -> None:
    """Whoever waits for a dropped call must hear of it: nothing waits for ever."""
    if isinstance(event, Dispatch) and event.future is not None and not event.future.done():
        event.future.set_exception(DroppedByFilter(f"a call into {process.pid} was dropped"))
        event.future.exception()  # whoever does not look is not warned about it


def inject_exited(runtime: Runtime, linker: PID, pid: PID) -> None:
    """Let ``linker`` hear of the end of ``pid``, whether or not it ended or was linked.

    Raises:
        ProtocolMisuse: ``linker`` is not a process of ``runtime``.
    """
    process = runtime._find(linker)
    if process is None:
        raise ProtocolMisuse(f"linker: {linker} does not live in {runtime.address}")
    runtime.enqueue(process, Exited(pid))


__all__ = [
    "EXPECT_S",
    "HELD_MAX",
    "SEEN_MAX",
    "CallPattern",
    "DroppedByFilter",
    "ExitPattern",
    "Expectation",
    "Held",
    "MessageFilters",
    "MessagePattern",
    "Observed",
    "Pattern",
    "Seen",
    "SeenCall",
    "SeenExit",
    "SeenMessage",
    "inject_exited",
]
