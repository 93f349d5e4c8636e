"""Events and effects of the executors' core (`cluster.core.agent.executors`).

Events are facts; effects are orders, to be carried out in the order given. Those that come straight
from a message, or go straight into one, are in `cluster.model.executors`.
"""

from dataclasses import dataclass
from enum import Enum

from cluster.model.executors import (
    DrainRequested,
    ExecutorDescription,
    ExecutorReported,
    MakeUpdate,
    TaskArrived,
    TaskDescription,
    TasksReconciled,
    TaskUnacceptable,
)
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.volumes import VolumeMount

# --- Events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KillRequested:
    """Somebody wants a task killed; `policy` is the ``KillPolicy`` to pass on, or None."""

    framework_id: FrameworkId
    task_id: TaskId
    policy: object | None


@dataclass(frozen=True, slots=True)
class ExecutorShutdownRequested:
    framework_id: FrameworkId
    executor_id: ExecutorId


@dataclass(frozen=True, slots=True)
class FrameworkShutdownRequested:
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class AgentShutdownRequested:
    """Everything must end; `EverythingEnded` follows when it has."""


@dataclass(frozen=True, slots=True)
class FrameworkChanged:
    """A framework has a new address or describes itself anew (`spec` None: as before)."""

    framework_id: FrameworkId
    address: str
    spec: FrameworkSpec | None


@dataclass(frozen=True, slots=True)
class ExecutorCame:
    """An executor's driver started and asks to be registered."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    address: str


@dataclass(frozen=True, slots=True)
class ExecutorSpoke:
    """An executor has a message for its framework."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True)
class FrameworkSpoke:
    """A framework has a message for one of its executors."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """The root process of a container runs."""

    container_id: ContainerId
    os_pid: int


@dataclass(frozen=True, slots=True)
class ContainerLaunchFailed:
    container_id: ContainerId
    text: str


@dataclass(frozen=True, slots=True)
class ContainerEnded:
    """All processes of a container are gone; `wait_status` is its root's, raw."""

    container_id: ContainerId
    wait_status: int
    text: str


@dataclass(frozen=True, slots=True)
class ContainerUpdated:
    """A container sees the volumes that `UpdateContainer` ordered."""

    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class ContainerUpdateFailed:
    container_id: ContainerId
    text: str


@dataclass(frozen=True, slots=True)
class DrainEnded:
    """Nothing is left here: no executors, no updates, no operations."""


@dataclass(frozen=True, slots=True)
class TimeElapsed:
    """A timer asked for by `StartTimer` fired."""

    key: "TimerKey"
    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class StatusNoted:
    """An update of a task entered its stream; `payload` is the ``TaskStatus``."""

    framework_id: FrameworkId
    task_id: TaskId
    state: TaskState
    payload: object


@dataclass(frozen=True, slots=True)
class StatusForwarded:
    """An update of a task was sent to the master."""

    framework_id: FrameworkId
    task_id: TaskId
    state: TaskState
    uuid: bytes


@dataclass(frozen=True, slots=True)
class StatusSettled:
    """An update of a task was acknowledged by its framework."""

    framework_id: FrameworkId
    task_id: TaskId
    state: TaskState


Event = (
    TaskArrived
    | TaskUnacceptable
    | KillRequested
    | ExecutorShutdownRequested
    | FrameworkShutdownRequested
    | AgentShutdownRequested
    | FrameworkChanged
    | TasksReconciled
    | ExecutorCame
    | ExecutorReported
    | ExecutorSpoke
    | FrameworkSpoke
    | ContainerStarted
    | ContainerLaunchFailed
    | ContainerEnded
    | ContainerUpdated
    | ContainerUpdateFailed
    | DrainRequested
    | DrainEnded
    | TimeElapsed
    | StatusNoted
    | StatusForwarded
    | StatusSettled
)


# --- Effects --------------------------------------------------------------------------------------


class TimerKey(Enum):
    """What a container's timer waits for."""

    REGISTRATION = "registration"
    SHUTDOWN_GRACE = "shutdown grace"


