"""What this machine has to offer, for everything that ``--resources`` does not name.

A name that the flag mentions, in whatever role and even with the value 0, is not detected.

Source: agent.md §1.2.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.model.resources import Resources
from cluster.wire.resources import parse_resources

MB = 1 << 20
GB = 1 << 30

CPUS_FALLBACK = 1
MEM_MB_FALLBACK = 1024
DISK_MB_FALLBACK = 10 * 1024
PORTS = "[31000-32000]"

# Left to the operating system and to the agent itself; of a small machine, half.
MEM_RESERVED_BYTES = 1 * GB
DISK_RESERVED_BYTES = 5 * GB


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes of this machine; None where they cannot be found out."""

    processors: int | None
    mem_bytes: int | None
    disk_bytes: int | None


def look_at_machine(work_dir: Path) -> Machine:
    """Measure this machine; the disk is the file system that holds `work_dir`."""
    return Machine(os.cpu_count(), _total_mem_bytes(), _total_disk_bytes(work_dir))


def agent_resources(text: str | None, machine: Machine, *, default_role: str) -> Resources:
    """Read ``--resources`` and add what it does not name.

    Args:
        text: the flag's value, in text or JSON form; None when it was not given.
        machine: as `look_at_machine` measured it.
        default_role: reserves what the flag lists without a role, and what is detected.

    Raises:
        InvalidInput: the text names the entry and the rule it breaks.
    """
    given = parse_resources(text, default_role) if text else Resources()
    named = named_in(text)
    detected = [entry for name, entry in _detected(machine) if name not in named]
    return given + Resources.parse(";".join(detected), default_role)


def named_in(text: str | None) -> frozenset[str]:
    """Return the resource names that a valid flag value mentions."""
    if not text:
        return frozenset()
    if text.lstrip().startswith("["):
        return frozenset(str(entry["name"]) for entry in json.loads(text))
    entries = "".join(text.split()).split(";")
    return frozenset(entry.partition(":")[0].partition("(")[0] for entry in entries if entry)


def _detected(machine: Machine) -> Iterable[tuple[str, str]]:
    """Yield name and text form of everything that can be offered, in the usual order."""
    mem_mb, disk_mb = MEM_MB_FALLBACK, DISK_MB_FALLBACK
    if machine.mem_bytes is not None:
        mem_mb = _offerable_mb(machine.mem_bytes, MEM_RESERVED_BYTES)
    if machine.disk_bytes is not None:
        disk_mb = _offerable_mb(machine.disk_bytes, DISK_RESERVED_BYTES)
    yield "cpus", f"cpus:{machine.processors or CPUS_FALLBACK}"
    yield "mem", f"mem:{mem_mb}"
    yield "disk", f"disk:{disk_mb}"
    yield "ports", f"ports:{PORTS}"


def _offerable_mb(total_bytes: int, reserved_bytes: int) -> int:
    if total_bytes >= 2 * reserved_bytes:
        return (total_bytes - reserved_bytes) // MB
    return total_bytes // 2 // MB


def _total_mem_bytes() -> int | None:
    try:
        return int(psutil.virtual_memory().total)
    except (psutil.Error, OSError):
        return None


def _total_disk_bytes(work_dir: Path) -> int | None:
    try:
        return shutil.disk_usage(work_dir).total
    except OSError:
        return None


__all__ = ["Machine", "agent_resources", "look_at_machine", "named_in"]
