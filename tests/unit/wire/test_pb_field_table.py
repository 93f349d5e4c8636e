"""The generated messages are those of the specification: nothing missing, different or extra."""

from pathlib import Path

import pytest

from tests.unit.wire.live_types import live_table
from tools.field_table import (
    DEFAULT_DOCUMENT,
    DEFAULT_TABLE,
    DocumentError,
    parse_document,
    to_text,
)


def _sections(text: str) -> dict[str, str]:
    """Text form of a table, split into ``"message mesos.TaskID"`` → its lines."""
    sections: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            heading = line
            sections[heading] = ""
        else:
            sections[heading] += line + "\n"
    return sections


def _assert_same(actual: str, wanted: str) -> None:
    """Compare by type, so that a failure shows the types that differ and not 5,000 lines."""
    have, want = _sections(actual), _sections(wanted)
    differing = {name for name in have.keys() | want.keys() if have.get(name) != want.get(name)}
    assert {name: have.get(name) for name in differing} == {
        name: want.get(name) for name in differing
    }
    assert actual == wanted


def test_descriptors_equal_the_committed_table() -> None:
    _assert_same(to_text(live_table()), DEFAULT_TABLE.read_text(encoding="utf-8"))


def test_committed_table_is_what_the_document_yields() -> None:
    document = _document()
    _assert_same(DEFAULT_TABLE.read_text(encoding="utf-8"), to_text(parse_document(document)))


def test_no_row_of_the_document_is_lost() -> None:
    """Counted without the parser: every name in the first column of sections 4 and 5."""
    table = parse_document(_document())
    simple_names = {full_name.rpartition(".")[2] for full_name in table}
    rows = 0
    for line in _document().partition("\n## 4.")[2].partition("\n## 6.")[0].splitlines():
        if line.startswith(("| `", "| enum `")):
            rows += 1
            name = line.split("`")[1].rpartition(".")[2]
            assert name in simple_names or name == "*", line
    assert rows > 500


def _document() -> str:
    if not DEFAULT_DOCUMENT.is_file():
        pytest.skip("the specification is not here: ../shared/spec/messages.md")
    return DEFAULT_DOCUMENT.read_text(encoding="utf-8")


# --- the reader of the document, on a small one ---------------------------------------------------

_EXAMPLE = """
### 5.1 `mesos` — mesos.proto

| type | fields (number name label type) |
|---|---|
| enum `State` | FIRST=6, SECOND=0 |
| `SlaveID` | 1 value! string |
| `Offer` | 1 id! SlaveID; 2 role? string=* (dep.); 5 kind? .Kind=B; 3 parts* .Part; 4 more* \
map<string,Offer.Part>; **enum .Kind** {A=0, B=1} |
| `Offer.Part` | 1 left? .Left <oneof>; 2 right? State <oneof> |
| `Offer.Part.Left` | (no fields) |

### 4.6 Small packages

| type | fields |
|---|---|
| `cni.Net` | 1 ipam? .IPAM {1 type! string; 2 routes* .Route}; 2 route? .Route |
| `cni.Route` | 1 dst! string |

## 6. v1 types

### 6.1 Renames

| rename | where |
|---|---|
| types | mesos: `SlaveID` → `AgentID` |
| field `id` → `agent` | mesos: Offer(1) |
| enum values of `State` | mesos: `FIRST` → `ONE` (6) |

### 6.2 Structural differences

| package | v0 | v1 |
|---|---|---|
| `mesos.v1` | absent | `Extra`: 1 id? AgentID |

## 7. Notes
"""

_EXAMPLE_TABLE = """\
message cni.Net
  1 ipam optional cni.Net.IPAM
  2 route optional cni.Route
message cni.Net.IPAM
  1 type required string
  2 routes repeated cni.Route
message cni.Route
  1 dst required string
message mesos.Offer
  1 id required mesos.SlaveID
  2 role optional string default=* deprecated
  3 parts repeated mesos.Offer.Part
  4 more repeated map<string,mesos.Offer.Part>
  5 kind optional mesos.Offer.Kind default=B
enum mesos.Offer.Kind
  A = 0
  B = 1
message mesos.Offer.Part
  1 left optional mesos.Offer.Part.Left oneof
  2 right optional mesos.State oneof
message mesos.Offer.Part.Left
message mesos.SlaveID
  1 value required string
enum mesos.State
  FIRST = 6
  SECOND = 0
message mesos.v1.AgentID
  1 value required string
message mesos.v1.Extra
  1 id optional mesos.v1.AgentID
message mesos.v1.Offer
  1 agent required mesos.v1.AgentID
  2 role optional string default=* deprecated
  3 parts repeated mesos.v1.Offer.Part
  4 more repeated map<string,mesos.v1.Offer.Part>
  5 kind optional mesos.v1.Offer.Kind default=B
enum mesos.v1.Offer.Kind
  A = 0
  B = 1
message mesos.v1.Offer.Part
  1 left optional mesos.v1.Offer.Part.Left oneof
  2 right optional mesos.v1.State oneof
message mesos.v1.Offer.Part.Left
enum mesos.v1.State
  ONE = 6
  SECOND = 0
"""


def test_every_notation_of_the_document_is_understood() -> None:
    assert to_text(parse_document(_EXAMPLE)) == _EXAMPLE_TABLE


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("| `Task` | 1 id! Nowhere |", "mesos.Task: unknown type 'Nowhere'"),
        ("| `Task` | one id! string |", "mesos.Task: 'one id! string' is not a field"),
        ("| `Offer` | 1 id! string |", "mesos.Offer: defined twice"),
    ],
)
def test_a_row_that_breaks_the_notation_is_refused(row: str, complaint: str) -> None:
    broken = _EXAMPLE.replace("| `SlaveID` |", f"{row}\n| `SlaveID` |")
    with pytest.raises(DocumentError, match=complaint):
        parse_document(broken)


def test_committed_table_is_beside_the_tests() -> None:
    assert Path(__file__).parents[2] / "data" / "field_table.txt" == DEFAULT_TABLE
