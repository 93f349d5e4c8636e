"""What frameworks say of themselves and want."""

from dataclasses import replace

from cluster.core.master.events import SubscribeReceived
from cluster.model.calls import Deactivate, Revive, Subscribe, Suppress, Teardown, UpdateFramework
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import FrameworkId
from cluster.model.operator_calls import TearDownFramework
from cluster.testing.scenarios.cast import PretendedFramework
from cluster.testing.scenarios.play import Play, named
from cluster.testing.scenarios.words import Words


def framework(play: Play, given: Words) -> None:
    """A framework subscribes for the first time; a list of roles makes it MULTI_ROLE.

    ``framework NAME [role=r | roles=r,s] [capabilities=PARTITION_AWARE,...] [failover=60s]``
    ``[suppressed=r] [user=u] [principal=p] [no-checkpoint] [id=ID]``
    """
    name = given.take("name")
    play.check_is_new(name)
    peer = play.cast.scheduler_peer(name)
    spec = _describe(play, _plain_framework(name), given)
    framework_id = given.option("id")
    framework = PretendedFramework(name, peer, spec)
    framework.suppressed = frozenset(given.listed("suppressed") or ())
    given.end()
    play.cast.frameworks[name] = framework
    if framework_id is not None:
        framework.framework_id = FrameworkId(framework_id)
        play.cast.name(framework_id, name)
        spec = replace(spec, framework_id=framework.framework_id)
    play.stage.feed(SubscribeReceived(peer, Subscribe(spec, False, framework.suppressed)))


def subscribe(play: Play, given: Words) -> None:
    """A framework subscribes again: with its id, perhaps from another scheduler instance.

    ``subscribe FRAMEWORK [from=INSTANCE] [force] [without-id]`` and what it says of itself, as
    for ``framework``
    """
    framework = play.framework(given.take("framework"))
    instance = given.option("from")
    peer = framework.peer if instance is None else play.cast.scheduler_peer(instance)
    force, without_id = given.flag("force"), given.flag("without-id")
    spec = _describe(play, framework.spec, given)
    if (suppressed := given.listed("suppressed")) is not None:
        framework.suppressed = frozenset(suppressed)
    given.end()
    named = replace(spec, framework_id=None if without_id else framework.framework_id)
    play.stage.feed(SubscribeReceived(peer, Subscribe(named, force, framework.suppressed)))
    record = play.stage.core.state.frameworks.get(framework.framework_id or FrameworkId(""))
    if record is not None and record.peer is not None:
        framework.peer, framework.spec = record.peer, spec


def update_framework(play: Play, given: Words) -> None:
    """A framework changes what it says of itself.

    ``update-framework FRAMEWORK ...`` as for ``framework``
    """
    framework = play.framework(given.take("framework"))
    spec = _describe(play, framework.spec, given)
    suppressed = frozenset(given.listed("suppressed") or framework.suppressed)
    given.end()
    named = replace(spec, framework_id=framework.framework_id)
    play.call(framework, UpdateFramework(named, suppressed))
    framework.spec = spec


def deactivate(play: Play, given: Words) -> None:
    """A driver aborts: its framework wants no more offers.

    ``deactivate FRAMEWORK``
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


def _describe(play: Play, spec: FrameworkSpec, given: Words) -> FrameworkSpec:
    """What a framework says of itself: what was known, changed by the options."""
    capabilities = set(spec.capabilities)
    if (words := given.listed("capabilities")) is not None:
        capabilities |= {named(FrameworkCapability, word) for word in words}
    if (role := given.option("role")) is not None:
        spec = replace(spec, roles=(role,))
    if (roles := given.listed("roles")) is not None:
        spec = replace(spec, roles=roles)
        capabilities.add(FrameworkCapability.MULTI_ROLE)
    if (failover_s := given.duration("failover")) is not None:
        spec = replace(spec, failover_timeout_s=failover_s)
    if given.flag("no-checkpoint"):
        spec = replace(spec, checkpoint=False)
    return replace(
        spec,
        user=given.option("user") or spec.user,
        principal=given.option("principal") or spec.principal,
        capabilities=frozenset(capabilities),
    )


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
    "deactivate",
    "framework",
    "revive",
    "subscribe",
    "suppress",
    "teardown",
    "update_framework",
]
