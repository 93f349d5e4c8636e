"""Weights and quotas of roles: what operators may set, and what follows.

Source: master.md §9 (weights, quota); the recorded refusals of a real master.
Differs: quota may be set on nested roles too. Then the guarantees below a role must fit into its
own guarantee, resource by resource, where it has one, and no limit may exceed one above it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping

from cluster.core.allocator.events import QuotasUpdated, WeightsUpdated
from cluster.core.master import registry
from cluster.core.master.answers import BAD_REQUEST, Answer
from cluster.core.master.effects import WriteRegistry
from cluster.core.master.registry import RegistryOperation
from cluster.core.master.state import MasterState
from cluster.model.operator_calls import UpdateQuotas, UpdateWeights
from cluster.model.quotas import Quota
from cluster.model.resources import ResourceIdentity, Resources
from cluster.model.roles import ANY_ROLE, ancestors, is_strict_descendant, role_error
from cluster.model.values import Quantities, format_milli

QUOTA_MILLI_MAX = 10**15
"""A trillion of anything, in thousandths; of megabytes nearly an exabyte."""
FORCE = "use 'force' to skip this check"


class Shares:
    """The calls and what follows; calls return their answer, or None for later."""

    def __init__(self, state: MasterState) -> None:
        self._state = state
        self._under_way: deque[Mapping[str, Quota]] = deque()
        """Quotas that the registry is being told of, oldest first: later calls build on them."""

    # Weights -------------------------------------------------------------------------------------

    def update_weights(self, call: UpdateWeights, request: int) -> Answer | None:
        for role, weight in call.weights.items():
            if (error := role_error(role)) is not None:
                return Answer(BAD_REQUEST, f"weight_infos.role: {error}")
            if not math.isfinite(weight) or weight <= 0:
                text = f"weight_infos.weight: must be above 0, not {weight:g} (role '{role}')"
                return Answer(BAD_REQUEST, text)
        self._state.emit(WriteRegistry(registry.UpdateWeights(dict(call.weights)), request))
        return None

    # Quotas --------------------------------------------------------------------------------------

    def update_quotas(self, call: UpdateQuotas, request: int) -> Answer | None:
        """All or nothing: one quota that is refused refuses the call."""
        for role, quota in call.quotas.items():
            if (error := quota_error(role, quota)) is not None:
                return Answer(BAD_REQUEST, f"quota_configs: {error}")
        after = dict(self._state.registry.quotas)
        for quotas in (*self._under_way, call.quotas):
            after.update(quotas)
        after = {role: quota for role, quota in after.items() if not quota.is_default}
        error = tree_error(after)
        if error is None and not call.force:
            error = self._capacity_error(after) or self._consumption_error(call.quotas)
        if error is not None:
            return Answer(BAD_REQUEST, f"quota_configs: {error}")
        self._under_way.append(call.quotas)
        self._state.emit(WriteRegistry(registry.UpdateQuota(dict(call.quotas)), request))
        return None

    def _capacity_error(self, quotas: Mapping[str, Quota]) -> str | None:
        """Guarantees that together exceed the cluster cannot be kept."""
        there_is: Counter[str] = Counter()
        for agent in self._state.agents.registered:
            there_is.update(_firm(agent.spec.total).quantities())
        for name, milli in top_guarantees(quotas).items():
            if milli > there_is[name]:
                return (
                    f"the guarantees of {name} add up to {format_milli(milli)}, but the cluster "
                    f"has only {format_milli(there_is[name])} ({FORCE})"
                )
        return None

    def _consumption_error(self, quotas: Mapping[str, Quota]) -> str | None:
        """A limit below what a role uses already would not hold."""
        for role, quota in quotas.items():
            if not quota.limits:
                continue
            used = self._consumed(role)
            for name, milli in quota.limits.items():
                if used[name] > milli:
                    return (
                        f"role '{role}' uses {format_milli(used[name])} of {name}, more than its "
                        f"new limit {format_milli(milli)} ({FORCE})"
                    )
        return None

    def _consumed(self, role: str) -> Counter[str]:
        """What counts against a role's quota: reservations, used or not, and unreserved use."""
        used: Counter[str] = Counter()
        for agent in self._state.agents.registered:
            reserved = agent.spec.total.where(
                lambda identity: (
                    _is_firm(identity)
                    and identity.reserved_for is not None
                    and _is_within(identity.reserved_for, role)
                )
            )
            used.update(reserved.quantities())
            for (_, using_role), resources in self._state.used_on(agent).items():
                if _is_within(using_role, role):
                    used.update(_firm(resources.unreserved()).quantities())
        return used

    # After the registry --------------------------------------------------------------------------

    def written(self, operation: RegistryOperation) -> None:
        state = self._state
        match operation:
            case registry.UpdateWeights(weights):
                state.allocator.handle(WeightsUpdated(dict(weights)), state.now_s)
            case registry.UpdateQuota(quotas):
                self._under_way.popleft()
                state.allocator.handle(QuotasUpdated(dict(quotas)), state.now_s)
                for role, quota in quotas.items():
                    self._rescind_above_limit(role, quota)
                    self._rescind_for_guarantee(role, quota)
            case _:
                pass

    def _rescind_above_limit(self, role: str, quota: Quota) -> None:
        """Offers that would carry a role over its new limit are taken back, the newest first."""
        if not quota.limits:
            return
        held = self._consumed(role)
        offers = [offer for offer in self._state.offers if _is_within(offer.role, role)]
        for offer in offers:
            held.update(_firm(offer.resources.unreserved()).quantities())
        for offer in reversed(offers):
            if all(held[name] <= milli for name, milli in quota.limits.items()):
                return
            amounts = _firm(offer.resources.unreserved()).quantities()
            if any(
                held[name] > milli and amounts.get(name) for name, milli in quota.limits.items()
            ):
                held.subtract(amounts)
                self._state.withdraw(offer, tell=True)

    def _rescind_for_guarantee(self, role: str, quota: Quota) -> None:
        """What others are merely offered is taken back as far as a guarantee needs it."""
        missing = Counter(quota.guarantees)
        if not missing:
            return
        missing.subtract(self._consumed(role))
        others = []
        for offer in self._state.offers:
            if _is_within(offer.role, role):
                missing.subtract(_firm(offer.resources.unreserved()).quantities())
            else:
                others.append(offer)
            missing.update(_firm(offer.resources.unreserved()).quantities())
        for agent in self._state.agents.registered:
            missing.subtract(_firm(agent.spec.total.unreserved()).quantities())
            for used in self._state.used_on(agent).values():
                missing.update(_firm(used.unreserved()).quantities())
        for offer in others:
            wanted = [name for name in quota.guarantees if missing[name] > 0]
            amounts = _firm(offer.resources.unreserved()).quantities()
            if any(amounts.get(name) for name in wanted):
                missing.subtract(amounts)
                self._state.withdraw(offer, tell=True)


