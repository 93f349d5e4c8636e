"""The life of the one task of a command executor."""

import pytest

from cluster.core import command_task as core
from cluster.core.command_task import (
    AskToEnd,
    CommandExited,
    CommandNotStarted,
    CommandStarted,
    Exit,
    ForceToEnd,
    KillAsked,
    Phase,
    SendStatus,
    ShutdownAsked,
    StartCommand,
    StartTimer,
    TerminalAcknowledged,
    TimerFired,
    TimerKey,
)
from cluster.model.ids import TaskId
from cluster.model.task_states import TaskState, UpdateReason
from cluster.wire.pb import mesos_pb2 as mesos

T = TaskId("t")
TASK = mesos.TaskInfo(name="t", task_id=mesos.TaskID(value="t"), slave_id=mesos.SlaveID(value="S0"))
GOODBYE = StartTimer(TimerKey.GOODBYE, 1, 1.0)


class Driven:
    """A core whose invariants are checked after each event."""

    def __init__(self):
        self.core = core.CommandTaskCore()

    def __call__(self, event, now_s=0.0):
        effects = self.core.handle(event, now_s)
        self.core.check_invariants()
        return effects


def starting(can_show_killing=False, **options):
    driver = Driven()
    driver(core.AgentFound(can_show_killing))
    driver(core.TaskGiven(T, TASK, **options))
    return driver


def running(can_show_killing=False, **options):
    driver = starting(can_show_killing, **options)
    driver(CommandStarted())
    return driver


def last(state, message, reason=None):
    return SendStatus(T, state, message, reason, is_last=True)


def test_a_task_is_announced_started_and_reported_running():
    driver = Driven()
    driver(core.AgentFound(False))

    assert driver(core.TaskGiven(T, TASK)) == [
        SendStatus(T, TaskState.STARTING),
        StartCommand(TASK),
    ]
    assert driver(CommandStarted()) == [SendStatus(T, TaskState.RUNNING)]


@pytest.mark.parametrize(
    ("event", "want"),
    [
        (CommandExited(0), last(TaskState.FINISHED, "Command exited with status 0")),
        (CommandExited(1), last(TaskState.FAILED, "Command exited with status 1")),
        (
            CommandExited(None, "Killed"),
            last(TaskState.FAILED, "Command terminated with signal Killed"),
        ),
    ],
)
def test_how_the_command_ended_decides_the_state(event, want):
    assert running()(event) == [want, GOODBYE]


def test_a_command_that_cannot_be_started_fails_with_the_reason():
    driver = starting()
    assert driver(CommandNotStarted("cannot run 'x'")) == [
        last(TaskState.FAILED, "cannot run 'x'"),
        GOODBYE,
    ]


def test_a_second_task_fails_and_leaves_the_first_alone():
    driver = running()
    other = core.TaskGiven(TaskId("other"), TASK)

    (update,) = driver(other)

    assert (update.task_id, update.state, update.is_last) == ("other", TaskState.FAILED, False)
    assert driver(CommandExited(0))[0].state is TaskState.FINISHED


@pytest.mark.parametrize(
    ("policy_s", "override_s", "want_s"),
    [(None, None, 3.0), (7.0, None, 7.0), (7.0, 1.0, 1.0), (None, 0.0, 0.0)],
)
def test_the_grace_of_a_kill(policy_s, override_s, want_s):
    driver = running(kill_grace_s=policy_s)
    assert driver(KillAsked(T, override_s)) == [
        AskToEnd(),
        StartTimer(TimerKey.GRACE, 1, want_s),
    ]


def test_killing_is_shown_to_a_framework_that_understands_it():
    assert running(can_show_killing=True)(KillAsked(T))[0] == SendStatus(T, TaskState.KILLING)


def test_a_command_that_outlives_its_grace_is_forced():
    driver = running()
    _, timer = driver(KillAsked(T))

    assert driver(TimerFired(timer.key, timer.generation)) == [ForceToEnd()]
    assert driver(CommandExited(None, "Killed")) == [
        last(TaskState.KILLED, "Command terminated with signal Killed"),
        GOODBYE,
    ]


def test_a_killed_command_is_killed_however_it_ended():
    driver = running()
    driver(KillAsked(T))
    assert driver(CommandExited(0))[0] == last(TaskState.KILLED, "Command exited with status 0")


def test_a_second_kill_may_shorten_the_grace_but_not_stretch_it():
    driver = running()
    driver(KillAsked(T, 10.0), 100.0)

    assert driver(KillAsked(T, 20.0), 101.0) == []
    assert driver(KillAsked(T, 2.0), 102.0) == [StartTimer(TimerKey.GRACE, 2, 2.0)]
    assert driver(TimerFired(TimerKey.GRACE, 1), 103.0) == []
    assert driver(TimerFired(TimerKey.GRACE, 2), 104.0) == [ForceToEnd()]


