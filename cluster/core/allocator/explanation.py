"""Why a framework is offered what it is offered: the answer to "my task is waiting, for what?".

For one framework in one role: its dominant resource and share, its place in the order, what it was
offered so far, and for every agent the first thing that stands in the way of an offer, counted; of
all agents the *nearest miss* is named, the one where least is missing. The questions are those of a
run (:mod:`cluster.core.allocator.run`), asked of the books as they are, in the order of
:class:`Obstacle`. Nothing is decided or changed here.

An explanation costs one look at every agent, an overview none.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from cluster.core.allocator.agents import (
    HAS_GPUS,
    IS_REMOTE,
    LACKS_HIERARCHICAL_ROLE,
    LACKS_MULTI_ROLE,
    AgentBook,
)
from cluster.core.allocator.books import Books
from cluster.core.allocator.clients import Client
from cluster.core.allocator.filters import RefusalFilters
from cluster.core.allocator.holding import Holding
from cluster.core.allocator.options import AllocatorOptions
from cluster.core.allocator.sorter import Sorter
from cluster.core.allocator.suitability import Suitability, is_worth, missing_of, usable_part
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources
from cluster.model.values import Quantities, format_milli


class Obstacle(Enum):
    """What keeps an agent away, in the order in which it is asked. The value is for people."""

    FRAMEWORK_INACTIVE = "the framework is not connected"
    ROLE_SUPPRESSED = "the framework suppressed offers for the role"
    RECOVERING = "agents of an earlier master are awaited"
    AGENT_DEACTIVATED = "the agent is deactivated"
    NOT_WHITELISTED = "the agent is not on the whitelist"
    GPU_AGENT = "the agent has GPUs and the framework lacks GPU_RESOURCES"
    OTHER_REGION = "the agent is in another region and the framework lacks REGION_AWARE"
    AGENT_LACKS_MULTI_ROLE = "the agent lacks MULTI_ROLE and the framework has it"
    AGENT_LACKS_HIERARCHICAL_ROLE = "the agent lacks HIERARCHICAL_ROLE and the role has levels"
    OFFER_CONSTRAINTS = "the framework's offer constraints exclude the agent"
    AGENT_TOO_SMALL = "the whole agent is smaller than the least worthwhile offer"
    RESERVED_FOR_OTHERS = "what is free is reserved for other roles"
    NOT_UNDERSTOOD = "what is free needs a capability that the framework lacks"
    NOTHING_FREE = "everything is offered or in use"
    BELOW_MINIMUM = "what is free is less than the least worthwhile offer"
    OTHERS_FIRST = "others came first in the last run"
    QUOTA_LIMIT = "the quota limit of the role, or of one above it, is reached"
    HELD = "the agent is held for a large demand of another framework"
    HEADROOM = "what is free is kept for guarantees of other roles"
    REFUSED = "the framework refused it"
    COLLECTING = "the agent is held for the framework until its demand fits"
    NONE = "nothing stands in the way: the next run decides"


GENERAL = (Obstacle.FRAMEWORK_INACTIVE, Obstacle.ROLE_SUPPRESSED, Obstacle.RECOVERING)
"""Obstacles that keep every agent away."""

_BY_CLOSENESS = {obstacle: place for place, obstacle in enumerate(reversed(Obstacle))}
"""The later the question that an agent fails, the closer it comes."""

_KINDS = (
    (HAS_GPUS, Obstacle.GPU_AGENT),
    (IS_REMOTE, Obstacle.OTHER_REGION),
    (LACKS_MULTI_ROLE, Obstacle.AGENT_LACKS_MULTI_ROLE),
    (LACKS_HIERARCHICAL_ROLE, Obstacle.AGENT_LACKS_HIERARCHICAL_ROLE),
)


@dataclass(frozen=True, slots=True)
class Miss:
    """One agent, and why nothing of it is offered.

    Attributes:
        missing: how much more would have to be there (or be allowed), in thousandths.
        ends_in_s: when a filter ends, counted from now.
        taker: who came first, or is held for, with the role.
    """

    agent_id: AgentId
    obstacle: Obstacle
    missing: Quantities = field(default_factory=dict)
    ends_in_s: float | None = None
    taker: tuple[FrameworkId, str] | None = None

    def __str__(self) -> str:
        parts = [self.obstacle.value]
        parts += [f"{name}: {format_milli(milli)} more" for name, milli in self.missing.items()]
        if self.ends_in_s is not None:
            parts.append(f"filter ends in {self.ends_in_s:.1f} s")
        if self.taker is not None:
            how = "held for" if self.obstacle is Obstacle.HELD else "taken by"
            parts.append(f"{how} framework {self.taker[0]} in role {self.taker[1]}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a role, or a framework in its role, stands among the others.

    Attributes:
        dominant: the resource of which it holds the largest part; None when it holds nothing.
        share: that part, exactly.
        weight: 1.0 for frameworks.
        position: place in the order, from 1; None when it is not served, or lots are drawn.
        of: how many are served.
    """

    dominant: str | None
    share: Fraction
    weight: float
    position: int | None
    of: int

    @property
    def weighted_share(self) -> Fraction:
        return self.share / Fraction(repr(self.weight))


