"""Operations on resources: who may order them, what they turn into what, what becomes of them.

Speculative changes are made in the books when they are ordered; the agent is expected to follow.
When it says that it did not, they are taken back as far as nobody uses the result. What only a
resource provider can tell is booked when the agent reports it; until then the resources stay
allocated. Source: master.md §6.2, §8, §9.
"""

import random
import uuid

from cluster.core.allocator.events import AgentUpdated
from cluster.core.master.agents import AgentRecord, AgentStanding
from cluster.core.master.basket import Basket
from cluster.core.master.effects import (
    OperationInQuestion,
    SendApplyOperation,
    SendCheckpointResources,
    SendOperationAcknowledgement,
    SendOperationStatus,
    SendReconcileOperations,
)
from cluster.core.master.events import AgentUpdateReceived, OperationStatusReceived
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.operations import (
    REPORTED_STEPS,
    OperationRecord,
    OperationStep,
)
from cluster.core.master.state import MasterState
from cluster.model.agents import AgentCapability, AgentNews
from cluster.model.calls import (
    AcknowledgeOperation,
    BrokenOperation,
    ChangeResources,
    ReconcileOperations,
)
from cluster.model.conversions import Conversion, conversion, taken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.operations import (
    Change,
    Destroy,
    Grow,
    OperationId,
    OperationReport,
    OperationState,
    OperationStatus,
    OperationUuid,
    Shrink,
    change_name,
    is_speculative,
    provider_of,
)
from cluster.model.resources import EMPTY, Resources
from cluster.model.roles import ANY_ROLE
from cluster.model.volumes import is_checkpointed, is_persistent_volume
from cluster.validation.operations import Asker, Place, change_error, operation_id_error

ORPHAN_ADOPTION_WAIT_S = 600.0
"""So long after its start a master lets news of unknown frameworks wait for their return."""


