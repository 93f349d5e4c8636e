"""The environment of executors, compared with a recorded one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.containers.environment import DEFAULT_PATH, ExecutorFacts, executor_environment
from cluster.model.ids import AgentId, ExecutorId, FrameworkId
from tests.fixtures_dir import fixtures

FACTS = ExecutorFacts(
    framework_id=FrameworkId("fw"),
    executor_id=ExecutorId("ex"),
    agent_id=AgentId("S0"),
    agent_pid="slave(1)@127.0.0.1:5051",
    agent_endpoint="127.0.0.1:5051",
    directory=Path("/sandbox"),
    checkpoint=False,
    shutdown_grace_s=5.0,
    recovery_timeout_s=900.0,
    subscription_backoff_s_max=2.0,
    listen_ip="127.0.0.1",
    allocation_role=None,
)


def facts(**changes):
    return replace(FACTS, **changes)


def environment(one=None, *, inherited=None, replacement=None, wanted=None):
    return executor_environment(
        one or facts(), inherited=inherited or {}, replacement=replacement, wanted=wanted or {}
    )


def test_names_and_values_are_those_recorded():
    text = (fixtures() / "api/executor-json.json").read_text()
    recorded = json.loads(text)["environment"]
    made = environment(
        facts(
            framework_id=recorded["MESOS_FRAMEWORK_ID"],
            executor_id=recorded["MESOS_EXECUTOR_ID"],
            agent_id=recorded["MESOS_SLAVE_ID"],
            directory=Path(recorded["MESOS_DIRECTORY"]),
            checkpoint=True,
        )
    )
    assert made.pop("PATH") == DEFAULT_PATH
    assert made == recorded


def test_waiting_for_a_restarted_agent_is_only_for_those_who_checkpoint():
    made = environment()
    assert made["MESOS_CHECKPOINT"] == "0"
    assert "MESOS_RECOVERY_TIMEOUT" not in made
    assert "MESOS_SUBSCRIPTION_BACKOFF_MAX" not in made


@pytest.mark.parametrize(("seconds", "text"), [(5.0, "5secs"), (90.0, "1.5mins"), (0.25, "250ms")])
def test_durations_are_text_with_the_largest_unit(seconds, text):
    made = environment(facts(shutdown_grace_s=seconds))
    assert made["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"] == text


def test_what_is_optional_is_absent():
    made = environment(facts(listen_ip=None))
    assert "LIBPROCESS_IP" not in made
    assert "MESOS_ALLOCATION_ROLE" not in made
    assert environment(facts(allocation_role="ads"))["MESOS_ALLOCATION_ROLE"] == "ads"


def test_the_agents_own_settings_are_not_inherited():
    inherited = {"HOME": "/root", "MESOS_WORK_DIR": "/w", "LIBPROCESS_PORT": "5051", "PATH": "/bin"}
    made = environment(inherited=inherited)
    assert (made["HOME"], made["PATH"], made["LIBPROCESS_PORT"]) == ("/root", "/bin", "0")
    assert "MESOS_WORK_DIR" not in made


def test_a_replacement_takes_the_place_of_what_is_inherited():
    made = environment(inherited={"HOME": "/root"}, replacement={"ONLY": "this"})
    assert "HOME" not in made
    assert (made["ONLY"], made["PATH"]) == ("this", DEFAULT_PATH)


def test_frameworks_add_and_override_but_not_what_the_agent_says():
    made = environment(
        inherited={"LANG": "C"},
        wanted={"LANG": "de_DE", "X": "1", "MESOS_DIRECTORY": "/elsewhere"},
    )
    assert (made["LANG"], made["X"], made["MESOS_DIRECTORY"]) == ("de_DE", "1", "/sandbox")
