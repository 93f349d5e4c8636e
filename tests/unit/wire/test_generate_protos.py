"""Generating the protobuf modules: reproducible, idle when nothing changed, clear when it fails."""

import shutil
from pathlib import Path

import pytest

from tools import generate_protos
from tools.generate_protos import PROTO_PACKAGE, GenerationError, generate

_PROTO = """\
syntax = "proto2";
package example;
message Greeting { required string text = 1; }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A source tree with one ``.proto`` file."""
    package = tmp_path / PROTO_PACKAGE
    package.mkdir(parents=True)
    (package / "greeting.proto").write_text(_PROTO)
    return tmp_path


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def _contents(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / PROTO_PACKAGE).iterdir()}


def test_one_module_and_one_stub_per_file_registered_in_the_private_pool(project: Path) -> None:
    assert _names(generate(project)) == ["greeting_pb2.py", "greeting_pb2.pyi"]
    module = (project / PROTO_PACKAGE / "greeting_pb2.py").read_text()
    assert "from cluster.wire.pb import _pool as _descriptor_pool" in module
    assert "from google.protobuf import descriptor_pool" not in module
    assert "class Greeting" in (project / PROTO_PACKAGE / "greeting_pb2.pyi").read_text()


def test_a_second_run_does_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(project)

    def refuse(*_: object) -> None:
        raise AssertionError("protoc was started although everything is up to date")

    monkeypatch.setattr(generate_protos, "_run_protoc", refuse)
    assert generate(project) == []


def test_generating_anew_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    generate(project)
    first = _contents(project)
    for path in (project / PROTO_PACKAGE).glob("*_pb2*"):
        path.unlink()
    generate(project)
    assert _contents(project) == first
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project / "cluster", elsewhere / "cluster")
    for path in (elsewhere / PROTO_PACKAGE).glob("*_pb2*"):
        path.unlink()
    generate(elsewhere)
    assert _contents(elsewhere) == first


@pytest.mark.parametrize("damage", ["missing stub", "edited first line", "changed source"])
def test_what_is_not_up_to_date_is_made_so(project: Path, damage: str) -> None:
    generate(project)
    package = project / PROTO_PACKAGE
    match damage:
        case "missing stub":
            (package / "greeting_pb2.pyi").unlink()
        case "edited first line":
            (package / "greeting_pb2.py").write_text("# edited\n")
        case _:
            (package / "greeting.proto").write_text(_PROTO.replace("Greeting", "Farewell"))
    assert generate(project) != []
    assert generate(project) == []


def test_the_modules_of_a_removed_file_go_away(project: Path) -> None:
    package = project / PROTO_PACKAGE
    (package / "old.proto").write_text(_PROTO.replace("Greeting", "Old"))
    generate(project)
    (package / "old.proto").unlink()
    generate(project)
    assert not list(package.glob("old_pb2*"))
    assert (package / "greeting_pb2.py").exists()


def test_an_error_in_a_source_names_file_and_line(project: Path) -> None:
    (project / PROTO_PACKAGE / "greeting.proto").write_text(_PROTO.replace("string", "strin"))
    with pytest.raises(GenerationError, match=r'greeting\.proto:3:29: "strin" is not defined'):
        generate(project)
    assert not list((project / PROTO_PACKAGE).glob("*_pb2*"))


def test_a_protoc_with_other_output_is_noticed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_protos, "_POOL_IMPORT", "import something_else\n")
    with pytest.raises(GenerationError, match=r"adapt tools/generate_protos\.py"):
        generate(project)


def test_a_tree_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"no \.proto files"):
        generate(tmp_path)


def test_the_modules_of_this_checkout_are_those_of_its_sources(tmp_path: Path) -> None:
    """Nobody tests modules that an older state of the ``.proto`` files left behind."""
    sources = generate_protos.REPOSITORY / PROTO_PACKAGE
    copy = tmp_path / PROTO_PACKAGE
    shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("*_pb2*", "__pycache__"))
    generate(tmp_path)
    modules = [path.relative_to(copy) for path in copy.rglob("*_pb2.py")]
    assert len(modules) == 34
    for module in modules:
        assert _code(sources / module) == _code(copy / module), module


def _code(module: Path) -> str:
    """A generated module without its first line, which depends on the versions of the tools."""
    return module.read_text().partition("\n")[2]
