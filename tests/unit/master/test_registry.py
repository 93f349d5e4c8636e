"""Operations on the registry value, against a plain account of it and against recorded writes."""

import base64
import json

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.master.registry import (
    AdmitAgent,
    DeactivateAgent,
    DrainAgent,
    MarkAgentDrained,
    MarkAgentGone,
    MarkAgentReachable,
    MarkAgentUnreachable,
    PruneAgents,
    ReactivateAgent,
    RecordMaster,
    Registry,
    RemoveAgent,
    StartMaintenance,
    StopMaintenance,
    UpdateAgent,
    UpdateQuota,
    UpdateSchedule,
    UpdateWeights,
)
from cluster.model.draining import DrainConfig
from cluster.model.ids import AgentId
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.quotas import Quota
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import registry_pb2
from tests.fixtures_dir import fixtures

A, B, C = AgentId("a"), AgentId("b"), AgentId("c")
M, N, P = MachineId("m", "10.0.0.1"), MachineId("n", ""), MachineId("o", "")
CONFIG = DrainConfig(5_000_000_000, mark_gone=True)
SOON, LATER = Unavailability(100.0, 60.0), Unavailability(500.0)


def info(agent_id, hostname="host"):
    return mesos.SlaveInfo(id=mesos.SlaveID(value=agent_id), hostname=hostname)


def admitted(*agent_ids):
    registry = Registry()
    for agent_id in agent_ids:
        registry.apply(AdmitAgent(agent_id, info(agent_id)))
    return registry


def standing(registry):
    """``(admitted, unreachable, gone)`` as the stored bytes tell it."""
    value = registry.value()
    return (
        [entry.info.id.value for entry in value.slaves.slaves],
        [entry.id.value for entry in value.unreachable.slaves],
        [entry.id.value for entry in value.gone.slaves],
    )


MUTATED, UNCHANGED = (True, None), (False, None)


@pytest.mark.parametrize(
    ("before", "operation", "want", "after"),
    [
        ([], AdmitAgent(A, info(A)), MUTATED, (["a"], [], [])),
        ([AdmitAgent(A, info(A))], AdmitAgent(A, info(A)), "admitted already", (["a"], [], [])),
        ([AdmitAgent(A, info(A))], UpdateAgent(A, info(A)), UNCHANGED, (["a"], [], [])),
        ([AdmitAgent(A, info(A))], UpdateAgent(A, info(A, "x")), MUTATED, (["a"], [], [])),
        ([], UpdateAgent(A, info(A)), "not admitted", ([], [], [])),
        ([AdmitAgent(A, info(A))], MarkAgentUnreachable(A, 5.0), MUTATED, ([], ["a"], [])),
        ([], MarkAgentUnreachable(A, 5.0), "not admitted", ([], [], [])),
        ([AdmitAgent(A, info(A))], MarkAgentReachable(A, info(A)), UNCHANGED, (["a"], [], [])),
        ([], MarkAgentReachable(A, info(A)), MUTATED, (["a"], [], [])),
        ([AdmitAgent(A, info(A))], MarkAgentGone(A, 5.0), MUTATED, ([], [], ["a"])),
        ([], MarkAgentGone(A, 5.0), "unknown", ([], [], [])),
        ([AdmitAgent(A, info(A))], RemoveAgent(A), MUTATED, ([], [], [])),
        ([], RemoveAgent(A), "not admitted", ([], [], [])),
        ([], PruneAgents((A,), (B,)), UNCHANGED, ([], [], [])),
    ],
)
def test_places_of_an_agent(before, operation, want, after):
    registry = Registry()
    for earlier in before:
        assert registry.apply(earlier).error is None
    outcome = registry.apply(operation)
    if isinstance(want, str):
        assert want in outcome.error
        assert not outcome.is_mutated
    else:
        assert (outcome.is_mutated, outcome.error) == want
    assert standing(registry) == after


def test_an_unreachable_agent_returns_or_goes_for_good():
    registry = admitted(A, B)
    registry.apply(MarkAgentUnreachable(A, 5.5))
    assert registry.unreachable_since_s(A) == 5.5
    registry.apply(MarkAgentUnreachable(B, 6.0))
    assert registry.apply(MarkAgentGone(B, 7.0)).is_mutated
    assert registry.apply(MarkAgentReachable(A, info(A))).is_mutated
    assert standing(registry) == (["a"], [], ["b"])
    assert registry.apply(MarkAgentGone(B, 8.0)) == registry.apply(PruneAgents())
    assert "gone" in registry.apply(MarkAgentReachable(B, info(B))).error
    assert "gone" in registry.apply(AdmitAgent(B, info(B))).error


