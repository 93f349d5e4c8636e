"""What an operator can ask of the master, one value per kind of call.

The HTTP faces turn their bodies into these. Source: master.md §3.3 to §3.5, §9.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import MachineId, MaintenanceWindow
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY, Resources


@dataclass(frozen=True, slots=True)
class UpdateQuotas:
    """All or nothing. ``force`` skips the checks against what is used and what there is."""

    quotas: Mapping[str, Quota]
    force: bool = False


@dataclass(frozen=True, slots=True)
class UpdateWeights:
    """Role -> weight; the weights of other roles stay."""

    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class UpdateMaintenanceSchedule:
    """Replaces the whole schedule."""

    windows: tuple[MaintenanceWindow, ...]


@dataclass(frozen=True, slots=True)
class StartMaintenance:
    machines: tuple[MachineId, ...]


@dataclass(frozen=True, slots=True)
class StopMaintenance:
    machines: tuple[MachineId, ...]


@dataclass(frozen=True, slots=True)
class DrainAgent:
    """``max_grace_s`` bounds the grace periods of the tasks that are killed."""

    agent_id: AgentId
    max_grace_s: float | None = None
    mark_gone: bool = False


@dataclass(frozen=True, slots=True)
class DeactivateAgent:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class ReactivateAgent:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class MarkAgentAsGone:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class TearDownFramework:
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class ReserveResources:
    """``source``: what they are reserved as now, when a reservation is replaced by another."""

    agent_id: AgentId
    resources: Resources
    source: Resources = EMPTY


@dataclass(frozen=True, slots=True)
class UnreserveResources:
    agent_id: AgentId
    resources: Resources


@dataclass(frozen=True, slots=True)
class CreateVolumes:
    agent_id: AgentId
    volumes: Resources


@dataclass(frozen=True, slots=True)
class DestroyVolumes:
    agent_id: AgentId
    volumes: Resources


@dataclass(frozen=True, slots=True)
class GrowVolume:
    agent_id: AgentId
    volume: Resources
    addition: Resources


@dataclass(frozen=True, slots=True)
class ShrinkVolume:
    """``subtract_milli``: by how many thousandths of a megabyte."""

    agent_id: AgentId
    volume: Resources
    subtract_milli: int


FleetCall = (
    UpdateQuotas
    | UpdateWeights
    | UpdateMaintenanceSchedule
    | StartMaintenance
    | StopMaintenance
    | DrainAgent
    | DeactivateAgent
    | ReactivateAgent
    | MarkAgentAsGone
)
"""Calls about shares and whole agents."""

ResourceCall = (
    ReserveResources
    | UnreserveResources
    | CreateVolumes
    | DestroyVolumes
    | GrowVolume
    | ShrinkVolume
)
"""Calls that change what some of an agent's resources are."""

OperatorCall = FleetCall | ResourceCall | TearDownFramework

__all__ = [
    "CreateVolumes",
    "DeactivateAgent",
    "DestroyVolumes",
    "DrainAgent",
    "FleetCall",
    "GrowVolume",
    "MarkAgentAsGone",
    "OperatorCall",
    "ReactivateAgent",
    "ReserveResources",
    "ResourceCall",
    "ShrinkVolume",
    "StartMaintenance",
    "StopMaintenance",
    "TearDownFramework",
    "UnreserveResources",
    "UpdateMaintenanceSchedule",
    "UpdateQuotas",
    "UpdateWeights",
]
