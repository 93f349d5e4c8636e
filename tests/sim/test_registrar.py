"""The registrar: batches, durability before the answer, and an end when storing goes wrong."""

import asyncio

import pytest

from actorproc import InProcessNetwork, Process, Runtime, VirtualClock
from cluster.core.master.registry import AdmitAgent, RemoveAgent
from cluster.model.ids import AgentId
from cluster.registrar import VARIABLE, Registrar
from cluster.state import InMemoryStorage, StorageFailed, Variable
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import registry_pb2

pytestmark = pytest.mark.asyncio


class SlowStorage:
    """Each call waits for ``release``; counts what is stored."""

    def __init__(self):
        self.inner = InMemoryStorage()
        self.stores = 0
        self.waiting = []
        self.error = None
        self.is_slow = False

    async def _wait(self):
        if self.is_slow:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await future
        if self.error is not None:
            raise StorageFailed(self.error)

    async def fetch(self, name):
        await self._wait()
        return await self.inner.fetch(name)

    async def store(self, variable, value):
        await self._wait()
        self.stores += 1
        return await self.inner.store(variable, value)

    async def release(self):
        self.waiting.pop(0).set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)  # the waiting task goes on in the next turns of the loop


class Owner(Process):
    """Runs a registrar and remembers what it says."""

    def __init__(self, storage, **timeouts):
        super().__init__("owner")
        self.registrar = Registrar(storage, **timeouts)
        self.recovered = []
        self.failed = []
        self.done = []

    def initialize(self):
        info = mesos.MasterInfo(id="m", ip=1, port=5050)
        self.registrar.start(self, info, self.recovered.append, self.failed.append)

    def admit(self, name):
        operation = AdmitAgent(AgentId(name), mesos.SlaveInfo(id={"value": name}, hostname="h"))
        self.registrar.apply(operation, lambda: self.done.append(name))


class Bench:
    def __init__(self, storage, **timeouts):
        self.clock = VirtualClock(1000.0)
        self.runtime = Runtime(
            InProcessNetwork().transport("10.0.0.1", 5050), clock=self.clock, seed=1
        )
        self.owner = Owner(storage, **timeouts)

    async def __aenter__(self):
        await self.runtime.start()
        self.runtime.spawn(self.owner)
        await self.clock.settle()
        return self

    async def __aexit__(self, *args):
        await self.runtime.stop()


async def stored(storage):
    variable = await storage.inner.fetch(VARIABLE)
    value = registry_pb2.Registry.FromString(variable.value)
    return [entry.info.id.value for entry in value.slaves.slaves]


async def test_the_new_master_is_noted_before_anybody_hears_of_the_registry():
    storage = SlowStorage()
    async with Bench(storage) as bench:
        (value,) = bench.owner.recovered
        assert value.master.info.id == "m"
        assert storage.stores == 1


async def test_what_waits_during_a_store_is_stored_together():
    storage = SlowStorage()
    async with Bench(storage) as bench:
        storage.is_slow = True
        bench.owner.admit("a")
        await bench.clock.settle()
        for name in ("b", "c", "d"):
            bench.owner.admit(name)
        await bench.clock.settle()
        assert bench.owner.done == []
        await storage.release()
        await bench.clock.settle()
        assert bench.owner.done == ["a"]
        assert await stored(storage) == ["a"]
        await storage.release()
        await bench.clock.settle()
        assert bench.owner.done == ["a", "b", "c", "d"]
        assert await stored(storage) == ["a", "b", "c", "d"]
        assert storage.stores == 3


async def test_what_changes_nothing_is_not_stored_but_answered_in_order():
    storage = SlowStorage()
    async with Bench(storage) as bench:
        bench.owner.registrar.apply(
            RemoveAgent(AgentId("x")), lambda: bench.owner.done.append("no such agent")
        )
        bench.owner.admit("a")
        await bench.clock.settle()
        assert bench.owner.done == ["no such agent", "a"]
        bench.owner.registrar.apply(
            RemoveAgent(AgentId("x")), lambda: bench.owner.done.append("no such agent")
        )
        await bench.clock.settle()
        assert bench.owner.done[-1] == "no such agent"
        assert storage.stores == 2


async def test_a_failing_store_is_said_once_and_nothing_is_answered():
    storage = SlowStorage()
    async with Bench(storage) as bench:
        storage.error = "disk full"
        bench.owner.admit("a")
        await bench.clock.settle()
        bench.owner.admit("b")
        await bench.clock.settle()
        assert bench.owner.failed == ["the registry cannot be written: disk full"]
        assert bench.owner.done == []


async def test_a_store_that_takes_too_long_fails():
    storage = SlowStorage()
    async with Bench(storage, store_timeout_s=20.0) as bench:
        storage.is_slow = True
        bench.owner.admit("a")
        await bench.clock.advance(19.0)
        assert bench.owner.failed == []
        await bench.clock.advance(1.0)
        assert bench.owner.failed == ["writing the registry took longer than 20 s"]
        await storage.release()
        await bench.clock.settle()
        assert bench.owner.done == [], "too late: the master is about to end"


async def test_reading_that_takes_too_long_fails():
    storage = SlowStorage()
    storage.is_slow = True
    async with Bench(storage, fetch_timeout_s=60.0) as bench:
        await bench.clock.advance(60.0)
        assert bench.owner.failed == ["reading the registry took longer than 60 s"]
        storage.is_slow = False
        await storage.release()
        await bench.clock.settle()
        assert bench.owner.recovered == []


async def test_another_master_that_wrote_meanwhile_ends_this_one():
    storage = InMemoryStorage()
    async with Bench(storage) as bench, Bench(storage) as other:
        bench.owner.admit("a")
        await bench.clock.settle()
        assert bench.owner.failed == ["the registry was changed by another master"]
        other.owner.admit("b")
        await other.clock.settle()
        assert other.owner.done == ["b"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b"\xff\xff", "it is no registry"),
        (
            registry_pb2.Registry(
                minimum_capabilities=[{"capability": "TIME_TRAVEL"}]
            ).SerializeToString(),
            "needs a master with the capability TIME_TRAVEL, which this one does not have",
        ),
        (
            registry_pb2.Registry(
                quota_configs=[{"role": "a", "limits": {"cpus": {"value": -1.0}}}]
            ).SerializeToString(),
            "the registry cannot be read: quota: must not be negative",
        ),
    ],
)
async def test_a_registry_that_this_master_cannot_take_over(value, line):
    storage = InMemoryStorage()
    await storage.store(Variable(VARIABLE, b"", b""), value)
    async with Bench(storage) as bench:
        (text,) = bench.owner.failed
        assert line in text
        assert not bench.owner.recovered
        assert (await storage.fetch(VARIABLE)).value == value, "left as it was"
