"""The field table of the Mesos protocol: read from the specification, kept as text, compared.

The specification (``shared/spec/messages.md``, sections 4 to 6) lists every message and enum as
rows of Markdown tables. This module turns those rows into a `FieldTable`, derives the v1 packages
by the rules of section 6, and prints the table as text with one line per field or enum value. The
text is committed as ``tests/data/field_table.txt``; the unit tests compare it with the descriptors
that Python really uses, so neither the document nor the ``.proto`` files can drift unseen.

What is *not* decided here: how the ``.proto`` files look (they are sources, written by people).

Run ``python -m tools.field_table`` to rewrite the committed text from the document.

The text form::

    message mesos.ContainerID
      1 value required string
      2 parent optional mesos.ContainerID
    enum mesos.DrainState
      UNKNOWN = 0
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_DOCUMENT = REPOSITORY.parent / "shared" / "spec" / "messages.md"
DEFAULT_TABLE = REPOSITORY / "tests" / "data" / "field_table.txt"

SCALAR_TYPES = frozenset(
    {"bool", "bytes", "double", "int32", "int64", "string", "uint32", "uint64"}
)

_LABELS = {"!": "required", "?": "optional", "*": "repeated", "": "repeated"}

# The packages that have a v1 twin (section 6) and the document section each one comes from.
# `mesos` appears twice in the document: acls.proto (5.11) shares the package but is configuration
# of a master, not API, and has no v1 form.
_V1_SOURCES = {
    "mesos": "5.1",
    "mesos.scheduler": "5.2",
    "mesos.executor": "5.3",
    "mesos.master": "5.4",
    "mesos.agent": "5.5",
    "mesos.quota": "5.6",
    "mesos.maintenance": "5.7",
    "mesos.allocator": "5.8",
}


class DocumentError(ValueError):
    """A row of the document does not have the form its notation promises."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `type` is a scalar, a full type name, or ``map<key,value>`` of those."""

    number: int
    name: str
    label: str
    type: str
    default: str | None = None
    is_deprecated: bool = False
    in_oneof: bool = False

    def __str__(self) -> str:
        words = [str(self.number), self.name, self.label, self.type]
        if self.default is not None:
            words.append(f"default={self.default}")
        if self.is_deprecated:
            words.append("deprecated")
        if self.in_oneof:
            words.append("oneof")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Message:
    """A message type by full name, fields in the order of their numbers."""

    full_name: str
    section: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum type by full name; values (name, number) in order of definition."""

    full_name: str
    section: str
    values: tuple[tuple[str, int], ...]


Entry = Message | Enum
FieldTable = dict[str, Entry]


# --- text form ------------------------------------------------------------------------------------


def to_text(table: FieldTable) -> str:
    """The table as text, types sorted by full name, ending in a newline."""
    lines: list[str] = []
    for full_name in sorted(table):
        match table[full_name]:
            case Message(fields=fields):
                lines.append(f"message {full_name}")
                lines += [f"  {field}" for field in sorted(fields, key=lambda f: f.number)]
            case Enum(values=values):
                lines.append(f"enum {full_name}")
                lines += [f"  {name} = {number}" for name, number in values]
    return "\n".join(lines) + "\n"


# --- the document ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One table row: the type it defines and the cell that describes it, types unresolved."""

    kind: str  # "message" or "enum"
    full_name: str
    package: str
    section: str
    cell: str


def parse_document(text: str) -> FieldTable:
    """All types of the document by full name: v0 and internal from 4 and 5, v1 derived by 6.

    Raises:
        DocumentError: a row does not follow the notation, or names a type nobody defines.
    """
    table = _resolve(_expand_inline_messages(_rows(text)))
    table.update(_derive_v1(table, text))
    return table


def _rows(text: str) -> Iterator[_Row]:
    """Every row of the tables in sections 4 and 5, one per type it names."""
    section, package = "", ""
    for line in text.splitlines():
        if heading := re.match(r"#+ (\d+(?:\.\d+)?)\.? ?(.*)", line):
            section = heading[1]
            package = _first_backquoted(heading[2])
        elif section.startswith(("4.", "5.")) and line.startswith("| "):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|", 1)]
            if len(cells) == 2 and "`" in cells[0]:
                yield from _rows_of_line(section, package, cells[0], cells[1])


