"""The containerizer with real processes: outputs, users, descendants, nothing left behind."""

import asyncio
import os
import pwd
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import uvloop

from cluster.containers.base import Command, ContainerConfig, LaunchFailed, Uri
from cluster.containers.posix import PosixContainerizer
from cluster.model.ids import ContainerId

pytestmark = pytest.mark.process

DEADLINE_S = 30.0
IS_ROOT = os.geteuid() == 0


def config(directory, value, *arguments, shell=None, environment=None, user=None, uris=()):
    directory.mkdir(parents=True, exist_ok=True)
    command = Command(value, arguments, shell if shell is not None else not arguments, uris)
    whole = {"PATH": os.environ["PATH"], "MESOS_DIRECTORY": str(directory)} | (environment or {})
    return ContainerConfig(directory.name, directory, command, whole, user)


async def run(one, **options):
    containerizer = PosixContainerizer(**options)
    await containerizer.launch(one)
    return await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)


async def until(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "waited too long"
        await asyncio.sleep(0.01)
    return found


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.asyncio
async def test_output_goes_to_files_in_the_sandbox(tmp_path):
    end = await run(config(tmp_path / "c", "pwd; echo oops >&2; cat"))
    assert end.wait_status == 0
    assert (tmp_path / "c/stdout").read_text() == f"{tmp_path / 'c'}\n"
    assert (tmp_path / "c/stderr").read_text() == "oops\n"
    assert (tmp_path / "c/stdout").stat().st_mode & 0o777 == 0o644


@pytest.mark.asyncio
async def test_the_environment_is_exactly_what_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NOT_INHERITED", "1")
    one = config(tmp_path / "c", "/usr/bin/env", "env", environment={"A": "b c\nd"})
    await run(one)
    shown = (tmp_path / "c/stdout").read_text()
    assert "A=b c\nd\n" in shown
    assert "NOT_INHERITED" not in shown
    assert len(shown.split("\n")) == len(one.environment) + 2  # one value has a line end


@pytest.mark.asyncio
async def test_argv_is_not_looked_at_by_a_shell(tmp_path):
    await run(config(tmp_path / "c", "printf", "printf", "%s|", "$HOME", "a  b", "*"))
    assert (tmp_path / "c/stdout").read_text() == "$HOME|a  b|*|"


@pytest.mark.asyncio
async def test_a_relative_program_is_found_in_the_sandbox(tmp_path):
    (tmp_path / "c").mkdir()
    program = tmp_path / "c/hello.sh"
    program.write_text("#!/bin/sh\necho hello $0\n")
    program.chmod(0o755)
    await run(config(tmp_path / "c", "./hello.sh", "name"))
    assert (tmp_path / "c/stdout").read_text().startswith("hello ")


@pytest.mark.asyncio
async def test_a_signal_is_told_as_such(tmp_path):
    end = await run(config(tmp_path / "c", "kill -TERM $$"))
    assert os.WIFSIGNALED(end.wait_status)
    assert os.WTERMSIG(end.wait_status) == signal.SIGTERM


@pytest.mark.parametrize(
    ("value", "arguments", "want"),
    [
        ("no-such-program", ("x",), "'no-such-program' was not found in PATH="),
        ("/no/such/program", ("x",), "/no/such/program does not exist"),
        ("/etc/passwd", ("x",), "not accessible"),
        ("", (), "command.value: must not be empty"),
        ("echo \0", (), "could not be started"),
    ],
)
@pytest.mark.asyncio
async def test_a_command_that_cannot_start_says_why(tmp_path, value, arguments, want):
    with pytest.raises(LaunchFailed) as caught:
        await run(config(tmp_path / "c", value, *arguments))
    assert want in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_missing_sandbox_and_an_impossible_variable_are_refused(tmp_path):
    one = config(tmp_path / "c", "true", environment={"A=B": "c"})
    with pytest.raises(LaunchFailed, match="environment variable name"):
        await run(one)
    for file in (tmp_path / "c").iterdir():
        file.unlink()
    (tmp_path / "c").rmdir()
    with pytest.raises(LaunchFailed, match="does not exist"):
        await run(
            ContainerConfig(
                ContainerId("c"), tmp_path / "c", Command("true"), {"PATH": os.environ["PATH"]}
            )
        )


@pytest.mark.asyncio
async def test_uris_need_a_fetcher(tmp_path):
    with pytest.raises(LaunchFailed, match="cannot fetch 'http://x/y'"):
        await run(config(tmp_path / "c", "true", uris=(Uri("http://x/y"),)))

    class Fetcher:
        async def fetch(self, uris, directory, user):
            (directory / "fetched").write_text(uris[0].value)

    one = config(tmp_path / "c", "cat fetched", uris=(Uri("http://x/y"),))
    await run(one, fetcher=Fetcher())
    assert (tmp_path / "c/stdout").read_text() == "http://x/y"


@pytest.mark.asyncio
async def test_output_is_not_written_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/stdout").symlink_to(victim)
    with pytest.raises(LaunchFailed):
        await run(config(tmp_path / "c", "echo overwritten"))
    assert victim.read_text() == "precious"


@pytest.mark.skipif(not IS_ROOT, reason="only root can switch users")
@pytest.mark.asyncio
async def test_runs_as_another_user_when_told(tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o711)
    nobody = pwd.getpwnam("nobody")
    end = await run(config(tmp_path / "c", "id -un; id -u; touch mine", user="nobody"))
    assert end.wait_status == 0
    assert (tmp_path / "c/stdout").read_text() == f"nobody\n{nobody.pw_uid}\n"
    assert (tmp_path / "c/mine").stat().st_uid == nobody.pw_uid
    assert (tmp_path / "c/stdout").stat().st_uid == nobody.pw_uid


@pytest.mark.skipif(not IS_ROOT, reason="only root can switch users")
@pytest.mark.asyncio
async def test_an_unknown_user_is_an_error_unless_users_are_not_switched(tmp_path):
    one = config(tmp_path / "c", "true", user="no-such-user")
    with pytest.raises(LaunchFailed, match="user 'no-such-user' does not exist"):
        await run(one)
    end = await run(one, switch_user=False)
    assert end.wait_status == 0


# A family in the shape of a hard case: a child, a grandchild that ignores SIGTERM, and a daemon
# that forked twice into a session of its own. Each writes its process id.
FAMILY = """
import os, signal, sys, time
def note(name):
    with open(name + ".tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(name + ".tmp", name)
if os.fork() == 0:
    note("child")
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("grandchild")
    time.sleep(1000)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note("daemon")
        time.sleep(1000)
    os._exit(0)
note("root")
time.sleep(1000)
"""
NAMES = ("child", "grandchild", "daemon", "root")


async def start_family(containerizer, directory):
    one = config(directory, sys.executable, "python", "-c", FAMILY)
    await containerizer.launch(one)
    await until(lambda: all((directory / name).exists() for name in NAMES))
    return one, {name: int((directory / name).read_text()) for name in NAMES}


@pytest.mark.asyncio
async def test_destroy_reaches_every_descendant(tmp_path):
    containerizer = PosixContainerizer()
    one, pids = await start_family(containerizer, tmp_path / "c")
    assert os.getsid(pids["child"]) == pids["root"]
    assert os.getsid(pids["daemon"]) != pids["root"]
    await containerizer.destroy(one.container_id)
    end = await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)
    assert end.wait_status == signal.SIGKILL
    assert [name for name, pid in pids.items() if is_alive(pid)] == []


