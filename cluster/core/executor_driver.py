"""What an executor driver decides: registration, which updates are still owed, when to shut down.

No I/O and no clock here; the shell (``cluster/executor.py``) turns messages into the events below
and carries the effects out in order. Protocol messages ride along unopened.

    registering --AgentRegisteredUs--> connected --AgentLinkBroken--> disconnected
                                          ^                            |  (checkpointing only)
                                          +---AgentReregisteredUs------+
    disconnected for the recovery timeout, a broken link without checkpointing, ShutdownAsked:
        Shutdown is delivered and the driver is over

Source: drivers.md §5; the recorded exchanges of the 1.12 executors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.core.executor_events import (
    Acknowledged,
    Disconnected,
    Error,
    ExecutorEvent,
    FrameworkMessage,
    Kill,
    Launch,
    Registered,
    Reregistered,
    Shutdown,
)
from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.durations import parse_duration
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId

if TYPE_CHECKING:
    from cluster.wire.pb import mesos_pb2 as mesos
    from cluster.wire.pb import messages_pb2 as internal

SHUTDOWN_GRACE_S_DEFAULT = 5.0
RECOVERY_TIMEOUT_S_DEFAULT = 15 * 60.0
UNACKNOWLEDGED_UPDATES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class ExecutorEnvironment:
    """What the agent tells its executor through environment variables (agent.md §4)."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    agent_id: AgentId
    agent: str  # PID as text
    directory: str
    is_checkpointing: bool = False
    recovery_timeout_s: float = RECOVERY_TIMEOUT_S_DEFAULT
    shutdown_grace_s: float = SHUTDOWN_GRACE_S_DEFAULT
    is_local: bool = False  # runs inside the agent's process: nothing may be killed

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> "ExecutorEnvironment":
        """Read the variables.

        Raises:
            InvalidInput: a required variable is missing or a value cannot be read; ``field`` is
                the name of the variable.
        """
        return cls(
            framework_id=FrameworkId(_required(environ, "MESOS_FRAMEWORK_ID")),
            executor_id=ExecutorId(_required(environ, "MESOS_EXECUTOR_ID")),
            agent_id=AgentId(_required(environ, "MESOS_SLAVE_ID")),
            agent=_required(environ, "MESOS_SLAVE_PID"),
            directory=environ.get("MESOS_DIRECTORY", ""),
            is_checkpointing=_flag(environ, "MESOS_CHECKPOINT"),
            recovery_timeout_s=_duration(
                environ, "MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT_S_DEFAULT
            ),
            shutdown_grace_s=_duration(
                environ, "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", SHUTDOWN_GRACE_S_DEFAULT
            ),
            is_local="MESOS_LOCAL" in environ,
        )


def _required(environ: Mapping[str, str], name: str) -> str:
    if value := environ.get(name):
        return value
    raise InvalidInput(name, "must be set; an executor is started by an agent, not by hand")


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "0")
    if value not in ("0", "1"):
        raise InvalidInput(name, f"must be 0 or 1, not {value!r}")
    return value == "1"


def _duration(environ: Mapping[str, str], name: str, default_s: float) -> float:
    if (text := environ.get(name)) is None:
        return default_s
    return parse_duration(text, field=name)


# ---- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The driver starts."""


@dataclass(frozen=True, slots=True)
class AgentRegisteredUs:
    """ExecutorRegistered came."""

    event: Registered


@dataclass(frozen=True, slots=True)
class AgentReregisteredUs:
    """ExecutorReregistered came."""

    event: Reregistered


@dataclass(frozen=True, slots=True)
class ReconnectAsked:
    """A restarted agent looks for its executors; it listens at ``sender`` (PID as text)."""

    sender: str
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class AgentLinkBroken:
    """The link to that agent broke."""

    agent: str


@dataclass(frozen=True, slots=True)
class RecoveryTimedOut:
    """The recovery timer of that generation fired."""

    generation: int


@dataclass(frozen=True, slots=True)
class TaskGiven:
    """RunTask came."""

    task_id: TaskId
    task: "mesos.TaskInfo"


@dataclass(frozen=True, slots=True)
class KillAsked:
    """The task is to be ended."""

    kill: Kill


@dataclass(frozen=True, slots=True)
class UpdateAcknowledged:
    """The agent has stored an update."""

    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Bytes from the scheduler came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    """The agent ends this executor."""


@dataclass(frozen=True, slots=True)
class UpdateMade:
    """The executor reports a task; ``update`` is complete (uuid, timestamp, ids)."""

    task_id: TaskId
    uuid: bytes
    update: "internal.StatusUpdate"


