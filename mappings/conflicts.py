"""Conflicts: identities that claim each other's addresses, or have some that people and systems take for each other's.

Promises: every address that two identities hold is found, whatever their number and order; look-alikes are told by
what makes them so (case, accents, letters that look like others); each conflict has a mend in words. The identities
are read twice and never kept: two passes over hashes take about 30 octets an address, and one over those alone that
meet. Two that share a hash by chance are told apart in the second. The same identities give the same list.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final, NamedTuple

from mappings.address import Address
from mappings.checks import overlap
from mappings.identity import Held, Identity, Role
from mappings.letters import plain, scripts, skeleton, without_accents

AT_MOST: Final = 10_000
"""The most conflicts of one kind that are listed."""
_BUCKETS: Final = 256
_SHOWN: Final = 5
_KEPT: Final = 20


@unique
class Severity(Enum):
    """ERROR: no table can be made of it. WARNING: mail will go wrong sooner or later. NOTE: worth a look."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@unique
class Kind(Enum):
    """What a conflict is about."""

    CLAIMED = "claimed"
    """Two identities hold one address at one time."""
    FORMER = "former"
    """A former address of one is another's."""
    CASE = "case"
    ACCENTS = "accents"
    LETTERS = "letters"
    """Addresses of two differ by case, by accents, or by letters that look alike."""
    NAME = "name"
    """Two are shown by one name."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict: `text` says what, and `mend` what to do.

    `subject` is the address or name that it is about, and `ids` are the identities' numbers in the store.
    """

    kind: Kind
    severity: Severity
    text: str
    mend: str
    subject: str = ""
    ids: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity.value}: {self.text}; {self.mend}"


@dataclass
class Conflicts:
    """Conflicts in the order they were found, and how many more there are of each kind than are listed.

    Among those left out, what looks alike counts as letters, whatever makes it so.
    """

    listed: list[Conflict] = field(default_factory=list)
    left_out: Counter[Kind] = field(default_factory=Counter)
    at_most: int = AT_MOST
    _counts: Counter[Kind] = field(default_factory=Counter)

    def add(self, conflict: Conflict) -> None:
        self._counts[conflict.kind] += 1
        if self._counts[conflict.kind] > self.at_most:
            self.left_out[conflict.kind] += 1
        else:
            self.listed.append(conflict)

    def __iter__(self) -> Iterator[Conflict]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)


class _Claim(NamedTuple):
    """One address of one identity, `owner` being its place among all."""

    owner: int
    id: int
    name: str
    held: Held

    def __str__(self) -> str:
        return f"{self.name!r} (number {self.id})" if self.id else repr(self.name)


