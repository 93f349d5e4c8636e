"""The flags of master and agent, against the recorded ``/flags`` of real daemons and the manual."""

import ast
import json
from pathlib import Path

import pytest

from cluster.agent_flags import AgentConfig
from cluster.daemon_flags import DaemonConfig, not_yet_effective, refuse_unavailable
from cluster.errors import InvalidInput
from cluster.flags import Parsed, flag_values, flags_of, format_help, parse_flags
from cluster.master_flags import MasterConfig
from tests.fixtures_dir import fixtures

CONFIGS = [MasterConfig, AgentConfig]
# Modules that read the configuration of the other daemon.
OTHERS_FILES = {
    MasterConfig: ("agent", "containers/", "core/agent/", "resource_detection"),
    AgentConfig: ("master", "core/master/"),
}

# What the recorded daemons had been given; everything else they show is a default of Mesos.
GIVEN_TO_MASTER = ("ip", "hostname", "log_dir", "work_dir", "webui_dir")
GIVEN_TO_AGENT = (
    *("ip", "hostname", "log_dir", "work_dir", "master", "resources", "attributes"),
    *("launcher", "launcher_dir", "runtime_dir", "registration_backoff_factor"),
    *("appc_store_dir", "docker_store_dir", "fetcher_cache_dir", "systemd_enable_support"),
)
# Shown by us and not by that build: our own flags, and flags of builds with port mapping.
SHOWN_BY_US_ALONE = {
    *("log_format", "authenticate_http_executors"),
    "offer_timeout",  # has a default here, which the real master has not
    *("hold_for_large_demands", "hold_agents_max_fraction", "hold_timeout"),
    *("check_agent_port_range_only", "enforce_container_ports", "container_ports_watch_interval"),
    *("egress_unique_flow_per_container", "network_enable_snmp_statistics"),
    *("network_enable_socket_statistics_details", "network_enable_socket_statistics_summary"),
    *("xfs_kill_containers", "xfs_project_range", "xfs_quota_headroom"),
}


def configuration(config_type, arguments):
    parsed = parse_flags(config_type, arguments, {})
    assert isinstance(parsed, Parsed)
    return parsed.config


@pytest.mark.parametrize(
    ("config_type", "recording", "given"),
    [
        (MasterConfig, "http/master/flags.json", GIVEN_TO_MASTER),
        (AgentConfig, "http/agent-5051/flags.json", GIVEN_TO_AGENT),
    ],
)
def test_names_defaults_and_spelling_are_those_of_a_real_daemon(config_type, recording, given):
    recorded = json.loads((fixtures() / recording).read_text())["response"]["json"]["flags"]
    config = configuration(config_type, [f"--{name}={recorded[name]}" for name in given])
    shown = {
        name: text for name, text in flag_values(config).items() if name not in SHOWN_BY_US_ALONE
    }
    assert shown == recorded


@pytest.mark.parametrize(
    ("config_type", "arguments", "field", "value"),
    [
        (MasterConfig, ["--slave_ping_timeout=3secs"], "agent_ping_timeout_s", 3.0),
        (MasterConfig, ["--max_slave_ping_timeouts=2"], "max_agent_ping_timeouts", 2),
        (MasterConfig, ["--slave_reregister_timeout=15mins"], "agent_reregister_timeout_s", 900.0),
        (
            MasterConfig,
            ["--slave_removal_rate_limit=1/10mins"],
            "agent_removal_rate_limit",
            "1/10mins",
        ),
        (MasterConfig, ["--recovery_slave_removal_limit=5%"], "recovery_agent_removal_limit", 0.05),
        (MasterConfig, ["--user_sorter=random"], "role_sorter", "random"),
        (MasterConfig, ["--authenticate"], "authenticate_frameworks", True),
        (MasterConfig, ["--authenticate_slaves"], "authenticate_agents", True),
        (MasterConfig, ["--authenticate_http"], "authenticate_http_readwrite", True),
        (MasterConfig, ["--max_executors_per_slave=3"], "max_executors_per_agent", 3),
        (AgentConfig, ["--executor_secret_key=/k"], "jwt_secret_key", "/k"),
        (AgentConfig, ["--slave_subsystems=cpu"], "agent_subsystems", "cpu"),
    ],
)
def test_deprecated_names(config_type, arguments, field, value):
    if config_type is AgentConfig:
        arguments = ["--master=a:1", *arguments]
    assert getattr(configuration(config_type, ["--work_dir=/w", *arguments]), field) == value


