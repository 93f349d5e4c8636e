"""Recorded exchanges played to our master: what peers sent goes in, what ours says is kept.

The recorded peers' messages go in at their recorded times, under their recorded names; each master
gets the id of the recorded one, so that all ids it gives can be compared as they are. What cannot
be the same is translated on the way in:

- A call that names offers is given those that our master has made, because ours are made at other
  times.
- What an agent says about an operation carries the uuid that our master gave it.
- A scheduler that spoke HTTP becomes one that speaks messages, under a name of its own: the calls
  are the same. What an operator asked by HTTP becomes the operator call.
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from functools import partial

from google.protobuf import json_format

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import (
    CreateVolumes,
    DeactivateAgent,
    DestroyVolumes,
    DrainAgent,
    MarkAgentAsGone,
    ReactivateAgent,
    ReserveResources,
    UnreserveResources,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)
from cluster.model.quotas import Quota
from cluster.state import InMemoryStorage
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from cluster.wire.resources import resources_from_pb
from tests.fixtures_dir import fixtures
from tests.sim.master_world import check_books

START_S = 1_795_000_000.0
TYPES = {
    message_type.DESCRIPTOR.full_name: message_type
    for message_type in (
        *(getattr(internal, name) for name in internal.DESCRIPTOR.message_types_by_name),
        scheduler.Call,
    )
}
SCHEDULER_PATHS = ("/master/api/v1/scheduler", "/api/v1/scheduler")
OPERATOR_PATH = "/api/v1"


@dataclass
class Reign:
    """One process of a master: where, from when to when, and the prefix of the ids it gave.

    It hears nothing before it leads: a real one drops what comes while it recovers its registry.
    """

    master_id: str
    address: str = "127.0.0.1:5050"
    from_s: float = 0.0
    until_s: float = float("inf")


@dataclass
class Recording:
    """What is played, and how.

    Attributes:
        reigns: None for one master that lives all the time, with the recorded id.
        before: what happened before the recording begins, ``await before(replay)``.
    """

    name: str
    flags: dict = field(default_factory=dict)
    reigns: tuple[Reign, ...] | None = None
    before: object = None

    def records(self):
        path = fixtures() / "wire" / f"{self.name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def decode(record):
    return TYPES[record["name"]].FromString(bytes.fromhex(record["body_hex"]))


def is_message(record):
    return record["kind"] == "message" and record["name"] in TYPES


class Ear(Process):
    """Hears everything under one recorded name."""

    def __init__(self, id, heard):
        super().__init__(id)
        self._heard = heard

    def initialize(self):
        for name, message_type in TYPES.items():
            self.install(message_type, partial(self._hear, name))

    def _hear(self, name, sender, message):
        self._heard(str(self.pid), name, message)


class Replay:
    """One recording being played."""

    def __init__(self, recording):
        self.recording = recording
        self.records = recording.records()
        self.network = InProcessNetwork()
        self.clock = VirtualClock(START_S)
        self.heard = []
        self.answers = []
        self.master = None
        self.runtimes = {}
        self.operations = Operations(self.records)
        self.http = {}
        self._http_conns = {}
        self._statuses = {
            record["conn"]: int(record["status_line"].split()[1])
            for record in self.records
            if record["kind"] == "response"
        }
        self._reigns = list(recording.reigns or [Reign(self._recorded_master_id())])
        self._reign = None
        self._storage = InMemoryStorage()  # what one master wrote the next one reads

    def _recorded_master_id(self):
        for record in self.records:
            if is_message(record) and record["name"].endswith("laveRegisteredMessage"):
                return decode(record).slave_id.value.rpartition("-")[0]
        for record in self.records:
            if is_message(record) and record["name"].endswith("SlaveReregisteredMessage"):
                return decode(record).slave_id.value.rpartition("-")[0]
        raise AssertionError("nobody registers here")

    async def play(self):
        """Returns what our master said, as ``(pid, name, message)`` in order."""
        spoken_on = {
            record["conn"]: record["to"]
            for record in self.records
            if record["kind"] == "message" and record["from"].startswith("master@")
        }
        for record in self.records:
            await self._advance_to(record["t"])
            if is_message(record) and record["to"].startswith(("master@", "slave-observer(")):
                await self._say(record)
            elif record["kind"] == "request":
                await self._request(record)
            elif record["kind"] == "close":
                if record["conn"] in spoken_on:
                    await self.leave(PID.parse(spoken_on[record["conn"]]))
                elif record["conn"] in self._http_conns:
                    await self.leave(self._http_conns.pop(record["conn"]))
            if self.master is not None:
                check_books(self.master.core)
        for address in list(self.runtimes):
            await self.runtimes.pop(address).stop()
        return self.heard

    async def _advance_to(self, at_s):
        """Let time pass, with masters that begin and end in it."""
        while self._reign is not None and self._reign.until_s <= at_s:
            await self._wait_until(self._reign.until_s)
            await self.runtimes.pop(self._reign.address).stop()
            self.master = self._reign = None
            await self.clock.advance(0.0)
        if self._reign is None and self._reigns and self._reigns[0].from_s <= at_s:
            self._reign = self._reigns.pop(0)
            await self._wait_until(self._reign.from_s)
            await self._begin(self._reign)
        await self._wait_until(at_s)

    async def _wait_until(self, at_s):
        await self.clock.advance(max(0.0, START_S + at_s - self.clock.now_s()))

    async def _begin(self, reign):
        config = MasterConfig(work_dir="/nowhere", hostname="localhost", **self.recording.flags)
        self.master = Master(config, master_id=reign.master_id, storage=self._storage)
        (await self._runtime(reign.address)).spawn(self.master)
        await self.clock.advance(0.0)
        if self.recording.before is not None:
            await self.recording.before(self)
            self.heard.clear()

    async def subscribe(self, info, pid):
        """A framework with an id subscribes, as somebody must have done."""
        call = scheduler.Call(type=scheduler.Call.SUBSCRIBE, framework_id=info.id)
        call.subscribe.framework_info.CopyFrom(info)
        await self.tell(pid, call)

    async def _runtime(self, address):
        ip, _, port = address.partition(":")
        runtime = Runtime(self.network.transport(ip, int(port)), clock=self.clock, seed=3)
        await runtime.start()
        self.runtimes[address] = runtime
        return runtime

    async def _peer(self, pid):
        address = str(pid.address)
        if address not in self.runtimes:
            (await self._runtime(address)).spawn(Ear(pid.id, self._hear))
        return self.runtimes[address]

    def _hear(self, pid, name, message):
        self.operations.note_ours(pid, message)
        self.heard.append((pid, name, message))

    # Messages ------------------------------------------------------------------------------------

    async def _say(self, record):
        if self.master is None or PID.parse(record["to"]).address != self.master.pid.address:
            return  # to a master that does not lead (yet)
        message = decode(record)
        if isinstance(message, scheduler.Call):
            await self._use_our_offers(message)
        self.operations.rename_theirs(record["from"], message)
        await self.tell(record["from"], message, record["to"])

    async def tell(self, sender, message, to=None):
        """Let a peer say something, and let everything happen that comes of it."""
        pid = PID.parse(sender)
        runtime = await self._peer(pid)
        target = self.master.pid if to is None else PID.parse(to)
        runtime.post(target, message, sender=pid)
        await self.clock.advance(0.0)

    async def _use_our_offers(self, call):
        """Name our offers; an ACCEPT waits for one, which other frameworks must not hold."""
        part = {scheduler.Call.ACCEPT: call.accept, scheduler.Call.DECLINE: call.decline}.get(
            call.type
        )
        if part is None:
            return
        for _ in range(20 if call.type == scheduler.Call.ACCEPT else 0):
            if self._usable_offers(call):
                break
            self._decline_others(call)
            await self.clock.advance(0.05)
        ours = self._usable_offers(call)
        del part.offer_ids[:]
        part.offer_ids.extend(mesos.OfferID(value=offer.offer_id) for offer in ours)

    def _usable_offers(self, call):
        """Our offers that have the agent and the role that the call is about."""
        agent_id, role = subject(call)
        return [
            offer
            for offer in self.master.core.state.offers.of_framework(call.framework_id.value)
            if agent_id in (None, offer.agent_id) and role in (None, offer.role)
        ]

    def _decline_others(self, call):
        """Whoever holds offers that the call cannot use gives them back for a second."""
        state = self.master.core.state
        for framework in state.frameworks:
            offers = state.offers.of_framework(framework.framework_id)
            if offers:
                decline = scheduler.Call(type=scheduler.Call.DECLINE)
                decline.framework_id.value = framework.framework_id
                decline.decline.offer_ids.extend(mesos.OfferID(value=o.offer_id) for o in offers)
                decline.decline.filters.refuse_seconds = 1.0
                sender = PID.parse(framework.peer)
                self.runtimes[str(sender.address)].post(self.master.pid, decline, sender=sender)

    async def leave(self, pid):
        """All links to a peer break."""
        runtime = self.runtimes.pop(str(pid.address), None)
        if runtime is not None:
            await runtime.stop()
            await self.clock.advance(0.0)

    # HTTP ----------------------------------------------------------------------------------------

    async def _request(self, record):
        if self.master is None:
            return
        if record["target"] in SCHEDULER_PATHS:
            await self._scheduler_request(record)
        elif record["target"] == OPERATOR_PATH and record["conn"] in self._statuses:
            call = operator_call(json.loads(record["body"]))
            answer = asyncio.ensure_future(self.master.operate(call, "golden"))
            await self.clock.advance(0.0)
            kind = json.loads(record["body"])["type"]
            status = (await answer).status if answer.done() else None
            self.answers.append((kind, status, self._statuses[record["conn"]]))

    async def _scheduler_request(self, record):
        """A v1 call: the messages of v1 are those of v0 with other names for some fields."""
        if "body_base64" in record:
            call = scheduler.Call.FromString(base64.b64decode(record["body_base64"]))
        else:
            text = record["body"].replace('"agent_id"', '"slave_id"')
            call = json_format.Parse(text, scheduler.Call())
        if call.type == scheduler.Call.SUBSCRIBE:
            pid = PID.parse(f"http-{len(self.http)}@127.0.0.2:{5000 + len(self.http)}")
            self.http[len(self.http)] = pid
            self._http_conns[record["conn"]] = pid
        else:
            framework = self.master.core.state.frameworks.get(call.framework_id.value)
            if framework is None:
                return  # its stream has closed, and with it the framework has ended
            pid = PID.parse(framework.peer)
        await self._use_our_offers(call)
        await self.tell(str(pid), call)


def operator_call(body):
    """What a request of the operator API asks for."""
    part = body[body["type"].lower()]
    agent_id = part.get("agent_id", {}).get("value")
    match body["type"]:
        case "UPDATE_WEIGHTS":
            return UpdateWeights({i["role"]: i["weight"] for i in part["weight_infos"]})
        case "UPDATE_QUOTA":
            return UpdateQuotas(
                {
                    config["role"]: Quota(
                        _quantities(config.get("guarantees", {})),
                        _quantities(config.get("limits", {})),
                    )
                    for config in part["quota_configs"]
                }
            )
        case "UPDATE_MAINTENANCE_SCHEDULE":
            return UpdateMaintenanceSchedule(tuple(map(_window, part["schedule"]["windows"])))
        case "DRAIN_AGENT":
            grace = part.get("max_grace_period")
            return DrainAgent(agent_id, None if grace is None else grace["seconds"])
        case "DEACTIVATE_AGENT":
            return DeactivateAgent(agent_id)
        case "REACTIVATE_AGENT":
            return ReactivateAgent(agent_id)
        case "MARK_AGENT_GONE":
            return MarkAgentAsGone(agent_id)
        case "RESERVE_RESOURCES":
            return ReserveResources(agent_id, _resources(part["resources"]))
        case "UNRESERVE_RESOURCES":
            return UnreserveResources(agent_id, _resources(part["resources"]))
        case "CREATE_VOLUMES":
            return CreateVolumes(agent_id, _resources(part["volumes"]))
        case "DESTROY_VOLUMES":
            return DestroyVolumes(agent_id, _resources(part["volumes"]))


def _quantities(scalars):
    return {name: round(scalar["value"] * 1000) for name, scalar in scalars.items()}


def _window(window):
    when = window["unavailability"]
    duration = when.get("duration")
    return MaintenanceWindow(
        tuple(MachineId.of(m.get("hostname", ""), m.get("ip", "")) for m in window["machine_ids"]),
        Unavailability(
            when["start"]["nanoseconds"] / 1e9,
            None if duration is None else duration["nanoseconds"] / 1e9,
        ),
    )


def _resources(values):
    return resources_from_pb(json_format.ParseDict(value, mesos.Resource()) for value in values)


def subject(call):
    """Agent and role that an ACCEPT is about, None where it does not say."""
    agent_id = role = None
    for operation in call.accept.operations:
        tasks = (*operation.launch.task_infos, *operation.launch_group.task_group.tasks)
        resources = [resource for task in tasks for resource in task.resources]
        for task in tasks:
            agent_id = task.slave_id.value
        for resource in (*resources, *operation.reserve.resources):
            role = resource.allocation_info.role or role
    return agent_id, role


class Operations:
    """Which uuid of ours stands for which recorded one: the n-th to an agent for the n-th."""

    def __init__(self, records):
        self._theirs = {}
        self._ours = {}
        for record in records:
            if is_message(record) and record["name"].endswith("ApplyOperationMessage"):
                uuid = decode(record).operation_uuid.value
                self._theirs.setdefault(record["to"], []).append(uuid)

    def note_ours(self, pid, message):
        if isinstance(message, internal.ApplyOperationMessage):
            self._ours.setdefault(pid, []).append(message.operation_uuid.value)

    def rename_theirs(self, pid, message):
        """An agent's words about an operation, with our uuid."""
        if isinstance(message, internal.UpdateOperationStatusMessage):
            uuid = message.operation_uuid.value
            if uuid in self._theirs.get(pid, ()):
                place = self._theirs[pid].index(uuid)
                if place < len(self._ours.get(pid, ())):
                    message.operation_uuid.value = self._ours[pid][place]

    def rename_ours(self, pid, message):
        """What our master said about an operation, with the recorded uuid."""
        uuid = getattr(message, "operation_uuid", None)
        if uuid is not None and uuid.value in self._ours.get(pid, ()):
            place = self._ours[pid].index(uuid.value)
            if place < len(self._theirs.get(pid, ())):
                uuid.value = self._theirs[pid][place]
        return message


def spoken(records):
    """What the recorded master said, as ``(pid, name, message)`` in order."""
    for record in records:
        if is_message(record) and record["from"].startswith("master@"):
            yield record["to"], record["name"], decode(record)
