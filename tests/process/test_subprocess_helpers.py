"""Child processes and the reaper. Source: actor-runtime.md §11, behaviours 112 to 114."""

import asyncio
import gc
import json
import os
import signal
import sys
import textwrap
import threading

import psutil
import pytest

from actorproc import ProtocolMisuse, RealClock, VirtualClock
from actorproc.io import read, read_all, write
from actorproc.os_processes import (
    NULL,
    PIPE,
    ClosedReaper,
    Reaper,
    StartFailed,
    StartOptions,
    start,
    start_shell,
)
from actorproc.os_processes import reaper as reaper_module
from actorproc.os_processes.reaper import poll_interval_s
from tests.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

PYTHON = [sys.executable, "-S", "-c"]


def wait_for_zombie(pid):
    """Return once a child has ended, and leave it to be reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def within(awaitable, within_s=30):
    async with asyncio.timeout(within_s):
        return await awaitable


@pytest.fixture(params=["pidfd", "thread"])
def watching(request, monkeypatch):
    """Both ways to learn of a child's end."""
    if request.param == "thread":
        monkeypatch.setattr(reaper_module, "HAS_PIDFD", False)


@pytest.fixture(autouse=True)
def _no_descriptor_left():
    def opened():
        gc.collect()
        return set(os.listdir("/proc/self/fd"))

    before = opened()
    yield
    left = {
        fd: os.readlink(f"/proc/self/fd/{fd}")
        for fd in opened() - before
        if os.path.lexists(f"/proc/self/fd/{fd}")
    }
    assert not left


def code(status):
    return os.waitstatus_to_exitcode(status)


# Status.


@pytest.mark.parametrize(
    ("command", "want"),
    [("exit 0", 0), ("exit 1", 1), ("kill -TERM $$", -15), ("kill -KILL $$", -9)],
)
async def test_b112_the_wait_status_of_a_child(watching, command, want):
    child = await start_shell(command)
    status = await within(child.status())
    assert code(status) == want
    assert await child.status() == status
    assert child.has_ended
    assert not child.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_b112_a_child_that_was_sent_a_signal(watching, number):
    child = await start(["sleep", "600"])
    assert not child.has_ended
    assert child.send_signal(number)
    assert code(await within(child.status())) == -number


async def test_a_cancelled_waiter_changes_nothing(watching):
    child = await start_shell("read line; exit 3", StartOptions(stdin=PIPE))
    waiter = asyncio.ensure_future(child.status())
    other = asyncio.ensure_future(child.status())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    child.close_stdin()
    assert code(await within(other)) == 3
    assert code(await child.status()) == 3


async def test_b114_a_child_that_ended_long_ago_still_has_its_status(watching):
    child = await start_shell("exit 7")
    wait_for_zombie(child.pid)
    assert code(await within(child.status())) == 7


async def test_a_child_that_somebody_else_reaped_has_no_status():
    child = await start_shell("exit 7")
    os.waitpid(child.pid, 0)  # noqa: ASYNC222 - it ends at once
    assert await within(child.status()) is None


async def test_no_signal_handler_is_touched_and_threads_do_not_matter():
    before = signal.getsignal(signal.SIGCHLD)
    found = []

    def run():
        async def main():
            child = await start_shell("exit 4")
            found.append(code(await child.status()))

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == [4]
    assert signal.getsignal(signal.SIGCHLD) is before


async def test_many_children_at_once():
    children = [await start_shell(f"exit {number}") for number in range(20)]
    statuses = await within(asyncio.gather(*(child.status() for child in children)))
    assert [code(status) for status in statuses] == list(range(20))


# Streams.


async def test_b113_output_of_two_pages_to_a_pipe():
    script = "import sys; sys.stdout.write('x' * 8192); sys.stderr.write('oops')"
    options = StartOptions(stdout=PIPE, stderr=PIPE)
    async with await start([*PYTHON, script], options) as child:
        assert await within(read_all(child.stdout)) == b"x" * 8192
        assert await within(read_all(child.stderr)) == b"oops"
        assert await within(child.status()) == 0


async def test_input_comes_through_a_pipe():
    async with await start(["cat"], StartOptions(stdin=PIPE, stdout=PIPE)) as child:
        echo = asyncio.ensure_future(read_all(child.stdout))
        sent = b"0123456789" * 50_000
        await within(write(child.stdin, sent))
        child.close_stdin()
        assert await within(echo) == sent


