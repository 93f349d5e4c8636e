"""Attributes of an agent: named facts about it that are not consumed.

Source: agent.md §1.2. Types follow the value: ``[1-3]`` is ranges, a decimal number a scalar,
everything else text. A set is refused, as Mesos refuses it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cluster.errors import InvalidInput
from cluster.model.values import (
    Items,
    Ranges,
    ValueType,
    format_milli,
    is_number,
    parse_ranges,
    parse_scalar,
)

AttributeValue = int | Ranges | Items | str
"""A scalar in thousandths (may be negative), ranges, a set (only off the wire) or text."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One named fact; the type follows from the value's class."""

    name: str
    value: AttributeValue

    @property
    def type(self) -> ValueType:
        match self.value:
            case int():
                return ValueType.SCALAR
            case Ranges():
                return ValueType.RANGES
            case Items():
                return ValueType.SET
            case str():
                return ValueType.TEXT

    def __str__(self) -> str:
        value = format_milli(self.value) if isinstance(self.value, int) else str(self.value)
        return f"{self.name}:{value}"


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes in the order given; a name may occur more than once."""

    entries: tuple[Attribute, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Attribute]) -> "Attributes":
        return cls(tuple(entries))

    @classmethod
    def parse(cls, text: str) -> "Attributes":
        """Read ``rack:r1;n:5;p:[1-3]``: entries end at ``;``, names at the first ``:``.

        Raises:
            InvalidInput: an entry without colon, name or value, bad ranges, or a set.
        """
        parts = (part.strip() for part in text.replace("\n", ";").split(";"))
        return cls(tuple(_parse_entry(part) for part in parts if part))

    def get(self, name: str) -> AttributeValue | None:
        """Value of the first attribute of that name."""
        return next((entry.value for entry in self.entries if entry.name == name), None)

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        return ";".join(str(entry) for entry in self.entries)


def _parse_entry(part: str) -> Attribute:
    name, colon, value = (piece.strip() for piece in part.partition(":"))
    if not (name and colon and value):
        raise InvalidInput("attributes", f"each entry must be written name:value, not {part!r}")
    return Attribute(name, _parse_value(value, field=name))


def _parse_value(text: str, *, field: str) -> AttributeValue:
    if text.startswith("["):
        return parse_ranges("".join(text.split()), field=field)
    if text.startswith("{"):
        raise InvalidInput(field, f"an attribute must not be a set: {text!r}")
    if is_number(text):
        return parse_scalar(text, field=field, allow_negative=True)
    return text


__all__ = ["Attribute", "AttributeValue", "Attributes"]
