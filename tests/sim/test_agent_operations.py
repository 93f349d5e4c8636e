"""Operations, volumes and draining through a whole agent: in one thread, under virtual time."""

import json
import os
from pathlib import Path

import pytest
from google.protobuf import json_format

from cluster.errors import InvalidInput
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import resource_state_pb2
from cluster.wire.records import records_from_bytes
from cluster.wire.resources import resources_from_pb
from tests.fixtures_dir import fixtures
from tests.sim.agent_fakes import FakeMaster, framework_info, task_info, world

pytestmark = pytest.mark.asyncio

Operation = mesos.Offer.Operation


def reserved(name, amount, *, role="ads", volume_id=None, path="data", allocated=None):
    """A dynamically reserved scalar, or a persistent volume."""
    resource = mesos.Resource(name=name, type=mesos.Value.SCALAR)
    resource.scalar.value = amount
    resource.reservations.add(role=role, type=mesos.Resource.ReservationInfo.DYNAMIC)
    if volume_id is not None:
        resource.disk.persistence.id = volume_id
        resource.disk.volume.container_path = path
        resource.disk.volume.mode = mesos.Volume.RW
    if allocated is not None:
        resource.allocation_info.role = allocated
    return resource


def reserve(*resources):
    return Operation(type=Operation.RESERVE, reserve=Operation.Reserve(resources=resources))


def unreserve(*resources):
    return Operation(type=Operation.UNRESERVE, unreserve=Operation.Unreserve(resources=resources))


def create(*volumes):
    return Operation(type=Operation.CREATE, create=Operation.Create(volumes=volumes))


def destroy(*volumes):
    return Operation(type=Operation.DESTROY, destroy=Operation.Destroy(volumes=volumes))


VOLUME = reserved("disk", 128, volume_id="v")
DISK = reserved("disk", 256)


class OperatingMaster(FakeMaster):
    """A master that sends operations and hears how they ended."""

    def initialize(self):
        super().initialize()
        self.install(internal.UpdateOperationStatusMessage, self._on_message)

    def version(self):
        registered = (internal.RegisterSlaveMessage, internal.ReregisterSlaveMessage)
        last = [message for message in self.heard if isinstance(message, registered)][-1]
        return last.resource_version_uuid.value

    def operate(self, number, info, *, version=None, framework_id=None, operation_id=None):
        message = internal.ApplyOperationMessage(operation_info=info)
        message.operation_uuid.value = bytes([number]) * 16
        message.resource_version_uuid.uuid.value = version or self.version()
        if framework_id is not None:
            message.framework_id.value = framework_id
        if operation_id is not None:
            message.operation_info.id.value = operation_id
        self.say(message)

    def statuses(self):
        """(first byte of the operation's uuid, state name) of every status heard."""
        return [
            (message.operation_uuid.value[0], mesos.OperationState.Name(message.status.state))
            for message in self.all(internal.UpdateOperationStatusMessage)
        ]

    def acknowledge_operation(self, message):
        answer = internal.AcknowledgeOperationStatusMessage(
            operation_uuid=message.operation_uuid, status_uuid=message.status.uuid
        )
        self.say(answer)


def operating_world(path, **flags):
    return world(path, master=OperatingMaster(), **flags)


async def operate(w, *infos, start=1):
    for number, info in enumerate(infos, start):
        w.master.operate(number, info)
    await w.clock.settle()


def _links(sandbox):
    return sorted(path.name for path in sandbox.iterdir() if path.is_symlink())


def volume_task(task_id, *, volume=VOLUME, executor_id=None, command="sleep 1000"):
    task = task_info(task_id, executor_id=executor_id, command=command)
    task.resources.append(volume)
    for resource in task.resources:
        resource.allocation_info.role = "ads"
    return task


async def test_an_operation_from_order_to_acknowledgement(tmp_path):
    async with operating_world(tmp_path) as w:
        w.master.operate(7, reserve(DISK), framework_id="fw", operation_id="mine")
        await w.clock.settle()
        (told,) = w.master.all(internal.UpdateOperationStatusMessage)
        assert told.operation_uuid.value == b"\7" * 16
        assert told.framework_id.value == "fw"
        assert told.slave_id.value == told.status.slave_id.value == "M-S0"
        assert told.status.operation_id.value == "mine"
        assert told.status.state == mesos.OPERATION_FINISHED
        assert len(told.status.uuid.value) == 16
        assert told.latest_status == told.status
        assert not told.status.converted_resources
        await w.clock.advance(31.0)  # again after 10 and 20 more seconds
        assert w.master.statuses() == [(7, "OPERATION_FINISHED")] * 3
        w.master.acknowledge_operation(told)
        await w.clock.advance(3600.0)
        assert len(w.master.statuses()) == 3


