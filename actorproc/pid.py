"""PID: the address of one process, ``id@ip:port``.

A PID is a value. It is *usable* when id, ip and port are all set (its truth value) and *empty* only
when none is: ``@10.0.0.7:5051`` is neither, and messages can still be sent to it.
Source: actor-runtime.md §1.1. Differs: text that libprocess half-accepts (trailing junk after the
port, ports above 65535) is refused, with the part and the rule in the error; IPv6 addresses are an
extension, in brackets: ``id@[::1]:port``.
"""

from __future__ import annotations

import ipaddress
import re
from functools import total_ordering
from typing import ClassVar, Final, NamedTuple

from actorproc.errors import InvalidPID

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
PORT_MAX: Final = 65535
_UNSET_IPS: Final = ("", "0.0.0.0", "::")
_IP6_ORDER: Final = 256  # above every number in an IPv4 address
_NAME_ORDER: Final = 65535


class Address(NamedTuple):
    """Where a runtime listens: a numeric address (or a host name) and a port.

    ``ip`` is dotted IPv4, or IPv6 in its short form and without brackets (``::1``).
    """

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[IPv6]:port``.

        Raises:
            InvalidPID: the host is not a name or address, or the port not 0 to 65535.
        """
        if text.startswith("["):
            ip, colon, port = text[1:].partition("]:")
            host = _canonical_ip6(text, ip) if colon else ""
        else:
            host, colon, port = text.partition(":")
            if colon and not _HOST.fullmatch(host):
                raise InvalidPID(
                    text, "host", "must be an IPv4 address or a host name, or [IPv6] in brackets"
                )
        if not colon:
            raise InvalidPID(text, "address", "must be host:port")
        if not _PORT.fullmatch(port) or int(port) > PORT_MAX:
            raise InvalidPID(text, "port", f"must be a number from 0 to {PORT_MAX}")
        return cls(host, int(port))


def _canonical_ip6(text: str, ip: str) -> str:
    """The one short form of an IPv6 address: addresses are compared as text."""
    try:
        address = ipaddress.IPv6Address(ip)
    except ValueError as error:
        raise InvalidPID(text, "host", "must be an IPv6 address inside its brackets") from error
    if address.scope_id is not None:
        raise InvalidPID(text, "host", "must have no zone (%...): it means nothing to a peer")
    if address.ipv4_mapped is not None:
        raise InvalidPID(text, "host", f"must be written as IPv4: {address.ipv4_mapped}")
    return address.compressed


@total_ordering
class PID:
    """Address of one process: ``PID("master", "10.0.0.1", 5050)``; immutable and hashable.

    Equality and hash use id, ip and port; the order is by ip, then port, then id.
    """

    __slots__ = ("_hash", "id", "ip", "port")

    EMPTY: ClassVar[PID]

    id: str
    ip: str
    port: int
    _hash: int

    def __init__(self, id: str, ip: str, port: int) -> None:
        set_once = object.__setattr__
        set_once(self, "id", id)
        set_once(self, "ip", ip)
        set_once(self, "port", port)
        set_once(self, "_hash", hash((id, ip, port)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a PID is immutable: cannot set {name}")

    @classmethod
    def parse(cls, text: str) -> PID:
        """Read ``id@ip:port`` or ``id@[ip]:port``; the id ends at the first ``@``, may be empty.

        Raises:
            InvalidPID: naming the part (id, host or port) and the rule it breaks.
        """
        id, at, address = text.partition("@")
        if not at:
            raise InvalidPID(text, "form", "must be id@ip:port")
        ip, port = Address.parse(address)
        return cls.EMPTY if not id and not port and ip in _UNSET_IPS else cls(id, ip, port)

    @property
    def address(self) -> Address:
        """The runtime this process lives in."""
        return Address(self.ip, self.port)

    @property
    def is_empty(self) -> bool:
        """True only when id, ip and port are all unset."""
        return not self.id and not self.port and self.ip in _UNSET_IPS

    def __bool__(self) -> bool:
        return bool(self.id) and self.port != 0 and self.ip not in _UNSET_IPS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PID):
            return NotImplemented
        return self.id == other.id and self.port == other.port and self.ip == other.ip

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PID):
            return NotImplemented
        return self._order < other._order

    @property
    def _order(self) -> tuple[tuple[int, ...], str, int, str]:
        """Numeric addresses compare as numbers, IPv4 first; host names come after them."""
        if ":" in self.ip:
            numbers: tuple[int, ...] = (_IP6_ORDER, *ipaddress.IPv6Address(self.ip).packed)
        else:
            parts = self.ip.split(".")
            is_numeric = all(part.isdecimal() for part in parts)
            numbers = tuple(map(int, parts)) if is_numeric else (_NAME_ORDER,)
        return numbers, self.ip, self.port, self.id

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[PID], tuple[str, str, int]]:
        return PID, (self.id, self.ip, self.port)

    def __str__(self) -> str:
        if ":" in self.ip:
            return f"{self.id}@[{self.ip}]:{self.port}"
        return f"{self.id}@{self.ip}:{self.port}"

    def __repr__(self) -> str:
        return f"PID({str(self)!r})"


PID.EMPTY = PID("", "0.0.0.0", 0)

__all__ = ["PID", "PORT_MAX", "Address"]