async def test_streams_lead_to_files_and_descriptors(tmp_path):
    (tmp_path / "in").write_text("hello\n")
    (tmp_path / "out").write_text("before\n")
    with (tmp_path / "err").open("wb") as file:
        options = StartOptions(
            stdin=tmp_path / "in", stdout=str(tmp_path / "out"), stderr=file.fileno()
        )
        child = await start_shell("cat; echo bad >&2", options)
        assert await within(child.status()) == 0
        assert not file.closed
        os.fstat(file.fileno())  # ours stays open
    assert (tmp_path / "out").read_text() == "before\nhello\n"
    assert (tmp_path / "err").read_text() == "bad\n"


async def test_null_streams():
    options = StartOptions(stdin=NULL, stdout=NULL, stderr=NULL)
    child = await start_shell('test -z "$(cat)" && echo text && echo text >&2', options)
    assert await within(child.status()) == 0


@pytest.mark.parametrize("hooks", [(), (lambda pid: None,)], ids=["plain", "held back"])
async def test_b113_descriptors_off_the_list_are_closed(hooks):
    reading, writing = os.pipe()
    other_reading, other_writing = os.pipe()
    os.set_inheritable(other_writing, True)
    script = "import json, os; print(json.dumps(sorted(map(int, os.listdir('/proc/self/fd')))))"
    options = StartOptions(stdin=NULL, stdout=PIPE, keep_fds=(writing,), parent_hooks=hooks)
    async with await start([*PYTHON, script], options) as child:
        opened = set(json.loads(await within(read_all(child.stdout))))
    assert writing in opened
    assert other_writing not in opened
    assert len(opened - {0, 1, 2, writing}) == 1  # the list itself
    for fd in (reading, writing, other_reading, other_writing):
        os.close(fd)


# Environment, directory, session.


async def environment_of(options, python=PYTHON):
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    async with await start([*python, script], options) as child:
        return json.loads(await within(read_all(child.stdout)))


@pytest.mark.parametrize("hooks", [(), (lambda pid: None,)], ids=["plain", "held back"])
@pytest.mark.parametrize("lc", [{}, {"LC_CTYPE": "C"}])
async def test_b113_a_given_environment_replaces_ours(hooks, lc, monkeypatch, tmp_path):
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("LIBPROCESS_PORT", "5050")
    given = {"GIVEN": "ä=\n", "LIBPROCESS_PORT": "7", **lc}
    options = StartOptions(
        stdout=tmp_path / "out", env=given, parent_hooks=hooks, directory=tmp_path
    )
    child = await start(["env", "-0"], options, executable="/usr/bin/env")
    assert await within(child.status()) == 0
    seen = (tmp_path / "out").read_bytes().decode().split("\0")
    assert dict(each.split("=", 1) for each in seen if each) == given


async def test_our_environment_without_our_port(monkeypatch):
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("LIBPROCESS_PORT", "5050")
    monkeypatch.setenv("LIBPROCESS_ADVERTISE_PORT", "5051")
    monkeypatch.setenv("LIBPROCESS_IP", "127.0.0.1")
    seen = await environment_of(StartOptions(stdout=PIPE))
    assert seen["OURS"] == "1"
    assert seen["LIBPROCESS_PORT"] == "0"
    assert seen["LIBPROCESS_IP"] == "127.0.0.1"
    assert "LIBPROCESS_ADVERTISE_PORT" not in seen


async def test_directory_and_session(tmp_path):
    script = "import os; print(os.getcwd(), os.getsid(0) == os.getpid())"
    options = StartOptions(stdout=PIPE, directory=tmp_path, new_session=True)
    async with await start([*PYTHON, script], options) as child:
        assert await within(read_all(child.stdout)) == f"{tmp_path} True\n".encode()


async def test_arguments_are_passed_as_they_are():
    script = "import sys; print(sys.argv[1:])"
    for hooks in ((), (lambda pid: None,)):
        options = StartOptions(stdout=PIPE, parent_hooks=hooks)
        argv = [sys.executable, "-c", script, "a b", "", "$HOME", "-x", "ü", "\udcff"]
        async with await start(argv, options) as child:
            seen = await within(read_all(child.stdout))
        assert seen.decode() == f"{argv[3:]}\n"


async def test_the_first_argument_may_differ_from_the_program():
    options = StartOptions(stdout=PIPE, parent_hooks=(lambda pid: None,))
    async with await start(["name", "-c", "echo $0"], options, executable="/bin/sh") as child:
        assert await within(read_all(child.stdout)) == b"name\n"


