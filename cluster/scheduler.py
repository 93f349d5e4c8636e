"""The scheduler driver: how a framework talks to the master.

    async with SchedulerDriver(framework, master="127.0.0.1:5050") as driver:
        async for event in driver.events():
            match event:
                case Offers(offers):
                    driver.launch_tasks(offers[0].id, [task])
                case Update(status):
                    ...

or, in the classic form, a `Scheduler` with callbacks and a `MesosSchedulerDriver` that calls them.
Both faces share the calls (`SchedulerCalls`) and one core (`cluster.core.scheduler_driver`); the
actor between them and the master is `SchedulerProcess`. Values are v0 protocol messages; where one
is taken, a dictionary in JSON form does as well.

Source: drivers.md §1 to §4.
"""

import asyncio
import getpass
import logging
import random
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from google.protobuf.message import Message

from actorproc import PID, InvalidPID, Process, Runtime
from cluster.callbacks import EitherSpelling
from cluster.core import scheduler_driver as core
from cluster.core.driver_status import Control, DriverLife, DriverMisuse, Status
from cluster.core.scheduler_events import (
    AgentLost,
    Disconnected,
    Error,
    ExecutorLost,
    FrameworkMessage,
    InverseOfferRescinded,
    InverseOffers,
    OfferRescinded,
    Offers,
    Registered,
    Reregistered,
    SchedulerEvent,
    Update,
)
from cluster.driver_loop import ThreadedDriver, post, transport_towards
from cluster.election.detector import MasterDetector, detector_for
from cluster.errors import ClusterError, InvalidInput
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.offer_wishes import OfferWish
from cluster.wire import driver as wire
from cluster.wire import relayed
from cluster.wire.offer_wishes import with_wishes
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

logger = logging.getLogger(__name__)

EVENTS_MAX = 100_000  # events an async program may leave waiting before the driver gives up

OneOrMany = Message | Mapping[str, Any] | str | Iterable[Any]
MessageLike = Message | Mapping[str, Any]


# ---- the actor ----------------------------------------------------------------------------------


class SchedulerListener(Protocol):
    """Who hears what the master says."""

    def deliver(self, event: SchedulerEvent, wanted: core.Acknowledgement | None) -> bool:
        """Take one event.

        Args:
            event: what happened.
            wanted: for an update, the acknowledgement that its agent waits for.

        Returns:
            True when the event is dealt with; False when UpdateHandled comes later, or never.
        """
        ...

    def aborted(self) -> None:
        """The driver counts as aborted from here on."""
        ...

    def ended(self) -> None:
        """The actor is gone."""
        ...


