"""What the agent remembers of frameworks, executors and tasks; rules are in `executors.py`.

    executor: REGISTERING ──driver came──► RUNNING ──told to end──► TERMINATING ──► TERMINATED
                   │                          └────────container ended────────────────▲
                   └──never came, told to end──► TERMINATING ─────────────────────────┘

Source: agent.md §3.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cluster.model.executors import ExecutorDescription, TaskDescription, TaskSnapshot
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.volumes import VolumeMount, volume_mounts

COMPLETED_FRAMEWORKS_MAX = 50
COMPLETED_TASKS_PER_EXECUTOR_MAX = 200

# A task may swing between two states forever; the master needs the last few.
STATUSES_PER_TASK_MAX = 16


class ExecutorState(Enum):
    """Where an executor stands in its life."""

    REGISTERING = "registering"
    RUNNING = "running"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Termination:
    """What is to be said of the tasks of an executor that ends."""

    state: TaskState = TaskState.FAILED
    reason: UpdateReason = UpdateReason.EXECUTOR_TERMINATED
    text: str = ""


@dataclass(slots=True)
class Task:
    """A task and what is known of it. It is settled once its terminal update is acknowledged."""

    description: TaskDescription
    state: TaskState = TaskState.STAGING
    statuses: list[tuple[TaskState, object]] = field(default_factory=list)
    forwarded_state: TaskState | None = None
    forwarded_uuid: bytes | None = None

    def note(self, state: TaskState, payload: object) -> None:
        """Remember a status; a repeated state replaces the last one."""
        if self.statuses and self.statuses[-1][0] is state:
            self.statuses.pop()
        self.statuses.append((state, payload))
        del self.statuses[:-STATUSES_PER_TASK_MAX]


@dataclass(slots=True)
class Executor:
    """An executor with its container.

    Attributes:
        queued: tasks that it has not been given yet, in order of arrival.
        tasks: tasks it was given, and tasks that ended before; all not settled.
        completed: settled tasks, oldest first.
        address: of its driver, "" before that came.
        has_had_task: some task was delivered to it.
        is_doomed: its container was ordered destroyed.
        volumes: the persistent volumes that its container is shown, or is about to be.
        is_updating: what it is shown is being changed; queued tasks wait for the end of that.
        verdict: why it is being ended, when the agent decided that.
    """

    framework_id: FrameworkId
    description: ExecutorDescription
    container_id: ContainerId
    state: ExecutorState = ExecutorState.REGISTERING
    address: str = ""
    os_pid: int | None = None
    queued: dict[TaskId, Task] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    completed: deque[Task] = field(
        default_factory=lambda: deque(maxlen=COMPLETED_TASKS_PER_EXECUTOR_MAX)
    )
    has_had_task: bool = False
    is_doomed: bool = False
    verdict: Termination | None = None
    volumes: tuple[VolumeMount, ...] = ()
    is_updating: bool = False

    @property
    def executor_id(self) -> ExecutorId:
        return self.description.executor_id

    @property
    def is_ending(self) -> bool:
        return self.state in (ExecutorState.TERMINATING, ExecutorState.TERMINATED)

    def find(self, task_id: TaskId) -> Task | None:
        """Return a task that is not settled."""
        return self.queued.get(task_id) or self.tasks.get(task_id)

    def unfinished(self) -> Iterator[Task]:
        """Yield tasks that have not reached a terminal state, given ones first."""
        yield from (task for task in self.tasks.values() if not task.state.is_terminal)
        yield from self.queued.values()

    def snapshot(self, task: Task) -> TaskSnapshot:
        """Freeze what is known of one of its tasks."""
        return TaskSnapshot(
            self.framework_id,
            None if self.description.is_generated else self.executor_id,
            task.description,
            task.state,
            tuple(payload for _, payload in task.statuses),
            task.forwarded_state,
            task.forwarded_uuid,
        )

    def allocated(self) -> Resources:
        """Sum up what the executor and its unfinished tasks take."""
        total = self.description.resources
        for task in self.unfinished():
            total = total + task.description.resources
        return total

    def wanted_volumes(self) -> tuple[VolumeMount, ...]:
        """The persistent volumes of the executor and its unfinished tasks, each once."""
        mounts = dict.fromkeys(volume_mounts(self.description.resources))
        for task in self.unfinished():
            mounts |= dict.fromkeys(volume_mounts(task.description.resources))
        return tuple(mounts)


@dataclass(frozen=True, slots=True)
class Drain:
    """What is known of the draining of the agent; `payload` is its ``DrainConfig``."""

    max_grace_s: float | None
    is_mark_gone: bool
    payload: object
    started_s: float

    def grace_s(self, own_s: float | None) -> float | None:
        """How long a task that wants `own_s` may take to end; None to leave it at that."""
        if self.max_grace_s is None or (own_s is not None and own_s <= self.max_grace_s):
            return None
        return self.max_grace_s


@dataclass(slots=True)
class Framework:
    """A framework that runs something here, or did."""

    spec: FrameworkSpec
    framework_id: FrameworkId
    address: str
    executors: dict[ExecutorId, Executor]
    completed: deque[Executor]
    is_terminating: bool = False

    def executor_of(self, task_id: TaskId) -> Executor | None:
        """Return the executor that has a task which is not settled."""
        for executor in self.executors.values():
            if executor.find(task_id) is not None:
                return executor
        return None


__all__ = [
    "COMPLETED_FRAMEWORKS_MAX",
    "COMPLETED_TASKS_PER_EXECUTOR_MAX",
    "STATUSES_PER_TASK_MAX",
    "Drain",
    "Executor",
    "ExecutorState",
    "Framework",
    "Task",
    "Termination",
]
