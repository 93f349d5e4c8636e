"""Guarantees, limits and headroom (allocator.md §3 and §7), and quotas on nested roles."""

import pytest

from cluster.core.allocator import (
    AgentActivated,
    AgentAdded,
    AgentDeactivated,
    AgentUpdated,
    FrameworkRemoved,
    FrameworkTraits,
    OffersRevived,
    OffersSuppressed,
    QuotasUpdated,
    ResourcesRecovered,
)
from cluster.model.frameworks import FrameworkCapability
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.quotas import Quota
from cluster.model.resources import (
    Disk,
    DiskSource,
    DiskSourceType,
    Resource,
    ResourceIdentity,
    Resources,
)
from cluster.model.values import ValueType
from tests.unit.allocator.harness import Harness

D, P = FrameworkId("dev"), FrameworkId("prod")
S1, S2, S3 = AgentId("s1"), AgentId("s2"), AgentId("s3")
REVOCABLE_CPUS = ResourceIdentity("cpus", ValueType.SCALAR, is_revocable=True)
MOUNTED_DISK = ResourceIdentity(
    "disk", ValueType.SCALAR, disk=Disk(source=DiskSource(DiskSourceType.MOUNT, "/mnt"))
)
SPEC_AGENT = "cpus:8;mem:8192"


class InOrder:
    """Agents are visited as they came: a generator that does not shuffle."""

    def shuffle(self, x):
        x.sort(key=lambda agent: agent.agent_id)


def harness(**options) -> Harness:
    return Harness(rng=InOrder(), **options)


def roles(h: Harness, *names: str) -> None:
    for name in names:
        h.framework(name.replace("/", "-"), name)


# The worked example of the reference


def test_a_guarantee_is_served_first_with_what_headroom_leaves_besides():
    """Needed 12 of 24: prod gets the first agent, and the second whole because 12 stay free."""
    h = harness()
    h.quota("prod", guarantees="cpus:12")
    roles(h, "dev", "prod")
    h.agents(SPEC_AGENT, "s1", "s2", "s3")
    assert h.offered() == {
        "prod s1": "cpus:8;mem:8192",
        "prod s2": "cpus:8;mem:8192",
        "dev s3": "cpus:8;mem:8192",
    }


def test_headroom_is_kept_back_from_others_while_the_guaranteed_role_is_suppressed():
    h = harness()
    h.quota("prod", guarantees="cpus:12")
    h.framework("dev", "dev")
    h.framework("prod", "prod", suppressed=["prod"])
    h.agents(SPEC_AGENT, "s1", "s2", "s3")
    assert h.offered() == {
        "dev s1": "cpus:8;mem:8192",
        "dev s2": "cpus:4;mem:8192",
        "dev s3": "mem:8192",
    }
    h.tell(OffersRevived(P))
    assert h.offered() == {"prod s2": "cpus:4", "prod s3": "cpus:8"}


def test_without_headroom_the_guaranteed_role_gets_no_more_than_promised():
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    h.quota("spare", guarantees="cpus:4")
    roles(h, "prod")
    h.agents("cpus:8;mem:64", "s1")
    assert h.offered() == {"prod s1": "cpus:4;mem:64"}


def test_a_limit_bounds_all_offers_of_a_role_together():
    h = harness()
    h.quota("dev", limits="cpus:4")
    roles(h, "dev")
    h.agents("cpus:3;mem:64", "s1", "s2", "s3")
    assert h.offered() == {"dev s1": "cpus:3;mem:64", "dev s2": "cpus:1;mem:64", "dev s3": "mem:64"}


def test_a_name_without_limit_is_unlimited_and_one_with_limit_0_is_never_offered():
    h = harness()
    h.quota("dev", limits="disk:100")
    h.tell(QuotasUpdated({"ops": Quota(limits={"cpus": 0})}))
    roles(h, "ops")
    h.agents("cpus:3;mem:64", "s1")
    assert h.offered() == {"ops s1": "mem:64"}
    roles(h, "dev")
    h.agents("cpus:3;mem:64;disk:500", "s2")
    assert h.offered()["dev s2"] == "cpus:3;disk:100;mem:64"


def test_what_one_role_may_not_have_goes_to_the_next():
    h = harness()
    h.quota("dev", limits="cpus:1")
    roles(h, "dev", "free")
    h.agents("cpus:4;mem:64", "s1")
    assert h.offered() == {"dev s1": "cpus:1;mem:64", "free s1": "cpus:3"}


def test_an_offer_chopped_to_nothing_worth_is_not_made():
    h = harness()
    h.quota("dev", limits="cpus:1")
    roles(h, "dev")
    h.agents("cpus:4;disk:64", "s1", "s2")
    assert h.offered() == {"dev s1": "cpus:1;disk:64"}


def test_guarantees_come_before_a_smaller_share():
    """prod holds more than dev already and is served first all the same."""
    h = harness()
    roles(h, "prod")
    h.agents("cpus:4;mem:64", "s1")
    h.run()
    roles(h, "dev")
    h.quota("prod", guarantees="cpus:8")
    h.agents("cpus:4;mem:64", "s2")
    assert h.offered() == {"prod s2": "cpus:4;mem:64"}


