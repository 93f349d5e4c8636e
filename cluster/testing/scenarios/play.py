"""What verbs work with: the stage, and names that stand for what is on it."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

from cluster.core.master.events import CallReceived, MasterEvent, OperatorCallReceived
from cluster.errors import InvalidInput
from cluster.model.calls import Call
from cluster.model.domains import FaultDomain
from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.operator_calls import OperatorCall
from cluster.testing.scenarios.cast import PretendedAgent, PretendedFramework, PretendedTask
from cluster.testing.scenarios.stage import Stage


class Play:
    """One scenario being played; verbs act on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cast = stage.cast

    def check_is_new(self, name: str) -> None:
        if name in self.cast.agents or name in self.cast.frameworks:
            raise InvalidInput(name, "is taken")

    def offers(
        self, names: Sequence[str], by: str | None = None
    ) -> tuple[PretendedFramework, tuple[OfferId, ...]]:
        """The offers of those names, and who answers: the owner of the first, unless named."""
        if not names and by is None:
            raise InvalidInput("offer", "is missing")
        for name in names:
            if _OFFER_NAME.fullmatch(name) is None:
                raise InvalidInput(name, "is no offer: write O3 or framework@agent")
        offer_ids = tuple(self.cast.offer_id(name) or OfferId(name) for name in names)
        known = [o for o in self.cast.offers.values() if o.offer_id in offer_ids]
        if by is not None:
            return self.framework(by), offer_ids
        if not known:
            raise InvalidInput(names[0], "no such offer was made")
        return self.framework(self.cast.name_of(known[0].framework_id)), offer_ids

    def agent(self, name: str) -> PretendedAgent:
        agent = self.cast.agents.get(name)
        if agent is None:
            raise InvalidInput(name, "is no agent of this scenario")
        return agent

    def agent_id(self, name: str) -> AgentId:
        """The agent's id; another name is taken as an id that the master does not know."""
        agent = self.cast.agents.get(name)
        return AgentId(name) if agent is None or agent.agent_id is None else agent.agent_id

    def framework(self, name: str) -> PretendedFramework:
        framework = self.cast.frameworks.get(name)
        if framework is None:
            raise InvalidInput(name, "is no framework of this scenario")
        return framework

    def framework_id(self, name: str) -> FrameworkId:
        framework = self.cast.frameworks.get(name)
        if framework is None or framework.framework_id is None:
            return FrameworkId(name)
        return framework.framework_id

    def task_named(self, name: str) -> tuple[PretendedAgent, PretendedTask]:
        found = self.cast.task(name)
        if found is None:
            raise InvalidInput(name, "no agent was asked to run this task")
        return found

    def owner(self, task: PretendedTask) -> PretendedFramework:
        return self.framework(self.cast.name_of(task.framework_id))

    def call(self, framework: PretendedFramework, call: Call) -> None:
        self.feed(CallReceived(framework.peer, self.framework_id(framework.name), call))

    def operate(self, call: OperatorCall, principal: str | None = None) -> None:
        self.feed(OperatorCallReceived(self.stage.next_request(), call, principal))

    def feed(self, event: MasterEvent) -> None:
        self.stage.feed(event)


_OFFER_NAME = re.compile(r"O\d+|[^@]+@[^@]+")

_Named = TypeVar("_Named", bound=Enum)


def named(kind: type[_Named], word: str) -> _Named:
    try:
        return kind[word]
    except KeyError:
        raise InvalidInput(word, f"is no {kind.__name__}") from None


def parse_domain(text: str) -> FaultDomain:
    """Read ``region/zone``."""
    region, _, zone = text.partition("/")
    return FaultDomain(region, zone)


__all__ = ["Play", "named", "parse_domain"]
