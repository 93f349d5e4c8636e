"""The programs on the pages about metrics and child processes print what the pages say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "howto" / f"{name}.md" for name in ("metrics", "subprocesses")]
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)

PROGRAMS = [
    pytest.param(*match.groups(), id=f"{page.stem}-{number}")
    for page in PAGES
    for number, match in enumerate(PROGRAM.finditer(page.read_text()))
]


@pytest.mark.process
@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_of_a_page(program, output):
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout) == ("", output)


def test_all_programs_are_found():
    assert len(PROGRAMS) == 4
