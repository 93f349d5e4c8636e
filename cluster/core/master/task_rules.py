"""Rules for tasks that need the master's books, and which of several broken rules is reported.

A task's description is checked in two places: rules that need nothing but the description when it
is decoded (``cluster.validation.task``), the others here. Of all broken rules the one that comes
first in the table is reported. Source: master.md §6.3.
"""

from cluster.core.master.agents import AgentRecord
from cluster.core.master.basket import Basket
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.tasks import TaskBook
from cluster.model.agents import AgentCapability
from cluster.model.calls import LaunchGroup
from cluster.model.resources import EMPTY, Resources
from cluster.model.tasks import Defect, ExecutorSpec, TaskSpec
from cluster.model.values import ValueType

RULE_ID_IN_USE = 2
RULE_WRONG_AGENT = 3
RULE_ROLE = 7
RULE_LIMITS = 10
RULE_EXECUTOR = 12
RULE_OVERLAP = 13
RULE_TOO_LARGE = 14
RULE_CGROUPS = 15

EXECUTOR_CPUS_MILLI_MIN = 10
EXECUTOR_MEM_MILLI_MIN = 32_000


class TaskRules:
    """The rules for what one framework launches on one agent with offers of one role."""

    def __init__(
        self, tasks: TaskBook, framework: FrameworkRecord, agent: AgentRecord, role: str
    ) -> None:
        self._tasks = tasks
        self._framework = framework
        self._agent = agent
        self._role = role

    def task_defect(self, task: TaskSpec, needed: Resources, basket: Basket) -> Defect | None:
        """The first rule that a task of a LAUNCH breaks; ``needed`` includes a new executor."""
        return (
            self._own_defect(task)
            or self._executor_defect(task.executor)
            or _size_defect("task and executor", needed, basket)
        )

    def group_defect(self, group: LaunchGroup, needed: Resources, basket: Basket) -> Defect | None:
        """The first rule that a group breaks; the tasks come before the executor."""
        seen: set[str] = set()
        for task in group.tasks:
            if task.task_id in seen:
                return _in_use(task)
            seen.add(task.task_id)
            if (defect := self._own_defect(task)) is not None:
                return defect
        return (
            group.defect
            or self._executor_defect(group.executor)
            or self._cgroups_defect(group)
            or _overlap_defect(group)
            or _size_defect("task group and its executor", needed, basket)
        )

    def _own_defect(self, task: TaskSpec) -> Defect | None:
        early = self._early_defect(task)
        if task.defect is not None:
            return early if early is not None and early.rule < task.defect.rule else task.defect
        return early or self._role_defect(task) or self._limits_defect(task)

    def _early_defect(self, task: TaskSpec) -> Defect | None:
        if self._tasks.is_taken(self._framework.framework_id, task.task_id):
            return _in_use(task)
        if task.agent_id != self._agent.agent_id:
            return Defect(
                RULE_WRONG_AGENT,
                f"agent_id: the offers are of agent {self._agent.agent_id}, not of "
                f"'{task.agent_id}'",
            )
        return None

    def _role_defect(self, task: TaskSpec) -> Defect | None:
        if task.role is None or task.role == self._role:
            return None
        return Defect(
            RULE_ROLE,
            f"resources: must be allocated to the offers' role '{self._role}', not '{task.role}'",
        )

    def _limits_defect(self, task: TaskSpec) -> Defect | None:
        can = AgentCapability.TASK_RESOURCE_LIMITS in self._agent.spec.capabilities
        if can or not task.has_limits:
            return None
        return Defect(
            RULE_LIMITS, f"limits: agent {self._agent.agent_id} cannot enforce resource limits"
        )

    def _executor_defect(self, executor: ExecutorSpec | None) -> Defect | None:
        if executor is None:
            return None
        framework_id = self._framework.framework_id
        owner = executor.framework_id
        if owner is not None and owner != framework_id:
            return Defect(
                RULE_EXECUTOR, f"executor.framework_id: must be {framework_id}, not '{owner}'"
            )
        if executor.role is not None and executor.role != self._role:
            return Defect(
                RULE_EXECUTOR,
                f"executor.resources: must be allocated to the offers' role '{self._role}', not "
                f"'{executor.role}'",
            )
        running = self._agent.executors.get((framework_id, executor.executor_id))
        if running is not None and running.spec.payload != executor.payload:
            return Defect(
                RULE_EXECUTOR,
                f"executor: executor '{executor.executor_id}' runs on agent "
                f"{self._agent.agent_id} with another description",
            )
        return None

    def _cgroups_defect(self, group: LaunchGroup) -> Defect | None:
        """Tasks under one executor are limited together or each for itself."""
        assert group.executor is not None
        key = (self._framework.framework_id, group.executor.executor_id)
        running = self._agent.executors.get(key)
        ways = {task.shares_cgroups for task in group.tasks}
        if running is not None and running.shares_cgroups is not None:
            ways.add(running.shares_cgroups)
        if len(ways) < 2:
            return None
        return Defect(
            RULE_CGROUPS,
            "container.linux_info.share_cgroups: must be the same for all tasks of executor "
            f"'{group.executor.executor_id}'",
        )


def small_executor(executor: ExecutorSpec) -> str | None:
    """A warning about an executor of a LAUNCH that may find too little to start with."""
    if executor.resources.scalar_milli("cpus") < EXECUTOR_CPUS_MILLI_MIN:
        return "less than cpus:0.01"
    if executor.resources.scalar_milli("mem") < EXECUTOR_MEM_MILLI_MIN:
        return "less than mem:32"
    return None


def _in_use(task: TaskSpec) -> Defect:
    return Defect(RULE_ID_IN_USE, f"task_id: '{task.task_id}' is already in use by this framework")


def _overlap_defect(group: LaunchGroup) -> Defect | None:
    """Ports and sets add up to a union, in which something that two tasks use is there once.

    Differs: Mesos launches such a group, and offers again what the first task to end gives back.
    """
    held = EMPTY
    for task in group.tasks:
        mine = task.resources.where(lambda identity: identity.type is not ValueType.SCALAR)
        rest = mine.minus_up_to(held)
        if rest != mine:
            text = f"resources: [{mine - rest}] of task '{task.task_id}' is another task's already"
            return Defect(RULE_OVERLAP, text)
        held = held + mine
    return None


def _size_defect(who: str, needed: Resources, basket: Basket) -> Defect | None:
    lack = basket.lack(needed)
    return None if lack is None else Defect(RULE_TOO_LARGE, f"resources of {who}: {lack}")


__all__ = ["EXECUTOR_CPUS_MILLI_MIN", "EXECUTOR_MEM_MILLI_MIN", "TaskRules", "small_executor"]
