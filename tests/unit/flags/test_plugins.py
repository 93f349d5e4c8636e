"""Sorters and allocators that an installed distribution brings, chosen by flags."""

import random

import pytest

from cluster.core.allocator import (
    AllocatorOptions,
    ClusterTotals,
    DrfSorter,
    HierarchicalAllocator,
    PrioritySorter,
    RandomSorter,
)
from cluster.errors import InvalidInput
from cluster.master import Master
from cluster.master_flags import MasterConfig
from cluster.master_options import allocator_factory, allocator_options
from cluster.plugins import ALLOCATOR_GROUP, SORTER_GROUP
from tests.sim.master_world import framework_info, master_world

MODULE = """
from cluster.core.allocator import DrfSorter, HierarchicalAllocator

class OurSorter(DrfSorter):
    pass

def ours(totals, *, is_hierarchical, rng):
    return OurSorter(totals, is_hierarchical=is_hierarchical)

class LastFirst(DrfSorter):
    def __init__(self, totals, *, is_hierarchical, rng):
        super().__init__(totals, is_hierarchical=is_hierarchical)

    def order(self):
        return iter(sorted(super().order(), reverse=True))

class Half:
    def __init__(self, totals, *, is_hierarchical, rng):
        pass

    def add(self, client):
        pass

def refusing(totals, *, is_hierarchical, rng):
    raise RuntimeError("not today")

class OurAllocator(HierarchicalAllocator):
    pass

word = "ours"
"""

ENTRY_POINTS = f"""
[{SORTER_GROUP}]
ours = test_sorter_plugin:ours
drf = test_sorter_plugin:ours
last_first = test_sorter_plugin:LastFirst
half = test_sorter_plugin:Half
refusing = test_sorter_plugin:refusing
word = test_sorter_plugin:word
nowhere = no_such_module_at_all:ours

[{ALLOCATOR_GROUP}]
ours = test_sorter_plugin:OurAllocator
half = test_sorter_plugin:ours
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution on the path, as an installer leaves it there."""
    info = tmp_path / "our_sorters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-sorters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "test_sorter_plugin.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def config(**flags):
    return MasterConfig(work_dir="/nowhere", **flags)


def made_by(factory):
    return factory(ClusterTotals(), is_hierarchical=False, rng=random.Random(1))


@pytest.mark.parametrize(
    ("name", "kind"), [("drf", DrfSorter), ("random", RandomSorter), ("priority", PrioritySorter)]
)
def test_built_in_sorters_by_name(name, kind):
    by_role = allocator_options(config(role_sorter=name))
    assert type(made_by(by_role.role_sorter)) is kind
    assert type(made_by(by_role.framework_sorter)) is DrfSorter
    by_framework = allocator_options(config(framework_sorter=name))
    assert type(made_by(by_framework.framework_sorter)) is kind


def test_an_installed_sorter_by_name(installed):
    options = allocator_options(config(role_sorter="ours"))
    assert type(made_by(options.role_sorter)).__name__ == "OurSorter"


def test_an_installed_sorter_does_not_take_a_built_in_name(installed):
    assert type(made_by(allocator_options(config(role_sorter="drf")).role_sorter)) is DrfSorter


@pytest.mark.parametrize("flag", ["role_sorter", "framework_sorter"])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("fifo", "must be one of drf, random, priority, half, last_first, nowhere, ours, refusing"),
        ("", "must be one of drf"),
        ("nowhere", "no_such_module_at_all:ours cannot be imported"),
        ("word", "must be callable"),
        ("refusing", "makes no Sorter: not today"),
        ("half", "a Half has no remove"),
    ],
)
def test_what_is_no_sorter_names_the_flag_and_the_rule(installed, flag, name, rule):
    with pytest.raises(InvalidInput) as caught:
        Master(config(**{flag: name}))
    assert caught.value.field == f"--{flag}"
    assert rule in caught.value.rule


def test_without_others_the_built_in_names_are_told():
    with pytest.raises(InvalidInput, match="one of drf, random, priority, not 'fifo'"):
        allocator_options(config(role_sorter="fifo"))


@pytest.mark.asyncio
@pytest.mark.parametrize(("sorter", "served"), [("drf", "a"), ("last_first", "z")])
async def test_a_master_serves_in_the_order_of_the_sorter_that_was_installed(
    installed, sorter, served
):
    async with master_world(role_sorter=sorter) as world:
        schedulers = {
            role: await world.scheduler(f"scheduler-{role}", framework_info(role=role))
            for role in ("a", "m", "z")
        }
        await world.agent()
        assert [role for role, fake in schedulers.items() if fake.offers] == [served]


def test_a_whole_allocator_by_name(installed):
    assert allocator_factory(config()) is HierarchicalAllocator
    made = allocator_factory(config(allocator="ours"))(AllocatorOptions(), random.Random(1))
    assert type(made).__name__ == "OurAllocator"


@pytest.mark.parametrize(
    ("name", "rule"),
    [("flat", "must be one of hierarchical, half, ours"), ("half", "makes no Allocator")],
)
def test_what_is_no_allocator_names_the_flag_and_the_rule(installed, name, rule):
    with pytest.raises(InvalidInput) as caught:
        Master(config(allocator=name))
    assert caught.value.field == "--allocator"
    assert rule in caught.value.rule
