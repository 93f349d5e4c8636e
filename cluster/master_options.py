"""From flags to the settings of the master's cores."""

import math

from cluster.core.allocator import AllocatorOptions, HoldingOptions, parse_min_allocatable
from cluster.core.master.state import MasterOptions
from cluster.errors import InvalidInput
from cluster.master_flags import MasterConfig
from cluster.model.roles import check_role
from cluster.plugins import AllocatorFactory, find_allocator, find_sorter


def master_options(config: MasterConfig) -> MasterOptions:
    """Limits and waits of the master.

    Raises:
        InvalidInput: ``--roles`` holds an illegal name.
    """
    return MasterOptions(
        offer_timeout_s=config.offer_timeout_s,
        agent_reregister_timeout_s=config.agent_reregister_timeout_s,
        allowed_roles=_allowed_roles(config.roles),
        root_submissions=config.root_submissions,
        completed_frameworks_max=config.max_completed_frameworks,
        completed_tasks_per_framework_max=config.max_completed_tasks_per_framework,
        unreachable_tasks_per_framework_max=config.max_unreachable_tasks_per_framework,
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


def _allowed_roles(text: str | None) -> frozenset[str] | None:
    """The default role is always allowed."""
    if text is None:
        return None
    return frozenset({"*", *(check_role(role, field="--roles") for role in _words(text))})


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


__all__ = ["allocator_factory", "allocator_options", "master_options", "role_weights"]
