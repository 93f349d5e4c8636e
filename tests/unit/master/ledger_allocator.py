"""An allocator without a policy, whose books are kept in the plainest way.

It offers everything that is free to the first active framework that may have it. With it the
master's own books are tested apart from the decisions of the real allocator.
"""

from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
    FreeResourcesConverted,
    IntervalElapsed,
    OffersRevived,
    ResourcesConverted,
    ResourcesRecovered,
)
from cluster.errors import InvariantBroken
from cluster.model.conversions import single
from cluster.model.resources import EMPTY


def is_shared(identity):
    return identity.is_shared


class LedgerAllocator:
    def __init__(self):
        self.totals = {}
        self.held = {}
        self.inactive_agents = set()
        self.frameworks = {}
        self.refused = {}
        self.events = []
        self._is_due = False

    def handle(self, event, now_s):
        self.events.append(event)
        self._is_due = True
        match event:
            case FrameworkAdded(framework_id, roles, _, active):
                self.frameworks[framework_id] = [roles, active]
            case FrameworkUpdated(framework_id, roles):
                self.frameworks[framework_id][0] = roles
            case FrameworkActivated(framework_id):
                self.frameworks[framework_id][1] = True
            case FrameworkDeactivated(framework_id):
                self.frameworks[framework_id][1] = False
            case FrameworkRemoved(framework_id):
                del self.frameworks[framework_id]
            case AgentAdded(agent_id, total, used):
                self.totals[agent_id] = total
                for framework_id, role, resources in used:
                    self._book(framework_id, role, agent_id, resources)
            case AgentUpdated(agent_id, total):
                self.totals[agent_id] = total
            case AgentRemoved(agent_id):
                del self.totals[agent_id]
                self.inactive_agents.discard(agent_id)
                self.held = {k: v for k, v in self.held.items() if k[2] != agent_id}
            case AgentActivated(agent_id):
                self.inactive_agents.discard(agent_id)
            case AgentDeactivated(agent_id):
                self.inactive_agents.add(agent_id)
            case ResourcesConverted(framework_id, role, agent_id, before, after):
                total = self.totals[agent_id]
                if total.contains(before):
                    self.totals[agent_id] = total - before + after
                held = self.held.pop((framework_id, role, agent_id), EMPTY)
                self._book(framework_id, role, agent_id, held - before + after)
            case FreeResourcesConverted(agent_id, before, after):
                if not self.free(agent_id).contains(before):
                    raise InvariantBroken(f"{before} is not free")
                self.totals[agent_id] = self.totals[agent_id] - before + after
            case ResourcesRecovered(framework_id, role, agent_id, resources, refuse_s):
                if agent_id in self.totals:
                    held = self.held.pop((framework_id, role, agent_id), EMPTY)
                    self._book(framework_id, role, agent_id, held - resources)
                if refuse_s is not None:
                    self.refused[framework_id, role, agent_id] = resources
            case IntervalElapsed():
                self.refused.clear()
            case OffersRevived():
                self.refused.clear()
            case _:
                pass

    def _book(self, framework_id, role, agent_id, resources):
        key = (framework_id, role, agent_id)
        if both := self.held.get(key, EMPTY) + resources:
            self.held[key] = both

    @property
    def has_candidates(self):
        return self._is_due

    def inverse_offers(self, now_s):
        return []

    def allocate(self, now_s):
        self._is_due = False
        decisions = []
        for agent_id in self.totals:
            if agent_id in self.inactive_agents:
                continue
            for framework_id, (roles, active) in self.frameworks.items():
                for role in roles if active else ():
                    decisions += self._offer(framework_id, role, agent_id)
        return decisions

    def _offer(self, framework_id, role, agent_id):
        offered = self.free(agent_id).usable_by(role)
        mine = self.booked(framework_id, role, agent_id)
        offered = offered.where(lambda i: not i.is_shared or i not in mine._amounts)
        refused = self.refused.get((framework_id, role, agent_id))
        if not offered or (refused is not None and refused.contains(offered)):
            return []
        self._book(framework_id, role, agent_id, offered)
        return [Allocation(framework_id, role, agent_id, offered)]

    # What check_books asks -----------------------------------------------------------------------

    def booked(self, framework_id, role, agent_id):
        return self.held.get((framework_id, role, agent_id), EMPTY)

    def bookings(self):
        return {
            agent_id: {(k[0], k[1]): v for k, v in self.held.items() if k[2] == agent_id}
            for agent_id in self.totals
        }

    def free(self, agent_id):
        taken = self._taken(agent_id)
        return self.totals[agent_id].minus_up_to(taken.where(lambda i: not i.is_shared))

    def _taken(self, agent_id):
        return sum((v for k, v in self.held.items() if k[2] == agent_id), start=EMPTY)

    def check_invariants(self):
        for agent_id, total in self.totals.items():
            taken = self._taken(agent_id)
            if not total.contains(single(taken.where(is_shared))):
                raise InvariantBroken(f"agent {agent_id} lacks a shared volume that is held")
