"""Wishes for offers: what they become on the wire, and what a master makes of that."""

import pytest

from cluster.errors import InvalidInput
from cluster.model.attributes import Attributes
from cluster.model.constraints import AgentFacts
from cluster.model.offer_wishes import OfferWish
from cluster.validation.offer_constraints import read_offer_constraints
from cluster.wire.framework_info import framework_spec
from cluster.wire.offer_wishes import with_wishes
from tests.sim.master_world import MULTI_ROLE, framework_info

FRAMEWORK = framework_info(capabilities=[MULTI_ROLE], roles=["a", "b"])


def test_smallest_offers_become_offer_filters():
    info, constraints = with_wishes(
        FRAMEWORK, {"a": OfferWish(min_resources="cpus:4;mem:8192 | gpus:1")}
    )
    assert framework_spec(info).min_allocatable == {
        "a": ({"cpus": 4000, "mem": 8_192_000}, {"gpus": 1000})
    }
    assert not constraints.role_constraints
    assert not FRAMEWORK.offer_filters, "the framework that was handed in stays as it was"


def test_what_the_framework_says_itself_stays_where_a_wish_says_nothing():
    own = framework_info(role="a")
    minimum = own.offer_filters["a"].min_allocatable_resources.quantities.add()
    minimum.quantities["cpus"].value = 2
    kept, _ = with_wishes(own, {"a": OfferWish(hosts=("h",))})
    assert framework_spec(kept).min_allocatable == {"a": ({"cpus": 2000},)}
    changed, _ = with_wishes(own, {"a": OfferWish(min_resources="mem:64")})
    assert framework_spec(changed).min_allocatable == {"a": ({"mem": 64_000},)}


RACK_1 = Attributes.parse("rack:r1")
AGENTS = [
    AgentFacts("h1", RACK_1),
    AgentFacts("h2", RACK_1),
    AgentFacts("h3", RACK_1),
    AgentFacts("h1", Attributes.parse("rack:r2")),
    AgentFacts("h2"),
]


@pytest.mark.parametrize(
    ("wish", "allowed"),
    [
        (OfferWish(hosts=("h1", "h2")), [True, True, False, True, True]),
        (OfferWish(attributes={"rack": "r1"}), [True, True, True, False, False]),
        (OfferWish(hosts=("h1",), attributes={"rack": "r1"}), [True, False, False, False, False]),
        (OfferWish(hosts=("h",)), [False] * 5),
        (OfferWish(min_resources="cpus:1"), [True] * 5),
    ],
)  # fmt: skip
def test_nodes_become_offer_constraints(wish, allowed):
    _, message = with_wishes(FRAMEWORK, {"a": wish})
    constraints = read_offer_constraints(message)
    assert [constraints is None or constraints.allow("a", agent) for agent in AGENTS] == allowed
    assert constraints is None or all(constraints.allow("b", agent) for agent in AGENTS)


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"c": OfferWish()}, "wishes[c]"),
        ({"a": OfferWish(hosts="h1")}, "wishes[a].hosts"),
        ({"a": OfferWish(min_resources="cpus:1|")}, "wishes[a].min_resources"),
        ({"a": OfferWish(min_resources="ports:[1-2]")}, "wishes[a].min_resources"),
        ({"a": OfferWish(min_resources="cpus(r):1")}, "wishes[a].min_resources"),
        ({"a": OfferWish(min_resources="cpus:many")}, "wishes[a].min_resources"),
    ],
)
def test_wrong_wishes_are_named(wishes, field):
    with pytest.raises(InvalidInput) as caught:
        with_wishes(FRAMEWORK, wishes)
    assert caught.value.field.startswith(field)
