"""The actor of an executor driver: messages from the agent in, effects of the core out.

The two faces for programs are in `cluster.executor`; the built-in command executor uses the actor
itself. Kept light: it starts with every command task.

Source: drivers.md §5; agent.md §4; messages.md §2.3.
"""

import logging
import os
import random
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Protocol

from actorproc import PID, InvalidPID, Process
from cluster.core import executor_driver as core
from cluster.core.executor_driver import ExecutorEnvironment
from cluster.core.executor_events import (
    ExecutorEvent,
    Kill,
    Registered,
    Reregistered,
)
from cluster.errors import InvalidInput
from cluster.model.ids import AgentId, TaskId
from cluster.wire import driver as wire
from cluster.wire import relayed
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

logger = logging.getLogger(__name__)

EXIT_BAD_ENVIRONMENT = 2


class ExecutorListener(Protocol):
    """Who hears what the agent says."""

    def deliver(self, event: ExecutorEvent) -> None: ...

    def aborted(self) -> None:
        """The driver counts as aborted from here on."""
        ...

    def ended(self) -> None:
        """The actor is gone."""
        ...


def kill_process_group_after(grace_s: float) -> None:
    """End this process and its whole group after ``grace_s``, whatever hangs meanwhile."""

    def kill() -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)

    watchdog = threading.Timer(grace_s, kill)
    watchdog.daemon = True  # an executor that ends in time takes its watchdog along
    watchdog.start()


