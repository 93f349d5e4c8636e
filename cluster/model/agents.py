"""An agent as it describes itself when it registers."""

from dataclasses import dataclass
from enum import IntEnum

from cluster.model.constraints import NO_FACTS, AgentFacts
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId
from cluster.model.operations import OperationReport
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec, TaskReport


class AgentCapability(IntEnum):
    """What an agent says it can do; numbers of ``SlaveInfo.Capability.Type``."""

    MULTI_ROLE = 1
    HIERARCHICAL_ROLE = 2
    RESERVATION_REFINEMENT = 3
    RESOURCE_PROVIDER = 4
    RESIZE_VOLUME = 5
    AGENT_OPERATION_FEEDBACK = 6
    AGENT_DRAINING = 7
    TASK_RESOURCE_LIMITS = 8


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent's description of itself, already validated.

    ``ip`` is where its messages come from; ``resource_version`` is the 16-byte version that a
    launch must name, None from an agent that has none. ``payload`` is the agent's own message.
    """

    hostname: str
    ip: str
    checkpoint: bool
    total: Resources
    version: str
    capabilities: frozenset[AgentCapability]
    resource_version: bytes | None
    payload: object
    facts: AgentFacts = NO_FACTS


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What a returning agent says it runs (source: messages.md §4.1 ``ReregisterSlaveMessage``)."""

    agent_id: AgentId
    spec: AgentSpec
    frameworks: tuple[FrameworkSpec, ...]
    tasks: tuple[TaskReport, ...]
    executors: tuple[ExecutorSpec, ...]


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """A resource provider of an agent: all it has, and the version that an operation must name."""

    provider_id: str
    total: Resources
    resource_version: bytes


@dataclass(frozen=True, slots=True)
class AgentNews:
    """What has changed at an agent; None: it says nothing about that.

    ``oversubscribed`` is everything revocable that the agent has, ``operations`` all operations
    that it and its resource providers know of.
    """

    resource_version: bytes | None = None
    oversubscribed: Resources | None = None
    operations: tuple[OperationReport, ...] | None = None
    providers: tuple[ProviderReport, ...] | None = None


__all__ = ["AgentCapability", "AgentNews", "AgentReport", "AgentSpec", "ProviderReport"]
