"""How operations stand: lifecycle, news, acknowledgements, questions, lost and returning agents.

What is expected is written from master.md §6.2 (states) and §8, not from the tables under test.
"""

import itertools
from dataclasses import replace

import pytest

from cluster.core.master.effects import (
    SendOperationAcknowledgement,
    SendOperationStatus,
    SendReconcileOperations,
    Warn,
)
from cluster.core.master.events import (
    AgentPingsMissed,
    AgentUpdateReceived,
    OperationStatusReceived,
    PeerLost,
    SubscribeReceived,
    UnregistrationReceived,
)
from cluster.core.master.lifecycles import advance
from cluster.core.master.operations import (
    COMPLETED_OPERATIONS_MAX,
    OPERATION_TRANSITIONS,
    OperationBook,
    OperationRecord,
    OperationStep,
)
from cluster.core.master.registry import AdmitAgent, MarkAgentGone
from cluster.core.master.story import Story
from cluster.errors import InvalidTransition
from cluster.model.agents import AgentNews, ProviderReport
from cluster.model.calls import (
    AcknowledgeOperation,
    ChangeResources,
    Launch,
    ReconcileOperations,
    Subscribe,
    Teardown,
)
from cluster.model.operations import (
    CreateDisk,
    DestroyDisk,
    OperationReport,
    OperationState,
    OperationStatus,
    OperationUpdate,
    Reserve,
)
from cluster.model.resources import DiskSourceType, Resources
from tests.unit.master.core_harness import AGENT, SCHEDULER, framework_spec, slave_info, task_spec
from tests.unit.master.operation_values import marked, provided, reserved
from tests.unit.master.test_operations_accept import ALL_CAPABILITIES, Cluster, of, states

# One line per state; columns are steps; "-" means that the step must be impossible.
OPERATIONS = """
                  REPORTED_PENDING  REPORTED_FINISHED  REPORTED_FAILED  REPORTED_ERROR  REPORTED_DROPPED  AGENT_LOST   AGENT_GONE
PENDING           PENDING           FINISHED           FAILED           ERROR           DROPPED           UNREACHABLE  GONE_BY_OPERATOR
FINISHED          FINISHED          FINISHED           FINISHED         FINISHED        FINISHED          FINISHED     FINISHED
FAILED            FAILED            FAILED             FAILED           FAILED          FAILED            FAILED       FAILED
ERROR             ERROR             ERROR              ERROR            ERROR           ERROR             ERROR        ERROR
DROPPED           DROPPED           DROPPED            DROPPED          DROPPED         DROPPED           DROPPED      DROPPED
UNREACHABLE       -                 -                  -                -               -                 -            -
GONE_BY_OPERATOR  -                 -                  -                -               -                 -            -
RECOVERING        -                 -                  -                -               -                 -            -
UNKNOWN           -                 -                  -                -               -                 -            -
UNSUPPORTED       -                 -                  -                -               -                 -            -
"""  # noqa: E501 - a table is read by its columns


def _rows():
    lines = [line.split() for line in OPERATIONS.strip().splitlines()]
    for state, *outcomes in lines[1:]:
        for step, outcome in zip(lines[0], outcomes, strict=True):
            yield state, step, outcome


@pytest.mark.parametrize(("state", "step", "outcome"), list(_rows()))
def test_lifecycle(state, step, outcome):
    def take():
        return advance(
            OPERATION_TRANSITIONS, OperationState[state], OperationStep[step], "it", Story()
        )

    if outcome == "-":
        with pytest.raises(InvalidTransition, match=f"no step {step} from {state}"):
            take()
    else:
        assert take() is OperationState[outcome]


def test_the_expectations_are_complete():
    pairs = {(state, step) for state, step, _ in _rows()}
    every = itertools.product(OperationState, OperationStep)
    assert pairs == {(state.name, step.name) for state, step in every}


# News ---------------------------------------------------------------------------------------------


def ordered(cluster, change=None, name=None):
    """Order one change; returns its uuid."""
    change = change or Reserve(reserved("cpus:1"))
    effects = cluster.accept(ChangeResources(change, name))
    [uuid] = [e.uuid for e in effects if hasattr(e, "change")]
    return uuid


def news(uuid, state="FINISHED", *, name=None, status_uuid=b"s", latest=None, **how):
    status = OperationStatus(
        OperationState[state], operation_id=name, uuid=status_uuid, agent_id="m-S0", **how
    )
    return OperationStatusReceived(AGENT, OperationUpdate("m-S0", uuid, status, "m-0000", latest))


