"""Answers to a framework that asks how its tasks are. Source: master.md §8."""

from cluster.core.master.agents import AgentStanding
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.state import MasterState
from cluster.core.master.tasks import TaskRecord
from cluster.model.ids import AgentId, TaskId
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import StatusReport

# Standing of the named agent -> what a partition-aware framework is told, and why. Any other
# framework is told LOST instead.
_ANSWERS: dict[AgentStanding, tuple[TaskState, str]] = {
    AgentStanding.REGISTERED: (TaskState.GONE, "Reconciliation: Task is unknown to the agent"),
    AgentStanding.UNREACHABLE: (TaskState.UNREACHABLE, "Reconciliation: Task is unreachable"),
    AgentStanding.GONE: (TaskState.GONE_BY_OPERATOR, "Reconciliation: Task is gone"),
    AgentStanding.UNKNOWN: (TaskState.UNKNOWN, "Reconciliation: Task is unknown"),
}


def reconcile_all(state: MasterState, framework: FrameworkRecord) -> list[StatusReport]:
    """One answer per live task, in the order of launch; unreachable tasks are not among them."""
    return [_latest(task) for task in state.tasks.of_framework(framework.framework_id)]


def reconcile_listed(
    state: MasterState,
    framework: FrameworkRecord,
    tasks: tuple[tuple[TaskId, AgentId | None], ...],
) -> list[StatusReport]:
    """One answer per listed task, in that order, but none where the master cannot know yet."""
    answers = (_answer(state, framework, task_id, agent_id) for task_id, agent_id in tasks)
    return [answer for answer in answers if answer is not None]


def _answer(
    state: MasterState, framework: FrameworkRecord, task_id: TaskId, agent_id: AgentId | None
) -> StatusReport | None:
    task = state.tasks.get(framework.framework_id, task_id)
    if task is not None:
        return _latest(task)
    if agent_id is None:
        standing = AgentStanding.RECOVERED if state.agents.has_recovered else AgentStanding.UNKNOWN
    else:
        standing = state.standing(agent_id)
    if standing is AgentStanding.RECOVERED:
        return None  # the agent may still come back and tell
    task_state, message = _ANSWERS[standing]
    return StatusReport(
        framework_id=framework.framework_id,
        agent_id=agent_id,
        task_id=task_id,
        executor_id=None,
        state=task_state if framework.spec.is_partition_aware else TaskState.LOST,
        reason=UpdateReason.RECONCILIATION,
        message=message,
        unreachable_time_s=None
        if agent_id is None
        else state.registry.unreachable_since_s(agent_id),
        is_answer=True,
    )


def _latest(task: TaskRecord) -> StatusReport:
    """What the framework was told last (or would be told first), with the latest details."""
    return StatusReport(
        framework_id=task.framework_id,
        agent_id=task.agent_id,
        task_id=task.task_id,
        executor_id=task.executor_id,
        state=task.known_state,
        reason=UpdateReason.RECONCILIATION,
        message="Reconciliation: Latest task state",
        detail=task.last_note,
        is_answer=True,
    )


__all__ = ["reconcile_all", "reconcile_listed"]
