"""What is said about tasks and executors, to and fro."""

from cluster.core.master.events import ExecutorExited, ExecutorMessageReceived, StatusUpdateReceived
from cluster.model.calls import Acknowledge, Kill, MessageExecutor, Reconcile, ShutdownExecutor
from cluster.model.ids import AgentId, ExecutorId, TaskId
from cluster.model.resources import EMPTY
from cluster.model.task_states import TaskState
from cluster.model.tasks import StatusUpdate, TaskStatusNote
from cluster.testing.scenarios.cast import PretendedTask
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


__all__ = [
    "ack",
    "executor_exited",
    "executor_message",
    "kill",
    "message",
    "reconcile",
    "shutdown_executor",
    "update",
]
