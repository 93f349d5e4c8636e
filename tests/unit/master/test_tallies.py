"""Every call of a scheduler is counted under its name."""

from typing import get_args

from cluster.core.master.tallies import CALL_NAMES
from cluster.model.calls import Call, Deactivate, UnsupportedCall


def test_every_call_has_a_name():
    uncounted = {Deactivate, UnsupportedCall}  # no call of its own; named by itself
    assert {*get_args(Call)} - uncounted == {*CALL_NAMES}
