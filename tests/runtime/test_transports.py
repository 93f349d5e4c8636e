"""The conformance suite over TCP and over the in-process network."""

import contextlib
import socket

import pytest_asyncio

from actorproc import Address, InProcessNetwork, Runtime, TcpTransport
from tests.runtime.conformance import TransportConformance


class Network:
    """Starts runtimes that reach each other; stops them at the end."""

    def __init__(self, stack):
        self.stack = stack

    def transport(self, at=None):
        raise AssertionError("a subclass decides")

    async def runtime(self, at=None):
        return await self.stack.enter_async_context(Runtime(self.transport(at)))


class Tcp(Network):
    def __init__(self, stack):
        super().__init__(stack)
        # Bound and not listening: nobody else takes the port, and connecting to it is refused.
        bound = stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        self.unreachable = Address(*bound.getsockname())

    def transport(self, at=None):
        return TcpTransport("127.0.0.1", at.port if at else 0)


class InProcess(Network):
    unreachable = Address("10.0.0.99", 5050)

    def __init__(self, stack):
        super().__init__(stack)
        self.network = InProcessNetwork()
        self.made = 0

    def transport(self, at=None):
        self.made += 1
        return self.network.transport(*(at or (f"10.0.0.{self.made}", 5050)))


class TestTcp(TransportConformance):
    @pytest_asyncio.fixture
    async def network(self):
        async with contextlib.AsyncExitStack() as stack:
            yield Tcp(stack)


class TestInProcess(TransportConformance):
    @pytest_asyncio.fixture
    async def network(self):
        async with contextlib.AsyncExitStack() as stack:
            yield InProcess(stack)
