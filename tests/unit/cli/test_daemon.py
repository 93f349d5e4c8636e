"""Parts of a daemon's life that need no process."""

import pytest

from cluster.daemon import listening_ip
from cluster.daemon_flags import DaemonConfig
from cluster.errors import InvalidInput


def config(**given):
    return DaemonConfig(work_dir="/w", **given)


def test_the_address_is_loopback_unless_named():
    assert listening_ip(config()) == "127.0.0.1"
    assert listening_ip(config(ip="0.0.0.0")) == "0.0.0.0"


def test_a_command_can_find_the_address():
    assert listening_ip(config(ip_discovery_command="echo ' 10.0.0.7 '")) == "10.0.0.7"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ip_discovery_command": "echo x", "ip": "10.0.0.1"}, "together with --ip"),
        ({"ip_discovery_command": "exit 3"}, "must end with status 0, not 3"),
        ({"ip_discovery_command": "echo localhost"}, "must print an IPv4 address, not 'localhost"),
    ],
)
def test_a_command_that_does_not_is_refused(given, says):
    with pytest.raises(InvalidInput) as caught:
        listening_ip(config(**given))
    assert caught.value.field == "--ip_discovery_command"
    assert says in caught.value.rule


def test_a_command_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr("cluster.daemon.DISCOVERY_TIMEOUT_S", 0.05)
    with pytest.raises(InvalidInput, match="timed out"):
        listening_ip(config(ip_discovery_command="exec sleep 60"))
