"""Task states, and who reported them why.

The numbers are the protobuf numbers of ``mesos.TaskState``, ``TaskStatus.Source`` and
``TaskStatus.Reason``; names use the modern word "agent" where the v0 wire name says "slave"
(the v1 names of messages.md §6.1). Source: messages.md §5.1, master.md §7.
"""

from enum import IntEnum


class TaskState(IntEnum):
    """State of one task as Mesos numbers it."""

    STARTING = 0
    RUNNING = 1
    FINISHED = 2
    FAILED = 3
    KILLED = 4
    LOST = 5
    STAGING = 6
    ERROR = 7
    KILLING = 8
    DROPPED = 9
    UNREACHABLE = 10
    GONE = 11
    GONE_BY_OPERATOR = 12
    UNKNOWN = 13

    @property
    def is_terminal(self) -> bool:
        """True when no later state can follow (UNREACHABLE is not terminal: it may come back)."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset(
    {
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.KILLED,
        TaskState.LOST,
        TaskState.ERROR,
        TaskState.DROPPED,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
    }
)


class UpdateSource(IntEnum):
    """Which part of the cluster made a status update."""

    MASTER = 0
    AGENT = 1
    EXECUTOR = 2


class UpdateReason(IntEnum):
    """Why a status update was made; numbers of ``mesos.TaskStatus.Reason``."""

    COMMAND_EXECUTOR_FAILED = 0
    EXECUTOR_TERMINATED = 1
    EXECUTOR_UNREGISTERED = 2
    FRAMEWORK_REMOVED = 3
    GC_ERROR = 4
    INVALID_FRAMEWORKID = 5
    INVALID_OFFERS = 6
    MASTER_DISCONNECTED = 7
    CONTAINER_LIMITATION_MEMORY = 8
    RECONCILIATION = 9
    AGENT_DISCONNECTED = 10
    AGENT_REMOVED = 11
    AGENT_RESTARTED = 12
    AGENT_UNKNOWN = 13
    TASK_INVALID = 14
    TASK_UNAUTHORIZED = 15
    TASK_UNKNOWN = 16
    CONTAINER_PREEMPTED = 17
    RESOURCES_UNKNOWN = 18
    CONTAINER_LIMITATION = 19
    CONTAINER_LIMITATION_DISK = 20
    CONTAINER_LAUNCH_FAILED = 21
    CONTAINER_UPDATE_FAILED = 22
    EXECUTOR_REGISTRATION_TIMEOUT = 23
    EXECUTOR_REREGISTRATION_TIMEOUT = 24
    TASK_GROUP_INVALID = 25
    TASK_GROUP_UNAUTHORIZED = 26
    IO_SWITCHBOARD_EXITED = 27
    TASK_CHECK_STATUS_UPDATED = 28
    TASK_HEALTH_CHECK_STATUS_UPDATED = 29
    TASK_KILLED_DURING_LAUNCH = 30
    AGENT_REMOVED_BY_OPERATOR = 31
    AGENT_REREGISTERED = 32
    MAX_COMPLETION_TIME_REACHED = 33
    AGENT_DRAINING = 34


__all__ = ["TERMINAL_STATES", "TaskState", "UpdateReason", "UpdateSource"]
