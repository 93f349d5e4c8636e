"""Who hears of whose end. Source: actor-runtime.md §1.9."""

from actorproc import PID, Address
from actorproc.core.links import Links

X = PID("x", "10.0.0.1", 1)
Y = PID("y", "10.0.0.1", 1)
FAR = PID("x", "10.0.0.2", 1)


def test_every_linker_hears_once_in_the_order_of_linking():
    links = Links()
    for linker in ("b", "a", "b", "c"):
        links.add(linker, X)
    assert links.take_linkers(X) == ["b", "a", "c"]
    assert links.take_linkers(X) == []


def test_hearing_consumes_the_link_and_it_can_be_made_again():
    links = Links()
    links.add("a", X)
    links.take_linkers(X)
    links.add("a", X)
    assert links.take_linkers(X) == ["a"]


def test_an_address_takes_every_pid_there_and_no_other():
    links = Links()
    links.add("a", X)
    links.add("b", Y)
    links.add("a", Y)
    links.add("a", FAR)
    assert links.take_address(Address("10.0.0.1", 1)) == [("a", X), ("b", Y), ("a", Y)]
    assert links.take_address(Address("10.0.0.1", 1)) == []
    assert links.take_linkers(FAR) == ["a"]


def test_a_linker_that_ended_is_forgotten():
    links = Links()
    links.add("a", X)
    links.add("a", FAR)
    links.add("b", X)
    links.forget_linker("a")
    links.forget_linker("never linked")
    assert links.take_linkers(X) == ["b"]
    assert links.take_address(FAR.address) == []


def test_nothing_is_kept_of_consumed_links():
    links = Links()
    for number in range(100):
        links.add(f"a{number}", X)
        links.add("b", PID(f"p{number}", "10.0.0.3", 1))
    links.take_linkers(X)
    links.forget_linker("b")
    assert not links._linkers
    assert not links._pids_at
    assert not links._pids_of
