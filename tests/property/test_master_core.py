"""Random stories for the master's core: a slow registry, lost links, stale timers, any order.

After each event the master's books and the allocator's are compared (see ``check_books``).
"""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.allocator.events import UnavailabilityChanged
from cluster.core.master.effects import AnswerOperator, SendReport, StartTimer
from cluster.core.master.events import (
    AgentAnswered,
    AgentPingsMissed,
    AgentUpdateReceived,
    AllocationDue,
    AllocationIntervalElapsed,
    CallReceived,
    ExecutorExited,
    OperationStatusReceived,
    OperatorCallReceived,
    PeerLost,
    RegistryGcDue,
    StatusUpdateReceived,
    SubscribeReceived,
    SubscribeRefused,
    UnregistrationReceived,
    WhitelistRead,
)
from cluster.core.master.tallies import OfferEnd
from cluster.model.agents import AgentCapability, AgentNews, ProviderReport
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperation,
    BrokenOperation,
    ChangeResources,
    Deactivate,
    Decline,
    DeclineInverseOffers,
    Kill,
    Launch,
    LaunchGroup,
    MessageExecutor,
    Reconcile,
    ReconcileOperations,
    RequestResources,
    ResourceRequest,
    Revive,
    ShutdownExecutor,
    Subscribe,
    Suppress,
    Teardown,
    UnsupportedCall,
    UnsupportedOperation,
    UpdateFramework,
    UpdateRefused,
)
from cluster.model.constraints import AgentFacts, OfferConstraints
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operations import (
    Create,
    CreateDisk,
    Destroy,
    DestroyDisk,
    Grow,
    OperationId,
    OperationReport,
    OperationState,
    OperationStatus,
    OperationUpdate,
    Reserve,
    Shrink,
    Unreserve,
)
from cluster.model.operator_calls import (
    CreateVolumes,
    DeactivateAgent,
    DestroyVolumes,
    DrainAgent,
    MarkAgentAsGone,
    ReactivateAgent,
    ReserveResources,
    StartMaintenance,
    StopMaintenance,
    TearDownFramework,
    UnreserveResources,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)
from cluster.model.peers import PeerId
from cluster.model.quotas import Quota
from cluster.model.resources import DiskSourceType, Resources
from cluster.model.task_states import TERMINAL_STATES, TaskState
from cluster.model.tasks import ExecutorSpec
from tests.unit.master.core_harness import (
    Harness,
    framework_spec,
    status_update,
    task_report,
    task_spec,
)
from tests.unit.master.operation_values import marked, provided, reserved, volume

AGENTS = [PeerId(f"slave(1)@10.0.0.{n}:5051") for n in (10, 11)]
SCHEDULERS = [PeerId(f"scheduler-{n}@10.0.0.20:{n}") for n in (1, 2, 3)]
TASKS = ("t", "u", "v")
TEXTS = ("cpus:1;mem:64", "cpus:4;mem:4096", "cpus:1;ports:[2-4]", "ports:[4-6]")
TOTAL = "cpus:4;mem:4096;disk:100;ports:[1-9]"
KEPT = ("cpus:1", "disk:40", "cpus:0.5;disk:10", "ports:[2-4]")
VOLUME = volume(10, "v")
SHARED = volume(10, "s", shared=True)
DISKS = (provided(5, id="raw"), provided(7, profile="x"))
OVERSUBSCRIBED = (Resources(), *(marked(Resources.parse(t), is_revocable=True) for t in TEXTS[:2]))
FEEDBACK = frozenset(FrameworkCapability)
SPECIAL = (SHARED, VOLUME, reserved("cpus:0.5"), OVERSUBSCRIBED[1], *DISKS)
EXECUTOR = ExecutorSpec(ExecutorId("e"), None, Resources.parse("cpus:0.1;mem:32"), None, "e")


