"""What an agent remembers of its resources, on disk: the checkpoint, volumes, links to volumes.

    <work_dir>/meta/resources/resources.info                    a record per resource, old spelling
    <work_dir>/meta/resources/resources_and_operations.state    one record, with operations
    <work_dir>/volumes/roles/<role, '/' written ' '>/<id>/      volumes on the default disk
    <root>/volumes/roles/<role>/<id>/                           volumes on a PATH disk
    <root>/                                                     the volume on a MOUNT disk

Jobs are done one after the other in the order they were asked for, so a launch that follows a
CREATE finds the directory. Decided elsewhere: what is written and when (`core.agent.operations`).

Source: agent.md §5, §13; the recorded work directory of a real agent.
"""

import asyncio
import logging
import os
import pwd
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.containers.base import LaunchFailed
from cluster.errors import InvalidInput
from cluster.model.agent_operations import CheckpointedState
from cluster.model.ids import AgentId, ContainerId
from cluster.model.resources import EMPTY, DiskSourceType, Resources
from cluster.model.volumes import PersistentVolume, VolumeMount
from cluster.wire.agent_operations import (
    old_state_to_bytes,
    resources_from_old_state,
    resources_from_state,
    state_to_bytes,
)

logger = logging.getLogger(__name__)

CHECKPOINT_MODE = 0o600

RunBlocking = Callable[..., Awaitable[object]]
"""Runs ``fn(*args)``, which may block, without blocking the caller's event loop."""


@dataclass(frozen=True, slots=True)
class _Links:
    """What a container sees of volumes: name in its sandbox → directory."""

    sandbox: Path
    targets: Mapping[str, Path]