class Changes:
    """Ordering operations and following them, acting on the shared books.

    Args:
        state: the books.
        rng: where the uuids of operations come from.
    """

    def __init__(self, state: MasterState, rng: random.Random) -> None:
        self._state = state
        self._rng = rng
        self._started_s: float | None = None

    # Ordered by frameworks -----------------------------------------------------------------------

    def change(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        operation: ChangeResources,
        basket: Basket,
    ) -> None:
        """Carry out one operation of an ACCEPT, or say why not."""
        asker, place = asker_of(framework, role), self.place(agent)
        error = (
            self._order_error(framework, agent, role, operation, asker, place)
            or change_error(operation.change, asker, place)
            or basket.lack(taken(operation.change))
        )
        if error is not None:
            text = f"{change_name(operation.change)}: {error}"
            return self.refuse(framework, agent.agent_id, operation.operation_id, text)
        known = conversion(operation.change)
        if known is None:
            basket.take(taken(operation.change))
        else:
            self._give_up_copies(framework, agent, role, operation.change, basket)
            basket.convert(known)
            self._state.convert_held(framework.framework_id, role, agent, known)
            if isinstance(operation.change, Grow | Shrink):
                basket.freeze(known.after.where(is_persistent_volume))
        return self.order(
            agent,
            operation.change,
            framework_id=framework.framework_id,
            role=role,
            operation_id=operation.operation_id,
        )

    def broken(
        self, framework: FrameworkRecord, agent_id: AgentId, operation: BrokenOperation
    ) -> None:
        self.refuse(
            framework, agent_id, operation.operation_id, f"{operation.name}: {operation.error}"
        )

    def refuse(
        self,
        framework: FrameworkRecord,
        agent_id: AgentId | None,
        operation_id: OperationId | None,
        text: str,
    ) -> None:
        """Say that an operation is not carried out; a scheduler without feedback cannot be told."""
        if operation_id is None or not framework.has_feedback:
            return self._state.warn(
                "operation refused", f"operation of framework {framework.framework_id}: {text}"
            )
        status = OperationStatus(
            OperationState.ERROR, operation_id=operation_id, message=text, agent_id=agent_id
        )
        return _tell(self._state, framework, status)

    def _order_error(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        operation: ChangeResources,
        asker: Asker,
        place: Place,
    ) -> str | None:
        """Rules about the order itself, whatever it is that shall change."""
        framework_id, operation_id = framework.framework_id, operation.operation_id
        if operation.role is not None and operation.role != role:
            return (
                f"resources: must be allocated to the offers' role '{role}', not to "
                f"'{operation.role}'"
            )
        is_taken = (
            operation_id is not None
            and self._state.operations.named(framework_id, operation_id) is not None
        )
        error = operation_id_error(operation_id, operation.change, asker, place, is_taken=is_taken)
        if error is not None:
            return error
        if not is_speculative(operation.change) and not knows_operations(agent):
            return f"agent {agent.agent_id} lacks RESOURCE_PROVIDER"
        return self.limit_error(framework_id)

    def limit_error(self, owner: FrameworkId | None) -> str | None:
        operations = self._state.operations
        if not operations.is_full(owner):
            return None
        return f"operation: {operations.outstanding_per_owner_max} operations are under way already"

    def _give_up_copies(
        self,
        framework: FrameworkRecord,
        agent: AgentRecord,
        role: str,
        change: Change,
        basket: Basket,
    ) -> None:
        """A shared volume to be destroyed may be offered in several copies, to others too."""
        if not isinstance(change, Destroy):
            return
        spare = basket.drop_copies(change.volumes)
        self._state.release(framework.framework_id, role, agent.agent_id, spare)
        for offer in self._state.offers.of_agent(agent.agent_id):
            if any(offer.resources.contains(Resources([entry])) for entry in change.volumes):
                self._state.withdraw(offer, tell=True)

    # Ordering ------------------------------------------------------------------------------------

    def place(self, agent: AgentRecord) -> Place:
        used = sum(self._state.used_on(agent).values(), start=EMPTY)
        return Place(total=agent.total, used=used, capabilities=agent.spec.capabilities)

    def order(
        self,
        agent: AgentRecord,
        change: Change,
        *,
        framework_id: FrameworkId | None = None,
        role: str | None = None,
        operation_id: OperationId | None = None,
    ) -> None:
        """Tell the agent, after the books were changed."""
        state = self._state
        if not knows_operations(agent):
            return state.emit(checkpoint_order(agent))
        record = OperationRecord(
            self._name(),
            agent.agent_id,
            change,
            framework_id=framework_id,
            role=role,
            operation_id=operation_id,
        )
        record.story.add(state.now_s, change_name(change), "new -> PENDING")
        state.operations.add(record)
        return state.emit(
            SendApplyOperation(
                agent.peer,
                framework_id,
                record.uuid,
                change,
                operation_id,
                role,
                self._version(agent, provider_of(change)),
            )
        )

    def _version(self, agent: AgentRecord, provider_id: str | None) -> bytes | None:
        """The version of the resources that the change was made for."""
        if provider_id is None:
            return agent.resource_version
        return agent.provider_versions.get(provider_id)

    def _name(self) -> OperationUuid:
        return OperationUuid(uuid.UUID(bytes=self._rng.randbytes(16), version=4).bytes)

    # Told by agents ------------------------------------------------------------------------------

    def status(self, event: OperationStatusReceived) -> None:
        """Record what an agent says and pass it on; an agent repeats what is not acknowledged."""
        update = event.update
        agent = self._state.agents.registered_or_none(update.agent_id)
        if agent is None or agent.peer != event.peer:
            return self._state.warn(
                "operation status",
                f"operation status from {event.peer}, which is not agent {update.agent_id}",
            )
        record = self._state.operations.get(update.uuid)
        if record is None or record.agent_id != update.agent_id:
            self._answer_for_unknown(agent, update.framework_id, update.status)
            return self._acknowledge_unless_wanted(
                agent, update.uuid, update.status, update.framework_id
            )
        self._record(agent, record, update.latest or update.status)
        return self._pass_on(agent, record, update.status)

    def _record(self, agent: AgentRecord, record: OperationRecord, status: OperationStatus) -> None:
        step = REPORTED_STEPS.get(status.state)
        if step is None:
            return self._state.warn(
                "operation status",
                f"agent {agent.agent_id} reports operation {record.uuid.hex()} as "
                f"{status.state.name}, which only a master can say",
            )
        if record.advance(step, self._state.now_s):
            self._end(agent, record, status)
        if record.state is status.state:
            record.status = status
        return None

    def _pass_on(
        self, agent: AgentRecord, record: OperationRecord, status: OperationStatus
    ) -> None:
        """To the framework, if it asked; else the master takes note in its place."""
        if record.wants_feedback and not self._is_ownerless(record.framework_id):
            framework = self._listener(record.framework_id)
            if framework is not None:
                _tell(self._state, framework, status)
            if status.uuid is not None:
                return  # the agent repeats it until the framework has taken note
        self._acknowledge(agent, record.uuid, status)
        if record.state.is_terminal:
            self._complete(record)

    def _complete(self, record: OperationRecord) -> None:
        """Nothing more is to be said about it; a draining agent may be empty now."""
        self._state.operations.complete(record)
        self._state.touch(record.agent_id)

    def _answer_for_unknown(
        self, agent: AgentRecord, framework_id: FrameworkId | None, status: OperationStatus
    ) -> None:
        """An answer to a question about an operation that the master does not know."""
        framework = self._listener(framework_id)
        if framework is not None and status.operation_id is not None:
            _tell(self._state, framework, status)

    def _acknowledge_unless_wanted(
        self,
        agent: AgentRecord,
        operation: OperationUuid,
        status: OperationStatus,
        framework_id: FrameworkId | None,
    ) -> None:
        if status.operation_id is None or self._is_ownerless(framework_id):
            self._acknowledge(agent, operation, status)

    def _acknowledge(
        self, agent: AgentRecord, operation: OperationUuid, status: OperationStatus
    ) -> None:
        if status.uuid is not None and agent.is_connected:
            self._state.emit(
                SendOperationAcknowledgement(agent.peer, operation, status.uuid, status.provider_id)
            )

    def _listener(self, framework_id: FrameworkId | None) -> FrameworkRecord | None:
        """The framework, when it can be told something now."""
        framework = None if framework_id is None else self._state.frameworks.get(framework_id)
        if framework is None or not framework.is_connected or not framework.has_feedback:
            return None
        return framework

    def _is_ownerless(self, framework_id: FrameworkId | None) -> bool:
        """Whether no framework will ever take note of news about an operation."""
        state = self._state
        if framework_id is None or state.frameworks.is_completed(framework_id):
            return True
        started_s = state.now_s if self._started_s is None else self._started_s
        return (
            state.frameworks.get(framework_id) is None
            and state.now_s - started_s >= ORPHAN_ADOPTION_WAIT_S
        )

    def note_start(self) -> None:
        """The first event of a master's life is its start."""
        if self._started_s is None:
            self._started_s = self._state.now_s

    # The end of an operation ---------------------------------------------------------------------

    def _end(self, agent: AgentRecord, record: OperationRecord, status: OperationStatus) -> None:
        if record.is_speculative:
            if status.state is not OperationState.FINISHED and record.is_counted_on:
                self._take_back(agent, record)
            return
        held, record.held = record.held, EMPTY
        if not held:
            return  # nothing is booked for it; the agent tells what it has by updates
        assert record.framework_id is not None
        assert record.role is not None
        left = held
        if status.state is OperationState.FINISHED:
            left = self._made_of(agent, held, status.converted.unallocated())
            self._state.convert_held(
                record.framework_id, record.role, agent, Conversion(held, left)
            )
        self._state.release(record.framework_id, record.role, agent.agent_id, left)

    def _made_of(self, agent: AgentRecord, held: Resources, converted: Resources) -> Resources:
        """What a provider says to have made of its disk, unless that cannot be true."""
        providers = {entry.identity.provider_id for entry in held}
        for entry in converted:
            if entry.name != "disk" or entry.identity.provider_id not in providers:
                self._state.warn(
                    "operation status",
                    f"agent {agent.agent_id} makes [{converted}] of [{held}]: not believed",
                )
                return held
        return converted

    def _take_back(self, agent: AgentRecord, record: OperationRecord) -> None:
        """The agent did not follow: what it has is what it had before.

        Differs: Mesos leaves its books wrong until the agent registers again.
        """
        known = conversion(record.change)
        assert known is not None
        if self.free_up(agent, known.after) is None:
            self._state.convert_free(agent, Conversion(known.after, known.before))
        else:
            self._state.warn(
                "operation failed",
                f"{change_name(record.change)} on agent {agent.agent_id} failed when its result "
                f"[{known.after}] was already in use",
            )

    def free_up(self, agent: AgentRecord, needed: Resources) -> str | None:
        """Rescind as many offers as it takes until all of this is free, or say what is missing.

        Differs: Mesos rescinds offers even when that cannot be enough.
        """
        state = self._state
        used = sum(state.used_on(agent).values(), start=EMPTY)
        unused = agent.total.minus_up_to(used)
        if not unused.contains(needed):
            return f"[{unused}] does not contain [{needed}]"
        shared = needed.shared()
        for offer in state.offers.of_agent(agent.agent_id):
            missing = needed.minus_up_to(state.free_on(agent)) + shared
            if missing.minus_up_to(offer.resources) != missing:
                state.withdraw(offer, tell=True)
        return None

    # What agents have ----------------------------------------------------------------------------

    def updated(self, event: AgentUpdateReceived) -> None:
        """Take over what an agent says it has, and compare its operations with the books."""
        agent = self._state.agents.registered_or_none(event.agent_id)
        if agent is None or agent.peer != event.peer:
            return
        news = event.news
        if news.providers is not None:
            agent.provider_versions = {p.provider_id: p.resource_version for p in news.providers}
        self._resize(agent, _total_after(agent.total, news))
        if news.operations is not None:
            self._compare(agent, news.operations)

    def _resize(self, agent: AgentRecord, total: Resources) -> None:
        """The agent has more or less than before; nothing old may be on offer then."""
        state = self._state
        if total == agent.total:
            return
        for offer in state.offers.of_agent(agent.agent_id):
            state.withdraw(offer, tell=True)
        agent.total = total
        state.allocator.handle(AgentUpdated(agent.agent_id, total), state.now_s)

    def _compare(self, agent: AgentRecord, reports: tuple[OperationReport, ...]) -> None:
        """Adopt what the books lack, and ask about what the agent lacks."""
        listed = {report.uuid for report in reports}
        missing = [
            OperationInQuestion(record.uuid, record.operation_id, provider_of(record.change))
            for record in self._state.operations.of_agent(agent.agent_id)
            if record.uuid not in listed
        ]
        for report in reports:
            known = self._state.operations.get(report.uuid)
            if known is None:
                self._adopt(agent, report)
            elif known.agent_id == agent.agent_id:
                self._record(agent, known, report.status)
        if missing:
            self._state.emit(SendReconcileOperations(agent.peer, None, tuple(missing)))

    def _adopt(self, agent: AgentRecord, report: OperationReport) -> None:
        """An operation of an earlier master, or from before the agent was lost."""
        state = self._state
        has_room = state.operations.has_room_on(agent.agent_id)
        if state.operations.is_full(report.framework_id) or not has_room:
            return state.warn(
                "operations", f"agent {agent.agent_id} reports too many operations: not all kept"
            )
        record = OperationRecord(
            report.uuid,
            agent.agent_id,
            report.change,
            framework_id=report.framework_id,
            role=report.role or ANY_ROLE,
            operation_id=report.operation_id,
        )
        record.held = EMPTY
        record.is_counted_on = False
        record.story.add(state.now_s, "reported by its agent", "new -> PENDING")
        state.operations.add(record)
        self._record(agent, record, report.status)
        if record.state is OperationState.PENDING and not record.is_speculative:
            self._hold(agent, record)
        return None

    def _hold(self, agent: AgentRecord, record: OperationRecord) -> None:
        """What an adopted operation works on must not be offered to anybody."""
        needed = taken(record.change)
        if record.framework_id is None or record.role is None:
            return
        if (lack := self.free_up(agent, needed)) is not None:
            return self._state.warn(
                "operations", f"agent {agent.agent_id} reports an operation: {lack}"
            )
        record.held = needed
        self._state.hold_more(record.framework_id, record.role, agent, needed)

    # Asked by frameworks -------------------------------------------------------------------------

    def acknowledge(self, framework: FrameworkRecord, call: AcknowledgeOperation) -> None:
        record = self._state.operations.named(framework.framework_id, call.operation_id)
        agent_id = call.agent_id if record is None else record.agent_id
        agent = None if agent_id is None else self._state.agents.get(agent_id)
        if record is None or agent is None or not agent.is_connected:
            return self._state.warn(
                "operation acknowledgement",
                f"framework {framework.framework_id} acknowledges news of operation "
                f"'{call.operation_id}', which is not under way on a connected agent",
            )
        status = record.status
        self._state.emit(
            SendOperationAcknowledgement(agent.peer, record.uuid, call.uuid, status.provider_id)
        )
        if record.state.is_terminal and call.uuid == status.uuid:
            self._complete(record)
        return None

    def reconcile(self, framework: FrameworkRecord, call: ReconcileOperations) -> None:
        """Answer at once; only schedulers with feedback can be told."""
        if not call.operations:
            for record in self._state.operations.of_framework(framework.framework_id):
                if record.wants_feedback:
                    _tell(self._state, framework, record.status)
            return
        for operation_id, agent_id in call.operations:
            record_or_none = self._state.operations.named(framework.framework_id, operation_id)
            if record_or_none is not None:
                _tell(self._state, framework, record_or_none.status)
            else:
                self._answer(framework, operation_id, agent_id)

    def _answer(
        self, framework: FrameworkRecord, operation_id: OperationId, agent_id: AgentId | None
    ) -> None:
        """What can be said of an operation that is not in the books."""
        state = self._state
        if agent_id is None:
            recovered = state.agents.has_recovered
            standing = AgentStanding.RECOVERED if recovered else AgentStanding.UNKNOWN
        else:
            standing = state.standing(agent_id)
        operation_state, text = _ANSWERS[standing]
        if agent_id is None and standing is AgentStanding.UNKNOWN:
            text += " and no 'agent_id' was provided"
        return _tell(
            state,
            framework,
            OperationStatus(
                operation_state, operation_id=operation_id, message=text, agent_id=agent_id
            ),
        )


