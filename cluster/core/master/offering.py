"""How the allocator's decisions become offers, and how frameworks refuse or silence them.

Source: master.md §5, allocator.md §2 and §4.
"""

from cluster.core.allocator.events import (
    Allocation,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    ResourcesRequested,
)
from cluster.core.master.effects import (
    OfferDraft,
    OfferTimer,
    RequestAllocationRun,
    SendOffers,
    StartTimer,
)
from cluster.core.master.events import OfferTimedOut
from cluster.core.master.frameworks import FrameworkRecord, RequestKey
from cluster.core.master.state import MasterState
from cluster.core.master.tallies import OfferEnd
from cluster.model.calls import Decline, RequestResources, Revive, Suppress
from cluster.model.ids import FrameworkId
from cluster.model.offers import Offer
from cluster.model.values import Quantities

FULL_AGENT_REFUSE_S = 5.0
"""How long an agent with as many executors as it may have is kept from who would be offered it."""


class Offering:
    """Allocation runs and the calls about offers, acting on the shared books."""

    def __init__(self, state: MasterState) -> None:
        self._state = state
        self._run_requested = False

    # Allocation runs -----------------------------------------------------------------------------

    def request_run(self) -> None:
        """Ask for a run when the allocator has something to do and none is under way."""
        if self._state.allocator.has_candidates and not self._run_requested:
            self._run_requested = True
            self._state.emit(RequestAllocationRun())

    def interval_elapsed(self) -> None:
        self._state.allocator.handle(IntervalElapsed(), self._state.now_s)

    def run(self) -> None:
        """Turn one run of the allocator into offers, one message per framework."""
        self._run_requested = False
        self._state.tally.counts["allocation_runs"] += 1
        drafts: dict[FrameworkId, list[OfferDraft]] = {}
        for allocation in self._state.allocator.allocate(self._state.now_s):
            draft = self._draft(allocation)
            if draft is not None:
                drafts.setdefault(allocation.framework_id, []).append(draft)
        for framework_id, offers in drafts.items():
            framework = self._state.frameworks.get(framework_id)
            assert framework is not None
            assert framework.peer is not None
            framework.tally.events["offers"] += 1
            self._state.emit(SendOffers(framework.peer, framework.spec, tuple(offers)))

    def _draft(self, allocation: Allocation) -> OfferDraft | None:
        """Enter one offer; None when its framework or agent cannot take part any more."""
        state = self._state
        resources = allocation.resources
        framework = state.frameworks.get(allocation.framework_id)
        agent = state.agents.get(allocation.agent_id)
        if framework is None or not framework.is_active or agent is None or not agent.is_connected:
            state.release(allocation.framework_id, allocation.role, allocation.agent_id, resources)
            return None
        executors_max = state.options.executors_per_agent_max
        if executors_max is not None and len(agent.executors) >= executors_max:
            # With a refusal of the usual length: at once it would be decided again.
            state.release(
                allocation.framework_id,
                allocation.role,
                allocation.agent_id,
                resources,
                FULL_AGENT_REFUSE_S,
            )
            return None
        offer = Offer(
            state.name_offer(),
            allocation.framework_id,
            allocation.agent_id,
            allocation.role,
            resources,
        )
        state.offers.add(offer, state.now_s)
        state.tally.offers.sent += 1
        framework.tally.offers.sent += 1
        framework.tally.waits.offered(offer.role, state.now_s)
        if state.options.offer_timeout_s is not None:
            state.emit(
                StartTimer(
                    OfferTimer(offer.offer_id),
                    state.options.offer_timeout_s,
                    OfferTimedOut(offer.offer_id),
                )
            )
        mine = (executor for owner, executor in agent.executors if owner == offer.framework_id)
        machine = state.registry.machines.get(agent.machine)
        return OfferDraft(
            offer,
            agent.spec,
            agent.peer,
            tuple(mine),
            None if machine is None else machine.unavailability,
        )

    # Refusing and silencing ----------------------------------------------------------------------

    def decline(self, framework: FrameworkRecord, call: Decline) -> None:
        for offer_id in call.offer_ids:
            offer = self._state.offers.get(offer_id)
            if offer is None or offer.framework_id != framework.framework_id:
                self._state.warn(
                    "decline of unknown offer",
                    f"framework {framework.framework_id} declines unknown offer {offer_id}",
                )
                continue
            self._state.forget_offer(offer, OfferEnd.DECLINED)
            self._state.release(
                offer.framework_id, offer.role, offer.agent_id, offer.resources, call.refuse_s
            )

    def request(self, framework: FrameworkRecord, call: RequestResources) -> None:
        """Tell the allocator what the framework waits for, instead of what it waited for before."""
        named = tuple(request.role for request in call.requests if request.role is not None)
        if not self._knows_roles(framework, named, "request resources in"):
            return
        wanted: dict[RequestKey, list[Quantities]] = {key: [] for key in framework.requested}
        for request in call.requests:
            wanted.setdefault((request.role, request.agent_id), []).append(request.wanted)
        for (role, agent_id), amounts in wanted.items():
            self._state.allocator.handle(
                ResourcesRequested(framework.framework_id, tuple(amounts), role, agent_id),
                self._state.now_s,
            )
        framework.requested = tuple(key for key, amounts in wanted.items() if amounts)

    def timed_out(self, event: OfferTimedOut) -> None:
        """Take back an offer that was held too long, and ask others first.

        Differs: Mesos sets no filter, so that a framework that holds every offer to the end is the
        first to get it again, because it has the smallest share in that moment. Here it counts as
        a refusal of the shortest kind.
        """
        offer = self._state.offers.get(event.offer_id)
        if offer is not None:
            self._state.withdraw(offer, tell=True, refuse_s=0.0, end=OfferEnd.TIMED_OUT)

    def revive(self, framework: FrameworkRecord, call: Revive) -> None:
        if self._knows_roles(framework, call.roles, "revive"):
            framework.suppressed_roles -= set(call.roles or framework.spec.roles)
            framework.note_wants(self._state.now_s)
            self._state.allocator.handle(
                OffersRevived(framework.framework_id, call.roles), self._state.now_s
            )

    def suppress(self, framework: FrameworkRecord, call: Suppress) -> None:
        if self._knows_roles(framework, call.roles, "suppress"):
            framework.suppressed_roles |= set(call.roles or framework.spec.roles)
            framework.note_wants(self._state.now_s)
            self._state.allocator.handle(
                OffersSuppressed(framework.framework_id, call.roles), self._state.now_s
            )

    def _knows_roles(self, framework: FrameworkRecord, roles: tuple[str, ...], what: str) -> bool:
        strange = [role for role in roles if role not in framework.spec.roles]
        if strange:
            self._state.warn(
                f"{what} of foreign role",
                f"framework {framework.framework_id} asks to {what} roles it does not have: "
                f"{', '.join(strange)}",
            )
        return not strange


__all__ = ["FULL_AGENT_REFUSE_S", "Offering"]
