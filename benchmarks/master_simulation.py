"""The master's cores under a cluster of simulated agents and frameworks, in virtual time.

``python -m benchmarks.master_simulation --agents 50000`` prints its figures as JSON; it is a part
of ``benchmarks.master``. ``MasterCore`` and its allocator are the real ones, fed with events and
asked for effects directly: no sockets, no messages.

The master serves one event after the other, in the order of arrival, and every event takes as long
as it was measured to take (in processor time, so that other programs do not count): virtual time
passes by that much, and events that arrive meanwhile wait. So a core that is too slow shows as a
queue, and thus as overhead. Between master and peers a message takes ``NETWORK_S``. What the peers
decide takes no time::

    agent free ─► resources come back ─► allocation run ─► offer ─► ACCEPT ─► task runs for 30 s
                        ▲                                                          │
                        └───────────── TASK_FINISHED (acknowledged) ◄──────────────┘

Every framework takes as many of its tasks as fit into an offer. The overhead is measured at the
agent: from the end of a task to the start of the one that follows it in the same place. It holds
four times ``NETWORK_S``, the waiting and the work.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Callable

import psutil

from cluster.core.allocator import AllocatorOptions, HierarchicalAllocator
from cluster.core.master.core import MasterCore
from cluster.core.master.effects import (
    Forward,
    MasterEffect,
    RequestAllocationRun,
    SendAcknowledgement,
    SendAgentRegistered,
    SendOffers,
    SendRegistered,
    SendReport,
    SendRunTask,
    Warn,
    WriteRegistry,
)
from cluster.core.master.events import (
    AllocationDue,
    AllocationIntervalElapsed,
    CallReceived,
    MasterEvent,
    RegistrationReceived,
    RegistryWritten,
    StatusUpdateReceived,
    SubscribeReceived,
)
from cluster.core.master.state import MasterOptions
from cluster.master import collect_garbage_rarely
from cluster.model.agents import AgentCapability, AgentSpec
from cluster.model.calls import Accept, Acknowledge, Decline, Launch, Subscribe
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import AgentId, FrameworkId, MasterId, TaskId
from cluster.model.offers import Offer
from cluster.model.peers import PeerId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState
from cluster.model.tasks import StatusUpdate, TaskSpec, TaskStatusNote

TASK_S = 30.0
NETWORK_S = 0.0005  # one way, inside a data centre
INTERVAL_S = 1.0
REFUSE_S = 5.0  # of the rest of an offer: what drivers send when nobody says otherwise
ROLES = 20
WARM_UP_S = TASK_S * 2.5  # until the first tasks have ended and others have followed
TASK_RESOURCES = "cpus:1;mem:1024"

Action = Callable[[], None]


class Agent:
    """Runs tasks, and remembers since when each of its places is free.

    ``unused`` places have never had a task.
    """

    __slots__ = ("agent_id", "freed_s", "peer", "spec", "unused")

    def __init__(self, number: int, total: Resources, places: int) -> None:
        self.peer = PeerId(f"slave(1)@agent-{number}:5051")
        self.agent_id = AgentId("")
        self.freed_s: deque[float] = deque()
        self.unused = places
        self.spec = AgentSpec(
            hostname=f"agent-{number}",
            ip="10.0.0.1",
            checkpoint=True,
            total=total,
            version="1.11.0",
            capabilities=frozenset(AgentCapability),
            resource_version=None,
            payload=None,
        )


class Framework:
    """Wants as many tasks as it can get."""

    __slots__ = ("framework_id", "launched", "needs", "number", "peer", "role", "spec")

    def __init__(self, number: int) -> None:
        self.number = number
        self.peer = PeerId(f"scheduler-{number}@frameworks:1")
        self.framework_id = FrameworkId("")
        self.role = f"role-{number % ROLES}"
        self.launched = 0
        self.needs = Resources.parse(TASK_RESOURCES)
        self.spec = FrameworkSpec(
            framework_id=None,
            name=f"framework-{number}",
            user="somebody",
            roles=(self.role,),
            capabilities=frozenset(
                {FrameworkCapability.MULTI_ROLE, FrameworkCapability.PARTITION_AWARE}
            ),
            failover_timeout_s=3600.0,
            checkpoint=True,
            principal=None,
            payload=None,
        )

    def tasks_for(self, offer: Offer) -> tuple[TaskSpec, ...]:
        """As many as fit."""
        tasks = []
        left = offer.resources
        while left.contains(self.needs):
            left = left.minus_up_to(self.needs)
            tasks.append(
                TaskSpec(
                    task_id=TaskId(f"task-{self.number}-{self.launched}"),
                    agent_id=offer.agent_id,
                    resources=self.needs,
                    role=None,
                    executor=None,
                    has_limits=False,
                    defect=None,
                    info=None,
                )
            )
            self.launched += 1
        return tuple(tasks)


class Simulation:
    """The cluster. Times are seconds of virtual time since its start."""

    def __init__(self, agents: int, frameworks: int, tasks_per_agent: int, seed: int) -> None:
        self._rng = random.Random(seed)
        options = AllocatorOptions(allocation_interval_s=INTERVAL_S)
        allocator = HierarchicalAllocator(options, random.Random(seed))
        self._core = MasterCore(MasterId("master"), MasterOptions(), allocator)
        needs = Resources.parse(TASK_RESOURCES)
        total = Resources()
        for _ in range(tasks_per_agent):
            total += needs
        everybody = (Agent(number, total, tasks_per_agent) for number in range(agents))
        self._agents = {agent.peer: agent for agent in everybody}
        self._frameworks = {f.peer: f for f in (Framework(n) for n in range(frameworks))}
        self._agenda: list[tuple[float, int, Action]] = []
        self._entries = 0
        self._update_ids = 0
        self.now_s = 0.0
        self._free_from_s = 0.0
        # What is measured.
        self.is_measuring = False
        self.overheads_s: list[float] = []
        self.runs_s: list[float] = []
        self.busy_s = 0.0
        self.events = 0
        self.acknowledged = 0
        self.warnings: list[str] = []

    # Virtual time --------------------------------------------------------------------------------

    def run_until(self, end_s: float) -> None:
        agenda = self._agenda
        while agenda and agenda[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(agenda)
            action()

    def _at(self, when_s: float, action: Action) -> None:
        self._entries += 1  # what is due at the same time happens in the order of its planning
        heapq.heappush(self._agenda, (when_s, self._entries, action))

    def _to_master(self, event: MasterEvent, delay_s: float = NETWORK_S) -> None:
        self._at(self.now_s + delay_s, lambda: self._feed(event))

    def _feed(self, event: MasterEvent) -> None:
        """Let the master serve one event, as soon as it is done with those before."""
        begin_s = max(self.now_s, self._free_from_s)
        start_s = time.thread_time()
        effects = self._core.handle(event, begin_s)
        cost_s = time.thread_time() - start_s
        self._free_from_s = begin_s + cost_s
        if self.is_measuring:
            self.busy_s += cost_s
            self.events += 1
            if isinstance(event, AllocationDue):
                self.runs_s.append(cost_s)
        for effect in effects:
            self._perform(effect)

    # What the master orders ----------------------------------------------------------------------

    def _perform(self, effect: MasterEffect) -> None:
        arrival_s = self._free_from_s + NETWORK_S
        match effect:
            case RequestAllocationRun():
                # Behind everything that has arrived by then, as in the mailbox of the actor.
                self._at(self._free_from_s, lambda: self._feed(AllocationDue()))
            case WriteRegistry(operation):
                self._at(self._free_from_s, lambda: self._feed(RegistryWritten(operation)))
            case SendOffers():
                self._at(arrival_s, lambda: self._answer_offers(effect))
            case SendRunTask():
                self._at(arrival_s, lambda: self._start_task(effect))
            case Forward(peer, payload):
                self._at(arrival_s, lambda: self._acknowledge(peer, payload))
            case SendAcknowledgement():
                self.acknowledged += self.is_measuring
            case SendAgentRegistered(peer, agent_id):
                self._agents[peer].agent_id = agent_id
            case SendRegistered(peer, framework_id, _):
                self._frameworks[peer].framework_id = framework_id
            case SendReport(_, report, _):
                self.warnings.append(f"task {report.task_id}: {report.message}")
            case Warn(_, text):
                self.warnings.append(text)
            case _:
                pass  # links, timers and observers: nothing is lost here

    # What the peers do ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Everybody arrives, frameworks first."""
        for framework in self._frameworks.values():
            self._feed(SubscribeReceived(framework.peer, _subscribe(framework)))
        self.run_until(self._free_from_s)
        for agent in self._agents.values():
            self._to_master(RegistrationReceived(agent.peer, agent.spec))
        self._tick()

    def _tick(self) -> None:
        self._to_master(AllocationIntervalElapsed(), 0.0)
        self._at(self.now_s + INTERVAL_S, self._tick)

    def _answer_offers(self, effect: SendOffers) -> None:
        framework = self._frameworks[effect.peer]
        for draft in effect.offers:
            offer = draft.offer
            ids = (offer.offer_id,)
            tasks = framework.tasks_for(offer)
            call = Accept(ids, (Launch(tasks),), REFUSE_S) if tasks else Decline(ids, REFUSE_S)
            self._to_master(CallReceived(framework.peer, framework.framework_id, call))

    def _start_task(self, effect: SendRunTask) -> None:
        agent = self._agents[effect.peer]
        task_id, framework_id = effect.task.task_id, effect.framework_id
        lasts_s = TASK_S
        if agent.unused:
            # The first ones end evenly spread, and not before all are running: what ends together
            # would do so ever after.
            agent.unused -= 1
            lasts_s = self._rng.uniform(TASK_S, 2 * TASK_S)
        else:
            overhead_s = self.now_s - agent.freed_s.popleft()
            if self.is_measuring:
                self.overheads_s.append(overhead_s)
        self._report(agent, framework_id, task_id, TaskState.RUNNING)
        self._at(self.now_s + lasts_s, lambda: self._end_task(agent, framework_id, task_id))

    def _end_task(self, agent: Agent, framework_id: FrameworkId, task_id: TaskId) -> None:
        agent.freed_s.append(self.now_s)
        self._report(agent, framework_id, task_id, TaskState.FINISHED)

    def _report(
        self, agent: Agent, framework_id: FrameworkId, task_id: TaskId, state: TaskState
    ) -> None:
        self._update_ids += 1
        update_id = self._update_ids.to_bytes(16, "big")
        update = StatusUpdate(
            framework_id=framework_id,
            agent_id=agent.agent_id,
            task_id=task_id,
            executor_id=None,
            state=state,
            latest_state=state,
            uuid=update_id,
            note=TaskStatusNote(state, None),
            payload=Acknowledge(agent.agent_id, task_id, update_id),
        )
        self._to_master(StatusUpdateReceived(agent.peer, update))

    def _acknowledge(self, peer: PeerId, payload: object) -> None:
        framework = self._frameworks[peer]
        assert isinstance(payload, Acknowledge)
        self._to_master(CallReceived(peer, framework.framework_id, payload))

    def waiting_places(self) -> int:
        """Places whose last task has ended and where no other runs yet."""
        return sum(len(agent.freed_s) for agent in self._agents.values())


