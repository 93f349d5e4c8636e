"""What a framework wants of every offer in a role: said once, instead of declined every time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.errors import InvalidInput
from cluster.model.resources import Resources
from cluster.model.values import Quantities, ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferWish:
    """Which offers are worth making in one role.

    Attributes:
        min_resources: an offer must hold all of ``cpus:4;mem:8192``, or of one of several such
            texts apart by ``|``; empty for whatever the master finds worth an offer.
        hosts: only agents with one of these host names; empty for any.
        attributes: only agents with all of these attributes: name -> its whole text. An attribute
            that is not a text (a number, say) fits whatever is asked of it.
    """

    min_resources: str = ""
    hosts: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    def alternatives(self, name: str = "min_resources") -> tuple[Quantities, ...]:
        """The amounts of which an offer must hold one; none if nothing is said about them.

        Raises:
            InvalidInput: ``name`` is not written as said above, or asks for more than scalars.
        """
        if not self.min_resources.strip():
            return ()
        return tuple(_quantities(part, name) for part in self.min_resources.split("|"))


def _quantities(text: str, field_name: str) -> Quantities:
    try:
        resources = Resources.parse(text)
    except InvalidInput as error:
        raise InvalidInput(f"{field_name}.{error.field}", error.rule) from error
    if not resources:
        raise InvalidInput(field_name, "an alternative must not be empty")
    if any(entry.type is not ValueType.SCALAR or entry.reservations for entry in resources):
        raise InvalidInput(field_name, f"must be unreserved scalars, not {text!r}")
    return dict(resources.quantities())


__all__ = ["OfferWish"]
