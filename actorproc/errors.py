"""Errors of the actor library, split by whose fault they are.

``ProtocolMisuse`` is the caller's, ``PeerProtocolError`` the remote peer's; ``Closed...`` means
closed on this side, ``Broken...`` broken on the other.
"""


class ActorprocError(Exception):
    """Root of every error that ``actorproc`` raises on purpose."""


class InvalidPID(ActorprocError, ValueError):
    """Text that is not a PID; the message names the part and the rule it breaks."""

    def __init__(self, text: str, field: str, rule: str) -> None:
        super().__init__(f"invalid PID {text!r}: {field} {rule}")
        self.text = text
        self.field = field
        self.rule = rule


class InvalidSetting(ActorprocError, ValueError):
    """A setting that cannot be used; the message names it and the rule it breaks."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name}: {rule}")
        self.name = name
        self.rule = rule


class ProtocolMisuse(ActorprocError):
    """A call of ours that the protocol or the process model does not allow."""


class PeerProtocolError(ActorprocError):
    """Bytes from a peer that are not what the protocol allows.

    ``status`` is the HTTP status to answer with before closing, or ``None`` to close in silence.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class UnreachableId(ProtocolMisuse):
    """An id that cannot stand on a request line: no message can be sent to its process."""


class IdTaken(ProtocolMisuse):
    """A process with this id already lives in the runtime."""


class ProcessTerminated(ActorprocError):
    """The process that was asked for something is gone; its answer will never come."""


class Deadlock(ProtocolMisuse):
    """A handler waits for a call that can only be served after the handler has ended."""


class ClosedRuntime(ActorprocError):
    """The runtime is shutting down and accepts nothing new."""


class BrokenTransport(ActorprocError):
    """The transport cannot do its work, for example because the address is in use."""


__all__ = [
    "ActorprocError",
    "BrokenTransport",
    "ClosedRuntime",
    "Deadlock",
    "IdTaken",
    "InvalidPID",
    "InvalidSetting",
    "PeerProtocolError",
    "ProcessTerminated",
    "ProtocolMisuse",
    "UnreachableId",
]
