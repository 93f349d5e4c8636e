"""What ``/state`` tells: the few facts that this master knows for certain, as JSON values.

Not here: the full state of the original's endpoint, whose other fields are left out.
"""

from collections import Counter

from cluster import VERSION
from cluster.core.master.core import MasterCore
from cluster.core.master.state import MasterState
from cluster.core.master.tasks import TaskRecord
from cluster.model.resources import EMPTY, Resources
from cluster.model.values import milli_to_float

Json = str | int | float | bool | list["Json"] | dict[str, "Json"]


def state_summary(core: MasterCore, *, pid: str, hostname: str, started_s: float) -> Json:
    """The master's frameworks, agents and task counts, with the names of the original."""
    state = core.state
    return {
        "version": VERSION,
        "id": state.master_id,
        "pid": pid,
        "hostname": hostname,
        "start_time": started_s,
        "activated_slaves": sum(agent.is_connected for agent in state.agents),
        "deactivated_slaves": sum(not agent.is_connected for agent in state.agents),
        "unreachable_slaves": state.registry.unreachable_count,
        "outstanding_offers": len(state.offers),
        "tasks": _count(list(state.tasks)),
        "frameworks": _frameworks(state),
        "completed_frameworks": [
            {"id": framework.framework_id, "name": framework.spec.name}
            for framework in state.frameworks.completed
        ],
        "slaves": _agents(state),
    }


def _frameworks(state: MasterState) -> Json:
    return [
        {
            "id": framework.framework_id,
            "name": framework.spec.name,
            "pid": framework.peer or "",
            "active": framework.is_active,
            "connected": framework.is_connected,
            "recovered": framework.state.name == "RECOVERED",
            "roles": list(framework.spec.roles),
            "offers": len(state.offers.of_framework(framework.framework_id)),
            "tasks": _count(state.tasks.of_framework(framework.framework_id)),
            "unreachable_tasks": len(state.tasks.unreachable_of(framework.framework_id)),
            "completed_tasks": len(state.tasks.completed_of(framework.framework_id)),
        }
        for framework in state.frameworks
    ]


def _agents(state: MasterState) -> Json:
    return [
        {
            "id": agent.agent_id,
            "hostname": agent.spec.hostname,
            "pid": agent.peer,
            "active": agent.is_connected,
            "resources": _quantities(agent.spec.total),
            "used_resources": _quantities(sum(state.used_on(agent).values(), start=EMPTY)),
            "tasks": _count(state.tasks.of_agent(agent.agent_id)),
        }
        for agent in state.agents
    ]


def _count(tasks: list[TaskRecord]) -> Json:
    """State name -> number, in the order of the names."""
    counts = Counter(f"TASK_{task.state.name}" for task in tasks)
    return {name: counts[name] for name in sorted(counts)}


def _quantities(resources: Resources) -> Json:
    return {name: milli_to_float(milli) for name, milli in resources.quantities().items()}


__all__ = ["state_summary"]
