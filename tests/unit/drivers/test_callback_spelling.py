"""The classic callbacks answer to both spellings."""

import pytest

from cluster.callbacks import snake_case
from cluster.executor import Executor
from cluster.scheduler import Scheduler


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("registered", "registered"),
        ("resourceOffers", "resource_offers"),
        ("launchTask", "launch_task"),
    ],
)
def test_snake_case(camel, snake):
    assert snake_case(camel) == snake


def test_snake_case_override_is_called_under_the_interface_name():
    class Mine(Scheduler):
        def resource_offers(self, driver, offers):
            return "mine"

    class Worker(Executor):
        def launch_task(self, driver, task):
            return "worker"

    assert Mine().resourceOffers(None, []) == "mine"
    assert Worker().launchTask(None, None) == "worker"


def test_a_later_override_under_either_name_wins():
    class First(Scheduler):
        def status_update(self, driver, status):
            return "first"

    class Second(First):
        def statusUpdate(self, driver, status):
            return "second"

    class Third(Second):
        def status_update(self, driver, status):
            return "third"

    assert First().statusUpdate(None, None) == "first"
    assert Second().statusUpdate(None, None) == "second"
    assert Third().statusUpdate(None, None) == "third"
