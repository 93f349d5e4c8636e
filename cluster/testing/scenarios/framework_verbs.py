"""What frameworks say of themselves and want."""

import re
from dataclasses import replace

from cluster.core.allocator import parse_min_allocatable
from cluster.core.master.events import SubscribeReceived
from cluster.errors import InvalidInput
from cluster.model.calls import (
    Deactivate,
    RequestResources,
    ResourceRequest,
    Revive,
    Subscribe,
    Suppress,
    Teardown,
    UpdateFramework,
)
from cluster.model.constraints import (
    AttributeConstraint,
    ConstraintGroup,
    OfferConstraints,
    Predicate,
    PseudoAttribute,
)
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import FrameworkId
from cluster.model.operator_calls import TearDownFramework
from cluster.testing.scenarios.cast import PretendedFramework
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play, named
from cluster.testing.scenarios.words import Words
from cluster.validation.offer_constraints import compile_pattern


def framework(play: Play, given: Words) -> None:
    """A framework subscribes for the first time; a list of roles makes it MULTI_ROLE.

    ``framework NAME [role=r | roles=r,s] [capabilities=PARTITION_AWARE,...] [failover=60s]``
    ``[suppressed=r] [user=u] [principal=p] [no-checkpoint] [id=ID] [min=cpus:1|mem:64]``
    ``[constraints=rack=r1,ZONE!=z2|gen~[34]]``; ``min`` replaces what is worth an offer in its
    roles; constraints are joined by ``,`` (and) and ``|`` (or), and written ``name``, ``!name``,
    ``name=text``, ``name!=text``, ``name~pattern`` or ``name!~pattern``, where the name is that of
    an attribute, HOSTNAME, REGION or ZONE
    """
    name = given.take("name")
    play.check_is_new(name)
    framework_id = given.option("id")
    framework = PretendedFramework(name, play.cast.scheduler_peer(name), _plain_framework(name))
    framework = _described(framework, given)
    given.end()
    play.cast.frameworks[name] = framework
    if framework_id is not None:
        framework.framework_id = FrameworkId(framework_id)
        play.cast.name(framework_id, name)
    play.feed(SubscribeReceived(framework.peer, _subscribe(framework)))


def subscribe(play: Play, given: Words) -> None:
    """A framework subscribes again: with its id, perhaps from another scheduler instance.

    ``subscribe FRAMEWORK [from=INSTANCE] [force] [without-id]`` and what it says of itself, as
    for ``framework``
    """
    framework = play.framework(given.take("framework"))
    instance = given.option("from")
    peer = framework.peer if instance is None else play.cast.scheduler_peer(instance)
    force, without_id = given.flag("force"), given.flag("without-id")
    new = _described(framework, given)
    given.end()
    subscribe = _subscribe(new, force=force, without_id=without_id)
    play.feed(SubscribeReceived(peer, subscribe))
    record = play.stage.core.state.frameworks.at_peer(peer)
    if record is not None and record.framework_id == framework.framework_id:
        new.peer = peer
        play.cast.frameworks[framework.name] = new


def update_framework(play: Play, given: Words) -> None:
    """A framework changes what it says of itself.

    ``update-framework FRAMEWORK ...`` as for ``framework``
    """
    framework = play.framework(given.take("framework"))
    new = _described(framework, given)
    given.end()
    spec = replace(new.spec, framework_id=new.framework_id)
    play.call(framework, UpdateFramework(spec, new.suppressed, new.constraints))
    play.cast.frameworks[framework.name] = new


def abort(play: Play, given: Words) -> None:
    """A driver aborts: its framework wants no more offers.

    ``abort FRAMEWORK``
    """
    framework = play.framework(given.take("framework"))
    given.end()
    play.call(framework, Deactivate())


def teardown(play: Play, given: Words) -> None:
    """A scheduler (or the operator) ends a framework for good.

    ``teardown FRAMEWORK [operator]``
    """
    framework = play.framework(given.take("framework"))
    by_operator = given.flag("operator")
    given.end()
    if by_operator:
        play.operate(TearDownFramework(play.framework_id(framework.name)))
    else:
        play.call(framework, Teardown())


def suppress(play: Play, given: Words) -> None:
    """No more offers, in these roles or in all.

    ``suppress FRAMEWORK [ROLE ...]``
    """
    framework, roles = play.framework(given.take("framework")), tuple(given.take_all())
    given.end()
    play.call(framework, Suppress(roles))