# Consumption


def test_reservations_count_as_consumed_used_or_not():
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    roles(h, "dev")
    h.agents("cpus(prod):3;cpus:4;mem:64", "s1")
    assert h.allocator.quota_consumption("prod") == {"cpus": 3000}
    assert h.offered() == {"dev s1": "cpus:3;mem:64"}


def test_a_limit_counts_reservations_and_does_not_hold_them_back():
    h = harness()
    h.quota("prod", limits="cpus:4")
    roles(h, "prod")
    h.agents("cpus(prod):3;cpus:4;mem:64", "s1")
    assert h.offered() == {"prod s1": "cpus:4;mem:64"}


def test_roles_below_count_for_the_role_that_has_the_quota():
    h = harness()
    h.quota("dev", limits="cpus:4")
    roles(h, "dev/a", "dev/b")
    h.agents("cpus:3;mem:64", "s1", "s2")
    assert h.offered() == {"dev-a s1": "cpus:3;mem:64", "dev-b s2": "cpus:1;mem:64"}
    assert h.allocator.quota_consumption("dev") == {"cpus": 4000, "mem": 128_000}


def test_consumption_of_a_role_without_quota_can_be_asked_for():
    h = harness()
    roles(h, "a/x", "b")
    h.tell(
        AgentAdded(
            S1, Resources.parse("cpus(a):2;cpus:4"), ((P, "a/y", Resources.parse("cpus:1")),)
        )
    )
    assert h.allocator.quota_consumption("a") == {"cpus": 3000}
    assert h.allocator.quota_consumption("b") == {}


def test_revocable_resources_are_no_matter_of_quotas():
    revocable = Resources([Resource(REVOCABLE_CPUS, 4000)])
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    h.quota("dev", limits="cpus:1")
    traits = FrameworkTraits(frozenset({FrameworkCapability.REVOCABLE_RESOURCES}))
    h.framework("dev", "dev", traits=traits)
    h.tell(AgentAdded(S1, Resources.parse("cpus:2;mem:64") + revocable))
    (offer,) = h.run()
    assert offer.resources == Resources.parse("mem:64") + revocable
    assert h.allocator.quota_consumption("dev") == {"mem": 64_000}


def test_a_mounted_disk_goes_whole_or_not_at_all():
    disk = Resources([Resource(MOUNTED_DISK, 100_000)])
    h = harness()
    h.quota("dev", limits="disk:150")
    roles(h, "dev")
    h.tell(AgentAdded(S1, Resources.parse("cpus:1") + disk))
    h.tell(AgentAdded(S2, Resources.parse("cpus:1;disk:80") + disk))
    assert h.offered() == {"dev s1": "cpus:1;disk:100", "dev s2": "cpus:1;disk:50"}


# What was kept back comes again


def test_room_under_a_limit_is_offered_on_other_agents_at_the_next_interval():
    h = harness()
    h.quota("dev", limits="cpus:2")
    roles(h, "dev")
    h.agents("cpus:2;mem:64", "s1", "s2")
    first, second = h.run()
    assert second.resources.quantities() == {"mem": 64_000}
    h.tell(AgentDeactivated(S1))
    h.give_back(first)
    assert h.run() == []
    assert [str(a.resources) for a in h.tick()] == ["cpus:2"]


def test_headroom_that_is_not_needed_any_more_is_offered():
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    roles(h, "dev")
    h.agents("cpus:4;mem:64", "s1")
    assert h.offered() == {"dev s1": "mem:64"}
    assert not h.allocator.has_candidates
    h.quota("prod")
    assert h.offered() == {"dev s1": "cpus:4"}


def test_headroom_brought_by_another_agent_frees_what_was_kept_back():
    h = harness(min_allocatable=())
    h.quota("prod", guarantees="cpus:4")
    roles(h, "dev")
    h.agents("cpus:4;mem:64", "s1")
    assert h.offered() == {"dev s1": "mem:64"}
    h.agents("cpus(prod):4", "s2")
    assert h.offered() == {}
    h.tick(0.0)
    assert str(h.allocator.booked(D, "dev", S1)) == "mem:64;cpus:4"


def test_an_interval_visits_nothing_while_quotas_leave_no_more_room():
    h = harness()
    h.quota("dev", limits="cpus:2")
    roles(h, "dev")
    h.agents("cpus:2;mem:16", *(f"s{n}" for n in range(20)))
    h.run()
    before = h.allocator.agents_looked_at
    for _ in range(5):
        assert h.tick() == []
    assert h.allocator.agents_looked_at == before


def test_free_resources_of_an_inactive_agent_are_no_headroom():
    """Differs from Mesos: they could not serve the guarantee."""
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    roles(h, "dev")
    h.agents("cpus:4;mem:64", "s1", "s2")
    h.tell(AgentDeactivated(S2))
    assert h.offered() == {"dev s1": "mem:64"}
    h.tell(AgentActivated(S2))
    assert h.offered() == {"dev s2": "cpus:4;mem:64"}
    assert h.tick() == []


