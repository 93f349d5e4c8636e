"""How agents come, come back, fall silent and go. Source: master.md §3.

What must survive the master goes through the registry first: the effect ``WriteRegistry`` starts
a change, the event ``RegistryWritten`` completes it. Meanwhile the agent's messages are ignored;
it repeats them.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
)
from cluster.core.master.agents import AgentRecord, RunningExecutor
from cluster.core.master.changes import checkpoint_order, knows_operations, lose_operations
from cluster.core.master.effects import (
    CancelTimer,
    Link,
    MissingTasks,
    ReregistrationTimer,
    SendAgentLost,
    SendAgentRegistered,
    SendAgentReregistered,
    SendAgentShutdown,
    SendKillTask,
    SendShutdownFramework,
    SendUpdateFramework,
    StartObserver,
    StartTimer,
    StopObserver,
    TellObserver,
    WriteRegistry,
)
from cluster.core.master.events import AgentUpdateReceived, ReregistrationTimedOut
from cluster.core.master.lifecycles import AgentState, AgentStep
from cluster.core.master.registry import (
    AdmitAgent,
    MarkAgentReachable,
    MarkAgentUnreachable,
    RegistryOperation,
    RemoveAgent,
    UpdateAgent,
)
from cluster.core.master.state import MasterState
from cluster.core.master.subscriptions import Subscriptions
from cluster.core.master.tasks import TaskRecord
from cluster.model.agents import AgentReport, AgentSpec
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.peers import PeerId
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import StatusReport
from cluster.model.values import ValueType

PINGS_MISSED = "health check timed out"
REREGISTRATION_TIMED_OUT = "agent did not re-register in time"
UNREGISTERED = "the agent unregistered"
REPLACED = "a new agent registered at the same address"
GENERATION_OF_RECOVERED = -1
RESOURCES_CACHED_MAX = 4096


class Admission:
    """The lifecycle of agents, acting on the shared books."""

    def __init__(self, state: MasterState, subscriptions: Subscriptions) -> None:
        self._state = state
        self._subscriptions = subscriptions
        self._reports: dict[AgentId, AgentReport] = {}
        self._reasons: dict[AgentId, str] = {}

    # Coming --------------------------------------------------------------------------------------

    def register(self, peer: PeerId, spec: AgentSpec) -> None:
        """Admit an agent that has no id; repeat the answer to one that asks again."""
        state = self._state
        known = state.agents.at_peer(peer)
        if known is not None:
            if known.is_connected:
                return state.emit(SendAgentRegistered(peer, known.agent_id))
            if known.state is not AgentState.DISCONNECTED:
                return state.warn("agent busy", f"{peer} registers while {known.state.name}")
            self._begin_removal(known, REPLACED)
        record = AgentRecord(
            state.name_agent(), spec, state=AgentState.ADMITTING, peer=peer, now_s=state.now_s
        )
        record.story.add(state.now_s, f"registered from {peer}", "new -> ADMITTING")
        state.agents.add(record)
        return state.emit(WriteRegistry(AdmitAgent(record.agent_id)))

    def reregister(self, peer: PeerId, report: AgentReport) -> None:
        """Take an agent back, whether it was here all the time, unreachable or never known."""
        state = self._state
        if report.agent_id in state.registry.gone:
            return state.emit(SendAgentShutdown(peer, "Agent has been marked gone"))
        record = state.agents.get(report.agent_id)
        if record is None:
            return self._begin_return(peer, report)
        if record.state not in (AgentState.CONNECTED, AgentState.DISCONNECTED):
            return state.warn(
                "agent busy", f"agent {report.agent_id} re-registers while {record.state.name}"
            )
        if (error := _identity_error(record, report.spec)) is not None:
            return state.emit(SendAgentShutdown(peer, error))
        self._displace(peer, report.agent_id)
        return self._welcome_back(record, peer, report)

    def recovered(self, agent_ids: Iterable[AgentId]) -> None:
        """Expect the agents that an earlier master had admitted, but not for ever."""
        state = self._state
        for agent_id in agent_ids:
            state.registry.apply(AdmitAgent(agent_id))
            state.agents.recover(agent_id)
            self._start_timer(agent_id, GENERATION_OF_RECOVERED)

    def written(self, operation: RegistryOperation) -> None:
        """Go on with what waited for the registry."""
        state = self._state
        state.registry.apply(operation)
        match operation:
            case AdmitAgent(agent_id):
                self._admitted(agent_id)
            case MarkAgentReachable(agent_id):
                self._readmitted(agent_id)
            case MarkAgentUnreachable(agent_id, at_s):
                self._marked_unreachable(agent_id, at_s)
            case RemoveAgent(agent_id):
                self._removed(agent_id)
            case _:
                pass  # nothing waits for an updated description or for a gone mark

    def _admitted(self, agent_id: AgentId) -> None:
        state = self._state
        record = state.agents.get(agent_id)
        if record is None:
            return
        record.advance(AgentStep.ADMITTED, state.now_s)
        state.emit(Link(record.peer))
        state.emit(StartObserver(agent_id, record.peer))
        state.emit(SendAgentRegistered(record.peer, agent_id))
        state.allocator.handle(AgentAdded(agent_id, record.spec.total), state.now_s)

    # Coming back ---------------------------------------------------------------------------------

    def _begin_return(self, peer: PeerId, report: AgentReport) -> None:
        state = self._state
        agent_id = report.agent_id
        self._displace(peer, agent_id)
        recovered = state.agents.is_recovered(agent_id)
        record = AgentRecord(
            agent_id,
            report.spec,
            state=AgentState.RECOVERED if recovered else AgentState.UNREACHABLE,
            peer=peer,
            now_s=state.now_s,
        )
        record.advance(AgentStep.RETURNED, state.now_s)
        state.agents.no_longer_recovered(agent_id)
        state.emit(CancelTimer(ReregistrationTimer(agent_id)))
        state.agents.add(record)
        self._reports[agent_id] = report
        state.emit(WriteRegistry(MarkAgentReachable(agent_id)))

    def _displace(self, peer: PeerId, agent_id: AgentId) -> None:
        """Two agents cannot share an address: the one that no longer answers there has ended."""
        other = self._state.agents.at_peer(peer)
        if other is None or other.agent_id == agent_id:
            return
        if other.state in (AgentState.CONNECTED, AgentState.DISCONNECTED):
            self._begin_removal(other, REPLACED)

    def _readmitted(self, agent_id: AgentId) -> None:
        """Rebuild the books from what the agent reports, and tell the frameworks."""
        state = self._state
        record = state.agents.get(agent_id)
        report = self._reports.pop(agent_id, None)
        if record is None or report is None:
            return
        record.advance(AgentStep.READMITTED, state.now_s)
        record.reregistered_s = state.now_s
        state.emit(Link(record.peer))
        ended = self._learn_frameworks(report)
        for task in self._add_reported_tasks(report):
            state.report_task(
                task, UpdateReason.AGENT_REREGISTERED, "Unreachable agent re-reregistered"
            )
        self._add_reported_executors(record, report)
        self._add_to_allocator(record)
        state.emit(SendAgentReregistered(record.peer, agent_id, (), state.now_s))
        self._catch_up(record, report, ended)
        state.emit(StartObserver(agent_id, record.peer))

    def _welcome_back(self, record: AgentRecord, peer: PeerId, report: AgentReport) -> None:
        """An agent that was never given up: compare its report with the books."""
        state = self._state
        was_connected = record.is_connected
        moved = record.peer != peer
        record.advance(AgentStep.RETURNED, state.now_s)
        record.generation += 1
        record.reregistered_s = state.now_s
        state.agents.move(record, peer)
        state.emit(CancelTimer(ReregistrationTimer(record.agent_id)))
        state.emit(Link(peer))
        total_before = record.spec.total
        if record.spec.payload != report.spec.payload:
            state.emit(WriteRegistry(UpdateAgent(record.agent_id)))
        record.spec = replace(report.spec, total=report.spec.total + record.told_later)
        state.operations.believe(record.agent_id)
        record.resource_version = report.spec.resource_version
        ended = self._learn_frameworks(report)
        missing = self._compare_tasks(record, report)
        self._drop_missing_executors(record, report)
        added = self._add_reported_tasks(report)
        started = self._add_reported_executors(record, report)
        for task in added:
            state.report_task(task, UpdateReason.AGENT_REREGISTERED, "Agent re-registered")
        if added or started or record.spec.total != total_before:
            self._rescind_offers(record)
            state.allocator.handle(AgentRemoved(record.agent_id), state.now_s)
            self._add_to_allocator(record)
        elif not was_connected:
            state.allocator.handle(AgentActivated(record.agent_id), state.now_s)
        state.emit(SendAgentReregistered(peer, record.agent_id, missing, state.now_s))
        self._catch_up(record, report, ended)
        if moved:
            state.emit(StartObserver(record.agent_id, peer))
        else:
            state.emit(TellObserver(record.agent_id, connected=True))

    def _learn_frameworks(self, report: AgentReport) -> list[FrameworkId]:
        """Make room for frameworks not subscribed yet; returns those that are over."""
        ended = []
        for spec in report.frameworks:
            assert spec.framework_id is not None
            if self._state.frameworks.is_completed(spec.framework_id):
                ended.append(spec.framework_id)
            else:
                self._subscriptions.recover(spec)
        return ended

    def _add_reported_tasks(self, report: AgentReport) -> list[TaskRecord]:
        """Enter tasks that are not in the books; those of ended frameworks are about to stop."""
        state = self._state
        added = []
        for reported in report.tasks:
            if state.frameworks.get(reported.framework_id) is None:
                continue
            if state.tasks.get(reported.framework_id, reported.task_id) is not None:
                continue
            task = TaskRecord.from_report(reported, report.agent_id)
            if task.holds_resources:
                task.resources = self._not_held_yet(report.agent_id, task.resources)
            state.tasks.forget_unreachable(task.framework_id, task.task_id)
            state.tasks.add(task)
            added.append(task)
        return added

    def _add_reported_executors(self, record: AgentRecord, report: AgentReport) -> int:
        """Enter executors that are not in the books; returns how many."""
        before = len(record.executors)
        for executor in report.executors:
            framework_id = executor.framework_id
            framework = None if framework_id is None else self._state.frameworks.get(framework_id)
            if framework is None:
                continue
            key = (framework.framework_id, executor.executor_id)
            if key not in record.executors:
                role = executor.role or next(iter(framework.spec.roles), "*")
                held = self._not_held_yet(record.agent_id, executor.resources)
                record.executors[key] = RunningExecutor(replace(executor, resources=held), role)
        return len(record.executors) - before

    def _not_held_yet(self, agent_id: AgentId, resources: Resources) -> Resources:
        """Ports and sets can be held once: what an agent reports twice counts the first time."""
        if _is_scalar(resources):
            return resources
        agent = self._state.agents.get(agent_id)
        assert agent is not None
        held = sum(self._state.used_on(agent).values(), start=EMPTY)
        rest = resources.minus_up_to(held.where(lambda entry: entry.type is not ValueType.SCALAR))
        if rest != resources:
            self._state.warn(
                "resources reported twice",
                f"agent {agent_id} reports something as used twice: only [{rest}] of [{resources}] "
                "is counted",
            )
        return rest

    def _compare_tasks(self, record: AgentRecord, report: AgentReport) -> tuple[MissingTasks, ...]:
        """Bring the tasks into line with the report; returns those the agent does not have."""
        state = self._state
        reported = {(task.framework_id, task.task_id): task for task in report.tasks}
        missing: dict[FrameworkId, list[StatusReport]] = {}
        for task in state.tasks.of_agent(record.agent_id):
            here = reported.get(task.key)
            if here is not None:
                if here.forwarded_state is not None:
                    task.forwarded_state = here.forwarded_state
                    task.forwarded_uuid = here.forwarded_uuid
                state.record_state(task, here.state)
            elif task.state.is_terminal:
                # The agent forgets a task only after its terminal update was acknowledged; the
                # acknowledgement is all that the master had been waiting for.
                state.complete_task(task)
            else:
                missing.setdefault(task.framework_id, []).append(self._lost_report(task))
        return tuple(
            MissingTasks(framework_id, framework.spec, tuple(reports))
            for framework_id, reports in missing.items()
            if (framework := state.frameworks.get(framework_id)) is not None
        )

    def _lost_report(self, task: TaskRecord) -> StatusReport:
        framework = self._state.frameworks.get(task.framework_id)
        aware = framework is not None and framework.spec.is_partition_aware
        return StatusReport(
            framework_id=task.framework_id,
            agent_id=task.agent_id,
            task_id=task.task_id,
            executor_id=task.executor_id,
            state=TaskState.DROPPED if aware else TaskState.LOST,
            reason=UpdateReason.RECONCILIATION,
            message="Reconciliation: the agent does not have the task",
            is_answer=True,
        )

    def _drop_missing_executors(self, record: AgentRecord, report: AgentReport) -> None:
        running = {(executor.framework_id, executor.executor_id) for executor in report.executors}
        for key in list(record.executors):
            if key not in running:
                executor = record.executors.pop(key)
                self._state.release(key[0], executor.role, record.agent_id, executor.spec.resources)

    def _add_to_allocator(self, record: AgentRecord) -> None:
        used = self._state.used_on(record)
        self._state.allocator.handle(
            AgentAdded(
                record.agent_id,
                record.spec.total,
                tuple((owner, role, resources) for (owner, role), resources in used.items()),
            ),
            self._state.now_s,
        )

    def _catch_up(self, record: AgentRecord, report: AgentReport, ended: list[FrameworkId]) -> None:
        """Tell the agent what it missed: ended frameworks, new scheduler addresses, kills."""
        state = self._state
        for framework_id in ended:
            state.emit(SendShutdownFramework(record.peer, framework_id))
        for spec in report.frameworks:
            assert spec.framework_id is not None
            framework = state.frameworks.get(spec.framework_id)
            if framework is not None and framework.is_connected:
                state.emit(
                    SendUpdateFramework(
                        record.peer, framework.framework_id, framework.spec, framework.peer
                    )
                )
        if not knows_operations(record):
            state.emit(checkpoint_order(record))
        for (framework_id, task_id), policy in record.pending_kills.items():
            state.emit(SendKillTask(record.peer, framework_id, task_id, policy))

    # Changing ------------------------------------------------------------------------------------

    def update(self, event: AgentUpdateReceived) -> None:
        record = self._speaking_agent(event.peer, event.agent_id, "agent update")
        if record is not None and event.news.resource_version is not None:
            record.resource_version = event.news.resource_version

    # Falling silent ------------------------------------------------------------------------------

    def link_lost(self, record: AgentRecord) -> None:
        """The agent may be gone or only cut off: no offers, but checkpointed tasks may live on."""
        state = self._state
        if not record.is_connected:
            return
        self._stop_offers(record)
        record.advance(AgentStep.LINK_LOST, state.now_s)
        record.generation += 1
        state.emit(TellObserver(record.agent_id, connected=False))
        self._lose_unchecked(record)
        self._start_timer(record.agent_id, record.generation)

    def _lose_unchecked(self, record: AgentRecord) -> None:
        """Without a checkpoint nothing of a framework outlives the agent process."""
        state = self._state
        for task in state.tasks.of_agent(record.agent_id):
            if self._is_checkpointing(task.framework_id):
                continue
            if not task.state.is_terminal:
                state.record_state(task, TaskState.LOST)
                state.report_task(
                    task,
                    UpdateReason.AGENT_DISCONNECTED,
                    f"Agent {record.spec.hostname} disconnected",
                )
            state.complete_task(task)
        for framework_id, _ in list(record.executors):
            if not self._is_checkpointing(framework_id):
                state.drop_executors(record, framework_id)

    def _is_checkpointing(self, framework_id: FrameworkId) -> bool:
        framework = self._state.frameworks.get(framework_id)
        return framework is not None and framework.spec.checkpoint

    def _start_timer(self, agent_id: AgentId, generation: int) -> None:
        self._state.emit(
            StartTimer(
                ReregistrationTimer(agent_id),
                self._state.options.agent_reregister_timeout_s,
                ReregistrationTimedOut(agent_id, generation),
            )
        )

    def reregistration_timed_out(self, event: ReregistrationTimedOut) -> None:
        state = self._state
        record = state.agents.get(event.agent_id)
        if record is not None:
            if record.state is AgentState.DISCONNECTED and record.generation == event.generation:
                self._give_up(record, REREGISTRATION_TIMED_OUT)
        elif state.agents.is_recovered(event.agent_id):
            state.agents.no_longer_recovered(event.agent_id)
            state.emit(WriteRegistry(MarkAgentUnreachable(event.agent_id, state.now_s)))

    def pings_missed(self, agent_id: AgentId) -> None:
        record = self._state.agents.get(agent_id)
        if record is not None and record.state in (AgentState.CONNECTED, AgentState.DISCONNECTED):
            self._give_up(record, PINGS_MISSED)

    def _give_up(self, record: AgentRecord, reason: str) -> None:
        state = self._state
        self._stop_offers(record)
        record.advance(AgentStep.GIVEN_UP, state.now_s)
        self._reasons[record.agent_id] = reason
        state.emit(WriteRegistry(MarkAgentUnreachable(record.agent_id, state.now_s)))

    def _marked_unreachable(self, agent_id: AgentId, at_s: float) -> None:
        """The agent is not told: it may come back with its tasks running."""
        state = self._state
        reason = self._reasons.pop(agent_id, PINGS_MISSED)
        record = state.agents.get(agent_id)
        if record is not None:
            record.advance(AgentStep.MARKED_UNREACHABLE, state.now_s)
            self._take_out(record)
            for task in state.tasks.of_agent(agent_id):
                self._lose_sight(task, at_s, reason)
            self._forget(record)
        self._tell_lost(agent_id)

    def _lose_sight(self, task: TaskRecord, at_s: float, reason: str) -> None:
        state = self._state
        if task.state.is_terminal:
            return state.complete_task(task)
        framework = state.frameworks.get(task.framework_id)
        aware = framework is not None and framework.spec.is_partition_aware
        state.record_state(task, TaskState.UNREACHABLE if aware else TaskState.LOST)
        state.report_task(task, UpdateReason.AGENT_REMOVED, reason, unreachable_time_s=at_s)
        return state.tasks.lose_sight(task, at_s)

    # Going ---------------------------------------------------------------------------------------

    def unregister(self, peer: PeerId, agent_id: AgentId) -> None:
        record = self._speaking_agent(peer, agent_id, "unregistration")
        if record is not None and record.state in (AgentState.CONNECTED, AgentState.DISCONNECTED):
            self._begin_removal(record, UNREGISTERED)

    def _begin_removal(self, record: AgentRecord, reason: str) -> None:
        self._stop_offers(record)
        record.advance(AgentStep.REMOVAL_BEGUN, self._state.now_s)
        self._reasons[record.agent_id] = reason
        self._state.emit(WriteRegistry(RemoveAgent(record.agent_id)))

    def _removed(self, agent_id: AgentId) -> None:
        state = self._state
        record = state.agents.get(agent_id)
        reason = self._reasons.pop(agent_id, UNREGISTERED)
        if record is None:
            return
        record.advance(AgentStep.REMOVED, state.now_s)
        self._take_out(record)
        for task in state.tasks.of_agent(agent_id):
            if not task.state.is_terminal:
                state.record_state(task, TaskState.LOST)
                state.report_task(task, UpdateReason.AGENT_REMOVED, reason)
            state.complete_task(task)
        self._forget(record)
        self._tell_lost(agent_id)

    def _take_out(self, record: AgentRecord) -> None:
        """Nothing of the agent is offered or watched any more."""
        state = self._state
        state.emit(StopObserver(record.agent_id))
        state.emit(CancelTimer(ReregistrationTimer(record.agent_id)))
        state.drop_executors(record)
        lose_operations(state, record.agent_id)

    def _forget(self, record: AgentRecord) -> None:
        self._state.allocator.handle(AgentRemoved(record.agent_id), self._state.now_s)
        self._state.agents.remove(record)

    def _tell_lost(self, agent_id: AgentId) -> None:
        for framework in self._state.frameworks:
            if framework.is_connected and framework.peer is not None:
                self._state.emit(SendAgentLost(framework.peer, agent_id))

    def _stop_offers(self, record: AgentRecord) -> None:
        """Offer nothing more of an agent that is about to leave the connected state."""
        if record.is_connected:
            self._state.allocator.handle(AgentDeactivated(record.agent_id), self._state.now_s)
            self._rescind_offers(record)

    def _rescind_offers(self, record: AgentRecord) -> None:
        for offer in self._state.offers.of_agent(record.agent_id):
            self._state.withdraw(offer, tell=True)
        self._state.withdraw_inverse_offers_on(record.agent_id)

    def _speaking_agent(self, peer: PeerId, agent_id: AgentId, what: str) -> AgentRecord | None:
        """The registered agent, if it is the one that speaks."""
        record = self._state.agents.registered_or_none(agent_id)
        if record is None:
            self._state.warn(what, f"{what} of agent {agent_id}, which is not registered")
            return None
        if record.peer != peer:
            self._state.warn(what, f"{what} of agent {agent_id} came from {peer}")
            return None
        return record


@lru_cache(maxsize=RESOURCES_CACHED_MAX)
def _is_scalar(resources: Resources) -> bool:
    return all(entry.type is ValueType.SCALAR for entry in resources)


def _identity_error(record: AgentRecord, spec: AgentSpec) -> str | None:
    """An id belongs to one machine."""
    if spec.ip != record.spec.ip:
        return f"agent {record.agent_id} is registered with the IP address {record.spec.ip}"
    if spec.hostname != record.spec.hostname:
        return f"agent {record.agent_id} is registered with the host name {record.spec.hostname}"
    return None


__all__ = ["PINGS_MISSED", "REREGISTRATION_TIMED_OUT", "Admission"]
