"""How frameworks come, come back, fail over, fall silent and end. Source: master.md §2."""

from dataclasses import replace

from cluster.core.allocator.events import (
    FrameworkActivated,
    FrameworkAdded,
    FrameworkDeactivated,
    FrameworkRemoved,
    FrameworkUpdated,
)
from cluster.core.master.effects import (
    CancelTimer,
    FailoverTimer,
    Link,
    SendFrameworkError,
    SendRegistered,
    SendShutdownFramework,
    SendUpdateFramework,
    StartTimer,
)
from cluster.core.master.events import FailoverTimedOut
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.lifecycles import FrameworkState, FrameworkStep
from cluster.core.master.state import MasterState
from cluster.model.calls import Subscribe, UpdateFramework
from cluster.model.frameworks import FrameworkSpec
from cluster.model.ids import FrameworkId
from cluster.model.peers import PeerId
from cluster.model.task_states import TaskState

FAILED_OVER = "Framework failed over"
DISCONNECTED = "Framework disconnected"
REMOVED = "Framework has been removed"


class Subscriptions:
    """The lifecycle of frameworks, acting on the shared books."""

    def __init__(self, state: MasterState) -> None:
        self._state = state

    # Coming --------------------------------------------------------------------------------------

    def subscribe(self, peer: PeerId, subscribe: Subscribe) -> None:
        """Answer one subscription as the table of cases says (master.md §2.2)."""
        state = self._state
        spec = subscribe.spec
        known_here = state.frameworks.at_peer(peer)
        if (error := self._refusal(spec, known_here)) is not None:
            return self.refuse(peer, error)
        if spec.framework_id is None:
            if known_here is None:
                return self._add(state.name_framework(), peer, subscribe)
            # The driver asks again because it has not seen the first answer yet.
            return state.emit(SendRegistered(peer, known_here.framework_id, again=False))
        record = state.frameworks.get(spec.framework_id)
        if record is None:
            return self._add(spec.framework_id, peer, subscribe)
        if (error := _principal_error(record.spec, spec)) is not None:
            return self.refuse(peer, error)
        if record.state is FrameworkState.RECOVERED:
            return self._take_over(record, peer, subscribe)
        if subscribe.force:
            return self._fail_over(record, peer, subscribe)
        if record.is_connected and record.peer != peer:
            return self.refuse(peer, FAILED_OVER)
        return self._reregister(record, peer, subscribe)

    def refuse(self, peer: PeerId, error: str) -> None:
        """Tell a scheduler that it is not subscribed; its driver stops."""
        self._state.warn("subscription refused", f"{peer}: {error}")
        known = self._state.frameworks.at_peer(peer)
        if known is not None:
            known.tally.events["error"] += 1
        self._state.emit(SendFrameworkError(peer, error))

    def _refusal(self, spec: FrameworkSpec, known_here: FrameworkRecord | None) -> str | None:
        options = self._state.options
        if options.allowed_roles is not None:
            for role in spec.roles:
                if role not in options.allowed_roles:
                    return f"role '{role}' is not among the roles this master allows"
        if spec.user == "root" and not options.root_submissions:
            return "user: root may not run tasks here (root_submissions is off)"
        if spec.framework_id is None:
            return None
        if self._state.frameworks.is_completed(spec.framework_id):
            return REMOVED
        if known_here is not None and known_here.framework_id != spec.framework_id:
            return f"this scheduler is already subscribed as framework {known_here.framework_id}"
        return None

    def _add(self, framework_id: FrameworkId, peer: PeerId, subscribe: Subscribe) -> None:
        state = self._state
        spec = replace(subscribe.spec, framework_id=framework_id)
        record = FrameworkRecord(
            framework_id, spec, state=FrameworkState.ACTIVE, peer=peer, now_s=state.now_s
        )
        record.suppressed_roles = subscribe.suppressed_roles
        record.constraints = subscribe.constraints
        record.has_feedback = subscribe.has_feedback
        record.story.add(state.now_s, f"subscribed from {peer}", "new -> ACTIVE")
        record.note_wants(state.now_s)
        record.tally.events["subscribed"] += 1
        state.frameworks.add(record)
        state.emit(Link(peer))
        state.emit(SendRegistered(peer, framework_id, again=False))
        state.allocator.handle(
            FrameworkAdded(
                framework_id,
                spec.roles,
                subscribe.suppressed_roles,
                active=True,
                traits=record.traits,
            ),
            state.now_s,
        )

    def recover(self, spec: FrameworkSpec) -> None:
        """Learn of a framework from an agent that runs its tasks."""
        state = self._state
        framework_id = spec.framework_id
        if framework_id is None or state.frameworks.is_completed(framework_id):
            return
        record = state.frameworks.get(framework_id)
        if record is not None:
            return record.advance(FrameworkStep.REPORTED_BY_AGENT, state.now_s)
        record = FrameworkRecord(
            framework_id, spec, state=FrameworkState.RECOVERED, peer=None, now_s=state.now_s
        )
        record.story.add(state.now_s, "reported by an agent", "new -> RECOVERED")
        state.frameworks.add(record)
        state.allocator.handle(
            FrameworkAdded(
                framework_id, spec.roles, frozenset(), active=False, traits=record.traits
            ),
            state.now_s,
        )

    # Coming back ---------------------------------------------------------------------------------

    def _take_over(self, record: FrameworkRecord, peer: PeerId, subscribe: Subscribe) -> None:
        """A framework that only agents had told of: for its scheduler this is a registration."""
        self._resume(record, peer, subscribe)
        self._state.emit(SendRegistered(peer, record.framework_id, again=False))
        self._tell_agents(record)
        self._activate(record)

    def _fail_over(self, record: FrameworkRecord, peer: PeerId, subscribe: Subscribe) -> None:
        if record.is_connected and record.peer is not None and record.peer != peer:
            self._state.emit(SendFrameworkError(record.peer, FAILED_OVER))
        self._discard_offers(record, tell=False)
        self._resume(record, peer, subscribe)
        self._state.emit(SendRegistered(peer, record.framework_id, again=False))
        self._tell_agents(record)
        self._activate(record)

    def _reregister(self, record: FrameworkRecord, peer: PeerId, subscribe: Subscribe) -> None:
        self._discard_offers(record, tell=record.peer == peer)
        self._resume(record, peer, subscribe)
        self._tell_agents(record)
        self._state.emit(SendRegistered(peer, record.framework_id, again=True))
        self._activate(record)

    def _resume(self, record: FrameworkRecord, peer: PeerId, subscribe: Subscribe) -> None:
        state = self._state
        record.advance(FrameworkStep.SUBSCRIBED, state.now_s)
        record.generation += 1
        record.has_feedback = subscribe.has_feedback
        record.reregistered_s = state.now_s
        record.tally.events["subscribed"] += 1
        state.frameworks.move(record, peer)
        state.emit(CancelTimer(FailoverTimer(record.framework_id)))
        state.emit(Link(peer))
        self._describe(record, subscribe)

    def _activate(self, record: FrameworkRecord) -> None:
        self._state.allocator.handle(FrameworkActivated(record.framework_id), self._state.now_s)

    # Changing ------------------------------------------------------------------------------------

    def refuse_update(self, record: FrameworkRecord, error: str) -> None:
        """Tell a framework that its change is void; its driver stops."""
        assert record.peer is not None
        self.refuse(record.peer, error)

    def update(self, record: FrameworkRecord, call: UpdateFramework) -> None:
        """Replace the description; offers in roles it leaves are rescinded, tasks stay."""
        error = _update_error(record.spec, call.spec) or self._refusal(call.spec, record)
        if error is not None:
            return self.refuse_update(record, error)
        for offer in self._state.offers.of_framework(record.framework_id):
            if offer.role not in call.spec.roles:
                self._state.withdraw(offer, tell=True)
        self._describe(record, call)
        self._tell_agents(record)

    def _describe(self, record: FrameworkRecord, new: Subscribe | UpdateFramework) -> None:
        """Take over a new description; user and checkpoint keep their first values."""
        record.spec = replace(
            new.spec,
            framework_id=record.framework_id,
            user=record.spec.user,
            checkpoint=record.spec.checkpoint,
        )
        record.suppressed_roles = new.suppressed_roles
        record.constraints = new.constraints
        record.note_wants(self._state.now_s)
        self._state.allocator.handle(
            FrameworkUpdated(
                record.framework_id, new.spec.roles, new.suppressed_roles, record.traits
            ),
            self._state.now_s,
        )

    def _tell_agents(self, record: FrameworkRecord) -> None:
        for agent in self._state.agents.registered:
            self._state.emit(
                SendUpdateFramework(agent.peer, record.framework_id, record.spec, record.peer)
            )

    # Falling silent ------------------------------------------------------------------------------

    def deactivate(self, record: FrameworkRecord) -> None:
        """The driver aborted: no more offers, but the framework still counts as connected."""
        was_active = record.is_active
        record.advance(FrameworkStep.DEACTIVATED, self._state.now_s)
        if was_active:
            self._stop_offers(record)

    def link_lost(self, record: FrameworkRecord) -> None:
        """The scheduler cannot be reached: wait for another one to take over."""
        state = self._state
        was_active = record.is_active
        record.advance(FrameworkStep.LINK_LOST, state.now_s)
        record.generation += 1
        state.frameworks.unlink(record)
        if was_active:
            self._stop_offers(record)
        if record.peer is not None:
            state.emit(SendFrameworkError(record.peer, DISCONNECTED))
        state.emit(
            StartTimer(
                FailoverTimer(record.framework_id),
                max(0.0, record.spec.failover_timeout_s),
                FailoverTimedOut(record.framework_id, record.generation),
            )
        )

    def _stop_offers(self, record: FrameworkRecord) -> None:
        record.note_wants(self._state.now_s)
        self._state.allocator.handle(FrameworkDeactivated(record.framework_id), self._state.now_s)
        self._discard_offers(record, tell=False)

    def _discard_offers(self, record: FrameworkRecord, *, tell: bool) -> None:
        for offer in self._state.offers.of_framework(record.framework_id):
            self._state.withdraw(offer, tell=tell)
        for inverse in self._state.inverse_offers.of_framework(record.framework_id):
            self._state.withdraw_inverse_offer(inverse, tell=tell)

    # Ending --------------------------------------------------------------------------------------

    def failover_timed_out(self, event: FailoverTimedOut) -> None:
        record = self._state.frameworks.get(event.framework_id)
        if record is not None and record.generation == event.generation:
            self._remove(record, FrameworkStep.FAILOVER_TIMED_OUT)

    def tear_down(self, record: FrameworkRecord) -> None:
        self._remove(record, FrameworkStep.TORN_DOWN)

    def _remove(self, record: FrameworkRecord, step: FrameworkStep) -> None:
        """End everything that runs for the framework and remember it among the completed ones."""
        state = self._state
        framework_id = record.framework_id
        record.advance(step, state.now_s)
        state.emit(CancelTimer(FailoverTimer(framework_id)))
        for agent in state.agents.registered:
            state.emit(SendShutdownFramework(agent.peer, framework_id))
        for task in state.tasks.of_framework(framework_id):
            state.record_state(task, TaskState.KILLED)
            state.complete_task(task)
        for lost in state.tasks.unreachable_of(framework_id):
            lost.task.report_state(TaskState.KILLED)
        state.tasks.complete_unreachable(framework_id)
        for agent in state.agents:
            state.drop_executors(agent, framework_id)
        self._discard_offers(record, tell=False)
        state.inverse_offers.forget_answers_of(framework_id)
        state.allocator.handle(FrameworkRemoved(framework_id), state.now_s)
        for forgotten in state.frameworks.complete(record, state.now_s):
            state.tasks.forget_framework(forgotten)


def _principal_error(known: FrameworkSpec, new: FrameworkSpec) -> str | None:
    if new.principal == known.principal:
        return None
    return f"principal: must stay {known.principal!r}, not become {new.principal!r}"


def _update_error(known: FrameworkSpec, new: FrameworkSpec) -> str | None:
    """Unlike a new subscription, an update may not even try to change these."""
    if new.framework_id != known.framework_id:
        return f"framework_info.id: must be {known.framework_id}, not {new.framework_id}"
    if new.user != known.user:
        return f"user: must stay {known.user!r}, not become {new.user!r}"
    if new.checkpoint != known.checkpoint:
        return f"checkpoint: must stay {str(known.checkpoint).lower()}"
    return _principal_error(known, new)


__all__ = ["DISCONNECTED", "FAILED_OVER", "REMOVED", "Subscriptions"]