# Changing quotas


def test_a_new_limit_below_what_is_held_stops_offers():
    h = harness()
    roles(h, "dev")
    h.agents("cpus:4;mem:64", "s1")
    h.run()
    h.quota("dev", limits="cpus:2")
    h.agents("cpus:4;mem:64", "s2")
    assert h.offered() == {"dev s2": "mem:64"}


def test_counts_follow_agents_that_change_and_go():
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    roles(h, "prod", "dev")
    h.agents("cpus:4;mem:64", "s1")
    h.run()
    h.tell(AgentUpdated(S1, Resources.parse("cpus:8;mem:64")))
    assert h.offered() == {"dev s1": "cpus:4"}
    h.tell(FrameworkRemoved(P))
    h.tell(ResourcesRecovered(P, "prod", S1, Resources.parse("cpus:4")))
    assert h.allocator.quota_consumption("prod") == {"mem": 64_000}
    assert h.offered() == {}


# Nested quotas


def test_what_a_child_is_promised_is_part_of_what_its_parent_is():
    """unmet(org) = max(10 - 0, 6): not 16 are kept back, but 10."""
    h = harness()
    h.quota("org", guarantees="cpus:10")
    h.quota("org/a", guarantees="cpus:6")
    roles(h, "dev")
    h.agents("cpus:16;mem:64", "s1")
    assert h.offered() == {"dev s1": "cpus:6;mem:64"}


def test_a_sibling_does_not_eat_what_a_child_is_promised():
    h = harness()
    h.quota("org", guarantees="cpus:10")
    h.quota("org/a", guarantees="cpus:6")
    roles(h, "org/b")
    h.agents("cpus:16;mem:64", "s1")
    assert h.offered() == {"org-b s1": "cpus:10;mem:64"}  # 4 of the promise, 6 that nobody needs
    roles(h, "org/a")
    assert h.offered() == {"org-a s1": "cpus:6"}


def test_below_a_limit_what_a_child_is_promised_is_kept_for_it():
    """Of the 6 that eng may have at most, 3 are promised to eng/web: ops gets 3 of the 8 there."""
    h = harness()
    h.quota("eng", limits="cpus:6")
    h.quota("eng/web", guarantees="cpus:3")
    h.framework("ops", "eng/ops")
    h.framework("web", "eng/web", suppressed=["eng/web"])
    h.agents("cpus:8;mem:1024", "s1")
    assert h.offered() == {"ops s1": "cpus:3;mem:1024"}
    h.tell(OffersRevived(FrameworkId("web")))
    assert h.offered() == {"web s1": "cpus:3"}


def test_promises_kept_below_a_limit_are_given_up_with_the_promise():
    h = harness()
    h.quota("eng", limits="cpus:6")
    h.quota("eng/web", guarantees="cpus:3")
    h.framework("ops", "eng/ops")
    h.agents("cpus:8;mem:1024", "s1")
    assert h.offered() == {"ops s1": "cpus:3;mem:1024"}
    h.tell(QuotasUpdated({"eng/web": Quota()}))
    assert h.offered() == {"ops s1": "cpus:3"}


def test_a_child_may_be_promised_more_than_its_parent_has_left():
    """The sibling used up the parent's promise; the child's is still kept."""
    h = harness()
    h.quota("org", guarantees="cpus:8")
    h.quota("org/a", guarantees="cpus:6")
    roles(h, "org/b")
    h.agents("cpus:8;mem:64", "s1")
    assert h.offered() == {"org-b s1": "cpus:2;mem:64"}
    h.agents("cpus:8;mem:64", "s2")
    assert h.offered() == {"org-b s2": "cpus:8;mem:64"}
    h.agents("cpus:4;mem:64", "s3")
    roles(h, "dev")
    h.tick(0.0)
    held = [h.allocator.booked(D, "dev", agent).scalar_milli("cpus") for agent in (S1, S2, S3)]
    assert sum(held) == 4_000


@pytest.mark.parametrize(("parent", "child", "most"), [(4, 8, 4), (8, 4, 4)])
def test_the_tighter_of_two_limits_holds(parent, child, most):
    h = harness()
    h.quota("org", limits=f"cpus:{parent}")
    h.quota("org/a", limits=f"cpus:{child}")
    roles(h, "org/a")
    h.agents("cpus:16;mem:64", "s1")
    assert h.offered() == {"org-a s1": f"cpus:{most};mem:64"}


def test_exact_thousandths():
    h = harness()
    h.quota("dev", limits="cpus:0.3")
    roles(h, "dev")
    h.agents("cpus:0.1;mem:64", *(f"s{n}" for n in range(4)))
    offers = h.run()
    assert sum(a.resources.scalar_milli("cpus") for a in offers) == 300
    assert len(offers) == 4


def test_suppressed_frameworks_claim_nothing_in_the_first_stage():
    h = harness()
    h.quota("prod", guarantees="cpus:4")
    roles(h, "prod")
    h.tell(OffersSuppressed(P))
    h.agents("cpus:4;mem:64", "s1")
    assert h.offered() == {}
