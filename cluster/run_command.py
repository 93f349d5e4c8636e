"""``cluster run``: a whole framework for one command.

    subscribe ──> wait for an offer that fits ──> launch ──> show stdout and stderr ──> exit
                                                     └─ Ctrl-C: kill the task ─────────┘

What the command prints is read from its sandbox through the agent's ``/files/read`` endpoint, as it
appears, so it works from any machine that reaches the agent. The exit status is that of the
command, 128 + N when signal N ended it, and 1 when the cluster could not run it.
"""

import asyncio
import contextlib
import getpass
import logging
import os
import re
import signal
import sys
import uuid
from argparse import ArgumentTypeError, Namespace
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from cluster import flag_kinds as kinds
from cluster.election.detector import detector_for
from cluster.errors import InvalidInput
from cluster.model.roles import check_role
from cluster.model.task_states import TaskState
from cluster.options import OneLineParser, valued
from cluster.sandbox_reader import SandboxFile
from cluster.scheduler import (
    Disconnected,
    Error,
    Offers,
    Reregistered,
    SchedulerDriver,
    Update,
)
from cluster.wire.pb import mesos_pb2 as mesos

DEFAULT_MASTER = "127.0.0.1:5050"
REGISTRATION_BACKOFF_S = 0.1  # one framework at a prompt, not thousands after a failover
NOTE_INTERVAL_S = 5.0
REFUSE_S = 1.0  # how soon an agent whose offer did not fit may be offered again
EXIT_FAILED = 1
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE

_EXITED = re.compile(r"exited with status (\d{1,3})", re.ASCII)
_SIGNALLED = re.compile(r"terminated with signal ([^;]+)")


@dataclass(frozen=True, slots=True)
class Job:
    """What to run and what it needs.

    Attributes:
        command: program and arguments, not interpreted by a shell.
        needs_milli: resource name -> thousandths, e.g. ``{"cpus": 1000, "mem": 128000}``.
        role: role whose resources are used.
        environment: set for the command, in addition to what the agent gives it.
    """

    command: tuple[str, ...]
    name: str
    needs_milli: Mapping[str, int]
    role: str
    environment: Mapping[str, str]

    @property
    def needs(self) -> str:
        """As people write it: ``cpus:1;mem:128``."""
        return _format_scalars(self.needs_milli)


def main(arguments: Sequence[str]) -> int:
    """Run one command on the cluster; returns its exit status."""
    options = _parse(arguments)
    # The driver's warnings say what the notes of this command say better.
    logging.basicConfig(level=logging.ERROR, format="cluster run: %(message)s")
    try:
        run = CommandRun(_job(options), options.master)
        return asyncio.run(run.run())
    except InvalidInput as error:
        print(f"cluster run: {error}", file=sys.stderr)
        return 2


def framework_for(job: Job) -> mesos.FrameworkInfo:
    """The framework that exists for this job alone."""
    framework = mesos.FrameworkInfo(user=getpass.getuser(), name=f"cluster run {job.name}")
    framework.roles.append(job.role)
    framework.capabilities.add(type=mesos.FrameworkInfo.Capability.MULTI_ROLE)
    return framework


def task_for(job: Job, offer: mesos.Offer, task_id: str) -> mesos.TaskInfo | None:
    """The task, with resources taken from the offer; None when the offer is too small."""
    resources = take_scalars(offer.resources, job.needs_milli)
    if resources is None:
        return None
    task = mesos.TaskInfo(name=job.name, task_id=mesos.TaskID(value=task_id))
    task.slave_id.CopyFrom(offer.slave_id)
    task.resources.extend(resources)
    task.command.shell = False
    task.command.value = job.command[0]
    task.command.arguments.extend(job.command)
    for name, value in job.environment.items():
        task.command.environment.variables.add(name=name, value=value)
    return task


def take_scalars(
    offered: Iterable[mesos.Resource], needs_milli: Mapping[str, int]
) -> list[mesos.Resource] | None:
    """Part of the offered resources that covers the needs, in the order offered.

    Returns:
        Copies with reduced scalars, or None when the offer does not cover the needs. Disks with a
        source of their own and persistent volumes are left alone: they cannot be cut.
    """
    missing_milli = dict(needs_milli)
    taken = []
    for resource in offered:
        want_milli = missing_milli.get(resource.name, 0)
        if want_milli <= 0 or resource.type != mesos.Value.SCALAR or resource.HasField("disk"):
            continue
        part_milli = min(want_milli, round(resource.scalar.value * 1000))
        part = mesos.Resource()
        part.CopyFrom(resource)
        part.scalar.value = part_milli / 1000
        taken.append(part)
        missing_milli[resource.name] = want_milli - part_milli
    return taken if all(milli <= 0 for milli in missing_milli.values()) else None


