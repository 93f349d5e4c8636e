"""Operations on an agent's own resources: what crosses the border of its messages.

Payloads are the peers' own messages, passed through unread. The names of `cluster.model.executors`
apply: *facts* come in from the master, records go out to it.
"""

from dataclasses import dataclass

from cluster.model.conversions import Conversion
from cluster.model.ids import FrameworkId
from cluster.model.operations import OperationState
from cluster.model.resources import Resources
from cluster.model.volumes import PersistentVolume


@dataclass(frozen=True, slots=True)
class OperationName:
    """Which operation is spoken of.

    Attributes:
        uuid: 16 bytes by which master and agent know it.
        operation_id: the framework's own name for it, when it wants to hear of it.
        framework_id: None for an operator's.
    """

    uuid: bytes
    operation_id: str | None
    framework_id: FrameworkId | None


@dataclass(frozen=True, slots=True)
class OperationArrived:
    """The master wants an operation carried out.

    Attributes:
        conversion: what it does to resources; None when `error` says why it cannot be done.
        is_version_current: it was computed on the resources the agent has now.
        in_use: what tasks and executors hold at the moment.
        payload: its ``Offer.Operation``.
    """

    name: OperationName
    conversion: Conversion | None
    error: str
    is_version_current: bool
    in_use: Resources
    payload: object


@dataclass(frozen=True, slots=True)
class OperationsReconciled:
    """The master believes that these operations are known here."""

    names: tuple[OperationName, ...]


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """An operation and how it ended, until the master acknowledged that.

    `status_uuid` names the status; None for one that nobody needs to acknowledge.
    """

    name: OperationName
    state: OperationState
    text: str
    status_uuid: bytes | None
    payload: object


@dataclass(frozen=True, slots=True)
class CheckpointedState:
    """What must survive the agent, and which directories follow from it.

    `created` and `removed` are the volumes that this state has more and less than the last one.
    """

    resources: Resources
    operations: tuple[OperationRecord, ...]
    created: tuple[PersistentVolume, ...] = ()
    removed: tuple[PersistentVolume, ...] = ()


__all__ = [
    "CheckpointedState",
    "OperationArrived",
    "OperationName",
    "OperationRecord",
    "OperationsReconciled",
]