def test_without_an_id_the_master_takes_note_itself():
    cluster = Cluster()
    uuid = ordered(cluster)
    effects = cluster.harness.feed(news(uuid))
    assert effects == [SendOperationAcknowledgement(AGENT, uuid, b"s", None)]
    assert cluster.harness.state.operations.get(uuid) is None
    [done] = cluster.harness.state.operations.completed
    assert done.state is OperationState.FINISHED


def test_with_an_id_the_framework_is_told_and_takes_note():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    effects = cluster.harness.feed(news(uuid, name="op"))
    [told] = of(effects, SendOperationStatus)
    assert (told.peer, told.status.state, told.status.uuid) == (
        SCHEDULER,
        OperationState.FINISHED,
        b"s",
    )
    assert not of(effects, SendOperationAcknowledgement)
    # An agent repeats it until then.
    assert len(of(cluster.harness.feed(news(uuid, name="op")), SendOperationStatus)) == 1
    effects = cluster.harness.call(AcknowledgeOperation("op", b"s", "m-S0"))
    assert effects == [SendOperationAcknowledgement(AGENT, uuid, b"s", None)]
    assert cluster.harness.state.operations.get(uuid) is None
    [warning] = of(cluster.harness.call(AcknowledgeOperation("op", b"s", "m-S0")), Warn)
    assert "not under way" in warning.text


def test_an_acknowledgement_of_an_older_status_does_not_end_it():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    cluster.harness.feed(news(uuid, name="op"))
    assert cluster.harness.call(AcknowledgeOperation("op", b"older"))
    assert cluster.harness.state.operations.get(uuid) is not None


def test_news_that_want_no_acknowledgement_are_told_once():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    effects = cluster.harness.feed(news(uuid, "DROPPED", name="op", status_uuid=None))
    assert states(effects) == [OperationState.DROPPED]
    assert not of(effects, SendOperationAcknowledgement)
    assert not len(cluster.harness.state.operations)


def test_a_contradiction_after_the_end_is_not_remembered():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    cluster.harness.feed(news(uuid, name="op"))
    cluster.harness.feed(news(uuid, "FAILED", name="op"))
    assert asked(cluster) == [("op", "FINISHED", "")]


def test_a_disconnected_framework_is_told_when_the_agent_repeats():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    cluster.harness.feed(PeerLost(SCHEDULER))
    assert cluster.harness.feed(news(uuid, name="op")) == []
    spec = framework_spec("m-0000", roles=("a",), capabilities=ALL_CAPABILITIES)
    cluster.harness.feed(
        SubscribeReceived(SCHEDULER, Subscribe(spec, True, frozenset(), has_feedback=True))
    )
    assert states(cluster.harness.feed(news(uuid, name="op"))) == [OperationState.FINISHED]


@pytest.mark.parametrize("state", ["FAILED", "ERROR", "DROPPED"])
def test_a_speculation_that_failed_is_taken_back(state):
    cluster = Cluster()
    before = cluster.total
    uuid = ordered(cluster)
    assert cluster.total != before
    cluster.offers()  # the result is on offer meanwhile
    cluster.harness.feed(news(uuid, state))
    assert cluster.total == before
    assert sum((o.resources for o in cluster.offers()), start=Resources()) == before


def test_a_speculation_that_failed_when_its_result_is_used_stays_in_the_books():
    cluster = Cluster()
    first = ordered(cluster)
    task = task_spec("t", resources=reserved("cpus:1") + Resources.parse("mem:64"))
    cluster.accept(Launch((task,)))
    total = cluster.total
    effects = cluster.harness.feed(news(first, "DROPPED"))
    [warning] = of(effects, Warn)
    assert "already in use" in warning.text
    assert cluster.total == total


@pytest.mark.parametrize(
    ("state", "converted", "left"),
    [
        ("FINISHED", provided(kind=DiskSourceType.MOUNT, id="d"), None),
        ("FAILED", Resources(), provided(profile="x")),
        ("ERROR", Resources(), provided(profile="x")),
        ("DROPPED", Resources(), provided(profile="x")),
    ],
)
def test_what_a_provider_made_is_booked_when_it_says_so(state, converted, left):
    disk = provided(profile="x")
    cluster = Cluster(agent={"total": Resources.parse("cpus:4") + disk})
    uuid = ordered(cluster, CreateDisk(disk, DiskSourceType.MOUNT))
    [rest] = cluster.offers()
    assert rest.resources == Resources.parse("cpus:4")
    cluster.harness.feed(news(uuid, state, converted=marked(converted, allocation_role="a")))
    assert cluster.total == Resources.parse("cpus:4") + (converted or left)
    assert sum((o.resources for o in cluster.offers()), start=Resources()) == cluster.total