@pytest.mark.parametrize(
    ("config_type", "argument", "rule"),
    [
        (MasterConfig, "--agent_ping_timeout=500ms", "at least 1secs"),
        (MasterConfig, "--agent_ping_timeout=16mins", "at most 15mins"),
        (MasterConfig, "--max_agent_ping_timeouts=0", "at least 1"),
        (MasterConfig, "--agent_reregister_timeout=9mins", "at least 10mins"),
        (MasterConfig, "--registry=etcd", "one of replicated_log, in_memory"),
        (MasterConfig, "--acls={", "must be JSON"),
        (AgentConfig, "--executor_reregistration_timeout=16secs", "at most 15secs"),
        (AgentConfig, "--gc_disk_headroom=2", "at most 1"),
        (AgentConfig, "--recover=maybe", "one of reconnect, cleanup"),
        (AgentConfig, "--resources=cpus:four", "cpus"),
        (AgentConfig, "--attributes=rack:{a}", "rack"),
        (AgentConfig, "--launcher=docker", "one of posix, linux"),
        (AgentConfig, "--port=-1", "at least 0"),
    ],
)
def test_bounds(config_type, argument, rule):
    needed = ["--work_dir=/w"] + (["--master=a:1"] if config_type is AgentConfig else [])
    with pytest.raises(InvalidInput) as caught:
        parse_flags(config_type, [*needed, argument], {})
    assert caught.value.field == argument.partition("=")[0]
    assert rule in caught.value.rule


@pytest.mark.parametrize(
    ("argument", "value_s", "shown"), [("none", None, None), ("90secs", 90.0, "1.5mins")]
)
def test_offers_may_be_held_for_ever_again(argument, value_s, shown):
    config = configuration(MasterConfig, ["--work_dir=/w", f"--offer_timeout={argument}"])
    assert config.offer_timeout_s == value_s
    assert flag_values(config).get("offer_timeout") == shown


def test_the_agent_reads_its_master_from_a_file(tmp_path):
    file = tmp_path / "master"
    file.write_text("master@10.0.0.1:5050\n")
    config = configuration(AgentConfig, ["--work_dir=/w", f"--master=file://{file}"])
    assert config.master == "master@10.0.0.1:5050"


@pytest.mark.parametrize("config_type", CONFIGS)
def test_help_explains_every_flag_once(config_type):
    text = format_help("prog", config_type.SUMMARY, config_type)
    assert config_type.SUMMARY
    for one in flags_of(config_type).values():
        assert one.help
        assert not one.help.endswith(".")
        head = (
            f"  --[no-]{one.name}\n"
            if one.kind.is_switch
            else f"  --{one.name}={one.kind.placeholder}\n"
        )
        assert text.count(head) == 1
        assert f"MESOS_{one.name.upper()}" in text


@pytest.mark.parametrize("config_type", CONFIGS)
def test_no_two_flags_share_a_name(config_type):
    names = [name for one in flags_of(config_type).values() for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("config_type", CONFIGS)
def test_every_default_keeps_its_own_rule(config_type):
    needed = {"work_dir": "/w"} | ({"master": "a:1"} if config_type is AgentConfig else {})
    config = config_type(**needed)
    for field, one in flags_of(config_type).items():
        value = getattr(config, field)
        if value is not None:
            assert one.kind.parse(one.kind.format(value), one.name) == value


@pytest.mark.parametrize("config_type", CONFIGS)
def test_the_tables_say_what_the_code_reads(config_type):
    """A flag has an effect exactly when some module reads its field, unless a table says so."""
    fields = set(flags_of(config_type))
    tables = config_type.NOT_YET_EFFECTIVE | config_type.UNAVAILABLE.keys()
    assert tables <= fields
    read = fields & attributes_read(OTHERS_FILES[config_type])
    assert not sorted(read & config_type.NOT_YET_EFFECTIVE)
    assert not sorted(fields - read - tables)


def attributes_read(but_not_in):
    """Names of attributes that a module of the daemon reads from something called a config."""
    package = Path(__file__).parents[3] / "cluster"
    found = set()
    for file in package.rglob("*.py"):
        place = str(file.relative_to(package))
        if file.name.endswith(("_flags.py", "_pb2.py")) or place.startswith(but_not_in):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and "config" in ast.unparse(node.value):
                found.add(node.attr)
    return found


def test_only_changed_flags_are_reported():
    config = MasterConfig(work_dir="/w", quorum=3, cluster="c")
    assert not_yet_effective(MasterConfig(work_dir="/w")) == []
    assert not_yet_effective(config) == ["cluster", "quorum"]


def test_protection_that_does_not_exist_is_refused():
    config = MasterConfig(work_dir="/w", authenticate_agents=True)
    with pytest.raises(InvalidInput, match="--authenticate_agents: is not available yet"):
        refuse_unavailable(config)
    refuse_unavailable(MasterConfig(work_dir="/w"))
    refuse_unavailable(DaemonConfig(work_dir="/w"))
