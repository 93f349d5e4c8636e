"""Sockets are tried on both event loops."""

import asyncio

import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)  # older versions of pytest-asyncio do without
def pytest_asyncio_loop_factories(item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
