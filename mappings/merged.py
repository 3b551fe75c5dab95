"""Merged: what a stored identity becomes by an entry of an import, and the marks that tell who gave which address.

What is kept of it and what is replaced is told in `mappings.merge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mappings.address import Address
from mappings.checks import overlap
from mappings.identity import Held, Identity, Kind, Role
from mappings.record import fingerprint

SOURCE: Final = "source"
REF: Final = "ref"
GIVEN: Final = "given:"

_MARK: Final = 6
_SIGNS: Final = "bcdfghjklmnpqrst"
"""Without vowels, so that no search for a name finds a mark."""


def sources_of(identity: Identity) -> set[str]:
    """Return the sources that have given anything of an identity."""
    return {
        value if name == SOURCE else name[len(GIVEN) :]
        for name, value in identity.attributes
        if name == SOURCE or name.startswith(GIVEN)
    }


class Merged:
    """What a stored identity becomes by an entry."""

    def __init__(self, old: Identity, entry: Identity, source: str, states: frozenset[str]) -> None:
        self._old = old
        self._entry = entry
        self._source = source
        self._states = states
        # A contact stands for somebody whom another directory has: that one says who it is from then on.
        self._is_found = old.kind is Kind.CONTACT and entry.kind is not Kind.CONTACT
        self._owns = self._is_found or old.attribute(SOURCE) == source

    def identity(self) -> Identity:
        old, entry = self._old, self._entry
        kind = old.kind
        is_more = entry.kind not in (Kind.PERSON, Kind.CONTACT) and kind is Kind.PERSON
        if "kind" in self._states or self._is_found or is_more or (self._owns and entry.kind is not Kind.PERSON):
            kind = entry.kind
        members, owner = self._group(kind)
        return replace(
            old,
            name=entry.name if self._owns or "name" in self._states else old.name,
            addresses=self._addresses(),
            kind=kind,
            home=entry.home if "home" in self._states else old.home or entry.home,
            stage=entry.stage if "stage" in self._states else old.stage or entry.stage,
            copy_home=entry.copy_home if "copy_home" in self._states else old.copy_home or entry.copy_home,
            attributes=self._attributes(),
            members=members,
            owner=owner,
            expand=entry.expand if "expand" in self._states else old.expand and (entry.expand or not self._owns),
        )

    def _group(self, kind: Kind) -> tuple[tuple[Address, ...], Address | None]:
        old, entry = self._old, self._entry
        if kind is not Kind.GROUP:
            return (), None
        members = old.members
        if "members" in self._states or (entry.members and (self._owns or not members)):
            members = members if set(members) == set(entry.members) else entry.members
        owner = old.owner
        if "owner" in self._states or (entry.owner is not None and (self._owns or owner is None)):
            owner = entry.owner
        return members, owner

    def _addresses(self) -> tuple[Held, ...]:
        said: dict[Address, list[Held]] = {}
        for held in self._entry.addresses:
            said.setdefault(held.address, []).append(held)
        given = _read_marks(self._old.attribute(GIVEN + self._source))
        by_others = {
            mark
            for name, value in self._old.attributes
            if name.startswith(GIVEN) and name != GIVEN + self._source
            for mark in _read_marks(value)
        }
        kept = [
            held
            for held in self._old.addresses
            if held.address not in said and not self._is_taken_back(held, given - by_others)
        ]
        chosen = {held.address.network for held in kept if held.role is Role.PRIMARY}
        """Networks whose primary address is none of the entry's."""
        result: list[Held] = []
        done: set[Address] = set()
        for held in self._old.addresses:
            if held.address not in said:
                if held in kept:
                    result.append(held)
            elif held.address not in done:
                done.add(held.address)
                mine = [h for h in self._old.addresses if h.address == held.address]
                result += self._both(mine, said[held.address], chosen)
        primaries = {held.address.network for held in result if held.role is Role.PRIMARY}
        for address, helds in said.items():
            if address not in done:
                is_second = address.network in (chosen if self._owns else primaries)
                is_second = is_second and address.network not in self._states
                result += [
                    replace(held, role=Role.ALIAS) if is_second and held.role is Role.PRIMARY else held
                    for held in helds
                ]
        return _with_primaries(result)

    def _is_taken_back(self, held: Held, only_given: set[str]) -> bool:
        """Tell whether an address that the entry does not have is to go."""
        if held.address.network in self._states:
            return True
        return held.role is not Role.FORMER and _mark(held.address) in only_given

    def _both(self, mine: list[Held], said: list[Held], chosen: set[str]) -> list[Held]:
        """Return how an address is held that both the identity and the entry have."""
        address = said[0].address
        if address.network in self._states:
            return said
        if not self._owns or len(mine) > 1 or len(said) > 1:
            return mine
        role = mine[0].role if address.network in chosen else said[0].role
        timed = mine[0] if (said[0].since, said[0].until) == (None, None) else said[0]
        return [Held(address, role, timed.since, timed.until)]

    def _marks(self) -> str:
        """Return the marks of what the entry gives, without what is there by hand: that is not taken back."""
        by_any = {m for name, value in self._old.attributes if name.startswith(GIVEN) for m in _read_marks(value)}
        by_hand = {mark for held in self._old.addresses if (mark := _mark(held.address)) not in by_any}
        return "".join(sorted({_mark(held.address) for held in self._entry.addresses} - by_hand))

    def _attributes(self) -> tuple[tuple[str, str], ...]:
        own = {pair for pair in self._old.attributes if pair[0] in (SOURCE, REF) or pair[0].startswith(GIVEN)}
        old = set(self._old.attributes) - own
        said = {p for p in self._entry.attributes if p[0] not in (SOURCE, REF) and not p[0].startswith(GIVEN)}
        if "attributes" in self._states:
            result = said
        else:
            there = {name for name, _ in old}
            said = {pair for pair in said if self._owns or pair[0] not in there}
            replaced = {name for name, _ in said}
            result = {pair for pair in old if pair[0] not in replaced} | said
        ref = self._entry.attribute(REF)
        if self._is_found:
            own = {pair for pair in own if pair[0] not in (SOURCE, REF)} | {(SOURCE, self._source)}
        if ref is not None and self._owns:
            own = {pair for pair in own if pair[0] != REF} | {(REF, ref)}
        own = {pair for pair in own if pair[0] != GIVEN + self._source}
        own.add((GIVEN + self._source, self._marks()))
        return tuple(sorted(result | own))


