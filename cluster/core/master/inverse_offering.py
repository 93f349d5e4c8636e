"""How frameworks are asked to give agents up for maintenance, and how they answer.

The allocator decides whom to ask about what; answers go back to it, because one that was answered
with a filter is not asked again while the filter lasts. Source: master.md §3.5, allocator.md §6.
"""

from cluster.core.allocator.events import InverseAllocation, InverseOfferAnswered
from cluster.core.master.effects import InverseOfferDraft, SendInverseOffers
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.state import MasterState
from cluster.model.calls import AcceptInverseOffers, DeclineInverseOffers
from cluster.model.ids import FrameworkId
from cluster.model.maintenance import InverseOfferStatus
from cluster.model.offers import InverseOffer


class InverseOffering:
    """Inverse offers and their answers, acting on the shared books."""

    def __init__(self, state: MasterState) -> None:
        self._state = state

    def run(self) -> None:
        """Turn the allocator's decisions into inverse offers, one message per framework."""
        drafts: dict[FrameworkId, list[InverseOfferDraft]] = {}
        for allocation in self._state.allocator.inverse_offers(self._state.now_s):
            draft = self._draft(allocation)
            if draft is not None:
                drafts.setdefault(allocation.framework_id, []).append(draft)
        for framework_id, offers in drafts.items():
            framework = self._state.frameworks.get(framework_id)
            assert framework is not None
            assert framework.peer is not None
            framework.tally.events["inverse_offers"] += 1
            self._state.emit(SendInverseOffers(framework.peer, tuple(offers)))

    def _draft(self, allocation: InverseAllocation) -> InverseOfferDraft | None:
        """Enter one inverse offer; None when its framework or agent cannot take part any more."""
        state = self._state
        framework_id, agent_id = allocation.framework_id, allocation.agent_id
        framework = state.frameworks.get(framework_id)
        agent = state.agents.get(agent_id)
        if framework is None or not framework.is_active or agent is None or not agent.is_connected:
            state.withdraw_unmade_inverse_offer(framework_id, agent_id)
            return None
        if state.inverse_offers.is_asked(framework_id, agent_id):
            return None
        offer = InverseOffer(state.name_offer(), framework_id, agent_id, allocation.unavailability)
        state.inverse_offers.add(offer, state.now_s)
        return InverseOfferDraft(offer, agent.spec, agent.peer)

    def accept(self, framework: FrameworkRecord, call: AcceptInverseOffers) -> None:
        """The framework will have left the agents in time."""
        self._answer(framework, call, InverseOfferStatus.ACCEPT)

    def decline(self, framework: FrameworkRecord, call: DeclineInverseOffers) -> None:
        """The framework will not leave the agents of its own accord."""
        self._answer(framework, call, InverseOfferStatus.DECLINE)

    def _answer(
        self,
        framework: FrameworkRecord,
        call: AcceptInverseOffers | DeclineInverseOffers,
        status: InverseOfferStatus,
    ) -> None:
        state = self._state
        for offer_id in call.offer_ids:
            offer = state.inverse_offers.get(offer_id)
            if offer is None or offer.framework_id != framework.framework_id:
                state.warn(
                    "answer to unknown inverse offer",
                    f"framework {framework.framework_id} answers unknown inverse offer {offer_id}",
                )
                continue
            state.inverse_offers.answered(offer, status, state.now_s)
            state.allocator.handle(
                InverseOfferAnswered(offer.framework_id, offer.agent_id, status, call.refuse_s),
                state.now_s,
            )


__all__ = ["InverseOffering"]
