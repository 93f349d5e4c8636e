"""What a master does in answer to an event. Effects are carried out in the order given.

Effects that name a peer are messages; ``cluster.wire.master`` says how each looks.
"""

from dataclasses import dataclass

from cluster.core.master.events import MasterEvent
from cluster.core.master.registry import RegistryOperation
from cluster.model.agents import AgentSpec
from cluster.model.draining import DrainConfig
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.maintenance import Unavailability
from cluster.model.offers import InverseOffer, Offer
from cluster.model.operations import Change, OperationId, OperationStatus, OperationUuid
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec, StatusReport, TaskSpec

# Messages to schedulers ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendRegistered:
    """``again`` chooses "reregistered"."""

    peer: PeerId
    framework_id: FrameworkId
    again: bool


@dataclass(frozen=True, slots=True)
class SendFrameworkError:
    peer: PeerId
    message: str


@dataclass(frozen=True, slots=True)
class OfferDraft:
    """One offer and what its framework is told about the agent.

    ``unavailability``: when the agent's machine is to be worked on.
    """

    offer: Offer
    agent: AgentSpec
    agent_peer: PeerId
    executor_ids: tuple[ExecutorId, ...]
    unavailability: Unavailability | None = None


@dataclass(frozen=True, slots=True)
class SendOffers:
    peer: PeerId
    framework: FrameworkSpec
    offers: tuple[OfferDraft, ...]


@dataclass(frozen=True, slots=True)
class SendRescind:
    peer: PeerId
    offer_id: OfferId


@dataclass(frozen=True, slots=True)
class InverseOfferDraft:
    """One inverse offer and what its framework is told about the agent."""

    offer: InverseOffer
    agent: AgentSpec
    agent_peer: PeerId


@dataclass(frozen=True, slots=True)
class SendInverseOffers:
    peer: PeerId
    offers: tuple[InverseOfferDraft, ...]


@dataclass(frozen=True, slots=True)
class SendRescindInverse:
    peer: PeerId
    offer_id: OfferId


@dataclass(frozen=True, slots=True)
class SendReport:
    """``at_s`` is the time stamp of the status."""

    peer: PeerId
    report: StatusReport
    at_s: float


@dataclass(frozen=True, slots=True)
class SendOperationStatus:
    """News of an operation that the framework gave an id, for schedulers with feedback only."""

    peer: PeerId
    framework_id: FrameworkId
    status: OperationStatus


@dataclass(frozen=True, slots=True)
class SendAgentLost:
    peer: PeerId
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass a peer's message on unchanged, to a scheduler or an agent."""

    peer: PeerId
    payload: object


# Messages to agents ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendAgentRegistered:
    peer: PeerId
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class MissingTasks:
    """Tasks of one framework that an agent should have and did not report."""

    framework_id: FrameworkId
    framework: FrameworkSpec
    reports: tuple[StatusReport, ...]