def revive(play: Play, given: Words) -> None:
    """Offers again, and no more filters, in these roles or in all.

    ``revive FRAMEWORK [ROLE ...]``
    """
    framework, roles = play.framework(given.take("framework")), tuple(given.take_all())
    given.end()
    play.call(framework, Revive(roles))


def request(play: Play, given: Words) -> None:
    """A framework says what it waits for; an empty request takes earlier ones back.

    ``request FRAMEWORK [RESOURCES ...] [role=r] [on=AGENT]``
    """
    framework = play.framework(given.take("framework"))
    role, on = given.option("role"), given.option("on")
    agent_id = None if on is None else play.agent_id(on)
    wanted = [dict(parse_resources(word).quantities()) for word in given.take_all()]
    given.end()
    requests = tuple(ResourceRequest(amounts, agent_id, role) for amounts in wanted)
    play.call(framework, RequestResources(requests))


def _subscribe(
    framework: PretendedFramework, *, force: bool = False, without_id: bool = False
) -> Subscribe:
    framework_id = None if without_id else framework.framework_id
    spec = replace(framework.spec, framework_id=framework_id)
    return Subscribe(spec, force, framework.suppressed, framework.constraints)


def _described(framework: PretendedFramework, given: Words) -> PretendedFramework:
    """The framework with what the options say of it; the rest stays as it was."""
    spec = framework.spec
    capabilities = set(spec.capabilities)
    for word in given.listed("capabilities") or ():
        capabilities.add(named(FrameworkCapability, word))
    if (role := given.option("role")) is not None:
        spec = replace(spec, roles=(role,))
    if (roles := given.listed("roles")) is not None:
        spec = replace(spec, roles=roles)
        capabilities.add(FrameworkCapability.MULTI_ROLE)
    if (failover_s := given.duration("failover")) is not None:
        spec = replace(spec, failover_timeout_s=failover_s)
    if given.flag("no-checkpoint"):
        spec = replace(spec, checkpoint=False)
    if (least := given.option("min")) is not None:
        spec = replace(
            spec, min_allocatable={role: parse_min_allocatable(least) for role in spec.roles}
        )
    spec = replace(
        spec,
        user=given.option("user") or spec.user,
        principal=given.option("principal") or spec.principal,
        capabilities=frozenset(capabilities),
    )
    suppressed = given.listed("suppressed")
    constraints = given.option("constraints")
    return replace(
        framework,
        spec=spec,
        suppressed=framework.suppressed if suppressed is None else frozenset(suppressed),
        constraints=framework.constraints
        if constraints is None
        else OfferConstraints({role: _groups(constraints) for role in spec.roles}),
    )


def _groups(text: str) -> tuple[ConstraintGroup, ...]:
    return tuple(
        tuple(_constraint(part) for part in group.split(",") if part)
        for group in text.split("|")
        if group
    )


def _constraint(text: str) -> AttributeConstraint:
    match = _CONSTRAINT.fullmatch(text)
    if match is None:
        raise InvalidInput("constraints", f"{text!r} is no constraint")
    missing, name, sign, value = match.groups()
    selector = PseudoAttribute[name] if name in PseudoAttribute.__members__ else name
    if sign is None:
        return AttributeConstraint(selector, Predicate.NOT_EXISTS if missing else Predicate.EXISTS)
    matches = compile_pattern(value, "constraints") if "~" in sign else None
    return AttributeConstraint(selector, _PREDICATES[sign], value, matches)


_CONSTRAINT = re.compile(r"(!)?(\w+)(?:(=|!=|~|!~)(.*))?")
_PREDICATES = {
    "=": Predicate.TEXT_EQUALS,
    "!=": Predicate.TEXT_NOT_EQUALS,
    "~": Predicate.TEXT_MATCHES,
    "!~": Predicate.TEXT_NOT_MATCHES,
}


def _plain_framework(name: str) -> FrameworkSpec:
    return FrameworkSpec(
        framework_id=None,
        name=name,
        user="someone",
        roles=("*",),
        capabilities=frozenset(),
        failover_timeout_s=0.0,
        checkpoint=True,
        principal=None,
        payload=None,
    )


__all__ = [
    "abort",
    "framework",
    "request",
    "revive",
    "subscribe",
    "suppress",
    "teardown",
    "update_framework",
]
