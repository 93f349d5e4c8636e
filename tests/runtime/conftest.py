"""What the tests of the runtime share: two event loops, and an eye on failures nobody awaits."""

import asyncio

import pytest
import uvloop

_OVER_TCP = {"test_http", "test_tcp_receive", "test_tcp_send", "test_transports"}


@pytest.hookimpl(optionalhook=True)  # older versions of pytest-asyncio do without
def pytest_asyncio_loop_factories(item):
    """Sockets are tried on both event loops that programs use; daemons run on uvloop."""
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in _OVER_TCP:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def _no_failed_callback(caplog):
    """Asyncio only logs what fails in a callback."""
    yield
    failed = [
        record.getMessage()
        for when in ("setup", "call", "teardown")
        for record in caplog.get_records(when)
        if record.name == "asyncio" and record.levelname in ("WARNING", "ERROR")
    ]
    assert not failed
