"""What every benchmark shares: arguments, repetitions in turn, medians, the machine, and printing.

A benchmark is a module with a ``main`` that calls ``run_benchmark``. It prints a readable table, or
with ``--json`` one JSON object: machine, parameters, and every figure with its median and range.
Repetitions of different cases alternate (A B C A B C ...), so that a drift of the machine's speed
meets all of them alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Measure = Callable[[], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: ``measure()`` returns figure name → value, once a repetition."""

    name: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure divided by another of the same repetition."""

    name: str
    figure: str
    by: str


@dataclass(slots=True)
class Report:
    """Figures of one run: name → one value per repetition; ``units``: figure name → unit."""

    title: str
    parameters: dict[str, Any]
    units: dict[str, str]
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.samples.setdefault(name, []).append(value)

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.title,
            "machine": describe_machine(),
            "parameters": self.parameters,
            "figures": {
                name: {
                    "unit": self.units.get(name, ""),
                    "median": statistics.median(values),
                    "min": min(values),
                    "max": max(values),
                    "repetitions": len(values),
                }
                for name, values in self.samples.items()
            },
        }


def describe_machine() -> dict[str, Any]:
    """Processor, cores, versions, and a calibration to compare figures of different days by."""
    return {
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "calibration_loop_ms": round(_best_ms(_count_to_a_million), 2),
        "calibration_hash_ms": round(_best_ms(_hash_16_mib), 2),
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _best_ms(work: Callable[[], object]) -> float:
    best_s = float("inf")
    for _ in range(3):
        start_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s * 1e3


def _count_to_a_million() -> int:
    total = 0
    for number in range(1_000_000):
        total += number
    return total


def _hash_16_mib() -> str:
    return hashlib.sha256(bytes(16 * 1024 * 1024)).hexdigest()


def parser_for(title: str, *, repetitions: int) -> argparse.ArgumentParser:
    """The arguments every benchmark has; add your own to it."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{title}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, help="how often each case is measured"
    )
    return parser


def run_benchmark(
    title: str,
    cases: Sequence[Case],
    arguments: argparse.Namespace,
    *,
    units: dict[str, str] | Callable[[str], str],
    ratios: Sequence[Ratio] = (),
) -> Report:
    """Measure all cases in turn, ``arguments.repetitions`` times, and print the report.

    ``units`` by figure name, or a function of it where names hold the sizes measured.
    """
    parameters = {key: value for key, value in vars(arguments).items() if key != "json"}
    known = {} if callable(units) else units
    report = Report(title, parameters, {**known, **{ratio.name: "ratio" for ratio in ratios}})
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=len(cases) * arguments.repetitions)
        for _ in range(arguments.repetitions):
            figures: dict[str, float] = {}
            for case in cases:
                progress.update(bar, description=f"{title}: {case.name}")
                figures |= case.measure()
                progress.advance(bar)
            report.add(figures)
            if callable(units):
                report.units |= {name: units(name) for name in figures}
            report.add(
                {
                    ratio.name: figures[ratio.figure] / figures[ratio.by]
                    for ratio in ratios
                    if ratio.figure in figures and figures.get(ratio.by)
                }
            )
    print_report(report, as_json=arguments.json)
    return report


def print_report(report: Report, *, as_json: bool) -> None:
    """Print a finished report to standard output."""
    content = report.as_json()
    if as_json:
        print(json.dumps(content, indent=2))
        return
    machine = content["machine"]
    table = Table(title=f"{report.title}: {machine['processor']}, Python {machine['python']}")
    table.add_column("figure")
    for heading in ("median", "min", "max"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    for name, figure in content["figures"].items():
        values = [
            f"{figure[key]:,.4g}" if figure[key] < 1000 else f"{figure[key]:,.0f}"
            for key in ("median", "min", "max")
        ]
        table.add_row(name, *values, figure["unit"])
    console = Console()
    console.print(table)
    console.print(
        f"{machine['cores']} cores, kernel {machine['kernel']}; calibration: loop of a million "
        f"{machine['calibration_loop_ms']} ms, hash of 16 MiB {machine['calibration_hash_ms']} ms"
    )


__all__ = [
    "Case",
    "Ratio",
    "Report",
    "describe_machine",
    "parser_for",
    "print_report",
    "run_benchmark",
]
