"""Offers as values."""

from dataclasses import dataclass

from cluster.model.ids import AgentId, FrameworkId, OfferId
from cluster.model.maintenance import Unavailability
from cluster.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Offer:
    """Resources of one agent that one framework may use in one role. ``resources`` unallocated."""

    offer_id: OfferId
    framework_id: FrameworkId
    agent_id: AgentId
    role: str
    resources: Resources


@dataclass(frozen=True, slots=True)
class InverseOffer:
    """The wish that one framework leaves one agent before its machine is worked on."""

    offer_id: OfferId
    framework_id: FrameworkId
    agent_id: AgentId
    unavailability: Unavailability


__all__ = ["InverseOffer", "Offer"]
