"""Agents and a scheduler that speak to a master over TCP with as little code as possible.

``python -m benchmarks.master_peers`` is one OS process of them, driven by JSON lines as in
``benchmarks.peers``; ``PeersProcess`` is its handle. Every agent is a peer of its own, as it would
be in a cluster: it listens on a port of its own, to which the master links, and it has a connection
of its own to the master. Messages are real and are read with httptools; nothing else of an agent is
here: no executors, no checkpoints, no retries.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import httptools
import uvloop

from benchmarks.peers import PeerProcess
from benchmarks.raw import ACCEPTED, END, CorkedConnection, head_of
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

VERSION = "1.11.0"
AGENT_ID = "agent(1)"
OLD_MASTER_ID = "5e3c6a0e-6c1f-4b0e-9d7a-0a4f3f1c2d9e"
"""Prefix of the ids that agents and frameworks bring along, as given by an earlier master."""
CONNECTING_MAX = 128  # connections being opened at a time, below the backlog of a listener
WAIT_S = 300.0  # for whatever is measured; a message that got lost must not hang the benchmark
DESCRIPTORS_PER_AGENT = 3  # it listens, it has a connection to the master and one from it
DESCRIPTORS_SPARE = 200
_TASK_RESOURCES = (("cpus", 0.1), ("mem", 32.0))
_AGENT_RESOURCES = (("cpus", 16.0), ("mem", 65536.0), ("disk", 65536.0))

Receive = Callable[[str, str, bytes], None]
"""Called with message name, sender and body."""


def framework_id(number: int) -> str:
    return f"{OLD_MASTER_ID}-{number:04d}"


def raise_descriptor_limit(wanted: int) -> int:
    """Raise the soft limit as far as needed and allowed; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class Receiver(asyncio.Protocol):
    """One accepted connection: every message is answered 202 and handed on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._sender = b""
        self._body = b""
        self._owed = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._owed:
            self._transport.write(ACCEPTED * self._owed)
            self._owed = 0

    # Called by the parser.

    def on_message_begin(self) -> None:
        self._path = b""

    def on_url(self, url: bytes) -> None:
        self._path += url  # in parts, when one read ends inside of it

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Libprocess-From":
            self._sender = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self._owed += 1
        self._receive(self._path.rpartition(b"/")[2].decode(), self._sender.decode(), body)


class Peer:
    """One libprocess address: it listens, and it has one connection to the master."""

    def __init__(self, process_id: str, ip: str) -> None:
        self._process_id = process_id
        self._ip = ip
        self._heads: dict[tuple[str, str], bytes] = {}

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Receiver(self.receive), self._ip, 0)
        self.pid = f"{self._process_id}@{self._ip}:{self._server.sockets[0].getsockname()[1]}"

    async def connect(self, master: str) -> None:
        ip, _, port = master.partition(":")
        self._master = f"master@{master}"
        _, self._link = await asyncio.get_running_loop().create_connection(
            CorkedConnection, ip, int(port), local_addr=(self._ip, 0)
        )

    def send(self, name: str, body: bytes, to: str = "") -> None:
        """Send a message; ``to`` is the master itself by default."""
        self._link.send(self.encoded(name, body, to))

    def encoded(self, name: str, body: bytes, to: str = "") -> bytes:
        head = self._heads.get((name, to))
        if head is None:
            head = self._heads[name, to] = head_of(name, self.pid, to or self._master)
        if not body:  # libprocess sends these without a body of length 0
            self._heads.pop((name, to))
            return head.replace(b"Transfer-Encoding: chunked\r\n", b"")
        return b"%b%x\r\n%b%b" % (head, len(body), body, END)

    def receive(self, name: str, sender: str, body: bytes) -> None:
        raise NotImplementedError


class SimulatedAgent(Peer):
    """One agent with running tasks, which answers pings and counts what it is told."""

    def __init__(self, crowd: Crowd, number: int, tasks: int, frameworks: int, ip: str) -> None:
        super().__init__(AGENT_ID, ip)
        self._crowd = crowd
        self.agent_id = f"{OLD_MASTER_ID}-S{number}"
        self._number = number
        self.tasks = [f"task-{number}-{index}" for index in range(tasks)]
        self._frameworks = [framework_id(index) for index in range(min(frameworks, tasks))]
        self._report = b""
        self._updates: dict[str, internal.StatusUpdateMessage] = {}

    def owner(self, index: int) -> str:
        """The framework of one task."""
        return self._frameworks[index % len(self._frameworks)]

    def prepare(self) -> None:
        """Write the report; it is the same every time."""
        message = internal.ReregisterSlaveMessage(version=VERSION)
        info = message.slave
        info.hostname = f"host-{self._number}"
        info.port = 5051
        info.id.value = self.agent_id
        info.checkpoint = True
        _add_resources(info.resources, _AGENT_RESOURCES)
        for capability in range(1, 9):
            message.agent_capabilities.add(type=capability)
        message.resource_version_uuid.value = uuid.uuid4().bytes
        for name in self._frameworks:
            _describe_framework(message.frameworks.add(), name)
        for index, task_id in enumerate(self.tasks):
            self._describe_task(message.tasks.add(), index, task_id)
        self._report = message.SerializeToString()

    def _describe_task(self, task: mesos.Task, index: int, task_id: str) -> None:
        task.name = task_id
        task.task_id.value = task_id
        task.framework_id.value = self.owner(index)
        task.slave_id.value = self.agent_id
        task.state = mesos.TASK_RUNNING
        task.user = "somebody"
        _add_resources(task.resources, _TASK_RESOURCES, role="*")
        task.statuses.add().CopyFrom(self._status(task_id))
        task.status_update_state = mesos.TASK_RUNNING
        task.status_update_uuid = task.statuses[0].uuid

    def _status(self, task_id: str) -> mesos.TaskStatus:
        status = mesos.TaskStatus(state=mesos.TASK_RUNNING, source=mesos.TaskStatus.SOURCE_EXECUTOR)
        status.task_id.value = task_id
        status.slave_id.value = self.agent_id
        status.executor_id.value = task_id
        status.timestamp = time.time()
        status.uuid = uuid.uuid4().bytes
        status.container_status.container_id.value = str(uuid.uuid4())
        info = status.container_status.network_infos.add()
        info.ip_addresses.add(ip_address=self._ip, protocol=mesos.NetworkInfo.IPv4)
        return status

    def reregister(self) -> None:
        self.send("mesos.internal.ReregisterSlaveMessage", self._report)

    def send_update(self, index: int) -> bytes:
        """Tell once more that a task runs; returns the id of the update."""
        task_id = self.tasks[index]
        message = self._updates.get(task_id)
        if message is None:
            message = self._updates[task_id] = internal.StatusUpdateMessage(pid=self.pid)
            update = message.update
            update.framework_id.value = self.owner(index)
            update.slave_id.value = self.agent_id
            update.executor_id.value = task_id
            update.status.CopyFrom(self._status(task_id))
            update.latest_state = mesos.TASK_RUNNING
        update_id = uuid.uuid4().bytes
        message.update.uuid = message.update.status.uuid = update_id
        message.update.timestamp = time.time()
        self.send("mesos.internal.StatusUpdateMessage", message.SerializeToString())
        return update_id

    def receive(self, name: str, sender: str, body: bytes) -> None:
        match name:
            case "mesos.internal.PingSlaveMessage":
                self.send("mesos.internal.PongSlaveMessage", b"", sender)
            case "mesos.internal.SlaveReregisteredMessage":
                self._crowd.on_reregistered()
            case "mesos.internal.StatusUpdateAcknowledgementMessage":
                acknowledgement = internal.StatusUpdateAcknowledgementMessage.FromString(body)
                self._crowd.on_acknowledged(acknowledgement.uuid)
            case "mesos.internal.ShutdownMessage":
                raise RuntimeError(f"{self.agent_id} is shut down: {body!r}")
            case _:
                pass  # an agent without executors has nothing to tell them


class SimulatedScheduler(Peer):
    """One framework that wants no offers and acknowledges every update."""

    def __init__(self, crowd: Crowd, number: int, ip: str) -> None:
        super().__init__(f"scheduler-{number}", ip)
        self._crowd = crowd
        self._framework_id = framework_id(number)

    def subscribe(self) -> None:
        call = scheduler.Call(type=scheduler.Call.SUBSCRIBE)
        call.framework_id.value = self._framework_id
        _describe_framework(call.subscribe.framework_info, self._framework_id)
        call.subscribe.suppressed_roles.append("*")
        self.send("mesos.scheduler.Call", call.SerializeToString())

    def receive(self, name: str, sender: str, body: bytes) -> None:
        match name:
            case "mesos.internal.StatusUpdateMessage":
                self._acknowledge(internal.StatusUpdateMessage.FromString(body).update)
            case "mesos.internal.FrameworkRegisteredMessage":
                self._crowd.on_subscribed()
            case "mesos.internal.FrameworkErrorMessage":
                raise RuntimeError(f"{self._framework_id} is refused: {body!r}")
            case _:
                pass

    def reconcile(self) -> None:
        call = scheduler.Call(type=scheduler.Call.RECONCILE)
        call.framework_id.value = self._framework_id
        call.reconcile.SetInParent()
        self.send("mesos.scheduler.Call", call.SerializeToString())

    def _acknowledge(self, update: internal.StatusUpdate) -> None:
        if not update.uuid:
            return self._crowd.on_reconciled()  # the master's own words
        call = scheduler.Call(type=scheduler.Call.ACKNOWLEDGE)
        call.framework_id.value = self._framework_id
        acknowledge = call.acknowledge
        acknowledge.slave_id.value = update.slave_id.value
        acknowledge.task_id.value = update.status.task_id.value
        acknowledge.uuid = update.uuid
        return self.send("mesos.scheduler.Call", call.SerializeToString())


class Crowd:
    """The peers of one OS process. Moments are of the system's monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.agents: list[SimulatedAgent] = []
        self.schedulers: list[SimulatedScheduler] = []
        self._left = 0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._sent: dict[bytes, tuple[int, int, float]] = {}
        self._updates_left = 0
        self._latencies: list[float] = []

    async def make_agents(
        self, first: int, count: int, tasks: int, frameworks: int, ip: str
    ) -> None:
        """Agents number ``first`` to ``first + count - 1``, all listening on ``ip``."""
        wanted = count * DESCRIPTORS_PER_AGENT + DESCRIPTORS_SPARE
        if (limit := raise_descriptor_limit(wanted)) < wanted:
            raise RuntimeError(f"needs {wanted} file descriptors, the limit is {limit}")
        for number in range(first, first + count):
            agent = SimulatedAgent(self, number, tasks, frameworks, ip)
            await agent.listen()
            agent.prepare()
            self.agents.append(agent)

    async def make_schedulers(self, count: int, ip: str) -> None:
        for number in range(count):
            self.schedulers.append(SimulatedScheduler(self, number, ip))
            await self.schedulers[-1].listen()

    async def connect(self, master: str) -> None:
        """Open every peer's connection to the master, a few at a time."""
        peers = [*self.agents, *self.schedulers]
        for start in range(0, len(peers), CONNECTING_MAX):
            some = peers[start : start + CONNECTING_MAX]
            await asyncio.gather(*(peer.connect(master) for peer in some))

    async def reregister(self) -> tuple[float, float]:
        """All agents at once; returns when the first byte left and the last answer came."""
        self._expect(len(self.agents))
        start_s = time.monotonic()
        for agent in self.agents:
            agent.reregister()
        return start_s, await self._finished()

    async def subscribe(self) -> None:
        self._expect(len(self.schedulers))
        for one in self.schedulers:
            one.subscribe()
        await self._finished()

    async def reconcile(self, tasks: int) -> tuple[float, float]:
        """Every framework asks for all of its tasks, which are so many together."""
        self._expect(tasks)
        start_s = time.monotonic()
        for one in self.schedulers:
            one.reconcile()
        return start_s, await self._finished()

    async def update(self, count: int, in_flight: int) -> tuple[float, float, list[float]]:
        """Send updates, so many unacknowledged at a time.

        Returns:
            When the first left, when the last was acknowledged, and the seconds that each took
            from agent to framework and back.
        """
        self._expect(1)
        self._updates_left, self._latencies = count - in_flight, []
        start_s = time.monotonic()
        for number in range(in_flight):
            place, index = number % len(self.agents), number // len(self.agents)
            self._send_update(place, index % len(self.agents[place].tasks))
        end_s = await self._finished()
        return start_s, end_s, self._latencies

    def _send_update(self, place: int, index: int) -> None:
        sent_s = time.monotonic()
        update_id = self.agents[place].send_update(index)
        self._sent[update_id] = (place, index, sent_s)

    def _expect(self, count: int) -> None:
        self._left = count
        self._done = asyncio.get_running_loop().create_future()

    async def _finished(self) -> float:
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._done
        except TimeoutError:
            raise RuntimeError(f"{self._left} answers are missing after {WAIT_S:g} s") from None

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set_result(time.monotonic())

    # What the peers hear.

    def on_reregistered(self) -> None:
        self._count()

    def on_subscribed(self) -> None:
        self._count()

    def on_reconciled(self) -> None:
        self._count()

    def on_acknowledged(self, update_id: bytes) -> None:
        place, index, sent_s = self._sent.pop(update_id)
        self._latencies.append(time.monotonic() - sent_s)
        if self._updates_left:
            self._updates_left -= 1
            self._send_update(place, (index + 1) % len(self.agents[place].tasks))
        elif not self._sent:
            self._count()