class ResourceFiles:
    """The files and directories of an agent's resources.

    Args:
        work_dir: the agent's.
        run_blocking: runs a function that blocks and returns what it returns.
    """

    def __init__(self, work_dir: Path, *, run_blocking: RunBlocking = asyncio.to_thread) -> None:
        self._work_dir = work_dir.absolute()
        self._run_blocking = run_blocking
        self._turns = asyncio.Lock()
        self._links: dict[ContainerId, _Links] = {}

    # The checkpoint -----------------------------------------------------------------------------

    def load(self) -> Resources:
        """Read what earlier agents with this work directory remembered (blocking, at the start).

        Raises:
            InvalidInput: a file is damaged. An agent that went on without it would hand out again
                what belongs to somebody, so this is fatal whatever ``--strict`` says.
        """
        state, old = self._state_path(), self._old_state_path()
        try:
            if state.exists():
                resources, operations = resources_from_state(state.read_bytes(), field=str(state))
                if operations:
                    logger.warning("%d operations of an earlier agent are forgotten", operations)
                return resources
            if old.exists():
                return resources_from_old_state(old.read_bytes(), field=str(old))
        except OSError as error:
            raise InvalidInput(str(error.filename), f"cannot be read: {error.strerror}") from error
        return EMPTY

    async def save(self, state: CheckpointedState, agent_id: AgentId) -> None:
        """Make a state durable, then make and delete the directories of its volumes.

        Raises:
            OSError: the file system refuses; nothing may be told of this state.
        """
        async with self._turns:
            await self._run_blocking(self._save, state, agent_id)

    async def restore_volumes(self, volumes: Iterable[PersistentVolume]) -> None:
        """Make the directories of volumes that an earlier agent remembered, where they are gone.

        Raises:
            OSError: the file system refuses.
        """
        async with self._turns:
            await self._run_blocking(self._create, tuple(volumes))

    def volume_path(self, volume: PersistentVolume) -> Path:
        """Return the directory of a volume."""
        source = volume.source
        root = self._work_dir
        if source is not None and source.root is not None:
            root = self._work_dir / source.root
            if source.type is DiskSourceType.MOUNT:
                return root
        return root / "volumes" / "roles" / volume.role.replace("/", " ") / volume.volume_id

    def _save(self, state: CheckpointedState, agent_id: AgentId) -> None:
        # Directories come first and go last: a checkpoint never names a volume that is not there.
        self._create(state.created)
        self._state_path().parent.mkdir(parents=True, exist_ok=True)
        _replace(self._old_state_path(), old_state_to_bytes(state))
        _replace(self._state_path(), state_to_bytes(state, agent_id))
        for volume in state.removed:
            self._remove(volume)

    def _create(self, volumes: Iterable[PersistentVolume]) -> None:
        for volume in volumes:
            path = self.volume_path(volume)
            if not path.is_dir():
                logger.info("creating volume %s of role %s", volume.volume_id, volume.role)
                path.mkdir(parents=True)

    def _remove(self, volume: PersistentVolume) -> None:
        """Delete the content of a volume; a mount point itself stays."""
        path = self.volume_path(volume)
        logger.info("deleting volume %s of role %s", volume.volume_id, volume.role)
        if volume.source is not None and volume.source.type is DiskSourceType.MOUNT:
            with suppress(FileNotFoundError):
                for entry in list(os.scandir(path)):
                    _delete(Path(entry.path))
        else:
            _delete(path)

    def _state_path(self) -> Path:
        return self._work_dir / "meta" / "resources" / "resources_and_operations.state"

    def _old_state_path(self) -> Path:
        return self._work_dir / "meta" / "resources" / "resources.info"

    # Links to volumes ---------------------------------------------------------------------------

    async def link(
        self,
        container_id: ContainerId,
        sandbox: Path,
        mounts: Iterable[VolumeMount],
        user: str | None,
    ) -> None:
        """Show a container these volumes in its sandbox, and no others that it was shown before.

        Args:
            user: whom a volume is given to that no other container sees; None for nobody.

        Raises:
            LaunchFailed: names the volume and what stands in the way.
        """
        async with self._turns:
            before = self._links.get(container_id)
            wanted = self._targets(mounts)
            links = _Links(sandbox, wanted)
            self._links[container_id] = links
            others = {
                target
                for other, one in self._links.items()
                for target in one.targets.values()
                if other != container_id
            }
            given = [target for target in wanted.values() if target not in others]
            account = None if user is None else _account(user)
            await self._run_blocking(_link, before, links, given, account)

    def unlink(self, container_id: ContainerId) -> None:
        """Forget a container that ended. Its links stay: they show what it saw."""
        self._links.pop(container_id, None)

    def _targets(self, mounts: Iterable[VolumeMount]) -> dict[str, Path]:
        targets: dict[str, Path] = {}
        for mount in mounts:
            name, target = mount.container_path, self.volume_path(mount.volume)
            field = f"volume {mount.volume.volume_id}: container_path"
            if not name or name in (".", "..") or "/" in name or "\0" in name:
                # Anything deeper would pass through directories that tasks control.
                raise LaunchFailed(f"{field} must be one name below the sandbox, not {name!r}")
            if targets.setdefault(name, target) != target:
                raise LaunchFailed(f"{field} {name!r} is wanted by another volume, too")
        return targets


def _link(
    before: _Links | None, links: _Links, given: list[Path], account: tuple[int, int] | None
) -> None:
    """Make and remove links (blocking)."""
    for name, target in ({} if before is None else before.targets).items():
        link = links.sandbox / name
        if links.targets.get(name) != target and _points_to(link, target):
            link.unlink()
    for name, target in links.targets.items():
        link = links.sandbox / name
        try:
            if not target.is_dir():
                raise LaunchFailed(f"volume at {target}: the directory is gone")
            if account is not None and target in given:
                os.chown(target, *account)
            if not _points_to(link, target):
                link.symlink_to(target)
        except OSError as error:
            raise LaunchFailed(f"volume link {link}: {error.strerror}") from error


def _points_to(link: Path, target: Path) -> bool:
    return link.is_symlink() and os.readlink(link) == str(target)


def _account(user: str) -> tuple[int, int] | None:
    """Look up whom a volume is given to; None when only this process's own user can have it."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        return None  # the containerizer says so
    return entry.pw_uid, entry.pw_gid


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is either the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, CHECKPOINT_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _delete(path: Path) -> None:
    """Delete a file or a tree; what cannot be deleted is told and left."""
    if path.is_symlink() or not path.is_dir():
        with suppress(FileNotFoundError):
            path.unlink()
    else:
        shutil.rmtree(path, onerror=_report)


def _report(_function: object, path: str, failure: tuple[object, BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        logger.warning("cannot delete %s: %s", path, failure[1])


__all__ = ["CHECKPOINT_MODE", "ResourceFiles", "RunBlocking"]
