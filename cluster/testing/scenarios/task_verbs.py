"""What is said about tasks and executors, to and fro."""

from cluster.core.master.events import (
    ExecutorExited,
    ExecutorMessageReceived,
    OperationStatusReceived,
    StatusUpdateReceived,
)
from cluster.errors import InvalidInput
from cluster.model.calls import (
    Acknowledge,
    AcknowledgeOperation,
    Kill,
    MessageExecutor,
    Reconcile,
    ReconcileOperations,
    ShutdownExecutor,
)
from cluster.model.ids import AgentId, ExecutorId, TaskId
from cluster.model.operations import OperationId, OperationState, OperationStatus, OperationUpdate
from cluster.model.resources import EMPTY
from cluster.model.task_states import TaskState
from cluster.model.tasks import StatusUpdate, TaskStatusNote
from cluster.testing.scenarios.cast import PretendedTask
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play, named
from cluster.testing.scenarios.words import Words


def update(play: Play, given: Words) -> None:
    """An agent sends a status update.

    ``update TASK STATE [latest=STATE] [no-uuid] [of=FRAMEWORK on=AGENT]``; ``latest``: what
    the agent knows by now; ``of`` and ``on`` for a task it never had
    """
    name, state = given.take("task"), named(TaskState, given.take("state"))
    latest_text, no_uuid = given.option("latest"), given.flag("no-uuid")
    latest = state if latest_text is None else named(TaskState, latest_text)
    owner, place = given.option("of"), given.option("on")
    given.end()
    if owner is not None and place is not None:
        agent = play.agent(place)
        task = PretendedTask(TaskId(name), play.framework_id(owner), None, "*", EMPTY)
    else:
        agent, task = play.task_named(name)
    uuid = None if no_uuid else f"{state.name}".encode()
    task.state, task.sent, task.uuid = latest, state, uuid
    update = StatusUpdate(
        framework_id=task.framework_id,
        agent_id=play.agent_id(agent.name),
        task_id=task.task_id,
        executor_id=task.executor_id,
        state=state,
        latest_state=latest,
        uuid=uuid,
        note=TaskStatusNote(state, None),
        payload=f"{name} {state.name}",
    )
    play.stage.feed(StatusUpdateReceived(agent.peer, update))


def ack(play: Play, given: Words) -> None:
    """A framework acknowledges the last update of a task.

    ``ack TASK [STATE]``: of the update with that state
    """
    agent, task = play.task_named(given.take("task"))
    state = given.take_if_any()
    given.end()
    uuid = (task.uuid or b"") if state is None else named(TaskState, state).name.encode()
    play.call(
        play.owner(task),
        Acknowledge(play.agent_id(agent.name), task.task_id, uuid),
    )


def kill(play: Play, given: Words) -> None:
    """A framework wants a task killed.

    ``kill TASK [by=FRAMEWORK] [on=AGENT]``
    """
    name, by, on = given.take("task"), given.option("by"), given.option("on")
    given.end()
    framework = play.framework(by) if by else play.owner(play.task_named(name)[1])
    play.call(framework, Kill(TaskId(name), None if on is None else play.agent_id(on), None))


def reconcile(play: Play, given: Words) -> None:
    """A framework asks how its tasks are; all of them, or those listed.

    ``reconcile FRAMEWORK [TASK[@AGENT] ...]``
    """
    framework = play.framework(given.take("framework"))
    asked: list[tuple[TaskId, AgentId | None]] = []
    for word in given.take_all():
        task, at, agent = word.partition("@")
        asked.append((TaskId(task), play.agent_id(agent) if at else None))
    given.end()
    play.call(framework, Reconcile(tuple(asked)))


def message(play: Play, given: Words) -> None:
    """A framework sends something to one of its executors.

    ``message FRAMEWORK EXECUTOR AGENT TEXT``
    """
    framework = play.framework(given.take("framework"))
    executor_id, agent = ExecutorId(given.take("executor")), given.take("agent")
    data = given.take("text").encode()
    given.end()
    play.call(framework, MessageExecutor(play.agent_id(agent), executor_id, data))


