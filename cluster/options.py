"""Options of the commands for people (``cluster dev``, ``cluster run``), on top of argparse.

Wrong usage is one line that names the option and the rule, and exit status 2; values follow the
same kinds as the flags of the daemons.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from cluster.errors import InvalidInput
from cluster.flag_kinds import Kind

T = TypeVar("T")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message} (--help says more)\n")
        sys.exit(2)


def valued(kind: Kind[T]) -> Callable[[str], T]:
    """The ``type=`` of an option whose text follows a kind of flag value."""

    def parse(text: str) -> T:
        try:
            return kind.parse(text, "value")
        except InvalidInput as error:
            raise argparse.ArgumentTypeError(error.rule) from error

    return parse


__all__ = ["OneLineParser", "valued"]
