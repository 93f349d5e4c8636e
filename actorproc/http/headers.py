"""What the headers of a request or answer say. Source: behaviours 105 and 107."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actorproc.http.errors import InvalidHttpText

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME: Final = re.compile(rf"\s*({_TOKEN})(?:\s+|\Z)")
_PARAMETER: Final = re.compile(
    rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|\Z)', re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def accepts_encoding(header: str | None, encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header takes ``encoding``; a missing header takes none."""
    if header is None:
        return False
    qualities = _qualities(header)
    return qualities.get(encoding.lower(), qualities.get("*", 0.0)) > 0


def accepts_media_type(header: str | None, media_type: str) -> bool:
    """Whether an ``Accept`` header takes ``media_type``; a missing header takes every type.

    The most specific entry counts: ``*/*, text/*;q=0.0`` refuses ``text/html``.
    """
    if header is None:
        return True
    qualities = _qualities(header)
    main, _, _ = media_type.lower().partition("/")
    for name in (media_type.lower(), f"{main}/*", "*/*"):
        if name in qualities:
            return qualities[name] > 0
    return False


def _qualities(header: str) -> dict[str, float]:
    """Entries of a header with their ``q``; one that cannot be read counts as refused."""
    qualities = {}
    for entry in header.split(","):
        name, *options = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for option in options:
            key, _, value = option.partition("=")
            if key.strip() == "q":
                is_number = re.fullmatch(r"[01](\.[0-9]{0,3})?", value.strip())
                quality = float(value) if is_number else 0.0
        if name:
            qualities[name] = quality
    return qualities


@dataclass(frozen=True, slots=True)
class Challenge:
    """One value of ``WWW-Authenticate``.

    Attributes:
        scheme: for example ``Basic``.
        parameters: names in lower case, values without their quotes.
    """

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """Read a header with one challenge, ``Basic realm="a, b=c"``.

        Raises:
            InvalidHttpText: no scheme, no parameter, or one that is not ``key=value``.
        """
        match = _SCHEME.match(header)
        if match is None:
            raise InvalidHttpText(header, "WWW-Authenticate", "must begin with a scheme")
        parameters: dict[str, str] = {}
        position = match.end()
        while position < len(header) or not parameters:
            found = _PARAMETER.match(header, position)
            if found is None:
                rule = "must be key=value, separated by commas"
                raise InvalidHttpText(header, "WWW-Authenticate parameter", rule)
            quoted = found[2]
            value = found[3] if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters[found[1].lower()] = value
            position = found.end()
        return cls(match[1], parameters)

    def __str__(self) -> str:
        pairs = (f'{key}="{_quote(value)}"' for key, value in self.parameters.items())
        return f"{self.scheme} {', '.join(pairs)}"


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


__all__ = ["Challenge", "accepts_encoding", "accepts_media_type"]
