"""The conformance suite fails transports that break a promise."""

import asyncio

import pytest

from actorproc import Address, InProcessNetwork, InProcessTransport
from actorproc.testing.conformance import ConformanceNetwork, TransportConformance


class Faulty(InProcessTransport):
    """Does what its class attributes say."""

    doubles = reorders = loses_links = keeps_mutable = tells_too_much = False
    _held = None

    def send(self, sender, to, name, body, headers=None):
        super_send = super().send
        if self.reorders and name == "m" and body == b"7":
            self._held = (sender, to, name, body, headers)
            return
        super_send(sender, to, name, body, headers)
        if self.doubles:
            super_send(sender, to, name, body, headers)
        if self._held is not None:
            held, self._held = self._held, None
            super_send(*held)

    def link(self, address, *, reconnect=False):
        if self.loses_links:
            return
        super().link(address, reconnect=reconnect)
        if self.tells_too_much and reconnect:
            asyncio.get_running_loop().call_soon(self.lose, address)


class Network(ConformanceNetwork):
    unreachable = Address("10.0.0.99", 5050)
    kind = Faulty

    def __init__(self):
        super().__init__()
        self.network = InProcessNetwork()
        self.made = 0

    def transport(self, at=None):
        self.made += 1
        return self.kind(self.network, at or Address(f"10.0.0.{self.made}", 5050))


def suite(**faults):
    """The suite over a transport with these faults."""
    kind = type("Kind", (Faulty,), faults)

    class Suite(TransportConformance):
        def run(self, play):
            async def main():
                network = Network()
                network.kind = kind
                async with network:
                    await play(network)

            asyncio.run(main())

    return Suite()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    import functools

    from actorproc.testing import conformance, waiting

    monkeypatch.setattr(
        conformance, "eventually", functools.partial(waiting.eventually, within_s=0.2)
    )


def test_a_sound_transport_passes():
    suite().test_each_message_arrives_at_most_once()
    suite().test_order_from_one_sender_to_one_receiver(linked=True)


@pytest.mark.parametrize(
    ("fault", "name", "fixtures"),
    [
        ("doubles", "test_each_message_arrives_at_most_once", {}),
        ("reorders", "test_order_from_one_sender_to_one_receiver", {"linked": False}),
        ("loses_links", "test_the_end_of_a_peer_is_heard_once_per_linked_pid", {}),
        ("loses_links", "test_a_peer_that_cannot_be_reached_is_heard_of", {}),
        ("tells_too_much", "test_reconnect_loses_nothing_queued_and_tells_nobody", {}),
    ],
)
def test_a_broken_promise_is_caught(fault, name, fixtures):
    with pytest.raises(AssertionError):
        getattr(suite(**{fault: True}), name)(**fixtures)