async def test_fields_of_a_status_are_those_recorded(tmp_path):
    lines = (fixtures() / "wire" / "j-operator.jsonl").read_text().splitlines()
    sent = [json.loads(line) for line in lines]
    sent = [record for record in sent if record["kind"] == "message"]
    applied = [
        internal.ApplyOperationMessage.FromString(bytes.fromhex(record["body_hex"]))
        for record in sent
        if record["name"].endswith("ApplyOperationMessage")
    ]
    answered = [
        internal.UpdateOperationStatusMessage.FromString(bytes.fromhex(record["body_hex"]))
        for record in sent
        if record["name"].endswith("UpdateOperationStatusMessage")
    ]
    assert len(applied) == len(answered) == 4
    async with operating_world(tmp_path) as w:
        for order, want in zip(applied, answered, strict=True):
            order.resource_version_uuid.uuid.value = w.master.version()
            w.master.say(order)
            await w.clock.settle()
            got = w.master.all(internal.UpdateOperationStatusMessage)[-1]
            for status in (want.status, want.latest_status):
                status.uuid.value = got.status.uuid.value
                status.slave_id.value = "M-S0"
            want.slave_id.value = "M-S0"
            assert got == want
        assert list((tmp_path / "volumes/roles/ads").iterdir()) == []


async def test_files_are_those_of_a_real_agent(tmp_path):
    """The reservations and the volume of the recorded work directory, made by operations."""
    cpus, mem = reserved("cpus", 1), reserved("mem", 256)
    disk, volume = reserved("disk", 512), reserved("disk", 128, volume_id="vol-1")
    for one in (cpus, mem, disk, volume):
        one.reservations[0].principal = "golden"
    volume.disk.persistence.principal = "golden"
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(cpus, mem, disk), create(volume))
        for told in w.master.all(internal.UpdateOperationStatusMessage):
            w.master.acknowledge_operation(told)
        await w.clock.settle()
    decoded = json.loads((fixtures() / "agent-work-dir-decoded.json").read_text())
    for name in ("resources.info", "resources_and_operations.state"):
        path = tmp_path / "meta/resources" / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert _json_of(path, name) == decoded[f"/var/lib/mesos/meta/resources/{name}"]
    assert (tmp_path / "volumes/roles/ads/vol-1").is_dir()


def _json_of(path, name):
    is_old = name == "resources.info"
    kind = mesos.Resource if is_old else resource_state_pb2.ResourceState
    records = records_from_bytes(path.read_bytes(), kind, field=name)
    return [json_format.MessageToDict(one, preserving_proto_field_name=True) for one in records]


async def test_what_was_made_outlives_the_agent(tmp_path):
    refined = reserved("cpus", 1)
    refined.reservations.add(role="ads/web", type=mesos.Resource.ReservationInfo.DYNAMIC)
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(reserved("cpus", 1), DISK), reserve(refined), create(VOLUME))
        assert w.master.statuses() == [(n, "OPERATION_FINISHED") for n in (1, 2, 3)]
        (tmp_path / "volumes/roles/ads/v/file").write_text("kept")
    (tmp_path / "volumes/roles/ads/v/file").read_text()
    async with operating_world(tmp_path) as w:
        (registered,) = w.master.all(internal.RegisterSlaveMessage)
        kept = resources_from_pb(registered.checkpointed_resources)
        assert kept == resources_from_pb([refined, reserved("disk", 128), VOLUME])
        spelled = [len(one.reservations) for one in registered.checkpointed_resources]
        assert sorted(spelled) == [0, 0, 2]  # old spelling, where there is one
        assert resources_from_pb(registered.slave.resources).reserved_roles() == ()
        await operate(w, destroy(VOLUME), unreserve(reserved("disk", 256)))
        assert not (tmp_path / "volumes/roles/ads/v").exists()
        # A later registration tells what is there then, and what waits for acknowledgement.
        w.master.say(internal.PingSlaveMessage(connected=False))
        await w.clock.advance(1.0)
        (again,) = w.master.all(internal.ReregisterSlaveMessage)
        assert resources_from_pb(again.checkpointed_resources) == resources_from_pb([refined])
        update = w.master.all(internal.UpdateSlaveMessage)[-1]
        assert [one.uuid.value[0] for one in update.operations.operations] == [1, 2]
        assert again.resource_version_uuid == update.resource_version_uuid


