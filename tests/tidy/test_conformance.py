"""``docs/conformance.md`` names tests that exist, and leaves out no row of the specification."""

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests"
SPECIFICATION = (
    Path(os.environ.get("MESOS_FIXTURES") or ROOT.parent / "shared/fixtures").parent / "spec"
)

REFERENCE = re.compile(r"`((?:unit|sim|scripts|property|process|tidy)/[\w./-]+)(?:::(\w+))?`")
SEPARATOR = re.compile(r"\|[-| ]+\|?")
KEY_MAX = 48


def sections(text):
    """Heading -> its table rows as lists of cells, in order."""
    found, heading = {}, None
    lines = text.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not SEPARATOR.fullmatch(line):
            if not SEPARATOR.fullmatch(after):  # not the head of a table
                found.setdefault(heading, []).append(
                    [c.strip() for c in line.strip("|").split("|")]
                )
    return found


def key(cell):
    """How a row is named: its first words."""
    return cell if len(cell) <= KEY_MAX else cell[:KEY_MAX].rsplit(" ", 1)[0] + " …"


@cache
def functions(file):
    """Functions of a module, and state machines: ``TestX = X.TestCase``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    assigned = (node.targets for node in tree.body if isinstance(node, ast.Assign))
    return {
        *(node.name for node in ast.walk(tree) if isinstance(node, kinds)),
        *(each.id for targets in assigned for each in targets if isinstance(each, ast.Name)),
    }


def missing(text):
    """References to tests that are not there."""
    for path, name in REFERENCE.findall(text):
        file = TESTS / path
        if not file.is_file() or (name and name not in functions(file)):
            yield f"{path}::{name}" if name else path
        elif file.suffix == ".py" and not name:
            yield f"{path} (which test?)"


def test_every_test_that_is_named_exists():
    assert sorted(set(missing(PAGE.read_text(encoding="utf-8")))) == []


def test_every_row_has_a_test_or_a_reason():
    for heading, rows in sections(PAGE.read_text(encoding="utf-8")).items():
        for row, shown in rows:
            assert REFERENCE.search(shown) or re.search(r"[a-z]{3} [a-z]", shown), (heading, row)


def test_a_test_that_does_not_exist_is_found():
    text = "`unit/no/test_x.py::test_y` `unit/model/test_roles.py::test_no` `scripts/no/x.txt`"
    assert len(list(missing(text))) == 3
    assert list(missing("`tidy/test_conformance.py`")) == ["tidy/test_conformance.py (which test?)"]
    assert list(missing("`tidy/test_conformance.py::missing`")) == []


@pytest.mark.parametrize("document", ["master.md", "allocator.md"])
def test_no_row_of_the_specification_is_left_out(document):
    file = SPECIFICATION / document
    if not file.is_file():
        pytest.skip("the specification is not here: it lies beside the recordings")
    page = sections(PAGE.read_text(encoding="utf-8"))
    prefix = f"{document} "
    ours = {
        heading.removeprefix(prefix): [row[0] for row in rows]
        for heading, rows in page.items()
        if heading is not None and heading.startswith(prefix)
    }
    for heading, rows in sections(file.read_text(encoding="utf-8")).items():
        name = next((each for each in ours if heading.startswith(each)), None)
        assert name is not None, heading
        assert ours[name] == [key(row[0]) for row in rows], heading
