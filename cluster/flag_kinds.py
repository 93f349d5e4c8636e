"""What the value of a flag may look like: text in, a checked value out, and back to text.

A kind turns the text of one flag into a value and refuses text that breaks its rule; it also
prints the value the way Mesos prints it at ``/flags``. Kinds know nothing of names, defaults or
where the text came from (``cluster/flags.py``), nor of what a value is for.

Source: master.md §11, agent.md §14 and the recorded answers of ``/flags``.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cluster.errors import InvalidInput
from cluster.model.durations import format_duration, parse_duration

T = TypeVar("T")

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_BYTES_PER_UNIT = {"TB": 1 << 40, "GB": 1 << 30, "MB": 1 << 20, "KB": 1 << 10, "B": 1}
_SIZE = re.compile(r"(\d+)(B|KB|MB|GB|TB)", re.ASCII)
# RFC 1123 labels, and underscores because container networks use them.
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?", re.ASCII)
JSON_DEPTH_MAX = 100
NO_DURATION = "none"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One family of values.

    Attributes:
        placeholder: what ``--help`` prints after the equals sign, e.g. ``DURATION``.
        parse: text and flag name -> value; raises InvalidInput(flag name, rule).
        format: value -> text that ``parse`` reads back to an equal value.
        reads_files: a value ``file:///path`` stands for the content of that file.
        is_switch: the flag may stand alone (``--quiet``) and be negated (``--no-quiet``).
    """

    placeholder: str
    parse: Callable[[str, str], T]
    format: Callable[[T], str]
    reads_files: bool = True
    is_switch: bool = False


def parse_size(text: str, *, field: str = "size") -> int:
    """Read ``2GB`` as bytes (2147483648); units are powers of 1024.

    Raises:
        InvalidInput: not a whole number directly followed by B, KB, MB, GB or TB.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        rule = "must be a whole number and a unit (B, KB, MB, GB, TB)"
        raise InvalidInput(field, f"{rule}, not {text!r}")
    return int(match[1]) * _BYTES_PER_UNIT[match[2]]


def format_size(size_bytes: int) -> str:
    """Print with the largest unit that divides the size: 4096 becomes ``4KB``."""
    for unit, unit_bytes in _BYTES_PER_UNIT.items():
        if size_bytes >= unit_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{unit}"
    return f"{size_bytes}B"


def text(placeholder: str = "TEXT") -> Kind[str]:
    """Any text, taken as it is."""
    return Kind(placeholder, lambda given, _: given, str)


def path(placeholder: str = "PATH") -> Kind[str]:
    """A path on this machine, not empty; ``file:///path`` is the path itself, not its content."""

    def parse(given: str, field: str) -> str:
        plain = given.removeprefix("file://")
        if not plain or "\0" in plain:
            raise InvalidInput(field, f"must be a path, not {given!r}")
        return plain

    return Kind(placeholder, parse, str, reads_files=False)


def choice(*allowed: str) -> Kind[str]:
    """One of a few words, exactly as spelled."""

    def parse(given: str, field: str) -> str:
        if given not in allowed:
            raise InvalidInput(field, f"must be one of {', '.join(allowed)}, not {given!r}")
        return given

    return Kind("|".join(allowed), parse, str)


def switch() -> Kind[bool]:
    """True or false."""

    def parse(given: str, field: str) -> bool:
        match given:
            case "true" | "1" | "":
                return True
            case "false" | "0":
                return False
            case _:
                raise InvalidInput(field, f"must be true, false, 1 or 0, not {given!r}")

    return Kind("BOOLEAN", parse, lambda value: "true" if value else "false", is_switch=True)


def integer(*, at_least: int = 0, at_most: int | None = None, placeholder: str = "N") -> Kind[int]:
    """A whole decimal number within bounds (both included)."""

    def parse(given: str, field: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,20}", given) is None:
            raise InvalidInput(field, f"must be a whole number, not {given!r}")
        value = int(given)
        _check_bounds(value, at_least, at_most, field, _format_number)
        return value

    return Kind(placeholder, parse, str)


