"""The other end of a conversation, as an opaque name.

A core must know whether two messages came from the same scheduler or agent, and whom to answer,
but not how that peer is reached. The shell chooses the text (today ``str(pid)``, later also the
name of an HTTP stream) and maps it back when it sends.
"""

from typing import NewType

PeerId = NewType("PeerId", str)

__all__ = ["PeerId"]
