"""Several futures as one: ``collect``, ``await_all``, ``select``, and ``loop``.

New code often reads better with ``asyncio.TaskGroup``, ``gather`` and ``while``; these keep the
contracts of libprocess. None needs more than one counter, whatever the number of members.
Source: actor-runtime.md §5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

from actorproc.errors import ProcessTerminated
from actorproc.patterns.errors import CollectFailed, NoneReady
from actorproc.patterns.futures import DiscardRequests, error_text

T = TypeVar("T")
R = TypeVar("R")

LOOP_TURNS_MAX: Final = 1000  # turns of ``loop`` that need not wait before others get their turn


async def collect(members: Iterable[Awaitable[T]]) -> list[T]:
    """Values of all members, in their order; the first failure fails the whole.

    Cancelling the call asks every member to stop. After a failure, coroutines that were started
    here are cancelled; futures of the caller's are left alone.

    Raises:
        CollectFailed: a member failed or was discarded; its error is the cause.
        ProcessTerminated: a member was abandoned.
    """
    given = list(members)
    futures = [asyncio.ensure_future(member) for member in given]
    try:
        trouble = await _first(futures, _trouble_of)
    except asyncio.CancelledError:
        _cancel(futures)
        raise
    if trouble is not None:
        _cancel(
            future for future, member in zip(futures, given, strict=True) if future is not member
        )
        raise trouble
    return [future.result() for future in futures]


async def await_all(members: Iterable[Awaitable[T]]) -> list[asyncio.Future[T]]:
    """All members as futures once each is over, in their order; never fails.

    Cancelling the call asks every member to stop. Differs: an abandoned member is over as well and
    holds ``ProcessTerminated``; in libprocess it leaves the whole abandoned.
    """
    futures: list[asyncio.Future[T]] = [asyncio.ensure_future(member) for member in members]
    try:
        await _first(futures, lambda done: None)
    except asyncio.CancelledError:
        _cancel(futures)
        raise
    return futures


async def select(members: Iterable[asyncio.Future[T]]) -> asyncio.Future[T]:
    """The first member that is ready; those that fail or are discarded are passed over.

    Cancelling the call leaves the members alone.

    Raises:
        NoneReady: all ended and none is ready. (Differs: libprocess then waits for ever.)
    """
    futures = list(members)
    ready = await _first(futures, lambda done: done if _is_ready(done) else None)
    if ready is None:
        raise NoneReady(f"none of {len(futures)} futures became ready")
    return ready


def _trouble_of(done: asyncio.Future[Any]) -> Exception | None:
    """What a member that ended does to the whole of ``collect``."""
    if done.cancelled():
        return CollectFailed("Collect failed: a member was discarded")
    error = done.exception()
    if error is None or isinstance(error, ProcessTerminated):
        return error
    trouble = CollectFailed(f"Collect failed: {error_text(error)}")
    trouble.__cause__ = error
    return trouble


def _is_ready(done: asyncio.Future[Any]) -> bool:
    return not done.cancelled() and done.exception() is None


async def _first(
    futures: Sequence[asyncio.Future[Any]], verdict_of: Callable[[asyncio.Future[Any]], R | None]
) -> R | None:
    """The first verdict about a member that ended, or None once all ended without one."""
    result: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
    left = len(futures)

    def ended(done: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if result.done():
            _look_at(done)
        elif (verdict := verdict_of(done)) is not None or left == 0:
            result.set_result(verdict)

    for future in futures:
        future.add_done_callback(ended)
    return await result if futures else None


def _look_at(done: asyncio.Future[Any]) -> None:
    """A member that fails after the verdict is nobody's surprise."""
    if not done.cancelled():
        done.exception()


def _cancel(futures: Iterable[asyncio.Future[Any]]) -> None:
    for future in futures:
        future.cancel()


@dataclass(frozen=True, slots=True)
class Break(Generic[T]):
    """Returned by the body of ``loop`` to end it with a value."""

    value: T


@overload
async def loop(
    iterate: Callable[[], Awaitable[T]],
    body: Callable[[T], Awaitable[Break[R] | None] | Break[R] | None],
) -> R: ...
@overload
async def loop(
    iterate: Callable[[], T],
    body: Callable[[T], Awaitable[Break[R] | None] | Break[R] | None],
) -> R: ...
async def loop(
    iterate: Callable[[], Any],
    body: Callable[[Any], Awaitable[Break[R] | None] | Break[R] | None],
) -> R:
    """Repeat ``body(iterate())`` until it returns ``Break(value)``; the result is the value.

    Either may return a value or an awaitable. A request to discard reaches whichever is awaited; if
    that refuses it, the loop ends there, discarded, unless the body answers with ``Break``. Plain
    ``while`` and ``async for`` do the same in most code.
    """
    requests = DiscardRequests()
    turns = 0
    while True:
        item = iterate()
        if isinstance(item, Awaitable):
            item = await item
            requests.raise_if_new()
        step = body(item)
        if isinstance(step, Awaitable):
            step = await step
        if isinstance(step, Break):
            return step.value
        requests.raise_if_new()
        turns += 1
        if turns % LOOP_TURNS_MAX == 0:
            await asyncio.sleep(0)


__all__ = ["LOOP_TURNS_MAX", "Break", "await_all", "collect", "loop", "select"]
