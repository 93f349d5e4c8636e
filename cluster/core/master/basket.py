"""What is left of the offers while one ACCEPT is carried out, operation by operation.

Source: master.md §6.2 (steps 3 and 4).
"""

from cluster.model.conversions import Conversion, single
from cluster.model.resources import EMPTY, Resources


class Basket:
    """The running sum of what was offered.

    A shared volume can be used as often as the framework likes, so a copy of it is added whenever
    one is used that is no longer there. A volume that was resized must not be used again: the
    agent may refuse the new size.
    """

    def __init__(self, offered: Resources) -> None:
        self._offered = offered
        self._shared = single(offered.shared())
        self._resized = EMPTY
        self.left = offered

    def lack(self, needed: Resources) -> str | None:
        """Why this cannot be taken, or None."""
        for entry in needed if self._resized else ():
            if self._resized.contains(Resources([entry])):
                return f"{entry} was resized by the same call and cannot be used yet"
        if self.left.contains(needed.unshared()) and self._shared.contains(single(needed.shared())):
            return None
        return f"[{needed}] is more than the available [{self.left}]"

    def take(self, needed: Resources) -> Resources:
        """Use something of which nothing lacks; returns the copies that were added for it."""
        added = needed.shared().minus_up_to(self.left)
        self.left = self.left + added - needed
        return added

    def drop_copies(self, volumes: Resources) -> Resources:
        """Keep one copy of each of these shared volumes; returns the others."""
        shared = volumes.shared()
        copies = Resources(
            entry for entry in self.left.shared() if shared.contains(single(Resources([entry])))
        )
        spare = copies.minus_up_to(shared)
        self.left = self.left - spare
        return spare

    def convert(self, conversion: Conversion) -> None:
        """Some of it turns into something else."""
        self.left = conversion.of(self.left)
        gone = single(conversion.before)
        self._shared = self._shared.minus_up_to(gone) + single(conversion.after.shared())

    def freeze(self, volume: Resources) -> None:
        """Let nothing else use a resized volume."""
        self._resized = self._resized + volume

    @property
    def converted(self) -> Resources:
        """What is left and was not offered like this: nobody has refused it."""
        return self.left.minus_up_to(self._offered)

    @property
    def declined(self) -> Resources:
        return self.left.minus_up_to(self.converted)


__all__ = ["Basket"]
