"""The agent: one machine's process ``slave(1)``.

A shell around four cores: `Registration` (its place in the cluster), `Executors` (what runs here),
`StatusUpdateStreams` (news on its way to frameworks) and `AgentOperations` (its resources, and what
is made of them). It decodes messages, feeds the cores and carries out what they order; policy is
theirs. `ExecutorLauncher` and `ResourceFiles` do what needs the file system and processes, and
their results come back as events.

    master ──messages──► Agent ──events──► cores ──effects──► Agent ──► master, executors
    executors ────────►    └── ExecutorLauncher ──started, failed, ended──┘

Recovered are reservations and persistent volumes. Not yet: anything else. An agent kills what an
earlier one left running below its work directory and registers as a new agent; the `Checkpoint`
effects of status updates are the place where their records will be written. Source: agent.md.
"""

import asyncio
import logging
import os
import sys
import uuid
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message

from actorproc import PID, InvalidPID, Process, Timer
from cluster import VERSION
from cluster import flags as flags_module
from cluster.agent_flags import AgentConfig
from cluster.containers.base import Containerizer, LaunchFailed
from cluster.containers.executor_launcher import AgentAddress, ExecutorLauncher
from cluster.containers.posix import PosixContainerizer
from cluster.containers.resource_files import ResourceFiles, RunBlocking
from cluster.core.agent import executor_events as run
from cluster.core.agent import operations as ops
from cluster.core.agent import registration as reg
from cluster.core.agent import status_updates as streams
from cluster.core.agent.executors import Executors
from cluster.core.agent.garbage import Garbage, age_allowed_s
from cluster.daemon import run_daemon
from cluster.election.detector import MasterDetector, detector_for
from cluster.errors import InvalidInput
from cluster.model.attributes import Attributes
from cluster.model.executors import ExecutorReported, MakeUpdate
from cluster.model.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.volumes import persistent_volumes
from cluster.resource_detection import agent_resources, look_at_machine
from cluster.sandbox_files import SandboxFiles
from cluster.web.agent_state import agent_state_json, version_json
from cluster.wire import agent as wire
from cluster.wire import relayed
from cluster.wire.agent_operations import (
    checkpointed_resources_from_pb,
    operation_from_pb,
    operation_status_message,
    reconciled_operations_from_pb,
)
from cluster.wire.checked_ids import check_id
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

PROCESS_ID = "slave(1)"

# Between two attempts to find a master whose name cannot be resolved.
DETECTION_RETRY_S = 10.0

DISK_WATCH_INTERVAL_S_MIN = 1.0

# Started in the sandbox, where modules of a task must not be taken for ours: hence -P, and the
# place of this package given in full.
_PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent)
COMMAND_EXECUTOR = (
    sys.executable,
    "-P",
    "-c",
    f"import sys, runpy; sys.path.insert(0, {_PACKAGE_ROOT!r}); "
    "runpy.run_module('cluster.command_executor', run_name='__main__', alter_sys=True)",
)


