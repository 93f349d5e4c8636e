"""What a supervisor decides. Source: Erlang/OTP ``supervisor``."""

import random

import pytest

from actorproc.patterns.supervision_core import (
    Begun,
    ChildExited,
    ChildRule,
    ChildState,
    Finish,
    KillChild,
    Restart,
    RestartDue,
    ShutdownTimedOut,
    StartChild,
    StartTimer,
    StopChild,
    StopRequested,
    Strategy,
    SupervisionCore,
    SupervisorOptions,
)

NOW_S = 1000.0


class World:
    """A core with short words for its events and effects."""

    def __init__(self, strategy, restarts="ppp", **options):
        kinds = {"p": Restart.PERMANENT, "t": Restart.TRANSIENT, "o": Restart.TEMPORARY}
        rules = [ChildRule("abc"[place], kinds[kind]) for place, kind in enumerate(restarts)]
        self.core = SupervisionCore(rules, SupervisorOptions(strategy, **options))
        self.now_s = NOW_S
        self.timers = {}
        assert self.feed(Begun()) == [f"start {rule.id}" for rule in rules]

    def feed(self, event):
        effects = self.core.handle(event, self.now_s)
        self.core.check_invariants()
        return [self.text(effect) for effect in effects]

    def text(self, effect):
        match effect:
            case StartChild(id):
                return f"start {id}"
            case StopChild(id, _):
                return f"stop {id}"
            case KillChild(id):
                return f"kill {id}"
            case StartTimer(id, generation, delay_s):
                self.timers[id] = generation
                return f"wait {delay_s:g} for {id}"
            case Finish(failure):
                return f"finish: {failure}" if failure else "finish"

    def fails(self, id):
        return self.feed(ChildExited(id, has_failed=True))

    def ends(self, id):
        return self.feed(ChildExited(id, has_failed=False))

    def due(self, id):
        return self.feed(RestartDue(id, self.timers[id]))


@pytest.mark.parametrize(
    ("kind", "failed", "ended"),
    [
        ("p", ["wait 0.1 for a"], ["wait 0.1 for a"]),
        ("t", ["wait 0.1 for a"], []),
        ("o", [], []),
    ],
    ids=["permanent", "transient", "temporary"],
)
def test_which_ends_lead_to_a_restart(kind, failed, ended):
    assert World(Strategy.ONE_FOR_ONE, kind).fails("a") == failed
    assert World(Strategy.ONE_FOR_ONE, kind).ends("a") == ended


def test_one_for_one_restarts_only_the_one_that_failed():
    world = World(Strategy.ONE_FOR_ONE)
    assert world.fails("b") == ["wait 0.1 for b"]
    assert world.fails("c") == ["wait 0.1 for c"]
    assert world.due("b") == ["start b"]
    assert world.due("c") == ["start c"]


def test_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order():
    world = World(Strategy.ONE_FOR_ALL)
    assert world.fails("b") == ["stop c"]
    assert world.ends("c") == ["stop a"]
    assert world.ends("a") == ["wait 0.1 for b"]
    assert world.due("b") == ["start a", "start b", "start c"]


def test_rest_for_one_leaves_those_that_started_before():
    world = World(Strategy.REST_FOR_ONE)
    assert world.fails("b") == ["stop c"]
    assert world.ends("c") == ["wait 0.1 for b"]
    assert world.core.state_of("a") is ChildState.RUNNING
    assert world.due("b") == ["start b", "start c"]


def test_a_group_grows_when_an_earlier_child_fails_while_it_waits():
    world = World(Strategy.REST_FOR_ONE)
    assert world.fails("c") == ["wait 0.1 for c"]
    assert world.fails("a") == ["stop b"]
    assert world.due("c") == []  # it now waits for the whole
    assert world.ends("b") == ["wait 0.1 for a"]
    assert world.due("a") == ["start a", "start b", "start c"]


def test_a_member_that_fails_while_the_group_stops_needs_no_stopping():
    world = World(Strategy.ONE_FOR_ALL)
    assert world.fails("b") == ["stop c"]
    assert world.fails("a") == []
    assert world.ends("c") == ["wait 0.1 for a"]
    assert world.due("a") == ["start a", "start b", "start c"]


def test_temporary_members_are_stopped_but_not_started_again():
    world = World(Strategy.ONE_FOR_ALL, "ppo")
    assert world.fails("a") == ["stop c"]
    assert world.ends("c") == ["stop b"]
    assert world.ends("b") == ["wait 0.1 for a"]
    assert world.due("a") == ["start a", "start b"]


def test_more_than_intensity_within_the_period_gives_up():
    world = World(Strategy.ONE_FOR_ONE, intensity=2, period_s=5.0)
    for _ in range(2):
        world.fails("a")
        world.due("a")
        world.now_s += 1.0
    assert world.fails("a") == ["stop c"]
    assert world.ends("c") == ["stop b"]
    assert world.ends("b") == ["finish: more than 2 restarts within 5 s, the last of a"]


