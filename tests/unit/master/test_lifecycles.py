"""Every state meets every step; what is expected is written from master.md, not from the tables."""

import itertools

import pytest

from cluster.core.master.lifecycles import (
    AGENT_TRANSITIONS,
    FRAMEWORK_TRANSITIONS,
    MACHINE_TRANSITIONS,
    SERVICE_TRANSITIONS,
    TASK_TRANSITIONS,
    AgentState,
    AgentStep,
    FrameworkState,
    FrameworkStep,
    MachineStep,
    ServiceState,
    ServiceStep,
    advance,
)
from cluster.core.master.story import STORY_STEPS_MAX, Story
from cluster.core.master.tasks import TaskRecord
from cluster.errors import InvalidTransition
from cluster.model.ids import AgentId, FrameworkId, TaskId
from cluster.model.maintenance import MachineMode
from cluster.model.resources import Resources
from cluster.model.task_states import TaskState

# One line per state; columns are steps; "-" means that the step must be impossible.
# Source: master.md §2.2 (subscription cases), §2.3 (disconnect, failover timeout, removal).
FRAMEWORKS = """
              SUBSCRIBED  DEACTIVATED  LINK_LOST     FAILOVER_TIMED_OUT  TORN_DOWN  REPORTED_BY_AGENT
RECOVERED     ACTIVE      -            -             -                   COMPLETED  RECOVERED
ACTIVE        ACTIVE      INACTIVE     DISCONNECTED  -                   COMPLETED  ACTIVE
INACTIVE      ACTIVE      INACTIVE     DISCONNECTED  -                   COMPLETED  INACTIVE
DISCONNECTED  ACTIVE      -            -             COMPLETED           COMPLETED  DISCONNECTED
COMPLETED     -           -            -             -                   -          -
"""  # noqa: E501 - a table is read by its columns

# Source: master.md §3.1 (register), §3.2 (re-register), §3.3 (liveness, MARK_AGENT_GONE: also of
# agents that are unreachable or not back yet, for good; one write to the registry at a time).
AGENTS = """
                     ADMITTED   LINK_LOST     RETURNED     READMITTED  GIVEN_UP             MARKED_UNREACHABLE  REMOVAL_BEGUN  REMOVED   GONE_BEGUN    MARKED_GONE
RECOVERED            -          -             READMITTING  -           MARKING_UNREACHABLE  -                   -              -         MARKING_GONE  -
ADMITTING            CONNECTED  -             -            -           -                    -                   -              -         -             -
CONNECTED            -          DISCONNECTED  CONNECTED    -           MARKING_UNREACHABLE  -                   REMOVING       -         MARKING_GONE  -
DISCONNECTED         -          -             CONNECTED    -           MARKING_UNREACHABLE  -                   REMOVING       -         MARKING_GONE  -
MARKING_UNREACHABLE  -          -             -            -           -                    UNREACHABLE         -              -         -             -
UNREACHABLE          -          -             READMITTING  -           -                    -                   -              -         MARKING_GONE  -
READMITTING          -          -             -            CONNECTED   -                    -                   -              -         -             -
REMOVING             -          -             -            -           -                    -                   -              DEPARTED  -             -
DEPARTED             -          -             -            -           -                    -                   -              -         -             -
MARKING_GONE         -          -             -            -           -                    -                   -              -         -             GONE
GONE                 -          -             -            -           -                    -                   -              -         -             -
"""  # noqa: E501 - a table is read by its columns

# Source: master.md §3.3 (DEACTIVATE, REACTIVATE: refused while draining), §3.4 (drain: deactivates;
# drained when nothing is left; reactivation clears it).
SERVICE = """
             DRAIN     EMPTIED  DEACTIVATE   REACTIVATE
ACTIVE       DRAINING  -        DEACTIVATED  -
DEACTIVATED  DRAINING  -        DEACTIVATED  ACTIVE
DRAINING     DRAINING  DRAINED  DRAINING     -
DRAINED      DRAINING  -        DRAINED      ACTIVE
"""

# Source: master.md §3.5 (the table of steps; a DOWN machine may not vanish from the schedule).
MACHINES = """
          SCHEDULED  UNSCHEDULED  STARTED  STOPPED
UP        DRAINING   UP           -        -
DRAINING  DRAINING   UP           DOWN     -
DOWN      DOWN       -            -        UP
"""


