"""What can be said in a scenario: each verb is one method, named after it.

A verb turns words into events for the master; what comes of them is the master's business. Verbs
that only look (``shares``, ``books``, ...) change nothing.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TypeVar

from cluster.core.allocator import AllocatorOptions, parse_min_allocatable
from cluster.core.master.core import MasterCore
from cluster.core.master.events import (
    AgentPingsMissed,
    AgentsRecovered,
    CallReceived,
    ExecutorExited,
    ExecutorMessageReceived,
    MasterEvent,
    OperatorCallReceived,
    PeerLost,
    RegistrationReceived,
    ReregistrationReceived,
    StatusUpdateReceived,
    SubscribeReceived,
    UnregistrationReceived,
)
from cluster.core.master.state import MasterOptions
from cluster.errors import InvalidInput
from cluster.model.agents import AgentCapability, AgentReport, AgentSpec
from cluster.model.attributes import Attributes
from cluster.model.calls import (
    Accept,
    Acknowledge,
    Call,
    Deactivate,
    Decline,
    Kill,
    Launch,
    MessageExecutor,
    Operation,
    Reconcile,
    Revive,
    ShutdownExecutor,
    Subscribe,
    Suppress,
    Teardown,
    UpdateFramework,
)
from cluster.model.constraints import AgentFacts
from cluster.model.domains import FaultDomain
from cluster.model.frameworks import FrameworkCapability, FrameworkSpec
from cluster.model.ids import AgentId, ExecutorId, FrameworkId, OfferId, TaskId
from cluster.model.operator_calls import OperatorCall, TearDownFramework
from cluster.model.resources import EMPTY
from cluster.model.task_states import TaskState
from cluster.model.tasks import (
    ExecutorSpec,
    StatusUpdate,
    TaskReport,
    TaskSpec,
    TaskStatusNote,
)
from cluster.testing.scenarios.cast import PretendedAgent, PretendedFramework, PretendedTask
from cluster.testing.scenarios.notation import format_resources, parse_resources
from cluster.testing.scenarios.script import Command, ScenarioError, Script, parse
from cluster.testing.scenarios.stage import Stage
from cluster.testing.scenarios.words import Words, parse_time

Check = Callable[[MasterCore], None]


def play(script: Script, check: Check = lambda core: None) -> Script:
    """Carry a scenario out; returns it with what the master really did.

    Args:
        script: the scenario; its stored output does not matter.
        check: called with the core after each event.

    Raises:
        ScenarioError: a command is not understood, or the master's books broke at it.
    """
    verbs = Verbs(Stage(check))
    return script.with_output(partial(verbs.obey, script.file))


def play_text(text: str, file: str = "scenario", check: Check = lambda core: None) -> str:
    """Like :func:`play`, from text to text."""
    return str(play(parse(text, file), check))


class Verbs:
    """The verbs, acting on one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._cast = stage.cast
        self._updates_sent = 0

    def obey(self, file: str, command: Command) -> list[str]:
        """Carry out one command; returns the lines it led to."""
        name, *words = command.words
        verb = VERBS.get(name)
        if verb is None:
            raise ScenarioError(file, command.line, f"unknown verb {name!r}")
        try:
            verb(self, words)
        except InvalidInput as error:
            raise ScenarioError(file, command.line, f"{name}: {error}") from error
        except Exception as error:
            raise ScenarioError(
                file, command.line, f"{name}: {type(error).__name__}: {error}"
            ) from error
        return self._stage.take_lines()

    # The master and time -------------------------------------------------------------------------

    def master(self, words: Sequence[str]) -> None:
        """Set options; before anything else happens.

        ``master [offer-timeout=30s] [reregister-timeout=10m] [roles=a,b] [min=cpus:1|mem:64]``
        ``[interval=1s] [excluded=gpus] [completed=50] [no-root] [slow-registry] [show-registry]``
        """
        given = Words(words)
        stage = self._stage
        if given.flag("slow-registry"):
            stage.is_registry_slow = True
        if given.flag("show-registry"):
            stage.shows_registry = True
        if stage.has_begun and not given.is_empty:
            raise InvalidInput("master", "options must be set before anything else")
        stage.master_options = self._master_options(given)
        stage.allocator_options = self._allocator_options(given)
        given.end()

    def _master_options(self, given: Words) -> MasterOptions:
        options = self._stage.master_options
        if (timeout_s := given.duration("offer-timeout")) is not None:
            options = replace(options, offer_timeout_s=timeout_s)
        if (timeout_s := given.duration("reregister-timeout")) is not None:
            options = replace(options, agent_reregister_timeout_s=timeout_s)
        if (roles := given.listed("roles")) is not None:
            options = replace(options, allowed_roles=frozenset({"*", *roles}))
        if (count := given.number("completed")) is not None:
            options = replace(options, completed_tasks_per_framework_max=int(count))
        if given.flag("no-root"):
            options = replace(options, root_submissions=False)
        return options

    def _allocator_options(self, given: Words) -> AllocatorOptions:
        options = self._stage.allocator_options
        if (text := given.option("min")) is not None:
            options = replace(options, min_allocatable=parse_min_allocatable(text))
        if (interval_s := given.duration("interval")) is not None:
            options = replace(options, allocation_interval_s=interval_s)
        if (names := given.listed("excluded")) is not None:
            options = replace(options, fair_sharing_excluded=frozenset(names))
        return options

    def run(self, words: Sequence[str]) -> None:
        """Carry out the allocation run that is due now.

        ``run``
        """
        Words(words).end()
        self._stage.run()

    def tick(self, words: Sequence[str]) -> None:
        """Let time pass: timers fire, intervals end, runs happen; lines begin with the time.

        ``tick 5s``
        """
        given = Words(words)
        delta_s = parse_time(given.take("time"))
        given.end()
        self._stage.advance(delta_s)

    def write(self, words: Sequence[str]) -> None:
        """With a slow registry: the oldest write is durable now.

        ``write``
        """
        Words(words).end()
        if not self._stage.pending_writes:
            raise InvalidInput("write", "nothing waits to be written")
        self._stage.write()

    def restart_master(self, words: Sequence[str]) -> None:
        """Another master takes over: it knows the registry, and nothing else.

        ``restart-master``
        """
        Words(words).end()
        registry = self._stage.core.state.registry
        admitted = tuple(registry.admitted)
        self._stage.start_master()
        self._stage.feed(AgentsRecovered(admitted))

    # Agents --------------------------------------------------------------------------------------

    def agent(self, words: Sequence[str]) -> None:
        """Agents register for the first time; several names make several that are alike.

        ``agent NAME ... RESOURCES [host=h] [attributes=rack:r1;n:5] [domain=region/zone]``
        ``[without=MULTI_ROLE,...] [no-checkpoint]``
        """
        given = Words(words)
        names = [given.take("name")]
        while ":" not in (word := given.take("resources")):
            names.append(word)
        total = parse_resources(word)
        host = given.option("host")
        attributes = Attributes.parse(given.option("attributes") or "")
        domain = _domain(given.option("domain"))
        without = {_named(AgentCapability, word) for word in given.listed("without") or ()}
        checkpoint = not given.flag("no-checkpoint")
        given.end()
        for name in names:
            self._check_is_new(name)
            peer, ip = self._cast.new_agent_peer()
            spec = AgentSpec(
                hostname=host or name,
                ip=ip,
                checkpoint=checkpoint,
                total=total,
                version="1.11.0",
                capabilities=frozenset(set(AgentCapability) - without),
                resource_version=b"1",
                payload=(format_resources(total), str(attributes)),
                facts=AgentFacts(host or name, attributes, domain),
            )
            self._cast.agents[name] = PretendedAgent(name, peer, spec)
            self._cast.name(peer, name)
            self._stage.feed(RegistrationReceived(peer, spec))

    def _check_is_new(self, name: str) -> None:
        if name in self._cast.agents or name in self._cast.frameworks:
            raise InvalidInput(name, "is taken")

    def register(self, words: Sequence[str]) -> None:
        """A known agent registers without an id: it asks again, or has lost its memory.

        ``register AGENT``
        """
        given = Words(words)
        agent = self._agent(given.take("agent"))
        given.end()
        self._stage.feed(RegistrationReceived(agent.peer, agent.spec))

    def reregister(self, words: Sequence[str]) -> None:
        """An agent comes back under its id and says what it runs.

        ``reregister AGENT [RESOURCES] [without=t1,t2] [ended=t1:FINISHED] [host=h] [moved]``
        ``without``: tasks it does not have; ``moved``: from another address
        """
        given = Words(words)
        agent = self._agent(given.take("agent"))
        if (total := given.take_if_any_but("moved")) is not None:
            agent.spec = replace(agent.spec, total=parse_resources(total), payload=total)
        if (host := given.option("host")) is not None:
            agent.spec = replace(agent.spec, hostname=host)
        for name in given.listed("without") or ():
            task = self._task_of(agent, name)
            del agent.tasks[task.framework_id, task.task_id]
        for word in given.listed("ended") or ():
            name, _, state = word.partition(":")
            self._task_of(agent, name).state = _named(TaskState, state)
        if given.flag("moved"):
            agent.peer, _ = self._cast.new_agent_peer()
            self._cast.name(agent.peer, agent.name)
        given.end()
        agent_id = agent.agent_id or AgentId(agent.name)
        self._cast.name(agent_id, agent.name)
        report = AgentReport(
            agent_id,
            agent.spec,
            tuple(self._frameworks_on(agent)),
            tuple(_report(task) for task in agent.tasks.values()),
            tuple(agent.executors.values()),
        )
        self._stage.feed(ReregistrationReceived(agent.peer, report))

    def runs(self, words: Sequence[str]) -> None:
        """An agent runs a task that this master did not launch; it tells at its next return.

        ``runs AGENT TASK RESOURCES of=FRAMEWORK [state=RUNNING] [role=r]``
        """
        given = Words(words)
        agent, task_id = self._agent(given.take("agent")), TaskId(given.take("task"))
        resources = parse_resources(given.take("resources"))
        owner = given.option("of")
        framework_id = self._framework_id(owner or "")
        state = _named(TaskState, given.option("state") or "RUNNING")
        role = given.option("role") or "*"
        given.end()
        agent.tasks[framework_id, task_id] = PretendedTask(
            task_id, framework_id, None, role, resources, state, state, b"0"
        )

    def unregister(self, words: Sequence[str]) -> None:
        """An agent says goodbye.

        ``unregister AGENT``
        """
        given = Words(words)
        agent = self._agent(given.take("agent"))
        given.end()
        self._stage.feed(UnregistrationReceived(agent.peer, self._agent_id(agent.name)))

    def pings_missed(self, words: Sequence[str]) -> None:
        """An agent left so many pings unanswered that it is given up.

        ``pings-missed AGENT``
        """
        given = Words(words)
        agent_id = self._agent_id(given.take("agent"))
        given.end()
        self._stage.feed(AgentPingsMissed(agent_id))

    def lose_link(self, words: Sequence[str]) -> None:
        """The connection to an agent or a scheduler breaks.

        ``lose-link AGENT|FRAMEWORK|INSTANCE``
        """
        given = Words(words)
        name = given.take("name")
        given.end()
        if name in self._cast.agents:
            peer = self._cast.agents[name].peer
        elif name in self._cast.frameworks:
            peer = self._cast.frameworks[name].peer
        else:
            peer = self._cast.scheduler_peer(name)
        self._stage.feed(PeerLost(peer))

    def _frameworks_on(self, agent: PretendedAgent) -> Iterator[FrameworkSpec]:
        """The descriptions of the frameworks that an agent has something of."""
        wanted = {key[0] for key in (*agent.tasks, *agent.executors)}
        for framework in self._cast.frameworks.values():
            if framework.framework_id in wanted:
                yield replace(framework.spec, framework_id=framework.framework_id)

    def _task_of(self, agent: PretendedAgent, name: str) -> PretendedTask:
        for task in agent.tasks.values():
            if task.task_id == name:
                return task
        raise InvalidInput(name, f"is no task of {agent.name}")

    # Frameworks ----------------------------------------------------------------------------------

    def framework(self, words: Sequence[str]) -> None:
        """A framework subscribes for the first time; a list of roles makes it MULTI_ROLE.

        ``framework NAME [role=r | roles=r,s] [capabilities=PARTITION_AWARE,...] [failover=60s]``
        ``[suppressed=r] [user=u] [principal=p] [no-checkpoint] [id=ID]``
        """
        given = Words(words)
        name = given.take("name")
        self._check_is_new(name)
        peer = self._cast.scheduler_peer(name)
        spec = self._describe(_plain_framework(name), given)
        framework_id = given.option("id")
        framework = PretendedFramework(name, peer, spec)
        framework.suppressed = frozenset(given.listed("suppressed") or ())
        given.end()
        self._cast.frameworks[name] = framework
        if framework_id is not None:
            framework.framework_id = FrameworkId(framework_id)
            self._cast.name(framework_id, name)
            spec = replace(spec, framework_id=framework.framework_id)
        self._stage.feed(SubscribeReceived(peer, Subscribe(spec, False, framework.suppressed)))

    def subscribe(self, words: Sequence[str]) -> None:
        """A framework subscribes again: with its id, perhaps from another scheduler instance.

        ``subscribe FRAMEWORK [from=INSTANCE] [force] [without-id]`` and what it says of itself, as
        for ``framework``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        instance = given.option("from")
        peer = framework.peer if instance is None else self._cast.scheduler_peer(instance)
        force, without_id = given.flag("force"), given.flag("without-id")
        spec = self._describe(framework.spec, given)
        if (suppressed := given.listed("suppressed")) is not None:
            framework.suppressed = frozenset(suppressed)
        given.end()
        named = replace(spec, framework_id=None if without_id else framework.framework_id)
        self._stage.feed(SubscribeReceived(peer, Subscribe(named, force, framework.suppressed)))
        record = self._stage.core.state.frameworks.get(framework.framework_id or FrameworkId(""))
        if record is not None and record.peer is not None:
            framework.peer, framework.spec = record.peer, spec

    def update_framework(self, words: Sequence[str]) -> None:
        """A framework changes what it says of itself.

        ``update-framework FRAMEWORK ...`` as for ``framework``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        spec = self._describe(framework.spec, given)
        suppressed = frozenset(given.listed("suppressed") or framework.suppressed)
        given.end()
        named = replace(spec, framework_id=framework.framework_id)
        self._call(framework, UpdateFramework(named, suppressed))
        framework.spec = spec

    def deactivate(self, words: Sequence[str]) -> None:
        """A driver aborts: its framework wants no more offers.

        ``deactivate FRAMEWORK``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        given.end()
        self._call(framework, Deactivate())

    def teardown(self, words: Sequence[str]) -> None:
        """A scheduler (or the operator) ends a framework for good.

        ``teardown FRAMEWORK [operator]``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        by_operator = given.flag("operator")
        given.end()
        if by_operator:
            self._operate(TearDownFramework(self._framework_id(framework.name)))
        else:
            self._call(framework, Teardown())

    def suppress(self, words: Sequence[str]) -> None:
        """No more offers, in these roles or in all.

        ``suppress FRAMEWORK [ROLE ...]``
        """
        given = Words(words)
        framework, roles = self._framework(given.take("framework")), tuple(given.take_all())
        given.end()
        self._call(framework, Suppress(roles))

    def revive(self, words: Sequence[str]) -> None:
        """Offers again, and no more filters, in these roles or in all.

        ``revive FRAMEWORK [ROLE ...]``
        """
        given = Words(words)
        framework, roles = self._framework(given.take("framework")), tuple(given.take_all())
        given.end()
        self._call(framework, Revive(roles))

    def _describe(self, spec: FrameworkSpec, given: Words) -> FrameworkSpec:
        """What a framework says of itself: what was known, changed by the options."""
        capabilities = set(spec.capabilities)
        if (words := given.listed("capabilities")) is not None:
            capabilities |= {_named(FrameworkCapability, word) for word in words}
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

    # Offers --------------------------------------------------------------------------------------

    def decline(self, words: Sequence[str]) -> None:
        """Refuse offers, for 5 seconds unless said otherwise.

        ``decline OFFER ... [refuse=5s]``; an offer is ``O3``, or ``f1@a1`` for the last one of a1
        to f1
        """
        given = Words(words)
        refuse_s = given.duration("refuse")
        offers = given.take_all()
        given.end()
        framework, offer_ids = self._offers(offers)
        self._call(framework, Decline(offer_ids, 5.0 if refuse_s is None else refuse_s))

    def accept(self, words: Sequence[str]) -> None:
        """Use offers for operations, in order.

        ``accept OFFER ... [launch TASK RESOURCES [executor=e1(cpus:0.1)] [on=AGENT]] ...``
        ``[refuse=5s] [by=FRAMEWORK]``; the rest of the offers is refused, for 5 seconds unless
        said otherwise
        """
        parts = list(_split_at(words, _OPERATIONS))
        head = Words(word for word in parts[0] if not word.startswith("refuse="))
        refuse_s = 5.0
        for word in words:
            if word.startswith("refuse="):
                refuse_s = parse_time(word.removeprefix("refuse="), "refuse")
        by = head.option("by")
        names = head.take_all()
        head.end()
        framework, offer_ids = self._offers(names, by)
        operations = tuple(
            self._operation(
                part[0],
                framework,
                offer_ids,
                Words(word for word in part[1:] if not word.startswith("refuse=")),
            )
            for part in parts[1:]
        )
        self._call(framework, Accept(offer_ids, operations, refuse_s))

    def _operation(
        self,
        kind: str,
        framework: PretendedFramework,
        offer_ids: tuple[OfferId, ...],
        given: Words,
    ) -> Operation:
        match kind:
            case "launch":
                operation: Operation = Launch((self._task(framework, offer_ids, given),))
            case _:
                raise InvalidInput(kind, "is no operation")
        given.end()
        return operation

    def _task(
        self, framework: PretendedFramework, offer_ids: tuple[OfferId, ...], given: Words
    ) -> TaskSpec:
        task_id, resources = given.take("task"), parse_resources(given.take("resources"))
        on = given.option("on")
        if on is None:
            offers = (o for o in self._cast.offers.values() if o.offer_id in offer_ids)
            agent_id = next((offer.agent_id for offer in offers), AgentId("nobody"))
        else:
            agent_id = self._agent_id(on)
        executor = given.option("executor")
        return TaskSpec(
            task_id=TaskId(task_id),
            agent_id=agent_id,
            resources=resources,
            role=None,
            executor=None if executor is None else _executor(executor, framework),
            has_limits=False,
            defect=None,
            info=task_id,
        )

    def _offers(
        self, names: Sequence[str], by: str | None = None
    ) -> tuple[PretendedFramework, tuple[OfferId, ...]]:
        """The offers of those names, and who answers: the owner of the first, unless named."""
        if not names and by is None:
            raise InvalidInput("offer", "is missing")
        for name in names:
            if _OFFER_NAME.fullmatch(name) is None:
                raise InvalidInput(name, "is no offer: write O3 or framework@agent")
        offer_ids = tuple(self._cast.offer_id(name) or OfferId(name) for name in names)
        known = [o for o in self._cast.offers.values() if o.offer_id in offer_ids]
        if by is not None:
            return self._framework(by), offer_ids
        if not known:
            raise InvalidInput(names[0], "no such offer was made")
        return self._framework(self._cast.name_of(known[0].framework_id)), offer_ids

    # Tasks ---------------------------------------------------------------------------------------

    def update(self, words: Sequence[str]) -> None:
        """An agent sends a status update.

        ``update TASK STATE [latest=STATE] [no-uuid] [of=FRAMEWORK on=AGENT]``; ``latest``: what
        the agent knows by now; ``of`` and ``on`` for a task it never had
        """
        given = Words(words)
        name, state = given.take("task"), _named(TaskState, given.take("state"))
        latest_text, no_uuid = given.option("latest"), given.flag("no-uuid")
        latest = state if latest_text is None else _named(TaskState, latest_text)
        owner, place = given.option("of"), given.option("on")
        given.end()
        if owner is not None and place is not None:
            agent = self._agent(place)
            task = PretendedTask(TaskId(name), self._framework_id(owner), None, "*", EMPTY)
        else:
            agent, task = self._task_named(name)
        self._updates_sent += 1
        uuid = None if no_uuid else f"{state.name}".encode()
        task.state, task.sent, task.uuid = latest, state, uuid
        update = StatusUpdate(
            framework_id=task.framework_id,
            agent_id=self._agent_id(agent.name),
            task_id=task.task_id,
            executor_id=task.executor_id,
            state=state,
            latest_state=latest,
            uuid=uuid,
            note=TaskStatusNote(state, None),
            payload=f"{name} {state.name}",
        )
        self._stage.feed(StatusUpdateReceived(agent.peer, update))

    def ack(self, words: Sequence[str]) -> None:
        """A framework acknowledges the last update of a task.

        ``ack TASK [STATE]``: of the update with that state
        """
        given = Words(words)
        agent, task = self._task_named(given.take("task"))
        state = given.take_if_any()
        given.end()
        uuid = (task.uuid or b"") if state is None else _named(TaskState, state).name.encode()
        self._call(
            self._owner(task),
            Acknowledge(self._agent_id(agent.name), task.task_id, uuid),
        )

    def kill(self, words: Sequence[str]) -> None:
        """A framework wants a task killed.

        ``kill TASK [by=FRAMEWORK] [on=AGENT]``
        """
        given = Words(words)
        name, by, on = given.take("task"), given.option("by"), given.option("on")
        given.end()
        framework = self._framework(by) if by else self._owner(self._task_named(name)[1])
        self._call(framework, Kill(TaskId(name), None if on is None else self._agent_id(on), None))

    def reconcile(self, words: Sequence[str]) -> None:
        """A framework asks how its tasks are; all of them, or those listed.

        ``reconcile FRAMEWORK [TASK[@AGENT] ...]``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        asked: list[tuple[TaskId, AgentId | None]] = []
        for word in given.take_all():
            task, at, agent = word.partition("@")
            asked.append((TaskId(task), self._agent_id(agent) if at else None))
        given.end()
        self._call(framework, Reconcile(tuple(asked)))

    def message(self, words: Sequence[str]) -> None:
        """A framework sends something to one of its executors.

        ``message FRAMEWORK EXECUTOR AGENT TEXT``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        executor_id, agent = ExecutorId(given.take("executor")), given.take("agent")
        data = given.take("text").encode()
        given.end()
        self._call(framework, MessageExecutor(self._agent_id(agent), executor_id, data))

    def executor_message(self, words: Sequence[str]) -> None:
        """An executor sends something to its framework.

        ``executor-message FRAMEWORK EXECUTOR AGENT TEXT``
        """
        given = Words(words)
        framework_id = self._framework_id(given.take("framework"))
        executor, agent = given.take("executor"), self._agent(given.take("agent"))
        text = given.take("text")
        given.end()
        self._stage.feed(
            ExecutorMessageReceived(
                agent.peer, self._agent_id(agent.name), framework_id, f"from {executor}: {text}"
            )
        )

    def shutdown_executor(self, words: Sequence[str]) -> None:
        """A framework wants an executor ended.

        ``shutdown-executor FRAMEWORK EXECUTOR AGENT``
        """
        given = Words(words)
        framework = self._framework(given.take("framework"))
        executor_id, agent = ExecutorId(given.take("executor")), given.take("agent")
        given.end()
        self._call(framework, ShutdownExecutor(executor_id, self._agent_id(agent)))

    def executor_exited(self, words: Sequence[str]) -> None:
        """An agent says that an executor has ended.

        ``executor-exited FRAMEWORK EXECUTOR AGENT``
        """
        given = Words(words)
        framework_id = self._framework_id(given.take("framework"))
        executor_id, agent = ExecutorId(given.take("executor")), self._agent(given.take("agent"))
        given.end()
        agent.executors.pop((framework_id, executor_id), None)
        self._stage.feed(
            ExecutorExited(
                agent.peer,
                self._agent_id(agent.name),
                framework_id,
                executor_id,
                f"executor {executor_id} on {agent.name} has exited",
            )
        )

    # Looking -------------------------------------------------------------------------------------

    def shares(self, words: Sequence[str]) -> None:
        """Say the dominant shares of roles and of the frameworks in them.

        ``shares [ROLE ...]``
        """
        given = Words(words)
        roles = given.take_all()
        given.end()
        frameworks = list(self._stage.core.state.frameworks)
        known = {role: None for framework in frameworks for role in framework.spec.roles}
        for role in roles or sorted(known):
            parts = [
                f"{self._cast.name_of(each.framework_id)} "
                f"{_fraction(self._stage.allocator.framework_share(each.framework_id, role))}"
                for each in frameworks
                if role in each.spec.roles
            ]
            share = _fraction(self._stage.allocator.role_share(role))
            self._stage.say(f"{role} {share}: {', '.join(parts)}")

    def books(self, words: Sequence[str]) -> None:
        """Say who holds what on each agent.

        ``books [AGENT ...]``
        """
        given = Words(words)
        names = given.take_all() or [
            name for name, agent in self._cast.agents.items() if agent.agent_id is not None
        ]
        given.end()
        for name in names:
            self._say_books(name)

    def _say_books(self, name: str) -> None:
        state = self._stage.core.state
        agent = state.agents.get(self._agent_id(name))
        if agent is None:
            return self._stage.say(f"{name}: not registered")
        self._stage.say(f"{name}: {agent.state.name}, {format_resources(agent.spec.total)}")
        for (framework_id, role), used in state.used_on(agent).items():
            owner = self._cast.name_of(framework_id)
            place = "" if role == "*" else f" for {role}"
            self._stage.say(f"  {owner} uses {format_resources(used)}{place}")
        for offer in state.offers.of_agent(agent.agent_id):
            owner = self._cast.name_of(offer.framework_id)
            self._stage.say(
                f"  {owner} is offered {format_resources(offer.resources)} "
                f"({self._cast.name_of(offer.offer_id)})"
            )
        free = self._stage.allocator.free(agent.agent_id)
        return self._stage.say(f"  free: {format_resources(free)}")

    def tasks(self, words: Sequence[str]) -> None:
        """Say the states of a framework's tasks: live, unreachable, completed.

        ``tasks FRAMEWORK``
        """
        given = Words(words)
        framework_id = self._framework_id(given.take("framework"))
        given.end()
        book = self._stage.core.state.tasks
        lists = (
            ("live", book.of_framework(framework_id)),
            ("unreachable", [lost.task for lost in book.unreachable_of(framework_id)]),
            ("completed", book.completed_of(framework_id)),
        )
        for title, tasks in lists:
            if tasks:
                said = ", ".join(f"{task.task_id} {task.state.name}" for task in tasks)
                self._stage.say(f"{title}: {said}")

    def standing(self, words: Sequence[str]) -> None:
        """Say how the master sees agents and frameworks.

        ``standing NAME ...``
        """
        given = Words(words)
        for name in given.take_all():
            self._stage.say(f"{name}: {self._standing(name)}")
        given.end()

    def _standing(self, name: str) -> str:
        state = self._stage.core.state
        if name in self._cast.frameworks:
            framework_id = self._framework_id(name)
            record = state.frameworks.get(framework_id)
            if record is not None:
                return record.state.name
            return "COMPLETED" if state.frameworks.is_completed(framework_id) else "unknown"
        agent = state.agents.get(self._agent_id(name))
        if agent is not None:
            return agent.state.name
        return state.standing(self._agent_id(name)).name

    # Names ---------------------------------------------------------------------------------------

    def _agent(self, name: str) -> PretendedAgent:
        agent = self._cast.agents.get(name)
        if agent is None:
            raise InvalidInput(name, "is no agent of this scenario")
        return agent

    def _agent_id(self, name: str) -> AgentId:
        """The agent's id; another name is taken as an id that the master does not know."""
        agent = self._cast.agents.get(name)
        return AgentId(name) if agent is None or agent.agent_id is None else agent.agent_id

    def _framework(self, name: str) -> PretendedFramework:
        framework = self._cast.frameworks.get(name)
        if framework is None:
            raise InvalidInput(name, "is no framework of this scenario")
        return framework

    def _framework_id(self, name: str) -> FrameworkId:
        framework = self._cast.frameworks.get(name)
        if framework is None or framework.framework_id is None:
            return FrameworkId(name)
        return framework.framework_id

    def _task_named(self, name: str) -> tuple[PretendedAgent, PretendedTask]:
        found = self._cast.task(name)
        if found is None:
            raise InvalidInput(name, "no agent was asked to run this task")
        return found

    def _owner(self, task: PretendedTask) -> PretendedFramework:
        return self._framework(self._cast.name_of(task.framework_id))

    # Feeding -------------------------------------------------------------------------------------

    def _call(self, framework: PretendedFramework, call: Call) -> None:
        self._feed(CallReceived(framework.peer, self._framework_id(framework.name), call))

    def _operate(self, call: OperatorCall) -> None:
        self._feed(OperatorCallReceived(self._stage.next_request(), call))

    def _feed(self, event: MasterEvent) -> None:
        self._stage.feed(event)


