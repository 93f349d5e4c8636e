"""What every test gets: a clean environment, and a look at what it leaves running."""

import os
import time

import psutil
import pytest
from hypothesis import settings

LEFTOVER_TIMEOUT_S = 10.0
_FOREIGN_VARIABLES = ("MESOS_", "LIBPROCESS_")
_KEPT_VARIABLES = ("MESOS_FIXTURES",)

# A busy machine makes examples slow, not wrong.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def _no_foreign_flags(monkeypatch):
    """Variables of the caller's shell are flags of daemons and drivers: tests set their own."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN_VARIABLES) and name not in _KEPT_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_process_left(request):
    """A test that starts processes fails when one of them outlives it.

    Those that were there before belong to a fixture of wider scope.
    """
    if request.node.get_closest_marker("process") is None:
        yield
        return
    before = _children()
    yield
    deadline_s = time.monotonic() + LEFTOVER_TIMEOUT_S
    while (left := _children() - before) and time.monotonic() < deadline_s:
        psutil.wait_procs(left, timeout=0.05)
    said = [f"{each.pid} {' '.join(_command_line(each))}" for each in left]
    for each in left:
        each.kill()
    assert not said, f"left running: {said}"


def _children():
    return set(psutil.Process().children(recursive=True))


def _command_line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return ["(ended)"]
