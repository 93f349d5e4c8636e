"""Rules for ids that peers choose. Source: master.md §6.3 rule 1."""

import re

ID_BYTES_MAX = 255
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]")


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
    if _UNFIT.search(value):
        return f"{field}: must not contain slashes, backslashes or control characters: {value!r}"
    return None


__all__ = ["ID_BYTES_MAX", "id_error"]
