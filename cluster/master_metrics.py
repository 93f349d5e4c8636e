"""The metrics of a master: which keys ``/metrics/snapshot`` shows, and where each value comes from.

Keys of Mesos are there for everything that this master knows. Values are gathered when somebody
looks: what counts is counted by the core (``cluster.core.master.tallies``), the rest is read off
its books, so that metrics of frameworks and roles end with them.

Our own keys make two old complaints visible:

- hoarding: ``offers/outstanding``, ``offers/oldest_secs`` and ``offers/held/<resource>_secs`` (how
  much was, or is being, held in offers for how long, for example cpu-seconds), for the master and
  for each framework; ``offers/timed_out``;
- starvation: ``roles/<role>/waiting_secs``, how long a framework that wants offers in a role has
  had none, for each framework and, as the longest of them, for the master;
  ``offers/filtered`` counts offers saved by what frameworks said once and for all, for the master
  and for each framework in the roles that it has.

Source: http-api.md §8; the recorded snapshots of a real master.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import quote

from actorproc import Clock
from actorproc.metrics import Metric, MetricKind, MetricsRegistry
from cluster.core.allocator.events import AllocatorStatistics
from cluster.core.master.core import MasterCore
from cluster.core.master.frameworks import FrameworkRecord
from cluster.core.master.state import MasterState
from cluster.core.master.tallies import (
    CALL_NAMES,
    OPERATION_NAMES,
    MasterTally,
    OfferEnd,
    OfferTally,
)
from cluster.model.offers import Offer
from cluster.model.operations import CHANGE_NAMES, OperationState
from cluster.model.resources import Resources
from cluster.model.roles import ancestors
from cluster.model.task_states import TaskState
from cluster.model.values import milli_to_float
from cluster.wire.pb import authentication_pb2 as authentication
from cluster.wire.pb import mesos_pb2 as mesos
from cluster.wire.pb import messages_pb2 as internal
from cluster.wire.pb import scheduler_pb2 as scheduler

RESOURCE_NAMES = ("cpus", "disk", "gpus", "mem")
EVENT_NAMES = (
    *("error", "failure", "heartbeat", "inverse_offers", "message", "offers", "rescind"),
    *("rescind_inverse_offer", "subscribed", "update", "update_operation_status"),
)
ACTIVE_STATES = (TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING)
TERMINAL_STATES = tuple(state for state in TaskState if state.is_terminal)
OPERATION_STATES = tuple(
    state
    for state in OperationState
    if state not in (OperationState.UNSUPPORTED, OperationState.UNKNOWN)
)
ROOT_ROLE = ""
"""Above all roles; it consumes what all of them do."""
WINDOW_S = 3600.0
"""How long the values of timers are kept for their statistics."""

_CALL = scheduler.Call
MESSAGE_KEYS: Mapping[type, str] = {
    internal.RegisterFrameworkMessage: "register_framework",
    internal.ReregisterFrameworkMessage: "reregister_framework",
    internal.UnregisterFrameworkMessage: "unregister_framework",
    internal.DeactivateFrameworkMessage: "deactivate_framework",
    internal.ResourceRequestMessage: "resource_request",
    internal.LaunchTasksMessage: "launch_tasks",
    internal.ReviveOffersMessage: "revive_offers",
    internal.KillTaskMessage: "kill_task",
    internal.StatusUpdateAcknowledgementMessage: "status_update_acknowledgement",
    internal.ReconcileTasksMessage: "reconcile_tasks",
    internal.FrameworkToExecutorMessage: "framework_to_executor",
    internal.RegisterSlaveMessage: "register_slave",
    internal.ReregisterSlaveMessage: "reregister_slave",
    internal.UnregisterSlaveMessage: "unregister_slave",
    internal.UpdateSlaveMessage: "update_slave",
    internal.StatusUpdateMessage: "status_update",
    internal.ExitedExecutorMessage: "exited_executor",
    internal.ExecutorToFrameworkMessage: "executor_to_framework",
    internal.UpdateOperationStatusMessage: "operation_status_update",
    authentication.AuthenticateMessage: "authenticate",
}
"""Messages that are counted by what they are."""

CALL_KEYS: Mapping[int, str] = {
    _CALL.TEARDOWN: "unregister_framework",
    _CALL.ACCEPT: "launch_tasks",
    _CALL.DECLINE: "decline_offers",
    _CALL.REVIVE: "revive_offers",
    _CALL.SUPPRESS: "suppress_offers",
    _CALL.KILL: "kill_task",
    _CALL.ACKNOWLEDGE: "status_update_acknowledgement",
    _CALL.ACKNOWLEDGE_OPERATION_STATUS: "operation_status_update_acknowledgement",
    _CALL.RECONCILE: "reconcile_tasks",
    _CALL.RECONCILE_OPERATIONS: "reconcile_operations",
    _CALL.MESSAGE: "framework_to_executor",
    _CALL.REQUEST: "resource_request",
}
"""Calls that are counted like the messages they replaced; SUBSCRIBE depends on its id."""

_MESSAGES = sorted({*MESSAGE_KEYS.values(), *CALL_KEYS.values()})
_COUNTS = (
    *("dropped_messages", "recovery_slave_removals", "slave_registrations"),
    *("slave_reregistrations", "slave_removals", "slave_removals/reason_registered"),
    *("slave_removals/reason_unhealthy", "slave_removals/reason_unregistered"),
    *("slave_unreachable_scheduled", "slave_unreachable_completed", "slave_unreachable_canceled"),
    *("slave_shutdowns_scheduled", "slave_shutdowns_completed", "slave_shutdowns_canceled"),
    *(
        f"{word}_{what}"
        for word in ("valid", "invalid")
        for what in (
            *("framework_to_executor_messages", "executor_to_framework_messages"),
            *("status_updates", "status_update_acknowledgements"),
            *("operation_status_updates", "operation_status_update_acknowledgements"),
        )
    ),
)
_CALLS = sorted({*CALL_NAMES.values(), "subscribe"})


class MessageCounts:
    """What the shell counts: messages by kind, and by the principal of their framework."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.processed: Counter[str] = Counter()
        self.dropped = 0

    def count(self, message: object) -> None:
        """Count one message that arrived."""
        key = (
            _call_key(message)
            if isinstance(message, scheduler.Call)
            else MESSAGE_KEYS.get(type(message))
        )
        if key is not None:
            self.messages[key] += 1

    def keep_only(self, principals: Iterable[str]) -> None:
        """Principals of which no framework is left are forgotten."""
        kept = dict.fromkeys(principals)
        for counts in (self.received, self.processed):
            for principal in [name for name in counts if name not in kept]:
                del counts[principal]


