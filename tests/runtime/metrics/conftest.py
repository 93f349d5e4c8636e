"""The endpoint is tried on both event loops that programs use."""

import asyncio

import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)  # older versions of pytest-asyncio do without
def pytest_asyncio_loop_factories(item):
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.stem == "test_endpoint":
        factories["uvloop"] = uvloop.new_event_loop
    return factories
