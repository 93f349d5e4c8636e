"""What a scheduler hears from its driver: one event class per callback of the classic interface.

The payloads are protocol messages that ride along unopened (hence no run-time import of them).
Source: drivers.md §1.1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.wire.pb import mesos_pb2 as mesos


@dataclass(frozen=True, slots=True)
class Registered:
    """Subscribed: the first time, after a failover, or at a master that did not know us."""

    framework_id: "mesos.FrameworkID"
    master_info: "mesos.MasterInfo"


@dataclass(frozen=True, slots=True)
class Reregistered:
    """Subscribed again, at a master that knew this framework."""

    master_info: "mesos.MasterInfo"


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The master is lost; a new subscription is under way."""


@dataclass(frozen=True, slots=True)
class Offers:
    """Resources offered; ``offers`` is never empty."""

    offers: "tuple[mesos.Offer, ...]"


@dataclass(frozen=True, slots=True)
class OfferRescinded:
    """The master took an offer back."""

    offer_id: "mesos.OfferID"


@dataclass(frozen=True, slots=True)
class InverseOffers:
    """Agents that are to be left before their machines are worked on; ``offers`` is never empty."""

    offers: "tuple[mesos.InverseOffer, ...]"


@dataclass(frozen=True, slots=True)
class InverseOfferRescinded:
    """The master does not ask any more."""

    offer_id: "mesos.OfferID"


@dataclass(frozen=True, slots=True)
class Update:
    """A task changed state. ``status.uuid`` is set exactly when an acknowledgement is wanted."""

    status: "mesos.TaskStatus"


@dataclass(frozen=True, slots=True)
class FrameworkMessage:
    """Bytes from an executor; delivery is not promised."""

    executor_id: "mesos.ExecutorID"
    agent_id: "mesos.SlaveID"
    data: bytes


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent was removed, is unreachable or gone."""

    agent_id: "mesos.SlaveID"


@dataclass(frozen=True, slots=True)
class ExecutorLost:
    """An executor ended; ``status`` is its wait status."""

    executor_id: "mesos.ExecutorID"
    agent_id: "mesos.SlaveID"
    status: int


@dataclass(frozen=True, slots=True)
class Error:
    """The driver gave up; it is aborted already when this arrives, and nothing follows."""

    message: str


SchedulerEvent = (
    Registered
    | Reregistered
    | Disconnected
    | Offers
    | OfferRescinded
    | InverseOffers
    | InverseOfferRescinded
    | Update
    | FrameworkMessage
    | AgentLost
    | ExecutorLost
    | Error
)

__all__ = [
    "AgentLost",
    "Disconnected",
    "Error",
    "ExecutorLost",
    "FrameworkMessage",
    "InverseOfferRescinded",
    "InverseOffers",
    "OfferRescinded",
    "Offers",
    "Registered",
    "Reregistered",
    "SchedulerEvent",
    "Update",
]
