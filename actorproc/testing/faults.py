"""Faults as values, and plans of them: what goes wrong when; to write, print and replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from actorproc.errors import ProtocolMisuse
from actorproc.pid import Address

FAULT_S_MAX: Final = 0.25  # longest part of a random plan that one fault lasts


@dataclass(frozen=True, slots=True)
class Partition:
    """Nothing passes between two addresses; with ``one_way`` nothing from ``one`` to ``other``."""

    at_s: float
    one: Address
    other: Address
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Clog:
    """Messages from ``here`` to ``there`` wait until ``Unclog``."""

    at_s: float
    here: Address
    there: Address


@dataclass(frozen=True, slots=True)
class Unclog:
    """The end of a ``Clog``."""

    at_s: float
    here: Address
    there: Address


@dataclass(frozen=True, slots=True)
class Heal:
    """The end of partitions and clogs between two addresses."""

    at_s: float
    one: Address
    other: Address


@dataclass(frozen=True, slots=True)
class HealAll:
    """The end of all partitions and clogs."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """All connections between two addresses break, each with a tail of what is on its way."""

    at_s: float
    one: Address
    other: Address


@dataclass(frozen=True, slots=True)
class Crash:
    """A runtime is killed; ``silent`` takes its machine's kernel along."""

    at_s: float
    address: Address
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """A runtime that crashed starts again (only one that ``SimulatedNetwork.boot`` started)."""

    at_s: float
    address: Address


Fault = Partition | Clog | Unclog | Heal | HealAll | Reset | Crash | Restart


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults with their times in seconds after the plan is scheduled; kept in order of time."""

    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for fault in self.faults:
            if not fault.at_s >= 0:
                raise ProtocolMisuse(f"at_s must be 0 or more: {fault}")
        in_order = tuple(sorted(self.faults, key=lambda fault: fault.at_s))
        object.__setattr__(self, "faults", in_order)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    @classmethod
    def random(
        cls,
        rng: Random,
        addresses: Sequence[Address],
        *,
        duration_s: float,
        faults: int,
        crashes: bool = True,
    ) -> FaultPlan:
        """Draw a plan of ``faults`` troubles, each with its end; after ``duration_s`` all is well.

        Args:
            rng: where it is drawn from.
            addresses: two or more.
            duration_s: until when troubles last: then everything is healed and restarted.
            faults: how many troubles.
            crashes: whether runtimes crash; they must have been started by ``boot``.

        Raises:
            ProtocolMisuse: fewer than two addresses.
        """
        if len(addresses) < 2:
            raise ProtocolMisuse(f"addresses must be two or more: {addresses}")
        drawn: list[Fault] = []
        for _ in range(faults):
            begin_s = rng.uniform(0.0, duration_s)
            end_s = min(begin_s + rng.uniform(0.0, FAULT_S_MAX * duration_s), duration_s)
            drawn += _trouble(rng, addresses, begin_s, end_s, crashes)
        drawn.append(HealAll(duration_s))
        if crashes:
            drawn += [Restart(duration_s, address) for address in addresses]
        return cls(tuple(drawn))


def _trouble(
    rng: Random, addresses: Sequence[Address], begin_s: float, end_s: float, crashes: bool
) -> list[Fault]:
    """One fault with what ends it."""
    one, other = rng.sample(addresses, 2)
    match rng.choice(("partition", "one-way", "clog", "reset", *(("crash",) if crashes else ()))):
        case "partition":
            return [Partition(begin_s, one, other), Heal(end_s, one, other)]
        case "one-way":
            return [Partition(begin_s, one, other, one_way=True), Heal(end_s, one, other)]
        case "clog":
            return [Clog(begin_s, one, other), Unclog(end_s, one, other)]
        case "reset":
            return [Reset(begin_s, one, other)]
        case _:
            return [Crash(begin_s, one, silent=rng.random() < 0.5), Restart(end_s, one)]


__all__ = [
    "FAULT_S_MAX",
    "Clog",
    "Crash",
    "Fault",
    "FaultPlan",
    "Heal",
    "HealAll",
    "Partition",
    "Reset",
    "Restart",
    "Unclog",
]
