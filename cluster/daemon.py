"""Life of a daemon: flags, logs, one runtime on TCP, one process in it, signals, exit status.

    flags ──bad──> 2          listen ──taken──> 1
      └─> logs ──> directory ──> listen ──> spawn ──> serve ──> SIGTERM, SIGINT ──> 0
                                                         └──> the process ends by itself ──> 0 or 1

Every failure before serving is one line on standard error; an ``InvalidInput`` is the fault of a
flag, whoever finds it. A process that ends by itself has failed (status 1) unless it sets an
attribute ``exit_status`` before.

Whoever starts a daemon can pass it one end of a socket pair (``--supervisor_fd``). The daemon
writes its address there once it listens, which says so without anybody polling, and shuts down when
the other end closes, so that it cannot outlive a supervisor that was killed.
"""

import asyncio
import ipaddress
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import uvloop

from actorproc import ActorprocError, Process, Runtime, TcpTransport
from cluster import VERSION
from cluster.daemon_flags import (
    LOOPBACK,
    DaemonConfig,
    not_yet_effective,
    refuse_unavailable,
    remarks_of,
)
from cluster.errors import ClusterError, InvalidInput
from cluster.flags import HelpWanted, Parsed, VersionWanted, format_help, parse_flags
from cluster.logs import configure_logging

C = TypeVar("C", bound=DaemonConfig)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_FLAGS = 2
DISCOVERY_TIMEOUT_S = 30.0
ORDERLY_END_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


def run_daemon(
    name: str,
    config_type: type[C],
    build: Callable[[C], Process],
    arguments: Sequence[str] | None = None,
    *,
    on_sigusr1: Callable[[Process], None] | None = None,
    has_many_peers: bool = False,
) -> int:
    """Run one daemon until it is told to stop.

    Args:
        name: ``master`` or ``agent``; used in messages and for the log file.
        config_type: its flags, with the texts and tables of ``DaemonConfig``.
        build: makes the process to run; may raise ``ClusterError`` or ``OSError``.
        arguments: the command line without the program; by default that of this program.
        on_sigusr1: run in the process's turn on SIGUSR1, and when the supervisor is gone: the
            process leaves in good order and then terminates itself.
        has_many_peers: it may open as many files as the system allows it to. Not for a daemon that
            starts programs of others: they would inherit that.

    Returns:
        The exit status: 0 after a signal, 1 when it could not start or failed, 2 for wrong flags.
    """
    program = f"cluster {name}"
    try:
        match parse_flags(config_type, _command_line(arguments), os.environ):
            case HelpWanted():
                remarks = remarks_of(config_type)
                return _say(format_help(program, config_type.SUMMARY, config_type, remarks))
            case VersionWanted():
                return _say(f"{program} {VERSION}\n")
            case Parsed() as parsed:
                return _start(name, parsed, build, on_sigusr1, has_many_peers)
    except InvalidInput as error:
        return _complain(program, str(error), EXIT_BAD_FLAGS)
    except (ClusterError, ActorprocError, OSError) as error:
        return _complain(program, str(error), EXIT_FAILED)


def _start(
    name: str,
    parsed: Parsed[C],
    build: Callable[[C], Process],
    on_sigusr1: Callable[[Process], None] | None,
    has_many_peers: bool,
) -> int:
    config = parsed.config
    refuse_unavailable(config)
    configure_logging(config, name)
    if has_many_peers:
        _raise_descriptor_limit()
    _warn(config, parsed.warnings)
    _make_work_dir(config.work_dir)
    daemon = _Daemon(name, config, build(config), on_sigusr1)
    return uvloop.run(daemon.run())


def listening_ip(config: DaemonConfig) -> str:
    """The address to bind: that of the flag, or what the discovery command prints.

    Raises:
        InvalidInput: both are given, the command fails, or it prints something else.
    """
    command = config.ip_discovery_command
    if command is None:
        return config.ip
    field = "--ip_discovery_command"
    if config.ip != LOOPBACK:
        raise InvalidInput(field, "cannot be given together with --ip")
    try:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=DISCOVERY_TIMEOUT_S
        )
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise InvalidInput(field, f"must print an IPv4 address: {error}") from error
    if done.returncode != 0:
        raise InvalidInput(field, f"must end with status 0, not {done.returncode}")
    try:
        return str(ipaddress.IPv4Address(done.stdout.strip()))
    except ValueError:
        raise InvalidInput(field, f"must print an IPv4 address, not {done.stdout!r}") from None


