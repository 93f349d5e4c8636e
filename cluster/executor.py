"""The executor driver: how an executor talks to the agent that started it.

    async with ExecutorDriver() as driver:
        async for event in driver.events():
            match event:
                case Launch(task):
                    driver.send_status_update({"task_id": ..., "state": "TASK_RUNNING"})
                case Shutdown():
                    break

or, in the classic form, an `Executor` with callbacks and a `MesosExecutorDriver` that calls them.
Both faces share one core (`cluster.core.executor_driver`) and its actor
(`cluster.executor_process`). Values are v0 protocol messages; where one is taken, a dictionary in
JSON form does as well.

Source: drivers.md §1.3, §2, §5; agent.md §4.
"""

import asyncio
import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message

from actorproc import Process, Runtime
from cluster.callbacks import EitherSpelling
from cluster.core import executor_driver as core
from cluster.core.driver_status import Control, DriverLife, DriverMisuse, Status
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
from cluster.driver_loop import ThreadedDriver, post, transport_towards
from cluster.errors import InvalidInput
from cluster.executor_process import (
    ExecutorProcess,
    agent_pid,
    environment_or_exit,
    kill_process_group_after,
)
from cluster.wire import driver as wire
from cluster.wire.pb import mesos_pb2 as mesos

EVENTS_MAX = 100_000  # events an async program may leave waiting before the driver gives up

MessageLike = Message | Mapping[str, Any]


# ---- the calls ----------------------------------------------------------------------------------


class ExecutorCalls(ABC):
    """The calls of an executor driver, for both faces.

    Every call returns the `Status` of the driver and does nothing when it does not run; nothing
    waits. Raises (both calls): InvalidInput, naming the argument and field that cannot be read.
    """

    @abstractmethod
    def _ask(self, event: core.ExecutorDriverEvent) -> Status:
        """Hand a call to the core if the driver runs."""

    @abstractmethod
    def _complete(self, status: mesos.TaskStatus) -> core.UpdateMade | None:
        """Stamp an update; None when the driver does not run."""

    @property
    @abstractmethod
    def status(self) -> Status:
        """The state of the driver."""

    def send_status_update(self, status: MessageLike) -> Status:
        """Report a task: ``task_id`` and ``state`` at least; uuid, time and agent id are set here.

        Sent again after a restart of the agent until the agent has stored it.
        """
        parsed = wire.message_from(mesos.TaskStatus, status, "status")
        if parsed.state == mesos.TASK_STAGING:
            raise InvalidInput("status.state", "must not be TASK_STAGING: that is the master's")
        made = self._complete(parsed)
        return self.status if made is None else self._ask(made)

    def send_framework_message(self, data: bytes) -> Status:
        """Send bytes to the scheduler; whether they arrive is not known."""
        if not isinstance(data, bytes):
            raise InvalidInput("data", f"must be bytes, not {type(data).__name__}")
        return self._ask(core.MessageToFrameworkAsked(data))


# ---- the async face -----------------------------------------------------------------------------


