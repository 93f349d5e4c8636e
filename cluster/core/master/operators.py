"""Calls of operators: each goes to the story that it is about, and is answered once.

Source: master.md §3.3 to §3.5, §9.
"""

from typing import assert_never

from cluster.core.master.effects import AnswerOperator
from cluster.core.master.events import OperatorCallReceived
from cluster.core.master.registry import Outcome, RegistryOperation
from cluster.core.master.state import MasterState
from cluster.core.master.subscriptions import Subscriptions
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
    TearDownFramework,
    UnreserveResources,
    UpdateMaintenanceSchedule,
    UpdateQuotas,
    UpdateWeights,
)

OK = 200
ACCEPTED = 202
BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
NOT_IMPLEMENTED = 501


class Operators:
    """Carrying out what operators ask, acting on the shared books."""

    def __init__(self, state: MasterState, subscriptions: Subscriptions) -> None:
        self._state = state
        self._subscriptions = subscriptions

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
                self._answer(event.request, NOT_IMPLEMENTED)
            case (
                ReserveResources()
                | UnreserveResources()
                | CreateVolumes()
                | DestroyVolumes()
                | GrowVolume()
                | ShrinkVolume()
            ):
                self._answer(event.request, NOT_IMPLEMENTED)
            case _:
                assert_never(event.call)

    def written(self, operation: RegistryOperation) -> None:
        """Go on with what waited for the registry."""

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

    def _answer(self, request: int, status: int, text: str = "") -> None:
        self._state.emit(AnswerOperator(request, status, text))


__all__ = ["Operators"]
