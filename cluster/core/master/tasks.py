"""The tasks a master knows: live, unreachable and completed ones.

A task stays *live* from its launch until the acknowledgement of its terminal update (or until its
framework or agent goes), although its resources are free from the first terminal state on. Tasks
of an agent that became unreachable wait in a list of their own. Source: master.md §7, §3.3.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

from cluster.core.master.agents import TaskKey
from cluster.core.master.lifecycles import TASK_TRANSITIONS
from cluster.errors import InvalidTransition, InvariantBroken
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState
from cluster.model.tasks import TaskReport, TaskStatusNote

NOTES_PER_TASK_MAX = 64


class TaskRecord:
    """One task.

    Attributes:
        forwarded_state, forwarded_uuid: the last update that went towards the framework, which is
            what the framework knows; ``state`` may be ahead of it.
        holds_resources: False from the first terminal or unreachable state on.
        notes: last status of each run of equal states, oldest first.
        payload: the description as the framework (or an agent) gave it.
    """

    __slots__ = (
        "agent_id",
        "executor_id",
        "forwarded_state",
        "forwarded_uuid",
        "framework_id",
        "holds_resources",
        "notes",
        "payload",
        "resources",
        "role",
        "state",
        "task_id",
    )

    def __init__(
        self,
        task_id: TaskId,
        framework_id: FrameworkId,
        agent_id: AgentId,
        executor_id: ExecutorId | None,
        role: str,
        resources: Resources,
        payload: object,
    ) -> None:
        self.task_id = task_id
        self.framework_id = framework_id
        self.agent_id = agent_id
        self.executor_id = executor_id
        self.role = role
        self.resources = resources
        self.payload = payload
        self.state = TaskState.STAGING
        self.forwarded_state: TaskState | None = None
        self.forwarded_uuid: bytes | None = None
        self.holds_resources = True
        self.notes: list[TaskStatusNote] = []  # mostly one; a bounded deque takes 600 bytes

    @classmethod
    def from_report(cls, report: TaskReport, agent_id: AgentId) -> "TaskRecord":
        task = cls(
            report.task_id,
            report.framework_id,
            agent_id,
            report.executor_id,
            report.role,
            report.resources,
            report.payload,
        )
        task.state = report.state
        task.forwarded_state = report.forwarded_state
        task.forwarded_uuid = report.forwarded_uuid
        task.holds_resources = not report.state.is_terminal
        task.notes.extend(report.statuses[-NOTES_PER_TASK_MAX:])
        return task

    @property
    def key(self) -> TaskKey:
        return (self.framework_id, self.task_id)

    @property
    def known_state(self) -> TaskState:
        """What the framework has been told, or will be told first."""
        return self.state if self.forwarded_state is None else self.forwarded_state

    @property
    def last_note(self) -> TaskStatusNote | None:
        return self.notes[-1] if self.notes else None

    def report_state(self, reported: TaskState) -> bool:
        """Record a reported state; returns whether the resources became free just now.

        Raises:
            InvalidTransition: the pair of states has no meaning (UNKNOWN is never recorded).
        """
        after = TASK_TRANSITIONS.get((self.state, reported))
        if after is None:
            raise InvalidTransition(
                f"task {self.task_id} of framework {self.framework_id}: "
                f"{reported.name} cannot follow {self.state.name}"
            )
        self.state = after
        ended = after.is_terminal or after is TaskState.UNREACHABLE
        freed = ended and self.holds_resources
        if freed:
            self.holds_resources = False
        return freed

    def add_note(self, note: TaskStatusNote) -> None:
        """Remember a status; of a run of equal states only the last one is kept."""
        if self.notes and self.notes[-1].state is note.state:
            self.notes[-1] = note
        else:
            self.notes.append(note)
            if len(self.notes) > NOTES_PER_TASK_MAX:
                del self.notes[0]


class UnreachableTask:
    """A task whose agent was lost at ``since_s``."""

    __slots__ = ("since_s", "task")

    def __init__(self, task: TaskRecord, since_s: float) -> None:
        self.task = task
        self.since_s = since_s


class TaskBook:
    """All tasks; the histories are bounded per framework and drop the oldest."""

    def __init__(self, completed_max: int, unreachable_max: int) -> None:
        self._completed_max = completed_max
        self._unreachable_max = unreachable_max
        self._live: dict[FrameworkId, dict[TaskId, TaskRecord]] = {}
        self._by_agent: dict[AgentId, dict[TaskKey, TaskRecord]] = {}
        self._unreachable: dict[FrameworkId, OrderedDict[TaskId, UnreachableTask]] = {}
        self._completed: dict[FrameworkId, deque[TaskRecord]] = {}

    # Reading -------------------------------------------------------------------------------------

    def get(self, framework_id: FrameworkId, task_id: TaskId) -> TaskRecord | None:
        tasks = self._live.get(framework_id)
        return None if tasks is None else tasks.get(task_id)

    def get_unreachable(self, framework_id: FrameworkId, task_id: TaskId) -> UnreachableTask | None:
        lost = self._unreachable.get(framework_id)
        return None if lost is None else lost.get(task_id)

    def is_taken(self, framework_id: FrameworkId, task_id: TaskId) -> bool:
        """Whether a new task may not have this id (ids of completed tasks may be used again)."""
        return (
            self.get(framework_id, task_id) is not None
            or self.get_unreachable(framework_id, task_id) is not None
        )

    def of_framework(self, framework_id: FrameworkId) -> list[TaskRecord]:
        return list(self._live.get(framework_id, {}).values())

    def of_agent(self, agent_id: AgentId) -> list[TaskRecord]:
        return list(self._by_agent.get(agent_id, {}).values())

    def unreachable_of(self, framework_id: FrameworkId) -> list[UnreachableTask]:
        return list(self._unreachable.get(framework_id, {}).values())

    def completed_of(self, framework_id: FrameworkId) -> list[TaskRecord]:
        """Completed tasks that are still remembered, oldest first."""
        return list(self._completed.get(framework_id, ()))

    def __iter__(self) -> Iterator[TaskRecord]:
        return iter([task for tasks in self._live.values() for task in tasks.values()])

    def __len__(self) -> int:
        return sum(len(tasks) for tasks in self._live.values())

    # Changing ------------------------------------------------------------------------------------

    def add(self, task: TaskRecord) -> None:
        self._live.setdefault(task.framework_id, {})[task.task_id] = task
        self._by_agent.setdefault(task.agent_id, {})[task.key] = task

    def complete(self, task: TaskRecord) -> None:
        """The task is over: move it to the history."""
        self._take(task)
        self._remember(task)

    def lose_sight(self, task: TaskRecord, since_s: float) -> None:
        """The task's agent became unreachable."""
        self._take(task)
        lost = self._unreachable.setdefault(task.framework_id, OrderedDict())
        lost[task.task_id] = UnreachableTask(task, since_s)
        while len(lost) > self._unreachable_max:
            self._remember(lost.popitem(last=False)[1].task)

    def forget_unreachable(self, framework_id: FrameworkId, task_id: TaskId) -> None:
        """The task was heard of again (or is over): it is no longer unreachable."""
        lost = self._unreachable.get(framework_id)
        if lost is not None and lost.pop(task_id, None) is not None and not lost:
            del self._unreachable[framework_id]

    def forget_framework(self, framework_id: FrameworkId) -> None:
        """Drop the history of a framework that is itself forgotten."""
        self._completed.pop(framework_id, None)
        self._unreachable.pop(framework_id, None)

    def complete_unreachable(self, framework_id: FrameworkId) -> None:
        """Move all unreachable tasks of a framework to its history."""
        for lost in self._unreachable.pop(framework_id, {}).values():
            self._remember(lost.task)

    def _take(self, task: TaskRecord) -> None:
        tasks = self._live[task.framework_id]
        del tasks[task.task_id]
        if not tasks:
            del self._live[task.framework_id]
        on_agent = self._by_agent[task.agent_id]
        del on_agent[task.key]
        if not on_agent:
            del self._by_agent[task.agent_id]

    def _remember(self, task: TaskRecord) -> None:
        history = self._completed.get(task.framework_id)
        if history is None:
            history = self._completed[task.framework_id] = deque(maxlen=self._completed_max)
        history.append(task)

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the indexes disagree or a task is in two places."""
        live = {task.key: task for task in self}
        by_agent = {key: task for tasks in self._by_agent.values() for key, task in tasks.items()}
        if live != by_agent:
            raise InvariantBroken("tasks by framework and tasks by agent differ")
        for framework_id, lost in self._unreachable.items():
            if any((framework_id, task_id) in live for task_id in lost):
                raise InvariantBroken(f"a task of {framework_id} is both live and unreachable")
        for task in live.values():
            if task.holds_resources and task.state.is_terminal:
                raise InvariantBroken(f"terminal task {task.task_id} still holds resources")


__all__ = ["NOTES_PER_TASK_MAX", "TaskBook", "TaskRecord", "UnreachableTask"]
