"""Decisions of the scheduler driver: subscription, whom to believe, acknowledgements, the end."""

from random import Random

import pytest

from cluster.core import scheduler_driver as core
from cluster.core.scheduler_events import (
    AgentLost,
    Disconnected,
    Error,
    ExecutorLost,
    FrameworkMessage,
    OfferRescinded,
    Offers,
    Registered,
    Reregistered,
    Update,
)
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.task_states import TaskState
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler

MASTER = "master@10.0.0.1:5050"
OTHER_MASTER = "master@10.0.0.2:5050"
AGENT = "slave(1)@10.0.0.3:5051"
FRAMEWORK_ID = mesos.FrameworkID(value="fw-0000")
MASTER_INFO = mesos.MasterInfo(id="m", ip=1, port=5050)
AGENT_ID = mesos.SlaveID(value="S0")
OFFER = mesos.Offer(
    id=mesos.OfferID(value="O1"), framework_id=FRAMEWORK_ID, slave_id=AGENT_ID, hostname="h"
)
ACKNOWLEDGEMENT = core.Acknowledgement(AgentId("S0"), TaskId("t"), b"u" * 16)
STATUS = mesos.TaskStatus(task_id=mesos.TaskID(value="t"), state=mesos.TASK_RUNNING)
CALL = scheduler.Call(type=scheduler.Call.KILL)


class Driven:
    """A core whose invariants are checked after each event."""

    def __init__(self, *, facts=None, framework_id=None, backoff_factor_s=2.0, **options):
        self.core = core.SchedulerDriverCore(
            facts or core.FrameworkFacts(("*",)),
            framework_id=framework_id,
            rng=Random(1),
            backoff_factor_s=backoff_factor_s,
            **options,
        )

    def __call__(self, event):
        effects = self.core.handle(event, 0.0)
        self.core.check_invariants()
        return effects

    def delay_of_attempt(self, effects):
        (timer,) = [each for each in effects if isinstance(each, core.StartSubscribeTimer)]
        return timer


def connected(**options):
    driver = Driven(**options)
    driver(core.MasterDetected(MASTER))
    driver(core.SubscriptionConfirmed(MASTER, FRAMEWORK_ID, MASTER_INFO, is_known=False))
    return driver


def launch(task_id="t", agent_id="S0"):
    task = mesos.TaskInfo(
        name="t", task_id=mesos.TaskID(value=task_id), slave_id=mesos.SlaveID(value=agent_id)
    )
    return core.TaskLaunch(AgentId(agent_id), task)


def test_a_detected_master_is_linked_and_asked_at_once():
    link, subscribe, timer = Driven()(core.MasterDetected(MASTER))

    assert link == core.LinkMaster(MASTER)
    assert subscribe == core.SendSubscribe(MASTER, None, None, ())
    assert isinstance(timer, core.StartSubscribeTimer)


@pytest.mark.parametrize(
    ("failover_timeout_s", "longest_s"),
    [(0.0, 60.0), (100.0, 10.0), (6000.0, 60.0)],
)
def test_attempts_follow_in_growing_random_intervals_up_to_the_cap(failover_timeout_s, longest_s):
    driver = Driven(facts=core.FrameworkFacts(("*",), failover_timeout_s))
    timer = driver.delay_of_attempt(driver(core.MasterDetected(MASTER)))

    for attempt in range(40):
        assert 0 <= timer.delay_s <= min(longest_s, 2.0 * 2**attempt)
        effects = driver(core.SubscribeDue(timer.generation))
        assert any(isinstance(each, core.SendSubscribe) for each in effects)
        timer = driver.delay_of_attempt(effects)


def test_an_attempt_without_an_answer_is_reported_once():
    driver = Driven()
    timer = driver.delay_of_attempt(driver(core.MasterDetected(MASTER)))

    effects = driver(core.SubscribeDue(timer.generation))

    (report,) = [each for each in effects if isinstance(each, core.Report)]
    assert MASTER in report.text


