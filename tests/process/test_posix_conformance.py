"""What every containerizer promises (`cluster.containers.base`), held by the real one and the fake.

A containerizer that comes later (cgroups, images) joins by one more entry in ``CONTAINERIZERS``.
"""

import asyncio
import itertools
import os

import pytest

from cluster.containers.base import Command, ContainerConfig, LaunchFailed, UnknownContainer
from cluster.containers.posix import PosixContainerizer
from cluster.model.ids import ContainerId
from tests.sim.agent_fakes import FakeContainerizer

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

CONTAINERIZERS = {"posix": PosixContainerizer, "fake": FakeContainerizer}
DEADLINE_S = 30.0
SIGKILL = 9


@pytest.fixture(params=CONTAINERIZERS)
def containerizer(request):
    return CONTAINERIZERS[request.param]()


@pytest.fixture
def config(tmp_path):
    """Make configurations with directories and ids of their own."""
    numbers = itertools.count()

    def make(command, **more):
        number = next(numbers)
        directory = tmp_path / str(number)
        directory.mkdir()
        environment = {"PATH": os.environ["PATH"], "MESOS_DIRECTORY": str(directory)}
        return ContainerConfig(
            ContainerId(f"container-{number}"), directory, Command(command), environment, **more
        )

    return make


async def test_the_exit_status_is_told_raw(containerizer, config):
    one = config("exit 7")
    os_pid = await containerizer.launch(one)
    assert os_pid > 0
    assert containerizer.containers() == (one.container_id,)
    end = await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)
    assert end.wait_status == 7 << 8
    assert containerizer.containers() == ()


async def test_destroy_ends_a_container(containerizer, config):
    one = config("sleep 1000")
    await containerizer.launch(one)
    waiting = asyncio.ensure_future(containerizer.wait(one.container_id))
    await containerizer.destroy(one.container_id)
    end = await asyncio.wait_for(waiting, DEADLINE_S)
    assert end.wait_status == SIGKILL


async def test_containers_are_independent(containerizer, config):
    first, second = config("sleep 1000"), config("sleep 1000")
    await containerizer.launch(first)
    await containerizer.launch(second)
    await containerizer.destroy(first.container_id)
    await asyncio.wait_for(containerizer.wait(first.container_id), DEADLINE_S)
    assert containerizer.containers() == (second.container_id,)
    await containerizer.destroy(second.container_id)
    await asyncio.wait_for(containerizer.wait(second.container_id), DEADLINE_S)


async def test_a_command_that_does_not_exist_leaves_nothing(containerizer, config):
    one = config("missing")
    one = ContainerConfig(
        one.container_id, one.directory, Command("missing", ("missing",), False), one.environment
    )
    with pytest.raises(LaunchFailed, match="'missing' was not found"):
        await containerizer.launch(one)
    assert containerizer.containers() == ()


async def test_an_id_is_used_once_at_a_time(containerizer, config):
    one = config("sleep 1000")
    await containerizer.launch(one)
    with pytest.raises(LaunchFailed, match="exists already"):
        await containerizer.launch(one)
    await containerizer.destroy(one.container_id)
    await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)


async def test_unknown_containers_cannot_be_waited_for_but_destroyed(containerizer, config):
    await containerizer.destroy("nobody")
    with pytest.raises(UnknownContainer):
        await containerizer.wait("nobody")


async def test_orphans_are_not_what_this_one_launched(containerizer, config, tmp_path):
    one = config("sleep 1000")
    await containerizer.launch(one)
    assert await containerizer.destroy_orphans(tmp_path) == 0
    assert await containerizer.destroy_orphans(tmp_path / "elsewhere") == 0
    assert containerizer.containers() == (one.container_id,)
    await containerizer.destroy(one.container_id)
    await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)


async def test_a_waiter_that_gives_up_leaves_the_container_to_the_next(containerizer, config):
    one = config("sleep 1000")
    await containerizer.launch(one)
    waiting = asyncio.ensure_future(containerizer.wait(one.container_id))
    await asyncio.sleep(0)
    with pytest.raises(UnknownContainer):
        await containerizer.wait(one.container_id)  # one waiter at a time
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await containerizer.destroy(one.container_id)
    end = await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)
    assert end.wait_status == SIGKILL
