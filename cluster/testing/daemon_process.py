"""One master or agent as a child process, supervised over a socket pair.

The child gets one end (``--supervisor_fd``): it writes its address there once it listens, so that
waiting for it needs no polling, and it shuts down in good order when our end closes. As the system
closes our end when we die, ``kill -9`` of the supervisor leaves nothing behind either.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LOG_LINES_SHOWN = 20
ADDRESS_BYTES_MAX = 256
EXIT_STATUS_TIMEOUT_S = 1.0
# What the caller's shell sets for itself must not change a cluster whose flags are all explicit.
_FOREIGN_VARIABLES = ("MESOS_", "LIBPROCESS_")


class DaemonFailed(Exception):
    """A daemon did not start, or ended early; the text shows the end of its log."""


class DaemonProcess:
    """A running daemon.

    Args:
        name: for messages and the log file: ``master``, ``agent-1``, ...
        module: what ``python -m`` runs, e.g. ``cluster.agent``.
        flags: flag name -> text; ``work_dir`` is among them.
        log_path: file that gets everything the daemon prints, appended.
        environment: added to ours.
    """

    def __init__(
        self,
        name: str,
        module: str,
        flags: Mapping[str, str],
        log_path: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.module = module
        self.flags = dict(flags)
        self.log_path = log_path
        self.address = ""
        ours, theirs = socket.socketpair()
        arguments = [f"--{flag}={text}" for flag, text in flags.items()]
        with theirs, log_path.open("ab") as log:
            self._supervision = ours
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, f"--supervisor_fd={theirs.fileno()}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_own_environment(), **environment},
                pass_fds=[theirs.fileno()],
                # A session of its own: Ctrl-C reaches the supervisor alone, which stops in order.
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<{self.name} {self.address or 'starting'}, process {self.process.pid}>"

    @property
    def work_dir(self) -> Path:
        return Path(self.flags["work_dir"])

    @property
    def url(self) -> str:
        """Where its HTTP endpoints are, without a slash at the end."""
        return f"http://{self.address}"

    def fileno(self) -> int:
        """For ``select``: readable, once it listens, means that it has ended."""
        return self._supervision.fileno()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until_listening(self, timeout_s: float) -> str:
        """Wait for the address it listens on, ``ip:port``.

        Raises:
            DaemonFailed: it ended before, or did not listen within ``timeout_s`` seconds.
        """
        self._supervision.settimeout(timeout_s)
        told = b""
        try:
            while not told.endswith(b"\n") and (part := self._supervision.recv(ADDRESS_BYTES_MAX)):
                told += part
        except TimeoutError:
            raise DaemonFailed(self.story(f"did not listen within {timeout_s:g} s")) from None
        except ConnectionError:
            told = b""
        if not told.endswith(b"\n"):
            raise DaemonFailed(self.story_of_end("ended before it listened"))
        self.address = told.decode().strip()
        return self.address

    def story_of_end(self, what: str) -> str:
        """The same for one whose socket has closed: its exit status follows at once."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(EXIT_STATUS_TIMEOUT_S)
        return self.story(what)

    def story(self, what: str) -> str:
        """What happened, with the exit status if there is one and the end of the log."""
        status = self.process.poll()
        ended = "" if status is None else f" (exit status {status})"
        return f"{self.name} {what}{ended}; the end of {self.log_path}:\n{self.log_tail()}"

    def log_tail(self) -> str:
        """The last lines of its log, indented."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join(f"    {line}" for line in lines) or "    (nothing)"

    def kill(self) -> None:
        """``kill -9``, and wait for the end."""
        self.process.kill()
        self.process.wait()
        self._supervision.close()

    def ask_to_stop(self) -> None:
        """Let it shut down in good order; an agent ends its executors first."""
        self._supervision.close()

    def wait_stopped(self, timeout_s: float) -> int:
        """Wait for the end after ``ask_to_stop``; a daemon that does not end in time is killed.

        Returns:
            The exit status, -9 for one that had to be killed.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            return self.process.wait()


def _own_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_VARIABLES)
    }


__all__ = ["DaemonFailed", "DaemonProcess"]
