"""``FrameworkInfo`` to and from the model."""

from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import FrameworkId
from cluster.model.values import Quantities, milli_from_float
from cluster.wire.pb import mesos_pb2 as mesos

_CAPABILITIES = {int(capability): capability for capability in FrameworkCapability}


def framework_roles(info: mesos.FrameworkInfo) -> tuple[str, ...]:
    """The roles a framework asks for, in its order; ``role`` counts without MULTI_ROLE only."""
    if FrameworkCapability.MULTI_ROLE in framework_capabilities(info):
        return tuple(info.roles)
    return (info.role,)


def framework_capabilities(info: mesos.FrameworkInfo) -> frozenset[FrameworkCapability]:
    """Known capabilities; those of the future are ignored."""
    return frozenset(
        _CAPABILITIES[capability.type]
        for capability in info.capabilities
        if capability.type in _CAPABILITIES
    )


def min_allocatable(info: mesos.FrameworkInfo) -> dict[str, tuple[Quantities, ...]]:
    """Role -> alternatives of which an offer must hold one; roles without a wish are left out.

    Raises:
        InvalidInput: an amount is negative or no number.
    """
    return {
        role: tuple(
            _quantities(alternative, f"offer_filters[{role}]")
            for alternative in info.offer_filters[role].min_allocatable_resources.quantities
        )
        for role in sorted(info.offer_filters)
        if info.offer_filters[role].HasField("min_allocatable_resources")
    }


def _quantities(message: mesos.OfferFilters.ResourceQuantities, field: str) -> Quantities:
    return {
        name: milli_from_float(message.quantities[name].value, field=f"{field}.{name}")
        for name in sorted(message.quantities)
    }


def framework_spec(info: mesos.FrameworkInfo) -> FrameworkSpec:
    """Convert a validated description; an empty id counts as none (master.md §2.2).

    Raises:
        InvalidInput: offer filters that validation would have refused.
    """
    return FrameworkSpec(
        framework_id=FrameworkId(info.id.value) if info.id.value else None,
        name=info.name,
        user=info.user,
        roles=framework_roles(info),
        capabilities=framework_capabilities(info),
        failover_timeout_s=info.failover_timeout,
        checkpoint=info.checkpoint,
        principal=info.principal if info.HasField("principal") else None,
        payload=info,
        min_allocatable=min_allocatable(info),
    )


def framework_info(spec: FrameworkSpec) -> mesos.FrameworkInfo:
    """The framework's own message, with what the master decided about it filled in."""
    assert isinstance(spec.payload, mesos.FrameworkInfo)
    info = mesos.FrameworkInfo()
    info.CopyFrom(spec.payload)
    if spec.framework_id is not None:
        info.id.value = spec.framework_id
    info.user = spec.user
    if info.checkpoint != spec.checkpoint:
        info.checkpoint = spec.checkpoint
    return info


__all__ = [
    "framework_capabilities",
    "framework_info",
    "framework_roles",
    "framework_spec",
    "min_allocatable",
]
