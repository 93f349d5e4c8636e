"""Durations as text: a number and a unit, as Mesos flags and environment variables write them.

Source: actor-runtime.md §6, agent.md §4. In memory a duration is a float of seconds.
"""

import re

from cluster.errors import InvalidInput

# Largest first: printing takes the first unit that the value reaches.
_UNIT_S = {
    "weeks": 604800.0,
    "days": 86400.0,
    "hrs": 3600.0,
    "mins": 60.0,
    "secs": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
}
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ns|us|ms|secs|mins|hrs|days|weeks)", re.ASCII)


def parse_duration(text: str, *, field: str = "duration") -> float:
    """Read ``1.5mins`` as seconds (90.0).

    Raises:
        InvalidInput: not a number directly followed by ns, us, ms, secs, mins, hrs, days or weeks.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        rule = "must be a number and a unit (ns, us, ms, secs, mins, hrs, days, weeks)"
        raise InvalidInput(field, f"{rule}, not {text!r}")
    return float(match[1]) * _UNIT_S[match[2]]


def format_duration(seconds: float) -> str:
    """Print with the largest unit that fits: 90.0 becomes ``1.5mins``."""
    if seconds == 0:
        return "0ns"
    for unit, unit_s in _UNIT_S.items():
        if abs(seconds) >= unit_s:
            return f"{seconds / unit_s:.12g}{unit}"
    return f"{seconds / 1e-9:.12g}ns"


__all__ = ["format_duration", "parse_duration"]
