"""Everything the master knows, and the few steps that all of its stories share.

The stories (``subscriptions``, ``admission``, ``launches``, ``offering``, ``news``) decide; this
class keeps the books and the allocator in step, so that every resource is free, offered or used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.core.allocator import Allocator
from cluster.core.allocator.events import (
    AgentUpdated,
    FreeResourcesConverted,
    InverseOfferWithdrawn,
    ResourcesConverted,
    ResourcesRecovered,
)
from cluster.core.master.agents import AgentBook, AgentRecord, AgentStanding
from cluster.core.master.effects import (
    CancelTimer,
    MasterEffect,
    OfferTimer,
    SendReport,
    SendRescind,
    SendRescindInverse,
    Warn,
)
from cluster.core.master.frameworks import FrameworkBook, FrameworkRecord
from cluster.core.master.inverse_offers import InverseOfferBook
from cluster.core.master.offers import OfferBook
from cluster.core.master.operations import OperationBook
from cluster.core.master.registry import Registry
from cluster.core.master.tallies import SOURCE_MASTER, MasterTally, OfferEnd
from cluster.core.master.tasks import TaskBook, TaskRecord
from cluster.model.conversions import Conversion, single
from cluster.model.domains import FaultDomain
from cluster.model.ids import AgentId, FrameworkId, MasterId, OfferId
from cluster.model.offers import InverseOffer, Offer
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import StatusReport


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterOptions:
    """Limits and waits; all times in seconds.

    Attributes:
        offer_timeout_s: how long an offer stays valid; None for ever.
        allowed_roles: None allows every role.
        removal_interval_s: least time between two agents that are given up; 0 sets no limit.
        recovery_removal_limit: largest share of the agents of an earlier master that may be
            missing; beyond it the master ends.
        seed_weights: weights of roles, used when the registry has none.
        domain: where this master stands; None admits no agent that has a domain.
        executors_per_agent_max: an agent with so many custom executors is not offered; None for
            any number.
    """

    offer_timeout_s: float | None = None
    agent_reregister_timeout_s: float = 600.0
    allowed_roles: frozenset[str] | None = None
    root_submissions: bool = True
    completed_frameworks_max: int = 50
    completed_tasks_per_framework_max: int = 1000
    unreachable_tasks_per_framework_max: int = 1000
    executors_per_agent_max: int | None = None
    removal_interval_s: float = 0.0
    recovery_removal_limit: float = 1.0
    allocator_recovery_timeout_s: float = 600.0
    registry_gc_interval_s: float = 900.0
    registry_max_agent_age_s: float = 1_209_600.0
    registry_max_agent_count: int = 102_400
    seed_weights: Mapping[str, float] = field(default_factory=dict)
    domain: FaultDomain | None = None
    require_agent_domain: bool = False


class MasterState:
    """The books of one master. ``now_s`` is the time of the event being handled."""

    def __init__(self, master_id: MasterId, options: MasterOptions, allocator: Allocator) -> None:
        self.master_id = master_id
        self.options = options
        self.allocator = allocator
        self.now_s = 0.0
        self.frameworks = FrameworkBook(options.completed_frameworks_max)
        self.agents = AgentBook()
        self.tasks = TaskBook(
            options.completed_tasks_per_framework_max, options.unreachable_tasks_per_framework_max
        )
        self.offers = OfferBook()
        self.inverse_offers = InverseOfferBook()
        self.operations = OperationBook()
        self.registry = Registry()
        self.whitelist: frozenset[str] | None = None
        self.draining: dict[AgentId, None] = {}
        self._touched: dict[AgentId, None] = {}
        self.tally = MasterTally()
        self._outbox: list[MasterEffect] = []
        self._frameworks_named = 0
        self._agents_named = 0
        self._offers_named = 0

    # Effects and names ---------------------------------------------------------------------------

    def emit(self, effect: MasterEffect) -> None:
        """Order something; effects are carried out in the order of these calls."""
        self._outbox.append(effect)

    def warn(self, subject: str, text: str) -> None:
        self._outbox.append(Warn(subject, text))

    def take_effects(self) -> list[MasterEffect]:
        effects, self._outbox = self._outbox, []
        return effects

    def name_framework(self) -> FrameworkId:
        """A new id; one that a peer has made up or brought along is passed over."""
        while True:
            name = FrameworkId(f"{self.master_id}-{self._frameworks_named:04d}")
            self._frameworks_named += 1
            if self.frameworks.get(name) is None and not self.frameworks.is_completed(name):
                return name

    def name_agent(self) -> AgentId:
        """A new id; one that a peer has made up or brought along is passed over."""
        while True:
            name = AgentId(f"{self.master_id}-S{self._agents_named}")
            self._agents_named += 1
            if self.agents.get(name) is None and self.standing(name) is AgentStanding.UNKNOWN:
                return name

    def name_offer(self) -> OfferId:
        name = OfferId(f"{self.master_id}-O{self._offers_named}")
        self._offers_named += 1
        return name

    # Resources -----------------------------------------------------------------------------------

    def release(
        self,
        framework_id: FrameworkId,
        role: str,
        agent_id: AgentId,
        resources: Resources,
        refuse_s: float | None = None,
    ) -> None:
        """Tell the allocator that resources are free again; ``refuse_s`` None sets no filter."""
        self.touch(agent_id)
        if resources:
            self.allocator.handle(
                ResourcesRecovered(framework_id, role, agent_id, resources, refuse_s), self.now_s
            )

    def release_task(self, task: TaskRecord) -> None:
        self.release(task.framework_id, task.role, task.agent_id, task.resources)

    def convert_held(
        self, framework_id: FrameworkId, role: str, agent: AgentRecord, conversion: Conversion
    ) -> None:
        """What a framework holds on an agent turns into something else, and so does the total.

        An agent may say meanwhile that it has less than it is believed to: then its word stays.
        """
        if agent.total.contains(single(conversion.before)):
            agent.total = conversion.of_total(agent.total)
        self.allocator.handle(
            ResourcesConverted(
                framework_id, role, agent.agent_id, conversion.before, conversion.after
            ),
            self.now_s,
        )

    def convert_free(self, agent: AgentRecord, conversion: Conversion) -> None:
        """Free resources of an agent turn into something else."""
        agent.total = conversion.of_total(agent.total)
        self.allocator.handle(
            FreeResourcesConverted(agent.agent_id, conversion.before, conversion.after), self.now_s
        )

    def hold_more(
        self, framework_id: FrameworkId, role: str, agent: AgentRecord, more: Resources
    ) -> None:
        """A framework holds something that it was not offered; the agent has what it had."""
        if more:
            self.allocator.handle(
                ResourcesConverted(framework_id, role, agent.agent_id, EMPTY, more), self.now_s
            )
            self.allocator.handle(AgentUpdated(agent.agent_id, agent.total), self.now_s)

    def withdraw(
        self,
        offer: Offer,
        *,
        tell: bool,
        refuse_s: float | None = None,
        end: OfferEnd | None = None,
    ) -> None:
        """End an offer that its framework did not use; ``refuse_s`` as in ``release``."""
        self.forget_offer(offer, end or (OfferEnd.RESCINDED if tell else OfferEnd.DISCARDED))
        self.release(offer.framework_id, offer.role, offer.agent_id, offer.resources, refuse_s)
        framework = self.frameworks.get(offer.framework_id)
        if tell and framework is not None and framework.is_connected and framework.peer:
            framework.tally.events["rescind"] += 1
            self.emit(SendRescind(framework.peer, offer.offer_id))

    def withdraw_inverse_offer(self, offer: InverseOffer, *, tell: bool) -> None:
        """End an inverse offer that its framework did not answer."""
        self.inverse_offers.remove(offer)
        self.withdraw_unmade_inverse_offer(offer.framework_id, offer.agent_id)
        framework = self.frameworks.get(offer.framework_id)
        if tell and framework is not None and framework.is_connected and framework.peer:
            framework.tally.events["rescind_inverse_offer"] += 1
            self.emit(SendRescindInverse(framework.peer, offer.offer_id))

    def withdraw_unmade_inverse_offer(self, framework_id: FrameworkId, agent_id: AgentId) -> None:
        """Tell the allocator that an inverse offer it decided on came to nothing."""
        self.allocator.handle(InverseOfferWithdrawn(framework_id, agent_id), self.now_s)

    def withdraw_inverse_offers_on(self, agent_id: AgentId) -> None:
        """An agent goes, or its schedule changes: what frameworks are asked about it is void."""
        for offer in self.inverse_offers.of_agent(agent_id):
            self.withdraw_inverse_offer(offer, tell=True)
        self.inverse_offers.forget_answers_about(agent_id)

    def forget_offer(self, offer: Offer, end: OfferEnd = OfferEnd.ACCEPTED) -> None:
        """Take an offer out of the book; what becomes of its resources is the caller's business."""
        held_s = self.now_s - self.offers.made_s(offer)
        held = offer.resources.quantities()
        self.tally.offers.end(end, held, held_s)
        framework = self.frameworks.get(offer.framework_id)
        if framework is not None:
            framework.tally.offers.end(end, held, held_s)
        self.offers.remove(offer)
        if self.options.offer_timeout_s is not None:
            self.emit(CancelTimer(OfferTimer(offer.offer_id)))

    def drop_executors(self, agent: AgentRecord, framework_id: FrameworkId | None = None) -> None:
        """Forget the executors of one framework (or of all) on an agent and free what they held."""
        for key in list(agent.executors):
            if framework_id is None or key[0] == framework_id:
                executor = agent.executors.pop(key)
                self.release(key[0], executor.role, agent.agent_id, executor.spec.resources)

    # Tasks ---------------------------------------------------------------------------------------

    def report_to(self, framework: FrameworkRecord, report: StatusReport) -> None:
        """Send news made by the master, if the framework can be reached."""
        if _ends(report.state) and not report.is_answer:
            self.tally.ends[report.state, SOURCE_MASTER, int(report.reason)] += 1
            if self.tasks.get(report.framework_id, report.task_id) is None:
                self._count_end(report.framework_id, report.state)
        if framework.is_connected and framework.peer is not None:
            framework.tally.events["update"] += 1
            self.emit(SendReport(framework.peer, report, self.now_s))

    def report_task(
        self,
        task: TaskRecord,
        reason: UpdateReason,
        message: str,
        *,
        unreachable_time_s: float | None = None,
    ) -> None:
        """Tell the task's framework the state that the master has recorded."""
        framework = self.frameworks.get(task.framework_id)
        if framework is None:
            return
        if not framework.is_connected and not _ends(task.state):
            return  # nobody to tell, nothing to count: most tasks of a failover
        self.report_to(
            framework,
            StatusReport(
                framework_id=task.framework_id,
                agent_id=task.agent_id,
                task_id=task.task_id,
                executor_id=task.executor_id,
                state=task.state,
                reason=reason,
                message=message,
                unreachable_time_s=unreachable_time_s,
                detail=task.last_note if reason is UpdateReason.AGENT_REREGISTERED else None,
            ),
        )

    def record_state(self, task: TaskRecord, state: TaskState) -> None:
        """Record a reported state and free the resources with the first terminal one."""
        was_over = task.state.is_terminal
        if task.report_state(state):
            self.release_task(task)
        if task.state.is_terminal and not was_over:
            self._count_end(task.framework_id, task.state)

    def _count_end(self, framework_id: FrameworkId, state: TaskState) -> None:
        self.tally.tasks_ended[state] += 1
        framework = self.frameworks.get(framework_id)
        if framework is not None:
            framework.tally.tasks_ended[state] += 1

    def complete_task(self, task: TaskRecord) -> None:
        """The task is over for good; whatever it still holds becomes free."""
        if task.holds_resources:
            task.holds_resources = False
            self.release_task(task)
        self.tasks.complete(task)
        self.touch(task.agent_id)
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.pending_kills.pop(task.key, None)

    # Draining ------------------------------------------------------------------------------------

    def touch(self, agent_id: AgentId) -> None:
        """Something on the agent ended; if it is draining, that may have been the last thing."""
        if agent_id in self.draining:
            self._touched[agent_id] = None

    def take_touched(self) -> tuple[AgentId, ...]:
        """Draining agents on which something ended since the last call."""
        if not self._touched:
            return ()
        touched = tuple(self._touched)
        self._touched.clear()
        return touched

    def is_empty(self, agent: AgentRecord) -> bool:
        """Whether nothing of a framework is left on an agent."""
        agent_id = agent.agent_id
        return not (
            agent.executors or self.tasks.of_agent(agent_id) or self.operations.of_agent(agent_id)
        )

    def may_serve(self, agent_id: AgentId) -> bool:
        """Whether a connected agent may be offered: it is neither deactivated nor draining."""
        entry = self.registry.admitted(agent_id)
        return entry is None or not entry.is_deactivated

    # Questions -----------------------------------------------------------------------------------

    def standing(self, agent_id: AgentId) -> AgentStanding:
        """How the agent stands, as far as a question about one of its tasks goes."""
        if self.agents.registered_or_none(agent_id) is not None:
            return AgentStanding.REGISTERED
        if self.agents.is_recovered(agent_id):
            return AgentStanding.RECOVERED
        if self.registry.is_unreachable(agent_id):
            return AgentStanding.UNREACHABLE
        if self.registry.is_gone(agent_id):
            return AgentStanding.GONE
        return AgentStanding.UNKNOWN

    def used_on(self, agent: AgentRecord) -> dict[tuple[FrameworkId, str], Resources]:
        """What tasks, executors and operations hold on an agent, by framework and role."""
        used: dict[tuple[FrameworkId, str], list[Resources]] = {}
        for task in self.tasks.of_agent(agent.agent_id):
            if task.holds_resources:
                used.setdefault((task.framework_id, task.role), []).append(task.resources)
        for (framework_id, _), executor in agent.executors.items():
            used.setdefault((framework_id, executor.role), []).append(executor.spec.resources)
        for operation in self.operations.of_agent(agent.agent_id):
            if operation.held:
                assert operation.framework_id is not None
                assert operation.role is not None
                owner = (operation.framework_id, operation.role)
                used.setdefault(owner, []).append(operation.held)
        return {owner: Resources.sum_of(bundles) for owner, bundles in used.items()}

    def free_on(self, agent: AgentRecord) -> Resources:
        """What nobody uses and nobody is offered; a shared volume is always there."""
        taken = sum(self.used_on(agent).values(), start=EMPTY)
        for offer in self.offers.of_agent(agent.agent_id):
            taken = taken + offer.resources
        return agent.total.minus_up_to(taken.unshared())


def _ends(state: TaskState) -> bool:
    """Whether a task is over in this state, or out of sight."""
    return state.is_terminal or state is TaskState.UNREACHABLE


__all__ = ["MasterOptions", "MasterState"]
