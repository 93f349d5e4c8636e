"""Supervisor: a process that keeps others running.

It carries out what ``SupervisionCore`` decides: makes children from their factories, links them,
hears of their end, stops them in order. When it gives up it ends by an exception, so a supervisor
above it sees a child that failed. Source: Erlang/OTP ``supervisor``; libprocess has none.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from actorproc.clock import Timer
from actorproc.errors import ClosedRuntime
from actorproc.patterns.errors import RestartIntensityExceeded
from actorproc.patterns.supervision_core import (
    Begun,
    ChildExited,
    ChildRule,
    Finish,
    KillChild,
    Restart,
    RestartDue,
    ShutdownTimedOut,
    StartChild,
    StartTimer,
    StopChild,
    StopRequested,
    SupervisionCore,
    SupervisionEffect,
    SupervisionEvent,
    SupervisorOptions,
)
from actorproc.pid import PID
from actorproc.process import Process

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child of a supervisor.

    Attributes:
        id: unique among its siblings; for logs and ``child``.
        factory: makes a new process for every start. Give it a fixed id and its PID survives
            restarts, or a prefix and peers can tell one life from the next.
        restart: which ends lead to a restart.
        shutdown_s: how long it may serve what is queued when it is stopped.
    """

    id: str
    factory: Callable[[], Process]
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0


class Supervisor(Process):
    """Starts its children in order, restarts those that fail, stops them in reverse order.

    Terminated from outside, it ends its children at once; ``stop`` lets them finish first.

    Args:
        children: in the order of starting.
        options: strategy, intensity and back-off.
        id, prefix: as for any process.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec],
        options: SupervisorOptions = SupervisorOptions(),  # noqa: B008 - immutable
        *,
        id: str | None = None,
        prefix: str = "supervisor",
    ) -> None:
        super().__init__(id, prefix=prefix)
        specs = list(children)
        self._specs = {spec.id: spec for spec in specs}
        rules = [ChildRule(spec.id, spec.restart, spec.shutdown_s) for spec in specs]
        self._core = SupervisionCore(rules, options)
        self._running: dict[str, Process] = {}  # child id → its present process
        self._ids: dict[PID, str] = {}
        self._shutdown_timers: dict[str, Timer] = {}
        self._events: deque[SupervisionEvent] = deque()
        self._is_feeding = False

    def child(self, id: str) -> Process | None:
        """The present process of a child; None while it is down."""
        return self._running.get(id)

    def stop(self) -> None:
        """Stop all children in reverse order, each within its ``shutdown_s``, and end.

        From outside: ``runtime.dispatch(supervisor.pid, supervisor.stop)``.
        """
        self._feed(StopRequested())

    def initialize(self) -> None:
        self._feed(Begun())

    def exited(self, pid: PID) -> None:
        id = self._ids.pop(pid, None)
        if id is None:
            return  # a link of a subclass's own
        process = self._running.pop(id)
        if (timer := self._shutdown_timers.pop(id, None)) is not None:
            timer.cancel()
        self._feed(ChildExited(id, has_failed=process.failure is not None))

    def finalize(self) -> None:
        for process in reversed(self._running.values()):
            self.runtime.terminate(process.pid)

    def _feed(self, event: SupervisionEvent) -> None:
        """Give an event to the core; those that its effects cause come after it."""
        self._events.append(event)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._events:
                for effect in self._core.handle(self._events.popleft(), self.clock.now_s()):
                    self._perform(effect)
        finally:
            self._is_feeding = False

    def _perform(self, effect: SupervisionEffect) -> None:
        match effect:
            case StartChild(id):
                self._start(self._specs[id])
            case StopChild(id, shutdown_s):
                self._shutdown_timers[id] = self.delay(shutdown_s, self._feed, ShutdownTimedOut(id))
                self.runtime.terminate(self._running[id].pid, inject=False)
            case KillChild(id):
                logger.warning("child %s of %s did not stop in time", id, self.pid)
                self.runtime.terminate(self._running[id].pid)
            case StartTimer(id, generation, delay_s):
                logger.info("%s restarts %s in %g s", self.pid, id, delay_s)
                self.delay(delay_s, self._feed, RestartDue(id, generation))
            case Finish(failure):
                if failure is not None:
                    raise RestartIntensityExceeded(failure)
                self.terminate()

    def _start(self, spec: ChildSpec) -> None:
        try:
            process = spec.factory()
            pid = self.runtime.spawn(process)
        except ClosedRuntime:
            self.terminate()
        except Exception:
            logger.exception("child %s of %s cannot be started", spec.id, self.pid)
            self._feed(ChildExited(spec.id, has_failed=True))
        else:
            self._running[spec.id] = process
            self._ids[pid] = spec.id
            self.link(pid)


__all__ = ["ChildSpec", "Supervisor"]
