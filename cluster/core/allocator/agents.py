"""The allocator's book about one agent: what it has, who holds what, what is free."""

from collections.abc import Iterable, Mapping
from typing import Final

from cluster.core.allocator.clients import Client
from cluster.core.allocator.events import AgentTraits
from cluster.errors import InvariantBroken
from cluster.model.agents import AgentCapability
from cluster.model.domains import FaultDomain
from cluster.model.ids import AgentId
from cluster.model.maintenance import Unavailability
from cluster.model.resources import EMPTY, Marks, Resources

HAS_GPUS: Final = 1
IS_REMOTE: Final = 2
"""In another region than the master."""
LACKS_MULTI_ROLE: Final = 4
LACKS_HIERARCHICAL_ROLE: Final = 8

_NOTHING: Mapping[str, int] = {}


class AgentBook:
    """Total, bookings and the free rest of one agent, all in unallocated form.

    ``free`` is kept up to date with every change, so that asking costs nothing. Shared resources
    stay free however often they are booked. An agent may be *overcommitted*: it came back smaller,
    or with more in use than it says to have. Then ``free`` is what the bookings leave of the total,
    and comes back only as far as bookings shrink.

    ``kind`` sums up in a few bits what decides which frameworks can take the agent at all.
    """

    __slots__ = (
        "_is_overcommitted",
        "_region",
        "agent_id",
        "booked",
        "free",
        "is_active",
        "is_listed",
        "kind",
        "offers",
        "total",
        "traits",
        "unavailability",
    )

    def __init__(
        self,
        agent_id: AgentId,
        total: Resources,
        traits: AgentTraits = AgentTraits(),  # noqa: B008 - frozen
        *,
        master_domain: FaultDomain | None = None,
    ) -> None:
        self.agent_id = agent_id
        total.prepare()
        self.total = total
        self.free = total
        self.booked: dict[Client, Resources] = {}
        self.offers: dict[Client, Resources] = {}
        """The last offer to each client that held something here already."""
        self.is_active = True
        self.is_listed = True
        self.unavailability: Unavailability | None = None
        self._is_overcommitted = False
        self._region = None if master_domain is None else master_domain.region
        self.describe(traits)

    # Description --------------------------------------------------------------------------------

    def describe(self, traits: AgentTraits) -> None:
        self.traits = traits
        self.kind = self._kind()

    def _kind(self) -> int:
        kind = HAS_GPUS if self.total.scalar_milli("gpus") else 0
        domain = self.traits.facts.domain
        if self._region is not None and domain is not None and domain.region != self._region:
            kind |= IS_REMOTE
        if AgentCapability.MULTI_ROLE not in self.traits.capabilities:
            kind |= LACKS_MULTI_ROLE
        if AgentCapability.HIERARCHICAL_ROLE not in self.traits.capabilities:
            kind |= LACKS_HIERARCHICAL_ROLE
        return kind

    @property
    def is_offerable(self) -> bool:
        return self.is_active and self.is_listed

    def open_free(self) -> Mapping[str, int]:
        """What of the free rest can serve a guarantee; nothing while no offer may be made of it."""
        return self.free.open_quantities() if self.is_active and self.is_listed else _NOTHING

    # Bookings -----------------------------------------------------------------------------------

    def offer(self, client: Client, resources: Resources) -> None:
        """Book free resources for a client.

        Raises:
            ResourcesNotContained: they are not free; nothing is changed then.
        """
        if resources.marks & Marks.SHARED:
            _ = self.free - resources.shared()
            self.free = self.free - resources.unshared()
        else:
            self.free = self.free - resources
        held = self.booked.get(client)
        self.booked[client] = resources if held is None else held + resources

    def adopt(self, used: Iterable[tuple[Client, Resources]]) -> None:
        """Book what the agent says to be in use, free or not; all of it at once."""
        bundles: dict[Client, list[Resources]] = {}
        for client, resources in used:
            bundles.setdefault(client, []).append(resources)
        for client, parts in bundles.items():
            self.booked[client] = Resources.sum_of(parts)
        if bundles:
            self._recount()

    def release(self, client: Client, resources: Resources) -> None:
        """Give back what a client held.

        Raises:
            InvariantBroken: the client does not hold so much; nothing is changed then.
        """
        held = self.booked.get(client, EMPTY)
        self._check_held(client, held, resources)
        if left := held.minus_up_to(resources):
            self.booked[client] = left
        else:
            self.booked.pop(client, None)
            if self.offers:
                self.offers.pop(client, None)
        if self._is_overcommitted:
            self._recount()
        elif self.booked:
            self.free = self.free + resources.unshared()
        else:
            self.free = self.total

    def convert(self, client: Client, before: Resources, after: Resources) -> None:
        """Turn what a client holds into something else, in its booking and in the total.

        The total of an overcommitted agent may not have it; then it stays as the agent told it.

        Raises:
            InvariantBroken: the client does not hold ``before``; nothing is changed then.
        """
        held = self.booked.get(client, EMPTY)
        self._check_held(client, held, before)
        if converted := held.minus_up_to(before) + after:
            self.booked[client] = converted
        else:
            self.booked.pop(client, None)
        if self.total.contains(before):
            self.total = self.total.minus_up_to(before) + after
        self._recount()

    def convert_free(self, before: Resources, after: Resources) -> None:
        """Turn free resources into something else.

        Raises:
            ResourcesNotContained: ``before`` is not free; nothing is changed then.
        """
        _ = self.free - before
        self.total = self.total.minus_up_to(before) + after
        self._recount()

    def resize(self, total: Resources) -> None:
        """Replace the total; bookings stay."""
        self.total = total
        self._recount()

    def _check_held(self, client: Client, held: Resources, resources: Resources) -> None:
        if not held.contains(resources):
            raise InvariantBroken(
                f"{client} gives back [{resources}] on agent {self.agent_id}, where it holds "
                f"[{held}]"
            )

    @property
    def in_use(self) -> Resources:
        """Everything booked, offered or used; without shared resources, which stay free."""
        return Resources.sum_of(self.booked.values()).unshared()

    def _recount(self) -> None:
        in_use = self.in_use
        self._is_overcommitted = not self.total.contains(in_use)
        self.free = self.total.minus_up_to(in_use)
        self.total.prepare()
        self.kind = self._kind()

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` unless free and booked are disjoint parts of the total."""
        in_use = self.in_use
        if self.free != self.total.minus_up_to(in_use):
            raise InvariantBroken(f"agent {self.agent_id} miscounts what is free: [{self.free}]")
        if self._is_overcommitted == self.total.contains(in_use):
            raise InvariantBroken(f"agent {self.agent_id} is wrong about being overcommitted")
        if not all(self.booked.values()):
            raise InvariantBroken(f"agent {self.agent_id} keeps an empty booking")
        if self.kind != self._kind():
            raise InvariantBroken(f"agent {self.agent_id} is of another kind than it thinks")
        if not self._is_overcommitted:
            self._check_disjoint(in_use)

    def _check_disjoint(self, in_use: Resources) -> None:
        """No port or word may be booked twice: then the parts are larger than their union."""
        parts = sum(_size(resources.unshared()) for resources in self.booked.values())
        if parts != _size(in_use):
            raise InvariantBroken(f"agent {self.agent_id} has something booked twice: [{in_use}]")


def _size(resources: Resources) -> int:
    """How much there is, of everything together; additive over disjoint parts."""
    return sum(entry.size() for entry in resources)


__all__ = ["HAS_GPUS", "IS_REMOTE", "LACKS_HIERARCHICAL_ROLE", "LACKS_MULTI_ROLE", "AgentBook"]
