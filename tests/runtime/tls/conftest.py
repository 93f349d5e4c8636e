"""TLS is tried on both event loops, with certificates of an authority made for the tests."""

import asyncio

import pytest
import trustme
import uvloop

from tests.runtime.tls.support import Authority


@pytest.hookimpl(optionalhook=True)  # older versions of pytest-asyncio do without
def pytest_asyncio_loop_factories(item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Trusted by everybody here."""
    return Authority(trustme.CA(), tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """An authority that nobody trusts."""
    return Authority(trustme.CA(), tmp_path_factory.mktemp("stranger"))
