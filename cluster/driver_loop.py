"""The classic form of a driver: a thread of its own with an event loop and a runtime in it.

    program's threads --start/stop/...--> ThreadedDriver --events, thread-safe--> actor of the core
    program's callbacks <--one at a time, in the driver's thread-- actor

What the calls return is drivers.md §2 (`cluster.core.driver_status`); what they do is decided by
the core behind the actor. Callbacks run inside the driver's thread: one that blocks delays all that
follow, and what it asks of the driver is done after it returns. A driver that still runs when the
program ends goes down with it, like a crash: the peers notice the broken link.
"""

import asyncio
import atexit
import logging
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from actorproc import PID, ActorprocError, Process, ProcessTerminated, Runtime, TcpTransport
from cluster.core.driver_status import Control, DriverLife, DriverMisuse, Status
from cluster.errors import ClusterError, InvalidInput

logger = logging.getLogger(__name__)

THREAD_END_S = 10.0  # how long join and the end of the program wait for the last messages to leave

Event = TypeVar("Event", contravariant=True)
E = TypeVar("E")


class Feedable(Protocol[Event]):
    """An actor around a core."""

    @property
    def pid(self) -> PID: ...

    def feed(self, event: Event) -> None:
        """Give the core one event and carry out what it says. In the actor's turn only."""
        ...


def post(runtime: Runtime, actor: Feedable[E], event: E) -> None:
    """Feed ``event`` to the actor in its turn; nothing happens if it is gone."""
    runtime.dispatch(actor.pid, actor.feed, event).add_done_callback(_report_failure)


def _report_failure(done: "asyncio.Future[None]") -> None:
    if done.cancelled() or (error := done.exception()) is None:
        return
    if not isinstance(error, ProcessTerminated):
        logger.error("a driver failed to handle a call", exc_info=error)


def transport_towards(peer: PID | None) -> TcpTransport:
    """A transport as ``LIBPROCESS_IP``, ``_PORT``, ``_ADVERTISE_IP`` and ``_ADVERTISE_PORT`` say.

    Differs: without ``LIBPROCESS_IP`` the address is the one this host uses to talk to ``peer``
    (the original looks up its own host name, a frequent cause of frameworks that never register).

    Raises:
        InvalidInput: a port is not a number from 0 to 65535.
    """
    return TcpTransport(
        os.environ.get("LIBPROCESS_IP") or _address_towards(peer),
        _port("LIBPROCESS_PORT") or 0,
        advertise_ip=os.environ.get("LIBPROCESS_ADVERTISE_IP") or None,
        advertise_port=_port("LIBPROCESS_ADVERTISE_PORT"),
    )


def _address_towards(peer: PID | None) -> str:
    if peer is None:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer.ip, peer.port))  # no packet is sent for that
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def _port(name: str) -> int | None:
    if (text := os.environ.get(name)) is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidInput(name, f"must be a number from 0 to 65535, not {text!r}")
    return int(text)


