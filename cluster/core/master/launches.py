"""What becomes of an ACCEPT: operations in order on what was offered, launches, and the rest.

Operations that change resources are carried out by ``changes``. Source: master.md §6.
"""

from typing import assert_never

from cluster.core.master.agents import AgentRecord, RunningExecutor
from cluster.core.master.basket import Basket
from cluster.core.master.changes import Changes
from cluster.core.master.effects import SendRunTask, SendRunTaskGroup
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.offering import Offering
from cluster.core.master.state import MasterState
from cluster.core.master.task_rules import TaskRules, small_executor
from cluster.core.master.tasks import TaskRecord
from cluster.model.calls import (
    Accept,
    BrokenOperation,
    ChangeResources,
    Decline,
    Launch,
    LaunchGroup,
    UnsupportedOperation,
)
from cluster.model.ids import AgentId, ExecutorId, TaskId
from cluster.model.offers import Offer
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import Defect, ExecutorSpec, StatusReport, TaskSpec

INVALID_OFFERS = "Task launched with invalid offers"


class Launches:
    """Carrying out ACCEPT, acting on the shared books."""

    def __init__(self, state: MasterState, offering: Offering, changes: Changes) -> None:
        self._state = state
        self._offering = offering
        self._changes = changes

    def accept(self, framework: FrameworkRecord, call: Accept) -> None:
        """Use the offers for the operations in order and give back what remains."""
        if not call.operations and call.offer_ids:
            return self._offering.decline(framework, Decline(call.offer_ids, call.refuse_s))
        offers, error = self._resolve(framework, call)
        if error is not None:
            text = f"{INVALID_OFFERS}: {error}"
            return self._refuse(framework, call, offers, UpdateReason.INVALID_OFFERS, text)
        agent = self._state.agents.get(offers[0].agent_id)
        if agent is None or not agent.is_connected:
            reason, text = _absence(offers[0].agent_id, agent)
            return self._refuse(framework, call, offers, reason, text)
        for offer in offers:
            self._state.forget_offer(offer)
        basket = Basket(sum((offer.resources for offer in offers), start=EMPTY))
        self._carry_out(framework, agent, offers[0].role, call, basket)
        return None

    def _carry_out(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        call: Accept,
        basket: Basket,
    ) -> None:
        for operation in call.operations:
            match operation:
                case Launch(tasks):
                    for task in tasks:
                        self._launch(framework, agent, role, task, basket)
                case LaunchGroup():
                    self._launch_group(framework, agent, role, operation, basket)
                case ChangeResources():
                    self._changes.change(framework, agent, role, operation, basket)
                case BrokenOperation():
                    self._changes.broken(framework, agent.agent_id, operation)
                case UnsupportedOperation(name):
                    self._state.warn(
                        "unknown operation",
                        f"operation {name} of framework {framework.framework_id} is of no known "
                        "type and was ignored",
                    )
                case _:
                    assert_never(operation)
        framework_id, agent_id = framework.framework_id, agent.agent_id
        # Nobody has refused what was not offered like this.
        self._state.release(framework_id, role, agent_id, basket.converted)
        self._state.release(framework_id, role, agent_id, basket.declined, call.refuse_s)

    # Offers --------------------------------------------------------------------------------------

    def _resolve(self, framework: FrameworkRecord, call: Accept) -> tuple[list[Offer], str | None]:
        """The framework's own listed offers, and why they cannot be used together."""
        found: dict[str, Offer] = {}
        error = None if call.offer_ids else "no offers specified"
        for offer_id in call.offer_ids:
            offer = self._state.offers.get(offer_id)
            if offer_id in found:
                error = error or f"duplicate offer {offer_id} in offer list"
            elif offer is None:
                error = error or f"offer {offer_id} is no longer valid"
            elif offer.framework_id != framework.framework_id:
                error = error or f"offer {offer_id} belongs to another framework"
            else:
                found[offer_id] = offer
        offers = list(found.values())
        if error is None and len({offer.role for offer in offers}) > 1:
            error = "offers of different roles cannot be combined"
        if error is None and len({offer.agent_id for offer in offers}) > 1:
            error = "offers of different agents cannot be combined"
        return offers, error

    def _refuse(
        self,
        framework: FrameworkRecord,
        call: Accept,
        offers: list[Offer],
        reason: UpdateReason,
        text: str,
    ) -> None:
        """No operation happens, and the offers that were still valid are over."""
        for offer in offers:
            self._state.withdraw(offer, tell=False)
        state = TaskState.DROPPED if framework.spec.is_partition_aware else TaskState.LOST
        for operation in call.operations:
            match operation:
                case Launch() | LaunchGroup():
                    for task_id, agent_id in operation.named_tasks:
                        self._report(framework, task_id, agent_id, state, reason, text)
                case (
                    ChangeResources(operation_id=operation_id)
                    | BrokenOperation(operation_id=operation_id)
                ):
                    self._changes.refuse(framework, None, operation_id, text)
                case UnsupportedOperation(name):
                    self._state.warn(
                        "operation on invalid offers",
                        f"{name} of framework {framework.framework_id}: {text}",
                    )
                case _:
                    assert_never(operation)

    # Tasks ---------------------------------------------------------------------------------------

    def _launch(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        task: TaskSpec,
        basket: Basket,
    ) -> None:
        """Launch one task or report why not."""
        new_executor = self._new_executor(framework, agent, task.executor)
        needed = _with_executor(task.resources, new_executor)
        rules = TaskRules(self._state.tasks, framework, agent, role)
        defect = rules.task_defect(task, needed, basket)
        if defect is not None:
            return self._refuse_task(framework, task, UpdateReason.TASK_INVALID, defect)
        self._take(framework, agent, role, needed, basket)
        if new_executor is not None:
            self._warn_if_small(framework, new_executor)
            self._enter_executor(framework, agent, role, new_executor)
        executor_id = None if task.executor is None else task.executor.executor_id
        self._enter_task(framework, agent, role, task, executor_id)
        return self._state.emit(
            SendRunTask(
                agent.peer,
                framework.framework_id,
                framework.spec,
                framework.peer,
                task,
                role,
                agent.resource_version,
                launch_executor=task.executor is None or new_executor is not None,
            )
        )

    def _launch_group(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        group: LaunchGroup,
        basket: Basket,
    ) -> None:
        """Launch all tasks of a group or, for the same reason, none."""
        new_executor = self._new_executor(framework, agent, group.executor)
        tasks = sum((task.resources for task in group.tasks), start=EMPTY)
        needed = _with_executor(tasks, new_executor)
        rules = TaskRules(self._state.tasks, framework, agent, role)
        defect = rules.group_defect(group, needed, basket)
        if defect is not None:
            for task in group.tasks:
                self._refuse_task(framework, task, UpdateReason.TASK_GROUP_INVALID, defect)
            return
        executor = group.executor
        assert executor is not None
        self._take(framework, agent, role, needed, basket)
        if new_executor is not None:
            self._enter_executor(
                framework, agent, role, executor, shares_cgroups=group.tasks[0].shares_cgroups
            )
        for task in group.tasks:
            self._enter_task(framework, agent, role, task, executor.executor_id)
        self._state.emit(
            SendRunTaskGroup(
                agent.peer,
                framework.framework_id,
                framework.spec,
                executor,
                group.tasks,
                role,
                agent.resource_version,
                launch_executor=new_executor is not None,
            )
        )

    def _new_executor(
        self, framework: FrameworkRecord, agent: AgentRecord, executor: ExecutorSpec | None
    ) -> ExecutorSpec | None:
        """The executor, unless it runs already."""
        if executor is None:
            return None
        if (framework.framework_id, executor.executor_id) in agent.executors:
            return None
        return executor

    def _take(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        needed: Resources,
        basket: Basket,
    ) -> None:
        copies = basket.take(needed)
        self._state.hold_more(framework.framework_id, role, agent, copies)

    def _enter_executor(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        executor: ExecutorSpec,
        *,
        shares_cgroups: bool | None = None,
    ) -> None:
        agent.executors[framework.framework_id, executor.executor_id] = RunningExecutor(
            executor, role, shares_cgroups=shares_cgroups
        )

    def _enter_task(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        task: TaskSpec,
        executor_id: ExecutorId | None,
    ) -> None:
        self._state.tasks.add(
            TaskRecord(
                task.task_id,
                framework.framework_id,
                agent.agent_id,
                executor_id,
                role,
                task.resources,
                task.info,
            )
        )

    # Answers -------------------------------------------------------------------------------------

    def _warn_if_small(self, framework: FrameworkRecord, executor: ExecutorSpec) -> None:
        if (lack := small_executor(executor)) is not None:
            self._state.warn(
                "small executor",
                f"executor '{executor.executor_id}' of framework {framework.framework_id} asks "
                f"for {lack}, with which it may not be able to start",
            )

    def _refuse_task(
        self,
        framework: FrameworkRecord,
        task: TaskSpec,
        reason: UpdateReason,
        defect: Defect,
    ) -> None:
        self._report(framework, task.task_id, task.agent_id, TaskState.ERROR, reason, defect.text)

    def _report(
        self,
        framework: FrameworkRecord,
        task_id: TaskId,
        agent_id: AgentId,
        state: TaskState,
        reason: UpdateReason,
        message: str,
    ) -> None:
        self._state.report_to(
            framework,
            StatusReport(
                framework_id=framework.framework_id,
                agent_id=agent_id,
                task_id=task_id,
                executor_id=None,
                state=state,
                reason=reason,
                message=message,
            ),
        )


def _with_executor(resources: Resources, executor: ExecutorSpec | None) -> Resources:
    return resources if executor is None else resources + executor.resources


def _absence(agent_id: AgentId, agent: AgentRecord | None) -> tuple[UpdateReason, str]:
    """Why nothing can be launched on an agent that is gone or cannot be reached."""
    if agent is None:
        return UpdateReason.AGENT_REMOVED, f"Agent {agent_id} removed"
    return UpdateReason.AGENT_DISCONNECTED, f"Agent {agent_id} disconnected"


__all__ = ["INVALID_OFFERS", "Launches"]
