"""Errors of the cluster manager, split by whose fault they are (see ARCHITECTURE.md)."""


class ClusterError(Exception):
    """Root of every error that ``cluster`` raises on purpose."""


class InvalidInput(ClusterError, ValueError):
    """Text or a message from outside breaks a rule.

    ``field`` names what was wrong, ``rule`` what was expected; the text shows both.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class InvalidTransition(ClusterError):
    """A state machine was asked for a step its transition table does not have (our own fault)."""


class InvariantBroken(ClusterError):
    """A core found its own books contradictory (our own fault)."""


__all__ = ["ClusterError", "InvalidInput", "InvalidTransition", "InvariantBroken"]
