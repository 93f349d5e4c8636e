"""Helpers for child processes and descriptors are tried on both event loops that programs use."""

import asyncio

import pytest
import uvloop

uvloop.new_event_loop().close()  # the first one opens a pipe that nobody closes


@pytest.hookimpl(optionalhook=True)  # older versions of pytest-asyncio do without
def pytest_asyncio_loop_factories(item):
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.stem.startswith("test_subprocess_helpers"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
