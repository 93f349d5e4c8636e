"""The agents a master knows, by id and by peer."""

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto

from cluster.core.master.lifecycles import AGENT_TRANSITIONS, AgentState, AgentStep, advance
from cluster.core.master.story import Story
from cluster.errors import InvariantBroken
from cluster.model.agents import AgentSpec
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.model.maintenance import MachineId
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.tasks import ExecutorSpec

ExecutorKey = tuple[FrameworkId, ExecutorId]
TaskKey = tuple[FrameworkId, TaskId]

# A kill is remembered until the task is gone; the bound holds against a scheduler that kills
# without end while its agent is away.
REMEMBERED_KILLS_MAX = 10_000


class AgentStanding(Enum):
    """What a question about a task on an agent depends on (master.md §8)."""

    REGISTERED = auto()
    RECOVERED = auto()
    UNREACHABLE = auto()
    GONE = auto()
    UNKNOWN = auto()


class RunningExecutor:
    """An executor that should be running, with the role its resources are allocated to.

    ``shares_cgroups``: whether its tasks are limited together with it; None when nobody has said.
    """

    __slots__ = ("role", "shares_cgroups", "spec")

    def __init__(
        self, spec: ExecutorSpec, role: str, *, shares_cgroups: bool | None = None
    ) -> None:
        self.spec = spec
        self.role = role
        self.shares_cgroups = shares_cgroups


class AgentRecord:
    """One agent.

    Attributes:
        peer: where its messages come from and go to.
        pending_kills: tasks to kill when it comes back, with the framework's kill policy.
        resource_version: what a launch must name; changes with the agent's own updates.
        provider_versions: the same for operations on what its resource providers have.
        generation: counts connections, so that an old timer is recognised.
        drain_started_s: when it was (last) told to drain.
    """

    __slots__ = (
        "agent_id",
        "drain_started_s",
        "executors",
        "generation",
        "peer",
        "pending_kills",
        "provider_versions",
        "registered_s",
        "reregistered_s",
        "resource_version",
        "spec",
        "state",
        "story",
    )

    def __init__(
        self, agent_id: AgentId, spec: AgentSpec, *, state: AgentState, peer: PeerId, now_s: float
    ) -> None:
        self.agent_id = agent_id
        self.spec = spec
        self.state = state
        self.peer = peer
        self.executors: dict[ExecutorKey, RunningExecutor] = {}
        self.pending_kills: dict[TaskKey, object | None] = {}
        self.generation = 0
        self.provider_versions: dict[str, bytes] = {}
        self.resource_version = spec.resource_version
        self.registered_s = now_s
        self.reregistered_s: float | None = None
        self.drain_started_s: float | None = None
        self.story = Story()

    @property
    def total(self) -> Resources:
        """All that the agent has now, with the reservations and volumes ordered meanwhile."""
        return self.spec.total

    @total.setter
    def total(self, total: Resources) -> None:
        self.spec = replace(self.spec, total=total)

    @property
    def told_later(self) -> Resources:
        """What the agent does not tell when it registers, but in its updates."""
        return self.total.where(
            lambda identity: identity.is_revocable or identity.provider_id is not None
        )

    @property
    def is_connected(self) -> bool:
        return self.state is AgentState.CONNECTED

    @property
    def machine(self) -> MachineId:
        """The machine it runs on, as maintenance knows it."""
        return MachineId.of(self.spec.hostname, self.spec.ip)

    def remember_kill(self, key: TaskKey, policy: object | None) -> None:
        """Repeat the kill when the agent comes back; the oldest is dropped beyond the limit."""
        self.pending_kills[key] = policy
        if len(self.pending_kills) > REMEMBERED_KILLS_MAX:
            del self.pending_kills[next(iter(self.pending_kills))]

    def advance(self, step: AgentStep, now_s: float) -> None:
        """Take one step of the lifecycle.

        Raises:
            InvalidTransition: the lifecycle has no such step from here.
        """
        before = self.state
        self.state = advance(AGENT_TRANSITIONS, before, step, f"agent {self.agent_id}", self.story)
        self.story.add(now_s, step.name, f"{before.name} -> {self.state.name}")


class AgentBook:
    """Agents that are registered or on their way in or out, and those recovered from a registry.

    Unreachable and gone agents live in the registry; here they leave no record.
    """

    def __init__(self) -> None:
        self._known: dict[AgentId, AgentRecord] = {}
        self._by_peer: dict[PeerId, AgentId] = {}
        self._recovered: dict[AgentId, None] = {}

    def __iter__(self) -> Iterator[AgentRecord]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    @property
    def has_recovered(self) -> bool:
        """Whether an agent of an earlier master's registry has not come back yet."""
        return bool(self._recovered)

    @property
    def recovered(self) -> tuple[AgentId, ...]:
        """Agents of an earlier master that have not come back yet, in the registry's order."""
        return tuple(self._recovered)

    @property
    def registered(self) -> list[AgentRecord]:
        return [agent for agent in self._known.values() if agent.state.is_registered]

    def get(self, agent_id: AgentId) -> AgentRecord | None:
        return self._known.get(agent_id)

    def registered_or_none(self, agent_id: AgentId) -> AgentRecord | None:
        agent = self._known.get(agent_id)
        return agent if agent is not None and agent.state.is_registered else None

    def at_peer(self, peer: PeerId) -> AgentRecord | None:
        agent_id = self._by_peer.get(peer)
        return None if agent_id is None else self._known[agent_id]

    def is_recovered(self, agent_id: AgentId) -> bool:
        return agent_id in self._recovered

    def recover(self, agent_id: AgentId) -> None:
        """Expect an agent that an earlier master had admitted."""
        self._recovered[agent_id] = None

    def no_longer_recovered(self, agent_id: AgentId) -> None:
        self._recovered.pop(agent_id, None)

    def add(self, record: AgentRecord) -> None:
        self._known[record.agent_id] = record
        self._by_peer[record.peer] = record.agent_id

    def move(self, record: AgentRecord, peer: PeerId) -> None:
        """The agent came back, perhaps from another port."""
        self._unlink(record)
        record.peer = peer
        self._by_peer[peer] = record.agent_id

    def remove(self, record: AgentRecord) -> None:
        self._unlink(record)
        del self._known[record.agent_id]

    def _unlink(self, record: AgentRecord) -> None:
        if self._by_peer.get(record.peer) == record.agent_id:
            del self._by_peer[record.peer]

    def check_invariants(self) -> None:
        """Raises InvariantBroken when an index or a state does not fit."""
        for peer, agent_id in self._by_peer.items():
            record = self._known.get(agent_id)
            if record is None or record.peer != peer:
                raise InvariantBroken(f"peer {peer} points to agent {agent_id} in vain")
        for record in self._known.values():
            if record.state in (AgentState.UNREACHABLE, AgentState.DEPARTED, AgentState.GONE):
                raise InvariantBroken(f"agent {record.agent_id} is {record.state.name} but known")
            if record.agent_id in self._recovered:
                raise InvariantBroken(f"agent {record.agent_id} is both back and awaited")


__all__ = [
    "REMEMBERED_KILLS_MAX",
    "AgentBook",
    "AgentRecord",
    "AgentStanding",
    "ExecutorKey",
    "RunningExecutor",
    "TaskKey",
]
