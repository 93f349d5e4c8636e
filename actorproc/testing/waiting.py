"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

WITHIN_S: Final = 15.0
POLL_S: Final = 0.002

T = TypeVar("T")


async def eventually(condition: Callable[[], T], within_s: float = WITHIN_S) -> T:
    """Wait until ``condition()`` is true, on the time of the running loop; returns what it is.

    Raises:
        AssertionError: it was not within ``within_s`` seconds.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not (result := condition()):
        if loop.time() >= end_s:
            raise AssertionError(f"not within {within_s:g} s: {condition}")
        await asyncio.sleep(POLL_S)
    return result


__all__ = ["POLL_S", "WITHIN_S", "eventually"]
