"""Every verb, and how a scenario is carried out.

A verb is a function of the modules ``*_verbs``, named after it; it turns words into events for the
master. What comes of them is the master's business. Its docstring says how it is written.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType

from cluster.core.master.core import MasterCore
from cluster.errors import InvalidInput
from cluster.testing.scenarios import (
    agent_verbs,
    framework_verbs,
    looking_verbs,
    master_verbs,
    offer_verbs,
    operator_verbs,
    task_verbs,
)
from cluster.testing.scenarios.play import Play
from cluster.testing.scenarios.script import Command, ScenarioError, Script, parse
from cluster.testing.scenarios.stage import Stage
from cluster.testing.scenarios.words import Words

Check = Callable[[MasterCore], None]
Verb = Callable[[Play, Words], None]

MODULES = (
    master_verbs,
    agent_verbs,
    framework_verbs,
    offer_verbs,
    task_verbs,
    operator_verbs,
    looking_verbs,
)


def _verbs(module: ModuleType) -> dict[str, Verb]:
    """The public functions of a module in the order of its text, written with dashes."""
    return {
        name.replace("_", "-"): verb
        for name, verb in vars(module).items()
        if name in module.__all__
    }


VERBS: Mapping[str, Verb] = {
    name: verb for module in MODULES for name, verb in _verbs(module).items()
}


def play(script: Script, check: Check = lambda core: None) -> Script:
    """Carry a scenario out; returns it with what the master really did.

    Args:
        script: the scenario; its stored output does not matter.
        check: called with the core after each event.

    Raises:
        ScenarioError: a command is not understood, or the master's books broke at it.
    """
    return script.with_output(partial(_obey, Play(Stage(check)), script.file))


def play_text(text: str, file: str = "scenario", check: Check = lambda core: None) -> str:
    """Like :func:`play`, from text to text."""
    return str(play(parse(text, file), check))


def _obey(play: Play, file: str, command: Command) -> list[str]:
    """Carry out one command; returns the lines it led to."""
    name, *words = command.words
    verb = VERBS.get(name)
    if verb is None:
        raise ScenarioError(file, command.line, f"unknown verb {name!r}")
    try:
        verb(play, Words(words))
    except InvalidInput as error:
        raise ScenarioError(file, command.line, f"{name}: {error}") from error
    except Exception as error:
        text = f"{name}: {type(error).__name__}: {error}"
        raise ScenarioError(file, command.line, text) from error
    return play.stage.take_lines()


def reference() -> str:
    """All verbs as lists in Markdown, from their docstrings."""
    parts = []
    for module in MODULES:
        parts.append(f"### {(module.__doc__ or '').partition('.')[0]}\n")
        for verb in _verbs(module).values():
            first, _, usage = (inspect.getdoc(verb) or "").partition("\n\n")
            usage = " ".join(usage.split()).replace("``", "`")
            parts.append(f"- {usage}  \n  {' '.join(first.split())}")
        parts.append("")
    return "\n".join(parts)


__all__ = ["VERBS", "Check", "Verb", "play", "play_text", "reference"]
