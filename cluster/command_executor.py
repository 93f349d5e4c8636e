"""The built-in executor that runs exactly one command: ``python -m cluster.command_executor``.

Started by the agent in the sandbox of the task; the command inherits its stdout and stderr, which
are the sandbox files. What happens when is decided by `cluster.core.command_task`; this shell
starts the command in a session of its own, waits for it, and signals its whole process tree.

Kept light: its start is part of the launch latency of every command task.

Source: agent.md §10.1.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

from actorproc import Runtime
from cluster.core import command_task as core
from cluster.core.executor_driver import ExecutorEnvironment
from cluster.core.executor_events import (
    Acknowledged,
    Disconnected,
    Error,
    ExecutorEvent,
    FrameworkMessage,
    Kill,
    Launch,
    Registered,
    Reregistered,
    Shutdown,
)
from cluster.driver_loop import transport_towards
from cluster.errors import ClusterError, InvalidInput
from cluster.executor_process import (
    ExecutorProcess,
    agent_pid,
    environment_or_exit,
    kill_process_group_after,
)
from cluster.model.ids import TaskId
from cluster.wire.driver import has_capability, kill_grace_s
from cluster.wire.pb import mesos_pb2 as mesos

logger = logging.getLogger(__name__)

SHELL = "/bin/sh"
PROCESS_TREE_MAX = 100_000  # processes of one command that are looked at when it is killed


class CommandExecutor:
    """Runs one command task for the agent behind ``environment``.

    Args:
        environment: what the agent told us.
        runtime: started; the actor of the executor driver is spawned in it.
        environ: variables the command inherits; those of its CommandInfo come on top.
        watchdog: kills what is left after the grace period of a shutdown; called with seconds.
    """

    def __init__(
        self,
        environment: ExecutorEnvironment,
        runtime: Runtime,
        *,
        environ: Mapping[str, str],
        watchdog: Callable[[float], None] = kill_process_group_after,
    ) -> None:
        self._environment = environment
        self._runtime = runtime
        self._environ = environ
        self._core = core.CommandTaskCore()
        self._last_uuid: bytes | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._actor = ExecutorProcess(
            environment,
            self,
            uuids=runtime.rng("status-updates"),
            watchdog=watchdog,
            lingers_after_shutdown=True,
        )

    async def run(self) -> None:
        """Register with the agent and serve until the task has ended and that is reported."""
        self._runtime.spawn(self._actor)
        try:
            await self._runtime.wait(self._actor.pid)
        finally:
            self._signal_tree(signal.SIGKILL)  # a no-op unless something went wrong

    # ---- what the actor tells

    def deliver(self, event: ExecutorEvent) -> None:
        match event:
            case Registered(framework_info=framework):
                self._feed(core.AgentFound(_shows_killing(framework)))
            case Reregistered():
                self._feed(core.AgentFound())
            case Disconnected():
                self._feed(core.AgentAway())
            case Launch(task):
                self._feed(_task_given(task))
            case Kill(task_id, grace_s):
                self._feed(core.KillAsked(TaskId(task_id.value), grace_s))
            case Acknowledged(uuid=uuid):
                if uuid == self._last_uuid:
                    self._feed(core.TerminalAcknowledged())
            case Shutdown():
                self._feed(core.ShutdownAsked(self._environment.shutdown_grace_s))
            case FrameworkMessage() | Error():
                pass  # a command has no use for messages; after an error the actor ends

    def aborted(self) -> None:
        logger.error("the executor driver gave up")

    def ended(self) -> None:
        """The actor is gone: `run` returns."""

    # ---- the core

    def _feed(self, event: core.CommandTaskEvent) -> None:
        for effect in self._core.handle(event, self._runtime.clock.now_s()):
            self._perform(effect)

    def _perform(self, effect: core.CommandTaskEffect) -> None:
        match effect:
            case core.StartCommand(task):
                self._running = self._actor.start_task(self._run_command(task))
            case core.SendStatus():
                self._send_status(effect)
            case core.AskToEnd():
                self._signal_tree(signal.SIGTERM)
            case core.ForceToEnd():
                self._signal_tree(signal.SIGKILL)
            case core.StartTimer(key, generation, delay_s):
                self._actor.delay(delay_s, self._feed, core.TimerFired(key, generation))
            case core.Report(text):
                logger.warning("%s", text)
            case core.Exit():
                self._actor.terminate()

    def _send_status(self, effect: core.SendStatus) -> None:
        status = mesos.TaskStatus(
            task_id=mesos.TaskID(value=effect.task_id),
            state=mesos.TaskState.ValueType(effect.state),
            executor_id=mesos.ExecutorID(value=self._environment.executor_id),
            source=mesos.TaskStatus.SOURCE_EXECUTOR,
        )
        if effect.message is not None:
            status.message = effect.message
        if effect.reason is not None:
            status.reason = mesos.TaskStatus.Reason.ValueType(effect.reason)
        uuid = self._actor.update(status)
        if effect.is_last:
            self._last_uuid = uuid

    # ---- the command

    async def _run_command(self, task: mesos.TaskInfo) -> None:
        try:
            self._child = child = await _start(task, self._environ)
        except (OSError, ValueError) as error:
            self._feed(core.CommandNotStarted(f"cannot run {_shown(task.command)}: {error}"))
            return
        except InvalidInput as error:
            self._feed(core.CommandNotStarted(str(error)))
            return
        self._feed(core.CommandStarted())
        status = await child.wait()
        self._child = None
        self._feed(_exited(status))

    def _signal_tree(self, signal_number: signal.Signals) -> None:
        """Signal every process that the command started, also those that left its session."""
        if self._child is None:
            return
        # Children first looked up, then signalled: afterwards they would be orphans of nobody's.
        tree = _descendants(self._child.pid)
        _signal(os.killpg, self._child.pid, signal_number)
        for pid in tree:
            _signal(os.kill, pid, signal_number)


def _shows_killing(framework: mesos.FrameworkInfo) -> bool:
    return has_capability(framework, mesos.FrameworkInfo.Capability.TASK_KILLING_STATE)


def _task_given(task: mesos.TaskInfo) -> core.TaskGiven:
    completion_s_max = None
    if task.HasField("max_completion_time"):
        completion_s_max = max(0.0, task.max_completion_time.nanoseconds / 1e9)
    return core.TaskGiven(
        TaskId(task.task_id.value),
        task,
        kill_grace_s=kill_grace_s(task.kill_policy),
        completion_s_max=completion_s_max,
    )


def _exited(status: int) -> core.CommandExited:
    """From a return code as `subprocess` gives it: negative for a signal."""
    if status >= 0:
        return core.CommandExited(status)
    return core.CommandExited(None, signal.strsignal(-status) or str(-status))


async def _start(task: mesos.TaskInfo, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start the command of a task in a session of its own, with our stdout and stderr.

    Raises:
        OSError: it cannot be started.
        InvalidInput: the task does not say what to run.
    """
    command = task.command
    if not command.value:
        raise InvalidInput("task.command.value", "must name what to run")
    if command.shell:
        program, arguments = SHELL, ["sh", "-c", command.value]
    else:
        program, arguments = command.value, list(command.arguments) or [command.value]
    return await asyncio.create_subprocess_exec(
        *arguments,
        executable=program,
        env=_command_environ(task, environ),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _command_environ(task: mesos.TaskInfo, environ: Mapping[str, str]) -> dict[str, str]:
    """What the command sees: what the executor got, the task's id, the CommandInfo's variables.

    Raises:
        InvalidInput: a variable is a reference to a secret, which nobody here can resolve.
    """
    merged = {**environ, "MESOS_TASK_ID": task.task_id.value}
    for index, variable in enumerate(task.command.environment.variables):
        if variable.type != mesos.Environment.Variable.SECRET:
            merged[variable.name] = variable.value
        elif variable.secret.HasField("value"):
            merged[variable.name] = variable.secret.value.data.decode(errors="surrogateescape")
        else:
            field = f"task.command.environment.variables[{index}].secret"
            raise InvalidInput(field, "must be a value: references are not supported")
    return merged


def _shown(command: mesos.CommandInfo) -> str:
    return repr(command.value)


def _signal(send: Callable[[int, int], None], pid: int, signal_number: signal.Signals) -> None:
    try:
        send(pid, signal_number)
    except ProcessLookupError:
        pass  # ended meanwhile
    except PermissionError as error:
        logger.warning("cannot signal %s: %s", pid, error)


def _descendants(pid: int) -> list[int]:
    """Processes below ``pid``, nearest first; empty where there is no /proc."""
    found = _children(pid)
    for each in found:  # grows while it is walked
        if len(found) >= PROCESS_TREE_MAX:
            break
        found += _children(each)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                children += [int(each) for each in file.read().split()]
    except OSError:  # it has ended, or this kernel does not tell
        return children
    return children


async def _main(environment: ExecutorEnvironment, environ: Mapping[str, str]) -> None:
    async with Runtime(transport_towards(agent_pid(environment))) as runtime:
        await CommandExecutor(environment, runtime, environ=environ).run()


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run the executor in this process; returns its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    environment = environment_or_exit()
    try:
        asyncio.run(_main(environment, os.environ if environ is None else environ))
    except ClusterError as error:
        logger.error("command executor: %s", error)
        return 1
    return 0


__all__ = ["CommandExecutor", "main"]

if __name__ == "__main__":
    sys.exit(main())
