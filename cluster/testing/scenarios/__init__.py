"""Scenarios: short stories told to a master's core in text, with what it answers.

Text goes in, a trace comes out: commands such as ``agent``, ``framework``, ``accept`` or ``tick``
are played to the real core and allocator in virtual time, and below each one stands what they led
to. A stored scenario is documentation that a test keeps true. See ``tests/scripts/README.md``.
"""

from cluster.testing.scenarios.script import Block, Command, ScenarioError, Script, parse
from cluster.testing.scenarios.verbs import VERBS, play, play_text

__all__ = ["VERBS", "Block", "Command", "ScenarioError", "Script", "parse", "play", "play_text"]