_OPERATIONS = frozenset({"launch"})
_OFFER_NAME = re.compile(r"O\d+|[^@]+@[^@]+")


def _split_at(words: Sequence[str], starts: frozenset[str]) -> Iterator[list[str]]:
    """The words before the first start, then one part for each start and what follows it."""
    part: list[str] = []
    for word in words:
        if word in starts:
            yield part
            part = []
        part.append(word)
    yield part


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


def _executor(text: str, framework: PretendedFramework) -> ExecutorSpec:
    """``e1`` or ``e1(cpus:0.1;mem:32)``."""
    name, _, resources = text.removesuffix(")").partition("(")
    return ExecutorSpec(
        ExecutorId(name), framework.framework_id, parse_resources(resources), None, name
    )


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


_Named = TypeVar("_Named", AgentCapability, FrameworkCapability, TaskState)


def _named(kind: type[_Named], word: str) -> _Named:
    try:
        return kind[word]
    except KeyError:
        raise InvalidInput(word, f"is no {kind.__name__}") from None


def _domain(text: str | None) -> FaultDomain | None:
    if text is None:
        return None
    region, _, zone = text.partition("/")
    return FaultDomain(region, zone)


def _fraction(share: Fraction) -> str:
    return str(share)


def _verbs() -> dict[str, Callable[["Verbs", Sequence[str]], None]]:
    """Every public method but ``obey``, written with dashes."""
    return {
        name.replace("_", "-"): verb
        for name, verb in vars(Verbs).items()
        if not name.startswith("_") and name != "obey"
    }


VERBS = _verbs()


def reference() -> str:
    """All verbs as a list in Markdown, from their docstrings."""
    parts = []
    for verb in VERBS.values():
        first, _, usage = (inspect.getdoc(verb) or "").partition("\n\n")
        parts.append(f"- {' '.join(usage.split()).replace('``', '`')}\n  {' '.join(first.split())}")
    return "\n".join(parts) + "\n"


__all__ = ["VERBS", "Check", "Verbs", "play", "play_text", "reference"]