def _call_key(call: scheduler.Call) -> str | None:
    if call.type == _CALL.SUBSCRIBE:
        known = call.framework_id.value or call.subscribe.framework_info.id.value
        return "reregister_framework" if known else "register_framework"
    return CALL_KEYS.get(call.type)


class Values:
    """Values by key, each a counter or a gauge."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[MetricKind, float]] = {}

    def gauge(self, key: str, value: float) -> None:
        self.values[key] = (MetricKind.GAUGE, float(value))

    def counter(self, key: str, value: float) -> None:
        self.values[key] = (MetricKind.COUNTER, float(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarGauges:
    """What the registrar is doing now."""

    is_recovered: bool
    queued_operations: int
    size_bytes: int


class _Shown(Metric):
    """One value, as it was gathered last."""

    def __init__(self, name: str, kind: MetricKind, source: "MasterMetrics") -> None:
        super().__init__(name)
        self.kind = kind
        self._source = source

    def sample(self) -> float:
        return self._source.gathered[self.name][1]


class MasterMetrics(MetricsRegistry):
    """A registry whose values are gathered whenever somebody reads it.

    Args:
        clock: of the runtime.
        gather: all values there are now.
    """

    def __init__(self, clock: Clock, gather: Callable[[], Values]) -> None:
        super().__init__(clock)
        self._gather = gather
        self.gathered: dict[str, tuple[MetricKind, float]] = {}
        self.allocation_run = self.timer("allocator/mesos/allocation_run", window_s=WINDOW_S)
        self.allocation_latency = self.timer(
            "allocator/mesos/allocation_run_latency", window_s=WINDOW_S
        )
        self._registry_timers = {
            "state_fetch": self.timer("registrar/state_fetch"),
            "state_store": self.timer("registrar/state_store", window_s=WINDOW_S),
        }

    def timing_registry(self, name: str) -> AbstractContextManager[None]:
        """Take the time of ``state_fetch`` or ``state_store``."""
        return self._registry_timers[name].timing()

    def __iter__(self) -> Iterator[Metric]:
        self._refresh()
        return super().__iter__()

    def _refresh(self) -> None:
        """Gather; keys that are new appear, keys whose subject is gone disappear."""
        before, self.gathered = self.gathered, self._gather().values
        for name in before:
            if name not in self.gathered:
                self.remove(name)
        for name, (kind, _) in self.gathered.items():
            if name not in before:
                self.add(_Shown(name, kind, self))


def gather(
    core: MasterCore,
    counts: MessageCounts,
    *,
    started_s: float,
    now_s: float,
    per_framework: bool,
    registrar: RegistrarGauges,
) -> Values:
    """Every metric of a master that is no timer."""
    state = core.state
    values = Values()
    values.gauge("master/elected", 1.0)
    values.gauge("master/uptime_secs", now_s - started_s)
    _add_counts(values, state.tally, counts)
    _add_registrar(values, registrar)
    _add_agents(values, state)
    _add_frameworks(values, state)
    _add_tasks(values, state)
    _add_operations(values, state)
    _add_offers(values, "master/", state.tally.offers, state.offers.all(), state, now_s)
    _add_resources(values, state)
    statistics = state.allocator.statistics
    _add_allocator(values, state, statistics)
    _add_principals(values, state, counts)
    _add_system(values)
    longest: dict[str, float] = {}
    for framework in state.frameworks:
        for role, waiting_s in framework.tally.waits.waiting_s(now_s).items():
            longest[role] = max(waiting_s, longest.get(role, 0.0))
        if per_framework:
            saved = statistics.filtered_of.get(framework.framework_id, 0)
            _add_framework(values, state, framework, saved, now_s)
    for role, waiting_s in longest.items():
        values.gauge(f"master/roles/{role}/waiting_secs", waiting_s)
    return values


def _add_counts(values: Values, tally: MasterTally, counts: MessageCounts) -> None:
    for key in _MESSAGES:
        values.counter(f"master/messages_{key}", counts.messages[key])
    for key in _COUNTS:
        values.counter(f"master/{key}", tally.counts[key])
    values.counter("master/dropped_messages", counts.dropped)
    for state in TERMINAL_STATES:
        values.counter(f"master/tasks_{state.name.lower()}", tally.tasks_ended[state])
    for (state, source, reason), count in tally.ends.items():
        values.counter(f"master/{_end_key(state, source, reason)}", count)


def _end_key(state: TaskState, source: int, reason: int) -> str:
    """For example ``task_lost/source_master/reason_slave_removed``."""
    status = mesos.TaskStatus
    source_name = status.Source.Name(status.Source.ValueType(source)).lower()
    reason_name = status.Reason.Name(status.Reason.ValueType(reason)).lower()
    return f"task_{state.name.lower()}/{source_name}/{reason_name}"


def _add_agents(values: Values, state: MasterState) -> None:
    agents = list(state.agents.registered)
    connected = sum(agent.is_connected for agent in agents)
    values.gauge("master/slaves_connected", connected)
    values.gauge("master/slaves_disconnected", len(agents) - connected)
    active = sum(agent.is_connected and state.may_serve(agent.agent_id) for agent in agents)
    values.gauge("master/slaves_active", active)
    values.gauge("master/slaves_inactive", len(agents) - active)
    values.gauge("master/slaves_unreachable", state.registry.unreachable_count)


def _add_frameworks(values: Values, state: MasterState) -> None:
    frameworks = list(state.frameworks)
    connected = sum(framework.is_connected for framework in frameworks)
    active = sum(framework.is_active for framework in frameworks)
    values.gauge("master/frameworks_active", active)
    values.gauge("master/frameworks_inactive", len(frameworks) - active)
    values.gauge("master/frameworks_connected", connected)
    values.gauge("master/frameworks_disconnected", len(frameworks) - connected)


def _add_tasks(values: Values, state: MasterState) -> None:
    live = Counter(task.state for task in state.tasks)
    for task_state in ACTIVE_STATES:
        values.gauge(f"master/tasks_{task_state.name.lower()}", live[task_state])
    unreachable = sum(
        len(state.tasks.unreachable_of(framework.framework_id)) for framework in state.frameworks
    )
    values.gauge("master/tasks_unreachable", unreachable)


def _add_operations(values: Values, state: MasterState) -> None:
    """Of changes of resources; a master forgets those of an agent that it gives up."""
    states = state.operations.states
    for change in ("", *CHANGE_NAMES.values()):
        prefix = f"master/operations/{change.lower()}{'/' if change else ''}"
        counts: Counter[OperationState] = Counter()
        for (name, operation_state), count in states.items():
            if change in ("", name):
                counts[operation_state] += count
        values.gauge(f"{prefix}total", counts.total())
        for operation_state in OPERATION_STATES:
            show = values.counter if operation_state.is_terminal else values.gauge
            show(f"{prefix}{operation_state.name.lower()}", counts[operation_state])


def _add_registrar(values: Values, registrar: RegistrarGauges) -> None:
    """The log is one local file, so its ensemble has one member."""
    values.gauge("registrar/log/recovered", registrar.is_recovered)
    values.gauge("registrar/log/ensemble_size", 1)
    values.gauge("registrar/queued_operations", registrar.queued_operations)
    values.gauge("registrar/registry_size_bytes", registrar.size_bytes)


def _add_offers(
    values: Values,
    prefix: str,
    tally: OfferTally,
    outstanding: list[Offer],
    state: MasterState,
    now_s: float,
) -> None:
    values.counter(f"{prefix}offers/sent", tally.sent)
    for end in (OfferEnd.ACCEPTED, OfferEnd.DECLINED, OfferEnd.RESCINDED, OfferEnd.TIMED_OUT):
        values.counter(f"{prefix}offers/{end.value}", tally.ended[end])
    values.gauge(f"{prefix}offers/outstanding", len(outstanding))
    ages = [(offer, now_s - state.offers.made_s(offer)) for offer in outstanding]
    values.gauge(f"{prefix}offers/oldest_secs", max((age for _, age in ages), default=0.0))
    held = dict(tally.held)
    for offer, age_s in ages:
        for name, milli in offer.resources.quantities().items():
            held[name] = held.get(name, 0.0) + milli * age_s
    for name in RESOURCE_NAMES:
        values.counter(f"{prefix}offers/held/{name}_secs", held.get(name, 0.0) / 1000)


def _add_resources(values: Values, state: MasterState) -> None:
    totals, uses, consumed, held = [], [], _RoleAmounts(), _RoleAmounts()
    for agent in state.agents.registered:
        totals.append(agent.total)
        for role, quantities in agent.total.reserved_quantities().items():
            consumed.add(role, quantities)
        for (_, role), resources in state.used_on(agent).items():
            uses.append(resources)
            consumed.add(role, resources.open_quantities())
            held.add(role, resources.quantities())
    offers = state.offers.all()
    for offer in offers:
        held.add(offer.role, offer.resources.quantities())
    _add_quotas(values, state, consumed, held)
    total, used = Resources.sum_of(totals), Resources.sum_of(uses)
    offered = Resources.sum_of(offer.resources for offer in offers)
    values.gauge("master/outstanding_offers", len(state.offers))
    for word, revocable in (("", False), ("_revocable", True)):
        have, taken = _amounts(total, revocable=revocable), _amounts(used, revocable=revocable)
        for name in RESOURCE_NAMES:
            key, all_ = f"master/{name}{word}", have.get(name, 0)
            values.gauge(f"{key}_total", milli_to_float(all_))
            values.gauge(f"{key}_used", milli_to_float(taken.get(name, 0)))
            values.gauge(f"{key}_percent", taken.get(name, 0) / all_ if all_ else 0.0)
    booked = (used + offered).quantities()
    for name, milli in total.quantities().items():
        key = f"allocator/mesos/resources/{name}"
        values.gauge(f"{key}/total", milli_to_float(milli))
        values.gauge(f"{key}/offered_or_allocated", milli_to_float(booked.get(name, 0)))


class _RoleAmounts:
    """Thousandths by role and name; what a role has counts for all the roles above it too."""

    def __init__(self) -> None:
        self.by_role: dict[str, Counter[str]] = {ROOT_ROLE: Counter()}

    def add(self, role: str, quantities: Mapping[str, int]) -> None:
        for each in (role, *ancestors(role), ROOT_ROLE):
            self.by_role.setdefault(each, Counter()).update(quantities)


def _add_quotas(
    values: Values, state: MasterState, consumed: _RoleAmounts, held: _RoleAmounts
) -> None:
    """Consumed: reserved for the role, or in use though it is not reserved."""
    for role, amounts in consumed.by_role.items():
        for name, milli in amounts.items():
            values.gauge(_quota_key(role, name, "consumed"), milli_to_float(milli))
    for role, quota in state.registry.quotas.items():
        for word, wanted in (("guarantee", quota.guarantees), ("limit", quota.limits)):
            for name, milli in wanted.items():
                values.gauge(_quota_key(role, name, word), milli_to_float(milli))
        have = held.by_role.get(role, Counter())
        for name in {**quota.guarantees, **quota.limits}:
            key = _quota_key(role, name, "offered_or_allocated")
            values.gauge(key, milli_to_float(have[name]))


def _quota_key(role: str, name: str, word: str) -> str:
    return f"allocator/mesos/quota/roles/{role}/resources/{name}/{word}"


def _amounts(resources: Resources, *, revocable: bool) -> Mapping[str, int]:
    return resources.where(lambda identity: identity.is_revocable is revocable).quantities()


def _add_allocator(values: Values, state: MasterState, statistics: AllocatorStatistics) -> None:
    values.counter("allocator/mesos/allocation_runs", state.tally.counts["allocation_runs"])
    values.counter("master/offers/filtered", statistics.filtered_offers)
    for role, count in statistics.active_filters.items():
        values.gauge(f"allocator/mesos/offer_filters/roles/{role}/active", count)
    for role, share in statistics.dominant_shares.items():
        values.gauge(f"allocator/mesos/roles/{role}/shares/dominant", share)


def _add_principals(values: Values, state: MasterState, counts: MessageCounts) -> None:
    principals = dict.fromkeys(
        framework.spec.principal
        for framework in state.frameworks
        if framework.spec.principal is not None
    )
    counts.keep_only(principals)
    for principal in principals:
        values.counter(f"frameworks/{principal}/messages_received", counts.received[principal])
        values.counter(f"frameworks/{principal}/messages_processed", counts.processed[principal])


def _add_system(values: Values) -> None:
    for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
        values.gauge(f"system/load_{minutes}min", load)
    page = os.sysconf("SC_PAGE_SIZE")
    values.gauge("system/cpus_total", os.cpu_count() or 0)
    values.gauge("system/mem_total_bytes", page * os.sysconf("SC_PHYS_PAGES"))
    values.gauge("system/mem_free_bytes", page * os.sysconf("SC_AVPHYS_PAGES"))


def _add_framework(
    values: Values, state: MasterState, framework: FrameworkRecord, saved: int, now_s: float
) -> None:
    tally, framework_id = framework.tally, framework.framework_id
    prefix = f"master/frameworks/{quote(framework.spec.name, safe='')}/{framework_id}/"
    values.counter(f"{prefix}offers/filtered", saved)
    values.gauge(f"{prefix}subscribed", framework.is_connected)
    for word, known, counted in (
        ("calls", _CALLS, tally.calls),
        ("events", EVENT_NAMES, tally.events),
        ("operations", OPERATION_NAMES, tally.operations),
    ):
        values.counter(f"{prefix}{word}", counted.total())
        for name in known:
            values.counter(f"{prefix}{word}/{name}", counted[name])
    live = Counter(task.state for task in state.tasks.of_framework(framework_id))
    for task_state in ACTIVE_STATES:
        values.gauge(f"{prefix}tasks/active/task_{task_state.name.lower()}", live[task_state])
    unreachable = len(state.tasks.unreachable_of(framework_id))
    values.gauge(f"{prefix}tasks/active/task_unreachable", unreachable)
    for task_state in TERMINAL_STATES:
        key = f"{prefix}tasks/terminal/task_{task_state.name.lower()}"
        values.counter(key, tally.tasks_ended[task_state])
    offers = state.offers.of_framework(framework_id)
    _add_offers(values, prefix, tally.offers, offers, state, now_s)
    for role in framework.spec.roles:
        values.gauge(f"{prefix}roles/{role}/suppressed", role in framework.suppressed_roles)
    for role, waiting_s in tally.waits.waiting_s(now_s).items():
        values.gauge(f"{prefix}roles/{role}/waiting_secs", waiting_s)


__all__ = ["MasterMetrics", "MessageCounts", "RegistrarGauges", "Values", "gather"]
