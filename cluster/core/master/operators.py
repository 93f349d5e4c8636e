"""Calls of operators: each goes to the story that it is about, and is answered once.

Source: master.md §3.3 to §3.5, §9.
"""

from typing import assert_never

from cluster.core.master.admission import Admission
from cluster.core.master.answers import (
    BAD_REQUEST,
    CONFLICT,
    OK,
    Answer,
)
from cluster.core.master.draining import Draining
from cluster.core.master.effects import AnswerOperator
from cluster.core.master.events import OperatorCallReceived
from cluster.core.master.maintenance import Maintenance
from cluster.core.master.registry import Outcome, RegistryOperation
from cluster.core.master.resource_calls import ResourceCalls
from cluster.core.master.shares import Shares
from cluster.core.master.state import MasterState
from cluster.core.master.subscriptions import Subscriptions
from cluster.model.operator_calls import (
    CreateVolumes,
    DeactivateAgent,
    DestroyVolumes,
    DrainAgent,
    FleetCall,
    GrowVolume,
    MarkAgentAsGone,
    ReactivateAgent,
    ReserveResources,
    ShrinkVolume,
    StartMaintenance,
    StopMaintenance,
    TearDownFramework,
    UnreserveResources,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)


class Operators:
    """Carrying out what operators ask, acting on the shared books."""

    def __init__(
        self,
        state: MasterState,
        subscriptions: Subscriptions,
        admission: Admission,
        resource_calls: ResourceCalls,
    ) -> None:
        self._state = state
        self._subscriptions = subscriptions
        self._draining = Draining(state, admission)
        self._maintenance = Maintenance(state, admission)
        self._shares = Shares(state)
        self._resource_calls = resource_calls

    def call(self, event: OperatorCallReceived) -> None:
        match event.call:
            case TearDownFramework():
                self._tear_down(event.request, event.call)
            case (
                UpdateQuotas()
                | UpdateWeights()
                | UpdateMaintenanceSchedule()
                | StartMaintenance()
                | StopMaintenance()
                | DrainAgent()
                | DeactivateAgent()
                | ReactivateAgent()
                | MarkAgentAsGone()
            ):
                self._give(event.request, self._of_fleet(event.call, event.request))
            case (
                ReserveResources()
                | UnreserveResources()
                | CreateVolumes()
                | DestroyVolumes()
                | GrowVolume()
                | ShrinkVolume()
            ):
                self._give(event.request, self._resource_calls.call(event.call, event.principal))
            case _:
                assert_never(event.call)

    def _of_fleet(self, call: FleetCall, request: int) -> Answer | None:
        """The answer, or None when it comes with the write to the registry."""
        match call:
            case UpdateQuotas():
                return self._shares.update_quotas(call, request)
            case UpdateWeights():
                return self._shares.update_weights(call, request)
            case UpdateMaintenanceSchedule():
                return self._maintenance.update_schedule(call, request)
            case StartMaintenance():
                return self._maintenance.start(call, request)
            case StopMaintenance():
                return self._maintenance.stop(call, request)
            case DrainAgent():
                return self._draining.drain(call, request)
            case DeactivateAgent():
                return self._draining.deactivate(call, request)
            case ReactivateAgent():
                return self._draining.reactivate(call, request)
            case MarkAgentAsGone():
                return self._draining.mark_gone(call, request)
            case _:
                assert_never(call)

    def recovered(self) -> None:
        """The registry of an earlier master has been taken over."""
        self._draining.recovered()
        self._maintenance.recovered()

    def written(self, operation: RegistryOperation) -> None:
        """Go on with what waited for the registry."""
        self._draining.written(operation)
        self._maintenance.written(operation)
        self._shares.written(operation)

    def end_of_event(self) -> None:
        """Comes last with every event."""
        self._draining.end_what_is_empty()

    def answer_written(self, request: int, outcome: Outcome) -> None:
        """Say what became of a call that waited for the registry."""
        if outcome.error is not None:
            return self._answer(request, CONFLICT, outcome.error)
        return self._answer(request, OK)

    def _tear_down(self, request: int, call: TearDownFramework) -> None:
        framework = self._state.frameworks.get(call.framework_id)
        if framework is None:
            return self._answer(
                request, BAD_REQUEST, f"framework_id: no framework has the id '{call.framework_id}'"
            )
        self._subscriptions.tear_down(framework)
        return self._answer(request, OK)

    def _give(self, request: int, answer: Answer | None) -> None:
        """None: the answer comes later."""
        if answer is not None:
            self._answer(request, answer.status, answer.text)

    def _answer(self, request: int, status: int, text: str = "") -> None:
        self._state.emit(AnswerOperator(request, status, text))


__all__ = ["Operators"]
