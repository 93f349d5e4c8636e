"""The laws of dominant resource fairness, on the production allocator.

Clusters of equal agents are filled task by task (see ``law_world``). What divisible tasks would
get is known exactly (``drf_oracle.divide``); the production allocator hands out whole tasks on
whole agents, so it may be off by a *grain*: one largest task on every agent, which may not fit
there any more, and one for each client, for the order in which the last ones were served. Laws are
stated up to the grain, or exactly where they are exact.

Source: Ghodsi et al., NSDI 2011, §3 and §6; allocator.md §8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import assume, example, given, settings

from tests.property.drf_oracle import Vector, divide, dominant_share, fill, fits
from tests.property.law_world import TaskByTask

NAMES = ("cpus", "mem", "disk")
CLIENTS = ("a", "b", "c", "d")
TREE = ("a", "a/x", "a/y", "a/x/p", "b", "b/z", "c")
TASK_MAX = 4
"""Most of one resource that a task takes."""
SIZES = {1: (100, 180), 3: (40, 70), 8: (20, 35)}
"""Number of agents -> least and most largest tasks that one has room for; grain at most 8 %."""

laws = settings(max_examples=25, deadline=None)
weight_values = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3)])


@dataclass(frozen=True)
class Case:
    """A cluster of equal agents and who wants it."""

    agent: Vector
    agents: int
    demands: Mapping[str, Vector]
    weights: Mapping[str, Fraction]
    seed: int

    @property
    def capacity(self) -> Vector:
        return {name: amount * self.agents for name, amount in self.agent.items()}

    def share(self, client: str, tasks: Fraction | int) -> Fraction:
        return tasks * dominant_share(self.capacity, self.demands[client])

    @property
    def grain(self) -> Fraction:
        """See the module; as a part of the cluster."""
        largest = max(dominant_share(self.capacity, d) for d in self.demands.values())
        return (self.agents + len(self.demands)) * largest

    def most_instead_of_one(self, client: str) -> int:
        """How many of its tasks may run where one of another does not fit any more."""
        return max(
            -(-max(other[name] for other in self.demands.values()) // amount)
            for name, amount in self.demands[client].items()
            if amount
        )

    def world(self, demands: Mapping[str, Vector] | None = None) -> TaskByTask:
        demands = demands or self.demands
        agents = [self.agent] * self.agents
        return TaskByTask(agents, demands, weights=self.weights, seed=self.seed)


def vectors(names: tuple[str, ...], *, at_least: int = 0) -> st.SearchStrategy[Vector]:
    amounts = st.fixed_dictionaries({name: st.integers(at_least, TASK_MAX) for name in names})
    return amounts.filter(lambda vector: any(vector.values()))


@st.composite
def cases(
    draw, *, has_weights: bool = False, resources: int | None = None, at_least: int = 0
) -> Case:
    names = NAMES[: resources or draw(st.integers(1, 3))]
    clients = CLIENTS[: draw(st.integers(2, 4))]
    weights = {client: draw(weight_values) for client in clients} if has_weights else {}
    agents = draw(st.sampled_from(sorted(SIZES)))
    return Case(
        agent={name: draw(st.integers(*SIZES[agents])) * TASK_MAX for name in names},
        agents=agents,
        demands={client: draw(vectors(names, at_least=at_least)) for client in clients},
        weights=weights,
        seed=draw(st.integers(0, 99)),
    )


def fitting_tasks(bundle: Vector, demand: Vector) -> Fraction:
    """How many tasks, in parts, a bundle of resources is good for."""
    return min(Fraction(bundle.get(name, 0), amount) for name, amount in demand.items() if amount)


def times(tasks: int, demand: Vector) -> Vector:
    return {name: tasks * amount for name, amount in demand.items()}


# Against the oracles


SEVERAL_FIT_WHERE_ONE_DOES_NOT = Case(
    agent={"cpus": 80, "mem": 80},
    agents=8,
    demands={"a": {"cpus": 3, "mem": 0}, "b": {"cpus": 1, "mem": 4}},
    weights={"a": Fraction(1), "b": Fraction(1, 2)},
    seed=0,
)


@laws
@example(SEVERAL_FIT_WHERE_ONE_DOES_NOT)
@given(cases(has_weights=True))
def test_everybody_gets_what_divisible_tasks_would_get(case):
    """Nobody much less; much more only of what is left where no task of the others fits."""
    got = case.world().fill()
    want = divide(case.capacity, case.demands, case.weights)
    for client in case.demands:
        off = case.share(client, got[client] - want[client])
        assert -case.grain <= off <= case.grain * case.most_instead_of_one(client), (got, want)


@laws
@given(
    clients=st.lists(st.sampled_from(TREE), min_size=2, max_size=6, unique=True),
    weights=st.dictionaries(st.sampled_from(TREE), weight_values, max_size=3),
    data=st.data(),
)
def test_a_tree_of_roles_is_filled_task_by_task_as_the_rule_says(clients, weights, data):
    """Exactly: one agent leaves no remainders, so every single decision is the oracle's."""
    names = NAMES[: data.draw(st.integers(1, 3))]
    agent = {name: data.draw(st.integers(10, 50)) for name in names}
    demands = {client: data.draw(vectors(names)) for client in clients}
    world = TaskByTask([agent], demands, weights=weights)
    world.fill()
    assert world.takers == list(fill(agent, demands, weights))


