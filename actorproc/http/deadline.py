"""Waiting with a deadline on the runtime's clock; ``asyncio.timeout`` knows only the loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from actorproc.clock import Clock

T = TypeVar("T")


async def within(clock: Clock, limit_s: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for at most ``limit_s`` seconds; then it is cancelled.

    Raises:
        TimeoutError: the time is over.
    """
    task = asyncio.ensure_future(coroutine)
    is_late = False

    def give_up() -> None:
        nonlocal is_late
        is_late = not task.done()
        task.cancel()

    timer = clock.call_later(limit_s, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if not is_late:
            raise
        raise TimeoutError(f"not within {limit_s:g} s") from None
    finally:
        timer.cancel()
        task.cancel()


__all__ = ["within"]