@pytest.mark.asyncio
async def test_what_outlives_the_root_process_is_killed_with_it(tmp_path):
    containerizer = PosixContainerizer()
    one, pids = await start_family(containerizer, tmp_path / "c")
    os.kill(pids["root"], signal.SIGKILL)
    await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)
    assert [name for name, pid in pids.items() if is_alive(pid)] == []


@pytest.mark.asyncio
async def test_other_containers_are_not_touched(tmp_path):
    containerizer = PosixContainerizer()
    first, _ = await start_family(containerizer, tmp_path / "first")
    second, pids = await start_family(containerizer, tmp_path / "second")
    await containerizer.destroy(first.container_id)
    await asyncio.wait_for(containerizer.wait(first.container_id), DEADLINE_S)
    assert all(is_alive(pid) for pid in pids.values())
    await containerizer.destroy(second.container_id)
    await asyncio.wait_for(containerizer.wait(second.container_id), DEADLINE_S)


@pytest.mark.asyncio
async def test_orphans_of_an_earlier_containerizer_are_found_by_their_sandbox(tmp_path):
    earlier, later = PosixContainerizer(), PosixContainerizer()
    one, pids = await start_family(earlier, tmp_path / "work/c")
    assert await later.destroy_orphans(tmp_path / "wor") == 0  # not a prefix of names
    assert await later.destroy_orphans(tmp_path / "work") == len(pids)
    end = await asyncio.wait_for(earlier.wait(one.container_id), DEADLINE_S)
    assert end.wait_status == signal.SIGKILL
    assert [name for name, pid in pids.items() if is_alive(pid)] == []


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_zombie_and_no_descriptor_is_left(tmp_path, loop):
    async def many():
        containerizer = PosixContainerizer()
        await one_by_one(containerizer, tmp_path, "warm", 1)
        before = open_descriptors()
        await one_by_one(containerizer, tmp_path, "cold", 5)
        with pytest.raises(LaunchFailed):
            await containerizer.launch(config(tmp_path / "bad", "no-such", "x"))
        return before, open_descriptors()

    with asyncio.Runner(loop_factory=loop) as runner:
        before, after = runner.run(many())
    assert after <= before
    children = psutil.Process().children()
    assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []


async def one_by_one(containerizer, directory, name, count):
    for number in range(count):
        one = config(directory / f"{name}-{number}", "exit 3")
        await containerizer.launch(one)
        end = await asyncio.wait_for(containerizer.wait(one.container_id), DEADLINE_S)
        assert end.wait_status == 3 << 8


@pytest.mark.asyncio
async def test_the_loop_is_not_blocked_while_a_container_runs(tmp_path):
    containerizer = PosixContainerizer()
    one = config(tmp_path / "c", "sleep 1000")
    await containerizer.launch(one)
    waiting = asyncio.ensure_future(containerizer.wait(one.container_id))
    started_s = time.monotonic()
    for _ in range(100):
        await asyncio.sleep(0)
    assert time.monotonic() - started_s < 5.0
    await containerizer.destroy(one.container_id)
    await asyncio.wait_for(waiting, DEADLINE_S)


@pytest.mark.asyncio
async def test_works_without_pidfd(tmp_path, monkeypatch):
    def refuse(pid, flags=0):
        raise PermissionError("not on this kernel")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    end = await run(config(tmp_path / "c", "exit 4"))
    assert end.wait_status == 4 << 8