# Rules that need nothing but the quotas -----------------------------------------------------------


def quota_error(role: str, quota: Quota) -> str | None:
    """The first rule that one quota breaks by itself, or None."""
    if (error := role_error(role)) is not None:
        return error
    if role == ANY_ROLE:
        return f"role '{ANY_ROLE}' cannot have a quota"
    for what, amounts in (("guarantees", quota.guarantees), ("limits", quota.limits)):
        for name, milli in amounts.items():
            if not name:
                return f"role '{role}': {what} must name their resources"
            if not 0 <= milli <= QUOTA_MILLI_MAX:
                return (
                    f"role '{role}': {what}.{name} must be 0 to {QUOTA_MILLI_MAX // 1000}, not "
                    f"{format_milli(milli)}"
                )
    for name, milli in quota.guarantees.items():
        limit = quota.limits.get(name)
        if limit is not None and milli > limit:
            return (
                f"role '{role}': the guarantee of {name} {format_milli(milli)} exceeds its limit "
                f"{format_milli(limit)}"
            )
    return None


def tree_error(quotas: Mapping[str, Quota]) -> str | None:
    """The first rule that quotas of roles above and below each other break, or None."""
    below: dict[str, Counter[str]] = {}
    for role, quota in quotas.items():
        for name, milli in quota.guarantees.items():
            above = _nearest_guarantee(quotas, role, name)
            if above is not None:
                below.setdefault(above, Counter())[name] += milli
        for above in ancestors(role):
            if (error := _limit_error(role, quota, above, quotas.get(above))) is not None:
                return error
    for role, amounts in below.items():
        for name, milli in amounts.items():
            own = quotas[role].guarantees[name]
            if milli > own:
                return (
                    f"role '{role}': the guarantees of {name} below it add up to "
                    f"{format_milli(milli)}, more than its own {format_milli(own)}"
                )
    return None


def _limit_error(role: str, quota: Quota, above: str, upper: Quota | None) -> str | None:
    if upper is None:
        return None
    for name, limit in upper.limits.items():
        for what, amounts in (("limit", quota.limits), ("guarantee", quota.guarantees)):
            if amounts.get(name, 0) > limit:
                return (
                    f"role '{role}': the {what} of {name} {format_milli(amounts[name])} exceeds "
                    f"the limit {format_milli(limit)} of role '{above}'"
                )
    return None


def top_guarantees(quotas: Mapping[str, Quota]) -> Quantities:
    """What the cluster owes in all: guarantees that lie inside another's count once."""
    total: Counter[str] = Counter()
    for role, quota in quotas.items():
        for name, milli in quota.guarantees.items():
            if _nearest_guarantee(quotas, role, name) is None:
                total[name] += milli
    return total


def _nearest_guarantee(quotas: Mapping[str, Quota], role: str, name: str) -> str | None:
    """The closest role above that guarantees this resource."""
    return next(_guaranteeing(quotas, role, name), None)


def _guaranteeing(quotas: Mapping[str, Quota], role: str, name: str) -> Iterator[str]:
    return (a for a in ancestors(role) if a in quotas and quotas[a].guarantees.get(name))


def _is_within(role: str, top: str) -> bool:
    return role == top or is_strict_descendant(role, top)


def _is_firm(identity: ResourceIdentity) -> bool:
    return not identity.is_revocable


def _firm(resources: Resources) -> Resources:
    """Without what can be taken away at any time: it does not count for quotas."""
    return resources.where(_is_firm)


__all__ = ["QUOTA_MILLI_MAX", "Shares", "quota_error", "top_guarantees", "tree_error"]
