"""Tools to test actors with: simulated time and networks, message filters, a conformance suite.

Public API; documented in ``docs/simulation.md``. ``actorproc.testing.conformance`` and
``actorproc.testing.plugin`` need pytest and are imported by name.
"""

from actorproc.testing.bugs import buggified, buggify
from actorproc.testing.conditions import Conditions, Constant, Duration, LongTail, Uniform
from actorproc.testing.faults import (
    Clog,
    Crash,
    Fault,
    FaultPlan,
    Heal,
    HealAll,
    Partition,
    Reset,
    Restart,
    Unclog,
)
from actorproc.testing.filters import (
    CallPattern,
    DroppedByFilter,
    ExitPattern,
    Expectation,
    Held,
    MessageFilters,
    MessagePattern,
    Observed,
    SeenCall,
    SeenExit,
    SeenMessage,
    inject_exited,
)
from actorproc.testing.simloop import (
    RealIoRefused,
    SimulatedClock,
    SimulatedLoop,
    SimulationDeadlock,
    SimulationError,
    SimulationLivelock,
    SimulationTooLong,
)
from actorproc.testing.simnet import SimulatedNetwork, SimulatedTransport
from actorproc.testing.simulation import LeakedTasks, Simulation, run_simulation
from actorproc.testing.trace import Trace, TraceEvent, delivery_violations
from actorproc.testing.waiting import eventually

__all__ = [
    "CallPattern",
    "Clog",
    "Conditions",
    "Constant",
    "Crash",
    "DroppedByFilter",
    "Duration",
    "ExitPattern",
    "Expectation",
    "Fault",
    "FaultPlan",
    "Heal",
    "HealAll",
    "Held",
    "LeakedTasks",
    "LongTail",
    "MessageFilters",
    "MessagePattern",
    "Observed",
    "Partition",
    "RealIoRefused",
    "Reset",
    "Restart",
    "SeenCall",
    "SeenExit",
    "SeenMessage",
    "SimulatedClock",
    "SimulatedLoop",
    "SimulatedNetwork",
    "SimulatedTransport",
    "Simulation",
    "SimulationDeadlock",
    "SimulationError",
    "SimulationLivelock",
    "SimulationTooLong",
    "Trace",
    "TraceEvent",
    "Unclog",
    "Uniform",
    "buggified",
    "buggify",
    "delivery_violations",
    "eventually",
    "inject_exited",
    "run_simulation",
]