class SchedulerProcess(Process):
    """Actor around a `SchedulerDriverCore`: messages in, effects out, in order."""

    def __init__(
        self,
        framework: mesos.FrameworkInfo,
        constraints: scheduler.OfferConstraints,
        detector: MasterDetector,
        driver: core.SchedulerDriverCore,
        listener: SchedulerListener,
        *,
        process_id: str,
    ) -> None:
        super().__init__(process_id)
        self._framework = framework
        self._constraints = constraints
        self._detector = detector
        self._core = driver
        self._listener = listener

    def initialize(self) -> None:
        self.install(internal.FrameworkRegisteredMessage, self._on_registered)
        self.install(internal.FrameworkReregisteredMessage, self._on_reregistered)
        self.install(internal.FrameworkErrorMessage, self._on_error)
        self.install(internal.ResourceOffersMessage, self._on_offers)
        self.install(internal.RescindResourceOfferMessage, self._on_rescind)
        self.install(internal.InverseOffersMessage, self._on_inverse_offers)
        self.install(internal.RescindInverseOfferMessage, self._on_rescind_inverse)
        self.install(internal.StatusUpdateMessage, self._on_update)
        self.install(internal.LostSlaveMessage, self._on_lost_agent)
        self.install(internal.ExitedExecutorMessage, self._on_exited_executor)
        self.install(internal.ExecutorToFrameworkMessage, self._on_framework_message)
        self._watch = self.start_task(self._watch_master())

    def finalize(self) -> None:
        self._listener.ended()

    def exited(self, pid: PID) -> None:
        self.feed(core.MasterLinkBroken(str(pid)))

    @property
    def framework(self) -> mesos.FrameworkInfo:
        """The framework as it is (or will be) subscribed, with its id once that is known."""
        if (framework_id := self._core.framework_id) is not None:
            self._framework.id.value = framework_id
        return self._framework

    @property
    def is_connected(self) -> bool:
        return self._core.is_connected

    def feed(self, event: core.SchedulerDriverEvent) -> None:
        """Give the core one event and carry out what it says. In this actor's turn only."""
        if isinstance(event, core.FrameworkUpdated | core.WishesUpdated):
            self._framework = event.call.update_framework.framework_info
            self._constraints = event.call.update_framework.offer_constraints
        waiting = [event]
        while waiting:
            for effect in self._core.handle(waiting.pop(), self.clock.now_s()):
                if (next_event := self._perform(effect)) is not None:
                    waiting.append(next_event)

    async def _watch_master(self) -> None:
        leader: PID | None = None
        while True:
            try:
                leader = await self._detector.detect(leader)
            except ClusterError as error:
                self.feed(core.FrameworkRefused(str(error)))
                return
            self.feed(core.MasterDetected(str(leader) if leader is not None else None))

    # ---- messages

    def _on_registered(self, sender: PID, message: internal.FrameworkRegisteredMessage) -> None:
        self.feed(
            core.SubscriptionConfirmed(
                str(sender), message.framework_id, message.master_info, is_known=False
            )
        )

    def _on_reregistered(self, sender: PID, message: internal.FrameworkReregisteredMessage) -> None:
        self.feed(
            core.SubscriptionConfirmed(
                str(sender), message.framework_id, message.master_info, is_known=True
            )
        )

    def _on_error(self, sender: PID, message: internal.FrameworkErrorMessage) -> None:
        self.feed(core.FrameworkRefused(message.message))

    def _on_offers(self, sender: PID, message: internal.ResourceOffersMessage) -> None:
        # Addresses belong to offers by position; a short list leaves the last ones without.
        agents = tuple(
            core.OfferedAgent(OfferId(offer.id.value), AgentId(offer.slave_id.value), address)
            for offer, address in zip(message.offers, message.pids, strict=False)
            if _usable(address) is not None
        )
        self.feed(core.OffersReceived(str(sender), tuple(message.offers), agents))

    def _on_rescind(self, sender: PID, message: internal.RescindResourceOfferMessage) -> None:
        self.feed(core.OfferWithdrawn(str(sender), message.offer_id))

    def _on_inverse_offers(self, sender: PID, message: internal.InverseOffersMessage) -> None:
        self.feed(core.InverseOffersReceived(str(sender), tuple(message.inverse_offers)))

    def _on_rescind_inverse(
        self, sender: PID, message: internal.RescindInverseOfferMessage
    ) -> None:
        self.feed(core.InverseOfferWithdrawn(str(sender), message.inverse_offer_id))

    def _on_update(self, sender: PID, message: internal.StatusUpdateMessage) -> None:
        status = wire.status_of(message, has_receipt_address=_usable(message.pid) is not None)
        wanted = _acknowledgement(message, status) if status.uuid else None
        self.feed(core.UpdateReceived(str(sender), status, wanted))

    def _on_lost_agent(self, sender: PID, message: internal.LostSlaveMessage) -> None:
        self.feed(core.AgentRemoved(str(sender), message.slave_id))

    def _on_exited_executor(self, sender: PID, message: internal.ExitedExecutorMessage) -> None:
        lost = ExecutorLost(message.executor_id, message.slave_id, message.status)
        self.feed(core.ExecutorExited(str(sender), lost))

    def _on_framework_message(
        self, sender: PID, message: internal.ExecutorToFrameworkMessage
    ) -> None:
        event = FrameworkMessage(message.executor_id, message.slave_id, message.data)
        self.feed(core.ExecutorMessageReceived(event))

    # ---- effects

    def _perform(self, effect: core.SchedulerDriverEffect) -> core.SchedulerDriverEvent | None:
        """Carry out one effect; returns what it makes happen at once, if anything."""
        match effect:
            case core.LinkMaster(master):
                self.link(PID.parse(master), reconnect=True)
            case core.SendSubscribe(master, framework_id, force, suppressed):
                call = wire.subscribe_call(
                    self._framework, framework_id, force, suppressed, self._constraints
                )
                self.send(PID.parse(master), call)
            case core.SendCall(master, framework_id, call):
                self.send(PID.parse(master), wire.with_framework_id(call, framework_id))
            case core.SendUpdate(master, framework_id, call, suppressed):
                call.update_framework.suppressed_roles.extend(suppressed)
                self.send(PID.parse(master), wire.with_framework_id(call, framework_id))
            case core.SendAcknowledgement(master, framework_id, wanted):
                call = wire.acknowledge_call(wanted.agent_id, wanted.task_id, wanted.uuid)
                self.send(PID.parse(master), wire.with_framework_id(call, framework_id))
            case core.SendToExecutor():
                self._send_to_executor(effect)
            case core.SendTeardown(master, framework_id):
                call = wire.with_framework_id(wire.teardown_call(), framework_id)
                self.send(PID.parse(master), call)
            case core.SendDeactivate(master, framework_id):
                farewell = internal.DeactivateFrameworkMessage()
                farewell.framework_id.value = framework_id
                self.send(PID.parse(master), farewell)
            case core.StartSubscribeTimer(generation, delay_s):
                self.delay(delay_s, self.feed, core.SubscribeDue(generation))
            case core.Deliver(event, wanted_now):
                if self._listener.deliver(event, wanted_now) and wanted_now is not None:
                    return core.UpdateHandled(wanted_now)
            case core.DeliverNotLaunched(task, state):
                status = wire.not_launched_status(task, state, self.clock.now_s())
                self._listener.deliver(Update(status), None)
            case core.Report(text):
                logger.warning("%s: %s", self.pid.id, text)
            case core.Abort():
                self._listener.aborted()
            case core.End():
                self.terminate()
        return None

    def _send_to_executor(self, effect: core.SendToExecutor) -> None:
        if (agent := _usable(effect.agent or "")) is not None:
            message = relayed.to_executor(
                effect.agent_id, effect.framework_id, effect.executor_id, effect.data
            )
            self.send(agent, message)
            return
        call = wire.message_call(effect.executor_id, effect.agent_id, effect.data)
        self.send(PID.parse(effect.master), wire.with_framework_id(call, effect.framework_id))