class Agent(Process):
    """The agent of one machine.

    Args:
        config: its flags.
        containerizer: runs executors; plain process trees by default.
        detector: finds the leading master; by default what ``--master`` asks for.
        run_blocking: runs a function that blocks; in a thread by default.

    Raises:
        InvalidInput: a flag has a value that cannot be used, or the work directory remembers
            resources that do not go with ``--resources``.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        containerizer: Containerizer | None = None,
        detector: MasterDetector | None = None,
        run_blocking: RunBlocking = asyncio.to_thread,
    ) -> None:
        super().__init__(PROCESS_ID)
        self._config = config
        self._detector = detector or detector_for(config.master)
        self._resource_files = ResourceFiles(Path(config.work_dir), run_blocking=run_blocking)
        self._launcher = ExecutorLauncher(
            config,
            containerizer or PosixContainerizer(switch_user=config.switch_user),
            os.environ,
            resource_files=self._resource_files,
            run_blocking=run_blocking,
        )
        self._resources = agent_resources(
            config.resources,
            look_at_machine(Path(config.work_dir)),
            default_role=config.default_role,
        )
        self._operations = ops.AgentOperations(
            declared=self._resources,
            checkpointed=self._resource_files.load(),
            new_uuid=lambda: self._new_uuid().bytes,
        )
        self._attributes = Attributes.parse(config.attributes or "")
        self._domain = _domain(config.domain)
        self._hostname = config.hostname or ""
        self._files = SandboxFiles()
        self._garbage = Garbage()
        self._alarms: dict[Hashable, Timer] = {}
        self.exit_status = 1

    def initialize(self) -> None:
        """Set up cores, handlers and endpoints, and start looking for a master."""
        self._start_time_s = self.clock.now_s()
        self._ids = self.runtime.rng("agent ids")
        self._resource_version = self._new_uuid().bytes
        self._registration = reg.Registration(
            backoff_factor_s=self._config.registration_backoff_factor_s,
            rng=self.runtime.rng("registration back-off"),
        )
        self._executors = Executors(
            new_container_id=lambda: ContainerId(str(self._new_uuid())),
            registration_timeout_s=self._config.executor_registration_timeout_s,
            shutdown_grace_s=self._config.executor_shutdown_grace_period_s,
            completed_executors_max=max(0, self._config.max_completed_executors_per_framework),
        )
        self._streams = streams.StatusUpdateStreams()
        self._install_handlers()
        self.route("/health", self._on_health, help="200 while the agent runs")
        self.route("/version", self._on_version, help="Version of the protocol spoken")
        self.route("/state", self._on_state, help="What the agent is and runs")
        self.runtime.spawn(self._files)
        if self._config.log_dir is not None:
            log = str(Path(self._config.log_dir).absolute() / "mesos-agent.INFO")
            _ = self.dispatch(self._files.pid, self._files.attach, log, ("/slave/log",))
        self._watch_garbage()
        _ = self.start_task(self._watch_master())

    def finalize(self) -> None:
        """Leave executors alone: they notice the broken link and decide for themselves."""
        self.runtime.terminate(self._files.pid)

    def exited(self, pid: PID) -> None:
        """A linked master or executor is unreachable. Of executors the containerizer tells."""
        self._feed_registration(reg.MasterLinkLost(str(pid)))

    def leave(self, message: str = "an operator told this agent to leave") -> None:
        """Unregister, end all frameworks, then the agent (SIGUSR1). In this process's turn."""
        self._feed_registration(reg.LeaveRequested(message))

    # What is installed --------------------------------------------------------------------------

    def _install_handlers(self) -> None:
        self._serve(internal.SlaveRegisteredMessage, self._on_registered)
        self._serve(internal.SlaveReregisteredMessage, self._on_reregistered)
        self._serve(internal.PingSlaveMessage, self._on_ping)
        self._serve(internal.ShutdownMessage, self._on_shutdown)
        self._serve(internal.RunTaskMessage, self._on_run_task)
        self._serve(internal.RunTaskGroupMessage, self._on_run_task_group)
        self._serve(internal.DrainSlaveMessage, self._on_drain)
        self._serve(internal.ApplyOperationMessage, self._on_apply_operation)
        self._serve(internal.AcknowledgeOperationStatusMessage, self._on_operation_acknowledged)
        self._serve(internal.ReconcileOperationsMessage, self._on_reconcile_operations)
        self._serve(internal.CheckpointResourcesMessage, self._on_checkpoint_resources)
        self._serve(internal.KillTaskMessage, self._on_kill_task)
        self._serve(internal.ShutdownExecutorMessage, self._on_shutdown_executor)
        self._serve(internal.ShutdownFrameworkMessage, self._on_shutdown_framework)
        self._serve(internal.UpdateFrameworkMessage, self._on_update_framework)
        self._serve(internal.StatusUpdateAcknowledgementMessage, self._on_acknowledgement)
        self._serve(internal.FrameworkToExecutorMessage, self._on_framework_message)
        self._serve(internal.RegisterExecutorMessage, self._on_register_executor)
        self._serve(internal.ReregisterExecutorMessage, self._on_reregister_executor)
        self._serve(internal.StatusUpdateMessage, self._on_status_update)
        self._serve(internal.ExecutorToFrameworkMessage, self._on_executor_message)

    def _serve(self, message_type: type[M], handler: Callable[[PID, M], None]) -> None:
        """Serve a message; one whose contents break a rule is logged and dropped."""

        def serve(sender: PID, message: M) -> None:
            try:
                handler(sender, message)
            except InvalidInput as error:
                name = message_type.DESCRIPTOR.full_name
                logger.warning("dropped %s from %s: %s", name, sender, error)

        self.install(message_type, serve)

    def _is_master(self, sender: PID, message: Message) -> bool:
        """Whether a message that only the leading master may send comes from it."""
        if str(sender) == self._registration.master:
            return True
        name = message.DESCRIPTOR.name
        logger.warning("dropped %s from %s, which is not the leading master", name, sender)
        return False

    # From the master: the agent itself ----------------------------------------------------------

    def _on_registered(self, sender: PID, message: internal.SlaveRegisteredMessage) -> None:
        self._feed_registration(_registered(sender, message, is_reregistration=False))

    def _on_reregistered(self, sender: PID, message: internal.SlaveReregisteredMessage) -> None:
        self._feed_registration(_registered(sender, message, is_reregistration=True))
        if str(sender) == self._registration.master:
            for reconciliation in message.reconciliations:
                self._feed_executors(wire.reconciliation_from_pb(reconciliation))

    def _on_ping(self, sender: PID, message: internal.PingSlaveMessage) -> None:
        self.send(sender, internal.PongSlaveMessage())
        master = self._registration.master
        # Pings come from an observer process beside the master.
        if master is not None and sender.address == PID.parse(master).address:
            self._feed_registration(reg.Pinged(message.connected))

    def _on_shutdown(self, sender: PID, message: internal.ShutdownMessage) -> None:
        self._feed_registration(reg.ShutdownReceived(str(sender), message.message))

    def _on_drain(self, sender: PID, message: internal.DrainSlaveMessage) -> None:
        if self._is_master(sender, message):
            logger.info("draining: %s", message.config)
            self._feed_executors(wire.drain_from_pb(message.config))

    # From the master: operations ----------------------------------------------------------------

    def _on_apply_operation(self, sender: PID, message: internal.ApplyOperationMessage) -> None:
        if self._may_launch(sender, message):
            operation = operation_from_pb(
                message,
                resource_version=self._resource_version,
                in_use=self._executors.in_use(),
            )
            self._feed_operations(operation)

    def _on_operation_acknowledged(
        self, sender: PID, message: internal.AcknowledgeOperationStatusMessage
    ) -> None:
        if self._is_master(sender, message):
            uuid, status_uuid = message.operation_uuid.value, message.status_uuid.value
            self._feed_operations(ops.StatusAcknowledged(uuid, status_uuid))

    def _on_reconcile_operations(
        self, sender: PID, message: internal.ReconcileOperationsMessage
    ) -> None:
        if self._is_master(sender, message):
            self._feed_operations(reconciled_operations_from_pb(message))

    def _on_checkpoint_resources(
        self, sender: PID, message: internal.CheckpointResourcesMessage
    ) -> None:
        if self._may_launch(sender, message):
            resources = checkpointed_resources_from_pb(message.resources, field="resources")
            self._feed_operations(ops.ResourcesReplaced(resources, self._executors.in_use()))

    # From the master: frameworks and tasks ------------------------------------------------------

    def _on_run_task(self, sender: PID, message: internal.RunTaskMessage) -> None:
        if not self._may_launch(sender, message):
            return
        launch = wire.launch_from_pb(
            message,
            resource_version=self._resource_version,
            command_executor=COMMAND_EXECUTOR,
            unknown_part=self._operations.unknown_part,
        )
        self._feed_executors(launch)

    def _on_run_task_group(self, sender: PID, message: internal.RunTaskGroupMessage) -> None:
        if self._may_launch(sender, message):
            for refusal in wire.refused_group_from_pb(message):
                self._feed_executors(refusal)

    def _may_launch(self, sender: PID, message: Message) -> bool:
        if not self._is_master(sender, message):
            return False
        if self._registration.state is reg.RegistrationState.RUNNING:
            return True
        state = self._registration.state.value
        logger.warning("dropped %s: the agent is %s", message.DESCRIPTOR.name, state)
        return False

    def _on_kill_task(self, sender: PID, message: internal.KillTaskMessage) -> None:
        if self._is_master(sender, message):
            policy = message.kill_policy if message.HasField("kill_policy") else None
            self._feed_executors(
                run.KillRequested(
                    FrameworkId(message.framework_id.value), TaskId(message.task_id.value), policy
                )
            )

    def _on_shutdown_executor(self, sender: PID, message: internal.ShutdownExecutorMessage) -> None:
        if self._is_master(sender, message):
            self._feed_executors(
                run.ExecutorShutdownRequested(
                    FrameworkId(message.framework_id.value), ExecutorId(message.executor_id.value)
                )
            )

    def _on_shutdown_framework(
        self, sender: PID, message: internal.ShutdownFrameworkMessage
    ) -> None:
        if self._is_master(sender, message):
            framework_id = FrameworkId(message.framework_id.value)
            self._feed_executors(run.FrameworkShutdownRequested(framework_id))

    def _on_update_framework(self, sender: PID, message: internal.UpdateFrameworkMessage) -> None:
        if not self._is_master(sender, message):
            return
        spec = None
        if message.HasField("framework_info"):
            spec = wire.framework_from_pb(message.framework_info)
        framework_id = FrameworkId(message.framework_id.value)
        self._feed_executors(run.FrameworkChanged(framework_id, message.pid, spec))

    def _on_acknowledgement(
        self, sender: PID, message: internal.StatusUpdateAcknowledgementMessage
    ) -> None:
        if self._is_master(sender, message):
            self._feed_streams(
                streams.UpdateAcknowledged(
                    FrameworkId(message.framework_id.value),
                    TaskId(message.task_id.value),
                    message.uuid,
                )
            )

    def _on_framework_message(
        self, sender: PID, message: internal.FrameworkToExecutorMessage
    ) -> None:
        # Schedulers send these straight to the agent, so they may come from anywhere.
        self._feed_executors(
            run.FrameworkSpoke(
                FrameworkId(message.framework_id.value),
                ExecutorId(message.executor_id.value),
                message.data,
            )
        )

    # From executors -----------------------------------------------------------------------------

    def _on_register_executor(self, sender: PID, message: internal.RegisterExecutorMessage) -> None:
        if not sender.port or sender == self.pid:
            raise InvalidInput("sender", f"must be an executor with an address, not {sender}")
        self._feed_executors(
            run.ExecutorCame(
                FrameworkId(message.framework_id.value),
                ExecutorId(message.executor_id.value),
                str(sender),
            )
        )

    def _on_reregister_executor(
        self, sender: PID, message: internal.ReregisterExecutorMessage
    ) -> None:
        executor_id = message.executor_id.value
        logger.warning("executor %s at %s belongs to an earlier run", executor_id, sender)
        self.send(sender, internal.ShutdownExecutorMessage())

    def _on_status_update(self, sender: PID, message: internal.StatusUpdateMessage) -> None:
        self._feed_executors(wire.report_from_pb(message, self._agent_id()))

    def _on_executor_message(
        self, sender: PID, message: internal.ExecutorToFrameworkMessage
    ) -> None:
        self._feed_executors(
            run.ExecutorSpoke(
                FrameworkId(message.framework_id.value),
                ExecutorId(message.executor_id.value),
                message.data,
            )
        )

    # Registration: orders of the core -----------------------------------------------------------

    def _feed_registration(self, event: reg.Event) -> None:
        for effect in self._registration.handle(event, self.clock.now_s()):
            self._perform_registration(effect)

    def _perform_registration(self, effect: reg.Effect) -> None:
        match effect:
            case reg.StartTimer():
                self._set_alarm(
                    effect.key, effect.delay_s, self._feed_registration, _timed_out(effect)
                )
            case reg.CancelTimer(key=key):
                self._cancel_alarm(key)
            case reg.LinkMaster(master=master, anew=anew):
                self.link(PID.parse(master), reconnect=anew)
            case reg.SendRegistration(master=master, agent_id=agent_id):
                self._send_registration(PID.parse(master), agent_id)
            case reg.SendUnregistration(master=master, agent_id=agent_id):
                self.send(PID.parse(master), wire.unregister_message(agent_id))
            case reg.BecameConnected(master=master, agent_id=agent_id):
                logger.info("registered with %s as %s", master, agent_id)
                operations = self._operations.unacknowledged
                update = wire.update_agent_message(self._description(), operations)
                self.send(PID.parse(master), update)
                self._feed_streams(streams.ForwardingResumed())
                self._feed_operations(ops.ForwardingResumed())
            case reg.BecameDisconnected(why=why):
                logger.warning("disconnected from the master: %s", why)
                self._feed_streams(streams.ForwardingPaused())
                self._feed_operations(ops.ForwardingPaused())
            case reg.ShutDown(why=why):
                logger.info("shutting down: %s", why)
                self.exit_status = 0
                self._feed_streams(streams.ForwardingPaused())
                self._feed_operations(ops.ForwardingPaused())
                self._feed_executors(run.AgentShutdownRequested())
            case reg.ExitAtOnce(why=why):
                logger.error("cannot go on: %s", why)
                self.terminate()
            case reg.Waiting(master=master, attempts=attempts, next_delay_s=next_s):
                logger.warning(
                    "no answer from master %s after %d attempts; asking again, then in %.1f s",
                    master,
                    attempts,
                    next_s,
                )
            case reg.Ignored(why=why):
                logger.warning("ignored a message: %s", why)

    def _send_registration(self, master: PID, agent_id: AgentId | None) -> None:
        if agent_id is None:
            self.send(master, wire.register_message(self._description()))
        else:
            contents = self._executors.contents()
            self.send(master, wire.reregister_message(self._description(), contents))

    async def _watch_master(self) -> None:
        """Tell the registration who leads, now and whenever that changes."""
        if killed := await self._launcher.destroy_orphans():
            logger.warning("killed %d processes that an earlier agent left here", killed)
        try:
            volumes = persistent_volumes(self._operations.total)
            await self._resource_files.restore_volumes(volumes)
        except OSError as error:
            logger.error("cannot restore volumes: %s", error)
            self.terminate()
            return
        await self._find_hostname()
        await self.dispatch(self.pid, self._feed_registration, reg.Recovered(None))
        leader: PID | None = None
        while True:
            try:
                leader = await self._detector.detect(leader)
            except InvalidInput as error:
                logger.warning("no master so far: %s; trying again", error)
                await self._pause(DETECTION_RETRY_S)
                continue
            master = None if leader is None else str(leader)
            logger.info("the leading master is %s", master or "unknown")
            await self.dispatch(self.pid, self._feed_registration, reg.MasterDetected(master))

    async def _find_hostname(self) -> None:
        """Find the name to publish: as given, else looked up, else the address."""
        if self._hostname:
            return
        self._hostname = self.pid.ip
        if self._config.hostname_lookup:
            try:
                name, _ = await asyncio.get_running_loop().getnameinfo((self.pid.ip, 0))
            except OSError as error:
                logger.warning("address %s has no name: %s", self.pid.ip, error)
            else:
                self._hostname = name

    # Executors: orders of the core --------------------------------------------------------------

    def _feed_executors(self, event: run.Event) -> None:
        for effect in self._executors.handle(event, self.clock.now_s()):
            self._perform_executors(effect)
        self._watch_drain()

    def _perform_executors(self, effect: run.Effect) -> None:
        match effect:
            case run.LaunchContainer():
                self._launch(effect)
            case run.UpdateContainer():
                _ = self.start_task(self._update_container(effect))
            case run.DestroyContainer(container_id=container_id):
                _ = self.start_task(self._launcher.destroy(container_id))
            case run.StartTimer(key=key, container_id=container_id, delay_s=delay_s):
                event = run.TimeElapsed(key, container_id)
                self._set_alarm((key, container_id), delay_s, self._feed_executors, event)
            case run.CancelTimer(key=key, container_id=container_id):
                self._cancel_alarm((key, container_id))
            case run.ConfirmExecutor(address=address, framework=framework, executor=executor):
                to = PID.parse(address)
                self.link(to)
                self.send(
                    to, wire.executor_registered_message(self._description(), framework, executor)
                )
            case run.DeliverTask():
                self._send_to(
                    effect.address,
                    wire.run_task_message(effect.framework, effect.framework_address, effect.task),
                )
            case run.DeliverKill():
                self._send_to(
                    effect.address,
                    wire.kill_task_message(
                        effect.framework_id, effect.task_id, effect.policy, effect.grace_s
                    ),
                )
            case run.DeliverShutdown(address=address):
                self._send_to(address, internal.ShutdownExecutorMessage())
            case run.DeliverToExecutor():
                self._send_to(
                    effect.address,
                    relayed.to_executor(
                        self._agent_id(), effect.framework_id, effect.executor_id, effect.data
                    ),
                )
            case run.DeliverToFramework():
                self._send_to(
                    effect.address or self._registration.master or "",
                    relayed.to_framework(
                        self._agent_id(), effect.framework_id, effect.executor_id, effect.data
                    ),
                )
            case MakeUpdate():
                self._make_update(effect)
            case run.PassUpdate():
                self._pass_update(effect)
            case run.ReportExit():
                self._send_to(
                    self._registration.master or "",
                    wire.exited_executor_message(
                        self._agent_id(),
                        effect.framework_id,
                        effect.executor_id,
                        effect.wait_status,
                    ),
                )
            case run.ExecutorRemoved(container_id=container_id):
                self._garbage.add(container_id, self.clock.now_s())
            case run.FrameworkRemoved(framework_id=framework_id, is_shut_down=is_shut_down):
                logger.info("framework %s runs nothing here any more", framework_id)
                if is_shut_down:
                    self._feed_streams(streams.FrameworkStreamsDropped(framework_id))
            case run.EverythingEnded():
                logger.info("all executors are gone; good-bye")
                self.terminate()
            case run.Ignored(why=why):
                logger.warning("ignored: %s", why)

    def _launch(self, order: run.LaunchContainer) -> None:
        address = AgentAddress(self._agent_id(), str(self.pid), str(self.pid.address))
        paths = self._launcher.plan(order, address)
        logger.info(
            "launching executor %s of framework %s in %s",
            order.executor.executor_id,
            order.framework.framework_id,
            paths.sandbox,
        )
        _ = self.dispatch(
            self._files.pid, self._files.attach, str(paths.sandbox), paths.virtual_paths()
        )
        _ = self.start_task(self._live(order, address))

    async def _live(self, order: run.LaunchContainer, address: AgentAddress) -> None:
        """See a container through its life; what happens comes back as events."""
        container_id = order.container_id
        try:
            os_pid = await self._launcher.launch(order, address)
        except LaunchFailed as error:
            logger.warning("executor %s: %s", order.executor.executor_id, error)
            self._launcher.forget(container_id)
            await self._report(run.ContainerLaunchFailed(container_id, str(error)))
            return
        await self._report(run.ContainerStarted(container_id, os_pid))
        end = await self._launcher.wait(container_id)
        await self._report(run.ContainerEnded(container_id, end.wait_status, end.message))

    async def _update_container(self, order: run.UpdateContainer) -> None:
        container_id = order.container_id
        try:
            await self._launcher.update(order)
        except LaunchFailed as error:
            logger.warning("container %s: %s", container_id, error)
            await self._report(run.ContainerUpdateFailed(container_id, str(error)))
        else:
            await self._report(run.ContainerUpdated(container_id))

    async def _report(self, event: run.Event) -> None:
        await self.dispatch(self.pid, self._feed_executors, event)

    def _send_to(self, address: str, message: Message) -> None:
        """Send to whoever an address names; nobody, or not an address: dropped with a word."""
        try:
            to = PID.parse(address)
        except InvalidPID as error:
            logger.warning("cannot send %s: %s", message.DESCRIPTOR.name, error)
        else:
            self.send(to, message)

    # Status updates: orders of the core ---------------------------------------------------------

    def _make_update(self, order: MakeUpdate) -> None:
        logger.info(
            "task %s of framework %s: %s, %s",
            order.task_id,
            order.framework_id,
            order.state.name,
            order.message,
        )
        payload = wire.made_update(
            order,
            agent_id=self._agent_id(),
            uuid=self._new_uuid().bytes,
            now_s=self.clock.now_s(),
        )
        self._accept_update(
            streams.Update(
                order.framework_id,
                order.task_id,
                payload.uuid,
                order.state,
                "",
                order.is_checkpointed,
                payload,
            ),
            payload.status,
        )

    def _pass_update(self, effect: run.PassUpdate) -> None:
        report: ExecutorReported = effect.report
        payload = wire.completed_update(
            report,
            agent_id=self._agent_id(),
            executor_id=effect.executor_id,
            container_id=effect.container_id,
            os_pid=effect.os_pid,
            ip=self.pid.ip,
            state=effect.state,
            reason=effect.reason,
        )
        self._accept_update(
            streams.Update(
                report.framework_id,
                report.task_id,
                payload.uuid,
                effect.state,
                report.address,
                effect.is_checkpointed,
                payload,
            ),
            payload.status,
        )

    def _accept_update(self, update: streams.Update, status: mesos.TaskStatus) -> None:
        self._feed_executors(
            run.StatusNoted(update.framework_id, update.task_id, update.state, status)
        )
        self._feed_streams(streams.UpdateReceived(update))

    def _feed_streams(self, event: streams.Event) -> None:
        for effect in self._streams.handle(event, self.clock.now_s()):
            self._perform_streams(effect)

    def _perform_streams(self, effect: streams.Effect) -> None:
        match effect:
            case streams.Checkpoint(then=then):
                # Nothing outlives the agent yet, so there is no log to write to.
                for allowed in then:
                    self._perform_streams(allowed)
            case streams.AcknowledgeExecutor(update=update):
                self._send_to(
                    update.acknowledge_to,
                    relayed.acknowledgement(
                        self._agent_id(), update.framework_id, update.task_id, update.uuid
                    ),
                )
            case streams.ForwardUpdate(update=update, latest_state=latest_state):
                payload = wire.status_update(update.payload)
                message = wire.forwarded_update(payload, latest_state, str(self.pid))
                self._send_to(self._registration.master or "", message)
                self._feed_executors(
                    run.StatusForwarded(
                        update.framework_id, update.task_id, update.state, update.uuid
                    )
                )
            case streams.StartRetry():
                self._set_alarm(
                    ("retry", effect.framework_id, effect.task_id),
                    effect.delay_s,
                    self._feed_streams,
                    streams.RetryElapsed(effect.framework_id, effect.task_id, effect.generation),
                )
            case streams.CancelRetry(framework_id=framework_id, task_id=task_id):
                self._cancel_alarm(("retry", framework_id, task_id))
            case streams.UpdateSettled(update=update):
                self._feed_executors(
                    run.StatusSettled(update.framework_id, update.task_id, update.state)
                )
            case streams.Ignored(framework_id=framework_id, task_id=task_id, why=why):
                logger.warning("task %s of framework %s: %s", task_id, framework_id, why)

    # Operations: orders of the core -------------------------------------------------------------

    def _feed_operations(self, event: ops.Event) -> None:
        for effect in self._operations.handle(event, self.clock.now_s()):
            self._perform_operations(effect)
        self._watch_drain()

    def _perform_operations(self, effect: ops.Effect) -> None:
        match effect:
            case ops.Checkpoint():
                _ = self.start_task(self._checkpoint(effect))
            case ops.SendStatus(record=record):
                self._send_to(
                    self._registration.master or "",
                    operation_status_message(self._agent_id(), record),
                )
            case ops.StartRetry():
                self._set_alarm(
                    ("operation", effect.uuid),
                    effect.delay_s,
                    self._feed_operations,
                    ops.RetryElapsed(effect.uuid, effect.generation),
                )
            case ops.CancelRetry(uuid=operation_uuid):
                self._cancel_alarm(("operation", operation_uuid))
            case ops.Ignored(why=why):
                logger.warning("ignored: %s", why)

    async def _checkpoint(self, order: ops.Checkpoint) -> None:
        """Write down what the agent has. One that cannot must not go on promising resources."""
        try:
            await self._resource_files.save(order.state, self._agent_id())
        except OSError as error:
            logger.error("cannot write down the resources of this agent, so it ends: %s", error)
            self.terminate()
            return
        if order.then is not None:
            await self.dispatch(self.pid, self._feed_operations, order.then)

    # Draining -----------------------------------------------------------------------------------

    def _watch_drain(self) -> None:
        """Tell the executors' core when a drain is over; what that takes is spread over two."""
        is_idle = not (self._executors.frameworks() or self._operations.unacknowledged)
        if self._executors.drain is not None and is_idle:
            logger.info("drained: nothing is left here")
            self._feed_executors(run.DrainEnded())

    # Sandboxes ----------------------------------------------------------------------------------

    def _collect_garbage(self) -> None:
        config = self._config
        allowed_s = age_allowed_s(
            config.gc_delay_s, config.gc_disk_headroom, self._launcher.disk_used()
        )
        for container_id in self._garbage.take_due(self.clock.now_s(), allowed_s):
            paths = self._launcher.sandbox(ContainerId(container_id))
            if paths is not None:
                _ = self.dispatch(self._files.pid, self._files.detach, str(paths.sandbox))
            _ = self.start_task(self._launcher.delete_sandbox(ContainerId(container_id)))
        self._watch_garbage()

    def _watch_garbage(self) -> None:
        interval_s = max(self._config.disk_watch_interval_s, DISK_WATCH_INTERVAL_S_MIN)
        self._set_alarm("garbage", interval_s, self._collect_garbage)

    # HTTP ---------------------------------------------------------------------------------------

    async def _on_health(self, request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def _on_version(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(version_json())

    async def _on_state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            agent_state_json(
                self._description(),
                pid=str(self.pid),
                start_time_s=self._start_time_s,
                flags=_flag_texts(self._config),
                total=self._operations.total,
                drain=self._executors.drain,
                frameworks=self._executors.frameworks(),
                completed=self._executors.completed_frameworks(),
                directories=self._launcher.directories(),
            )
        )

    # Small things -------------------------------------------------------------------------------

    def _description(self) -> wire.AgentDescription:
        return wire.AgentDescription(
            agent_id=self._registration.agent_id,
            hostname=self._hostname,
            port=self.pid.port,
            resources=self._resources,
            attributes=self._attributes,
            domain=self._domain,
            version=VERSION,
            resource_version=self._resource_version,
            checkpointed=self._operations.checkpointed,
        )

    def _agent_id(self) -> AgentId:
        """Return the id of this agent.

        Raises:
            InvalidInput: somebody sent what only a registered agent can serve.
        """
        if self._registration.agent_id is None:
            raise InvalidInput("slave_id", "this agent is not registered yet")
        return self._registration.agent_id

    def _new_uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._ids.getrandbits(128), version=4)

    def _set_alarm(
        self, key: Hashable, delay_s: float, fn: Callable[..., None], *args: object
    ) -> None:
        """Run `fn` after a while; replaces the alarm of the same key."""
        self._cancel_alarm(key)
        self._alarms[key] = self.delay(delay_s, self._ring, key, fn, args)

    def _ring(self, key: Hashable, fn: Callable[..., None], args: tuple[object, ...]) -> None:
        self._alarms.pop(key, None)
        fn(*args)

    def _cancel_alarm(self, key: Hashable) -> None:
        if (timer := self._alarms.pop(key, None)) is not None:
            timer.cancel()

    async def _pause(self, delay_s: float) -> None:
        over = asyncio.Event()
        self.delay(delay_s, over.set)
        await over.wait()