class _Meetings:
    """Which of many hashes come from two owners."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        self._owners = [array("I") for _ in range(_BUCKETS)]

    def add(self, hashed: int, owner: int) -> None:
        bucket = hashed & (_BUCKETS - 1)
        self._hashes[bucket].append(hashed)
        self._owners[bucket].append(owner)

    def found(self) -> tuple[set[int], set[int]]:
        """Return the hashes that two owners share, and the owners that share some. Empties the memory."""
        shared: set[int] = set()
        owners: set[int] = set()
        for hashes, of in zip(self._hashes, self._owners, strict=True):
            first: dict[int, int] = {}
            for hashed, owner in zip(hashes, of, strict=True):
                before = first.setdefault(hashed, owner)
                if before != owner:
                    shared.add(hashed)
                    owners.add(before)
                    owners.add(owner)
        self._hashes.clear()
        self._owners.clear()
        return shared, owners


def find_conflicts(identities: Callable[[], Iterable[Identity]], *, at_most: int = AT_MOST) -> Conflicts:
    """Return the conflicts between identities: claims first, then what looks alike, then names.

    `identities` gives them all anew, in the same order, each time it is called; it is called twice.
    """
    keys, looks, names = _Meetings(), _Meetings(), _Meetings()
    for owner, identity in enumerate(identities()):
        seen: set[tuple[str, str]] = set()
        for held in identity.addresses:
            address = held.address
            keys.add(hash((address.network, address.key)), owner)
            look = (address.network, skeleton(address.key))
            if look not in seen:
                seen.add(look)
                looks.add(hash(look), owner)
        if identity.addresses and identity.name:
            names.add(hash(_bare(identity.name)), owner)
    (shared_keys, owners), (shared_looks, more), (shared_names, most) = (m.found() for m in (keys, looks, names))
    owners = owners | more | most
    by_key, by_look, by_name = (_Groups(one, at_most) for one in (shared_keys, shared_looks, shared_names))
    for owner, identity in enumerate(identities() if owners else ()):
        if owner not in owners:
            continue
        for held in identity.addresses:
            claim = _Claim(owner, identity.id, identity.name, held)
            by_key.add((held.address.network, held.address.key), claim)
            by_look.add((held.address.network, skeleton(held.address.key)), claim)
        if identity.addresses and identity.name:
            by_name.add(_bare(identity.name), _Claim(owner, identity.id, identity.name, identity.addresses[0]))
    conflicts = Conflicts(at_most=at_most)
    for claims, _ in by_key:
        for conflict in _claimed(claims):
            conflicts.add(conflict)
    for claims, count in by_look:
        alike = _alike(claims, count)
        if alike is not None:
            conflicts.add(alike)
    for claims, count in by_name:
        conflicts.add(_named_alike(claims, count))
    for kind, groups in ((Kind.CLAIMED, by_key), (Kind.LETTERS, by_look), (Kind.NAME, by_name)):
        if groups.left_out:
            conflicts.left_out[kind] += groups.left_out
    return conflicts


def _bare(name: str) -> str:
    return without_accents(" ".join(name.split()))


class _Groups:
    """Claims by what they share, of the first `at_most` groups; of each the first claims, and how many there are."""

    def __init__(self, shared: set[int], at_most: int) -> None:
        self._shared = shared
        self._at_most = at_most
        self._groups: dict[Hashable, list[_Claim]] = {}
        self._counts: Counter[Hashable] = Counter()
        self._not_taken: set[int] = set()

    def add(self, key: Hashable, claim: _Claim) -> None:
        hashed = hash(key)
        if hashed not in self._shared:
            return
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= self._at_most:
                self._not_taken.add(hashed)
                return
            group = self._groups[key] = []
        self._counts[key] += 1
        if len(group) < _KEPT:
            group.append(claim)

    @property
    def left_out(self) -> int:
        return len(self._not_taken)

    def __iter__(self) -> Iterator[tuple[list[_Claim], int]]:
        """Yield (first claims, how many) of each group that has two owners indeed."""
        for key, claims in self._groups.items():
            if len({claim.owner for claim in claims}) > 1:
                yield claims, self._counts[key]


def _claimed(claims: Sequence[_Claim]) -> Iterator[Conflict]:
    """Yield what is wrong with an address that several hold: once for each of them that meets an earlier one."""
    for n, claim in enumerate(claims):
        others = [other for other in claims[:n] if other.owner != claim.owner]
        at_once = [other for other in others if overlap(other.held, claim.held)]
        if others:
            yield _two_claims((at_once or others)[0], claim, at_once=bool(at_once))


def _two_claims(one: _Claim, other: _Claim, *, at_once: bool) -> Conflict:
    address = other.held.address
    ids = _ids((one, other))
    former, current = sorted((one, other), key=lambda claim: claim.held.role is not Role.FORMER)
    is_former = former.held.role is Role.FORMER and current.held.role is not Role.FORMER
    if not at_once:
        text = f"{address} is held by {one} and by {other}, at different times"
        mend = "nothing, if it was handed on; but whoever has the old one in an address book writes to the new holder"
        return Conflict(Kind.FORMER if is_former else Kind.CLAIMED, Severity.NOTE, text, mend, str(address), ids)
    if is_former:
        text = f"{address} is a former address of {former}, and {current} has it now"
        mend = f"take it from {former}, or end it there before {current} gets it; or give {current} another"
        return Conflict(Kind.FORMER, Severity.ERROR, text, mend, str(address), ids)
    primary, alias = sorted((one, other), key=lambda claim: claim.held.role is not Role.PRIMARY)
    if primary.held.role is Role.PRIMARY and alias.held.role is not Role.PRIMARY:
        mend = f"leave it to {primary}, whose primary it is, and take it from {alias}"
    else:
        mend = "decide whose it is, and give the other one another; or join the two if they are one"
    return Conflict(
        Kind.CLAIMED, Severity.ERROR, f"{address} is held by both {one} and {other}", mend, str(address), ids
    )


def _alike(claims: Sequence[_Claim], count: int) -> Conflict | None:
    """Return the conflict of addresses that look alike, None where they are one address, or one identity's."""
    apart = [
        claim
        for claim in claims
        if any(claim.owner != c.owner and claim.held.address.key != c.held.address.key for c in claims)
    ]
    if not apart:
        return None
    kind, severity, how, mend = _how_alike([claim.held.address for claim in apart])
    shown = " and ".join(f"{claim.held.address} of {claim}" for claim in apart[:_SHOWN])
    more = f", and {count - _SHOWN} more," if count > _SHOWN else ""
    text = f"{shown}{more} differ by {how} alone"
    return Conflict(kind, severity, text, mend, str(apart[0].held.address), _ids(apart))


def _how_alike(addresses: Sequence[Address]) -> tuple[Kind, Severity, str, str]:
    keys = [address.key for address in addresses]
    if len({plain(key) for key in keys}) == 1:
        mend = "rename one, since many systems take the two for one; or join them if they are one person"
        return Kind.CASE, Severity.WARNING, "case", mend
    if len({without_accents(key) for key in keys}) == 1:
        mend = "give each the other spelling as an alias if they are one person, else rename one"
        return Kind.ACCENTS, Severity.NOTE, "accents", mend
    if len(frozenset().union(*(scripts(key) for key in keys))) > 1:
        mend = "see whether one is meant to deceive, and rename it"
        return Kind.LETTERS, Severity.WARNING, "letters of another script that look the same", mend
    mend = "rename one where people type them by hand"
    return Kind.LETTERS, Severity.NOTE, "letters that look the same", mend


def _named_alike(claims: Sequence[_Claim], count: int) -> Conflict:
    names = list(dict.fromkeys(claim.name for claim in claims))
    shown = ", ".join(str(claim.held.address) for claim in claims[:_SHOWN])
    more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
    mend = "add department or place to the names, so that people tell them apart; or join them if they are one person"
    text = f"{count} are called {' or '.join(map(repr, names[:_SHOWN]))}: {shown}{more}"
    return Conflict(Kind.NAME, Severity.NOTE, text, mend, names[0], _ids(claims))


def _ids(claims: Collection[_Claim]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(claim.id for claim in claims if claim.id))
