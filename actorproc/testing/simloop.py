"""An asyncio event loop without selector, threads or real time: everything it runs is repeatable.

    ready callbacks ──none left──> calls due now ──none──> whoever waits for quiet
          ^                                                        │ nobody
          └────────── time jumps to the next deadline <────────────┘ (no deadline: deadlock)

Time stands still while anything can run, and jumps when nothing can: an hour of ``asyncio.sleep``
costs nothing. Work for an executor runs on the loop itself. With ``shuffle`` the order of callbacks
that are ready together is drawn from the seed, except that those of one source (one task, one
object) keep their order. A ``Node`` is what an operating system process is outside: everything its
callbacks start belongs to it, and ``kill`` makes all of it stand still for ever.

Decided here: when what runs. Not decided here: what travels between nodes (``simnet``).
Source: actor-runtime.md §6; FoundationDB and trio (``MockClock`` with autojump) for the idea.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVarTuple, Unpack

from actorproc.clock import DELAY_S_MAX, Timer
from actorproc.errors import ActorprocError, ProtocolMisuse
from actorproc.testing.conditions import Constant, Duration

SIMULATED_S_MAX: Final = 366 * 86400.0  # a simulation that lasts longer waits for nothing
TURNS_AT_ONE_TIME_MAX: Final = 1_000_000  # turns without time moving: it never will
CANCELLED_TIMERS_MAX: Final = 1000  # beyond it, and beyond half of all, they are swept out
TASKS_REPORTED_MAX: Final = 20
DISPOSE_ATTEMPTS: Final = 10  # a coroutine may await again in each of its finally blocks

_Ts = TypeVarTuple("_Ts")


class SimulationError(ActorprocError):
    """The simulated program cannot go on."""


class SimulationDeadlock(SimulationError):
    """Nothing is left to do, yet the program waits."""


class SimulationLivelock(SimulationError):
    """The program is busy for ever at one point in time."""


class SimulationTooLong(SimulationError):
    """The program passed its limit of virtual time."""


class RealIoRefused(SimulationError):
    """The program asked for a socket, a subprocess, a thread or a signal: not repeatable."""


class Node:
    """What one simulated operating system process owns: its callbacks, timers and tasks."""

    __slots__ = ("context", "is_alive", "name", "owner", "tasks")

    def __init__(self, name: str, owner: object) -> None:
        self.name = name
        self.owner = owner  # its bound methods run in this node, whoever calls for them
        self.is_alive = True
        self.context = contextvars.copy_context()
        self.context.run(_NODE.set, self)
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"<Node {self.name}{'' if self.is_alive else ' (dead)'}>"


_NODE: contextvars.ContextVar[Node | None] = contextvars.ContextVar("node", default=None)


class _Call(asyncio.Handle):
    __slots__ = ("node", "source")

    node: Node | None
    source: int


class _TimerCall(asyncio.TimerHandle):
    __slots__ = ("node", "source")

    node: Node | None
    source: int


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time.

    Args:
        seed: decides the order of what is ready together, and how long executor work takes.
        shuffle: draw that order; False keeps asyncio's first in, first out.
        start_s: the time at the beginning, in seconds.
        limit_s: virtual seconds after which ``SimulationTooLong`` is raised.
        work_s: how long work given to an executor takes in virtual time.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        shuffle: bool = False,
        start_s: float = 0.0,
        limit_s: float = SIMULATED_S_MAX,
        work_s: Duration | None = None,
    ) -> None:
        super().__init__()
        self._rng = random.Random(f"{seed}/loop")
        self._shuffle = shuffle
        self._now_s = start_s
        self._end_s = start_s + limit_s
        self._pause_at_s = float("inf")
        self._work_s: Duration = work_s or Constant(0.0)
        self._queue: deque[_Call | _TimerCall] = deque()
        self._timers: list[tuple[float, int, _TimerCall]] = []
        self._timer_order = itertools.count()
        self._cancelled_timers = 0
        self._quiet_waiters: deque[asyncio.Future[None]] = deque()
        self._turns_now = 0
        self._homes: dict[int, Node] = {}
        self._buried: list[asyncio.Task[Any]] = []
        self._thread_of_birth = threading.get_ident()
        self.clock = SimulatedClock(self)

    # Time.

    def time(self) -> float:
        return self._now_s

    @property
    def is_paused(self) -> bool:
        """True when time moves only by ``SimulatedClock.advance``."""
        return self._pause_at_s != float("inf")

    def pause_at(self, time_s: float | None) -> None:
        """Let time move no further than ``time_s``; None lets it run."""
        self._pause_at_s = float("inf") if time_s is None else time_s

    async def wait_quiet(self) -> None:
        """Return once nothing is left to do at the present time.

        Exact, not a guess: no callback is ready, and no timer is due. Several waiters return one
        after the other, each when what the one before it did has come to rest.
        """
        waiter: asyncio.Future[None] = self.create_future()
        self._quiet_waiters.append(waiter)
        await waiter

    # What is asked of an event loop.

    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        self._check_closed()  # type: ignore[attr-defined]
        context, node, source = self._place(callback, context)
        call = _Call(callback, args, self, context)
        call.node, call.source = node, source
        self._queue.append(call)
        return call

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread_of_birth:
            raise RealIoRefused("a thread calls into the simulated loop: threads are not simulated")
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        context, node, source = self._place(callback, context)
        call = _TimerCall(when, callback, args, self, context)
        call.node, call.source = node, source
        heapq.heappush(self._timers, (when, next(self._timer_order), call))
        return call

    def create_task(  # type: ignore[override]  # the stub's signature differs between versions
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        context = options.get("context")
        node = _NODE.get() if context is None else context.get(_NODE)
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        if node is not None:
            node.tasks.add(task)
        return task

    def run_in_executor(  # type: ignore[override]  # returns a future, as its base does
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func(*args)`` on the loop, ``work_s`` later; the executor is not used."""
        future: asyncio.Future[Any] = self.create_future()
        self.call_later(self._work_s(self._rng), _work, future, func, args)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def close(self) -> None:
        for task in self._buried:
            _dispose(task)
        self._buried.clear()
        super().close()
        self._queue.clear()
        self._timers.clear()

    # Nodes.

    def new_node(self, name: str, owner: object) -> Node:
        """Begin a simulated operating system process: bound methods of ``owner`` run in it."""
        node = Node(name, owner)
        self._homes[id(owner)] = node
        return node

    def kill(self, node: Node) -> None:
        """Nothing of ``node`` runs from here on: no callback, timer or task, not even ``finally``.

        Its tasks are kept until the loop is closed, for a coroutine that is thrown away runs its
        ``finally`` blocks: so they run then, where nothing comes of them.
        """
        node.is_alive = False
        del self._homes[id(node.owner)]
        for task in node.tasks:
            if not task.done():
                asyncio._unregister_task(task)  # a runner that ends must not wait for it
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                self._buried.append(task)
        self._sweep_timers()

    def end_node(self, node: Node) -> None:
        """The process of ``node`` ended in order: what it still has to do may be done."""
        self._homes.pop(id(node.owner), None)

    def _place(
        self, callback: Callable[..., object], context: contextvars.Context | None
    ) -> tuple[contextvars.Context | None, Node | None, int]:
        """Where a callback runs: its context, its node, and a key of what it is a method of."""
        owner = getattr(callback, "__self__", None)
        source = id(owner) if owner is not None else 0
        if context is None:
            home = self._homes.get(source)
            if home is not None:
                return home.context.copy(), home, source
            return None, _NODE.get(), source
        return context, context.get(_NODE), source

    # The turns of the loop; ``run_forever`` of the base calls this until it is stopped.

    def _run_once(self) -> None:
        if self._stopping and not self._queue:  # type: ignore[attr-defined]
            return
        self._queue_due_timers()
        if not self._queue:
            self._find_work()
        self._turns_now += 1
        if self._turns_now > TURNS_AT_ONE_TIME_MAX:
            raise SimulationLivelock(
                f"{TURNS_AT_ONE_TIME_MAX} turns of the loop at {self._now_s} s: time never moves on"
            )
        if self._shuffle and len(self._queue) > 1:
            self._queue = shuffled_by_source(self._queue, self._rng)
        for _ in range(len(self._queue)):  # what these add has its turn next time
            call = self._queue.popleft()
            if not call.cancelled() and (call.node is None or call.node.is_alive):
                call._run()
        call = None  # type: ignore[assignment]  # keeps nothing alive until the next turn

    def _find_work(self) -> None:
        """Wake who waits for quiet, or else let time jump; what is ready then is queued."""
        while not self._queue:
            if self._quiet_waiters:
                waiter = self._quiet_waiters.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                continue
            deadline_s = self._next_deadline_s()
            if deadline_s is None or deadline_s > self._pause_at_s:
                raise SimulationDeadlock(self._deadlock_report())
            if deadline_s > self._end_s:
                raise SimulationTooLong(f"the simulation passed its limit, {self._end_s} s")
            self._now_s = deadline_s
            self._turns_now = 0
            self._queue_due_timers()

    def _next_deadline_s(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
            self._cancelled_timers -= 1
        return self._timers[0][0] if self._timers else None

    def _queue_due_timers(self) -> None:
        while (deadline_s := self._next_deadline_s()) is not None and deadline_s <= self._now_s:
            self._queue.append(heapq.heappop(self._timers)[2])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled_timers += 1  # an upper bound: one that fired may be cancelled as well
        if self._cancelled_timers > max(CANCELLED_TIMERS_MAX, len(self._timers) // 2):
            self._sweep_timers()

    def _sweep_timers(self) -> None:
        # In place: this may be called from a callback in the middle of a turn.
        self._timers[:] = [
            each
            for each in self._timers
            if not each[2].cancelled() and (each[2].node is None or each[2].node.is_alive)
        ]
        heapq.heapify(self._timers)
        self._cancelled_timers = 0

    def _deadlock_report(self) -> str:
        lines = [f"nothing is left to do at {self._now_s} s, yet the program waits"]
        if self.is_paused and self._timers:
            lines.append("(the clock is paused: only advance() moves it)")
        lines += describe_tasks(self)
        return "\n  ".join(lines)


def describe_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """One line per unfinished task, sorted by name: what it runs and where it waits."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    lines = [_describe(task) for task in tasks[:TASKS_REPORTED_MAX]]
    if len(tasks) > TASKS_REPORTED_MAX:
        lines.append(f"... and {len(tasks) - TASKS_REPORTED_MAX} more tasks")
    return lines


def _describe(task: asyncio.Task[Any]) -> str:
    name = getattr(task.get_coro(), "__qualname__", "?")
    frames = task.get_stack(limit=1)
    where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not begun"
    return f"{task.get_name()} {name} at {where}"


def shuffled_by_source(
    calls: deque[_Call | _TimerCall], rng: random.Random
) -> deque[_Call | _TimerCall]:
    """A random order in which the calls of each source keep theirs."""
    of_source: dict[int, deque[_Call | _TimerCall]] = {}
    for call in calls:
        of_source.setdefault(call.source, deque()).append(call)
    if len(of_source) == 1:
        return calls
    turns = [call.source for call in calls]
    rng.shuffle(turns)
    return deque(of_source[source].popleft() for source in turns)


def _work(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        result = func(*args)
    except StopIteration as error:  # asyncio refuses it in a future
        future.set_exception(RuntimeError(f"the work raised {error!r}"))
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _dispose(task: asyncio.Task[Any]) -> None:
    """Throw a buried task away; whatever its ``finally`` blocks do has no effect any more."""
    coroutine = task.get_coro()
    for _ in range(DISPOSE_ATTEMPTS):
        try:
            if coroutine is not None:
                coroutine.close()
            return
        except Exception:  # of dead code, or "coroutine ignored GeneratorExit"
            continue


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise RealIoRefused(f"{name} is not possible in a simulation: it is real I/O")

    return refuse


_REAL_IO: Final = (
    "add_reader", "add_signal_handler", "add_writer", "connect_accepted_socket",
    "connect_read_pipe", "connect_write_pipe", "create_connection", "create_datagram_endpoint",
    "create_server", "create_unix_connection", "create_unix_server", "getaddrinfo", "getnameinfo",
    "remove_reader", "remove_signal_handler", "remove_writer", "sendfile", "sock_accept",
    "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
    "sock_sendall", "sock_sendfile", "sock_sendto", "start_tls", "subprocess_exec",
    "subprocess_shell",
)  # fmt: skip
for _name in _REAL_IO:
    setattr(SimulatedLoop, _name, _refusal(_name))


class SimulatedClock:
    """The time of a ``SimulatedLoop`` as the clock of runtimes.

    One time for actors and for ``asyncio.sleep``. It runs by itself, by jumps; ``pause`` makes it
    move by ``advance`` only.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_s(self) -> float:
        return self._loop.time()

    def call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        return _ClockTimer(self._loop, min(max(delay_s, 0.0), DELAY_S_MAX), fn, args)

    def attach(self, member: object) -> None:
        """Nothing to note: the loop itself knows when all is quiet."""

    def detach(self, member: object) -> None:
        """See ``attach``."""

    def pause(self) -> None:
        """Stand still until ``advance`` or ``resume``."""
        self._loop.pause_at(self._loop.time())

    def resume(self) -> None:
        """Run again, by jumps from deadline to deadline."""
        self._loop.pause_at(None)

    async def advance(self, delta_s: float) -> None:
        """Return ``delta_s`` seconds later, when everything due until then has happened.

        Raises:
            ProtocolMisuse: ``delta_s`` is negative.
        """
        if not delta_s >= 0:
            raise ProtocolMisuse(f"delta_s must be 0 or more: {delta_s}")
        target_s = self._loop.time() + delta_s
        if self._loop.is_paused:
            self._loop.pause_at(target_s)
        reached: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_at(target_s, reached.set_result, None)
        await reached
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is left to do at the present time; exact (``wait_quiet``)."""
        await self._loop.wait_quiet()


class _ClockTimer:
    __slots__ = ("_args", "_fn", "_handle")

    def __init__(
        self, loop: SimulatedLoop, delay_s: float, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self._fn = fn
        self._args = args
        # call_at, not the method of this object: shuffling keeps the order of timers of one clock
        # only as far as their deadlines order them, which is what a clock promises.
        self._handle: asyncio.TimerHandle | None = loop.call_at(loop.time() + delay_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._fn(*self._args)

    def cancel(self) -> bool:
        if self._handle is None:
            return False
        self._handle.cancel()
        self._handle = None
        return True


__all__ = [
    "SIMULATED_S_MAX",
    "TURNS_AT_ONE_TIME_MAX",
    "Node",
    "RealIoRefused",
    "SimulatedClock",
    "SimulatedLoop",
    "SimulationDeadlock",
    "SimulationError",
    "SimulationLivelock",
    "SimulationTooLong",
    "describe_tasks",
]
