"""The programs in the how-to pages about HTTP run as they are written."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "docs" / "howto"


def programs():
    for page in ("http", "http-client", "authentication"):
        text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL), 1):
            yield pytest.param(code, id=f"{page}-{number}")


@pytest.mark.parametrize("code", list(programs()))
def test_a_program_of_the_documentation(code):
    exec(compile(code, "<documentation>", "exec"), {"__name__": "documentation"})
