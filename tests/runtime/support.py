"""Actors and helpers for tests of the runtime. Everything waits on a condition with a deadline."""

import asyncio
import time

from actorproc import InProcessNetwork, Process, Runtime, TcpLimits, TcpTransport

DEADLINE_S = 10.0


async def eventually(condition, within_s=DEADLINE_S):
    """Wait until `condition()` is true; returns what it returned."""
    deadline_s = time.monotonic() + within_s
    while not (result := condition()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s} s: {condition}")
        await asyncio.sleep(0.002)
    return result


async def within(awaitable, within_s=DEADLINE_S):
    """Await with a deadline, at once and in this task."""
    async with asyncio.timeout(within_s):
        return await awaitable


class Collector(Process):
    """Writes down every message of the given names, and whose end it hears of."""

    def __init__(self, id="collector", names=("m",), **options):
        super().__init__(id, **options)
        self.names = names
        self.messages = []
        self.exits = []
        self.story = []

    def initialize(self):
        self.story.append("initialize")
        for name in self.names:
            self.install(name, lambda sender, body, name=name: self.collect(name, sender, body))

    def collect(self, name, sender, body):
        self.messages.append((name, sender, body))

    def exited(self, pid):
        self.exits.append(pid)

    def finalize(self):
        self.story.append("finalize")

    @property
    def bodies(self):
        return [body for _, _, body in self.messages]


class Echo(Process):
    """Sends every message `m` back as `echo`."""

    def __init__(self, id="echo"):
        super().__init__(id)

    def initialize(self):
        self.install("m", lambda sender, body: self.send(sender, "echo", body))


def in_process(**options):
    """A runtime alone on a network of its own."""
    return Runtime(InProcessNetwork().transport("10.0.0.1", 5050), **options)


def over_tcp(limits=None, **options):
    """A runtime on a free port of the loopback interface."""
    return Runtime(TcpTransport("127.0.0.1", 0, limits=limits or TcpLimits()), **options)


async def call(runtime, process, fn, *args):
    """Run `fn(*args)` in the process and return what it returns."""
    return await within(runtime.dispatch(process.pid, fn, *args))
