"""What the allocator is told, and what it decides: facts in, allocations out.

Source: allocator.md §2 (calls in), §4 (filters).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.model.agents import AgentCapability
from cluster.model.constraints import NO_FACTS, AgentFacts, OfferConstraints
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.maintenance import InverseOfferStatus, Unavailability
from cluster.model.quotas import Quotas
from cluster.model.resources import Resources
from cluster.model.values import Quantities

# Frameworks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameworkTraits:
    """What of a framework's description decides which offers it can take.

    Attributes:
        min_allocatable: role -> alternatives, of which an offer must hold one; a role without
            entry follows the options, an entry without alternatives takes anything.
        constraints: which agents it wants at all; None for every one.
    """

    capabilities: frozenset[FrameworkCapability] = frozenset()
    min_allocatable: Mapping[str, tuple[Quantities, ...]] = field(default_factory=dict)
    constraints: OfferConstraints | None = None


@dataclass(frozen=True, slots=True)
class FrameworkAdded:
    """A framework subscribed. What it already uses is told by the agents (``AgentAdded.used``)."""

    framework_id: FrameworkId
    roles: tuple[str, ...]
    suppressed_roles: frozenset[str] = frozenset()
    active: bool = True
    traits: FrameworkTraits = FrameworkTraits()


@dataclass(frozen=True, slots=True)
class FrameworkUpdated:
    """A framework changed its description; every field replaces what was known."""

    framework_id: FrameworkId
    roles: tuple[str, ...]
    suppressed_roles: frozenset[str] = frozenset()
    traits: FrameworkTraits = FrameworkTraits()


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


# Agents -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentTraits:
    """What of an agent's description decides who can be offered it."""

    facts: AgentFacts = NO_FACTS
    capabilities: frozenset[AgentCapability] = frozenset(AgentCapability)


@dataclass(frozen=True, slots=True)
class AgentAdded:
    """An agent registered.

    Attributes:
        total: all it has, unallocated form; revocable resources included.
        used: what runs there already as ``(framework id, role, resources)``; the framework need
            not be known (yet).
        is_active: False for an agent that must not be offered (deactivated, draining).
    """

    agent_id: AgentId
    total: Resources
    used: tuple[tuple[FrameworkId, str, Resources], ...] = ()
    traits: AgentTraits = AgentTraits()
    unavailability: Unavailability | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class AgentUpdated:
    """An agent's total or description changed. The total may now be less than what is in use.

    ``traits`` None: the description is the same. Changed traits end all filters on the agent.
    """

    agent_id: AgentId
    total: Resources
    traits: AgentTraits | None = None


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
class UnavailabilityChanged:
    """An agent's machine is to be worked on, at another time than known, or not at all (None)."""

    agent_id: AgentId
    unavailability: Unavailability | None


@dataclass(frozen=True, slots=True)
class WhitelistUpdated:
    """Only agents on these hosts are offered; None for all agents."""

    hostnames: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class RecoveryBegun:
    """The master follows another one: no runs until enough of its agents are back.

    Enough is ``AllocatorOptions.recovery_factor`` of ``expected_agents``; ``RecoveryEnded`` comes
    when the wait has lasted too long.
    """

    expected_agents: int


@dataclass(frozen=True, slots=True)
class RecoveryEnded:
    """Runs may begin even though agents are missing."""


# Resources ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResourcesConverted:
    """An operation turned offered or used resources into others (reserved, made a volume, ...).

    The framework holds ``after`` instead of ``before``, and so does the agent's total.
    """

    framework_id: FrameworkId
    role: str
    agent_id: AgentId
    before: Resources
    after: Resources


@dataclass(frozen=True, slots=True)
class FreeResourcesConverted:
    """An operator turned free resources of an agent into others; ``before`` must be free."""

    agent_id: AgentId
    before: Resources
    after: Resources


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


# Wishes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResourcesRequested:
    """A framework says what it waits for (REQUEST): every offer should hold one of these at least.

    Only a hint: the allocator may collect free resources of one agent until they suffice. An empty
    tuple takes earlier requests back. ``role`` None stands for all roles of the framework;
    ``agent_id`` for a wish that only this agent can fulfil.
    """

    framework_id: FrameworkId
    wanted: tuple[Quantities, ...]
    role: str | None = None
    agent_id: AgentId | None = None


@dataclass(frozen=True, slots=True)
class InverseOfferAnswered:
    """A framework said whether it can give an agent up in time; ``refuse_s`` as in a refusal."""

    framework_id: FrameworkId
    agent_id: AgentId
    status: InverseOfferStatus
    refuse_s: float | None = None


@dataclass(frozen=True, slots=True)
class InverseOfferWithdrawn:
    """An inverse offer ended without an answer; it may be made again."""

    framework_id: FrameworkId
    agent_id: AgentId


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


# Shares and time ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QuotasUpdated:
    """Quotas of some roles changed; a default quota takes a role's quota away."""

    quotas: Quotas


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
    | UnavailabilityChanged
    | WhitelistUpdated
    | RecoveryBegun
    | RecoveryEnded
    | ResourcesConverted
    | FreeResourcesConverted
    | ResourcesRequested
    | InverseOfferAnswered
    | InverseOfferWithdrawn
    | QuotasUpdated
    | WeightsUpdated
    | IntervalElapsed
)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Decision: these resources of this agent go to this framework in this role, as one offer.

    ``resources`` are in unallocated form: the mark with the role is put on where they are sent.
    """

    framework_id: FrameworkId
    role: str
    agent_id: AgentId
    resources: Resources


@dataclass(frozen=True, slots=True)
class InverseAllocation:
    """Decision: ask this framework to give this agent up (all it holds there) in time."""

    framework_id: FrameworkId
    agent_id: AgentId
    unavailability: Unavailability


@dataclass(frozen=True, slots=True)
class AllocatorStatistics:
    """What an allocator counts for its operators.

    Attributes:
        filtered_offers: offers that were not made because of what frameworks said once and for
            all: their offer constraints and their smallest wanted offers.
        active_filters: role -> refusals that keep offers away now.
        dominant_shares: role -> its dominant share, without the roles below it.
        filtered_of: framework -> its part of ``filtered_offers``, in the roles that it has now.
    """

    filtered_offers: int = 0
    active_filters: Mapping[str, int] = field(default_factory=dict)
    dominant_shares: Mapping[str, float] = field(default_factory=dict)
    filtered_of: Mapping[FrameworkId, int] = field(default_factory=dict)


__all__ = [
    "AgentActivated",
    "AgentAdded",
    "AgentDeactivated",
    "AgentRemoved",
    "AgentTraits",
    "AgentUpdated",
    "Allocation",
    "AllocatorEvent",
    "AllocatorStatistics",
    "FrameworkActivated",
    "FrameworkAdded",
    "FrameworkDeactivated",
    "FrameworkRemoved",
    "FrameworkTraits",
    "FrameworkUpdated",
    "FreeResourcesConverted",
    "IntervalElapsed",
    "InverseAllocation",
    "InverseOfferAnswered",
    "InverseOfferWithdrawn",
    "OffersRevived",
    "OffersSuppressed",
    "QuotasUpdated",
    "RecoveryBegun",
    "RecoveryEnded",
    "ResourcesConverted",
    "ResourcesRecovered",
    "ResourcesRequested",
    "UnavailabilityChanged",
    "WeightsUpdated",
    "WhitelistUpdated",
]
