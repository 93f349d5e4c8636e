"""Who is served: frameworks, and each of them in each of its roles.

A *client* is a framework in one role. It exists while the framework subscribes to the role or
holds something in it, and is the key under which resources are booked and refusals remembered.
"""

from collections.abc import Iterable
from typing import Final

from cluster.core.allocator.events import FrameworkTraits
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Marks
from cluster.model.values import Quantities

REQUESTS_PER_FRAMEWORK_MAX: Final = 64
"""Wishes (role and agent) that are remembered for one framework; beyond, the oldest gives way."""

_NEEDED_TO_UNDERSTAND = (
    (FrameworkCapability.SHARED_RESOURCES, Marks.SHARED),
    (FrameworkCapability.REVOCABLE_RESOURCES, Marks.REVOCABLE),
    (FrameworkCapability.RESERVATION_REFINEMENT, Marks.REFINED),
)

WishKey = tuple[str | None, AgentId | None]
"""The role and the agent that a wish is about; None stands for all."""


class Framework:
    """What the allocator knows of a subscribed framework."""

    __slots__ = (
        "dropped_marks",
        "framework_id",
        "is_active",
        "roles",
        "suppressed",
        "traits",
        "wishes",
    )

    def __init__(
        self,
        framework_id: FrameworkId,
        roles: Iterable[str],
        suppressed: Iterable[str],
        traits: FrameworkTraits,
        *,
        is_active: bool,
    ) -> None:
        self.framework_id = framework_id
        self.is_active = is_active
        self.wishes: dict[WishKey, tuple[Quantities, ...]] = {}
        self.describe(roles, suppressed, traits)

    def describe(
        self, roles: Iterable[str], suppressed: Iterable[str], traits: FrameworkTraits
    ) -> None:
        """Replace what the framework says about itself."""
        self.roles = tuple(dict.fromkeys(roles))
        self.suppressed = set(suppressed)
        self.traits = traits
        self.dropped_marks = 0
        """Entries with one of these marks are left out of its offers."""
        for capability, mark in _NEEDED_TO_UNDERSTAND:
            if capability not in traits.capabilities:
                self.dropped_marks |= mark

    def wants_offers(self, role: str) -> bool:
        return self.is_active and role in self.roles and role not in self.suppressed

    def wish(self, key: WishKey, wanted: tuple[Quantities, ...]) -> None:
        """Remember what it waits for; nothing wanted takes an earlier wish back."""
        self.wishes.pop(key, None)
        if wanted:
            self.wishes[key] = wanted
            if len(self.wishes) > REQUESTS_PER_FRAMEWORK_MAX:
                del self.wishes[next(iter(self.wishes))]


class Client:
    """A framework in one of its roles; compared by identity.

    Attributes:
        framework: None while the framework is unknown: then it holds something, and no more.
        is_served: whether it wants offers now.
        agents_held: on how many agents it holds something.
        min_allocatable: of which quantities its offers must hold one; None for the options' rule.
        capable_of: kind of agent to whether it can take such an agent at all.
        allowed_on: agent to what its offer constraints say; only asked where it has some.
        offers_made: how many offers it got.
        offers_saved: how many it did not get because of its constraints or its own minimum.
        last_offer_s: when it got the last one.
    """

    __slots__ = (
        "agents_held",
        "allowed_on",
        "capable_of",
        "framework",
        "framework_id",
        "is_served",
        "last_offer_s",
        "min_allocatable",
        "offers_made",
        "offers_saved",
        "role",
    )

    def __init__(self, framework_id: FrameworkId, role: str) -> None:
        self.framework_id = framework_id
        self.role = role
        self.framework: Framework | None = None
        self.is_served = False
        self.agents_held = 0
        self.min_allocatable: tuple[Quantities, ...] | None = None
        self.capable_of: dict[int, bool] = {}
        self.allowed_on: dict[AgentId, bool] | None = None
        self.offers_made = 0
        self.offers_saved = 0
        self.last_offer_s: float | None = None

    def describe(self, framework: Framework | None) -> None:
        """Take over what the framework says; earlier verdicts are forgotten."""
        self.framework = framework
        self.capable_of = {}
        self.allowed_on = None
        self.min_allocatable = None
        if framework is not None:
            self.min_allocatable = framework.traits.min_allocatable.get(self.role)
            constraints = framework.traits.constraints
            if constraints is not None and self.role in constraints.groups:
                self.allowed_on = {}

    def __repr__(self) -> str:
        return f"framework {self.framework_id} in role {self.role}"


__all__ = ["REQUESTS_PER_FRAMEWORK_MAX", "Client", "Framework", "WishKey"]
