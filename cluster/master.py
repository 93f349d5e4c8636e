"""The master as an actor: messages in, decisions by ``MasterCore``, messages out.

This file is an overview: which messages are served, what each becomes, how each effect is carried
out. Policy is in ``cluster.core.master``, rules for input in ``cluster.validation``, the look of
messages in ``cluster.wire``.
"""

import asyncio
import gc
import logging
import socket
import sys
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar, assert_never

from aiohttp import web
from google.protobuf.message import Message

from actorproc import PID, Process, Timer
from actorproc.metrics import MetricsEndpoint
from cluster import VERSION
from cluster.agent_observer import AgentObserver
from cluster.complaints import Complaints
from cluster.core.master.core import MasterCore
from cluster.core.master.effects import (
    AnswerOperator,
    CancelTimer,
    EndMaster,
    Forward,
    Link,
    MasterEffect,
    RequestAllocationRun,
    SendAcknowledgement,
    SendAgentLost,
    SendAgentRegistered,
    SendAgentReregistered,
    SendAgentShutdown,
    SendApplyOperation,
    SendCheckpointResources,
    SendDrain,
    SendFrameworkError,
    SendInverseOffers,
    SendKillTask,
    SendOffers,
    SendOperationAcknowledgement,
    SendOperationStatus,
    SendReconcileOperations,
    SendRegistered,
    SendReport,
    SendRescind,
    SendRescindInverse,
    SendRunTask,
    SendRunTaskGroup,
    SendShutdownExecutor,
    SendShutdownFramework,
    SendToExecutor,
    SendUpdateFramework,
    StartObserver,
    StartTimer,
    StopObserver,
    TellObserver,
    TimerKey,
    Warn,
    WriteRegistry,
)
from cluster.core.master.events import (
    AgentAnswered,
    AgentPingsMissed,
    AgentUpdateReceived,
    AllocationDue,
    AllocationIntervalElapsed,
    CallReceived,
    ExecutorExited,
    ExecutorMessageReceived,
    MasterEvent,
    OperationStatusReceived,
    OperatorCallReceived,
    PeerLost,
    RegistrationReceived,
    RegistryRecovered,
    RegistryWritten,
    ReregistrationReceived,
    StatusUpdateReceived,
    SubscribeReceived,
    SubscribeRefused,
    UnregistrationReceived,
    WhitelistRead,
)
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.rate_limits import (
    LinkBroken,
    MessageArrived,
    MessageThrottle,
    Pass,
    PermitDue,
    Refuse,
    ThrottleEvent,
    WaitForPermit,
)
from cluster.daemon import EXIT_FAILED, listening_ip, run_daemon
from cluster.errors import InvalidInput, InvariantBroken
from cluster.master_flags import MasterConfig
from cluster.master_metrics import (
    MasterMetrics,
    MessageCounts,
    RegistrarGauges,
    Values,
    gather,
)
from cluster.master_options import (
    allocator_factory,
    allocator_options,
    master_options,
    parse_whitelist,
    rate_limits,
    regex_limits,
)
from cluster.master_summary import StateSummary, state_counts, state_summary
from cluster.model.calls import (
    Accept,
    Acknowledge,
    Call,
    Deactivate,
    Launch,
    MessageExecutor,
    Reconcile,
    Revive,
    Teardown,
)
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, MasterId, TaskId
from cluster.model.operations import provider_of
from cluster.model.operator_calls import OperatorCall
from cluster.model.peers import PeerId
from cluster.registrar import Registrar
from cluster.state import InMemoryStorage, SqliteStorage, Storage
from cluster.validation import calls
from cluster.validation.agent import read_registration, read_reregistration
from cluster.web.explanation import explain_json
from cluster.wire import master as wire
from cluster.wire import master_intake as intake
from cluster.wire import operations, relayed
from cluster.wire.pb import authentication_pb2 as authentication
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import registry_pb2
from cluster.wire.pb import scheduler_pb2 as scheduler

PROCESS_ID = "master"
PEERS_CACHED_MAX = 65_536
REGISTRY_FILE = "registry.sqlite"
WHITELIST_INTERVAL_S = 5.0
EVERYBODY = "*"
UNAVAILABLE = 503
GARBAGE_THRESHOLDS = (20_000, 20, 100)
"""New objects before the youngest are looked through, and how often before older ones are."""

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


