"""Our scheduler driver in the place of the real one: recorded masters speak, answers are compared.

What the recorded master and agents sent is replayed; what the recorded program asked for is asked
of our driver; everything our driver sends must then equal, byte for byte, what the real driver
sent (the 1.11 driver; in b-test-framework the 1.12 one).
"""

import asyncio
import json
import re
from functools import partial
from typing import NamedTuple

import pytest

from actorproc import PID, InProcessNetwork, Process, Runtime, VirtualClock
from cluster.election.detector import StaticDetector
from cluster.scheduler import SchedulerDriver, Update
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.fixtures_dir import fixtures

CALL = "mesos.scheduler.Call"
DIRECT_MESSAGE = "mesos.internal.FrameworkToExecutorMessage"
DEACTIVATE = "mesos.internal.DeactivateFrameworkMessage"
SCENARIOS = [
    # (file, how many drivers talk in it, the update in whose callback the program stops)
    ("b-test-framework", 1, 10),
    ("d-agent-restart", 1, None),
    ("f-scheduler-failover", 5, None),
    ("g-driver-calls", 2, None),
]


class Line(NamedTuple):
    """One recorded message from or to a driver."""

    sender: str
    to: str
    name: str
    body: bytes


class Ear(Process):
    """Keeps every message a driver sends to one recorded process."""

    def __init__(self, pid, heard):
        super().__init__(pid.id)
        self._heard = heard

    def initialize(self):
        for name in (CALL, DIRECT_MESSAGE, DEACTIVATE):
            self.install(name, partial(self._keep, name))

    def _keep(self, name, sender, body):
        self._heard.append((str(self.pid), name, body))


def recorded(name):
    """Driver pid -> its messages, in order."""
    talks: dict[str, list[Line]] = {}
    for text in (fixtures() / "wire" / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(text)
        if record["kind"] != "message":
            continue
        line = Line(record["from"], record["to"], record["name"], bytes.fromhex(record["body_hex"]))
        for pid in (line.sender, line.to):
            if re.match("scheduler-", pid):
                talks.setdefault(pid, []).append(line)
    return talks


def ask(driver, line):
    """Do what the recorded program must have done for the driver to send this."""
    if line.name == DEACTIVATE:
        driver.abort()  # a no-op if a refusal was the reason
        return
    if line.name == DIRECT_MESSAGE:
        message = internal.FrameworkToExecutorMessage.FromString(line.body)
        driver.send_framework_message(message.executor_id, message.slave_id, message.data)
        return
    call = scheduler.Call.FromString(line.body)
    kinds = scheduler.Call
    match call.type:
        case kinds.ACCEPT:
            (launch,) = call.accept.operations
            tasks = launch.launch.task_infos
            driver.launch_tasks(call.accept.offer_ids, tasks, call.accept.filters)
        case kinds.DECLINE:
            driver.decline_offer(call.decline.offer_ids, call.decline.filters)
        case kinds.KILL:
            driver.kill_task(call.kill.task_id)
        case kinds.RECONCILE:
            driver.reconcile_tasks(
                {
                    "task_id": {"value": task.task_id.value},
                    "state": "TASK_RUNNING",
                    **({"slave_id": {"value": task.slave_id.value}} if task.slave_id.value else {}),
                }
                for task in call.reconcile.tasks
            )
        case kinds.REQUEST:
            driver.request_resources(call.request.requests)
        case kinds.SUPPRESS:
            driver.suppress_offers()
        case kinds.REVIVE:
            driver.revive_offers()
        case kinds.TEARDOWN:
            driver.stop()
        case kinds.SUBSCRIBE | kinds.ACKNOWLEDGE:
            pass  # these come by themselves
        case other:
            raise AssertionError(f"not foreseen: {other}")


async def replay(own_pid, lines, stop_at_update=None):
    """Returns what our driver sent: (to, message name, body) each."""
    heard: list[tuple[str, str, bytes]] = []
    network, clock = InProcessNetwork(), VirtualClock()
    first = scheduler.Call.FromString(lines[0].body)
    peers = dict.fromkeys(PID.parse(line.to) for line in lines if line.sender == own_pid)
    runtimes = []
    for pid in peers:
        runtime = Runtime(network.transport(pid.ip, pid.port), clock=clock)
        await runtime.start()
        runtime.spawn(Ear(pid, heard))
        runtimes.append(runtime)
    home = Runtime(network.transport("127.0.0.9", 9000), clock=clock)
    await home.start()
    runtimes.append(home)

    master = StaticDetector(PID.parse(lines[0].to))
    driver = SchedulerDriver(first.subscribe.framework_info, runtime=home, detector=master)
    async with driver:
        consuming = asyncio.create_task(consume(driver, stop_at_update))
        await clock.advance(0.0)
        for line in lines:
            if line.sender == own_pid:
                ask(driver, line)
            else:
                home.post(our_pid(driver), line.name, line.body, sender=PID.parse(line.sender))
            await clock.advance(0.0)
        driver.stop(failover=True)  # for those that were killed; a no-op after any other end
    await consuming
    for runtime in runtimes:
        await runtime.stop()
    return heard


def our_pid(driver):
    assert driver._actor is not None
    return driver._actor.pid


async def consume(driver, stop_at_update):
    updates = 0
    async for event in driver.events():
        updates += isinstance(event, Update)
        if updates == stop_at_update:
            driver.stop()


@pytest.mark.parametrize(("name", "drivers", "stop_at_update"), SCENARIOS)
def test_our_driver_says_what_the_real_one_said(name, drivers, stop_at_update):
    talks = recorded(name)
    assert len(talks) == drivers
    for pid, lines in talks.items():
        want = [(line.to, line.name, line.body) for line in lines if line.sender == pid]
        got = asyncio.run(asyncio.wait_for(replay(pid, lines, stop_at_update), 60))

        assert [each[:2] for each in got] == [each[:2] for each in want]
        for (_, message, ours), (_, _, theirs) in zip(got, want, strict=True):
            assert ours == theirs, (message, scheduler.Call.FromString(ours))


def test_a_driver_told_nothing_by_its_master_asks_and_waits():
    line = next(iter(recorded("g-driver-calls").values()))[0]

    got = asyncio.run(asyncio.wait_for(replay(line.sender, [line]), 60))

    assert [each[:2] for each in got] == [(line.to, CALL)]