def _usable(text: str) -> PID | None:
    """The PID that ``text`` names, or None when nobody can be reached by it."""
    try:
        return PID.parse(text) or None
    except InvalidPID:
        return None


def _acknowledgement(
    message: internal.StatusUpdateMessage, status: mesos.TaskStatus
) -> core.Acknowledgement:
    agent_id = status.slave_id.value or message.update.slave_id.value
    return core.Acknowledgement(AgentId(agent_id), TaskId(status.task_id.value), status.uuid)


# ---- the calls ----------------------------------------------------------------------------------


class SchedulerCalls(ABC):
    """The calls of a scheduler driver, for both faces.

    Every call returns the `Status` of the driver and does nothing when it does not run; nothing
    waits. Calls made while the master is lost are dropped, except that tasks to launch come back
    as TASK_LOST (TASK_DROPPED for a PARTITION_AWARE framework), and that suppressed roles are
    remembered.

    Raises (all calls): InvalidInput, naming the argument and field that cannot be read.
    """

    _implicit_acknowledgements: bool
    _framework: mesos.FrameworkInfo
    """As the program described it, without its wishes."""
    _wishes: Mapping[str, OfferWish]

    @abstractmethod
    def _ask(self, event: core.SchedulerDriverEvent) -> Status:
        """Hand a call to the core if the driver runs."""

    def launch_tasks(
        self,
        offer_ids: OneOrMany,
        tasks: Iterable[MessageLike],
        filters: MessageLike | None = None,
    ) -> Status:
        """Use offers (one or many, of one agent) to launch tasks; what is left over is declined.

        Differs: an empty list of tasks is sent as the decline it means.
        """
        task_infos = wire.messages_from(mesos.TaskInfo, tasks, "tasks")
        if not task_infos:
            return self.decline_offer(offer_ids, filters)
        return self._accept(offer_ids, [wire.launch_operation(task_infos)], filters)

    def accept_offers(
        self,
        offer_ids: OneOrMany,
        operations: Iterable[MessageLike],
        filters: MessageLike | None = None,
    ) -> Status:
        """Use offers for any operations: LAUNCH, LAUNCH_GROUP, RESERVE, CREATE, ..."""
        parsed = wire.messages_from(mesos.Offer.Operation, operations, "operations")
        if any(operation.HasField("id") for operation in parsed):
            text = "operation ids need operation feedback, which only the v1 API has"
            return self._ask(core.FrameworkRefused(text))
        return self._accept(offer_ids, parsed, filters)

    def _accept(
        self,
        offer_ids: OneOrMany,
        operations: list[mesos.Offer.Operation],
        filters: MessageLike | None,
    ) -> Status:
        ids = wire.messages_from(mesos.OfferID, offer_ids, "offer_ids")
        launches = tuple(
            core.TaskLaunch(AgentId(task.slave_id.value), task)
            for task in wire.tasks_of(operations)
        )
        call = wire.accept_call(ids, operations, _filters(filters))
        return self._ask(core.OffersAccepted(_offer_ids(ids), launches, call))

    def decline_offer(self, offer_ids: OneOrMany, filters: MessageLike | None = None) -> Status:
        """Give offers (one or many) back; by default they are not repeated for 5 s."""
        ids = wire.messages_from(mesos.OfferID, offer_ids, "offer_ids")
        call = wire.decline_call(ids, _filters(filters))
        return self._ask(core.OffersDeclined(_offer_ids(ids), call))

    def kill_task(self, task_id: MessageLike | str) -> Status:
        """End a task; what became of it comes as an update."""
        call = wire.kill_call(wire.message_from(mesos.TaskID, task_id, "task_id"))
        return self._ask(core.CallMade(call))

    def revive_offers(self, roles: Iterable[str] | None = None) -> Status:
        """Drop all refusals and get offers again: for all roles, or for ``roles`` ([]: none)."""
        names = () if roles is None else wire.role_names(roles, "roles")
        if roles is not None and not names:
            return self._ask_nothing()
        return self._ask(core.RolesRevived(names, wire.revive_call(names)))

    def suppress_offers(self, roles: Iterable[str] | None = None) -> Status:
        """Get no offers any more: for all roles, or for ``roles`` ([]: none)."""
        names = () if roles is None else wire.role_names(roles, "roles")
        if roles is not None and not names:
            return self._ask_nothing()
        return self._ask(core.RolesSuppressed(names, wire.suppress_call(names)))

    def acknowledge_status_update(self, status: MessageLike) -> Status:
        """Tell the agent that an update arrived; only with explicit acknowledgements.

        Updates without ``uuid`` want none: nothing is sent for them.

        Raises:
            DriverMisuse: the driver acknowledges implicitly.
        """
        if self._implicit_acknowledgements:
            raise DriverMisuse("this driver acknowledges implicitly; its program must not")
        parsed = wire.message_from(mesos.TaskStatus, status, "status")
        if not parsed.uuid:
            return self._ask_nothing()
        call = wire.acknowledge_call(parsed.slave_id.value, parsed.task_id.value, parsed.uuid)
        return self._ask(core.CallMade(call))

    def send_framework_message(
        self, executor_id: MessageLike | str, agent_id: MessageLike | str, data: bytes
    ) -> Status:
        """Send bytes to an executor; whether they arrive is not known."""
        executor = wire.message_from(mesos.ExecutorID, executor_id, "executor_id")
        agent = wire.message_from(mesos.SlaveID, agent_id, "agent_id")
        if not isinstance(data, bytes):
            raise InvalidInput("data", f"must be bytes, not {type(data).__name__}")
        return self._ask(
            core.MessageToExecutorAsked(ExecutorId(executor.value), AgentId(agent.value), data)
        )

    def reconcile_tasks(self, statuses: Iterable[MessageLike]) -> Status:
        """Ask for the present state of these tasks; of all tasks when the list is empty."""
        parsed = wire.messages_from(mesos.TaskStatus, statuses, "statuses")
        return self._ask(core.CallMade(wire.reconcile_call(parsed)))

    def request_resources(self, requests: Iterable[MessageLike]) -> Status:
        """Tell the allocator what is waited for, instead of what was waited for before.

        It may then collect free resources for this framework that would be too little by
        themselves.
        """
        parsed = wire.messages_from(mesos.Request, requests, "requests")
        return self._ask(core.CallMade(wire.request_call(parsed)))

    def accept_inverse_offers(
        self, offer_ids: OneOrMany, filters: MessageLike | None = None
    ) -> Status:
        """Say that these agents will have been left in time (inverse offers, one or many)."""
        ids = wire.messages_from(mesos.OfferID, offer_ids, "offer_ids")
        return self._ask(core.CallMade(wire.accept_inverse_call(ids, _filters(filters))))

    def decline_inverse_offer(
        self, offer_ids: OneOrMany, filters: MessageLike | None = None
    ) -> Status:
        """Say that these agents will not be left (inverse offers, one or many)."""
        ids = wire.messages_from(mesos.OfferID, offer_ids, "offer_ids")
        return self._ask(core.CallMade(wire.decline_inverse_call(ids, _filters(filters))))

    def update_framework(
        self,
        framework: MessageLike,
        suppressed_roles: Iterable[str] = (),
        offer_constraints: MessageLike | None = None,
    ) -> Status:
        """Replace the FrameworkInfo and the suppressed roles of the running framework.

        Wishes for offers stay, in the roles that stay, unless ``offer_constraints`` replace them.
        """
        base = _framework(framework)
        suppressed = wire.role_names(suppressed_roles, "suppressed_roles")
        if offer_constraints is not None:
            wishes: Mapping[str, OfferWish] = {}
            info, constraints = base, _constraints(offer_constraints)
        else:
            roles = wire.framework_roles(base)
            wishes = {role: wish for role, wish in self._wishes.items() if role in roles}
            info, constraints = with_wishes(base, wishes)
        self._framework, self._wishes = base, wishes
        call = wire.update_framework_call(info, suppressed, constraints)
        return self._ask(core.FrameworkUpdated(_facts(info), suppressed, call))

    def update_offer_wishes(self, wishes: Mapping[str, OfferWish]) -> Status:
        """Say once which offers are wanted: role -> wish; a role without one takes every offer.

        Replaces all wishes, and constraints given before; the rest of the framework stays as it
        is. Offers that were made already stay valid.
        """
        info, constraints = with_wishes(self._framework, wishes)
        self._wishes = dict(wishes)
        return self._ask(core.WishesUpdated(wire.update_framework_call(info, (), constraints)))

    def _ask_nothing(self) -> Status:
        """A call that means nothing to do: only the state is answered."""
        return self.status

    @property
    @abstractmethod
    def status(self) -> Status:
        """The state of the driver."""