@dataclass(frozen=True, slots=True)
class MessageToFrameworkAsked:
    """The executor writes to its scheduler."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The executor ends its driver."""


@dataclass(frozen=True, slots=True)
class AbortAsked:
    """The program wants to hear nothing more."""


ExecutorDriverEvent = (
    Started
    | AgentRegisteredUs
    | AgentReregisteredUs
    | ReconnectAsked
    | AgentLinkBroken
    | RecoveryTimedOut
    | TaskGiven
    | KillAsked
    | UpdateAcknowledged
    | MessageReceived
    | ShutdownAsked
    | UpdateMade
    | MessageToFrameworkAsked
    | StopAsked
    | AbortAsked
)


# ---- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkAgent:
    """Have a link to ``agent``; ``reconnect`` forces a new socket."""

    agent: str
    reconnect: bool


@dataclass(frozen=True, slots=True)
class SendRegister:
    """Register at that agent."""

    agent: str


@dataclass(frozen=True, slots=True)
class SendReregister:
    """With everything that the agent may have lost, in the order it was made."""

    agent: str
    tasks: "tuple[mesos.TaskInfo, ...]"
    updates: "tuple[internal.StatusUpdate, ...]"


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Report a task."""

    agent: str
    update: "internal.StatusUpdate"


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Pass bytes for the scheduler on."""

    agent: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StartRecoveryTimer:
    """Answer RecoveryTimedOut after that time."""

    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class StartWatchdog:
    """Kill this whole process group after ``grace_s``, whatever the executor does meanwhile."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand an event to the executor."""

    event: ExecutorEvent


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The driver counts as aborted from here on, also for its user."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows: the actor of this driver may go."""


ExecutorDriverEffect = (
    LinkAgent
    | SendRegister
    | SendReregister
    | SendUpdate
    | SendMessage
    | StartRecoveryTimer
    | StartWatchdog
    | Deliver
    | Report
    | Abort
    | End
)


