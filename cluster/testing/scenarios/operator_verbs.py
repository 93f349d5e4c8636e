"""What operators ask for; each is answered once: ``operator <- 200``."""

from cluster.errors import InvalidInput
from cluster.model.maintenance import MachineId, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import (
    CreateVolumes,
    DeactivateAgent,
    DestroyVolumes,
    DrainAgent,
    GrowVolume,
    MarkAgentAsGone,
    ReactivateAgent,
    ReserveResources,
    ShrinkVolume,
    StartMaintenance,
    StopMaintenance,
    UnreserveResources,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)
from cluster.model.quotas import Quota
from cluster.model.resources import EMPTY
from cluster.model.values import Quantities
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play
from cluster.testing.scenarios.words import Words


def quota(play: Play, given: Words) -> None:
    """Promise resources to a role, and limit it; without either its quota is taken away.

    ``quota ROLE [guarantee=cpus:4;mem:64] [limit=cpus:8] [and ROLE ...] [force]``
    """
    force = given.flag("force")
    quotas = {}
    for words in [given, *(words for _, words in given.split({"and"}))]:
        role = words.take("role")
        quotas[role] = Quota(
            _quantities(words.option("guarantee")), _quantities(words.option("limit"))
        )
        words.end()
    play.operate(UpdateQuotas(quotas, force))


def weights(play: Play, given: Words) -> None:
    """Set the weights of roles; others keep theirs.

    ``weights ROLE:WEIGHT ...``
    """
    found = {}
    for word in [given.take("weight"), *given.take_all()]:
        role, _, weight = word.rpartition(":")
        try:
            found[role] = float(weight)
        except ValueError:
            raise InvalidInput(word, "must be ROLE:WEIGHT") from None
    given.end()
    play.operate(UpdateWeights(found))


def schedule(play: Play, given: Words) -> None:
    """Replace the whole schedule of maintenance; machines are those of the agents named.

    ``schedule [AGENT ... from=TIME [for=TIME]] [and AGENT ... from=TIME ...]``; times are from now
    """
    windows = []
    for words in [given, *(words for _, words in given.split({"and"}))]:
        start, length = words.duration("from"), words.duration("for")
        names = words.take_all()
        words.end()
        if start is not None:
            unavailability = Unavailability(play.stage.now_s + start, length)
            windows.append(MaintenanceWindow(_machines(play, names), unavailability))
        elif names:
            raise InvalidInput("from", "is missing")
    play.operate(UpdateMaintenanceSchedule(tuple(windows)))


def start_maintenance(play: Play, given: Words) -> None:
    """Take the machines of agents down, which must be in the schedule.

    ``start-maintenance AGENT ...``
    """
    machines = _machines(play, [given.take("agent"), *given.take_all()])
    given.end()
    play.operate(StartMaintenance(machines))


def stop_maintenance(play: Play, given: Words) -> None:
    """The machines of agents are up again.

    ``stop-maintenance AGENT ...``
    """
    machines = _machines(play, [given.take("agent"), *given.take_all()])
    given.end()
    play.operate(StopMaintenance(machines))


def drain(play: Play, given: Words) -> None:
    """Empty an agent.

    ``drain AGENT [grace=TIME] [then-gone]``
    """
    agent_id = play.agent_id(given.take("agent"))
    grace_s, gone = given.duration("grace"), given.flag("then-gone")
    given.end()
    play.operate(DrainAgent(agent_id, grace_s, gone))


def deactivate(play: Play, given: Words) -> None:
    """Offer an agent no more; what runs there runs on.

    ``deactivate AGENT``
    """
    agent_id = play.agent_id(given.take("agent"))
    given.end()
    play.operate(DeactivateAgent(agent_id))


def reactivate(play: Play, given: Words) -> None:
    """Offer an agent again.

    ``reactivate AGENT``
    """
    agent_id = play.agent_id(given.take("agent"))
    given.end()
    play.operate(ReactivateAgent(agent_id))


def gone(play: Play, given: Words) -> None:
    """Mark an agent as gone for ever.

    ``gone AGENT``
    """
    agent_id = play.agent_id(given.take("agent"))
    given.end()
    play.operate(MarkAgentAsGone(agent_id))


def reserve(play: Play, given: Words) -> None:
    """Reserve free resources of an agent; ``source``: what they are now, if not unreserved.

    ``reserve AGENT RESOURCES [source=RESOURCES] [principal=p]``
    """
    agent_id, resources = play.agent_id(given.take("agent")), given.take("resources")
    source, principal = given.option("source"), given.option("principal")
    given.end()
    play.operate(
        ReserveResources(
            agent_id,
            parse_resources(resources),
            EMPTY if source is None else parse_resources(source),
        ),
        principal,
    )


def unreserve(play: Play, given: Words) -> None:
    """Take a reservation back.

    ``unreserve AGENT RESOURCES [principal=p]``
    """
    agent_id, resources = play.agent_id(given.take("agent")), given.take("resources")
    principal = given.option("principal")
    given.end()
    play.operate(UnreserveResources(agent_id, parse_resources(resources)), principal)


def create(play: Play, given: Words) -> None:
    """Create persistent volumes.

    ``create AGENT RESOURCES [principal=p]``
    """
    agent_id, volumes = play.agent_id(given.take("agent")), given.take("volumes")
    principal = given.option("principal")
    given.end()
    play.operate(CreateVolumes(agent_id, parse_resources(volumes)), principal)


def destroy(play: Play, given: Words) -> None:
    """Destroy persistent volumes.

    ``destroy AGENT RESOURCES [principal=p]``
    """
    agent_id, volumes = play.agent_id(given.take("agent")), given.take("volumes")
    principal = given.option("principal")
    given.end()
    play.operate(DestroyVolumes(agent_id, parse_resources(volumes)), principal)


def grow(play: Play, given: Words) -> None:
    """Make a persistent volume larger.

    ``grow AGENT VOLUME ADDITION [principal=p]``
    """
    agent_id, volume = play.agent_id(given.take("agent")), parse_resources(given.take("volume"))
    addition, principal = parse_resources(given.take("addition")), given.option("principal")
    given.end()
    play.operate(GrowVolume(agent_id, volume, addition), principal)


def shrink(play: Play, given: Words) -> None:
    """Make a persistent volume smaller.

    ``shrink AGENT VOLUME by=MEGABYTES [principal=p]``
    """
    agent_id, volume = play.agent_id(given.take("agent")), parse_resources(given.take("volume"))
    by, principal = given.number("by"), given.option("principal")
    given.end()
    play.operate(ShrinkVolume(agent_id, volume, round((by or 0.0) * 1000)), principal)


def _quantities(text: str | None) -> Quantities:
    return {} if text is None else dict(parse_resources(text).quantities())


def _machines(play: Play, names: list[str]) -> tuple[MachineId, ...]:
    """Of the agents of those names; another name is that of a host."""
    return tuple(
        MachineId.of(play.cast.agents[name].spec.hostname, play.cast.agents[name].spec.ip)
        if name in play.cast.agents
        else MachineId.of(name, "")
        for name in names
    )


__all__ = [
    "create",
    "deactivate",
    "destroy",
    "drain",
    "gone",
    "grow",
    "quota",
    "reactivate",
    "reserve",
    "schedule",
    "shrink",
    "start_maintenance",
    "stop_maintenance",
    "unreserve",
    "weights",
]