def lose_operations(state: MasterState, agent_id: AgentId) -> None:
    """Nothing more is heard of an agent's operations; the registry knows why."""
    is_unreachable = state.registry.is_unreachable(agent_id)
    step = OperationStep.AGENT_LOST if is_unreachable else OperationStep.AGENT_GONE
    for record in state.operations.of_agent(agent_id):
        record.held = EMPTY  # the agent and all that is booked on it leave the allocator
        if not record.state.is_terminal:
            record.advance(step, state.now_s)
            framework = None
            if record.framework_id is not None and record.wants_feedback:
                framework = state.frameworks.get(record.framework_id)
            if framework is not None:
                _tell(state, framework, _status_of(record, "The agent was removed"))
        state.operations.complete(record)


def _tell(state: MasterState, framework: FrameworkRecord, status: OperationStatus) -> None:
    if framework.is_connected and framework.has_feedback and framework.peer is not None:
        state.emit(SendOperationStatus(framework.peer, framework.framework_id, status))


def _total_after(total: Resources, news: AgentNews) -> Resources:
    """What the agent has, when what is revocable or from providers is told anew."""
    if news.oversubscribed is not None:
        total = total.where(lambda identity: not identity.is_revocable) + news.oversubscribed
    if news.providers is not None:
        total = total.where(lambda identity: identity.provider_id is None)
        total = sum((provider.total for provider in news.providers), start=total)
    return total


