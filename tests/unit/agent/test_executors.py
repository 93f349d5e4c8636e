"""Launching, killing and ending: tables of single decisions, then laws over random stories."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.core.agent import executor_events as ev
from cluster.core.agent.executor_events import TimerKey
from cluster.core.agent.executor_state import COMPLETED_FRAMEWORKS_MAX, STATUSES_PER_TASK_MAX
from cluster.core.agent.executors import NO_WAIT_STATUS, Executors
from cluster.model.executors import (
    DrainRequested,
    ExecutorDescription,
    ExecutorReported,
    MakeUpdate,
    TaskArrived,
    TaskDescription,
    TasksReconciled,
    TaskUnacceptable,
)
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState, UpdateReason
from cluster.model.volumes import volume_mounts
from tests.unit.model.test_conversions import bundle, volume

SMALL = Resources.parse("cpus:0.1;mem:32")
SCHEDULER = "scheduler@10.0.0.3:6000"
DRIVER = "executor(1)@10.0.0.2:40000"
F, G, T, E = FrameworkId("f"), FrameworkId("g"), TaskId("t"), ExecutorId("e")
C1, C2 = ContainerId("c1"), ContainerId("c2")


def framework(name=F, *, is_aware=True, checkpoint=False):
    capabilities = {FrameworkCapability.PARTITION_AWARE} if is_aware else set()
    return FrameworkSpec(
        name, name, "user", ("*",), frozenset(capabilities), 0.0, checkpoint, None, name
    )


def described(name=E, *, is_generated=False, grace_s=None):
    return ExecutorDescription(name, name, "", is_generated, SMALL, grace_s, name)


def task(name=T, *, of=F, executor=E, launch=None, current=True, generated=False, **more):
    return TaskArrived(
        framework(of, **more),
        SCHEDULER,
        described(executor, is_generated=generated),
        TaskDescription(name, name, Resources.parse("cpus:1"), name),
        launch,
        current,
    )


def report(name=T, state=TaskState.RUNNING, *, of=F, executor=E):
    return ExecutorReported(of, executor, name, state, DRIVER, "payload")


CAME = ev.ExecutorCame(F, E, DRIVER)
STARTED = ev.ContainerStarted(C1, 4711)
ENDED = ev.ContainerEnded(C1, 256, "")


def new(*events):
    numbers = itertools.count(1)
    core = Executors(
        new_container_id=lambda: ContainerId(f"c{next(numbers)}"),
        registration_timeout_s=60.0,
        shutdown_grace_s=5.0,
        completed_executors_max=2,
    )
    feed(core, *events)
    return core


def feed(core, *events):
    effects = []
    for event in events:
        effects = core.handle(event, 0.0)
        core.check_invariants()
    return effects


def made(effects):
    """(task, state, reason) of every update the agent makes."""
    return [(e.task_id, e.state.name, e.reason.name) for e in effects if isinstance(e, MakeUpdate)]


def kinds(effects):
    return [type(effect).__name__ for effect in effects]


# Launching ----------------------------------------------------------------------------------------


def test_the_first_task_launches_a_container_under_a_timer():
    effects = feed(new(), task())
    assert effects[0] == ev.StartTimer(TimerKey.REGISTRATION, C1, 60.0)
    assert kinds(effects) == ["StartTimer", "LaunchContainer"]


def test_tasks_wait_for_their_executor_and_go_out_in_order():
    core = new(task("a"), task("b"), STARTED)
    effects = feed(core, CAME)
    assert kinds(effects) == ["CancelTimer", "ConfirmExecutor", "DeliverTask", "DeliverTask"]
    assert [effect.task.task_id for effect in effects[2:]] == ["a", "b"]
    assert kinds(feed(core, task("c"))) == ["DeliverTask"]


def test_executors_of_the_same_name_are_kept_apart_by_framework():
    core = new(task("a", of=F), task("a", of=G))
    assert [f.framework_id for f in core.frameworks()] == [F, G]
    assert kinds(feed(core, ev.ExecutorCame(G, E, DRIVER)))[1] == "ConfirmExecutor"


REFUSED = [
    ("old resources", [], task(current=False), "INVALID_OFFERS"),
    ("executor is there", [task("a"), CAME], task("b", launch=True), "EXECUTOR_TERMINATED"),
    ("executor is not there", [], task(launch=False), "EXECUTOR_TERMINATED"),
    (
        "executor is ending",
        [task("a"), CAME, ev.ExecutorShutdownRequested(F, E)],
        task("b"),
        "EXECUTOR_TERMINATED",
    ),
    ("executor has ended", [task("a"), ENDED], task("b"), "EXECUTOR_TERMINATED"),
]


@pytest.mark.parametrize(("given", "arriving", "reason"), [row[1:] for row in REFUSED])
@pytest.mark.parametrize(("is_aware", "state"), [(True, "DROPPED"), (False, "LOST")])
def test_launches_that_cannot_be_carried_out(given, arriving, reason, is_aware, state):
    arriving = replace(arriving, framework=framework(is_aware=is_aware))
    effects = feed(new(*given), arriving)
    assert made(effects) == [(arriving.task.task_id, state, reason)]
    assert "LaunchContainer" not in kinds(effects)


def test_the_master_is_told_of_an_executor_that_a_refused_launch_made_it_book():
    assert kinds(feed(new(), task(current=False))) == ["MakeUpdate", "ReportExit"]
    assert kinds(feed(new(), task(current=False, generated=True))) == ["MakeUpdate"]
    core = new(task("a"), CAME)
    assert kinds(feed(core, task("b", current=False))) == ["MakeUpdate"]


def test_a_broken_description_is_an_error():
    broken = TaskUnacceptable(framework(), None, T, "task.name: must be short")
    (update,) = feed(new(), broken)
    assert (update.state, update.reason) == (TaskState.ERROR, UpdateReason.TASK_INVALID)
    assert update.message == "task.name: must be short"


@pytest.mark.parametrize(
    "given",
    [
        [task("x"), CAME, ev.FrameworkShutdownRequested(F)],
        [task("x"), CAME, ev.AgentShutdownRequested()],
        [task(T), CAME],
    ],
    ids=["framework ends", "agent ends", "same task again"],
)
def test_launches_that_nobody_is_told_about(given):
    assert kinds(feed(new(*given), task(T))) == ["Ignored"]


# The executor's driver ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        [],
        [task("a", executor="other")],
        [task(), CAME],
        [task(), ev.FrameworkShutdownRequested(F)],
        [task(), ENDED],
    ],
    ids=["no framework", "no executor", "came already", "ending", "ended"],
)
def test_an_executor_that_is_not_expected_is_sent_away(given):
    assert feed(new(*given), CAME)[-1] == ev.DeliverShutdown(DRIVER)


def test_an_executors_update_is_completed_with_its_container():
    core = new(task(checkpoint=True), STARTED, CAME)
    (effect,) = feed(core, report())
    assert (effect.container_id, effect.os_pid, effect.is_checkpointed) == (C1, 4711, True)


@pytest.mark.parametrize(
    ("given", "event"),
    [
        ([], report()),
        ([task(), CAME, ev.FrameworkShutdownRequested(F)], report()),
        ([task(), CAME], report(state=TaskState.STAGING)),
    ],
    ids=["unknown framework", "framework ends", "staging"],
)
def test_updates_that_are_dropped(given, event):
    assert kinds(feed(new(*given), event)) == ["Ignored"]


def test_updates_of_unknown_tasks_are_passed_on():
    core = new(task(), CAME)
    assert kinds(feed(core, report("never heard of"))) == ["PassUpdate"]
    (effect,) = feed(core, report("x", executor="y"))
    assert (effect.executor_id, effect.container_id) == ("y", None)


def test_the_first_terminal_state_is_final():
    core = new(task(), CAME, report(state=TaskState.FINISHED), report(state=TaskState.RUNNING))
    assert core.contents().tasks[0].state is TaskState.FINISHED


def test_messages_need_a_running_executor_and_a_framework():
    core = new(task())
    spoken = ev.FrameworkSpoke(F, E, b"x")
    assert kinds(feed(core, spoken)) == ["Ignored"]
    feed(core, CAME)
    assert feed(core, spoken) == [ev.DeliverToExecutor(DRIVER, F, E, b"x")]
    back = ev.ExecutorSpoke(F, E, b"y")
    assert feed(core, back) == [ev.DeliverToFramework(SCHEDULER, F, E, b"y")]
    feed(core, ev.FrameworkChanged(F, "", None))
    assert feed(core, back) == [ev.DeliverToFramework("", F, E, b"y")]
    assert kinds(feed(core, ev.ExecutorSpoke(G, E, b"y"))) == ["Ignored"]


# Killing ------------------------------------------------------------------------------------------

KILL = ev.KillRequested(F, T, None)
KILLS = [
    ("no framework", [], ["Ignored"], []),
    ("no such task", [task("x"), CAME], ["MakeUpdate"], [(T, "DROPPED", "EXECUTOR_TERMINATED")]),
    ("running", [task(), CAME], ["DeliverKill"], []),
    (
        "queued, alone",
        [task()],
        ["MakeUpdate", "CancelTimer", "StartTimer"],
        [(T, "KILLED", "TASK_KILLED_DURING_LAUNCH")],
    ),
    (
        "queued, not alone",
        [task(), task("x")],
        ["MakeUpdate"],
        [(T, "KILLED", "TASK_KILLED_DURING_LAUNCH")],
    ),
    ("executor ends", [task(), CAME, ev.ExecutorShutdownRequested(F, E)], ["Ignored"], []),
    ("executor ended", [task(), CAME, ENDED], ["Ignored"], []),
    ("framework ends", [task(), CAME, ev.FrameworkShutdownRequested(F)], ["Ignored"], []),
]


@pytest.mark.parametrize(("name", "given", "want", "updates"), KILLS, ids=[k[0] for k in KILLS])
def test_kill(name, given, want, updates):
    effects = feed(new(*given), KILL)
    assert kinds(effects) == want
    assert made(effects) == updates


# Ending -------------------------------------------------------------------------------------------


def test_the_end_of_a_container_is_told_to_the_master_then_of_each_unfinished_task():
    core = new(task("run"), CAME, task("over"), report("over", TaskState.FINISHED))
    effects = feed(core, ENDED)
    assert kinds(effects) == ["CancelTimer", "CancelTimer", "ReportExit", "MakeUpdate"]
    assert effects[2].wait_status == 256
    assert made(effects) == [("run", "FAILED", "EXECUTOR_TERMINATED")]
    assert effects[3].message == "Executor terminated"


def test_queued_tasks_fail_with_their_executor():
    assert made(feed(new(task("a"), task("b")), ENDED)) == [
        ("a", "FAILED", "EXECUTOR_TERMINATED"),
        ("b", "FAILED", "EXECUTOR_TERMINATED"),
    ]


def test_generated_executors_end_unseen_by_the_master():
    assert "ReportExit" not in kinds(feed(new(task(generated=True)), ENDED))


def test_a_launch_that_fails():
    effects = feed(new(task()), ev.ContainerLaunchFailed(C1, "no such user"))
    assert [e.wait_status for e in effects if isinstance(e, ev.ReportExit)] == [NO_WAIT_STATUS]
    assert made(effects) == [(T, "FAILED", "CONTAINER_LAUNCH_FAILED")]
    assert effects[-1].message == "Failed to launch container: no such user"


def test_an_executor_that_does_not_register_in_time():
    core = new(task())
    late = ev.TimeElapsed(TimerKey.REGISTRATION, C1)
    assert feed(core, late) == [ev.DestroyContainer(C1)]
    effects = feed(core, ev.ContainerEnded(C1, 9, "killed"))
    assert made(effects) == [(T, "FAILED", "EXECUTOR_REGISTRATION_TIMEOUT")]
    assert effects[-1].message == "executor did not register within 1mins; killed"
    assert feed(new(task(), CAME), late) == []


def test_a_shutdown_gives_its_grace_then_destroys():
    core = new(task(), CAME)
    effects = feed(core, ev.ExecutorShutdownRequested(F, E))
    assert effects == [
        ev.DeliverShutdown(DRIVER),
        ev.StartTimer(TimerKey.SHUTDOWN_GRACE, C1, 5.0),
    ]
    assert feed(core, ev.ExecutorShutdownRequested(F, E)) == []
    assert feed(core, ev.TimeElapsed(TimerKey.SHUTDOWN_GRACE, C1)) == [ev.DestroyContainer(C1)]


def test_an_executor_may_have_a_grace_of_its_own():
    core = new(replace(task(), executor=described(grace_s=0.5)), CAME)
    assert feed(core, ev.ExecutorShutdownRequested(F, E))[-1].delay_s == 0.5


def test_a_container_that_starts_after_the_order_to_destroy_it_is_destroyed():
    core = new(task(), ev.TimeElapsed(TimerKey.REGISTRATION, C1))
    assert feed(core, STARTED) == [ev.DestroyContainer(C1)]
    assert feed(new(), STARTED) == [ev.DestroyContainer(C1)]


def test_a_framework_that_is_shut_down_gets_no_updates_and_is_removed():
    core = new(task(), CAME, ev.FrameworkShutdownRequested(F))
    assert kinds(feed(core, ENDED))[2:] == ["ReportExit", "ExecutorRemoved", "FrameworkRemoved"]
    assert core.frameworks() == ()


def test_an_executor_waits_for_the_last_acknowledgement_before_it_is_removed():
    core = new(task(), CAME, report(state=TaskState.FINISHED), ENDED)
    assert core.contents().tasks
    effects = feed(core, ev.StatusSettled(F, T, TaskState.FINISHED))
    assert effects == [
        ev.ExecutorRemoved(F, E, C1),
        ev.FrameworkRemoved(F, is_shut_down=False),
    ]
    (former,) = core.completed_frameworks()
    assert [t.description.task_id for t in former.completed[0].completed] == [T]


def test_the_shutdown_of_the_agent_ends_when_everything_has():
    assert feed(new(), ev.AgentShutdownRequested()) == [ev.EverythingEnded()]
    core = new(task(), CAME, task("u", of=G))
    assert "EverythingEnded" not in kinds(feed(core, ev.AgentShutdownRequested()))
    assert "EverythingEnded" not in kinds(feed(core, ENDED))
    assert feed(core, ev.ContainerEnded(C2, 0, ""))[-1] == ev.EverythingEnded()
    core = new(task(), CAME, ENDED)  # ended, but not acknowledged
    assert kinds(feed(core, ev.AgentShutdownRequested())).count("EverythingEnded") == 1


def test_reconciliation_answers_for_what_is_not_here():
    core = new(task("here"))
    effects = feed(core, TasksReconciled(F, (TaskId("here"), TaskId("gone")), None))
    assert made(effects) == [("gone", "DROPPED", "RECONCILIATION")]
    effects = feed(core, TasksReconciled(FrameworkId("unknown"), (TaskId("gone"),), False))
    assert made(effects) == [("gone", "LOST", "RECONCILIATION")]


# Memory -------------------------------------------------------------------------------------------


def test_what_ended_is_remembered_up_to_a_limit():
    core = new()
    for number in range(1, COMPLETED_FRAMEWORKS_MAX + 3):
        name = FrameworkId(f"f{number}")
        feed(core, task(of=name), ev.ContainerEnded(ContainerId(f"c{number}"), 0, ""))
        feed(core, ev.StatusSettled(name, T, TaskState.FAILED))
    assert len(core.completed_frameworks()) == COMPLETED_FRAMEWORKS_MAX
    core = new()
    for number in range(1, 5):
        feed(core, task(T), ev.ContainerEnded(ContainerId(f"c{number}"), 0, ""))
        feed(core, ev.StatusSettled(F, T, TaskState.FAILED))
    (former,) = core.completed_frameworks()
    assert [executor.container_id for executor in former.completed] == ["c3", "c4"]


def test_statuses_of_a_task_are_kept_up_to_a_limit_repeated_states_once():
    core = new(task(), CAME)
    for number in range(40):
        state = (TaskState.RUNNING, TaskState.KILLING)[number % 2]
        feed(core, ev.StatusNoted(F, T, state, number))
    kept = core.contents().tasks[0].statuses
    assert kept == tuple(range(40 - STATUSES_PER_TASK_MAX, 40))
    feed(core, ev.StatusNoted(F, T, TaskState.KILLING, "newer"))
    assert core.contents().tasks[0].statuses[-2:] == (38, "newer")


def test_contents_lists_what_a_new_master_must_know():
    core = new(task("a"), task("b", executor="b", generated=True), CAME)
    feed(core, ev.StatusForwarded(F, TaskId("a"), TaskState.RUNNING, b"u"))
    contents = core.contents()
    assert [one.executor_id for one in contents.executors] == [E]
    assert [(one.description.task_id, one.executor_id) for one in contents.tasks] == [
        ("a", E),
        ("b", None),
    ]
    assert (contents.tasks[0].forwarded_state, contents.tasks[0].forwarded_uuid) == (
        TaskState.RUNNING,
        b"u",
    )


def test_resources_are_those_of_the_executor_and_its_unfinished_tasks():
    core = new(task("a"), CAME, task("b"), report("b", TaskState.FINISHED))
    (executor,) = core.frameworks()[0].executors.values()
    assert executor.allocated() == Resources.parse("cpus:1.1;mem:32")


# Laws ---------------------------------------------------------------------------------------------


class Story(RuleBasedStateMachine):
    """Random events; each task ends once at most, and each container's end is accounted for.

    A task is delivered to a container that is shown its volumes; a drained agent launches nothing.
    """

    def __init__(self):
        super().__init__()
        self.core = new()
        self.numbers = itertools.count()
        self.containers = set()
        self.ended_tasks = set()
        self.tasks = ["none"]
        self.shown = {}
        self.updating = {}

    def feed(self, event):
        for effect in self.core.handle(event, 0.0):
            if isinstance(effect, ev.LaunchContainer):
                assert self.core.drain is None
                self.containers.add(effect.container_id)
                self.shown[effect.container_id] = effect.volumes
            if isinstance(effect, ev.UpdateContainer):
                assert effect.container_id not in self.updating
                self.updating[effect.container_id] = effect.volumes
            if isinstance(effect, ev.DeliverTask):
                self.sees_its_volumes(effect.framework.framework_id, effect.task)
            if isinstance(effect, MakeUpdate) and effect.reason is not UpdateReason.RECONCILIATION:
                key = (effect.framework_id, effect.task_id)
                if effect.state is not TaskState.DROPPED:
                    assert key not in self.ended_tasks
                    self.ended_tasks.add(key)

    def sees_its_volumes(self, framework_id, description):
        (framework,) = [f for f in self.core.frameworks() if f.framework_id == framework_id]
        shown = self.shown[framework.executor_of(description.task_id).container_id]
        assert set(volume_mounts(description.resources)) <= set(shown)

    frameworks = st.sampled_from("fg")
    executors = st.sampled_from([E, "d"])

    @rule(
        of=frameworks,
        executor=executors,
        launch=st.sampled_from([None, True, False]),
        volumes=st.sampled_from(["", "v", "w", "vw"]),
    )
    def a_task_arrives(self, of, executor, launch, volumes):
        name = f"t{next(self.numbers)}"
        self.tasks.append(name)
        event = task(name, of=of, executor=executor, launch=launch)
        resources = event.task.resources + bundle(*(volume(1, one, path=one) for one in volumes))
        self.feed(replace(event, task=replace(event.task, resources=resources)))

    @precondition(lambda self: self.updating)
    @rule(data=st.data(), is_done=st.booleans())
    def a_container_is_updated(self, data, is_done):
        one = data.draw(st.sampled_from(sorted(self.updating)))
        volumes = self.updating.pop(one)
        if is_done:
            self.shown[one] = volumes
            self.feed(ev.ContainerUpdated(one))
        else:
            self.feed(ev.ContainerUpdateFailed(one, "x"))

    @rule(grace_s=st.sampled_from([None, 1.0]), is_mark_gone=st.booleans())
    def a_drain_begins(self, grace_s, is_mark_gone):
        self.feed(DrainRequested(grace_s, is_mark_gone, "config"))

    @precondition(lambda self: self.core.drain is not None)
    @rule()
    def a_drain_ends(self):
        self.feed(ev.DrainEnded())

    @rule(of=frameworks, executor=executors)
    def an_executor_comes(self, of, executor):
        self.feed(ev.ExecutorCame(of, executor, DRIVER))

    @rule(of=frameworks, executor=executors, which=st.integers(0, 30), data=st.data())
    def an_executor_reports(self, of, executor, which, data):
        name = self.tasks[which % len(self.tasks)]
        state = data.draw(st.sampled_from([TaskState.RUNNING, TaskState.FINISHED]))
        holder = next(
            (f.executor_of(name) for f in self.core.frameworks() if f.framework_id == of), None
        )
        found = None if holder is None else holder.find(name)
        was_ended = found is None or found.state.is_terminal
        self.feed(report(name, state, of=of, executor=executor))
        is_served = any(
            f.framework_id == of and not f.is_terminating for f in self.core.frameworks()
        )
        if state.is_terminal and not was_ended and is_served:
            self.ended_tasks.add((of, name))

    @rule(of=frameworks, which=st.integers(0, 30))
    def a_kill_comes(self, of, which):
        self.feed(ev.KillRequested(of, self.tasks[which % len(self.tasks)], None))

    @rule(of=frameworks, executor=executors)
    def an_executor_is_shut_down(self, of, executor):
        self.feed(ev.ExecutorShutdownRequested(of, executor))

    @rule(of=frameworks)
    def a_framework_is_shut_down(self, of):
        self.feed(ev.FrameworkShutdownRequested(of))

    @precondition(lambda self: self.containers)
    @rule(data=st.data(), how=st.sampled_from(["start", "fail", "end", "late", "grace"]))
    def something_happens_to_a_container(self, data, how):
        one = data.draw(st.sampled_from(sorted(self.containers)))
        event = {
            "start": ev.ContainerStarted(one, 1),
            "fail": ev.ContainerLaunchFailed(one, "x"),
            "end": ev.ContainerEnded(one, 0, ""),
            "late": ev.TimeElapsed(TimerKey.REGISTRATION, one),
            "grace": ev.TimeElapsed(TimerKey.SHUTDOWN_GRACE, one),
        }[how]
        self.feed(event)
        if how in ("fail", "end"):
            self.containers.discard(one)

    @rule(of=frameworks, which=st.integers(0, 30))
    def an_update_is_settled(self, of, which):
        self.feed(ev.StatusSettled(of, self.tasks[which % len(self.tasks)], TaskState.FAILED))

    @invariant()
    def the_books_agree(self):
        self.core.check_invariants()

    def teardown(self):
        self.feed(ev.AgentShutdownRequested())
        for one in sorted(self.containers):
            self.feed(ev.ContainerEnded(one, 0, ""))
        assert self.core.frameworks() == ()


Story.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase
