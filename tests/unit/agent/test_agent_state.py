"""What ``/state`` shows of reservations and of a drain, against the recorded answer."""

import json

import pytest
from google.protobuf import json_format

from cluster.core.agent.executor_state import Drain
from cluster.model.attributes import Attributes
from cluster.model.conversions import with_checkpointed
from cluster.model.ids import AgentId
from cluster.model.resources import EMPTY, Resources
from cluster.web.agent_state import agent_state_json
from cluster.wire.agent import AgentDescription
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.resources import resources_from_pb
from tests.fixtures_dir import fixtures

DECLARED = Resources.parse("cpus:4;mem:4096;disk:8192;ports:[31000-32000]")


def shown(total, drain=None):
    agent = AgentDescription(
        AgentId("S0"), "host", 5051, DECLARED, Attributes.parse(""), None, "1.11.0", b"v"
    )
    return agent_state_json(
        agent,
        pid="slave(1)@10.0.0.2:5051",
        start_time_s=0.0,
        flags={},
        frameworks=(),
        completed=(),
        directories={},
        total=total,
        drain=drain,
    )


def test_reservations_are_shown_as_recorded():
    answer = json.loads((fixtures() / "http/agent-5051/state.json").read_text())
    recorded = answer["response"]["json"]
    kept = []
    for one in recorded["reserved_resources_full"]["ads"]:
        spelled_once = {key: value for key, value in one.items() if key != "reservations"}
        kept.append(json_format.ParseDict(spelled_once, mesos.Resource()))
    state = shown(with_checkpointed(DECLARED, resources_from_pb(kept)))
    for key in (
        "resources",
        "reserved_resources",
        "unreserved_resources",
        "reserved_resources_full",
        "resource_providers",
    ):
        assert state[key] == recorded[key], key
    # Our order of what is left differs: ports stay where they were declared.
    by_name = {one["name"]: one for one in recorded["unreserved_resources_full"]}
    assert {one["name"]: one for one in state["unreserved_resources_full"]} == by_name


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (mesos.DrainConfig(), {"mark_gone": False}),
        (
            mesos.DrainConfig(
                mark_gone=True, max_grace_period=mesos.DurationInfo(nanoseconds=1_500_000_000)
            ),
            {"max_grace_period": {"nanoseconds": 1_500_000_000}, "mark_gone": True},
        ),
    ],
)
def test_a_drain_is_shown(config, want):
    state = shown(DECLARED, Drain(None, config.mark_gone, config, 1234.5))
    assert state["drain_config"] == want
    assert state["estimated_drain_start_time_seconds"] == 1234
    assert "drain_config" not in shown(DECLARED)
    assert shown(EMPTY)["reserved_resources"] == {}
