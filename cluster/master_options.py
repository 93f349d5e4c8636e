"""From flags to the settings of the master's cores."""

import math

from cluster.core.allocator import AllocatorOptions, parse_min_allocatable
from cluster.core.master.state import MasterOptions
from cluster.errors import InvalidInput
from cluster.flag_kinds import JsonValue
from cluster.master_flags import MasterConfig
from cluster.model.domains import FaultDomain
from cluster.model.durations import parse_duration
from cluster.model.roles import check_role


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
    )


def allocator_options(config: MasterConfig) -> AllocatorOptions:
    """Settings of the allocator.

    Raises:
        InvalidInput: ``--min_allocatable_resources`` cannot be read.
    """
    return AllocatorOptions(
        allocation_interval_s=config.allocation_interval_s,
        min_allocatable=parse_min_allocatable(config.min_allocatable_resources),
        fair_sharing_excluded=frozenset(_words(config.fair_sharing_excluded_resource_names)),
    )


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


def _allowed_roles(text: str | None) -> frozenset[str] | None:
    """The default role is always allowed."""
    if text is None:
        return None
    return frozenset({"*", *(check_role(role, field="--roles") for role in _words(text))})


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


__all__ = [
    "allocator_options",
    "fault_domain",
    "master_options",
    "parse_whitelist",
    "role_weights",
]
