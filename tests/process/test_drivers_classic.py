"""The classic drivers: threads, callbacks and return values, over TCP with scripted peers."""

import asyncio
import inspect
import logging
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from actorproc import PID, Process, Runtime, TcpTransport
from cluster.core.driver_status import DriverMisuse
from cluster.errors import InvalidInput
from cluster.executor import Executor, MesosExecutorDriver
from cluster.scheduler import MesosSchedulerDriver, Scheduler, Status
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

DEADLINE_S = 30.0
FRAMEWORK = {"name": "classic"}
FRAMEWORK_ID = mesos.FrameworkID(value="fw")
AGENT_ID = mesos.SlaveID(value="S0")
TASK = {"name": "t", "task_id": {"value": "t"}, "agent_id": {"value": "S0"}}

pytestmark = pytest.mark.process


class Heard:
    """What came, in order, from any thread; waits with a deadline."""

    def __init__(self):
        self._items = []
        self._changed = threading.Condition()

    def add(self, *item):
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def names(self):
        with self._changed:
            return [item[0] for item in self._items]

    def wait(self, name):
        """The first item of that name."""

        def found():
            return [item for item in self._items if item[0] == name]

        with self._changed:
            assert self._changed.wait_for(found, DEADLINE_S), f"no {name}, only {self._items}"
            return found()[0]


class Peer(Process):
    """A scripted master or agent: keeps what it hears and answers as told."""

    def __init__(self, id, answers):
        super().__init__(id)
        self.answers = answers
        self.heard = Heard()
        self.partner = PID.EMPTY

    def initialize(self):
        for message in (
            scheduler.Call,
            internal.DeactivateFrameworkMessage,
            internal.RegisterExecutorMessage,
            internal.StatusUpdateMessage,
            internal.ExecutorToFrameworkMessage,
        ):
            self.install(message, self._on_message)

    def _on_message(self, sender, message):
        self.partner = sender
        name = type(message).__name__
        if isinstance(message, scheduler.Call):
            name = scheduler.Call.Type.Name(message.type)
        self.heard.add(name, message)
        for answer in self.answers.get(name, ()):
            self.send(sender, answer)


class Host:
    """A runtime in a thread of its own, with one peer in it."""

    def __init__(self, peer):
        self.peer = peer
        self.loop = asyncio.new_event_loop()
        self.pid: Future[PID] = Future()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._main(),))

    async def _main(self):
        self.end = asyncio.Event()
        async with Runtime(TcpTransport()) as runtime:
            self.pid.set_result(runtime.spawn(self.peer))
            await self.end.wait()

    def say(self, message):
        self.loop.call_soon_threadsafe(self.peer.send, self.peer.partner, message)


@contextmanager
def hosted(peer):
    host = Host(peer)
    host.thread.start()
    try:
        host.pid.result(DEADLINE_S)
        yield host
    finally:
        host.loop.call_soon_threadsafe(host.end.set)
        host.thread.join(DEADLINE_S)
        host.loop.close()


REGISTERED = internal.FrameworkRegisteredMessage(
    framework_id=FRAMEWORK_ID, master_info=mesos.MasterInfo(id="m", ip=1, port=5050)
)
OFFERS = internal.ResourceOffersMessage(
    offers=[
        mesos.Offer(
            id=mesos.OfferID(value="O1"),
            framework_id=FRAMEWORK_ID,
            slave_id=AGENT_ID,
            hostname="h",
        )
    ],
    pids=["slave(1)@127.0.0.1:1"],
)
UPDATE = internal.StatusUpdateMessage(
    update=internal.StatusUpdate(
        framework_id=FRAMEWORK_ID,
        timestamp=1.0,
        uuid=b"u" * 16,
        status=mesos.TaskStatus(
            task_id=mesos.TaskID(value="t"), state=mesos.TASK_FINISHED, slave_id=AGENT_ID
        ),
    ),
    pid="slave(1)@127.0.0.1:1",
)


def master(**answers):
    return Peer("master", {"SUBSCRIBE": [REGISTERED], **answers})


def address(host):
    return str(host.pid.result().address)


class Recording(Scheduler):
    """Keeps its callbacks; ``on`` maps a callback to what it does with the driver."""

    def __init__(self, **on):
        self.heard = Heard()
        self.on = on
        self.threads = set()

    def _take(self, name, driver, *args):
        self.threads.add(threading.current_thread())
        try:
            if name in self.on:
                self.on[name](driver, *args)
        finally:
            self.heard.add(name, *args)

    def registered(self, driver, frameworkId, masterInfo):
        self._take("registered", driver, frameworkId, masterInfo)

    def disconnected(self, driver):
        self._take("disconnected", driver)

    def resourceOffers(self, driver, offers):
        self._take("resourceOffers", driver, offers)

    def statusUpdate(self, driver, status):
        self._take("statusUpdate", driver, status)

    def error(self, driver, message):
        self._take("error", driver, message)


