"""What happened to one framework, agent or task: the last few steps, for errors and debugging."""

from collections import deque

STORY_STEPS_MAX = 16


class Story:
    """A bounded list of steps, oldest first."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: deque[tuple[float, str, str]] = deque(maxlen=STORY_STEPS_MAX)

    def add(self, now_s: float, cause: str, step: str) -> None:
        """Remember that ``cause`` led to ``step`` (for example ``ACTIVE -> DISCONNECTED``)."""
        self._steps.append((now_s, cause, step))

    def __str__(self) -> str:
        return "; ".join(f"{at_s:.3f} {cause}: {step}" for at_s, cause, step in self._steps)


__all__ = ["STORY_STEPS_MAX", "Story"]
