"""actorproc: asyncio actors that speak the wire protocol of libprocess (Apache Mesos).

Example::

    class Greeter(Process):
        def initialize(self):
            self.install("hello", self.on_hello)

        def on_hello(self, sender, body):
            self.send(sender, "welcome", body)

    async with Runtime(TcpTransport(port=5050)) as runtime:
        pid = runtime.spawn(Greeter("greeter"))
        await runtime.wait(pid)
"""

from actorproc.clock import Clock, RealClock, Timer, VirtualClock
from actorproc.codec import JSON, MSGPACK, RAW, Codec, protobuf_codec
from actorproc.environment import EnvironmentSettings, child_environment, read_environment
from actorproc.errors import (
    ActorprocError,
    BrokenTransport,
    ClosedRuntime,
    Deadlock,
    IdTaken,
    InvalidPID,
    InvalidSetting,
    PeerProtocolError,
    ProcessTerminated,
    ProtocolMisuse,
    UnreachableId,
)
from actorproc.events import Headers
from actorproc.introspection import (
    DeadLetter,
    Observer,
    ProcessView,
    Reason,
    current_headers,
)
from actorproc.mailbox import Delivery, MailboxLimit, WhenFull
from actorproc.pid import PID, Address
from actorproc.process import Process
from actorproc.runtime import Runtime
from actorproc.transport.base import Transport, TransportHost
from actorproc.transport.hardened import HardenedLimits
from actorproc.transport.inproc import Envelope, InProcessNetwork, InProcessTransport
from actorproc.transport.tcp import TcpCounters, TcpLimits, TcpTransport
from actorproc.transport.tls import TlsSettings

__version__ = "0.1.0"

__all__ = [
    "JSON",
    "MSGPACK",
    "PID",
    "RAW",
    "ActorprocError",
    "Address",
    "BrokenTransport",
    "Clock",
    "ClosedRuntime",
    "Codec",
    "DeadLetter",
    "Deadlock",
    "Delivery",
    "Envelope",
    "EnvironmentSettings",
    "HardenedLimits",
    "Headers",
    "IdTaken",
    "InProcessNetwork",
    "InProcessTransport",
    "InvalidPID",
    "InvalidSetting",
    "MailboxLimit",
    "Observer",
    "PeerProtocolError",
    "Process",
    "ProcessTerminated",
    "ProcessView",
    "ProtocolMisuse",
    "RealClock",
    "Reason",
    "Runtime",
    "TcpCounters",
    "TcpLimits",
    "TcpTransport",
    "Timer",
    "TlsSettings",
    "Transport",
    "TransportHost",
    "UnreachableId",
    "VirtualClock",
    "WhenFull",
    "child_environment",
    "current_headers",
    "protobuf_codec",
    "read_environment",
]
