"""The master's decisions: one event in, the effects to carry out in order.

The shell (``cluster.master``) decodes messages into events and performs effects; everything in
between is here and in the stories this class composes. No I/O, no clock, no randomness of its own.
"""

import random
from typing import assert_never

from cluster.core.allocator import Allocator
from cluster.core.master.admission import Admission
from cluster.core.master.changes import Changes
from cluster.core.master.effects import MasterEffect
from cluster.core.master.events import (
    AgentAnswered,
    AgentPingsMissed,
    AgentRecoveryTimedOut,
    AgentUpdateReceived,
    AllocationDue,
    AllocationIntervalElapsed,
    AllocatorRecoveryTimedOut,
    CallReceived,
    ExecutorExited,
    ExecutorMessageReceived,
    FailoverTimedOut,
    MasterEvent,
    OfferTimedOut,
    OperationStatusReceived,
    OperatorCallReceived,
    PeerLost,
    RegistrationReceived,
    RegistryGcDue,
    RegistryRecovered,
    RegistryWritten,
    RemovalDue,
    ReregistrationReceived,
    ReregistrationTimedOut,
    StatusUpdateReceived,
    SubscribeReceived,
    SubscribeRefused,
    UnregistrationReceived,
    WhitelistRead,
)
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.inverse_offering import InverseOffering
from cluster.core.master.launches import Launches
from cluster.core.master.news import News
from cluster.core.master.offering import Offering
from cluster.core.master.operators import Operators
from cluster.core.master.recovery import Recovery
from cluster.core.master.resource_calls import ResourceCalls
from cluster.core.master.state import MasterOptions, MasterState
from cluster.core.master.subscriptions import Subscriptions
from cluster.errors import InvariantBroken
from cluster.model.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperation,
    Call,
    Deactivate,
    Decline,
    DeclineInverseOffers,
    Kill,
    MessageExecutor,
    Reconcile,
    ReconcileOperations,
    RequestResources,
    Revive,
    ShutdownExecutor,
    Suppress,
    Teardown,
    UnsupportedCall,
    UpdateFramework,
    UpdateRefused,
)
from cluster.model.conversions import single
from cluster.model.ids import MasterId
from cluster.model.resources import EMPTY


