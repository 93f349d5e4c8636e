"""One run: what of which agent is offered to whom.

::

    stage 1, while guarantees are unmet:
        for agent in shuffled agents:
            for role in role order, that may claim something promised:
                for framework in its role's order:  an offer with some of what is claimed
    stage 2:
        for agent in shuffled agents:
            for role in role order:                 only roles with somebody to serve
                for framework in its role's order:  only active, unsuppressed ones
                    the first that can take the agent and did not refuse takes all it may

Who refused a whole offer of the agent, and whose refusal has ended, comes after everybody else
there, the longest waiting first (``filters``): so each agent goes round among those who refuse it.

What a framework may take: what of the agent's free part is unreserved, or reserved for its role or
one above it; less what it cannot understand; less what quotas keep back (``quotas.room``); and of a
shared resource one copy a run, for one framework.

Who is asked depends on why the agent is looked at (:mod:`cluster.core.allocator.candidates`): an
agent that did not change itself is shown to those only whose mind may have changed.

The order of roles and frameworks is the sorters' at that moment: each booking moves the taker back
before the next agent is looked at. While nothing is booked the order stays, and is walked as a
plain list.

Source: mesos ``hierarchical.cpp`` ``__generateOffers``; allocator.md §3.
"""

import random
from collections.abc import Container, Iterable, Iterator

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.books import Books
from cluster.core.allocator.candidates import Candidates
from cluster.core.allocator.clients import Client
from cluster.core.allocator.events import Allocation
from cluster.core.allocator.filters import Refusal, RefusalFilters, Refusals
from cluster.core.allocator.holding import Hold, Holding
from cluster.core.allocator.options import AllocatorOptions
from cluster.core.allocator.suitability import Suitability, is_worth, usable_part
from cluster.model.ids import AgentId
from cluster.model.resources import EMPTY, Marks, Resources
from cluster.model.values import Quantities

_NOBODY: frozenset[Client] = frozenset()

Offers = dict[tuple[Client, AgentBook], Resources]
"""What of which agent goes to whom, in the order it was decided."""


