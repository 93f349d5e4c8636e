"""What is left of the offers while one ACCEPT is carried out."""

import pytest

from cluster.core.master.basket import Basket
from cluster.model.conversions import Conversion
from cluster.model.resources import EMPTY, Resources, ResourcesNotContained
from tests.unit.master.operation_values import reserved, volume

SHARED = volume(100, shared=True)
CPUS = Resources.parse("cpus:4")


def test_what_is_used_is_gone():
    basket = Basket(CPUS)
    assert basket.lack(CPUS) is None
    assert basket.take(Resources.parse("cpus:3")) == EMPTY
    assert basket.lack(CPUS) == "[cpus:4] is more than the available [cpus:1]"
    assert (basket.left, basket.converted) == (Resources.parse("cpus:1"), EMPTY)
    with pytest.raises(ResourcesNotContained):
        basket.take(CPUS)


def test_what_was_converted_was_refused_by_nobody():
    basket = Basket(CPUS + reserved("cpus:1"))
    basket.convert(Conversion(Resources.parse("cpus:2"), reserved("cpus:2")))
    assert basket.converted == reserved("cpus:2")
    assert basket.declined == Resources.parse("cpus:2") + reserved("cpus:1")
    basket.take(reserved("cpus:2"))
    assert basket.converted == EMPTY


def test_copies_of_a_shared_volume_are_added_when_used():
    basket = Basket(CPUS + SHARED)
    assert basket.take(SHARED + Resources.parse("cpus:1")) == EMPTY
    assert basket.lack(SHARED + SHARED) is None
    assert basket.take(SHARED + SHARED) == SHARED + SHARED
    assert basket.left == Resources.parse("cpus:3")
    assert basket.lack(volume(100, "other", shared=True)) is not None


def test_copies_of_a_volume_that_is_destroyed_are_given_up():
    basket = Basket(CPUS + SHARED + SHARED + SHARED)
    assert basket.drop_copies(SHARED) == SHARED + SHARED
    assert basket.left == CPUS + SHARED
    basket.convert(Conversion(SHARED, reserved("disk:100")))
    assert basket.lack(SHARED) is not None
    assert Basket(CPUS + volume()).drop_copies(volume()) == EMPTY


def test_a_resized_volume_cannot_be_taken():
    basket = Basket(volume(100) + reserved("disk:50"))
    basket.convert(Conversion(volume(100) + reserved("disk:50"), volume(150)))
    basket.freeze(volume(150))
    assert "was resized by the same call" in basket.lack(volume(150))
    assert basket.left == volume(150)
