"""Whatever arrives at a master, it stays up and its books stay right.

Bodies are random bytes, mutated recordings of well-formed messages, or well-formed messages with
random parts; they come from peers that the master knows and from strangers, in any order.
"""

import asyncio
import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorproc import PID, Runtime
from cluster.wire.pb import authentication_pb2 as authentication
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import (
    MULTI_ROLE,
    FakeAgent,
    FakeScheduler,
    framework_info,
    master_world,
    resources,
    task_info,
)

INSTALLED = (
    scheduler.Call,
    internal.DeactivateFrameworkMessage,
    internal.SubmitSchedulerRequest,
    authentication.AuthenticateMessage,
    internal.RegisterFrameworkMessage,
    internal.ReregisterFrameworkMessage,
    internal.UnregisterFrameworkMessage,
    internal.ResourceRequestMessage,
    internal.LaunchTasksMessage,
    internal.ReviveOffersMessage,
    internal.KillTaskMessage,
    internal.StatusUpdateAcknowledgementMessage,
    internal.ReconcileTasksMessage,
    internal.FrameworkToExecutorMessage,
    internal.RegisterSlaveMessage,
    internal.ReregisterSlaveMessage,
    internal.UnregisterSlaveMessage,
    internal.UpdateSlaveMessage,
    internal.StatusUpdateMessage,
    internal.ExitedExecutorMessage,
    internal.ExecutorToFrameworkMessage,
    internal.UpdateOperationStatusMessage,
)
# Words that mean something to the master under test, and some that mean trouble.
WORDS = (
    *("m-0000", "m-0001", "m-S0", "m-S1", "m-O0", "m-O1", "m-O2", "t", "u", "e"),
    *("cpus", "mem", "ports", "disk", "*", "dev", "a/b", "/x", "..", "1.11.0", "0.1"),
    *("", "\x00", "a" * 300, "é"),
)
NUMBERS = (0, 1, -1, 5, 2**31 - 1, 4096, 31000)
FLOATS = (0.0, 1.0, 0.1, -1.0, 1e300, float("nan"), float("inf"), 3600.0)
DEPTH_MAX = 7


def fill(message, rng, depth=0):
    """Give random values to random fields; required fields nearly always."""
    for field in message.DESCRIPTOR.fields:
        chance = 0.97 if field.is_required else (0.5 if depth < 2 else 0.3)
        if rng.random() > chance:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for _ in range(rng.randint(1, 2)):
                _append(message, field, rng, depth)
        elif field.message_type is not None:
            if depth < DEPTH_MAX:
                getattr(message, field.name).SetInParent()
                fill(getattr(message, field.name), rng, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, rng))


def _append(message, field, rng, depth):
    target = getattr(message, field.name)
    if field.message_type is None:
        target.append(_scalar(field, rng))
    elif depth < DEPTH_MAX:
        fill(target.add(), rng, depth + 1)


def _scalar(field, rng):
    if field.enum_type is not None:
        return rng.choice(field.enum_type.values).number
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        word = rng.choice(WORDS)
        return word.encode() if field.type == field.TYPE_BYTES else word
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return rng.choice(FLOATS)
    if kind == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    number = rng.choice(NUMBERS)
    return abs(number) if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else number


def well_formed(rng, world):
    """A message that a real peer could send now, so that the books get interesting."""
    makers = (
        *(_subscribe, _accept, _accept, _register, _reregister, _update, _update, _other_call),
        *(_change_resources, _change_resources, _agent_update, _operation_status),
    )
    return rng.choice(makers)(rng, world)


def _framework_id(rng, world):
    known = [record.framework_id for record in world.state.frameworks]
    return mesos.FrameworkID(value=rng.choice((*known, *known, "m-0000")))


def _agent_id(rng, world):
    known = [record.agent_id for record in world.state.agents]
    return rng.choice((*known, *known, "m-S0"))


def _subscribe(rng, world):
    call = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
    call.subscribe.framework_info.CopyFrom(
        framework_info(
            checkpoint=rng.random() < 0.5,
            failover_timeout=rng.choice((0, 5)),
            capabilities=(MULTI_ROLE,),
            roles=rng.choice((("dev",), ("dev", "*"))),
        )
    )
    if rng.random() < 0.6:
        call.subscribe.framework_info.id.CopyFrom(_framework_id(rng, world))
    call.subscribe.force = rng.random() < 0.5
    return call


def _accept(rng, world):
    offers = list(world.state.offers)
    offer = rng.choice(offers) if offers else None
    framework_id = _framework_id(rng, world)
    if offer is not None and rng.random() < 0.9:
        framework_id.value = offer.framework_id
    call = scheduler.Call(type=scheduler.Call.ACCEPT, framework_id=framework_id)
    call.accept.offer_ids.add(value="m-O0" if offer is None else offer.offer_id)
    agent_id = _agent_id(rng, world) if offer is None else offer.agent_id
    operation = call.accept.operations.add(type=mesos.Offer.Operation.LAUNCH)
    text = rng.choice(("cpus:1;mem:64", "cpus:1;ports:[2-4]"))
    operation.launch.task_infos.append(
        task_info(rng.choice(("t", "u")), agent_id, text, executor=rng.choice((None, "e")))
    )
    call.accept.filters.refuse_seconds = rng.choice(FLOATS)
    return call


