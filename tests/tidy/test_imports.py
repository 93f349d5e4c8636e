"""The direction of imports, as ``setup.cfg`` has it; and that its contracts do catch something."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(directory):
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--config", ROOT / "setup.cfg", "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_imports_follow_the_layers():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("cluster/model/ids.py", "import cluster.flags", "Layers of cluster"),
        ("cluster/model/ids.py", "import time", "Cores neither wait nor look outside"),
        ("cluster/core/driver_status.py", "import asyncio", "Cores neither wait nor look outside"),
        ("cluster/core/driver_status.py", "import actorproc", "Cores of cluster know no actors"),
        ("cluster/flags.py", "import actorproc.core.links", "only the public names of actorproc"),
        ("actorproc/pid.py", "import cluster.errors", "actorproc knows nothing of cluster"),
    ],
)
def test_a_forbidden_import_is_caught(tmp_path, module, line, contract):
    for package in ("actorproc", "cluster"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    file = tmp_path / module
    file.write_text(f"{line}\n{file.read_text()}")
    done = lint_imports(tmp_path)
    # A line may end with how many imports the contract ignores.
    verdicts = [each.partition(" (")[0] for each in done.stdout.splitlines()]
    broken = [each for each in verdicts if each.endswith("BROKEN")]
    assert done.returncode == 1, done.stdout
    assert any(contract in each for each in broken), broken
