"""Dominant resource fairness said as plainly as possible: slow, exact, and without the allocator.

``divide`` is the divisible case: everybody's dominant share grows at the same rate (times weight),
whoever needs something that is used up stays where he is, the others go on. ``fill`` is the same
task by task over a tree of roles, sorting everybody from scratch before every task.

Source: Ghodsi et al., Dominant Resource Fairness, NSDI 2011, §4.1 and §5.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

Vector = Mapping[str, int]
"""Amounts by resource name; a name that is absent is 0."""


def dominant_share(capacity: Vector, demand: Vector) -> Fraction:
    """The largest part that one task takes of any resource."""
    return max(Fraction(demand.get(name, 0), capacity[name]) for name in capacity)


def divide(
    capacity: Vector, demands: Mapping[str, Vector], weights: Mapping[str, Fraction] | None = None
) -> dict[str, Fraction]:
    """Tasks by client, in parts of tasks."""
    weights = weights or {}
    free = {name: Fraction(amount) for name, amount in capacity.items()}
    rate = {  # tasks per unit of growth
        client: weights.get(client, Fraction(1)) / dominant_share(capacity, demand)
        for client, demand in demands.items()
    }
    tasks = dict.fromkeys(demands, Fraction(0))
    growing = list(demands)
    while growing:
        drain = {
            name: sum((rate[c] * demands[c].get(name, 0) for c in growing), Fraction(0))
            for name in capacity
        }
        step = min(free[name] / drain[name] for name in capacity if drain[name])
        for client in growing:
            tasks[client] += rate[client] * step
        for name in capacity:
            free[name] -= drain[name] * step
        growing = [c for c in growing if all(free[n] for n in capacity if demands[c].get(n, 0))]
    return tasks


def fill(
    capacity: Vector, demands: Mapping[str, Vector], weights: Mapping[str, Fraction] | None = None
) -> Iterator[str]:
    """Who gets the next task, until nobody's task fits; clients are paths (``a/x``).

    Siblings by weighted dominant share, then by how often they were asked, then by name. A client
    with clients below it sits among them as ``a/.``. Whose task does not fit is not asked again.
    """
    weights = weights or {}
    paths = {client: _path(client, demands) for client in demands}
    tasks = dict.fromkeys(demands, 0)
    asked = dict.fromkeys(demands, 0)
    free = dict(capacity)
    waiting = list(demands)

    def rank(node: str) -> tuple[Fraction, int, str]:
        below = [c for c in demands if node in paths[c]]
        held = {n: sum(tasks[c] * demands[c].get(n, 0) for c in below) for n in capacity}
        share = dominant_share(capacity, held) / weights.get(node, Fraction(1))
        return share, sum(asked[c] for c in below), node.rpartition("/")[2]

    while waiting:
        client = min(waiting, key=lambda client: [rank(node) for node in paths[client]])
        asked[client] += 1
        if not fits(free, demands[client]):
            waiting.remove(client)
            continue
        tasks[client] += 1
        for name in capacity:
            free[name] -= demands[client].get(name, 0)
        yield client


def fits(free: Vector, demand: Vector) -> bool:
    return all(free.get(name, 0) >= amount for name, amount in demand.items())


def _path(client: str, clients: Mapping[str, object]) -> list[str]:
    """The nodes from the top to the client."""
    is_inner = any(other.startswith(f"{client}/") for other in clients)
    parts = (f"{client}/." if is_inner else client).split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


__all__ = ["Vector", "divide", "dominant_share", "fill", "fits"]