class ExecutorDriverCore:
    """State and decisions of one executor driver.

    Args:
        environment: what the agent told us.
        lingers_after_shutdown: keep sending updates after Shutdown was delivered, until the
            executor stops by itself. The built-in command executor needs that to report the task
            it kills; the classic interface is aborted by a shutdown (drivers.md §5).
    """

    def __init__(
        self, environment: ExecutorEnvironment, *, lingers_after_shutdown: bool = False
    ) -> None:
        self._environment = environment
        self._lingers = lingers_after_shutdown
        self._agent = environment.agent
        self._is_connected = False
        self._was_registered = False
        self._is_shutting_down = False
        self._is_over = False
        self._generation = 0
        self._tasks: dict[TaskId, mesos.TaskInfo] = {}
        self._updates: dict[bytes, UpdateMade] = {}

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def is_over(self) -> bool:
        return self._is_over

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the books contradict each other."""
        if len(self._updates) > UNACKNOWLEDGED_UPDATES_MAX:
            raise InvariantBroken("more unacknowledged updates than the limit allows")
        if any(uuid != made.uuid for uuid, made in self._updates.items()):
            raise InvariantBroken("an update is filed under another uuid")

    def handle(self, event: ExecutorDriverEvent, now_s: float) -> list[ExecutorDriverEffect]:
        """Take one event; returns what must be done, in this order (nothing after the end)."""
        if self._is_over:
            return []
        match event:
            case Started():
                return [LinkAgent(self._agent, reconnect=False), SendRegister(self._agent)]
            case AgentRegisteredUs(registered):
                self._connect()
                return [Deliver(registered)]
            case AgentReregisteredUs(reregistered):
                self._connect()
                return [Deliver(reregistered)]
            case ReconnectAsked(sender, agent_id):
                return self._on_reconnect(sender, agent_id)
            case AgentLinkBroken(agent):
                return self._on_link_broken(agent)
            case RecoveryTimedOut(generation):
                return self._on_recovery_timeout(generation)
            case TaskGiven(task_id, task):
                return self._on_task(task_id, task)
            case KillAsked(kill):
                return [Deliver(kill)]
            case UpdateAcknowledged(task_id, uuid):
                return self._on_acknowledged(task_id, uuid)
            case MessageReceived(data):
                return [Deliver(FrameworkMessage(data))] if self._is_connected else []
            case ShutdownAsked():
                return self._shut_down()
            case UpdateMade():
                return self._on_update(event)
            case MessageToFrameworkAsked(data):
                return [SendMessage(self._agent, data)] if self._is_connected else []
            case StopAsked():
                self._is_over = True
                return [End()]
            case AbortAsked():
                return self._abort()

    # ---- the agent comes and goes

    def _connect(self) -> None:
        self._is_connected = self._was_registered = True
        self._generation += 1  # a running recovery timer is void

    def _on_reconnect(self, sender: str, agent_id: AgentId) -> list[ExecutorDriverEffect]:
        if agent_id != self._environment.agent_id:
            return [Report(f"ignoring agent {agent_id}: this executor belongs to another")]
        self._agent = sender
        tasks = tuple(self._tasks.values())
        updates = tuple(made.update for made in self._updates.values())
        return [LinkAgent(sender, reconnect=True), SendReregister(sender, tasks, updates)]

    def _on_link_broken(self, agent: str) -> list[ExecutorDriverEffect]:
        if agent != self._agent:
            return []
        if not (self._environment.is_checkpointing and self._was_registered):
            return [Report(f"agent {agent} is gone, shutting down"), *self._shut_down()]
        if not self._is_connected:
            # Differs: the original ends here when an agent dies again while it recovers; the
            # recovery timer that is running already gives it the same chance as the first time.
            return []
        self._is_connected = False
        self._generation += 1
        timeout_s = self._environment.recovery_timeout_s
        return [
            Report(f"agent {agent} is gone, waiting {timeout_s:g} s for its return"),
            StartRecoveryTimer(self._generation, timeout_s),
            Deliver(Disconnected()),
        ]

    def _on_recovery_timeout(self, generation: int) -> list[ExecutorDriverEffect]:
        if generation != self._generation or self._is_connected:
            return []
        return [Report("the agent did not return in time, shutting down"), *self._shut_down()]

    def _shut_down(self) -> list[ExecutorDriverEffect]:
        if self._is_shutting_down:
            return []
        self._is_shutting_down = True
        watchdog: list[ExecutorDriverEffect] = []
        if not self._environment.is_local:
            watchdog = [StartWatchdog(self._environment.shutdown_grace_s)]
        if self._lingers:
            return [*watchdog, Deliver(Shutdown())]
        return [*watchdog, Deliver(Shutdown()), *self._abort()]

    # ---- tasks and updates

    def _on_task(self, task_id: TaskId, task: "mesos.TaskInfo") -> list[ExecutorDriverEffect]:
        if not self._is_connected:
            return [Report(f"ignoring task {task_id}: not registered with the agent")]
        self._tasks[task_id] = task
        return [Deliver(Launch(task))]

    def _on_update(self, made: UpdateMade) -> list[ExecutorDriverEffect]:
        if len(self._updates) >= UNACKNOWLEDGED_UPDATES_MAX:
            text = f"{UNACKNOWLEDGED_UPDATES_MAX} status updates wait for acknowledgement"
            self._is_over = True
            self._is_connected = False
            return [Abort(), Deliver(Error(text)), End()]
        self._updates[made.uuid] = made
        # Sent even while disconnected: a lost copy is repeated by the re-registration.
        return [SendUpdate(self._agent, made.update)]

    def _on_acknowledged(self, task_id: TaskId, uuid: bytes) -> list[ExecutorDriverEffect]:
        if self._updates.pop(uuid, None) is None:
            return []
        self._tasks.pop(task_id, None)
        return [Deliver(Acknowledged(task_id, uuid))]

    def _abort(self) -> list[ExecutorDriverEffect]:
        self._is_over = True
        self._is_connected = False
        return [Abort(), End()]


__all__ = [
    "RECOVERY_TIMEOUT_S_DEFAULT",
    "SHUTDOWN_GRACE_S_DEFAULT",
    "UNACKNOWLEDGED_UPDATES_MAX",
    "Abort",
    "AbortAsked",
    "AgentLinkBroken",
    "AgentRegisteredUs",
    "AgentReregisteredUs",
    "Deliver",
    "End",
    "ExecutorDriverCore",
    "ExecutorDriverEffect",
    "ExecutorDriverEvent",
    "ExecutorEnvironment",
    "KillAsked",
    "LinkAgent",
    "MessageReceived",
    "MessageToFrameworkAsked",
    "ReconnectAsked",
    "RecoveryTimedOut",
    "Report",
    "SendMessage",
    "SendRegister",
    "SendReregister",
    "SendUpdate",
    "ShutdownAsked",
    "StartRecoveryTimer",
    "StartWatchdog",
    "Started",
    "StopAsked",
    "TaskGiven",
    "UpdateAcknowledged",
    "UpdateMade",
]
