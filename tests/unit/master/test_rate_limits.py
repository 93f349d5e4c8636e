"""Rate limits of frameworks: who waits, for how long, in which order, and who is refused."""

import pytest

from cluster.core.master.rate_limits import (
    WAITING_MAX,
    LinkBroken,
    MessageArrived,
    MessageThrottle,
    Pass,
    PermitDue,
    RateLimit,
    RateLimits,
    Refuse,
    WaitForPermit,
)
from cluster.errors import InvalidInput
from cluster.master_flags import MasterConfig
from cluster.master_options import rate_limits
from cluster.model.peers import PeerId

PEER, OTHER = PeerId("s@1.1.1.1:1"), PeerId("t@1.1.1.2:1")


class Flow:
    """A throttle, the time, and what it does."""

    def __init__(self, default=None, **by_principal):
        self.throttle = MessageThrottle(RateLimits(by_principal, default))
        self.now_s = 0.0

    def feed(self, event):
        effects = self.throttle.handle(event, self.now_s)
        self.throttle.check_invariants()
        return effects

    def send(self, number, principal="p", peer=PEER):
        return self.feed(MessageArrived(peer, principal, "mesos.X", number))


def test_two_a_second_pass_one_every_half_second_in_order():
    flow = Flow(p=RateLimit(2.0))
    assert flow.send(1) == [Pass(1)]
    flow.now_s = 0.125
    assert flow.send(2) == [WaitForPermit("p", 0.375)]
    assert flow.send(3) == []
    flow.now_s = 0.5
    assert flow.feed(PermitDue("p")) == [Pass(2), WaitForPermit("p", 0.5)]
    flow.now_s = 1.0
    assert flow.feed(PermitDue("p")) == [Pass(3)]
    flow.now_s = 1.25
    assert flow.send(4) == [WaitForPermit("p", 0.25)]
    flow.now_s = 9.0
    assert flow.feed(PermitDue("p")) == [Pass(4)]


def test_permits_are_not_saved_up():
    flow = Flow(p=RateLimit(1.0))
    flow.now_s = 1000.0
    assert flow.send(1) == [Pass(1)]
    assert flow.send(2) == [WaitForPermit("p", 1.0)]


def test_a_late_timer_does_not_lower_the_rate():
    flow = Flow(p=RateLimit(1000.0))
    for number in range(5):
        flow.send(number)
    flow.now_s = 0.0035
    assert flow.feed(PermitDue("p"))[:3] == [Pass(1), Pass(2), Pass(3)]
    assert flow.throttle.waiting("p") == 1


def test_who_is_limited_by_what():
    flow = Flow(default=RateLimit(1.0), free=RateLimit(None), own=RateLimit(1.0))
    assert [flow.send(n, "free") for n in range(2)] == [[Pass(0)], [Pass(1)]]
    assert flow.send(1, "own") == [Pass(1)]
    assert flow.send(2, "own") == [WaitForPermit("own", 1.0)]
    # All the rest share one queue, those without a principal too.
    assert flow.send(3, "x") == [Pass(3)]
    assert flow.send(4, None) == [WaitForPermit(None, 1.0)]
    assert flow.send(5, "y") == []
    assert (flow.throttle.waiting("own"), flow.throttle.waiting("z")) == (1, 2)


def test_without_a_default_the_others_are_free():
    flow = Flow(own=RateLimit(1.0))
    assert [flow.send(n, "x") for n in range(3)] == [[Pass(0)], [Pass(1)], [Pass(2)]]


def test_more_than_the_capacity_is_refused_by_name():
    flow = Flow(p=RateLimit(1.0, capacity=2))
    for number in range(3):
        flow.send(number)
    assert flow.send(9) == [Refuse(PEER, "Message mesos.X dropped: capacity(2) exceeded")]
    flow.now_s = 1.0
    flow.feed(PermitDue("p"))
    assert flow.send(4) == [], "there is room again"


def test_without_a_capacity_there_is_a_limit_all_the_same():
    flow = Flow(p=RateLimit(1.0))
    for number in range(WAITING_MAX + 1):
        flow.throttle.handle(MessageArrived(PEER, "p", "mesos.X", number), 0.0)
    (refused,) = flow.send(0)
    assert isinstance(refused, Refuse)
    assert str(WAITING_MAX) in refused.text


def test_a_broken_link_waits_behind_the_messages_of_its_peer_and_needs_no_room():
    flow = Flow(p=RateLimit(1.0, capacity=1))
    flow.send(1)
    flow.send(2)
    assert flow.feed(LinkBroken(OTHER, "p", "other is gone")) == [Pass("other is gone")]
    assert flow.feed(LinkBroken(PEER, "p", "gone")) == []
    assert flow.feed(LinkBroken(PEER, "p", "gone again")) == []
    flow.now_s = 1.0
    assert flow.feed(PermitDue("p"))[0] == Pass(2)
    flow.now_s = 2.0
    assert flow.feed(PermitDue("p")) == [Pass("gone")]
    assert flow.feed(LinkBroken(PEER, "p", "gone")) == [Pass("gone")]
    assert flow.feed(LinkBroken(PEER, "unlimited", "gone")) == [Pass("gone")]


def config(value):
    return MasterConfig(work_dir="/nowhere", rate_limits=value)


def test_the_flag_is_read():
    assert rate_limits(config(None)) is None
    assert rate_limits(
        config(
            {
                "limits": [
                    {"principal": "p", "qps": 5.5, "capacity": 100},
                    {"principal": "free"},
                ],
                "aggregate_default_qps": 10,
                "aggregate_default_capacity": 1000,
            }
        )
    ) == RateLimits(
        {"p": RateLimit(5.5, 100), "free": RateLimit(None)}, default=RateLimit(10.0, 1000)
    )
    assert rate_limits(config({"aggregate_default_capacity": 7})) == RateLimits({}, None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "--rate_limits: must be a JSON object"),
        ({"limit": []}, "--rate_limits: cannot be read"),
        ({"limits": [{"qps": 1}]}, "--rate_limits.limits[0].principal: must be set"),
        (
            {"limits": [{"principal": "p"}, {"principal": "p"}]},
            "--rate_limits.limits[1].principal: 'p' is listed twice",
        ),
        ({"limits": [{"principal": "p", "qps": 0}]}, "--rate_limits.limits[0].qps: must be a"),
        ({"aggregate_default_qps": "NaN"}, "--rate_limits.aggregate_default_qps: must be a"),
        ({"limits": [{"principal": "p", "capacity": -1}]}, "--rate_limits: cannot be read"),
    ],
)
def test_wrong_flags_name_the_entry(value, words):
    with pytest.raises(InvalidInput) as caught:
        rate_limits(config(value))
    assert str(caught.value).startswith(words)