class Story:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.harness = Harness(
            offer_timeout_s=self.rng.choice((None, 30.0)),
            completed_frameworks_max=2,
            completed_tasks_per_framework_max=2,
            unreachable_tasks_per_framework_max=2,
            removal_interval_s=self.rng.choice((0.0, 5.0)),
            registry_max_agent_count=1,
            agent_reregister_timeout_s=self.rng.choice((5.0, 600.0)),
            executors_per_agent_max=self.rng.choice((None, 1)),
        )
        self.harness.recover(
            admitted=self.rng.choice(((), ("m-S0", "foreign"))), gone=self.rng.choice(((), ("g",)))
        )
        self.asked = 0

    def step(self):
        pick = self.rng.choice
        self.harness.now_s += pick((0.0, 0.1, 1.0, 6.0))
        pick(
            (
                self._register,
                self._reregister,
                self._subscribe,
                self._subscribe,
                self._write,
                self._write,
                self._allocate,
                self._allocate,
                self._accept,
                self._accept,
                self._call,
                self._plan_maintenance,
                self._update,
                self._update,
                self._lose,
                self._fire,
                self._operate,
                self._operate_resources,
                self._answer_operation,
                self._tell,
                self._tell,
                self._disturb,
            )
        )()
        self._check_reports()

    def _framework_id(self):
        known = [f.framework_id for f in self.harness.state.frameworks]
        return self.rng.choice((*known, "m-0000"))

    def _agent_id(self):
        known = [a.agent_id for a in self.harness.state.agents]
        return self.rng.choice((*known, "m-S0", "foreign"))

    def _peer_of(self, framework_id):
        framework = self.harness.state.frameworks.get(framework_id)
        return (framework and framework.peer) or self.rng.choice(SCHEDULERS)

    def _register(self):
        peer = self.rng.choice(AGENTS)
        self.harness.register(peer=peer, ip=str(peer)[9:18], **self._shape())

    def _reregister(self):
        peer = self.rng.choice(AGENTS)
        framework_id = self._framework_id()
        names = self.rng.sample(TASKS, self.rng.randrange(3))
        reports = [
            replace(
                task_report(
                    name, framework_id, self.rng.choice(("RUNNING", "STAGING", "FINISHED"))
                ),
                resources=self._used(),
                role=self.rng.choice(("*", "a", "x")),
            )
            for name in names
        ]
        self.harness.reregister(
            reports,
            [framework_spec(FrameworkId(framework_id), checkpoint=self.rng.random() < 0.5)],
            [replace(EXECUTOR, framework_id=framework_id)] if self.rng.random() < 0.4 else (),
            agent_id=self._agent_id(),
            peer=peer,
            ip=str(peer)[9:18],
            **self._shape(),
        )

    def _used(self):
        """What a task may hold, or say that it holds."""
        plain = Resources.parse(self.rng.choice(TEXTS))
        return self.rng.choice((plain, plain, plain, plain + self.rng.choice(SPECIAL), SHARED))

    def _shape(self):
        """How an agent describes itself this time."""
        some = frozenset(AgentCapability) - {AgentCapability.RESOURCE_PROVIDER}
        return {
            "total": self.rng.choice(
                (
                    Resources.parse(TOTAL),
                    Resources.parse(TOTAL) + SHARED,
                    Resources.parse("cpus:2;mem:128"),
                    Resources.parse("cpus:3;disk:60") + reserved("disk:40") + VOLUME,
                )
            ),
            "capabilities": self.rng.choice((frozenset(AgentCapability), some)),
            "facts": self.rng.choice((AgentFacts(), AgentFacts(hostname="host"))),
        }

    def _subscribe(self):
        framework_id = self.rng.choice((None, self._framework_id()))
        spec = framework_spec(
            framework_id,
            aware=self.rng.random() < 0.5,
            checkpoint=self.rng.random() < 0.5,
            roles=self.rng.choice((("*",), ("a",), ("a", "b"))),
        )
        if self.rng.random() < 0.5:
            spec = replace(spec, capabilities=FEEDBACK)
        peer, force = self.rng.choice(SCHEDULERS), self.rng.random() < 0.5
        call = Subscribe(spec, force, frozenset(), has_feedback=self.rng.random() < 0.5)
        self.harness.feed(SubscribeReceived(peer, call))

    def _write(self):
        if self.harness.pending_writes:
            self.harness.write()

    def _allocate(self):
        self.harness.feed(AllocationIntervalElapsed())
        self.harness.allocate()

    def _offers(self, framework_id):
        return self.harness.state.offers.of_framework(framework_id)

    def _accept(self):
        framework_id = self._framework_id()
        offers = self._offers(framework_id)
        if not offers:
            return
        chosen = self.rng.sample(offers, self.rng.randint(1, len(offers)))
        tasks = tuple(
            task_spec(
                self.rng.choice(TASKS),
                chosen[0].agent_id,
                resources=self._used(),
                executor=self.rng.choice((None, None, EXECUTOR)),
            )
            for _ in range(self.rng.randint(1, 3))
        )
        orders = [self.rng.choice((Launch(tasks), self._group(chosen[0].agent_id)))]
        if self.rng.random() < 0.1:
            orders.append(
                self.rng.choice(
                    (BrokenOperation("CREATE", "no"), UnsupportedOperation("UNKNOWN", None))
                )
            )
        if self.rng.random() < 0.4:
            orders.insert(
                self.rng.randrange(2),
                self._change(self.harness.state.agents.get(chosen[0].agent_id), chosen[0].role),
            )
        call = Accept(tuple(o.offer_id for o in chosen), tuple(orders), self._refuse_s())
        self.harness.call(call, framework_id, self._peer_of(framework_id))

    def _group(self, agent_id):
        text = self.rng.choice(TEXTS)
        names = self.rng.sample(TASKS, self.rng.randint(1, 2))
        return LaunchGroup(tuple(task_spec(name, agent_id, text) for name in names), EXECUTOR, None)

    def _provided_on(self, agent):
        """A disk that a resource provider may have on an agent."""
        found = [Resources([e]) for e in agent.total if e.identity.provider_id is not None]
        return self.rng.choice((*found, *DISKS))

    def _kept_on(self, agent):
        """Something that is reserved on an agent."""
        kept = [Resources([entry]) for entry in agent.total if entry.identity.reservations]
        return self.rng.choice(kept) if kept else Resources()

    def _change(self, agent, role):
        """An order to change resources; it may be impossible."""
        kept, made = reserved(self.rng.choice(KEPT), role), volume(10, "v", role=role)
        change = self.rng.choice(
            (Reserve(kept), Reserve(kept), Create(made), Destroy(made), Unreserve(kept))
            if agent is None or self.rng.random() < 0.4
            else (
                Create(made),
                Destroy(made),
                Create(volume(10, "s", role=role, shared=True)),
                Destroy(self._kept_on(agent)),
                Unreserve(self._kept_on(agent) or kept),
                Grow(made, reserved("disk:5", role)),
                Shrink(made, 500),
                CreateDisk(self._provided_on(agent), DiskSourceType.MOUNT, "y"),
                DestroyDisk(self._provided_on(agent)),
            )
        )
        name = self.rng.choice((None, OperationId(f"o{self.rng.randrange(3)}")))
        return ChangeResources(change, name)

    def _operate_resources(self):
        """Operators reserve and make volumes of what nobody uses."""
        agent_id = AgentId(self._agent_id())
        agent = self.harness.state.agents.get(agent_id)
        kept = reserved(self.rng.choice(KEPT), self.rng.choice(("a", "b")))
        here = (None if agent is None else self._kept_on(agent)) or kept
        call = self.rng.choice(
            (
                ReserveResources(agent_id, kept),
                ReserveResources(agent_id, kept),
                UnreserveResources(agent_id, here),
                CreateVolumes(agent_id, VOLUME),
                CreateVolumes(agent_id, VOLUME),
                DestroyVolumes(agent_id, VOLUME),
            )
        )
        self.asked += 1
        self.harness.feed(OperatorCallReceived(self.asked, call))

    def _answer_operation(self):
        """The agent says what became of an operation, perhaps for the second time."""
        state = self.harness.state
        operations = [*state.operations, *state.operations.completed]
        if not operations:
            return
        operation = self.rng.choice(operations)
        agent = state.agents.get(operation.agent_id)
        status = OperationStatus(
            self.rng.choice(
                (
                    OperationState.FINISHED,
                    OperationState.FINISHED,
                    OperationState.FAILED,
                    OperationState.PENDING,
                    OperationState.DROPPED,
                )
            ),
            operation_id=operation.operation_id,
            uuid=self.rng.choice((None, b"s")),
            agent_id=operation.agent_id,
            converted=self.rng.choice((Resources(), operation.held, *DISKS)),
        )
        update = OperationUpdate(operation.agent_id, operation.uuid, status, operation.framework_id)
        peer = self.rng.choice(AGENTS) if agent is None else agent.peer
        self.harness.feed(OperationStatusReceived(peer, update))

    def _refuse_s(self):
        return self.rng.choice((0.0, 5.0, -1.0, float("nan"), 1e300))

    def _call(self):
        framework_id, agent_id = self._framework_id(), self._agent_id()
        task_id = TaskId(self.rng.choice(TASKS))
        offers = tuple(o.offer_id for o in self._offers(framework_id))
        spec = framework_spec(framework_id, roles=self.rng.choice((("*",), ("b",))))
        call = self.rng.choice(
            (
                Decline(offers, self._refuse_s()),
                Decline(offers, self._refuse_s()),
                Revive(()),
                Suppress(()),
                Suppress(("a",)),
                Kill(task_id, self.rng.choice((None, agent_id)), None),
                Reconcile(()),
                Reconcile(((task_id, None), (task_id, agent_id))),
                Acknowledge(AgentId(agent_id), task_id, b"u"),
                Acknowledge(AgentId(agent_id), task_id, b"u"),
                UpdateFramework(spec, frozenset()),
                UpdateFramework(self._picky(spec), frozenset(), self._constraints(spec)),
                RequestResources(self._requests(agent_id)),
                AcceptInverseOffers(self._inverse(framework_id), self._refuse_s()),
                DeclineInverseOffers(self._inverse(framework_id), self._refuse_s()),
                Deactivate(),
                self.rng.choice((Revive(()), Teardown())),
                ReconcileOperations(()),
                ReconcileOperations((("o1", agent_id), ("no", None))),
                AcknowledgeOperation("o1", b"s"),
                AcknowledgeOperation("o2", b"s", AgentId(agent_id)),
                ShutdownExecutor(ExecutorId("e"), AgentId(agent_id)),
                MessageExecutor(AgentId(agent_id), ExecutorId("e"), b""),
                UnsupportedCall("UNKNOWN"),
                UpdateRefused("no"),
                Accept(offers, (), self._refuse_s()),
                Accept((*offers, *offers), (Launch((task_spec(task_id, agent_id),)),), 0.0),
            )
        )
        self.harness.call(call, framework_id, self._peer_of(framework_id))

    def _tell(self):
        """An agent says what it has: operations (some of its own making), providers, spare cpus."""
        state, agent_id = self.harness.state, AgentId(self._agent_id())
        agent = state.agents.get(agent_id)
        reports = [
            OperationReport(
                known.uuid,
                known.change,
                known.status,
                known.framework_id,
                known.operation_id,
                known.role,
            )
            for known in state.operations.of_agent(agent_id)
            if self.rng.random() < 0.7
        ]
        if self.rng.random() < 0.4:
            reports.append(self._made_up())
        providers = tuple(
            ProviderReport("p", disk, b"v")
            for disk in self.rng.sample(DISKS, self.rng.randrange(2))
        )
        news = AgentNews(
            self.rng.choice((None, b"w")),
            self.rng.choice((None, *OVERSUBSCRIBED)),
            self.rng.choice((None, tuple(reports))),
            self.rng.choice((None, providers, (ProviderReport("p", DISKS[0] + DISKS[1], b"v"),))),
        )
        peer = self.rng.choice(AGENTS) if agent is None else agent.peer
        self.harness.feed(AgentUpdateReceived(peer, agent_id, news))

    def _made_up(self):
        """An operation that no master ever ordered, perhaps of nobody's."""
        state = self.rng.choice(list(OperationState))
        change = self.rng.choice(
            (*map(DestroyDisk, DISKS), Destroy(VOLUME), Reserve(reserved("cpus:1")))
        )
        return OperationReport(
            self.rng.randbytes(1),
            change,
            OperationStatus(state, uuid=self.rng.choice((None, b"s"))),
            self.rng.choice((None, FrameworkId("stranger"), FrameworkId(self._framework_id()))),
            self.rng.choice((None, OperationId("o1"))),
            self.rng.choice((None, "a")),
        )

    def _disturb(self):
        """Rare things, and messages that come from where they cannot come from."""
        framework_id, agent_id = FrameworkId(self._framework_id()), AgentId(self._agent_id())
        offers = [
            offer.offer_id
            for f in self.harness.state.frameworks
            for offer in self._offers(f.framework_id)
        ]
        launch = (Launch((task_spec(self.rng.choice(TASKS), agent_id),)),)
        theft = Accept(tuple(offers), launch, 0.0)
        self.harness.feed(
            self.rng.choice(
                (
                    RegistryGcDue(),
                    AllocationDue(),
                    AgentAnswered(agent_id),
                    WhitelistRead(self.rng.choice((None, None, frozenset(), frozenset({"host"})))),
                    SubscribeRefused(self.rng.choice(SCHEDULERS), "no"),
                    CallReceived(self.rng.choice((*SCHEDULERS, *AGENTS)), framework_id, theft),
                    CallReceived(self._peer_of(framework_id), framework_id, theft),
                )
            )
        )

    def _picky(self, spec):
        least = self.rng.choice(((), ({"cpus": 3000},), ({"mem": 1}, {"gpus": 1})))
        return replace(spec, min_allocatable={spec.roles[0]: least})

    def _constraints(self, spec):
        return self.rng.choice((None, OfferConstraints({spec.roles[0]: ()})))

    def _requests(self, agent_id):
        where = self.rng.choice((None, AgentId(agent_id)))
        return (ResourceRequest({"cpus": 3000}, where),) * self.rng.randrange(3)

    def _inverse(self, framework_id):
        offers = self.harness.state.inverse_offers.of_framework(framework_id)
        return tuple(offer.offer_id for offer in offers)

    def _plan_maintenance(self):
        """As the story of maintenance does it: what was asked is void, then all is asked anew."""
        state = self.harness.state
        agents = [agent.agent_id for agent in state.agents.registered]
        if agents:
            agent_id = self.rng.choice(agents)
            state.withdraw_inverse_offers_on(agent_id)
            window = self.rng.choice((None, Unavailability(5000.0), Unavailability(9000.0, 60.0)))
            state.allocator.handle(UnavailabilityChanged(agent_id, window), self.harness.now_s)
            self._allocate()

    def _update(self):
        tasks = list(self.harness.state.tasks)
        if not tasks:
            return
        task = self.rng.choice(tasks)
        agent = self.harness.state.agents.get(task.agent_id)
        state = self.rng.choice([s for s in TaskState if s.name != "STAGING"])
        update = status_update(
            task.task_id,
            state.name,
            framework_id=task.framework_id,
            uuid=self.rng.choice((None, b"u")),
        )
        update = replace(update, agent_id=task.agent_id)
        self.harness.feed(StatusUpdateReceived(agent.peer, update))

    def _lose(self):
        agent_id = AgentId(self._agent_id())
        peer = self.rng.choice(AGENTS)
        self.harness.feed(
            self.rng.choice(
                (
                    PeerLost(self.rng.choice((*AGENTS, *SCHEDULERS))),
                    AgentPingsMissed(agent_id),
                    UnregistrationReceived(peer, agent_id),
                    ExecutorExited(
                        peer, agent_id, FrameworkId(self._framework_id()), ExecutorId("e"), "exit"
                    ),
                )
            )
        )

    def _operate(self):
        agent_id = AgentId(self._agent_id())
        machines = (MachineId("host", "10.0.0.10"),)
        windows = self.rng.choice(((), (MaintenanceWindow(machines, Unavailability(2000.0)),)))
        quota = self.rng.choice((Quota(), Quota({"cpus": 1000}), Quota({}, {"cpus": 2000})))
        call = self.rng.choice(
            (
                DrainAgent(agent_id, mark_gone=self.rng.random() < 0.3),
                DeactivateAgent(agent_id),
                ReactivateAgent(agent_id),
                ReactivateAgent(agent_id),
                MarkAgentAsGone(agent_id),
                TearDownFramework(FrameworkId(self._framework_id())),
                UpdateMaintenanceSchedule(windows),
                UpdateMaintenanceSchedule(windows),
                StartMaintenance(machines),
                StopMaintenance(machines),
                UpdateWeights({"a": self.rng.choice((0.5, 2.0))}),
                UpdateQuotas({self.rng.choice(("a", "a/b")): quota}, force=self.rng.random() < 0.3),
            )
        )
        self.asked += 1
        self.harness.feed(OperatorCallReceived(self.asked, call))

    def _fire(self):
        """Any timer that was ever started, even one that has been cancelled."""
        timers = self.harness.of(StartTimer)
        if timers:
            self.harness.feed(self.rng.choice(timers).event)

    def _check_reports(self):
        """A report never says UNKNOWN or STAGING of its own accord."""
        for report in (effect.report for effect in self.harness.of(SendReport)):
            if not report.is_answer:
                assert report.state not in (TaskState.UNKNOWN, TaskState.KILLING)
        tally = self.harness.state.tally.offers
        ended = sum(n for end, n in tally.ended.items() if end is not OfferEnd.TIMED_OUT)
        assert tally.sent == ended + len(self.harness.state.offers)
        answers = [e.request for e in self.harness.of(AnswerOperator)]
        waiting = [w.request for w in self.harness.pending_writes if w.request is not None]
        assert sorted(answers + waiting) == list(range(1, self.asked + 1)), "one answer each"
        live = list(self.harness.state.tasks)
        assert all(t.holds_resources == (t.state not in TERMINAL_STATES) for t in live)


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_books_stay_right(seed):
    story = Story(seed)
    for _ in range(80):
        story.step()


def test_same_seed_same_story():
    def effects(seed):
        story = Story(seed)
        for _ in range(200):
            story.step()
        return [repr(effect) for effect in story.harness.effects]

    assert effects(5) == effects(5)
