"""The pages of the master and the allocator name every module there is, and none that is not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", ["master", "allocator"])
def test_every_module_is_on_its_page(part):
    modules = {path.name for path in (ROOT / "cluster" / "core" / part).glob("[a-z]*.py")}
    page = (ROOT / "docs" / f"{part}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+\.py)`", page))
    assert not modules - named
    elsewhere = {path.name for path in (ROOT / "cluster").rglob("*.py")}
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert not named - elsewhere - tests


@pytest.mark.parametrize("part", ["master", "allocator"])
def test_paths_on_the_page_are_there(part):
    page = (ROOT / "docs" / f"{part}.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:cluster|tests|benchmarks)/[\w/]+(?:\.py|/))`", page)
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]
