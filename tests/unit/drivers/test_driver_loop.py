"""Where a classic driver listens."""

import pytest

from actorproc import PID
from cluster.driver_loop import transport_towards
from cluster.errors import InvalidInput

LOOPBACK_MASTER = PID("master", "127.0.0.1", 5050)


def bound(transport):
    return transport._bind, transport._advertise_ip, transport._advertise_port


def test_by_default_the_address_used_towards_the_peer_and_any_port():
    assert bound(transport_towards(LOOPBACK_MASTER)) == (("127.0.0.1", 0), None, None)
    assert bound(transport_towards(None)) == (("127.0.0.1", 0), None, None)


def test_the_variables_decide(monkeypatch):
    monkeypatch.setenv("LIBPROCESS_IP", "0.0.0.0")
    monkeypatch.setenv("LIBPROCESS_PORT", "6000")
    monkeypatch.setenv("LIBPROCESS_ADVERTISE_IP", "192.0.2.1")
    monkeypatch.setenv("LIBPROCESS_ADVERTISE_PORT", "7000")
    assert bound(transport_towards(LOOPBACK_MASTER)) == (("0.0.0.0", 6000), "192.0.2.1", 7000)


@pytest.mark.parametrize("name", ["LIBPROCESS_PORT", "LIBPROCESS_ADVERTISE_PORT"])
@pytest.mark.parametrize("value", ["x", "-1", "65536", "", "٣"])
def test_a_port_that_is_none_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=name):
        transport_towards(LOOPBACK_MASTER)