class Master(Process):
    """The leading master.

    Args:
        config: its flags.
        master_id: prefix of all ids it gives; a random UUID by default.
        hostname: how it is published; by default the flag's, else the address it listens on.
        storage: where the registry is kept; by default in memory.

    Messages that arrive before the registry has been read are dropped and counted
    like those that a rate limit refuses (``dropped_messages``); their senders repeat them.
    """

    def __init__(
        self,
        config: MasterConfig,
        *,
        master_id: str | None = None,
        hostname: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(PROCESS_ID)
        self._config = config
        self._master_id = MasterId(master_id or str(uuid.uuid4()))
        self._hostname = hostname or config.hostname
        self._registrar = Registrar(
            storage or InMemoryStorage(),
            fetch_timeout_s=config.registry_fetch_timeout_s,
            store_timeout_s=config.registry_store_timeout_s,
        )
        self._is_recovered = False
        self.exit_status = EXIT_FAILED
        self._options = master_options(config)
        self._allocator_options = allocator_options(config)
        self._new_allocator = allocator_factory(config)
        self._regex_limits = regex_limits(config)
        limits = rate_limits(config)
        self._throttle: MessageThrottle[Callable[[], None]] | None = (
            None if limits is None else MessageThrottle(limits)
        )
        self._complaints = Complaints()
        self._counts = MessageCounts()
        self._named_timers: dict[TimerKey, tuple[int, Timer]] = {}
        self._timers_started = 0
        self._observers: dict[AgentId, AgentObserver] = {}
        self._observers_made = 0
        self._operator_requests: dict[int, asyncio.Future[AnswerOperator]] = {}
        self._operator_requests_made = 0

    @property
    def core(self) -> MasterCore:
        """The books, for endpoints and tests; valid once spawned."""
        return self._core

    @property
    def dropped_messages(self) -> int:
        """How many messages nobody looked at."""
        return self._counts.dropped

    @property
    def is_serving(self) -> bool:
        """Whether it has read the registry; before, messages are dropped."""
        return self._is_recovered

    # Table of contents ---------------------------------------------------------------------------

    def initialize(self) -> None:
        self._become_leader()
        self._metrics_pid = self.runtime.spawn(MetricsEndpoint(self._metrics))
        self._install_scheduler_messages()
        self._install_legacy_scheduler_messages()
        self._install_agent_messages()
        self.route("/health", self._serve_health, help="200 when the master is up")
        self.route("/version", self._serve_version, help="the version as JSON")
        self.route("/state", self._serve_state, help="frameworks, agents and task counts as JSON")
        self.route("/counts", self._serve_counts, help="how many agents there are, as JSON")
        self.route("/explain", self._serve_explanation, help="why who is offered what, as JSON")

    def _install_scheduler_messages(self) -> None:
        self._serve(scheduler.Call, self._on_call)
        self._serve(internal.DeactivateFrameworkMessage, self._on_deactivate_framework)
        self._serve(internal.SubmitSchedulerRequest, self._on_submit_scheduler)
        self._serve(authentication.AuthenticateMessage, self._on_authenticate)

    def _serve(self, message_type: type[M], handler: Callable[[PID, M], None]) -> None:
        """Serve a message of schedulers, as fast as the rate limit of its sender allows."""
        self.install(message_type, partial(self._admit, handler))

    def _install_legacy_scheduler_messages(self) -> None:
        self._serve(internal.RegisterFrameworkMessage, self._on_register_framework)
        self._serve(internal.ReregisterFrameworkMessage, self._on_reregister_framework)
        self._serve(internal.UnregisterFrameworkMessage, self._on_unregister_framework)
        self._serve(internal.ResourceRequestMessage, self._on_resource_request)
        self._serve(internal.LaunchTasksMessage, self._on_launch_tasks)
        self._serve(internal.ReviveOffersMessage, self._on_revive_offers)
        self._serve(internal.KillTaskMessage, self._on_kill_task)
        self._serve(internal.StatusUpdateAcknowledgementMessage, self._on_acknowledgement)
        self._serve(internal.ReconcileTasksMessage, self._on_reconcile_tasks)
        self._serve(internal.FrameworkToExecutorMessage, self._on_framework_message)

    def _install_agent_messages(self) -> None:
        self._serve_agent(internal.RegisterSlaveMessage, self._on_register_agent)
        self._serve_agent(internal.ReregisterSlaveMessage, self._on_reregister_agent)
        self._serve_agent(internal.UnregisterSlaveMessage, self._on_unregister_agent)
        self._serve_agent(internal.UpdateSlaveMessage, self._on_update_agent)
        self._serve_agent(internal.StatusUpdateMessage, self._on_status_update)
        self._serve_agent(internal.ExitedExecutorMessage, self._on_exited_executor)
        self._serve_agent(internal.ExecutorToFrameworkMessage, self._on_executor_message)
        self._serve_agent(internal.UpdateOperationStatusMessage, self._on_operation_status)

    def _serve_agent(self, message_type: type[M], handler: Callable[[PID, M], None]) -> None:
        self.install(message_type, partial(self._count_and_handle, handler))

    def _count_and_handle(self, handler: Callable[[PID, M], None], sender: PID, message: M) -> None:
        self._counts.count(message)
        handler(sender, message)

    def _become_leader(self) -> None:
        """A single master leads from its start; it serves once it has read the registry."""
        self._metrics = MasterMetrics(self.clock, self._gather_metrics)
        address = self.pid.address
        allocator = self._new_allocator(self._allocator_options, self.runtime.rng("allocator"))
        self._core = MasterCore(
            self._master_id, self._options, allocator, self.runtime.rng("operations")
        )
        self._started_s = self.clock.now_s()
        self._info = wire.master_info(
            self._master_id,
            address.ip,
            address.port,
            pid=str(self.pid),
            hostname=self._hostname or address.ip,
            version=VERSION,
            domain=self._options.domain,
        )
        logger.info("master %s leads at %s", self._master_id, self.pid)
        self._registrar.start(
            self,
            self._info,
            recovered=partial(self._later, self._on_recovered),
            failed=self._end,
            timing=self._metrics.timing_registry,
        )

    def _on_recovered(self, registry: registry_pb2.Registry) -> None:
        self._is_recovered = True
        self._feed(RegistryRecovered(registry))
        self.delay(self._config.allocation_interval_s, self._on_interval)
        if self._config.whitelist is not None and self._config.whitelist != EVERYBODY:
            self._feed(WhitelistRead(frozenset()))  # nobody, until the file has been read
            self._watch_whitelist(self._config.whitelist)
        logger.info(
            "registry read: %d agents, %d unreachable, %d gone",
            len(registry.slaves.slaves),
            len(registry.unreachable.slaves),
            len(registry.gone.slaves),
        )

    def _end(self, text: str) -> None:
        """The master cannot go on; whoever supervises it starts another one."""
        logger.critical("the master ends: %s", text)
        self.terminate()

    # Rate limits of schedulers -------------------------------------------------------------------

    def _admit(self, handler: Callable[[PID, M], None], sender: PID, message: M) -> None:
        """Handle the message now or later; messages of strangers are not limited."""
        self._counts.count(message)
        framework = self._framework_at(sender)
        principal = None if framework is None else framework.spec.principal
        if principal is not None:
            self._counts.received[principal] += 1
        if self._throttle is None or framework is None:
            return self._process(principal, handler, sender, message)
        name = message.DESCRIPTOR.full_name
        work: Callable[[], None] = partial(self._process, principal, handler, sender, message)
        return self._limit(MessageArrived(PeerId(str(sender)), principal, name, work))

    def _process(
        self,
        principal: str | None,
        handler: Callable[[PID, M], None],
        sender: PID,
        message: M,
    ) -> None:
        if principal is not None:
            self._counts.processed[principal] += 1
        handler(sender, message)

    def _limit(self, event: ThrottleEvent[Callable[[], None]]) -> None:
        assert self._throttle is not None
        for effect in self._throttle.handle(event, self.clock.now_s()):
            match effect:
                case Pass(work):
                    work()
                case Refuse(peer, text):
                    self._counts.dropped += 1
                    self._complain("rate limit", f"{peer}: {text}")
                    self._send(peer, wire.framework_error(text))
                case WaitForPermit(queue, delay_s):
                    self.delay(delay_s, self._limit, PermitDue(queue))
                case _:
                    assert_never(effect)

    def _framework_at(self, pid: PID) -> FrameworkRecord | None:
        return self._core.state.frameworks.at_peer(PeerId(str(pid)))

    # Messages of schedulers ----------------------------------------------------------------------

    def _on_call(self, sender: PID, call: scheduler.Call) -> None:
        if call.type == scheduler.Call.SUBSCRIBE:
            self._subscribe(sender, call.subscribe, call.framework_id.value)
        elif not call.framework_id.value:
            self._complain("call without framework id", f"a call of {sender} names no framework")
        else:
            self._call(sender, call.framework_id, calls.read_call(call, self._regex_limits))

    def _subscribe(
        self, sender: PID, subscribe: scheduler.Call.Subscribe, framework_id: str = ""
    ) -> None:
        match calls.read_subscribe(subscribe, framework_id, self._regex_limits):
            case str(error):
                self._tell(sender, SubscribeRefused, error)
            case value:
                self._tell(sender, SubscribeReceived, value)

    def _call(self, sender: PID, framework_id: mesos.FrameworkID, call: Call | str) -> None:
        if isinstance(call, str):
            self._complain("malformed call", f"call of framework {framework_id.value}: {call}")
            return
        name = FrameworkId(framework_id.value)
        self._tell(sender, CallReceived, name, call)

    def _on_deactivate_framework(
        self, sender: PID, message: internal.DeactivateFrameworkMessage
    ) -> None:
        self._call(sender, message.framework_id, Deactivate())

    def _on_submit_scheduler(self, sender: PID, message: internal.SubmitSchedulerRequest) -> None:
        if not self._is_recovered:
            self._counts.dropped += 1
            return
        self.send(sender, internal.SubmitSchedulerResponse(okay=False))

    def _on_authenticate(self, sender: PID, message: authentication.AuthenticateMessage) -> None:
        """Nobody needs to authenticate; a peer that wants to learns that it cannot."""
        if not self._is_recovered:
            self._counts.dropped += 1
            return
        error = "this master has no authenticator"
        self._complain("authentication", f"{sender} wants to authenticate, but {error}")
        self.send(sender, authentication.AuthenticationErrorMessage(error=error))

    # Legacy messages of schedulers ---------------------------------------------------------------

    def _on_register_framework(
        self, sender: PID, message: internal.RegisterFrameworkMessage
    ) -> None:
        if message.framework.id.value:
            error = "framework.id: must not be set in a first registration"
            self._tell(sender, SubscribeRefused, error)
        else:
            self._subscribe(sender, scheduler.Call.Subscribe(framework_info=message.framework))

    def _on_reregister_framework(
        self, sender: PID, message: internal.ReregisterFrameworkMessage
    ) -> None:
        if not message.framework.id.value:
            error = "framework.id: must be set in a re-registration"
            self._tell(sender, SubscribeRefused, error)
        else:
            self._subscribe(
                sender,
                scheduler.Call.Subscribe(framework_info=message.framework, force=message.failover),
            )

    def _on_unregister_framework(
        self, sender: PID, message: internal.UnregisterFrameworkMessage
    ) -> None:
        self._call(sender, message.framework_id, Teardown())

    def _on_resource_request(self, sender: PID, message: internal.ResourceRequestMessage) -> None:
        self._call(sender, message.framework_id, calls.read_request(message.requests))

    def _on_launch_tasks(self, sender: PID, message: internal.LaunchTasksMessage) -> None:
        tasks = tuple(calls.read_task(info) for info in message.tasks)
        accept = Accept(
            calls.offer_ids(message.offer_ids),
            (Launch(tasks),) if tasks else (),
            message.filters.refuse_seconds,
        )
        self._call(sender, message.framework_id, accept)

    def _on_revive_offers(self, sender: PID, message: internal.ReviveOffersMessage) -> None:
        self._call(sender, message.framework_id, Revive(tuple(message.roles)))

    def _on_kill_task(self, sender: PID, message: internal.KillTaskMessage) -> None:
        kill = scheduler.Call.Kill(task_id=message.task_id)
        if message.HasField("kill_policy"):
            kill.kill_policy.CopyFrom(message.kill_policy)
        self._call(sender, message.framework_id, calls.read_kill(kill))

    def _on_acknowledgement(
        self, sender: PID, message: internal.StatusUpdateAcknowledgementMessage
    ) -> None:
        acknowledge = Acknowledge(
            AgentId(message.slave_id.value), TaskId(message.task_id.value), message.uuid
        )
        self._call(sender, message.framework_id, acknowledge)

    def _on_reconcile_tasks(self, sender: PID, message: internal.ReconcileTasksMessage) -> None:
        tasks = tuple(
            (
                TaskId(status.task_id.value),
                AgentId(status.slave_id.value) if status.slave_id.value else None,
            )
            for status in message.statuses
        )
        self._call(sender, message.framework_id, Reconcile(tasks))

    def _on_framework_message(
        self, sender: PID, message: internal.FrameworkToExecutorMessage
    ) -> None:
        call = MessageExecutor(
            AgentId(message.slave_id.value), ExecutorId(message.executor_id.value), message.data
        )
        self._call(sender, message.framework_id, call)

    # Messages of agents --------------------------------------------------------------------------

    def _on_register_agent(self, sender: PID, message: internal.RegisterSlaveMessage) -> None:
        match read_registration(message, sender.ip):
            case str(error):
                self._complain(f"registration of {sender}", f"agent {sender} ignored: {error}")
            case spec:
                self._tell(sender, RegistrationReceived, spec)

    def _on_reregister_agent(self, sender: PID, message: internal.ReregisterSlaveMessage) -> None:
        match read_reregistration(message, sender.ip):
            case str(error):
                self._complain(f"registration of {sender}", f"agent {sender} ignored: {error}")
            case report:
                self._tell(sender, ReregistrationReceived, report)

    def _on_unregister_agent(self, sender: PID, message: internal.UnregisterSlaveMessage) -> None:
        agent_id = AgentId(message.slave_id.value)
        self._tell(sender, UnregistrationReceived, agent_id)

    def _on_update_agent(self, sender: PID, message: internal.UpdateSlaveMessage) -> None:
        agent_id = AgentId(message.slave_id.value)
        try:
            news = intake.agent_update(message)
        except InvalidInput as error:
            return self._complain("agent update", f"update of agent {agent_id} ignored: {error}")
        return self._tell(sender, AgentUpdateReceived, agent_id, news)

    def _on_status_update(self, sender: PID, message: internal.StatusUpdateMessage) -> None:
        update = intake.status_update(message)
        self._tell(sender, StatusUpdateReceived, update)

    def _on_exited_executor(self, sender: PID, message: internal.ExitedExecutorMessage) -> None:
        self._tell(
            sender,
            ExecutorExited,
            AgentId(message.slave_id.value),
            FrameworkId(message.framework_id.value),
            ExecutorId(message.executor_id.value),
            message,
        )

    def _on_executor_message(
        self, sender: PID, message: internal.ExecutorToFrameworkMessage
    ) -> None:
        self._tell(
            sender,
            ExecutorMessageReceived,
            AgentId(message.slave_id.value),
            FrameworkId(message.framework_id.value),
            message,
        )

    def _on_operation_status(
        self, sender: PID, message: internal.UpdateOperationStatusMessage
    ) -> None:
        try:
            update = operations.read_update(message)
        except InvalidInput as error:
            return self._complain(
                "operation status", f"operation status from {sender} ignored: {error}"
            )
        return self._tell(sender, OperationStatusReceived, update)

    # Surroundings --------------------------------------------------------------------------------

    def exited(self, pid: PID) -> None:
        peer = PeerId(str(pid))
        work = partial(self._feed, PeerLost(peer))
        if self._throttle is None or (framework := self._framework_at(pid)) is None:
            work()
        else:
            self._limit(LinkBroken(peer, framework.spec.principal, work))

    def _on_interval(self) -> None:
        self.delay(self._config.allocation_interval_s, self._on_interval)
        self._feed(AllocationIntervalElapsed())

    def _on_timer(self, key: TimerKey, number: int, event: MasterEvent) -> None:
        """Ignore a timer that was cancelled or replaced while its end waited in the mailbox."""
        running, _ = self._named_timers.get(key, (None, None))
        if running == number:
            del self._named_timers[key]
            self._feed(event)

    def _on_pings_missed(self, agent_id: AgentId, observer: PID) -> None:
        """Ignore an observer that was replaced meanwhile."""
        if self._is_current(agent_id, observer):
            self._feed(AgentPingsMissed(agent_id))

    def _on_answered(self, agent_id: AgentId, observer: PID) -> None:
        if self._is_current(agent_id, observer):
            self._feed(AgentAnswered(agent_id))

    def _is_current(self, agent_id: AgentId, observer: PID) -> bool:
        current = self._observers.get(agent_id)
        return current is not None and current.pid == observer

    def _watch_whitelist(self, path: str) -> None:
        """Read the file again and again; while it cannot be read, what it said last stays."""
        reading = self.start_task(self._read_whitelist(path))
        del reading  # it feeds what it has read
        self.delay(WHITELIST_INTERVAL_S, self._watch_whitelist, path)

    async def _read_whitelist(self, path: str) -> None:
        try:
            text = await asyncio.to_thread(Path(path).read_text)
        except (OSError, ValueError) as error:
            return self._complain("whitelist", f"--whitelist: {path} cannot be read: {error}")
        hostnames = parse_whitelist(text)
        return self._later(self._feed, WhitelistRead(hostnames))

    def _allocate(self) -> None:
        """One run; its time includes making the offers."""
        self._metrics.allocation_latency.stop()
        with self._metrics.allocation_run.timing():
            self._feed(AllocationDue())

    async def operate(self, call: OperatorCall, principal: str | None = None) -> AnswerOperator:
        """Carry out an operator's call; returns when it is done or refused."""
        if not self._is_recovered:
            return AnswerOperator(0, UNAVAILABLE, "the master has not read its registry yet")
        self._operator_requests_made += 1
        request = self._operator_requests_made
        future: asyncio.Future[AnswerOperator] = asyncio.get_running_loop().create_future()
        self._operator_requests[request] = future
        self._or_end(self._feed, OperatorCallReceived(request, call, principal))
        return await future

    # Feeding the core ----------------------------------------------------------------------------

    def _tell(self, sender: PID, event: Callable[..., MasterEvent], *facts: object) -> None:
        """Feed ``event(peer, *facts)``, unless the peer cannot be answered."""
        if not sender or sender == self.pid:
            self._counts.dropped += 1
            return self._complain("no sender", f"message from {sender} dropped: no such peer")
        if not self._is_recovered:
            self._counts.dropped += 1
            return None
        return self._feed(event(PeerId(str(sender)), *facts))

    def _feed(self, event: MasterEvent) -> None:
        for effect in self._core.handle(event, self.clock.now_s()):
            self._perform(effect)

    def _later(self, fn: Callable[..., None], *args: object) -> None:
        """Run in this actor behind everything that waits in its mailbox."""
        future = self.dispatch(self.pid, partial(self._or_end, fn, *args))
        del future  # _or_end lets nothing escape into it

    def _or_end(self, fn: Callable[..., None], *args: object) -> None:
        """An exception ends the master, as in any other handler."""
        try:
            fn(*args)
        except Exception:
            logger.exception("master cannot go on")
            self.terminate()

    def _complain(self, subject: str, text: str) -> None:
        held_back = self._complaints.admit(subject, self.clock.now_s())
        if held_back is not None:
            logger.warning(
                "%s%s", text, f" (and {held_back} more like it before)" if held_back else ""
            )

    # Carrying out effects ------------------------------------------------------------------------

    def _perform(self, effect: MasterEffect) -> None:
        match effect:
            case Forward(peer, payload):
                self.send(_pid(peer), payload)  # type: ignore[arg-type] # a message of a peer
            case SendAcknowledgement(peer, agent_id, framework_id, task_id, uid):
                self._send(peer, relayed.acknowledgement(agent_id, framework_id, task_id, uid))
            case SendRunTask():
                self._send(effect.peer, _run_task(effect))
            case SendRunTaskGroup():
                self._send(effect.peer, _run_task_group(effect))
            case SendOffers():
                self._send(effect.peer, _offers(effect))
            case SendReport(peer, report, at_s):
                self._send(peer, wire.status_report(report, at_s))
            case SendRescind(peer, offer_id):
                self._send(peer, wire.rescind(offer_id))
            case SendInverseOffers(peer, drafts):
                inverse = [(each.offer, each.agent, each.agent_peer) for each in drafts]
                self._send(peer, wire.inverse_offers(inverse))
            case SendRescindInverse(peer, offer_id):
                self._send(peer, wire.rescind_inverse_offer(offer_id))
            case SendRegistered(peer, framework_id, again):
                logger.info("framework %s subscribed from %s", framework_id, peer)
                self._send(peer, wire.registered(framework_id, self._info, again=again))
            case SendFrameworkError(peer, message):
                logger.info("telling scheduler %s: %s", peer, message)
                self._send(peer, wire.framework_error(message))
            case SendAgentLost(peer, agent_id):
                self._send(peer, wire.agent_lost(agent_id))
            case SendAgentRegistered(peer, agent_id):
                logger.info("agent %s registered from %s", agent_id, peer)
                self._send(peer, wire.agent_registered(agent_id, self._total_ping_timeout_s))
            case SendAgentReregistered():
                self._send_agent_reregistered(effect)
            case SendAgentShutdown(peer, message):
                logger.warning("shutting down agent at %s: %s", peer, message)
                self._send(peer, wire.agent_shutdown(message))
            case SendKillTask(peer, framework_id, task_id, policy):
                self._send(peer, wire.kill_task(framework_id, task_id, policy))
            case SendApplyOperation():
                self._send(effect.peer, _apply_operation(effect))
            case SendCheckpointResources(peer, resources):
                self._send(peer, operations.checkpoint_resources(resources))
            case SendOperationAcknowledgement(peer, operation_uuid, status_uuid, provider_id):
                self._send(peer, operations.acknowledge(operation_uuid, status_uuid, provider_id))
            case SendReconcileOperations(peer, framework_id_or_none, questions):
                asked = [(q.uuid, q.operation_id, q.provider_id) for q in questions]
                self._send(peer, operations.reconcile_operations(framework_id_or_none, asked))
            case SendOperationStatus(peer):
                # Only schedulers with an HTTP stream have feedback, and there are none yet.
                raise InvariantBroken(f"scheduler {peer} cannot be told of operations")
            case SendShutdownFramework(peer, framework_id):
                self._send(peer, wire.shutdown_framework(framework_id))
            case SendShutdownExecutor(peer, framework_id, executor_id):
                self._send(peer, wire.shutdown_executor(framework_id, executor_id))
            case SendUpdateFramework(peer, framework_id, framework, framework_peer):
                self._send(peer, wire.update_framework(framework_id, framework, framework_peer))
            case SendToExecutor(peer, agent_id, framework_id, executor_id, data):
                self._send(peer, relayed.to_executor(agent_id, framework_id, executor_id, data))
            case AnswerOperator():
                self._answer_operator(effect)
            case Link(peer):
                self.link(_pid(peer))
            case StartObserver(agent_id, peer):
                self._start_observer(agent_id, _pid(peer))
            case TellObserver(agent_id, connected):
                self._tell_observer(agent_id, connected)
            case StopObserver(agent_id):
                self._stop_observer(agent_id)
            case StartTimer(key, delay_s, event):
                self._start_timer(key, delay_s, event)
            case CancelTimer(key):
                self._cancel_timer(key)
            case SendDrain(peer, drain_config):
                self._send(peer, wire.drain(drain_config))
            case WriteRegistry(operation, request):
                logger.debug("registry: %s", operation)
                written = RegistryWritten(operation, request)
                self._registrar.apply(operation, partial(self._later, self._feed, written))
            case EndMaster(text):
                self._end(text)
            case RequestAllocationRun():
                self._metrics.allocation_latency.start()
                self._later(self._allocate)
            case Warn(subject, text):
                self._complain(subject, text)
            case _:
                assert_never(effect)

    def _send(self, peer: PeerId, message: wire.MasterMessage) -> None:
        self.send(_pid(peer), message)

    def _answer_operator(self, answer: AnswerOperator) -> None:
        future = self._operator_requests.pop(answer.request)
        if not future.done():  # else the operator has hung up meanwhile
            future.set_result(answer)

    def _send_agent_reregistered(self, effect: SendAgentReregistered) -> None:
        logger.info("agent %s re-registered from %s", effect.agent_id, effect.peer)
        missing = [(m.framework_id, m.framework, m.reports) for m in effect.missing]
        self._send(
            effect.peer,
            wire.agent_reregistered(
                effect.agent_id, self._total_ping_timeout_s, missing, effect.at_s
            ),
        )

    @property
    def _total_ping_timeout_s(self) -> float:
        return self._config.agent_ping_timeout_s * self._config.max_agent_ping_timeouts

    def _start_timer(self, key: TimerKey, delay_s: float, event: MasterEvent) -> None:
        self._cancel_timer(key)
        self._timers_started += 1
        number = self._timers_started
        timer = self.delay(delay_s, self._on_timer, key, number, event)
        self._named_timers[key] = (number, timer)

    def _cancel_timer(self, key: TimerKey) -> None:
        _, timer = self._named_timers.pop(key, (0, None))
        if timer is not None:
            timer.cancel()

    def _start_observer(self, agent_id: AgentId, agent: PID) -> None:
        self._stop_observer(agent_id)
        self._observers_made += 1
        observer = AgentObserver(
            self._observers_made,
            agent,
            ping_timeout_s=self._config.agent_ping_timeout_s,
            unanswered_max=self._config.max_agent_ping_timeouts,
            report=lambda: self._later(self._on_pings_missed, agent_id, observer.pid),
            answered=lambda: self._later(self._on_answered, agent_id, observer.pid),
        )
        self._observers[agent_id] = observer
        self.runtime.spawn(observer)

    def _tell_observer(self, agent_id: AgentId, connected: bool) -> None:
        observer = self._observers.get(agent_id)
        if observer is not None:
            future = self.dispatch(observer.pid, observer.set_connected, connected)
            del future  # an observer that has just ended need not know

    def _stop_observer(self, agent_id: AgentId) -> None:
        observer = self._observers.pop(agent_id, None)
        if observer is not None:
            self.runtime.terminate(observer.pid)

    def finalize(self) -> None:
        self.runtime.terminate(self._metrics_pid)
        for agent_id in list(self._observers):
            self._stop_observer(agent_id)
        for future in self._operator_requests.values():
            future.cancel()
        self._registrar.close()

    # Metrics -------------------------------------------------------------------------------------

    @property
    def metrics(self) -> MasterMetrics:
        """What ``/metrics/snapshot`` shows; valid once spawned."""
        return self._metrics

    def _gather_metrics(self) -> Values:
        return gather(
            self._core,
            self._counts,
            started_s=self._started_s,
            now_s=self.clock.now_s(),
            per_framework=self._config.publish_per_framework_metrics,
            registrar=RegistrarGauges(
                is_recovered=self._is_recovered,
                queued_operations=self._registrar.queued_operations,
                size_bytes=self._registrar.size_bytes,
            ),
        )

    # HTTP ----------------------------------------------------------------------------------------

    async def _serve_health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _serve_version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def _serve_state(self, request: web.Request) -> web.Response:
        return self._tell_state(state_summary)

    async def _serve_counts(self, request: web.Request) -> web.Response:
        """Cheap however large the cluster is; nothing like it exists in Mesos."""
        return self._tell_state(state_counts)

    def _tell_state(self, summary: StateSummary) -> web.Response:
        if not self._is_recovered:
            return web.Response(status=UNAVAILABLE)
        return web.json_response(
            summary(
                self._core,
                pid=str(self.pid),
                hostname=self._info.hostname,
                started_s=self._started_s,
            )
        )

    async def _serve_explanation(self, request: web.Request) -> web.Response:
        if not self._is_recovered:
            return web.Response(status=UNAVAILABLE)
        try:
            return web.json_response(
                explain_json(self._core.state.allocator, request.query, self.clock.now_s())
            )
        except InvalidInput as error:
            answer = {"field": error.field, "rule": error.rule}
            return web.json_response(answer, status=web.HTTPBadRequest.status_code)


@lru_cache(maxsize=PEERS_CACHED_MAX)
def _pid(peer: PeerId) -> PID:
    """Peers are named by their pids."""
    return PID.parse(peer)


def _run_task(effect: SendRunTask) -> internal.RunTaskMessage:
    return wire.run_task(
        effect.framework_id,
        effect.framework,
        effect.framework_peer,
        effect.task,
        effect.role,
        effect.resource_version,
        launch_executor=effect.launch_executor,
    )


def _run_task_group(effect: SendRunTaskGroup) -> internal.RunTaskGroupMessage:
    return wire.run_task_group(
        effect.framework_id,
        effect.framework,
        effect.executor,
        effect.tasks,
        effect.role,
        effect.resource_version,
        launch_executor=effect.launch_executor,
    )


def _apply_operation(effect: SendApplyOperation) -> internal.ApplyOperationMessage:
    return operations.apply_operation(
        effect.framework_id,
        effect.uuid,
        operations.write_change(effect.change, effect.role, effect.operation_id),
        effect.resource_version,
        provider_of(effect.change),
    )


def _offers(effect: SendOffers) -> internal.ResourceOffersMessage:
    messages = [
        wire.offer(
            draft.offer,
            effect.framework,
            draft.agent,
            draft.agent_peer,
            draft.executor_ids,
            draft.unavailability,
        )
        for draft in effect.offers
    ]
    return wire.offers(messages, [draft.agent_peer for draft in effect.offers])


def published_hostname(config: MasterConfig) -> str:
    """The name this machine is published under; may ask the resolver."""
    if config.hostname is not None:
        return config.hostname
    ip = config.advertise_ip or listening_ip(config)
    if not config.hostname_lookup:
        return ip
    try:
        return socket.gethostbyaddr(ip)[0]
    except OSError:
        return ip


def collect_garbage_rarely() -> None:
    """Settings of the garbage collector for a process with millions of long-lived objects.

    What the master keeps is freed by counting references; cycles come from little else than errors.
    By default the collector would look through everything it keeps again and again while agents
    come (a quarter of the time of a failover), and stand still for a second each time.
    """
    gc.collect()
    gc.freeze()  # modules and classes stay for good
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a master until it is told to stop; returns the exit status."""
    collect_garbage_rarely()
    return run_daemon(
        "master",
        MasterConfig,
        lambda config: Master(
            config, hostname=published_hostname(config), storage=registry_storage(config)
        ),
        argv,
        has_many_peers=True,
    )


def registry_storage(config: MasterConfig) -> Storage:
    """Where the registry of a master with these flags is kept.

    Differs: ``replicated_log`` is a store in one local file, as for a log with a single replica.
    """
    if config.registry == "in_memory":
        return InMemoryStorage()
    return SqliteStorage(Path(config.work_dir) / REGISTRY_FILE)


__all__ = ["Master", "collect_garbage_rarely", "main", "published_hostname", "registry_storage"]

if __name__ == "__main__":
    # Imported under its own name, so that its logger is one of those that the daemon shows.
    from cluster.master import main as run

    sys.exit(run())
