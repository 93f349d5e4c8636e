"""Where the registry of agents is kept.

A registrar makes operations durable in the order asked for and says when each one is. What an
operation means is decided in ``cluster.core.master.registry``.
"""

from collections.abc import Callable
from typing import Protocol

from cluster.core.master.registry import RegistryOperation


class Registrar(Protocol):
    """What the master needs of its registry."""

    def apply(
        self, operation: RegistryOperation, then: Callable[[RegistryOperation], None]
    ) -> None:
        """Make the operation durable, then call ``then(operation)``, in the order of calls."""


class InMemoryRegistrar:
    """Keeps nothing: a restarted master learns of its agents when they register again."""

    def apply(
        self, operation: RegistryOperation, then: Callable[[RegistryOperation], None]
    ) -> None:
        then(operation)


__all__ = ["InMemoryRegistrar", "Registrar"]