def _subscribe(framework: Framework) -> Subscribe:
    return Subscribe(framework.spec, force=False, suppressed_roles=frozenset())


def run(
    agents: int, frameworks: int, tasks_per_agent: int, seconds: float, seed: int
) -> dict[str, float]:
    """Simulate, after a warm-up, so many seconds of virtual time."""
    process = psutil.Process()
    collect_garbage_rarely()  # as the master's own process does
    before = process.memory_info().rss
    simulation = Simulation(agents, frameworks, tasks_per_agent, seed)
    simulation.begin()
    simulation.run_until(WARM_UP_S)
    simulation.is_measuring = True
    start_s = simulation.now_s
    simulation.run_until(start_s + seconds)
    if simulation.warnings:
        raise RuntimeError(f"{len(simulation.warnings)} warnings: {simulation.warnings[0]}")
    lasted_s = simulation.now_s - start_s
    overheads_s, runs_s = simulation.overheads_s, simulation.runs_s
    return {
        "agents": agents,
        "tasks": len(overheads_s),
        "tasks a second": len(overheads_s) / lasted_s,
        "acknowledgements": simulation.acknowledged,
        "launch overhead p50": statistics.median(overheads_s) * 1e3,
        "launch overhead p99": _p99(overheads_s) * 1e3,
        "launch overhead max": max(overheads_s) * 1e3,
        "places waiting at the end": simulation.waiting_places(),
        "events": simulation.events / simulation.busy_s,
        "allocation run p50": statistics.median(runs_s) * 1e3,
        "allocation run p99": _p99(runs_s) * 1e3,
        "allocation run max": max(runs_s) * 1e3,
        "load": simulation.busy_s / lasted_s * 100,
        "memory of an agent": (process.memory_info().rss - before) / agents / 1024,
    }


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.master_simulation")
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--frameworks", type=int, default=200)
    parser.add_argument("--tasks_per_agent", type=int, default=1, help="that fit at a time")
    parser.add_argument("--seconds", type=float, default=60.0, help="of virtual time, measured")
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args()
    figures = run(found.agents, found.frameworks, found.tasks_per_agent, found.seconds, found.seed)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