def test_pruning_leaves_the_neighbours_alone():
    registry = admitted(A, B, C)
    for agent_id in (A, B, C):
        registry.apply(MarkAgentUnreachable(agent_id, 1.0))
    assert registry.apply(PruneAgents(unreachable=(B,))).is_mutated
    assert standing(registry) == ([], ["a", "c"], [])


def test_service_stays_with_an_agent_that_is_away():
    registry = admitted(A)
    assert registry.apply(DrainAgent(A, CONFIG)).is_mutated
    registry.apply(MarkAgentUnreachable(A, 1.0))
    (lost,) = registry.value().unreachable.slaves
    assert lost.drain_info.config.mark_gone
    assert lost.drain_info.config.max_grace_period.nanoseconds == 5_000_000_000
    assert lost.deactivated
    registry.apply(MarkAgentReachable(A, info(A)))
    assert registry.apply(MarkAgentDrained(A)).is_mutated
    (slave,) = registry.value().slaves.slaves
    assert slave.drain_info.state == mesos.DRAINED
    assert registry.apply(ReactivateAgent(A)).is_mutated
    assert not registry.value().slaves.slaves[0].HasField("drain_info")
    assert not registry.value().slaves.slaves[0].deactivated


@pytest.mark.parametrize(
    ("before", "operation", "rule"),
    [
        ([], DrainAgent(A, CONFIG), "not known"),
        ([AdmitAgent(A, info(A))], MarkAgentDrained(A), "no EMPTIED"),
        ([AdmitAgent(A, info(A))], ReactivateAgent(A), "no REACTIVATE"),
        ([AdmitAgent(A, info(A)), DrainAgent(A, CONFIG)], ReactivateAgent(A), "DRAINING"),
    ],
)
def test_impossible_steps_of_service_change_nothing(before, operation, rule):
    registry = Registry()
    for earlier in before:
        registry.apply(earlier)
    stored = registry.encode()
    assert rule in registry.apply(operation).error
    assert registry.encode() == stored


def test_features_in_use_are_required_of_the_next_master():
    registry = admitted(A)
    assert registry.minimum_capabilities == ()
    registry.apply(UpdateQuota({"r": Quota({"cpus": 1000})}))
    assert registry.minimum_capabilities == ("QUOTA_V2",)
    registry.apply(DeactivateAgent(A))
    assert registry.minimum_capabilities == ("QUOTA_V2", "AGENT_DRAINING")
    registry.apply(UpdateQuota({"r": Quota()}))
    assert registry.minimum_capabilities == ("AGENT_DRAINING",)
    assert not registry.lacking_capabilities
    value = registry.value()
    value.minimum_capabilities.add(capability="TIME_TRAVEL")
    assert Registry.of(value).lacking_capabilities == ("TIME_TRAVEL",)


def test_weights_and_quotas_are_set_replaced_and_taken_away():
    registry = Registry()
    assert registry.apply(UpdateWeights({"a": 2.0, "b": 3.0})).is_mutated
    assert not registry.apply(UpdateWeights({"a": 2.0})).is_mutated
    registry.apply(UpdateWeights({"a": 4.0}))
    assert registry.weights == {"a": 4.0, "b": 3.0}
    quotas = {"a": Quota({"cpus": 1000}, {"cpus": 2000}), "b": Quota({}, {"mem": 5000})}
    assert registry.apply(UpdateQuota(quotas)).is_mutated
    assert not registry.apply(UpdateQuota(quotas)).is_mutated
    assert registry.apply(UpdateQuota({"a": Quota(), "b": Quota({"mem": 1})})).is_mutated
    assert registry.quotas == {"b": Quota({"mem": 1})}
    assert not registry.apply(UpdateQuota({"nobody": Quota()})).is_mutated


def test_a_quota_of_before_limits_existed_is_both_and_can_be_replaced():
    value = registry_pb2.Registry()
    legacy = value.quotas.add().info
    legacy.role = "r"
    legacy.guarantee.add(name="cpus", type=mesos.Value.SCALAR).scalar.value = 2.0
    registry = Registry.of(value)
    assert registry.quotas == {"r": Quota({"cpus": 2000}, {"cpus": 2000})}
    registry.apply(UpdateQuota({"r": Quota({"cpus": 1000})}))
    assert registry.quotas == {"r": Quota({"cpus": 1000})}
    assert not registry.value().quotas


