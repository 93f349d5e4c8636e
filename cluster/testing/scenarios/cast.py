"""Who takes part in a scenario, by name: agents, schedulers, offers, tasks.

Names stand for the ids that the master gives (``m-S0`` is ``a1``), so that a scenario reads the
same whatever the order in which things came. A pretended agent remembers what it was asked to run,
so that it can say so when it comes back; it decides nothing.
"""

import re
from dataclasses import dataclass, field

from cluster.model.agents import AgentSpec
from cluster.model.attributes import Attributes
from cluster.model.constraints import OfferConstraints
from cluster.model.domains import FaultDomain
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.offers import InverseOffer, Offer
from cluster.model.operations import OperationId, OperationUuid
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState
from cluster.model.tasks import ExecutorSpec
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import attributes_to_pb, resources_to_pb

TaskKey = tuple[FrameworkId, TaskId]


@dataclass(slots=True)
class PretendedTask:
    """A task as its agent knows it; ``state`` is the latest, ``sent`` what was sent on last."""

    task_id: TaskId
    framework_id: FrameworkId
    executor_id: ExecutorId | None
    role: str
    resources: Resources
    state: TaskState = TaskState.STAGING
    sent: TaskState | None = None
    uuid: bytes | None = None


@dataclass(slots=True)
class PretendedAgent:
    """What an agent would remember of itself."""

    name: str
    peer: PeerId
    spec: AgentSpec
    agent_id: AgentId | None = None
    tasks: dict[TaskKey, PretendedTask] = field(default_factory=dict)
    executors: dict[tuple[FrameworkId, ExecutorId], ExecutorSpec] = field(default_factory=dict)

    def end_framework(self, framework_id: FrameworkId) -> None:
        """Nothing of the framework runs here any more."""
        self.tasks = {key: task for key, task in self.tasks.items() if key[0] != framework_id}
        self.executors = {
            key: executor for key, executor in self.executors.items() if key[0] != framework_id
        }


@dataclass(slots=True)
class PretendedFramework:
    """A framework with the scheduler that speaks for it now."""

    name: str
    peer: PeerId
    spec: FrameworkSpec
    suppressed: frozenset[str] = frozenset()
    framework_id: FrameworkId | None = None
    constraints: OfferConstraints | None = None
    has_feedback: bool = False


@dataclass(frozen=True, slots=True)
class PretendedOperation:
    """An operation that an agent was told to apply."""

    uuid: OperationUuid
    agent_name: str
    framework_id: FrameworkId | None
    operation_id: OperationId | None


class Cast:
    """Names and what they stand for."""

    def __init__(self) -> None:
        self.agents: dict[str, PretendedAgent] = {}
        self.frameworks: dict[str, PretendedFramework] = {}
        self.offers: dict[str, Offer] = {}
        """By the scenario's own names, also those that are over."""
        self.inverse_offers: dict[str, InverseOffer] = {}
        self.operations: dict[str, PretendedOperation] = {}
        self._names: dict[str, str] = {}
        self._hosts = 0

    def new_agent_peer(self) -> tuple[PeerId, str]:
        """An address nobody has, and its IP."""
        self._hosts += 1
        ip = f"10.0.0.{self._hosts}"
        return PeerId(f"slave(1)@{ip}:5051"), ip

    def scheduler_peer(self, instance: str) -> PeerId:
        """The address of one scheduler process; each has its own name."""
        peer = PeerId(f"scheduler-{instance}@10.1.0.1:1")
        self.name(peer, instance)
        return peer

    def name(self, id: str, name: str) -> None:
        self._names[id] = name

    def has_name(self, id: str) -> bool:
        return id in self._names

    def name_of(self, id: str | None) -> str:
        return "nobody" if id is None else self._names.get(id, id)

    def name_offer(self, offer: Offer) -> str:
        name = f"O{len(self.offers)}"
        self.offers[name] = offer
        self.name(offer.offer_id, name)
        return name

    def name_inverse_offer(self, offer: InverseOffer) -> str:
        name = f"I{len(self.inverse_offers)}"
        self.inverse_offers[name] = offer
        self.name(offer.offer_id, name)
        return name

    def offer_id(self, name: str) -> OfferId | None:
        """The id of an offer by name, or of the last one made as ``framework@agent``."""
        if name in self.offers:
            return self.offers[name].offer_id
        framework_name, _, agent_name = name.partition("@")
        for offer in reversed(self.offers.values()):
            owner = (self.name_of(offer.framework_id), self.name_of(offer.agent_id))
            if owner == (framework_name, agent_name):
                return offer.offer_id
        return None

    def task(self, name: str) -> tuple[PretendedAgent, PretendedTask] | None:
        """The task of that name, as the last agent that was asked to run it has it."""
        for agent in reversed(self.agents.values()):
            for task in reversed(agent.tasks.values()):
                if task.task_id == name:
                    return agent, task
        return None

    def at_peer(self, peer: PeerId) -> PretendedAgent | None:
        return next((agent for agent in self.agents.values() if agent.peer == peer), None)

    def with_names(self, text: str) -> str:
        """A text of the master with names in the place of ids."""
        for id in sorted(self._names, key=len, reverse=True):
            if id in text:
                text = re.sub(rf"(?<![\w-]){re.escape(id)}(?![\w])", self._names[id], text)
        return text


def slave_info(
    hostname: str, total: Resources, attributes: Attributes, domain: FaultDomain | None
) -> mesos.SlaveInfo:
    """An agent's own message about itself, which the registry keeps."""
    info = mesos.SlaveInfo(hostname=hostname, resources=resources_to_pb(total, refined=True))
    info.attributes.extend(attributes_to_pb(attributes))
    if domain is not None:
        info.domain.fault_domain.region.name = domain.region
        info.domain.fault_domain.zone.name = domain.zone
    return info


__all__ = [
    "Cast",
    "PretendedAgent",
    "PretendedFramework",
    "PretendedOperation",
    "PretendedTask",
    "TaskKey",
    "slave_info",
]