@pytest.mark.parametrize(
    "made", [Resources.parse("cpus:9"), provided(provider="another"), Resources.parse("disk:9")]
)
def test_a_provider_cannot_make_of_its_disk_what_it_does_not_have(made):
    disk = provided(profile="x")
    cluster = Cluster(agent={"total": Resources.parse("cpus:4") + disk})
    uuid = ordered(cluster, CreateDisk(disk, DiskSourceType.MOUNT))
    [warning] = of(cluster.harness.feed(news(uuid, converted=made)), Warn)
    assert "not believed" in warning.text
    assert cluster.total == Resources.parse("cpus:4") + disk


def test_what_an_agent_has_when_it_returns_is_not_taken_back():
    cluster = Cluster("cpus:4")
    first = ordered(cluster)
    second = ordered(cluster)
    cluster.harness.feed(news(first))
    # It comes back without the second reservation, of which it has never heard.
    total = Resources.parse("cpus:3") + reserved("cpus:1")
    cluster.harness.reregister(total=total)
    assert cluster.total == total
    cluster.harness.feed(news(second, "DROPPED"))
    assert cluster.total == total


def test_what_failed_before_a_master_heard_of_it_is_not_taken_back():
    cluster = Cluster("cpus:4", agent={"total": Resources.parse("cpus:3") + reserved("cpus:1")})
    total = cluster.total
    told(cluster, operations=(report(b"u"),))
    cluster.harness.feed(news(b"u", "FAILED"))
    assert cluster.total == total


def test_the_first_end_counts():
    disk = provided(profile="x")
    cluster = Cluster(agent={"total": Resources.parse("cpus:4") + disk})
    uuid = ordered(cluster, CreateDisk(disk, DiskSourceType.MOUNT), "op")
    cluster.harness.feed(news(uuid, "PENDING", name="op", status_uuid=None))
    cluster.harness.feed(news(uuid, "FAILED", name="op"))
    made = provided(kind=DiskSourceType.MOUNT, id="d")
    cluster.harness.feed(news(uuid, "FINISHED", name="op", converted=made))
    assert cluster.total == Resources.parse("cpus:4") + disk


def test_the_latest_word_counts_and_the_first_unacknowledged_is_passed_on():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    latest = OperationStatus(OperationState.FINISHED, operation_id="op", uuid=b"z")
    effects = cluster.harness.feed(news(uuid, "PENDING", name="op", latest=latest))
    assert states(effects) == [OperationState.PENDING]
    assert cluster.harness.state.operations.get(uuid).state is OperationState.FINISHED


@pytest.mark.parametrize("state", ["UNREACHABLE", "GONE_BY_OPERATOR", "RECOVERING", "UNKNOWN"])
def test_an_agent_cannot_say_what_only_a_master_can(state):
    cluster = Cluster()
    uuid = ordered(cluster)
    effects = cluster.harness.feed(news(uuid, state, status_uuid=None))
    [warning] = of(effects, Warn)
    assert "only a master can say" in warning.text
    assert cluster.harness.state.operations.get(uuid).state is OperationState.PENDING


def test_strangers_are_not_heard():
    cluster = Cluster()
    uuid = ordered(cluster)
    event = replace(news(uuid), peer=SCHEDULER)
    assert [type(effect) for effect in cluster.harness.feed(event)] == [Warn]
    assert cluster.harness.state.operations.get(uuid).state is OperationState.PENDING


def test_news_of_an_unknown_operation_without_an_id_is_acknowledged():
    cluster = Cluster()
    effects = cluster.harness.feed(news(b"nobody's"))
    assert effects == [SendOperationAcknowledgement(AGENT, b"nobody's", b"s", None)]


# Owners that are not there ------------------------------------------------------------------------


def orphan_news(uuid, framework_id):
    event = news(uuid, name="op")
    return replace(event, update=replace(event.update, framework_id=framework_id))


def test_the_operation_of_an_unknown_framework_waits_ten_minutes_for_it():
    cluster = Cluster()
    assert cluster.harness.feed(orphan_news(b"u", "old-0000")) == []
    cluster.harness.now_s += 600.0
    effects = cluster.harness.feed(orphan_news(b"u", "old-0000"))
    assert effects == [SendOperationAcknowledgement(AGENT, b"u", b"s", None)]


