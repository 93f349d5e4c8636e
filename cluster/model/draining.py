"""Taking an agent out of service in good order. Source: master.md §3.4."""

from dataclasses import dataclass
from enum import IntEnum


class DrainState(IntEnum):
    """Numbers of ``mesos.DrainState``."""

    DRAINING = 1
    DRAINED = 2


@dataclass(frozen=True, slots=True)
class DrainConfig:
    """``max_grace_ns`` bounds the grace periods of tasks; None leaves them as they are."""

    max_grace_ns: int | None = None
    mark_gone: bool = False


@dataclass(frozen=True, slots=True)
class Drain:
    """How far an agent's draining is, and how it was asked for."""

    state: DrainState
    config: DrainConfig


__all__ = ["Drain", "DrainConfig", "DrainState"]
