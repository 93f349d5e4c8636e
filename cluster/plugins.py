"""What an installed distribution adds to the cluster: found by name through Python entry points.

A distribution names a callable in one of the groups below; an operator chooses it by its name with
a flag. Built-in names cannot be taken by a distribution. Nothing is imported before it is chosen,
and what is chosen is tried once, so that a wrong one stops the start and not the work.

For instance, in the ``setup.cfg`` of the distribution::

    [options.entry_points]
    cluster.sorters =
        youngest_first = ourcompany.sorters:youngest_first
"""

import random
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

from cluster.core.allocator import (
    Allocator,
    AllocatorOptions,
    ClusterTotals,
    HierarchicalAllocator,
    Sorter,
    SorterFactory,
)
from cluster.core.allocator.sorters import SORTERS
from cluster.errors import InvalidInput

SORTER_GROUP = "cluster.sorters"
"""Entry points: a ``SorterFactory`` each."""
ALLOCATOR_GROUP = "cluster.allocators"
"""Entry points: an ``AllocatorFactory`` each."""


class AllocatorFactory(Protocol):
    """Makes an allocator: how another one takes the place of the hierarchical one."""

    def __call__(self, options: AllocatorOptions, rng: random.Random) -> Allocator:
        """An allocator without agents and frameworks."""


ALLOCATORS: Mapping[str, AllocatorFactory] = {"hierarchical": HierarchicalAllocator}


def find_sorter(name: str, *, flag: str) -> SorterFactory:
    """The sorters called ``name``.

    Args:
        name: a built-in name, or that of an entry point in ``cluster.sorters``.
        flag: which flag chose it, for errors.

    Raises:
        InvalidInput: nothing is called so, it cannot be imported, or it makes no sorters.
    """
    if name in SORTERS:
        return SORTERS[name]
    factory: SorterFactory = _load(SORTER_GROUP, name, tuple(SORTERS), flag)
    _try(
        lambda: factory(ClusterTotals(), is_hierarchical=True, rng=random.Random(0)),
        kind=Sorter,
        name=name,
        flag=flag,
    )
    return factory


def find_allocator(name: str, options: AllocatorOptions, *, flag: str) -> AllocatorFactory:
    """The allocators called ``name``; ``options`` are what a first one is tried with.

    Raises:
        InvalidInput: nothing is called so, it cannot be imported, or it makes no allocators.
    """
    if name in ALLOCATORS:
        return ALLOCATORS[name]
    factory: AllocatorFactory = _load(ALLOCATOR_GROUP, name, tuple(ALLOCATORS), flag)
    _try(lambda: factory(options, random.Random(0)), kind=Allocator, name=name, flag=flag)
    return factory


def _load(group: str, name: str, built_in: tuple[str, ...], flag: str) -> Callable[..., Any]:
    """Import the entry point."""
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        others = sorted(found.keys() - set(built_in))
        known = ", ".join((*built_in, *others))
        hint = f"; others are found as entry points of the group {group}"
        raise InvalidInput(flag, f"must be one of {known}, not {name!r}{hint}")
    try:
        loaded = found[name].load()
    except Exception as error:  # whatever a foreign module raises when it is imported
        raise InvalidInput(flag, f"{found[name].value} cannot be imported: {error}") from error
    if not callable(loaded):
        raise InvalidInput(flag, f"{found[name].value} must be callable")
    return loaded  # type: ignore[no-any-return]


def _try(make: Callable[[], object], *, kind: type, name: str, flag: str) -> None:
    """Make one; look whether it has what is asked of its kind."""
    try:
        made = make()
        missing = [word for word in _asked_of(kind) if not hasattr(made, word)]
    except Exception as error:  # whatever foreign code raises
        raise InvalidInput(flag, f"{name} makes no {kind.__name__}: {error}") from error
    if missing:
        rule = f"{name} makes no {kind.__name__}: a {type(made).__name__} has no {missing[0]}"
        raise InvalidInput(flag, rule)


def _asked_of(kind: type) -> list[str]:
    return [word for word in vars(kind) if not word.startswith("_") or word == "__contains__"]


__all__ = [
    "ALLOCATORS",
    "ALLOCATOR_GROUP",
    "SORTER_GROUP",
    "AllocatorFactory",
    "find_allocator",
    "find_sorter",
]