# Laws


@laws
@given(cases(has_weights=True))
def test_sharing_incentive(case):
    """Nobody has less than in a part of the cluster of his own, as large as his weight says."""
    got = case.world().fill()
    sum_of_weights = sum(case.weights.values())
    for client in case.demands:
        own_part = case.weights[client] / sum_of_weights
        assert case.share(client, got[client]) >= own_part - case.grain, got


@laws
@given(cases())
def test_envy_freeness(case):
    """Nobody could run more tasks with what another one has."""
    got = case.world().fill()
    for client, demand in case.demands.items():
        for other in case.demands:
            with_others = fitting_tasks(times(got[other], case.demands[other]), demand)
            assert case.share(client, with_others - got[client]) <= case.grain, (client, other, got)


@laws
@given(cases(has_weights=True))
def test_pareto_efficiency(case):
    """Nobody's task fits anywhere any more: to give to one is to take from another. Exact."""
    world = case.world()
    world.fill()
    for free in world.free:
        assert min(free.values()) >= 0
        assert not any(fits(free, demand) for demand in case.demands.values()), free


@laws
@given(case=cases(), data=st.data())
def test_strategy_proofness(case, data):
    """Who says to need something else than he does runs no more tasks with what he gets."""
    liar = data.draw(st.sampled_from(sorted(case.demands)))
    need = case.demands[liar]
    lie = data.draw(vectors(tuple(case.agent)))
    honest = case.world().fill()[liar]
    got = case.world({**case.demands, liar: lie}).fill()[liar]
    useful = fitting_tasks(times(got, lie), need)
    assert case.share(liar, useful - honest) <= 2 * case.grain, (liar, lie, honest, got)


@laws
@given(case=cases(), data=st.data())
def test_bottleneck_fairness(case, data):
    """When all need most of the same resource, that one is divided evenly."""
    names = sorted(case.agent)
    bottleneck = data.draw(st.sampled_from(names))

    def is_dominant(demand: Vector) -> bool:
        part = Fraction(demand.get(bottleneck, 0), case.capacity[bottleneck])
        return part == dominant_share(case.capacity, demand)

    assume(all(is_dominant(demand) for demand in case.demands.values()))
    got = case.world().fill()
    for client in case.demands:
        share = case.share(client, got[client])
        assert abs(share - Fraction(1, len(case.demands))) <= case.grain, got


@laws
@given(case=cases(resources=1, has_weights=True), data=st.data())
def test_single_resource_fairness(case, data):
    """One resource is divided max-min fairly: who wants less leaves it to the others, by weight."""
    wants = data.draw(st.dictionaries(st.sampled_from(CLIENTS), st.integers(1, 40)))
    world = TaskByTask(
        [case.agent] * case.agents, case.demands, weights=case.weights, wants=wants, seed=case.seed
    )
    got = world.fill()
    for client in case.demands:
        if got[client] == wants.get(client):
            continue
        mine = case.share(client, got[client]) / case.weights[client]
        for other in case.demands:
            others = case.share(other, got[other]) / case.weights[other]
            assert others <= mine + case.grain / min(case.weights.values()), got


