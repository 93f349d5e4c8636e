"""Values that resources and attributes carry: scalars, ranges and sets.

Scalars are integers in thousandths, as Mesos compares them (fixed point with three decimals), so
that sums are exact. Ranges and sets are tuples kept in one canonical order, so that equal values
are equal objects, hash alike and print alike.

Source: messages.md §7 (numbers, ranges), agent.md §1.1.
"""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Self

from cluster.errors import InvalidInput

MILLI_PER_UNIT = 1000
# Up to here, thousandths survive the way through the double of ``Value.Scalar`` and back: the error
# of the division and that of the multiplication together stay below a half.
SCALAR_MILLI_MAX = 2**51 - 1
RANGE_END_MAX = 2**64 - 1

Quantities = Mapping[str, int]
"""Scalar amounts by resource name, in thousandths."""

# Decimal notation, with an exponent or without; words such as "nan" and "inf" are not numbers.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_RANGE = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)


class ValueType(IntEnum):
    """Kind of a value; the numbers of ``mesos.Value.Type``."""

    SCALAR = 0
    RANGES = 1
    SET = 2
    TEXT = 3


class Ranges(tuple[tuple[int, int], ...]):
    """Whole numbers as sorted, disjoint, not touching, inclusive ``(begin, end)`` pairs.

    Equals the plain tuple of its pairs. Made by :meth:`of`, which merges; the class itself trusts
    its argument.
    """

    __slots__ = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]], *, field: str = "ranges") -> Self:
        """Sort and merge pairs, which may overlap or touch.

        Raises:
            InvalidInput: a pair begins after its end or leaves 0..2**64-1.
        """
        merged: list[tuple[int, int]] = []
        for begin, end in sorted(pairs):
            if begin > end:
                raise InvalidInput(field, f"a range must not end before it begins: {begin}-{end}")
            if begin < 0 or end > RANGE_END_MAX:
                raise InvalidInput(field, f"a range must lie within 0-{RANGE_END_MAX}")
            if merged and begin <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return cls(merged)

    def union(self, other: "Ranges") -> "Ranges":
        return Ranges.of((*self, *other))

    def minus(self, other: "Ranges") -> "Ranges":
        """Numbers of this value that the other does not hold."""
        left: list[tuple[int, int]] = []
        holes = iter(other)
        hole = next(holes, None)
        for begin, end in self:
            while hole is not None and hole[1] < begin:
                hole = next(holes, None)
            while hole is not None and hole[0] <= end:
                if begin < hole[0]:
                    left.append((begin, hole[0] - 1))
                begin = hole[1] + 1
                if begin > end:
                    break
                hole = next(holes, None)
            if begin <= end:
                left.append((begin, end))
        return Ranges(left)

    def contains(self, other: "Ranges") -> bool:
        if self is other:
            return True
        spans = iter(self)
        span = next(spans, None)
        for begin, end in other:
            while span is not None and span[1] < begin:
                span = next(spans, None)
            if span is None or begin < span[0] or end > span[1]:
                return False  # pairs do not touch, so that no two of them hold one together
        return True

    def size(self) -> int:
        """How many whole numbers lie in the ranges."""
        return sum(end - begin + 1 for begin, end in self)

    def __str__(self) -> str:
        return "[" + ",".join(f"{begin}-{end}" for begin, end in self) + "]"


class Items(tuple[str, ...]):
    """A set of words, sorted. Equals the plain tuple of its words."""

    __slots__ = ()

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        return cls(sorted(set(words)))

    def union(self, other: "Items") -> "Items":
        return Items.of((*self, *other))

    def minus(self, other: "Items") -> "Items":
        return Items(word for word in self if word not in other)

    def contains(self, other: "Items") -> bool:
        return set(self).issuperset(other)

    def __str__(self) -> str:
        return "{" + ",".join(self) + "}"


def milli_from_float(value: float, *, field: str, allow_negative: bool = False) -> int:
    """Thousandths nearest to a double; a half goes away from zero, as in Mesos' fixed point.

    Raises:
        InvalidInput: NaN, infinite, negative (unless allowed) or too large for exact thousandths.
    """
    if value != value:
        raise InvalidInput(field, "must be a finite number, not NaN")
    if value in (float("inf"), float("-inf")):
        raise InvalidInput(field, "must be a finite number, not infinite")
    if value < 0 and not allow_negative:
        raise InvalidInput(field, f"must not be negative: {value:g}")
    if abs(value) > SCALAR_MILLI_MAX / MILLI_PER_UNIT:
        raise InvalidInput(field, f"must be at most {format_milli(SCALAR_MILLI_MAX)}: {value:g}")
    scaled = abs(value) * MILLI_PER_UNIT
    whole = int(scaled)
    rounded = whole + 1 if scaled - whole >= 0.5 else whole
    return rounded if value >= 0 else -rounded


def milli_to_float(milli: int) -> float:
    """The double that stands for so many thousandths in ``Value.Scalar``."""
    return milli / MILLI_PER_UNIT


def format_milli(milli: int) -> str:
    """Print thousandths as a decimal without needless zeros: 1500 becomes ``1.5``."""
    sign = "-" if milli < 0 else ""
    whole, rest = divmod(abs(milli), MILLI_PER_UNIT)
    return f"{sign}{whole}.{rest:03}".rstrip("0").rstrip(".")


def is_number(text: str) -> bool:
    """Whether the text is written as a decimal number (``nan`` and ``inf`` are words)."""
    return _NUMBER.fullmatch(text) is not None


def parse_scalar(text: str, *, field: str, allow_negative: bool = False) -> int:
    """Read a decimal number as thousandths.

    Raises:
        InvalidInput: not a number, negative (unless allowed), not finite, or too large.
    """
    if not is_number(text):
        raise InvalidInput(field, f"must be a finite number, not {text!r}")
    return milli_from_float(float(text), field=field, allow_negative=allow_negative)


def parse_ranges(text: str, *, field: str) -> Ranges:
    """Read ``[1-5,7-9]``.

    Raises:
        InvalidInput: brackets missing, no range, a part that is not ``begin-end``, a reversed one.
    """
    body = _strip_brackets(text, "[", "]", field)
    pairs = []
    for part in body.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            rule = "ranges must be written [begin-end,...] with whole numbers"
            raise InvalidInput(field, f"{rule}, not {text!r}")
        pairs.append((int(match[1]), int(match[2])))
    return Ranges.of(pairs, field=field)


def parse_set(text: str, *, field: str) -> Items:
    """Read ``{a,b}``; ``{}`` is the empty set.

    Raises:
        InvalidInput: brackets missing or an empty word between commas.
    """
    body = _strip_brackets(text, "{", "}", field)
    if not body:
        return Items()
    words = body.split(",")
    if any(not word or set(word) & set("{}[]") for word in words):
        raise InvalidInput(field, f"a set must be written {{word,...}}, not {text!r}")
    return Items.of(words)


def _strip_brackets(text: str, opening: str, closing: str, field: str) -> str:
    if len(text) < 2 or text[0] != opening or text[-1] != closing:
        raise InvalidInput(field, f"must begin with {opening} and end with {closing}, not {text!r}")
    return text[1:-1]


__all__ = [
    "MILLI_PER_UNIT",
    "RANGE_END_MAX",
    "SCALAR_MILLI_MAX",
    "Items",
    "Quantities",
    "Ranges",
    "ValueType",
    "format_milli",
    "is_number",
    "milli_from_float",
    "milli_to_float",
    "parse_ranges",
    "parse_scalar",
    "parse_set",
]
