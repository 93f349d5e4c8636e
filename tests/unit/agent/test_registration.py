"""The registration state machine: every state × event, and the waits in between."""

import random

import pytest

from cluster.core.agent import registration as reg
from cluster.core.agent.registration import (
    BackoffElapsed,
    BecameConnected,
    BecameDisconnected,
    CancelTimer,
    ExitAtOnce,
    Ignored,
    LeaveRequested,
    LinkMaster,
    MasterDetected,
    MasterLinkLost,
    Pinged,
    PingTimedOut,
    Recovered,
    Registered,
    Registration,
    RegistrationState,
    SendRegistration,
    SendUnregistration,
    ShutDown,
    ShutdownReceived,
    StartTimer,
    TimerKey,
    Waiting,
)
from cluster.errors import InvalidTransition
from cluster.model.ids import AgentId

M, OTHER = "master@10.0.0.1:5050", "master@10.0.0.9:5050"
S0, S1, S7 = AgentId("S0"), AgentId("S1"), AgentId("S7")


class Top(random.Random):
    """Always the longest wait."""

    def uniform(self, a, b):
        return b


def new(agent_id=None, *, state="detected", factor_s=1.0, rng=None):
    """A registration brought into a state."""
    one = Registration(backoff_factor_s=factor_s, rng=rng or Top())
    if state == "recovering":
        return one
    one.handle(Recovered(agent_id), 0.0)
    if state == "disconnected":
        return one
    one.handle(MasterDetected(M), 0.0)
    if state in ("running", "terminating"):
        is_again = agent_id is not None
        one.handle(Registered(M, agent_id or S0, 75.0, is_reregistration=is_again), 0.0)
    if state == "terminating":
        one.handle(ShutdownReceived(M, ""), 0.0)
    return one


def feed(one, *events):
    effects = []
    for event in events:
        effects = one.handle(event, 0.0)
    return effects


def timer(effects, key):
    """The last timer of that key that was started."""
    return [e for e in effects if isinstance(e, StartTimer) and e.key is key][-1]


def kinds(effects):
    return [type(effect) for effect in effects if not isinstance(effect, CancelTimer)]


def test_detection_links_and_waits_before_asking():
    one = new(state="disconnected")
    effects = feed(one, MasterDetected(M))
    assert LinkMaster(M, anew=True) in effects
    wait = timer(effects, TimerKey.BACKOFF)
    assert wait.delay_s == 1.0
    effects = feed(one, BackoffElapsed(wait.generation))
    assert SendRegistration(M, None) in effects
    assert timer(effects, TimerKey.BACKOFF).delay_s == 2.0


def test_an_agent_with_a_past_reregisters():
    one = new(S7, state="disconnected")
    wait = timer(feed(one, MasterDetected(M)), TimerKey.BACKOFF)
    assert SendRegistration(M, S7) in feed(one, BackoffElapsed(wait.generation))


def test_the_wait_doubles_up_to_a_minute_and_each_repetition_is_told():
    one = new(state="disconnected")
    wait = timer(feed(one, MasterDetected(M)), TimerKey.BACKOFF)
    waits, told = [], 0
    for _ in range(2000):  # far enough for a power of two to leave the range of floats
        effects = feed(one, BackoffElapsed(wait.generation))
        told += sum(isinstance(effect, Waiting) for effect in effects)
        wait = timer(effects, TimerKey.BACKOFF)
        waits.append(wait.delay_s)
    assert waits[:8] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert max(waits) == 60.0
    assert told == 1999


def test_waits_are_random_from_nothing_to_the_bound():
    one = new(state="disconnected", factor_s=10.0, rng=random.Random(7))
    waits = [timer(feed(one, MasterDetected(M)), TimerKey.BACKOFF).delay_s for _ in range(200)]
    assert 0.0 <= min(waits) < 1.0
    assert 9.0 < max(waits) <= 10.0


def test_an_answer_connects_and_starts_the_watch_over_pings():
    one = new()
    effects = feed(one, Registered(M, S0, 10.0, is_reregistration=False))
    assert one.state is RegistrationState.RUNNING
    assert one.agent_id == S0
    assert timer(effects, TimerKey.PING).delay_s == 10.0
    assert effects[-1] == BecameConnected(M, S0, is_new_id=True)
    assert timer(feed(one, Pinged(True)), TimerKey.PING).delay_s == 10.0


def test_a_second_answer_is_answered_with_the_totals_again():
    one = new(state="running")
    effects = feed(one, Registered(M, S0, 75.0, is_reregistration=False))
    assert effects == [BecameConnected(M, S0, is_new_id=False)]


