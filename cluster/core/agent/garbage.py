"""When sandboxes of ended executors are deleted.

A sandbox is kept for ``gc_delay``, less on a full disk: the age allowed is
``gc_delay × max(0, 1 − gc_disk_headroom − use of the disk)``, looked at every disk watch interval.

Differs: Mesos counts from the last modification of the directory, here from the end of the run.
Source: agent.md §5 (GC).
"""

from dataclasses import dataclass, field


def age_allowed_s(delay_s: float, headroom: float, used: float) -> float:
    """Return how old an unneeded sandbox may be.

    Args:
        delay_s: ``gc_delay``.
        headroom: share of the disk to keep free, 0 to 1.
        used: share of the disk in use, 0 to 1.
    """
    return delay_s * max(0.0, 1.0 - headroom - used)


@dataclass(slots=True)
class Garbage:
    """Directories nobody needs, oldest first."""

    _since_s: dict[str, float] = field(default_factory=dict)

    def add(self, path: str, now_s: float) -> None:
        """Book a directory whose run ended now."""
        self._since_s.setdefault(path, now_s)

    def take_due(self, now_s: float, allowed_s: float) -> list[str]:
        """Return, and forget, the directories that are older than allowed, oldest first."""
        due = [path for path, since_s in self._since_s.items() if now_s - since_s >= allowed_s]
        for path in due:
            del self._since_s[path]
        return due

    def __len__(self) -> int:
        return len(self._since_s)


__all__ = ["Garbage", "age_allowed_s"]