def executor_message(play: Play, given: Words) -> None:
    """An executor sends something to its framework.

    ``executor-message FRAMEWORK EXECUTOR AGENT TEXT``
    """
    framework_id = play.framework_id(given.take("framework"))
    executor, agent = given.take("executor"), play.agent(given.take("agent"))
    text = given.take("text")
    given.end()
    play.stage.feed(
        ExecutorMessageReceived(
            agent.peer, play.agent_id(agent.name), framework_id, f"from {executor}: {text}"
        )
    )


def shutdown_executor(play: Play, given: Words) -> None:
    """A framework wants an executor ended.

    ``shutdown-executor FRAMEWORK EXECUTOR AGENT``
    """
    framework = play.framework(given.take("framework"))
    executor_id, agent = ExecutorId(given.take("executor")), given.take("agent")
    given.end()
    play.call(framework, ShutdownExecutor(executor_id, play.agent_id(agent)))


def executor_exited(play: Play, given: Words) -> None:
    """An agent says that an executor has ended.

    ``executor-exited FRAMEWORK EXECUTOR AGENT``
    """
    framework_id = play.framework_id(given.take("framework"))
    executor_id, agent = ExecutorId(given.take("executor")), play.agent(given.take("agent"))
    given.end()
    agent.executors.pop((framework_id, executor_id), None)
    play.stage.feed(
        ExecutorExited(
            agent.peer,
            play.agent_id(agent.name),
            framework_id,
            executor_id,
            f"executor {executor_id} on {agent.name} has exited",
        )
    )


def operation(play: Play, given: Words) -> None:
    """An agent says how an operation stands that it was told to apply.

    ``operation X0 FINISHED|FAILED|... [becomes=RESOURCES] [message=word]``; ``becomes``: what a
    resource provider made
    """
    name = given.take("operation")
    known = play.cast.operations.get(name)
    if known is None:
        raise InvalidInput(name, "no agent was told of such an operation")
    state, becomes = named(OperationState, given.take("state")), given.option("becomes")
    message = given.option("message") or ""
    given.end()
    agent = play.agent(known.agent_name)
    status = OperationStatus(
        state,
        known.operation_id,
        message,
        converted=EMPTY if becomes is None else parse_resources(becomes),
        uuid=f"{name} {state.name}".encode(),
        agent_id=agent.agent_id,
    )
    update = OperationUpdate(play.agent_id(agent.name), known.uuid, status, known.framework_id)
    play.feed(OperationStatusReceived(agent.peer, update))


def ack_operation(play: Play, given: Words) -> None:
    """A framework takes note of how an operation stands.

    ``ack-operation FRAMEWORK ID STATE``
    """
    framework = play.framework(given.take("framework"))
    operation_id = OperationId(given.take("id"))
    state = named(OperationState, given.take("state"))
    given.end()
    for name, known in play.cast.operations.items():
        if known.operation_id == operation_id:
            uuid = f"{name} {state.name}".encode()
            agent_id = play.agent_id(known.agent_name)
            return play.call(framework, AcknowledgeOperation(operation_id, uuid, agent_id))
    raise InvalidInput(operation_id, "no agent was told of such an operation")


def reconcile_operations(play: Play, given: Words) -> None:
    """A framework asks how its operations stand; all of them, or those listed.

    ``reconcile-operations FRAMEWORK [ID[@AGENT] ...]``
    """
    framework = play.framework(given.take("framework"))
    asked: list[tuple[OperationId, AgentId | None]] = []
    for word in given.take_all():
        operation_id, at, agent = word.partition("@")
        asked.append((OperationId(operation_id), play.agent_id(agent) if at else None))
    given.end()
    play.call(framework, ReconcileOperations(tuple(asked)))


__all__ = [
    "ack",
    "ack_operation",
    "executor_exited",
    "executor_message",
    "kill",
    "message",
    "operation",
    "reconcile",
    "reconcile_operations",
    "shutdown_executor",
    "update",
]