# What cannot be started.


@pytest.mark.parametrize("hooks", [(), (lambda pid: None,)], ids=["plain", "held back"])
async def test_a_program_that_is_not_there(hooks):
    with pytest.raises(StartFailed, match=r"cannot start no-such-program: .*No such file"):
        await start(["no-such-program"], StartOptions(stdout=PIPE, parent_hooks=hooks))


@pytest.mark.parametrize("options", [StartOptions(directory="/none"), StartOptions(stdin="/none")])
async def test_a_place_that_is_not_there(options):
    with pytest.raises(StartFailed, match="/none"):
        await start(["true"], options)


@pytest.mark.parametrize("argv", [[], "text", ["a\0b"]])
async def test_arguments_that_are_none(argv):
    with pytest.raises(ProtocolMisuse, match="argv"):
        await start(argv)


# Parent hooks.


async def test_parent_hooks_run_before_the_program(tmp_path):
    mark = tmp_path / "mark"
    seen = []

    async def later(pid):
        await asyncio.sleep(0)
        seen.append(("later", pid, mark.exists()))

    options = StartOptions(
        parent_hooks=(lambda pid: seen.append(("first", pid, mark.exists())), later)
    )
    child = await start(["touch", str(mark)], options)
    assert await within(child.status()) == 0
    assert mark.exists()
    assert seen == [("first", child.pid, False), ("later", child.pid, False)]


async def test_a_failing_hook_kills_the_child(tmp_path):
    mark = tmp_path / "mark"
    pids = []

    def fail(pid):
        pids.append(pid)
        raise ValueError("no such cgroup")

    never = []
    options = StartOptions(stdin=PIPE, stdout=PIPE, parent_hooks=(fail, never.append))
    with pytest.raises(StartFailed, match="no such cgroup") as caught:
        await within(start(["touch", str(mark)], options))
    assert isinstance(caught.value.__cause__, ValueError)
    assert not psutil.pid_exists(pids[0])
    assert not mark.exists()
    assert never == []


async def test_a_start_cancelled_in_a_hook_kills_the_child(tmp_path):
    mark = tmp_path / "mark"
    pids = []

    async def wait(pid):
        pids.append(pid)
        await asyncio.Event().wait()

    options = StartOptions(parent_hooks=(wait,))
    starting = asyncio.ensure_future(start(["touch", str(mark)], options))
    await until(lambda: pids, "the hook runs")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not psutil.pid_exists(pids[0]), "the child is gone")
    assert not mark.exists()


async def test_a_child_killed_while_held_back_was_not_started():
    options = StartOptions(parent_hooks=(lambda pid: os.kill(pid, signal.SIGKILL),))
    with pytest.raises(StartFailed, match="ended before its program ran"):
        await within(start(["true"], options))


async def test_a_held_back_program_gets_ordinary_signals():
    options = StartOptions(stdout=PIPE, parent_hooks=(lambda pid: None,))
    async with await start(["cat", "/proc/self/status"], options) as child:
        status = (await within(read_all(child.stdout))).decode()
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")]
    assert not int(ignored, 16) & (1 << (signal.SIGPIPE - 1))


# Who outlives whom.


async def test_a_child_dies_with_its_parent():
    """A parent program starts a child that would run long, tells its pid and is killed."""
    parent_program = textwrap.dedent("""
        import asyncio
        from actorproc.os_processes import StartOptions, start

        async def main():
            options = StartOptions(dies_with_parent=True)
            child = await start(["sleep", "600"], options)
            print(child.pid, flush=True)
            await child.status()

        asyncio.run(main())
    """)
    command = [sys.executable, "-c", parent_program]
    async with await start(command, StartOptions(stdout=PIPE)) as parent:
        said = b""
        while not said.endswith(b"\n"):
            said += await within(read(parent.stdout, 100))
        pid = int(said)
        sleeping = psutil.Process(pid)
        assert sleeping.name() == "sleep"
        os.kill(parent.pid, signal.SIGKILL)
        await until(lambda: not is_alive(sleeping), "the child has died too")


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_tree_is_killed():
    options = StartOptions(new_session=True)
    child = await start_shell("sh -c 'sleep 600 & sleep 600' & sleep 600", options)
    root = psutil.Process(child.pid)
    await until(lambda: len(root.children(recursive=True)) == 4, "the tree has grown")
    tree = root.children(recursive=True)
    await within(child.kill_tree())
    assert code(await within(child.status())) == -9
    await until(lambda: not any(map(is_alive, tree)), "nobody is left")