def _filters(filters: MessageLike | None) -> mesos.Filters:
    return wire.message_from(mesos.Filters, {} if filters is None else filters, "filters")


def _constraints(constraints: MessageLike) -> scheduler.OfferConstraints:
    return wire.message_from(scheduler.OfferConstraints, constraints, "offer_constraints")


def _offer_ids(ids: list[mesos.OfferID]) -> tuple[OfferId, ...]:
    return tuple(OfferId(each.value) for each in ids)


def _framework(framework: MessageLike) -> mesos.FrameworkInfo:
    return wire.framework_from(framework, user=_user(), hostname=socket.gethostname())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without an entry, as in many containers
        return "root"


def _facts(framework: mesos.FrameworkInfo) -> core.FrameworkFacts:
    return core.FrameworkFacts(
        roles=wire.framework_roles(framework),
        failover_timeout_s=framework.failover_timeout,
        is_partition_aware=wire.has_capability(
            framework, mesos.FrameworkInfo.Capability.PARTITION_AWARE
        ),
    )


def _core(
    framework: mesos.FrameworkInfo,
    rng: random.Random,
    implicit_acknowledgements: bool,
    suppressed_roles: tuple[str, ...],
    backoff_factor_s: float,
) -> core.SchedulerDriverCore:
    return core.SchedulerDriverCore(
        _facts(framework),
        framework_id=FrameworkId(framework.id.value) if framework.id.value else None,
        rng=rng,
        implicit_acknowledgements=implicit_acknowledgements,
        suppressed_roles=suppressed_roles,
        backoff_factor_s=backoff_factor_s,
    )


