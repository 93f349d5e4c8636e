"""The page of state diagrams is what the transition tables say."""

from enum import Enum, auto

from cluster.core.master import lifecycles, operations
from tools.state_diagrams import LIFECYCLES, PAGE, REPOSITORY, Lifecycle, page


def test_the_page_is_up_to_date():
    """If not: ``python -m tools.state_diagrams``."""
    assert (REPOSITORY / PAGE).read_text(encoding="utf-8") == page()


def test_every_table_is_drawn():
    drawn = [each.table for each in LIFECYCLES]
    tables = {
        f"{module.__name__}.{name}": value
        for module in (lifecycles, operations)
        for name, value in vars(module).items()
        if name.endswith("_TRANSITIONS")
    }
    assert len(tables) == len(drawn)
    assert [name for name, table in tables.items() if table not in drawn] == []


class Light(Enum):
    RED = auto()
    GREEN = auto()
    BROKEN = auto()


class Step(Enum):
    GO = auto()
    HIT = auto()
    KICKED = auto()


def test_a_diagram_has_every_arrow_and_a_table_every_pair():
    table = {
        (Light.RED, Step.GO): Light.GREEN,
        (Light.GREEN, Step.HIT): Light.BROKEN,
        (Light.RED, Step.HIT): Light.BROKEN,
        (Light.RED, Step.KICKED): Light.BROKEN,
    }
    text = page([Lifecycle("Light", "Of the street.", table, {Light.RED: "power"}, {})])
    assert (
        """\
    [*] --> RED: power
    RED --> GREEN: GO
    GREEN --> BROKEN: HIT
    RED --> BROKEN: HIT, KICKED
    BROKEN --> [*]
"""
        in text
    )
    assert (
        """\
| | GO | HIT | KICKED |
|---|---|---|---|
| **RED** | GREEN | BROKEN | BROKEN |
| **GREEN** |  | BROKEN |  |
| **BROKEN** |  |  |  |
"""
        in text
    )
