"""Where a machine stands, as far as failures are concerned. Source: master.md §11 (domain)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultDomain:
    """A zone inside a region: things of one zone tend to fail together."""

    region: str
    zone: str


__all__ = ["FaultDomain"]
