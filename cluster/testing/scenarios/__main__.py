"""``python -m cluster.testing.scenarios [--rewrite] FILE ...``: play scenarios.

Prints each with what the master really does; with ``--rewrite`` stores that in the files instead.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.testing.scenarios.script import ScenarioError
from cluster.testing.scenarios.verbs import play_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 when a scenario could not be carried out."""
    parser = argparse.ArgumentParser(prog="python -m cluster.testing.scenarios")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--rewrite", action="store_true", help="store the trace in the files")
    given = parser.parse_args(arguments)
    for file in given.files:
        try:
            text = play_text(file.read_text(encoding="utf-8"), str(file))
        except ScenarioError as error:
            print(error, file=sys.stderr)
            return 1
        if given.rewrite:
            file.write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
