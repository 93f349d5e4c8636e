"""Role names: which are legal, and how ``a/b`` lies below ``a``.

Source: master.md §2.1 (role rules), allocator.md §5.1 (hierarchy).
"""

from collections.abc import Iterator

from cluster.errors import InvalidInput

ANY_ROLE = "*"
"""The default role; a resource of role ``*`` is unreserved."""

ROLE_LENGTH_MAX = 1024
"""Characters in a role name. Differs: Mesos sets no limit; every level costs a tree node here."""

_FORBIDDEN_COMPONENTS = (".", "..", ANY_ROLE)
_FORBIDDEN_CHARACTERS = frozenset("\b\t\n\v\f\r ")


def role_error(role: str) -> str | None:
    """Why a role name is refused, or None when it is legal."""
    if role == ANY_ROLE:
        return None
    if not role:
        return "a role must not be empty"
    if len(role) > ROLE_LENGTH_MAX:
        return f"a role must have at most {ROLE_LENGTH_MAX} characters, not {len(role)}"
    if role.startswith("/") or role.endswith("/"):
        return f"role {role!r} must not begin or end with a slash"
    for component in role.split("/"):
        if not component:
            return f"role {role!r} must not contain two slashes in a row"
        if component in _FORBIDDEN_COMPONENTS:
            return f"role {role!r} must not have the component {component!r}"
        if component.startswith("-"):
            return f"role {role!r} must not have a component that begins with a dash"
        if not _FORBIDDEN_CHARACTERS.isdisjoint(component):
            return f"role {role!r} must not contain whitespace or backspace"
    return None


def check_role(role: str, *, field: str = "role") -> str:
    """Return the role unchanged.

    Raises:
        InvalidInput: the name breaks a rule of :func:`role_error`.
    """
    if (error := role_error(role)) is not None:
        raise InvalidInput(field, error)
    return role


def ancestors(role: str) -> Iterator[str]:
    """Roles above this one, nearest first: ``a/b/c`` gives ``a/b``, ``a``."""
    while "/" in role:
        role = role.rpartition("/")[0]
        yield role


def is_strict_descendant(role: str, ancestor: str) -> bool:
    """Whether ``role`` lies below ``ancestor``: ``a/b`` below ``a``, but not ``a`` below ``a``."""
    return role.startswith(f"{ancestor}/")


def may_use_reservation(role: str, reserved_for: str) -> bool:
    """Whether a framework in ``role`` is offered what is reserved for ``reserved_for``.

    A reservation serves its own role and every role below it (allocator.md §3).
    """
    return role == reserved_for or is_strict_descendant(role, reserved_for)


__all__ = [
    "ANY_ROLE",
    "ROLE_LENGTH_MAX",
    "ancestors",
    "check_role",
    "is_strict_descendant",
    "may_use_reservation",
    "role_error",
]
