"""What an executor hears from its driver: one event class per callback of the classic interface.

The payloads are protocol messages that ride along unopened (hence no run-time import of them).
Source: drivers.md §1.3.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.model.ids import TaskId

if TYPE_CHECKING:
    from cluster.wire.pb import mesos_pb2 as mesos


@dataclass(frozen=True, slots=True)
class Registered:
    """The agent accepted this executor; tasks follow."""

    executor_info: "mesos.ExecutorInfo"
    framework_info: "mesos.FrameworkInfo"
    agent_info: "mesos.SlaveInfo"


@dataclass(frozen=True, slots=True)
class Reregistered:
    """The agent restarted and found this executor again."""

    agent_info: "mesos.SlaveInfo"


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The agent is lost; it may come back within the recovery timeout."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A task to run."""

    task: "mesos.TaskInfo"


@dataclass(frozen=True, slots=True)
class Kill:
    """A task to end. ``grace_s`` overrides the task's own kill policy when it is not None."""

    task_id: "mesos.TaskID"
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The agent has stored one of our status updates (no callback in the classic interface)."""

    task_id: TaskId
    uuid: bytes


@dataclass(frozen=True, slots=True)
class FrameworkMessage:
    """Bytes from the scheduler; delivery is not promised."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End all tasks and this process; what is left after the grace period is killed."""


@dataclass(frozen=True, slots=True)
class Error:
    """The driver gave up; it is aborted already when this arrives, and nothing follows."""

    message: str


ExecutorEvent = (
    Registered
    | Reregistered
    | Disconnected
    | Launch
    | Kill
    | Acknowledged
    | FrameworkMessage
    | Shutdown
    | Error
)

__all__ = [
    "Acknowledged",
    "Disconnected",
    "Error",
    "ExecutorEvent",
    "FrameworkMessage",
    "Kill",
    "Launch",
    "Registered",
    "Reregistered",
    "Shutdown",
]