def test_a_kill_that_comes_before_the_start_is_done_after_it():
    driver = starting()
    assert driver(KillAsked(T, 1.0)) == []
    assert driver(CommandStarted()) == [
        SendStatus(T, TaskState.RUNNING),
        AskToEnd(),
        StartTimer(TimerKey.GRACE, 1, 1.0),
    ]


def test_a_kill_of_another_task_is_only_reported():
    (report,) = running()(KillAsked(TaskId("other")))
    assert isinstance(report, core.Report)
    (report,) = Driven()(KillAsked(T))
    assert isinstance(report, core.Report)


def test_a_command_that_takes_too_long_is_killed_without_grace():
    driver = starting(completion_s_max=60.0)
    _, timer = driver(CommandStarted())
    assert timer == StartTimer(TimerKey.COMPLETION, 1, 60.0)

    assert driver(TimerFired(TimerKey.COMPLETION, 1)) == [
        AskToEnd(),
        StartTimer(TimerKey.GRACE, 1, 0.0),
    ]
    want = last(
        TaskState.FAILED,
        "Command terminated with signal Killed",
        UpdateReason.MAX_COMPLETION_TIME_REACHED,
    )
    assert driver(CommandExited(None, "Killed"))[0] == want


def test_the_time_limit_of_a_command_that_ended_is_nothing():
    driver = starting(completion_s_max=60.0)
    driver(CommandStarted())
    driver(CommandExited(0))
    assert driver(TimerFired(TimerKey.COMPLETION, 1)) == []


def test_it_leaves_when_the_last_update_is_acknowledged_or_after_a_second():
    driver = running()
    driver(CommandExited(0))
    assert driver(TerminalAcknowledged()) == [Exit()]

    driver = running()
    *_, timer = driver(CommandExited(0))
    assert driver(TimerFired(timer.key, timer.generation)) == [Exit()]


def test_it_waits_for_an_agent_that_restarts():
    driver = running()
    driver(core.AgentAway())

    assert driver(CommandExited(0)) == [last(TaskState.FINISHED, "Command exited with status 0")]
    assert driver(core.AgentFound()) == [StartTimer(TimerKey.GOODBYE, 2, 1.0)]
    assert driver(TerminalAcknowledged()) == [Exit()]


def test_an_agent_that_leaves_during_the_goodbye_stops_it():
    driver = running()
    *_, timer = driver(CommandExited(0))
    driver(core.AgentAway())
    assert driver(TimerFired(timer.key, timer.generation)) == []


@pytest.mark.parametrize(("grace_s", "want_s"), [(5.0, 3.9), (1.0, 0.0)])
def test_a_shutdown_kills_in_time_for_the_container(grace_s, want_s):
    (ask, timer) = running()(ShutdownAsked(grace_s))
    assert ask == AskToEnd()
    assert timer.delay_s == pytest.approx(want_s)


def test_a_shutdown_without_a_task_or_after_it_is_the_end():
    assert Driven()(ShutdownAsked(5.0)) == [Exit()]

    driver = running()
    driver(CommandExited(0))
    assert driver(ShutdownAsked(5.0)) == [StartTimer(TimerKey.GOODBYE, 2, 1.0)]
    driver(TerminalAcknowledged())
    assert driver(ShutdownAsked(5.0)) == [Exit()]


EVERY_EVENT = [
    core.AgentFound(False),
    core.AgentFound(),
    core.AgentAway(),
    core.TaskGiven(T, TASK),
    CommandStarted(),
    CommandNotStarted("x"),
    CommandExited(0),
    KillAsked(T),
    ShutdownAsked(5.0),
    TerminalAcknowledged(),
    TimerFired(TimerKey.GRACE, 0),
    TimerFired(TimerKey.COMPLETION, 0),
    TimerFired(TimerKey.GOODBYE, 0),
]


@pytest.mark.parametrize("event", EVERY_EVENT)
@pytest.mark.parametrize("phase", list(Phase))
def test_no_event_breaks_any_phase_and_no_task_ends_twice(phase, event):
    reach: dict[Phase, list[core.CommandTaskEvent]] = {
        Phase.IDLE: [],
        Phase.STARTING: [core.TaskGiven(T, TASK)],
        Phase.RUNNING: [core.TaskGiven(T, TASK), CommandStarted()],
        Phase.KILLING: [core.TaskGiven(T, TASK), CommandStarted(), KillAsked(T)],
        Phase.DONE: [core.TaskGiven(T, TASK), CommandStarted(), CommandExited(0)],
    }
    driver = Driven()
    for each in [core.AgentFound(False), *reach[phase]]:
        driver(each)
    assert driver.core.phase is phase

    effects = driver(event)

    ended = [each for each in effects if isinstance(each, SendStatus) and each.is_last]
    assert len(ended) <= (0 if phase in (Phase.IDLE, Phase.DONE) else 1)
