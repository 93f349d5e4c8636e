"""Where sandboxes are, and how one is made.

    <work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>/
                                                                         runs/latest -> <container>

Ids become directory names verbatim, so those that came from outside are checked before
(`cluster.wire.checked_ids`). Source: agent.md §5; modes as recorded.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from cluster.model.ids import AgentId, ContainerId, ExecutorId, FrameworkId

LATEST = "latest"
SANDBOX_MODE = 0o750


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """Names of the places that belong to one run of an executor."""

    work_dir: Path
    agent_id: AgentId
    framework_id: FrameworkId
    executor_id: ExecutorId
    container_id: ContainerId

    @property
    def framework(self) -> Path:
        return self.work_dir / "slaves" / self.agent_id / "frameworks" / self.framework_id

    @property
    def executor(self) -> Path:
        return self.framework / "executors" / self.executor_id

    @property
    def sandbox(self) -> Path:
        """The directory of this run."""
        return self.executor / "runs" / self.container_id

    @property
    def latest(self) -> Path:
        """The link to the newest run."""
        return self.executor / "runs" / LATEST

    def virtual_paths(self) -> tuple[str, ...]:
        """Return the names under which the sandbox is served over HTTP, shortest last."""
        runs = f"/frameworks/{self.framework_id}/executors/{self.executor_id}/runs"
        return (
            str(self.sandbox),
            str(self.latest),
            f"{runs}/{self.container_id}",
            f"{runs}/{LATEST}",
        )


def create_sandbox(paths: SandboxPaths) -> Path:
    """Make the directory of a run and point ``latest`` to it (blocking).

    Raises:
        OSError: the file system refuses.
    """
    paths.sandbox.parent.mkdir(parents=True, exist_ok=True)
    paths.sandbox.mkdir()
    # Not the mode of mkdir, which the umask would cut.
    paths.sandbox.chmod(SANDBOX_MODE)
    replacement = paths.latest.with_name(f".{LATEST}.{paths.container_id}")
    with contextlib.suppress(FileNotFoundError):
        replacement.unlink()
    replacement.symlink_to(paths.sandbox)
    os.replace(replacement, paths.latest)
    return paths.sandbox


__all__ = ["LATEST", "SANDBOX_MODE", "SandboxPaths", "create_sandbox"]
