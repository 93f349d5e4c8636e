"""Dominant resource fairness, shown by the sorter that serves real frameworks.

Two small stories: two users who want different things of the same machine (the example of the DRF
paper), and four users who want different amounts of one thing (max-min fairness). Every decision
comes from ``cluster.core.allocator.DrfSorter``, the one the master uses; the example only hands out
what the sorter decides, and checks the outcome.

Run: ``python -m examples.fairness`` (exit status 0 when the numbers are right).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rich.console import Console
from rich.table import Table

from cluster.core.allocator import ClusterTotals, DrfSorter

MILLI = 1000
"""The allocator counts in thousandths."""

CAPACITY = {"cpus": 9 * MILLI, "mem": 18 * MILLI}
TASKS = {
    "A": {"cpus": 1 * MILLI, "mem": 4 * MILLI},
    "B": {"cpus": 3 * MILLI, "mem": 1 * MILLI},
}

WATER = 10 * MILLI
DEMANDS = {"W": 2000, "X": 2600, "Y": 4000, "Z": 5000}


class WrongNumbers(Exception):
    """The sorter decided something else than it should."""


def new_sorter(capacity: Mapping[str, int], clients: Mapping[str, object]) -> DrfSorter:
    """The production sorter over clients of equal weight."""
    totals = ClusterTotals()
    totals.add(capacity)
    sorter = DrfSorter(totals)
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
    return sorter


# Two users, two resources -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One task placed: whose, what is in use after it, and the dominant shares then."""

    client: str
    used: dict[str, int]
    shares: dict[str, Fraction]


def place_tasks() -> Iterator[Step]:
    """Give the neediest user one task at a time, while a task of somebody fits."""
    sorter = new_sorter(CAPACITY, TASKS)
    used = dict.fromkeys(CAPACITY, 0)
    while (client := first_that_fits(sorter, used)) is not None:
        sorter.allocated(client, TASKS[client])
        used = {name: used[name] + TASKS[client][name] for name in used}
        yield Step(client, used, {user: sorter.share(user) for user in TASKS})


def first_that_fits(sorter: DrfSorter, used: Mapping[str, int]) -> str | None:
    """The neediest user whose task still has room."""
    for client in sorter.order():
        task = TASKS[client]
        if all(used[name] + task[name] <= CAPACITY[name] for name in CAPACITY):
            return client
    return None


def show_steps(console: Console, steps: list[Step]) -> None:
    table = Table(title="<9 CPU, 18 GB>: A's tasks need <1, 4>, B's need <3, 1>")
    for heading in ("step", "task of", "CPU used", "GB used", "share of A", "share of B"):
        table.add_column(heading, justify="right")
    for number, step in enumerate(steps, start=1):
        used = (str(step.used[name] // MILLI) for name in ("cpus", "mem"))
        table.add_row(str(number), step.client, *used, *map(str, step.shares.values()))
    console.print(table)


def check_steps(steps: list[Step]) -> str:
    """The verdict of the first story.

    Raises:
        WrongNumbers: not 3 and 2 tasks, or the dominant shares differ.
    """
    tasks = Counter(step.client for step in steps)
    share_a, share_b = steps[-1].shares.values()
    if tasks != {"A": 3, "B": 2} or share_a != share_b:
        raise WrongNumbers(f"tasks {dict(tasks)}, dominant shares {share_a} and {share_b}")
    return f"A runs 3 tasks, B runs 2, dominant shares equal ({share_a})"


# Four users, one resource -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """How high the water would rise, given who has had enough so far.

    ``height`` is in thousandths: what is left for the unsatisfied, split evenly. ``satisfied`` are
    all users with enough at that point, with what they got.
    """

    height: Fraction
    satisfied: dict[str, int]


def pour() -> tuple[dict[str, int], list[Level]]:
    """Pour thousandths, each to the neediest; whoever has enough is served no more.

    Returns:
        What each user got in the end, and the water level after each who had enough.
    """
    sorter = new_sorter({"water": WATER}, DEMANDS)
    got = dict.fromkeys(DEMANDS, 0)
    levels = [level_of(got)]
    for _ in range(WATER):
        client = next(sorter.order())
        sorter.allocated(client, {"water": 1})
        got[client] += 1
        if got[client] == DEMANDS[client]:
            sorter.deactivate(client)
            levels.append(level_of(got))
    return got, levels


def level_of(got: Mapping[str, int]) -> Level:
    satisfied = {client: amount for client, amount in got.items() if amount == DEMANDS[client]}
    left = WATER - sum(satisfied.values())
    return Level(Fraction(left, len(DEMANDS) - len(satisfied)), satisfied)


def show_levels(console: Console, levels: list[Level]) -> None:
    wanted = ", ".join(f"{user} {in_units(demand)}" for user, demand in DEMANDS.items())
    table = Table(title=f"10 units: {wanted}")
    for heading in ("have enough", "left for the others", "water level"):
        table.add_column(heading, justify="right")
    for level in levels:
        enough = ", ".join(f"{user} {in_units(got)}" for user, got in level.satisfied.items())
        left = WATER - sum(level.satisfied.values())
        table.add_row(enough or "nobody", in_units(left), in_units(level.height))
    console.print(table)


def in_units(milli: int | Fraction) -> str:
    """Thousandths as units with at most two decimals, cut and marked when there are more."""
    units = Fraction(milli) / MILLI
    hundredths, rest = divmod(units * 100, 1)
    text = f"{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".")
    return f"{text}.." if rest else text


def check_levels(got: Mapping[str, int], levels: list[Level]) -> str:
    """The verdict of the second story.

    Raises:
        WrongNumbers: not max-min fair, or the level rose otherwise than 2.5, 2.66.., 2.7.
    """
    heights = [level.height / MILLI for level in levels]
    if heights != [Fraction(5, 2), Fraction(8, 3), Fraction(27, 10)]:
        raise WrongNumbers(f"the water level rose by {[str(height) for height in heights]}")
    fair = {user: min(demand, int(levels[-1].height)) for user, demand in DEMANDS.items()}
    if got != fair:
        raise WrongNumbers(f"{dict(got)} instead of {fair}")
    result = ", ".join(in_units(amount) for amount in got.values())
    rise = ", then ".join(in_units(level.height) for level in levels)
    return f"water level {rise}: max-min fair {result}"


def main() -> int:
    """Show both stories; 0 when their numbers are right, else 1."""
    console = Console()
    steps = list(place_tasks())
    show_steps(console, steps)
    got, levels = pour()
    show_levels(console, levels)
    try:
        verdicts = (check_steps(steps), check_levels(got, levels))
    except WrongNumbers as error:
        console.print(f"fairness: WRONG: {error}", highlight=False, soft_wrap=True)
        return 1
    console.print(f"fairness: {'; '.join(verdicts)}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
