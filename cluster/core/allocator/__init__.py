"""Who is offered what next: the hierarchical allocator by dominant resource fairness.

A pure core: ``handle(event, now_s)`` takes note of facts, ``allocate(now_s)`` decides. Start
reading in :mod:`cluster.core.allocator.allocator`; the user's view is in ``docs/allocator.md``.
"""

from cluster.core.allocator.allocator import Allocator, HierarchicalAllocator
from cluster.core.allocator.drf import DrfSorter
from cluster.core.allocator.events import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentRemoved,
    AgentUpdated,
    Allocation,
    AllocatorEvent,
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    ResourcesRecovered,
    WeightsUpdated,
)
from cluster.core.allocator.options import AllocatorOptions, parse_min_allocatable
from cluster.core.allocator.sorter import ClusterTotals, Quantities, Sorter

__all__ = [
    "AgentActivated",
    "AgentAdded",
    "AgentDeactivated",
    "AgentRemoved",
    "AgentUpdated",
    "Allocation",
    "Allocator",
    "AllocatorEvent",
    "AllocatorOptions",
    "ClusterTotals",
    "DrfSorter",
    "FrameworkActivated",
    "FrameworkAdded",
    "FrameworkDeactivated",
    "FrameworkRemoved",
    "FrameworkUpdated",
    "HierarchicalAllocator",
    "IntervalElapsed",
    "OffersRevived",
    "OffersSuppressed",
    "Quantities",
    "ResourcesRecovered",
    "Sorter",
    "WeightsUpdated",
    "parse_min_allocatable",
]
