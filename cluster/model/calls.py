"""What a scheduler can ask of the master, one value per kind of call.

Source: messages.md §2.1 and the field table of ``mesos.scheduler.Call``. Legacy messages (for
example ``LaunchTasksMessage``) become the same values.
"""

from dataclasses import dataclass

from cluster.model.constraints import OfferConstraints
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, ExecutorId, OfferId, TaskId
from cluster.model.operations import Change, OperationId
from cluster.model.tasks import Defect, ExecutorSpec, TaskSpec
from cluster.model.values import Quantities


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Start (no id in ``spec``) or resume a subscription; ``force`` replaces another instance.

    ``has_feedback``: the scheduler can be told what becomes of operations (over HTTP).
    """

    spec: FrameworkSpec
    force: bool
    suppressed_roles: frozenset[str]
    constraints: OfferConstraints | None = None
    has_feedback: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Launch each of the tasks that is valid."""

    tasks: tuple[TaskSpec, ...]

    @property
    def named_tasks(self) -> tuple[tuple[TaskId, AgentId], ...]:
        """The tasks and the agents they are meant for."""
        return tuple((task.task_id, task.agent_id) for task in self.tasks)


@dataclass(frozen=True, slots=True)
class LaunchGroup:
    """Launch all of the tasks under one executor, or none.

    ``defect`` is the first rule that the description of the group breaks by itself; of such a group
    only the ids mean anything. Otherwise ``executor`` is set.
    """

    tasks: tuple[TaskSpec, ...]
    executor: ExecutorSpec | None
    defect: Defect | None = None

    @property
    def named_tasks(self) -> tuple[tuple[TaskId, AgentId], ...]:
        """The tasks and the agents they are meant for."""
        return tuple((task.task_id, task.agent_id) for task in self.tasks)


@dataclass(frozen=True, slots=True)
class ChangeResources:
    """Turn resources into others.

    ``role`` is what the resources are marked as allocated to, None without marks. ``operation_id``
    is set when the framework wants to hear what becomes of the change.
    """

    change: Change
    operation_id: OperationId | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class BrokenOperation:
    """A change that cannot be read; ``error`` names the field and the rule."""

    name: str
    error: str
    operation_id: OperationId | None = None


@dataclass(frozen=True, slots=True)
class UnsupportedOperation:
    """An offer operation of a type that this master does not know."""

    name: str
    operation_id: str | None


Operation = Launch | LaunchGroup | ChangeResources | BrokenOperation | UnsupportedOperation


@dataclass(frozen=True, slots=True)
class Accept:
    """Use the offers for the operations, in order.

    ``refuse_s`` is how long the rest is refused, as the framework wrote it: the allocator knows
    what 0, negative and huge values mean.
    """

    offer_ids: tuple[OfferId, ...]
    operations: tuple[Operation, ...]
    refuse_s: float


@dataclass(frozen=True, slots=True)
class Decline:
    """``refuse_s`` as in ``Accept``."""

    offer_ids: tuple[OfferId, ...]
    refuse_s: float


@dataclass(frozen=True, slots=True)
class Revive:
    """Clear the filters of the roles; no roles means all."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suppress:
    """Stop offers in the roles; no roles means all."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kill:
    """``policy`` is the framework's own kill policy message, or None."""

    task_id: TaskId
    agent_id: AgentId | None
    policy: object | None


@dataclass(frozen=True, slots=True)
class ShutdownExecutor:
    executor_id: ExecutorId
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class Acknowledge:
    agent_id: AgentId
    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Tell the states of the listed tasks; an empty list means all live tasks."""

    tasks: tuple[tuple[TaskId, AgentId | None], ...]


@dataclass(frozen=True, slots=True)
class AcknowledgeOperation:
    """The framework has taken note of the status ``uuid`` of an operation."""

    operation_id: OperationId
    uuid: bytes
    agent_id: AgentId | None = None


@dataclass(frozen=True, slots=True)
class ReconcileOperations:
    """Tell the states of the listed operations; an empty list means all that are known."""

    operations: tuple[tuple[OperationId, AgentId | None], ...]


@dataclass(frozen=True, slots=True)
class MessageExecutor:
    agent_id: AgentId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True)
class AcceptInverseOffers:
    """The framework will have left these agents in time; ``refuse_s`` as in ``Accept``."""

    offer_ids: tuple[OfferId, ...]
    refuse_s: float


@dataclass(frozen=True, slots=True)
class DeclineInverseOffers:
    """The framework wants to stay on these agents; ``refuse_s`` as in ``Accept``."""

    offer_ids: tuple[OfferId, ...]
    refuse_s: float


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """One amount that a framework waits for.

    ``agent_id`` None: on any agent; ``role`` None: in any role of the framework.
    """

    wanted: Quantities
    agent_id: AgentId | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class RequestResources:
    """What the framework waits for now; replaces all of its earlier requests."""

    requests: tuple[ResourceRequest, ...]


@dataclass(frozen=True, slots=True)
class UpdateFramework:
    """Replace the framework's description without subscribing anew."""

    spec: FrameworkSpec
    suppressed_roles: frozenset[str]
    constraints: OfferConstraints | None = None


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """An update that breaks a rule by itself; ``error`` names the field and the rule."""

    error: str


@dataclass(frozen=True, slots=True)
class Teardown:
    """Remove the framework and everything it runs."""


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Send no more offers; the framework stays connected."""


@dataclass(frozen=True, slots=True)
class UnsupportedCall:
    """A call that this master does not carry out; ``name`` as in the message."""

    name: str


Call = (
    AcceptInverseOffers
    | DeclineInverseOffers
    | Teardown
    | Deactivate
    | Accept
    | Decline
    | Revive
    | Suppress
    | Kill
    | ShutdownExecutor
    | Acknowledge
    | Reconcile
    | AcknowledgeOperation
    | ReconcileOperations
    | MessageExecutor
    | RequestResources
    | UpdateFramework
    | UpdateRefused
    | UnsupportedCall
)

__all__ = [
    "Accept",
    "AcceptInverseOffers",
    "Acknowledge",
    "AcknowledgeOperation",
    "BrokenOperation",
    "Call",
    "ChangeResources",
    "Deactivate",
    "Decline",
    "DeclineInverseOffers",
    "Kill",
    "Launch",
    "LaunchGroup",
    "MessageExecutor",
    "Operation",
    "Reconcile",
    "ReconcileOperations",
    "RequestResources",
    "ResourceRequest",
    "Revive",
    "ShutdownExecutor",
    "Subscribe",
    "Suppress",
    "Teardown",
    "UnsupportedCall",
    "UnsupportedOperation",
    "UpdateFramework",
    "UpdateRefused",
]
