"""The text form of a scenario: prose, commands, and what they led to.

::

    # Title
    #
    # Prose: what this story shows, and why the answer is right.

    agent a1 cpus:4;mem:4096
    framework f1
    run
    ----
    a1 <- registered
    f1 <- registered
    f1 <- offer O0: a1 cpus:4;mem:4096

Lines that begin with ``#`` are prose. A block is one or more commands, a line ``----``, and the
lines that the commands together produced, up to the next empty line. An indented line continues
the command above it. Neighbours that are told the same share a line (``a1, a2 <- registered``); a
block that produces nothing says so: ``(nothing)``.

Only the form is decided here; what a command does is in ``verbs``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cluster.errors import ClusterError

SEPARATOR = "----"
NOTHING = "(nothing)"


class ScenarioError(ClusterError):
    """A scenario cannot be carried out; the text names the file and the line."""

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}:{line}: {text}")
        self.file = file
        self.line = line
        self.text = text


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the number of its first line, that line and those that continue it."""

    line: int
    lines: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return " ".join(self.lines).split()


@dataclass(frozen=True, slots=True)
class Block:
    commands: tuple[Command, ...]
    output: tuple[str, ...]


Part = str | Block
"""A line of prose (or an empty one), or a block."""


@dataclass(frozen=True, slots=True)
class Script:
    """One parsed scenario."""

    file: str
    parts: tuple[Part, ...]

    @property
    def title(self) -> str:
        first = next((part for part in self.parts if isinstance(part, str) and part), "")
        return first.lstrip("# ")

    @property
    def blocks(self) -> Iterator[Block]:
        return (part for part in self.parts if isinstance(part, Block))

    def with_output(self, produce: Callable[[Command], Iterable[str]]) -> "Script":
        """The same scenario with what ``produce`` makes of each command, in order."""
        parts: list[Part] = []
        for part in self.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            output = [line for command in part.commands for line in produce(command)]
            parts.append(Block(part.commands, tuple(_joined(output)) or (NOTHING,)))
        return Script(self.file, tuple(parts))

    def __str__(self) -> str:
        lines: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                lines.append(part)
            else:
                lines += [line for command in part.commands for line in command.lines]
                lines += [SEPARATOR, *part.output]
        return "\n".join(lines) + "\n"


def parse(text: str, file: str = "scenario") -> Script:
    """Read a scenario.

    Raises:
        ScenarioError: the text does not begin with a title, output stands without a command, or a
            continuation without the line that it continues.
    """
    lines = text.rstrip("\n").split("\n")
    if not lines[0].startswith("# "):
        raise ScenarioError(file, 1, "the first line must be a title: # Title")
    parts: list[Part] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            parts.append(lines[at].rstrip())
            at += 1
            continue
        end = at
        while end < len(lines) and lines[end].strip():
            end += 1
        parts.append(_block(lines[at:end], at + 1, file))
        at = end
    return Script(file, tuple(parts))


def _block(lines: list[str], first: int, file: str) -> Block:
    split = lines.index(SEPARATOR) if SEPARATOR in lines else len(lines)
    commands: list[Command] = []
    for number, line in enumerate(lines[:split], first):
        if line.startswith("#"):
            raise ScenarioError(file, number, "prose and commands need an empty line between them")
        if not line[0].isspace():
            commands.append(Command(number, (line.rstrip(),)))
        elif commands:
            last = commands.pop()
            commands.append(Command(last.line, (*last.lines, line.rstrip())))
        else:
            raise ScenarioError(file, number, "an indented line needs a command above it")
    if not commands:
        raise ScenarioError(file, first, "output needs a command above it")
    return Block(tuple(commands), tuple(lines[split + 1 :]))


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Neighbours who are told the same share a line: ``a1, a2 <- registered``."""
    before = after = ""
    for line in lines:
        who, arrow, told = line.partition(" <- ")
        if arrow and told == after:
            stamp, _, name = who.rpartition(" ")
            names = before.removeprefix(f"{stamp} ").split(", ")
            if name not in names and before == " ".join(filter(None, (stamp, ", ".join(names)))):
                before += f", {name}"
                continue
        if before:
            yield f"{before} <- {after}" if after else before
        before, after = who, told
    if before:
        yield f"{before} <- {after}" if after else before


__all__ = ["NOTHING", "SEPARATOR", "Block", "Command", "Part", "ScenarioError", "Script", "parse"]