@laws
@given(case=cases(at_least=1), data=st.data())
def test_population_monotonicity(case, data):
    """When somebody leaves, nobody of the others gets less, if all need some of everything."""
    assume(len(case.demands) > 2)
    leaver = data.draw(st.sampled_from(sorted(case.demands)))
    before = case.world().fill()
    rest = {client: demand for client, demand in case.demands.items() if client != leaver}
    after = case.world(rest).fill()
    for client in rest:
        assert case.share(client, before[client] - after[client]) <= 2 * case.grain


# Laws that do not hold

A = {"cpus": 2, "mem": 1}
B = {"cpus": 1, "mem": 2}
SMALL = {"cpus": 60, "mem": 72}
ADDED = {"cpus": 120, "mem": 6}


def test_resource_monotonicity_does_not_hold():
    """An agent with many cpus comes, and B runs fewer tasks than before: found by search.

    At first A needs most of the cpus (2/60 against 1/72 of the memory) and B of the memory. With
    180 cpus A needs most of the memory too, and of that both get an even part.
    """
    demands = {"A": A, "B": B}
    assert TaskByTask([SMALL], demands).fill() == {"A": 19, "B": 22}
    assert TaskByTask([SMALL, ADDED], demands).fill() == {"A": 27, "B": 15}


def test_resource_monotonicity_does_not_hold_for_divisible_tasks_either():
    """So it is the rule and not the grain."""
    demands = {"A": A, "B": B}
    both = {name: SMALL[name] + ADDED[name] for name in SMALL}
    assert divide(SMALL, demands) == {"A": Fraction(75, 4), "B": Fraction(45, 2)}
    assert divide(both, demands) == {"A": 39, "B": Fraction(39, 2)}


def test_population_monotonicity_needs_that_all_need_some_of_everything():
    """b leaves its memory to a and d; a then takes more of the cpus, which c had. Found by search.

    Divisible tasks: a and c from 400/3 and 800/3 to 200 each.
    """
    demands = {"a": {"cpus": 1, "mem": 1}, "b": {"mem": 1}, "c": {"cpus": 1}, "d": {"mem": 1}}
    rest = {client: demands[client] for client in ("a", "c", "d")}
    agent = {"cpus": 400, "mem": 400}
    assert TaskByTask([agent], demands).fill() == {"a": 134, "b": 133, "c": 266, "d": 133}
    assert TaskByTask([agent], rest).fill() == {"a": 200, "c": 200, "d": 200}
    assert divide(agent, demands)["c"] == Fraction(800, 3)
    assert divide(agent, rest)["c"] == 200


# The oracle itself


@pytest.mark.parametrize(
    ("capacity", "weights", "tasks"),
    [
        ((9, 18), {}, (3, 2)),
        ((90, 180), {}, (30, 20)),
        # The memory: 4 * 2 x + 3 y = 18 with twice the share of A: 4/18 a = 2 * 3/9 b.
        ((9, 18), {"a": Fraction(2)}, (Fraction(54, 13), Fraction(18, 13))),
    ],
)
def test_the_oracle_knows_the_worked_example(capacity, weights, tasks):
    demands = {"a": {"cpus": 1, "mem": 4}, "b": {"cpus": 3, "mem": 1}}
    got = divide({"cpus": capacity[0], "mem": capacity[1]}, demands, weights)
    assert (got["a"], got["b"]) == tasks


@settings(max_examples=100, deadline=None)
@given(cases(has_weights=True))
def test_the_oracle_wastes_nothing_and_takes_no_more_than_there_is(case):
    got = divide(case.capacity, case.demands, case.weights)
    used = {
        name: sum(got[client] * demand.get(name, 0) for client, demand in case.demands.items())
        for name in case.capacity
    }
    assert all(used[name] <= case.capacity[name] for name in used)
    for demand in case.demands.values():
        assert any(used[name] == case.capacity[name] for name in used if demand.get(name, 0))