def _register(rng, world):
    message = internal.RegisterSlaveMessage(version="1.11.0")
    message.slave.hostname = "h"
    message.slave.resources.extend(resources("cpus:2;mem:512;disk:50;ports:[1-9]"))
    capabilities = rng.choice((mesos.SlaveInfo.Capability.Type.values(), ()))
    for capability in capabilities:
        message.agent_capabilities.add(type=capability)
    return message


def _reregister(rng, world):
    agent_id, framework_id = _agent_id(rng, world), _framework_id(rng, world)
    message = internal.ReregisterSlaveMessage(version="1.11.0")
    message.slave.hostname = "h"
    message.slave.id.value = agent_id
    message.slave.resources.extend(resources(rng.choice(("cpus:2;mem:512", "cpus:0.1"))))
    message.frameworks.append(framework_info(id=framework_id))
    for name in rng.choice(((), ("t",), ("u",), ("t", "u"))):
        message.tasks.add(
            name=name,
            task_id=mesos.TaskID(value=name),
            framework_id=framework_id,
            slave_id=mesos.SlaveID(value=agent_id),
            state=rng.choice((mesos.TASK_RUNNING, mesos.TASK_FINISHED)),
            resources=resources(rng.choice(("cpus:1;mem:64", "cpus:1;ports:[2-4]"))),
        )
    return message


def _reserved(text, rng):
    kept = resources(text)
    for resource in kept:
        resource.reservations.add(type=mesos.Resource.ReservationInfo.DYNAMIC, role="dev")
        if rng.random() < 0.9:
            resource.ClearField("role")
    return kept


def _change(rng):
    """A change of resources; it may be impossible."""
    kinds = mesos.Offer.Operation.Type.values()
    kind = rng.choice((*kinds, *(mesos.Offer.Operation.RESERVE, mesos.Offer.Operation.CREATE) * 4))
    operation = mesos.Offer.Operation(type=kind)
    if rng.random() < 0.2:
        operation.id.value = rng.choice(("", "o"))
    kept = _reserved(rng.choice(("cpus:1", "disk:10", "disk:10", "ports:[2-4]")), rng)
    (disk,) = _reserved("disk:10", rng)
    disk.disk.persistence.id = "v"
    disk.disk.volume.container_path = "x"
    disk.disk.volume.mode = mesos.Volume.RW
    source = mesos.Resource()
    source.CopyFrom(disk)
    source.provider_id.value = "p"
    for part in (operation.reserve, operation.unreserve):
        part.resources.extend(kept)
    for part in (operation.create, operation.destroy):
        part.volumes.append(disk)
    operation.grow_volume.volume.CopyFrom(disk)
    operation.grow_volume.addition.CopyFrom(kept[0])
    operation.shrink_volume.volume.CopyFrom(disk)
    operation.shrink_volume.subtract.value = rng.choice(FLOATS)
    operation.create_disk.source.CopyFrom(source)
    operation.create_disk.target_type = mesos.Resource.DiskInfo.Source.MOUNT
    operation.destroy_disk.source.CopyFrom(source)
    return operation


def _change_resources(rng, world):
    call = _accept(rng, world)
    call.accept.operations.insert(rng.randrange(2), _change(rng))
    return call


def _operation_uuid(rng, world):
    known = [operation.uuid for operation in world.state.operations]
    return rng.choice((*known, b"u" * 16, b""))


def _agent_update(rng, world):
    """What an agent has now: perhaps spare resources, a provider, operations of its own making."""
    message = internal.UpdateSlaveMessage()
    message.slave_id.value = _agent_id(rng, world)
    message.update_oversubscribed_resources = rng.random() < 0.5
    if rng.random() < 0.5:
        message.oversubscribed_resources.extend(resources("cpus:1;mem:64"))
        for resource in message.oversubscribed_resources:
            resource.revocable.SetInParent()
    message.operations.SetInParent()
    for _ in range(rng.randrange(3)):
        operation = message.operations.operations.add()
        operation.info.CopyFrom(_change(rng))
        operation.latest_status.state = rng.choice(mesos.OperationState.values())
        operation.uuid.value = _operation_uuid(rng, world)
        if rng.random() < 0.7:
            operation.framework_id.CopyFrom(_framework_id(rng, world))
    if rng.random() < 0.5:
        provider = message.resource_providers.providers.add()
        provider.info.id.value, provider.info.type, provider.info.name = "p", "t", "n"
        provider.total_resources.extend(resources("disk:20"))
        provider.total_resources[0].provider_id.value = "p"
        provider.resource_version_uuid.value = b"v"
        provider.operations.SetInParent()
    return message


