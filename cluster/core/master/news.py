"""What travels between agents and frameworks through the master, about tasks and executors.

Updates, acknowledgements, kills, questions, messages. Source: master.md §7 (status updates, KILL),
§8, messages.md §2.1.
"""

from cluster.core.master.agents import AgentRecord
from cluster.core.master.effects import (
    Forward,
    SendAcknowledgement,
    SendKillTask,
    SendShutdownExecutor,
    SendToExecutor,
)
from cluster.core.master.events import (
    ExecutorExited,
    ExecutorMessageReceived,
    StatusUpdateReceived,
)
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.reconcile import reconcile_all, reconcile_listed
from cluster.core.master.state import MasterState
from cluster.model.calls import Acknowledge, Kill, MessageExecutor, Reconcile, ShutdownExecutor
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.peers import PeerId
from cluster.model.task_states import TaskState
from cluster.model.tasks import StatusUpdate

_MASTERS_WORDS = frozenset({TaskState.UNKNOWN, TaskState.UNREACHABLE})
"""States of a task whose agent cannot be asked; an agent cannot report them."""


_INVALID = {
    "status update": "invalid_status_updates",
    "executor message": "invalid_executor_to_framework_messages",
}


class News:
    """Passing things on, acting on the shared books."""

    def __init__(self, state: MasterState) -> None:
        self._state = state

    # From agents ---------------------------------------------------------------------------------

    def status_update(self, event: StatusUpdateReceived) -> None:
        """Record and pass on; an agent repeats what is not acknowledged, so nothing is stored."""
        update = event.update
        if self._agent(event.peer, update.agent_id, "status update") is None:
            return
        if not _MASTERS_WORDS.isdisjoint((update.state, update.latest_state)):
            return self._state.warn(
                "status update",
                f"agent {update.agent_id} reports task {update.task_id} as {update.state.name}, "
                "which only a master can say",
            )
        framework = self._state.frameworks.get(update.framework_id)
        if framework is None:
            return self._state.warn(
                "status update",
                f"status update of task {update.task_id} is for unknown framework "
                f"{update.framework_id}",
            )
        if framework.is_connected and framework.peer is not None:
            framework.tally.events["update"] += 1
            self._state.emit(Forward(framework.peer, update.payload))
        self._state.tally.counts["valid_status_updates"] += 1
        self._record(update)

    def _record(self, update: StatusUpdate) -> None:
        task = self._state.tasks.get(update.framework_id, update.task_id)
        if task is None or task.agent_id != update.agent_id:
            return self._state.warn(
                "status update", f"status update of unknown task {update.task_id} was passed on"
            )
        task.add_note(update.note)
        task.forwarded_state = update.state
        task.forwarded_uuid = update.uuid
        was_over = task.state.is_terminal
        latest = update.state if update.latest_state is None else update.latest_state
        self._state.record_state(task, latest)
        if task.state.is_terminal and not was_over and update.why is not None:
            self._state.tally.ends[task.state, *update.why] += 1
        if task.state.is_terminal and update.uuid is None:
            self._state.complete_task(task)  # nobody will acknowledge it

    def executor_exited(self, event: ExecutorExited) -> None:
        agent = self._agent(event.peer, event.agent_id, "executor exit")
        if agent is None:
            return
        executor = agent.executors.pop((event.framework_id, event.executor_id), None)
        if executor is not None:
            self._state.release(
                event.framework_id, executor.role, agent.agent_id, executor.spec.resources
            )
        self._pass_on(event.framework_id, event.payload)

    def executor_message(self, event: ExecutorMessageReceived) -> None:
        if self._agent(event.peer, event.agent_id, "executor message") is not None:
            self._state.tally.counts["valid_executor_to_framework_messages"] += 1
            self._pass_on(event.framework_id, event.payload)

    def _pass_on(self, framework_id: FrameworkId, payload: object) -> None:
        framework = self._state.frameworks.get(framework_id)
        if framework is not None and framework.is_connected and framework.peer is not None:
            self._state.emit(Forward(framework.peer, payload))

    def _agent(self, peer: PeerId, agent_id: AgentId, what: str) -> AgentRecord | None:
        """The registered agent, if it is the one that speaks."""
        agent = self._state.agents.registered_or_none(agent_id)
        if agent is None or agent.peer != peer:
            if (key := _INVALID.get(what)) is not None:
                self._state.tally.counts[key] += 1
            self._state.warn(what, f"{what} from {peer}, which is not agent {agent_id}")
            return None
        return agent

    # From frameworks -----------------------------------------------------------------------------

    def acknowledge(self, framework: FrameworkRecord, call: Acknowledge) -> None:
        """Tell the agent; the acknowledgement of a terminal update ends the task's record."""
        counts = self._state.tally.counts
        agent = self._reachable(framework, call.agent_id, "acknowledgement")
        if agent is None:
            counts["invalid_status_update_acknowledgements"] += 1
            return
        task = self._state.tasks.get(framework.framework_id, call.task_id)
        if task is not None and task.agent_id == call.agent_id:
            if task.forwarded_uuid is None:
                counts["invalid_status_update_acknowledgements"] += 1
                return self._state.warn(
                    "acknowledgement",
                    f"framework {framework.framework_id} acknowledges an update of task "
                    f"{call.task_id} that was never sent",
                )
            if (
                task.forwarded_state is not None
                and task.forwarded_state.is_terminal
                and task.forwarded_uuid == call.uuid
            ):
                self._state.complete_task(task)
        counts["valid_status_update_acknowledgements"] += 1
        self._state.emit(
            SendAcknowledgement(
                agent.peer, call.agent_id, framework.framework_id, call.task_id, call.uuid
            )
        )

    def kill(self, framework: FrameworkRecord, call: Kill) -> None:
        """Kill now, and again when the agent comes back; answer at once for an unknown task."""
        task = self._state.tasks.get(framework.framework_id, call.task_id)
        if task is None:
            return self.reconcile(framework, Reconcile(((call.task_id, call.agent_id),)))
        if call.agent_id is not None and call.agent_id != task.agent_id:
            return self._state.warn(
                "kill",
                f"task {call.task_id} is on agent {task.agent_id}, not on {call.agent_id}: "
                "not killed",
            )
        agent = self._state.agents.get(task.agent_id)
        assert agent is not None  # a live task has a registered agent
        agent.remember_kill(task.key, call.policy)
        if agent.is_connected:
            self._state.emit(
                SendKillTask(agent.peer, framework.framework_id, call.task_id, call.policy)
            )

    def reconcile(self, framework: FrameworkRecord, call: Reconcile) -> None:
        reports = (
            reconcile_listed(self._state, framework, call.tasks)
            if call.tasks
            else reconcile_all(self._state, framework)
        )
        for report in reports:
            self._state.report_to(framework, report)

    def shut_down_executor(self, framework: FrameworkRecord, call: ShutdownExecutor) -> None:
        agent = self._reachable(framework, call.agent_id, "executor shutdown")
        if agent is not None:
            self._state.emit(
                SendShutdownExecutor(agent.peer, framework.framework_id, call.executor_id)
            )

    def message_executor(self, framework: FrameworkRecord, call: MessageExecutor) -> None:
        agent = self._reachable(framework, call.agent_id, "framework message")
        if agent is not None:
            self._state.emit(
                SendToExecutor(
                    agent.peer, agent.agent_id, framework.framework_id, call.executor_id, call.data
                )
            )

    def _reachable(
        self, framework: FrameworkRecord, agent_id: AgentId, what: str
    ) -> AgentRecord | None:
        agent = self._state.agents.get(agent_id)
        if agent is None or not agent.is_connected:
            self._state.warn(
                what,
                f"{what} of framework {framework.framework_id} for agent {agent_id}, which is "
                "not connected",
            )
            return None
        return agent


__all__ = ["News"]
