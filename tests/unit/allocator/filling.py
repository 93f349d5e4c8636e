"""Progressive filling: the neediest client whose task still fits gets one task, again and again.

The production sorter decides who is neediest; here are only the tasks and what is left.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cluster.core.allocator import ClusterTotals, DrfSorter
from cluster.model.values import Quantities


class Step(NamedTuple):
    client: str
    used: dict[str, int]


def thousandths(**units: float) -> dict[str, int]:
    return {name: round(value * 1000) for name, value in units.items()}


def fill(
    capacity: Quantities,
    demands: Mapping[str, Quantities],
    weights: Mapping[str, float] | None = None,
) -> tuple[DrfSorter, Iterator[Step]]:
    """A sorter over the clients, and the steps that fill the capacity (made when iterated)."""
    totals = ClusterTotals()
    totals.add(capacity)
    sorter = DrfSorter(totals)
    for client in demands:
        sorter.add(client)
        sorter.activate(client)
    sorter.update_weights(weights or {})
    return sorter, _steps(sorter, capacity, demands)


def _steps(
    sorter: DrfSorter, capacity: Quantities, demands: Mapping[str, Quantities]
) -> Iterator[Step]:
    used = dict.fromkeys(capacity, 0)
    while (client := _first_fitting(sorter, capacity, used, demands)) is not None:
        for name, milli in demands[client].items():
            used[name] += milli
        sorter.allocated(client, demands[client])
        yield Step(client, dict(used))


def _first_fitting(
    sorter: DrfSorter,
    capacity: Quantities,
    used: Quantities,
    demands: Mapping[str, Quantities],
) -> str | None:
    for client in sorter.order():
        if all(used[name] + milli <= capacity[name] for name, milli in demands[client].items()):
            return client
    return None