def _with_primaries(addresses: Sequence[Held]) -> tuple[Held, ...]:
    """Give each network a primary address where it has current ones, and where untimed no more than one."""
    result: list[Held] = []
    first: dict[str, int] = {}
    has: dict[str, list[Held]] = {}
    for held in addresses:
        network = held.address.network
        if held.role is Role.PRIMARY and any(overlap(held, other) for other in has.get(network, ())):
            held = replace(held, role=Role.ALIAS)
        if held.role is Role.PRIMARY:
            has.setdefault(network, []).append(held)
        if held.role is not Role.FORMER:
            first.setdefault(network, len(result))
        result.append(held)
    for network, place in first.items():
        if network not in has:
            result[place] = replace(result[place], role=Role.PRIMARY)
    return tuple(result)


def _as_alias(held: Held) -> Held:
    return replace(held, role=Role.ALIAS) if held.role is Role.PRIMARY else held


def same(one: Identity, other: Identity) -> bool:
    """Tell whether two are equal but for the order of addresses and members."""
    return _plain(one) == _plain(other)


def _plain(who: Identity) -> tuple[Identity, frozenset[tuple[object, ...]], frozenset[Address]]:
    held = frozenset((h.address, h.address.value, h.role, h.since, h.until) for h in who.addresses)
    return replace(who, addresses=(), members=()), held, frozenset(who.members)


def _mark(address: Address) -> str:
    """Return a mark of an address: few letters that another address of the same person seldom has too."""
    number = fingerprint(address.network, address.key)
    return "".join(_SIGNS[(number >> 4 * place) & 15] for place in range(_MARK))


def marks_of(identity: Identity) -> str:
    """Return the marks of all addresses of an identity."""
    return "".join(sorted({_mark(held.address) for held in identity.addresses}))


def _read_marks(text: str | None) -> set[str]:
    return set() if text is None else {text[at : at + _MARK] for at in range(0, len(text), _MARK)}
