"""Detectors of the leading master.

    host:port, master@host:port    always that one; the host is looked up once
    file:///path                   a file that holds one of the other forms
    zk://...                       needs a detector for ZooKeeper, given by the caller

Source: drivers.md §8.
"""

import asyncio
import socket
from pathlib import Path
from typing import Protocol

from actorproc import PID, InvalidPID
from cluster.errors import InvalidInput

MASTER_PROCESS_ID = "master"
FORMS = "host:port, master@host:port or file:///path"


class MasterDetector(Protocol):
    """Tells who leads. One detector serves one watcher at a time."""

    async def detect(self, previous: PID | None) -> PID | None:
        """Wait until the leader is another than ``previous``.

        Args:
            previous: the last answer; None at the first call, and while there is no leader.

        Returns:
            The leading master, or None when there is none (any more).

        Raises:
            InvalidInput: there will never be an answer, for example an unknown host name.
        """
        ...


class StaticDetector:
    """One master that is known beforehand; whether it is alive is for the link to find out."""

    def __init__(self, master: PID) -> None:
        self._master = master

    async def detect(self, previous: PID | None) -> PID | None:
        """Answer at once the first time, never again after that."""
        if previous is not None:
            await asyncio.get_running_loop().create_future()
        return await _resolved(self._master)


def detector_for(master: str) -> MasterDetector:
    """Make the detector that a master string asks for.

    Raises:
        InvalidInput: the string has none of the known forms, or its file cannot be read.
    """
    text = master.strip()
    if text.startswith("file://"):
        return detector_for(_read(text.removeprefix("file://")))
    if text.startswith("zk://"):
        raise InvalidInput("master", f"must be {FORMS}: a zk:// URL needs its own detector")
    try:
        pid = PID.parse(text if "@" in text else f"{MASTER_PROCESS_ID}@{text}")
    except InvalidPID as error:
        raise InvalidInput("master", f"must be {FORMS}, not {master!r} ({error.field})") from error
    if not pid:
        raise InvalidInput("master", f"must be {FORMS} with a real address, not {master!r}")
    return StaticDetector(pid)


def _read(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("master", f"file {path} cannot be read: {error}") from error
    if text.startswith("file://"):
        raise InvalidInput("master", f"file {path} must not name another file")
    return text


async def _resolved(pid: PID) -> PID:
    """The same PID with a numeric address: senders write that, and it is compared with theirs."""
    if _is_numeric(pid.ip):
        return pid
    loop = asyncio.get_running_loop()
    try:
        # Not getaddrinfo: only IPv4 is spoken here, and this answers with the text of it.
        ip = await loop.run_in_executor(None, socket.gethostbyname, pid.ip)
    except OSError as error:
        raise InvalidInput("master", f"host {pid.ip} cannot be found: {error}") from error
    return PID(pid.id, ip, pid.port)


def _is_numeric(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True


__all__ = ["FORMS", "MASTER_PROCESS_ID", "MasterDetector", "StaticDetector", "detector_for"]
