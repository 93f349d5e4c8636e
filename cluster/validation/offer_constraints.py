"""Offer constraints of a framework: checked, their patterns compiled, converted to the model.

A pattern is a regular expression of RE2, whose matching takes time linear in the text, so that no
framework can stall the allocator. What a pattern may cost to keep is limited as well.

Source: allocator.md §4; master.md §2.1, §11 (``--offer_constraints_re2_*``).

Differs: a framework may set ``CONSTRAINTS_MAX`` constraints, not any number; each of them is asked
about each agent.
"""

from dataclasses import dataclass

import re2

from cluster.errors import InvalidInput
from cluster.model.constraints import (
    AttributeConstraint,
    ConstraintGroup,
    Matcher,
    OfferConstraints,
    Predicate,
    PseudoAttribute,
)
from cluster.wire.pb import scheduler_pb2 as scheduler

CONSTRAINTS_MAX = 10_000
RE2_MAX_MEM_BYTES = 4096
RE2_MAX_PROGRAM_SIZE = 100

_FIELD = "offer_constraints"
_PREDICATES = {
    "exists": Predicate.EXISTS,
    "not_exists": Predicate.NOT_EXISTS,
    "text_equals": Predicate.TEXT_EQUALS,
    "text_not_equals": Predicate.TEXT_NOT_EQUALS,
    "text_matches": Predicate.TEXT_MATCHES,
    "text_not_matches": Predicate.TEXT_NOT_MATCHES,
}
_SELECTOR = scheduler.AttributeConstraint.Selector
_PSEUDO_ATTRIBUTES = {
    _SELECTOR.HOSTNAME: PseudoAttribute.HOSTNAME,
    _SELECTOR.REGION: PseudoAttribute.REGION,
    _SELECTOR.ZONE: PseudoAttribute.ZONE,
}


@dataclass(frozen=True, slots=True)
class RegexLimits:
    """What one pattern may cost: bytes of memory, instructions of its compiled form."""

    max_mem_bytes: int = RE2_MAX_MEM_BYTES
    max_program_size: int = RE2_MAX_PROGRAM_SIZE


DEFAULT_LIMITS = RegexLimits()


def read_offer_constraints(
    message: scheduler.OfferConstraints, limits: RegexLimits = DEFAULT_LIMITS
) -> OfferConstraints | str | None:
    """The constraints, None when there are none, or the first rule that they break.

    Whether the roles are roles of the framework is checked elsewhere (``framework_error``).
    """
    if not message.role_constraints:
        return None
    try:
        return _read(message, limits)
    except InvalidInput as error:
        return str(error)


def _read(message: scheduler.OfferConstraints, limits: RegexLimits) -> OfferConstraints:
    count = sum(
        len(group.attribute_constraints)
        for of_role in message.role_constraints.values()
        for group in of_role.groups
    )
    if count > CONSTRAINTS_MAX:
        raise InvalidInput(_FIELD, f"must not hold more than {CONSTRAINTS_MAX} constraints")
    groups: dict[str, tuple[ConstraintGroup, ...]] = {}
    for role in sorted(message.role_constraints):
        field = f"{_FIELD}[{role}]"
        groups[role] = tuple(
            _read_group(group, f"{field}.groups[{index}]", limits)
            for index, group in enumerate(message.role_constraints[role].groups)
        )
    return OfferConstraints(groups, message)


def _read_group(
    group: scheduler.OfferConstraints.RoleConstraints.Group, field: str, limits: RegexLimits
) -> ConstraintGroup:
    return tuple(
        _read_constraint(constraint, f"{field}.attribute_constraints[{index}]", limits)
        for index, constraint in enumerate(group.attribute_constraints)
    )


def _read_constraint(
    constraint: scheduler.AttributeConstraint, field: str, limits: RegexLimits
) -> AttributeConstraint:
    selector = _read_selector(constraint.selector, f"{field}.selector")
    kind = constraint.predicate.WhichOneof("predicate")
    if kind is None:
        raise InvalidInput(f"{field}.predicate", "must be one of those that this master knows")
    predicate = _PREDICATES[kind]
    match kind:
        case "text_equals":
            return AttributeConstraint(selector, predicate, constraint.predicate.text_equals.value)
        case "text_not_equals":
            text = constraint.predicate.text_not_equals.value
            return AttributeConstraint(selector, predicate, text)
        case "text_matches":
            pattern = constraint.predicate.text_matches.regex
        case "text_not_matches":
            pattern = constraint.predicate.text_not_matches.regex
        case _:
            return AttributeConstraint(selector, predicate)
    matches = compile_pattern(pattern, f"{field}.predicate.{kind}.regex", limits)
    return AttributeConstraint(selector, predicate, pattern, matches)


def _read_selector(
    selector: scheduler.AttributeConstraint.Selector, field: str
) -> str | PseudoAttribute:
    match selector.WhichOneof("selector"):
        case "attribute_name":
            return selector.attribute_name
        case "pseudoattribute_type" if selector.pseudoattribute_type in _PSEUDO_ATTRIBUTES:
            return _PSEUDO_ATTRIBUTES[selector.pseudoattribute_type]
        case "pseudoattribute_type":
            raise InvalidInput(f"{field}.pseudoattribute_type", "must be HOSTNAME, REGION or ZONE")
        case _:
            raise InvalidInput(field, "must name an attribute or a pseudo-attribute")


def compile_pattern(pattern: str, field: str, limits: RegexLimits = DEFAULT_LIMITS) -> Matcher:
    """Whether a whole text matches a pattern of RE2.

    Raises:
        InvalidInput: it is no such pattern, or its compiled form exceeds the limits.
    """
    options = re2.Options()
    options.max_mem = limits.max_mem_bytes
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidInput(field, f"{pattern!r} is no usable pattern: {_reason(error)}") from error
    if compiled.programsize > limits.max_program_size:
        size = compiled.programsize
        rule = f"must compile to at most {limits.max_program_size} instructions, not {size}"
        raise InvalidInput(field, f"{pattern!r} {rule}")

    def matches(text: str) -> bool:
        return compiled.fullmatch(text) is not None

    return matches


def _reason(error: Exception) -> str:
    """The engine words its errors as bytes."""
    reason = error.args[0] if error.args else error
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


__all__ = [
    "CONSTRAINTS_MAX",
    "DEFAULT_LIMITS",
    "RE2_MAX_MEM_BYTES",
    "RE2_MAX_PROGRAM_SIZE",
    "RegexLimits",
    "compile_pattern",
    "read_offer_constraints",
]
