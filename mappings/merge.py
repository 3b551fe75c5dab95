"""Merge: what an import would change of the stored identities; nothing is changed here.

An entry is matched with the stored identity that its source made and that has its `ref`, else with the one that
currently holds one of its addresses. What the source does not know is kept: addresses and attributes of other sources
or made by hand, former addresses, and homes and stages, which an entry fills in and never replaces. To that end each
identity keeps two attributes: `source`, the source that made it, which alone names, renames and removes it; and
`given:SOURCE`, marks of the addresses that a source gave last, so that those it gives no more are taken back. A contact
stands for somebody elsewhere, so the first source that has the person takes it over.

Promises: the same import again changes nothing. Of two entries that claim one address neither is used; an address goes
from one identity to another only where the same import takes it from the one and gives it to the other. Identities
that a source names no more are removed only where that is asked for, every entry could be used, and there is any.
A reading that `states` columns whole (see `mappings.formats.Reading`) replaces them, whoever they came from.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from sqlalchemy import Connection

from mappings import store
from mappings.address import Address
from mappings.checks import mistakes_of, overlap
from mappings.formats import Entry, Reading
from mappings.identity import Held, Identity, Role
from mappings.interchange import without_conflicts
from mappings.merged import GIVEN, REF, SOURCE, Merged, marks_of, same, sources_of
from mappings.store import Change, Put, Remove
from mappings.tabular import Problem, Problems

_WEAK: Final = frozenset({"tel", "fax", "sms"})
"""Networks on which one address may be several people's in truth: nobody is known by it who has any other, and nobody
refused for it."""


class Existing(Protocol):
    """The identities that are stored."""

    def by_ref(self, ref: str) -> Sequence[Identity]:
        """Return those whose attribute `ref` is this."""
        ...

    def by_address(self, network: str, key: str) -> Sequence[Identity]:
        """Return those that hold the address with a comparison key at any time, in any role."""
        ...

    def of_source(self, source: str) -> Iterable[Identity]:
        """Yield those that a source has given anything of."""
        ...


class InMemory:
    """Existing identities held as objects: for a large import, which looks all of them up."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        self._all = list(identities)
        self._by_ref: dict[str, list[Identity]] = {}
        self._by_address: dict[tuple[str, str], list[Identity]] = {}
        for who in self._all:
            ref = who.attribute(REF)
            if ref is not None:
                self._by_ref.setdefault(ref, []).append(who)
            for place in {(h.address.network, h.address.key) for h in who.addresses}:
                self._by_address.setdefault(place, []).append(who)

    def by_ref(self, ref: str) -> Sequence[Identity]:
        return self._by_ref.get(ref, ())

    def by_address(self, network: str, key: str) -> Sequence[Identity]:
        return self._by_address.get((network, key), ())

    def of_source(self, source: str) -> Iterator[Identity]:
        return (who for who in self._all if source in sources_of(who))


class Stored:
    """Existing identities in the database, looked up one by one: for a small import into a large mapping."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def by_ref(self, ref: str) -> Sequence[Identity]:
        return store.by_ref(self._connection, ref)

    def by_address(self, network: str, key: str) -> Sequence[Identity]:
        return store.find(self._connection, network, key)

    def of_source(self, source: str) -> Iterator[Identity]:
        return (who for who in store.load(self._connection) if source in sources_of(who))


@dataclass(frozen=True, slots=True)
class Merge:
    """What an import would do. `refused` are the reading's problems and those of merging it, by line."""

    added: list[Put] = field(default_factory=list)
    changed: list[tuple[Identity, Put]] = field(default_factory=list)
    """Each with the identity as it is stored."""
    removed: list[Remove] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)
    """Sentences for the operator: addresses that go from one to another, and what was not removed and why."""

    def changes(self) -> Iterator[Change]:
        """Yield all changes, for one revision."""
        yield from self.removed
        yield from (put for _, put in self.changed)
        yield from self.added


