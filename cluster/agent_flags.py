"""Flags of the agent (``python -m cluster.agent``), as one frozen configuration.

Names, forms and defaults are those of Mesos. ``NOT_YET_EFFECTIVE`` lists the flags that are
understood but change nothing so far (the agent says so once at its start), ``UNAVAILABLE`` those
that are refused because accepting them in silence would be dangerous. A test holds both tables
against what the code reads.

Source: agent.md §14; the recorded ``/flags`` of a real agent.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar

from cluster import flag_kinds as kinds
from cluster.container_flags import DISK, ContainerConfig
from cluster.daemon_flags import (
    NETWORK,
    NO_AUTHENTICATION,
    NO_AUTHORIZATION,
    NO_MODULES,
    STORAGE,
)
from cluster.flags import flag, required
from cluster.model.attributes import Attributes
from cluster.model.resources import Resources

REGISTRATION = "Registration"
RESOURCES = "Resources"
EXECUTORS = "Executors"
RECOVERY = "Recovery and clean-up"
FETCHER = "Fetcher"
SECURITY = "Security"
OVERSUBSCRIPTION = "Oversubscription"
_TEMPORARY = PurePath(tempfile.gettempdir())


def _check_resources(text: str) -> None:
    """Read the text form; the JSON form is read where its fields are known (the agent)."""
    if not text.lstrip().startswith("["):
        Resources.parse(text)


_NO_ISOLATION = "containers are groups of processes so far, nothing holds them in"

_UNAVAILABLE = {
    "authenticate_http_readonly": NO_AUTHENTICATION,
    "authenticate_http_readwrite": NO_AUTHENTICATION,
    "authenticate_http_executors": NO_AUTHENTICATION,
    "acls": NO_AUTHORIZATION,
    "firewall_rules": NO_AUTHORIZATION,
    "containerizers": _NO_ISOLATION,
    "isolation": _NO_ISOLATION,
    "image_providers": _NO_ISOLATION,
    "cgroups_enable_cfs": _NO_ISOLATION,
    "cgroups_limit_swap": _NO_ISOLATION,
    "effective_capabilities": _NO_ISOLATION,
    "bounding_capabilities": _NO_ISOLATION,
    "seccomp_profile_name": _NO_ISOLATION,
    "disallow_sharing_agent_pid_namespace": _NO_ISOLATION,
    "disallow_sharing_agent_ipc_namespace": _NO_ISOLATION,
    "enforce_container_disk_quota": _NO_ISOLATION,
    "enforce_container_ports": _NO_ISOLATION,
    "xfs_kill_containers": _NO_ISOLATION,
    "http_executor_domain_sockets": "executors talk to their agent over TCP so far",
    "modules": NO_MODULES,
    "modules_dir": NO_MODULES,
    "hooks": NO_MODULES,
    "master_detector": NO_MODULES,
    "container_logger": NO_MODULES,
    "disk_profile_adaptor": NO_MODULES,
    "secret_resolver": NO_MODULES,
    "resource_estimator": NO_MODULES,
    "qos_controller": NO_MODULES,
}
_NOT_YET_EFFECTIVE = frozenset(
    {
        "agent_features",
        "agent_subsystems",
        "allowed_devices",
        "appc_simple_discovery_uri_prefix",
        "appc_store_dir",
        "authenticatee",
        "authentication_backoff_factor_s",
        "authentication_timeout_max_s",
        "authentication_timeout_min_s",
        "authorizer",
        "cgroups_cpu_enable_pids_and_tids_count",
        "cgroups_destroy_timeout_s",
        "cgroups_hierarchy",
        "cgroups_net_cls_primary_handle",
        "cgroups_net_cls_secondary_handles",
        "cgroups_root",
        "check_agent_port_range_only",
        "container_disk_watch_interval_s",
        "container_ports_isolated_range",
        "container_ports_watch_interval_s",
        "credential",
        "csi_plugin_config_dir",
        "default_container_dns",
        "default_container_info",
        "default_container_shm_size_bytes",
        "docker",
        "docker_config",
        "docker_ignore_runtime",
        "docker_kill_orphans",
        "docker_mesos_image",
        "docker_registry",
        "docker_remove_delay_s",
        "docker_socket",
        "docker_stop_timeout_s",
        "docker_store_dir",
        "docker_volume_checkpoint_dir",
        "docker_volume_chown",
        "domain_socket_location",
        "egress_flow_classifier_parent",
        "egress_rate_limit_per_container_bytes",
        "egress_unique_flow_per_container",
        "ephemeral_ports_per_container",
        "eth0_name",
        "executor_reregistration_retry_interval_s",
        "external_log_file",
        "fetcher_cache_dir",
        "fetcher_cache_size_bytes",
        "fetcher_stall_timeout_s",
        "frameworks_home",
        "gc_non_executor_container_sandboxes",
        "hadoop_home",
        "host_path_volume_force_creation",
        "http_authenticators",
        "http_command_executor",
        "http_credentials",
        "http_heartbeat_interval_s",
        "image_gc_config",
        "image_provisioner_backend",
        "ingress_rate_limit_per_container_bytes",
        "initialize_driver_logging",
        "ip6",
        "ip6_discovery_command",
        "jwt_secret_key",
        "launcher",
        "launcher_dir",
        "lo_name",
        "logbufsecs",
        "memory_profiling",
        "network_cni_config_dir",
        "network_cni_metrics",
        "network_cni_plugins_dir",
        "network_cni_root_dir_persist",
        "network_enable_snmp_statistics",
        "network_enable_socket_statistics_details",
        "network_enable_socket_statistics_summary",
        "nvidia_gpu_devices",
        "oversubscribed_resources_interval_s",
        "perf_duration_s",
        "perf_events",
        "perf_interval_s",
        "qos_correction_interval_min_s",
        "reconfiguration_policy",
        "recover",
        "resource_provider_config_dir",
        "revocable_cpu_low_priority",
        "runtime_dir",
        "sandbox_directory",
        "seccomp_config_dir",
        "strict",
        "systemd_enable_support",
        "systemd_runtime_directory",
        "volume_gid_range",
        "xfs_project_range",
        "xfs_quota_headroom_bytes",
        "zk_session_timeout_s",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig(ContainerConfig):
    """Configuration of one agent; field names are flag names, ``_s`` marks seconds."""

    SUMMARY: ClassVar[str] = (
        "The agent of one machine: it offers what the machine has, and runs the tasks that "
        "frameworks launch there."
    )
    NOT_YET_EFFECTIVE: ClassVar[frozenset[str]] = _NOT_YET_EFFECTIVE
    UNAVAILABLE: ClassVar[Mapping[str, str]] = _UNAVAILABLE

    master: str = required(
        kinds.master_address(),
        "Where the master is: host:port, master@host:port or zk://host:port/path; file:///path "
        "names a file that holds one of these",
        group=REGISTRATION,
    )
    registration_backoff_factor_s: float = flag(
        1.0,
        kinds.duration(),
        "Longest random wait before the first registration; it doubles with each try, up to 1mins",
        group=REGISTRATION,
    )
    authentication_backoff_factor_s: float = flag(
        1.0, kinds.duration(), "The same before authentication", group=REGISTRATION
    )
    authentication_timeout_min_s: float = flag(
        5.0, kinds.duration(), "Shortest wait for an answer to authentication", group=REGISTRATION
    )
    authentication_timeout_max_s: float = flag(
        60.0, kinds.duration(), "Longest wait for an answer to authentication", group=REGISTRATION
    )
    master_detector: str | None = flag(
        None, kinds.text("NAME"), "Module that finds the leading master", group=REGISTRATION
    )
    agent_features: kinds.JsonValue = flag(
        None, kinds.json_value(), "Capabilities to tell the master", group=REGISTRATION
    )

    port: int = flag(5051, kinds.port(), "Port to listen on; 0 takes a free one", group=NETWORK)
    ip6: str | None = flag(
        None, kinds.ip_address(6), "IPv6 address given to containers", group=NETWORK
    )
    ip6_discovery_command: str | None = flag(
        None, kinds.text("COMMAND"), "Command that prints that address", group=NETWORK
    )
    http_heartbeat_interval_s: float = flag(
        30.0, kinds.duration(), "Pause between heartbeats of streaming answers", group=NETWORK
    )

    resources: str | None = flag(
        None,
        kinds.checked_text("RESOURCES", _check_resources),
        "What this agent offers, e.g. cpus:4;mem:4096;ports:[31000-32000], or JSON; what is not "
        "named is detected",
        group=RESOURCES,
    )
    default_role: str = flag(
        "*", kinds.text("ROLE"), "Role of resources that name none", group=RESOURCES
    )
    attributes: str | None = flag(
        None,
        kinds.checked_text("ATTRIBUTES", Attributes.parse),
        "What is worth knowing about this machine, e.g. rack:r1;zone:a",
        group=RESOURCES,
    )
    domain: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        'Fault domain: {"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}',
        group=RESOURCES,
    )

    runtime_dir: str | None = flag(
        None,
        kinds.path(),
        "Directory for what is worthless after a reboot; without it /var/run/mesos for root, else "
        "below the temporary directory",
        group=STORAGE,
    )

    switch_user: bool = flag(
        True, kinds.switch(), "Run tasks as the user of their framework", group=EXECUTORS
    )
    executor_registration_timeout_s: float = flag(
        60.0,
        kinds.duration(),
        "How long an executor may take from its launch to its registration",
        group=EXECUTORS,
    )
    executor_reregistration_timeout_s: float = flag(
        2.0,
        kinds.duration(at_most_s=15.0),
        "How long executors may take to come back after the agent restarted (up to 15secs)",
        group=EXECUTORS,
    )
    executor_reregistration_retry_interval_s: float | None = flag(
        None,
        kinds.duration(),
        "How often executors are asked again within that time",
        group=EXECUTORS,
    )
    executor_shutdown_grace_period_s: float = flag(
        5.0,
        kinds.duration(),
        "How long an executor may take to end before it is killed",
        group=EXECUTORS,
    )
    executor_environment_variables: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        "Environment of executors, as a JSON object; it replaces the agent's own",
        group=EXECUTORS,
    )
    http_command_executor: bool = flag(
        False, kinds.switch(), "Let the command executor use the HTTP interface", group=EXECUTORS
    )
    http_executor_domain_sockets: bool = flag(
        False, kinds.switch(), "Talk to HTTP executors over a UNIX socket", group=EXECUTORS
    )
    domain_socket_location: str | None = flag(
        None, kinds.path(), "Where that socket is", group=EXECUTORS
    )
    max_completed_executors_per_framework: int = flag(
        150, kinds.integer(), "Ended executors remembered of each framework", group=EXECUTORS
    )

    recover: str = flag(
        "reconnect",
        kinds.choice("reconnect", "cleanup"),
        "What to do with executors of the agent that ran here before: reconnect or cleanup",
        group=RECOVERY,
    )
    recovery_timeout_s: float = flag(
        900.0,
        kinds.duration(),
        "How long executors wait for a restarted agent before they end themselves",
        group=RECOVERY,
    )
    strict: bool = flag(
        True, kinds.switch(), "Give up at the first damaged file of the recovery", group=RECOVERY
    )
    reconfiguration_policy: str = flag(
        "equal",
        kinds.choice("equal", "additive"),
        "How far a restarted agent may differ: equal, or additive (more resources, attributes)",
        group=RECOVERY,
    )
    gc_delay_s: float = flag(
        604800.0, kinds.duration(), "How long sandboxes of ended executors are kept", group=RECOVERY
    )
    gc_disk_headroom: float = flag(
        0.1,
        kinds.number(at_least=0.0, at_most=1.0),
        "Share of the disk to keep free: sandboxes go earlier the fuller the disk is",
        group=RECOVERY,
    )
    disk_watch_interval_s: float = flag(
        60.0, kinds.duration(), "How often the use of the disk is measured", group=DISK
    )
    gc_non_executor_container_sandboxes: bool = flag(
        False, kinds.switch(), "Clean up sandboxes of nested containers too", group=RECOVERY
    )

    fetcher_cache_size_bytes: int = flag(
        2 << 30, kinds.size(), "Space for cached downloads", group=FETCHER
    )
    fetcher_cache_dir: str = flag(
        str(_TEMPORARY / "mesos/fetch"), kinds.path(), "Directory of that cache", group=FETCHER
    )
    fetcher_stall_timeout_s: float = flag(
        60.0, kinds.duration(), "How long a download may stand still", group=FETCHER
    )
    frameworks_home: str = flag(
        "", kinds.text("PATH"), "Directory before relative paths of URIs", group=FETCHER
    )
    hadoop_home: str | None = flag(
        None, kinds.path(), "Where Hadoop is installed, for hdfs:// URIs", group=FETCHER
    )

    credential: kinds.JsonValue = flag(
        None, kinds.json_value(), "Principal and secret to authenticate with", group=SECURITY
    )
    authenticatee: str = flag(
        "crammd5", kinds.text("NAME"), "How to authenticate at the master", group=SECURITY
    )
    authenticate_http_readonly: bool = flag(
        False, kinds.switch(), "Authenticate requests that only read", group=SECURITY
    )
    authenticate_http_readwrite: bool = flag(
        False, kinds.switch(), "Authenticate requests that may change something", group=SECURITY
    )
    authenticate_http_executors: bool = flag(
        False, kinds.switch(), "Authenticate HTTP executors", group=SECURITY
    )
    http_authenticators: str | None = flag(
        None, kinds.text("NAMES"), "How HTTP requests authenticate", group=SECURITY
    )
    http_credentials: kinds.JsonValue = flag(
        None, kinds.json_value(), "Principals and secrets that are accepted", group=SECURITY
    )
    jwt_secret_key: str | None = flag(
        None,
        kinds.path(),
        "File with the key that signs tokens of executors",
        group=SECURITY,
        aliases=("executor_secret_key",),
    )
    acls: kinds.JsonValue = flag(
        None, kinds.json_value(), "Who may do what to whom", group=SECURITY
    )
    authorizer: str = flag(
        "local", kinds.text("NAME"), "What decides who may do what", group=SECURITY
    )
    firewall_rules: kinds.JsonValue = flag(
        None, kinds.json_value(), "Endpoints that are switched off", group=SECURITY
    )

    resource_estimator: str | None = flag(
        None, kinds.text("NAME"), "Module that finds unused resources", group=OVERSUBSCRIPTION
    )
    qos_controller: str | None = flag(
        None, kinds.text("NAME"), "Module that guards the others", group=OVERSUBSCRIPTION
    )
    qos_correction_interval_min_s: float = flag(
        0.0, kinds.duration(), "Shortest pause between corrections", group=OVERSUBSCRIPTION
    )
    oversubscribed_resources_interval_s: float = flag(
        15.0,
        kinds.duration(),
        "How often unused resources are reported",
        group=OVERSUBSCRIPTION,
    )


__all__ = ["AgentConfig"]
