"""Program that becomes another one once its parent says so; run by `actorproc.os_processes.start`.

    launcher.py <json> <executable> <argument 0> ...

It arranges to die with its parent if asked to, waits for one byte, and executes the program. It
reports on a descriptor: one byte before it executes, then the error number if that failed; a
program that runs has closed the descriptor without a number. It stands alone: it imports nothing of
the library and as little else as it can, to start quickly.
"""

import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_STARTED = 127  # as shells say "not found"
EXIT_PARENT_GONE = 126


def main() -> None:
    """Do what the arguments say; does not return."""
    wanted = json.loads(sys.argv[1])
    executable, arguments = sys.argv[2], sys.argv[3:]
    try:
        if wanted["parent_pid"]:
            _die_with(wanted["parent_pid"])
        if os.read(wanted["go_fd"], 1) != b"g":  # end of file: the parent gave up, or is gone
            os._exit(EXIT_PARENT_GONE)
        os.close(wanted["go_fd"])
        os.set_inheritable(wanted["report_fd"], False)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        os.write(wanted["report_fd"], b"e")
        os.execvpe(executable, arguments, _environment(wanted["lc_ctype"]))
    except OSError as error:
        os.write(wanted["report_fd"], str(error.errno or 0).encode())
    os._exit(EXIT_NOT_STARTED)


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill us when the parent ends."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:  # it ended before the kernel knew
        os._exit(EXIT_PARENT_GONE)


def _environment(lc_ctype: str | None) -> dict[str, str]:
    """What the parent gave us: Python itself may have set LC_CTYPE (PEP 538)."""
    environment = dict(os.environ)
    environment.pop("LC_CTYPE", None)
    if lc_ctype is not None:
        environment["LC_CTYPE"] = lc_ctype
    return environment


if __name__ == "__main__":
    main()
