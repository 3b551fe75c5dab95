"""Revisions of the stored mapping: written, listed, compared, undone. See `mappings.store` for the promises.

A change keeps what it found alone: what it left is what the identity's next change found, or its record of today. So
a first import of a million people keeps a million numbers and no second copy of them.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, islice
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from mappings.address import Address
from mappings.checks import MappingError, mistakes_of, overlap
from mappings.identity import Held, Identity, Stage
from mappings.record import Unstorable, decode, encode, fingerprint, fingerprints
from mappings.schema import changes as changes_table
from mappings.schema import counts, holders, identities, plain, revisions, state
from mappings.stored import Head, revision

MAX_PROBLEMS: Final = 1000

_BATCH: Final = 2000
_HOLDERS: Final = 200_000
_FEW: Final = 5000


class StaleMapping(Exception):
    """The stored mapping changed since it was read: read it again and repeat the change."""


class ClaimedTwice(MappingError):
    """Two identities would hold one address at one time; the problems name both."""


class Overtaken(MappingError):
    """A revision cannot be undone, since later ones changed the same identities; the problems name them."""


class NoSuchRevision(LookupError):
    """There is no revision of this number."""


@dataclass(frozen=True, slots=True)
class Put:
    """Store an identity: a new one where its `id` is 0, else in place of the stored one of that number."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the identity of a number."""

    id: int


