"""Points in time and spans of time as libprocess writes and reads them.

Both count nanoseconds in a signed 64-bit integer, so they have an end: sums saturate there, and
text beyond it is refused. The clocks of a runtime speak seconds (``now_s``); these values are for
text that people and peers read.

Source: actor-runtime.md §6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from fractions import Fraction
from typing import Final, Self

from actorproc.errors import ActorprocError

NS_MAX: Final = 2**63 - 1
NS_MIN: Final = -(2**63)
NS_PER_S: Final = 1_000_000_000
TEXT_CHARS_MAX: Final = 64  # of a duration; longer text is no number anybody means

NS_PER_UNIT: Final[dict[str, int]] = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "secs": NS_PER_S,
    "mins": 60 * NS_PER_S,
    "hrs": 3_600 * NS_PER_S,
    "days": 86_400 * NS_PER_S,
    "weeks": 7 * 86_400 * NS_PER_S,
}
"""The units of a duration, smallest first."""

_DURATION = re.compile(rf"([+-]?\d+(?:\.\d+)?)({'|'.join(NS_PER_UNIT)})", re.ASCII)


class InvalidTime(ActorprocError, ValueError):
    """Text or a number that is no time or duration; the message names the field and the rule."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of ``ns`` nanoseconds, negative ones included.

    Raises:
        InvalidTime: ``ns`` does not fit into 64 bits.
    """

    ns: int

    def __post_init__(self) -> None:
        if not NS_MIN <= self.ns <= NS_MAX:
            raise InvalidTime(f"duration: {self.ns} ns must fit into 64 bits")

    @classmethod
    def from_s(cls, seconds: float) -> Self:
        """The nearest duration; beyond 64 bits of nanoseconds the longest there is."""
        return cls(_saturated(_nanoseconds("duration", seconds)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a number directly followed by a unit, for example ``1.5hrs``.

        Raises:
            InvalidTime: anything else, or more than 64 bits of nanoseconds.
        """
        match = _DURATION.fullmatch(text) if len(text) <= TEXT_CHARS_MAX else None
        if match is None:
            units = " ".join(NS_PER_UNIT)
            raise InvalidTime(
                f"duration: {text[:TEXT_CHARS_MAX]!r} must be a number and a unit ({units})"
            )
        number, unit = match.groups()
        return cls(int(Fraction(number) * NS_PER_UNIT[unit]))

    @property
    def s(self) -> float:
        """The duration in seconds."""
        return self.ns / NS_PER_S

    def __add__(self, other: Duration) -> Duration:
        return Duration(_saturated(self.ns + other.ns))

    def __sub__(self, other: Duration) -> Duration:
        return Duration(_saturated(self.ns - other.ns))

    def __neg__(self) -> Duration:
        return Duration(_saturated(-self.ns))

    def __str__(self) -> str:
        """In the largest unit that gives a whole number, so that nothing is lost: ``90mins``.

        Differs: libprocess goes only one unit down and then writes a fraction, to 15 digits.
        """
        unit = max((unit for unit in NS_PER_UNIT if self.ns % NS_PER_UNIT[unit] == 0), key=_size)
        return f"{self.ns // NS_PER_UNIT[unit]}{unit}" if self.ns else "0ns"


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """``ns`` nanoseconds since the epoch, up to 2262-04-11 23:47:16.854775807.

    Raises:
        InvalidTime: ``ns`` is negative or does not fit into 64 bits.
    """

    ns: int

    def __post_init__(self) -> None:
        if not 0 <= self.ns <= NS_MAX:
            raise InvalidTime(f"time: {self.ns} ns must lie between the epoch and the year 2262")

    @classmethod
    def from_s(cls, seconds: float) -> Self:
        """The nearest time to what a clock says in seconds since the epoch.

        Raises:
            InvalidTime: a negative number, or one beyond the year 2262.
        """
        return cls(_nanoseconds("time", seconds))

    @property
    def s(self) -> float:
        """Seconds since the epoch."""
        return self.ns / NS_PER_S

    def __add__(self, duration: Duration) -> Time:
        """The time after ``duration``; saturates at both ends of time."""
        return Time(min(max(self.ns + duration.ns, 0), NS_MAX))

    def __sub__(self, other: Time) -> Duration:
        return Duration(self.ns - other.ns)

    def rfc1123(self) -> str:
        """For example ``Thu, 01 Jan 1970 00:00:00 GMT``; fractions of a second are cut off."""
        return format_datetime(self._whole_seconds(), usegmt=True)

    def rfc3339(self) -> str:
        """For example ``1970-01-01 00:00:00+00:00``; a fraction that is not zero has nine digits.

        The blank between date and time is libprocess's (RFC 3339, §5.6, allows it).
        """
        fraction_ns = self.ns % NS_PER_S
        fraction = f".{fraction_ns:09}" if fraction_ns else ""
        return f"{self._whole_seconds():%Y-%m-%d %H:%M:%S}{fraction}+00:00"

    def __str__(self) -> str:
        return self.rfc3339()

    def _whole_seconds(self) -> datetime:
        return datetime.fromtimestamp(self.ns // NS_PER_S, UTC)


EPOCH: Final = Time(0)
TIME_MAX: Final = Time(NS_MAX)


def _size(unit: str) -> int:
    return NS_PER_UNIT[unit]


def _saturated(ns: int) -> int:
    return min(max(ns, NS_MIN), NS_MAX)


def _nanoseconds(field: str, seconds: float) -> int:
    try:
        return round(Fraction(seconds) * NS_PER_S)
    except (ValueError, OverflowError) as error:
        raise InvalidTime(f"{field}: {seconds} s must be a finite number") from error


__all__ = [
    "EPOCH",
    "NS_MAX",
    "NS_MIN",
    "NS_PER_S",
    "NS_PER_UNIT",
    "TEXT_CHARS_MAX",
    "TIME_MAX",
    "Duration",
    "InvalidTime",
    "Time",
]
