"""What libprocess's futures have and asyncio's have not: requests to discard, told from the act.

    PENDING ──> READY | FAILED | DISCARDED; ABANDONED is a failure with ``ProcessTerminated``

``task.cancel()`` is a *request*: the coroutine may refuse it by finishing. Cancelling a plain
``asyncio.Future`` discards it at once, for there is nobody to ask. In most code ``await``, ``try``
and ``except`` say all that is needed; ``then`` and ``recover`` are for the places where the
difference between a request and its fulfilment decides. Source: actor-runtime.md §4, §16.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from actorproc.errors import ProcessTerminated

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


def discard_requested(future: asyncio.Future[Any]) -> bool:
    """True when somebody asked a task to stop, whether or not it complied."""
    return isinstance(future, asyncio.Task) and future.cancelling() > 0


def describe(future: asyncio.Future[Any]) -> str:
    """State as one of libprocess's ten texts.

    ``Pending``, ``Ready``, ``Failed: why``, ``Discarded`` or ``Abandoned``, with
    `` (with discard)`` before the colon when a discard was requested. Differs: an abandoned future
    is over here, it holds ``ProcessTerminated``; in libprocess it stays pending for ever.
    """
    request = " (with discard)" if discard_requested(future) else ""
    if not future.done():
        return f"Pending{request}"
    if future.cancelled():
        return f"Discarded{request}"
    error = future.exception()
    if error is None:
        return f"Ready{request}"
    if isinstance(error, ProcessTerminated):
        return f"Abandoned{request}"
    return f"Failed{request}: {error_text(error)}"


def error_text(error: BaseException) -> str:
    """The text of an error, or its kind when it has none."""
    return str(error) or type(error).__name__


def associate(target: asyncio.Future[T], source: asyncio.Future[T]) -> None:
    """Give ``target`` the outcome of ``source``; cancelling ``target`` asks ``source`` to stop."""
    source.add_done_callback(lambda done: _forward(done, target))
    target.add_done_callback(lambda done: done.cancelled() and source.cancel())


def _forward(done: asyncio.Future[T], target: asyncio.Future[T]) -> None:
    if done.cancelled():
        target.cancel()
        return
    error = done.exception()
    if target.done():
        return
    if error is not None:
        target.set_exception(error)
    else:
        target.set_result(done.result())


@overload
def undiscardable(work: Callable[P, Awaitable[T]]) -> Callable[P, asyncio.Future[T]]: ...
@overload
def undiscardable(work: Awaitable[T]) -> asyncio.Future[T]: ...
def undiscardable(work: Any) -> Any:
    """Hide cancellation of the waiter from the work (``asyncio.shield``); also wraps functions.

    The work goes on and its value arrives at whoever else holds it, so hold it: give this a task
    that has an owner (``self.start_task(...)``) rather than a bare coroutine.
    """
    if isinstance(work, Awaitable):
        return asyncio.shield(work)

    @functools.wraps(work)
    def shielded(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        return asyncio.shield(work(*args, **kwargs))

    return shielded


@overload
async def then(source: Awaitable[T], fn: Callable[[T], Awaitable[U]]) -> U: ...
@overload
async def then(source: Awaitable[T], fn: Callable[[T], U]) -> U: ...
async def then(source: Awaitable[T], fn: Callable[[T], Any]) -> Any:
    """``fn`` of the value, unless a discard was requested while ``source`` was pending.

    Plain code goes on after an ``await`` whose task refused to be cancelled; this does not: the
    result is discarded, as in libprocess. Failure, discard and abandonment flow through.
    """
    requests = DiscardRequests()
    value = await source
    requests.raise_if_new()
    return await resolve(fn(value))


@overload
async def recover(
    source: Awaitable[T], fn: Callable[[asyncio.Future[T]], Awaitable[U]]
) -> T | U: ...
@overload
async def recover(source: Awaitable[T], fn: Callable[[asyncio.Future[T]], U]) -> T | U: ...
async def recover(source: Awaitable[T], fn: Callable[[asyncio.Future[T]], Any]) -> Any:
    """The value of ``source``, or ``fn(source)`` when it failed, was discarded or abandoned.

    A discard requested before goes to ``source`` and is then forgotten, so that what ``fn`` starts
    begins clean; a later one reaches what ``fn`` awaits. For failures alone (``repair``), write
    ``except Exception``. Not for tasks that must end when they are told to: this survives it once.
    """
    work = asyncio.ensure_future(source)
    requests = DiscardRequests()
    try:
        return await work
    except (Exception, asyncio.CancelledError):
        if not work.done():
            raise
        requests.forget_new()
    return await resolve(fn(work))


async def resolve(value: Awaitable[T] | T) -> T:
    """A value, awaited if it must be."""
    if isinstance(value, Awaitable):
        return await value
    return value


class DiscardRequests:
    """Requests to discard the running task that come after this object was made."""

    __slots__ = ("_before", "_task")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task is not None else 0

    def raise_if_new(self) -> None:
        """Comply with a request that what we awaited refused."""
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError

    def forget_new(self) -> None:
        """Let the task go on as if it had not been asked."""
        while self._task is not None and self._task.cancelling() > self._before:
            self._task.uncancel()


__all__ = [
    "DiscardRequests",
    "associate",
    "describe",
    "discard_requested",
    "error_text",
    "recover",
    "resolve",
    "then",
    "undiscardable",
]
