"""Which agents a framework wants to be offered at all: its offer constraints.

Per role a list of groups: an agent fits when all constraints of at least one group hold. A role
without entry takes every agent, an entry without groups none. Source: allocator.md §4.

Patterns come compiled from outside (``Matcher``), so that this module stays free of an engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from cluster.model.attributes import Attributes, AttributeValue
from cluster.model.domains import FaultDomain

Matcher = Callable[[str], bool]
"""Whether a whole text matches a pattern."""


class PseudoAttribute(Enum):
    """Facts about an agent that are not among its attributes; always texts."""

    HOSTNAME = auto()
    REGION = auto()
    ZONE = auto()


class Predicate(Enum):
    EXISTS = auto()
    NOT_EXISTS = auto()
    TEXT_EQUALS = auto()
    TEXT_NOT_EQUALS = auto()
    TEXT_MATCHES = auto()
    TEXT_NOT_MATCHES = auto()


_NEGATED = frozenset({Predicate.NOT_EXISTS, Predicate.TEXT_NOT_EQUALS, Predicate.TEXT_NOT_MATCHES})


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What a constraint can ask about."""

    hostname: str = ""
    attributes: Attributes = field(default_factory=Attributes)
    domain: FaultDomain | None = None


NO_FACTS = AgentFacts()


@dataclass(frozen=True, slots=True)
class AttributeConstraint:
    """One predicate about one attribute.

    ``text`` is the text or the pattern of text predicates, ``matches`` the compiled pattern.
    """

    selector: str | PseudoAttribute
    predicate: Predicate
    text: str = ""
    matches: Matcher | None = None

    def holds(self, agent: AgentFacts) -> bool:
        """A missing attribute fails what is asked of it, and fulfils what is denied of it.

        Of an attribute that is no text every text predicate holds.
        """
        value = self._value(agent)
        if value is None:
            return self.predicate in _NEGATED
        match self.predicate:
            case Predicate.EXISTS:
                return True
            case Predicate.NOT_EXISTS:
                return False
            case _ if not isinstance(value, str):
                return True
            case Predicate.TEXT_EQUALS:
                return value == self.text
            case Predicate.TEXT_NOT_EQUALS:
                return value != self.text
            case Predicate.TEXT_MATCHES:
                return self._matches(value)
            case Predicate.TEXT_NOT_MATCHES:
                return not self._matches(value)

    def _value(self, agent: AgentFacts) -> AttributeValue | None:
        match self.selector:
            case str(name):
                return agent.attributes.get(name)
            case PseudoAttribute.HOSTNAME:
                return agent.hostname
            case PseudoAttribute.REGION:
                return None if agent.domain is None else agent.domain.region
            case PseudoAttribute.ZONE:
                return None if agent.domain is None else agent.domain.zone

    def _matches(self, value: str) -> bool:
        assert self.matches is not None  # validation compiles every pattern
        return self.matches(value)

    def __str__(self) -> str:
        name = self.selector if isinstance(self.selector, str) else self.selector.name
        text = f" {self.text!r}" if self.text else ""
        return f"{name} {self.predicate.name.lower()}{text}"


ConstraintGroup = tuple[AttributeConstraint, ...]


@dataclass(frozen=True, slots=True)
class OfferConstraints:
    """Groups by role; ``payload`` is the framework's own message, for endpoints."""

    groups: Mapping[str, tuple[ConstraintGroup, ...]]
    payload: object = None

    def allow(self, role: str, agent: AgentFacts) -> bool:
        groups = self.groups.get(role)
        return groups is None or any(all(c.holds(agent) for c in group) for group in groups)


__all__ = [
    "NO_FACTS",
    "AgentFacts",
    "AttributeConstraint",
    "ConstraintGroup",
    "Matcher",
    "OfferConstraints",
    "Predicate",
    "PseudoAttribute",
]
