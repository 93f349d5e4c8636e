"""A master's core with its real allocator, and everything around it pretended, in virtual time.

The stage feeds events, keeps timers and the registry, and turns each effect into a line. Writes to
the registry are durable at once unless the scenario delays them; allocation runs wait for ``run``
or for time to pass.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import fields, is_dataclass

from cluster.core.allocator import AllocatorOptions, HierarchicalAllocator
from cluster.core.master.core import MasterCore
from cluster.core.master.effects import (
    AnswerOperator,
    CancelTimer,
    EndMaster,
    Forward,
    Link,
    MasterEffect,
    RequestAllocationRun,
    SendAcknowledgement,
    SendAgentLost,
    SendAgentRegistered,
    SendAgentReregistered,
    SendAgentShutdown,
    SendApplyOperation,
    SendCheckpointResources,
    SendDrain,
    SendFrameworkError,
    SendInverseOffers,
    SendKillTask,
    SendOffers,
    SendOperationAcknowledgement,
    SendOperationStatus,
    SendReconcileOperations,
    SendRegistered,
    SendReport,
    SendRescind,
    SendRescindInverse,
    SendRunTask,
    SendRunTaskGroup,
    SendShutdownExecutor,
    SendShutdownFramework,
    SendToExecutor,
    SendUpdateFramework,
    StartObserver,
    StartTimer,
    StopObserver,
    TellObserver,
    TimerKey,
    Warn,
    WriteRegistry,
)
from cluster.core.master.events import (
    AllocationDue,
    AllocationIntervalElapsed,
    MasterEvent,
    RegistryRecovered,
    RegistryWritten,
)
from cluster.core.master.state import MasterOptions
from cluster.model.ids import FrameworkId, MasterId
from cluster.model.maintenance import Unavailability
from cluster.model.offers import InverseOffer, Offer
from cluster.model.operations import asked_for, change_name
from cluster.model.peers import PeerId
from cluster.model.tasks import ExecutorSpec, StatusReport, TaskSpec
from cluster.testing.scenarios.cast import Cast, PretendedOperation, PretendedTask
from cluster.testing.scenarios.notation import format_resources

START_S = 1000.0


class Unshuffled(random.Random):
    """Agents keep the order in which they came, so that a scenario can be read."""

    def shuffle(self, x: object) -> None:
        """Leave everything where it is."""


class Stage:
    """One scenario being played.

    Args:
        check: called with the core after each event, for checks beyond the core's own.
    """

    def __init__(self, check: Callable[[MasterCore], None] = lambda core: None) -> None:
        self.cast = Cast()
        self.now_s = START_S
        self.master_options = MasterOptions()
        self.allocator_options = AllocatorOptions()
        self.is_registry_slow = False
        self.shows_registry = False
        self.pending_writes: list[WriteRegistry] = []
        self._check = check
        self._masters_made = 0
        self._core: MasterCore | None = None
        self._allocator: HierarchicalAllocator | None = None
        self._is_run_due = False
        self._timers: list[tuple[float, int, TimerKey]] = []
        self._timer_events: dict[TimerKey, tuple[int, MasterEvent]] = {}
        self._timers_started = 0
        self._next_interval_s = START_S
        self._lines: list[str] = []
        self._requests = 0

    # The master ----------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        return self._core is not None

    @property
    def core(self) -> MasterCore:
        """The master, which begins with the first thing that happens."""
        if self._core is None:
            self.start_master()
        assert self._core is not None
        return self._core

    @property
    def allocator(self) -> HierarchicalAllocator:
        """The master's allocator."""
        _ = self.core
        assert self._allocator is not None
        return self._allocator

    def start_master(self) -> None:
        """A new master with empty books takes the place of the old one; its timers are gone."""
        name = "m" if self._masters_made == 0 else f"m{self._masters_made + 1}"
        self._masters_made += 1
        self._allocator = HierarchicalAllocator(self.allocator_options, Unshuffled(1))
        self._core = MasterCore(MasterId(name), self.master_options, self._allocator)
        self._is_run_due = False
        self.pending_writes.clear()
        self._timers.clear()
        self._timer_events.clear()
        self._next_interval_s = self.now_s + self.allocator_options.allocation_interval_s

    def restart_master(self) -> None:
        """Another master takes over what is durable."""
        durable = self.core.state.registry.value()
        self.start_master()
        self.feed(RegistryRecovered(durable))

    def feed(self, event: MasterEvent) -> None:
        """Let something happen now, and carry out what the master orders."""
        effects = self.core.handle(event, self.now_s)
        self._learn_names()
        self._lines += [line for effect in effects for line in self._perform(effect)]
        self.core.check_invariants()
        self.allocator.check_invariants()
        self._check(self.core)
        while self.pending_writes and not self.is_registry_slow:
            self.write()

    def _learn_names(self) -> None:
        """Ids that the master has just given get the names of those they were given to."""
        for agent in self.core.state.agents:
            known = self.cast.at_peer(agent.peer)
            if known is not None and not self.cast.has_name(agent.agent_id):
                # An agent that lost its memory comes back as another one.
                prime = "" if known.agent_id is None else "'"
                known.agent_id = agent.agent_id
                self.cast.name(agent.agent_id, f"{known.name}{prime}")
        for framework in self.core.state.frameworks:
            if framework.peer is not None and not self.cast.has_name(framework.framework_id):
                name = self.cast.name_of(framework.peer)
                self.cast.name(framework.framework_id, name)
                if name in self.cast.frameworks:
                    self.cast.frameworks[name].framework_id = framework.framework_id

    def next_request(self) -> int:
        self._requests += 1
        return self._requests

    def take_lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def say(self, line: str) -> None:
        self._lines.append(line)

    # What waits ----------------------------------------------------------------------------------

    def write(self) -> None:
        """The oldest registry write is durable."""
        write = self.pending_writes.pop(0)
        self.feed(RegistryWritten(write.operation, write.request))

    def run(self) -> bool:
        """The allocation run that is due; returns whether there was one."""
        if not self._is_run_due:
            return False
        self._is_run_due = False
        self.feed(AllocationDue())
        return True

    def advance(self, delta_s: float) -> None:
        """Let time pass: timers fire, intervals end, runs happen as they fall due."""
        end_s = self.now_s + delta_s
        self._run_in_time()
        while (next_s := self._next_s()) <= end_s:
            self.now_s = max(self.now_s, next_s)
            if self._next_interval_s <= self.now_s:
                self._next_interval_s += self.allocator_options.allocation_interval_s
                self._in_time(AllocationIntervalElapsed())
            else:
                _, generation, key = heapq.heappop(self._timers)
                armed = self._timer_events.get(key)
                if armed is not None and armed[0] == generation:
                    del self._timer_events[key]
                    self._in_time(armed[1])
            self._run_in_time()
        self.now_s = end_s

    def _next_s(self) -> float:
        timer_s = self._timers[0][0] if self._timers else float("inf")
        return min(timer_s, self._next_interval_s)

    def _run_in_time(self) -> None:
        before = len(self._lines)
        self.run()
        self._stamp(before)

    def _in_time(self, event: MasterEvent) -> None:
        before = len(self._lines)
        self.feed(event)
        self._stamp(before)

    def _stamp(self, before: int) -> None:
        stamp = f"{self.now_s - START_S:g}s"
        self._lines[before:] = [f"{stamp} {line}" for line in self._lines[before:]]

    # Effects -------------------------------------------------------------------------------------

    def _perform(self, effect: MasterEffect) -> list[str]:
        """Carry out an effect; returns the lines that tell of it."""
        match effect:
            case RequestAllocationRun():
                self._is_run_due = True
                return []
            case EndMaster(text):
                return [f"the master ends: {self.cast.with_names(text)}"]
            case WriteRegistry(operation):
                self.pending_writes.append(effect)
                return [f"registry: {self._plain(operation)}"] if self.shows_registry else []
            case StartTimer(key, delay_s, event):
                self._timers_started += 1
                self._timer_events[key] = (self._timers_started, event)
                heapq.heappush(self._timers, (self.now_s + delay_s, self._timers_started, key))
                return []
            case CancelTimer(key):
                self._timer_events.pop(key, None)
                return []
            case Link() | StartObserver() | TellObserver() | StopObserver():
                return []
            case Warn(_, text):
                return [f"warning: {self.cast.with_names(text)}"]
            case AnswerOperator(_, status, text):
                return [f"operator <- {status} {self.cast.with_names(text)}".rstrip()]
            case _:
                to = self.cast.name_of(effect.peer)
                return [f"{to} <- {line}" for line in self._message(effect, to)]

    def _message(self, effect: MasterEffect, to: str) -> list[str]:
        """What a peer is told, as the rest of a line."""
        name = self.cast.name_of
        match effect:
            case SendRegistered(_, framework_id, again):
                known = name(framework_id)
                return [f"registered{' again' if again else ''}" + (f" as {known}" * (known != to))]
            case SendFrameworkError(_, message):
                return [f"error: {self.cast.with_names(message)}"]
            case SendOffers(_, framework, drafts):
                shows_role = framework.roles != ("*",)
                lines = []
                for draft in sorted(drafts, key=lambda d: (d.offer.role, name(d.offer.agent_id))):
                    line = self._offer(draft.offer, shows_role=shows_role)
                    if draft.unavailability is not None:
                        line += f", unavailable {_when(draft.unavailability)}"
                    if draft.executor_ids:
                        line += f", runs {' '.join(draft.executor_ids)}"
                    lines.append(line)
                return lines
            case SendRescind(_, offer_id) | SendRescindInverse(_, offer_id):
                return [f"rescind {name(offer_id)}"]
            case SendInverseOffers(_, inverse_drafts):
                return [self._inverse_offer(draft.offer) for draft in inverse_drafts]
            case SendReport(_, report):
                return [self._report(report)]
            case SendDrain(_, config):
                grace_ns = config.max_grace_ns
                return ["drain" + ("" if grace_ns is None else f" within {grace_ns / 1e9:g}s")]
            case SendAgentLost(_, agent_id):
                return [f"agent {name(agent_id)} is lost"]
            case Forward(_, payload):
                return [str(payload)]
            case SendAgentRegistered(_, agent_id):
                known = name(agent_id)
                return ["registered" + (f" as {known}" * (known != to))]
            case SendAgentReregistered(_, _, missing):
                lost = [f"{r.task_id} {r.state.name}" for part in missing for r in part.reports]
                return ["registered again" + (f", missing {', '.join(lost)}" if lost else "")]
            case SendAgentShutdown(_, message):
                return [f"shut down: {self.cast.with_names(message)}"]
            case SendRunTask():
                return [self._run_task(effect)]
            case SendRunTaskGroup():
                return [self._run_group(effect)]
            case SendApplyOperation():
                return [self._apply(effect, to)]
            case SendOperationAcknowledgement(_, _, status_uuid):
                return [f"noted {status_uuid.decode()}"]
            case SendOperationStatus(_, _, status):
                text = f"operation {status.operation_id} {status.state.name}"
                return [text + (f": {self.cast.with_names(status.message)}" * bool(status.message))]
            case SendReconcileOperations(_, _, asked):
                ids = ", ".join(str(each.operation_id) for each in asked)
                return [f"what of operations {ids}?"]
            case SendCheckpointResources(_, resources):
                return [f"checkpoint {format_resources(resources)}"]
            case SendKillTask(_, framework_id, task_id):
                return [f"kill {task_id} of {name(framework_id)}"]
            case SendAcknowledgement(peer, _, framework_id, task_id, uuid):
                agent = self.cast.at_peer(peer)
                task = None if agent is None else agent.tasks.get((framework_id, task_id))
                if agent is not None and task is not None and task.uuid == uuid:
                    if task.sent is not None and task.sent.is_terminal:
                        del agent.tasks[framework_id, task_id]
                return [f"acknowledged {task_id} {uuid.decode()}"]
            case SendShutdownFramework(peer, framework_id):
                agent = self.cast.at_peer(peer)
                if agent is not None:
                    agent.end_framework(framework_id)
                return [f"end everything of {name(framework_id)}"]
            case SendShutdownExecutor(_, framework_id, executor_id):
                return [f"shut down {executor_id} of {name(framework_id)}"]
            case SendUpdateFramework(_, framework_id, _, framework_peer):
                known, place = name(framework_id), name(framework_peer)
                return [f"update {known}" + (f", now at {place}" * (place != known))]
            case SendToExecutor(_, _, framework_id, executor_id, data):
                return [f"to {executor_id} of {name(framework_id)}: {data.decode()}"]
            case _:
                return [self._plain(effect)]

    def _offer(self, offer: Offer, *, shows_role: bool) -> str:
        role = f" for {offer.role}" if shows_role else ""
        return (
            f"offer {self.cast.name_offer(offer)}: {self.cast.name_of(offer.agent_id)} "
            f"{format_resources(offer.resources)}{role}"
        )

    def _inverse_offer(self, offer: InverseOffer) -> str:
        agent = self.cast.name_of(offer.agent_id)
        name = self.cast.name_inverse_offer(offer)
        return f"inverse offer {name}: {agent}, unavailable {_when(offer.unavailability)}"

    def _report(self, report: StatusReport) -> str:
        text = f"{report.task_id} {report.state.name} ({report.reason.name})"
        if report.message:
            text += f": {self.cast.with_names(report.message)}"
        return text

    def _run_task(self, effect: SendRunTask) -> str:
        task, framework_id = effect.task, effect.framework_id
        text = f"run {task.task_id} of {self.cast.name_of(framework_id)}: "
        text += format_resources(task.resources)
        executor = task.executor
        if executor is not None:
            text += f" in {'new ' * effect.launch_executor}executor {executor.executor_id}"
        self._note_task(effect.peer, framework_id, task, executor, effect.role)
        return text

    def _run_group(self, effect: SendRunTaskGroup) -> str:
        for task in effect.tasks:
            self._note_task(effect.peer, effect.framework_id, task, effect.executor, effect.role)
        tasks = ", ".join(
            f"{task.task_id} {format_resources(task.resources)}" for task in effect.tasks
        )
        new = "new " * effect.launch_executor
        owner = self.cast.name_of(effect.framework_id)
        return f"run group of {owner} in {new}executor {effect.executor.executor_id}: {tasks}"

    def _note_task(
        self,
        peer: PeerId,
        framework_id: FrameworkId,
        task: TaskSpec,
        executor: ExecutorSpec | None,
        role: str,
    ) -> None:
        """The agent remembers what it was asked to run."""
        agent = self.cast.at_peer(peer)
        if agent is None:
            return
        executor_id = None if executor is None else executor.executor_id
        agent.tasks[framework_id, task.task_id] = PretendedTask(
            task.task_id, framework_id, executor_id, role, task.resources
        )
        if executor is not None:
            agent.executors[framework_id, executor.executor_id] = executor

    def _apply(self, effect: SendApplyOperation, to: str) -> str:
        name = f"X{len(self.cast.operations)}"
        self.cast.operations[name] = PretendedOperation(
            effect.uuid, to, effect.framework_id, effect.operation_id
        )
        self.cast.name(effect.uuid.hex(), name)
        resources = format_resources(asked_for(effect.change))
        return f"apply {name}: {change_name(effect.change)} {resources}"

    def _plain(self, value: object) -> str:
        """An effect or registry operation in words: its name and what it is about."""
        words = [_spaced(type(value).__name__)]
        if is_dataclass(value):
            words += [
                self.cast.name_of(part)
                for each in fields(value)
                if each.name != "peer" and isinstance(part := getattr(value, each.name), str)
            ]
        return " ".join(words)


def _when(unavailability: Unavailability) -> str:
    """Counted from the start of the story, as everywhere else."""
    start_s, duration_s = unavailability.start_s - START_S, unavailability.duration_s
    return f"from {start_s:g}s" + ("" if duration_s is None else f" for {duration_s:g}s")


def _spaced(name: str) -> str:
    """``MarkAgentGone`` as ``mark agent gone``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


__all__ = ["START_S", "Stage", "Unshuffled"]
