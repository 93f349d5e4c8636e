"""Work on machines, announced and done: the schedule, taking machines down and up.

    UP ─(schedule)─► DRAINING ─(start)─► DOWN ─(stop)─► UP

Agents on a machine of the schedule are offered with their unavailability; agents on a machine that
is down are shut down, removed, and not admitted before it is up again. A machine is known by host
name and IP together, as its agents register with both.

Source: master.md §3.5; the recorded refusals of a real master.
Differs: the offers of an agent are rescinded only when its unavailability has really changed.
"""

import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.core.allocator.events import UnavailabilityChanged
from cluster.core.master import registry
from cluster.core.master.admission import Admission
from cluster.core.master.answers import BAD_REQUEST, Answer
from cluster.core.master.effects import WriteRegistry
from cluster.core.master.inverse_offers import InverseOfferAnswer
from cluster.core.master.lifecycles import MACHINE_TRANSITIONS, MachineStep
from cluster.core.master.registry import RegistryOperation
from cluster.core.master.state import MasterState
from cluster.model.ids import FrameworkId
from cluster.model.maintenance import MachineId, MachineMode, MaintenanceWindow, Unavailability
from cluster.model.operator_calls import (
    StartMaintenance,
    StopMaintenance,
    UpdateMaintenanceSchedule,
)

SECONDS_MAX = 9_223_372_036.0
"""What nanoseconds in 64 bits can hold."""


class Maintenance:
    """The calls and what follows; calls return their answer, or None for later."""

    def __init__(self, state: MasterState, admission: Admission) -> None:
        self._state = state
        self._admission = admission
        # What the allocator has been told of each machine.
        self._told: dict[MachineId, Unavailability] = {}

    # Calls ---------------------------------------------------------------------------------------

    def update_schedule(self, call: UpdateMaintenanceSchedule, request: int) -> Answer | None:
        error = schedule_error(call.windows) or self._vanishing_error(call.windows)
        if error is not None:
            return Answer(BAD_REQUEST, f"schedule.{error}")
        self._state.emit(WriteRegistry(registry.UpdateSchedule(call.windows), request))
        return None

    def start(self, call: StartMaintenance, request: int) -> Answer | None:
        error = machines_error(call.machines) or self._step_error(
            call.machines, MachineStep.STARTED
        )
        if error is not None:
            return Answer(BAD_REQUEST, f"machines: {error}")
        self._state.emit(WriteRegistry(registry.StartMaintenance(call.machines), request))
        return None

    def stop(self, call: StopMaintenance, request: int) -> Answer | None:
        error = machines_error(call.machines) or self._step_error(
            call.machines, MachineStep.STOPPED
        )
        if error is not None:
            return Answer(BAD_REQUEST, f"machines: {error}")
        self._state.emit(WriteRegistry(registry.StopMaintenance(call.machines), request))
        return None

    def _vanishing_error(self, windows: Sequence[MaintenanceWindow]) -> str | None:
        scheduled = {machine for window in windows for machine in window.machines}
        for machine_id, machine in self._state.registry.machines.items():
            if machine.mode is MachineMode.DOWN and machine_id not in scheduled:
                return f"windows: machine {machine_id} is DOWN and must stay in the schedule"
        return None

    def _step_error(self, machines: Sequence[MachineId], step: MachineStep) -> str | None:
        needed = next(mode for mode, possible in MACHINE_TRANSITIONS if possible is step)
        for machine_id in machines:
            machine = self._state.registry.machines.get(machine_id)
            if machine is None:
                return f"machine {machine_id} is not part of the maintenance schedule"
            if machine.mode is not needed:
                return f"machine {machine_id} must be {needed.name}, not {machine.mode.name}"
        return None

    # After the registry --------------------------------------------------------------------------

    def recovered(self) -> None:
        """No agent is here yet: each is added with what the registry says of its machine."""
        self._told = self._announced()

    def written(self, operation: RegistryOperation) -> None:
        match operation:
            case registry.UpdateSchedule():
                self._tell_allocator()
            case registry.StartMaintenance(machines):
                self._admission.take_down(machines)
            case registry.StopMaintenance():
                self._tell_allocator()
            case _:
                pass

    def _tell_allocator(self) -> None:
        """Let offers be made anew with what has changed."""
        state = self._state
        before, self._told = self._told, self._announced()
        for agent in state.agents:
            now = self._told.get(agent.machine)
            if not agent.state.is_registered or before.get(agent.machine) == now:
                continue
            for offer in state.offers.of_agent(agent.agent_id):
                state.withdraw(offer, tell=True)
            state.withdraw_inverse_offers_on(agent.agent_id)
            state.allocator.handle(UnavailabilityChanged(agent.agent_id, now), state.now_s)

    def _announced(self) -> dict[MachineId, Unavailability]:
        return {
            machine_id: machine.unavailability
            for machine_id, machine in self._state.registry.machines.items()
            if machine.unavailability is not None
        }