def test_a_removed_framework_leaves_orphans_that_the_master_sees_through():
    disk = provided(id="d")
    cluster = Cluster(agent={"total": Resources.parse("cpus:4") + disk})
    uuid = ordered(cluster, DestroyDisk(disk), "op")
    cluster.harness.call(Teardown())
    assert cluster.ledger.booked("m-0000", "a", "m-S0") == disk
    effects = cluster.harness.feed(news(uuid, name="op", converted=provided()))
    assert of(effects, SendOperationAcknowledgement)
    assert cluster.ledger.free("m-S0") == Resources.parse("cpus:4") + provided()
    assert not len(cluster.harness.state.operations)


def test_news_that_a_framework_was_told_before_it_went_is_acknowledged_when_repeated():
    cluster = Cluster()
    uuid = ordered(cluster, name="op")
    cluster.harness.feed(news(uuid, name="op"))
    cluster.harness.call(Teardown())
    assert of(cluster.harness.feed(news(uuid, name="op")), SendOperationAcknowledgement)
    assert not len(cluster.harness.state.operations)


# Agents that are lost and come back ---------------------------------------------------------------


def test_a_lost_agent_takes_its_operations_along():
    cluster = Cluster()
    ordered(cluster, name="op")
    ordered(cluster, Reserve(reserved("cpus:1;mem:1")))
    cluster.harness.feed(AgentPingsMissed("m-S0"))
    effects = cluster.harness.write()
    [told] = of(effects, SendOperationStatus)
    assert (told.status.state, told.status.operation_id, told.status.uuid) == (
        OperationState.UNREACHABLE,
        "op",
        None,
    )
    assert not len(cluster.harness.state.operations)


def test_a_removed_agent_is_gone_with_its_operations():
    cluster = Cluster()
    ordered(cluster, name="op")
    cluster.harness.feed(UnregistrationReceived(AGENT, "m-S0"))
    assert states(cluster.harness.write()) == [OperationState.GONE_BY_OPERATOR]


def report(uuid, state="PENDING", *, name=None, framework_id="m-0000", change=None):
    return OperationReport(
        uuid=uuid,
        change=change or Reserve(reserved("cpus:1")),
        status=OperationStatus(OperationState[state], operation_id=name, uuid=b"s"),
        framework_id=framework_id,
        operation_id=name,
        role="a",
    )


def told(cluster, **what):
    return cluster.harness.feed(AgentUpdateReceived(AGENT, "m-S0", AgentNews(**what)))


def test_an_agent_is_asked_for_what_it_does_not_list():
    cluster = Cluster()
    known, missing = ordered(cluster, name="op"), ordered(cluster, Reserve(reserved("mem:1")))
    effects = told(cluster, operations=(report(known, name="op"),))
    [question] = of(effects, SendReconcileOperations)
    assert [(q.uuid, q.operation_id) for q in question.operations] == [(missing, None)]
    before = cluster.total
    cluster.harness.feed(news(missing, "DROPPED", status_uuid=None))
    assert cluster.total == before - reserved("mem:1") + Resources.parse("mem:1")


def test_operations_of_an_earlier_master_are_adopted():
    cluster = Cluster()
    effects = told(cluster, operations=(report(b"u", name="op"), report(b"w", "FINISHED")))
    assert not of(effects, SendReconcileOperations)
    assert cluster.harness.state.operations.named("m-0000", "op").state is OperationState.PENDING
    assert states(cluster.harness.feed(news(b"u", name="op"))) == [OperationState.FINISHED]
    assert cluster.harness.call(AcknowledgeOperation("op", b"s")) == [
        SendOperationAcknowledgement(AGENT, b"u", b"s", None)
    ]


def test_an_agent_that_says_nothing_of_operations_is_not_asked():
    cluster = Cluster()
    ordered(cluster)
    assert told(cluster, resource_version=b"new") == []
    assert cluster.agent.resource_version == b"new"


# What agents have ---------------------------------------------------------------------------------


def test_revocable_resources_come_and_go_with_updates():
    cluster = Cluster("cpus:4")
    revocable = marked(Resources.parse("cpus:2"), is_revocable=True)
    told(cluster, oversubscribed=revocable)
    assert cluster.total == Resources.parse("cpus:4") + revocable
    assert sum((o.resources for o in cluster.offers()), start=Resources()) == cluster.total
    told(cluster)  # nothing new
    assert cluster.total == Resources.parse("cpus:4") + revocable
    cluster.harness.reregister(text="cpus:4")
    assert cluster.total == Resources.parse("cpus:4") + revocable
    told(cluster, oversubscribed=Resources())
    assert cluster.total == Resources.parse("cpus:4")


def test_resource_providers_add_what_they_have_and_name_their_version():
    cluster = Cluster("cpus:4")
    disk = provided(profile="x")
    told(cluster, providers=(ProviderReport("p", disk, b"pv"),))
    assert cluster.total == Resources.parse("cpus:4") + disk
    effects = cluster.accept(CreateDisk(disk, DiskSourceType.BLOCK))
    assert [e.resource_version for e in effects if hasattr(e, "change")] == [b"pv"]


