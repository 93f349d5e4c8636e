"""Rules for ids that peers choose. Source: master.md §6.3 rule 1."""

ID_BYTES_MAX = 255
_SEPARATORS = frozenset("/\\")


def id_error(value: str, field: str) -> str | None:
    """Why a task, executor or framework id is refused, or None.

    Ids become names of directories, so they must be good ones.
    """
    if not value:
        return f"{field}: must not be empty"
    if len(value.encode()) > ID_BYTES_MAX:
        return f"{field}: must have at most {ID_BYTES_MAX} bytes"
    if value in (".", ".."):
        return f"{field}: must not be '{value}'"
    if any(character in _SEPARATORS or ord(character) < 32 for character in value) or (
        "\x7f" in value
    ):
        return f"{field}: must not contain slashes, backslashes or control characters: {value!r}"
    return None


__all__ = ["ID_BYTES_MAX", "id_error"]
