"""A mistake in the books of master or allocator is found."""

import pytest

from cluster.core.allocator.events import AgentRemoved, ResourcesConverted, ResourcesRecovered
from cluster.errors import InvariantBroken
from cluster.model.calls import Accept, Launch
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources
from tests.unit.master.core_harness import Harness, task_spec

AGENT_ID, FRAMEWORK_ID = AgentId("m-S0"), FrameworkId("m-0000")
CPU = Resources.parse("cpus:1")


@pytest.fixture
def running():
    """A task on half an agent, the other half offered."""
    harness = Harness()
    harness.register()
    harness.write()
    harness.subscribe()
    (offer,) = harness.allocate()
    harness.call(Accept((offer.offer_id,), (Launch((task_spec(),)),), 0.0))
    harness.now_s += 10.0
    harness.core.check_invariants()
    return harness


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            ResourcesRecovered(FRAMEWORK_ID, "*", AGENT_ID, CPU),
            r"holds \[cpus:1;mem:64\] on agent m-S0 in role '\*', but the allocator has booked "
            r"\[mem:64\]",
        ),
        (
            ResourcesConverted(FRAMEWORK_ID, "*", AGENT_ID, EMPTY, CPU),
            r"the allocator has booked \[cpus:2;mem:64\]",
        ),
        (
            ResourcesConverted(FrameworkId("other"), "*", AGENT_ID, EMPTY, CPU),
            r"framework other holds \[\] on agent m-S0 in role '\*'",
        ),
        (AgentRemoved(AGENT_ID), r"only one of master and allocator has the agents \['m-S0'\]"),
    ],
)
def test_books_that_differ_are_found(running, event, text):
    running.allocator.handle(event, running.now_s)
    with pytest.raises(InvariantBroken, match=text):
        running.core.check_invariants()


def test_a_task_that_nobody_knows_is_found(running):
    running.state.tasks.get(FRAMEWORK_ID, "t").holds_resources = False
    with pytest.raises(InvariantBroken, match=r"holds \[\].*has booked \[cpus:1;mem:64\]"):
        running.core.check_invariants()