def _rows_of_line(section: str, package: str, head: str, cell: str) -> Iterator[_Row]:
    kind = "enum" if head.startswith("enum ") else "message"
    names = re.findall(r"`([^`]+)`", head)
    if names[0].endswith(".*"):  # `ACL.*`: one cell with many nested messages
        parent = f"{package}.{names[0][:-2]}"
        for part in cell.split(" · "):
            name, body = _match(r"(\w+)\{(.*)\}", part)
            yield _Row("message", f"{parent}.{name}", package, section, body)
        return
    first = names[0]
    for name in names:
        full = first.rpartition(".")[0] + name if name.startswith(".") else name
        owner = _package_of(section, package, full)
        full_name = full if full.startswith(owner + ".") else f"{owner}.{full}"
        yield _Row(kind, full_name, owner, section, cell)


def _package_of(section: str, heading_package: str, name: str) -> str:
    """The package of a row. Only section 4.6 mixes packages: see the sentences above its tables."""
    if section != "4.6":
        return heading_package
    if name == "ResourceState":
        return "mesos.internal.slave"
    lower_case = re.match(r"(?:[a-z]\w*\.)+", name)
    return lower_case[0].rstrip(".") if lower_case else "mesos.internal"


def _first_backquoted(text: str) -> str:
    found = re.search(r"`([^`]+)`", text)
    return found[1] if found else ""


