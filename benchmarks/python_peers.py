"""Other Python actor libraries doing the same local work; each is skipped when not installed.

Every function takes how much work to do and returns units a second, measured by the library's own
ordinary means: pykka's threads, thespian's simple system, xoscar's in-process pool.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any

RING = 1000


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def pykka_asks(count: int) -> float:
    import pykka

    class Echo(pykka.ThreadingActor):
        def on_receive(self, message: object) -> object:
            return message

    actor = Echo.start()
    start_s = time.perf_counter()
    for number in range(count):
        actor.ask(number)
    took_s = time.perf_counter() - start_s
    actor.stop()
    return count / took_s


def pykka_tells(count: int) -> float:
    import pykka

    done = threading.Event()

    class Counter(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.left = count

        def on_receive(self, message: object) -> None:
            self.left -= 1
            if self.left == 0:
                done.set()

    actor = Counter.start()
    start_s = time.perf_counter()
    for _ in range(count):
        actor.tell("m")
    done.wait()
    took_s = time.perf_counter() - start_s
    actor.stop()
    return count / took_s


def pykka_ring(hops: int) -> float:
    import pykka

    done = threading.Event()

    class Node(pykka.ThreadingActor):
        following: pykka.ActorRef[Any] | None = None

        def on_receive(self, message: Any) -> None:
            if not isinstance(message, int):
                self.following = message
            elif message == 0:
                done.set()
            elif self.following is not None:
                self.following.tell(message - 1)

    nodes = [Node.start() for _ in range(RING)]
    for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.tell(following)
    start_s = time.perf_counter()
    nodes[0].tell(hops)
    done.wait()
    took_s = time.perf_counter() - start_s
    pykka.ActorRegistry.stop_all()
    return hops / took_s


def pykka_spawns(count: int) -> float:
    import pykka

    class Idle(pykka.ThreadingActor):
        pass

    start_s = time.perf_counter()
    actors = [Idle.start() for _ in range(count)]
    for actor in actors:
        actor.stop()
    return count / (time.perf_counter() - start_s)


def thespian_asks(count: int) -> float:
    from thespian.actors import Actor, ActorSystem

    class Echo(Actor):
        def receiveMessage(self, message: object, sender: object) -> None:
            self.send(sender, message)

    system = ActorSystem("simpleSystemBase")
    actor = system.createActor(Echo)
    start_s = time.perf_counter()
    for number in range(count):
        system.ask(actor, number)
    took_s = time.perf_counter() - start_s
    system.shutdown()
    return count / took_s


def xoscar_asks(count: int) -> float:
    return asyncio.run(_xoscar_asks(count))


async def _xoscar_asks(count: int) -> float:
    import xoscar

    class Echo(xoscar.Actor):
        def echo(self, value: int) -> int:
            return value

    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    async with pool:
        actor = await xoscar.create_actor(Echo, address=pool.external_address)
        start_s = time.perf_counter()
        for number in range(count):
            await actor.echo(number)
        took_s = time.perf_counter() - start_s
    return count / took_s


# figure → (package, measure, how much)
PEERS: dict[str, tuple[str, Callable[[int], float], int]] = {
    "pykka ask": ("pykka", pykka_asks, 5_000),
    "pykka tell": ("pykka", pykka_tells, 50_000),
    "pykka ring": ("pykka", pykka_ring, 20_000),
    "pykka spawn + terminate": ("pykka", pykka_spawns, 1_000),
    "thespian ask": ("thespian", thespian_asks, 2_000),
    "xoscar ask": ("xoscar", xoscar_asks, 5_000),
}

__all__ = ["PEERS", "RING", "is_installed"]
