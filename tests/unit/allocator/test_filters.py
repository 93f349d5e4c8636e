import pytest

from cluster.core.allocator.clients import Client
from cluster.core.allocator.filters import (
    FILTERS_PER_CLIENT_AND_AGENT_MAX,
    RefusalFilters,
    refusal_s,
)
from cluster.model.ids import AgentId, FrameworkId
from cluster.model.resources import Resources

S1, S2 = AgentId("s1"), AgentId("s2")
A, B = Client(FrameworkId("f1"), "a"), Client(FrameworkId("f1"), "b")


def refused(filters, agent_id, client, text, now_s):
    refusal = (filters.on_agent(agent_id) or {}).get(client)
    return refusal is not None and refusal.forbids(Resources.parse(text), now_s)


@pytest.mark.parametrize(
    ("given", "meant"),
    [(0.0, 0.0), (3.5, 3.5), (-1.0, 5.0), (float("nan"), 5.0), (1e9, 31_536_000.0)],
)
def test_how_long_a_refusal_lasts(given, meant):
    assert refusal_s(given) == meant


def test_a_filter_holds_for_less_than_refused_until_its_end():
    filters = RefusalFilters()
    filters.install(S1, A, Resources.parse("cpus:2"), until_s=10.0)
    assert refused(filters, S1, A, "cpus:2", 9.9)
    assert refused(filters, S1, A, "cpus:1", 9.9)
    assert not refused(filters, S1, A, "cpus:2", 10.0)
    assert not refused(filters, S1, A, "cpus:2;mem:1", 0.0)
    assert not refused(filters, S1, B, "cpus:2", 0.0)
    assert not refused(filters, S2, A, "cpus:2", 0.0)


def test_a_wider_longer_filter_replaces_a_narrower_one():
    filters = RefusalFilters()
    filters.install(S1, A, Resources.parse("cpus:1"), until_s=10.0)
    filters.install(S1, A, Resources.parse("cpus:2"), until_s=20.0)
    assert len(filters) == 1
    filters.install(S1, A, Resources.parse("cpus:3"), until_s=15.0)
    assert len(filters) == 2
    assert refused(filters, S1, A, "cpus:2", 19.0)
    assert not refused(filters, S1, A, "cpus:3", 16.0)
    filters.check_invariants()


def test_the_number_of_filters_has_a_limit():
    filters = RefusalFilters()
    for n in range(100):
        filters.install(S1, A, Resources.parse(f"ports:[{n}-{n}]"), until_s=10.0)
    assert len(filters) == FILTERS_PER_CLIENT_AND_AGENT_MAX
    assert refused(filters, S1, A, "ports:[99-99]", 0.0)
    assert not refused(filters, S1, A, "ports:[0-0]", 0.0)


def test_ended_filters_say_once_whose_they_were():
    filters = RefusalFilters()
    filters.install(S1, A, Resources.parse("cpus:1"), until_s=10.0)
    filters.install(S1, B, Resources.parse("cpus:1"), until_s=5.0)
    filters.install(S2, A, Resources.parse("cpus:1"), until_s=7.0)
    assert filters.next_end_s == 5.0
    assert filters.end_expired(4.9) == []
    assert filters.end_expired(8.0) == [(S1, B), (S2, A)]
    filters.check_invariants()
    assert filters.end_expired(8.0) == []
    assert filters.next_end_s == 10.0
    assert filters.end_expired(10.0) == [(S1, A)]
    assert filters.next_end_s is None
    assert len(filters) == 0


def test_clearing():
    filters = RefusalFilters()
    for agent_id in (S1, S2):
        for client in (A, B):
            filters.install(agent_id, client, Resources.parse("cpus:1"), until_s=10.0)
    filters.clear_client(A)
    assert [(agent_id, client) for agent_id, client, _ in filters] == [(S1, B), (S2, B)]
    filters.clear_agent(S1)
    assert [(agent_id, client) for agent_id, client, _ in filters] == [(S2, B)]
    filters.clear_client(B)
    assert filters.next_end_s is None
    assert filters.on_agent(S2) is None
    filters.check_invariants()


def test_the_calendar_does_not_grow_with_repeated_refusals():
    """A long filter beside short ones again and again leaves outdated entries, but not for ever."""
    filters = RefusalFilters()
    filters.install(S1, A, Resources.parse("cpus:1"), until_s=1e6)
    for n in range(10_000):
        filters.install(S1, B, Resources.parse("cpus:1"), until_s=float(n))
        filters.end_expired(float(n))
    assert len(filters._calendar) < 200
    assert filters._planned < 200
    assert filters.next_end_s == 1e6