def _process_id(rng: random.Random) -> str:
    return f"scheduler-{uuid.UUID(int=rng.getrandbits(128), version=4)}"


def _refuse_credential(credential: object) -> None:
    if credential is not None:
        raise InvalidInput("credential", "must be left out: this driver does not authenticate")


# ---- the async face -----------------------------------------------------------------------------


class SchedulerDriver(SchedulerCalls):
    """A scheduler driver for asyncio programs: events come from `events`, calls return at once.

    Leaving the ``async with`` block stops the driver (the framework is removed from the master,
    with all its tasks); leaving it by an exception aborts it (the framework stays registered for
    its failover timeout). Call `stop` before to choose.

    Args:
        framework: FrameworkInfo, or a dictionary; an empty user or host name is filled in. With
            an id it takes over that framework.
        master: see `cluster.election.detector`; not needed with ``detector``.
        runtime: where the driver's actor lives; by default a runtime of its own on a free port.
        detector: finds the master, instead of ``master``.
        implicit_acknowledgements: acknowledge each update when the program comes back for the
            next event; otherwise the program calls `acknowledge_status_update`.
        suppressed_roles: roles that start without offers.
        registration_backoff_factor_s: see drivers.md §4; default 2 s.
        wishes: role -> which offers are wanted at all (see `OfferWish`); others are not made.

    Raises:
        InvalidInput: an argument cannot be read.
    """

    def __init__(
        self,
        framework: MessageLike,
        master: str = "",
        *,
        runtime: Runtime | None = None,
        detector: MasterDetector | None = None,
        implicit_acknowledgements: bool = True,
        suppressed_roles: Iterable[str] = (),
        registration_backoff_factor_s: float = core.REGISTRATION_BACKOFF_FACTOR_S,
        wishes: Mapping[str, OfferWish] | None = None,
    ) -> None:
        self._framework = _framework(framework)
        self._wishes = dict(wishes or {})
        with_wishes(self._framework, self._wishes)  # what is wrong is better known now
        self._detector = detector or detector_for(master)
        self._runtime = runtime
        self._own_runtime: Runtime | None = None
        self._implicit_acknowledgements = implicit_acknowledgements
        self._suppressed = wire.role_names(suppressed_roles, "suppressed_roles")
        self._backoff_factor_s = registration_backoff_factor_s
        self._life = DriverLife()
        self._actor: SchedulerProcess | None = None
        self._events: asyncio.Queue[tuple[SchedulerEvent, core.Acknowledgement | None] | None]
        self._events = asyncio.Queue()
        self._is_overrun = False

    @property
    def status(self) -> Status:
        return self._life.status

    @property
    def framework(self) -> mesos.FrameworkInfo:
        """The FrameworkInfo, with its id once registered."""
        return self._framework if self._actor is None else self._actor.framework

    @property
    def is_connected(self) -> bool:
        return self._actor is not None and self._actor.is_connected

    async def __aenter__(self) -> Self:
        if self._life.status is not Status.DRIVER_NOT_STARTED:
            raise DriverMisuse("a driver cannot be started twice")
        if self._runtime is None:
            leader = await self._detector.detect(None)
            self._own_runtime = self._runtime = Runtime(transport_towards(leader))
            await self._own_runtime.start()
        rng = self._runtime.rng("scheduler-driver")
        info, constraints = with_wishes(self._framework, self._wishes)
        self._actor = SchedulerProcess(
            info,
            constraints,
            self._detector,
            _core(
                info,
                rng,
                self._implicit_acknowledgements,
                self._suppressed,
                self._backoff_factor_s,
            ),
            self,
            process_id=_process_id(rng),
        )
        self._runtime.spawn(self._actor)
        self._life.take(Control.START)
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

    async def events(self) -> AsyncGenerator[SchedulerEvent, None]:
        """What happens, in order; ends when the driver is stopped or aborted.

        With implicit acknowledgements an update counts as handled when the next event is asked
        for, so a program that fails while it handles one gets it again after its failover.
        """
        while (item := await self._events.get()) is not None:
            event, wanted = item
            if not self._life.is_running and not isinstance(event, Error):
                continue
            yield event
            if wanted is not None:
                self._ask(core.UpdateHandled(wanted))

    def stop(self, failover: bool = False) -> Status:
        """End the driver; with ``failover`` the framework waits for its next scheduler."""
        return self._end(Control.STOP, core.StopAsked(failover))

    def abort(self) -> Status:
        """End all events; the framework stays registered for its failover timeout."""
        return self._end(Control.ABORT, core.AbortAsked())

    # ---- what the actor tells

    def deliver(self, event: SchedulerEvent, wanted: core.Acknowledgement | None) -> bool:
        if self._events.qsize() < EVENTS_MAX:
            self._events.put_nowait((event, wanted))
        elif not self._is_overrun:
            self._is_overrun = True
            text = f"the program leaves {EVENTS_MAX} events waiting"
            self._events.put_nowait((Error(text), None))
            self.abort()
        return False

    def aborted(self) -> None:
        self._life.take(Control.ABORT)

    def ended(self) -> None:
        self._life.take(Control.ABORT)
        self._events.put_nowait(None)

    # ---- inside

    def _ask(self, event: core.SchedulerDriverEvent) -> Status:
        answer = self._life.take(Control.OTHER)
        if answer is Status.DRIVER_RUNNING:
            self._post(event)
        return answer

    def _end(self, control: Control, event: core.SchedulerDriverEvent) -> Status:
        was_running = self._life.is_running
        answer = self._life.take(control)
        if was_running:
            self._post(event)
        return answer

    def _post(self, event: core.SchedulerDriverEvent) -> None:
        if self._runtime is not None and self._actor is not None:
            post(self._runtime, self._actor, event)