class _Daemon:
    """One process on one runtime, from listening to the exit status."""

    def __init__(
        self,
        name: str,
        config: DaemonConfig,
        process: Process,
        on_sigusr1: Callable[[Process], None] | None,
    ) -> None:
        self._name = name
        self._config = config
        self._process = process
        self._leave = on_sigusr1
        self._is_leaving = False
        self._stopped = asyncio.Event()

    async def run(self) -> int:
        """Serve until stopped; returns the exit status."""
        transport = TcpTransport(
            ip=listening_ip(self._config),
            port=self._config.port,
            advertise_ip=self._config.advertise_ip,
            advertise_port=self._config.advertise_port,
        )
        async with Runtime(transport) as runtime:
            pid = runtime.spawn(self._process)
            runtime.delegate = pid.id
            logger.info("%s listens, peers reach it as %s", self._name, pid)
            self._handle_signals(runtime)
            self._report_to_supervisor(runtime)
            return await self._wait_for_end(runtime)

    async def _wait_for_end(self, runtime: Runtime) -> int:
        gone = asyncio.ensure_future(runtime.wait(self._process.pid))
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait({gone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            gone.cancel()
            return EXIT_OK
        stopped.cancel()
        by_itself = EXIT_OK if self._is_leaving else EXIT_FAILED
        status = int(getattr(self._process, "exit_status", by_itself))
        logger.info("%s ended by itself, exit status %d", self._name, status)
        return status

    def _handle_signals(self, runtime: Runtime) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_on, number)
        if self._leave is not None:
            loop.add_signal_handler(signal.SIGUSR1, self._leave_in_good_order, runtime)

    def _stop_on(self, number: signal.Signals) -> None:
        logger.info("%s stops on %s", self._name, number.name)
        self._stopped.set()

    def _leave_in_good_order(self, runtime: Runtime) -> None:
        if self._leave is not None and not self._is_leaving:
            self._is_leaving = True
            leaving = runtime.dispatch(self._process.pid, self._leave, self._process)
            leaving.add_done_callback(self._check_leaving)

    def _check_leaving(self, leaving: asyncio.Future[None]) -> None:
        """A process that cannot leave in good order is stopped as by SIGTERM."""
        if not leaving.cancelled() and (error := leaving.exception()) is not None:
            logger.error("%s cannot leave in good order", self._name, exc_info=error)
            self._stopped.set()

    def _report_to_supervisor(self, runtime: Runtime) -> None:
        fd = self._config.supervisor_fd
        if fd is None:
            return
        os.set_inheritable(fd, False)
        os.write(fd, f"{runtime.address}\n".encode())
        asyncio.get_running_loop().add_reader(fd, self._hear_supervisor, fd, runtime)

    def _hear_supervisor(self, fd: int, runtime: Runtime) -> None:
        """The supervisor never writes: what can be read is the end of the connection."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(fd)
        os.close(fd)
        logger.info("%s stops because its supervisor is gone", self._name)
        if self._leave is None:
            self._stopped.set()
        else:
            self._leave_in_good_order(runtime)
            loop.call_later(ORDERLY_END_TIMEOUT_S, self._stopped.set)


def _make_work_dir(path: str) -> None:
    """Make the directory if it is missing, and see that files can be made in it.

    Raises:
        InvalidInput: it cannot be used.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput("--work_dir", f"cannot make {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput("--work_dir", f"cannot write into {path}")


def _raise_descriptor_limit() -> None:
    """Allow as many open files as the hard limit does: every peer takes two, one each way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # Some systems have a limit of their own below a hard limit of "unlimited".
        logger.warning("the limit of open files stays at %d: %s", soft, error)
    else:
        logger.debug("limit of open files raised from %d to %d", soft, hard)


def _warn(config: DaemonConfig, deprecated: Sequence[str]) -> None:
    """Say once, at the start, what the operator may not expect."""
    for warning in deprecated:
        logger.warning("%s", warning)
    if names := not_yet_effective(config):
        logger.warning("accepted, but without effect so far: --%s", ", --".join(names))
    if not ipaddress.IPv4Address(config.ip).is_loopback:
        logger.warning(
            "listening on %s: peers are not authenticated, everybody who reaches this address "
            "can run programs here",
            config.ip,
        )


def _command_line(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments


def _say(text: str) -> int:
    sys.stdout.write(text)
    return EXIT_OK


def _complain(program: str, message: str, status: int) -> int:
    sys.stderr.write(f"{program}: {message}\n")
    return status


__all__ = [
    "EXIT_BAD_FLAGS",
    "EXIT_FAILED",
    "EXIT_OK",
    "listening_ip",
    "run_daemon",
]
