"""A framework as it describes itself when it subscribes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from cluster.model.ids import FrameworkId
from cluster.model.values import Quantities


class FrameworkCapability(IntEnum):
    """What a scheduler says it can handle; numbers of ``FrameworkInfo.Capability.Type``."""

    REVOCABLE_RESOURCES = 1
    TASK_KILLING_STATE = 2
    GPU_RESOURCES = 3
    SHARED_RESOURCES = 4
    PARTITION_AWARE = 5
    MULTI_ROLE = 6
    RESERVATION_REFINEMENT = 7
    REGION_AWARE = 8


@dataclass(frozen=True, slots=True)
class FrameworkSpec:
    """One framework's description of itself, already validated.

    ``roles`` has one entry for a framework without MULTI_ROLE, possibly none for one with it.
    ``min_allocatable`` has, for a role, alternatives of which an offer must hold one.
    ``payload`` is the peer's own message, passed on to agents without being looked into.
    """

    framework_id: FrameworkId | None
    name: str
    user: str
    roles: tuple[str, ...]
    capabilities: frozenset[FrameworkCapability]
    failover_timeout_s: float
    checkpoint: bool
    principal: str | None
    payload: object
    min_allocatable: Mapping[str, tuple[Quantities, ...]] = field(default_factory=dict)

    @property
    def is_partition_aware(self) -> bool:
        return FrameworkCapability.PARTITION_AWARE in self.capabilities

    @property
    def is_multi_role(self) -> bool:
        return FrameworkCapability.MULTI_ROLE in self.capabilities

    @property
    def has_reservation_refinement(self) -> bool:
        return FrameworkCapability.RESERVATION_REFINEMENT in self.capabilities


__all__ = ["FrameworkCapability", "FrameworkSpec"]
