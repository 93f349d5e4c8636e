"""What a scheduler driver decides: when to subscribe, whom to believe, what to acknowledge.

No I/O and no clock here; the shell (``cluster/scheduler.py``) turns messages into the events below
and carries the effects out in order. Protocol messages ride along unopened.

    no master --MasterDetected--> subscribing --SubscriptionConfirmed--> connected
        ^                           |   ^                                   |
        |                     (back-off, again)  <------MasterLinkBroken----+
        +--------------------MasterDetected(None)---------------------------+

    any of them --StopAsked/AbortAsked/FrameworkRefused--> over (nothing is delivered any more)

Differs: the original waits for its detector after a broken link, so that with a fixed master
address nothing ever follows (drivers.md §4). This one reports the loss and subscribes again.

Source: drivers.md §3, §4; the recorded exchanges of the 1.11 driver.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

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
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.task_states import TaskState

if TYPE_CHECKING:
    from cluster.wire.pb import mesos_pb2 as mesos
    from cluster.wire.pb import scheduler_pb2 as scheduler

REGISTRATION_BACKOFF_FACTOR_S = 2.0
REGISTRATION_BACKOFF_S_MAX = 60.0
SAVED_OFFERS_MAX = 100_000  # offers whose agent address is remembered; the oldest go first
SAVED_AGENTS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class FrameworkFacts:
    """What the decisions need to know of a FrameworkInfo."""

    roles: tuple[str, ...]
    failover_timeout_s: float = 0.0
    is_partition_aware: bool = False


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Names one status update to its agent."""

    agent_id: AgentId
    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class OfferedAgent:
    """Where the agent of an offer listens; ``address`` is its PID as text."""

    offer_id: OfferId
    agent_id: AgentId
    address: str


# ---- events -------------------------------------------------------------------------------------
# ``sender`` and ``master`` are PIDs as text.


@dataclass(frozen=True, slots=True)
class MasterDetected:
    """There is a (new) leading master, or none."""

    master: str | None


@dataclass(frozen=True, slots=True)
class MasterLinkBroken:
    """The link to that master broke; the master may be alive."""

    master: str


@dataclass(frozen=True, slots=True)
class SubscribeDue:
    """The back-off timer of that generation fired."""

    generation: int


@dataclass(frozen=True, slots=True)
class SubscriptionConfirmed:
    """FrameworkRegistered, or with ``is_known`` FrameworkReregistered."""

    sender: str
    framework_id: "mesos.FrameworkID"
    master_info: "mesos.MasterInfo"
    is_known: bool


@dataclass(frozen=True, slots=True)
class OffersReceived:
    """``agents`` has one entry per offer that came with a usable agent address."""

    sender: str
    offers: "tuple[mesos.Offer, ...]"
    agents: tuple[OfferedAgent, ...]


@dataclass(frozen=True, slots=True)
class OfferWithdrawn:
    """RescindResourceOffer came."""

    sender: str
    offer_id: "mesos.OfferID"


@dataclass(frozen=True, slots=True)
class InverseOffersReceived:
    """The master asks whether agents can be left in time."""

    sender: str
    offers: "tuple[mesos.InverseOffer, ...]"


@dataclass(frozen=True, slots=True)
class InverseOfferWithdrawn:
    """RescindInverseOffer came."""

    sender: str
    offer_id: "mesos.OfferID"


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """``acknowledgement`` is None when nobody waits for one."""

    sender: str
    status: "mesos.TaskStatus"
    acknowledgement: Acknowledgement | None


@dataclass(frozen=True, slots=True)
class UpdateHandled:
    """The scheduler is done with an update that wanted an acknowledgement."""

    acknowledgement: Acknowledgement


@dataclass(frozen=True, slots=True)
class ExecutorMessageReceived:
    """From an executor, through its agent directly or through the master."""

    message: FrameworkMessage


@dataclass(frozen=True, slots=True)
class AgentRemoved:
    """LostSlave came."""

    sender: str
    agent_id: "mesos.SlaveID"


@dataclass(frozen=True, slots=True)
class ExecutorExited:
    """ExitedExecutor came."""

    sender: str
    lost: ExecutorLost


@dataclass(frozen=True, slots=True)
class FrameworkRefused:
    """The master (or the detection of one) says that this framework cannot go on."""

    message: str


@dataclass(frozen=True, slots=True)
class TaskLaunch:
    """One task that the scheduler wants on an agent."""

    agent_id: AgentId
    task: "mesos.TaskInfo"