@dataclass(frozen=True, slots=True)
class SendAgentReregistered:
    peer: PeerId
    agent_id: AgentId
    missing: tuple[MissingTasks, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class SendAgentShutdown:
    peer: PeerId
    message: str


@dataclass(frozen=True, slots=True)
class SendDrain:
    """Kill everything and launch nothing more."""

    peer: PeerId
    config: DrainConfig


@dataclass(frozen=True, slots=True)
class SendRunTask:
    """``role``: the role of the offer, to which the resources are allocated."""

    peer: PeerId
    framework_id: FrameworkId
    framework: FrameworkSpec
    framework_peer: PeerId | None
    task: TaskSpec
    role: str
    resource_version: bytes | None
    launch_executor: bool


@dataclass(frozen=True, slots=True)
class SendRunTaskGroup:
    """All ``tasks`` run under ``executor``; ``role`` as in ``SendRunTask``."""

    peer: PeerId
    framework_id: FrameworkId
    framework: FrameworkSpec
    executor: ExecutorSpec
    tasks: tuple[TaskSpec, ...]
    role: str
    resource_version: bytes | None
    launch_executor: bool


@dataclass(frozen=True, slots=True)
class SendApplyOperation:
    """``framework_id`` and ``role`` are None for what an operator ordered."""

    peer: PeerId
    framework_id: FrameworkId | None
    uuid: OperationUuid
    change: Change
    operation_id: OperationId | None
    role: str | None
    resource_version: bytes | None


@dataclass(frozen=True, slots=True)
class SendCheckpointResources:
    """For agents that know no operations: all dynamic reservations and volumes they shall have."""

    peer: PeerId
    resources: Resources


@dataclass(frozen=True, slots=True)
class SendOperationAcknowledgement:
    peer: PeerId
    operation_uuid: OperationUuid
    status_uuid: bytes
    provider_id: str | None


@dataclass(frozen=True, slots=True)
class OperationInQuestion:
    """An operation that an agent is asked about."""

    uuid: OperationUuid | None
    operation_id: OperationId | None
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class SendReconcileOperations:
    """Ask an agent about operations: it answers "dropped" for those it does not know."""

    peer: PeerId
    framework_id: FrameworkId | None
    operations: tuple[OperationInQuestion, ...]


@dataclass(frozen=True, slots=True)
class SendKillTask:
    peer: PeerId
    framework_id: FrameworkId
    task_id: TaskId
    policy: object | None


@dataclass(frozen=True, slots=True)
class SendAcknowledgement:
    peer: PeerId
    agent_id: AgentId
    framework_id: FrameworkId
    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class SendShutdownFramework:
    peer: PeerId
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class SendShutdownExecutor:
    peer: PeerId
    framework_id: FrameworkId
    executor_id: ExecutorId


@dataclass(frozen=True, slots=True)
class SendUpdateFramework:
    peer: PeerId
    framework_id: FrameworkId
    framework: FrameworkSpec
    framework_peer: PeerId | None


@dataclass(frozen=True, slots=True)
class SendToExecutor:
    peer: PeerId
    agent_id: AgentId
    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


# To operators ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerOperator:
    """The end of one operator call: an HTTP status, and what went wrong when it is not 2xx."""

    request: int
    status: int
    text: str = ""


# Orders to the master's own surroundings -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """Be told when the peer can no longer be reached."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class StartObserver:
    """Begin to ping the agent; an observer of an earlier connection ends."""

    agent_id: AgentId
    peer: PeerId


@dataclass(frozen=True, slots=True)
class TellObserver:
    """Whether pings shall say that the master counts the agent as connected."""

    agent_id: AgentId
    connected: bool


@dataclass(frozen=True, slots=True)
class StopObserver:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class FailoverTimer:
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class ReregistrationTimer:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class OfferTimer:
    offer_id: OfferId


@dataclass(frozen=True, slots=True)
class RecoveryTimer:
    """How long the agents of an earlier master may take to come back."""


@dataclass(frozen=True, slots=True)
class AllocatorRecoveryTimer:
    """How long the allocator waits for them."""


@dataclass(frozen=True, slots=True)
class RemovalTimer:
    """When the next agent may be given up."""


@dataclass(frozen=True, slots=True)
class RegistryGcTimer:
    """When old entries of the registry are dropped next."""


TimerKey = (
    FailoverTimer
    | ReregistrationTimer
    | OfferTimer
    | RecoveryTimer
    | AllocatorRecoveryTimer
    | RemovalTimer
    | RegistryGcTimer
)


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Feed ``event`` back after ``delay_s``; a running timer with the same key is replaced."""

    key: TimerKey
    delay_s: float
    event: MasterEvent


@dataclass(frozen=True, slots=True)
class CancelTimer:
    key: TimerKey


@dataclass(frozen=True, slots=True)
class WriteRegistry:
    """Make the operation durable, then feed back ``RegistryWritten`` with the same fields.

    ``request`` is the operator call that waits for it.
    """

    operation: RegistryOperation
    request: int | None = None


@dataclass(frozen=True, slots=True)
class EndMaster:
    """The master must not go on; ``text`` is one line for the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class RequestAllocationRun:
    """Feed back ``AllocationDue`` once everything that waits in the mailbox now is done."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Something was refused or ignored. ``subject`` groups repetitions of one complaint."""

    subject: str
    text: str


MasterEffect = (
    SendRegistered
    | SendFrameworkError
    | SendOffers
    | SendRescind
    | SendInverseOffers
    | SendRescindInverse
    | SendReport
    | SendOperationStatus
    | SendAgentLost
    | Forward
    | SendAgentRegistered
    | SendAgentReregistered
    | SendAgentShutdown
    | SendRunTask
    | SendRunTaskGroup
    | SendApplyOperation
    | SendCheckpointResources
    | SendOperationAcknowledgement
    | SendReconcileOperations
    | SendKillTask
    | SendAcknowledgement
    | SendShutdownFramework
    | SendShutdownExecutor
    | SendUpdateFramework
    | SendToExecutor
    | AnswerOperator
    | Link
    | StartObserver
    | TellObserver
    | StopObserver
    | StartTimer
    | CancelTimer
    | WriteRegistry
    | EndMaster
    | SendDrain
    | RequestAllocationRun
    | Warn
)

__all__ = [
    "AllocatorRecoveryTimer",
    "AnswerOperator",
    "CancelTimer",
    "EndMaster",
    "FailoverTimer",
    "Forward",
    "InverseOfferDraft",
    "Link",
    "MasterEffect",
    "MissingTasks",
    "OfferDraft",
    "OfferTimer",
    "OperationInQuestion",
    "RecoveryTimer",
    "RegistryGcTimer",
    "RemovalTimer",
    "RequestAllocationRun",
    "ReregistrationTimer",
    "SendAcknowledgement",
    "SendAgentLost",
    "SendAgentRegistered",
    "SendAgentReregistered",
    "SendAgentShutdown",
    "SendApplyOperation",
    "SendCheckpointResources",
    "SendDrain",
    "SendFrameworkError",
    "SendInverseOffers",
    "SendKillTask",
    "SendOffers",
    "SendOperationAcknowledgement",
    "SendOperationStatus",
    "SendReconcileOperations",
    "SendRegistered",
    "SendReport",
    "SendRescind",
    "SendRescindInverse",
    "SendRunTask",
    "SendRunTaskGroup",
    "SendShutdownExecutor",
    "SendShutdownFramework",
    "SendToExecutor",
    "SendUpdateFramework",
    "StartObserver",
    "StartTimer",
    "StopObserver",
    "TellObserver",
    "TimerKey",
    "Warn",
    "WriteRegistry",
]
