"""How agents come, come back, fall silent and go. Source: master.md §3.1 to §3.3.

What must survive the master goes through the registry first: the effect ``WriteRegistry`` starts
a change, the event ``RegistryWritten`` completes it. Meanwhile the agent's messages are ignored;
it repeats them.
"""

from dataclasses import replace
from functools import lru_cache

from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentTraits,
    AgentUpdated,
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
    SendDrain,
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
    MarkAgentGone,
    MarkAgentReachable,
    MarkAgentUnreachable,
    RegistryOperation,
    RemoveAgent,
    UpdateAgent,
)
from cluster.core.master.removals import Removals
from cluster.core.master.state import MasterState
from cluster.core.master.subscriptions import Subscriptions
from cluster.core.master.tasks import TaskRecord
from cluster.model.agents import AgentReport, AgentSpec
from cluster.model.draining import DrainState
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import MachineId, MachineMode
from cluster.model.peers import PeerId
from cluster.model.resources import EMPTY, ResourceIdentity, Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.tasks import StatusReport
from cluster.model.values import ValueType
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import attributes_to_pb, resources_to_pb

PINGS_MISSED = "health check timed out"
REREGISTRATION_TIMED_OUT = "agent did not re-register in time"
UNREGISTERED = "the agent unregistered"
REPLACED = "a new agent registered at the same address"
MARKED_GONE = "Agent has been marked gone"
MACHINE_DOWN = "Machine is `DOWN`"
MAINTENANCE_STARTED = "the machine of the agent was taken down for maintenance"
RESOURCES_CACHED_MAX = 4096

_COUNTED_REASONS = {UNREGISTERED: "unregistered", REPLACED: "registered"}
"""Reasons of removals that have a metric of their own."""

_STANDING = (AgentState.CONNECTED, AgentState.DISCONNECTED)
"""Agents that no write to the registry is under way for."""


