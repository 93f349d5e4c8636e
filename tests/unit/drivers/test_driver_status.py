"""The state table of both drivers, complete."""

import pytest

from cluster.core.driver_status import TRANSITIONS, Control, DriverLife, Status

NOT_STARTED, RUNNING = Status.DRIVER_NOT_STARTED, Status.DRIVER_RUNNING
ABORTED, STOPPED = Status.DRIVER_ABORTED, Status.DRIVER_STOPPED

# (state, call, what it returns, state afterwards), drivers.md §2
TABLE = [
    (NOT_STARTED, Control.START, RUNNING, RUNNING),
    (NOT_STARTED, Control.STOP, NOT_STARTED, NOT_STARTED),
    (NOT_STARTED, Control.ABORT, NOT_STARTED, NOT_STARTED),
    (NOT_STARTED, Control.JOIN, NOT_STARTED, NOT_STARTED),
    (NOT_STARTED, Control.OTHER, NOT_STARTED, NOT_STARTED),
    (RUNNING, Control.START, RUNNING, RUNNING),
    (RUNNING, Control.STOP, STOPPED, STOPPED),
    (RUNNING, Control.ABORT, ABORTED, ABORTED),
    (RUNNING, Control.JOIN, RUNNING, RUNNING),
    (RUNNING, Control.OTHER, RUNNING, RUNNING),
    (ABORTED, Control.START, ABORTED, ABORTED),
    (ABORTED, Control.STOP, ABORTED, STOPPED),
    (ABORTED, Control.ABORT, ABORTED, ABORTED),
    (ABORTED, Control.JOIN, ABORTED, ABORTED),
    (ABORTED, Control.OTHER, ABORTED, ABORTED),
    (STOPPED, Control.START, STOPPED, STOPPED),
    (STOPPED, Control.STOP, STOPPED, STOPPED),
    (STOPPED, Control.ABORT, STOPPED, STOPPED),
    (STOPPED, Control.JOIN, STOPPED, STOPPED),
    (STOPPED, Control.OTHER, STOPPED, STOPPED),
]


@pytest.mark.parametrize(("state", "call", "answer", "after"), TABLE)
def test_every_state_and_call(state, call, answer, after):
    life = DriverLife()
    life.status = state

    assert life.take(call) is answer
    assert life.status is after


def test_the_table_names_every_pair_once():
    assert set(TRANSITIONS) == {(state, call) for state in Status for call in Control}
    assert len(TABLE) == len(TRANSITIONS)


def test_the_numbers_are_those_of_the_protocol():
    from cluster.wire.pb import mesos_pb2 as mesos

    assert {status.name: int(status) for status in Status} == dict(mesos.Status.items())
