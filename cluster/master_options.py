"""From flags to the settings of the master's cores."""

import math

from google.protobuf import json_format

from cluster.core.allocator import AllocatorOptions, HoldingOptions, parse_min_allocatable
from cluster.core.master.rate_limits import RateLimit, RateLimits
from cluster.core.master.state import MasterOptions
from cluster.errors import InvalidInput
from cluster.flag_kinds import JsonValue
from cluster.master_flags import MasterConfig
from cluster.model.domains import FaultDomain
from cluster.model.durations import parse_duration
from cluster.model.roles import check_role
from cluster.plugins import AllocatorFactory, find_allocator, find_sorter
from cluster.validation.offer_constraints import RegexLimits
from cluster.wire.pb import mesos_pb2 as mesos


def master_options(config: MasterConfig) -> MasterOptions:
    """Limits and waits of the master.

    Raises:
        InvalidInput: ``--roles`` or ``--weights`` holds an illegal name, or ``--domain`` is none.
    """
    domain = fault_domain(config)
    if config.require_agent_domain and domain is None:
        raise InvalidInput("--require_agent_domain", "needs --domain: no agent could register")
    return MasterOptions(
        offer_timeout_s=config.offer_timeout_s,
        agent_reregister_timeout_s=config.agent_reregister_timeout_s,
        allowed_roles=_allowed_roles(config.roles),
        root_submissions=config.root_submissions,
        completed_frameworks_max=config.max_completed_frameworks,
        completed_tasks_per_framework_max=config.max_completed_tasks_per_framework,
        unreachable_tasks_per_framework_max=config.max_unreachable_tasks_per_framework,
        removal_interval_s=_interval_s(config.agent_removal_rate_limit),
        recovery_removal_limit=config.recovery_agent_removal_limit,
        allocator_recovery_timeout_s=config.allocator_recovery_timeout_s,
        registry_gc_interval_s=config.registry_gc_interval_s,
        registry_max_agent_age_s=config.registry_max_agent_age_s,
        registry_max_agent_count=config.registry_max_agent_count,
        seed_weights=role_weights(config),
        domain=domain,
        require_agent_domain=config.require_agent_domain,
        executors_per_agent_max=config.max_executors_per_agent,
    )


def allocator_options(config: MasterConfig) -> AllocatorOptions:
    """Settings of the allocator.

    Raises:
        InvalidInput: ``--min_allocatable_resources`` cannot be read, or a sorter is unknown.
    """
    return AllocatorOptions(
        allocation_interval_s=config.allocation_interval_s,
        min_allocatable=parse_min_allocatable(config.min_allocatable_resources),
        fair_sharing_excluded=frozenset(_words(config.fair_sharing_excluded_resource_names)),
        role_sorter=find_sorter(config.role_sorter, flag="--role_sorter"),
        framework_sorter=find_sorter(config.framework_sorter, flag="--framework_sorter"),
        filter_gpu_resources=config.filter_gpu_resources,
        domain=fault_domain(config),
        recovery_factor=config.allocator_agent_recovery_factor,
        holding=_holding_options(config),
    )


def _holding_options(config: MasterConfig) -> HoldingOptions | None:
    if not config.hold_for_large_demands:
        return None
    return HoldingOptions(
        agents_fraction_max=config.hold_agents_max_fraction, hold_s_max=config.hold_timeout_s
    )


def allocator_factory(config: MasterConfig) -> AllocatorFactory:
    """What makes the allocator.

    Raises:
        InvalidInput: ``--allocator`` is unknown, or what it names is no allocator.
    """
    return find_allocator(config.allocator, allocator_options(config), flag="--allocator")


def role_weights(config: MasterConfig) -> dict[str, float]:
    """``--weights=role=2.5,other=1`` as role -> weight.

    Raises:
        InvalidInput: an entry is not ``role=weight`` with a finite weight above 0.
    """
    weights: dict[str, float] = {}
    for entry in _words(config.weights):
        role, _, text = entry.partition("=")
        check_role(role, field="--weights")
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight) or weight <= 0:
            raise InvalidInput("--weights", f"must be role=number above 0, not {entry!r}")
        weights[role] = weight
    return weights


def fault_domain(config: MasterConfig) -> FaultDomain | None:
    """``--domain`` as region and zone; None when the flag is absent or empty JSON.

    Raises:
        InvalidInput: it is not ``{"fault_domain":{"region":{"name":...},"zone":{"name":...}}}``.
    """
    if config.domain is None or config.domain == {}:
        return None
    return FaultDomain(_domain_name(config.domain, "region"), _domain_name(config.domain, "zone"))


def _domain_name(domain: JsonValue, part: str) -> str:
    name: JsonValue = domain
    for key in ("fault_domain", part, "name"):
        name = name.get(key) if isinstance(name, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidInput("--domain", f"fault_domain.{part}.name must be a text, not empty")
    return name


def parse_whitelist(text: str) -> frozenset[str] | None:
    """Host names, one a line; a line ``*`` stands for all hosts. No line means no host."""
    hostnames = frozenset(line.strip() for line in text.splitlines() if line.strip())
    return None if "*" in hostnames else hostnames


def _interval_s(rate: str | None) -> float:
    """``N/duration`` as seconds from one to the next; 0 without a limit."""
    if rate is None:
        return 0.0
    count, _, span = rate.partition("/")
    return parse_duration(span) / int(count)


def regex_limits(config: MasterConfig) -> RegexLimits:
    """What a pattern in offer constraints may cost."""
    return RegexLimits(
        config.offer_constraints_re2_max_mem_bytes, config.offer_constraints_re2_max_program_size
    )


def rate_limits(config: MasterConfig) -> RateLimits | None:
    """``--rate_limits``, None when there are none.

    Raises:
        InvalidInput: it is no RateLimits message in JSON form, lists a principal twice, or a rate
            is not above 0.
    """
    flag = "--rate_limits"
    if config.rate_limits is None:
        return None
    if not isinstance(config.rate_limits, dict):
        raise InvalidInput(flag, "must be a JSON object")
    message = mesos.RateLimits()
    try:
        json_format.ParseDict(config.rate_limits, message)
    except json_format.ParseError as error:
        raise InvalidInput(flag, f"cannot be read: {error}") from error
    limits: dict[str, RateLimit] = {}
    for index, entry in enumerate(message.limits):
        field = f"{flag}.limits[{index}]"
        if not entry.principal:
            raise InvalidInput(f"{field}.principal", "must be set")
        if entry.principal in limits:
            raise InvalidInput(f"{field}.principal", f"'{entry.principal}' is listed twice")
        limits[entry.principal] = RateLimit(
            _qps(entry.qps, f"{field}.qps") if entry.HasField("qps") else None,
            entry.capacity if entry.HasField("capacity") else None,
        )
    default = None
    if message.HasField("aggregate_default_qps"):
        default = RateLimit(
            _qps(message.aggregate_default_qps, f"{flag}.aggregate_default_qps"),
            message.aggregate_default_capacity
            if message.HasField("aggregate_default_capacity")
            else None,
        )
    return RateLimits(limits, default)


def _qps(value: float, field: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise InvalidInput(field, f"must be a number above 0, not {value:g}")
    return value


def _allowed_roles(text: str | None) -> frozenset[str] | None:
    """The default role is always allowed."""
    if text is None:
        return None
    return frozenset({"*", *(check_role(role, field="--roles") for role in _words(text))})


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


__all__ = [
    "allocator_factory",
    "allocator_options",
    "fault_domain",
    "master_options",
    "parse_whitelist",
    "rate_limits",
    "regex_limits",
    "role_weights",
]
