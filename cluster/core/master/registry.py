"""What a master must remember beyond its own life, as one protobuf value and operations on it.

Every operation is a pure function of the value: it changes it, leaves it as it is, or fails with a
reason and changes nothing. The registrar applies operations before it stores the value, the
master's core applies the same operations in the same order once they are durable; both come to the
same outcome. Where the value is stored is the registrar's business (``cluster.registrar``).

The lists of agents can be long, so they live in indexes by id beside the message that holds the
rest, and the whole value is put together only to be stored: each operation on an agent costs the
same however many agents there are, and an entry that did not change is not encoded again.

Source: master.md §4 (operations, minimum capabilities), messages.md §4.3; the recorded writes of a
real master (order of entries, which fields are set).
Differs: pruning removes exactly the named agents (the original may drop their neighbours).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from cluster.core.master.lifecycles import (
    MACHINE_TRANSITIONS,
    SERVICE_TRANSITIONS,
    MachineStep,
    ServiceState,
    ServiceStep,
)
from cluster.model.draining import Drain, DrainConfig, DrainState
from cluster.model.ids import AgentId
from cluster.model.maintenance import (
    MachineId,
    MachineMode,
    MaintenanceWindow,
    Unavailability,
)
from cluster.model.quotas import Quota
from cluster.model.values import milli_from_float, milli_to_float
from cluster.wire.pb import maintenance_pb2 as maintenance
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import quota_pb2 as quota
from cluster.wire.pb import registry_pb2

AGENT_DRAINING = "AGENT_DRAINING"
QUOTA_V2 = "QUOTA_V2"
KNOWN_CAPABILITIES = frozenset({"AGENT_UPDATE", AGENT_DRAINING, QUOTA_V2})
"""What this master can do; a registry that needs more was written by a newer one."""

_NANOSECONDS = 1_000_000_000


# Operations ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordMaster:
    """A master took over."""

    info: mesos.MasterInfo = field(repr=False)


@dataclass(frozen=True, slots=True)
class AdmitAgent:
    agent_id: AgentId
    info: mesos.SlaveInfo = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateAgent:
    """An admitted agent describes itself anew."""

    agent_id: AgentId
    info: mesos.SlaveInfo = field(repr=False)


@dataclass(frozen=True, slots=True)
class MarkAgentUnreachable:
    agent_id: AgentId
    at_s: float


@dataclass(frozen=True, slots=True)
class MarkAgentReachable:
    """The agent is back; one that the registry never knew (or has forgotten) is admitted."""

    agent_id: AgentId
    info: mesos.SlaveInfo = field(repr=False)


@dataclass(frozen=True, slots=True)
class MarkAgentGone:
    """For good, whether it is admitted or unreachable."""

    agent_id: AgentId
    at_s: float


@dataclass(frozen=True, slots=True)
class RemoveAgent:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class PruneAgents:
    """Forget some of the unreachable and gone agents; those not there any more do not matter."""

    unreachable: tuple[AgentId, ...] = ()
    gone: tuple[AgentId, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainAgent:
    agent_id: AgentId
    config: DrainConfig


@dataclass(frozen=True, slots=True)
class MarkAgentDrained:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class DeactivateAgent:
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class ReactivateAgent:
    """Also forgets that the agent was drained."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class UpdateQuota:
    """A default quota takes a role's quota away."""

    quotas: Mapping[str, Quota]


@dataclass(frozen=True, slots=True)
class UpdateWeights:
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class UpdateSchedule:
    """Replace the maintenance schedule; machines that are dropped from it are up again."""

    windows: tuple[MaintenanceWindow, ...]


@dataclass(frozen=True, slots=True)
class StartMaintenance:
    machines: tuple[MachineId, ...]


@dataclass(frozen=True, slots=True)
class StopMaintenance:
    machines: tuple[MachineId, ...]


