"""The life of the one task of a command executor: start, end, kill with grace, time limit.

No processes and no clock here; the shell (``cluster/command_executor.py``) starts the command,
sends signals and status updates, and reports back what happened.

    IDLE --TaskGiven--> STARTING --CommandStarted--> RUNNING --CommandExited--> DONE --> Exit
                           |                            |                         ^
                           |                       KillAsked, ShutdownAsked,      |
                           |                       too long                       |
                           |                            v                         |
                           |                         KILLING ----CommandExited----+
                           +--------------CommandNotStarted-----------------------+

Source: agent.md §10.1; the texts of the recorded status updates.
"""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import InvariantBroken
from cluster.model.ids import TaskId
from cluster.model.task_states import TaskState, UpdateReason

if TYPE_CHECKING:
    from cluster.wire.pb import mesos_pb2 as mesos

KILL_GRACE_S_DEFAULT = 3.0
# A shutdown must be over before the agent destroys the container: noticing the exit of the
# command may take one reap interval, and telling the agent up to a second.
REAP_INTERVAL_S = 0.1
SHUTDOWN_MARGIN_S = 1.0
TERMINAL_ACKNOWLEDGEMENT_WAIT_S = 1.0


class Phase(enum.Enum):
    """Where the task is."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    KILLING = "killing"
    DONE = "done"


class TimerKey(enum.Enum):
    """The timers of this core; each has its own generation."""

    GRACE = "grace"
    COMPLETION = "completion"
    GOODBYE = "goodbye"


# ---- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentFound:
    """(Re-)registered; ``can_show_killing``: the framework understands TASK_KILLING."""

    can_show_killing: bool | None = None  # None: a re-registration, which does not say


@dataclass(frozen=True, slots=True)
class AgentAway:
    """The agent is lost but may return."""


@dataclass(frozen=True, slots=True)
class TaskGiven:
    """``kill_grace_s`` and ``completion_s_max`` come from the TaskInfo, None when it has none."""

    task_id: TaskId
    task: "mesos.TaskInfo"
    kill_grace_s: float | None = None
    completion_s_max: float | None = None


@dataclass(frozen=True, slots=True)
class CommandStarted:
    """The command runs."""


@dataclass(frozen=True, slots=True)
class CommandNotStarted:
    """``reason`` names the command and what is wrong with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class CommandExited:
    """``exit_status`` is 0..255; None when ``signal_name`` tells what ended the command."""

    exit_status: int | None
    signal_name: str = ""


@dataclass(frozen=True, slots=True)
class KillAsked:
    """The task is to be ended; ``grace_s`` overrides its own kill policy."""

    task_id: TaskId
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    """End within ``grace_s``; then the container is destroyed."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class TerminalAcknowledged:
    """The agent has stored the last status update."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The timer of that key and generation fired."""

    key: TimerKey
    generation: int


CommandTaskEvent = (
    AgentFound
    | AgentAway
    | TaskGiven
    | CommandStarted
    | CommandNotStarted
    | CommandExited
    | KillAsked
    | ShutdownAsked
    | TerminalAcknowledged
    | TimerFired
)


# ---- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Run the command of this task."""

    task: "mesos.TaskInfo"


@dataclass(frozen=True, slots=True)
class SendStatus:
    """``is_last``: this is the terminal update of the task (TerminalAcknowledged refers to it)."""

    task_id: TaskId
    state: TaskState
    message: str | None = None
    reason: UpdateReason | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class AskToEnd:
    """SIGTERM to the whole process tree."""


@dataclass(frozen=True, slots=True)
class ForceToEnd:
    """SIGKILL to the whole process tree."""


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer TimerFired after that time."""

    key: TimerKey
    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Nothing is left to do: the executor may go."""


CommandTaskEffect = StartCommand | SendStatus | AskToEnd | ForceToEnd | StartTimer | Report | Exit


