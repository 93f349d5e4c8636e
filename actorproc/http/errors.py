"""Errors of HTTP, split by whose fault they are (see ``actorproc.errors``)."""

from __future__ import annotations

from actorproc.errors import ActorprocError


class InvalidHttpText(ActorprocError, ValueError):
    """Text that is not what it should be; the message names the part and the rule it breaks.

    Attributes:
        text: what was given.
        field: which part of it is wrong, for example ``port``.
        rule: what it must be.
    """

    def __init__(self, text: str, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}: {text[:200]!r}")
        self.text = text
        self.field = field
        self.rule = rule


class BrokenConnection(ActorprocError):
    """The other side broke the connection, or sent what is not HTTP."""


class ClosedConnection(ActorprocError):
    """The connection was closed on this side, or promised to carry nothing more."""


class ResponseTimeout(BrokenConnection, TimeoutError):
    """The answer did not come in time; the connection was closed."""


class ClosedPipe(ActorprocError):
    """The reader of a pipe was closed on this side."""


class BrokenPipe(ActorprocError):
    """The writer of a pipe failed it: what was read before is not the whole."""


__all__ = [
    "BrokenConnection",
    "BrokenPipe",
    "ClosedConnection",
    "ClosedPipe",
    "InvalidHttpText",
    "ResponseTimeout",
]
