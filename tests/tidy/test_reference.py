"""The reference is what the docstrings say."""

import importlib
import re

import pytest

from tools.api_reference import PAGES, REFERENCE, markdown, pages, write

DOCUMENTS = sorted([*REFERENCE.parent.glob("*.md"), *REFERENCE.parent.glob("howto/*.md")])


@pytest.fixture(scope="module")
def wanted():
    return pages()


def test_every_page_is_up_to_date(wanted):
    """If not: ``python -m tools.api_reference``."""
    stored = {file.name: file.read_text(encoding="utf-8") for file in REFERENCE.glob("*.md")}
    assert sorted(stored) == sorted(wanted)
    assert [name for name, text in wanted.items() if stored[name] != text] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_public_name_has_an_entry(wanted, name):
    text = wanted[f"{name}.md"]
    entries = {line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")}
    assert entries == set(importlib.import_module(name).__all__)


def test_no_page_depends_on_the_run(wanted):
    assert [name for name, text in wanted.items() if " at 0x" in text] == []
    assert pages() == wanted


def test_a_page_that_is_old_is_brought_up_to_date_and_others_go(tmp_path, wanted):
    (tmp_path / "actorproc.md").write_text("old")
    (tmp_path / "gone.md").write_text("of a module that is gone")
    changed = write(tmp_path)
    assert {"actorproc.md", "gone.md"} <= set(changed)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == wanted
    assert write(tmp_path) == []


def test_a_docstring_becomes_markdown():
    doc = """Do ``this``.

More of it.

    a ──> b

Args:
    one: the first, which
        goes on.
    *rest: others.

Returns:
    What is
    left.

Example::

    do(1)
"""
    assert (
        markdown(doc)
        == """Do `this`.

More of it.

```text
a ──> b
```

**Args**

- `one`: the first, which
  goes on.
- `*rest`: others.

**Returns**

What is
left.

Example:

```python
do(1)
```"""
    )


def resolve(path):
    """What a dotted path such as ``actorproc.http.Pipe`` stands for."""
    parts = path.split(".")
    value = importlib.import_module(parts[0])
    for place, part in enumerate(parts[1:], 2):
        if not hasattr(value, part):
            importlib.import_module(".".join(parts[:place]))
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_names_in_documents_exist(document):
    named = re.findall(r"`(actorproc(?:\.\w+)+)`", document.read_text(encoding="utf-8"))
    for path in named:
        resolve(path)


def test_a_name_that_does_not_exist_is_noticed():
    with pytest.raises(ModuleNotFoundError):
        resolve("actorproc.patterns.no_such_name")
    assert resolve("actorproc.Process.pid").__doc__.startswith("The address")
