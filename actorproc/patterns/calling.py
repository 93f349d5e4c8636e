"""Code that runs in an actor without a class for it: ``defer``, ``Executor``, ``spawn_function``.

Source: actor-runtime.md §3.3. Differs: ``defer`` always names its process; code after an ``await``
in a handler is in its actor anyway, so it is needed only to hand a callable to somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar, overload

from actorproc.errors import ProtocolMisuse
from actorproc.pid import PID
from actorproc.process import Home, Process

T = TypeVar("T")


class Placeholder:
    """Type of ``HOLE``."""

    def __repr__(self) -> str:
        return "HOLE"


HOLE: Final = Placeholder()  # stands for an argument that the caller of a deferred function gives


def defer(
    process: Process, fn: Callable[..., Any], *bound: Any
) -> Callable[..., asyncio.Future[Any]]:
    """A callable that runs ``fn`` in ``process``, in its turn, and returns a future of the result.

    Args:
        process: where to run; once it is gone the future holds ``ProcessTerminated``.
        fn: a function or coroutine function, usually a method of ``process``.
        bound: leading arguments; a ``HOLE`` among them is filled by the caller. What the caller
            gives beyond the holes follows at the end.
    """

    def deferred(*args: Any) -> asyncio.Future[Any]:
        return process.runtime.dispatch(process.pid, fn, *_filled(bound, args))

    return deferred


def _filled(bound: tuple[Any, ...], args: tuple[Any, ...]) -> Iterator[Any]:
    holes = sum(each is HOLE for each in bound)
    if len(args) < holes:
        raise ProtocolMisuse(f"{holes} arguments were left open, {len(args)} are given")
    given = iter(args)
    for each in bound:
        yield next(given) if each is HOLE else each
    yield from given


class Executor:
    """An actor without a class: runs what it is given, one after the other.

    Args:
        home: the runtime it lives in.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process = Process(prefix="__executor__")
        self._pid = home.spawn(self._process)

    @property
    def pid(self) -> PID:
        return self._pid

    @overload
    def execute(self, fn: Callable[..., Awaitable[T]], *args: Any) -> asyncio.Future[T]: ...
    @overload
    def execute(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]: ...
    def execute(self, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run ``fn(*args)`` in its turn; the future holds what it returns, awaited."""
        return self._home.dispatch(self._pid, fn, *args)

    def defer(self, fn: Callable[..., Any], *bound: Any) -> Callable[..., asyncio.Future[Any]]:
        """See ``defer``."""
        return defer(self._process, fn, *bound)

    def stop(self, *, inject: bool = True) -> None:
        """End it: at once, or with ``inject=False`` after what is queued."""
        self._home.terminate(self._pid, inject=inject)


@overload
def spawn_function(
    home: Home, fn: Callable[..., Awaitable[T]], *args: Any
) -> asyncio.Future[T]: ...
@overload
def spawn_function(home: Home, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]: ...
def spawn_function(home: Home, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
    """Run ``fn(*args)`` in an actor of its own that ends with it (libprocess's ``async``, ``run``).

    Cancelling the future ends the actor, and with it the work.
    """
    pid = home.spawn(Process(prefix="__async_executor__"))
    future = home.dispatch(pid, fn, *args)
    future.add_done_callback(lambda _: home.terminate(pid))
    return future


__all__ = ["HOLE", "Executor", "Placeholder", "defer", "spawn_function"]
