"""Decisions of the executor driver: environment, registration, debts to the agent, the end."""

import pytest

from cluster.core import executor_driver as core
from cluster.core.executor_driver import ExecutorEnvironment
from cluster.core.executor_events import (
    Acknowledged,
    Disconnected,
    Error,
    FrameworkMessage,
    Kill,
    Launch,
    Registered,
    Reregistered,
    Shutdown,
)
from cluster.errors import InvalidInput
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, TaskId
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal

AGENT = "slave(1)@10.0.0.3:5051"
NEW_AGENT = "slave(1)@10.0.0.3:6060"
ENVIRON = {
    "MESOS_FRAMEWORK_ID": "fw",
    "MESOS_EXECUTOR_ID": "ex",
    "MESOS_SLAVE_ID": "S0",
    "MESOS_SLAVE_PID": AGENT,
    "MESOS_DIRECTORY": "/sandbox",
}
AGENT_INFO = mesos.SlaveInfo(hostname="h")
REGISTERED = Registered(
    mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="ex")),
    mesos.FrameworkInfo(user="u", name="n"),
    AGENT_INFO,
)
TASK = mesos.TaskInfo(name="t", task_id=mesos.TaskID(value="t"), slave_id=mesos.SlaveID(value="S0"))
UPDATE = internal.StatusUpdate(timestamp=1.0)
MADE = core.UpdateMade(TaskId("t"), b"u1", UPDATE)


class Driven:
    """A core whose invariants are checked after each event."""

    def __init__(self, *, lingers_after_shutdown=False, **variables):
        environment = ExecutorEnvironment.parse(ENVIRON | variables)
        self.core = core.ExecutorDriverCore(
            environment, lingers_after_shutdown=lingers_after_shutdown
        )

    def __call__(self, event):
        effects = self.core.handle(event, 0.0)
        self.core.check_invariants()
        return effects


def connected(**options):
    driver = Driven(**options)
    driver(core.Started())
    driver(core.AgentRegisteredUs(REGISTERED))
    return driver


def kinds(effects):
    return [type(each) for each in effects]


def test_the_environment_is_read():
    environment = ExecutorEnvironment.parse(
        ENVIRON
        | {
            "MESOS_CHECKPOINT": "1",
            "MESOS_RECOVERY_TIMEOUT": "2mins",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "7secs",
            "MESOS_LOCAL": "",
        }
    )

    assert environment == ExecutorEnvironment(
        FrameworkId("fw"), ExecutorId("ex"), AgentId("S0"), AGENT, "/sandbox",
        is_checkpointing=True, recovery_timeout_s=120.0, shutdown_grace_s=7.0, is_local=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["MESOS_FRAMEWORK_ID", "MESOS_EXECUTOR_ID", "MESOS_SLAVE_ID", "MESOS_SLAVE_PID"]
)
def test_a_missing_variable_is_named(name):
    with pytest.raises(InvalidInput, match=name):
        ExecutorEnvironment.parse({key: value for key, value in ENVIRON.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESOS_CHECKPOINT", "yes"),
        ("MESOS_RECOVERY_TIMEOUT", "soon"),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5"),
    ],
)
def test_a_wrong_variable_is_named(name, value):
    with pytest.raises(InvalidInput, match=name):
        ExecutorEnvironment.parse(ENVIRON | {name: value})


def test_the_start_links_and_registers_once():
    assert Driven()(core.Started()) == [
        core.LinkAgent(AGENT, reconnect=False),
        core.SendRegister(AGENT),
    ]


def test_tasks_are_taken_only_when_registered_kills_always():
    kill = Kill(TASK.task_id, 2.0)
    waiting = Driven()
    assert kinds(waiting(core.TaskGiven(TaskId("t"), TASK))) == [core.Report]
    assert waiting(core.KillAsked(kill)) == [core.Deliver(kill)]

    assert connected()(core.TaskGiven(TaskId("t"), TASK)) == [core.Deliver(Launch(TASK))]


def test_messages_pass_only_when_registered():
    incoming, outgoing = core.MessageReceived(b"x"), core.MessageToFrameworkAsked(b"y")
    assert Driven()(incoming) == Driven()(outgoing) == []

    assert connected()(incoming) == [core.Deliver(FrameworkMessage(b"x"))]
    assert connected()(outgoing) == [core.SendMessage(AGENT, b"y")]