@dataclass(frozen=True, slots=True)
class Summary:
    """What can be said about a framework in a role without looking at agents.

    Attributes:
        general: what keeps every agent away, if anything.
        offers_made: how many offers it got since it took up the role here.
        offers_saved: how many it was spared because of what it said once: its constraints and its
            own minimum.
        last_offer_s: when it got the last one, on the clock of the allocator's events.
    """

    framework_id: FrameworkId
    role: str
    in_cluster: Standing
    in_role: Standing
    general: tuple[Obstacle, ...]
    offers_made: int
    offers_saved: int
    last_offer_s: float | None


@dataclass(frozen=True, slots=True)
class RoleExplanation:
    """Why a framework gets what it gets in one role.

    Attributes:
        counts: for each obstacle the number of agents that fail there first; with general
            obstacles, what would keep them away besides.
        filters_end_in_s: when the first and the last of the filters in ``counts`` ends.
        nearest: the agent that comes closest to an offer; None without agents.
    """

    summary: Summary
    counts: Mapping[Obstacle, int]
    filters_end_in_s: tuple[float, float] | None
    nearest: Miss | None


Takers = Mapping[AgentId, list[Client]]
"""Who was offered something of an agent in the last run that made offers."""


class Explainer:
    """Answers questions about the books as they are now.

    Args:
        weights: role path to weight, as far as set.
        takers: see ``Takers``.
        holding: which agents are held for whom.
        is_recovering: whether runs wait for agents of an earlier master.
    """

    def __init__(
        self,
        books: Books,
        filters: RefusalFilters,
        suitability: Suitability,
        options: AllocatorOptions,
        *,
        weights: Mapping[str, float],
        takers: Takers,
        holding: Holding,
        is_recovering: bool,
        now_s: float,
    ) -> None:
        self._books = books
        self._filters = filters
        self._suitability = suitability
        self._options = options
        self._weights = weights
        self._takers = takers
        self._holding = holding
        self._is_recovering = is_recovering
        self._now_s = now_s

    # Shares and order ---------------------------------------------------------------------------

    def overview(self) -> list[Summary]:
        """A row for every framework in every role that it subscribes to."""
        role_places = _places(self._books.roles)
        rows = []
        for role, clients in self._books.clients_of.items():
            places = _places(self._books.frameworks_of[role])
            rows += [
                self._summary(client, role_places, places)
                for client in clients.values()
                if client.framework is not None
            ]
        return rows

    def _summary(
        self, client: Client, role_places: Mapping[str, int], places: Mapping[str, int]
    ) -> Summary:
        role, framework_id = client.role, client.framework_id
        weight = self._weights.get(role, 1.0)
        sorter = self._books.frameworks_of[role]
        return Summary(
            framework_id=framework_id,
            role=role,
            in_cluster=self._standing(self._books.roles, role, weight, role_places),
            in_role=self._standing(sorter, framework_id, 1.0, places),
            general=tuple(self._general(client)),
            offers_made=client.offers_made,
            offers_saved=client.offers_saved,
            last_offer_s=client.last_offer_s,
        )

    def _standing(
        self, sorter: Sorter, name: str, weight: float, places: Mapping[str, int]
    ) -> Standing:
        held = sorter.allocation(name)
        scales = self._books.totals.scales
        counted = [(milli * scales[n], n) for n, milli in held.items() if milli and n in scales]
        dominant = min(counted, key=lambda part: (-part[0], part[1]))[1] if counted else None
        position = None if sorter.is_drawn else places.get(name)
        return Standing(dominant, sorter.share(name), weight, position, len(places))

    def _general(self, client: Client) -> Iterator[Obstacle]:
        framework = client.framework
        if framework is None or not framework.is_active:
            yield Obstacle.FRAMEWORK_INACTIVE
        elif client.role in framework.suppressed:
            yield Obstacle.ROLE_SUPPRESSED
        if self._is_recovering:
            yield Obstacle.RECOVERING

    # Agents -------------------------------------------------------------------------------------

    def explain(self, client: Client) -> RoleExplanation:
        counts: Counter[Obstacle] = Counter()
        ends: list[float] = []
        nearest: tuple[tuple[int, Fraction, str], Miss] | None = None
        for agent in self._books.agents.values():
            miss = self._judge(client, agent)
            counts[miss.obstacle] += 1
            if miss.ends_in_s is not None:
                ends.append(miss.ends_in_s)
            if nearest is None or _BY_CLOSENESS[miss.obstacle] <= nearest[0][0]:
                rank = self._rank(agent, miss)
                if nearest is None or rank < nearest[0]:
                    nearest = (rank, miss)
        role_places = _places(self._books.roles)
        places = _places(self._books.frameworks_of[client.role])
        return RoleExplanation(
            summary=self._summary(client, role_places, places),
            counts={obstacle: counts[obstacle] for obstacle in Obstacle if counts[obstacle]},
            filters_end_in_s=(min(ends), max(ends)) if ends else None,
            nearest=None if nearest is None else nearest[1],
        )

    def _rank(self, agent: AgentBook, miss: Miss) -> tuple[int, Fraction, str]:
        """The closest first: fewest questions failed, then least missing, then by id."""
        if miss.ends_in_s is not None:
            gap = Fraction(miss.ends_in_s)
        else:
            total = agent.total.quantities()
            gap = max(
                (
                    Fraction(milli, max(total.get(name, 0), 1))
                    for name, milli in miss.missing.items()
                ),
                default=Fraction(0),
            )
        return _BY_CLOSENESS[miss.obstacle], gap, agent.agent_id

    def _judge(self, client: Client, agent: AgentBook) -> Miss:
        obstacle = self._unfit(client, agent)
        if obstacle is not None:
            return Miss(agent.agent_id, obstacle)
        offer = usable_part(client, agent.free)
        if (miss := self._held(client, agent, offer)) is not None:
            return miss
        if not is_worth(offer, self._minimum(client)):
            return self._too_little(client, agent, offer)
        drafts = self._allowed(client, offer)
        if not drafts:
            return self._not_allowed(client, agent, offer)
        return self._refused(client, agent, drafts)

    def _unfit(self, client: Client, agent: AgentBook) -> Obstacle | None:
        """What keeps the agent away whatever is free on it."""
        if not agent.is_active:
            return Obstacle.AGENT_DEACTIVATED
        if not agent.is_listed:
            return Obstacle.NOT_WHITELISTED
        if not self._suitability.could_take(client, agent):
            failed = self._suitability.failed_kind(client, agent)
            of_kind = (obstacle for bit, obstacle in _KINDS if bit == failed)
            return next(of_kind, Obstacle.OFFER_CONSTRAINTS)
        if not is_worth(agent.total, self._minimum(client)):
            return Obstacle.AGENT_TOO_SMALL
        return None

    def _minimum(self, client: Client) -> tuple[Quantities, ...]:
        minimum = client.min_allocatable
        return self._options.min_allocatable if minimum is None else minimum

    def _held(self, client: Client, agent: AgentBook, offer: Resources) -> Miss | None:
        """Whether the agent is held for a large demand, of this client or of another."""
        hold = self._holding.on_agent(agent.agent_id)
        if hold is None:
            return None
        if hold.client is client:
            missing, _ = missing_of(offer, hold.demand)
            return Miss(agent.agent_id, Obstacle.COLLECTING, missing) if missing else None
        minimum = self._minimum(client)
        if is_worth(offer, minimum) and not is_worth(offer.reserved(), minimum):
            taker = (hold.client.framework_id, hold.client.role)
            return Miss(agent.agent_id, Obstacle.HELD, taker=taker)
        return None

    def _too_little(self, client: Client, agent: AgentBook, offer: Resources) -> Miss:
        minimum = self._minimum(client)
        if is_worth(agent.free, minimum):
            usable = agent.free.usable_by(client.role)
            is_usable = is_worth(usable, minimum)
            obstacle = Obstacle.NOT_UNDERSTOOD if is_usable else Obstacle.RESERVED_FOR_OTHERS
            return Miss(agent.agent_id, obstacle, missing_of(offer, minimum)[0])
        for taker in self._takers.get(agent.agent_id, ()):
            taken = agent.booked.get(taker)
            if taker is not client and taken is not None:
                if is_worth(usable_part(client, agent.free + taken), minimum):
                    who = (taker.framework_id, taker.role)
                    return Miss(agent.agent_id, Obstacle.OTHERS_FIRST, taker=who)
        names = {name for alternative in minimum for name in alternative}
        has_some = any(offer.quantities().get(name) for name in names)
        obstacle = Obstacle.BELOW_MINIMUM if has_some else Obstacle.NOTHING_FREE
        return Miss(agent.agent_id, obstacle, missing_of(offer, minimum)[0])

    # Quotas -------------------------------------------------------------------------------------

    def _allowed(self, client: Client, offer: Resources) -> list[Resources]:
        """What quotas leave of an offer in either stage of a run, where it is worth one."""
        quotas = self._books.quotas
        if not quotas.is_used:
            return [offer]
        rooms = [quotas.room(client.role)]
        if claim := quotas.claim(client.role):
            rooms.append(quotas.room(client.role, claim))
        minimum = self._minimum(client)
        return [draft for room in rooms if is_worth(draft := offer.chopped(room), minimum)]

    def _not_allowed(self, client: Client, agent: AgentBook, offer: Resources) -> Miss:
        quotas, minimum = self._books.quotas, self._minimum(client)
        within_limits = offer.chopped(quotas.limits(client.role))
        if not is_worth(within_limits, minimum):
            missing = missing_of(within_limits, minimum)[0]
            return Miss(agent.agent_id, Obstacle.QUOTA_LIMIT, missing)
        missing = missing_of(offer.chopped(quotas.room(client.role)), minimum)[0]
        return Miss(agent.agent_id, Obstacle.HEADROOM, missing)

    # Refusals -----------------------------------------------------------------------------------

    def _refused(self, client: Client, agent: AgentBook, drafts: Iterable[Resources]) -> Miss:
        refusals = self._filters.on_agent(agent.agent_id) or {}
        refusal = refusals.get(client)
        if refusal is None:
            return Miss(agent.agent_id, Obstacle.NONE)
        ends = []
        for draft in drafts:
            if not refusal.forbids(draft, self._now_s):
                return Miss(agent.agent_id, Obstacle.NONE)
            ends.append(max(r.until_s for r in refusal if r.resources.contains(draft)))
        return Miss(agent.agent_id, Obstacle.REFUSED, ends_in_s=min(ends) - self._now_s)


def _places(sorter: Sorter) -> dict[str, int]:
    """Who is served to his place; without places where lots are drawn, which is not done here."""
    if sorter.is_drawn:
        return {client: 0 for client in sorter.clients if sorter.is_active(client)}
    return {client: place for place, client in enumerate(sorter.order(), start=1)}


__all__ = [
    "GENERAL",
    "Explainer",
    "Miss",
    "Obstacle",
    "RoleExplanation",
    "Standing",
    "Summary",
    "Takers",
]