async def test_a_session_is_killed_after_its_leader():
    options = StartOptions(new_session=True, stdout=PIPE)
    async with await start_shell("sleep 600 >/dev/null & echo $!", options) as child:
        orphan = psutil.Process(int(await within(read_all(child.stdout))))
        assert await within(child.status()) == 0
        assert is_alive(orphan)
    await until(lambda: not is_alive(orphan), "the session is gone")


async def test_leaving_the_block_kills_what_is_left():
    async with await start(["sleep", "600"], StartOptions(stdout=PIPE)) as child:
        pass
    assert child.has_ended
    assert child.stdout is None


async def test_forgotten_pipes_are_complained_about():
    child = await start(["true"], StartOptions(stdout=PIPE))
    await within(child.status())
    children = [child]
    del child
    with pytest.warns(ResourceWarning, match="not closed"):
        children.clear()


# The reaper.


@pytest.mark.parametrize(("command", "want"), [("exit 1", 1), ("kill -TERM $$", -15)])
async def test_b112_the_reaper_finds_the_status_at_its_next_look(command, want):
    clock = VirtualClock()
    reaper = Reaper(clock, polls=True)
    child = await start_shell(command, reaper=reaper)
    wait_for_zombie(child.pid)
    reaping = asyncio.ensure_future(reaper.reap(child.pid))
    await clock.advance(0.099)
    assert not reaping.done()
    await clock.advance(1)
    assert code(await within(reaping)) == want
    assert await child.status() == await reaping
    assert len(reaper) == 0
    reaper.close()


@pytest.mark.parametrize("polls", [True, False])
async def test_b114_a_grandchild_is_reaped_without_a_status(polls):
    clock = VirtualClock()
    reaper = Reaper(clock, polls=polls)
    options = StartOptions(stdin=PIPE, stdout=PIPE)
    command = "sleep 600 >/dev/null & echo $!; read line; kill $!; wait $!; read line"
    async with await start_shell(command, options) as child:
        said = b""
        while not said.endswith(b"\n"):
            said += await within(read(child.stdout, 100))
        grandchild = int(said)
        reaping = asyncio.ensure_future(reaper.reap(grandchild))
        await clock.advance(10)
        assert not reaping.done()
        await write(child.stdin, b"\n")
        await until(lambda: not psutil.pid_exists(grandchild), "the grandchild is gone")
        if polls:
            assert not reaping.done()
            await clock.advance(1)
        assert await within(reaping) is None
        reaper.close()


@pytest.mark.parametrize("polls", [True, False])
async def test_b114_a_zombie_is_reaped_late(polls):
    clock = VirtualClock()
    reaper = Reaper(clock, polls=polls)
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {})  # noqa: ASYNC221 - returns at once
    wait_for_zombie(pid)
    reaping = [asyncio.ensure_future(reaper.reap(pid)) for _ in range(2)]
    await clock.advance(0)
    reaping[0].cancel()  # one waiter less
    await clock.advance(1)
    assert code(await within(reaping[1])) == 5
    reaper.close()


async def test_a_process_that_is_not_there_is_gone():
    for polls in (True, False):
        clock = VirtualClock()
        reaper = Reaper(clock, polls=polls)
        reaping = asyncio.ensure_future(reaper.reap(2**22 + 1))
        await clock.advance(1)
        assert await within(reaping) is None
        reaper.close()


async def test_the_reaper_refuses_what_is_no_process():
    reaper = Reaper(RealClock())
    for pid in (0, -1):
        with pytest.raises(ProtocolMisuse, match="pid"):
            await reaper.reap(pid)


@pytest.mark.parametrize("polls", [True, False])
async def test_a_closed_reaper_tells_its_waiters(polls):
    reaper = Reaper(RealClock(), polls=polls)
    reaping = asyncio.ensure_future(reaper.reap(os.getpid()))
    await asyncio.sleep(0)
    reaper.close()
    with pytest.raises(ClosedReaper):
        await within(reaping)
    with pytest.raises(ClosedReaper):
        await reaper.reap(os.getpid())


@pytest.mark.parametrize(
    ("watched", "want_s"), [(1, 0.1), (50, 0.1), (275, 0.55), (500, 1.0), (9_999, 1.0)]
)
async def test_the_more_processes_the_rarer_the_polls(watched, want_s):
    assert poll_interval_s(watched) == pytest.approx(want_s)