def test_a_stale_timer_is_ignored():
    driver = Driven()
    timer = driver.delay_of_attempt(driver(core.MasterDetected(MASTER)))
    driver(core.MasterDetected(OTHER_MASTER))

    assert driver(core.SubscribeDue(timer.generation)) == []


def test_a_given_id_is_taken_over_by_force_until_the_first_success():
    driver = Driven(framework_id=FrameworkId("fw-0000"))
    _, subscribe, _ = driver(core.MasterDetected(MASTER))
    assert subscribe == core.SendSubscribe(MASTER, FrameworkId("fw-0000"), True, ())

    driver(core.SubscriptionConfirmed(MASTER, FRAMEWORK_ID, MASTER_INFO, is_known=False))
    effects = driver(core.MasterDetected(OTHER_MASTER))

    assert core.SendSubscribe(OTHER_MASTER, FrameworkId("fw-0000"), False, ()) in effects


@pytest.mark.parametrize(
    ("is_known", "want"),
    [(False, Registered(FRAMEWORK_ID, MASTER_INFO)), (True, Reregistered(MASTER_INFO))],
)
def test_the_answer_decides_between_registered_and_reregistered(is_known, want):
    driver = Driven(framework_id=FrameworkId("fw-0000"))
    driver(core.MasterDetected(MASTER))

    effects = driver(core.SubscriptionConfirmed(MASTER, FRAMEWORK_ID, MASTER_INFO, is_known))

    assert effects == [core.Deliver(want)]
    assert driver.core.is_connected
    assert driver.core.framework_id == "fw-0000"


def test_a_second_confirmation_and_one_of_a_stranger_are_ignored():
    confirmation = core.SubscriptionConfirmed(MASTER, FRAMEWORK_ID, MASTER_INFO, is_known=False)
    assert connected()(confirmation) == []

    driver = Driven()
    driver(core.MasterDetected(OTHER_MASTER))
    (report,) = driver(confirmation)
    assert MASTER in report.text
    assert OTHER_MASTER in report.text
    assert not driver.core.is_connected


def test_a_reregistration_under_another_id_is_reported_and_ignored():
    driver = Driven(framework_id=FrameworkId("mine"))
    driver(core.MasterDetected(MASTER))

    (report,) = driver(core.SubscriptionConfirmed(MASTER, FRAMEWORK_ID, MASTER_INFO, is_known=True))

    assert isinstance(report, core.Report)
    assert not driver.core.is_connected


def test_a_new_master_disconnects_and_is_asked():
    effects = connected()(core.MasterDetected(OTHER_MASTER))

    assert effects[0] == core.Deliver(Disconnected())
    assert core.LinkMaster(OTHER_MASTER) in effects


def test_no_master_disconnects_and_waits():
    driver = connected()
    disconnected, report = driver(core.MasterDetected(None))

    assert disconnected == core.Deliver(Disconnected())
    assert isinstance(report, core.Report)
    assert driver(core.MasterDetected(None)) == [report]


def test_a_broken_link_disconnects_once_and_subscribes_again_with_a_new_link():
    driver = connected()

    report, disconnected, timer = driver(core.MasterLinkBroken(MASTER))
    assert MASTER in report.text
    assert disconnected == core.Deliver(Disconnected())
    assert 0 <= timer.delay_s <= 2.0
    assert driver(core.MasterLinkBroken(MASTER)) == []

    effects = driver(core.SubscribeDue(timer.generation))
    assert effects[:2] == [
        core.LinkMaster(MASTER),
        core.SendSubscribe(MASTER, FrameworkId("fw-0000"), False, ()),
    ]


def test_the_broken_link_of_a_former_master_is_nothing():
    assert connected()(core.MasterLinkBroken(OTHER_MASTER)) == []


