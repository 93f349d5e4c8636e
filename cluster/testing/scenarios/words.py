"""Reading the words of a command: names first, then ``key=value`` options and flags.

Everything that is not understood is an error, so that no scenario says something that nothing does.
"""

import re
from collections.abc import Iterable

from cluster.errors import InvalidInput

_OPTION = re.compile(r"([a-z][a-z-]*)=(.*)")
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Words:
    """The words of one command after the verb, taken from the left."""

    def __init__(self, words: Iterable[str]) -> None:
        self._plain: list[str] = []
        self._options: dict[str, str] = {}
        for word in words:
            match = _OPTION.fullmatch(word)
            if match is None:
                self._plain.append(word)
            elif match[1] in self._options:
                raise InvalidInput(match[1], "is given twice")
            else:
                self._options[match[1]] = match[2]

    def take(self, what: str) -> str:
        """The next plain word, which must be there."""
        if not self._plain:
            raise InvalidInput(what, "is missing")
        return self._plain.pop(0)

    def take_if_any(self) -> str | None:
        return self._plain.pop(0) if self._plain else None

    def take_if_any_but(self, *flags: str) -> str | None:
        """The next plain word, unless it is one of these flags."""
        return None if not self._plain or self._plain[0] in flags else self._plain.pop(0)

    def take_all(self) -> list[str]:
        taken, self._plain = self._plain, []
        return taken

    def option(self, name: str) -> str | None:
        return self._options.pop(name, None)

    def duration(self, name: str) -> float | None:
        """An option that is a time, in seconds."""
        text = self.option(name)
        return None if text is None else parse_time(text, name)

    def number(self, name: str) -> float | None:
        text = self.option(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise InvalidInput(name, f"must be a number, not {text!r}") from None

    def listed(self, name: str) -> tuple[str, ...] | None:
        """An option that is a list with commas; empty for ``name=``."""
        text = self.option(name)
        return None if text is None else tuple(word for word in text.split(",") if word)

    def flag(self, name: str) -> bool:
        """Whether a word is there, wherever."""
        if name not in self._plain:
            return False
        self._plain.remove(name)
        return True

    @property
    def is_empty(self) -> bool:
        return not self._plain and not self._options

    def end(self) -> None:
        """Raises InvalidInput when something is left that nothing asked for."""
        left = [*self._plain, *(f"{name}={value}" for name, value in self._options.items())]
        if left:
            raise InvalidInput(left[0], "is not understood here")


def parse_time(text: str, field: str = "time") -> float:
    """Read ``5s``, ``1.5m``, ``2h``, ``100ms`` or ``1d`` as seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidInput(field, f"must be a number with ms, s, m, h or d, not {text!r}")
    return float(match[1]) * _UNIT_S[match[2]]


__all__ = ["Words", "parse_time"]