class Admission:
    """The lifecycle of agents, acting on the shared books."""

    def __init__(self, state: MasterState, subscriptions: Subscriptions) -> None:
        self._state = state
        self._subscriptions = subscriptions
        self._removals = Removals(state)
        self._reports: dict[AgentId, AgentReport] = {}
        self._reasons: dict[AgentId, str] = {}
        # Agents without a record that the registry is being told of.
        self._leaving: dict[AgentId, None] = {}

    # Coming --------------------------------------------------------------------------------------

    def register(self, peer: PeerId, spec: AgentSpec) -> None:
        """Admit an agent that has no id; repeat the answer to one that asks again."""
        state = self._state
        if not self._is_welcome(peer, spec):
            return None
        known = state.agents.at_peer(peer)
        if known is not None:
            if known.is_connected:
                return state.emit(SendAgentRegistered(peer, known.agent_id))
            if known.state is not AgentState.DISCONNECTED:
                return state.warn("agent busy", f"{peer} registers while {known.state.name}")
            self._begin_removal(known, REPLACED)
        agent_id = state.name_agent()
        info = _info(spec, agent_id)
        record = AgentRecord(
            agent_id,
            replace(spec, payload=info),
            state=AgentState.ADMITTING,
            peer=peer,
            now_s=state.now_s,
        )
        record.story.add(state.now_s, f"registered from {peer}", "new -> ADMITTING")
        state.agents.add(record)
        return state.emit(WriteRegistry(AdmitAgent(agent_id, info)))

    def reregister(self, peer: PeerId, report: AgentReport) -> None:
        """Take an agent back, whether it was here all the time, unreachable or never known."""
        state = self._state
        agent_id = report.agent_id
        if state.registry.is_gone(agent_id):
            return state.emit(SendAgentShutdown(peer, MARKED_GONE))
        if agent_id in self._leaving:
            return state.warn("agent busy", f"agent {agent_id} re-registers while being given up")
        if not self._is_welcome(peer, report.spec):
            return None
        record = state.agents.get(agent_id)
        if record is None:
            return self._begin_return(peer, report)
        if record.state not in _STANDING:
            return state.warn(
                "agent busy", f"agent {agent_id} re-registers while {record.state.name}"
            )
        if (error := _identity_error(record, report.spec)) is not None:
            return state.emit(SendAgentShutdown(peer, error))
        self._displace(peer, agent_id)
        return self._welcome_back(record, peer, report)

    def _is_welcome(self, peer: PeerId, spec: AgentSpec) -> bool:
        """Whether an agent may take part: its machine is not down, and its domain fits."""
        state = self._state
        if self._is_down(MachineId.of(spec.hostname, spec.ip)):
            state.emit(SendAgentShutdown(peer, MACHINE_DOWN))
            return False
        domain = spec.facts.domain
        if domain is not None and state.options.domain is None:
            error = "slave.domain: must not be set, because this master has no domain"
        elif domain is None and state.options.require_agent_domain:
            error = "slave.domain: must be set (--require_agent_domain)"
        else:
            return True
        state.warn(f"registration of {peer}", f"agent {peer} ignored: {error}")
        return False

    def _is_down(self, machine_id: MachineId) -> bool:
        machine = self._state.registry.machines.get(machine_id)
        return machine is not None and machine.mode is MachineMode.DOWN

    def written(self, operation: RegistryOperation) -> None:
        """Go on with what waited for the registry."""
        match operation:
            case AdmitAgent(agent_id):
                self._admitted(agent_id)
            case UpdateAgent(agent_id) | MarkAgentReachable(agent_id):
                self._readmitted(agent_id)
            case MarkAgentUnreachable(agent_id, at_s):
                self._marked_unreachable(agent_id, at_s)
            case MarkAgentGone(agent_id):
                self._marked_gone(agent_id)
            case RemoveAgent(agent_id):
                self._removed(agent_id)
            case _:
                pass  # the other operations change no agent's place

    def refused(self, operation: RegistryOperation) -> None:
        """An agent to be marked gone was pruned from the registry before: it may come anew."""
        if isinstance(operation, MarkAgentGone):
            self._leaving.pop(operation.agent_id, None)

    def _admitted(self, agent_id: AgentId) -> None:
        state = self._state
        record = state.agents.get(agent_id)
        if record is None:
            return None
        record.advance(AgentStep.ADMITTED, state.now_s)
        self._add_to_allocator(record)
        if self._is_displaced(record):
            return self._begin_removal(record, REPLACED)
        state.emit(Link(record.peer))
        state.emit(StartObserver(agent_id, record.peer))
        state.emit(SendAgentRegistered(record.peer, agent_id))
        return self._turn_away_if_down(record)

    # Coming back ---------------------------------------------------------------------------------

    def _begin_return(self, peer: PeerId, report: AgentReport) -> None:
        state = self._state
        agent_id = report.agent_id
        self._displace(peer, agent_id)
        self._removals.cancel(agent_id)
        recovered = state.agents.is_recovered(agent_id)
        info = _info(report.spec, agent_id)
        record = AgentRecord(
            agent_id,
            replace(report.spec, payload=info),
            state=AgentState.RECOVERED if recovered else AgentState.UNREACHABLE,
            peer=peer,
            now_s=state.now_s,
        )
        record.advance(AgentStep.RETURNED, state.now_s)
        state.agents.no_longer_recovered(agent_id)
        state.agents.add(record)
        self._reports[agent_id] = report
        operation = UpdateAgent if recovered else MarkAgentReachable
        state.emit(WriteRegistry(operation(agent_id, info)))

    def _displace(self, peer: PeerId, agent_id: AgentId) -> None:
        """Two agents cannot share an address: the one that no longer answers there has ended."""
        other = self._state.agents.at_peer(peer)
        if other is None or other.agent_id == agent_id:
            return
        if other.state in _STANDING:
            self._begin_removal(other, REPLACED)

    def _is_displaced(self, record: AgentRecord) -> bool:
        """Another agent came from the address while the registry was being written."""
        return self._state.agents.at_peer(record.peer) is not record

    def _readmitted(self, agent_id: AgentId) -> None:
        """Rebuild the books from what the agent reports, and tell the frameworks."""
        state = self._state
        record = state.agents.get(agent_id)
        report = self._reports.pop(agent_id, None)
        if record is None or report is None:
            return None  # only the description of an agent that was here all the time
        record.advance(AgentStep.READMITTED, state.now_s)
        state.tally.counts["slave_reregistrations"] += 1
        record.reregistered_s = state.now_s
        ended = self._learn_frameworks(report)
        held = _Held(state, record)
        for task in self._add_reported_tasks(report, held):
            state.report_task(
                task, UpdateReason.AGENT_REREGISTERED, "Unreachable agent re-reregistered"
            )
        self._add_reported_executors(record, report, held)
        self._add_to_allocator(record)
        if self._is_displaced(record):
            return self._begin_removal(record, REPLACED)
        state.emit(Link(record.peer))
        state.emit(SendAgentReregistered(record.peer, agent_id, (), state.now_s))
        self._catch_up(record, report, ended)
        state.emit(StartObserver(agent_id, record.peer))
        return self._turn_away_if_down(record)

    def _turn_away_if_down(self, record: AgentRecord) -> None:
        """The machine may have been taken down while the registry was being written."""
        if self._is_down(record.machine):
            self._state.emit(SendAgentShutdown(record.peer, MACHINE_DOWN))
            self._begin_removal(record, MAINTENANCE_STARTED)

    def _welcome_back(self, record: AgentRecord, peer: PeerId, report: AgentReport) -> None:
        """An agent that was never given up: compare its report with the books."""
        state = self._state
        was_connected = record.is_connected
        moved = record.peer != peer
        before = record.spec
        info = _info(report.spec, record.agent_id)
        record.advance(AgentStep.RETURNED, state.now_s)
        record.generation += 1
        record.reregistered_s = state.now_s
        state.agents.move(record, peer)
        self._removals.cancel(record.agent_id)
        state.emit(CancelTimer(ReregistrationTimer(record.agent_id)))
        state.emit(Link(peer))
        if before.payload != info:
            state.emit(WriteRegistry(UpdateAgent(record.agent_id, info)))
        record.spec = replace(
            report.spec, payload=info, total=report.spec.total + record.told_later
        )
        state.operations.believe(record.agent_id)
        record.resource_version = report.spec.resource_version
        ended = self._learn_frameworks(report)
        missing = self._compare_tasks(record, report)
        self._drop_missing_executors(record, report)
        held = _Held(state, record)
        added = self._add_reported_tasks(report, held)
        started = self._add_reported_executors(record, report, held)
        for task in added:
            state.report_task(task, UpdateReason.AGENT_REREGISTERED, "Agent re-registered")
        self._bring_allocator_up_to_date(
            record, before, was_connected, has_more=bool(added or started)
        )
        state.emit(SendAgentReregistered(peer, record.agent_id, missing, state.now_s))
        self._catch_up(record, report, ended)
        if moved:
            state.emit(StartObserver(record.agent_id, peer))
        else:
            state.emit(TellObserver(record.agent_id, connected=True))

    def _bring_allocator_up_to_date(
        self, record: AgentRecord, before: AgentSpec, was_connected: bool, *, has_more: bool
    ) -> None:
        """Offers of a changed agent are over; what it turned out to run is booked as used."""
        state = self._state
        agent_id = record.agent_id
        if has_more or record.spec.total != before.total:
            self._rescind_offers(record)
            state.allocator.handle(AgentRemoved(agent_id), state.now_s)
            return self._add_to_allocator(record)
        if _traits(record.spec) != _traits(before):
            self._rescind_offers(record)
            updated = AgentUpdated(agent_id, record.spec.total, _traits(record.spec))
            state.allocator.handle(updated, state.now_s)
        if not was_connected and state.may_serve(agent_id):
            state.allocator.handle(AgentActivated(agent_id), state.now_s)
        return None

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

    def _add_reported_tasks(self, report: AgentReport, held: "_Held") -> list[TaskRecord]:
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
                task.resources = held.take(task.resources)
            state.tasks.forget_unreachable(task.framework_id, task.task_id)
            state.tasks.add(task)
            added.append(task)
        return added

    def _add_reported_executors(
        self, record: AgentRecord, report: AgentReport, held: "_Held"
    ) -> int:
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
                resources = held.take(executor.resources)
                record.executors[key] = RunningExecutor(
                    replace(executor, resources=resources), role
                )
        return len(record.executors) - before

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
        state = self._state
        machine = state.registry.machines.get(record.machine)
        used = state.used_on(record)
        state.allocator.handle(
            AgentAdded(
                record.agent_id,
                record.spec.total,
                tuple((owner, role, resources) for (owner, role), resources in used.items()),
                _traits(record.spec),
                None if machine is None else machine.unavailability,
                state.may_serve(record.agent_id),
            ),
            state.now_s,
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
        entry = state.registry.admitted(record.agent_id)
        if entry is not None and entry.drain is not None:
            if entry.drain.state is DrainState.DRAINING:
                state.emit(SendDrain(record.peer, entry.drain.config))
                record.drain_started_s = state.now_s
            state.touch(record.agent_id)

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
                self.give_up(record.agent_id, REREGISTRATION_TIMED_OUT)

    def pings_missed(self, agent_id: AgentId) -> None:
        record = self._state.agents.get(agent_id)
        if record is not None and record.state in _STANDING:
            self.give_up(agent_id, PINGS_MISSED)

    def answered(self, agent_id: AgentId) -> None:
        """An agent that was silent answers again before its turn to be given up."""
        self._removals.cancel(agent_id, PINGS_MISSED)

    def give_up(self, agent_id: AgentId, reason: str) -> None:
        """Mark an agent unreachable, as soon as the limit on such removals allows it."""
        if self._removals.ask(agent_id, reason):
            self._give_up(agent_id, reason)

    def removal_due(self) -> None:
        due = self._removals.next_due()
        if due is not None:
            self._give_up(*due)

    def _give_up(self, agent_id: AgentId, reason: str) -> None:
        state = self._state
        record = state.agents.get(agent_id)
        if record is not None:
            if record.state not in _STANDING:
                return
            self._stop_offers(record)
            record.advance(AgentStep.GIVEN_UP, state.now_s)
        elif state.agents.is_recovered(agent_id) and agent_id not in self._leaving:
            state.tally.counts["recovery_slave_removals"] += 1
            self._leaving[agent_id] = None
        else:
            return
        self._reasons[agent_id] = reason
        state.emit(WriteRegistry(MarkAgentUnreachable(agent_id, state.now_s)))

    def _marked_unreachable(self, agent_id: AgentId, at_s: float) -> None:
        """The agent is not told: it may come back with its tasks running."""
        state = self._state
        reason = self._reasons.pop(agent_id, PINGS_MISSED)
        self._left(agent_id)
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
        if record is not None and record.state in _STANDING:
            self._begin_removal(record, UNREGISTERED)

    def mark_gone(self, agent_id: AgentId, request: int | None = None) -> str | None:
        """Begin to give an agent up for good; returns why it cannot be done just now.

        The agent must be admitted or unreachable. ``request`` is answered when it is done.
        """
        state = self._state
        record = state.agents.get(agent_id)
        if record is not None:
            if record.state not in _STANDING:
                return f"agent {agent_id} is {record.state.name}"
            self._stop_offers(record)
            record.advance(AgentStep.GONE_BEGUN, state.now_s)
        elif agent_id in self._leaving:
            return f"agent {agent_id} is being given up"
        else:
            self._leaving[agent_id] = None
        self._removals.cancel(agent_id)
        state.emit(WriteRegistry(MarkAgentGone(agent_id, state.now_s), request))
        return None

    def _marked_gone(self, agent_id: AgentId) -> None:
        """Of an agent that is not here only the id is marked: its tasks are not known."""
        state = self._state
        was_awaited = state.agents.is_recovered(agent_id)
        self._left(agent_id)
        record = state.agents.get(agent_id)
        if record is not None:
            record.advance(AgentStep.MARKED_GONE, state.now_s)
            state.emit(SendAgentShutdown(record.peer, MARKED_GONE))
            self._take_out(record)
            for task in state.tasks.of_agent(agent_id):
                self._lose_for_good(task)
            self._forget(record)
        if record is not None or was_awaited:
            self._tell_lost(agent_id)

    def _lose_for_good(self, task: TaskRecord) -> None:
        state = self._state
        if not task.state.is_terminal:
            framework = state.frameworks.get(task.framework_id)
            aware = framework is not None and framework.spec.is_partition_aware
            state.record_state(task, TaskState.GONE_BY_OPERATOR if aware else TaskState.LOST)
            state.report_task(task, UpdateReason.AGENT_REMOVED_BY_OPERATOR, MARKED_GONE)
        state.complete_task(task)

    def _left(self, agent_id: AgentId) -> None:
        """An agent without a record has found its new place in the registry."""
        self._leaving.pop(agent_id, None)
        self._state.agents.no_longer_recovered(agent_id)

    def take_down(self, machines: tuple[MachineId, ...]) -> None:
        """Shut down and remove the agents on machines that are down from now on."""
        for record in self._state.agents:
            if record.state in _STANDING and record.machine in machines:
                self._state.emit(SendAgentShutdown(record.peer, MACHINE_DOWN))
                self._begin_removal(record, MAINTENANCE_STARTED)

    def _begin_removal(self, record: AgentRecord, reason: str) -> None:
        self._stop_offers(record)
        record.advance(AgentStep.REMOVAL_BEGUN, self._state.now_s)
        self._reasons[record.agent_id] = reason
        self._removals.cancel(record.agent_id)
        self._state.emit(WriteRegistry(RemoveAgent(record.agent_id)))

    def _removed(self, agent_id: AgentId) -> None:
        state = self._state
        record = state.agents.get(agent_id)
        reason = self._reasons.pop(agent_id, UNREGISTERED)
        if record is None:
            return
        if (counted := _COUNTED_REASONS.get(reason)) is not None:
            state.tally.counts[f"slave_removals/reason_{counted}"] += 1
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


class _Held:
    """Ports and sets can be held once: what an agent reports twice counts the first time."""

    def __init__(self, state: MasterState, agent: AgentRecord) -> None:
        self._state = state
        self._agent = agent
        self._held: Resources | None = None

    def take(self, resources: Resources) -> Resources:
        """What is left of ``resources`` for one more task or executor of the agent."""
        if _is_scalar(resources):
            return resources
        if self._held is None:
            used = sum(self._state.used_on(self._agent).values(), start=EMPTY)
            self._held = used.where(_is_held_once)
        rest = resources.minus_up_to(self._held)
        if rest != resources:
            self._state.warn(
                "resources reported twice",
                f"agent {self._agent.agent_id} reports something as used twice: only [{rest}] of "
                f"[{resources}] is counted",
            )
        self._held += rest.where(_is_held_once)
        return rest


def _is_held_once(identity: ResourceIdentity) -> bool:
    return identity.type is not ValueType.SCALAR


def _info(spec: AgentSpec, agent_id: AgentId) -> mesos.SlaveInfo:
    """The agent's description as the registry keeps it: with its id.

    An agent without a message of its own (a simulated one) is described from what is known of it.
    """
    info = spec.payload
    if not isinstance(info, mesos.SlaveInfo):
        return mesos.SlaveInfo(
            hostname=spec.hostname,
            resources=resources_to_pb(spec.total, refined=True),
            attributes=attributes_to_pb(spec.facts.attributes),
            checkpoint=spec.checkpoint,
            id=mesos.SlaveID(value=agent_id),
        )
    if info.id.value == agent_id:
        return info
    named = mesos.SlaveInfo()
    named.CopyFrom(info)
    named.id.value = agent_id
    return named


def _traits(spec: AgentSpec) -> AgentTraits:
    return AgentTraits(spec.facts, spec.capabilities)


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
