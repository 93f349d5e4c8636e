"""A network made of a seed: runtimes exchange messages over it in virtual time, and it fails.

One directed connection per pair, dialled by the sender, as over TCP:

              handshake done              broken, or the peer reset it
    CONNECTING ───────────> OPEN ────────────────────────────> LOST ── notice ──> closed
        │                    │  linked again with reconnect: the old one drains
        └── refused, or too late: notice ──> closed

A connection carries its messages in order, and loses nothing but a tail: what a break finds on its
way. Between connections there is no order. In the state LOST the sender does not know yet: what it
sends is lost as well. Notices reach the sender's links; they may take long, or never come
(half-open). Who cannot be reached is either cut off (``partition``: noticed after ``detect_s``),
slow (``clog``: never noticed) or gone (``crash``).

Decided here: when what arrives. Not decided here: how runtimes react. Every choice comes from the
seed, one random stream per pair, so that a further actor does not change what befalls the others.
Source: actor-runtime.md §1.8 to 1.10 (what TCP does to libprocess), FoundationDB ``sim2``.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import random
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from actorproc.clock import Clock, Timer
from actorproc.core.wire import MessageEncoder
from actorproc.errors import BrokenTransport, ProtocolMisuse, UnreachableId
from actorproc.events import Headers
from actorproc.mailbox import Delivery
from actorproc.pid import PID, Address
from actorproc.process import Process
from actorproc.runtime import Runtime
from actorproc.testing.conditions import Conditions
from actorproc.testing.faults import (
    Clog,
    Crash,
    Fault,
    FaultPlan,
    Heal,
    HealAll,
    Partition,
    Reset,
    Restart,
    Unclog,
)
from actorproc.testing.simloop import Node, SimulatedLoop
from actorproc.testing.trace import TRACE_EVENTS_MAX, Trace, TraceEvent
from actorproc.transport.base import TransportHost
from actorproc.transport.inproc import Envelope

logger = logging.getLogger(__name__)

PIPE_MESSAGES_MAX: Final = 1_000_000  # on one connection; further ones are lost and traced
FLOW_MESSAGES: Final = 10_000  # beyond it patient senders wait
PORT: Final = 5050

Setup = Callable[[Runtime], object]
Pair = tuple[Address, Address]


class ConnectionState(Enum):
    """Where a connection stands, as its sender could know if it were told everything."""

    CONNECTING = "connecting"
    OPEN = "open"
    LOST = "lost"
    CLOSED = "closed"


class MakeRuntime(Protocol):
    """How ``boot`` makes a runtime; ``Runtime`` itself is one."""

    def __call__(self, transport: SimulatedTransport, *, clock: Clock, seed: int) -> Runtime: ...


class _Parcel:
    """One message on a connection. ``due_s`` is set once the connection is open."""

    __slots__ = ("due_s", "envelope", "latency_s", "number")

    def __init__(self, envelope: Envelope, latency_s: float, number: int) -> None:
        self.envelope = envelope
        self.latency_s = latency_s
        self.number = number
        self.due_s = float("inf")


class _Connection:
    __slots__ = (
        "arrival",
        "detection",
        "here",
        "is_draining",
        "is_held",
        "is_linked",
        "last_due_s",
        "notice",
        "number",
        "owes_notice",
        "owner",
        "peer",
        "pipe",
        "room",
        "sent",
        "state",
        "there",
        "timeout",
    )

    def __init__(self, number: int, owner: SimulatedTransport, there: Address) -> None:
        self.number = number
        self.owner = owner
        self.here = owner.address
        self.there = there
        self.peer: SimulatedTransport | None = None  # who accepted it
        self.state = ConnectionState.CONNECTING
        self.is_linked = False
        self.is_draining = False  # its sender uses another one, or is gone
        self.owes_notice = False  # a packet that tells of the loss waits behind a cut
        self.is_held = False  # the receiver's mailbox has no room
        self.pipe: deque[_Parcel] = deque()
        self.sent = 0
        self.last_due_s = 0.0
        self.arrival: Timer | None = None  # of the first parcel, or of the handshake
        self.timeout: Timer | None = None  # of connecting
        self.detection: Timer | None = None  # that the peer cannot be reached
        self.notice: Timer | None = None  # the sender is about to hear of the loss
        self.room: asyncio.Future[None] | None = None

    def cancel_timers(self) -> None:
        for timer in (self.arrival, self.timeout, self.detection, self.notice):
            if timer is not None:
                timer.cancel()
        self.arrival = self.timeout = self.detection = self.notice = None


@dataclass(slots=True)
class _Host:
    """A runtime that the network booted, and how to do so again."""

    address: Address
    setup: Setup | None
    make: MakeRuntime
    starts: int = 0
    runtime: Runtime | None = None


class SimulatedNetwork:
    """Connects the runtimes whose transports it made, and lets things go wrong on command.

    Args:
        seed: decides everything left to chance; a ``random.Random`` gives one.
        clock: whose time messages need; the clock of the runtimes as well.
        conditions: between any two runtimes, unless ``set_conditions`` says otherwise.
        shuffle: runtimes that ``boot`` starts serve their ready processes in random order.
        trace_events_max: how many events ``trace`` keeps; the hash covers all.
    """

    def __init__(
        self,
        seed: int | random.Random,
        clock: Clock,
        *,
        conditions: Conditions | None = None,
        shuffle: bool = False,
        trace_events_max: int = TRACE_EVENTS_MAX,
    ) -> None:
        self.seed = seed.getrandbits(64) if isinstance(seed, random.Random) else seed
        self.clock = clock
        self.trace = Trace(trace_events_max)
        self._conditions = conditions or Conditions()
        self._conditions_of: dict[Pair, Conditions] = {}
        self._shuffle = shuffle
        self._rngs: dict[str, random.Random] = {}
        self._listening: dict[Address, SimulatedTransport] = {}
        self._connections: dict[int, _Connection] = {}
        self._numbers = itertools.count(1)
        self._cut: dict[Pair, None] = {}
        self._clogged: dict[Pair, None] = {}
        self._powerless: dict[Address, None] = {}  # crashed in silence: nobody even refuses
        self._hosts: dict[Address, _Host] = {}
        self._starting: dict[Address, asyncio.Task[Runtime]] = {}
        self._failed: list[BaseException] = []  # scheduled starts that did not work
        self._context = contextvars.copy_context()  # what the network does belongs to no node

    # Runtimes.

    def transport(self, ip: str, port: int = PORT) -> SimulatedTransport:
        """A transport whose runtime lives at ``ip:port`` of this network."""
        return SimulatedTransport(self, Address(ip, port))

    async def boot(
        self,
        ip: str,
        port: int = PORT,
        setup: Setup | None = None,
        *,
        make: MakeRuntime = Runtime,
    ) -> Runtime:
        """Start a runtime at ``ip:port`` that can be crashed and restarted.

        Args:
            ip: any text that can be an address, for example ``10.0.0.1``.
            port: likewise.
            setup: called with the runtime after every start, to spawn its processes. What it keeps
                outside the runtime survives a crash, as a disk would.
            make: for a runtime with other settings: ``make(transport, clock=..., seed=...)``.

        Raises:
            BrokenTransport: the address is in use.
        """
        address = Address(ip, port)
        host = _Host(address, setup, make)
        runtime = await self._start(host)
        self._hosts[address] = host
        return runtime

    def runtime_at(self, address: Address) -> Runtime | None:
        """The runtime that ``boot`` or ``restart`` started last at an address, unless crashed."""
        host = self._hosts.get(address)
        return host.runtime if host is not None else None

    def crash(self, address: Address, *, silent: bool = False) -> None:
        """Kill whatever runs at an address: no ``finalize``, no farewell; an idle one is left so.

        On a ``SimulatedLoop`` nothing of it runs any more, not even ``finally`` blocks; on another
        loop its tasks are cancelled. Of what it had sent a random part still arrives.

        Args:
            address: where.
            silent: False is a killed OS process, whose kernel breaks its connections at once. True
                is a lost machine: its peers notice after ``detect_s``, or find out after a restart.
        """
        transport = self._listening.pop(address, None)
        if transport is None:
            return
        self._note("crash", address, detail="silent" if silent else "")
        if silent:
            self._powerless[address] = None
        transport.die()
        if (host := self._hosts.get(address)) is not None:
            host.runtime = None
        for connection in list(self._connections.values()):
            if connection.owner is transport:
                is_open = connection.state is not ConnectionState.CONNECTING
                sent = len(connection.pipe) if is_open else 0
                self._truncate(connection, self._rng(f"crash/{address}").randint(0, sent))
                self._drain(connection)
            elif connection.peer is transport:
                self._peer_gone(connection, tells=not silent)

    async def restart(self, address: Address) -> Runtime:
        """Start a new runtime where one was booted, with the same ``setup``; crash the old one.

        Raises:
            ProtocolMisuse: nothing was ever booted there.
        """
        host = self._host(address)
        self.crash(address)
        return await self._start(host)

    async def close(self) -> None:
        """Stop every runtime that ``boot`` started, in order.

        Raises:
            Exception: what went wrong in a scheduled restart.
        """
        if self._starting:
            await asyncio.wait(list(self._starting.values()))
        for host in self._hosts.values():
            runtime, host.runtime = host.runtime, None
            if runtime is not None:
                await runtime.stop()
        if self._failed:
            raise self._failed[0]

    def _host(self, address: Address) -> _Host:
        host = self._hosts.get(address)
        if host is None:
            raise ProtocolMisuse(f"address: no runtime was booted at {address}")
        return host

    async def _start(self, host: _Host) -> Runtime:
        host.starts += 1
        seed = random.Random(f"{self.seed}/{host.address}/{host.starts}").getrandbits(64)
        transport = self.transport(*host.address)
        runtime = host.make(transport, clock=self.clock, seed=seed)
        if self._shuffle:
            shuffle_processes(runtime, random.Random(f"{seed}/order"))
        await runtime.start()
        host.runtime = runtime
        if host.setup is not None:
            transport.run_in_node(host.setup, runtime)
        return runtime

    # What goes wrong.

    def set_conditions(self, here: Address, there: Address, conditions: Conditions) -> None:
        """Treat messages from ``here`` to ``there`` (this direction only) by rules of their own."""
        self._conditions_of[here, there] = conditions

    def partition(self, one: Address, other: Address, *, one_way: bool = False) -> None:
        """Let nothing through between two addresses, or nothing from ``one`` to ``other``.

        Also one way breaks connections in both directions in the end: no acknowledgement comes
        back, or no data. Until then messages wait; healed in time, nothing is lost.
        """
        self._note("partition", one, other, detail="one-way" if one_way else "")
        self._cut[one, other] = None
        if not one_way:
            self._cut[other, one] = None
        for connection in self._between(one, other):
            self._watch(connection)

    def isolate(self, address: Address) -> None:
        """Partition one address from every other that is known by now."""
        for other in self._known_addresses():
            if other != address:
                self.partition(address, other)

    def clog(self, here: Address, there: Address) -> None:
        """Hold up all messages from ``here`` to ``there`` until ``unclog``; none is lost."""
        self._note("clog", here, there)
        self._clogged[here, there] = None

    def unclog(self, here: Address, there: Address) -> None:
        """Let go what ``clog`` held up, in order on each connection."""
        self._note("unclog", here, there)
        self._clogged.pop((here, there), None)
        self._resume(here, there)

    def heal(self, one: Address, other: Address) -> None:
        """Undo partitions and clogs between two addresses; broken links stay broken."""
        self._note("heal", one, other)
        self._open_ways([(one, other), (other, one)])

    def heal_all(self) -> None:
        """Undo every partition and clog."""
        self._note("heal", detail="all")
        self._open_ways([*self._cut, *self._clogged])

    def reset(self, one: Address, other: Address) -> None:
        """Break every connection between two addresses now, with a tail of what is on its way."""
        self._note("reset", one, other)
        for connection in self._between(one, other):
            if connection.state is ConnectionState.OPEN:
                self._break(connection)
            elif connection.state is ConnectionState.CONNECTING:
                self._close(connection, "reset while connecting")

    def schedule(self, plan: FaultPlan | Iterable[Fault]) -> None:
        """Let the faults of a plan happen at their times, counted from now."""
        for fault in plan:
            self._call_later(fault.at_s, self.apply, fault)

    def apply(self, fault: Fault) -> None:
        """Let one fault happen now, whatever its time says."""
        match fault:
            case Partition():
                self.partition(fault.one, fault.other, one_way=fault.one_way)
            case Clog():
                self.clog(fault.here, fault.there)
            case Unclog():
                self.unclog(fault.here, fault.there)
            case Heal():
                self.heal(fault.one, fault.other)
            case HealAll():
                self.heal_all()
            case Reset():
                self.reset(fault.one, fault.other)
            case Crash():
                self.crash(fault.address, silent=fault.silent)
            case Restart():
                self._restart_soon(fault.address)

    def _restart_soon(self, address: Address) -> None:
        host = self._host(address)
        if address in self._listening or address in self._starting:
            return  # it lives: nothing to restart
        task = asyncio.get_running_loop().create_task(self._start(host))
        self._starting[address] = task
        task.add_done_callback(lambda task: self._started(address, task))

    def _started(self, address: Address, task: asyncio.Task[Runtime]) -> None:
        del self._starting[address]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    # What can be seen.

    def note(self, text: str) -> None:
        """Write a line of one's own into the trace."""
        self._note("note", detail=text)

    def trace_hash(self) -> str:
        """One hash over everything that happened; the same seed gives the same."""
        return self.trace.hash()

    @property
    def carried(self) -> int:
        """How many events there were so far."""
        return self.trace.count

    # What its transports call.

    def open(self, transport: SimulatedTransport) -> None:
        address = transport.address
        if address in self._listening:
            raise BrokenTransport(f"cannot listen on {address}: address in use")
        self._listening[address] = transport
        self._powerless.pop(address, None)
        self._note("listen", address)
        for connection in list(self._connections.values()):
            if connection.there == address:  # what waited for a lost machine meets its successor
                self._resume(connection.here, address)

    def shut(self, transport: SimulatedTransport) -> None:
        """An orderly end: what was sent still arrives, peers see their connections close."""
        if self._listening.get(transport.address) is not transport:
            return
        del self._listening[transport.address]
        self._note("stop", transport.address)
        for connection in list(self._connections.values()):
            if connection.owner is transport:
                self._drain(connection)
            elif connection.peer is transport:
                self._peer_gone(connection, tells=True)

    def send(self, transport: SimulatedTransport, envelope: Envelope) -> None:
        there = envelope.to.address
        connection = transport.connections.get(there) or self._dial(transport, there)
        conditions, rng = self._conditions_for(connection), self._rng_for(connection)
        connection.sent += 1
        parcel = _Parcel(envelope, conditions.latency_s(rng), connection.sent)
        self._note_parcel("send", connection, parcel)
        if connection.state is ConnectionState.LOST:
            self._note_parcel("lost", connection, parcel)
            self._find_out(connection)
        elif len(connection.pipe) >= PIPE_MESSAGES_MAX:
            self._note_parcel("lost", connection, parcel)
            self._break(connection)  # nothing may be missing in the middle
        else:
            connection.pipe.append(parcel)
            if connection.state is ConnectionState.OPEN:
                self._set_due(connection, parcel)
                self._wake(connection)
                self._watch(connection)
            if conditions.break_chance and rng.random() < conditions.break_chance:
                self._break(connection)

    def link(self, transport: SimulatedTransport, there: Address, *, reconnect: bool) -> None:
        connection = transport.connections.get(there)
        if connection is not None and reconnect:
            replacement = self._dial(transport, there)
            if connection.state is ConnectionState.CONNECTING:
                for parcel in connection.pipe:
                    self._move(parcel, replacement)
                connection.pipe.clear()
            self._drain(connection)
            connection = replacement
        elif connection is None:
            connection = self._dial(transport, there)
        connection.is_linked = True
        if connection.state is ConnectionState.LOST:
            self._find_out(connection)
        else:
            self._watch(connection)

    def _move(self, parcel: _Parcel, connection: _Connection) -> None:
        connection.sent += 1
        parcel.number = connection.sent
        connection.pipe.append(parcel)
        self._note_parcel("send", connection, parcel)

    # The life of a connection.

    def _dial(self, owner: SimulatedTransport, there: Address) -> _Connection:
        connection = _Connection(next(self._numbers), owner, there)
        self._connections[connection.number] = connection
        owner.connections[there] = connection
        conditions, rng = self._conditions_for(connection), self._rng_for(connection)
        self._note_connection("connect", connection)
        connection.timeout = self._call_later(
            conditions.connect_s(rng), self._close, connection, "connecting took too long"
        )
        round_trip_s = conditions.latency_s(rng) + self._latency_back_s(connection)
        connection.arrival = self._call_later(round_trip_s, self._shake_hands, connection)
        return connection

    def _shake_hands(self, connection: _Connection) -> None:
        connection.arrival = None
        back = (connection.there, connection.here)
        if not self._may_pass(connection) or back in self._cut or back in self._clogged:
            return  # _wake tries again; otherwise connecting takes too long
        conditions, rng = self._conditions_for(connection), self._rng_for(connection)
        connection.peer = self._listening.get(connection.there)
        if connection.peer is None or rng.random() < conditions.refuse_chance:
            self._close(connection, "refused")
            return
        connection.state = ConnectionState.OPEN
        if connection.timeout is not None:
            connection.timeout.cancel()
        self._note_connection("open", connection)
        for parcel in connection.pipe:
            self._set_due(connection, parcel)
        self._wake(connection)
        self._end_if_drained(connection)

    def _set_due(self, connection: _Connection, parcel: _Parcel) -> None:
        """When a parcel arrives: never before the one ahead of it."""
        parcel.due_s = max(connection.last_due_s, self.clock.now_s() + parcel.latency_s)
        connection.last_due_s = parcel.due_s

    def _wake(self, connection: _Connection) -> None:
        """See to it that the next thing on a connection happens in its time."""
        if connection.arrival is not None or connection.state is ConnectionState.CLOSED:
            return
        if connection.state is ConnectionState.CONNECTING:
            connection.arrival = self._call_later(
                self._latency_back_s(connection), self._shake_hands, connection
            )
        elif connection.pipe and not connection.is_held:
            delay_s = connection.pipe[0].due_s - self.clock.now_s()
            connection.arrival = self._call_later(delay_s, self._arrive, connection)
        elif self._is_orphaned(connection) and self._conditions_for(connection).keeps_alive:
            self._lose(connection)  # a probe meets a successor, which resets

    def _is_orphaned(self, connection: _Connection) -> bool:
        return (
            connection.state is ConnectionState.OPEN
            and not connection.pipe
            and not self._is_stalled(connection)
            and connection.peer is not self._listening.get(connection.there)
        )

    def _arrive(self, connection: _Connection) -> None:
        connection.arrival = None
        while connection.pipe and connection.pipe[0].due_s <= self.clock.now_s():
            if not self._may_pass(connection):
                return
            if connection.peer is not self._listening.get(connection.there):
                self._truncate(connection, 0)
                self._lose(connection)  # nobody there, or a successor: it resets
                return
            self._hand_over(connection, connection.pipe.popleft())
            if connection.is_held:
                return
        self._wake(connection)
        self._end_if_drained(connection)

    def _may_pass(self, connection: _Connection) -> bool:
        way = (connection.here, connection.there)
        return (
            way not in self._cut
            and way not in self._clogged
            and connection.there not in self._powerless
        )

    def _hand_over(self, connection: _Connection, parcel: _Parcel) -> None:
        self._note_parcel("deliver", connection, parcel)
        self._tell_room(connection)
        peer = connection.peer
        if peer is None or peer.host is None:
            return
        sender, to, name, body, headers = parcel.envelope
        if peer.host.deliver(to.id, name, sender, body, headers) is Delivery.ACCEPTED_FULL:
            connection.is_held = True
            peer.host.call_when_room(to.id, lambda: self._unhold(connection))

    def _unhold(self, connection: _Connection) -> None:
        connection.is_held = False
        self._wake(connection)

    def _break(self, connection: _Connection) -> None:
        """Lose the connection now: of what is on its way a random part still arrives."""
        rng = self._rng_for(connection)
        kept = 0
        if connection.state is ConnectionState.OPEN:
            kept = rng.randint(0, max(len(connection.pipe) - 1, 0))
        self._truncate(connection, kept)
        self._lose(connection)

    def _lose(self, connection: _Connection) -> None:
        """The connection is useless; the sender hears after the way back."""
        if connection.state is ConnectionState.CONNECTING and connection.arrival is not None:
            connection.arrival.cancel()  # the handshake goes no further
            connection.arrival = None
        connection.state = ConnectionState.LOST
        if connection.timeout is not None:
            connection.timeout.cancel()
        self._note_connection("break", connection)
        self._find_out(connection)

    def _find_out(self, connection: _Connection) -> None:
        """The sender is told by a packet from the other side, once one comes through."""
        if self._is_stalled(connection) or (connection.there, connection.here) in self._clogged:
            connection.owes_notice = True
            self._watch(connection)
        elif connection.notice is None:
            # Behind what still arrives: it is the far end of that which breaks.
            last_due_s = connection.pipe[-1].due_s if connection.pipe else self.clock.now_s()
            delay_s = last_due_s - self.clock.now_s() + self._latency_back_s(connection)
            connection.notice = self._call_later(delay_s, self._close, connection, "reset")

    def _peer_gone(self, connection: _Connection, *, tells: bool) -> None:
        """The runtime that accepted the connection has ended."""
        if tells:
            self._truncate(connection, 0)
            self._lose(connection)
        else:
            self._watch(connection)  # what is on its way waits, and meets a successor or nobody

    def _watch(self, connection: _Connection) -> None:
        """Begin to notice that the peer cannot be reached, if there is a way to notice."""
        conditions = self._conditions_for(connection)
        if (
            connection.detection is None
            and connection.state is not ConnectionState.CONNECTING  # that has a limit of its own
            and conditions.detect_s is not None
            and (connection.pipe or conditions.keeps_alive)
            and self._is_stalled(connection)
        ):
            connection.detection = self._call_later(
                conditions.detect_s(self._rng_for(connection)),
                self._close,
                connection,
                "cannot be reached",
            )

    def _is_stalled(self, connection: _Connection) -> bool:
        """True when no acknowledgement can come back: the way there or back is cut."""
        here, there = connection.here, connection.there
        return (here, there) in self._cut or (there, here) in self._cut or there in self._powerless

    def _drain(self, connection: _Connection) -> None:
        """Its sender uses it no more; what is on its way arrives if nothing else happens."""
        connection.is_linked = False
        connection.is_draining = True
        if connection.owner.connections.get(connection.there) is connection:
            del connection.owner.connections[connection.there]
        self._end_if_drained(connection)

    def _end_if_drained(self, connection: _Connection) -> None:
        if connection.is_draining and not connection.pipe:
            self._close(connection, "done")

    def _truncate(self, connection: _Connection, keep: int) -> None:
        """Lose all but the first ``keep`` messages that are on their way."""
        lost = list(connection.pipe)[keep:]
        for _ in lost:
            connection.pipe.pop()
        for parcel in lost:
            self._note_parcel("lost", connection, parcel)

    def _close(self, connection: _Connection, why: str) -> None:
        """The end of a connection, as its sender sees it; links at the sender hear of it."""
        self._truncate(connection, 0)
        connection.cancel_timers()
        connection.state = ConnectionState.CLOSED
        self._connections.pop(connection.number, None)
        self._note_connection("notice" if connection.is_linked else "close", connection, why)
        if connection.owner.connections.get(connection.there) is connection:
            del connection.owner.connections[connection.there]
        self._tell_room(connection)
        if connection.is_linked:
            connection.owner.lost(connection.there)

    # Ways that open again.

    def _open_ways(self, ways: list[Pair]) -> None:
        for way in ways:
            self._cut.pop(way, None)
            self._clogged.pop(way, None)
        for here, there in ways:
            self._resume(here, there)

    def _resume(self, one: Address, other: Address) -> None:
        """Let connections that a cut or a clog held up go on; what waited is sent again."""
        for connection in self._between(one, other):
            if self._is_stalled(connection):
                continue
            if connection.detection is not None:
                connection.detection.cancel()
                connection.detection = None
            if connection.owes_notice:
                connection.owes_notice = False
                self._find_out(connection)
            self._send_again(connection)

    def _send_again(self, connection: _Connection) -> None:
        if connection.state is not ConnectionState.CONNECTING and connection.pipe:
            if connection.arrival is not None:
                connection.arrival.cancel()
                connection.arrival = None
            connection.last_due_s = self.clock.now_s()
            for parcel in connection.pipe:
                self._set_due(connection, parcel)
        self._wake(connection)

    def _between(self, one: Address, other: Address) -> list[_Connection]:
        return [
            connection
            for connection in self._connections.values()
            if {connection.here, connection.there} == {one, other}
        ]

    def _known_addresses(self) -> list[Address]:
        known = dict.fromkeys([*self._listening, *self._hosts])
        for connection in self._connections.values():
            known.update(dict.fromkeys((connection.here, connection.there)))
        return list(known)

    # Back-pressure.

    def flow(self, transport: SimulatedTransport, there: Address) -> asyncio.Future[None] | None:
        connection = transport.connections.get(there)
        if connection is None or len(connection.pipe) < FLOW_MESSAGES:
            return None
        if connection.room is None or connection.room.done():
            connection.room = asyncio.get_running_loop().create_future()
        return connection.room

    def _tell_room(self, connection: _Connection) -> None:
        room = connection.room
        if room is not None and not room.done() and len(connection.pipe) < FLOW_MESSAGES:
            room.set_result(None)

    # Chance, time and records.

    def _conditions_for(self, connection: _Connection) -> Conditions:
        return self._conditions_of.get((connection.here, connection.there), self._conditions)

    def _latency_back_s(self, connection: _Connection) -> float:
        way = (connection.there, connection.here)
        conditions = self._conditions_of.get(way, self._conditions)
        return conditions.latency_s(self._rng_for(connection))

    def _rng_for(self, connection: _Connection) -> random.Random:
        return self._rng(f"{connection.here}->{connection.there}")

    def _rng(self, purpose: str) -> random.Random:
        rng = self._rngs.get(purpose)
        if rng is None:
            rng = self._rngs[purpose] = random.Random(f"{self.seed}/network/{purpose}")
        return rng

    def _call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Timer:
        return self._context.run(self.clock.call_later, delay_s, fn, *args)

    def _note(
        self, kind: str, here: Address | None = None, there: Address | None = None, detail: str = ""
    ) -> None:
        begin, end = (str(each) if each is not None else "" for each in (here, there))
        self.trace.add(TraceEvent(self.clock.now_s(), kind, begin, end, detail=detail))

    def _note_connection(self, kind: str, connection: _Connection, detail: str = "") -> None:
        here, there = str(connection.here), str(connection.there)
        self.trace.add(
            TraceEvent(self.clock.now_s(), kind, here, there, connection.number, detail=detail)
        )

    def _note_parcel(self, kind: str, connection: _Connection, parcel: _Parcel) -> None:
        sender, to, name, body, _ = parcel.envelope
        detail = f"{name} {sender.id}->{to.id} {len(body)} {zlib.crc32(body):08x}"
        here, there = str(connection.here), str(connection.there)
        now_s = self.clock.now_s()
        self.trace.add(
            TraceEvent(now_s, kind, here, there, connection.number, parcel.number, detail)
        )


