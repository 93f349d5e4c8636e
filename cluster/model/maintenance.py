"""Machines and when they are to be worked on. Source: master.md §3.5."""

from dataclasses import dataclass
from enum import IntEnum


class MachineMode(IntEnum):
    """Numbers of ``mesos.MachineInfo.Mode``."""

    UP = 1
    DRAINING = 2
    DOWN = 3


@dataclass(frozen=True, slots=True)
class MachineId:
    """A machine is known by host name (kept in lower case) and IP; either may be empty."""

    hostname: str
    ip: str

    @classmethod
    def of(cls, hostname: str, ip: str) -> "MachineId":
        return cls(hostname.lower(), ip)

    def __str__(self) -> str:
        return self.hostname or self.ip


@dataclass(frozen=True, slots=True)
class Unavailability:
    """From ``start_s`` (seconds since the epoch) for ``duration_s`` (None: without end)."""

    start_s: float
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """Machines that will be unavailable together."""

    machines: tuple[MachineId, ...]
    unavailability: Unavailability


class InverseOfferStatus(IntEnum):
    """A framework's last answer about an agent; numbers of ``InverseOfferStatus.Status``."""

    UNKNOWN = 1
    ACCEPT = 2
    DECLINE = 3


__all__ = [
    "InverseOfferStatus",
    "MachineId",
    "MachineMode",
    "MaintenanceWindow",
    "Unavailability",
]
