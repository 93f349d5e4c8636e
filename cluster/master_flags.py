"""Flags of the master (``python -m cluster.master``), as one frozen configuration.

Names, forms and defaults are those of Mesos. ``NOT_YET_EFFECTIVE`` lists the flags that are
understood but change nothing so far (the master says so once at its start), ``UNAVAILABLE`` those
that are refused because accepting them in silence would be dangerous. A test holds both tables
against what the code reads.

Source: master.md §11; the recorded ``/flags`` of a real master.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cluster import flag_kinds as kinds
from cluster.daemon_flags import (
    NETWORK,
    NO_AUTHENTICATION,
    NO_AUTHORIZATION,
    NO_MODULES,
    DaemonConfig,
)
from cluster.flags import flag

REGISTRY = "Registry and election"
AGENTS = "Agents"
ALLOCATION = "Allocation"
FRAMEWORKS = "Frameworks"
SECURITY = "Security"
OPERATION = "Operation"

_NO_ELECTION = "one master leads alone so far, several would not know of each other"

_UNAVAILABLE = {
    "zk": _NO_ELECTION,
    "registry_strict": "Mesos refuses it too",
    "authenticate_frameworks": NO_AUTHENTICATION,
    "authenticate_agents": NO_AUTHENTICATION,
    "authenticate_http_readonly": NO_AUTHENTICATION,
    "authenticate_http_readwrite": NO_AUTHENTICATION,
    "authenticate_http_frameworks": NO_AUTHENTICATION,
    "acls": NO_AUTHORIZATION,
    "firewall_rules": NO_AUTHORIZATION,
    "modules": NO_MODULES,
    "modules_dir": NO_MODULES,
    "hooks": NO_MODULES,
    "master_contender": NO_MODULES,
    "master_detector": NO_MODULES,
}
_NOT_YET_EFFECTIVE = frozenset(
    {
        "authentication_v0_timeout_s",
        "authenticators",
        "authorizers",
        "cluster",
        "credentials",
        "external_log_file",
        "http_authenticators",
        "http_framework_authenticators",
        "initialize_driver_logging",
        "log_auto_initialize",
        "logbufsecs",
        "max_operator_event_stream_subscribers",
        "memory_profiling",
        "quorum",
        "webui_dir",
        "zk_session_timeout_s",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterConfig(DaemonConfig):
    """Configuration of one master; field names are flag names, ``_s`` marks seconds."""

    SUMMARY: ClassVar[str] = (
        "The master of a cluster: it knows agents and frameworks, and offers the resources of the "
        "agents to the frameworks."
    )
    NOT_YET_EFFECTIVE: ClassVar[frozenset[str]] = _NOT_YET_EFFECTIVE
    UNAVAILABLE: ClassVar[Mapping[str, str]] = _UNAVAILABLE

    port: int = flag(5050, kinds.port(), "Port to listen on; 0 takes a free one", group=NETWORK)
    cluster: str | None = flag(
        None, kinds.text("NAME"), "Name of this cluster as people see it", group=OPERATION
    )
    webui_dir: str | None = flag(
        None, kinds.path(), "Directory of the web pages to serve", group=OPERATION
    )
    max_operator_event_stream_subscribers: int = flag(
        1000,
        kinds.integer(at_least=1),
        "Operators that may follow events at a time; beyond it the oldest is disconnected",
        group=OPERATION,
    )
    publish_per_framework_metrics: bool = flag(
        True, kinds.switch(), "Publish metrics of every single framework", group=OPERATION
    )
    domain: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        'Fault domain: {"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}',
        group=OPERATION,
    )

    zk: str | None = flag(
        None,
        kinds.zookeeper_url(),
        "ZooKeeper servers and path through which masters elect one leader",
        group=REGISTRY,
    )
    quorum: int | None = flag(
        None,
        kinds.integer(at_least=1),
        "How many masters make a majority for the replicated registry",
        group=REGISTRY,
    )
    registry: str = flag(
        "replicated_log",
        kinds.choice("replicated_log", "in_memory"),
        "Where agents, quotas, weights and maintenance are remembered: replicated_log is a file in "
        "the work directory (one replica), in_memory forgets them when the master ends",
        group=REGISTRY,
    )
    registry_fetch_timeout_s: float = flag(
        60.0, kinds.duration(), "How long reading the registry may take", group=REGISTRY
    )
    registry_store_timeout_s: float = flag(
        20.0, kinds.duration(), "How long writing the registry may take", group=REGISTRY
    )
    registry_strict: bool = flag(
        False, kinds.switch(), "Reserved by Mesos; true has always been refused", group=REGISTRY
    )
    registry_gc_interval_s: float = flag(
        900.0, kinds.duration(), "How often old entries of gone agents are dropped", group=REGISTRY
    )
    registry_max_agent_age_s: float = flag(
        1209600.0,
        kinds.duration(),
        "How long an unreachable or gone agent is remembered",
        group=REGISTRY,
    )
    registry_max_agent_count: int = flag(
        102400,
        kinds.integer(at_least=1),
        "How many unreachable or gone agents are remembered",
        group=REGISTRY,
    )
    log_auto_initialize: bool = flag(
        True, kinds.switch(), "Set up an empty replicated log by itself", group=REGISTRY
    )
    master_contender: str | None = flag(
        None, kinds.text("NAME"), "Module that runs for leadership", group="Modules"
    )
    master_detector: str | None = flag(
        None, kinds.text("NAME"), "Module that finds the leader", group="Modules"
    )

    agent_ping_timeout_s: float = flag(
        15.0,
        kinds.duration(at_least_s=1.0, at_most_s=900.0),
        "How long an agent has to answer one ping (1secs to 15mins)",
        group=AGENTS,
        aliases=("slave_ping_timeout",),
    )
    max_agent_ping_timeouts: int = flag(
        5,
        kinds.integer(at_least=1),
        "Unanswered pings in a row after which an agent counts as unreachable",
        group=AGENTS,
        aliases=("max_slave_ping_timeouts",),
    )
    agent_reregister_timeout_s: float = flag(
        600.0,
        kinds.duration(at_least_s=600.0),
        "How long known agents may take to come back after a new master took over "
        "(at least 10mins)",
        group=AGENTS,
        aliases=("slave_reregister_timeout",),
    )
    agent_removal_rate_limit: str | None = flag(
        None,
        kinds.rate(),
        "Most agents that may be marked unreachable in a span of time, e.g. 1/10mins",
        group=AGENTS,
        aliases=("slave_removal_rate_limit",),
    )
    recovery_agent_removal_limit: float = flag(
        1.0,
        kinds.percentage(),
        "Largest share of agents that may be missing after a fail-over; beyond it the master exits",
        group=AGENTS,
        aliases=("recovery_slave_removal_limit",),
    )
    max_executors_per_agent: int | None = flag(
        None,
        kinds.integer(at_least=1),
        "Custom executors on one agent beyond which nothing more of it is offered",
        group=AGENTS,
        aliases=("max_executors_per_slave",),
    )
    require_agent_domain: bool = flag(
        False, kinds.switch(), "Refuse agents that name no fault domain", group=AGENTS
    )
    whitelist: str | None = flag(
        None, kinds.path(), "File with the host names whose resources are offered", group=AGENTS
    )

    allocator: str = flag(
        "hierarchical",
        kinds.text("NAME"),
        "Which allocator divides the resources: hierarchical, or an installed one",
        group=ALLOCATION,
    )
    allocation_interval_s: float = flag(
        1.0,
        kinds.duration(),
        "Longest wait until changed resources are divided again",
        group=ALLOCATION,
    )
    role_sorter: str = flag(
        "drf",
        kinds.text("NAME"),
        "In which order roles are served: drf (least dominant share first), random (chances by "
        "weight), priority (highest weight first), or an installed one",
        group=ALLOCATION,
        aliases=("user_sorter",),
    )
    framework_sorter: str = flag(
        "drf",
        kinds.text("NAME"),
        "In which order the frameworks of one role are served; names as for --role_sorter",
        group=ALLOCATION,
    )
    min_allocatable_resources: str = flag(
        "cpus:0.01|mem:32",
        kinds.text("QUANTITIES"),
        "Smallest worthwhile offer; alternatives apart by |, quantities by ;",
        group=ALLOCATION,
    )
    # Differs: Mesos lets a framework hold an offer for ever. Five minutes are what frameworks that
    # collect offers on purpose hold them for; an offer that is older is most likely forgotten.
    offer_timeout_s: float | None = flag(
        300.0,
        kinds.duration_or_none(),
        "How long a framework may hold an offer before it is rescinded; none for ever",
        group=ALLOCATION,
    )
    filter_gpu_resources: bool = flag(
        True,
        kinds.switch(),
        "Offer agents with GPUs only to frameworks that say they can use them",
        group=ALLOCATION,
    )
    fair_sharing_excluded_resource_names: str | None = flag(
        None,
        kinds.text("NAMES"),
        "Resources that do not count in fair shares, separated by commas",
        group=ALLOCATION,
    )
    hold_for_large_demands: bool = flag(
        False,
        kinds.switch(),
        "Keep an agent from small tasks until a demand fits on it that is larger than what is free "
        "anywhere",
        group=ALLOCATION,
    )
    hold_agents_max_fraction: float = flag(
        0.1,
        kinds.number(at_least=0.0, at_most=1.0),
        "Largest part of the agents that is kept so at a time; one may always be",
        group=ALLOCATION,
    )
    hold_timeout_s: float = flag(
        600.0,
        kinds.duration(at_least_s=1.0),
        "How long an agent is kept so, and how long its framework then waits for another",
        group=ALLOCATION,
    )
    allocator_agent_recovery_factor: float = flag(
        0.8,
        kinds.number(at_least=0.0, at_most=1.0),
        "Share of known agents that must be back before allocation starts after a fail-over",
        group=ALLOCATION,
    )
    allocator_recovery_timeout_s: float = flag(
        600.0,
        kinds.duration(),
        "Longest wait for that share of agents",
        group=ALLOCATION,
    )
    roles: str | None = flag(
        None,
        kinds.text("NAMES"),
        "Roles that frameworks may use, separated by commas; deprecated, any role is fine",
        group=ALLOCATION,
    )
    weights: str | None = flag(
        None,
        kinds.text("ROLE=WEIGHT"),
        "Weights of roles (role=2.5,role2=1); deprecated in favour of the operator API",
        group=ALLOCATION,
    )
    offer_constraints_re2_max_mem_bytes: int = flag(
        4096,
        kinds.size(),
        "Memory that one regular expression in an offer constraint may take",
        group=ALLOCATION,
    )
    offer_constraints_re2_max_program_size: int = flag(
        100,
        kinds.integer(at_least=1),
        "Size of the compiled form of such an expression",
        group=ALLOCATION,
    )

    root_submissions: bool = flag(
        True, kinds.switch(), "Accept frameworks that run tasks as root", group=FRAMEWORKS
    )
    max_completed_frameworks: int = flag(
        50, kinds.integer(), "Finished frameworks that are remembered", group=FRAMEWORKS
    )
    max_completed_tasks_per_framework: int = flag(
        1000, kinds.integer(), "Finished tasks remembered of each framework", group=FRAMEWORKS
    )
    max_unreachable_tasks_per_framework: int = flag(
        1000, kinds.integer(), "Unreachable tasks remembered of each framework", group=FRAMEWORKS
    )
    rate_limits: kinds.JsonValue = flag(
        None,
        kinds.json_value(),
        'Messages per second that principals may send: {"limits":[{"principal":"p","qps":5,'
        '"capacity":100}],"aggregate_default_qps":10,"aggregate_default_capacity":1000}',
        group=FRAMEWORKS,
    )

    authenticate_frameworks: bool = flag(
        False,
        kinds.switch(),
        "Admit only frameworks that prove who they are",
        group=SECURITY,
        aliases=("authenticate",),
    )
    authenticate_agents: bool = flag(
        False,
        kinds.switch(),
        "Admit only agents that prove who they are",
        group=SECURITY,
        aliases=("authenticate_slaves",),
    )
    authenticate_http_readonly: bool = flag(
        False, kinds.switch(), "Authenticate requests that only read", group=SECURITY
    )
    authenticate_http_readwrite: bool = flag(
        False,
        kinds.switch(),
        "Authenticate requests that may change something",
        group=SECURITY,
        aliases=("authenticate_http",),
    )
    authenticate_http_frameworks: bool = flag(
        False, kinds.switch(), "Authenticate frameworks that use HTTP", group=SECURITY
    )
    authentication_v0_timeout_s: float = flag(
        15.0, kinds.duration(), "How long one authentication may take", group=SECURITY
    )
    authenticators: str = flag(
        "crammd5", kinds.text("NAME"), "How frameworks and agents authenticate", group=SECURITY
    )
    http_authenticators: str = flag(
        "basic", kinds.text("NAMES"), "How HTTP requests authenticate", group=SECURITY
    )
    http_framework_authenticators: str | None = flag(
        None, kinds.text("NAMES"), "How frameworks that use HTTP authenticate", group=SECURITY
    )
    authorizers: str = flag(
        "local", kinds.text("NAMES"), "What decides who may do what", group=SECURITY
    )
    credentials: kinds.JsonValue = flag(
        None, kinds.json_value(), "Principals and secrets that are accepted", group=SECURITY
    )
    acls: kinds.JsonValue = flag(
        None, kinds.json_value(), "Who may do what to whom", group=SECURITY
    )
    firewall_rules: kinds.JsonValue = flag(
        None, kinds.json_value(), "Endpoints that are switched off", group=SECURITY
    )


__all__ = ["MasterConfig"]
