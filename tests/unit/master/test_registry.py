from cluster.core.master import registry as module
from cluster.core.master.registry import (
    AdmitAgent,
    MarkAgentGone,
    MarkAgentReachable,
    MarkAgentUnreachable,
    Registry,
    RemoveAgent,
    UpdateAgent,
)
from cluster.model.ids import AgentId

A, B = AgentId("a"), AgentId("b")


def _standing(registry):
    return list(registry.admitted), dict(registry.unreachable), dict(registry.gone)


def test_each_operation_says_whether_it_changed_anything():
    registry = Registry()
    assert registry.apply(AdmitAgent(A))
    assert not registry.apply(AdmitAgent(A))
    assert registry.apply(UpdateAgent(A))
    assert not registry.apply(UpdateAgent(B))
    assert registry.apply(MarkAgentUnreachable(A, 5.0))
    assert _standing(registry) == ([], {A: 5.0}, {})
    assert not registry.apply(MarkAgentUnreachable(A, 6.0))
    assert registry.apply(MarkAgentReachable(A))
    assert registry.apply(MarkAgentReachable(B)), "an agent never heard of is admitted"
    assert _standing(registry) == ([A, B], {}, {})
    assert registry.apply(RemoveAgent(A))
    assert not registry.apply(RemoveAgent(A))
    assert registry.apply(MarkAgentGone(B, 7.0))
    assert _standing(registry) == ([], {}, {B: 7.0})


def test_lost_agents_are_remembered_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(module, "UNREACHABLE_AGENTS_MAX", 2)
    registry = Registry()
    for number in range(4):
        registry.apply(AdmitAgent(AgentId(f"a{number}")))
        registry.apply(MarkAgentUnreachable(AgentId(f"a{number}"), float(number)))
    assert list(registry.unreachable) == ["a2", "a3"]