@dataclass(frozen=True, slots=True)
class OffersAccepted:
    """launch_tasks or accept_offers; ``call`` is ready to send but for the framework id."""

    offer_ids: tuple[OfferId, ...]
    launches: tuple[TaskLaunch, ...]
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class OffersDeclined:
    """decline_offer was called."""

    offer_ids: tuple[OfferId, ...]
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class RolesSuppressed:
    """``roles`` empty means all roles of the framework."""

    roles: tuple[str, ...]
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class RolesRevived:
    """``roles`` empty means all roles of the framework."""

    roles: tuple[str, ...]
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class FrameworkUpdated:
    """update_framework was called."""

    facts: FrameworkFacts
    suppressed_roles: tuple[str, ...]
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class WishesUpdated:
    """update_offer_wishes was called; ``call`` lacks the suppressed roles, which stay."""

    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class CallMade:
    """Any call that needs no decision but whether there is somebody to send it to."""

    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class MessageToExecutorAsked:
    """send_framework_message was called."""

    executor_id: ExecutorId
    agent_id: AgentId
    data: bytes


@dataclass(frozen=True, slots=True)
class StopAsked:
    """``failover``: leave the framework registered, another scheduler takes over."""

    failover: bool


@dataclass(frozen=True, slots=True)
class AbortAsked:
    """The program wants to hear nothing more."""


SchedulerDriverEvent = (
    MasterDetected
    | MasterLinkBroken
    | SubscribeDue
    | SubscriptionConfirmed
    | OffersReceived
    | OfferWithdrawn
    | InverseOffersReceived
    | InverseOfferWithdrawn
    | UpdateReceived
    | UpdateHandled
    | ExecutorMessageReceived
    | AgentRemoved
    | ExecutorExited
    | FrameworkRefused
    | OffersAccepted
    | OffersDeclined
    | RolesSuppressed
    | RolesRevived
    | FrameworkUpdated
    | WishesUpdated
    | CallMade
    | MessageToExecutorAsked
    | StopAsked
    | AbortAsked
)


# ---- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkMaster:
    """Have a fresh link to that master."""

    master: str


@dataclass(frozen=True, slots=True)
class SendSubscribe:
    """``force`` is None when there is no framework id to take over."""

    master: str
    framework_id: FrameworkId | None
    force: bool | None
    suppressed_roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendCall:
    """Send a call; it lacks only the framework id."""

    master: str
    framework_id: FrameworkId
    call: "scheduler.Call"


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Send an update of the framework; it lacks the framework id and the suppressed roles."""

    master: str
    framework_id: FrameworkId
    call: "scheduler.Call"
    suppressed_roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendAcknowledgement:
    """Acknowledge an update."""

    master: str
    framework_id: FrameworkId
    acknowledgement: Acknowledgement


@dataclass(frozen=True, slots=True)
class SendToExecutor:
    """A framework message: straight to ``agent`` (PID as text), or through the master if None."""

    master: str
    agent: str | None
    framework_id: FrameworkId
    executor_id: ExecutorId
    agent_id: AgentId
    data: bytes


@dataclass(frozen=True, slots=True)
class SendTeardown:
    """Have the framework removed."""

    master: str
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class SendDeactivate:
    """Have no more offers made."""

    master: str
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class StartSubscribeTimer:
    """Answer SubscribeDue after that time."""

    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand ``event`` to the scheduler; with an acknowledgement, answer UpdateHandled afterwards."""

    event: SchedulerEvent
    acknowledgement: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class DeliverNotLaunched:
    """Tell the scheduler that its task was never sent (reason: the master is disconnected)."""

    task: "mesos.TaskInfo"
    state: TaskState


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the operator; at most once per subscription attempt."""

    text: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The driver counts as aborted from here on, also for its user."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows: the actor of this driver may go."""


SchedulerDriverEffect = (
    LinkMaster
    | SendSubscribe
    | SendCall
    | SendUpdate
    | SendAcknowledgement
    | SendToExecutor
    | SendTeardown
    | SendDeactivate
    | StartSubscribeTimer
    | Deliver
    | DeliverNotLaunched
    | Report
    | Abort
    | End
)


