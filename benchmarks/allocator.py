"""The allocator alone: full runs, incremental runs, and runs in which everything is filtered.

Times are processor times of this process. The shapes are those of the original's own allocator
benchmarks: agents with cpus, mem, disk and ports, frameworks in roles of their own, everything free
at first. Every figure is the production allocator fed with events; nothing is put into its books by
hand.

By default 10,000 agents and 200 frameworks (10 where filters are installed, which takes a decline
for each). With ``--full`` the curve follows: one axis varied at a time, up to two million filters,
memory included; ``--only`` picks single cases out of it.

Python's collector of cycles runs before each measured part: a look at everything made before (0.1 s
and more) would else fall to whichever part it happens to meet. What the part itself makes is
collected while it is measured.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, TypeVar

from benchmarks.harness import Case, parser_for, run_benchmark
from cluster.core.allocator import (
    AgentAdded,
    AgentUpdated,
    Allocation,
    AllocatorEvent,
    AllocatorOptions,
    FrameworkAdded,
    FrameworkTraits,
    HierarchicalAllocator,
    IntervalElapsed,
    OffersRevived,
    ResourcesRecovered,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import (
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
)
from cluster.model.values import ValueType

AGENTS: Final = 10_000
FRAMEWORKS: Final = 200
FILTERING_FRAMEWORKS: Final = 10
LABELS: Final = 20
TASKS: Final = 10
LONG_S: Final = 86_400.0
FILTERS_MAX: Final = 2_000_000
CURVE_AGENTS: Final = (1_000, 5_000, 10_000, 50_000)
CURVE_FRAMEWORKS: Final = (1, 50, 200, 1_000)
CHANGED: Final = 100
"""Agents that change in the incremental runs whose growth is fitted."""

NOTES: Final = """\
The C++ original on a 2-core machine, for comparison: 0.8 to 1.2 s for a run that makes 10,000
offers to 200 frameworks, growing with the filters that pile up; 1.3 to 1.5 s to add 10,000 agents;
0.6 s for a run over only 1,000 agents in which 50 frameworks have filtered everything.
"every agent looked at" is a run over agents that all changed, and finds that all is refused;
"interval" a run after an interval without news; "picky newcomer" one in which a new framework is
asked about every agent, takes none, and nobody else has to be asked; "revived" the same with one
that takes every agent; "changed agents" one over agents that changed, where all are asked and none
takes anything."""


T = TypeVar("T")
Used = tuple[FrameworkId, str, Resources]

TASK_RESOURCES: Final = [
    list(Resources.parse(f"cpus:0.5;mem:512;ports:[{31000 + 4 * n}-{31001 + 4 * n}]"))
    for n in range(TASKS)
]


class Bench:
    """An allocator with its clock, and the time that things take, in milliseconds."""

    def __init__(self, agents: int, frameworks: int, *, labels: int = 0, tasks: int = 0) -> None:
        gc.collect()
        gc.disable()  # building what is told is not measured, and all of it stays
        self.allocator = HierarchicalAllocator(AllocatorOptions(), random.Random(1))
        self.now_s = 0.0
        self.frameworks = frameworks
        self.refused = 0
        """How many offers were declined for long."""
        self.totals = [total_of(agent, labels) for agent in range(agents)]
        for n in range(frameworks):
            self.tell(FrameworkAdded(FrameworkId(f"f{n}"), (f"role{n}",)))
        events = [
            AgentAdded(AgentId(f"agent{n}"), total, tuple(used_by(n, tasks, frameworks)))
            for n, total in enumerate(self.totals)
        ]
        gc.enable()
        gc.collect()
        self.adding_ms, _ = timed(lambda: self.tell(*events))

    def tell(self, *events: AllocatorEvent) -> None:
        for event in events:
            self.allocator.handle(event, self.now_s)

    def run(self) -> tuple[float, list[Allocation]]:
        return timed(lambda: self.allocator.allocate(self.now_s))

    def interval(self) -> tuple[float, list[Allocation]]:
        """The interval timer and the run that follows it, if any."""
        self.now_s += 1.0

        def both() -> list[Allocation]:
            self.tell(IntervalElapsed())
            return self.allocator.allocate(self.now_s) if self.allocator.has_candidates else []

        return timed(both)

    def give_back(self, offers: Iterable[Allocation], refuse_s: float | None = None) -> float:
        events = [
            ResourcesRecovered(o.framework_id, o.role, o.agent_id, o.resources, refuse_s)
            for o in offers
        ]
        if refuse_s == LONG_S:
            self.refused += len(events)
        return timed(lambda: self.tell(*events))[0]

    def decline_all(self, filters_max: int = FILTERS_MAX) -> int:
        """Let everybody decline everything with long filters; returns how many were set."""
        filters = 0
        filters_max = min(filters_max, len(self.totals) * self.frameworks - self.refused)
        while filters < filters_max:
            _, offers = self.run()
            by_framework: dict[str, list[Allocation]] = {}
            for offer in offers:
                by_framework.setdefault(offer.framework_id, []).append(offer)
            for declined in by_framework.values():
                self.now_s += 0.000_001  # each framework's answer comes at a time of its own
                self.give_back(declined, LONG_S)
                filters += len(declined)
        return filters


def total_of(agent: int, labels: int) -> Resources:
    plain = Resources.parse("cpus:8;mem:32768;disk:512000;ports:[31000-32000]")
    entries = [
        Resource(
            ResourceIdentity(
                ("cpus", "mem")[n % 2],
                ValueType.SCALAR,
                (
                    Reservation(
                        "role0", ReservationType.DYNAMIC, "operator", (("id", f"{agent}-{n}"),)
                    ),
                ),
            ),
            1000,
        )
        for n in range(labels)
    ]
    return plain + Resources(entries)


def used_by(agent: int, tasks: int, frameworks: int) -> Iterator[Used]:
    """What tasks use on an agent, each of another framework and on ports of its own."""
    for n in range(tasks):
        framework = (agent + n) % frameworks
        yield FrameworkId(f"f{framework}"), f"role{framework}", Resources(TASK_RESOURCES[n])


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor time: nothing here waits, and others on the machine shall not count."""
    start_s = time.process_time()
    result = work()
    return (time.process_time() - start_s) * 1e3, result


