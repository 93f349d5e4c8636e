"""What a master must remember beyond its own life: which agents exist and how they stand.

The value and its operations are pure; where it is stored is the shell's business (see
``cluster.registrar``). Source: master.md §4 (operations), §1 (limits).
"""

from dataclasses import dataclass, field

from cluster.model.ids import AgentId

UNREACHABLE_AGENTS_MAX = 102_400
GONE_AGENTS_MAX = 102_400


@dataclass(frozen=True, slots=True)
class AdmitAgent:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class UpdateAgent:
    """The description of a known agent changed."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class MarkAgentUnreachable:
    agent_id: AgentId
    at_s: float


@dataclass(frozen=True, slots=True)
class MarkAgentReachable:
    """The agent is back; one that the registry never knew is admitted."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class MarkAgentGone:
    agent_id: AgentId
    at_s: float


@dataclass(frozen=True, slots=True)
class RemoveAgent:
    agent_id: AgentId


RegistryOperation = (
    AdmitAgent
    | UpdateAgent
    | MarkAgentUnreachable
    | MarkAgentReachable
    | MarkAgentGone
    | RemoveAgent
)


@dataclass(slots=True)
class Registry:
    """Agents by standing; the dicts keep the order of arrival. Times are seconds since the epoch.

    Each agent is in at most one of the three.
    """

    admitted: dict[AgentId, None] = field(default_factory=dict)
    unreachable: dict[AgentId, float] = field(default_factory=dict)
    gone: dict[AgentId, float] = field(default_factory=dict)

    def apply(self, operation: RegistryOperation) -> bool:
        """Carry out one operation; returns whether anything changed."""
        match operation:
            case AdmitAgent(agent_id):
                return self._admit(agent_id)
            case UpdateAgent(agent_id):
                return agent_id in self.admitted
            case MarkAgentUnreachable(agent_id, at_s):
                if not self._dismiss(agent_id):
                    return False
                self.unreachable[agent_id] = at_s
                _forget_oldest(self.unreachable, UNREACHABLE_AGENTS_MAX)
                return True
            case MarkAgentReachable(agent_id):
                self.unreachable.pop(agent_id, None)
                return self._admit(agent_id)
            case MarkAgentGone(agent_id, at_s):
                self._dismiss(agent_id)
                self.unreachable.pop(agent_id, None)
                self.gone[agent_id] = at_s
                _forget_oldest(self.gone, GONE_AGENTS_MAX)
                return True
            case RemoveAgent(agent_id):
                return self._dismiss(agent_id)

    def _admit(self, agent_id: AgentId) -> bool:
        if agent_id in self.admitted:
            return False
        self.admitted[agent_id] = None
        return True

    def _dismiss(self, agent_id: AgentId) -> bool:
        if agent_id not in self.admitted:
            return False
        del self.admitted[agent_id]
        return True


def _forget_oldest(times: dict[AgentId, float], limit: int) -> None:
    while len(times) > limit:
        del times[next(iter(times))]


__all__ = [
    "GONE_AGENTS_MAX",
    "UNREACHABLE_AGENTS_MAX",
    "AdmitAgent",
    "MarkAgentGone",
    "MarkAgentReachable",
    "MarkAgentUnreachable",
    "Registry",
    "RegistryOperation",
    "RemoveAgent",
    "UpdateAgent",
]
