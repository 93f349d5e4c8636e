"""The state store: what a keeper of variables promises, and one that keeps them in memory.

A variable has a version, a UUID that changes with each store. Storing says which version it
replaces and fails when another writer was faster, so that two masters cannot overwrite each other.
Source: master.md §4 (store).
"""

import uuid
from dataclasses import dataclass
from typing import Protocol

from cluster.errors import ClusterError


class StorageFailed(ClusterError):
    """The store cannot be read or written; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A value as fetched or stored; ``version`` is empty for one that was never stored."""

    name: str
    version: bytes
    value: bytes


class Storage(Protocol):
    """Where variables are kept. Calls may be made one at a time only."""

    async def fetch(self, name: str) -> Variable:
        """The newest stored value; an empty one if there is none.

        Raises:
            StorageFailed: it cannot be read.
        """
        ...

    async def store(self, variable: Variable, value: bytes) -> Variable | None:
        """Replace what ``variable`` was fetched (or stored) as; durable when this returns.

        Returns:
            The variable with its new version; None when another writer replaced it meanwhile.

        Raises:
            StorageFailed: whether it was stored is not known.
        """
        ...

    def close(self) -> None:
        """Let go of files, at the end: nothing more is asked of it. May take a moment."""
        ...


def new_version() -> bytes:
    return uuid.uuid4().bytes


class InMemoryStorage:
    """Keeps variables as long as it lives."""

    def __init__(self) -> None:
        self._variables: dict[str, Variable] = {}

    async def fetch(self, name: str) -> Variable:
        return self._variables.get(name, Variable(name, b"", b""))

    async def store(self, variable: Variable, value: bytes) -> Variable | None:
        if (await self.fetch(variable.name)).version != variable.version:
            return None
        stored = Variable(variable.name, new_version(), value)
        self._variables[variable.name] = stored
        return stored

    def close(self) -> None:
        pass


__all__ = ["InMemoryStorage", "Storage", "StorageFailed", "Variable", "new_version"]
