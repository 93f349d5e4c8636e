"""Operators change an agent's resources: refusals, and offers rescinded for it (master.md §9)."""

import itertools

import pytest

from cluster.core.allocator.events import FreeResourcesConverted
from cluster.core.master.effects import AnswerOperator, SendApplyOperation, SendRescind
from cluster.core.master.events import (
    OperationStatusReceived,
    OperatorCallReceived,
    PeerLost,
)
from cluster.model.calls import Launch
from cluster.model.operations import OperationState, OperationStatus, OperationUpdate
from cluster.model.operator_calls import (
    CreateVolumes,
    DestroyVolumes,
    GrowVolume,
    ReserveResources,
    ShrinkVolume,
    UnreserveResources,
)
from cluster.model.resources import Resources
from tests.unit.master.core_harness import AGENT, SCHEDULER, framework_spec, task_spec
from tests.unit.master.operation_values import reserved, volume
from tests.unit.master.test_operations_accept import Cluster, of

AGENT_ID = "m-S0"
numbers = itertools.count(1)


def operate(cluster, call, principal=None):
    """Returns the status, the text and all effects of the call."""
    number = next(numbers)
    effects = cluster.harness.feed(OperatorCallReceived(number, call, principal))
    [answer] = of(effects, AnswerOperator)
    assert answer.request == number
    return answer.status, answer.text, effects


def accepted(cluster, call):
    status, text, effects = operate(cluster, call)
    assert (status, text) == (202, "")
    [order] = of(effects, SendApplyOperation)
    assert (order.framework_id, order.role, order.operation_id) == (None, None, None)
    return order, effects


def test_every_call_and_back():
    cluster = Cluster("cpus:4;disk:1000")
    before = cluster.total
    for call, disks in [
        (
            ReserveResources(AGENT_ID, reserved("disk:400")),
            Resources.parse("disk:600") + reserved("disk:400"),
        ),
        (
            CreateVolumes(AGENT_ID, volume(100)),
            Resources.parse("disk:600") + reserved("disk:300") + volume(100),
        ),
        (
            GrowVolume(AGENT_ID, volume(100), reserved("disk:50")),
            Resources.parse("disk:600") + reserved("disk:250") + volume(150),
        ),
        (
            ShrinkVolume(AGENT_ID, volume(150), 30_000),
            Resources.parse("disk:600") + reserved("disk:280") + volume(120),
        ),
        (
            DestroyVolumes(AGENT_ID, volume(120)),
            Resources.parse("disk:600") + reserved("disk:400"),
        ),
        (
            ReserveResources(AGENT_ID, reserved("disk:400", "b"), reserved("disk:400")),
            Resources.parse("disk:600") + reserved("disk:400", "b"),
        ),
        (UnreserveResources(AGENT_ID, reserved("disk:400", "b")), Resources.parse("disk:1000")),
    ]:
        accepted(cluster, call)
        assert cluster.total == Resources.parse("cpus:4") + disks
    assert cluster.total == before
    assert len(of(cluster.ledger.events, FreeResourcesConverted)) == 7


