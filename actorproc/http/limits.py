"""Limits of ordinary HTTP requests; messages have those of their transport (``TcpLimits``).

Source: reliability.md §4; the defaults follow libprocess where it has a rule (80 KiB of headers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one ordinary request may take.

    Attributes:
        headers_max: number of header fields; more are answered 431.
        header_field_bytes_max: name and value of one field; longer is answered 431.
        head_bytes_max: all fields together; more is answered 431.
        target_bytes_max: path and query; longer is answered 414.
        body_bytes_max: body of a route that does not stream and sets no limit of its own; larger
            is answered 413, before it is read when its length was announced.
        body_grace_s: how long a body may take before its speed counts.
        body_bytes_per_s_min: a slower body is answered 408.
        authentication_s: how long an authenticator may take; 503 afterwards, because the requests
            behind it wait for it.
    """

    headers_max: int = 100
    header_field_bytes_max: int = 80 * 1024
    head_bytes_max: int = 80 * 1024
    target_bytes_max: int = 80 * 1024
    body_bytes_max: int = 64 * 1024 * 1024
    body_grace_s: float = 10.0
    body_bytes_per_s_min: int = 1024
    authentication_s: float = 30.0


# For ports that strangers reach: what reliability.md §4 asks for.
HARDENED: Final = HttpLimits(
    header_field_bytes_max=8 * 1024,
    head_bytes_max=32 * 1024,
    target_bytes_max=8 * 1024,
    body_bytes_max=8 * 1024 * 1024,
)

__all__ = ["HARDENED", "HttpLimits"]
