"""Executors and tasks on an agent: what crosses the border between its messages and its decisions.

Descriptions are what a framework asks for; *facts* come in from master and executors, *orders* and
snapshots go out to them. Addresses are texts that the shell maps to PIDs, "" being nobody. Payloads
are the peers' own messages, passed through unread.
"""

from dataclasses import dataclass

from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import ExecutorId, FrameworkId, TaskId
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason


@dataclass(frozen=True, slots=True)
class ExecutorDescription:
    """An executor as it is asked for.

    Attributes:
        is_generated: made by the agent to run one command task; the master does not know of it.
        resources: what the executor itself takes, on top of its tasks.
        shutdown_grace_s: how long it may take to end when told to; None for the agent's default.
        payload: its ``ExecutorInfo``.
    """

    executor_id: ExecutorId
    name: str
    source: str
    is_generated: bool
    resources: Resources
    shutdown_grace_s: float | None
    payload: object


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """A task as it is asked for.

    Attributes:
        payload: its ``TaskInfo``.
        kill_grace_s: how long it wants between being told to end and being killed; None for "as
            its executor does".
    """

    task_id: TaskId
    name: str
    resources: Resources
    payload: object
    kill_grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class TaskArrived:
    """The master wants a task run.

    Attributes:
        launch_executor: the master's belief: True when it thinks the executor must be started,
            False when it thinks it is there, None from a master that does not say.
        is_version_current: the launch was computed on the resources the agent has now.
        unknown: reservations and volumes that the launch needs and the agent does not have.
    """

    framework: FrameworkSpec
    framework_address: str
    executor: ExecutorDescription
    task: TaskDescription
    launch_executor: bool | None
    is_version_current: bool
    unknown: Resources = EMPTY


@dataclass(frozen=True, slots=True)
class TaskUnacceptable:
    """A launch breaks a rule that this agent checks itself; `text` names field and rule.

    `executor` is the one the task was for, None when its description is what breaks the rule.
    """

    framework: FrameworkSpec
    executor: ExecutorDescription | None
    task_id: TaskId
    text: str
    is_of_group: bool = False


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """All tasks shall be killed, and none started until nothing is left here.

    Attributes:
        max_grace_s: the longest that a task may take to end, None for what it says itself.
        is_mark_gone: the agent will be marked gone, and its tasks with it.
        payload: the ``DrainConfig``.
    """

    max_grace_s: float | None
    is_mark_gone: bool
    payload: object


@dataclass(frozen=True, slots=True)
class TasksReconciled:
    """The master believes that these tasks run here.

    `is_partition_aware` is the framework's, where the master told; None for "not told".
    """

    framework_id: FrameworkId
    task_ids: tuple[TaskId, ...]
    is_partition_aware: bool | None


@dataclass(frozen=True, slots=True)
class ExecutorReported:
    """An executor has news of a task. `payload` is the ``StatusUpdate``."""

    framework_id: FrameworkId
    executor_id: ExecutorId | None
    task_id: TaskId
    state: TaskState
    address: str
    payload: object


@dataclass(frozen=True, slots=True)
class MakeUpdate:
    """Tell the framework something about a task in the agent's own name."""

    framework_id: FrameworkId
    executor_id: ExecutorId | None
    task_id: TaskId
    state: TaskState
    reason: UpdateReason
    message: str
    is_checkpointed: bool


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """A task as the agent knows it: launched, or about to be, and not settled.

    Attributes:
        executor_id: None for a task whose executor the agent generated.
        statuses: the ``TaskStatus`` of its updates, oldest first.
        forwarded_state: of the last update sent to a master; None with its uuid before the first.
    """

    framework_id: FrameworkId
    executor_id: ExecutorId | None
    description: TaskDescription
    state: TaskState
    statuses: tuple[object, ...]
    forwarded_state: TaskState | None
    forwarded_uuid: bytes | None


@dataclass(frozen=True, slots=True)
class AgentContents:
    """Everything a master must know to take an agent back. Executors are those it knows of."""

    frameworks: tuple[FrameworkSpec, ...]
    executors: tuple[ExecutorDescription, ...]
    tasks: tuple[TaskSnapshot, ...]


__all__ = [
    "AgentContents",
    "DrainRequested",
    "ExecutorDescription",
    "ExecutorReported",
    "MakeUpdate",
    "TaskArrived",
    "TaskDescription",
    "TaskSnapshot",
    "TaskUnacceptable",
    "TasksReconciled",
]