async def test_volumes_whose_directory_is_gone_get_a_new_one(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK), create(VOLUME))
    (tmp_path / "volumes/roles/ads/v").rmdir()
    async with operating_world(tmp_path):
        assert (tmp_path / "volumes/roles/ads/v").is_dir()


async def test_the_old_file_alone_is_read_too(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK))
    (tmp_path / "meta/resources/resources_and_operations.state").unlink()
    async with operating_world(tmp_path) as w:
        (registered,) = w.master.all(internal.RegisterSlaveMessage)
        assert resources_from_pb(registered.checkpointed_resources) == resources_from_pb([DISK])


@pytest.mark.parametrize("cut", [1, 3, 10])
async def test_a_damaged_checkpoint_is_an_error_that_names_the_file(tmp_path, cut):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK))
    path = tmp_path / "meta/resources/resources_and_operations.state"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidInput, match=r"resources_and_operations\.state"):
        async with operating_world(tmp_path):
            pass


async def test_remembered_resources_that_no_longer_fit_are_an_error(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(reserved("cpus", 4)))
    with pytest.raises(InvalidInput, match="cannot be made of what the agent declares"):
        async with world(tmp_path, resources="cpus:2"):
            pass


REFUSED = [
    (reserve(reserved("cpus", 99)), "OPERATION_FAILED", "do not contain"),
    (create(reserved("disk", 1, volume_id="../x")), "OPERATION_FAILED", "persistence.id"),
    (create(DISK), "OPERATION_FAILED", "create.volumes[0]"),
    (Operation(type=Operation.CREATE_DISK), "OPERATION_FAILED", "CREATE_DISK"),
    (Operation(type=Operation.LAUNCH), "OPERATION_FAILED", "LAUNCH"),
]


@pytest.mark.parametrize(("info", "state", "text"), REFUSED)
async def test_operations_that_cannot_be_done_say_why(tmp_path, info, state, text):
    async with operating_world(tmp_path) as w:
        await operate(w, info)
        (told,) = w.master.all(internal.UpdateOperationStatusMessage)
        assert w.master.statuses() == [(1, state)]
        assert text in told.status.message


async def test_operations_on_outdated_resources_are_dropped(tmp_path):
    async with operating_world(tmp_path) as w:
        w.master.operate(1, reserve(DISK), version=b"old version here")
        await w.clock.settle()
        assert w.master.statuses() == [(1, "OPERATION_DROPPED")]


async def test_operations_the_agent_does_not_know_are_told_to_be_dropped(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK))
        message = internal.ReconcileOperationsMessage(framework_id=mesos.FrameworkID(value="fw"))
        for number in (1, 2):
            one = message.operations.add()
            one.operation_uuid.value = bytes([number]) * 16
            one.operation_id.value = f"o{number}"
        w.master.say(message)
        await w.clock.settle()
        assert w.master.statuses() == [(1, "OPERATION_FINISHED"), (2, "OPERATION_DROPPED")]
        answer = w.master.all(internal.UpdateOperationStatusMessage)[-1]
        assert answer.status.operation_id.value == "o2"
        assert answer.framework_id.value == "fw"
        assert not answer.status.HasField("uuid")


async def test_a_legacy_master_sends_the_whole_list(tmp_path):
    async with operating_world(tmp_path) as w:
        w.master.say(internal.CheckpointResourcesMessage(resources=[DISK, VOLUME]))
        await w.clock.settle()
        assert (tmp_path / "volumes/roles/ads/v").is_dir()
        w.master.say(internal.CheckpointResourcesMessage(resources=[DISK]))
        await w.clock.settle()
        assert not (tmp_path / "volumes/roles/ads/v").exists()
        w.master.say(internal.CheckpointResourcesMessage(resources=[reserved("disk", 1e6)]))
        await w.clock.settle()
        path = tmp_path / "meta/resources/resources.info"
        assert resources_from_pb(
            records_from_bytes(path.read_bytes(), mesos.Resource, field="file")
        ) == resources_from_pb([DISK])


