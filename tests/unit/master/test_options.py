import pytest

from cluster.errors import InvalidInput
from cluster.master import published_hostname
from cluster.master_flags import MasterConfig
from cluster.master_options import allocator_options, master_options, role_weights


def config(**flags):
    return MasterConfig(work_dir="/nowhere", **flags)


def test_defaults():
    options = master_options(config())
    assert options.offer_timeout_s == 300.0
    assert options.allowed_roles is None
    assert allocator_options(config()).allocation_interval_s == 1.0
    assert role_weights(config()) == {}


def test_texts_are_taken_apart():
    assert master_options(config(roles="a, b/c")).allowed_roles == {"*", "a", "b/c"}
    assert role_weights(config(weights="a=2.5, b=1")) == {"a": 2.5, "b": 1.0}
    excluded = allocator_options(config(fair_sharing_excluded_resource_names="gpus,fpgas"))
    assert excluded.fair_sharing_excluded == {"gpus", "fpgas"}


@pytest.mark.parametrize("weights", ["a", "a=0", "a=-1", "a=nan", "a=inf", "a=x", "=1", "a//b=1"])
def test_wrong_weights_name_the_flag(weights):
    with pytest.raises(InvalidInput, match="--weights"):
        role_weights(config(weights=weights))


def test_wrong_roles_name_the_flag():
    with pytest.raises(InvalidInput, match="--roles"):
        master_options(config(roles="a//b"))


def test_published_hostname():
    assert published_hostname(config(hostname="given")) == "given"
    assert published_hostname(config(ip="127.0.0.7", hostname_lookup=False)) == "127.0.0.7"
    assert published_hostname(config(advertise_ip="10.9.8.7", hostname_lookup=False)) == "10.9.8.7"