class ThreadedDriver(ABC, Generic[E]):
    """What both classic drivers share. Thread-safe.

    A subclass says how its actor is made (`_make`) and how the user hears of a driver that could
    not start (`_failed`).
    """

    def __init__(self, name: str, stop_event: Callable[[bool], E], abort_event: E) -> None:
        self._name = name
        self._stop_event = stop_event
        self._abort_event = abort_event
        self._life = DriverLife()
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runtime: Runtime | None = None
        self._actor: Feedable[E] | None = None

    # ---- what a subclass provides

    @abstractmethod
    async def _make(self) -> tuple[Runtime, Process, Feedable[E]]:
        """A runtime (not started yet) and the actor to spawn in it, twice: as what it is to each.

        Raises:
            ClusterError: this driver cannot work.
        """

    @abstractmethod
    def _failed(self, message: str) -> None:
        """Tell the user of an error; the driver is aborted already."""

    # ---- control

    def start(self) -> Status:
        """Start in the background; returns when messages can be received.

        Returns:
            DRIVER_RUNNING; or DRIVER_ABORTED when it cannot work, after the error callback.
        """
        with self._changed:
            is_first = self._life.status is Status.DRIVER_NOT_STARTED
            answer = self._life.take(Control.START)
        if not is_first:
            return answer
        started: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run_thread, args=(started,), name=self._name, daemon=True
        )
        self._thread.start()
        atexit.register(self._wait_thread)
        try:
            started.result()
        except (ClusterError, ActorprocError) as error:
            self.mark_aborted()
            self._failed(str(error))
        with self._changed:
            return self._life.status

    def stop(self) -> Status:
        """End the driver."""
        return self._end(Control.STOP, self._stop_event(False))

    def abort(self) -> Status:
        """End all callbacks; see the table of drivers.md §2 for what follows."""
        return self._end(Control.ABORT, self._abort_event)

    def join(self) -> Status:
        """Wait until the driver is stopped or aborted.

        Raises:
            DriverMisuse: called inside a callback, which would wait for itself.
        """
        with self._changed:
            if self._life.is_running and threading.current_thread() is self._thread:
                raise DriverMisuse("join() inside a callback would wait for itself")
            while self._life.is_running:
                self._changed.wait()
            answer = self._life.take(Control.JOIN)
        self._wait_thread()
        return answer

    def run(self) -> Status:
        """`start`, then `join`."""
        status = self.start()
        return status if status is not Status.DRIVER_RUNNING else self.join()

    @property
    def status(self) -> Status:
        with self._changed:
            return self._life.status

    # ---- for subclasses and their actors

    def mark_aborted(self) -> None:
        with self._changed:
            self._life.take(Control.ABORT)
            self._changed.notify_all()

    def _ask(self, event: E) -> Status:
        """Hand a call to the core if the driver runs; returns what the call answers."""
        with self._changed:
            answer = self._life.take(Control.OTHER)
        if answer is Status.DRIVER_RUNNING:
            self._post(event)
        return answer

    def _end(self, control: Control, event: E) -> Status:
        with self._changed:
            was_running = self._life.is_running
            answer = self._life.take(control)
            self._changed.notify_all()
        if was_running:
            self._post(event)
        return answer

    def _call_back(self, callback: Callable[..., object], *args: object) -> bool:
        """Run one callback if the driver still runs; returns whether it runs afterwards."""
        with self._changed:
            if not self._life.is_running:
                return False
        self._run_callback(callback, *args)
        with self._changed:
            return self._life.is_running

    def _run_callback(self, callback: Callable[..., object], *args: object) -> None:
        """Run one callback whatever the state; an exception in it aborts the driver."""
        try:
            callback(self, *args)
        except Exception:
            logger.exception("%s: a callback failed, the driver is aborted", self._name)
            self.abort()

    # ---- the thread

    def _post(self, event: E) -> None:
        loop, runtime, actor = self._loop, self._runtime, self._actor
        if loop is None or runtime is None or actor is None:
            return
        try:
            loop.call_soon_threadsafe(post, runtime, actor, event)
        except RuntimeError:  # the loop is closed: the driver ended meanwhile
            logger.debug("%s: a call came after the end", self._name)

    def _run_thread(self, started: "Future[None]") -> None:
        if self._loop is None:
            return
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(started))
        except Exception:
            logger.exception("%s failed", self._name)
        finally:
            self.mark_aborted()
            self._loop.close()

    async def _serve(self, started: "Future[None]") -> None:
        try:
            self._runtime, process, self._actor = await self._make()
            await self._runtime.start()
        except (ClusterError, ActorprocError) as error:
            started.set_exception(error)
            return
        try:
            pid = self._runtime.spawn(process)
            started.set_result(None)
            await self._runtime.wait(pid)
        finally:
            await self._runtime.stop()

    def _wait_thread(self) -> None:
        """Let the last messages leave, once the driver has ended."""
        with self._changed:
            if self._life.is_running:
                return
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(THREAD_END_S)


__all__ = ["THREAD_END_S", "Feedable", "ThreadedDriver", "post", "transport_towards"]