MASTER_EVENTS = [
    (lambda sender: core.OffersReceived(sender, (OFFER,), ()), Offers((OFFER,))),
    (lambda sender: core.OfferWithdrawn(sender, OFFER.id), OfferRescinded(OFFER.id)),
    (lambda sender: core.UpdateReceived(sender, STATUS, None), Update(STATUS)),
    (lambda sender: core.AgentRemoved(sender, AGENT_ID), AgentLost(AGENT_ID)),
    (
        lambda sender: core.ExecutorExited(
            sender, ExecutorLost(mesos.ExecutorID(value="e"), AGENT_ID, 9)
        ),
        ExecutorLost(mesos.ExecutorID(value="e"), AGENT_ID, 9),
    ),
]


@pytest.mark.parametrize(("make", "want"), MASTER_EVENTS)
def test_only_the_leading_master_of_a_connected_driver_is_believed(make, want):
    assert connected()(make(MASTER)) == [core.Deliver(want)]
    assert connected()(make(OTHER_MASTER)) == []

    subscribing = Driven()
    subscribing(core.MasterDetected(MASTER))
    assert subscribing(make(MASTER)) == []

    lost = connected()
    lost(core.MasterLinkBroken(MASTER))
    assert lost(make(MASTER)) == []


def test_an_empty_list_of_offers_is_not_delivered():
    assert connected()(core.OffersReceived(MASTER, (), ())) == []


def test_an_executor_message_comes_from_anywhere_but_not_before_registered():
    message = FrameworkMessage(mesos.ExecutorID(value="e"), AGENT_ID, b"x")
    event = core.ExecutorMessageReceived(message)

    assert connected()(event) == [core.Deliver(message)]
    assert Driven()(event) == []


def test_an_update_is_acknowledged_when_it_was_handled():
    driver = connected()
    assert driver(core.UpdateReceived(MASTER, STATUS, ACKNOWLEDGEMENT)) == [
        core.Deliver(Update(STATUS), ACKNOWLEDGEMENT)
    ]
    assert driver(core.UpdateHandled(ACKNOWLEDGEMENT)) == [
        core.SendAcknowledgement(MASTER, FrameworkId("fw-0000"), ACKNOWLEDGEMENT)
    ]


def test_no_implicit_acknowledgement_when_explicit_ones_are_used_or_after_an_abort():
    explicit = connected(implicit_acknowledgements=False)
    assert explicit(core.UpdateHandled(ACKNOWLEDGEMENT)) == []

    aborted = connected()
    aborted(core.AbortAsked())
    assert aborted(core.UpdateHandled(ACKNOWLEDGEMENT)) == []


def test_calls_are_sent_while_connected_and_dropped_otherwise():
    sent = core.SendCall(MASTER, FrameworkId("fw-0000"), CALL)
    assert connected()(core.CallMade(CALL)) == [sent]
    assert connected()(core.OffersDeclined((OfferId("O1"),), CALL)) == [sent]

    lost = connected()
    lost(core.MasterLinkBroken(MASTER))
    assert lost(core.CallMade(CALL)) == []
    assert lost(core.OffersDeclined((OfferId("O1"),), CALL)) == []


@pytest.mark.parametrize(
    ("is_partition_aware", "state"), [(False, TaskState.LOST), (True, TaskState.DROPPED)]
)
def test_tasks_launched_while_disconnected_come_back(is_partition_aware, state):
    facts = core.FrameworkFacts(("*",), is_partition_aware=is_partition_aware)
    driver = connected(facts=facts)
    driver(core.MasterLinkBroken(MASTER))
    launches = (launch("a"), launch("b"))

    effects = driver(core.OffersAccepted((OfferId("O1"),), launches, CALL))

    assert effects == [core.DeliverNotLaunched(each.task, state) for each in launches]


