"""Rules for commands and checks. Source: master.md §6.3 rules 5, 6 and 8."""

import math

from cluster.wire.pb import mesos_pb2 as mesos

_VARIABLE = mesos.Environment.Variable


def command_error(command: mesos.CommandInfo, field: str) -> str | None:
    """The first rule that a command breaks, or None."""
    for variable in command.environment.variables:
        if (error := _variable_error(variable, f"{field}.environment")) is not None:
            return error
    if command.shell and not command.HasField("value"):
        return f"{field}.value: must be set for a shell command"
    return None


def _variable_error(variable: mesos.Environment.Variable, field: str) -> str | None:
    name = variable.name
    match variable.type:
        case _VARIABLE.VALUE:
            if variable.HasField("secret"):
                return f"{field}: '{name}' is of type VALUE and must not have a secret"
            if not variable.HasField("value"):
                return f"{field}: '{name}' is of type VALUE and must have a value"
        case _VARIABLE.SECRET:
            if variable.HasField("value"):
                return f"{field}: '{name}' is of type SECRET and must not have a value"
            if not variable.HasField("secret"):
                return f"{field}: '{name}' is of type SECRET and must have a secret"
        case _:
            return f"{field}: '{name}' must be of type VALUE or SECRET"
    return None


def check_error(check: mesos.CheckInfo) -> str | None:
    """The first rule that a check breaks, or None."""
    match check.type:
        case mesos.CheckInfo.COMMAND:
            if not check.HasField("command"):
                return "check.command: must be set for a COMMAND check"
            if (error := command_error(check.command.command, "check.command")) is not None:
                return error
        case mesos.CheckInfo.HTTP:
            if not check.HasField("http"):
                return "check.http: must be set for an HTTP check"
            if check.http.HasField("path") and not check.http.path.startswith("/"):
                return "check.http.path: must start with a slash"
        case mesos.CheckInfo.TCP:
            if not check.HasField("tcp"):
                return "check.tcp: must be set for a TCP check"
        case _:
            return "check.type: must be COMMAND, HTTP or TCP"
    waits = ("delay_seconds", "interval_seconds", "timeout_seconds")
    values = (check.delay_seconds, check.interval_seconds, check.timeout_seconds)
    return _waits_error("check", waits, values)


def health_check_error(check: mesos.HealthCheck) -> str | None:
    """The first rule that a health check breaks, or None; a missing type is inferred."""
    match _health_check_type(check):
        case mesos.HealthCheck.COMMAND:
            if not check.HasField("command"):
                return "health_check.command: must be set for a COMMAND check"
            if (error := command_error(check.command, "health_check.command")) is not None:
                return error
        case mesos.HealthCheck.HTTP:
            if (error := _http_error(check)) is not None:
                return error
        case mesos.HealthCheck.TCP:
            if not check.HasField("tcp"):
                return "health_check.tcp: must be set for a TCP check"
        case _:
            return "health_check.type: must be COMMAND, HTTP or TCP"
    waits = ("delay_seconds", "interval_seconds", "timeout_seconds", "grace_period_seconds")
    values = (
        check.delay_seconds,
        check.interval_seconds,
        check.timeout_seconds,
        check.grace_period_seconds,
    )
    return _waits_error("health_check", waits, values)


def _health_check_type(check: mesos.HealthCheck) -> int:
    if check.HasField("type"):
        return check.type
    if check.HasField("command"):
        return mesos.HealthCheck.COMMAND
    if check.HasField("http"):
        return mesos.HealthCheck.HTTP
    return mesos.HealthCheck.UNKNOWN


def _http_error(check: mesos.HealthCheck) -> str | None:
    if not check.HasField("http"):
        return "health_check.http: must be set for an HTTP check"
    http = check.http
    if http.HasField("scheme") and http.scheme not in ("http", "https"):
        return f"health_check.http.scheme: must be http or https, not '{http.scheme}'"
    if http.HasField("path") and not http.path.startswith("/"):
        return "health_check.http.path: must start with a slash"
    if http.statuses:
        return "health_check.http.statuses: are not supported"
    return None


def _waits_error(field: str, names: tuple[str, ...], values: tuple[float, ...]) -> str | None:
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value) or value < 0:
            return f"{field}.{name}: must be a number of at least 0"
    return None


__all__ = ["check_error", "command_error", "health_check_error"]
