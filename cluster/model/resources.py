"""Resources: immutable, exact bundles of scalars, ranges and sets, and their text form.

A bundle maps an *identity* (name, reservations, disk, revocable, shared, provider, allocation role)
to an amount. Amounts of one identity add up; different identities stay apart. Some entries have
no parts: a persistent volume, a MOUNT or BLOCK disk, a RAW disk with an id, and everything shared
are there or not, so their size belongs to the identity and the amount counts copies.

What is decided here: arithmetic, the reservation and allocation views, the text form of the
``--resources`` flag. Not here: protobuf and JSON (``cluster.wire.resources``).

Source: agent.md §1.1 (text), messages.md §5.1 (fields) and §7 (fixed point), allocator.md §1.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from cluster.errors import ClusterError, InvalidInput
from cluster.model.roles import ANY_ROLE, check_role, may_use_reservation
from cluster.model.values import (
    MILLI_PER_UNIT,
    Items,
    Ranges,
    ValueType,
    format_milli,
    is_number,
    parse_ranges,
    parse_scalar,
    parse_set,
)

Amount = int | Ranges | Items
"""A scalar in thousandths, ranges or a set; for entries without parts the number of copies."""

Labels = tuple[tuple[str, str | None], ...]
"""Sorted ``(key, value)`` pairs: the order of labels carries no meaning."""

WELL_KNOWN_TYPES: Mapping[str, ValueType] = {
    "cpus": ValueType.SCALAR,
    "mem": ValueType.SCALAR,
    "disk": ValueType.SCALAR,
    "gpus": ValueType.SCALAR,
    "ports": ValueType.RANGES,
}
"""Names whose type Mesos fixes; any other name may carry any type."""

# Marking an identity with a role is remembered for so many; a forgotten one costs time only.
_MARKED_CACHE_MAX = 8192

_ENTRY_NAME = re.compile(r"([^():]+)(?:\(([^():]*)\))?")


class ResourcesNotContained(ClusterError):
    """Something was taken away from resources that do not hold it (our own fault)."""

    def __init__(self, whole: "Resources", part: "Resources") -> None:
        super().__init__(f"resources [{whole}] do not contain [{part}]")


class ReservationType(IntEnum):
    """Numbers of ``mesos.Resource.ReservationInfo.Type``."""

    STATIC = 1
    DYNAMIC = 2


@dataclass(frozen=True, slots=True)
class Reservation:
    """One level of a reservation stack."""

    role: str
    type: ReservationType = ReservationType.STATIC
    principal: str | None = None
    labels: Labels | None = None


class DiskSourceType(IntEnum):
    """Numbers of ``mesos.Resource.DiskInfo.Source.Type``."""

    PATH = 1
    MOUNT = 2
    BLOCK = 3
    RAW = 4


@dataclass(frozen=True, slots=True)
class DiskSource:
    """Where a disk comes from; ``root`` is the directory of a PATH or MOUNT source."""

    type: DiskSourceType
    root: str | None = None
    id: str | None = None
    metadata: Labels | None = None
    profile: str | None = None
    vendor: str | None = None


@dataclass(frozen=True, slots=True)
class Persistence:
    """Name and owner of a persistent volume."""

    id: str
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """Where a disk is mounted; ``rest`` carries rarely used fields unread (image, source)."""

    container_path: str
    read_only: bool = False
    host_path: str | None = None
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Disk:
    """What makes a disk resource more than a number of megabytes."""

    persistence: Persistence | None = None
    volume: Volume | None = None
    source: DiskSource | None = None

    @property
    def is_indivisible(self) -> bool:
        """True for volumes and for sources that are handed out whole or not at all."""
        if self.persistence is not None:
            return True
        match self.source:
            case DiskSource(type=DiskSourceType.MOUNT | DiskSourceType.BLOCK):
                return True
            case DiskSource(type=DiskSourceType.RAW, id=str()):
                return True
            case _:
                return False


class Marks:
    """What is special about an entry, or about any entry of a bundle: bits of one whole number.

    Plain numbers, because the arithmetic of an ``IntFlag`` costs more than what it describes.
    """

    RESERVED: Final = 1
    REFINED: Final = 2
    """Reserved more than once over."""
    REVOCABLE: Final = 4
    SHARED: Final = 8
    ALLOCATED: Final = 16
    UNRESERVED: Final = 32


class _OneOfEach(type):
    """Makes a class give back the living instance that equals the one asked for, if there is one.

    Every bundle is a map by identity. With one object for equal ones, hashing and comparing are
    Python's own for objects and cost next to nothing; computed from nine fields they were most of
    what an allocation run did.
    """

    def __call__(cls, *args: object, **kwargs: object) -> object:
        made = super().__call__(*args, **kwargs)
        assert isinstance(made, ResourceIdentity)
        return _IDENTITIES.setdefault(made.parts(), made)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ResourceIdentity(metaclass=_OneOfEach):
    """What two amounts must share to be added. There is one object for equal identities.

    ``reservations`` is the stack, most refined last; empty means unreserved. ``whole`` is the size
    of an entry without parts and None for everything else. What follows is computed once.
    """

    name: str
    type: ValueType
    reservations: tuple[Reservation, ...] = ()
    disk: Disk | None = None
    is_revocable: bool = False
    is_shared: bool = False
    provider_id: str | None = None
    allocation_role: str | None = None
    whole: Amount | None = None
    marks: int = field(init=False, repr=False, compare=False)
    reserved_for: str | None = field(init=False, repr=False, compare=False)
    """Role of the most refined reservation; None when unreserved."""
    is_plain_scalar: bool = field(init=False, repr=False, compare=False)
    """Whether its amount is a number of thousandths."""
    _twin: "ResourceIdentity | None" = field(init=False, repr=False, compare=False)
    """The same with another allocation role, asked for last: marking and unmarking come in turns.
    Where every agent has identities of its own, no cache could hold them all."""

    def __post_init__(self) -> None:
        marks = Marks.RESERVED if self.reservations else Marks.UNRESERVED
        marks |= Marks.REFINED if len(self.reservations) > 1 else 0
        marks |= Marks.REVOCABLE if self.is_revocable else 0
        marks |= Marks.SHARED if self.is_shared else 0
        marks |= Marks.ALLOCATED if self.allocation_role is not None else 0
        object.__setattr__(self, "marks", marks)
        stack = self.reservations
        object.__setattr__(self, "reserved_for", stack[-1].role if stack else None)
        is_plain = self.type is ValueType.SCALAR and self.whole is None
        object.__setattr__(self, "is_plain_scalar", is_plain)
        object.__setattr__(self, "_twin", None)

    def parts(self) -> tuple[Hashable, ...]:
        """The fields, which tell it from every other."""
        return (
            self.name,
            self.type,
            self.reservations,
            self.disk,
            self.is_revocable,
            self.is_shared,
            self.provider_id,
            self.allocation_role,
            self.whole,
        )

    def __copy__(self) -> "ResourceIdentity":
        return self

    def __deepcopy__(self, memo: object) -> "ResourceIdentity":
        return self

    def __reduce__(self) -> tuple[object, tuple[Hashable, ...]]:
        return ResourceIdentity, self.parts()


_IDENTITIES: WeakValueDictionary[tuple[Hashable, ...], ResourceIdentity] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Resource:
    """One entry of a bundle: an identity and its amount.

    ``copies`` is above 1 only for entries without parts; ``value`` is then the size of one copy.
    """

    identity: ResourceIdentity
    value: Amount
    copies: int = 1

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def type(self) -> ValueType:
        return self.identity.type

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        return self.identity.reservations

    @property
    def role(self) -> str:
        """The role it is reserved for; ``*`` when unreserved."""
        return self.identity.reserved_for or ANY_ROLE

    @property
    def allocation_role(self) -> str | None:
        return self.identity.allocation_role

    @property
    def disk(self) -> Disk | None:
        return self.identity.disk

    def size(self) -> int:
        """How much there is: thousandths, numbers in the ranges or words, times the copies."""
        match self.value:
            case int():
                return self.value * self.copies
            case Ranges():
                return self.value.size() * self.copies
            case Items():
                return len(self.value) * self.copies

    def __str__(self) -> str:
        return f"{_describe(self.identity)}:{_format_amount(self.value)}"


class Resources:
    """An immutable bundle of resources.

    Built from entries, by :meth:`parse`, or by arithmetic; empty entries vanish. Entries keep the
    order in which they were first seen, which equality and hash do not look at.
    """

    __slots__ = (
        "_amounts",
        "_base",
        "_hash",
        "_marks",
        "_open_quantities",
        "_parts",
        "_quantities",
        "_reserved_roles",
    )

    _amounts: dict[ResourceIdentity, Amount]
    _base: "Resources | None"
    """The same without allocation marks."""
    _hash: int | None
    _marks: int | None
    _open_quantities: Mapping[str, int] | None
    _quantities: dict[str, int] | None
    _reserved_roles: tuple[str, ...] | None
    _parts: "dict[str | None, Resources] | None"

    def __init__(self, entries: Iterable[Resource] = ()) -> None:
        amounts: dict[ResourceIdentity, Amount] = {}
        for entry in entries:
            if entry.value:
                _accumulate(amounts, *_keyed(entry))
        self._set(amounts)

    @classmethod
    def _of(cls, amounts: dict[ResourceIdentity, Amount]) -> "Resources":
        """Wrap a finished map, which nobody changes afterwards."""
        resources = cls.__new__(cls)
        resources._set(amounts)
        return resources

    def _set(self, amounts: dict[ResourceIdentity, Amount]) -> None:
        self._amounts = amounts
        self._base = None
        self._hash = None
        self._marks = None
        self._open_quantities = None
        self._quantities = None
        self._reserved_roles = None
        self._parts = None

    @classmethod
    def sum_of(cls, bundles: Iterable["Resources"]) -> "Resources":
        """All bundles together, in one pass: the ranges and sets of one identity are merged once.

        Adding a thousand tasks' ports one by one would copy the growing list of ranges each time.
        """
        several: dict[ResourceIdentity, list[Amount]] = {}
        found = [bundle for bundle in bundles if bundle]
        if len(found) < 2:
            return found[0] if found else EMPTY
        for bundle in found:
            for identity, amount in bundle._amounts.items():
                several.setdefault(identity, []).append(amount)
        return cls._of({identity: _sum_of(amounts) for identity, amounts in several.items()})

    @classmethod
    def parse(cls, text: str, default_role: str = ANY_ROLE) -> "Resources":
        """Read ``name:value;name(role):value``; white space is ignored, equal names add up.

        Args:
            text: scalars ``4.5``, ranges ``[1-5,7-9]`` or sets ``{a,b}``, separated by ``;``.
            default_role: reserves (statically) the entries that name no role, unless ``*``.

        Raises:
            InvalidInput: names the entry and the rule it breaks.
        """
        check_role(default_role, field="default_role")
        tokens = [token for token in "".join(text.split()).split(";") if token]
        entries = [_parse_entry(token, default_role) for token in tokens]
        check_types_agree(entries)
        return cls(entries)

    # Arithmetic ---------------------------------------------------------------------------------

    def __add__(self, other: "Resources") -> "Resources":
        if not other._amounts:
            return self
        if not self._amounts:
            return other
        amounts = dict(self._amounts)
        for identity, amount in other._amounts.items():
            _accumulate(amounts, identity, amount)
        return Resources._of(amounts)

    def __sub__(self, other: "Resources") -> "Resources":
        """Take away what is contained.

        Raises:
            ResourcesNotContained: ``other`` holds something that this bundle does not.
        """
        if not self.contains(other):
            raise ResourcesNotContained(self, other)
        return self.minus_up_to(other)

    def minus_up_to(self, other: "Resources") -> "Resources":
        """Take away as much of ``other`` as is there; the rest of ``other`` is ignored."""
        if not other._amounts:
            return self
        if self is other:
            return EMPTY
        if self._parts is not None and self._is_part(other):
            return self._joined([part for part in self._parts.values() if part is not other])
        amounts = dict(self._amounts)
        for identity, amount in other._amounts.items():
            mine = amounts.get(identity)
            if mine is None:
                continue
            if left := _difference(mine, amount):
                amounts[identity] = left
            else:
                del amounts[identity]
        return Resources._of(amounts)

    def contains(self, other: "Resources") -> bool:
        """Whether ``self - other`` is possible."""
        mine = self._amounts
        if self is other or self._is_part(other) or mine == other._amounts:
            return True
        for identity, amount in other._amounts.items():
            have = mine.get(identity)
            if have is None or not _holds(have, amount):
                return False
        return True

    # Reading ------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __iter__(self) -> Iterator[Resource]:
        for identity, amount in self._amounts.items():
            if identity.whole is None:
                yield Resource(identity, amount)
            else:
                assert isinstance(amount, int)
                yield Resource(identity, identity.whole, copies=amount)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resources):
            return NotImplemented
        return self is other or self._amounts == other._amounts

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._amounts.items()))
        return self._hash

    def __str__(self) -> str:
        return ";".join(str(entry) for entry in self for _ in range(entry.copies))

    def __repr__(self) -> str:
        return f"Resources({str(self)!r})"

    def quantities(self) -> Mapping[str, int]:
        """Scalar totals by name, in thousandths; shared entries count once however many copies.

        The map is computed once and shared: treat it as read-only.
        """
        if self._quantities is None:
            if self._parts is not None:
                self._quantities = _sum_of_quantities(p.quantities() for p in self._parts.values())
                return self._quantities
            totals: dict[str, int] = {}
            for identity, amount in self._amounts.items():
                if identity.is_plain_scalar:
                    assert isinstance(amount, int)
                    name = identity.name
                    totals[name] = totals.get(name, 0) + amount
                elif identity.type is ValueType.SCALAR:
                    name = identity.name
                    totals[name] = totals.get(name, 0) + _scalar_milli(identity, amount)
            self._quantities = totals
        return self._quantities

    def open_quantities(self) -> Mapping[str, int]:
        """Like :meth:`quantities`, of what is neither reserved nor revocable.

        This is what quotas are about. The map is computed once and shared: treat it as read-only.
        """
        if self._open_quantities is None:
            self._open_quantities = self.unreserved().without(Marks.REVOCABLE).quantities()
        return self._open_quantities

    def reserved_quantities(self) -> Mapping[str, Mapping[str, int]]:
        """Scalar totals of what is reserved: role to name to thousandths."""
        if not self.marks & Marks.RESERVED:
            return {}
        return {role: part.quantities() for role, part in self._split().items() if role is not None}

    def prepare(self) -> None:
        """Compute now what an allocation run would ask for; it is kept anyway once computed."""
        self.reserved_roles()
        self.quantities()

    def scalar_milli(self, name: str) -> int:
        """Total of one scalar in thousandths; 0 when absent."""
        return self.quantities().get(name, 0)

    def ranges(self, name: str) -> Ranges:
        """Union of the ranges of that name; empty when absent."""
        found = (entry.value for entry in self if entry.name == name)
        pairs = [pair for value in found if isinstance(value, Ranges) for pair in value]
        return Ranges.of(pairs)

    # Views --------------------------------------------------------------------------------------

    @property
    def marks(self) -> int:
        """The :class:`Marks` of all entries together; computed once."""
        if self._marks is None:
            marks = 0
            for identity in self._amounts:
                marks |= identity.marks
            self._marks = marks
        return self._marks

    def where(self, wanted: Callable[[ResourceIdentity], bool]) -> "Resources":
        """The entries whose identity satisfies the predicate."""
        return Resources._of({k: v for k, v in self._amounts.items() if wanted(k)})

    def without(self, marks: int) -> "Resources":
        """The entries that bear none of these :class:`Marks`."""
        if not self.marks & marks:
            return self
        return self.where(lambda identity: not identity.marks & marks)

    def allocated_to(self, role: str) -> "Resources":
        """The same resources, marked as allocated to a role."""
        marked = self._reallocated(role)
        if not self.marks & Marks.ALLOCATED:
            marked._base = self
        return marked

    def unallocated(self) -> "Resources":
        """The same resources without allocation marks."""
        if not self.marks & Marks.ALLOCATED:
            return self
        if self._base is None:
            self._base = self._reallocated(None)
        return self._base

    def unreserved(self) -> "Resources":
        if not self.marks & Marks.RESERVED:
            return self
        return self._split()[None] if self.marks & Marks.UNRESERVED else EMPTY

    def _split(self) -> "dict[str | None, Resources]":
        """The bundle taken apart by the role that entries are reserved for; computed once.

        The parts' marks and quantities are found on the way, while the entries are at hand: looking
        at them is most of what a bundle with many reservations costs.
        """
        if self._parts is not None:
            return self._parts
        found: dict[str | None, tuple[dict[ResourceIdentity, Amount], dict[str, int]]] = {}
        for identity, amount in self._amounts.items():
            role = identity.reserved_for
            part = found.get(role)
            if part is None:
                part = found[role] = ({}, {})
            amounts, quantities = part
            amounts[identity] = amount
            if identity.is_plain_scalar:
                assert isinstance(amount, int)
                name = identity.name
                quantities[name] = quantities.get(name, 0) + amount
            elif identity.type is ValueType.SCALAR:
                name = identity.name
                quantities[name] = quantities.get(name, 0) + _scalar_milli(identity, amount)
        self._parts = {}
        for role, (amounts, quantities) in found.items():
            resources = self._parts[role] = Resources._of(amounts)
            _ = resources.marks
            resources._quantities = quantities
            resources._reserved_roles = () if role is None else (role,)
        return self._parts

    def _is_part(self, other: "Resources") -> bool:
        """Whether the other bundle is one that splitting this one made."""
        if self._parts is not None:
            for part in self._parts.values():
                if part is other:
                    return True
        return False

    @classmethod
    def _joined(cls, parts: "list[Resources]") -> "Resources":
        """Some of the parts of a split."""
        if len(parts) < 2:
            return parts[0] if parts else EMPTY
        amounts: dict[ResourceIdentity, Amount] = {}
        for part in parts:
            amounts.update(part._amounts)
        return cls._of(amounts)

    def reserved(self) -> "Resources":
        if not self.marks & Marks.RESERVED:
            return EMPTY
        return self.where(lambda identity: bool(identity.reservations))

    def unshared(self) -> "Resources":
        """What only one can have at a time."""
        return self.without(Marks.SHARED)

    def shared(self) -> "Resources":
        """What several can use at once."""
        if not self.marks & Marks.SHARED:
            return EMPTY
        return self.where(lambda identity: identity.is_shared)

    def chopped(self, room: Mapping[str, int]) -> "Resources":
        """The bundle with its open scalars (see :meth:`open_quantities`) cut down to ``room``.

        Args:
            room: name to thousandths; a name without entry is not cut.

        What has no parts stays whole or goes. Entries are served in their order; the bundle itself
        comes back when there is room for everything.
        """
        have = self.open_quantities()
        tight = {name: left for name, left in room.items() if left < have.get(name, 0)}
        if not tight:
            return self
        amounts: dict[ResourceIdentity, Amount] = {}
        for identity, amount in self._amounts.items():
            left = tight.get(identity.name)
            if left is None or not _is_open(identity) or identity.type is not ValueType.SCALAR:
                amounts[identity] = amount
                continue
            assert isinstance(amount, int)
            size = 1 if identity.whole is None else _scalar_milli(identity, 1)
            taken = min(amount, max(0, left) // size) if size else amount
            if taken:
                amounts[identity] = taken
                tight[identity.name] = left - taken * size
        return Resources._of(amounts)

    def reserved_to(self, role: str) -> "Resources":
        """Entries reserved for exactly this role."""
        if self.reserved_roles() == (role,) and not self.marks & Marks.UNRESERVED:
            return self
        return self._split().get(role, EMPTY) if self.marks & Marks.RESERVED else EMPTY

    def reserved_roles(self) -> tuple[str, ...]:
        """Roles for which something is reserved, sorted."""
        if self._reserved_roles is None:
            roles = self._split() if self.marks & Marks.RESERVED else ()
            self._reserved_roles = tuple(sorted(role for role in roles if role is not None))
        return self._reserved_roles

    def usable_by(self, role: str) -> "Resources":
        """What a framework in ``role`` may be offered: unreserved, or reserved at or above it."""
        if not self.marks & Marks.RESERVED:
            return self
        reserved = self.reserved_roles()
        if reserved == (role,):
            return self
        usable = [r for r in reserved if may_use_reservation(role, r)]
        if len(usable) == len(reserved):
            return self
        if not usable:
            return self.unreserved()
        parts = self._split()
        return self._joined([parts[r] for r in parts if r is None or r in usable])

    def _reallocated(self, role: str | None) -> "Resources":
        amounts: dict[ResourceIdentity, Amount] = {}
        for identity, amount in self._amounts.items():
            _accumulate(amounts, _with_allocation_role(identity, role), amount)
        resources = Resources._of(amounts)
        if len(amounts) == len(self._amounts):
            resources._quantities = self._quantities
            resources._open_quantities = self._open_quantities
            resources._reserved_roles = self._reserved_roles
        return resources


def check_types_agree(entries: Iterable[Resource]) -> None:
    """One name has one type, and well-known names have theirs.

    Raises:
        InvalidInput: for the first name that breaks this.
    """
    types: dict[str, ValueType] = dict(WELL_KNOWN_TYPES)
    for entry in entries:
        wanted = types.setdefault(entry.name, entry.type)
        if wanted is not entry.type:
            rule = f"must be of type {wanted.name.lower()}, not {entry.type.name.lower()}"
            raise InvalidInput(entry.name, rule)
        check_whole_gpus(entry)


def check_whole_gpus(entry: Resource) -> None:
    """GPUs cannot be shared out in parts.

    Raises:
        InvalidInput: the entry is a fraction of a GPU.
    """
    if entry.name == "gpus" and isinstance(entry.value, int) and entry.value % MILLI_PER_UNIT:
        raise InvalidInput("gpus", f"must be a whole number, not {format_milli(entry.value)}")


def _parse_entry(token: str, default_role: str) -> Resource:
    name_text, colon, value_text = token.partition(":")
    if not colon or ":" in value_text:
        rule = "each entry must be written name:value or name(role):value"
        raise InvalidInput("resources", f"{rule}, not {token!r}")
    match = _ENTRY_NAME.fullmatch(name_text)
    if match is None:
        raise InvalidInput("resources", f"a name must be written name or name(role): {token!r}")
    name, role = match[1], default_role if match[2] is None else match[2]
    check_role(role, field=name)
    reservations = () if role == ANY_ROLE else (Reservation(role),)
    value_type, value = _parse_value(value_text, field=name)
    return Resource(ResourceIdentity(name, value_type, reservations), value)


def _parse_value(text: str, *, field: str) -> tuple[ValueType, Amount]:
    if text.startswith("["):
        return ValueType.RANGES, parse_ranges(text, field=field)
    if text.startswith("{"):
        return ValueType.SET, parse_set(text, field=field)
    if is_number(text):
        return ValueType.SCALAR, parse_scalar(text, field=field)
    rule = "must be a finite number, [ranges] or {set}"
    raise InvalidInput(field, f"{rule}, not {text!r}")


def _keyed(entry: Resource) -> tuple[ResourceIdentity, Amount]:
    """Identity and amount under which an entry is kept: see ``whole`` in the module text."""
    identity = entry.identity
    if identity.is_shared or (identity.disk is not None and identity.disk.is_indivisible):
        return replace(identity, whole=entry.value), entry.copies
    return identity, entry.value


def _accumulate(
    amounts: dict[ResourceIdentity, Amount], identity: ResourceIdentity, amount: Amount
) -> None:
    mine = amounts.get(identity)
    amounts[identity] = amount if mine is None else _sum(mine, amount)


def _sum_of_quantities(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for quantities in several:
        for name, milli in quantities.items():
            totals[name] = totals.get(name, 0) + milli
    return totals


def _sum_of(amounts: list[Amount]) -> Amount:
    """All amounts of one identity."""
    if len(amounts) == 1:
        return amounts[0]
    if isinstance(amounts[0], int):
        return sum(amount for amount in amounts if isinstance(amount, int))
    pairs: list[tuple[int, int]] = []
    words: list[str] = []
    for amount in amounts:
        if isinstance(amount, Ranges):
            pairs.extend(amount)
        elif isinstance(amount, Items):
            words.extend(amount)
    return Ranges.of(pairs) if pairs else Items.of(words)


def _sum(left: Amount, right: Amount) -> Amount:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    if isinstance(left, Ranges) and isinstance(right, Ranges):
        return left.union(right)
    if isinstance(left, Items) and isinstance(right, Items):
        return left.union(right)
    raise TypeError(f"amounts of one identity differ in type: {left!r}, {right!r}")


def _difference(left: Amount, right: Amount) -> Amount:
    """What is left, never below nothing."""
    if isinstance(left, int) and isinstance(right, int):
        return max(0, left - right)
    if isinstance(left, Ranges) and isinstance(right, Ranges):
        return left.minus(right)
    if isinstance(left, Items) and isinstance(right, Items):
        return left.minus(right)
    raise TypeError(f"amounts of one identity differ in type: {left!r}, {right!r}")


def _holds(have: Amount, wanted: Amount) -> bool:
    if isinstance(have, int) and isinstance(wanted, int):
        return have >= wanted
    if isinstance(have, Ranges) and isinstance(wanted, Ranges):
        return have.contains(wanted)
    if isinstance(have, Items) and isinstance(wanted, Items):
        return have.contains(wanted)
    raise TypeError(f"amounts of one identity differ in type: {have!r}, {wanted!r}")


def _scalar_milli(identity: ResourceIdentity, amount: Amount) -> int:
    """Thousandths that one scalar entry contributes."""
    size = amount if identity.whole is None else identity.whole
    assert isinstance(size, int)
    if identity.whole is None or identity.is_shared:
        return size
    assert isinstance(amount, int)
    return size * amount


def _with_allocation_role(identity: ResourceIdentity, role: str | None) -> ResourceIdentity:
    if identity.allocation_role == role:
        return identity
    twin = identity._twin
    if twin is not None and twin.allocation_role == role:
        return twin
    found = _marked(identity, role)
    object.__setattr__(identity, "_twin", found)
    object.__setattr__(found, "_twin", identity)
    return found


@lru_cache(maxsize=_MARKED_CACHE_MAX)
def _marked(identity: ResourceIdentity, role: str | None) -> ResourceIdentity:
    return replace(identity, allocation_role=role)


def _is_open(identity: ResourceIdentity) -> bool:
    """Whether quotas and their headroom are about it."""
    return not identity.marks & (Marks.RESERVED | Marks.REVOCABLE)


def _describe(identity: ResourceIdentity) -> str:
    """Name with its marks; a lone static reservation prints as the flag reads it."""
    text = identity.name
    if identity.allocation_role is not None:
        text += f"(allocated: {identity.allocation_role})"
    match identity.reservations:
        case ():
            pass
        case (Reservation(role=role, type=ReservationType.STATIC, principal=None, labels=None),):
            text += f"({role})"
        case stack:
            text += f"(reservations: [{', '.join(map(_describe_reservation, stack))}])"
    if identity.is_revocable:
        text += "{REV}"
    if identity.is_shared:
        text += "<SHARED>"
    if identity.disk is not None:
        text += f"[{_describe_disk(identity.disk)}]"
    return text


def _describe_reservation(reservation: Reservation) -> str:
    parts = [reservation.type.name, reservation.role]
    if reservation.principal is not None:
        parts.append(reservation.principal)
    if reservation.labels:
        labels = ", ".join(f"{key}: {value}" for key, value in reservation.labels)
        parts.append(f"{{{labels}}}")
    return f"({','.join(parts)})"


def _describe_disk(disk: Disk) -> str:
    parts = []
    if disk.source is not None:
        source = disk.source
        parts.append(f"{source.type.name}({source.root or source.id or source.profile or ''})")
    if disk.persistence is not None:
        parts.append(disk.persistence.id)
    if disk.volume is not None:
        parts.append(f"{disk.volume.container_path}:{'ro' if disk.volume.read_only else 'rw'}")
    return ",".join(parts)


def _format_amount(value: Amount) -> str:
    return format_milli(value) if isinstance(value, int) else str(value)


EMPTY = Resources()
"""No resources at all."""

__all__ = [
    "EMPTY",
    "WELL_KNOWN_TYPES",
    "Amount",
    "Disk",
    "DiskSource",
    "DiskSourceType",
    "Labels",
    "Marks",
    "Persistence",
    "Reservation",
    "ReservationType",
    "Resource",
    "ResourceIdentity",
    "Resources",
    "ResourcesNotContained",
    "Volume",
    "check_types_agree",
    "check_whole_gpus",
]