def test_suppressed_roles_are_remembered_for_the_next_subscription():
    driver = connected(facts=core.FrameworkFacts(("dev", "ops", "web")))
    driver(core.MasterLinkBroken(MASTER))

    def subscribed_with():
        effects = driver(core.MasterDetected(MASTER))
        (subscribe,) = [each for each in effects if isinstance(each, core.SendSubscribe)]
        return subscribe.suppressed_roles

    driver(core.RolesSuppressed((), CALL))
    assert subscribed_with() == ("dev", "ops", "web")
    driver(core.RolesRevived(("ops",), CALL))
    assert subscribed_with() == ("dev", "web")
    driver(core.RolesRevived((), CALL))
    assert subscribed_with() == ()
    driver(core.FrameworkUpdated(core.FrameworkFacts(("ops",)), ("ops",), CALL))
    assert subscribed_with() == ("ops",)


MESSAGE = core.MessageToExecutorAsked(ExecutorId("e"), AgentId("S0"), b"x")


def message_went_to(driver):
    (effect,) = driver(MESSAGE)
    return effect.agent


def with_offer():
    driver = connected()
    offered = core.OfferedAgent(OfferId("O1"), AgentId("S0"), AGENT)
    driver(core.OffersReceived(MASTER, (OFFER,), (offered,)))
    return driver


def test_messages_go_straight_to_an_agent_that_got_a_task_from_an_offer():
    driver = with_offer()
    assert message_went_to(driver) is None

    driver(core.OffersAccepted((OfferId("O1"),), (launch(),), CALL))
    assert message_went_to(driver) == AGENT

    driver(core.AgentRemoved(MASTER, AGENT_ID))
    assert message_went_to(driver) is None


@pytest.mark.parametrize(
    "lost_by",
    [
        core.OfferWithdrawn(MASTER, OFFER.id),
        core.OffersDeclined((OfferId("O1"),), CALL),
        core.OffersAccepted((OfferId("O1"),), (launch(agent_id="S9"),), CALL),
    ],
)
def test_the_address_of_an_offer_that_is_gone_is_not_used(lost_by):
    driver = with_offer()
    driver(lost_by)
    driver(core.OffersAccepted((OfferId("O1"),), (launch(),), CALL))

    assert message_went_to(driver) is None


def test_no_message_without_a_master():
    assert Driven()(MESSAGE) == []


@pytest.mark.parametrize(
    ("event", "farewell"),
    [
        (core.StopAsked(failover=False), [core.SendTeardown(MASTER, FrameworkId("fw-0000"))]),
        (core.StopAsked(failover=True), []),
        (core.AbortAsked(), [core.SendDeactivate(MASTER, FrameworkId("fw-0000")), core.Abort()]),
    ],
)
def test_the_end_says_goodbye_once_and_only_when_connected(event, farewell):
    driver = connected()
    assert driver(event) == [*farewell, core.End()]
    assert driver.core.is_over
    assert driver(event) == []
    assert driver(core.MasterDetected(OTHER_MASTER)) == []

    never_connected = Driven()
    want = [core.Abort(), core.End()] if isinstance(event, core.AbortAsked) else [core.End()]
    assert never_connected(event) == want


def test_a_refusal_aborts_before_it_is_told():
    effects = connected()(core.FrameworkRefused("Framework failed over"))

    assert effects == [
        core.SendDeactivate(MASTER, FrameworkId("fw-0000")),
        core.Abort(),
        core.Deliver(Error("Framework failed over")),
        core.End(),
    ]


def test_the_memory_of_offers_is_bounded(monkeypatch):
    monkeypatch.setattr(core, "SAVED_OFFERS_MAX", 1)
    driver = with_offer()
    other = core.OfferedAgent(OfferId("O2"), AgentId("S2"), AGENT)
    driver(core.OffersReceived(MASTER, (OFFER,), (other,)))
    driver(core.OffersAccepted((OfferId("O1"),), (launch(),), CALL))

    assert message_went_to(driver) is None
