"""Rules for how a framework describes itself. Source: master.md §2.1, §2.3.

Rules that need the master's memory (completed ids, allowed roles) are in the core.
"""

import math
from collections.abc import Iterable

from cluster.errors import InvalidInput
from cluster.model.frameworks import FrameworkCapability
from cluster.model.roles import role_error
from cluster.validation.identifiers import id_error
from cluster.wire.framework_info import (
    framework_capabilities,
    framework_roles,
    min_allocatable,
)
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler

FAILOVER_TIMEOUT_S_MAX = 9_223_372_036.0
"""About 292 years: what fits into 64 bits of nanoseconds."""


def framework_error(
    info: mesos.FrameworkInfo,
    suppressed_roles: Iterable[str] = (),
    constraints: scheduler.OfferConstraints | None = None,
) -> str | None:
    """The first rule that a description breaks, or None."""
    return (
        roles_error(info)
        or _framework_id_error(info)
        or failover_timeout_error(info)
        or offer_filters_error(info)
        or _foreign_role_error("suppressed_roles", suppressed_roles, info)
        or _foreign_role_error(
            "offer_constraints", () if constraints is None else constraints.role_constraints, info
        )
    )


def roles_error(info: mesos.FrameworkInfo) -> str | None:
    """MULTI_ROLE decides which of the fields ``role`` and ``roles`` may be used."""
    if FrameworkCapability.MULTI_ROLE in framework_capabilities(info):
        if info.HasField("role"):
            return "role: must not be set together with MULTI_ROLE, use roles"
    elif info.roles:
        return "roles: must be empty without MULTI_ROLE, use role"
    roles = framework_roles(info)
    seen: dict[str, None] = {}
    for role in roles:
        if (error := role_error(role)) is not None:
            return f"roles: {error}"
        if role in seen:
            return f"roles: '{role}' is listed twice"
        seen[role] = None
    return None


def _framework_id_error(info: mesos.FrameworkInfo) -> str | None:
    return id_error(info.id.value, "framework_id") if info.id.value else None


def failover_timeout_error(info: mesos.FrameworkInfo) -> str | None:
    timeout_s = info.failover_timeout
    if math.isfinite(timeout_s) and abs(timeout_s) <= FAILOVER_TIMEOUT_S_MAX:
        return None
    return (
        f"The framework failover_timeout ({timeout_s:g}) is invalid: it must lie within "
        f"{FAILOVER_TIMEOUT_S_MAX:.0f} seconds"
    )


def offer_filters_error(info: mesos.FrameworkInfo) -> str | None:
    """Filters may be for own roles only, and must hold amounts that can be counted exactly."""
    own = framework_roles(info)
    for role in info.offer_filters:
        if role not in own:
            return f"offer_filters: '{role}' is not a role of the framework"
    try:
        min_allocatable(info)
    except InvalidInput as error:
        return str(error)
    return None


def _foreign_role_error(field: str, roles: Iterable[str], info: mesos.FrameworkInfo) -> str | None:
    own = framework_roles(info)
    for role in roles:
        if role not in own:
            return f"{field}: '{role}' is not a role of the framework"
    return None


__all__ = [
    "FAILOVER_TIMEOUT_S_MAX",
    "failover_timeout_error",
    "framework_error",
    "offer_filters_error",
    "roles_error",
]
