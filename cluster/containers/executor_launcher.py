"""Starts executors: sandbox, environment, user, then the containerizer.

The agent tells what to start and who it is itself; everything that can go wrong on the way comes
back as `LaunchFailed`, whose text the framework reads.
"""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.agent_flags import AgentConfig
from cluster.containers.base import (
    ContainerConfig,
    Containerizer,
    ContainerTermination,
    LaunchFailed,
)
from cluster.containers.environment import ExecutorFacts, executor_environment
from cluster.containers.executor_container import check_container, command_of, wanted_environment
from cluster.containers.resource_files import ResourceFiles, RunBlocking
from cluster.containers.sandbox import LATEST, SandboxPaths, create_sandbox
from cluster.core.agent.executor_events import LaunchContainer, UpdateContainer
from cluster.errors import InvalidInput, InvariantBroken
from cluster.model.ids import AgentId, ContainerId
from cluster.wire.agent import allocation_role, executor_info, task_info

logger = logging.getLogger(__name__)

ANY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """How executors reach their agent."""

    agent_id: AgentId
    pid: str
    endpoint: str


class ExecutorLauncher:
    """Makes sandboxes and starts executors in them.

    Args:
        config: the agent's flags.
        containerizer: runs the processes.
        inherited: the agent's own environment.
        resource_files: shows containers their volumes.
        run_blocking: runs a function that blocks and returns what it returns.

    Raises:
        InvalidInput: ``--executor_environment_variables`` is not an object of texts.
    """

    def __init__(
        self,
        config: AgentConfig,
        containerizer: Containerizer,
        inherited: Mapping[str, str],
        *,
        resource_files: ResourceFiles,
        run_blocking: RunBlocking = asyncio.to_thread,
    ) -> None:
        self._config = config
        self._containerizer = containerizer
        self._inherited = dict(inherited)
        self._run_blocking = run_blocking
        self._resource_files = resource_files
        self._replacement = _replacement(config.executor_environment_variables)
        self._work_dir = Path(config.work_dir).absolute()
        # Collecting garbage removes empty parents, which making a sandbox counts on.
        self._directories_lock = asyncio.Lock()
        self._sandboxes: dict[ContainerId, SandboxPaths] = {}
        self._users: dict[ContainerId, str | None] = {}

    def sandbox(self, container_id: ContainerId) -> SandboxPaths | None:
        """Return where a container's sandbox is, until it was deleted."""
        return self._sandboxes.get(container_id)

    def directories(self) -> dict[str, str]:
        """Return container id → sandbox."""
        return {key: str(paths.sandbox) for key, paths in self._sandboxes.items()}

    def plan(self, order: LaunchContainer, agent: AgentAddress) -> SandboxPaths:
        """Decide where a container's sandbox will be."""
        if order.framework.framework_id is None:
            raise InvariantBroken("a framework without id got past the border of the agent")
        paths = SandboxPaths(
            self._work_dir,
            agent.agent_id,
            order.framework.framework_id,
            order.executor.executor_id,
            order.container_id,
        )
        self._sandboxes[order.container_id] = paths
        return paths

    async def launch(self, order: LaunchContainer, agent: AgentAddress) -> int:
        """Make the sandbox, start the executor and return its OS process id.

        Raises:
            LaunchFailed: the text is for the framework.
        """
        info = executor_info(order.executor)
        check_container(info)
        paths = self._sandboxes[order.container_id]
        async with self._directories_lock:
            try:
                await self._run_blocking(create_sandbox, paths)
            except OSError as error:
                raise LaunchFailed(f"sandbox {paths.sandbox}: {error.strerror}") from error
        command_user = info.command.user if info.command.HasField("user") else order.framework.user
        user = command_user if self._config.switch_user and command_user else None
        self._users[order.container_id] = user
        if order.volumes:
            files = self._resource_files
            await files.link(order.container_id, paths.sandbox, order.volumes, user)
        return await self._containerizer.launch(
            ContainerConfig(
                order.container_id,
                paths.sandbox,
                command_of(info),
                executor_environment(
                    self._facts(order, agent, paths.sandbox),
                    inherited=self._inherited,
                    replacement=self._replacement,
                    wanted=wanted_environment(info),
                ),
                user,
            )
        )

    async def update(self, order: UpdateContainer) -> None:
        """Show a running container other volumes than before.

        Raises:
            LaunchFailed: the text is for the framework.
        """
        paths = self._sandboxes[order.container_id]
        user = self._users.get(order.container_id)
        await self._resource_files.link(order.container_id, paths.sandbox, order.volumes, user)

    async def destroy_orphans(self) -> int:
        """Kill what an earlier agent with this work directory left running; returns how many."""
        # Another agent may have its work directory below ours, but never below ours/slaves.
        return await self._containerizer.destroy_orphans(self._work_dir / "slaves")

    async def wait(self, container_id: ContainerId) -> ContainerTermination:
        """Wait for the end of a container that was launched."""
        termination = await self._containerizer.wait(container_id)
        self.forget(container_id)
        return termination

    def forget(self, container_id: ContainerId) -> None:
        """Drop what is known of a container that ended or never started, but for its sandbox."""
        self._users.pop(container_id, None)
        self._resource_files.unlink(container_id)

    async def destroy(self, container_id: ContainerId) -> None:
        """Kill everything in a container."""
        await self._containerizer.destroy(container_id)

    async def delete_sandbox(self, container_id: ContainerId) -> None:
        """Delete a sandbox that nobody needs, and directories that become empty by it."""
        paths = self._sandboxes.pop(container_id, None)
        if paths is None:
            return
        async with self._directories_lock:
            await self._run_blocking(_delete, paths)

    def disk_used(self) -> float:
        """Return the share of the disk below the work directory that is in use, 0 to 1."""
        try:
            usage = shutil.disk_usage(self._work_dir)
        except OSError:
            return 0.0
        return usage.used / usage.total if usage.total else 0.0

    def _facts(self, order: LaunchContainer, agent: AgentAddress, directory: Path) -> ExecutorFacts:
        config = self._config
        own_grace_s = order.executor.shutdown_grace_s
        default_grace_s = config.executor_shutdown_grace_period_s
        role = allocation_role(task_info(order.task)) if order.executor.is_generated else None
        return ExecutorFacts(
            framework_id=self._sandboxes[order.container_id].framework_id,
            executor_id=order.executor.executor_id,
            agent_id=agent.agent_id,
            agent_pid=agent.pid,
            agent_endpoint=agent.endpoint,
            directory=directory,
            checkpoint=order.framework.checkpoint,
            shutdown_grace_s=default_grace_s if own_grace_s is None else own_grace_s,
            recovery_timeout_s=config.recovery_timeout_s,
            subscription_backoff_s_max=config.executor_reregistration_timeout_s,
            listen_ip=None if config.ip == ANY_ADDRESS else config.ip,
            allocation_role=role,
        )


def _replacement(value: object) -> Mapping[str, str] | None:
    """Check ``--executor_environment_variables``."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidInput("--executor_environment_variables", "must be a JSON object")
    for name, text in value.items():
        if not isinstance(text, str):
            rule = f"must have text values, not {json.dumps(text)} for {name}"
            raise InvalidInput("--executor_environment_variables", rule)
    return dict(value)


def _delete(paths: SandboxPaths) -> None:
    """Delete a sandbox and what becomes empty above it (blocking)."""
    shutil.rmtree(paths.sandbox, onerror=_report)
    runs = paths.sandbox.parent
    latest = runs / LATEST
    with suppress(OSError):
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
        for directory in (runs, paths.executor, paths.executor.parent, paths.framework):
            os.rmdir(directory)


def _report(_function: object, path: str, failure: tuple[object, BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        logger.warning("cannot delete %s: %s", path, failure[1])


__all__ = ["AgentAddress", "ExecutorLauncher"]
