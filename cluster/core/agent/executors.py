"""Launching, killing and ending: what the agent does with executors and their tasks.

Decided here: which launches are refused and with what words, when an executor is given its tasks,
what becomes of tasks whose executor ends, and who is told. Not decided here: how a container is
made, how updates reach the master (`status_updates.py`), whether the agent is registered.

    TaskArrived ─► no executor: LaunchContainer, task queued ─► ExecutorCame ─► DeliverTask...
                └► executor registering: queued              └► executor running: DeliverTask
                   (with other volumes than the container is shown: UpdateContainer comes first)
    DrainRequested ─► DeliverKill for every task; launches are refused ─► DrainEnded
    ContainerEnded ─► ReportExit ─► MakeUpdate for every unfinished task
                   ─► StatusSettled for all ─► ExecutorRemoved ─► FrameworkRemoved

Source: agent.md §3; order of messages at the end of a container: recording b-executor-crash.
"""

from collections import deque
from collections.abc import Callable, Iterable

from cluster.core.agent.executor_events import (
    AgentShutdownRequested,
    CancelTimer,
    ConfirmExecutor,
    ContainerEnded,
    ContainerLaunchFailed,
    ContainerStarted,
    ContainerUpdated,
    ContainerUpdateFailed,
    DeliverKill,
    DeliverShutdown,
    DeliverTask,
    DeliverToExecutor,
    DeliverToFramework,
    DestroyContainer,
    DrainEnded,
    DrainRequested,
    Effect,
    Event,
    EverythingEnded,
    ExecutorCame,
    ExecutorRemoved,
    ExecutorShutdownRequested,
    ExecutorSpoke,
    FrameworkChanged,
    FrameworkRemoved,
    FrameworkShutdownRequested,
    FrameworkSpoke,
    Ignored,
    KillRequested,
    LaunchContainer,
    PassUpdate,
    ReportExit,
    StartTimer,
    StatusForwarded,
    StatusNoted,
    StatusSettled,
    TimeElapsed,
    TimerKey,
    UpdateContainer,
)
from cluster.core.agent.executor_state import (
    COMPLETED_FRAMEWORKS_MAX,
    Drain,
    Executor,
    ExecutorState,
    Framework,
    Task,
    Termination,
)
from cluster.errors import InvariantBroken
from cluster.model.durations import format_duration
from cluster.model.executors import (
    AgentContents,
    ExecutorDescription,
    ExecutorReported,
    MakeUpdate,
    TaskArrived,
    TasksReconciled,
    TaskUnacceptable,
)
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import EMPTY, Resources
from cluster.model.task_states import TaskState, UpdateReason

# What the master is told of an executor that never ran.
NO_WAIT_STATUS = -1