def _expand_inline_messages(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Split ``3 ipam? .IPAM {1 type! string}`` into the field and a row for the nested message."""
    for row in rows:
        cell = row.cell
        if row.kind == "message":
            for name, body in re.findall(r"(?<!\*\* )(\.\w+) \{(\d[^}]*)\}", cell):
                yield replace(row, full_name=row.full_name + name, cell=body)
                cell = cell.replace(f"{name} {{{body}}}", name)
        yield replace(row, cell=cell)


def _resolve(rows: Iterable[_Row]) -> FieldTable:
    """Entries of all rows, each type name replaced by the full name it stands for."""
    all_rows = list(rows)
    nested_enums = {
        f"{row.full_name}{name}"
        for row in all_rows
        for name in re.findall(r"\*\*enum (\.\w+)\*\*", row.cell)
    }
    known = {row.full_name for row in all_rows} | nested_enums
    table: FieldTable = {}
    for row in all_rows:
        for entry in _entries(row, known):
            if entry.full_name in table:
                raise DocumentError(f"{entry.full_name}: defined twice")
            table[entry.full_name] = entry
    return table


def _entries(row: _Row, known: set[str]) -> Iterator[Entry]:
    if row.kind == "enum":
        yield Enum(row.full_name, row.section, _enum_values(row.cell))
        return
    enum_pattern = r"\*\*enum (\.\w+)\*\* \{([^}]*)\}"
    cell = re.sub(enum_pattern, "", row.cell)
    parts = [part.strip() for part in cell.split(";")]
    fields = [_field(part, row, known) for part in parts if part and part != "(no fields)"]
    yield Message(row.full_name, row.section, tuple(fields))
    for name, values in re.findall(enum_pattern, row.cell):
        yield Enum(row.full_name + name, row.section, _enum_values(values))


def _enum_values(text: str) -> tuple[tuple[str, int], ...]:
    pairs = (_match(r"(\w+)=(\d+)", part.strip()) for part in text.split(","))
    return tuple((name, int(number)) for name, number in pairs)


_FIELD = re.compile(
    r"(?P<number>\d+) (?P<name>\w+)(?P<label>[!?*]?) (?P<type>map<[^>]+>|[\w.]+)"
    r"(?:=(?P<default>\S+))?(?P<oneof> <oneof>)?(?P<deprecated> \(dep\.\))?"
)


def _field(text: str, row: _Row, known: set[str]) -> Field:
    found = _FIELD.fullmatch(text)
    if found is None:
        raise DocumentError(f"{row.full_name}: {text!r} is not a field")
    return Field(
        number=int(found["number"]),
        name=found["name"],
        label=_LABELS[found["label"]],
        type=_resolve_type(found["type"], row, known),
        default=found["default"],
        is_deprecated=found["deprecated"] is not None,
        in_oneof=found["oneof"] is not None,
    )


def _resolve_type(name: str, row: _Row, known: set[str]) -> str:
    if name.startswith("map<"):
        key, value = name[4:-1].split(",")
        return f"map<{key},{_resolve_type(value, row, known)}>"
    if name in SCALAR_TYPES:
        return name
    if name.startswith("."):
        # Nested in the row's own message or, in 4.6, in an enclosing message or the package.
        scope = row.full_name
        while scope:
            if scope + name in known:
                return scope + name
            scope = scope.rpartition(".")[0]
    for candidate in (f"{row.package}.{name}", name):
        if candidate in known:
            return candidate
    raise DocumentError(f"{row.full_name}: unknown type {name!r}")


def _match(pattern: str, text: str) -> tuple[str, str]:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise DocumentError(f"{text!r} does not have the form {pattern}")
    return found[1], found[2]


# --- v1 (section 6) -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Renames:
    """Section 6.1. Keys are v0 full names; field and value names map to their v1 spelling."""

    types: dict[str, str]  # "mesos.SlaveID" -> "AgentID"
    fields: dict[tuple[str, str], str]  # ("mesos.Offer", "slave_id") -> "agent_id"
    values: dict[tuple[str, str], str]  # ("mesos.TaskStatus.Source", "SOURCE_SLAVE") -> ...


def _derive_v1(table: FieldTable, text: str) -> FieldTable:
    section_6 = text[text.index("\n### 6.1") : text.index("\n## 7.")]
    renames = _parse_renames(section_6)
    derived: FieldTable = {}
    for entry in table.values():
        if _has_v1_twin(entry):
            twin = _v1_entry(entry, renames)
            derived[twin.full_name] = twin
    derived.update(_structural_differences(section_6, table, derived))
    return derived


def _has_v1_twin(entry: Entry) -> bool:
    package = _package_prefix(entry.full_name)
    return _V1_SOURCES.get(package) == entry.section


def _package_prefix(full_name: str) -> str:
    return ".".join(part for part in full_name.split(".") if part[0].islower())


def _parse_renames(section: str) -> _Renames:
    renames = _Renames({}, {}, {})
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 2:
            continue
        what, where = cells
        if what == "types":
            package, _, pairs = where.partition(": ")
            for old, new in re.findall(r"`(\w+)` → `(\w+)`", pairs):
                renames.types[f"{package}.{old}"] = new
        elif what.startswith("field "):
            old, new = _match(r"field `(\w+)` → `(\w+)`", what)
            for group in where.split("; "):
                package, _, messages = group.partition(": ")
                for message in re.findall(r"([\w.]+)\(\d+\)", messages):
                    renames.fields[f"{package}.{message}", old] = new
        elif what.startswith("enum values of "):
            package, _, pairs = where.partition(": ")
            enum = f"{package}.{_first_backquoted(what)}"
            for old, new in re.findall(r"`(\w+)` → `(\w+)`", pairs):
                renames.values[enum, old] = new
    return renames


def _v1_name(full_name: str, renames: _Renames) -> str:
    for old, new in renames.types.items():
        if full_name == old or full_name.startswith(old + "."):
            package = old.rpartition(".")[0]
            full_name = f"{package}.{new}{full_name[len(old) :]}"
            break
    package, rest = full_name.split(".", 1)
    return f"{package}.v1.{rest}"


def _v1_type(name: str, renames: _Renames) -> str:
    if name.startswith("map<"):
        key, value = name[4:-1].split(",")
        return f"map<{key},{_v1_type(value, renames)}>"
    return name if name in SCALAR_TYPES else _v1_name(name, renames)


def _v1_entry(entry: Entry, renames: _Renames) -> Entry:
    full_name = _v1_name(entry.full_name, renames)
    match entry:
        case Enum(values=values):
            renamed = tuple(
                (renames.values.get((entry.full_name, name), name), number)
                for name, number in values
            )
            return Enum(full_name, "6", renamed)
        case Message(fields=fields):
            return Message(
                full_name,
                "6",
                tuple(
                    replace(
                        field,
                        name=renames.fields.get((entry.full_name, field.name), field.name),
                        type=_v1_type(field.type, renames),
                    )
                    for field in fields
                ),
            )


def _structural_differences(section: str, v0: FieldTable, v1: FieldTable) -> FieldTable:
    """The v1 rows of section 6.2, which replace or extend what the renames produced."""
    known = set(v0) | set(v1)
    rows: list[_Row] = []
    for line in section[section.index("### 6.2") :].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`mesos.v1"):
            package = cells[0].strip("`")
            name, cell = _match(r"`([\w.]+)`: (.*)", cells[2])
            rows.append(_Row("message", f"{package}.{name}", package, "6", cell))
    known |= {row.full_name for row in rows}
    return {entry.full_name: entry for row in rows for entry in _entries(row, known)}


# --- command --------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="rewrite the committed field table")
    parser.add_argument("--document", type=Path, default=DEFAULT_DOCUMENT)
    parser.add_argument("--output", type=Path, default=DEFAULT_TABLE)
    options = parser.parse_args(argv)
    try:
        table = parse_document(options.document.read_text(encoding="utf-8"))
    except (OSError, DocumentError) as error:
        print(f"field_table: {error}", file=sys.stderr)
        return 2
    options.output.write_text(to_text(table), encoding="utf-8")
    messages = sum(isinstance(entry, Message) for entry in table.values())
    print(f"{options.output}: {messages} messages, {len(table) - messages} enums")
    return 0


if __name__ == "__main__":
    sys.exit(main())
