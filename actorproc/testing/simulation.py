"""Whole programs from one seed: ``run_simulation`` gives them a loop, a clock and a network.

Example::

    async def main(sim: Simulation) -> int:
        server = await sim.boot("10.0.0.1", setup=lambda runtime: runtime.spawn(Server()))
        client = await sim.boot("10.0.0.2", setup=lambda runtime: runtime.spawn(Client()))
        sim.network.partition(server.address, client.address)
        await asyncio.sleep(3600.0)  # costs nothing
        ...

    run_simulation(main, seed=42)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from actorproc.runtime import Runtime
from actorproc.testing.bugs import buggified
from actorproc.testing.conditions import Conditions, Duration
from actorproc.testing.simloop import (
    SIMULATED_S_MAX,
    SimulatedClock,
    SimulatedLoop,
    SimulationError,
    describe_tasks,
)
from actorproc.testing.simnet import PORT, MakeRuntime, Setup, SimulatedNetwork

EVENTS_SHOWN: Final = 20  # of the trace, when a simulation fails

T = TypeVar("T")


class LeakedTasks(SimulationError):
    """A simulated program ended and left tasks behind."""


class Simulation:
    """What a simulated program works with.

    Attributes:
        seed: decides everything.
        loop: the event loop.
        clock: its time, for runtimes; ``asyncio.sleep`` follows the same.
        network: where runtimes meet.
    """

    def __init__(
        self, loop: SimulatedLoop, seed: int, conditions: Conditions | None, shuffle: bool
    ) -> None:
        self.seed = seed
        self.loop = loop
        self.clock: SimulatedClock = loop.clock
        self.network = SimulatedNetwork(seed, loop.clock, conditions=conditions, shuffle=shuffle)

    def rng(self, purpose: str) -> random.Random:
        """A random stream of its own for one purpose."""
        return random.Random(f"{self.seed}/{purpose}")

    async def boot(
        self,
        ip: str,
        port: int = PORT,
        setup: Setup | None = None,
        *,
        make: MakeRuntime = Runtime,
    ) -> Runtime:
        """Start a runtime (see ``SimulatedNetwork.boot``); it is stopped when the program ends."""
        return await self.network.boot(ip, port, setup, make=make)

    def note(self, text: str) -> None:
        """Write a line into the trace, and so into its hash."""
        self.network.note(text)

    def trace_hash(self) -> str:
        """One hash over everything the network saw, and over the notes."""
        return self.network.trace_hash()


def run_simulation(
    main: Callable[[Simulation], Coroutine[Any, Any, T]],
    seed: int,
    *,
    conditions: Conditions | None = None,
    shuffle: bool = True,
    start_s: float = 0.0,
    limit_s: float = SIMULATED_S_MAX,
    work_s: Duration | None = None,
    buggify: bool = False,
) -> T:
    """Run ``main(simulation)`` to its end, in virtual time and without real I/O.

    The same seed gives the same run, in any OS process, as long as the program takes its randomness
    from ``rng`` and its order from nothing unordered (a ``set`` of strings, an ``id``).

    Args:
        main: a coroutine function.
        seed: decides everything.
        conditions: of the network.
        shuffle: draw the order of what is ready at the same time: processes of one runtime, and
            callbacks of the loop. False serves in order of arrival.
        start_s: virtual time at the beginning.
        limit_s: virtual seconds the program may take.
        work_s: how long work given to an executor takes.
        buggify: switch on ``buggify`` sites.

    Returns:
        What ``main`` returns.

    Raises:
        SimulationDeadlock: it waits, and nothing can happen any more.
        SimulationLivelock: it is busy for ever at one point in time.
        SimulationTooLong: it passed ``limit_s``.
        LeakedTasks: it ended, its runtimes were stopped, and tasks of it still wait.
        RealIoRefused: it asked for a socket, a subprocess or the like.
        Exception: whatever ``main`` raises. All carry a note with the seed and the end of the
            trace.
    """
    loop = SimulatedLoop(seed, shuffle=shuffle, start_s=start_s, limit_s=limit_s, work_s=work_s)
    with contextlib.ExitStack() as stack:
        if buggify:
            stack.enter_context(buggified(seed))
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: loop))
        simulation = Simulation(loop, seed, conditions, shuffle)
        try:
            return runner.run(_run(main, simulation))
        except Exception as error:
            error.add_note(_story(simulation))
            raise


async def _run(main: Callable[[Simulation], Coroutine[Any, Any, T]], simulation: Simulation) -> T:
    try:
        result = await main(simulation)
    finally:
        simulation.clock.resume()
        await simulation.network.close()
    await simulation.clock.settle()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        lines = describe_tasks(simulation.loop)
        raise LeakedTasks("\n  ".join(["the program ended and left tasks behind:", *lines]))
    return result


def _story(simulation: Simulation) -> str:
    events = simulation.network.trace.last(EVENTS_SHOWN)
    lines = [
        f"simulation with seed {simulation.seed}, at {simulation.clock.now_s()} s; the trace ends:",
        *(f"  {event}" for event in events),
    ]
    return "\n".join(lines)


__all__ = ["EVENTS_SHOWN", "LeakedTasks", "Simulation", "run_simulation"]