class Executors:
    """All frameworks, executors and tasks of one agent.

    Args:
        new_container_id: makes an id never used before.
        registration_timeout_s: how long an executor may take from launch to registration.
        shutdown_grace_s: how long it may take to end when told to, unless it says otherwise.
        completed_executors_max: remembered per framework after their end.
    """

    def __init__(
        self,
        *,
        new_container_id: Callable[[], ContainerId],
        registration_timeout_s: float,
        shutdown_grace_s: float,
        completed_executors_max: int,
    ) -> None:
        self._new_container_id = new_container_id
        self._registration_timeout_s = registration_timeout_s
        self._shutdown_grace_s = shutdown_grace_s
        self._completed_executors_max = completed_executors_max
        self._frameworks: dict[FrameworkId, Framework] = {}
        self._completed: deque[Framework] = deque(maxlen=COMPLETED_FRAMEWORKS_MAX)
        self._by_container: dict[ContainerId, Executor] = {}
        self._is_shutting_down = False
        self._drain: Drain | None = None

    # Reading ------------------------------------------------------------------------------------

    def frameworks(self) -> tuple[Framework, ...]:
        """Return the frameworks that run something here, oldest first. Not to be changed."""
        return tuple(self._frameworks.values())

    def completed_frameworks(self) -> tuple[Framework, ...]:
        """Return frameworks that ran something here, oldest first. Not to be changed."""
        return tuple(self._completed)

    @property
    def drain(self) -> Drain | None:
        """How the agent is being drained, None when it is not."""
        return self._drain

    def in_use(self) -> Resources:
        """Sum up what executors and unfinished tasks hold."""
        total = EMPTY
        for executor in self._by_container.values():
            total = total + executor.allocated()
        return total

    def contents(self) -> AgentContents:
        """Return what a master must know, frameworks and executors in order of arrival."""
        executors = [e for f in self._frameworks.values() for e in f.executors.values()]
        return AgentContents(
            tuple(framework.spec for framework in self._frameworks.values()),
            tuple(
                executor.description
                for executor in executors
                if not (executor.description.is_generated or executor.is_ending)
            ),
            tuple(
                executor.snapshot(task)
                for executor in executors
                for task in (*executor.tasks.values(), *executor.queued.values())
            ),
        )

    def check_invariants(self) -> None:
        """Raise `InvariantBroken` when the books contradict themselves."""
        for framework in self._frameworks.values():
            if not framework.executors:
                raise InvariantBroken(f"framework {framework.framework_id} is idle but was kept")
            seen: set[TaskId] = set()
            for executor in framework.executors.values():
                if self._by_container.get(executor.container_id) is not executor:
                    raise InvariantBroken(f"container {executor.container_id} was lost")
                ids = [*executor.queued, *executor.tasks]
                if len(set(ids)) != len(ids) or not seen.isdisjoint(ids):
                    raise InvariantBroken(f"a task of {executor.executor_id} is in two places")
                seen.update(ids)
                _check_executor(executor)
        if len(self._by_container) != sum(len(f.executors) for f in self._frameworks.values()):
            raise InvariantBroken("a container has no executor")

    # The one way in -----------------------------------------------------------------------------

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event and return what must be done, in order."""
        match event:
            case TaskArrived():
                return self._on_task(event)
            case TaskUnacceptable():
                return self._on_unacceptable(event)
            case KillRequested():
                return self._on_kill(event)
            case ExecutorShutdownRequested():
                return self._on_executor_shutdown(event.framework_id, event.executor_id)
            case FrameworkShutdownRequested(framework_id=framework_id):
                return self._on_framework_shutdown(framework_id)
            case AgentShutdownRequested():
                return self._on_agent_shutdown()
            case FrameworkChanged():
                return self._on_framework_changed(event)
            case TasksReconciled():
                return self._on_reconciled(event)
            case ExecutorCame():
                return self._on_executor_came(event)
            case ExecutorReported():
                return self._on_report(event)
            case ExecutorSpoke():
                return self._on_executor_message(event)
            case FrameworkSpoke():
                return self._on_framework_message(event)
            case ContainerStarted():
                return self._on_started(event)
            case ContainerLaunchFailed():
                return self._on_launch_failed(event)
            case ContainerEnded():
                return self._on_ended(event)
            case ContainerUpdated(container_id=container_id):
                return self._on_updated(container_id)
            case ContainerUpdateFailed():
                return self._on_update_failed(event)
            case DrainRequested():
                return self._on_drain(event, now_s)
            case DrainEnded():
                self._drain = None
                return []
            case TimeElapsed():
                return self._on_time(event)
            case StatusNoted():
                if (task := self._find(event.framework_id, event.task_id)) is not None:
                    task.note(event.state, event.payload)
                return []
            case StatusForwarded():
                if (task := self._find(event.framework_id, event.task_id)) is not None:
                    task.forwarded_state, task.forwarded_uuid = event.state, event.uuid
                return []
            case StatusSettled():
                return self._on_settled(event)

    # Launching ----------------------------------------------------------------------------------

    def _on_task(self, event: TaskArrived) -> list[Effect]:
        framework_id = _id_of(event.framework)
        framework = self._frameworks.get(framework_id)
        task_id = event.task.task_id
        if self._is_shutting_down or (framework is not None and framework.is_terminating):
            return [Ignored(f"task {task_id} came for framework {framework_id}, which is ending")]
        if framework is not None and framework.executor_of(task_id) is not None:
            # Saying anything about this id would be taken as news of the task that has it.
            return [Ignored(f"task {task_id} of framework {framework_id} is here already")]
        executor = None
        if framework is not None:
            framework.address = event.framework_address
            executor = framework.executors.get(event.executor.executor_id)
        if (refusal := _refuse_launch(event, executor, self._drain)) is not None:
            return [refusal, *self._correct_master(framework_id, event.executor)]
        if executor is None:
            return self._launch(event, framework or self._add_framework(event))
        return self._add_task(event, executor)

    def _on_unacceptable(self, event: TaskUnacceptable) -> list[Effect]:
        spec = event.framework
        executor_id = None if event.executor is None else event.executor.executor_id
        refusal = MakeUpdate(
            _id_of(spec),
            executor_id,
            event.task_id,
            TaskState.ERROR,
            UpdateReason.TASK_GROUP_INVALID if event.is_of_group else UpdateReason.TASK_INVALID,
            event.text,
            spec.checkpoint,
        )
        return [refusal, *self._correct_master(_id_of(spec), event.executor)]

    def _correct_master(
        self, framework_id: FrameworkId, description: ExecutorDescription | None
    ) -> list[Effect]:
        """Tell the master that an executor which it booked with a refused task is not here."""
        if description is None or description.is_generated:
            return []
        framework = self._frameworks.get(framework_id)
        if framework is not None and description.executor_id in framework.executors:
            return []
        return [ReportExit(framework_id, description.executor_id, NO_WAIT_STATUS)]

    def _launch(self, event: TaskArrived, framework: Framework) -> list[Effect]:
        container_id = self._new_container_id()
        executor = Executor(framework.framework_id, event.executor, container_id)
        executor.queued[event.task.task_id] = Task(event.task)
        executor.volumes = executor.wanted_volumes()
        framework.executors[executor.executor_id] = executor
        self._by_container[container_id] = executor
        return [
            # Fetching and image pulls count against the timeout, so it starts first.
            StartTimer(TimerKey.REGISTRATION, container_id, self._registration_timeout_s),
            LaunchContainer(
                container_id, framework.spec, event.executor, event.task, executor.volumes
            ),
        ]

    def _add_task(self, event: TaskArrived, executor: Executor) -> list[Effect]:
        task = Task(event.task)
        executor.queued[event.task.task_id] = task
        if executor.state is ExecutorState.REGISTERING:
            return []
        return self._go_on(executor)

    def _go_on(self, executor: Executor) -> list[Effect]:
        """Give a running executor its tasks, once its container is shown all their volumes."""
        if executor.is_updating:
            return []
        volumes = executor.wanted_volumes()
        if volumes == executor.volumes:
            return self._deliver_queued(executor)
        executor.volumes = volumes
        executor.is_updating = True
        return [UpdateContainer(executor.container_id, volumes)]

    def _on_updated(self, container_id: ContainerId) -> list[Effect]:
        executor = self._by_container.get(container_id)
        if executor is None:
            return []
        executor.is_updating = False
        return self._go_on(executor) if executor.state is ExecutorState.RUNNING else []

    def _on_update_failed(self, event: ContainerUpdateFailed) -> list[Effect]:
        executor = self._by_container.get(event.container_id)
        if executor is None or executor.is_ending:
            return []
        is_aware = self._frameworks[executor.framework_id].spec.is_partition_aware
        executor.is_updating = False
        executor.verdict = Termination(
            TaskState.GONE if is_aware else TaskState.LOST,
            UpdateReason.CONTAINER_UPDATE_FAILED,
            event.text,
        )
        executor.state = ExecutorState.TERMINATING
        return self._destroy(executor)

    def _deliver_queued(self, executor: Executor) -> list[Effect]:
        framework = self._frameworks[executor.framework_id]
        effects: list[Effect] = []
        for task_id, task in executor.queued.items():
            executor.tasks[task_id] = task
            executor.has_had_task = True
            effects.append(
                DeliverTask(executor.address, framework.spec, framework.address, task.description)
            )
        executor.queued.clear()
        return effects

    def _add_framework(self, event: TaskArrived) -> Framework:
        framework_id = _id_of(event.framework)
        completed: deque[Executor] = deque(maxlen=self._completed_executors_max)
        for former in [f for f in self._completed if f.framework_id == framework_id]:
            self._completed.remove(former)
            completed.extend(former.completed)
        framework = Framework(event.framework, framework_id, event.framework_address, {}, completed)
        self._frameworks[framework_id] = framework
        return framework

    # The executor's driver ----------------------------------------------------------------------

    def _on_executor_came(self, event: ExecutorCame) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        executor = None if framework is None else framework.executors.get(event.executor_id)
        if framework is None or executor is None or executor.state is not ExecutorState.REGISTERING:
            why = f"executor {event.executor_id} is not expected from {event.address}"
            return [Ignored(why), DeliverShutdown(event.address)]
        executor.state = ExecutorState.RUNNING
        executor.address = event.address
        return [
            CancelTimer(TimerKey.REGISTRATION, executor.container_id),
            ConfirmExecutor(executor.address, framework.spec, executor.description),
            *self._go_on(executor),
        ]

    def _on_report(self, event: ExecutorReported) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        if framework is None or framework.is_terminating:
            return [Ignored(f"update of task {event.task_id}: its framework is not served here")]
        if event.state is TaskState.STAGING:
            return [Ignored(f"update of task {event.task_id}: an executor cannot report STAGING")]
        executor = framework.executor_of(event.task_id)
        if executor is None and event.executor_id is not None:
            # Settled long ago, or never heard of; the framework shall know all the same.
            executor = framework.executors.get(event.executor_id)
        if executor is not None and (task := executor.queued.pop(event.task_id, None)) is not None:
            executor.tasks[event.task_id] = task
        state, reason = self._told(framework, event.state, None)
        if executor is not None and (task := executor.tasks.get(event.task_id)) is not None:
            # Its first terminal state is final; what comes after it does not change the books.
            if not task.state.is_terminal:
                task.state = state
        effects: list[Effect] = [
            PassUpdate(
                event,
                event.executor_id if executor is None else executor.executor_id,
                None if executor is None else executor.container_id,
                None if executor is None else executor.os_pid,
                framework.spec.checkpoint,
                state,
                reason,
            )
        ]
        if executor is not None and executor.state is ExecutorState.RUNNING:
            effects += self._go_on(executor)  # volumes of a task that ended are shown no more
        return effects

    def _on_executor_message(self, event: ExecutorSpoke) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        if framework is None or framework.is_terminating:
            return [Ignored(f"message of executor {event.executor_id}: no such framework here")]
        return [
            DeliverToFramework(framework.address, event.framework_id, event.executor_id, event.data)
        ]

    def _on_framework_message(self, event: FrameworkSpoke) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        executor = None if framework is None else framework.executors.get(event.executor_id)
        if executor is None or executor.state is not ExecutorState.RUNNING:
            return [Ignored(f"message for executor {event.executor_id}, which is not running")]
        return [
            DeliverToExecutor(executor.address, event.framework_id, event.executor_id, event.data)
        ]

    # Killing ------------------------------------------------------------------------------------

    def _on_kill(self, event: KillRequested) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        if framework is None or framework.is_terminating:
            return [Ignored(f"kill of task {event.task_id}: its framework is not served here")]
        executor = framework.executor_of(event.task_id)
        if executor is None:
            return [
                _lost(
                    framework.spec,
                    None,
                    event.task_id,
                    UpdateReason.EXECUTOR_TERMINATED,
                    "the agent has no executor for this task",
                )
            ]
        if (task := executor.queued.pop(event.task_id, None)) is not None:
            return self._kill_queued(framework, executor, task)
        if executor.state is not ExecutorState.RUNNING:
            return [Ignored(f"kill of task {event.task_id}: the end of its executor reports it")]
        return [DeliverKill(executor.address, event.framework_id, event.task_id, event.policy)]

    def _on_drain(self, event: DrainRequested, now_s: float) -> list[Effect]:
        # A master repeats the order whenever the agent comes back to it.
        started_s = now_s if self._drain is None else self._drain.started_s
        self._drain = Drain(event.max_grace_s, event.is_mark_gone, event.payload, started_s)
        effects: list[Effect] = []
        for framework in self._frameworks.values():
            if framework.is_terminating:
                continue
            for executor in framework.executors.values():
                effects += self._drain_executor(framework, executor, self._drain)
        return effects

    def _drain_executor(
        self, framework: Framework, executor: Executor, drain: Drain
    ) -> list[Effect]:
        if executor.is_ending:
            return []
        effects: list[Effect] = [
            DeliverKill(
                executor.address,
                framework.framework_id,
                task.description.task_id,
                None,
                drain.grace_s(task.description.kill_grace_s),
            )
            for task in executor.tasks.values()
            if not task.state.is_terminal
        ]
        for task_id in list(executor.queued):
            effects += self._kill_queued(framework, executor, executor.queued.pop(task_id))
        return effects

    def _told(
        self, framework: Framework, state: TaskState, reason: UpdateReason | None
    ) -> tuple[TaskState, UpdateReason | None]:
        """What a framework is told of a task that is killed: why, when that is a drain."""
        if self._drain is None or state not in (TaskState.KILLING, TaskState.KILLED):
            return state, reason
        is_gone = self._drain.is_mark_gone and framework.spec.is_partition_aware
        if is_gone and state is TaskState.KILLED:
            state = TaskState.GONE_BY_OPERATOR
        return state, UpdateReason.AGENT_DRAINING

    def _kill_queued(self, framework: Framework, executor: Executor, task: Task) -> list[Effect]:
        executor.tasks[task.description.task_id] = task
        reason = UpdateReason.TASK_KILLED_DURING_LAUNCH
        state, told = self._told(framework, TaskState.KILLED, reason)
        text = "killed before it was given to its executor"
        termination = Termination(state, told or reason, text)
        effects: list[Effect] = [_end_task(framework, executor, task, termination)]
        if not executor.queued and not executor.has_had_task:
            effects += self._shut_down(executor)  # it would wait for work forever
        return effects

    # Ending -------------------------------------------------------------------------------------

    def _on_executor_shutdown(
        self, framework_id: FrameworkId, executor_id: ExecutorId
    ) -> list[Effect]:
        framework = self._frameworks.get(framework_id)
        executor = None if framework is None else framework.executors.get(executor_id)
        if executor is None:
            return [Ignored(f"shutdown of executor {executor_id}: not here")]
        return self._shut_down(executor)

    def _on_framework_shutdown(self, framework_id: FrameworkId) -> list[Effect]:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return [Ignored(f"shutdown of framework {framework_id}: not here")]
        framework.is_terminating = True
        effects: list[Effect] = []
        for executor in list(framework.executors.values()):
            if executor.state is ExecutorState.TERMINATED:
                effects += self._remove_executor(framework, executor)
            else:
                effects += self._shut_down(executor)
        return effects

    def _on_agent_shutdown(self) -> list[Effect]:
        self._is_shutting_down = True
        effects: list[Effect] = []
        for framework_id in list(self._frameworks):
            effects += self._on_framework_shutdown(framework_id)
        if not self._frameworks and not any(isinstance(e, EverythingEnded) for e in effects):
            effects.append(EverythingEnded())
        return effects

    def _shut_down(self, executor: Executor) -> list[Effect]:
        """Tell an executor to end, and see to it that it does."""
        if executor.is_ending:
            return []
        effects: list[Effect] = []
        if executor.state is ExecutorState.REGISTERING:
            effects.append(CancelTimer(TimerKey.REGISTRATION, executor.container_id))
        executor.state = ExecutorState.TERMINATING
        if executor.address:
            effects.append(DeliverShutdown(executor.address))
        own = executor.description.shutdown_grace_s
        grace_s = self._shutdown_grace_s if own is None else own
        effects.append(StartTimer(TimerKey.SHUTDOWN_GRACE, executor.container_id, grace_s))
        return effects

    def _on_time(self, event: TimeElapsed) -> list[Effect]:
        executor = self._by_container.get(event.container_id)
        if executor is None:
            return []
        match event.key:
            case TimerKey.REGISTRATION:
                if executor.state is not ExecutorState.REGISTERING:
                    return []  # it registered while the timer fired
                limit = format_duration(self._registration_timeout_s)
                executor.verdict = Termination(
                    reason=UpdateReason.EXECUTOR_REGISTRATION_TIMEOUT,
                    text=f"executor did not register within {limit}",
                )
                executor.state = ExecutorState.TERMINATING
                return self._destroy(executor)
            case TimerKey.SHUTDOWN_GRACE:
                if executor.state is not ExecutorState.TERMINATING:
                    return []
                return self._destroy(executor)

    def _destroy(self, executor: Executor) -> list[Effect]:
        executor.is_doomed = True
        return [DestroyContainer(executor.container_id)]

    def _on_started(self, event: ContainerStarted) -> list[Effect]:
        executor = self._by_container.get(event.container_id)
        if executor is None:
            return [DestroyContainer(event.container_id)]
        executor.os_pid = event.os_pid
        if executor.is_doomed:
            return [DestroyContainer(event.container_id)]  # the order came before the process
        return []

    def _on_launch_failed(self, event: ContainerLaunchFailed) -> list[Effect]:
        executor = self._by_container.get(event.container_id)
        if executor is None:
            return []
        if executor.verdict is None:
            executor.verdict = Termination(
                reason=UpdateReason.CONTAINER_LAUNCH_FAILED,
                text=f"Failed to launch container: {event.text}",
            )
        return self._end(executor, NO_WAIT_STATUS, "")

    def _on_ended(self, event: ContainerEnded) -> list[Effect]:
        executor = self._by_container.get(event.container_id)
        if executor is None:
            return []
        return self._end(executor, event.wait_status, event.text)

    def _end(self, executor: Executor, wait_status: int, text: str) -> list[Effect]:
        """Book the end of a container: tell the master, then what became of each task."""
        framework = self._frameworks[executor.framework_id]
        verdict = executor.verdict or Termination()
        parts = [part for part in (verdict.text, text) if part] or ["Executor terminated"]
        termination = Termination(verdict.state, verdict.reason, "; ".join(parts))
        executor.state = ExecutorState.TERMINATED
        effects: list[Effect] = [
            CancelTimer(TimerKey.REGISTRATION, executor.container_id),
            CancelTimer(TimerKey.SHUTDOWN_GRACE, executor.container_id),
        ]
        if not executor.description.is_generated:
            effects.append(ReportExit(framework.framework_id, executor.executor_id, wait_status))
        if not framework.is_terminating:
            executor.tasks |= executor.queued
            executor.queued.clear()
            for task in list(executor.unfinished()):
                effects.append(_end_task(framework, executor, task, termination))
        return effects + self._remove_if_settled(framework, executor)

    def _on_settled(self, event: StatusSettled) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        executor = None if framework is None else framework.executor_of(event.task_id)
        if framework is None or executor is None or not event.state.is_terminal:
            return []
        task = executor.tasks.get(event.task_id)
        if task is None or not task.state.is_terminal:
            return []
        executor.completed.append(executor.tasks.pop(event.task_id))
        return self._remove_if_settled(framework, executor)

    def _remove_if_settled(self, framework: Framework, executor: Executor) -> list[Effect]:
        if executor.state is not ExecutorState.TERMINATED:
            return []
        if executor.tasks and not framework.is_terminating:
            return []  # the framework has not acknowledged how its tasks ended
        return self._remove_executor(framework, executor)

    def _remove_executor(self, framework: Framework, executor: Executor) -> list[Effect]:
        del framework.executors[executor.executor_id]
        del self._by_container[executor.container_id]
        framework.completed.append(executor)
        effects: list[Effect] = [
            ExecutorRemoved(framework.framework_id, executor.executor_id, executor.container_id)
        ]
        if not framework.executors:
            del self._frameworks[framework.framework_id]
            self._completed.append(framework)
            effects.append(FrameworkRemoved(framework.framework_id, framework.is_terminating))
            if self._is_shutting_down and not self._frameworks:
                effects.append(EverythingEnded())
        return effects

    # The master's view --------------------------------------------------------------------------

    def _on_framework_changed(self, event: FrameworkChanged) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        if framework is None:
            return [Ignored(f"new description of framework {event.framework_id}: not here")]
        framework.address = event.address
        if event.spec is not None:
            framework.spec = event.spec
        return []

    def _on_reconciled(self, event: TasksReconciled) -> list[Effect]:
        framework = self._frameworks.get(event.framework_id)
        if framework is not None:
            is_aware, is_checkpointed = framework.spec.is_partition_aware, framework.spec.checkpoint
        else:
            is_aware, is_checkpointed = bool(event.is_partition_aware), False
        state = TaskState.DROPPED if is_aware else TaskState.LOST
        return [
            MakeUpdate(
                event.framework_id,
                None,
                task_id,
                state,
                UpdateReason.RECONCILIATION,
                "the agent does not know this task",
                is_checkpointed,
            )
            for task_id in event.task_ids
            if framework is None or framework.executor_of(task_id) is None
        ]

    def _find(self, framework_id: FrameworkId, task_id: TaskId) -> Task | None:
        framework = self._frameworks.get(framework_id)
        executor = None if framework is None else framework.executor_of(task_id)
        return None if executor is None else executor.find(task_id)


def _refuse_launch(
    event: TaskArrived, executor: Executor | None, drain: Drain | None
) -> MakeUpdate | None:
    """Return what to tell the framework when a launch cannot be carried out, else None."""
    spec, executor_id, task_id = event.framework, event.executor.executor_id, event.task.task_id
    if drain is not None:
        text = "the agent is being drained"
        return _lost(spec, executor_id, task_id, UpdateReason.AGENT_DRAINING, text)
    if not event.is_version_current:
        text = "the resources of the agent changed since they were offered"
        return _lost(spec, executor_id, task_id, UpdateReason.INVALID_OFFERS, text)
    if event.unknown:
        text = f"the agent has no [{event.unknown}]"
        return _lost(spec, executor_id, task_id, UpdateReason.RESOURCES_UNKNOWN, text)
    if event.launch_executor is True and executor is not None:
        text = "the master expects to launch the executor, but it exists"
    elif event.launch_executor is False and executor is None:
        text = "the master expects the executor to run, but it does not"
    elif executor is not None and executor.is_ending:
        text = f"the executor is {executor.state.value}"
    else:
        return None
    return _lost(spec, executor_id, task_id, UpdateReason.EXECUTOR_TERMINATED, text)


def _lost(
    spec: FrameworkSpec,
    executor_id: ExecutorId | None,
    task_id: TaskId,
    reason: UpdateReason,
    text: str,
) -> MakeUpdate:
    """Say that a task never ran: DROPPED, or LOST to frameworks that do not know that word."""
    state = TaskState.DROPPED if spec.is_partition_aware else TaskState.LOST
    return MakeUpdate(_id_of(spec), executor_id, task_id, state, reason, text, spec.checkpoint)


def _end_task(
    framework: Framework, executor: Executor, task: Task, termination: Termination
) -> MakeUpdate:
    """Give a task its terminal state and say so."""
    task.state = termination.state
    return MakeUpdate(
        framework.framework_id,
        executor.executor_id,
        task.description.task_id,
        termination.state,
        termination.reason,
        termination.text,
        framework.spec.checkpoint,
    )


def _id_of(spec: FrameworkSpec) -> FrameworkId:
    if spec.framework_id is None:
        raise InvariantBroken("a framework without id got past the border of the agent")
    return spec.framework_id


def _check_executor(executor: Executor) -> None:
    story = f"executor {executor.executor_id} is {executor.state.value}"
    is_waiting = executor.queued and not executor.is_updating
    if executor.state is ExecutorState.RUNNING and (is_waiting or not executor.address):
        raise InvariantBroken(f"{story}, but has queued tasks or no address")
    unsettled: Iterable[Task] = executor.tasks.values()
    if executor.state is ExecutorState.TERMINATED:
        if not executor.tasks or any(not task.state.is_terminal for task in unsettled):
            raise InvariantBroken(f"{story}, but not all its tasks are terminal and unsettled")


__all__ = ["NO_WAIT_STATUS", "Executors"]
