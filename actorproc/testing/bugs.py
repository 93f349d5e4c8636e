"""Rare branches made common: ``buggify`` marks where a simulated run may take the unlikely way.

Off by default, and always off outside ``buggified``. In a run that has it on, a quarter of the
sites are chosen by the seed, and a chosen site fires a quarter of the time: so that each run
stresses a few places hard. Source: FoundationDB's ``BUGGIFY``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Final

SITE_CHANCE: Final = 0.25
FIRE_CHANCE: Final = 0.25

_seed: ContextVar[int | None] = ContextVar("buggify_seed", default=None)


def buggify(site: str, rng: Random, *, chance: float = FIRE_CHANCE) -> bool:
    """Whether the rare branch ``site`` is taken now; always False when not switched on.

    Args:
        site: a name of its own per place in the code.
        rng: decides each time, if the site was chosen for this run; not drawn from when off.
        chance: of firing, 0 to 1, at a chosen site.
    """
    seed = _seed.get()
    if seed is None or not is_chosen(site, seed):
        return False
    return rng.random() < chance


def is_chosen(site: str, seed: int) -> bool:
    """Whether a run with this seed stresses ``site``."""
    return Random(f"{seed}/buggify/{site}").random() < SITE_CHANCE


@contextmanager
def buggified(seed: int) -> Iterator[None]:
    """Switch ``buggify`` on for what runs inside, and for the tasks it starts."""
    token = _seed.set(seed)
    try:
        yield
    finally:
        _seed.reset(token)


__all__ = ["FIRE_CHANCE", "SITE_CHANCE", "buggified", "buggify", "is_chosen"]
