"""A cluster that is filled task by task through the production allocator.

The allocator offers whole agents. So that its decisions, and not the greed of whoever is offered
first, divide the cluster, everybody takes one task at a time: of each run the first offer counts,
one task is taken of it, and everything else goes back unrefused before the next run. A framework
whose task does not fit on an agent refuses it for good: nothing is given back there.
"""

import random
from collections.abc import Mapping
from fractions import Fraction

from cluster.core.allocator import (
    AgentAdded,
    Allocation,
    AllocatorOptions,
    FrameworkAdded,
    HierarchicalAllocator,
    OffersSuppressed,
    ResourcesRecovered,
    WeightsUpdated,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources
from cluster.model.values import format_milli
from tests.property.drf_oracle import Vector

FOR_GOOD_S = 3600.0 * 24 * 300
NOW_S = 1.0


def resources(vector: Vector) -> Resources:
    """One thousandth for each unit, so that nothing is rounded."""
    return Resources.parse(
        ";".join(f"{name}:{format_milli(amount)}" for name, amount in vector.items() if amount)
    )


class TaskByTask:
    """Clients are role paths; each role has one framework with the same name.

    Args:
        agents: what each agent has.
        demands: client -> what one of its tasks takes.
        weights: client or path above it -> weight.
        wants: client -> how many tasks it wants at most; absent for as many as it can get.
        seed: of the order of agents.
    """

    def __init__(
        self,
        agents: list[Vector],
        demands: Mapping[str, Vector],
        *,
        weights: Mapping[str, Fraction] | None = None,
        wants: Mapping[str, int] | None = None,
        seed: int = 1,
    ) -> None:
        options = AllocatorOptions(min_allocatable=())
        self.allocator = HierarchicalAllocator(options, random.Random(seed))
        self.demands = {client: resources(demand) for client, demand in demands.items()}
        self.takers: list[str] = []
        """Who got each task, in order."""
        self.free = [dict(agent) for agent in agents]
        self._demands = demands
        self._wants = wants or {}
        weights = weights or {}
        self._tell(WeightsUpdated({path: float(weight) for path, weight in weights.items()}))
        for client in demands:
            self._tell(FrameworkAdded(FrameworkId(client), (client,)))
        for n, agent in enumerate(agents):
            self._tell(AgentAdded(AgentId(f"s{n}"), resources(agent)))

    def _tell(self, *events) -> None:
        for event in events:
            self.allocator.handle(event, NOW_S)

    def fill(self) -> dict[str, int]:
        """Tasks by client when nobody wants more of what is left."""
        while offers := self.allocator.allocate(NOW_S):
            self._take_one(offers)
        self.allocator.check_invariants()
        return {client: self.takers.count(client) for client in self.demands}

    def _take_one(self, offers: list[Allocation]) -> None:
        first = offers[0].framework_id
        mine = [offer for offer in offers if offer.framework_id == first]
        fitting = [o for o in mine if o.resources.contains(self.demands[first])]
        best = max(fitting, key=self._evenness, default=None)
        if best is not None:
            self._take(first, best.agent_id)
        for offer in offers:
            kept = self.demands[first] if offer is best else EMPTY
            is_useless = not offer.resources.contains(self.demands[offer.framework_id])
            self._tell(
                ResourcesRecovered(
                    offer.framework_id,
                    offer.role,
                    offer.agent_id,
                    offer.resources - kept,
                    FOR_GOOD_S if is_useless else None,
                )
            )

    def _take(self, client: FrameworkId, agent_id: AgentId) -> None:
        self.takers.append(client)
        free = self.free[int(agent_id[1:])]
        for name, amount in self._demands[client].items():
            free[name] -= amount
        if self.takers.count(client) == self._wants.get(client):
            self._tell(OffersSuppressed(client))

    def _evenness(self, offer: Allocation) -> int:
        """Agents are filled evenly: of what is scarcest there, the one with most of it left."""
        return min(offer.resources.quantities().values())


__all__ = ["TaskByTask", "resources"]