def test_as_many_offers_are_rescinded_as_it_takes():
    cluster = Cluster("cpus:4;mem:100")
    # Three offers: what is on offer comes in the order in which it became free.
    cluster.accept(Launch((task_spec("t", text="cpus:3"), task_spec("u", text="mem:100"))))
    cluster.offers()
    cluster.harness.update("t", "FINISHED")
    cluster.harness.update("u", "FINISHED")
    first, *others = cluster.offers()
    assert first.resources == Resources.parse("cpus:1")
    assert [o.resources for o in others] == [Resources.parse("cpus:3;mem:100")]
    _, effects = accepted(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    assert [e.offer_id for e in of(effects, SendRescind)] == [first.offer_id]
    cluster.offers()
    _, effects = accepted(cluster, ReserveResources(AGENT_ID, reserved("mem:5")))
    assert [e.offer_id for e in of(effects, SendRescind)] == [others[0].offer_id]


def test_what_is_in_use_is_a_conflict_and_no_offer_suffers():
    cluster = Cluster("cpus:4;mem:4096")
    cluster.accept(Launch((task_spec("t", text="cpus:3"),)))
    offers = cluster.offers()
    status, text, effects = operate(cluster, ReserveResources(AGENT_ID, reserved("cpus:2")))
    assert status == 409
    assert text == "[cpus:1;mem:4096] does not contain [cpus:2]"
    assert [type(e) for e in effects] == [AnswerOperator]
    assert cluster.harness.state.offers.of_agent(AGENT_ID) == offers


def test_what_is_not_there_is_a_conflict():
    cluster = Cluster("cpus:4;mem:4096")
    accepted(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    accepted(cluster, UnreserveResources(AGENT_ID, reserved("cpus:1")))
    status, text, _ = operate(cluster, UnreserveResources(AGENT_ID, reserved("cpus:1")))
    assert status == 409
    assert "does not contain" in text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ReserveResources("no", reserved("cpus:1")), "agent_id: No agent found"),
        (ReserveResources(AGENT_ID, Resources()), "reserve.resources: must not be empty"),
        (ReserveResources(AGENT_ID, Resources.parse("cpus:1")), "not dynamically reserved"),
        (UnreserveResources(AGENT_ID, Resources.parse("cpus:1")), "not dynamically reserved"),
        (CreateVolumes(AGENT_ID, reserved("disk:1")), "disk is no persistent volume"),
        (DestroyVolumes(AGENT_ID, volume()), "the agent has no persistent volume 'v'"),
        (GrowVolume(AGENT_ID, volume(), reserved("disk:1")), "the agent has no persistent"),
        (ShrinkVolume(AGENT_ID, volume(), 1), "the agent has no persistent volume 'v'"),
    ],
)
def test_wrong_calls(call, words):
    cluster = Cluster()
    status, text, effects = operate(cluster, call)
    assert status == 400
    assert words in text
    if call.agent_id == AGENT_ID:
        assert f"operation on agent m-S0 at {AGENT} (host): " in text
    assert [type(e) for e in effects] == [AnswerOperator]


def test_an_operator_may_name_nobody_else():
    cluster = Cluster()
    call = ReserveResources(AGENT_ID, reserved("cpus:1", principal="q"))
    status, text, _ = operate(cluster, call, "p")
    assert status == 400
    assert "must name the principal 'p', not 'q'" in text
    assert operate(cluster, call, "q")[0] == 202


def test_a_used_volume_cannot_be_destroyed():
    cluster = Cluster()
    accepted(cluster, ReserveResources(AGENT_ID, reserved("disk:100")))
    accepted(cluster, CreateVolumes(AGENT_ID, volume(shared=True)))
    task = task_spec("t", resources=Resources.parse("cpus:1;mem:64") + volume(shared=True))
    cluster.accept(Launch((task,)))
    status, text, _ = operate(cluster, DestroyVolumes(AGENT_ID, volume(shared=True)))
    assert (status, "'v' is in use" in text) == (400, True)


def test_a_shared_volume_is_taken_from_every_offer():
    cluster = Cluster()
    accepted(cluster, ReserveResources(AGENT_ID, reserved("disk:100")))
    accepted(cluster, CreateVolumes(AGENT_ID, volume(shared=True)))
    capabilities = cluster.harness.state.frameworks.get("m-0000").spec.capabilities
    spec = framework_spec(roles=("a",), capabilities=capabilities)
    cluster.harness.subscribe(spec, "scheduler-2@10.0.0.21:1")
    offers = cluster.offers()
    assert [o.framework_id for o in offers] == ["m-0000", "m-0001"]
    _, effects = accepted(cluster, DestroyVolumes(AGENT_ID, volume(shared=True)))
    assert {e.peer for e in of(effects, SendRescind)} == {SCHEDULER, "scheduler-2@10.0.0.21:1"}


def test_an_agent_that_is_away_cannot_be_changed():
    cluster = Cluster()
    cluster.harness.feed(PeerLost(AGENT))
    status, text, _ = operate(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    assert (status, text) == (409, "agent_id: agent m-S0 is not connected")


def test_what_the_agent_refuses_is_taken_back():
    cluster = Cluster()
    before = cluster.total
    order, _ = accepted(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    assert cluster.total != before
    cluster.offers()
    status = OperationStatus(OperationState.DROPPED, uuid=b"s")
    update = OperationUpdate(AGENT_ID, order.uuid, status)
    cluster.harness.feed(OperationStatusReceived(AGENT, update))
    assert cluster.total == before
    assert not len(cluster.harness.state.operations)


def test_operations_under_way_are_limited():
    cluster = Cluster()
    cluster.harness.state.operations.outstanding_per_owner_max = 1
    accepted(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    status, text, _ = operate(cluster, ReserveResources(AGENT_ID, reserved("cpus:1")))
    assert status == 400
    assert "1 operations are under way already" in text
