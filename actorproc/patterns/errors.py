"""Errors of the patterns; the roots are in ``actorproc.errors``."""

from __future__ import annotations

from actorproc.errors import ActorprocError


class LimitReached(ActorprocError):
    """A queue or table is as full as its named limit allows; the text names the limit."""


class CollectFailed(ActorprocError):
    """A member of ``collect`` failed or was discarded; ``__cause__`` is the member's error."""


class NoneReady(ActorprocError):
    """Every member of ``select`` ended, and none of them well."""


class WrongState(ActorprocError):
    """A transition was asked of a state machine that is in another state."""


class InvalidDeadline(ActorprocError, ValueError):
    """Text that is not a deadline; the message names the rule it breaks."""


class RestartIntensityExceeded(ActorprocError):
    """Children of a supervisor failed more often than it may restart them."""


__all__ = [
    "CollectFailed",
    "InvalidDeadline",
    "LimitReached",
    "NoneReady",
    "RestartIntensityExceeded",
    "WrongState",
]
