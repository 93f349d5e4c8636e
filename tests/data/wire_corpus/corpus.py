"""Reads the corpus of requests: what is sent, and what must come of it.

A case in one of the ``*.txt`` files beside this one:

    == pipelined, the second one misaddressed
    > POST /server/m HTTP/1.1
    > Libprocess-From: a@127.0.0.1:1
    >
    >> POST * HTTP/1.1\\r\\nLibprocess-From: a@127.0.0.1:1\\r\\n\\r\\n
    = message server m a@127.0.0.1:1 ""
    = misaddressed 400

``>`` is a line that ends with CRLF, ``>>`` bytes without an end of their own. In both, ``\\r``,
``\\n``, ``\\t``, ``\\\\`` and ``\\xNN`` stand for bytes, and ``{text*count}`` for a repetition.
Outcomes, in their order:

    message ID NAME SENDER BODY   delivered; an empty ID or NAME is ``-``, the empty sender too
    misaddressed STATUS           a message answered so in its turn; the connection goes on
    request LINE                  an ordinary request, left to the HTTP side
    ends                          the connection closes after this answer; what follows is lost
    refused STATUS                the connection is closed after this answer
    closed                        it is closed without a word
    waits                         more bytes are expected
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[rnt\\])|\{([^{}*]*)\*(\d+)\}")
_BYTES = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
_OUTCOMES = ("message", "misaddressed", "request", "ends", "refused", "closed", "waits")


@dataclass(frozen=True)
class Case:
    """`outcomes`: tuples like ("message", id, name, sender, body) or ("refused", 400)."""

    name: str
    data: bytes
    outcomes: tuple

    def __str__(self):
        return self.name


def read_corpus():
    """All cases, by file and place."""
    cases = []
    for file in sorted(FOLDER.glob("*.txt")):
        for block in re.split(r"^== ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            cases.append(_read_case(file.stem, block))
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases have one name"
    return cases


def _read_case(stem, block):
    title, *lines = block.splitlines()
    data, outcomes = b"", []
    for line in lines:
        if line.startswith(">> "):
            data += _bytes_of(line[3:])
        elif line.startswith(">"):
            data += _bytes_of(line[2:]) + b"\r\n"
        elif line.startswith("= "):
            outcomes.append(_outcome_of(line[2:]))
        else:
            assert not line.strip() or line.startswith("#"), f"{stem}: {title}: {line!r}"
    assert outcomes, f"{stem}: {title}: no outcome"
    return Case(f"{stem}: {title}", data, tuple(outcomes))


def _bytes_of(text):
    data, pos = b"", 0
    for match in _ESCAPE.finditer(text):
        data += text[pos : match.start()].encode()
        escape, repeated, count = match.groups()
        if escape is None:
            data += _bytes_of(repeated) * int(count)
        elif escape.startswith("x"):
            data += bytes([int(escape[1:], 16)])
        else:
            data += _BYTES[escape]
        pos = match.end()
    return data + text[pos:].encode()


def _outcome_of(line):
    kind, _, rest = line.partition(" ")
    assert kind in _OUTCOMES, line
    if kind == "message":
        id, name, sender, body = rest.split(" ", 3)
        sender = "@0.0.0.0:0" if sender == "-" else _text_of(sender)
        parts = [_text_of(id), _text_of(name), sender, _body_of(body)]
        return (kind, *parts)
    if kind in ("misaddressed", "refused"):
        return kind, int(rest)
    return (kind, rest) if kind == "request" else (kind,)


def _text_of(word):
    return "" if word == "-" else _bytes_of(word).decode(errors="surrogateescape")


def _body_of(text):
    assert text[0] == text[-1] == '"', text
    return _bytes_of(text[1:-1])