RegistryOperation = (
    RecordMaster
    | AdmitAgent
    | UpdateAgent
    | MarkAgentUnreachable
    | MarkAgentReachable
    | MarkAgentGone
    | RemoveAgent
    | PruneAgents
    | DrainAgent
    | MarkAgentDrained
    | DeactivateAgent
    | ReactivateAgent
    | UpdateQuota
    | UpdateWeights
    | UpdateSchedule
    | StartMaintenance
    | StopMaintenance
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation; with an ``error`` nothing has changed."""

    is_mutated: bool
    error: str | None = None


MUTATED = Outcome(True)
UNCHANGED = Outcome(False)


def _failed(error: str) -> Outcome:
    return Outcome(False, error)


# Entries ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdmittedAgent:
    """An agent of the cluster. ``info`` is shared with whoever gave it and never changed."""

    info: mesos.SlaveInfo
    drain: Drain | None = None
    is_deactivated: bool = False

    def encode(self) -> bytes:
        entry = registry_pb2.Registry.Slave(info=self.info)
        _write_service(entry, self)
        return entry.SerializeToString()


@dataclass(frozen=True, slots=True)
class UnreachableAgent:
    agent_id: AgentId
    since_ns: int
    drain: Drain | None = None
    is_deactivated: bool = False

    def encode(self) -> bytes:
        entry = registry_pb2.Registry.UnreachableSlave()
        entry.id.value = self.agent_id
        entry.timestamp.nanoseconds = self.since_ns
        _write_service(entry, self)
        return entry.SerializeToString()


@dataclass(frozen=True, slots=True)
class GoneAgent:
    agent_id: AgentId
    since_ns: int

    def encode(self) -> bytes:
        entry = registry_pb2.Registry.GoneSlave()
        entry.id.value = self.agent_id
        entry.timestamp.nanoseconds = self.since_ns
        return entry.SerializeToString()


@dataclass(frozen=True, slots=True)
class Machine:
    mode: MachineMode
    unavailability: Unavailability | None


_Serving = AdmittedAgent | UnreachableAgent
_Entry = AdmittedAgent | UnreachableAgent | GoneAgent


def service_state(agent: _Serving) -> ServiceState:
    """Whether an agent may serve: its place in ``SERVICE_TRANSITIONS``."""
    if agent.drain is not None:
        is_draining = agent.drain.state is DrainState.DRAINING
        return ServiceState.DRAINING if is_draining else ServiceState.DRAINED
    return ServiceState.DEACTIVATED if agent.is_deactivated else ServiceState.ACTIVE


class _Section:
    """One list of agents: entries by id in the order they came, each encoded at most once."""

    __slots__ = ("_changed", "_encoded", "_key", "entries", "is_present")

    def __init__(self, field_number: int) -> None:
        self._key = bytes(((field_number << 3) | 2,))
        self.entries: dict[AgentId, _Entry] = {}
        self.is_present = False
        self._encoded: dict[AgentId, bytes] = {}
        self._changed: dict[AgentId, None] = {}

    def put(self, agent_id: AgentId, entry: _Entry) -> None:
        self.entries[agent_id] = entry
        self.is_present = True
        self._encoded[agent_id] = b""  # keeps the order of the entries
        self._changed[agent_id] = None

    def pop(self, agent_id: AgentId) -> None:
        del self.entries[agent_id]
        del self._encoded[agent_id]
        self._changed.pop(agent_id, None)

    def encode(self) -> bytes:
        """The section as it stands in the whole message; nothing for one that never existed."""
        if not self.is_present:
            return b""
        for agent_id in self._changed:
            body = self.entries[agent_id].encode()
            self._encoded[agent_id] = b"\x0a" + _varint(len(body)) + body
        self._changed.clear()
        content = b"".join(self._encoded.values())
        return b"".join((self._key, _varint(len(content)), content))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# The value ----------------------------------------------------------------------------------------


class Registry:
    """The value, its lookups and its operations. Lists keep the order of arrival.

    Each agent is admitted, unreachable or gone, or unknown; never two of these.
    """

    def __init__(self) -> None:
        self._admitted = _Section(2)
        self._unreachable = _Section(7)
        self._gone = _Section(8)
        self._rest = registry_pb2.Registry()
        self._weights: dict[str, float] = {}
        self._quotas: dict[str, Quota] = {}
        self._machines: dict[MachineId, Machine] = {}

    @classmethod
    def of(cls, value: registry_pb2.Registry) -> "Registry":
        """Take over a value, as read from storage; legacy quotas become guarantee and limit."""
        registry = cls()
        for known in value.slaves.slaves:
            agent_id = AgentId(known.info.id.value)
            entry = AdmittedAgent(known.info, _read_drain(known), known.deactivated)
            registry._admitted.put(agent_id, entry)
        for lost in value.unreachable.slaves:
            agent_id = AgentId(lost.id.value)
            since_ns = lost.timestamp.nanoseconds
            registry._unreachable.put(
                agent_id, UnreachableAgent(agent_id, since_ns, _read_drain(lost), lost.deactivated)
            )
        for gone in value.gone.slaves:
            agent_id = AgentId(gone.id.value)
            registry._gone.put(agent_id, GoneAgent(agent_id, gone.timestamp.nanoseconds))
        for section, name in (
            (registry._admitted, "slaves"),
            (registry._unreachable, "unreachable"),
            (registry._gone, "gone"),
        ):
            section.is_present = value.HasField(name)  # type: ignore[arg-type] # three literals
        registry._rest.CopyFrom(value)
        for name in ("slaves", "unreachable", "gone"):
            registry._rest.ClearField(name)  # type: ignore[arg-type] # three literals
        registry._index()
        return registry

    def encode(self) -> bytes:
        """The whole value as bytes of one ``mesos.internal.Registry``."""
        return b"".join(
            (
                self._admitted.encode(),
                self._unreachable.encode(),
                self._gone.encode(),
                self._rest.SerializeToString(),
            )
        )

    def value(self) -> registry_pb2.Registry:
        """The whole value as a message of its own."""
        return registry_pb2.Registry.FromString(self.encode())

    # Reading -------------------------------------------------------------------------------------

    def is_admitted(self, agent_id: AgentId) -> bool:
        return agent_id in self._admitted.entries

    def is_unreachable(self, agent_id: AgentId) -> bool:
        return agent_id in self._unreachable.entries

    def is_gone(self, agent_id: AgentId) -> bool:
        return agent_id in self._gone.entries

    def admitted(self, agent_id: AgentId) -> AdmittedAgent | None:
        entry = self._admitted.entries.get(agent_id)
        assert entry is None or isinstance(entry, AdmittedAgent)
        return entry

    def serving(self, agent_id: AgentId) -> _Serving | None:
        """What is known of an agent that is admitted or unreachable."""
        entry = self._admitted.entries.get(agent_id) or self._unreachable.entries.get(agent_id)
        assert not isinstance(entry, GoneAgent)
        return entry

    def unreachable_since_s(self, agent_id: AgentId) -> float | None:
        entry = self._unreachable.entries.get(agent_id)
        return entry.since_ns / _NANOSECONDS if isinstance(entry, UnreachableAgent) else None

    @property
    def admitted_ids(self) -> tuple[AgentId, ...]:
        return tuple(self._admitted.entries)

    @property
    def draining_ids(self) -> tuple[AgentId, ...]:
        """Agents that are to become empty, here or away."""
        return tuple(
            agent_id
            for section in (self._admitted, self._unreachable)
            for agent_id, entry in section.entries.items()
            if not isinstance(entry, GoneAgent) and service_state(entry) is ServiceState.DRAINING
        )

    @property
    def unreachable_times(self) -> Iterator[tuple[AgentId, float]]:
        """Unreachable agents and since when, in the order they were marked."""
        return _times(self._unreachable)

    @property
    def gone_times(self) -> Iterator[tuple[AgentId, float]]:
        return _times(self._gone)

    @property
    def unreachable_count(self) -> int:
        return len(self._unreachable.entries)

    @property
    def gone_count(self) -> int:
        return len(self._gone.entries)

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    @property
    def quotas(self) -> Mapping[str, Quota]:
        return self._quotas

    @property
    def machines(self) -> Mapping[MachineId, Machine]:
        """The machines of the schedule; every other machine is up."""
        return self._machines

    @property
    def windows(self) -> tuple[MaintenanceWindow, ...]:
        """The maintenance schedule."""
        return tuple(
            MaintenanceWindow(
                tuple(map(_machine_id, window.machine_ids)),
                _read_unavailability(window.unavailability),
            )
            for schedule in self._rest.schedules
            for window in schedule.windows
        )

    @property
    def minimum_capabilities(self) -> tuple[str, ...]:
        return tuple(minimum.capability for minimum in self._rest.minimum_capabilities)

    @property
    def lacking_capabilities(self) -> tuple[str, ...]:
        """Capabilities that this registry asks of a master and that ours does not have."""
        return tuple(c for c in self.minimum_capabilities if c not in KNOWN_CAPABILITIES)

    # Operations ----------------------------------------------------------------------------------

    def apply(self, operation: RegistryOperation) -> Outcome:
        """Carry out one operation."""
        match operation:
            case RecordMaster(info):
                return self._record_master(info)
            case AdmitAgent(agent_id, info):
                return self._admit(agent_id, info)
            case UpdateAgent(agent_id, info):
                return self._update(agent_id, info)
            case MarkAgentUnreachable(agent_id, at_s):
                return self._mark_unreachable(agent_id, at_s)
            case MarkAgentReachable(agent_id, info):
                return self._mark_reachable(agent_id, info)
            case MarkAgentGone(agent_id, at_s):
                return self._mark_gone(agent_id, at_s)
            case RemoveAgent(agent_id):
                return self._remove(agent_id)
            case PruneAgents():
                return self._prune(operation)
            case DrainAgent() | MarkAgentDrained() | DeactivateAgent() | ReactivateAgent():
                return self._change_service(operation)
            case UpdateQuota(quotas):
                return self._update_quotas(quotas)
            case UpdateWeights(weights):
                return self._update_weights(weights)
            case UpdateSchedule(windows):
                return self._update_schedule(windows)
            case StartMaintenance(machines):
                return self._start_maintenance(machines)
            case StopMaintenance(machines):
                return self._stop_maintenance(machines)
            case _:
                assert_never(operation)

    def _record_master(self, info: mesos.MasterInfo) -> Outcome:
        self._rest.master.info.CopyFrom(info)
        return MUTATED

    # Agents --------------------------------------------------------------------------------------

    def _admit(self, agent_id: AgentId, info: mesos.SlaveInfo) -> Outcome:
        if (known := self._standing(agent_id)) is not None:
            return _failed(f"agent {agent_id} is {known} already")
        self._admitted.put(agent_id, AdmittedAgent(info))
        return MUTATED

    def _update(self, agent_id: AgentId, info: mesos.SlaveInfo) -> Outcome:
        known = self.admitted(agent_id)
        if known is None:
            return _failed(f"agent {agent_id} is not admitted")
        if known.info == info:
            return UNCHANGED
        self._admitted.put(agent_id, AdmittedAgent(info, known.drain, known.is_deactivated))
        return MUTATED

    def _mark_unreachable(self, agent_id: AgentId, at_s: float) -> Outcome:
        known = self.admitted(agent_id)
        if known is None:
            return _failed(f"agent {agent_id} is not admitted")
        self._admitted.pop(agent_id)
        self._unreachable.put(
            agent_id,
            UnreachableAgent(agent_id, to_ns(at_s), known.drain, known.is_deactivated),
        )
        return MUTATED

    def _mark_reachable(self, agent_id: AgentId, info: mesos.SlaveInfo) -> Outcome:
        if agent_id in self._gone.entries:
            return _failed(f"agent {agent_id} is gone")
        if agent_id in self._admitted.entries:
            return UNCHANGED
        known = self._unreachable.entries.get(agent_id)
        entry = AdmittedAgent(info)
        if isinstance(known, UnreachableAgent):
            entry = AdmittedAgent(info, known.drain, known.is_deactivated)
            self._unreachable.pop(agent_id)
        self._admitted.put(agent_id, entry)
        return MUTATED

    def _mark_gone(self, agent_id: AgentId, at_s: float) -> Outcome:
        if agent_id in self._gone.entries:
            return UNCHANGED
        if agent_id in self._admitted.entries:
            self._admitted.pop(agent_id)
        elif agent_id in self._unreachable.entries:
            self._unreachable.pop(agent_id)
        else:
            return _failed(f"agent {agent_id} is unknown")
        self._gone.put(agent_id, GoneAgent(agent_id, to_ns(at_s)))
        return MUTATED

    def _remove(self, agent_id: AgentId) -> Outcome:
        if agent_id not in self._admitted.entries:
            return _failed(f"agent {agent_id} is not admitted")
        self._admitted.pop(agent_id)
        return MUTATED

    def _prune(self, operation: PruneAgents) -> Outcome:
        is_mutated = False
        for section, agent_ids in (
            (self._unreachable, operation.unreachable),
            (self._gone, operation.gone),
        ):
            for agent_id in agent_ids:
                if agent_id in section.entries:
                    section.pop(agent_id)
                    is_mutated = True
        return Outcome(is_mutated)

    def _standing(self, agent_id: AgentId) -> str | None:
        if agent_id in self._admitted.entries:
            return "admitted"
        if agent_id in self._unreachable.entries:
            return "unreachable"
        return "gone" if agent_id in self._gone.entries else None

    def _change_service(
        self, operation: DrainAgent | MarkAgentDrained | DeactivateAgent | ReactivateAgent
    ) -> Outcome:
        agent_id = operation.agent_id
        known = self.serving(agent_id)
        if known is None:
            return _failed(f"agent {agent_id} is not known")
        step = _SERVICE_STEPS[type(operation)]
        state = service_state(known)
        if (state, step) not in SERVICE_TRANSITIONS:
            return _failed(f"agent {agent_id} is {state.name}: no {step.name}")
        drain, deactivated = _service_after(operation, known)
        if (drain, deactivated) == (known.drain, known.is_deactivated):
            return UNCHANGED
        if deactivated:
            self._require(AGENT_DRAINING)
        self._serve(agent_id, known, drain, deactivated)
        return MUTATED

    def _serve(
        self, agent_id: AgentId, known: _Serving, drain: Drain | None, deactivated: bool
    ) -> None:
        if isinstance(known, AdmittedAgent):
            self._admitted.put(agent_id, AdmittedAgent(known.info, drain, deactivated))
        else:
            self._unreachable.put(
                agent_id, UnreachableAgent(agent_id, known.since_ns, drain, deactivated)
            )

    # Shares --------------------------------------------------------------------------------------

    def _update_quotas(self, quotas: Mapping[str, Quota]) -> Outcome:
        is_mutated = False
        for role, wanted in quotas.items():
            if self._quotas.get(role, Quota()) == wanted:
                continue
            is_mutated = True
            configs = self._rest.quota_configs
            at = next((i for i, config in enumerate(configs) if config.role == role), None)
            if wanted.is_default:
                if at is not None:
                    del configs[at]
            else:
                config = configs.add() if at is None else configs[at]
                config.CopyFrom(_quota_config(role, wanted))
            legacy = [entry for entry in self._rest.quotas if entry.info.role != role]
            if len(legacy) != len(self._rest.quotas):
                del self._rest.quotas[:]
                self._rest.quotas.extend(legacy)
        if not is_mutated:
            return UNCHANGED
        if self._rest.quota_configs:
            self._require(QUOTA_V2)
        else:
            self._release(QUOTA_V2)
        self._index()
        return MUTATED

    def _update_weights(self, weights: Mapping[str, float]) -> Outcome:
        is_mutated = False
        for role, weight in weights.items():
            if self._weights.get(role) == weight:
                continue
            is_mutated = True
            entries = self._rest.weights
            known = next((entry for entry in entries if entry.info.role == role), None)
            entry = entries.add() if known is None else known
            entry.info.role = role
            entry.info.weight = weight
        self._index()
        return Outcome(is_mutated)

    # Maintenance ---------------------------------------------------------------------------------

    def _update_schedule(self, windows: tuple[MaintenanceWindow, ...]) -> Outcome:
        wanted = {machine: w.unavailability for w in windows for machine in w.machines}
        for machine_id, machine in self._machines.items():
            step = MachineStep.SCHEDULED if machine_id in wanted else MachineStep.UNSCHEDULED
            if (machine.mode, step) not in MACHINE_TRANSITIONS:
                return _failed(f"machine {machine_id} is {machine.mode.name}: no {step.name}")
        machines = {
            # The machines that stay keep their places and modes.
            **{
                machine_id: Machine(machine.mode, wanted[machine_id])
                for machine_id, machine in self._machines.items()
                if machine_id in wanted
            },
            **{
                machine_id: Machine(MachineMode.DRAINING, unavailability)
                for machine_id, unavailability in wanted.items()
                if machine_id not in self._machines
            },
        }
        del self._rest.schedules[:]
        schedule = self._rest.schedules.add()
        for window in windows:
            _write_window(schedule.windows.add(), window)
        self._write_machines(machines)
        return MUTATED

    def _start_maintenance(self, machines: tuple[MachineId, ...]) -> Outcome:
        if (error := self._mode_error(machines, MachineStep.STARTED)) is not None:
            return _failed(error)
        changed = dict(self._machines)
        for machine_id in machines:
            changed[machine_id] = Machine(MachineMode.DOWN, changed[machine_id].unavailability)
        self._write_machines(changed)
        return MUTATED

    def _stop_maintenance(self, machines: tuple[MachineId, ...]) -> Outcome:
        if (error := self._mode_error(machines, MachineStep.STOPPED)) is not None:
            return _failed(error)
        windows = []
        for window in self.windows:
            left = tuple(machine for machine in window.machines if machine not in machines)
            if left:
                windows.append(MaintenanceWindow(left, window.unavailability))
        del self._rest.schedules[:]
        if windows:
            schedule = self._rest.schedules.add()
            for window in windows:
                _write_window(schedule.windows.add(), window)
        self._write_machines({k: v for k, v in self._machines.items() if k not in machines})
        return MUTATED

    def _mode_error(self, machines: Iterable[MachineId], step: MachineStep) -> str | None:
        for machine_id in machines:
            machine = self._machines.get(machine_id)
            if machine is None:
                return f"machine {machine_id} is not part of the maintenance schedule"
            if (machine.mode, step) not in MACHINE_TRANSITIONS:
                return f"machine {machine_id} is {machine.mode.name}: no {step.name}"
        return None

    def _write_machines(self, machines: Mapping[MachineId, Machine]) -> None:
        self._rest.machines.SetInParent()
        del self._rest.machines.machines[:]
        for machine_id, machine in machines.items():
            info = self._rest.machines.machines.add().info
            _write_machine_id(info.id, machine_id)
            info.mode = mesos.MachineInfo.Mode.ValueType(machine.mode)
            if machine.unavailability is not None:
                _write_unavailability(info.unavailability, machine.unavailability)
        self._index()

    # Helpers -------------------------------------------------------------------------------------

    def _require(self, capability: str) -> None:
        """A master that cannot do this must not take over from now on."""
        if capability not in self.minimum_capabilities:
            self._rest.minimum_capabilities.add(capability=capability)

    def _release(self, capability: str) -> None:
        left = [m for m in self._rest.minimum_capabilities if m.capability != capability]
        del self._rest.minimum_capabilities[:]
        self._rest.minimum_capabilities.extend(left)

    def _index(self) -> None:
        """Bring the lookups of the short lists up to date."""
        self._weights = {entry.info.role: entry.info.weight for entry in self._rest.weights}
        self._quotas = {entry.info.role: _legacy_quota(entry.info) for entry in self._rest.quotas}
        self._quotas |= {config.role: _read_quota(config) for config in self._rest.quota_configs}
        self._machines = {
            _machine_id(entry.info.id): Machine(
                MachineMode(entry.info.mode),
                _read_unavailability(entry.info.unavailability)
                if entry.info.HasField("unavailability")
                else None,
            )
            for entry in self._rest.machines.machines
        }


_SERVICE_STEPS: Mapping[type[object], ServiceStep] = {
    DrainAgent: ServiceStep.DRAIN,
    MarkAgentDrained: ServiceStep.EMPTIED,
    DeactivateAgent: ServiceStep.DEACTIVATE,
    ReactivateAgent: ServiceStep.REACTIVATE,
}


def _service_after(
    operation: DrainAgent | MarkAgentDrained | DeactivateAgent | ReactivateAgent, known: _Serving
) -> tuple[Drain | None, bool]:
    """How draining stands after a step that the table allows, and whether it is deactivated."""
    match operation:
        case DrainAgent(_, config):
            return Drain(DrainState.DRAINING, config), True
        case MarkAgentDrained():
            assert known.drain is not None
            return Drain(DrainState.DRAINED, known.drain.config), True
        case DeactivateAgent():
            return known.drain, True
        case ReactivateAgent():
            return None, False


def to_ns(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)


def _times(section: _Section) -> Iterator[tuple[AgentId, float]]:
    for agent_id, entry in section.entries.items():
        assert not isinstance(entry, AdmittedAgent)
        yield agent_id, entry.since_ns / _NANOSECONDS


def _read_drain(
    entry: registry_pb2.Registry.Slave | registry_pb2.Registry.UnreachableSlave,
) -> Drain | None:
    if not entry.HasField("drain_info"):
        return None
    config = entry.drain_info.config
    has_grace = config.HasField("max_grace_period")
    grace_ns = config.max_grace_period.nanoseconds if has_grace else None
    is_drained = entry.drain_info.state == mesos.DRAINED
    return Drain(
        DrainState.DRAINED if is_drained else DrainState.DRAINING,
        DrainConfig(grace_ns, config.mark_gone),
    )


def _write_service(
    entry: registry_pb2.Registry.Slave | registry_pb2.Registry.UnreachableSlave, agent: _Serving
) -> None:
    if agent.drain is not None:
        entry.drain_info.state = mesos.DrainState.ValueType(agent.drain.state)
        config = agent.drain.config
        entry.drain_info.config.mark_gone = config.mark_gone
        if config.max_grace_ns is not None:
            entry.drain_info.config.max_grace_period.nanoseconds = config.max_grace_ns
    if agent.is_deactivated:
        entry.deactivated = True


def _quota_config(role: str, wanted: Quota) -> quota.QuotaConfig:
    config = quota.QuotaConfig(role=role)
    for name, milli in wanted.guarantees.items():
        config.guarantees[name].value = milli_to_float(milli)
    for name, milli in wanted.limits.items():
        config.limits[name].value = milli_to_float(milli)
    return config


def _read_quota(config: quota.QuotaConfig) -> Quota:
    return Quota(
        {name: _milli(scalar.value) for name, scalar in config.guarantees.items()},
        {name: _milli(scalar.value) for name, scalar in config.limits.items()},
    )


def _legacy_quota(info: quota.QuotaInfo) -> Quota:
    """Before there were limits of their own, a guarantee was also the limit."""
    amounts = {resource.name: _milli(resource.scalar.value) for resource in info.guarantee}
    return Quota(amounts, dict(amounts))


def _milli(value: float) -> int:
    return milli_from_float(value, field="quota")


def _machine_id(message: mesos.MachineID) -> MachineId:
    return MachineId.of(message.hostname, message.ip)


def _write_machine_id(message: mesos.MachineID, machine_id: MachineId) -> None:
    message.SetInParent()
    if machine_id.hostname:
        message.hostname = machine_id.hostname
    if machine_id.ip:
        message.ip = machine_id.ip


def _read_unavailability(message: mesos.Unavailability) -> Unavailability:
    has_duration = message.HasField("duration")
    return Unavailability(
        message.start.nanoseconds / _NANOSECONDS,
        message.duration.nanoseconds / _NANOSECONDS if has_duration else None,
    )


def _write_unavailability(message: mesos.Unavailability, value: Unavailability) -> None:
    message.start.nanoseconds = to_ns(value.start_s)
    if value.duration_s is not None:
        message.duration.nanoseconds = to_ns(value.duration_s)


def _write_window(message: maintenance.Window, window: MaintenanceWindow) -> None:
    for machine_id in window.machines:
        _write_machine_id(message.machine_ids.add(), machine_id)
    _write_unavailability(message.unavailability, window.unavailability)


__all__ = [
    "AGENT_DRAINING",
    "KNOWN_CAPABILITIES",
    "MUTATED",
    "QUOTA_V2",
    "UNCHANGED",
    "AdmitAgent",
    "AdmittedAgent",
    "DeactivateAgent",
    "DrainAgent",
    "GoneAgent",
    "Machine",
    "MarkAgentDrained",
    "MarkAgentGone",
    "MarkAgentReachable",
    "MarkAgentUnreachable",
    "Outcome",
    "PruneAgents",
    "ReactivateAgent",
    "RecordMaster",
    "Registry",
    "RegistryOperation",
    "RemoveAgent",
    "StartMaintenance",
    "StopMaintenance",
    "UnreachableAgent",
    "UpdateAgent",
    "UpdateQuota",
    "UpdateSchedule",
    "UpdateWeights",
    "service_state",
    "to_ns",
]
