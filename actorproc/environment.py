"""``LIBPROCESS_*`` variables: read once, into a frozen value.

    settings = read_environment(os.environ)
    TcpTransport(settings.ip, settings.port, ssl=settings.ssl, ...)   # or from_environment()

Names are compared without regard to case, and unknown ones ignored. ``ACTORPROC_<NAME>`` wins over
``LIBPROCESS_<NAME>``, which for TLS wins over the old ``SSL_<NAME>``. A value ``file://<path>`` is
read from that file, except where a path is meant. ``LIBPROCESS_NO-<NAME>`` is false. A value that
breaks a rule is an error that names variable and rule; whether files and ciphers can be used is
found out by the transport.
Source: actor-runtime.md §14. Differs: an empty value counts as unset; IPv6 addresses are taken; the
original's variables for threads (``NUM_WORKER_THREADS``, ``LIBEV_NUM_IO_THREADS``) are ignored.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from actorproc.errors import InvalidSetting
from actorproc.pid import PORT_MAX
from actorproc.transport.tls import (
    CIPHERS_DEFAULT,
    VERIFICATION_DEPTH_MAX,
    Scheme,
    TlsSettings,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

PREFIXES: Final = ("ACTORPROC_", "LIBPROCESS_")  # the first wins
FILE_SCHEME: Final = "file://"
NEGATION: Final = "NO-"
VALUE_FILE_BYTES_MAX: Final = 64 * 1024

_OLD_NAMES: Final = {
    "SSL_VERIFY_CERT": "SSL_VERIFY_SERVER_CERT",
    "SSL_REQUIRE_CERT": "SSL_REQUIRE_CLIENT_CERT",
}
_MISLEADING_NAMES: Final = {  # documented somewhere, read nowhere
    "SSL_VERIFY_DEPTH": "SSL_VERIFICATION_DEPTH",
    "SSL_ECDH_CURVE": "SSL_ECDH_CURVES",
    "SSL_ENABLE_DOWNGRADE": "SSL_SUPPORT_DOWNGRADE",
}
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_RATE: Final = re.compile(
    r"(\d{1,9})/(\d{1,9}(?:\.\d{1,9})?)(ns|us|ms|secs|mins|hrs|days|weeks)", re.ASCII
)
_UNIT_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}


class RateLimit(NamedTuple):
    """At most ``permits`` in every ``period_s`` seconds."""

    permits: int
    period_s: float


SNAPSHOT_RATE_DEFAULT: Final = RateLimit(2, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """What the environment asks of a runtime.

    Attributes:
        ip: numeric address to bind; ``0.0.0.0`` is every IPv4 address.
        ip6: recorded only: nothing listens on it.
        port: 0 to 65535; 0 takes a free one.
        advertise_ip, advertise_port: what PIDs show, or None for what was bound.
        require_peer_address_ip_match: senders must claim the address they speak from.
        memory_profiling, enable_profiler: switches of the profiling endpoints.
        metrics_snapshot_endpoint_rate_limit: None for no limit.
        ssl: how to use TLS, or None for plain text.
    """

    ip: str = "0.0.0.0"
    ip6: str | None = None
    port: int = 0
    advertise_ip: str | None = None
    advertise_port: int | None = None
    require_peer_address_ip_match: bool = False
    memory_profiling: bool = False
    enable_profiler: bool = False
    metrics_snapshot_endpoint_rate_limit: RateLimit | None = SNAPSHOT_RATE_DEFAULT
    ssl: TlsSettings | None = None


def read_environment(environ: Mapping[str, str] | None = None) -> EnvironmentSettings:
    """Read the variables of ``environ``, by default of this process.

    Raises:
        InvalidSetting: naming the variable and the rule it breaks.
    """
    variables = _Variables(os.environ if environ is None else environ)
    return EnvironmentSettings(
        ip=variables.value("IP", _ip, "0.0.0.0"),
        ip6=variables.value("IP6", _ip6, None),
        port=variables.value("PORT", _number(0, PORT_MAX), 0),
        advertise_ip=variables.value("ADVERTISE_IP", _ip, None),
        advertise_port=variables.value("ADVERTISE_PORT", _number(1, PORT_MAX), None),
        require_peer_address_ip_match=variables.switch("REQUIRE_PEER_ADDRESS_IP_MATCH"),
        memory_profiling=variables.switch("MEMORY_PROFILING"),
        enable_profiler=variables.switch("ENABLE_PROFILER"),
        metrics_snapshot_endpoint_rate_limit=_read_snapshot_rate(variables),
        ssl=_read_ssl(variables),
    )


def _read_snapshot_rate(variables: _Variables) -> RateLimit | None:
    name = "METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT"
    if variables.is_empty(name):
        return None
    return variables.value(name, _rate, SNAPSHOT_RATE_DEFAULT)


def _read_ssl(variables: _Variables) -> TlsSettings | None:
    is_enabled = variables.switch("SSL_ENABLED")
    cert_file = variables.value("SSL_CERT_FILE", _path, None)
    key_file = variables.value("SSL_KEY_FILE", _path, None)
    settings = TlsSettings(
        cert_file=cert_file or "",
        key_file=key_file or "",
        support_downgrade=variables.switch("SSL_SUPPORT_DOWNGRADE"),
        verify_server_cert=variables.switch("SSL_VERIFY_SERVER_CERT"),
        require_client_cert=variables.switch("SSL_REQUIRE_CLIENT_CERT"),
        verify_ipadd=variables.switch("SSL_VERIFY_IPADD"),
        verification_depth=variables.value(
            "SSL_VERIFICATION_DEPTH", _number(0, VERIFICATION_DEPTH_MAX), 4
        ),
        ca_dir=variables.value("SSL_CA_DIR", _path, None),
        ca_file=variables.value("SSL_CA_FILE", _path, None),
        ciphers=variables.value("SSL_CIPHERS", str, CIPHERS_DEFAULT),
        ecdh_curves=variables.value("SSL_ECDH_CURVES", str, "auto"),
        hostname_validation_scheme=variables.value(
            "SSL_HOSTNAME_VALIDATION_SCHEME", _scheme, "legacy"
        ),
        enable_ssl_v3=variables.switch("SSL_ENABLE_SSL_V3"),
        enable_tls_v1_0=variables.switch("SSL_ENABLE_TLS_V1_0"),
        enable_tls_v1_1=variables.switch("SSL_ENABLE_TLS_V1_1"),
        enable_tls_v1_2=variables.switch("SSL_ENABLE_TLS_V1_2", default=True),
        enable_tls_v1_3=variables.switch("SSL_ENABLE_TLS_V1_3"),
    )
    if not is_enabled:
        return None
    for name, path in (("CERT_FILE", cert_file), ("KEY_FILE", key_file)):
        if not path:
            raise InvalidSetting(f"LIBPROCESS_SSL_{name}", "must be set when SSL is enabled")
    return settings


@contextmanager
def naming_variables() -> Iterator[None]:
    """Let errors about a field of ``TlsSettings`` name the variable that it came from."""
    try:
        yield
    except InvalidSetting as error:
        raise InvalidSetting(f"LIBPROCESS_SSL_{error.name.upper()}", error.rule) from error


def child_environment(environ: Mapping[str, str], *, ip: str | None = None) -> dict[str, str]:
    """The environment for a child process that has a runtime of its own.

    A child that inherited the variables unchanged would try to take its parent's port.

    Args:
        environ: the parent's.
        ip: the address that the child binds; by default what the parent's variables say.
    """
    own_to_each = {"PORT", "ADVERTISE_PORT", *(("IP", "ADVERTISE_IP") if ip is not None else ())}
    child = {key: text for key, text in environ.items() if _short_name(key) not in own_to_each}
    child["LIBPROCESS_PORT"] = "0"
    if ip is not None:
        child["LIBPROCESS_IP"] = ip
    return child


def _short_name(key: str) -> str:
    """The name of a variable without its prefix; '' when it has none of ours."""
    name = key.upper()
    prefix = next((each for each in PREFIXES if name.startswith(each)), "")
    return name.removeprefix(prefix) if prefix else ""


# Finding variables.


class _Variable(NamedTuple):
    key: str  # as it is spelled in the environment
    text: str
    is_negated: bool
    rank: tuple[int, bool]  # of its prefix, and whether the name is an old one; the lowest wins


class _Variables:
    """The variables of an environment under their short, current names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._found: dict[str, _Variable] = {}
        for key, text in environ.items():
            self._add(key, text)

    def _add(self, key: str, text: str) -> None:
        prefix = next((each for each in PREFIXES if key.upper().startswith(each)), "")
        name = key.upper().removeprefix(prefix)
        is_negated = name.startswith(NEGATION)
        name = name.removeprefix(NEGATION)
        if not prefix and not name.startswith("SSL_"):
            return
        if prefix and name in _MISLEADING_NAMES:
            logger.warning("%s has no effect: %s has", key, f"{prefix}{_MISLEADING_NAMES[name]}")
        rank = ((*PREFIXES, "").index(prefix), name in _OLD_NAMES)
        variable = _Variable(key, text, is_negated, rank)
        name = _OLD_NAMES.get(name, name)
        other = self._found.get(name)
        if other is not None and other.rank == rank and other[1:] != variable[1:]:
            raise InvalidSetting(key, f"contradicts {other.key}: give one of them")
        if other is None or rank < other.rank:
            self._found[name] = variable

    def is_empty(self, name: str) -> bool:
        """True when the variable is set to nothing."""
        variable = self._found.get(name)
        return variable is not None and not variable.text

    def value(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The parsed value of a variable; the default when it is unset or empty.

        ``parse`` raises ``ValueError`` with the rule that is broken.
        """
        variable = self._found.get(name)
        if variable is None:
            return default
        if variable.is_negated:
            raise InvalidSetting(variable.key, "only switches can be negated")
        if not variable.text:
            return default
        return _parse(variable, parse)

    def switch(self, name: str, *, default: bool = False) -> bool:
        variable = self._found.get(name)
        if variable is None:
            return default
        if variable.is_negated:
            if variable.text:
                raise InvalidSetting(variable.key, f"must be empty, not {variable.text!r}")
            return False
        return _parse(variable, _boolean) if variable.text else default


def _parse(variable: _Variable, parse: Callable[[str], T]) -> T:
    text = variable.text
    if text.startswith(FILE_SCHEME) and parse is not _path:
        text = _read_value(variable.key, text.removeprefix(FILE_SCHEME))
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidSetting(variable.key, f"{error}, not {text!r}") from error


def _read_value(key: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(VALUE_FILE_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(key, f"file {path} cannot be read: {error}") from error
    if len(text) > VALUE_FILE_BYTES_MAX:
        raise InvalidSetting(key, f"file {path} is longer than {VALUE_FILE_BYTES_MAX} bytes")
    return text.rstrip("\n")


# Rules.


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError("must be true, false, 1 or 0")
    return _BOOLEANS[text]


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a number from {lowest} to {highest}")
        return int(text)

    return parse


def _ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError("must be a numeric IPv4 (or IPv6) address") from error
    if "%" in text:
        raise ValueError("must have no zone (%...)")
    return address.compressed


def _ip6(text: str) -> str:
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError as error:
        raise ValueError("must be a numeric IPv6 address") from error


def _path(text: str) -> str:
    return text.removeprefix(FILE_SCHEME)


def _scheme(text: str) -> Scheme:
    if text == "legacy":
        return "legacy"
    if text == "openssl":
        return "openssl"
    raise ValueError("must be legacy or openssl")


def _rate(text: str) -> RateLimit:
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]) or not float(match[2]):
        raise ValueError("must be a count and a duration above zero, like 2/1secs")
    return RateLimit(int(match[1]), float(match[2]) * _UNIT_S[match[3]])


__all__ = [
    "EnvironmentSettings",
    "RateLimit",
    "child_environment",
    "naming_variables",
    "read_environment",
]
