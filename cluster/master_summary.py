"""What ``/state`` tells: the few facts that this master knows for certain, as JSON values.

``counts`` alone costs a look at every agent; the whole also one at every task and offer, each once.
Not here: the full state of the original's endpoint, whose other fields are left out.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from cluster import VERSION
from cluster.core.master.agents import AgentRecord
from cluster.core.master.core import MasterCore
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.state import MasterState
from cluster.core.master.tasks import TaskRecord
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources
from cluster.model.values import Quantities, milli_to_float

Json = str | int | float | bool | list["Json"] | dict[str, "Json"]


class StateSummary(Protocol):
    """Some or all of what can be told."""

    def __call__(
        self, core: MasterCore, *, pid: str, hostname: str, started_s: float
    ) -> Mapping[str, Json]: ...


def state_counts(core: MasterCore, *, pid: str, hostname: str, started_s: float) -> dict[str, Json]:
    """Which master this is, and how many agents and offers it has."""
    state = core.state
    active = sum(_is_active(state, agent) for agent in state.agents)
    return {
        "version": VERSION,
        "id": state.master_id,
        "pid": pid,
        "hostname": hostname,
        "start_time": started_s,
        "activated_slaves": active,
        "deactivated_slaves": len(state.agents) - active,
        "unreachable_slaves": state.registry.unreachable_count,
        "outstanding_offers": len(state.offers),
    }


def state_summary(
    core: MasterCore, *, pid: str, hostname: str, started_s: float
) -> dict[str, Json]:
    """The master's frameworks, agents and task counts, with the names of the original."""
    state, holdings = core.state, _Holdings(core.state)
    return {
        **state_counts(core, pid=pid, hostname=hostname, started_s=started_s),
        "tasks": _count(list(state.tasks)),
        "frameworks": [_framework(state, each, holdings) for each in state.frameworks],
        "completed_frameworks": [
            {"id": framework.framework_id, "name": framework.spec.name}
            for framework in state.frameworks.completed
        ],
        "slaves": [_agent(state, agent, holdings) for agent in state.agents],
        "recovered_slaves": [{"id": agent_id} for agent_id in state.agents.recovered],
    }


class _Holdings:
    """What is used and offered, in one look at everything: by agent, and by framework."""

    def __init__(self, state: MasterState) -> None:
        self.used_on: dict[AgentId, list[Resources]] = {}
        self.used_by: dict[FrameworkId, list[Resources]] = {}
        self.offered_on: dict[AgentId, list[Resources]] = {}
        self.offered_to: dict[FrameworkId, list[Resources]] = {}
        for agent in state.agents:
            for (framework_id, _), resources in state.used_on(agent).items():
                self.used_on.setdefault(agent.agent_id, []).append(resources)
                self.used_by.setdefault(framework_id, []).append(resources)
        for offer in state.offers:
            self.offered_on.setdefault(offer.agent_id, []).append(offer.resources)
            self.offered_to.setdefault(offer.framework_id, []).append(offer.resources)


def _framework(state: MasterState, framework: FrameworkRecord, holdings: _Holdings) -> Json:
    framework_id = framework.framework_id
    return {
        "id": framework_id,
        "name": framework.spec.name,
        "pid": framework.peer or "",
        "active": framework.is_active,
        "connected": framework.is_connected,
        "recovered": framework.state.name == "RECOVERED",
        "roles": list(framework.spec.roles),
        "used_resources": _sum(holdings.used_by.get(framework_id)),
        "offered_resources": _sum(holdings.offered_to.get(framework_id)),
        "offers": len(state.offers.of_framework(framework_id)),
        "tasks": _count(state.tasks.of_framework(framework_id)),
        "unreachable_tasks": len(state.tasks.unreachable_of(framework_id)),
        "completed_tasks": len(state.tasks.completed_of(framework_id)),
    }


def _agent(state: MasterState, agent: AgentRecord, holdings: _Holdings) -> Json:
    agent_id = agent.agent_id
    return {
        "id": agent_id,
        "hostname": agent.spec.hostname,
        "pid": agent.peer,
        "active": _is_active(state, agent),
        "resources": _amounts(agent.total),
        "used_resources": _sum(holdings.used_on.get(agent_id)),
        "offered_resources": _sum(holdings.offered_on.get(agent_id)),
        "reserved_resources": {
            role: _scalars(quantities)
            for role, quantities in agent.total.reserved_quantities().items()
        },
        "unreserved_resources": _amounts(agent.total.unreserved()),
        "tasks": _count(state.tasks.of_agent(agent_id)),
        **_service(state, agent),
    }


def _service(state: MasterState, agent: AgentRecord) -> dict[str, Json]:
    """Whether operators have taken the agent out of service, and how far they are."""
    entry = state.registry.admitted(agent.agent_id)
    facts: dict[str, Json] = {"deactivated": entry is not None and entry.is_deactivated}
    if entry is not None and entry.drain is not None:
        config: dict[str, Json] = {"mark_gone": entry.drain.config.mark_gone}
        if entry.drain.config.max_grace_ns is not None:
            config["max_grace_period"] = {"nanoseconds": entry.drain.config.max_grace_ns}
        facts["drain_info"] = {"state": entry.drain.state.name, "config": config}
    if agent.drain_started_s is not None:
        facts["estimated_drain_start_time_seconds"] = agent.drain_started_s
    return facts


def _is_active(state: MasterState, agent: AgentRecord) -> bool:
    """Whether it may be offered."""
    return agent.is_connected and state.may_serve(agent.agent_id)


def _count(tasks: list[TaskRecord]) -> Json:
    """State name -> number, in the order of the names."""
    counts = Counter(f"TASK_{task.state.name}" for task in tasks)
    return {name: counts[name] for name in sorted(counts)}


def _sum(bundles: list[Resources] | None) -> Json:
    return _amounts(Resources.sum_of(bundles or ()))


def _amounts(resources: Resources) -> Json:
    return _scalars(resources.quantities())


def _scalars(quantities: Quantities) -> Json:
    return {name: milli_to_float(milli) for name, milli in quantities.items()}


__all__ = ["StateSummary", "state_counts", "state_summary"]
