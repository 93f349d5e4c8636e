"""Waiting on a condition with a deadline: the only kind of waiting tests do."""

import asyncio
import time
from collections.abc import Callable

DEADLINE_S = 60.0
POLL_S = 0.01  # between two looks at something that cannot tell us of itself


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once the condition holds; fail, saying ``what``, when it does not in time."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"waited {deadline_s:g} s in vain: {what}"
        await asyncio.sleep(POLL_S)