@dataclass(frozen=True, slots=True)
class LaunchContainer:
    """Make a sandbox and start the executor in it; report started, failed and ended.

    `volumes` are shown in the sandbox before the executor starts.
    """

    container_id: ContainerId
    framework: FrameworkSpec
    executor: ExecutorDescription
    task: TaskDescription
    volumes: tuple[VolumeMount, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateContainer:
    """Show a container exactly these volumes; report updated or failed."""

    container_id: ContainerId
    volumes: tuple[VolumeMount, ...]


@dataclass(frozen=True, slots=True)
class DestroyContainer:
    """Kill everything in a container; its end is reported as usual."""

    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class StartTimer:
    key: TimerKey
    container_id: ContainerId
    delay_s: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    key: TimerKey
    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class ConfirmExecutor:
    """Tell an executor that it is registered."""

    address: str
    framework: FrameworkSpec
    executor: ExecutorDescription


@dataclass(frozen=True, slots=True)
class DeliverTask:
    address: str
    framework: FrameworkSpec
    framework_address: str
    task: TaskDescription


@dataclass(frozen=True, slots=True)
class DeliverKill:
    """Tell an executor to kill a task; `grace_s`, when not None, is used in place of `policy`."""

    address: str
    framework_id: FrameworkId
    task_id: TaskId
    policy: object | None
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class DeliverShutdown:
    """Tell an executor to end."""

    address: str


@dataclass(frozen=True, slots=True)
class DeliverToExecutor:
    """Hand a framework's message to its executor."""

    address: str
    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True)
class DeliverToFramework:
    """Hand an executor's message to its framework: directly, or by the master without address."""

    address: str
    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True)
class PassUpdate:
    """Put an executor's update into its task's stream.

    `container_id` and `os_pid` complete the update's container status; both are None when the
    executor is not known here. `state` and `reason` are what the framework is told: the executor's
    own, unless the agent knows better why the task ended.
    """

    report: ExecutorReported
    executor_id: ExecutorId | None
    container_id: ContainerId | None
    os_pid: int | None
    is_checkpointed: bool
    state: TaskState
    reason: UpdateReason | None


@dataclass(frozen=True, slots=True)
class ReportExit:
    """Tell the master that an executor is gone; -1 for one that never ran."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    wait_status: int


@dataclass(frozen=True, slots=True)
class ExecutorRemoved:
    """Nothing is left to do for an executor: its sandbox may be collected."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class FrameworkRemoved:
    """A framework runs nothing here. With `is_shut_down` nobody waits for its updates either."""

    framework_id: FrameworkId
    is_shut_down: bool


@dataclass(frozen=True, slots=True)
class EverythingEnded:
    """The shutdown of the agent is complete."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event changed nothing; `why` is for the log."""

    why: str


Effect = (
    LaunchContainer
    | UpdateContainer
    | DestroyContainer
    | StartTimer
    | CancelTimer
    | ConfirmExecutor
    | DeliverTask
    | DeliverKill
    | DeliverShutdown
    | DeliverToExecutor
    | DeliverToFramework
    | MakeUpdate
    | PassUpdate
    | ReportExit
    | ExecutorRemoved
    | FrameworkRemoved
    | EverythingEnded
    | Ignored
)

__all__ = [
    "AgentShutdownRequested",
    "CancelTimer",
    "ConfirmExecutor",
    "ContainerEnded",
    "ContainerLaunchFailed",
    "ContainerStarted",
    "ContainerUpdateFailed",
    "ContainerUpdated",
    "DeliverKill",
    "DeliverShutdown",
    "DeliverTask",
    "DeliverToExecutor",
    "DeliverToFramework",
    "DestroyContainer",
    "DrainEnded",
    "DrainRequested",
    "Effect",
    "Event",
    "EverythingEnded",
    "ExecutorCame",
    "ExecutorDescription",
    "ExecutorRemoved",
    "ExecutorReported",
    "ExecutorShutdownRequested",
    "ExecutorSpoke",
    "FrameworkChanged",
    "FrameworkRemoved",
    "FrameworkShutdownRequested",
    "FrameworkSpoke",
    "Ignored",
    "KillRequested",
    "LaunchContainer",
    "MakeUpdate",
    "PassUpdate",
    "ReportExit",
    "StartTimer",
    "StatusForwarded",
    "StatusNoted",
    "StatusSettled",
    "TaskArrived",
    "TaskDescription",
    "TaskUnacceptable",
    "TasksReconciled",
    "TimeElapsed",
    "TimerKey",
    "UpdateContainer",
]