class SchedulerDriverCore:
    """State and decisions of one scheduler driver.

    Args:
        facts: of the FrameworkInfo.
        framework_id: given by the user to take over an existing framework, else None.
        implicit_acknowledgements: acknowledge an update as soon as the scheduler is done with it.
        suppressed_roles: roles that start without offers.
        backoff_factor_s: > 0; subscription attempt n+1 follows after random [0, factor * 2^n].
        rng: of the back-off only.
    """

    def __init__(
        self,
        facts: FrameworkFacts,
        *,
        framework_id: FrameworkId | None,
        rng: Random,
        implicit_acknowledgements: bool = True,
        suppressed_roles: tuple[str, ...] = (),
        backoff_factor_s: float = REGISTRATION_BACKOFF_FACTOR_S,
    ) -> None:
        self._facts = facts
        self._framework_id = framework_id
        self._is_failover = framework_id is not None
        self._rng = rng
        self._implicit = implicit_acknowledgements
        self._suppressed = dict.fromkeys(suppressed_roles)
        self._backoff_factor_s = backoff_factor_s
        self._master: str | None = None
        self._is_linked = False
        self._is_connected = False
        self._is_over = False
        self._was_registered = False
        self._attempts = 0
        self._generation = 0
        self._offered: dict[OfferId, OfferedAgent] = {}
        self._agents: dict[AgentId, str] = {}

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def framework_id(self) -> FrameworkId | None:
        return self._framework_id

    @property
    def master(self) -> str | None:
        """PID (text) of the leading master, None when there is none."""
        return self._master

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the books contradict each other."""
        if self._is_connected and (self._master is None or self._framework_id is None):
            raise InvariantBroken("connected without a master or a framework id")
        if self._is_over and self._is_connected:
            raise InvariantBroken("connected after the end")

    def handle(self, event: SchedulerDriverEvent, now_s: float) -> list[SchedulerDriverEffect]:
        """Take one event; returns what must be done, in this order (nothing after the end)."""
        if self._is_over:
            return []
        match event:
            case MasterDetected(master):
                return self._on_master(master)
            case MasterLinkBroken(master):
                return self._on_link_broken(master)
            case SubscribeDue(generation):
                return self._on_subscribe_due(generation)
            case SubscriptionConfirmed():
                return self._on_confirmed(event)
            case FrameworkRefused(message):
                return [*self._end_aborted(), Deliver(Error(message)), End()]
            case StopAsked(failover):
                return self._on_stop(failover)
            case AbortAsked():
                return [*self._end_aborted(), End()]
            case UpdateHandled(acknowledgement):
                return self._on_handled(acknowledgement)
            case ExecutorMessageReceived(message):
                return [Deliver(message)] if self._was_registered else []
            case (
                OffersReceived()
                | OfferWithdrawn()
                | InverseOffersReceived()
                | InverseOfferWithdrawn()
                | UpdateReceived()
                | AgentRemoved()
                | ExecutorExited()
            ):
                return self._on_master_event(event)
            case _:
                return self._on_call(event)

    # ---- finding a master and subscribing

    def _on_master(self, master: str | None) -> list[SchedulerDriverEffect]:
        effects = self._lose_connection()
        self._master = master
        self._is_linked = False
        self._attempts = 0
        self._generation += 1
        if master is None:
            return [*effects, Report("there is no leading master; waiting for one")]
        return [*effects, *self._subscribe()]

    def _on_link_broken(self, master: str) -> list[SchedulerDriverEffect]:
        if master != self._master:
            return []
        self._is_linked = False
        if not self._is_connected:
            return []  # the back-off timer is running; the next attempt makes a new link
        effects = self._lose_connection()
        self._attempts = 0
        lost = Report(f"lost the link to {master}, subscribing again")
        return [lost, *effects, self._wait_to_subscribe()]

    def _lose_connection(self) -> list[SchedulerDriverEffect]:
        was_connected, self._is_connected = self._is_connected, False
        self._offered.clear()
        return [Deliver(Disconnected())] if was_connected else []

    def _on_subscribe_due(self, generation: int) -> list[SchedulerDriverEffect]:
        if generation != self._generation or self._is_connected:
            return []
        is_again = self._attempts > 0
        effects = self._subscribe()
        if is_again and isinstance(timer := effects[-1], StartSubscribeTimer):
            text = f"no answer from {self._master}: attempt {self._attempts} to subscribe"
            return [Report(f"{text}, the next in {timer.delay_s:.1f} s"), *effects]
        return effects

    def _subscribe(self) -> list[SchedulerDriverEffect]:
        if self._master is None:
            return []
        subscribe = SendSubscribe(
            self._master,
            self._framework_id,
            None if self._framework_id is None else self._is_failover,
            tuple(self._suppressed),
        )
        link: list[SchedulerDriverEffect] = [] if self._is_linked else [LinkMaster(self._master)]
        self._is_linked = True
        self._attempts += 1
        return [*link, subscribe, self._wait_to_subscribe()]

    def _wait_to_subscribe(self) -> StartSubscribeTimer:
        """The timer of the next attempt: random [0, factor], [0, 2 factor], ..., capped."""
        longest_s = REGISTRATION_BACKOFF_S_MAX
        if self._facts.failover_timeout_s > 0:
            longest_s = min(longest_s, self._facts.failover_timeout_s / 10)
        # The exponent is capped too: beyond 2^30 every factor is above the longest delay.
        exponent = min(max(0, self._attempts - 1), 30)
        self._generation += 1
        delay_s = self._rng.uniform(0, min(longest_s, self._backoff_factor_s * 2**exponent))
        return StartSubscribeTimer(self._generation, delay_s)

    def _on_confirmed(self, event: SubscriptionConfirmed) -> list[SchedulerDriverEffect]:
        if self._is_connected:
            return []
        if event.sender != self._master:
            # Often a master that advertises another address than the one we were told.
            return [Report(f"ignoring {event.sender}: the leading master is {self._master}")]
        framework_id = FrameworkId(event.framework_id.value)
        if event.is_known and framework_id != self._framework_id:
            return [Report(f"ignoring a re-registration as {framework_id}: not our id")]
        self._framework_id = framework_id
        self._is_connected = True
        self._is_failover = False
        self._was_registered = True
        if event.is_known:
            return [Deliver(Reregistered(event.master_info))]
        return [Deliver(Registered(event.framework_id, event.master_info))]

    # ---- what the master tells

    def _on_master_event(
        self,
        event: OffersReceived
        | OfferWithdrawn
        | InverseOffersReceived
        | InverseOfferWithdrawn
        | UpdateReceived
        | AgentRemoved
        | ExecutorExited,
    ) -> list[SchedulerDriverEffect]:
        if not self._is_connected or event.sender != self._master:
            return []
        match event:
            case OffersReceived(offers=offers, agents=agents):
                self._remember_offers(agents)
                return [Deliver(Offers(offers))] if offers else []
            case OfferWithdrawn(offer_id=offer_id):
                self._offered.pop(OfferId(offer_id.value), None)
                return [Deliver(OfferRescinded(offer_id))]
            case InverseOffersReceived(offers=inverse):
                return [Deliver(InverseOffers(inverse))] if inverse else []
            case InverseOfferWithdrawn(offer_id=offer_id):
                return [Deliver(InverseOfferRescinded(offer_id))]
            case UpdateReceived(status=status, acknowledgement=acknowledgement):
                return [Deliver(Update(status), acknowledgement)]
            case AgentRemoved(agent_id=agent_id):
                self._agents.pop(AgentId(agent_id.value), None)
                return [Deliver(AgentLost(agent_id))]
            case ExecutorExited(lost=lost):
                return [Deliver(lost)]

    def _remember_offers(self, agents: tuple[OfferedAgent, ...]) -> None:
        for offered in agents:
            self._offered[offered.offer_id] = offered
        while len(self._offered) > SAVED_OFFERS_MAX:
            del self._offered[next(iter(self._offered))]

    def _on_handled(self, acknowledgement: Acknowledgement) -> list[SchedulerDriverEffect]:
        if not self._implicit:
            return []
        return self._if_connected(
            lambda master, framework_id: SendAcknowledgement(master, framework_id, acknowledgement)
        )

    # ---- what the scheduler asks

    def _on_call(
        self,
        event: OffersAccepted
        | OffersDeclined
        | RolesSuppressed
        | RolesRevived
        | FrameworkUpdated
        | WishesUpdated
        | CallMade
        | MessageToExecutorAsked,
    ) -> list[SchedulerDriverEffect]:
        match event:
            case OffersAccepted():
                return self._on_accept(event)
            case OffersDeclined(offer_ids, call):
                self._forget_offers(offer_ids)
                return self._send(call)
            case RolesSuppressed(roles, call):
                self._suppressed |= dict.fromkeys(roles or self._facts.roles)
                return self._send(call)
            case RolesRevived(roles, call):
                for role in roles or tuple(self._suppressed):
                    self._suppressed.pop(role, None)
                return self._send(call)
            case FrameworkUpdated(facts, suppressed_roles, call):
                self._facts = facts
                self._suppressed = dict.fromkeys(suppressed_roles)
                return self._send(call)
            case WishesUpdated(call):
                suppressed = tuple(self._suppressed)
                return self._if_connected(
                    lambda master, framework: SendUpdate(master, framework, call, suppressed)
                )
            case CallMade(call):
                return self._send(call)
            case MessageToExecutorAsked():
                return self._on_message(event)

    def _on_accept(self, event: OffersAccepted) -> list[SchedulerDriverEffect]:
        if not self._is_connected:
            state = TaskState.DROPPED if self._facts.is_partition_aware else TaskState.LOST
            return [DeliverNotLaunched(launch.task, state) for launch in event.launches]
        self._remember_agents(event)
        self._forget_offers(event.offer_ids)
        return self._send(event.call)

    def _remember_agents(self, event: OffersAccepted) -> None:
        """Keep the address of each agent that gets a task, for direct framework messages."""
        offered = [self._offered[each] for each in event.offer_ids if each in self._offered]
        used = {launch.agent_id for launch in event.launches}
        for each in offered:
            if each.agent_id in used:
                self._agents[each.agent_id] = each.address
        while len(self._agents) > SAVED_AGENTS_MAX:
            del self._agents[next(iter(self._agents))]

    def _forget_offers(self, offer_ids: tuple[OfferId, ...]) -> None:
        for offer_id in offer_ids:
            self._offered.pop(offer_id, None)

    def _on_message(self, event: MessageToExecutorAsked) -> list[SchedulerDriverEffect]:
        agent = self._agents.get(event.agent_id)
        return self._if_connected(
            lambda master, framework_id: SendToExecutor(
                master, agent, framework_id, event.executor_id, event.agent_id, event.data
            )
        )

    def _send(self, call: "scheduler.Call") -> list[SchedulerDriverEffect]:
        return self._if_connected(lambda master, framework: SendCall(master, framework, call))

    # ---- the end

    def _on_stop(self, failover: bool) -> list[SchedulerDriverEffect]:
        farewell = [] if failover else self._if_connected(SendTeardown)
        self._is_over = True
        self._is_connected = False
        return [*farewell, End()]

    def _end_aborted(self) -> list[SchedulerDriverEffect]:
        farewell = self._if_connected(SendDeactivate)
        self._is_over = True
        self._is_connected = False
        return [*farewell, Abort()]

    def _if_connected(
        self, effect: Callable[[str, FrameworkId], SchedulerDriverEffect]
    ) -> list[SchedulerDriverEffect]:
        if not self._is_connected or self._master is None or self._framework_id is None:
            return []
        return [effect(self._master, self._framework_id)]


__all__ = [
    "REGISTRATION_BACKOFF_FACTOR_S",
    "REGISTRATION_BACKOFF_S_MAX",
    "SAVED_AGENTS_MAX",
    "SAVED_OFFERS_MAX",
    "Abort",
    "AbortAsked",
    "Acknowledgement",
    "AgentRemoved",
    "CallMade",
    "Deliver",
    "DeliverNotLaunched",
    "End",
    "ExecutorExited",
    "ExecutorMessageReceived",
    "FrameworkFacts",
    "FrameworkRefused",
    "FrameworkUpdated",
    "InverseOfferWithdrawn",
    "InverseOffersReceived",
    "LinkMaster",
    "MasterDetected",
    "MasterLinkBroken",
    "MessageToExecutorAsked",
    "OfferWithdrawn",
    "OfferedAgent",
    "OffersAccepted",
    "OffersDeclined",
    "OffersReceived",
    "Report",
    "RolesRevived",
    "RolesSuppressed",
    "SchedulerDriverCore",
    "SchedulerDriverEffect",
    "SchedulerDriverEvent",
    "SendAcknowledgement",
    "SendCall",
    "SendDeactivate",
    "SendSubscribe",
    "SendTeardown",
    "SendToExecutor",
    "SendUpdate",
    "StartSubscribeTimer",
    "StopAsked",
    "SubscribeDue",
    "SubscriptionConfirmed",
    "TaskLaunch",
    "UpdateHandled",
    "UpdateReceived",
    "WishesUpdated",
]
