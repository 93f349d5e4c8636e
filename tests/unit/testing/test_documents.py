"""The snippets of the pages on testing run as they stand."""

import re
from pathlib import Path

import pytest

import actorproc.testing

DOCS = Path(__file__).parents[3] / "docs"


def snippets(page):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["howto/testing.md", "howto/simulation.md"])
def test_the_snippets_of_a_page_run_one_after_the_other(page):
    names = {"__name__": "snippet"}
    found = snippets(page)
    assert len(found) >= 3
    for snippet in found:
        exec(compile(snippet, page, "exec"), names)


def test_every_public_name_is_on_the_page():
    text = (DOCS / "simulation.md").read_text() + "".join(
        (DOCS / "howto" / page).read_text() for page in ("testing.md", "simulation.md")
    )
    in_families = {
        "Clog", "Crash", "DroppedByFilter", "Duration", "Expectation", "Fault", "Heal", "HealAll",
        "Held", "LeakedTasks", "Observed", "Reset", "Restart", "SeenCall", "SeenExit",
        "SeenMessage", "SimulatedTransport", "SimulationError", "Unclog",
    }  # fmt: skip
    missing = {
        name for name in actorproc.testing.__all__ if not re.search(rf"\b{name}\b", text)
    } - in_families
    assert not missing


def test_public_names_are_sorted_complete_and_there():
    names = actorproc.testing.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(actorproc.testing, name) for name in names)
