"""What a master counts."""

from typing import get_args

from cluster.core.master.tallies import CALL_NAMES
from cluster.model.calls import Call, Deactivate, UnsupportedCall


def test_every_call_has_a_name_to_be_counted_by():
    counted_elsewhere = {UnsupportedCall, Deactivate}
    assert set(get_args(Call)) - counted_elsewhere == set(CALL_NAMES)