def _operation_status(rng, world):
    message = internal.UpdateOperationStatusMessage()
    message.slave_id.value = _agent_id(rng, world)
    message.operation_uuid.value = _operation_uuid(rng, world)
    message.status.state = rng.choice(mesos.OperationState.values())
    message.status.uuid.value = rng.choice((b"", b"s" * 16))
    if rng.random() < 0.3:
        message.latest_status.state = rng.choice(mesos.OperationState.values())
    if rng.random() < 0.3:
        message.status.converted_resources.extend(resources("disk:5"))
        message.status.converted_resources[0].provider_id.value = "p"
    return message


def _update(rng, world):
    message = internal.StatusUpdateMessage(pid="x")
    message.update.framework_id.CopyFrom(_framework_id(rng, world))
    message.update.slave_id.value = _agent_id(rng, world)
    message.update.status.task_id.value = rng.choice(("t", "u"))
    message.update.status.state = rng.choice(mesos.TaskState.values())
    message.update.timestamp = 1.0
    message.update.uuid = rng.choice((b"", b"u" * 16))
    return message


def _other_call(rng, world):
    call = scheduler.Call(
        type=scheduler.Call.Type.Value(rng.choice(("TEARDOWN", *("REVIVE", "KILL") * 4))),
        framework_id=_framework_id(rng, world),
    )
    call.kill.task_id.value = rng.choice(("t", "u"))
    return call


def mutate(body, rng):
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        if data and rng.random() < 0.7:
            data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            data = data[: rng.randrange(len(data) + 1)]
    return bytes(data)


def random_message(rng, world):
    """A message, and its body, perhaps damaged."""
    choice = rng.random()
    if choice < 0.7:
        message = well_formed(rng, world)
    else:
        message = rng.choice(INSTALLED)()
        fill(message, rng)
    body = message.SerializePartialToString()
    if choice > 0.92:
        body = mutate(body, rng)
    if choice > 0.97:
        body = rng.randbytes(rng.randrange(40))
    return message, body


SCHEDULERS = tuple(PID(f"scheduler-{n}", f"10.1.0.{n}", 1) for n in range(3))
AGENTS = tuple(PID("slave(1)", f"10.2.0.{n}", 5051) for n in range(3))
PEERS = (*SCHEDULERS, *AGENTS, PID.EMPTY, PID("master", "10.0.0.1", 5050))


async def add_peers(world):
    """Peers that exist: the links to all others break at once, and nobody is offered anything."""
    for pid in PEERS[:6]:
        runtime = Runtime(world.network.transport(pid.ip, pid.port), clock=world.clock, seed=1)
        await runtime.start()
        kind = FakeScheduler if pid in SCHEDULERS else FakeAgent
        peer = kind(pid.id, world.master.pid)
        runtime.spawn(peer)
        world.peers[peer] = runtime


def sender_of(message, rng, world):
    """Mostly the peer that the message is expected from; anybody else is refused at the door."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(PEERS)
    state, names = world.state, {field.name for field, _ in message.ListFields()}
    record = None
    if "slave_id" in names:
        record = state.agents.get(message.slave_id.value)
    elif "update" in names:
        record = state.agents.get(message.update.slave_id.value)
    elif "framework_id" in names:
        record = state.frameworks.get(message.framework_id.value)
    if record is not None and record.peer is not None:
        return PID.parse(record.peer)
    return rng.choice(AGENTS if "slave" in names else SCHEDULERS)


async def bombard(seed, count):
    """Returns how often the master did what."""
    rng, done = random.Random(seed), Counter()
    async with master_world(offer_timeout_s=3.0) as world:
        await add_peers(world)
        perform = world.master._perform
        world.master._perform = lambda e: (done.update([type(e).__name__]), perform(e))
        for _ in range(count):
            match rng.randrange(20):
                case 0:
                    await world.advance(rng.choice((0.5, 1.0, 1.0, 4.0, 7.0, 700.0)))
                case 1:
                    world.master.exited(rng.choice(PEERS[:6]))
                case _:
                    message, body = random_message(rng, world)
                    name, sender = message.DESCRIPTOR.full_name, sender_of(message, rng, world)
                    world.runtime.post(world.master.pid, name, body, sender=sender)
            await world.settle()
    return done


def test_the_messages_reach_what_they_are_about():
    """Otherwise all that is tested is the door."""
    done = Counter()
    for seed in range(10):
        done += asyncio.run(bombard(seed, 80))
    wanted = ("SendOffers", "SendRunTask", "SendApplyOperation", "SendAgentReregistered", "Forward")
    assert all(done[name] for name in wanted), done


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**32))
def test_no_message_ends_the_master(seed):
    asyncio.run(bombard(seed, 60))


def test_every_installed_message_is_bombarded():
    async def installed():
        async with master_world() as world:
            return set(world.master._handlers)

    names = asyncio.run(installed())
    assert names == {message_type.DESCRIPTOR.full_name for message_type in INSTALLED}