def number(*, at_least: float, at_most: float | None = None) -> Kind[float]:
    """A finite decimal number within bounds (both included)."""

    def parse(given: str, field: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInput(field, f"must be a number, not {given!r}")
        _check_bounds(value, at_least, at_most, field, _format_number)
        return value

    return Kind("NUMBER", parse, _format_number)


def percentage() -> Kind[float]:
    """``0%`` to ``100%``, kept as a fraction of one."""

    def parse(given: str, field: str) -> float:
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", given, re.ASCII)
        if match is None or float(match[1]) > 100:
            raise InvalidInput(field, f"must be a percentage from 0% to 100%, not {given!r}")
        return float(match[1]) / 100

    return Kind("PERCENT", parse, lambda value: f"{_format_number(value * 100)}%")


def duration(*, at_least_s: float = 0.0, at_most_s: float | None = None) -> Kind[float]:
    """A number and a unit, kept as seconds, within bounds (both included)."""

    def parse(given: str, field: str) -> float:
        value_s = parse_duration(given, field=field)
        _check_bounds(value_s, at_least_s, at_most_s, field, format_duration)
        return value_s

    return Kind("DURATION", parse, format_duration)


def duration_or_none() -> Kind[float | None]:
    """A duration in seconds, or ``none`` for no such time at all."""

    def parse(given: str, field: str) -> float | None:
        return None if given.strip() == NO_DURATION else parse_duration(given, field=field)

    def format_value(value_s: float | None) -> str:
        return NO_DURATION if value_s is None else format_duration(value_s)

    return Kind("DURATION", parse, format_value)


def size() -> Kind[int]:
    """A number and a unit, kept as bytes."""
    return Kind("SIZE", lambda given, field: parse_size(given, field=field), format_size)


def ip_address(version: int = 4) -> Kind[str]:
    """A literal IP address of one version."""
    parse_ip = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address

    def parse(given: str, field: str) -> str:
        try:
            return str(parse_ip(given))
        except ValueError:
            raise InvalidInput(field, f"must be an IPv{version} address, not {given!r}") from None

    return Kind("ADDRESS", parse, str)


def port(*, at_least: int = 0) -> Kind[int]:
    """A TCP port; 0 lets the system choose one."""
    return integer(at_least=at_least, at_most=65535, placeholder="PORT")


def json_value() -> Kind[JsonValue]:
    """A JSON document, in place or, more often, as ``file:///path``."""

    def parse(given: str, field: str) -> JsonValue:
        try:
            value: JsonValue = json.loads(given, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(field, f"must be JSON: {error}") from None
        if _is_deeper_than(value, JSON_DEPTH_MAX):
            raise InvalidInput(field, f"must not nest deeper than {JSON_DEPTH_MAX} levels")
        return value

    return Kind("JSON", parse, lambda value: json.dumps(value, separators=(",", ":")))


def rate() -> Kind[str]:
    """``N/DURATION``: at most N in each such span, e.g. ``1/10mins``."""

    def parse(given: str, field: str) -> str:
        count, slash, span = given.partition("/")
        if not slash or re.fullmatch(r"[0-9]{1,9}", count) is None or int(count) < 1:
            raise InvalidInput(field, f"must be a count and a duration (1/10mins), not {given!r}")
        if parse_duration(span, field=field) <= 0:
            raise InvalidInput(field, f"must name a duration above zero, not {span!r}")
        return given

    return Kind("N/DURATION", parse, str)


def master_address() -> Kind[str]:
    """Where the leading master is found.

    ``host:port``, ``master@host:port`` or ``zk://host:port[,...]/path``; a ``file://`` value has
    been replaced by its content before. Only the form is checked; names are resolved later.
    Source: drivers.md §8.
    """

    def parse(given: str, field: str) -> str:
        if given.startswith("zk://"):
            _check_zookeeper_url(given, field)
        elif not _is_host_port(given.removeprefix("master@")):
            forms = "host:port, master@host:port, zk://host:port/path or file:///path"
            raise InvalidInput(field, f"must be {forms}, not {given!r}")
        return given

    return Kind("MASTER", parse, str)


def zookeeper_url() -> Kind[str]:
    """``zk://[user:password@]host:port[,host:port...]/path``; the root path is refused."""

    def parse(given: str, field: str) -> str:
        if not given.startswith("zk://"):
            raise InvalidInput(field, "must be zk://host:port[,host:port]/path")
        _check_zookeeper_url(given, field)
        return given

    return Kind("URL", parse, str)


def checked_text(placeholder: str, check: Callable[[str], object]) -> Kind[str]:
    """Text kept as given once ``check`` has read it without raising InvalidInput."""

    def parse(given: str, field: str) -> str:
        try:
            check(given)
        except InvalidInput as error:
            raise InvalidInput(field, str(error)) from error
        return given

    return Kind(placeholder, parse, str)


def _check_bounds(
    value: float, low: float, high: float | None, field: str, show: Callable[[float], str]
) -> None:
    if value < low:
        raise InvalidInput(field, f"must be at least {show(low)}, not {show(value)}")
    if high is not None and value > high:
        raise InvalidInput(field, f"must be at most {show(high)}, not {show(value)}")


def _format_number(value: float) -> str:
    return f"{value:.12g}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_deeper_than(value: JsonValue, levels: int) -> bool:
    """Walk level by level: recursion would meet the very stack limit this guards."""
    level: list[JsonValue] = [value]
    for _ in range(levels + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_host_port(given: str) -> bool:
    host, colon, port_text = given.rpartition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port_text) is not None and 1 <= int(port_text) <= 65535
    return bool(colon) and is_port and _HOST.fullmatch(host) is not None


def _check_zookeeper_url(url: str, field: str) -> None:
    """The text is not repeated in the error: it may hold a password."""
    servers, slash, rest = url.removeprefix("zk://").rpartition("@")[2].partition("/")
    if not all(_is_host_port(server) for server in servers.split(",")):
        raise InvalidInput(field, "must name ZooKeeper servers as zk://host:port[,host:port]/path")
    if not slash or not rest.strip("/"):
        raise InvalidInput(field, "must end in a ZooKeeper path other than /")


__all__ = [
    "JSON_DEPTH_MAX",
    "JsonValue",
    "Kind",
    "checked_text",
    "choice",
    "duration",
    "format_size",
    "integer",
    "ip_address",
    "json_value",
    "master_address",
    "number",
    "parse_size",
    "path",
    "percentage",
    "port",
    "rate",
    "size",
    "switch",
    "text",
    "zookeeper_url",
]
