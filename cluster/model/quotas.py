"""What a role is promised and what it may not exceed. Source: master.md §9 (quota)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.model.values import Quantities


def _nothing() -> Quantities:
    return {}


@dataclass(frozen=True, slots=True)
class Quota:
    """Scalars by resource name, in thousandths.

    A name absent from ``guarantees`` has the guarantee 0, one absent from ``limits`` no limit.
    """

    guarantees: Quantities = field(default_factory=_nothing)
    limits: Quantities = field(default_factory=_nothing)

    @property
    def is_default(self) -> bool:
        """True when it promises and forbids nothing: such a quota is not kept."""
        return not any(self.guarantees.values()) and not self.limits


Quotas = Mapping[str, Quota]
"""By role; a role without entry has the default quota."""

__all__ = ["Quota", "Quotas"]