Change = Put | Remove


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision, and how many identities it added, changed and removed. `at` is in seconds since 1970."""

    number: int
    at: float
    who: str
    why: str
    added: int
    changed: int
    removed: int


# -- history


def log(connection: Connection, *, limit: int, identity: int | None = None) -> list[Revision]:
    """Return the newest revisions, newest first; those alone that changed one identity where its number is given."""
    query = select(*(revisions.c[name] for name in Revision.__slots__))
    if identity is not None:
        touched = select(changes_table.c.revision).where(changes_table.c.identity_id == identity)
        query = query.where(revisions.c.number.in_(touched))
    rows = connection.execute(query.order_by(revisions.c.number.desc()).limit(limit))
    return [Revision(*row) for row in rows]


def diff(connection: Connection, older: int, newer: int) -> list[tuple[Identity | None, Identity | None]]:
    """Return (before, after) of each identity that differs between two revisions, by number; 0 is before the first.

    None stands where it was not there. Raises: NoSuchRevision; ValueError where `older` is the newer one.
    """
    if older > newer:
        raise ValueError(f"revision {older} is not older than {newer}; turn the two around")
    for number in (older, newer):
        if not 0 <= number <= revision(connection):
            raise NoSuchRevision(f"there is no revision {number}; the newest is {revision(connection)}")
    pairs = []
    for _, before, after in _between(connection, older, newer):
        if before != after:
            pairs.append(
                (None if before is None else decode(before), None if after is None else decode(after)),
            )
    return pairs


def _between(connection: Connection, older: int, newer: int | None = None) -> list[tuple[int, str | None, str | None]]:
    """Return (number, record at `older`, record at `newer` or today) of each identity touched between, by number."""
    first = _first_change_after(older, newer)
    before = changes_table.alias("before")
    query = (
        select(first.c.identity_id, before.c.before, identities.c.record)
        .join_from(
            first, before, (before.c.revision == first.c.revision) & (before.c.identity_id == first.c.identity_id)
        )
        .outerjoin(identities, identities.c.id == first.c.identity_id)
    )
    found = {id: (was, now) for id, was, now in connection.execute(query)}
    if newer is not None:
        later = _first_change_after(newer, None, among=first)
        query = select(later.c.identity_id, changes_table.c.before).join_from(
            later,
            changes_table,
            (changes_table.c.revision == later.c.revision) & (changes_table.c.identity_id == later.c.identity_id),
        )
        for id, at_newer in connection.execute(query):
            found[id] = (found[id][0], at_newer)
    return [(id, *found[id]) for id in sorted(found)]


def _first_change_after(older: int, newer: int | None, among: Any = None) -> Any:
    changed = changes_table.c
    query = select(changed.identity_id, func.min(changed.revision).label("revision")).where(changed.revision > older)
    if among is not None:
        query = query.where(changed.identity_id.in_(select(among.c.identity_id)))
    if newer is not None:
        query = query.where(changed.revision <= newer)
    return query.group_by(changed.identity_id).subquery()


# -- writing


def apply(
    connection: Connection,
    changes: Iterable[Change],
    *,
    who: str,
    why: str,
    at: float,
    expected: int | None = None,
) -> int:
    """Store changes as one revision and return the newest one's number, the old one where they change nothing.

    Durable once the caller has committed; where this raises, the caller must roll back. `expected` is the revision
    that the changes were made from.
    Raises: StaleMapping where `expected` is not the newest, or an identity to be changed is gone; ClaimedTwice;
    MappingError with every identity that is wrong by itself; ValueError where one identity is changed twice.
    """
    writer = _Writer(connection, expected)
    changes = iter(changes)
    while batch := list(islice(changes, _BATCH)):
        writer.write((c.identity.id, c.identity) if isinstance(c, Put) else (c.id, None) for c in batch)
    return writer.finish(who, why, at)


def rollback(
    connection: Connection,
    number: int | None = None,
    *,
    to: int | None = None,
    who: str,
    why: str,
    at: float,
    expected: int | None = None,
) -> int:
    """Undo the one revision `number`, or everything after the revision `to`, and return the new revision's number.

    The rest is as in `apply`.
    Raises: Overtaken where a revision after `number` changed the same identities; NoSuchRevision; StaleMapping;
    ClaimedTwice where an address is another's by now.
    """
    writer = _Writer(connection, expected)
    if (number is None) == (to is None):
        raise ValueError("name either the revision to undo or the one to go back to")
    wanted = to if number is None else number
    if wanted is None or not (to is None) <= wanted <= writer.head.number:
        raise NoSuchRevision(f"there is no revision {wanted}; the newest is {writer.head.number}")
    if number is not None:
        _refuse_overtaken(connection, number)
        found = _between(connection, number - 1, number)
    else:
        found = _between(connection, wanted)
    before = iter([(id, None if was is None else decode(was)) for id, was, _ in found])
    while batch := list(islice(before, _BATCH)):
        writer.write(batch, restoring=True)
    return writer.finish(who, why, at)


def _refuse_overtaken(connection: Connection, number: int) -> None:
    """Raises: Overtaken."""
    mine = changes_table.alias("mine")
    later = (
        select(mine.c.identity_id, func.max(changes_table.c.revision), identities.c.record)
        .join_from(mine, changes_table, changes_table.c.identity_id == mine.c.identity_id)
        .outerjoin(identities, identities.c.id == mine.c.identity_id)
        .where(mine.c.revision == number, changes_table.c.revision > number)
        .group_by(mine.c.identity_id, identities.c.record)
        .order_by(mine.c.identity_id)
        .limit(MAX_PROBLEMS)
    )
    problems = [
        f"revision {number} cannot be undone by itself: revision {newest} changed "
        f"{f'identity {id}, which is gone by now,' if record is None else repr(decode(record).name)} again; "
        f"undo that one first"
        for id, newest, record in connection.execute(later)
    ]
    if problems:
        raise Overtaken(problems)


class _Writer:
    """One revision being written. Holds the lock from the start."""

    def __init__(self, connection: Connection, expected: int | None) -> None:
        self._connection = connection
        # First of all, since it takes the row's lock: of two that write at once the later sees what the first made.
        connection.execute(update(state).values(generation=state.c.generation))
        generation, mark, self._next_id = connection.execute(
            select(state.c.generation, state.c.mark, state.c.next_id)
        ).one()
        self.head = Head(generation, mark)
        if expected is not None and expected != generation:
            raise StaleMapping(f"the mapping is not of revision {expected} any more; read it again")
        self._number: int = generation + 1
        self._done: set[int] = set()
        self._tally: Counter[tuple[str, str]] = Counter()
        self._made: Counter[str] = Counter()
        self._problems: list[str] = []
        self._new_holders: list[tuple[int, int]] = []
        self._claimed: set[int] | None = set()

    def write(self, batch: Iterable[tuple[int, Identity | None]], *, restoring: bool = False) -> None:
        """Write some changes, each (number or 0, what is to be there). `restoring` may bring back removed numbers.

        Raises: StaleMapping, ValueError.
        """
        batch = list(batch)
        old = self._stored([id for id, _ in batch if id != 0])
        added: list[tuple[int, str | None, str]] = []
        changed: list[dict[str, Any]] = []
        removed: list[dict[str, Any]] = []
        logged, freed = [], []
        for id, identity in batch:
            was = old.get(id)
            if id == 0 and identity is not None:
                id = self._next_id
                self._next_id += 1
            elif id in self._done:
                raise ValueError(f"identity {id} is changed twice in one revision")
            elif was is None and not restoring:
                raise StaleMapping(f"there is no identity {id} any more; read the mapping again")
            else:
                self._done.add(id)
            record = None if identity is None else self._record(identity, id, checked=restoring)
            if was == record or len(self._problems) >= MAX_PROBLEMS:
                continue
            before = None if was is None else decode(was)
            logged.append((self._number, id, was))
            ref = None if identity is None else identity.attribute("ref")
            ref = None if ref is None else plain(ref)
            if record is None:
                removed.append({"number": id})
            elif was is None:
                added.append((id, ref, record))
            else:
                changed.append({"number": id, "ref": ref, "record": record})
            held = fingerprints(before) if before is not None else set()
            holds = fingerprints(identity) if identity is not None else set()
            freed += [{"was": each, "number": id} for each in held - holds]
            self._new_holders += [(each, id) for each in holds - held]
            self._claim(holds)
            self._count(before, id, -1)
            self._count(identity, id, 1)
        self._made.update(added=len(added), changed=len(changed), removed=len(removed))
        if self._problems:
            return
        _insert(self._connection, changes_table, logged)
        _insert(self._connection, identities, added)
        by_number = identities.c.id == bindparam("number")
        self._many(update(identities).where(by_number), changed)
        self._many(delete(identities).where(by_number), removed)
        if freed:
            # What is not yet written cannot be taken away.
            self._write_holders()
            mine = (holders.c.fingerprint == bindparam("was")) & (holders.c.identity_id == bindparam("number"))
            self._many(delete(holders).where(mine), freed)
        if len(self._new_holders) > _HOLDERS:
            self._write_holders()

    def finish(self, who: str, why: str, at: float) -> int:
        """Check what was written and close the revision. Raises: MappingError, ClaimedTwice."""
        if self._problems:
            raise MappingError(self._problems)
        if not self._made.total():
            return self.head.number
        self._write_holders()
        if problems := list(islice(_claimed_twice(self._connection, self._claimed), MAX_PROBLEMS)):
            raise ClaimedTwice(problems)
        for (what, name), number in self._tally.items():
            self._advance(what, name, number)
        mark = secrets.token_hex(8)
        made = {name: self._made[name] for name in ("added", "changed", "removed")}
        self._connection.execute(
            insert(revisions),
            {"number": self._number, "at": at, "who": plain(who), "why": plain(why), "mark": mark, **made},
        )
        self._connection.execute(update(state).values(generation=self._number, mark=mark, next_id=self._next_id))
        return self._number

    def _stored(self, ids: list[int]) -> dict[int, str]:
        if not ids:
            return {}
        query = select(identities.c.id, identities.c.record).where(identities.c.id.in_(ids))
        return {row.id: row.record for row in self._connection.execute(query)}

    def _record(self, identity: Identity, id: int, *, checked: bool) -> str | None:
        """Return the record; where the identity is wrong, note why. What was stored once is `checked`."""
        if not checked:
            self._problems += mistakes_of(identity)
        try:
            return encode(identity, id)
        except Unstorable as e:
            self._problems.append(str(e))
            return None

    def _claim(self, holds: set[int]) -> None:
        if self._claimed is not None:
            self._claimed |= holds
            if len(self._claimed) > _FEW:
                self._claimed = None

    def _count(self, who: Identity | None, id: int, sign: int) -> None:
        if who is None:
            return
        self._tally["identities", ""] += sign
        if who.stage is Stage.CUTTING:
            self._tally["cutting", str(id)] += sign
        for home in (who.home, who.copy_home):
            if home is not None:
                self._tally["home", home] += sign
        for held in who.addresses:
            self._tally["network", held.address.network] += sign

    def _advance(self, what: str, name: str, by: int) -> None:
        row = (counts.c.what == what) & (counts.c.name == name)
        if by and not self._connection.execute(update(counts).where(row).values(number=counts.c.number + by)).rowcount:
            self._connection.execute(insert(counts).values(what=what, name=name, number=by))
        self._connection.execute(delete(counts).where(row, counts.c.number == 0))

    def _write_holders(self) -> None:
        # In the order of the table's key, so that the pages of a large table are each touched once.
        rows = sorted(self._new_holders)
        self._new_holders.clear()
        _insert(self._connection, holders, rows)

    def _many(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)


def _insert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows with all columns in order, as each database takes many of them quickest."""
    if not rows:
        return
    names = ", ".join(column.name for column in table.columns)
    if connection.dialect.name == "postgresql":
        # An array a column: one statement and one round trip, where rows by themselves take five times as long.
        arrays = ", ".join(f"%s::{column.type.compile(connection.dialect)}[]" for column in table.columns)
        statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"
        connection.exec_driver_sql(statement, tuple(map(list, zip(*rows, strict=True))))
    else:
        marks = ", ".join("?" for _ in table.columns)
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))


