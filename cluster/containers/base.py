"""What the agent asks of a containerizer, and the values that cross that border.

Decided here: the words (launch, wait, update, destroy) and what each promises. Not decided here:
how processes are started and confined. `posix.py` starts plain process trees; cgroups, images and
isolators come as further containerizers behind the same four methods.

    launch ──► running ──(root process ends, or destroy)──► everything killed ──► wait() answers

Source: agent.md §9 (container steps).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cluster.errors import ClusterError
from cluster.model.ids import ContainerId


class LaunchFailed(ClusterError):
    """A container could not be started; the text is what the framework gets to read."""


class UnknownContainer(ClusterError):
    """The containerizer has no container of that id (our own fault)."""


@dataclass(frozen=True, slots=True)
class Uri:
    """One thing to fetch into the sandbox before the command runs (agent.md §6)."""

    value: str
    executable: bool = False
    extract: bool = True
    cache: bool = False
    output_file: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    With `shell` the text `value` goes to ``/bin/sh -c``. Without, `value` is the program (looked up
    in the container's PATH when it has no slash) and `arguments` its argv *including* argv[0].
    """

    value: str
    arguments: tuple[str, ...] = ()
    shell: bool = True
    uris: tuple[Uri, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything needed to start one container.

    Attributes:
        directory: the sandbox; it exists already, `stdout` and `stderr` are created in it.
        environment: the complete environment; nothing is inherited beside it.
        user: whom to run as, None for whoever the agent is.
    """

    container_id: ContainerId
    directory: Path
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerTermination:
    """How a container ended.

    `wait_status` is the raw status of its root process as ``waitpid`` gives it (exit 7 is 1792,
    SIGKILL is 9). `message` is empty unless the containerizer itself ended it for a reason.
    """

    wait_status: int
    message: str = ""


class Fetcher(Protocol):
    """Brings the URIs of a command into the sandbox before it starts."""

    async def fetch(self, uris: Sequence[Uri], directory: Path, user: str | None) -> None:
        """Fetch all of `uris`.

        Raises:
            LaunchFailed: one of them could not be fetched.
        """
        ...


class Containerizer(Protocol):
    """Starts, watches and ends containers; one is alive from `launch` until `wait` answers."""

    async def launch(self, config: ContainerConfig) -> int:
        """Start the container and return the OS process id of its root process.

        Raises:
            LaunchFailed: no such command, user or directory; nothing is left running.
        """
        ...

    async def wait(self, container_id: ContainerId) -> ContainerTermination:
        """Wait until the root process and every process found in the container are gone.

        Afterwards the container is forgotten. One waiter per container.

        Raises:
            UnknownContainer: never launched, or waited for already.
        """
        ...

    async def destroy(self, container_id: ContainerId) -> None:
        """Kill every process of the container with SIGKILL; `wait` then answers.

        Unknown containers are ignored: they have ended already.
        """
        ...

    async def destroy_orphans(self, work_dir: Path) -> int:
        """Kill containers that run below `work_dir` but were not launched by this object.

        Returns:
            How many processes were killed.
        """
        ...

    def containers(self) -> tuple[ContainerId, ...]:
        """Return the ids of all containers launched and not yet waited for, oldest first."""
        ...


__all__ = [
    "Command",
    "ContainerConfig",
    "ContainerTermination",
    "Containerizer",
    "Fetcher",
    "LaunchFailed",
    "UnknownContainer",
    "Uri",
]
