"""The same events and seed give the same offers in the same order, whatever hashes strings have."""

import os
import random
import subprocess
import sys
from pathlib import Path

from cluster.core.allocator import (
    AgentAdded,
    AgentRemoved,
    AllocatorOptions,
    FrameworkAdded,
    FrameworkRemoved,
    HierarchicalAllocator,
    IntervalElapsed,
    OffersRevived,
    OffersSuppressed,
    ResourcesRecovered,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import EMPTY, Resources

ROLES = ["a", "a/x", "a/y", "b", "c/d/e"]


def trace(seed: int) -> list[str]:
    """A busy random life of an allocator; one line per offer."""
    rng = random.Random(seed)
    allocator = HierarchicalAllocator(AllocatorOptions(), random.Random(seed))
    lines = []
    for n in range(12):
        roles = tuple(rng.sample(ROLES, 2))
        allocator.handle(FrameworkAdded(FrameworkId(f"f{n}"), roles), 0.0)
    for n in range(40):
        total = f"cpus({rng.choice(ROLES)}):1;cpus:{1 + n % 3};mem:{64 + n % 5};ports:[1-{n + 1}]"
        allocator.handle(AgentAdded(AgentId(f"s{n}"), Resources.parse(total)), 0.0)
    for step in range(30):
        now_s = step * 0.7
        offers = allocator.allocate(now_s)
        lines += [
            f"{now_s:.1f} {o.framework_id} {o.role} {o.agent_id} {o.resources}" for o in offers
        ]
        for offer in offers:
            kept = rng.choice([EMPTY, Resources.parse("cpus:0.1").allocated_to(offer.role)])
            back = offer.resources.minus_up_to(kept)
            refuse_s = rng.choice([None, 0.0, 2.0])
            allocator.handle(
                ResourcesRecovered(offer.framework_id, offer.role, offer.agent_id, back, refuse_s),
                now_s,
            )
        framework_id = FrameworkId(f"f{step % 12}")
        match step % 5:
            case 0:
                allocator.handle(OffersSuppressed(framework_id), now_s)
            case 1:
                allocator.handle(OffersRevived(FrameworkId(f"f{(step - 1) % 12}")), now_s)
            case 2 if step > 20:
                allocator.handle(AgentRemoved(AgentId(f"s{step}")), now_s)
            case 3 if step == 23:
                allocator.handle(FrameworkRemoved(framework_id), now_s)
        allocator.handle(IntervalElapsed(), now_s)
    allocator.check_invariants()
    return lines


def trace_in_another_process(hash_seed: str) -> list[str]:
    root = Path(__file__).resolve().parents[2]
    program = (
        "from tests.property.test_allocator_repeatable import trace; print(*trace(3), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_another_hash_seed_gives_the_same_trace():
    here = trace(3)
    assert len(here) > 300
    assert trace_in_another_process("1") == here
    assert trace_in_another_process("2") == here


def test_another_seed_gives_another_trace():
    assert trace(3) != trace(4)