def test_failures_of_all_children_count_together():
    world = World(Strategy.ONE_FOR_ONE, intensity=1)
    world.fails("a")
    assert world.fails("b") == ["stop c"]


def test_restarts_older_than_the_period_are_forgotten():
    world = World(Strategy.ONE_FOR_ONE, intensity=1, period_s=5.0)
    for _ in range(10):
        assert world.fails("a") == ["wait 0.1 for a"]
        world.due("a")
        world.now_s += 5.0


def test_back_off_doubles_up_to_its_limit_and_begins_anew_after_a_quiet_period():
    world = World(
        Strategy.ONE_FOR_ONE, intensity=100, period_s=5.0, backoff_s=0.5, backoff_s_max=3.0
    )
    waits = []
    for _ in range(5):
        waits += world.fails("a")
        world.due("a")
    assert waits == [f"wait {delay} for a" for delay in ("0.5", "1", "2", "3", "3")]
    world.now_s += 5.0
    assert world.fails("a") == ["wait 0.5 for a"]


def test_a_stop_ends_the_children_in_reverse_order():
    world = World(Strategy.ONE_FOR_ONE)
    assert world.feed(StopRequested()) == ["stop c"]
    assert world.feed(StopRequested()) == []
    assert world.ends("c") == ["stop b"]
    assert world.fails("a") == []  # nobody is restarted any more
    assert world.ends("b") == ["finish"]


def test_a_stop_forgets_restarts_that_wait():
    world = World(Strategy.ONE_FOR_ONE, "p")
    world.fails("a")
    assert world.feed(StopRequested()) == ["finish"]
    assert world.due("a") == []


def test_a_stop_while_a_group_restarts():
    world = World(Strategy.ONE_FOR_ALL)
    assert world.fails("b") == ["stop c"]
    assert world.feed(StopRequested()) == []  # c is being stopped already
    assert world.ends("c") == ["stop a"]
    assert world.ends("a") == ["finish"]


def test_a_child_that_does_not_stop_in_time_is_killed():
    world = World(Strategy.ONE_FOR_ONE, "p")
    world.feed(StopRequested())
    assert world.feed(ShutdownTimedOut("a")) == ["kill a"]
    assert world.ends("a") == ["finish"]
    assert world.feed(ShutdownTimedOut("a")) == []


def test_without_children_a_stop_finishes_at_once():
    assert World(Strategy.ONE_FOR_ONE, "").feed(StopRequested()) == ["finish"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"intensity": -1}, "intensity must be 0 or more"),
        ({"period_s": 0}, "period_s must be above 0"),
        ({"backoff_s": -1}, "backoff_s must be between 0 and backoff_s_max"),
        ({"backoff_s": 2, "backoff_s_max": 1}, "backoff_s must be between 0 and backoff_s_max"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        SupervisorOptions(**options)


def test_ids_of_children_must_differ():
    with pytest.raises(ValueError, match="ids of children must be unique"):
        SupervisionCore([ChildRule("a"), ChildRule("a")], SupervisorOptions())


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_every_child_comes_back_or_the_supervisor_finishes(strategy, seed):
    """A random history with a model of the children; then quiet, in which all must be well."""
    rng = random.Random(seed)
    world = World(strategy, "ppp", intensity=rng.choice([2, 1000]), backoff_s=1.0)
    alive, stopping, timers, finished = {"a", "b", "c"}, set(), [], False

    def carry_out(event):
        nonlocal finished
        for effect in world.core.handle(event, world.now_s):
            match effect:
                case StartChild(id):
                    assert id not in alive
                    alive.add(id)
                case StopChild(id, _):
                    assert id in alive
                    stopping.add(id)
                case StartTimer(id, generation, delay_s):
                    timers.append((world.now_s + delay_s, id, generation))
                case Finish():
                    assert not alive
                    finished = True
        world.core.check_invariants()

    def end(id, has_failed):
        alive.discard(id)
        stopping.discard(id)
        carry_out(ChildExited(id, has_failed))

    def fire_timers():
        due = sorted(timer for timer in timers if timer[0] <= world.now_s)
        for timer in due:
            timers.remove(timer)
            carry_out(RestartDue(*timer[1:]))

    for _ in range(60):
        world.now_s += rng.choice([0.0, 0.5, 3.0])
        fire_timers()
        if alive:
            end(rng.choice(sorted(alive)), has_failed=True)
    for _ in range(10):
        world.now_s += 100.0
        fire_timers()
        for id in sorted(stopping):
            end(id, has_failed=False)
    assert finished or alive == {"a", "b", "c"}
