"""Ids from outside that become names of directories."""

from cluster.errors import InvalidInput

ID_BYTES_MAX = 255


def check_id(value: str, name: str) -> str:
    """Check an id that will be used as a directory name.

    Raises:
        InvalidInput: empty, too long, a dot name, or with a slash, NUL or other control character.
    """
    if not value:
        raise InvalidInput(name, "must not be empty")
    if len(value.encode()) > ID_BYTES_MAX:
        raise InvalidInput(name, f"must have at most {ID_BYTES_MAX} bytes")
    if value in (".", ".."):
        raise InvalidInput(name, "must not be '.' or '..'")
    if "/" in value or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise InvalidInput(name, "must not contain slashes or control characters")
    return value


__all__ = ["ID_BYTES_MAX", "check_id"]