# ---- the classic face ---------------------------------------------------------------------------


class Scheduler(EitherSpelling):
    """Base class of classic schedulers: override what you need, in either spelling.

    Callbacks run one at a time in the driver's thread; an exception aborts the driver.
    """

    def registered(
        self,
        driver: "MesosSchedulerDriver",
        frameworkId: mesos.FrameworkID,
        masterInfo: mesos.MasterInfo,
    ) -> None:
        """Subscribed: first time, after a failover, or at a master that did not know us."""

    def reregistered(self, driver: "MesosSchedulerDriver", masterInfo: mesos.MasterInfo) -> None:
        """Subscribed again at a master that knew this framework."""

    def disconnected(self, driver: "MesosSchedulerDriver") -> None:
        """The master is lost; the driver looks for one."""

    def resourceOffers(self, driver: "MesosSchedulerDriver", offers: list[mesos.Offer]) -> None:
        """Resources are offered; accept or decline each."""

    def offerRescinded(self, driver: "MesosSchedulerDriver", offerId: mesos.OfferID) -> None:
        """An offer is void."""

    def inverseOffers(
        self, driver: "MesosSchedulerDriver", offers: list[mesos.InverseOffer]
    ) -> None:
        """Agents are to be left before their machines are worked on; accept or decline each."""

    def inverseOfferRescinded(self, driver: "MesosSchedulerDriver", offerId: mesos.OfferID) -> None:
        """An inverse offer is void."""

    def statusUpdate(self, driver: "MesosSchedulerDriver", status: mesos.TaskStatus) -> None:
        """A task changed state; acknowledged after the return unless acknowledged explicitly."""

    def frameworkMessage(
        self,
        driver: "MesosSchedulerDriver",
        executorId: mesos.ExecutorID,
        slaveId: mesos.SlaveID,
        message: bytes,
    ) -> None:
        """Bytes from an executor."""

    def slaveLost(self, driver: "MesosSchedulerDriver", slaveId: mesos.SlaveID) -> None:
        """An agent is lost."""

    def executorLost(
        self,
        driver: "MesosSchedulerDriver",
        executorId: mesos.ExecutorID,
        slaveId: mesos.SlaveID,
        status: int,
    ) -> None:
        """An executor ended."""

    def error(self, driver: "MesosSchedulerDriver", message: str) -> None:
        """The driver gave up; it is aborted already."""