def test_a_whole_life_with_calls_from_inside_callbacks():
    scheduler_ = Recording(
        resourceOffers=lambda driver, offers: driver.launchTasks(offers[0].id, [TASK]),
        statusUpdate=lambda driver, status: driver.stop(),
    )
    with hosted(master(SUBSCRIBE=[REGISTERED, OFFERS], ACCEPT=[UPDATE])) as host:
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        assert driver.status is Status.DRIVER_NOT_STARTED
        assert driver.run() is Status.DRIVER_STOPPED

        host.peer.heard.wait("TEARDOWN")
        assert host.peer.heard.names() == ["SUBSCRIBE", "ACCEPT", "TEARDOWN"]
        assert scheduler_.heard.names() == ["registered", "resourceOffers", "statusUpdate"]
        assert len(scheduler_.threads) == 1
        assert driver.framework_id == "fw"
        info = host.peer.heard.wait("SUBSCRIBE")[1].subscribe.framework_info
        assert info.user
        assert info.hostname


def test_an_update_is_acknowledged_after_its_callback():
    scheduler_ = Recording()
    with hosted(master(SUBSCRIBE=[REGISTERED, UPDATE])) as host:
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        driver.start()
        assert host.peer.heard.wait("ACKNOWLEDGE")[1].acknowledge.uuid == b"u" * 16
        assert scheduler_.heard.names() == ["registered", "statusUpdate"]
        assert driver.connected
        driver.stop()
        assert driver.join() is Status.DRIVER_STOPPED


def test_explicit_acknowledgements():
    scheduler_ = Recording(
        statusUpdate=lambda driver, status: driver.acknowledgeStatusUpdate(status)
    )
    with hosted(master(SUBSCRIBE=[REGISTERED, UPDATE])) as host:
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host), 0)
        driver.start()
        host.peer.heard.wait("ACKNOWLEDGE")
        driver.stop(True)
        driver.join()
        assert host.peer.heard.names() == ["SUBSCRIBE", "ACKNOWLEDGE"]


def test_an_exception_in_a_callback_aborts(caplog):
    scheduler_ = Recording(resourceOffers=lambda driver, offers: offers[7])
    with hosted(master(SUBSCRIBE=[REGISTERED, OFFERS, UPDATE])) as host:
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        with caplog.at_level(logging.ERROR):
            assert driver.run() is Status.DRIVER_ABORTED
        host.peer.heard.wait("DeactivateFrameworkMessage")
        assert scheduler_.heard.names() == ["registered", "resourceOffers"]
        assert "IndexError" in caplog.text
        assert driver.stop() is Status.DRIVER_ABORTED
        assert driver.join() is Status.DRIVER_STOPPED


def test_a_refusal_finds_the_driver_aborted():
    seen = []
    scheduler_ = Recording(error=lambda driver, message: seen.append((driver.status, message)))
    refusal = internal.FrameworkErrorMessage(message="Framework has been removed")
    with hosted(Peer("master", {"SUBSCRIBE": [refusal]})) as host:
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        assert driver.run() is Status.DRIVER_ABORTED
        assert seen == [(Status.DRIVER_ABORTED, "Framework has been removed")]


def test_joining_inside_a_callback_is_refused():
    caught = []

    def join(driver, *args):
        try:
            driver.join()
        except DriverMisuse as error:
            caught.append(error)
        driver.stop()

    with hosted(master()) as host:
        assert (
            MesosSchedulerDriver(Recording(registered=join), FRAMEWORK, address(host)).run()
            is Status.DRIVER_STOPPED
        )
    assert len(caught) == 1


def test_calls_from_many_threads_keep_the_order_of_each():
    count = 50
    with hosted(master()) as host:
        scheduler_ = Recording()
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        driver.start()
        scheduler_.heard.wait("registered")

        def ask(name):
            for number in range(count):
                assert driver.killTask(f"{name}-{number}") is Status.DRIVER_RUNNING

        threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        driver.stop()
        driver.join()
        host.peer.heard.wait("TEARDOWN")
        kills = [item[1].kill.task_id.value for item in host.peer.heard._items if item[0] == "KILL"]
        for name in "ab":
            assert [each for each in kills if each.startswith(name)] == [
                f"{name}-{number}" for number in range(count)
            ]


