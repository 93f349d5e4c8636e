"""Fixtures for pytest; opt in with ``pytest_plugins = ["actorproc.testing.plugin"]``.

Every test gets a seed of its own, made from its name, or ``--simulation-seed``; a failing test
shows it. A test that leaves a runtime running fails. With pytest-asyncio there is also
``runtimes``, which stops what it started and fails on tasks that are left.
"""

from __future__ import annotations

import asyncio
import importlib.util
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import pytest

from actorproc.clock import VirtualClock
from actorproc.pid import Address
from actorproc.runtime import Runtime
from actorproc.testing.simloop import describe_tasks
from actorproc.testing.simnet import PORT, SimulatedNetwork
from actorproc.testing.simulation import Simulation, run_simulation
from actorproc.transport.base import Transport
from actorproc.transport.inproc import InProcessNetwork

T = TypeVar("T")

_SEED = pytest.StashKey[int]()


class Simulate(Protocol):
    """The fixture ``simulate``: ``run_simulation`` with the seed of the test."""

    def __call__(
        self, main: Callable[[Simulation], Coroutine[Any, Any, T]], **options: Any
    ) -> T: ...


class Runtimes:
    """The fixture ``runtimes``: starts runtimes of one network, and stops them at the end."""

    def __init__(self, stack: AsyncExitStack, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = InProcessNetwork()
        self._stack = stack
        self._made = 0

    async def start(self, transport: Transport | None = None, **options: Any) -> Runtime:
        """Start a runtime: in process on the virtual clock, unless told otherwise.

        Args:
            transport: in process by default.
            options: of ``Runtime``; ``clock`` and ``seed`` have defaults.
        """
        self._made += 1
        address = Address(f"10.0.0.{self._made}", PORT)
        options = {"clock": self.clock, "seed": self._made, **options}
        runtime = Runtime(transport or self.network.transport(*address), **options)
        return await self._stack.enter_async_context(runtime)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("actorproc")
    group.addoption(
        "--simulation-seed",
        type=int,
        default=None,
        help="seed of every simulation, instead of one per test made from its name",
    )


@pytest.fixture
def simulation_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: the same in every run, unless ``--simulation-seed`` gives one."""
    given: int | None = request.config.getoption("--simulation-seed", None)
    seed = zlib.crc32(request.node.nodeid.encode()) if given is None else given
    request.node.stash[_SEED] = seed
    return seed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends the result
    seed = item.stash.get(_SEED, None)
    if report.failed and seed is not None:
        again = f"pytest {item.nodeid!r} --simulation-seed={seed}"
        report.sections.append(("simulation", f"to repeat: {again}"))
    return report  # type: ignore[return-value]


@pytest.fixture
def simulate(simulation_seed: int) -> Simulate:
    """Run a coroutine function of a ``Simulation`` to its end: ``simulate(main)``."""

    def run(main: Callable[[Simulation], Coroutine[Any, Any, T]], **options: Any) -> T:
        return run_simulation(main, simulation_seed, **options)

    return run


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that stands still until it is told to advance."""
    return VirtualClock()


@pytest.fixture
def simulated_network(simulation_seed: int, virtual_clock: VirtualClock) -> SimulatedNetwork:
    """A simulated network in the time of ``virtual_clock``, for tests on an ordinary loop."""
    return SimulatedNetwork(simulation_seed, virtual_clock)


@pytest.fixture(autouse=True)
def _no_runtime_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a runtime running."""
    started: weakref.WeakSet[Runtime] = weakref.WeakSet()
    start = Runtime.start

    async def noted_start(runtime: Runtime) -> None:
        await start(runtime)
        started.add(runtime)

    monkeypatch.setattr(Runtime, "start", noted_start)
    yield
    left = sorted((runtime for runtime in started if runtime._loop), key=lambda each: each.address)
    if left:
        lines = [_describe_runtime(runtime) for runtime in left]
        pytest.fail("\n".join(["runtimes left running:", *lines]), pytrace=False)


def _describe_runtime(runtime: Runtime) -> str:
    processes = ", ".join(view.id for view in runtime.inspect()) or "none"
    return f"  {runtime.address}, processes: {processes}"


if importlib.util.find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def runtimes(virtual_clock: VirtualClock) -> AsyncIterator[Runtimes]:
        """Starts runtimes, stops them, and fails on tasks that are left."""
        before = asyncio.all_tasks()
        async with AsyncExitStack() as stack:
            yield Runtimes(stack, virtual_clock)
        await virtual_clock.settle()
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if left:
            lines = describe_tasks(asyncio.get_running_loop())
            pytest.fail("\n  ".join(["tasks left:", *lines]), pytrace=False)


__all__ = ["Runtimes", "Simulate"]
