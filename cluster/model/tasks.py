"""Tasks, executors and what is said about them, as values.

Four views of a task: ``TaskSpec`` is what a framework wants launched, ``TaskReport`` what an agent
says it runs, ``StatusUpdate`` one piece of news on its way from an agent to the framework, and
``StatusReport`` news that the master makes up itself (lost agents, reconciliation, refusals).
Payloads are messages of the peers, carried along without being looked into.
"""

from dataclasses import dataclass

from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a task cannot be launched.

    ``rule`` is the row of the table of task rules (master.md §6.3): of several broken rules the
    lowest is reported.
    """

    rule: int
    text: str


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """A custom executor.

    ``payload`` compares equal exactly when two descriptions mean the same.
    ``framework_id`` is None when the framework left it out (the master fills it in). ``resources``
    are unallocated; ``role`` is the role they are allocated to where the description says so.
    """

    executor_id: ExecutorId
    framework_id: FrameworkId | None
    resources: Resources
    role: str | None
    payload: object


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a LAUNCH.

    ``role`` is what its resources (and its executor's) are marked as allocated to, None without
    marks. ``executor`` is None for a task that is a plain command. ``resources`` are unallocated.
    ``has_limits``: resource limits beside the requests, which not every agent can enforce.
    ``defect`` is the first rule that the description breaks by itself, whatever the cluster's
    state; of such a task only the ids mean anything. ``info`` is the framework's own description,
    which goes to the agent. ``shares_cgroups``: limited together with its executor.
    """

    task_id: TaskId
    agent_id: AgentId
    resources: Resources
    role: str | None
    executor: ExecutorSpec | None
    has_limits: bool
    defect: Defect | None
    info: object
    shares_cgroups: bool = True


@dataclass(frozen=True, slots=True)
class TaskStatusNote:
    """One remembered status: its state and the peer's message without the framework's data."""

    state: TaskState
    payload: object


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task that an agent says it has.

    ``state`` is the latest the agent knows, ``forwarded_state`` and ``forwarded_uuid`` the last
    one it sent on (None before the first update). ``statuses`` are oldest first.
    """

    task_id: TaskId
    framework_id: FrameworkId
    executor_id: ExecutorId | None
    state: TaskState
    role: str
    resources: Resources
    forwarded_state: TaskState | None
    forwarded_uuid: bytes | None
    statuses: tuple[TaskStatusNote, ...]
    payload: object


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """News of one task from its agent.

    ``state`` is what this update says, ``latest_state`` what the agent knows by now (the updates
    of one task queue up until acknowledged). ``uuid`` is None when no acknowledgement is wanted.
    ``note`` is kept by the master, ``payload`` goes to the framework as it is. ``why`` has the
    numbers of source and reason, None when no reason is given.
    """

    framework_id: FrameworkId
    agent_id: AgentId
    task_id: TaskId
    executor_id: ExecutorId | None
    state: TaskState
    latest_state: TaskState | None
    uuid: bytes | None
    note: TaskStatusNote
    payload: object
    why: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """News of one task made by the master; it is never retried and wants no acknowledgement.

    ``detail`` is the last note about the task, whose health, check and container status are
    repeated. ``is_answer`` marks an answer to a reconciliation.
    """

    framework_id: FrameworkId
    agent_id: AgentId | None
    task_id: TaskId
    executor_id: ExecutorId | None
    state: TaskState
    reason: UpdateReason
    message: str
    unreachable_time_s: float | None = None
    detail: TaskStatusNote | None = None
    is_answer: bool = False


__all__ = [
    "Defect",
    "ExecutorSpec",
    "StatusReport",
    "StatusUpdate",
    "TaskReport",
    "TaskSpec",
    "TaskStatusNote",
]
