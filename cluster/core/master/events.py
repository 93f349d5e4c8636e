"""What can happen to a master. Every event is a fact; ``peer`` says who told it."""

from dataclasses import dataclass

from cluster.core.master.registry import RegistryOperation
from cluster.model.agents import AgentNews, AgentReport, AgentSpec
from cluster.model.calls import Call, Subscribe
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId
from cluster.model.operations import OperationUpdate
from cluster.model.operator_calls import OperatorCall
from cluster.model.peers import PeerId
from cluster.model.tasks import StatusUpdate
from cluster.wire.pb import registry_pb2

# From schedulers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubscribeReceived:
    peer: PeerId
    subscribe: Subscribe


@dataclass(frozen=True, slots=True)
class SubscribeRefused:
    """A subscription that breaks a rule by itself; ``error`` names the field and the rule."""

    peer: PeerId
    error: str


@dataclass(frozen=True, slots=True)
class CallReceived:
    """``call`` is already well formed; whether ``peer`` may make it is decided by the core."""

    peer: PeerId
    framework_id: FrameworkId
    call: Call


# From agents -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegistrationReceived:
    """An agent without an id wants to be admitted."""

    peer: PeerId
    spec: AgentSpec


@dataclass(frozen=True, slots=True)
class ReregistrationReceived:
    peer: PeerId
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentUpdateReceived:
    """Something changed at an agent: its resources, its version of them, its operations."""

    peer: PeerId
    agent_id: AgentId
    news: AgentNews


@dataclass(frozen=True, slots=True)
class OperationStatusReceived:
    peer: PeerId
    update: OperationUpdate


@dataclass(frozen=True, slots=True)
class UnregistrationReceived:
    peer: PeerId
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class StatusUpdateReceived:
    peer: PeerId
    update: StatusUpdate


@dataclass(frozen=True, slots=True)
class ExecutorExited:
    """``status`` is the wait status; ``payload`` goes on to the framework."""

    peer: PeerId
    agent_id: AgentId
    framework_id: FrameworkId
    executor_id: ExecutorId
    payload: object


@dataclass(frozen=True, slots=True)
class ExecutorMessageReceived:
    peer: PeerId
    agent_id: AgentId
    framework_id: FrameworkId
    payload: object


# From operators ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OperatorCallReceived:
    """Answered by exactly one ``AnswerOperator`` with the same number, now or later."""

    request: int
    call: OperatorCall
    principal: str | None = None


# From the master's own surroundings ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The link to a peer broke: it may be gone or merely unreachable."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class AgentPingsMissed:
    """So many pings in a row went unanswered that the agent is given up."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class AgentAnswered:
    """An agent that had been reported by ``AgentPingsMissed`` answers again."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class RegistryRecovered:
    """What an earlier master left behind; nothing else is fed before."""

    value: registry_pb2.Registry


@dataclass(frozen=True, slots=True)
class RegistryWritten:
    """A registry operation is durable, or had nothing to change."""

    operation: RegistryOperation
    request: int | None = None


@dataclass(frozen=True, slots=True)
class AgentRecoveryTimedOut:
    """The agents of an earlier master have had their time to come back."""


@dataclass(frozen=True, slots=True)
class AllocatorRecoveryTimedOut:
    """The allocator has waited long enough for them."""


@dataclass(frozen=True, slots=True)
class RemovalDue:
    """The next agent may be given up."""


@dataclass(frozen=True, slots=True)
class RegistryGcDue:
    pass


@dataclass(frozen=True, slots=True)
class WhitelistRead:
    """Hosts whose agents may be offered; None for all."""

    hostnames: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class FailoverTimedOut:
    framework_id: FrameworkId
    generation: int


@dataclass(frozen=True, slots=True)
class ReregistrationTimedOut:
    """A disconnected agent did not come back."""

    agent_id: AgentId
    generation: int


@dataclass(frozen=True, slots=True)
class OfferTimedOut:
    offer_id: OfferId


@dataclass(frozen=True, slots=True)
class AllocationDue:
    """The run asked for by ``RequestAllocationRun``."""


@dataclass(frozen=True, slots=True)
class AllocationIntervalElapsed:
    pass


MasterEvent = (
    SubscribeReceived
    | SubscribeRefused
    | CallReceived
    | RegistrationReceived
    | ReregistrationReceived
    | AgentUpdateReceived
    | OperationStatusReceived
    | UnregistrationReceived
    | StatusUpdateReceived
    | ExecutorExited
    | ExecutorMessageReceived
    | OperatorCallReceived
    | PeerLost
    | AgentPingsMissed
    | AgentAnswered
    | RegistryRecovered
    | RegistryWritten
    | AgentRecoveryTimedOut
    | AllocatorRecoveryTimedOut
    | RemovalDue
    | RegistryGcDue
    | WhitelistRead
    | FailoverTimedOut
    | ReregistrationTimedOut
    | OfferTimedOut
    | AllocationDue
    | AllocationIntervalElapsed
)

__all__ = [
    "AgentAnswered",
    "AgentPingsMissed",
    "AgentRecoveryTimedOut",
    "AgentUpdateReceived",
    "AllocationDue",
    "AllocationIntervalElapsed",
    "AllocatorRecoveryTimedOut",
    "CallReceived",
    "ExecutorExited",
    "ExecutorMessageReceived",
    "FailoverTimedOut",
    "MasterEvent",
    "OfferTimedOut",
    "OperationStatusReceived",
    "OperatorCallReceived",
    "PeerLost",
    "RegistrationReceived",
    "RegistryGcDue",
    "RegistryRecovered",
    "RegistryWritten",
    "RemovalDue",
    "ReregistrationReceived",
    "ReregistrationTimedOut",
    "StatusUpdateReceived",
    "SubscribeReceived",
    "SubscribeRefused",
    "UnregistrationReceived",
    "WhitelistRead",
]