def _rows(text):
    lines = [line.split() for line in text.strip().splitlines()]
    steps = lines[0]
    for state, *outcomes in lines[1:]:
        for step, outcome in zip(steps, outcomes, strict=True):
            yield state, step, outcome


def _check(table, states, steps, state, step, outcome):
    story = Story()
    if outcome == "-":
        with pytest.raises(InvalidTransition, match=f"no step {step} from {state}"):
            advance(table, states[state], steps[step], "it", story)
    else:
        assert advance(table, states[state], steps[step], "it", story) is states[outcome]


@pytest.mark.parametrize(("state", "step", "outcome"), list(_rows(FRAMEWORKS)))
def test_framework(state, step, outcome):
    _check(FRAMEWORK_TRANSITIONS, FrameworkState, FrameworkStep, state, step, outcome)


@pytest.mark.parametrize(("state", "step", "outcome"), list(_rows(AGENTS)))
def test_agent(state, step, outcome):
    _check(AGENT_TRANSITIONS, AgentState, AgentStep, state, step, outcome)


@pytest.mark.parametrize(("state", "step", "outcome"), list(_rows(SERVICE)))
def test_service(state, step, outcome):
    _check(SERVICE_TRANSITIONS, ServiceState, ServiceStep, state, step, outcome)


@pytest.mark.parametrize(("state", "step", "outcome"), list(_rows(MACHINES)))
def test_machine(state, step, outcome):
    _check(MACHINE_TRANSITIONS, MachineMode, MachineStep, state, step, outcome)


def test_the_expectations_are_complete():
    for text, states, steps in (
        (FRAMEWORKS, FrameworkState, FrameworkStep),
        (AGENTS, AgentState, AgentStep),
        (SERVICE, ServiceState, ServiceStep),
        (MACHINES, MachineMode, MachineStep),
    ):
        pairs = {(state, step) for state, step, _ in _rows(text)}
        assert pairs == {(s.name, t.name) for s, t in itertools.product(states, steps)}


# master.md §7: terminal states, and the non-terminal ones that anything may follow.
TERMINAL = ("FINISHED", "FAILED", "KILLED", "ERROR", "LOST", "DROPPED", "GONE", "GONE_BY_OPERATOR")
OPEN = ("STAGING", "STARTING", "RUNNING", "KILLING", "UNREACHABLE")


def _task_expectations():
    for recorded, reported in itertools.product((*TERMINAL, *OPEN, "UNKNOWN"), repeat=2):
        if "UNKNOWN" in (recorded, reported):
            want = "-"  # an answer only, never stored
        elif recorded in TERMINAL:
            want = recorded  # later updates do not change the state
        elif reported == "STAGING":
            want = recorded  # the master's own first record: nobody else reports it
        else:
            want = reported
        yield recorded, reported, want


@pytest.mark.parametrize(("recorded", "reported", "want"), list(_task_expectations()))
def test_task(recorded, reported, want):
    task = _task()
    task.state = TaskState[recorded]
    if want == "-":
        with pytest.raises(InvalidTransition, match=f"task t of framework f: {reported}"):
            task.report_state(TaskState[reported])
    else:
        task.report_state(TaskState[reported])
        assert task.state is TaskState[want]


def test_task_table_has_no_other_pairs():
    assert len(TASK_TRANSITIONS) == 13 * 13


@pytest.mark.parametrize("ending", [*TERMINAL, "UNREACHABLE"])
def test_resources_are_freed_once_at_the_first_ending(ending):
    task = _task()
    assert not task.report_state(TaskState.RUNNING)
    assert task.report_state(TaskState[ending])
    assert not task.report_state(TaskState.FAILED)
    assert not task.holds_resources


def test_an_error_tells_the_story_and_the_story_is_bounded():
    story = Story()
    for number in range(STORY_STEPS_MAX + 5):
        story.add(float(number), "LINK_LOST", f"step {number}")
    with pytest.raises(InvalidTransition) as caught:
        advance(
            FRAMEWORK_TRANSITIONS, FrameworkState.COMPLETED, FrameworkStep.SUBSCRIBED, "fw", story
        )
    assert "fw: no step SUBSCRIBED from COMPLETED" in str(caught.value)
    assert "step 20" in str(caught.value)
    assert "step 4;" not in str(caught.value)


def _task():
    return TaskRecord(
        TaskId("t"), FrameworkId("f"), AgentId("a"), None, "*", Resources.parse("cpus:1"), object()
    )