async def test_an_agent_that_cannot_write_promises_nothing(tmp_path):
    async with operating_world(tmp_path) as w:
        (tmp_path / "meta").write_text("not a directory")
        await operate(w, reserve(DISK))
        assert w.master.statuses() == []
        assert await w.agent_is_gone()
        assert w.agent.exit_status == 1


# Launches -----------------------------------------------------------------------------------------


async def test_a_task_sees_its_volume(tmp_path):
    async with operating_world(tmp_path) as w:
        # The launch follows at once, as in one ACCEPT.
        w.master.operate(1, reserve(DISK))
        w.master.operate(2, create(VOLUME))
        await w.run(volume_task("t1", command="cat data/file"))
        sandbox = Path(w.containers.last.config.directory)
        link = sandbox / "data"
        assert os.readlink(link) == str(tmp_path / "volumes/roles/ads/v")
        await operate(w, destroy(VOLUME), start=3)
        assert w.master.statuses()[-1] == (3, "OPERATION_FAILED")
        assert (tmp_path / "volumes/roles/ads/v").is_dir()


@pytest.mark.parametrize(("is_aware", "state"), [(True, "TASK_DROPPED"), (False, "TASK_LOST")])
async def test_a_task_with_unknown_resources_is_refused(tmp_path, is_aware, state):
    async with operating_world(tmp_path) as w:
        await w.run(volume_task("t1"), framework=framework_info(is_aware=is_aware))
        assert w.master.updates() == [("t1", state, "REASON_RESOURCES_UNKNOWN")]
        assert not w.containers.launched


async def test_a_running_executor_is_shown_the_volumes_of_its_tasks(tmp_path):
    other = reserved("disk", 10, volume_id="w", path="other")
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK), create(VOLUME), create(other))
        await w.run(task_info("t1", executor_id="ex"))
        executor = await w.executor("ex")
        sandbox = Path(w.containers.last.config.directory)
        await w.run(volume_task("t2", executor_id="ex"), launch_executor=False)
        assert (sandbox / "data").is_symlink()
        await w.run(volume_task("t3", volume=other, executor_id="ex"), launch_executor=False)
        ran = [m.task.task_id.value for m in executor.heard if hasattr(m, "task")]
        assert ran == ["t1", "t2", "t3"]
        executor.report("t2", mesos.TASK_FINISHED, uuid=b"2" * 16)
        await w.clock.settle()
        assert _links(sandbox) == ["other"]
        await operate(w, destroy(VOLUME), start=9)
        assert w.master.statuses()[-1] == (9, "OPERATION_FINISHED")


async def test_a_volume_that_cannot_be_shown_ends_the_executor(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK), create(VOLUME))
        await w.run(task_info("t1", executor_id="ex"))
        await w.executor("ex")
        (Path(w.containers.last.config.directory) / "data").write_text("in the way")
        await w.run(volume_task("t2", executor_id="ex"), launch_executor=False)
        assert w.master.updates() == [
            ("t1", "TASK_GONE", "REASON_CONTAINER_UPDATE_FAILED"),
            ("t2", "TASK_GONE", "REASON_CONTAINER_UPDATE_FAILED"),
        ]


@pytest.mark.parametrize("path", ["/abs", "a/b", "..", ""])
async def test_a_volume_is_seen_below_the_sandbox_only(tmp_path, path):
    volume = reserved("disk", 128, volume_id="v", path=path)
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK), create(volume))
        await w.run(volume_task("t1", volume=volume))
        assert w.master.updates() == [("t1", "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")]
        message = w.master.all(internal.StatusUpdateMessage)[0].update.status.message
        assert "container_path" in message


# Draining -----------------------------------------------------------------------------------------


def drain(max_grace_s=None, *, mark_gone=False):
    message = internal.DrainSlaveMessage()
    message.config.mark_gone = mark_gone
    if max_grace_s is not None:
        message.config.max_grace_period.nanoseconds = int(max_grace_s * 1e9)
    return message


