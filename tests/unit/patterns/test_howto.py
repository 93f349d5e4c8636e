"""The programs in the how-to pages print what the pages say."""

import contextlib
import io
import logging
import re
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[3] / "docs" / "howto"
PAGES = ("futures", "rate-limits", "retries", "supervision")
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def programs():
    return [
        pytest.param(code, printed, id=f"{page}-{place}")
        for page in PAGES
        for place, (code, printed) in enumerate(
            PROGRAM.findall((HOWTO / f"{page}.md").read_text(encoding="utf-8"))
        )
    ]


@pytest.fixture(autouse=True)
def _logging_as_before():
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("code", "printed"), programs())
def test_program(code, printed):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "page", "exec"), {"__name__": "__main__"})
    assert output.getvalue() == printed


def test_every_program_on_the_pages_is_run():
    blocks = sum((HOWTO / f"{page}.md").read_text().count("```python") for page in PAGES)
    assert blocks == len(programs()) == 7
