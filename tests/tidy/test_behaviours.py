"""Every numbered behaviour of the specification has a test, or a line that says why not."""

import pytest

from tools import behaviours
from tools.behaviours import NUMBERS, PAGE, REPOSITORY, BehaviourError


def test_every_behaviour_has_a_test_or_a_reason():
    assert behaviours.missing(behaviours.collect()) == []


def test_the_page_of_behaviours_is_up_to_date():
    """If not: ``python -m tools.behaviours``."""
    wanted = behaviours.page(behaviours.collect())
    assert (REPOSITORY / PAGE).read_text(encoding="utf-8") == wanted


def tree(root, *, tests="", reasons=""):
    for name, text in (("tests/test_x.py", tests), ("docs/behaviours.d/x.md", reasons)):
        file = root / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return root


def test_numbers_are_found_in_names_and_in_reasons(tmp_path):
    root = tree(
        tmp_path,
        tests="""
def test_028_gone(): ...
class TestMore:
    async def test_b003_deferred(self): ...
def test_4_of_another_list(): ...
def help_005_others(): ...
""",
        reasons="Text.\n\n| number | why |\n|---|---|\n| 7 | has no meaning |\n",
    )
    found = behaviours.collect(root)
    assert [each.number for each in found if each.tests] == [3, 28]
    assert [each.number for each in found if each.reasons] == [7]
    assert behaviours.missing(found) == [each for each in NUMBERS if each not in (3, 7, 28)]
    assert "| 3 | [test_x.py](../tests/test_x.py): `test_b003_deferred` |" in behaviours.page(found)
    assert "| 7 | has no meaning |" in behaviours.page(found)
    assert "| 4 | **missing** |" in behaviours.page(found)


@pytest.mark.parametrize("number", ["000", "120", "404"])
def test_a_number_that_does_not_exist_is_refused(tmp_path, number):
    with pytest.raises(BehaviourError, match=f"test_x.py: test_b{number}_x: {int(number)} must be"):
        behaviours.collect(tree(tmp_path, tests=f"def test_b{number}_x(): ..."))
    with pytest.raises(BehaviourError, match=f"x.md: {int(number)} must be from 1 to 119"):
        behaviours.collect(tree(tmp_path / "other", reasons=f"| {number} | why |"))
