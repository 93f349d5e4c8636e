"""Our master meets what real agents and drivers sent to a real one, and its answers are compared.

The recorded peers' messages go in at their recorded times, under their recorded names; the master
gets the recorded master's id, so that all ids it gives can be compared as they are. Offers are left
out of the comparison, because ours are made at other times: a recorded message that names an offer
is given the one that our master has made for the same framework instead.
"""

import json
from functools import partial

import pytest

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.fixtures_dir import fixtures
from tests.sim.master_world import check_books

pytestmark = pytest.mark.asyncio

START_S = 1_795_000_000.0
TYPES = {
    message_type.DESCRIPTOR.full_name: message_type
    for message_type in (
        *(getattr(internal, name) for name in internal.DESCRIPTOR.message_types_by_name),
        scheduler.Call,
    )
}
MASTERS_OWN = ("master@", "slave-observer(")  # the pinger answers to recorded pongs, too
NOT_COMPARED = ("PingSlaveMessage", "ResourceOffersMessage", "RescindResourceOfferMessage")
FAST_PINGS = {"agent_ping_timeout_s": 1.0, "max_agent_ping_timeouts": 2}
SCENARIOS = {
    "a-registration": {"agent_ping_timeout_s": 2.0},
    "b-test-framework": {},
    "b-executor-crash": {},
    "d-agent-restart": {},
    "f-scheduler-failover": {},
    "g-driver-calls": {},
    "i-ping-timeout": FAST_PINGS,
}


class Ear(Process):
    """Hears everything under one recorded name."""

    def __init__(self, id, heard):
        super().__init__(id)
        self._heard = heard

    def initialize(self):
        for name, message_type in TYPES.items():
            self.install(message_type, partial(self._hear, name))

    def _hear(self, name, sender, message):
        self._heard.append((str(self.pid), name, message))


class Stage:
    """The replay of one recording."""

    def __init__(self, records, flags):
        self.records = records
        self.network = InProcessNetwork()
        self.clock = VirtualClock(START_S)
        self.heard = []
        self.runtimes = {}
        master_id = next(
            message.slave_id.value[: -len("-S0")]
            for record in records
            if (message := self._from_master(record, "SlaveRegisteredMessage")) is not None
        )
        self.master = Master(
            MasterConfig(work_dir="/nowhere", hostname="localhost", **flags), master_id=master_id
        )

    @staticmethod
    def _from_master(record, name):
        if record["kind"] != "message" or not record["name"].endswith(f".{name}"):
            return None
        return TYPES[record["name"]].FromString(bytes.fromhex(record["body_hex"]))

    async def play(self):
        """Returns what ours said, as ``(pid, name, message)`` in order."""
        runtime = await self._runtime("127.0.0.1:5050")
        runtime.spawn(self.master)
        spoken_on = {
            record["conn"]: record["to"]
            for record in self.records
            if record["kind"] == "message" and record["from"].startswith("master@")
        }
        for record in self.records:
            await self.clock.advance(max(0.0, START_S + record["t"] - self.clock.now_s()))
            if record["kind"] == "message" and record["to"].startswith(MASTERS_OWN):
                await self._say(record)
            elif record["kind"] == "close" and record["conn"] in spoken_on:
                await self._leave(PID.parse(spoken_on[record["conn"]]))
            check_books(self.master.core)
        for address in list(self.runtimes):
            await self.runtimes.pop(address).stop()
        return self.heard

    async def _runtime(self, address):
        ip, _, port = address.partition(":")
        runtime = Runtime(self.network.transport(ip, int(port)), clock=self.clock, seed=3)
        await runtime.start()
        self.runtimes[address] = runtime
        return runtime

    async def _say(self, record):
        sender = PID.parse(record["from"])
        address = str(sender.address)
        if address not in self.runtimes:
            (await self._runtime(address)).spawn(Ear(sender.id, self.heard))
        message = TYPES[record["name"]].FromString(bytes.fromhex(record["body_hex"]))
        if isinstance(message, scheduler.Call):
            await self._use_our_offers(message)
        self.runtimes[address].post(PID.parse(record["to"]), message, sender=sender)
        await self.clock.advance(0.0)

    async def _use_our_offers(self, call):
        """Name our offers; an ACCEPT waits for one, which other frameworks must not hold."""
        part = {scheduler.Call.ACCEPT: call.accept, scheduler.Call.DECLINE: call.decline}.get(
            call.type
        )
        if part is None:
            return
        framework_id = call.framework_id.value
        for _ in range(20 if call.type == scheduler.Call.ACCEPT else 0):
            if self.master.core.state.offers.of_framework(framework_id):
                break
            self._decline_for_others(framework_id)
            await self.clock.advance(0.05)
        ours = self.master.core.state.offers.of_framework(framework_id)
        del part.offer_ids[:]
        part.offer_ids.extend(mesos.OfferID(value=offer.offer_id) for offer in ours)

    def _decline_for_others(self, framework_id):
        state = self.master.core.state
        for framework in state.frameworks:
            offers = state.offers.of_framework(framework.framework_id)
            if framework.framework_id != framework_id and offers:
                call = scheduler.Call(type=scheduler.Call.DECLINE)
                call.framework_id.value = framework.framework_id
                call.decline.offer_ids.extend(mesos.OfferID(value=o.offer_id) for o in offers)
                call.decline.filters.refuse_seconds = 1.0
                sender = PID.parse(framework.peer)
                self.runtimes[str(sender.address)].post(self.master.pid, call, sender=sender)

    async def _leave(self, pid):
        runtime = self.runtimes.pop(str(pid.address), None)
        if runtime is not None:
            await runtime.stop()
            await self.clock.advance(0.0)


def comparable(name, message):
    """The message as text, without what must differ: times of our own, our version, wording."""
    if isinstance(message, internal.StatusUpdateMessage):
        status = message.update.status
        if status.source == 0:  # made by the master
            status.ClearField("timestamp")
            message.update.timestamp = 0.0
            if status.HasField("unreachable_time"):
                status.unreachable_time.nanoseconds = 0
            if status.message.startswith("Total resources"):
                status.ClearField("message")
            if status.message.startswith("resources: "):
                status.ClearField("message")
    if name.endswith(("FrameworkRegisteredMessage", "FrameworkReregisteredMessage")):
        message.master_info.ClearField("version")
    if isinstance(message, internal.RunTaskMessage):
        message.ClearField("resource_version_uuids")
    return str(message)


def spoken(records):
    """What the recorded master said, as ours is kept by :class:`Stage`."""
    for record in records:
        if record["kind"] == "message" and record["from"].startswith("master@"):
            message_type = TYPES[record["name"]]
            yield (
                record["to"],
                record["name"],
                message_type.FromString(bytes.fromhex(record["body_hex"])),
            )


def by_peer(said):
    """Peer -> messages in order, as comparable text; answers to the dead are left out."""
    told = {}
    for pid, name, message in said:
        if name.rpartition(".")[2] not in NOT_COMPARED:
            told.setdefault(pid, []).append((name, comparable(name, message)))
    return told


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_our_master_says_what_the_real_one_said(scenario):
    path = fixtures() / "wire" / f"{scenario}.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    ours = by_peer(await Stage(records, SCENARIOS[scenario]).play())
    theirs = by_peer(spoken(records))
    assert ours.keys() == theirs.keys()
    for pid, messages in theirs.items():
        # The real one answers a question about all tasks in the order of a hash map.
        order = sorted if scenario == "g-driver-calls" else list
        assert order(ours[pid]) == order(messages), pid
