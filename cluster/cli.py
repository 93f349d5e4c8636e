"""The ``cluster`` command: one word for each thing it can do.

``master`` and ``agent`` hand their arguments to the daemons untouched; ``dev`` and ``run`` have
options of their own. A wrong command line is one line on standard error and exit status 2.
"""

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster import VERSION, __version__

EXIT_BAD_USAGE = 2


@dataclass(frozen=True, slots=True)
class Command:
    """One word after ``cluster``."""

    name: str
    help: str
    run: Callable[[list[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        print(_usage(), end="")
        return 0
    if name == "--version":
        name = "version"
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        print(f"cluster: no command {name!r}, {hint}", file=sys.stderr)
        return EXIT_BAD_USAGE
    try:
        return command.run(arguments[1:])
    except KeyboardInterrupt:
        return 130


# What a command needs is imported when it runs: --help must not wait for protobuf and aiohttp.


def _dev(arguments: list[str]) -> int:
    from cluster.dev import main as dev

    return dev(arguments)


def _run(arguments: list[str]) -> int:
    from cluster.run_command import main as run

    return run(arguments)


def _master(arguments: list[str]) -> int:
    from cluster.master import main as master

    return master(arguments)


def _agent(arguments: list[str]) -> int:
    from cluster.agent import main as agent

    return agent(arguments)


def _version(arguments: list[str]) -> int:
    print(f"actorproc {__version__}, speaks Mesos {VERSION}")
    return 0


COMMANDS = {
    command.name: command
    for command in (
        Command("dev", "start a master and agents on this machine, for trying things out", _dev),
        Command("run", "run one command on a cluster and show what it prints", _run),
        Command("master", "run a master; the same as python -m cluster.master", _master),
        Command("agent", "run an agent; the same as python -m cluster.agent", _agent),
        Command("version", "print the version", _version),
    )
}


def _usage() -> str:
    lines = ["usage: cluster COMMAND [...]", "", "Commands:"]
    lines += [f"  {command.name:<9}{command.help}" for command in COMMANDS.values()]
    lines += ["", "cluster COMMAND --help says more about each. In two terminals:"]
    lines += ["  cluster dev", "  cluster run -- sh -c 'echo hi'"]
    return "\n".join(lines) + "\n"


__all__ = ["COMMANDS", "Command", "main"]