def patient_task(task_id, grace_s=None):
    task = task_info(task_id, executor_id="ex")
    if grace_s is not None:
        task.kill_policy.grace_period.nanoseconds = int(grace_s * 1e9)
    return task


async def test_draining_kills_everything_within_the_longest_grace_period(tmp_path):
    async with operating_world(tmp_path) as w:
        await w.run(patient_task("own", 1), patient_task("long", 60), patient_task("none"))
        executor = await w.executor("ex")
        w.master.say(drain(1))
        await w.clock.settle()
        kills = [m for m in executor.heard if isinstance(m, internal.KillTaskMessage)]
        graces = {
            m.task_id.value: m.kill_policy.grace_period.nanoseconds / 1e9
            if m.HasField("kill_policy")
            else None
            for m in kills
        }
        # As recorded: a policy is sent only where the task's own would take longer.
        assert graces == {"own": None, "long": 1.0, "none": 1.0}

        executor.report("own", mesos.TASK_KILLED, uuid=b"1" * 16)
        executor.report("long", mesos.TASK_FINISHED, uuid=b"2" * 16)
        executor.report("none", mesos.TASK_KILLING, uuid=b"3" * 16)
        await w.clock.settle()
        assert w.master.updates() == [
            ("own", "TASK_KILLED", "REASON_SLAVE_DRAINING"),
            ("long", "TASK_FINISHED", ""),
            ("none", "TASK_KILLING", "REASON_SLAVE_DRAINING"),
        ]
        await w.run(task_info("late"))
        assert w.master.updates()[-1] == ("late", "TASK_DROPPED", "REASON_SLAVE_DRAINING")


@pytest.mark.parametrize(
    ("is_aware", "mark_gone", "state"),
    [
        (True, True, "TASK_GONE_BY_OPERATOR"),
        (False, True, "TASK_KILLED"),
        (True, False, "TASK_KILLED"),
    ],
)
async def test_tasks_of_an_agent_that_will_be_gone_are_gone(tmp_path, is_aware, mark_gone, state):
    async with operating_world(tmp_path) as w:
        framework = framework_info(is_aware=is_aware)
        await w.run(patient_task("running"), framework=framework)
        executor = await w.executor("ex")
        queued = task_info("queued", executor_id="slow")
        await w.run(queued, framework=framework)
        w.master.say(drain(mark_gone=mark_gone))
        await w.clock.settle()
        executor.report("running", mesos.TASK_KILLED, uuid=b"1" * 16)
        await w.clock.settle()
        assert w.master.updates() == [
            ("queued", state, "REASON_SLAVE_DRAINING"),
            ("running", state, "REASON_SLAVE_DRAINING"),
        ]


async def test_a_drain_ends_when_nothing_is_left(tmp_path):
    async with operating_world(tmp_path) as w:
        await operate(w, reserve(DISK))
        await w.run(patient_task("t1"))
        executor = await w.executor("ex")
        w.master.say(drain(1))
        await w.clock.settle()
        executor.report("t1", mesos.TASK_KILLED, uuid=b"1" * 16)
        w.containers.last.end()
        await w.clock.settle()
        w.master.acknowledge(w.master.all(internal.StatusUpdateMessage)[-1])
        await w.clock.settle()
        await w.run(task_info("early"))  # an operation waits for acknowledgement still
        assert w.master.updates()[-1] == ("early", "TASK_DROPPED", "REASON_SLAVE_DRAINING")
        w.master.acknowledge_operation(w.master.all(internal.UpdateOperationStatusMessage)[-1])
        await w.clock.settle()
        launched = len(w.containers.launched)
        await w.run(task_info("later"))
        assert len(w.containers.launched) == launched + 1


async def test_an_idle_agent_is_drained_at_once(tmp_path):
    async with operating_world(tmp_path) as w:
        w.master.say(drain())
        await w.clock.settle()
        await w.run(task_info("t1"))
        assert len(w.containers.launched) == 1


async def test_a_negative_grace_period_is_ignored(tmp_path):
    async with operating_world(tmp_path) as w:
        await w.run(patient_task("t1"))
        executor = await w.executor("ex")
        w.master.say(drain(-1))
        await w.clock.settle()
        assert not [m for m in executor.heard if isinstance(m, internal.KillTaskMessage)]