class MasterCore:
    """All state of one master.

    Args:
        master_id: prefix of every id this master gives.
        options: limits and waits.
        allocator: divides the resources; this core is its only user.
        rng: where the uuids of operations come from; by default the same for every master.
    """

    def __init__(
        self,
        master_id: MasterId,
        options: MasterOptions,
        allocator: Allocator,
        rng: random.Random | None = None,
    ) -> None:
        self.state = MasterState(master_id, options, allocator)
        self._subscriptions = Subscriptions(self.state)
        self._admission = Admission(self.state, self._subscriptions)
        self._recovery = Recovery(self.state, self._admission)
        self._offering = Offering(self.state)
        self._inverse_offering = InverseOffering(self.state)
        self._changes = Changes(self.state, rng or random.Random(0))
        self._launches = Launches(self.state, self._offering, self._changes)
        self._news = News(self.state)
        self._operators = Operators(
            self.state,
            self._subscriptions,
            self._admission,
            ResourceCalls(self.state, self._changes),
        )

    def handle(self, event: MasterEvent, now_s: float) -> list[MasterEffect]:
        """Take in one fact; returns what to do, in order."""
        self.state.now_s = now_s
        self._changes.note_start()
        self._dispatch(event)
        self._operators.end_of_event()
        self._offering.request_run()
        return self.state.take_effects()

    def _dispatch(self, event: MasterEvent) -> None:
        match event:
            case CallReceived():
                self._call(event)
            case StatusUpdateReceived():
                self._news.status_update(event)
            case AllocationDue():
                self._offering.run()
                self._inverse_offering.run()
            case AllocationIntervalElapsed():
                self._offering.interval_elapsed()
            case OfferTimedOut():
                self._offering.timed_out(event)
            case SubscribeReceived(peer, subscribe):
                self._subscriptions.subscribe(peer, subscribe)
            case SubscribeRefused(peer, error):
                self._subscriptions.refuse(peer, error)
            case FailoverTimedOut():
                self._subscriptions.failover_timed_out(event)
            case RegistrationReceived(peer, spec):
                self._admission.register(peer, spec)
            case ReregistrationReceived(peer, report):
                self._admission.reregister(peer, report)
            case AgentUpdateReceived():
                self._admission.update(event)
                self._changes.updated(event)
            case OperationStatusReceived():
                self._changes.status(event)
            case UnregistrationReceived(peer, agent_id):
                self._admission.unregister(peer, agent_id)
            case AgentPingsMissed(agent_id):
                self._admission.pings_missed(agent_id)
            case AgentAnswered(agent_id):
                self._admission.answered(agent_id)
            case RegistryRecovered(value):
                self._recovery.recovered(value)
                self._operators.recovered()
            case RegistryWritten():
                self._registry_written(event)
            case AgentRecoveryTimedOut():
                self._recovery.timed_out()
            case AllocatorRecoveryTimedOut():
                self._recovery.allocator_timed_out()
            case RemovalDue():
                self._admission.removal_due()
            case RegistryGcDue():
                self._recovery.collect_garbage()
            case WhitelistRead(hostnames):
                self._recovery.whitelist_read(hostnames)
            case ReregistrationTimedOut():
                self._admission.reregistration_timed_out(event)
            case ExecutorExited():
                self._news.executor_exited(event)
            case ExecutorMessageReceived():
                self._news.executor_message(event)
            case OperatorCallReceived():
                self._operators.call(event)
            case PeerLost():
                self._peer_lost(event)
            case _:
                assert_never(event)

    def _registry_written(self, event: RegistryWritten) -> None:
        """Apply what is durable now, let its story go on, and answer whoever waits for it."""
        outcome = self.state.registry.apply(event.operation)
        if outcome.error is not None and event.request is None:
            raise InvariantBroken(f"the registry refused {event.operation}: {outcome.error}")
        if outcome.error is None:
            self.state.tally.registry_written(event.operation)
            self._admission.written(event.operation)
            self._operators.written(event.operation)
        else:
            self._admission.refused(event.operation)
        if event.request is not None:
            self._operators.answer_written(event.request, outcome)

    def _peer_lost(self, event: PeerLost) -> None:
        framework = self.state.frameworks.at_peer(event.peer)
        if framework is not None:
            self._subscriptions.link_lost(framework)
        agent = self.state.agents.at_peer(event.peer)
        if agent is not None:
            self._admission.link_lost(agent)

    # Calls of schedulers -------------------------------------------------------------------------

    def _call(self, event: CallReceived) -> None:
        framework = self.state.frameworks.get(event.framework_id)
        if framework is None or not framework.is_connected or framework.peer != event.peer:
            return self.state.warn(
                "call from a stranger",
                f"{type(event.call).__name__} for framework {event.framework_id} from "
                f"{event.peer}, where it is not subscribed",
            )
        framework.tally.call(event.call)
        return self._obey(framework, event.call)

    def _obey(self, framework: FrameworkRecord, call: Call) -> None:
        match call:
            case Acknowledge():
                self._news.acknowledge(framework, call)
            case Accept():
                self._launches.accept(framework, call)
            case Decline():
                self._offering.decline(framework, call)
            case Kill():
                self._news.kill(framework, call)
            case Reconcile():
                self._news.reconcile(framework, call)
            case AcknowledgeOperation():
                self._changes.acknowledge(framework, call)
            case ReconcileOperations():
                self._changes.reconcile(framework, call)
            case Revive():
                self._offering.revive(framework, call)
            case Suppress():
                self._offering.suppress(framework, call)
            case MessageExecutor():
                self._news.message_executor(framework, call)
            case ShutdownExecutor():
                self._news.shut_down_executor(framework, call)
            case UpdateFramework():
                self._subscriptions.update(framework, call)
            case UpdateRefused(error):
                self._subscriptions.refuse_update(framework, error)
            case Deactivate():
                self._subscriptions.deactivate(framework)
            case Teardown():
                self._subscriptions.tear_down(framework)
            case RequestResources():
                self._offering.request(framework, call)
            case AcceptInverseOffers():
                self._inverse_offering.accept(framework, call)
            case DeclineInverseOffers():
                self._inverse_offering.decline(framework, call)
            case UnsupportedCall(name):
                self.state.warn(
                    "unsupported call",
                    f"call {name} of framework {framework.framework_id} is not supported by this "
                    "master and was ignored",
                )
            case _:
                assert_never(call)

    # Checking ------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Check the books against each other; for tests and simulation.

        Raises:
            InvariantBroken: offers or usage exceed an agent, an index is wrong, a list too long, or
                the allocator's books say something else than the master's.
        """
        state = self.state
        state.frameworks.check_invariants()
        state.agents.check_invariants()
        state.tasks.check_invariants()
        state.offers.check_invariants()
        state.inverse_offers.check_invariants()
        state.operations.check_invariants()
        for task in state.tasks:
            if state.agents.registered_or_none(task.agent_id) is None:
                raise InvariantBroken(f"task {task.task_id} is live on an absent agent")
            if state.frameworks.get(task.framework_id) is None:
                raise InvariantBroken(f"task {task.task_id} is live without its framework")
        for agent in state.agents:
            offers = state.offers.of_agent(agent.agent_id)
            if offers and not agent.is_connected:
                raise InvariantBroken(f"agent {agent.agent_id} is offered but not connected")
            if offers and not state.may_serve(agent.agent_id):
                raise InvariantBroken(f"agent {agent.agent_id} is offered but deactivated")
            used = sum(state.used_on(agent).values(), start=EMPTY)
            offered = sum((offer.resources for offer in offers), start=EMPTY)
            shared = offered.shared()
            # A returning agent may report more in use than it has: then only what is left counts.
            if not agent.total.minus_up_to(used).contains(offered.minus_up_to(shared)):
                raise InvariantBroken(f"agent {agent.agent_id} is overbooked")
            if not agent.total.contains(single(shared)):
                raise InvariantBroken(f"agent {agent.agent_id} lacks a volume that is offered")
        state.allocator.check_invariants()
        self._check_bookings()

    def _check_bookings(self) -> None:
        """What is offered or used is booked so by the allocator, and nothing else is."""
        state, bookings = self.state, self.state.allocator.bookings()
        agents = {agent.agent_id: agent for agent in state.agents.registered}
        if agents.keys() != bookings.keys():
            odd = sorted(agents.keys() ^ bookings.keys())
            raise InvariantBroken(f"only one of master and allocator has the agents {odd}")
        for agent_id, agent in agents.items():
            held = state.used_on(agent)
            for offer in state.offers.of_agent(agent_id):
                owner = (offer.framework_id, offer.role)
                held[owner] = held.get(owner, EMPTY) + offer.resources
            booked = bookings[agent_id]
            for owner in {**held, **booked}:
                mine, its = held.get(owner, EMPTY), booked.get(owner, EMPTY)
                if mine != its:
                    framework_id, role = owner
                    raise InvariantBroken(
                        f"framework {framework_id} holds [{mine}] on agent {agent_id} in role "
                        f"'{role}', but the allocator has booked [{its}]"
                    )


__all__ = ["MasterCore"]
