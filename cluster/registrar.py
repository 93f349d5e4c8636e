"""The registrar: makes operations on the registry durable, in the order asked for.

    recover ─► fetch ─► note the new master ─► store ─► recovered
    apply   ─► queue ─► (while a store is under way) ─► apply all that wait ─► one store ─► then()

What an operation means is decided in ``cluster.core.master.registry``, where bytes are kept by a
``Storage``. Whatever goes wrong (a store fails, takes too long, or finds that somebody else wrote)
ends the registrar, once and with one line: a master that cannot write its registry must not go on.

Source: master.md §4 (batching, timeouts, recovery).
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from google.protobuf.message import DecodeError

from actorproc import Timer
from cluster.core.master.registry import RecordMaster, Registry, RegistryOperation
from cluster.errors import InvalidInput
from cluster.state import Storage, StorageFailed, Variable
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import registry_pb2

VARIABLE = "registry"

Timing = Callable[[str], AbstractContextManager[None]]
"""Takes the time of a ``with`` block, named ``state_fetch`` or ``state_store``."""


def untimed(name: str) -> AbstractContextManager[None]:
    """Nobody wants to know how long it takes."""
    return nullcontext()


class Owner(Protocol):
    """What the registrar needs of the process it belongs to."""

    def start_task(self, coroutine: Coroutine[object, object, None]) -> object: ...

    def delay(self, delay_s: float, fn: Callable[..., None], *args: object) -> Timer: ...


class Registrar:
    """Keeps one registry.

    Args:
        storage: where it is kept.
        fetch_timeout_s: how long reading may take.
        store_timeout_s: how long one store may take.
    """

    def __init__(
        self, storage: Storage, *, fetch_timeout_s: float = 60.0, store_timeout_s: float = 20.0
    ) -> None:
        self._storage = storage
        self._fetch_timeout_s = fetch_timeout_s
        self._store_timeout_s = store_timeout_s
        self._registry = Registry()
        self._variable = Variable(VARIABLE, b"", b"")
        self._queue: list[tuple[RegistryOperation, Callable[[], None]]] = []
        self._is_storing = True  # nothing is applied before the registry has been read
        self._has_failed = False
        self._timing: Timing = untimed
        self.size_bytes = 0
        """Of the registry as it was stored last."""

    @property
    def queued_operations(self) -> int:
        """How many operations wait for the store that is under way."""
        return len(self._queue)

    def start(
        self,
        owner: Owner,
        info: mesos.MasterInfo,
        recovered: Callable[[registry_pb2.Registry], None],
        failed: Callable[[str], None],
        timing: Timing = untimed,
    ) -> None:
        """Read the registry and note who leads now.

        Args:
            owner: the process that the registrar works for and in.
            info: the new leader.
            recovered: called once with the registry, when the new leader is noted durably.
            failed: called at most once, with one line for the operator; nothing happens after it.
            timing: told how long reading and storing take.
        """
        self._timing = timing
        self._owner = owner
        self._failed = failed
        owner.start_task(self._recover(info, recovered))

    def apply(self, operation: RegistryOperation, then: Callable[[], None]) -> None:
        """Make the operation durable, then call ``then``, in the order of these calls.

        ``then`` is called in a turn of its own when there was nothing to change, too.
        """
        self._queue.append((operation, then))
        if not self._is_storing:
            self._is_storing = True
            self._owner.start_task(self._drain())

    def close(self) -> None:
        self._storage.close()

    # Reading -------------------------------------------------------------------------------------

    async def _recover(
        self, info: mesos.MasterInfo, recovered: Callable[[registry_pb2.Registry], None]
    ) -> None:
        timer = self._expect("reading", self._fetch_timeout_s)
        try:
            with self._timing("state_fetch"):
                self._variable = await self._storage.fetch(VARIABLE)
            registry = Registry.of(registry_pb2.Registry.FromString(self._variable.value))
        except StorageFailed as error:
            return self._fail(f"the registry cannot be read: {error}")
        except DecodeError as error:
            return self._fail(f"the registry cannot be read: it is no registry: {error}")
        except InvalidInput as error:
            return self._fail(f"the registry cannot be read: {error}")
        finally:
            timer.cancel()
        if lacking := registry.lacking_capabilities:
            return self._fail(
                "the registry needs a master with the capability "
                f"{', '.join(lacking)}, which this one does not have"
            )
        self._registry = registry
        registry.apply(RecordMaster(info))
        if await self._store() and not self._has_failed:
            recovered(registry.value())
            await self._drain()
        return None

    # Writing -------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Store batch after batch until nothing waits."""
        while self._queue and not self._has_failed:
            batch, self._queue = self._queue, []
            outcomes = [self._registry.apply(operation) for operation, _ in batch]
            if any(outcome.is_mutated for outcome in outcomes) and not await self._store():
                return
            for _, then in batch:
                if not self._has_failed:
                    then()
        self._is_storing = False

    async def _store(self) -> bool:
        timer = self._expect("writing", self._store_timeout_s)
        try:
            value = self._registry.encode()
            with self._timing("state_store"):
                stored = await self._storage.store(self._variable, value)
        except StorageFailed as error:
            self._fail(f"the registry cannot be written: {error}")
            return False
        finally:
            timer.cancel()
        if stored is None:
            self._fail("the registry was changed by another master")
            return False
        self._variable = stored
        self.size_bytes = len(value)
        return True

    # Failing -------------------------------------------------------------------------------------

    def _expect(self, what: str, timeout_s: float) -> Timer:
        text = f"{what} the registry took longer than {timeout_s:g} s"
        return self._owner.delay(timeout_s, self._fail, text)

    def _fail(self, text: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._failed(text)


__all__ = ["VARIABLE", "Owner", "Registrar", "Timing", "untimed"]