def _describe_framework(info: mesos.FrameworkInfo, name: str) -> None:
    info.user = "somebody"
    info.name = f"framework {name}"
    info.id.value = name
    info.failover_timeout = 3600.0
    info.checkpoint = True
    info.hostname = "localhost"
    info.roles.append("*")
    for capability in (mesos.FrameworkInfo.Capability.MULTI_ROLE, _PARTITION_AWARE):
        info.capabilities.add(type=capability)


_PARTITION_AWARE = mesos.FrameworkInfo.Capability.PARTITION_AWARE


def _add_resources(
    resources: Any, amounts: tuple[tuple[str, float], ...], *, role: str | None = None
) -> None:
    for name, amount in amounts:
        entry = resources.add(name=name, type=mesos.Value.SCALAR)
        entry.scalar.value = amount
        if role is not None:
            entry.allocation_info.role = role


class PeersProcess(PeerProcess):
    """Handle of one process of simulated peers; see ``Crowd`` for its commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.master_peers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


async def _serve() -> None:
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_end)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        result = await getattr(crowd, command["do"])(*command["with"])
        print(json.dumps(result), flush=True)


def _end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A peer that cannot go on must not be waited for."""
    loop.default_exception_handler(context)
    loop.stop()


def main() -> None:
    # The benchmark kills the master; that its peers notice is no news.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
