"""Wishes for offers as Mesos knows them: offer filters of the framework, and offer constraints.

Several hosts become as many alternatives; each has the attributes as well.
"""

from collections.abc import Iterator, Mapping

from cluster.errors import InvalidInput
from cluster.model.offer_wishes import OfferWish
from cluster.model.values import milli_to_float
from cluster.wire.driver import framework_roles
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import scheduler_pb2 as scheduler

_HOSTNAME = scheduler.AttributeConstraint.Selector.HOSTNAME


def with_wishes(
    framework: mesos.FrameworkInfo, wishes: Mapping[str, OfferWish]
) -> tuple[mesos.FrameworkInfo, scheduler.OfferConstraints]:
    """A copy of the framework that says what it wants, and the constraints to send with it.

    Raises:
        InvalidInput: a wish is for a role that the framework does not have, or cannot be read.
    """
    info = mesos.FrameworkInfo()
    info.CopyFrom(framework)
    constraints = scheduler.OfferConstraints()
    own = framework_roles(framework)
    for role in sorted(wishes):
        field = f"wishes[{role}]"
        if role not in own:
            raise InvalidInput(field, "is not a role of the framework")
        wish = wishes[role]
        _add_minimum(info, role, wish, field)
        hosts: object = wish.hosts
        if isinstance(hosts, str):  # a likely slip
            raise InvalidInput(f"{field}.hosts", "must be a list of host names")
        if wish.hosts or wish.attributes:
            constraints.role_constraints[role].groups.extend(_groups(wish))
    return info, constraints


def _add_minimum(info: mesos.FrameworkInfo, role: str, wish: OfferWish, field: str) -> None:
    """What the framework says itself about a role stays, unless the wish says something else."""
    alternatives = wish.alternatives(f"{field}.min_resources")
    if not alternatives:
        return
    minimum = info.offer_filters[role].min_allocatable_resources
    minimum.Clear()
    for alternative in alternatives:
        quantities = minimum.quantities.add()
        for name, milli in alternative.items():
            quantities.quantities[name].value = milli_to_float(milli)


def _groups(wish: OfferWish) -> Iterator[scheduler.OfferConstraints.RoleConstraints.Group]:
    for host in wish.hosts or (None,):
        group = scheduler.OfferConstraints.RoleConstraints.Group()
        if host is not None:
            constraint = group.attribute_constraints.add()
            constraint.selector.pseudoattribute_type = _HOSTNAME
            constraint.predicate.text_equals.value = host
        for name, text in wish.attributes.items():
            constraint = group.attribute_constraints.add()
            constraint.selector.attribute_name = name
            constraint.predicate.text_equals.value = text
        yield group


__all__ = ["with_wishes"]
