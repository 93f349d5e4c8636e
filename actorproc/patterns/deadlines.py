"""Deadline: the moment by which a request is of use, as a value that travels with it.

Kept as an absolute time of the local clock. As text it is the time that is *left*, so that two
machines need not agree on the hour; what the message spends on its way is not counted.
Source: actor-runtime.md §6 (``Timeout``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from actorproc.clock import DELAY_S_MAX
from actorproc.patterns.errors import InvalidDeadline

DEADLINE_HEADER: Final = "actorproc-deadline"  # name of the message header it travels in
_TEXT = re.compile(r"[0-9]{1,18}us")


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A moment on a clock.

    Attributes:
        at_s: seconds since the epoch, on the clock of this runtime.
    """

    at_s: float

    @classmethod
    def after(cls, now_s: float, seconds: float) -> Self:
        """The deadline in ``seconds`` from now; saturates at both ends, like timers."""
        return cls(now_s + min(max(seconds, 0.0), DELAY_S_MAX))

    def remaining_s(self, now_s: float) -> float:
        """Seconds that are left, never below 0."""
        return max(self.at_s - now_s, 0.0)

    def is_expired(self, now_s: float) -> bool:
        return now_s >= self.at_s

    def earlier(self, other: Deadline | None) -> Deadline:
        """The one that comes first, of a caller's and one's own for example."""
        return self if other is None else min(self, other)

    def to_text(self, now_s: float) -> str:
        """What is left, in whole microseconds: ``1500000us``."""
        return f"{int(self.remaining_s(now_s) * 1e6)}us"

    @classmethod
    def from_text(cls, text: str, now_s: float) -> Self:
        """The deadline that ``to_text`` of a peer stood for.

        Raises:
            InvalidDeadline: the text has another form.
        """
        if _TEXT.fullmatch(text) is None:
            raise InvalidDeadline(f"invalid deadline {text[:40]!r}: must be digits and 'us'")
        return cls.after(now_s, int(text[:-2]) / 1e6)


__all__ = ["DEADLINE_HEADER", "Deadline"]