def test_what_the_agent_has_not_acknowledged_is_repeated_when_it_returns():
    driver = connected(MESOS_CHECKPOINT="1")
    driver(core.TaskGiven(TaskId("t"), TASK))
    assert driver(MADE) == [core.SendUpdate(AGENT, UPDATE)]

    assert driver(core.ReconnectAsked(NEW_AGENT, AgentId("S0"))) == [
        core.LinkAgent(NEW_AGENT, reconnect=True),
        core.SendReregister(NEW_AGENT, (TASK,), (UPDATE,)),
    ]
    assert driver(core.AgentReregisteredUs(Reregistered(AGENT_INFO))) == [
        core.Deliver(Reregistered(AGENT_INFO))
    ]

    assert driver(core.UpdateAcknowledged(TaskId("t"), b"u1")) == [
        core.Deliver(Acknowledged(TaskId("t"), b"u1"))
    ]
    assert driver(core.UpdateAcknowledged(TaskId("t"), b"u1")) == []
    assert core.SendReregister(NEW_AGENT, (), ()) in driver(
        core.ReconnectAsked(NEW_AGENT, AgentId("S0"))
    )


def test_updates_are_kept_and_sent_while_disconnected():
    driver = connected(MESOS_CHECKPOINT="1")
    driver(core.AgentLinkBroken(AGENT))

    assert driver(MADE) == [core.SendUpdate(AGENT, UPDATE)]
    effects = driver(core.ReconnectAsked(NEW_AGENT, AgentId("S0")))
    assert core.SendReregister(NEW_AGENT, (), (UPDATE,)) in effects


def test_an_agent_of_another_id_is_not_followed():
    assert kinds(connected()(core.ReconnectAsked(NEW_AGENT, AgentId("S9")))) == [core.Report]


def test_without_checkpointing_a_lost_agent_is_the_end():
    effects = connected()(core.AgentLinkBroken(AGENT))

    assert kinds(effects) == [
        core.Report, core.StartWatchdog, core.Deliver, core.Abort, core.End,
    ]  # fmt: skip
    assert effects[1] == core.StartWatchdog(5.0)
    assert effects[2] == core.Deliver(Shutdown())


def test_a_checkpointing_executor_waits_for_its_agent_and_then_gives_up():
    driver = connected(MESOS_CHECKPOINT="1", MESOS_RECOVERY_TIMEOUT="10secs")

    _, timer, disconnected = driver(core.AgentLinkBroken(AGENT))
    assert timer.delay_s == 10.0
    assert disconnected == core.Deliver(Disconnected())
    assert driver(core.AgentLinkBroken(AGENT)) == []

    effects = driver(core.RecoveryTimedOut(timer.generation))
    assert core.Deliver(Shutdown()) in effects
    assert driver.core.is_over


def test_an_agent_that_returned_in_time_stops_the_timer():
    driver = connected(MESOS_CHECKPOINT="1")
    _, timer, _ = driver(core.AgentLinkBroken(AGENT))
    driver(core.AgentReregisteredUs(Reregistered(AGENT_INFO)))

    assert driver(core.RecoveryTimedOut(timer.generation)) == []
    assert driver.core.is_connected


def test_an_agent_lost_before_the_registration_is_the_end_even_with_checkpointing():
    driver = Driven(MESOS_CHECKPOINT="1")
    driver(core.Started())

    assert core.Deliver(Shutdown()) in driver(core.AgentLinkBroken(AGENT))


def test_a_broken_link_to_somebody_else_is_nothing():
    assert connected()(core.AgentLinkBroken(NEW_AGENT)) == []


def test_a_shutdown_starts_the_watchdog_first_and_aborts():
    driver = connected(MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD="3secs")

    assert driver(core.ShutdownAsked()) == [
        core.StartWatchdog(3.0),
        core.Deliver(Shutdown()),
        core.Abort(),
        core.End(),
    ]
    assert driver(MADE) == []


def test_no_watchdog_inside_the_agent():
    assert core.Deliver(Shutdown()) == connected(MESOS_LOCAL="1")(core.ShutdownAsked())[0]


def test_a_lingering_executor_reports_after_the_shutdown_and_is_shut_down_once():
    driver = connected(lingers_after_shutdown=True)

    assert kinds(driver(core.ShutdownAsked())) == [core.StartWatchdog, core.Deliver]
    assert driver(core.ShutdownAsked()) == []
    assert driver(MADE) == [core.SendUpdate(AGENT, UPDATE)]
    assert driver(core.StopAsked()) == [core.End()]


def test_too_many_unacknowledged_updates_abort(monkeypatch):
    monkeypatch.setattr(core, "UNACKNOWLEDGED_UPDATES_MAX", 1)
    driver = connected()
    driver(MADE)

    effects = driver(core.UpdateMade(TaskId("t"), b"u2", UPDATE))

    assert kinds(effects) == [core.Abort, core.Deliver, core.End]
    assert isinstance(effects[1].event, Error)


def test_stop_is_silent_and_abort_mutes():
    assert connected()(core.StopAsked()) == [core.End()]
    assert connected()(core.AbortAsked()) == [core.Abort(), core.End()]
