"""Who can take which agent, what of an offer a framework understands, and what is worth an offer.

The cheap questions of a run: each verdict depends on descriptions alone and is remembered with the
client until a description changes.

Source: allocator.md §3 (capable, dropped resources, implicit filters, allocatable), §4
(constraints).
"""

from fractions import Fraction

from cluster.core.allocator.agents import (
    HAS_GPUS,
    IS_REMOTE,
    LACKS_HIERARCHICAL_ROLE,
    LACKS_MULTI_ROLE,
    AgentBook,
)
from cluster.core.allocator.clients import Client, Framework
from cluster.core.allocator.options import AllocatorOptions
from cluster.model.frameworks import FrameworkCapability
from cluster.model.resources import Resources
from cluster.model.values import Quantities


def is_worth(resources: Resources, alternatives: tuple[Quantities, ...]) -> bool:
    """Whether resources hold all of one alternative; without alternatives anything will do."""
    if not resources:
        return False
    if not alternatives:
        return True
    have = resources.quantities()
    for wanted in alternatives:
        for name, milli in wanted.items():
            if have.get(name, 0) < milli:
                break
        else:
            return True
    return False


def missing_of(
    resources: Resources, alternatives: tuple[Quantities, ...]
) -> tuple[Quantities, Fraction]:
    """What would have to be added to hold all of one alternative, where that is least.

    Returns:
        The amounts, and their size in parts of the alternative; nothing when nothing is missing.
    """
    have = resources.quantities()
    gaps = []
    for wanted in alternatives:
        gap = {n: milli - have.get(n, 0) for n, milli in wanted.items() if milli > have.get(n, 0)}
        size = sum((Fraction(milli, wanted[n]) for n, milli in gap.items()), Fraction(0))
        gaps.append((gap, size))
    return min(gaps, key=lambda gap: gap[1], default=({}, Fraction(0)))


def usable_part(client: Client, resources: Resources) -> Resources:
    """What of an agent's resources the client may use and can handle."""
    dropped = 0 if client.framework is None else client.framework.dropped_marks
    return resources.usable_by(client.role).without(dropped)


class Suitability:
    """Verdicts about clients and agents under one set of options."""

    __slots__ = ("_filters_gpus", "filtered_offers")

    def __init__(self, options: AllocatorOptions) -> None:
        self._filters_gpus = options.filter_gpu_resources
        self.filtered_offers = 0
        """Offers not made because of what frameworks said once: constraints, smallest offers."""

    def is_capable(self, client: Client, agent: AgentBook) -> bool:
        """Whether the client may be offered anything of this agent at all; counts what is saved."""
        verdict = client.capable_of.get(agent.kind)
        if verdict is None:
            verdict = client.capable_of[agent.kind] = self._judge_kind(client, agent.kind)
        if verdict and client.allowed_on is not None:
            return self._is_allowed(client, agent)
        return verdict

    def _judge_kind(self, client: Client, kind: int) -> bool:
        return client.framework is not None and not self._failed(client, client.framework, kind)

    def failed_kind(self, client: Client, agent: AgentBook) -> int:
        """Which trait of the agent the client cannot cope with, as a bit of its kind; 0: none."""
        framework = client.framework
        return 0 if framework is None else self._failed(client, framework, agent.kind)

    def _failed(self, client: Client, framework: Framework, kind: int) -> int:
        capabilities = framework.traits.capabilities
        if kind & HAS_GPUS and self._filters_gpus:
            if FrameworkCapability.GPU_RESOURCES not in capabilities:
                return HAS_GPUS
        if kind & IS_REMOTE and FrameworkCapability.REGION_AWARE not in capabilities:
            return IS_REMOTE
        if kind & LACKS_MULTI_ROLE and FrameworkCapability.MULTI_ROLE in capabilities:
            return LACKS_MULTI_ROLE
        if kind & LACKS_HIERARCHICAL_ROLE and "/" in client.role:
            return LACKS_HIERARCHICAL_ROLE
        return 0

    def could_take(self, client: Client, agent: AgentBook) -> bool:
        """As ``is_capable``, for those who make no offers: nothing is counted."""
        if client.framework is None or self._failed(client, client.framework, agent.kind):
            return False
        return client.allowed_on is None or self._allows(client, agent)

    def _is_allowed(self, client: Client, agent: AgentBook) -> bool:
        verdict = self._allows(client, agent)
        if not verdict:
            self._count_saved(client)
        return verdict

    def _count_saved(self, client: Client) -> None:
        self.filtered_offers += 1
        client.offers_saved += 1

    def _allows(self, client: Client, agent: AgentBook) -> bool:
        """What the offer constraints say; asked once per client and agent."""
        assert client.allowed_on is not None
        verdict = client.allowed_on.get(agent.agent_id)
        if verdict is None:
            assert client.framework is not None
            constraints = client.framework.traits.constraints
            verdict = constraints is None or constraints.allow(client.role, agent.traits.facts)
            client.allowed_on[agent.agent_id] = verdict
        return verdict

    def is_enough(
        self, client: Client, offer: Resources, min_allocatable: tuple[Quantities, ...]
    ) -> bool:
        """Whether an offer is worth making to the client; others' ``min_allocatable`` is given."""
        own = client.min_allocatable
        if own is None:
            return is_worth(offer, min_allocatable)
        if is_worth(offer, own):
            return True
        if is_worth(offer, min_allocatable):
            self._count_saved(client)
        return False


__all__ = ["Suitability", "is_worth", "missing_of", "usable_part"]