# Looking -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """How far frameworks have made room.

    Attributes:
        draining: machines of the schedule that are not down, in its order, each with the last
            answer of every framework that was asked about an agent there.
        down: machines that are down, in the order of the schedule.
    """

    draining: Mapping[MachineId, tuple[tuple[FrameworkId, InverseOfferAnswer], ...]]
    down: tuple[MachineId, ...]


def maintenance_status(state: MasterState) -> MaintenanceStatus:
    """For operators, who decide whether it is time to take a machine down."""
    machines = state.registry.machines
    answers: dict[MachineId, list[tuple[FrameworkId, InverseOfferAnswer]]] = {
        machine_id: []
        for machine_id, machine in machines.items()
        if machine.mode is MachineMode.DRAINING
    }
    for agent in state.agents if answers else ():
        if agent.machine in answers:
            answers[agent.machine].extend(state.inverse_offers.answers_of(agent.agent_id).items())
    return MaintenanceStatus(
        {machine_id: tuple(given) for machine_id, given in answers.items()},
        tuple(m for m, machine in machines.items() if machine.mode is MachineMode.DOWN),
    )


# Rules that need nothing but the call -------------------------------------------------------------


def schedule_error(windows: Sequence[MaintenanceWindow]) -> str | None:
    """The first rule that a schedule breaks, or None."""
    seen: set[MachineId] = set()
    for index, window in enumerate(windows):
        field = f"windows[{index}]"
        error = machines_error(window.machines)
        if error is not None:
            return f"{field}.machine_ids: {error}"
        for machine_id in window.machines:
            if machine_id in seen:
                return f"{field}.machine_ids: machine {machine_id} is in the schedule twice"
        seen.update(window.machines)
        if (error := _unavailability_error(window.unavailability)) is not None:
            return f"{field}.unavailability.{error}"
    return None


def machines_error(machines: Sequence[MachineId]) -> str | None:
    """The first rule that a list of machines breaks, or None."""
    if not machines:
        return "must name at least one machine"
    seen: set[MachineId] = set()
    for machine_id in machines:
        if not machine_id.hostname and not machine_id.ip:
            return "a machine must have a host name or an IP"
        if machine_id.ip and not _is_ipv4(machine_id.ip):
            return f"ip must be an IPv4 address, not '{machine_id.ip}'"
        if machine_id in seen:
            return f"machine {machine_id} is listed twice"
        seen.add(machine_id)
    return None


def _unavailability_error(unavailability: Unavailability) -> str | None:
    if not (math.isfinite(unavailability.start_s) and abs(unavailability.start_s) <= SECONDS_MAX):
        return "start: must fit into 64 bits of nanoseconds"
    duration_s = unavailability.duration_s
    if duration_s is None:
        return None
    if not (math.isfinite(duration_s) and duration_s <= SECONDS_MAX):
        return "duration: must fit into 64 bits of nanoseconds"
    return "duration: must not be negative" if duration_s < 0 else None


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


__all__ = [
    "Maintenance",
    "MaintenanceStatus",
    "machines_error",
    "maintenance_status",
    "schedule_error",
]
