"""The allocator's book about one agent: what it has, who holds what, what is free."""

from cluster.core.allocator.filters import ClientKey
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId
from cluster.model.resources import EMPTY, Resources


class AgentBook:
    """Total, bookings and the free rest of one agent, all in unallocated form.

    ``free`` is kept up to date with every change, so that asking costs nothing. An agent may be
    *overcommitted*: it came back smaller, or with more in use than it says to have. Then ``free``
    is what the bookings leave of the total, and comes back only as far as bookings shrink.
    """

    __slots__ = ("_is_overcommitted", "agent_id", "booked", "free", "is_active", "total")

    def __init__(self, agent_id: AgentId, total: Resources) -> None:
        self.agent_id = agent_id
        self.total = total
        self.free = total
        self.booked: dict[ClientKey, Resources] = {}
        self.is_active = True
        self._is_overcommitted = False

    def offer(self, client: ClientKey, resources: Resources) -> None:
        """Book free resources for a client.

        Raises:
            ResourcesNotContained: they are not free; nothing is changed then.
        """
        self.free = self.free - resources
        self.booked[client] = self.booked.get(client, EMPTY) + resources

    def adopt(self, client: ClientKey, resources: Resources) -> None:
        """Book what the agent says to be in use, free or not."""
        self.booked[client] = self.booked.get(client, EMPTY) + resources
        self._recount()

    def release(self, client: ClientKey, resources: Resources) -> None:
        """Give back what a client held.

        Raises:
            InvariantBroken: the client does not hold so much; nothing is changed then.
        """
        held = self.booked.get(client, EMPTY)
        if not held.contains(resources):
            framework_id, role = client
            raise InvariantBroken(
                f"framework {framework_id} in role {role} gives back [{resources}] on agent "
                f"{self.agent_id}, where it holds [{held}]"
            )
        if left := held.minus_up_to(resources):
            self.booked[client] = left
        else:
            self.booked.pop(client, None)
        if self._is_overcommitted:
            self._recount()
        else:
            self.free = self.free + resources

    def resize(self, total: Resources) -> None:
        """Replace the total; bookings stay."""
        self.total = total
        self._recount()

    @property
    def in_use(self) -> Resources:
        """Everything booked, offered or used."""
        booked = EMPTY
        for resources in self.booked.values():
            booked = booked + resources
        return booked

    def _recount(self) -> None:
        in_use = self.in_use
        self._is_overcommitted = not self.total.contains(in_use)
        self.free = self.total.minus_up_to(in_use)

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` unless free and booked are disjoint parts of the total."""
        in_use = self.in_use
        if self.free != self.total.minus_up_to(in_use):
            raise InvariantBroken(f"agent {self.agent_id} miscounts what is free: [{self.free}]")
        if self._is_overcommitted == self.total.contains(in_use):
            raise InvariantBroken(f"agent {self.agent_id} is wrong about being overcommitted")
        if not all(self.booked.values()):
            raise InvariantBroken(f"agent {self.agent_id} keeps an empty booking")
        if not self._is_overcommitted:
            self._check_disjoint(in_use)

    def _check_disjoint(self, in_use: Resources) -> None:
        """No port or word may be booked twice: then the parts are larger than their union."""
        parts = sum(_size(resources) for resources in self.booked.values())
        if parts != _size(in_use):
            raise InvariantBroken(f"agent {self.agent_id} has something booked twice: [{in_use}]")


def _size(resources: Resources) -> int:
    """How much there is, of everything together; additive over disjoint parts."""
    return sum(entry.size() for entry in resources)


__all__ = ["AgentBook"]
