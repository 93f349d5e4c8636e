import pytest

from cluster.errors import InvalidInput
from cluster.model.roles import (
    ROLE_LENGTH_MAX,
    ancestors,
    check_role,
    is_strict_descendant,
    may_use_reservation,
    role_error,
)


@pytest.mark.parametrize("role", ["*", "a", "a/b/c", "web-1", "a.b", "...", "ä", "x*", "a" * 1024])
def test_legal_roles(role):
    assert role_error(role) is None
    assert check_role(role) == role


@pytest.mark.parametrize(
    ("role", "rule"),
    [
        ("", "empty"),
        ("/a", "begin or end"),
        ("a/", "begin or end"),
        ("/", "begin or end"),
        ("a//b", "two slashes"),
        (".", "component '.'"),
        ("a/..", "component '..'"),
        ("a/*", r"component '\*'"),
        ("-a", "dash"),
        ("a/-b", "dash"),
        ("a b", "whitespace"),
        ("a\tb", "whitespace"),
        ("a\n", "whitespace"),
        ("a\bb", "backspace"),
        ("a" * (ROLE_LENGTH_MAX + 1), "at most 1024"),
    ],
)
def test_illegal_roles(role, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        check_role(role, field="framework.roles")
    assert caught.value.field == "framework.roles"


def test_ancestors_come_nearest_first():
    assert list(ancestors("a/b/c")) == ["a/b", "a"]
    assert list(ancestors("a")) == []


def test_descendants_are_strict_and_by_whole_components():
    assert is_strict_descendant("a/b", "a")
    assert not is_strict_descendant("a", "a")
    assert not is_strict_descendant("ab/c", "a")


def test_reservations_serve_their_role_and_those_below():
    assert may_use_reservation("a", "a")
    assert may_use_reservation("a/b", "a")
    assert not may_use_reservation("a", "a/b")