def _claimed_twice(connection: Connection, claimed: set[int] | None) -> Iterator[str]:
    """Yield, in words, which addresses two identities hold at one time, of those with some fingerprints, or of all."""
    shared = select(holders.c.fingerprint).group_by(holders.c.fingerprint).having(func.count() > 1)
    if claimed is not None:
        shared = shared.where(holders.c.fingerprint.in_(sorted(claimed)))
    query = (
        select(holders.c.fingerprint, identities.c.record)
        .join(identities, identities.c.id == holders.c.identity_id)
        .where(holders.c.fingerprint.in_(shared))
        .order_by(holders.c.fingerprint, holders.c.identity_id)
    )
    for shared_one, rows in groupby(connection.execute(query), key=lambda row: row.fingerprint):
        for one, other in combinations([decode(row.record) for row in rows], 2):
            for address in sorted(_held_by_both(one, other), key=str):
                if fingerprint(address.network, address.key) == shared_one:
                    yield (
                        f"{address} is claimed by both {one.name!r} (identity {one.id}) and {other.name!r} "
                        f"(identity {other.id}); take it from one of them"
                    )


def _held_by_both(one: Identity, other: Identity) -> set[Address]:
    theirs: dict[Address, list[Held]] = {}
    for held in other.addresses:
        theirs.setdefault(held.address, []).append(held)
    return {
        held.address
        for held in one.addresses
        if any(overlap(held, another) for another in theirs.get(held.address, ()))
    }