def merge(reading: Reading, existing: Existing, *, source: str, remove_missing: bool, strict: bool) -> Merge:
    """Plan the import of a reading.

    `remove_missing` removes the identities of `source` that the reading does not have. With `strict` nothing is done
    where there is any problem.
    """
    plan = _Plan(reading, existing, source)
    removes = remove_missing and bool(reading.entries) and not reading.problems
    made = plan.made(remove_missing=removes)
    if remove_missing and made.refused:
        made = plan.made(remove_missing=False) if removes else made
        made.notes.append("nothing is removed, since not every row could be used; mend them, and import again")
    elif remove_missing and not reading.entries:
        made.notes.append("nothing is removed, since there is no entry at all; is it the right file?")
    if strict and made.refused:
        return Merge(refused=made.refused, notes=made.notes)
    return made


@dataclass(slots=True)
class _Proposal:
    """What one entry comes to: `old` is the stored identity that it was matched with."""

    entry: Entry
    old: Identity | None
    new: Identity
    is_refused: bool = False


class _Plan:
    """One import against what is stored."""

    def __init__(self, reading: Reading, existing: Existing, source: str) -> None:
        self._reading = reading
        self._existing = existing
        self._source = source
        self._found: dict[Address, Sequence[Identity]] = {}

    def made(self, *, remove_missing: bool) -> Merge:
        """Return the plan."""
        problems = Problems()
        notes: list[str] = []
        entries = without_conflicts(self._reading.entries, problems)
        proposals = self._proposals(self._with_own_refs(entries, notes), problems)
        gone = self._missing(proposals) if remove_missing else []
        remains = {who.id: left for who, left in gone}
        self._leave_others_numbers(proposals, remains, notes)
        self._refuse_taken(proposals, remains, problems)
        made = Merge(refused=self._all_problems(problems), notes=notes)
        unchanged = 0
        for each in proposals:
            if each.is_refused:
                continue
            if each.old is None:
                made.added.append(Put(each.new))
            elif same(each.old, each.new):
                unchanged += 1
            else:
                made.changed.append((each.old, Put(each.new)))
                notes += self._moves(each, proposals)
        made.changed.extend((who, Put(left)) for who, left in gone if left is not None)
        made.removed.extend(Remove(who.id) for who, left in gone if left is None)
        return replace(made, unchanged=unchanged)

    def _all_problems(self, problems: Problems) -> list[Problem]:
        for problem in self._reading.problems:
            problems.add(problem.line, problem.column, problem.message)
        return problems.in_order()

    def _holders(self, address: Address) -> Sequence[Identity]:
        found = self._found.get(address)
        if found is None:
            found = self._found[address] = self._existing.by_address(address.network, address.key)
        return found

    def _with_own_refs(self, entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
        """Return the entries, those without a `ref` that have the same as another one."""
        times = Counter(ref for entry in entries if (ref := entry.identity.attribute(REF)) is not None)
        several = {ref for ref, count in times.items() if count > 1}
        if several:
            shown = ", ".join(sorted(several)[:5])
            notes.append(f"several entries have one reference, so that nobody is known by it: {shown}")
        return [
            replace(entry, identity=_without(entry.identity, REF))
            if entry.identity.attribute(REF) in several
            else entry
            for entry in entries
        ]

    # -- matching

    def _proposals(self, entries: Sequence[Entry], problems: Problems) -> list[_Proposal]:
        known: dict[int, Identity] = {}
        """The stored identity of each entry, by the entry's place."""
        refused: set[int] = set()
        for place, entry in enumerate(entries):
            ref = entry.identity.attribute(REF)
            found = () if ref is None else self._existing.by_ref(ref)
            found = [stored for stored in found if stored.attribute(SOURCE) == self._source]
            if len(found) > 1:
                names = _names(found)
                problems.add(entry.line, REF, f"{names} both have the reference {ref!r}; remove it from one of them")
                refused.add(place)
            elif found:
                known[place] = found[0]
        self._match_by_address(entries, known, refused, problems)
        return [
            _Proposal(entry, known.get(place), self._made_of(entry.identity, known.get(place)))
            if place not in refused
            else _Proposal(entry, known.get(place), entry.identity, is_refused=True)
            for place, entry in enumerate(entries)
        ]

    def _match_by_address(
        self, entries: Sequence[Entry], known: dict[int, Identity], refused: set[int], problems: Problems
    ) -> None:
        """Match the entries that no reference told of; first those that can be one identity alone.

        Who is matched is nobody else's candidate any more, so that others may become clear by it.
        """
        taken = {stored.id for stored in known.values()}
        waiting = [place for place in range(len(entries)) if place not in known and place not in refused]
        while waiting:
            several: list[int] = []
            by_stored: dict[int, list[int]] = {}
            before = len(waiting)
            for place in waiting:
                candidates = self._candidates(entries[place].identity, taken)
                if len(candidates) > 1:
                    several.append(place)
                elif candidates:
                    known[place] = candidates[0]
                    by_stored.setdefault(candidates[0].id, []).append(place)
            for places in by_stored.values():
                if len(places) > 1:
                    lines = " and ".join(str(entries[place].line) for place in places[:5])
                    for place in places:
                        told = f"lines {lines} all have addresses of {known[place].name!r}; which is it?"
                        problems.add(entries[place].line, "", told)
                        refused.add(place)
            taken |= set(by_stored)
            waiting = several
            if len(waiting) == before or not by_stored:
                break
        for place in waiting:
            names = _names(self._candidates(entries[place].identity, taken))
            told = f"the entry has addresses of {names}; make one of them, or take some away"
            problems.add(entries[place].line, "", told)
            refused.add(place)

    def _candidates(self, identity: Identity, taken: set[int]) -> list[Identity]:
        """Return the stored identities that an entry may be, by what they and the entry currently hold."""
        found: dict[int, Identity] = {}
        has_no_other = _has_weak_ones_alone(identity)
        for held in identity.addresses:
            if held.role is Role.FORMER or (held.address.network in _WEAK and not has_no_other):
                continue
            for stored in self._holders(held.address):
                if stored.id in taken or stored.id in found or (has_no_other and not _has_weak_ones_alone(stored)):
                    continue
                theirs = [h for h in stored.addresses if h.address == held.address and h.role is not Role.FORMER]
                if any(overlap(held, h) for h in theirs):
                    found[stored.id] = stored
        return list(found.values())

    def _made_of(self, identity: Identity, old: Identity | None) -> Identity:
        if old is None:
            return self._new(identity)
        return Merged(old, identity, self._source, self._reading.states).identity()

    def _new(self, identity: Identity) -> Identity:
        attributes = set(identity.attributes)
        if identity.attribute(SOURCE) is None:
            attributes.add((SOURCE, self._source))
        attributes = {pair for pair in attributes if pair[0] != GIVEN + self._source}
        attributes.add((GIVEN + self._source, marks_of(identity)))
        return replace(identity, attributes=tuple(sorted(attributes)), id=0)

    # -- conflicts

    def _leave_others_numbers(
        self, proposals: Sequence[_Proposal], remains: Mapping[int, Identity | None], notes: list[str]
    ) -> None:
        """Make attributes of the telephone and fax numbers that somebody else keeps."""
        kept: dict[Address, int] = Counter(
            address
            for each in proposals
            if not each.is_refused
            for address in {held.address for held in each.new.addresses}
            if address.network in _WEAK
        )
        touched = {each.old.id for each in proposals if each.old is not None and not each.is_refused}
        for each in proposals:
            identity = each.entry.identity
            others = [
                held
                for held in identity.addresses
                if held.address.network in _WEAK
                and (
                    kept[held.address] > 1
                    or any(
                        stored.id not in touched and _holds(remains.get(stored.id, stored), held)
                        for stored in self._holders(held.address)
                    )
                )
            ]
            if each.is_refused or not others or len(others) == len(identity.addresses):
                continue
            left = replace(
                identity,
                addresses=tuple(held for held in identity.addresses if held not in others),
                attributes=tuple(
                    sorted({*identity.attributes, *((h.address.network, h.address.value) for h in others)})
                ),
            )
            each.entry = replace(each.entry, identity=left)
            each.new = self._made_of(left, each.old)
            notes += [f"{h.address} is somebody's already, and is an attribute of {identity.name!r}" for h in others]

    def _refuse_taken(
        self, proposals: Sequence[_Proposal], remains: Mapping[int, Identity | None], problems: Problems
    ) -> None:
        """Refuse what would take an address from somebody who keeps it, until nothing does.

        What is refused leaves its identity as it is stored, so that others may not have its addresses after all.
        """
        claims: dict[Address, list[_Proposal]] = {}
        of_stored: dict[int, _Proposal] = {each.old.id: each for each in proposals if each.old is not None}
        for each in proposals:
            for held in each.new.addresses:
                claims.setdefault(held.address, []).append(each)
        waiting = deque(each for each in proposals if not each.is_refused)
        while waiting:
            each = waiting.popleft()
            if each.is_refused:
                continue
            problem = self._conflict(each, claims, of_stored, remains)
            if problem is None:
                continue
            problems.add(each.entry.line, *problem)
            each.is_refused = True
            if each.old is not None:
                for held in each.old.addresses:
                    waiting.extend(claims.get(held.address, ()))

    def _conflict(
        self,
        each: _Proposal,
        claims: Mapping[Address, Sequence[_Proposal]],
        of_stored: Mapping[int, _Proposal],
        remains: Mapping[int, Identity | None],
    ) -> tuple[str, str] | None:
        """Return the column and words of what stands against a proposal."""
        before = set(mistakes_of(each.old)) if each.old is not None else set()
        new_mistakes = [mistake for mistake in mistakes_of(each.new) if mistake not in before]
        if new_mistakes:
            return "", new_mistakes[0]
        own = {held.address for held in each.entry.identity.addresses}
        for held in each.new.addresses:
            address = held.address
            if address not in own:
                continue
            for other in claims[address]:
                if other is not each and not other.is_refused and _holds(other.new, held):
                    told = (
                        f"{address} stays with {other.new.name!r} (line {other.entry.line}), who has it from elsewhere"
                    )
                    return address.network, told
            for stored in self._holders(address):
                if each.old is not None and stored.id == each.old.id:
                    continue
                proposal = of_stored.get(stored.id)
                is_touched = proposal is not None and not proposal.is_refused
                if not is_touched and _holds(remains.get(stored.id, stored), held):
                    told = f"{address} is held by {stored.name!r} (number {stored.id}); take it away there first"
                    return address.network, told
        return None

    def _moves(self, each: _Proposal, proposals: Sequence[_Proposal]) -> Iterator[str]:
        """Yield a sentence for each address that a changed identity gives to another one."""
        assert each.old is not None
        kept = {held.address for held in each.new.addresses}
        lost = {held.address for held in each.old.addresses} - kept
        if not lost:
            return
        for other in proposals:
            if other is not each and not other.is_refused:
                for held in other.new.addresses:
                    if held.address in lost:
                        yield f"{held.address} goes from {each.old.name!r} to {other.new.name!r}"

    # -- removal

    def _missing(self, proposals: Sequence[_Proposal]) -> list[tuple[Identity, Identity | None]]:
        """Return the stored identities that the source names no more, each with what is left of it."""
        matched = {each.old.id for each in proposals if each.old is not None}
        found: list[tuple[Identity, Identity | None]] = []
        for stored in self._existing.of_source(self._source):
            if stored.id in matched:
                continue
            others = sorted(sources_of(stored) - {self._source})
            is_owner = stored.attribute(SOURCE) == self._source
            nobody = replace(stored, addresses=(), attributes=(), members=(), owner=None)
            left = Merged(stored, nobody, self._source, frozenset()).identity()
            attributes = {pair for pair in left.attributes if pair[0] != GIVEN + self._source}
            if is_owner:
                attributes -= {(SOURCE, self._source)} | {pair for pair in attributes if pair[0] == REF}
                attributes |= {(SOURCE, other) for other in others[:1]}
            if is_owner and (not others or mistakes_of(left)):
                found.append((stored, None))
            elif not mistakes_of(left):
                found.append((stored, replace(left, attributes=tuple(sorted(attributes)))))
        return found


def _has_weak_ones_alone(identity: Identity) -> bool:
    return all(held.address.network in _WEAK for held in identity.addresses if held.role is not Role.FORMER)


def _holds(identity: Identity | None, held: Held) -> bool:
    """Tell whether an identity, where there is one, holds an address at the time of another's holding it."""
    return identity is not None and any(h.address == held.address and overlap(h, held) for h in identity.addresses)


def _names(found: Sequence[Identity]) -> str:
    return " and ".join(repr(stored.name) for stored in found[:3])


def _without(identity: Identity, attribute: str) -> Identity:
    return replace(identity, attributes=tuple(pair for pair in identity.attributes if pair[0] != attribute))