def _registered(
    sender: PID,
    message: internal.SlaveRegisteredMessage | internal.SlaveReregisteredMessage,
    *,
    is_reregistration: bool,
) -> reg.Registered:
    timeout_s: float | None = None
    if message.connection.HasField("total_ping_timeout_seconds"):
        timeout_s = message.connection.total_ping_timeout_seconds
        if not timeout_s > 0.0:  # nor is NaN
            field = "connection.total_ping_timeout_seconds"
            raise InvalidInput(field, f"must be positive, not {timeout_s}")
    agent_id = AgentId(check_id(message.slave_id.value, "slave_id"))
    return reg.Registered(str(sender), agent_id, timeout_s, is_reregistration)


def _timed_out(timer: reg.StartTimer) -> reg.Event:
    match timer.key:
        case reg.TimerKey.BACKOFF:
            return reg.BackoffElapsed(timer.generation)
        case reg.TimerKey.PING:
            return reg.PingTimedOut(timer.generation)


def _domain(value: object) -> mesos.DomainInfo | None:
    """Read ``--domain``.

    Raises:
        InvalidInput: not the JSON form of a domain.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidInput("--domain", "must be a JSON object")
    domain = mesos.DomainInfo()
    try:
        json_format.ParseDict(value, domain)
    except json_format.ParseError as error:
        raise InvalidInput("--domain", str(error).partition("\n")[0]) from error
    return domain


def _flag_texts(config: AgentConfig) -> dict[str, str]:
    """Write down every flag that has a value."""
    return {
        one.name: one.kind.format(value)
        for field, one in flags_module.flags_of(AgentConfig).items()
        if (value := getattr(config, field)) is not None
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run an agent as the command line says; returns the exit status."""
    return run_daemon("agent", AgentConfig, Agent, argv, on_sigusr1=_leave)


def _leave(process: Process) -> None:
    if isinstance(process, Agent):
        process.leave()


__all__ = ["COMMAND_EXECUTOR", "PROCESS_ID", "Agent", "main"]

if __name__ == "__main__":
    # Imported under its own name, so that its logger is one of those that the daemon shows.
    from cluster.agent import main as run_agent

    sys.exit(run_agent())
