"""A state store in one SQLite file: durable, and whole after a crash at any moment.

Each call runs in a thread of its own, so that a slow disk never holds up the event loop; a thread
that hangs in the kernel does not keep the program from ending. The file is in WAL mode with full
synchronisation: a store that has returned survives a power cut.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cluster.state.storage import StorageFailed, Variable, new_version

FORMAT = 1
"""Layout of the file, kept as its ``user_version``; 0 is a fresh file."""
BUSY_TIMEOUT_S = 5.0

_T = TypeVar("_T")


class SqliteStorage:
    """Variables in a file, which is made when it is missing.

    Args:
        path: the file; SQLite puts two more beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def fetch(self, name: str) -> Variable:
        return await self._in_thread(self._fetch, name)

    async def store(self, variable: Variable, value: bytes) -> Variable | None:
        return await self._in_thread(self._store, variable, value)

    def close(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # a call hangs: the end of the program closes the file
        try:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        finally:
            self._lock.release()

    def _fetch(self, name: str) -> Variable:
        query = "SELECT version, value FROM variables WHERE name = ?"
        row = self._opened().execute(query, (name,)).fetchone()
        return Variable(name, b"", b"") if row is None else Variable(name, *row)

    def _store(self, variable: Variable, value: bytes) -> Variable | None:
        stored = Variable(variable.name, new_version(), value)
        connection = self._opened()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._fetch(variable.name).version != variable.version:
                return None
            connection.execute(
                "INSERT OR REPLACE INTO variables (name, version, value) VALUES (?, ?, ?)",
                (stored.name, stored.version, stored.value),
            )
        return stored

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open(self._path)
        return self._connection

    async def _in_thread(self, fn: Callable[..., _T], *args: object) -> _T:
        def work() -> _T:
            with self._lock:
                return fn(*args)

        try:
            return await _in_thread(work)
        except sqlite3.Error as error:
            raise StorageFailed(f"{self._path}: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    # One call at a time, but each from another thread.
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if layout not in (0, FORMAT):
            raise StorageFailed(f"{path}: has layout {layout}, this program knows only {FORMAT}")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS variables "
                "(name TEXT PRIMARY KEY, version BLOB NOT NULL, value BLOB NOT NULL)"
            )
            connection.execute(f"PRAGMA user_version = {FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection


async def _in_thread(fn: Callable[[], _T]) -> _T:
    """Run ``fn()`` in a thread that does not outlive the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def tell(settle: Callable[..., None], outcome: object) -> None:
        if not future.done():  # nobody waits any more after a timeout
            settle(outcome)

    def work() -> None:
        settle: Callable[..., None] = future.set_result
        try:
            outcome: object = fn()
        except Exception as error:
            settle, outcome = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, settle, outcome)

    threading.Thread(target=work, name="state-store", daemon=True).start()
    return await future


__all__ = ["SqliteStorage"]
