"""What agents do and what befalls them."""

from collections.abc import Iterator
from dataclasses import replace

from cluster.core.master.events import (
    AgentAnswered,
    AgentPingsMissed,
    PeerLost,
    RegistrationReceived,
    ReregistrationReceived,
    UnregistrationReceived,
)
from cluster.errors import InvalidInput
from cluster.model.agents import AgentCapability, AgentReport, AgentSpec
from cluster.model.attributes import Attributes
from cluster.model.constraints import AgentFacts
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import AgentId, TaskId
from cluster.model.task_states import TaskState
from cluster.model.tasks import TaskReport, TaskStatusNote
from cluster.testing.scenarios.cast import PretendedAgent, PretendedTask, slave_info
from cluster.testing.scenarios.notation import parse_resources
from cluster.testing.scenarios.play import Play, named, parse_domain
from cluster.testing.scenarios.words import Words


def agent(play: Play, given: Words) -> None:
    """Agents register for the first time; several names make several that are alike.

    ``agent NAME ... RESOURCES [host=h] [attributes=rack:r1;n:5] [domain=region/zone]``
    ``[without=MULTI_ROLE,...] [no-checkpoint]``
    """
    names = [given.take("name")]
    while ":" not in (word := given.take("resources")):
        names.append(word)
    total = parse_resources(word)
    host = given.option("host")
    attributes = Attributes.parse(given.option("attributes") or "")
    domain_text = given.option("domain")
    domain = None if domain_text is None else parse_domain(domain_text)
    without = {named(AgentCapability, word) for word in given.listed("without") or ()}
    checkpoint = not given.flag("no-checkpoint")
    given.end()
    for name in names:
        play.check_is_new(name)
        peer, ip = play.cast.new_agent_peer()
        spec = AgentSpec(
            hostname=host or name,
            ip=ip,
            checkpoint=checkpoint,
            total=total,
            version="1.11.0",
            capabilities=frozenset(set(AgentCapability) - without),
            resource_version=b"1",
            payload=slave_info(host or name, total, attributes, domain),
            facts=AgentFacts(host or name, attributes, domain),
        )
        play.cast.agents[name] = PretendedAgent(name, peer, spec)
        play.cast.name(peer, name)
        play.stage.feed(RegistrationReceived(peer, spec))


def register(play: Play, given: Words) -> None:
    """A known agent registers without an id: it asks again, or has lost its memory.

    ``register AGENT``
    """
    agent = play.agent(given.take("agent"))
    given.end()
    play.stage.feed(RegistrationReceived(agent.peer, agent.spec))


def reregister(play: Play, given: Words) -> None:
    """An agent comes back under its id and says what it runs.

    ``reregister AGENT [RESOURCES] [without=t1,t2] [ended=t1:FINISHED] [host=h] [moved]``
    ``without``: tasks it does not have; ``moved``: from another address
    """
    agent = play.agent(given.take("agent"))
    if (total := given.take_if_any("moved")) is not None:
        resources = parse_resources(total)
        facts = agent.spec.facts
        payload = slave_info(agent.spec.hostname, resources, facts.attributes, facts.domain)
        agent.spec = replace(agent.spec, total=resources, payload=payload)
    if (host := given.option("host")) is not None:
        agent.spec = replace(agent.spec, hostname=host)
    for name in given.listed("without") or ():
        task = _task_of(play, agent, name)
        del agent.tasks[task.framework_id, task.task_id]
    for word in given.listed("ended") or ():
        name, _, state = word.partition(":")
        _task_of(play, agent, name).state = named(TaskState, state)
    if given.flag("moved"):
        agent.peer, _ = play.cast.new_agent_peer()
        play.cast.name(agent.peer, agent.name)
    given.end()
    agent_id = agent.agent_id or AgentId(agent.name)
    play.cast.name(agent_id, agent.name)
    report = AgentReport(
        agent_id,
        agent.spec,
        tuple(_frameworks_on(play, agent)),
        tuple(_report(task) for task in agent.tasks.values()),
        tuple(agent.executors.values()),
    )
    play.stage.feed(ReregistrationReceived(agent.peer, report))


def runs(play: Play, given: Words) -> None:
    """An agent runs a task that this master did not launch; it tells at its next return.

    ``runs AGENT TASK RESOURCES of=FRAMEWORK [state=RUNNING] [role=r]``
    """
    agent, task_id = play.agent(given.take("agent")), TaskId(given.take("task"))
    resources = parse_resources(given.take("resources"))
    owner = given.option("of")
    framework_id = play.framework_id(owner or "")
    state = named(TaskState, given.option("state") or "RUNNING")
    role = given.option("role") or "*"
    given.end()
    agent.tasks[framework_id, task_id] = PretendedTask(
        task_id, framework_id, None, role, resources, state, state, b"0"
    )


def unregister(play: Play, given: Words) -> None:
    """An agent says goodbye.

    ``unregister AGENT``
    """
    agent = play.agent(given.take("agent"))
    given.end()
    play.stage.feed(UnregistrationReceived(agent.peer, play.agent_id(agent.name)))


def pings_missed(play: Play, given: Words) -> None:
    """An agent left so many pings unanswered that it is given up.

    ``pings-missed AGENT``
    """
    agent_id = play.agent_id(given.take("agent"))
    given.end()
    play.stage.feed(AgentPingsMissed(agent_id))


def pong(play: Play, given: Words) -> None:
    """An agent that had missed its pings answers again.

    ``pong AGENT``
    """
    agent_id = play.agent_id(given.take("agent"))
    given.end()
    play.feed(AgentAnswered(agent_id))


def lose_link(play: Play, given: Words) -> None:
    """The connection to an agent or a scheduler breaks.

    ``lose-link AGENT|FRAMEWORK|INSTANCE``
    """
    name = given.take("name")
    given.end()
    if name in play.cast.agents:
        peer = play.cast.agents[name].peer
    elif name in play.cast.frameworks:
        peer = play.cast.frameworks[name].peer
    else:
        peer = play.cast.scheduler_peer(name)
    play.stage.feed(PeerLost(peer))


def _frameworks_on(play: Play, agent: PretendedAgent) -> Iterator[FrameworkSpec]:
    """The descriptions of the frameworks that an agent has something of."""
    wanted = {key[0] for key in (*agent.tasks, *agent.executors)}
    for framework in play.cast.frameworks.values():
        if framework.framework_id in wanted:
            yield replace(framework.spec, framework_id=framework.framework_id)


def _task_of(play: Play, agent: PretendedAgent, name: str) -> PretendedTask:
    for task in agent.tasks.values():
        if task.task_id == name:
            return task
    raise InvalidInput(name, f"is no task of {agent.name}")


def _report(task: PretendedTask) -> TaskReport:
    notes = () if task.sent is None else (TaskStatusNote(task.sent, None),)
    return TaskReport(
        task_id=task.task_id,
        framework_id=task.framework_id,
        executor_id=task.executor_id,
        state=task.state,
        role=task.role,
        resources=task.resources,
        forwarded_state=task.sent,
        forwarded_uuid=task.uuid,
        statuses=notes,
        payload=None,
    )


__all__ = [
    "agent",
    "lose_link",
    "pings_missed",
    "pong",
    "register",
    "reregister",
    "runs",
    "unregister",
]
