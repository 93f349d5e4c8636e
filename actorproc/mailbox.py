"""How many events may wait in a mailbox, and what happens to a message beyond that.

libprocess has no limit. Source: actor-runtime.md §2.4 ("bounded mailboxes").
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

MAILBOX_EVENTS_MAX: Final = 1_000_000


class WhenFull(Enum):
    """What a full mailbox does with the next message."""

    DROP = "drop"  # accepted and counted as dropped, as a lost message would be
    REFUSE = "refuse"  # a remote sender is answered 503; counted
    WAIT = "wait"  # taken; the connection it came over is not read until there is room


@dataclass(frozen=True, slots=True)
class MailboxLimit:
    """Limit of one process.

    Attributes:
        events_max: events that may wait.
        when_full: what happens to messages beyond. Calls, timers and exits are never refused.
    """

    events_max: int = MAILBOX_EVENTS_MAX
    when_full: WhenFull = WhenFull.DROP


class Delivery(IntEnum):
    """What became of a message handed to a runtime; zero means that nobody is there."""

    NO_PROCESS = 0
    ACCEPTED = 1
    ACCEPTED_FULL = 2  # accepted, but stop sending until there is room
    REFUSED = 3


DEFAULT_LIMIT: Final = MailboxLimit()

__all__ = ["DEFAULT_LIMIT", "MAILBOX_EVENTS_MAX", "Delivery", "MailboxLimit", "WhenFull"]
