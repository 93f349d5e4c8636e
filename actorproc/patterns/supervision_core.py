"""What a supervisor decides: which children to start, stop and restart, and when to give up.

Each child:

    DOWN ──StartChild──> RUNNING ──exited──> DOWN | BACKOFF ──RestartDue──> RUNNING
                            └──StopChild──> STOPPING ──exited──> DOWN | BACKOFF

The supervisor: RUNNING ──StopRequested, or too many restarts──> SHUTTING_DOWN ──> FINISHED.
Children start in the order of their specs and stop in reverse, each when the one before is gone.
Pure: ``handle(event, now_s)`` returns effects, to be carried out in their order.
Source: Erlang/OTP ``supervisor`` (strategies, intensity, period, restart kinds). Differs: restarts
wait with exponential back-off; a child that fails to start counts as one that failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Restart(Enum):
    """Which ends of a child lead to its restart."""

    PERMANENT = "permanent"  # every end
    TRANSIENT = "transient"  # an end by an exception
    TEMPORARY = "temporary"  # none


class Strategy(Enum):
    """Which children are restarted together with one that failed."""

    ONE_FOR_ONE = "one_for_one"  # only itself
    ONE_FOR_ALL = "one_for_all"  # all
    REST_FOR_ONE = "rest_for_one"  # itself and those that started after it


@dataclass(frozen=True, slots=True)
class ChildRule:
    """What the core knows of a child.

    Attributes:
        id: unique among the children.
        restart: which ends lead to a restart.
        shutdown_s: how long it may take to stop in order before it is ended at once.
    """

    id: str
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """How failures are answered.

    Attributes:
        strategy: who is restarted with whom.
        intensity: restarts allowed within ``period_s``; one more and the supervisor gives up.
        period_s: seconds, above 0.
        backoff_s: wait before the first restart of a child, 0 or more; doubled with each further
            one, and back to this once the child has run for ``period_s``.
        backoff_s_max: its limit.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 3
    period_s: float = 5.0
    backoff_s: float = 0.1
    backoff_s_max: float = 30.0

    def __post_init__(self) -> None:
        if self.intensity < 0:
            raise ValueError("intensity must be 0 or more")
        if self.period_s <= 0:
            raise ValueError("period_s must be above 0")
        if not 0 <= self.backoff_s <= self.backoff_s_max:
            raise ValueError("backoff_s must be between 0 and backoff_s_max")


# Events: what happened.


@dataclass(frozen=True, slots=True)
class Begun:
    """The supervisor starts its work."""


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child is gone; ``has_failed`` when by an exception."""

    id: str
    has_failed: bool


@dataclass(frozen=True, slots=True)
class RestartDue:
    """A timer of ``StartTimer`` fired."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class ShutdownTimedOut:
    """A child has not stopped within its ``shutdown_s``."""

    id: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The supervisor shall stop its children and end."""


SupervisionEvent = Begun | ChildExited | RestartDue | ShutdownTimedOut | StopRequested


# Effects: what must be done.


@dataclass(frozen=True, slots=True)
class StartChild:
    """Make the child and link it; answered by ``ChildExited`` if that fails, or when it ends."""

    id: str


@dataclass(frozen=True, slots=True)
class StopChild:
    """Let the child serve what is queued, then end; ``ShutdownTimedOut`` after ``shutdown_s``."""

    id: str
    shutdown_s: float


@dataclass(frozen=True, slots=True)
class KillChild:
    """End the child at once."""

    id: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer with ``RestartDue(id, generation)`` after ``delay_s``."""

    id: str
    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Finish:
    """All children are gone; end, by an error when ``failure`` says why."""

    failure: str | None


SupervisionEffect = StartChild | StopChild | KillChild | StartTimer | Finish


class ChildState(Enum):
    """Where a child stands."""

    DOWN = "down"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"  # waits, with the others of its group, to be started again