def exit_status_of(status: mesos.TaskStatus) -> int:
    """What a shell would have as ``$?``, from a terminal status of a command task."""
    if status.state == mesos.TASK_FINISHED:
        return 0
    if (exited := _EXITED.search(status.message)) is not None:
        return int(exited[1]) or EXIT_FAILED
    if (signalled := _SIGNALLED.search(status.message)) is not None:
        number = _signal_number(signalled[1].strip())
        return EXIT_FAILED if number is None else 128 + number
    return EXIT_FAILED


def is_terminal(status: mesos.TaskStatus) -> bool:
    """True when no other status can follow."""
    return TaskState(status.state).is_terminal


def agent_url(offer: mesos.Offer) -> str | None:
    """Where the agent of an offer serves HTTP, e.g. ``http://10.0.0.7:5051``."""
    address = offer.url.address
    host = address.ip or address.hostname
    return f"http://{host}:{address.port}" if host and address.port else None


class CommandRun:
    """One run, from subscribing to the exit status.

    Args:
        job: what to run.
        master: where the master is, as the driver takes it.
    """

    def __init__(self, job: Job, master: str) -> None:
        self._job = job
        self._master = master
        self._task_id = f"run-{uuid.uuid4()}"
        self._driver = SchedulerDriver(
            framework_for(job), master, registration_backoff_factor_s=REGISTRATION_BACKOFF_S
        )
        self._url: str | None = None
        self._best_milli: dict[str, int] = {}
        self._is_launched = False
        self._interrupts = 0
        self._task_ended = asyncio.Event()
        self._status: asyncio.Future[int] | None = None

    async def run(self) -> int:
        """Returns the exit status."""
        loop = asyncio.get_running_loop()
        self._status = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, number)
        async with self._driver, aiohttp.ClientSession() as http:
            workers = [
                asyncio.create_task(self._report_failure(work))
                for work in (self._follow_events(http), self._note_what_is_missing())
            ]
            try:
                return await self._status
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _report_failure(self, work: Coroutine[None, None, None]) -> None:
        """A worker that fails ends the run with its error."""
        try:
            await work
        except Exception as error:
            if self._status is not None and not self._status.done():
                self._status.set_exception(error)

    async def _follow_events(self, http: aiohttp.ClientSession) -> None:
        output: asyncio.Task[None] | None = None
        async for event in self._driver.events():
            match event:
                case Offers(offers):
                    output = self._use_one(offers, http) or output
                case Update(status) if status.task_id.value == self._task_id:
                    if is_terminal(status):
                        await self._end_with(status, output)
                case Disconnected():
                    self._note(f"lost the master at {self._master}, looking for it")
                case Reregistered():
                    self._note("found the master again")
                case Error(message):
                    self._finish(EXIT_FAILED, f"the master refused: {message}")
                case _:
                    pass  # updates of no other task can come, the rest changes nothing here

    def _use_one(
        self, offers: Sequence[mesos.Offer], http: aiohttp.ClientSession
    ) -> asyncio.Task[None] | None:
        """Launch on the first offer that fits and give all others back."""
        output = None
        for offer in offers:
            task = None if self._is_launched else task_for(self._job, offer, self._task_id)
            if task is None:
                self._remember_best(offer)
                self._driver.decline_offer(offer.id, mesos.Filters(refuse_seconds=REFUSE_S))
                continue
            self._is_launched = True
            self._url = agent_url(offer)
            self._driver.launch_tasks(offer.id, [task])
            self._driver.suppress_offers()
            output = asyncio.create_task(self._show_output(http, self._url))
        return output

    async def _show_output(self, http: aiohttp.ClientSession, url: str | None) -> None:
        if url is None:
            self._note("the offer does not say where its agent is: no output can be shown")
            return
        framework_id = self._driver.framework.id.value
        sandbox = f"/frameworks/{framework_id}/executors/{self._task_id}/runs/latest"
        try:
            await asyncio.gather(
                SandboxFile(http, url, f"{sandbox}/stdout").copy_to(
                    sys.stdout.buffer, self._task_ended
                ),
                SandboxFile(http, url, f"{sandbox}/stderr").copy_to(
                    sys.stderr.buffer, self._task_ended
                ),
            )
        except BrokenPipeError:
            self._give_up_output()
        except aiohttp.ClientError as error:
            self._note(f"the output at {url} cannot be read: {error}")

    def _give_up_output(self) -> None:
        """Nobody reads any more (``cluster run ... | head``): end as a program of a pipe does."""
        # What is still buffered cannot be written either; without this, Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._driver.kill_task(self._task_id)
        self._finish(EXIT_BROKEN_PIPE)

    async def _end_with(self, status: mesos.TaskStatus, output: asyncio.Task[None] | None) -> None:
        """Show the rest of the output, then end with the status of the command."""
        self._task_ended.set()
        if output is not None:
            await output
        said = status.message or mesos.TaskState.Name(status.state)
        result = exit_status_of(status)
        if status.state == mesos.TASK_KILLED and self._interrupts:
            self._finish(128 + signal.SIGINT)
        elif result == EXIT_FAILED and _EXITED.search(status.message) is None:
            state = mesos.TaskState.Name(status.state)
            self._finish(result, f"the task ended as {state}: {said}")
        else:
            self._finish(result)

    def _interrupt(self, number: signal.Signals) -> None:
        self._interrupts += 1
        if self._is_launched and self._interrupts == 1:
            self._note("killing the task; once more to leave without waiting")
            self._driver.kill_task(self._task_id)
        else:
            self._finish(128 + number)

    async def _note_what_is_missing(self) -> None:
        while not self._is_launched:
            await asyncio.sleep(NOTE_INTERVAL_S)
            if not self._driver.is_connected:
                self._note(f"no answer from a master at {self._master} so far, still trying")
            elif not self._is_launched:
                best = _format_scalars(self._best_milli) or "none"
                self._note(f"waiting for an offer of {self._job.needs}; largest so far: {best}")

    def _remember_best(self, offer: mesos.Offer) -> None:
        """Keep the offer with the most of what is scarcest, for people who wait."""
        offered = dict.fromkeys(self._job.needs_milli, 0)
        for resource in offer.resources:
            if resource.name in offered:
                offered[resource.name] += round(resource.scalar.value * 1000)
        if self._coverage(offered) >= self._coverage(self._best_milli):
            self._best_milli = offered

    def _coverage(self, offered_milli: Mapping[str, int]) -> float:
        return min(
            offered_milli.get(name, 0) / need for name, need in self._job.needs_milli.items()
        )

    def _finish(self, status: int, note: str = "") -> None:
        if self._status is not None and not self._status.done():
            self._status.set_result(status)
            if note:
                self._note(note)

    def _note(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(f"cluster run: {text}", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = OneLineParser(
        prog="cluster run",
        usage="cluster run [options] -- COMMAND [ARGUMENT ...]",
        description="Run a command as one task of the cluster, show what it prints and exit with "
        "its status. Ctrl-C kills the task.",
    )
    parser.add_argument(
        "--master",
        type=valued(kinds.checked_text("ADDRESS", detector_for)),
        default=os.environ.get("MESOS_MASTER") or DEFAULT_MASTER,
        metavar="ADDRESS",
        help=f"host:port of the master (default: MESOS_MASTER, else {DEFAULT_MASTER})",
    )
    amount = valued(kinds.number(at_least=0.001))
    parser.add_argument(
        "--cpus", type=amount, default=1.0, metavar="N", help="processors (default: 1)"
    )
    parser.add_argument(
        "--mem", type=amount, default=128.0, metavar="MB", help="memory (default: 128)"
    )
    parser.add_argument("--disk", type=amount, metavar="MB", help="disk (default: none)")
    parser.add_argument("--gpus", type=amount, metavar="N", help="GPUs (default: none)")
    parser.add_argument("--name", help="name of the task (default: that of the program)")
    parser.add_argument(
        "--role",
        default="*",
        type=valued(kinds.checked_text("ROLE", check_role)),
        help="default: *",
    )
    parser.add_argument(
        "--env",
        type=_variable,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="environment variable of the command; can be given many times",
    )
    parser.add_argument("command", nargs="...", metavar="COMMAND", help="program and arguments")
    options = parser.parse_args(arguments)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if not options.command:
        parser.error("a command is required after --")
    return options


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def _job(options: Namespace) -> Job:
    needs = {name: getattr(options, name) for name in ("cpus", "mem", "disk", "gpus")}
    return Job(
        command=tuple(options.command),
        name=options.name or os.path.basename(options.command[0]),
        needs_milli={name: round(amount * 1000) for name, amount in needs.items() if amount},
        role=options.role,
        environment=dict(options.env),
    )


def _format_scalars(scalars_milli: Mapping[str, int]) -> str:
    return ";".join(f"{name}:{milli / 1000:g}" for name, milli in scalars_milli.items())


def _signal_number(description: str) -> int | None:
    """The number of a signal by name (``SIGKILL``) or by description (``Killed``)."""
    for known in signal.Signals:
        if description in (known.name, signal.strsignal(known)):
            return known.value
    return None


__all__ = [
    "CommandRun",
    "Job",
    "agent_url",
    "exit_status_of",
    "framework_for",
    "is_terminal",
    "main",
    "take_scalars",
    "task_for",
]
