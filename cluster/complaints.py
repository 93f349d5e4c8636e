"""Warnings that do not repeat themselves: one line per subject and interval, then a count."""

from collections import OrderedDict

COMPLAINT_INTERVAL_S = 30.0
SUBJECTS_MAX = 1000


class Complaints:
    """Decides which warnings are worth a line. A flood from peers must not become one of lines.

    Args:
        interval_s: after a line, how long the same subject stays silent.
    """

    def __init__(self, interval_s: float = COMPLAINT_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._subjects: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def admit(self, subject: str, now_s: float) -> int | None:
        """None to stay silent; otherwise how many warnings of this subject were held back."""
        known = self._subjects.get(subject)
        if known is not None and now_s < known[0] + self._interval_s:
            self._subjects[subject] = (known[0], known[1] + 1)
            return None
        self._subjects[subject] = (now_s, 0)
        self._subjects.move_to_end(subject)
        if len(self._subjects) > SUBJECTS_MAX:
            self._subjects.popitem(last=False)
        return 0 if known is None else known[1]


__all__ = ["COMPLAINT_INTERVAL_S", "SUBJECTS_MAX", "Complaints"]
