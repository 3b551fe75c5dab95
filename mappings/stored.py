"""What is stored of the mapping, as its readers ask for it: one identity, those who hold an address, all of them in
pieces, and what changed since. See `mappings.store` for the promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select

from mappings.identity import Identity
from mappings.record import decode, fingerprint
from mappings.schema import changes, counts, holders, identities, plain, revisions, state

_BATCH: Final = 2000


@dataclass(frozen=True, slots=True)
class Delta:
    """What became of all identities that were changed after a revision, up to `revision`."""

    revision: int
    changed: list[Identity]
    removed: list[int]


class Head(NamedTuple):
    """The newest revision: its number, 0 for none, and the mark that tells it from another database's."""

    number: int
    mark: str


class Facts(NamedTuple):
    """What a reader must know of all identities together."""

    size: int
    homes: frozenset[str]
    networks: frozenset[str]
    cutting: frozenset[int] = frozenset()
    """The numbers of those that are being cut over."""


class Records(NamedTuple):
    """What became of identities as records: numbers and records of those changed, numbers of those removed."""

    head: Head
    changed: list[tuple[int, str]]
    removed: list[int]
    facts: Facts


def revision(connection: Connection) -> int:
    """Return the number of the newest revision, 0 where there is none."""
    return head(connection).number


def head(connection: Connection) -> Head:
    """Return the newest revision."""
    return Head(*connection.execute(select(state.c.generation, state.c.mark)).one())


def is_past(connection: Connection, seen: Head) -> bool:
    """Tell whether a revision that was seen is this database's, rather than one of before a restore."""
    if seen.number == 0:
        return seen.mark == ""
    found = select(revisions.c.number).where(revisions.c.number == seen.number, revisions.c.mark == seen.mark)
    return connection.execute(found).first() is not None


def facts(connection: Connection) -> Facts:
    """Return the number of identities, the homes and networks that any of them has, and who is being cut over."""
    found = connection.execute(select(counts.c.what, counts.c.name, counts.c.number)).all()
    names = {
        what: frozenset(name for kind, name, _ in found if kind == what) for what in ("home", "network", "cutting")
    }
    size = next((number for what, _, number in found if what == "identities"), 0)
    return Facts(size, names["home"], names["network"], frozenset(map(int, names["cutting"])))


# -- reading


def load(connection: Connection) -> Iterator[Identity]:
    """Yield all identities by number.

    They are of one moment where the transaction is at least REPEATABLE READ, or a transaction on SQLite.
    """
    after = 0
    while rows := records_after(connection, after, _BATCH):
        yield from (decode(record) for _, record in rows)
        after = rows[-1][0]


def get(connection: Connection, id: int) -> Identity | None:
    """Return the identity of a number."""
    record = connection.execute(select(identities.c.record).where(identities.c.id == id)).scalar_one_or_none()
    return None if record is None else decode(record)


def find(connection: Connection, network: str, key: str) -> list[Identity]:
    """Return who holds, held or will hold the address with a comparison key, by number."""
    query = (
        select(identities.c.record)
        .join(holders, holders.c.identity_id == identities.c.id)
        .where(holders.c.fingerprint == fingerprint(network, key))
        .order_by(identities.c.id)
    )
    found = (decode(record) for record in connection.execute(query).scalars())
    return [who for who in found if any(h.address.key == key for h in who.of(network))]


def by_ref(connection: Connection, ref: str) -> list[Identity]:
    """Return the identities whose attribute `ref`, their key in the directory they came from, is this, by number."""
    query = select(identities.c.record).where(identities.c.ref == plain(ref)).order_by(identities.c.id)
    found = (decode(record) for record in connection.execute(query).scalars())
    return [who for who in found if who.attribute("ref") == ref]


def search(connection: Connection, text: str, limit: int) -> list[Identity]:
    """Return identities with a text, in any case, in their name, an address or an attribute, by number."""
    query = (
        select(identities.c.record)
        .where(func.lower(identities.c.record).like(_pattern(text), escape="\\"))
        .order_by(identities.c.id)
    )
    wanted = text.casefold()
    found: list[Identity] = []
    with connection.execute(query, execution_options={"yield_per": 500}) as result:
        for (record,) in result:
            who = decode(record)
            if len(found) == limit:
                break
            if any(wanted in each.casefold() for each in _texts(who)):
                found.append(who)
    return found


def _texts(who: Identity) -> Iterator[str]:
    yield who.name
    yield from (h.address.value for h in who.addresses)
    yield from (value for _, value in who.attributes)


def _pattern(text: str) -> str:
    """Return a LIKE pattern for records: all that hold the text, and some that do not.

    SQLite folds ASCII alone, so that any other letter with two cases stands for anything; so does what JSON escapes.
    """
    parts = []
    for c in text:
        if c in "%_":
            parts.append("\\" + c)
        elif c.isprintable() and c not in '"\\' and (c.isascii() or c.lower() == c.upper()):
            parts.append(c.lower())
        else:
            parts.append("%")
    return f"%{''.join(parts)}%"


def changes_since(connection: Connection, revision: int) -> Delta:
    """Return what became of all identities that were changed after a revision, whole revisions at a time."""
    found = records_since(connection, revision)
    return Delta(found.head.number, [decode(record) for _, record in found.changed], found.removed)


def records_since(connection: Connection, revision: int) -> Records:
    """Return the same as records, with what a reader needs besides, all of one moment."""
    touched = changes.c.identity_id
    query = (
        select(touched, identities.c.record)
        .join_from(changes, identities, identities.c.id == touched, isouter=True)
        .where(changes.c.revision > revision)
    )
    while True:
        newest = head(connection)
        rows = connection.execute(query).all() if newest.number > revision else []
        known = facts(connection)
        # Under READ COMMITTED another's commit may have come between, and half of it would have been seen.
        if head(connection) == newest:
            break
    found = dict(sorted((id, record) for id, record in rows))
    changed = [(id, record) for id, record in found.items() if record is not None]
    return Records(newest, changed, [id for id, record in found.items() if record is None], known)


def count_since(connection: Connection, revision: int) -> int:
    """Return how many changes came after a revision, without reading them."""
    query = select(func.count()).select_from(changes).where(changes.c.revision > revision)
    return connection.execute(query).scalar_one()


def records_after(connection: Connection, id: int, limit: int) -> Sequence[Any]:
    """Return up to `limit` rows of (number, record) above a number, in order."""
    query = select(identities.c.id, identities.c.record).where(identities.c.id > id)
    return _raw(connection, query.order_by(identities.c.id).limit(limit))


def holders_between(connection: Connection, first: int, last: int) -> Sequence[Any]:
    """Return all rows of (fingerprint, number) from a fingerprint on to before another, in order."""
    columns = (holders.c.fingerprint, holders.c.identity_id)
    query = select(*columns).where(columns[0].between(first, last - 1))
    return _raw(connection, query.order_by(*columns))


def count_addresses(connection: Connection) -> int:
    """Return how many addresses there are, nearly as many as holders."""
    query = select(func.coalesce(func.sum(counts.c.number), 0)).where(counts.c.what == "network")
    return int(connection.execute(query).scalar_one())


def _raw(connection: Connection, query: Any) -> Sequence[Any]:
    """Return rows as the driver makes them: of four million, making each anew costs a second."""
    cursor = connection.execute(query).cursor
    assert cursor is not None
    rows = cursor.fetchall()
    cursor.close()
    return rows