# Questions ----------------------------------------------------------------------------------------


def asked(cluster, *operations):
    effects = cluster.harness.call(ReconcileOperations(operations))
    return [(e.status.operation_id, e.status.state.name, e.status.message) for e in effects]


def test_reconciliation():
    cluster = Cluster()
    uuid = ordered(cluster, name="done")
    cluster.harness.feed(news(uuid, name="done"))
    ordered(cluster, Reserve(reserved("mem:1")), "open")
    ordered(cluster, Reserve(reserved("mem:2")))
    everything = [("done", "FINISHED", ""), ("open", "PENDING", "")]
    assert asked(cluster) == everything
    assert asked(cluster, ("open", None), ("done", "m-S0")) == everything[::-1]
    # Recorded: a master does not ask a registered agent.
    assert asked(cluster, ("no", "m-S0"), ("no", "strange"), ("no", None)) == [
        ("no", "UNKNOWN", "Reconciliation: Operation is unknown"),
        ("no", "UNKNOWN", "Reconciliation: Operation is unknown"),
        ("no", "UNKNOWN", "Reconciliation: Operation is unknown and no 'agent_id' was provided"),
    ]


def test_reconciliation_while_agents_are_away():
    cluster = Cluster()
    cluster.harness.state.agents.recover("m-S7")
    assert [a[:2] for a in asked(cluster, ("no", "m-S7"), ("no", None))] == [
        ("no", "RECOVERING"),
        ("no", "RECOVERING"),
    ]
    cluster.harness.feed(AgentPingsMissed("m-S0"))
    cluster.harness.write()
    assert [a[:2] for a in asked(cluster, ("no", "m-S0"))] == [("no", "UNREACHABLE")]
    cluster.harness.state.registry.apply(AdmitAgent("m-S9", slave_info("m-S9")))
    cluster.harness.state.registry.apply(MarkAgentGone("m-S9", 0.0))
    assert [a[:2] for a in asked(cluster, ("no", "m-S9"))] == [("no", "GONE_BY_OPERATOR")]


def test_a_scheduler_without_feedback_is_told_nothing():
    cluster = Cluster(feedback=False)
    assert asked(cluster, ("no", None)) == []


# Limits -------------------------------------------------------------------------------------------


def record(number, framework_id="f"):
    return OperationRecord(
        number.to_bytes(16),
        "m-S0",
        Reserve(reserved("cpus:1")),
        framework_id=framework_id,
        role="a",
        operation_id=f"op-{number}",
    )


def test_what_is_over_is_remembered_up_to_a_limit():
    book = OperationBook()
    for number in range(COMPLETED_OPERATIONS_MAX + 3):
        book.add(record(number))
        book.complete(book.get(number.to_bytes(16)))
    assert len(book.completed) == COMPLETED_OPERATIONS_MAX
    assert book.completed[0].operation_id == "op-3"
    book.check_invariants()


def test_operations_under_way_are_limited():
    cluster = Cluster()
    cluster.harness.state.operations.outstanding_per_owner_max = 1
    ordered(cluster, name="op")
    effects = cluster.accept(ChangeResources(Reserve(reserved("cpus:1")), "one-more"))
    [answer] = of(effects, SendOperationStatus)
    assert "1 operations are under way already" in answer.status.message
    effects = told(cluster, operations=(report(b"u"),))
    assert "too many operations" in of(effects, Warn)[0].text


def test_an_agent_cannot_report_operations_without_end():
    cluster = Cluster()
    cluster.harness.state.operations.outstanding_per_agent_max = 2
    reports = tuple(report(uuid, framework_id=f"f-{uuid.hex()}") for uuid in (b"u", b"v", b"w"))
    effects = told(cluster, operations=reports)
    assert "too many operations" in of(effects, Warn)[0].text
    assert len(cluster.harness.state.operations) == 2


def test_what_an_adopted_operation_works_on_is_not_offered():
    disk = provided(id="d")
    cluster = Cluster(agent={"total": Resources.parse("cpus:4") + disk})
    cluster.offers()
    told(cluster, operations=(report(b"u", change=DestroyDisk(disk)),))
    assert cluster.ledger.booked("m-0000", "a", "m-S0").contains(disk)
    assert [o.resources for o in cluster.offers()] == [Resources.parse("cpus:4")]
    cluster.harness.feed(news(b"u", converted=provided()))
    assert cluster.total == Resources.parse("cpus:4") + provided()
