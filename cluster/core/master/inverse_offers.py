"""Outstanding inverse offers, and what frameworks last said about giving an agent up.

An inverse offer asks one framework to leave one agent before its machine is worked on. At most one
is outstanding for a framework and an agent. Answers are advice for the operator: the last one of
each framework is kept until the agent or its schedule changes, or the framework ends.

Source: master.md §3.5, allocator.md §6.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.maintenance import InverseOfferStatus
from cluster.model.offers import InverseOffer


@dataclass(frozen=True, slots=True)
class InverseOfferAnswer:
    """``UNKNOWN``: asked, but not answered yet; ``at_s`` is then when it was asked."""

    status: InverseOfferStatus
    at_s: float


class InverseOfferBook:
    """Inverse offers by id; each leaves the book exactly once."""

    def __init__(self) -> None:
        self._offers: dict[OfferId, InverseOffer] = {}
        self._by_agent: dict[AgentId, dict[FrameworkId, OfferId]] = {}
        self._answers: dict[AgentId, dict[FrameworkId, InverseOfferAnswer]] = {}

    def __len__(self) -> int:
        return len(self._offers)

    def get(self, offer_id: OfferId) -> InverseOffer | None:
        return self._offers.get(offer_id)

    def is_asked(self, framework_id: FrameworkId, agent_id: AgentId) -> bool:
        """Whether such an inverse offer is outstanding."""
        return framework_id in self._by_agent.get(agent_id, ())

    def of_agent(self, agent_id: AgentId) -> list[InverseOffer]:
        return [self._offers[i] for i in self._by_agent.get(agent_id, {}).values()]

    def of_framework(self, framework_id: FrameworkId) -> list[InverseOffer]:
        """Looks at every agent that is scheduled for maintenance: they are few."""
        return [
            self._offers[offers[framework_id]]
            for offers in self._by_agent.values()
            if framework_id in offers
        ]

    def answers_of(self, agent_id: AgentId) -> Mapping[FrameworkId, InverseOfferAnswer]:
        """The last answers about an agent, in the order of the first questions."""
        return dict(self._answers.get(agent_id, {}))

    def add(self, offer: InverseOffer, now_s: float) -> None:
        self._offers[offer.offer_id] = offer
        self._by_agent.setdefault(offer.agent_id, {})[offer.framework_id] = offer.offer_id
        self._answers.setdefault(offer.agent_id, {}).setdefault(
            offer.framework_id, InverseOfferAnswer(InverseOfferStatus.UNKNOWN, now_s)
        )

    def remove(self, offer: InverseOffer) -> None:
        """Nobody waits for this answer any more; the answer before it stays."""
        del self._offers[offer.offer_id]
        offers = self._by_agent[offer.agent_id]
        del offers[offer.framework_id]
        if not offers:
            del self._by_agent[offer.agent_id]

    def answered(self, offer: InverseOffer, status: InverseOfferStatus, now_s: float) -> None:
        self.remove(offer)
        self._answers[offer.agent_id][offer.framework_id] = InverseOfferAnswer(status, now_s)

    def forget_answers_about(self, agent_id: AgentId) -> None:
        """The agent is gone, or its schedule is another one: what was said means nothing now."""
        self._answers.pop(agent_id, None)

    def forget_answers_of(self, framework_id: FrameworkId) -> None:
        for agent_id in list(self._answers):
            self._answers[agent_id].pop(framework_id, None)
            if not self._answers[agent_id]:
                del self._answers[agent_id]

    def check_invariants(self) -> None:
        """Raises InvariantBroken when the index disagrees with the offers."""
        indexed = {
            (agent_id, framework_id, offer_id)
            for agent_id, offers in self._by_agent.items()
            for framework_id, offer_id in offers.items()
        }
        kept = {(o.agent_id, o.framework_id, o.offer_id) for o in self._offers.values()}
        if indexed != kept:
            raise InvariantBroken("inverse offers by agent differ from the inverse offers")
        if not all(self._by_agent.values()):
            raise InvariantBroken("an agent without inverse offers is still indexed")


__all__ = ["InverseOfferAnswer", "InverseOfferBook"]
