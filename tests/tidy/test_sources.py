"""Rules for all source files that no other tool checks: exports, words, links, places."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ("_pb2.py", "_pb2.pyi")
PACKAGES = ("actorproc", "cluster")


def source_files(*packages):
    return sorted(
        file
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        if not file.name.endswith(GENERATED)
    )


def module_name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def documents():
    folders = (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "benchmarks", ROOT / "changelog.d")
    return sorted(file for folder in folders for file in folder.glob("*.md"))


@pytest.mark.parametrize("file", source_files(*PACKAGES), ids=module_name)
def test_exports_exist(file):
    module = importlib.import_module(module_name(file))
    exported = getattr(module, "__all__", [])
    assert [name for name in exported if not hasattr(module, name)] == []
    assert len(exported) == len(set(exported))


def test_what_modules_take_from_each_other_is_exported():
    """``from a.b import c`` needs ``c`` in the ``__all__`` of ``a.b`` (or a module ``a.b.c``)."""
    modules = {module_name(file) for file in source_files(*PACKAGES)}
    missing = set()
    for file in source_files(*PACKAGES, "examples", "benchmarks"):
        for source, name in _imported_names(file):
            is_module = f"{source}.{name}" in modules or name.endswith("_pb2")
            if source in modules and not is_module:
                exported = getattr(importlib.import_module(source), "__all__", [])
                if name not in exported:
                    missing.add(f"{source}.{name}, used in {module_name(file)}")
    assert sorted(missing) == []


def _imported_names(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_of_a_package_are_sorted_and_complete(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == {
        name
        for name, value in vars(module).items()
        if name in module.__all__ or (not name.startswith("_") and not _is_module(value))
    }


def _is_module(value):
    return type(value).__name__ == "module"


@pytest.mark.parametrize(
    "file",
    source_files("actorproc", "cluster/core", "cluster/model", "cluster/validation"),
    ids=module_name,
)
def test_pure_code_uses_the_modern_words(file):
    """Historic words belong to the wire; there a name like ``mesos.SlaveID`` is only mentioned."""
    named = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                named.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                named.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                named.add(name)
            case _:
                pass
    assert sorted(name for name in named if "slave" in name.lower()) == []


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_in_documents_lead_somewhere(file):
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (file.parent / path) if path else file
        assert linked.exists(), f"{target} does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked), f"{target}: no such heading"


def _anchors(document):
    headings = re.findall(r"^#+ +(.*)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_no_file_names_a_place_of_one_machine():
    """Paths below somebody's home, or of this very checkout, mean nothing anywhere else."""
    place = re.compile(rf"{re.escape(str(ROOT))}\b|/(?:home|Users)/\w")
    found = []
    for file in ROOT.rglob("*"):
        parts = file.relative_to(ROOT).parts
        if any(_is_made_by_tools(part) for part in parts) or not file.is_file():
            continue
        text = file.read_text(errors="replace")
        found += [f"{file.relative_to(ROOT)}: {each}" for each in place.findall(text)]
    assert found == []


def _is_made_by_tools(part):
    return (part.startswith(".") and part != ".ci") or part in {"__pycache__", "build", "dist"}