@pytest.mark.parametrize("loss", ["link", "ping says so", "no ping"])
def test_a_lost_master_is_asked_again(loss):
    one = new(state="disconnected")
    feed(one, MasterDetected(M))
    watch = timer(feed(one, Registered(M, S0, 75.0, False)), TimerKey.PING)
    event = {
        "link": MasterLinkLost(M),
        "ping says so": Pinged(False),
        "no ping": PingTimedOut(watch.generation),
    }[loss]
    effects = feed(one, event)
    assert kinds(effects) == [BecameDisconnected, LinkMaster, StartTimer]
    assert one.state is RegistrationState.DISCONNECTED
    wait = timer(effects, TimerKey.BACKOFF)
    assert SendRegistration(M, S0) in feed(one, BackoffElapsed(wait.generation))
    effects = feed(one, Registered(M, S0, 75.0, is_reregistration=True))
    assert effects[-1] == BecameConnected(M, S0, is_new_id=False)


def test_old_timers_are_not_listened_to():
    one = new(state="disconnected")
    first = timer(feed(one, MasterDetected(M)), TimerKey.BACKOFF)
    feed(one, MasterDetected(M))
    assert feed(one, BackoffElapsed(first.generation)) == []
    watch = timer(feed(one, Registered(M, S0, 75.0, False)), TimerKey.PING)
    feed(one, Pinged(True))
    assert feed(one, PingTimedOut(watch.generation)) == []
    assert one.state is RegistrationState.RUNNING


def test_no_leader_means_silence_until_there_is_one():
    one = new(state="running")
    assert kinds(feed(one, MasterDetected(None))) == [BecameDisconnected]
    assert one.master is None
    assert feed(one, Pinged(False)) == []
    assert kinds(feed(one, MasterDetected(OTHER))) == [LinkMaster, StartTimer]


@pytest.mark.parametrize(
    ("agent_id", "answer"),
    [
        (S0, Registered(M, S1, 75.0, is_reregistration=False)),
        (S0, Registered(M, S1, 75.0, is_reregistration=True)),
        (None, Registered(M, S1, 75.0, is_reregistration=True)),
    ],
)
def test_an_identity_that_is_not_ours_ends_the_agent(agent_id, answer):
    assert kinds(feed(new(agent_id), answer)) == [ExitAtOnce]


def test_answers_of_others_than_the_leader_are_ignored():
    one = new()
    assert kinds(feed(one, Registered(OTHER, S0, 75.0, False))) == [Ignored]
    assert kinds(feed(one, ShutdownReceived(OTHER, ""))) == [Ignored]
    assert one.state is RegistrationState.DISCONNECTED
    running = new(state="running")
    assert feed(running, MasterLinkLost(OTHER)) == []
    assert running.state is RegistrationState.RUNNING


def test_a_shutdown_is_final():
    one = new(state="running")
    assert kinds(feed(one, ShutdownReceived(M, "gone"))) == [ShutDown]
    assert one.state is RegistrationState.TERMINATING
    assert feed(one, MasterDetected(OTHER)) == []
    assert feed(one, Registered(M, S0, 75.0, True)) == []


def test_leaving_unregisters_who_is_registered():
    assert kinds(feed(new(state="running"), LeaveRequested("x"))) == [SendUnregistration, ShutDown]
    assert kinds(feed(new(), LeaveRequested("x"))) == [ShutDown]
    assert kinds(feed(new(state="recovering"), LeaveRequested("x"))) == [ShutDown]


EVERY_EVENT = [
    Recovered(None),
    MasterDetected(M),
    MasterDetected(None),
    MasterLinkLost(M),
    BackoffElapsed(1),
    Registered(M, S0, None, False),
    Pinged(True),
    Pinged(False),
    PingTimedOut(1),
    ShutdownReceived(M, ""),
    LeaveRequested(""),
]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=repr)
@pytest.mark.parametrize(
    "state", ["recovering", "disconnected", "detected", "running", "terminating"]
)
def test_every_state_takes_exactly_the_events_of_the_table(state, event):
    one = new(state=state)
    if one.state in reg.TRANSITIONS[type(event)]:
        was = one.state
        one.handle(event, 0.0)
        if was is RegistrationState.TERMINATING:
            assert one.state is RegistrationState.TERMINATING
    else:
        with pytest.raises(InvalidTransition):
            one.handle(event, 0.0)
