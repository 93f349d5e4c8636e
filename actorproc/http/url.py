"""URLs, percent-encoding and path templates, with the rules of libprocess.

Source: actor-runtime.md §9, behaviours 98, 99 and 106.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from actorproc.http.errors import InvalidHttpText
from actorproc.pid import PORT_MAX

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
UNIX_SCHEME: Final = "http+unix"  # the host is the percent-encoded path of the socket

_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!*'()"
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f]")  # would end the request line, or split it
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::(.*))?", re.DOTALL)


def encode(text: str, keep: str = "") -> str:
    """Percent-encode: everything but ``A-Z a-z 0-9 - _ . ! * ' ( )`` and the characters ``keep``.

    Hexadecimal digits are upper case; a blank becomes ``%20``. Text is encoded as UTF-8.
    """
    kept = _UNRESERVED.union(keep.encode())
    data = text.encode(errors="surrogateescape")
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in data)


def decode(text: str) -> str:
    """Undo ``encode``; ``+`` becomes a blank too.

    Raises:
        InvalidHttpText: a ``%`` without two hexadecimal digits, or bytes that are not UTF-8.
    """
    if _BAD_ESCAPE.search(text):
        raise InvalidHttpText(text, "escape", "must be % and two hexadecimal digits")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise InvalidHttpText(text, "escape", "must decode to UTF-8") from error


def encode_query(query: Mapping[str, str]) -> str:
    """``{"a": "1 2", "d": ""}`` → ``a=1%202&d``."""
    return "&".join(
        f"{encode(key)}={encode(value)}" if value else encode(key) for key, value in query.items()
    )


def decode_query(text: str) -> dict[str, str]:
    """Undo ``encode_query``; of equal keys the last one counts.

    Raises:
        InvalidHttpText: a bad escape.
    """
    query: dict[str, str] = {}
    for pair in re.split("[&;]", text):
        if pair:
            key, _, value = pair.partition("=")
            query[decode(key)] = decode(value)
    return query


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL.

    Attributes:
        scheme: ``http``, ``https``, ``http+unix``, or another one with an explicit port.
        host: name or address without brackets; for ``http+unix`` the path of the socket.
        port: 1 to 65535; 0 for ``http+unix``.
        path: as given, not decoded; ``/`` when there is none.
        query: decoded keys and values; equal keys keep one value.
        fragment: as given; never sent.
    """

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)
    fragment: str = ""

    @classmethod
    def parse(cls, text: str) -> Url:
        """Read a URL.

        Raises:
            InvalidHttpText: no scheme, no host, a port out of range or missing where the scheme
                has none of its own, user info, blanks, or a bad escape in the query.
        """
        if _UNSENDABLE.search(text):
            raise InvalidHttpText(text, "URL", "must not contain blanks or control characters")
        rest, _, fragment = text.partition("#")
        rest, _, query = rest.partition("?")
        scheme, separator, rest = rest.partition("://")
        if not separator or not scheme:
            raise InvalidHttpText(text, "URL", "must begin with a scheme and ://")
        authority, slash, path = rest.partition("/")
        scheme = scheme.lower()
        host, port = _parse_authority(text, scheme, authority)
        return cls(scheme, host, port, slash + path or "/", decode_query(query), fragment)

    @property
    def target(self) -> str:
        """What stands on the request line: path and query."""
        query = encode_query(self.query)
        return f"{self.path}?{query}" if query else self.path

    @property
    def authority(self) -> str:
        """What the Host header says: the port is left out when it is 80 or 443."""
        if self.scheme == UNIX_SCHEME:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (80, 443) else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = encode(self.host) if self.scheme == UNIX_SCHEME else self.authority
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}://{host}{self.target}{fragment}"


def _parse_authority(text: str, scheme: str, authority: str) -> tuple[str, int]:
    if scheme == UNIX_SCHEME:
        path = decode(authority)
        if not path or "\0" in path:
            raise InvalidHttpText(text, "host", "must be the percent-encoded path of a socket")
        return path, 0
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise InvalidHttpText(text, "host", "must be a name or an address, without user info")
    host, port = match[1].strip("[]"), match[2]
    if port is None:
        if scheme not in DEFAULT_PORTS:
            raise InvalidHttpText(text, "port", f"must be given: {scheme} has no default")
        return host, DEFAULT_PORTS[scheme]
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= PORT_MAX:
        raise InvalidHttpText(text, "port", f"must be a number from 1 to {PORT_MAX}")
    return host, int(port)


def match_path(template: str, path: str) -> dict[str, str]:
    """The parameters of a path: ``/books/{isbn}`` and ``/books/12`` give ``{"isbn": "12"}``.

    A path that ends before the template gives the parameters up to there.

    Raises:
        InvalidHttpText: a literal segment differs, or the path goes on behind the template.
    """
    names, segments = template.strip("/").split("/"), path.strip("/").split("/")
    if segments == [""]:
        return {}
    if len(segments) > len(names):
        raise InvalidHttpText(path, "path", f"must end where {template} ends")
    found = {}
    for name, segment in zip(names, segments, strict=False):
        if name.startswith("{") and name.endswith("}"):
            found[name[1:-1]] = decode(segment)
        elif name != segment:
            raise InvalidHttpText(path, "path", f"must have {name!r} where it has {segment!r}")
    return found


__all__ = [
    "DEFAULT_PORTS",
    "UNIX_SCHEME",
    "Url",
    "decode",
    "decode_query",
    "encode",
    "encode_query",
    "match_path",
]
