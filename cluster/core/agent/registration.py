"""How an agent gets and keeps its place in the cluster.

    RECOVERING ──recovered──► DISCONNECTED ──(re-)registered──► RUNNING
                                   ▲   │ └─back-off elapsed─► ask again   │
                                   └───┼──link lost, no ping, a ping that says "not connected"──┘
                                       └──────────── told to shut down ───────► TERMINATING (final)

While DISCONNECTED with a master known, the agent asks again and again: after a random time in
[0, b], then [0, 2b], [0, 4b] ... up to a minute, b being ``registration_backoff_factor``. It has an
id after its first registration and from then on *re*-registers.

Not decided here: who the master is (a detector tells), what the messages carry, what shutting down
means for executors.

Differs: Mesos waits for the ping timeout when only the link to the master broke, unless ZooKeeper
tells it better. Here a broken link starts a new registration at once, so that a restarted master
knows its agents after seconds, also without ZooKeeper. The master takes a re-registration of an
agent it never lost as it takes a retry.

Source: agent.md §2.
"""

import random
from dataclasses import dataclass
from enum import Enum

from cluster.errors import InvalidTransition
from cluster.model.ids import AgentId

BACKOFF_S_MAX = 60.0
# Enough for any factor to reach the maximum; an agent may ask for weeks.
DOUBLINGS_MAX = 60

# Until the master has told its own: 15 s × 5 missed pings.
PING_TIMEOUT_S_DEFAULT = 75.0


class RegistrationState(Enum):
    """Where the agent stands with its master."""

    RECOVERING = "recovering"
    DISCONNECTED = "disconnected"
    RUNNING = "running"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class Recovered:
    """Whatever survived the last run is loaded; `agent_id` is None for an agent without past."""

    agent_id: AgentId | None


@dataclass(frozen=True, slots=True)
class MasterDetected:
    """There is a leading master at this address, None while there is none."""

    master: str | None


@dataclass(frozen=True, slots=True)
class MasterLinkLost:
    """The connection to a master broke: it may be gone."""

    master: str


@dataclass(frozen=True, slots=True)
class BackoffElapsed:
    """It is time to ask (again) for registration."""

    generation: int


@dataclass(frozen=True, slots=True)
class Registered:
    """A master admitted the agent under this id."""

    master: str
    agent_id: AgentId
    ping_timeout_s: float | None
    is_reregistration: bool


@dataclass(frozen=True, slots=True)
class Pinged:
    """The master asked whether we live, and said whether it counts us as connected."""

    is_connected: bool


@dataclass(frozen=True, slots=True)
class PingTimedOut:
    """No ping came for the whole timeout."""

    generation: int


@dataclass(frozen=True, slots=True)
class ShutdownReceived:
    """A master told the agent to end."""

    master: str
    message: str


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """An operator wants the agent to leave the cluster for good (SIGUSR1)."""

    message: str


Event = (
    Recovered
    | MasterDetected
    | MasterLinkLost
    | BackoffElapsed
    | Registered
    | Pinged
    | PingTimedOut
    | ShutdownReceived
    | LeaveRequested
)


class TimerKey(Enum):
    """The timers of the registration; a new one replaces the old one of the same key."""

    BACKOFF = "backoff"
    PING = "ping"


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Report `BackoffElapsed` or `PingTimedOut` with this generation after `delay_s`."""

    key: TimerKey
    generation: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    key: TimerKey


@dataclass(frozen=True, slots=True)
class LinkMaster:
    """Watch the connection to the master; with `anew` over a fresh connection."""

    master: str
    anew: bool


@dataclass(frozen=True, slots=True)
class SendRegistration:
    """Ask the master for admission; `agent_id` is None when asking for the first time."""

    master: str
    agent_id: AgentId | None


@dataclass(frozen=True, slots=True)
class SendUnregistration:
    """Tell the master that the agent leaves for good."""

    master: str
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class BecameConnected:
    """Send totals, resume status updates. With `is_new_id` the id must be kept for later runs."""

    master: str
    agent_id: AgentId
    is_new_id: bool


@dataclass(frozen=True, slots=True)
class BecameDisconnected:
    """Pause status updates; `why` is for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class ShutDown:
    """End all frameworks, then the agent."""

    why: str


