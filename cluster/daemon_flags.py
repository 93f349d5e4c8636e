"""Flags that every daemon has: where it listens, where it writes, what it logs.

Differs: the default of ``--ip`` is the loopback address, because nothing authenticates peers yet;
``--ip=0.0.0.0`` listens everywhere, as Mesos does by default.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from cluster import flag_kinds as kinds
from cluster.errors import InvalidInput
from cluster.flags import flag, flags_of, required

NETWORK = "Network"
STORAGE = "Storage"
LOGGING = "Logging"
SUPERVISION = "Supervision"

# Reasons for UNAVAILABLE, shared by master and agent.
NO_AUTHENTICATION = "peers cannot be authenticated so far, listen on a loopback address"
NO_AUTHORIZATION = "requests cannot be authorized so far, listen on a loopback address"
NO_MODULES = "modules of Mesos are C++ libraries, which cannot be loaded"

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """What master and agent configurations have in common; see ``--help`` for each field.

    Attributes:
        SUMMARY: what the daemon does, for ``--help``.
        NOT_YET_EFFECTIVE: fields whose flags are understood but change nothing so far.
        UNAVAILABLE: field -> what is missing, for flags that would be dangerous to accept without
            effect: who asks for protection, or for one leader among several masters, must not
            take it as granted when nothing stands behind it.
    """

    SUMMARY: ClassVar[str] = ""
    NOT_YET_EFFECTIVE: ClassVar[frozenset[str]] = frozenset()
    UNAVAILABLE: ClassVar[Mapping[str, str]] = MappingProxyType({})

    work_dir: str = required(
        kinds.path(),
        "Directory for everything that must outlive a restart; made when missing",
        group=STORAGE,
    )

    ip: str = flag(
        LOOPBACK,
        kinds.ip_address(),
        "IPv4 address to listen on; the loopback address by default, because peers are not "
        "authenticated; 0.0.0.0 listens on every interface, as Mesos does by default",
        group=NETWORK,
        environment=("LIBPROCESS_IP",),
    )
    ip_discovery_command: str | None = flag(
        None,
        kinds.text("COMMAND"),
        "Command whose standard output is the address to listen on; not together with --ip",
        group=NETWORK,
    )
    port: int = flag(0, kinds.port(), "Port to listen on; 0 takes a free one", group=NETWORK)
    advertise_ip: str | None = flag(
        None,
        kinds.ip_address(),
        "IPv4 address that peers are told to connect to, when it is not the one listened on",
        group=NETWORK,
        environment=("LIBPROCESS_ADVERTISE_IP",),
    )
    advertise_port: int | None = flag(
        None,
        kinds.port(at_least=1),
        "Port that peers are told to connect to, when it is not the one listened on",
        group=NETWORK,
        environment=("LIBPROCESS_ADVERTISE_PORT",),
    )
    hostname: str | None = flag(
        None,
        kinds.text("NAME"),
        "Name under which this machine is published; without it the address is looked up",
        group=NETWORK,
    )
    hostname_lookup: bool = flag(
        True,
        kinds.switch(),
        "Publish the name that the address resolves to; otherwise the address itself",
        group=NETWORK,
    )
    zk_session_timeout_s: float = flag(
        10.0,
        kinds.duration(),
        "How long ZooKeeper keeps the session of an unreachable client",
        group=NETWORK,
    )

    quiet: bool = flag(False, kinds.switch(), "Write no log to standard error", group=LOGGING)
    logging_level: str = flag(
        "INFO",
        kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"),
        "Least severity that is logged (DEBUG is ours, the others are those of Mesos)",
        group=LOGGING,
    )
    log_format: str = flag(
        "text",
        kinds.choice("text", "json"),
        "text: one readable line per record; json: one JSON object per line",
        group=LOGGING,
    )
    log_dir: str | None = flag(
        None,
        kinds.path(),
        "Also write the log to a file there (mesos-master.INFO or mesos-agent.INFO), rotated",
        group=LOGGING,
    )
    logbufsecs: int = flag(
        0, kinds.integer(), "Seconds for which log lines may be held back", group=LOGGING
    )
    initialize_driver_logging: bool = flag(
        True, kinds.switch(), "Let drivers set up logging", group=LOGGING
    )
    external_log_file: str | None = flag(
        None,
        kinds.path(),
        "Log file written by somebody else, to be served in place of ours",
        group=LOGGING,
    )

    modules: kinds.JsonValue = flag(None, kinds.json_value(), "Loadable modules", group="Modules")
    modules_dir: str | None = flag(
        None,
        kinds.path(),
        "Directory of JSON files that describe loadable modules",
        group="Modules",
    )
    hooks: str | None = flag(
        None, kinds.text("NAMES"), "Hook modules to install, separated by commas", group="Modules"
    )
    memory_profiling: bool = flag(
        False, kinds.switch(), "Allow memory profiling over HTTP", group="Modules"
    )

    supervisor_fd: int | None = flag(
        None,
        kinds.integer(at_least=3),
        "Inherited socket of whoever started this process: the daemon writes its address and a "
        "line end to it once it listens, and shuts down when the other end closes",
        group=SUPERVISION,
    )


def not_yet_effective(config: DaemonConfig) -> list[str]:
    """Names of flags that were set away from their default but change nothing so far, sorted."""
    return sorted(
        one.name
        for field, one in flags_of(type(config)).items()
        if field in config.NOT_YET_EFFECTIVE and _is_changed(config, field)
    )


def refuse_unavailable(config: DaemonConfig) -> None:
    """Refuse flags whose promise cannot be kept (``UNAVAILABLE``).

    Raises:
        InvalidInput: the first such flag that is set away from its default.
    """
    for field, one in flags_of(type(config)).items():
        if field in config.UNAVAILABLE and _is_changed(config, field):
            raise InvalidInput(
                f"--{one.name}", f"is not available yet: {config.UNAVAILABLE[field]}"
            )


def remarks_of(config_type: type[DaemonConfig]) -> dict[str, str]:
    """Field -> what ``--help`` adds about flags that do not do yet what they say."""
    remarks = dict.fromkeys(config_type.NOT_YET_EFFECTIVE, "without effect so far")
    return remarks | dict.fromkeys(config_type.UNAVAILABLE, "not available yet")


def _is_changed(config: DaemonConfig, field: str) -> bool:
    declared = next(one for one in dataclasses.fields(config) if one.name == field)
    changed: bool = getattr(config, field) != declared.default
    return changed


__all__ = [
    "LOGGING",
    "LOOPBACK",
    "NETWORK",
    "NO_AUTHENTICATION",
    "NO_AUTHORIZATION",
    "NO_MODULES",
    "STORAGE",
    "SUPERVISION",
    "DaemonConfig",
    "not_yet_effective",
    "refuse_unavailable",
    "remarks_of",
]
