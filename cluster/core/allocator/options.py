"""What an operator can set about allocation, with Mesos' defaults.

Source: allocator.md §3 (allocatable), §4 (filters), master.md §11.
"""

from dataclasses import dataclass

from cluster.core.allocator.drf import drf_sorter
from cluster.core.allocator.sorter import SorterFactory
from cluster.errors import InvalidInput
from cluster.model.domains import FaultDomain
from cluster.model.resources import Resources
from cluster.model.values import Quantities, ValueType

MIN_ALLOCATABLE_TEXT = "cpus:0.01|mem:32"
"""Mesos' default of ``--min_allocatable_resources``."""


def parse_min_allocatable(text: str) -> tuple[Quantities, ...]:
    """Read ``cpus:0.01|mem:32``: alternatives, each of scalars that must all be there.

    An empty text gives no alternatives, which means that anything may be offered.

    Raises:
        InvalidInput: an alternative is empty or holds something else than unreserved scalars.
    """
    if not text.strip():
        return ()
    return tuple(_parse_alternative(part) for part in text.split("|"))


def _parse_alternative(text: str) -> Quantities:
    resources = Resources.parse(text)
    if not resources:
        raise InvalidInput(
            "min_allocatable_resources", f"an alternative must not be empty: {text!r}"
        )
    if any(entry.type is not ValueType.SCALAR or entry.reservations for entry in resources):
        raise InvalidInput("min_allocatable_resources", f"must be unreserved scalars, not {text!r}")
    return dict(resources.quantities())


@dataclass(frozen=True, slots=True)
class HoldingOptions:
    """Bounds of holding agents for big tasks.

    Attributes:
        agents_fraction_max: part of the agents that is held at a time; one may always be.
        hold_s_max: how long one hold lasts, and how long its framework then waits for another.
        clients_per_interval_max: for how many an agent is looked for at an interval; each costs a
            look at every agent.
    """

    agents_fraction_max: float = 0.1
    hold_s_max: float = 600.0
    clients_per_interval_max: int = 8


@dataclass(frozen=True, slots=True)
class AllocatorOptions:
    """Settings of an allocator.

    Attributes:
        allocation_interval_s: time between two ``IntervalElapsed`` events, and the least time for
            which a refusal keeps an agent away from who refused it.
        min_allocatable: an offer must hold all of at least one of these; none: anything goes.
        fair_sharing_excluded: scalar names that do not count for shares (such as ``gpus``).
        allocate_on_recovery: whether resources that come back start a run. False gives the
            original's rule for comparison: they wait for the interval, and refusing for 0 seconds
            is no refusal.
        filter_gpu_resources: whether agents with GPUs go to frameworks with GPU_RESOURCES only.
        domain: the master's own; agents of another region go to REGION_AWARE frameworks only.
        recovery_factor: part of the expected agents that ends the wait after ``RecoveryBegun``.
        role_sorter: makes the sorter of roles.
        framework_sorter: makes the sorter of frameworks of each role.
        holding: how agents are held for demands larger than what is free anywhere; None: never.
    """

    allocation_interval_s: float = 1.0
    min_allocatable: tuple[Quantities, ...] = parse_min_allocatable(MIN_ALLOCATABLE_TEXT)
    fair_sharing_excluded: frozenset[str] = frozenset()
    allocate_on_recovery: bool = True
    filter_gpu_resources: bool = True
    domain: FaultDomain | None = None
    recovery_factor: float = 0.8
    role_sorter: SorterFactory = drf_sorter
    framework_sorter: SorterFactory = drf_sorter
    holding: HoldingOptions | None = None


__all__ = ["MIN_ALLOCATABLE_TEXT", "AllocatorOptions", "HoldingOptions", "parse_min_allocatable"]
