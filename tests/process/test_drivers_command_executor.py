"""The built-in command executor as a process of its own, with a scripted agent over TCP."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from actorproc import PID, Process, Runtime, TcpTransport
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

DEADLINE_S = 30.0
POLL_S = 0.005
FRAMEWORK_ID = mesos.FrameworkID(value="fw")
EXECUTOR_ID = mesos.ExecutorID(value="t")
AGENT_ID = mesos.SlaveID(value="S0")
AGENT_INFO = mesos.SlaveInfo(hostname="h")

pytestmark = pytest.mark.process


class FakeAgent(Process):
    """Registers the executor, gives it tasks, stores its updates, acknowledges them."""

    def __init__(self, tasks, *, can_show_killing=False, acknowledges=True):
        super().__init__("slave(1)")
        self.tasks = list(tasks)
        self.framework = mesos.FrameworkInfo(user="u", name="n", id=FRAMEWORK_ID)
        if can_show_killing:
            self.framework.capabilities.add(type=mesos.FrameworkInfo.Capability.TASK_KILLING_STATE)
        self.acknowledges = acknowledges
        self.executor = PID.EMPTY
        self.statuses = []
        self.reregistrations = []
        self.changed = asyncio.Condition()

    def initialize(self):
        self.install(internal.RegisterExecutorMessage, self._on_register)
        self.install(internal.ReregisterExecutorMessage, self._on_reregister)
        self.install(internal.StatusUpdateMessage, self._on_update)

    async def _on_register(self, sender, message):
        self.executor = sender
        self.say(
            internal.ExecutorRegisteredMessage(
                executor_info=mesos.ExecutorInfo(executor_id=message.executor_id),
                framework_id=message.framework_id,
                framework_info=self.framework,
                slave_id=AGENT_ID,
                slave_info=AGENT_INFO,
            )
        )
        for task in self.tasks:
            self.say(internal.RunTaskMessage(framework=self.framework, task=task))
        await self._tell()

    async def _on_reregister(self, sender, message):
        self.reregistrations.append(message)
        self.say(internal.ExecutorReregisteredMessage(slave_id=AGENT_ID, slave_info=AGENT_INFO))
        for update in message.updates:
            self._take(update)
        await self._tell()

    async def _on_update(self, sender, message):
        assert PID.parse(message.pid) == sender
        self._take(message.update)
        await self._tell()

    def _take(self, update):
        self.statuses.append(update.status)
        if self.acknowledges:
            self.say(
                internal.StatusUpdateAcknowledgementMessage(
                    slave_id=AGENT_ID,
                    framework_id=FRAMEWORK_ID,
                    task_id=update.status.task_id,
                    uuid=update.uuid,
                )
            )

    async def _tell(self):
        async with self.changed:
            self.changed.notify_all()

    def say(self, message):
        self.send(self.executor, message)

    def kill(self, task_id="t", grace_s=None):
        message = internal.KillTaskMessage(
            framework_id=FRAMEWORK_ID, task_id=mesos.TaskID(value=task_id)
        )
        if grace_s is not None:
            message.kill_policy.grace_period.nanoseconds = int(grace_s * 1e9)
        self.say(message)

    def states(self):
        return [mesos.TaskState.Name(status.state) for status in self.statuses]

    async def wait_state(self, state):
        async with self.changed:
            await asyncio.wait_for(
                self.changed.wait_for(lambda: state in self.states()), DEADLINE_S
            )
        return self.statuses[self.states().index(state)]


def command_task(value=None, *, task_id="t", arguments=None, **options):
    command = mesos.CommandInfo(shell=arguments is None, arguments=arguments or [])
    if value is not None:
        command.value = value
    for name, text in options.pop("environment", {}).items():
        command.environment.variables.add(name=name, value=text)
    return mesos.TaskInfo(
        name="t",
        task_id=mesos.TaskID(value=task_id),
        slave_id=AGENT_ID,
        command=command,
        **options,
    )


class Executor:
    """The process under test; its stdout and stderr are files in a sandbox."""

    def __init__(self, sandbox, agent_pid, **variables):
        self.sandbox = sandbox
        environ = {
            **os.environ,
            "MESOS_FRAMEWORK_ID": "fw",
            "MESOS_EXECUTOR_ID": "t",
            "MESOS_SLAVE_ID": "S0",
            "MESOS_SLAVE_PID": str(agent_pid),
            "MESOS_DIRECTORY": str(sandbox),
            "MESOS_CHECKPOINT": "0",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
            "LIBPROCESS_PORT": "0",
            **variables,
        }
        with open(sandbox / "stdout", "wb") as stdout, open(sandbox / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster.command_executor"],
                env=environ,
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def stdout(self):
        return (self.sandbox / "stdout").read_text()

    @property
    def stderr(self):
        return (self.sandbox / "stderr").read_text()

    async def wait(self):
        return await asyncio.to_thread(self.process.wait, DEADLINE_S)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@asynccontextmanager
async def running(sandbox, *tasks, variables=None, **options):
    """An agent with one executor that gets ``tasks``: yields both."""
    async with Runtime(TcpTransport()) as runtime:
        agent = FakeAgent(tasks, **options)
        executor = Executor(sandbox, runtime.spawn(agent), **(variables or {}))
        try:
            yield agent, executor
        finally:
            executor.end()


async def finished(tmp_path, *tasks, last="TASK_FINISHED", **options):
    async with running(tmp_path, *tasks, **options) as (agent, executor):
        status = await agent.wait_state(last)
        assert await executor.wait() == 0
        return agent, executor, status


@pytest.mark.asyncio
async def test_a_shell_command_runs_in_the_sandbox_with_its_environment(tmp_path):
    task = command_task(
        'echo "$GREETING $MESOS_TASK_ID"; echo problem >&2', environment={"GREETING": "hello"}
    )
    agent, executor, status = await finished(tmp_path, task)

    assert agent.states() == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert executor.stdout == "hello t\n"
    assert executor.stderr == "problem\n"
    assert status.message == "Command exited with status 0"
    for each in agent.statuses:
        assert each.source == mesos.TaskStatus.SOURCE_EXECUTOR
        assert each.executor_id == EXECUTOR_ID
        assert each.slave_id == AGENT_ID
        assert len(each.uuid) == 16
    assert not agent.statuses[1].HasField("data")


@pytest.mark.asyncio
async def test_an_argv_command_sees_its_arguments_as_they_are(tmp_path):
    script = "import sys; print(sys.argv[1:])"
    task = command_task(sys.executable, arguments=["python", "-c", script, "a b", "$HOME"])
    _, executor, _ = await finished(tmp_path, task)

    assert executor.stdout == "['a b', '$HOME']\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exit 7", "Command exited with status 7"),
        ("kill -SEGV $$", "Command terminated with signal Segmentation fault"),
        ("no-such-command-anywhere", "Command exited with status 127"),
    ],
)
async def test_a_command_that_fails(tmp_path, command, message):
    _, _, status = await finished(tmp_path, command_task(command), last="TASK_FAILED")
    assert status.message == message


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("task", "named"),
    [
        (command_task("/no/such/program", arguments=["x"]), "/no/such/program"),
        (command_task("nul\0byte", arguments=["x"]), "nul"),
        (command_task(), "task.command.value"),
    ],
)
async def test_a_command_that_cannot_be_started_is_named(tmp_path, task, named):
    agent, _, status = await finished(tmp_path, task, last="TASK_FAILED")
    assert agent.states() == ["TASK_STARTING", "TASK_FAILED"]
    assert named in status.message


@pytest.mark.asyncio
async def test_a_kill_ends_the_whole_process_tree(tmp_path):
    # The grandchild leaves the session of the command, and would survive a signal to its group.
    script = "setsid sleep 1000 & echo $! > grandchild; wait"
    task = command_task(f"cd {tmp_path}; {script}")
    async with running(tmp_path, task, can_show_killing=True) as (agent, executor):
        await agent.wait_state("TASK_RUNNING")
        grandchild = await _number_in(tmp_path / "grandchild")
        agent.kill()
        status = await agent.wait_state("TASK_KILLED")
        assert await executor.wait() == 0

    assert agent.states() == ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"]
    assert status.message == "Command terminated with signal Terminated"
    await _wait_gone(grandchild)


@pytest.mark.asyncio
async def test_a_command_that_ignores_the_request_is_forced_after_the_grace(tmp_path):
    task = command_task(
        "trap '' TERM; echo ready; while true; do sleep 0.05; done",
        kill_policy=mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=3_600 * 10**9)),
    )
    async with running(tmp_path, task) as (agent, executor):
        await agent.wait_state("TASK_RUNNING")
        await _until(lambda: executor.stdout == "ready\n")
        agent.kill()
        agent.kill(grace_s=0.2)  # a second kill shortens the hour of the first
        status = await agent.wait_state("TASK_KILLED")

    assert agent.states() == ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLED"]
    assert status.message == "Command terminated with signal Killed"


@pytest.mark.asyncio
async def test_a_command_that_takes_too_long_fails(tmp_path):
    task = command_task(
        "sleep 1000", max_completion_time=mesos.DurationInfo(nanoseconds=200_000_000)
    )
    _, _, status = await finished(tmp_path, task, last="TASK_FAILED")
    assert status.reason == mesos.TaskStatus.REASON_MAX_COMPLETION_TIME_REACHED


@pytest.mark.asyncio
async def test_a_second_task_fails_and_the_first_goes_on(tmp_path):
    os.mkfifo(tmp_path / "gate")
    first = command_task(f"cat {tmp_path}/gate")
    second = command_task("true", task_id="second")
    async with running(tmp_path, first, second) as (agent, executor):
        status = await agent.wait_state("TASK_FAILED")
        assert status.task_id.value == "second"
        await agent.wait_state("TASK_RUNNING")
        await asyncio.to_thread((tmp_path / "gate").write_text, "through\n")
        status = await agent.wait_state("TASK_FINISHED")
        assert status.task_id.value == "t"
        assert await executor.wait() == 0
    assert executor.stdout == "through\n"


@pytest.mark.asyncio
async def test_a_shutdown_kills_the_task_and_reports_it(tmp_path):
    async with running(tmp_path, command_task("sleep 1000")) as (agent, executor):
        await agent.wait_state("TASK_RUNNING")
        agent.say(internal.ShutdownExecutorMessage())
        await agent.wait_state("TASK_KILLED")
        assert await executor.wait() == 0


@pytest.mark.asyncio
async def test_it_leaves_without_the_acknowledgement_too(tmp_path):
    agent, _, _ = await finished(tmp_path, command_task("true"), acknowledges=False)
    assert agent.states()[-1] == "TASK_FINISHED"


@pytest.mark.asyncio
async def test_the_loss_of_the_agent_ends_the_executor_and_its_command(tmp_path):
    async with Runtime(TcpTransport()) as runtime:
        agent = FakeAgent([command_task(f"echo $$ > {tmp_path}/pid; exec sleep 1000")])
        executor = Executor(tmp_path, runtime.spawn(agent))
        await agent.wait_state("TASK_RUNNING")
        command = await _number_in(tmp_path / "pid")
    try:
        assert await executor.wait() == 0
    finally:
        executor.end()
    await _wait_gone(command)


@pytest.mark.asyncio
async def test_with_checkpointing_it_waits_for_the_agent_and_reports_what_happened(tmp_path):
    variables = {"MESOS_CHECKPOINT": "1", "MESOS_RECOVERY_TIMEOUT": "5mins"}
    os.mkfifo(tmp_path / "gate")
    task = command_task(f"cat {tmp_path}/gate")
    async with Runtime(TcpTransport()) as runtime:
        first = FakeAgent([task])
        executor = Executor(tmp_path, runtime.spawn(first), **variables)
        await first.wait_state("TASK_RUNNING")
        port = runtime.address.port
    try:
        await asyncio.to_thread((tmp_path / "gate").write_text, "done while away\n")
        async with Runtime(TcpTransport(port=port)) as runtime:
            second = FakeAgent([])
            runtime.spawn(second)
            second.executor = first.executor
            second.say(internal.ReconnectExecutorMessage(slave_id=AGENT_ID))
            status = await second.wait_state("TASK_FINISHED")
            assert await executor.wait() == 0
    finally:
        executor.end()
    assert status.message == "Command exited with status 0"
    assert len(second.reregistrations) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "variables", [{"MESOS_SLAVE_PID": "nonsense"}, {"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5"}]
)
async def test_a_wrong_environment_is_one_line_and_status_2(tmp_path, variables):
    executor = Executor(tmp_path, "slave(1)@127.0.0.1:1", **variables)
    assert await executor.wait() == 2
    (line,) = executor.stderr.splitlines()
    assert next(iter(variables)) in line


async def _until(condition):
    """Wait for something outside of our messages (a file, a process) to become true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a file or a process has no event to wait for
            await asyncio.sleep(POLL_S)


async def _number_in(path):
    await _until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


async def _wait_gone(pid):
    def is_gone():
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    await _until(is_gone)
