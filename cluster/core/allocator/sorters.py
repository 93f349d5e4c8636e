"""The sorters that come with the allocator, by the names an operator calls them.

Others are found by the shell (``cluster.plugins``), which knows what is installed.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cluster.core.allocator.drf import drf_sorter
from cluster.core.allocator.priority_sorter import priority_sorter
from cluster.core.allocator.random_sorter import random_sorter
from cluster.core.allocator.sorter import SorterFactory

SORTERS: Mapping[str, SorterFactory] = MappingProxyType(
    {"drf": drf_sorter, "random": random_sorter, "priority": priority_sorter}
)

__all__ = ["SORTERS"]
