"""The conformance suite over TCP, the in-process network and the simulated one."""

import asyncio
import socket

import pytest
import uvloop

from actorproc import Address, InProcessNetwork, Runtime, TcpTransport
from actorproc.testing import Conditions, Constant, LongTail, SimulatedNetwork, run_simulation
from actorproc.testing.conformance import ConformanceNetwork, TransportConformance


class Tcp(ConformanceNetwork):
    def __init__(self):
        super().__init__()
        # Bound and not listening: nobody else takes the port, and connecting to it is refused.
        bound = self.stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        self.unreachable = Address(*bound.getsockname())

    def transport(self, at=None):
        return TcpTransport("127.0.0.1", at.port if at else 0)


class InProcess(ConformanceNetwork):
    unreachable = Address("10.0.0.99", 5050)

    def __init__(self, network=None):
        super().__init__()
        self.network = network or InProcessNetwork()
        self.made = 0

    def transport(self, at=None):
        self.made += 1
        return self.network.transport(*(at or (f"10.0.0.{self.made}", 5050)))


class Simulated(InProcess):
    def make_runtime(self, transport):
        return Runtime(transport, clock=self.network.clock, seed=1)


def over(make_network, play):
    async def main(*_):
        async with make_network() as network:
            await play(network)

    return main


class TestTcp(TransportConformance):
    def run(self, play):
        asyncio.run(over(Tcp, play)())


class TestTcpOnUvloop(TransportConformance):
    def run(self, play):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(over(Tcp, play)())


class TestInProcess(TransportConformance):
    def run(self, play):
        asyncio.run(over(InProcess, play)())


class TestSimulated(TransportConformance):
    """Several seeds: latencies and the order of what is ready differ, the promises do not."""

    @pytest.fixture(params=range(5), autouse=True)
    def _seed(self, request):
        self.seed = request.param

    def run(self, play):
        async def main(simulation):
            async with Simulated(simulation.network) as network:
                await play(network)

        run_simulation(main, self.seed, conditions=Conditions(latency_s=LongTail(0.005, 1.0)))


class TestSimulatedNetworkInRealTime(TransportConformance):
    """The simulated network needs no simulated loop: any clock will do."""

    def run(self, play):
        from actorproc import RealClock

        conditions = Conditions(latency_s=Constant(0.0001))

        def make_network():
            return Simulated(SimulatedNetwork(1, RealClock(), conditions=conditions))

        asyncio.run(over(make_network, play)())
