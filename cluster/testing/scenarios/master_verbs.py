"""The master itself, and time."""

from dataclasses import replace

from cluster.core.allocator import AllocatorOptions, parse_min_allocatable
from cluster.core.allocator.options import HoldingOptions
from cluster.core.allocator.sorter import SorterFactory
from cluster.core.allocator.sorters import SORTERS
from cluster.core.master.events import WhitelistRead
from cluster.core.master.state import MasterOptions
from cluster.errors import InvalidInput
from cluster.testing.scenarios.play import Play, parse_domain
from cluster.testing.scenarios.words import Words, parse_time


def master(play: Play, given: Words) -> None:
    """Set options; before anything else happens.

    ``master [offer-timeout=30s] [reregister-timeout=10m] [roles=a,b] [min=cpus:1|mem:64]``
    ``[interval=1s] [excluded=gpus] [completed=50] [no-root] [slow-registry] [show-registry]``
    ``[removal-interval=10m] [removal-limit=0.5] [domain=region/zone]``
    ``[holding] [role-sorter=drf|random|priority] [framework-sorter=...]``
    """
    stage = play.stage
    if given.flag("slow-registry"):
        stage.is_registry_slow = True
    if given.flag("show-registry"):
        stage.shows_registry = True
    if stage.has_begun and not given.is_empty:
        raise InvalidInput("master", "options must be set before anything else")
    stage.master_options = _master_options(play, given)
    stage.allocator_options = _allocator_options(play, given)
    given.end()


def _master_options(play: Play, given: Words) -> MasterOptions:
    options = play.stage.master_options
    if (timeout_s := given.duration("offer-timeout")) is not None:
        options = replace(options, offer_timeout_s=timeout_s)
    if (timeout_s := given.duration("reregister-timeout")) is not None:
        options = replace(options, agent_reregister_timeout_s=timeout_s)
    if (roles := given.listed("roles")) is not None:
        options = replace(options, allowed_roles=frozenset({"*", *roles}))
    if (interval_s := given.duration("removal-interval")) is not None:
        options = replace(options, removal_interval_s=interval_s)
    if (share := given.number("removal-limit")) is not None:
        options = replace(options, recovery_removal_limit=share)
    if (domain := given.option("domain")) is not None:
        options = replace(options, domain=parse_domain(domain))
    if (count := given.number("completed")) is not None:
        options = replace(options, completed_tasks_per_framework_max=int(count))
    if given.flag("no-root"):
        options = replace(options, root_submissions=False)
    return options


def _allocator_options(play: Play, given: Words) -> AllocatorOptions:
    options = play.stage.allocator_options
    if (text := given.option("min")) is not None:
        options = replace(options, min_allocatable=parse_min_allocatable(text))
    if (interval_s := given.duration("interval")) is not None:
        options = replace(options, allocation_interval_s=interval_s)
    if given.flag("holding"):
        options = replace(options, holding=HoldingOptions())
    if (name := given.option("role-sorter")) is not None:
        options = replace(options, role_sorter=_sorter(name))
    if (name := given.option("framework-sorter")) is not None:
        options = replace(options, framework_sorter=_sorter(name))
    if options.domain != play.stage.master_options.domain:
        options = replace(options, domain=play.stage.master_options.domain)
    if (names := given.listed("excluded")) is not None:
        options = replace(options, fair_sharing_excluded=frozenset(names))
    return options


def _sorter(name: str) -> SorterFactory:
    sorter = SORTERS.get(name)
    if sorter is None:
        raise InvalidInput(name, f"is no sorter: there are {', '.join(SORTERS)}")
    return sorter


def run(play: Play, given: Words) -> None:
    """Carry out the allocation run that is due now.

    ``run``
    """
    given.end()
    play.stage.run()


def tick(play: Play, given: Words) -> None:
    """Let time pass: timers fire, intervals end, runs happen; lines begin with the time.

    ``tick 5s``
    """
    delta_s = parse_time(given.take("time"))
    given.end()
    play.stage.advance(delta_s)


def write(play: Play, given: Words) -> None:
    """With a slow registry: the oldest write is durable now.

    ``write``
    """
    given.end()
    if not play.stage.pending_writes:
        raise InvalidInput("write", "nothing waits to be written")
    play.stage.write()


def restart_master(play: Play, given: Words) -> None:
    """Another master takes over: it knows the registry, and nothing else.

    ``restart-master``
    """
    given.end()
    play.stage.restart_master()


def whitelist(play: Play, given: Words) -> None:
    """Only agents on these hosts are offered; ``all`` for every one.

    ``whitelist HOST ...``
    """
    names = given.take_all()
    given.end()
    hosts = None if names == ["all"] else frozenset(names)
    play.feed(WhitelistRead(hosts))


__all__ = ["master", "restart_master", "run", "tick", "whitelist", "write"]