class MesosSchedulerDriver(ThreadedDriver[core.SchedulerDriverEvent], SchedulerCalls):
    """The classic scheduler driver, with camelCase and snake_case names. Thread-safe.

    Args:
        scheduler: gets the callbacks.
        framework: FrameworkInfo, or a dictionary.
        master: ``host:port``, ``master@host:port`` or ``file:///path``.
        implicitAcknowledgements: acknowledge an update when its callback returns.
        credential: not supported; must be None.
        suppressedRoles: roles that start without offers.
        wishes: role -> which offers are wanted at all (see `OfferWish`); others are not made.

    Raises:
        InvalidInput: an argument cannot be read. (A master string that cannot be understood is
            reported by `start`, through the ``error`` callback, as in the original.)
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework: MessageLike,
        master: str,
        implicitAcknowledgements: bool | int = True,
        credential: object = None,
        suppressedRoles: Iterable[str] | None = None,
        wishes: Mapping[str, OfferWish] | None = None,
    ) -> None:
        super().__init__("scheduler-driver", core.StopAsked, core.AbortAsked())
        _refuse_credential(credential)
        self._scheduler = scheduler
        self._framework = _framework(framework)
        self._wishes = dict(wishes or {})
        with_wishes(self._framework, self._wishes)  # what is wrong is better known now
        self._master = master
        self._implicit_acknowledgements = bool(implicitAcknowledgements)
        self._suppressed = wire.role_names(suppressedRoles or (), "suppressedRoles")
        self._process: SchedulerProcess | None = None

    @property
    def framework_id(self) -> str | None:
        """The id of the framework, None before it is known."""
        framework = self._framework if self._process is None else self._process.framework
        return framework.id.value or None

    @property
    def connected(self) -> bool:
        return self._process is not None and self._process.is_connected

    @property
    def aborted(self) -> bool:
        return self.status is Status.DRIVER_ABORTED

    def stop(self, failover: bool = False) -> Status:
        """End the driver; with ``failover`` the framework waits for its next scheduler."""
        return self._end(Control.STOP, core.StopAsked(failover))

    # ---- what the thread needs

    async def _make(self) -> tuple[Runtime, Process, SchedulerProcess]:
        detector = detector_for(self._master)
        runtime = Runtime(transport_towards(await detector.detect(None)))
        rng = runtime.rng("scheduler-driver")
        info, constraints = with_wishes(self._framework, self._wishes)
        driver = _core(
            info,
            rng,
            self._implicit_acknowledgements,
            self._suppressed,
            core.REGISTRATION_BACKOFF_FACTOR_S,
        )
        self._process = SchedulerProcess(
            info, constraints, detector, driver, _Callbacks(self), process_id=_process_id(rng)
        )
        return runtime, self._process, self._process

    def _failed(self, message: str) -> None:
        self._scheduler.error(self, message)

    def call_back(self, event: SchedulerEvent) -> bool:
        """Run the callback of ``event``; True when the driver still runs afterwards."""
        scheduler = self._scheduler
        match event:
            case Registered(framework_id, master_info):
                return self._call_back(scheduler.registered, framework_id, master_info)
            case Reregistered(master_info):
                return self._call_back(scheduler.reregistered, master_info)
            case Disconnected():
                return self._call_back(scheduler.disconnected)
            case Offers(offers):
                return self._call_back(scheduler.resourceOffers, list(offers))
            case OfferRescinded(offer_id):
                return self._call_back(scheduler.offerRescinded, offer_id)
            case InverseOffers(inverse):
                return self._call_back(scheduler.inverseOffers, list(inverse))
            case InverseOfferRescinded(offer_id):
                return self._call_back(scheduler.inverseOfferRescinded, offer_id)
            case Update(status):
                return self._call_back(scheduler.statusUpdate, status)
            case FrameworkMessage(executor_id, agent_id, data):
                return self._call_back(scheduler.frameworkMessage, executor_id, agent_id, data)
            case AgentLost(agent_id):
                return self._call_back(scheduler.slaveLost, agent_id)
            case ExecutorLost(executor_id, agent_id, wait_status):
                return self._call_back(scheduler.executorLost, executor_id, agent_id, wait_status)
            case Error(message):
                self._run_callback(scheduler.error, message)
                return False

    # ---- the names of the classic interface

    def requestResources(self, requests: Iterable[MessageLike]) -> Status:
        return self.request_resources(requests)

    def launchTasks(
        self, offerIds: OneOrMany, tasks: Iterable[MessageLike], filters: MessageLike | None = None
    ) -> Status:
        return self.launch_tasks(offerIds, tasks, filters)

    def acceptOffers(
        self,
        offerIds: OneOrMany,
        operations: Iterable[MessageLike],
        filters: MessageLike | None = None,
    ) -> Status:
        return self.accept_offers(offerIds, operations, filters)

    def declineOffer(self, offerId: OneOrMany, filters: MessageLike | None = None) -> Status:
        return self.decline_offer(offerId, filters)

    def killTask(self, taskId: MessageLike | str) -> Status:
        return self.kill_task(taskId)

    def reviveOffers(self, roles: Iterable[str] | None = None) -> Status:
        return self.revive_offers(roles)

    def suppressOffers(self, roles: Iterable[str] | None = None) -> Status:
        return self.suppress_offers(roles)

    def acknowledgeStatusUpdate(self, status: MessageLike) -> Status:
        return self.acknowledge_status_update(status)

    def sendFrameworkMessage(
        self, executorId: MessageLike | str, slaveId: MessageLike | str, data: bytes
    ) -> Status:
        return self.send_framework_message(executorId, slaveId, data)

    def reconcileTasks(self, statuses: Iterable[MessageLike]) -> Status:
        return self.reconcile_tasks(statuses)

    def acceptInverseOffers(
        self, offer_ids: OneOrMany, filters: MessageLike | None = None
    ) -> Status:
        return self.accept_inverse_offers(offer_ids, filters)

    def declineInverseOffer(
        self, offer_ids: OneOrMany, filters: MessageLike | None = None
    ) -> Status:
        return self.decline_inverse_offer(offer_ids, filters)

    def updateFramework(
        self,
        frameworkInfo: MessageLike,
        suppressedRoles: Iterable[str] = (),
        offerConstraints: MessageLike | None = None,
    ) -> Status:
        return self.update_framework(frameworkInfo, suppressedRoles, offerConstraints)

    def updateOfferWishes(self, wishes: Mapping[str, OfferWish]) -> Status:
        return self.update_offer_wishes(wishes)


class _Callbacks:
    """Listener of the classic face: an event is a callback, dealt with when it returns."""

    def __init__(self, driver: MesosSchedulerDriver) -> None:
        self._driver = driver

    def deliver(self, event: SchedulerEvent, wanted: core.Acknowledgement | None) -> bool:
        return self._driver.call_back(event)

    def aborted(self) -> None:
        self._driver.mark_aborted()

    def ended(self) -> None:
        self._driver.mark_aborted()


__all__ = [
    "EVENTS_MAX",
    "AgentLost",
    "Disconnected",
    "Error",
    "ExecutorLost",
    "FrameworkMessage",
    "InverseOfferRescinded",
    "InverseOffers",
    "MesosSchedulerDriver",
    "OfferRescinded",
    "OfferWish",
    "Offers",
    "Registered",
    "Reregistered",
    "Scheduler",
    "SchedulerCalls",
    "SchedulerDriver",
    "SchedulerEvent",
    "SchedulerListener",
    "SchedulerProcess",
    "Status",
    "Update",
]