def test_maintenance_of_machines():
    registry = Registry()
    both = MaintenanceWindow((M, N), SOON)
    assert registry.apply(UpdateSchedule((both,))).is_mutated
    assert registry.windows == (both,)
    assert {str(m): d.mode.name for m, d in registry.machines.items()} == {
        "m": "DRAINING",
        "n": "DRAINING",
    }
    assert "not part of" in registry.apply(StartMaintenance((MachineId("x", ""),))).error
    assert "no STOPPED" in registry.apply(StopMaintenance((M,))).error
    assert registry.apply(StartMaintenance((M,))).is_mutated
    assert "no STARTED" in registry.apply(StartMaintenance((M,))).error
    later = MaintenanceWindow((M,), Unavailability(200.0))
    assert "no UNSCHEDULED" in registry.apply(UpdateSchedule(())).error
    registry.apply(UpdateSchedule((later,)))
    assert {str(m): d.mode.name for m, d in registry.machines.items()} == {"m": "DOWN"}
    assert registry.machines[M].unavailability == Unavailability(200.0)
    assert registry.apply(StopMaintenance((M,))).is_mutated
    assert not registry.machines
    assert not registry.windows


def test_ending_maintenance_of_one_machine_leaves_the_others_in_the_schedule():
    registry = Registry()
    windows = (MaintenanceWindow((M, N), SOON), MaintenanceWindow((P,), LATER))
    registry.apply(UpdateSchedule(windows))
    registry.apply(StartMaintenance((M, P)))
    assert registry.apply(StopMaintenance((M, P))).is_mutated
    assert registry.windows == (MaintenanceWindow((N,), SOON),)
    assert list(registry.machines) == [N]
    again = Registry.of(registry.value())
    assert again.windows == registry.windows
    assert again.machines == registry.machines


def test_what_we_do_not_know_is_kept():
    value = registry_pb2.Registry()
    value.resource_provider_registry.SetInParent()
    assert Registry.of(value).value() == value


# Random operations against a plain account -------------------------------------------------------

agent_ids = st.sampled_from([A, B, C])
operations = st.one_of(
    st.builds(lambda a, h: AdmitAgent(a, info(a, h)), agent_ids, st.sampled_from("xy")),
    st.builds(lambda a, h: UpdateAgent(a, info(a, h)), agent_ids, st.sampled_from("xy")),
    st.builds(lambda a: MarkAgentReachable(a, info(a)), agent_ids),
    st.builds(MarkAgentUnreachable, agent_ids, st.integers(1, 9).map(float)),
    st.builds(MarkAgentGone, agent_ids, st.integers(1, 9).map(float)),
    st.builds(RemoveAgent, agent_ids),
    st.builds(
        PruneAgents, st.lists(agent_ids).map(tuple), st.lists(agent_ids, unique=True).map(tuple)
    ),
    st.builds(DrainAgent, agent_ids, st.just(CONFIG)),
    st.builds(MarkAgentDrained, agent_ids),
    st.builds(DeactivateAgent, agent_ids),
    st.builds(ReactivateAgent, agent_ids),
)