@pytest.mark.parametrize("master_text", ["nonsense", "zk://h:1/x", "no-such-host.invalid:5050"])
def test_a_master_string_that_cannot_be_used_aborts_with_the_error(master_text):
    scheduler_ = Recording()
    driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, master_text)
    assert driver.start() is Status.DRIVER_ABORTED
    assert driver.start() is Status.DRIVER_ABORTED
    assert driver.join() is Status.DRIVER_ABORTED
    (_, message) = scheduler_.heard.wait("error")
    assert message.startswith("master: ")


def test_an_address_in_use_aborts_with_the_error(monkeypatch):
    with hosted(master()) as host:
        monkeypatch.setenv("LIBPROCESS_PORT", str(host.pid.result().port))
        scheduler_ = Recording()
        driver = MesosSchedulerDriver(scheduler_, FRAMEWORK, address(host))
        assert driver.start() is Status.DRIVER_ABORTED
        assert str(host.pid.result().port) in scheduler_.heard.wait("error")[1]


def test_calls_of_a_driver_that_was_not_started_do_nothing():
    driver = MesosSchedulerDriver(Recording(), FRAMEWORK, "127.0.0.1:1")
    assert driver.killTask("t") is Status.DRIVER_NOT_STARTED
    assert driver.stop() is driver.abort() is driver.join() is Status.DRIVER_NOT_STARTED


def test_bad_arguments_are_named():
    with pytest.raises(InvalidInput, match=r"framework\.name"):
        MesosSchedulerDriver(Recording(), {}, "127.0.0.1:1")
    with pytest.raises(InvalidInput, match="credential"):
        MesosSchedulerDriver(Recording(), FRAMEWORK, "127.0.0.1:1", 1, {"principal": "p"})
    with pytest.raises(InvalidInput, match="suppressedRoles"):
        MesosSchedulerDriver(Recording(), FRAMEWORK, "127.0.0.1:1", suppressedRoles="dev")


# name -> its arguments without self, in order (drivers.md §1)
SCHEDULER_CALLBACKS = {
    "registered": ["driver", "frameworkId", "masterInfo"],
    "reregistered": ["driver", "masterInfo"],
    "disconnected": ["driver"],
    "resourceOffers": ["driver", "offers"],
    "offerRescinded": ["driver", "offerId"],
    "inverseOffers": ["driver", "offers"],
    "inverseOfferRescinded": ["driver", "offerId"],
    "statusUpdate": ["driver", "status"],
    "frameworkMessage": ["driver", "executorId", "slaveId", "message"],
    "slaveLost": ["driver", "slaveId"],
    "executorLost": ["driver", "executorId", "slaveId", "status"],
    "error": ["driver", "message"],
}
SCHEDULER_CALLS = {
    "start": [],
    "stop": ["failover"],
    "abort": [],
    "join": [],
    "run": [],
    "requestResources": ["requests"],
    "launchTasks": ["offerIds", "tasks", "filters"],
    "acceptOffers": ["offerIds", "operations", "filters"],
    "declineOffer": ["offerId", "filters"],
    "killTask": ["taskId"],
    "reviveOffers": ["roles"],
    "suppressOffers": ["roles"],
    "acknowledgeStatusUpdate": ["status"],
    "sendFrameworkMessage": ["executorId", "slaveId", "data"],
    "reconcileTasks": ["statuses"],
    "acceptInverseOffers": ["offer_ids", "filters"],
    "declineInverseOffer": ["offer_ids", "filters"],
    "updateFramework": ["frameworkInfo", "suppressedRoles", "offerConstraints"],
}
EXECUTOR_CALLBACKS = {
    "registered": ["driver", "executorInfo", "frameworkInfo", "slaveInfo"],
    "reregistered": ["driver", "slaveInfo"],
    "disconnected": ["driver"],
    "launchTask": ["driver", "task"],
    "killTask": ["driver", "taskId"],
    "frameworkMessage": ["driver", "message"],
    "shutdown": ["driver"],
    "error": ["driver", "message"],
}
EXECUTOR_CALLS = {
    "start": [],
    "stop": [],
    "abort": [],
    "join": [],
    "run": [],
    "sendStatusUpdate": ["status"],
    "sendFrameworkMessage": ["data"],
}


@pytest.mark.parametrize(
    ("owner", "table"),
    [
        (Scheduler, SCHEDULER_CALLBACKS),
        (MesosSchedulerDriver, SCHEDULER_CALLS),
        (Executor, EXECUTOR_CALLBACKS),
        (MesosExecutorDriver, EXECUTOR_CALLS),
    ],
)
def test_names_and_argument_order_are_those_of_the_interface(owner, table):
    for name, arguments in table.items():
        assert list(inspect.signature(getattr(owner, name)).parameters)[1:] == arguments
        snake = "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
        if owner in (MesosSchedulerDriver, MesosExecutorDriver):
            assert callable(getattr(owner, snake))


