"""Reservations and persistent volumes on a real agent: files, processes, restarts, TCP."""

import os
import time

import pytest

from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.resources import resources_from_pb
from tests.process.test_agent_executors import DEADLINE_S, Master, until, world
from tests.sim.agent_fakes import task_info
from tests.sim.test_agent_operations import (
    DISK,
    VOLUME,
    create,
    destroy,
    reserve,
    unreserve,
    volume_task,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


class OperatingMaster(Master):
    """Sends operations, keeps how they ended and acknowledges that."""

    def __init__(self):
        super().__init__()
        self.ended = {}
        self.version = b""
        self.checkpointed = ()

    def initialize(self):
        super().initialize()
        self.install(internal.UpdateOperationStatusMessage, self._on_operation)

    def _on_register(self, sender, message):
        self.version = message.resource_version_uuid.value
        self.checkpointed = resources_from_pb(message.checkpointed_resources)
        super()._on_register(sender, message)

    def _on_operation(self, sender, message):
        name = message.operation_uuid.value.decode().strip()
        self.ended[name] = mesos.OperationState.Name(message.status.state)
        self.say(
            internal.AcknowledgeOperationStatusMessage(
                operation_uuid=message.operation_uuid, status_uuid=message.status.uuid
            )
        )

    def operate(self, name, info):
        message = internal.ApplyOperationMessage(operation_info=info)
        message.operation_uuid.value = name.ljust(16).encode()
        message.resource_version_uuid.uuid.value = self.version
        self.say(message)


async def until_done(master, name):
    await until(lambda: name in master.ended)
    assert master.ended[name] == "OPERATION_FINISHED"


async def test_a_volume_outlives_its_task_and_its_agent(tmp_path):
    volume_path = tmp_path / "work/volumes/roles/ads/v"
    async with world(tmp_path, master=OperatingMaster()) as w:
        # In one breath, as a framework's single ACCEPT: nothing waits for anything.
        w.master.operate("reserve", reserve(DISK))
        w.master.operate("create", create(VOLUME))
        w.master.run(volume_task("writer", command="echo hello > data/file"))
        assert (await w.until_ended("writer"))[0] == "TASK_FINISHED"
        await until_done(w.master, "reserve")
        await until_done(w.master, "create")
        assert (volume_path / "file").read_text() == "hello\n"
        state = await w.state()
        assert state["reserved_resources"]["ads"]["disk"] == 256.0
        assert state["resources"]["disk"] == 4096.0
        w.daemon.process.kill()

    async with world(tmp_path, master=OperatingMaster()) as w:
        rest = mesos.Resource()
        rest.CopyFrom(DISK)
        rest.scalar.value = 128
        assert w.master.checkpointed == resources_from_pb([rest, VOLUME])
        w.master.run(volume_task("reader", command="cat data/file && sleep 1000"))
        await w.until_running("reader")
        await until(lambda: "hello\n" in (w.sandbox("reader") / "stdout").read_text())
        assert os.readlink(w.sandbox("reader") / "data") == str(volume_path)

        w.master.operate("too early", destroy(VOLUME))
        await until(lambda: "too early" in w.master.ended)
        assert w.master.ended["too early"] == "OPERATION_FAILED"
        assert (volume_path / "file").exists()

        kill = internal.KillTaskMessage()
        kill.framework_id.value, kill.task_id.value = "fw", "reader"
        w.master.say(kill)
        assert (await w.until_ended("reader"))[0] == "TASK_KILLED"
        w.master.operate("destroy", destroy(VOLUME))
        w.master.operate("unreserve", unreserve(DISK))
        await until_done(w.master, "destroy")
        await until_done(w.master, "unreserve")
        assert not volume_path.exists()
        assert (await w.state())["reserved_resources"] == {}
        assert w.sandbox("reader").is_dir()


async def test_a_drained_agent_ends_its_tasks_in_time(tmp_path):
    async with world(tmp_path, master=OperatingMaster()) as w:
        stubborn = task_info("stubborn", command="trap '' TERM; while :; do sleep 1; done")
        stubborn.kill_policy.grace_period.nanoseconds = 3_600_000_000_000
        w.master.run(stubborn)
        await w.until_running("stubborn")
        message = internal.DrainSlaveMessage()
        message.config.max_grace_period.nanoseconds = 500_000_000
        w.master.say(message)
        w.master.run(task_info("late"))
        assert (await w.until_ended("late"))[0] == "TASK_DROPPED"
        assert (await w.state())["drain_config"]["mark_gone"] is False
        assert (await w.until_ended("stubborn"))[0] == "TASK_KILLED"
        deadline_s = time.monotonic() + DEADLINE_S
        while "drain_config" in await w.state():
            assert time.monotonic() < deadline_s, "the drain does not end"
        w.master.run(task_info("after", command="true"))
        assert (await w.until_ended("after"))[0] == "TASK_FINISHED"