class CommandTaskCore:
    """State and decisions of one command executor."""

    def __init__(self) -> None:
        self._phase = Phase.IDLE
        self._task_id: TaskId | None = None
        self._kill_grace_s = KILL_GRACE_S_DEFAULT
        self._completion_s_max: float | None = None
        self._can_show_killing = False
        self._is_agent_here = False
        self._kill_by_s: float | None = None
        self._pending_kill: KillAsked | None = None
        self._is_too_long = False
        self._is_acknowledged = False
        self._generations = dict.fromkeys(TimerKey, 0)

    @property
    def phase(self) -> Phase:
        return self._phase

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the books contradict each other."""
        if (self._phase is Phase.IDLE) != (self._task_id is None):
            raise InvariantBroken(f"phase {self._phase.value} with task {self._task_id}")
        if self._phase is Phase.KILLING and self._kill_by_s is None:
            raise InvariantBroken("killing without a deadline")

    def handle(self, event: CommandTaskEvent, now_s: float) -> list[CommandTaskEffect]:
        """Take one event; returns what must be done, in this order."""
        match event:
            case AgentFound(can_show_killing):
                return self._on_agent_found(can_show_killing)
            case AgentAway():
                self._is_agent_here = False
                self._generations[TimerKey.GOODBYE] += 1
                return []
            case TaskGiven():
                return self._on_task(event)
            case CommandStarted():
                return self._on_started(now_s)
            case CommandNotStarted(reason):
                return self._finish(TaskState.FAILED, reason)
            case CommandExited():
                return self._on_exited(event)
            case KillAsked():
                return self._on_kill(event, now_s)
            case ShutdownAsked(grace_s):
                return self._on_shutdown(grace_s, now_s)
            case TerminalAcknowledged():
                self._is_acknowledged = True
                return [Exit()]
            case TimerFired(key, generation):
                return self._on_timer(key, generation, now_s)

    # ---- start

    def _on_agent_found(self, can_show_killing: bool | None) -> list[CommandTaskEffect]:
        self._is_agent_here = True
        if can_show_killing is not None:
            self._can_show_killing = can_show_killing
        return self._say_goodbye() if self._phase is Phase.DONE else []

    def _on_task(self, event: TaskGiven) -> list[CommandTaskEffect]:
        if self._phase is not Phase.IDLE:
            text = f"this executor runs only one task, and that is {self._task_id}"
            return [SendStatus(event.task_id, TaskState.FAILED, text)]
        self._phase = Phase.STARTING
        self._task_id = event.task_id
        self._completion_s_max = event.completion_s_max
        if event.kill_grace_s is not None:
            self._kill_grace_s = event.kill_grace_s
        return [SendStatus(event.task_id, TaskState.STARTING), StartCommand(event.task)]

    def _on_started(self, now_s: float) -> list[CommandTaskEffect]:
        if self._phase is not Phase.STARTING or self._task_id is None:
            return []
        self._phase = Phase.RUNNING
        effects: list[CommandTaskEffect] = [SendStatus(self._task_id, TaskState.RUNNING)]
        if self._completion_s_max is not None:
            effects.append(self._timer(TimerKey.COMPLETION, self._completion_s_max))
        if self._pending_kill is not None:
            effects += self._on_kill(self._pending_kill, now_s)
        return effects

    # ---- kill

    def _on_kill(self, event: KillAsked, now_s: float) -> list[CommandTaskEffect]:
        if self._task_id is None or event.task_id != self._task_id:
            return [Report(f"ignoring the kill of {event.task_id}: not the task of this executor")]
        grace_s = self._kill_grace_s if event.grace_s is None else event.grace_s
        match self._phase:
            case Phase.STARTING:
                self._pending_kill = event
                return []
            case Phase.RUNNING:
                return self._kill(grace_s, now_s)
            case Phase.KILLING:
                return self._kill_sooner(now_s + grace_s, now_s)
            case Phase.IDLE | Phase.DONE:
                return []

    def _kill(self, grace_s: float, now_s: float) -> list[CommandTaskEffect]:
        self._phase = Phase.KILLING
        self._kill_by_s = now_s + grace_s
        effects: list[CommandTaskEffect] = []
        if self._can_show_killing and self._task_id is not None:
            effects.append(SendStatus(self._task_id, TaskState.KILLING))
        return [*effects, AskToEnd(), self._timer(TimerKey.GRACE, grace_s)]

    def _kill_sooner(self, kill_by_s: float, now_s: float) -> list[CommandTaskEffect]:
        if self._kill_by_s is None or kill_by_s >= self._kill_by_s:
            return []
        self._kill_by_s = kill_by_s
        return [self._timer(TimerKey.GRACE, max(0.0, kill_by_s - now_s))]

    def _on_shutdown(self, grace_s: float, now_s: float) -> list[CommandTaskEffect]:
        if self._task_id is None:
            return [Exit()]
        if self._phase is Phase.DONE:
            return [Exit()] if self._is_acknowledged else self._say_goodbye()
        left_s = max(0.0, grace_s - REAP_INTERVAL_S - SHUTDOWN_MARGIN_S)
        return self._on_kill(KillAsked(self._task_id, left_s), now_s)

    def _on_timer(self, key: TimerKey, generation: int, now_s: float) -> list[CommandTaskEffect]:
        if generation != self._generations[key]:
            return []
        match key:
            case TimerKey.GRACE:
                return [ForceToEnd()] if self._phase is Phase.KILLING else []
            case TimerKey.COMPLETION:
                return self._on_too_long(now_s)
            case TimerKey.GOODBYE:
                return [Exit()]

    def _on_too_long(self, now_s: float) -> list[CommandTaskEffect]:
        if self._phase is not Phase.RUNNING:
            return []
        self._is_too_long = True
        return self._kill(0.0, now_s)

    # ---- end

    def _on_exited(self, event: CommandExited) -> list[CommandTaskEffect]:
        if event.exit_status is None:
            text = f"Command terminated with signal {event.signal_name}"
        else:
            text = f"Command exited with status {event.exit_status}"
        if self._is_too_long:
            return self._finish(TaskState.FAILED, text, UpdateReason.MAX_COMPLETION_TIME_REACHED)
        if self._phase is Phase.KILLING:
            return self._finish(TaskState.KILLED, text)
        return self._finish(
            TaskState.FINISHED if event.exit_status == 0 else TaskState.FAILED, text
        )

    def _finish(
        self, state: TaskState, message: str, reason: UpdateReason | None = None
    ) -> list[CommandTaskEffect]:
        if self._task_id is None or self._phase is Phase.DONE:
            return []
        self._phase = Phase.DONE
        last = SendStatus(self._task_id, state, message, reason, is_last=True)
        # Differs: the original leaves after a second even when the agent is restarting just now,
        # and the result of the task is lost (recorded). This one waits for the agent; the recovery
        # timeout of the driver ends the wait.
        return [last, *self._say_goodbye()] if self._is_agent_here else [last]

    def _say_goodbye(self) -> list[CommandTaskEffect]:
        return [self._timer(TimerKey.GOODBYE, TERMINAL_ACKNOWLEDGEMENT_WAIT_S)]

    def _timer(self, key: TimerKey, delay_s: float) -> StartTimer:
        self._generations[key] += 1
        return StartTimer(key, self._generations[key], delay_s)


__all__ = [
    "KILL_GRACE_S_DEFAULT",
    "REAP_INTERVAL_S",
    "SHUTDOWN_MARGIN_S",
    "TERMINAL_ACKNOWLEDGEMENT_WAIT_S",
    "AgentAway",
    "AgentFound",
    "AskToEnd",
    "CommandExited",
    "CommandNotStarted",
    "CommandStarted",
    "CommandTaskCore",
    "CommandTaskEffect",
    "CommandTaskEvent",
    "Exit",
    "ForceToEnd",
    "KillAsked",
    "Phase",
    "Report",
    "SendStatus",
    "ShutdownAsked",
    "StartCommand",
    "StartTimer",
    "TaskGiven",
    "TerminalAcknowledged",
    "TimerFired",
    "TimerKey",
]
