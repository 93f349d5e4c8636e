"""Reading the words of a command: names, ``key=value`` options and flags.

Everything that is not understood is an error, so that no scenario says something that nothing does.
"""

import re
from collections.abc import Collection, Iterable

from cluster.errors import InvalidInput

_OPTION = re.compile(r"([a-z][a-z-]*)=(.*)")
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Words:
    """The words of one command after the verb; whoever understands one takes it away."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = list(words)

    def take(self, what: str) -> str:
        """The next plain word, which must be there."""
        word = self.take_if_any()
        if word is None:
            raise InvalidInput(what, "is missing")
        return word

    def take_if_any(self, *but: str) -> str | None:
        """The next plain word, unless there is none or it is one of ``but``."""
        for place, word in enumerate(self._words):
            if _OPTION.fullmatch(word) is None:
                return None if word in but else self._words.pop(place)
        return None

    def take_all(self) -> list[str]:
        """All plain words."""
        plain = [word for word in self._words if _OPTION.fullmatch(word) is None]
        self._words = [word for word in self._words if word not in plain]
        return plain

    def option(self, name: str) -> str | None:
        """What follows ``name=``."""
        found = [word for word in self._words if word.startswith(f"{name}=")]
        if len(found) > 1:
            raise InvalidInput(name, "is given twice")
        if not found:
            return None
        self._words.remove(found[0])
        return found[0].partition("=")[2]

    def duration(self, name: str) -> float | None:
        """An option that is a time, in seconds."""
        text = self.option(name)
        return None if text is None else parse_time(text, name)

    def number(self, name: str) -> float | None:
        """An option that is a number."""
        text = self.option(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise InvalidInput(name, f"must be a number, not {text!r}") from None

    def listed(self, name: str) -> tuple[str, ...] | None:
        """An option that is a list with commas; empty for ``name=``."""
        text = self.option(name)
        return None if text is None else tuple(word for word in text.split(",") if word)

    def options(self) -> dict[str, str]:
        """All options that are left; what they are called is for the verb to judge."""
        found = dict(word.split("=", 1) for word in self._words if _OPTION.fullmatch(word))
        self._words = [word for word in self._words if _OPTION.fullmatch(word) is None]
        return found

    def flag(self, name: str) -> bool:
        """Whether a word is there, wherever."""
        if name not in self._words:
            return False
        self._words.remove(name)
        return True

    def split(self, starts: Collection[str]) -> "list[tuple[str, Words]]":
        """Take away everything from the first of ``starts`` on, in parts that begin with one."""
        at = [place for place, word in enumerate(self._words) if word in starts]
        ends = [*at[1:], len(self._words)]
        parts = (
            [
                (self._words[start], Words(self._words[start + 1 : end]))
                for start, end in zip(at, ends, strict=True)
            ]
            if at
            else []
        )
        self._words = self._words[: at[0]] if at else self._words
        return parts

    @property
    def is_empty(self) -> bool:
        return not self._words

    def end(self) -> None:
        """Raises InvalidInput when something is left that nothing asked for."""
        if self._words:
            raise InvalidInput(self._words[0], "is not understood here")


def parse_time(text: str, field: str = "time") -> float:
    """Read ``5s``, ``1.5m``, ``2h``, ``100ms`` or ``1d`` as seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidInput(field, f"must be a number with ms, s, m, h or d, not {text!r}")
    return float(match[1]) * _UNIT_S[match[2]]


__all__ = ["Words", "parse_time"]