class ExecutorProcess(Process):
    """Actor around an `ExecutorDriverCore`: messages in, effects out, in order.

    Args:
        environment: what the agent told us.
        listener: gets the events.
        uuids: source of the uuids of status updates.
        watchdog: called with the grace period in seconds when a shutdown begins.
        lingers_after_shutdown: see `ExecutorDriverCore`.

    Raises:
        InvalidInput: the agent's address in the environment is not a PID.
    """

    def __init__(
        self,
        environment: ExecutorEnvironment,
        listener: ExecutorListener,
        *,
        uuids: random.Random,
        watchdog: Callable[[float], None] = kill_process_group_after,
        lingers_after_shutdown: bool = False,
    ) -> None:
        super().__init__(prefix="executor")
        agent_pid(environment)
        self._environment = environment
        self._listener = listener
        self._uuids = uuids
        self._watchdog = watchdog
        self._core = core.ExecutorDriverCore(
            environment, lingers_after_shutdown=lingers_after_shutdown
        )

    def initialize(self) -> None:
        self.install(internal.ExecutorRegisteredMessage, self._on_registered)
        self.install(internal.ExecutorReregisteredMessage, self._on_reregistered)
        self.install(internal.ReconnectExecutorMessage, self._on_reconnect)
        self.install(internal.RunTaskMessage, self._on_run_task)
        self.install(internal.KillTaskMessage, self._on_kill_task)
        self.install(internal.StatusUpdateAcknowledgementMessage, self._on_acknowledgement)
        self.install(internal.FrameworkToExecutorMessage, self._on_framework_message)
        self.install(internal.ShutdownExecutorMessage, self._on_shutdown)
        self.feed(core.Started())

    def finalize(self) -> None:
        self._listener.ended()

    def exited(self, pid: PID) -> None:
        self.feed(core.AgentLinkBroken(str(pid)))

    def feed(self, event: core.ExecutorDriverEvent) -> None:
        """Give the core one event and carry out what it says. In this actor's turn only."""
        for effect in self._core.handle(event, self.clock.now_s()):
            self._perform(effect)

    def update(self, status: mesos.TaskStatus) -> bytes:
        """Report a task to the agent; in this actor's turn only.

        Returns:
            The uuid of the update, which its `Acknowledged` event will carry.
        """
        made = self.completed(status)
        self.feed(made)
        return made.uuid

    def completed(self, status: mesos.TaskStatus) -> core.UpdateMade:
        """The update that reports ``status``, stamped with a new uuid and the present time."""
        update_uuid = new_uuid(self._uuids)
        update = wire.completed_update(
            status,
            framework_id=self._environment.framework_id,
            executor_id=self._environment.executor_id,
            agent_id=self._environment.agent_id,
            uuid=update_uuid,
            now_s=self.clock.now_s(),
        )
        return core.UpdateMade(TaskId(status.task_id.value), update_uuid, update)

    # ---- messages

    def _on_registered(self, sender: PID, message: internal.ExecutorRegisteredMessage) -> None:
        event = Registered(message.executor_info, message.framework_info, message.slave_info)
        self.feed(core.AgentRegisteredUs(event))

    def _on_reregistered(self, sender: PID, message: internal.ExecutorReregisteredMessage) -> None:
        self.feed(core.AgentReregisteredUs(Reregistered(message.slave_info)))

    def _on_reconnect(self, sender: PID, message: internal.ReconnectExecutorMessage) -> None:
        self.feed(core.ReconnectAsked(str(sender), AgentId(message.slave_id.value)))

    def _on_run_task(self, sender: PID, message: internal.RunTaskMessage) -> None:
        self.feed(core.TaskGiven(TaskId(message.task.task_id.value), message.task))

    def _on_kill_task(self, sender: PID, message: internal.KillTaskMessage) -> None:
        self.feed(core.KillAsked(Kill(message.task_id, wire.kill_grace_s(message.kill_policy))))

    def _on_acknowledgement(
        self, sender: PID, message: internal.StatusUpdateAcknowledgementMessage
    ) -> None:
        self.feed(core.UpdateAcknowledged(TaskId(message.task_id.value), message.uuid))

    def _on_framework_message(
        self, sender: PID, message: internal.FrameworkToExecutorMessage
    ) -> None:
        self.feed(core.MessageReceived(message.data))

    def _on_shutdown(self, sender: PID, message: internal.ShutdownExecutorMessage) -> None:
        self.feed(core.ShutdownAsked())

    # ---- effects

    def _perform(self, effect: core.ExecutorDriverEffect) -> None:
        environment = self._environment
        match effect:
            case core.LinkAgent(agent, reconnect):
                self.link(PID.parse(agent), reconnect=reconnect)
            case core.SendRegister(agent):
                message = wire.register_executor(environment.framework_id, environment.executor_id)
                self.send(PID.parse(agent), message)
            case core.SendReregister(agent, tasks, updates):
                again = wire.reregister_executor(
                    environment.framework_id, environment.executor_id, tasks, updates
                )
                self.send(PID.parse(agent), again)
            case core.SendUpdate(agent, update):
                self.send(
                    PID.parse(agent),
                    internal.StatusUpdateMessage(update=update, pid=str(self.pid)),
                )
            case core.SendMessage(agent, data):
                text = relayed.to_framework(
                    environment.agent_id, environment.framework_id, environment.executor_id, data
                )
                self.send(PID.parse(agent), text)
            case core.StartRecoveryTimer(generation, delay_s):
                self.delay(delay_s, self.feed, core.RecoveryTimedOut(generation))
            case core.StartWatchdog(grace_s):
                self._watchdog(grace_s)
            case core.Deliver(event):
                self._listener.deliver(event)
            case core.Report(text):
                logger.warning("%s: %s", environment.executor_id, text)
            case core.Abort():
                self._listener.aborted()
            case core.End():
                self.terminate()


def agent_pid(environment: ExecutorEnvironment) -> PID:
    """Where the agent listens.

    Raises:
        InvalidInput: MESOS_SLAVE_PID is not a usable address.
    """
    try:
        pid = PID.parse(environment.agent)
    except InvalidPID as error:
        raise InvalidInput("MESOS_SLAVE_PID", str(error)) from error
    if not pid:
        raise InvalidInput("MESOS_SLAVE_PID", f"must be a real address, not {environment.agent}")
    return pid


def new_uuid(rng: random.Random) -> bytes:
    """16 bytes of a random (version 4) UUID."""
    return uuid.UUID(int=rng.getrandbits(128), version=4).bytes


def environment_or_exit() -> ExecutorEnvironment:
    """Read the environment, or end the process with one line on standard error and status 2."""
    try:
        environment = ExecutorEnvironment.parse(os.environ)
        agent_pid(environment)
    except InvalidInput as error:
        sys.stderr.write(f"executor: {error}\n")
        raise SystemExit(EXIT_BAD_ENVIRONMENT) from error
    return environment


__all__ = [
    "EXIT_BAD_ENVIRONMENT",
    "ExecutorListener",
    "ExecutorProcess",
    "agent_pid",
    "environment_or_exit",
    "kill_process_group_after",
    "new_uuid",
]
