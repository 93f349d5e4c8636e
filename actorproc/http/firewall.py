"""Disabled endpoints: exact paths that answer 403. Source: actor-runtime.md §8.1, behaviour 22.

A rule names one full path, ``/<process id>/<rest>``, without patterns. It is compared with the path
of the request after the process is found: the id is decoded, a path that reached the delegate
begins with the delegate's id, a slash at the end does not count. Messages are never refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from actorproc.errors import ProtocolMisuse


class Firewall:
    """The disabled endpoints of one runtime."""

    def __init__(self) -> None:
        self._disabled: frozenset[str] = frozenset()

    def install(self, paths: Iterable[str]) -> None:
        """Replace all rules.

        Raises:
            ProtocolMisuse: a path that does not begin with ``/``: it would never match.
        """
        paths = list(paths)
        for path in paths:
            if not path.startswith("/"):
                raise ProtocolMisuse(f"firewall rule {path!r} must begin with '/'")
        self._disabled = frozenset(_without_last_slash(path) for path in paths)

    def refuses(self, path: str) -> bool:
        """Whether a request for ``path`` is answered 403."""
        return _without_last_slash(path) in self._disabled


def _without_last_slash(path: str) -> str:
    return path.rstrip("/") or "/"


__all__ = ["Firewall"]
