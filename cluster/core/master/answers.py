"""Answers to operators: an HTTP status, and what is wrong when it is not 2xx."""

from dataclasses import dataclass

OK = 200
ACCEPTED = 202
BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` names the field and the rule."""

    status: int
    text: str = ""


__all__ = [
    "ACCEPTED",
    "BAD_REQUEST",
    "CONFLICT",
    "FORBIDDEN",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "OK",
    "Answer",
]