class Run:
    """The decisions of one run. Everything offered is booked at once.

    ``looked_at`` counts the agents of which anything was considered, ``asked`` the clients.
    """

    def __init__(
        self,
        books: Books,
        filters: RefusalFilters,
        candidates: Candidates,
        suitability: Suitability,
        holding: Holding,
        options: AllocatorOptions,
        now_s: float,
    ) -> None:
        self._books = books
        self._quotas = books.quotas
        self._filters = filters
        self._candidates = candidates
        self._suitability = suitability
        self._holding = holding
        self._min_allocatable = options.min_allocatable
        self._now_s = now_s
        self._role_order: list[str] | None = None
        self._is_role_order_walked = False
        self._framework_orders: dict[str, list[str] | None] = {}
        """Role to its order; None when it was walked once since the last booking there."""
        self._fresh = list(candidates.fresh)
        self._asks_all = 2 * len(self._fresh) > books.served
        """Then picking out who is fresh costs more than asking the others once more."""
        self._shared_offered: dict[AgentId, Resources] = {}
        self.made: Offers = {}
        self._deferred: dict[Client, float] = {}
        """Who refused the agent that is visited, and when: others come first."""
        self._is_turn_of_deferred = False
        self._is_held = False
        """Whether the agent that is visited is held for a demand that does not fit yet."""
        self._judged = EMPTY
        self._is_judged_worth = False
        """Whether what was judged last may be worth an offer: the same is asked several times."""
        self.looked_at = 0

    def decide(self, rng: random.Random) -> list[Allocation]:
        """Go through both stages; returns the offers in the order they were begun."""
        agents = self._agents_to_visit()
        if not agents or not self._books.served:
            return []
        rng.shuffle(agents)
        if self._quotas.needed:
            for agent in agents:
                self._visit(agent, is_first_stage=True)
                if not self._quotas.needed:
                    break
            rng.shuffle(agents)
        for agent in agents:
            self._visit(agent, is_first_stage=False)
        return [
            Allocation(client.framework_id, client.role, agent.agent_id, resources)
            for (client, agent), resources in self.made.items()
        ]

    def _agents_to_visit(self) -> list[AgentBook]:
        known = self._books.agents
        changed, awake = self._candidates.changed, self._candidates.awake
        if self._fresh:
            agents = [
                agent
                for agent_id, agent in known.items()
                if self._asks_all
                or agent_id in changed
                or agent_id in awake
                or self._may_suit_fresh(agent)
            ]
        else:
            ids = {**changed, **awake} if awake else changed
            agents = [known[agent_id] for agent_id in ids if agent_id in known]
        return [agent for agent in agents if agent.free and agent.is_active and agent.is_listed]

    def _may_suit_fresh(self, agent: AgentBook) -> bool:
        """A first look at an agent that did not change itself: most need no second one."""
        for client in self._fresh:
            minimum = client.min_allocatable
            if is_worth(agent.free, self._min_allocatable if minimum is None else minimum):
                if self._suitability.is_capable(client, agent):
                    return True
        return False

    # One agent ----------------------------------------------------------------------------------

    def _visit(self, agent: AgentBook, *, is_first_stage: bool) -> None:
        free = agent.free
        if not self._may_be_worth(free):
            return
        if is_first_stage and not self._has_needed(free):
            return
        refusals = self._filters.on_agent(agent.agent_id)
        hold = None if is_first_stage else self._holding.on_agent(agent.agent_id)
        self._is_held = hold is not None and not self._serve_hold(agent, hold, refusals)
        if self._is_held:
            self._candidates.withheld[agent.agent_id] = None
        if self._asks_all or agent.agent_id in self._candidates.changed:
            self._ask_everybody(agent, refusals, is_first_stage=is_first_stage)
        else:
            self._ask_some(agent, refusals, is_first_stage=is_first_stage)
        if self._deferred:
            self._ask_deferred(agent, refusals, is_first_stage=is_first_stage)

    def _serve_hold(self, agent: AgentBook, hold: Hold, refusals: Refusals | None) -> bool:
        """Offer a held agent to whom it is held for, if his demand fits; ends the hold then."""
        client = hold.client
        fitting = usable_part(client, agent.free)
        if self._quotas.is_used:
            fitting = fitting.chopped(self._quotas.room(client.role))
        if not client.is_served or not is_worth(fitting, hold.demand):
            return False
        self._is_held = False
        self._is_turn_of_deferred = True
        self._offer_to(agent, client.role, (client,), refusals, None)
        self._is_turn_of_deferred = False
        self._holding.end(agent.agent_id)
        return True

    def _ask_deferred(
        self, agent: AgentBook, refusals: Refusals | None, *, is_first_stage: bool
    ) -> None:
        """Come back to those who refused, the longest waiting first; ties as they were asked."""
        deferred, self._deferred = self._deferred, {}
        self._is_turn_of_deferred = True
        for client in sorted(deferred, key=deferred.__getitem__):
            if not self._may_be_worth(agent.free):
                break
            claim = self._quotas.claim(client.role) if is_first_stage else None
            if claim is None or claim:
                self._offer_to(agent, client.role, (client,), refusals, claim)
        self._is_turn_of_deferred = False

    def _has_needed(self, free: Resources) -> bool:
        have = free.open_quantities()
        return any(name in have for name in self._quotas.needed)

    def _ask_everybody(
        self, agent: AgentBook, refusals: Refusals | None, *, is_first_stage: bool
    ) -> None:
        self.looked_at += 1
        barred: Container[Client] = _NOBODY
        if refusals:
            refusing = self._refusing(agent.free, refusals)
            if len(refusing) == self._books.served:
                return
            barred = refusing
        walked: list[str] = []
        for role in self._roles():
            if not self._has_open(agent.free):
                self._ask_for_reserved(agent, walked, barred, refusals, is_first_stage)
                return
            walked.append(role)
            self._ask_role(agent, role, barred, refusals, is_first_stage)
            if not self._may_be_worth(agent.free):
                return

    def _refusing(self, free: Resources, refusals: Refusals) -> set[Client]:
        """Who wants offers, but none that lies within all that is free.

        Mostly many refused the same bundle, which is one object then: it is compared once.
        """
        now_s = self._now_s
        covering = next(iter(refusals.values())).resources
        if not covering.contains(free):
            covering = free
        return {
            client
            for client, refusal in refusals.items()
            if client.is_served
            and (
                (refusal.resources is covering and refusal.until_s > now_s)
                or refusal.forbids(free, now_s)
            )
        }

    def _ask_for_reserved(
        self,
        agent: AgentBook,
        walked: list[str],
        barred: Container[Client],
        refusals: Refusals | None,
        is_first_stage: bool,
    ) -> None:
        """Go on with those for whom something is reserved; there is nothing for others."""
        below = self._books.served_below()
        left = {
            role for reserved in agent.free.reserved_roles() for role in below.get(reserved, ())
        }
        left.difference_update(walked)
        if not left:
            return
        order = left if len(left) == 1 else [role for role in self._roles() if role in left]
        for role in order:
            self._ask_role(agent, role, barred, refusals, is_first_stage)

    def _ask_role(
        self,
        agent: AgentBook,
        role: str,
        barred: Container[Client],
        refusals: Refusals | None,
        is_first_stage: bool,
    ) -> None:
        claim = None
        if is_first_stage:
            claim = self._quotas.claim(role)
            if not claim:
                return
        clients = self._books.clients_of[role]
        asked: Iterable[Client]
        if len(clients) == 1:
            asked = tuple(clients.values())
        else:
            asked = (clients[framework_id] for framework_id in self._frameworks(role))
        if barred is not _NOBODY:
            asked = [client for client in asked if client not in barred]
            if not asked:
                return
        self._offer_to(agent, role, asked, refusals, claim)

    def _has_open(self, free: Resources) -> bool:
        """Whether anything may be worth an offer to somebody for whom nothing is reserved."""
        return not free.marks & Marks.RESERVED or self._may_be_worth(free.unreserved())

    def _ask_some(
        self, agent: AgentBook, refusals: Refusals | None, *, is_first_stage: bool
    ) -> None:
        """Ask only those whose mind may have changed, in the order in which all would be asked."""
        awake = self._candidates.awake.get(agent.agent_id)
        asked = self._fresh
        if awake:
            asked = [*asked, *(client for client in awake if client.is_served)]
        if refusals:
            free, now_s = agent.free, self._now_s
            asked = [c for c in asked if c not in refusals or not refusals[c].forbids(free, now_s)]
        if not asked:
            return
        self.looked_at += 1
        for role, clients in self._in_order(asked):
            free = agent.free
            claim = self._quotas.claim(role) if is_first_stage else None
            if claim is not None and not claim:
                continue
            self._offer_to(agent, role, clients, refusals, claim)
            if agent.free is not free and not self._may_be_worth(agent.free):
                return

    def _in_order(self, asked: list[Client]) -> Iterator[tuple[str, list[Client]]]:
        """Clients by role, roles and clients in the sorters' order."""
        if len(asked) == 1:
            yield asked[0].role, asked
            return
        by_role: dict[str, dict[str, Client]] = {}
        for client in asked:
            by_role.setdefault(client.role, {})[client.framework_id] = client
        roles: Iterable[str] = by_role if len(by_role) == 1 else self._roles()
        for role in roles:
            clients = by_role.get(role)
            if clients is None:
                continue
            if len(clients) == 1:
                yield role, list(clients.values())
            else:
                yield role, [clients[f] for f in self._frameworks(role) if f in clients]

    # One role -----------------------------------------------------------------------------------

    def _offer_to(
        self,
        agent: AgentBook,
        role: str,
        clients: Iterable[Client],
        refusals: Refusals | None,
        claim: Quantities | None,
    ) -> None:
        """Offer what the role may use of the agent to its clients, until nothing is left.

        ``claim`` is what is promised to the role: in the first stage, an offer must hold some.
        """
        usable = self._usable(agent, role)
        has_shared = bool(usable.marks & Marks.SHARED)
        is_worth_by_default = self._is_worth_by_default(usable)
        for client in clients:
            if not is_worth_by_default and client.min_allocatable is None:
                continue
            if not self._suitability.is_capable(client, agent):
                continue
            assert client.framework is not None
            offer = usable
            if has_shared:
                offer = offer.minus_up_to(self._shared_offered.get(agent.agent_id, EMPTY))
            offer = offer.without(client.framework.dropped_marks)
            if self._quotas.is_used:
                full = offer
                offer = offer.chopped(self._quotas.room(role, claim))
                if offer is not full:
                    self._candidates.withheld[agent.agent_id] = None
                if claim is not None and not _holds_any(offer, claim):
                    continue
            if offer is not usable or client.min_allocatable is not None:
                if not self._suitability.is_enough(client, offer, self._min_allocatable):
                    continue
            if refusals:
                refusal = refusals.get(client)
                if refusal is not None and self._is_kept_away(client, refusal, offer):
                    continue
            self._book(agent, client, offer)
            if refusals:
                self._filters.turn_given(agent.agent_id, client, self._now_s)
            if offer is usable and not has_shared:
                return  # there is nothing left for the role
            if not self._may_be_worth(agent.free):
                return
            usable = self._usable(agent, role)
            is_worth_by_default = self._is_worth_by_default(usable)
            if claim is not None:
                claim = self._quotas.claim(role)
                if not claim:
                    return

    def _usable(self, agent: AgentBook, role: str) -> Resources:
        """What of the free part the role may have; of a held agent only what is reserved."""
        usable = agent.free.usable_by(role)
        return usable.reserved() if self._is_held else usable

    def _is_kept_away(self, client: Client, refusal: Refusal, offer: Resources) -> bool:
        """Whether the client does not want such an offer, or others come before it."""
        if refusal.forbids(offer, self._now_s):
            return True
        if self._is_turn_of_deferred:
            return False
        turn_s = refusal.defers(offer, self._now_s)
        if turn_s is None:
            return False
        self._deferred[client] = turn_s
        return True

    def _book(self, agent: AgentBook, client: Client, offer: Resources) -> None:
        has_held = client in agent.booked
        self._books.book(agent, client, offer)
        key = (client, agent)
        earlier = self.made.get(key)
        made = self.made[key] = offer if earlier is None else earlier + offer
        if has_held:
            agent.offers[client] = made
        if earlier is None:
            client.offers_made += 1
            client.last_offer_s = self._now_s
        if offer.marks & Marks.SHARED:
            offered = self._shared_offered.get(agent.agent_id, EMPTY)
            self._shared_offered[agent.agent_id] = offered + offer.shared()
        self._role_order = None
        self._is_role_order_walked = False
        self._framework_orders.pop(client.role, None)

    def _may_be_worth(self, resources: Resources) -> bool:
        """Whether so much may be worth an offer to anybody."""
        if self._books.minimums:
            return bool(resources)
        return self._is_worth_by_default(resources)

    def _is_worth_by_default(self, resources: Resources) -> bool:
        if not resources:
            return False
        if resources is not self._judged:
            self._judged = resources
            self._is_judged_worth = is_worth(resources, self._min_allocatable)
        return self._is_judged_worth

    # Orders -------------------------------------------------------------------------------------

    def _roles(self) -> Iterable[str]:
        if self._role_order is None:
            if not self._is_role_order_walked:
                self._is_role_order_walked = True
                return self._books.roles.order()
            self._role_order = list(self._books.roles.order())
        return self._role_order

    def _frameworks(self, role: str) -> Iterable[str]:
        orders = self._framework_orders
        if role not in orders:
            orders[role] = None
            return self._books.frameworks_of[role].order()
        order = orders[role]
        if order is None:
            order = orders[role] = list(self._books.frameworks_of[role].order())
        return order


def _holds_any(resources: Resources, claim: Quantities) -> bool:
    """Whether an offer holds some of what is claimed."""
    have = resources.open_quantities()
    return any(have.get(name, 0) for name in claim)


__all__ = ["Offers", "Run"]
