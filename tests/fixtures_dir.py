"""Where the recordings of real Mesos daemons are.

They are not part of this repository. A test that needs them calls `fixtures` first and is skipped,
with the reason, where they are absent.
"""

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parent.parent.parent / "shared" / "fixtures"


def fixtures() -> Path:
    """The directory of the recordings: ``MESOS_FIXTURES``, else ``../shared/fixtures``.

    Skips the calling test when it is not there. A value of ``MESOS_FIXTURES`` that is not a
    directory is a mistake, not an absence: the test fails.
    """
    named = os.environ.get("MESOS_FIXTURES")
    if named:
        directory = Path(named)
        if not directory.is_dir():
            pytest.fail(f"MESOS_FIXTURES={named} is not a directory")
        return directory
    if not _BESIDE_THE_REPOSITORY.is_dir():
        pytest.skip(
            "the recordings are not here: set MESOS_FIXTURES, or put them in ../shared/fixtures"
        )
    return _BESIDE_THE_REPOSITORY
