"""The life of a driver as its user sees it: four states, and what each call returns in them.

Both drivers (scheduler and executor) share this table; what is sent when is decided elsewhere.

    NOT_STARTED --start--> RUNNING --stop---> STOPPED
                              |                  ^
                              +----abort--> ABORTED (stop moves it on, but still answers ABORTED)

Source: drivers.md §2. A driver is never restarted; a new one is made.
"""

from enum import IntEnum, StrEnum

from cluster.errors import ClusterError


class Status(IntEnum):
    """State of a driver; the numbers are those of ``mesos.Status``."""

    DRIVER_NOT_STARTED = 1
    DRIVER_RUNNING = 2
    DRIVER_ABORTED = 3
    DRIVER_STOPPED = 4


class Control(StrEnum):
    """A control call of the driver interface; OTHER stands for every call that sends something."""

    START = "start"
    STOP = "stop"
    ABORT = "abort"
    JOIN = "join"
    OTHER = "other"


class DriverMisuse(ClusterError):
    """The program uses a driver in a way its interface forbids (the caller's fault)."""


_NOT_STARTED, _RUNNING = Status.DRIVER_NOT_STARTED, Status.DRIVER_RUNNING
_ABORTED, _STOPPED = Status.DRIVER_ABORTED, Status.DRIVER_STOPPED

TRANSITIONS: dict[tuple[Status, Control], tuple[Status, Status]] = {
    # (state, call): (next state, what the call returns)
    (_NOT_STARTED, Control.START): (_RUNNING, _RUNNING),
    (_NOT_STARTED, Control.STOP): (_NOT_STARTED, _NOT_STARTED),
    (_NOT_STARTED, Control.ABORT): (_NOT_STARTED, _NOT_STARTED),
    (_NOT_STARTED, Control.JOIN): (_NOT_STARTED, _NOT_STARTED),
    (_NOT_STARTED, Control.OTHER): (_NOT_STARTED, _NOT_STARTED),
    (_RUNNING, Control.START): (_RUNNING, _RUNNING),
    (_RUNNING, Control.STOP): (_STOPPED, _STOPPED),
    (_RUNNING, Control.ABORT): (_ABORTED, _ABORTED),
    (_RUNNING, Control.JOIN): (_RUNNING, _RUNNING),
    (_RUNNING, Control.OTHER): (_RUNNING, _RUNNING),
    (_ABORTED, Control.START): (_ABORTED, _ABORTED),
    (_ABORTED, Control.STOP): (_STOPPED, _ABORTED),
    (_ABORTED, Control.ABORT): (_ABORTED, _ABORTED),
    (_ABORTED, Control.JOIN): (_ABORTED, _ABORTED),
    (_ABORTED, Control.OTHER): (_ABORTED, _ABORTED),
    (_STOPPED, Control.START): (_STOPPED, _STOPPED),
    (_STOPPED, Control.STOP): (_STOPPED, _STOPPED),
    (_STOPPED, Control.ABORT): (_STOPPED, _STOPPED),
    (_STOPPED, Control.JOIN): (_STOPPED, _STOPPED),
    (_STOPPED, Control.OTHER): (_STOPPED, _STOPPED),
}


class DriverLife:
    """Holds the state of one driver. Not thread-safe: the owner brings the lock if it needs one."""

    __slots__ = ("status",)

    def __init__(self) -> None:
        self.status = Status.DRIVER_NOT_STARTED

    @property
    def is_running(self) -> bool:
        return self.status is Status.DRIVER_RUNNING

    def take(self, control: Control) -> Status:
        """Make the step of ``control`` and return what the call answers to the user."""
        self.status, answer = TRANSITIONS[self.status, control]
        return answer


__all__ = ["TRANSITIONS", "Control", "DriverLife", "DriverMisuse", "Status"]
