"""Offer constraints: what is refused and how, and what the accepted ones mean."""

import pytest
from google.protobuf import json_format

from cluster.model.attributes import Attributes
from cluster.model.constraints import AgentFacts
from cluster.model.domains import FaultDomain
from cluster.validation.offer_constraints import (
    CONSTRAINTS_MAX,
    RegexLimits,
    read_offer_constraints,
)
from cluster.wire.pb import scheduler_pb2 as scheduler

RACK_1 = {"selector": {"attribute_name": "rack"}, "predicate": {"text_equals": {"value": "r1"}}}


def constraints(*groups, role="dev"):
    """Each group is a list of constraints in JSON form."""
    message = scheduler.OfferConstraints()
    value = {"groups": [{"attribute_constraints": list(group)} for group in groups]}
    json_format.ParseDict({"role_constraints": {role: value}}, message)
    return message


def one(selector, predicate):
    return constraints([{"selector": selector, "predicate": predicate}])


HOST = {"pseudoattribute_type": "HOSTNAME"}
RACK = {"attribute_name": "rack"}


@pytest.mark.parametrize(
    ("message", "field", "rule"),
    [
        (one({}, {"exists": {}}), "selector", "must name an attribute"),
        (
            one({"pseudoattribute_type": "UNKNOWN"}, {"exists": {}}),
            "selector.pseudoattribute_type",
            "must be HOSTNAME, REGION or ZONE",
        ),
        (one(RACK, {}), "predicate", "must be one of those"),
        (
            one(RACK, {"text_matches": {"regex": "("}}),
            "predicate.text_matches.regex",
            "missing )",
        ),
        (
            one(RACK, {"text_not_matches": {"regex": "a{1000}"}}),
            "predicate.text_not_matches.regex",
            "pattern too large",
        ),
        (
            one(RACK, {"text_matches": {"regex": "(?=look ahead)"}}),
            "predicate.text_matches.regex",
            "no usable pattern",
        ),
    ],
)
def test_errors_name_role_group_constraint_and_rule(message, field, rule):
    error = read_offer_constraints(message)
    assert error.startswith(f"offer_constraints[dev].groups[0].attribute_constraints[0].{field}: ")
    assert rule in error


def test_program_size_is_limited_by_itself():
    message = one(RACK, {"text_matches": {"regex": "[a-z]{30}"}})
    assert not isinstance(read_offer_constraints(message), str)
    error = read_offer_constraints(message, RegexLimits(max_program_size=10))
    assert "must compile to at most 10 instructions" in error
    large = one(RACK, {"text_matches": {"regex": "a{1000}"}})
    roomy = RegexLimits(max_mem_bytes=1 << 20, max_program_size=2000)
    assert not isinstance(read_offer_constraints(large, roomy), str)


def test_the_number_of_constraints_is_limited():
    many = constraints([RACK_1] * (CONSTRAINTS_MAX + 1))
    assert read_offer_constraints(many) == (
        f"offer_constraints: must not hold more than {CONSTRAINTS_MAX} constraints"
    )
    assert not isinstance(read_offer_constraints(constraints([RACK_1] * CONSTRAINTS_MAX)), str)


def test_no_roles_mean_no_constraints():
    assert read_offer_constraints(scheduler.OfferConstraints()) is None


HOST_A = AgentFacts("a.example", Attributes.parse("rack:r1;slots:4"), FaultDomain("eu", "eu-1"))
BARE = AgentFacts("b.example")


@pytest.mark.parametrize(
    ("selector", "predicate", "on_a", "on_bare"),
    [
        (RACK, {"exists": {}}, True, False),
        (RACK, {"not_exists": {}}, False, True),
        (RACK, {"text_equals": {"value": "r1"}}, True, False),
        (RACK, {"text_equals": {"value": "r"}}, False, False),
        (RACK, {"text_not_equals": {"value": "r1"}}, False, True),
        (RACK, {"text_matches": {"regex": "r[0-9]"}}, True, False),
        (RACK, {"text_matches": {"regex": "r"}}, False, False),  # the whole text must match
        (RACK, {"text_not_matches": {"regex": "r"}}, True, True),
        ({"attribute_name": "slots"}, {"text_equals": {"value": "no text"}}, True, False),
        (HOST, {"text_matches": {"regex": "b\\..*"}}, False, True),
        ({"pseudoattribute_type": "REGION"}, {"text_equals": {"value": "eu"}}, True, False),
        ({"pseudoattribute_type": "ZONE"}, {"text_not_equals": {"value": "eu-1"}}, False, True),
    ],
)
def test_what_each_predicate_allows(selector, predicate, on_a, on_bare):
    read = read_offer_constraints(one(selector, predicate))
    assert (read.allow("dev", HOST_A), read.allow("dev", BARE)) == (on_a, on_bare)


def test_groups_are_alternatives_of_which_every_constraint_counts():
    on_host = {"selector": HOST, "predicate": {"text_equals": {"value": "b.example"}}}
    either = read_offer_constraints(constraints([RACK_1], [on_host]))
    assert either.allow("dev", HOST_A)
    assert either.allow("dev", BARE)
    both = read_offer_constraints(constraints([RACK_1, on_host]))
    assert not both.allow("dev", HOST_A)
    assert not both.allow("dev", BARE)
    none = read_offer_constraints(constraints())
    assert not none.allow("dev", HOST_A)
    assert none.allow("other", HOST_A)