def rss_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * 4096


def full_runs(agents: int, frameworks: int, labels: int, prefix: str) -> dict[str, float]:
    """Adding, the first run, and what 1 % of the offers cost to give back and make again."""
    bench = Bench(agents, frameworks, labels=labels)
    return {
        f"{prefix}: adding agents": bench.adding_ms,
        **first_runs(bench, prefix)[0],
    }


def first_runs(bench: Bench, prefix: str) -> tuple[dict[str, float], list[Allocation]]:
    """The first run and one after 1 % of its offers came back; with what is offered then."""
    gc.collect()
    full_ms, offers = bench.run()
    returned = offers[: max(1, len(bench.totals) // 100)]
    books_ms = bench.give_back(returned)
    again_ms, again = bench.run()
    assert again
    figures = {
        f"{prefix}: full run": full_ms,
        f"{prefix}: offers made": float(len(offers)),
        f"{prefix}: 1 % back, books": books_ms,
        f"{prefix}: 1 % back, run": again_ms,
    }
    return figures, [*again, *offers[len(returned) :]]


def busy_agents(agents: int, frameworks: int, prefix: str) -> dict[str, float]:
    """Agents that come with running tasks, as after a failover of the master."""
    bench = Bench(agents, frameworks, tasks=TASKS)
    gc.collect()
    rest_ms, offers = bench.run()
    assert len(offers) == agents
    return {f"{prefix}: adding agents": bench.adding_ms, f"{prefix}: full run": rest_ms}


def filtered_runs(agents: int, frameworks: int, prefix: str) -> dict[str, float]:
    """Everybody has declined everything for long; what different news cost then."""
    bench = Bench(agents, frameworks)
    filling_ms, filters = timed(bench.decline_all)
    return {
        f"{prefix}: filters": float(filters),
        f"{prefix}: a decline": filling_ms * 1e3 / filters,
        **news(bench, prefix),
    }


def news(bench: Bench, prefix: str) -> dict[str, float]:
    """What happens when everybody has refused everything, one thing after the other."""
    gc.collect()
    all_ms, none = bench.run()
    assert not none
    gc.collect()
    interval_ms, none = bench.interval()
    assert not none
    for n in range(CHANGED):
        bench.tell(AgentUpdated(AgentId(f"agent{n}"), Resources.parse("cpus:7;mem:32768")))
    changed_ms, none = bench.run()
    assert not none
    bench.tell(
        FrameworkAdded(
            FrameworkId("picky"),
            ("picky",),
            traits=FrameworkTraits(min_allocatable={"picky": ({"cpus": 10**9},)}),
        )
    )
    gc.collect()
    picky_ms, none = bench.run()
    assert not none
    reviving_ms, _ = timed(lambda: bench.tell(OffersRevived(FrameworkId("f0"))))
    gc.collect()
    revived_ms, taken = bench.run()
    assert len(taken) == len(bench.totals)
    return {
        f"{prefix}: every agent looked at": all_ms,
        f"{prefix}: interval": interval_ms,
        f"{prefix}: {CHANGED} changed agents": changed_ms,
        f"{prefix}: picky newcomer": picky_ms,
        f"{prefix}: revive, books": reviving_ms,
        f"{prefix}: revived takes all": revived_ms,
    }


def filter_memory(agents: int, frameworks: int) -> dict[str, float]:
    """What a filter adds to the memory in use, by Python's own count (freed memory is reused)."""
    bench = Bench(agents, frameworks)
    _, offers = bench.run()
    bench.give_back(offers, LONG_S)
    gc.collect()
    tracemalloc.start()
    filters = bench.decline_all()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"memory of a filter": used / filters}


def incremental_ms(agents: int) -> float:
    """A run after CHANGED agents came back, among so many that did not change."""
    bench = Bench(agents, FILTERING_FRAMEWORKS)
    _, offers = bench.run()
    times = []
    for _ in range(15):
        bench.give_back(offers[:CHANGED])
        run_ms, made = bench.run()
        offers[:CHANGED] = made
        times.append(run_ms)
    return statistics.median(times)


def growth(sizes: tuple[int, ...]) -> dict[str, float]:
    """The exponent b of ``time = a * agents ** b``, by a straight line through the logarithms."""
    points = [(math.log(n), math.log(incremental_ms(n))) for n in sizes]
    slope = statistics.linear_regression(*zip(*points, strict=True)).slope
    return {f"growth exponent of an incremental run, {sizes[0]:,} to {sizes[-1]:,} agents": slope}


def curve_point(agents: int, frameworks: int) -> dict[str, float]:
    """One size: times of the main runs, and the memory of agents and of filters."""
    prefix = f"{agents:,} x {frameworks:,}"
    before = rss_bytes()
    bench = Bench(agents, frameworks)
    figures, offers = first_runs(bench, prefix)
    memory = rss_bytes() - before
    bench.give_back(offers, LONG_S)
    before = rss_bytes()
    filling_ms, filters = timed(lambda: bench.decline_all(FILTERS_MAX - agents))
    filter_memory = rss_bytes() - before
    figures |= {
        f"{prefix}: adding agents": bench.adding_ms,
        f"{prefix}: memory after the full run": memory / 2**20,
        f"{prefix}: filters": float(filters + agents),
        f"{prefix}: memory of the filters": filter_memory / 2**20,
    }
    if filters:
        figures[f"{prefix}: a decline"] = filling_ms * 1e3 / filters
    if filters + agents == agents * frameworks:
        figures |= news(bench, f"{prefix}, all filtered")
    return figures


def curve_sizes() -> list[tuple[int, int]]:
    """One axis varied at a time, around 10,000 x 200."""
    sizes = [(agents, FRAMEWORKS) for agents in CURVE_AGENTS]
    return [*sizes, *((AGENTS, n) for n in CURVE_FRAMEWORKS if n != FRAMEWORKS)]


def cases(*, full: bool) -> list[Case]:
    plain, labelled, busy, filtered = (
        f"{AGENTS:,} x {FRAMEWORKS}",
        f"with {LABELS} labelled reservations each",
        f"with {TASKS} tasks each",
        f"all filtered by {FILTERING_FRAMEWORKS}",
    )
    found = [
        Case(plain, partial(full_runs, AGENTS, FRAMEWORKS, 0, plain)),
        Case(labelled, partial(full_runs, AGENTS, FRAMEWORKS, LABELS, labelled)),
        Case(busy, partial(busy_agents, AGENTS, FRAMEWORKS, busy)),
        Case(filtered, partial(filtered_runs, AGENTS, FILTERING_FRAMEWORKS, filtered)),
        Case("memory of a filter", partial(filter_memory, 1_000, 10)),
        Case("growth", partial(growth, CURVE_AGENTS if full else CURVE_AGENTS[:3])),
    ]
    if full:
        for agents, frameworks in curve_sizes():
            name = f"curve, {agents:,} x {frameworks:,}"
            found.append(Case(name, partial(curve_point, agents, frameworks)))
    return found


def unit_of(figure: str) -> str:
    """What a figure counts, by the words it ends with."""
    if figure.endswith(("offers made", "filters")):
        return ""
    if figure.endswith("memory of a filter"):
        return "bytes"
    if figure.endswith("a decline"):
        return "µs"
    if "memory" in figure:
        return "MiB"
    return "" if figure.startswith("growth") else "ms"


def main(arguments: argparse.Namespace) -> None:
    chosen = [case for case in cases(full=arguments.full) if arguments.only in case.name]
    if not chosen:
        raise SystemExit(f"--only must be part of a case's name, not {arguments.only!r}")
    run_benchmark("allocator", chosen, arguments, units=unit_of)
    if not arguments.json:
        print(NOTES)


if __name__ == "__main__":
    parser = parser_for("allocator", repetitions=3)
    parser.add_argument("--full", action="store_true", help="the whole curve: takes half an hour")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    main(parser.parse_args())