class PlainRegistry:
    """The same rules over the message itself, by searching and rebuilding lists."""

    def __init__(self):
        self.value = registry_pb2.Registry()

    def _lists(self):
        v = self.value
        return v.slaves, v.unreachable, v.gone

    def _find(self, agent_id):
        for place, section in enumerate(self._lists()):
            for entry in section.slaves:
                if (entry.info.id if place == 0 else entry.id).value == agent_id:
                    return place, entry
        return None, None

    def _drop(self, place, agent_id):
        section = self._lists()[place]
        kept = [
            entry
            for entry in section.slaves
            if (entry.info.id if place == 0 else entry.id).value != agent_id
        ]
        del section.slaves[:]
        section.slaves.extend(kept)

    def apply(self, operation):
        if isinstance(operation, PruneAgents):
            for place, ids in ((1, operation.unreachable), (2, operation.gone)):
                for agent_id in ids:
                    if self._find(agent_id)[0] == place:
                        self._drop(place, agent_id)
            return
        agent_id = operation.agent_id
        place, entry = self._find(agent_id)
        old = registry_pb2.Registry.Slave()
        if entry is not None and place < 2:
            if entry.HasField("drain_info"):
                old.drain_info.CopyFrom(entry.drain_info)
            if entry.deactivated:
                old.deactivated = True
        match operation:
            case AdmitAgent() if place is None:
                self.value.slaves.slaves.add(info=operation.info)
            case UpdateAgent() if place == 0:
                entry.info.CopyFrom(operation.info)
            case MarkAgentReachable() if place in (None, 1):
                if place == 1:
                    self._drop(1, agent_id)
                old.info.CopyFrom(operation.info)
                self.value.slaves.slaves.append(old)
            case MarkAgentUnreachable() if place == 0:
                self._drop(0, agent_id)
                lost = self.value.unreachable.slaves.add()
                lost.id.value = agent_id
                lost.timestamp.nanoseconds = int(operation.at_s) * 10**9
                if old.HasField("drain_info"):
                    lost.drain_info.CopyFrom(old.drain_info)
                if old.deactivated:
                    lost.deactivated = True
            case MarkAgentGone() if place in (0, 1):
                self._drop(place, agent_id)
                gone = self.value.gone.slaves.add()
                gone.id.value = agent_id
                gone.timestamp.nanoseconds = int(operation.at_s) * 10**9
            case RemoveAgent() if place == 0:
                self._drop(0, agent_id)
            case DrainAgent() if place in (0, 1):
                entry.drain_info.state = mesos.DRAINING
                entry.drain_info.config.mark_gone = True
                entry.drain_info.config.max_grace_period.nanoseconds = CONFIG.max_grace_ns
                entry.deactivated = True
            case MarkAgentDrained() if place in (0, 1) and (
                entry.HasField("drain_info") and entry.drain_info.state == mesos.DRAINING
            ):
                entry.drain_info.state = mesos.DRAINED
            case DeactivateAgent() if place in (0, 1):
                entry.deactivated = True
            case ReactivateAgent() if place in (0, 1) and (
                entry.deactivated
                and not (entry.HasField("drain_info") and entry.drain_info.state == mesos.DRAINING)
            ):
                entry.ClearField("drain_info")
                entry.ClearField("deactivated")
        if place in (None, 0, 1) and isinstance(operation, DrainAgent | DeactivateAgent):
            names = [m.capability for m in self.value.minimum_capabilities]
            if place is not None and not names:
                self.value.minimum_capabilities.add(capability="AGENT_DRAINING")


@settings(max_examples=300, deadline=None)
@given(st.lists(operations, max_size=25), st.data())
def test_random_operations_agree_with_the_plain_account(sequence, data):
    registry, plain = Registry(), PlainRegistry()
    for operation in sequence:
        before = registry.value()
        outcome = registry.apply(operation)
        plain.apply(operation)
        after = registry.value()
        assert after == plain.value
        assert outcome.is_mutated == (before != after)
        if data.draw(st.booleans()):
            registry = Registry.of(after)  # a restart in between makes no difference
    assert Registry.of(registry.value()).value() == registry.value()


# Recorded truth ----------------------------------------------------------------------------------


def recorded_values():
    entries = json.loads((fixtures() / "zk/registry-log-writes.json").read_text())
    return [
        registry_pb2.Registry.FromString(base64.b64decode(entry["registry_base64"]))
        for entry in entries
        if "registry_base64" in entry
    ]


def test_recorded_writes_of_a_real_master_are_repeated():
    """Ten stores: what happened is named here, every value must come out as it was stored."""
    values = recorded_values()
    agent_id = AgentId(values[1].slaves.slaves[0].info.id.value)
    gone_ns = values[9].gone.slaves[0].timestamp.nanoseconds
    (window,) = Registry.of(values[4]).windows
    quota = Quota({"cpus": 1000}, {"cpus": 4000, "mem": 2_048_000})
    steps = [
        RecordMaster(values[0].master.info),
        AdmitAgent(agent_id, values[1].slaves.slaves[0].info),
        UpdateWeights({"ads": 2.5}),
        UpdateQuota({"ads": quota}),
        UpdateSchedule((window,)),
        RecordMaster(values[5].master.info),
        DeactivateAgent(agent_id),
        DrainAgent(agent_id, DrainConfig()),
        MarkAgentDrained(agent_id),
        MarkAgentGone(agent_id, gone_ns / 1e9),
    ]
    registry = Registry()
    for step, want in zip(steps, values, strict=True):
        assert registry.apply(step).is_mutated, step
        assert registry.value() == want, step


def test_a_recorded_registry_is_read_and_written_as_it_is():
    recorded = json.loads((fixtures() / "http/master/registrar_1_registry.json").read_text())
    value = json_format.ParseDict(recorded["response"]["json"], registry_pb2.Registry())
    registry = Registry.of(value)
    assert registry.weights == {"ads": 2.5, "web": 0.5}
    assert registry.quotas["ads"].limits == {"cpus": 5000, "mem": 4_096_000}
    assert len(registry.admitted_ids) == 2
    (machine,) = registry.machines
    assert str(machine) == "otherhost"
    for slave in value.slaves.slaves:
        slave.ClearField("deactivated")  # false is the default: we leave it out
    assert registry.value() == value
