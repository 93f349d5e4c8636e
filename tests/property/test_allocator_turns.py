"""Nobody is kept from an agent by others that refuse it: the bound on starvation.

Frameworks with any shares refuse all they are offered, each after a time of its own and for a time
of its own. Whoever is offered an agent again had to wait until everybody else that could have taken
it meanwhile had his turn; so between two turns of one framework there is at most one of each other.
"""

import random
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings

from cluster.core.allocator import (
    AgentAdded,
    Allocation,
    AllocatorOptions,
    FrameworkAdded,
    HierarchicalAllocator,
    IntervalElapsed,
    ResourcesRecovered,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources

INTERVAL_S = 1.0
SECONDS = 60
FULL = Resources.parse("cpus:4;mem:4096;ports:[1-9]")
HOLDING = AgentId("holding")
"""An agent on which everybody holds what gives him his share."""


@dataclass(frozen=True)
class Habits:
    """How a framework refuses: after how many intervals, for how long; and what it holds."""

    answers_after: int
    refuse_s: float
    cpus: int
    role: str


@dataclass
class Turns:
    """What one agent went through."""

    offered: dict[str, float] = field(default_factory=dict)
    """Framework to the time of its last offer."""
    free_again_s: dict[str, float] = field(default_factory=dict)
    """Framework to the time at which its last refusal ends."""
    since: dict[str, set[str]] = field(default_factory=dict)
    """Framework to who was offered the agent since it was."""
    passed_by: dict[str, list[str]] = field(default_factory=dict)
    """Framework to who was offered the agent since it was, when it could have taken it."""


habits = st.builds(
    Habits,
    answers_after=st.integers(0, 2),
    refuse_s=st.sampled_from([0.0, 1.0, 2.5, 5.0, 8.0]),
    cpus=st.integers(1, 9),
    role=st.sampled_from(["a", "a/x", "b"]),
)


class World:
    def __init__(self, frameworks: list[Habits], agents: int) -> None:
        self.habits = {f"f{n}": habit for n, habit in enumerate(frameworks)}
        self.allocator = HierarchicalAllocator(AllocatorOptions(), random.Random(1))
        self.now_s = 0.0
        used = []
        for name, habit in self.habits.items():
            self.tell(FrameworkAdded(FrameworkId(name), (habit.role,)))
            used.append((FrameworkId(name), habit.role, Resources.parse(f"cpus:{habit.cpus}")))
        held = sum(habit.cpus for habit in frameworks)
        self.tell(AgentAdded(HOLDING, Resources.parse(f"cpus:{held}"), tuple(used)))
        self.turns = {}
        for n in range(agents):
            self.turns[f"s{n}"] = Turns()
            self.tell(AgentAdded(AgentId(f"s{n}"), FULL))
        self.open: list[tuple[float, Allocation]] = []

    def tell(self, event) -> None:
        self.allocator.handle(event, self.now_s)

    def live(self) -> None:
        self.run()
        for _ in range(SECONDS):
            self.now_s += INTERVAL_S
            for due in [entry for entry in self.open if entry[0] <= self.now_s]:
                self.open.remove(due)
                self.refuse(due[1])
                self.run()
            self.tell(IntervalElapsed())
            self.run()
            self.allocator.check_invariants()

    def refuse(self, offer: Allocation) -> None:
        refuse_s = self.habits[offer.framework_id].refuse_s
        self.turns[offer.agent_id].free_again_s[offer.framework_id] = self.now_s + max(
            INTERVAL_S, refuse_s
        )
        self.tell(
            ResourcesRecovered(
                offer.framework_id, offer.role, offer.agent_id, offer.resources, refuse_s
            )
        )

    def run(self) -> None:
        for offer in self.allocator.allocate(self.now_s):
            self.check(offer)
            after_s = self.habits[offer.framework_id].answers_after * INTERVAL_S
            self.open.append((self.now_s + after_s, offer))

    def check(self, offer: Allocation) -> None:
        turns = self.turns[offer.agent_id]
        name = offer.framework_id
        passed_by = turns.passed_by.get(name, [])
        assert len(passed_by) == len(set(passed_by)), f"{name} waited while others came twice"
        if name in turns.offered:
            for other in self.habits.keys() - {name}:
                could_take = turns.free_again_s.get(other, 0.0) <= self.now_s
                assert not could_take or other in turns.since[name], f"{name} came before {other}"
        for other in turns.offered.keys() - {name}:
            turns.since[other].add(name)
            if turns.free_again_s.get(other, 0.0) <= self.now_s:
                turns.passed_by[other].append(name)
        turns.offered[name] = self.now_s
        turns.since[name] = set()
        turns.passed_by[name] = []


@settings(max_examples=40, deadline=None)
@given(
    frameworks=st.lists(habits, min_size=2, max_size=8),
    agents=st.integers(1, 3),
)
def test_every_framework_has_its_turn(frameworks, agents):
    world = World(frameworks, agents)
    world.live()
    # Each turn lasts at most two intervals, and each refusal at most eight seconds.
    within_s = 2 * INTERVAL_S * len(frameworks) + 8.0 + INTERVAL_S
    for turns in world.turns.values():
        assert turns.offered.keys() == world.habits.keys()
        assert min(turns.offered.values()) >= world.now_s - within_s
