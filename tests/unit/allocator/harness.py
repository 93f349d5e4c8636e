"""A few words to write allocator tests with."""

import random
from collections.abc import Iterable

from cluster.core.allocator import (
    AgentAdded,
    Allocation,
    AllocatorEvent,
    AllocatorOptions,
    FrameworkAdded,
    FrameworkTraits,
    HierarchicalAllocator,
    IntervalElapsed,
    QuotasUpdated,
    ResourcesRecovered,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY, Resources
from cluster.model.values import format_milli


class Harness:
    """An allocator with a clock, checked after every event."""

    def __init__(self, seed: int = 0, rng: random.Random | None = None, **options: object) -> None:
        self.allocator = HierarchicalAllocator(
            AllocatorOptions(**options), rng or random.Random(seed)
        )
        self.now_s = 100.0

    def tell(self, *events: AllocatorEvent) -> None:
        for event in events:
            self.allocator.handle(event, self.now_s)
            self.allocator.check_invariants()

    def agents(self, text: str, *names: str) -> None:
        self.tell(*(AgentAdded(AgentId(name), Resources.parse(text)) for name in names))

    def framework(
        self,
        name: str,
        *roles: str,
        suppressed: Iterable[str] = (),
        traits: FrameworkTraits | None = None,
    ) -> None:
        self.tell(
            FrameworkAdded(
                FrameworkId(name), roles, frozenset(suppressed), traits=traits or FrameworkTraits()
            )
        )

    def quota(self, role: str, guarantees: str = "", limits: str = "") -> None:
        """Set one role's quota, written as ``cpus:1;mem:2``; two empty texts take it away."""
        quota = Quota(
            Resources.parse(guarantees).quantities(), Resources.parse(limits).quantities()
        )
        self.tell(QuotasUpdated({role: quota}))

    def offered(self) -> dict[str, str]:
        """Run, and say who got what of which agent: ``framework agent`` to scalars, sorted."""
        return {
            f"{a.framework_id} {a.agent_id}": ";".join(
                f"{name}:{format_milli(milli)}"
                for name, milli in sorted(a.resources.quantities().items())
            )
            for a in self.run()
        }

    def run(self) -> list[Allocation]:
        allocations = self.allocator.allocate(self.now_s)
        self.allocator.check_invariants()
        return allocations

    def tick(self, after_s: float = 1.0) -> list[Allocation]:
        """The interval timer fires after so long: returns what the run offers."""
        self.now_s += after_s
        self.tell(IntervalElapsed())
        return self.run()

    def give_back(
        self, allocation: Allocation, refuse_s: float | None = None, keep: Resources = EMPTY
    ) -> None:
        """Decline (or rescind, with None) an offer, or what is not kept of it."""
        self.tell(
            ResourcesRecovered(
                allocation.framework_id,
                allocation.role,
                allocation.agent_id,
                allocation.resources.unallocated() - keep,
                refuse_s,
            )
        )


def summary(allocations: Iterable[Allocation]) -> set[tuple[str, str, str, str]]:
    return {
        (a.framework_id, a.role, a.agent_id, str(a.resources.unallocated())) for a in allocations
    }


def takers(allocations: Iterable[Allocation]) -> dict[str, str]:
    """Agent to framework."""
    return {a.agent_id: a.framework_id for a in allocations}