# Standing of the named agent -> what is said of an operation that is not in the books. A registered
# agent is not asked either: recorded from a real master.
_ANSWERS: dict[AgentStanding, tuple[OperationState, str]] = {
    AgentStanding.REGISTERED: (OperationState.UNKNOWN, "Reconciliation: Operation is unknown"),
    AgentStanding.RECOVERED: (
        OperationState.RECOVERING,
        "Reconciliation: Agent has not yet re-registered with the master",
    ),
    AgentStanding.UNREACHABLE: (
        OperationState.UNREACHABLE,
        "Reconciliation: Agent is unreachable",
    ),
    AgentStanding.GONE: (
        OperationState.GONE_BY_OPERATOR,
        "Reconciliation: Agent marked gone by operator",
    ),
    AgentStanding.UNKNOWN: (OperationState.UNKNOWN, "Reconciliation: Operation is unknown"),
}


def _status_of(record: OperationRecord, message: str) -> OperationStatus:
    """What the master says of an operation, in its own name: nobody need acknowledge it."""
    return OperationStatus(
        record.state,
        operation_id=record.operation_id,
        message=message,
        agent_id=record.agent_id,
        provider_id=provider_of(record.change),
    )


def asker_of(framework: FrameworkRecord, role: str) -> Asker:
    """As whom a framework orders changes.

    Nobody has to prove who it is, so a framework is whom it says: the place for an authorizer.
    """
    return Asker(
        principal=framework.spec.principal,
        allocation_role=role,
        roles=framework.spec.roles,
        capabilities=framework.spec.capabilities,
        has_feedback=framework.has_feedback,
    )


def operator_asker(principal: str | None) -> Asker:
    """As whom an operator orders changes: the place for an authorizer."""
    return Asker(principal=principal)


def knows_operations(agent: AgentRecord) -> bool:
    """Whether the agent takes operations; an older one takes the whole list of what it shall have.

    Source: messages.md §3 (``CheckpointResourcesMessage``).
    """
    return AgentCapability.RESOURCE_PROVIDER in agent.spec.capabilities


def checkpoint_order(agent: AgentRecord) -> SendCheckpointResources:
    """What an agent that knows no operations shall have."""
    return SendCheckpointResources(agent.peer, agent.total.where(is_checkpointed))


__all__ = [
    "ORPHAN_ADOPTION_WAIT_S",
    "Changes",
    "asker_of",
    "checkpoint_order",
    "knows_operations",
    "lose_operations",
    "operator_asker",
]
