"""The pinger of one agent: an actor of its own, ``slave-observer(N)``, beside the master.

    initialize ─► ping ──────────── pong ──► unanswered = 0
                   ▲  └─ timeout ─► unanswered += 1 ──(max)──► report, go on pinging
                   └──────────────────┘

The first ping goes out at once. Each ping says whether the master counts the agent as connected;
an agent that hears it does not registers again. Source: master.md §3.3.
"""

from collections.abc import Callable

from actorproc import PID, Process
from cluster.wire.pb import messages_pb2 as internal


class AgentObserver(Process):
    """Pings one agent until terminated.

    Args:
        number: makes the process id.
        agent: whom to ping; answers of anybody else do not count.
        ping_timeout_s: time between pings, and how long an answer may take.
        unanswered_max: how many pings in a row may go unanswered.
        report: called in this actor's turn each time that so many went unanswered.
        answered: called in this actor's turn with the first answer after that.
    """

    def __init__(
        self,
        number: int,
        agent: PID,
        *,
        ping_timeout_s: float,
        unanswered_max: int,
        report: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        super().__init__(f"slave-observer({number})")
        self._agent = agent
        self._ping_timeout_s = ping_timeout_s
        self._unanswered_max = unanswered_max
        self._report = report
        self._answered = answered
        self._has_reported = False
        self._is_connected = True
        self._is_waiting = False
        self._unanswered = 0

    def initialize(self) -> None:
        self.install(internal.PongSlaveMessage, self._on_pong)
        self._ping()

    def set_connected(self, connected: bool) -> None:
        """Whether the next pings tell the agent that it is connected; dispatch to call this."""
        self._is_connected = connected

    def _ping(self) -> None:
        self._is_waiting = True
        self.send(self._agent, internal.PingSlaveMessage(connected=self._is_connected))
        self.delay(self._ping_timeout_s, self._on_timeout)

    def _on_pong(self, sender: PID, message: internal.PongSlaveMessage) -> None:
        if sender == self._agent:
            self._is_waiting = False
            self._unanswered = 0
            if self._has_reported:
                self._has_reported = False
                self._answered()

    def _on_timeout(self) -> None:
        if self._is_waiting:
            self._unanswered += 1
            if self._unanswered >= self._unanswered_max:
                self._unanswered = 0
                self._has_reported = True
                self._report()
        self._ping()


__all__ = ["AgentObserver"]
