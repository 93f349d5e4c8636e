"""Outstanding offers, by id, framework and agent."""

from collections.abc import Iterator
from typing import TypeVar

from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.offers import Offer

_Owner = TypeVar("_Owner", FrameworkId, AgentId)


class OfferBook:
    """Offers that a framework may still accept; each leaves the book exactly once."""

    def __init__(self) -> None:
        self._offers: dict[OfferId, Offer] = {}
        self._made_s: dict[OfferId, float] = {}
        self._by_framework: dict[FrameworkId, dict[OfferId, None]] = {}
        self._by_agent: dict[AgentId, dict[OfferId, None]] = {}

    def __iter__(self) -> Iterator[Offer]:
        """Oldest first; the book may change meanwhile."""
        return iter(list(self._offers.values()))

    def __len__(self) -> int:
        return len(self._offers)

    def all(self) -> list[Offer]:
        """Every outstanding offer, oldest first."""
        return list(self._offers.values())

    def get(self, offer_id: OfferId) -> Offer | None:
        return self._offers.get(offer_id)

    def of_framework(self, framework_id: FrameworkId) -> list[Offer]:
        return [self._offers[i] for i in self._by_framework.get(framework_id, ())]

    def of_agent(self, agent_id: AgentId) -> list[Offer]:
        return [self._offers[i] for i in self._by_agent.get(agent_id, ())]

    def made_s(self, offer: Offer) -> float:
        """When an outstanding offer was made."""
        return self._made_s[offer.offer_id]

    def add(self, offer: Offer, now_s: float = 0.0) -> None:
        self._offers[offer.offer_id] = offer
        self._made_s[offer.offer_id] = now_s
        self._by_framework.setdefault(offer.framework_id, {})[offer.offer_id] = None
        self._by_agent.setdefault(offer.agent_id, {})[offer.offer_id] = None

    def remove(self, offer: Offer) -> None:
        del self._offers[offer.offer_id]
        del self._made_s[offer.offer_id]
        _drop(self._by_framework, offer.framework_id, offer.offer_id)
        _drop(self._by_agent, offer.agent_id, offer.offer_id)

    def check_invariants(self) -> None:
        """Raises InvariantBroken when an index disagrees with the offers."""
        offers = self._offers.values()
        if self._made_s.keys() != self._offers.keys():
            raise InvariantBroken("times of offers differ from the offers")
        by_framework = {(offer.framework_id, offer.offer_id) for offer in offers}
        by_agent = {(offer.agent_id, offer.offer_id) for offer in offers}
        if by_framework != {(f, o) for f, ids in self._by_framework.items() for o in ids}:
            raise InvariantBroken("offers by framework differ from the offers")
        if by_agent != {(a, o) for a, ids in self._by_agent.items() for o in ids}:
            raise InvariantBroken("offers by agent differ from the offers")


def _drop(index: dict[_Owner, dict[OfferId, None]], owner: _Owner, offer_id: OfferId) -> None:
    ids = index[owner]
    del ids[offer_id]
    if not ids:
        del index[owner]


__all__ = ["OfferBook"]