# ---- executors


class RecordingExecutor(Executor):
    def __init__(self, **on):
        self.heard = Heard()
        self.on = on

    def _take(self, name, driver, *args):
        if name in self.on:
            self.on[name](driver, *args)
        self.heard.add(name, *args)

    def registered(self, driver, executorInfo, frameworkInfo, slaveInfo):
        self._take("registered", driver, executorInfo)

    def launchTask(self, driver, task):
        self._take("launchTask", driver, task)

    def shutdown(self, driver):
        self._take("shutdown", driver)


def agent(*more):
    registered = internal.ExecutorRegisteredMessage(
        executor_info=mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="ex")),
        framework_id=FRAMEWORK_ID,
        framework_info=mesos.FrameworkInfo(user="u", name="n"),
        slave_id=AGENT_ID,
        slave_info=mesos.SlaveInfo(hostname="h"),
    )
    return Peer("slave(1)", {"RegisterExecutorMessage": [registered, *more]})


def executor_environ(host):
    return {
        "MESOS_FRAMEWORK_ID": "fw",
        "MESOS_EXECUTOR_ID": "ex",
        "MESOS_SLAVE_ID": "S0",
        "MESOS_SLAVE_PID": str(host.pid.result()),
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "1secs",
    }


RUN_TASK = internal.RunTaskMessage(
    framework=mesos.FrameworkInfo(user="u", name="n"),
    task=mesos.TaskInfo(name="t", task_id=mesos.TaskID(value="t"), slave_id=AGENT_ID),
)


def test_an_executor_runs_reports_and_is_shut_down(monkeypatch):
    def report(driver, task):
        threading.Thread(  # as interface asks: launchTask must not wait
            target=driver.sendStatusUpdate,
            args=({"task_id": {"value": task.task_id.value}, "state": "TASK_FINISHED"},),
        ).start()

    watchdogs: list[float] = []
    executor = RecordingExecutor(launchTask=report)
    with hosted(agent(RUN_TASK)) as host:
        for name, value in executor_environ(host).items():
            monkeypatch.setenv(name, value)
        driver = MesosExecutorDriver(executor, watchdog=watchdogs.append)
        assert driver.start() is Status.DRIVER_RUNNING
        update = host.peer.heard.wait("StatusUpdateMessage")[1].update
        assert update.status.state == mesos.TASK_FINISHED
        driver.sendFrameworkMessage(b"done")
        assert host.peer.heard.wait("ExecutorToFrameworkMessage")[1].data == b"done"

        host.say(internal.ShutdownExecutorMessage())
        assert driver.join() is Status.DRIVER_ABORTED
        assert executor.heard.names() == ["registered", "launchTask", "shutdown"]
        assert watchdogs == [1.0]


HANGING = """
    import sys, time
    from cluster.executor import Executor, MesosExecutorDriver

    class Hanging(Executor):
        def shutdown(self, driver):
            print("hanging")
            time.sleep(1000)

    MesosExecutorDriver(Hanging()).run()
"""


def run_python(code, **environ):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_watchdog_ends_an_executor_that_hangs_in_its_shutdown():
    with hosted(agent(internal.ShutdownExecutorMessage())) as host:
        process = run_python(HANGING, **executor_environ(host))
        stdout, _ = process.communicate(timeout=DEADLINE_S)
    assert stdout == "hanging\n"
    assert process.returncode == -9


@pytest.mark.parametrize("missing", ["MESOS_SLAVE_PID", "MESOS_FRAMEWORK_ID"])
def test_an_executor_started_by_hand_ends_with_one_line_and_status_2(missing):
    with hosted(agent()) as host:
        environ = executor_environ(host)
        del environ[missing]
        process = run_python(HANGING, **environ)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    (line,) = stderr.splitlines()
    assert missing in line


FORGETFUL = """
    import sys
    from cluster.scheduler import MesosSchedulerDriver, Scheduler

    class Stopping(Scheduler):
        def registered(self, driver, frameworkId, masterInfo):
            driver.stop()

    driver = MesosSchedulerDriver(Stopping(), {"name": "n"}, sys.argv[1])
    driver.start()
    while driver.status == 2:
        pass
"""


def test_the_last_messages_leave_although_the_program_does_not_join():
    with hosted(master()) as host:
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FORGETFUL), address(host)],
            timeout=DEADLINE_S,
            check=False,
        )
        host.peer.heard.wait("TEARDOWN")
    assert process.returncode == 0
