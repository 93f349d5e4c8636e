"""Who asked to hear of whose end. Source: actor-runtime.md §1.9.

``link`` asks for one ``exited`` event; hearing it consumes the link. A broken connection ends every
link to that address; a remote process that ends while its runtime lives ends none.
"""

from __future__ import annotations

from typing import TypeVar

from actorproc.pid import PID, Address

_Key = TypeVar("_Key")
_Member = TypeVar("_Member")


class Links:
    """Links from local processes (by id) to PIDs, indexed from every side that is asked for.

    The inner dicts are ordered sets: the order in which linkers hear can be seen.
    """

    def __init__(self) -> None:
        self._linkers: dict[PID, dict[str, None]] = {}
        self._pids_at: dict[Address, dict[PID, None]] = {}
        self._pids_of: dict[str, dict[PID, None]] = {}

    def add(self, linker: str, pid: PID) -> None:
        """Record one link; a repeated one changes nothing."""
        self._linkers.setdefault(pid, {})[linker] = None
        self._pids_at.setdefault(pid.address, {})[pid] = None
        self._pids_of.setdefault(linker, {})[pid] = None

    def forget_linker(self, linker: str) -> None:
        """Drop every link of a process that ended."""
        for pid in list(self._pids_of.get(linker, ())):
            self._remove(linker, pid)

    def take_linkers(self, pid: PID) -> list[str]:
        """Consume the links to one PID; the ids of those who must hear of its end."""
        linkers = list(self._linkers.get(pid, ()))
        for linker in linkers:
            self._remove(linker, pid)
        return linkers

    def take_address(self, address: Address) -> list[tuple[str, PID]]:
        """Consume the links to every PID at one address, as (linker id, PID) pairs."""
        pids = list(self._pids_at.get(address, ()))
        return [(linker, pid) for pid in pids for linker in self.take_linkers(pid)]

    def _remove(self, linker: str, pid: PID) -> None:
        _discard(self._linkers, pid, linker)
        _discard(self._pids_of, linker, pid)
        if pid not in self._linkers:
            _discard(self._pids_at, pid.address, pid)


def _discard(table: dict[_Key, dict[_Member, None]], key: _Key, member: _Member) -> None:
    members = table[key]
    del members[member]
    if not members:
        del table[key]


__all__ = ["Links"]
