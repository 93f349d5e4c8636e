"""The programs on the pages for framework authors and operators print what the pages say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.flags import flags_of
from cluster.master_flags import MasterConfig

ROOT = Path(__file__).parents[2]
NAMES = ("offers", "quotas-and-fairness", "agents-operation")
PAGES = [ROOT / "docs" / "howto" / f"{name}.md" for name in NAMES]
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
PROGRAMS = [
    pytest.param(*match.groups(), id=f"{page.stem}-{number}")
    for page in PAGES
    for number, match in enumerate(PROGRAM.finditer(page.read_text()))
]
PROGRAM_S = 120.0


@pytest.mark.process
@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_of_a_page(program, output):
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PROGRAM_S)
    assert done.stdout == output, done.stderr
    assert "Traceback" not in done.stderr  # warnings of the daemons are there


def test_all_programs_are_run():
    assert len(PROGRAMS) == sum(page.read_text().count("```python") for page in PAGES) == 3


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_flag_that_is_named_is_one_of_the_master(page):
    known = {flag.name for flag in flags_of(MasterConfig).values()}
    named = {name.rstrip("`") for name in re.findall(r"`--([a-z_]+)", page.read_text())}
    assert named
    assert not named - known
