"""What becomes of an ACCEPT: launches, the rest of the offers, and why something was refused.

Source: master.md §6. A task's description is checked in two places: rules that need nothing but
the description when it is decoded (``cluster.validation.task``), rules that need the books here.
Of all broken rules the one that comes first in §6.3 is reported.
"""

from cluster.core.master.agents import AgentRecord, RunningExecutor
from cluster.core.master.effects import SendRunTask
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.offering import Offering
from cluster.core.master.state import MasterState
from cluster.core.master.tasks import TaskRecord
from cluster.model.agents import AgentCapability
from cluster.model.calls import Accept, Decline, Launch, LaunchGroup, UnsupportedOperation
from cluster.model.ids import AgentId, TaskId
from cluster.model.offers import Offer
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import Defect, ExecutorSpec, StatusReport, TaskSpec

INVALID_OFFERS = "Task launched with invalid offers"

RULE_ID_IN_USE = 2
RULE_WRONG_AGENT = 3
RULE_ROLE = 7
RULE_LIMITS = 10
RULE_EXECUTOR = 12
RULE_TOO_LARGE = 14


class Launches:
    """Carrying out ACCEPT, acting on the shared books."""

    def __init__(self, state: MasterState, offering: Offering) -> None:
        self._state = state
        self._offering = offering

    def accept(self, framework: FrameworkRecord, call: Accept) -> None:
        """Use the offers for the operations in order and give back what remains."""
        if not call.operations and call.offer_ids:
            return self._offering.decline(framework, Decline(call.offer_ids, call.refuse_s))
        offers, error = self._resolve(framework, call)
        if error is not None:
            return self._refuse(framework, call, offers, error)
        for offer in offers:
            self._state.forget_offer(offer)
        agent = self._state.agents.get(offers[0].agent_id)
        assert agent is not None  # offers never outlive the connection of their agent
        remaining = EMPTY
        for offer in offers:
            remaining += offer.resources
        role = offers[0].role
        for operation in call.operations:
            match operation:
                case Launch(tasks):
                    for task in tasks:
                        remaining = self._launch(framework, agent, role, task, remaining)
                case LaunchGroup() | UnsupportedOperation():
                    self._refuse_operation(framework, operation)
        self._state.release(framework.framework_id, role, agent.agent_id, remaining, call.refuse_s)

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
        self, framework: FrameworkRecord, call: Accept, offers: list[Offer], error: str
    ) -> None:
        """No operation happens, and the offers that were still valid are over."""
        for offer in offers:
            self._state.withdraw(offer, tell=False)
        state = TaskState.DROPPED if framework.spec.is_partition_aware else TaskState.LOST
        message = f"{INVALID_OFFERS}: {error}"
        for operation in call.operations:
            if isinstance(operation, UnsupportedOperation):
                self._state.warn(
                    "operation on invalid offers",
                    f"{operation.name} of framework {framework.framework_id}: {error}",
                )
                continue
            for task_id, agent_id in operation.named_tasks:
                self._report(
                    framework, task_id, agent_id, state, UpdateReason.INVALID_OFFERS, message
                )

    # Tasks ---------------------------------------------------------------------------------------

    def _launch(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        task: TaskSpec,
        remaining: Resources,
    ) -> Resources:
        """Launch one task or report why not; returns what is left of the offers."""
        new_executor = self._new_executor(framework, agent, task)
        needed = task.resources
        if new_executor is not None:
            needed = needed + new_executor.resources
        defect = self._first_defect(framework, agent, role, task) or _size_defect(needed, remaining)
        if defect is not None:
            self._report(
                framework,
                task.task_id,
                task.agent_id,
                TaskState.ERROR,
                UpdateReason.TASK_INVALID,
                defect.text,
            )
            return remaining
        self._enter(framework, agent, role, task, new_executor)
        return remaining - needed

    def _enter(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        task: TaskSpec,
        new_executor: ExecutorSpec | None,
    ) -> None:
        framework_id = framework.framework_id
        executor_id = None if task.executor is None else task.executor.executor_id
        if new_executor is not None:
            key = (framework_id, new_executor.executor_id)
            agent.executors[key] = RunningExecutor(new_executor, role)
        self._state.tasks.add(
            TaskRecord(
                task.task_id,
                framework_id,
                agent.agent_id,
                executor_id,
                role,
                task.resources,
                task.info,
            )
        )
        self._state.emit(
            SendRunTask(
                agent.peer,
                framework_id,
                framework.spec,
                framework.peer,
                task,
                role,
                agent.resource_version,
                launch_executor=task.executor is None or new_executor is not None,
            )
        )

    def _new_executor(
        self, framework: FrameworkRecord, agent: AgentRecord, task: TaskSpec
    ) -> ExecutorSpec | None:
        """The task's custom executor, unless it runs already."""
        executor = task.executor
        if executor is None:
            return None
        if (framework.framework_id, executor.executor_id) in agent.executors:
            return None
        return executor

    # Rules that need the books -------------------------------------------------------------------

    def _first_defect(
        self, framework: FrameworkRecord, agent: AgentRecord, role: str, task: TaskSpec
    ) -> Defect | None:
        early = self._early_defect(framework, agent, task)
        if task.defect is not None:
            return early if early is not None and early.rule < task.defect.rule else task.defect
        return (
            early
            or _role_defect(role, task)
            or _limits_defect(agent, task)
            or self._executor_defect(framework, agent, task)
        )

    def _early_defect(
        self, framework: FrameworkRecord, agent: AgentRecord, task: TaskSpec
    ) -> Defect | None:
        if self._state.tasks.is_taken(framework.framework_id, task.task_id):
            return Defect(
                RULE_ID_IN_USE, f"task_id: '{task.task_id}' is already in use by this framework"
            )
        if task.agent_id != agent.agent_id:
            return Defect(
                RULE_WRONG_AGENT,
                f"agent_id: the offers are of agent {agent.agent_id}, not of '{task.agent_id}'",
            )
        return None

    def _executor_defect(
        self, framework: FrameworkRecord, agent: AgentRecord, task: TaskSpec
    ) -> Defect | None:
        executor = task.executor
        if executor is None:
            return None
        owner = executor.framework_id
        if owner is not None and owner != framework.framework_id:
            return Defect(
                RULE_EXECUTOR,
                f"executor.framework_id: must be {framework.framework_id}, not '{owner}'",
            )
        running = agent.executors.get((framework.framework_id, executor.executor_id))
        if running is not None and running.spec.payload != executor.payload:
            return Defect(
                RULE_EXECUTOR,
                f"executor: executor '{executor.executor_id}' runs on agent {agent.agent_id} "
                "with another description",
            )
        return None

    # Answers -------------------------------------------------------------------------------------

    def _refuse_operation(
        self, framework: FrameworkRecord, operation: LaunchGroup | UnsupportedOperation
    ) -> None:
        """Say clearly that an operation was not carried out; its resources go back."""
        match operation:
            case LaunchGroup():
                for task_id, agent_id in operation.named_tasks:
                    self._report(
                        framework,
                        task_id,
                        agent_id,
                        TaskState.ERROR,
                        UpdateReason.TASK_GROUP_INVALID,
                        "operation LAUNCH_GROUP is not supported by this master",
                    )
            case UnsupportedOperation(name):
                # A driver without operation feedback has no message for this: master.md §6.2.
                self._state.warn(
                    "unsupported operation",
                    f"operation {name} of framework {framework.framework_id} is not supported by "
                    "this master and was not carried out",
                )

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


def _role_defect(role: str, task: TaskSpec) -> Defect | None:
    if task.role is None or task.role == role:
        return None
    return Defect(
        RULE_ROLE, f"resources: must be allocated to the offers' role '{role}', not '{task.role}'"
    )


def _limits_defect(agent: AgentRecord, task: TaskSpec) -> Defect | None:
    if not task.has_limits or AgentCapability.TASK_RESOURCE_LIMITS in agent.spec.capabilities:
        return None
    return Defect(RULE_LIMITS, f"limits: agent {agent.agent_id} cannot enforce resource limits")


def _size_defect(needed: Resources, remaining: Resources) -> Defect | None:
    if remaining.contains(needed):
        return None
    return Defect(
        RULE_TOO_LARGE,
        f"resources: task and executor need {needed}, which is more than the available {remaining}",
    )


__all__ = ["INVALID_OFFERS", "Launches"]
