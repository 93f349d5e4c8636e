"""What the allocator is told, and what it decides: facts in, allocations out.

Source: allocator.md §2 (calls in), §4 (filters).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources


@dataclass(frozen=True, slots=True)
class FrameworkAdded:
    """A framework subscribed. What it already uses is told by the agents (``AgentAdded.used``)."""

    framework_id: FrameworkId
    roles: tuple[str, ...]
    suppressed_roles: frozenset[str] = frozenset()
    active: bool = True


@dataclass(frozen=True, slots=True)
class FrameworkUpdated:
    """A framework changed its roles; both fields replace what was known."""

    framework_id: FrameworkId
    roles: tuple[str, ...]
    suppressed_roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FrameworkRemoved:
    """A framework is gone; what it still holds comes back by ``ResourcesRecovered``."""

    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class FrameworkActivated:
    """A disconnected framework is back."""

    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class FrameworkDeactivated:
    """A framework disconnected: no offers for it, and its filters are forgotten."""

    framework_id: FrameworkId


@dataclass(frozen=True, slots=True)
class AgentAdded:
    """An agent registered.

    Attributes:
        total: all it has, unallocated form.
        used: what runs there already as ``(framework id, role, resources)``; the framework need
            not be known (yet).
    """

    agent_id: AgentId
    total: Resources
    used: tuple[tuple[FrameworkId, str, Resources], ...] = ()


@dataclass(frozen=True, slots=True)
class AgentUpdated:
    """An agent's total changed. It may now be less than what is in use there."""

    agent_id: AgentId
    total: Resources


@dataclass(frozen=True, slots=True)
class AgentRemoved:
    """An agent is gone, and all that was booked on it with it."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class AgentActivated:
    """An agent may be offered (again)."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class AgentDeactivated:
    """An agent must not be offered for now; what is booked there stays booked."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class ResourcesRecovered:
    """Offered or used resources came back.

    Attributes:
        resources: allocated or unallocated form; may be empty.
        refuse_s: the refusal filter's seconds as the framework gave them (0, negative and huge
            values included); None when nobody refused: task end, rescind, offer timeout.
    """

    framework_id: FrameworkId
    role: str
    agent_id: AgentId
    resources: Resources
    refuse_s: float | None = None


@dataclass(frozen=True, slots=True)
class OffersSuppressed:
    """A framework wants no offers for these roles; no roles mean all of its roles."""

    framework_id: FrameworkId
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OffersRevived:
    """A framework wants offers again and takes its refusals back; no roles mean all its roles."""

    framework_id: FrameworkId
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsUpdated:
    """Weights of some roles changed: role path to weight above 0; others keep theirs."""

    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IntervalElapsed:
    """The allocation interval passed: filters that ran out by now free their agents."""


AllocatorEvent = (
    FrameworkAdded
    | FrameworkUpdated
    | FrameworkRemoved
    | FrameworkActivated
    | FrameworkDeactivated
    | AgentAdded
    | AgentUpdated
    | AgentRemoved
    | AgentActivated
    | AgentDeactivated
    | ResourcesRecovered
    | OffersSuppressed
    | OffersRevived
    | WeightsUpdated
    | IntervalElapsed
)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Decision: these resources of this agent go to this framework in this role, as one offer.

    ``resources`` are in allocated form (each entry carries the role).
    """

    framework_id: FrameworkId
    role: str
    agent_id: AgentId
    resources: Resources


__all__ = [
    "AgentActivated",
    "AgentAdded",
    "AgentDeactivated",
    "AgentRemoved",
    "AgentUpdated",
    "Allocation",
    "AllocatorEvent",
    "FrameworkActivated",
    "FrameworkAdded",
    "FrameworkDeactivated",
    "FrameworkRemoved",
    "FrameworkUpdated",
    "IntervalElapsed",
    "OffersRevived",
    "OffersSuppressed",
    "ResourcesRecovered",
    "WeightsUpdated",
]