@dataclass(frozen=True, slots=True)
class ExitAtOnce:
    """The agent must not go on under this identity."""

    why: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody answered so far; for the log, once per interval."""

    master: str
    attempts: int
    next_delay_s: float


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event changed nothing; `why` is for the log."""

    why: str


Effect = (
    StartTimer
    | CancelTimer
    | LinkMaster
    | SendRegistration
    | SendUnregistration
    | BecameConnected
    | BecameDisconnected
    | ShutDown
    | ExitAtOnce
    | Waiting
    | Ignored
)

_ANY = frozenset(RegistrationState)
_S = RegistrationState

# Which events may come in which state. An absent pair is a mistake of the shell.
TRANSITIONS: dict[type[Event], frozenset[RegistrationState]] = {
    Recovered: frozenset({_S.RECOVERING}),
    MasterDetected: _ANY - {_S.RECOVERING},
    MasterLinkLost: _ANY,
    BackoffElapsed: _ANY,
    Registered: _ANY,
    Pinged: _ANY,
    PingTimedOut: _ANY,
    ShutdownReceived: _ANY,
    LeaveRequested: _ANY,
}


class Registration:
    """The registration of one agent.

    Args:
        backoff_factor_s: upper end of the first random wait.
        rng: draws the waits.
    """

    def __init__(self, *, backoff_factor_s: float, rng: random.Random) -> None:
        self._backoff_factor_s = backoff_factor_s
        self._rng = rng
        self._state = RegistrationState.RECOVERING
        self._agent_id: AgentId | None = None
        self._master: str | None = None
        self._attempts = 0
        self._ping_timeout_s = PING_TIMEOUT_S_DEFAULT
        self._generations = dict.fromkeys(TimerKey, 0)

    @property
    def state(self) -> RegistrationState:
        return self._state

    @property
    def agent_id(self) -> AgentId | None:
        return self._agent_id

    @property
    def master(self) -> str | None:
        """The leading master, known or registered with; None while there is none."""
        return self._master

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event and return what must be done, in order.

        Raises:
            InvalidTransition: the event cannot happen in this state.
        """
        if self._state not in TRANSITIONS[type(event)]:
            raise InvalidTransition(f"{event} while {self._state.value}")
        if self._state is RegistrationState.TERMINATING:
            return []  # nothing leads out; what comes late is not worth a word
        match event:
            case Recovered(agent_id=agent_id):
                self._agent_id = agent_id
                self._state = RegistrationState.DISCONNECTED
                return []
            case MasterDetected(master=master):
                return self._on_detected(master)
            case MasterLinkLost(master=master):
                return self._on_link_lost(master)
            case BackoffElapsed(generation=generation):
                return self._on_backoff(generation)
            case Registered():
                return self._on_registered(event)
            case Pinged(is_connected=is_connected):
                return self._on_pinged(is_connected)
            case PingTimedOut(generation=generation):
                return self._on_ping_timeout(generation)
            case ShutdownReceived(master=master, message=message):
                return self._on_shutdown(master, message)
            case LeaveRequested(message=message):
                return self._on_leave(message)

    def _on_detected(self, master: str | None) -> list[Effect]:
        effects = self._disconnect("there is another master" if master else "there is no master")
        self._master = master
        if master is None:
            return effects
        return [*effects, *self._start_over(master, anew=True)]

    def _on_link_lost(self, master: str) -> list[Effect]:
        if master != self._master or self._state is not RegistrationState.RUNNING:
            return []  # while asking, the back-off goes on anyway
        return self._reconnect(master, "the link to the master broke")

    def _on_pinged(self, is_connected: bool) -> list[Effect]:
        if self._state is not RegistrationState.RUNNING or self._master is None:
            return []
        if not is_connected:
            return self._reconnect(self._master, "the master counts this agent as disconnected")
        return [self._start_timer(TimerKey.PING, self._ping_timeout_s)]

    def _on_ping_timeout(self, generation: int) -> list[Effect]:
        if not self._is_current(TimerKey.PING, generation) or self._master is None:
            return []
        return self._reconnect(self._master, f"no ping for {self._ping_timeout_s:g} s")

    def _reconnect(self, master: str, why: str) -> list[Effect]:
        return [*self._disconnect(why), *self._start_over(master, anew=True)]

    def _disconnect(self, why: str) -> list[Effect]:
        effects = [self._cancel(TimerKey.BACKOFF), self._cancel(TimerKey.PING)]
        if self._state is RegistrationState.RUNNING:
            self._state = RegistrationState.DISCONNECTED
            return [*effects, BecameDisconnected(why)]
        return effects

    def _start_over(self, master: str, *, anew: bool) -> list[Effect]:
        """Begin a new series of attempts with a random wait, so that not all agents ask at once."""
        self._attempts = 0
        delay_s = self._rng.uniform(0.0, self._backoff_factor_s)
        return [LinkMaster(master, anew), self._start_timer(TimerKey.BACKOFF, delay_s)]

    def _on_backoff(self, generation: int) -> list[Effect]:
        if not self._is_current(TimerKey.BACKOFF, generation) or self._master is None:
            return []
        effects: list[Effect] = []
        doublings = min(self._attempts + 1, DOUBLINGS_MAX)
        longest_s = min(self._backoff_factor_s * 2**doublings, BACKOFF_S_MAX)
        delay_s = self._rng.uniform(0.0, longest_s)
        if self._attempts > 0:
            effects.append(Waiting(self._master, self._attempts, delay_s))
        self._attempts += 1
        effects.append(SendRegistration(self._master, self._agent_id))
        effects.append(self._start_timer(TimerKey.BACKOFF, delay_s))
        return effects

    def _on_registered(self, event: Registered) -> list[Effect]:
        if event.master != self._master:
            return [Ignored(f"{event.master} is not the leading master")]
        if self._agent_id is not None and event.agent_id != self._agent_id:
            return [
                ExitAtOnce(f"the master calls this agent {event.agent_id}, not {self._agent_id}")
            ]
        if event.is_reregistration and self._agent_id is None:
            return [ExitAtOnce(f"the master re-registered {event.agent_id}, but this agent is new")]
        is_new_id = self._agent_id is None
        self._agent_id = event.agent_id
        if event.ping_timeout_s is not None:
            self._ping_timeout_s = event.ping_timeout_s
        if self._state is RegistrationState.RUNNING:
            # The answer to a retry that crossed the first answer on its way. The master has sent
            # its view anew, so it hears ours anew too.
            return [BecameConnected(event.master, event.agent_id, is_new_id=False)]
        self._state = RegistrationState.RUNNING
        return [
            self._cancel(TimerKey.BACKOFF),
            LinkMaster(event.master, anew=False),
            self._start_timer(TimerKey.PING, self._ping_timeout_s),
            BecameConnected(event.master, event.agent_id, is_new_id),
        ]

    def _on_shutdown(self, master: str, message: str) -> list[Effect]:
        if master != self._master:
            return [Ignored(f"{master} is not the leading master")]
        return [*self._terminate(), ShutDown(message or "the master told this agent to shut down")]

    def _on_leave(self, message: str) -> list[Effect]:
        effects: list[Effect] = []
        if self._master is not None and self._agent_id is not None:
            effects.append(SendUnregistration(self._master, self._agent_id))
        return [*effects, *self._terminate(), ShutDown(message)]

    def _terminate(self) -> list[Effect]:
        self._state = RegistrationState.TERMINATING
        return [self._cancel(TimerKey.BACKOFF), self._cancel(TimerKey.PING)]

    def _start_timer(self, key: TimerKey, delay_s: float) -> StartTimer:
        self._generations[key] += 1
        return StartTimer(key, self._generations[key], delay_s)

    def _cancel(self, key: TimerKey) -> Effect:
        self._generations[key] += 1
        return CancelTimer(key)

    def _is_current(self, key: TimerKey, generation: int) -> bool:
        return self._generations[key] == generation


__all__ = [
    "BACKOFF_S_MAX",
    "DOUBLINGS_MAX",
    "PING_TIMEOUT_S_DEFAULT",
    "TRANSITIONS",
    "BackoffElapsed",
    "BecameConnected",
    "BecameDisconnected",
    "CancelTimer",
    "Effect",
    "Event",
    "ExitAtOnce",
    "Ignored",
    "LeaveRequested",
    "LinkMaster",
    "MasterDetected",
    "MasterLinkLost",
    "PingTimedOut",
    "Pinged",
    "Recovered",
    "Registered",
    "Registration",
    "RegistrationState",
    "SendRegistration",
    "SendUnregistration",
    "ShutDown",
    "ShutdownReceived",
    "StartTimer",
    "TimerKey",
    "Waiting",
]
