import pytest

from cluster.validation.framework import framework_error
from cluster.wire.pb import scheduler_pb2 as scheduler
from tests.sim.master_world import MULTI_ROLE, framework_info


@pytest.mark.parametrize(
    "info",
    [
        framework_info(),
        framework_info(role="a/b/c"),
        framework_info(capabilities=[MULTI_ROLE], roles=["a", "*"]),
        framework_info(capabilities=[MULTI_ROLE]),
        framework_info(failover_timeout=-1.0),
        framework_info(failover_timeout=9_223_372_036.0),
        framework_info(id={"value": ""}),
    ],
)
def test_right(info):
    assert framework_error(info) is None


def offer_filters(role, value):
    info = framework_info(role="dev")
    quantities = info.offer_filters[role].min_allocatable_resources.quantities.add()
    quantities.quantities["cpus"].value = value
    return info


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (framework_info(role="a\tb"), "whitespace"),
        (framework_info(role="a\bb"), "backspace"),
        (framework_info(role="a/*"), "component"),
        (framework_info(role="a/"), "slash"),
        (framework_info(failover_timeout=9.3e9), "failover_timeout (9.3e+09) is invalid"),
        (framework_info(failover_timeout=float("-inf")), "failover_timeout (-inf) is invalid"),
        (framework_info(id={"value": "a\nb"}), "framework_id"),
        (offer_filters("ops", 1.0), "offer_filters: 'ops' is not a role"),
        (offer_filters("dev", -1.0), "offer_filters[dev].cpus: must"),
        (offer_filters("dev", float("nan")), "offer_filters[dev].cpus: must"),
    ],
)
def test_wrong(info, words):
    assert words in framework_error(info)


def test_constraints_and_suppressed_roles_name_roles_of_the_framework():
    constraints = scheduler.OfferConstraints()
    constraints.role_constraints["ops"].SetInParent()
    info = framework_info(role="dev")
    assert "offer_constraints: 'ops'" in framework_error(info, (), constraints)
    assert "suppressed_roles: 'ops'" in framework_error(info, ["dev", "ops"])
    assert framework_error(info, ["dev"]) is None
