"""Who has what: agents, frameworks, clients, and every sum that follows from them.

Each change goes through one method here, which keeps the agent's book, the sorters' shares, the
cluster's totals and the quotas' counts in step. Nothing is decided here.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from cluster.core.allocator.agents import AgentBook
from cluster.core.allocator.clients import Client, Framework
from cluster.core.allocator.events import AgentTraits, FrameworkTraits
from cluster.core.allocator.options import AllocatorOptions
from cluster.core.allocator.quotas import QuotaBook
from cluster.core.allocator.sorter import ClusterTotals, Sorter
from cluster.errors import InvariantBroken
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quotas
from cluster.model.resources import EMPTY, Marks, Resources
from cluster.model.roles import ancestors
from cluster.model.values import Quantities

# Equal totals become one object as long as they are among so many.
_TOTALS_MAX = 4096

_UNCOUNTED: Quantities = {}

Used = Iterable[tuple[FrameworkId, str, Resources]]


class Books:
    """All that an allocator knows, but for refusals and candidates."""

    def __init__(self, options: AllocatorOptions, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self.totals = ClusterTotals(options.fair_sharing_excluded)
        self.roles = options.role_sorter(self.totals, is_hierarchical=True, rng=rng)
        self.frameworks_of: dict[str, Sorter] = {}
        """The framework sorter of each role."""
        self.clients_of: dict[str, dict[str, Client]] = {}
        """Role to framework id to client."""
        self.frameworks: dict[FrameworkId, Framework] = {}
        self.agents: dict[AgentId, AgentBook] = {}
        self.quotas = QuotaBook()
        self.served = 0
        """How many clients want offers."""
        self.minimums = 0
        """How many clients have a ``min_allocatable`` of their own."""
        self.weights: dict[str, float] = {}
        """Role path to weight, as far as set."""
        self._constrained: dict[Client, None] = {}
        """Clients with offer constraints."""
        self._hostnames: frozenset[str] | None = None
        self._known_totals: dict[Resources, Resources] = {}
        self._served_below: dict[str, list[str]] | None = None

    # Looking up ---------------------------------------------------------------------------------

    def agent(self, agent_id: AgentId) -> AgentBook:
        agent = self.agents.get(agent_id)
        if agent is None:
            raise InvariantBroken(f"allocator does not know agent {agent_id}")
        return agent

    def framework(self, framework_id: FrameworkId) -> Framework:
        framework = self.frameworks.get(framework_id)
        if framework is None:
            raise InvariantBroken(f"allocator does not know framework {framework_id}")
        return framework

    def client(self, framework_id: FrameworkId, role: str) -> Client | None:
        return self.clients_of.get(role, {}).get(framework_id)

    def served_below(self) -> Mapping[str, list[str]]:
        """Reservation role to the served roles that may use what is reserved for it."""
        if self._served_below is None:
            below: dict[str, list[str]] = {}
            for role in self.frameworks_of:
                if self.roles.is_active(role):
                    below.setdefault(role, []).append(role)
                    for above in ancestors(role):
                        below.setdefault(above, []).append(role)
            self._served_below = below
        return self._served_below

    # Frameworks ---------------------------------------------------------------------------------

    def add_framework(self, framework: Framework) -> None:
        if framework.framework_id in self.frameworks:
            raise InvariantBroken(f"allocator is told twice of framework {framework.framework_id}")
        self.frameworks[framework.framework_id] = framework
        for role in framework.roles:
            self._describe(self._ensure_client(framework.framework_id, role), framework)

    def update_framework(
        self,
        framework: Framework,
        roles: tuple[str, ...],
        suppressed: frozenset[str],
        traits: FrameworkTraits,
    ) -> None:
        """Replace a framework's description; clients of left roles end unless they hold things."""
        old_roles = framework.roles
        framework.describe(roles, suppressed, traits)
        for role in framework.roles:
            self._describe(self._ensure_client(framework.framework_id, role), framework)
        for role in old_roles:
            if role not in framework.roles:
                client = self.clients_of[role][framework.framework_id]
                self.stop_serving(client)
                self._describe(client, None)
                self._drop_client_if_unused(client)

    def remove_framework(self, framework: Framework) -> None:
        del self.frameworks[framework.framework_id]
        for role in framework.roles:
            client = self.clients_of[role][framework.framework_id]
            self.stop_serving(client)
            self._describe(client, None)
            self._drop_client_if_unused(client)

    def _describe(self, client: Client, framework: Framework | None) -> None:
        self.minimums -= client.min_allocatable is not None
        client.describe(framework)
        self.minimums += client.min_allocatable is not None
        if client.allowed_on is None:
            self._constrained.pop(client, None)
        else:
            self._constrained[client] = None

    def clients(self, framework: Framework) -> list[Client]:
        """The framework's clients, in the order of its roles."""
        return [self.clients_of[role][framework.framework_id] for role in framework.roles]

    def serve(self, client: Client) -> None:
        """The client wants offers; so its role is served as well."""
        if not client.is_served:
            client.is_served = True
            self.served += 1
            self._served_below = None
            self.frameworks_of[client.role].activate(client.framework_id)
            self.roles.activate(client.role)

    def stop_serving(self, client: Client) -> None:
        """The client wants no offers; its role is served while others in it do."""
        if client.is_served:
            client.is_served = False
            self.served -= 1
            self._served_below = None
            sorter = self.frameworks_of[client.role]
            sorter.deactivate(client.framework_id)
            if not sorter.has_active:
                self.roles.deactivate(client.role)

    def _ensure_client(self, framework_id: FrameworkId, role: str) -> Client:
        sorter = self.frameworks_of.get(role)
        if sorter is None:
            sorter = self.frameworks_of[role] = self._options.framework_sorter(
                self.totals, is_hierarchical=False, rng=self._rng
            )
            self.clients_of[role] = {}
            self.roles.add(role)
        client = self.clients_of[role].get(framework_id)
        if client is None:
            client = self.clients_of[role][framework_id] = Client(framework_id, role)
            sorter.add(framework_id)
        return client

    def _drop_client_if_unused(self, client: Client) -> None:
        """Forget a client that neither subscribes to its role nor holds anything in it."""
        role = client.role
        if client.agents_held or client.framework is not None:
            return
        self.frameworks_of[role].remove(client.framework_id)
        del self.clients_of[role][client.framework_id]
        if not self.clients_of[role]:
            del self.frameworks_of[role]
            del self.clients_of[role]
            self.roles.remove(role)

    # Agents -------------------------------------------------------------------------------------

    def add_agent(
        self,
        agent_id: AgentId,
        total: Resources,
        used: Used,
        traits: AgentTraits,
        *,
        is_active: bool,
    ) -> AgentBook:
        if agent_id in self.agents:
            raise InvariantBroken(f"allocator is told twice of agent {agent_id}")
        total = total.unallocated()
        total = self._one_of_equal(total)
        agent = AgentBook(agent_id, total, traits, master_domain=self._options.domain)
        self.agents[agent_id] = agent
        agent.is_active = is_active
        agent.is_listed = self._is_listed(agent)
        self.totals.add(total.quantities())
        self._reservations_changed(EMPTY, total)
        agent.adopt(
            (self._ensure_client(framework_id, role), resources.unallocated())
            for framework_id, role, resources in used
            if resources
        )
        for client, booked in agent.booked.items():
            client.agents_held += 1
            self._charge(client, booked.quantities())
            if self.quotas.is_used:
                self.quotas.consume(client.role, booked.open_quantities())
        self._free_changed({}, agent)
        return agent

    def _one_of_equal(self, total: Resources) -> Resources:
        """Like agents share one bundle, so that comparing takes one look.

        Reservations are mostly an agent's own: looking for an equal total would be in vain.
        """
        if total.marks & Marks.RESERVED:
            return total
        if len(self._known_totals) >= _TOTALS_MAX:
            self._known_totals.clear()
        return self._known_totals.setdefault(total, total)

    def remove_agent(self, agent: AgentBook) -> None:
        if self.quotas.is_used:
            self.quotas.free_changed(agent.open_free(), {})
        del self.agents[agent.agent_id]
        for client, booked in agent.booked.items():
            self._discharge(client, booked.quantities())
            if self.quotas.is_used:
                self.quotas.consume(client.role, booked.open_quantities(), -1)
            client.agents_held -= 1
            self._drop_client_if_unused(client)
        self.totals.subtract(agent.total.quantities())
        self._reservations_changed(agent.total, EMPTY)
        self._forget_verdicts(agent)

    def resize(self, agent: AgentBook, total: Resources) -> None:
        self._change_total(agent, lambda: agent.resize(self._one_of_equal(total)))

    def describe_agent(self, agent: AgentBook, traits: AgentTraits) -> None:
        free_before = self._open_free(agent)
        agent.describe(traits)
        agent.is_listed = self._is_listed(agent)
        self._forget_verdicts(agent)
        self._free_changed(free_before, agent)

    def set_active(self, agent: AgentBook, *, is_active: bool) -> None:
        free_before = self._open_free(agent)
        agent.is_active = is_active
        self._free_changed(free_before, agent)

    def list_hosts(self, hostnames: frozenset[str] | None) -> list[AgentBook]:
        """Only agents on these hosts may be offered; returns those that may be from now on."""
        self._hostnames = hostnames
        newly_listed = []
        for agent in self.agents.values():
            is_listed = self._is_listed(agent)
            if is_listed != agent.is_listed:
                free_before = self._open_free(agent)
                agent.is_listed = is_listed
                self._free_changed(free_before, agent)
                if is_listed:
                    newly_listed.append(agent)
        return newly_listed

    def _is_listed(self, agent: AgentBook) -> bool:
        return self._hostnames is None or agent.traits.facts.hostname in self._hostnames

    def _forget_verdicts(self, agent: AgentBook) -> None:
        for client in self._constrained:
            if client.allowed_on is not None:
                client.allowed_on.pop(agent.agent_id, None)

    # Bookings -----------------------------------------------------------------------------------

    def book(self, agent: AgentBook, client: Client, offer: Resources) -> None:
        """Book free resources for a client.

        Raises:
            ResourcesNotContained: they are not free; nothing is changed then.
        """
        held = agent.booked.get(client)
        is_counted = self.quotas.is_used
        free_before = agent.open_free() if is_counted else _UNCOUNTED
        agent.offer(client, offer)
        if held is None:
            client.agents_held += 1
        if held is not None and offer.marks & Marks.SHARED:
            self._recharge(client, held.quantities(), agent.booked[client].quantities())
        else:
            self._charge(client, offer.quantities())
        if is_counted:
            self.quotas.consume(client.role, offer.open_quantities())
            self.quotas.free_changed(free_before, agent.open_free())

    def release(self, agent: AgentBook, client: Client, resources: Resources) -> None:
        """Take back what a client held.

        Raises:
            InvariantBroken: it does not hold so much; nothing is changed then.
        """
        held = agent.booked.get(client, EMPTY)
        free_before = self._open_free(agent)
        agent.release(client, resources)
        left = agent.booked.get(client)
        if resources.marks & Marks.SHARED and left is not None:
            self._recharge(client, held.quantities(), left.quantities())
        else:
            self._discharge(client, resources.quantities() if left else held.quantities())
        if self.quotas.is_used:
            self.quotas.consume(client.role, resources.open_quantities(), -1)
            self.quotas.free_changed(free_before, agent.open_free())
        if left is None:
            client.agents_held -= 1
            self._drop_client_if_unused(client)

    def convert(
        self, agent: AgentBook, client: Client, before: Resources, after: Resources
    ) -> None:
        """Turn what a client holds into something else.

        Raises:
            InvariantBroken: it does not hold ``before``; nothing is changed then.
        """
        if not before:
            # It holds more out of nothing, and need not be known: see ``AgentAdded.used``.
            client = self._ensure_client(client.framework_id, client.role)
        held = agent.booked.get(client, EMPTY)
        self._change_total(agent, lambda: agent.convert(client, before, after))
        converted = agent.booked.get(client, EMPTY)
        self._recharge(client, held.quantities(), converted.quantities())
        if self.quotas.is_used:
            self.quotas.consume(client.role, held.open_quantities(), -1)
            self.quotas.consume(client.role, converted.open_quantities())
        client.agents_held += bool(converted) - bool(held)
        if held and not converted:
            self._drop_client_if_unused(client)

    def convert_free(self, agent: AgentBook, before: Resources, after: Resources) -> None:
        """Turn free resources into something else.

        Raises:
            ResourcesNotContained: ``before`` is not free; nothing is changed then.
        """
        self._change_total(agent, lambda: agent.convert_free(before, after))

    def update_weights(self, weights: Mapping[str, float]) -> None:
        self.roles.update_weights(weights)
        self.weights.update(weights)

    def update_quotas(self, quotas: Quotas) -> None:
        self.quotas.update(quotas, self.agents.values())

    # Sums ---------------------------------------------------------------------------------------

    def _change_total(self, agent: AgentBook, change: Callable[[], None]) -> None:
        """Carry out a change of an agent that may change its total, and count it."""
        total_before, free_before = agent.total, self._open_free(agent)
        change()
        if agent.total.quantities() != total_before.quantities():
            self.totals.subtract(total_before.quantities())
            self.totals.add(agent.total.quantities())
        self._reservations_changed(total_before, agent.total)
        self._free_changed(free_before, agent)

    def _reservations_changed(self, before: Resources, after: Resources) -> None:
        if not self.quotas.is_used or not (before.marks | after.marks) & Marks.RESERVED:
            return
        for role, quantities in before.reserved_quantities().items():
            self.quotas.consume(role, quantities, -1)
        for role, quantities in after.reserved_quantities().items():
            self.quotas.consume(role, quantities)

    def _open_free(self, agent: AgentBook) -> Quantities:
        """What the agent is to the headroom, as long as anybody counts it."""
        return agent.open_free() if self.quotas.is_used else _UNCOUNTED

    def _free_changed(self, before: Quantities, agent: AgentBook) -> None:
        if self.quotas.is_used:
            self.quotas.free_changed(before, agent.open_free())

    def _charge(self, client: Client, quantities: Quantities) -> None:
        self.roles.allocated(client.role, quantities)
        self.frameworks_of[client.role].allocated(client.framework_id, quantities)

    def _discharge(self, client: Client, quantities: Quantities) -> None:
        self.roles.unallocated(client.role, quantities)
        self.frameworks_of[client.role].unallocated(client.framework_id, quantities)

    def _recharge(self, client: Client, before: Quantities, after: Quantities) -> None:
        """Charge a difference: of what is shared, one client's copies on an agent count once."""
        more = {
            n: milli - before.get(n, 0) for n, milli in after.items() if milli > before.get(n, 0)
        }
        less = {
            n: milli - after.get(n, 0) for n, milli in before.items() if milli > after.get(n, 0)
        }
        if less:
            self._discharge(client, less)
        if more:
            self._charge(client, more)

    def role_share(self, role: str) -> Fraction:
        return self.roles.share(role) if role in self.roles else Fraction(0)

    def framework_share(self, framework_id: FrameworkId, role: str) -> Fraction:
        sorter = self.frameworks_of.get(role)
        if sorter is None or framework_id not in sorter:
            return Fraction(0)
        return sorter.share(framework_id)

    # Invariants ---------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raise ``InvariantBroken`` when agents, sorters and quotas tell different stories."""
        self.roles.check_invariants()
        for sorter in self.frameworks_of.values():
            sorter.check_invariants()
        for agent in self.agents.values():
            agent.check_invariants()
            if agent.is_listed != self._is_listed(agent):
                raise InvariantBroken(f"agent {agent.agent_id} is listed wrongly")
        self.quotas.check_invariants(self.agents.values())
        self._check_totals()
        self._check_charges()
        self._check_wants()

    def _check_totals(self) -> None:
        totals: Counter[str] = Counter()
        for agent in self.agents.values():
            totals.update(agent.total.quantities())
        if totals != Counter(self.totals.milli):
            raise InvariantBroken("allocator miscounts the cluster's total")

    def _check_charges(self) -> None:
        """Each client's share is what the agents have booked for it."""
        held: dict[Client, Counter[str]] = {}
        holders: Counter[Client] = Counter()
        for agent in self.agents.values():
            for client, resources in agent.booked.items():
                held.setdefault(client, Counter()).update(resources.quantities())
                holders[client] += 1
        for role, clients in self.clients_of.items():
            expected_of_role: Counter[str] = Counter()
            sorter = self.frameworks_of[role]
            if list(sorter.clients) != list(clients):
                raise InvariantBroken(f"role {role} sorts other clients than it has")
            for client in clients.values():
                expected = held.pop(client, Counter())
                expected_of_role.update(expected)
                if Counter(sorter.allocation(client.framework_id)) != expected:
                    raise InvariantBroken(f"{client} is charged wrongly")
                if client.agents_held != holders[client]:
                    raise InvariantBroken(f"{client} miscounts the agents where it holds something")
            if Counter(self.roles.allocation(role)) != expected_of_role:
                raise InvariantBroken(f"role {role} is charged wrongly")
        if held:
            raise InvariantBroken(f"clients hold resources uncharged: {list(held)}")

    def _check_wants(self) -> None:
        served = minimums = 0
        for role, clients in self.clients_of.items():
            sorter = self.frameworks_of[role]
            for client in clients.values():
                framework = self.frameworks.get(client.framework_id)
                if framework is not None and role not in framework.roles:
                    framework = None
                wants = framework is not None and framework.wants_offers(role)
                if client.framework is not framework:
                    raise InvariantBroken(f"{client} takes itself for another framework")
                if sorter.is_active(client.framework_id) != wants or client.is_served != wants:
                    raise InvariantBroken(f"{client} is served wrongly")
                served += wants
                minimums += client.min_allocatable is not None
            if self.roles.is_active(role) != sorter.has_active:
                raise InvariantBroken(f"role {role} is served without anybody in it, or not at all")
        if (served, minimums) != (self.served, self.minimums):
            raise InvariantBroken("allocator miscounts those who want offers")


__all__ = ["Books", "Used"]