class _Child:
    __slots__ = ("failures", "generation", "place", "rule", "started_s", "state")

    def __init__(self, rule: ChildRule, place: int) -> None:
        self.rule = rule
        self.place = place
        self.state = ChildState.DOWN
        self.started_s = 0.0
        self.failures = 0  # in a row
        self.generation = 0  # of the timer that will restart it

    @property
    def is_up(self) -> bool:
        return self.state in (ChildState.RUNNING, ChildState.STOPPING)


class _Phase(Enum):
    RUNNING = "running"
    SHUTTING_DOWN = "shutting down"
    FINISHED = "finished"


class SupervisionCore:
    """Decides for one supervisor.

    Args:
        rules: of the children, in the order of starting; ids are unique.
        options: see ``SupervisorOptions``.

    Raises:
        ValueError: two children have one id.
    """

    def __init__(self, rules: Sequence[ChildRule], options: SupervisorOptions) -> None:
        self._options = options
        self._children = {rule.id: _Child(rule, place) for place, rule in enumerate(rules)}
        if len(self._children) < len(rules):
            raise ValueError("ids of children must be unique")
        self._restarts_s: deque[float] = deque()  # moments of restarts within the period
        self._phase = _Phase.RUNNING
        self._failure: str | None = None
        # The group that restarts together (one_for_all, rest_for_one): the child whose failure it
        # is, and who must be gone before its back-off begins. Empty for one_for_one.
        self._trigger: _Child | None = None

    def state_of(self, id: str) -> ChildState:
        return self._children[id].state

    def handle(self, event: SupervisionEvent, now_s: float) -> list[SupervisionEffect]:
        """Take an event; returns effects in the order of their execution."""
        match event:
            case Begun():
                return self._start(self._children.values(), now_s)
            case ChildExited(id, has_failed):
                return self._exited(self._children[id], has_failed, now_s)
            case RestartDue(id, generation):
                return self._restart_due(self._children[id], generation, now_s)
            case ShutdownTimedOut(id):
                is_late = self._children[id].state is ChildState.STOPPING
                return [KillChild(id)] if is_late else []
            case StopRequested():
                return self._shut_down(None)

    def check_invariants(self) -> None:
        """Raise ``AssertionError`` when our own books contradict each other."""
        children = self._children.values()
        stopping = [child.rule.id for child in children if child.state is ChildState.STOPPING]
        assert len(stopping) <= 1, f"stopping at once: {stopping}"
        assert len(self._restarts_s) <= self._options.intensity + 1
        if self._phase is _Phase.FINISHED:
            assert all(child.state is ChildState.DOWN for child in children)
        elif self._trigger is None and self._phase is _Phase.RUNNING:
            assert not stopping, f"stopped for no reason: {stopping}"

    # Starting and stopping.

    def _start(self, children: Iterable[_Child], now_s: float) -> list[SupervisionEffect]:
        effects: list[SupervisionEffect] = []
        for child in children:
            child.state = ChildState.RUNNING
            child.started_s = now_s
            effects.append(StartChild(child.rule.id))
        return effects

    def _stop_next(self, children: Iterable[_Child]) -> list[SupervisionEffect]:
        """Stop the last child that still runs, unless one is being stopped already."""
        up = [child for child in children if child.is_up]
        if not up or any(child.state is ChildState.STOPPING for child in up):
            return []
        last = up[-1]
        last.state = ChildState.STOPPING
        return [StopChild(last.rule.id, last.rule.shutdown_s)]

    def _shut_down(self, failure: str | None) -> list[SupervisionEffect]:
        if self._phase is not _Phase.RUNNING:
            return []
        self._phase = _Phase.SHUTTING_DOWN
        self._failure = failure
        self._trigger = None
        for child in self._children.values():
            if child.state is ChildState.BACKOFF:
                self._set_down(child)
        return self._continue_shutdown()

    def _continue_shutdown(self) -> list[SupervisionEffect]:
        if any(child.is_up for child in self._children.values()):
            return self._stop_next(self._children.values())
        self._phase = _Phase.FINISHED
        return [Finish(self._failure)]

    def _set_down(self, child: _Child) -> None:
        child.state = ChildState.DOWN
        child.generation += 1  # a timer that still runs is stale

    # Restarting.

    def _exited(self, child: _Child, has_failed: bool, now_s: float) -> list[SupervisionEffect]:
        if not child.is_up:
            return []
        was_stopped = child.state is ChildState.STOPPING
        self._set_down(child)
        if self._phase is not _Phase.RUNNING:
            return self._continue_shutdown()
        if was_stopped or not _wants_restart(child.rule, has_failed):
            return self._continue_restart()
        self._note_failure(child, now_s)
        if len(self._restarts_s) > self._options.intensity:
            return self._shut_down(
                f"more than {self._options.intensity} restarts within "
                f"{self._options.period_s:g} s, the last of {child.rule.id}"
            )
        if self._options.strategy is Strategy.ONE_FOR_ONE:
            return [self._back_off(child, [child])]
        if self._trigger is None or child.place < self._trigger.place:
            self._trigger = child
        for member in self._group_of(self._trigger):
            if member.state is ChildState.BACKOFF:
                self._set_down(member)  # of a smaller group: it now waits for the whole
        return self._continue_restart()

    def _note_failure(self, child: _Child, now_s: float) -> None:
        period_s = self._options.period_s
        while self._restarts_s and self._restarts_s[0] <= now_s - period_s:
            self._restarts_s.popleft()
        self._restarts_s.append(now_s)
        child.failures = 1 if now_s - child.started_s >= period_s else child.failures + 1

    def _continue_restart(self) -> list[SupervisionEffect]:
        """Go on with the restart of a group: stop the next member, or begin the back-off."""
        trigger = self._trigger
        if trigger is None:
            return []
        group = self._group_of(trigger)
        if any(child.is_up for child in group):
            return self._stop_next(group)
        again = [child for child in group if child.rule.restart is not Restart.TEMPORARY]
        self._trigger = None
        return [self._back_off(trigger, again)]

    def _group_of(self, trigger: _Child) -> list[_Child]:
        everyone = list(self._children.values())
        rests = self._options.strategy is Strategy.REST_FOR_ONE
        return everyone[trigger.place :] if rests else everyone

    def _back_off(self, trigger: _Child, again: list[_Child]) -> SupervisionEffect:
        for child in again:
            self._set_down(child)
            child.state = ChildState.BACKOFF
        return StartTimer(trigger.rule.id, trigger.generation, self._backoff_s(trigger.failures))

    def _backoff_s(self, failures: int) -> float:
        doublings = min(failures - 1, 64)  # beyond any limit that makes sense
        return float(min(self._options.backoff_s * 2**doublings, self._options.backoff_s_max))

    def _restart_due(
        self, trigger: _Child, generation: int, now_s: float
    ) -> list[SupervisionEffect]:
        if trigger.state is not ChildState.BACKOFF or trigger.generation != generation:
            return []
        if self._options.strategy is Strategy.ONE_FOR_ONE:
            return self._start([trigger], now_s)
        waiting = [child for child in self._group_of(trigger) if child.state is ChildState.BACKOFF]
        return self._start(waiting, now_s)


def _wants_restart(rule: ChildRule, has_failed: bool) -> bool:
    match rule.restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return has_failed
        case Restart.TEMPORARY:
            return False


__all__ = [
    "Begun",
    "ChildExited",
    "ChildRule",
    "ChildState",
    "Finish",
    "KillChild",
    "Restart",
    "RestartDue",
    "ShutdownTimedOut",
    "StartChild",
    "StartTimer",
    "StopChild",
    "StopRequested",
    "Strategy",
    "SupervisionCore",
    "SupervisionEffect",
    "SupervisionEvent",
    "SupervisorOptions",
]