class SimulatedTransport:
    """One runtime's end of a ``SimulatedNetwork``; made by ``SimulatedNetwork.transport``."""

    def __init__(self, network: SimulatedNetwork, address: Address) -> None:
        self.connections: dict[Address, _Connection] = {}
        self.host: TransportHost | None = None
        self._network = network
        self._address = address
        self._encoder = MessageEncoder()
        self._node: Node | None = None

    @property
    def address(self) -> Address:
        return self._address

    @property
    def activity(self) -> int:
        return self._network.carried

    @property
    def is_idle(self) -> bool:
        return True  # everything on its way waits for a timer, and settling does not wait for time

    async def start(self, host: TransportHost) -> None:
        self._network.open(self)
        self.host = host
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimulatedLoop):
            self._node = loop.new_node(str(self._address), host)

    async def stop(self) -> None:
        self.host = None
        self._network.shut(self)
        loop = asyncio.get_running_loop()
        if self._node is not None and isinstance(loop, SimulatedLoop):
            loop.end_node(self._node)

    def die(self) -> None:
        """End with the whole runtime, at once and without a farewell (``network.crash``)."""
        host, self.host = self.host, None
        tasks = host.kill() if isinstance(host, Runtime) else []
        loop = asyncio.get_running_loop()
        if self._node is not None and isinstance(loop, SimulatedLoop):
            loop.kill(self._node)
            tasks = [task for task in tasks if task not in self._node.tasks]
        for task in tasks:
            task.cancel()

    def run_in_node(self, setup: Callable[[Runtime], object], runtime: Runtime) -> None:
        """Call ``setup(runtime)`` as code of the runtime itself."""
        if self._node is None:
            setup(runtime)
        else:
            self._node.context.copy().run(setup, runtime)

    def send(
        self, sender: PID, to: PID, name: str, body: bytes, headers: Headers | None = None
    ) -> None:
        try:
            self._encoder.encode(sender, to, name, b"")  # what TCP cannot send is not sent here
        except UnreachableId as error:
            logger.warning("message %s from %s dropped: %s", name, sender, error)
            return
        if self.host is not None:
            self._network.send(self, Envelope(sender, to, name, body, headers))

    def flow(self, address: Address) -> asyncio.Future[None] | None:
        return self._network.flow(self, address)

    def link(self, address: Address, *, reconnect: bool = False) -> None:
        if self.host is not None:
            self._network.link(self, address, reconnect=reconnect)

    def lost(self, there: Address) -> None:
        """A linked connection is gone."""
        if self.host is not None:
            self.host.link_broken(there)


class _Shuffled(deque[Process]):
    """A run queue whose next process is drawn; the events of one process keep their order."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def popleft(self) -> Process:
        if len(self) > 1:
            drawn = self._rng.randrange(len(self))
            self[0], self[drawn] = self[drawn], self[0]
        return super().popleft()


def shuffle_processes(runtime: Runtime, rng: random.Random) -> None:
    """Let a runtime that has not been started serve its ready processes in random order."""
    runtime._ready = _Shuffled(rng)


__all__ = [
    "FLOW_MESSAGES",
    "PIPE_MESSAGES_MAX",
    "PORT",
    "ConnectionState",
    "MakeRuntime",
    "Setup",
    "SimulatedNetwork",
    "SimulatedTransport",
    "shuffle_processes",
]