class ExecutorDriver(ExecutorCalls):
    """An executor driver for asyncio programs: events come from `events`, calls return at once.

    Args:
        environ: environment variables; by default those of this process.
        runtime: where the driver's actor lives; by default a runtime of its own.
        watchdog: kills what is left after the grace period of a shutdown; called with seconds.

    Raises:
        InvalidInput: a variable is missing or cannot be read.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        runtime: Runtime | None = None,
        watchdog: Callable[[float], None] = kill_process_group_after,
    ) -> None:
        self._environment = ExecutorEnvironment.parse(os.environ if environ is None else environ)
        self._agent = agent_pid(self._environment)
        self._runtime = runtime
        self._own_runtime: Runtime | None = None
        self._watchdog = watchdog
        self._life = DriverLife()
        self._actor: ExecutorProcess | None = None
        self._events: asyncio.Queue[ExecutorEvent | None] = asyncio.Queue()
        self._is_overrun = False

    @property
    def status(self) -> Status:
        return self._life.status

    async def __aenter__(self) -> Self:
        if self._life.status is not Status.DRIVER_NOT_STARTED:
            raise DriverMisuse("a driver cannot be started twice")
        if self._runtime is None:
            self._own_runtime = self._runtime = Runtime(transport_towards(self._agent))
            await self._own_runtime.start()
        self._actor = ExecutorProcess(
            self._environment,
            self,
            uuids=self._runtime.rng("status-updates"),
            watchdog=self._watchdog,
            lingers_after_shutdown=True,
        )
        self._life.take(Control.START)
        self._runtime.spawn(self._actor)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop() if exc is None else self.abort()
        if self._runtime is not None and self._actor is not None:
            await self._runtime.wait(self._actor.pid)
        if self._own_runtime is not None:
            await self._own_runtime.stop()

    async def events(self) -> AsyncGenerator[ExecutorEvent, None]:
        """What happens, in order; ends when the driver is stopped or aborted.

        After `Shutdown` updates can still be sent; the program ends its tasks and leaves.
        """
        while (event := await self._events.get()) is not None:
            if self._life.is_running or isinstance(event, Error):
                yield event

    def stop(self) -> Status:
        """End the driver."""
        return self._end(Control.STOP, core.StopAsked())

    def abort(self) -> Status:
        """End all events."""
        return self._end(Control.ABORT, core.AbortAsked())

    # ---- what the actor tells

    def deliver(self, event: ExecutorEvent) -> None:
        if self._events.qsize() < EVENTS_MAX:
            self._events.put_nowait(event)
        elif not self._is_overrun:
            self._is_overrun = True
            self._events.put_nowait(Error(f"the program leaves {EVENTS_MAX} events waiting"))
            self.abort()

    def aborted(self) -> None:
        self._life.take(Control.ABORT)

    def ended(self) -> None:
        self._life.take(Control.ABORT)
        self._events.put_nowait(None)

    # ---- inside

    def _complete(self, status: mesos.TaskStatus) -> core.UpdateMade | None:
        return self._actor.completed(status) if self._actor is not None else None

    def _ask(self, event: core.ExecutorDriverEvent) -> Status:
        answer = self._life.take(Control.OTHER)
        if answer is Status.DRIVER_RUNNING:
            self._post(event)
        return answer

    def _end(self, control: Control, event: core.ExecutorDriverEvent) -> Status:
        was_running = self._life.is_running
        answer = self._life.take(control)
        if was_running:
            self._post(event)
        return answer

    def _post(self, event: core.ExecutorDriverEvent) -> None:
        if self._runtime is not None and self._actor is not None:
            post(self._runtime, self._actor, event)


# ---- the classic face ---------------------------------------------------------------------------


class Executor(EitherSpelling):
    """Base class of classic executors: override what you need, ``launchTask`` or ``launch_task``.

    Callbacks run one at a time in the driver's thread; an exception aborts the driver.
    """

    def registered(
        self,
        driver: "MesosExecutorDriver",
        executorInfo: mesos.ExecutorInfo,
        frameworkInfo: mesos.FrameworkInfo,
        slaveInfo: mesos.SlaveInfo,
    ) -> None:
        """The agent accepted this executor; tasks follow."""

    def reregistered(self, driver: "MesosExecutorDriver", slaveInfo: mesos.SlaveInfo) -> None:
        """The agent restarted and found this executor again."""

    def disconnected(self, driver: "MesosExecutorDriver") -> None:
        """The agent is lost; it may come back."""

    def launchTask(self, driver: "MesosExecutorDriver", task: mesos.TaskInfo) -> None:
        """Run a task; must not wait for it (start a thread)."""

    def killTask(self, driver: "MesosExecutorDriver", taskId: mesos.TaskID) -> None:
        """End a task and report it."""

    def frameworkMessage(self, driver: "MesosExecutorDriver", message: bytes) -> None:
        """Bytes from the scheduler."""

    def shutdown(self, driver: "MesosExecutorDriver") -> None:
        """End all tasks; this process is killed after its grace period."""

    def error(self, driver: "MesosExecutorDriver", message: str) -> None:
        """The driver gave up; it is aborted already."""


class MesosExecutorDriver(ThreadedDriver[core.ExecutorDriverEvent], ExecutorCalls):
    """The classic executor driver, with camelCase and snake_case names. Thread-safe.

    `start` ends the process with status 2 and one line on standard error when the environment is
    not that of an executor: nobody could be told otherwise.

    Args:
        executor: gets the callbacks.
        watchdog: kills what is left after the grace period of a shutdown; called with seconds.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        watchdog: Callable[[float], None] = kill_process_group_after,
    ) -> None:
        super().__init__("executor-driver", lambda _: core.StopAsked(), core.AbortAsked())
        self._executor = executor
        self._watchdog = watchdog
        self._environment: ExecutorEnvironment | None = None
        self._process: ExecutorProcess | None = None

    def start(self) -> Status:
        """Start in the background; see the class for a wrong environment."""
        if self.status is Status.DRIVER_NOT_STARTED:
            self._environment = environment_or_exit()
            _buffer_lines()
        return super().start()

    # ---- what the thread needs

    async def _make(self) -> tuple[Runtime, Process, ExecutorProcess]:
        if self._environment is None:
            raise DriverMisuse("the driver was not started")
        runtime = Runtime(transport_towards(agent_pid(self._environment)))
        self._process = ExecutorProcess(
            self._environment,
            _Callbacks(self),
            uuids=runtime.rng("status-updates"),
            watchdog=self._watchdog,
        )
        return runtime, self._process, self._process

    def _failed(self, message: str) -> None:
        self._executor.error(self, message)

    def _complete(self, status: mesos.TaskStatus) -> core.UpdateMade | None:
        return self._process.completed(status) if self._process is not None else None

    def call_back(self, event: ExecutorEvent) -> None:
        """Run the callback of ``event``."""
        executor = self._executor
        match event:
            case Registered(executor_info, framework_info, agent_info):
                self._call_back(executor.registered, executor_info, framework_info, agent_info)
            case Reregistered(agent_info):
                self._call_back(executor.reregistered, agent_info)
            case Disconnected():
                self._call_back(executor.disconnected)
            case Launch(task):
                self._call_back(executor.launchTask, task)
            case Kill(task_id=task_id):
                self._call_back(executor.killTask, task_id)
            case FrameworkMessage(data):
                self._call_back(executor.frameworkMessage, data)
            case Shutdown():
                self._call_back(executor.shutdown)
            case Acknowledged():
                pass  # the classic interface does not show it
            case Error(message):
                self._run_callback(executor.error, message)

    # ---- the names of the classic interface

    def sendStatusUpdate(self, status: MessageLike) -> Status:
        return self.send_status_update(status)

    def sendFrameworkMessage(self, data: bytes) -> Status:
        return self.send_framework_message(data)


class _Callbacks:
    """Listener of the classic face: an event is a callback."""

    def __init__(self, driver: MesosExecutorDriver) -> None:
        self._driver = driver

    def deliver(self, event: ExecutorEvent) -> None:
        self._driver.call_back(event)

    def aborted(self) -> None:
        self._driver.mark_aborted()

    def ended(self) -> None:
        self._driver.mark_aborted()


def _buffer_lines() -> None:
    """Make stdout and stderr appear in the sandbox line by line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


__all__ = [
    "EVENTS_MAX",
    "Acknowledged",
    "Disconnected",
    "Error",
    "Executor",
    "ExecutorCalls",
    "ExecutorDriver",
    "ExecutorEnvironment",
    "ExecutorEvent",
    "FrameworkMessage",
    "Kill",
    "Launch",
    "MesosExecutorDriver",
    "Registered",
    "Reregistered",
    "Shutdown",
    "Status",
]
