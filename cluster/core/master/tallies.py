"""What a master counts for its operators: calls, events, offers and how they end, ends of tasks.

Nothing here decides anything. Tallies of a framework live and end with its record; keys are names
of calls, events, states and reasons, of which there are only so many.

Source: http-api.md §8 (metric keys). Our own: how long offers are held, and how long a framework
that wants offers has been waiting for one; they make hoarding and starvation visible.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

from cluster.core.master.registry import (
    AdmitAgent,
    MarkAgentGone,
    MarkAgentUnreachable,
    RegistryOperation,
    RemoveAgent,
)
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperation,
    BrokenOperation,
    Call,
    ChangeResources,
    Deactivate,
    Decline,
    DeclineInverseOffers,
    Kill,
    Launch,
    LaunchGroup,
    MessageExecutor,
    Operation,
    Reconcile,
    ReconcileOperations,
    RequestResources,
    Revive,
    ShutdownExecutor,
    Suppress,
    Teardown,
    UnsupportedCall,
    UnsupportedOperation,
    UpdateFramework,
    UpdateRefused,
)
from cluster.model.operations import CHANGE_NAMES, change_name
from cluster.model.task_states import TaskState
from cluster.model.values import Quantities

CALL_NAMES: Mapping[type, str] = {
    Accept: "accept",
    AcceptInverseOffers: "accept_inverse_offers",
    Acknowledge: "acknowledge",
    AcknowledgeOperation: "acknowledge_operation_status",
    Decline: "decline",
    DeclineInverseOffers: "decline_inverse_offers",
    Kill: "kill",
    MessageExecutor: "message",
    Reconcile: "reconcile",
    ReconcileOperations: "reconcile_operations",
    RequestResources: "request",
    Revive: "revive",
    ShutdownExecutor: "shutdown",
    Suppress: "suppress",
    Teardown: "teardown",
    UpdateFramework: "update_framework",
    UpdateRefused: "update_framework",
}
"""Calls by the names of their type; a deactivation is a message of drivers only."""

LAUNCH, LAUNCH_GROUP = "launch", "launch_group"
OPERATION_NAMES = (*(name.lower() for name in CHANGE_NAMES.values()), LAUNCH, LAUNCH_GROUP)
"""What an ACCEPT can order."""

SOURCE_MASTER = 0


class OfferEnd(Enum):
    """How an offer left the book. ``DISCARDED``: with its framework's connection, untold."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    RESCINDED = "rescinded"
    TIMED_OUT = "timed_out"
    DISCARDED = "discarded"


class OfferTally:
    """Offers made and ended, and what was held of them for how long.

    Attributes:
        sent: offers made.
        ended: how they ended. One that timed out counts as rescinded as well, as Mesos counts it.
        held: scalar name -> thousandths times seconds, of offers that are over.
    """

    __slots__ = ("ended", "held", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.ended: Counter[OfferEnd] = Counter()
        self.held: dict[str, float] = {}

    def end(self, how: OfferEnd, held: Quantities, seconds: float) -> None:
        self.ended[how] += 1
        if how is OfferEnd.TIMED_OUT:
            self.ended[OfferEnd.RESCINDED] += 1
        for name, milli in held.items():
            self.held[name] = self.held.get(name, 0.0) + milli * seconds


class RoleWaits:
    """Since when a framework waits for an offer, in each role in which it wants offers."""

    __slots__ = ("_since_s",)

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def want(self, roles: Iterable[str], now_s: float) -> None:
        """It wants offers in exactly these roles from now on; in some perhaps for long already."""
        self._since_s = {role: self._since_s.get(role, now_s) for role in roles}

    def offered(self, role: str, now_s: float) -> None:
        if role in self._since_s:
            self._since_s[role] = now_s

    def waiting_s(self, now_s: float) -> dict[str, float]:
        """Role -> seconds since its last offer, or since it began to want one."""
        return {role: now_s - since_s for role, since_s in self._since_s.items()}


class FrameworkTally:
    """Counts of one framework.

    Attributes:
        operations: how often it ordered which operation, launches included; names in lower case.
        tasks_ended: the terminal states its tasks reached.
    """

    __slots__ = ("calls", "events", "offers", "operations", "tasks_ended", "waits")

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.offers = OfferTally()
        self.operations: Counter[str] = Counter()
        self.tasks_ended: Counter[TaskState] = Counter()
        self.waits = RoleWaits()

    def call(self, call: Call) -> None:
        if isinstance(call, Accept):
            names = (_operation_name(operation) for operation in call.operations)
            self.operations.update(name for name in names if name is not None)
        match call:
            case UnsupportedCall(name):
                self.calls[name.lower()] += 1
            case Deactivate():
                pass
            case _:
                self.calls[CALL_NAMES[type(call)]] += 1


def _operation_name(operation: Operation) -> str | None:
    match operation:
        case Launch():
            return LAUNCH
        case LaunchGroup():
            return LAUNCH_GROUP
        case ChangeResources(change=change):
            return change_name(change).lower()
        case BrokenOperation(name=name):
            return name.lower()
        case UnsupportedOperation():
            return None


class MasterTally:
    """Counts of the whole master.

    Attributes:
        counts: metric key without prefix -> how often.
        ends: (state, source, reason) -> how often a task came to it; numbers of the protocol.
    """

    __slots__ = ("counts", "ends", "offers", "tasks_ended")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.offers = OfferTally()
        self.tasks_ended: Counter[TaskState] = Counter()
        self.ends: Counter[tuple[TaskState, int, int]] = Counter()

    def registry_written(self, operation: RegistryOperation) -> None:
        """Count what became of agents."""
        match operation:
            case AdmitAgent():
                self.counts["slave_registrations"] += 1
            case MarkAgentUnreachable():
                self.counts["slave_unreachable_completed"] += 1
                self.counts["slave_removals"] += 1
                self.counts["slave_removals/reason_unhealthy"] += 1
            case RemoveAgent() | MarkAgentGone():
                self.counts["slave_removals"] += 1
            case _:
                pass


__all__ = [
    "CALL_NAMES",
    "OPERATION_NAMES",
    "SOURCE_MASTER",
    "FrameworkTally",
    "MasterTally",
    "OfferEnd",
    "OfferTally",
    "RoleWaits",
]
