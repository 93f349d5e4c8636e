"""Operations on resources, shared volumes, and re-registration with many tasks."""

from fractions import Fraction

import pytest

from cluster.core.allocator import (
    AgentAdded,
    AgentUpdated,
    FrameworkTraits,
    FreeResourcesConverted,
    ResourcesConverted,
)
from cluster.errors import InvariantBroken
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import (
    EMPTY,
    Disk,
    Persistence,
    Reservation,
    ReservationType,
    Resource,
    ResourceIdentity,
    Resources,
    ResourcesNotContained,
    Volume,
)
from cluster.model.values import ValueType
from tests.unit.allocator.harness import Harness, takers

F1, F2 = FrameworkId("f1"), FrameworkId("f2")
S1 = AgentId("s1")
FULL = "cpus:4;mem:4096;disk:100"
SHARES = FrameworkTraits(frozenset({FrameworkCapability.SHARED_RESOURCES}))


def reserved(role: str, cpus_milli: int) -> Resources:
    stack = (Reservation(role, ReservationType.DYNAMIC),)
    return Resources([Resource(ResourceIdentity("cpus", ValueType.SCALAR, stack), cpus_milli)])


def shared_volume(role: str = "a", mb: int = 10) -> Resources:
    return Resources(
        [
            Resource(
                ResourceIdentity(
                    "disk",
                    ValueType.SCALAR,
                    (Reservation(role, ReservationType.DYNAMIC),),
                    disk=Disk(Persistence("v1"), Volume("path")),
                    is_shared=True,
                ),
                mb * 1000,
            )
        ]
    )


def test_offered_resources_change_in_hand():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.run()
    before, after = Resources.parse("cpus:2"), reserved("a", 2000)
    h.tell(ResourcesConverted(F1, "a", S1, before.allocated_to("a"), after.allocated_to("a")))
    assert h.allocator.booked(F1, "a", S1) == Resources.parse(FULL) - before + after
    assert h.allocator.role_share("a") == 1
    assert not h.allocator.has_candidates


def test_a_reservation_made_from_an_offer_stays_with_its_role():
    h = Harness()
    h.framework("f1", "a")
    h.framework("f2", "b", suppressed=["b"])
    h.agents("cpus:4", "s1")
    (offer,) = h.run()
    after = reserved("a", 4000)
    h.tell(ResourcesConverted(F1, "a", S1, offer.resources, after))
    (held,) = [offer.__class__(F1, "a", S1, after)]
    h.give_back(held)
    assert h.allocator.free(S1) == after
    assert takers(h.run()) == {"s1": "f1"}


def test_an_operator_converts_what_is_free():
    h = Harness()
    h.agents(FULL, "s1")
    before, after = Resources.parse("cpus:2"), reserved("a", 2000)
    h.tell(FreeResourcesConverted(S1, before, after))
    assert h.allocator.free(S1) == Resources.parse(FULL) - before + after
    h.framework("f1", "b")
    (offer,) = h.run()
    assert offer.resources.scalar_milli("cpus") == 2000


def test_what_is_not_free_cannot_be_converted_by_an_operator():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    h.run()
    with pytest.raises(ResourcesNotContained):
        h.tell(FreeResourcesConverted(S1, Resources.parse("cpus:2"), reserved("a", 2000)))
    h.allocator.check_invariants()
    assert h.allocator.booked(F1, "a", S1) == Resources.parse(FULL)


def test_nobody_converts_what_he_does_not_hold():
    h = Harness()
    h.framework("f1", "a")
    h.agents(FULL, "s1")
    with pytest.raises(InvariantBroken, match="where it holds"):
        h.tell(ResourcesConverted(F1, "a", S1, Resources.parse("cpus:2"), reserved("a", 2000)))
    h.allocator.check_invariants()


def test_a_conversion_on_a_shrunken_agent_does_not_conjure_resources():
    h = Harness()
    h.framework("f1", "a")
    h.agents("cpus:4", "s1")
    h.run()
    h.tell(AgentUpdated(S1, Resources.parse("cpus:1")))
    h.tell(ResourcesConverted(F1, "a", S1, Resources.parse("cpus:4"), reserved("a", 4000)))
    assert h.allocator.free(S1) in (EMPTY, Resources.parse("cpus:1"))
    h.tell(AgentUpdated(S1, Resources.parse("cpus:4")))


# Shared resources


def test_a_shared_volume_is_offered_to_several_though_to_one_a_run():
    volume = shared_volume()
    h = Harness()
    h.framework("f1", "a", traits=SHARES)
    h.framework("f2", "a", traits=SHARES)
    h.tell(AgentAdded(S1, Resources.parse("cpus:4;mem:64") + volume))
    (first,) = h.run()
    assert first.resources.contains(volume)
    assert h.allocator.free(S1) == volume
    h.give_back(first, refuse_s=1000.0, keep=volume + Resources.parse("cpus:1"))
    (second,) = h.run()
    assert second.framework_id != first.framework_id
    assert second.resources == Resources.parse("cpus:3;mem:64") + volume


def test_one_run_offers_a_shared_volume_once():
    """Both frameworks get a part of the agent in one run; one of them gets the volume."""
    volume = shared_volume()
    h = Harness()
    h.quota("a", limits="cpus:1")
    h.framework("f1", "a", traits=SHARES)
    h.framework("f2", "a/x", traits=SHARES)
    h.framework("f3", "b", traits=SHARES)
    h.tell(AgentAdded(S1, Resources.parse("cpus:4;mem:64") + volume))
    offers = h.run()
    assert len(offers) > 1
    assert sum(offer.resources.contains(volume) for offer in offers) == 1


def test_copies_count_once_for_who_holds_them():
    volume = shared_volume(mb=10)
    h = Harness(min_allocatable=())
    h.framework("f1", "a", traits=SHARES)
    h.tell(AgentAdded(S1, Resources.parse("cpus:2;disk:90") + volume))
    h.run()
    assert h.allocator.framework_share(F1, "a") == 1
    h.tell(AgentUpdated(S1, Resources.parse("cpus:4;disk:90") + volume))
    (again,) = h.run()
    assert again.resources == Resources.parse("cpus:2") + volume
    assert h.allocator.booked(F1, "a", S1).scalar_milli("disk") == 100_000
    assert h.allocator.framework_share(F1, "a") == 1
    h.give_back(again)
    assert h.allocator.framework_share(F1, "a") == 1


def test_a_volume_can_become_shared_by_an_operation():
    volume = shared_volume(mb=100)
    h = Harness()
    h.framework("f1", "a", traits=SHARES)
    h.agents(FULL, "s1")
    h.run()
    h.tell(ResourcesConverted(F1, "a", S1, Resources.parse("disk:100"), volume))
    assert h.allocator.free(S1) == volume


# Many tasks


def test_an_agent_comes_back_with_many_tasks():
    ports = [Resources.parse(f"ports:[{31000 + 2 * n}-{31000 + 2 * n}]") for n in range(500)]
    used = tuple((F1, "a", port + Resources.parse("cpus:0.001")) for port in ports)
    h = Harness()
    h.tell(AgentAdded(S1, Resources.parse("cpus:4;ports:[31000-31999]"), used))
    assert h.allocator.free(S1).ranges("ports").size() == 500
    assert h.allocator.role_share("a") == Fraction(1, 8)
